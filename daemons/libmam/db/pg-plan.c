/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which statements a connection has prepared: a table by name, of as many entries as the program has
 * statements
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/db/pg-internal.h"

static uint32_t hash_string(const char *s) {
        uint32_t h = 2166136261U;

        for (; *s; s++)
                h = (h ^ (unsigned char) *s) * 16777619U;

        return h;
}

static MamPgPlan *plan_slot(MamPgPlan *plans, size_t n_allocated, const MamPgStatement *statement) {
        size_t i = hash_string(statement->name) & (n_allocated - 1);

        while (plans[i].statement && strcmp(plans[i].statement->name, statement->name) != 0)
                i = (i + 1) & (n_allocated - 1);

        return plans + i;
}

MamPgPlan *mam_pg_plan_find(const MamPgConnection *c, const MamPgStatement *statement) {
        MamPgPlan *plan;

        if (c->n_plans_allocated == 0 || !statement->name)
                return NULL;
        plan = plan_slot(c->plans, c->n_plans_allocated, statement);
        return plan->statement ? plan : NULL;
}

int mam_pg_plan_get(MamPgConnection *c, const MamPgStatement *statement, MamPgPlan **ret) {
        MamPgPlan *plan;

        plan = mam_pg_plan_find(c, statement);
        if (!plan) {
                if ((c->n_plans + 1) * 2 > c->n_plans_allocated) {
                        size_t n = c->n_plans_allocated ? c->n_plans_allocated * 2 : 32;
                        MamPgPlan *plans;

                        plans = calloc(n, sizeof(*plans));
                        if (!plans)
                                return -ENOMEM;
                        for (size_t i = 0; i < c->n_plans_allocated; i++) {
                                if (c->plans[i].statement)
                                        *plan_slot(plans, n, c->plans[i].statement) = c->plans[i];
                        }
                        free(c->plans);
                        c->plans = plans;
                        c->n_plans_allocated = n;
                }

                plan = plan_slot(c->plans, c->n_plans_allocated, statement);
                plan->statement = statement;
                c->n_plans++;
        }

        *ret = plan;
        return 0;
}

void mam_pg_plan_clear_error(MamPgPlan *plan) {
        free(plan->message);
        plan->message = NULL;
        plan->error = 0;
}

void mam_pg_plans_clear(MamPgConnection *c) {
        for (size_t i = 0; i < c->n_plans_allocated; i++)
                free(c->plans[i].message);
        free(c->plans);
        c->plans = NULL;
        c->n_plans = c->n_plans_allocated = 0;
}

void mam_pg_plan_name(char *ret, size_t size, const MamPgPlan *plan) {
        (void) snprintf(ret, size, "%.48s.%u", plan->statement->name, plan->generation);
}

void mam_pg_plan_forget(MamPgConnection *c, const MamPgStatement *statement) {
        MamPgPlan *plan = mam_pg_plan_find(c, statement);

        if (!plan || plan->state != MAM_PG_PLAN_READY)
                return;
        plan->state = MAM_PG_PLAN_NONE;
        plan->generation++;
}
