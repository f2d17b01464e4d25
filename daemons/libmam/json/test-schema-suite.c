/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The public test suite of JSON Schema, draft 2020-12: every required case
 *
 * It lies beside the checkout and not in it; where it is absent these cases skip.
 */

#include <dirent.h>
#include <limits.h>
#include <string.h>

#include "libmam/json/schema.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define FILE_MAX (4U * 1024U * 1024U)

static const char *suite_folder(void) {
        static char path[PATH_MAX];
        const char *data = mam_test_shared_data();

        if (!data)
                mam_test_skip("the public test suite is not here");
        (void) snprintf(path, sizeof(path), "%s/json-schema", data);
        if (access(path, R_OK) < 0)
                mam_test_skip("the public test suite is not here");
        return path;
}

static int read_json(json_object **ret, const char *path) {
        _cleanup_(mam_freep) char *text = NULL;
        size_t size;
        int r;

        r = mam_file_read(&text, &size, path, FILE_MAX);
        return r < 0 ? r : mam_json_parse(ret, text, size, NULL);
}

/* What the suite expects at http://localhost:1234/ */
static int find_remote(json_object **ret, const char *uri, void *userdata) {
        static const char base[] = "http://localhost:1234/";
        char path[PATH_MAX];

        if (strncmp(uri, base, strlen(base)) != 0 || strstr(uri, "..") ||
            (size_t) snprintf(path, sizeof(path), "%s/remotes/%s", suite_folder(), uri + strlen(base)) >=
                            sizeof(path))
                return -ENOENT;
        return read_json(ret, path);
}

static json_object *member(json_object *o, const char *key) {
        json_object *v = NULL;

        (void) json_object_object_get_ex(o, key, &v);
        return v;
}

typedef struct Tally {
        unsigned n, wrong;
} Tally;

static void run_group(Tally *t, const char *file, json_object *group, bool assert_formats) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = NULL;
        const MamJsonSchemaOptions options = { .resolver = find_remote, .assert_formats = assert_formats };
        json_object *tests = member(group, "tests");
        MamJsonError error = { 0 };
        int compiled;

        compiled = mam_json_schema_compile(&s, member(group, "schema"), &options, &error);
        if (compiled < 0)
                fprintf(stderr,
                        "%s: %s: not compiled (%d): %s %s\n",
                        file,
                        json_object_get_string(member(group, "description")),
                        compiled,
                        error.pointer,
                        error.message);
        for (size_t i = 0; i < json_object_array_length(tests); i++) {
                json_object *test = json_object_array_get_idx(tests, i);
                bool valid = json_object_get_boolean(member(test, "valid"));
                int r = -ENOEXEC;

                error = (MamJsonError){ 0 };
                if (s)
                        r = mam_json_schema_validate(s, member(test, "data"), "", &error);
                t->n++;
                if (r == (valid ? 0 : -EBADMSG) && (valid || error.message[0] != '\0'))
                        continue;
                t->wrong++;
                fprintf(stderr,
                        "%s: %s: %s: %s, we say %d: %s %s\n",
                        file,
                        json_object_get_string(member(group, "description")),
                        json_object_get_string(member(test, "description")),
                        valid ? "valid" : "invalid",
                        r,
                        error.pointer,
                        error.message);
        }
}

static void run_file(Tally *t, const char *path, const char *name, bool assert_formats) {
        _cleanup_(json_object_putp) json_object *groups = NULL;

        ASSERT_OK(read_json(&groups, path));
        for (size_t i = 0; i < json_object_array_length(groups); i++)
                run_group(t, name, json_object_array_get_idx(groups, i), assert_formats);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static void run_folder(Tally *t, const char *folder, bool assert_formats) {
        _cleanup_(closedirp) DIR *d = NULL;
        char path[PATH_MAX + 64];
        struct dirent *e;

        (void) snprintf(path, sizeof(path), "%s/tests/draft2020-12/%s", suite_folder(), folder);
        d = opendir(path);
        ASSERT_TRUE(d);
        while ((e = readdir(d))) {
                char file[2 * PATH_MAX];
                size_t n = strlen(e->d_name);

                if (n < 5 || strcmp(e->d_name + n - 5, ".json") != 0)
                        continue;
                ASSERT_TRUE((size_t) snprintf(file, sizeof(file), "%s/%s", path, e->d_name) < sizeof(file));
                run_file(t, file, e->d_name, assert_formats);
        }
}

TEST(every_required_case_of_the_suite) {
        Tally t = { 0 };

        run_folder(&t, "", false);
        printf("# %u cases\n", t.n);
        ASSERT_EQ(t.wrong, 0);
        ASSERT_TRUE(t.n >= 1200);
}
