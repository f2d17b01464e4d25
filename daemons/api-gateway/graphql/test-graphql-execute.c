/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Operations and their answers
 */

#include <string.h>

#include "api-gateway/graphql/test-graphql.h"

static void cases(const char *const (*list)[3], size_t n) {
        Shop s;

        shop_setup(&s);
        for (size_t i = 0; i < n; i++)
                ASSERT_STREQ(shop_ask(&s, list[i][0], list[i][1]), list[i][2]);
        shop_done(&s);
}

TEST(what_is_asked_for_is_answered_in_this_order) {
        static const char *const list[][3] = {
                { "{item(id: 1) {name id price stock color createdAt any grid}}",
                  NULL,
                  "{\"data\":{\"item\":{\"name\":\"one\",\"id\":\"1\",\"price\":2.50,\"stock\":7,\"color\":\"RED\",\"createdAt\":\"now\",\"any\":{\"x\":[1,null]},\"grid\":[[1,2],null,[]]}}}" },
                { "query Q($i: ID!, $s: Boolean = true) {a: item(id: $i) {id @skip(if: $s) name ...F @include(if: $s)}} fragment F on Item {__typename name color}",
                  "{\"i\":1}",
                  "{\"data\":{\"a\":{\"name\":\"one\",\"__typename\":\"Item\",\"color\":\"RED\"}}}" },
                { "{item(id: \"a/b \\u00e4\") {id}}", NULL, "{\"data\":{\"item\":{\"id\":\"odd\"}}}" },
                { "{item(id: 99) {id}}", NULL, "{\"data\":{\"item\":null}}" },
                { "{items(first: 2, after: \"a&b\", color: RED) {next items {id}}}",
                  NULL,
                  "{\"data\":{\"items\":{\"next\":\"n\",\"items\":[]}}}" },
                { "{pets {__typename ... on Cat {name lives} ... on Dog {barks}}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"The service's answer is no object of type \\\"Pet\\\"\",\"locations\":[{\"line\":1,\"column\":2}],\"path\":[\"pets\",2],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}}],\"data\":{\"pets\":[{\"__typename\":\"Cat\",\"name\":\"Tom\",\"lives\":7},{\"__typename\":\"Dog\",\"barks\":true},null]}}" },
                { "{item(id: 1) {maker {name} related {id maker {id}}}}",
                  NULL,
                  "{\"data\":{\"item\":{\"maker\":{\"name\":\"Maker\"},\"related\":[{\"id\":\"2\",\"maker\":null}]}}}" },
                { "{__typename}", NULL, "{\"data\":{\"__typename\":\"Query\"}}" },
                { "mutation {__typename}", NULL, "{\"data\":{\"__typename\":\"Mutation\"}}" },
        };

        cases(list, MAM_ELEMENTSOF(list));
}

TEST(an_error_leaves_null_where_null_may_be) {
        static const char *const list[][3] = {
                { "{item(id: 3) {id name}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"The service gave no value for \\\"Item.name\\\", which is never null\",\"locations\":[{\"line\":1,\"column\":18}],\"path\":[\"item\",\"name\"],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}}],\"data\":{\"item\":null}}" },
                { "{item(id: 3) {grid maker {id}}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"The service gave no value for \\\"Item.grid\\\", which is never null\",\"locations\":[{\"line\":1,\"column\":15}],\"path\":[\"item\",\"grid\",0,0],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}}],\"data\":{\"item\":{\"grid\":[null],\"maker\":null}}}" },
                { "{items(first: 1) {items {id name}}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"The service gave no value for \\\"Item.name\\\", which is never null\",\"locations\":[{\"line\":1,\"column\":29}],\"path\":[\"items\",\"items\",0,\"name\"],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}}],\"data\":null}" },
                { "{item(id: 2) {stock color name}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"The service's answer is no value of type \\\"Int\\\"\",\"locations\":[{\"line\":1,\"column\":15}],\"path\":[\"item\",\"stock\"],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}},"
                  "{\"message\":\"The service's answer is no value of type \\\"Color\\\"\",\"locations\":[{\"line\":1,\"column\":21}],\"path\":[\"item\",\"color\"],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}}],\"data\":{\"item\":{\"stock\":null,\"color\":null,\"name\":\"two\"}}}" },
                { "{a: item(id: 500) {id} b: item(id: \"bad\") {id} c: item(id: \"\") {id} d: item(id: \"..\") {id} e: nowhere {id}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"The value of \\\"id\\\" cannot be used in a request\",\"locations\":[{\"line\":1,\"column\":48}],\"path\":[\"c\"],\"extensions\":{\"code\":\"BAD_USER_INPUT\"}},"
                  "{\"message\":\"The value of \\\"id\\\" cannot be used in a request\",\"locations\":[{\"line\":1,\"column\":69}],\"path\":[\"d\"],\"extensions\":{\"code\":\"BAD_USER_INPUT\"}},"
                  "{\"message\":\"Service \\\"nobody\\\" has no such resource behind this gateway\",\"locations\":[{\"line\":1,\"column\":92}],\"path\":[\"e\"],\"extensions\":{\"code\":\"UNAVAILABLE\"}},"
                  "{\"message\":\"out of \\\"order\\\"\",\"locations\":[{\"line\":1,\"column\":2}],\"path\":[\"a\"],\"extensions\":{\"code\":\"UPSTREAM_ERROR\",\"status\":500,\"errors\":[{\"pointer\":\"/a\"}]}},"
                  "{\"message\":\"The service's answer cannot be used\",\"locations\":[{\"line\":1,\"column\":24}],\"path\":[\"b\"],\"extensions\":{\"code\":\"UPSTREAM_ERROR\"}}],"
                  "\"data\":{\"a\":null,\"b\":null,\"c\":null,\"d\":null,\"e\":null}}" },
                { "{sure {id}}",
                  NULL,
                  "{\"errors\":[{\"message\":\"no\",\"locations\":[{\"line\":1,\"column\":2}],\"path\":[\"sure\"],\"extensions\":{\"code\":\"UNAVAILABLE\",\"status\":503}}],\"data\":null}" },
        };

        cases(list, MAM_ELEMENTSOF(list));
}

TEST(the_same_get_is_sent_once_and_others_side_by_side) {
        Shop s;

        shop_setup(&s);
        ASSERT_STREQ(shop_ask(&s, "{items {items {id maker {name}}}}", NULL),
                     "{\"data\":{\"items\":{\"items\":[{\"id\":\"1\",\"maker\":{\"name\":\"Maker\"}},{\"id\":\"2\",\"maker\":{\"name\":\"Maker\"}},{\"id\":\"4\",\"maker\":null}]}}}");
        ASSERT_STREQ(mam_buffer_bytes(&s.log), "GET /items?limit=3\nGET /makers/m\nGET /makers/k\n");
        ASSERT_EQ(s.most_waiting, 2);
        (void) shop_ask(&s,
                        "{a: item(id: 1) {id} b: item(id: 1) {name} c: item(id: 2) {maker {id}} d: item(id: 1) {maker {name}}}",
                        NULL);
        ASSERT_STREQ(mam_buffer_bytes(&s.log), "GET /items/1\nGET /items/2\nGET /makers/m\n");
        shop_done(&s);
}

TEST(at_most_so_many_requests_run_at_once) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        Shop s;

        shop_setup(&s);
        ASSERT_OK(mam_buffer_append_string(&text, "{"));
        for (unsigned i = 0; i < 40; i++)
                ASSERT_OK(mam_buffer_appendf(&text, "a%u: item(id: %u) {id} ", i, i + 100));
        ASSERT_OK(mam_buffer_append_string(&text, "}"));
        (void) shop_ask(&s, mam_buffer_bytes(&text), NULL);
        ASSERT_EQ(s.n_requests, 40);
        ASSERT_EQ(s.most_waiting, GQL_RUNNING_MAX);

        /* freed in the middle: what is under way is cancelled */
        s.hold = true;
        (void) shop_ask(&s, mam_buffer_bytes(&text), NULL);
        ASSERT_EQ(s.n_waiting, GQL_RUNNING_MAX);
        shop_done(&s);
        ASSERT_EQ(s.n_waiting, 0);
}

