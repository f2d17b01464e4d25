/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>
#include <time.h>

#include "libmam/json/schema.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static json_object *parse(const char *text) {
        json_object *o = NULL;
        MamJsonError error;

        if (mam_json_parse(&o, text, strlen(text), &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, "is JSON", text);
        return o;
}

static MamJsonSchema *compile_with(const char *text, const MamJsonSchemaOptions *options) {
        _cleanup_(json_object_putp) json_object *o = parse(text);
        MamJsonSchema *s = NULL;
        MamJsonError error = { 0 };

        if (mam_json_schema_compile(&s, o, options, &error) < 0) {
                fprintf(stderr, "%s: %s\n", error.pointer, error.message);
                mam_test_fail_string(__FILE__, __LINE__, "compiles", text);
        }
        return s;
}

static MamJsonSchema *compile(const char *text) {
        return compile_with(text, NULL);
}

/* NULL: valid; else "pointer message". */
static const char *judge(const MamJsonSchema *s, const char *instance) {
        static char text[600];
        _cleanup_(json_object_putp) json_object *o = parse(instance);
        MamJsonError error = { 0 };
        int r;

        r = mam_json_schema_validate(s, o, "", &error);
        if (r == 0)
                return NULL;
        ASSERT_TRUE(r == -EBADMSG || r == -EOVERFLOW);
        ASSERT_TRUE(error.message[0] != '\0');
        (void) snprintf(text, sizeof(text), "%s %s", error.pointer, error.message);
        return text;
}

typedef struct Case {
        const char *schema, *instance;
        const char *error; /* NULL: valid */
} Case;

static void run(const Case *cases, size_t n, const MamJsonSchemaOptions *options) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_(mam_json_schema_freep) MamJsonSchema *s = compile_with(cases[i].schema, options);
                const char *error = judge(s, cases[i].instance);

                if (!error == !cases[i].error && (!error || strcmp(error, cases[i].error) == 0))
                        continue;
                fprintf(stderr,
                        "%s\n%s\nwanted: %s\n",
                        cases[i].schema,
                        cases[i].instance,
                        cases[i].error ? cases[i].error : "valid");
                mam_test_fail_string(__FILE__, __LINE__, "as wanted", error);
        }
}

TEST(types_and_constants) {
        static const Case cases[] = {
                { "true", "1", NULL },
                { "false", "1", " is not allowed (false)" },
                { "{\"type\":\"string\"}", "\"a\"", NULL },
                { "{\"type\":\"string\"}", "1", " must be a string (type)" },
                { "{\"type\":[\"null\",\"integer\"]}", "1.5", " must be null or an integer (type)" },
                { "{\"type\":\"integer\"}", "1.0", NULL },
                { "{\"type\":\"integer\"}", "1e3", NULL },
                { "{\"type\":\"integer\"}", "12345678901234567890123", NULL },
                { "{\"type\":\"integer\"}", "18446744073709551615", NULL },
                { "{\"type\":\"integer\"}", "1e-1", " must be an integer (type)" },
                { "{\"type\":\"number\"}", "true", " must be a number (type)" },
                { "{\"type\":\"boolean\"}", "false", NULL },
                { "{\"type\":\"array\"}", "{}", " must be an array (type)" },
                { "{\"type\":\"object\"}", "null", " must be an object (type)" },
                { "{\"const\":null}", "null", NULL },
                { "{\"const\":{\"a\":[1,2.50]}}", "{\"a\":[1.0,2.5]}", NULL },
                { "{\"const\":\"x\"}", "\"y\"", " must be \"x\" (const)" },
                { "{\"const\":0}", "false", " must be 0 (const)" },
                { "{\"enum\":[\"a\",1]}", "1.0", NULL },
                { "{\"enum\":[\"a\",1]}", "\"b\"", " must be one of \"a\", 1 (enum)" },
                { "{\"enum\":[9007199254740993]}",
                  "9007199254740992",
                  " must be one of 9007199254740993 (enum)" },
        };

        run(cases, MAM_ELEMENTSOF(cases), NULL);
}

