/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Publishing: POST /v1/topics/{topic}/events
 *
 * CloudEvents in binary, structured and batched form. A body is read, scanned in place, checked against the
 * topic's settings, its quota and the schemas, and appended as a whole or not at all.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "event-bus/api-publish.h"
#include "libmam/http/websocket-message.h"
#include "libmam/util/zalloc.h"

#define BODIES_MAX      (64U * 1024U * 1024U) /* that are being read at once */
#define EVENT_BYTES_MAX (256U * 1024U)        /* where the topic says nothing */

typedef enum Form {
        FORM_BINARY,
        FORM_STRUCTURED,
        FORM_BATCH,
} Form;

typedef struct Publish {
        Form form;
        const char *data; /* the body: it lives as long as the exchange */
        size_t size;
        char stream[API_STREAM_MAX + 1];
        int64_t expected;
        uint64_t begun_usec;
        uint64_t bytes;
} Publish;

/* ---- checks ---- */

void publish_events_free(MamEvent **events, size_t n) {
        for (size_t i = 0; i < n; i++)
                events[i] = mam_event_free(events[i]);
}

static int refuse(PublishProblem *p, unsigned status, const char *reason, const char *format, ...)
                _printf_(4, 5);
static int refuse(PublishProblem *p, unsigned status, const char *reason, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(p->detail, sizeof(p->detail), format, ap);
        va_end(ap);
        p->status = status;
        p->reason = reason;
        return -EBADMSG;
}

static int check_schema(App *app, const TopicInfo *t, MamEvent *e, size_t i, bool batch, PublishProblem *p) {
        MamJsonError error = { 0 };
        int r;

        r = schema_registry_check(app->schemas, t->settings.schema, e, &error);
        if (r >= 0)
                return 0;
        if (batch) {
                (void) snprintf(p->pointer, sizeof(p->pointer), "/%zu%s", i, error.pointer);
        } else
                (void) snprintf(p->pointer, sizeof(p->pointer), "%s", error.pointer);
        switch (r) {
        case -EBADMSG:
                return refuse(p,
                              422,
                              "schema",
                              "%s does not fit the schema of \"%s\": %s",
                              *p->pointer ? p->pointer : "The event",
                              mam_event_data_schema(e) ? mam_event_data_schema(e) : mam_event_type(e),
                              error.message);
        case -ENOKEY:
                return refuse(p,
                              422,
                              "schema",
                              "The topic takes events with a registered schema only, and there is none for "
                              "\"%s\": put one at /v1/schemas",
                              mam_event_data_schema(e) ? mam_event_data_schema(e) : mam_event_type(e));
        case -EAGAIN:
                p->retry_usec = MAM_USEC_PER_SEC;
                return refuse(p, 503, "busy", "The schemas are being read: try again");
        default:
                return r;
        }
}

int publish_check(
                App *app,
                const TopicInfo *t,
                const char *publisher,
                MamEvent **events,
                size_t n,
                bool batch,
                PublishProblem *p) {
        uint64_t max = t->settings.bytes_max > 0 ? t->settings.bytes_max : EVENT_BYTES_MAX, wait;
        int r;

        for (size_t i = 0; i < n; i++) {
                size_t size;

                (void) mam_event_text(events[i], &size);
                if (size > max) {
                        if (batch)
                                (void) snprintf(p->pointer, sizeof(p->pointer), "/%zu", i);
                        return refuse(p,
                                      413,
                                      "size",
                                      "An event of this topic may have %" PRIu64
                                      " bytes as JSON; this one has %zu",
                                      max,
                                      size);
                }
                if (t->settings.schema == SCHEMA_NONE)
                        continue;
                r = check_schema(app, t, events[i], i, batch, p);
                if (r < 0)
                        return r;
        }
        wait =
                        quotas_take(app->quotas,
                                    publisher,
                                    t->id,
                                    t->settings.events_per_second,
                                    (unsigned) n,
                                    mam_now_monotonic());
        if (wait == 0)
                return 0;
        p->retry_usec = wait;
        return refuse(p,
                      429,
                      "quota",
                      "You may publish %" PRIu64 " events a second into this topic: slow down",
                      t->settings.events_per_second);
}

