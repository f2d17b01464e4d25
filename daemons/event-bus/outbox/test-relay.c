/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The outbox on a real PostgreSQL: who may do what, what arrives, in which order, and what happens meanwhile
 */

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include <libpq-fe.h>

#include "event-bus/migrations.h"
#include "event-bus/outbox/relay.h"
#include "libmam/db/test-server.h"
#include "libmam/events/events.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define WRITERS 6U
#define KEYS    5U

typedef struct Fixture {
        sd_event *event;
        MamPg *pg;
        Log *log;
        Relay *relay;
        PGconn *sql;
        unsigned n_appended;
} Fixture;

static MamTestServer postgres;

#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 90 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_OK(sd_event_run((f)->event, 50 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                }                                                                    \
        } while (0)

static void stop_postgres(void) {
        mam_test_server_done(&postgres);
}

static const char *conninfo(void) {
        static char text[160];

        if (!postgres.folder[0]) {
                (void) atexit(stop_postgres);
                mam_test_postgres_init(&postgres);
        }
        if (postgres.pid <= 0)
                mam_test_postgres_start(&postgres);
        (void) snprintf(text, sizeof(text), "host=%s dbname=postgres user=postgres", postgres.folder);
        return text;
}

static PGconn *connect_as(const char *more) {
        char text[256];
        PGconn *c;

        (void) snprintf(text, sizeof(text), "%s %s", conninfo(), more);
        c = PQconnectdb(text);
        if (PQstatus(c) != CONNECTION_OK)
                mam_test_fail_string(__FILE__, __LINE__, "connect", PQerrorMessage(c));
        PQclear(PQexec(c, "SET client_min_messages = error"));
        return c;
}

static void run(PGconn *c, const char *statement) {
        PGresult *result = PQexec(c, statement);

        if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
                mam_test_fail_string(__FILE__, __LINE__, statement, PQresultErrorMessage(result));
        PQclear(result);
}

/* What the server says against it. */
static void fails_with(PGconn *c, const char *statement, const char *sqlstate) {
        PGresult *result = PQexec(c, statement);

        ASSERT_EQ(PQresultStatus(result), PGRES_FATAL_ERROR);
        if (strcmp(PQresultErrorField(result, PG_DIAG_SQLSTATE), sqlstate) != 0)
                mam_test_fail_string(__FILE__, __LINE__, sqlstate, PQresultErrorMessage(result));
        PQclear(result);
}

static char *text_of(PGconn *c, const char *statement) {
        PGresult *result = PQexec(c, statement);
        char *text;

        if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
                mam_test_fail_string(__FILE__, __LINE__, statement, PQresultErrorMessage(result));
        text = strdup(PQgetvalue(result, 0, 0));
        ASSERT_TRUE(text);
        PQclear(result);
        return text;
}

static int64_t number_of(PGconn *c, const char *statement) {
        _cleanup_(mam_freep) char *text = text_of(c, statement);

        return strtoll(text, NULL, 10);
}

static void on_appended(const char *topic, int64_t last, void *userdata) {
        ((Fixture *) userdata)->n_appended++;
}

static void on_migrated(int error, const char *message, void *userdata) {
        if (error < 0)
                mam_test_fail_string(__FILE__, __LINE__, "migrate", message);
        *(bool *) userdata = true;
}

static const MamPgOptions options = { .schema = "event_bus",
                                      .statement_timeout_usec = 20 * MAM_USEC_PER_SEC };

static void fixture_setup(Fixture *f) {
        const LogHooks hooks = { .on_appended = on_appended, .userdata = f };
        bool migrated = false;

        *f = (Fixture){ 0 };
        ASSERT_OK(sd_event_new(&f->event));
        f->sql = connect_as("");
        run(f->sql, "DROP SCHEMA IF EXISTS event_bus CASCADE");
        ASSERT_OK(mam_pg_new(&f->pg, f->event, conninfo(), &options));
        ASSERT_OK(
                        mam_pg_migrate(f->pg,
                                       "event_bus",
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       &migrated));
        RUN_UNTIL(f, migrated);
        run(f->sql, "SET search_path = event_bus");
        ASSERT_OK(log_new(&f->log, f->event, f->pg, NULL, &hooks));
}

static void fixture_teardown(Fixture *f) {
        relay_free(f->relay);
        log_free(f->log);
        mam_pg_free(f->pg);
        PQfinish(f->sql);
        sd_event_unref(f->event);
}

