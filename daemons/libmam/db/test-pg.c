/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pool against a real, private PostgreSQL
 */

#include <signal.h>
#include <sys/socket.h>

#include "libmam/db/pg-internal.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

static const MamPgStatement select_one = { "select_one", "SELECT $1::bigint + 1, $2::text", true };
static const MamPgStatement insert_item = { "insert_item",
                                            "INSERT INTO item (id, name) VALUES ($1::integer, $2)",
                                            false };
static const MamPgStatement upsert_item = {
        "upsert_item",
        "INSERT INTO item (id, name) VALUES ($1::integer, $2) ON CONFLICT (id) DO UPDATE SET name = $2",
        true,
};
static const MamPgStatement count_items = { "count_items", "SELECT count(*) FROM item", true };
static const MamPgStatement count_none = { "count_none", "SELECT 0", true };
static const MamPgStatement read_items = { "read_items", "SELECT * FROM item ORDER BY id", true };
static const MamPgStatement clear_items = { "clear_items", "DELETE FROM item", true };
static const MamPgStatement divide = { "divide", "SELECT 1 / $1::integer", true };
static const MamPgStatement missing = { "missing", "SELECT * FROM no_such_table", true };
static const MamPgStatement sleep_long = { "sleep_long", "SELECT pg_sleep($1::float)", false };
static const MamPgStatement sleep_again = { "sleep_again", "SELECT pg_sleep($1::float)", true };
static const MamPgStatement discard = { "discard", "DEALLOCATE ALL", false };
static const MamPgStatement add_column = { "add_column",
                                           "ALTER TABLE item ADD COLUMN extra integer",
                                           false };
static const MamPgStatement drop_column = { "drop_column",
                                            "ALTER TABLE item DROP COLUMN IF EXISTS extra",
                                            false };
static const MamPgStatement add_one = { "add_one",
                                        "UPDATE tally SET n = n + 1 WHERE id = $1::integer",
                                        false };
static const MamPgStatement read_tally = { "read_tally", "SELECT sum(n)::bigint FROM tally", true };
static const MamPgStatement serializable = { "serializable",
                                             "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                                             false };
static const MamPgStatement insert_child = { "insert_child",
                                             "INSERT INTO child (item) VALUES ($1::integer)",
                                             false };
static const MamPgStatement copy_out = { "copy_out", "COPY item TO STDOUT", true };

static const MamPgMigration migrations[] = {
        { 1,
          "items",
          "CREATE TABLE item (id integer PRIMARY KEY, name text NOT NULL); CREATE TABLE tally (id integer PRIMARY KEY, n bigint);" },
        { 2,
          "rows",
          "INSERT INTO tally SELECT g, 0 FROM generate_series(1, 2) g; "
          "CREATE TABLE child (item integer REFERENCES item DEFERRABLE INITIALLY DEFERRED)" },
};

static MamTestServer server;

static void stop_server(void) {
        mam_test_server_done(&server);
}

typedef struct Fixture {
        sd_event *event;
        MamPg *pg;
        char conninfo[160];
        unsigned n_done, n_ok, n_state;
        int error;
        int64_t value;
        char text[128], message[256];
        bool connected;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 15 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                }                                                                     \
        } while (0)

static void on_answer(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        f->error = error;
        (void) snprintf(f->message, sizeof(f->message), "%s", message ?: "");
        if (error < 0)
                return;
        f->n_ok++;
        f->value = mam_pg_int(result, 0, 0);
        (void) snprintf(f->text, sizeof(f->text), "%s", mam_pg_text(result, 0, 1));
}

static void on_migrated(int error, const char *message, void *userdata) {
        on_answer(NULL, NULL, error, message, userdata);
}

static void on_state(MamPg *pg, bool connected, const char *reason, void *userdata) {
        Fixture *f = userdata;

        f->n_state++;
        f->connected = connected;
}

