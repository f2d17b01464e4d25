/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is read for followers: behind the ring's end once for all of a topic, and pages for laggards
 *
 * The ring moves with the foremost follower that gives credit. A page for a laggard serves all laggards of
 * the topic that are within it, and at most TAIL_PAGES_MAX are under way, the longest waiting first.
 */

#include <assert.h>
#include <errno.h>

#include "event-bus/log/tail-internal.h"
#include "libmam/util/backoff.h"

static bool was_dropped(const Follower *f, int64_t first) {
        return f->after > 0 && f->after + 1 < first;
}

/* Trying again */

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
        TailTopic *o = userdata;

        o->resting = false;
        tail_topic_advance(o);
        tail_wake(o->tail);
        return 0;
}

static void topic_rest(TailTopic *o) {
        uint64_t now = mam_now_monotonic() +
                       mam_backoff_usec(o->failures++, TAIL_RETRY_FIRST, TAIL_RETRY_LIMIT);
        int r = 0;

        o->resting = true;
        if (!o->retry) {
                r = sd_event_add_time(
                                o->tail->event,
                                &o->retry,
                                CLOCK_MONOTONIC,
                                now,
                                TAIL_ACCURACY,
                                on_retry,
                                o);
        } else {
                (void) sd_event_source_set_time(o->retry, now);
                (void) sd_event_source_set_enabled(o->retry, SD_EVENT_ONESHOT);
        }
        if (r < 0)
                o->resting = false; /* the next bell or poll tries */
}

/* The ring */

static void keep_rings_small(Tail *t) {
        size_t share = TAIL_RINGS_BYTES / t->n_topics;
        TailTopic *o;

        for (size_t i = 0; i < TAIL_BUCKETS; i++) {
                LIST_FOREACH(o, t->buckets + i, topics) {
                        t->ring_bytes -= o->ring.bytes;
                        tail_ring_set_bytes_max(&o->ring, share < TAIL_RING_BYTES ? share : TAIL_RING_BYTES);
                        t->ring_bytes += o->ring.bytes;
                }
        }
}

/* The ring is ahead of the log: what was heard of it was wrong, or it was emptied. */
static void ring_back(TailTopic *o, int64_t last) {
        Follower *f, *next;

        o->tail->ring_bytes -= o->ring.bytes;
        tail_ring_reset(&o->ring, last);
        o->known_last = last;
        for (f = TAILQ_FIRST(&o->tail->lagging); f; f = next) {
                next = TAILQ_NEXT(f, entry);
                if (f->topic == o)
                        tail_follower_schedule(f);
        }
}

static int ring_append(TailTopic *o, const LogEvent *events, size_t n, int64_t first, int64_t last) {
        Tail *t = o->tail;
        size_t before = o->ring.bytes;
        int r;

        if (o->ring.end + 1 < first) /* what was between is gone; who needed it asks the log, and hears so */
                tail_ring_reset(&o->ring, first - 1);

        if (n > 0)
                last = events[n - 1].position;
        r = tail_ring_append(&o->ring, events, n, last);
        t->ring_bytes += o->ring.bytes - before;
        if (t->ring_bytes > TAIL_RINGS_BYTES)
                keep_rings_small(t);
        return r;
}

static void wake_waiting(TailTopic *o) {
        Follower *f, *next;

        for (f = TAILQ_FIRST(&o->waiting); f; f = next) {
                next = TAILQ_NEXT(f, entry);
                if (f->after < o->ring.end)
                        tail_follower_queue(f, &o->tail->ready);
        }
        tail_wake(o->tail);
}

static void on_read(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        TailTopic *o = userdata;

        o->reading = log_call_free(o->reading);
        if (r == -ENOENT) {
                tail_topic_gone(o);
                return;
        }
        if (r >= 0 && n == 0 && last < o->ring.end && first <= o->ring.end + 1)
                ring_back(o, last);
        else if (r >= 0)
                r = ring_append(o, events, n, first, last);
        if (r < 0) {
                topic_rest(o);
                return;
        }

        o->failures = 0;
        o->first = first;
        o->known_last = last > o->heard_last ? last : o->heard_last;
        wake_waiting(o);
        tail_topic_advance(o);
}

/* Where the foremost stands that waits for what the log has; -1: nobody. */
static int64_t wanted_after(const TailTopic *o) {
        int64_t wanted = -1;
        const Follower *f;

        TAILQ_FOREACH(f, &o->waiting, entry) {
                if (f->after < o->ring.end || f->after >= o->known_last)
                        continue;
                if (f->after == o->ring.end)
                        return f->after;
                if (wanted < 0 || f->after < wanted)
                        wanted = f->after;
        }

        return wanted;
}

