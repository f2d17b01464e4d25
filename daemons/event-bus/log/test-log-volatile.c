/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Volatile topics against a real, private Redis
 */

#include <signal.h>

#include "event-bus/log/log-internal.h"
#include "event-bus/log/test-log.h"

static Answer a, b;
static const TopicSettings is_volatile = { .kind = TOPIC_VOLATILE };

static void on_ok(MamRedis *r, const MamRedisReply *reply, int error, const char *message, void *userdata) {
        ASSERT_EQ(error, 0);
        if (mam_redis_type(reply) == MAM_REDIS_INTEGER)
                *(int64_t *) userdata = mam_redis_integer(reply);
        if (mam_redis_type(reply) == MAM_REDIS_STRING)
                *(int64_t *) userdata = 1;
}

static int64_t redis(Fixture *f, const char *const *argv, size_t argc) {
        int64_t value = -1;

        ASSERT_OK(mam_redis_command(f->redis, argv, NULL, argc, on_ok, &value));
        RUN_UNTIL(f, value >= 0);
        return value;
}

static void setup(Fixture *f) {
        memset(&a, 0, sizeof(a));
        memset(&b, 0, sizeof(b));
        fixture_setup_redis(f);
        redis(f, (const char *const[]){ "FLUSHALL" }, 1);
}

static void on_read(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        Answer *to = userdata;

        to->n++;
        to->r = r;
        to->n_events = n;
        to->first = first;
        to->last = last;
        ASSERT_TRUE(n <= MAM_ELEMENTSOF(to->events));
        for (size_t i = 0; i < n; i++) {
                to->events[i] = events[i];
                ASSERT_STREQ(events[i].key, "key");
                ASSERT_EQ(events[i].size, strlen(events[i].text));
                (void) snprintf(to->text, sizeof(to->text), "%s", events[i].text);
        }
}

static Answer *page(Fixture *f, const LogRange *range) {
        unsigned before = a.n;
        VolatileOp *op = NULL;

        ASSERT_OK(volatile_read(&op, f->log, log_topic_find(f->log, "v"), range, on_read, &a));
        RUN_UNTIL(f, a.n == before + 1);
        volatile_op_free(op);
        return &a;
}

static void on_position(int r, int64_t position, void *userdata) {
        Answer *to = userdata;

        to->n++;
        to->r = r;
        to->value = position;
}

static int64_t position_at(Fixture *f, uint64_t usec) {
        unsigned before = a.n;
        VolatileOp *op = NULL;

        ASSERT_OK(volatile_position_at(&op, f->log, log_topic_find(f->log, "v"), usec, on_position, &a));
        RUN_UNTIL(f, a.n == before + 1);
        ASSERT_EQ(a.r, 0);
        volatile_op_free(op);
        return a.value;
}

TEST(positions_and_ids_of_redis_are_the_same) {
        char id[VOLATILE_ID_SIZE];

        volatile_id(id, 1);
        ASSERT_STREQ(id, "1735689600000-1");
        volatile_id(id, (5LL << 12) + 4095);
        ASSERT_STREQ(id, "1735689600005-4095");
        ASSERT_EQ(volatile_position(id), (5LL << 12) + 4095);
        volatile_id(id, INT64_MAX);
        ASSERT_EQ(volatile_position(id), INT64_MAX);
        ASSERT_EQ(volatile_position("1735689600005-4096"), 0);
        ASSERT_EQ(volatile_position("1-1"), 0);
        ASSERT_EQ(volatile_position("x"), 0);
        ASSERT_EQ(volatile_position("99999999999999999999-1"), 0);
        volatile_id(id, -1);
        ASSERT_STREQ(id, "1735689600000-0");
}

