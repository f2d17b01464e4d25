/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /graphql over HTTP, with a real gateway and a real replica behind it
 */

#include <string.h>
#include <sys/stat.h>

#include "api-gateway/graphql-internal.h"
#include "api-gateway/test-gateway.h"
#include "libmam/http/http-inner.h"
#include "libmam/util/file.h"

static const char sdl[] =
                "extend type Query {\n"
                "  thing(id: ID!): Thing @rest(service: \"x\", get: \"/x/thing/{id}\")\n"
                "  hold: Thing @rest(service: \"x\", get: \"/x/hold\")\n"
                "  other: Thing @rest(service: \"y\", get: \"/x/thing/1\")\n"
                "  outside: Thing @rest(service: \"x\", get: \"/y\")\n"
                "}\n"
                "extend type Mutation {\n"
                "  echo(input: Json!): Thing @rest(service: \"x\", post: \"/x/echo\", body: \"input\", headers: [\"X-Test: 1\"])\n"
                "}\n"
                "type Thing {id: ID! subject: String token: String next: Thing @rest(service: \"x\", get: \"/x/thing/{parent.id}1\")}\n"
                "scalar Json\n";

typedef struct Case {
        Fixture f;
        char folder[32], file[96];
} Case;

static int on_echo(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        return error < 0 ? 0 : mam_http_exchange_respond(x, 201, "application/json", data, size);
}

static int on_thing(MamHttpExchange *x, void *userdata) {
        const char *path = mam_http_exchange_path(x), *subject = mam_http_exchange_header(x, "Mam-Subject"),
                   *token = mam_http_exchange_header(x, "Authorization");
        Replica *r = userdata;
        char text[256];

        r->n_requests++;
        if (strcmp(path, "/x/echo") == 0)
                return mam_http_exchange_read_body(x, 0, on_echo, r);
        if (strcmp(path, "/x/hold") == 0) {
                r->held = x;
                return 0;
        }
        if (strncmp(path, "/x/thing/", 9) != 0)
                return mam_http_exchange_problem(x, 404, NULL, "nothing here");
        (void) snprintf(text,
                        sizeof(text),
                        "{\"id\":\"%s\",\"subject\":\"%s\",\"token\":\"%s\"}",
                        path + 9,
                        subject ?: "",
                        token ?: "");
        return mam_http_exchange_respond(x, 200, "application/json", text, strlen(text));
}

static void write_schema(Case *c, const char *text) {
        ASSERT_OK(mam_file_write_atomic(c->file, text, strlen(text), 0644));
}

static void setup(Case *c) {
        char folder[] = "/tmp/test-graphql-XXXXXX", path[64];
        Replica *r = &c->f.replicas[0];

        ASSERT_TRUE(mkdtemp(folder));
        (void) snprintf(c->folder, sizeof(c->folder), "%s", folder);
        (void) snprintf(path, sizeof(path), "%s/graphql.d", folder);
        ASSERT_OK(mkdir(path, 0755));
        (void) snprintf(c->file, sizeof(c->file), "%s/x.graphql", path);
        write_schema(c, sdl);
        ASSERT_OK(setenv("MAM_CONFIG_DIR", folder, 1));
        fixture_setup(&c->f, 0, 1);
        ASSERT_OK(mam_http_server_new(&r->server, c->f.event, NULL, on_thing, r));
        ASSERT_OK(mam_http_server_listen(r->server, listen_on(r->path), false, 0));
}

static void teardown(Case *c) {
        char path[64];

        fixture_done(&c->f);
        (void) unlink(c->file);
        (void) snprintf(path, sizeof(path), "%s/graphql.d", c->folder);
        ASSERT_OK(rmdir(path));
        ASSERT_OK(rmdir(c->folder));
}

/* fields: "Name", "value", …, NULL */
static void send_request(
                Case *c,
                Answer *a,
                const char *method,
                const char *target,
                const char *body,
                const char *const *fields) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;

        mam_buffer_done(&a->body);
        call = call_new(&c->f, a, method, target);
        for (; fields && *fields; fields += 2)
                ASSERT_OK(mam_http_call_add_field(call, fields[0], fields[1]));
        if (body)
                ASSERT_OK(mam_http_call_set_body(call, body, strlen(body)));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&c->f, a->ended);
        ASSERT_EQ(a->error, 0);
}

