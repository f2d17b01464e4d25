/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "api-gateway/fields.h"
#include "api-gateway/forward-internal.h"
#include "libmam/util/time.h"

static void on_client_writable(MamHttpExchange *x, void *userdata) {
        Forward *f = userdata;

        forward_progress(f);
        f->blocked = false;
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
        if (strcmp(mam_http_exchange_method(f->x), "HEAD") != 0)
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
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        int r;

        for (size_t i = 0; i < head->n_fields; i++) {
                const MamHttpField *field = &head->fields[i];
                size_t name_end;

                if (!field_is_for_client(head, field))
                        continue;
                /* Name and value as strings, one behind the other. */
                mam_buffer_consume(&text, text.size);
                r = mam_buffer_append(&text, field->name.data, field->name.size);
                if (r >= 0)
                        r = mam_buffer_append(&text, "", 1);
                name_end = text.size;
                if (r >= 0)
                        r = mam_buffer_append(&text, field->value.data, field->value.size);
                if (r >= 0)
                        r = mam_http_exchange_add_field(
                                        f->x,
                                        mam_buffer_bytes(&text),
                                        mam_buffer_bytes(&text) + name_end);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Whether a 503 is a reason to ask another replica. Mam-Unprocessed is what libmam/service says when it has
 * not begun with a request, because it is starting or draining: then any method may go elsewhere, or wait
 * for a replica. */
static bool forward_goes_elsewhere(Forward *f, const MamHttpHead *head, uint64_t now) {
        if (head->status != 503 || !forward_can_repeat(f))
                return false;
        if (mam_http_find(head, "Mam-Unprocessed")) {
                endpoint_failed(f->endpoint, now);
                f->first_byte_usec = MAM_USEC_INFINITY; /* nothing was done there */
                return true;
        }
        if (!f->idempotent || f->repeated || !mam_http_find(head, "Retry-After") ||
            !upstream_has_endpoint(f->upstream, f->tried, f->n_tried, now) ||
            !upstream_spend_retry(f->upstream))
                return false;
        endpoint_struggled(f->endpoint, now);
        f->repeated = true;
        return true;
}

int forward_on_call_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Forward *f = userdata;
        uint64_t now = mam_now_monotonic();
        int r;

        if (f->finished)
                return -ECANCELED;
        if (head->status < 200 || head->status > 599)
                return -EBADMSG;
        f->first_byte_usec = now - f->sent_usec;
        f->answer_status = head->status;
        if (forward_goes_elsewhere(f, head, now)) {
                f->elsewhere = true;
                return -ECANCELED;
        }

        f->got_head = true;
        forward_progress(f);
        if (head->status >= 502 && head->status <= 504)
                endpoint_struggled(f->endpoint, now);
        else
                endpoint_succeeded(f->endpoint, now - f->sent_usec, now);
        mam_buffer_reset(&f->kept);

        mam_http_exchange_set_on_writable(f->x, on_client_writable, f);
        r = pass_fields(f, head);
        if (r >= 0)
                r = mam_http_exchange_start(f->x, head->status, answer_size(f, head));
        if (r < 0) { /* with fields of the replica's, no answer of our own can be given any more */
                f->finished = true;
                mam_http_exchange_abort(f->x);
        }
        return r;
}

int forward_on_call_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Forward *f = userdata;
        int r;

        if (f->finished)
                return -ECANCELED;

        forward_progress(f);
        r = mam_http_exchange_write(f->x, data, size);
        if (r == 0) {
                f->blocked = true;
                mam_http_call_pause(call);
        }
        return r < 0 ? r : 0;
}
