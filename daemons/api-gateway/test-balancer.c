/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The balancer, without a clock: cases, and a small simulation
 */

#include <errno.h>
#include <math.h>
#include <string.h>

#include "api-gateway/balancer.h"
#include "libmam/util/test.h"

#define SECOND 1000000ULL

static const BalancerChoice latency = { .kind = BALANCER_LATENCY };

TEST(nothing_available_is_told) {
        BalancerStats s = { 0 };
        BalancerCandidate c[] = { { &s, 0, 1, false }, { &s, 0, 0, true } };
        unsigned turn = 0;

        ASSERT_EQ(balancer_pick(&latency, NULL, 0, &turn, SECOND), -ENOENT);
        ASSERT_EQ(balancer_pick(&latency, c, 2, &turn, SECOND), -ENOENT);
}

TEST(equals_take_turns) {
        BalancerStats s[3] = { 0 };
        BalancerCandidate c[3] = { { &s[0], 0, 1, true }, { &s[1], 0, 1, true }, { &s[2], 0, 1, true } };
        unsigned turn = 0, hits[3] = { 0 };

        for (int i = 0; i < 30; i++)
                hits[balancer_pick(&latency, c, 3, &turn, SECOND)]++;
        for (int i = 0; i < 3; i++)
                ASSERT_EQ(hits[i], 10);

        /* times below the floor make no difference */
        balancer_sample(&s[0], 50, SECOND);
        balancer_sample(&s[1], 900, SECOND);
        balancer_sample(&s[2], 300, SECOND);
        memset(hits, 0, sizeof(hits));
        for (int i = 0; i < 30; i++)
                hits[balancer_pick(&latency, c, 3, &turn, SECOND)]++;
        for (int i = 0; i < 3; i++)
                ASSERT_EQ(hits[i], 10);
}

TEST(pending_requests_decide_among_equals) {
        BalancerStats s[3] = { 0 };
        BalancerCandidate c[3] = { { &s[0], 4, 1, true }, { &s[1], 2, 1, true }, { &s[2], 3, 1, true } };
        unsigned turn = 0;

        ASSERT_EQ(balancer_pick(&latency, c, 3, &turn, SECOND), 1);
        c[1].available = false;
        ASSERT_EQ(balancer_pick(&latency, c, 3, &turn, SECOND), 2);
}

TEST(weights_are_shares) {
        BalancerStats s[2] = { 0 };
        BalancerCandidate c[2] = { { &s[0], 0, 90, true }, { &s[1], 0, 10, true } };
        unsigned turn = 0;

        /* 100 requests that all stay pending */
        for (int i = 0; i < 100; i++)
                c[balancer_pick(&latency, c, 2, &turn, SECOND)].pending++;
        ASSERT_TRUE(c[0].pending >= 89 && c[0].pending <= 91);
}

TEST(a_slow_sample_counts_at_once_and_decays) {
        BalancerStats s = { 0 };

        balancer_sample(&s, 2000, 100 * SECOND);
        ASSERT_EQ(balancer_cost(&s, 100 * SECOND), 2000);
        balancer_sample(&s, 80000, 100 * SECOND);
        ASSERT_EQ(balancer_cost(&s, 100 * SECOND), 80000);
        /* one decay time later a fast answer has pulled it down by all but 1/e */
        balancer_sample(&s, 2000, 110 * SECOND);
        ASSERT_TRUE(fabs(s.cost_usec - (80000 * exp(-1) + 2000 * (1 - exp(-1)))) < 1);
        /* and silence forgives too */
        ASSERT_TRUE(balancer_cost(&s, 150 * SECOND) < 700);
        /* a clock that stands still or goes back does no harm */
        balancer_sample(&s, 10, 90 * SECOND);
        ASSERT_TRUE(isfinite(s.cost_usec) && s.cost_usec >= 10);
}

