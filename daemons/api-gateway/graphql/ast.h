/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * GraphQL documents as trees
 *
 * All nodes and texts are in the arena that the parser was given. Lists are linked by next, in the order of
 * the text. What validation finds out about a node is kept in it, for the execution.
 */

#include <stdbool.h>
#include <stddef.h>

#include "api-gateway/graphql/arena.h"

typedef struct GqlValue GqlValue;
typedef struct GqlArgument GqlArgument;
typedef struct GqlDirective GqlDirective;
typedef struct GqlTypeRef GqlTypeRef;
typedef struct GqlSelection GqlSelection;
typedef struct GqlVariable GqlVariable;
typedef struct GqlOperation GqlOperation;
typedef struct GqlFragment GqlFragment;
typedef struct GqlDocument GqlDocument;
typedef struct GqlDefinition GqlDefinition;
typedef struct GqlField GqlField; /* schema.h */
typedef struct GqlInput GqlInput;
typedef struct GqlType GqlType;

typedef struct GqlPlace {
        unsigned line, column; /* from 1; columns count characters */
} GqlPlace;

typedef enum GqlValueKind {
        GQL_VALUE_VARIABLE,
        GQL_VALUE_INT,
        GQL_VALUE_FLOAT,
        GQL_VALUE_STRING,
        GQL_VALUE_BOOLEAN,
        GQL_VALUE_NULL,
        GQL_VALUE_ENUM,
        GQL_VALUE_LIST,
        GQL_VALUE_OBJECT,
} GqlValueKind;

struct GqlValue {
        GqlValueKind kind;
        GqlPlace place;
        const char *text; /* variable's name, number as written, string, enum value */
        size_t size;
        bool boolean;
        GqlValue *items;     /* of a list */
        GqlArgument *fields; /* of an object */
        GqlValue *next;
};

struct GqlArgument {
        const char *name;
        GqlPlace place;
        GqlValue *value;
        GqlArgument *next;
};

struct GqlDirective {
        const char *name;
        GqlPlace place;
        GqlArgument *arguments;
        GqlDirective *next;
};

typedef enum GqlTypeRefKind {
        GQL_TYPE_REF_NAMED,
        GQL_TYPE_REF_LIST,
        GQL_TYPE_REF_NON_NULL,
} GqlTypeRefKind;

struct GqlTypeRef {
        GqlTypeRefKind kind;
        GqlPlace place;
        const char *name;    /* of a named type */
        const GqlType *type; /* the same, resolved; NULL where the schema does not have it */
        GqlTypeRef *of;      /* of the others */
};

typedef enum GqlSelectionKind {
        GQL_SELECTION_FIELD,
        GQL_SELECTION_SPREAD,
        GQL_SELECTION_INLINE,
} GqlSelectionKind;

struct GqlSelection {
        GqlSelectionKind kind;
        GqlPlace place;
        const char *name;       /* of the field, or of the fragment that is spread */
        const char *alias;      /* NULL: none */
        const char *condition;  /* of an inline fragment; NULL: none */
        GqlArgument *arguments; /* of a field */
        GqlDirective *directives;
        GqlSelection *selections;
        GqlSelection *next;
        const GqlField *field;       /* resolved */
        const GqlType *parent;       /* resolved: the type that it is selected on */
        const GqlType *on;           /* resolved: what the condition names; NULL: the same as around it */
        const GqlFragment *fragment; /* resolved */
};

struct GqlVariable {
        const char *name;
        GqlPlace place;
        GqlTypeRef *type;
        GqlValue *default_value; /* NULL: none */
        GqlDirective *directives;
        GqlVariable *next;
        bool used; /* mark of validation */
};

typedef enum GqlOperationKind {
        GQL_QUERY,
        GQL_MUTATION,
        GQL_SUBSCRIPTION,
        _GQL_OPERATION_KIND_MAX,
} GqlOperationKind;

struct GqlOperation {
        GqlOperationKind kind;
        const char *name; /* NULL: anonymous */
        GqlPlace place;
        GqlVariable *variables;
        GqlDirective *directives;
        GqlSelection *selections;
        GqlOperation *next;
};

struct GqlFragment {
        const char *name, *condition;
        GqlPlace place;
        GqlDirective *directives;
        GqlSelection *selections;
        GqlFragment *next;
        const GqlType *on; /* resolved */
        /* marks of validation */
        unsigned visit;
        unsigned state;
        unsigned weight, aliases, depth;
};

/* One definition of a schema, as written; schema.h makes types of them. */
typedef enum GqlDefinitionKind {
        GQL_DEFINE_SCHEMA,
        GQL_DEFINE_SCALAR,
        GQL_DEFINE_OBJECT,
        GQL_DEFINE_INTERFACE,
        GQL_DEFINE_UNION,
        GQL_DEFINE_ENUM,
        GQL_DEFINE_INPUT,
        GQL_DEFINE_DIRECTIVE,
} GqlDefinitionKind;

typedef struct GqlName GqlName;
struct GqlName { /* an interface, a member of a union, a location of a directive */
        const char *name;
        GqlPlace place;
        GqlName *next;
};

typedef struct GqlInputDefinition GqlInputDefinition;
struct GqlInputDefinition {
        const char *name, *description;
        GqlPlace place;
        GqlTypeRef *type;
        GqlValue *default_value;
        GqlDirective *directives;
        GqlInputDefinition *next;
};

typedef struct GqlFieldDefinition GqlFieldDefinition;
struct GqlFieldDefinition { /* also a value of an enum: without type */
        const char *name, *description;
        GqlPlace place;
        GqlInputDefinition *arguments;
        GqlTypeRef *type;
        GqlDirective *directives;
        GqlFieldDefinition *next;
};

struct GqlDefinition {
        GqlDefinitionKind kind;
        bool is_extension;
        bool repeatable; /* of a directive */
        const char *name, *description;
        const char *file; /* borrowed, for messages */
        GqlPlace place;
        GqlName *names; /* interfaces, members, locations */
        GqlDirective *directives;
        GqlFieldDefinition *fields; /* also values of an enum, and "query: Q" of a schema */
        GqlInputDefinition *inputs; /* of an input object, and arguments of a directive */
        GqlDefinition *next;
};

struct GqlDocument {
        GqlOperation *operations;
        GqlFragment *fragments;
        GqlDefinition *definitions;
};
