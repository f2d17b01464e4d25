/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts on simulated clocks: a table of walks, and random worlds whose laws must hold at every step
 */

#include <inttypes.h>
#include <stdio.h>

#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "manager/rollout-plan.h"

#define SECOND  MAM_USEC_PER_SEC
#define WORLDS  4000U
#define END_BY  (24 * 3600 * SECOND)
#define STEPS   20000U
#define NUMBERS 24U

/* What is wrong with the new revision. */
typedef enum Fault {
        FAULT_NONE,
        FAULT_CRASH,     /* dies at its start, again and again */
        FAULT_UNHEALTHY, /* runs, and never answers */
        FAULT_SHORT,     /* is ready for less than min_healthy, again and again */
        FAULT_JUDGED,    /* answers, and badly */
        _FAULT_MAX,
} Fault;

typedef struct Process {
        uint64_t change_usec; /* when it becomes ready, dies, or is gone; MAM_USEC_INFINITY: stays */
        unsigned deaths;
} Process;

typedef struct World {
        uint64_t seed, now_usec;
        RolloutPlan plan;
        RolloutView view;
        Process processes[NUMBERS + 1];
        Fault fault;
        bool crashes;          /* healthy processes die now and then, and come back */
        bool restarts;         /* the planner is killed now and then */
        bool late;             /* what the gateways saw is known a second later */
        uint64_t bad_usec;     /* the verdict falls; 0: not yet known */
        RolloutAct end;        /* ROLLOUT_STEP_NOTHING: it has not ended */
        uint32_t wanted_least; /* of late: a larger number has to be reached first */
} World;

/* xorshift64*: good enough to shuffle, and the same everywhere. */
static uint64_t random_below(World *w, uint64_t n) {
        w->seed ^= w->seed >> 12;
        w->seed ^= w->seed << 25;
        w->seed ^= w->seed >> 27;
        return (w->seed * UINT64_C(2685821657736338717) >> 16) % n;
}

static void broken(const World *w, uint64_t world, const char *law) {
        char text[512];
        int n;

        n = snprintf(text,
                     sizeof(text),
                     "world %" PRIu64 " at %" PRIu64 " ms, fault %d, %s, wanted %u of %u%s: %s:",
                     world,
                     w->now_usec / 1000,
                     w->fault,
                     rollout_strategy_to_string(w->plan.strategy),
                     w->plan.wanted,
                     w->view.max_number,
                     w->plan.reverting ? ", reverting" : "",
                     law);
        for (uint32_t i = 1; i <= w->view.max_number && n > 0 && (size_t) n < sizeof(text) - 8; i++) {
                const RolloutSlot *s = &w->view.slots[i];

                n += snprintf(text + n,
                              sizeof(text) - (size_t) n,
                              " %c%c",
                              "onx"[s->side],
                              "-srfl"[s->state]);
        }
        mam_test_fail_string(__FILE__, __LINE__, "law", text);
}

static void set(World *w, uint32_t n, RolloutSlotState state, RolloutSide side, uint64_t change_usec) {
        w->view.slots[n] = (RolloutSlot){ .state = state, .side = side, .since_usec = w->now_usec };
        w->processes[n].change_usec = change_usec;
}

static uint64_t soon(World *w, uint64_t within_usec) {
        return w->now_usec + 1 + random_below(w, within_usec);
}

/* It runs from now on. */
static void begin(World *w, uint32_t n, RolloutSide side) {
        bool faulty = side == ROLLOUT_NEW;
        uint64_t change = soon(w, 5 * SECOND);

        if (faulty && w->fault == FAULT_UNHEALTHY)
                change = MAM_USEC_INFINITY;
        set(w, n, ROLLOUT_STARTING, side, change);
}

