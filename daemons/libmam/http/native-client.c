/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The client's side of the native hop
 *
 * Calls that begin before the peer has said HELLO wait: nothing of them is sent until it is known that it
 * will be understood. A peer that answers the preface with anything else speaks HTTP/1, and they go that
 * way.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "libmam/http/http-mux.h"
#include "libmam/http/native-peer.h"
#include "libmam/util/time.h"

/* How long a peer that knows HTTP/1 only is not asked again; it may be replaced by one that knows more. */
#define HTTP1_USEC (60 * MAM_USEC_PER_SEC)
/* Numbers of streams are not used twice: long before they run out, another connection takes over. */
#define STREAM_LAST 0x7fffffffU

typedef struct NativeMux NativeMux;
typedef struct NativeCall NativeCall;

struct NativeMux {
        HttpMux mux;
        NativePeer peer;
        TAILQ_HEAD(, NativeCall) early; /* before HELLO */
        unsigned n_calls, calls_max;
        uint32_t last; /* stream */
};

struct NativeCall {
        HttpLink link;
        NativeStream stream; /* its number is 0 until the head is written */
        NativeMux *mux;      /* weak */
        uint64_t position;   /* where the head begins in what the connection sends */
        TAILQ_ENTRY(NativeCall) early;
        MamBuffer trailers; /* came while the call was paused */
        unsigned n_trailers;
        bool got_head : 1;
        bool complete : 1;    /* all has come */
        bool unprocessed : 1; /* the peer has said that it did nothing */
        char length[24];
};

static NativeMux *mux_of(const NativePeer *p) {
        return (NativeMux *) ((const char *) p - offsetof(NativeMux, peer));
}

static NativeCall *call_of(const NativeStream *s) {
        return (NativeCall *) ((const char *) s - offsetof(NativeCall, stream));
}

static NativeCall *link_call(const HttpLink *l) {
        return (NativeCall *) ((const char *) l - offsetof(NativeCall, link));
}

/* ---- what the owner of a call asks for ---- */

static int link_write(HttpLink *l, const void *data, size_t size) {
        NativeCall *n = link_call(l);
        NativeMux *m = n->mux;
        int r;

        if (m->mux.failed)
                return 0;
        if (n->stream.id == 0) {
                r = mam_buffer_append(&n->stream.out, data, size);
                return r < 0 ? r : n->stream.out.size <= NATIVE_STREAM_HIGH;
        }
        r = native_stream_write(&m->peer, &n->stream, data, size);
        if (r < 0)
                http_mux_fail(&m->mux, r); /* what half a frame was written of is of no use */
        http_mux_defer(&m->mux);
        return r;
}

static int link_end_body(HttpLink *l) {
        NativeCall *n = link_call(l);
        const MamBuffer *t = &l->call->trailers;
        int r;

        if (n->mux->mux.failed || n->stream.id == 0)
                return 0;
        r = native_stream_end(&n->mux->peer, &n->stream, mam_buffer_bytes(t), t->size, l->call->n_trailers);
        http_mux_defer(&n->mux->mux);
        return r;
}

static void link_resume(HttpLink *l) {
        NativeCall *n = link_call(l);

        if (n->stream.id == 0)
                return;
        native_stream_wait(&n->mux->peer, &n->stream);
        http_mux_defer(&n->mux->mux);
}

static bool link_is_sent(const HttpLink *l) {
        const NativeCall *n = link_call(l);

        return n->stream.id != 0 && !n->unprocessed && n->mux->mux.sent_bytes > n->position;
}

static void link_leave(HttpLink *l) {
        NativeCall *n = link_call(l);
        NativeMux *m = n->mux;

        if (n->stream.id == 0) {
                TAILQ_REMOVE(&m->early, n, early);
        } else if (!m->mux.failed && !n->unprocessed && !(n->complete && n->stream.sent_end)) {
                if (native_peer_number(&m->peer, NATIVE_RESET, n->stream.id, NATIVE_RESET_CANCEL) < 0)
                        http_mux_fail(&m->mux, -ENOMEM);
        }
        m->n_calls--;
        if (n->stream.id != 0)
                native_stream_done(&m->peer, &n->stream);
        mam_buffer_done(&n->stream.out);
        mam_buffer_done(&n->trailers);
        http_mux_defer(&m->mux);
}