TEST(events_are_appended_and_read) {
        LogEntry e[3] = { entry_of("1", NULL, -1), entry_of("2", NULL, -1), entry_of("1", NULL, -1) };
        uint64_t begin = mam_now_realtime();
        int64_t p[3];
        Fixture f;

        setup(&f);
        topic_make(&f, "v", &is_volatile);
        page(&f, &(LogRange){ .limit = 10 });
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.n_events, 0);
        ASSERT_EQ(a.first, 1);
        ASSERT_EQ(a.last, 0);
        ASSERT_EQ(position_at(&f, 0), 1);

        append_all(&f, &b, "v", e, 3);
        ASSERT_EQ(b.r, 0);
        p[0] = b.appended[0].position;
        p[1] = b.appended[1].position;
        ASSERT_TRUE(p[0] > 0 && p[1] > p[0]);
        ASSERT_TRUE(b.appended[2].is_duplicate);
        ASSERT_EQ(b.appended[2].position, p[0]);
        ASSERT_EQ(f.hook_last, p[1]);
        append_one(&f, &b, "v", "2");
        ASSERT_TRUE(b.appended[0].is_duplicate);
        ASSERT_EQ(b.appended[0].position, p[1]);
        append_one(&f, &b, "v", "3");
        p[2] = b.appended[0].position;
        ASSERT_TRUE(p[2] > p[1] && p[2] < 1LL << 53);

        page(&f, &(LogRange){ .limit = 10 });
        ASSERT_EQ(a.n_events, 3);
        ASSERT_EQ(a.first, p[0]);
        ASSERT_EQ(a.last, p[2]);
        for (int i = 0; i < 3; i++) {
                ASSERT_EQ(a.events[i].position, p[i]);
                ASSERT_TRUE(a.events[i].recorded_usec + MAM_USEC_PER_MSEC >= begin);
        }
        ASSERT_STREQ(a.text, e[0].text);
        page(&f, &(LogRange){ .from = p[0] + 1, .limit = 1 });
        ASSERT_EQ(a.n_events, 1);
        ASSERT_EQ(a.events[0].position, p[1]);
        page(&f, &(LogRange){ .backwards = true, .limit = 2 });
        ASSERT_EQ(a.events[0].position, p[2]);
        ASSERT_EQ(a.events[1].position, p[1]);
        page(&f, &(LogRange){ .from = p[1], .backwards = true, .limit = 9, .bytes_max = 1 });
        ASSERT_EQ(a.n_events, 1);
        ASSERT_EQ(a.events[0].position, p[1]);
        page(&f, &(LogRange){ .from = p[2] + 1, .limit = 9 });
        ASSERT_EQ(a.n_events, 0);

        ASSERT_EQ(position_at(&f, begin - MAM_USEC_PER_SEC), p[0]);
        ASSERT_EQ(position_at(&f, 0), p[0]);
        ASSERT_EQ(position_at(&f, mam_now_realtime() + MAM_USEC_PER_SEC), p[2] + 1);

        ASSERT_OK(log_topic_get(f.log, NULL, "v", on_topic, &b));
        RUN_UNTIL(&f, b.n == 4);
        ASSERT_EQ(b.info.first, p[0]);
        ASSERT_EQ(b.info.last, p[2]);
        topic_make(&f, "a", NULL);
        topic_make(&f, "w", &is_volatile);
        ASSERT_OK(log_topic_list(f.log, NULL, on_topic, &b));
        RUN_UNTIL(&f, b.n == 8);
        ASSERT_TRUE(!b.has_info);
        ASSERT_EQ(log_topic_cached(f.log, "v")->last, p[2]);
        ASSERT_EQ(log_topic_cached(f.log, "w")->last, 0);
        fixture_teardown(&f);
}

TEST(the_oldest_go_and_readers_see_it) {
        int64_t p[20];
        Fixture f;

        setup(&f);
        topic_make(&f, "v", &(TopicSettings){ .kind = TOPIC_VOLATILE, .retention_events = 5 });
        for (int i = 0; i < 20; i++) {
                char id[16];

                (void) snprintf(id, sizeof(id), "%d", i);
                append_one(&f, &b, "v", id);
                p[i] = b.appended[0].position;
        }
        page(&f, &(LogRange){ .limit = 50 });
        ASSERT_EQ(a.n_events, 5);
        ASSERT_EQ(a.events[0].position, p[15]);
        ASSERT_EQ(a.first, p[14] + 1); /* one behind the last that was dropped */
        append_one(&f, &b, "v", "3");
        ASSERT_TRUE(b.appended[0].is_duplicate); /* although it is gone */
        ASSERT_EQ(b.appended[0].position, p[3]);

        /* all of them are too old */
        redis(&f, (const char *const[]){ "XTRIM", "event-bus:topic:1", "MAXLEN", "0" }, 4);
        page(&f, &(LogRange){ .limit = 50 });
        ASSERT_EQ(a.n_events, 0);
        ASSERT_EQ(a.last, p[19]);
        ASSERT_EQ(a.first, p[19] + 1);
        append_one(&f, &b, "v", "next");
        page(&f, &(LogRange){ .limit = 50 });
        ASSERT_EQ(a.first, p[19] + 1);
        fixture_teardown(&f);
}

