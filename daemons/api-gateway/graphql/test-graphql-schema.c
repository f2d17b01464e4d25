/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Schemas: what is refused, and where the message points
 */

#include <string.h>

#include "api-gateway/graphql/test-graphql.h"

#define GOOD "extend type Query {a: Int @rest(service: \"s\", get: \"/a\")}\n"

static int make(const char *first, const char *second, char message[static 512], size_t *bad) {
        const GqlSource sources[] = { { "one.graphql", first, strlen(first) },
                                      { "two.graphql", second, second ? strlen(second) : 0 } };
        GqlSchema *s = NULL;
        int r;

        message[0] = '\0';
        *bad = 99;
        r = gql_schema_new(&s, sources, second ? 2 : 1, message, bad);
        gql_schema_unref(s);
        return r;
}

TEST(what_is_wrong_is_named_with_its_place) {
        static const char *const cases[][2] = {
                { "type", "two.graphql:1: Syntax error: expected a name" },
                { "\n\ntype X {", "two.graphql:3: Syntax error" },
                { "type X {}", "expected a name" },
                { "type X {a: Nothing}", "there is no type \"Nothing\"" },
                { "type X {a: In} input In {a: Int}", "cannot be used for output" },
                { "type X {a(b: X): Int}", "cannot be used for input" },
                { "type X {a: Int a: Int}", "field \"X.a\" is there already" },
                { "type X {a: Int} type X {b: Int}", "type \"X\" is defined already in two.graphql:1" },
                { "type Int {a: Int}", "there from the start" },
                { "type __X {a: Int}", "reserved" },
                { "type X {__a: Int}", "reserved" },
                { "extend type X {a: Int}", "no type \"X\" to extend" },
                { "enum E {A} extend type E {a: Int}", "of another kind" },
                { "extend type __Type {a: Int}", "cannot be extended" },
                { "enum E {A A}", "value \"A\" is there already" },
                { "enum E {true}", "expected a value of an enum" },
                { "enum E", "type \"E\" is empty" },
                { "union U = Int", "not an object type" },
                { "type X {a: Int} union U = X | X", "is there already" },
                { "type X implements Y {a: Int}", "\"Y\" is not an interface" },
                { "interface I {a: Int} type X implements I {b: Int}", "has not the field \"a\"" },
                { "interface I {a: Int!} type X implements I {a: Int}", "has not the field \"a\"" },
                { "interface I {a(x: Int): Int} type X implements I {a: Int}",
                  "has not the argument \"x\"" },
                { "interface I {a: Int} type X implements I {a(x: Int!): Int}", "needs the argument \"x\"" },
                { "interface I {a: Int} interface J implements I {a: Int} type X implements J {a: Int}",
                  "must implement \"I\" too" },
                { "input A {a: A!}", "would have to contain itself" },
                { "input A {b: B!} input B {a: A!}", "would have to contain itself" },
                { "input A {b: Int = \"x\"}", "Expected a value of type \"Int\"" },
                { "input A {b: Int! @deprecated}", "cannot be deprecated" },
                { "directive @own on FIELD", "nobody would know" },
                { "schema {query: Root}", "the roots are" },
                { "type Subscription {a: Int} schema {subscription: Subscription}", "the roots are" },
                { "type X {a: Int @own}", "no directive \"@own\"" },
                { "type X @json(name: 3) {a: Int}", "Expected a value of type \"String\"" },
                { "type X {a: Int @rest}", "needs the argument \"service\"" },
                { "type X {a: Int @deprecated @deprecated}", "is there twice" },
                { "enum E @deprecated {A}", "cannot be used here" },
                { "extend type Query {b: Int}", "\"Query.b\" has no @rest" },
                { "extend type Query {b: Int @rest(service: \"s\")}", "there is no method" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a\", post: \"/b\")}",
                  "only one method" },
                { "extend type Query {b: Int @rest(service: \"s\", post: \"/a\")}",
                  "only fields of Mutation" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"a\")}", "not a path" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"//a\")}", "not a path" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a b\")}", "not a path" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/graphql?query={}\")}",
                  "not a path" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/{x}\")}", "no argument \"x\"" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/{x\")}", "braces do not match" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/{parent.x}\")}",
                  "has no parent" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a?x\")}", "not NAME=VALUE" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a\", headers: [\"Host: x\"])}",
                  "not a header field" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a\", headers: [\"Mam-Subject: x\"])}",
                  "not a header field" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a\", headers: [\"Authorization: x\"])}",
                  "not a header field" },
                { "extend type Query {b(x: Int): Int @rest(service: \"s\", get: \"/a\", body: \"x\")}",
                  "GET has no body" },
                { "extend type Mutation {b: Int @rest(service: \"s\", post: \"/a\", body: \"x\")}",
                  "no argument \"x\"" },
                { "extend type Query {b: [Int] @rest(service: \"s\", get: \"/a\") @list(argument: \"n\")}",
                  "no argument \"n\"" },
                { "extend type Query {b: [Int] @rest(service: \"s\", get: \"/a\") @list(size: 0)}",
                  "a list has 1 to" },
                { "extend type Query {b: Int @rest(service: \"s\", get: \"/a\", at: \"x\")}",
                  "not a JSON pointer" },
                { "interface I {a: Int @rest(service: \"s\", get: \"/a\")}",
                  "an interface is not a resource" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                char message[512];
                size_t bad;

                if (make(GOOD, cases[i][0], message, &bad) != -EBADMSG || !strstr(message, cases[i][1]) ||
                    bad != 1)
                        mam_test_fail_string(__FILE__, (int) i, cases[i][0], message);
        }
}

TEST(files_join) {
        char message[512];
        size_t bad;

        ASSERT_OK(make(GOOD,
                       "extend type Query {b: B @rest(service: \"s\", get: \"/b\")} type B {x: Int}",
                       message,
                       &bad));
        ASSERT_OK(make("type Query {b: Int @rest(service: \"s\", get: \"/b\")}", GOOD, message, &bad));
        /* the second file may define what the first one uses; tools may want our directives in a file */
        ASSERT_OK(make("extend type Query {b: B @rest(service: \"s\", get: \"/b\")}",
                       "type B {x: Int} directive @json(name: String!) on FIELD_DEFINITION",
                       message,
                       &bad));
        ASSERT_EQ(make(GOOD, GOOD, message, &bad), -EBADMSG);
        ASSERT_STREQ(message, "two.graphql:1: field \"Query.a\" is there already");
        ASSERT_EQ(make("type X {a: Int}", NULL, message, &bad), -ENODATA);
        ASSERT_EQ(make("", NULL, message, &bad), -ENODATA);
}
