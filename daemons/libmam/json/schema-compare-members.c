/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Does one schema cover another? Arrays and objects
 *
 * "Other" names are those that neither side mentions: what holds for one of them holds for all, but for
 * patterns, which are looked at by themselves.
 */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/schema-compare.h"

/* ---- what a node looks at, whatever the value ---- */

typedef enum Evaluated {
        EVALUATED_NO,
        EVALUATED_YES,
        EVALUATED_PERHAPS, /* it depends on the value */
} Evaluated;

static bool has_pattern(const Node *n, const char *text) {
        for (size_t i = 0; i < n->pattern_properties.n; i++)
                if (strcmp(n->pattern_properties.items[i].name, text) == 0)
                        return true;
        return false;
}

/* Whether a pattern matches; an error counts as perhaps. */
static Evaluated pattern_fits(Comparison *c, const Pattern *p, const char *name) {
        static const Spot nowhere = { 0 };
        int r;

        c->validation.quiet++;
        r = mam_json_pattern_matches(&c->validation, p, name, strlen(name), &nowhere);
        c->validation.quiet--;
        return r < 0 ? EVALUATED_PERHAPS : r > 0 ? EVALUATED_YES : EVALUATED_NO;
}

/* By this node's own properties, patterns, additionalProperties. name NULL: another one, matching nothing.
 */
static Evaluated evaluates_itself(Comparison *c, const Node *n, const char *name) {
        Evaluated result = n->additional_properties ? EVALUATED_YES : EVALUATED_NO;

        if (!name)
                return result;
        if (mam_json_property_find(&n->properties, name))
                return EVALUATED_YES;
        for (size_t i = 0; i < n->pattern_properties.n && result != EVALUATED_YES; i++) {
                Evaluated e = pattern_fits(c, n->pattern_properties.items[i].pattern, name);

                result = e == EVALUATED_NO ? result : e;
        }
        return result;
}

static Evaluated evaluates(Comparison *c, const Node *n, const char *name, unsigned depth) {
        Evaluated result;

        if (n->kind != NODE_OBJECT)
                return EVALUATED_NO;
        if (depth > VIEW_MAX)
                return EVALUATED_PERHAPS;
        result = evaluates_itself(c, n, name);
        if (result == EVALUATED_YES)
                return result;
        if (depth > 0 && n->unevaluated_properties)
                return EVALUATED_YES;
        if (n->is_dynamic || n->any_of.n > 0 || n->one_of.n > 0 || n->if_schema ||
            n->dependent_schemas.n > 0)
                result = EVALUATED_PERHAPS;
        const Node *const singles[] = { n->ref, n->is_dynamic ? NULL : n->dynamic_ref };
        for (size_t i = 0; i < MAM_ELEMENTSOF(singles) + n->all_of.n; i++) {
                const Node *o = i < MAM_ELEMENTSOF(singles) ? singles[i]
                                                            : n->all_of.items[i - MAM_ELEMENTSOF(singles)];
                Evaluated e = o ? evaluates(c, o, name, depth + 1) : EVALUATED_NO;

                if (e == EVALUATED_YES)
                        return e;
                result = e == EVALUATED_PERHAPS ? e : result;
        }
        return result;
}

/* The same for the item at an index; contains evaluates, too. */
static Evaluated evaluates_item(const Node *n, size_t index, unsigned depth) {
        Evaluated result = EVALUATED_NO;

        if (n->kind != NODE_OBJECT)
                return result;
        if (depth > VIEW_MAX)
                return EVALUATED_PERHAPS;
        if (n->items || index < n->prefix_items.n || (depth > 0 && n->unevaluated_items))
                return EVALUATED_YES;
        if (n->is_dynamic || n->any_of.n > 0 || n->one_of.n > 0 || n->if_schema ||
            n->dependent_schemas.n > 0 || n->contains)
                result = EVALUATED_PERHAPS;
        const Node *const singles[] = { n->ref, n->is_dynamic ? NULL : n->dynamic_ref };
        for (size_t i = 0; i < MAM_ELEMENTSOF(singles) + n->all_of.n; i++) {
                const Node *o = i < MAM_ELEMENTSOF(singles) ? singles[i]
                                                            : n->all_of.items[i - MAM_ELEMENTSOF(singles)];
                Evaluated e = o ? evaluates_item(o, index, depth + 1) : EVALUATED_NO;

                if (e == EVALUATED_YES)
                        return e;
                result = e == EVALUATED_PERHAPS ? e : result;
        }
        return result;
}

