/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading a topic: GET /v1/topics/{topic}/events as pages, with long polling; and streams of event sourcing
 *
 * An answer is put together from the stored texts. With a filter a request looks at no more than
 * SCANNED_MAX events; the cursor behind a page says where to go on, whether anything was wanted or not.
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api-publish.h"
#include "event-bus/api-read.h"

#define WAIT_MAX_USEC (60 * MAM_USEC_PER_SEC)
#define SCANNED_MAX   10000U
#define PAGE_BYTES    (4U * 1024U * 1024U)

typedef struct Reading {
        ApiRequest *q; /* weak: it owns us */
        Filter *filter;
        uint64_t limit, wait_usec;
        bool backwards, batch, explicit_place;
        char stream[API_STREAM_MAX + 1];
        const TopicInfo *topic; /* borrowed */
        int64_t next;           /* the position to look at next */
        MamBuffer body;
        unsigned n, scanned;
        Follower *follower;     /* owned, while it waits */
        sd_event_source *timer; /* owned, as above */
} Reading;

static void reading_done(void *more) {
        Reading *d = more;

        filter_free(d->filter);
        mam_buffer_done(&d->body);
        (void) follower_free(d->follower);
        sd_event_source_disable_unref(d->timer);
}

bool read_matches(const Filter *f, const LogEvent *e) {
        _cleanup_(mam_event_freep) MamEvent *event = NULL;

        if (!f)
                return true;
        if (mam_event_from_stored(&event, e->text, e->size) < 0)
                return true;
        return filter_matches(f, event);
}

int read_answer_gone(ApiRequest *q, int64_t topic, int64_t first) {
        char cursor[CURSOR_SIZE], json[CURSOR_SIZE + 2];

        cursor_format(cursor, topic, first - 1);
        (void) snprintf(json, sizeof(json), "\"%s\"", cursor);
        return api_problem_with(
                        q,
                        410,
                        "earliest",
                        json,
                        "Events behind this cursor are no longer kept; the member \"earliest\" is a cursor for "
                        "what is still there");
}

/* ---- the answer ---- */

static int add_event(Reading *d, const LogEvent *e) {
        int r;

        r = mam_buffer_append_string(&d->body, d->n > 0 ? "," : d->batch ? "[" : "{\"events\":[");
        if (r >= 0)
                r = d->batch ? mam_buffer_append(&d->body, e->text, e->size)
                             : api_append_event(&d->body, d->topic->id, e);
        d->n++;
        return r;
}

static int add_link(ApiRequest *q, const char *cursor) {
        char link[2 * API_NAME_MAX];

        (void) snprintf(link,
                        sizeof(link),
                        "</v1/topics/%s/events?after=%s>; rel=\"next\"",
                        q->name,
                        cursor);
        return mam_http_exchange_add_field(q->x, "Link", link);
}

static int answer_page(Reading *d) {
        const char *labels[] = { d->topic->name };
        ApiRequest *q = d->q;
        char cursor[CURSOR_SIZE];
        int64_t behind = d->backwards ? d->next + 1 : d->next - 1;
        int r = 0;

        cursor_format(cursor, d->topic->id, behind > 0 ? behind : 0);
        mam_metric_add(mam_metric_get(q->app->metrics.read, labels), d->n);
        if (d->n == 0)
                r = mam_buffer_append_string(&d->body, d->batch ? "[" : "{\"events\":[");
        if (d->batch) {
                if (r >= 0)
                        r = mam_buffer_append(&d->body, "]", 1);
                if (r >= 0)
                        r = mam_http_exchange_add_field(q->x, "Mam-Cursor", cursor);
                if (r >= 0 && !d->backwards)
                        r = add_link(q, cursor);
                return r < 0 ? r : api_answer(q, 200, "application/cloudevents-batch+json", &d->body);
        }
        if (r >= 0 && *d->stream) {
                r = d->n > 0 && d->next > 0
                                    ? mam_buffer_appendf(&d->body, "],\"next\":%" PRIi64 "}", d->next)
                                    : mam_buffer_append_string(&d->body, "],\"next\":null}");
        } else if (r >= 0 && d->backwards) {
                r = d->next > 0 ? mam_buffer_appendf(&d->body, "],\"next\":\"%" PRIi64 "\"}", d->next)
                                : mam_buffer_append_string(&d->body, "],\"next\":null}");
        } else if (r >= 0)
                r = mam_buffer_appendf(&d->body, "],\"next\":\"%s\"}", cursor);
        return r < 0 ? r : api_answer(q, 200, "application/json", &d->body);
}

