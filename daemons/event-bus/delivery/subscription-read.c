/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Filling the window
 *
 * What is new comes from a follower, in order, as much as takers will want and memory allows. What is behind
 * its beginning, or was let go and came back, is read from the log in pieces. What was redriven is read from
 * its dead letter, as the log may have dropped it.
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "event-bus/delivery/delivery-internal.h"
#include "libmam/util/time.h"

#define READ_MAX      1000U
#define READ_BYTES    (1024U * 1024U)
#define LETTERS_MAX   100U
#define TARGET_MIN    256U
#define TARGET_MAX    10000U
#define PREFETCH_USEC (2 * MAM_USEC_PER_SEC) /* how long after the last taker came */

void subscription_count_bytes(Subscription *s, size_t before) {
        s->delivery->bytes += s->window.bytes;
        s->delivery->bytes -= before;
}

void subscription_stop_reading(Subscription *s) {
        s->follower = follower_free(s->follower);
        s->read = log_call_free(s->read);
        s->letters = mam_pg_query_free(s->letters);
        s->credit = 0;
        s->wanted_from = s->need_to = 0;
}

void subscription_restart_window(Subscription *s) {
        const Group *g = &s->group;
        const GroupSpan *span;
        size_t before = s->window.bytes;
        int64_t start = g->floor + 1;

        subscription_stop_reading(s);
        window_done(&s->window);
        subscription_count_bytes(s, before);

        /* what was redriven is read by itself: it may be far behind */
        if (g->redriven_to >= start)
                start = g->redriven_to + 1;
        if (group_kind_at(g, start, &span) == GROUP_SETTLED && span)
                start = span->to + 1;
        s->main_from = start;
        s->main_to = start - 1;
        s->letters_to = s->letters_missed = s->gap_to = 0;
        s->epoch = g->epoch;
}

void subscription_check_window(Subscription *s) {
        if (s->gap_to > s->group.floor)
                s->epoch = UINT64_MAX; /* read again, beside their leases */
}

/* Taking in */

static bool is_wanted(const Subscription *s, const LogEvent *e) {
        _cleanup_(mam_event_freep) MamEvent *event = NULL;

        if (!s->filter)
                return true;
        /* what cannot be read is not passed over in silence: its consumer sees it */
        if (mam_event_from_stored(&event, e->text, e->size) < 0)
                return true;
        return filter_matches(s->filter, event);
}

/* Positions that are not in the log: where they are out, their keys are not known. */
static int note_gone(Subscription *s, int64_t from, int64_t to) {
        const Group *g = &s->group;
        int r;

        if (s->kind == TOPIC_DURABLE && from <= to && to > s->gap_to)
                s->gap_to = to;
        for (size_t i = 0; s->kind == TOPIC_DURABLE && from <= to && i < g->n_spans; i++) {
                int64_t a = g->spans[i].from > from ? g->spans[i].from : from;
                int64_t b = g->spans[i].to < to ? g->spans[i].to : to;

                if (g->spans[i].kind != GROUP_LEASED)
                        continue;
                while (a <= b) {
                        GroupWindow w = window_view(&s->window);
                        size_t e = group_window_find(&w, a);
                        int64_t end = e < w.n_entries && w.entries[e].position <= b
                                                      ? w.entries[e].position - 1
                                                      : b;

                        r = a <= end ? window_put_gone(&s->window, a, end) : 0;
                        if (r < 0)
                                return r;
                        a = end + 2;
                }
        }
        return 0;
}

/* Events from a position on; everything up to to is known then. */
static int take_in(
                Subscription *s,
                const LogEvent *events,
                size_t n,
                int64_t from,
                int64_t to,
                bool with_bodies) {
        int64_t next = from;
        int r = 0;

        for (size_t i = 0; i < n && events[i].position <= to; i++) {
                const LogEvent *e = events + i;

                if (e->position < next)
                        continue;
                if (e->position > next)
                        r = note_gone(s, next, e->position - 1);
                next = e->position + 1;
                if (r < 0)
                        return r;

                s->event_size = (s->event_size * 15 + e->size + 256) / 16;
                /* what is settled in memory only may come back: it has its entry, too */
                if (e->position <= s->saved_floor || !is_wanted(s, e))
                        continue;
                r = window_add(&s->window,
                               e,
                               with_bodies && group_kind_at(&s->group, e->position, NULL) != GROUP_SETTLED);
                if (r < 0)
                        return r;
        }

        r = note_gone(s, next, to);
        return r < 0 ? r : window_put_known(&s->window, from, to);
}

/* Reading again from the start is always right. */
static void give_up_window(Subscription *s) {
        s->epoch = UINT64_MAX;
        subscription_wake(s);
}

