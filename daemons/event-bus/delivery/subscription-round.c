/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rounds: everything that waits is applied to the state, which is saved at once
 *
 * First come operations, then leases that are over, then takes. What lacks something of the log waits for
 * the next round, and says what it lacks.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/round.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"

#define POLL_USEC  (2 * MAM_USEC_PER_SEC)
#define IDLE_USEC  (30 * MAM_USEC_PER_SEC)
#define FLUSH_MIN  10000 /* positions that were passed over */
#define FLUSH_USEC (2 * MAM_USEC_PER_SEC)
#define PROBE_USEC (2 * MAM_USEC_PER_SEC) /* how much later than its deadline a take is answered for it */

/* Operations */

/* It waits for this range of positions. */
static void want(Subscription *s, int64_t from, int64_t to) {
        if (from > s->main_to) {
                s->need_to = to > s->need_to ? to : s->need_to;
                return;
        }
        if (s->wanted_from > 0 && s->wanted_from <= from)
                return;
        s->wanted_from = from;
        s->wanted_to = to < s->main_to ? to : s->main_to;
}

/* False: something of the log must be read before this can be settled. */
static bool item_is_ready(Round *round, const GroupItem *item) {
        Subscription *s = round->sub;
        GroupWindow w = window_view(&s->window);
        int64_t from;
        size_t e;

        if (item->kind != GROUP_NACK && item->kind != GROUP_DEAD)
                return true;

        from = group_settle_needs(&s->group, &w, item);
        if (from > 0) {
                want(s, from, from + 999);
                return false;
        }
        if (!group_settle_is_dead(&s->group, &round->policy, item))
                return true;

        if (group_window_known_to(&w, item->position) < item->position) {
                want(s, item->position, item->position);
                return false;
        }
        e = group_window_find(&w, item->position);
        if (e < w.n_entries && w.entries[e].position == item->position && !w.entries[e].body &&
            w.entries[e].size > 0) {
                want(s, item->position, item->position);
                return false;
        }
        return true;
}

static int settle_letters(Round *round, DeliveryCall *c) {
        char made[64];
        int r;

        for (size_t i = 0; i < c->n_items; i++) {
                const GroupItem *item = c->items + i;
                const char *reason = c->reasons ? c->reasons[i] : NULL;

                if (item->result < 0 || !item->dead)
                        continue;
                if (!reason && item->kind == GROUP_NACK) {
                        (void) snprintf(made, sizeof(made), "refused %u times", item->attempts);
                        reason = made;
                }
                r = round_add_letter(
                                round,
                                window_get(&round->sub->window, item->position),
                                item->position,
                                item->attempts,
                                reason ?: "rejected");
                if (r < 0)
                        return r;
        }
        return 0;
}

/* 1: applied; 0: it has to wait. */
static int apply_settle(Round *round, DeliveryCall *c) {
        Subscription *s = round->sub;
        GroupWindow w = window_view(&s->window);
        bool any = false;
        int r;

        for (size_t i = 0; i < c->n_items; i++) {
                if (!item_is_ready(round, c->items + i))
                        return 0;
        }

        r = group_settle(&s->group, &w, &round->policy, round->now_usec, c->items, c->n_items);
        if (r < 0)
                return r;
        r = settle_letters(round, c);
        if (r < 0)
                return r;

        for (size_t i = 0; i < c->n_items; i++)
                any |= c->items[i].result == 0;
        if (!any && !c->was_checked) {
                /* saving would have told whether this state is the latest */
                c->was_checked = s->is_stale = true;
                subscription_wake(s);
                return 0;
        }

        for (size_t i = 0; i < c->n_items; i++) {
                const GroupItem *item = c->items + i;
                int result = item->result;

                if (c->results[i] != -EBADMSG)
                        c->results[i] = result;
        }

        round->changed |= any;
        round->frees |= any;
        return 1;
}

static int apply_redrive(Round *round, DeliveryCall *c) {
        int r;

        if (c->is_again) {
                r = delivery_redrive_find(c);
                if (r < 0)
                        delivery_call_finish(c, r);
                return 0; /* it comes back with what was found */
        }
        if (c->n_found == 0)
                return 1;
        r = group_redrive(&round->sub->group, c->positions, c->n_found);
        for (size_t i = 0; r >= 0 && i < c->n_found; i++)
                r = store_array_int(&round->letters.redriven, c->found[i]);
        if (r < 0)
                return r;

        round->changed = round->frees = round->restarts = true;
        return 1;
}