static void happen(World *w, uint32_t n) {
        const RolloutSlot s = w->view.slots[n];
        bool faulty = s.side == ROLLOUT_NEW;
        Process *p = &w->processes[n];

        switch (s.state) {
        case ROLLOUT_STARTING:
                if (faulty && w->fault == FAULT_CRASH) {
                        if (++p->deaths >= 3) {
                                set(w, n, ROLLOUT_FAILED, s.side, MAM_USEC_INFINITY);
                        } else
                                p->change_usec = soon(w, 2 * SECOND);
                        break;
                }
                set(w, n, ROLLOUT_READY, s.side, MAM_USEC_INFINITY);
                if (faulty && w->fault == FAULT_SHORT && w->plan.min_healthy_usec > SECOND) {
                        p->change_usec = soon(w, w->plan.min_healthy_usec - SECOND);
                } else if (w->crashes && random_below(w, 2) == 0)
                        p->change_usec = soon(w, 300 * SECOND);
                break;
        case ROLLOUT_READY: /* dies */
                if (faulty && ++p->deaths >= 3) {
                        set(w, n, ROLLOUT_FAILED, s.side, MAM_USEC_INFINITY);
                } else {
                        set(w, n, ROLLOUT_STARTING, s.side, soon(w, 5 * SECOND));
                }
                break;
        case ROLLOUT_LEAVING:
                set(w, n, ROLLOUT_ABSENT, w->plan.reverting ? ROLLOUT_OLD : ROLLOUT_NEW, MAM_USEC_INFINITY);
                p->deaths = 0;
                break;
        default:
                p->change_usec = MAM_USEC_INFINITY;
        }
}

static void make_world(World *w, uint64_t world) {
        static const uint32_t steps[][4] = { { 5, 25, 100 }, { 100 }, { 50, 100 }, { 1, 10, 60, 100 } };
        static const uint32_t n_steps[] = { 3, 1, 2, 4 };
        uint32_t wanted, room, pick;

        *w = (World){ .seed = world * UINT64_C(0x9E3779B97F4A7C15) + 1, .now_usec = 1000 * SECOND };
        wanted = 1 + (uint32_t) random_below(w, 6);
        rollout_plan_init(&w->plan, wanted, w->now_usec);
        w->plan.strategy = (RolloutStrategy) random_below(w, _ROLLOUT_STRATEGY_MAX);
        pick = (uint32_t) random_below(w, MAM_ELEMENTSOF(n_steps));
        memcpy(w->plan.steps, steps[pick], sizeof(steps[pick]));
        w->plan.n_steps = n_steps[pick];
        w->plan.max_surge = (uint32_t) random_below(w, 3);
        w->plan.max_unavailable = (uint32_t) random_below(w, 3);
        w->plan.min_healthy_usec = random_below(w, 15) * SECOND;
        w->plan.pause_usec = random_below(w, 120) * SECOND;
        w->fault = (Fault) random_below(w, _FAULT_MAX);
        w->crashes = random_below(w, 2) == 0;
        w->restarts = random_below(w, 2) == 0;
        w->late = random_below(w, 2) == 0;

        room = (uint32_t) random_below(w, wanted + 1);
        if (w->plan.strategy == ROLLOUT_BLUE_GREEN)
                room = wanted; /* Deploy asks for that */
        w->view = (RolloutView){ .plan = &w->plan,
                                 .max_number = wanted + room,
                                 .trigger = random_below(w, 2) == 0 };
        for (uint32_t n = 1; n <= w->view.max_number; n++)
                set(w, n, ROLLOUT_ABSENT, ROLLOUT_NEW, MAM_USEC_INFINITY);
        for (uint32_t n = 1; n <= wanted; n++) {
                set(w, n, ROLLOUT_READY, ROLLOUT_OLD, MAM_USEC_INFINITY);
                w->view.slots[n].since_usec = 0;
                if (w->crashes && random_below(w, 3) == 0)
                        w->processes[n].change_usec = soon(w, 300 * SECOND);
        }
}

/* ---- the laws ---- */

static uint32_t count_ready(const World *w, uint32_t without, bool counted) {
        uint32_t ready = 0;

        for (uint32_t n = 1; n <= w->view.max_number; n++) {
                const RolloutSlot *s = &w->view.slots[n];

                if (n == without || s->state != ROLLOUT_READY)
                        continue;
                if (counted && s->side == ROLLOUT_NEW && !w->plan.reverting &&
                    w->now_usec < s->since_usec + w->plan.min_healthy_usec)
                        continue;
                ready++;
        }
        return ready;
}

