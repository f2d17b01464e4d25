/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Subscriptions on the real log: what one or two replicas hand out
 */

#include <signal.h>

#include "event-bus/delivery/test-delivery-fixture.h"

#define SECOND MAM_USEC_PER_SEC

static World world;

static void on_each(const SubscriptionInfo *s, void *userdata) {
        World *w = userdata;

        w->info = *s;
        w->n++;
}

TEST(hands_out_and_settles) {
        World *w = &world;

        world_open(w, 1);
        subscribe(w, "s", NULL);
        ASSERT_EQ(w->info.version, 1);
        ASSERT_EQ(w->info.settings.ack_usec, 30 * SECOND);
        put(&w->f, 0, "t", 0, 10, 10);

        take(w, 0, "s", 4, 20 * SECOND);
        ASSERT_EQ(w->error, 0);
        for (size_t n = w->n; n < 4; n += w->n)
                take(w, 0, "s", 4 - (unsigned) n, 20 * SECOND);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 100, 20 * SECOND);
        ASSERT_EQ(w->n, 6);
        ASSERT_EQ(w->numbers[0], 4);
        ASSERT_EQ(w->attempts[0], 1);

        settle_one(w, 0, "s", SETTLE_ACK, w->ids[0], 0);
        ASSERT_EQ(w->results[0], 0);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[0], 0);
        ASSERT_EQ(w->results[0], -ESTALE);
        settle_one(w, 0, "s", SETTLE_ACK, "5.123", 0);
        ASSERT_EQ(w->results[0], -ESTALE);
        settle_one(w, 0, "s", SETTLE_ACK, "5", 0);
        ASSERT_EQ(w->results[0], -EBADMSG);

        take(w, 0, "s", 100, 0);
        ASSERT_EQ(w->n, 0);
        ASSERT_EQ(w->error, 0);
        get_info(w, "s");
        ASSERT_EQ(w->info.outstanding, 9);
        ASSERT_EQ(w->info.lag, 9);
        ASSERT_EQ(w->info.settled_to, 0);
        ASSERT_TRUE(w->info.oldest_usec > 0);
        w->n = 0;
        delivery_each(w->d[0], on_each, w);
        ASSERT_EQ(w->n, 1);
        ASSERT_STREQ(w->info.name, "s");
        ASSERT_EQ(w->info.outstanding, 9);
        ASSERT_EQ(w->info.lag, 9);
        take(w, 0, "none", 100, 0);
        ASSERT_EQ(w->error, -ENOENT);
        settle(w, 0, "none", NULL, 0);
        ASSERT_EQ(w->error, -ENOENT);
        get_info(w, "none");
        ASSERT_EQ(w->error, -ENOENT);
        world_close(w);
}

/* Consumers at both, some events are refused: everything is settled, each key in order. */
static void share(unsigned max, unsigned keys, unsigned n, unsigned nacks) {
        World *w = &world;

        world_open(w, 2);
        w->keys = keys;
        subscribe(w, "s", NULL);
        for (size_t i = 0; i < 4; i++)
                (void) consume(w, i % 2, "s", max, nacks);
        for (unsigned i = 0; i < n; i += 100) {
                put(&w->f, 0, "t", i, 100, keys);
                RUN_UNTIL(&w->f, w->f.n_appending == 0);
        }
        RUN_UNTIL(&w->f, w->n_acked == n);
        ASSERT_EQ(w->n_errors, 0);
        ASSERT_EQ(w->n_stale, 0);
        for (size_t i = 0; i < 4; i++)
                printf("# consumer %zu: %u events in %u takes\n",
                       i,
                       w->consumers[i].n_events,
                       w->consumers[i].n_batches);
        consumers_stop(w);
        RUN_UNTIL(&w->f, (get_info(w, "s"), w->info.settled_to == (int64_t) n));
        ASSERT_EQ(w->info.outstanding, 0);
        ASSERT_EQ(w->info.lag, 0);
        world_close(w);
}

TEST(replicas_share_a_subscription) {
        share(100, 50, 5000, 0);
}

TEST(refused_events_keep_the_order_of_their_keys) {
        share(20, 7, 1000, 20);
}

TEST(single_takes_at_both_meet_all_the_time) {
        share(1, 100, 400, 5);
}

