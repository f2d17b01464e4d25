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
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define CALL_TIMEOUT_USEC (30 * MAM_USEC_PER_SEC)
#define CALL_HEAD_MAX     65536U

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
        int r;

        assert(ret);
        assert(c);
        assert(method);
        assert(target);
        assert(callbacks && callbacks->on_end);

        if (c->closed)
                return -ECANCELED;
        if (!mam_http_is_token(method, strlen(method)) || *target == '\0' ||
            *http_skip(target, target + strlen(target), HTTP_CHAR_TARGET) != '\0')
                return -EINVAL;

        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        call->item.on_event = on_deferred;
        call->client = c;
        call->callbacks = *callbacks;
        call->userdata = userdata;
        call->timeout_usec = CALL_TIMEOUT_USEC;
        call->head.max = CALL_HEAD_MAX;
        call->head_request = strcmp(method, "HEAD") == 0;
        call->idempotent = is_one_of(method, idempotent, MAM_ELEMENTSOF(idempotent));
        call->wants_length = is_one_of(method, with_body, MAM_ELEMENTSOF(with_body));

        r = mam_buffer_append_string(&call->head, method);
        if (r >= 0)
                r = mam_buffer_append(&call->head, " ", 1);
        if (r >= 0)
                r = mam_buffer_append_string(&call->head, target);
        if (r >= 0)
                r = mam_buffer_append_string(&call->head, " HTTP/1.1\r\n");
        if (r < 0)
                return r;

        *ret = MAM_TAKE(call);
        return 0;
}

/* The call leaves its client and channel; a channel that it leaves in mid-message can serve nobody any more.
 */
static void detach(MamHttpCall *call) {
        HttpChannel *ch = MAM_TAKE(call->channel);

        if (ch) {
                ch->call = NULL;
                if (ch->running) {
                        ch->failed = true; /* freed when its run ends */
                } else {
                        http_channel_free(ch);
                }
        }
        if (call->client) {
                if (call->listed)
                        TAILQ_REMOVE(&call->client->calls, call, calls);
                http_poll_forget(call->client->poll, &call->item);
        }
        call->listed = false;
        call->client = NULL;
}

MamHttpCall *mam_http_call_free(MamHttpCall *call) {
        if (!call)
                return NULL;

        /* A call that was never started may outlive its client. */
        if (call->started)
                detach(call);
        mam_buffer_done(&call->head);
        mam_buffer_done(&call->body);
        free(call);
        return NULL;
}

void http_call_end(MamHttpCall *call, int error) {
        detach(call);
        call->callbacks.on_end(call, error, call->userdata);
}

int mam_http_call_add_field_range(MamHttpCall *call, MamHttpRange name, MamHttpRange value) {
        static const char *const own[] = { "Content-Length", "Transfer-Encoding", "Connection" };
        char *start, *p;
        int r;

        assert(call);

        if (call->started)
                return -EALREADY;
        if (!mam_http_is_token(name.data, name.size) || !mam_http_is_field_value(value.data, value.size))
                return -EINVAL;
        for (size_t i = 0; i < MAM_ELEMENTSOF(own); i++) {
                if (mam_http_range_equal_fold(name, own[i]))
                        return -EINVAL;
        }
        if (mam_http_range_equal_fold(name, "Host")) {
                if (call->has_host)
                        return -EINVAL;
                call->has_host = true;
        }

        r = mam_buffer_reserve(&call->head, name.size + value.size + 4, &start);
        if (r < 0)
                return r;
        p = mempcpy(start, name.data, name.size);
        p = mempcpy(p, ": ", 2);
        if (value.size > 0)
                p = mempcpy(p, value.data, value.size);
        (void) mempcpy(p, "\r\n", 2);
        mam_buffer_commit(&call->head, name.size + value.size + 4);
        return 0;
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

static int finish_head(MamHttpCall *call) {
        int r = 0;

        if (!call->has_host)
                r = mam_http_call_add_field(call, "Host", call->client->host);
        if (r >= 0 && call->streaming && call->content_length < 0) {
                r = mam_buffer_append_string(&call->head, "Transfer-Encoding: chunked\r\n");
        } else if (r >= 0 && (call->streaming || call->wants_length)) {
                r = mam_buffer_appendf(
                                &call->head,
                                "Content-Length: %llu\r\n",
                                call->streaming ? (unsigned long long) call->content_length
                                                : (unsigned long long) call->body.size);
        }
        return r < 0 ? r : mam_buffer_append(&call->head, "\r\n", 2);
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
        r = finish_head(call);
        if (r < 0)
                return r;

        call->started = true;
        call->listed = true;
        TAILQ_INSERT_TAIL(&c->calls, call, calls);
        if (__builtin_add_overflow(http_client_now(c), call->timeout_usec, &call->deadline_usec))
                call->deadline_usec = MAM_USEC_INFINITY;
        http_client_arm(c, call->deadline_usec);

        r = http_channel_attach(call, false);
        if (r < 0) {
                call->error = r;
                http_poll_defer(c->poll, &call->item);
        }
        return 0;
}

int mam_http_call_write(MamHttpCall *call, const void *data, size_t size) {
        HttpChannel *ch;
        int r = 0;

        assert(call);
        assert(data || size == 0);

        if (!call->started || !call->streaming || call->body_ended)
                return -EINVAL;
        ch = call->channel;
        if (!ch || ch->failed)
                return call->client ? 0 : -EPIPE; /* on_end is under way */
        if (call->content_length >= 0 && size > (uint64_t) call->content_length - call->body_written)
                return -EMSGSIZE;

        if (size > 0 && call->content_length < 0)
                r = mam_buffer_appendf(&ch->out, "%zx\r\n", size);
        if (r >= 0)
                r = mam_buffer_append(&ch->out, data, size);
        if (r >= 0 && size > 0 && call->content_length < 0)
                r = mam_buffer_append(&ch->out, "\r\n", 2);
        if (r < 0) {
                ch->failed = true; /* half a chunk is of no use */
                http_channel_defer(ch);
                return r;
        }
        call->body_written += size;
        http_channel_defer(ch);

        if (ch->out.size <= HTTP_CHANNEL_OUT_HIGH)
                return 1;
        call->want_writable = true;
        return 0;
}

int mam_http_call_end_body(MamHttpCall *call) {
        HttpChannel *ch;
        int r;

        assert(call);

        if (!call->started || !call->streaming || call->body_ended)
                return -EINVAL;
        ch = call->channel;
        if (!ch || ch->failed)
                return call->client ? 0 : -EPIPE;
        if (call->content_length >= 0 && call->body_written < (uint64_t) call->content_length)
                return -EBADMSG;

        if (call->content_length < 0) {
                r = mam_buffer_append(&ch->out, "0\r\n\r\n", 5);
                if (r < 0)
                        return r;
        }
        call->body_ended = true;
        http_channel_defer(ch);
        return 0;
}

void mam_http_call_pause(MamHttpCall *call) {
        assert(call);

        call->paused = true;
}

void mam_http_call_resume(MamHttpCall *call) {
        assert(call);

        call->paused = false;
        if (call->channel)
                http_channel_defer(call->channel);
}

bool mam_http_call_is_sent(const MamHttpCall *call) {
        assert(call);

        return call->sent;
}
