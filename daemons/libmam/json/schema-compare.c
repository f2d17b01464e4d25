/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Does one schema cover another?
 *
 * A structural comparison, keyword by keyword: each assertion of the wide schema must follow from what the
 * narrow one says. The narrow side is a set of nodes that all hold ($ref and allOf are laid out); whatever
 * is not understood there is left out, which only makes it wider. Whatever is not understood on the wide
 * side cannot be judged. So the answer 0 is certain, and a refusal is not. What is judged:
 *
 *   type, enum, const       by sets; where the narrow side has finitely many values each one is validated
 *   bounds, lengths, counts by order; multipleOf by divisibility
 *   pattern, format         only the same
 *   properties, patternProperties, additionalProperties, required, dependentRequired, propertyNames
 *                           by name, for all names that either side mentions, and for all others at once
 *   prefixItems, items, contains, uniqueItems
 *   allOf, $ref             as if they were written out
 *   anyOf, oneOf            of the narrow side: by cases. Of the wide side: one alternative must cover it;
 * with oneOf the others must be seen to be disjoint from it by types or by a required property with constant
 * values not                     if the narrow side has one that excludes more, or has none of its types if,
 * then, else          if both have the same if, or then and else both cover unevaluated*            where
 * what is evaluated does not depend on the value, or all is covered anyway
 *
 * A schema that comes back to a pair of places it is at already takes that pair for covered: values are
 * finite, and no schema refers to itself without entering a member or an item, so this is an induction over
 * the depth of values.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/json-internal.h"
#include "libmam/json/schema-compare.h"

#define DEPTH_MAX 100U

/* ---- saying ---- */

const char *mam_json_wide_name(const Comparison *c) {
        return c->is_swapped ? c->narrow_name : c->wide_name;
}

const char *mam_json_narrow_name(const Comparison *c) {
        return c->is_swapped ? c->wide_name : c->narrow_name;
}

int mam_json_differ(Comparison *c, const Step *at, const char *format, ...) {
        MamJsonError *e = c->error;
        va_list ap;

        if (!e || c->quiet > 0)
                return -EBADMSG;
        *e = (MamJsonError){ .offset = SIZE_MAX };
        va_start(ap, format);
        (void) vsnprintf(e->message, sizeof(e->message), format, ap);
        va_end(ap);
        for (; at; at = at->parent)
                if (at->key)
                        mam_json_error_prepend(e, at->key);
        return -EBADMSG;
}

static int too_much(Comparison *c) {
        if (c->error)
                (void) mam_json_fail(
                                c->error,
                                "",
                                NULL,
                                "the schemas take more work to compare than is allowed");
        return -EOVERFLOW;
}

/* ---- views ---- */

void mam_json_view_init(View *v) {
        *v = (View){ .types = TYPE_ANY };
}

static void view_add(View *v, const Node *n, unsigned depth) {
        if (!n || n->kind == NODE_TRUE)
                return;
        if (n->kind == NODE_FALSE) {
                v->is_false = true;
                return;
        }
        for (size_t i = 0; i < v->n; i++)
                if (v->nodes[i] == n)
                        return;
        if (v->n == VIEW_MAX || depth > VIEW_MAX)
                return;
        v->nodes[v->n++] = n;
        view_add(v, n->ref, depth + 1);
        if (!n->is_dynamic)
                view_add(v, n->dynamic_ref, depth + 1);
        for (size_t i = 0; i < n->all_of.n; i++)
                view_add(v, n->all_of.items[i], depth + 1);
}

void mam_json_view_add(View *v, const Node *n) {
        view_add(v, n, 0);
}

uint8_t mam_json_view_types(const View *v) {
        uint8_t types = v->is_false ? 0 : v->types;

        for (size_t i = 0; i < v->n; i++) {
                const Node *n = v->nodes[i];

                if (n->parts & 1U << PART_TYPE)
                        types &= n->types;
                if (n->multiple_of && mam_json_decimal_is_integer(&n->multiple_of->decimal))
                        types &= (uint8_t) ~TYPE_FRACTION;
        }
        return types;
}

