/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The answer on a stream of HTTP/2
 *
 * The head goes to nghttp2 at once, the body gathers in the stream. nghttp2 asks for it when the flow
 * control of both levels lets it be sent, and it is copied once more, behind the head of its frame, to where
 * all frames of a run gather for one send.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http2-session.h"

#define NV_FEW 48U /* fields of an answer for which no memory is asked */

static Http2Stream *stream_of(HttpCarrier *c) {
        return (Http2Stream *) c;
}

static nghttp2_nv nv_of(const char *name, size_t name_size, const char *value, size_t value_size) {
        return (nghttp2_nv){ .name = (uint8_t *) name,
                             .namelen = name_size,
                             .value = (uint8_t *) value,
                             .valuelen = value_size };
}

static nghttp2_nv nv_string(const char *name, const char *value) {
        return nv_of(name, strlen(name), value, strlen(value));
}

static size_t count_lines(const MamBuffer *fields) {
        size_t n = 0;

        if (!fields)
                return 0;
        for (const char *p = mam_buffer_bytes(fields), *end = p + fields->size; p < end; n++)
                p = (const char *) memchr(p, '\n', (size_t) (end - p)) + 1;
        return n;
}

/* "Name: value\r\n"… as the exchange keeps them: checked when they were added. nghttp2 copies them and makes
 * the names lower-case. */
static size_t put_lines(nghttp2_nv *nva, const MamBuffer *fields) {
        size_t n = 0;

        if (!fields)
                return 0;
        for (const char *p = mam_buffer_bytes(fields), *end = p + fields->size; p < end;) {
                const char *colon = memchr(p, ':', (size_t) (end - p)), *value = colon + 2;
                const char *stop = memchr(value, '\r', (size_t) (end - value));
                size_t name_size = (size_t) (colon - p), size;

                while (value < stop && (*value == ' ' || *value == '\t'))
                        value++;
                size = (size_t) (stop - value);
                while (size > 0 && (value[size - 1] == ' ' || value[size - 1] == '\t'))
                        size--;
                if (!http2_field_is_connection_specific(p, name_size))
                        nva[n++] = nv_of(p, name_size, value, size);
                p = stop + 2;
        }
        return n;
}

/* Room for n of them: few, or *ret_more, which is the caller's. */
static nghttp2_nv *nv_room(nghttp2_nv *few, size_t n, nghttp2_nv **ret_more) {
        *ret_more = NULL;
        if (n <= NV_FEW)
                return few;
        *ret_more = malloc(n * sizeof(*few));
        return *ret_more;
}

/* ---- the body, as nghttp2 asks for it ---- */

static int submit_trailers(Http2Stream *st) {
        nghttp2_nv few[NV_FEW], *more, *nva;
        size_t n = count_lines(&st->trailers_out);
        int r;

        nva = nv_room(few, n, &more);
        if (!nva)
                return NGHTTP2_ERR_NOMEM;
        n = put_lines(nva, &st->trailers_out);
        r = nghttp2_submit_trailer(st->session->nghttp2, st->id, nva, n);
        free(more);
        return r;
}