static const HttpLinkOps link_ops = {
        .write = link_write,
        .end_body = link_end_body,
        .resume = link_resume,
        .is_sent = link_is_sent,
        .leave = link_leave,
};

static void end_call(NativeCall *n, int error) {
        http_call_end(n->link.call, error);
}

/* ---- the request ---- */

static int put_head(NativeMux *m, NativeCall *n) {
        MamHttpCall *call = n->link.call;
        int64_t length = http_call_length(call);
        char *to;
        int r;

        n->position = http_mux_position(&m->mux);
        r = mam_buffer_reserve(&m->mux.out, NATIVE_HEADER_SIZE + call->head.size, &to);
        if (r < 0)
                return r;
        n->stream.id = 0;
        native_frame_format(
                        to,
                        &(NativeFrame){ .type = NATIVE_HEAD,
                                        .end = length == 0,
                                        .stream = m->last + 1,
                                        .size = (uint32_t) call->head.size });
        to += NATIVE_HEADER_SIZE;
        memcpy(to, mam_buffer_bytes(&call->head), call->head.size);
        native_request_format(
                        to,
                        length < 0 ? NATIVE_LENGTH_UNKNOWN : (uint64_t) length,
                        call->method_size,
                        call->target_size,
                        call->n_fields);
        mam_buffer_commit(&m->mux.out, NATIVE_HEADER_SIZE + call->head.size);

        native_stream_init(&m->peer, &n->stream, ++m->last);
        if (m->last >= STREAM_LAST)
                m->mux.leaving = true;
        if (length == 0)
                n->stream.out_ended = n->stream.sent_end = true;
        if (length > 0)
                n->stream.out_left = (uint64_t) length;
        return 0;
}

/* Puts the head into the connection's out, and what there is of a body. */
static int start_stream(NativeMux *m, NativeCall *n) {
        MamHttpCall *call = n->link.call;
        _cleanup_(mam_buffer_done) MamBuffer early = n->stream.out;
        int r;

        n->stream.out = (MamBuffer) MAM_BUFFER_INIT;
        r = put_head(m, n);
        if (r < 0)
                return r;
        if (call->body.size > 0)
                r = native_stream_write(
                                &m->peer,
                                &n->stream,
                                mam_buffer_bytes(&call->body),
                                call->body.size);
        if (r >= 0 && early.size > 0)
                r = native_stream_write(&m->peer, &n->stream, mam_buffer_bytes(&early), early.size);
        if (r >= 0 && call->streaming && call->body_ended)
                r = link_end_body(&n->link);
        if (call->want_writable)
                native_stream_wait(&m->peer, &n->stream);
        return r;
}

static int begin(HttpMux *mux, MamHttpCall *call) {
        NativeMux *m = (NativeMux *) mux;
        NativeCall *n;
        int r;

        if (m->n_calls >= m->calls_max)
                return -EAGAIN;
        static_assert(sizeof(*n) <= sizeof(call->native), "the call has too little room for us");
        n = memset(call->native, 0, sizeof(*n));
        n->link = (HttpLink){ &link_ops, call };
        n->mux = m;
        if (m->peer.greeted) {
                r = start_stream(m, n);
                if (r < 0) {
                        if (n->stream.id != 0)
                                native_stream_done(&m->peer, &n->stream);
                        http_mux_fail(mux, r);
                        return r;
                }
        } else {
                TAILQ_INSERT_TAIL(&m->early, n, early);
        }
        m->n_calls++;
        mux->idle = false;
        call->link = &n->link;
        http_mux_defer(mux);
        return 0;
}

/* ---- the answer ---- */

