/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/schema.h"

#include <assert.h>
#include <string.h>

GqlSchema *gql_schema_ref(GqlSchema *s) {
        assert(s && s->n_ref > 0);

        s->n_ref++;
        return s;
}

GqlSchema *gql_schema_unref(GqlSchema *s) {
        if (!s || --s->n_ref > 0)
                return NULL;

        gql_arena_free(s->arena);
        free(s);
        return NULL;
}

static const char *const location_names[_GQL_LOCATION_MAX] = {
        [GQL_LOCATION_QUERY] = "QUERY",
        [GQL_LOCATION_MUTATION] = "MUTATION",
        [GQL_LOCATION_SUBSCRIPTION] = "SUBSCRIPTION",
        [GQL_LOCATION_FIELD] = "FIELD",
        [GQL_LOCATION_FRAGMENT_DEFINITION] = "FRAGMENT_DEFINITION",
        [GQL_LOCATION_FRAGMENT_SPREAD] = "FRAGMENT_SPREAD",
        [GQL_LOCATION_INLINE_FRAGMENT] = "INLINE_FRAGMENT",
        [GQL_LOCATION_VARIABLE_DEFINITION] = "VARIABLE_DEFINITION",
        [GQL_LOCATION_SCHEMA] = "SCHEMA",
        [GQL_LOCATION_SCALAR] = "SCALAR",
        [GQL_LOCATION_OBJECT] = "OBJECT",
        [GQL_LOCATION_FIELD_DEFINITION] = "FIELD_DEFINITION",
        [GQL_LOCATION_ARGUMENT_DEFINITION] = "ARGUMENT_DEFINITION",
        [GQL_LOCATION_INTERFACE] = "INTERFACE",
        [GQL_LOCATION_UNION] = "UNION",
        [GQL_LOCATION_ENUM] = "ENUM",
        [GQL_LOCATION_ENUM_VALUE] = "ENUM_VALUE",
        [GQL_LOCATION_INPUT_OBJECT] = "INPUT_OBJECT",
        [GQL_LOCATION_INPUT_FIELD_DEFINITION] = "INPUT_FIELD_DEFINITION",
};

const char *gql_location_to_string(GqlLocation l) {
        return l < _GQL_LOCATION_MAX ? location_names[l] : NULL;
}

int gql_location_from_string(const char *s) {
        for (int i = 0; i < _GQL_LOCATION_MAX; i++)
                if (strcmp(location_names[i], s) == 0)
                        return i;
        return -EINVAL;
}

static size_t hash_name(const char *s) {
        size_t h = 5381;

        for (; *s; s++)
                h = h * 33 + (unsigned char) *s;
        return h;
}

const GqlType *gql_schema_find(const GqlSchema *s, const char *name) {
        if (s->table_size == 0)
                return NULL;
        for (size_t i = hash_name(name);; i++) {
                const GqlType *t = s->table[i & (s->table_size - 1)];

                if (!t || strcmp(t->name, name) == 0)
                        return t;
        }
}

const GqlDirectiveType *gql_schema_find_directive(const GqlSchema *s, const char *name) {
        for (const GqlDirectiveType *d = s->directives; d; d = d->next)
                if (strcmp(d->name, name) == 0)
                        return d;
        return NULL;
}

const GqlField *gql_schema_find_field(const GqlSchema *s, const GqlType *t, const char *name) {
        if (name[0] == '_' && name[1] == '_') {
                if (strcmp(name, "__typename") == 0 && gql_type_is_composite(t))
                        return s->field_typename;
                if (t == s->query && strcmp(name, "__schema") == 0)
                        return s->field_schema;
                if (t == s->query && strcmp(name, "__type") == 0)
                        return s->field_type;
        }
        for (const GqlField *f = t->fields; f; f = f->next)
                if (strcmp(f->name, name) == 0)
                        return f;
        return NULL;
}

GqlInput *gql_input_find(GqlInput *list, const char *name) {
        for (; list; list = list->next)
                if (strcmp(list->name, name) == 0)
                        return list;
        return NULL;
}

const GqlEnumValue *gql_enum_find(const GqlType *t, const char *name) {
        for (const GqlEnumValue *v = t->values; v; v = v->next)
                if (strcmp(v->name, name) == 0)
                        return v;
        return NULL;
}

const GqlDirective *gql_directive_find(const GqlDirective *list, const char *name) {
        for (; list; list = list->next)
                if (strcmp(list->name, name) == 0)
                        return list;
        return NULL;
}

const GqlArgument *gql_argument_find(const GqlArgument *list, const char *name) {
        for (; list; list = list->next)
                if (strcmp(list->name, name) == 0)
                        return list;
        return NULL;
}

bool gql_type_is_input(const GqlType *t) {
        return t->kind == GQL_SCALAR || t->kind == GQL_ENUM || t->kind == GQL_INPUT_OBJECT;
}

bool gql_type_is_output(const GqlType *t) {
        return t->kind != GQL_INPUT_OBJECT;
}

bool gql_type_is_composite(const GqlType *t) {
        return t->kind == GQL_OBJECT || gql_type_is_abstract(t);
}

bool gql_type_is_abstract(const GqlType *t) {
        return t->kind == GQL_INTERFACE || t->kind == GQL_UNION;
}

bool gql_type_includes(const GqlType *t, const GqlType *object) {
        if (t == object)
                return true;
        for (size_t i = 0; i < t->n_possible; i++)
                if (t->possible[i] == object)
                        return true;
        return false;
}

bool gql_types_overlap(const GqlType *a, const GqlType *b) {
        if (a->kind == GQL_OBJECT)
                return gql_type_includes(b, a);
        for (size_t i = 0; i < a->n_possible; i++)
                if (gql_type_includes(b, a->possible[i]))
                        return true;
        return a == b;
}

bool gql_type_implements(const GqlType *t, const GqlType *interface) {
        for (size_t i = 0; i < t->n_interfaces; i++)
                if (t->interfaces[i] == interface)
                        return true;
        return false;
}

const GqlType *gql_type_ref_named(const GqlTypeRef *r) {
        while (r->kind != GQL_TYPE_REF_NAMED)
                r = r->of;
        return r->type;
}

const GqlTypeRef *gql_type_ref_nullable(const GqlTypeRef *r) {
        return r->kind == GQL_TYPE_REF_NON_NULL ? r->of : r;
}

bool gql_type_ref_equal(const GqlTypeRef *a, const GqlTypeRef *b) {
        for (; a->kind == b->kind; a = a->of, b = b->of)
                if (a->kind == GQL_TYPE_REF_NAMED)
                        return a->type == b->type;
        return false;
}

const char *gql_type_ref_print(GqlArena *arena, const GqlTypeRef *r) {
        const char *inner;

        if (r->kind == GQL_TYPE_REF_NAMED)
                return r->name;
        inner = gql_type_ref_print(arena, r->of);
        return gql_printf(arena, r->kind == GQL_TYPE_REF_LIST ? "[%s]" : "%s!", inner ?: "?") ?: "?";
}

bool gql_input_is_required(const GqlInput *i) {
        return i->type->kind == GQL_TYPE_REF_NON_NULL && !i->default_value;
}
