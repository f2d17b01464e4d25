/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Scale to zero, vertical autoscaling, and both decided together
 */

#include <math.h>
#include <stdint.h>

#include "libmam/json/json.h"
#include "libmam/util/test.h"
#include "manager/autoscale.h"

#define SEC  MAM_USEC_PER_SEC
#define HOUR (3600 * SEC)
#define MIB  (1024ULL * 1024)
#define DAY0 (20000ULL * 24 * HOUR) /* realtime of the tests */

/* ---- zero ---- */

TEST(idle_goes_to_zero_by_halves_and_not_a_second_early) {
        ZeroInput in = { .desired = 8, .ready = 8, .max = 10, .idle_usec = 60 * SEC };
        ZeroState z = { .since_usec = 0 };
        uint64_t now = 1000 * SEC;

        zero_note(&z, 3, 5, now);
        for (; now < 1060 * SEC; now += SEC) {
                ASSERT_EQ(zero_decide(&z, &in, now).count, 8);
                zero_note(&z, 0, 0, now + SEC);
        }
        static const uint32_t want[] = { 4, 2, 1, 0 };
        for (size_t i = 0; i < MAM_ELEMENTSOF(want); i++, now += ZERO_STEP_USEC) {
                ASSERT_EQ(zero_decide(&z, &in, now).count, want[i]);
                ASSERT_EQ(zero_decide(&z, &in, now).count, want[i] > 0 ? in.desired : in.desired);
                in.desired = in.ready = want[i];
                ASSERT_EQ(zero_decide(&z, &in, now + SEC).count, want[i]);
        }
}

TEST(a_request_while_it_shrinks_keeps_what_is_left) {
        ZeroInput in = { .desired = 4, .ready = 4, .max = 10, .idle_usec = 10 * SEC };
        ZeroState z = { .since_usec = 0 };

        zero_note(&z, 0, 1, 100 * SEC);
        ASSERT_EQ(zero_decide(&z, &in, 110 * SEC).count, 2);
        in.desired = in.ready = 2;
        zero_note(&z, 0, 1, 111 * SEC);
        ASSERT_EQ(zero_decide(&z, &in, 120 * SEC).count, 2);
        ASSERT_EQ(zero_decide(&z, &in, 121 * SEC).count, 1);
}

TEST(asleep_stays_asleep_until_something_connects) {
        ZeroInput in = { .desired = 0, .max = 10, .target = 10, .idle_usec = 10 * SEC };
        ZeroState z = { .since_usec = 0 };

        zero_note(&z, 0, 0, 100 * SEC);
        ASSERT_EQ(zero_decide(&z, &in, 101 * SEC).count, 0);
        ASSERT_EQ(zero_decide(&z, &in, 500 * SEC).count, 0);
}

TEST(the_stable_window_decides_and_panic_jumps) {
        ZeroInput in = { .desired = 2, .ready = 2, .max = 50, .target = 10, .idle_usec = 600 * SEC };
        ZeroState z = { .since_usec = 0 };
        uint64_t now = 1000 * SEC;
        ZeroDecision d;

        for (unsigned i = 0; i < 60; i++, now += SEC)
                zero_note(&z, 15, 1, now);
        d = zero_decide(&z, &in, now - SEC);
        ASSERT_EQ(d.count, 2);
        ASSERT_TRUE(!d.panic && fabs(d.stable - 15) < 1e-9);

        /* Six seconds of 100: the minute would say 3, panic says 10. */
        for (unsigned i = 0; i < 6; i++, now += SEC)
                zero_note(&z, 100, 1, now);
        d = zero_decide(&z, &in, now - SEC);
        ASSERT_TRUE(d.panic);
        ASSERT_EQ(d.count, 10);
        in.desired = in.ready = 10;

        /* Over at once; but for a stable window nothing shrinks. */
        for (unsigned i = 0; i < 58; i++, now += SEC) {
                zero_note(&z, 5, 1, now);
                d = zero_decide(&z, &in, now);
                ASSERT_TRUE(d.panic);
                ASSERT_EQ(d.count, 10);
        }
        for (unsigned i = 0; i < 5; i++, now += SEC)
                zero_note(&z, 5, 1, now);
        d = zero_decide(&z, &in, now);
        ASSERT_TRUE(!d.panic);
        ASSERT_EQ(d.count, 5); /* half, though one would do */
}