TEST(numbers_are_compared_as_they_are_written) {
        static const Case cases[] = {
                { "{\"minimum\":1}", "0.9", " must be at least 1 (minimum)" },
                { "{\"maximum\":9007199254740992}",
                  "9007199254740993",
                  " must be at most 9007199254740992 (maximum)" },
                { "{\"maximum\":18446744073709551615}",
                  "18446744073709551616",
                  " must be at most 18446744073709551615 (maximum)" },
                { "{\"maximum\":1e308}", "1e308", NULL },
                { "{\"exclusiveMinimum\":0}", "0.0", " must be above 0 (exclusiveMinimum)" },
                { "{\"exclusiveMinimum\":-0.0}", "1e-300", NULL },
                { "{\"exclusiveMaximum\":0.3}", "0.3", " must be below 0.3 (exclusiveMaximum)" },
                { "{\"exclusiveMaximum\":972783798187987123879878123.18878137}",
                  "972783798187987123879878123.188781371",
                  " must be below 972783798187987123879878123.18878137 (exclusiveMaximum)" },
                { "{\"multipleOf\":0.01}", "4.02", NULL },
                { "{\"multipleOf\":0.01}", "4.025", " must be a multiple of 0.01 (multipleOf)" },
                { "{\"multipleOf\":0.5}", "1e308", NULL },
                { "{\"multipleOf\":0.123456789}",
                  "1e308",
                  " must be a multiple of 0.123456789 (multipleOf)" },
                { "{\"multipleOf\":3}",
                  "12345678901234567890123456788",
                  " must be a multiple of 3 (multipleOf)" },
                { "{\"multipleOf\":3}",
                  "12345678901234567890123456787",
                  " must be a multiple of 3 (multipleOf)" },
                { "{\"multipleOf\":3}", "111111111111111111111111111111", NULL },
                { "{\"multipleOf\":1e300}", "3e300", NULL },
                { "{\"multipleOf\":7}", "-14", NULL },
                { "{\"minimum\":5}", "\"x\"", NULL },
        };

        run(cases, MAM_ELEMENTSOF(cases), NULL);
}

TEST(strings) {
        static const Case cases[] = {
                { "{\"minLength\":2}", "\"\xc3\xa4\"", " must have at least 2 characters (minLength)" },
                { "{\"maxLength\":2.0}", "\"\xf0\x9f\x98\x80\xf0\x9f\x98\x80\"", NULL },
                { "{\"maxLength\":1}", "\"ab\"", " must have at most 1 characters (maxLength)" },
                { "{\"pattern\":\"^a+$\"}", "\"aaa\"", NULL },
                { "{\"pattern\":\"^a+$\"}", "\"aaa\\n\"", " must match ^a+$ (pattern)" },
                { "{\"pattern\":\"b\"}", "\"abc\"", NULL },
                { "{\"pattern\":\"^\\\\p{Lu}\\\\d$\"}", "\"\xc3\x84\x31\"", NULL },
                { "{\"pattern\":\"^\\\\p{Uppercase_Letter}$\"}", "\"\xc3\x84\"", NULL },
                { "{\"pattern\":\"^\\\\u00e4$\"}", "\"\xc3\xa4\"", NULL },
                { "{\"pattern\":\"^\\\\d$\"}", "\"\xd9\xa3\"", " must match ^\\d$ (pattern)" },
                { "{\"format\":\"date\"}", "\"x\"", NULL },
        };

        run(cases, MAM_ELEMENTSOF(cases), NULL);
}