void tail_topic_advance(TailTopic *o) {
        LogRange range = { .limit = TAIL_PAGE_EVENTS, .bytes_max = TAIL_PAGE_BYTES };
        int64_t wanted;
        int r;

        if (o->gone || o->id == 0 || o->reading || o->resting)
                return;

        wanted = wanted_after(o);
        if (wanted < 0)
                return;
        if (o->ring.n == 0 || wanted - o->ring.end > TAIL_PAGE_EVENTS) { /* others lag, and get pages */
                o->tail->ring_bytes -= o->ring.bytes;
                tail_ring_reset(&o->ring, wanted);
        }

        range.from = o->ring.end + 1;
        o->heard_last = 0;
        r = log_read_pinned(o->tail->log, &o->reading, o->name, o->id, &range, on_read, o);
        if (r < 0)
                topic_rest(o);
}

/* Pages */

void tail_page_done(TailPage *p) {
        p->reading = log_call_free(p->reading);
        p->topic = tail_topic_unref(p->topic);
}

static bool is_within(const Follower *f, int64_t from, int64_t end) {
        return f->after + 1 >= from && f->after < end;
}

/* One of those whom the page is for. Freed, it has left the queue. */
static void page_serve(Follower *f, const LogEvent *events, size_t n, int64_t first, int64_t end) {
        size_t skip = tail_events_behind(events, n, f->after);

        if (was_dropped(f, first)) {
                tail_follower_end(f, -ERANGE, first);
        } else if (skip < n && f->credit > 0) {
                tail_follower_deliver(f, events + skip, n - skip, end);
        } else {
                if (f->after < end)
                        f->after = end; /* a hole */
                tail_follower_queue(f, NULL);
                tail_follower_schedule(f);
        }
}

static void on_page(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        _cleanup_(tail_topic_unrefp) TailTopic *o = NULL;
        TailPage *p = userdata;
        Tail *t = p->tail;
        int64_t from = p->from, end;
        Follower *f, *next;

        o = tail_topic_ref(p->topic);
        tail_page_done(p);
        tail_wake(t);
        if (o->gone)
                return;
        if (r == -ENOENT)
                tail_topic_gone(o);
        else if (r < 0)
                topic_rest(o);
        if (r < 0)
                return;

        o->failures = 0;
        o->first = first;
        end = n > 0 ? events[n - 1].position : last;
        if (end < first - 1)
                end = first - 1;
        if (end < from) {
                ring_back(o, last);
                return;
        }

        for (f = TAILQ_FIRST(&t->lagging); f; f = next) {
                next = TAILQ_NEXT(f, entry);
                if (f->topic == o && is_within(f, from, end))
                        tail_follower_queue(f, &t->served);
        }
        while ((f = TAILQ_FIRST(&t->served)))
                page_serve(f, events, n, first, end);
}

static bool is_served(const Tail *t, const Follower *f) {
        for (size_t i = 0; i < TAIL_PAGES_MAX; i++) {
                const TailPage *p = t->pages + i;

                if (p->topic == f->topic && is_within(f, p->from, p->from + TAIL_PAGE_EVENTS))
                        return true;
        }

        return false;
}

/* As many as those want who are about there. */
static unsigned page_size(const Tail *t, const Follower *for_whom) {
        int64_t from = for_whom->after + 1;
        unsigned size = for_whom->credit;
        const Follower *f;

        TAILQ_FOREACH(f, &t->lagging, entry)
        if (f->topic == for_whom->topic && f->credit > size && is_within(f, from, from + TAIL_PAGE_EVENTS))
                size = f->credit;

        return size < TAIL_PAGE_EVENTS ? size : TAIL_PAGE_EVENTS;
}

static void page_start(TailPage *p, Follower *f) {
        LogRange range = { .from = f->after + 1,
                           .limit = page_size(p->tail, f),
                           .bytes_max = TAIL_PAGE_BYTES };
        int r;

        p->topic = tail_topic_ref(f->topic);
        p->from = range.from;
        r = log_read_pinned(p->tail->log, &p->reading, p->topic->name, p->topic->id, &range, on_page, p);
        if (r < 0) {
                topic_rest(p->topic);
                tail_page_done(p);
        }
}

void tail_pages_start(Tail *t) {
        Follower *f = TAILQ_FIRST(&t->lagging);

        for (size_t i = 0; f && i < TAIL_PAGES_MAX; i++) {
                if (t->pages[i].topic)
                        continue;
                while (f && (f->topic->resting || is_served(t, f)))
                        f = TAILQ_NEXT(f, entry);
                if (f)
                        page_start(t->pages + i, f);
        }
}