static uint32_t count_side(const World *w, RolloutSide side) {
        uint32_t count = 0;

        for (uint32_t n = 1; n <= w->view.max_number; n++) {
                const RolloutSlot *s = &w->view.slots[n];

                count += s->side == side && s->state != ROLLOUT_ABSENT && s->state != ROLLOUT_LEAVING;
        }
        return count;
}

static uint32_t count_all(const World *w) {
        uint32_t total = 0;

        for (uint32_t n = 1; n <= w->view.max_number; n++)
                total += w->view.slots[n].state != ROLLOUT_ABSENT;
        return total;
}

static void check_removal(const World *w, uint64_t world, const RolloutStep *step) {
        const RolloutSlot *s = &w->view.slots[step->number];
        uint32_t missing = w->plan.max_unavailable, room = w->view.max_number - w->plan.wanted;

        if (w->view.max_number <= w->plan.wanted || w->plan.max_surge == 0)
                missing = missing > 0 ? missing : 1;
        if (w->plan.strategy == ROLLOUT_BLUE_GREEN && w->view.max_number > w->plan.wanted && room > 0)
                missing = w->plan.max_unavailable;
        if (s->state == ROLLOUT_READY && count_ready(w, step->number, true) + missing < w->plan.wanted)
                broken(w, world, "too few would be available");
        if (step->act == ROLLOUT_STEP_STOP && step->number == 1 && w->view.trigger)
                broken(w, world, "what connections start was stopped");
        if (w->plan.reverting && s->side == ROLLOUT_OLD && s->state == ROLLOUT_READY &&
            count_side(w, ROLLOUT_OLD) <= w->plan.wanted)
                broken(w, world, "going back stopped a healthy old one");
        if (!w->plan.reverting && s->side == ROLLOUT_NEW && count_side(w, ROLLOUT_NEW) <= w->plan.wanted)
                broken(w, world, "going forward stopped a new one");
        if (!w->plan.reverting && w->plan.strategy == ROLLOUT_BLUE_GREEN && w->plan.switched_usec == 0)
                broken(w, world, "an old one went before the switch");
}

static void check_share(const World *w, uint64_t world) {
        uint32_t share = rollout_plan_share(&w->view), old = 0;

        for (uint32_t n = 1; n <= w->view.max_number; n++)
                old += w->view.slots[n].state == ROLLOUT_READY && w->view.slots[n].side != ROLLOUT_NEW;
        if (share > ROLLOUT_SHARE_WHOLE)
                broken(w, world, "more than everything");
        if (w->plan.strategy == ROLLOUT_CANARY && !w->plan.reverting && old > 0 &&
            share > w->plan.steps[w->plan.step] * 10)
                broken(w, world, "the canary got more than its share");
        if (w->plan.strategy == ROLLOUT_BLUE_GREEN && w->plan.switched_usec == 0 && old > 0 && share > 0)
                broken(w, world, "green got traffic before the switch");
}

static void check_end(const World *w, uint64_t world) {
        RolloutSide side = w->end == ROLLOUT_STEP_DONE ? ROLLOUT_NEW : ROLLOUT_OLD;

        if (w->end == ROLLOUT_STEP_FAILED)
                broken(w, world, "it could not be reverted");
        if (w->fault != FAULT_NONE && w->end == ROLLOUT_STEP_DONE &&
            !(w->fault == FAULT_SHORT && w->plan.min_healthy_usec <= SECOND))
                broken(w, world, "a bad revision was rolled out");
        if (w->fault == FAULT_NONE && !w->crashes && w->end != ROLLOUT_STEP_DONE)
                broken(w, world, "a good revision was not rolled out");
        if (count_side(w, side) != count_all(w))
                broken(w, world, "something of the other revision is left");
        if (count_all(w) != w->plan.wanted)
                broken(w, world, "it ended with another number than the wanted one");
}