TEST(arrays) {
        static const Case cases[] = {
                { "{\"items\":{\"type\":\"integer\"}}", "[1,\"a\"]", "/1 must be an integer (type)" },
                { "{\"prefixItems\":[{\"type\":\"string\"}],\"items\":false}",
                  "[\"a\",2]",
                  "/1 is not allowed (items)" },
                { "{\"prefixItems\":[{\"type\":\"string\"}]}", "[]", NULL },
                { "{\"minItems\":1}", "[]", " must have at least 1 items (minItems)" },
                { "{\"maxItems\":1}", "[1,2]", " must have at most 1 items (maxItems)" },
                { "{\"uniqueItems\":true}", "[1,\"1\",1.0]", " items 0 and 2 are equal (uniqueItems)" },
                { "{\"uniqueItems\":true}",
                  "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]",
                  " items 0 and 1 are equal (uniqueItems)" },
                { "{\"uniqueItems\":true}", "[0,false,null,\"\",[],{}]", NULL },
                { "{\"contains\":{\"const\":1}}",
                  "[2]",
                  " none of its items fits what it must contain (contains)" },
                { "{\"contains\":{\"const\":1},\"minContains\":2}",
                  "[1,2]",
                  " must contain at least 2 items that fit, has 1 (minContains)" },
                { "{\"contains\":{\"const\":1},\"maxContains\":1}",
                  "[1,1]",
                  " must contain at most 1 items that fit, has 2 (maxContains)" },
                { "{\"contains\":{\"const\":1},\"minContains\":0}", "[]", NULL },
                { "{\"minContains\":2}", "[]", NULL },
                { "{\"prefixItems\":[true],\"contains\":{\"const\":2},\"unevaluatedItems\":false}",
                  "[1,2]",
                  NULL },
                { "{\"prefixItems\":[true],\"contains\":{\"const\":2},\"unevaluatedItems\":false}",
                  "[1,2,3]",
                  "/2 is not allowed (unevaluatedItems)" },
                { "{\"anyOf\":[{\"prefixItems\":[true,{\"const\":1}]},true],\"unevaluatedItems\":{\"const\":0}}",
                  "[5,1,0]",
                  "/0 must be 0 (const)" },
        };

        /* In the last one the first alternative fits, too: both items are evaluated. */
        run(cases, MAM_ELEMENTSOF(cases) - 1, NULL);
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = compile(cases[MAM_ELEMENTSOF(cases) - 1].schema);
        ASSERT_TRUE(!judge(s, "[5,1,0]"));
        ASSERT_STREQ(judge(s, "[5,2,0]"), "/0 must be 0 (const)");
}

TEST(objects) {
        static const Case cases[] = {
                { "{\"properties\":{\"a\":{\"type\":\"string\"}}}",
                  "{\"a\":1}",
                  "/a must be a string (type)" },
                { "{\"properties\":{\"a\":true},\"additionalProperties\":false}",
                  "{\"a\":1,\"b/~\":2}",
                  "/b~1~0 is not allowed (additionalProperties)" },
                { "{\"patternProperties\":{\"^x\":{\"type\":\"null\"}},\"additionalProperties\":false}",
                  "{\"x1\":null,\"x2\":2}",
                  "/x2 must be null (type)" },
                { "{\"required\":[\"a\",\"b\"]}", "{\"a\":1}", " needs the property \"b\" (required)" },
                { "{\"minProperties\":1}", "{}", " must have at least 1 properties (minProperties)" },
                { "{\"maxProperties\":0}", "{\"a\":1}", " must have at most 0 properties (maxProperties)" },
                { "{\"propertyNames\":{\"maxLength\":1}}",
                  "{\"a\":1,\"bb\":1}",
                  "/bb has a name that is not allowed (propertyNames)" },
                { "{\"dependentRequired\":{\"a\":[\"b\"]}}",
                  "{\"a\":1}",
                  " needs the property \"b\", as \"a\" is there (dependentRequired)" },
                { "{\"dependentSchemas\":{\"a\":{\"required\":[\"b\"]}}}",
                  "{\"a\":1}",
                  " needs the property \"b\" (required)" },
                { "{\"dependentSchemas\":{\"a\":false}}", "{\"b\":1}", NULL },
                { "{\"allOf\":[{\"properties\":{\"a\":true}}],\"unevaluatedProperties\":false}",
                  "{\"a\":1}",
                  NULL },
                { "{\"allOf\":[{\"properties\":{\"a\":true}}],\"unevaluatedProperties\":false}",
                  "{\"b\":1}",
                  "/b is not allowed (unevaluatedProperties)" },
                { "{\"if\":{\"properties\":{\"k\":{\"const\":1}},\"required\":[\"k\"]},"
                  "\"then\":{\"properties\":{\"t\":true}},\"else\":{\"properties\":{\"e\":true}},"
                  "\"unevaluatedProperties\":false}",
                  "{\"k\":1,\"e\":1}",
                  "/e is not allowed (unevaluatedProperties)" },
                { "{\"allOf\":[{\"properties\":{\"a\":true}},{\"unevaluatedProperties\":false}]}",
                  "{\"a\":1}",
                  "/a is not allowed (unevaluatedProperties)" },
        };

        run(cases, MAM_ELEMENTSOF(cases), NULL);
}

