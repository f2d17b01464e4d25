/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Appended events per second, committed with fsync, against what plain libpq reaches on the same cluster
 *
 * Usage: bench-log [SECONDS [BYTES [CONNINFO]]]
 */

#include <inttypes.h>

#include "event-bus/log/log.h"
#include "event-bus/log/test-raw.h"
#include "event-bus/migrations.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Bench {
        sd_event *event;
        Log *log;
        char *text;
        size_t size;
        uint64_t end_usec, n_events, n_answers, sum_usec;
        unsigned batch, open;
        bool done;
} Bench;

typedef struct Producer {
        Bench *b;
        uint64_t next, begin_usec;
        unsigned number;
} Producer;

/* The log */

static void publish(Producer *p);

static void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Producer *p = userdata;
        Bench *b = p->b;

        ASSERT_EQ(r, 0);
        ASSERT_EQ(n, b->batch);
        ASSERT_TRUE(!appended[0].is_duplicate);
        b->n_events += n;
        b->n_answers++;
        b->sum_usec += mam_now_monotonic() - p->begin_usec;
        if (mam_now_monotonic() < b->end_usec) {
                publish(p);
        } else {
                b->open--;
        }
}

static void publish(Producer *p) {
        Bench *b = p->b;
        LogEntry entries[LOG_APPEND_MAX];
        char ids[LOG_APPEND_MAX][24], keys[LOG_APPEND_MAX][16], source[24];

        (void) snprintf(source, sizeof(source), "/bench/%u", p->number);
        for (unsigned i = 0; i < b->batch; i++) {
                (void) snprintf(ids[i], sizeof(ids[i]), "%" PRIu64, p->next++);
                (void) snprintf(keys[i], sizeof(keys[i]), "key-%u", i);
                entries[i] = (LogEntry){
                        .key = keys[i],
                        .id = ids[i],
                        .source = source,
                        .type = "bench",
                        .expected_version = LOG_VERSION_ANY,
                        .text = b->text,
                        .size = b->size,
                };
        }
        p->begin_usec = mam_now_monotonic();
        ASSERT_OK(log_append(b->log, NULL, "bench", entries, b->batch, on_appended, p));
}

static double log_run(Bench *b, unsigned producers, unsigned batch, uint64_t usec) {
        static unsigned number;
        Producer *p = calloc(producers, sizeof(*p));
        uint64_t begin = mam_now_monotonic();
        double rate;

        ASSERT_TRUE(p);
        b->batch = batch;
        b->n_events = b->n_answers = b->sum_usec = 0;
        b->open = producers;
        b->end_usec = begin + usec;
        for (unsigned i = 0; i < producers; i++) {
                p[i] = (Producer){ .b = b, .number = number++ };
                publish(p + i);
        }
        while (b->open > 0)
                ASSERT_OK(sd_event_run(b->event, UINT64_MAX));
        rate = (double) b->n_events * 1e6 / (double) (mam_now_monotonic() - begin);
        free(p);
        return rate;
}

static void on_done(int error, const char *message, void *userdata) {
        if (error < 0)
                mam_test_fail_string(__FILE__, __LINE__, "migrating", message);
        ((Bench *) userdata)->done = true;
}

static void on_created(int r, const TopicInfo *topic, void *userdata) {
        ASSERT_EQ(r, 0);
        ((Bench *) userdata)->done = true;
}

static void wait_done(Bench *b) {
        while (!b->done)
                ASSERT_OK(sd_event_run(b->event, UINT64_MAX));
        b->done = false;
}

static char *make_text(size_t size) {
        const char *format =
                        "{\"specversion\":\"1.0\",\"id\":\"0123456789\",\"source\":\"/bench/1\",\"type\":\"bench\",\"data\":{\"x\":\"";
        char *text = malloc(size + strlen(format) + 4);
        size_t k = strlen(format);

        ASSERT_TRUE(text);
        memcpy(text, format, k + 1);
        while (k + 3 < size)
                text[k++] = 'x';
        memcpy(text + k, "\"}}", 4);
        return text;
}

static void compare(Bench *b, const char *conninfo, uint64_t usec) {
        static const unsigned shapes[][2] = { { 1, 1 },   { 8, 1 },   { 64, 1 },
                                              { 1, 100 }, { 8, 100 }, { 64, 100 } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(shapes); i++) {
                unsigned producers = shapes[i][0], batch = shapes[i][1];
                /* right before, as the machine may have other things to do */
                double limit = raw_append(conninfo, b->text, batch, batch > 1 ? 2 : 1, usec);
                double rate = log_run(b, producers, batch, usec);

                printf("%2u producers × %3u: %8.0f events/s, mean %7.2f ms; libpq, %u × %3u: %8.0f; ratio %.2f\n",
                       producers,
                       batch,
                       rate,
                       (double) b->sum_usec / (double) b->n_answers / 1000.0,
                       batch > 1 ? 2 : 1,
                       batch,
                       limit,
                       rate / limit);
                fflush(stdout);
        }
}

int main(int argc, char **argv) {
        uint64_t usec = (argc > 1 ? strtoull(argv[1], NULL, 10) : 3) * MAM_USEC_PER_SEC;
        const MamPgOptions options = { .schema = "event_bus" };
        const TopicSettings settings = { 0 };
        char conninfo[256];
        MamTestServer server;
        MamPg *pg = NULL;
        Bench b = { 0 };

        b.text = make_text(argc > 2 ? strtoul(argv[2], NULL, 10) : 256);
        b.size = strlen(b.text);
        if (argc > 3) {
                (void) snprintf(conninfo, sizeof(conninfo), "%s", argv[3]);
        } else {
                mam_test_postgres_init(&server);
                mam_test_postgres_start(&server);
                (void) snprintf(conninfo,
                                sizeof(conninfo),
                                "host=%s dbname=postgres user=postgres",
                                server.folder);
        }
        raw_execute(conninfo, "DROP SCHEMA IF EXISTS event_bus CASCADE");

        ASSERT_OK(sd_event_new(&b.event));
        ASSERT_OK(mam_pg_new(&pg, b.event, conninfo, &options));
        ASSERT_OK(mam_pg_migrate(pg, "event_bus", event_bus_migrations, 1, on_done, &b));
        wait_done(&b);
        ASSERT_OK(log_new(&b.log, b.event, pg, NULL, NULL));
        ASSERT_OK(log_topic_create(b.log, NULL, "bench", &settings, on_created, &b));
        wait_done(&b);

        compare(&b, conninfo, usec);

        log_free(b.log);
        mam_pg_free(pg);
        sd_event_unref(b.event);
        free(b.text);
        if (argc <= 3)
                mam_test_server_done(&server);
        return EXIT_SUCCESS;
}
