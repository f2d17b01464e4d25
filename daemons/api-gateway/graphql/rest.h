/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Fields that are resources: @rest
 *
 * A template such as "/api/v1/projects/{id}/tasks?status={status}" names arguments of the field, {status},
 * and members of the object that the field belongs to, {parent.id}. In the path each must have a value that
 * is one segment; a parameter of the query, and a header field, is left out where it has none.
 */

#include "api-gateway/graphql/schema.h"
#include "libmam/json/json.h"
#include "libmam/util/buffer.h"

typedef enum GqlPieceKind {
        GQL_PIECE_TEXT,
        GQL_PIECE_ARGUMENT,
        GQL_PIECE_PARENT,
} GqlPieceKind;

typedef struct GqlPiece GqlPiece;
struct GqlPiece {
        GqlPieceKind kind;
        const char *text; /* or the name */
        GqlPiece *next;
};

typedef struct GqlParameter GqlParameter; /* of the query, or a header field */
struct GqlParameter {
        const char *name;
        GqlPiece *value;
        GqlParameter *next;
};

struct GqlRest {
        const char *service;
        const char *method;
        GqlPiece *path;
        GqlParameter *query;
        GqlParameter *headers;
        const char *body; /* the argument that is the body; NULL: none */
        const char *at;   /* JSON pointer of the value within the answer; "" is all of it */
};

/* Compiles what @rest says of a field of a type. 0 and *ret NULL: there is no @rest. -EBADMSG: *ret_reason
 * (in the arena) says what is wrong. */
int gql_rest_compile(
                GqlRest **ret,
                GqlArena *arena,
                const GqlField *f,
                const GqlDirective *d,
                const char **ret_reason);

/* One request. */
typedef struct GqlRequest {
        const GqlRest *rest;
        MamBuffer target;
        MamBuffer fields; /* "Name: value\r\n"… */
        MamBuffer body;
} GqlRequest;
void gql_request_done(GqlRequest *q);

/* Fills in a template; parent may be NULL. -ENODATA: a member of the parent that the path needs is null or
 * not there; -EINVAL: an argument cannot be used there, and *ret_argument names it; -ENOBUFS: too large;
 * -ENOMEM. */
int gql_request_make(
                GqlRequest *ret,
                const GqlRest *rest,
                json_object *arguments,
                json_object *parent,
                const char **ret_argument);
