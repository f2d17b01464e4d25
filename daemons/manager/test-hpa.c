/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Horizontal autoscaling: the rules as a table, and what must hold whatever happens
 */

#include <math.h>
#include <stdint.h>

#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "manager/hpa.h"

#define SEC MAM_USEC_PER_SEC

static HpaInput input(uint32_t desired, uint32_t ready, uint32_t min, uint32_t max) {
        return (HpaInput){ .desired = desired,
                           .ready = ready,
                           .min = min,
                           .max = max,
                           .down_window_usec = HPA_DOWN_WINDOW_USEC,
                           .period_usec = HPA_PERIOD_USEC };
}

static HpaMetric cpu(double target, double sum, uint32_t measured, uint32_t missing, uint32_t unready) {
        return (HpaMetric){ .used = true,
                            .target = target,
                            .value = sum,
                            .measured = measured,
                            .missing = missing,
                            .unready = unready };
}

TEST(one_metric_by_the_table) {
        static const struct {
                uint32_t desired, ready;
                double target, sum;
                uint32_t measured, missing, unready, want;
        } cases[] = {
                /* all are ready and measured: ceil(ready × current / target) */
                { 3, 3, 50, 300, 3, 0, 0, 6 },
                { 3, 3, 50, 75, 3, 0, 0, 2 },
                { 1, 1, 80, 160, 1, 0, 0, 2 },
                { 10, 10, 80, 80, 10, 0, 0, 1 },
                { 3, 3, 80, 1, 3, 0, 0, 1 },
                { 4, 4, 80, 0, 4, 0, 0, 0 },
                { 7, 7, 70, 7 * 70 * 1.2, 7, 0, 0, 9 },
                /* an exact multiple is not one more, whatever binary fractions say */
                { 3, 3, 0.1, 0.9, 3, 0, 0, 9 },
                /* within the tolerance, on both of its edges, and just beyond */
                { 10, 10, 50, 550, 10, 0, 0, 10 },
                { 10, 10, 50, 450, 10, 0, 0, 10 },
                { 10, 10, 50, 556, 10, 0, 0, 12 },
                { 10, 10, 50, 444, 10, 0, 0, 9 },
                /* within the tolerance it is what is desired, and neither what is ready nor the surplus */
                { 5, 3, 50, 150, 3, 0, 2, 5 },
                { 3, 3, 50, 150, 3, 0, 0, 3 },
                /* missing ones count as at their target if it would shrink… */
                { 4, 4, 50, 50, 2, 2, 0, 3 },
                { 4, 4, 50, 90, 3, 1, 0, 3 },
                { 10, 10, 100, 300, 5, 5, 0, 8 },
                /* …which may bring it within the tolerance */
                { 10, 10, 100, 400, 5, 5, 0, 10 },
                { 10, 10, 100, 350, 5, 5, 0, 9 },
                /* and as nothing if it would grow */
                { 4, 4, 50, 400, 2, 2, 0, 8 },
                { 4, 4, 50, 150, 2, 2, 0, 4 },
                /* unready ones as nothing if it would grow */
                { 4, 2, 50, 400, 2, 0, 2, 8 },
                { 4, 2, 50, 120, 2, 0, 2, 4 },
                { 6, 3, 50, 450, 3, 0, 3, 9 },
                /* and not at all if it would shrink */
                { 4, 2, 50, 20, 2, 0, 2, 1 },
                { 5, 3, 50, 60, 3, 0, 2, 2 },
                /* an answer that turns around is none */
                { 3, 1, 50, 60, 1, 0, 2, 3 },
                /* more than there can be */
                { 90, 90, 1, 90000, 90, 0, 0, MAM_CONFIG_REPLICAS_MAX },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                HpaInput in = input(cases[i].desired, cases[i].ready, 1, 100);
                uint32_t got = 4711;
                double ratio;

                in.metrics[HPA_CPU] =
                                cpu(cases[i].target,
                                    cases[i].sum,
                                    cases[i].measured,
                                    cases[i].missing,
                                    cases[i].unready);
                ASSERT_OK(hpa_metric_count(&in, HPA_CPU, &got, &ratio));
                if (got != cases[i].want)
                        printf("# case %zu: %u instead of %u\n", i, got, cases[i].want);
                ASSERT_EQ(got, cases[i].want);
        }
}

