/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What all handlers share
 */

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "event-bus/api.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/quantity.h"
#include "libmam/util/zalloc.h"

#define JSON_BODY_MAX (512U * 1024U)

/* ---- the request ---- */

void api_release(ApiRequest *q) {
        (void) log_call_free(q->log_call);
        (void) delivery_call_free(q->delivery_call);
        (void) schema_call_free(q->schema_call);
        if (q->more_free)
                q->more_free(q->more);
        free(q->more);
        q->app->body_bytes -= q->body_bytes;
        json_object_put(q->body);
        free(q);
}

static void on_request_done(MamHttpExchange *x, void *userdata) {
        api_release(userdata);
}

static bool check_database(ApiRequest *q) {
        uint64_t since = q->app->away_usec;

        if (q->app->log && (since == 0 || mam_now_monotonic() - since < API_AWAY_MAX_USEC))
                return true;
        (void) api_problem_errno(q, -ENOTCONN, NULL);
        return false;
}

int api_begin(ApiRequest **ret, MamHttpExchange *x, App *app, const char *parameter) {
        ApiRequest *q;

        assert(ret);
        assert(x);
        assert(app);

        q = mam_zalloc(sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->x = x;
        q->app = app;
        q->if_match = -1;
        mam_http_exchange_set_on_done(x, on_request_done, q);
        if (!check_database(q))
                return 0;
        if (parameter) {
                q->name = mam_route_parameter(x, parameter);
                if (!topic_name_is_valid(q->name)) {
                        (void) api_problem(
                                        q,
                                        strcmp(mam_http_exchange_method(x), "PUT") == 0 ? 400 : 404,
                                        "A %s has a name of 1 to 128 characters out of a-z, 0-9, '.', '_' and '-' "
                                        "that begins and ends with a letter or digit",
                                        parameter);
                        return 0;
                }
        }
        *ret = q;
        return 1;
}

int api_more(ApiRequest *q, void **ret, size_t size, void (*done)(void *more)) {
        assert(!q->more);

        q->more = mam_zalloc(size);
        if (!q->more)
                return -ENOMEM;
        q->more_free = done;
        *ret = q->more;
        return 0;
}

const char *api_subject(ApiRequest *q) {
        const MamIdentity *i = mam_service_identity(q->x);

        return i && i->subject ? i->subject : "";
}

/* ---- answers ---- */

void api_answered(ApiRequest *q, int r) {
        if (r < 0 && !mam_http_exchange_is_started(q->x))
                mam_http_exchange_abort(q->x);
}

int api_problem(ApiRequest *q, unsigned status, const char *format, ...) {
        char detail[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(detail, sizeof(detail), format, ap);
        va_end(ap);
        return mam_http_exchange_problem(q->x, status, NULL, "%s", detail);
}

int api_problem_with(
                ApiRequest *q,
                unsigned status,
                const char *name,
                const char *json,
                const char *format,
                ...) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char detail[512];
        va_list ap;
        int r;

        va_start(ap, format);
        (void) vsnprintf(detail, sizeof(detail), format, ap);
        va_end(ap);
        r = mam_buffer_appendf(
                        &b,
                        "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":",
                        mam_http_status_text(status),
                        status);
        if (r >= 0)
                r = api_append_string(&b, detail);
        if (r >= 0)
                r = mam_buffer_appendf(&b, ",\"%s\":%s}", name, json);
        return r < 0 ? r : api_answer(q, status, "application/problem+json", &b);
}

int api_problem_json(ApiRequest *q, unsigned status, const MamJsonError *error, const char *what) {
        return mam_http_exchange_problem(
                        q->x,
                        status,
                        error->pointer,
                        "%s: %s%s%s",
                        what,
                        error->pointer,
                        *error->pointer ? " " : "",
                        error->message);
}

static int unavailable(ApiRequest *q, const char *why) {
        (void) mam_http_exchange_add_field(q->x, "Retry-After", "1");
        return api_problem(q, 503, "%s", why);
}

int api_problem_errno(ApiRequest *q, int error, const char *thing) {
        switch (error) {
        case -ENOENT:
                return api_problem(q, 404, "There is no such %s", thing);
        case -EEXIST:
                return api_problem(q, 409, "There is such a %s already", thing);
        case -ESTALE:
                return api_problem(
                                q,
                                412,
                                "The %s has changed since: read it again, and send its ETag as If-Match",
                                thing);
        case -ENOTCONN:
                return unavailable(q, "The database is not reachable: try again");
        case -ECONNRESET:
                return unavailable(
                                q,
                                "The connection to the database broke: try again; events with the same source "
                                "and id are stored once");
        case -EAGAIN:
        case -ECANCELED:
        case -ETIMEDOUT:
                return unavailable(q, "The bus is too busy: try again");
        case -ENOSPC:
                return api_problem(
                                q,
                                507,
                                "There is no room for it: a bound on the number or size of such things is "
                                "reached");
        case -EFBIG:
                return api_problem(q, 413, "An event is larger than the topic allows");
        case -EOPNOTSUPP:
                return api_problem(q, 422, "This is not possible with a volatile topic");
        case -EINVAL:
                return api_problem(q, 400, "A value of this request is not allowed for a %s", thing);
        default:
                mam_log_full(LOG_ERR,
                             MAM_MESSAGE_DATABASE_QUERY_FAILED,
                             NULL,
                             "Request %s failed: %s",
                             mam_http_exchange_request_id(q->x),
                             strerrordesc_np(-error));
                return api_problem(q, 500, "The request failed; the log has the reason");
        }
}

int api_started(ApiRequest *q, int r, const char *thing) {
        return r >= 0 ? 0 : r == -ENOMEM ? r : api_problem_errno(q, r, thing);
}

int api_answer(ApiRequest *q, unsigned status, const char *type, const MamBuffer *body) {
        return mam_http_exchange_respond(q->x, status, type, mam_buffer_bytes(body), body->size);
}

int api_answer_json(ApiRequest *q, unsigned status, json_object *o) {
        _cleanup_(json_object_putp) _unused_ json_object *owned = o;
        const char *text = o ? mam_json_to_string(o) : NULL;

        if (!text)
                return -ENOMEM;
        return mam_http_exchange_respond(q->x, status, "application/json", text, strlen(text));
}

int api_answer_empty(ApiRequest *q, unsigned status) {
        return mam_http_exchange_respond(q->x, status, NULL, NULL, 0);
}

int api_add_etag(ApiRequest *q, int64_t version) {
        char tag[32];

        (void) snprintf(tag, sizeof(tag), "\"%" PRIi64 "\"", version);
        return mam_http_exchange_add_field(q->x, "ETag", tag);
}

/* ---- what was asked ---- */

int api_query(ApiRequest *q, const char *key, char *ret, size_t size) {
        int r = mam_http_query_get(mam_http_exchange_head(q->x)->query, key, ret, size);

        if (r < 0) {
                (void) api_problem(
                                q,
                                400,
                                "The parameter \"%s\" is %s",
                                key,
                                r == -ENOBUFS ? "too long" : "not percent-encoded correctly");
                return -EINVAL;
        }
        return r;
}

bool api_query_number(ApiRequest *q, const char *key, uint64_t min, uint64_t max, uint64_t *ret) {
        char text[32], *end;
        unsigned long long v;
        int r = api_query(q, key, text, sizeof(text));

        if (r <= 0)
                return r == 0;
        errno = 0;
        v = strtoull(text, &end, 10);
        if (*text < '0' || *text > '9' || *end || errno != 0 || v < min || v > max) {
                (void) api_problem(
                                q,
                                400,
                                "The parameter \"%s\" must be a number from %" PRIu64 " to %" PRIu64,
                                key,
                                min,
                                max);
                return false;
        }
        *ret = v;
        return true;
}

bool api_query_flag(ApiRequest *q, const char *key, bool *ret) {
        char text[8];
        int r = api_query(q, key, text, sizeof(text));

        if (r <= 0)
                return r == 0;
        if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0 || strcmp(text, "") == 0) {
                *ret = true;
                return true;
        }
        if (strcmp(text, "0") == 0 || strcmp(text, "false") == 0) {
                *ret = false;
                return true;
        }
        (void) api_problem(q, 400, "The parameter \"%s\" must be 1 or 0", key);
        return false;
}