TEST(a_delay_holds_one_key) {
        World *w = &world;
        char id[65];

        world_open(w, 1);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 6, 2); /* keys 0 1 0 1 0 1 */
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 3, 20 * SECOND);
        ASSERT_EQ(w->n, 3);
        memcpy(id, w->ids[2], sizeof(id));

        /* number 2 comes back with it, unless it was acked */
        settle_one(w, 0, "s", SETTLE_NACK, w->ids[0], 2 * SECOND);
        settle_one(w, 0, "s", SETTLE_ACK, id, 0);
        ASSERT_EQ(w->results[0], -ESTALE);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[1], 0);
        ASSERT_EQ(w->results[0], 0);

        take(w, 0, "s", 100, 20 * SECOND);
        ASSERT_EQ(w->n, 2);
        ASSERT_EQ(w->numbers[0], 3);
        ASSERT_EQ(w->numbers[1], 5);
        get_info(w, "s");
        ASSERT_EQ(w->info.waiting, 1);

        take(w, 0, "s", 100, 20 * SECOND);
        ASSERT_EQ(w->n, 3);
        ASSERT_EQ(w->numbers[0], 0);
        ASSERT_EQ(w->attempts[0], 2);
        ASSERT_EQ(w->numbers[1], 2);
        ASSERT_EQ(w->attempts[1], 1);
        ASSERT_EQ(w->numbers[2], 4);
        world_close(w);
}

TEST(a_nack_may_come_by_the_other_replica) {
        World *w = &world;

        world_open(w, 2);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 40, 4);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 40, 20 * SECOND);
        ASSERT_EQ(w->n, 40);
        settle_one(w, 1, "s", SETTLE_NACK, w->ids[1], 0);
        ASSERT_EQ(w->results[0], 0);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[5], 0);
        ASSERT_EQ(w->results[0], -ESTALE);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[6], 0);
        ASSERT_EQ(w->results[0], 0);
        take(w, 1, "s", 40, 20 * SECOND);
        ASSERT_EQ(w->n, 10);
        ASSERT_EQ(w->numbers[0], 1);
        ASSERT_EQ(w->numbers[9], 37);
        world_close(w);
}

TEST(what_a_lost_replica_had_goes_to_the_other) {
        const SubscriptionSettings settings = { .ack_usec = 2 * SECOND,
                                                .backoff_min_usec = 100000,
                                                .backoff_max_usec = 200000 };
        World *w = &world;
        Consumer *holder;

        world_open(w, 2);
        subscribe(w, "s", &settings);
        put(&w->f, 0, "t", 0, 200, 10);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        holder = consume(w, 0, "s", 100, 0);
        holder->holds = true;
        RUN_UNTIL(&w->f, holder->n_events == 100);

        w->d[0] = delivery_free(w->d[0]);
        w->may_repeat = true;
        (void) consume(w, 1, "s", 10, 0);
        RUN_UNTIL(&w->f, w->n_acked == 200);
        ASSERT_EQ(w->n_again, 100);
        consumers_stop(w);
        world_close(w);
}

