/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Validation (specification, section 5), and limits
 *
 * All rules that hold for executable documents. What is found out on the way (which field a selection means)
 * is kept in the document for its execution. The work is bounded: what grows faster than the document is
 * refused by its weight before it is looked at.
 */

#include "api-gateway/graphql/errors.h"
#include "api-gateway/graphql/schema.h"
#include "libmam/json/json.h"

typedef struct GqlLimits {
        unsigned depth;      /* of fields within fields */
        unsigned aliases;    /* of one operation, fragments counted where they are spread */
        unsigned selections; /* likewise */
        unsigned cost;       /* requests to services, at worst */
        bool introspection;
} GqlLimits;

/* Adds errors: the document is valid if there are none. */
void gql_validate(const GqlSchema *s, GqlErrors *e, GqlDocument *d, const GqlLimits *limits);
/* After gql_validate(), as it depends on the variables: adds an error if the operation costs more than
 * limits->cost. The cost of a field with @rest is one; what is below a list counts as often as it has
 * items. */
void gql_check_cost(
                const GqlSchema *s,
                GqlErrors *e,
                const GqlOperation *o,
                json_object *variables,
                const GqlLimits *limits);
/* The operation of that name, or the only one where name is NULL. NULL: *e has one more. */
GqlOperation *gql_select_operation(const GqlDocument *d, const char *name, GqlErrors *e);