static void fixture_open(Fixture *f, const MamPgOptions *options) {
        *f = (Fixture){ 0 };
        if (!server.folder[0]) {
                mam_test_postgres_init(&server);
                (void) atexit(stop_server);
        }
        if (!server.pid)
                mam_test_postgres_start(&server);

        (void) snprintf(f->conninfo,
                        sizeof(f->conninfo),
                        "host=%s dbname=postgres user=postgres",
                        server.folder);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_pg_new(&f->pg, f->event, f->conninfo, options));
        mam_pg_set_on_state(f->pg, on_state, f);
}

static void fixture_setup(Fixture *f, const MamPgOptions *options) {
        MamPgOptions o = options ? *options : (MamPgOptions){ 0 };

        o.schema = "test \"quoted\"";
        fixture_open(f, &o);
        ASSERT_OK(mam_pg_migrate(f->pg, o.schema, migrations, MAM_ELEMENTSOF(migrations), on_migrated, f));
        RUN_UNTIL(f, f->n_done == 1);
        ASSERT_EQ(f->error, 0);
        ASSERT_OK(mam_pg_query(f->pg, NULL, &clear_items, NULL, 0, NULL, NULL));
        ASSERT_OK(mam_pg_query(f->pg, NULL, &drop_column, NULL, 0, NULL, NULL));
        RUN_UNTIL(f, mam_pg_in_flight(f->pg) == 0);
        f->n_done = f->n_ok = 0;
}

static void fixture_done(Fixture *f) {
        f->pg = mam_pg_free(f->pg);
        f->event = sd_event_unref(f->event);
}

static void ask(Fixture *f, const MamPgStatement *statement, const char *a, const char *b) {
        const char *const parameters[] = { a, b };

        ASSERT_OK(mam_pg_query(f->pg, NULL, statement, parameters, b ? 2 : a ? 1 : 0, on_answer, f));
}

static void ask_and_wait(Fixture *f, const MamPgStatement *statement, const char *a, const char *b) {
        unsigned n = f->n_done;

        ask(f, statement, a, b);
        RUN_UNTIL(f, f->n_done > n);
}

TEST(answers_a_prepared_statement) {
        Fixture f;

        fixture_setup(&f, NULL);
        ask_and_wait(&f, &select_one, "41", "forty-two");
        ASSERT_EQ(f.error, 0);
        ASSERT_EQ(f.value, 42);
        ASSERT_STREQ(f.text, "forty-two");
        ask_and_wait(&f, &select_one, "-1", "again");
        ASSERT_STREQ(f.text, "again");
        fixture_done(&f);
}

TEST(refuses_a_bad_conninfo) {
        Fixture f = { 0 };

        ASSERT_OK(sd_event_new(&f.event));
        ASSERT_EQ(mam_pg_new(&f.pg, f.event, "host=/run no_such_key=1", NULL), -EINVAL);
        fixture_done(&f);
}

static void on_null(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        ASSERT_EQ(error, 0);
        ASSERT_EQ(mam_pg_rows(result), 1);
        ASSERT_TRUE(mam_pg_is_null(result, 0, 0));
        ASSERT_EQ(mam_pg_int(result, 0, 0), 0);
        ASSERT_STREQ(mam_pg_text(result, 0, 1), "");
        ASSERT_TRUE(mam_pg_is_null(result, 1, 0));
        ASSERT_TRUE(mam_pg_is_null(result, 0, 7));
}

TEST(null_goes_in_and_comes_out) {
        const char *const parameters[] = { NULL, NULL };
        Fixture f;

        fixture_setup(&f, NULL);
        ASSERT_OK(mam_pg_query(f.pg, NULL, &select_one, parameters, 2, on_null, &f));
        RUN_UNTIL(&f, f.n_done == 1);
        fixture_done(&f);
}