bool api_query_timespan(ApiRequest *q, const char *key, uint64_t max, uint64_t *ret_usec) {
        uint64_t usec;
        char text[32];
        int r = api_query(q, key, text, sizeof(text));

        if (r <= 0)
                return r == 0;
        if (mam_parse_timespan(text, &usec) < 0 || usec > max) {
                char span[48];

                mam_format_timespan(span, max);
                (void) api_problem(
                                q,
                                400,
                                "The parameter \"%s\" must be a time such as 20s, at most %s",
                                key,
                                span);
                return false;
        }
        *ret_usec = usec;
        return true;
}

/* All parameters "filter" of the query, decoded into text. */
static int collect_filters(MamHttpRange query, char *text, size_t size, const char **terms, size_t *n) {
        const char *p = query.data, *end = p ? p + query.size : NULL;

        *n = 0;
        while (p && p < end) {
                const char *next = memchr(p, '&', (size_t) (end - p));
                size_t length = (size_t) ((next ? next : end) - p);
                int r;

                if (length >= 7 && strncmp(p, "filter=", 7) == 0) {
                        if (*n >= API_FILTERS_MAX)
                                return -E2BIG;
                        r = mam_http_query_get((MamHttpRange){ p, length }, "filter", text, size);
                        if (r < 0)
                                return r;
                        terms[(*n)++] = text;
                        length = strlen(text) + 1;
                        text += length;
                        size -= length;
                }
                p = next ? next + 1 : NULL;
        }
        return 0;
}