static int apply_op(Round *round, DeliveryCall *c) {
        Group *g = &round->sub->group;

        switch (c->kind) {
        case CALL_SETTLE:
                return apply_settle(round, c);
        case CALL_REDRIVE:
                return apply_redrive(round, c);
        case CALL_SEEK:
                group_seek(g, c->to);
                round->letters.cleared = INT64_MAX;
                round->changed = round->frees = round->restarts = true;
                return 1;
        case CALL_RELEASE:
                round->changed = round->frees = true;
                return group_release(g, c->lease) < 0 ? -ENOMEM : 1;
        default:
                assert(false);
                return 1;
        }
}

static int apply_ops(Round *round) {
        Subscription *s = round->sub;
        DeliveryCall *c, *next;
        int r;

        for (c = TAILQ_FIRST(&s->ops); c; c = next) {
                next = TAILQ_NEXT(c, entry);
                r = apply_op(round, c);
                if (r < 0)
                        return r;
                if (r > 0)
                        delivery_call_move(c, &s->in_round);
                if (round->restarts)
                        break; /* the window no longer fits: the rest in the next round */
        }
        return 0;
}

/* Retention */

static int apply_drop(Round *round) {
        Subscription *s = round->sub;
        uint64_t before = s->group.lost;
        int r;

        if (s->first <= s->group.floor + 1)
                return 0;
        r = group_drop(&s->group, s->first);
        if (r < 0)
                return r;
        if (s->group.lost == before)
                return 0;

        round->changed = true;
        if (s->kind == TOPIC_VOLATILE) {
                s->group.lost = before; /* its positions are no numbers of events */
                return 0;
        }
        mam_warning("Subscription %s: %" PRIu64 " events were dropped before it took them",
                    s->name,
                    s->group.lost - before);
        return 0;
}

/* Takes */

static int apply_take(Round *round, GroupScan *scan, DeliveryCall *c, size_t share) {
        Subscription *s = round->sub;
        size_t max = c->events_max < share ? c->events_max : share;
        GroupPick *picks;
        int n;

        picks = reallocarray(c->picks, max, sizeof(*picks));
        if (!picks)
                return -ENOMEM;
        c->picks = picks;
        c->lease = delivery_lot(s->delivery);

        n =
                        group_scan_take(scan,
                                        c->lease,
                                        round->now_usec + s->settings.ack_usec,
                                        max,
                                        c->bytes_max,
                                        picks);
        c->n_picks = n > 0 ? (size_t) n : 0;
        return n;
}

/* What a pass could not hand out as it lacks something. */
static void note_lacks(Subscription *s, const GroupScan *scan) {
        int64_t last;

        if (scan->n_wanted > 0) {
                last = scan->wanted[scan->n_wanted - 1];
                want(s, scan->wanted[0], last < scan->wanted[0] + 999 ? last : scan->wanted[0] + 999);
        } else if (scan->unknown > 0 && scan->unknown <= s->main_to) {
                want(s, scan->unknown, scan->unknown + 999);
        } else if (scan->unknown > 0 && scan->is_bound) {
                want(s, scan->unknown, scan->unknown);
        }
}

static int scan_takes(Round *round, GroupScan *scan) {
        Subscription *s = round->sub;
        size_t n_waiting = 0, share;
        DeliveryCall *c, *next;
        int r;

        s->demand = 0;
        TAILQ_FOREACH(c, &s->takes, entry) {
                n_waiting++;
                s->demand += c->events_max < 1000 ? c->events_max : 1000;
        }
        share = (s->window.n_bodies + n_waiting - 1) / n_waiting;
        share = share > 0 ? share : 1;

        for (c = TAILQ_FIRST(&s->takes); c; c = next) {
                next = TAILQ_NEXT(c, entry);
                r = apply_take(round, scan, c, share);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                round->changed = true;
                delivery_call_move(c, &s->in_round);
        }

        for (size_t i = 0; i < scan->n_dead; i++) {
                const GroupPick *dead = scan->dead + i;
                char reason[64];

                (void) snprintf(reason, sizeof(reason), "not settled in %u deliveries", dead->attempts);
                r = round_add_letter(
                                round,
                                window_get(&s->window, dead->position),
                                dead->position,
                                dead->attempts,
                                reason);
                if (r < 0)
                        return r;
                round->changed = true;
        }

        return group_scan_end(scan);
}

static int apply_takes(Round *round) {
        Subscription *s = round->sub;
        _cleanup_(group_scan_done) GroupScan scan = { 0 };
        GroupWindow w = window_view(&s->window);
        int r;

        s->is_starving = false;
        if (TAILQ_EMPTY(&s->takes) || s->settings.paused)
                return 0;

        r = group_expire(&s->group, &round->policy, round->now_usec);
        if (r < 0)
                return r;
        round->changed |= r > 0;
        round->frees |= r > 0;

        r = group_scan_begin(&scan, &s->group, &w, &round->policy, round->now_usec);
        if (r < 0)
                return r;
        r = scan_takes(round, &scan);
        if (r < 0)
                return r;

        s->is_starving = !TAILQ_EMPTY(&s->takes) && !scan.full;
        s->wake_usec = UINT64_MAX;
        if (scan.wake_usec != UINT64_MAX)
                s->wake_usec = mam_now_monotonic() + (scan.wake_usec - round->now_usec);
        note_lacks(s, &scan);
        return 0;
}

