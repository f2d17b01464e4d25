/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From where the relay reads
 *
 * A snapshot names the transactions that were open, but only below its xmax, which is one behind the last
 * that had ended: later ones may be open too. They are known as a range, up to the first that had not begun.
 */

#include "event-bus/outbox/window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void relay_window_init(RelayWindow *w) {
        assert(w);

        w->base = 0;
        w->high = 0;
        w->next = 0;
        w->n = 0;
}

typedef struct Next {
        RelayPending *pending;
        size_t n;
        bool full;
} Next;

static void add(Next *next, uint64_t first, uint64_t last, int64_t base) {
        RelayPending *before = next->n > 0 ? next->pending + next->n - 1 : NULL;

        if (before && before->base == base && before->last + 1 == first) {
                before->last = last;
                return;
        }
        if (next->n == RELAY_PENDING_MAX) {
                next->full = true;
                return;
        }
        next->pending[next->n++] = (RelayPending){ .first = first, .last = last, .base = base };
}

/* Those of [first, last] that may still be open; they were known, or began after high was seen. */
static void add_open(const RelayWindow *w, Next *next, uint64_t first, uint64_t last) {
        for (size_t i = 0; i < w->n && first <= last; i++) {
                const RelayPending *p = w->pending + i;
                uint64_t from = p->first > first ? p->first : first, to = p->last < last ? p->last : last;

                if (from <= to)
                        add(next, from, to, p->base);
        }
        if (last >= w->next)
                add(next, first > w->next ? first : w->next, last, w->high);
}

static bool read_number(const char **text, uint64_t *ret) {
        char *end;

        if (**text < '0' || **text > '9')
                return false;
        *ret = strtoull(*text, &end, 10);
        *text = end;
        return true;
}

static int read_snapshot(const RelayWindow *w, Next *next, const char *text, uint64_t next_id) {
        uint64_t x, xmin, xmax;

        if (!read_number(&text, &xmin) || *text++ != ':' || !read_number(&text, &xmax) || *text++ != ':')
                return -EBADMSG;
        while (*text) {
                if (!read_number(&text, &x) || (*text && *text++ != ','))
                        return -EBADMSG;
                add_open(w, next, x, x);
        }
        if (next_id > xmax)
                add_open(w, next, xmax, next_id - 1);
        return next->full ? -E2BIG : 0;
}

int relay_window_advance(
                RelayWindow *w,
                const char *snapshot,
                int64_t high,
                uint64_t next_id,
                int64_t until) {
        _cleanup_(mam_freep) RelayPending *pending = NULL;
        Next next = { 0 };
        int r;

        assert(w);
        assert(snapshot);

        pending = calloc(RELAY_PENDING_MAX, sizeof(*pending));
        if (!pending)
                return -ENOMEM;
        next.pending = pending;
        if (high < w->high) /* never falls; what had not begun then has not begun now */
                high = w->high;
        if (next_id < w->next)
                next_id = w->next;
        r = read_snapshot(w, &next, snapshot, next_id);
        if (r < 0) {
                relay_window_init(w);
                return r;
        }

        w->high = high;
        w->next = next_id;
        w->base = until < high ? until : high;
        memcpy(w->pending, pending, next.n * sizeof(*pending));
        w->n = next.n;
        return 0;
}

int relay_window_format(const RelayWindow *w, MamBuffer *first, MamBuffer *last, MamBuffer *bases) {
        int r = 0;

        assert(w);

        for (size_t i = 0; r >= 0 && i < w->n; i++) {
                const RelayPending *p = w->pending + i;
                const char *before = i == 0 ? "{" : ",";

                r = mam_buffer_appendf(first, "%s%" PRIu64, before, p->first);
                if (r >= 0)
                        r = mam_buffer_appendf(last, "%s%" PRIu64, before, p->last);
                if (r >= 0)
                        r = mam_buffer_appendf(bases, "%s%" PRId64, before, p->base);
        }
        for (size_t i = 0; r >= 0 && i < 3; i++) {
                MamBuffer *b = i == 0 ? first : i == 1 ? last : bases;

                r = mam_buffer_append_string(b, w->n == 0 ? "{}" : "}");
        }
        return r;
}
