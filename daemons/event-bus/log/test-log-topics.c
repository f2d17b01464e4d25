/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics and snapshots against a real, private PostgreSQL
 */

#include "event-bus/log/test-log.h"

static Answer a, b, c;

static void answers_clear(void) {
        memset(&a, 0, sizeof(a));
        memset(&b, 0, sizeof(b));
        memset(&c, 0, sizeof(c));
}

TEST(names_of_topics) {
        char longest[130];

        ASSERT_TRUE(topic_name_is_valid("a"));
        ASSERT_TRUE(topic_name_is_valid("orders.v1_x-y"));
        ASSERT_TRUE(!topic_name_is_valid(""));
        ASSERT_TRUE(!topic_name_is_valid(".a"));
        ASSERT_TRUE(!topic_name_is_valid("a-"));
        ASSERT_TRUE(!topic_name_is_valid("A"));
        ASSERT_TRUE(!topic_name_is_valid("a b"));
        ASSERT_TRUE(!topic_name_is_valid("\xc3\xa4"));
        memset(longest, 'a', sizeof(longest));
        longest[128] = '\0';
        ASSERT_TRUE(topic_name_is_valid(longest));
        longest[128] = 'a';
        longest[129] = '\0';
        ASSERT_TRUE(!topic_name_is_valid(longest));
}

TEST(a_topic_is_made_changed_and_deleted) {
        TopicSettings s = { .retention_usec = MAM_USEC_INFINITY,
                            .retention_bytes = 1U << 30,
                            .compact = true,
                            .schema = SCHEMA_REQUIRE,
                            .events_per_second = 7 };
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "orders", &s);
        ASSERT_EQ(f.n_changed, 1);

        ASSERT_OK(log_topic_create(f.log, NULL, "orders", &s, on_topic, &a));
        RUN_UNTIL(&f, a.n == 1);
        ASSERT_EQ(a.r, -EEXIST);
        ASSERT_EQ(log_topic_create(f.log, NULL, "-", &s, on_topic, &a), -EINVAL);

        ASSERT_OK(log_topic_get(f.log, NULL, "orders", on_topic, &b));
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(b.r, 0);
        ASSERT_TRUE(b.info.settings.retention_usec == MAM_USEC_INFINITY);
        ASSERT_EQ(b.info.settings.retention_bytes, 1U << 30);
        ASSERT_EQ(b.info.settings.bytes_max, 256 * 1024);
        ASSERT_TRUE(b.info.settings.compact && !b.info.settings.archive);
        ASSERT_EQ(b.info.settings.schema, SCHEMA_REQUIRE);
        ASSERT_EQ(b.info.settings.events_per_second, 7);
        ASSERT_EQ(b.info.version, 1);
        ASSERT_EQ(b.info.first, 1);
        ASSERT_EQ(b.info.last, 0);

        s.compact = false;
        ASSERT_OK(log_topic_change(f.log, NULL, "orders", &s, 1, on_topic, &b));
        RUN_UNTIL(&f, b.n == 2);
        ASSERT_EQ(b.r, 0);
        ASSERT_EQ(b.info.version, 2);
        ASSERT_TRUE(!b.info.settings.compact);
        ASSERT_OK(log_topic_change(f.log, NULL, "orders", &s, 1, on_topic, &b));
        RUN_UNTIL(&f, b.n == 3);
        ASSERT_EQ(b.r, -ESTALE);
        s.kind = TOPIC_VOLATILE;
        ASSERT_OK(log_topic_change(f.log, NULL, "orders", &s, 0, on_topic, &b));
        RUN_UNTIL(&f, b.n == 4);
        ASSERT_EQ(b.r, -EINVAL);

        ASSERT_OK(log_topic_delete(f.log, NULL, "orders", on_topic, &c));
        RUN_UNTIL(&f, c.n == 1);
        ASSERT_EQ(c.r, 0);
        ASSERT_OK(log_topic_get(f.log, NULL, "orders", on_topic, &c));
        RUN_UNTIL(&f, c.n == 2);
        ASSERT_EQ(c.r, -ENOENT);
        ASSERT_OK(log_topic_delete(f.log, NULL, "orders", on_topic, &c));
        RUN_UNTIL(&f, c.n == 3);
        ASSERT_EQ(c.r, -ENOENT);
        ASSERT_OK(log_topic_change(f.log, NULL, "orders", &(TopicSettings){ 0 }, 0, on_topic, &c));
        RUN_UNTIL(&f, c.n == 4);
        ASSERT_EQ(c.r, -ENOENT);
        fixture_teardown(&f);
}

