/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Validation: keywords that apply schemas to members, to items, and to the value as a whole
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/schema-validate.h"

static int out_of_steps(Validation *v, const Spot *spot) {
        return mam_json_exhausted(v, spot, "cannot be checked: it takes more work than is allowed");
}

/* Without saying what does not fit. */
static int evaluate_quietly(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int r;

        v->quiet++;
        r = mam_json_evaluate(v, n, o, spot, scope, seen);
        v->quiet--;
        return r;
}

/* The same, and counts in seen what was evaluated if it fits. */
static int try_branch(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        Seen own;
        int r;

        if (!seen)
                return evaluate_quietly(v, n, o, spot, scope, NULL);
        if (!mam_json_spend(v, seen->n / 32))
                return out_of_steps(v, spot);
        r = mam_json_seen_init(&own, o);
        if (r < 0)
                return r;
        r = evaluate_quietly(v, n, o, spot, scope, &own);
        if (r > 0)
                mam_json_seen_merge(seen, &own);
        mam_json_seen_done(&own);
        return r;
}

/* ---- arrays ---- */

typedef struct Hashed {
        uint64_t hash;
        size_t index;
} Hashed;

static int compare_hashed(const void *a, const void *b) {
        const Hashed *x = a, *y = b;

        if (x->hash != y->hash)
                return x->hash < y->hash ? -1 : 1;
        return (x->index > y->index) - (x->index < y->index);
}

static int check_unique(Validation *v, json_object *o, const Spot *spot) {
        _cleanup_(mam_freep) Hashed *items = NULL;
        size_t n = json_object_array_length(o);

        if (n < 2)
                return 1;
        items = malloc(n * sizeof(*items));
        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                items[i] = (Hashed){ mam_json_hash(json_object_array_get_idx(o, i), &v->steps), i };
        if (!mam_json_spend(v, n))
                return out_of_steps(v, spot);
        qsort(items, n, sizeof(*items), compare_hashed);
        for (size_t i = 0; i < n; i++)
                for (size_t j = i + 1; j < n && items[j].hash == items[i].hash; j++) {
                        if (mam_json_equal(json_object_array_get_idx(o, items[i].index),
                                           json_object_array_get_idx(o, items[j].index),
                                           &v->steps))
                                return mam_json_reject(
                                                v,
                                                spot,
                                                "uniqueItems",
                                                "items %zu and %zu are equal",
                                                items[i].index,
                                                items[j].index);
                        if (v->steps == 0)
                                return out_of_steps(v, spot);
                }
        return v->steps > 0 ? 1 : out_of_steps(v, spot);
}

static int check_contains(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int64_t count = 0;
        int r;

        for (size_t i = 0; i < json_object_array_length(o); i++) {
                const Spot inner = { spot, NULL, i };

                r = evaluate_quietly(v, n->contains, json_object_array_get_idx(o, i), &inner, scope, NULL);
                if (r < 0)
                        return r;
                if (r > 0) {
                        count++;
                        mam_json_seen_mark(seen, i);
                }
        }
        if (count < n->min_contains && n->min_contains == 1)
                return mam_json_reject(v, spot, "contains", "none of its items fits what it must contain");
        if (count < n->min_contains)
                return mam_json_reject(
                                v,
                                spot,
                                "minContains",
                                "must contain at least %" PRIi64 " items that fit, has %" PRIi64,
                                n->min_contains,
                                count);
        if (count > n->max_contains)
                return mam_json_reject(
                                v,
                                spot,
                                "maxContains",
                                "must contain at most %" PRIi64 " items that fit, has %" PRIi64,
                                n->max_contains,
                                count);
        return 1;
}

static int check_items(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        size_t count = json_object_array_length(o);
        int ok = 1, r;

        if (!n->items && count > n->prefix_items.n)
                count = n->prefix_items.n;
        for (size_t i = 0; i < count; i++) {
                const Spot inner = { spot, NULL, i };

                r = mam_json_evaluate(
                                v,
                                i < n->prefix_items.n ? n->prefix_items.items[i] : n->items,
                                json_object_array_get_idx(o, i),
                                &inner,
                                scope,
                                NULL);
                if (r < 0)
                        return r;
                if (r == 0) {
                        ok = 0;
                        if (mam_json_is_decided(v))
                                return 0;
                }
                mam_json_seen_mark(seen, i);
        }
        return ok;
}