/* ---- the run ---- */

static void act(World *w, uint64_t world, const RolloutStep *step) {
        RolloutSide target = w->plan.reverting ? ROLLOUT_OLD : ROLLOUT_NEW;
        uint32_t n = step->number, limit;

        switch (step->act) {
        case ROLLOUT_STEP_START:
                limit = w->plan.wanted + w->plan.max_surge;
                if (w->plan.strategy == ROLLOUT_BLUE_GREEN)
                        limit = 2 * w->plan.wanted;
                if (w->view.slots[n].state != ROLLOUT_ABSENT || n < 1 || n > w->view.max_number)
                        broken(w, world, "a number that is not free was started");
                if (count_all(w) + 1 > limit)
                        broken(w, world, "more than wanted and the surge");
                w->processes[n].deaths = 0;
                begin(w, n, target);
                break;
        case ROLLOUT_STEP_STOP:
                check_removal(w, world, step);
                set(w, n, ROLLOUT_LEAVING, w->view.slots[n].side, soon(w, 3 * SECOND));
                break;
        case ROLLOUT_STEP_REPLACE:
                check_removal(w, world, step);
                if (w->view.slots[n].side == target)
                        broken(w, world, "one of the target was replaced");
                w->processes[n].deaths = 0;
                begin(w, n, target);
                break;
        case ROLLOUT_STEP_DONE:
        case ROLLOUT_STEP_REVERTED:
        case ROLLOUT_STEP_FAILED:
                w->end = step->act;
                break;
        default:
                break;
        }
        rollout_plan_apply(&w->plan, step, w->now_usec);
}

/* The planner is killed: what it knew is gone but for the plan; times are counted anew. */
static void restart_planner(World *w) {
        rollout_plan_renew(&w->plan, w->now_usec);
        for (uint32_t n = 1; n <= w->view.max_number; n++)
                w->view.slots[n].since_usec = w->now_usec;
}

static void disturb(World *w) {
        uint32_t wanted;

        if (w->restarts && random_below(w, w->late ? 600 : 6) == 0) /* late ones are asked each second */
                restart_planner(w);
        if (random_below(w, 40) == 0) {
                if (w->plan.paused) {
                        rollout_plan_resume(&w->plan, w->now_usec);
                } else if (!w->plan.reverting)
                        w->plan.paused = true;
        }
        wanted = 1 + (uint32_t) random_below(w, w->view.max_number);
        if (random_below(w, 60) == 0 && w->plan.strategy != ROLLOUT_BLUE_GREEN)
                rollout_plan_set_wanted(&w->plan, wanted, w->now_usec);
        if (w->plan.paused && random_below(w, 4) == 0)
                rollout_plan_resume(&w->plan, w->now_usec);
}

static uint64_t next_event(const World *w, uint64_t again_usec) {
        uint64_t next = again_usec;

        for (uint32_t n = 1; n <= w->view.max_number; n++) {
                if (w->processes[n].change_usec < next)
                        next = w->processes[n].change_usec;
        }
        if (w->bad_usec > w->now_usec && w->bad_usec < next)
                next = w->bad_usec;
        if (w->late && next > w->view.seen_usec + SECOND)
                next = w->view.seen_usec + SECOND;
        if (w->plan.paused && next > w->now_usec + 30 * SECOND)
                next = w->now_usec + 30 * SECOND;
        return next;
}

static void judge(World *w) {
        if (w->fault != FAULT_JUDGED)
                return;
        if (w->bad_usec == 0 && rollout_plan_share(&w->view) > 0 && !w->plan.reverting) {
                /* Longer than that nobody needs who waits for counted ones. */
                w->bad_usec = w->plan.min_healthy_usec == 0 || w->plan.pause_usec == 0 ? w->now_usec
                                                                                       : soon(w, SECOND);
        }
        w->view.verdict = w->bad_usec > 0 && w->bad_usec <= w->now_usec ? ROLLOUT_VERDICT_BAD
                                                                        : ROLLOUT_VERDICT_OPEN;
        w->view.verdict_reason = "its answers are bad";
}

