/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The server's side of the native hop
 *
 * A stream lives as long as its exchange, and then until what the exchange said was sent. There are no
 * deadlines but for the greeting and for a peer that does not read: who is at the other end, the gateway,
 * watches the progress of each request itself, and a connection that is open and idle is how it should be.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "libmam/http/http-exchange.h"
#include "libmam/http/native-peer.h"
#include "libmam/http/native-server.h"
#include "libmam/util/zalloc.h"

typedef struct NativeServer NativeServer;
typedef struct NativeExchange NativeExchange;

struct NativeServer {
        NativePeer peer;
        HttpConnection *connection; /* weak: it owns us */
        uint32_t last;              /* stream that was begun */
        bool goaway;                /* was sent */
        bool held;                  /* requests wait for out to empty */
};

struct NativeExchange {
        HttpCarrier carrier; /* its exchange NULL: over, but not all is sent */
        NativeStream stream;
        NativeServer *server; /* weak */
        MamBuffer trailers;   /* of the request, until its body was read */
        unsigned n_trailers;
        bool complete : 1; /* all of the request has come */
        bool gone : 1;     /* the peer does not want it any more */
};

static NativeServer *server_of(const NativePeer *p) {
        return (NativeServer *) ((const char *) p - offsetof(NativeServer, peer));
}

static NativeExchange *exchange_of(const NativeStream *s) {
        return (NativeExchange *) ((const char *) s - offsetof(NativeExchange, stream));
}

static NativeExchange *carrier_exchange(const HttpCarrier *c) {
        return (NativeExchange *) ((const char *) c - offsetof(NativeExchange, carrier));
}

static NativeExchange *exchange_free(NativeExchange *n) {
        if (n->carrier.exchange)
                http_exchange_free(n->carrier.exchange);
        native_stream_done(&n->server->peer, &n->stream);
        mam_buffer_done(&n->trailers);
        free(n);
        return NULL;
}

/* ---- the answer: what exchanges ask for ---- */

static void look_again(NativeExchange *n) {
        native_stream_wait(&n->server->peer, &n->stream);
        http_connection_defer(n->server->connection);
}

/* "Name: value\r\n"… becomes fields of the hop. The end, or NULL: there are too many. */
static char *put_fields(char *p, const MamBuffer *text, size_t *n) {
        const char *at = mam_buffer_bytes(text), *end = at + text->size;

        while (at < end) {
                const char *colon = memchr(at, ':', (size_t) (end - at));
                const char *line = colon ? memchr(colon, '\r', (size_t) (end - colon)) : NULL;

                assert(line); /* we wrote it */
                if ((*n)++ >= MAM_HTTP_FIELDS_MAX || line - at > UINT16_MAX)
                        return NULL;
                p = native_field_format(
                                p,
                                (MamHttpRange){ at, (size_t) (colon - at) },
                                (MamHttpRange){ colon + 2, (size_t) (line - colon - 2) });
                at = line + 2;
        }
        return p;
}

/* What fields of that size may take on the hop: each has at least 5 bytes as text, and 2 more here. */
static size_t fields_room(const MamBuffer *text) {
        return text ? text->size + text->size / 2 : 0;
}

static int put_head(NativeExchange *n, const HttpAnswer *a, bool end) {
        size_t type_size = a->content_type ? strlen(a->content_type) : 0, n_fields = 0, size;
        MamBuffer *out = n->server->peer.out;
        char *start, *p;

        if (mam_buffer_reserve(
                            out,
                            NATIVE_HEADER_SIZE + NATIVE_ANSWER_SIZE + fields_room(a->fields) + type_size +
                                            32,
                            &start) < 0)
                return -ENOMEM;
        p = start + NATIVE_HEADER_SIZE + NATIVE_ANSWER_SIZE;
        if (a->content_type) {
                p = native_field_format(
                                p,
                                (MamHttpRange){ "Content-Type", 12 },
                                (MamHttpRange){ a->content_type, type_size });
                n_fields++;
        }
        if (a->fields)
                p = put_fields(p, a->fields, &n_fields);
        if (!p || p - start - NATIVE_HEADER_SIZE > NATIVE_HEAD_MAX || type_size > UINT16_MAX)
                return -ENOBUFS;

        size = (size_t) (p - start);
        native_frame_format(
                        start,
                        &(NativeFrame){ .type = NATIVE_HEAD,
                                        .end = end,
                                        .stream = n->stream.id,
                                        .size = (uint32_t) (size - NATIVE_HEADER_SIZE) });
        native_answer_format(
                        start + NATIVE_HEADER_SIZE,
                        a->content_length < 0 ? NATIVE_LENGTH_UNKNOWN : (uint64_t) a->content_length,
                        a->status,
                        n_fields);
        mam_buffer_commit(out, size);
        return 0;
}

