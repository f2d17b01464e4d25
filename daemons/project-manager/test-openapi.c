/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/schema.h"
#include "libmam/util/file.h"
#include "libmam/util/test.h"
#include "project-manager/test-openapi.h"

json_object *openapi_document(void) {
        static json_object *document;
        _cleanup_(mam_freep) char *text = NULL;
        const char *root = getenv("MAM_SOURCE_ROOT");
        char path[4096];
        size_t size;

        if (document)
                return document;
        snprintf(path, sizeof(path), "%s/daemons/project-manager/openapi.json", root ? root : ".");
        ASSERT_OK(mam_file_read(&text, &size, path, 1024U * 1024U));
        ASSERT_OK(mam_json_parse(&document, text, size, NULL));
        return document;
}

/* "#/components/schemas/Task": where it points to. */
static json_object *resolve(json_object *o) {
        json_object *reference;

        while (json_object_is_type(o, json_type_object) &&
               json_object_object_get_ex(o, "$ref", &reference)) {
                json_object *target = NULL;

                ASSERT_EQ(json_pointer_get(
                                          openapi_document(),
                                          json_object_get_string(reference) + 1,
                                          &target),
                          0);
                o = target;
        }
        return o;
}

json_object *openapi_find(json_object *o, const char *const *path) {
        o = resolve(o);
        for (; *path && o; path++) {
                json_object *next = NULL;

                (void) json_object_object_get_ex(o, *path, &next);
                o = resolve(next);
        }
        return o;
}

/* Segment by segment; {name} is any. Literal segments count, so that "openapi.json" is not a project. */
static int path_matches(const char *template, const char *path, size_t size) {
        const char *end = path + size;
        int literals = 0;

        while (*template && path < end) {
                size_t n = strcspn(template, "/"), k = 0;

                while (path + k < end && path[k] != '/')
                        k++;
                if (*template != '{') {
                        if (n != k || memcmp(template, path, n) != 0)
                                return -1;
                        literals++;
                }
                template += n + (template[n] == '/');
                path += k;
                if (path < end)
                        path++;
                if ((*template == '\0') != (path == end))
                        return -1;
        }
        return literals;
}

json_object *openapi_operation(const char *method, const char *path) {
        json_object *paths = OPENAPI_FIND(openapi_document(), "paths"), *best = NULL;
        int best_literals = -1;
        char name[16];

        json_object_object_foreach(paths, template, item) {
                int literals = path_matches(template + 1, path + 1, strcspn(path, "?") - 1);

                if (literals > best_literals) {
                        best_literals = literals;
                        best = item;
                }
        }
        if (!best)
                return NULL;
        for (size_t i = 0; i < sizeof(name); i++) {
                name[i] = (char) (method[i] >= 'A' && method[i] <= 'Z' ? method[i] + 32 : method[i]);
                if (name[i] == '\0')
                        break;
        }
        return OPENAPI_FIND(best, strcmp(name, "head") == 0 ? "get" : name);
}

bool openapi_fits(json_object *schema, json_object *value, MamJsonError *error) {
        _cleanup_(json_object_putp) json_object *whole = json_object_new_object();
        _cleanup_(mam_json_schema_freep) MamJsonSchema *compiled = NULL;
        MamJsonSchemaOptions options = { .assert_formats = true };
        MamJsonError ignored;
        int r;

        /* references go to /components of the document that they are in */
        ASSERT_TRUE(whole);
        ASSERT_EQ(json_object_object_add(whole, "$ref", json_object_new_string("#/schema")), 0);
        ASSERT_EQ(json_object_object_add(whole, "schema", json_object_get(schema)), 0);
        ASSERT_EQ(json_object_object_add(
                                  whole,
                                  "components",
                                  json_object_get(OPENAPI_FIND(openapi_document(), "components"))),
                  0);
        error = error ? error : &ignored;
        r = mam_json_schema_compile(&compiled, whole, &options, error);
        if (r < 0)
                mam_test_fail_string(__FILE__, __LINE__, error->pointer, error->message);
        r = mam_json_schema_validate(compiled, value, "", error);
        ASSERT_TRUE(r == 0 || r == -EBADMSG);
        return r == 0;
}

static void check_answer_of(
                const char *method,
                const char *path,
                int status,
                const char *content_type,
                json_object *body,
                const char *text) {
        json_object *operation = openapi_operation(method, path), *answer, *media;
        MamJsonError error;
        char code[16];

        if (!operation) {
                ASSERT_TRUE(status == 400 || status == 404 || status == 405);
                return;
        }
        snprintf(code, sizeof(code), "%d", status);
        answer = OPENAPI_FIND(operation, "responses", code);
        if (!answer)
                mam_test_fail_string(__FILE__, __LINE__, "a status that openapi.json knows here", text);
        if (!*content_type) {
                ASSERT_TRUE(!OPENAPI_FIND(answer, "content"));
                return;
        }
        media = OPENAPI_FIND(answer, "content", content_type);
        if (!media)
                mam_test_fail_string(__FILE__, __LINE__, "a type that openapi.json knows here", text);
        if (body && !openapi_fits(OPENAPI_FIND(media, "schema"), body, &error)) {
                fprintf(stderr, "%s %s: %s: %s\n", method, path, error.pointer, error.message);
                mam_test_fail_string(__FILE__, __LINE__, "an answer as openapi.json says", text);
        }
}

void openapi_check(
                const char *method,
                const char *path,
                int status,
                const char *content_type,
                json_object *body,
                const char *text) {
        static pthread_mutex_t mutex =
                        PTHREAD_MUTEX_INITIALIZER; /* clients are threads, JSON objects are not for them */

        pthread_mutex_lock(&mutex);
        check_answer_of(method, path, status, content_type, body, text);
        pthread_mutex_unlock(&mutex);
}
