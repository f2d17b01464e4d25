/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/access.h"
#include "api-gateway/graphql-internal.h"
#include "api-gateway/graphql/parser.h"
#include "api-gateway/graphql/values.h"
#include "api-gateway/limits.h"
#include "libmam/http/http-inner.h"

#define TYPE_MODERN "application/graphql-response+json; charset=utf-8"
#define TYPE_JSON   "application/json; charset=utf-8"

/* ---- media types ---- */

static const char *skip_space(const char *s) {
        return s + strspn(s, " \t");
}

/* The end of a parameter: behind its value, quoted or not. */
static const char *parameter_end(const char *s) {
        bool quoted = false;

        for (; *s && (quoted || (*s != ';' && *s != ',')); s++) {
                if (*s == '"')
                        quoted = !quoted;
                else if (quoted && *s == '\\' && s[1])
                        s++;
        }
        return s;
}

/* The weight of one media range, in thousandths; *s is behind its type and goes to its end. */
static unsigned range_weight(const char **s) {
        unsigned weight = 1000;

        while (**s == ';') {
                const char *p = skip_space(*s + 1);

                if ((*p == 'q' || *p == 'Q') && p[1] == '=') {
                        double q = strtod(p + 2, NULL);

                        weight = q >= 1 ? 1000 : q > 0 ? (unsigned) (q * 1000) : 0; /* not a number: 0 */
                }
                *s = parameter_end(p);
        }
        return weight;
}

bool graphql_negotiate(const char *accept, bool *ret_modern) {
        static const char *const ranges[] = {
                "*/*",
                "application/*",
                "application/json",
                "application/graphql-response+json",
        };
        unsigned weights[MAM_ELEMENTSOF(ranges)] = { 0 }, json, modern;
        bool given[MAM_ELEMENTSOF(ranges)] = { 0 };
        const char *s = accept;

        if (!accept || !*skip_space(accept)) {
                *ret_modern = false;
                return true;
        }
        while (*s) {
                const char *type = s = skip_space(s);
                size_t size = strcspn(s, ";, \t");
                unsigned weight;

                s = skip_space(s + size);
                weight = range_weight(&s);
                for (size_t i = 0; i < MAM_ELEMENTSOF(ranges); i++)
                        if (strlen(ranges[i]) == size && strncasecmp(ranges[i], type, size) == 0) {
                                weights[i] = weight;
                                given[i] = true;
                        }
                s += strcspn(s, ",");
                s += *s == ',';
        }
        /* The most specific range says it. */
        json = given[2] ? weights[2] : given[1] ? weights[1] : given[0] ? weights[0] : 0;
        modern = given[3] ? weights[3] : given[1] ? weights[1] : given[0] ? weights[0] : 0;
        *ret_modern = modern > json || (given[3] && modern > 0 && modern == json);
        return json > 0 || modern > 0;
}

bool graphql_is_json(const char *content_type) {
        static const char json[] = "application/json";
        const char *s = content_type;

        if (!s || strncasecmp(s, json, sizeof(json) - 1) != 0)
                return false;
        s = skip_space(s + sizeof(json) - 1);
        while (*s == ';') {
                const char *p = skip_space(s + 1), *value;

                s = parameter_end(p);
                if (strncasecmp(p, "charset=", 8) != 0)
                        continue;
                value = p + 8 + (p[8] == '"');
                if (strncasecmp(value, "utf-8", 5) != 0 || (value[5] && !strchr("\"; \t", value[5])))
                        return false;
        }
        return *s == '\0';
}

/* ---- one request ---- */

static void request_done(MamHttpExchange *x, void *userdata) {
        GraphqlRequest *r = userdata;

        sd_event_source_disable_unref(r->timeout);
        gql_execution_free(r->execution);
        gql_errors_done(&r->errors);
        json_object_put(r->body);
        json_object_put(r->variables);
        gql_arena_free(r->arena);
        gql_schema_unref(r->schema);
        free(r);
}

static void request_count(GraphqlRequest *r, const char *outcome) {
        mam_metric_add(mam_metric_get(r->graphql->metric_operations, (const char *[]){ r->kind, outcome }),
                       1);
}

/* Data, errors, or both: whatever there is by now. */
static int request_answer(GraphqlRequest *r, unsigned status) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        int k;

        if (r->answered)
                return 0;
        r->answered = true;
        r->timeout = sd_event_source_disable_unref(r->timeout);
        request_count(r, !r->execution ? "refused" : r->errors.n > 0 ? "errors" : "ok");
        k = gql_answer_print(&text, r->execution, &r->errors);
        if (k < 0)
                return k;
        if (status == 0)
                status = r->bad || (r->modern && !r->execution) ? 400 : 200;
        (void) mam_http_exchange_add_field(r->x, "Cache-Control", "no-store");
        (void) mam_http_exchange_add_field(r->x, "Vary", "Accept");
        return mam_http_exchange_respond(
                        r->x,
                        status,
                        r->modern ? TYPE_MODERN : TYPE_JSON,
                        mam_buffer_bytes(&text),
                        text.size);
}