static void start_relay(Fixture *f) {
        ASSERT_OK(relay_new(&f->relay, f->event, f->pg, f->log, NULL));
}

#define EVENT(id) \
        "'{\"specversion\":\"1.0\",\"id\":\"" id "\",\"source\":\"/test\",\"type\":\"t\",\"data\":{}}'"

/* Every event of a topic, in order of positions. */
#define READ_TOPIC(name) \
        "read_events((SELECT id FROM topics WHERE name = '" name "'), 1, false, 1000, 10000000, NULL)"

static int64_t last_of(Fixture *f, const char *topic) {
        char statement[256];

        (void) snprintf(statement,
                        sizeof(statement),
                        "SELECT coalesce((SELECT h.last FROM heads h JOIN topics t ON t.id = h.topic WHERE t.name = '%s'), 0)",
                        topic);
        return number_of(f->sql, statement);
}

static void reset_role(PGconn *c, const char *role) {
        char statement[256];

        (void) snprintf(statement,
                        sizeof(statement),
                        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%s') THEN CREATE ROLE %s LOGIN; "
                        "END IF; END $$; GRANT USAGE ON SCHEMA event_bus TO %s",
                        role,
                        role,
                        role);
        run(c, statement);
}

TEST(a_service_may_publish_and_nothing_else) {
        _cleanup_(mam_freep) char *publisher = NULL, *functions = NULL;
        PGconn *c;
        Fixture f;

        fixture_setup(&f);
        reset_role(f.sql, "shop");
        c = connect_as("user=shop");
        run(c, "SELECT event_bus.publish('orders', " EVENT("1") ")");
        publisher = text_of(f.sql, "SELECT publisher FROM outbox");
        ASSERT_STREQ(publisher, "shop");

        fails_with(c, "SELECT * FROM event_bus.outbox", "42501");
        fails_with(c,
                   "INSERT INTO event_bus.outbox (transaction, written_at, publisher, topic, event) "
                   "VALUES (pg_current_xact_id(), now(), 'x', 'y', 'z')",
                   "42501");
        fails_with(c, "SELECT nextval('event_bus.outbox_number_seq')", "42501");
        fails_with(c, "SELECT * FROM event_bus.topics", "42501");
        fails_with(c, "SELECT event_bus.outbox_read(0, '{}', '{}', '{}', 1, 1)", "42501");
        fails_with(c, "SELECT event_bus.append_rows('orders', '{}', '{}', '{}', '{}')", "42501");
        fails_with(c, "CREATE TABLE event_bus.mine (a int)", "42501");
        functions = text_of(
                        f.sql,
                        "SELECT string_agg(p.proname, ' ') FROM pg_proc p WHERE p.pronamespace = 'event_bus'::regnamespace "
                        "AND has_function_privilege('shop', p.oid, 'EXECUTE')");
        ASSERT_STREQ(functions, "publish");
        PQfinish(c);
        fixture_teardown(&f);
}

/* What a caller makes is not found by a function that has other rights than he. */
TEST(nothing_of_the_caller_is_used) {
        PGconn *c;
        Fixture f;

        fixture_setup(&f);
        reset_role(f.sql, "shop");
        c = connect_as("user=shop");
        run(c,
            "CREATE TEMPORARY TABLE outbox (transaction xid8, written_at timestamptz, publisher name, topic text, event text)");
        run(c, "CREATE FUNCTION pg_temp.octet_length(text) RETURNS integer LANGUAGE sql AS 'SELECT 1'");
        run(c, "SET search_path = pg_temp, pg_catalog");
        run(c, "SELECT event_bus.publish('orders', " EVENT("1") ")");
        ASSERT_EQ(number_of(c, "SELECT count(*) FROM pg_temp.outbox"), 0);
        ASSERT_EQ(number_of(f.sql, "SELECT count(*) FROM outbox"), 1);
        fails_with(c, "SELECT event_bus.publish('orders', '\"' || repeat('x', 300000) || '\"')", "22023");
        PQfinish(c);
        fixture_teardown(&f);
}

