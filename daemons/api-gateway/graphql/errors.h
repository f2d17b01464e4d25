/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Errors of GraphQL (specification, section 7.1.2)
 *
 * At most GQL_ERRORS_MAX are kept; the others are counted. Texts are in the arena.
 */

#include <json-c/json.h>

#include "api-gateway/graphql/ast.h"

#define GQL_ERRORS_MAX 64U

typedef struct GqlNode GqlNode; /* of the answer: execute-internal.h */

typedef struct GqlError GqlError;
struct GqlError {
        const char *message;
        const char *code; /* literal: "GRAPHQL_VALIDATION_FAILED" */
        GqlPlace places[2];
        size_t n_places;
        const GqlNode *path;   /* where in the answer, or NULL */
        unsigned status;       /* of a service's answer; 0: none */
        json_object *problems; /* "errors" of a service's problem+json, or NULL; owned by the list */
        GqlError *next;
};

typedef struct GqlErrors {
        GqlArena *arena; /* borrowed */
        GqlError *first, *last;
        size_t n; /* all of them, also those that were not kept */
} GqlErrors;

/* code: a literal. place: line 0 where there is none. NULL: not kept. */
GqlError *gql_error(GqlErrors *e, const char *code, GqlPlace place, const char *format, ...) _printf_(4, 5);
void gql_errors_done(GqlErrors *e);

#define GQL_CODE_PARSE    "GRAPHQL_PARSE_FAILED"
#define GQL_CODE_VALIDATE "GRAPHQL_VALIDATION_FAILED"
#define GQL_CODE_INPUT    "BAD_USER_INPUT"
#define GQL_CODE_LIMIT    "LIMIT_EXCEEDED"
