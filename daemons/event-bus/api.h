/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The HTTP API of the event bus
 *
 * An ApiRequest hangs on its exchange and is freed with it, and with it what it waits for: so nothing calls
 * back once the client has gone. Functions named api_check_… return true to go on, and have answered
 * otherwise. Handlers return what api_… functions return: 0, or a negative errno for a 500.
 */

#include <sys/queue.h>

#include "event-bus/cursor.h"
#include "event-bus/delivery/delivery.h"
#include "event-bus/filter/filter.h"
#include "event-bus/log/keep.h"
#include "event-bus/log/tail.h"
#include "event-bus/metrics.h"
#include "event-bus/outbox/relay.h"
#include "event-bus/push/push.h"
#include "event-bus/quota.h"
#include "event-bus/schema/schema-registry.h"
#include "libmam/service/service.h"
#include "libmam/util/time.h"

/* Beyond, waiting would only pile up requests: a restart of PostgreSQL takes less. */
#define API_AWAY_MAX_USEC (2 * MAM_USEC_PER_SEC)
#define API_PAGE_MAX      1000U
#define API_BODY_MAX      (8U * 1024U * 1024U)
#define API_FILTERS_MAX   16U  /* of the short form in one request */
#define API_STREAM_MAX    200U /* bytes of the name of a stream */
#define API_NAME_MAX      128U /* of a topic or subscription */

typedef struct ApiStream ApiStream;

typedef struct App {
        MamService *service; /* weak */
        MamPg *pg;           /* owned, as all of these */
        MamRedis *redis;     /* commands; NULL: there is none */
        MamRedis *listen;    /* the doorbell's */
        Log *log;            /* NULL until the schema is up to date */
        Tail *tail;
        SchemaRegistry *schemas;
        Delivery *delivery;
        Pusher *pusher;
        PushOptions push_options;
        PushKey push_key;
        char *allow_text;
        const char **allow; /* pushing: see push_options */
        Keep *keep;
        char *archive; /* the folder, or NULL */
        Relay *relay;
        Quotas *quotas;
        BusMetrics metrics;
        uint64_t away_usec;              /* monotonic: since when PostgreSQL is away; 0: it is there */
        size_t body_bytes;               /* of bodies that are being read */
        TAILQ_HEAD(, ApiStream) streams; /* that last: those of SSE and WebSocket */
        unsigned n_streams;
        sd_event_source *tick; /* owned */
        unsigned ticks;
} App;

typedef struct ApiRequest ApiRequest;
typedef int (*ApiBody)(ApiRequest *q);
typedef void (*ApiBegin)(ApiRequest *q, const TopicInfo *topic, int64_t first_wanted);
typedef void (*ApiTopic)(ApiRequest *q, const TopicInfo *topic);

/* For a call that was answered: it is freed when the callback returns. */
#define _unused_ __attribute__((unused))

MAM_DEFINE_CLEANUP(LogCall, log_call_free);
MAM_DEFINE_CLEANUP(DeliveryCall, delivery_call_free);

struct ApiRequest {
        MamHttpExchange *x;          /* weak: it owns us */
        App *app;                    /* weak */
        const char *name;            /* of the topic or subscription: of the path */
        LogCall *log_call;           /* owned, while it waits */
        DeliveryCall *delivery_call; /* owned, as above */
        SchemaCall *schema_call;     /* owned, as above */
        json_object *body;           /* owned */
        ApiBody with_body;
        void *more; /* owned by more_free */
        void (*more_free)(void *more);
        size_t body_bytes; /* counted in the app */
        int64_t if_match;  /* -1: not asked */
        Place place;       /* to be resolved, and what then */
        ApiBegin on_begin;
        ApiTopic on_topic;
        const TopicInfo *topic; /* borrowed from the log, which keeps it */
        bool if_none_match;     /* If-None-Match: * */
};

/* parameter: of the path that is the name, "topic" or "subscription", or NULL. 1: go on; 0: answered. */
int api_begin(ApiRequest **ret, MamHttpExchange *x, App *app, const char *parameter);
/* Frees it at once: once somebody else has taken the exchange's on_done. */
void api_release(ApiRequest *q);
/* Memory of the handler's own, zeroed, freed with the request; done (may be NULL) runs before. */
int api_more(ApiRequest *q, void **ret, size_t size, void (*done)(void *more));

/* ---- answers ---- */
int api_problem(ApiRequest *q, unsigned status, const char *format, ...) _printf_(3, 4);
/* With another member: name and its JSON text. */
int api_problem_with(
                ApiRequest *q,
                unsigned status,
                const char *name,
                const char *json,
                const char *format,
                ...) _printf_(5, 6);
/* From something in the body: 400. */
int api_problem_json(ApiRequest *q, unsigned status, const MamJsonError *error, const char *what);
/* What a room said, of thing ("topic", "subscription", "schema"). */
int api_problem_errno(ApiRequest *q, int error, const char *thing);
int api_answer(ApiRequest *q, unsigned status, const char *type, const MamBuffer *body);
int api_answer_json(ApiRequest *q, unsigned status, json_object *o /* taken; NULL: out of memory */);
int api_answer_empty(ApiRequest *q, unsigned status);
int api_add_etag(ApiRequest *q, int64_t version);
/* For callbacks, which have nobody to return an error to: one that could not be answered ends the
 * connection. */
void api_answered(ApiRequest *q, int r);
/* What starting a call returned: 0, or what answering that it failed returns. */
int api_started(ApiRequest *q, int r, const char *thing);