TEST(maps_errors_to_errnos) {
        static const MamPgOptions quick = { .statement_timeout_usec = 200 * MAM_USEC_PER_MSEC };
        Fixture f;

        fixture_setup(&f, &quick);
        ask_and_wait(&f, &insert_item, "1", "a");
        ASSERT_EQ(f.error, 0);
        ask_and_wait(&f, &insert_item, "1", "a");
        ASSERT_EQ(f.error, -EEXIST);
        ASSERT_TRUE(strstr(f.message, "item_pkey"));
        ask_and_wait(&f, &insert_item, "not a number", "a");
        ASSERT_EQ(f.error, -EINVAL);
        ask_and_wait(&f, &divide, "0", NULL);
        ASSERT_EQ(f.error, -EINVAL);
        ask_and_wait(&f, &insert_child, "99", NULL);
        ASSERT_EQ(f.error, -ENOENT);
        ask_and_wait(&f, &missing, NULL, NULL);
        ASSERT_EQ(f.error, -EIO);
        ASSERT_TRUE(strstr(f.message, "no_such_table"));
        ask_and_wait(&f, &sleep_long, "5", NULL);
        ASSERT_EQ(f.error, -ECANCELED);
        ask_and_wait(&f, &copy_out, NULL, NULL);
        ASSERT_EQ(f.error, -EIO);
        ask_and_wait(&f, &select_one, "1", "still works");
        ASSERT_EQ(f.error, 0);
        fixture_done(&f);
}

TEST(an_error_in_a_burst_hits_only_its_own_query) {
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        for (unsigned i = 0; i < 20; i++)
                ask(&f, i == 7 ? &divide : &select_one, i == 7 ? "0" : "1", i == 7 ? NULL : "x");
        RUN_UNTIL(&f, f.n_done == 20);
        ASSERT_EQ(f.n_ok, 19);
        fixture_done(&f);
}

/* Its text is gone before it is sent; a wrong one beside it hurts nobody else. */
TEST(a_statement_without_a_name_is_copied) {
        char sql[64] = "SELECT $1::integer * 2, $2::text", wrong[64] = "SELECT nonsense";
        const MamPgStatement made = { .sql = sql, .idempotent = true };
        const MamPgStatement bad = { .sql = wrong, .idempotent = true };
        const char *const parameters[] = { "21", "twice" };
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        ask(&f, &select_one, "1", "before");
        ASSERT_OK(mam_pg_query(f.pg, NULL, &bad, NULL, 0, on_answer, &f));
        ask(&f, &select_one, "2", "behind");
        ASSERT_OK(mam_pg_query(f.pg, NULL, &made, parameters, 2, on_answer, &f));
        memset(sql, 'x', sizeof(sql));
        memset(wrong, 'x', sizeof(wrong));
        RUN_UNTIL(&f, f.n_done == 4);
        ASSERT_EQ(f.n_ok, 3);
        ASSERT_EQ(f.value, 42);
        ASSERT_STREQ(f.text, "twice");
        fixture_done(&f);
}

TEST(upserts_beside_a_failing_query_are_kept) {
        Fixture f;
        char id[12];

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        for (unsigned i = 0; i < 10; i++) {
                (void) snprintf(id, sizeof(id), "%u", i);
                ask(&f, &upsert_item, id, "kept");
                if (i == 4)
                        ask(&f, &divide, "0", NULL);
        }
        RUN_UNTIL(&f, f.n_done == 11);
        ASSERT_EQ(f.n_ok, 10);
        ask_and_wait(&f, &count_items, NULL, NULL);
        ASSERT_EQ(f.value, 10);
        fixture_done(&f);
}

TEST(a_thousand_queries_at_once) {
        Fixture f;
        char number[12];

        fixture_setup(&f, NULL);
        for (unsigned i = 0; i < 1000; i++) {
                (void) snprintf(number, sizeof(number), "%u", i);
                ask(&f, &select_one, number, "x");
        }
        ASSERT_EQ(mam_pg_in_flight(f.pg), 1000);
        RUN_UNTIL(&f, f.n_done == 1000);
        ASSERT_EQ(f.n_ok, 1000);
        ASSERT_EQ(mam_pg_in_flight(f.pg), 0);
        fixture_done(&f);
}

TEST(the_queue_is_bounded) {
        const char *const parameters[] = { "1", "x" };
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .queue_max = 8 });
        for (unsigned i = 0; i < 8; i++)
                ask(&f, &select_one, "1", "x");
        ASSERT_EQ(mam_pg_query(f.pg, NULL, &select_one, parameters, 2, on_answer, &f), -EAGAIN);
        RUN_UNTIL(&f, f.n_done == 8);
        ask_and_wait(&f, &select_one, "1", "x");
        ASSERT_EQ(f.error, 0);
        fixture_done(&f);
}