TEST(sums_and_values_of_the_group_by_the_table) {
        static const struct {
                HpaSignal signal;
                uint32_t desired, ready;
                double target, value;
                uint32_t want;
        } cases[] = {
                { HPA_IN_FLIGHT, 2, 2, 10, 55, 6 },      { HPA_IN_FLIGHT, 5, 5, 10, 21, 3 },
                { HPA_IN_FLIGHT, 5, 5, 10, 0, 0 },       { HPA_IN_FLIGHT, 5, 5, 10, 52, 5 },
                { HPA_IN_FLIGHT, 5, 2, 10, 30, 5 }, /* two carry it all; the others are on their way */
                { HPA_IN_FLIGHT, 1, 0, 10, 25, 3 }, /* nothing is ready, and requests wait */
                { HPA_IN_FLIGHT, 2, 0, 10, 0, 2 },       { HPA_RPS, 1, 1, 100, 950, 10 },
                { HPA_RPS, 3, 3, 100, 290, 3 },          { HPA_LATENCY, 2, 2, 100000, 300000, 6 },
                { HPA_LATENCY, 4, 4, 100000, 20000, 1 }, { HPA_LATENCY, 4, 4, 100000, 105000, 4 },
                { HPA_PRESSURE, 3, 3, 10, 25, 8 },       { HPA_PRESSURE, 3, 3, 10, 0, 0 },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                HpaInput in = input(cases[i].desired, cases[i].ready, 1, 100);
                uint32_t got = 4711;
                double ratio;

                in.metrics[cases[i].signal] = (HpaMetric){ .used = true,
                                                           .target = cases[i].target,
                                                           .value = cases[i].value };
                ASSERT_OK(hpa_metric_count(&in, cases[i].signal, &got, &ratio));
                if (got != cases[i].want)
                        printf("# case %zu: %u instead of %u\n", i, got, cases[i].want);
                ASSERT_EQ(got, cases[i].want);
        }
}

TEST(the_largest_answer_wins_and_names_its_signal) {
        HpaInput in = input(3, 3, 1, 20);
        HpaState s = { .n_memory = 0 };
        HpaDecision d;

        in.metrics[HPA_CPU] = cpu(80, 240, 3, 0, 0);
        in.metrics[HPA_IN_FLIGHT] = (HpaMetric){ .used = true, .target = 10, .value = 60 };
        in.metrics[HPA_RPS] = (HpaMetric){ .used = true, .target = 100, .value = 10 };
        d = hpa_decide(&s, &in, 100 * SEC);
        ASSERT_EQ(d.count, 6);
        ASSERT_EQ(d.signal, HPA_IN_FLIGHT);
        ASSERT_TRUE(fabs(d.ratios[HPA_CPU] - 1) < 1e-9 && d.ratios[HPA_LATENCY] == -1);
}

TEST(a_failed_metric_forbids_to_shrink_and_not_to_grow) {
        HpaInput in = input(4, 4, 1, 20);
        HpaState s = { .n_memory = 0 };
        HpaDecision d;

        in.down_window_usec = 0;
        in.metrics[HPA_CPU] = cpu(80, 40, 4, 0, 0);
        in.metrics[HPA_RPS] = (HpaMetric){ .used = true, .failed = true, .target = 100 };
        d = hpa_decide(&s, &in, 100 * SEC);
        ASSERT_EQ(d.count, 4);
        ASSERT_EQ(d.reason, HPA_FAILED_KEEPS);
        ASSERT_EQ(d.failed, HPA_RPS);

        in.metrics[HPA_CPU].value = 80 * 6;
        d = hpa_decide(&s, &in, 115 * SEC);
        ASSERT_EQ(d.count, 6);

        in.metrics[HPA_RPS].failed = false;
        in.metrics[HPA_CPU].value = 40;
        d = hpa_decide(&s, &in, 130 * SEC);
        ASSERT_EQ(d.count, 1);

        in.metrics[HPA_RPS].failed = in.metrics[HPA_CPU].failed = true;
        d = hpa_decide(&s, &in, 145 * SEC);
        ASSERT_EQ(d.count, 4);
        ASSERT_EQ(d.reason, HPA_NO_METRICS);
}

TEST(shrinking_waits_for_the_highest_of_the_window) {
        HpaInput in = input(5, 5, 1, 20);
        HpaState s = { .n_memory = 0 };
        uint64_t now = 1000 * SEC;
        HpaDecision d;

        in.metrics[HPA_CPU] = cpu(80, 400, 5, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, now).reason, HPA_TOLERATED);
        in.metrics[HPA_CPU].value = 220; /* asks for 3 */
        for (now += 15 * SEC; now < 1300 * SEC; now += 15 * SEC) {
                d = hpa_decide(&s, &in, now);
                ASSERT_EQ(d.count, 5);
                ASSERT_EQ(d.reason, HPA_STABILISED);
                ASSERT_EQ(d.window_usec, 1300 * SEC);
                ASSERT_EQ(d.window_count, 5);
                ASSERT_EQ(d.recommended, 3);
        }
        d = hpa_decide(&s, &in, now);
        ASSERT_EQ(d.count, 3);

        /* In between: not lower than the highest recommendation that is young enough. */
        in.desired = in.ready = 3;
        in.metrics[HPA_CPU] = cpu(80, 20, 3, 0, 0);
        d = hpa_decide(&s, &in, now + 15 * SEC);
        ASSERT_EQ(d.count, 3);
        d = hpa_decide(&s, &in, now + 315 * SEC);
        ASSERT_EQ(d.count, 1);
}