TEST(zero_never_leaves_its_bounds) {
        uint64_t seed = 5, now = SEC;
        ZeroState z = { .since_usec = 0 };
        ZeroInput in = { .desired = 1, .max = 20, .target = 4, .idle_usec = 5 * SEC };

        for (unsigned i = 0; i < 50000; i++) {
                ZeroDecision d;

                seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
                now += (seed >> 40) % (3 * SEC);
                if ((seed >> 33) % 7 != 0)
                        zero_note(&z, (double) ((seed >> 20) % 200), (seed >> 50) % 3, now);
                in.ready = in.desired > 0 ? (uint32_t) ((seed >> 13) % in.desired + 1) : 0;
                d = zero_decide(&z, &in, now);
                ASSERT_TRUE(d.count <= in.max);
                ASSERT_TRUE(d.count >= in.desired / 2);
                ASSERT_TRUE(!d.panic || d.count >= in.desired);
                in.desired = d.count > 0 ? d.count : 1;
        }
}

/* ---- vertical ---- */

static const VpaBounds cpu_bounds = { .min = 25, .max = 64000 };
static const VpaBounds memory_bounds = { .min = VPA_MEMORY_MIN, .max = 64ULL << 30 };

static void use(VpaState *v, double cores, uint64_t bytes, uint64_t from_usec, unsigned hours) {
        for (uint64_t t = from_usec; t < from_usec + hours * HOUR; t += 60 * SEC) {
                vpa_note_cpu(v, cores, t);
                vpa_note_memory(v, 1, bytes, t);
                vpa_note_period(v, 60 * SEC, t);
        }
}

TEST(buckets_grow_by_five_percent_from_the_first) {
        ASSERT_TRUE(fabs(vpa_bucket_start(0)) < 1e-12 && fabs(vpa_bucket_start(1) - 1) < 1e-9);
        ASSERT_TRUE(fabs(vpa_bucket_start(2) - 2.05) < 1e-9);
        ASSERT_TRUE(vpa_bucket_start(VPA_BUCKETS - 1) > 100000);
        for (unsigned i = 1; i + 1 < VPA_BUCKETS; i++) {
                double size = vpa_bucket_start(i + 1) - vpa_bucket_start(i);

                ASSERT_TRUE(fabs(size / (vpa_bucket_start(i) - vpa_bucket_start(i - 1)) - 1.05) < 1e-6);
        }
}

TEST(quantiles_are_ends_of_buckets_by_weight) {
        VpaHistogram h = { .total = 0 };
        double p;

        ASSERT_TRUE(vpa_histogram_quantile(&h, 0.9) == 0);
        for (unsigned i = 0; i < 90; i++)
                vpa_histogram_add(&h, 10, 1, DAY0);
        for (unsigned i = 0; i < 10; i++)
                vpa_histogram_add(&h, 100, 1, DAY0);
        p = vpa_histogram_quantile(&h, 0.9);
        ASSERT_TRUE(p >= 10 && p <= 10 * 1.11);
        p = vpa_histogram_quantile(&h, 0.91);
        ASSERT_TRUE(p >= 100 && p <= 106);
        ASSERT_TRUE(vpa_histogram_quantile(&h, 1) == p);
}

