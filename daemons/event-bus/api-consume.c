/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Consuming by what lasts: GET /v1/subscriptions/{subscription}/events as server-sent events, and by
 * WebSocket with the subprotocol mam.events.v1
 *
 * A consumer is a loop of takes: the next one begins when what the last one gave is on its way to the
 * client, and, by WebSocket, only for as many events as the client has credit for. Credit is how many events
 * may be at this client without being settled; a settlement gives it back, whatever became of it.
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api-consume.h"
#include "libmam/http/websocket.h"

#define TAKE_WAIT_USEC (30 * MAM_USEC_PER_SEC)
#define TAKE_BYTES     (256U * 1024U)
#define TAKE_MAX       500U
#define CREDIT_MAX     10000U
#define SSE_CREDIT_MAX 1000U
#define ACK_USEC       (30 * MAM_USEC_PER_SEC) /* where the subscription says nothing */
#define SETTLING_HIGH  2000U                   /* settlements that wait: no more is read from the client */

/* What was taken and could not be sent: others need not wait for the end of its lease. */
static void give_back(App *app, const char *name, const Delivered *events, size_t n) {
        _cleanup_(mam_freep) Settlement *items = n > 0 ? calloc(n, sizeof(*items)) : NULL;

        if (!items)
                return;
        for (size_t i = 0; i < n; i++)
                items[i] = (Settlement){ .kind = SETTLE_NACK, .ack_id = events[i].ack_id };
        (void) delivery_settle(app->delivery, NULL, name, items, n, NULL, NULL);
}

/* ---- server-sent events ---- */

/* Handed to this client, and not settled as far as is known here. */
typedef struct Out {
        char id[65];
        uint64_t usec; /* when its lease is over, unless it is extended */
} Out;

typedef struct Sse {
        ApiStream stream;
        ApiRequest *q; /* weak: it owns us */
        bool is_waiting, is_over;
        unsigned credit;
        uint64_t ack_usec;
        Out *out; /* owned; room for credit */
        size_t n_out;
        DeliveryCall *look; /* owned */
} Sse;

static void sse_take(Sse *s);

static void sse_done(void *more) {
        Sse *s = more;

        api_stream_remove(&s->stream);
        (void) delivery_call_free(s->look);
        free(s->out);
}

static void out_drop(Sse *s, size_t i) {
        s->out[i] = s->out[--s->n_out];
}

/* The whole group has so many out: of ours there cannot be more. */
static void on_looked(int r, const SubscriptionInfo *info, void *userdata) {
        Sse *s = userdata;

        s->look = delivery_call_free(s->look);
        while (r >= 0 && s->n_out > info->outstanding)
                out_drop(s, 0);
        sse_take(s);
}

static void sse_on_settled(ApiStream *stream, const Settlement *items, size_t n) {
        Sse *s = (Sse *) stream;
        uint64_t now = mam_now_monotonic();

        for (size_t k = 0; k < s->n_out;) {
                bool gone = s->out[k].usec <= now;

                for (size_t i = 0; i < n && !gone; i++)
                        gone = items[i].kind != SETTLE_EXTEND && strcmp(items[i].ack_id, s->out[k].id) == 0;
                if (gone)
                        out_drop(s, k);
                else
                        k++;
        }
        if (s->n_out < s->credit)
                sse_take(s);
        else if (!items && !s->look && !s->is_over) /* settled at another replica? */
                (void) delivery_subscription_get(s->q->app->delivery, &s->look, s->q->name, on_looked, s);
}

static void sse_on_ping(ApiStream *stream) {
        Sse *s = (Sse *) stream;

        api_sse_ping(s->q, s->is_waiting);
}

static void sse_on_drain(MamHttpExchange *x, void *userdata) {
        Sse *s = userdata;

        s->is_over = true;
        s->q->delivery_call = delivery_call_free(s->q->delivery_call);
        (void) mam_http_exchange_end(x);
}

static void sse_on_writable(MamHttpExchange *x, void *userdata) {
        Sse *s = userdata;

        s->is_waiting = false;
        sse_take(s);
}

static int append_message(MamBuffer *b, const Delivered *e) {
        int r;

        r = mam_buffer_append(b, "id: ", 4);
        if (r >= 0)
                r = mam_buffer_append_string(b, e->ack_id);
        if (r >= 0)
                r = mam_buffer_append(b, "\ndata: ", 7);
        if (r >= 0)
                r = consume_append(b, e);
        return r < 0 ? r : mam_buffer_append(b, "\n\n", 2);
}

