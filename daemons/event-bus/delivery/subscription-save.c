/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Saving a round
 *
 * Takes are saved as durably as acks. A take that the database forgot would be handed out again while its
 * first consumer works on it, and order per key would end with a power cut.
 *
 * When a save met another one the calls are applied again to what is there now. When its outcome is not
 * known (the connection broke) they wait until the row says whether it was saved.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/round.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"

#define TELL_USEC     (20 * MAM_USEC_PER_MSEC)
#define CONFLICTS_MAX 3U /* in a row; then we do not try at the same time as others */
#define CONFLICT_USEC 2000U

/* Dead letters */

int round_add_letter(
                Round *round,
                const GroupEntry *entry,
                int64_t position,
                uint32_t attempts,
                const char *reason) {
        Letters *l = &round->letters;
        const WindowBody *body = entry ? entry->body : NULL;
        const LogEvent none = { 0 }, *e = body ? &body->event : &none;
        int r = 0;

        l->n++;
#define ADD(buffer, call) r = r < 0 ? r : call
        ADD(positions, store_array_int(&l->positions, position));
        ADD(reasons, store_array_text(&l->reasons, reason));
        ADD(attempts, store_array_int(&l->attempts, attempts));
        ADD(recorded, store_array_int(&l->recorded, (int64_t) e->recorded_usec));
        ADD(keys, store_array_text(&l->keys, e->key));
        ADD(streams, store_array_text(&l->streams, e->stream));
        ADD(versions, store_array_int(&l->versions, e->stream_version));
        ADD(events, store_array_text(&l->events, e->text));
#undef ADD
        return r;
}

static void letters_done(Letters *l) {
        mam_buffer_done(&l->positions);
        mam_buffer_done(&l->reasons);
        mam_buffer_done(&l->attempts);
        mam_buffer_done(&l->recorded);
        mam_buffer_done(&l->keys);
        mam_buffer_done(&l->streams);
        mam_buffer_done(&l->versions);
        mam_buffer_done(&l->events);
        mam_buffer_done(&l->redriven);
}

void round_done(Round *round) {
        letters_done(&round->letters);
}

/* What became of the calls */

static int take_collect(Subscription *s, DeliveryCall *c) {
        size_t before = s->window.bytes, n = 0;

        c->bodies = calloc(c->n_picks + 1, sizeof(*c->bodies));
        if (!c->bodies)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_picks; i++) {
                WindowBody *body = window_take_body(&s->window, c->picks[i].position);

                if (!body)
                        continue; /* comes back when the lease ends */
                c->bodies[n] = body;
                c->picks[n++] = c->picks[i];
        }
        c->n_picks = n;
        subscription_count_bytes(s, before);
        return 0;
}

static void take_finish(Subscription *s, DeliveryCall *c) {
        int r;

        if (c->is_unheard)
                (void) delivery_release(s, c->lease);
        r = c->is_unheard ? 0 : take_collect(s, c);
        delivery_call_finish(c, r);
}

void subscription_calls_back(Subscription *s) {
        DeliveryCall *c;

        while ((c = TAILQ_LAST(&s->in_round, DeliveryCalls))) {
                if (c->kind == CALL_TAKE && c->is_unheard) {
                        (void) delivery_release(s, c->lease);
                        (void) delivery_call_destroy(c);
                } else if (c->kind == CALL_TAKE) {
                        delivery_call_move_first(c, &s->takes);
                } else if (c->kind == CALL_REDRIVE) {
                        int r = delivery_redrive_find(c);

                        if (r < 0)
                                delivery_call_finish(c, r);
                } else {
                        delivery_call_move_first(c, &s->ops);
                }
        }
}

void subscription_tell_others(Subscription *s) {
        uint64_t now = mam_now_monotonic();
        char word[192];

        if (now < s->tell_usec) {
                s->tell_later = true;
                return;
        }
        s->tell_later = false;
        s->tell_usec = now + TELL_USEC;
        (void) snprintf(word, sizeof(word), "subscription %s +", s->name);
        tail_tell(s->delivery->tail, word);
}

void subscription_end_round(Subscription *s, bool was_saved) {
        DeliveryCall *c;

        s->is_unsure = false;
        if (!was_saved) {
                subscription_calls_back(s);
                return;
        }

        s->failures = s->conflicts = 0;
        while ((c = TAILQ_FIRST(&s->in_round))) {
                if (c->kind == CALL_TAKE) {
                        take_finish(s, c);
                } else {
                        delivery_call_finish(c, 0);
                }
        }
        if (s->frees)
                subscription_tell_others(s);
}

