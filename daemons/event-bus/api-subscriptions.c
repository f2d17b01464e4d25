/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Subscriptions: /v1/subscriptions and /v1/subscriptions/{subscription}
 *
 * PUT makes one or replaces its settings, PATCH changes what it names. Where it begins is said once, when it
 * is made ("from"); later, seek says it.
 */

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "event-bus/api.h"
#include "event-bus/push/secret.h"

#define ACK_MIN_USEC     (MAM_USEC_PER_SEC)
#define ACK_MAX_USEC     (12ULL * 3600 * MAM_USEC_PER_SEC)
#define BACKOFF_MAX_USEC (24ULL * 3600 * MAM_USEC_PER_SEC)

/* As delivery.h says where nothing is set. */
#define ACK_USEC    (30 * MAM_USEC_PER_SEC)
#define ATTEMPTS    16U
#define BACKOFF_MIN (MAM_USEC_PER_SEC)
#define BACKOFF_MAX (600 * MAM_USEC_PER_SEC)
#define OUTSTANDING 10000U
#define PARALLEL    8U

typedef struct Settings {
        SubscriptionSettings s; /* its texts are borrowed: from the body, or from below */
        Place from;
        char *topic, *filters, *url, *mode; /* owned; what was there before a PATCH */
        char *secret;                       /* owned, wiped; as it is stored */
} Settings;

static void settings_done(void *more) {
        Settings *s = more;

        free(s->topic);
        free(s->filters);
        free(s->url);
        free(s->mode);
        (void) mam_secret_free(s->secret);
}

/* ---- as JSON ---- */

static int append_push(MamBuffer *b, const SubscriptionSettings *s) {
        int r;

        if (!s->push_url)
                return 0;
        r = mam_buffer_append_string(b, ",\"push\":{\"url\":");
        if (r >= 0)
                r = api_append_string(b, s->push_url);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"mode\":\"%s\",\"parallel\":%u}",
                                s->push_mode ? s->push_mode : "structured",
                                s->push_parallel > 0 ? s->push_parallel : PARALLEL);
        return r;
}

static int append_settings(MamBuffer *b, const SubscriptionInfo *i) {
        const SubscriptionSettings *s = &i->settings;
        int r;

        r = mam_buffer_appendf(
                        b,
                        "{\"name\":\"%s\",\"topic\":\"%s\",\"filters\":%s,\"ackDeadline\":\"%" PRIu64
                        "ms\",\"maxAttempts\":",
                        i->name,
                        s->topic,
                        s->filters ? s->filters : "[]",
                        (s->ack_usec > 0 ? s->ack_usec : ACK_USEC) / MAM_USEC_PER_MSEC);
        if (r >= 0)
                r = s->attempts_max == UINT_MAX
                                    ? mam_buffer_append_string(b, "null")
                                    : mam_buffer_appendf(
                                                      b,
                                                      "%u",
                                                      s->attempts_max > 0 ? s->attempts_max : ATTEMPTS);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"backoff\":{\"min\":\"%" PRIu64 "ms\",\"max\":\"%" PRIu64
                                "ms\"},\"maxOutstanding\":%u,\"paused\":%s",
                                (s->backoff_min_usec > 0 ? s->backoff_min_usec : BACKOFF_MIN) / 1000,
                                (s->backoff_max_usec > 0 ? s->backoff_max_usec : BACKOFF_MAX) / 1000,
                                s->outstanding_max > 0 ? s->outstanding_max : OUTSTANDING,
                                s->paused ? "true" : "false");
        return r < 0 ? r : append_push(b, s);
}

static int append_subscription(MamBuffer *b, const SubscriptionInfo *i) {
        int r;

        r = append_settings(b, i);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"settledTo\":%" PRIi64 ",\"lag\":%" PRIu64 ",\"oldestSeconds\":%.3f"
                                ",\"outstanding\":%" PRIu64 ",\"waiting\":%" PRIu64 ",\"dead\":%" PRIu64
                                ",\"version\":%" PRIi64 "}",
                                i->settled_to,
                                i->lag,
                                (double) i->oldest_usec / (double) MAM_USEC_PER_SEC,
                                i->outstanding,
                                i->waiting,
                                i->dead,
                                i->version);
        return r;
}

