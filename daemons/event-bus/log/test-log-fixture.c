/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A log on real servers, for tests
 */

#include <signal.h>

#include "event-bus/log/test-log.h"

static MamTestServer postgres, redis;

static void stop_servers(void) {
        mam_test_server_done(&postgres);
        mam_test_server_done(&redis);
}

MamTestServer *test_postgres(void) {
        if (!postgres.folder[0]) {
                (void) atexit(stop_servers);
                mam_test_postgres_init(&postgres);
        }
        if (postgres.pid <= 0)
                mam_test_postgres_start(&postgres);
        return &postgres;
}

MamTestServer *test_redis(void) {
        if (!redis.folder[0]) {
                (void) atexit(stop_servers);
                mam_test_server_init(&redis);
        }
        if (redis.pid <= 0)
                mam_test_redis_start(&redis, NULL);
        return &redis;
}

static void conninfo_of(char ret[static 160]) {
        (void) snprintf(ret, 160, "host=%s dbname=postgres user=postgres", test_postgres()->folder);
}

static void on_appended_hook(const char *topic, int64_t last, void *userdata) {
        Fixture *f = userdata;

        f->n_hook++;
        f->hook_last = last;
        (void) snprintf(f->hook_topic, sizeof(f->hook_topic), "%s", topic);
}

static void on_topics_changed_hook(void *userdata) {
        ((Fixture *) userdata)->n_changed++;
}

static void on_migrated(int error, const char *message, void *userdata) {
        if (error < 0)
                fprintf(stderr, "# %s\n", message);
        ASSERT_EQ(error, 0);
        *(bool *) userdata = true;
}

static void fixture_open(Fixture *f) {
        const MamPgOptions options = { .schema = "event_bus",
                                       .statement_timeout_usec = 5 * MAM_USEC_PER_SEC };
        const LogHooks hooks = { on_appended_hook, on_topics_changed_hook, f };
        char conninfo[160];
        bool migrated = false;

        conninfo_of(conninfo);
        f->sql = PQconnectdb(conninfo);
        ASSERT_EQ(PQstatus(f->sql), CONNECTION_OK);
        sql(f, "SET client_min_messages = error");
        sql(f, "DROP SCHEMA IF EXISTS event_bus CASCADE");
        sql(f, "SET search_path = event_bus");

        ASSERT_OK(mam_pg_new(&f->pg, f->event, conninfo, &options));
        /* what other rooms have is not needed here */
        ASSERT_OK(mam_pg_migrate(f->pg, "event_bus", event_bus_migrations, 1, on_migrated, &migrated));
        RUN_UNTIL(f, migrated);
        ASSERT_OK(log_new(&f->log, f->event, f->pg, f->redis, &hooks));
}

void fixture_setup(Fixture *f) {
        *f = (Fixture){ 0 };
        ASSERT_OK(sd_event_new(&f->event));
        fixture_open(f);
}

void fixture_setup_redis(Fixture *f) {
        char address[96];

        *f = (Fixture){ 0 };
        ASSERT_OK(sd_event_new(&f->event));
        (void) snprintf(address, sizeof(address), "%s/redis.sock", test_redis()->folder);
        ASSERT_OK(
                        mam_redis_new(&f->redis,
                                      f->event,
                                      address,
                                      &(MamRedisOptions){ .timeout_usec = 10 * MAM_USEC_PER_SEC }));
        RUN_UNTIL(f, mam_redis_is_connected(f->redis));
        fixture_open(f);
}

void fixture_another(Fixture *f, uint64_t timeout_usec, MamPg **ret_pg, Log **ret) {
        const MamPgOptions options = {
                .schema = "event_bus",
                .statement_timeout_usec = timeout_usec ?: 5 * MAM_USEC_PER_SEC,
        };
        char conninfo[160];

        conninfo_of(conninfo);
        ASSERT_OK(mam_pg_new(ret_pg, f->event, conninfo, &options));
        ASSERT_OK(log_new(ret, f->event, *ret_pg, f->redis, NULL));
}

void fixture_teardown(Fixture *f) {
        log_free(f->log);
        mam_pg_free(f->pg);
        mam_redis_free(f->redis);
        PQfinish(f->sql);
        sd_event_unref(f->event);
}

void sql(Fixture *f, const char *statement) {
        PGresult *result = PQexec(f->sql, statement);

        if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
                mam_test_fail_string(__FILE__, __LINE__, statement, PQresultErrorMessage(result));
        PQclear(result);
}

int64_t sql_number(Fixture *f, const char *statement) {
        PGresult *result = PQexec(f->sql, statement);
        int64_t value;

        if (PQresultStatus(result) != PGRES_TUPLES_OK)
                mam_test_fail_string(__FILE__, __LINE__, statement, PQresultErrorMessage(result));
        ASSERT_EQ(PQntuples(result), 1);
        value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
        PQclear(result);
        return value;
}

void on_topic(int r, const TopicInfo *topic, void *userdata) {
        Answer *a = userdata;

        a->n++;
        a->r = r;
        a->has_info = topic;
        if (!topic)
                return;
        a->info = *topic;
        a->n_listed++;
        (void) strncat(a->names, topic->name, sizeof(a->names) - strlen(a->names) - 1);
        (void) strncat(a->names, " ", sizeof(a->names) - strlen(a->names) - 1);
}

void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Answer *a = userdata;

        a->n++;
        a->r = r;
        a->at = at;
        a->n_appended = n;
        if (n > 0)
                memcpy(a->appended, appended, n * sizeof(*appended));
}

void on_snapshot(int r, int64_t version, const char *text, void *userdata) {
        Answer *a = userdata;

        a->n++;
        a->r = r;
        a->value = version;
        (void) snprintf(a->text, sizeof(a->text), "%s", text ?: "");
}

void topic_make(Fixture *f, const char *name, const TopicSettings *s) {
        static const TopicSettings defaults = { 0 };
        Answer *a = calloc(1, sizeof(*a));

        ASSERT_TRUE(a);
        ASSERT_OK(log_topic_create(f->log, NULL, name, s ?: &defaults, on_topic, a));
        RUN_UNTIL(f, a->n == 1);
        ASSERT_EQ(a->r, 0);
        ASSERT_STREQ(a->info.name, name);
        free(a);
}

LogEntry entry_of(const char *id, const char *stream, int64_t expected) {
        return (LogEntry){
                .key = "key",
                .id = id,
                .source = "/test",
                .type = "test",
                .stream = stream,
                .expected_version = expected,
                .text = "{\"specversion\":\"1.0\",\"data\":\"\\\"quoted\\\" \xc3\xa4\"}",
                .size = strlen("{\"specversion\":\"1.0\",\"data\":\"\\\"quoted\\\" \xc3\xa4\"}"),
        };
}

Answer *append_all(Fixture *f, Answer *a, const char *topic, const LogEntry *entries, size_t n) {
        unsigned before = a->n;

        ASSERT_OK(log_append(f->log, NULL, topic, entries, n, on_appended, a));
        RUN_UNTIL(f, a->n == before + 1);
        return a;
}

Answer *append_one(Fixture *f, Answer *a, const char *topic, const char *id) {
        const LogEntry e = entry_of(id, NULL, LOG_VERSION_ANY);

        return append_all(f, a, topic, &e, 1);
}