static void round_saved(Subscription *s) {
        size_t before;

        s->token = s->new_token;
        s->saved_floor = s->group.floor;
        subscription_end_round(s, true);
        before = s->window.bytes;
        window_trim(&s->window, s->group.floor);
        subscription_count_bytes(s, before);
}

/* Somebody else was first, or came after us: theirs is what we go on from. */
static void round_met(Subscription *s, int64_t token, const char *state, int64_t version, bool was_saved) {
        Group group = { 0 };
        int r;

        subscription_end_round(s, was_saved);
        r = group_decode(&group, state);
        if (r < 0) {
                s->is_ready = false;
                subscription_failed(s, r);
                return;
        }

        group_done(&s->group);
        s->group = group;
        s->token = token;
        s->saved_floor = group.floor;
        subscription_check_window(s);
        s->is_stale |= version != s->version;
        if (++s->conflicts > CONFLICTS_MAX)
                s->retry_usec = mam_now_monotonic() + delivery_lot(s->delivery) % CONFLICT_USEC;
}

static void on_saved(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Subscription *s = userdata;

        s->query = mam_pg_query_free(s->query);
        s->looked_usec = mam_now_monotonic();
        if (error < 0) {
                mam_debug("Subscription %s is not saved: %s", s->name, message ?: "");
                s->is_unsure = true;
                s->is_ready = false;
                subscription_failed(s, store_error(error));
                return;
        }
        if (mam_pg_rows(result) == 0) {
                subscription_gone(s);
                return;
        }

        if (mam_pg_is_null(result, 0, 1)) {
                round_saved(s);
        } else {
                round_met(s,
                          mam_pg_int(result, 0, 0),
                          mam_pg_text(result, 0, 1),
                          mam_pg_int(result, 0, 2),
                          mam_pg_int(result, 0, 3) != 0);
        }
        subscription_wake(s);
}

static int save_letters(Round *round, const char *put[static STORE_PUT_PARAMETERS]) {
        Letters *l = &round->letters;
        MamBuffer *const arrays[] = { &l->positions, &l->reasons,  &l->attempts, &l->recorded, &l->keys,
                                      &l->streams,   &l->versions, &l->events,   &l->redriven };
        const char *parameters[STORE_LETTERS_PARAMETERS];
        size_t n = STORE_PUT_PARAMETERS;
        char cleared[24];
        int r;

        memcpy(parameters, put, n * sizeof(*parameters));
        for (size_t i = 0; i < MAM_ELEMENTSOF(arrays); i++) {
                r = store_array_close(arrays[i]);
                if (r < 0)
                        return r;
                parameters[n++] = mam_buffer_bytes(arrays[i]);
        }
        (void) snprintf(cleared, sizeof(cleared), "%" PRIi64, l->cleared);
        parameters[n++] = cleared;

        return mam_pg_query(
                        round->sub->delivery->pg,
                        &round->sub->query,
                        &store_letters,
                        parameters,
                        n,
                        on_saved,
                        round->sub);
}

int round_save(Round *round) {
        _cleanup_(mam_buffer_done) MamBuffer state = MAM_BUFFER_INIT;
        char id[24], old[24], new[24], floor[24];
        const char *parameters[STORE_PUT_PARAMETERS] = { id, old, new, NULL, floor };
        Subscription *s = round->sub;
        Group *g = &s->group;
        int r;

        if (g->redriven_to > 0 && g->floor >= g->redriven_to) {
                if (round->letters.cleared == 0)
                        round->letters.cleared = g->redriven_to;
                g->redriven_to = 0;
        }

        r = group_encode(g, &state);
        if (r < 0)
                return r;
        s->new_token = (int64_t) delivery_lot(s->delivery);
        s->frees = round->frees;
        (void) snprintf(id, sizeof(id), "%" PRIi64, s->id);
        (void) snprintf(old, sizeof(old), "%" PRIi64, s->token);
        (void) snprintf(new, sizeof(new), "%" PRIi64, s->new_token);
        (void) snprintf(floor, sizeof(floor), "%" PRIi64, g->floor);
        parameters[3] = mam_buffer_bytes(&state);

        if (round->letters.n > 0 || round->letters.cleared > 0 || round->letters.redriven.size > 0) {
                r = save_letters(round, parameters);
        } else {
                r =
                                mam_pg_query(s->delivery->pg,
                                             &s->query,
                                             &store_put,
                                             parameters,
                                             STORE_PUT_PARAMETERS,
                                             on_saved,
                                             s);
        }
        return r;
}