TEST(topics_are_listed_in_order) {
        LogCall *call = NULL;
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        ASSERT_OK(log_topic_list(f.log, NULL, on_topic, &a));
        RUN_UNTIL(&f, a.n == 1);
        ASSERT_TRUE(!a.has_info);

        topic_make(&f, "b", NULL);
        topic_make(&f, "a.2", NULL);
        topic_make(&f, "a-1", NULL);
        append_one(&f, &c, "b", "1");
        ASSERT_OK(log_topic_list(f.log, &call, on_topic, &b));
        RUN_UNTIL(&f, b.n == 4);
        log_call_free(call);
        ASSERT_TRUE(!b.has_info);
        ASSERT_STREQ(b.names, "a-1 a.2 b ");
        ASSERT_EQ(b.info.last, 1);
        fixture_teardown(&f);
}

TEST(a_cached_topic_follows_changes_of_another_replica) {
        TopicSettings s = { .bytes_max = 20 };
        const LogEntry e = entry_of("2", NULL, LOG_VERSION_ANY);
        MamPg *pg = NULL;
        Log *other = NULL;
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        fixture_another(&f, 0, &pg, &other);
        topic_make(&f, "t", NULL);
        append_one(&f, &a, "t", "1");
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(log_topic_cached(f.log, "t")->settings.bytes_max, 256 * 1024);

        ASSERT_OK(log_topic_change(other, NULL, "t", &s, 0, on_topic, &b));
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(b.r, 0);

        /* told by the answer to an append at the latest */
        append_one(&f, &a, "t", "2");
        ASSERT_EQ(a.r, 0);
        ASSERT_TRUE(!log_topic_cached(f.log, "t"));
        append_one(&f, &a, "t", "3");
        ASSERT_EQ(a.r, -EFBIG);
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EFBIG);

        log_topics_changed(f.log);
        ASSERT_TRUE(!log_topic_cached(f.log, "t"));
        log_free(other);
        mam_pg_free(pg);
        fixture_teardown(&f);
}

TEST(snapshots_keep_the_newest) {
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        ASSERT_OK(log_snapshot_get(f.log, NULL, "t", "s", on_snapshot, &a));
        RUN_UNTIL(&f, a.n == 1);
        ASSERT_EQ(a.r, -ENOENT);
        ASSERT_OK(log_snapshot_put(f.log, NULL, "t", "s", 3, "{\"n\":3}", 7, on_snapshot, &a));
        RUN_UNTIL(&f, a.n == 2);
        ASSERT_EQ(a.r, 0);
        ASSERT_OK(log_snapshot_put(f.log, NULL, "t", "s", 2, "{}", 2, on_snapshot, &a));
        RUN_UNTIL(&f, a.n == 3);
        ASSERT_EQ(a.r, 0);
        ASSERT_OK(log_snapshot_get(f.log, NULL, "t", "s", on_snapshot, &b));
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(b.r, 0);
        ASSERT_EQ(b.value, 3);
        ASSERT_STREQ(b.text, "{\"n\":3}");
        ASSERT_OK(log_snapshot_get(f.log, NULL, "none", "s", on_snapshot, &c));
        RUN_UNTIL(&f, c.n == 1);
        ASSERT_EQ(c.r, -ENOENT);
        ASSERT_EQ(log_snapshot_put(f.log, NULL, "t", "", 2, "{}", 2, on_snapshot, &a), -EINVAL);
        fixture_teardown(&f);
}