static int on_hello(NativePeer *p, const NativeHello *h) {
        NativeMux *m = mux_of(p);
        NativeCall *n;
        int r;

        if (h->streams_max < m->calls_max)
                m->calls_max = h->streams_max;
        r = native_peer_hello(p, 0);
        while (r >= 0 && !m->mux.client->closed && (n = TAILQ_FIRST(&m->early))) {
                if (p->n_streams >= m->calls_max) {
                        end_call(n, -EAGAIN);
                        continue;
                }
                TAILQ_REMOVE(&m->early, n, early);
                r = start_stream(m, n);
                if (r < 0 && n->stream.id == 0)
                        TAILQ_INSERT_TAIL(&m->early, n, early);
        }
        return r;
}

/* What GET would have sent is told by a field, as elsewhere. */
static void add_length(NativeCall *n, MamHttpHead *h, uint64_t length) {
        int size;

        if (h->n_fields >= MAM_HTTP_FIELDS_MAX)
                return;
        size = snprintf(n->length, sizeof(n->length), "%llu", (unsigned long long) length);
        h->fields[h->n_fields++] = (MamHttpField){ { "Content-Length", 14 }, { n->length, (size_t) size } };
}

static int on_head(NativePeer *p, const NativeFrame *f, const char *payload) {
        NativeStream *s = native_stream_find(p, f->stream);
        bool tells_length;
        MamHttpHead head;
        MamHttpCall *call;
        NativeCall *n;
        int r;

        if (!s)
                return f->stream <= mux_of(p)->last ? 0 : -EBADMSG;
        n = call_of(s);
        call = n->link.call;
        if (n->got_head)
                return -EBADMSG;
        if (native_answer_parse(&head, &tells_length, f, payload, call->head_request) < 0) {
                end_call(n, -EBADMSG);
                return 0;
        }

        n->got_head = true;
        s->got_end = n->complete = f->end;
        s->left = head.framing == MAM_HTTP_BODY_LENGTH ? head.content_length : UINT64_MAX;
        if (call->head_request && tells_length)
                add_length(n, &head, head.content_length);
        if (call->callbacks.on_head) {
                r = call->callbacks.on_head(call, &head, call->userdata);
                if (native_stream_find(p, f->stream) != s)
                        return 0;
                if (r < 0) {
                        end_call(n, r);
                        return 0;
                }
        }
        if (f->end)
                end_call(n, 0);
        return 0;
}

static int on_data(NativePeer *p, NativeStream *s, const char *data, size_t size, bool end) {
        NativeCall *n = call_of(s);
        MamHttpCall *call = n->link.call;
        uint32_t id = s->id;
        int r;

        if (!n->got_head)
                return -EBADMSG;
        n->complete = end;
        if (call->paused || s->in.size > 0)
                return mam_buffer_append(&s->in, data, size);

        if (call->callbacks.on_data) {
                r = call->callbacks.on_data(call, data, size, call->userdata);
                if (native_stream_find(p, id) != s)
                        return 0;
                if (r < 0) {
                        end_call(n, r);
                        return 0;
                }
        }
        if (end) {
                end_call(n, 0);
                return 0;
        }
        return call->paused ? 0 : native_stream_used(p, s);
}

static int on_trailers(NativePeer *p, NativeStream *s, const MamHttpField *fields, size_t n_fields) {
        NativeCall *n = call_of(s);
        MamHttpCall *call = n->link.call;
        uint32_t id = s->id;
        char *to;
        int r;

        if (!n->got_head)
                return -EBADMSG;
        n->complete = true;
        if (call->paused || s->in.size > 0) {
                for (size_t i = 0; i < n_fields; i++) {
                        size_t size = NATIVE_FIELD_OVERHEAD + fields[i].name.size + fields[i].value.size;

                        r = mam_buffer_reserve(&n->trailers, size, &to);
                        if (r < 0)
                                return r;
                        (void) native_field_format(to, fields[i].name, fields[i].value);
                        mam_buffer_commit(&n->trailers, size);
                        n->n_trailers++;
                }
                native_stream_wait(p, s);
                return 0;
        }
        if (n_fields > 0 && call->callbacks.on_trailers) {
                call->callbacks.on_trailers(call, fields, n_fields, call->userdata);
                if (native_stream_find(p, id) != s)
                        return 0;
        }
        end_call(n, 0);
        return 0;
}

