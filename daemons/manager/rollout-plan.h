/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a rollout does next: pure decisions of (plan, replicas, now)
 *
 * The rules of Nomad's deployments, with the numbers of replicas in place of allocations: new replicas come
 * up on free numbers, count once they were healthy for min_healthy_usec, and only then do old ones go. The
 * planner never lets what is ready fall below wanted − max_unavailable, and never has more than wanted +
 * max_surge replicas (blue-green: twice wanted) by its own doing. Going back is the same walk with the
 * sides exchanged, so nothing healthy and old stops before what replaces it is ready.
 *
 * A number that systemd would start again by itself ("trigger", service_needs_first()) never gets free: it
 * is replaced in place, last. Where no number is free all are replaced in place, max_unavailable (at least
 * one) at a time.
 *
 * rollout_plan() names one step; the caller carries it out, rollout_plan_apply() notes it in the plan, and
 * the caller asks again until the step is ROLLOUT_STEP_NOTHING.
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"
#include "manager/numbers.h"

#define ROLLOUT_STEPS_MAX    16U
#define ROLLOUT_REASON_MAX   192U
#define ROLLOUT_SHARE_WHOLE  1000U
#define ROLLOUT_SCORE_FACTOR 256U

#define ROLLOUT_MIN_HEALTHY_USEC       (10 * MAM_USEC_PER_SEC)
#define ROLLOUT_HEALTHY_DEADLINE_USEC  (300 * MAM_USEC_PER_SEC)
#define ROLLOUT_PROGRESS_DEADLINE_USEC (600 * MAM_USEC_PER_SEC)
#define ROLLOUT_PAUSE_USEC             (60 * MAM_USEC_PER_SEC)

typedef enum RolloutStrategy {
        ROLLOUT_ROLLING,
        ROLLOUT_CANARY,
        ROLLOUT_BLUE_GREEN,
        _ROLLOUT_STRATEGY_MAX,
        _ROLLOUT_STRATEGY_INVALID = -EINVAL,
} RolloutStrategy;

typedef enum RolloutSide {
        ROLLOUT_OLD,
        ROLLOUT_NEW,
        ROLLOUT_OTHER, /* neither: left by an earlier rollout that could not end well */
} RolloutSide;

typedef enum RolloutSlotState {
        ROLLOUT_ABSENT,   /* the number is free */
        ROLLOUT_STARTING, /* is to run, and is not ready */
        ROLLOUT_READY,
        ROLLOUT_FAILED,  /* crash-loops, or cannot be started */
        ROLLOUT_LEAVING, /* drains or stops */
} RolloutSlotState;

typedef struct RolloutSlot {
        RolloutSlotState state;
        RolloutSide side;    /* of ROLLOUT_ABSENT: what systemd would start, as its units are now */
        uint64_t since_usec; /* of state */
} RolloutSlot;

/* What somebody asked for, and how far it is. Stored, so that a new manager goes on. */
typedef struct RolloutPlan {
        RolloutStrategy strategy;
        uint32_t steps[ROLLOUT_STEPS_MAX]; /* canary: percent, rising; the last one is 100 */
        uint32_t n_steps;
        uint64_t pause_usec;
        uint32_t max_surge, max_unavailable;
        uint64_t min_healthy_usec, healthy_deadline_usec, progress_deadline_usec;
        bool auto_revert;

        uint32_t wanted;        /* replicas in the end; changed by scaling */
        uint32_t step;          /* canary: index into steps */
        uint64_t watch_usec;    /* canary: this step is watched since; 0: it is not */
        uint64_t switched_usec; /* blue-green: the traffic went over; 0: it did not */
        uint64_t progress_usec; /* when something last came forward */
        uint32_t score;         /* how far it was then */
        bool paused;
        bool reverting;
} RolloutPlan;

typedef enum RolloutVerdict {
        ROLLOUT_VERDICT_OPEN, /* nothing speaks against the new revision */
        ROLLOUT_VERDICT_BAD,
} RolloutVerdict;

typedef struct RolloutView {
        const RolloutPlan *plan;
        uint32_t max_number; /* numbers 1 to max_number have units */
        bool trigger;        /* number 1 is started by systemd itself */
        /* Until when it is known how they served; not after now. Times that prove a new replica end no
         * earlier, so that no verdict comes too late. */
        uint64_t seen_usec;
        RolloutSlot slots[MAM_CONFIG_REPLICAS_MAX + 1];
        RolloutVerdict verdict;
        const char *verdict_reason; /* borrowed; of a bad one */
} RolloutView;

typedef enum RolloutAct {
        ROLLOUT_STEP_NOTHING,  /* reason says what is being waited for */
        ROLLOUT_STEP_START,    /* a replica of the target on a free number */
        ROLLOUT_STEP_STOP,     /* drain and stop it */
        ROLLOUT_STEP_REPLACE,  /* in place: drain and restart it as one of the target */
        ROLLOUT_STEP_PROGRESS, /* something came forward: the deadline begins anew */
        ROLLOUT_STEP_WATCH,    /* canary: its share begins, and is watched */
        ROLLOUT_STEP_NEXT,     /* canary: on to the next share */
        ROLLOUT_STEP_SWITCH,   /* blue-green: all traffic to the new ones */
        ROLLOUT_STEP_REVERT,   /* go back, because of reason */
        ROLLOUT_STEP_HOLD,     /* as REVERT, but auto_revert is off: pause */
        ROLLOUT_STEP_DONE,
        ROLLOUT_STEP_REVERTED,
        ROLLOUT_STEP_FAILED, /* cannot even be reverted */
} RolloutAct;

typedef struct RolloutStep {
        RolloutAct act;
        uint32_t number;                 /* of START, STOP, REPLACE */
        uint32_t score;                  /* of PROGRESS */
        char reason[ROLLOUT_REASON_MAX]; /* for people */
} RolloutStep;

const char *rollout_strategy_to_string(RolloutStrategy s);
RolloutStrategy rollout_strategy_from_string(const char *s);

/* The defaults of the bus API, for wanted replicas, beginning now. */
void rollout_plan_init(RolloutPlan *ret, uint32_t wanted, uint64_t now_usec);

/* *again_usec is lowered to when the answer may change by itself. */
void rollout_plan(const RolloutView *view, uint64_t now_usec, RolloutStep *ret, uint64_t *again_usec);
/* Notes a step that is carried out. */
void rollout_plan_apply(RolloutPlan *plan, const RolloutStep *step, uint64_t now_usec);
/* A new manager, perhaps after a new boot: times that were being counted begin anew. */
void rollout_plan_renew(RolloutPlan *plan, uint64_t now_usec);
/* Somebody wants another number. */
void rollout_plan_set_wanted(RolloutPlan *plan, uint32_t wanted, uint64_t now_usec);
/* Canary: what follows is no share that is watched, but all of it. */
bool rollout_plan_is_last_step(const RolloutPlan *plan);
void rollout_plan_resume(RolloutPlan *plan, uint64_t now_usec);

/* Share of the requests for the new revision, in thousandths. Canary: never above its step while an old one
 * is ready. */
uint32_t rollout_plan_share(const RolloutView *view);