TEST(an_extended_lease_lasts) {
        const SubscriptionSettings settings = { .ack_usec = 1 * SECOND };
        World *w = &world;
        char id[65];

        world_open(w, 1);
        subscribe(w, "s", &settings);
        put(&w->f, 0, "t", 0, 1, 1);
        take(w, 0, "s", 1, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        memcpy(id, w->ids[0], sizeof(id));
        settle_one(w, 0, "s", SETTLE_EXTEND, id, 60 * SECOND);
        take(w, 0, "s", 1, 2500000);
        ASSERT_EQ(w->n, 0);
        settle_one(w, 0, "s", SETTLE_ACK, id, 0);
        ASSERT_EQ(w->results[0], 0);
        world_close(w);
}

TEST(poison_becomes_a_dead_letter_and_comes_back) {
        const SubscriptionSettings settings = { .attempts_max = 3 };
        World *w = &world;
        int64_t number;

        world_open(w, 2);
        subscribe(w, "s", &settings);
        put(&w->f, 0, "t", 0, 1, 2);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);

        for (unsigned attempt = 1; attempt <= 3; attempt++) {
                take(w, attempt % 2, "s", 1, 20 * SECOND);
                ASSERT_EQ(w->n, 1);
                ASSERT_EQ(w->numbers[0], 0);
                ASSERT_EQ(w->attempts[0], attempt);
                settle_one(w, 0, "s", SETTLE_NACK, w->ids[0], 0);
                ASSERT_EQ(w->results[0], 0);
        }
        put(&w->f, 0, "t", 1, 3, 2);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 10, 20 * SECOND);
        ASSERT_EQ(w->n, 3);
        ASSERT_EQ(w->numbers[0], 1);
        ASSERT_EQ(w->numbers[1], 2);
        settle_one(w, 1, "s", SETTLE_DEAD, w->ids[0], 0);
        ASSERT_EQ(w->results[0], 0);
        settle_one(w, 1, "s", SETTLE_ACK, w->ids[1], 0);
        settle_one(w, 1, "s", SETTLE_ACK, w->ids[2], 0);

        list_dead(w, "s");
        ASSERT_EQ(w->n, 2);
        ASSERT_EQ(w->letters[0].position, 1);
        ASSERT_EQ(w->letters[0].attempts, 3);
        ASSERT_EQ(w->letter_events[0], 0);
        ASSERT_STREQ(w->reasons[0], "it is poison");
        ASSERT_EQ(w->letters[1].position, 2);
        ASSERT_EQ(w->letter_events[1], 1);
        number = w->letters[1].number;
        get_info(w, "s");
        ASSERT_EQ(w->info.dead, 2);
        ASSERT_EQ(w->info.settled_to, 4);
        ASSERT_EQ(w->info.lag, 0);

        /* the log need not have it any more */
        ASSERT_TRUE(fixture_sql(
                        &w->f,
                        NULL,
                        0,
                        "SELECT close_segment(id) FROM topics; UPDATE segments SET closed_at = 1; DELETE FROM segments"));
        redrive(w, 1, "s", &number, 1);
        ASSERT_EQ(w->error, 0);
        ASSERT_EQ(w->n, 1);
        list_dead(w, "s");
        ASSERT_EQ(w->n, 1);
        take(w, 0, "s", 10, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        ASSERT_EQ(w->numbers[0], 1);
        ASSERT_EQ(w->attempts[0], 1);
        settle_one(w, 0, "s", SETTLE_NACK, w->ids[0], 0);
        take(w, 1, "s", 10, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        ASSERT_EQ(w->attempts[0], 2);
        settle_one(w, 1, "s", SETTLE_ACK, w->ids[0], 0);
        ASSERT_EQ(w->results[0], 0);

        redrive(w, 0, "s", NULL, 0);
        ASSERT_EQ(w->n, 1);
        take(w, 1, "s", 10, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        ASSERT_EQ(w->numbers[0], 0);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[0], 0);
        get_info(w, "s");
        ASSERT_EQ(w->info.dead, 0);
        ASSERT_EQ(w->info.settled_to, 4);
        ASSERT_EQ(fixture_sql_int(&w->f, "SELECT count(*) FROM dead_letters"), 0);
        world_close(w);
}

TEST(leases_that_end_use_up_attempts) {
        const SubscriptionSettings settings = { .attempts_max = 2,
                                                .ack_usec = 1 * SECOND,
                                                .backoff_min_usec = 1000,
                                                .backoff_max_usec = 1000 };
        World *w = &world;

        world_open(w, 1);
        subscribe(w, "s", &settings);
        put(&w->f, 0, "t", 0, 1, 1);
        for (unsigned attempt = 1; attempt <= 2; attempt++) {
                take(w, 0, "s", 1, 20 * SECOND);
                ASSERT_EQ(w->n, 1);
                ASSERT_EQ(w->attempts[0], attempt);
        }
        take(w, 0, "s", 1, 4 * SECOND);
        ASSERT_EQ(w->n, 0);
        list_dead(w, "s");
        ASSERT_EQ(w->n, 1);
        ASSERT_STREQ(w->reasons[0], "not settled in 2 deliveries");
        world_close(w);
}

TEST(seeks_both_ways) {
        World *w = &world;
        char id[65];

        world_open(w, 2);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 20, 20);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 20, 20 * SECOND);
        ASSERT_EQ(w->n, 20);
        memcpy(id, w->ids[7], sizeof(id));

        seek(w, 1, "s", 11);
        settle_one(w, 0, "s", SETTLE_ACK, id, 0);
        ASSERT_EQ(w->results[0], -ESTALE);
        take(w, 0, "s", 20, 20 * SECOND);
        ASSERT_EQ(w->n, 10);
        ASSERT_EQ(w->numbers[0], 10);
        seek(w, 0, "s", 1);
        take(w, 1, "s", 20, 20 * SECOND);
        ASSERT_EQ(w->n, 20);
        ASSERT_EQ(w->numbers[0], 0);
        seek(w, 0, "s", 1000);
        take(w, 1, "s", 20, 0);
        ASSERT_EQ(w->n, 0);
        world_close(w);
}

