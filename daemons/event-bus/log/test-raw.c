/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What plain libpq appends per second: the limit that the log is compared with
 */

#include <inttypes.h>

#include <libpq-fe.h>

#include "event-bus/log/test-raw.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

static void must(PGresult *result) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
                mam_test_fail_string(__FILE__, __LINE__, "a statement", PQresultErrorMessage(result));
        PQclear(result);
}

static PGconn *raw_connect(const char *conninfo) {
        PGconn *conn = PQconnectdb(conninfo);

        ASSERT_EQ(PQstatus(conn), CONNECTION_OK);
        must(PQexec(conn,
                    "SET client_min_messages = error; CREATE SCHEMA IF NOT EXISTS bench; SET search_path = bench"));
        return conn;
}

static void raw_prepare(PGconn *conn) {
        must(PQprepare(conn,
                       "append",
                       "WITH h AS (UPDATE head SET last = last + $1::integer WHERE topic = 1 RETURNING last - $1::integer AS base) "
                       "INSERT INTO event (position, recorded, key, source, id, event) "
                       "SELECT h.base + e.ord, clock_timestamp(), e.key, e.source, e.id, e.event FROM h, "
                       "unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY e (key, source, id, event, ord) "
                       "ON CONFLICT (source, id) DO NOTHING",
                       5,
                       NULL));
}

static void raw_send(PGconn *conn, const char *text, unsigned batch, unsigned number, uint64_t *next) {
        MamBuffer array[4] = { MAM_BUFFER_INIT, MAM_BUFFER_INIT, MAM_BUFFER_INIT, MAM_BUFFER_INIT };
        char n[12];
        const char *parameters[5] = { n };

        (void) snprintf(n, sizeof(n), "%u", batch);
        for (unsigned i = 0; i < batch; i++) {
                char separator = i == 0 ? '{' : ',';

                ASSERT_OK(mam_buffer_appendf(array, "%ckey-%u", separator, i));
                ASSERT_OK(mam_buffer_appendf(array + 1, "%c/bench/%u", separator, number));
                ASSERT_OK(mam_buffer_appendf(array + 2, "%c%" PRIu64, separator, (*next)++));
                ASSERT_OK(mam_buffer_appendf(array + 3, "%c\"", separator));
                for (const char *p = text; *p;) {
                        size_t k = strcspn(p, "\"\\");

                        ASSERT_OK(mam_buffer_append(array + 3, p, k));
                        p += k;
                        if (*p) {
                                const char escaped[2] = { '\\', *p++ };

                                ASSERT_OK(mam_buffer_append(array + 3, escaped, 2));
                        }
                }
                ASSERT_OK(mam_buffer_append_string(array + 3, "\""));
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(array); i++) {
                ASSERT_OK(mam_buffer_append_string(array + i, "}"));
                parameters[i + 1] = mam_buffer_bytes(array + i);
        }

        ASSERT_TRUE(PQsendQueryPrepared(conn, "append", 5, parameters, NULL, NULL, 0));
        ASSERT_TRUE(PQpipelineSync(conn));
        ASSERT_TRUE(PQflush(conn) >= 0);
        for (size_t i = 0; i < MAM_ELEMENTSOF(array); i++)
                mam_buffer_done(array + i);
}

static void raw_receive(PGconn *conn) {
        PGresult *result;

        must(PQgetResult(conn));
        ASSERT_TRUE(!PQgetResult(conn));
        result = PQgetResult(conn);
        ASSERT_EQ(PQresultStatus(result), PGRES_PIPELINE_SYNC);
        PQclear(result);
}

/* Two batches are under way on each connection: the server never waits for this side. */
double raw_append(
                const char *conninfo,
                const char *text,
                unsigned batch,
                unsigned connections,
                uint64_t usec) {
        PGconn *conn[8];
        uint64_t next[8] = { 0 }, begin, n = 0;

        ASSERT_TRUE(connections <= MAM_ELEMENTSOF(conn));
        for (unsigned i = 0; i < connections; i++) {
                conn[i] = raw_connect(conninfo);
                if (i == 0) {
                        must(PQexec(conn[0],
                                    "DROP TABLE IF EXISTS head, event; "
                                    "CREATE TABLE head (topic bigint PRIMARY KEY, last bigint) WITH (fillfactor = 10); "
                                    "INSERT INTO head VALUES (1, 0); "
                                    "CREATE TABLE event (position bigint PRIMARY KEY, recorded timestamptz NOT NULL, key text NOT NULL, "
                                    "source text NOT NULL, id text NOT NULL, event text NOT NULL, UNIQUE (source, id))"));
                }
                raw_prepare(conn[i]);
                ASSERT_TRUE(PQenterPipelineMode(conn[i]));
        }

        begin = mam_now_monotonic();
        for (unsigned i = 0; i < connections; i++) {
                raw_send(conn[i], text, batch, i, next + i);
                if (batch > 1)
                        raw_send(conn[i], text, batch, i, next + i);
        }
        while (mam_now_monotonic() < begin + usec) {
                for (unsigned i = 0; i < connections; i++) {
                        raw_receive(conn[i]);
                        n += batch;
                        raw_send(conn[i], text, batch, i, next + i);
                }
        }
        usec = mam_now_monotonic() - begin;
        for (unsigned i = 0; i < connections; i++)
                PQfinish(conn[i]);
        return (double) n * 1e6 / (double) usec;
}

void raw_execute(const char *conninfo, const char *statement) {
        PGconn *conn = raw_connect(conninfo);

        must(PQexec(conn, statement));
        PQfinish(conn);
}