static int answer_refused(ApiRequest *q, const PublishProblem *p) {
        const char *reasons[] = { p->reason };

        mam_metric_add(mam_metric_get(q->app->metrics.refused, reasons), 1);
        if (p->retry_usec > 0) {
                char seconds[24];

                (void) snprintf(seconds,
                                sizeof(seconds),
                                "%" PRIu64,
                                (p->retry_usec + MAM_USEC_PER_SEC - 1) / MAM_USEC_PER_SEC);
                (void) mam_http_exchange_add_field(q->x, "Retry-After", seconds);
        }
        return mam_http_exchange_problem(q->x, p->status, *p->pointer ? p->pointer : NULL, "%s", p->detail);
}

/* ---- appending ---- */

static int append_answer(
                MamBuffer *b,
                const TopicInfo *t,
                const LogAppended *appended,
                size_t n,
                bool stream) {
        char cursor[CURSOR_SIZE];
        int64_t last = 0;
        int r;

        r = mam_buffer_append_string(b, "{\"events\":[");
        for (size_t i = 0; i < n && r >= 0; i++) {
                r = mam_buffer_appendf(
                                b,
                                "%s{\"position\":%" PRIi64 ",\"duplicate\":%s",
                                i > 0 ? "," : "",
                                appended[i].position,
                                appended[i].is_duplicate ? "true" : "false");
                if (r >= 0 && stream)
                        r = mam_buffer_appendf(b, ",\"streamVersion\":%" PRIi64, appended[i].stream_version);
                if (r >= 0)
                        r = mam_buffer_append(b, "}", 1);
                if (appended[i].position > last)
                        last = appended[i].position;
        }
        cursor_format(cursor, t->id, last);
        return r < 0 ? r : mam_buffer_appendf(b, "],\"cursor\":\"%s\"}", cursor);
}

static void answer_appended(ApiRequest *q, const LogAppended *appended, size_t n) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Publish *p = q->more;
        size_t n_new = 0;
        int r;

        for (size_t i = 0; i < n; i++)
                n_new += !appended[i].is_duplicate;
        bus_metrics_published(&q->app->metrics, q->name, n_new, n - n_new, p->bytes);
        mam_metric_observe_traced(
                        mam_metric_get(q->app->metrics.append_seconds, NULL),
                        (double) (mam_now_monotonic() - p->begun_usec) / (double) MAM_USEC_PER_SEC,
                        mam_http_exchange_trace(q->x));
        r = append_answer(&b, q->topic, appended, n, *p->stream);
        api_answered(q, r < 0 ? r : api_answer(q, n_new > 0 || n == 0 ? 201 : 200, "application/json", &b));
}

static void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);
        char version[24];

        if (r >= 0) {
                answer_appended(q, appended, n);
        } else if (r == -ESTALE) {
                (void) snprintf(version,
                                sizeof(version),
                                "%" PRIi64,
                                appended ? appended[at].stream_version : 0);
                r = api_problem_with(
                                q,
                                409,
                                "actualVersion",
                                version,
                                "The stream has version %s, not the expected one: read what has happened since, "
                                "and decide again",
                                version);
                api_answered(q, r);
        } else
                api_answered(q, api_problem_errno(q, r, "topic"));
}

/* Adds the trace that the event is part of, where it says none: so that who gets it can go on with it. */
static int add_trace(MamBuffer *b, LogEntry *entries, size_t n, MamEvent *const *events, const char *trace) {
        size_t *starts = malloc(n * sizeof(*starts));
        int r = starts ? 0 : -ENOMEM;

        for (size_t i = 0; i < n && r >= 0; i++) {
                starts[i] = b->size;
                if (!mam_event_attribute(events[i], "traceparent"))
                        r = mam_buffer_appendf(b, "{\"traceparent\":\"%s\",", trace);
                else
                        r = mam_buffer_append(b, "{", 1);
                if (r >= 0)
                        r = mam_buffer_append(b, entries[i].text + 1, entries[i].size); /* with its NUL */
        }
        for (size_t i = 0; i < n && r >= 0; i++) {
                entries[i].text = mam_buffer_bytes(b) + starts[i];
                entries[i].size = (i + 1 < n ? starts[i + 1] : b->size) - starts[i] - 1;
        }
        free(starts);
        return r;
}