TEST(combinations_say_what_is_nearest) {
        static const Case cases[] = {
                { "{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "4", " must be at most 3 (maximum)" },
                { "{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":3}]}", "4", NULL },
                { "{\"anyOf\":[{\"type\":\"string\"},{\"properties\":{\"a\":{\"type\":\"null\"}}}]}",
                  "{\"a\":1}",
                  " fits none of the 2 alternatives; nearest: /a must be null (type) (anyOf)" },
                { "{\"oneOf\":[{\"minimum\":1},{\"maximum\":3}]}",
                  "2",
                  " fits alternatives 1 and 2, must fit exactly one (oneOf)" },
                { "{\"not\":{\"type\":\"null\"}}", "null", " is what it must not be (not)" },
                { "{\"if\":{\"type\":\"integer\"},\"then\":{\"minimum\":5},\"else\":false}",
                  "1",
                  " must be at least 5 (minimum)" },
                { "{\"if\":{\"type\":\"integer\"},\"then\":{\"minimum\":5},\"else\":false}",
                  "\"x\"",
                  " is not allowed (else)" },
                { "{\"then\":false,\"else\":false}", "1", NULL },
        };

        run(cases, MAM_ELEMENTSOF(cases), NULL);
}

TEST(references) {
        static const Case cases[] = {
                { "{\"$ref\":\"#/$defs/a~1b\",\"$defs\":{\"a/b\":{\"type\":\"null\"}}}",
                  "1",
                  " must be null (type)" },
                { "{\"$ref\":\"#/$defs/a%20b\",\"$defs\":{\"a b\":{\"type\":\"null\"}}}", "null", NULL },
                { "{\"$ref\":\"#x\",\"$defs\":{\"a\":{\"$anchor\":\"x\",\"type\":\"null\"}}}",
                  "1",
                  " must be null (type)" },
                { "{\"$id\":\"http://h/d/r\",\"$ref\":\"i\",\"$defs\":{\"a\":{\"$id\":\"i\",\"type\":\"null\"}}}",
                  "1",
                  " must be null (type)" },
                { "{\"properties\":{\"n\":{\"$ref\":\"#\"}},\"additionalProperties\":false}",
                  "{\"n\":{\"n\":{\"m\":1}}}",
                  "/n/n/m is not allowed (additionalProperties)" },
                { "{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}",
                  "{\"properties\":{\"a\":{\"minLength\":-1}}}",
                  "/properties/a/minLength must be at least 0 (minimum)" },
                { "{\"$ref\":\"https://json-schema.org/draft/2020-12/schema\"}",
                  "{\"allOf\":[{\"type\":\"x\"}]}",
                  "/allOf/0/type fits none of the 2 alternatives; nearest:  must be one of \"array\", "
                  "\"boolean\", \"integer\", \"null\", \"number\", \"object\", \"string\" (enum) (anyOf)" },
        };

        run(cases, MAM_ELEMENTSOF(cases) - 1, NULL);
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = compile(cases[MAM_ELEMENTSOF(cases) - 1].schema);
        ASSERT_TRUE(judge(s, cases[MAM_ELEMENTSOF(cases) - 1].instance));
}

