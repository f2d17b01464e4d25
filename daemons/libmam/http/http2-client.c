/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP/2 towards a peer that is known to speak it: calls on their connection
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http2-client.h"

#define WINDOW            262144
#define WINDOW_CONNECTION 4194304
#define INPUT_MAX         65536U

static Http2Call *link_call(const HttpLink *l) {
        return (Http2Call *) ((const char *) l - offsetof(Http2Call, link));
}

Http2Call *http2_call_find(const Http2Mux *m, int32_t id) {
        Http2Call *n;

        TAILQ_FOREACH(n, &m->calls, calls) {
                if (n->id == id)
                        return n;
        }
        return NULL;
}

Http2Call *http2_call_of(const Http2Mux *m, int32_t id) {
        return id > 0 ? nghttp2_session_get_stream_user_data(m->session, id) : NULL;
}

void http2_call_wait(Http2Call *n) {
        if (!n->is_waiting)
                TAILQ_INSERT_TAIL(&n->mux->waiting, n, waiting);
        n->is_waiting = true;
        http_mux_defer(&n->mux->mux);
}

/* ---- what the owner of a call asks for ---- */

static void resume_data(Http2Call *n) {
        if (n->deferred)
                (void) nghttp2_session_resume_data(n->mux->session, n->id);
        n->deferred = false;
        http_mux_defer(&n->mux->mux);
}

static int link_write(HttpLink *l, const void *data, size_t size) {
        Http2Call *n = link_call(l);
        int r;

        if (n->mux->mux.failed || n->closed)
                return 0; /* the end is under way */
        r = mam_buffer_append(&n->out, data, size);
        if (r < 0)
                return r;
        resume_data(n);
        return n->out.size <= HTTP2_CALL_OUT_HIGH;
}

static int link_end_body(HttpLink *l) {
        Http2Call *n = link_call(l);

        n->ended = true;
        resume_data(n);
        return 0;
}

static void link_resume(HttpLink *l) {
        http2_call_wait(link_call(l));
}

static bool link_is_sent(const HttpLink *l) {
        const Http2Call *n = link_call(l);

        return n->placed && !n->unprocessed && n->mux->mux.sent_bytes > n->position;
}

static void link_leave(HttpLink *l) {
        Http2Call *n = link_call(l);
        Http2Mux *m = n->mux;

        if (!n->closed) {
                (void) nghttp2_session_set_stream_user_data(m->session, n->id, NULL);
                if (!(n->complete && n->end_sent) && !m->mux.failed) {
                        (void) nghttp2_submit_rst_stream(
                                        m->session,
                                        NGHTTP2_FLAG_NONE,
                                        n->id,
                                        NGHTTP2_CANCEL);
                }
        }
        if (n->is_waiting)
                TAILQ_REMOVE(&m->waiting, n, waiting);
        TAILQ_REMOVE(&m->calls, n, calls);
        m->n_calls--;
        mam_buffer_done(&n->in);
        mam_buffer_done(&n->out);
        mam_buffer_done(&n->trailers_text);
        free(n->trailers);
        free(n);
        http_mux_defer(&m->mux);
}

static const HttpLinkOps link_ops = {
        .write = link_write,
        .end_body = link_end_body,
        .resume = link_resume,
        .is_sent = link_is_sent,
        .leave = link_leave,
};

void http2_call_end(Http2Call *n, int error) {
        http_call_end(n->link.call, error);
}

