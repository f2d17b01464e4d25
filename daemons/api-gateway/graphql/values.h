/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Input values (specification, sections 3.5 to 3.12 "Input Coercion", 5.6, 6.1.2, 6.4.1)
 *
 * A coerced value is JSON as the services take it: enums and members have their JSON names.
 */

#include "api-gateway/graphql/errors.h"
#include "api-gateway/graphql/schema.h"
#include "libmam/json/json.h"

/* Whether a literal is of the type; variables within it are not looked at. Adds errors. */
void gql_literal_check(const GqlSchema *s, GqlErrors *e, const GqlValue *v, const GqlTypeRef *type);

/* A literal of a type that was checked. variables: an object of coerced values. 1: *ret is it, owned (NULL
 * is null); 0: it is a variable without a value; -EBADMSG: *e has one more; -ENOMEM. */
int gql_literal_coerce(
                json_object **ret,
                GqlErrors *e,
                const GqlValue *v,
                const GqlTypeRef *type,
                json_object *variables);
/* All arguments of a field or a directive, as an object by their names in GraphQL: those without a value are
 * absent. -EBADMSG, -ENOMEM. */
int gql_arguments_coerce(
                json_object **ret,
                GqlErrors *e,
                GqlPlace place,
                const GqlArgument *arguments,
                GqlInput *definitions,
                json_object *variables);
/* Whether @skip and @include let a selection stand. */
bool gql_is_included(const GqlDirective *directives, json_object *variables);
/* The variables of an operation, of what the client sent (NULL: nothing). */
int gql_variables_coerce(
                json_object **ret,
                const GqlSchema *s,
                GqlErrors *e,
                const GqlOperation *operation,
                json_object *sent);