static const char *type_name(unsigned types) {
        static const struct {
                unsigned type;
                const char *name;
        } names[] = {
                { TYPE_NULL, "null" },
                { TYPE_BOOLEAN, "true and false" },
                { TYPE_INTEGER, "integers" },
                { TYPE_STRING, "strings" },
                { TYPE_FRACTION, "numbers with a fraction" },
                { TYPE_ARRAY, "arrays" },
                { TYPE_OBJECT, "objects" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++)
                if (types & names[i].type)
                        return names[i].name;
        return "nothing";
}

/* ---- finitely many values ---- */

/* 1: all that the narrow side may be are accepted; 0: there are others; -EBADMSG: value is not. */
static int covers_value(Comparison *c, const Node *w, const View *n, json_object *value, const Step *at) {
        static const Spot nowhere = { 0 };
        Validation *v = &c->validation;
        int r;

        if (c->has_dynamic)
                return mam_json_differ(c, at, "cannot be judged: a $dynamicRef depends on who refers to it");
        v->quiet++;
        r = mam_json_evaluate(v, w, value, &nowhere, NULL, NULL);
        for (size_t i = 0; i < n->n && r == 0; i++)
                if (mam_json_evaluate(v, n->nodes[i], value, &nowhere, NULL, NULL) == 0)
                        r = 1; /* nor is it by the narrow side */
        v->quiet--;
        if (r < 0)
                return r == -EOVERFLOW ? too_much(c) : r;
        if (r > 0)
                return 0;
        return mam_json_differ(
                        c,
                        at,
                        "%s allows %.60s, %s does not",
                        mam_json_narrow_name(c),
                        mam_json_to_string(value),
                        mam_json_wide_name(c));
}

static int covers_values(Comparison *c, const Node *w, const View *n, const Step *at, bool *ret_done) {
        uint8_t types = mam_json_view_types(n);
        int r = 0;

        *ret_done = true;
        for (size_t i = 0; i < n->n; i++) {
                json_object *list = n->nodes[i]->enum_values;

                if (n->nodes[i]->has_const)
                        return covers_value(c, w, n, n->nodes[i]->const_value, at);
                for (size_t j = 0; list && j < json_object_array_length(list) && r >= 0; j++)
                        r = covers_value(c, w, n, json_object_array_get_idx(list, j), at);
                if (list)
                        return r;
        }
        if (types & ~(TYPE_NULL | TYPE_BOOLEAN)) {
                *ret_done = false;
                return 0;
        }
        if (types & TYPE_NULL)
                r = covers_value(c, w, n, NULL, at);
        for (int b = 0; b < 2 && r >= 0 && types & TYPE_BOOLEAN; b++) {
                _cleanup_(json_object_putp) json_object *value = json_object_new_boolean(b);

                r = value ? covers_value(c, w, n, value, at) : -ENOMEM;
        }
        return r;
}

/* ---- numbers and strings ---- */

typedef struct Limit {
        const Bound *bound; /* NULL: none */
        bool is_exclusive;
} Limit;

/* The stricter one; sign 1 for lower bounds, -1 for upper ones. */
static void tighten(Limit *l, const Bound *b, bool is_exclusive, int sign) {
        int order;

        if (!b)
                return;
        order = l->bound ? sign * mam_json_decimal_compare(&b->decimal, &l->bound->decimal) : 1;
        if (order > 0 || (order == 0 && is_exclusive && !l->is_exclusive))
                *l = (Limit){ b, is_exclusive };
}

static Limit limit_of(const View *n, int sign) {
        Limit l = { 0 };

        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                tighten(&l, sign > 0 ? o->minimum : o->maximum, false, sign);
                tighten(&l, sign > 0 ? o->exclusive_minimum : o->exclusive_maximum, true, sign);
        }
        return l;
}