static void on_gone(int r, const Delivered *events, size_t n, void *userdata) {
        World *w = userdata;

        ASSERT_EQ(r, -ENOENT);
        w->n++;
}

static void on_plain(int r, const SubscriptionInfo *s, void *userdata) {
        World *w = userdata;

        w->error = r;
        w->done = true;
}

TEST(takers_hear_of_the_end) {
        World *w = &world;

        world_open(w, 2);
        subscribe(w, "s", NULL);
        for (size_t i = 0; i < 4; i++)
                ASSERT_OK(delivery_take(w->d[i % 2], NULL, "s", 1, 0, 100 * SECOND, on_gone, w));
        take(w, 0, "s", 1, 1000);
        w->n = 0;
        ASSERT_OK(delivery_subscription_delete(w->d[1], NULL, "s", on_plain, w));
        RUN_UNTIL(&w->f, w->n == 4);

        subscribe(w, "s", NULL);
        for (size_t i = 0; i < 2; i++)
                ASSERT_OK(delivery_take(w->d[i], NULL, "s", 1, 0, 100 * SECOND, on_gone, w));
        take(w, 1, "s", 1, 1000);
        w->n = 0;
        topic_remove(&w->f, "t");
        RUN_UNTIL(&w->f, w->n == 2);
        w->done = false;
        ASSERT_OK(delivery_subscription_delete(w->d[1], NULL, "s", on_plain, w));
        RUN_UNTIL(&w->f, w->done);
        ASSERT_EQ(w->error, -ENOENT);
        world_close(w);
}

static void on_kept(int r, const Delivered *events, size_t n, void *userdata) {
        World *w = userdata;

        ASSERT_EQ(r, 0);
        w->n_delivered += (unsigned) n;
        for (size_t i = 0; i < n; i++) {
                const Settlement item = { .kind = SETTLE_ACK, .ack_id = events[i].ack_id };

                ASSERT_OK(delivery_settle(w->d[0], NULL, "s", &item, 1, NULL, NULL));
        }
}

TEST(a_freed_take_gives_back_what_it_got) {
        World *w = &world;
        DeliveryCall *call = NULL;

        world_open(w, 1);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 50, 5);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 1, 20 * SECOND);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[0], 0);
        for (unsigned i = 0; i < 20; i++) {
                ASSERT_OK(delivery_take(w->d[0], &call, "s", 2, 0, 100 * SECOND, on_kept, w));
                for (unsigned turns = 0; turns < i % 5; turns++)
                        ASSERT_OK(sd_event_run(w->f.event, 1000));
                call = delivery_call_free(call);
        }
        while (w->n_delivered < 49) {
                take(w, 0, "s", 100, 20 * SECOND);
                ASSERT_TRUE(w->n > 0);
                w->n_delivered += (unsigned) w->n;
                for (size_t i = 0; i < w->n; i++) {
                        ASSERT_EQ(w->attempts[i], 1);
                        settle_one(w, 0, "s", SETTLE_ACK, w->ids[i], 0);
                }
        }
        ASSERT_EQ(w->n_delivered, 49);
        world_close(w);
}