/* ---- what was asked ---- */
/* A parameter of the query: 1, 0: absent, -EINVAL: answered. */
int api_query(ApiRequest *q, const char *key, char *ret, size_t size);
/* A number from min to max; *ret is left alone where it is absent. false: answered. */
bool api_query_number(ApiRequest *q, const char *key, uint64_t min, uint64_t max, uint64_t *ret);
bool api_query_flag(ApiRequest *q, const char *key, bool *ret);
bool api_query_timespan(ApiRequest *q, const char *key, uint64_t max, uint64_t *ret_usec);
/* filter= (repeated) and filters=. */
bool api_query_filter(ApiRequest *q, Filter **ret);
bool api_check_conditions(ApiRequest *q); /* If-Match, If-None-Match */
/* Reads a JSON object as body (application/json or a merge patch). */
int api_read_json(ApiRequest *q, ApiBody with_body);
bool api_accepts(ApiRequest *q, const char *type);
const char *api_subject(ApiRequest *q);
/* "7d", "90s", or a number of seconds; "forever" is MAM_USEC_INFINITY. 1, 0: absent, -EBADMSG. */
int api_json_timespan(json_object *o, const char *parent, const char *key, uint64_t *ret, MamJsonError *e);
int api_json_bytes(json_object *o, const char *parent, const char *key, uint64_t *ret, MamJsonError *e);
/* Refuses members that are not known: -EBADMSG. */
int api_json_known(json_object *o, const char *parent, const char *const *known, MamJsonError *e);

/* ---- text ---- */
/* RFC 3339 in quotes, quickly. */
int api_append_time(MamBuffer *b, uint64_t usec);
int api_append_string(MamBuffer *b, const char *text); /* NULL: null */
/* {"cursor":…,"recorded":…,"event":…}, and the stream's version where it has one. */
int api_append_event(MamBuffer *b, int64_t topic, const LogEvent *e);

/* ---- where to begin ---- */
/* The position that reading begins at (the first one wanted), found with the topic's figures. Calls back, or
 * answers what went wrong. */
int api_resolve(ApiRequest *q, const char *topic, const Place *place, ApiBegin found);
/* The topic, from what is known if it is: its figures may be old; else asked for first. */
int api_with_topic(ApiRequest *q, const char *topic, ApiTopic found);

/* ---- what lasts ---- */
/* Counted, and pinged every now and then where they have a way to. */
struct ApiStream {
        TAILQ_ENTRY(ApiStream) streams;
        App *app;                   /* weak */
        void (*ping)(ApiStream *s); /* or NULL, as the next ones */
        const char *subscription;   /* that it consumes; borrowed, or NULL */
        /* These deliveries were settled at this replica; items NULL: once a second, and when something was
         * settled elsewhere. */
        void (*settled)(ApiStream *s, const Settlement *items, size_t n);
};
#define API_STREAMS_MAX 8000U
/* false: there are too many (the caller answers 503). */
bool api_stream_add(ApiStream *s, App *app);
void api_stream_remove(ApiStream *s);
/* Tells those that consume it; subscription NULL: all. items may be NULL. */
void api_stream_settled(App *app, const char *subscription, const Settlement *items, size_t n);

/* ---- handlers: userdata is the App ---- */
int handle_topic_list(MamHttpExchange *x, void *userdata);
int handle_topic_get(MamHttpExchange *x, void *userdata);
int handle_topic_put(MamHttpExchange *x, void *userdata);
int handle_topic_patch(MamHttpExchange *x, void *userdata);
int handle_topic_delete(MamHttpExchange *x, void *userdata);
int handle_publish(MamHttpExchange *x, void *userdata);
int handle_read(MamHttpExchange *x, void *userdata);
int handle_stream_read(MamHttpExchange *x, void *userdata);
int handle_snapshot_get(MamHttpExchange *x, void *userdata);
int handle_snapshot_put(MamHttpExchange *x, void *userdata);
int handle_subscription_list(MamHttpExchange *x, void *userdata);
int handle_subscription_get(MamHttpExchange *x, void *userdata);
int handle_subscription_put(MamHttpExchange *x, void *userdata);
int handle_subscription_patch(MamHttpExchange *x, void *userdata);
int handle_subscription_delete(MamHttpExchange *x, void *userdata);
int handle_subscription_seek(MamHttpExchange *x, void *userdata);
int handle_pull(MamHttpExchange *x, void *userdata);
int handle_ack(MamHttpExchange *x, void *userdata);
int handle_nack(MamHttpExchange *x, void *userdata);
int handle_extend(MamHttpExchange *x, void *userdata);
int handle_reject(MamHttpExchange *x, void *userdata);
int handle_settle(MamHttpExchange *x, void *userdata);
int handle_consume(MamHttpExchange *x, void *userdata);
int handle_dead_list(MamHttpExchange *x, void *userdata);
int handle_redrive(MamHttpExchange *x, void *userdata);
int handle_schema_list(MamHttpExchange *x, void *userdata);
int handle_schema_get(MamHttpExchange *x, void *userdata);
int handle_schema_put(MamHttpExchange *x, void *userdata);
int handle_schema_patch(MamHttpExchange *x, void *userdata);
int handle_schema_version(MamHttpExchange *x, void *userdata);
int handle_schema_check(MamHttpExchange *x, void *userdata);
int handle_archive_list(MamHttpExchange *x, void *userdata);
int handle_archive_restore(MamHttpExchange *x, void *userdata);
int handle_keep(MamHttpExchange *x, void *userdata);
int handle_asyncapi(MamHttpExchange *x, void *userdata);
