/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql/validate.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/graphql/validate-internal.h"
#include "api-gateway/graphql/values.h"

static GqlFragment *find_fragment(const GqlDocument *d, const char *name) {
        for (GqlFragment *f = d->fragments; f; f = f->next)
                if (strcmp(f->name, name) == 0)
                        return f;
        return NULL;
}

/* ---- arguments and directives ---- */

static void check_arguments(
                GqlValidation *v,
                const GqlArgument *arguments,
                GqlInput *definitions,
                GqlPlace place,
                const char *kind,
                const char *name) {
        for (const GqlArgument *a = arguments; a; a = a->next) {
                const GqlInput *i = gql_input_find(definitions, a->name);

                if (gql_argument_find(arguments, a->name) != a)
                        GQL_WRONG(v, a->place, "There can be only one argument named \"%s\"", a->name);
                if (i)
                        gql_literal_check(v->schema, v->errors, a->value, i->type);
                else
                        GQL_WRONG(v, a->place, "Unknown argument \"%s\" on %s \"%s\"", a->name, kind, name);
        }
        for (const GqlInput *i = definitions; i; i = i->next)
                if (gql_input_is_required(i) && !gql_argument_find(arguments, i->name))
                        GQL_WRONG(v,
                                  place,
                                  "Argument \"%s\" of type \"%s\" is required on %s \"%s\", but it was not provided",
                                  i->name,
                                  gql_type_ref_print(v->errors->arena, i->type),
                                  kind,
                                  name);
}

static void check_directives(GqlValidation *v, const GqlDirective *list, GqlLocation where) {
        for (const GqlDirective *d = list; d; d = d->next) {
                const GqlDirectiveType *t = gql_schema_find_directive(v->schema, d->name);

                if (!t || t->hidden) {
                        GQL_WRONG(v, d->place, "Unknown directive \"@%s\"", d->name);
                        continue;
                }
                if (!(t->locations & UINT32_C(1) << where))
                        GQL_WRONG(v,
                                  d->place,
                                  "Directive \"@%s\" may not be used on %s",
                                  d->name,
                                  gql_location_to_string(where));
                if (!t->repeatable && gql_directive_find(list, d->name) != d)
                        GQL_WRONG(v,
                                  d->place,
                                  "The directive \"@%s\" can only be used once at this location",
                                  d->name);
                check_arguments(v, d->arguments, t->arguments, d->place, "directive", d->name);
        }
}

/* ---- selections ---- */

static void check_selections(GqlValidation *v, GqlSelection *list, const GqlType *parent);

static void check_leaf(GqlValidation *v, const GqlSelection *s, const GqlType *t) {
        const char *type = gql_type_ref_print(v->errors->arena, s->field->type);

        if (gql_type_is_composite(t) && !s->selections)
                GQL_WRONG(v,
                          s->place,
                          "Field \"%s\" of type \"%s\" must have a selection of subfields",
                          s->name,
                          type);
        if (!gql_type_is_composite(t) && s->selections)
                GQL_WRONG(v,
                          s->place,
                          "Field \"%s\" must not have a selection since type \"%s\" has no subfields",
                          s->name,
                          type);
}

static void check_field(GqlValidation *v, GqlSelection *s, const GqlType *parent) {
        const GqlType *t = NULL;

        check_directives(v, s->directives, GQL_LOCATION_FIELD);
        s->parent = parent;
        s->field = parent ? gql_schema_find_field(v->schema, parent, s->name) : NULL;
        if (parent && !s->field)
                GQL_WRONG(v, s->place, "Cannot query field \"%s\" on type \"%s\"", s->name, parent->name);
        if (s->field) {
                t = gql_type_ref_named(s->field->type);
                check_arguments(v, s->arguments, s->field->arguments, s->place, "field", s->name);
                check_leaf(v, s, t);
                if (!v->limits->introspection &&
                    (s->field == v->schema->field_schema || s->field == v->schema->field_type))
                        GQL_WRONG(v, s->place, "Introspection is not allowed here");
        }
        if (s->selections)
                check_selections(v, s->selections, t && gql_type_is_composite(t) ? t : NULL);
}

