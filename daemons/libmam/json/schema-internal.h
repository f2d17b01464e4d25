/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The compiled form of a schema, shared between the files schema-*.c
 *
 * A Node is one subschema at one place of one document. Nodes, lists and URIs lie in the schema's arena;
 * names, constants and enumerations are borrowed from the documents, which the schema keeps.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "libmam/json/json.h"
#include "libmam/json/schema.h"

/* ---- numbers ---- */
/* digits × 10^exponent; digits has neither leading nor trailing zeros, n 0 is zero. */
typedef struct MamJsonDecimal {
        bool negative;
        int32_t exponent;
        unsigned n;
        unsigned char digits[256];
} MamJsonDecimal;

#define MAM_JSON_DIVISOR_DIGITS_MAX 37U /* what fits 128 bits with a digit to spare */

/* false: not a finite number */
bool mam_json_decimal(MamJsonDecimal *ret, json_object *o);
int mam_json_decimal_compare(const MamJsonDecimal *a, const MamJsonDecimal *b);
bool mam_json_decimal_is_integer(const MamJsonDecimal *d);
/* b is above zero and has at most MAM_JSON_DIVISOR_DIGITS_MAX digits. Adds what it cost to *steps. */
bool mam_json_decimal_is_multiple(const MamJsonDecimal *a, const MamJsonDecimal *b, uint64_t *steps);
bool mam_json_is_integer(json_object *o);
int mam_json_number_compare(json_object *a, json_object *b);

/* Equal as JSON Schema says: 1 and 1.0 are, objects whatever their order. They stop early, and return
 * anything, when *steps falls to 0. */
bool mam_json_equal(json_object *a, json_object *b, uint64_t *steps);
uint64_t mam_json_hash(json_object *o, uint64_t *steps);

/* ---- URIs (RFC 3986) ---- */
#define MAM_JSON_URI_MAX 2048U
/* Writes reference, seen from base, normalised as section 5.2 says. false: too long. */
bool mam_json_uri_resolve(char ret[static MAM_JSON_URI_MAX], const char *base, const char *reference);
bool mam_json_uri_is_absolute(const char *s); /* has a scheme */

/* ---- formats ---- */
typedef bool (*MamJsonFormat)(const char *s, size_t n);
MamJsonFormat mam_json_format_find(const char *name); /* NULL: not known */

/* ---- metaschemas ---- */
const char *mam_json_metaschema(const char *uri); /* its text, or NULL */

/* ---- the compiled schema ---- */
typedef struct Node Node;
typedef struct Resource Resource;
typedef struct Pattern Pattern;

enum {
        TYPE_NULL = 1 << 0,
        TYPE_BOOLEAN = 1 << 1,
        TYPE_INTEGER = 1 << 2,
        TYPE_FRACTION = 1 << 3, /* numbers that are not integers: "number" is both */
        TYPE_STRING = 1 << 4,
        TYPE_ARRAY = 1 << 5,
        TYPE_OBJECT = 1 << 6,
        TYPE_NUMBER = TYPE_INTEGER | TYPE_FRACTION,
        TYPE_ANY = (1 << 7) - 1,
};

enum {
        VOCABULARY_CORE = 1 << 0,
        VOCABULARY_APPLICATOR = 1 << 1,
        VOCABULARY_UNEVALUATED = 1 << 2,
        VOCABULARY_VALIDATION = 1 << 3,
        VOCABULARY_FORMAT = 1 << 4, /* annotation */
        VOCABULARY_FORMAT_ASSERTION = 1 << 5,
        VOCABULARY_ANNOTATION = 1 << 6, /* meta-data, content */
        VOCABULARY_STANDARD = (1 << 7) - 1 - VOCABULARY_FORMAT_ASSERTION,
};

/* Which parts of a node there are, in the order in which they are checked. */
enum {
        PART_REFERENCE,
        PART_TYPE,
        PART_VALUE,
        PART_NUMBER,
        PART_STRING,
        PART_ARRAY,
        PART_OBJECT,
        PART_COMBINATION,
        PART_UNEVALUATED,
        _PART_MAX,
};