TEST(fields_of_a_mutation_come_one_after_the_other) {
        Shop s;

        shop_setup(&s);
        ASSERT_STREQ(shop_ask(&s,
                              "mutation($p: PartInput) {a: create(input: {name: \"x\", part: $p, unitPrice: 3}, key: \"k1\") {id} b: create(input: {name: \"y\", color: RED, tags: \"t\", stock: null}) {id}}",
                              "{\"p\":{\"sub\":{\"size\":1}}}"),
                     "{\"data\":{\"a\":{\"id\":\"new\"},\"b\":{\"id\":\"new\"}}}");
        ASSERT_STREQ(mam_buffer_bytes(&s.log),
                     "POST /items\nIdempotency-Key: k1\r\n{\"name\":\"x\",\"color\":\"green\",\"part\":{\"size\":4,\"sub\":{\"size\":1}},\"unit_price\":3}\n"
                     "POST /items\n{\"name\":\"y\",\"color\":\"red\",\"stock\":null,\"tags\":[\"t\"]}\n");
        ASSERT_EQ(s.most_waiting, 1);
        ASSERT_STREQ(shop_ask(&s,
                              "mutation {a: remove(id: 1, version: 3) b: remove(id: 9, version: 4)}",
                              NULL),
                     "{\"errors\":[{\"message\":\"It has changed\",\"locations\":[{\"line\":1,\"column\":40}],\"path\":[\"b\"],\"extensions\":{\"code\":\"PRECONDITION_FAILED\",\"status\":412}}],\"data\":{\"a\":true,\"b\":null}}");
        ASSERT_STREQ(mam_buffer_bytes(&s.log),
                     "DELETE /items/1\nIf-Match: \"3\"\r\nDELETE /items/9\nIf-Match: \"4\"\r\n");
        (void) shop_ask(&s, "mutation {create(input: {name: \"x\"}, key: \"a\\nb\") {id}}", NULL);
        ASSERT_TRUE(strstr(mam_buffer_bytes(&s.answer), "cannot be used in a request"));
        ASSERT_EQ(s.n_requests, 0);
        shop_done(&s);
}