TEST(a_freed_query_is_not_answered) {
        const char *const parameters[] = { "1", "x" };
        MamPgQuery *queued = NULL, *sent = NULL;
        Fixture f;

        fixture_setup(&f, NULL);
        ASSERT_OK(mam_pg_query(f.pg, &sent, &select_one, parameters, 2, on_answer, &f));
        ASSERT_OK(sd_event_run(f.event, 0));
        ASSERT_OK(mam_pg_query(f.pg, &queued, &select_one, parameters, 2, on_answer, &f));
        ASSERT_TRUE(!mam_pg_query_free(queued));
        ASSERT_TRUE(!mam_pg_query_free(sent));
        ask_and_wait(&f, &select_one, "1", "x");
        RUN_UNTIL(&f, mam_pg_in_flight(f.pg) == 0);
        ASSERT_EQ(f.n_done, 1);
        fixture_done(&f);
}

TEST(freeing_the_pool_answers_what_is_open) {
        MamPgQuery *q = NULL;
        Fixture f;

        fixture_setup(&f, NULL);
        ask(&f, &sleep_long, "3", NULL);
        ASSERT_OK(sd_event_run(f.event, 0));
        ASSERT_OK(mam_pg_query(f.pg, &q, &count_items, NULL, 0, on_answer, &f));
        f.pg = mam_pg_free(f.pg);
        ASSERT_EQ(f.n_done, 2);
        ASSERT_EQ(f.error, -ECANCELED);
        (void) mam_pg_query_free(q);
        fixture_done(&f);
}

static void on_answer_free_pool(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        f->pg = mam_pg_free(f->pg);
}

TEST(a_callback_may_free_the_pool) {
        Fixture f;

        fixture_setup(&f, NULL);
        ASSERT_OK(mam_pg_query(f.pg, NULL, &count_items, NULL, 0, on_answer_free_pool, &f));
        for (unsigned i = 0; i < 5; i++)
                ask(&f, &select_one, "1", "x");
        RUN_UNTIL(&f, f.n_done == 6);
        ASSERT_TRUE(!f.pg);
        fixture_done(&f);
}

TEST(a_lost_plan_is_prepared_again) {
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        ask_and_wait(&f, &insert_item, "1", "a");
        ask_and_wait(&f, &discard, NULL, NULL);
        ask_and_wait(&f, &insert_item, "2", "b");
        ASSERT_EQ(f.error, 0);
        fixture_done(&f);
}

TEST(a_changed_table_is_no_error) {
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        ask_and_wait(&f, &insert_item, "1", "a");
        ask_and_wait(&f, &read_items, NULL, NULL);
        ask_and_wait(&f, &add_column, NULL, NULL);
        ASSERT_EQ(f.error, 0);
        ask_and_wait(&f, &read_items, NULL, NULL);
        ASSERT_EQ(f.error, 0);
        ASSERT_EQ(f.value, 1);
        fixture_done(&f);
}

TEST(a_run_is_all_or_nothing) {
        static const char *const one[] = { "1", "a" }, *const two[] = { "2", "b" };
        const MamPgStep good[] = { { &insert_item, one, 2 },
                                   { &insert_item, two, 2 },
                                   { &count_items, NULL, 0 } };
        const MamPgStep bad[] = { { &clear_items, NULL, 0 },
                                  { &insert_item, one, 2 },
                                  { &insert_item, one, 2 } };
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        ASSERT_OK(mam_pg_run(f.pg, NULL, good, MAM_ELEMENTSOF(good), on_answer, &f));
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(f.error, 0);
        ASSERT_EQ(f.value, 2); /* the result of the last step */

        ASSERT_OK(mam_pg_run(f.pg, NULL, bad, MAM_ELEMENTSOF(bad), on_answer, &f));
        ask(&f, &count_items, NULL, NULL); /* behind it, on the same connection */
        RUN_UNTIL(&f, f.n_done == 3);
        ASSERT_EQ(f.n_ok, 2);
        ASSERT_EQ(f.value, 2);
        fixture_done(&f);
}