static void on_execution_done(GqlExecution *execution, void *userdata) {
        GraphqlRequest *r = userdata;

        if (request_answer(r, 0) < 0)
                mam_http_exchange_abort(r->x);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        GraphqlRequest *r = userdata;

        r->answered = true;
        request_count(r, "timeout");
        r->timeout = sd_event_source_disable_unref(r->timeout);
        r->execution = gql_execution_free(r->execution);
        if (mam_http_exchange_problem(r->x, 504, NULL, "The operation took too long") < 0)
                mam_http_exchange_abort(r->x);
        return 0;
}

static int request_execute(GraphqlRequest *r, const GqlOperation *o) {
        GqlFetcher fetcher;
        int k;

        k = gql_variables_coerce(&r->variables, r->schema, &r->errors, o, r->sent);
        if (k >= 0)
                gql_check_cost(r->schema, &r->errors, o, r->variables, &r->limits);
        if (k == -ENOMEM)
                return k;
        if (r->errors.n > 0)
                return request_answer(r, 0);

        graphql_fetcher(&fetcher, r);
        k = gql_execution_start(
                        &r->execution,
                        r->schema,
                        r->arena,
                        &r->errors,
                        o,
                        r->variables,
                        r->limits.cost,
                        &fetcher,
                        on_execution_done,
                        r);
        if (k < 0)
                return k;
        if (k > 0)
                return request_answer(r, 0);
        return sd_event_add_time_relative(
                        r->graphql->event,
                        &r->timeout,
                        CLOCK_MONOTONIC,
                        r->graphql->config.timeout_usec,
                        0,
                        on_timeout,
                        r);
}

/* The request is read: what does it want? */
static int request_begin(GraphqlRequest *r) {
        GqlDocument *d = NULL;
        GqlOperation *o;
        int k;

        k = gql_parse(&d, r->arena, &r->errors, r->query, strlen(r->query), GRAPHQL_TOKENS_MAX);
        if (k >= 0)
                gql_validate(r->schema, &r->errors, d, &r->limits);
        if (k == -ENOMEM || gql_arena_failed(r->arena))
                (void) gql_error(
                                &r->errors,
                                GQL_CODE_LIMIT,
                                (GqlPlace){ 0 },
                                "The document needs too much memory");
        if (r->errors.n > 0)
                return request_answer(r, 0);
        o = gql_select_operation(d, r->operation_name, &r->errors);
        if (!o)
                return request_answer(r, 0);
        r->kind = o->kind == GQL_MUTATION ? "mutation" : "query";
        if (r->is_get && o->kind == GQL_MUTATION) {
                (void) gql_error(
                                &r->errors,
                                GQL_CODE_INPUT,
                                o->place,
                                "A mutation has to be sent with POST");
                (void) mam_http_exchange_add_field(r->x, "Allow", "POST");
                return request_answer(r, 405);
        }
        return request_execute(r, o);
}

static int request_refuse(GraphqlRequest *r, const char *why) {
        r->bad = true;
        (void) gql_error(&r->errors, "BAD_REQUEST", (GqlPlace){ 0 }, "%s", why);
        return request_answer(r, 0);
}

/* Members of a request: of a body, or of the query of a GET made into the same. */
static int request_read(GraphqlRequest *r) {
        static const char *const types[] = { "query", "operationName", "variables", "extensions" };
        json_object *members[MAM_ELEMENTSOF(types)] = { 0 };

        if (!json_object_is_type(r->body, json_type_object))
                return request_refuse(r, "The request must be an object; a list of them is not supported");
        for (size_t i = 0; i < MAM_ELEMENTSOF(types); i++) {
                char why[64];

                (void) json_object_object_get_ex(r->body, types[i], &members[i]);
                if (!members[i] ||
                    json_object_is_type(members[i], i < 2 ? json_type_string : json_type_object))
                        continue;
                (void) snprintf(why,
                                sizeof(why),
                                "\"%s\" must be %s",
                                types[i],
                                i < 2 ? "a string" : "an object");
                return request_refuse(r, why);
        }
        if (!members[0])
                return request_refuse(r, "\"query\" is missing");
        r->query = json_object_get_string(members[0]);
        if (strlen(r->query) != (size_t) json_object_get_string_len(members[0]))
                return request_refuse(r, "\"query\" has a NUL character");
        r->operation_name = members[1] && json_object_get_string_len(members[1]) > 0
                                            ? json_object_get_string(members[1])
                                            : NULL;
        r->sent = members[2];
        return request_begin(r);
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        GraphqlRequest *r = userdata;
        int k;

        if (error < 0)
                return 0;
        k = mam_json_parse(&r->body, data, size, NULL);
        if (k == -ENOMEM)
                return k;
        if (k < 0)
                return request_refuse(r, "The body is not valid JSON");
        return request_read(r);
}