TEST(variables_are_checked_before_anything_is_done) {
        static const struct {
                const char *document, *variables, *wrong;
        } list[] = {
                { "query($i: ID!) {item(id: $i) {id}}", NULL, "required type \\\"ID!\\\" was not provided" },
                { "query($i: ID!) {item(id: $i) {id}}",
                  "{\"i\":null}",
                  "expected type \\\"ID!\\\", not null" },
                { "query($i: ID!) {item(id: $i) {id}}", "{\"i\":1.5}", "expected type \\\"ID\\\"" },
                { "query($i: Int) {items(first: $i) {next}}", "{\"i\":\"1\"}", "expected type \\\"Int\\\"" },
                { "query($i: Int) {items(first: $i) {next}}",
                  "{\"i\":2147483648}",
                  "expected type \\\"Int\\\"" },
                { "query($c: Color) {items(color: $c) {next}}", "{\"c\":\"red\"}", "one of its values" },
                { "query($f: Filter) {find(filter: $f) {id}}", "{\"f\":{\"c\":1}}", "no such field" },
                { "query($f: Filter) {find(filter: $f) {id}}", "{\"f\":{\"b\":[1,null]}}", "at b[1]" },
                { "query($f: Filter) {find(filter: $f) {id}}", "{\"f\":3}", "expected type \\\"Filter\\\"" },
                { "mutation($p: ItemInput!) {create(input: $p) {id}}",
                  "{\"p\":{}}",
                  "field \\\"name\\\" is required" },
        };
        Shop s;

        shop_setup(&s);
        for (size_t i = 0; i < MAM_ELEMENTSOF(list); i++) {
                const char *text = shop_ask(&s, list[i].document, list[i].variables);

                ASSERT_TRUE(strstr(text, list[i].wrong));
                ASSERT_TRUE(!strstr(text, "\"data\""));
                ASSERT_EQ(s.n_requests, 0);
        }
        ASSERT_STREQ(shop_ask(&s, "query($b: Json) {find(big: $b) {id}}", "{\"b\":5}"),
                     "{\"data\":{\"find\":{\"id\":\"f5\"}}}");
        ASSERT_STREQ(mam_buffer_bytes(&s.log), "GET /find?size=5\nIf-None-Match: \"5\"\r\n");
        shop_done(&s);
}

