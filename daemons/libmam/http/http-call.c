/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One request of the HTTP client, as its owner handles it
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-channel.h"
#include "libmam/http/http-chars.h"
#include "libmam/http/native-frames.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define CALL_TIMEOUT_USEC (30 * MAM_USEC_PER_SEC)
#define CALL_HEAD_MAX     NATIVE_HEAD_MAX
#define CALL_TRAILERS_MAX 16384U

static bool is_one_of(const char *s, const char *const *list, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (strcmp(s, list[i]) == 0)
                        return true;
        }
        return false;
}

static void on_deferred(HttpPollItem *item, uint32_t events) {
        MamHttpCall *call = (MamHttpCall *) ((char *) item - offsetof(MamHttpCall, item));

        http_call_end(call, call->error);
}

int mam_http_call_new(
                MamHttpCall **ret,
                MamHttpClient *c,
                const char *method,
                const char *target,
                const MamHttpCallbacks *callbacks,
                void *userdata) {
        static const char *const idempotent[] = { "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE" };
        static const char *const with_body[] = { "POST", "PUT", "PATCH" };
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        char *p;
        int r;

        assert(ret);
        assert(c);
        assert(method);
        assert(target);
        assert(callbacks && callbacks->on_end);

        if (c->closed)
                return -ECANCELED;
        if (!mam_http_is_token(method, strlen(method)) || *target == '\0' ||
            *http_skip_target(target, target + strlen(target)) != '\0')
                return -EINVAL;

        static_assert(sizeof(*call) <= HTTP_OBJECT_SIZE, "a call is larger than what is kept for it");
        call = http_poll_take_object(c->poll);
        if (!call)
                return -ENOMEM;
        call->poll = http_poll_ref(c->poll);
        call->item.on_event = on_deferred;
        call->client = c;
        call->callbacks = *callbacks;
        call->userdata = userdata;
        call->timeout_usec = CALL_TIMEOUT_USEC;
        call->head.max = CALL_HEAD_MAX;
        call->head_request = strcmp(method, "HEAD") == 0;
        call->idempotent = is_one_of(method, idempotent, MAM_ELEMENTSOF(idempotent));
        call->wants_length = is_one_of(method, with_body, MAM_ELEMENTSOF(with_body));

        call->method_size = strlen(method);
        call->target_size = strlen(target);
        if (call->method_size > UINT16_MAX || call->target_size > UINT16_MAX)
                return -ENOBUFS;
        http_poll_lend(call->poll, &call->head);
        r = mam_buffer_reserve(
                        &call->head,
                        NATIVE_REQUEST_SIZE + call->method_size + 1 + call->target_size + 1,
                        &p);
        if (r < 0)
                return r;
        p = mempcpy(p + NATIVE_REQUEST_SIZE, method, call->method_size + 1);
        (void) memcpy(p, target, call->target_size + 1);
        mam_buffer_commit(&call->head, NATIVE_REQUEST_SIZE + call->method_size + 1 + call->target_size + 1);

        *ret = MAM_TAKE(call);
        return 0;
}

/* The call leaves its client and what carries it. */
static void detach(MamHttpCall *call) {
        HttpLink *l = MAM_TAKE(call->link);

        if (l) {
                call->sent |= l->ops->is_sent(l);
                l->ops->leave(l);
        }
        if (call->client) {
                if (call->listed)
                        TAILQ_REMOVE(&call->client->calls, call, calls);
                http_poll_forget(call->poll, &call->item);
        }
        call->listed = false;
        call->client = NULL;
}

MamHttpCall *mam_http_call_free(MamHttpCall *call) {
        HttpPoll *poll;

        if (!call)
                return NULL;

        /* A call that was never started may outlive its client. */
        if (call->started)
                detach(call);
        poll = call->poll;
        http_poll_give_back(poll, &call->head);
        mam_buffer_done(&call->body);
        mam_buffer_done(&call->trailers);
        http_poll_give_back(poll, &call->text);
        free(call->upgrade);
        http_poll_give_object(poll, call);
        http_poll_release(poll);
        return NULL;
}

void http_call_end(MamHttpCall *call, int error) {
        detach(call);
        call->callbacks.on_end(call, error, call->userdata);
}

const char *http_call_method(const MamHttpCall *call) {
        return mam_buffer_bytes(&call->head) + NATIVE_REQUEST_SIZE;
}

const char *http_call_target(const MamHttpCall *call) {
        return http_call_method(call) + call->method_size + 1;
}

const char *http_call_fields(const MamHttpCall *call) {
        return http_call_target(call) + call->target_size + 1;
}

int64_t http_call_length(const MamHttpCall *call) {
        return call->streaming ? call->content_length : (int64_t) call->body.size;
}

void http_call_move(MamHttpCall *call, const MamBuffer *out) {
        HttpLink *l = MAM_TAKE(call->link);
        int r;

        if (l)
                l->ops->leave(l);
        r = http_channel_attach(call, false);
        if (r >= 0 && out->size > 0)
                r = call->link->ops->write(call->link, mam_buffer_bytes(out), out->size);
        if (r >= 0 && call->body_ended)
                r = call->link->ops->end_body(call->link);
        if (r < 0)
                http_call_end(call, r);
}

/* Fields that two protocols would understand differently, or that frame a message, are not the owner's. */
static int add_legal_field(MamBuffer *b, unsigned *n, MamHttpRange name, MamHttpRange value) {
        size_t size = NATIVE_FIELD_OVERHEAD + name.size + value.size;
        char *p;
        int r;

        if (*n >= MAM_HTTP_FIELDS_MAX || name.size > UINT16_MAX || value.size > UINT16_MAX)
                return -ENOBUFS;

        r = mam_buffer_reserve(b, size, &p);
        if (r < 0)
                return r;
        (void) native_field_format(p, name, value);
        mam_buffer_commit(b, size);
        (*n)++;
        return 0;
}