/* ---- views ---- */

static void add_property(Comparison *c, View *ret, const Node *n, const char *name) {
        const Property *p = mam_json_property_find(&n->properties, name);

        if (p)
                mam_json_view_add(ret, p->node);
        for (size_t i = 0; i < n->pattern_properties.n; i++)
                if (pattern_fits(c, n->pattern_properties.items[i].pattern, name) == EVALUATED_YES)
                        mam_json_view_add(ret, n->pattern_properties.items[i].node);
        if (n->additional_properties && !p) {
                for (size_t i = 0; i < n->pattern_properties.n; i++)
                        if (pattern_fits(c, n->pattern_properties.items[i].pattern, name) != EVALUATED_NO)
                                return;
                mam_json_view_add(ret, n->additional_properties);
        }
}

void mam_json_view_property(Comparison *c, const View *n, const char *name, View *ret) {
        mam_json_view_init(ret);
        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                add_property(c, ret, o, name);
                if (o->unevaluated_properties && evaluates(c, o, name, 0) == EVALUATED_NO)
                        mam_json_view_add(ret, o->unevaluated_properties);
        }
}

/* Another name that matches none of the narrow side's patterns. */
static void view_others(Comparison *c, const View *n, View *ret) {
        mam_json_view_init(ret);
        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                mam_json_view_add(ret, o->additional_properties);
                if (o->unevaluated_properties && evaluates(c, o, NULL, 0) == EVALUATED_NO)
                        mam_json_view_add(ret, o->unevaluated_properties);
        }
}

/* Another name that matches this pattern, and perhaps more. */
static void view_pattern(const View *n, const char *text, View *ret) {
        mam_json_view_init(ret);
        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                for (size_t j = 0; j < o->pattern_properties.n; j++)
                        if (strcmp(o->pattern_properties.items[j].name, text) == 0)
                                mam_json_view_add(ret, o->pattern_properties.items[j].node);
                if (o->pattern_properties.n == 0)
                        mam_json_view_add(ret, o->additional_properties);
        }
}

bool mam_json_view_requires(const View *n, const char *name) {
        for (size_t i = 0; i < n->n; i++)
                for (size_t j = 0; j < n->nodes[i]->required.n; j++)
                        if (strcmp(n->nodes[i]->required.items[j], name) == 0)
                                return true;
        return false;
}