TEST(what_costs_too_much_is_refused) {
        static const char *const dear[] = {
                "{items(first: 200) {items {maker {id}}}}",
                "{items(first: 10) {items {related(first: 10) {maker {id}}}}}",
                "query($n: Int = 99) {items(first: $n) {items {maker {id}}} item(id: 1) {id}}",
                "{pets {...on Cat {name}} item(id: 1) {related(first: 50) {related {related {id}}}}}",
        };
        Shop s;

        shop_setup(&s);
        for (size_t i = 0; i < MAM_ELEMENTSOF(dear); i++)
                ASSERT_TRUE(strstr(shop_ask(&s, dear[i], NULL), "LIMIT_EXCEEDED"));
        ASSERT_TRUE(
                        !strstr(shop_ask(&s, "{items(first: 99) {items {maker {id}}}}", NULL),
                                "LIMIT_EXCEEDED"));
        /* a service that gives more than was asked for gains nothing */
        s.limits.cost = 3;
        ASSERT_TRUE(strstr(shop_ask(&s, "query {items {items {id maker {id}}}}", NULL), "LIMIT_EXCEEDED"));
        s.limits.cost = 100;
        s.limits.selections = 5;
        ASSERT_TRUE(strstr(
                        shop_ask(&s, "{...A ...A} fragment A on Query {item(id: 1) {id name stock}}", NULL),
                        "a number of fields of 8"));
        s.limits.selections = 500;
        s.limits.aliases = 1;
        ASSERT_TRUE(strstr(shop_ask(&s, "{a: __typename b: __typename}", NULL), "a number of aliases of 2"));
        s.limits.depth = 2;
        ASSERT_TRUE(
                        strstr(shop_ask(&s, "{item(id: 1) {...A}} fragment A on Item {maker {id}}", NULL),
                               "a depth of 3"));
        shop_done(&s);
}

