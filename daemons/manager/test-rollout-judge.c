/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * When a new revision is worse than the old one
 */

#include <math.h>
#include <stdint.h>

#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "manager/rollout-judge.h"

typedef struct Side {
        uint64_t requests, errors, slow;
} Side;

/* Answers within 1 ms to 1.4 ms, and slow ones within 400 ms to 570 ms. */
static LoadTotals totals(Side s) {
        LoadTotals t = { .requests = s.requests, .errors = s.errors };

        t.buckets[7] = s.requests - s.slow;
        t.buckets[24] = s.slow;
        return t;
}

static bool is_bad(Side old, Side new) {
        const LoadTotals o = totals(old), n = totals(new);
        char reason[128] = "";
        bool bad;

        bad = judge_is_bad(&o, &n, &o, &n, false, reason, sizeof(reason));
        ASSERT_EQ(bad, reason[0] != '\0');
        return bad;
}

TEST(the_tail_of_a_binomial_is_exact) {
        static const struct {
                uint64_t x, n;
                double p, tail;
        } cases[] = {
                { 0, 10, 0.5, 1 },
                { 10, 10, 0.5, 1.0 / 1024 },
                { 9, 10, 0.5, 11.0 / 1024 },
                { 1, 3, 1.0 / 3, 19.0 / 27 },
                { 5, 10, 0.5, 638.0 / 1024 },
                { 1, 1, 0.25, 0.25 },
                { 3, 2, 0.5, 0 },
                { 2, 5, 1, 1 },
                { 1, 5, 0, 0 },
                { 100, 100, 0.01, 1e-200 },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                double got = judge_binomial_tail(cases[i].x, cases[i].n, cases[i].p);

                if (fabs(got - cases[i].tail) > 1e-9 * (cases[i].tail + 1e-12))
                        mam_test_fail(__FILE__, __LINE__, "tail of a case", (long long) i);
        }
        /* Large numbers neither overflow nor take long. */
        ASSERT_TRUE(judge_binomial_tail(600000000, 1000000000, 0.5) < 1e-100);
        ASSERT_TRUE(fabs(judge_binomial_tail(500000000, 1000000000, 0.5) - 0.5) < 1e-3);
}

TEST(errors_are_judged_by_how_surely_they_are_more) {
        static const struct {
                Side old, new;
                bool bad;
        } cases[] = {
                { { 1000, 0, 0 }, { 100, 0, 0 }, false },
                { { 1000, 0, 0 }, { 100, 100, 0 }, true },
                { { 1000, 0, 0 }, { 5, 5, 0 }, true },  /* a gateway soon sends it no more */
                { { 1000, 0, 0 }, { 4, 4, 0 }, false }, /* too few to say */
                { { 1000, 0, 0 }, { 100, 1, 0 }, false },
                { { 1000, 0, 0 }, { 100, 2, 0 }, false },
                { { 1000, 0, 0 }, { 100, 8, 0 }, true },
                { { 1000, 100, 0 }, { 100, 12, 0 }, false }, /* what troubles both */
                { { 1000, 1000, 0 }, { 100, 100, 0 }, false },
                { { 100000, 0, 0 }, { 100000, 900, 0 }, false }, /* surely more, and not worth it */
                { { 0, 0, 0 }, { 19, 19, 0 }, false },           /* nothing to compare with */
                { { 0, 0, 0 }, { 20, 10, 0 }, true },
                { { 0, 0, 0 }, { 20, 9, 0 }, false },
                { { 0, 0, 0 }, { 0, 0, 0 }, false },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                if (is_bad(cases[i].old, cases[i].new) != cases[i].bad)
                        mam_test_fail(__FILE__, __LINE__, "case", (long long) i);
        }
}

TEST(latency_is_judged_by_what_is_slower_than_the_old_p99) {
        ASSERT_TRUE(!is_bad((Side){ 1000, 0, 0 }, (Side){ 100, 0, 0 }));
        ASSERT_TRUE(is_bad((Side){ 1000, 0, 0 }, (Side){ 100, 0, 100 }));
        ASSERT_TRUE(is_bad((Side){ 1000, 0, 0 }, (Side){ 10, 0, 10 }));
        ASSERT_TRUE(!is_bad((Side){ 1000, 0, 0 }, (Side){ 9, 0, 9 })); /* too few */
        ASSERT_TRUE(!is_bad((Side){ 9, 0, 0 }, (Side){ 1000, 0, 1000 }));
        ASSERT_TRUE(!is_bad((Side){ 1000, 0, 0 }, (Side){ 100, 0, 1 }));
        ASSERT_TRUE(!is_bad((Side){ 100000, 0, 0 }, (Side){ 10000, 0, 400 })); /* surely more: a hiccup */
        ASSERT_TRUE(!is_bad((Side){ 1000, 0, 1000 }, (Side){ 100, 0, 100 }));  /* both are slow */
        ASSERT_TRUE(!is_bad((Side){ 1000, 0, 100 }, (Side){ 100, 0, 11 }));
}

TEST(what_did_not_serve_at_the_same_time_is_judged_mildly) {
        const LoadTotals o = totals((Side){ 1000, 0, 0 }), few = totals((Side){ 1000, 0, 200 }),
                         many = totals((Side){ 1000, 0, 300 });
        char reason[128];

        ASSERT_TRUE(judge_is_bad(&o, &few, &o, &few, false, reason, sizeof(reason)));
        ASSERT_TRUE(!judge_is_bad(&o, &few, &o, &few, true, reason, sizeof(reason)));
        ASSERT_TRUE(judge_is_bad(&o, &many, &o, &many, true, reason, sizeof(reason)));
}

TEST(what_nobody_notices_is_not_slow) {
        LoadTotals o = { .requests = 1000 }, n = { .requests = 1000 };
        char reason[128];

        o.buckets[0] = n.buckets[10] = 1000; /* 0.1 ms against 3 ms */
        ASSERT_TRUE(!judge_is_bad(&o, &n, &o, &n, false, reason, sizeof(reason)));
        n.buckets[20] = 1000; /* 100 ms */
        ASSERT_TRUE(judge_is_bad(&o, &n, &o, &n, false, reason, sizeof(reason)));
        ASSERT_TRUE(strstr(reason, "p99"));
}

TEST(equal_revisions_are_seldom_judged_different) {
        uint64_t seed = 42;
        unsigned bad = 0;

        /* 2000 canaries of one percent errors on both sides, asked once a second for a minute. */
        for (unsigned world = 0; world < 2000; world++) {
                Side old = { 0, 0, 0 }, new = { 0, 0, 0 };

                for (unsigned second = 0; second < 60; second++) {
                        for (unsigned i = 0; i < 100; i++) {
                                Side *s;

                                seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                                s = (seed >> 33) % 100 < 20 ? &new : &old;
                                s->requests++;
                                s->errors += (seed >> 41) % 100 == 0;
                        }
                        if (is_bad(old, new)) {
                                bad++;
                                break;
                        }
                }
        }
        ASSERT_TRUE(bad <= 10); /* half a percent of them */
}