static bool forbids(Comparison *c, const View *n, const char *name) {
        View v;

        mam_json_view_property(c, n, name, &v);
        return mam_json_view_types(&v) == 0;
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

/* ---- objects ---- */

/* What the wide side says of a property that either mentions. */
static int covers_name(Comparison *c, const Node *w, const View *n, const char *name, const Step *at) {
        const Property *p = mam_json_property_find(&w->properties, name);
        Evaluated own = p ? EVALUATED_YES : EVALUATED_NO;
        View v;
        int r = 0;

        if (!mam_json_spend(&c->validation, 4 + n->n))
                return too_much(c);
        mam_json_view_property(c, n, name, &v);
        if (p)
                r = mam_json_covers(c, p->node, &v, at, name);
        for (size_t i = 0; i < w->pattern_properties.n && r >= 0; i++) {
                Evaluated e = pattern_fits(c, w->pattern_properties.items[i].pattern, name);

                if (e == EVALUATED_NO)
                        continue;
                own = e == EVALUATED_YES || own == EVALUATED_NO ? e : own;
                r = mam_json_covers(c, w->pattern_properties.items[i].node, &v, at, name);
        }
        if (r >= 0 && own != EVALUATED_YES && w->additional_properties) {
                r = mam_json_covers(c, w->additional_properties, &v, at, name);
                own = EVALUATED_YES;
        }
        if (r >= 0 && w->unevaluated_properties && evaluates(c, w, name, 0) != EVALUATED_YES)
                r = mam_json_covers(c, w->unevaluated_properties, &v, at, name);
        return r;
}

static int covers_names(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r = 0;

        for (size_t i = 0; i < w->properties.n && r >= 0; i++)
                r = covers_name(c, w, n, w->properties.items[i].name, at);
        for (size_t i = 0; i < n->n; i++) {
                const PropertyList *l = &n->nodes[i]->properties;

                for (size_t j = 0; j < l->n && r >= 0; j++)
                        if (!mam_json_property_find(&w->properties, l->items[j].name))
                                r = covers_name(c, w, n, l->items[j].name, at);
        }
        return r;
}

/* Names that no properties mention: patterns of the wide side. */
static int covers_patterns(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r = 0;

        for (size_t i = 0; i < w->pattern_properties.n && r >= 0; i++) {
                View v;

                view_pattern(n, w->pattern_properties.items[i].name, &v);
                r = mam_json_covers(c, w->pattern_properties.items[i].node, &v, at, "*");
        }
        return r;
}

static bool any_has_pattern(const Node *w, const char *text, unsigned depth) {
        if (!w || depth > VIEW_MAX)
                return false;
        if (has_pattern(w, text) || any_has_pattern(w->ref, text, depth + 1))
                return true;
        for (size_t i = 0; i < w->all_of.n; i++)
                if (any_has_pattern(w->all_of.items[i], text, depth + 1))
                        return true;
        return false;
}

/* All other names, for which the wide side has the schema s; where a pattern of its own (in deep: also of
 * what it consists of) applies, s does not. */
static int covers_others(
                Comparison *c,
                const Node *w,
                const Node *s,
                const View *n,
                bool deep,
                const Step *at) {
        View v;
        int r;

        if (!s)
                return 0;
        view_others(c, n, &v);
        r = mam_json_covers(c, s, &v, at, "*");
        for (size_t i = 0; i < n->n && r >= 0; i++) {
                const PropertyList *l = &n->nodes[i]->pattern_properties;

                for (size_t j = 0; j < l->n && r >= 0; j++) {
                        if (deep ? any_has_pattern(w, l->items[j].name, 0)
                                 : has_pattern(w, l->items[j].name))
                                continue;
                        view_pattern(n, l->items[j].name, &v);
                        r = mam_json_covers(c, s, &v, at, "*");
                }
        }
        return r;
}

static int covers_required(Comparison *c, const Node *w, const View *n, const Step *at) {
        for (size_t i = 0; i < w->required.n; i++) {
                if (!mam_json_spend(&c->validation, 1 + n->n))
                        return too_much(c);
                if (!mam_json_view_requires(n, w->required.items[i]))
                        return mam_json_differ(
                                        c,
                                        at,
                                        "%s requires \"%.80s\", %s does not (required)",
                                        mam_json_wide_name(c),
                                        w->required.items[i],
                                        mam_json_narrow_name(c));
        }
        return 0;
}

static bool depends(const View *n, const char *name, const char *need) {
        for (size_t i = 0; i < n->n; i++) {
                const DependencyList *l = &n->nodes[i]->dependent_required;

                for (size_t j = 0; j < l->n; j++)
                        for (size_t k = 0; k < l->items[j].needs.n && strcmp(l->items[j].name, name) == 0;
                             k++)
                                if (strcmp(l->items[j].needs.items[k], need) == 0)
                                        return true;
        }
        return false;
}

static int covers_dependencies(Comparison *c, const Node *w, const View *n, const Step *at) {
        for (size_t i = 0; i < w->dependent_required.n; i++) {
                const Dependency *d = &w->dependent_required.items[i];

                if (forbids(c, n, d->name))
                        continue;
                for (size_t j = 0; j < d->needs.n; j++) {
                        if (!mam_json_spend(&c->validation, 4 + n->n))
                                return too_much(c);
                        if (!mam_json_view_requires(n, d->needs.items[j]) &&
                            !depends(n, d->name, d->needs.items[j]) &&
                            strcmp(d->name, d->needs.items[j]) != 0)
                                return mam_json_differ(
                                                c,
                                                at,
                                                "%s requires \"%.50s\" beside \"%.50s\", %s does not (dependentRequired)",
                                                mam_json_wide_name(c),
                                                d->needs.items[j],
                                                d->name,
                                                mam_json_narrow_name(c));
                }
        }
        return 0;
}

static int covers_dependents(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r;

        for (size_t i = 0; i < w->dependent_schemas.n; i++) {
                const Property *p = &w->dependent_schemas.items[i];
                View v = *n;

                if (forbids(c, n, p->name))
                        continue;
                for (size_t j = 0; j < n->n; j++) {
                        const Property *q = mam_json_property_find(&n->nodes[j]->dependent_schemas, p->name);

                        if (q)
                                mam_json_view_add(&v, q->node);
                }
                r = mam_json_covers(c, p->node, &v, at, NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int covers_property_names(Comparison *c, const Node *w, const View *n, const Step *at) {
        View v;

        if (!w->property_names)
                return 0;
        mam_json_view_init(&v);
        v.types = TYPE_STRING;
        for (size_t i = 0; i < n->n; i++)
                mam_json_view_add(&v, n->nodes[i]->property_names);
        if (mam_json_covers_quietly(c, w->property_names, &v, at) >= 0)
                return 0;
        return mam_json_differ(
                        c,
                        at,
                        "%s is not seen to allow only names that %s allows (propertyNames)",
                        mam_json_narrow_name(c),
                        mam_json_wide_name(c));
}

static int covers_counts(
                Comparison *c,
                const Step *at,
                const char *what,
                int64_t min,
                int64_t wide_min,
                int64_t max,
                int64_t wide_max) {
        if (min < wide_min)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows less than %" PRIi64 " %s, %s does not",
                                mam_json_narrow_name(c),
                                wide_min,
                                what,
                                mam_json_wide_name(c));
        if (max > wide_max)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows more than %" PRIi64 " %s, %s does not",
                                mam_json_narrow_name(c),
                                wide_max,
                                what,
                                mam_json_wide_name(c));
        return 0;
}

int mam_json_covers_object(Comparison *c, const Node *w, const View *n, const Step *at) {
        int64_t min = 0, max = INT64_MAX;
        int r;

        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                min = o->min_properties > min ? o->min_properties : min;
                max = o->max_properties < max ? o->max_properties : max;
        }
        r = covers_counts(c, at, "properties", min, w->min_properties, max, w->max_properties);
        if (r >= 0)
                r = covers_required(c, w, n, at);
        if (r >= 0)
                r = covers_dependencies(c, w, n, at);
        if (r >= 0)
                r = covers_dependents(c, w, n, at);
        if (r >= 0)
                r = covers_property_names(c, w, n, at);
        if (r >= 0)
                r = covers_names(c, w, n, at);
        if (r >= 0)
                r = covers_patterns(c, w, n, at);
        if (r >= 0)
                r = covers_others(c, w, w->additional_properties, n, false, at);
        if (r >= 0 && w->unevaluated_properties && evaluates(c, w, NULL, 0) != EVALUATED_YES)
                r = covers_others(c, w, w->unevaluated_properties, n, true, at);
        return r;
}

/* ---- arrays ---- */

static void view_item(const View *n, size_t index, View *ret) {
        mam_json_view_init(ret);
        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];

                mam_json_view_add(ret, index < o->prefix_items.n ? o->prefix_items.items[index] : o->items);
                if (o->unevaluated_items && evaluates_item(o, index, 0) == EVALUATED_NO)
                        mam_json_view_add(ret, o->unevaluated_items);
        }
}