int publish_append(
                App *app,
                LogCall **ret,
                const TopicInfo *t,
                MamEvent *const *events,
                size_t n,
                const char *stream,
                int64_t expected,
                const char *trace,
                LogAppendCallback callback,
                void *userdata) {
        _cleanup_(mam_buffer_done) MamBuffer texts = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) LogEntry *entries = malloc(n * sizeof(LogEntry));
        int r;

        if (!entries)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                entries[i] = (LogEntry){
                        .key = mam_event_key(events[i]),
                        .id = mam_event_id(events[i]),
                        .source = mam_event_source(events[i]),
                        .type = mam_event_type(events[i]),
                        .stream = stream,
                        .expected_version = i == 0 ? expected : LOG_VERSION_ANY,
                };
                entries[i].text = mam_event_text(events[i], &entries[i].size);
        }
        if (trace) {
                r = add_trace(&texts, entries, n, events, trace);
                if (r < 0)
                        return r;
        }
        return log_append(app->log, ret, t->name, entries, n, callback, userdata);
}

/* ---- reading the request ---- */

typedef struct Fields {
        const MamHttpHead *head;
        char name[128], value[4U * MAM_EVENT_ATTRIBUTE_MAX + 2];
} Fields;

static bool next_field(size_t n, const char **ret_name, const char **ret_value, void *userdata) {
        Fields *f = userdata;
        const MamHttpField *field = n < f->head->n_fields ? &f->head->fields[n] : NULL;

        if (!field)
                return false;
        /* One that is cut is too long for an attribute too, and refused where it is one. */
        (void) snprintf(f->name, sizeof(f->name), "%.*s", (int) field->name.size, field->name.data);
        (void) snprintf(f->value, sizeof(f->value), "%.*s", (int) field->value.size, field->value.data);
        *ret_name = f->name;
        *ret_value = f->value;
        return true;
}

