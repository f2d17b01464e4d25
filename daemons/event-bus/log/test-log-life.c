/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Appending while servers die, wait, and topics come and go
 */

#include <inttypes.h>
#include <signal.h>

#include "event-bus/log/test-log.h"

#define PRODUCERS    8U
#define PER_REQUEST  3U
#define REQUESTS_MAX 4000U

/* Two replicas' producers, each with one request at a time, which it repeats until that is acknowledged. */

typedef struct Producer Producer;

typedef struct Ledger {
        Fixture *f;
        Log *logs[2];
        const char *topic;
        Producer *producers;
        unsigned n_acknowledged, n_repeated, n_duplicate, n_running;
        bool stop;
} Ledger;

struct Producer {
        Ledger *ledger;
        unsigned number, request, n_tries;
        int64_t positions[REQUESTS_MAX][PER_REQUEST];
};

static void produce(Producer *p);

static void on_produced(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Producer *p = userdata;
        Ledger *l = p->ledger;

        if (r < 0) {
                ASSERT_TRUE(r == -ENOTCONN || r == -EAGAIN || r == -ECANCELED);
                l->n_repeated++;
        } else {
                ASSERT_EQ(n, PER_REQUEST);
                for (size_t i = 0; i < n; i++) {
                        p->positions[p->request][i] = appended[i].position;
                        ASSERT_EQ(appended[i].position, appended[0].position + (int64_t) i);
                        l->n_duplicate += appended[i].is_duplicate;
                }
                l->n_acknowledged++;
                p->request++;
        }

        if (r == 0 && (l->stop || p->request == REQUESTS_MAX)) {
                l->n_running--;
        } else {
                produce(p);
        }
}

static void produce(Producer *p) {
        LogEntry entries[PER_REQUEST];
        char ids[PER_REQUEST][32], texts[PER_REQUEST][64];

        for (unsigned i = 0; i < PER_REQUEST; i++) {
                (void) snprintf(ids[i], sizeof(ids[i]), "%u-%u-%u", p->number, p->request, i);
                (void) snprintf(texts[i], sizeof(texts[i]), "{\"id\":\"%s\"}", ids[i]);
                entries[i] = (LogEntry){
                        .key = "k",
                        .id = ids[i],
                        .source = "/ledger",
                        .expected_version = LOG_VERSION_ANY,
                        .text = texts[i],
                        .size = strlen(texts[i]),
                };
        }
        ASSERT_OK(
                        log_append(p->ledger->logs[p->number % 2],
                                   NULL,
                                   p->ledger->topic,
                                   entries,
                                   PER_REQUEST,
                                   on_produced,
                                   p));
}

static void ledger_begin(Ledger *l, Fixture *f, Log *other, const char *topic) {
        *l = (Ledger){ .f = f, .logs = { f->log, other }, .topic = topic, .n_running = PRODUCERS };
        l->producers = calloc(PRODUCERS, sizeof(*l->producers));
        ASSERT_TRUE(l->producers);
        for (unsigned i = 0; i < PRODUCERS; i++) {
                l->producers[i].ledger = l;
                l->producers[i].number = i;
                produce(l->producers + i);
        }
}

/* Everything that is there, through all segments, against what was acknowledged. */
static void ledger_check(Ledger *l) {
        PGresult *result;
        int64_t n = 0;

        sql(l->f,
            "CREATE TEMPORARY TABLE IF NOT EXISTS everything (position bigint, recorded bigint, event text); TRUNCATE everything; "
            "DO $$ DECLARE r text; BEGIN FOR r IN SELECT relation FROM event_bus.segments LOOP "
            "EXECUTE 'INSERT INTO everything SELECT position, recorded, event FROM event_bus.' || r; END LOOP; END $$");
        result = PQexec(l->f->sql, "SELECT position, event FROM everything ORDER BY position, recorded");
        ASSERT_EQ(PQresultStatus(result), PGRES_TUPLES_OK);
        for (int i = 0; i < PQntuples(result); i++) {
                const char *id = strpbrk(PQgetvalue(result, i, 1), "0123456789");
                unsigned long number, request, k;
                char *next;

                ASSERT_EQ(strtoll(PQgetvalue(result, i, 0), NULL, 10), i + 1); /* gapless, none twice */
                ASSERT_TRUE(id);
                number = strtoul(id, &next, 10);
                request = strtoul(next + 1, &next, 10);
                k = strtoul(next + 1, &next, 10);
                ASSERT_STREQ(next, "\"}");
                ASSERT_TRUE(number < PRODUCERS && k < PER_REQUEST && request < l->producers[number].request);
                ASSERT_EQ(l->producers[number].positions[request][k], i + 1);
                n++;
        }
        PQclear(result);

        /* every acknowledged one is there, once, as the positions are pairwise different */
        ASSERT_EQ(n, (int64_t) l->n_acknowledged * PER_REQUEST);
        for (unsigned i = 0; i < PRODUCERS; i++) {
                for (unsigned k = 1; k < l->producers[i].request; k++)
                        ASSERT_TRUE(l->producers[i].positions[k][0] > l->producers[i].positions[k - 1][0]);
        }
        ASSERT_EQ(sql_number(l->f,
                             "SELECT count(*) FROM (SELECT recorded < lag(recorded) OVER (ORDER BY position) AS fell FROM everything) x WHERE fell"),
                  0);
}

