/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics: /v1/topics and /v1/topics/{topic}
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api.h"

#define RETENTION_MIN_USEC (60 * MAM_USEC_PER_SEC)
#define RETENTION_USEC     (7ULL * 24 * 3600 * MAM_USEC_PER_SEC) /* where none is set */
#define RETENTION_MAX_USEC (10ULL * 366 * 24 * 3600 * MAM_USEC_PER_SEC)

#define VOLATILE_EVENTS 100000U /* as log.h says */
#define EVENT_BYTES_MAX (256U * 1024U)

static const char *const kinds[] = { [TOPIC_DURABLE] = "durable", [TOPIC_VOLATILE] = "volatile" };
static const char *const modes[] = {
        [SCHEMA_NONE] = "none",
        [SCHEMA_CHECK] = "check",
        [SCHEMA_REQUIRE] = "require",
};

/* ---- as JSON ---- */

static int append_span(MamBuffer *b, uint64_t usec) {
        static const struct {
                uint64_t usec;
                const char *unit;
        } units[] = { { 24 * 3600 * MAM_USEC_PER_SEC, "d" },
                      { 3600 * MAM_USEC_PER_SEC, "h" },
                      { 60 * MAM_USEC_PER_SEC, "min" },
                      { MAM_USEC_PER_SEC, "s" },
                      { MAM_USEC_PER_MSEC, "ms" } };

        if (usec == MAM_USEC_INFINITY)
                return mam_buffer_append_string(b, "\"forever\"");
        for (size_t i = 0; i < MAM_ELEMENTSOF(units); i++) {
                if (usec % units[i].usec == 0)
                        return mam_buffer_appendf(
                                        b,
                                        "\"%" PRIu64 "%s\"",
                                        usec / units[i].usec,
                                        units[i].unit);
        }
        return mam_buffer_appendf(b, "\"%" PRIu64 "ms\"", usec / MAM_USEC_PER_MSEC);
}

static int append_topic(MamBuffer *b, const TopicInfo *t) {
        const TopicSettings *s = &t->settings;
        char cursor[CURSOR_SIZE];
        int r;

        cursor_format(cursor, t->id, t->last);
        r = mam_buffer_appendf(
                        b,
                        "{\"name\":\"%s\",\"kind\":\"%s\",\"retention\":{\"time\":",
                        t->name,
                        kinds[s->kind]);
        if (r >= 0)
                r = append_span(b, s->retention_usec > 0 ? s->retention_usec : RETENTION_USEC);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"bytes\":%" PRIu64 ",\"events\":%" PRIu64
                                "},\"compact\":%s,\"archive\":%s,\"schema\":\"%s\",\"eventsPerSecond\":%" PRIu64
                                ",\"eventBytesMax\":%" PRIu64 ",\"first\":%" PRIi64 ",\"last\":%" PRIi64
                                ",\"cursor\":\"%s\",\"version\":%" PRIi64 "}",
                                s->retention_bytes,
                                s->retention_events > 0 || s->kind == TOPIC_DURABLE ? s->retention_events
                                                                                    : VOLATILE_EVENTS,
                                s->compact ? "true" : "false",
                                s->archive ? "true" : "false",
                                modes[s->schema],
                                s->events_per_second,
                                s->bytes_max > 0 ? s->bytes_max : EVENT_BYTES_MAX,
                                t->first,
                                t->last,
                                cursor,
                                t->version);
        return r;
}

static int answer_topic(ApiRequest *q, unsigned status, const TopicInfo *t) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r;

        r = append_topic(&b, t);
        if (r >= 0)
                r = api_add_etag(q, t->version);
        return r < 0 ? r : api_answer(q, status, "application/json", &b);
}

/* ---- from JSON ---- */

/* One of the names; 1, 0: absent, -EBADMSG. */
static int read_choice(
                json_object *o,
                const char *key,
                const char *const *names,
                size_t n,
                unsigned *ret,
                MamJsonError *e) {
        const char *value = NULL;
        int r;

        r = mam_json_get_string(o, "", key, &value, e);
        if (r <= 0)
                return r;
        for (unsigned i = 0; i < n; i++) {
                if (strcmp(names[i], value) == 0) {
                        *ret = i;
                        return 1;
                }
        }
        return mam_json_fail(
                        e,
                        "",
                        key,
                        "must be one of %s, %s%s%s",
                        names[0],
                        names[1],
                        n > 2 ? ", " : "",
                        n > 2 ? names[2] : "");
}

