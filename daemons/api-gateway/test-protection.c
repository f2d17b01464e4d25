/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Outliers, the circuit breaker and the gradient, with a clock of the test's own
 */

#include "api-gateway/breaker.h"
#include "api-gateway/gradient.h"
#include "api-gateway/outlier.h"
#include "libmam/util/test.h"

#define SEC MAM_USEC_PER_SEC

TEST(five_failures_in_a_row_make_an_outlier) {
        Outlier o = { 0 };
        uint64_t now = 1000 * SEC;

        /* Among many good ones: the share alone would not do it. */
        for (int i = 0; i < 1000; i++)
                ASSERT_TRUE(!outlier_count(&o, false, now));
        for (int i = 0; i < 4; i++)
                ASSERT_TRUE(!outlier_count(&o, true, now));
        ASSERT_TRUE(!outlier_count(&o, false, now));
        for (int i = 0; i < 4; i++)
                ASSERT_TRUE(!outlier_count(&o, true, now));
        ASSERT_TRUE(outlier_count(&o, true, now));
}

TEST(less_than_four_fifths_of_the_last_half_minute_too) {
        Outlier o = { 0 };
        uint64_t now = 1000 * SEC;
        unsigned n;

        /* 3 of 4 are too few to tell, 6 of 8 are not. */
        ASSERT_TRUE(!outlier_count(&o, true, now));
        for (int i = 0; i < 6; i++)
                ASSERT_TRUE(!outlier_count(&o, false, now));
        ASSERT_TRUE(outlier_count(&o, true, now));
        ASSERT_TRUE(outlier_success(&o, now, &n) == 0.75 && n == 8);
        /* What is older than the window does not count. */
        now += OUTLIER_WINDOW_USEC;
        ASSERT_TRUE(outlier_success(&o, now, &n) == 1.0 && n == 0);
        ASSERT_TRUE(!outlier_count(&o, true, now));
}

TEST(a_while_doubles_up_to_five_minutes_and_is_forgiven_in_time) {
        static const unsigned whiles[] = { 5, 10, 20, 40, 80, 160, 300, 300 };
        Outlier o = { 0 };
        uint64_t now = 1000 * SEC;

        for (size_t i = 0; i < sizeof(whiles) / sizeof(*whiles); i++) {
                outlier_eject(&o, 0, now);
                ASSERT_EQ(o.until_usec - now, whiles[i] * SEC);
                ASSERT_TRUE(outlier_is_out(&o, o.until_usec - 1) && !outlier_is_out(&o, o.until_usec));
                now = o.until_usec;
        }
        /* By lot at most a quarter longer, and never longer than the longest. */
        outlier_eject(&o, 1, now);
        ASSERT_EQ(o.until_usec - now, 300 * SEC);
        now = o.until_usec + 3600 * SEC;
        ASSERT_TRUE(!outlier_count(&o, false, now));
        outlier_eject(&o, 1, now);
        ASSERT_EQ(o.until_usec - now, 5 * SEC * 5 / 4);
        /* Well for a little only: the next while is longer. */
        now = o.until_usec + SEC;
        ASSERT_TRUE(!outlier_count(&o, false, now));
        outlier_eject(&o, 0, now);
        ASSERT_EQ(o.until_usec - now, 10 * SEC);
}

TEST(a_service_that_fails_is_left_alone_and_tried_again) {
        Breaker b = { 0 };
        uint64_t now = 1000 * SEC, wait = 0;

        breaker_configure(&b, 50, 2 * SEC);
        for (unsigned i = 0; i < BREAKER_REQUESTS - 1; i++)
                ASSERT_TRUE(!breaker_count(&b, true, false, now));
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_GO);
        ASSERT_TRUE(breaker_count(&b, true, false, now));
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_REFUSE);
        ASSERT_EQ(wait, 2 * SEC);
        /* Answers that were under way change nothing. */
        ASSERT_TRUE(!breaker_count(&b, false, false, now + SEC));
        ASSERT_EQ(breaker_admit(&b, now + 2 * SEC - 1, &wait), BREAKER_REFUSE);

        /* Three may try; one failure is enough, and the next while is twice as long. */
        now += 2 * SEC;
        for (unsigned i = 0; i < BREAKER_PROBES; i++)
                ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_PROBE);
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_REFUSE);
        ASSERT_TRUE(!breaker_count(&b, false, true, now));
        ASSERT_TRUE(breaker_count(&b, true, true, now));
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_REFUSE);
        ASSERT_EQ(wait, 4 * SEC);
        /* The third of them comes late and says nothing any more. */
        ASSERT_TRUE(!breaker_count(&b, false, true, now));

        now += 4 * SEC;
        for (unsigned i = 0; i < BREAKER_PROBES; i++)
                ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_PROBE);
        breaker_abandon(&b); /* its client left: another one may try */
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_PROBE);
        for (unsigned i = 0; i < BREAKER_PROBES; i++)
                ASSERT_TRUE(!breaker_count(&b, false, true, now));
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_GO);
        ASSERT_TRUE(!breaker_count(&b, true, false, now)); /* the old failures are forgotten */
}

