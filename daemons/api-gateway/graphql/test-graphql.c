/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/test-graphql.h"

#include <string.h>

#include "api-gateway/graphql/values.h"

const char shop_sdl[] =
                "\"The shop\"\n"
                "schema { query: Query mutation: Mutation }\n"
                "extend type Query {\n"
                "  item(id: ID!): Item @rest(service: \"shop\", get: \"/items/{id}\")\n"
                "  items(first: Int = 3, after: String, color: Color): Page!\n"
                "    @rest(service: \"shop\", get: \"/items?limit={first}&cursor={after}&color={color}\") @list(argument: \"first\")\n"
                "  sure: Item! @rest(service: \"shop\", get: \"/items/sure\")\n"
                "  pets: [Pet] @rest(service: \"shop\", get: \"/pets\", at: \"/list/pets\")\n"
                "  named: [Named!] @rest(service: \"shop\", get: \"/pets\", at: \"/list/pets\")\n"
                "  find(filter: Filter, tags: [String!], big: Json): Item @rest(service: \"shop\", get: \"/find?size={big}\", headers: [\"If-None-Match: \\\"{big}\\\"\"])\n"
                "  nowhere: Item @rest(service: \"nobody\", get: \"/nowhere\")\n"
                "}\n"
                "extend type Mutation {\n"
                "  create(input: ItemInput!, key: String): Item! @rest(service: \"shop\", post: \"/items\", body: \"input\", headers: [\"Idempotency-Key: {key}\"])\n"
                "  remove(id: ID!, version: Int!): Boolean @rest(service: \"shop\", delete: \"/items/{id}\", headers: [\"If-Match: \\\"{version}\\\"\"])\n"
                "}\n"
                "type Page { items: [Item!]! next: String }\n"
                "type Item implements Named {\n"
                "  id: ID!\n"
                "  name: String!\n"
                "  price: Float\n"
                "  stock: Int\n"
                "  color: Color\n"
                "  createdAt: String @json(name: \"created_at\")\n"
                "  old: String @deprecated(reason: \"gone\")\n"
                "  maker: Maker @rest(service: \"makers\", get: \"/makers/{parent.maker_id}\")\n"
                "  related(first: Int! = 2): [Item!]! @rest(service: \"shop\", get: \"/items/{parent.id}/related?n={first}\") @list(argument: \"first\")\n"
                "  any: Json\n"
                "  grid: [[Int!]]\n"
                "}\n"
                "type Maker { id: ID! name: String! }\n"
                "enum Color { RED @json(name: \"red\") GREEN @json(name: \"green\") OLD @deprecated }\n"
                "scalar Json @specifiedBy(url: \"https://example.org/json\")\n"
                "interface Named { name: String! }\n"
                "type Cat implements Named @json(name: \"cat\") { name: String! lives: Int }\n"
                "type Dog implements Named { name: String! barks: Boolean! lives: String }\n"
                "union Pet @kind(member: \"sort\") = Cat | Dog\n"
                "extend interface Named @kind(member: \"sort\")\n"
                "input ItemInput { name: String! color: Color = GREEN stock: Int tags: [String!] part: PartInput unitPrice: Float @json(name: \"unit_price\") }\n"
                "input PartInput { size: Int! = 4 sub: PartInput }\n"
                "input Filter { a: Int b: [Int!] }\n";

