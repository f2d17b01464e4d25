/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "libmam/json/schema.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

static json_object *parse(const char *text) {
        json_object *o = NULL;

        if (mam_json_parse(&o, text, strlen(text), NULL) < 0)
                mam_test_fail_string(__FILE__, __LINE__, "is JSON", text);
        return o;
}

static MamJsonSchema *compile(const char *text) {
        _cleanup_(json_object_putp) json_object *o = parse(text);
        MamJsonSchema *s = NULL;
        MamJsonError error = { 0 };

        if (mam_json_schema_compile(&s, o, NULL, &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, text, error.message);
        return s;
}

/* NULL: wide covers narrow; else "pointer message". */
static const char *compare(const char *wide, const char *narrow) {
        static char text[600];
        _cleanup_(mam_json_schema_freep) MamJsonSchema *w = compile(wide), *n = compile(narrow);
        MamJsonError error = { 0 };
        int r;

        r = mam_json_schema_covers(w, n, "W", "N", &error);
        if (r == 0)
                return NULL;
        ASSERT_EQ(r, -EBADMSG);
        ASSERT_TRUE(error.message[0] != '\0');
        (void) snprintf(text, sizeof(text), "%s %s", error.pointer, error.message);
        return text;
}

TEST(what_covers) {
        static const struct {
                const char *wide, *narrow;
        } cases[] = {
                { "{}", "{\"type\":\"string\"}" },
                { "{\"type\":[\"string\",\"null\"]}", "{\"type\":\"string\"}" },
                { "{\"type\":\"number\"}", "{\"type\":\"integer\"}" },
                { "{\"type\":\"integer\"}", "{\"type\":\"number\",\"multipleOf\":5}" },
                { "{\"minimum\":1}", "{\"exclusiveMinimum\":1}" },
                { "{\"exclusiveMinimum\":1}", "{\"minimum\":1.5}" },
                { "{\"multipleOf\":0.5}", "{\"type\":\"integer\"}" },
                { "{\"multipleOf\":2}", "{\"multipleOf\":4}" },
                { "{\"minLength\":1}", "{\"minLength\":2}" },
                { "{\"minLength\":5}", "{\"type\":\"null\"}" },
                { "{\"pattern\":\"^a\"}", "{\"pattern\":\"^a\",\"maxLength\":3}" },
                { "{\"enum\":[1,2,3]}", "{\"enum\":[1,3]}" },
                { "{\"minimum\":2}", "{\"enum\":[2,5,\"x\"]}" },
                { "{\"minimum\":2}", "{\"enum\":[1,2],\"minimum\":2}" },
                { "{\"enum\":[true,false,null]}", "{\"type\":[\"boolean\",\"null\"]}" },
                { "false", "{\"type\":\"string\",\"allOf\":[{\"type\":\"null\"}]}" },
                { "{\"required\":[\"a\"]}", "{\"required\":[\"a\",\"b\"]}" },
                /* a property that is added to a closed schema, and one that is removed from an open one */
                { "{\"properties\":{\"a\":{\"type\":\"string\"}},\"additionalProperties\":false}",
                  "{\"additionalProperties\":false}" },
                { "{}", "{\"properties\":{\"a\":{\"type\":\"string\"}}}" },
                { "{\"properties\":{\"a\":{}}}", "{}" },
                { "{\"additionalProperties\":{\"type\":\"number\"}}",
                  "{\"properties\":{\"a\":{\"type\":\"integer\"}},\"additionalProperties\":false}" },
                { "{\"patternProperties\":{\"^x\":{\"type\":\"number\"}}}",
                  "{\"patternProperties\":{\"^x\":{\"type\":\"integer\"}}}" },
                { "{\"patternProperties\":{\"^x\":{\"type\":\"number\"}}}",
                  "{\"properties\":{\"x\":{\"type\":\"integer\"},\"y\":{}},\"additionalProperties\":false}" },
                { "{\"propertyNames\":{\"maxLength\":5}}", "{\"propertyNames\":{\"maxLength\":4}}" },
                { "{\"dependentRequired\":{\"a\":[\"b\"]}}",
                  "{\"dependentRequired\":{\"a\":[\"b\",\"c\"]}}" },
                { "{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"properties\":{\"a\":false}}" },
                { "{\"items\":{\"type\":\"number\"}}",
                  "{\"prefixItems\":[{\"const\":1}],\"items\":{\"type\":\"integer\"}}" },
                { "{\"prefixItems\":[{\"type\":\"number\"}]}", "{\"items\":{\"type\":\"integer\"}}" },
                { "{\"items\":{\"type\":\"string\"}}",
                  "{\"prefixItems\":[{\"type\":\"string\"}],\"maxItems\":1}" },
                { "{\"contains\":{\"minimum\":1}}", "{\"contains\":{\"minimum\":2},\"minContains\":3}" },
                { "{\"uniqueItems\":true}", "{\"maxItems\":1}" },
                { "{\"allOf\":[{\"minimum\":1},{\"maximum\":9}]}", "{\"minimum\":2,\"maximum\":8}" },
                { "{\"minimum\":1,\"maximum\":9}", "{\"allOf\":[{\"minimum\":2},{\"maximum\":8}]}" },
                { "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}",
                  "{\"type\":[\"null\",\"string\"]}" },
                { "{\"type\":[\"null\",\"string\"]}",
                  "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}" },
                { "{\"anyOf\":[{\"minimum\":5},{\"type\":\"string\"}]}",
                  "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\",\"minimum\":7}]}" },
                { "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\"},{\"type\":\"null\"}]}",
                  "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}" },
                /* told apart by a property */
                { "{\"oneOf\":[{\"properties\":{\"k\":{\"const\":\"a\"}},\"required\":[\"k\"]},"
                  "{\"properties\":{\"k\":{\"const\":\"b\"},\"x\":{\"type\":\"number\"}},\"required\":[\"k\"]}]}",
                  "{\"type\":\"object\",\"oneOf\":[{\"properties\":{\"k\":{\"const\":\"a\"}},\"required\":[\"k\"]},"
                  "{\"properties\":{\"k\":{\"const\":\"b\"},\"x\":{\"type\":\"integer\"}},\"required\":[\"k\"]}]}" },
                { "{\"not\":{\"type\":\"null\"}}", "{\"type\":\"string\"}" },
                { "{\"not\":{\"minimum\":5}}", "{\"not\":{\"minimum\":3}}" },
                { "{\"if\":{\"minimum\":1},\"then\":{\"maximum\":9}}",
                  "{\"if\":{\"minimum\":1},\"then\":{\"maximum\":8}}" },
                { "{\"properties\":{\"n\":{\"$ref\":\"#\"},\"v\":{\"type\":\"number\"}}}",
                  "{\"properties\":{\"n\":{\"$ref\":\"#\"},\"v\":{\"type\":\"integer\"}}}" },
                { "{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"number\"}}}],\"unevaluatedProperties\":false}",
                  "{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"integer\"}}}],\"unevaluatedProperties\":false}" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                const char *error = compare(cases[i].wide, cases[i].narrow);

                if (error) {
                        fprintf(stderr, "%s\n%s\n", cases[i].wide, cases[i].narrow);
                        mam_test_fail_string(__FILE__, __LINE__, "covers", error);
                }
        }
}

TEST(what_does_not_cover_and_why) {
        static const struct {
                const char *wide, *narrow, *error;
        } cases[] = {
                { "{\"type\":\"string\"}",
                  "{\"type\":[\"string\",\"null\"]}",
                  " N allows null, W does not (type)" },
                { "{\"type\":\"integer\"}",
                  "{\"type\":\"number\"}",
                  " N allows numbers with a fraction, W does not (type)" },
                { "{\"properties\":{\"a\":{\"minimum\":5}}}",
                  "{\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":4}}}",
                  "/a N allows numbers beyond 5, the bound in W (minimum)" },
                { "{\"multipleOf\":4}",
                  "{\"multipleOf\":2}",
                  " N allows numbers that are not a multiple of 4 as in W (multipleOf)" },
                { "{\"enum\":[1]}", "{\"enum\":[1,2]}", " N allows 2, W does not" },
                { "{\"enum\":[1]}",
                  "{\"type\":\"integer\"}",
                  " W allows only certain values, N more (enum, const)" },
                { "{\"required\":[\"a\"]}",
                  "{\"properties\":{\"a\":{}}}",
                  " W requires \"a\", N does not (required)" },
                /* a property that is added to an open schema */
                { "{\"properties\":{\"a\":{\"type\":\"string\"}}}",
                  "{\"type\":\"object\"}",
                  "/a N allows null, W does not (type)" },
                { "{\"additionalProperties\":false}",
                  "{\"type\":\"object\"}",
                  "/* N allows anything here, W allows nothing" },
                { "{\"properties\":{\"a\":{}},\"additionalProperties\":false}",
                  "{\"properties\":{\"a\":{},\"b\":{\"type\":\"string\"}},\"additionalProperties\":false}",
                  "/b N allows strings here, W allows nothing" },
                { "{\"items\":{\"type\":\"string\"}}",
                  "{\"items\":{\"type\":\"null\"}}",
                  "/* N allows null, W does not" },
                { "{\"maxItems\":3}", "{\"maxItems\":4}", " N allows more than 3 items, W does not" },
                { "{\"minLength\":3}",
                  "{\"type\":\"string\"}",
                  " N allows strings shorter than 3, W does not (minLength)" },
                { "{\"pattern\":\"a\"}",
                  "{\"pattern\":\"ab\"}",
                  " W has a pattern that N has not; two patterns are not compared (pattern)" },
                { "{\"oneOf\":[{\"minimum\":1},{\"maximum\":5}]}",
                  "{\"minimum\":7}",
                  " N is not seen to fit exactly one alternative of W (oneOf)" },
                { "{\"not\":{\"minimum\":3}}",
                  "{\"not\":{\"minimum\":5}}",
                  " N is not seen to exclude what W excludes (not)" },
                { "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}",
                  "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\"}]}",
                  " no alternative of W is seen to cover N (anyOf)" },
                { "{\"unevaluatedProperties\":false}",
                  "{\"type\":\"object\"}",
                  "/* N allows anything here, W allows nothing" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                ASSERT_STREQ(compare(cases[i].wide, cases[i].narrow), cases[i].error);
}

/* ---- whatever is covered is valid ---- */

static uint64_t state;

static unsigned draw(unsigned n) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned) (state >> 33) % n;
}

