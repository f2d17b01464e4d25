/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One request to the API: what handlers of projects and tasks share
 */

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include <openssl/evp.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "project-manager/request.h"

#define BODY_MAX (512U * 1024U)
/* A restart of PostgreSQL takes less; beyond, waiting would only pile up requests. */
#define AWAY_MAX_USEC (2 * MAM_USEC_PER_SEC)

static void on_request_done(MamHttpExchange *x, void *userdata) {
        Request *q = userdata;

        (void) mam_pg_query_free(q->query);
        json_object_put(q->body);
        if (q->free_more)
                q->free_more(q->more);
        free(q);
}

int request_new(Request **ret, MamHttpExchange *x, App *app, const Resource *resource) {
        Request *q;

        assert(ret);
        assert(x);
        assert(app);

        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->x = x;
        q->app = app;
        q->resource = resource;
        mam_http_exchange_set_on_done(x, on_request_done, q);
        *ret = q;
        return 0;
}

/* ---- answers ---- */

/* From a callback nobody takes an error: an answer that cannot be made ends the connection, so that the
 * client knows. */
void request_end(Request *q, int r) {
        if (r < 0 && !mam_http_exchange_is_started(q->x))
                mam_http_exchange_abort(q->x);
}

void request_problem(Request *q, unsigned status, const char *format, ...) {
        char detail[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(detail, sizeof(detail), format, ap);
        va_end(ap);
        request_end(q, mam_http_exchange_problem(q->x, status, NULL, "%s", detail));
}

void request_answer_empty(Request *q, unsigned status) {
        request_end(q, mam_http_exchange_respond(q->x, status, NULL, NULL, 0));
}

static void answer_unavailable(Request *q, const char *why) {
        (void) mam_http_exchange_add_field(q->x, "Retry-After", "1");
        request_problem(q, 503, "%s", why);
}

static void answer_database_error(Request *q, int error, const char *message) {
        switch (error) {
        case -ENOTCONN:
                answer_unavailable(q, "The database is not reachable");
                break;
        case -ECONNRESET:
                answer_unavailable(
                                q,
                                "The connection to the database broke; the request may have been carried out");
                break;
        case -EAGAIN:
        case -ECANCELED:
                answer_unavailable(q, "The database is too busy");
                break;
        case -EEXIST:
                request_problem(q, 409, "There is such a %s already", q->resource->name);
                break;
        case -ENOENT:
                request_problem(q, 404, "There is no such project");
                break;
        case -EINVAL:
                /* Every value was checked before. What the database still refuses is said to it here, and
                 * not a fault of ours that a client could provoke into an alarm. */
                mam_log_full(LOG_NOTICE,
                             MAM_MESSAGE_DATABASE_QUERY_FAILED,
                             NULL,
                             "The database refused a value of request %s: %s",
                             mam_http_exchange_request_id(q->x),
                             message ? message : "no reason given");
                request_problem(q, 422, "The database does not accept a value of this request");
                break;
        default:
                mam_log_full(LOG_ERR,
                             MAM_MESSAGE_DATABASE_QUERY_FAILED,
                             NULL,
                             "A query of request %s failed: %s",
                             mam_http_exchange_request_id(q->x),
                             message ? message : strerrordesc_np(-error));
                request_problem(q, 500, "The request failed; the log has the reason");
                break;
        }
}

static void on_query_done(
                MamPgQuery *query,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Request *q = userdata;

        q->query = mam_pg_query_free(q->query); /* our reference; the result stays until we return */
        if (error == 0)
                q->on_result(q, result);
        else if (mam_http_exchange_is_started(q->x))
                mam_http_exchange_abort(q->x); /* what was sent is not all: the client must see that */
        else
                answer_database_error(q, error, message);
}

StoreCall request_call(Request *q, RequestAnswer on_result) {
        q->on_result = on_result;
        return (StoreCall){ .pg = q->app->pg, .query = &q->query, .callback = on_query_done, .userdata = q };
}

int request_started(Request *q, int r) {
        if (r >= 0)
                return 0;
        q->query = NULL;
        if (r == -EAGAIN || r == -ENOTCONN) {
                answer_unavailable(q, "The database is too busy");
                return 0;
        }
        return r;
}

/* The path of the list that created things are found under: without a trailing cursor or query. */
static int add_location(Request *q, const char *id) {
        _cleanup_(mam_freep) char *location = NULL;

        if (asprintf(&location, "%s/%s", mam_http_exchange_path(q->x), id) < 0) {
                location = NULL;
                return -ENOMEM;
        }
        return mam_http_exchange_add_field(q->x, "Location", location);
}

void request_answer_row(Request *q, unsigned status, const MamPgResult *result) {
        const char *none_match = mam_http_exchange_header(q->x, "If-None-Match"), *json;
        int64_t version = mam_pg_int(result, 0, STORE_VERSION);
        Condition condition;
        char tag[32];
        int r;

        (void) snprintf(tag, sizeof(tag), "\"%" PRIi64 "\"", version);
        r = mam_http_exchange_add_field(q->x, "ETag", tag);
        if (r >= 0)
                r = mam_http_exchange_add_field(q->x, "Cache-Control", "private, no-cache");
        if (r >= 0 && status == 201)
                r = add_location(q, mam_pg_text(result, 0, STORE_ID));
        if (r < 0) {
                request_end(q, r);
                return;
        }

        /* A malformed If-None-Match is as good as none: the whole answer is never wrong. */
        if (status == 200 && none_match && strcmp(mam_http_exchange_method(q->x), "PATCH") != 0 &&
            condition_parse(&condition, none_match, false) >= 0 && condition_matches(&condition, version)) {
                request_answer_empty(q, 304);
                return;
        }

        json = mam_pg_text(result, 0, STORE_JSON);
        request_end(q, mam_http_exchange_respond(q->x, status, "application/json", json, strlen(json)));
}

/* The address of the next page: this one's, with another cursor. */
static int add_link(Request *q, const char *cursor) {
        _cleanup_(mam_buffer_done) MamBuffer link = MAM_BUFFER_INIT;
        MamHttpRange query = mam_http_exchange_head(q->x)->query;
        const char *p = query.data, *end = query.data ? query.data + query.size : NULL;
        int r;

        r = mam_buffer_appendf(&link, "<%s?cursor=%s", mam_http_exchange_path(q->x), cursor);
        while (r >= 0 && p && p < end) {
                const char *next = memchr(p, '&', (size_t) (end - p));
                size_t n = (size_t) ((next ? next : end) - p);

                if (n > 0 && !(n >= 7 && strncmp(p, "cursor=", 7) == 0)) {
                        r = mam_buffer_append(&link, "&", 1);
                        for (size_t i = 0; i < n && r >= 0; i++)
                                r = strchr("<>\"\\", p[i]) ? mam_buffer_appendf(
                                                                             &link,
                                                                             "%%%02X",
                                                                             (unsigned char) p[i])
                                                           : mam_buffer_append(&link, p + i, 1);
                }
                p = next ? next + 1 : end;
        }
        if (r >= 0)
                r = mam_buffer_append_string(&link, ">; rel=\"next\"");
        return r < 0 ? r : mam_http_exchange_add_field(q->x, "Link", mam_buffer_bytes(&link));
}

void request_answer_list(Request *q, const MamPgResult *result) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        char cursor[CURSOR_TEXT_SIZE] = "";
        size_t rows = mam_pg_rows(result);
        int r;

        if (rows > 0 && mam_pg_is_null(result, 0, STORE_JSON))
                rows = 0;
        if (rows > q->limit) {
                Cursor c = { .created_usec = mam_pg_int(result, q->limit - 1, STORE_CREATED_USEC) };

                rows = q->limit;
                (void) snprintf(c.id, sizeof(c.id), "%s", mam_pg_text(result, rows - 1, STORE_ID));
                r = cursor_format(cursor, q->resource->cursor_kind, &c);
                if (r >= 0)
                        r = add_link(q, cursor);
                if (r < 0) {
                        request_end(q, r);
                        return;
                }
        }

        r = mam_buffer_append_string(&body, "{\"items\":[");
        for (size_t i = 0; i < rows && r >= 0; i++) {
                if (i > 0)
                        r = mam_buffer_append(&body, ",", 1);
                if (r >= 0)
                        r = mam_buffer_append_string(&body, mam_pg_text(result, i, STORE_JSON));
        }
        if (r >= 0)
                r = *cursor ? mam_buffer_appendf(&body, "],\"next\":\"%s\"}", cursor)
                            : mam_buffer_append_string(&body, "],\"next\":null}");
        if (r >= 0)
                r = mam_http_exchange_respond(
                                q->x,
                                200,
                                "application/json",
                                mam_buffer_bytes(&body),
                                body.size);
        request_end(q, r);
}