static int parse_filters(ApiRequest *q, const char *text, Filter **ret, MamJsonError *error) {
        _cleanup_(json_object_putp) json_object *array = NULL;
        int r;

        r = mam_json_parse(&array, text, strlen(text), error);
        return r < 0 ? r : filter_parse(ret, array, "", error);
}

bool api_query_filter(ApiRequest *q, Filter **ret) {
        MamHttpRange query = mam_http_exchange_head(q->x)->query;
        _cleanup_(mam_freep) char *text = NULL;
        const char *terms[API_FILTERS_MAX];
        MamJsonError error = { 0 };
        size_t n;
        int r;

        if (query.size == 0 || !memmem(query.data, query.size, "filter", 6))
                return true;
        text = malloc(FILTER_TEXT_MAX + 1);
        if (!text) {
                api_answered(q, -ENOMEM);
                return false;
        }
        r = mam_http_query_get(query, "filters", text, FILTER_TEXT_MAX + 1);
        if (r > 0) {
                r = parse_filters(q, text, ret, &error);
        } else if (r == 0) {
                r = collect_filters(query, text, FILTER_TEXT_MAX + 1, terms, &n);
                if (r >= 0)
                        r = filter_parse_short(ret, terms, n, &error);
        }
        if (r == -EBADMSG) {
                api_answered(q, api_problem_json(q, 400, &error, "The filter is wrong"));
        } else if (r == -ENOMEM) {
                api_answered(q, r);
        } else if (r < 0)
                api_answered(q, api_problem(q, 400, "The filters of the query are malformed or too many"));
        return r >= 0;
}

bool api_check_conditions(ApiRequest *q) {
        const char *match = mam_http_exchange_header(q->x, "If-Match");
        const char *none = mam_http_exchange_header(q->x, "If-None-Match");
        char *end;

        if (none && strcmp(none, "*") == 0)
                q->if_none_match = true;
        if (!match || strcmp(match, "*") == 0)
                return true;
        if (*match == '"' && match[1] >= '0' && match[1] <= '9' && strlen(match) < 24) {
                q->if_match = strtoll(match + 1, &end, 10);
                if (strcmp(end, "\"") == 0)
                        return true;
        }
        (void) api_problem(q, 400, "If-Match must be one ETag as it was read, such as \"3\"");
        return false;
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        ApiRequest *q = userdata;
        MamJsonError json_error;
        int r;

        if (error < 0)
                return 0; /* the server answers */
        r = mam_json_parse(&q->body, data, size, &json_error);
        if (r == -EBADMSG)
                return api_problem_json(q, 400, &json_error, "The body is not JSON");
        if (r < 0)
                return r;
        if (!json_object_is_type(q->body, json_type_object))
                return api_problem(q, 400, "The body must be a JSON object");
        return q->with_body(q);
}

int api_read_json(ApiRequest *q, ApiBody with_body) {
        const char *type = mam_http_exchange_header(q->x, "Content-Type");
        size_t n = type ? strcspn(type, "; ") : 0;

        if (type && !(n == 16 && strncasecmp(type, "application/json", n) == 0) &&
            !(n == 28 && strncasecmp(type, "application/merge-patch+json", n) == 0) &&
            !(n == 23 && strncasecmp(type, "application/schema+json", n) == 0))
                return api_problem(q, 415, "The body must be application/json");
        q->with_body = with_body;
        return mam_http_exchange_read_body(q->x, JSON_BODY_MAX, on_body, q);
}

bool api_accepts(ApiRequest *q, const char *type) {
        const char *accept = mam_http_exchange_header(q->x, "Accept");

        return accept && strcasestr(accept, type);
}