TEST(only_what_the_filter_wants) {
        const SubscriptionSettings settings = { .filters = "[{\"prefix\":{\"id\":\"77\"}}]" };
        World *w = &world;
        size_t n = 0;

        world_open(w, 1);
        subscribe(w, "s", &settings);
        for (unsigned i = 0; i < 8000; i += 1000)
                put(&w->f, 0, "t", i, 1000, 10);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        while (n < 111) {
                take(w, 0, "s", 1000, 20 * SECOND);
                ASSERT_TRUE(w->n > 0);
                for (size_t i = 0; i < w->n; i++) {
                        char text[16];

                        (void) snprintf(text, sizeof(text), "%u", w->numbers[i]);
                        ASSERT_TRUE(strncmp(text, "77", 2) == 0);
                }
                n += w->n;
                for (size_t i = w->n; i > 0; i--)
                        settle_one(w, 0, "s", SETTLE_ACK, w->ids[i - 1], 0);
        }
        ASSERT_EQ(n, 111);
        take(w, 0, "s", 1000, 1500000);
        ASSERT_EQ(w->n, 0);
        RUN_UNTIL(&w->f, (get_info(w, "s"), w->info.settled_to == 8000));
        ASSERT_TRUE(fixture_sql_int(&w->f, "SELECT max(length(state)) FROM subscription_states") < 100);
        world_close(w);
}

TEST(goes_on_behind_what_was_dropped) {
        World *w = &world;

        world_open(w, 2);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 10, 10);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 3, 20 * SECOND);
        ASSERT_EQ(w->n, 3);
        w->d[0] = delivery_free(w->d[0]);
        world_open_delivery(w, 0);

        ASSERT_TRUE(fixture_sql(&w->f, NULL, 0, "SELECT close_segment(id) FROM topics"));
        put(&w->f, 0, "t", 10, 10, 10);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        ASSERT_TRUE(fixture_sql(&w->f, NULL, 0, "DELETE FROM segments WHERE closed_at IS NOT NULL"));

        /* what is out may be settled; nobody knows its keys, so what comes later waits for it */
        for (size_t i = 0; i < 3; i++)
                settle_one(w, 0, "s", SETTLE_ACK, w->ids[i], 0);
        ASSERT_EQ(w->results[0], 0);
        take(w, 0, "s", 100, 20 * SECOND);
        ASSERT_EQ(w->n, 10);
        ASSERT_EQ(w->numbers[0], 10);
        get_info(w, "s");
        ASSERT_EQ(w->info.lost, 7);
        world_close(w);
}

TEST(no_more_than_may_be_outstanding) {
        const SubscriptionSettings settings = { .outstanding_max = 5 };
        World *w = &world;

        world_open(w, 2);
        subscribe(w, "s", &settings);
        put(&w->f, 0, "t", 0, 20, 20);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 0, "s", 100, 20 * SECOND);
        ASSERT_EQ(w->n, 5);
        settle_one(w, 0, "s", SETTLE_ACK, w->ids[4], 0);
        take(w, 1, "s", 100, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        ASSERT_EQ(w->numbers[0], 5);
        take(w, 1, "s", 100, 0);
        ASSERT_EQ(w->n, 0);
        world_close(w);
}

TEST(changes_settings) {
        SubscriptionSettings settings = { .filters = "[{\"exact\":{\"id\":\"3\"}}]" };
        World *w = &world;

        world_open(w, 2);
        subscribe(w, "s", NULL);
        put(&w->f, 0, "t", 0, 5, 5);
        RUN_UNTIL(&w->f, w->f.n_appending == 0);
        take(w, 1, "s", 1, 20 * SECOND);

        w->done = false;
        ASSERT_OK(delivery_subscription_change(w->d[0], NULL, "s", &settings, 7, on_plain, w));
        RUN_UNTIL(&w->f, w->done);
        ASSERT_EQ(w->error, -ESTALE);
        settings.paused = true;
        w->done = false;
        ASSERT_OK(delivery_subscription_change(w->d[0], NULL, "s", &settings, 1, on_plain, w));
        RUN_UNTIL(&w->f, w->done);
        ASSERT_EQ(w->error, 0);
        take(w, 0, "s", 10, 100000);
        ASSERT_EQ(w->n, 0);

        settings.paused = false;
        w->done = false;
        ASSERT_OK(delivery_subscription_change(w->d[0], NULL, "s", &settings, 0, on_plain, w));
        RUN_UNTIL(&w->f, w->done);
        take(w, 0, "s", 10, 20 * SECOND);
        ASSERT_EQ(w->n, 1);
        ASSERT_EQ(w->numbers[0], 3);
        get_info(w, "s");
        ASSERT_EQ(w->info.version, 3);

        settings.filters = "[{\"exact\":3}]";
        ASSERT_EQ(delivery_subscription_change(w->d[0], NULL, "s", &settings, 0, on_plain, w), -EINVAL);
        ASSERT_EQ(delivery_subscription_create(w->d[0], NULL, "UPPER", &settings, on_plain, w), -EINVAL);
        settings = (SubscriptionSettings){ .topic = "t" };
        w->done = false;
        ASSERT_OK(delivery_subscription_create(w->d[0], NULL, "s", &settings, on_plain, w));
        RUN_UNTIL(&w->f, w->done);
        ASSERT_EQ(w->error, -EEXIST);
        settings.topic = "none";
        w->done = false;
        ASSERT_OK(delivery_subscription_create(w->d[0], NULL, "x", &settings, on_plain, w));
        RUN_UNTIL(&w->f, w->done);
        ASSERT_EQ(w->error, -ENOENT);
        world_close(w);
}