TEST(what_fails_fast_gets_little) {
        BalancerStats s[2] = { 0 };
        BalancerCandidate c[2] = { { &s[0], 0, 1, true }, { &s[1], 0, 1, true } };
        unsigned turn = 0, hits[2] = { 0 };
        uint64_t now = 100 * SECOND;

        for (int i = 0; i < 1000; i++, now += 1000) {
                ssize_t k = balancer_pick(&latency, c, 2, &turn, now);

                hits[k]++;
                balancer_sample(&s[k], k == 0 ? BALANCER_FAILURE_USEC : 5000, now);
        }
        ASSERT_TRUE(hits[0] <= 2);
}

TEST(a_newcomer_is_taken_for_average) {
        BalancerStats s[3] = { 0 };
        BalancerCandidate c[3] = { { &s[0], 3, 1, true }, { &s[1], 3, 1, true }, { &s[2], 0, 1, true } };
        unsigned turn = 0;
        uint64_t now = 100 * SECOND;

        balancer_sample(&s[0], 20000, now);
        balancer_sample(&s[1], 20000, now);
        /* it gets requests until it has as many as the others, not all of them */
        for (int i = 0; i < 3; i++) {
                ASSERT_EQ(balancer_pick(&latency, c, 3, &turn, now), 2);
                c[2].pending++;
        }
        ASSERT_TRUE(balancer_pick(&latency, c, 3, &turn, now) != 2);
}

/* Two fast replicas and one ten times slower, under an open load that three fast ones would carry: the slow
 * one must not collect a queue. */
TEST(simulation_keeps_the_slow_one_short) {
        enum {
                N = 3,
                STEPS = 40000
        };
        static const uint64_t service_usec[N] = { 3000, 3000, 30000 };
        BalancerStats s[N] = { 0 };
        BalancerCandidate c[N] = { { &s[0], 0, 1, true }, { &s[1], 0, 1, true }, { &s[2], 0, 1, true } };
        static struct {
                uint64_t arrived[4096];
                size_t head, tail;
                uint64_t busy_until;
        } q[N];
        uint64_t now = 100 * SECOND, slowest = 0;
        unsigned turn = 0, worst = 0;

        for (int step = 0; step < STEPS; step++, now += 100) {
                for (int i = 0; i < N; i++)
                        while (q[i].head < q[i].tail) {
                                uint64_t arrived = q[i].arrived[q[i].head % 4096],
                                         begin = arrived > q[i].busy_until ? arrived : q[i].busy_until;

                                if (begin + service_usec[i] > now)
                                        break;
                                q[i].busy_until = begin + service_usec[i];
                                q[i].head++;
                                c[i].pending--;
                                balancer_sample(&s[i], q[i].busy_until - arrived, now);
                                if (step > 5000 && q[i].busy_until - arrived > slowest)
                                        slowest = q[i].busy_until - arrived;
                        }
                if (step % 20 == 0) { /* 500 requests a second; the three can do 700 */
                        ssize_t k = balancer_pick(&latency, c, N, &turn, now);

                        q[k].arrived[q[k].tail++ % 4096] = now;
                        c[k].pending++;
                }
                if (c[2].pending > worst)
                        worst = c[2].pending;
        }
        ASSERT_TRUE(worst <= 4);
        ASSERT_TRUE(slowest < 120000);
}

TEST(turns_follow_weights_exactly_and_evenly) {
        static const BalancerChoice turns = { .kind = BALANCER_TURNS };
        BalancerStats s[3] = { 0 };
        BalancerCandidate c[3] = { { &s[0], 90, 5, true }, { &s[1], 0, 1, true }, { &s[2], 0, 1, true } };
        unsigned turn = 0, hits[3] = { 0 }, run = 0;

        for (int i = 0; i < 700; i++) {
                ssize_t k = balancer_pick(&turns, c, 3, &turn, SECOND);

                hits[k]++;
                run = k == 0 ? run + 1 : 0;
                ASSERT_TRUE(run <= 4); /* a a b a c a a, and then a a again */
        }
        ASSERT_TRUE(hits[0] == 500 && hits[1] == 100 && hits[2] == 100);
        /* Who is away neither gains nor pays. */
        c[0].available = false;
        for (int i = 0; i < 100; i++)
                hits[balancer_pick(&turns, c, 3, &turn, SECOND)]++;
        ASSERT_TRUE(hits[0] == 500 && hits[1] == 150 && hits[2] == 150);
}

