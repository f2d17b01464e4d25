/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A stream of HTTP/2 as the carrier of one exchange: its life, and the request's body
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "libmam/http/http2-session.h"

/* Bodies received and not read, of all connections of this thread: each of them may have few, and all
 * together too many. */
static _Thread_local size_t buffered_in_all;

static void count_buffered(Http2Session *s, ssize_t change) {
        s->buffered += (size_t) change;
        buffered_in_all += (size_t) change;
}

int http2_stream_new(Http2Stream **ret, Http2Session *s, int32_t id) {
        Http2Stream *st;

        assert(ret);
        assert(s);

        st = calloc(1, sizeof(*st));
        if (!st)
                return -ENOMEM;
        st->carrier.ops = &http2_carrier_ops;
        st->carrier.connection = s->connection;
        st->session = s;
        st->id = id;
        st->content_length = -1;
        st->moved_usec = s->now_usec;
        if (nghttp2_session_set_stream_user_data(s->nghttp2, id, st) < 0) {
                free(st);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&s->streams, st, streams);
        s->n_streams++;
        *ret = st;
        return 0;
}

/* The connection's credit for size bytes that arrived, or were read. */
static void give_credit(Http2Session *s, size_t size) {
        s->withheld += size;
        if (s->withheld == 0 || s->buffered > HTTP2_BUFFERED_MAX)
                return;
        (void) nghttp2_session_consume_connection(s->nghttp2, s->withheld);
        s->withheld = 0;
}

static void drop_input(Http2Stream *st) {
        Http2Session *s = st->session;

        if (st->in.size == 0)
                return;
        count_buffered(s, -(ssize_t) st->in.size);
        mam_buffer_reset(&st->in);
        give_credit(s, 0);
}

Http2Stream *http2_stream_free(Http2Stream *st) {
        Http2Session *s;

        if (!st)
                return NULL;

        s = st->session;
        if (st->carrier.exchange)
                http_exchange_free(st->carrier.exchange);
        drop_input(st);
        (void) nghttp2_session_set_stream_user_data(s->nghttp2, st->id, NULL);
        if (st->is_dirty)
                TAILQ_REMOVE(&s->dirty, st, in_dirty);
        TAILQ_REMOVE(&s->streams, st, streams);
        s->n_streams--;
        s->waiting -= st->out.size;
        mam_buffer_done(&st->in);
        mam_buffer_done(&st->out);
        mam_buffer_done(&st->trailers_out);
        mam_buffer_done(&st->trailers_text);
        free(st->trailers);
        free(st);
        return NULL;
}

void http2_stream_mark(Http2Stream *st) {
        Http2Session *s = st->session;

        if (!st->is_dirty) {
                TAILQ_INSERT_TAIL(&s->dirty, st, in_dirty);
                st->is_dirty = true;
        }
        http_connection_defer(s->connection);
}

void http2_stream_reset(Http2Stream *st, uint32_t error) {
        Http2Session *s = st->session;

        if (st->closed || st->reset)
                return;
        st->reset = true;
        if (nghttp2_submit_rst_stream(s->nghttp2, NGHTTP2_FLAG_NONE, st->id, error) < 0)
                s->connection->failed = true;
        http_connection_defer(s->connection);
}

static bool is_read(const Http2Stream *st) {
        const MamHttpExchange *x = st->carrier.exchange;

        return x && !st->is_new && http_exchange_wants_body(x);
}

/* Nobody will read what still comes. */
static bool is_dropped(const Http2Stream *st) {
        const MamHttpExchange *x = st->carrier.exchange;

        return !x || http_exchange_is_over(x) || http_exchange_body_has_ended(x);
}

int http2_stream_receive(Http2Stream *st, const uint8_t *data, size_t size) {
        Http2Session *s = st->session;
        int r;

        st->moved_usec = s->now_usec;
        if (st->in.size == 0 && (is_dropped(st) || is_read(st))) {
                give_credit(s, size);
                if (is_dropped(st))
                        return 0; /* without credit for more, until it ends or is reset */
                (void) nghttp2_session_consume_stream(s->nghttp2, st->id, size);
                http_exchange_deliver(st->carrier.exchange, (const char *) data, size);
                http2_stream_mark(st);
                return 0;
        }

        if (buffered_in_all > HTTP2_BUFFERED_ALL_MAX && !is_read(st)) {
                give_credit(s, size);
                http2_stream_reset(st, NGHTTP2_ENHANCE_YOUR_CALM);
                return 0;
        }
        r = mam_buffer_append(&st->in, data, size);
        if (r < 0)
                return r;
        count_buffered(s, (ssize_t) size);
        give_credit(s, size);
        http2_stream_mark(st);
        return 0;
}

