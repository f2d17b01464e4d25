/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests over HTTP/2: their heads, bodies and trailers as nghttp2 asks for them
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libmam/http/http2-client.h"
#include "libmam/http/native-frames.h"

#define FRAME_HEAD_SIZE 9U

static nghttp2_nv nv_of(const char *name, size_t name_size, const char *value, size_t value_size) {
        return (nghttp2_nv){ (uint8_t *) name,
                             (uint8_t *) value,
                             name_size,
                             value_size,
                             NGHTTP2_NV_FLAG_NONE };
}

static nghttp2_nv nv_string(const char *name, const char *value) {
        return nv_of(name, strlen(name), value, strlen(value));
}

/* Names become lower-case in nghttp2's copy. */
static size_t put_fields(
                nghttp2_nv *nva,
                const char *p,
                unsigned n_fields,
                MamHttpRange *ret_host,
                bool *ret_has_te) {
        size_t n = 0;

        for (unsigned i = 0; i < n_fields; i++) {
                MamHttpRange name, value;

                p = native_field_next(p, &name, &value);
                if (mam_http_range_equal_fold(name, "Host")) {
                        *ret_host = value;
                } else if (mam_http_range_equal_fold(name, "TE")) {
                        *ret_has_te = true;
                } else if (!http2_field_is_connection_specific(name.data, name.size)) {
                        while (value.size > 0 && (*value.data == ' ' || *value.data == '\t')) {
                                value.data++;
                                value.size--;
                        }
                        while (value.size > 0 &&
                               (value.data[value.size - 1] == ' ' || value.data[value.size - 1] == '\t'))
                                value.size--;
                        nva[n++] = nv_of(name.data, name.size, value.data, value.size);
                }
        }
        return n;
}

static int submit_trailers(Http2Call *n) {
        const MamHttpCall *call = n->link.call;
        nghttp2_nv nva[MAM_HTTP_FIELDS_MAX];
        MamHttpRange host = { NULL, 0 };
        bool has_te = false;
        size_t n_nva;

        n_nva = put_fields(nva, mam_buffer_bytes(&call->trailers), call->n_trailers, &host, &has_te);
        return nghttp2_submit_trailer(n->mux->session, n->id, nva, n_nva);
}

static ssize_t on_read(
                nghttp2_session *session,
                int32_t id,
                uint8_t *buffer,
                size_t size,
                uint32_t *flags,
                nghttp2_data_source *source,
                void *userdata) {
        Http2Call *n = http2_call_of(userdata, id);

        if (!n)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        if (n->out.size < size)
                size = n->out.size;
        if (size == 0 && !n->ended) {
                n->deferred = true;
                return NGHTTP2_ERR_DEFERRED;
        }
        if (size > 0)
                *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        if (n->ended && size == n->out.size) {
                *flags |= NGHTTP2_DATA_FLAG_EOF;
                if (n->link.call->n_trailers > 0) {
                        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
                        if (submit_trailers(n) < 0)
                                return NGHTTP2_ERR_CALLBACK_FAILURE;
                }
        }
        return (ssize_t) size;
}

static int on_send_data(
                nghttp2_session *session,
                nghttp2_frame *frame,
                const uint8_t *head,
                size_t size,
                nghttp2_data_source *source,
                void *userdata) {
        Http2Mux *m = userdata;
        Http2Call *n = http2_call_of(m, frame->hd.stream_id);
        char *p;

        if (!n)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        if (m->mux.out.size > HTTP2_MUX_GATHER_MAX)
                return NGHTTP2_ERR_WOULDBLOCK;
        if (mam_buffer_reserve(&m->mux.out, FRAME_HEAD_SIZE + size, &p) < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        memcpy(p, head, FRAME_HEAD_SIZE);
        memcpy(p + FRAME_HEAD_SIZE, mam_buffer_bytes(&n->out), size);
        mam_buffer_commit(&m->mux.out, FRAME_HEAD_SIZE + size);
        mam_buffer_consume(&n->out, size);
        if (n->out.size == 0)
                mam_buffer_reset(&n->out);
        if (n->link.call->want_writable && n->out.size <= HTTP2_CALL_OUT_LOW)
                http2_call_wait(n);
        return 0;
}

static int before_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        Http2Mux *m = userdata;
        Http2Call *n;

        if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
                return 0;
        n = http2_call_of(m, frame->hd.stream_id);
        if (n) {
                n->position = http_mux_position(&m->mux);
                n->placed = true;
        }
        return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        Http2Call *n = http2_call_of(userdata, frame->hd.stream_id);

        if (n && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
            (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
                n->end_sent = true;
        return 0;
}

/* The head is larger than nghttp2 sends, or the peer has said goodbye before it went. */
static int on_frame_not_send(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                int error,
                void *userdata) {
        Http2Call *n = http2_call_of(userdata, frame->hd.stream_id);

        if (frame->hd.type != NGHTTP2_HEADERS || !n)
                return 0;
        n->unprocessed = error == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED;
        n->not_sent = true;
        http2_call_wait(n);
        return 0;
}

int http2_request_submit(Http2Call *n) {
        Http2Mux *m = n->mux;
        const nghttp2_data_provider provider = { .read_callback = on_read };
        const MamHttpCall *call = n->link.call;
        int64_t length = http_call_length(call);
        nghttp2_nv nva[MAM_HTTP_FIELDS_MAX + 6];
        MamHttpRange host = { NULL, 0 };
        bool has_te = false;
        size_t n_nva = 4;
        char text[24];

        n_nva += put_fields(nva + n_nva, http_call_fields(call), call->n_fields, &host, &has_te);
        nva[0] = nv_of(":method", 7, http_call_method(call), call->method_size);
        nva[1] = nv_string(":scheme", "http");
        nva[2] = nv_of(":path", 5, http_call_target(call), call->target_size);
        nva[3] = nv_of(":authority", 10, host.data, host.size);
        /* Peers of gRPC insist on it, and it is true: trailers are told. */
        nva[n_nva++] = nv_string("te", "trailers");
        if (length > 0 || (length == 0 && call->wants_length)) {
                (void) snprintf(text, sizeof(text), "%lld", (long long) length);
                nva[n_nva++] = nv_string("content-length", text);
        }
        n->ended = !call->streaming || length == 0;
        n->id = nghttp2_submit_request(m->session, NULL, nva, n_nva, length != 0 ? &provider : NULL, n);
        return n->id < 0 ? (n->id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EAGAIN) : 0;
}

void http2_request_callbacks(nghttp2_session_callbacks *callbacks) {
        nghttp2_session_callbacks_set_before_frame_send_callback(callbacks, before_frame_send);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
        nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
}