static void ledger_end(Ledger *l) {
        l->stop = true;
        RUN_UNTIL(l->f, l->n_running == 0);
}

static void sql_again(Fixture *f) {
        PQreset(f->sql);
        ASSERT_EQ(PQstatus(f->sql), CONNECTION_OK);
        sql(f, "SET client_min_messages = error; SET search_path = event_bus");
}

TEST(two_replicas_append_at_once) {
        MamPg *pg = NULL;
        Log *other = NULL;
        Ledger ledger;
        Fixture f;

        fixture_setup(&f);
        fixture_another(&f, 0, &pg, &other);
        topic_make(&f, "t", &(TopicSettings){ .retention_events = 4000 }); /* 500 events per segment */
        ledger_begin(&ledger, &f, other, "t");
        RUN_UNTIL(&f, ledger.n_acknowledged >= 1000);
        ledger_end(&ledger);
        ASSERT_EQ(ledger.n_repeated, 0);
        ASSERT_EQ(ledger.n_duplicate, 0);
        ledger_check(&ledger);
        ASSERT_TRUE(sql_number(&f, "SELECT count(*) FROM segments") >= 4);

        free(ledger.producers);
        log_free(other);
        mam_pg_free(pg);
        fixture_teardown(&f);
}

TEST(killed_servers_lose_and_double_nothing) {
        MamPg *pg = NULL;
        Log *other = NULL;
        unsigned before;
        Ledger ledger;
        Fixture f;

        fixture_setup(&f);
        fixture_another(&f, 0, &pg, &other);
        topic_make(&f, "t", &(TopicSettings){ .retention_events = 1000 }); /* 125 events per segment */
        ledger_begin(&ledger, &f, other, "t");
        for (unsigned round = 0; round < 3; round++) {
                before = ledger.n_acknowledged;
                RUN_UNTIL(&f, ledger.n_acknowledged >= before + 100);
                mam_test_server_kill(test_postgres(), SIGKILL);
                RUN_UNTIL(&f, !mam_pg_is_connected(f.pg) && !mam_pg_is_connected(pg));
                (void) test_postgres(); /* starts it */
        }
        before = ledger.n_acknowledged;
        RUN_UNTIL(&f, ledger.n_acknowledged >= before + 100);
        ledger_end(&ledger);
        sql_again(&f);
        ledger_check(&ledger);

        free(ledger.producers);
        log_free(other);
        mam_pg_free(pg);
        fixture_teardown(&f);
}

static Answer a, b;

static void answers_clear(void) {
        memset(&a, 0, sizeof(a));
        memset(&b, 0, sizeof(b));
}