TEST(a_deferred_constraint_fails_the_commit) {
        static const char *const nobody[] = { "77" };
        const MamPgStep steps[] = { { &insert_child, nobody, 1 } };
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        ASSERT_OK(mam_pg_run(f.pg, NULL, steps, 1, on_answer, &f));
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(f.error, -ENOENT);
        ask_and_wait(&f, &select_one, "1", "x");
        ASSERT_EQ(f.error, 0);
        fixture_done(&f);
}

/* Two rows, taken in opposite order by many runs at once: deadlocks and serialisation failures, all of which
 * must be absorbed. */
TEST(conflicts_are_retried) {
        static const char *const one[] = { "1" }, *const two[] = { "2" };
        const MamPgStep ab[] = { { &serializable, NULL, 0 }, { &add_one, one, 1 }, { &add_one, two, 1 } };
        int64_t before;
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 2 });
        ask_and_wait(&f, &read_tally, NULL, NULL);
        before = f.value;
        f.n_done = f.n_ok = 0;
        for (unsigned i = 0; i < 10; i++)
                ASSERT_OK(mam_pg_run(f.pg, NULL, ab, MAM_ELEMENTSOF(ab), on_answer, &f));
        RUN_UNTIL(&f, f.n_done == 10);
        ASSERT_EQ(f.n_ok, 10);
        ask_and_wait(&f, &read_tally, NULL, NULL);
        ASSERT_EQ(f.value, before + 20);
        fixture_done(&f);
}

typedef struct Interactive {
        Fixture *f;
        MamPgTransaction *t;
        bool begun;
        int error;
} Interactive;

static void on_begun(MamPgTransaction *t, int error, void *userdata) {
        Interactive *i = userdata;

        i->begun = true;
        i->error = error;
}

static void begin(Interactive *i, Fixture *f) {
        *i = (Interactive){ .f = f };
        ASSERT_OK(mam_pg_begin(f->pg, &i->t, on_begun, i));
        RUN_UNTIL(f, i->begun);
        ASSERT_EQ(i->error, 0);
}

TEST(an_interactive_transaction_commits) {
        static const char *const item[] = { "5", "five" };
        Interactive i;
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 2 });
        begin(&i, &f);
        ASSERT_OK(mam_pg_transaction_query(i.t, &insert_item, item, 2, on_answer, &f));
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(f.error, 0);
        ask_and_wait(&f, &count_items, NULL, NULL); /* another connection */
        ASSERT_EQ(f.value, 0);
        ASSERT_OK(mam_pg_commit(i.t, on_answer, &f));
        ASSERT_EQ(mam_pg_transaction_query(i.t, &insert_item, item, 2, on_answer, &f), -ENOTCONN);
        RUN_UNTIL(&f, f.n_done == 3);
        ASSERT_EQ(f.error, 0);
        i.t = mam_pg_transaction_free(i.t);
        ask_and_wait(&f, &count_items, NULL, NULL);
        ASSERT_EQ(f.value, 1);
        fixture_done(&f);
}

TEST(freeing_a_transaction_rolls_back) {
        static const char *const item[] = { "5", "five" };
        Interactive i;
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        begin(&i, &f);
        ASSERT_OK(mam_pg_transaction_query(i.t, &insert_item, item, 2, on_answer, &f));
        i.t = mam_pg_transaction_free(i.t);
        ask_and_wait(&f, &count_items, NULL, NULL); /* the same connection, free again */
        ASSERT_EQ(f.n_done, 1);
        ASSERT_EQ(f.value, 0);

        ASSERT_OK(mam_pg_begin(f.pg, &i.t, on_begun, &i)); /* not even sent */
        i.begun = false;
        i.t = mam_pg_transaction_free(i.t);
        ask_and_wait(&f, &count_items, NULL, NULL);
        ASSERT_TRUE(!i.begun);
        fixture_done(&f);
}

