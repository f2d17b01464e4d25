/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Access to members, and errors with a pointer
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/json-internal.h"
#include "libmam/json/json.h"

#define ELLIPSIS "\xe2\x80\xa6"

/* Ends text, cut at size bytes, with … at the boundary of a character. */
static void mark_cut(char *text, size_t size) {
        size_t n = size - sizeof(ELLIPSIS);

        while (n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
                n--;
        memcpy(text + n, ELLIPSIS, sizeof(ELLIPSIS));
}

void mam_json_error_prepend(MamJsonError *error, const char *name) {
        char pointer[sizeof(error->pointer)];
        size_t n = 0;
        bool cut = false;

        pointer[n++] = '/';
        for (const char *c = name; *c; c++) {
                bool escape = *c == '~' || *c == '/';

                if (n + 2 >= sizeof(pointer)) {
                        cut = true;
                        break;
                }
                if (escape)
                        pointer[n++] = '~';
                pointer[n] = *c;
                if (escape)
                        pointer[n] = *c == '/' ? (char) '1' : (char) '0';
                n++;
        }
        for (const char *c = error->pointer; *c && !cut; c++) {
                if (n + 1 >= sizeof(pointer)) {
                        cut = true;
                } else {
                        pointer[n++] = *c;
                }
        }
        memset(pointer + n, 0, sizeof(pointer) - n);
        if (cut)
                mark_cut(pointer, sizeof(pointer));
        memcpy(error->pointer, pointer, sizeof(pointer));
}

static int fail_valist(
                MamJsonError *error,
                const char *parent,
                const char *key,
                const char *format,
                va_list ap) _printf_(4, 0);
static int fail_valist(
                MamJsonError *error,
                const char *parent,
                const char *key,
                const char *format,
                va_list ap) {
        size_t n;

        if (!error)
                return -EBADMSG;

        error->offset = SIZE_MAX;
        error->pointer[0] = '\0';
        if (key)
                mam_json_error_prepend(error, key);
        n = strlen(parent);
        if (n > 0) {
                char tail[sizeof(error->pointer)];

                memcpy(tail, error->pointer, sizeof(tail));
                if ((size_t) snprintf(error->pointer, sizeof(error->pointer), "%s%s", parent, tail) >=
                    sizeof(error->pointer))
                        mark_cut(error->pointer, sizeof(error->pointer));
        }
        if ((size_t) vsnprintf(error->message, sizeof(error->message), format, ap) >= sizeof(error->message))
                mark_cut(error->message, sizeof(error->message));
        return -EBADMSG;
}

int mam_json_fail(MamJsonError *error, const char *parent, const char *key, const char *format, ...) {
        va_list ap;
        int r;

        assert(parent);

        va_start(ap, format);
        r = fail_valist(error, parent, key, format, ap);
        va_end(ap);
        return r;
}

/* 1: there and of the type; 0: absent or null; -EBADMSG */
static int get(json_object *object,
               const char *parent,
               const char *key,
               json_type type,
               const char *what,
               json_object **ret,
               MamJsonError *error) {
        json_object *o = NULL;

        assert(parent);
        assert(key);

        if (!json_object_is_type(object, json_type_object))
                return mam_json_fail(error, parent, NULL, "must be an object");
        if (!json_object_object_get_ex(object, key, &o) || !o)
                return 0;
        if (!json_object_is_type(o, type))
                return mam_json_fail(error, parent, key, "must be %s", what);
        *ret = o;
        return 1;
}

int mam_json_get_string(
                json_object *object,
                const char *parent,
                const char *key,
                const char **ret,
                MamJsonError *error) {
        json_object *o = NULL;
        const char *s;
        int r;

        assert(ret);

        r = get(object, parent, key, json_type_string, "a string", &o, error);
        if (r <= 0)
                return r;
        s = json_object_get_string(o);
        if (strlen(s) != (size_t) json_object_get_string_len(o))
                return mam_json_fail(error, parent, key, "must not contain a NUL character");
        *ret = s;
        return 1;
}

int mam_json_get_bool(
                json_object *object,
                const char *parent,
                const char *key,
                bool *ret,
                MamJsonError *error) {
        json_object *o = NULL;
        int r;

        assert(ret);

        r = get(object, parent, key, json_type_boolean, "true or false", &o, error);
        if (r > 0)
                *ret = json_object_get_boolean(o);
        return r;
}

int mam_json_get_int(
                json_object *object,
                const char *parent,
                const char *key,
                int64_t min,
                int64_t max,
                int64_t *ret,
                MamJsonError *error) {
        json_object *o = NULL;
        int64_t v;
        int r;

        assert(ret);

        r = get(object, parent, key, json_type_int, "an integer", &o, error);
        if (r <= 0)
                return r;
        v = json_object_get_int64(o); /* saturates above INT64_MAX, which get_uint64() tells apart */
        if (v < min || v > max || (v == INT64_MAX && json_object_get_uint64(o) > (uint64_t) INT64_MAX)) {
                return mam_json_fail(
                                error,
                                parent,
                                key,
                                "must be an integer from %" PRIi64 " to %" PRIi64,
                                min,
                                max);
        }
        *ret = v;
        return 1;
}

int mam_json_get_object(
                json_object *object,
                const char *parent,
                const char *key,
                json_object **ret,
                MamJsonError *error) {
        assert(ret);

        return get(object, parent, key, json_type_object, "an object", ret, error);
}

int mam_json_get_array(
                json_object *object,
                const char *parent,
                const char *key,
                json_object **ret,
                MamJsonError *error) {
        assert(ret);

        return get(object, parent, key, json_type_array, "an array", ret, error);
}

const char *mam_json_unknown_key(json_object *object, const char *const *known) {
        assert(known);

        if (!json_object_is_type(object, json_type_object))
                return NULL;

        json_object_object_foreach(object, key, value) {
                bool found = false;

                (void) value;
                for (const char *const *k = known; *k && !found; k++)
                        found = strcmp(*k, key) == 0;
                if (!found)
                        return key;
        }
        return NULL;
}

const char *mam_json_to_string(json_object *object) {
        return json_object_to_json_string_ext(
                        object,
                        JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}
