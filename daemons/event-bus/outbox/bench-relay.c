/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How fast the relay moves events, by itself and while a transaction is left open: one that only reads (so
 * that no deleted row can be reclaimed), and one that has written to the outbox
 */

#include <inttypes.h>

#include "event-bus/migrations.h"
#include "event-bus/outbox/relay.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define EVENTS 40000U
#define SINGLE 200U

#define EVENT(i)                                                                                                   \
        "publish('bench', '{\"specversion\":\"1.0\",\"id\":\"' || gen_random_uuid() || '\",\"source\":\"/bench\"," \
        "\"type\":\"t\",\"partitionkey\":\"' || " i                                                                \
        " % 100 || '\",\"data\":{\"text\":\"' || repeat('x', 100) || '\"}}')"

static const MamPgStatement many = { "bench-many",
                                     "SELECT count(" EVENT("i") ") FROM generate_series(1, 40000) i",
                                     false };
static const MamPgStatement one = { "bench-one", "SELECT " EVENT("1"), false };
static const MamPgStatement idle = { "bench-idle", "SELECT " EVENT("2"), false };
static const MamPgStatement snapshot = { "bench-snapshot",
                                         "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                                         false };
static const MamPgStatement look = { "bench-look", "SELECT count(*) FROM topics", false };

typedef struct Bench {
        MamTestServer server;
        char conninfo[160];
        sd_event *event;
        MamPg *pg;
        Log *log;
        Relay *relay;
        MamPg *other; /* of the one that leaves transactions open */
        bool migrated;
        unsigned n_answers;
} Bench;

static void on_migrated(int error, const char *message, void *userdata) {
        ASSERT_EQ(error, 0);
        ((Bench *) userdata)->migrated = true;
}

static void on_run(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        if (error < 0)
                mam_test_fail_string(__FILE__, __LINE__, "statement", message);
        ((Bench *) userdata)->n_answers++;
}

static void run(Bench *b, const MamPgStatement *statement) {
        unsigned before = b->n_answers;

        ASSERT_OK(mam_pg_query(b->pg, NULL, statement, NULL, 0, on_run, b));
        while (b->n_answers == before)
                ASSERT_OK(sd_event_run(b->event, 100 * MAM_USEC_PER_MSEC));
}

static void on_begin(MamPgTransaction *t, int error, void *userdata) {
        ASSERT_EQ(error, 0);
        ((Bench *) userdata)->n_answers++;
}

/* Leaves a transaction open in which this was done. */
static MamPgTransaction *begin(Bench *b, const MamPgStatement *first, const MamPgStatement *second) {
        const MamPgStatement *const statements[] = { first, second };
        unsigned before = b->n_answers;
        MamPgTransaction *t = NULL;

        ASSERT_OK(mam_pg_begin(b->other, &t, on_begin, b));
        while (b->n_answers == before)
                ASSERT_OK(sd_event_run(b->event, 100 * MAM_USEC_PER_MSEC));
        for (size_t i = 0; i < MAM_ELEMENTSOF(statements); i++) {
                if (!statements[i])
                        continue;
                ASSERT_OK(mam_pg_transaction_query(t, statements[i], NULL, 0, on_run, b));
                while (b->n_answers < before + 2 + i)
                        ASSERT_OK(sd_event_run(b->event, 100 * MAM_USEC_PER_MSEC));
        }
        return t;
}

static void wait_for(Bench *b, uint64_t relayed) {
        while (relay_figures(b->relay).relayed < relayed)
                ASSERT_OK(sd_event_run(b->event, 100 * MAM_USEC_PER_MSEC));
}

static void start(Bench *b) {
        const MamPgOptions options = { .schema = "event_bus",
                                       .statement_timeout_usec = 60 * MAM_USEC_PER_SEC };

        (void) mam_test_postgres_bin();
        mam_test_postgres_init(&b->server);
        mam_test_postgres_start(&b->server);
        (void) snprintf(b->conninfo,
                        sizeof(b->conninfo),
                        "host=%s dbname=postgres user=postgres",
                        b->server.folder);
        ASSERT_OK(sd_event_new(&b->event));
        ASSERT_OK(mam_pg_new(&b->pg, b->event, b->conninfo, &options));
        ASSERT_OK(
                        mam_pg_migrate(b->pg,
                                       "event_bus",
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       b));
        while (!b->migrated)
                ASSERT_OK(sd_event_run(b->event, 100 * MAM_USEC_PER_MSEC));
        ASSERT_OK(mam_pg_new(&b->other, b->event, b->conninfo, &options));
        ASSERT_OK(log_new(&b->log, b->event, b->pg, NULL, NULL));
        ASSERT_OK(relay_new(&b->relay, b->event, b->pg, b->log, NULL));
}

static void stop(Bench *b) {
        relay_free(b->relay);
        log_free(b->log);
        mam_pg_free(b->pg);
        mam_pg_free(b->other);
        sd_event_unref(b->event);
        mam_test_server_done(&b->server);
}

/* Events per second of a backlog, and how long a single event takes behind its commit. */
static void measure(Bench *b, const char *name, double *ret_rate, double *ret_usec) {
        uint64_t relayed = relay_figures(b->relay).relayed, since, spent = 0;

        run(b, &many);
        since = mam_now_monotonic();
        relay_wake(b->relay);
        wait_for(b, relayed + EVENTS);
        *ret_rate = EVENTS * 1e6 / (double) (mam_now_monotonic() - since);
        for (unsigned i = 1; i <= SINGLE; i++) {
                run(b, &one);
                since = mam_now_monotonic();
                relay_wake(b->relay);
                wait_for(b, relayed + EVENTS + i);
                spent += mam_now_monotonic() - since;
        }
        *ret_usec = (double) spent / SINGLE;
        printf("%-34s %9.0f events/s of a backlog, %6.0f us for one\n", name, *ret_rate, *ret_usec);
        (void) fflush(stdout);
}

int main(void) {
        double alone, reader, writer, after, usec[4];
        MamPgTransaction *t;
        Bench b = { 0 };

        start(&b);
        measure(&b, "warming up", &alone, usec);
        measure(&b, "alone", &alone, usec);
        t = begin(&b, &snapshot, &look);
        measure(&b, "beside a reader that stays open", &reader, usec + 1);
        measure(&b, "the same, later", &reader, usec + 1);
        mam_pg_transaction_free(t);
        t = begin(&b, &idle, NULL);
        measure(&b, "beside a writer that stays open", &writer, usec + 2);
        measure(&b, "the same, later", &writer, usec + 2);
        mam_pg_transaction_free(t);
        measure(&b, "alone again", &after, usec + 3);
        stop(&b);
        printf("{\"relay_per_s\":%.0f,\"relay_per_s_beside_reader\":%.0f,\"relay_per_s_beside_writer\":%.0f,"
               "\"one_usec\":%.0f,\"one_usec_beside_reader\":%.0f,\"one_usec_beside_writer\":%.0f}\n",
               alone,
               reader,
               writer,
               usec[0],
               usec[1],
               usec[2]);
        return 0;
}
