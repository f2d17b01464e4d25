/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scale to zero: how many replicas by requests in flight, and when none is needed
 *
 * By the rules of Knative's autoscaler (KPA, from its documentation "Autoscaling concepts"): the mean over a
 * stable window of 60 s decides; a panic window of 6 s decides as well once it asks for twice what is ready,
 * and while there is panic (until the stable window is over without it) nothing shrinks. A step of shrinking
 * at most halves. After idle_usec without any request there is nothing left to do, and step by step the
 * count goes to zero. Pure: times (monotonic) are handed in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define ZERO_STABLE_USEC  (60 * MAM_USEC_PER_SEC)
#define ZERO_PANIC_USEC   (6 * MAM_USEC_PER_SEC)
#define ZERO_PANIC_FACTOR 2.0
#define ZERO_STEP_USEC    (2 * MAM_USEC_PER_SEC)

#define ZERO_SECONDS 61U /* the stable window, and the second under way */

typedef struct ZeroState {
        struct {
                uint64_t second; /* since the epoch of the clock; what it stands for */
                double sum;      /* of requests in flight, as often as was looked */
                uint32_t n;
        } seconds[ZERO_SECONDS];
        uint64_t since_usec;  /* when looking began; 0: not yet */
        uint64_t active_usec; /* when there last was a request */
        uint64_t panic_usec;  /* when panic was last justified; 0: none */
        uint32_t panic_count; /* the most that panic asked for */
        uint64_t step_usec;   /* when it last shrank */
} ZeroState;

typedef struct ZeroInput {
        uint32_t desired, ready, max;
        double target;      /* requests in flight per replica; 0: only whether there are any */
        uint64_t idle_usec; /* to zero after so long without a request */
} ZeroInput;

typedef struct ZeroDecision {
        uint32_t count;
        bool panic;
        bool idle;             /* on its way to zero, or there */
        double stable, recent; /* mean requests in flight of both windows */
} ZeroDecision;

/* in_flight: now, waiting ones included; requests: ended since the last note. */
void zero_note(ZeroState *z, double in_flight, uint64_t requests, uint64_t now_usec);
/* It was woken, or somebody wants it: the idle time begins anew. */
void zero_touch(ZeroState *z, uint64_t now_usec);
ZeroDecision zero_decide(ZeroState *z, const ZeroInput *in, uint64_t now_usec);
void zero_reset(ZeroState *z);