static int carrier_start(HttpCarrier *carrier, const HttpAnswer *a) {
        NativeExchange *n = carrier_exchange(carrier);
        HttpConnection *c = carrier->connection;
        bool end = a->no_body || (!a->unknown_length && a->content_length <= 0);
        int r;

        if (c->failed || n->gone)
                return -EPIPE;
        r = put_head(n, a, end);
        if (r < 0)
                return r; /* nothing was written: the exchange is aborted */
        if (end)
                n->stream.out_ended = n->stream.sent_end = true;
        if (!a->unknown_length && a->content_length > 0)
                n->stream.out_left = (uint64_t) a->content_length;
        http_connection_defer(c);
        return 0;
}

static int carrier_write(HttpCarrier *carrier, const void *data, size_t size) {
        NativeExchange *n = carrier_exchange(carrier);
        HttpConnection *c = carrier->connection;
        int r;

        if (c->failed || n->gone)
                return -EPIPE;
        r = native_stream_write(&n->server->peer, &n->stream, data, size);
        if (r < 0)
                c->failed = true; /* an answer with a hole would be worse than none */
        http_connection_defer(c);
        return r < 0 ? -EPIPE : r;
}

static int carrier_end(HttpCarrier *carrier, const MamBuffer *trailers) {
        _cleanup_(mam_buffer_done) MamBuffer fields = MAM_BUFFER_INIT;
        NativeExchange *n = carrier_exchange(carrier);
        HttpConnection *c = carrier->connection;
        size_t n_fields = 0;
        char *p, *end;
        int r;

        if (c->failed || n->gone)
                return -EPIPE;
        if (trailers) {
                r = mam_buffer_reserve(&fields, fields_room(trailers), &p);
                if (r < 0)
                        return r;
                end = put_fields(p, trailers, &n_fields);
                if (!end || end - p > (ptrdiff_t) (NATIVE_HEAD_MAX - NATIVE_TRAILERS_SIZE))
                        return -ENOBUFS;
                mam_buffer_commit(&fields, (size_t) (end - p));
        }
        r = native_stream_end(
                        &n->server->peer,
                        &n->stream,
                        mam_buffer_bytes(&fields),
                        fields.size,
                        (unsigned) n_fields);
        if (r < 0)
                c->failed = true;
        look_again(n);
        return r < 0 ? -EPIPE : 0;
}

static void carrier_notice(HttpCarrier *carrier) {
        look_again(carrier_exchange(carrier));
}

static const HttpCarrierOps carrier_ops = {
        .version = 1,
        .start = carrier_start,
        .write = carrier_write,
        .end = carrier_end,
        .abort = carrier_notice,
        .want_body = carrier_notice,
};

/* The exchange is over: what it said is still sent, if it said all. */
static int finish(NativeExchange *n) {
        NativePeer *p = &n->server->peer;
        bool aborted = n->carrier.exchange->aborted;
        int r = 0;

        http_exchange_free(n->carrier.exchange);
        if (aborted && !n->gone)
                r = native_peer_number(p, NATIVE_RESET, n->stream.id, NATIVE_RESET_BROKEN);
        if (aborted || n->stream.sent_end)
                exchange_free(n);
        return r;
}

/* ---- the request ---- */

static int on_hello(NativePeer *p, const NativeHello *h) {
        return 0;
}

static void deliver_end(NativeExchange *n) {
        _cleanup_(mam_buffer_done) MamBuffer kept = n->trailers;
        MamHttpField fields[MAM_HTTP_FIELDS_MAX];
        const char *p = mam_buffer_bytes(&kept);
        size_t n_fields = 0;

        n->trailers = (MamBuffer) MAM_BUFFER_INIT;
        for (unsigned i = 0; i < n->n_trailers; i++)
                p = native_field_next(p, &fields[i].name, &fields[i].value);
        n_fields = n->n_trailers;
        http_exchange_deliver_end(n->carrier.exchange, n_fields > 0 ? fields : NULL, n_fields);
}