static int answer_subscription(ApiRequest *q, unsigned status, const SubscriptionInfo *i) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r;

        r = append_subscription(&b, i);
        if (r >= 0)
                r = api_add_etag(q, i->version);
        return r < 0 ? r : api_answer(q, status, "application/json", &b);
}

/* ---- from JSON ---- */

/* An unsigned from min to max; null and 0 are the default. */
static int read_unsigned(
                json_object *o,
                const char *parent,
                const char *key,
                unsigned max,
                unsigned *ret,
                MamJsonError *e) {
        int64_t v = 0;
        int r;

        r = mam_json_get_int(o, parent, key, 1, max, &v, e);
        if (r > 0)
                *ret = (unsigned) v;
        return r;
}

static int read_span(
                json_object *o,
                const char *parent,
                const char *key,
                uint64_t min,
                uint64_t max,
                uint64_t *ret,
                MamJsonError *e) {
        char low[48], high[48];
        int r;

        r = api_json_timespan(o, parent, key, ret, e);
        if (r <= 0 || (*ret >= min && *ret <= max))
                return r;
        mam_format_timespan(low, min);
        mam_format_timespan(high, max);
        return mam_json_fail(e, parent, key, "must be from %s to %s", low, high);
}

static int read_filters(Settings *s, json_object *o, MamJsonError *e) {
        json_object *filters = NULL;
        Filter *f = NULL;
        int r;

        r = mam_json_get_array(o, "", "filters", &filters, e);
        if (r <= 0) {
                if (r == 0 && json_object_object_get_ex(o, "filters", NULL))
                        s->s.filters = NULL; /* null */
                return r;
        }
        r = filter_parse(&f, filters, "/filters", e);
        filter_free(f);
        if (r >= 0)
                s->s.filters = json_object_array_length(filters) > 0 ? mam_json_to_string(filters) : NULL;
        return r;
}

static int read_attempts(SubscriptionSettings *s, json_object *o, MamJsonError *e) {
        json_object *v;

        if (json_object_object_get_ex(o, "maxAttempts", &v) && !v) {
                s->attempts_max = UINT_MAX;
                return 1;
        }
        return read_unsigned(o, "", "maxAttempts", 1000, &s->attempts_max, e);
}

static int read_backoff(SubscriptionSettings *s, json_object *o, MamJsonError *e) {
        static const char *const known[] = { "min", "max", NULL };
        json_object *backoff = NULL;
        int r;

        r = mam_json_get_object(o, "", "backoff", &backoff, e);
        if (r <= 0)
                return r;
        r = api_json_known(backoff, "/backoff", known, e);
        if (r >= 0)
                r = read_span(backoff, "/backoff", "min", 10000, BACKOFF_MAX_USEC, &s->backoff_min_usec, e);
        if (r >= 0)
                r = read_span(backoff, "/backoff", "max", 10000, BACKOFF_MAX_USEC, &s->backoff_max_usec, e);
        return r;
}

