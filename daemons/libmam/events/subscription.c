/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A consumer of the event bus over HTTP
 *
 * At most one request of each kind is under way: making the subscription, pulling, settling. An event is in
 * the list from the moment it was handed to the callback until the event bus has said that it is settled;
 * how many there are is what credit bounds.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "libmam/events/events.h"
#include "libmam/http/http-client.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define CREDIT_DEFAULT   100U
#define CREDIT_MAX       1000U
#define WAIT_SECONDS     20U
#define TIMEOUT_USEC     (15 * MAM_USEC_PER_SEC)
#define ANSWER_MAX       (16U * 1024U * 1024U)
#define ACK_ID_MAX       64U
#define RETRY_FIRST_USEC (100 * MAM_USEC_PER_MSEC)
#define RETRY_LIMIT_USEC (10 * MAM_USEC_PER_SEC)
#define REASON_MAX       500U

typedef enum ItemState {
        ITEM_OPEN,    /* the callback has it */
        ITEM_SETTLED, /* to be told */
        ITEM_TELLING,
} ItemState;

typedef struct Item {
        TAILQ_ENTRY(Item) items;
        ItemState state;
        MamSettle how;
        uint64_t delay_usec;
        char *reason; /* owned, or NULL */
        char ack_id[ACK_ID_MAX + 1];
        unsigned pull; /* which one brought it */
        char key[];
} Item;

/* One request at a time, with its answer. */
typedef struct Request {
        MamSubscription *owner; /* weak */
        MamHttpCall *call;      /* owned */
        unsigned status;
        MamBuffer answer;
        void (*done)(MamSubscription *s, unsigned status); /* 0: no answer */
} Request;

struct MamSubscription {
        sd_event *event;                      /* owned reference */
        MamHttpClient *client;                /* owned */
        char *token, *name, *topic, *filters; /* owned; token and filters may be NULL */
        bool from_beginning, is_made;
        unsigned credit, failures, n_pulls;
        MamSubscriptionCallback callback;
        void *userdata;
        Request make, pull, settle;
        TAILQ_HEAD(, Item) items;
        unsigned n_items, n_settled;    /* n_settled: of those, not OPEN */
        sd_event_source *defer, *timer; /* owned */
        bool is_resting;                /* until the timer */
        char problem[160];
        bool *gone; /* set by _free() while events are handed out */
};

static void look_soon(MamSubscription *s) {
        (void) sd_event_source_set_enabled(s->defer, SD_EVENT_ONESHOT);
}

/* ---- requests ---- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Request *q = userdata;

        q->status = head->status;
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Request *q = userdata;

        return mam_buffer_append(&q->answer, data, size);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Request *q = userdata;
        MamSubscription *s = q->owner;
        unsigned status = error < 0 ? 0 : q->status;

        q->call = mam_http_call_free(q->call);
        if (error < 0)
                (void) snprintf(s->problem, sizeof(s->problem), "no answer: %s", strerror(-error));
        else if (status >= 400)
                (void) snprintf(s->problem,
                                sizeof(s->problem),
                                "%u: %.120s",
                                status,
                                mam_buffer_bytes(&q->answer));
        q->done(s, status);
}

static int add_fields(MamSubscription *s, MamHttpCall *call) {
        char *field = NULL;
        int r;

        r = mam_http_call_add_field(call, "Content-Type", "application/json");
        if (r >= 0 && s->token) {
                if (asprintf(&field, "Bearer %s", s->token) < 0)
                        return -ENOMEM;
                r = mam_http_call_add_field(call, "Authorization", field);
                explicit_bzero(field, strlen(field));
                free(field);
        }
        return r;
}

static int request_start(
                MamSubscription *s,
                Request *q,
                const char *method,
                const char *path,
                const MamBuffer *body,
                uint64_t timeout_usec) {
        static const MamHttpCallbacks callbacks = {
                .on_head = on_head,
                .on_data = on_data,
                .on_end = on_end,
        };
        char target[300];
        int r;

        q->status = 0;
        mam_buffer_reset(&q->answer);
        (void) snprintf(target, sizeof(target), "/v1/subscriptions/%s%s", s->name, path);
        r = mam_http_call_new(&q->call, s->client, method, target, &callbacks, q);
        if (r >= 0)
                r = add_fields(s, q->call);
        if (r >= 0 && q == &s->make)
                r = mam_http_call_add_field(q->call, "If-None-Match", "*");
        if (r >= 0)
                r = mam_http_call_set_body(q->call, mam_buffer_bytes(body), body->size);
        if (r >= 0) {
                mam_http_call_set_timeout(q->call, timeout_usec);
                r = mam_http_call_start(q->call);
        }
        if (r < 0)
                q->call = mam_http_call_free(q->call);
        return r;
}

static void rest(MamSubscription *s) {
        s->is_resting = true;
        (void) sd_event_source_set_time_relative(
                        s->timer,
                        mam_backoff_usec(s->failures++, RETRY_FIRST_USEC, RETRY_LIMIT_USEC));
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void went_well(MamSubscription *s) {
        s->failures = 0;
        s->problem[0] = '\0';
        look_soon(s);
}

/* ---- making it ---- */