static json_object *make_value(unsigned depth) {
        static const char *const scalars[] = {
                "null", "true", "false", "0",    "1",     "2",      "3",
                "1.5",  "-1",   "4.0",   "\"\"", "\"a\"", "\"ab\"", "\"xyz\""
        };
        json_object *o;

        if (depth == 0 || draw(3) == 0)
                return parse(scalars[draw(MAM_ELEMENTSOF(scalars))]);
        if (draw(3) == 0) {
                o = json_object_new_array();
                for (unsigned i = draw(4); i > 0; i--)
                        json_object_array_add(o, make_value(depth - 1));
                return o;
        }
        o = json_object_new_object();
        for (unsigned i = draw(4); i > 0; i--) {
                static const char *const names[] = { "a", "b", "x1", "c" };

                json_object_object_add(o, names[draw(4)], make_value(depth - 1));
        }
        return o;
}

static json_object *make_schema(unsigned depth);

static json_object *make_list(unsigned depth) {
        json_object *o = json_object_new_array();

        for (unsigned i = draw(2) + 1; i > 0; i--)
                json_object_array_add(o, make_schema(depth));
        return o;
}

static json_object *make_map(unsigned depth, bool is_pattern) {
        static const char *const names[] = { "a", "b", "x1" }, *const patterns[] = { "^x", "a", "1$" };
        json_object *o = json_object_new_object();

        for (unsigned i = draw(2) + 1; i > 0; i--)
                json_object_object_add(
                                o,
                                is_pattern ? patterns[draw(3)] : names[draw(3)],
                                make_schema(depth));
        return o;
}