/* Standard Webhooks: "whsec_" and 24 to 64 bytes in base64. */
static int read_secret(ApiRequest *q, Settings *s, const char *secret, MamJsonError *e) {
        size_t n = strlen(secret);
        int r;

        if (n < 38 || n > 94 || strncmp(secret, "whsec_", 6) != 0 ||
            strspn(secret + 6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != n - 6)
                return mam_json_fail(
                                e,
                                "/push",
                                "secret",
                                "must be \"whsec_\" and 24 to 64 random bytes in base64");
        if (!q->app->push_options.key)
                return mam_json_fail(
                                e,
                                "/push",
                                "secret",
                                "cannot be kept: this bus has no key (mam-setup makes it)");
        r = push_secret_seal(&s->secret, q->app->push_options.key, q->name, secret);
        s->s.push_secret = s->secret;
        return r;
}

static int read_push(ApiRequest *q, Settings *s, json_object *o, MamJsonError *e) {
        static const char *const known[] = { "url", "secret", "mode", "parallel", NULL };
        _cleanup_(mam_freep) char *problem = NULL;
        const char *url = NULL, *secret = NULL, *mode = NULL;
        json_object *push = NULL;
        int r;

        r = mam_json_get_object(o, "", "push", &push, e);
        if (r <= 0) {
                if (r == 0 && json_object_object_get_ex(o, "push", NULL)) {
                        s->s.push_url = NULL; /* null: pull from now on */
                        s->s.push_secret = "";
                }
                return r;
        }
        r = api_json_known(push, "/push", known, e);
        if (r >= 0)
                r = mam_json_get_string(push, "/push", "url", &url, e);
        if (r >= 0)
                r = mam_json_get_string(push, "/push", "secret", &secret, e);
        if (r >= 0)
                r = mam_json_get_string(push, "/push", "mode", &mode, e);
        if (r >= 0)
                r = read_unsigned(push, "/push", "parallel", 64, &s->s.push_parallel, e);
        if (r < 0)
                return r;
        if (mode && strcmp(mode, "structured") != 0 && strcmp(mode, "binary") != 0 &&
            strcmp(mode, "batch") != 0)
                return mam_json_fail(e, "/push", "mode", "must be structured, binary or batch");
        if (mode)
                s->s.push_mode = mode;
        if (url)
                s->s.push_url = url;
        if (!s->s.push_url)
                return mam_json_fail(e, "/push", "url", "is required");
        if (url && pusher_check_url(&q->app->push_options, url, &problem) < 0)
                return mam_json_fail(e, "/push", "url", "%s", problem ? problem : "cannot be called");
        if (!secret)
                return 0;
        if (*secret == '\0') {
                s->s.push_secret = "";
                return 0;
        }
        return read_secret(q, s, secret, e);
}

static int read_settings(ApiRequest *q, Settings *s, MamJsonError *e) {
        static const char *const known[] = {
                "name",           "topic",       "filters", "from",    "after",
                "ackDeadline",    "maxAttempts", "backoff", "push",    "paused",
                "maxOutstanding", "settledTo",   "lag",     "waiting", "oldestSeconds",
                "version",        "outstanding", "dead",    NULL
        };
        json_object *o = q->body;
        const char *from = NULL;
        int r;

        r = api_json_known(o, "", known, e);
        if (r >= 0)
                r = mam_json_get_string(o, "", "topic", &s->s.topic, e);
        if (r >= 0 && !s->s.topic)
                r = mam_json_fail(e, "", "topic", "is required");
        if (r >= 0 && !topic_name_is_valid(s->s.topic))
                r = mam_json_fail(e, "", "topic", "is not the name of a topic");
        if (r >= 0)
                r = read_filters(s, o, e);
        if (r >= 0)
                r = mam_json_get_string(o, "", "from", &from, e);
        if (r == 0)
                r = mam_json_get_string(o, "", "after", &from, e);
        if (r >= 0 && from && place_parse(&s->from, from) < 0)
                r =
                                mam_json_fail(e,
                                              "",
                                              "from",
                                              "must be earliest, latest, a position, a time, or a cursor");
        if (r >= 0)
                r = read_span(o, "", "ackDeadline", ACK_MIN_USEC, ACK_MAX_USEC, &s->s.ack_usec, e);
        if (r >= 0)
                r = read_attempts(&s->s, o, e);
        if (r >= 0)
                r = read_backoff(&s->s, o, e);
        if (r >= 0)
                r = read_unsigned(o, "", "maxOutstanding", 100000, &s->s.outstanding_max, e);
        if (r >= 0)
                r = mam_json_get_bool(o, "", "paused", &s->s.paused, e);
        return r < 0 ? r : read_push(q, s, o, e);
}

/* false: answered. */
static bool settings_from_body(ApiRequest *q, Settings *s) {
        MamJsonError error = { 0 };
        int r;

        r = read_settings(q, s, &error);
        if (r == -EBADMSG)
                api_answered(q, api_problem_json(q, 422, &error, "The subscription is wrong"));
        else if (r < 0)
                api_answered(q, r);
        return r >= 0;
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

static void on_listed(int r, const SubscriptionInfo *s, void *userdata) {
        ApiRequest *q = userdata;
        List *l = q->more;

        if (r >= 0 && s) {
                if (l->r >= 0)
                        l->r = mam_buffer_append_string(&l->b, l->any ? "," : "{\"subscriptions\":[");
                if (l->r >= 0)
                        l->r = append_subscription(&l->b, s);
                l->any = true;
                return;
        }
        q->delivery_call = delivery_call_free(q->delivery_call);
        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        r = l->r;
        if (r >= 0)
                r = mam_buffer_append_string(&l->b, l->any ? "]}" : "{\"subscriptions\":[]}");
        api_answered(q, r < 0 ? r : api_answer(q, 200, "application/json", &l->b));
}

int handle_subscription_list(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        void *more;
        int r;

        r = api_begin(&q, x, userdata, NULL);
        if (r <= 0)
                return r;
        r = api_more(q, &more, sizeof(List), list_done);
        if (r < 0)
                return r;
        return api_started(
                        q,
                        delivery_subscription_list(q->app->delivery, &q->delivery_call, on_listed, q),
                        "subscription");
}

/* Answers 200 with the subscription. */
static void on_one(int r, const SubscriptionInfo *s, void *userdata) {
        ApiRequest *q = userdata;

        q->delivery_call = delivery_call_free(q->delivery_call);
        api_answered(q, r < 0 ? api_problem_errno(q, r, "subscription") : answer_subscription(q, 200, s));
}

int handle_subscription_get(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_started(
                        q,
                        delivery_subscription_get(q->app->delivery, &q->delivery_call, q->name, on_one, q),
                        "subscription");
}

static int change(ApiRequest *q, int64_t version) {
        Settings *s = q->more;

        return api_started(
                        q,
                        delivery_subscription_change(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        &s->s,
                                        version,
                                        on_one,
                                        q),
                        "subscription");
}

static void on_created(int r, const SubscriptionInfo *s, void *userdata) {
        ApiRequest *q = userdata;

        q->delivery_call = delivery_call_free(q->delivery_call);
        if (r == -EEXIST && q->if_none_match)
                api_answered(q, api_problem(q, 412, "There is such a subscription already"));
        else if (r == -EEXIST)
                api_answered(q, change(q, q->if_match < 0 ? 0 : q->if_match));
        else if (r == -ENOENT)
                api_answered(q, api_problem_errno(q, r, "topic"));
        else
                api_answered(q,
                             r < 0 ? api_problem_errno(q, r, "subscription")
                                   : answer_subscription(q, 201, s));
}

static void on_start_known(ApiRequest *q, const TopicInfo *t, int64_t first_wanted) {
        Settings *s = q->more;
        int r;

        s->s.start = first_wanted;
        r = delivery_subscription_create(q->app->delivery, &q->delivery_call, q->name, &s->s, on_created, q);
        api_answered(q, api_started(q, r, "subscription"));
}

static int put_body(ApiRequest *q) {
        Settings *s;
        void *more;
        int r;

        r = api_more(q, &more, sizeof(Settings), settings_done);
        if (r < 0)
                return r;
        s = more;
        s->from.kind = PLACE_LATEST;
        if (!settings_from_body(q, s))
                return 0;
        if (q->if_match >= 0)
                return change(q, q->if_match);
        return api_resolve(q, s->s.topic, &s->from, on_start_known);
}

int handle_subscription_put(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_check_conditions(q) ? api_read_json(q, put_body) : 0;
}

static int copy(char **owned, const char **borrowed) {
        if (!*borrowed)
                return 0;
        *owned = strdup(*borrowed);
        *borrowed = *owned;
        return *owned ? 0 : -ENOMEM;
}

static void on_read_for_patch(int r, const SubscriptionInfo *info, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);
        Settings *s = q->more;

        if (r >= 0 && q->if_match >= 0 && q->if_match != info->version)
                r = -ESTALE;
        if (r < 0) {
                api_answered(q, api_problem_errno(q, r, "subscription"));
                return;
        }
        s->s = info->settings;
        s->s.push_secret = NULL; /* the one that is stored stays */
        r = copy(&s->topic, &s->s.topic);
        if (r >= 0)
                r = copy(&s->filters, &s->s.filters);
        if (r >= 0)
                r = copy(&s->url, &s->s.push_url);
        if (r >= 0)
                r = copy(&s->mode, &s->s.push_mode);
        if (r < 0) {
                api_answered(q, r);
                return;
        }
        if (settings_from_body(q, s))
                api_answered(q, change(q, info->version));
}

static int patch_body(ApiRequest *q) {
        void *more;
        int r;

        r = api_more(q, &more, sizeof(Settings), settings_done);
        if (r < 0)
                return r;
        return api_started(
                        q,
                        delivery_subscription_get(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        on_read_for_patch,
                                        q),
                        "subscription");
}

int handle_subscription_patch(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_check_conditions(q) ? api_read_json(q, patch_body) : 0;
}

static void on_deleted(int r, const SubscriptionInfo *s, void *userdata) {
        ApiRequest *q = userdata;

        q->delivery_call = delivery_call_free(q->delivery_call);
        api_answered(q, r < 0 ? api_problem_errno(q, r, "subscription") : api_answer_empty(q, 204));
}

int handle_subscription_delete(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_started(
                        q,
                        delivery_subscription_delete(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        on_deleted,
                                        q),
                        "subscription");
}

/* ---- seek ---- */

static void on_sought(int r, const SubscriptionInfo *s, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);

        if (r >= 0)
                r = delivery_subscription_get(q->app->delivery, &q->delivery_call, q->name, on_one, q);
        api_answered(q, api_started(q, r, "subscription"));
}

