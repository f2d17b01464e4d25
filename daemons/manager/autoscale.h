/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Autoscaling: how many replicas, and how big, decided in one place
 *
 * Each resource has one controller at a time, so that the two never fight:
 * - CPU: horizontal first. Vertical acts on CPU only if horizontal is not "auto" or stands at its maximum,
 *   and then, where it could have fewer replicas instead, it only raises.
 * - memory: vertical first, if it is "auto". Horizontal looks at memory only if vertical is not "auto", or
 *   stands at its maximum, or may not act (pinned by a person).
 * Pure: a decision is a function of (AutoscaleInput, AutoscaleState, now). Every decision leaves a
 * DecisionRecord.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/config/config.h"
#include "manager/hpa.h"
#include "manager/vpa.h"
#include "manager/zero.h"

typedef struct Service Service;

typedef enum AutoscaleTopic {
        AUTOSCALE_REPLICAS,
        AUTOSCALE_CPU,
        AUTOSCALE_MEMORY,
        _AUTOSCALE_TOPIC_MAX,
} AutoscaleTopic;

/* ---- why ---- */

#define DECISION_NUMBERS_MAX 12U

typedef struct DecisionNumber {
        char name[32];
        double value;
} DecisionNumber;

typedef struct DecisionRecord {
        char verdict[64];    /* "3 replicas", "grow from 2 to 5", "512 MiB, pinned" */
        char why[256];       /* which signal, window, bound decided */
        char change[192];    /* what would change it */
        uint64_t since_usec; /* realtime: since when the verdict is this one; 0: not known */
        DecisionNumber numbers[DECISION_NUMBERS_MAX];
        uint32_t n_numbers;
} DecisionRecord;

/* Borrowed from the service, up to date; never NULL. Also where nothing is autoscaled: then it says so. */
const DecisionRecord *autoscale_explain(Service *s, AutoscaleTopic topic);
/* "replicas", "cpu", "memory" */
const char *autoscale_topic_to_string(AutoscaleTopic t);

/* ---- deciding ---- */

typedef struct AutoscaleInput {
        MamScalingMode horizontal, vertical;
        bool running; /* a person wants it to run */

        /* min and max as configured; metrics: all that the configuration looks at */
        HpaInput hpa;
        bool can_sleep;          /* min 0, and a connection wakes it */
        double target_in_flight; /* where it can sleep; 0: none */
        uint64_t idle_usec;
        bool idle_unsure; /* somebody is connected whom the gateways do not see: awake */

        uint64_t cpu_millis, memory_bytes; /* per replica, now */
        bool cpu_pinned, memory_pinned;    /* by a person */
        VpaBounds cpu_bounds, memory_bounds;
        uint64_t realtime_usec; /* now */
} AutoscaleInput;

typedef struct AutoscaleState {
        HpaState hpa;
        ZeroState zero;
        VpaState vpa;
        uint32_t metrics_count;                         /* what the latest period asked for; 0: none yet */
        uint64_t cpu_changed_usec, memory_changed_usec; /* realtime; when a limit last changed; 0: never */
        HpaDecision hpa_latest;
        ZeroDecision zero_latest;
        VpaRecommendation cpu, memory; /* as recommended last */
        VpaVerdict cpu_verdict, memory_verdict;
        bool cpu_yields;        /* vertical leaves CPU to horizontal */
        bool memory_horizontal; /* horizontal looks at memory */
        uint32_t recommended;   /* replicas; with asleep 0 */
        bool recommended_known;
        DecisionRecord records[_AUTOSCALE_TOPIC_MAX];
} AutoscaleState;

typedef struct AutoscaleDecision {
        /* What to change; act only where the flag is set. */
        bool scale, resize_cpu, resize_memory;
        uint32_t count;
        uint64_t cpu_millis, memory_bytes;
} AutoscaleDecision;

/* Once each period. */
AutoscaleDecision autoscale_decide(AutoscaleState *state, const AutoscaleInput *in, uint64_t now_usec);
/* Between two periods, for what can sleep: how many by requests in flight. */
AutoscaleDecision autoscale_decide_quick(AutoscaleState *state, const AutoscaleInput *in, uint64_t now_usec);

/* autoscale-text.c: the records, from what was decided last. Called by both. */
void autoscale_describe(AutoscaleState *state, const AutoscaleInput *in, uint64_t now_usec);
