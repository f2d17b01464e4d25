/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Schemas: /v1/schemas and /v1/schemas/{subject}
 */

#include <limits.h>
#include <string.h>

#include "event-bus/api.h"
#include "libmam/json/schema.h"

/* ---- as JSON ---- */

static int append_head(MamBuffer *b, const SchemaInfo *i) {
        int r;

        r = mam_buffer_append_string(b, "{\"subject\":");
        if (r >= 0)
                r = api_append_string(b, i->subject);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"version\":%u,\"newest\":%u,\"compatibility\":\"%s\"",
                                i->version,
                                i->newest,
                                schema_compatibility_to_string(i->compatibility));
        if (r >= 0)
                r = mam_buffer_append_string(b, ",\"createdAt\":");
        if (r >= 0)
                r = api_append_string(b, i->created_at);
        if (r >= 0)
                r = mam_buffer_append_string(b, ",\"createdBy\":");
        return r < 0 ? r : api_append_string(b, i->created_by);
}

static int answer_schema(ApiRequest *q, unsigned status, const SchemaInfo *i) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r;

        r = append_head(&b, i);
        if (r >= 0 && i->text)
                r = mam_buffer_append_string(&b, ",\"schema\":");
        if (r >= 0 && i->text)
                r = mam_buffer_append(&b, i->text, i->size);
        if (r >= 0)
                r = mam_buffer_append(&b, "}", 1);
        if (r >= 0)
                r = api_add_etag(q, i->version);
        return r < 0 ? r : api_answer(q, status, "application/json", &b);
}

static int problem(ApiRequest *q, int r, const MamJsonError *error) {
        if (r == -EBADMSG)
                return api_problem_json(q, 422, error, "This is no JSON Schema (draft 2020-12)");
        if (r == -EPROTO)
                return api_problem_json(
                                q,
                                409,
                                error,
                                "It is not compatible: change it, or the subject's compatibility with PATCH");
        return api_problem_errno(q, r, "schema");
}

/* 1: go on. */
static int begin(ApiRequest **ret, MamHttpExchange *x, App *app) {
        size_t n;
        int r;

        r = api_begin(ret, x, app, NULL);
        if (r <= 0)
                return r;
        (*ret)->name = mam_route_parameter(x, "subject");
        n = strlen((*ret)->name);
        if (n > 0 && n <= SCHEMA_SUBJECT_MAX)
                return 1;
        (void) api_problem(*ret, 404, "A subject has a name of 1 to %u bytes", SCHEMA_SUBJECT_MAX);
        return 0;
}

/* ---- handlers ---- */

typedef struct List {
        MamBuffer b;
        uint64_t limit;
        unsigned n;
        bool more;
        int r;
} List;

static bool on_listed(const SchemaInfo *info, void *userdata) {
        List *l = userdata;

        if (l->n >= l->limit) {
                l->more = true;
                return false;
        }
        l->r = mam_buffer_append_string(&l->b, l->n > 0 ? "," : "");
        if (l->r >= 0)
                l->r = append_head(&l->b, info);
        if (l->r >= 0)
                l->r = mam_buffer_append(&l->b, "}", 1);
        l->n++;
        return l->r >= 0;
}

int handle_schema_list(MamHttpExchange *x, void *userdata) {
        _cleanup_(mam_freep) char *after = NULL;
        List l = { .limit = 1000 };
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, NULL);
        if (r <= 0)
                return r;
        after = malloc(SCHEMA_SUBJECT_MAX + 1);
        if (!after)
                return -ENOMEM;
        if (!api_query_number(q, "limit", 1, 1000, &l.limit))
                return 0;
        r = api_query(q, "after", after, SCHEMA_SUBJECT_MAX + 1);
        if (r < 0)
                return 0;
        l.r = mam_buffer_append_string(&l.b, "{\"schemas\":[");
        r = schema_registry_list(q->app->schemas, r > 0 ? after : NULL, on_listed, &l);
        if (r >= 0)
                r = l.r;
        if (r >= 0)
                r = mam_buffer_append_string(&l.b, l.more ? "],\"more\":true}" : "],\"more\":false}");
        r = r == -ENOMEM ? r
            : r < 0      ? api_problem_errno(q, r, "schema")
                         : api_answer(q, 200, "application/json", &l.b);
        mam_buffer_done(&l.b);
        return r;
}

static int answer_version(ApiRequest *q, unsigned version) {
        SchemaInfo info;
        int r;

        r = schema_registry_get(q->app->schemas, &info, q->name, version);
        return r < 0 ? api_problem_errno(q, r, "schema") : answer_schema(q, 200, &info);
}

int handle_schema_get(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = begin(&q, x, userdata);
        return r <= 0 ? r : answer_version(q, 0);
}

