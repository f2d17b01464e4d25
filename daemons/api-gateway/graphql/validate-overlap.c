/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fields that have to merge (section 5.3.2)
 *
 * Not pair by pair, which is quadratic, but set by set: all fields that come under one name in an answer are
 * looked at together. Two passes, as the two halves of FieldsInSetCanMerge(): shapes, which must agree
 * whatever the object's type is, and meaning, which must agree where the object can be the same.
 */

#include <string.h>

#include "api-gateway/graphql/validate-internal.h"

#define WORK_MAX 200000U /* fields looked at, in one document */

typedef struct Entry {
        const GqlSelection *selection;
} Entry;

typedef struct Set {
        Entry *entries;
        size_t n, allocated;
} Set;

typedef struct Overlap {
        GqlValidation *v;
        unsigned left;
        bool failed;
} Overlap;

static const char *response_name(const GqlSelection *s) {
        return s->alias ?: s->name;
}

static int set_add(Overlap *o, Set *set, const GqlSelection *s) {
        if (o->left == 0) {
                if (!o->failed)
                        (void) gql_error(
                                        o->v->errors,
                                        GQL_CODE_LIMIT,
                                        s->place,
                                        "The document is too complex to be validated");
                o->failed = true;
                return -ENOBUFS;
        }
        o->left--;
        if (set->n == set->allocated) {
                size_t allocated = set->allocated > 0 ? 2 * set->allocated : 16;
                Entry *entries = realloc(set->entries, allocated * sizeof(Entry));

                if (!entries) {
                        o->failed = true;
                        return -ENOMEM;
                }
                set->entries = entries;
                set->allocated = allocated;
        }
        set->entries[set->n++] = (Entry){ s };
        return 0;
}

static void set_done(Set *set) {
        free(set->entries);
}

/* All fields of a selection set, those of fragments included; each fragment once in one set (stamp). */
static int collect(Overlap *o, Set *set, const GqlSelection *list) {
        int r = 0;

        for (const GqlSelection *s = list; s && r >= 0; s = s->next) {
                GqlFragment *f = (GqlFragment *) s->fragment;

                if (s->kind == GQL_SELECTION_FIELD)
                        r = set_add(o, set, s);
                else if (s->kind == GQL_SELECTION_INLINE)
                        r = collect(o, set, s->selections);
                else if (f->visit != o->v->stamp) {
                        f->visit = o->v->stamp;
                        r = collect(o, set, f->selections);
                }
        }
        return r;
}

static int compare(const void *a, const void *b) {
        const GqlSelection *x = ((const Entry *) a)->selection, *y = ((const Entry *) b)->selection;
        int r = strcmp(response_name(x), response_name(y));

        if (r != 0)
                return r;
        return (x > y) - (x < y);
}

static bool values_equal(const GqlValue *a, const GqlValue *b);

static bool arguments_equal(const GqlArgument *a, const GqlArgument *b) {
        const GqlArgument *x, *y;
        size_t n = 0, m = 0;

        for (x = a; x; x = x->next)
                n++;
        for (y = b; y; y = y->next)
                m++;
        if (n != m)
                return false;
        for (x = a; x; x = x->next) {
                y = gql_argument_find(b, x->name);
                if (!y || !values_equal(x->value, y->value))
                        return false;
        }
        return true;
}

static bool values_equal(const GqlValue *a, const GqlValue *b) {
        const GqlValue *x = a->items, *y = b->items;

        if (a->kind != b->kind)
                return false;
        switch (a->kind) {
        case GQL_VALUE_LIST:
                for (; x && y; x = x->next, y = y->next)
                        if (!values_equal(x, y))
                                return false;
                return !x && !y;
        case GQL_VALUE_OBJECT:
                return arguments_equal(a->fields, b->fields);
        case GQL_VALUE_VARIABLE:
                return strcmp(a->text, b->text) == 0;
        case GQL_VALUE_INT:
        case GQL_VALUE_FLOAT:
        case GQL_VALUE_STRING:
        case GQL_VALUE_BOOLEAN:
        case GQL_VALUE_NULL:
        case GQL_VALUE_ENUM:
        default:
                return a->size == b->size && memcmp(a->text, b->text, a->size) == 0;
        }
}

static bool shapes_equal(const GqlTypeRef *a, const GqlTypeRef *b) {
        for (; a->kind == b->kind; a = a->of, b = b->of)
                if (a->kind == GQL_TYPE_REF_NAMED)
                        return a->type == b->type ||
                               (gql_type_is_composite(a->type) && gql_type_is_composite(b->type));
        return false;
}