/* Somebody reads the body: what there is of it. */
static int deliver(NativePeer *p, NativeExchange *n) {
        MamHttpExchange *x = n->carrier.exchange;
        NativeStream *s = &n->stream;

        if (s->left != UINT64_MAX && !x->body_failed && s->left + s->in.size > x->body_max - x->body_seen) {
                http_exchange_body_fail(x, -EMSGSIZE, 413, "the request's body is larger than allowed");
                return 0;
        }
        if (s->in.size > 0) {
                _cleanup_(mam_buffer_done) MamBuffer in = s->in;

                s->in = (MamBuffer) MAM_BUFFER_INIT;
                http_exchange_deliver(x, mam_buffer_bytes(&in), in.size);
        }
        if (!http_exchange_wants_body(x))
                return 0;
        if (n->complete) {
                deliver_end(n);
                return 0;
        }
        return native_stream_used(p, s);
}

/* Something has happened to the stream. It may be gone afterwards. */
static int look_at(NativePeer *p, NativeExchange *n) {
        MamHttpExchange *x = n->carrier.exchange;
        int r;

        if (!x) {
                if (n->stream.sent_end || n->gone)
                        exchange_free(n);
                return 0;
        }
        if (!http_exchange_is_over(x) && http_exchange_wants_body(x)) {
                r = deliver(p, n);
                if (r < 0)
                        return r;
        }
        if (!http_exchange_is_over(x) && n->stream.out.size <= NATIVE_STREAM_LOW)
                (void) http_exchange_writable(x);
        return http_exchange_is_over(x) ? finish(n) : 0;
}

static int on_head(NativePeer *p, const NativeFrame *f, const char *payload) {
        NativeServer *s = server_of(p);
        MamHttpExchange *x;
        NativeExchange *n;
        MamHttpHead head;
        int r;

        if (f->stream <= s->last)
                return -EBADMSG;
        s->last = f->stream;
        if (s->goaway)
                return 0; /* it was told that this one will not be looked at */
        if (p->n_streams >= NATIVE_STREAMS_MAX)
                return native_peer_number(p, NATIVE_RESET, f->stream, NATIVE_RESET_UNPROCESSED);
        r = native_request_parse(&head, f, payload);
        if (r < 0)
                return r;

        n = mam_zalloc(sizeof(*n));
        if (!n)
                return -ENOMEM;
        n->server = s;
        n->carrier.ops = &carrier_ops;
        n->carrier.connection = s->connection;
        native_stream_init(p, &n->stream, f->stream);
        n->complete = n->stream.got_end = f->end;
        if (head.framing == MAM_HTTP_BODY_LENGTH)
                n->stream.left = head.content_length;
        r = http_exchange_new(&x, &n->carrier, &head, payload, f->size);
        if (r < 0) {
                exchange_free(n);
                return r;
        }
        s->connection->fresh = false;
        http_exchange_handle(x);
        return look_at(p, n);
}

static int on_data(NativePeer *p, NativeStream *s, const char *data, size_t size, bool end) {
        NativeExchange *n = exchange_of(s);
        MamHttpExchange *x = n->carrier.exchange;

        n->complete = end;
        if (!x)
                return 0; /* answered already */
        if (s->in.size > 0 || !http_exchange_wants_body(x))
                return mam_buffer_append(&s->in, data, size);
        if (s->left == UINT64_MAX || s->left <= x->body_max - x->body_seen - size)
                http_exchange_deliver(x, data, size);
        return look_at(p, n);
}

static int on_trailers(NativePeer *p, NativeStream *s, const MamHttpField *fields, size_t n_fields) {
        NativeExchange *n = exchange_of(s);
        char *to;
        int r;

        n->complete = true;
        for (size_t i = 0; i < n_fields; i++) {
                size_t size = NATIVE_FIELD_OVERHEAD + fields[i].name.size + fields[i].value.size;

                if (!mam_http_trailer_is_legal(fields[i].name))
                        continue;
                r = mam_buffer_reserve(&n->trailers, size, &to);
                if (r < 0)
                        return r;
                (void) native_field_format(to, fields[i].name, fields[i].value);
                mam_buffer_commit(&n->trailers, size);
                n->n_trailers++;
        }
        return look_at(p, n);
}

