/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Parser of GraphQL (specification, October 2021, appendix B)
 *
 * Pure: text to tree. Tokens and nesting are bounded; nothing is repaired, and the first error ends it.
 */

#include "api-gateway/graphql/errors.h"

#define GQL_NESTING_MAX 64U /* of selections, of values, of list types */

/* What clients send: operations and fragments. -EBADMSG: *errors has one more; -ENOMEM: also where the arena
 * is full. */
int gql_parse(GqlDocument **ret,
              GqlArena *arena,
              GqlErrors *errors,
              const char *source,
              size_t size,
              unsigned tokens_max);
/* Definitions of a schema. file: borrowed, for messages. Errors as above. */
int gql_parse_schema(
                GqlDocument **ret,
                GqlArena *arena,
                GqlErrors *errors,
                const char *file,
                const char *source,
                size_t size);