TEST(after_a_half_life_a_sample_counts_half) {
        VpaHistogram h = { .total = 0 };

        for (unsigned i = 0; i < 100; i++)
                vpa_histogram_add(&h, 100, 1, DAY0);
        for (unsigned i = 0; i < 51; i++)
                vpa_histogram_add(&h, 10, 1, DAY0 + VPA_HALF_LIFE_USEC);
        ASSERT_TRUE(vpa_histogram_quantile(&h, 0.5) < 12); /* 51 of 101 */
        /* Also over years, where the plain exponent would not fit any number. */
        for (unsigned day = 2; day < 2000; day++)
                vpa_histogram_add(&h, 50, 1, DAY0 + day * VPA_HALF_LIFE_USEC);
        ASSERT_TRUE(isfinite(h.total));
        ASSERT_TRUE(fabs(vpa_histogram_quantile(&h, 0.5) - 52) < 3);
}

TEST(a_day_has_one_peak_per_replica) {
        VpaState v = { .first_usec = 0 };

        for (uint64_t i = 1; i <= 1000; i++)
                vpa_note_memory(&v, 1, i * MIB, DAY0 + i * SEC);
        ASSERT_TRUE(fabs(v.memory.total - 1) < 1e-6);
        vpa_note_memory(&v, 2, 10 * MIB, DAY0 + 2000 * SEC);
        ASSERT_TRUE(fabs(v.memory.total - 2) < 1e-6);
        vpa_note_memory(&v, 1, 10 * MIB, DAY0 + VPA_DAY_USEC + 2000 * SEC);
        ASSERT_TRUE(v.memory.total > 3.9); /* 2 of yesterday, and one that weighs twice as much */
}

TEST(target_and_bounds_are_quantiles_with_margin_and_confidence) {
        VpaState v = { .first_usec = 0 };
        VpaRecommendation r;
        uint64_t one;

        ASSERT_EQ(vpa_recommend_cpu(&v, &cpu_bounds).target, 0);
        use(&v, 0.4, 600 * MIB, DAY0, 1);
        r = vpa_recommend_cpu(&v, &cpu_bounds);
        one = r.target;
        ASSERT_TRUE(one >= 460 && one <= 485);                /* 0.4 in its bucket of 5 %, and 15 % */
        ASSERT_TRUE(r.lower < one && r.lower > one * 9 / 10); /* (1 + 0.001 × 24)^-2 */
        ASSERT_TRUE(r.upper > one * 24 && r.upper < one * 27);
        r = vpa_recommend_memory(&v, &memory_bounds);
        ASSERT_TRUE(r.target > 600 * MIB * 115 / 100 && r.target < 600 * MIB * 122 / 100);

        use(&v, 0.4, 600 * MIB, DAY0 + HOUR, 24 * 30 - 1);
        r = vpa_recommend_cpu(&v, &cpu_bounds);
        ASSERT_TRUE(r.target >= 460 && r.target <= 485);
        ASSERT_TRUE(r.lower >= one * 99 / 100 && r.upper <= one * 105 / 100); /* 30 days: 1/30 and 1/30000 */
}

TEST(floors_and_ceilings_hold) {
        const VpaBounds small = { .min = 128 * MIB, .max = 200 * MIB };
        VpaState v = { .first_usec = 0 };

        use(&v, 0.0001, 2 * MIB, DAY0, 1);
        ASSERT_EQ(vpa_recommend_cpu(&v, &cpu_bounds).target, 25);
        ASSERT_EQ(vpa_recommend_memory(&v, &memory_bounds).target, VPA_MEMORY_MIN);
        ASSERT_EQ(vpa_recommend_memory(&v, &small).target, 128 * MIB);
        use(&v, 500, 900 * MIB, DAY0 + HOUR, 100);
        ASSERT_EQ(vpa_recommend_cpu(&v, &cpu_bounds).target, 64000);
        ASSERT_EQ(vpa_recommend_memory(&v, &small).target, 200 * MIB);
}

