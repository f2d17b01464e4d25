/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an HTTP/2 connection may send
 */

#include <assert.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http2-guard.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define CONTINUATIONS_MAX 7U /* one less than nghttp2 takes */
#define WORK_CREDIT       4U /* a request, or a frame of data sent, pays for so many control frames */
#define COST_SETTINGS     10U
#define COST_EMPTY        10U
#define RESET             0x80000000U /* of an entry in open: we have reset it */

typedef struct Frame {
        uint32_t size;
        uint8_t type;
        uint8_t flags;
        uint32_t stream;
} Frame;

/* What is wrong with a frame. */
typedef struct Verdict {
        uint32_t error;
        const char *reason;
} Verdict;

void http2_guard_init(Http2Guard *g, size_t block_max, uint64_t now_usec) {
        assert(g);

        *g = (Http2Guard){
                .block_max = block_max > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t) block_max,
                .control_credit = HTTP2_CONTROL_CREDIT,
                .reset_credit = HTTP2_RESET_CREDIT,
                .refilled_usec = now_usec,
        };
}

void http2_guard_done(Http2Guard *g) {
        if (!g)
                return;
        free(g->open);
        g->open = NULL;
        g->n_open = g->allocated = 0;
}

static void refill_one(unsigned *credit, unsigned max, uint64_t amount) {
        *credit = amount >= max - *credit ? max : *credit + (unsigned) amount;
}

/* In steps that lose no fraction: a client cannot starve its own refill by sending often. */
static void refill(Http2Guard *g, uint64_t now_usec) {
        const uint64_t step = MAM_USEC_PER_SEC / HTTP2_RESET_REFILL;
        uint64_t steps;

        if (now_usec < g->refilled_usec + step)
                return;
        steps = (now_usec - g->refilled_usec) / step;
        g->refilled_usec += steps * step;
        refill_one(&g->reset_credit, HTTP2_RESET_CREDIT, steps);
        refill_one(&g->control_credit,
                   HTTP2_CONTROL_CREDIT,
                   steps * (HTTP2_CONTROL_REFILL / HTTP2_RESET_REFILL));
}

static void earn(Http2Guard *g, unsigned amount) {
        refill_one(&g->control_credit, HTTP2_CONTROL_CREDIT, amount);
}

static bool charge(unsigned *credit, unsigned cost) {
        if (*credit < cost)
                return false;
        *credit -= cost;
        return true;
}

static int blame(Verdict *v, uint32_t error, const char *reason) {
        *v = (Verdict){ error, reason };
        return 1;
}