static void on_made(MamSubscription *s, unsigned status) {
        if (status / 100 == 2 || status == 412 || status == 409) { /* it is there */
                s->is_made = true;
                went_well(s);
        } else
                rest(s);
}

/* As JSON. */
static int append_string(MamBuffer *b, const char *text) {
        json_object *o = json_object_new_string(text);
        int r;

        if (!o)
                return -ENOMEM;
        r = mam_buffer_append_string(b, mam_json_to_string(o));
        json_object_put(o);
        return r;
}

static int make(MamSubscription *s) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        int r;

        r = mam_buffer_append_string(&body, "{\"topic\":");
        if (r >= 0)
                r = append_string(&body, s->topic);
        if (r >= 0)
                r = mam_buffer_appendf(&body, ",\"from\":\"%s\"", s->from_beginning ? "earliest" : "latest");
        if (r >= 0 && s->filters)
                r = mam_buffer_appendf(&body, ",\"filters\":%s", s->filters);
        if (r >= 0)
                r = mam_buffer_append(&body, "}", 1);
        return r < 0 ? r : request_start(s, &s->make, "PUT", "", &body, TIMEOUT_USEC);
}

/* ---- pulling ---- */

static void item_free(MamSubscription *s, Item *item) {
        if (item->state != ITEM_OPEN)
                s->n_settled--;
        s->n_items--;
        TAILQ_REMOVE(&s->items, item, items);
        free(item->reason);
        free(item);
}

/* One of its key that came with it was given back: so it comes back, too, behind that one. */
static bool is_behind(const MamSubscription *s, const char *key) {
        const Item *i;

        TAILQ_FOREACH(i, &s->items, items) {
                if (i->pull == s->n_pulls && i->state != ITEM_OPEN && i->how == MAM_SETTLE_NACK &&
                    strcmp(i->key, key) == 0)
                        return true;
        }
        return false;
}

static Item *item_new(MamSubscription *s, const char *ack_id, const char *key) {
        size_t size = strlen(key) + 1;
        Item *item = calloc(1, sizeof(*item) + size);

        if (!item)
                return NULL;
        (void) snprintf(item->ack_id, sizeof(item->ack_id), "%s", ack_id);
        item->pull = s->n_pulls;
        memcpy(item->key, key, size);
        TAILQ_INSERT_TAIL(&s->items, item, items);
        s->n_items++;
        return item;
}

/* false: the subscription was freed by the callback. */
static bool hand_out(MamSubscription *s, json_object *o, const char *pointer) {
        MamIncoming incoming = { .attempt = 1 };
        json_object *event = NULL;
        const char *ack_id = NULL;
        MamJsonError error;
        int64_t attempt = 1;
        bool gone = false;

        if (mam_json_get_string(o, pointer, "ackId", &ack_id, &error) <= 0 || strlen(ack_id) > ACK_ID_MAX ||
            mam_json_get_object(o, pointer, "event", &event, &error) <= 0 ||
            mam_event_from_json(&incoming.event, event, pointer, &error) < 0)
                return true; /* it comes again, and in the end becomes a dead letter */
        (void) mam_json_get_int(o, pointer, "attempt", 1, UINT32_MAX, &attempt, &error);
        if (is_behind(s, mam_event_key(incoming.event)) ||
            !item_new(s, ack_id, mam_event_key(incoming.event))) {
                mam_event_free(incoming.event);
                return true;
        }

        incoming.ack_id = ack_id;
        incoming.attempt = (unsigned) attempt;
        s->gone = &gone;
        s->callback(s, &incoming, s->userdata);
        mam_event_free(incoming.event);
        if (!gone)
                s->gone = NULL;
        return !gone;
}