static int covers_item(
                Comparison *c,
                const Node *w,
                const View *n,
                size_t index,
                bool is_last,
                const Step *at) {
        const Node *s = index < w->prefix_items.n ? w->prefix_items.items[index] : w->items;
        char key[24] = "*";
        View v;
        int r = 0;

        if (!mam_json_spend(&c->validation, 4 + n->n))
                return too_much(c);
        if (!is_last)
                (void) snprintf(key, sizeof(key), "%zu", index);
        view_item(n, index, &v);
        if (s)
                r = mam_json_covers(c, s, &v, at, key);
        if (r >= 0 && w->unevaluated_items && evaluates_item(w, index, 0) != EVALUATED_YES)
                r = mam_json_covers(c, w->unevaluated_items, &v, at, key);
        return r;
}

/* The longest list of prefixItems in what a node consists of. */
static size_t prefix_of(const Node *n, unsigned depth) {
        size_t longest, more;

        if (!n || depth > VIEW_MAX)
                return 0;
        longest = n->prefix_items.n;
        more = prefix_of(n->ref, depth + 1);
        longest = more > longest ? more : longest;
        for (size_t i = 0; i < n->all_of.n; i++) {
                more = prefix_of(n->all_of.items[i], depth + 1);
                longest = more > longest ? more : longest;
        }
        return longest;
}