/* A size; 0 means no bound. */
static int read_zero_or_bytes(
                json_object *o,
                const char *parent,
                const char *key,
                uint64_t *ret,
                MamJsonError *e) {
        json_object *v;

        if (json_object_object_get_ex(o, key, &v) && json_object_is_type(v, json_type_int) &&
            json_object_get_int64(v) == 0) {
                *ret = 0;
                return 1;
        }
        return api_json_bytes(o, parent, key, ret, e);
}

static int read_retention(TopicSettings *s, json_object *o, MamJsonError *e) {
        static const char *const known[] = { "time", "bytes", "events", NULL };
        json_object *retention = NULL;
        int64_t events = 0;
        int r;

        r = mam_json_get_object(o, "", "retention", &retention, e);
        if (r <= 0)
                return r;
        r = api_json_known(retention, "/retention", known, e);
        if (r >= 0)
                r = api_json_timespan(retention, "/retention", "time", &s->retention_usec, e);
        if (r > 0 && s->retention_usec != MAM_USEC_INFINITY &&
            (s->retention_usec < RETENTION_MIN_USEC || s->retention_usec > RETENTION_MAX_USEC))
                return mam_json_fail(
                                e,
                                "/retention",
                                "time",
                                "must be from 1min to ten years, or \"forever\"");
        if (r >= 0)
                r = read_zero_or_bytes(retention, "/retention", "bytes", &s->retention_bytes, e);
        if (r >= 0)
                r = mam_json_get_int(retention, "/retention", "events", 0, INT64_MAX, &events, e);
        if (r > 0)
                s->retention_events = (uint64_t) events;
        return r < 0 ? r : 1;
}

/* What the body says, over what s has. */
static int read_settings(TopicSettings *s, json_object *o, MamJsonError *e) {
        static const char *const known[] = { "kind",   "retention", "compact",         "archive",
                                             "schema", "name",      "eventsPerSecond", "eventBytesMax",
                                             "first",  "last",      "version",         "cursor",
                                             NULL };
        unsigned kind = s->kind, mode = s->schema;
        int64_t rate = 0;
        int r;

        r = api_json_known(o, "", known, e);
        if (r >= 0)
                r = read_choice(o, "kind", kinds, MAM_ELEMENTSOF(kinds), &kind, e);
        if (r >= 0)
                r = read_retention(s, o, e);
        if (r >= 0)
                r = mam_json_get_bool(o, "", "compact", &s->compact, e);
        if (r >= 0)
                r = mam_json_get_bool(o, "", "archive", &s->archive, e);
        if (r >= 0)
                r = read_choice(o, "schema", modes, MAM_ELEMENTSOF(modes), &mode, e);
        if (r >= 0)
                r = mam_json_get_int(o, "", "eventsPerSecond", 0, 10000000, &rate, e);
        if (r > 0)
                s->events_per_second = (uint64_t) rate;
        if (r >= 0)
                r = read_zero_or_bytes(o, "", "eventBytesMax", &s->bytes_max, e);
        if (r < 0)
                return r;
        s->kind = (TopicKind) kind;
        s->schema = (SchemaMode) mode;
        if (s->bytes_max > MAM_EVENT_SIZE_MAX)
                return mam_json_fail(e, "", "eventBytesMax", "must be at most %u", MAM_EVENT_SIZE_MAX);
        if (s->kind == TOPIC_VOLATILE && (s->compact || s->archive))
                return mam_json_fail(e, "", "kind", "is volatile: it cannot be compacted or archived");
        return 0;
}

/* false: answered. */
static bool settings_from_body(ApiRequest *q, TopicSettings *s) {
        MamJsonError error;

        if (read_settings(s, q->body, &error) >= 0)
                return true;
        api_answered(q, api_problem_json(q, 422, &error, "The settings are wrong"));
        return false;
}

/* ---- handlers ---- */

typedef struct List {
        MamBuffer b;
        bool any;
        int r;
} List;