static void sse_on_taken(int r, const Delivered *events, size_t n, void *userdata) {
        Sse *s = userdata;
        ApiRequest *q = s->q;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        if (r == -ENOENT) {
                s->is_over = true;
                api_sse_fail(q, "gone", "the subscription was deleted");
                return;
        }
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = append_message(&b, &events[i]);
                if (r < 0) {
                        give_back(q->app, q->name, events, n);
                        mam_http_exchange_abort(q->x);
                        return;
                }
        }
        if (r < 0) { /* the database is away: the client connects again */
                s->is_over = true;
                (void) mam_http_exchange_end(q->x);
                return;
        }
        if (b.size > 0) {
                bus_metrics_consumed(&q->app->metrics, q->name, n);
                for (size_t i = 0; i < n && s->n_out < s->credit; i++) {
                        Out *o = &s->out[s->n_out++];

                        (void) snprintf(o->id, sizeof(o->id), "%s", events[i].ack_id);
                        o->usec = mam_now_monotonic() + s->ack_usec;
                }
                s->is_waiting = mam_http_exchange_write(q->x, mam_buffer_bytes(&b), b.size) == 0;
        }
        sse_take(s);
}

static void sse_take(Sse *s) {
        ApiRequest *q = s->q;
        size_t max = s->credit - s->n_out;
        int r;

        if (s->is_over || s->is_waiting || q->delivery_call || max == 0)
                return;
        r =
                        delivery_take(q->app->delivery,
                                      &q->delivery_call,
                                      q->name,
                                      max > TAKE_MAX ? TAKE_MAX : (unsigned) max,
                                      TAKE_BYTES,
                                      TAKE_WAIT_USEC,
                                      sse_on_taken,
                                      s);
        if (r < 0) {
                s->is_over = true;
                (void) mam_http_exchange_end(q->x);
        }
}

static void on_subscription_sse(int r, const SubscriptionInfo *info, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        uint64_t credit = 100;
        void *more;
        Sse *s;

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        if (!api_query_number(q, "credit", 1, SSE_CREDIT_MAX, &credit))
                return;
        r = api_more(q, &more, sizeof(Sse), sse_done);
        if (r < 0) {
                api_answered(q, r);
                return;
        }
        s = more;
        s->q = q;
        s->credit = (unsigned) credit;
        s->ack_usec = info->settings.ack_usec > 0 ? info->settings.ack_usec : ACK_USEC;
        s->out = malloc(credit * sizeof(*s->out));
        if (!s->out) {
                api_answered(q, -ENOMEM);
                return;
        }
        s->stream.ping = sse_on_ping;
        s->stream.subscription = q->name;
        s->stream.settled = sse_on_settled;
        if (!api_stream_add(&s->stream, q->app)) {
                api_answered(q, api_problem_errno(q, -EAGAIN, "subscription"));
                return;
        }
        mam_http_exchange_set_on_writable(q->x, sse_on_writable, s);
        mam_http_exchange_set_on_drain(q->x, sse_on_drain, s);
        r = api_sse_start(q);
        if (r < 0) {
                api_answered(q, r);
                return;
        }
        sse_take(s);
}

/* ---- WebSocket ---- */

typedef struct Socket Socket;

/* Settlements of several messages that are done at once. */
typedef struct Settling {
        SettleList list; /* borrows from the messages */
        struct {
                json_object *o; /* owned */
                size_t end;     /* of its part of the list */
        } * messages;           /* owned */
        size_t n, allocated;
} Settling;

struct Socket {
        ApiStream stream;
        App *app;
        MamWebsocket *w; /* it ends with us */
        char name[API_NAME_MAX + 1];
        DeliveryCall *take; /* owned */
        unsigned credit, unsettled;
        bool is_blocked, is_paused, is_over;
        DeliveryCall *settle;   /* owned; what is being settled … */
        Settling running, next; /* … and what has arrived meanwhile */
};

static const char *const protocols[] = { "mam.events.v1", NULL };

static void socket_take(Socket *s);

static void settling_done(Settling *t) {
        for (size_t i = 0; i < t->n; i++)
                json_object_put(t->messages[i].o);
        free(t->messages);
        settle_list_done(&t->list);
        *t = (Settling){ 0 };
}

static void socket_free(Socket *s) {
        api_stream_remove(&s->stream);
        (void) delivery_call_free(s->take);
        (void) delivery_call_free(s->settle);
        settling_done(&s->running);
        settling_done(&s->next);
        free(s);
}

