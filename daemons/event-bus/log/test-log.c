/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Appending against a real, private PostgreSQL
 */

#include "event-bus/log/test-log.h"
#include "event-bus/log/log-sql.h"

static Answer a, b, c;

static void answers_clear(void) {
        memset(&a, 0, sizeof(a));
        memset(&b, 0, sizeof(b));
        memset(&c, 0, sizeof(c));
}

/* Append */

TEST(positions_count_from_one) {
        LogEntry e[3] = { entry_of("1", NULL, -1), entry_of("2", NULL, -1), entry_of("3", NULL, -1) };
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        append_all(&f, &a, "t", e, 3);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.n_appended, 3);
        for (int i = 0; i < 3; i++) {
                ASSERT_EQ(a.appended[i].position, i + 1);
                ASSERT_EQ(a.appended[i].stream_version, 0);
                ASSERT_TRUE(!a.appended[i].is_duplicate);
        }
        ASSERT_STREQ(f.hook_topic, "t");
        ASSERT_EQ(f.hook_last, 3);
        append_one(&f, &a, "t", "4");
        ASSERT_EQ(a.appended[0].position, 4);

        ASSERT_EQ(sql_number(&f,
                             "SELECT count(*) FROM s_1_1 WHERE key = 'key' AND event::jsonb ->> 'data' = '\"quoted\" ä'"),
                  4);
        ASSERT_EQ(sql_number(&f,
                             "SELECT count(*) FROM (SELECT recorded < lag(recorded) OVER (ORDER BY position) AS fell FROM s_1_1) x WHERE fell"),
                  0);
        fixture_teardown(&f);
}

TEST(what_is_no_text_is_refused) {
        LogEntry e = entry_of("1", NULL, -1);
        char longest[LOG_KEY_MAX + 2];
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 0, on_appended, &a), -EINVAL);
        static const char *const bad[] = { "\xff",   "\xc0\x80", "\xed\xa0\x80",    "\xf4\x90\x80\x80",
                                           "{\x1e}", "\xe4\xbd", "\xf0\x8f\x80\x80" };
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                e.text = bad[i];
                e.size = strlen(bad[i]);
                ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EINVAL);
        }
        e = entry_of("1", NULL, -1);
        e.text = "a\0b";
        e.size = 3;
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EINVAL);
        e = entry_of("1", "", -1);
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EINVAL);
        e = entry_of("1", NULL, -2);
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EINVAL);
        memset(longest, 'a', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = '\0';
        e = entry_of("1", NULL, -1);
        e.key = longest;
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EINVAL);
        longest[LOG_KEY_MAX] = '\0';
        append_all(&f, &a, "t", &e, 1);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(sql_number(&f, "SELECT last FROM heads"), 1);

        ASSERT_EQ(log_append(f.log, NULL, "No topic", &e, 1, on_appended, &b), -ENOENT);
        append_one(&f, &b, "none", "1");
        ASSERT_EQ(b.r, -ENOENT);
        fixture_teardown(&f);
}

TEST(what_comes_in_one_turn_is_one_commit) {
        static Answer answers[50];
        Fixture f;

        answers_clear();
        memset(answers, 0, sizeof(answers));
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        append_one(&f, &a, "t", "first");
        f.n_hook = 0;
        for (unsigned i = 0; i < MAM_ELEMENTSOF(answers); i++) {
                char id[16];
                LogEntry e;

                (void) snprintf(id, sizeof(id), "%u", i);
                e = entry_of(id, NULL, -1);
                ASSERT_OK(log_append(f.log, NULL, "t", &e, 1, on_appended, answers + i));
        }
        RUN_UNTIL(&f, answers[49].n == 1);
        ASSERT_EQ(f.n_hook, 1);
        for (unsigned i = 0; i < MAM_ELEMENTSOF(answers); i++) {
                ASSERT_EQ(answers[i].r, 0);
                ASSERT_EQ(answers[i].appended[0].position, i + 2);
        }
        fixture_teardown(&f);
}