static void raise_window(Http2Stream *st) {
        if (st->window_raised || st->remote_ended ||
            (st->content_length >= 0 && st->content_length <= HTTP2_WINDOW))
                return;
        st->window_raised = true;
        (void) nghttp2_session_set_local_window_size(
                        st->session->nghttp2,
                        NGHTTP2_FLAG_NONE,
                        st->id,
                        HTTP2_WINDOW_READ);
}

/* One piece of the body, or its end. false: nothing to do. */
static bool deliver(Http2Stream *st) {
        MamHttpExchange *x = st->carrier.exchange;
        size_t size = st->in.size;
        Http2Session *s = st->session;

        if (is_dropped(st))
                drop_input(st);
        if (!is_read(st))
                return false;
        if (!x->upgraded && st->content_length > 0 && (uint64_t) st->content_length > x->body_max) {
                http_exchange_body_fail(x, -EMSGSIZE, 413, "the request's body is larger than allowed");
                return true;
        }
        raise_window(st);
        if (size > 0) {
                http_exchange_deliver(x, mam_buffer_bytes(&st->in), size);
                mam_buffer_reset(&st->in);
                count_buffered(s, -(ssize_t) size);
                (void) nghttp2_session_consume_stream(s->nghttp2, st->id, size);
                give_credit(s, 0);
                return true;
        }
        if (!st->remote_ended)
                return false;
        http_exchange_deliver_end(x, st->trailers, st->n_trailers);
        return true;
}

bool http2_stream_is_half_open(const Http2Stream *st) {
        return st->end_sent && !st->remote_ended && !st->closed;
}

void http2_stream_stop(Http2Stream *st) {
        if (!http2_stream_is_half_open(st) || st->carrier.exchange)
                return;
        if (st->content_length < 0 || st->content_length > HTTP2_WINDOW || st->expects)
                http2_stream_reset(st, NGHTTP2_NO_ERROR);
}

/* The exchange is over; what is left of the answer in out is sent without it. */
static void finish(Http2Stream *st) {
        MamHttpExchange *x = st->carrier.exchange;

        if (x->aborted)
                http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
        http_exchange_free(x);
        drop_input(st);
        st->session->worked = true;
        http2_stream_stop(st);
}

void http2_stream_run(Http2Stream *st) {
        MamHttpExchange *x = st->carrier.exchange;

        if (st->is_dirty) {
                TAILQ_REMOVE(&st->session->dirty, st, in_dirty);
                st->is_dirty = false;
        }
        if (x && st->closed && !(st->end_sent && st->remote_ended)) {
                http_exchange_free(x); /* the client has taken it back */
                x = NULL;
        }
        if (x && st->is_new) {
                st->is_new = false;
                http_exchange_handle(x);
                if (st->session->told_hangup)
                        (void) http_exchange_hangup(x);
        }
        while (x && !http_exchange_is_over(x) && deliver(st))
                ;
        if (x && http_exchange_is_over(x))
                finish(st);
        if (st->closed && !st->carrier.exchange)
                http2_stream_free(st);
}

bool http2_stream_waits_for_client(const Http2Stream *st) {
        if (st->closed)
                return false;
        if (st->out.size > 0 || http2_stream_is_half_open(st))
                return true;
        return is_read(st) && !st->tunnel && !st->remote_ended && st->in.size == 0;
}

void http2_stream_expire(Http2Stream *st) {
        MamHttpExchange *x = st->carrier.exchange;

        if (http2_stream_is_half_open(st)) {
                http2_stream_reset(st, NGHTTP2_NO_ERROR);
        } else if (st->out.size > 0 || !x) {
                http2_stream_reset(st, NGHTTP2_CANCEL);
        } else {
                http_exchange_body_fail(x, -ETIMEDOUT, 408, "the request's body took too long");
        }
        http2_stream_mark(st);
}