static void plan_all(World *w, uint64_t world, uint64_t *again_usec) {
        unsigned n = 0;

        while (w->end == ROLLOUT_STEP_NOTHING) {
                RolloutStep step;

                *again_usec = MAM_USEC_INFINITY;
                w->view.seen_usec = w->late ? w->now_usec - w->now_usec % SECOND : w->now_usec;
                judge(w);
                rollout_plan(&w->view, w->now_usec, &step, again_usec);
                if (step.act == ROLLOUT_STEP_NOTHING)
                        break;
                act(w, world, &step);
                check_share(w, world);
                if (++n > 4 * NUMBERS)
                        broken(w, world, "it does not come to rest");
        }
}

static void run_world(World *w, uint64_t world) {
        uint64_t again = 0;

        make_world(w, world);
        for (unsigned i = 0; i < STEPS && w->end == ROLLOUT_STEP_NOTHING; i++) {
                for (uint32_t n = 1; n <= w->view.max_number; n++) {
                        if (w->processes[n].change_usec <= w->now_usec)
                                happen(w, n);
                }
                disturb(w);
                plan_all(w, world, &again);
                check_share(w, world);
                if (w->end != ROLLOUT_STEP_NOTHING)
                        break;

                again = next_event(w, again);
                if (again == MAM_USEC_INFINITY)
                        broken(w, world, "it waits for nothing");
                if (again <= w->now_usec)
                        broken(w, world, "it is busy without doing anything");
                w->now_usec = again;
                if (w->now_usec > END_BY)
                        broken(w, world, "it never ends");
        }
        if (w->end == ROLLOUT_STEP_NOTHING)
                broken(w, world, "it takes too many steps");
        check_end(w, world);
}

TEST(in_random_worlds_the_laws_hold_and_every_rollout_ends) {
        unsigned done = 0, reverted = 0;
        World w;

        for (uint64_t i = 0; i < WORLDS; i++) {
                run_world(&w, i);
                done += w.end == ROLLOUT_STEP_DONE;
                reverted += w.end == ROLLOUT_STEP_REVERTED;
        }
        /* Both ends are seen often, or the worlds are no test. */
        ASSERT_TRUE(done > WORLDS / 10);
        ASSERT_TRUE(reverted > WORLDS / 2);
}

/* ---- a table of walks ---- */

typedef struct Walk {
        RolloutPlan plan;
        RolloutView view;
        uint64_t now_usec;
        uint64_t unseen_usec; /* so long ago gateways were asked */
        RolloutStep step;
        uint64_t again_usec;
} Walk;

static void walk_begin(Walk *w, uint32_t wanted, uint32_t max_number, bool trigger) {
        *w = (Walk){ .now_usec = 1000 * SECOND };
        rollout_plan_init(&w->plan, wanted, w->now_usec);
        w->view = (RolloutView){ .plan = &w->plan, .max_number = max_number, .trigger = trigger };
        for (uint32_t n = 1; n <= max_number; n++) {
                w->view.slots[n] = (RolloutSlot){ .state = n <= wanted ? ROLLOUT_READY : ROLLOUT_ABSENT,
                                                  .side = n <= wanted ? ROLLOUT_OLD : ROLLOUT_NEW };
        }
}

/* Asks until something happens that is not only noted. */
static void walk(Walk *w) {
        do {
                w->again_usec = MAM_USEC_INFINITY;
                w->view.seen_usec = w->now_usec - w->unseen_usec;
                rollout_plan(&w->view, w->now_usec, &w->step, &w->again_usec);
                rollout_plan_apply(&w->plan, &w->step, w->now_usec);
        } while (w->step.act == ROLLOUT_STEP_PROGRESS);
}

static void put(Walk *w, uint32_t n, RolloutSlotState state, RolloutSide side) {
        w->view.slots[n] = (RolloutSlot){ .state = state, .side = side, .since_usec = w->now_usec };
}

