/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Point reads per second through the pool, against pgbench -M prepared on the same cluster
 *
 * Usage: bench-pg [CONNECTIONS [IN-FLIGHT [SECONDS]]]
 */

#include "libmam/db/pg.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

static const MamPgStatement read_account = {
        "read_account",
        "SELECT abalance FROM pgbench_accounts WHERE aid = $1::integer",
        true,
};

typedef struct Bench {
        MamPg *pg;
        uint64_t n, end_usec, sum_usec;
        unsigned open;
} Bench;

typedef struct Reader {
        Bench *b;
        unsigned next;
        uint64_t begin_usec;
} Reader;

static void ask(Reader *r);

static void on_answer(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Reader *r = userdata;
        uint64_t now = mam_now_monotonic();

        ASSERT_EQ(error, 0);
        ASSERT_EQ(mam_pg_rows(result), 1);
        r->b->n++;
        r->b->sum_usec += now - r->begin_usec;
        if (now < r->b->end_usec) {
                ask(r);
        } else {
                r->b->open--;
        }
}

static void ask(Reader *r) {
        char aid[16];
        const char *const parameters[] = { aid };

        r->next = r->next * 1103515245U + 12345U;
        r->begin_usec = mam_now_monotonic();
        (void) snprintf(aid, sizeof(aid), "%u", 1 + r->next / 65536 % 65536);
        ASSERT_OK(mam_pg_query(r->b->pg, NULL, &read_account, parameters, 1, on_answer, r));
}

static void run(sd_event *event,
                const char *conninfo,
                unsigned connections,
                unsigned in_flight,
                unsigned seconds) {
        const MamPgOptions options = { .size = connections, .queue_max = in_flight };
        Reader *readers = calloc(in_flight, sizeof(*readers));
        Bench b = { .open = in_flight };

        ASSERT_TRUE(readers);
        ASSERT_OK(mam_pg_new(&b.pg, event, conninfo, &options));
        b.end_usec = mam_now_monotonic() + seconds * MAM_USEC_PER_SEC;
        for (unsigned i = 0; i < in_flight; i++) {
                readers[i] = (Reader){ .b = &b, .next = i };
                ask(readers + i);
        }
        while (b.open > 0)
                ASSERT_OK(sd_event_run(event, UINT64_MAX));

        printf("pool: %u connections, %3u in flight: %8.0f reads/s, mean %.3f ms\n",
               connections,
               in_flight,
               (double) b.n / seconds,
               (double) b.sum_usec / (double) b.n / 1000.0);
        fflush(stdout);
        mam_pg_free(b.pg);
        free(readers);
}

int main(int argc, char **argv) {
        unsigned connections = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 4;
        unsigned in_flight = argc > 2 ? (unsigned) strtoul(argv[2], NULL, 10) : 64;
        unsigned seconds = argc > 3 ? (unsigned) strtoul(argv[3], NULL, 10) : 5;
        char pgbench[300], conninfo[160], count[12], time[12], command[640];
        MamTestServer server;
        sd_event *event = NULL;

        mam_test_postgres_init(&server);
        mam_test_postgres_start(&server);
        (void) snprintf(pgbench, sizeof(pgbench), "%s/pgbench", mam_test_postgres_bin());
        (void) snprintf(count, sizeof(count), "%u", connections);
        (void) snprintf(time, sizeof(time), "%u", seconds);
        (void) snprintf(conninfo, sizeof(conninfo), "host=%s dbname=postgres user=postgres", server.folder);
        ASSERT_EQ(mam_test_server_run(
                                  &server,
                                  (const char *const[]){ pgbench,
                                                         "-i",
                                                         "-q",
                                                         "-h",
                                                         server.folder,
                                                         "-U",
                                                         "postgres",
                                                         "postgres",
                                                         NULL }),
                  0);

        (void) snprintf(command,
                        sizeof(command),
                        "%s -S -n -M prepared -c %s -j 1 -T %s -h %s -U postgres postgres | grep -E '^(tps|latency)'",
                        pgbench,
                        count,
                        time,
                        server.folder);
        printf("pgbench -S -M prepared -c %s -j 1:\n", count);
        fflush(stdout);
        ASSERT_EQ(system(command), 0);

        ASSERT_OK(sd_event_new(&event));
        run(event, conninfo, connections, connections, seconds);
        run(event, conninfo, connections, in_flight, seconds);
        sd_event_unref(event);
        mam_test_server_done(&server);
        return EXIT_SUCCESS;
}