static int covers_bound(
                Comparison *c,
                const Bound *b,
                bool is_exclusive,
                const View *n,
                int sign,
                const char *keyword,
                const Step *at) {
        Limit l;
        int order;

        if (!b)
                return 0;
        l = limit_of(n, sign);
        order = l.bound ? sign * mam_json_decimal_compare(&l.bound->decimal, &b->decimal) : -1;
        if (order > 0 || (order == 0 && (l.is_exclusive || !is_exclusive)))
                return 0;
        return mam_json_differ(
                        c,
                        at,
                        "%s allows numbers beyond %.40s, the bound in %s (%s)",
                        mam_json_narrow_name(c),
                        mam_json_to_string(b->value),
                        mam_json_wide_name(c),
                        keyword);
}

static int covers_divisor(Comparison *c, const Node *w, const View *n, const Step *at) {
        static const MamJsonDecimal one = { .n = 1, .digits = { 1 } };
        const MamJsonDecimal *d;
        uint64_t steps = 0;

        if (!w->multiple_of)
                return 0;
        d = &w->multiple_of->decimal;
        if (!(mam_json_view_types(n) & TYPE_FRACTION) && mam_json_decimal_is_multiple(&one, d, &steps))
                return 0;
        for (size_t i = 0; i < n->n; i++)
                if (n->nodes[i]->multiple_of &&
                    mam_json_decimal_is_multiple(&n->nodes[i]->multiple_of->decimal, d, &steps))
                        return 0;
        return mam_json_differ(
                        c,
                        at,
                        "%s allows numbers that are not a multiple of %.40s as in %s (multipleOf)",
                        mam_json_narrow_name(c),
                        mam_json_to_string(w->multiple_of->value),
                        mam_json_wide_name(c));
}

static int covers_number(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r;

        r = covers_bound(c, w->minimum, false, n, 1, "minimum", at);
        if (r >= 0)
                r = covers_bound(c, w->exclusive_minimum, true, n, 1, "exclusiveMinimum", at);
        if (r >= 0)
                r = covers_bound(c, w->maximum, false, n, -1, "maximum", at);
        if (r >= 0)
                r = covers_bound(c, w->exclusive_maximum, true, n, -1, "exclusiveMaximum", at);
        return r < 0 ? r : covers_divisor(c, w, n, at);
}

static int covers_string(Comparison *c, const Node *w, const View *n, const Step *at) {
        int64_t min = 0, max = INT64_MAX;
        bool pattern = !w->pattern, format = !w->format;

        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                min = o->min_length > min ? o->min_length : min;
                max = o->max_length < max ? o->max_length : max;
                pattern = pattern || (o->pattern && strcmp(o->pattern->text, w->pattern->text) == 0);
                format = format || (o->format && strcmp(o->format_name, w->format_name) == 0);
        }
        if (min < w->min_length)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows strings shorter than %" PRIi64 ", %s does not (minLength)",
                                mam_json_narrow_name(c),
                                w->min_length,
                                mam_json_wide_name(c));
        if (max > w->max_length)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows strings longer than %" PRIi64 ", %s does not (maxLength)",
                                mam_json_narrow_name(c),
                                w->max_length,
                                mam_json_wide_name(c));
        if (!pattern)
                return mam_json_differ(
                                c,
                                at,
                                "%s has a pattern that %s has not; two patterns are not compared (pattern)",
                                mam_json_wide_name(c),
                                mam_json_narrow_name(c));
        if (!format)
                return mam_json_differ(
                                c,
                                at,
                                "%s has the format %.30s, %s has not (format)",
                                mam_json_wide_name(c),
                                w->format_name,
                                mam_json_narrow_name(c));
        return 0;
}

/* ---- combinations ---- */