/* The type that a fragment is for. NULL: none that could be. */
static const GqlType *condition_type(GqlValidation *v, const char *name, GqlPlace place) {
        const GqlType *t = gql_schema_find(v->schema, name);

        if (!t)
                GQL_WRONG(v, place, "Unknown type \"%s\"", name);
        else if (!gql_type_is_composite(t)) {
                GQL_WRONG(v, place, "A fragment cannot be on the non composite type \"%s\"", name);
                t = NULL;
        }
        return t;
}

static void check_possible(GqlValidation *v, GqlPlace place, const GqlType *on, const GqlType *parent) {
        if (on && parent && !gql_types_overlap(on, parent))
                GQL_WRONG(v,
                          place,
                          "A fragment on \"%s\" can never be spread within \"%s\"",
                          on->name,
                          parent->name);
}

static void check_selection(GqlValidation *v, GqlSelection *s, const GqlType *parent) {
        switch (s->kind) {
        case GQL_SELECTION_SPREAD:
                check_directives(v, s->directives, GQL_LOCATION_FRAGMENT_SPREAD);
                s->fragment = find_fragment(v->document, s->name);
                if (s->fragment)
                        check_possible(v, s->place, s->fragment->on, parent);
                else
                        GQL_WRONG(v, s->place, "Unknown fragment \"%s\"", s->name);
                break;
        case GQL_SELECTION_INLINE:
                check_directives(v, s->directives, GQL_LOCATION_INLINE_FRAGMENT);
                s->on = s->condition ? condition_type(v, s->condition, s->place) : NULL;
                check_possible(v, s->place, s->on, parent);
                check_selections(v, s->selections, s->condition ? s->on : parent);
                break;
        case GQL_SELECTION_FIELD:
        default:
                check_field(v, s, parent);
        }
}

static void check_selections(GqlValidation *v, GqlSelection *list, const GqlType *parent) {
        for (GqlSelection *s = list; s; s = s->next)
                check_selection(v, s, parent);
}

/* ---- definitions ---- */

static const GqlType *root_type(const GqlSchema *s, GqlOperationKind kind) {
        return kind == GQL_QUERY ? s->query : kind == GQL_MUTATION ? s->mutation : NULL;
}

static void check_operation(GqlValidation *v, GqlOperation *o) {
        static const char *const words[] = { "query", "mutation", "subscription" };
        static const GqlLocation locations[] = { GQL_LOCATION_QUERY,
                                                 GQL_LOCATION_MUTATION,
                                                 GQL_LOCATION_SUBSCRIPTION };
        const GqlType *root = root_type(v->schema, o->kind);

        if (!o->name && v->document->operations->next)
                GQL_WRONG(v, o->place, "An anonymous operation must be the only one");
        for (const GqlOperation *other = v->document->operations; o->name && other != o; other = other->next)
                if (other->name && strcmp(other->name, o->name) == 0)
                        GQL_WRONG(v, o->place, "There can be only one operation named \"%s\"", o->name);
        if (!root)
                GQL_WRONG(v, o->place, "The schema has no %s operations", words[o->kind]);
        check_directives(v, o->directives, locations[o->kind]);
        check_selections(v, o->selections, root);
}

static void check_fragments(GqlValidation *v) {
        for (GqlFragment *f = v->document->fragments; f; f = f->next) {
                if (find_fragment(v->document, f->name) != f)
                        GQL_WRONG(v, f->place, "There can be only one fragment named \"%s\"", f->name);
                f->on = condition_type(v, f->condition, f->place);
        }
        for (GqlFragment *f = v->document->fragments; f; f = f->next) {
                check_directives(v, f->directives, GQL_LOCATION_FRAGMENT_DEFINITION);
                check_selections(v, f->selections, f->on);
        }
}

/* ---- cycles and weights: each fragment is looked at once ---- */

enum {
        UNSEEN,
        BEING_SEEN,
        SEEN
};

typedef struct Weight {
        unsigned weight, aliases, depth;
} Weight;