static ssize_t on_read(
                nghttp2_session *session,
                int32_t id,
                uint8_t *buffer,
                size_t size,
                uint32_t *flags,
                nghttp2_data_source *source,
                void *userdata) {
        Http2Stream *st = source->ptr;

        if (st->out.size < size)
                size = st->out.size;
        if (size == 0 && !st->ended) {
                st->deferred = true;
                return NGHTTP2_ERR_DEFERRED;
        }
        if (size > 0)
                *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
        if (st->ended && size == st->out.size) {
                *flags |= NGHTTP2_DATA_FLAG_EOF;
                if (st->trailers_out.size > 0) {
                        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
                        if (submit_trailers(st) < 0)
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
        Http2Session *s = userdata;
        MamBuffer *out = &s->connection->out;
        Http2Stream *st = source->ptr;
        char *p;

        assert(frame->data.padlen == 0);

        if (http_connection_unsent(s->connection) > HTTP2_GATHER_MAX)
                return NGHTTP2_ERR_WOULDBLOCK;
        if (mam_buffer_reserve(out, HTTP2_FRAME_HEAD_SIZE + size, &p) < 0)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
        memcpy(p, head, HTTP2_FRAME_HEAD_SIZE);
        memcpy(p + HTTP2_FRAME_HEAD_SIZE, mam_buffer_bytes(&st->out), size);
        mam_buffer_commit(out, HTTP2_FRAME_HEAD_SIZE + size);
        mam_buffer_consume(&st->out, size);
        if (st->out.size == 0)
                mam_buffer_reset(&st->out);
        s->waiting -= size;
        s->worked = true;
        st->moved_usec = s->now_usec;
        http2_guard_sent_data(&s->guard);
        return 0;
}

/* Resets that the client has brought about count as its own do. */
static void on_reset_sent(Http2Session *s, const nghttp2_frame *frame) {
        uint32_t error = frame->rst_stream.error_code;
        bool blame = error != NGHTTP2_NO_ERROR && error != NGHTTP2_INTERNAL_ERROR;

        /* Of the whole connection also where RFC 9113 sees a stream's: it may be both (section 5.4.1), and
         * must be when SETTINGS bring it about (6.9.2). */
        if (error == NGHTTP2_FLOW_CONTROL_ERROR)
                http2_session_end(s, error);
        if (!http2_guard_reset(&s->guard, (uint32_t) frame->hd.stream_id, blame, s->now_usec))
                http2_session_end(s, NGHTTP2_ENHANCE_YOUR_CALM);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *userdata) {
        Http2Stream *st;

        if (frame->hd.type == NGHTTP2_RST_STREAM)
                on_reset_sent(userdata, frame);
        if (frame->hd.type == NGHTTP2_GOAWAY)
                http2_session_goaway_sent(userdata);
        if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
            !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
                return 0;
        st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (!st)
                return 0;
        st->end_sent = true;
        http2_stream_stop(st);
        return 0;
}

/* Such as a head larger than nghttp2 sends: without this the client would wait for ever. */
static int on_frame_not_send(
                nghttp2_session *session,
                const nghttp2_frame *frame,
                int error,
                void *userdata) {
        Http2Stream *st;

        if (frame->hd.type != NGHTTP2_HEADERS)
                return 0;
        st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (st)
                http2_stream_reset(st, NGHTTP2_INTERNAL_ERROR);
        return 0;
}

void http2_answer_callbacks(nghttp2_session_callbacks *callbacks) {
        nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
}

/* ---- the carrier's operations ---- */

static int submit_head(Http2Stream *st, const HttpAnswer *a, bool with_body) {
        nghttp2_data_provider provider = { .source.ptr = st, .read_callback = on_read };
        nghttp2_nv few[NV_FEW], *more, *nva;
        Http2Session *s = st->session;
        char status[4], length[24];
        size_t n = 0;
        int r;

        nva = nv_room(few, count_lines(a->fields) + 5, &more);
        if (!nva)
                return -ENOMEM;
        (void) snprintf(status, sizeof(status), "%03u", a->status % 1000);
        nva[n++] = nv_string(":status", status);
        nva[n++] = nv_string("date", http_server_date(s->connection->server));
        nva[n] = nv_string("x-request-id", a->request_id);
        nva[n++].flags = NGHTTP2_NV_FLAG_NO_INDEX; /* never the same again */
        if (a->content_type)
                nva[n++] = nv_string("content-type", a->content_type);
        if (a->content_length >= 0) {
                (void) snprintf(length, sizeof(length), "%lld", (long long) a->content_length);
                nva[n++] = nv_string("content-length", length);
        }
        n += put_lines(nva + n, a->fields);

        r = nghttp2_submit_response(s->nghttp2, st->id, nva, n, with_body ? &provider : NULL);
        free(more);
        if (r < 0)
                return r == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPIPE;
        st->ended = !with_body;
        http2_stream_mark(st);
        return 0;
}

static int op_start(HttpCarrier *c, const HttpAnswer *a) {
        Http2Stream *st = stream_of(c);

        if (st->closed || st->reset)
                return -EPIPE;
        return submit_head(st, a, !a->no_body && a->content_length != 0);
}

static int op_write(HttpCarrier *c, const void *data, size_t size) {
        Http2Stream *st = stream_of(c);
        Http2Session *s = st->session;

        if (st->closed || st->reset || s->connection->failed)
                return -EPIPE;
        if (mam_buffer_append(&st->out, data, size) < 0) {
                s->connection->failed = true; /* an answer with a hole would be worse than none */
                http2_stream_mark(st);
                return -EPIPE;
        }
        if (st->out.size == size)
                st->moved_usec = s->now_usec;
        s->waiting += size;
        if (st->deferred) {
                st->deferred = false;
                (void) nghttp2_session_resume_data(s->nghttp2, st->id);
        }
        http_connection_defer(s->connection);
        return st->out.size <= HTTP2_STREAM_OUT_HIGH && s->waiting <= HTTP2_OUT_HIGH;
}

static int op_end(HttpCarrier *c, const MamBuffer *trailers) {
        Http2Stream *st = stream_of(c);

        if (!st->end_sent && (st->closed || st->reset))
                return -EPIPE;
        if (!st->ended && trailers &&
            mam_buffer_append(&st->trailers_out, mam_buffer_bytes(trailers), trailers->size) < 0)
                return -EPIPE;
        st->ended = true;
        if (st->deferred) {
                st->deferred = false;
                (void) nghttp2_session_resume_data(st->session->nghttp2, st->id);
        }
        http2_stream_mark(st);
        return 0;
}

static void op_abort(HttpCarrier *c) {
        http2_stream_mark(stream_of(c));
}

static void op_want_body(HttpCarrier *c) {
        const nghttp2_nv invitation = nv_string(":status", "100");
        Http2Stream *st = stream_of(c);

        if (st->expects && st->in.size == 0 && !st->closed && !st->reset) {
                (void) nghttp2_submit_headers(
                                st->session->nghttp2,
                                NGHTTP2_FLAG_NONE,
                                st->id,
                                NULL,
                                &invitation,
                                1,
                                NULL);
        }
        st->expects = false;
        st->moved_usec = st->session->now_usec;
        http2_stream_mark(st);
}

static int op_upgrade(HttpCarrier *c, const HttpAnswer *a, const char *protocol) {
        Http2Stream *st = stream_of(c);
        int r;

        if (st->closed || st->reset)
                return -EPIPE;
        r = submit_head(st, a, true);
        if (r >= 0)
                st->tunnel = true;
        return r;
}

const HttpCarrierOps http2_carrier_ops = {
        .version = 20,
        .start = op_start,
        .write = op_write,
        .end = op_end,
        .abort = op_abort,
        .want_body = op_want_body,
        .upgrade = op_upgrade,
};

int http2_stream_refuse(Http2Stream *st, unsigned status, const char *reason) {
        char request_id[33];
        int r;

        mam_request_id_new(request_id);
        r = http_problem_format(&st->out, status, NULL, reason);
        if (r < 0)
                return r;
        st->session->waiting += st->out.size;
        r = submit_head(st,
                        &(HttpAnswer){ .status = status,
                                       .content_length = (int64_t) st->out.size,
                                       .content_type = "application/problem+json",
                                       .request_id = request_id },
                        true);
        if (r >= 0)
                st->ended = true;
        return r;
}