#define EXPECT(w, _act, _number)                      \
        do {                                          \
                walk(w);                              \
                ASSERT_EQ((w)->step.act, _act);       \
                ASSERT_EQ((w)->step.number, _number); \
        } while (0)

TEST(rolling_starts_one_waits_for_it_to_be_healthy_and_stops_one) {
        Walk w;

        walk_begin(&w, 2, 4, false);
        EXPECT(&w, ROLLOUT_STEP_START, 3);
        put(&w, 3, ROLLOUT_STARTING, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        ASSERT_EQ(w.again_usec, w.now_usec + ROLLOUT_MIN_HEALTHY_USEC);
        ASSERT_EQ(rollout_plan_share(&w.view), 333);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_STOP, 2);
        put(&w, 2, ROLLOUT_LEAVING, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0); /* it still counts as one more */
        put(&w, 2, ROLLOUT_ABSENT, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_START, 4); /* not 2: its unit is still that of the old one */
}

TEST(nothing_is_proven_by_a_time_that_nobody_has_looked_at) {
        Walk w;

        walk_begin(&w, 2, 4, false);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        w.unseen_usec = 1;
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        w.unseen_usec = 0;
        EXPECT(&w, ROLLOUT_STEP_STOP, 2);
}

TEST(the_number_that_connections_start_is_replaced_in_place_and_last) {
        Walk w;

        walk_begin(&w, 1, 2, true);
        EXPECT(&w, ROLLOUT_STEP_START, 2);
        put(&w, 2, ROLLOUT_READY, ROLLOUT_NEW);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_REPLACE, 1);
        put(&w, 1, ROLLOUT_STARTING, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0); /* 2 stands in */
        put(&w, 1, ROLLOUT_READY, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_STOP, 2);
        put(&w, 2, ROLLOUT_ABSENT, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_DONE, 0);
}

TEST(without_free_numbers_one_after_the_other_is_replaced_in_place) {
        Walk w;

        walk_begin(&w, 3, 3, false);
        EXPECT(&w, ROLLOUT_STEP_REPLACE, 3);
        put(&w, 3, ROLLOUT_STARTING, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_REPLACE, 2);
}

TEST(a_canary_gets_its_share_is_watched_and_goes_on) {
        Walk w;

        walk_begin(&w, 4, 8, false);
        w.plan.strategy = ROLLOUT_CANARY;
        EXPECT(&w, ROLLOUT_STEP_START, 5);
        put(&w, 5, ROLLOUT_READY, ROLLOUT_NEW);
        ASSERT_EQ(rollout_plan_share(&w.view), 0);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_WATCH, 0);
        ASSERT_EQ(rollout_plan_share(&w.view), 50);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        ASSERT_EQ(w.again_usec, w.now_usec + ROLLOUT_PAUSE_USEC);
        w.now_usec += ROLLOUT_PAUSE_USEC;
        EXPECT(&w, ROLLOUT_STEP_NEXT, 0);
        ASSERT_EQ(rollout_plan_share(&w.view), 50);
        EXPECT(&w, ROLLOUT_STEP_WATCH, 0); /* one is a quarter of four: enough */
        ASSERT_EQ(rollout_plan_share(&w.view), 200);
        rollout_plan_resume(&w.plan, w.now_usec); /* somebody has seen enough */
        ASSERT_EQ(w.plan.step, 2);
        EXPECT(&w, ROLLOUT_STEP_STOP, 4); /* five are there: room for the next */
}

TEST(a_canary_that_is_judged_bad_costs_no_old_replica) {
        Walk w;

        walk_begin(&w, 4, 8, false);
        w.plan.strategy = ROLLOUT_CANARY;
        put(&w, 5, ROLLOUT_READY, ROLLOUT_NEW);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_WATCH, 0);
        w.view.verdict = ROLLOUT_VERDICT_BAD;
        w.view.verdict_reason = "because";
        EXPECT(&w, ROLLOUT_STEP_REVERT, 0);
        ASSERT_STREQ(w.step.reason, "because");
        ASSERT_EQ(rollout_plan_share(&w.view), 0); /* at once */
        EXPECT(&w, ROLLOUT_STEP_STOP, 5);
        put(&w, 5, ROLLOUT_ABSENT, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_REVERTED, 0);
}