static int charge_control(Http2Guard *g, unsigned cost, Verdict *v) {
        if (charge(&g->control_credit, cost))
                return 0;
        return blame(v, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames that bring no work");
}

/* ---- streams that the client has begun and not ended ---- */

/* The stream's place in open, or n_open. */
static unsigned find_open(const Http2Guard *g, uint32_t stream) {
        for (unsigned i = g->n_open; i-- > 0;) {
                if ((g->open[i] & ~RESET) == stream)
                        return i;
        }
        return g->n_open;
}

static void drop_open(Http2Guard *g, unsigned i) {
        memmove(&g->open[i], &g->open[i + 1], (g->n_open - i - 1) * sizeof(g->open[0]));
        g->n_open--;
        if (g->n_open == 0) {
                free(g->open);
                g->open = NULL;
                g->allocated = 0;
        }
}

/* Makes room by forgetting the oldest stream that we have reset; with live ones alone it is never full, as
 * HTTP2_STREAMS_MAX is less. */
static bool forget_reset(Http2Guard *g) {
        for (unsigned i = 0; i < g->n_open; i++) {
                if (g->open[i] & RESET) {
                        drop_open(g, i);
                        return true;
                }
        }
        return false;
}

static int add_open(Http2Guard *g, uint32_t stream, Verdict *v) {
        if (g->n_open == HTTP2_GUARD_OPEN_MAX && !forget_reset(g))
                return blame(v, NGHTTP2_ENHANCE_YOUR_CALM, "far more streams than were allowed");
        if (g->n_open == g->allocated) {
                unsigned n = g->allocated == 0 ? 4 : g->allocated * 2;
                uint32_t *open;

                open = realloc(g->open, n * sizeof(*open));
                if (!open)
                        return -ENOMEM;
                g->open = open;
                g->allocated = n;
        }
        g->open[g->n_open++] = stream;
        return 0;
}

static void end_stream(Http2Guard *g, uint32_t stream) {
        unsigned i = find_open(g, stream);

        if (i < g->n_open)
                drop_open(g, i);
        g->closed[g->closed_at++ % HTTP2_GUARD_CLOSED_MAX] = stream;
}

static bool was_closed(const Http2Guard *g, uint32_t stream) {
        for (size_t i = 0; i < HTTP2_GUARD_CLOSED_MAX; i++) {
                if (g->closed[i] == stream)
                        return true;
        }
        return false;
}

/* ---- frames ---- */

static int judge_data(Http2Guard *g, const Frame *f, Verdict *v) {
        bool end = f->flags & NGHTTP2_FLAG_END_STREAM;

        if (f->stream == 0 || f->stream % 2 == 0 || f->stream > g->highest)
                return blame(v, NGHTTP2_PROTOCOL_ERROR, "DATA on an idle stream");
        if (find_open(g, f->stream) == g->n_open)
                return blame(v, NGHTTP2_STREAM_CLOSED, "DATA on a stream that the client has closed");
        if (f->size == 0 && !end)
                return charge_control(g, COST_EMPTY, v);
        if (f->size > 0)
                earn(g, 1);
        if (end)
                end_stream(g, f->stream);
        return 0;
}

static int judge_headers(Http2Guard *g, const Frame *f, Verdict *v) {
        int r;

        if (f->stream == 0 || f->stream % 2 == 0)
                return blame(v, NGHTTP2_PROTOCOL_ERROR, "HEADERS on a stream that is not the client's");
        if (f->stream > g->highest) {
                g->highest = f->stream;
                earn(g, WORK_CREDIT);
                r = add_open(g, f->stream, v);
                if (r != 0)
                        return r;
        } else if (find_open(g, f->stream) == g->n_open) {
                if (was_closed(g, f->stream))
                        return blame(v, NGHTTP2_STREAM_CLOSED, "HEADERS on a stream that has ended");
                return blame(v, NGHTTP2_PROTOCOL_ERROR, "stream ids do not grow");
        }
        if (f->flags & NGHTTP2_FLAG_END_STREAM)
                end_stream(g, f->stream);

        g->in_block = !(f->flags & NGHTTP2_FLAG_END_HEADERS);
        g->n_continuations = 0;
        g->block_size = f->size;
        if (g->block_size > g->block_max)
                return blame(v, NGHTTP2_ENHANCE_YOUR_CALM, "header block too large");
        return 0;
}

static int judge_continuation(Http2Guard *g, const Frame *f, Verdict *v) {
        if (!g->in_block)
                return blame(v, NGHTTP2_PROTOCOL_ERROR, "CONTINUATION without HEADERS");
        g->block_size += f->size;
        g->in_block = !(f->flags & NGHTTP2_FLAG_END_HEADERS);
        if (++g->n_continuations > CONTINUATIONS_MAX || g->block_size > g->block_max)
                return blame(v, NGHTTP2_ENHANCE_YOUR_CALM, "header block too large");
        return f->size == 0 ? charge_control(g, COST_EMPTY, v) : 0;
}

static int judge_reset(Http2Guard *g, const Frame *f, Verdict *v) {
        if (f->stream == 0 || f->stream % 2 == 0 || f->stream > g->highest)
                return blame(v, NGHTTP2_PROTOCOL_ERROR, "RST_STREAM on an idle stream");
        end_stream(g, f->stream);
        if (charge(&g->reset_credit, 1))
                return 0;
        return blame(v, NGHTTP2_ENHANCE_YOUR_CALM, "too many resets");
}

/* 0: fine, 1: *v says what is wrong, -ENOMEM. */
static int judge(Http2Guard *g, const Frame *f, Verdict *v) {
        if (f->size > HTTP2_FRAME_MAX)
                return blame(v, NGHTTP2_FRAME_SIZE_ERROR, "frame larger than allowed");
        if (g->in_block && f->type != NGHTTP2_CONTINUATION)
                return blame(v, NGHTTP2_PROTOCOL_ERROR, "header block interrupted");

        switch (f->type) {
        case NGHTTP2_DATA:
                return judge_data(g, f, v);
        case NGHTTP2_HEADERS:
                return judge_headers(g, f, v);
        case NGHTTP2_CONTINUATION:
                return judge_continuation(g, f, v);
        case NGHTTP2_RST_STREAM:
                return judge_reset(g, f, v);
        case NGHTTP2_SETTINGS:
                return charge_control(g, f->flags & NGHTTP2_FLAG_ACK ? 1 : COST_SETTINGS, v);
        case NGHTTP2_PRIORITY:
                if (f->stream == 0)
                        return blame(v, NGHTTP2_PROTOCOL_ERROR, "PRIORITY of no stream");
                return charge_control(g, 1, v);
        default: /* PING, WINDOW_UPDATE, GOAWAY, and what is not known */
                return charge_control(g, 1, v);
        }
}

static Frame frame_of(const uint8_t *p) {
        return (Frame){
                .size = (uint32_t) p[0] << 16 | (uint32_t) p[1] << 8 | p[2],
                .type = p[3],
                .flags = p[4],
                .stream = ((uint32_t) p[5] << 24 | (uint32_t) p[6] << 16 | (uint32_t) p[7] << 8 | p[8]) &
                          0x7fffffffU,
        };
}

ssize_t http2_guard_scan(
                Http2Guard *g,
                const uint8_t *data,
                size_t size,
                uint64_t now_usec,
                uint32_t *ret_error,
                const char **ret_reason) {
        size_t at = 0;

        assert(g);
        assert(data || size == 0);
        assert(ret_error);
        assert(ret_reason);

        refill(g, now_usec);
        while (at < size) {
                size_t n, start = at;
                Frame f;
                Verdict v;
                int r;

                if (g->left > 0) {
                        n = g->left < size - at ? g->left : size - at;
                        g->left -= (uint32_t) n;
                        at += n;
                        continue;
                }

                n = HTTP2_FRAME_HEAD_SIZE - g->head_size;
                if (n > size - at)
                        n = size - at;
                memcpy(g->head + g->head_size, data + at, n);
                g->head_size = (uint8_t) (g->head_size + n);
                at += n;
                if (g->head_size < HTTP2_FRAME_HEAD_SIZE)
                        break;

                f = frame_of(g->head);
                g->head_size = 0;
                g->left = f.size;
                g->in_headers = f.type == NGHTTP2_HEADERS || f.type == NGHTTP2_CONTINUATION;
                r = judge(g, &f, &v);
                if (r < 0)
                        return r;
                if (r > 0) {
                        g->left = 0;
                        *ret_error = v.error;
                        *ret_reason = v.reason;
                        return (ssize_t) start;
                }
        }
        return (ssize_t) at;
}

bool http2_guard_is_in_head(const Http2Guard *g) {
        assert(g);

        return g->in_block || (g->in_headers && g->left > 0) || g->head_size > 0;
}

bool http2_guard_reset(Http2Guard *g, uint32_t stream, bool client_is_to_blame, uint64_t now_usec) {
        unsigned i;

        assert(g);

        i = find_open(g, stream);
        if (i < g->n_open)
                g->open[i] |= RESET;
        if (!client_is_to_blame)
                return true;
        refill(g, now_usec);
        return charge(&g->reset_credit, 1);
}

bool http2_guard_empty(Http2Guard *g, uint64_t now_usec) {
        assert(g);

        refill(g, now_usec);
        return charge(&g->control_credit, COST_EMPTY);
}

void http2_guard_sent_data(Http2Guard *g) {
        assert(g);

        earn(g, WORK_CREDIT);
}
