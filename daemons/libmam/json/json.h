/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * JSON access with errors that name the place
 *
 * Thin helpers over json-c. A MamJsonError says what is wrong at which JSON pointer (RFC 6901), ready for a
 * problem+json answer ("/title: must be a string") or, with mam_json_locate(), for a message with file and
 * line.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "libmam/util/macro.h"

MAM_DEFINE_CLEANUP(json_object, json_object_put);

typedef struct MamJsonError {
        char pointer[256]; /* RFC 6901; "" is the whole document; cut with … where longer */
        char message[256]; /* "must be a string", "is required", "unexpected character" */
        size_t offset;     /* byte offset for syntax errors, else SIZE_MAX */
} MamJsonError;

#define MAM_JSON_DEPTH_MAX 32

/* Strict: UTF-8 checked, one document, nothing but white space behind it, no comments, no duplicate keys in
 * one object, depth at most MAM_JSON_DEPTH_MAX. -EBADMSG with *error filled; -ENOMEM. error may be NULL. */
int mam_json_parse(json_object **ret, const char *text, size_t size, MamJsonError *error);

/* The 1-based line of the value that the pointer names in a valid document, of its nearest existing parent
 * otherwise. */
unsigned mam_json_locate(const char *text, size_t size, const char *pointer);
/* The bytes of the value that the pointer names in a valid document: text[*ret_start … *ret_end). -ENOENT:
 * there is none. */
int mam_json_find(const char *text, size_t size, const char *pointer, size_t *ret_start, size_t *ret_end);
/* The 1-based line of a byte offset. */
unsigned mam_json_line_of_offset(const char *text, size_t size, size_t offset);

/* Optional and required members. parent is the pointer of object ("" at the root). All return 1 if present
 * and good (ret written), 0 if absent or null (ret untouched), -EBADMSG with *error filled if of another
 * type or out of range. */
int mam_json_get_string(
                json_object *object,
                const char *parent,
                const char *key,
                const char **ret,
                MamJsonError *error);
int mam_json_get_bool(
                json_object *object,
                const char *parent,
                const char *key,
                bool *ret,
                MamJsonError *error);
int mam_json_get_int(
                json_object *object,
                const char *parent,
                const char *key,
                int64_t min,
                int64_t max,
                int64_t *ret,
                MamJsonError *error);
int mam_json_get_object(
                json_object *object,
                const char *parent,
                const char *key,
                json_object **ret,
                MamJsonError *error);
int mam_json_get_array(
                json_object *object,
                const char *parent,
                const char *key,
                json_object **ret,
                MamJsonError *error);

/* Fills *error for a member (key NULL: the object itself) and returns -EBADMSG: for checks of the caller's
 * own. */
int mam_json_fail(MamJsonError *error, const char *parent, const char *key, const char *format, ...)
                _printf_(4, 5);

/* The first member of object whose key is not in the NULL-terminated list, or NULL. */
const char *mam_json_unknown_key(json_object *object, const char *const *known);

/* Compact text without escaped slashes. Borrowed from the object until it changes. */
const char *mam_json_to_string(json_object *object);
