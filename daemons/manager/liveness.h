/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Liveness: when an unhealthy replica is restarted. Pure decisions of (view, now)
 *
 * A replica that systemd calls active and that does not answer first loses its traffic (health.h). Only if
 * it goes on for LIVENESS_MORE times the failures that made it unhealthy is it restarted, as Kubernetes does
 * with a failing liveness probe: after the first time not before LIVENESS_FIRST_USEC have passed since the
 * last restart, then twice as long each time, up to LIVENESS_MAX_USEC; BACKOFF_RESET_USEC of health forget
 * that. One at a time per service, so that a probe that is wrong about all of them never takes all down
 * together; and not while something that the service depends on is not ready, since that is where the fault
 * is then. What keeps data (type infrastructure) is not restarted at all: it may be recovering.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define LIVENESS_MORE       3U
#define LIVENESS_FIRST_USEC (60 * MAM_USEC_PER_SEC)
#define LIVENESS_MAX_USEC   (600 * MAM_USEC_PER_SEC)

typedef struct Liveness {
        uint64_t restarted_usec; /* when we last did it; 0: never */
        unsigned level;          /* how often since it last was healthy for long */
        bool restarting;         /* one of ours is under way */
} Liveness;

typedef struct LivenessView {
        bool keeps_data;
        bool wanted;
        bool unhealthy;
        bool busy;            /* a call, job or restart of it is under way */
        bool sibling_is_down; /* another one of the service is being started, stopped or restarted */
        bool dependency_is_down;
        unsigned failures;  /* in a row */
        unsigned threshold; /* that make unhealthy */
} LivenessView;

typedef enum LivenessVerdict {
        LIVENESS_FINE, /* nothing to do */
        LIVENESS_RESTART,
        LIVENESS_KEEPS_DATA,
        LIVENESS_COUNTING, /* it has not failed for long enough */
        LIVENESS_BUSY,
        LIVENESS_SIBLING,    /* another one first */
        LIVENESS_DEPENDENCY, /* the fault is elsewhere */
        LIVENESS_BACKOFF,    /* it did not help lately */
        _LIVENESS_VERDICT_MAX,
} LivenessVerdict;

/* *again_usec is lowered to the time at which the answer may change by itself. */
LivenessVerdict liveness_judge(
                const Liveness *l,
                const LivenessView *v,
                uint64_t now_usec,
                uint64_t *again_usec);
void liveness_note_restart(Liveness *l, uint64_t now_usec);
/* Healthy since, 0: it is not. */
void liveness_note_health(Liveness *l, uint64_t healthy_since_usec, uint64_t now_usec);
/* When the back-off lets it be restarted again. */
uint64_t liveness_held_until(const Liveness *l);
/* For people: why it is not restarted. */
const char *liveness_verdict_to_string(LivenessVerdict v);
