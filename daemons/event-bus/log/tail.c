/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Following topics: followers, their queues, and handing out
 *
 * Followers are called from the event loop only, each once in its turn and with one run of events; when
 * handing out takes longer than TAIL_WORK_USEC the rest waits for the next turn of the loop.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/tail-internal.h"

/* Topics */

static size_t bucket_of(const char *name) {
        uint32_t hash = 2166136261U;

        for (; *name; name++)
                hash = (hash ^ (unsigned char) *name) * 16777619U;
        return hash % TAIL_BUCKETS;
}

TailTopic *tail_topic_find(Tail *t, const char *name) {
        TailTopic *o;

        LIST_FOREACH(o, t->buckets + bucket_of(name), topics)
                if (strcmp(o->name, name) == 0)
                        return o;

        return NULL;
}

/* Nothing is read for it any more, and nobody finds it. */
static void topic_unlink(TailTopic *o) {
        LIST_REMOVE(o, topics);
        if (o->gone)
                return;

        o->tail->n_topics--;
        o->tail->ring_bytes -= o->ring.bytes;
        tail_ring_reset(&o->ring, o->ring.end);
        o->reading = log_call_free(o->reading);
        o->retry = sd_event_source_disable_unref(o->retry);
}

TailTopic *tail_topic_ref(TailTopic *o) {
        o->n_ref++;
        return o;
}

TailTopic *tail_topic_unref(TailTopic *o) {
        if (!o || --o->n_ref > 0)
                return NULL;

        topic_unlink(o);
        tail_ring_done(&o->ring);
        free(o);
        return NULL;
}

static int topic_get(Tail *t, const char *name, TailTopic **ret) {
        TailTopic *o = tail_topic_find(t, name);
        size_t size = strlen(name) + 1;

        if (o) {
                *ret = tail_topic_ref(o);
                return 0;
        }

        o = calloc(1, sizeof(*o) + size);
        if (!o)
                return -ENOMEM;

        o->n_ref = 1;
        o->tail = t;
        TAILQ_INIT(&o->waiting);
        tail_ring_init(&o->ring, TAIL_RING_BYTES);
        memcpy(o->name, name, size);
        LIST_INSERT_HEAD(t->buckets + bucket_of(name), o, topics);
        t->n_topics++;

        *ret = o;
        return 0;
}

/* A topic of this name that is made anew is another one, for other followers. */
void tail_topic_gone(TailTopic *o) {
        Tail *t = o->tail;
        Follower *f;

        if (o->gone)
                return;

        topic_unlink(o);
        o->gone = true;
        LIST_INSERT_HEAD(&t->gone, o, topics);
        LIST_FOREACH(f, &o->followers, followers)
                if (!f->ended)
                        tail_follower_queue(f, &t->ready);
        tail_wake(t);
}

/* Where the first one begins nobody knows before the log was asked. */
static void topic_place(TailTopic *o) {
        Follower *f, *next;

        tail_ring_reset(&o->ring, o->known_last);
        for (f = TAILQ_FIRST(&o->waiting); f; f = next) {
                next = TAILQ_NEXT(f, entry);
                tail_follower_schedule(f);
        }
}

void tail_topic_heard(TailTopic *o, const LogHead *head) {
        if (head->id == 0 || (o->id != 0 && o->id != head->id)) {
                tail_topic_gone(o);
                return;
        }

        o->first = head->first;
        if (o->id == 0) {
                o->id = head->id;
                o->known_last = head->last;
                topic_place(o);
        }
        tail_topic_grew(o, head->last);
}

void tail_topic_grew(TailTopic *o, int64_t last) {
        if (o->id == 0)
                return; /* asked already, and the answer is newer */
        if (o->known_last < last)
                o->known_last = last;
        if (o->heard_last < last)
                o->heard_last = last;
        tail_topic_advance(o);
}

/* Queues */

