/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a rollout does next
 */

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "manager/rollout-plan.h"

typedef struct Counts {
        RolloutSide target;
        uint32_t total;          /* not absent */
        uint32_t n_absent;       /* free numbers */
        uint32_t n_leaving;      /* of total */
        uint32_t target_n;       /* staying, of the target's side */
        uint32_t target_ready;   /* of those */
        uint32_t target_counted; /* of those, for long enough */
        uint32_t rest_n;         /* staying, of the other sides */
        uint32_t rest_ready;
        uint32_t available; /* what removing may rely on */
        uint32_t wanted, surge, unavailable, limit;
} Counts;

/* What is due already waits for something else to happen. */
static void wake_after(uint64_t *again_usec, uint64_t when_usec, uint64_t now_usec) {
        if (when_usec > now_usec && when_usec < *again_usec)
                *again_usec = when_usec;
}

static void wake_at(uint64_t *again_usec, uint64_t when_usec) {
        if (when_usec < *again_usec)
                *again_usec = when_usec;
}

/* Old ones have proven themselves; a new one has when it was ready for min_healthy. */
static bool is_counted(const RolloutView *v, const RolloutSlot *s) {
        if (s->state != ROLLOUT_READY)
                return false;
        return v->plan->reverting || s->side != ROLLOUT_NEW ||
               v->seen_usec >= s->since_usec + v->plan->min_healthy_usec;
}

static bool is_staying(const RolloutSlot *s) {
        return s->state != ROLLOUT_ABSENT && s->state != ROLLOUT_LEAVING;
}

static Counts count(const RolloutView *v) {
        const RolloutPlan *p = v->plan;
        Counts c = { .target = p->reverting ? ROLLOUT_OLD : ROLLOUT_NEW };

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const RolloutSlot *s = &v->slots[n];
                bool counted = is_counted(v, s);

                if (s->state == ROLLOUT_ABSENT) {
                        c.n_absent += n <= v->max_number;
                        continue;
                }
                c.total++;
                if (s->state == ROLLOUT_LEAVING) {
                        c.n_leaving++;
                        continue;
                }
                c.available += counted;
                if (s->side == c.target) {
                        c.target_n++;
                        c.target_ready += s->state == ROLLOUT_READY;
                        c.target_counted += counted;
                } else {
                        c.rest_n++;
                        c.rest_ready += s->state == ROLLOUT_READY;
                }
        }

        c.wanted = p->wanted > 0 ? p->wanted : 1;
        c.surge = v->max_number > c.wanted ? v->max_number - c.wanted : 0;
        if (p->strategy != ROLLOUT_BLUE_GREEN && c.surge > p->max_surge)
                c.surge = p->max_surge;
        if (p->strategy == ROLLOUT_BLUE_GREEN && c.surge > c.wanted)
                c.surge = c.wanted;
        c.unavailable = p->max_unavailable;
        if (c.surge == 0 && c.unavailable == 0)
                c.unavailable = 1;
        c.limit = c.wanted + c.surge;
        return c;
}

/* Is as many replicas as may be missing still there without one that is ready. */
static bool may_lose_one(const Counts *c) {
        return c->available > 0 && c->available - 1 + c->unavailable >= c->wanted;
}

static void say(RolloutStep *ret, RolloutAct act, uint32_t number, const char *format, ...) _printf_(4, 5);
static void say(RolloutStep *ret, RolloutAct act, uint32_t number, const char *format, ...) {
        va_list ap;

        *ret = (RolloutStep){ .act = act, .number = number };
        va_start(ap, format);
        (void) vsnprintf(ret->reason, sizeof(ret->reason), format, ap);
        va_end(ap);
}

/* ---- choice of numbers ---- */

/* The lowest free one, first of those whose unit is of the target as it is loaded. 0: none. */
static uint32_t choose_free(const RolloutView *v, const Counts *c) {
        uint32_t any = 0;

        for (uint32_t n = 1; n <= v->max_number && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (v->slots[n].state != ROLLOUT_ABSENT)
                        continue;
                if (v->slots[n].side == c->target)
                        return n;
                any = any > 0 ? any : n;
        }
        return any;
}

static unsigned rank_of(const RolloutSlot *s) {
        if (s->state == ROLLOUT_FAILED)
                return 0;
        return s->state == ROLLOUT_STARTING ? 1 : 2;
}

/* What goes first: failed, then not ready, then ready; the highest number among equals. The trigger only if
 * it is the only one. 0: none. */