int handle_schema_version(MamHttpExchange *x, void *userdata) {
        const char *text = mam_route_parameter(x, "version");
        unsigned version = 0;
        ApiRequest *q;
        int r;

        r = begin(&q, x, userdata);
        if (r <= 0)
                return r;
        for (const char *c = text; *c && strlen(text) <= 6; c++)
                version = *c >= '0' && *c <= '9' ? version * 10 + (unsigned) (*c - '0') : UINT_MAX / 16;
        if (version == 0 || strlen(text) > 6)
                return api_problem_errno(q, -ENOENT, "version");
        return answer_version(q, version);
}

static void on_changed(
                int r,
                const SchemaInfo *info,
                bool is_new,
                const MamJsonError *error,
                void *userdata) {
        ApiRequest *q = userdata;
        _cleanup_(schema_call_freep) _unused_ SchemaCall *done = MAM_TAKE(q->schema_call);

        api_answered(q, r < 0 ? problem(q, r, error) : answer_schema(q, is_new ? 201 : 200, info));
}

static void on_patched(
                int r,
                const SchemaInfo *info,
                bool is_new,
                const MamJsonError *error,
                void *userdata) {
        on_changed(r, info, false, error, userdata);
}

static int put_body(ApiRequest *q) {
        return api_started(
                        q,
                        schema_registry_put(
                                        q->app->schemas,
                                        &q->schema_call,
                                        q->name,
                                        q->body,
                                        api_subject(q),
                                        on_changed,
                                        q),
                        "schema");
}

int handle_schema_put(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = begin(&q, x, userdata);
        return r <= 0 ? r : api_read_json(q, put_body);
}

static int patch_body(ApiRequest *q) {
        static const char *const known[] = { "compatibility", NULL };
        const char *name = NULL;
        SchemaCompatibility c = _SCHEMA_COMPATIBILITY_INVALID;
        MamJsonError error;
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0)
                r = mam_json_get_string(q->body, "", "compatibility", &name, &error);
        if (r == 0)
                r = mam_json_fail(&error, "", "compatibility", "is required");
        if (r > 0) {
                c = schema_compatibility_from_string(name);
                if (c < 0)
                        r = mam_json_fail(
                                        &error,
                                        "",
                                        "compatibility",
                                        "must be backward, forward or full, with or without -transitive, or none");
        }
        if (r < 0)
                return api_problem_json(q, 422, &error, "The change is wrong");
        return api_started(
                        q,
                        schema_registry_set_compatibility(
                                        q->app->schemas,
                                        &q->schema_call,
                                        q->name,
                                        c,
                                        on_patched,
                                        q),
                        "schema");
}

int handle_schema_patch(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = begin(&q, x, userdata);
        return r <= 0 ? r : api_read_json(q, patch_body);
}

/* Whether a new version would be taken ({"schema":…}), or whether data fits the newest one ({"data":…}). */
static int check_data(ApiRequest *q, json_object *data) {
        _cleanup_(mam_event_freep) MamEvent *e = NULL;
        const char *text = mam_json_to_string(data);
        MamEventDraft draft = {
                .source = "urn:check",
                .type = q->name,
                .data = text,
                .data_size = text ? strlen(text) : 0,
        };
        MamJsonError error = { 0 };
        int r;

        if (!text)
                return -ENOMEM;
        r = mam_event_new(&e, &draft, &error);
        if (r >= 0)
                r = schema_registry_check(q->app->schemas, SCHEMA_REQUIRE, e, &error);
        if (r == -EBADMSG)
                return api_problem_json(q, 422, &error, "The data does not fit the schema");
        if (r < 0)
                return api_problem_errno(q, r == -ENOKEY ? -ENOENT : r, "schema");
        return mam_http_exchange_respond(q->x, 200, "application/json", "{\"fits\":true}", 13);
}

static int check_body(ApiRequest *q) {
        static const char *const known[] = { "schema", "data", NULL };
        json_object *schema = NULL, *data = NULL;
        MamJsonError error = { 0 };
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0 && !json_object_object_get_ex(q->body, "schema", &schema) &&
            !json_object_object_get_ex(q->body, "data", &data))
                r = mam_json_fail(&error, "", NULL, "needs a member schema or data");
        if (r < 0)
                return api_problem_json(q, 422, &error, "It is not clear what is to be checked");
        if (!schema)
                return check_data(q, data);
        r = schema_registry_test(q->app->schemas, q->name, schema, &error);
        if (r < 0)
                return problem(q, r, &error);
        return mam_http_exchange_respond(q->x, 200, "application/json", "{\"compatible\":true}", 19);
}

int handle_schema_check(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = begin(&q, x, userdata);
        return r <= 0 ? r : api_read_json(q, check_body);
}