TEST(a_kill_for_memory_raises_at_once_by_a_hundred_mib_or_a_fifth) {
        VpaState v = { .first_usec = 0 };
        VpaRecommendation r;

        use(&v, 0.1, 200 * MIB, DAY0, 24 * 20);
        vpa_note_oom(&v, 300 * MIB, 0, DAY0 + 480 * HOUR);
        r = vpa_recommend_memory(&v, &memory_bounds);
        ASSERT_TRUE(r.target >= 400 * MIB &&
                    r.target < 520 * MIB); /* the sample counts like any other, too */
        ASSERT_TRUE(r.lower >= 400 * MIB && r.by_oom);
        ASSERT_EQ(vpa_judge(&r, 300 * MIB, 0, v.first_usec, DAY0 + 480 * HOUR), VPA_BELOW);
        ASSERT_EQ(vpa_judge(&r, r.target, DAY0 + 480 * HOUR, v.first_usec, DAY0 + 480 * HOUR), VPA_FITS);

        vpa_note_oom(&v, 2000 * MIB, 0, DAY0 + 480 * HOUR);
        ASSERT_TRUE(vpa_recommend_memory(&v, &memory_bounds).target >= 2400 * MIB);

        use(&v, 0.1, 200 * MIB, DAY0 + 480 * HOUR, 26); /* forgotten after a day, but for its sample */
        ASSERT_TRUE(!vpa_recommend_memory(&v, &memory_bounds).by_oom);
}

TEST(acts_outside_the_bounds_at_once_and_within_them_after_twelve_hours) {
        const VpaRecommendation r = { .target = 500, .lower = 400, .upper = 800 };

        ASSERT_EQ(vpa_judge(&(VpaRecommendation){ .target = 0 }, 5, 0, DAY0, DAY0), VPA_UNKNOWN);
        ASSERT_EQ(vpa_judge(&r, 399, DAY0, DAY0, DAY0), VPA_BELOW);
        ASSERT_EQ(vpa_judge(&r, 801, DAY0, DAY0, DAY0), VPA_ABOVE);
        ASSERT_EQ(vpa_judge(&r, 700, DAY0, DAY0, DAY0 + 12 * HOUR - 1), VPA_FITS);
        ASSERT_EQ(vpa_judge(&r, 700, DAY0, DAY0, DAY0 + 12 * HOUR), VPA_DRIFTED);
        ASSERT_EQ(vpa_judge(&r, 700, DAY0 + HOUR, DAY0, DAY0 + 12 * HOUR), VPA_FITS);
        ASSERT_EQ(vpa_judge(&r, 540, DAY0, DAY0, DAY0 + 1000 * HOUR), VPA_FITS); /* 7 % */
}

TEST(what_was_learnt_survives_storing) {
        _cleanup_(json_object_putp) json_object *o = NULL, *p = NULL;
        VpaState v = { .first_usec = 0 }, w;
        VpaRecommendation a, b;
        const char *text;

        use(&v, 0.4, 600 * MIB, DAY0, 50);
        vpa_note_oom(&v, 700 * MIB, 0, DAY0 + 50 * HOUR);
        o = vpa_to_json(&v);
        ASSERT_TRUE(o);
        text = mam_json_to_string(o);
        ASSERT_TRUE(text && strlen(text) < 4096);
        ASSERT_OK(mam_json_parse(&p, text, strlen(text), NULL));
        ASSERT_OK(vpa_from_json(&w, p));
        a = vpa_recommend_cpu(&v, &cpu_bounds);
        b = vpa_recommend_cpu(&w, &cpu_bounds);
        ASSERT_TRUE(a.target == b.target && a.lower == b.lower && a.upper == b.upper);
        a = vpa_recommend_memory(&v, &memory_bounds);
        b = vpa_recommend_memory(&w, &memory_bounds);
        ASSERT_TRUE(a.target == b.target && a.lower == b.lower && a.upper == b.upper && b.by_oom);
}

TEST(what_is_not_ours_is_refused) {
        static const char *const bad[] = {
                "[]",
                "{}",
                "{\"first\":5,\"last\":4,\"covered\":0,\"cpu\":[],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":-1,\"cpu\":[],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[[176,1]],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[[-1,1]],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[[1,-1]],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[[1,1e300]],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[[1,1,1]],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[5],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[[\"1\",1]],\"memory\":[]}",
                "{\"first\":1,\"last\":4,\"covered\":0,\"cpu\":[]}",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                _cleanup_(json_object_putp) json_object *o = NULL;
                VpaState v;

                ASSERT_OK(mam_json_parse(&o, bad[i], strlen(bad[i]), NULL));
                ASSERT_EQ(vpa_from_json(&v, o), -EBADMSG);
        }
}

