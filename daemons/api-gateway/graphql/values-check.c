/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Whether literals are of the type that they are used as (section 5.6)
 */

#include <assert.h>
#include <math.h>
#include <string.h>

#include "api-gateway/graphql/values.h"

static void check_type(GqlErrors *e, const GqlValue *v, const GqlTypeRef *type, const char *what) {
        gql_error(e,
                  GQL_CODE_VALIDATE,
                  v->place,
                  "Expected a value of type \"%s\", found %s",
                  gql_type_ref_print(e->arena, type),
                  what);
}

static const char *describe(GqlArena *arena, const GqlValue *v) {
        static const char *const words[] = {
                [GQL_VALUE_VARIABLE] = "a variable", [GQL_VALUE_INT] = "a whole number",
                [GQL_VALUE_FLOAT] = "a number",      [GQL_VALUE_STRING] = "a string",
                [GQL_VALUE_BOOLEAN] = "a boolean",   [GQL_VALUE_NULL] = "null",
                [GQL_VALUE_LIST] = "a list",         [GQL_VALUE_OBJECT] = "an object",
        };

        if (v->kind == GQL_VALUE_ENUM)
                return gql_printf(arena, "%.100s", v->text) ?: "a name";
        return words[v->kind];
}

static bool int_fits(const char *text) {
        char *end;
        long long n;

        errno = 0;
        n = strtoll(text, &end, 10);
        return errno == 0 && !*end && n >= INT32_MIN && n <= INT32_MAX;
}

static bool scalar_takes(GqlScalarKind kind, const GqlValue *v) {
        switch (kind) {
        case GQL_SCALAR_INT:
                return v->kind == GQL_VALUE_INT && int_fits(v->text);
        case GQL_SCALAR_FLOAT:
                return (v->kind == GQL_VALUE_INT || v->kind == GQL_VALUE_FLOAT) &&
                       isfinite(strtod(v->text, NULL));
        case GQL_SCALAR_STRING:
                return v->kind == GQL_VALUE_STRING;
        case GQL_SCALAR_BOOLEAN:
                return v->kind == GQL_VALUE_BOOLEAN;
        case GQL_SCALAR_ID:
                return v->kind == GQL_VALUE_STRING || v->kind == GQL_VALUE_INT;
        case GQL_SCALAR_CUSTOM:
        default:
                return true;
        }
}

/* Names within an object are unique whatever its type. */
static void check_unique(GqlErrors *e, const GqlValue *v) {
        for (const GqlValue *item = v->items; item; item = item->next)
                check_unique(e, item);
        for (const GqlArgument *a = v->fields; a; a = a->next) {
                if (gql_argument_find(v->fields, a->name) != a)
                        gql_error(e,
                                  GQL_CODE_VALIDATE,
                                  a->place,
                                  "There can be only one input field named \"%s\"",
                                  a->name);
                check_unique(e, a->value);
        }
}

static void check(const GqlSchema *s, GqlErrors *e, const GqlValue *v, const GqlTypeRef *type);

static void check_object(const GqlSchema *s, GqlErrors *e, const GqlValue *v, const GqlType *t) {
        for (const GqlArgument *a = v->fields; a; a = a->next) {
                const GqlInput *i = gql_input_find(t->inputs, a->name);

                if (i)
                        check(s, e, a->value, i->type);
                else
                        gql_error(e,
                                  GQL_CODE_VALIDATE,
                                  a->place,
                                  "Field \"%s\" is not defined by type \"%s\"",
                                  a->name,
                                  t->name);
        }
        for (const GqlInput *i = t->inputs; i; i = i->next)
                if (gql_input_is_required(i) && !gql_argument_find(v->fields, i->name))
                        gql_error(e,
                                  GQL_CODE_VALIDATE,
                                  v->place,
                                  "Field \"%s.%s\" of required type \"%s\" was not provided",
                                  t->name,
                                  i->name,
                                  gql_type_ref_print(e->arena, i->type));
}

static void check_named(const GqlSchema *s, GqlErrors *e, const GqlValue *v, const GqlTypeRef *ref) {
        const GqlType *t = ref->type;

        if (!t || !gql_type_is_input(t))
                return;
        if (t->kind == GQL_INPUT_OBJECT && v->kind == GQL_VALUE_OBJECT)
                check_object(s, e, v, t);
        else if (t->kind == GQL_ENUM && v->kind == GQL_VALUE_ENUM && !gql_enum_find(t, v->text))
                gql_error(e,
                          GQL_CODE_VALIDATE,
                          v->place,
                          "Value \"%s\" does not exist in enum \"%s\"",
                          v->text,
                          t->name);
        else if (t->kind == GQL_INPUT_OBJECT || (t->kind == GQL_ENUM && v->kind != GQL_VALUE_ENUM) ||
                 (t->kind == GQL_SCALAR && !scalar_takes(t->scalar, v)))
                check_type(e, v, ref, describe(e->arena, v));
}

static void check(const GqlSchema *s, GqlErrors *e, const GqlValue *v, const GqlTypeRef *type) {
        if (v->kind == GQL_VALUE_VARIABLE)
                return;
        if (v->kind == GQL_VALUE_NULL) {
                if (type->kind == GQL_TYPE_REF_NON_NULL)
                        check_type(e, v, type, "null");
                return;
        }
        type = gql_type_ref_nullable(type);
        if (type->kind == GQL_TYPE_REF_NAMED)
                check_named(s, e, v, type);
        else if (v->kind == GQL_VALUE_LIST)
                for (const GqlValue *item = v->items; item; item = item->next)
                        check(s, e, item, type->of);
        else
                check(s, e, v, type->of);
}

void gql_literal_check(const GqlSchema *s, GqlErrors *e, const GqlValue *v, const GqlTypeRef *type) {
        assert(s);
        assert(e);

        check_unique(e, v);
        check(s, e, v, type);
}