static int add_field(MamBuffer *b, unsigned *n, MamHttpRange name, MamHttpRange value) {
        if (!mam_http_is_token(name.data, name.size) || !mam_http_is_field_value(value.data, value.size))
                return -EINVAL;
        if (native_field_is_refused(name))
                return -EINVAL;
        return add_legal_field(b, n, name, value);
}

int mam_http_fields_add(MamBuffer *b, unsigned *n, MamHttpRange name, MamHttpRange value) {
        assert(b);
        assert(n);

        return add_legal_field(b, n, name, value);
}

int mam_http_call_add_fields(MamHttpCall *call, const MamBuffer *b, unsigned n) {
        int r;

        assert(call);
        assert(b);

        if (call->started)
                return -EALREADY;
        if (n > MAM_HTTP_FIELDS_MAX - call->n_fields)
                return -ENOBUFS;
        r = mam_buffer_append(&call->head, mam_buffer_bytes(b), b->size);
        if (r < 0)
                return r;
        call->n_fields += n;
        return 0;
}

int mam_http_call_add_legal_field(MamHttpCall *call, MamHttpRange name, MamHttpRange value) {
        assert(call);

        return call->started ? -EALREADY : add_legal_field(&call->head, &call->n_fields, name, value);
}

int mam_http_call_add_field_range(MamHttpCall *call, MamHttpRange name, MamHttpRange value) {
        int r;

        assert(call);

        if (call->started)
                return -EALREADY;
        if (name.size == 4 && mam_http_range_equal_fold(name, "Host")) {
                if (call->has_host)
                        return -EINVAL;
                r = add_field(&call->head, &call->n_fields, name, value);
                call->has_host = r >= 0;
                return r;
        }
        return add_field(&call->head, &call->n_fields, name, value);
}

int mam_http_call_add_trailer(MamHttpCall *call, MamHttpRange name, MamHttpRange value) {
        assert(call);

        if (!call->streaming)
                return -EINVAL;
        if (call->body_ended)
                return -EALREADY;
        call->trailers.max = CALL_TRAILERS_MAX;
        return add_field(&call->trailers, &call->n_trailers, name, value);
}

int mam_http_call_add_field(MamHttpCall *call, const char *name, const char *value) {
        assert(name);
        assert(value);

        return mam_http_call_add_field_range(
                        call,
                        (MamHttpRange){ name, strlen(name) },
                        (MamHttpRange){ value, strlen(value) });
}

int mam_http_call_set_body(MamHttpCall *call, const void *data, size_t size) {
        assert(call);
        assert(data || size == 0);

        if (call->started || call->streaming)
                return -EALREADY;
        mam_buffer_reset(&call->body);
        call->wants_length = true;
        return mam_buffer_append(&call->body, data, size);
}

int mam_http_call_set_streaming(MamHttpCall *call, int64_t content_length) {
        assert(call);
        assert(content_length >= -1);

        if (call->started || call->body.size > 0)
                return -EALREADY;
        call->streaming = true;
        call->content_length = content_length;
        return 0;
}

void mam_http_call_set_timeout(MamHttpCall *call, uint64_t usec) {
        assert(call);

        call->timeout_usec = usec;
}

int mam_http_call_start(MamHttpCall *call) {
        MamHttpClient *c;
        int r;

        assert(call);

        if (call->started)
                return -EALREADY;
        c = call->client;
        if (c->closed)
                return -ECANCELED;
        if (!call->has_host) {
                r = mam_http_call_add_field(call, "Host", c->host);
                if (r < 0)
                        return r;
        }

        call->started = true;
        call->listed = true;
        TAILQ_INSERT_TAIL(&c->calls, call, calls);
        if (__builtin_add_overflow(http_client_now(c), call->timeout_usec, &call->deadline_usec))
                call->deadline_usec = MAM_USEC_INFINITY;
        http_client_arm(c, call->deadline_usec);

        r = http_client_attach(call);
        if (r < 0) {
                call->error = r;
                http_poll_defer(c->poll, &call->item);
        }
        return 0;
}

int mam_http_call_write(MamHttpCall *call, const void *data, size_t size) {
        HttpLink *l;
        int r;

        assert(call);
        assert(data || size == 0);

        if (!call->started || !call->streaming || call->body_ended)
                return -EINVAL;
        l = call->link;
        if (!l)
                return call->client ? 0 : -EPIPE; /* on_end is under way */
        if (call->content_length >= 0 && size > (uint64_t) call->content_length - call->body_written)
                return -EMSGSIZE;
        if (size == 0)
                return 1;

        r = l->ops->write(l, data, size);
        if (r < 0)
                return r;
        call->body_written += size;
        call->want_writable |= r == 0;
        return r;
}

int mam_http_call_end_body(MamHttpCall *call) {
        HttpLink *l;
        int r;

        assert(call);

        if (!call->started || !call->streaming || call->body_ended)
                return -EINVAL;
        l = call->link;
        if (!l)
                return call->client ? 0 : -EPIPE;
        if (call->content_length >= 0 && call->body_written < (uint64_t) call->content_length)
                return -EBADMSG;

        r = l->ops->end_body(l);
        if (r < 0)
                return r;
        call->body_ended = true;
        return 0;
}

void mam_http_call_pause(MamHttpCall *call) {
        assert(call);

        call->paused = true;
}

void mam_http_call_resume(MamHttpCall *call) {
        assert(call);

        call->paused = false;
        if (call->link)
                call->link->ops->resume(call->link);
}

bool mam_http_call_is_sent(const MamHttpCall *call) {
        assert(call);

        return call->sent || (call->link && call->link->ops->is_sent(call->link));
}