TEST(requests_before_the_topic_is_known_keep_their_order) {
        Answer *answers = calloc(20, sizeof(*answers));
        MamPg *pg = NULL;
        Log *other = NULL;
        Fixture f;

        ASSERT_TRUE(answers);
        fixture_setup(&f);
        fixture_another(&f, 0, &pg, &other);
        topic_make(&f, "t", NULL);
        for (unsigned i = 0; i < 20; i++) {
                char id[16];
                LogEntry e;

                (void) snprintf(id, sizeof(id), "%u", i);
                e = entry_of(id, i % 2 ? "s" : NULL, -1);
                ASSERT_OK(log_append(other, NULL, "t", &e, 1, on_appended, answers + i));
        }
        RUN_UNTIL(&f, answers[19].n == 1);
        for (unsigned i = 0; i < 20; i++)
                ASSERT_EQ(answers[i].appended[0].position, i + 1);
        log_free(other);
        mam_pg_free(pg);
        fixture_teardown(&f);
        free(answers);
}

TEST(a_cancelled_request_is_not_called_back) {
        const LogEntry e = entry_of("1", NULL, -1), g = entry_of("2", NULL, -1);
        LogCall *call = NULL;
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        ASSERT_OK(log_append(f.log, &call, "t", &e, 1, on_appended, &a));
        ASSERT_OK(log_append(f.log, NULL, "t", &g, 1, on_appended, &b));
        call = log_call_free(call);
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(a.n, 0);
        ASSERT_EQ(b.appended[0].position, 2);

        /* while its topic is looked up */
        log_topics_changed(f.log);
        ASSERT_OK(log_append(f.log, &call, "t", &e, 1, on_appended, &a));
        call = log_call_free(call);
        append_one(&f, &b, "t", "3");
        ASSERT_EQ(b.appended[0].position, 3);
        ASSERT_EQ(a.n, 0);

        /* what is open when the log ends is told so */
        ASSERT_OK(log_append(f.log, &call, "t", &e, 1, on_appended, &a));
        ASSERT_OK(log_append(f.log, NULL, "t", &g, 1, on_appended, &b));
        ASSERT_OK(log_topic_get(f.log, NULL, "t", on_topic, &c));
        f.log = log_free(f.log);
        ASSERT_EQ(a.n, 1);
        ASSERT_EQ(a.r, -ECANCELED);
        ASSERT_EQ(b.r, -ECANCELED);
        ASSERT_EQ(c.r, -ECANCELED);
        log_call_free(call);
        fixture_teardown(&f);
}

/* Duplicates */

TEST(duplicates_are_told_where_the_first_is) {
        LogEntry e[3] = { entry_of("1", NULL, -1), entry_of("2", NULL, -1), entry_of("1", NULL, -1) };
        LogEntry g = entry_of("1", NULL, -1);
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);

        /* within a request */
        append_all(&f, &a, "t", e, 3);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[1].position, 2);
        ASSERT_EQ(a.appended[2].position, 1);
        ASSERT_TRUE(!a.appended[0].is_duplicate && a.appended[2].is_duplicate);

        /* across requests that arrive together, and later ones */
        e[0].id = "3";
        e[1].id = "2";
        e[2].id = "4";
        g.id = "4";
        ASSERT_OK(log_append(f.log, NULL, "t", e, 3, on_appended, &a));
        ASSERT_OK(log_append(f.log, NULL, "t", &g, 1, on_appended, &b));
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(a.appended[0].position, 3);
        ASSERT_EQ(a.appended[1].position, 2);
        ASSERT_TRUE(a.appended[1].is_duplicate);
        ASSERT_EQ(a.appended[2].position, 4);
        ASSERT_EQ(b.appended[0].position, 4);
        ASSERT_TRUE(b.appended[0].is_duplicate);

        /* another source is another event, and source and id do not run into each other */
        g.source = "/tes";
        g.id = "t4";
        append_all(&f, &b, "t", &g, 1);
        ASSERT_EQ(b.appended[0].position, 5);
        ASSERT_TRUE(!b.appended[0].is_duplicate);

        f.n_hook = 0;
        append_all(&f, &b, "t", e, 3);
        ASSERT_EQ(f.n_hook, 0);
        ASSERT_EQ(sql_number(&f, "SELECT last FROM heads"), 5);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM s_1_1"), 5);

        /* the relay's way knows the same */
        ASSERT_EQ(sql_number(&f,
                             "SELECT append_rows('t', '{k,k,k}', '{/test,/x,/x}', '{4,1,1}', '{\"{}\",\"{}\",\"{}\"}')"),
                  6);
        fixture_teardown(&f);
}