/* ---- waiting for something to come ---- */

static int on_wait_over(sd_event_source *source, uint64_t usec, void *userdata) {
        Reading *d = userdata;

        d->follower = follower_free(d->follower);
        api_answered(d->q, answer_page(d));
        return 0;
}

static void on_followed(
                Follower *f,
                int r,
                const LogEvent *events,
                size_t n,
                int64_t first,
                void *userdata) {
        Reading *d = userdata;

        if (r < 0) {
                d->follower = follower_free(d->follower);
                sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
                api_answered(d->q,
                             r == -ERANGE ? read_answer_gone(d->q, d->topic->id, first)
                                          : api_problem_errno(d->q, r, "topic"));
                return;
        }
        for (size_t i = 0; i < n && r >= 0; i++) {
                d->next = events[i].position + 1;
                if (read_matches(d->filter, &events[i]))
                        r = add_event(d, &events[i]);
        }
        if (r >= 0 && d->n == 0) {
                follower_want(f, (unsigned) n); /* nothing of it was wanted: go on */
                return;
        }
        d->follower = follower_free(d->follower);
        sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
        api_answered(d->q, r < 0 ? r : answer_page(d));
}

static void on_drain(MamHttpExchange *x, void *userdata) {
        Reading *d = userdata;

        if (!d->follower)
                return;
        d->follower = follower_free(d->follower);
        sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
        api_answered(d->q, answer_page(d));
}

static int wait_for_more(Reading *d) {
        int r;

        r = sd_event_add_time_relative(
                        mam_service_event(d->q->app->service),
                        &d->timer,
                        CLOCK_MONOTONIC,
                        d->wait_usec,
                        10 * MAM_USEC_PER_MSEC,
                        on_wait_over,
                        d);
        if (r < 0)
                return r;
        r = tail_follow(d->q->app->tail, &d->follower, d->topic->name, d->next - 1, on_followed, d);
        if (r < 0)
                return r;
        follower_want(d->follower, (unsigned) d->limit);
        mam_http_exchange_set_on_drain(d->q->x, on_drain, d);
        return 0;
}

/* ---- reading what is there ---- */

static int read_on(Reading *d);

static void on_read(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        Reading *d = userdata;
        ApiRequest *q = d->q;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);
        bool at_end;

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, *d->stream ? "stream" : "topic"));
                return;
        }
        if (!*d->stream && !d->backwards && !d->explicit_place && d->scanned == 0 && d->next < first) {
                api_answered(q, read_answer_gone(q, d->topic->id, first));
                return;
        }
        for (size_t i = 0; i < n && r >= 0; i++) {
                int64_t at = *d->stream ? events[i].stream_version : events[i].position;

                d->next = d->backwards ? at - 1 : at + 1;
                d->scanned++;
                if (read_matches(d->filter, &events[i]))
                        r = add_event(d, &events[i]);
        }
        if (r < 0) {
                api_answered(q, r);
                return;
        }
        /* A page of the log may end before the limit: with a table of it. */
        at_end = n == 0 || (d->backwards ? d->next < (*d->stream ? 1 : first) : d->next > last);
        if (!at_end && d->n < d->limit && d->scanned < SCANNED_MAX && d->body.size < PAGE_BYTES) {
                api_answered(q, read_on(d));
                return;
        }
        if (at_end && d->backwards)
                d->next = 0;
        if (*d->stream && at_end && !d->backwards)
                d->next = 0;
        if (d->n == 0 && at_end && d->wait_usec > 0 && !d->backwards && !*d->stream) {
                api_answered(q, wait_for_more(d));
                return;
        }
        api_answered(q, answer_page(d));
}

