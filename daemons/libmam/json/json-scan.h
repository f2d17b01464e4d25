/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A scanner over JSON: checks a text as strictly as mam_json_parse(), and builds nothing
 *
 * For texts that are kept as text: it says where values begin and end, and whether they can be used as they
 * stand. It allocates nothing, but where an object has many members or escaped keys: such a value is given
 * to mam_json_parse() once more, which finds equal keys among them.
 */

#include <stdbool.h>

#include "libmam/json/json.h"

typedef enum MamJsonKind {
        MAM_JSON_NULL,
        MAM_JSON_BOOLEAN,
        MAM_JSON_INTEGER, /* no fraction and no exponent */
        MAM_JSON_NUMBER,
        MAM_JSON_STRING,
        MAM_JSON_ARRAY,
        MAM_JSON_OBJECT,
} MamJsonKind;

/* A value, or a key: text[start … start + size); of strings with their quotes. */
typedef struct MamJsonSlice {
        size_t start, size;
        MamJsonKind kind;
        bool has_escape; /* a string, or one within it, has an escape sequence */
        bool has_space;  /* there is white space between its parts */
} MamJsonSlice;

typedef struct MamJsonScan {
        const char *text;
        size_t size;
        size_t at;
        MamJsonError *error; /* never NULL */
        unsigned depth;
        bool has_escape, has_space, has_many; /* seen since they were last reset */
} MamJsonScan;

/* error: where it tells what is wrong; not NULL. */
void mam_json_scan_init(MamJsonScan *s, const char *text, size_t size, MamJsonError *error);
/* The value that comes next, white space before it skipped. -EBADMSG with the pointer from this value on;
 * -ENOMEM. */
int mam_json_scan_value(MamJsonScan *s, MamJsonSlice *ret);
/* Enters the object or array that comes next. 1: it has a member; 0: it is empty, and behind us; -EBADMSG.
 */
int mam_json_scan_enter(MamJsonScan *s, char open);
/* The key that comes next, with the colon behind it. Equal keys are the caller's business. */
int mam_json_scan_key(MamJsonScan *s, MamJsonSlice *ret);
/* Behind a member. 1: another one follows; 0: close was read, the object or array is behind us. */
int mam_json_scan_next(MamJsonScan *s, char close);
/* Nothing but white space may follow. */
int mam_json_scan_end(MamJsonScan *s);
/* Fills the error as for something unexpected at the place that it has come to. */
int mam_json_scan_fail(MamJsonScan *s, const char *message);

/* Copies a value without the white space between its parts; to has room for size bytes. Bytes written. */
size_t mam_json_copy_compact(char *to, const char *value, size_t size);
/* The characters of a string (with its quotes) that was scanned; to has room for size bytes, of which the
 * last is for a NUL that is not counted. What it returns has NULs where the string has \u0000. */
size_t mam_json_copy_unescaped(char *to, const char *string, size_t size);