static const char *const json[] = { "Content-Type", "application/json", NULL };

static const char *post(Case *c, Answer *a, const char *body) {
        send_request(c, a, "POST", "/graphql", body, json);
        return mam_buffer_bytes(&a->body);
}

TEST(an_operation_goes_through_routes_with_the_callers_identity) {
        _cleanup_(answer_done) Answer a = { 0 };
        Case c = { 0 };

        setup(&c);
        ASSERT_STREQ(post(&c,
                          &a,
                          "{\"query\":\"{a: thing(id: 1) {id subject token next {id next {id}}} b: thing(id: \\\"1\\\") {id}}\"}"),
                     "{\"data\":{\"a\":{\"id\":\"1\",\"subject\":\"ada\",\"token\":\"\",\"next\":{\"id\":\"11\",\"next\":{\"id\":\"111\"}}},\"b\":{\"id\":\"1\"}}}");
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(has(a.fields, "Content-Type: application/json; charset=utf-8\n"));
        ASSERT_TRUE(has(a.fields, "Cache-Control: no-store\n"));
        ASSERT_EQ(c.f.replicas[0].n_requests, 3);
        ASSERT_EQ(metric(&c.f, "mam_gateway_requests_total{route=\"/x\",method=\"GET\",code=\"200\"} "), 3);
        ASSERT_EQ(metric(&c.f, "mam_gateway_graphql_operations_total{kind=\"query\",outcome=\"ok\"} "), 1);
        ASSERT_EQ(metric(&c.f, "\nmam_gateway_graphql_requests_total "), 3);

        ASSERT_STREQ(post(&c,
                          &a,
                          "{\"query\":\"mutation M($i: Json!) {echo(input: $i) {id}} query Q {__typename}\",\"operationName\":\"M\",\"variables\":{\"i\":{\"id\":5}}}"),
                     "{\"data\":{\"echo\":{\"id\":\"5\"}}}");
        ASSERT_TRUE(
                        strstr(post(&c, &a, "{\"query\":\"{other {id} outside {id}}\"}"),
                               "Service \\\"y\\\" has no such resource"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&a.body), "Service \\\"x\\\" has no such resource"));
        ASSERT_EQ(mam_http_server_in_flight(c.f.server), 0);
        teardown(&c);
}

TEST(status_and_media_type_are_those_of_the_specification) {
        static const char modern[] = "application/graphql-response+json", old[] = "application/json";
        static const struct {
                const char *accept, *body;
                unsigned status;
                const char *type, *part;
        } cases[] = {
                { modern,
                  "{\"query\":\"{__typename}\"}",
                  200,
                  modern,
                  "{\"data\":{\"__typename\":\"Query\"}}" },
                { old, "{\"query\":\"{__typename}\"}", 200, old, "{\"data\":{\"__typename\":\"Query\"}}" },
                { "*/*", "{\"query\":\"{__typename}\"}", 200, old, "" },
                { "application/*;q=0.5", "{\"query\":\"{__typename}\"}", 200, old, "" },
                { "application/json, application/graphql-response+json;q=0.9",
                  "{\"query\":\"{__typename}\"}",
                  200,
                  old,
                  "" },
                { "application/json; charset=utf-8 , text/html",
                  "{\"query\":\"{__typename}\"}",
                  200,
                  old,
                  "" },
                { "text/html", "{\"query\":\"{__typename}\"}", 406, "application/problem+json", "" },
                { "application/json;q=0",
                  "{\"query\":\"{__typename}\"}",
                  406,
                  "application/problem+json",
                  "" },
                { modern, "{\"query\":\"{\"}", 400, modern, "GRAPHQL_PARSE_FAILED" },
                { old, "{\"query\":\"{\"}", 200, old, "GRAPHQL_PARSE_FAILED" },
                { modern, "{\"query\":\"{nothing}\"}", 400, modern, "GRAPHQL_VALIDATION_FAILED" },
                { old, "{\"query\":\"{nothing}\"}", 200, old, "GRAPHQL_VALIDATION_FAILED" },
                { old, "{\"query\":\"query($i: ID!) {thing(id: $i) {id}}\"}", 200, old, "BAD_USER_INPUT" },
                { modern,
                  "{\"query\":\"{__typename}\",\"operationName\":\"X\"}",
                  400,
                  modern,
                  "Unknown operation" },
                { modern, "{\"query\":\"{outside {id}}\"}", 200, modern, "\"data\":{\"outside\":null}" },
                { modern, "{", 400, modern, "not valid JSON" },
                { old, "{", 400, old, "not valid JSON" },
                { old, "[]", 400, old, "must be an object" },
                { old, "{}", 400, old, "is missing" },
                { old, "{\"query\":null}", 400, old, "is missing" },
                { old, "{\"query\":1}", 400, old, "must be a string" },
                { old, "{\"query\":\"{__typename}\",\"variables\":[]}", 400, old, "must be an object" },
                { old,
                  "{\"query\":\"{__typename}\",\"variables\":null,\"extensions\":{},\"operationName\":null,\"more\":1}",
                  200,
                  old,
                  "Query" },
                { old, "{\"query\":\"{__typename}\",\"extensions\":1}", 400, old, "must be an object" },
        };
        _cleanup_(answer_done) Answer a = { 0 };
        Case c = { 0 };

        setup(&c);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                char type[128];

                send_request(&c,
                             &a,
                             "POST",
                             "/graphql",
                             cases[i].body,
                             (const char *const[]){ "Content-Type",
                                                    "application/json",
                                                    "Accept",
                                                    cases[i].accept,
                                                    NULL });
                (void) snprintf(type, sizeof(type), "Content-Type: %s", cases[i].type);
                if (a.status != cases[i].status || !has(a.fields, type) ||
                    !strstr(mam_buffer_bytes(&a.body), cases[i].part))
                        mam_test_fail_string(__FILE__, (int) i, cases[i].body, mam_buffer_bytes(&a.body));
        }
        teardown(&c);
}

