/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Following topics against real servers; two replicas in one event loop
 */

#include <signal.h>

#include "event-bus/log/read.h"
#include "event-bus/log/test-tail-fixture.h"

#define ALL(reader, count) ((reader).n_seen == (count) && (reader).n_twice == 0 && !(reader).disorder)

TEST(a_follower_gets_what_is_there_and_what_comes) {
        Fixture f;
        Reader begin, now;

        fixture_open(&f, 2, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 100, 7);
        RUN_UNTIL(&f, f.n_appending == 0);

        reader_open(&begin, &f, 1, "orders", 0, 1000);
        reader_open(&now, &f, 1, "orders", 100, 1000);
        RUN_UNTIL(&f, begin.n == 100);
        for (unsigned i = 0; i < 20; i++)
                put(&f, 0, "orders", 100 + 10 * i, 10, 7);
        RUN_UNTIL(&f, begin.n == 300 && now.n == 200);
        ASSERT_TRUE(ALL(begin, 300));
        ASSERT_TRUE(ALL(now, 200));
        ASSERT_EQ(follower_position(begin.follower), 300);
        ASSERT_EQ(follower_position(now.follower), 300);

        reader_close(&begin);
        reader_close(&now);
        fixture_close(&f);
}

TEST(everything_comes_once_and_in_order_while_two_replicas_append) {
        Fixture f;
        Reader readers[8];

        fixture_open(&f, 2, true);
        topic_make(&f, "orders", NULL);
        for (unsigned i = 0; i < MAM_ELEMENTSOF(readers); i++)
                reader_open(readers + i, &f, i % 2, "orders", 0, 1 + 50 * i);
        for (unsigned i = 0; i < 200; i++) {
                put(&f, i % 2, "orders", 25 * i, 25, 11);
                ASSERT_OK(sd_event_run(f.event, 0));
        }
        for (unsigned i = 0; i < MAM_ELEMENTSOF(readers); i++) {
                RUN_UNTIL(&f, readers[i].n == 5000);
                ASSERT_TRUE(ALL(readers[i], 5000));
                ASSERT_TRUE(readers[i].n_most <= readers[i].credit);
                reader_close(readers + i);
        }
        fixture_close(&f);
}

TEST(credit_is_never_exceeded) {
        Fixture f;
        Reader r;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 500, 7);
        RUN_UNTIL(&f, f.n_appending == 0);

        reader_open(&r, &f, 0, "orders", 0, 0);
        put(&f, 0, "orders", 500, 1, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        ASSERT_EQ(r.n_calls, 0);
        follower_want(r.follower, 3);
        RUN_UNTIL(&f, r.n == 3);
        put(&f, 0, "orders", 501, 1, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        ASSERT_EQ(r.n, 3);
        follower_want(r.follower, 400);
        follower_want(r.follower, 50);
        RUN_UNTIL(&f, r.n == 453);
        follower_want(r.follower, 1000);
        RUN_UNTIL(&f, r.n == 502);
        ASSERT_TRUE(ALL(r, 502));

        follower_seek(r.follower, 490); /* 951 are left */
        RUN_UNTIL(&f, r.n == 514);
        ASSERT_EQ(r.n_twice, 12);
        reader_close(&r);
        fixture_close(&f);
}

TEST(a_thousand_followers_share_what_is_read) {
        enum {
                N = 1000
        };
        static Reader readers[N];
        unsigned n_most = 0;
        Fixture f;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 1000, 7);
        put(&f, 0, "orders", 1000, 1000, 7);
        RUN_UNTIL(&f, f.n_appending == 0);

        /* all replay, then all wait for the newest */
        for (unsigned i = 0; i < N; i++)
                reader_open(readers + i, &f, 0, "orders", 0, 500);
        for (unsigned i = 0; i < N; i++) {
                while (readers[i].n < 2000) {
                        ASSERT_OK(sd_event_run(f.event, 100 * MAM_USEC_PER_MSEC));
                        if (mam_pg_in_flight(f.replicas[0].pg) > n_most)
                                n_most = mam_pg_in_flight(f.replicas[0].pg);
                }
        }
        ASSERT_TRUE(n_most <= 4); /* two pages, the newest, heads */
        put(&f, 0, "orders", 2000, 10, 7);
        for (unsigned i = 0; i < N; i++) {
                RUN_UNTIL(&f, readers[i].n == 2010);
                ASSERT_TRUE(ALL(readers[i], 2010));
        }
        for (unsigned i = 0; i < N; i++)
                reader_close(readers + i);
        fixture_close(&f);
}

