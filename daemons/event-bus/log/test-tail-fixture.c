/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For tests of following and keeping
 */

#include <signal.h>
#include <stdarg.h>

#include <libpq-fe.h>

#include "event-bus/log/test-tail-fixture.h"
#include "event-bus/migrations.h"

MamTestServer test_postgres, test_redis;

static void stop_servers(void) {
        mam_test_server_done(&test_postgres);
        mam_test_server_done(&test_redis);
}

static void start_servers(bool with_redis) {
        if (!test_postgres.folder[0]) {
                mam_test_postgres_init(&test_postgres);
                (void) atexit(stop_servers);
        }
        if (test_postgres.pid == 0)
                mam_test_postgres_start(&test_postgres);
        if (!with_redis)
                return;
        if (!test_redis.folder[0])
                mam_test_server_init(&test_redis);
        if (test_redis.pid == 0)
                mam_test_redis_start(&test_redis, NULL);
}

static void on_appended(const char *topic, int64_t last, void *userdata) {
        Replica *r = userdata;

        if (r->tail)
                tail_appended(r->tail, topic, last);
}

static void on_topics_changed(void *userdata) {
        Replica *r = userdata;

        if (r->tail)
                tail_tell(r->tail, "topics");
}

static void on_told(const char *word, void *userdata) {
        Replica *r = userdata;

        if (strcmp(word, "*") == 0) {
                r->n_star++;
                return;
        }
        r->n_told++;
        (void) snprintf(r->told, sizeof(r->told), "%s", word);
}

static void on_migrated(int error, const char *message, void *userdata) {
        bool *done = userdata;

        if (error < 0)
                mam_test_fail_string(__FILE__, __LINE__, "the schema is made", message);
        *done = true;
}

static void on_flushed(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        bool *done = userdata;

        ASSERT_EQ(error, 0);
        *done = true;
}

/* Nothing of another case's topics. */
static void redis_empty(Fixture *f, MamRedis *redis) {
        const char *const argv[] = { "FLUSHALL" };
        bool done = false;

        RUN_UNTIL(f, mam_redis_is_connected(redis));
        ASSERT_OK(mam_redis_command(redis, argv, NULL, 1, on_flushed, &done));
        RUN_UNTIL(f, done);
}

static void replica_open(Fixture *f, Replica *r, bool with_redis) {
        static const MamPgOptions options = { .size = 4, .schema = "event_bus" };
        const LogHooks hooks = { .on_appended = on_appended,
                                 .on_topics_changed = on_topics_changed,
                                 .userdata = r };
        MamRedis *listen = NULL;

        ASSERT_OK(mam_pg_new(&r->pg, f->event, f->conninfo, &options));
        if (with_redis) {
                ASSERT_OK(mam_redis_new(&r->redis, f->event, f->redis_path, NULL));
                redis_empty(f, r->redis);
                ASSERT_OK(mam_redis_new(&listen, f->event, f->redis_path, NULL));
        }
        ASSERT_OK(log_new(&r->log, f->event, r->pg, r->redis, &hooks));
        ASSERT_OK(tail_new(&r->tail, f->event, r->log, listen, r->redis));
        tail_set_on_told(r->tail, on_told, r);
        if (with_redis)
                RUN_UNTIL(f, r->n_star > 0 && mam_redis_is_connected(listen));
}

void fixture_open(Fixture *f, size_t n_replicas, bool with_redis) {
        bool migrated = false;

        *f = (Fixture){ .n_replicas = n_replicas };
        start_servers(with_redis);
        (void) snprintf(f->conninfo,
                        sizeof(f->conninfo),
                        "host=%s dbname=postgres user=postgres",
                        test_postgres.folder);
        (void) snprintf(f->redis_path, sizeof(f->redis_path), "%s/redis.sock", test_redis.folder);
        ASSERT_OK(sd_event_new(&f->event));

        (void) fixture_sql(f, NULL, 0, "DROP SCHEMA IF EXISTS event_bus CASCADE");
        ASSERT_TRUE(fixture_sql(f, NULL, 0, "CREATE SCHEMA event_bus"));
        for (size_t i = 0; i < n_replicas; i++)
                replica_open(f, f->replicas + i, with_redis);
        ASSERT_OK(
                        mam_pg_migrate(f->replicas[0].pg,
                                       "event_bus",
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       &migrated));
        RUN_UNTIL(f, migrated);
}