static int covers_any_of(Comparison *c, const Node *w, const View *n, const Step *at) {
        uint8_t types = mam_json_view_types(n);
        int r = -EBADMSG;

        for (size_t i = 0; i < w->any_of.n; i++) {
                r = mam_json_covers_quietly(c, w->any_of.items[i], n, at);
                if (r != -EBADMSG)
                        return r;
        }
        /* Each type may be covered by another alternative. */
        for (unsigned t = 1; t < TYPE_ANY && (types & (types - 1)) != 0; t <<= 1) {
                View one = *n;

                if (!(types & t))
                        continue;
                one.types = (uint8_t) t;
                r = -EBADMSG;
                for (size_t i = 0; i < w->any_of.n && r == -EBADMSG; i++)
                        r = mam_json_covers_quietly(c, w->any_of.items[i], &one, at);
                if (r < 0)
                        break;
        }
        if (r != -EBADMSG)
                return r;
        return mam_json_differ(
                        c,
                        at,
                        "no alternative of %s is seen to cover %s (anyOf)",
                        mam_json_wide_name(c),
                        mam_json_narrow_name(c));
}

/* The constant values of a property; NULL: it has none. */
static bool constants_of(const View *v, json_object **ret, bool *ret_is_list) {
        for (size_t i = 0; i < v->n; i++) {
                if (v->nodes[i]->has_const || v->nodes[i]->enum_values) {
                        *ret_is_list = !v->nodes[i]->has_const;
                        *ret = *ret_is_list ? v->nodes[i]->enum_values : v->nodes[i]->const_value;
                        return true;
                }
        }
        return false;
}

static bool have_common(json_object *a, bool a_is_list, json_object *b, bool b_is_list, uint64_t *steps) {
        size_t n = a_is_list ? json_object_array_length(a) : 1,
               m = b_is_list ? json_object_array_length(b) : 1;

        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < m; j++)
                        if (mam_json_equal(a_is_list ? json_object_array_get_idx(a, i) : a,
                                           b_is_list ? json_object_array_get_idx(b, j) : b,
                                           steps) ||
                            *steps == 0)
                                return true;
        return false;
}

/* Certainly no value fits both. */
static bool are_disjoint(Comparison *c, const Node *w, const View *n) {
        View other;

        mam_json_view_init(&other);
        mam_json_view_add(&other, w);
        if (other.is_false || (mam_json_view_types(&other) & mam_json_view_types(n)) == 0)
                return true;
        if (mam_json_view_types(n) != TYPE_OBJECT)
                return false;
        for (size_t i = 0; i < other.n; i++)
                for (size_t j = 0; j < other.nodes[i]->properties.n; j++) {
                        const Property *p = &other.nodes[i]->properties.items[j];
                        json_object *a = NULL, *b = NULL;
                        bool a_is_list = false, b_is_list = false;
                        View mine, yours;

                        if (!mam_json_view_requires(n, p->name))
                                continue;
                        mam_json_view_init(&yours);
                        mam_json_view_add(&yours, p->node);
                        mam_json_view_property(c, n, p->name, &mine);
                        if (yours.is_false || mine.is_false)
                                return true;
                        if (constants_of(&mine, &a, &a_is_list) && constants_of(&yours, &b, &b_is_list) &&
                            !have_common(a, a_is_list, b, b_is_list, &c->validation.steps))
                                return true;
                }
        return false;
}

static int are_equivalent(Comparison *c, const Node *a, const Node *b, const Step *at) {
        View v;
        int r;

        mam_json_view_init(&v);
        mam_json_view_add(&v, b);
        r = mam_json_covers_quietly(c, a, &v, at);
        if (r < 0)
                return r;
        mam_json_view_init(&v);
        mam_json_view_add(&v, a);
        return mam_json_covers_quietly(c, b, &v, at);
}

static int covers_one_of(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r = -EBADMSG;

        for (size_t i = 0; i < w->one_of.n; i++) {
                bool alone = true;

                r = mam_json_covers_quietly(c, w->one_of.items[i], n, at);
                if (r == -EBADMSG)
                        continue;
                if (r < 0)
                        return r;
                for (size_t j = 0; j < w->one_of.n && alone; j++)
                        alone = j == i || are_disjoint(c, w->one_of.items[j], n);
                if (alone)
                        return 0;
        }
        /* The same alternatives in the same order. */
        for (size_t i = 0; i < n->n; i++) {
                const NodeList *l = &n->nodes[i]->one_of;

                if (l->n != w->one_of.n)
                        continue;
                r = 0;
                for (size_t j = 0; j < l->n && r >= 0; j++)
                        r = are_equivalent(c, w->one_of.items[j], l->items[j], at);
                if (r != -EBADMSG)
                        return r;
        }
        return mam_json_differ(
                        c,
                        at,
                        "%s is not seen to fit exactly one alternative of %s (oneOf)",
                        mam_json_narrow_name(c),
                        mam_json_wide_name(c));
}