static int read_on(Reading *d) {
        LogRange range = {
                .from = d->next,
                .backwards = d->backwards,
                .limit = d->filter ? API_PAGE_MAX : (unsigned) (d->limit - d->n),
                .bytes_max = PAGE_BYTES,
                .stream = *d->stream ? d->stream : NULL,
        };

        if (range.limit > d->limit - d->n)
                range.limit = (unsigned) (d->limit - d->n);
        return api_started(
                        d->q,
                        log_read(d->q->app->log, &d->q->log_call, d->topic->name, &range, on_read, d),
                        "topic");
}

/* ---- the request ---- */

bool read_place(ApiRequest *q, bool lasts, Place *ret) {
        const char *last_id = mam_http_exchange_header(q->x, "Last-Event-ID");
        char text[64];
        int r;

        *ret = (Place){ .kind = lasts ? PLACE_LATEST : PLACE_EARLIEST };
        if (lasts && last_id && *last_id) {
                (void) snprintf(text, sizeof(text), "%s", last_id);
                r = 1;
        } else
                r = api_query(q, "after", text, sizeof(text));
        if (r > 0) {
                if (place_parse(ret, text) >= 0 && ret->kind == PLACE_CURSOR)
                        return true;
                (void) api_problem(
                                q,
                                400,
                                "after must be a cursor as it was given out: \"next\" of a page, or the id of an event");
                return false;
        }
        if (r == 0)
                r = api_query(q, "from", text, sizeof(text));
        if (r <= 0)
                return r == 0;
        if (place_parse(ret, text) >= 0)
                return true;
        (void) api_problem(
                        q,
                        400,
                        "from must be earliest, latest, a position, a time such as 2026-01-02T03:04:05Z, or a cursor");
        return false;
}

static void on_begin(ApiRequest *q, const TopicInfo *t, int64_t first_wanted) {
        Reading *d = q->more;

        d->topic = t;
        d->next = first_wanted;
        d->explicit_place = q->place.kind != PLACE_CURSOR || first_wanted <= 1;
        if (d->backwards && q->place.kind == PLACE_LATEST)
                d->next = 0; /* the newest */
        if (d->explicit_place && !d->backwards && d->next < t->first)
                d->next = t->first;
        api_answered(q, read_on(d));
}

/* Reading that lasts: the filter waits in the request until the place is known. */
static void filter_holder_done(void *more) {
        filter_free(*(Filter **) more);
}

static void on_begin_sse(ApiRequest *q, const TopicInfo *t, int64_t first_wanted) {
        Filter **f = q->more;

        api_answered(q, read_sse(q, t, first_wanted, MAM_TAKE(*f)));
}

static void on_begin_websocket(ApiRequest *q, const TopicInfo *t, int64_t first_wanted) {
        Filter **f = q->more;

        api_answered(q, read_websocket(q, t, first_wanted, MAM_TAKE(*f)));
}

static int begin_lasting(ApiRequest *q, ApiBegin begin) {
        Place place;
        void *more;
        int r;

        r = api_more(q, &more, sizeof(Filter *), filter_holder_done);
        if (r < 0)
                return r;
        if (!api_query_filter(q, more) || !read_place(q, true, &place))
                return 0;
        return api_resolve(q, q->name, &place, begin);
}

static int new_reading(Reading **ret, ApiRequest *q) {
        void *more;
        int r;

        r = api_more(q, &more, sizeof(Reading), reading_done);
        if (r < 0)
                return r;
        *ret = more;
        (*ret)->q = q;
        (*ret)->limit = 100;
        return 0;
}

