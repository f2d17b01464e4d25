/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The state as text: base64 of numbers in 7-bit groups
 *
 * version, floor, redriven_to, epoch, lost, base of times (ms), leases (id, time, open), spans (distance to
 * the one before, length - 1, kind and flags, then what the flags announce). A group whose takes are settled
 * whole is a few dozen bytes, whatever its outstanding events.
 */

#include <assert.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/group-internal.h"

#define CODE_VERSION  1U
#define NUMBER_MAX    10U
#define HAS_ATTEMPTS  4U
#define HAS_UNTIL     8U
#define KIND_MASK     3U
#define COUNT_MAX     200000U /* spans, leases: beyond it no text is believed */
#define ATTEMPTS_MAX  1000000U
#define USEC_PER_MSEC 1000U

typedef struct Writer {
        uint8_t *data; /* owned */
        size_t n;
} Writer;

static void put(Writer *w, uint64_t value) {
        for (; value >= 0x80; value >>= 7)
                w->data[w->n++] = (uint8_t) (value | 0x80);
        w->data[w->n++] = (uint8_t) value;
}

/* Distances may be negative. */
static void put_signed(Writer *w, int64_t value) {
        put(w, ((uint64_t) value << 1) ^ (uint64_t) (value >> 63));
}

static uint64_t times_base(const Group *g) {
        uint64_t base = group_next_expiry(g);

        for (size_t i = 0; i < g->n_spans; i++) {
                if (g->spans[i].until_usec > 0 && g->spans[i].until_usec < base)
                        base = g->spans[i].until_usec;
        }
        return base == UINT64_MAX ? 0 : base / USEC_PER_MSEC;
}

static void write_spans(Writer *w, const Group *g, uint64_t base) {
        int64_t at = g->floor, lease = 0;

        put(w, g->n_spans);
        for (size_t i = 0; i < g->n_spans; i++) {
                const GroupSpan *s = g->spans + i;

                put(w, (uint64_t) (s->from - at));
                put(w, (uint64_t) (s->to - s->from));
                put(w,
                    (unsigned) s->kind | (s->attempts > 0 ? HAS_ATTEMPTS : 0) |
                                    (s->until_usec > 0 ? HAS_UNTIL : 0));
                if (s->kind == GROUP_LEASED) {
                        put_signed(w, (int64_t) s->lease - lease);
                        lease = s->lease;
                }
                if (s->attempts > 0)
                        put(w, s->attempts);
                if (s->until_usec > 0)
                        put(w, s->until_usec / USEC_PER_MSEC - base);
                at = s->to + 1;
        }
}

static int to_base64(const Writer *w, MamBuffer *text) {
        size_t size = (w->n + 2) / 3 * 4;
        char *to;
        int r;

        r = mam_buffer_reserve(text, size + 1, &to);
        if (r < 0)
                return r;
        (void) EVP_EncodeBlock((unsigned char *) to, w->data, (int) w->n);
        mam_buffer_commit(text, size);
        return 0;
}

int group_encode(const Group *g, MamBuffer *text) {
        _cleanup_(mam_freep) uint8_t *memory = NULL;
        uint64_t base = times_base(g);
        Writer w;

        assert(g);
        assert(text);

        memory = malloc((8 + g->n_leases * 3 + g->n_spans * 6) * NUMBER_MAX);
        if (!memory)
                return -ENOMEM;
        w = (Writer){ .data = memory };

        put(&w, CODE_VERSION);
        put(&w, (uint64_t) g->floor);
        put(&w, (uint64_t) g->redriven_to);
        put(&w, g->epoch);
        put(&w, g->lost);
        put(&w, base);
        put(&w, g->n_leases);
        for (size_t i = 0; i < g->n_leases; i++) {
                put(&w, g->leases[i].id);
                put(&w, g->leases[i].until_usec / USEC_PER_MSEC - base);
                put(&w, g->leases[i].open);
        }
        write_spans(&w, g, base);

        if (w.n > GROUP_CODE_MAX / 4 * 3)
                return -EFBIG;
        return to_base64(&w, text);
}

typedef struct Reader {
        const uint8_t *data;
        size_t n, at;
        bool bad;
} Reader;

static uint64_t get(Reader *r, uint64_t max) {
        uint64_t value = 0;

        for (unsigned shift = 0; shift < 64; shift += 7) {
                uint8_t byte;

                if (r->at >= r->n)
                        break;
                byte = r->data[r->at++];
                value |= (uint64_t) (byte & 0x7f) << shift;
                if (byte < 0x80) {
                        if (value > max)
                                break;
                        return value;
                }
        }

        r->bad = true;
        return 0;
}