/* ---- what was asked ---- */

bool request_check_database(Request *q) {
        uint64_t since = q->app->away_usec;

        if (since == 0 || mam_now_monotonic() - since < AWAY_MAX_USEC)
                return true;
        answer_unavailable(q, "The database is not reachable");
        return false;
}

bool request_check_project(Request *q) {
        const char *name = mam_route_parameter(q->x, "project");

        if (uuid_is_valid(name))
                q->target.project_id = name;
        else if (project_key_is_valid(name))
                q->target.project_key = name;
        else {
                request_problem(q, 404, "There is no such project");
                return false;
        }
        return true;
}

bool request_check_task(Request *q) {
        const char *name = mam_route_parameter(q->x, "task");
        int32_t number;

        if (!request_check_project(q))
                return false;
        if (uuid_is_valid(name)) {
                q->target.task_id = name;
                return true;
        }
        if (!task_key_parse(name, q->task_project, &number)) {
                request_problem(q, 404, "There is no such task");
                return false;
        }
        (void) snprintf(q->task_number, sizeof(q->task_number), "%" PRIi32, number);
        q->target.task_project = q->task_project;
        q->target.task_number = q->task_number;
        return true;
}

bool request_check_if_match(Request *q) {
        const char *value = mam_http_exchange_header(q->x, "If-Match");
        int r;

        if (!value) {
                request_problem(q,
                                428,
                                "Send the ETag that you have read as If-Match, so that no change of others is lost");
                return false;
        }
        r = condition_parse(&q->versions, value, true);
        if (r < 0) {
                request_problem(q,
                                400,
                                r == -E2BIG ? "If-Match has too many entity tags" : "If-Match is malformed");
                return false;
        }
        return true;
}

