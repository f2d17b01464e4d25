/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <syslog.h>

#include "libmam/util/test.h"
#include "libmam/util/time.h"
#include "manager/events.h"

#define NOW (1000 * MAM_USEC_PER_SEC)

static EventRing *ring_new(void) {
        EventRing *ring = calloc(1, sizeof(EventRing));

        ASSERT_TRUE(ring);
        return ring;
}

static void ring_free(EventRing *ring) {
        event_ring_done(ring);
        free(ring);
}

static void fill(EventRing *ring, unsigned n, const char *service) {
        char text[32];

        for (unsigned i = 0; i < n; i++) {
                snprintf(text, sizeof(text), "number %u", i);
                ASSERT_TRUE(event_ring_add(ring, NOW + i, LOG_INFO, service, 1, "started", text));
        }
}

TEST(only_the_newest_are_kept_and_they_come_oldest_first) {
        static const Event *found[EVENTS_MAX];
        EventRing *ring = ring_new();

        fill(ring, EVENTS_MAX + 10, "alpha");
        ASSERT_EQ(event_ring_select(ring, "", 0, 0, found), EVENTS_MAX);
        ASSERT_STREQ(found[0]->message, "number 10");
        ASSERT_STREQ(found[EVENTS_MAX - 1]->message, "number 4105");
        for (size_t i = 1; i < EVENTS_MAX; i++)
                ASSERT_TRUE(found[i]->sequence == found[i - 1]->sequence + 1);
        ring_free(ring);
}

TEST(asking_selects_by_service_sequence_and_number) {
        static const Event *found[EVENTS_MAX];
        EventRing *ring = ring_new();
        uint64_t third;

        fill(ring, 5, "alpha");
        fill(ring, 5, "beta");
        ASSERT_EQ(event_ring_select(ring, "beta", 0, 0, found), 5);
        third = found[2]->sequence;
        ASSERT_EQ(event_ring_select(ring, "", third, 0, found), 2);
        ASSERT_EQ(event_ring_select(ring, "alpha", third, 0, found), 0);
        ASSERT_EQ(event_ring_select(ring, "alpha", 0, 2, found), 2);
        ASSERT_STREQ(found[0]->message, "number 3"); /* the newest two */
        ASSERT_EQ(event_ring_select(ring, "", UINT64_MAX, 0, found), 0);
        ASSERT_EQ(event_ring_select(ring, "", 0, UINT32_MAX, found), 10);
        ring_free(ring);
}

TEST(sequence_numbers_grow_over_a_restart) {
        EventRing *before = ring_new(), *after = ring_new();
        const Event *last, *first;

        fill(before, 100, "alpha");
        last = event_ring_add(before, NOW + 200, LOG_INFO, "", 0, "reloaded", "x");
        first = event_ring_add(after, NOW + 300, LOG_INFO, "", 0, "reloaded", "x");
        ASSERT_TRUE(last && first && first->sequence > last->sequence);
        ring_free(before);
        ring_free(after);
}

TEST(a_clock_that_goes_back_does_not_repeat_a_sequence_number) {
        EventRing *ring = ring_new();
        uint64_t first = event_ring_add(ring, NOW, LOG_INFO, "", 0, "reloaded", "x")->sequence;

        ASSERT_TRUE(event_ring_add(ring, 1, LOG_INFO, "", 0, "reloaded", "x")->sequence > first);
        ring_free(ring);
}

TEST(a_crash_loop_is_told_and_does_not_flood) {
        EventRing *ring = ring_new();
        uint32_t held_back = 0;
        unsigned admitted = 0;

        for (unsigned i = 0; i < 1000; i++) /* a hundred a second */
                admitted += event_ring_admit(
                                ring,
                                "alpha",
                                1,
                                "died",
                                NOW + i * 10 * MAM_USEC_PER_MSEC,
                                &held_back);
        ASSERT_EQ(admitted, EVENTS_BURST + 3);
        /* Its siblings and other kinds are not affected. */
        ASSERT_TRUE(event_ring_admit(ring, "alpha", 2, "died", NOW, &held_back));
        ASSERT_TRUE(event_ring_admit(ring, "alpha", 1, "healthy", NOW, &held_back));
        ASSERT_EQ(held_back, 0);
        /* And the next one tells how many there were. */
        ASSERT_TRUE(event_ring_admit(ring, "alpha", 1, "died", NOW + 60 * MAM_USEC_PER_SEC, &held_back));
        ASSERT_EQ(held_back, 99); /* since the last one that was let through */
        ring_free(ring);
}

TEST(what_is_too_long_is_cut) {
        EventRing *ring = ring_new();
        char text[2 * EVENTS_MESSAGE_MAX];
        const Event *e;

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        e =
                        event_ring_add(ring,
                                       NOW,
                                       LOG_ERR,
                                       "a-service-with-a-name-that-is-much-too-long",
                                       1,
                                       "died",
                                       text);
        ASSERT_TRUE(e);
        ASSERT_EQ(strlen(e->message), EVENTS_MESSAGE_MAX - 1);
        ASSERT_EQ(strlen(e->service), sizeof(e->service) - 1);
        ring_free(ring);
}

TEST(priorities_have_names) {
        ASSERT_STREQ(event_severity(LOG_CRIT), "error");
        ASSERT_STREQ(event_severity(LOG_ERR), "error");
        ASSERT_STREQ(event_severity(LOG_WARNING), "warning");
        ASSERT_STREQ(event_severity(LOG_NOTICE), "notice");
        ASSERT_STREQ(event_severity(LOG_INFO), "info");
}
