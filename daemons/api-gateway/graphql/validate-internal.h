/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of validation: validate.c goes through the document, validate-variables.c through each operation
 * with the fragments that it uses, validate-overlap.c looks for fields that do not merge
 */

#include "api-gateway/graphql/validate.h"

typedef struct GqlValidation {
        const GqlSchema *schema;
        GqlErrors *errors;
        GqlDocument *document;
        const GqlLimits *limits;
        unsigned stamp; /* of the last visit of fragments */
} GqlValidation;

void gql_validate_variables(GqlValidation *v);
/* The document is valid otherwise, and of bounded weight. */
void gql_validate_overlap(GqlValidation *v);

#define GQL_WRONG(v, place, ...) (void) gql_error((v)->errors, GQL_CODE_VALIDATE, (place), __VA_ARGS__)