static void conflict(Overlap *o, const GqlSelection *a, const GqlSelection *b, const char *why) {
        GqlError *e;

        o->failed = true;
        e = gql_error(o->v->errors,
                      GQL_CODE_VALIDATE,
                      a->place,
                      "Fields \"%s\" conflict because %s; use different aliases on the fields to fetch both",
                      response_name(a),
                      why);
        if (e)
                e->places[e->n_places++] = b->place;
}

typedef void (*CheckSet)(Overlap *o, Set *set);

/* What is selected below all of these, as one set. */
static void descend(Overlap *o, const Entry *entries, size_t n, CheckSet check) {
        Set below = { 0 };
        int r = 0;

        o->v->stamp++;
        for (size_t i = 0; i < n && r >= 0; i++)
                r = collect(o, &below, entries[i].selection->selections);
        if (r >= 0 && below.n > 0)
                check(o, &below);
        set_done(&below);
}

/* Where the group ends that begins at i. */
static size_t group_end(const Set *set, size_t i) {
        size_t end = i + 1;

        while (end < set->n && strcmp(response_name(set->entries[i].selection),
                                      response_name(set->entries[end].selection)) == 0)
                end++;
        return end;
}

static void check_shapes(Overlap *o, Set *set) {
        qsort(set->entries, set->n, sizeof(Entry), compare);
        for (size_t i = 0, end; i < set->n && !o->failed; i = end) {
                const GqlSelection *first = set->entries[i].selection;

                end = group_end(set, i);
                for (size_t k = i + 1; k < end && !o->failed; k++)
                        if (!shapes_equal(first->field->type, set->entries[k].selection->field->type))
                                conflict(o,
                                         first,
                                         set->entries[k].selection,
                                         "they return conflicting types");
                if (!o->failed)
                        descend(o, set->entries + i, end - i, check_shapes);
        }
}

static void check_meaning(Overlap *o, Set *set);

static void check_same_parent(Overlap *o, const Entry *entries, size_t n) {
        const GqlSelection *first = entries[0].selection;

        for (size_t i = 1; i < n && !o->failed; i++) {
                const GqlSelection *s = entries[i].selection;

                if (s == first)
                        continue;
                if (strcmp(s->name, first->name) != 0)
                        conflict(o, first, s, "they are different fields");
                else if (!arguments_equal(first->arguments, s->arguments))
                        conflict(o, first, s, "they have differing arguments");
        }
        if (!o->failed)
                descend(o, entries, n, check_meaning);
}

/* Fields of one name: those of one object type, and with each of them those of interfaces and unions. */
static void check_parents(Overlap *o, const Entry *entries, size_t n) {
        bool any = false;

        for (size_t i = 0; i < n && !o->failed; i++) {
                const GqlType *t = entries[i].selection->parent;
                Set same = { 0 };
                bool seen = t->kind != GQL_OBJECT;
                int r = 0;

                for (size_t k = 0; k < i && !seen; k++)
                        seen = entries[k].selection->parent == t;
                if (seen)
                        continue;
                any = true;
                for (size_t k = 0; k < n && r >= 0; k++) {
                        const GqlType *other = entries[k].selection->parent;

                        if (other == t || other->kind != GQL_OBJECT)
                                r = set_add(o, &same, entries[k].selection);
                }
                if (r >= 0)
                        check_same_parent(o, same.entries, same.n);
                set_done(&same);
        }
        if (!any && !o->failed)
                check_same_parent(o, entries, n);
}

static void check_meaning(Overlap *o, Set *set) {
        qsort(set->entries, set->n, sizeof(Entry), compare);
        for (size_t i = 0, end; i < set->n && !o->failed; i = end) {
                end = group_end(set, i);
                check_parents(o, set->entries + i, end - i);
        }
}

static void check_operation(GqlValidation *v, const GqlSelection *list, unsigned *left) {
        static const CheckSet checks[] = { check_shapes, check_meaning };

        for (size_t i = 0; i < MAM_ELEMENTSOF(checks); i++) {
                Overlap o = { .v = v, .left = *left };
                Set set = { 0 };

                v->stamp++;
                if (collect(&o, &set, list) >= 0)
                        checks[i](&o, &set);
                set_done(&set);
                *left = o.left;
                if (o.failed)
                        return;
        }
}

void gql_validate_overlap(GqlValidation *v) {
        unsigned left = WORK_MAX;

        for (const GqlOperation *o = v->document->operations; o && v->errors->n == 0; o = o->next)
                check_operation(v, o->selections, &left);
}