static void add_scalar_keyword(json_object *o) {
        static const char *const choices[][2] = {
                { "type", "\"string\"" },
                { "type", "\"integer\"" },
                { "type", "[\"number\",\"null\"]" },
                { "type", "\"object\"" },
                { "type", "[\"array\",\"object\"]" },
                { "type", "\"boolean\"" },
                { "minimum", "1" },
                { "minimum", "2" },
                { "exclusiveMinimum", "1" },
                { "maximum", "3" },
                { "exclusiveMaximum", "3" },
                { "multipleOf", "2" },
                { "multipleOf", "0.5" },
                { "minLength", "1" },
                { "maxLength", "2" },
                { "pattern", "\"^a\"" },
                { "enum", "[1,2,\"a\"]" },
                { "enum", "[1,\"a\",null,true]" },
                { "const", "1" },
                { "required", "[\"a\"]" },
                { "required", "[\"a\",\"b\"]" },
                { "minProperties", "1" },
                { "maxProperties", "2" },
                { "minItems", "1" },
                { "maxItems", "2" },
                { "uniqueItems", "true" },
                { "dependentRequired", "{\"a\":[\"b\"]}" },
                { "minContains", "2" },
                { "minContains", "0" },
                { "maxContains", "1" },
        };
        unsigned i = draw(MAM_ELEMENTSOF(choices));

        json_object_object_add(o, choices[i][0], parse(choices[i][1]));
}

