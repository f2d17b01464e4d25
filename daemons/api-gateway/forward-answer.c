/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"
#include "api-gateway/route-policy.h"
#include "libmam/util/time.h"

/* A client that takes a little now and then could hold an answer, and what it costs, for ever. */
static bool is_too_slow(const Forward *f) {
        uint64_t rate = f->gateway->protection.slow_bytes;

        return rate > 0 && f->blocked_usec > f->gateway->protection.slow_grace_usec &&
               mam_http_exchange_bytes_sent(f->x) < rate * f->blocked_usec / MAM_USEC_PER_SEC;
}

static void on_client_writable(MamHttpExchange *x, void *userdata) {
        Forward *f = userdata;

        forward_progress(f);
        if (f->blocked)
                f->blocked_usec += f->progress_usec - f->blocked_since_usec;
        f->blocked = false;
        if (is_too_slow(f)) {
                protection_count_shed(f->gateway, f->upstream->service, "slow");
                forward_answer(f, 504, "The client takes the answer too slowly");
                return;
        }
        if (f->call)
                mam_http_call_resume(f->call);
}

/* What the answer's length is told to be: -1 is unknown. */
static int64_t answer_size(const Forward *f, const MamHttpHead *head) {
        const MamHttpField *field;
        int64_t n = 0;

        if (head->framing == MAM_HTTP_BODY_LENGTH)
                return head->content_length <= INT64_MAX ? (int64_t) head->content_length : -1;
        if (head->framing != MAM_HTTP_BODY_NONE)
                return -1;
        if (head->status == 204 || head->status == 304)
                return -1;
        if (!mam_http_range_equal(mam_http_exchange_head(f->x)->method, "HEAD"))
                return 0;

        /* What GET would have sent. */
        field = mam_http_find(head, "Content-Length");
        if (!field || field->value.size == 0 || field->value.size > 18)
                return -1;
        for (size_t i = 0; i < field->value.size; i++) {
                if (field->value.data[i] < '0' || field->value.data[i] > '9')
                        return -1;
                n = n * 10 + (field->value.data[i] - '0');
        }
        return n;
}