TEST(get_is_for_queries_and_other_methods_are_refused) {
        _cleanup_(answer_done) Answer a = { 0 };
        Case c = { 0 };

        setup(&c);
        send_request(&c,
                     &a,
                     "GET",
                     "/graphql?query=query+Q(%24i%3aID!)%7Bthing(id%3a%24i)%7Bid%7D%7D&variables=%7B%22i%22%3A%22z%22%7D&operationName=Q",
                     NULL,
                     NULL);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "{\"data\":{\"thing\":{\"id\":\"z\"}}}");
        send_request(&c, &a, "GET", "/graphql?query=mutation%7B__typename%7D", NULL, NULL);
        ASSERT_EQ(a.status, 405);
        ASSERT_TRUE(has(a.fields, "Allow: POST\n"));
        send_request(&c, &a, "GET", "/graphql", NULL, NULL);
        ASSERT_EQ(a.status, 400);
        send_request(&c, &a, "GET", "/graphql?query=%7B__typename%7D&variables=x", NULL, NULL);
        ASSERT_EQ(a.status, 400);
        send_request(&c, &a, "PUT", "/graphql", "{}", json);
        ASSERT_EQ(a.status, 405);
        send_request(&c,
                     &a,
                     "POST",
                     "/graphql",
                     "{__typename}",
                     (const char *const[]){ "Content-Type", "application/graphql", NULL });
        ASSERT_EQ(a.status, 415);
        send_request(&c,
                     &a,
                     "POST",
                     "/graphql",
                     "{\"query\":\"{__typename}\"}",
                     (const char *const[]){ "Content-Type", "application/json; charset=iso-8859-1", NULL });
        ASSERT_EQ(a.status, 415);
        send_request(&c,
                     &a,
                     "POST",
                     "/graphql",
                     "{\"query\":\"{__typename}\"}",
                     (const char *const[]){ "Content-Type", "application/json;charset=\"UTF-8\"", NULL });
        ASSERT_EQ(a.status, 200);
        send_request(&c, &a, "POST", "/graphql", "{\"query\":\"{__typename}\"}", NULL);
        ASSERT_EQ(a.status, 415);
        send_request(&c, &a, "GET", "/graphql/x", NULL, NULL);
        ASSERT_EQ(a.status, 404);
        teardown(&c);
}

