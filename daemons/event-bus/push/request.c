/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One request to a webhook
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/push/push-internal.h"

#define FIELDS_MAX (MAM_EVENT_ATTRIBUTES_MAX + 8U)

typedef struct Draft {
        MamBuffer body;
        const char *type; /* of the body; NULL: in lines, or none */
        MamBuffer lines;  /* "Name: value\r\n"… */
        const char *fields[FIELDS_MAX];
        size_t n_fields;
} Draft;

static void draft_done(Draft *d) {
        mam_buffer_done(&d->body);
        mam_buffer_done(&d->lines);
}

static int write_body(Draft *d, const PushLane *l, PushItem *const *items, size_t n) {
        int r = 0;

        if (l->mode == PUSH_MODE_BINARY) {
                MamEvent *e = NULL;

                r = mam_event_from_stored(&e, items[0]->text, items[0]->size);
                if (r >= 0)
                        r = mam_event_to_binary(e, &d->lines, &d->body);
                mam_event_free(e);
                return r == -ENOMEM ? r : r < 0 ? -EBADMSG : 0;
        }

        d->type = l->mode == PUSH_MODE_BATCH ? "application/cloudevents-batch+json"
                                             : "application/cloudevents+json";
        if (l->mode == PUSH_MODE_BATCH)
                r = mam_buffer_append(&d->body, "[", 1);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (i > 0)
                        r = mam_buffer_append(&d->body, ",", 1);
                if (r >= 0)
                        r = mam_buffer_append(&d->body, items[i]->text, items[i]->size);
        }
        if (r >= 0 && l->mode == PUSH_MODE_BATCH)
                r = mam_buffer_append(&d->body, "]", 1);
        return r;
}

/* The same for each attempt, so that the receiver knows what it has had; without dots, as it is signed with
 * dots between the parts. */
static void message_id(char *ret, size_t size, const PushLane *l, PushItem *const *items, size_t n) {
        size_t at = 0;

        for (const char *c = l->settings.topic; *c && at + 1 < size; c++)
                ret[at++] = *c == '.' ? '~' : *c;
        (void) snprintf(ret + at, size - at, ":%" PRId64, items[0]->position);
        at = strlen(ret);
        if (n > 1)
                (void) snprintf(ret + at, size - at, "-%" PRId64, items[n - 1]->position);
}

static int write_signature(Draft *d, const PushLane *l, PushItem *const *items, size_t n) {
        _cleanup_(mam_buffer_done) MamBuffer signature = MAM_BUFFER_INIT;
        uint64_t seconds = mam_now_realtime() / MAM_USEC_PER_SEC;
        char id[256];
        int r;

        message_id(id, sizeof(id), l, items, n);
        r = mam_buffer_appendf(
                        &d->lines,
                        "webhook-id: %s\r\nwebhook-timestamp: %" PRIu64 "\r\n",
                        id,
                        seconds);
        if (r < 0 || l->secrets.n == 0)
                return r;
        r = push_sign(&signature, &l->secrets, id, seconds, mam_buffer_bytes(&d->body), d->body.size);
        if (r >= 0)
                r = mam_buffer_appendf(&d->lines, "webhook-signature: %s\r\n", mam_buffer_bytes(&signature));
        return r;
}

/* Cuts lines into fields. */
static int cut_fields(Draft *d) {
        char *line = d->lines.data ? d->lines.data + d->lines.start : NULL;

        while (line && *line) {
                char *end = strstr(line, "\r\n");

                if (d->n_fields + 1 == FIELDS_MAX)
                        return -EBADMSG;
                d->fields[d->n_fields++] = line;
                if (!end)
                        break;
                *end = '\0';
                line = end + 2;
        }
        return 0;
}

static void on_answer(const MamFetchResult *result, void *userdata) {
        PushRequest *q = userdata;

        q->fetch = NULL; /* frees itself */
        push_lane_answered(q->lane, q, result);
}

static uint64_t deadline(const PushLane *l) {
        uint64_t half = (l->settings.ack_usec ?: 30 * MAM_USEC_PER_SEC) / 2;

        return half < PUSH_DEADLINE_USEC ? half : PUSH_DEADLINE_USEC;
}

int push_request_new(PushLane *l, PushItem *const *items, size_t n) {
        _cleanup_(draft_done) Draft d = { 0 };
        MamFetchRequest request;
        PushRequest *q;
        int r;

        assert(l && l->endpoint);
        assert(n > 0 && n <= PUSH_BATCH_MAX);

        r = write_body(&d, l, items, n);
        if (r >= 0)
                r = write_signature(&d, l, items, n);
        if (r >= 0)
                r = cut_fields(&d);
        if (r < 0)
                return r;
        request = (MamFetchRequest){
                .url = l->endpoint->url,
                .body = mam_buffer_bytes(&d.body),
                .body_size = d.body.size,
                .content_type = d.type,
                .fields = d.fields,
                .deadline_usec = deadline(l),
        };

        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->lane = l;
        r = mam_fetch_new(&q->fetch, push_endpoint_fetcher(l->endpoint), &request, on_answer, q);
        if (r < 0) {
                free(q);
                return r == -ENOMEM ? r : -EBADMSG;
        }
        memcpy(q->items, items, n * sizeof(items[0]));
        q->n = n;
        for (size_t i = 0; i < n; i++)
                items[i]->state = PUSH_ITEM_SENT;
        LIST_INSERT_HEAD(&l->requests, q, requests);
        push_endpoint_begin(l->endpoint);
        return 0;
}

PushRequest *push_request_free(PushRequest *q) {
        if (!q)
                return NULL;

        if (q->fetch) /* given up on this side */
                push_endpoint_ended(q->lane->endpoint, NULL);
        LIST_REMOVE(q, requests);
        mam_fetch_free(q->fetch);
        free(q);
        return NULL;
}
