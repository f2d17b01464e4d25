/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Expressions as the parser makes them and the evaluator reads them
 */

#include "event-bus/filter/cesql.h"

typedef enum CesqlKind {
        CESQL_STRING,
        CESQL_INTEGER,
        CESQL_BOOLEAN,
        CESQL_ATTRIBUTE,
        CESQL_EXISTS,
        CESQL_NOT,
        CESQL_MINUS,
        CESQL_AND, /* these have two or more children */
        CESQL_OR,
        CESQL_XOR,
        CESQL_EQUAL,
        CESQL_UNEQUAL,
        CESQL_LESS,
        CESQL_LESS_OR_EQUAL,
        CESQL_GREATER,
        CESQL_GREATER_OR_EQUAL,
        CESQL_ADD,
        CESQL_SUBTRACT,
        CESQL_MULTIPLY,
        CESQL_DIVIDE,
        CESQL_REMAINDER,
        CESQL_LIKE,
        CESQL_IN, /* the first child is looked for among the others */
        CESQL_FUNCTION,
} CesqlKind;

typedef enum CesqlFunction {
        CESQL_LENGTH,
        CESQL_CONCAT,
        CESQL_CONCAT_WS,
        CESQL_LOWER,
        CESQL_UPPER,
        CESQL_TRIM,
        CESQL_LEFT,
        CESQL_RIGHT,
        CESQL_SUBSTRING,
        CESQL_ABS,
        CESQL_INT,
        CESQL_BOOL,
        CESQL_STR,
        CESQL_IS_INT,
        CESQL_IS_BOOL,
} CesqlFunction;

#define CESQL_NONE UINT16_MAX

/* Nodes name each other by their index. */
typedef struct CesqlNode {
        CesqlKind kind;
        CesqlFunction function;
        uint16_t child, next; /* CESQL_NONE: there is none */
        uint16_t depth;
        bool is_bare_not; /* NOT without parentheses around it */
        int32_t integer;  /* or boolean */
        const char *text; /* of strings, patterns, names; NUL-terminated */
        uint32_t size;
} CesqlNode;

struct Cesql {
        CesqlNode *nodes;
        size_t n_nodes;
        char *texts; /* owned: what the nodes' texts lie in */
        uint16_t root;
};
