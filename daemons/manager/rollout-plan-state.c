/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a rollout does next: the plan itself, and the share that follows from it
 */

#include <assert.h>
#include <string.h>

#include "manager/rollout-plan.h"

static const char *const strategy_names[_ROLLOUT_STRATEGY_MAX] = {
        [ROLLOUT_ROLLING] = "rolling",
        [ROLLOUT_CANARY] = "canary",
        [ROLLOUT_BLUE_GREEN] = "blue-green",
};

const char *rollout_strategy_to_string(RolloutStrategy s) {
        assert(s >= 0 && s < _ROLLOUT_STRATEGY_MAX);

        return strategy_names[s];
}

RolloutStrategy rollout_strategy_from_string(const char *s) {
        for (RolloutStrategy i = 0; i < _ROLLOUT_STRATEGY_MAX; i++) {
                if (strcmp(strategy_names[i], s) == 0)
                        return i;
        }
        return _ROLLOUT_STRATEGY_INVALID;
}

void rollout_plan_init(RolloutPlan *ret, uint32_t wanted, uint64_t now_usec) {
        assert(ret);

        *ret = (RolloutPlan){
                .strategy = ROLLOUT_ROLLING,
                .steps = { 5, 25, 100 },
                .n_steps = 3,
                .pause_usec = ROLLOUT_PAUSE_USEC,
                .max_surge = 1,
                .min_healthy_usec = ROLLOUT_MIN_HEALTHY_USEC,
                .healthy_deadline_usec = ROLLOUT_HEALTHY_DEADLINE_USEC,
                .progress_deadline_usec = ROLLOUT_PROGRESS_DEADLINE_USEC,
                .auto_revert = true,
                .wanted = wanted,
                .progress_usec = now_usec,
        };
}

bool rollout_plan_is_last_step(const RolloutPlan *plan) {
        return plan->step + 1 >= plan->n_steps;
}

void rollout_plan_apply(RolloutPlan *plan, const RolloutStep *step, uint64_t now_usec) {
        assert(plan);
        assert(step);

        switch (step->act) {
        case ROLLOUT_STEP_PROGRESS:
                plan->score = step->score;
                plan->progress_usec = now_usec;
                break;
        case ROLLOUT_STEP_WATCH:
                plan->watch_usec = now_usec;
                plan->progress_usec = now_usec;
                break;
        case ROLLOUT_STEP_NEXT:
                plan->step++;
                plan->watch_usec = 0;
                plan->progress_usec = now_usec;
                break;
        case ROLLOUT_STEP_SWITCH:
                plan->switched_usec = now_usec;
                plan->progress_usec = now_usec;
                break;
        case ROLLOUT_STEP_REVERT:
                plan->reverting = true;
                plan->paused = false;
                plan->watch_usec = 0;
                plan->score = 0;
                plan->progress_usec = now_usec;
                break;
        case ROLLOUT_STEP_HOLD:
                plan->paused = true;
                break;
        default:
                break;
        }
}

void rollout_plan_renew(RolloutPlan *plan, uint64_t now_usec) {
        assert(plan);

        plan->progress_usec = now_usec;
        plan->watch_usec = plan->watch_usec > 0 ? now_usec : 0;
        plan->switched_usec = plan->switched_usec > 0 ? now_usec : 0;
}

void rollout_plan_set_wanted(RolloutPlan *plan, uint32_t wanted, uint64_t now_usec) {
        assert(plan);

        if (plan->wanted == wanted)
                return;
        plan->wanted = wanted;
        plan->score = 0;
        plan->progress_usec = now_usec;
}

void rollout_plan_resume(RolloutPlan *plan, uint64_t now_usec) {
        assert(plan);

        plan->paused = false;
        plan->progress_usec = now_usec;
        if (plan->watch_usec > 0) {
                plan->step++;
                plan->watch_usec = 0;
        }
}

uint32_t rollout_plan_share(const RolloutView *view) {
        const RolloutPlan *p = view->plan;
        uint32_t ready = 0, rest = 0, wanted = p->wanted > 0 ? p->wanted : 1, share, old;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (view->slots[n].state != ROLLOUT_READY)
                        continue;
                if (view->slots[n].side == ROLLOUT_NEW) {
                        ready++;
                } else {
                        rest++;
                }
        }
        if (ready == 0 || rest == 0)
                return ready > 0 ? ROLLOUT_SHARE_WHOLE : 0;

        /* Back: each old one may carry twice its usual share, so that few are enough for all. */
        if (p->reverting) {
                old = 2 * ROLLOUT_SHARE_WHOLE * rest / wanted;
                return old < ROLLOUT_SHARE_WHOLE ? ROLLOUT_SHARE_WHOLE - old : 0;
        }
        share = ROLLOUT_SHARE_WHOLE * ready / (ready + rest);
        if (p->strategy == ROLLOUT_BLUE_GREEN)
                return p->switched_usec > 0 ? ROLLOUT_SHARE_WHOLE : 0;
        if (p->strategy == ROLLOUT_CANARY) {
                uint32_t percent = 0;

                if (p->watch_usec > 0 || rollout_plan_is_last_step(p)) {
                        percent = p->steps[p->step];
                } else if (p->step > 0) {
                        percent = p->steps[p->step - 1];
                }
                if (share > percent * 10)
                        share = percent * 10;
        }
        return share;
}