static int on_reset(NativePeer *p, NativeStream *s, NativeReset why) {
        NativeCall *n = call_of(s);

        n->unprocessed = why == NATIVE_RESET_UNPROCESSED;
        n->complete = n->stream.sent_end = true; /* nobody there to be told */
        end_call(n, n->unprocessed ? -EAGAIN : -ECONNRESET);
        return 0;
}

/* The first call that is there, or NULL. */
static NativeCall *first_call(NativeMux *m, uint32_t above) {
        for (unsigned i = 0; i < NATIVE_BUCKETS; i++) {
                for (NativeStream *s = m->peer.buckets[i]; s; s = s->next) {
                        if (s->id > above)
                                return call_of(s);
                }
        }
        return NULL;
}

static int on_goaway(NativePeer *p, uint32_t last) {
        NativeMux *m = mux_of(p);
        NativeCall *n;

        m->mux.leaving = true;
        while (!m->mux.client->closed && (n = first_call(m, last))) {
                n->unprocessed = true;
                end_call(n, -ECONNREFUSED);
        }
        return 0;
}

static bool is_known(const NativePeer *p, uint32_t stream) {
        return stream <= mux_of(p)->last;
}

static bool is_over(const NativePeer *p) {
        const HttpMux *m = &mux_of(p)->mux;

        return m->failed || m->client->closed;
}

static const NativePeerOps peer_ops = {
        .on_hello = on_hello,
        .on_head = on_head,
        .on_data = on_data,
        .on_trailers = on_trailers,
        .on_reset = on_reset,
        .on_goaway = on_goaway,
        .is_known = is_known,
        .is_over = is_over,
};

static void tell_kept_trailers(NativeCall *n) {
        _cleanup_(mam_buffer_done) MamBuffer kept = n->trailers;
        MamHttpCall *call = n->link.call;
        MamHttpField fields[MAM_HTTP_FIELDS_MAX];
        const char *p = mam_buffer_bytes(&kept);

        n->trailers = (MamBuffer) MAM_BUFFER_INIT;
        for (unsigned i = 0; i < n->n_trailers; i++)
                p = native_field_next(p, &fields[i].name, &fields[i].value);
        if (n->n_trailers > 0 && call->callbacks.on_trailers)
                call->callbacks.on_trailers(call, fields, n->n_trailers, call->userdata);
}

/* What came while the call was paused. */
static int deliver(NativePeer *p, NativeCall *n) {
        MamHttpCall *call = n->link.call;
        NativeStream *s = &n->stream;
        uint32_t id = s->id;
        int r = 0;

        if (s->in.size > 0) {
                _cleanup_(mam_buffer_done) MamBuffer in = s->in;

                s->in = (MamBuffer) MAM_BUFFER_INIT;
                if (call->callbacks.on_data)
                        r = call->callbacks.on_data(call, mam_buffer_bytes(&in), in.size, call->userdata);
                if (native_stream_find(p, id) != s)
                        return 0;
                if (r < 0) {
                        end_call(n, r);
                        return 0;
                }
                if (call->paused && !n->complete)
                        return 0;
        }
        if (!n->complete)
                return native_stream_used(p, s);
        tell_kept_trailers(n);
        if (native_stream_find(p, id) == s)
                end_call(n, 0);
        return 0;
}

