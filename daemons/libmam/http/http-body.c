/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The body of a request, as the handler reads it and carriers deliver it
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-exchange.h"

bool http_exchange_wants_body(const MamHttpExchange *x) {
        return (x->body_mode == HTTP_BODY_COLLECT || x->body_mode == HTTP_BODY_STREAM) && !x->body_paused &&
               !x->aborted;
}

bool http_exchange_body_has_ended(const MamHttpExchange *x) {
        return x->body_mode == HTTP_BODY_ENDED;
}

void http_exchange_body_fail(MamHttpExchange *x, int error, unsigned status, const char *reason) {
        HttpBodyMode mode;

        assert(x);
        assert(error < 0);

        mode = x->body_mode;
        x->body_mode = HTTP_BODY_ENDED;
        x->body_failed = true; /* where the next request begins is not known any more */
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

void http_exchange_deliver(MamHttpExchange *x, const char *data, size_t size) {
        int r;

        assert(http_exchange_wants_body(x));
        assert(size > 0);

        x->body_seen += size;
        if (x->body_seen > x->body_max && !x->upgraded) {
                http_exchange_body_fail(x, -EMSGSIZE, 413, "the request's body is larger than allowed");
                return;
        }
        if (x->body_mode == HTTP_BODY_COLLECT) {
                r = mam_buffer_append(&x->body, data, size);
                if (r < 0)
                        http_exchange_body_fail(x, r, 503, "out of memory");
                return;
        }

        r = x->on_body(x, data, size, 0, x->body_userdata);
        if (r < 0) {
                x->body_mode = HTTP_BODY_ENDED;
                http_exchange_fail(x, 500, NULL);
        }
}

/* One allocation holds the fields and their text. */
static int copy_trailers(MamHttpExchange *x, const MamHttpField *fields, size_t n) {
        size_t size = n * sizeof(*fields);
        char *p;

        for (size_t i = 0; i < n; i++)
                size += fields[i].name.size + fields[i].value.size + 2;
        x->trailers = malloc(size);
        if (!x->trailers)
                return -ENOMEM;

        p = (char *) (x->trailers + n);
        for (size_t i = 0; i < n; i++) {
                MamHttpField *f = &x->trailers[i];

                f->name = (MamHttpRange){ p, fields[i].name.size };
                p = mempcpy(p, fields[i].name.data, f->name.size);
                *p++ = '\0';
                f->value = (MamHttpRange){ p, fields[i].value.size };
                p = mempcpy(p, fields[i].value.data, f->value.size);
                *p++ = '\0';
        }
        x->n_trailers = n;
        return 0;
}

void http_exchange_deliver_end(MamHttpExchange *x, const MamHttpField *trailers, size_t n_trailers) {
        HttpBodyMode mode;
        int r = 0;

        assert(http_exchange_wants_body(x));

        if (n_trailers > 0)
                r = copy_trailers(x, trailers, n_trailers);
        if (r < 0) {
                http_exchange_body_fail(x, r, 503, "out of memory");
                return;
        }

        mode = x->body_mode;
        x->body_mode = HTTP_BODY_ENDED;
        if (mode == HTTP_BODY_COLLECT) {
                r = x->on_collected(x, mam_buffer_bytes(&x->body), x->body.size, 0, x->body_userdata);
        } else {
                r = x->on_body(x, "", 0, 0, x->body_userdata);
        }
        if (r < 0)
                http_exchange_fail(x, 500, NULL);
}

int mam_http_exchange_read_body(
                MamHttpExchange *x,
                uint64_t max,
                MamHttpCollected callback,
                void *userdata) {
        assert(x);
        assert(callback);

        if (x->body_mode != HTTP_BODY_UNASKED)
                return -EALREADY;
        if (max > 0)
                x->body_max = max;
        x->body_mode = HTTP_BODY_COLLECT;
        x->on_collected = callback;
        x->body_userdata = userdata;
        x->carrier->ops->want_body(x->carrier);
        return 0;
}

void mam_http_exchange_set_body_max(MamHttpExchange *x, uint64_t max) {
        assert(x);

        x->body_max = max;
}

int mam_http_exchange_stream_body(MamHttpExchange *x, MamHttpBodyCallback callback, void *userdata) {
        assert(x);
        assert(callback);

        if (x->body_mode != HTTP_BODY_UNASKED)
                return -EALREADY;
        x->body_mode = HTTP_BODY_STREAM;
        x->on_body = callback;
        x->body_userdata = userdata;
        x->carrier->ops->want_body(x->carrier);
        return 0;
}

void mam_http_exchange_pause_body(MamHttpExchange *x) {
        assert(x);

        x->body_paused = true;
}

void mam_http_exchange_resume_body(MamHttpExchange *x) {
        assert(x);

        x->body_paused = false;
        x->carrier->ops->want_body(x->carrier);
}

const MamHttpField *mam_http_exchange_trailers(const MamHttpExchange *x, size_t *ret_n) {
        assert(x);
        assert(ret_n);

        *ret_n = x->n_trailers;
        return x->trailers;
}
