/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/balancer.h"

#include <assert.h>
#include <errno.h>
#include <math.h>

double balancer_cost(const BalancerStats *s, uint64_t now_usec) {
        uint64_t age = now_usec > s->sampled_usec ? now_usec - s->sampled_usec : 0;

        /* Under load samples are fresh, and what is lost in so short a time is less than a thousandth. */
        if (age < BALANCER_DECAY_USEC / 1000)
                return s->cost_usec;
        return s->cost_usec * exp(-(double) age / (double) BALANCER_DECAY_USEC);
}

void balancer_sample(BalancerStats *s, uint64_t rtt_usec, uint64_t now_usec) {
        double rtt = (double) rtt_usec, w;

        assert(s);

        if (s->sampled_usec == 0 || rtt > s->cost_usec)
                s->cost_usec = rtt; /* the peak: what has become slow is to be known at once */
        else {
                w = balancer_cost(
                                &(BalancerStats){ .cost_usec = 1.0, .sampled_usec = s->sampled_usec },
                                now_usec);
                s->cost_usec = s->cost_usec * w + rtt * (1.0 - w);
        }
        s->sampled_usec = now_usec > 0 ? now_usec : 1;
}

/* What to take a replica for that has not answered anything yet. */
static double average_cost(const BalancerCandidate *candidates, size_t n, uint64_t now_usec) {
        double sum = 0;
        size_t known = 0;

        for (size_t i = 0; i < n; i++) {
                if (!candidates[i].available || candidates[i].stats->sampled_usec == 0)
                        continue;
                sum += balancer_cost(candidates[i].stats, now_usec);
                known++;
        }
        return known > 0 ? sum / (double) known : 0;
}

double balancer_slow_start(uint64_t age_usec) {
        double part = (double) age_usec / (double) BALANCER_SLOW_START_USEC;

        return part >= 1.0 ? 1.0 : part > BALANCER_SLOW_START_LEAST ? part : BALANCER_SLOW_START_LEAST;
}

static bool is_candidate(const BalancerCandidate *c) {
        return c->available && c->weight > 0;
}

static ssize_t pick_least(
                const BalancerCandidate *candidates,
                size_t n,
                unsigned *turn,
                bool by_latency,
                uint64_t now_usec) {
        double best = INFINITY, average = by_latency ? average_cost(candidates, n, now_usec) : 0;
        ssize_t found = -ENOENT;

        for (size_t k = 0; k < n; k++) {
                size_t i = (*turn + k) % n;
                const BalancerCandidate *c = &candidates[i];
                double cost = BALANCER_COST_FLOOR_USEC, score;

                if (!is_candidate(c))
                        continue;
                if (by_latency) {
                        cost = c->stats->sampled_usec == 0 ? average : balancer_cost(c->stats, now_usec);
                        cost = cost > BALANCER_COST_FLOOR_USEC ? cost : BALANCER_COST_FLOOR_USEC;
                }
                score = cost * ((double) c->pending + 1.0) / c->weight;
                if (score < best) { /* of equals, the first in turn */
                        best = score;
                        found = (ssize_t) i;
                }
        }
        if (found >= 0)
                *turn = (unsigned) found + 1;
        return found;
}

static ssize_t pick_by_turns(const BalancerCandidate *candidates, size_t n) {
        ssize_t found = -ENOENT;
        double sum = 0;

        for (size_t i = 0; i < n; i++) {
                if (!is_candidate(&candidates[i]))
                        continue;
                sum += candidates[i].weight;
                candidates[i].stats->credit += candidates[i].weight;
                if (found < 0 || candidates[i].stats->credit > candidates[found].stats->credit)
                        found = (ssize_t) i;
        }
        if (found >= 0)
                candidates[found].stats->credit -= sum;
        return found;
}

/* Of two well-mixed numbers one (the finaliser of MurmurHash3). */
static uint64_t mix(uint64_t a, uint64_t b) {
        uint64_t x = a ^ (b + 0x9e3779b97f4a7c15ULL + (a << 6) + (a >> 2));

        x = (x ^ x >> 33) * 0xff51afd7ed558ccdULL;
        x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ULL;
        return x ^ x >> 33;
}

static ssize_t pick_by_affinity(const BalancerCandidate *candidates, size_t n, uint64_t affinity) {
        double weights = 0, pending = 1, best = -1;
        ssize_t found = -ENOENT;

        for (size_t i = 0; i < n; i++) {
                if (!is_candidate(&candidates[i]))
                        continue;
                weights += candidates[i].weight;
                pending += candidates[i].pending;
        }
        for (size_t i = 0; i < n; i++) {
                const BalancerCandidate *c = &candidates[i];
                double u, score;

                /* The bounds sum up to more than is pending: one is always below its own. */
                if (!is_candidate(c) ||
                    c->pending >= ceil(BALANCER_AFFINITY_BOUND * pending * c->weight / weights))
                        continue;
                u = ((double) (mix(affinity, c->stats->name) >> 11) + 0.5) / 9007199254740992.0;
                score = c->weight / -log(u);
                if (score > best) {
                        best = score;
                        found = (ssize_t) i;
                }
        }
        return found;
}

ssize_t balancer_pick(
                const BalancerChoice *how,
                const BalancerCandidate *candidates,
                size_t n,
                unsigned *turn,
                uint64_t now_usec) {
        assert(how);
        assert(candidates || n == 0);
        assert(turn);

        switch (how->kind) {
        case BALANCER_TURNS:
                return pick_by_turns(candidates, n);
        case BALANCER_AFFINITY:
                return pick_by_affinity(candidates, n, how->affinity);
        case BALANCER_LEAST:
                return pick_least(candidates, n, turn, false, now_usec);
        case BALANCER_LATENCY:
        default:
                return pick_least(candidates, n, turn, true, now_usec);
        }
}
