/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The query language for tasks: "status:open assignee:me due<2026-12-01 rollout -draft"
 *
 * Terms stand side by side and all must hold; OR, NOT (or "-") and parentheses combine them. A term is a
 * word or "phrase" to be found in the text, or FIELD OPERATOR VALUE: ":" and "=" (several values with
 * commas: any of them), "!=",
 * "<", "<=", ">", ">=", and a range FROM..TO. "none" and "any" ask whether a field is set. Dates are
 * YYYY-MM-DD, today, yesterday, tomorrow, or relative to today (-2w, +3d; d, w, m, y); times may also be RFC
 * 3339.
 *
 * Parsing and making SQL are pure functions; nothing that a client wrote becomes part of a statement's text.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"

#define QUERY_TEXT_MAX       2000U /* bytes */
#define QUERY_TERMS_MAX      64U
#define QUERY_DEPTH_MAX      16U
#define QUERY_PARAMETERS_MAX 24U

typedef enum QueryType {
        QUERY_CHOICE, /* one of a few values, which may have an order */
        QUERY_NAME,   /* a text that must be equal; "me" is who asks, where is_person */
        QUERY_DATE,
        QUERY_TIME,
        QUERY_NUMBER,
} QueryType;

typedef struct QueryChoice {
        const char *name;
        const char *values; /* what it stands for, as an array of PostgreSQL: "{todo,in_progress}" */
} QueryChoice;

typedef struct QueryField {
        const char *name;
        QueryType type;
        const char *column;         /* an SQL expression */
        const QueryChoice *choices; /* QUERY_CHOICE: ends with name NULL … */
        const char *const *order; /* … and the single values from low to high, NULL-terminated; NULL: they
                                     have none */
        bool is_person;
        bool is_list;  /* the column is an array, of which one must be equal */
        bool nullable; /* "none" and "any" mean something */
} QueryField;

/* What a query is about. */
typedef struct QuerySchema {
        const QueryField *fields; /* ends with name NULL */
        const char *text_column;  /* a tsvector */
        const char *fuzzy_column; /* a text in which words with typos are found too, by the extension pg_trgm
                                     in the schema "extensions"; NULL: there is none */
} QuerySchema;

typedef struct Query Query;

typedef struct QueryError {
        size_t offset; /* characters into the text */
        char message[200];
} QueryError;

/* Who asks, and when. */
typedef struct QueryContext {
        const char *me;
        uint64_t now_usec; /* realtime; today is a day in UTC */
} QueryContext;

/* -EINVAL, or -E2BIG (too long, deep or many), with *error; -ENOMEM. An empty text is a query that
 * everything matches. */
int query_parse(Query **ret,
                const char *text,
                const QuerySchema *schema,
                const QueryContext *context,
                QueryError *error);
Query *query_free(Query *q);
MAM_DEFINE_CLEANUP(Query, query_free);

/* The words that are looked for in the text and not negated, for ranking and highlighting, as
 * websearch_to_tsquery() reads them; "" where there are none. Borrowed. */
const char *query_words(const Query *q);

/* Appends a condition (an SQL expression in parentheses; "true" for an empty query) whose parameters are
 * numbered from first_parameter. */
int query_to_sql(const Query *q, unsigned first_parameter, MamBuffer *sql);
/* Its parameters, as texts. Borrowed. */
const char *const *query_parameters(const Query *q, size_t *ret_n);