TEST(committing_a_failed_transaction_is_an_error) {
        static const char *const item[] = { "5", "five" };
        Interactive i;
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        begin(&i, &f);
        ASSERT_OK(mam_pg_transaction_query(i.t, &insert_item, item, 2, on_answer, &f));
        ASSERT_OK(mam_pg_transaction_query(i.t, &insert_item, item, 2, on_answer, &f));
        ASSERT_OK(mam_pg_commit(i.t, on_answer, &f));
        RUN_UNTIL(&f, f.n_done == 3);
        ASSERT_EQ(f.n_ok, 1);
        ASSERT_EQ(f.error, -EIO);
        i.t = mam_pg_transaction_free(i.t);
        ask_and_wait(&f, &count_items, NULL, NULL);
        ASSERT_EQ(f.value, 0);
        fixture_done(&f);
}

static void on_answer_free_transaction(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Interactive *i = userdata;

        i->f->n_done++;
        i->t = mam_pg_transaction_free(i->t);
}

TEST(a_callback_may_free_the_transaction) {
        static const char *const item[] = { "5", "five" };
        Interactive i;
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1 });
        begin(&i, &f);
        ASSERT_OK(mam_pg_transaction_query(i.t, &insert_item, item, 2, on_answer_free_transaction, &i));
        ASSERT_OK(mam_pg_transaction_query(i.t, &count_items, NULL, 0, on_answer, &f));
        ASSERT_OK(mam_pg_commit(i.t, on_answer, &f));
        ask(&f, &count_items, NULL, NULL); /* waits for the connection */
        RUN_UNTIL(&f, mam_pg_in_flight(f.pg) == 0);
        ASSERT_EQ(f.n_done, 2); /* of the transaction, only the first was answered */
        ASSERT_EQ(f.value, 1);  /* the commit was not taken back */
        ASSERT_TRUE(!i.t);

        begin(&i, &f);
        f.pg = mam_pg_free(f.pg);
        ASSERT_EQ(mam_pg_commit(i.t, on_answer, &f), -ENOTCONN);
        i.t = mam_pg_transaction_free(i.t);
        fixture_done(&f);
}

TEST(a_killed_server_is_found_again) {
        MamPgQuery *q = NULL;
        Interactive i;
        unsigned n;
        Fixture f;

        fixture_setup(&f, NULL);
        begin(&i, &f);
        ask(&f, &sleep_long, "5", NULL);
        ask(&f, &sleep_again, "0.3", NULL);
        ASSERT_OK(mam_pg_query(f.pg, &q, &insert_item, (const char *const[]){ "1", "a" }, 2, NULL, NULL));
        RUN_UNTIL(&f, mam_pg_in_flight(f.pg) == 2);
        ASSERT_TRUE(f.connected);

        mam_test_server_kill(&server, SIGKILL);
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(f.error, -ECONNRESET); /* what is not idempotent: the outcome is unknown */
        RUN_UNTIL(&f, !f.connected);
        ASSERT_TRUE(!mam_pg_is_connected(f.pg));
        ASSERT_EQ(mam_pg_commit(i.t, on_answer, &f), -ENOTCONN);
        i.t = mam_pg_transaction_free(i.t);

        mam_test_postgres_start(&server);
        n = f.n_state;
        RUN_UNTIL(&f, f.n_done == 2);
        ASSERT_EQ(f.error, 0); /* the idempotent one was sent again, prepared anew */
        ASSERT_TRUE(f.connected && f.n_state > n);
        ask_and_wait(&f, &count_items, NULL, NULL);
        ASSERT_EQ(f.value, 1); /* acknowledged before the kill */
        (void) mam_pg_query_free(q);
        fixture_done(&f);
}

#define LOAD_WRITERS 16U
#define LOAD_IDS     20000U

typedef struct Load {
        Fixture *f;
        unsigned next, n_acknowledged, n_unknown, n_other, n_running;
        bool stop;
        bool acknowledged[LOAD_IDS];
} Load;

typedef struct LoadWrite {
        Load *load;
        unsigned id;
} LoadWrite;

static void load_write(LoadWrite *w);

static void on_load_answer(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        LoadWrite *w = userdata;

        if (error == 0) {
                w->load->acknowledged[w->id] = true;
                w->load->n_acknowledged++;
        } else if (error == -ECONNRESET) {
                w->load->n_unknown++;
        } else {
                w->load->n_other++;
        }

        if (!w->load->stop && w->load->next < LOAD_IDS) {
                load_write(w);
        } else {
                w->load->n_running--;
        }
}

