/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compiling a schema: keywords
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/schema-compile.h"

#define FIELD(n, k, type) ((type *) (void *) ((char *) (n) + (k)->offset))

static int read_schema(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        *FIELD(n, k, Node *) = mam_json_compile_find(c, value);
        return 0;
}

static int read_list(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        NodeList *l = FIELD(n, k, NodeList);

        if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) == 0)
                return mam_json_compile_fail(c, n, k->name, "must be an array of schemas that is not empty");
        l->n = json_object_array_length(value);
        l->items = mam_json_schema_allocate(c->schema, l->n * sizeof(*l->items));
        if (!l->items)
                return -ENOMEM;
        for (size_t i = 0; i < l->n; i++)
                l->items[i] = mam_json_compile_find(c, json_object_array_get_idx(value, i));
        return 0;
}

static int compare_properties(const void *a, const void *b) {
        return strcmp(((const Property *) a)->name, ((const Property *) b)->name);
}

const Property *mam_json_property_find(const PropertyList *l, const char *name) {
        const Property key = { .name = name };

        return l->n > 0 ? bsearch(&key, l->items, l->n, sizeof(key), compare_properties) : NULL;
}

static int read_map(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        PropertyList *l = FIELD(n, k, PropertyList);

        if (!json_object_is_type(value, json_type_object))
                return mam_json_compile_fail(c, n, k->name, "must be an object of schemas");
        l->items = mam_json_schema_allocate(
                        c->schema,
                        (size_t) json_object_object_length(value) * sizeof(*l->items));
        if (!l->items)
                return -ENOMEM;
        json_object_object_foreach(value, key, v) {
                l->items[l->n++] = (Property){ .name = key, .node = mam_json_compile_find(c, v) };
                l->cost += mam_json_name_cost(strlen(key));
        }
        if (l->n > 0)
                qsort(l->items, l->n, sizeof(*l->items), compare_properties);
        return 0;
}

/* ---- patterns ---- */

static int find_pattern(
                Compiler *c,
                Node *n,
                const char *keyword,
                const char *text,
                size_t size,
                const Pattern **ret) {
        char message[192];
        uint32_t references = 0;
        size_t bytes = 0;
        Pattern *p;
        int r;

        for (p = c->schema->patterns; p; p = p->next)
                if (strlen(p->text) == size && memcmp(p->text, text, size) == 0) {
                        *ret = p;
                        return 0;
                }
        if (++c->n_patterns > MAM_JSON_SCHEMA_PATTERNS_MAX)
                return mam_json_compile_too_large(c, "has more patterns than are allowed");
        if (strlen(text) != size)
                return mam_json_compile_fail(c, n, keyword, "must not contain a NUL character");
        p = mam_json_schema_allocate(c->schema, sizeof(*p));
        if (!p)
                return -ENOMEM;
        r = mam_json_pattern_compile(&p->code, text, size, message, sizeof(message));
        if (r == -EBADMSG)
                return mam_json_compile_fail(c, n, keyword, "%s", message);
        if (r < 0)
                return r;
        p->text = text;
        (void) pcre2_pattern_info(p->code, PCRE2_INFO_BACKREFMAX, &references);
        (void) pcre2_pattern_info(p->code, PCRE2_INFO_SIZE, &bytes);
        p->has_back_reference = references > 0;
        p->next = c->schema->patterns;
        c->schema->patterns = p;
        c->schema->size += bytes;
        *ret = p;
        return 0;
}

static int read_pattern(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        if (!json_object_is_type(value, json_type_string))
                return mam_json_compile_fail(c, n, k->name, "must be a string");
        return find_pattern(
                        c,
                        n,
                        k->name,
                        json_object_get_string(value),
                        (size_t) json_object_get_string_len(value),
                        &n->pattern);
}

static int read_pattern_properties(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        PropertyList *l = &n->pattern_properties;
        int r;

        r = read_map(c, n, k, value);
        for (size_t i = 0; i < l->n && r >= 0; i++)
                r =
                                find_pattern(c,
                                             n,
                                             k->name,
                                             l->items[i].name,
                                             strlen(l->items[i].name),
                                             &l->items[i].pattern);
        return r;
}

static int read_format(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        if (!json_object_is_type(value, json_type_string))
                return mam_json_compile_fail(c, n, k->name, "must be a string");
        if (!c->options->assert_formats && !(n->resource->vocabularies & VOCABULARY_FORMAT_ASSERTION))
                return 0;
        n->format_name = json_object_get_string(value);
        n->format = mam_json_format_find(n->format_name);
        return 0;
}

