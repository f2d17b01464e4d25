/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of the making of a schema: schema-build.c makes types of definitions, schema-apply.c applies
 * directives, schema-check.c checks the whole
 */

#include "api-gateway/graphql/errors.h"
#include "api-gateway/graphql/schema.h"

typedef struct GqlBuilder {
        GqlSchema *schema;
        GqlArena *arena; /* the schema's */
        GqlErrors errors;
        GqlDefinition *definitions; /* all of them */
        GqlType *root;              /* __Root: where __schema and the like come from; not in the schema */
        char *message;              /* 512 bytes */
        const char *bad;            /* the file that is to blame */
        unsigned mark;
} GqlBuilder;

/* -EBADMSG, with the message. */
int gql_build_fail(GqlBuilder *b, const char *file, GqlPlace place, const char *format, ...) _printf_(4, 5);
/* Errors that others have added, as a message: -EBADMSG; 0: there are none. */
int gql_build_result(GqlBuilder *b, const char *file);
GqlType *gql_build_find(GqlBuilder *b, const char *name);

int gql_build_apply(GqlBuilder *b);
int gql_build_check(GqlBuilder *b);