/* ---- together ---- */

static AutoscaleInput both(void) {
        AutoscaleInput in = {
                .horizontal = MAM_SCALING_AUTO,
                .vertical = MAM_SCALING_AUTO,
                .running = true,
                .hpa = { .desired = 3,
                         .ready = 3,
                         .min = 1,
                         .max = 6,
                         .down_window_usec = 300 * SEC,
                         .period_usec = HPA_PERIOD_USEC },
                .cpu_millis = 1000,
                .memory_bytes = 512 * MIB,
                .cpu_bounds = cpu_bounds,
                .memory_bounds = memory_bounds,
                .realtime_usec = DAY0 + 1000 * HOUR,
        };

        in.hpa.metrics[HPA_CPU] = (HpaMetric){ .used = true, .target = 80, .value = 240, .measured = 3 };
        return in;
}

static void load_cpu(AutoscaleInput *in, double percent) {
        in->hpa.metrics[HPA_CPU].measured = in->hpa.ready;
        in->hpa.metrics[HPA_CPU].value = percent * in->hpa.ready;
}

static void load_memory(AutoscaleInput *in, double percent) {
        in->hpa.metrics[HPA_MEMORY] = (HpaMetric){ .used = true,
                                                   .target = 80,
                                                   .value = percent * in->hpa.ready,
                                                   .measured = in->hpa.ready };
}

TEST(cpu_is_horizontal_until_there_cannot_be_more) {
        AutoscaleState s = { .metrics_count = 0 };
        AutoscaleInput in = both();
        AutoscaleDecision d;

        use(&s.vpa, 1.9, 400 * MIB, DAY0, 24 * 30);
        load_cpu(&in, 160);
        d = autoscale_decide(&s, &in, 100 * SEC);
        ASSERT_TRUE(d.scale && d.count == 6 && !d.resize_cpu);

        in.hpa.desired = in.hpa.ready = 6;
        load_cpu(&in, 160);
        d = autoscale_decide(&s, &in, 115 * SEC);
        ASSERT_TRUE(!d.scale && d.resize_cpu);
        ASSERT_TRUE(d.cpu_millis > 2000 && d.cpu_millis < 2400);

        in.cpu_pinned = true; /* a person set it */
        d = autoscale_decide(&s, &in, 130 * SEC);
        ASSERT_TRUE(!d.resize_cpu);
}

TEST(at_the_most_replicas_cpu_is_not_shrunk_since_there_could_be_fewer) {
        AutoscaleState s = { .metrics_count = 0 };
        AutoscaleInput in = both();

        use(&s.vpa, 0.05, 400 * MIB, DAY0, 24 * 30);
        in.hpa.desired = in.hpa.ready = 6;
        load_cpu(&in, 80);
        ASSERT_TRUE(!autoscale_decide(&s, &in, 100 * SEC).resize_cpu);
        in.hpa.min = 6; /* there cannot */
        ASSERT_TRUE(autoscale_decide(&s, &in, 115 * SEC).resize_cpu);
        in.hpa.min = 1;
        in.horizontal = MAM_SCALING_RECOMMEND;
        ASSERT_TRUE(autoscale_decide(&s, &in, 130 * SEC).cpu_millis > 0);
}

