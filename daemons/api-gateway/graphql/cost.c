/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an operation may cost: requests to services, at worst
 */

#include <assert.h>

#include "api-gateway/graphql/validate.h"
#include "api-gateway/graphql/values.h"

#define COST_MAX (UINT32_MAX / 2)

typedef struct Costs {
        json_object *variables;
} Costs;

static uint64_t bounded(uint64_t n) {
        return n < COST_MAX ? n : COST_MAX;
}

/* What an argument that tells a size says; -1: nothing. */
static int64_t size_argument(const Costs *c, const GqlSelection *s, const GqlInput *i) {
        const GqlArgument *a = gql_argument_find(s->arguments, i->name);
        const GqlValue *v = a ? a->value : i->default_value;
        json_object *o = NULL;

        if (v && v->kind == GQL_VALUE_VARIABLE) {
                if (json_object_object_get_ex(c->variables, v->text, &o))
                        return o ? json_object_get_int64(o) : -1;
                v = i->default_value;
        }
        return v && v->kind == GQL_VALUE_INT ? strtoll(v->text, NULL, 10) : -1;
}

static bool is_list(const GqlTypeRef *t) {
        for (; t->kind != GQL_TYPE_REF_NAMED; t = t->of)
                if (t->kind == GQL_TYPE_REF_LIST)
                        return true;
        return false;
}

/* counted: the list that this may be is that of the field above, whose size is known. */
static uint64_t items_of(const Costs *c, const GqlSelection *s, bool counted) {
        const GqlField *f = s->field;
        int64_t n;

        if (!f->is_list)
                return is_list(f->type) && !counted ? GQL_LIST_SIZE : 1;
        n = f->list_argument ? size_argument(c, s, f->list_argument) : -1;
        return n >= 0 ? (uint64_t) n : f->list_size;
}

static uint64_t cost_of(const Costs *c, const GqlSelection *list, bool counted) {
        uint64_t sum = 0;

        for (const GqlSelection *s = list; s; s = s->next) {
                if (!gql_is_included(s->directives, c->variables))
                        continue;
                if (s->kind == GQL_SELECTION_SPREAD)
                        sum += cost_of(c, s->fragment->selections, counted);
                else if (s->kind == GQL_SELECTION_INLINE)
                        sum += cost_of(c, s->selections, counted);
                else {
                        uint64_t below = s->selections && s->field->meta == 0
                                                         ? cost_of(c, s->selections, s->field->is_list)
                                                         : 0;

                        if (below > 0)
                                sum += bounded(items_of(c, s, counted)) * below;
                        sum += s->field->rest != NULL;
                }
                sum = bounded(sum);
        }
        return sum;
}

void gql_check_cost(
                const GqlSchema *s,
                GqlErrors *e,
                const GqlOperation *o,
                json_object *variables,
                const GqlLimits *limits) {
        Costs c = { .variables = variables };
        uint64_t cost;

        assert(o);
        assert(limits);

        cost = cost_of(&c, o->selections, false);
        if (cost > limits->cost)
                (void) gql_error(
                                e,
                                GQL_CODE_LIMIT,
                                o->place,
                                "The operation may need %llu requests to services; %u are allowed",
                                (unsigned long long) cost,
                                limits->cost);
}