int mam_json_check_array(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int64_t count;
        int ok = 1, r;

        if (!json_object_is_type(o, json_type_array))
                return 1;
        count = (int64_t) json_object_array_length(o);
        if (count < n->min_items)
                ok =
                                mam_json_reject(v,
                                                spot,
                                                "minItems",
                                                "must have at least %" PRIi64 " items",
                                                n->min_items);
        if (count > n->max_items)
                ok =
                                mam_json_reject(v,
                                                spot,
                                                "maxItems",
                                                "must have at most %" PRIi64 " items",
                                                n->max_items);
        if (ok == 0 && mam_json_is_decided(v))
                return 0;
        if (n->is_unique) {
                r = check_unique(v, o, spot);
                if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                        return r;
                ok = r > 0 ? ok : 0;
        }
        if (n->items || n->prefix_items.n > 0) {
                r = check_items(v, n, o, spot, scope, seen);
                if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                        return r;
                ok = r > 0 ? ok : 0;
        }
        if (n->contains) {
                r = check_contains(v, n, o, spot, scope, seen);
                if (r <= 0)
                        return r;
        }
        return ok;
}

/* ---- objects ---- */

static int check_name(Validation *v, const Node *n, const char *key, const Spot *spot, const Scope *scope) {
        _cleanup_(json_object_putp) json_object *name = json_object_new_string(key);
        int r;

        if (!mam_json_spend(v, mam_json_name_cost(strlen(key))))
                return out_of_steps(v, spot);
        if (!name)
                return -ENOMEM;
        r = evaluate_quietly(v, n->property_names, name, spot, scope, NULL);
        return r != 0 ? r : mam_json_reject(v, spot, "propertyNames", "has a name that is not allowed");
}

/* One member; *is_seen: a keyword applies to it. */
static int check_member(
                Validation *v,
                const Node *n,
                const char *key,
                json_object *value,
                const Spot *spot,
                const Scope *scope,
                bool *is_seen) {
        const Property *p = mam_json_property_find(&n->properties, key);
        int ok = 1, r;

        if (p) {
                *is_seen = true;
                ok = mam_json_evaluate(v, p->node, value, spot, scope, NULL);
                if (ok < 0 || (ok == 0 && mam_json_is_decided(v)))
                        return ok;
        }
        for (size_t i = 0; i < n->pattern_properties.n; i++) {
                p = &n->pattern_properties.items[i];
                r = mam_json_pattern_matches(v, p->pattern, key, strlen(key), spot);
                if (r > 0) {
                        *is_seen = true;
                        r = mam_json_evaluate(v, p->node, value, spot, scope, NULL);
                        if (r == 0)
                                ok = 0;
                        if (r == 0 && mam_json_is_decided(v))
                                return 0;
                }
                if (r < 0)
                        return r;
        }
        if (!*is_seen && n->additional_properties) {
                *is_seen = true;
                r = mam_json_evaluate(v, n->additional_properties, value, spot, scope, NULL);
                if (r <= 0)
                        return r;
        }
        if (n->property_names) {
                r = check_name(v, n, key, spot, scope);
                if (r <= 0)
                        return r;
        }
        return ok;
}

static int check_members(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        size_t i = 0;
        int ok = 1, r;

        json_object_object_foreach(o, key, value) {
                const Spot inner = { spot, key, 0 };
                bool is_seen = false;

                if (!mam_json_spend(v, mam_json_name_cost(strlen(key))))
                        return out_of_steps(v, spot);
                r = check_member(v, n, key, value, &inner, scope, &is_seen);
                if (r < 0)
                        return r;
                if (r == 0) {
                        ok = 0;
                        if (mam_json_is_decided(v))
                                return 0;
                }
                if (is_seen)
                        mam_json_seen_mark(seen, i);
                i++;
        }
        return ok;
}