TEST(blue_green_switches_when_all_are_ready_and_keeps_the_old_ones_for_a_while) {
        Walk w;

        walk_begin(&w, 2, 4, false);
        w.plan.strategy = ROLLOUT_BLUE_GREEN;
        EXPECT(&w, ROLLOUT_STEP_START, 3);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_START, 4);
        put(&w, 4, ROLLOUT_READY, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        ASSERT_EQ(rollout_plan_share(&w.view), 0);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_SWITCH, 0);
        ASSERT_EQ(rollout_plan_share(&w.view), 1000);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_STOP, 2);
        put(&w, 2, ROLLOUT_LEAVING, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_STOP, 1);
}

TEST(going_back_lets_the_new_ones_serve_until_the_old_ones_are_ready) {
        Walk w;

        walk_begin(&w, 2, 4, false);
        put(&w, 2, ROLLOUT_ABSENT, ROLLOUT_OLD);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        put(&w, 4, ROLLOUT_FAILED, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_REVERT, 4);
        EXPECT(&w, ROLLOUT_STEP_STOP, 4); /* it serves nobody */
        put(&w, 4, ROLLOUT_ABSENT, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_START, 2);
        put(&w, 2, ROLLOUT_STARTING, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0); /* 3 stays meanwhile */
        put(&w, 2, ROLLOUT_READY, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_STOP, 3);
        put(&w, 3, ROLLOUT_ABSENT, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_REVERTED, 0);
}

TEST(without_auto_revert_a_failure_waits_for_a_person) {
        Walk w;

        walk_begin(&w, 2, 4, false);
        w.plan.auto_revert = false;
        put(&w, 3, ROLLOUT_FAILED, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_HOLD, 3);
        ASSERT_TRUE(w.plan.paused);
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 3);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        rollout_plan_resume(&w.plan, w.now_usec);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        EXPECT(&w, ROLLOUT_STEP_STOP, 2);
}

TEST(a_rollout_that_stands_still_goes_back) {
        Walk w;

        walk_begin(&w, 2, 4, false);
        EXPECT(&w, ROLLOUT_STEP_START, 3);
        put(&w, 3, ROLLOUT_STARTING, ROLLOUT_NEW);
        w.now_usec += ROLLOUT_HEALTHY_DEADLINE_USEC;
        EXPECT(&w, ROLLOUT_STEP_REVERT, 3);

        walk_begin(&w, 2, 4, false);
        put(&w, 3, ROLLOUT_LEAVING, ROLLOUT_OLD); /* never ends, and the place is taken */
        EXPECT(&w, ROLLOUT_STEP_NOTHING, 0);
        w.now_usec += ROLLOUT_PROGRESS_DEADLINE_USEC;
        EXPECT(&w, ROLLOUT_STEP_REVERT, 0);
}

TEST(scaling_is_carried_out_by_the_rollout) {
        Walk w;

        walk_begin(&w, 2, 8, false);
        put(&w, 3, ROLLOUT_READY, ROLLOUT_NEW);
        put(&w, 4, ROLLOUT_READY, ROLLOUT_NEW);
        w.now_usec += ROLLOUT_MIN_HEALTHY_USEC;
        rollout_plan_set_wanted(&w.plan, 1, w.now_usec);
        EXPECT(&w, ROLLOUT_STEP_STOP, 2);
        put(&w, 2, ROLLOUT_ABSENT, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_STOP, 1);
        put(&w, 1, ROLLOUT_ABSENT, ROLLOUT_OLD);
        EXPECT(&w, ROLLOUT_STEP_STOP, 4); /* one more than wanted */
        put(&w, 4, ROLLOUT_ABSENT, ROLLOUT_NEW);
        EXPECT(&w, ROLLOUT_STEP_DONE, 0);
}
