/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The answer to a request
 *
 * Fields gather in the exchange, head and body in the connection's out buffer, which is sent when the
 * connection's run ends: head and a small body are one system call. Large bodies are sent from where they
 * lie.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-connection.h"

/* What a head of an answer is made of. */
typedef struct Answer {
        unsigned status;
        unsigned minor_version; /* of the request */
        bool close;
        bool chunked;
        int64_t content_length; /* -1: none is told */
        const char *content_type;
        const char *request_id;
        const MamBuffer *fields;
} Answer;

static char *put(char *p, const char *s) {
        return stpcpy(p, s);
}

/* Formatting is a good part of the cost of a small answer, hence no printf() but for the numbers. */
static int put_head(HttpConnection *c, const Answer *a) {
        const char *reason = mam_http_status_text(a->status), *date = http_server_date(c->server);
        size_t room = 256 + strlen(a->request_id) + (a->fields ? a->fields->size : 0) +
                      (a->content_type ? strlen(a->content_type) : 0);
        char *start, *p;

        if (c->failed)
                return -EPIPE;
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
        if (a->content_length >= 0) {
                p += sprintf(p, "Content-Length: %lld\r\n", (long long) a->content_length);
        } else if (a->chunked) {
                p = put(p, "Transfer-Encoding: chunked\r\n");
        }
        if (a->close) {
                p = put(p, "Connection: close\r\n");
        } else if (a->minor_version == 0) {
                p = put(p, "Connection: keep-alive\r\n");
        }
        p = put(p, "\r\n");

        mam_buffer_commit(&c->out, (size_t) (p - start));
        return 0;
}

void http_connection_refuse(HttpConnection *c, unsigned status, const char *reason) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        char request_id[33];
        struct iovec iov;

        assert(!c->exchange);

        c->closing = c->linger = true;
        mam_request_id_new(request_id);
        if (http_problem_format(&body, status, NULL, reason ? reason : "malformed request") < 0) {
                c->failed = true;
                return;
        }
        iov = (struct iovec){ (void *) mam_buffer_bytes(&body), body.size };
        if (put_head(c,
                     &(Answer){ .status = status,
                                .minor_version = 1,
                                .close = true,
                                .content_length = (int64_t) body.size,
                                .content_type = "application/problem+json",
                                .request_id = request_id }) >= 0)
                (void) http_connection_put(c, &iov, 1);
}

static bool must_close(const MamHttpExchange *x) {
        const HttpConnection *c = x->connection;

        if (x->close || !x->head.keep_alive || c->server->draining || c->eof)
                return true;
        if (c->framing == MAM_HTTP_BODY_NONE)
                return false;
        /* A client that still waits for 100 Continue may send its body or may not; one that was not invited
         * to send more than we are ready to drop is not worth waiting for. */
        return (x->head.expect_continue && !c->asked) || c->body_left > c->server->options.body_max;
}

static int start(MamHttpExchange *x, unsigned status, int64_t content_length, const char *content_type) {
        HttpConnection *c = x->connection;
        bool tell_length;
        int r;

        if (x->started || x->aborted)
                return -EALREADY;
        if (status < 200 || status > 599)
                return -EINVAL;

        x->no_body = x->head_request || status == 204 || status == 304;
        x->chunked = content_length < 0 && !x->no_body && x->head.minor_version == 1;
        x->close = must_close(x) || (content_length < 0 && !x->no_body && !x->chunked);
        tell_length = content_length >= 0 && status != 204 && !(status == 304 && content_length == 0);

        r = put_head(c,
                     &(Answer){ .status = status,
                                .minor_version = x->head.minor_version,
                                .close = x->close,
                                .chunked = x->chunked,
                                .content_length = tell_length ? content_length : -1,
                                .content_type = content_type,
                                .request_id = x->request_id,
                                .fields = &x->fields });
        x->started = true;
        x->status = status;
        x->content_length = content_length;
        mam_buffer_reset(&x->fields);
        http_connection_defer(c);
        return r;
}

int mam_http_exchange_start(MamHttpExchange *x, unsigned status, int64_t content_length) {
        assert(x);
        assert(content_length >= -1);

        return start(x, status, content_length, NULL);
}