static int check_names(Validation *v, const Node *n, json_object *o, const Spot *spot) {
        int ok = 1;

        for (size_t i = 0; i < n->required.n; i++)
                if (!json_object_object_get_ex(o, n->required.items[i], NULL)) {
                        ok =
                                        mam_json_reject(v,
                                                        spot,
                                                        "required",
                                                        "needs the property \"%.100s\"",
                                                        n->required.items[i]);
                        if (mam_json_is_decided(v))
                                return 0;
                }
        for (size_t i = 0; i < n->dependent_required.n; i++) {
                const Dependency *d = &n->dependent_required.items[i];

                if (!json_object_object_get_ex(o, d->name, NULL))
                        continue;
                if (!mam_json_spend(v, d->needs.cost))
                        return out_of_steps(v, spot);
                for (size_t j = 0; j < d->needs.n; j++)
                        if (!json_object_object_get_ex(o, d->needs.items[j], NULL))
                                ok = mam_json_reject(
                                                v,
                                                spot,
                                                "dependentRequired",
                                                "needs the property \"%.60s\", as \"%.60s\" is there",
                                                d->needs.items[j],
                                                d->name);
        }
        return ok;
}

int mam_json_check_object(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int64_t count;
        int ok = 1, r;

        if (!json_object_is_type(o, json_type_object))
                return 1;
        if (!mam_json_spend(v, 1 + n->required.cost + n->dependent_required.cost))
                return out_of_steps(v, spot);
        count = json_object_object_length(o);
        if (count < n->min_properties)
                ok =
                                mam_json_reject(v,
                                                spot,
                                                "minProperties",
                                                "must have at least %" PRIi64 " properties",
                                                n->min_properties);
        if (count > n->max_properties)
                ok =
                                mam_json_reject(v,
                                                spot,
                                                "maxProperties",
                                                "must have at most %" PRIi64 " properties",
                                                n->max_properties);
        r = check_names(v, n, o, spot);
        if (r < 0)
                return r;
        ok = r > 0 ? ok : 0;
        if (ok == 0 && mam_json_is_decided(v))
                return 0;
        if (n->properties.n > 0 || n->pattern_properties.n > 0 || n->additional_properties ||
            n->property_names) {
                r = check_members(v, n, o, spot, scope, seen);
                if (r <= 0)
                        return r;
        }
        return ok;
}

/* ---- the value as a whole ---- */

static unsigned depth_of(const MamJsonError *e) {
        unsigned n = 0;

        for (const char *c = e->pointer; *c; c++)
                n += *c == '/';
        return n;
}

/* No alternative fits: says what is wrong with the one that fits the deepest. */
static int reject_alternatives(
                Validation *v,
                const NodeList *l,
                const char *keyword,
                json_object *o,
                const Spot *spot,
                const Scope *scope) {
        MamJsonError best = { 0 }, e, *const errors = v->errors;
        const size_t n = v->n_errors, max = v->errors_max;
        bool found = false;
        int r = 0;

        if (mam_json_is_decided(v) || v->is_explaining)
                return mam_json_reject(v, spot, keyword, "fits none of the %zu alternatives", l->n);
        v->is_explaining = true;
        for (size_t i = 0; i < l->n && i < 16 && r >= 0; i++) {
                e = (MamJsonError){ 0 };
                v->errors = &e;
                v->n_errors = 0;
                v->errors_max = 1;
                r = mam_json_evaluate(v, l->items[i], o, spot, scope, NULL);
                if (r == 0 && v->n_errors > 0 && (!found || depth_of(&e) > depth_of(&best))) {
                        best = e;
                        found = true;
                }
        }
        v->is_explaining = false;
        v->errors = errors;
        v->n_errors = n;
        v->errors_max = max;
        if (r < 0 && r != -EOVERFLOW)
                return r;
        if (!found)
                return mam_json_reject(v, spot, keyword, "fits none of the %zu alternatives", l->n);
        return mam_json_reject(
                        v,
                        spot,
                        keyword,
                        "fits none of the %zu alternatives; nearest: %.60s %.100s",
                        l->n,
                        best.pointer,
                        best.message);
}

static int check_any_of(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        bool fits = false;
        int r;

        /* All are looked at where it matters what they evaluate. */
        for (size_t i = 0; i < n->any_of.n && (!fits || seen); i++) {
                r = try_branch(v, n->any_of.items[i], o, spot, scope, seen);
                if (r < 0)
                        return r;
                fits = fits || r > 0;
        }
        return fits ? 1 : reject_alternatives(v, &n->any_of, "anyOf", o, spot, scope);
}