TEST(what_cannot_be_an_event_is_refused_at_once) {
        Fixture f;

        fixture_setup(&f);
        fails_with(f.sql, "SELECT publish(NULL, " EVENT("1") ")", "22023");
        fails_with(f.sql, "SELECT publish('', " EVENT("1") ")", "22023");
        fails_with(f.sql, "SELECT publish('Orders', " EVENT("1") ")", "22023");
        fails_with(f.sql, "SELECT publish('orders.', " EVENT("1") ")", "22023");
        fails_with(f.sql, "SELECT publish(E'orders\\nx', " EVENT("1") ")", "22023");
        fails_with(f.sql, "SELECT publish(repeat('o', 129), " EVENT("1") ")", "22023");
        run(f.sql, "SELECT publish(repeat('o', 128), " EVENT("1") ")");
        fails_with(f.sql, "SELECT publish('orders', NULL)", "22023");
        fails_with(f.sql, "SELECT publish('orders', '')", "22023");
        fails_with(f.sql, "SELECT publish('orders', '[]')", "22023");
        fails_with(f.sql, "SELECT publish('orders', '{\"a\":')", "22P02");
        fails_with(f.sql, "SELECT publish('orders', '{\"a\":\"' || repeat('x', 262144) || '\"}')", "22023");
        run(f.sql, "SELECT publish('orders', '{\"a\":\"' || repeat('x', 262136) || '\"}')");
        fixture_teardown(&f);
}

TEST(what_commits_arrives_and_what_rolls_back_does_not) {
        Fixture f;

        fixture_setup(&f);
        start_relay(&f);
        run(f.sql, "BEGIN");
        run(f.sql, "SELECT publish('orders', " EVENT("gone") ")");
        run(f.sql, "ROLLBACK");
        run(f.sql, "SELECT publish('orders', " EVENT("1") ")");
        run(f.sql, "SELECT publish('other.topic', " EVENT("1") ")");
        run(f.sql, "SELECT publish('orders', " EVENT("2") ")");
        run(f.sql, "SELECT publish('orders', " EVENT("1") ")"); /* twice */
        RUN_UNTIL(&f, relay_figures(f.relay).relayed == 4);
        ASSERT_EQ(number_of(f.sql, "SELECT count(*) FROM outbox"), 0);
        ASSERT_EQ(last_of(&f, "orders"), 2);
        ASSERT_EQ(last_of(&f, "other.topic"), 1);
        ASSERT_TRUE(f.n_appended >= 2);
        ASSERT_EQ(relay_figures(f.relay).waiting, 0);
        ASSERT_EQ(relay_figures(f.relay).rejected, 0);
        fixture_teardown(&f);
}

static void on_published(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        ASSERT_EQ(error, 0);
        *(bool *) userdata = true;
}

TEST(libmam_publishes_with_other_statements_of_a_transaction) {
        static const MamPgStatement insert = { .name = "test-insert",
                                               .sql = "INSERT INTO things VALUES ($1)" };
        const char *const parameters[] = { "thing" };
        const MamEventDraft draft = { .source = "/things",
                                      .type = "made",
                                      .data = "{\"a\":1}",
                                      .data_size = 7 };
        MamEvent *e = NULL;
        MamPublication p;
        bool done = false;
        Fixture f;

        fixture_setup(&f);
        run(f.sql, "CREATE TABLE things (name text)");
        start_relay(&f);
        ASSERT_OK(mam_event_new(&e, &draft, NULL));
        p = mam_event_publish("things", e);
        ASSERT_OK(
                        mam_pg_run(f.pg,
                                   NULL,
                                   (const MamPgStep[]){ { &insert, parameters, 1 },
                                                        { p.statement, p.parameters, p.n_parameters } },
                                   2,
                                   on_published,
                                   &done));
        mam_event_free(e);
        RUN_UNTIL(&f, done);
        mam_event_wake(NULL);
        RUN_UNTIL(&f, relay_figures(f.relay).relayed == 1);
        ASSERT_EQ(last_of(&f, "things"), 1);
        ASSERT_EQ(number_of(f.sql, "SELECT count(*) FROM things"), 1);
        fixture_teardown(&f);
}

