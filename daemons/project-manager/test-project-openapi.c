/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * openapi.json and what runs: every answer of every test is held against it (see call_port()); here,
 * requests are made from it. What it calls valid is done, what it calls wrong is refused with 422 and a
 * place, nothing is ever a 500.
 */

#include <stdio.h>
#include <stdlib.h>

#include "project-manager/test-openapi.h"
#include "project-manager/test-project.h"

#define ROUNDS 600U

static unsigned pick(unsigned *seed, unsigned n) {
        *seed = *seed * 1664525U + 1013904223U;
        return (*seed >> 8) % n;
}

TEST(the_document_is_served_to_everybody) {
        _cleanup_(answer_freep) Answer *a = NULL;
        Fixture f;

        fixture_setup(&f);
        a = call_port(f.w.port, "GET", PROJECTS "/openapi.json", "", NULL);
        CHECK(a, 200);
        ASSERT_TRUE(json_object_equal(a->json, openapi_document()));
        fixture_teardown(&f);
}

/* ---- values out of schemas ---- */

static json_object *make_text(json_object *schema, unsigned *seed) {
        static const char *const pieces[] = {
                "a", "Z", "7", "-", "\"", "\\", "/", "~", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"
        };
        json_object *min = OPENAPI_FIND(schema, "minLength"), *max = OPENAPI_FIND(schema, "maxLength");
        json_object *format = OPENAPI_FIND(schema, "format");
        unsigned n = (unsigned) (min ? json_object_get_int(min) : 0);
        char text[1024] = "";
        size_t size = 0;

        if (OPENAPI_FIND(schema, "pattern")) { /* the only one in requests: a project's key */
                snprintf(text, sizeof(text), "K%c%u", 'A' + (int) pick(seed, 26), pick(seed, 1000000));
                return json_object_new_string(text);
        }
        if (format && strcmp(json_object_get_string(format), "date") == 0) {
                snprintf(text,
                         sizeof(text),
                         "%04u-%02u-%02u",
                         1 + pick(seed, 9999),
                         1 + pick(seed, 12),
                         1 + pick(seed, 28));
                return json_object_new_string(text);
        }
        n += pick(seed,
                  max && json_object_get_int(max) - (int) n < 40
                                  ? (unsigned) json_object_get_int(max) - n + 1
                                  : 40);
        for (unsigned i = 0; i < n; i++)
                size += (size_t) snprintf(
                                text + size,
                                sizeof(text) - size,
                                "%s",
                                pieces[pick(seed, MAM_ELEMENTSOF(pieces))]);
        return json_object_new_string(text);
}

static json_object *make_value(json_object *schema, unsigned *seed) {
        json_object *choices = OPENAPI_FIND(schema, "enum"), *type = OPENAPI_FIND(schema, "type");

        if (choices)
                return json_object_get(json_object_array_get_idx(
                                choices,
                                pick(seed, (unsigned) json_object_array_length(choices))));
        if (json_object_is_type(type, json_type_array)) {
                if (pick(seed, 4) == 0)
                        return NULL;
                type = json_object_array_get_idx(type, 0);
        }
        if (strcmp(json_object_get_string(type), "string") == 0)
                return make_text(schema, seed);
        if (strcmp(json_object_get_string(type), "number") == 0) {
                char text[16];

                snprintf(text, sizeof(text), "%u.%02u", pick(seed, 1000), pick(seed, 100));
                return json_object_new_double_s(strtod(text, NULL), text);
        }
        if (strcmp(json_object_get_string(type), "array") == 0) {
                json_object *list = json_object_new_array();

                for (unsigned i = pick(seed, 4); i > 0; i--)
                        ASSERT_EQ(json_object_array_add(
                                                  list,
                                                  make_value(OPENAPI_FIND(schema, "items"), seed)),
                                  0);
                return list;
        }
        mam_test_fail_string(__FILE__, __LINE__, "a type that requests have", json_object_get_string(type));
}

/* What is required, and any of the others. */
static json_object *make_body(json_object *schema, unsigned *seed) {
        json_object *body = json_object_new_object(), *required = OPENAPI_FIND(schema, "required");

        json_object_object_foreach(OPENAPI_FIND(schema, "properties"), key, member) {
                bool must = false;

                for (size_t i = 0; i < json_object_array_length(required); i++)
                        must |= strcmp(json_object_get_string(json_object_array_get_idx(required, i)),
                                       key) == 0;
                if (must || pick(seed, 2))
                        ASSERT_EQ(json_object_object_add(body, key, make_value(member, seed)), 0);
        }
        return body;
}

