/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers on HTTP/1
 *
 * Head and body gather in the connection's out buffer, which is sent when the connection's run ends: head
 * and a small body are one system call. Large bodies are sent from where they lie.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-exchange.h"

/* What a head needs besides the answer. */
typedef struct Framing {
        unsigned minor_version; /* of the request */
        bool close;
        bool chunked;
        const char *upgrade; /* the protocol, or NULL */
} Framing;

static char *put(char *p, const char *s) {
        return stpcpy(p, s);
}

static char *put_number(char *p, uint64_t n) {
        char digits[20];
        size_t i = sizeof(digits);

        do {
                digits[--i] = (char) ('0' + n % 10);
                n /= 10;
        } while (n > 0);
        return mempcpy(p, digits + i, sizeof(digits) - i);
}

static char *put_framing(char *p, const HttpAnswer *a, const Framing *f) {
        if (f->upgrade)
                return put(put(put(p, "Connection: upgrade\r\nUpgrade: "), f->upgrade), "\r\n");
        if (a->content_length >= 0) {
                p = put(put_number(put(p, "Content-Length: "), (uint64_t) a->content_length), "\r\n");
        } else if (f->chunked) {
                p = put(p, "Transfer-Encoding: chunked\r\n");
        }
        if (f->close) {
                p = put(p, "Connection: close\r\n");
        } else if (f->minor_version == 0) {
                p = put(p, "Connection: keep-alive\r\n");
        }
        return p;
}

/* Formatting is a good part of the cost of a small answer, hence no printf(). */
static int put_head(HttpConnection *c, const HttpAnswer *a, const Framing *f) {
        const char *reason = mam_http_status_text(a->status), *date = http_server_date(c->server);
        size_t room = 256 + strlen(a->request_id) + (a->fields ? a->fields->size : 0) +
                      (a->content_type ? strlen(a->content_type) : 0) +
                      (f->upgrade ? strlen(f->upgrade) : 0);
        char *start, *p;

        if (c->failed)
                return -EPIPE;
        if (c->out.size == 0)
                http_poll_lend(c->server->poll, &c->out);
        /* With the body, if it is small. */
        if (a->content_length > 0 && a->content_length <= 1024)
                room += (size_t) a->content_length;
        if (mam_buffer_reserve(&c->out, room, &start) < 0) {
                c->failed = true;
                return -ENOMEM;
        }

        p = put(start, "HTTP/1.1 ");
        *p++ = (char) ('0' + a->status / 100);
        *p++ = (char) ('0' + a->status / 10 % 10);
        *p++ = (char) ('0' + a->status % 10);
        *p++ = ' ';
        p = put(put(put(put(put(p, reason), "\r\nDate: "), date), "\r\nX-Request-Id: "), a->request_id);
        p = put(p, "\r\n");
        if (a->content_type)
                p = put(put(put(p, "Content-Type: "), a->content_type), "\r\n");
        if (a->fields && a->fields->size > 0)
                p = mempcpy(p, mam_buffer_bytes(a->fields), a->fields->size);
        p = put(put_framing(p, a, f), "\r\n");

        mam_buffer_commit(&c->out, (size_t) (p - start));
        return 0;
}

void http1_refuse(HttpConnection *c, unsigned status, const char *reason) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        char request_id[33];
        struct iovec iov;

        assert(!c->http1.carrier.exchange);

        c->closing = c->linger = true;
        mam_request_id_new(request_id);
        if (http_problem_format(&body, status, NULL, reason ? reason : "malformed request") < 0) {
                c->failed = true;
                return;
        }
        iov = (struct iovec){ (void *) mam_buffer_bytes(&body), body.size };
        if (put_head(c,
                     &(HttpAnswer){ .status = status,
                                    .content_length = (int64_t) body.size,
                                    .content_type = "application/problem+json",
                                    .request_id = request_id },
                     &(Framing){ .minor_version = 1, .close = true }) >= 0)
                (void) http_connection_put(c, &iov, 1);
}

static bool must_close(const HttpConnection *c, const HttpAnswer *a) {
        const Http1 *h = &c->http1;
        const MamHttpHead *head = &h->carrier.exchange->head;

        if (a->body_failed || !head->keep_alive || c->server->draining || c->eof)
                return true;
        if (a->unknown_length && head->minor_version == 0)
                return true;
        if (h->framing == MAM_HTTP_BODY_NONE)
                return false;
        /* A client that still waits for 100 Continue may send its body or may not; one that was not invited
         * to send more than we are ready to drop is not worth waiting for. */
        return (head->expect_continue && !h->asked) || h->body_left > c->server->options.body_max;
}

static int carrier_start(HttpCarrier *carrier, const HttpAnswer *a) {
        HttpConnection *c = carrier->connection;
        Http1 *h = &c->http1;
        unsigned minor_version = carrier->exchange->head.minor_version;
        int r;

        h->chunked_out = a->unknown_length && minor_version == 1;
        h->close = must_close(c, a);
        r = put_head(c,
                     a,
                     &(Framing){ .minor_version = minor_version,
                                 .close = h->close,
                                 .chunked = h->chunked_out });
        http_connection_defer(c);
        return r;
}

static int carrier_write(HttpCarrier *carrier, const void *data, size_t size) {
        HttpConnection *c = carrier->connection;
        struct iovec iov[3];
        size_t n = 0;
        char head[20];
        int r;

        if (c->http1.chunked_out) {
                int m = snprintf(head, sizeof(head), "%zx\r\n", size);

                iov[n++] = (struct iovec){ head, (size_t) m };
        }
        iov[n++] = (struct iovec){ (void *) data, size };
        if (c->http1.chunked_out)
                iov[n++] = (struct iovec){ (void *) "\r\n", 2 };
        r = http_connection_put(c, iov, n);
        return r < 0 ? r : c->out.size <= HTTP_OUT_HIGH;
}

static int carrier_end(HttpCarrier *carrier, const MamBuffer *trailers) {
        HttpConnection *c = carrier->connection;
        struct iovec iov[3];
        size_t n = 0;

        if (c->failed)
                return -EPIPE;
        http_connection_defer(c);
        if (!c->http1.chunked_out)
                return 0;

        iov[n++] = (struct iovec){ (void *) "0\r\n", 3 };
        if (trailers)
                iov[n++] = (struct iovec){ (void *) mam_buffer_bytes(trailers), trailers->size };
        iov[n++] = (struct iovec){ (void *) "\r\n", 2 };
        return http_connection_put(c, iov, n);
}

static void carrier_notice(HttpCarrier *carrier) {
        http_connection_defer(carrier->connection);
}

/* The request had no body (the codec refuses one with Upgrade): from here on its body is what comes. */
static int carrier_upgrade(HttpCarrier *carrier, const HttpAnswer *a, const char *protocol) {
        HttpConnection *c = carrier->connection;
        Http1 *h = &c->http1;

        h->framing = MAM_HTTP_BODY_UNTIL_CLOSE;
        h->upgraded = true;
        http_connection_defer(c);
        return put_head(c, a, &(Framing){ .minor_version = 1, .upgrade = protocol });
}

const HttpCarrierOps http1_carrier_ops = {
        .start = carrier_start,
        .write = carrier_write,
        .end = carrier_end,
        .abort = carrier_notice,
        .want_body = carrier_notice,
        .upgrade = carrier_upgrade,
};