/* The list of strings is told by the innermost schema what its items are. */
TEST(a_dynamic_reference_goes_to_the_outermost_anchor) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = compile(
                        "{\"$id\":\"http://h/strings\",\"$ref\":\"list\",\"$defs\":{"
                        "\"item\":{\"$dynamicAnchor\":\"item\",\"type\":\"string\"},"
                        "\"list\":{\"$id\":\"list\",\"type\":\"array\",\"items\":{\"$dynamicRef\":\"#item\"},"
                        "\"$defs\":{\"any\":{\"$dynamicAnchor\":\"item\"}}}}}");

        ASSERT_TRUE(!judge(s, "[\"a\"]"));
        ASSERT_STREQ(judge(s, "[1]"), "/0 must be a string (type)");
}

static int resolve(json_object **ret, const char *uri, void *userdata) {
        unsigned *n = userdata;

        (*n)++;
        if (strcmp(uri, "http://h/d/other") == 0)
                *ret = parse("{\"$defs\":{\"x\":{\"$ref\":\"more#y\"}}}");
        else if (strcmp(uri, "http://h/d/more") == 0)
                *ret = parse("{\"$defs\":{\"y\":{\"$anchor\":\"y\",\"type\":\"null\"}}}");
        else
                return -ENOENT;
        return 0;
}

TEST(other_documents_come_from_the_resolver_once) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = NULL;
        _cleanup_(json_object_putp) json_object *missing = NULL;
        unsigned n = 0;
        const MamJsonSchemaOptions options = { .uri = "http://h/d/here",
                                               .resolver = resolve,
                                               .userdata = &n };
        MamJsonError error = { 0 };

        s = compile_with(
                        "{\"items\":{\"$ref\":\"other#/$defs/x\"},\"contains\":{\"$ref\":\"other#/$defs/x\"}}",
                        &options);
        ASSERT_EQ(n, 2);
        ASSERT_STREQ(judge(s, "[null,1]"), "/1 must be null (type)");

        missing = parse("{\"properties\":{\"a\":{\"$ref\":\"gone\"}}}");
        s = mam_json_schema_free(s);
        ASSERT_EQ(mam_json_schema_compile(&s, missing, &options, &error), -EBADMSG);
        ASSERT_STREQ(error.pointer, "/properties/a/$ref");
        ASSERT_STREQ(error.message, "there is no schema at http://h/d/gone");
}