TEST(what_does_not_fit_its_topic_is_kept_with_the_reason) {
        _cleanup_(mam_freep) char *reasons = NULL;
        Fixture f;

        fixture_setup(&f);
        run(f.sql,
            "SELECT topic_create('small', 'durable', 604800000000, 0, 0, false, false, 'none', 0, 100)");
        run(f.sql,
            "SELECT topic_create('fast', 'volatile', 604800000000, 0, 0, false, false, 'none', 0, 1000)");
        run(f.sql, "SELECT publish('orders', '{\"specversion\":\"1.0\",\"id\":\"1\"}')");
        run(f.sql, "SELECT publish('fast', " EVENT("1") ")");
        run(f.sql,
            "SELECT publish('small', '{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/test\",\"type\":\"t\",\"data\":\"' || repeat('x', 100) || '\"}')");
        run(f.sql, "SELECT publish('small', " EVENT("1") ")");
        start_relay(&f);
        RUN_UNTIL(&f, relay_figures(f.relay).relayed == 1);
        ASSERT_EQ(relay_figures(f.relay).rejected, 3);
        ASSERT_EQ(last_of(&f, "small"), 1);
        ASSERT_EQ(number_of(f.sql, "SELECT count(*) FROM outbox"), 0);
        reasons = text_of(
                        f.sql,
                        "SELECT string_agg(publisher || ' ' || topic || ': ' || reason, E'\\n' ORDER BY number) FROM outbox_rejected");
        ASSERT_TRUE(strstr(reasons, "postgres orders: not a CloudEvent: "));
        ASSERT_TRUE(strstr(reasons, "postgres fast: topic fast is volatile, which the outbox is not for"));
        ASSERT_TRUE(strstr(reasons, " bytes, of which topic small takes 100 at most"));
        fixture_teardown(&f);
}

static void on_schema(
                int r,
                const SchemaInfo *info,
                bool is_new,
                const MamJsonError *error,
                void *userdata) {
        ASSERT_EQ(r, 0);
        *(bool *) userdata = true;
}

TEST(schemas_are_checked_before_it_is_moved) {
        _cleanup_(json_object_putp) json_object *schema = NULL;
        static const char text[] = "{\"type\":\"object\",\"required\":[\"a\"]}";
        _cleanup_(mam_freep) char *reasons = NULL;
        SchemaRegistry *schemas = NULL;
        bool put = false;
        Fixture f;

        fixture_setup(&f);
        run(f.sql,
            "SELECT topic_create('strict', 'durable', 604800000000, 0, 0, false, false, 'require', 0, 10000)");
        run(f.sql, "SELECT publish('strict', " EVENT("1") ")");
        run(f.sql,
            "SELECT publish('strict', '{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/test\",\"type\":\"t\",\"data\":{\"a\":1}}')");
        run(f.sql,
            "SELECT publish('strict', '{\"specversion\":\"1.0\",\"id\":\"3\",\"source\":\"/test\",\"type\":\"other\",\"data\":{\"a\":1}}')");
        ASSERT_OK(schema_registry_new(&schemas, f.event, f.pg, NULL, NULL));
        ASSERT_OK(mam_json_parse(&schema, text, strlen(text), NULL));
        ASSERT_OK(schema_registry_put(schemas, NULL, "t", schema, NULL, on_schema, &put));
        RUN_UNTIL(&f, put);
        ASSERT_OK(relay_new(&f.relay, f.event, f.pg, f.log, schemas));
        RUN_UNTIL(&f, relay_figures(f.relay).relayed == 1);
        ASSERT_EQ(relay_figures(f.relay).rejected, 2);
        ASSERT_EQ(last_of(&f, "strict"), 1);
        reasons = text_of(f.sql, "SELECT string_agg(reason, E'\\n' ORDER BY number) FROM outbox_rejected");
        ASSERT_TRUE(strstr(reasons, "does not fit its schema: /data"));
        ASSERT_TRUE(strstr(reasons, "topic strict requires a schema, and there is none for it"));
        f.relay = relay_free(f.relay);
        schema_registry_free(schemas);
        fixture_teardown(&f);
}