/* A timer that is due at once: a defer source that is enabled again and again would not let anybody else in,
 * as sd-event counts it as pending since it was made. */
void tail_wake(Tail *t) {
        if (t->awake)
                return;

        t->awake = true;
        (void) sd_event_source_set_time(t->work, 1);
        (void) sd_event_source_set_enabled(t->work, SD_EVENT_ONESHOT);
}

void tail_follower_queue(Follower *f, FollowerQueue *queue) {
        if (f->queue == queue)
                return;
        if (f->queue)
                TAILQ_REMOVE(f->queue, f, entry);
        f->queue = queue;
        if (queue)
                TAILQ_INSERT_TAIL(queue, f, entry);
}

void tail_follower_schedule(Follower *f) {
        TailTopic *o = f->topic;
        const LogEvent *events;
        TailChunk *chunk;
        size_t n;
        int r;

        if (o && o->gone && !f->ended)
                return; /* it is ready, for being told so */
        if (!o || f->ended || f->credit == 0) {
                tail_follower_queue(f, NULL);
                return;
        }
        if (o->id == 0) {
                tail_follower_queue(f, &o->waiting);
                return;
        }

        r = tail_ring_find(&o->ring, f->after, &chunk, &events, &n);
        if (r == 0) {
                tail_follower_queue(f, &o->waiting);
                if (f->after > o->known_last)
                        tail_bell_poll(o->tail); /* what it has seen we have not heard of */
                tail_topic_advance(o);
                return;
        }

        tail_follower_queue(f, r > 0 ? &o->tail->ready : &o->tail->lagging);
        tail_wake(o->tail);
}

/* Calling */

static void follower_call(Follower *f, int error, const LogEvent *events, size_t n, int64_t first) {
        TailTopic *o = tail_topic_ref(f->topic); /* for whoever goes on with it behind us */
        Tail *t = f->tail;

        t->current = f;
        f->callback(f, error, events, n, first, f->userdata);
        if (t->current == f) { /* not freed */
                t->current = NULL;
                tail_follower_schedule(f);
        }
        (void) tail_topic_unref(o);
}

void tail_follower_end(Follower *f, int error, int64_t first) {
        f->ended = true;
        tail_follower_queue(f, NULL);
        follower_call(f, error, NULL, 0, first);
}

void tail_follower_deliver(Follower *f, const LogEvent *events, size_t n, int64_t end) {
        assert(f->credit > 0);
        assert(n > 0);

        if (n > f->credit) {
                n = f->credit;
                end = events[n - 1].position;
        }

        f->credit -= (unsigned) n;
        f->position = events[n - 1].position;
        f->after = end;
        tail_follower_queue(f, NULL);
        follower_call(f, 0, events, n, f->topic->first);
}

static void follower_serve(Follower *f) {
        _cleanup_(tail_chunk_unrefp) TailChunk *held = NULL;
        const LogEvent *events;
        TailChunk *chunk;
        size_t n;

        if (f->topic->gone) {
                tail_follower_end(f, -ENOENT, 0);
                return;
        }
        if (f->credit == 0 || tail_ring_find(&f->topic->ring, f->after, &chunk, &events, &n) <= 0) {
                tail_follower_queue(f, NULL);
                tail_follower_schedule(f);
                return;
        }

        held = tail_chunk_ref(chunk); /* the last follower may go in its callback, and the ring with it */
        tail_follower_deliver(f, events, n, chunk->end);
}

static int on_work(sd_event_source *s, uint64_t usec, void *userdata) {
        Tail *t = userdata;
        uint64_t end = mam_now_monotonic() + TAIL_WORK_USEC;
        Follower *f;

        t->awake = false;
        tail_bell_flush(t);
        while ((f = TAILQ_FIRST(&t->ready))) {
                follower_serve(f);
                if (mam_now_monotonic() >= end)
                        break;
        }
        tail_pages_start(t);

        if (!TAILQ_EMPTY(&t->ready))
                tail_wake(t);
        return 0;
}