static bool has_takers(const Subscription *s) {
        return !TAILQ_EMPTY(&s->takes) || mam_now_monotonic() < s->taker_usec + PREFETCH_USEC;
}

static void on_follow(Follower *f, int r, const LogEvent *events, size_t n, int64_t first, void *userdata) {
        Subscription *s = userdata;
        size_t before = s->window.bytes;

        subscription_wake(s);
        if (r == -ERANGE) {
                /* what is pending of it is lost; what is out is looked at when it matters */
                if (first > s->first)
                        s->first = first;
                if (first - 1 > s->main_to) {
                        s->main_from = first;
                        s->main_to = first - 1;
                }
                follower_seek(f, s->main_to);
                return;
        }
        if (r < 0) {
                s->is_asked = s->is_stale = true; /* the topic is gone, and the row with it */
                s->follower = follower_free(s->follower);
                return;
        }

        s->credit -= n < s->credit ? (unsigned) n : s->credit;
        if (n == 0 || events[n - 1].position <= s->main_to)
                return;

        r = take_in(s, events, n, s->main_to + 1, events[n - 1].position, has_takers(s));
        if (r < 0) {
                give_up_window(s);
        } else {
                s->main_to = events[n - 1].position;
        }
        subscription_count_bytes(s, before);
}

/* Stragglers */

/* What was looked for and is no longer there: the search goes on without it. Of what is out the key is kept.
 */
static void forget_missing(Subscription *s, int64_t from, int64_t to) {
        GroupWindow w = window_view(&s->window);

        for (size_t i = group_window_find(&w, from); i < w.n_entries && w.entries[i].position <= to;) {
                GroupEntry *e = s->window.entries + s->window.head + i;
                GroupKind kind = group_kind_at(&s->group, e->position, NULL);

                if (e->body || kind == GROUP_SETTLED) {
                        i++;
                } else if (kind == GROUP_LEASED && e->position > s->group.redriven_to) {
                        e->size = 0;
                        i++;
                } else if (e->position <= s->group.redriven_to && s->letters_missed != e->position) {
                        /* it may be in its dead letter */
                        s->letters_missed = e->position;
                        s->letters_to = e->position - 1;
                        return;
                } else if (kind == GROUP_LEASED) {
                        e->size = 0;
                        i++;
                } else {
                        window_remove(&s->window, e->position);
                        w = window_view(&s->window);
                }
        }
}

static void on_probed(Subscription *s, size_t n) {
        DeliveryCall *c;

        TAILQ_FOREACH(c, &s->takes, entry) {
                c->was_probed = true;
                if (n > 0)
                        c->deadline_usec += MAM_USEC_PER_SEC; /* it is coming */
        }
}

static void on_read(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        Subscription *s = userdata;
        size_t before = s->window.bytes;
        int64_t to;

        s->read = log_call_free(s->read);
        subscription_wake(s);
        if (r < 0) {
                s->is_asked = s->is_stale = r == -ENOENT;
                s->retry_usec = mam_now_monotonic() + 100 * MAM_USEC_PER_MSEC;
                return;
        }
        if (first > s->first)
                s->first = first;
        if (last > s->topic_last)
                s->topic_last = last;
        if (s->is_probe) {
                on_probed(s, n);
                return;
        }

        to = n > 0 ? events[n - 1].position : s->read_to;
        if (to > s->main_to)
                to = s->main_to;
        if (to < s->read_from)
                return;
        r = take_in(s, events, n, s->read_from, to, true);
        if (r < 0) {
                give_up_window(s);
        } else {
                forget_missing(s, s->read_from, to);
        }
        subscription_count_bytes(s, before);
}

static int read_range(Subscription *s, int64_t from, int64_t to, bool probe) {
        const LogRange range = {
                .from = from,
                .limit = to - from >= (int64_t) READ_MAX ? READ_MAX : (unsigned) (to - from) + 1,
                .bytes_max = READ_BYTES,
        };
        int r;

        r = log_read(s->delivery->log, &s->read, s->settings.topic, &range, on_read, s);
        if (r < 0)
                return r;
        s->read_from = from;
        s->read_to = to;
        s->is_probe = probe;
        return 0;
}

void subscription_probe(Subscription *s) {
        if (s->read || s->letters)
                return; /* woken when it is there */
        if (read_range(s, s->main_to + 1, s->main_to + 1, true) < 0)
                s->retry_usec = mam_now_monotonic() + 100 * MAM_USEC_PER_MSEC;
}