TEST(without_a_database_answers_come_in_time_and_little_waits) {
        Answer *answers = calloc(200, sizeof(*answers));
        size_t size = 250000, bytes = 0;
        char *text = malloc(size + 1);
        MamPg *pg = NULL;
        Log *log = NULL;
        uint64_t begin;
        unsigned n = 0;
        Fixture f;
        int r;

        ASSERT_TRUE(answers && text);
        memset(text, 'x', size);
        text[size] = '\0';
        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        fixture_another(&f, 300 * MAM_USEC_PER_MSEC, &pg, &log);
        ASSERT_OK(log_topic_get(log, NULL, "t", on_topic, &a));
        RUN_UNTIL(&f, a.n == 1);

        mam_test_server_kill(test_postgres(), SIGQUIT);
        RUN_UNTIL(&f, !mam_pg_is_connected(pg));
        begin = mam_now_monotonic();
        for (;;) {
                char id[16];
                LogEntry e;

                (void) snprintf(id, sizeof(id), "%u", n);
                e = entry_of(id, NULL, -1);
                e.text = text;
                e.size = size;
                r = log_append(log, NULL, "t", &e, 1, on_appended, answers + n);
                if (r < 0)
                        break;
                n++;
                bytes += size;
        }
        ASSERT_EQ(r, -EAGAIN);
        ASSERT_TRUE(bytes <= LOG_WAITING_BYTES_MAX && bytes > LOG_WAITING_BYTES_MAX - 2 * size);
        RUN_UNTIL(&f, answers[n - 1].n == 1);
        ASSERT_TRUE(mam_now_monotonic() - begin < 5 * MAM_USEC_PER_SEC);
        for (unsigned i = 0; i < n; i++) {
                ASSERT_EQ(answers[i].n, 1);
                ASSERT_EQ(answers[i].r, -ENOTCONN);
        }

        /* also what needs the topic to be looked up */
        log_topics_changed(log);
        ASSERT_OK(
                        log_append(log,
                                   NULL,
                                   "t",
                                   &(LogEntry){ .key = "k",
                                                .id = "x",
                                                .source = "s",
                                                .text = "{}",
                                                .size = 2,
                                                .expected_version = -1 },
                                   1,
                                   on_appended,
                                   &a));
        RUN_UNTIL(&f, a.n == 2);
        ASSERT_EQ(a.r, -ENOTCONN);

        (void) test_postgres();
        RUN_UNTIL(&f, mam_pg_is_connected(pg));
        for (unsigned i = 0; i < n; i++) {
                char id[16];
                LogEntry e;

                (void) snprintf(id, sizeof(id), "%u", i);
                e = entry_of(id, NULL, -1);
                ASSERT_OK(log_append(log, NULL, "t", &e, 1, on_appended, answers + i));
        }
        RUN_UNTIL(&f, answers[n - 1].n == 2);
        ASSERT_EQ(answers[n - 1].r, 0);
        ASSERT_EQ(answers[n - 1].appended[0].position, n);

        log_free(log);
        mam_pg_free(pg);
        fixture_teardown(&f);
        free(answers);
        free(text);
}

