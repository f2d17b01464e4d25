/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: JSON Schema
 *
 * An input has up to three lines: a schema, a value, and a second schema. Beside memory errors it looks for
 * broken promises: something refused without an error, an answer that differs the second time, and a value
 * that is valid under the second schema but not under the first, which was said to cover it.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/schema.h"
#include "libmam/util/macro.h"

#define STEPS_MAX 200000U /* so that a case ends soon */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check(int ok) {
        if (!ok)
                abort();
}

static int resolve(json_object **ret, const char *uri, void *userdata) {
        static const char text[] =
                        "{\"$defs\":{\"a\":{\"$anchor\":\"a\",\"type\":\"string\"}},\"items\":{\"$ref\":\"#\"}}";

        if (strstr(uri, "missing"))
                return -ENOENT;
        return mam_json_parse(ret, text, sizeof(text) - 1, NULL);
}

static MamJsonSchema *compile(const char *text, size_t size) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        const MamJsonSchemaOptions options = {
                .resolver = resolve,
                .assert_formats = true,
                .steps_max = STEPS_MAX,
        };
        MamJsonError error = { 0 };
        MamJsonSchema *s = NULL;
        int r;

        if (mam_json_parse(&o, text, size, NULL) < 0)
                return NULL;
        r = mam_json_schema_compile(&s, o, &options, &error);
        check(r == 0 || r == -EBADMSG || r == -EFBIG || r == -ENOMEM);
        check((r == 0) == (s != NULL) && ((r != -EBADMSG && r != -EFBIG) || error.message[0] != '\0'));
        return s;
}

static int validate(const MamJsonSchema *s, json_object *value) {
        MamJsonError errors[3] = { 0 };
        size_t n = 0;
        int r, again;

        r = mam_json_schema_validate(s, value, "/x", &errors[0]);
        check(r == 0 || r == -EBADMSG || r == -EOVERFLOW || r == -ENOMEM);
        check(r == 0 || r == -ENOMEM ||
              (errors[0].message[0] != '\0' && strncmp(errors[0].pointer, "/x", 2) == 0));
        again = mam_json_schema_validate_list(s, value, "", errors, MAM_ELEMENTSOF(errors), &n);
        check(r == again || again == -EOVERFLOW); /* going on takes more steps */
        check(n <= MAM_ELEMENTSOF(errors) && (again == 0) == (n == 0));
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        _cleanup_(mam_json_schema_freep) MamJsonSchema *s = NULL, *other = NULL;
        _cleanup_(json_object_putp) json_object *value = NULL;
        const char *lines[3] = { NULL };
        size_t sizes[3] = { 0 };
        const char *text = (const char *) bytes;
        MamJsonError error = { 0 };
        int r = -EBADMSG;

        for (size_t i = 0; i < 3; i++) {
                const char *end = i < 2 ? memchr(text, '\n', size) : NULL;

                lines[i] = text;
                sizes[i] = end ? (size_t) (end - text) : size;
                if (!end)
                        break;
                text = end + 1;
                size -= sizes[i] + 1;
        }
        s = compile(lines[0], sizes[0]);
        if (!s)
                return 0;
        if (lines[2])
                other = compile(lines[2], sizes[2]);
        if (other) {
                r = mam_json_schema_covers(s, other, "wide", "narrow", &error);
                check(r == 0 || error.message[0] != '\0' || r == -ENOMEM);
        }
        if (!lines[1] || mam_json_parse(&value, lines[1], sizes[1], NULL) < 0)
                return 0;
        if (validate(s, value) == -EBADMSG && other && r == 0)
                check(validate(other, value) != 0);
        return 0;
}