static int begin(HttpMux *mux, MamHttpCall *call) {
        Http2Mux *m = (Http2Mux *) mux;
        Http2Call *n;
        int r;

        if (m->n_calls >= mux->client->options.connections_max)
                return -EAGAIN;
        n = calloc(1, sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->link = (HttpLink){ &link_ops, call };
        n->mux = m;
        r = mam_buffer_append(&n->out, mam_buffer_bytes(&call->body), call->body.size);
        if (r >= 0)
                r = http2_request_submit(n);
        if (r < 0) {
                mam_buffer_done(&n->out);
                free(n);
                mux->leaving |= r == -EAGAIN; /* its numbers are used up */
                return r;
        }
        TAILQ_INSERT_TAIL(&m->calls, n, calls);
        m->n_calls++;
        mux->idle = false;
        call->link = &n->link;
        http_mux_defer(mux);
        return 0;
}

/* ---- the connection ---- */

static int make_session(Http2Mux *m) {
        const nghttp2_settings_entry settings[] = {
                { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
                { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW },
                { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t) m->mux.client->options.head_max },
        };
        nghttp2_session_callbacks *callbacks = NULL;
        nghttp2_option *option = NULL;
        int r;

        r = nghttp2_session_callbacks_new(&callbacks);
        if (r >= 0)
                r = nghttp2_option_new(&option);
        if (r >= 0) {
                http2_request_callbacks(callbacks);
                http2_reply_callbacks(callbacks);
                nghttp2_option_set_no_auto_window_update(option, 1);
                r = nghttp2_session_client_new2(&m->session, callbacks, m, option);
        }
        nghttp2_option_del(option);
        nghttp2_session_callbacks_del(callbacks);
        if (r >= 0) {
                r = nghttp2_submit_settings(
                                m->session,
                                NGHTTP2_FLAG_NONE,
                                settings,
                                MAM_ELEMENTSOF(settings));
        }
        if (r >= 0) {
                r = nghttp2_session_set_local_window_size(
                                m->session,
                                NGHTTP2_FLAG_NONE,
                                0,
                                WINDOW_CONNECTION);
        }
        return r < 0 ? -ENOMEM : 0;
}

static int mux_opened(HttpMux *mux) {
        return 0; /* nghttp2 begins with the preface by itself */
}

/* Those that may write again or read on. */
static void look_at_waiting(Http2Mux *m) {
        Http2Call *n;

        while (!m->mux.client->closed && (n = TAILQ_FIRST(&m->waiting))) {
                TAILQ_REMOVE(&m->waiting, n, waiting);
                n->is_waiting = false;
                http2_reply_tell(n);
        }
}

static int mux_input(HttpMux *mux) {
        Http2Mux *m = (Http2Mux *) mux;
        ssize_t used;

        if (mux->input.size > 0) {
                used = nghttp2_session_mem_recv(
                                m->session,
                                (const uint8_t *) mux->input.view,
                                mux->input.size);
                http_input_consume(&mux->input, mux->input.size);
                if (used < 0)
                        return used == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EBADMSG;
        }
        look_at_waiting(m);
        if (m->n_calls == 0 && m->fields) {
                http2_fields_done(m->fields);
                free(m->fields);
                m->fields = NULL;
        }
        return 0;
}

static int gather(Http2Mux *m) {
        HttpMux *mux = &m->mux;

        while (mux->out.size <= HTTP2_MUX_GATHER_MAX) {
                const uint8_t *data;
                ssize_t n;

                n = nghttp2_session_mem_send(m->session, &data);
                if (n == 0)
                        return 0;
                if (n < 0 || mam_buffer_append(&mux->out, data, (size_t) n) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int mux_output(HttpMux *mux) {
        Http2Mux *m = (Http2Mux *) mux;
        int r;

        r = gather(m);
        if (r >= 0 && !TAILQ_EMPTY(&m->waiting)) {
                /* Who may write again writes into this send. Once only: the next send lets them go on. */
                look_at_waiting(m);
                r = mux->client->closed ? 0 : gather(m);
                if (!TAILQ_EMPTY(&m->waiting))
                        http_poll_defer(mux->client->poll, &mux->item);
        }
        if (r < 0)
                return r;
        /* A connection on which nghttp2 has given up. */
        if (mux->out.size == 0 && !nghttp2_session_want_read(m->session) &&
            !nghttp2_session_want_write(m->session))
                return m->n_calls > 0 ? -EBADMSG : -ECONNRESET;
        return 0;
}

static void mux_broken(HttpMux *mux, int error) {
        Http2Mux *m = (Http2Mux *) mux;
        Http2Call *n;

        while (!mux->client->closed && (n = TAILQ_FIRST(&m->calls)))
                http2_call_end(n, error < 0 ? error : -ECONNRESET);
}

static bool mux_is_idle(const HttpMux *mux) {
        return ((const Http2Mux *) mux)->n_calls == 0;
}

static HttpMux *mux_free(HttpMux *mux) {
        Http2Mux *m = (Http2Mux *) mux;

        nghttp2_session_del(m->session);
        http2_fields_done(m->fields);
        free(m->fields);
        free(m);
        return NULL;
}

static const HttpMuxOps mux_ops = {
        .name = "h2c",
        .input_max = INPUT_MAX,
        .opened = mux_opened,
        .input = mux_input,
        .output = mux_output,
        .begin = begin,
        .broken = mux_broken,
        .is_idle = mux_is_idle,
        .free = mux_free,
};

int http2_client_attach(MamHttpCall *call) {
        MamHttpClient *c = call->client;
        const char *target = http_call_target(call);
        HttpMux *mux;
        Http2Mux *m;
        int r;

        if (*target != '/' && strcmp(target, "*") != 0)
                return -EINVAL;
        mux = http_mux_current(c);
        if (!mux) {
                m = calloc(1, sizeof(*m));
                if (!m)
                        return -ENOMEM;
                mux = &m->mux;
                mux->ops = &mux_ops;
                mux->client = c;
                TAILQ_INIT(&m->calls);
                TAILQ_INIT(&m->waiting);
                r = make_session(m);
                if (r < 0) {
                        mux_free(mux);
                        return r;
                }
                r = http_mux_open(mux, c);
                if (r < 0)
                        return r;
        }
        return mux->ops->begin(mux, call);
}