int api_json_timespan(json_object *o, const char *parent, const char *key, uint64_t *ret, MamJsonError *e) {
        json_object *v;
        uint64_t usec;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return 0;
        if (json_object_is_type(v, json_type_string) && strcmp(json_object_get_string(v), "forever") == 0) {
                *ret = MAM_USEC_INFINITY;
                return 1;
        }
        if ((!json_object_is_type(v, json_type_string) && !json_object_is_type(v, json_type_int)) ||
            mam_parse_timespan(json_object_get_string(v), &usec) < 0)
                return mam_json_fail(e, parent, key, "must be a time such as \"30s\" or \"7d\"");
        *ret = usec;
        return 1;
}

int api_json_bytes(json_object *o, const char *parent, const char *key, uint64_t *ret, MamJsonError *e) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v) || !v)
                return 0;
        if ((!json_object_is_type(v, json_type_string) && !json_object_is_type(v, json_type_int)) ||
            mam_quantity_parse_bytes(json_object_get_string(v), ret) < 0)
                return mam_json_fail(e, parent, key, "must be a size such as 65536 or \"1Gi\"");
        return 1;
}

int api_json_known(json_object *o, const char *parent, const char *const *known, MamJsonError *e) {
        const char *key = mam_json_unknown_key(o, known);

        return key ? mam_json_fail(e, parent, key, "is not known here") : 0;
}

/* ---- text ---- */

int api_append_time(MamBuffer *b, uint64_t usec) {
        /* Events come in the order of time: mostly within the second of the last one. */
        static uint64_t last_sec = UINT64_MAX;
        static char text[sizeof("\"2026-01-02T03:04:05.123456Z\"")] = "";
        uint64_t sec = usec / MAM_USEC_PER_SEC, rest = usec % MAM_USEC_PER_SEC;

        if (sec != last_sec) {
                char whole[40];

                mam_format_rfc3339(whole, sec * MAM_USEC_PER_SEC);
                if (strlen(whole) != 20)
                        return mam_buffer_appendf(b, "\"%s\"", whole);
                text[0] = '"';
                memcpy(text + 1, whole, 19);
                memcpy(text + 20, ".000000Z\"", 10);
                last_sec = sec;
        }
        for (unsigned i = 0; i < 6; i++, rest /= 10)
                text[26 - i] = (char) ('0' + rest % 10);
        return mam_buffer_append(b, text, sizeof(text) - 1);
}

int api_append_string(MamBuffer *b, const char *text) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        const char *json;

        if (!text)
                return mam_buffer_append_string(b, "null");
        o = json_object_new_string(text);
        json = o ? mam_json_to_string(o) : NULL;
        return json ? mam_buffer_append_string(b, json) : -ENOMEM;
}

int api_append_event(MamBuffer *b, int64_t topic, const LogEvent *e) {
        char cursor[CURSOR_SIZE];
        size_t n = cursor_format(cursor, topic, e->position);
        int r;

        r = mam_buffer_append(b, "{\"cursor\":\"", 11);
        if (r >= 0)
                r = mam_buffer_append(b, cursor, n);
        if (r >= 0)
                r = mam_buffer_append(b, "\",\"recorded\":", 13);
        if (r >= 0)
                r = api_append_time(b, e->recorded_usec);
        if (r >= 0 && e->stream_version > 0)
                r = mam_buffer_appendf(b, ",\"version\":%" PRIi64, e->stream_version);
        if (r >= 0)
                r = mam_buffer_append(b, ",\"event\":", 9);
        if (r >= 0)
                r = mam_buffer_append(b, e->text, e->size);
        return r < 0 ? r : mam_buffer_append(b, "}", 1);
}

/* ---- what lasts ---- */

bool api_stream_add(ApiStream *s, App *app) {
        if (app->n_streams >= API_STREAMS_MAX)
                return false;
        s->app = app;
        TAILQ_INSERT_TAIL(&app->streams, s, streams);
        app->n_streams++;
        return true;
}

void api_stream_remove(ApiStream *s) {
        if (!s->app)
                return;
        TAILQ_REMOVE(&s->app->streams, s, streams);
        s->app->n_streams--;
        s->app = NULL;
}

void api_stream_settled(App *app, const char *subscription, const Settlement *items, size_t n) {
        ApiStream *s;

        TAILQ_FOREACH(s, &app->streams, streams) {
                if (s->settled && (!subscription || strcmp(s->subscription, subscription) == 0))
                        s->settled(s, items, n);
        }
}
