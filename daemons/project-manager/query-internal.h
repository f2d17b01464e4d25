/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A query after parsing (internal to query*.c)
 */

#include "project-manager/query.h"

typedef enum QueryOperator {
        QUERY_IS,
        QUERY_IS_NOT,
        QUERY_LESS,
        QUERY_LESS_OR_EQUAL,
        QUERY_GREATER,
        QUERY_GREATER_OR_EQUAL,
        QUERY_NONE, /* is not set */
        QUERY_ANY,  /* is set */
} QueryOperator;

/* What is compared with: a value covers what is not before low and before high (days are whole days); a
 * number is both. Indices of parameters. */
typedef struct QueryRange {
        unsigned low, high; /* QUERY_UNBOUNDED: open at that end */
} QueryRange;
#define QUERY_UNBOUNDED  UINT32_MAX
#define QUERY_RANGES_MAX 8U

typedef enum QueryNodeType {
        QUERY_AND,
        QUERY_OR,
        QUERY_NOT,
        QUERY_TERM,
        QUERY_WORDS,  /* text: all of these words */
        QUERY_PHRASE, /* text: in this order */
        QUERY_PREFIX, /* text: words that begin so */
} QueryNodeType;

typedef struct QueryNode {
        QueryNodeType type;
        unsigned left, right; /* nodes; QUERY_NOT: left */
        const QueryField *field;
        QueryOperator operator;
        unsigned parameter; /* of choices, names and text */
        QueryRange ranges[QUERY_RANGES_MAX];
        size_t n_ranges;
} QueryNode;

struct Query {
        const QuerySchema *schema; /* borrowed */
        QueryNode *nodes;          /* owned; 2 * QUERY_TERMS_MAX + depth is the most there can be */
        size_t n_nodes, n_nodes_allocated;
        unsigned root;
        bool is_empty;
        char *parameters[QUERY_PARAMETERS_MAX]; /* owned */
        size_t n_parameters;
        MamBuffer words;
};

/* query-value.c: texts of clients to parameters. -EINVAL with a message. */

/* The beginning of what a date or time means, and of what comes behind it, for PostgreSQL. */
typedef struct QueryMoment {
        char low[40], high[40];
} QueryMoment;
int query_moment_parse(
                QueryMoment *ret,
                const char *text,
                bool may_be_time,
                uint64_t now_usec,
                char message[static 200]);
bool query_number_is_valid(const char *text);