TEST(a_head_that_somebody_holds_is_not_waited_for_without_end) {
        const LogEntry e = entry_of("1", NULL, -1), g = entry_of("2", NULL, -1);
        MamPg *pg = NULL;
        Log *log = NULL;
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        fixture_another(&f, 300 * MAM_USEC_PER_MSEC, &pg, &log);
        sql(&f, "BEGIN; SELECT 1 FROM heads FOR UPDATE");
        ASSERT_OK(log_append(log, NULL, "t", &e, 1, on_appended, &a));
        RUN_UNTIL(&f, a.n == 1);
        ASSERT_EQ(a.r, -ECANCELED);

        /* and goes on when it is free */
        ASSERT_OK(log_append(f.log, NULL, "t", &g, 1, on_appended, &b));
        RUN_UNTIL(&f, sql_number(&f, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0);
        ASSERT_EQ(b.n, 0);
        sql(&f, "COMMIT");
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(b.r, 0);
        ASSERT_EQ(b.appended[0].position, 1);
        log_free(log);
        mam_pg_free(pg);
        fixture_teardown(&f);
}

TEST(who_waited_while_a_segment_was_closed_appends_to_the_next) {
        const LogEntry e = entry_of("3", NULL, -1);
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        topic_make(&f, "t", NULL);
        append_one(&f, &a, "t", "1"); /* this session knows the function of the first segment */

        sql(&f, "BEGIN; UPDATE heads SET roll_last = 1");
        sql(&f, "SELECT append_rows('t', '{k}', '{s}', '{2}', '{\"{}\"}')");
        ASSERT_OK(log_append(f.log, NULL, "t", &e, 1, on_appended, &b));
        RUN_UNTIL(&f, sql_number(&f, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0);
        sql(&f, "COMMIT");
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(b.r, 0);
        ASSERT_EQ(b.appended[0].position, 3);
        ASSERT_EQ(sql_number(&f, "SELECT string_agg(position::text, '' ORDER BY position) FROM s_1_2"), 23);
        fixture_teardown(&f);
}

TEST(a_topic_that_was_made_anew_is_found) {
        const LogEntry e = entry_of("1", NULL, -1);
        MamPg *pg = NULL;
        Log *other = NULL;
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        fixture_another(&f, 0, &pg, &other);
        topic_make(&f, "t", NULL);
        append_one(&f, &a, "t", "1");
        append_one(&f, &a, "t", "2");
        ASSERT_OK(log_append(other, NULL, "t", &e, 1, on_appended, &a));
        RUN_UNTIL(&f, a.n == 3);
        ASSERT_TRUE(a.appended[0].is_duplicate);

        ASSERT_OK(log_topic_delete(f.log, NULL, "t", on_topic, &b));
        RUN_UNTIL(&f, b.n == 1);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM garbage"), 2);
        ASSERT_EQ(sql_number(&f, "SELECT count(*) FROM pg_proc WHERE proname = 'append_1'"), 0);
        ASSERT_OK(log_append(other, NULL, "t", &e, 1, on_appended, &a));
        RUN_UNTIL(&f, a.n == 4);
        ASSERT_EQ(a.r, -ENOENT);
        ASSERT_TRUE(!log_topic_cached(other, "t"));

        topic_make(&f, "t", NULL);
        ASSERT_OK(log_append(other, NULL, "t", &e, 1, on_appended, &a));
        RUN_UNTIL(&f, a.n == 5);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[0].position, 1);
        ASSERT_TRUE(!a.appended[0].is_duplicate);

        /* the other one has the deleted topic's id in its cache */
        ASSERT_OK(log_topic_delete(f.log, NULL, "t", on_topic, &b));
        RUN_UNTIL(&f, b.n == 2);
        topic_make(&f, "t", NULL);
        ASSERT_OK(log_append(other, NULL, "t", &e, 1, on_appended, &a));
        RUN_UNTIL(&f, a.n == 6);
        ASSERT_EQ(a.r, 0);
        ASSERT_EQ(a.appended[0].position, 1);
        ASSERT_OK(log_snapshot_put(other, NULL, "t", "s", 1, "{}", 2, on_snapshot, &a));
        RUN_UNTIL(&f, a.n == 7);
        ASSERT_EQ(a.r, 0);
        log_free(other);
        mam_pg_free(pg);
        fixture_teardown(&f);
}

typedef struct Storm {
        Fixture *f;
        unsigned n_ok, n_missing, n_running, next;
        bool stop;
} Storm;

static void storm_append(Storm *s);

static void on_storm(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Storm *s = userdata;

        ASSERT_TRUE(r == 0 || r == -ENOENT);
        if (r == 0) {
                s->n_ok++;
        } else {
                s->n_missing++;
        }
        if (s->stop) {
                s->n_running--;
        } else {
                storm_append(s);
        }
}

static void storm_append(Storm *s) {
        char id[16];
        LogEntry e;

        (void) snprintf(id, sizeof(id), "%u", s->next++);
        e = entry_of(id, s->next % 3 ? NULL : "s", -1);
        ASSERT_OK(log_append(s->f->log, NULL, "t", &e, 1, on_storm, s));
}

TEST(topics_change_and_go_under_append) {
        TopicSettings settings = { .retention_events = 800 };
        Storm storm = { 0 };
        Fixture f;

        answers_clear();
        fixture_setup(&f);
        storm.f = &f;
        topic_make(&f, "t", &settings);
        for (storm.n_running = 0; storm.n_running < 16; storm.n_running++)
                storm_append(&storm);
        for (unsigned round = 0; round < 3; round++) {
                unsigned ok = storm.n_ok, missing;

                RUN_UNTIL(&f, storm.n_ok > ok + 100);
                settings.bytes_max += 100000;
                ASSERT_OK(log_topic_change(f.log, NULL, "t", &settings, 0, on_topic, &a));
                RUN_UNTIL(&f, a.n == 1 + 2 * round);
                ASSERT_EQ(a.r, 0);
                missing = storm.n_missing;
                ok = storm.n_ok;
                RUN_UNTIL(&f, storm.n_ok > ok + 100);
                ASSERT_EQ(storm.n_missing, missing);
                ASSERT_OK(log_topic_delete(f.log, NULL, "t", on_topic, &a));
                RUN_UNTIL(&f, a.n == 2 + 2 * round && storm.n_missing > missing);
                ASSERT_EQ(a.r, 0);
                topic_make(&f, "t", &settings);
        }
        storm.stop = true;
        RUN_UNTIL(&f, storm.n_running == 0);
        fixture_teardown(&f);
}