TEST(ids_go_on_when_the_clock_does_not) {
        Fixture f;

        setup(&f);
        topic_make(&f, "v", &is_volatile);
        /* the last one has an id of the future, and no room behind it */
        redis(&f,
              (const char *const[]){ "XADD",
                                     "event-bus:topic:1",
                                     "3900000000000-4095",
                                     "e",
                                     "{}",
                                     "k",
                                     "key",
                                     "p",
                                     "0" },
              9);
        append_one(&f, &b, "v", "1");
        ASSERT_EQ(b.r, 0);
        ASSERT_EQ(b.appended[0].position, volatile_position("3900000000001-0"));
        append_one(&f, &b, "v", "2");
        ASSERT_EQ(b.appended[0].position, volatile_position("3900000000001-1"));
        fixture_teardown(&f);
}

TEST(what_volatile_topics_do_not_have_is_refused) {
        const LogEntry e = entry_of("1", "stream", 0);
        Fixture f;

        setup(&f);
        topic_make(&f, "v", &is_volatile);
        ASSERT_EQ(log_append(f.log, NULL, "v", &e, 1, on_appended, &a), -EOPNOTSUPP);
        ASSERT_EQ(log_snapshot_get(f.log, NULL, "v", "s", on_snapshot, &a), -EOPNOTSUPP);
        ASSERT_EQ(log_topic_create(
                                  f.log,
                                  NULL,
                                  "w",
                                  &(TopicSettings){ .kind = TOPIC_VOLATILE, .compact = true },
                                  on_topic,
                                  &a),
                  -EINVAL);
        ASSERT_EQ(sql_number(&f, "SELECT count(append_rows('v', '{k}', '{s}', '{1}', '{\"{}\"}'))"), 0);
        fixture_teardown(&f);
}

TEST(a_deleted_topic_is_gone) {
        Fixture f;

        setup(&f);
        topic_make(&f, "v", &is_volatile);
        append_one(&f, &b, "v", "1");
        ASSERT_OK(log_topic_delete(f.log, NULL, "v", on_topic, &a));
        RUN_UNTIL(&f, a.n == 1);
        ASSERT_EQ(a.r, 0);
        RUN_UNTIL(&f, redis(&f, (const char *const[]){ "EXISTS", "event-bus:topic:1" }, 2) == 0);
        append_one(&f, &b, "v", "2");
        ASSERT_EQ(b.r, -ENOENT);
        fixture_teardown(&f);
}

TEST(without_redis_errors_come_at_once_and_topics_are_served) {
        const LogEntry e = entry_of("2", NULL, -1);
        LogCall *call = NULL;
        Log *without = NULL;
        Fixture f;

        setup(&f);
        topic_make(&f, "v", &is_volatile);
        append_one(&f, &b, "v", "1");
        ASSERT_EQ(b.r, 0);

        /* the caller is gone before the answer comes */
        ASSERT_OK(log_append(f.log, &call, "v", &e, 1, on_appended, &b));
        log_call_free(call);
        ASSERT_OK(log_append(f.log, &call, "v", &e, 1, on_appended, &b));
        RUN_UNTIL(&f, b.n == 2);
        ASSERT_TRUE(b.appended[0].is_duplicate);
        log_call_free(call);

        mam_test_server_kill(test_redis(), SIGKILL);
        RUN_UNTIL(&f, !mam_redis_is_connected(f.redis));
        ASSERT_EQ(log_append(f.log, NULL, "v", &e, 1, on_appended, &b), -ENOTCONN);
        ASSERT_OK(log_topic_get(f.log, NULL, "v", on_topic, &a));
        RUN_UNTIL(&f, a.n == 1);
        ASSERT_EQ(a.r, 0);
        ASSERT_OK(log_topic_list(f.log, NULL, on_topic, &a));
        RUN_UNTIL(&f, a.n == 3);
        log_topics_changed(f.log);
        append_one(&f, &b, "v", "3");
        ASSERT_EQ(b.r, -ENOTCONN);

        ASSERT_OK(log_new(&without, f.event, f.pg, NULL, NULL));
        ASSERT_OK(log_append(without, NULL, "v", &e, 1, on_appended, &b));
        RUN_UNTIL(&f, b.n == 4);
        ASSERT_EQ(b.r, -ENOTCONN);
        log_free(without);

        /* it comes back with nothing: positions go on, and who was further is told */
        (void) test_redis();
        RUN_UNTIL(&f, mam_redis_is_connected(f.redis));
        ASSERT_OK(log_append(f.log, NULL, "v", &e, 1, on_appended, &b));
        RUN_UNTIL(&f, b.n == 5);
        ASSERT_EQ(b.r, 0);
        page(&f, &(LogRange){ .limit = 9 });
        ASSERT_EQ(a.n_events, 1);
        ASSERT_EQ(a.first, a.events[0].position);
        fixture_teardown(&f);
}