static int parse_binary(MamEvent **ret, ApiRequest *q, const char *data, size_t size, MamJsonError *error) {
        _cleanup_(mam_freep) Fields *f = malloc(sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->head = mam_http_exchange_head(q->x);
        return mam_event_from_binary(ret, next_field, f, data, size, error);
}

/* The trace of a request that somebody wants to see. */
static const char *sampled_trace(ApiRequest *q) {
        const char *value = mam_http_exchange_header(q->x, "traceparent");
        MamTrace trace;

        if (!value || mam_trace_parse(&trace, value, strlen(value)) < 0 || (trace.flags & 1) == 0 ||
            strlen(value) != MAM_TRACEPARENT_SIZE - 1)
                return NULL;
        return value;
}

static int publish_events(ApiRequest *q, const TopicInfo *t, MamEvent **events, size_t n) {
        PublishProblem problem = { 0 };
        Publish *p = q->more;
        int r;

        if (n == 0)
                return api_problem(q, 400, "There is no event in the batch");
        r = publish_check(q->app, t, api_subject(q), events, n, p->form == FORM_BATCH, &problem);
        if (r < 0)
                return problem.status > 0 ? answer_refused(q, &problem) : r;
        for (size_t i = 0; i < n; i++) {
                size_t size;

                (void) mam_event_text(events[i], &size);
                p->bytes += size;
        }
        r =
                        publish_append(q->app,
                                       &q->log_call,
                                       t,
                                       events,
                                       n,
                                       *p->stream ? p->stream : NULL,
                                       p->expected,
                                       sampled_trace(q),
                                       on_appended,
                                       q);
        return api_started(q, r, "topic");
}

static int parse_and_publish(ApiRequest *q, const TopicInfo *t) {
        MamEvent *events[LOG_APPEND_MAX];
        MamJsonError error = { 0 };
        Publish *p = q->more;
        size_t n = 1;
        int r;

        events[0] = NULL;
        if (p->form == FORM_BATCH)
                r = mam_event_parse_batch(events, LOG_APPEND_MAX, &n, p->data, p->size, &error);
        else if (p->form == FORM_STRUCTURED)
                r = mam_event_parse(events, p->data, p->size, &error);
        else
                r = parse_binary(events, q, p->data, p->size, &error);
        if (r == -EBADMSG || r == -EFBIG) {
                static const char *const malformed[] = { "malformed" };

                mam_metric_add(mam_metric_get(q->app->metrics.refused, malformed), 1);
                return api_problem_json(
                                q,
                                r == -EFBIG ? 413 : 400,
                                &error,
                                p->form == FORM_BATCH ? "This is no batch of CloudEvents 1.0"
                                                      : "This is no CloudEvent 1.0");
        }
        if (r < 0)
                return r;
        r = publish_events(q, t, events, n);
        publish_events_free(events, n);
        return r;
}

static void on_topic_found(ApiRequest *q, const TopicInfo *t) {
        q->topic = t;
        api_answered(q, parse_and_publish(q, t));
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        ApiRequest *q = userdata;
        Publish *p = q->more;

        if (error < 0)
                return 0;
        p->data = data;
        p->size = size;
        return api_with_topic(q, q->name, on_topic_found);
}

/* false: answered. */
static bool read_form(ApiRequest *q, Publish *p) {
        const char *type = mam_http_exchange_header(q->x, "Content-Type");
        size_t n = type ? strcspn(type, "; \t") : 0;

        if (n == 28 && strncasecmp(type, "application/cloudevents+json", n) == 0)
                p->form = FORM_STRUCTURED;
        else if (n == 34 && strncasecmp(type, "application/cloudevents-batch+json", n) == 0)
                p->form = FORM_BATCH;
        else if (mam_http_exchange_header(q->x, "ce-specversion"))
                p->form = FORM_BINARY;
        else {
                (void) mam_http_exchange_add_field(
                                q->x,
                                "Accept-Post",
                                "application/cloudevents+json, application/cloudevents-batch+json");
                (void) api_problem(
                                q,
                                415,
                                "Send CloudEvents 1.0: as application/cloudevents+json, as "
                                "application/cloudevents-batch+json, or in binary form with ce-specversion, "
                                "ce-id, ce-source and ce-type as fields");
                return false;
        }
        return true;
}

bool publish_stream_is_valid(const char *name) {
        size_t n = strlen(name);
        MamUtf8 utf8 = { 0 };

        if (n == 0 || n > API_STREAM_MAX)
                return false;
        for (const unsigned char *c = (const unsigned char *) name; *c; c++) {
                if (*c < 0x20 || *c == 0x7f)
                        return false;
        }
        return mam_utf8_feed(&utf8, name, n) && utf8.left == 0;
}

static bool read_stream(ApiRequest *q, Publish *p) {
        uint64_t expected = UINT64_MAX;
        int r = api_query(q, "stream", p->stream, sizeof(p->stream));

        if (r < 0)
                return false;
        if (r > 0 && !publish_stream_is_valid(p->stream)) {
                (void) api_problem(q, 400, "A stream has a name of 1 to %u bytes of text", API_STREAM_MAX);
                return false;
        }
        if (!api_query_number(q, "expectedVersion", 0, INT64_MAX, &expected))
                return false;
        if (expected != UINT64_MAX && r == 0) {
                (void) api_problem(q, 400, "expectedVersion is of a stream: say which with stream=NAME");
                return false;
        }
        p->expected = expected == UINT64_MAX ? LOG_VERSION_ANY : (int64_t) expected;
        return true;
}

/* Bodies that are read at once have a bound together, too. */
static bool take_room(ApiRequest *q) {
        const MamHttpHead *head = mam_http_exchange_head(q->x);
        size_t size = API_BODY_MAX;

        if (head->framing == MAM_HTTP_BODY_LENGTH && head->content_length < size)
                size = (size_t) head->content_length;
        if (q->app->body_bytes + size > BODIES_MAX) {
                (void) api_problem_errno(q, -EAGAIN, "topic");
                return false;
        }
        q->app->body_bytes += size;
        q->body_bytes = size;
        return true;
}

int handle_publish(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        Publish *p;
        void *more;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        r = api_more(q, &more, sizeof(Publish), NULL);
        if (r < 0)
                return r;
        p = more;
        p->begun_usec = mam_now_monotonic();
        if (!read_form(q, p) || !read_stream(q, p) || !take_room(q))
                return 0;
        return mam_http_exchange_read_body(x, API_BODY_MAX, on_body, q);
}
