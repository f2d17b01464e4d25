/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/balancer.h"

#include <assert.h>
#include <errno.h>
#include <math.h>

double balancer_cost(const BalancerStats *s, uint64_t now_usec) {
        uint64_t age = now_usec > s->sampled_usec ? now_usec - s->sampled_usec : 0;

        return s->cost_usec * exp(-(double) age / (double) BALANCER_DECAY_USEC);
}

void balancer_sample(BalancerStats *s, uint64_t rtt_usec, uint64_t now_usec) {
        double rtt = (double) rtt_usec, w;

        assert(s);

        if (s->sampled_usec == 0 || rtt > s->cost_usec)
                s->cost_usec = rtt; /* the peak: what has become slow is to be known at once */
        else {
                w = balancer_cost(&(BalancerStats){ 1.0, s->sampled_usec }, now_usec);
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

ssize_t balancer_pick(const BalancerCandidate *candidates, size_t n, unsigned *turn, uint64_t now_usec) {
        double best = INFINITY, average;
        ssize_t found = -ENOENT;

        assert(candidates || n == 0);
        assert(turn);

        average = average_cost(candidates, n, now_usec);
        for (size_t k = 0; k < n; k++) {
                size_t i = (*turn + k) % n;
                const BalancerCandidate *c = &candidates[i];
                double cost, score;

                if (!c->available || c->weight == 0)
                        continue;
                cost = c->stats->sampled_usec == 0 ? average : balancer_cost(c->stats, now_usec);
                cost = cost > BALANCER_COST_FLOOR_USEC ? cost : BALANCER_COST_FLOOR_USEC;
                score = cost * ((double) c->pending + 1.0) / (double) c->weight;
                if (score < best) { /* of equals, the first in turn */
                        best = score;
                        found = (ssize_t) i;
                }
        }
        if (found >= 0)
                *turn = (unsigned) found + 1;
        return found;
}
