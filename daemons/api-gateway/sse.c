/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/sse.h"

/* true: an event ended with this byte. */
static bool track_byte(SseTrack *t, char c) {
        bool was_cr = t->after_cr;

        t->after_cr = c == '\r';
        if (c != '\r' && c != '\n') {
                t->in_line = t->in_event = true;
                return false;
        }
        if (c == '\n' && was_cr)
                return false; /* the second half of CR LF */
        if (t->in_line) {
                t->in_line = false;
                return false;
        }
        t->in_event = false;
        return true;
}

/* The rest of a line needs no look at each byte. */
static const char *skip_line(SseTrack *t, const char *p, const char *end) {
        const char *q = p;

        while (q < end && *q != '\r' && *q != '\n')
                q++;
        if (q > p) {
                t->in_line = t->in_event = true;
                t->after_cr = false;
        }
        return q;
}

/* An LF that follows belongs to the event's end as well, if it is there. */
static const char *past_lf(SseTrack *t, const char *p, const char *end) {
        if (t->after_cr && p < end && *p == '\n') {
                t->after_cr = false;
                p++;
        }
        return p;
}

size_t sse_track(SseTrack *t, const char *data, size_t size) {
        const char *p = data, *end = data + size, *last = data;

        assert(t);

        while ((p = skip_line(t, p, end)) < end) {
                if (track_byte(t, *p++))
                        last = p = past_lf(t, p, end);
        }
        return (size_t) (last - data);
}

size_t sse_first_end(SseTrack t, const char *data, size_t size) {
        const char *p = data, *end = data + size;

        if (sse_at_boundary(&t))
                return (size_t) (past_lf(&t, p, end) - data);
        while ((p = skip_line(&t, p, end)) < end) {
                if (track_byte(&t, *p++))
                        return (size_t) (past_lf(&t, p, end) - data);
        }
        return SIZE_MAX;
}

bool sse_at_boundary(const SseTrack *t) {
        assert(t);

        return !t->in_event;
}

bool sse_is_type(const char *type, size_t size) {
        static const char name[] = "text/event-stream";
        size_t n = sizeof(name) - 1;

        return size >= n && strncasecmp(type, name, n) == 0 &&
               (size == n || type[n] == ';' || type[n] == ' ' || type[n] == '\t');
}