static int check_one_of(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        size_t first = SIZE_MAX;
        int r;

        for (size_t i = 0; i < n->one_of.n; i++) {
                r = try_branch(v, n->one_of.items[i], o, spot, scope, seen);
                if (r < 0)
                        return r;
                if (r > 0 && first != SIZE_MAX)
                        return mam_json_reject(
                                        v,
                                        spot,
                                        "oneOf",
                                        "fits alternatives %zu and %zu, must fit exactly one",
                                        first + 1,
                                        i + 1);
                if (r > 0)
                        first = i;
        }
        return first != SIZE_MAX ? 1 : reject_alternatives(v, &n->one_of, "oneOf", o, spot, scope);
}

static int check_condition(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        const Node *next;
        int r;

        if (!n->then_schema && !n->else_schema && !seen)
                return 1;
        r = try_branch(v, n->if_schema, o, spot, scope, seen);
        if (r < 0)
                return r;
        next = r > 0 ? n->then_schema : n->else_schema;
        return next ? mam_json_evaluate(v, next, o, spot, scope, seen) : 1;
}

static int check_dependents(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int ok = 1, r;

        if (!mam_json_spend(v, n->dependent_schemas.cost))
                return out_of_steps(v, spot);
        for (size_t i = 0; i < n->dependent_schemas.n; i++) {
                const Property *p = &n->dependent_schemas.items[i];

                if (!json_object_object_get_ex(o, p->name, NULL))
                        continue;
                r = mam_json_evaluate(v, p->node, o, spot, scope, seen);
                if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                        return r;
                ok = r > 0 ? ok : 0;
        }
        return ok;
}

static int check_all_of(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int ok = 1, r;

        for (size_t i = 0; i < n->all_of.n; i++) {
                r = mam_json_evaluate(v, n->all_of.items[i], o, spot, scope, seen);
                if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                        return r;
                ok = r > 0 ? ok : 0;
        }
        return ok;
}

static int check_not(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        int r;

        r = evaluate_quietly(v, n->not_schema, o, spot, scope, NULL);
        if (r < 0)
                return r;
        return r == 0 ? 1 : mam_json_reject(v, spot, "not", "is what it must not be");
}

int mam_json_check_combination(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        const struct {
                bool is_there;
                MamJsonPart check;
        } checks[] = {
                { n->all_of.n > 0, check_all_of },
                { n->any_of.n > 0, check_any_of },
                { n->one_of.n > 0, check_one_of },
                { n->not_schema != NULL, check_not },
                { n->if_schema != NULL, check_condition },
                { n->dependent_schemas.n > 0 && json_object_is_type(o, json_type_object), check_dependents },
        };
        int ok = 1, r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(checks); i++) {
                if (!checks[i].is_there)
                        continue;
                r = checks[i].check(v, n, o, spot, scope, seen);
                if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                        return r;
                ok = r > 0 ? ok : 0;
        }
        return ok;
}

/* What none of the others has evaluated. */
int mam_json_check_unevaluated(
                Validation *v,
                const Node *n,
                json_object *o,
                const Spot *spot,
                const Scope *scope,
                Seen *seen) {
        size_t i = 0;
        int ok = 1, r;

        if (n->unevaluated_properties && json_object_is_type(o, json_type_object)) {
                json_object_object_foreach(o, key, value) {
                        const Spot inner = { spot, key, 0 };

                        if (!mam_json_seen_has(seen, i)) {
                                r = mam_json_evaluate(
                                                v,
                                                n->unevaluated_properties,
                                                value,
                                                &inner,
                                                scope,
                                                NULL);
                                if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                                        return r;
                                ok = r > 0 ? ok : 0;
                                mam_json_seen_mark(seen, i);
                        }
                        i++;
                }
        }
        if (n->unevaluated_items && json_object_is_type(o, json_type_array)) {
                for (; i < json_object_array_length(o); i++) {
                        const Spot inner = { spot, NULL, i };

                        if (mam_json_seen_has(seen, i))
                                continue;
                        r = mam_json_evaluate(
                                        v,
                                        n->unevaluated_items,
                                        json_object_array_get_idx(o, i),
                                        &inner,
                                        scope,
                                        NULL);
                        if (r < 0 || (r == 0 && mam_json_is_decided(v)))
                                return r;
                        ok = r > 0 ? ok : 0;
                        mam_json_seen_mark(seen, i);
                }
        }
        return ok;
}
