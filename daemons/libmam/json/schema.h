/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * JSON Schema, draft 2020-12
 *
 * A schema is compiled once (references resolved, patterns compiled, keywords checked) and validates any
 * number of values. All vocabularies of the draft are known; format is an annotation unless asked otherwise,
 * or unless the dialect's metaschema names format-assertion; content* are annotations. Other drafts are
 * refused. Everything is bounded: the size of a compiled schema, the depth of recursion, and the work of one
 * validation, which is counted in steps (about one per keyword, value, or 16 bytes that a pattern looks at),
 * so that no pair of schema and value costs more than a fraction of a second.
 *
 * Numbers are compared as decimals, exactly, by the text that mam_json_parse() keeps for them: 1.0 is an
 * integer and equal to 1, and integers beyond 64 bits keep all their digits. What json-c cannot hold is
 * refused by the parser: numbers beyond the range of a double (1e400) and of more than 255 characters, keys
 * with a NUL character. Patterns are PCRE2's, set to ECMA-262's meaning where the two differ and PCRE2 can
 * ($ only at the very end, \uXXXX, ASCII \d and \w); they run without JIT.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/json/json.h"

typedef struct MamJsonSchema MamJsonSchema;

#define MAM_JSON_SCHEMA_NODES_MAX     20000U   /* subschemas, in all documents that one schema needs */
#define MAM_JSON_SCHEMA_DOCUMENTS_MAX 64U      /* that it refers to */
#define MAM_JSON_SCHEMA_PATTERN_MAX   2048U    /* bytes of a regular expression */
#define MAM_JSON_SCHEMA_PATTERNS_MAX  1000U    /* regular expressions of one schema */
#define MAM_JSON_SCHEMA_DEPTH_MAX     400U     /* subschemas inside of each other while validating */
#define MAM_JSON_SCHEMA_STEPS_MAX     5000000U /* of one validation, unless options say less */
#define MAM_JSON_SCHEMA_DIALECT       "https://json-schema.org/draft/2020-12/schema"

/* Hands out the document at an absolute URI (without fragment): 0 with *ret, which the compiler frees;
 * -ENOENT: there is none; -ENOMEM. The metaschemas of the draft are never asked for. */
typedef int (*MamJsonSchemaResolver)(json_object **ret, const char *uri, void *userdata);

typedef struct MamJsonSchemaOptions {
        const char *uri; /* where the schema was found: relative references begin there; or NULL */
        MamJsonSchemaResolver resolver; /* NULL: only what is in the schema itself, and the metaschemas */
        void *userdata;
        bool assert_formats; /* "format" is checked, for the formats that are known */
        uint32_t steps_max;  /* 0: MAM_JSON_SCHEMA_STEPS_MAX */
} MamJsonSchemaOptions;

/* -EBADMSG: not a schema, error->pointer says where in it; -EFBIG: more than the bounds above, with *error
 * too; -ENOMEM. options and error may be NULL. The schema is kept by reference and must not be changed. */
int mam_json_schema_compile(
                MamJsonSchema **ret,
                json_object *schema,
                const MamJsonSchemaOptions *options,
                MamJsonError *error);
MamJsonSchema *mam_json_schema_free(MamJsonSchema *s);
MAM_DEFINE_CLEANUP(MamJsonSchema, mam_json_schema_free);

/* 0: valid. -EBADMSG: not valid; error->pointer is parent and the place in the instance, the message ends
 * with the keyword: "must be a string (type)". -EOVERFLOW: more steps or depth than allowed, so not known;
 * with *error too. -ENOMEM. */
int mam_json_schema_validate(
                const MamJsonSchema *s,
                json_object *instance,
                const char *parent,
                MamJsonError *error);
/* The same, going on behind the first error until errors is full. *ret_n is how many there are; written in
 * any case. */
int mam_json_schema_validate_list(
                const MamJsonSchema *s,
                json_object *instance,
                const char *parent,
                MamJsonError *errors,
                size_t errors_max,
                size_t *ret_n);

/* Whether every value that narrow accepts is accepted by wide, too. 0: it is so, and that is certain,
 * provided that format means the same to both. -EBADMSG: it is not, or it cannot be judged (see
 * schema-compare.c); error->pointer is the place in the values that both describe, "*" standing for any
 * other property or item, and the message says what keeps them apart, calling them by these names ("version
 * 3"). -EOVERFLOW: too much work. -ENOMEM. */
int mam_json_schema_covers(
                const MamJsonSchema *wide,
                const MamJsonSchema *narrow,
                const char *wide_name,
                const char *narrow_name,
                MamJsonError *error);

/* Bytes that it takes, its documents too, about. */
size_t mam_json_schema_size(const MamJsonSchema *s);