int mam_http_exchange_write(MamHttpExchange *x, const void *data, size_t size) {
        struct iovec iov[3];
        size_t n = 0;
        char head[20];
        int r;

        assert(x);
        assert(data || size == 0);

        if (!x->started || x->ended)
                return -EINVAL;
        if (x->aborted || x->connection->failed)
                return -EPIPE;
        if (x->content_length >= 0 && !x->no_body && size > (uint64_t) x->content_length - x->bytes_sent)
                return -EMSGSIZE;

        if (size > 0 && !x->no_body) {
                if (x->chunked) {
                        int m = snprintf(head, sizeof(head), "%zx\r\n", size);

                        iov[n++] = (struct iovec){ head, (size_t) m };
                }
                iov[n++] = (struct iovec){ (void *) data, size };
                if (x->chunked)
                        iov[n++] = (struct iovec){ (void *) "\r\n", 2 };
                r = http_connection_put(x->connection, iov, n);
                if (r < 0)
                        return r;
                x->bytes_sent += size;
        }

        if (x->connection->out.size <= HTTP_OUT_HIGH)
                return 1;
        x->want_writable = true;
        return 0;
}

int mam_http_exchange_end(MamHttpExchange *x) {
        int r;

        assert(x);

        if (!x->started || x->ended)
                return -EINVAL;
        if (x->aborted || x->connection->failed)
                return -EPIPE;
        if (x->content_length >= 0 && !x->no_body && x->bytes_sent < (uint64_t) x->content_length) {
                mam_http_exchange_abort(x);
                return -EBADMSG;
        }

        if (x->chunked) {
                struct iovec iov = { (void *) "0\r\n\r\n", 5 };

                r = http_connection_put(x->connection, &iov, 1);
                if (r < 0)
                        return r;
        }
        x->ended = true;
        http_connection_defer(x->connection);
        return 0;
}

int mam_http_exchange_respond(
                MamHttpExchange *x,
                unsigned status,
                const char *content_type,
                const void *body,
                size_t size) {
        int r;

        assert(x);
        assert(body || size == 0);

        if (content_type && !mam_http_is_field_value(content_type, strlen(content_type)))
                return -EINVAL;
        r = start(x, status, (int64_t) size, content_type);
        if (r < 0)
                return r;
        r = mam_http_exchange_write(x, body, size);
        if (r < 0)
                return r;
        return mam_http_exchange_end(x);
}

void mam_http_exchange_abort(MamHttpExchange *x) {
        assert(x);

        if (x->ended || x->aborted)
                return;
        x->aborted = true;
        http_connection_defer(x->connection);
}

int mam_http_exchange_add_field(MamHttpExchange *x, const char *name, const char *value) {
        static const char *const own[] = { "Content-Length", "Transfer-Encoding", "Connection", "Date" };
        size_t name_size, value_size;
        char *p;
        int r;

        assert(x);
        assert(name);
        assert(value);

        if (x->started)
                return -EALREADY;
        name_size = strlen(name);
        value_size = strlen(value);
        if (!mam_http_is_token(name, name_size) || !mam_http_is_field_value(value, value_size))
                return -EINVAL;
        for (size_t i = 0; i < MAM_ELEMENTSOF(own); i++) {
                if (strcasecmp(name, own[i]) == 0)
                        return -EINVAL;
        }
        if (strcasecmp(name, "X-Request-Id") == 0)
                return 0; /* each answer has it; a proxy would hand in its upstream's echo */

        r = mam_buffer_reserve(&x->fields, name_size + value_size + 4, &p);
        if (r < 0)
                return r;
        p = put(put(put(put(p, name), ": "), value), "\r\n");
        mam_buffer_commit(&x->fields, name_size + value_size + 4);
        return 0;
}

void http_exchange_fail(MamHttpExchange *x, unsigned status, const char *reason) {
        if (x->ended || x->aborted)
                return;
        if (x->started) {
                mam_http_exchange_abort(x);
                return;
        }
        mam_buffer_reset(&x->fields); /* they were meant for another answer */
        if (mam_http_exchange_problem(
                            x,
                            status,
                            NULL,
                            "%s",
                            reason ? reason : "the request could not be handled") < 0)
                mam_http_exchange_abort(x);
}