/* One parameter of the query, as a member of the body that a POST would have. */
static int read_parameter(GraphqlRequest *r, const char *name, bool is_json) {
        MamHttpRange query = mam_http_exchange_head(r->x)->query;
        _cleanup_(mam_freep) char *text = malloc(query.size + 1);
        json_object *o = NULL;
        int k;

        if (!text)
                return -ENOMEM;
        k = mam_http_query_get(query, name, text, query.size + 1);
        if (k <= 0 || (is_json && !*text))
                return k < 0 ? -EBADMSG : 0;
        if (!is_json)
                o = json_object_new_string(text);
        else if (mam_json_parse(&o, text, strlen(text), NULL) < 0)
                return -EBADMSG;
        if (json_object_object_add(r->body, name, o) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        return 0;
}

static int read_get(GraphqlRequest *r) {
        int k = 0;

        r->body = json_object_new_object();
        if (!r->body)
                return -ENOMEM;
        if (mam_http_exchange_head(r->x)->query.data) {
                k = read_parameter(r, "query", false);
                if (k >= 0)
                        k = read_parameter(r, "operationName", false);
                if (k >= 0)
                        k = read_parameter(r, "variables", true);
                if (k >= 0)
                        k = read_parameter(r, "extensions", true);
        }
        if (k == -EBADMSG)
                return request_refuse(r, "A parameter of the query is not valid");
        return k < 0 ? k : request_read(r);
}

static int request_new(GraphqlRequest **ret, Graphql *q, MamHttpExchange *x, bool modern) {
        const MamGatewayGraphqlConfig *c = &q->config;
        GraphqlRequest *r;
        int k;

        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        k = gql_arena_new(&r->arena, GRAPHQL_ARENA_MAX);
        if (k < 0) {
                free(r);
                return k;
        }
        r->graphql = q;
        r->x = x;
        r->schema = gql_schema_ref(q->schema);
        r->errors.arena = r->arena;
        r->modern = modern;
        r->is_get = strcmp(mam_http_exchange_method(x), "POST") != 0;
        r->kind = "none";
        r->limits = (GqlLimits){
                .depth = c->max_depth,
                .aliases = c->max_aliases,
                .selections = c->max_fields,
                .cost = c->max_requests,
                .introspection = c->introspection,
        };
        mam_http_exchange_set_on_done(x, request_done, r); /* frees r, whatever happens from here on */
        *ret = r;
        return 0;
}

/* ---- the stage ---- */

/* 1: may go on; 0: answered. */
static int admit(Graphql *q, MamHttpExchange *x) {
        _cleanup_(caller_unrefp) Caller *caller = NULL;
        int r;

        r = q->config.anonymous ? access_identify(q->gateway->access, x, &caller)
                                : access_admit(q->gateway->access, NULL, "", x, &caller);
        if (r <= 0)
                return r;
        return limits_admit(q->gateway->limits, NULL, 0, GRAPHQL_PATH, caller, x);
}

int graphql_on_request(Graphql *q, MamHttpExchange *x) {
        const char *method = mam_http_exchange_method(x);
        bool is_post = strcmp(method, "POST") == 0, modern = false;
        GraphqlRequest *request;
        int r;

        assert(x);

        if (!q || !q->schema || !q->config.enabled || strcmp(mam_http_exchange_path(x), GRAPHQL_PATH) != 0)
                return 1;
        if (mam_http_exchange_is_inner(x))
                return mam_http_exchange_problem(x, 404, NULL, "GraphQL is not a resource of GraphQL");
        if (!is_post && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
                (void) mam_http_exchange_add_field(x, "Allow", "GET, HEAD, POST");
                return mam_http_exchange_problem(x, 405, NULL, "GraphQL allows GET and POST");
        }
        r = admit(q, x);
        if (r <= 0)
                return r;
        if (!graphql_negotiate(mam_http_exchange_header(x, "Accept"), &modern))
                return mam_http_exchange_problem(
                                x,
                                406,
                                NULL,
                                "Answers are application/graphql-response+json or application/json");
        if (is_post && !graphql_is_json(mam_http_exchange_header(x, "Content-Type")))
                return mam_http_exchange_problem(
                                x,
                                415,
                                NULL,
                                "The body must be application/json, encoded in UTF-8");

        r = request_new(&request, q, x, modern);
        if (r < 0)
                return r;
        return is_post ? mam_http_exchange_read_body(x, q->config.max_size, on_body, request)
                       : read_get(request);
}