TEST(the_number_found_counts_as_a_recommendation_of_the_beginning) {
        HpaInput in = input(3, 3, 1, 20);
        HpaState s = { .n_memory = 0 };

        in.metrics[HPA_CPU] = cpu(80, 0, 3, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, 10 * SEC).count, 3);
        ASSERT_EQ(hpa_decide(&s, &in, 309 * SEC).count, 3);
        ASSERT_EQ(hpa_decide(&s, &in, 310 * SEC).count, 1);
}

TEST(what_a_person_wants_holds_for_the_window) {
        HpaInput in = input(2, 2, 1, 20);
        HpaState s = { .n_memory = 0 };

        in.metrics[HPA_CPU] = cpu(80, 160, 2, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, 100 * SEC).count, 2);
        hpa_note(&s, 8, 110 * SEC);
        in.desired = in.ready = 8;
        in.metrics[HPA_CPU] = cpu(80, 160, 8, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, 400 * SEC).count, 8);
        ASSERT_EQ(hpa_decide(&s, &in, 410 * SEC).count, 2);
}

TEST(growth_is_at_most_four_or_twice_as_many_in_a_period) {
        HpaInput in = input(1, 1, 1, 100);
        HpaState s = { .n_memory = 0 };
        uint64_t now = 100 * SEC;
        static const uint32_t want[] = { 5, 10, 20, 40, 80, 100, 100 };

        for (size_t i = 0; i < MAM_ELEMENTSOF(want); i++, now += 15 * SEC) {
                in.metrics[HPA_CPU] = cpu(1, in.desired * 100, in.desired, 0, 0);
                in.desired = in.ready = hpa_decide(&s, &in, now).count;
                ASSERT_EQ(in.desired, want[i]);
        }

        /* What was added within the period is not added again by asking more often. */
        hpa_reset(&s);
        in.desired = in.ready = 2;
        in.metrics[HPA_CPU] = cpu(1, 200, 2, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, now).count, 6);
        in.desired = in.ready = 6;
        in.metrics[HPA_CPU] = cpu(1, 600, 6, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, now + 5 * SEC).count, 6);
        ASSERT_EQ(hpa_decide(&s, &in, now + 15 * SEC).count, 12);
}

TEST(bounds_hold_with_and_without_metrics) {
        HpaInput in = input(1, 1, 2, 4);
        HpaState s = { .n_memory = 0 };

        ASSERT_EQ(hpa_decide(&s, &in, 100 * SEC).count, 2);
        in.desired = 9;
        ASSERT_EQ(hpa_decide(&s, &in, 115 * SEC).count, 4);
        in.desired = in.ready = 4;
        in.metrics[HPA_CPU] = cpu(10, 4000, 4, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, 130 * SEC).reason, HPA_AT_MAX);
        in.down_window_usec = 0;
        in.metrics[HPA_CPU] = cpu(10, 0, 4, 0, 0);
        ASSERT_EQ(hpa_decide(&s, &in, 145 * SEC).reason, HPA_AT_MIN);
        ASSERT_EQ(hpa_decide(&s, &in, 145 * SEC).count, 2);
}

/* ---- properties, on simulated clocks ---- */

/* xorshift64*: the same numbers on each run. */
static uint64_t next(uint64_t *seed) {
        *seed ^= *seed >> 12;
        *seed ^= *seed << 25;
        *seed ^= *seed >> 27;
        return *seed * 2685821657736338717ULL;
}

static double fraction(uint64_t *seed) {
        return (double) (next(seed) >> 11) / (double) (1ULL << 53);
}