TEST(memory_is_vertical_until_it_cannot_be_bigger) {
        AutoscaleState s = { .metrics_count = 0 };
        AutoscaleInput in = both();
        AutoscaleDecision d;

        use(&s.vpa, 0.5, 500 * MIB, DAY0, 24 * 30);
        load_memory(&in, 97);
        d = autoscale_decide(&s, &in, 100 * SEC);
        ASSERT_TRUE(!d.scale && d.resize_memory && d.memory_bytes > 570 * MIB);

        in.memory_bounds.max = in.memory_bytes;
        d = autoscale_decide(&s, &in, 115 * SEC);
        ASSERT_TRUE(d.scale && d.count == 4 && !d.resize_memory);

        in.memory_bounds.max = memory_bounds.max;
        in.memory_pinned = true; /* vertical may not: so horizontal has to look */
        in.hpa.desired = in.hpa.ready = 4;
        load_memory(&in, 160);
        d = autoscale_decide(&s, &in, 200 * SEC);
        ASSERT_TRUE(d.scale && !d.resize_memory && s.memory_horizontal);

        in.memory_pinned = false;
        in.vertical = MAM_SCALING_RECOMMEND;
        d = autoscale_decide(&s, &in, 300 * SEC);
        ASSERT_TRUE(!d.resize_memory && s.memory_horizontal && s.memory.target > 570 * MIB);
}

TEST(advice_changes_nothing) {
        AutoscaleState s = { .metrics_count = 0 };
        AutoscaleInput in = both();
        AutoscaleDecision d;

        use(&s.vpa, 1.9, 900 * MIB, DAY0, 24 * 30);
        in.horizontal = in.vertical = MAM_SCALING_RECOMMEND;
        load_cpu(&in, 160);
        d = autoscale_decide(&s, &in, 100 * SEC);
        ASSERT_TRUE(!d.scale && !d.resize_cpu && !d.resize_memory);
        ASSERT_EQ(s.recommended, 6);
        ASSERT_STREQ(s.records[AUTOSCALE_REPLICAS].verdict, "3 replicas, 6 recommended");
        ASSERT_TRUE(strstr(s.records[AUTOSCALE_CPU].verdict, "recommended"));

        in.horizontal = in.vertical = MAM_SCALING_OFF;
        (void) autoscale_decide(&s, &in, 115 * SEC);
        ASSERT_TRUE(!s.recommended_known);
        ASSERT_TRUE(strstr(s.records[AUTOSCALE_REPLICAS].why, "off"));
}

TEST(every_decision_says_why_and_what_would_change_it) {
        AutoscaleState s = { .metrics_count = 0 };
        AutoscaleInput in = both();
        const DecisionRecord *r = &s.records[AUTOSCALE_REPLICAS];
        uint64_t since;

        autoscale_describe(&s, &in, 90 * SEC); /* somebody asks before the first period */
        ASSERT_STREQ(r->verdict, "3 replicas");
        ASSERT_TRUE(strstr(r->why, "nothing has been measured yet"));

        load_cpu(&in, 160);
        (void) autoscale_decide(&s, &in, 100 * SEC);
        ASSERT_STREQ(r->verdict, "6 replicas");
        ASSERT_STREQ(r->why, "CPU: 160 % of the limit, to be 80 % of the limit: asks for 6, with 3 ready");
        ASSERT_TRUE(strstr(r->change, "above 88 %") && strstr(r->change, "below 72 %"));
        since = r->since_usec;
        ASSERT_EQ(since, in.realtime_usec);

        in.hpa.desired = in.hpa.ready = 6;
        in.realtime_usec += 15 * SEC;
        load_cpu(&in, 20);
        (void) autoscale_decide(&s, &in, 115 * SEC);
        ASSERT_STREQ(r->verdict, "6 replicas");
        ASSERT_EQ(r->since_usec, since);
        ASSERT_TRUE(strstr(r->why, "scale-down window"));
        ASSERT_TRUE(strstr(r->change, "fewer of them in 4min 45s"));
        ASSERT_TRUE(r->n_numbers >= 5 && r->n_numbers <= DECISION_NUMBERS_MAX);
        for (AutoscaleTopic t = 0; t < _AUTOSCALE_TOPIC_MAX; t++)
                ASSERT_TRUE(s.records[t].verdict[0] && s.records[t].why[0] && s.records[t].change[0]);

        in.running = false;
        (void) autoscale_decide(&s, &in, 130 * SEC);
        ASSERT_STREQ(r->verdict, "stopped");
}

