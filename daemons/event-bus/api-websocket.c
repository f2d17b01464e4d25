/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A topic by WebSocket: GET /v1/topics/{topic}/events, upgraded, with the subprotocol cloudevents.json
 * (WebSockets protocol binding 1.0.2)
 *
 * Each message is one event. Those that are sent carry the cursor behind them as extension attribute
 * "mamcursor". A client with the role publisher may send events, which are appended to the topic in the
 * order in which they came; one that cannot be taken ends the conversation with 1008 and the reason. While
 * events of the client are being appended, up to APPENDING_MAX, more are taken; beyond, it is not read from.
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api-publish.h"
#include "event-bus/api-read.h"
#include "event-bus/api-stream.h"
#include "libmam/http/websocket.h"

#define WAITING_HIGH  200U           /* events that wait: no more is read from the client */
#define WAITING_BYTES (256U * 1024U) /* the same */
#define WAITING_MAX   4096U          /* with what was received already */

static const char *const protocols[] = { "cloudevents.json", NULL };

typedef struct Socket Socket;

struct Socket {
        ApiStream stream;
        App *app;
        MamWebsocket *w; /* it ends with us */
        Filter *filter;
        Follower *follower;
        const TopicInfo *topic;
        char *subject; /* owned */
        bool may_publish;
        unsigned owed;
        LogCall *append;    /* owned; under way */
        MamEvent **waiting; /* owned, in order */
        size_t n_waiting, allocated, waiting_bytes;
        bool is_paused;
};

static void socket_free(Socket *s) {
        api_stream_remove(&s->stream);
        filter_free(s->filter);
        (void) follower_free(s->follower);
        (void) log_call_free(s->append);
        publish_events_free(s->waiting, s->n_waiting);
        free(s->waiting);
        free(s->subject);
        free(s);
}

static void on_close(MamWebsocket *w, unsigned code, const char *reason, void *userdata) {
        socket_free(userdata);
}

static void stop(Socket *s, unsigned code, const char *reason) {
        s->follower = follower_free(s->follower);
        mam_websocket_close(s->w, code, reason);
}

/* ---- from the client ---- */

static void start_append(Socket *s);

static void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Socket *s = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(s->append);
        size_t duplicates = 0;

        if (r < 0) {
                stop(s,
                     r == -ENOENT ? MAM_WEBSOCKET_POLICY : MAM_WEBSOCKET_TRY_AGAIN,
                     r == -ENOENT ? "The topic was deleted" : "An event could not be stored: send it again");
                return;
        }
        for (size_t i = 0; i < n; i++)
                duplicates += appended[i].is_duplicate;
        bus_metrics_published(&s->app->metrics, s->topic->name, n - duplicates, duplicates, 0);
        if (s->n_waiting > 0)
                start_append(s);
        if (s->is_paused && s->n_waiting < WAITING_HIGH) {
                s->is_paused = false;
                mam_websocket_resume(s->w);
        }
}

/* All that wait, as far as one append takes them. */
static void start_append(Socket *s) {
        size_t n = s->n_waiting < LOG_APPEND_MAX ? s->n_waiting : LOG_APPEND_MAX;
        int r;

        r =
                        publish_append(s->app,
                                       &s->append,
                                       s->topic,
                                       s->waiting,
                                       n,
                                       NULL,
                                       LOG_VERSION_ANY,
                                       NULL,
                                       on_appended,
                                       s);
        publish_events_free(s->waiting, n);
        memmove(s->waiting, s->waiting + n, (s->n_waiting - n) * sizeof(*s->waiting));
        s->n_waiting -= n;
        s->waiting_bytes = 0;
        if (r < 0)
                stop(s, MAM_WEBSOCKET_TRY_AGAIN, "The bus is too busy: send it again");
}

/* Takes the event. */
static void append(Socket *s, MamEvent *e) {
        size_t size;

        if (s->n_waiting == s->allocated) {
                size_t allocated = s->allocated > 0 ? 2 * s->allocated : 16;
                MamEvent **waiting = allocated <= WAITING_MAX
                                                     ? reallocarray(s->waiting, allocated, sizeof(*waiting))
                                                     : NULL;

                if (!waiting) {
                        mam_event_free(e);
                        stop(s, MAM_WEBSOCKET_TRY_AGAIN, "Too many events at once: slow down");
                        return;
                }
                s->waiting = waiting;
                s->allocated = allocated;
        }
        (void) mam_event_text(e, &size);
        s->waiting[s->n_waiting++] = e;
        s->waiting_bytes += size;
        if (!s->append)
                start_append(s);
        if ((s->n_waiting >= WAITING_HIGH || s->waiting_bytes >= WAITING_BYTES) && !s->is_paused) {
                s->is_paused = true;
                mam_websocket_pause(s->w);
        }
}