static int pass_fields(Forward *f, const MamHttpHead *head) {
        char replaced[256];
        int r;

        for (size_t i = 0; i < head->n_fields; i++) {
                MamHttpField field = head->fields[i];

                if (!field_is_for_client(head, &field) || !route_passes_answer_field(f->route, &field) ||
                    (f->tunnel && !tunnel_passes_field(f->tunnel, &field)))
                        continue;
                if (f->compressor && !compress_takes_field(&field, replaced)) {
                        if (replaced[0] == '\0')
                                continue;
                        field.value = (MamHttpRange){ replaced, strlen(replaced) };
                }
                r = mam_http_exchange_add_legal_field(f->x, field.name, field.value);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The head, and all that is said before a body. */
static int start_answer(Forward *f, const MamHttpHead *head) {
        int64_t size = answer_size(f, head);
        CompressVerdict v = forward_judge_compression(f, head, size);
        int r;

        r = compress_add_fields(
                        f->x,
                        v,
                        f->compressor ? compressor_coding(f->compressor) : _MAM_GATEWAY_CODING_MAX);
        if (r >= 0)
                r = pass_fields(f, head);
        return r < 0 ? r : mam_http_exchange_start(f->x, head->status, f->compressor ? -1 : size);
}

/* What a 503 asks for in its Retry-After, or 0. */
static uint64_t retry_after(const MamHttpField *field) {
        uint64_t seconds = 0;

        for (size_t i = 0; i < field->value.size && i < 4; i++) {
                if (field->value.data[i] < '0' || field->value.data[i] > '9')
                        return 0; /* a date; or nothing that is one */
                seconds = seconds * 10 + (uint64_t) (field->value.data[i] - '0');
        }
        return seconds * MAM_USEC_PER_SEC;
}

/* Whether a 503 is a reason to ask another replica. Mam-Unprocessed is what libmam/service says when it has
 * not begun with a request, because it is starting or draining: then any method may go elsewhere, or wait
 * for a replica. */
static bool forward_goes_elsewhere(Forward *f, const MamHttpHead *head, uint64_t now) {
        const MamHttpField *after;

        if (head->status != 503 || !forward_can_repeat(f))
                return false;
        if (mam_http_find(head, "Mam-Unprocessed")) {
                endpoint_failed(f->endpoint, now);
                f->first_byte_usec = MAM_USEC_INFINITY; /* nothing was done there */
                return true;
        }
        after = mam_http_find(head, "Retry-After");
        if (f->repeats == 0 || !after || !upstream_has_endpoint(f->upstream, f->tried, f->n_tried, now) ||
            !upstream_spend_retry(f->upstream))
                return false;
        endpoint_struggled(f->endpoint, retry_after(after), now);
        f->repeats--;
        return true;
}

/* What an answer says of its replica. A request that it answers before it has all of it is quick. */
static void judge(Forward *f, unsigned status, uint64_t now) {
        uint64_t rtt = f->asked_usec > 0 ? now - f->asked_usec : 0;
        Upstream *u = f->upstream;

        f->first_byte_usec = f->asked_usec > 0 ? rtt : now - f->sent_usec;
        if (status >= 502 && status <= 504)
                endpoint_struggled(f->endpoint, 0, now);
        else if (status >= 500 && status != 501)
                endpoint_erred(f->endpoint, rtt, now);
        else
                endpoint_succeeded(f->endpoint, rtt, now);
        if (status < 500)
                u->usual_usec += ((double) rtt - u->usual_usec) / 64.0;
}

int forward_on_call_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Forward *f = userdata;
        uint64_t now = forward_now(f);
        int r;

        if (f->finished)
                return -ECANCELED;
        if (head->status > 599 ||
            (head->status < 200 && !(f->tunnel && head->status == 101 && tunnel_is_agreed(f->tunnel, head))))
                return -EBADMSG;
        f->first_byte_usec = now - f->sent_usec;
        f->answer_status = head->status;
        if (forward_goes_elsewhere(f, head, now)) {
                f->elsewhere = true;
                return -ECANCELED;
        }

        f->got_head = true;
        forward_progress(f);
        judge(f, head->status, now);
        forward_rest(f);
        mam_buffer_reset(&f->kept);

        mam_http_exchange_set_on_writable(f->x, on_client_writable, f);
        if (head->status == 101) {
                r = pass_fields(f, head);
                if (r >= 0)
                        r = forward_open_tunnel(f, call, head);
        } else {
                r = start_answer(f, head);
        }
        if (r < 0) { /* with fields of the replica's, no answer of our own can be given any more */
                f->finished = true;
                mam_http_exchange_abort(f->x);
                return r;
        }
        forward_begin_events(f, head);
        return 0;
}

void forward_on_call_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        static const MamHttpHead none = { 0 };
        Forward *f = userdata;

        if (f->finished)
                return;
        for (size_t i = 0; i < n; i++)
                if (field_is_for_client(&none, &fields[i]) &&
                    route_passes_answer_field(f->route, &fields[i]))
                        (void) mam_http_exchange_add_trailer_range(f->x, fields[i].name, fields[i].value);
}

/* 1: go on; 0: the client has enough for now; <0. */
static int pass_data(Forward *f, const char *data, size_t size) {
        if (f->is_events)
                return forward_pass_events(f, data, size);
        if (f->compressor)
                return forward_write_compressed(f, data, size);
        return mam_http_exchange_write(f->x, data, size);
}

int forward_on_call_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Forward *f = userdata;
        int r;

        if (f->finished)
                return -ECANCELED;
        if (tunnel_is_open(f->tunnel))
                return tunnel_on_data(f->tunnel, data, size);

        forward_progress(f);
        r = pass_data(f, data, size);
        if (r == 0) {
                f->blocked = true;
                f->blocked_since_usec = f->progress_usec;
                mam_http_call_pause(call);
        }
        return r < 0 ? r : 0;
}