static int covers_not(Comparison *c, const Node *w, const View *n, const Step *at) {
        View excluded;
        int r;

        if (are_disjoint(c, w->not_schema, n))
                return 0;
        mam_json_view_init(&excluded);
        mam_json_view_add(&excluded, w->not_schema);
        for (size_t i = 0; i < n->n; i++) {
                if (!n->nodes[i]->not_schema)
                        continue;
                c->is_swapped = !c->is_swapped;
                r = mam_json_covers_quietly(c, n->nodes[i]->not_schema, &excluded, at);
                c->is_swapped = !c->is_swapped;
                if (r != -EBADMSG)
                        return r;
        }
        return mam_json_differ(
                        c,
                        at,
                        "%s is not seen to exclude what %s excludes (not)",
                        mam_json_narrow_name(c),
                        mam_json_wide_name(c));
}

static int covers_branch(Comparison *c, const Node *w, const View *n, const Node *more, const Step *at) {
        View v = *n;

        if (!w)
                return 0;
        mam_json_view_add(&v, more);
        return mam_json_covers_quietly(c, w, &v, at);
}

static int covers_condition(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r;

        r = covers_branch(c, w->then_schema, n, w->if_schema, at);
        if (r >= 0)
                r = covers_branch(c, w->else_schema, n, NULL, at);
        for (size_t i = 0; i < n->n && r == -EBADMSG; i++) {
                const Node *o = n->nodes[i];

                if (!o->if_schema)
                        continue;
                r = are_equivalent(c, w->if_schema, o->if_schema, at);
                if (r >= 0)
                        r = covers_branch(c, w->then_schema, n, o->then_schema, at);
                if (r >= 0)
                        r = covers_branch(c, w->else_schema, n, o->else_schema, at);
        }
        if (r != -EBADMSG)
                return r;
        return mam_json_differ(
                        c,
                        at,
                        "the condition of %s is not seen to hold in %s (if)",
                        mam_json_wide_name(c),
                        mam_json_narrow_name(c));
}

/* ---- the frame ---- */

static int covers_combinations(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r = 0;

        if (w->ref)
                r = mam_json_covers(c, w->ref, n, at, NULL);
        if (r >= 0 && w->is_dynamic)
                r = mam_json_differ(c, at, "$dynamicRef in %s cannot be judged", mam_json_wide_name(c));
        if (r >= 0 && w->dynamic_ref)
                r = mam_json_covers(c, w->dynamic_ref, n, at, NULL);
        for (size_t i = 0; i < w->all_of.n && r >= 0; i++)
                r = mam_json_covers(c, w->all_of.items[i], n, at, NULL);
        if (r >= 0 && w->any_of.n > 0)
                r = covers_any_of(c, w, n, at);
        if (r >= 0 && w->one_of.n > 0)
                r = covers_one_of(c, w, n, at);
        if (r >= 0 && w->not_schema)
                r = covers_not(c, w, n, at);
        if (r >= 0 && w->if_schema && (w->then_schema || w->else_schema))
                r = covers_condition(c, w, n, at);
        return r;
}

