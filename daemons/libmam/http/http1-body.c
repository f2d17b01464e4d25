/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The body of a request on HTTP/1
 *
 * Nothing is read before somebody asks; 100 Continue is sent then. What nobody asked for is dropped after
 * the answer, so that the connection can be used again.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-exchange.h"

/* Of an upgraded exchange whose side has ended, and nobody asked for the other one: waited for, not kept. */
static bool is_dropped(const MamHttpExchange *x) {
        return x->upgraded && x->ended && x->body_mode == HTTP_BODY_UNASKED;
}

bool http1_body_is_wanted(const HttpConnection *c) {
        const MamHttpExchange *x = c->http1.carrier.exchange;

        if (!x)
                return c->http1.framing != MAM_HTTP_BODY_NONE && !c->closing;
        return http_exchange_wants_body(x) || is_dropped(x);
}

/* The body is wrong. Without an exchange its answer was given already and only the connection suffers. */
static bool refuse(HttpConnection *c, int error, unsigned status, const char *reason) {
        if (c->http1.carrier.exchange) {
                http_exchange_body_fail(c->http1.carrier.exchange, error, status, reason);
        } else {
                c->closing = c->linger = true;
        }
        return true;
}

static bool invite(HttpConnection *c, MamHttpExchange *x) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        struct iovec iov = { (void *) text, sizeof(text) - 1 };

        if (!x->head.expect_continue || c->http1.asked)
                return false;
        c->http1.asked = true;
        return !x->started && http_connection_put(c, &iov, 1) >= 0;
}

static MamHttpRange take(HttpConnection *c, uint64_t max) {
        MamHttpRange piece = { c->input.view, c->input.size };

        if (piece.size > max)
                piece.size = (size_t) max;
        http_input_consume(&c->input, piece.size);
        return piece;
}

/* Of the trailers, whose section the decoder has checked and bounded, only complete fields count. */
static bool finish_chunked(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;
        MamHttpField fields[MAM_HTTP_TRAILERS_MAX];
        Http1 *h = &c->http1;
        const char *reason = NULL;
        size_t n = 0;
        int r;

        r = mam_http_parse_trailers(fields, &n, mam_buffer_bytes(&h->trailers), h->trailers.size, &reason);
        if (r < 0)
                return refuse(c, -EBADMSG, 400, reason);
        h->framing = MAM_HTTP_BODY_NONE;
        if (x)
                http_exchange_deliver_end(x, n > 0 ? fields : NULL, n);
        mam_buffer_reset(&h->trailers);
        return true;
}

static bool step_chunked(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;
        const char *reason = "malformed body", *start = c->input.view;
        Http1 *h = &c->http1;
        MamHttpRange piece, trailers;
        bool done;
        ssize_t n;

        n = mam_http_chunked_decode(&h->chunked, start, c->input.size, &piece, &done, &reason);
        if (n < 0)
                return refuse(c, -EBADMSG, 400, reason);
        trailers = mam_http_chunked_trailers(&h->chunked, start);
        if (trailers.size > 0 && mam_buffer_append(&h->trailers, trailers.data, trailers.size) < 0)
                return refuse(c, -ENOMEM, 503, "out of memory");
        http_input_consume(&c->input, (size_t) n);

        if (x && piece.size > 0) {
                http_exchange_deliver(x, piece.data, piece.size);
        } else if (!x) {
                h->body_seen += piece.size;
                if (h->body_seen > c->server->options.body_max)
                        return refuse(c, -EMSGSIZE, 413, NULL);
        }
        return done ? finish_chunked(c) : true;
}

static bool step_length(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;
        Http1 *h = &c->http1;
        MamHttpRange piece = take(c, h->body_left);

        h->body_left -= piece.size;
        h->body_seen += piece.size;
        if (h->body_left == 0)
                h->framing = MAM_HTTP_BODY_NONE;
        if (x)
                http_exchange_deliver(x, piece.data, piece.size);
        return true;
}

/* Bytes until the client closes its side. */
static bool step_upgraded(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;
        MamHttpRange piece = take(c, UINT64_MAX);

        if (piece.size > 0 && http_exchange_wants_body(x)) {
                http_exchange_deliver(x, piece.data, piece.size);
        } else if (piece.size == 0 && c->eof) {
                c->http1.framing = MAM_HTTP_BODY_NONE;
        }
        return piece.size > 0 || c->eof;
}

bool http1_body_step(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;
        uint64_t max = x ? x->body_max : c->server->options.body_max;
        Http1 *h = &c->http1;

        if (x && is_dropped(x) && h->framing == MAM_HTTP_BODY_NONE) {
                x->body_mode = HTTP_BODY_ENDED;
                return true;
        }
        if (h->framing == MAM_HTTP_BODY_UNTIL_CLOSE)
                return step_upgraded(c);
        if (x && h->framing == MAM_HTTP_BODY_NONE) {
                http_exchange_deliver_end(x, NULL, 0);
                return true;
        }
        if (h->framing == MAM_HTTP_BODY_LENGTH && (h->body_seen > max || h->body_left > max - h->body_seen))
                return refuse(c, -EMSGSIZE, 413, "the request's body is larger than allowed");
        if (c->input.size == 0) {
                if (c->eof)
                        return refuse(c, -EPIPE, 0, NULL);
                return x && invite(c, x);
        }
        return h->framing == MAM_HTTP_BODY_LENGTH ? step_length(c) : step_chunked(c);
}
