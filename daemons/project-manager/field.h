/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What clients send: fields of bodies, conditions, keys and cursors. Pure functions.
 *
 * A body is checked as a whole, so that one answer names everything that is wrong with it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/json/json.h"
#include "libmam/util/buffer.h"

#define FIELD_ERRORS_MAX 16U

typedef struct FieldError {
        char pointer[96]; /* RFC 6901; "/title" */
        char detail[160];
} FieldError;

typedef struct FieldErrors {
        size_t n; /* more than FIELD_ERRORS_MAX are counted, not kept */
        FieldError errors[FIELD_ERRORS_MAX];
} FieldErrors;

/* key NULL: the document itself. */
void field_error(FieldErrors *e, const char *key, const char *format, ...) _printf_(3, 4);
/* The RFC 9457 document for them. Caller frees with json_object_put(); NULL: out of memory. */
json_object *field_errors_to_problem(const FieldErrors *e);

/* One text member of a body. */
typedef struct FieldText {
        bool set;          /* the member is there */
        const char *value; /* borrowed from the document; NULL if the member is null */
} FieldText;

typedef struct FieldRule {
        size_t min, max; /* characters, not bytes */
        bool lines;      /* may have line breaks and tabs */
        bool nullable;   /* null is allowed, and means "none" */
} FieldRule;

/* Reads a member and checks it; on a violation an error is added and *ret left alone. */
void field_read_text(json_object *o, const char *key, const FieldRule *rule, FieldText *ret, FieldErrors *e);
/* values: NULL-terminated. */
void field_read_choice(
                json_object *o,
                const char *key,
                const char *const *values,
                FieldText *ret,
                FieldErrors *e);
/* "YYYY-MM-DD" in the Gregorian calendar, from 0001 to 9999; nullable. */
void field_read_date(json_object *o, const char *key, FieldText *ret, FieldErrors *e);
/* A number from 0 to max with at most two decimals; nullable. */
typedef struct FieldNumber {
        bool set;
        char text[24]; /* "" if the member is null */
} FieldNumber;

void field_read_number(json_object *o, const char *key, unsigned max, FieldNumber *ret, FieldErrors *e);

/* A set of texts, such as labels: no two are the same. */
#define FIELD_SET_MAX 32U

typedef struct FieldSet {
        bool set;
        MamBuffer array; /* an array literal of PostgreSQL; "{}" also if the member is null */
} FieldSet;

void field_set_done(FieldSet *s);
/* rule: of each of them. */
void field_read_set(json_object *o, const char *key, const FieldRule *rule, FieldSet *ret, FieldErrors *e);
/* Adds a text to an array literal of PostgreSQL, which begins as an empty buffer. */
int field_array_add(MamBuffer *array, const char *text);
/* known: NULL-terminated; read_only: likewise, named in the error as what they are. */
void field_check_unknown(
                json_object *o,
                const char *const *known,
                const char *const *read_only,
                FieldErrors *e);

/* For making documents: value and element are taken over, also on error; NULL stands for -ENOMEM of who made
 * it. */
int field_put(json_object *o, const char *key, json_object *value);
int field_append(json_object *list, json_object *element);

bool field_text_is_utf8(const char *text);
/* Well-formed UTF-8 without control characters. */
bool field_text_is_plain(const char *text);
bool field_is_choice(const char *value, const char *const *values);
bool uuid_is_valid(const char *text);        /* 8-4-4-4-12 hex digits */
bool project_key_is_valid(const char *text); /* [A-Z][A-Z0-9]{1,9} */
/* "PROJ-123": the key and the number. */
bool task_key_parse(const char *text, char ret_project[static 11], int32_t *ret_number);
/* An Idempotency-Key: 1 to 128 visible ASCII characters. */
bool idempotency_key_is_valid(const char *text);
/* application/json and, with patch, application/merge-patch+json; parameters are ignored. */
bool content_type_is_json(const char *content_type, bool patch);

/* If-Match and If-None-Match (RFC 9110, section 13.1). */
#define CONDITION_TAGS_MAX 16U

typedef struct Condition {
        bool any; /* "*" */
        size_t n;
        int64_t versions[CONDITION_TAGS_MAX];
} Condition;

/* An entity tag is the version in quotes. strong: weak tags are read and never match, as for If-Match. Tags
 * that no version can have are left out: they match nothing. -EINVAL: malformed; -E2BIG. */
int condition_parse(Condition *ret, const char *value, bool strong);
bool condition_matches(const Condition *c, int64_t version);
/* As an array of PostgreSQL "{1,2}"; NULL stands for any. */
#define CONDITION_TEXT_SIZE 384U
const char *condition_to_array(const Condition *c, char ret[static CONDITION_TEXT_SIZE]);

/* Where a list goes on: behind this row. */
typedef struct Cursor {
        int64_t created_usec;
        char id[37];
} Cursor;

#define CURSOR_TEXT_SIZE 128U
int cursor_format(char ret[static CURSOR_TEXT_SIZE], char kind, const Cursor *c);
/* kind: a cursor of one list is not one of another. -EINVAL. */
int cursor_parse(Cursor *ret, char kind, const char *text);
