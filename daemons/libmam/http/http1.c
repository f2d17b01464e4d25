/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP/1 as a protocol of a connection
 *
 * Reads a head, hands out the exchange, lets its body be read, and begins anew when it is over. Between head
 * and body nothing is ever held in the input but an incomplete head.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "libmam/http/http-exchange.h"

static void stop(HttpConnection *c) {
        Http1 *h = &c->http1;

        if (h->carrier.exchange)
                http_exchange_free(h->carrier.exchange);
        mam_buffer_done(&h->trailers);
}

static void begin_exchange(HttpConnection *c, const MamHttpHead *head, size_t size) {
        Http1 *h = &c->http1;
        MamHttpExchange *x;
        int r;

        c->fresh = false;
        c->got_request = true;
        h->carrier.ops = &http1_carrier_ops;
        h->carrier.connection = c;
        h->framing = head->framing;
        h->body_left = head->framing == MAM_HTTP_BODY_LENGTH ? head->content_length : 0;
        h->body_seen = 0;
        h->chunked = (MamHttpChunked) MAM_HTTP_CHUNKED_INIT;
        h->asked = h->chunked_out = h->close = false;

        r = http_exchange_new(&x, &h->carrier, head, c->input.view, size);
        if (r < 0) {
                c->failed = true;
                return;
        }
        http_input_consume(&c->input, size);
        http_exchange_handle(x);
}

/* true: a request was begun or refused, or another protocol begins. */
static bool read_head(HttpConnection *c) {
        size_t max = c->server->options.head_max;
        const HttpProtocol *protocol = NULL;
        const char *reason = NULL;
        Http1 *h = &c->http1;
        unsigned status = 400;
        MamHttpHead head;
        ssize_t n = 0;

        if (c->input.size == 0)
                return false;
        if (c->fresh && (c->may_h2c || c->may_native)) {
                if (http_protocol_detect(&protocol, c) == 0)
                        return false;
                c->may_h2c = c->may_native = false;
                if (protocol) {
                        http_connection_switch(c, protocol);
                        return true;
                }
        }

        /* An incomplete head is looked at again only if a line was completed, so dribbling bytes buys no
         * work. */
        if (h->head_seen == 0 || memchr(c->input.view + h->head_seen, '\n', c->input.size - h->head_seen))
                n = mam_http_parse_request(&head, c->input.view, c->input.size, &status, &reason);
        if (n == 0 && c->input.size < max) {
                h->head_seen = c->input.size;
                return false;
        }

        h->head_seen = 0;
        if (n < 0) {
                http1_refuse(c, status, reason);
        } else if (n > 0 && (size_t) n <= max) {
                begin_exchange(c, &head, (size_t) n);
        } else if (memchr(c->input.view, '\n', c->input.size < max ? c->input.size : max)) {
                http1_refuse(c, 431, "the request's fields are larger than this server takes");
        } else {
                http1_refuse(c, 414, "the request line is longer than this server takes");
        }
        return true;
}

static void finish_exchange(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;
        Http1 *h = &c->http1;

        if (x->aborted) {
                /* An answer that ends where the connection ends would look complete otherwise. */
                c->reset = x->started;
                c->failed = true;
                return;
        }

        if (h->close || h->upgraded || x->body_failed)
                c->closing = true;
        if (h->framing != MAM_HTTP_BODY_NONE || c->server->draining)
                c->linger = true; /* the client may still be sending: closing now could take the answer from
                                     it */
        h->body_seen = 0;
        http_exchange_free(x);
}

/* One thing that can be done with what is there. false: nothing. */
static bool step(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;

        if (x && http_exchange_is_over(x)) {
                finish_exchange(c);
                return true;
        }
        if (x && c->rdhup && http_exchange_hangup(x))
                return true;
        if (http1_body_is_wanted(c))
                return http1_body_step(c);
        if (x)
                return false;
        if (c->closing) {
                http_input_consume(&c->input, c->input.size);
                return false;
        }
        if (c->out.size > HTTP_OUT_HIGH) {
                c->http1.held = true;
                return false;
        }
        return read_head(c);
}

static bool refill(HttpConnection *c) {
        MamHttpExchange *x = c->http1.carrier.exchange;

        if (c->http1.held && c->out.size <= HTTP_OUT_HIGH) {
                c->http1.held = false;
                return true;
        }
        if (x && x->ended && !c->http1.shut && http_connection_unsent(c) == 0) {
                c->http1.shut = true; /* our side of an upgraded exchange */
                http_connection_shut(c);
                return true;
        }
        return x && c->out.size <= HTTP_OUT_LOW && http_exchange_writable(x);
}

static bool wants_bytes(const HttpConnection *c) {
        const Http1 *h = &c->http1;

        if (h->carrier.exchange || h->framing != MAM_HTTP_BODY_NONE)
                return http1_body_is_wanted(c) && h->framing != MAM_HTTP_BODY_NONE;
        return !c->closing && !h->held;
}

static bool is_busy(const HttpConnection *c) {
        return c->http1.carrier.exchange;
}

static bool is_idle(const HttpConnection *c) {
        return c->http1.framing == MAM_HTTP_BODY_NONE;
}

static HttpDeadline deadline(const HttpConnection *c, bool *renew) {
        const Http1 *h = &c->http1;

        if (h->upgraded) {
                *renew = !h->shut && c->moved_in;
                return h->shut ? HTTP_DEADLINE_LINGER : HTTP_DEADLINE_NONE;
        }
        if (h->carrier.exchange || h->framing != MAM_HTTP_BODY_NONE) {
                *renew = c->moved_in;
                return wants_bytes(c) ? HTTP_DEADLINE_BODY : HTTP_DEADLINE_NONE;
        }
        if (c->input.size > 0) {
                *renew = c->got_request;
                return HTTP_DEADLINE_HEAD;
        }
        if (c->server->draining)
                return HTTP_DEADLINE_GRACE;
        *renew = c->moved_in || c->moved_out;
        return HTTP_DEADLINE_IDLE;
}

static void expire(HttpConnection *c, HttpDeadline kind) {
        MamHttpExchange *x = c->http1.carrier.exchange;

        if (kind == HTTP_DEADLINE_HEAD) {
                http1_refuse(c, 408, "the request's head took too long");
        } else if (kind == HTTP_DEADLINE_BODY && x) {
                http_exchange_body_fail(x, -ETIMEDOUT, 408, "the request's body took too long");
        } else {
                c->failed = true;
        }
}

const HttpProtocol http1_protocol = {
        .name = "http/1.1",
        .stop = stop,
        .step = step,
        .refill = refill,
        .wants_bytes = wants_bytes,
        .is_busy = is_busy,
        .is_idle = is_idle,
        .deadline = deadline,
        .expire = expire,
};