static unsigned add_bounded(unsigned a, unsigned b) {
        return a > UINT32_MAX / 2 || b > UINT32_MAX / 2 ? UINT32_MAX / 2 : a + b;
}

static Weight weigh(GqlValidation *v, const GqlSelection *list);

/* Its weight; a cycle is an error where it closes. */
static Weight weigh_fragment(GqlValidation *v, GqlFragment *f, GqlPlace place) {
        if (f->state == BEING_SEEN)
                GQL_WRONG(v, place, "Cannot spread fragment \"%s\" within itself", f->name);
        if (f->state == UNSEEN) {
                Weight w;

                f->state = BEING_SEEN;
                w = weigh(v, f->selections);
                f->weight = w.weight;
                f->aliases = w.aliases;
                f->depth = w.depth;
                f->state = SEEN;
        }
        return (Weight){ f->weight, f->aliases, f->depth };
}

static Weight weigh(GqlValidation *v, const GqlSelection *list) {
        Weight sum = { 0 };

        for (const GqlSelection *s = list; s; s = s->next) {
                Weight w = { 0 };

                if (s->kind == GQL_SELECTION_SPREAD && s->fragment)
                        w = weigh_fragment(v, (GqlFragment *) s->fragment, s->place);
                else if (s->selections)
                        w = weigh(v, s->selections);
                if (s->kind == GQL_SELECTION_FIELD) {
                        w.weight = add_bounded(w.weight, 1);
                        w.aliases = add_bounded(w.aliases, s->alias != NULL);
                        w.depth = add_bounded(w.depth, 1);
                }
                sum.weight = add_bounded(sum.weight, w.weight);
                sum.aliases = add_bounded(sum.aliases, w.aliases);
                sum.depth = w.depth > sum.depth ? w.depth : sum.depth;
        }
        return sum;
}

static void check_limit(GqlValidation *v, GqlPlace place, unsigned n, unsigned max, const char *what) {
        if (n > max)
                (void) gql_error(
                                v->errors,
                                GQL_CODE_LIMIT,
                                place,
                                "The operation has %s %u; %u is allowed",
                                what,
                                n,
                                max);
}

static void check_weights(GqlValidation *v) {
        for (GqlFragment *f = v->document->fragments; f; f = f->next)
                (void) weigh_fragment(v, f, f->place);
        for (const GqlOperation *o = v->document->operations; o; o = o->next) {
                Weight w = weigh(v, o->selections);

                check_limit(v, o->place, w.weight, v->limits->selections, "a number of fields of");
                check_limit(v, o->place, w.aliases, v->limits->aliases, "a number of aliases of");
                check_limit(v, o->place, w.depth, v->limits->depth, "a depth of");
        }
}

void gql_validate(const GqlSchema *s, GqlErrors *e, GqlDocument *d, const GqlLimits *limits) {
        GqlValidation v = { .schema = s, .errors = e, .document = d, .limits = limits };

        assert(s);
        assert(e);
        assert(d);
        assert(limits);

        check_fragments(&v);
        for (GqlOperation *o = d->operations; o; o = o->next)
                check_operation(&v, o);
        check_weights(&v);
        gql_validate_variables(&v);
        if (e->n == 0)
                gql_validate_overlap(&v);
}

GqlOperation *gql_select_operation(const GqlDocument *d, const char *name, GqlErrors *e) {
        GqlOperation *o = d->operations;

        if (!name && o && !o->next)
                return o;
        for (; name && o; o = o->next)
                if (o->name && strcmp(o->name, name) == 0)
                        return o;
        if (name)
                (void) gql_error(
                                e,
                                GQL_CODE_INPUT,
                                (GqlPlace){ 0 },
                                "Unknown operation named \"%.100s\"",
                                name);
        else if (d->operations)
                (void) gql_error(
                                e,
                                GQL_CODE_INPUT,
                                (GqlPlace){ 0 },
                                "Must provide operation name if query contains multiple operations");
        else
                (void) gql_error(e, GQL_CODE_INPUT, (GqlPlace){ 0 }, "The document has no operation");
        return NULL;
}