static int fingerprint_make(char ret[static 65], const char *path, const char *data, size_t size) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        unsigned n = 0;
        bool good;

        if (!context)
                return -ENOMEM;
        good = EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
               EVP_DigestUpdate(context, path, strlen(path) + 1) == 1 &&
               EVP_DigestUpdate(context, data, size) == 1 && EVP_DigestFinal_ex(context, digest, &n) == 1;
        EVP_MD_CTX_free(context);
        if (!good || n != 32)
                return -EIO;
        for (unsigned i = 0; i < n; i++)
                (void) snprintf(ret + 2 * (size_t) i, 3, "%02x", digest[i]);
        return 0;
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Request *q = userdata;
        MamJsonError json_error;
        int r;

        if (error < 0)
                return 0; /* the server answers */

        r = fingerprint_make(q->fingerprint, mam_http_exchange_path(x), data, size);
        if (r < 0)
                return r;
        r = mam_json_parse(&q->body, data, size, &json_error);
        if (r == -EBADMSG)
                return mam_http_exchange_problem(
                                x,
                                400,
                                json_error.pointer,
                                "The body is not JSON: %s",
                                json_error.message);
        if (r < 0)
                return r;
        return q->with_body(q);
}

int request_read_json(Request *q, bool patch, RequestHandler handler) {
        if (!content_type_is_json(mam_http_exchange_header(q->x, "Content-Type"), patch)) {
                (void) mam_http_exchange_add_field(
                                q->x,
                                patch ? "Accept-Patch" : "Accept-Post",
                                patch ? "application/merge-patch+json, application/json"
                                      : "application/json");
                request_problem(q,
                                415,
                                "The body must be %sapplication/json",
                                patch ? "application/merge-patch+json or " : "");
                return 0;
        }
        q->with_body = handler;
        return mam_http_exchange_read_body(q->x, BODY_MAX, on_body, q);
}

bool request_check_once(Request *q) {
        const char *key = mam_http_exchange_header(q->x, "Idempotency-Key");

        if (!key)
                return true;
        if (!idempotency_key_is_valid(key)) {
                request_problem(q, 400, "Idempotency-Key must be 1 to 128 visible characters");
                return false;
        }
        strcpy(q->once_key, key);
        q->once = true;
        return true;
}