TEST(never_outside_the_bounds_and_never_fewer_on_failed_metrics) {
        uint64_t seed = 42;

        for (unsigned run = 0; run < 300; run++) {
                uint32_t min = 1 + (uint32_t) (next(&seed) % 5), max = min + (uint32_t) (next(&seed) % 60);
                HpaInput in = input(min + (uint32_t) (next(&seed) % (max - min + 1)), 0, min, max);
                HpaState s = { .n_memory = 0 };
                uint64_t now = next(&seed) % (1000 * SEC);

                in.down_window_usec = next(&seed) % 400 * SEC;
                for (unsigned step = 0; step < 200; step++, now += next(&seed) % (20 * SEC) + 1) {
                        uint32_t measured, missing;
                        bool failed = false;
                        HpaDecision d;

                        in.ready = (uint32_t) (next(&seed) % (in.desired + 1));
                        for (HpaSignal k = 0; k < _HPA_SIGNAL_MAX; k++) {
                                measured = (uint32_t) (next(&seed) % (in.ready + 1));
                                missing = in.ready - measured;
                                in.metrics[k] =
                                                cpu(1 + fraction(&seed) * 100,
                                                    fraction(&seed) * 400 * measured,
                                                    measured,
                                                    missing,
                                                    in.desired - in.ready);
                                in.metrics[k].used = next(&seed) % 2;
                                in.metrics[k].failed = next(&seed) % 8 == 0;
                                failed = failed || (in.metrics[k].used && in.metrics[k].failed);
                        }
                        d = hpa_decide(&s, &in, now);
                        ASSERT_TRUE(d.count >= min && d.count <= max);
                        ASSERT_TRUE(!failed || d.count >= in.desired);
                        ASSERT_TRUE(s.n_memory <= HPA_MEMORY_MAX && s.n_events <= HPA_EVENTS_MAX);
                        for (uint32_t i = 1; i < s.n_memory; i++) {
                                ASSERT_TRUE(s.memory[i].count < s.memory[i - 1].count);
                                ASSERT_TRUE(s.memory[i].usec >= s.memory[i - 1].usec);
                        }
                        in.desired = d.count;
                }
        }
}

TEST(no_flapping_on_noise_within_the_tolerance) {
        uint64_t seed = 7;

        for (unsigned run = 0; run < 100; run++) {
                uint32_t count = 1 + (uint32_t) (next(&seed) % 50);
                HpaInput in = input(count, count, 1, 100);
                HpaState s = { .n_memory = 0 };

                in.down_window_usec = next(&seed) % 2 * 60 * SEC;
                for (uint64_t now = SEC; now < 7200 * SEC; now += 15 * SEC) {
                        double noise = 0.905 + fraction(&seed) * 0.19;

                        in.metrics[HPA_CPU] = cpu(70, 70 * count * noise, count, 0, 0);
                        ASSERT_EQ(hpa_decide(&s, &in, now).count, count);
                }
        }
}

TEST(monotone_in_the_load) {
        uint64_t seed = 99;

        for (unsigned run = 0; run < 2000; run++) {
                uint32_t desired = 1 + (uint32_t) (next(&seed) % 40);
                uint32_t ready = (uint32_t) (next(&seed) % (desired + 1));
                uint32_t measured = (uint32_t) (next(&seed) % (ready + 1)), before = 0;
                HpaSignal k = (HpaSignal) (next(&seed) % _HPA_SIGNAL_MAX);

                for (double load = 0; load < 400; load += 0.5 + fraction(&seed) * 5) {
                        HpaInput in = input(desired, ready, 1, 100);
                        uint32_t count = 0;
                        double ratio;

                        in.metrics[k] =
                                        cpu(80,
                                            load * (measured > 0 ? measured : 1),
                                            measured,
                                            ready - measured,
                                            desired - ready);
                        if (hpa_metric_count(&in, k, &count, &ratio) < 0)
                                break;
                        ASSERT_TRUE(count >= before);
                        before = count;
                }
        }
}

/* A group that carries a load: replicas become ready a period after they are wanted. */
TEST(a_step_is_followed_within_one_period_and_the_group_never_starves) {
        uint64_t seed = 1234;

        for (unsigned run = 0; run < 200; run++) {
                double load = 1 + fraction(&seed) * 10, after = load * (1.3 + fraction(&seed) * 8);
                uint32_t start = (uint32_t) ceil(load / 0.7);
                HpaInput in = input(start, start, 1, 100);
                HpaState s = { .n_memory = 0 };
                uint64_t now = SEC;

                for (unsigned step = 0; step < 60; step++, now += 15 * SEC) {
                        double l = step < 20 || step > 40 ? load : after;
                        uint32_t before = in.desired, needed = (uint32_t) ceil(l / 0.7 - 1e-9);
                        double share = l / in.ready * 100;

                        in.metrics[HPA_CPU] = cpu(70, share * in.ready, in.ready, 0, in.desired - in.ready);
                        in.desired = hpa_decide(&s, &in, now).count;
                        if (step == 20 && needed > before) {
                                ASSERT_TRUE(in.desired > before || share <= 77.0001);
                                ASSERT_TRUE(in.desired >= needed || in.desired >= before * 2 ||
                                            in.desired >= before + 4 || share <= 77.0001);
                        }
                        /* What is left after shrinking carries the load at its target. */
                        if (in.desired < before)
                                ASSERT_TRUE(l / in.desired <= 0.7 + 1e-6);
                        in.ready = in.desired < before ? in.desired : before;
                        if (in.ready == 0)
                                in.ready = 1;
                }
                ASSERT_TRUE(in.desired >= (uint32_t) ceil(load / 0.77 - 1e-9));
        }
}
