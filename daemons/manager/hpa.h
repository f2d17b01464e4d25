/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Horizontal autoscaling: how many replicas, by the rules of the Kubernetes HorizontalPodAutoscaler
 *
 * From its documentation ("Algorithm details", "Configurable scaling behavior"), each period:
 * - per metric, the ratio of what is to what should be; within 0.1 of 1 the count stays as it is; otherwise
 *   ceil(ready × ratio). Ready replicas without a measurement count as exactly at their target if the count
 *   would fall and as unused if it would grow, replicas that are not ready as unused if it would grow. If
 *   that turns the answer around, or brings it within the tolerance, the count stays.
 * - the largest answer of all metrics is taken. A metric that failed forbids to shrink.
 * - stabilisation: never below what was recommended within the down window.
 * - rate: within a period at most 4 more or twice as many, whichever is more. Shrinking has no rate.
 * - then the bounds.
 * The count that stays is the desired one, never that of a rollout's surplus. Pure: times are handed in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/config/config.h"
#include "libmam/util/time.h"

#define HPA_PERIOD_USEC      (15 * MAM_USEC_PER_SEC)
#define HPA_TOLERANCE        0.1
#define HPA_UP_REPLICAS      4U
#define HPA_DOWN_WINDOW_USEC (300 * MAM_USEC_PER_SEC)

typedef enum HpaSignal {
        HPA_CPU,       /* percent of the limit */
        HPA_MEMORY,    /* percent of the limit */
        HPA_IN_FLIGHT, /* requests, per replica */
        HPA_RPS,       /* requests a second, per replica */
        HPA_LATENCY,   /* µs, p99 of the last minute */
        HPA_PRESSURE,  /* percent, PSI some avg10 of CPU, worst replica */
        _HPA_SIGNAL_MAX,
} HpaSignal;

typedef enum HpaKind {
        HPA_PER_REPLICA, /* sum over the replicas that were measured; the target is per replica */
        HPA_TOTAL,       /* sum over the group, however many they are; the target is per replica */
        HPA_VALUE,       /* one value for the group against the target */
} HpaKind;

typedef struct HpaMetric {
        bool used;
        bool failed;       /* could not be read at all */
        double target;     /* more than 0 */
        double value;      /* what the kind says */
        uint32_t measured; /* per replica: ready and measured */
        uint32_t missing;  /* per replica: ready, not measured */
        uint32_t unready;  /* per replica: wanted, not ready */
} HpaMetric;

typedef struct HpaInput {
        uint32_t desired; /* replicas wanted now */
        uint32_t ready;   /* of those */
        uint32_t min, max;
        uint64_t down_window_usec;
        uint64_t period_usec;
        HpaMetric metrics[_HPA_SIGNAL_MAX];
} HpaInput;

/* Newer recommendations that are at least as high make older ones superfluous for a maximum: what is kept
 * falls strictly, so there are never more than there are counts. */
#define HPA_MEMORY_MAX (MAM_CONFIG_REPLICAS_MAX + 1U)
#define HPA_EVENTS_MAX 8U

typedef struct HpaState {
        struct {
                uint64_t usec;
                uint32_t count;
        } memory[HPA_MEMORY_MAX]; /* oldest and highest first */
        uint32_t n_memory;
        struct {
                uint64_t usec;
                uint32_t added;
        } events[HPA_EVENTS_MAX]; /* growth, oldest first */
        uint32_t n_events;
} HpaState;

typedef enum HpaReason {
        HPA_BY_METRIC,    /* what the deciding signal asks for */
        HPA_TOLERATED,    /* all within tolerance */
        HPA_NO_METRICS,   /* nothing could be read */
        HPA_FAILED_KEEPS, /* would shrink, but a metric could not be read */
        HPA_STABILISED,   /* would shrink, but not before the window is over */
        HPA_RATE_LIMITED, /* would grow further */
        HPA_AT_MIN,
        HPA_AT_MAX,
        HPA_OUTSIDE, /* was below the minimum or above the maximum */
        _HPA_REASON_MAX,
} HpaReason;

typedef struct HpaDecision {
        uint32_t count;       /* what there should be */
        uint32_t recommended; /* what the metrics ask for, before window, rate and bounds */
        HpaReason reason;
        HpaSignal signal;               /* that decided; _HPA_SIGNAL_MAX: none */
        double ratio;                   /* of that signal: what is to what should be */
        uint64_t window_usec;           /* stabilised: until when (monotonic) */
        uint32_t window_count;          /* and by which recommendation */
        HpaSignal failed;               /* _HPA_SIGNAL_MAX: none */
        double ratios[_HPA_SIGNAL_MAX]; /* -1: not used or not known */
} HpaDecision;

HpaKind hpa_signal_kind(HpaSignal s);
/* "cpu", "memory", "in_flight", "rps", "latency", "pressure" */
const char *hpa_signal_to_string(HpaSignal s);

/* What one metric asks for. -ENODATA: it failed, or nothing was measured. */
int hpa_metric_count(const HpaInput *in, HpaSignal signal, uint32_t *ret_count, double *ret_ratio);
/* Decides and remembers. The first call after hpa_reset() remembers the desired count, so that nothing
 * shrinks within the first window. */
HpaDecision hpa_decide(HpaState *state, const HpaInput *in, uint64_t now_usec);
/* A person wants so many: a recommendation of now. */
void hpa_note(HpaState *state, uint32_t count, uint64_t now_usec);
void hpa_reset(HpaState *state);