TEST(what_is_no_schema_is_refused_at_its_place) {
        static const struct {
                const char *schema, *pointer, *message;
        } cases[] = {
                { "1", "", "must be a schema: an object, true or false" },
                { "{\"items\":[]}", "/items", "must be a schema: an object, true or false" },
                { "{\"properties\":{\"a\":{\"type\":\"text\"}}}",
                  "/properties/a/type",
                  "must be null, boolean, integer, number, string, array or object, or an array of these" },
                { "{\"allOf\":[{\"minLength\":1.5}]}",
                  "/allOf/0/minLength",
                  "must be an integer, 0 or more" },
                { "{\"pattern\":\"(\"}",
                  "/pattern",
                  "is not a regular expression: missing closing parenthesis at byte 1" },
                { "{\"multipleOf\":0}", "/multipleOf", "must be a number above 0" },
                { "{\"required\":\"a\"}", "/required", "must be an array of names" },
                { "{\"$schema\":\"http://json-schema.org/draft-07/schema#\"}",
                  "/$schema",
                  "is a dialect that is not known: use https://json-schema.org/draft/2020-12/schema" },
                { "{\"$ref\":\"#/nowhere\"}", "/$ref", "leads to nothing that is a schema" },
                { "{\"$ref\":\"#nowhere\"}", "/$ref", "there is no anchor \"nowhere\"" },
                { "{\"$ref\":\"#\"}", "", "refers to itself without end" },
                { "{\"anyOf\":[{\"$ref\":\"#/$defs/a\"}],\"$defs\":{\"a\":{\"not\":{\"$ref\":\"#\"}}}}",
                  "",
                  "refers to itself without end" },
                { "{\"$id\":\"a#b\"}", "/$id", "must not have a fragment" },
                { "{\"$defs\":{\"a\":{\"$id\":\"x\"},\"b\":{\"$id\":\"x\"}}}",
                  "/$defs/b/$id",
                  "is the $id of another schema, too" },
                { "{\"anyOf\":[]}", "/anyOf", "must be an array of schemas that is not empty" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(json_object_putp) json_object *o = parse(cases[i].schema);
                MamJsonSchema *s = NULL;
                MamJsonError error = { 0 };

                if (mam_json_schema_compile(&s, o, NULL, &error) != -EBADMSG || s)
                        mam_test_fail_string(__FILE__, __LINE__, "must be refused", cases[i].schema);
                ASSERT_STREQ(error.message, cases[i].message);
                ASSERT_STREQ(error.pointer, cases[i].pointer);
        }
}

TEST(formats_are_asserted_on_request) {
        static const struct {
                const char *format, *text;
                bool is_valid;
        } cases[] = {
                { "date-time", "2024-02-29T23:59:60Z", true },
                { "date-time", "2023-02-29T00:00:00Z", false },
                { "date-time", "2024-01-01T00:00:00", false },
                { "date-time", "2024-01-01t00:00:00.123+14:00", true },
                { "date", "2024-13-01", false },
                { "date", "1900-02-29", false },
                { "time", "24:00:00Z", false },
                { "time", "08:29:60+08:30", true },
                { "time", "08:29:60+08:29", false },
                { "time", "07:59:60+08:00", true },
                { "duration", "P1Y2M3DT4H5M6S", true },
                { "duration", "P1Y3D", false },
                { "duration", "P", false },
                { "duration", "P2W", true },
                { "uri", "https://user@[::1]:80/a?b#c", true },
                { "uri", "//h/a", false },
                { "uri", "http://h/%zz", false },
                { "uri", "urn:a:b", true },
                { "uri", "http://h:port/", false },
                { "uri-reference", "a/b?c#d", true },
                { "uri-reference", "1a:b", false },
                { "uri-reference", "a b", false },
                { "uuid", "123e4567-e89b-12d3-a456-426614174000", true },
                { "uuid", "123e4567e89b12d3a456426614174000", false },
                { "email", "a.b@c.de", true },
                { "email", ".a@c.de", false },
                { "email", "\\\"a b\\\"@c", true },
                { "email", "a@[127.0.0.1]", true },
                { "email", "a", false },
                { "hostname", "a-b.example", true },
                { "hostname", "-a.example", false },
                { "ipv4", "127.0.0.1", true },
                { "ipv4", "127.0.0.01", false },
                { "ipv4", "1.2.3", false },
                { "ipv6", "::ffff:1.2.3.4", true },
                { "ipv6", "1::2::3", false },
                { "json-pointer", "/a~0b/~1", true },
                { "json-pointer", "/a~2", false },
                { "relative-json-pointer", "1/a", true },
                { "relative-json-pointer", "01", false },
                { "regex", "^a(b)?$", true },
                { "regex", "a(", false },
                { "something-else", "x", true },
        };
        const MamJsonSchemaOptions options = { .assert_formats = true };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(mam_json_schema_freep) MamJsonSchema *s = NULL;
                char schema[64], instance[128];

                (void) snprintf(schema, sizeof(schema), "{\"format\":\"%s\"}", cases[i].format);
                (void) snprintf(instance, sizeof(instance), "\"%s\"", cases[i].text);
                s = compile_with(schema, &options);
                if (!judge(s, instance) != cases[i].is_valid)
                        mam_test_fail_string(__FILE__, __LINE__, cases[i].format, cases[i].text);
                ASSERT_TRUE(!judge(s, "1"));
        }
}