static int on_reset(NativePeer *p, NativeStream *s, NativeReset why) {
        NativeExchange *n = exchange_of(s);

        n->gone = true;
        exchange_free(n); /* its reader is told, and on_done runs */
        return 0;
}

static int on_goaway(NativePeer *p, uint32_t last) {
        return -EBADMSG; /* a client just closes */
}

static bool is_known(const NativePeer *p, uint32_t stream) {
        return stream <= server_of(p)->last;
}

static bool is_over(const NativePeer *p) {
        const HttpConnection *c = server_of(p)->connection;

        return c->failed || c->out.size > HTTP_OUT_HIGH; /* who does not read gets no more done */
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

/* ---- the connection ---- */

static int put(NativePeer *p, const struct iovec *iov, size_t n) {
        return http_connection_put(server_of(p)->connection, iov, n);
}

static int start(HttpConnection *c) {
        NativeServer *s;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->connection = c;
        native_peer_init(&s->peer, &c->out, put);
        c->state = s;
        native_peer_widen(c->fd);
        c->out_kept = NATIVE_OUT_HIGH; /* one connection per gateway: it is in use all the time */
        http_input_consume(&c->input, NATIVE_PREFACE_SIZE);
        return native_peer_hello(&s->peer, NATIVE_STREAMS_MAX);
}

static void stop(HttpConnection *c) {
        NativeServer *s = c->state;

        if (!s)
                return;
        for (unsigned i = 0; i < NATIVE_BUCKETS; i++) {
                while (s->peer.buckets[i])
                        exchange_free(exchange_of(s->peer.buckets[i]));
        }
        free(s);
        c->state = NULL;
}

static int look_at_waiting(NativeServer *s) {
        NativeStream *stream;
        int r = 0;

        while (r >= 0 && !s->connection->failed && (stream = TAILQ_FIRST(&s->peer.waiting))) {
                TAILQ_REMOVE(&s->peer.waiting, stream, waiting);
                stream->is_waiting = false;
                r = look_at(&s->peer, exchange_of(stream));
        }
        return r;
}

static int work(HttpConnection *c) {
        NativeServer *s = c->state;
        int r;

        r = native_peer_read(&s->peer, &peer_ops, &c->input);
        if (r >= 0)
                r = look_at_waiting(s);
        if (r >= 0 && c->server->draining && !s->goaway) {
                s->goaway = true;
                r = native_peer_number(&s->peer, NATIVE_GOAWAY, 0, s->last);
        }
        return r < 0 ? r : native_peer_fill(&s->peer);
}

static bool step(HttpConnection *c) {
        size_t before = c->input.size;
        NativeServer *s = c->state;

        if (work(c) < 0 || c->failed) {
                c->failed = true;
                return false;
        }
        if (!TAILQ_EMPTY(&s->peer.waiting))
                return true;
        s->held = c->out.size > HTTP_OUT_HIGH;
        if (c->eof && c->input.size == before)
                c->failed = true; /* a peer that is gone waits for no answer */
        else if (s->goaway && s->peer.n_streams == 0)
                c->closing = true;
        return false;
}

static bool refill(HttpConnection *c) {
        NativeServer *s = c->state;

        if (s->held && c->out.size <= HTTP_OUT_HIGH)
                return true;
        return c->out.size < NATIVE_OUT_HIGH &&
               (native_peer_is_queued(&s->peer) || !TAILQ_EMPTY(&s->peer.waiting));
}

static bool wants_bytes(const HttpConnection *c) {
        return c->out.size <= HTTP_OUT_HIGH;
}

static bool is_busy(const HttpConnection *c) {
        const NativeServer *s = c->state;

        return s->peer.n_streams > 0;
}

static bool is_idle(const HttpConnection *c) {
        return false;
}

static HttpDeadline deadline(const HttpConnection *c, bool *renew) {
        const NativeServer *s = c->state;

        return s->peer.greeted ? HTTP_DEADLINE_NONE : HTTP_DEADLINE_HEAD;
}

static void expire(HttpConnection *c, HttpDeadline kind) {
        c->failed = true;
}

const HttpProtocol native_protocol = {
        .name = "native",
        .input_max = NATIVE_INPUT_MAX,
        .start = start,
        .stop = stop,
        .step = step,
        .refill = refill,
        .wants_bytes = wants_bytes,
        .is_busy = is_busy,
        .is_idle = is_idle,
        .deadline = deadline,
        .expire = expire,
};