static void on_pulled(MamSubscription *s, unsigned status) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        json_object *events = NULL;
        MamJsonError error;

        if (status == 404)
                s->is_made = false;
        if (status / 100 != 2 ||
            mam_json_parse(&root, mam_buffer_bytes(&s->pull.answer), s->pull.answer.size, &error) < 0 ||
            mam_json_get_array(root, "", "events", &events, &error) <= 0) {
                if (status / 100 == 2)
                        (void) snprintf(s->problem, sizeof(s->problem), "its answer is no list of events");
                rest(s);
                return;
        }

        mam_buffer_reset(&s->pull.answer);
        went_well(s);
        s->n_pulls++;
        for (size_t i = 0; i < json_object_array_length(events); i++) {
                char pointer[40];

                (void) snprintf(pointer, sizeof(pointer), "/events/%zu", i);
                if (!hand_out(s, json_object_array_get_idx(events, i), pointer))
                        return;
        }
}

static int pull(MamSubscription *s) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        int r;

        r = mam_buffer_appendf(&body, "{\"max\":%u,\"wait\":\"%us\"}", s->credit - s->n_items, WAIT_SECONDS);
        return r < 0 ? r
                     : request_start(s,
                                     &s->pull,
                                     "POST",
                                     "/pull",
                                     &body,
                                     WAIT_SECONDS * MAM_USEC_PER_SEC + TIMEOUT_USEC);
}

/* ---- settling ---- */

static void on_told(MamSubscription *s, unsigned status) {
        /* What it does not take now it will never take: the subscription is gone, or another one by now. */
        bool over = status / 100 == 2 ||
                    (status / 100 == 4 && status != 429 && status != 408 && status != 401 && status != 403);
        Item *next;

        for (Item *i = TAILQ_FIRST(&s->items); i; i = next) {
                next = TAILQ_NEXT(i, items);
                if (i->state != ITEM_TELLING)
                        continue;
                if (over)
                        item_free(s, i);
                else
                        i->state = ITEM_SETTLED;
        }
        if (over)
                went_well(s);
        else
                rest(s);
}

static int append_ack_ids(MamBuffer *b, Item *item) {
        int r;

        r = mam_buffer_append_string(b, "{\"ackIds\":[");
        if (r >= 0)
                r = append_string(b, item->ack_id);
        return r < 0 ? r : mam_buffer_append(b, "]", 1);
}

static int append_item(MamBuffer *b, Item *item) {
        int r;

        if (item->how == MAM_SETTLE_ACK)
                return append_string(b, item->ack_id);
        r = append_ack_ids(b, item);
        if (r >= 0 && item->how == MAM_SETTLE_NACK && item->delay_usec > 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"delay\":\"%" PRIu64 "ms\"",
                                item->delay_usec / MAM_USEC_PER_MSEC);
        if (r >= 0 && item->how == MAM_SETTLE_DEAD && item->reason) {
                r = mam_buffer_append_string(b, ",\"reason\":");
                if (r >= 0)
                        r = append_string(b, item->reason);
        }
        return r < 0 ? r : mam_buffer_append(b, "}", 1);
}

static int settle(MamSubscription *s) {
        static const char *const members[] = { "{\"ack\":[", "],\"nack\":[", "],\"reject\":[" };
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        Item *i;
        int r = 0;

        for (unsigned how = MAM_SETTLE_ACK; r >= 0 && how <= MAM_SETTLE_DEAD; how++) {
                bool is_first = true;

                r = mam_buffer_append_string(&body, members[how]);
                TAILQ_FOREACH(i, &s->items, items) {
                        if (r < 0 || i->state == ITEM_OPEN || i->how != how)
                                continue;
                        if (!is_first)
                                r = mam_buffer_append(&body, ",", 1);
                        if (r >= 0)
                                r = append_item(&body, i);
                        i->state = ITEM_TELLING;
                        is_first = false;
                }
        }
        if (r >= 0)
                r = mam_buffer_append_string(&body, "]}");
        if (r >= 0)
                r = request_start(s, &s->settle, "POST", "/settle", &body, TIMEOUT_USEC);
        return r;
}

int mam_subscription_settle(
                MamSubscription *s,
                const char *ack_id,
                MamSettle how,
                uint64_t delay_usec,
                const char *reason) {
        Item *i;

        assert(s);
        assert(ack_id);

        TAILQ_FOREACH(i, &s->items, items) {
                if (i->state == ITEM_OPEN && strcmp(i->ack_id, ack_id) == 0)
                        break;
        }
        if (!i)
                return -ENOENT;
        if (reason) {
                i->reason = strndup(reason, REASON_MAX);
                if (!i->reason)
                        return -ENOMEM;
        }
        i->state = ITEM_SETTLED;
        i->how = how;
        i->delay_usec = delay_usec;
        s->n_settled++;
        look_soon(s);
        return 0;
}

