/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The answer to a request
 *
 * Fields gather in the exchange; what is wrong with an answer is found here, how it is sent is the carrier's
 * business.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-exchange.h"

static int start(MamHttpExchange *x, unsigned status, int64_t content_length, const char *content_type) {
        bool tell_length;
        int r;

        if (x->started || x->aborted)
                return -EALREADY;
        if (status < 200 || status > 599)
                return -EINVAL;

        x->no_body = x->head_request || status == 204 || status == 304;
        x->started = true;
        x->status = status;
        x->content_length = content_length;
        tell_length = content_length >= 0 && status != 204 && !(status == 304 && content_length == 0);

        r = x->carrier->ops->start(
                        x->carrier,
                        &(HttpAnswer){ .status = status,
                                       .content_length = tell_length ? content_length : -1,
                                       .no_body = x->no_body,
                                       .unknown_length = content_length < 0 && !x->no_body,
                                       .body_failed = x->body_failed,
                                       .content_type = content_type,
                                       .request_id = x->request_id,
                                       .fields = &x->fields });
        http_poll_give_back(
                        x->carrier->connection->server->poll,
                        &x->fields); /* from here on they are trailers */
        return r;
}

int mam_http_exchange_start(MamHttpExchange *x, unsigned status, int64_t content_length) {
        assert(x);
        assert(content_length >= -1);

        return start(x, status, content_length, NULL);
}

int mam_http_exchange_upgrade(MamHttpExchange *x) {
        const char *protocol;
        int r;

        assert(x);

        protocol = mam_http_exchange_upgrade_protocol(x);
        if (!protocol)
                return -EOPNOTSUPP;
        if (x->started || x->aborted)
                return -EALREADY;

        x->started = x->upgraded = true;
        x->status = x->carrier->ops->version == 20 ? 200 : 101;
        r = x->carrier->ops->upgrade(
                        x->carrier,
                        &(HttpAnswer){ .status = x->status,
                                       .content_length = -1,
                                       .unknown_length = true,
                                       .request_id = x->request_id,
                                       .fields = &x->fields },
                        protocol);
        mam_buffer_reset(&x->fields);
        return r;
}

int mam_http_exchange_write(MamHttpExchange *x, const void *data, size_t size) {
        int r;

        assert(x);
        assert(data || size == 0);

        if (!x->started || x->ended)
                return -EINVAL;
        if (x->aborted)
                return -EPIPE;
        if (x->content_length >= 0 && !x->no_body && size > (uint64_t) x->content_length - x->bytes_sent)
                return -EMSGSIZE;
        if (size == 0 || x->no_body)
                return 1;

        r = x->carrier->ops->write(x->carrier, data, size);
        if (r < 0)
                return r;
        x->bytes_sent += size;
        if (r == 0)
                x->want_writable = true;
        return r;
}

int mam_http_exchange_end(MamHttpExchange *x) {
        int r;

        assert(x);

        if (!x->started || x->ended)
                return -EINVAL;
        if (x->aborted)
                return -EPIPE;
        if (x->content_length >= 0 && !x->no_body && x->bytes_sent < (uint64_t) x->content_length) {
                mam_http_exchange_abort(x);
                return -EBADMSG;
        }

        r = x->carrier->ops->end(x->carrier, x->fields.size > 0 && !x->no_body ? &x->fields : NULL);
        if (r < 0)
                return r;
        x->ended = true;
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
        x->carrier->ops->abort(x->carrier);
}

static MamHttpRange range(const char *s) {
        return (MamHttpRange){ s, strlen(s) };
}

static int add_legal(MamHttpExchange *x, MamHttpRange name, MamHttpRange value) {
        size_t room = name.size + value.size + 4;
        char *p;
        int r;

        if (!x->fields.data)
                http_poll_lend(x->carrier->connection->server->poll, &x->fields);
        r = mam_buffer_reserve(&x->fields, room, &p);
        if (r < 0)
                return r;
        p = mempcpy(mempcpy(p, name.data, name.size), ": ", 2);
        if (value.size > 0)
                p = mempcpy(p, value.data, value.size);
        (void) memcpy(p, "\r\n", 2);
        mam_buffer_commit(&x->fields, room);
        return 0;
}

static int add(MamHttpExchange *x, MamHttpRange name, MamHttpRange value) {
        if (!mam_http_is_token(name.data, name.size) || !mam_http_is_field_value(value.data, value.size))
                return -EINVAL;
        return add_legal(x, name, value);
}

int mam_http_exchange_add_legal_field(MamHttpExchange *x, MamHttpRange name, MamHttpRange value) {
        assert(x);

        return x->started ? -EALREADY : add_legal(x, name, value);
}

int mam_http_exchange_add_field_range(MamHttpExchange *x, MamHttpRange name, MamHttpRange value) {
        static const char *const own[] = { "Content-Length", "Transfer-Encoding", "Connection", "Date" };

        assert(x);

        if (x->started)
                return -EALREADY;
        for (size_t i = 0; i < MAM_ELEMENTSOF(own); i++) {
                if (mam_http_range_equal_fold(name, own[i]))
                        return -EINVAL;
        }
        if (mam_http_range_equal_fold(name, "X-Request-Id"))
                return 0; /* each answer has it; a proxy would hand in its upstream's echo */
        return add(x, name, value);
}

int mam_http_exchange_add_field(MamHttpExchange *x, const char *name, const char *value) {
        assert(name);
        assert(value);

        return mam_http_exchange_add_field_range(x, range(name), range(value));
}

int mam_http_exchange_add_trailer_range(MamHttpExchange *x, MamHttpRange name, MamHttpRange value) {
        assert(x);

        if (!x->started || x->upgraded)
                return -EINVAL;
        if (x->ended)
                return -EALREADY;
        if (!mam_http_trailer_is_legal(name))
                return -EINVAL;
        return add(x, name, value);
}

int mam_http_exchange_add_trailer(MamHttpExchange *x, const char *name, const char *value) {
        assert(name);
        assert(value);

        return mam_http_exchange_add_trailer_range(x, range(name), range(value));
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