/* ---- numbers ---- */

static bool is_number(json_object *o) {
        return json_object_is_type(o, json_type_int) || json_object_is_type(o, json_type_double);
}

static int read_bound(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        Bound *b;

        if (!is_number(value))
                return mam_json_compile_fail(c, n, k->name, "must be a number");
        b = mam_json_schema_allocate(c->schema, sizeof(*b));
        if (!b)
                return -ENOMEM;
        if (!mam_json_decimal(&b->decimal, value))
                return mam_json_compile_fail(c, n, k->name, "must be a finite number");
        b->value = value;
        b->small = json_object_is_type(value, json_type_int) ? json_object_get_int64(value) : INT64_MAX;
        b->is_small = b->small != INT64_MAX; /* which get_int64() says for larger ones, too */
        *FIELD(n, k, Bound *) = b;
        return 0;
}

static int read_divisor(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        const MamJsonDecimal *d;
        int r;

        r = read_bound(c, n, k, value);
        if (r < 0)
                return r;
        d = &n->multiple_of->decimal;
        if (d->n == 0 || d->negative)
                return mam_json_compile_fail(c, n, k->name, "must be a number above 0");
        if (d->n > MAM_JSON_DIVISOR_DIGITS_MAX || d->exponent < -2000)
                return mam_json_compile_fail(
                                c,
                                n,
                                k->name,
                                "must have at most %u digits",
                                MAM_JSON_DIVISOR_DIGITS_MAX);
        return 0;
}

static int read_limit(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        MamJsonDecimal d;
        int64_t limit = 0;

        if (!mam_json_decimal(&d, value) || d.negative || !mam_json_decimal_is_integer(&d))
                return mam_json_compile_fail(c, n, k->name, "must be an integer, 0 or more");
        if (d.n + (unsigned) d.exponent > 18) {
                limit = INT64_MAX;
        } else {
                for (unsigned i = 0; i < d.n + (unsigned) d.exponent; i++)
                        limit = limit * 10 + (i < d.n ? d.digits[i] : 0);
        }
        *FIELD(n, k, int64_t) = limit;
        return 0;
}

/* ---- the rest ---- */

static uint8_t type_of_name(const char *name) {
        static const struct {
                const char *name;
                uint8_t types;
        } names[] = {
                { "null", TYPE_NULL },     { "boolean", TYPE_BOOLEAN }, { "integer", TYPE_INTEGER },
                { "number", TYPE_NUMBER }, { "string", TYPE_STRING },   { "array", TYPE_ARRAY },
                { "object", TYPE_OBJECT },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++)
                if (strcmp(names[i].name, name) == 0)
                        return names[i].types;
        return 0;
}

static int read_type(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        static const char what[] =
                        "must be null, boolean, integer, number, string, array or object, or an array of these";
        bool is_array = json_object_is_type(value, json_type_array);
        size_t count = is_array ? json_object_array_length(value) : 1;

        if (count == 0)
                return mam_json_compile_fail(c, n, k->name, what);
        for (size_t i = 0; i < count; i++) {
                json_object *o = is_array ? json_object_array_get_idx(value, i) : value;
                uint8_t types = json_object_is_type(o, json_type_string)
                                                ? type_of_name(json_object_get_string(o))
                                                : 0;

                if (types == 0)
                        return mam_json_compile_fail(c, n, k->name, what);
                n->types |= types;
        }
        return 0;
}

static int read_const(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        n->has_const = true;
        n->const_value = value;
        return 0;
}

static int read_enum(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        size_t count;

        if (!json_object_is_type(value, json_type_array))
                return mam_json_compile_fail(c, n, k->name, "must be an array");
        count = json_object_array_length(value);
        n->enum_hashes = mam_json_schema_allocate(c->schema, count * sizeof(*n->enum_hashes));
        if (!n->enum_hashes)
                return -ENOMEM;
        for (size_t i = 0; i < count; i++)
                n->enum_hashes[i] = mam_json_hash(json_object_array_get_idx(value, i), &c->steps);
        if (c->steps == 0)
                return mam_json_compile_too_large(c, "has larger enumerations than are allowed");
        n->enum_values = value;
        return 0;
}