static int covers_contains(Comparison *c, const Node *w, const View *n, const Step *at) {
        int r = -EBADMSG;

        if (!w->contains || (w->min_contains == 0 && w->max_contains == INT64_MAX))
                return 0;
        for (size_t i = 0; i < n->n && r == -EBADMSG; i++) {
                const Node *o = n->nodes[i];
                View v;

                if (!o->contains || o->min_contains < w->min_contains || o->max_contains > w->max_contains)
                        continue;
                r = 0;
                if (w->min_contains > 0) {
                        mam_json_view_init(&v);
                        mam_json_view_add(&v, o->contains);
                        r = mam_json_covers_quietly(c, w->contains, &v, at);
                }
                if (r >= 0 && w->max_contains < INT64_MAX) {
                        mam_json_view_init(&v);
                        mam_json_view_add(&v, w->contains);
                        r = mam_json_covers_quietly(c, o->contains, &v, at);
                }
        }
        if (r != -EBADMSG)
                return r;
        return mam_json_differ(
                        c,
                        at,
                        "%s is not seen to contain what %s must contain (contains)",
                        mam_json_narrow_name(c),
                        mam_json_wide_name(c));
}

int mam_json_covers_array(Comparison *c, const Node *w, const View *n, const Step *at) {
        int64_t min = 0, max = INT64_MAX;
        size_t prefix = prefix_of(w, 0);
        bool unique = false;
        int r;

        for (size_t i = 0; i < n->n; i++) {
                const Node *o = n->nodes[i];
                size_t more = prefix_of(o, 0);

                min = o->min_items > min ? o->min_items : min;
                max = o->max_items < max ? o->max_items : max;
                unique = unique || o->is_unique;
                prefix = more > prefix ? more : prefix;
        }
        r = covers_counts(c, at, "items", min, w->min_items, max, w->max_items);
        if (r < 0)
                return r;
        if (w->is_unique && !unique && max > 1)
                return mam_json_differ(
                                c,
                                at,
                                "%s allows equal items, %s does not (uniqueItems)",
                                mam_json_narrow_name(c),
                                mam_json_wide_name(c));
        for (size_t i = 0; i <= prefix && (int64_t) i < max && r >= 0; i++)
                r = covers_item(c, w, n, i, i == prefix, at);
        return r < 0 ? r : covers_contains(c, w, n, at);
}