static int on_message(MamWebsocket *w, bool text, const char *data, size_t size, void *userdata) {
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        PublishProblem problem = { 0 };
        Socket *s = userdata;
        MamJsonError error;
        char reason[124];
        int r;

        if (!s->may_publish) {
                stop(s, MAM_WEBSOCKET_POLICY, "Sending needs the role publisher");
                return 0;
        }
        r = text ? mam_event_parse(&e, data, size, &error) : -EBADMSG;
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                (void) snprintf(reason,
                                sizeof(reason),
                                "This is no CloudEvent as JSON text: %.40s %.40s",
                                text ? error.pointer : "",
                                text ? error.message : "");
                stop(s, MAM_WEBSOCKET_BAD_DATA, reason);
                return 0;
        }
        r = publish_check(s->app, s->topic, s->subject, &e, 1, false, &problem);
        if (r < 0) {
                if (problem.status == 0)
                        return r;
                (void) snprintf(reason, sizeof(reason), "%.120s", problem.detail);
                stop(s, problem.retry_usec > 0 ? MAM_WEBSOCKET_TRY_AGAIN : MAM_WEBSOCKET_POLICY, reason);
                return 0;
        }
        append(s, MAM_TAKE(e));
        return 0;
}

/* ---- to the client ---- */

static void on_writable(MamWebsocket *w, void *userdata) {
        Socket *s = userdata;
        unsigned owed = s->owed;

        s->owed = 0;
        if (s->follower && owed > 0)
                follower_want(s->follower, owed);
}

static int send_event(Socket *s, MamBuffer *b, const LogEvent *e) {
        char head[CURSOR_SIZE + 24] = "{\"mamcursor\":\"";
        size_t n = strlen(head);
        int r;

        n += cursor_format(head + n, s->topic->id, e->position);
        memcpy(head + n, "\",", 2);
        mam_buffer_consume(b, b->size);
        r = mam_buffer_append(b, head, n + 2);
        if (r >= 0)
                r = mam_buffer_append(b, e->text + 1, e->size - 1);
        return r < 0 ? r : mam_websocket_send(s->w, true, mam_buffer_bytes(b), b->size);
}

static void on_events(Follower *f, int r, const LogEvent *events, size_t n, int64_t first, void *userdata) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Socket *s = userdata;
        const char *labels[] = { s->topic->name };
        size_t bytes = 0;
        bool wait = false;

        if (r < 0) {
                stop(s,
                     MAM_WEBSOCKET_POLICY,
                     r == -ERANGE ? "Events behind this reader are no longer kept"
                                  : "The topic was deleted");
                return;
        }
        for (size_t i = 0; i < n; i++) {
                bytes += events[i].size;
                if (!read_matches(s->filter, &events[i]))
                        continue;
                r = send_event(s, &b, &events[i]);
                if (r < 0) {
                        stop(s, MAM_WEBSOCKET_INTERNAL, "An event could not be sent");
                        return;
                }
                wait = r == 0;
        }
        mam_metric_add(mam_metric_get(s->app->metrics.read, labels), (double) n);
        if (wait)
                s->owed = api_stream_window(n, bytes);
        else
                follower_want(f, api_stream_window(n, bytes));
}

int read_websocket(ApiRequest *q, const TopicInfo *t, int64_t first_wanted, Filter *filter) {
        static const MamWebsocketCallbacks callbacks = {
                .on_message = on_message,
                .on_writable = on_writable,
                .on_close = on_close,
        };
        MamWebsocketOptions options = { .message_max = MAM_EVENT_SIZE_MAX, .protocols = protocols };
        MamHttpExchange *x = q->x;
        Socket *s;
        int r;

        if (q->place.kind == PLACE_CURSOR && first_wanted > 1 && first_wanted < t->first) {
                filter_free(filter);
                return read_answer_gone(q, t->id, t->first);
        }
        s = calloc(1, sizeof(*s));
        if (!s) {
                filter_free(filter);
                return -ENOMEM;
        }
        s->app = q->app;
        s->filter = filter;
        s->topic = t;
        s->subject = strdup(api_subject(q));
        s->may_publish = mam_identity_has_role(mam_service_identity(x), "publisher");
        if (first_wanted < t->first)
                first_wanted = t->first;
        if (!s->subject || !api_stream_add(&s->stream, q->app)) {
                socket_free(s);
                return api_problem_errno(q, -EAGAIN, "topic");
        }
        r = tail_follow(q->app->tail, &s->follower, t->name, first_wanted - 1, on_events, s);
        if (r < 0) {
                socket_free(s);
                return api_problem_errno(q, r, "topic");
        }
        r = mam_websocket_accept(&s->w, x, &options, &callbacks, s);
        if (r <= 0) {
                socket_free(s);
                return r;
        }
        api_release(q); /* the session has taken the exchange over */
        follower_want(s->follower, STREAM_FIRST);
        return 0;
}
