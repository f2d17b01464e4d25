/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Subscriptions at their bounds: memory, a database that is away, states that cannot be read
 */

#include <signal.h>

#include "event-bus/delivery/delivery-internal.h"
#include "event-bus/delivery/test-delivery-fixture.h"

#define SECOND MAM_USEC_PER_SEC

static World world;

/* Everything that is at hand has a key that waits, and fills the memory: what is behind it comes all the
 * same. */
TEST(a_held_key_does_not_starve_the_others) {
        World *w = &world;

        world_open(w, 1);
        subscribe(w, "s", NULL);
        append_large(w, "t", "held", 0, 60, 200000);
        append_large(w, "t", "free", 60, 3, 100);
        take(w, 0, "s", 1, 20 * SECOND);
        ASSERT_EQ(w->numbers[0], 0);
        settle_one(w, 0, "s", SETTLE_NACK, w->ids[0], 20 * SECOND);

        take(w, 0, "s", 10, 20 * SECOND);
        ASSERT_TRUE(w->n > 0);
        ASSERT_EQ(w->numbers[0], 60);
        ASSERT_TRUE(w->d[0]->bytes <= DELIVERY_SUB_BYTES_MAX + 1000000);

        /* and those of the key come in order, whatever had to be read again */
        for (unsigned next = 0; next < 60;) {
                take(w, 0, "s", 20, 60 * SECOND);
                ASSERT_TRUE(w->n > 0);
                for (size_t i = 0; i < w->n; i++) {
                        settle_one(w, 0, "s", SETTLE_ACK, w->ids[i], 0);
                        ASSERT_EQ(w->results[0], 0);
                        if (w->numbers[i] < 60)
                                ASSERT_EQ(w->numbers[i], next++);
                }
                ASSERT_TRUE(w->d[0]->bytes <= DELIVERY_SUB_BYTES_MAX + 1000000);
        }
        world_close(w);
}

TEST(bytes_of_a_take_are_bounded) {
        World *w = &world;
        unsigned next = 0;

        world_open(w, 1);
        subscribe(w, "s", NULL);
        append_large(w, "t", "k", 0, 10, 100000);
        while (next < 10) {
                take_bytes(w, 0, "s", 10, 250000, 20 * SECOND);
                ASSERT_TRUE(w->n >= 1 && w->n <= 2);
                for (size_t i = 0; i < w->n; i++) {
                        ASSERT_EQ(w->numbers[i], next++);
                        settle_one(w, 0, "s", SETTLE_ACK, w->ids[i], 0);
                }
        }
        world_close(w);
}

TEST(volatile_topics_have_subscriptions_too) {
        static const TopicSettings settings = { .kind = TOPIC_VOLATILE };
        const SubscriptionSettings s = { .topic = "v" };
        World *w = &world;
        unsigned next = 0;

        world_open(w, 2);
        topic_make(&w->f, "v", &settings);
        subscribe(w, "s", &s);
        append_large(w, "v", "k", 0, 20, 10);
        while (next < 20) {
                take(w, next % 2, "s", 6, 20 * SECOND);
                ASSERT_TRUE(w->n > 0);
                for (size_t i = 0; i < w->n; i++)
                        ASSERT_EQ(w->numbers[i], next + i);
                if (next == 0 && w->attempts[0] == 1) {
                        settle_one(w, 1, "s", SETTLE_NACK, w->ids[0], 0);
                        ASSERT_EQ(w->results[0], 0);
                        continue;
                }
                next += (unsigned) w->n;
                for (size_t i = 0; i < w->n; i++) {
                        settle_one(w, i % 2, "s", SETTLE_ACK, w->ids[i], 0);
                        ASSERT_EQ(w->results[0], 0);
                }
        }
        world_close(w);
}

TEST(says_that_the_database_is_away) {
        World *w = &world;
        char id[65];

        world_open(w, 1);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 2, 2);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 1, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        memcpy(id, w->ids[0], sizeof(id));

        mam_test_server_kill(&test_postgres, SIGKILL);
        take(w, 0, "s", 1, 100000);
        ASSERT_EQ(w->error, -ENOTCONN);
        mam_test_postgres_start(&test_postgres);
        settle_one(w, 0, "s", SETTLE_ACK, id, 0);
        ASSERT_EQ(w->results[0], 0);
        take(w, 0, "s", 10, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        ASSERT_EQ(w->numbers[0], 1);
        world_close(w);
}

TEST(a_state_that_cannot_be_read_is_an_error) {
        World *w = &world;

        world_open(w, 1);
        subscribe(w, "s", NULL);
        ASSERT_TRUE(fixture_sql(&w->f, NULL, 0, "UPDATE subscription_states SET state = 'AAAA', token = 1"));
        take(w, 0, "s", 1, 20 * SECOND);
        ASSERT_EQ(w->error, -EBADMSG);
        get_info(w, "s");
        ASSERT_EQ(w->error, -EBADMSG);
        world_close(w);
}

TEST(many_letters_come_back_in_order) {
        World *w = &world;
        unsigned next = 0;

        world_open(w, 2);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 300, 3);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 300, 20 * SECOND);
        ASSERT_EQ(w->n, 300);
        for (size_t i = 0; i < 300; i++) {
                static Settlement items[300];

                items[i] = (Settlement){ .kind = SETTLE_DEAD,
                                         .ack_id = w->ids[i],
                                         .reason = i % 2 ? "a \"quoted\\\" {reason}" : NULL };
                if (i == 299)
                        settle(w, 1, "s", items, 300);
        }
        for (size_t i = 0; i < 300; i++)
                ASSERT_EQ(w->results[i], 0);
        list_dead(w, "s");
        ASSERT_EQ(w->n, 100);
        ASSERT_STREQ(w->reasons[1], "a \"quoted\\\" {reason}");
        ASSERT_STREQ(w->reasons[0], "rejected");

        redrive(w, 0, "s", NULL, 0);
        ASSERT_EQ(w->n, 300);
        while (next < 300) {
                take(w, 1, "s", 1000, 20 * SECOND);
                ASSERT_TRUE(w->n > 0);
                for (size_t i = 0; i < w->n; i++) {
                        ASSERT_EQ(w->numbers[i], next++);
                        settle_one(w, 0, "s", SETTLE_ACK, w->ids[i], 0);
                }
        }
        RUN_UNTIL(&w->f, (get_info(w, "s"), w->info.settled_to == 300));
        ASSERT_EQ(fixture_sql_int(&w->f, "SELECT count(*) FROM dead_letters"), 0);
        world_close(w);
}

static void on_counted(int r, const Delivered *events, size_t n, void *userdata) {
        World *w = userdata;

        ASSERT_TRUE(r == 0 || r == -ECANCELED);
        w->n_delivered += (unsigned) n;
}

/* One subscription after the other: what is idle holds no memory worth mentioning. */
TEST(a_thousand_subscriptions_wait) {
        World *w = &world;
        char name[32];

        world_open(w, 1);
        for (unsigned i = 0; i < 1000; i++) {
                (void) snprintf(name, sizeof(name), "s%u", i);
                subscribe(w, name, NULL);
                ASSERT_OK(delivery_take(w->d[0], NULL, name, 1, 0, 100 * SECOND, on_counted, w));
        }
        w->n_delivered = 0;
        put(&w->f, 0, "t", 0, 1, 1);
        RUN_UNTIL(&w->f, w->n_delivered == 1000);
        world_close(w);
}