static void load_write(LoadWrite *w) {
        char id[12];
        const char *const parameters[] = { id, "load" };
        const MamPgStep steps[] = { { &insert_item, parameters, 2 }, { &count_none, NULL, 0 } };

        w->id = w->load->next++;
        (void) snprintf(id, sizeof(id), "%u", w->id);
        /* one half as single statements, one half as transactions */
        ASSERT_OK(w->id % 2 == 0 ? mam_pg_query(w->load->f->pg,
                                                NULL,
                                                &insert_item,
                                                parameters,
                                                2,
                                                on_load_answer,
                                                w)
                                 : mam_pg_run(w->load->f->pg, NULL, steps, 2, on_load_answer, w));
}

static void on_ids(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Load *load = userdata;
        unsigned n = 0;

        ASSERT_EQ(error, 0);
        for (size_t i = 0; i < mam_pg_rows(result); i++) {
                if (load->acknowledged[mam_pg_int(result, i, 0)])
                        n++;
        }
        ASSERT_EQ(n, load->n_acknowledged); /* none is missing */
        load->f->n_done++;
}

TEST(a_kill_under_load_loses_nothing_acknowledged) {
        LoadWrite writers[LOAD_WRITERS];
        unsigned before;
        Load *load;
        Fixture f;

        fixture_setup(&f, NULL);
        load = calloc(1, sizeof(*load));
        ASSERT_TRUE(load);
        load->f = &f;
        load->n_running = LOAD_WRITERS;
        for (unsigned i = 0; i < LOAD_WRITERS; i++) {
                writers[i].load = load;
                load_write(writers + i);
        }

        for (unsigned round = 0; round < 3; round++) {
                before = load->n_acknowledged;
                RUN_UNTIL(&f, load->n_acknowledged >= before + 300);
                mam_test_server_kill(&server, SIGKILL);
                RUN_UNTIL(&f, !f.connected);
                mam_test_postgres_start(&server);
        }
        before = load->n_acknowledged;
        RUN_UNTIL(&f, load->n_acknowledged > before);
        load->stop = true;
        RUN_UNTIL(&f, load->n_running == 0);

        ASSERT_EQ(load->n_other, 0);
        ASSERT_TRUE(load->n_unknown <= 3 * LOAD_WRITERS); /* only what was on its way */
        ASSERT_OK(mam_pg_query(f.pg, NULL, &read_items, NULL, 0, on_ids, load));
        RUN_UNTIL(&f, f.n_done == 1);
        free(load);
        fixture_done(&f);
}

TEST(terminated_sessions_are_replaced) {
        static const MamPgStatement terminate = {
                "terminate",
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = "
                "'client backend'",
                true,
        };
        Fixture f, other;

        fixture_setup(&f, NULL);
        fixture_setup(&other, NULL);
        ask(&f, &sleep_again, "0.2", NULL);
        RUN_UNTIL(&f, sd_event_run(f.event, 50 * MAM_USEC_PER_MSEC) == 0);
        ask_and_wait(&other, &terminate, NULL, NULL);
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(f.error, 0);
        fixture_done(&other);
        fixture_done(&f);
}

TEST(without_a_server_queries_end_in_time) {
        Fixture f = { 0 };

        ASSERT_OK(sd_event_new(&f.event));
        ASSERT_OK(
                        mam_pg_new(&f.pg,
                                   f.event,
                                   "host=/nonexistent dbname=x user=x",
                                   &(MamPgOptions){ .statement_timeout_usec = 100 * MAM_USEC_PER_MSEC }));
        ask_and_wait(&f, &select_one, "1", "x");
        ASSERT_EQ(f.error, -ENOTCONN);
        ASSERT_TRUE(strstr(f.message, "/nonexistent"));
        fixture_done(&f);
}

