/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The body of a request, as the server reads it
 *
 * Nothing is read before somebody asks; 100 Continue is sent then. What nobody asked for is dropped after
 * the answer, so that the connection can be used again.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-connection.h"

bool http_body_is_wanted(const HttpConnection *c) {
        const MamHttpExchange *x = c->exchange;

        if (!x)
                return c->framing != MAM_HTTP_BODY_NONE && !c->closing;
        return x->body_mode == HTTP_BODY_COLLECT || (x->body_mode == HTTP_BODY_STREAM && !x->body_paused);
}

void http_body_fail(HttpConnection *c, int error, unsigned status, const char *reason) {
        MamHttpExchange *x = c->exchange;
        HttpBodyMode mode;

        assert(x);
        assert(error < 0);

        mode = x->body_mode;
        x->body_mode = HTTP_BODY_ENDED;
        x->close = true; /* where the next request begins is not known any more */
        if (mode == HTTP_BODY_COLLECT) {
                (void) x->on_collected(x, NULL, 0, error, x->body_userdata);
        } else if (mode == HTTP_BODY_STREAM) {
                (void) x->on_body(x, NULL, 0, error, x->body_userdata);
        }

        if (error == -EPIPE) {
                x->aborted = true;
        } else {
                http_exchange_fail(x, status, reason);
        }
}

/* The body is wrong. Without an exchange its answer was given already and only the connection suffers. */
static bool refuse(HttpConnection *c, int error, unsigned status, const char *reason) {
        if (c->exchange) {
                http_body_fail(c, error, status, reason);
        } else {
                c->closing = c->linger = true;
        }
        return true;
}

static void deliver(MamHttpExchange *x, MamHttpRange piece) {
        HttpConnection *c = x->connection;
        int r;

        if (x->body_mode == HTTP_BODY_COLLECT) {
                r = mam_buffer_append(&x->body, piece.data, piece.size);
                if (r < 0)
                        http_body_fail(c, r, 503, "out of memory");
                return;
        }

        r = x->on_body(x, piece.data, piece.size, 0, x->body_userdata);
        if (r < 0) {
                x->body_mode = HTTP_BODY_ENDED;
                http_exchange_fail(x, 500, NULL);
        }
}

static void deliver_end(MamHttpExchange *x) {
        HttpBodyMode mode = x->body_mode;
        int r;

        x->body_mode = HTTP_BODY_ENDED;
        if (mode == HTTP_BODY_COLLECT) {
                r = x->on_collected(x, mam_buffer_bytes(&x->body), x->body.size, 0, x->body_userdata);
        } else {
                r = x->on_body(x, "", 0, 0, x->body_userdata);
        }
        if (r < 0)
                http_exchange_fail(x, 500, NULL);
}

static bool invite(HttpConnection *c, MamHttpExchange *x) {
        static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
        struct iovec iov = { (void *) text, sizeof(text) - 1 };

        if (!x->head.expect_continue || c->asked)
                return false;
        c->asked = true;
        return !x->started && http_connection_put(c, &iov, 1) >= 0;
}

bool http_body_step(HttpConnection *c) {
        MamHttpExchange *x = c->exchange;
        uint64_t max = x ? x->body_max : c->server->options.body_max;
        const char *reason = "malformed body";
        MamHttpRange piece;
        bool done;

        if (x && c->framing == MAM_HTTP_BODY_NONE) {
                deliver_end(x);
                return true;
        }
        if (c->framing == MAM_HTTP_BODY_LENGTH && (c->body_seen > max || c->body_left > max - c->body_seen))
                return refuse(c, -EMSGSIZE, 413, "the request's body is larger than allowed");
        if (c->input.size == 0) {
                if (c->eof)
                        return refuse(c, -EPIPE, 0, NULL);
                return x && invite(c, x);
        }

        if (c->framing == MAM_HTTP_BODY_LENGTH) {
                piece.data = c->input.view;
                piece.size = c->input.size < c->body_left ? c->input.size : (size_t) c->body_left;
                c->body_left -= piece.size;
                done = c->body_left == 0;
                http_input_consume(&c->input, piece.size);
        } else {
                ssize_t n = mam_http_chunked_decode(
                                &c->chunked,
                                c->input.view,
                                c->input.size,
                                &piece,
                                &done,
                                &reason);

                if (n < 0)
                        return refuse(c, -EBADMSG, 400, reason);
                http_input_consume(&c->input, (size_t) n);
        }

        c->body_seen += piece.size;
        if (c->body_seen > max)
                return refuse(c, -EMSGSIZE, 413, "the request's body is larger than allowed");
        if (done)
                c->framing = MAM_HTTP_BODY_NONE;
        if (x && piece.size > 0)
                deliver(x, piece);
        return true;
}