TEST(an_idle_transaction_holds_up_nobody_else_and_is_named) {
        PGconn *idle;
        RelayFigures figures;
        Fixture f;

        fixture_setup(&f);
        start_relay(&f);
        idle = connect_as("application_name=sleepy");
        run(idle, "BEGIN");
        run(idle, "SELECT event_bus.publish('orders', " EVENT("late") ")");
        for (unsigned i = 1; i <= 40; i++) {
                char statement[200];

                (void) snprintf(statement,
                                sizeof(statement),
                                "SELECT publish('orders', '{\"specversion\":\"1.0\",\"id\":\"%u\",\"source\":\"/test\",\"type\":\"t\"}')",
                                i);
                run(f.sql, statement);
                RUN_UNTIL(&f, relay_figures(f.relay).relayed == i);
        }
        ASSERT_EQ(last_of(&f, "orders"), 40);
        RUN_UNTIL(&f, relay_figures(f.relay).held_usec > 0);
        figures = relay_figures(f.relay);
        ASSERT_TRUE(figures.held_usec > MAM_USEC_PER_SEC);
        ASSERT_TRUE(strstr(figures.holder, "role postgres, application sleepy, pid "));
        ASSERT_TRUE(strstr(figures.holder, ", idle in transaction"));

        run(idle, "COMMIT");
        RUN_UNTIL(&f, relay_figures(f.relay).relayed == 41); /* although its number is the lowest */
        ASSERT_EQ(last_of(&f, "orders"), 41);
        RUN_UNTIL(&f, relay_figures(f.relay).held_usec == 0);
        PQfinish(idle);
        fixture_teardown(&f);
}

/* ---- order ---- */

typedef struct Writer {
        pthread_t thread;
        unsigned number, transactions;
        bool is_slow;           /* keeps its transactions open for a while */
        bool survives;          /* the server may go away */
        atomic_uint *committed; /* by key: the highest that was acknowledged */
        atomic_uint *go_on;     /* how many transactions all have made */
        atomic_bool is_done;
        char info[192];
} Writer;

static bool try(PGconn *c, const char *statement, char *ret, size_t size) {
        PGresult *result = PQexec(c, statement);
        bool good = PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK;

        if (good && ret)
                (void) snprintf(ret, size, "%s", PQgetvalue(result, 0, 0));
        PQclear(result);
        return good;
}

/* A change of a row, and an event that tells its new value; order is who had the row first. */
static bool transact(Writer *w, PGconn *c, uint32_t *seed) {
        unsigned key, value, waiting = atomic_load(w->go_on);
        char statement[400], text[32];

        *seed = *seed * 1664525U + 1013904223U;
        key = w->is_slow ? KEYS - 1 : (*seed >> 8) % KEYS;
        (void) snprintf(statement,
                        sizeof(statement),
                        "UPDATE things SET value = value + 1 WHERE key = %u RETURNING value",
                        key);
        if (!try(c, "BEGIN", NULL, 0) || !try(c, statement, text, sizeof(text)))
                return false;
        value = (unsigned) strtoul(text, NULL, 10);
        (void) snprintf(statement,
                        sizeof(statement),
                        "SELECT publish('things.%u', '{\"specversion\":\"1.0\",\"id\":\"%u-%u\",\"source\":\"/test\",\"type\":\"t\","
                        "\"partitionkey\":\"%u\",\"data\":%u}')",
                        key % 2,
                        key,
                        value,
                        key,
                        value);
        if (!try(c, statement, NULL, 0))
                return false;
        /* the others make some hundred transactions meanwhile, if they can */
        for (unsigned i = 0; w->is_slow && i < 2000 && atomic_load(w->go_on) < waiting + 60; i++)
                (void) try(c, "SELECT pg_sleep(0.001)", NULL, 0);
        if ((*seed >> 16) % 10 == 0)
                return try(c, "ROLLBACK", NULL, 0);
        if (!try(c, "COMMIT", NULL, 0))
                return false;
        for (unsigned old = atomic_load(w->committed + key); old < value;) {
                if (atomic_compare_exchange_weak(w->committed + key, &old, value))
                        break;
        }
        return true;
}

static void *write_events(void *userdata) {
        uint32_t seed = 7;
        PGconn *c = NULL;
        Writer *w = userdata;

        seed += w->number * 1000;
        for (unsigned i = 0; i < w->transactions;) {
                if (!c || PQstatus(c) != CONNECTION_OK) {
                        PQfinish(c);
                        c = PQconnectdb(w->info);
                        (void) try(c, "SET search_path = event_bus", NULL, 0);
                }
                if (transact(w, c, &seed)) {
                        i++;
                        (void) atomic_fetch_add(w->go_on, 1);
                } else
                        ASSERT_TRUE(w->survives);
        }
        PQfinish(c);
        atomic_store(&w->is_done, true);
        return NULL;
}

typedef struct Writers {
        Writer writers[WRITERS];
        atomic_uint committed[KEYS], go_on;
} Writers;

