/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The balancer: which replica gets the next request
 *
 * Pure functions of state and time.
 *
 * By latency: a replica's cost is the peak EWMA of its time to the first byte of an answer: a slower sample
 * counts at once, faster ones win it back over BALANCER_DECAY. The replica with the smallest cost × (pending
 * + 1) / weight gets the request. Costs below BALANCER_COST_FLOOR are equal: then pending requests decide,
 * and among equals turns are taken.
 *
 * By least: the smallest (pending + 1) / weight: for what stays open for long, of which the first byte tells
 * nothing.
 *
 * By turns: smooth weighted round robin.
 *
 * By affinity: the same number goes to the same replica (weighted rendezvous hashing), as long as that has
 * not more than BALANCER_AFFINITY_BOUND times its share of what is pending; then to the next in the number's
 * own order. A replica that comes or goes moves only the numbers that it gets or had.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define BALANCER_DECAY_USEC      ((uint64_t) 10000000)
#define BALANCER_COST_FLOOR_USEC 1000.0
#define BALANCER_FAILURE_USEC    ((uint64_t) 5000000)
#define BALANCER_AFFINITY_BOUND  1.25
/* A replica that has just come gets a tenth of its share at first. */
#define BALANCER_SLOW_START_USEC  ((uint64_t) 10000000)
#define BALANCER_SLOW_START_LEAST 0.1

typedef enum BalancerKind {
        BALANCER_LATENCY,
        BALANCER_LEAST,
        BALANCER_TURNS,
        BALANCER_AFFINITY,
        _BALANCER_KIND_MAX,
} BalancerKind;

typedef struct BalancerStats {
        double cost_usec;      /* at sampled_usec */
        uint64_t sampled_usec; /* monotonic; 0: nothing known yet */
        double credit;         /* of the turns */
        uint64_t name;         /* what tells it from the others, for affinity; the same in all gateways */
} BalancerStats;

typedef struct BalancerCandidate {
        BalancerStats *stats; /* borrowed */
        uint32_t pending;     /* requests that it is working on, as far as is known */
        double weight;        /* 0: gets nothing */
        bool available;
} BalancerCandidate;

typedef struct BalancerChoice {
        BalancerKind kind;
        uint64_t affinity; /* of BALANCER_AFFINITY */
} BalancerChoice;

/* A first byte came after rtt_usec. A failure is a sample of BALANCER_FAILURE_USEC, or else what fails fast
 * attracts traffic. */
void balancer_sample(BalancerStats *s, uint64_t rtt_usec, uint64_t now_usec);
/* What the cost has decayed to. */
double balancer_cost(const BalancerStats *s, uint64_t now_usec);
/* What part of its share a replica gets that has been there for age_usec: 0.1 to 1. */
double balancer_slow_start(uint64_t age_usec);
/* The index of the best, or -ENOENT if none is available. *turn is the caller's, kept from call to call.
 * What was never sampled is taken to cost as much as the average of the others. */
ssize_t balancer_pick(
                const BalancerChoice *how,
                const BalancerCandidate *candidates,
                size_t n,
                unsigned *turn,
                uint64_t now_usec);