void fixture_close(Fixture *f) {
        for (size_t i = 0; i < f->n_replicas; i++) {
                Replica *r = f->replicas + i;

                r->tail = tail_free(r->tail);
                r->log = log_free(r->log);
                r->redis = mam_redis_free(r->redis);
                r->pg = mam_pg_free(r->pg);
        }
        f->event = sd_event_unref(f->event);
}

void fixture_restart_postgres(Fixture *f) {
        mam_test_server_kill(&test_postgres, SIGKILL);
        for (size_t i = 0; i < f->n_replicas; i++)
                RUN_UNTIL(f, !mam_pg_is_connected(f->replicas[i].pg));
        mam_test_postgres_start(&test_postgres);
}

bool fixture_sql(Fixture *f, char *ret, size_t size, const char *format, ...) {
        char sql[4096];
        PGconn *conn = PQconnectdb(f->conninfo);
        PGresult *result;
        bool works;
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(sql, sizeof(sql), format, ap);
        va_end(ap);

        ASSERT_EQ(PQstatus(conn), CONNECTION_OK);
        PQclear(PQexec(conn, "SET search_path = event_bus; SET client_min_messages = warning"));
        result = PQexec(conn, sql);
        works = PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK;
        if (!works)
                printf("# %s: %s", sql, PQerrorMessage(conn));
        if (works && ret)
                (void) snprintf(ret,
                                size,
                                "%s",
                                PQntuples(result) > 0 && PQnfields(result) > 0 ? PQgetvalue(result, 0, 0)
                                                                               : "");
        PQclear(result);
        PQfinish(conn);
        return works;
}

int64_t fixture_sql_int(Fixture *f, const char *format, ...) {
        char sql[2048], text[64];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(sql, sizeof(sql), format, ap);
        va_end(ap);
        ASSERT_TRUE(fixture_sql(f, text, sizeof(text), "%s", sql));
        return strtoll(text, NULL, 10);
}

static void on_topic(int r, const TopicInfo *topic, void *userdata) {
        Fixture *f = userdata;

        f->topic_error = r;
        f->topic_done = true;
}

void topic_make(Fixture *f, const char *name, const TopicSettings *settings) {
        static const TopicSettings defaults = { .kind = TOPIC_DURABLE };

        f->topic_done = false;
        ASSERT_OK(log_topic_create(f->replicas[0].log, NULL, name, settings ?: &defaults, on_topic, f));
        RUN_UNTIL(f, f->topic_done);
        ASSERT_EQ(f->topic_error, 0);
}

void topic_remove(Fixture *f, const char *name) {
        f->topic_done = false;
        ASSERT_OK(log_topic_delete(f->replicas[0].log, NULL, name, on_topic, f));
        RUN_UNTIL(f, f->topic_done);
        ASSERT_EQ(f->topic_error, 0);
}

/* Appending */

typedef struct Put {
        Fixture *f;
        size_t replica;
        char topic[64];
        unsigned first_number, n, keys;
        bool tombstone;
        sd_event_source *again; /* owned */
} Put;

static void put_begin(Put *p);

static int on_again(sd_event_source *s, uint64_t usec, void *userdata) {
        Put *p = userdata;

        p->again = sd_event_source_disable_unref(p->again);
        put_begin(p);
        return 0;
}

static void on_put(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Put *p = userdata;

        if (r == -ENOTCONN || r == -EAGAIN || r == -ECANCELED) {
                if (r == -ECANCELED && !p->f->replicas[p->replica].log) {
                        free(p);
                        return;
                }
                p->f->n_refused++;
                ASSERT_OK(sd_event_add_time_relative(
                                p->f->event,
                                &p->again,
                                CLOCK_MONOTONIC,
                                20 * MAM_USEC_PER_MSEC,
                                0,
                                on_again,
                                p));
                return;
        }

        ASSERT_EQ(r, 0);
        p->f->last = appended[n - 1].position;
        p->f->n_appending--;
        free(p);
}