/* One member, or one that nobody knows, becomes something else. */
static void spoil(json_object *body, json_object *schema, unsigned *seed) {
        static const char *const values[] = { "null",
                                              "true",
                                              "-1",
                                              "1e300",
                                              "\"\"",
                                              "\"x\\u0000y\"",
                                              "\"   \"",
                                              "\"2026-02-30\"",
                                              "[]",
                                              "[null]",
                                              "[\"a\",\"a\"]",
                                              "{}",
                                              "{\"a\":[1]}",
                                              "0.001",
                                              "\"\\n\"",
                                              "123456789012345678901234567890" };
        json_object *properties = OPENAPI_FIND(schema, "properties"), *value = NULL;
        unsigned at = pick(seed, (unsigned) json_object_object_length(properties) + 1);
        const char *text = values[pick(seed, MAM_ELEMENTSOF(values))];

        ASSERT_OK(mam_json_parse(&value, text, strlen(text), NULL));
        json_object_object_foreach(properties, key, member) {
                if (at-- == 0) {
                        ASSERT_EQ(json_object_object_add(body, key, value), 0);
                        return;
                }
        }
        ASSERT_EQ(json_object_object_add(body, "nobodyKnowsThis", value), 0);
}

/* The schema says less than the words do: texts hold no control characters and are not blank. */
static bool says_enough(json_object *body) {
        const char *text = json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN);

        return !strstr(text, "\\u0000") && !strstr(text, "\"   \"") && !strstr(text, "\\n");
}

static void try_operation(
                Fixture *f,
                const char *method,
                const char *path,
                unsigned *seed,
                unsigned *n_valid) {
        json_object *operation = openapi_operation(method, path);
        json_object *schema =
                        OPENAPI_FIND(operation, "requestBody", "content", "application/json", "schema");
        _cleanup_(json_object_putp) json_object *body = make_body(schema, seed);
        _cleanup_(answer_freep) Answer *a = NULL;
        bool valid;

        if (pick(seed, 2))
                spoil(body, schema, seed);
        valid = openapi_fits(schema, body, NULL);
        a = call(f, method, path, "If-Match: *\r\n", mam_json_to_string(body));
        if (a->status == 409 && valid)
                return; /* a key or an external name that is there */
        if (says_enough(body) && valid != (a->status == 200 || a->status == 201))
                mam_test_fail_string(__FILE__, __LINE__, mam_json_to_string(body), a->text);
        ASSERT_TRUE(a->status == 200 || a->status == 201 || a->status == 422);
        *n_valid += valid;
}

TEST(what_the_document_calls_valid_is_done_and_all_else_refused) {
        unsigned seed = 1, n_valid = 0;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "PROP");
        make_project(&f, "OTHER");
        ASSERT_EQ(call_status(&f, "POST", PROJECTS "/PROP/tasks", "", "{\"title\":\"x\"}"), 201);
        for (unsigned i = 0; i < ROUNDS; i++) {
                try_operation(&f, "POST", PROJECTS, &seed, &n_valid);
                try_operation(&f, "POST", PROJECTS "/PROP/tasks", &seed, &n_valid);
                try_operation(&f, "PATCH", PROJECTS "/PROP/tasks/PROP-1", &seed, &n_valid);
                try_operation(&f, "PATCH", PROJECTS "/OTHER", &seed, &n_valid);
        }
        printf("# %u of %u bodies were valid\n", n_valid, 4 * ROUNDS);
        ASSERT_TRUE(n_valid > ROUNDS && n_valid < 4 * ROUNDS - 400);
        fixture_teardown(&f);
}

TEST(no_path_and_no_parameter_is_a_500) {
        static const char *const names[] = { "PROP",
                                             "prop",
                                             "NONE",
                                             "PROP-1",
                                             "PROP-0",
                                             "%00",
                                             "%ff",
                                             "..",
                                             "01920000-0000-7000-8000-000000000001",
                                             "PROP-99999999999999999999",
                                             "%F0%9F%98%80",
                                             "a%2Fb" };
        static const char *const queries[] = { "",
                                               "?limit=0",
                                               "?limit=x",
                                               "?cursor=x",
                                               "?query=%22",
                                               "?query=due%3Cx",
                                               "?q=%00",
                                               "?q=%ff",
                                               "?assignee=%25",
                                               "?status=x",
                                               "?state=x",
                                               "?outcome=x",
                                               "?limit=200&cursor=",
                                               "?query=a%20OR%20b" };
        static const char *const methods[] = { "GET", "DELETE", "HEAD" };
        json_object *paths = OPENAPI_FIND(openapi_document(), "paths");
        unsigned seed = 7;
        Fixture f;

        fixture_setup(&f);
        make_project(&f, "PROP");
        for (unsigned i = 0; i < 40; i++) {
                json_object_object_foreach(paths, template, item) {
                        _cleanup_(answer_freep) Answer *a = NULL;
                        char path[512];
                        size_t n = 0;

                        for (const char *p = template; *p; p++) {
                                if (*p != '{') {
                                        path[n++] = *p;
                                        continue;
                                }
                                n += (size_t) snprintf(
                                                path + n,
                                                sizeof(path) - n,
                                                "%s",
                                                names[pick(&seed, MAM_ELEMENTSOF(names))]);
                                p = strchr(p, '}');
                        }
                        snprintf(path + n,
                                 sizeof(path) - n,
                                 "%s",
                                 queries[pick(&seed, MAM_ELEMENTSOF(queries))]);
                        a = call(&f, methods[pick(&seed, MAM_ELEMENTSOF(methods))], path, "", NULL);
                        ASSERT_TRUE(a->status >= 200 && a->status < 500);
                }
        }
        fixture_teardown(&f);
}