static uint32_t choose_victim(const RolloutView *v, const Counts *c, bool of_target) {
        uint32_t best = 0;

        for (uint32_t n = MAM_CONFIG_REPLICAS_MAX; n >= 1; n--) {
                const RolloutSlot *s = &v->slots[n];

                if (!is_staying(s) || (s->side == c->target) != of_target)
                        continue;
                if (n == 1 && v->trigger) {
                        if (best == 0 && !of_target)
                                best = n;
                        continue;
                }
                if (best == 0 || rank_of(s) < rank_of(&v->slots[best]))
                        best = n;
        }
        return best;
}

/* ---- steps that both directions take ---- */

/* How far it is: replicas of the target that count, then how few of the others are left. */
static uint32_t score_of(const Counts *c) {
        uint32_t others = c->total - c->target_n;

        return c->target_counted * ROLLOUT_SCORE_FACTOR +
               (others < ROLLOUT_SCORE_FACTOR ? ROLLOUT_SCORE_FACTOR - 1 - others : 0);
}

static bool step_progress(const RolloutView *v, const Counts *c, RolloutStep *ret) {
        uint32_t score = score_of(c);

        if (score <= v->plan->score)
                return false;
        say(ret,
            ROLLOUT_STEP_PROGRESS,
            0,
            "%u of %u replicas are through",
            c->target_counted < c->wanted ? c->target_counted : c->wanted,
            c->wanted);
        ret->score = score;
        return true;
}

/* More of the target than wanted: after a trigger was replaced, or scaling down. */
static bool step_excess(const RolloutView *v, const Counts *c, RolloutStep *ret) {
        uint32_t n;

        if (c->target_n <= c->wanted)
                return false;
        n = choose_victim(v, c, true);
        if (n == 0)
                return false;
        if (v->slots[n].state == ROLLOUT_READY && (c->rest_n > 0 || !may_lose_one(c)))
                return false;
        /* One that is not ready may be the trigger's stand-in on its way: without it too few would count. */
        if (v->slots[n].state != ROLLOUT_READY && v->slots[n].state != ROLLOUT_FAILED && c->rest_n == 0 &&
            c->target_ready < c->wanted)
                return false;
        say(ret, ROLLOUT_STEP_STOP, n, "one more than the %u that are wanted", c->wanted);
        return true;
}

static bool step_start(const RolloutView *v, const Counts *c, uint32_t goal, RolloutStep *ret) {
        uint32_t n;

        if (c->target_n >= goal || c->total >= c->limit)
                return false;
        n = choose_free(v, c);
        if (n == 0)
                return false;
        say(ret, ROLLOUT_STEP_START, n, "%u of %u are there", c->target_n, goal);
        return true;
}

/* One of the others goes, or is replaced where no number is free for its successor. blocked: no replica of
 * the target can be added as it is. */
static bool step_remove(const RolloutView *v, const Counts *c, uint32_t goal, RolloutStep *ret) {
        bool missing = c->target_n < goal, ready, trigger, in_place, blocked;
        uint32_t n = choose_victim(v, c, false), on_way = c->target_n - c->target_counted;

        if (n == 0)
                return false;
        ready = v->slots[n].state == ROLLOUT_READY;
        trigger = n == 1 && v->trigger;
        blocked = missing && (c->total >= c->limit || c->n_absent == 0);
        in_place = trigger || (missing && c->n_absent == 0);

        if (in_place && c->n_leaving > 0 && !trigger)
                return false; /* numbers get free soon */
        if (trigger && missing && !blocked)
                return false; /* last */
        if (ready) {
                if (!may_lose_one(c))
                        return false;
        } else if (!v->plan->reverting) {
                /* It serves nobody; yet it may recover, so something has to stand for it. */
                if (c->target_counted + c->rest_n <= c->wanted &&
                    !(blocked && on_way < (c->unavailable > 0 ? c->unavailable : 1)))
                        return false;
        }
        say(ret,
            in_place ? ROLLOUT_STEP_REPLACE : ROLLOUT_STEP_STOP,
            n,
            "%u of %u that are wanted are available",
            c->available,
            c->wanted);
        return true;
}

static bool is_through(const Counts *c) {
        return c->rest_n == 0 && c->n_leaving == 0 && c->target_n == c->wanted &&
               c->target_counted == c->wanted;
}