/* Writers may go on, and readers go on. */
static int look_at_waiting(NativeMux *m) {
        NativePeer *p = &m->peer;
        NativeStream *s;
        int r;

        while (!is_over(p) && (s = TAILQ_FIRST(&p->waiting))) {
                NativeCall *n = call_of(s);
                MamHttpCall *call = n->link.call;
                uint32_t id = s->id;

                TAILQ_REMOVE(&p->waiting, s, waiting);
                s->is_waiting = false;
                if (call->want_writable && !call->body_ended && s->out.size <= NATIVE_STREAM_LOW) {
                        call->want_writable = false;
                        if (call->callbacks.on_writable)
                                call->callbacks.on_writable(call, call->userdata);
                        if (native_stream_find(p, id) != s)
                                continue;
                }
                if (!call->paused && n->got_head &&
                    (s->in.size > 0 || n->complete || s->window < s->target)) {
                        r = deliver(p, n);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* ---- the connection ---- */

/* The beginning of HELLO's header, which is always the same. */
static bool begins_with_hello(const HttpInput *in) {
        char header[NATIVE_HEADER_SIZE];
        size_t n = in->size < sizeof(header) ? in->size : sizeof(header);

        native_frame_format(header, &(NativeFrame){ .type = NATIVE_HELLO, .size = NATIVE_HELLO_SIZE });
        return memcmp(in->view, header, n) == 0;
}

static void fall_back(NativeMux *m) {
        MamHttpClient *c = m->mux.client;
        NativeCall *n;

        c->http1_until_usec = http_client_now(c) + HTTP1_USEC;
        m->mux.leaving = true;
        while (!c->closed && (n = TAILQ_FIRST(&m->early))) {
                _cleanup_(mam_buffer_done) MamBuffer out = n->stream.out;

                n->stream.out = (MamBuffer) MAM_BUFFER_INIT;
                http_call_move(n->link.call, &out);
        }
        http_mux_fail(&m->mux, 0);
}

static int put(NativePeer *p, const struct iovec *iov, size_t n) {
        return http_mux_put(&mux_of(p)->mux, iov, n);
}

static int mux_opened(HttpMux *mux) {
        native_peer_widen(mux->fd);
        return mam_buffer_append(&mux->out, NATIVE_PREFACE, NATIVE_PREFACE_SIZE);
}

static int mux_input(HttpMux *mux) {
        NativeMux *m = (NativeMux *) mux;
        int r;

        if (!m->peer.greeted && mux->input.size > 0 && !begins_with_hello(&mux->input)) {
                fall_back(m);
                return 0;
        }
        r = native_peer_read(&m->peer, &peer_ops, &mux->input);
        return r < 0 ? r : look_at_waiting(m);
}

static int mux_output(HttpMux *mux) {
        NativeMux *m = (NativeMux *) mux;
        int r;

        r = native_peer_fill(&m->peer);
        /* Who may write again writes into this send. */
        return r < 0 ? r : look_at_waiting(m);
}

static void mux_broken(HttpMux *mux, int error) {
        NativeMux *m = (NativeMux *) mux;
        NativeCall *n;

        while (!mux->client->closed && ((n = first_call(m, 0)) || (n = TAILQ_FIRST(&m->early))))
                end_call(n, error < 0 ? error : -ECONNRESET);
}

static bool mux_is_idle(const HttpMux *mux) {
        const NativeMux *m = (const NativeMux *) mux;

        return m->peer.greeted && m->n_calls == 0;
}

static HttpMux *mux_free(HttpMux *mux) {
        free((NativeMux *) mux);
        return NULL;
}

static const HttpMuxOps mux_ops = {
        .name = "native",
        .input_max = NATIVE_INPUT_MAX,
        .opened = mux_opened,
        .input = mux_input,
        .output = mux_output,
        .begin = begin,
        .broken = mux_broken,
        .is_idle = mux_is_idle,
        .free = mux_free,
};

int native_client_attach(MamHttpCall *call) {
        MamHttpClient *c = call->client;
        const char *target = http_call_target(call);
        HttpMux *mux;
        NativeMux *m;
        int r;

        if (c->http1_until_usec > 0 && http_client_now(c) < c->http1_until_usec)
                return http_channel_attach(call, false);
        if (*target != '/' && strcmp(target, "*") != 0)
                return -EINVAL;

        mux = http_mux_current(c);
        if (!mux) {
                m = calloc(1, sizeof(*m));
                if (!m)
                        return -ENOMEM;
                mux = &m->mux;
                mux->ops = &mux_ops;
                native_peer_init(&m->peer, &mux->out, put);
                TAILQ_INIT(&m->early);
                m->calls_max = c->options.connections_max;
                r = http_mux_open(mux, c);
                if (r < 0)
                        return r;
        }
        return mux->ops->begin(mux, call);
}