static void writers_start(Fixture *f, Writers *ws, unsigned transactions, bool survive) {
        run(f->sql, "CREATE TABLE things (key integer PRIMARY KEY, value integer)");
        run(f->sql, "INSERT INTO things SELECT generate_series(0, 4), 0");
        for (unsigned i = 0; i < WRITERS; i++) {
                Writer *w = ws->writers + i;

                *w = (Writer){
                        .number = i,
                        .transactions = i == 0 ? 3 : transactions,
                        .is_slow = i == 0,
                        .survives = survive,
                        .committed = ws->committed,
                        .go_on = &ws->go_on,
                };
                (void) snprintf(w->info, sizeof(w->info), "%s", conninfo());
                ASSERT_EQ(pthread_create(&w->thread, NULL, write_events, w), 0);
        }
}

static bool writers_are_done(const Writers *ws) {
        for (unsigned i = 0; i < WRITERS; i++) {
                if (!atomic_load(&ws->writers[i].is_done))
                        return false;
        }
        return true;
}

static void writers_join(Writers *ws) {
        for (unsigned i = 0; i < WRITERS; i++)
                ASSERT_EQ(pthread_join(ws->writers[i].thread, NULL), 0);
}

/* Each key's values are 1, 2, 3 …, up to what its row says: none is missing, doubled, or before its time. */
static void check_order(Fixture *f, Writers *ws) {
        char statement[800];

        for (unsigned key = 0; key < KEYS; key++) {
                int64_t value;

                (void) snprintf(statement,
                                sizeof(statement),
                                "SELECT value FROM things WHERE key = %u",
                                key);
                value = number_of(f->sql, statement);
                ASSERT_TRUE(value >= atomic_load(ws->committed + key));
                (void) snprintf(statement,
                                sizeof(statement),
                                "SELECT count(*) FROM (SELECT (event::json->>'data')::integer AS value, row_number() OVER (ORDER BY position) AS n "
                                "FROM topics t CROSS JOIN LATERAL (SELECT * FROM all_events(t.id)) e WHERE t.name = 'things.%u' AND e.key = '%u') x "
                                "WHERE x.value = x.n",
                                key % 2,
                                key);
                ASSERT_EQ(number_of(f->sql, statement), value);
                (void) snprintf(statement,
                                sizeof(statement),
                                "SELECT count(*) FROM topics t CROSS JOIN LATERAL (SELECT * FROM all_events(t.id)) e WHERE t.name = 'things.%u' AND e.key = '%u'",
                                key % 2,
                                key);
                ASSERT_EQ(number_of(f->sql, statement), value);
        }
}

/* All segments of a topic, as a page of read_events() ends with one. */
static void make_all_events(Fixture *f) {
        run(f->sql,
            "CREATE FUNCTION all_events(topic_id bigint) RETURNS TABLE (\"position\" bigint, key text, event text) LANGUAGE plpgsql AS $$ "
            "DECLARE at bigint := 1; n integer; BEGIN LOOP "
            "RETURN QUERY SELECT e.position, e.key, e.event FROM read_events(topic_id, at, false, 1000, 100000000, NULL) e WHERE e.position > 0; "
            "GET DIAGNOSTICS n = ROW_COUNT; EXIT WHEN n = 0; "
            "SELECT max(e.position) + 1 INTO at FROM read_events(topic_id, at, false, 1000, 100000000, NULL) e; END LOOP; END $$");
}

TEST(order_per_key_is_that_of_commits_whoever_idles_meanwhile) {
        static Writers ws;
        PGconn *idle;
        Fixture f;

        memset(&ws, 0, sizeof(ws));
        fixture_setup(&f);
        make_all_events(&f);
        start_relay(&f);
        idle = connect_as("");
        run(idle, "BEGIN");
        run(idle, "SELECT event_bus.publish('idle', " EVENT("late") ")");
        writers_start(&f, &ws, 80, false);
        RUN_UNTIL(&f, writers_are_done(&ws));
        writers_join(&ws);
        RUN_UNTIL(&f, number_of(f.sql, "SELECT count(*) FROM outbox") == 0);
        check_order(&f, &ws);
        ASSERT_EQ(last_of(&f, "idle"), 0);
        run(idle, "COMMIT");
        RUN_UNTIL(&f, last_of(&f, "idle") == 1);
        PQfinish(idle);
        fixture_teardown(&f);
}

