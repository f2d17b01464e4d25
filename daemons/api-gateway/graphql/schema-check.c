/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A schema as a whole: interfaces are kept, nothing is empty, input types can have a value
 */

#include <string.h>

#include "api-gateway/graphql/schema-internal.h"

static const char *file_of(const GqlType *t) {
        return t->definition->file;
}

/* Whether what a field of type a gives is good where b is asked for. */
static bool is_subtype(const GqlTypeRef *a, const GqlTypeRef *b) {
        if (b->kind == GQL_TYPE_REF_NON_NULL)
                return a->kind == GQL_TYPE_REF_NON_NULL && is_subtype(a->of, b->of);
        a = gql_type_ref_nullable(a);
        if (a->kind != b->kind)
                return false;
        if (a->kind == GQL_TYPE_REF_LIST)
                return is_subtype(a->of, b->of);
        return a->type == b->type || (b->type->kind == GQL_UNION && gql_type_includes(b->type, a->type)) ||
               gql_type_implements(a->type, b->type);
}

static int check_kept(GqlBuilder *b, const GqlType *t, const GqlType *interface, const GqlField *wanted) {
        const GqlField *f = gql_schema_find_field(b->schema, t, wanted->name);
        GqlPlace place = t->definition->place;

        if (!f || !is_subtype(f->type, wanted->type))
                return gql_build_fail(
                                b,
                                file_of(t),
                                f ? f->definition->place : place,
                                "\"%s\" has not the field \"%s\" as \"%s\" has it",
                                t->name,
                                wanted->name,
                                interface->name);
        for (const GqlInput *i = wanted->arguments; i; i = i->next) {
                const GqlInput *own = gql_input_find(f->arguments, i->name);

                if (!own || !gql_type_ref_equal(own->type, i->type))
                        return gql_build_fail(
                                        b,
                                        file_of(t),
                                        f->definition->place,
                                        "\"%s.%s\" has not the argument \"%s\" as \"%s\" has it",
                                        t->name,
                                        f->name,
                                        i->name,
                                        interface->name);
        }
        for (const GqlInput *i = f->arguments; i; i = i->next)
                if (gql_input_is_required(i) && !gql_input_find(wanted->arguments, i->name))
                        return gql_build_fail(
                                        b,
                                        file_of(t),
                                        f->definition->place,
                                        "\"%s.%s\" needs the argument \"%s\", which \"%s\" has not",
                                        t->name,
                                        f->name,
                                        i->name,
                                        interface->name);
        return 0;
}

static int check_interfaces(GqlBuilder *b, const GqlType *t) {
        int r;

        for (size_t i = 0; i < t->n_interfaces; i++) {
                const GqlType *interface = t->interfaces[i];

                for (size_t k = 0; k < interface->n_interfaces; k++)
                        if (!gql_type_implements(t, interface->interfaces[k]))
                                return gql_build_fail(
                                                b,
                                                file_of(t),
                                                t->definition->place,
                                                "\"%s\" must implement \"%s\" too",
                                                t->name,
                                                interface->interfaces[k]->name);
                for (const GqlField *f = interface->fields; f; f = f->next) {
                        r = check_kept(b, t, interface, f);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

/* Whether a value of an input type would have to contain another one of the same type, without end. Marks
 * are larger than mark for those whose end is known. */
static const GqlInput *find_endless(const GqlType *t, GqlType *at, unsigned depth) {
        if (depth > GQL_TYPES_MAX)
                return NULL;
        at->mark = 1;
        for (const GqlInput *i = at->inputs; i; i = i->next) {
                GqlType *next;

                if (i->type->kind != GQL_TYPE_REF_NON_NULL || i->type->of->kind != GQL_TYPE_REF_NAMED)
                        continue;
                next = (GqlType *) i->type->of->type;
                if (next == t)
                        return i;
                if (next->kind == GQL_INPUT_OBJECT && next->mark == 0 && find_endless(t, next, depth + 1))
                        return i;
        }
        return NULL;
}

static int check_type(GqlBuilder *b, GqlType *t) {
        bool empty = false;
        int r;

        switch (t->kind) {
        case GQL_OBJECT:
        case GQL_INTERFACE:
                empty = !t->fields;
                break;
        case GQL_UNION:
                empty = t->n_possible == 0;
                break;
        case GQL_ENUM:
                empty = !t->values;
                break;
        case GQL_INPUT_OBJECT:
                empty = !t->inputs;
                break;
        case GQL_SCALAR:
        default:
                break;
        }
        if (empty)
                return gql_build_fail(b, file_of(t), t->definition->place, "type \"%s\" is empty", t->name);
        r = check_interfaces(b, t);
        if (r < 0 || t->kind != GQL_INPUT_OBJECT)
                return r;
        for (GqlType *other = b->schema->types; other; other = other->next)
                other->mark = 0;
        if (find_endless(t, t, 0))
                return gql_build_fail(
                                b,
                                file_of(t),
                                t->definition->place,
                                "a value of \"%s\" would have to contain itself",
                                t->name);
        return 0;
}

int gql_build_check(GqlBuilder *b) {
        for (GqlType *t = b->schema->types; t; t = t->next) {
                int r;

                r = check_type(b, t);
                if (r < 0)
                        return r;
        }
        return 0;
}