TEST(what_can_sleep_sleeps_whatever_its_cpu_asked_for_before) {
        AutoscaleState s = { .metrics_count = 0 };
        AutoscaleInput in = both();
        AutoscaleDecision d;

        in.can_sleep = true;
        in.hpa.min = 0;
        in.idle_usec = 10 * SEC;
        zero_note(&s.zero, 2, 1, 100 * SEC);
        d = autoscale_decide(&s, &in, 100 * SEC);
        ASSERT_TRUE(!d.scale);
        d = autoscale_decide_quick(&s, &in, 105 * SEC);
        ASSERT_TRUE(!d.scale);
        in.idle_unsure = true; /* somebody is connected whom no gateway sees */
        d = autoscale_decide_quick(&s, &in, 111 * SEC);
        ASSERT_TRUE(!d.scale);
        in.idle_unsure = false;
        d = autoscale_decide_quick(&s, &in, 121 * SEC);
        ASSERT_TRUE(d.scale && d.count == 1);
        in.hpa.desired = in.hpa.ready = 1;
        d = autoscale_decide_quick(&s, &in, 124 * SEC);
        ASSERT_TRUE(d.scale && d.count == 0);
        in.hpa.desired = in.hpa.ready = 0;
        d = autoscale_decide(&s, &in, 130 * SEC);
        ASSERT_TRUE(!d.scale);
        ASSERT_STREQ(s.records[AUTOSCALE_REPLICAS].verdict, "asleep");
        ASSERT_TRUE(strstr(s.records[AUTOSCALE_REPLICAS].change, "wakes it"));
}

/* A simulated service whose replicas share a load of CPU and of memory: the two never undo each other. */
TEST(the_two_come_to_rest_and_never_fight) {
        uint64_t seed = 77;

        for (unsigned run = 0; run < 40; run++) {
                AutoscaleState s = { .metrics_count = 0 };
                AutoscaleInput in = both();
                unsigned changes = 0;
                double cores, bytes;

                seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
                cores = 0.2 + (double) (seed >> 40) / (double) (1 << 24) * 12;
                bytes = (100 + (double) ((seed >> 20) % 900)) * MIB;
                for (uint64_t t = 0; t < 20 * 24 * HOUR; t += 900 * SEC) {
                        double each = cores / in.hpa.desired;
                        double limit = (double) in.cpu_millis / 1000;
                        double used = each < limit ? each : limit;
                        AutoscaleDecision d;

                        in.realtime_usec = DAY0 + t;
                        for (uint32_t n = 1; n <= in.hpa.desired; n++) {
                                vpa_note_cpu(&s.vpa, used, in.realtime_usec);
                                vpa_note_memory(&s.vpa, n, (uint64_t) bytes, in.realtime_usec);
                        }
                        vpa_note_period(&s.vpa, 900 * SEC, in.realtime_usec);
                        in.hpa.ready = in.hpa.desired;
                        load_cpu(&in, used / limit * 100);
                        load_memory(&in, bytes / (double) in.memory_bytes * 100);
                        d = autoscale_decide(&s, &in, SEC + t);
                        changes += t > 10 * 24 * HOUR && (d.scale || d.resize_cpu || d.resize_memory);
                        in.hpa.desired = d.scale ? d.count : in.hpa.desired;
                        in.cpu_millis = d.resize_cpu ? d.cpu_millis : in.cpu_millis;
                        in.memory_bytes = d.resize_memory ? d.memory_bytes : in.memory_bytes;
                        ASSERT_TRUE(in.hpa.desired >= 1 && in.hpa.desired <= 6);
                        ASSERT_TRUE(!(d.resize_cpu && d.scale));
                }
                ASSERT_EQ(changes, 0); /* at rest since day ten */
                ASSERT_TRUE((double) in.memory_bytes > bytes);
                ASSERT_TRUE(in.hpa.desired * (double) in.cpu_millis / 1000 > cores * 0.99);
        }
}