struct Pattern {
        const char *text; /* borrowed */
        pcre2_code *code; /* owned */
        bool has_back_reference;
        Pattern *next;
};

typedef struct NodeList {
        Node **items;
        size_t n;
} NodeList;

typedef struct Property {
        const char *name;
        Node *node;
        const Pattern *pattern; /* of patternProperties */
} Property;

typedef struct PropertyList {
        Property *items; /* sorted by name */
        size_t n;
        size_t cost; /* steps to look for all of them */
} PropertyList;

typedef struct NameList {
        const char **items;
        size_t n;
        size_t cost; /* steps to look for all of them */
} NameList;

typedef struct Dependency {
        const char *name;
        NameList needs;
} Dependency;

typedef struct DependencyList {
        Dependency *items;
        size_t n;
        size_t cost; /* steps to look for all triggers */
} DependencyList;

/* Steps to look for a name among an object's members. */
static inline size_t mam_json_name_cost(size_t size) {
        return 1 + size / 32;
}

typedef struct Bound {
        json_object *value; /* borrowed */
        int64_t small;
        bool is_small; /* small is the value */
        MamJsonDecimal decimal;
} Bound;

typedef enum NodeKind {
        NODE_OBJECT,
        NODE_TRUE,
        NODE_FALSE,
} NodeKind;

struct Node {
        NodeKind kind;
        uint16_t parts;     /* 1 << PART_… */
        uint8_t types;      /* TYPE_…, where PART_TYPE is there */
        uint8_t visit;      /* for walks over the graph while compiling */
        bool is_unique;     /* uniqueItems */
        bool has_const;     /* const_value may be NULL, which is json-c's null */
        bool is_dynamic;    /* dynamic_ref is looked for in the dynamic scope */
        json_object *json;  /* borrowed */
        Resource *resource; /* that it is in */
        const Node *parent; /* of the document's tree, for messages */
        const char *keyword, *token;

        Node *ref, *dynamic_ref;
        const char *dynamic_name;

        json_object *const_value, *enum_values; /* borrowed */
        uint64_t *enum_hashes;

        Bound *minimum, *maximum, *exclusive_minimum, *exclusive_maximum, *multiple_of;

        int64_t min_length, max_length, min_items, max_items, min_properties, max_properties, min_contains,
                        max_contains;
        const Pattern *pattern;
        MamJsonFormat format;
        const char *format_name;

        NodeList prefix_items;
        Node *items, *contains, *unevaluated_items;

        NameList required;
        DependencyList dependent_required;
        PropertyList properties, pattern_properties, dependent_schemas;
        Node *additional_properties, *property_names, *unevaluated_properties;

        NodeList all_of, any_of, one_of;
        Node *not_schema, *if_schema, *then_schema, *else_schema;
};

typedef struct Anchor Anchor;
struct Anchor {
        const char *name; /* borrowed */
        Node *node;
        bool is_dynamic;
        Anchor *next;
};

/* A schema with a URI of its own: a document, or what has an $id in one. */
struct Resource {
        const char *uri;
        Node *root;
        Anchor *anchors;
        uint8_t vocabularies;
};

typedef struct Arena Arena;

struct MamJsonSchema {
        Node *root;
        Arena *arena;
        size_t size;
        Pattern *patterns;
        json_object *documents[MAM_JSON_SCHEMA_DOCUMENTS_MAX + 1]; /* owned */
        size_t n_documents;
        uint32_t steps_max;
        bool has_dynamic; /* a $dynamicRef that depends on who refers to it */
};

/* Zeroed; NULL: no memory. */
void *mam_json_schema_allocate(MamJsonSchema *s, size_t size);

const Anchor *mam_json_resource_find(const Resource *r, const char *name);
/* 0, -EBADMSG with *message (at most size bytes), -ENOMEM */
int mam_json_pattern_compile(pcre2_code **ret, const char *text, size_t n, char *message, size_t size);
const Property *mam_json_property_find(const PropertyList *l, const char *name);