typedef struct Step {
        LogBatch *batch;
        int error, r;
        unsigned n;
} Step;

static void on_step(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Step *s = userdata;

        s->n++;
        s->error = error;
        if (error == 0)
                s->r = log_batch_read(s->batch, result);
}

TEST(a_batch_is_a_step_of_somebody_elses_transaction) {
        static const MamPgStatement divide = { "test-divide", "SELECT 1 / $1::integer", true };
        const LogEntry e[2] = { entry_of("1", NULL, -1), entry_of("2", NULL, -1) };
        const char *const one[] = { "1" }, *const zero[] = { "0" };
        const LogAppended *appended = NULL;
        size_t n = 0, at = 0;
        Step s = { 0 };
        MamPgStep steps[2] = { { &divide, zero, 1 }, { &log_append_statement, NULL, LOG_BATCH_PARAMETERS } };
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        ASSERT_OK(log_batch_new(&s.batch));
        ASSERT_OK(log_batch_add(s.batch, e, 1));
        ASSERT_OK(log_batch_add(s.batch, e + 1, 1));
        ASSERT_EQ(log_batch_add(s.batch, e, 1), -EBUSY); /* is in it */
        ASSERT_EQ(log_batch_requests(s.batch), 2);

        steps[1].parameters = log_batch_parameters(s.batch, 1);
        ASSERT_TRUE(steps[1].parameters);
        ASSERT_OK(mam_pg_run(f.pg, NULL, steps, 2, on_step, &s));
        RUN_UNTIL(&f, s.n == 1);
        ASSERT_EQ(s.error, -EINVAL);
        ASSERT_EQ(sql_number(&f, "SELECT last FROM heads"), 0);

        steps[0].parameters = one;
        ASSERT_OK(mam_pg_run(f.pg, NULL, steps, 2, on_step, &s));
        RUN_UNTIL(&f, s.n == 2);
        ASSERT_EQ(s.error, 0);
        ASSERT_EQ(s.r, 0);
        ASSERT_EQ(log_batch_last(s.batch), 2);
        ASSERT_EQ(log_batch_outcome(s.batch, 1, &appended, &n, &at), 0);
        ASSERT_EQ(n, 1);
        ASSERT_EQ(appended[0].position, 2);
        log_appended_elsewhere(f.log, "t", log_batch_last(s.batch));
        ASSERT_EQ(f.hook_last, 2);

        steps[1].parameters = log_batch_parameters(s.batch, 99);
        ASSERT_OK(mam_pg_run(f.pg, NULL, steps, 2, on_step, &s));
        RUN_UNTIL(&f, s.n == 3);
        ASSERT_EQ(s.r, -ENOENT);
        log_batch_free(s.batch);
        fixture_teardown(&f);
}

TEST(duplicates_are_found_in_older_windows_until_these_are_dropped) {
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        append_one(&f, &a, "t", "old");

        for (int i = 0; i < 3; i++) {
                char id[16];

                /* as if eight hours had passed */
                sql(&f, "UPDATE windows SET until = until - 28800000000");
                sql(&f, "UPDATE heads SET window_until = window_until - 28800000000");
                (void) snprintf(id, sizeof(id), "%d", i);
                append_one(&f, &a, "t", id);
                ASSERT_EQ(a.r, 0);
                ASSERT_EQ(a.appended[0].position, i + 2);
                append_one(&f, &a, "t", "old");
                ASSERT_TRUE(a.appended[0].is_duplicate);
                ASSERT_EQ(a.appended[0].position, 1);
        }
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM windows"), 4);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM segments"), 1);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM garbage"), 0);

        /* the oldest is a day behind its end: it goes as a whole */
        sql(&f, "UPDATE windows SET until = until - 28800000000");
        sql(&f, "UPDATE heads SET window_until = window_until - 28800000000");
        append_one(&f, &a, "t", "next");
        sql(&f, "UPDATE windows SET until = until - 28800000000");
        sql(&f, "UPDATE heads SET window_until = window_until - 28800000000");
        append_one(&f, &a, "t", "next 2");
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM garbage WHERE relation = 'w_1_1'"), 1);
        append_one(&f, &a, "t", "old");
        ASSERT_TRUE(!a.appended[0].is_duplicate);
        ASSERT_EQ(a.appended[0].position, 7);
        fixture_teardown(&f);
}