static void on_close(MamWebsocket *w, unsigned code, const char *reason, void *userdata) {
        socket_free(userdata);
}

static void stop(Socket *s, unsigned code, const char *reason) {
        s->is_over = true;
        s->take = delivery_call_free(s->take);
        mam_websocket_close(s->w, code, reason);
}

static void on_taken(int r, const Delivered *events, size_t n, void *userdata) {
        Socket *s = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(s->take);
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        if (r < 0) {
                stop(s,
                     r == -ENOENT ? MAM_WEBSOCKET_POLICY : MAM_WEBSOCKET_TRY_AGAIN,
                     r == -ENOENT ? "The subscription was deleted" : "The bus is busy: connect again");
                return;
        }
        for (size_t i = 0; i < n; i++) {
                mam_buffer_consume(&b, b.size);
                r = consume_append(&b, &events[i]);
                if (r >= 0)
                        r = mam_websocket_send(s->w, true, mam_buffer_bytes(&b), b.size);
                if (r < 0) {
                        give_back(s->app, s->name, events + i, n - i);
                        stop(s, MAM_WEBSOCKET_INTERNAL, "An event could not be sent");
                        return;
                }
                s->unsettled++;
                s->is_blocked = r == 0;
        }
        bus_metrics_consumed(&s->app->metrics, s->name, n);
        socket_take(s);
}

static void socket_take(Socket *s) {
        unsigned max;
        int r;

        if (s->take || s->is_over || s->is_blocked || s->unsettled >= s->credit)
                return;
        max = s->credit - s->unsettled;
        r =
                        delivery_take(s->app->delivery,
                                      &s->take,
                                      s->name,
                                      max > TAKE_MAX ? TAKE_MAX : max,
                                      TAKE_BYTES,
                                      TAKE_WAIT_USEC,
                                      on_taken,
                                      s);
        if (r < 0)
                stop(s, MAM_WEBSOCKET_TRY_AGAIN, "The bus is busy: connect again");
}

static void on_writable(MamWebsocket *w, void *userdata) {
        Socket *s = userdata;

        s->is_blocked = false;
        socket_take(s);
}

/* To one message. */
static int answer_settled(Socket *s, json_object *o, const SettleList *list, const int *results) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        json_object *ref = NULL;
        int r;

        r = settle_list_answer(&b, list, results);
        if (r >= 0 && json_object_object_get_ex(o, "ref", &ref))
                r = mam_buffer_appendf(&b, ",\"ref\":%s", mam_json_to_string(ref));
        if (r >= 0)
                r = mam_buffer_append(&b, "}", 1);
        return r < 0 ? r : mam_websocket_send(s->w, true, mam_buffer_bytes(&b), b.size);
}

static int answer_all(Socket *s, const int *results) {
        size_t begin = 0;
        int r = 0;

        for (size_t i = 0; i < s->running.n && r >= 0; i++) {
                SettleList part = {
                        .items = s->running.list.items + begin,
                        .n = s->running.messages[i].end - begin,
                };

                r = answer_settled(s, s->running.messages[i].o, &part, results + begin);
                begin = s->running.messages[i].end;
        }
        return r;
}

static void start_settling(Socket *s);

static void on_settled(int r, const int *results, size_t n, void *userdata) {
        Socket *s = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(s->settle);
        unsigned back = 0;

        if (r < 0) {
                stop(s, MAM_WEBSOCKET_TRY_AGAIN, "It could not be settled: connect again");
                return;
        }
        bus_metrics_settled(&s->app->metrics, s->name, s->running.list.items, results, n);
        for (size_t i = 0; i < n; i++)
                back += s->running.list.items[i].kind != SETTLE_EXTEND;
        s->unsettled -= back < s->unsettled ? back : s->unsettled;
        if (answer_all(s, results) < 0) {
                stop(s, MAM_WEBSOCKET_INTERNAL, "An answer could not be sent");
                return;
        }
        settling_done(&s->running);
        if (s->next.n > 0)
                start_settling(s);
        if (s->is_paused) {
                s->is_paused = false;
                mam_websocket_resume(s->w);
        }
        socket_take(s);
}

