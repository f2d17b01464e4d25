/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Introspection (specification, section 4): what a schema says of itself
 */

#include "api-gateway/graphql/schema.h"
#include "libmam/json/json.h"

/* What a field of introspection answers: an index for GqlField.meta, or 0. */
unsigned gql_introspect_find(const char *type, const char *field);

/* Something of the schema that a selection is made on. */
typedef enum GqlMetaKind {
        GQL_META_NONE,
        GQL_META_SCHEMA,
        GQL_META_TYPE,     /* GqlType */
        GQL_META_TYPE_REF, /* GqlTypeRef */
        GQL_META_FIELD,    /* GqlField */
        GQL_META_INPUT,    /* GqlInput */
        GQL_META_VALUE,    /* GqlEnumValue */
        GQL_META_DIRECTIVE,
} GqlMetaKind;

typedef struct GqlMeta {
        GqlMetaKind kind;
        const void *what; /* NULL: null */
} GqlMeta;

/* What a field answers: a leaf, one thing, or a list. */
typedef struct GqlMetaAnswer {
        bool is_null;
        const char *text; /* a leaf: text, or enum value */
        bool is_boolean, boolean;
        bool is_list;
        GqlMeta one;
        GqlMeta *items;     /* in the arena */
        const char **texts; /* a list of leaves (items is NULL) */
        size_t n;
} GqlMetaAnswer;

/* arguments: coerced. -ENOMEM: the arena is full. */
int gql_introspect(
                GqlMetaAnswer *ret,
                const GqlSchema *s,
                GqlArena *arena,
                GqlMeta on,
                const GqlField *f,
                json_object *arguments);
