/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The schema (specification, section 3)
 *
 * Made of SDL texts, checked as a whole, and never changed afterwards: executions keep a reference to the
 * one that they began with. Types Query and Mutation need no definition of their own: files that extend them
 * are enough, so that each service can bring its file. Directives of the gateway's own say where data comes
 * from:
 *
 *   @rest(service:, get: | post: | put: | patch: | delete:, body:, headers:, at:)  the field is a resource
 *   @json(name:)                 its name in JSON is another one
 *   @list(argument:, size:)      up to so many items are below it, which limits its cost
 *   @kind(member:)               of interfaces and unions: the member of JSON that tells the type
 */

#include <stdint.h>

#include "api-gateway/graphql/ast.h"

typedef struct GqlSchema GqlSchema;
typedef struct GqlSource GqlSource;
typedef struct GqlEnumValue GqlEnumValue;
typedef struct GqlDirectiveType GqlDirectiveType;
typedef struct GqlRest GqlRest; /* rest.h */

#define GQL_TYPES_MAX       2000U
#define GQL_SCHEMA_SIZE_MAX (4U * 1024U * 1024U)
#define GQL_LIST_SIZE       50U /* of a list that says nothing about it */

typedef enum GqlTypeKind {
        GQL_SCALAR,
        GQL_OBJECT,
        GQL_INTERFACE,
        GQL_UNION,
        GQL_ENUM,
        GQL_INPUT_OBJECT,
} GqlTypeKind;

typedef enum GqlScalarKind {
        GQL_SCALAR_CUSTOM, /* any JSON */
        GQL_SCALAR_INT,
        GQL_SCALAR_FLOAT,
        GQL_SCALAR_STRING,
        GQL_SCALAR_BOOLEAN,
        GQL_SCALAR_ID,
} GqlScalarKind;

struct GqlInput {
        const char *name, *description, *json_name;
        const char *deprecated; /* why; NULL: it is not */
        GqlTypeRef *type;
        const GqlValue *default_value; /* NULL: none */
        const GqlInputDefinition *definition;
        GqlInput *next;
};

struct GqlField {
        const char *name, *description, *json_name, *deprecated;
        GqlInput *arguments;
        GqlTypeRef *type;
        const GqlRest *rest;           /* NULL: a member of its parent */
        bool is_list;                  /* @list */
        const GqlInput *list_argument; /* how many; NULL: list_size always */
        unsigned list_size;
        unsigned meta; /* of introspection: what it answers; 0: not of introspection */
        const GqlFieldDefinition *definition;
        GqlField *next;
};

struct GqlEnumValue {
        const char *name, *description, *json_name, *deprecated;
        GqlEnumValue *next;
};

struct GqlType {
        GqlTypeKind kind;
        GqlScalarKind scalar;
        const char *name, *description, *json_name, *specified_by;
        const char *kind_member; /* of interfaces and unions */
        bool builtin;
        bool implicit; /* a root type that nobody has defined: only extended */
        GqlField *fields;
        GqlInput *inputs;
        GqlEnumValue *values;
        const GqlType **interfaces;
        size_t n_interfaces;
        const GqlType **possible; /* objects: of a union, an interface, or itself */
        size_t n_possible;
        const GqlDefinition *definition;
        unsigned mark; /* of checks */
        GqlType *next;
};

typedef enum GqlLocation {
        GQL_LOCATION_QUERY,
        GQL_LOCATION_MUTATION,
        GQL_LOCATION_SUBSCRIPTION,
        GQL_LOCATION_FIELD,
        GQL_LOCATION_FRAGMENT_DEFINITION,
        GQL_LOCATION_FRAGMENT_SPREAD,
        GQL_LOCATION_INLINE_FRAGMENT,
        GQL_LOCATION_VARIABLE_DEFINITION,
        GQL_LOCATION_SCHEMA,
        GQL_LOCATION_SCALAR,
        GQL_LOCATION_OBJECT,
        GQL_LOCATION_FIELD_DEFINITION,
        GQL_LOCATION_ARGUMENT_DEFINITION,
        GQL_LOCATION_INTERFACE,
        GQL_LOCATION_UNION,
        GQL_LOCATION_ENUM,
        GQL_LOCATION_ENUM_VALUE,
        GQL_LOCATION_INPUT_OBJECT,
        GQL_LOCATION_INPUT_FIELD_DEFINITION,
        _GQL_LOCATION_MAX,
} GqlLocation;
const char *gql_location_to_string(GqlLocation l);
int gql_location_from_string(const char *s); /* -EINVAL */

struct GqlDirectiveType {
        const char *name, *description;
        GqlInput *arguments;
        uint32_t locations; /* bits of GqlLocation */
        bool repeatable;
        bool hidden; /* the gateway's own: nothing that clients could use */
        GqlDirectiveType *next;
};

struct GqlSchema {
        unsigned n_ref;
        GqlArena *arena; /* owned */
        GqlType *types;  /* in the order of definition */
        size_t n_types;
        GqlType **table; /* by name: open addressing, a power of two */
        size_t table_size;
        GqlDirectiveType *directives;
        const char *description;
        const GqlType *query;    /* NULL: nobody has said anything */
        const GqlType *mutation; /* NULL: none */
        GqlField *field_typename, *field_schema, *field_type;
};

struct GqlSource {
        const char *name; /* for messages; kept */
        const char *text; /* not kept */
        size_t size;
};

/* -EBADMSG: ret_message says what is wrong and where ("FILE:LINE: …"), *ret_bad is the source that should be
 * left out. -ENODATA: there is no field of Query. */
int gql_schema_new(
                GqlSchema **ret,
                const GqlSource *sources,
                size_t n,
                char ret_message[static 512],
                size_t *ret_bad);
GqlSchema *gql_schema_ref(GqlSchema *s);
GqlSchema *gql_schema_unref(GqlSchema *s);
MAM_DEFINE_CLEANUP(GqlSchema, gql_schema_unref);

const GqlType *gql_schema_find(const GqlSchema *s, const char *name);
const GqlDirectiveType *gql_schema_find_directive(const GqlSchema *s, const char *name);
/* Also __typename, and __schema and __type of the query's root. */
const GqlField *gql_schema_find_field(const GqlSchema *s, const GqlType *t, const char *name);
GqlInput *gql_input_find(GqlInput *list, const char *name);
const GqlEnumValue *gql_enum_find(const GqlType *t, const char *name);
const GqlDirective *gql_directive_find(const GqlDirective *list, const char *name);
const GqlArgument *gql_argument_find(const GqlArgument *list, const char *name);

bool gql_type_is_input(const GqlType *t);
bool gql_type_is_output(const GqlType *t);
bool gql_type_is_composite(const GqlType *t);
bool gql_type_is_abstract(const GqlType *t);
/* Whether an object type is, or belongs to, another type. */
bool gql_type_includes(const GqlType *t, const GqlType *object);
/* Whether some object belongs to both. */
bool gql_types_overlap(const GqlType *a, const GqlType *b);
bool gql_type_implements(const GqlType *t, const GqlType *interface);

const GqlType *gql_type_ref_named(const GqlTypeRef *r);
const GqlTypeRef *gql_type_ref_nullable(const GqlTypeRef *r); /* without the outer "!" */
bool gql_type_ref_equal(const GqlTypeRef *a, const GqlTypeRef *b);
/* As written, in the arena. */
const char *gql_type_ref_print(GqlArena *arena, const GqlTypeRef *r);
bool gql_input_is_required(const GqlInput *i);

/* What each schema has from the start. */
extern const char gql_builtin_sdl[];