static void list_done(void *more) {
        mam_buffer_done(&((List *) more)->b);
}

static void on_listed(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;
        List *l = q->more;

        if (r >= 0 && topic) {
                if (l->r >= 0)
                        l->r = mam_buffer_append_string(&l->b, l->any ? "," : "{\"topics\":[");
                if (l->r >= 0)
                        l->r = append_topic(&l->b, topic);
                l->any = true;
                return;
        }
        q->log_call = log_call_free(q->log_call);
        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "topic"));
                return;
        }
        r = l->r;
        if (r >= 0)
                r = mam_buffer_append_string(&l->b, l->any ? "]}" : "{\"topics\":[]}");
        api_answered(q, r < 0 ? r : api_answer(q, 200, "application/json", &l->b));
}

int handle_topic_list(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        void *more;
        int r;

        r = api_begin(&q, x, userdata, NULL);
        if (r <= 0)
                return r;
        r = api_more(q, &more, sizeof(List), list_done);
        if (r < 0)
                return r;
        return api_started(q, log_topic_list(q->app->log, &q->log_call, on_listed, q), "topic");
}

/* Answers 200 with the topic. */
static void on_one(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;

        q->log_call = log_call_free(q->log_call);
        api_answered(q, r < 0 ? api_problem_errno(q, r, "topic") : answer_topic(q, 200, topic));
}

int handle_topic_get(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        return api_started(q, log_topic_get(q->app->log, &q->log_call, q->name, on_one, q), "topic");
}

static void on_created(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;
        TopicSettings *s = q->more;

        q->log_call = log_call_free(q->log_call);
        if (r == -EEXIST && q->if_none_match) {
                api_answered(q, api_problem(q, 412, "There is such a topic already"));
        } else if (r == -EEXIST) {
                r = log_topic_change(
                                q->app->log,
                                &q->log_call,
                                q->name,
                                s,
                                q->if_match < 0 ? 0 : q->if_match,
                                on_one,
                                q);
                api_answered(q, api_started(q, r, "topic"));
        } else
                api_answered(q, r < 0 ? api_problem_errno(q, r, "topic") : answer_topic(q, 201, topic));
}

static int put_body(ApiRequest *q) {
        TopicSettings *s;
        void *more;
        int r;

        r = api_more(q, &more, sizeof(TopicSettings), NULL);
        if (r < 0)
                return r;
        s = more;
        if (!settings_from_body(q, s))
                return 0;
        if (q->if_match >= 0) /* only one that is there can have this version */
                r = log_topic_change(q->app->log, &q->log_call, q->name, s, q->if_match, on_one, q);
        else
                r = log_topic_create(q->app->log, &q->log_call, q->name, s, on_created, q);
        return api_started(q, r, "topic");
}

int handle_topic_put(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        return api_check_conditions(q) ? api_read_json(q, put_body) : 0;
}

static void on_read_for_patch(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(log_call_freep) _unused_ LogCall *done = MAM_TAKE(q->log_call);
        TopicSettings s;

        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "topic"));
                return;
        }
        if (q->if_match >= 0 && q->if_match != topic->version) {
                api_answered(q, api_problem_errno(q, -ESTALE, "topic"));
                return;
        }
        s = topic->settings;
        if (!settings_from_body(q, &s))
                return;
        r = log_topic_change(q->app->log, &q->log_call, q->name, &s, topic->version, on_one, q);
        api_answered(q, api_started(q, r, "topic"));
}

static int patch_body(ApiRequest *q) {
        return api_started(
                        q,
                        log_topic_get(q->app->log, &q->log_call, q->name, on_read_for_patch, q),
                        "topic");
}

int handle_topic_patch(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        return api_check_conditions(q) ? api_read_json(q, patch_body) : 0;
}

static void on_deleted(int r, const TopicInfo *topic, void *userdata) {
        ApiRequest *q = userdata;

        q->log_call = log_call_free(q->log_call);
        api_answered(q, r < 0 ? api_problem_errno(q, r, "topic") : api_answer_empty(q, 204));
}

int handle_topic_delete(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        return api_started(q, log_topic_delete(q->app->log, &q->log_call, q->name, on_deleted, q), "topic");
}
