/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The balancer: which replica gets the next request
 *
 * Pure functions of state and time. A replica's cost is the peak EWMA of its time to the first byte of an
 * answer: a slower sample counts at once, faster ones win it back over BALANCER_DECAY. The replica with the
 * smallest cost × (pending + 1) / weight gets the request. Costs below BALANCER_COST_FLOOR are equal: then
 * pending requests decide, and among equals turns are taken.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BALANCER_DECAY_USEC      ((uint64_t) 10000000)
#define BALANCER_COST_FLOOR_USEC 1000.0
#define BALANCER_FAILURE_USEC    ((uint64_t) 5000000)

typedef struct BalancerStats {
        double cost_usec;      /* at sampled_usec */
        uint64_t sampled_usec; /* monotonic; 0: nothing known yet */
} BalancerStats;

typedef struct BalancerCandidate {
        const BalancerStats *stats; /* borrowed */
        uint32_t pending;           /* requests that it is working on for us */
        uint32_t weight;            /* 0: gets nothing */
        bool available;
} BalancerCandidate;

/* A first byte came after rtt_usec. A failure is a sample of BALANCER_FAILURE_USEC, or else what fails fast
 * attracts traffic. */
void balancer_sample(BalancerStats *s, uint64_t rtt_usec, uint64_t now_usec);
/* What the cost has decayed to. */
double balancer_cost(const BalancerStats *s, uint64_t now_usec);
/* The index of the best, or -ENOENT if none is available. *turn is the caller's, kept from call to call.
 * What was never sampled is taken to cost as much as the average of the others. */
ssize_t balancer_pick(const BalancerCandidate *candidates, size_t n, unsigned *turn, uint64_t now_usec);
