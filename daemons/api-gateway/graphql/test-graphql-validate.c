/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The rules of section 5, one by one; and what the parser refuses
 */

#include <string.h>

#include "api-gateway/graphql/test-graphql.h"

typedef struct Case {
        const char *document, *wrong; /* wrong "": it is valid; else a part of the first message */
} Case;

static void check_cases(const Case *cases, size_t n) {
        Shop s;

        shop_setup(&s);
        for (size_t i = 0; i < n; i++) {
                const char *message = shop_check(&s, cases[i].document);

                if (*cases[i].wrong ? !strstr(message, cases[i].wrong) : *message)
                        mam_test_fail_string(__FILE__, (int) i, cases[i].document, message);
        }
        shop_done(&s);
}

TEST(syntax) {
        static const Case cases[] = {
                { "{__typename}", "" },
                { "\xef\xbb\xbf{__typename}", "" },
                { " \t\r\n,#x\n{ __typename # y", "found the end" },
                { "", "expected an operation or a fragment, found the end" },
                { "{", "expected a name, found the end" },
                { "{}", "expected a name, found \"}\"" },
                { "{a} b", "expected an operation or a fragment, found \"b\"" },
                { "query {a:}", "expected a name" },
                { "fragment on on Item {id}", "expected the name of a fragment" },
                { "{...on}", "expected a name" },
                { "{a(b: 01)}", "a number cannot go on" },
                { "{a(b: 1.)}", "a digit is missing" },
                { "{a(b: .5)}", "means nothing" },
                { "{a(b: 1e)}", "a digit is missing" },
                { "{a(b: 1x)}", "a number cannot go on" },
                { "{a(b: 0xF1)}", "a number cannot go on" },
                { "{a(b: +1)}", "means nothing" },
                { "{a(b: \"x)}", "does not end" },
                { "{a(b: \"x\n\")}", "does not end" },
                { "{a(b: \"\\x\")}", "escape" },
                { "{a(b: \"\\u12\")}", "escape" },
                { "{a(b: \"\\ud800\")}", "escape" },
                { "{a(b: \"\\ud800\\u0041\")}", "half of a surrogate" },
                { "{a(b: \"\\u{110000}\")}", "escape" },
                { "{a(b: \"\\u{}\")}", "escape" },
                { "{a(b: \"\\u{00000000041}\")}", "escape" },
                { "{a(b: \"\x01\")}", "control character" },
                { "{a(b: \"\"\"x\"\")}", "does not end" },
                { "{a(b: \"\"\" \x02 \"\"\")}", "control character" },
                { "{a} # \x03", "control character" },
                { "{a(b: \xff)}", "not UTF-8" },
                { "{a(b: \"\xed\xa0\x80\")}", "not UTF-8" },
                { "{a(b: \xc3\xa4)}", "means nothing" },
                { "query ($a: Int = $b) {a}", "without variables" },
                { "query () {a}", "expected \"$\"" },
                { "{a()}", "expected a name" },
                { "{a(b: [1}", "expected a value" },
                { "query Q @x(a: {b: }) {a}", "expected a value" },
                { "type Query {a: Int}", "expected an operation or a fragment" },
                { "{..a}", "means nothing" },
                { "{a;b}", "means nothing" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

TEST(strings_mean_what_they_say) {
        static const char document[] =
                        "query($a: Json = \"a\\n\\u00e4\\u{1F600}\\uD83D\\uDE00\\\"\\/\", $b: Json = \"\"\"\n\n    one\n      two \\\"\"\"\n\n    three\n  \"\"\") "
                        "{a: find(big: $a) {id} b: find(big: $b) {id}}";
        Shop s;

        shop_setup(&s);
        (void) shop_ask(&s, document, NULL);
        ASSERT_STREQ(json_object_get_string(json_object_object_get(s.variables, "a")),
                     "a\n\xc3\xa4\xf0\x9f\x98\x80\xf0\x9f\x98\x80\"/");
        ASSERT_STREQ(json_object_get_string(json_object_object_get(s.variables, "b")),
                     "one\n  two \"\"\"\n\nthree");
        shop_done(&s);
}

TEST(nesting_and_length_are_bounded) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        Shop s;

        shop_setup(&s);
        for (unsigned i = 0; i < 1000; i++)
                ASSERT_OK(mam_buffer_append_string(&text, "{a"));
        ASSERT_TRUE(strstr(shop_check(&s, mam_buffer_bytes(&text)), "nested too deeply"));
        mam_buffer_reset(&text);
        ASSERT_OK(mam_buffer_append_string(&text, "{a(b: "));
        for (unsigned i = 0; i < 1000; i++)
                ASSERT_OK(mam_buffer_append_string(&text, "[{x: "));
        ASSERT_TRUE(strstr(shop_check(&s, mam_buffer_bytes(&text)), "nested too deeply"));
        mam_buffer_reset(&text);
        ASSERT_OK(mam_buffer_append_string(&text, "query ($a: "));
        for (unsigned i = 0; i < 1000; i++)
                ASSERT_OK(mam_buffer_append_string(&text, "["));
        ASSERT_TRUE(strstr(shop_check(&s, mam_buffer_bytes(&text)), "nested too deeply"));
        mam_buffer_reset(&text);
        ASSERT_OK(mam_buffer_append_string(&text, "{"));
        for (unsigned i = 0; i < 10001; i++)
                ASSERT_OK(mam_buffer_append_string(&text, "a "));
        ASSERT_TRUE(strstr(shop_check(&s, mam_buffer_bytes(&text)), "too many tokens"));
        shop_done(&s);
}

TEST(operations_and_fragments) {
        static const Case cases[] = {
                { "query A {__typename} query B {__typename}", "" },
                { "query A {__typename} mutation A {__typename}",
                  "There can be only one operation named \"A\"" },
                { "{__typename} query B {__typename}", "An anonymous operation must be the only one" },
                { "subscription {a}", "The schema has no subscription operations" },
                { "{item(id: 1) {...F}} fragment F on Item {id}", "" },
                { "{item(id: 1) {id}} fragment F on Item {id}", "Fragment \"F\" is never used" },
                { "{item(id: 1) {...F}}", "Unknown fragment \"F\"" },
                { "{item(id: 1) {...F}} fragment F on Nothing {id}", "Unknown type \"Nothing\"" },
                { "{item(id: 1) {...F}} fragment F on Color {id}", "non composite type \"Color\"" },
                { "{item(id: 1) {... on ItemInput {id}}}", "non composite type \"ItemInput\"" },
                { "{item(id: 1) {...F}} fragment F on Item {id} fragment F on Item {name}",
                  "only one fragment named \"F\"" },
                { "{item(id: 1) {...F}} fragment F on Item {related {...F}}", "within itself" },
                { "{item(id: 1) {...F}} fragment F on Item {...G} fragment G on Item {...F}",
                  "within itself" },
                { "{item(id: 1) {... on Maker {id}}}", "can never be spread" },
                { "{item(id: 1) {... on Named {name}}}", "" },
                { "{item(id: 1) {... on Pet {__typename}}}", "can never be spread" },
                { "{pets {... on Named {name}}}", "" },
                { "{pets {...F}} fragment F on Maker {id}", "can never be spread" },
                { "{named {... on Pet {... on Dog {barks}}}}", "" },
                { "{item(id: 1) {... {id} ... @include(if: true) {name}}}", "" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

TEST(fields) {
        static const Case cases[] = {
                { "{item(id: 1) {color}}", "" },
                { "{item(id: 1) {colour}}", "Cannot query field \"colour\" on type \"Item\"" },
                { "{nothing}", "Cannot query field \"nothing\" on type \"Query\"" },
                { "{pets {name}}", "Cannot query field \"name\" on type \"Pet\"" },
                { "{pets {__typename}}", "" },
                { "{item(id: 1) {__schema {description}}}", "Cannot query field \"__schema\"" },
                { "mutation {__schema {description}}", "Cannot query field \"__schema\"" },
                { "{item(id: 1)}", "must have a selection of subfields" },
                { "{item(id: 1) {id {x}}}", "must not have a selection" },
                { "{item(id: 1) {any {x}}}", "must not have a selection" },
                { "{__typename {x}}", "must not have a selection" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

TEST(fields_merge) {
        static const Case cases[] = {
                { "{item(id: 1) {id id}}", "" },
                { "{item(id: 1) {id} item(id: 1) {name}}", "" },
                { "{item(id: 1) {id} item(id: 2) {id}}", "differing arguments" },
                { "{item(id: 1) {id} item(id: \"1\") {id}}", "differing arguments" },
                { "{a: item(id: 1) {id} a: items {next}}", "conflicting types" },
                { "{item(id: 1) {id: name id}}", "conflicting types" },
                { "{item(id: 1) {price: stock price}}", "conflicting types" },
                { "{item(id: 1) {name: createdAt name: old}}", "different fields" },
                { "{item(id: 1) {...A ...B}} fragment A on Item {x: createdAt} fragment B on Item {x: old}",
                  "different fields" },
                { "{pets {... on Cat {x: lives} ... on Dog {x: name}}}", "conflicting types" },
                { "{pets {... on Cat {lives} ... on Dog {lives}}}", "conflicting types" },
                { "{pets {... on Cat {x: name} ... on Dog {x: name}}}", "" },
                { "{named {... on Cat {x: name} ... on Dog {x: name} x: name}}", "" },
                { "{named {... on Item {name: createdAt} name}}", "conflicting types" },
                { "{named {... on Item {x: old} ... on Item {x: createdAt}}}", "different fields" },
                { "{find(filter: {a: 1, b: [1]}) {id} find(filter: {b: [1], a: 1}) {name}}", "" },
                { "{find(filter: {a: 1}) {id} find(filter: {a: 2}) {name}}", "differing arguments" },
                { "query($a: Int) {find(filter: {a: $a}) {id} find(filter: {a: $a}) {name}}", "" },
                { "query($a: Int $b: Int) {find(filter: {a: $a}) {id} find(filter: {a: $b}) {name}}",
                  "differing arguments" },
                { "{item(id: 1) {maker {x: id}} item(id: 1) {maker {x: name}}}", "conflicting types" },
                { "{item(id: 1) {related {x: old}} item(id: 1) {related {x: createdAt}}}",
                  "different fields" },
                { "{item(id: 1) {related(first: 2) {id}} item(id: 1) {related {id}}}",
                  "differing arguments" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

TEST(arguments_and_values) {
        static const Case cases[] = {
                { "{item {id}}", "Argument \"id\" of type \"ID!\" is required" },
                { "{item(id: null) {id}}", "Expected a value of type \"ID!\", found null" },
                { "{item(id: 1, id: 2) {id}}", "only one argument named \"id\"" },
                { "{item(id: 1, x: 2) {id}}", "Unknown argument \"x\" on field \"item\"" },
                { "{item(id: 1.5) {id}}", "Expected a value of type \"ID\"" },
                { "{item(id: RED) {id}}", "found RED" },
                { "{items(first: \"1\") {next}}", "Expected a value of type \"Int\", found a string" },
                { "{items(first: 2147483648) {next}}", "Expected a value of type \"Int\"" },
                { "{items(first: -2147483648) {next}}", "" },
                { "{items(first: null) {next}}", "" },
                { "{items(color: RED) {next}}", "" },
                { "{items(color: BLUE) {next}}", "\"BLUE\" does not exist in enum \"Color\"" },
                { "{items(color: \"RED\") {next}}", "Expected a value of type \"Color\"" },
                { "{items(color: true) {next}}", "Expected a value of type \"Color\"" },
                { "{find(tags: \"a\") {id}}", "" },
                { "{find(tags: [\"a\", null]) {id}}", "Expected a value of type \"String!\", found null" },
                { "{find(tags: [[\"a\"]]) {id}}", "Expected a value of type \"String\", found a list" },
                { "{find(big: {a: [1, {b: $x}], c: D}) {id}}", "Variable \"$x\" is not defined" },
                { "{find(big: {a: 1, a: 2}) {id}}", "only one input field named \"a\"" },
                { "{find(filter: {a: 1, a: 2}) {id}}", "only one input field named \"a\"" },
                { "{find(filter: {z: 1}) {id}}", "Field \"z\" is not defined by type \"Filter\"" },
                { "{find(filter: 3) {id}}", "Expected a value of type \"Filter\"" },
                { "mutation {create(input: {stock: 1}) {id}}", "Field \"ItemInput.name\" of required type" },
                { "mutation {create(input: {name: \"a\", unitPrice: 1e999}) {id}}",
                  "Expected a value of type \"Float\"" },
                { "mutation {create(input: {name: \"a\", part: {sub: {size: null}}}) {id}}",
                  "Expected a value of type \"Int!\"" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

TEST(directives) {
        static const Case cases[] = {
                { "{__typename @skip(if: true) @include(if: false)}", "" },
                { "{__typename @nothing}", "Unknown directive \"@nothing\"" },
                { "{__typename @rest(service: \"x\")}", "Unknown directive \"@rest\"" },
                { "{__typename @deprecated}", "may not be used on FIELD" },
                { "query @skip(if: true) {__typename}", "may not be used on QUERY" },
                { "{__typename @skip}", "Argument \"if\" of type \"Boolean!\" is required" },
                { "{__typename @skip(if: 1)}", "Expected a value of type \"Boolean\"" },
                { "{__typename @skip(if: true) @skip(if: true)}", "only be used once" },
                { "{__typename @skip(if: true, x: 1)}", "Unknown argument \"x\" on directive \"skip\"" },
                { "{item(id: 1) {...F}} fragment F on Item @include(if: true) {id}",
                  "may not be used on FRAGMENT_DEFINITION" },
                { "query($a: Int @skip(if: true)) {items(first: $a) {next}}",
                  "may not be used on VARIABLE_DEFINITION" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

TEST(variables) {
        static const Case cases[] = {
                { "query($i: ID!) {item(id: $i) {id}}", "" },
                { "query($i: ID!, $i: ID!) {item(id: $i) {id}}", "only one variable named \"$i\"" },
                { "query($i: Item) {item(id: $i) {id}}", "non-input type \"Item\"" },
                { "query($i: No) {item(id: $i) {id}}", "Unknown type \"No\"" },
                { "query Q {item(id: $i) {id}}", "Variable \"$i\" is not defined by operation \"Q\"" },
                { "query($i: ID!) {__typename}", "Variable \"$i\" is never used" },
                { "query($i: ID!) {...F} fragment F on Query {item(id: $i) {id}}", "" },
                { "query A($i: ID!) {...F} query B {...F} fragment F on Query {item(id: $i) {id}}",
                  "not defined by operation \"B\"" },
                { "query($i: ID) {item(id: $i) {id}}",
                  "\"$i\" of type \"ID\" used in position expecting type \"ID!\"" },
                { "query($i: ID = 1) {item(id: $i) {id}}", "" },
                { "query($i: ID = null) {item(id: $i) {id}}", "used in position expecting" },
                { "query($i: String!) {item(id: $i) {id}}", "used in position expecting" },
                { "query($n: Int) {item(id: 1) {related(first: $n) {id}}}", "" },
                { "query($t: [String]) {find(tags: $t) {id}}", "used in position expecting" },
                { "query($t: String!) {find(tags: $t) {id}}", "used in position expecting" },
                { "query($t: String!) {find(tags: [$t]) {id}}", "" },
                { "query($t: String) {find(tags: [$t]) {id}}", "used in position expecting" },
                { "query($a: Int!) {find(filter: {a: $a}) {id}}", "" },
                { "query($a: String) {find(filter: {a: $a}) {id}}", "used in position expecting" },
                { "query($a: Int) {find(filter: {b: [$a]}) {id}}", "used in position expecting" },
                { "query($n: Int = \"x\") {items(first: $n) {next}}", "Expected a value of type \"Int\"" },
                { "query($n: Int! = null) {items(first: $n) {next}}", "Expected a value of type \"Int!\"" },
                { "query($b: Boolean) {__typename @skip(if: $b)}", "used in position expecting" },
                { "query($a: Int) {find(big: {x: [$a]}) {id}}", "" },
        };

        check_cases(cases, MAM_ELEMENTSOF(cases));
}

/* What would take a naive validator forever is answered at once. */
TEST(work_is_bounded) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        Shop s;

        shop_setup(&s);
        ASSERT_OK(mam_buffer_append_string(&text, "{item(id: 1) {...F0}} "));
        for (unsigned i = 0; i < 60; i++)
                ASSERT_OK(mam_buffer_appendf(
                                &text,
                                "fragment F%u on Item {a: related {...F%u} b: related {...F%u}} ",
                                i,
                                i + 1,
                                i + 1));
        ASSERT_OK(mam_buffer_append_string(&text, "fragment F60 on Item {id}"));
        ASSERT_TRUE(strstr(shop_check(&s, mam_buffer_bytes(&text)), "a number of fields of"));

        mam_buffer_reset(&text);
        ASSERT_OK(mam_buffer_append_string(&text, "{"));
        for (unsigned i = 0; i < 450; i++)
                ASSERT_OK(mam_buffer_append_string(&text, "item(id: 1) {...F} "));
        ASSERT_OK(mam_buffer_append_string(&text, "} fragment F on Item {id}"));
        ASSERT_TRUE(strstr(shop_check(&s, mam_buffer_bytes(&text)), "a number of fields of 900"));
        s.limits.selections = 1000;
        ASSERT_STREQ(shop_check(&s, mam_buffer_bytes(&text)), "");
        shop_done(&s);
}