static const struct {
        const char *request, *body;
        unsigned status;
} answers[] = {
        { "GET /items/1",
          "{\"id\":1,\"name\":\"one\",\"price\":2.50,\"stock\":7,\"color\":\"red\",\"created_at\":\"now\",\"maker_id\":\"m\",\"any\":{\"x\":[1,null]},\"grid\":[[1,2],null,[]]}",
          200 },
        { "GET /items/2",
          "{\"id\":\"2\",\"name\":\"two\",\"stock\":\"many\",\"color\":\"blue\",\"maker_id\":\"m\"}",
          200 },
        { "GET /items/3", "{\"id\":\"3\",\"name\":null,\"maker_id\":null,\"grid\":[[null]]}", 200 },
        { "GET /items/bad", "<html>", 200 },
        { "GET /items/500",
          "{\"title\":\"x\",\"detail\":\"out of \\\"order\\\"\",\"errors\":[{\"pointer\":\"/a\"}]}",
          500 },
        { "GET /items/a%2Fb%20%C3%A4", "{\"id\":\"odd\",\"name\":\"odd\"}", 200 },
        { "GET /items?limit=3",
          "{\"items\":[{\"id\":1,\"name\":\"one\",\"maker_id\":\"m\"},{\"id\":2,\"name\":\"two\",\"maker_id\":\"m\"},{\"id\":4,\"name\":\"four\",\"maker_id\":\"k\"}],\"next\":null}",
          200 },
        { "GET /items?limit=2&cursor=a%26b&color=red", "{\"items\":[],\"next\":\"n\"}", 200 },
        { "GET /items?limit=1", "{\"items\":[{\"id\":1,\"name\":null}]}", 200 },
        { "GET /items/1/related?n=2", "[{\"id\":\"2\",\"name\":\"two\"}]", 200 },
        { "GET /items/2/related?n=2", "[]", 200 },
        { "GET /items/4/related?n=2", "null", 200 },
        { "GET /makers/m", "{\"id\":\"m\",\"name\":\"Maker\"}", 200 },
        { "GET /makers/k", "{}", 404 },
        { "GET /pets",
          "{\"list\":{\"pets\":[{\"sort\":\"cat\",\"name\":\"Tom\",\"lives\":7},{\"sort\":\"Dog\",\"name\":\"Rex\",\"barks\":true,\"lives\":\"one\"},{\"sort\":\"cow\"}]}}",
          200 },
        { "GET /find", "{\"id\":\"f\",\"name\":\"found\"}", 200 },
        { "GET /find?size=5", "{\"id\":\"f5\",\"name\":\"found\"}", 200 },
        { "POST /items", "{\"id\":\"new\",\"name\":\"new\"}", 201 },
        { "DELETE /items/1", "", 204 },
        { "DELETE /items/9", "{\"detail\":\"It has changed\"}", 412 },
        { "GET /items/sure", "{\"detail\":\"no\"}", 503 },
};

static int start(void **ret, const GqlRequest *q, GqlFetch *f, void *userdata) {
        Shop *s = userdata;

        if (strcmp(q->rest->service, "nobody") == 0)
                return -ENOENT;
        ASSERT_TRUE(s->n_waiting < REQUESTS_MAX);
        *ret = f;
        s->n_requests++;
        ASSERT_OK(mam_buffer_appendf(
                        &s->log,
                        "%s %s\n%s%s",
                        q->rest->method,
                        mam_buffer_bytes(&q->target),
                        mam_buffer_bytes(&q->fields),
                        mam_buffer_bytes(&q->body)));
        if (q->body.size > 0)
                ASSERT_OK(mam_buffer_append_string(&s->log, "\n"));
        s->wanted[s->n_waiting] = strdup(mam_buffer_bytes(&q->target));
        s->waiting[s->n_waiting++] = f;
        if (s->n_waiting > s->most_waiting)
                s->most_waiting = s->n_waiting;
        return 0;
}

static void cancel(void *handle, void *userdata) {
        Shop *s = userdata;

        for (size_t i = 0; i < s->n_waiting; i++)
                if (s->waiting[i] == handle) {
                        free((char *) s->wanted[i]);
                        s->n_waiting--;
                        s->waiting[i] = s->waiting[s->n_waiting];
                        s->wanted[i] = s->wanted[s->n_waiting];
                        return;
                }
        ASSERT_TRUE(false);
}

/* Answers the oldest request. */
static void answer_one(Shop *s, const char *method) {
        GqlFetch *f = s->waiting[0];
        char *target = (char *) s->wanted[0];
        char line[512];

        (void) snprintf(line, sizeof(line), "%s %s", method, target);
        free(target);
        s->n_waiting--;
        memmove(s->waiting, s->waiting + 1, s->n_waiting * sizeof(s->waiting[0]));
        memmove(s->wanted, s->wanted + 1, s->n_waiting * sizeof(s->wanted[0]));
        for (size_t i = 0; i < MAM_ELEMENTSOF(answers); i++)
                if (strcmp(answers[i].request, line) == 0) {
                        gql_fetch_done(f, answers[i].status, answers[i].body, strlen(answers[i].body));
                        return;
                }
        gql_fetch_done(f, 404, "{\"detail\":\"There is no such thing\"}", 35);
}