TEST(least_looks_at_what_is_open_and_not_at_time) {
        static const BalancerChoice least = { .kind = BALANCER_LEAST };
        BalancerStats s[2] = { 0 };
        BalancerCandidate c[2] = { { &s[0], 9, 1, true }, { &s[1], 8, 1, true } };
        unsigned turn = 0;

        balancer_sample(&s[0], 2000, 100 * SECOND);
        balancer_sample(&s[1], 4 * SECOND, 100 * SECOND);
        ASSERT_EQ(balancer_pick(&least, c, 2, &turn, 100 * SECOND), 1);
        ASSERT_EQ(balancer_pick(&latency, c, 2, &turn, 100 * SECOND), 0);
}

static void name_all(BalancerStats *s, size_t n) {
        for (size_t i = 0; i < n; i++)
                s[i].name = (i + 1) * 0x9e3779b97f4a7c15ULL;
}

TEST(affinity_stays_where_it_is_when_others_come_and_go) {
        enum {
                N = 5,
                KEYS = 10000
        };
        static ssize_t before[KEYS];
        BalancerStats s[N] = { 0 };
        BalancerCandidate c[N];
        unsigned turn = 0, hits[N] = { 0 }, moved = 0;

        name_all(s, N);
        for (size_t i = 0; i < N; i++)
                c[i] = (BalancerCandidate){ &s[i], 0, i == 4 ? 2 : 1, true };
        for (uint64_t k = 0; k < KEYS; k++) {
                BalancerChoice how = { .kind = BALANCER_AFFINITY, .affinity = k };

                before[k] = balancer_pick(&how, c, N, &turn, SECOND);
                ASSERT_EQ(balancer_pick(&how, c, N, &turn, 2 * SECOND), before[k]);
                hits[before[k]]++;
        }
        for (size_t i = 0; i < 4; i++)
                ASSERT_TRUE(hits[i] > KEYS / 6 * 9 / 10 && hits[i] < KEYS / 6 * 11 / 10);
        ASSERT_TRUE(hits[4] > KEYS / 3 * 9 / 10 && hits[4] < KEYS / 3 * 11 / 10);

        c[2].available = false;
        for (uint64_t k = 0; k < KEYS; k++) {
                BalancerChoice how = { .kind = BALANCER_AFFINITY, .affinity = k };
                ssize_t now = balancer_pick(&how, c, N, &turn, SECOND);

                moved += now != before[k];
                ASSERT_TRUE(now == before[k] || before[k] == 2);
        }
        ASSERT_EQ(moved, hits[2]);
}

TEST(affinity_does_not_drown_a_replica) {
        enum {
                N = 4,
                REQUESTS = 1000
        };
        BalancerChoice hot = { .kind = BALANCER_AFFINITY, .affinity = 42 };
        BalancerStats s[N] = { 0 };
        BalancerCandidate c[N];
        unsigned turn = 0, most = 0;
        ssize_t home;

        name_all(s, N);
        for (size_t i = 0; i < N; i++)
                c[i] = (BalancerCandidate){ &s[i], 0, 1, true };
        home = balancer_pick(&hot, c, N, &turn, SECOND);
        /* All want the same one, and all stay. */
        for (int i = 0; i < REQUESTS; i++)
                c[balancer_pick(&hot, c, N, &turn, SECOND)].pending++;
        for (size_t i = 0; i < N; i++)
                most = c[i].pending > most ? c[i].pending : most;
        ASSERT_EQ(c[home].pending, most);
        ASSERT_TRUE(most <= (unsigned) ceil(BALANCER_AFFINITY_BOUND * (REQUESTS + 1) / N));
}

TEST(a_newcomer_starts_slowly) {
        ASSERT_TRUE(balancer_slow_start(0) == BALANCER_SLOW_START_LEAST);
        ASSERT_TRUE(fabs(balancer_slow_start(BALANCER_SLOW_START_USEC / 2) - 0.5) < 1e-9);
        ASSERT_TRUE(balancer_slow_start(BALANCER_SLOW_START_USEC) == 1.0);
        ASSERT_TRUE(balancer_slow_start(UINT64_MAX) == 1.0);
}