unsigned mam_subscription_unsettled(const MamSubscription *s) {
        assert(s);

        return s->n_settled;
}

const char *mam_subscription_problem(const MamSubscription *s) {
        assert(s);

        return s->problem[0] ? s->problem : NULL;
}

/* ---- what is to be done next ---- */

static void look(MamSubscription *s) {
        int r = 0;

        if (s->is_resting)
                return;
        if (!s->settle.call && s->n_settled > 0) {
                r = settle(s);
                if (r < 0)
                        on_told(s, 0);
        }
        if (r >= 0 && !s->is_made && !s->make.call) {
                r = make(s);
                if (r < 0)
                        rest(s);
        }
        /* not for every single one that is settled */
        if (r >= 0 && s->is_made && !s->pull.call && s->n_items <= s->credit / 2) {
                r = pull(s);
                if (r < 0)
                        rest(s);
        }
}

static int on_look(sd_event_source *source, void *userdata) {
        look(userdata);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        MamSubscription *s = userdata;

        s->is_resting = false;
        look(s);
        return 0;
}

/* ---- life ---- */

static bool name_is_plain(const char *name) {
        size_t n = strlen(name);

        return n > 0 && n <= 128 && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

static int copy_options(MamSubscription *s, const MamSubscriptionOptions *o) {
        s->name = strdup(o->name);
        s->topic = strdup(o->topic);
        s->token = o->token ? strdup(o->token) : NULL;
        s->filters = o->filters ? strdup(o->filters) : NULL;
        if (!s->name || !s->topic || (o->token && !s->token) || (o->filters && !s->filters))
                return -ENOMEM;
        s->from_beginning = o->from_beginning;
        s->credit = o->credit > 0 ? o->credit : CREDIT_DEFAULT;
        if (s->credit > CREDIT_MAX)
                s->credit = CREDIT_MAX;
        return 0;
}

static bool filters_are_json(const char *filters) {
        _cleanup_(json_object_putp) json_object *o = NULL;

        return !filters || (mam_json_parse(&o, filters, strlen(filters), NULL) >= 0 &&
                            json_object_is_type(o, json_type_array));
}

int mam_event_subscribe(
                MamSubscription **ret,
                sd_event *event,
                const MamSubscriptionOptions *options,
                MamSubscriptionCallback callback,
                void *userdata) {
        static const MamHttpClientOptions client_options = { .connections_max = 4 };
        _cleanup_(mam_subscription_freep) MamSubscription *s = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(options && options->bus && options->name && options->topic);
        assert(callback);

        if (!name_is_plain(options->name) || !filters_are_json(options->filters))
                return -EINVAL;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        TAILQ_INIT(&s->items);
        s->event = sd_event_ref(event);
        s->callback = callback;
        s->userdata = userdata;
        s->make = (Request){ .owner = s, .done = on_made };
        s->pull = (Request){ .owner = s, .done = on_pulled };
        s->settle = (Request){ .owner = s, .done = on_told };
        s->make.answer.max = s->pull.answer.max = s->settle.answer.max = ANSWER_MAX;
        r = copy_options(s, options);
        if (r >= 0)
                r = mam_http_client_new(&s->client, event, options->bus, &client_options);
        if (r >= 0)
                r = sd_event_add_defer(event, &s->defer, on_look, s);
        if (r >= 0)
                r = sd_event_add_time(event, &s->timer, CLOCK_MONOTONIC, UINT64_MAX, 1000, on_timer, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

MamSubscription *mam_subscription_free(MamSubscription *s) {
        Item *i;

        if (!s)
                return NULL;

        if (s->gone)
                *s->gone = true;
        mam_http_call_free(s->make.call);
        mam_http_call_free(s->pull.call);
        mam_http_call_free(s->settle.call);
        mam_buffer_done(&s->make.answer);
        mam_buffer_done(&s->pull.answer);
        mam_buffer_done(&s->settle.answer);
        while ((i = TAILQ_FIRST(&s->items)))
                item_free(s, i);
        mam_http_client_free(s->client);
        sd_event_source_disable_unref(s->defer);
        sd_event_source_disable_unref(s->timer);
        sd_event_unref(s->event);
        if (s->token)
                explicit_bzero(s->token, strlen(s->token));
        free(s->token);
        free(s->name);
        free(s->topic);
        free(s->filters);
        free(s);
        return NULL;
}