TEST(several_errors_come_as_a_list) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = compile(
                        "{\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"minimum\":3,\"multipleOf\":2}},"
                        "\"required\":[\"c\"]}");
        _cleanup_(json_object_putp) json_object *o = parse("{\"a\":1,\"b\":1}");
        MamJsonError errors[8];
        size_t n = 0;

        ASSERT_EQ(mam_json_schema_validate_list(s, o, "/data", errors, MAM_ELEMENTSOF(errors), &n),
                  -EBADMSG);
        ASSERT_EQ(n, 4);
        ASSERT_STREQ(errors[0].pointer, "/data");
        ASSERT_STREQ(errors[1].pointer, "/data/a");
        ASSERT_STREQ(errors[2].message, "must be at least 3 (minimum)");
        ASSERT_STREQ(errors[3].message, "must be a multiple of 2 (multipleOf)");
        ASSERT_EQ(mam_json_schema_validate_list(s, o, "", errors, 2, &n), -EBADMSG);
        ASSERT_EQ(n, 2);
        ASSERT_EQ(mam_json_schema_validate(s, o, "", NULL), -EBADMSG);
}

static char *repeat(const char *head, const char *part, size_t n, const char *tail) {
        size_t size = strlen(part);
        char *s = malloc(strlen(head) + n * size + strlen(tail) + 1), *at;

        ASSERT_TRUE(s);
        at = stpcpy(s, head);
        for (size_t i = 0; i < n; i++)
                at = stpcpy(at, part);
        (void) strcpy(at, tail);
        return s;
}

/* What would take for ever ends with an error that says so; the bound on time is a generous one. */
static void expect_bounded(const char *schema, const char *instance) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = compile(schema);
        struct timespec begin, end;
        const char *error;

        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        error = judge(s, instance);
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        ASSERT_TRUE(error && strstr(error, "than is allowed"));
        ASSERT_TRUE(end.tv_sec - begin.tv_sec < 20);
}

TEST(patterns_that_backtrack_are_stopped) {
        _cleanup_(mam_freep) char *as = repeat("\"", "a", 100000, "!\""),
                                  *few = repeat("\"", "a", 60, "!\"");

        expect_bounded("{\"pattern\":\"^(a+)+$\"}", few);
        expect_bounded("{\"pattern\":\"^(a|aa)+$\"}", few);
        expect_bounded("{\"pattern\":\"a*a*a*a*[bc]\"}", as);
        expect_bounded("{\"pattern\":\"(a*)\\\\1[bc]\"}", as);
}

TEST(schemas_that_multiply_are_stopped) {
        char schema[4096];
        size_t at;

        /* Each level asks the next one twice. */
        at = (size_t) snprintf(schema, sizeof(schema), "{\"$ref\":\"#/$defs/a0\",\"$defs\":{");
        for (unsigned i = 0; i < 40; i++)
                at += (size_t) snprintf(
                                schema + at,
                                sizeof(schema) - at,
                                "\"a%u\":{\"allOf\":[{\"$ref\":\"#/$defs/a%u\"},{\"$ref\":\"#/$defs/a%u\"}]},",
                                i,
                                i + 1,
                                i + 1);
        (void) snprintf(schema + at, sizeof(schema) - at, "\"a40\":true}}");
        expect_bounded(schema, "1");
}

TEST(equal_hashes_and_long_lists_are_stopped) {
        _cleanup_(mam_freep) char *items = repeat("[", "0,", 20000, "0]"), *schema = NULL;

        schema = repeat("{\"items\":{\"allOf\":[", "{\"minimum\":0},", 300, "true]}}");
        expect_bounded(schema, items);
}

TEST(large_schemas_are_refused) {
        _cleanup_(mam_freep) char *text = repeat("{\"allOf\":[", "{},", MAM_JSON_SCHEMA_NODES_MAX, "{}]}");
        _cleanup_(json_object_putp) json_object *o = parse(text);
        MamJsonSchema *s = NULL;
        MamJsonError error = { 0 };

        ASSERT_EQ(mam_json_schema_compile(&s, o, NULL, &error), -EFBIG);
        ASSERT_STREQ(error.message, "has more subschemas than are allowed");
}