bool request_answered_errors(Request *q) {
        _cleanup_(json_object_putp) json_object *problem = NULL;
        const char *text;

        if (q->errors.n == 0)
                return false;
        problem = field_errors_to_problem(&q->errors);
        text = problem ? mam_json_to_string(problem) : NULL;
        if (text)
                request_end(q,
                            mam_http_exchange_respond(
                                            q->x,
                                            422,
                                            "application/problem+json",
                                            text,
                                            strlen(text)));
        else
                request_problem(q, 422, "The body has errors");
        return true;
}

/* A parameter of the query: 1, 0, or -EINVAL after an answer. Values are text that the database may see. */
static int list_parameter(Request *q, const char *name, char *ret, size_t size) {
        int r = mam_http_query_get(mam_http_exchange_head(q->x)->query, name, ret, size);

        if (r < 0) {
                request_problem(q,
                                400,
                                "The parameter \"%s\" is %s",
                                name,
                                r == -ENOBUFS ? "too long" : "not percent-encoded correctly");
                return -EINVAL;
        }
        return r;
}

static bool text_parameter(Request *q, const char *name, char *ret, size_t size, const char **ret_value) {
        int r = list_parameter(q, name, ret, size);

        if (r <= 0)
                return r == 0;
        if (!field_text_is_plain(ret)) {
                request_problem(q, 400, "The parameter \"%s\" is not plain UTF-8 text", name);
                return false;
        }
        *ret_value = *ret ? ret : NULL;
        return true;
}

void request_list_done(RequestList *l) {
        l->query = query_free(l->query);
}

static bool query_parameter(Request *q, RequestList *ret) {
        QueryContext context = { .me = mam_service_identity(q->x)->subject, .now_usec = mam_now_realtime() };
        char text[QUERY_TEXT_MAX + 1];
        QueryError error;
        int r;

        r = list_parameter(q, "query", text, sizeof(text));
        if (r <= 0)
                return r == 0;
        r = query_parse(&ret->query,
                        text,
                        q->app->has_trigrams ? &task_query_fuzzy : &task_query,
                        &context,
                        &error);
        if (r == -ENOMEM) {
                request_problem(q, 500, "The request failed");
                return false;
        }
        if (r < 0) {
                request_problem(q,
                                400,
                                "The parameter \"query\", at character %zu: %s",
                                error.offset + 1,
                                error.message);
                return false;
        }
        ret->list.query = ret->query;
        return true;
}

bool request_check_list(Request *q, RequestList *ret) {
        const Resource *resource = q->resource;
        char cursor[CURSOR_TEXT_SIZE] = "", limit[16] = "", *end;
        int r;

        *ret = (RequestList){ 0 };
        q->limit = 50;

        r = list_parameter(q, "limit", limit, sizeof(limit));
        if (r < 0)
                return false;
        if (r > 0) {
                unsigned long n = strtoul(limit, &end, 10);

                if (*limit < '0' || *limit > '9' || *end != '\0' || n < 1 || n > 200) {
                        request_problem(q, 400, "The parameter \"limit\" must be a number from 1 to 200");
                        return false;
                }
                q->limit = (unsigned) n;
        }
        ret->list.limit = q->limit + 1; /* one more tells whether there is a next page */

        r = list_parameter(q, "cursor", cursor, sizeof(cursor));
        if (r < 0)
                return false;
        if (r > 0) {
                if (cursor_parse(&ret->cursor, resource->cursor_kind, cursor) < 0) {
                        request_problem(q,
                                        400,
                                        "The parameter \"cursor\" is not one that this list gave out");
                        return false;
                }
                ret->list.after = &ret->cursor;
        }

        r = list_parameter(q, resource->filter, ret->status, sizeof(ret->status));
        if (r < 0)
                return false;
        if (r > 0) {
                if (!field_is_choice(ret->status, resource->filter_values)) {
                        request_problem(q,
                                        400,
                                        "The parameter \"%s\" has a value that does not exist",
                                        resource->filter);
                        return false;
                }
                ret->list.status = ret->status;
        }
        if (resource->has_query && !query_parameter(q, ret))
                return false;
        return text_parameter(q, "assignee", ret->assignee, sizeof(ret->assignee), &ret->list.assignee) &&
               text_parameter(q, "q", ret->text, sizeof(ret->text), &ret->list.text);
}
