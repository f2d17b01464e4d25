/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Cursors, places and quotas
 */

#include <errno.h>

#include "event-bus/cursor.h"
#include "event-bus/quota.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

TEST(a_cursor_comes_back_as_it_was) {
        static const int64_t numbers[] = { 0, 1, 127, 128, 16384, INT32_MAX, INT64_MAX };

        for (size_t i = 0; i < MAM_ELEMENTSOF(numbers); i++) {
                for (size_t k = 0; k < MAM_ELEMENTSOF(numbers); k++) {
                        char text[CURSOR_SIZE];
                        int64_t topic = -1, position = -1;
                        size_t n = cursor_format(text, numbers[i], numbers[k]);

                        ASSERT_EQ(n, strlen(text));
                        ASSERT_TRUE(n < CURSOR_SIZE);
                        ASSERT_OK(cursor_parse(text, &topic, &position));
                        ASSERT_EQ(topic, numbers[i]);
                        ASSERT_EQ(position, numbers[k]);
                }
        }
}

TEST(a_cursor_that_was_changed_is_refused) {
        char text[CURSOR_SIZE], changed[CURSOR_SIZE];
        int64_t topic, position;
        unsigned taken = 0;
        size_t n = cursor_format(text, 7, 123456);

        for (size_t i = 0; i < n; i++) {
                memcpy(changed, text, n);
                changed[i] = '\0';
                ASSERT_EQ(cursor_parse(changed, &topic, &position), -EINVAL);
                for (const char *c = "Ab9_=."; *c; c++) {
                        memcpy(changed, text, n + 1);
                        changed[i] = *c;
                        if (strcmp(changed, text) != 0 && cursor_parse(changed, &topic, &position) == 0)
                                taken++;
                }
        }
        ASSERT_TRUE(taken <= 1); /* the check is a byte */
        ASSERT_EQ(cursor_parse("", &topic, &position), -EINVAL);
        ASSERT_EQ(cursor_parse("12", &topic, &position), -EINVAL);
}

TEST(places_are_told_apart) {
        char text[CURSOR_SIZE];
        Place p;

        ASSERT_OK(place_parse(&p, "earliest"));
        ASSERT_EQ(p.kind, PLACE_EARLIEST);
        ASSERT_OK(place_parse(&p, "latest"));
        ASSERT_EQ(p.kind, PLACE_LATEST);
        ASSERT_OK(place_parse(&p, "42"));
        ASSERT_EQ(p.kind, PLACE_POSITION);
        ASSERT_EQ(p.position, 42);
        ASSERT_OK(place_parse(&p, "2026-01-02T03:04:05.25+01:00"));
        ASSERT_EQ(p.kind, PLACE_TIME);
        ASSERT_EQ(p.usec, 1767319445250000);
        cursor_format(text, 3, 9);
        ASSERT_OK(place_parse(&p, text));
        ASSERT_EQ(p.kind, PLACE_CURSOR);
        ASSERT_EQ(p.topic, 3);
        ASSERT_EQ(p.position, 9);
        ASSERT_EQ(place_parse(&p, ""), -EINVAL);
        ASSERT_EQ(place_parse(&p, "-1"), -EINVAL);
        ASSERT_EQ(place_parse(&p, "2026-02-30T00:00:00Z"), -EINVAL);
        ASSERT_EQ(place_parse(&p, "2026-02-03"), -EINVAL);
}

TEST(a_quota_lets_a_second_s_worth_through) {
        _cleanup_(quotas_freep) Quotas *q = NULL;
        uint64_t now = 5 * MAM_USEC_PER_SEC, wait;

        ASSERT_OK(quotas_new(&q));
        for (unsigned i = 0; i < 10; i++)
                ASSERT_EQ(quotas_take(q, "ann", 1, 10, 1, now), 0);
        wait = quotas_take(q, "ann", 1, 10, 1, now);
        ASSERT_TRUE(wait > 90000 && wait <= 100001);
        ASSERT_EQ(quotas_take(q, "bob", 1, 10, 1, now), 0);
        ASSERT_EQ(quotas_take(q, "ann", 2, 10, 1, now), 0);
        ASSERT_EQ(quotas_take(q, "ann", 1, 10, 1, now + wait), 0);
        ASSERT_EQ(quotas_take(q, "ann", 1, 0, 1000, now), 0);
}

TEST(a_batch_larger_than_the_quota_goes_and_is_owed) {
        _cleanup_(quotas_freep) Quotas *q = NULL;
        uint64_t now = 5 * MAM_USEC_PER_SEC;

        ASSERT_OK(quotas_new(&q));
        ASSERT_EQ(quotas_take(q, "ann", 1, 10, 100, now), 0);
        ASSERT_TRUE(quotas_take(q, "ann", 1, 10, 1, now + 8 * MAM_USEC_PER_SEC) > 0);
        ASSERT_EQ(quotas_take(q, "ann", 1, 10, 1, now + 10 * MAM_USEC_PER_SEC), 0);
}

TEST(quotas_are_bounded) {
        _cleanup_(quotas_freep) Quotas *q = NULL;
        char name[32];

        ASSERT_OK(quotas_new(&q));
        for (unsigned i = 0; i < 3 * QUOTAS_MAX; i++) {
                snprintf(name, sizeof(name), "p%u", i);
                ASSERT_EQ(quotas_take(q, name, 1, 1, 1, 1), 0);
                ASSERT_TRUE(quotas_take(q, name, 1, 1, 1, 1) > 0);
        }
}