TEST(a_minority_of_failures_does_not_open_it_and_nothing_does_if_it_is_off) {
        Breaker b = { 0 };
        uint64_t now = 1000 * SEC, wait = 0;

        breaker_configure(&b, 50, 2 * SEC);
        for (int i = 0; i < 3000; i++, now += 10 * MAM_USEC_PER_MSEC)
                ASSERT_TRUE(!breaker_count(&b, i % 5 == 0, false, now));
        breaker_configure(&b, 0, 2 * SEC);
        for (int i = 0; i < 1000; i++)
                ASSERT_TRUE(!breaker_count(&b, true, false, now));
        ASSERT_EQ(breaker_admit(&b, now, &wait), BREAKER_GO);
}

/* One replica that works on so many at once, in service_usec each; beyond that they queue inside of it. The
 * load always fills the limit. Returns the mean latency of the last second. */
static double run(Gradient *g, unsigned width, uint64_t service_usec, uint64_t *now, unsigned seconds) {
        uint64_t end = *now + seconds * SEC;
        double latency = 0;

        while (*now < end) {
                unsigned limit = gradient_limit(g);
                unsigned ahead = limit > width ? limit : width;

                latency = (double) service_usec * ahead / width;
                gradient_sample(g, (uint64_t) latency, limit, *now);
                *now += service_usec / width;
        }
        return latency;
}

TEST(the_limit_finds_what_a_replica_can_do) {
        uint64_t now = 1000 * SEC;
        Gradient g;

        gradient_init(&g, 20, 200);
        ASSERT_EQ(gradient_limit(&g), 200);
        /* What it does is as usual: nothing holds it back. */
        run(&g, 200, 10000, &now, 30);
        ASSERT_EQ(gradient_limit(&g), 200);
        /* It becomes much narrower: within seconds the queue in it is cut. */
        ASSERT_TRUE(run(&g, 40, 10000, &now, 5) < 10000 * 2.5);
        ASSERT_TRUE(gradient_limit(&g) < 100);
        /* And it recovers. */
        run(&g, 400, 10000, &now, 60);
        ASSERT_TRUE(gradient_limit(&g) > 180);
}

TEST(the_limit_stays_within_its_bounds) {
        uint64_t now = 1000 * SEC;
        Gradient g;

        gradient_init(&g, 20, 200);
        for (unsigned i = 0; i < 100; i++, now += SEC)
                gradient_sample(&g, 1000, 200, now);
        for (unsigned i = 0; i < 500; i++, now += SEC / 20)
                gradient_sample(&g, 1000000, 200, now);
        ASSERT_EQ(gradient_limit(&g), 20);
        gradient_set_bounds(&g, 30, 60);
        ASSERT_EQ(gradient_limit(&g), 30);
        gradient_init(&g, 50, 50);
        for (unsigned i = 0; i < 1000; i++, now += SEC / 100)
                gradient_sample(&g, i % 7 * 1000, i % 90, now);
        ASSERT_EQ(gradient_limit(&g), 50);
}

TEST(a_limit_that_nobody_needs_does_not_grow) {
        uint64_t now = 1000 * SEC;
        Gradient g;

        gradient_init(&g, 20, 200);
        g.limit = 50;
        for (unsigned i = 0; i < 3000; i++, now += SEC / 100)
                gradient_sample(&g, 5000, 10, now);
        ASSERT_EQ(gradient_limit(&g), 50);
        for (unsigned i = 0; i < 3000; i++, now += SEC / 100)
                gradient_sample(&g, 5000, 40, now);
        ASSERT_TRUE(gradient_limit(&g) > 70);
}
