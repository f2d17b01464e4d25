/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"

/* Whether a client has sent too little for the time that it had; paused time is ours, not its own. */
static bool is_too_slow(const Forward *f) {
        uint64_t rate = f->gateway->protection.slow_bytes;
        uint64_t usec = forward_now(f) - f->body_since_usec;

        return rate > 0 && usec > f->gateway->protection.slow_grace_usec &&
               f->body_bytes < rate * usec / MAM_USEC_PER_SEC;
}

/* From now on it is we who make the client wait. */
void forward_pause_body(Forward *f) {
        if (!f->body_asked || f->body_ended)
                return;
        mam_http_exchange_pause_body(f->x);
        if (f->body_paused_usec == 0)
                f->body_paused_usec = forward_now(f);
}

static void resume_body(Forward *f) {
        if (f->body_paused_usec > 0)
                f->body_since_usec += forward_now(f) - f->body_paused_usec;
        f->body_paused_usec = 0;
        mam_http_exchange_resume_body(f->x);
}

static void add_trailers(Forward *f) {
        size_t n = 0;
        const MamHttpField *fields = mam_http_exchange_trailers(f->x, &n);
        const MamHttpHead *head = mam_http_exchange_head(f->x);

        for (size_t i = 0; i < n; i++)
                if (field_is_for_upstream(head, &fields[i]))
                        (void) mam_http_call_add_trailer(f->call, fields[i].name, fields[i].value);
}

static void body_end(Forward *f) {
        f->body_ended = true;
        if (f->body == FORWARD_BODY_WHOLE) {
                forward_dispatch(f);
                return;
        }
        if (!f->call || f->body_refused)
                return;
        add_trailers(f);
        (void) mam_http_call_end_body(f->call);
        forward_asked(f);
}

/* 0: not kept any more. <0: it would have to be, and cannot. */
static int body_keep(Forward *f, const char *data, size_t size) {
        if (f->body_lost)
                return 0;
        if (f->kept.size + size <= GATEWAY_BODY_KEPT && mam_buffer_append(&f->kept, data, size) >= 0)
                return 1;
        if (!f->call) /* between two tries; it was paused, and this piece was under way */
                return -ENOBUFS;
        f->body_lost = true;
        mam_buffer_reset(&f->kept);
        return 0;
}

static int on_client_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Forward *f = userdata;
        int r;

        if (error < 0) { /* the server answers, or the client is gone */
                f->finished = true;
                forward_leave_queue(f, false);
                forward_drop_call(f, forward_left(f));
                return 0;
        }
        if (f->finished)
                return 0;

        forward_progress(f);
        if (size == 0) {
                body_end(f);
                return 0;
        }
        f->body_bytes += size;
        if (is_too_slow(f)) {
                protection_count_shed(f->gateway, f->upstream->service, "slow");
                forward_answer(f, 408, "The request's body came too slowly");
                return 0;
        }
        if (body_keep(f, data, size) < 0) {
                forward_answer(f, 502, "The connection to the service broke while the request was sent");
                return 0;
        }
        if (!f->call || f->body_refused)
                return 0;

        r = mam_http_call_write(f->call, data, size);
        if (r == 0)
                forward_pause_body(f);
        else if (r < 0)
                f->body_refused = true; /* it may have answered early; on_end tells */
        return 0;
}

void forward_on_call_writable(MamHttpCall *call, void *userdata) {
        Forward *f = userdata;

        if (tunnel_is_open(f->tunnel)) {
                tunnel_on_writable(f->tunnel);
                return;
        }
        forward_progress(f);
        resume_body(f);
}

static int ask_body(Forward *f) {
        f->body_asked = true;
        f->body_since_usec = forward_now(f);
        return mam_http_exchange_stream_body(f->x, on_client_body, f);
}

int forward_begin_body(Forward *f) {
        const MamHttpHead *head = mam_http_exchange_head(f->x);

        if (f->tunnel) { /* what comes behind the head comes once it is open */
                forward_dispatch(f);
                return 0;
        }
        if (head->framing == MAM_HTTP_BODY_LENGTH && head->content_length <= GATEWAY_BODY_KEPT) {
                f->body = FORWARD_BODY_WHOLE;
                if (head->content_length > 0)
                        return ask_body(f);
                f->body_ended = true;
        } else if (head->framing != MAM_HTTP_BODY_NONE) {
                f->body = FORWARD_BODY_STREAMED;
                f->body_size = head->framing == MAM_HTTP_BODY_LENGTH ? (int64_t) head->content_length : -1;
        }
        forward_dispatch(f);
        return 0;
}

int forward_add_body(Forward *f) {
        switch (f->body) {
        case FORWARD_BODY_WHOLE:
                return mam_http_call_set_body(f->call, mam_buffer_bytes(&f->kept), f->kept.size);
        case FORWARD_BODY_STREAMED:
                return mam_http_call_set_streaming(f->call, f->body_size);
        case FORWARD_BODY_NONE:
        default:
                return 0;
        }
}

/* What was read already, then the rest as it comes. */
int forward_send_body(Forward *f) {
        int r = 1;

        if (f->kept.size > 0) {
                r = mam_http_call_write(f->call, mam_buffer_bytes(&f->kept), f->kept.size);
                if (r < 0)
                        return r;
        }
        if (f->body_ended) {
                add_trailers(f);
                r = mam_http_call_end_body(f->call);
                if (r >= 0)
                        forward_asked(f);
                return r < 0 ? r : 0;
        }
        if (!f->body_asked)
                return ask_body(f);
        if (r > 0)
                resume_body(f);
        return 0;
}