static void say_waiting(const Counts *c, uint32_t goal, RolloutStep *ret) {
        if (c->target_ready < goal && c->target_n > c->target_ready) {
                say(ret, ROLLOUT_STEP_NOTHING, 0, "%u of %u replicas are ready", c->target_ready, goal);
        } else if (c->target_counted < goal && c->target_counted < c->target_ready) {
                say(ret,
                    ROLLOUT_STEP_NOTHING,
                    0,
                    "%u of %u replicas are ready, %u for long enough",
                    c->target_ready,
                    goal,
                    c->target_counted);
        } else if (c->n_leaving > 0) {
                say(ret, ROLLOUT_STEP_NOTHING, 0, "waiting for %u replicas to end", c->n_leaving);
        } else {
                say(ret,
                    ROLLOUT_STEP_NOTHING,
                    0,
                    "%u of %u that are wanted are available",
                    c->available,
                    c->wanted);
        }
}

/* ---- forward ---- */

static void say_failed(const RolloutView *v, RolloutStep *ret) {
        if (v->plan->auto_revert) {
                ret->act = ROLLOUT_STEP_REVERT;
        } else {
                ret->act = v->plan->paused ? ROLLOUT_STEP_NOTHING : ROLLOUT_STEP_HOLD;
        }
}

/* What speaks against the new revision, paused or not. */
static bool step_failure(const RolloutView *v, uint64_t now_usec, RolloutStep *ret, uint64_t *again_usec) {
        const RolloutPlan *p = v->plan;
        uint64_t due;

        if (v->verdict == ROLLOUT_VERDICT_BAD) {
                say(ret, 0, 0, "%s", v->verdict_reason ? v->verdict_reason : "judged bad");
                say_failed(v, ret);
                return true;
        }
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const RolloutSlot *s = &v->slots[n];

                if (s->side != ROLLOUT_NEW)
                        continue;
                if (s->state == ROLLOUT_FAILED) {
                        say(ret, 0, n, "replica %u does not stay up", n);
                        say_failed(v, ret);
                        return true;
                }
                if (s->state != ROLLOUT_STARTING)
                        continue;
                due = s->since_usec + p->healthy_deadline_usec;
                if (now_usec >= due) {
                        say(ret, 0, n, "replica %u was not healthy in time", n);
                        say_failed(v, ret);
                        return true;
                }
                wake_at(again_usec, due);
        }

        if (p->paused || p->watch_usec > 0)
                return false;
        due = p->progress_usec + p->progress_deadline_usec;
        if (now_usec >= due) {
                say(ret, 0, 0, "no replica came forward in time");
                say_failed(v, ret);
                return true;
        }
        wake_at(again_usec, due);
        return false;
}

static void wake_for_counting(const RolloutView *v, uint64_t now_usec, uint64_t *again_usec) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const RolloutSlot *s = &v->slots[n];

                if (s->state == ROLLOUT_READY && s->side == ROLLOUT_NEW && !is_counted(v, s))
                        wake_after(again_usec, s->since_usec + v->plan->min_healthy_usec, now_usec);
        }
}

/* New replicas that the share of this step needs. */
static uint32_t goal_of(const RolloutView *v, const Counts *c) {
        const RolloutPlan *p = v->plan;
        uint32_t goal = c->wanted;

        if (p->strategy == ROLLOUT_CANARY && !rollout_plan_is_last_step(p)) {
                goal = (c->wanted * p->steps[p->step] + 99) / 100;
                goal = goal < 1 ? 1 : goal;
        }
        /* Before the switch nothing goes, so there is no room for more. */
        if (p->strategy == ROLLOUT_BLUE_GREEN && p->switched_usec == 0 && goal > c->target_n + c->n_absent &&
            c->target_n + c->n_absent > 0)
                goal = c->target_n + c->n_absent;
        return goal;
}

static bool step_canary(
                const RolloutView *v,
                const Counts *c,
                uint32_t goal,
                uint64_t now_usec,
                RolloutStep *ret,
                uint64_t *again_usec) {
        const RolloutPlan *p = v->plan;
        uint64_t due = p->watch_usec + p->pause_usec;

        if (rollout_plan_is_last_step(p))
                return false;
        if (p->watch_usec == 0) {
                if (c->target_counted < goal)
                        return false;
                say(ret, ROLLOUT_STEP_WATCH, 0, "watching %u %% of the traffic", p->steps[p->step]);
                return true;
        }
        if (v->seen_usec >= due && c->target_counted < goal)
                return false; /* one of them died meanwhile */
        if (v->seen_usec >= due) {
                say(ret, ROLLOUT_STEP_NEXT, 0, "%u %% of the traffic went well", p->steps[p->step]);
                return true;
        }
        wake_after(again_usec, due, now_usec);
        say(ret, ROLLOUT_STEP_NOTHING, 0, "watching %u %% of the traffic", p->steps[p->step]);
        return true;
}