TEST(nobody_and_too_much_are_refused) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        _cleanup_(answer_done) Answer a = { 0 };
        Case c = { 0 };

        setup(&c);
        ASSERT_OK(mam_http_call_new(
                        &call,
                        c.f.client,
                        "GET",
                        "/graphql?query=%7B__typename%7D",
                        &client_callbacks,
                        &a));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&c.f, a.ended);
        ASSERT_EQ(a.status, 401);
        call = mam_http_call_free(call);

        /* who is nobody may ask where it is said so, but has no more rights at the services */
        mam_buffer_done(&a.body);
        a = (Answer){ 0 };
        c.f.gateway->graphql->config.anonymous = true;
        ASSERT_OK(mam_http_call_new(
                        &call,
                        c.f.client,
                        "GET",
                        "/graphql?query=%7Bthing(id:1)%7Bid%7D%7D",
                        &client_callbacks,
                        &a));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&c.f, a.ended);
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(strstr(mam_buffer_bytes(&a.body), "\"code\":\"UNAUTHENTICATED\",\"status\":401"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&a.body), "\"data\":{\"thing\":null}"));
        ASSERT_EQ(c.f.replicas[0].n_requests, 0);

        ASSERT_OK(mam_buffer_append_string(&text, "{\"query\":\"{__typename}"));
        for (unsigned i = 0; i < 70000; i++)
                ASSERT_OK(mam_buffer_append_string(&text, " "));
        ASSERT_OK(mam_buffer_append_string(&text, "\"}"));
        (void) post(&c, &a, mam_buffer_bytes(&text));
        ASSERT_EQ(a.status, 413);

        c.f.gateway->graphql->config.enabled = false;
        (void) post(&c, &a, "{\"query\":\"{__typename}\"}");
        ASSERT_EQ(a.status, 404);
        teardown(&c);
}

TEST(a_client_that_leaves_takes_its_requests_along) {
        static const char body[] = "{\"query\":\"{hold {id} a: thing(id: 2) {id}}\"}";
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Replica *r;
        Case c = { 0 };

        setup(&c);
        r = &c.f.replicas[0];
        call = call_new(&c.f, &a, "POST", "/graphql");
        ASSERT_OK(mam_http_call_add_field(call, "Content-Type", "application/json"));
        ASSERT_OK(mam_http_call_set_body(call, body, strlen(body)));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&c.f, r->held);
        RUN_UNTIL(&c.f, mam_http_server_in_flight(c.f.server) == 2); /* the other one is answered */
        call = mam_http_call_free(call);
        RUN_UNTIL(&c.f, mam_http_server_in_flight(c.f.server) == 0);
        RUN_UNTIL(&c.f, mam_http_server_in_flight(r->server) == 0);
        teardown(&c);
}

TEST(an_operation_has_its_time) {
        _cleanup_(answer_done) Answer a = { 0 };
        Case c = { 0 };

        setup(&c);
        c.f.gateway->graphql->config.timeout_usec = 50 * MAM_USEC_PER_MSEC;
        (void) post(&c, &a, "{\"query\":\"{hold {id}}\"}");
        ASSERT_EQ(a.status, 504);
        ASSERT_EQ(metric(&c.f, "mam_gateway_graphql_operations_total{kind=\"query\",outcome=\"timeout\"} "),
                  1);
        RUN_UNTIL(&c.f, mam_http_server_in_flight(c.f.replicas[0].server) == 0);
        teardown(&c);
}

static bool offers(const Case *c, const char *field) {
        const GqlSchema *s = c->f.gateway->graphql->schema;

        return gql_schema_find_field(s, s->query, field);
}

TEST(a_changed_schema_is_taken_over_if_it_is_valid) {
        _cleanup_(answer_done) Answer a = { 0 };
        Case c = { 0 };

        setup(&c);
        write_schema(&c, "extend type Query {more: Int @rest(service: \"x\", get: \"/x/more\")}");
        RUN_UNTIL(&c.f, offers(&c, "more"));
        ASSERT_TRUE(strstr(post(&c, &a, "{\"query\":\"{thing(id: 1) {id}}\"}"), "Cannot query field"));
        /* what is broken changes nothing */
        write_schema(&c, "extend type Query {");
        ASSERT_TRUE(strstr(post(&c, &a, "{\"query\":\"{more}\"}"), "\"data\":{\"more\":null}"));
        ASSERT_TRUE(offers(&c, "more"));
        write_schema(&c, "extend type Query {less: Int @rest(service: \"x\", get: \"/x/more\")}");
        RUN_UNTIL(&c.f, offers(&c, "less"));
        ASSERT_TRUE(!offers(&c, "more"));
        teardown(&c);
}