static void on_done(GqlExecution *x, void *userdata) {
        Shop *s = userdata;

        s->done = true;
}

void shop_setup(Shop *s) {
        const GqlSource source = { "shop.graphql", shop_sdl, strlen(shop_sdl) };
        char message[512] = "";
        size_t bad = 0;
        int r;

        *s = (Shop){ .limits = { .depth = 20,
                                 .aliases = 50,
                                 .selections = 500,
                                 .cost = 100,
                                 .introspection = true } };
        r = gql_schema_new(&s->schema, &source, 1, message, &bad);
        ASSERT_STREQ(message, "");
        ASSERT_OK(r);
}

static void shop_reset(Shop *s) {
        s->execution = gql_execution_free(s->execution);
        gql_errors_done(&s->errors);
        s->arena = gql_arena_free(s->arena);
        json_object_put(MAM_TAKE(s->variables));
        mam_buffer_done(&s->log);
        mam_buffer_done(&s->answer);
        s->n_requests = s->most_waiting = 0;
        s->done = false;
        ASSERT_EQ(s->n_waiting, 0);
        ASSERT_OK(gql_arena_new(&s->arena, 8U * 1024U * 1024U));
        s->errors = (GqlErrors){ .arena = s->arena };
}

void shop_done(Shop *s) {
        shop_reset(s);
        gql_arena_free(s->arena);
        gql_schema_unref(s->schema);
}

const char *shop_check(Shop *s, const char *document) {
        GqlDocument *d = NULL;
        int r;

        shop_reset(s);
        r = gql_parse(&d, s->arena, &s->errors, document, strlen(document), 10000);
        if (r >= 0)
                gql_validate(s->schema, &s->errors, d, &s->limits);
        ASSERT_TRUE((r < 0) <= (s->errors.n > 0));
        return s->errors.first ? s->errors.first->message : "";
}

const char *shop_ask(Shop *s, const char *document, const char *variables) {
        const GqlFetcher fetcher = { start, cancel, s };
        _cleanup_(json_object_putp) json_object *sent = NULL;
        GqlDocument *d = NULL;
        GqlOperation *o = NULL;
        int r;

        shop_reset(s);
        if (variables)
                ASSERT_OK(mam_json_parse(&sent, variables, strlen(variables), NULL));
        r = gql_parse(&d, s->arena, &s->errors, document, strlen(document), 10000);
        if (r >= 0)
                gql_validate(s->schema, &s->errors, d, &s->limits);
        if (s->errors.n == 0)
                o = gql_select_operation(d, NULL, &s->errors);
        if (o)
                r = gql_variables_coerce(&s->variables, s->schema, &s->errors, o, sent);
        if (o && r >= 0)
                gql_check_cost(s->schema, &s->errors, o, s->variables, &s->limits);
        if (s->errors.n == 0) {
                r = gql_execution_start(
                                &s->execution,
                                s->schema,
                                s->arena,
                                &s->errors,
                                o,
                                s->variables,
                                s->limits.cost,
                                &fetcher,
                                on_done,
                                s);
                ASSERT_OK(r);
                s->done = r > 0;
                if (s->hold)
                        return "";
                while (!s->done) {
                        ASSERT_TRUE(s->n_waiting > 0);
                        /* the method: what the log says of this one */
                        answer_one(s,
                                   o->kind == GQL_MUTATION && strstr(mam_buffer_bytes(&s->log), "DELETE")
                                                   ? "DELETE"
                                   : o->kind == GQL_MUTATION ? "POST"
                                                             : "GET");
                }
        }
        ASSERT_OK(gql_answer_print(&s->answer, s->execution, &s->errors));
        return mam_buffer_bytes(&s->answer);
}