TEST(events_move_on_to_new_segments) {
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        append_one(&f, &a, "t", "1");
        sql(&f, "UPDATE heads SET roll_last = 1");
        append_one(&f, &a, "t", "2");
        ASSERT_EQ(a.appended[0].position, 2);
        sql(&f, "UPDATE heads SET roll_bytes = 1");
        append_one(&f, &a, "t", "3");
        sql(&f, "UPDATE heads SET roll_recorded = 1");
        append_one(&f, &a, "t", "4");
        ASSERT_EQ(sql_number(&f, "SELECT close_segment(1)::int"), 1);
        ASSERT_EQ(sql_number(&f, "SELECT close_segment(1)::int"), 0);
        append_one(&f, &a, "t", "5");
        append_one(&f, &a, "t", "1");
        ASSERT_TRUE(a.appended[0].is_duplicate);
        sql(&f, "UPDATE heads SET roll_last = 5");
        append_one(&f, &a, "t", "1");
        sql(&f, "UPDATE heads SET roll_recorded = 1"); /* of a segment that has got nothing */
        append_one(&f, &a, "t", "1");
        append_one(&f, &a, "t", "6");
        ASSERT_EQ(a.appended[0].position, 6);

        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM segments"), 6);
        ASSERT_EQ(sql_number(&f,
                             "SELECT count(*) FROM segments WHERE segment < 6 AND first_position = segment AND last_position = segment "
                             "AND bytes > 0 AND closed_at >= opened_at"),
                  5);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM segments WHERE segment = 6 AND closed_at IS NULL"),
                  1);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM pg_proc WHERE proname = 'append_1'"), 1);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM read_events(1, 1, false, 100, 100000, NULL)"), 2);
        ASSERT_EQ(sql_number(&f, "SELECT first_position(1)"), 1);
        sql(&f, "DELETE FROM segments WHERE segment <= 2");
        ASSERT_EQ(sql_number(&f, "SELECT first_position(1)"), 3);
        sql(&f, "DELETE FROM segments WHERE segment < 6");
        ASSERT_EQ(sql_number(&f, "SELECT position_at(1, 0)"), 6);
        fixture_teardown(&f);
}

TEST(a_large_event_is_stored_as_it_is) {
        size_t size = 200000;
        char *text = malloc(size + 1);
        LogEntry e = entry_of("1", NULL, -1);
        Fixture f;

        ASSERT_TRUE(text);
        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        memset(text, 'x', size);
        text[size] = '\0';
        e.text = text;
        e.size = size;
        append_all(&f, &a, "t", &e, 1);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(sql_number(&f, "SELECT octet_length(event) FROM s_1_1"), (long long) size);
        e.size = 256 * 1024 + 1;
        e.text = text = realloc(text, e.size + 1);
        memset(text, 'x', e.size);
        ASSERT_EQ(log_append(f.log, NULL, "t", &e, 1, on_appended, &a), -EFBIG);
        fixture_teardown(&f);
        free(text);
}

/* Streams */