static int take_letters(Subscription *s, const MamPgResult *result) {
        int r;

        for (size_t i = 0; i < mam_pg_rows(result); i++) {
                LogEvent e = {
                        .position = mam_pg_int(result, i, 0),
                        .recorded_usec = (uint64_t) mam_pg_int(result, i, 1),
                        .stream_version = mam_pg_int(result, i, 2),
                        .key = mam_pg_text(result, i, 3),
                        .stream = mam_pg_is_null(result, i, 4) ? NULL : mam_pg_text(result, i, 4),
                        .text = mam_pg_text(result, i, 5),
                };

                e.size = strlen(e.text);
                s->letters_to = e.position;
                r = window_add(&s->window, &e, true);
                if (r < 0)
                        return r;
                r = window_put_known(&s->window, e.position, e.position);
                if (r < 0)
                        return r;
        }

        if (mam_pg_rows(result) < LETTERS_MAX)
                s->letters_to = s->read_to;
        return 0;
}

static void on_letters(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Subscription *s = userdata;
        size_t before = s->window.bytes;

        s->letters = mam_pg_query_free(s->letters);
        subscription_wake(s);
        if (error < 0) {
                s->retry_usec = mam_now_monotonic() + 100 * MAM_USEC_PER_MSEC;
                return;
        }
        if (take_letters(s, result) < 0)
                give_up_window(s);
        subscription_count_bytes(s, before);
}

static int read_letters(Subscription *s, int64_t from, int64_t to) {
        char id[24], a[24], b[24], limit[16];
        const char *const parameters[] = { id, a, b, limit };
        int r;

        (void) snprintf(id, sizeof(id), "%" PRIi64, s->id);
        (void) snprintf(a, sizeof(a), "%" PRIi64, from);
        (void) snprintf(b, sizeof(b), "%" PRIi64, to);
        (void) snprintf(limit, sizeof(limit), "%u", LETTERS_MAX);
        r =
                        mam_pg_query(s->delivery->pg,
                                     &s->letters,
                                     &store_dead_bodies,
                                     parameters,
                                     MAM_ELEMENTSOF(parameters),
                                     on_letters,
                                     s);
        if (r >= 0)
                s->read_to = to;
        return r;
}

/* How much is wanted of the follower */

static unsigned credit_wanted(Subscription *s) {
        size_t limit = s->delivery->bytes < DELIVERY_BYTES_MAX ? DELIVERY_SUB_BYTES_MAX
                                                               : DELIVERY_SUB_BYTES_MIN;
        size_t target = 2U * (size_t) s->demand, have = s->credit, room, entries;

        entries = s->window.n_entries - s->window.head + s->credit;
        if (entries >= GROUP_WINDOW_MAX)
                return 0;
        if (s->need_to > s->main_to)
                return s->credit > 0 ? 0 : READ_MAX; /* its keys matter, whatever it takes */
        if (!has_takers(s) || s->settings.paused)
                return 0;

        if (s->is_starving && s->window.bytes >= limit) {
                size_t before = s->window.bytes;

                window_drop_bodies(&s->window, &s->group, true);
                subscription_count_bytes(s, before);
        }
        if (s->window.bytes >= limit)
                return 0;

        target = target < TARGET_MIN ? TARGET_MIN : target > TARGET_MAX ? TARGET_MAX : target;
        if (!s->is_starving)
                have += s->window.n_bodies;
        if (have >= target || (target - have < target / 4 && have > 0))
                return 0;
        room = (limit - s->window.bytes) / (s->event_size + 1) + 1;
        target -= have;
        return (unsigned) (room < target ? room : target);
}

void subscription_read(Subscription *s) {
        int64_t from = s->wanted_from, to = s->wanted_to;
        unsigned n;
        int r = 0;

        if (!s->is_ready || s->is_bad || s->epoch != s->group.epoch)
                return;

        if (from > 0 && !s->read && !s->letters) {
                s->wanted_from = 0;
                if (from <= s->group.redriven_to && from > s->letters_to) {
                        r = read_letters(s, from, s->group.redriven_to);
                } else {
                        r = read_range(s, from, to, false);
                }
        }

        n = credit_wanted(s);
        if (!s->follower && s->main_to < s->saved_floor)
                s->main_to = s->saved_floor;
        if (r >= 0 && n > 0 && !s->follower)
                r = tail_follow(s->delivery->tail,
                                &s->follower,
                                s->settings.topic,
                                s->main_to,
                                on_follow,
                                s);
        if (r < 0) {
                s->retry_usec = mam_now_monotonic() + 100 * MAM_USEC_PER_MSEC;
                return;
        }
        if (n > 0) {
                s->credit += n;
                follower_want(s->follower, n);
        }
}