TEST(several_relays_move_each_event_once_and_one_takes_over) {
        static Writers ws;
        Relay *other = NULL;
        MamPg *pg = NULL;
        Log *log = NULL;
        uint64_t relayed;
        Fixture f;

        memset(&ws, 0, sizeof(ws));
        fixture_setup(&f);
        make_all_events(&f);
        start_relay(&f);
        ASSERT_OK(mam_pg_new(&pg, f.event, conninfo(), &options));
        ASSERT_OK(log_new(&log, f.event, pg, NULL, NULL));
        ASSERT_OK(relay_new(&other, f.event, pg, log, NULL));
        writers_start(&f, &ws, 70, false);
        RUN_UNTIL(&f, relay_figures(f.relay).relayed + relay_figures(other).relayed > 100);
        relay_wake(f.relay);
        relay_wake(other);
        RUN_UNTIL(&f, writers_are_done(&ws));
        writers_join(&ws);
        RUN_UNTIL(&f, number_of(f.sql, "SELECT count(*) FROM outbox") == 0);
        check_order(&f, &ws);

        /* the one that moves goes away */
        f.relay = relay_free(f.relay);
        relayed = relay_figures(other).relayed;
        run(f.sql, "SELECT publish('orders', " EVENT("1") ")");
        RUN_UNTIL(&f, relay_figures(other).relayed == relayed + 1);
        ASSERT_EQ(last_of(&f, "orders"), 1);

        relay_free(other);
        log_free(log);
        mam_pg_free(pg);
        fixture_teardown(&f);
}

TEST(nothing_is_lost_or_doubled_when_the_server_is_killed) {
        static Writers ws;
        Fixture f;

        memset(&ws, 0, sizeof(ws));
        fixture_setup(&f);
        make_all_events(&f);
        start_relay(&f);
        writers_start(&f, &ws, 80, true);
        for (unsigned i = 1; i <= 3; i++) {
                uint64_t relayed = relay_figures(f.relay).relayed;

                RUN_UNTIL(&f, relay_figures(f.relay).relayed > relayed + 20 || writers_are_done(&ws));
                mam_test_server_kill(&postgres, SIGKILL);
                (void) conninfo();
        }
        RUN_UNTIL(&f, writers_are_done(&ws));
        writers_join(&ws);
        PQfinish(f.sql);
        f.sql = connect_as("");
        run(f.sql, "SET search_path = event_bus");
        RUN_UNTIL(&f, number_of(f.sql, "SELECT count(*) FROM outbox") == 0);
        check_order(&f, &ws);
        fixture_teardown(&f);
}

/* As long as somebody keeps vacuum from removing them, deleted rows cost a read nothing. */
TEST(reads_do_not_wade_through_what_was_deleted) {
        PGconn *idle;
        int64_t before, after;
        Fixture f;

        fixture_setup(&f);
        idle = connect_as("");
        run(idle, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        run(idle, "SELECT count(*) FROM event_bus.outbox");
        start_relay(&f);
        run(f.sql,
            "SELECT publish('orders', '{\"specversion\":\"1.0\",\"id\":\"' || i || '\",\"source\":\"/test\",\"type\":\"t\"}') "
            "FROM generate_series(1, 20000) i");
        RUN_UNTIL(&f, relay_figures(f.relay).relayed == 20000);
        ASSERT_EQ(last_of(&f, "orders"), 20000);

        /* what the index gives to one read: entries of dead rows are counted, too */
        run(f.sql, "SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()");
        before = number_of(
                        f.sql,
                        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_pkey'");
        for (unsigned i = 1; i <= 20; i++) {
                run(f.sql,
                    "SELECT publish('orders', '{\"specversion\":\"1.0\",\"id\":\"' || random() || '\",\"source\":\"/test\",\"type\":\"t\"}')");
                RUN_UNTIL(&f, relay_figures(f.relay).relayed == 20000 + i);
        }
        f.relay = relay_free(f.relay);
        f.log = log_free(f.log);
        f.pg = mam_pg_free(f.pg); /* ends its sessions, which tell their figures then */
        RUN_UNTIL(&f,
                  number_of(f.sql,
                            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%outbox_read%' AND pid <> pg_backend_pid()") ==
                                  0);
        run(f.sql, "SELECT pg_stat_clear_snapshot()");
        after = number_of(
                        f.sql,
                        "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_pkey'");
        /* of 20,000 rows that are deleted and still there: 20 reads and moves, and those of the first 20,000
         */
        ASSERT_TRUE(after - before < 20000 * 10);
        PQfinish(idle);
        fixture_teardown(&f);
}