static int covers_directly(Comparison *c, const Node *w, const View *n, const Step *at) {
        uint8_t types = mam_json_view_types(n);
        bool done;
        int r;

        if (types == 0)
                return 0;
        if (w->kind == NODE_FALSE)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows %s here, %s allows nothing",
                                mam_json_narrow_name(c),
                                types == TYPE_ANY ? "anything" : type_name(types),
                                mam_json_wide_name(c));
        r = covers_values(c, w, n, at, &done);
        if (r < 0 || done)
                return r;
        if (w->parts & 1U << PART_TYPE && types & ~w->types)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows %s, %s does not (type)",
                                mam_json_narrow_name(c),
                                type_name(types & ~(unsigned) w->types),
                                mam_json_wide_name(c));
        if (w->has_const || w->enum_values)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows only certain values, %s more (enum, const)",
                                mam_json_wide_name(c),
                                mam_json_narrow_name(c));
        if (types & TYPE_NUMBER)
                r = covers_number(c, w, n, at);
        if (r >= 0 && types & TYPE_STRING)
                r = covers_string(c, w, n, at);
        if (r >= 0 && types & TYPE_ARRAY)
                r = mam_json_covers_array(c, w, n, at);
        if (r >= 0 && types & TYPE_OBJECT)
                r = mam_json_covers_object(c, w, n, at);
        return r < 0 ? r : covers_combinations(c, w, n, at);
}

/* Goes into the narrow side's alternatives, the first ones that were not gone into yet. -EBADMSG also: there
 * are none. */
static int covers_cases(Comparison *c, const Node *w, const View *n, const Step *at) {
        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];
                const NodeList *l = o->any_of.n > 0 ? &o->any_of : &o->one_of;
                int r = 0;

                if (l->n == 0 || n->split >> i & 1)
                        continue;
                for (size_t j = 0; j < l->n && r >= 0; j++) {
                        View v = *n;

                        v.split |= UINT64_C(1) << i;
                        mam_json_view_add(&v, l->items[j]);
                        r = mam_json_covers_quietly(c, w, &v, at);
                }
                if (r != -EBADMSG)
                        return r;
        }
        return -EBADMSG;
}

static bool are_same(const View *a, const View *b) {
        return a->n == b->n && a->types == b->types && a->is_false == b->is_false && a->split == b->split &&
               memcmp(a->nodes, b->nodes, a->n * sizeof(Node *)) == 0;
}

int mam_json_covers(
                Comparison *c,
                const Node *wide,
                const View *narrow,
                const Step *parent,
                const char *key) {
        const Step at = { parent, key, wide, narrow };
        MamJsonError said;
        int r, k;

        if (wide->kind == NODE_TRUE || narrow->is_false)
                return 0;
        if (!mam_json_spend(&c->validation, 16 + narrow->n))
                return too_much(c);
        if (c->depth >= DEPTH_MAX)
                return mam_json_differ(c, &at, "is nested too deeply to be judged");
        for (const Step *s = parent; s; s = s->parent)
                if (s->wide == wide && are_same(s->narrow, narrow))
                        return 0;
        c->depth++;
        r = covers_directly(c, wide, narrow, &at);
        if (r == -EBADMSG) {
                if (c->error)
                        said = *c->error;
                k = covers_cases(c, wide, narrow, &at);
                if (k != -EBADMSG)
                        r = k;
                else if (c->error)
                        *c->error = said;
        }
        c->depth--;
        return r;
}

int mam_json_covers_quietly(Comparison *c, const Node *wide, const View *narrow, const Step *parent) {
        int r;

        c->quiet++;
        r = mam_json_covers(c, wide, narrow, parent, NULL);
        c->quiet--;
        return r;
}

int mam_json_schema_covers(
                const MamJsonSchema *wide,
                const MamJsonSchema *narrow,
                const char *wide_name,
                const char *narrow_name,
                MamJsonError *error) {
        Comparison c = {
                .validation = { .schema = wide, .parent = "", .steps = wide->steps_max },
                .wide_name = wide_name,
                .narrow_name = narrow_name,
                .error = error,
                .has_dynamic = wide->has_dynamic || narrow->has_dynamic,
        };
        View v;
        int r;

        assert(wide_name);
        assert(narrow_name);

        mam_json_view_init(&v);
        mam_json_view_add(&v, narrow->root);
        r = mam_json_covers(&c, wide->root, &v, NULL, NULL);
        pcre2_match_data_free(c.validation.match);
        pcre2_match_context_free(c.validation.match_context);
        return r;
}