TEST(followers_may_be_freed_in_their_callbacks) {
        Fixture f;
        Reader a, b, c;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 10, 7);
        reader_open(&a, &f, 0, "orders", 0, 100);
        reader_open(&b, &f, 0, "orders", 0, 100);
        reader_open(&c, &f, 0, "missing", 0, 100);
        a.free_in_callback = b.free_in_callback = c.free_in_callback = true;
        RUN_UNTIL(&f, !a.follower && !b.follower && !c.follower);
        ASSERT_EQ(c.error, -ENOENT);
        reader_close(&a);
        reader_close(&b);
        reader_close(&c);

        reader_open(&a, &f, 0, "orders", 10, 100);
        reader_open(&b, &f, 0, "orders", 10, 100);
        a.free_in_callback = b.free_in_callback = true;
        put(&f, 0, "orders", 10, 10, 7);
        RUN_UNTIL(&f, !a.follower && !b.follower);
        reader_close(&a);
        reader_close(&b);
        fixture_close(&f);
}

TEST(a_follower_outlives_its_tail) {
        Fixture f;
        Reader a, gone;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        reader_open(&a, &f, 0, "orders", 0, 100);
        reader_open(&gone, &f, 0, "missing", 0, 100);
        put(&f, 0, "orders", 0, 10, 7);
        RUN_UNTIL(&f, a.n == 10 && gone.error == -ENOENT);
        fixture_close(&f);
        follower_want(a.follower, 1);
        follower_seek(a.follower, 0);
        reader_close(&a);
        reader_close(&gone);
}

TEST(redis_may_go_and_come_back) {
        Fixture f;
        uint64_t deadline;
        Reader r;

        fixture_open(&f, 2, true);
        topic_make(&f, "orders", NULL);
        reader_open(&r, &f, 1, "orders", 0, 1000);
        put(&f, 0, "orders", 0, 10, 7);
        RUN_UNTIL(&f, r.n == 10);

        mam_test_server_kill(&test_redis, SIGKILL);
        put(&f, 0, "orders", 10, 10, 7);
        RUN_UNTIL(&f, r.n == 20); /* by polling */
        f.replicas[1].n_star = 0;
        RUN_UNTIL(&f, f.replicas[1].n_star > 0);

        mam_test_redis_start(&test_redis, NULL);
        f.replicas[1].n_star = 0;
        RUN_UNTIL(&f, f.replicas[1].n_star > 0);
        put(&f, 0, "orders", 20, 10, 7);
        RUN_UNTIL(&f, r.n == 30);
        while (!mam_redis_is_connected(f.replicas[0].redis)) { /* busy, and yet it comes back */
                tail_tell(f.replicas[0].tail, "subscription a");
                ASSERT_OK(sd_event_run(f.event, 50 * MAM_USEC_PER_MSEC));
        }
        /* the other one's connection comes back in its own time, and words before that are lost */
        deadline = mam_now_monotonic() + 15 * MAM_USEC_PER_SEC;
        while (strcmp(f.replicas[1].told, "subscription a") != 0) {
                tail_tell(f.replicas[0].tail, "subscription a");
                ASSERT_OK(sd_event_run(f.event, 50 * MAM_USEC_PER_MSEC));
                ASSERT_TRUE(mam_now_monotonic() < deadline);
        }
        ASSERT_EQ(f.replicas[0].n_told, 0);
        ASSERT_TRUE(ALL(r, 30));
        reader_close(&r);
        fixture_close(&f);
}

TEST(without_redis_there_is_polling) {
        Fixture f;
        Reader r;

        fixture_open(&f, 2, false);
        topic_make(&f, "orders", NULL);
        reader_open(&r, &f, 1, "orders", 0, 1000);
        for (unsigned i = 0; i < 10; i++) {
                put(&f, 0, "orders", i, 1, 7);
                RUN_UNTIL(&f, r.n == i + 1);
        }
        reader_close(&r);
        fixture_close(&f);
}

