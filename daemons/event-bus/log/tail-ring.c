/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The newest events of one topic
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/tail-ring.h"

/* Chunks */

static size_t event_text_size(const LogEvent *e) {
        return e->size + 1 + strlen(e->key ?: "") + 1 + (e->stream ? strlen(e->stream) + 1 : 0);
}

static char *copy(char **at, const char *text, size_t size) {
        char *begin = *at;

        memcpy(begin, text, size);
        begin[size] = '\0';
        *at += size + 1;
        return begin;
}

int tail_chunk_new(TailChunk **ret, const LogEvent *events, size_t n, int64_t end) {
        size_t bytes = sizeof(TailChunk) + n * sizeof(LogEvent);
        TailChunk *c;
        char *at;

        assert(ret);
        assert(events || n == 0);

        for (size_t i = 0; i < n; i++)
                bytes += event_text_size(events + i);

        c = malloc(bytes);
        if (!c)
                return -ENOMEM;

        *c = (TailChunk){ .n_ref = 1, .n = n, .bytes = bytes, .end = end };
        at = (char *) (c->events + n);
        for (size_t i = 0; i < n; i++) {
                const LogEvent *e = events + i;

                c->events[i] = *e;
                c->events[i].text = copy(&at, e->text, e->size);
                c->events[i].key = copy(&at, e->key ?: "", strlen(e->key ?: ""));
                if (e->stream)
                        c->events[i].stream = copy(&at, e->stream, strlen(e->stream));
        }

        *ret = c;
        return 0;
}

TailChunk *tail_chunk_ref(TailChunk *c) {
        assert(c);

        c->n_ref++;
        return c;
}

TailChunk *tail_chunk_unref(TailChunk *c) {
        if (c && --c->n_ref == 0)
                free(c);
        return NULL;
}

size_t tail_events_behind(const LogEvent *events, size_t n, int64_t after) {
        size_t low = 0, high = n;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (events[middle].position <= after)
                        low = middle + 1;
                else
                        high = middle;
        }

        return low;
}

/* Ring */

static TailChunk *chunk_at(const TailRing *r, size_t i) {
        return r->chunks[(r->first + i) % r->n_allocated];
}

static void drop_oldest(TailRing *r) {
        TailChunk *c = chunk_at(r, 0);

        r->first = (r->first + 1) % r->n_allocated;
        r->n--;
        r->bytes -= c->bytes;
        r->base = c->end;
        (void) tail_chunk_unref(c);
}

static void trim(TailRing *r) {
        while (r->n > 1 && r->bytes > r->bytes_max)
                drop_oldest(r);
}

static int grow(TailRing *r) {
        size_t n_allocated = r->n_allocated > 0 ? 2 * r->n_allocated : 8;
        TailChunk **chunks;

        if (r->n < r->n_allocated)
                return 0;

        chunks = calloc(n_allocated, sizeof(TailChunk *));
        if (!chunks)
                return -ENOMEM;
        for (size_t i = 0; i < r->n; i++)
                chunks[i] = chunk_at(r, i);

        free(r->chunks);
        r->chunks = chunks;
        r->n_allocated = n_allocated;
        r->first = 0;
        return 0;
}

void tail_ring_init(TailRing *r, size_t bytes_max) {
        assert(r);

        *r = (TailRing){ .bytes_max = bytes_max };
}

void tail_ring_done(TailRing *r) {
        assert(r);

        tail_ring_reset(r, 0);
        free(r->chunks);
        r->chunks = NULL;
        r->n_allocated = 0;
}

void tail_ring_reset(TailRing *r, int64_t after) {
        assert(r);

        while (r->n > 0)
                drop_oldest(r);
        r->base = r->end = after;
}

void tail_ring_set_bytes_max(TailRing *r, size_t bytes_max) {
        assert(r);

        r->bytes_max = bytes_max;
        trim(r);
}

int tail_ring_append(TailRing *r, const LogEvent *events, size_t n, int64_t end) {
        _cleanup_(tail_chunk_unrefp) TailChunk *c = NULL;
        int error;

        assert(r);
        assert(n == 0 || (events[0].position > r->end && events[n - 1].position <= end));
        assert(end >= r->end);

        if (n == 0) { /* a hole */
                if (r->n > 0)
                        chunk_at(r, r->n - 1)->end = end;
                else
                        r->base = end;
                r->end = end;
                return 0;
        }

        error = grow(r);
        if (error < 0)
                return error;
        error = tail_chunk_new(&c, events, n, end);
        if (error < 0)
                return error;

        r->bytes += c->bytes;
        r->chunks[(r->first + r->n++) % r->n_allocated] = MAM_TAKE(c);
        r->end = end;
        trim(r);
        return 0;
}

int tail_ring_find(
                const TailRing *r,
                int64_t after,
                TailChunk **ret_chunk,
                const LogEvent **ret_events,
                size_t *ret_n) {
        size_t low = 0, high, i;
        TailChunk *c;

        assert(r);
        assert(ret_chunk);
        assert(ret_events);
        assert(ret_n);

        if (after < r->base)
                return -ERANGE;

        high = r->n;
        while (low < high) { /* the first chunk that ends with something behind "after" */
                size_t middle = low + (high - low) / 2;

                c = chunk_at(r, middle);
                if (c->events[c->n - 1].position <= after)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low == r->n)
                return 0;

        c = chunk_at(r, low);
        i = tail_events_behind(c->events, c->n, after);
        *ret_chunk = c;
        *ret_events = c->events + i;
        *ret_n = c->n - i;
        return 1;
}