/* Followers */

int tail_follow(Tail *t,
                Follower **ret,
                const char *topic,
                int64_t after,
                FollowerCallback callback,
                void *userdata) {
        TailTopic *o = NULL;
        Follower *f;
        int r;

        assert(t);
        assert(ret);
        assert(topic);
        assert(callback);

        if (after < 0 || !topic_name_is_valid(topic))
                return -EINVAL;

        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        r = topic_get(t, topic, &o);
        if (r < 0) {
                free(f);
                return r;
        }

        *f = (Follower){ .tail = t,
                         .topic = o,
                         .after = after,
                         .position = after,
                         .callback = callback,
                         .userdata = userdata };
        LIST_INSERT_HEAD(&o->followers, f, followers);
        if (o->id == 0)
                tail_bell_poll(t);

        *ret = f;
        return 0;
}

Follower *follower_free(Follower *f) {
        if (!f)
                return NULL;

        tail_follower_queue(f, NULL);
        if (f->topic) {
                if (f->tail->current == f)
                        f->tail->current = NULL;
                LIST_REMOVE(f, followers);
                f->topic = tail_topic_unref(f->topic);
        }

        free(f);
        return NULL;
}

void follower_want(Follower *f, unsigned events) {
        assert(f);

        f->credit = events > UINT32_MAX - f->credit ? UINT32_MAX : f->credit + events;
        if (!f->queue)
                tail_follower_schedule(f);
}

void follower_seek(Follower *f, int64_t after) {
        assert(f);
        assert(after >= 0);

        f->after = f->position = after;
        if (!f->topic || f->topic->gone)
                return;

        f->ended = false;
        tail_follower_queue(f, NULL);
        tail_follower_schedule(f);
}

int64_t follower_position(const Follower *f) {
        assert(f);

        return f->position;
}

/* Life */

int tail_new(Tail **ret, sd_event *event, Log *log, MamRedis *listen, MamRedis *ring) {
        Tail *t;
        int r;

        assert(ret);
        assert(event);
        assert(log);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;

        t->event = sd_event_ref(event);
        t->log = log;
        t->ring = ring;
        TAILQ_INIT(&t->ready);
        TAILQ_INIT(&t->lagging);
        TAILQ_INIT(&t->served);
        for (size_t i = 0; i < TAIL_PAGES_MAX; i++)
                t->pages[i].tail = t;

        r = sd_event_add_time(event, &t->work, CLOCK_MONOTONIC, 1, 1, on_work, t);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->work, SD_EVENT_OFF);
        if (r >= 0)
                r = tail_bell_init(t);
        if (r >= 0 && listen)
                r = tail_bell_listen(t, listen);
        if (r < 0) {
                (void) tail_free(t);
                return r;
        }

        *ret = t;
        return 0;
}

/* Its followers stay, for their owners to free, and get nothing any more. */
static void topic_orphan(TailTopic *o) {
        Follower *f;

        (void) tail_topic_ref(o);
        while ((f = LIST_FIRST(&o->followers))) {
                tail_follower_queue(f, NULL);
                LIST_REMOVE(f, followers);
                f->topic = tail_topic_unref(f->topic);
        }
        (void) tail_topic_unref(o);
}

Tail *tail_free(Tail *t) {
        TailTopic *o;

        if (!t)
                return NULL;

        assert(!t->current);

        for (size_t i = 0; i < TAIL_PAGES_MAX; i++)
                tail_page_done(t->pages + i);
        for (size_t i = 0; i < TAIL_BUCKETS; i++)
                while ((o = LIST_FIRST(t->buckets + i)))
                        topic_orphan(o);
        while ((o = LIST_FIRST(&t->gone)))
                topic_orphan(o);
        tail_bell_done(t);
        t->work = sd_event_source_disable_unref(t->work);
        sd_event_unref(t->event);
        free(t);
        return NULL;
}