typedef struct Pushes {
        unsigned n_told, n_gone;
        int64_t version;
        char secret[64];
} Pushes;

static void on_push(const char *name, const SubscriptionInfo *s, void *userdata) {
        Pushes *p = userdata;

        ASSERT_STREQ(name, "p");
        p->n_told++;
        p->n_gone += !s;
        p->version = s ? s->version : 0;
        if (s)
                (void) snprintf(p->secret, sizeof(p->secret), "%s", s->settings.push_secret ?: "");
}

static void on_listed(int r, const SubscriptionInfo *s, void *userdata) {
        World *w = userdata;

        ASSERT_EQ(r, 0);
        if (!s) {
                w->done = true;
                return;
        }
        ASSERT_TRUE(!s->settings.push_secret);
        w->n++;
}

TEST(push_subscriptions_are_told_at_all_replicas) {
        SubscriptionSettings settings = { .topic = "t",
                                          .push_url = "https://example.org/hook",
                                          .push_secret = "sealed" };
        Pushes pushes = { 0 };
        World *w = &world;

        world_open(w, 2);
        subscribe(w, "s", NULL);
        delivery_set_on_push(w->d[1], on_push, &pushes);
        subscribe(w, "p", &settings);
        ASSERT_STREQ(w->info.settings.push_mode ? "set" : "not set", "set");
        RUN_UNTIL(&w->f, pushes.version == 1);
        ASSERT_STREQ(pushes.secret, "sealed");

        settings.push_secret = NULL;
        w->done = false;
        ASSERT_OK(delivery_subscription_change(w->d[0], NULL, "p", &settings, 1, on_plain, w));
        RUN_UNTIL(&w->f, pushes.version == 2);
        ASSERT_STREQ(pushes.secret, "sealed");
        w->n = 0;
        w->done = false;
        ASSERT_OK(delivery_subscription_list(w->d[0], NULL, on_listed, w));
        RUN_UNTIL(&w->f, w->done);
        ASSERT_EQ(w->n, 2);
        ASSERT_OK(delivery_subscription_delete(w->d[0], NULL, "p", on_plain, w));
        RUN_UNTIL(&w->f, pushes.n_gone == 1);
        ASSERT_EQ(pushes.n_told, 3);
        world_close(w);
}

TEST(nothing_is_lost_when_the_database_is_killed) {
        World *w = &world;
        const unsigned n = 3000;

        world_open(w, 2);
        w->keys = 20;
        subscribe(w, "s", NULL);
        for (size_t i = 0; i < 4; i++)
                (void) consume(w, i % 2, "s", 50, 5);
        for (unsigned i = 0; i < n; i += 50)
                put(&w->f, i / 50 % 2, "t", i, 50, 20);

        for (unsigned i = 1; i <= 3; i++) {
                RUN_UNTIL(&w->f, w->n_acked >= n / 5 * i);
                mam_test_server_kill(&test_postgres, SIGKILL);
                for (unsigned turns = 0; turns < 20; turns++)
                        ASSERT_OK(sd_event_run(w->f.event, 10000));
                mam_test_postgres_start(&test_postgres);
        }
        RUN_UNTIL(&w->f, w->n_acked == n);
        printf("# %u errors, %u stale, %u again\n", w->n_errors, w->n_stale, w->n_again);
        world_close(w);
}