static void start_settling(Socket *s) {
        int r;

        s->running = s->next;
        s->next = (Settling){ 0 };
        r =
                        delivery_settle(s->app->delivery,
                                        &s->settle,
                                        s->name,
                                        s->running.list.items,
                                        s->running.list.n,
                                        on_settled,
                                        s);
        if (r < 0)
                stop(s, MAM_WEBSOCKET_TRY_AGAIN, "The bus is busy: connect again");
}

/* Adds what a message settles to what is settled next. */
static int settle(Socket *s, json_object *o /* taken */, MamJsonError *error) {
        static const char *const others[] = { "credit", "ref", NULL };
        Settling *t = &s->next;
        size_t before = t->list.n;
        int r;

        if (t->n == t->allocated) {
                size_t allocated = t->allocated > 0 ? 2 * t->allocated : 16;
                void *messages = reallocarray(t->messages, allocated, sizeof(*t->messages));

                if (!messages) {
                        json_object_put(o);
                        return -ENOMEM;
                }
                t->messages = messages;
                t->allocated = allocated;
        }
        t->list.base = before;
        r = settle_list_read(&t->list, o, -1, others, error);
        if (r < 0 || t->list.n == before) {
                t->list.n = before;
                json_object_put(o);
                return r;
        }
        t->messages[t->n].o = o;
        t->messages[t->n++].end = t->list.n;
        if (!s->settle)
                start_settling(s);
        if (s->next.list.n >= SETTLING_HIGH && !s->is_paused) {
                s->is_paused = true;
                mam_websocket_pause(s->w);
        }
        return 0;
}

static int on_message(MamWebsocket *w, bool text, const char *data, size_t size, void *userdata) {
        json_object *o = NULL;
        Socket *s = userdata;
        MamJsonError error = { 0 };
        int64_t credit = 0;
        char reason[124];
        int r;

        r = mam_json_parse(&o, data, size, &error);
        if (r >= 0 && !json_object_is_type(o, json_type_object))
                r = mam_json_fail(&error, "", NULL, "must be an object");
        if (r >= 0)
                r = mam_json_get_int(o, "", "credit", 0, CREDIT_MAX, &credit, &error);
        if (r > 0)
                s->credit = (unsigned) credit;
        if (r >= 0)
                r = settle(s, o, &error);
        else
                json_object_put(o);
        if (r == -EBADMSG) {
                (void) snprintf(reason, sizeof(reason), "%.40s %.80s", error.pointer, error.message);
                stop(s, MAM_WEBSOCKET_BAD_DATA, reason);
                return 0;
        }
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                stop(s, MAM_WEBSOCKET_TRY_AGAIN, "The bus is busy: connect again");
                return 0;
        }
        socket_take(s);
        return 0;
}

static void on_subscription_websocket(int r, const SubscriptionInfo *info, void *userdata) {
        static const MamWebsocketCallbacks callbacks = {
                .on_message = on_message,
                .on_writable = on_writable,
                .on_close = on_close,
        };
        MamWebsocketOptions options = { .message_max = 1024U * 1024U, .protocols = protocols };
        ApiRequest *q = userdata;
        uint64_t credit = 100;
        Socket *s;

        q->delivery_call = delivery_call_free(q->delivery_call);
        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        if (!api_query_number(q, "credit", 0, CREDIT_MAX, &credit))
                return;
        s = calloc(1, sizeof(*s));
        if (!s) {
                api_answered(q, -ENOMEM);
                return;
        }
        s->app = q->app;
        s->credit = (unsigned) credit;
        (void) snprintf(s->name, sizeof(s->name), "%s", q->name);
        if (!api_stream_add(&s->stream, q->app)) {
                socket_free(s);
                api_answered(q, api_problem_errno(q, -EAGAIN, "subscription"));
                return;
        }
        r = mam_websocket_accept(&s->w, q->x, &options, &callbacks, s);
        if (r <= 0) {
                socket_free(s);
                api_answered(q, r);
                return;
        }
        api_release(q); /* the session has taken the exchange over */
        socket_take(s);
}

int handle_consume(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        if (!mam_http_exchange_upgrade_protocol(x) && !api_accepts(q, "text/event-stream"))
                return api_problem(
                                q,
                                406,
                                "Ask for text/event-stream, or for WebSocket with the subprotocol mam.events.v1; or "
                                "POST to /v1/subscriptions/%s/pull",
                                q->name);
        return api_started(
                        q,
                        delivery_subscription_get(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        mam_http_exchange_upgrade_protocol(x) ? on_subscription_websocket
                                                                              : on_subscription_sse,
                                        q),
                        "subscription");
}
