/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers over HTTP/2, as nghttp2 tells them and the owners of calls hear of them
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http2-client.h"

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        Http2Mux *m = userdata;
        Http2Call *n = http2_call_of(m, frame->hd.stream_id);

        if (!n)
                return 0;
        if (!m->fields) {
                m->fields = malloc(sizeof(*m->fields));
                if (!m->fields)
                        return NGHTTP2_ERR_CALLBACK_FAILURE;
        } else
                http2_fields_done(m->fields);
        http2_fields_init(
                        m->fields,
                        n->got_head ? HTTP2_BLOCK_TRAILERS : HTTP2_BLOCK_RESPONSE,
                        m->mux.client->options.head_max);
        return 0;
}

/* The stream is reset; the call ends when that is told. */
static int refuse(Http2Mux *m, int32_t id) {
        Http2Call *n = http2_call_of(m, id);

        if (n)
                n->malformed = true;
        (void) nghttp2_submit_rst_stream(m->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
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
        Http2Mux *m = userdata;
        int r;

        if (!m->fields || !http2_call_of(m, frame->hd.stream_id))
                return 0;
        r = http2_fields_add(m->fields, name, name_size, value, value_size);
        if (r == -ENOMEM)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        return r < 0 ? refuse(m, frame->hd.stream_id) : 0;
}

static int on_invalid_header(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                const uint8_t *name,
                size_t name_size,
                const uint8_t *value,
                size_t value_size,
                uint8_t flags,
                void *userdata) {
        return refuse(userdata, frame->hd.stream_id);
}

static int on_invalid_frame(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                int error,
                void *userdata) {
        Http2Call *n = http2_call_of(userdata, frame->hd.stream_id);

        if (n)
                n->malformed = true;
        return 0;
}

/* If all that came was told, and it was all, the call ends. */
static void tell_end(Http2Call *n) {
        MamHttpCall *call = n->link.call;
        size_t n_trailers = n->n_trailers;
        Http2Mux *m = n->mux;
        int32_t id = n->id;

        if (!n->complete || n->in.size > 0 || call->paused)
                return;
        n->n_trailers = 0;
        if (n_trailers > 0 && call->callbacks.on_trailers) {
                call->callbacks.on_trailers(call, n->trailers, n_trailers, call->userdata);
                n = http2_call_find(m, id);
        }
        if (n)
                http2_call_end(n, 0);
}

static int on_head(Http2Mux *m, Http2Call *n, bool end) {
        MamHttpCall *call = n->link.call;
        int32_t id = n->id;
        MamHttpHead head;
        int r;

        r = http2_fields_finish_response(m->fields, end, call->head_request, &head);
        if (r < 0 || (head.status < 200 && ++n->n_interim > HTTP_CHANNEL_INTERIM_MAX)) {
                (void) refuse(m, id);
                return 0;
        }
        if (head.status < 200)
                return 0;
        n->got_head = true;
        n->complete = end;
        if (call->callbacks.on_head) {
                r = call->callbacks.on_head(call, &head, call->userdata);
                n = http2_call_of(m, id);
        }
        if (n && r < 0) {
                http2_call_end(n, r);
        } else if (n)
                tell_end(n);
        return 0;
}

static int on_trailers(Http2Mux *m, Http2Call *n) {
        MamHttpField trailers[MAM_HTTP_TRAILERS_MAX];
        size_t size;

        if (http2_fields_finish_trailers(m->fields, trailers, &n->n_trailers) < 0) {
                n->n_trailers = 0;
                (void) refuse(m, n->id);
                return 0;
        }
        size = n->n_trailers * sizeof(*trailers);
        if (size > 0) {
                n->trailers = malloc(size);
                if (!n->trailers)
                        return NGHTTP2_ERR_CALLBACK_FAILURE;
                memcpy(n->trailers, trailers, size);
                n->trailers_text = m->fields->text; /* what they point into moves along */
                m->fields->text = (MamBuffer) MAM_BUFFER_INIT;
        }
        n->complete = true;
        tell_end(n);
        return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
        Http2Mux *m = userdata;
        Http2Call *n = http2_call_of(m, frame->hd.stream_id);

        if (frame->hd.type == NGHTTP2_GOAWAY)
                m->mux.leaving = true;
        if (!n)
                return 0;
        if (frame->hd.type == NGHTTP2_HEADERS && !n->malformed && m->fields)
                return n->got_head ? on_trailers(m, n) : on_head(m, n, end);
        if (frame->hd.type == NGHTTP2_DATA && end) {
                n->complete = true;
                tell_end(n);
        }
        return 0;
}

static int on_data_chunk(
                nghttp2_session *session,
                uint8_t flags,
                int32_t id,
                const uint8_t *data,
                size_t size,
                void *userdata) {
        Http2Mux *m = userdata;
        Http2Call *n = http2_call_of(m, id);
        MamHttpCall *call;
        int r = 0;

        (void) nghttp2_session_consume_connection(session, size);
        if (!n)
                return 0;
        call = n->link.call;
        if (call->paused || n->in.size > 0)
                return mam_buffer_append(&n->in, data, size) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
        if (call->callbacks.on_data)
                r = call->callbacks.on_data(call, (const char *) data, size, call->userdata);
        n = http2_call_of(m, id);
        if (n && r < 0) {
                http2_call_end(n, r);
        } else if (n)
                (void) nghttp2_session_consume_stream(session, id, size);
        return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *userdata) {
        Http2Mux *m = userdata;
        Http2Call *n = http2_call_of(m, id);

        if (!n)
                return 0;
        n->closed = true;
        (void) nghttp2_session_set_stream_user_data(session, id, NULL);
        if (n->complete) {
                http2_call_wait(n); /* paused: its owner has not taken all */
                return 0;
        }
        n->unprocessed = error == NGHTTP2_REFUSED_STREAM;
        if (n->unprocessed) {
                http2_call_end(n, m->mux.leaving ? -ECONNREFUSED : -EAGAIN);
        } else
                http2_call_end(n, n->malformed || error == NGHTTP2_PROTOCOL_ERROR ? -EBADMSG : -ECONNRESET);
        return 0;
}

/* What came while the call was paused, and its end; or its writer may go on. */
void http2_reply_tell(Http2Call *n) {
        _cleanup_(mam_buffer_done) MamBuffer in = MAM_BUFFER_INIT;
        MamHttpCall *call = n->link.call;
        Http2Mux *m = n->mux;
        int32_t id = n->id;
        int r = 0;

        if (n->not_sent) {
                n->closed = true;
                http2_call_end(n, n->unprocessed ? -ECONNREFUSED : -EMSGSIZE);
                return;
        }
        if (call->want_writable && !call->body_ended && n->out.size <= HTTP2_CALL_OUT_LOW) {
                call->want_writable = false;
                if (call->callbacks.on_writable)
                        call->callbacks.on_writable(call, call->userdata);
                n = http2_call_find(m, id);
        }
        if (n && n->in.size > 0 && !call->paused) {
                in = n->in;
                n->in = (MamBuffer) MAM_BUFFER_INIT;
                if (!n->closed)
                        (void) nghttp2_session_consume_stream(m->session, id, in.size);
                if (call->callbacks.on_data)
                        r = call->callbacks.on_data(call, mam_buffer_bytes(&in), in.size, call->userdata);
                n = http2_call_find(m, id);
        }
        if (n && r < 0) {
                http2_call_end(n, r);
        } else if (n)
                tell_end(n);
}

void http2_reply_callbacks(nghttp2_session_callbacks *callbacks) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
        nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}