TEST(introspection_tells_the_schema) {
        static const char *const list[][3] = {
                { "{__schema {description queryType {name} mutationType {name} subscriptionType {name}}}",
                  NULL,
                  "{\"data\":{\"__schema\":{\"description\":\"The shop\",\"queryType\":{\"name\":\"Query\"},\"mutationType\":{\"name\":\"Mutation\"},\"subscriptionType\":null}}}" },
                { "{__type(name: \"Color\") {kind name enumValues {name} all: enumValues(includeDeprecated: true) {name isDeprecated deprecationReason} fields {name}}}",
                  NULL,
                  "{\"data\":{\"__type\":{\"kind\":\"ENUM\",\"name\":\"Color\",\"enumValues\":[{\"name\":\"RED\"},{\"name\":\"GREEN\"}],\"all\":[{\"name\":\"RED\",\"isDeprecated\":false,\"deprecationReason\":null},{\"name\":\"GREEN\",\"isDeprecated\":false,\"deprecationReason\":null},{\"name\":\"OLD\",\"isDeprecated\":true,\"deprecationReason\":\"No longer supported\"}],\"fields\":null}}}" },
                { "{__type(name: \"ItemInput\") {inputFields {name defaultValue type {kind name ofType {name}}}}}",
                  NULL,
                  "{\"data\":{\"__type\":{\"inputFields\":[{\"name\":\"name\",\"defaultValue\":null,\"type\":{\"kind\":\"NON_NULL\",\"name\":null,\"ofType\":{\"name\":\"String\"}}},{\"name\":\"color\",\"defaultValue\":\"GREEN\",\"type\":{\"kind\":\"ENUM\",\"name\":\"Color\",\"ofType\":null}},{\"name\":\"stock\",\"defaultValue\":null,\"type\":{\"kind\":\"SCALAR\",\"name\":\"Int\",\"ofType\":null}},{\"name\":\"tags\",\"defaultValue\":null,\"type\":{\"kind\":\"LIST\",\"name\":null,\"ofType\":{\"name\":null}}},{\"name\":\"part\",\"defaultValue\":null,\"type\":{\"kind\":\"INPUT_OBJECT\",\"name\":\"PartInput\",\"ofType\":null}},{\"name\":\"unitPrice\",\"defaultValue\":null,\"type\":{\"kind\":\"SCALAR\",\"name\":\"Float\",\"ofType\":null}}]}}}" },
                { "{__type(name: \"Pet\") {possibleTypes {name}} i: __type(name: \"Named\") {possibleTypes {name} fields {name args {name}}} n: __type(name: \"No\") {name} j: __type(name: \"Json\") {specifiedByURL}}",
                  NULL,
                  "{\"data\":{\"__type\":{\"possibleTypes\":[{\"name\":\"Cat\"},{\"name\":\"Dog\"}]},\"i\":{\"possibleTypes\":[{\"name\":\"Item\"},{\"name\":\"Cat\"},{\"name\":\"Dog\"}],\"fields\":[{\"name\":\"name\",\"args\":[]}]},\"n\":null,\"j\":{\"specifiedByURL\":\"https://example.org/json\"}}}" },
                { "{__schema {directives {name locations isRepeatable args {name defaultValue}}}}", NULL, "{\"data\":{\"__schema\":{\"directives\":[{\"name\":\"skip\",\"locations\":[\"FIELD\",\"FRAGMENT_SPREAD\",\"INLINE_FRAGMENT\"],\"isRepeatable\":false,\"args\":[{\"name\":\"if\",\"defaultValue\":null}]},{\"name\":\"include\",\"locations\":[\"FIELD\",\"FRAGMENT_SPREAD\",\"INLINE_FRAGMENT\"],\"isRepeatable\":false,\"args\":[{\"name\":\"if\",\"defaultValue\":null}]},{\"name\":\"deprecated\",\"locations\":[\"FIELD_DEFINITION\",\"ARGUMENT_DEFINITION\",\"ENUM_VALUE\",\"INPUT_FIELD_DEFINITION\"],\"isRepeatable\":false,\"args\":[{\"name\":\"reason\",\"defaultValue\":\"\\\"No longer supported\\\"\"}]},{\"name\":\"specifiedBy\",\"locations\":[\"SCALAR\"],\"isRepeatable\":false,\"args\":[{\"name\":\"url\",\"defaultValue\":null}]}]}}}" },
        };
        Shop s;

        cases(list, MAM_ELEMENTSOF(list));
        shop_setup(&s);
        s.limits.introspection = false;
        ASSERT_TRUE(
                        strstr(shop_ask(&s, "{...A} fragment A on Query {__schema {description}}", NULL),
                               "Introspection is not allowed"));
        ASSERT_STREQ(shop_ask(&s, "{__typename}", NULL), "{\"data\":{\"__typename\":\"Query\"}}");
        shop_done(&s);
}