static int read_names(Compiler *c, Node *n, const char *keyword, json_object *value, NameList *ret) {
        static const char what[] = "must be an array of names";

        if (!json_object_is_type(value, json_type_array))
                return mam_json_compile_fail(c, n, keyword, what);
        ret->items = mam_json_schema_allocate(
                        c->schema,
                        json_object_array_length(value) * sizeof(*ret->items));
        if (!ret->items)
                return -ENOMEM;
        for (size_t i = 0; i < json_object_array_length(value); i++) {
                json_object *o = json_object_array_get_idx(value, i);

                if (!json_object_is_type(o, json_type_string))
                        return mam_json_compile_fail(c, n, keyword, what);
                ret->items[ret->n++] = json_object_get_string(o);
                ret->cost += mam_json_name_cost((size_t) json_object_get_string_len(o));
        }
        return 0;
}

static int read_required(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        return read_names(c, n, k->name, value, &n->required);
}

static int read_dependent_required(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        DependencyList *l = &n->dependent_required;
        int r;

        if (!json_object_is_type(value, json_type_object))
                return mam_json_compile_fail(c, n, k->name, "must be an object of arrays of names");
        l->items = mam_json_schema_allocate(
                        c->schema,
                        (size_t) json_object_object_length(value) * sizeof(*l->items));
        if (!l->items)
                return -ENOMEM;
        json_object_object_foreach(value, key, v) {
                l->items[l->n].name = key;
                l->cost += mam_json_name_cost(strlen(key));
                r = read_names(c, n, k->name, v, &l->items[l->n].needs);
                if (r < 0)
                        return r;
                l->n++;
        }
        return 0;
}

static int read_unique(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        if (!json_object_is_type(value, json_type_boolean))
                return mam_json_compile_fail(c, n, k->name, "must be true or false");
        n->is_unique = json_object_get_boolean(value);
        return 0;
}

static int read_ref(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        if (!json_object_is_type(value, json_type_string))
                return mam_json_compile_fail(c, n, k->name, "must be a URI reference");
        return mam_json_compile_reference(c, n, k->name, json_object_get_string(value), &n->ref, NULL);
}

static int read_dynamic_ref(Compiler *c, Node *n, const Keyword *k, json_object *value) {
        int r;

        if (!json_object_is_type(value, json_type_string))
                return mam_json_compile_fail(c, n, k->name, "must be a URI reference");
        r = mam_json_compile_reference(
                        c,
                        n,
                        k->name,
                        json_object_get_string(value),
                        &n->dynamic_ref,
                        &n->dynamic_name);
        n->is_dynamic = n->dynamic_name;
        c->schema->has_dynamic = c->schema->has_dynamic || n->is_dynamic;
        return r;
}

/* ---- the table ---- */

#define AT(field)    offsetof(Node, field)
#define CORE         VOCABULARY_CORE
#define APPLICATOR   VOCABULARY_APPLICATOR
#define VALIDATION   VOCABULARY_VALIDATION
#define UNEVALUATED_ VOCABULARY_UNEVALUATED