static bool step_blue_green(
                const RolloutView *v,
                const Counts *c,
                uint32_t goal,
                uint64_t now_usec,
                RolloutStep *ret,
                uint64_t *again_usec) {
        const RolloutPlan *p = v->plan;
        uint64_t due = p->switched_usec + p->min_healthy_usec;

        if (p->switched_usec == 0) {
                if (c->target_counted < goal)
                        return false;
                say(ret, ROLLOUT_STEP_SWITCH, 0, "%u new replicas take the traffic", c->target_counted);
                return true;
        }
        if (v->seen_usec >= due)
                return false;
        wake_after(again_usec, due, now_usec);
        say(ret, ROLLOUT_STEP_NOTHING, 0, "the new replicas have the traffic; the old ones stand by");
        return true;
}

static bool may_remove(const RolloutPlan *p, const Counts *c, uint32_t goal) {
        switch (p->strategy) {
        case ROLLOUT_CANARY: /* before the last step only what is in the way */
                return rollout_plan_is_last_step(p) ||
                       (c->target_n < goal && (c->total >= c->limit || c->n_absent == 0));
        case ROLLOUT_BLUE_GREEN:
                return p->switched_usec > 0;
        default:
                return true;
        }
}

static void plan_forward(
                const RolloutView *v,
                const Counts *c,
                uint64_t now_usec,
                RolloutStep *ret,
                uint64_t *again_usec) {
        uint32_t goal = goal_of(v, c);

        if (is_through(c) && v->verdict != ROLLOUT_VERDICT_BAD) {
                say(ret, ROLLOUT_STEP_DONE, 0, "%u replicas run it", c->wanted);
                return;
        }
        if (step_failure(v, now_usec, ret, again_usec) || step_progress(v, c, ret))
                return;
        if (v->plan->paused) {
                say(ret, ROLLOUT_STEP_NOTHING, 0, "paused");
                return;
        }

        wake_for_counting(v, now_usec, again_usec);
        if (step_excess(v, c, ret))
                return;
        if (step_start(v, c, goal, ret))
                return;
        if (v->plan->strategy == ROLLOUT_CANARY && step_canary(v, c, goal, now_usec, ret, again_usec))
                return;
        if (v->plan->strategy == ROLLOUT_BLUE_GREEN &&
            step_blue_green(v, c, goal, now_usec, ret, again_usec))
                return;
        if (may_remove(v->plan, c, goal) && step_remove(v, c, goal, ret))
                return;
        say_waiting(c, goal, ret);
}

/* ---- back ---- */

static void plan_back(
                const RolloutView *v,
                const Counts *c,
                uint64_t now_usec,
                RolloutStep *ret,
                uint64_t *again_usec) {
        uint64_t due = v->plan->progress_usec + v->plan->progress_deadline_usec;

        if (is_through(c)) {
                say(ret, ROLLOUT_STEP_REVERTED, 0, "%u replicas run the old revision", c->wanted);
                return;
        }
        if (step_progress(v, c, ret))
                return;
        if (now_usec >= due) {
                bool enough = c->rest_n == 0 && c->target_ready > 0;

                say(ret,
                    enough ? ROLLOUT_STEP_REVERTED : ROLLOUT_STEP_FAILED,
                    0,
                    "%u of %u old replicas are ready",
                    c->target_ready,
                    c->wanted);
                return;
        }
        wake_at(again_usec, due);
        /* First what makes room without costing anything. */
        if (c->rest_n > c->rest_ready && step_remove(v, c, c->wanted, ret))
                return;
        if (step_start(v, c, c->wanted, ret) || step_excess(v, c, ret))
                return;
        if (step_remove(v, c, c->wanted, ret))
                return;
        say_waiting(c, c->wanted, ret);
}

void rollout_plan(const RolloutView *view, uint64_t now_usec, RolloutStep *ret, uint64_t *again_usec) {
        Counts c;

        assert(view);
        assert(view->plan);
        assert(ret);
        assert(again_usec);

        c = count(view);
        if (view->plan->reverting) {
                plan_back(view, &c, now_usec, ret, again_usec);
        } else {
                plan_forward(view, &c, now_usec, ret, again_usec);
        }
}