static json_object *make_schema(unsigned depth) {
        static const char *const singles[] = { "additionalProperties",
                                               "unevaluatedProperties",
                                               "unevaluatedItems",
                                               "items",
                                               "contains",
                                               "propertyNames",
                                               "not",
                                               "if",
                                               "then",
                                               "else" };
        static const char *const lists[] = { "allOf", "anyOf", "oneOf", "prefixItems" };
        json_object *o;

        if (draw(8) == 0)
                return json_object_new_boolean(draw(3) > 0);
        o = json_object_new_object();
        for (unsigned i = draw(3) + 1; i > 0; i--) {
                unsigned kind = depth > 0 ? draw(6) : 0;

                if (kind <= 1)
                        add_scalar_keyword(o);
                else if (kind == 2)
                        json_object_object_add(o, singles[draw(10)], make_schema(depth - 1));
                else if (kind == 3)
                        json_object_object_add(o, lists[draw(4)], make_list(depth - 1));
                else if (kind == 4)
                        json_object_object_add(
                                        o,
                                        draw(4) > 0 ? "properties" : "dependentSchemas",
                                        make_map(depth - 1, false));
                else
                        json_object_object_add(o, "patternProperties", make_map(depth - 1, true));
        }
        return o;
}

/* A copy in which a few things differ: pairs that are near each other say more than any two. */
static json_object *change(json_object *o) {
        json_object *copy = NULL;

        ASSERT_EQ(json_object_deep_copy(o, &copy, NULL), 0);
        if (json_object_is_type(copy, json_type_object)) {
                if (draw(2) == 0) {
                        add_scalar_keyword(copy);
                } else {
                        json_object_object_foreach(copy, key, value) {
                                (void) value;
                                if (draw(2) == 0) {
                                        json_object_object_del(copy, key);
                                        break;
                                }
                        }
                }
        }
        return copy;
}

TEST(what_is_said_to_be_covered_is_so_for_any_value) {
        unsigned n_covered = 0, n_valid = 0;

        state = 20201212;
        for (unsigned i = 0; i < 6000; i++) {
                _cleanup_(json_object_putp) json_object *a = make_schema(2),
                                                        *b = draw(3) > 0 ? change(a) : make_schema(2);
                _cleanup_(mam_json_schema_freep) MamJsonSchema *w = NULL, *n = NULL;
                MamJsonError error;
                int r;

                ASSERT_OK(mam_json_schema_compile(&w, a, NULL, &error));
                ASSERT_OK(mam_json_schema_compile(&n, b, NULL, &error));
                r = mam_json_schema_covers(w, n, "W", "N", &error);
                if (r == -EBADMSG)
                        continue;
                ASSERT_EQ(r, 0);
                n_covered++;
                for (unsigned k = 0; k < 40; k++) {
                        _cleanup_(json_object_putp) json_object *v = make_value(2);

                        if (mam_json_schema_validate(n, v, "", NULL) < 0)
                                continue;
                        n_valid++;
                        if (mam_json_schema_validate(w, v, "", &error) == 0)
                                continue;
                        fprintf(stderr,
                                "wide   %s\nnarrow %s\nvalue  %s\n",
                                mam_json_to_string(a),
                                mam_json_to_string(b),
                                mam_json_to_string(v));
                        mam_test_fail_string(
                                        __FILE__,
                                        __LINE__,
                                        "is valid under the wide one, too",
                                        error.message);
                }
        }
        printf("# %u pairs covered, %u values\n", n_covered, n_valid);
        ASSERT_TRUE(n_covered > 500 && n_valid > 5000);
}

/* Every schema covers itself, but for what cannot be judged even then. */
TEST(most_schemas_cover_themselves) {
        unsigned n_covered = 0;

        state = 7;
        for (unsigned i = 0; i < 2000; i++) {
                _cleanup_(json_object_putp) json_object *o = make_schema(2);
                _cleanup_(mam_json_schema_freep) MamJsonSchema *s = NULL;
                MamJsonError error;

                ASSERT_OK(mam_json_schema_compile(&s, o, NULL, &error));
                n_covered += mam_json_schema_covers(s, s, "W", "N", &error) == 0;
        }
        printf("# %u of 2000\n", n_covered);
        ASSERT_TRUE(n_covered > 1700);
}