int handle_read(MamHttpExchange *x, void *userdata) {
        Place place;
        ApiRequest *q;
        Reading *d;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        if (mam_http_exchange_upgrade_protocol(x))
                return begin_lasting(q, on_begin_websocket);
        if (api_accepts(q, "text/event-stream"))
                return begin_lasting(q, on_begin_sse);

        r = new_reading(&d, q);
        if (r < 0)
                return r;
        d->batch = api_accepts(q, "application/cloudevents-batch+json");
        if (!api_query_number(q, "limit", 1, API_PAGE_MAX, &d->limit) ||
            !api_query_timespan(q, "wait", WAIT_MAX_USEC, &d->wait_usec) ||
            !api_query_flag(q, "backwards", &d->backwards) || !api_query_filter(q, &d->filter) ||
            !read_place(q, d->backwards, &place))
                return 0;
        return api_resolve(q, q->name, &place, on_begin);
}

/* ---- streams ---- */

static bool check_stream(ApiRequest *q, const char **ret) {
        *ret = mam_route_parameter(q->x, "stream");
        if (publish_stream_is_valid(*ret))
                return true;
        (void) api_problem(q, 404, "A stream has a name of 1 to %u bytes of text", API_STREAM_MAX);
        return false;
}

static void on_stream_topic(ApiRequest *q, const TopicInfo *t) {
        Reading *d = q->more;

        d->topic = t;
        api_answered(q, read_on(d));
}

int handle_stream_read(MamHttpExchange *x, void *userdata) {
        uint64_t from = 0;
        const char *name;
        ApiRequest *q;
        Reading *d;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        r = new_reading(&d, q);
        if (r < 0)
                return r;
        if (!check_stream(q, &name) || !api_query_number(q, "limit", 1, API_PAGE_MAX, &d->limit) ||
            !api_query_flag(q, "backwards", &d->backwards) ||
            !api_query_number(q, "from", 1, INT64_MAX, &from))
                return 0;
        d->next = from > 0 ? (int64_t) from : d->backwards ? 0 : 1;
        (void) snprintf(d->stream, sizeof(d->stream), "%s", name);
        return api_with_topic(q, q->name, on_stream_topic);
}

static void on_snapshot(int r, int64_t version, const char *text, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        if (r < 0) {
                api_answered(q,
                             r == -ESTALE ? api_problem(q,
                                                        409,
                                                        "There is a snapshot of a later version already")
                                          : api_problem_errno(q, r, "snapshot"));
                return;
        }
        if (!text) {
                api_answered(q, api_answer_empty(q, 204));
                return;
        }
        r = mam_buffer_appendf(&b, "{\"version\":%" PRIi64 ",\"data\":%s}", version, text);
        if (r >= 0)
                r = api_add_etag(q, version);
        api_answered(q, r < 0 ? r : api_answer(q, 200, "application/json", &b));
}

int handle_snapshot_get(MamHttpExchange *x, void *userdata) {
        const char *name;
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        if (!check_stream(q, &name))
                return 0;
        return api_started(
                        q,
                        log_snapshot_get(q->app->log, &q->log_call, q->name, name, on_snapshot, q),
                        "topic");
}

static int snapshot_body(ApiRequest *q) {
        static const char *const known[] = { "version", "data", NULL };
        const char *name = mam_route_parameter(q->x, "stream"), *text;
        json_object *data = NULL;
        int64_t version = 0;
        MamJsonError error;
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0)
                r = mam_json_get_int(q->body, "", "version", 1, INT64_MAX, &version, &error);
        if (r == 0)
                r = mam_json_fail(&error, "", "version", "is required: the stream's version it stands for");
        if (r >= 0 && !json_object_object_get_ex(q->body, "data", &data))
                r = mam_json_fail(&error, "", "data", "is required");
        if (r < 0)
                return api_problem_json(q, 422, &error, "The snapshot is wrong");
        text = mam_json_to_string(data);
        if (!text)
                return -ENOMEM;
        return api_started(
                        q,
                        log_snapshot_put(
                                        q->app->log,
                                        &q->log_call,
                                        q->name,
                                        name,
                                        version,
                                        text,
                                        strlen(text),
                                        on_snapshot,
                                        q),
                        "topic");
}

int handle_snapshot_put(MamHttpExchange *x, void *userdata) {
        const char *name;
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        return check_stream(q, &name) ? api_read_json(q, snapshot_body) : 0;
}