TEST(versions_of_a_stream) {
        LogEntry e[3] = { entry_of("1", "s", LOG_VERSION_NONE),
                          entry_of("2", "s", 0),
                          entry_of("3", NULL, -1) };
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        append_all(&f, &a, "t", e, 3);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[0].stream_version, 1);
        ASSERT_EQ(a.appended[1].stream_version, 2);
        ASSERT_EQ(a.appended[2].stream_version, 0);
        ASSERT_EQ(a.appended[2].position, 3);

        /* said again it is there, whatever was expected */
        append_all(&f, &a, "t", e, 3);
        ASSERT_EQ(a.r, 0);
        ASSERT_TRUE(a.appended[0].is_duplicate && a.appended[1].is_duplicate && a.appended[2].is_duplicate);
        ASSERT_EQ(a.appended[1].stream_version, 2);

        e[0] = entry_of("4", "s", 1);
        append_all(&f, &a, "t", e, 1);
        ASSERT_EQ(a.r, -ESTALE);
        ASSERT_EQ(a.at, 0);
        ASSERT_EQ(a.appended[0].stream_version, 2);
        e[0].expected_version = 2;
        append_all(&f, &a, "t", e, 1);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[0].stream_version, 3);
        ASSERT_EQ(a.appended[0].position, 4);

        /* what is new of a half known request has to follow what is known */
        e[0] = entry_of("4", "s", 2);
        e[1] = entry_of("5", "s", 2);
        append_all(&f, &a, "t", e, 2);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[1].stream_version, 4);
        e[1] = entry_of("6", "s", 2);
        append_all(&f, &a, "t", e, 2);
        ASSERT_EQ(a.r, -ESTALE);
        ASSERT_EQ(a.at, 1);
        ASSERT_EQ(a.appended[1].stream_version, 4);

        e[0] = entry_of("7", "s", LOG_VERSION_ANY);
        append_all(&f, &a, "t", e, 1);
        ASSERT_EQ(a.appended[0].stream_version, 5);
        ASSERT_EQ(sql_number(&f,
                             "SELECT version FROM streams WHERE stream = 's' AND first_position = 1 AND last_position = 6"),
                  5);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM read_events(1, 2, false, 100, 100000, 's')"), 1 + 4);
        fixture_teardown(&f);
}

TEST(a_conflict_stays_with_its_request) {
        LogEntry ok1 = entry_of("1", "x", 0), two[2] = { entry_of("2", "y", 0), entry_of("3", "z", 5) };
        LogEntry ok2 = entry_of("4", NULL, -1), race1 = entry_of("5", "w", 0), race2 = entry_of("6", "w", 0);
        Answer *r1 = calloc(1, sizeof(*r1)), *r2 = calloc(1, sizeof(*r2));
        Fixture f;

        ASSERT_TRUE(r1 && r2);
        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        ASSERT_OK(log_append(f.log, NULL, "t", &ok1, 1, on_appended, &a));
        ASSERT_OK(log_append(f.log, NULL, "t", two, 2, on_appended, &b));
        ASSERT_OK(log_append(f.log, NULL, "t", &ok2, 1, on_appended, &c));
        ASSERT_OK(log_append(f.log, NULL, "t", &race1, 1, on_appended, r1));
        ASSERT_OK(log_append(f.log, NULL, "t", &race2, 1, on_appended, r2));
        RUN_UNTIL(&f, r2->n == 1);

        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[0].position, 1);
        ASSERT_EQ(b.r, -ESTALE);
        ASSERT_EQ(b.at, 1);
        ASSERT_EQ(b.appended[1].stream_version, 0);
        ASSERT_EQ(c.r, 0);
        ASSERT_EQ(c.appended[0].position, 2);
        ASSERT_EQ(r1->r, 0);
        ASSERT_EQ(r1->appended[0].position, 3);
        ASSERT_EQ(r2->r, -ESTALE);
        ASSERT_EQ(r2->appended[0].stream_version, 1);

        /* nothing of it is there, nor remembered */
        two[1].expected_version = 0;
        append_all(&f, &b, "t", two, 2);
        ASSERT_EQ(b.r, 0);
        ASSERT_TRUE(!b.appended[0].is_duplicate);
        ASSERT_EQ(b.appended[0].position, 4);
        ASSERT_EQ(b.appended[1].position, 5);
        fixture_teardown(&f);
        free(r1);
        free(r2);
}