static void put_begin(Put *p) {
        LogEntry *entries = calloc(p->n, sizeof(*entries));
        struct {
                char id[32], key[32], text[160];
        } *texts = calloc(p->n, sizeof(*texts));
        int r;

        ASSERT_TRUE(entries && texts);
        for (unsigned i = 0; i < p->n; i++) {
                unsigned number = p->first_number + i;

                (void) snprintf(texts[i].id, sizeof(texts[i].id), "%u%s", number, p->tombstone ? "t" : "");
                (void) snprintf(texts[i].key, sizeof(texts[i].key), "k%u", number % p->keys);
                (void) snprintf(texts[i].text,
                                sizeof(texts[i].text),
                                p->tombstone ? "{\"specversion\":\"1.0\",\"id\":\"%ut\",\"source\":\"/t\",\"type\":\"t\"}"
                                             : "{\"specversion\":\"1.0\",\"id\":\"%u\",\"source\":\"/t\",\"type\":\"t\","
                                               "\"data\":%u}",
                                number,
                                number);
                entries[i] = (LogEntry){ .key = texts[i].key,
                                         .id = texts[i].id,
                                         .source = "/t",
                                         .type = "t",
                                         .expected_version = LOG_VERSION_ANY,
                                         .text = texts[i].text,
                                         .size = strlen(texts[i].text) };
        }

        r = log_append(p->f->replicas[p->replica].log, NULL, p->topic, entries, p->n, on_put, p);
        free(entries);
        free(texts);
        if (r < 0)
                on_put(r, 0, NULL, 0, p);
}

static Put *put_new(
                Fixture *f,
                size_t replica,
                const char *topic,
                unsigned number,
                unsigned n,
                unsigned keys) {
        Put *p = calloc(1, sizeof(*p));

        ASSERT_TRUE(p);
        *p = (Put){ .f = f, .replica = replica, .first_number = number, .n = n, .keys = keys };
        (void) snprintf(p->topic, sizeof(p->topic), "%s", topic);
        f->n_appending++;
        return p;
}

void put(Fixture *f, size_t replica, const char *topic, unsigned first_number, unsigned n, unsigned keys) {
        put_begin(put_new(f, replica, topic, first_number, n, keys));
}

void put_tombstone(Fixture *f, const char *topic, unsigned number, unsigned keys) {
        Put *p = put_new(f, 0, topic, number, 1, keys);

        p->tombstone = true;
        put_begin(p);
}

unsigned number_of(const LogEvent *e) {
        const char *data = strstr(e->text, "\"data\":");

        ASSERT_EQ(e->size, strlen(e->text));
        return data ? (unsigned) strtoul(data + strlen("\"data\":"), NULL, 10) : UINT32_MAX;
}

/* Reading */

static void on_events(Follower *f, int r, const LogEvent *events, size_t n, int64_t first, void *userdata) {
        Reader *reader = userdata;

        reader->n_calls++;
        reader->n += (unsigned) n;
        if (n > reader->n_most)
                reader->n_most = (unsigned) n;
        if (r < 0) {
                reader->error = r;
                reader->first = first;
        }
        for (size_t i = 0; i < n; i++) {
                unsigned number = number_of(events + i);

                reader->disorder |= events[i].position <= reader->last;
                reader->last = events[i].position;
                if (number >= READER_NUMBERS)
                        continue;
                if (reader->seen[number]++)
                        reader->n_twice++;
                else
                        reader->n_seen++;
        }

        if (reader->free_in_callback) {
                reader->follower = follower_free(f);
                return;
        }
        if (r == -ERANGE && reader->seek)
                follower_seek(f, first - 1);
        if (reader->credit > 0 && n > 0)
                follower_want(f, (unsigned) n);
}

void reader_open(Reader *r, Fixture *f, size_t replica, const char *topic, int64_t after, unsigned credit) {
        *r = (Reader){ .credit = credit };
        r->seen = calloc(READER_NUMBERS, 1);
        ASSERT_TRUE(r->seen);
        ASSERT_OK(tail_follow(f->replicas[replica].tail, &r->follower, topic, after, on_events, r));
        if (credit > 0)
                follower_want(r->follower, credit);
}

void reader_close(Reader *r) {
        r->follower = follower_free(r->follower);
        free(MAM_TAKE(r->seen));
}