/* Sorted by name. */
static const Keyword keywords[] = {
        { "$defs", SHAPE_MAP, CORE, 0, 0, NULL },
        { "$dynamicRef", SHAPE_NONE, CORE, PART_REFERENCE, 0, read_dynamic_ref },
        { "$ref", SHAPE_NONE, CORE, PART_REFERENCE, 0, read_ref },
        { "additionalProperties",
          SHAPE_SCHEMA,
          APPLICATOR,
          PART_OBJECT,
          AT(additional_properties),
          read_schema },
        { "allOf", SHAPE_LIST, APPLICATOR, PART_COMBINATION, AT(all_of), read_list },
        { "anyOf", SHAPE_LIST, APPLICATOR, PART_COMBINATION, AT(any_of), read_list },
        { "const", SHAPE_NONE, VALIDATION, PART_VALUE, 0, read_const },
        { "contains", SHAPE_SCHEMA, APPLICATOR, PART_ARRAY, AT(contains), read_schema },
        { "contentSchema", SHAPE_SCHEMA, VOCABULARY_ANNOTATION, 0, 0, NULL },
        { "definitions", SHAPE_MAP, CORE, 0, 0, NULL },
        { "dependentRequired", SHAPE_NONE, VALIDATION, PART_OBJECT, 0, read_dependent_required },
        { "dependentSchemas", SHAPE_MAP, APPLICATOR, PART_COMBINATION, AT(dependent_schemas), read_map },
        { "else", SHAPE_SCHEMA, APPLICATOR, PART_COMBINATION, AT(else_schema), read_schema },
        { "enum", SHAPE_NONE, VALIDATION, PART_VALUE, 0, read_enum },
        { "exclusiveMaximum", SHAPE_NONE, VALIDATION, PART_NUMBER, AT(exclusive_maximum), read_bound },
        { "exclusiveMinimum", SHAPE_NONE, VALIDATION, PART_NUMBER, AT(exclusive_minimum), read_bound },
        { "format", SHAPE_NONE, VOCABULARY_FORMAT, PART_STRING, 0, read_format },
        { "if", SHAPE_SCHEMA, APPLICATOR, PART_COMBINATION, AT(if_schema), read_schema },
        { "items", SHAPE_SCHEMA, APPLICATOR, PART_ARRAY, AT(items), read_schema },
        { "maxContains", SHAPE_NONE, VALIDATION, PART_ARRAY, AT(max_contains), read_limit },
        { "maxItems", SHAPE_NONE, VALIDATION, PART_ARRAY, AT(max_items), read_limit },
        { "maxLength", SHAPE_NONE, VALIDATION, PART_STRING, AT(max_length), read_limit },
        { "maxProperties", SHAPE_NONE, VALIDATION, PART_OBJECT, AT(max_properties), read_limit },
        { "maximum", SHAPE_NONE, VALIDATION, PART_NUMBER, AT(maximum), read_bound },
        { "minContains", SHAPE_NONE, VALIDATION, PART_ARRAY, AT(min_contains), read_limit },
        { "minItems", SHAPE_NONE, VALIDATION, PART_ARRAY, AT(min_items), read_limit },
        { "minLength", SHAPE_NONE, VALIDATION, PART_STRING, AT(min_length), read_limit },
        { "minProperties", SHAPE_NONE, VALIDATION, PART_OBJECT, AT(min_properties), read_limit },
        { "minimum", SHAPE_NONE, VALIDATION, PART_NUMBER, AT(minimum), read_bound },
        { "multipleOf", SHAPE_NONE, VALIDATION, PART_NUMBER, AT(multiple_of), read_divisor },
        { "not", SHAPE_SCHEMA, APPLICATOR, PART_COMBINATION, AT(not_schema), read_schema },
        { "oneOf", SHAPE_LIST, APPLICATOR, PART_COMBINATION, AT(one_of), read_list },
        { "pattern", SHAPE_NONE, VALIDATION, PART_STRING, 0, read_pattern },
        { "patternProperties",
          SHAPE_MAP,
          APPLICATOR,
          PART_OBJECT,
          AT(pattern_properties),
          read_pattern_properties },
        { "prefixItems", SHAPE_LIST, APPLICATOR, PART_ARRAY, AT(prefix_items), read_list },
        { "properties", SHAPE_MAP, APPLICATOR, PART_OBJECT, AT(properties), read_map },
        { "propertyNames", SHAPE_SCHEMA, APPLICATOR, PART_OBJECT, AT(property_names), read_schema },
        { "required", SHAPE_NONE, VALIDATION, PART_OBJECT, 0, read_required },
        { "then", SHAPE_SCHEMA, APPLICATOR, PART_COMBINATION, AT(then_schema), read_schema },
        { "type", SHAPE_NONE, VALIDATION, PART_TYPE, 0, read_type },
        { "unevaluatedItems",
          SHAPE_SCHEMA,
          UNEVALUATED_,
          PART_UNEVALUATED,
          AT(unevaluated_items),
          read_schema },
        { "unevaluatedProperties",
          SHAPE_SCHEMA,
          UNEVALUATED_,
          PART_UNEVALUATED,
          AT(unevaluated_properties),
          read_schema },
        { "uniqueItems", SHAPE_NONE, VALIDATION, PART_ARRAY, 0, read_unique },
};

static int compare_keywords(const void *a, const void *b) {
        return strcmp(((const Keyword *) a)->name, ((const Keyword *) b)->name);
}

const Keyword *mam_json_keyword_find(const char *name) {
        const Keyword key = { .name = name };

        return bsearch(&key, keywords, MAM_ELEMENTSOF(keywords), sizeof(key), compare_keywords);
}

int mam_json_compile_node(Compiler *c, Node *n) {
        int r;

        if (n->kind != NODE_OBJECT)
                return 0;
        json_object_object_foreach(n->json, key, value) {
                const Keyword *k = mam_json_keyword_find(key);

                if (!k || !k->read || !(n->resource->vocabularies & k->vocabulary))
                        continue;
                r = k->read(c, n, k, value);
                if (r < 0)
                        return r;
                n->parts |= (uint16_t) (1U << k->part);
        }
        return 0;
}