static void on_seek_place(ApiRequest *q, const TopicInfo *t, int64_t first_wanted) {
        int r;

        r = delivery_seek(q->app->delivery, &q->delivery_call, q->name, first_wanted, on_sought, q);
        api_answered(q, api_started(q, r, "subscription"));
}

static void on_seek_subscription(int r, const SubscriptionInfo *s, void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(delivery_call_freep) _unused_ DeliveryCall *done = MAM_TAKE(q->delivery_call);

        if (r < 0)
                api_answered(q, api_problem_errno(q, r, "subscription"));
        else
                api_answered(q, api_resolve(q, s->settings.topic, &q->place, on_seek_place));
}

static int seek_body(ApiRequest *q) {
        static const char *const known[] = { "to", NULL };
        const char *to = NULL;
        MamJsonError error;
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0)
                r = mam_json_get_string(q->body, "", "to", &to, &error);
        if (r >= 0 && (!to || place_parse(&q->place, to) < 0))
                r =
                                mam_json_fail(&error,
                                              "",
                                              "to",
                                              "must be earliest, latest, a position, a time, or a cursor");
        if (r < 0)
                return api_problem_json(q, 422, &error, "It is not clear where to seek to");
        return api_started(
                        q,
                        delivery_subscription_get(
                                        q->app->delivery,
                                        &q->delivery_call,
                                        q->name,
                                        on_seek_subscription,
                                        q),
                        "subscription");
}

int handle_subscription_seek(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "subscription");
        if (r <= 0)
                return r;
        return api_read_json(q, seek_body);
}