TEST(postgresql_may_be_killed) {
        Fixture f;
        Reader here, there;

        fixture_open(&f, 2, true);
        topic_make(&f, "orders", NULL);
        reader_open(&here, &f, 0, "orders", 0, 100);
        reader_open(&there, &f, 1, "orders", 0, 100);
        for (unsigned i = 0; i < 40; i++) {
                put(&f, i % 2, "orders", 10 * i, 10, 7);
                if (i == 20) {
                        RUN_UNTIL(&f, here.n > 0);
                        fixture_restart_postgres(&f);
                }
        }
        RUN_UNTIL(&f, f.n_appending == 0 && here.n == 400 && there.n == 400);
        ASSERT_TRUE(ALL(here, 400));
        ASSERT_TRUE(ALL(there, 400));
        reader_close(&here);
        reader_close(&there);
        fixture_close(&f);
}

TEST(a_deleted_topic_ends_its_followers_everywhere) {
        Fixture f;
        Reader here, there, again;

        fixture_open(&f, 2, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 10, 7);
        reader_open(&here, &f, 0, "orders", 0, 100);
        reader_open(&there, &f, 1, "orders", 0, 0);
        RUN_UNTIL(&f, here.n == 10);
        topic_remove(&f, "orders");
        RUN_UNTIL(&f, here.error == -ENOENT && there.error == -ENOENT);

        /* another one of this name is for others */
        topic_make(&f, "orders", NULL);
        put(&f, 1, "orders", 100, 20, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        reader_open(&again, &f, 1, "orders", 0, 100);
        RUN_UNTIL(&f, again.n == 20);
        ASSERT_EQ(here.n, 10);
        ASSERT_EQ(there.n, 0);
        reader_close(&here);
        reader_close(&there);
        reader_close(&again);
        fixture_close(&f);
}

TEST(a_follower_hears_that_events_were_dropped) {
        Fixture f;
        Reader old, begin, slow;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 100, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT close_segment(id)::int FROM topics"), 1);
        put(&f, 0, "orders", 100, 50, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        reader_open(&slow, &f, 0, "orders", 0, 0);
        follower_want(slow.follower, 10);
        RUN_UNTIL(&f, slow.n == 10);

        ASSERT_TRUE(fixture_sql(&f, NULL, 0, "DELETE FROM segments WHERE closed_at IS NOT NULL"));
        reader_open(&old, &f, 0, "orders", 40, 100);
        old.seek = true;
        reader_open(&begin, &f, 0, "orders", 0, 100);
        follower_want(slow.follower, 100);
        RUN_UNTIL(&f, old.error && slow.error && begin.n == 50 && old.n == 50);
        ASSERT_EQ(old.error, -ERANGE);
        ASSERT_EQ(old.first, 101);
        ASSERT_EQ(slow.error, -ERANGE);
        ASSERT_EQ(slow.n, 10);
        ASSERT_EQ(begin.error, 0);
        follower_seek(slow.follower, slow.first - 1);
        RUN_UNTIL(&f, slow.n == 60);
        reader_close(&old);
        reader_close(&begin);
        reader_close(&slow);
        fixture_close(&f);
}

TEST(a_laggard_joins_the_others) {
        Fixture f;
        Reader quick, slow;
        unsigned number = 0;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        reader_open(&quick, &f, 0, "orders", 0, 1000);
        reader_open(&slow, &f, 0, "orders", 0, 0);
        /* some more than a ring holds */
        while (number < 40000) {
                put(&f, 0, "orders", number, 1000, 7);
                number += 1000;
                RUN_UNTIL(&f, f.n_appending < 4);
        }
        RUN_UNTIL(&f, quick.n == number);
        slow.credit = 1; /* from here on it gives back what it gets */
        follower_want(slow.follower, 700);
        while (slow.n < number) {
                RUN_UNTIL(&f, slow.n == number || slow.n % 700 == 0 || slow.n > number / 2);
                if (number < 42000)
                        put(&f, 0, "orders", number++, 1, 7);
                ASSERT_OK(sd_event_run(f.event, 100 * MAM_USEC_PER_MSEC));
        }
        RUN_UNTIL(&f, f.n_appending == 0 && quick.n == number && slow.n == number);
        ASSERT_TRUE(ALL(quick, number));
        ASSERT_TRUE(ALL(slow, number));
        reader_close(&quick);
        reader_close(&slow);
        fixture_close(&f);
}

TEST(a_position_that_is_not_there_yet_is_waited_for) {
        Fixture f;
        Reader ahead, now;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 10, 7);
        reader_open(&ahead, &f, 0, "orders", 15, 100);
        reader_open(&now, &f, 0, "orders", 10, 100);
        put(&f, 0, "orders", 10, 10, 7);
        RUN_UNTIL(&f, now.n == 10 && ahead.n == 5);
        ASSERT_EQ(ahead.last, 20);
        reader_close(&ahead);
        reader_close(&now);
        fixture_close(&f);
}

static void on_published(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        ASSERT_EQ(error, 0);
        (*(unsigned *) userdata)++;
}

TEST(a_doorbell_that_lies_does_no_harm) {
        const char *const argv[] = { "PUBLISH",
                                     "event-bus:bell",
                                     "liar\nt orders 2000000\nt missing 1\nw hello\n" };
        unsigned n_published = 0;
        Reader ahead, now;
        Fixture f;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        put(&f, 0, "orders", 0, 10, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        reader_open(&now, &f, 0, "orders", 0, 100);
        reader_open(&ahead, &f, 0, "orders", 1000000, 100);
        RUN_UNTIL(&f, now.n == 10);
        for (unsigned i = 1; i <= 20; i++) {
                f.replicas[0].told[0] = '\0';
                ASSERT_OK(mam_redis_command(f.replicas[0].redis, argv, NULL, 3, on_published, &n_published));
                RUN_UNTIL(&f, n_published == i && strcmp(f.replicas[0].told, "hello") == 0);
                put(&f, 0, "orders", 9 + i, 1, 7);
                RUN_UNTIL(&f, now.n == 10 + i);
        }
        ASSERT_TRUE(ALL(now, 30));
        ASSERT_EQ(ahead.n_calls, 0);
        reader_close(&now);
        reader_close(&ahead);
        fixture_close(&f);
}

TEST(volatile_topics_are_followed_too) {
        static const TopicSettings settings = { .kind = TOPIC_VOLATILE, .retention_events = 1000 };
        Fixture f;
        Reader r, begin;

        fixture_open(&f, 2, true);
        topic_make(&f, "news", &settings);
        reader_open(&r, &f, 1, "news", 0, 100);
        for (unsigned i = 0; i < 20; i++)
                put(&f, 0, "news", 10 * i, 10, 7);
        RUN_UNTIL(&f, r.n == 200);
        ASSERT_TRUE(ALL(r, 200));
        reader_open(&begin, &f, 0, "news", 0, 100);
        RUN_UNTIL(&f, begin.n == 200);
        put(&f, 1, "news", 200, 10, 7);
        RUN_UNTIL(&f, r.n == 210 && begin.n == 210);
        ASSERT_TRUE(ALL(begin, 210));
        ASSERT_EQ(r.error, 0);
        reader_close(&r);
        reader_close(&begin);
        fixture_close(&f);
}

TEST(a_volatile_topic_that_was_emptied_goes_on) {
        static const TopicSettings settings = { .kind = TOPIC_VOLATILE };
        Fixture f;
        Reader r;

        fixture_open(&f, 1, true);
        topic_make(&f, "news", &settings);
        reader_open(&r, &f, 0, "news", 0, 100);
        put(&f, 0, "news", 0, 10, 7);
        r.seek = true;
        RUN_UNTIL(&f, r.n == 10);
        mam_test_server_kill(&test_redis, SIGKILL);
        mam_test_redis_start(&test_redis, NULL);
        put(&f, 0, "news", 10, 10, 7);
        RUN_UNTIL(&f, f.n_appending == 0 && r.n == 20);
        ASSERT_TRUE(ALL(r, 20));
        ASSERT_EQ(r.error, -ERANGE); /* there may have been more */
        reader_close(&r);
        fixture_close(&f);
}

/* log_read() and log_position_at() themselves */

typedef struct Page {
        int r;
        size_t n;
        int64_t positions[100], first, last;
        unsigned n_calls;
} Page;

static void on_page(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        Page *p = userdata;

        p->n_calls++;
        p->r = r;
        p->n = n;
        p->first = first;
        p->last = last;
        for (size_t i = 0; i < n && i < MAM_ELEMENTSOF(p->positions); i++)
                p->positions[i] = events[i].position;
}

static void on_position(int r, int64_t position, void *userdata) {
        Page *p = userdata;

        p->n_calls++;
        p->r = r;
        p->first = position;
}

static Page read_page(Fixture *f, const char *topic, const LogRange *range) {
        LogCall *call = NULL;
        Page p = { 0 };

        ASSERT_OK(log_read(f->replicas[0].log, &call, topic, range, on_page, &p));
        ASSERT_EQ(p.n_calls, 0);
        RUN_UNTIL(f, p.n_calls == 1);
        call = log_call_free(call);
        return p;
}

static Page position_at(Fixture *f, const char *topic, uint64_t usec) {
        Page p = { 0 };

        ASSERT_OK(log_position_at(f->replicas[0].log, NULL, topic, usec, on_position, &p));
        RUN_UNTIL(f, p.n_calls == 1);
        return p;
}

static void check_reading(Fixture *f, const char *topic) {
        Page p, q;

        p = read_page(f, topic, &(LogRange){ .from = 1, .limit = 10 });
        ASSERT_EQ(p.r, 0);
        ASSERT_EQ(p.n, 10);
        ASSERT_TRUE(p.first <= p.positions[0]);
        q = read_page(f, topic, &(LogRange){ .from = p.positions[3], .backwards = true, .limit = 100 });
        ASSERT_EQ(q.n, 4);
        for (size_t i = 0; i < 4; i++)
                ASSERT_EQ(q.positions[i], p.positions[3 - i]);
        q = read_page(f, topic, &(LogRange){ .backwards = true, .limit = 2 });
        ASSERT_EQ(q.n, 2);
        ASSERT_EQ(q.positions[0], q.last);
        ASSERT_EQ(q.last, f->last);
        q = read_page(f, topic, &(LogRange){ .from = p.positions[0], .limit = 100, .bytes_max = 1 });
        ASSERT_EQ(q.n, 1);
        q = read_page(f, topic, &(LogRange){ .from = f->last + 1, .limit = 100 });
        ASSERT_EQ(q.r, 0);
        ASSERT_EQ(q.n, 0);
        ASSERT_EQ(q.last, f->last);

        ASSERT_EQ(position_at(f, topic, 0).first, p.positions[0]);
        ASSERT_EQ(position_at(f, topic, mam_now_realtime() + MAM_USEC_PER_SEC).first, f->last + 1);
}

TEST(pages_and_positions_of_both_kinds) {
        static const TopicSettings settings = { .kind = TOPIC_VOLATILE };
        LogCall *call = NULL;
        Page p = { 0 };
        Fixture f;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", NULL);
        topic_make(&f, "news", &settings);
        put(&f, 0, "orders", 0, 30, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        check_reading(&f, "orders");
        put(&f, 0, "news", 0, 30, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        check_reading(&f, "news");

        ASSERT_EQ(read_page(&f, "missing", &(LogRange){ .from = 1, .limit = 1 }).r, -ENOENT);
        ASSERT_EQ(position_at(&f, "missing", 0).r, -ENOENT);
        ASSERT_EQ(log_read(f.replicas[0].log, NULL, "orders", &(LogRange){ .from = 1 }, on_page, &p),
                  -EINVAL);

        /* freeing it cancels */
        ASSERT_OK(
                        log_read(f.replicas[0].log,
                                 &call,
                                 "orders",
                                 &(LogRange){ .from = 1, .limit = 1 },
                                 on_page,
                                 &p));
        call = log_call_free(call);
        (void) read_page(&f, "orders", &(LogRange){ .from = 1, .limit = 1 });
        ASSERT_EQ(p.n_calls, 0);
        fixture_close(&f);
}
