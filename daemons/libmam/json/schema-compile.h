/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between the files that compile a schema
 */

#include "libmam/json/schema-internal.h"
#include "libmam/util/macro.h"

typedef struct ResourceName {
        const char *uri;
        Resource *resource;
} ResourceName;

typedef struct Compiler {
        MamJsonSchema *schema;
        const MamJsonSchemaOptions *options;
        MamJsonError *error; /* or NULL */
        Node **nodes;        /* in the order in which they were found */
        size_t n_nodes;
        Node **slots; /* by their JSON object */
        size_t n_slots;
        ResourceName *resources;
        size_t n_resources;
        unsigned n_anchors, n_patterns;
        uint64_t steps; /* left for what is compared and hashed */
} Compiler;

/* Where a subschema is found. */
typedef struct Place {
        const Node *parent;
        const char *keyword, *token;
        Resource *resource;   /* that surrounds it; NULL: it is a document's root */
        const char *document; /* the URI of a document's root */
        unsigned depth;
} Place;

/* What a keyword's value consists of. */
typedef enum KeywordShape {
        SHAPE_NONE,
        SHAPE_SCHEMA,
        SHAPE_LIST, /* an array of schemas */
        SHAPE_MAP,  /* an object of schemas */
} KeywordShape;

typedef struct Keyword Keyword;
struct Keyword {
        const char *name;
        KeywordShape shape;
        uint8_t vocabulary;
        uint8_t part;
        uint16_t offset; /* of its field in Node */
        /* Reads the value into the node; NULL: nothing is to be done. */
        int (*read)(Compiler *c, Node *n, const Keyword *k, json_object *value);
};

const Keyword *mam_json_keyword_find(const char *name);

int mam_json_compile_node(Compiler *c, Node *n);
/* *ret_anchor, if not NULL: the name, if it is a dynamic anchor's. */
int mam_json_compile_reference(
                Compiler *c,
                const Node *from,
                const char *keyword,
                const char *reference,
                Node **ret,
                const char **ret_anchor);
Node *mam_json_compile_find(const Compiler *c, const json_object *json);

int mam_json_compile_fail(Compiler *c, const Node *n, const char *keyword, const char *format, ...)
                _printf_(4, 5);
int mam_json_compile_too_large(Compiler *c, const char *what);