static int round_run(Subscription *s) {
        _cleanup_(round_done) Round round = {
                .sub = s,
                .policy = subscription_policy(s),
                .now_usec = mam_now_realtime(),
        };
        uint64_t now = mam_now_monotonic();
        DeliveryCall *c;
        bool flush;
        int r;

        s->need_to = s->wanted_from = 0;
        r = apply_drop(&round);
        if (r < 0)
                return r;
        r = apply_ops(&round);
        if (r < 0)
                return r;
        if (!round.restarts) {
                r = apply_takes(&round);
                if (r < 0)
                        return r;
        }

        flush = s->group.floor - s->saved_floor >= FLUSH_MIN ||
                (s->group.floor != s->saved_floor && now >= s->looked_usec + FLUSH_USEC);
        if (round.changed || flush)
                return round_save(&round);

        /* nothing to save: what was said is stale */
        while ((c = TAILQ_FIRST(&s->in_round)))
                delivery_call_finish(c, 0);
        return 0;
}

/* Looking at it */

static void answer_due(Subscription *s, uint64_t now) {
        bool is_broken = s->failures > 0 || !s->is_ready;
        DeliveryCall *c, *next;

        for (c = TAILQ_FIRST(&s->takes); c; c = next) {
                next = TAILQ_NEXT(c, entry);
                if (c->deadline_usec > now)
                        continue;
                if (c->wants_probe && !c->was_probed && !s->settings.paused &&
                    now < c->deadline_usec + PROBE_USEC) {
                        s->is_stale |= !c->was_checked;
                        c->was_checked = true;
                        if (s->is_ready && !s->query && s->epoch == s->group.epoch)
                                subscription_probe(s);
                        continue;
                }
                c->n_picks = 0;
                delivery_call_finish(c, is_broken ? -ENOTCONN : 0);
        }

        for (c = TAILQ_FIRST(&s->ops); c; c = next) {
                next = TAILQ_NEXT(c, entry);
                if (c->deadline_usec <= now)
                        delivery_call_finish(c, is_broken ? -ENOTCONN : -EAGAIN);
        }

        for (c = s->is_unsure ? TAILQ_FIRST(&s->in_round) : NULL; c; c = next) {
                next = TAILQ_NEXT(c, entry);
                if (c->deadline_usec > now)
                        continue;
                if (c->kind == CALL_TAKE)
                        (void) delivery_release(s, c->lease); /* if it was saved */
                c->n_picks = 0;
                delivery_call_finish(c, -ENOTCONN);
        }
}

/* Nobody knows it, and it is not in the database. */
static bool is_over(const Subscription *s) {
        return s->n_calls == 0 && !s->query && s->id == 0 && !s->is_asked;
}

static bool must_look(const Subscription *s, uint64_t now) {
        return !s->is_ready || s->is_stale || (!TAILQ_EMPTY(&s->takes) && now >= s->looked_usec + POLL_USEC);
}

static void run_ready(Subscription *s) {
        int r;

        if (s->epoch != s->group.epoch)
                subscription_restart_window(s);
        r = round_run(s);
        if (r < 0) {
                subscription_calls_back(s);
                s->is_ready = false;
                subscription_failed(s, r);
                return;
        }
        if (s->epoch == s->group.epoch)
                subscription_read(s);
}

void subscription_run(Subscription *s) {
        bool has_work = !TAILQ_EMPTY(&s->takes) || !TAILQ_EMPTY(&s->ops) || s->is_unsure;
        uint64_t now = mam_now_monotonic();

        if (is_over(s)) {
                (void) subscription_free(s);
                return;
        }

        answer_due(s, now);
        if (has_work)
                s->used_usec = now;
        if (!TAILQ_EMPTY(&s->takes))
                s->taker_usec = now;
        if (s->tell_later && now >= s->tell_usec)
                subscription_tell_others(s);

        if (!s->query && now >= s->retry_usec) {
                if (s->is_asked || (has_work && must_look(s, now))) {
                        s->is_asked = false;
                        subscription_load(s);
                } else if (s->is_ready && !s->is_bad && (has_work || s->group.floor != s->saved_floor)) {
                        run_ready(s);
                } else if (!has_work && now >= s->used_usec + IDLE_USEC) {
                        subscription_sleep(s);
                }
        }
        subscription_set_timer(s);
}