TEST(a_silent_server_is_given_up) {
        Fixture f;

        fixture_setup(&f, &(MamPgOptions){ .size = 1, .statement_timeout_usec = 100 * MAM_USEC_PER_MSEC });
        ask_and_wait(&f, &select_one, "1", "x");
        ASSERT_EQ(kill(server.pid, SIGSTOP), 0); /* no new sessions */
        f.n_done = 0;
        {
                /* and the session we have is stopped by its own statement */
                static const MamPgStatement stop_self = { "stop_self",
                                                          "SELECT pg_sleep(60) FROM pg_settings LIMIT 1",
                                                          false };
                static const MamPgStatement no_timeout = { "no_timeout",
                                                           "SET statement_timeout = 0",
                                                           false };

                ask_and_wait(&f, &no_timeout, NULL, NULL);
                ask_and_wait(&f, &stop_self, NULL, NULL);
        }
        ASSERT_EQ(f.error, -ECONNRESET);
        ASSERT_STREQ(f.message, "the server did not answer in time");
        ASSERT_EQ(kill(server.pid, SIGCONT), 0);
        fixture_done(&f);
}

/* Migrations */

static int migrate(Fixture *f, const char *schema, const MamPgMigration *list, size_t n) {
        unsigned done = f->n_done;

        ASSERT_OK(mam_pg_migrate(f->pg, schema, list, n, on_migrated, f));
        RUN_UNTIL(f, f->n_done > done);
        return f->error;
}

TEST(replicas_migrate_together_once) {
        static const MamPgMigration list[] = {
                { 1, "one", "CREATE TABLE t (n integer); INSERT INTO t VALUES (1)" },
                { 2, "two", "INSERT INTO t VALUES (2)" }
        };
        static const MamPgStatement count = { "count_together", "SELECT count(*) FROM together.t", true };
        Fixture f;

        fixture_setup(&f, NULL);
        for (unsigned i = 0; i < 5; i++)
                ASSERT_OK(mam_pg_migrate(f.pg, "together", list, 2, on_migrated, &f));
        RUN_UNTIL(&f, f.n_done == 5);
        ASSERT_EQ(f.n_ok, 5);
        ask_and_wait(&f, &count, NULL, NULL);
        ASSERT_EQ(f.value, 2);
        fixture_done(&f);
}

TEST(a_changed_migration_is_refused) {
        static const MamPgMigration first[] = { { 1, "one", "CREATE TABLE t (n integer)" } };
        static const MamPgMigration second[] = { { 1, "one", "CREATE TABLE t (n bigint)" } };
        Fixture f;

        fixture_setup(&f, NULL);
        ASSERT_EQ(migrate(&f, "changed", first, 1), 0);
        ASSERT_EQ(migrate(&f, "changed", first, 1), 0);
        ASSERT_EQ(migrate(&f, "changed", second, 1), -EBADMSG);
        ASSERT_EQ(migrate(&f, "changed", NULL, 0), 0); /* an older release beside a newer one */
        fixture_done(&f);
}

TEST(a_failed_migration_leaves_nothing) {
        static const MamPgMigration bad[] = {
                { 1, "one", "CREATE TABLE t (n integer)" },
                { 2, "two", "CREATE TABLE u (n integer); SELECT no_such_column FROM t" }
        };
        static const MamPgMigration good[] = { { 1, "one", "CREATE TABLE t (n integer)" },
                                               { 2, "two", "CREATE TABLE u (n integer)" } };
        static const MamPgMigration ends[] = { { 1, "one", "CREATE TABLE t (n integer)" },
                                               { 2, "two", "CREATE TABLE u (n integer)" },
                                               { 3, "three", "COMMIT" } };
        static const MamPgMigration gap[] = { { 2, "two", "SELECT 1" } };
        Fixture f;

        fixture_setup(&f, NULL);
        ASSERT_EQ(migrate(&f, "partly", bad, 2), -EIO);
        ASSERT_TRUE(strstr(f.message, "migration 2 (two)"));
        ASSERT_TRUE(strstr(f.message, "no_such_column"));
        ASSERT_EQ(migrate(&f, "partly", good, 2), 0);
        ASSERT_EQ(migrate(&f, "partly", ends, 3), -EINVAL);
        ASSERT_EQ(mam_pg_migrate(f.pg, "partly", gap, 1, on_migrated, &f), -EINVAL);
        fixture_done(&f);
}