static int64_t get_signed(Reader *r) {
        uint64_t v = get(r, UINT64_MAX);

        return (int64_t) (v >> 1) ^ -(int64_t) (v & 1);
}

static uint64_t get_time(Reader *r, uint64_t base) {
        uint64_t msec = get(r, UINT64_MAX / USEC_PER_MSEC);

        if (msec > UINT64_MAX / USEC_PER_MSEC - base) {
                r->bad = true;
                return 0;
        }
        return (base + msec) * USEC_PER_MSEC;
}

static bool read_span(Reader *r, const Group *g, GroupSpan *s, int64_t at, int64_t *lease, uint64_t base) {
        uint64_t flags;
        int64_t index = 0;

        /* at most half of all positions there can be: sums do not overflow */
        s->from = at + (int64_t) get(r, INT64_MAX / 4);
        s->to = s->from + (int64_t) get(r, INT64_MAX / 4);
        flags = get(r, KIND_MASK | HAS_ATTEMPTS | HAS_UNTIL);
        s->kind = (GroupKind) (flags & KIND_MASK);
        if (s->kind == GROUP_LEASED) {
                index = get_signed(r);
                if (index < -(int64_t) COUNT_MAX || index > (int64_t) COUNT_MAX)
                        r->bad = true;
                *lease += r->bad ? 0 : index;
                s->lease = (uint32_t) *lease;
        }
        if (flags & HAS_ATTEMPTS)
                s->attempts = (uint32_t) get(r, ATTEMPTS_MAX);
        if (flags & HAS_UNTIL)
                s->until_usec = get_time(r, base);

        return !r->bad && s->from > g->floor && s->from >= at && s->to < INT64_MAX / 2 &&
               s->kind <= GROUP_LEASED &&
               (s->kind != GROUP_LEASED || (*lease >= 0 && (size_t) *lease < g->n_leases));
}

static int read_group(Reader *r, Group *g) {
        uint64_t base, n_leases, n_spans;
        int64_t at, lease = 0;

        if (get(r, UINT64_MAX) != CODE_VERSION)
                return -EBADMSG;
        g->floor = (int64_t) get(r, INT64_MAX / 4);
        g->redriven_to = (int64_t) get(r, INT64_MAX / 4);
        g->epoch = get(r, UINT64_MAX);
        g->lost = get(r, UINT64_MAX);
        base = get(r, UINT64_MAX / USEC_PER_MSEC);
        n_leases = get(r, COUNT_MAX);
        if (r->bad || n_leases > r->n)
                return -EBADMSG;

        for (uint64_t i = 0; i < n_leases; i++) {
                uint64_t id = get(r, UINT64_MAX), until_usec = get_time(r, base);
                int k = group_add_lease(g, id, until_usec);

                if (k < 0)
                        return k;
                g->leases[i].open = (uint32_t) get(r, UINT32_MAX);
        }

        n_spans = get(r, COUNT_MAX);
        if (r->bad || n_spans > r->n)
                return -EBADMSG;
        g->spans = calloc(n_spans + 1, sizeof(*g->spans));
        if (!g->spans)
                return -ENOMEM;
        g->n_spans_allocated = n_spans + 1;

        at = g->floor;
        for (; g->n_spans < n_spans; g->n_spans++) {
                GroupSpan *s = g->spans + g->n_spans;

                if (!read_span(r, g, s, at, &lease, base))
                        return -EBADMSG;
                at = s->to + 1;
        }

        return r->bad || r->at != r->n ? -EBADMSG : 0;
}

int group_decode(Group *ret, const char *text) {
        _cleanup_(mam_freep) uint8_t *data = NULL;
        _cleanup_(group_done) Group g = { 0 };
        Reader reader = { 0 };
        size_t size;
        int n, r;

        assert(ret);
        assert(text);

        size = strlen(text);
        if (size == 0 || size % 4 != 0)
                return -EBADMSG;
        if (size > GROUP_CODE_MAX)
                return -EFBIG;

        data = malloc(size / 4 * 3);
        if (!data)
                return -ENOMEM;
        n = EVP_DecodeBlock(data, (const unsigned char *) text, (int) size);
        if (n < 0)
                return -EBADMSG;
        n -= (text[size - 1] == '=') + (text[size - 2] == '=');

        reader.data = data;
        reader.n = (size_t) n;
        r = read_group(&reader, &g);
        if (r < 0)
                return r;

        *ret = g;
        g = (Group){ 0 };
        return 0;
}
