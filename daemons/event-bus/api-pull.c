/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Consuming by requests: POST /v1/subscriptions/{subscription}/pull; and dead letters
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api-consume.h"

#define WAIT_MAX_USEC (60 * MAM_USEC_PER_SEC)
#define PULL_BYTES    (4U * 1024U * 1024U)

int consume_append(MamBuffer *b, const Delivered *e) {
        int r;

        r = mam_buffer_append(b, "{\"ackId\":\"", 10);
        if (r >= 0)
                r = mam_buffer_append_string(b, e->ack_id);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                "\",\"attempt\":%u,\"position\":%" PRIi64 ",\"event\":",
                                e->attempt,
                                e->event.position);
        if (r >= 0)
                r = mam_buffer_append(b, e->event.text, e->event.size);
        return r < 0 ? r : mam_buffer_append(b, "}", 1);
}

static void on_taken(int r, const Delivered *events, size_t n, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        r = mam_buffer_append_string(&b, "{\"events\":[");
        for (size_t i = 0; i < n && r >= 0; i++) {
                if (i > 0)
                        r = mam_buffer_append(&b, ",", 1);
                if (r >= 0)
                        r = consume_append(&b, &events[i]);
        }
        if (r >= 0)
                r = mam_buffer_append(&b, "]}", 2);
        bus_metrics_consumed(&q->app->metrics, q->name, n);
        api_answered(q, r < 0 ? r : api_answer(q, 200, "application/json", &b));
}

/* Nothing was taken: what waits is told so, rather than held up. */
static void on_drain(MamHttpExchange *x, void *userdata) {
        ApiRequest *q = userdata;

        if (!q->delivery_call)
                return;
        q->delivery_call = delivery_call_free(q->delivery_call);
        api_answered(q, mam_http_exchange_respond(x, 200, "application/json", "{\"events\":[]}", 13));
}

static int pull_body(ApiRequest *q) {
        static const char *const known[] = { "max", "wait", NULL };
        uint64_t wait_usec = 0;
        int64_t max = 100;
        MamJsonError error;
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0)
                r = mam_json_get_int(q->body, "", "max", 1, API_PAGE_MAX, &max, &error);
        if (r >= 0)
                r = api_json_timespan(q->body, "", "wait", &wait_usec, &error);
        if (r >= 0 && wait_usec > WAIT_MAX_USEC)
                r = mam_json_fail(&error, "", "wait", "must be at most 60s");
        if (r < 0)
                return api_problem_json(q, 422, &error, "What is to be pulled is wrong");
        r =
                        delivery_take(q->app->delivery,
                                      &q->delivery_call,
                                      q->name,
                                      (unsigned) max,
                                      PULL_BYTES,
                                      wait_usec,
                                      on_taken,
                                      q);
        if (r >= 0 && wait_usec > 0)
                mam_http_exchange_set_on_drain(q->x, on_drain, q);
        return api_started(q, r, "subscription");
}

int handle_pull(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_read_json(q, pull_body);
}

/* ---- dead letters ---- */

static int append_letter(MamBuffer *b, const DeadLetter *l) {
        int r;

        r = mam_buffer_appendf(
                        b,
                        "{\"number\":%" PRIi64 ",\"position\":%" PRIi64 ",\"attempts\":%u,\"time\":",
                        l->number,
                        l->position,
                        l->attempts);
        if (r >= 0)
                r = api_append_time(b, l->usec);
        if (r >= 0)
                r = mam_buffer_append_string(b, ",\"reason\":");
        if (r >= 0)
                r = api_append_string(b, l->reason);
        if (r >= 0)
                r = mam_buffer_append_string(b, ",\"event\":");
        if (r >= 0)
                r = mam_buffer_append_string(b, l->text);
        return r < 0 ? r : mam_buffer_append(b, "}", 1);
}

static void on_dead_listed(int r, const DeadLetter *letters, size_t n, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        r = mam_buffer_append_string(&b, "{\"dead\":[");
        for (size_t i = 0; i < n && r >= 0; i++) {
                if (i > 0)
                        r = mam_buffer_append(&b, ",", 1);
                if (r >= 0)
                        r = append_letter(&b, &letters[i]);
        }
        if (r >= 0)
                r = n > 0 ? mam_buffer_appendf(&b, "],\"next\":%" PRIi64 "}", letters[n - 1].number)
                          : mam_buffer_append_string(&b, "],\"next\":null}");
        api_answered(q, r < 0 ? r : api_answer(q, 200, "application/json", &b));
}

int handle_dead_list(MamHttpExchange *x, void *userdata) {
        uint64_t after = 0, limit = 100;
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        if (!api_query_number(q, "after", 0, INT64_MAX, &after) ||
            !api_query_number(q, "limit", 1, API_PAGE_MAX, &limit))
                return 0;
        return api_started(
                        q,
                        delivery_dead_list(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        (int64_t) after,
                                        (unsigned) limit,
                                        on_dead_listed,
                                        q),
                        "subscription");
}

static void on_redriven(int r, size_t n, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        char body[48];

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        (void) snprintf(body, sizeof(body), "{\"redriven\":%zu}", n);
        api_answered(q, mam_http_exchange_respond(q->x, 200, "application/json", body, strlen(body)));
}

static int redrive_body(ApiRequest *q) {
        static const char *const known[] = { "numbers", NULL };
        int64_t numbers[API_PAGE_MAX];
        json_object *list = NULL;
        MamJsonError error;
        size_t n = 0;
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0)
                r = mam_json_get_array(q->body, "", "numbers", &list, &error);
        if (r > 0 && json_object_array_length(list) > MAM_ELEMENTSOF(numbers))
                r = mam_json_fail(&error, "", "numbers", "has more than %u numbers", API_PAGE_MAX);
        for (size_t i = 0; r > 0 && i < json_object_array_length(list); i++) {
                json_object *v = json_object_array_get_idx(list, i);

                if (!json_object_is_type(v, json_type_int))
                        r =
                                        mam_json_fail(&error,
                                                      "",
                                                      "numbers",
                                                      "must be a list of numbers of dead letters");
                else
                        numbers[n++] = json_object_get_int64(v);
        }
        if (r < 0)
                return api_problem_json(q, 422, &error, "What is to be handed out again is wrong");
        return api_started(
                        q,
                        delivery_redrive(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        list ? numbers : NULL,
                                        n,
                                        on_redriven,
                                        q),
                        "subscription");
}

int handle_redrive(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_read_json(q, redrive_body);
}
