/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What nghttp2 tells of the frames of a client
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http2-session.h"

static Http2Stream *stream_of(Http2Session *s, int32_t id) {
        return id > 0 ? nghttp2_session_get_stream_user_data(s->nghttp2, id) : NULL;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        bool request = frame->headers.cat == NGHTTP2_HCAT_REQUEST;
        Http2Session *s = userdata;
        Http2Stream *st;

        if (frame->hd.type != NGHTTP2_HEADERS || s->ending)
                return 0;
        if (!s->fields) {
                s->fields = malloc(sizeof(*s->fields));
                if (!s->fields)
                        return NGHTTP2_ERR_CALLBACK_FAILURE;
        } else {
                http2_fields_done(s->fields);
        }
        http2_fields_init(
                        s->fields,
                        request ? HTTP2_BLOCK_REQUEST : HTTP2_BLOCK_TRAILERS,
                        s->connection->server->options.head_max);
        if (request && http2_stream_new(&st, s, frame->hd.stream_id) < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        return 0;
}

/* Malformed: of no use to a handler, and not to be answered as if it were a request. */
static int refuse_block(Http2Session *s, int32_t id) {
        Http2Stream *st = stream_of(s, id);

        if (!st)
                return 0;
        http2_stream_reset(st, NGHTTP2_PROTOCOL_ERROR);
        http2_stream_mark(st);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_header(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                const uint8_t *name,
                size_t name_size,
                const uint8_t *value,
                size_t value_size,
                uint8_t flags,
                void *userdata) {
        Http2Session *s = userdata;
        int r;

        if (s->ending || !s->fields || !stream_of(s, frame->hd.stream_id))
                return 0;
        r = http2_fields_add(s->fields, name, name_size, value, value_size);
        if (r == -EBADMSG)
                return refuse_block(s, frame->hd.stream_id);
        if (r == -E2BIG)
                http2_session_end(s, NGHTTP2_ENHANCE_YOUR_CALM);
        return r == -ENOMEM ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* What nghttp2 itself finds wrong with a field; without this it would drop the field and go on. */
static int on_invalid_header(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                const uint8_t *name,
                size_t name_size,
                const uint8_t *value,
                size_t value_size,
                uint8_t flags,
                void *userdata) {
        (void) refuse_block(userdata, frame->hd.stream_id);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* nghttp2 resets the stream by itself. */
static int on_invalid_frame(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                int error,
                void *userdata) {
        Http2Stream *st = stream_of(userdata, frame->hd.stream_id);

        if (st)
                st->reset = true;
        return 0;
}

static int begin_request(Http2Session *s, Http2Stream *st, bool end_stream) {
        HttpConnection *c = s->connection;
        const char *reason = NULL;
        MamHttpExchange *x;
        MamHttpHead head;
        int r;

        st->remote_ended = end_stream;
        c->fresh = false;
        c->got_request = s->worked = true;
        r = http2_fields_finish_request(s->fields, end_stream, &head, &reason);
        if (r == -EBADMSG) {
                (void) refuse_block(s, st->id);
                return 0;
        }
        if (r > 0) {
                r = http2_stream_refuse(st, (unsigned) r, reason);
        } else if (r == 0) {
                if (s->fields->has_length)
                        st->content_length = (int64_t) s->fields->content_length;
                st->expects = head.expect_continue;
                st->is_new = true;
                r = http_exchange_new(
                                &x,
                                &st->carrier,
                                &head,
                                mam_buffer_bytes(&s->fields->text),
                                s->fields->text.size);
        }
        if (r < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        http2_stream_mark(st);
        return 0;
}

static int keep_trailers(Http2Session *s, Http2Stream *st) {
        MamHttpField trailers[MAM_HTTP_TRAILERS_MAX];
        size_t n = 0;
        int r;

        r = http2_fields_finish_trailers(s->fields, trailers, &n);
        if (r < 0) {
                (void) refuse_block(s, st->id);
                return 0;
        }
        st->remote_ended = true;
        http2_stream_mark(st);
        if (n == 0 || !st->carrier.exchange)
                return 0;
        st->trailers = malloc(n * sizeof(*trailers));
        if (!st->trailers)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        memcpy(st->trailers, trailers, n * sizeof(*trailers));
        st->n_trailers = n;
        st->trailers_text = s->fields->text; /* what they point into moves along */
        s->fields->text = (MamBuffer) MAM_BUFFER_INIT;
        return 0;
}

static int on_data_frame(Http2Session *s, const nghttp2_frame *frame) {
        Http2Stream *st = stream_of(s, frame->hd.stream_id);
        bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

        if (frame->hd.length > 0 && frame->hd.length <= frame->data.padlen && !end &&
            !http2_guard_empty(&s->guard, s->now_usec))
                http2_session_end(s, NGHTTP2_ENHANCE_YOUR_CALM);
        if (st && end) {
                st->remote_ended = true;
                st->moved_usec = s->now_usec;
                http2_stream_mark(st);
        }
        return 0;
}

static int on_headers_frame(Http2Session *s, const nghttp2_frame *frame) {
        bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        Http2Stream *st = stream_of(s, frame->hd.stream_id);

        if (!st || st->reset || !s->fields)
                return 0;
        return frame->headers.cat == NGHTTP2_HCAT_REQUEST ? begin_request(s, st, end) : keep_trailers(s, st);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        Http2Session *s = userdata;
        Http2Stream *st;

        if (s->ending)
                return 0;
        switch (frame->hd.type) {
        case NGHTTP2_DATA:
                return on_data_frame(s, frame);
        case NGHTTP2_HEADERS:
                return on_headers_frame(s, frame);
        case NGHTTP2_WINDOW_UPDATE:
                st = stream_of(s, frame->hd.stream_id);
                if (st)
                        st->moved_usec = s->now_usec;
                return 0;
        case NGHTTP2_PING:
                if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && http2_session_tell_last(s) < 0)
                        return NGHTTP2_ERR_CALLBACK_FAILURE;
                return 0;
        default:
                return 0;
        }
}

static int on_data_chunk(
                nghttp2_session *session,
                uint8_t flags,
                int32_t id,
                const uint8_t *data,
                size_t size,
                void *userdata) {
        Http2Session *s = userdata;
        Http2Stream *st = stream_of(s, id);

        if (s->ending)
                return 0;
        if (!st) {
                (void) nghttp2_session_consume(session, id, size);
                return 0;
        }
        return http2_stream_receive(st, data, size) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *userdata) {
        Http2Stream *st = stream_of(userdata, id);

        if (st) {
                st->closed = true;
                http2_stream_mark(st);
        }
        return 0;
}

void http2_receive_callbacks(nghttp2_session_callbacks *callbacks) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
