/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Variables (section 5.8), and which fragments are used (5.5.1.4): each operation with all that it spreads
 */

#include <string.h>

#include "api-gateway/graphql/validate-internal.h"
#include "api-gateway/graphql/values.h"

typedef struct Walk {
        GqlValidation *v;
        GqlOperation *operation;
} Walk;

static GqlVariable *find_variable(const GqlOperation *o, const char *name) {
        for (GqlVariable *x = o->variables; x; x = x->next)
                if (strcmp(x->name, name) == 0)
                        return x;
        return NULL;
}

/* AreTypesCompatible() of the specification. */
static bool is_compatible(const GqlTypeRef *variable, const GqlTypeRef *location) {
        if (location->kind == GQL_TYPE_REF_NON_NULL)
                return variable->kind == GQL_TYPE_REF_NON_NULL && is_compatible(variable->of, location->of);
        variable = gql_type_ref_nullable(variable);
        if (location->kind == GQL_TYPE_REF_LIST)
                return variable->kind == GQL_TYPE_REF_LIST && is_compatible(variable->of, location->of);
        return variable->kind == GQL_TYPE_REF_NAMED && variable->type == location->type;
}

static void use_variable(Walk *w, const GqlValue *value, const GqlTypeRef *type, bool has_default) {
        GqlVariable *x = find_variable(w->operation, value->text);
        const GqlTypeRef *location = type;

        if (!x) {
                if (w->operation->name)
                        GQL_WRONG(w->v,
                                  value->place,
                                  "Variable \"$%s\" is not defined by operation \"%s\"",
                                  value->text,
                                  w->operation->name);
                else
                        GQL_WRONG(w->v, value->place, "Variable \"$%s\" is not defined", value->text);
                return;
        }
        x->used = true;
        if (!type || !gql_type_ref_named(x->type) || !gql_type_ref_named(type))
                return;
        if (location->kind == GQL_TYPE_REF_NON_NULL && x->type->kind != GQL_TYPE_REF_NON_NULL &&
            (has_default || (x->default_value && x->default_value->kind != GQL_VALUE_NULL)))
                location = location->of;
        if (!is_compatible(x->type, location))
                GQL_WRONG(w->v,
                          value->place,
                          "Variable \"$%s\" of type \"%s\" used in position expecting type \"%s\"",
                          x->name,
                          gql_type_ref_print(w->v->errors->arena, x->type),
                          gql_type_ref_print(w->v->errors->arena, type));
}

/* type NULL: nothing is known of it. */
static void walk_value(Walk *w, const GqlValue *value, const GqlTypeRef *type, bool has_default) {
        const GqlTypeRef *inner = type ? gql_type_ref_nullable(type) : NULL;
        const GqlType *t = inner && inner->kind == GQL_TYPE_REF_NAMED ? inner->type : NULL;

        if (value->kind == GQL_VALUE_VARIABLE)
                use_variable(w, value, type, has_default);
        for (const GqlValue *item = value->items; item; item = item->next)
                walk_value(w, item, inner && inner->kind == GQL_TYPE_REF_LIST ? inner->of : NULL, false);
        while (inner && inner->kind == GQL_TYPE_REF_LIST && value->kind == GQL_VALUE_OBJECT) {
                inner = gql_type_ref_nullable(inner->of); /* one item stands for a list of it */
                t = inner->kind == GQL_TYPE_REF_NAMED ? inner->type : NULL;
        }
        for (const GqlArgument *a = value->fields; a; a = a->next) {
                const GqlInput *i =
                                t && t->kind == GQL_INPUT_OBJECT ? gql_input_find(t->inputs, a->name) : NULL;

                walk_value(w, a->value, i ? i->type : NULL, i && i->default_value);
        }
}

static void walk_arguments(Walk *w, const GqlArgument *arguments, GqlInput *definitions) {
        for (const GqlArgument *a = arguments; a; a = a->next) {
                const GqlInput *i = gql_input_find(definitions, a->name);

                walk_value(w, a->value, i ? i->type : NULL, i && i->default_value);
        }
}

static void walk_directives(Walk *w, const GqlDirective *list) {
        for (const GqlDirective *d = list; d; d = d->next) {
                const GqlDirectiveType *t = gql_schema_find_directive(w->v->schema, d->name);

                walk_arguments(w, d->arguments, t ? t->arguments : NULL);
        }
}

static void walk_selections(Walk *w, const GqlSelection *list) {
        for (const GqlSelection *s = list; s; s = s->next) {
                GqlFragment *f = (GqlFragment *) s->fragment;

                walk_directives(w, s->directives);
                walk_arguments(w, s->arguments, s->field ? s->field->arguments : NULL);
                if (s->selections)
                        walk_selections(w, s->selections);
                if (f && f->visit != w->v->stamp) {
                        f->visit = w->v->stamp;
                        walk_directives(w, f->directives);
                        walk_selections(w, f->selections);
                }
        }
}

static void check_definitions(GqlValidation *v, GqlOperation *o) {
        for (GqlVariable *x = o->variables; x; x = x->next) {
                GqlTypeRef *named = x->type;

                if (find_variable(o, x->name) != x)
                        GQL_WRONG(v, x->place, "There can be only one variable named \"$%s\"", x->name);
                while (named->kind != GQL_TYPE_REF_NAMED)
                        named = named->of;
                named->type = gql_schema_find(v->schema, named->name);
                if (!named->type)
                        GQL_WRONG(v, named->place, "Unknown type \"%s\"", named->name);
                else if (!gql_type_is_input(named->type)) {
                        GQL_WRONG(v,
                                  named->place,
                                  "Variable \"$%s\" cannot be of the non-input type \"%s\"",
                                  x->name,
                                  named->name);
                        named->type = NULL;
                } else if (x->default_value)
                        gql_literal_check(v->schema, v->errors, x->default_value, x->type);
                for (const GqlDirective *d = x->directives; d; d = d->next)
                        GQL_WRONG(v,
                                  d->place,
                                  "Directive \"@%s\" may not be used on VARIABLE_DEFINITION",
                                  d->name);
        }
}

void gql_validate_variables(GqlValidation *v) {
        unsigned before = v->stamp;

        for (GqlOperation *o = v->document->operations; o; o = o->next) {
                Walk w = { .v = v, .operation = o };

                v->stamp++;
                check_definitions(v, o);
                walk_directives(&w, o->directives);
                walk_selections(&w, o->selections);
                for (const GqlVariable *x = o->variables; x; x = x->next)
                        if (!x->used && find_variable(o, x->name) == x)
                                GQL_WRONG(v, x->place, "Variable \"$%s\" is never used", x->name);
        }
        for (const GqlFragment *f = v->document->fragments; f; f = f->next)
                if (f->visit <= before)
                        GQL_WRONG(v, f->place, "Fragment \"%s\" is never used", f->name);
}
