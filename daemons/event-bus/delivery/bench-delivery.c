/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events per second that one subscription's consumers take and settle, on PostgreSQL with fsync
 *
 * Usage: bench-delivery [CONSUMERS [EVENTS [KEYS [TAKE]]]]
 */

#include <inttypes.h>
#include <sys/resource.h>

#include "event-bus/delivery/delivery.h"
#include "event-bus/log/test-tail-fixture.h"

#define SIZE        256U
#define TAKE_MAX    1000U
#define ID_SIZE     65U
#define APPEND_SIZE 1000U

typedef struct Bench {
        Fixture f;
        Delivery *d;
        unsigned n, keys, take, n_settled, n_batches, n_appended, open;
        bool done;
} Bench;

typedef struct Consumer {
        Bench *b;
        Settlement items[TAKE_MAX];
        char ids[TAKE_MAX][ID_SIZE];
} Consumer;

static void consume(Consumer *c);

static void on_settled(int r, const int *results, size_t n, void *userdata) {
        Consumer *c = userdata;

        ASSERT_EQ(r, 0);
        for (size_t i = 0; i < n; i++)
                ASSERT_EQ(results[i], 0);
        c->b->n_settled += (unsigned) n;
        consume(c);
}

static void on_taken(int r, const Delivered *events, size_t n, void *userdata) {
        Consumer *c = userdata;

        if (r == -ECANCELED)
                return;
        ASSERT_EQ(r, 0);
        c->b->n_batches++;
        for (size_t i = 0; i < n; i++) {
                strcpy(c->ids[i], events[i].ack_id);
                c->items[i] = (Settlement){ .kind = SETTLE_ACK, .ack_id = c->ids[i] };
        }
        if (n == 0) {
                consume(c);
        } else {
                ASSERT_OK(delivery_settle(c->b->d, NULL, "s", c->items, n, on_settled, c));
        }
}

static void consume(Consumer *c) {
        Bench *b = c->b;

        if (b->n_settled < b->n)
                ASSERT_OK(delivery_take(b->d, NULL, "s", b->take, 0, 30 * MAM_USEC_PER_SEC, on_taken, c));
}

static void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Bench *b = userdata;

        ASSERT_EQ(r, 0);
        b->n_appended += (unsigned) n;
        b->open--;
}

static void append(Bench *b, unsigned from) {
        static LogEntry entries[APPEND_SIZE];
        static char ids[APPEND_SIZE][24], keys[APPEND_SIZE][24], texts[APPEND_SIZE][SIZE + 1];

        for (unsigned i = 0; i < APPEND_SIZE; i++) {
                int size;

                (void) snprintf(ids[i], sizeof(ids[i]), "%u", from + i);
                (void) snprintf(keys[i], sizeof(keys[i]), "key/%u", (from + i) * 2654435761U % b->keys);
                size = snprintf(texts[i],
                                sizeof(texts[i]),
                                "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/bench\",\"type\":\"t\",\"subject\":\"%s\",\"data\":\"",
                                ids[i],
                                keys[i]);
                memset(texts[i] + size, 'x', SIZE - (size_t) size - 2);
                strcpy(texts[i] + SIZE - 2, "\"}");
                entries[i] = (LogEntry){ .key = keys[i],
                                         .id = ids[i],
                                         .source = "/bench",
                                         .type = "t",
                                         .expected_version = LOG_VERSION_ANY,
                                         .text = texts[i],
                                         .size = SIZE };
        }
        b->open++;
        ASSERT_OK(log_append(b->f.replicas[0].log, NULL, "t", entries, APPEND_SIZE, on_appended, b));
}

static void on_made(int r, const SubscriptionInfo *s, void *userdata) {
        Bench *b = userdata;

        ASSERT_EQ(r, 0);
        b->done = true;
}

static double cpu_seconds(void) {
        struct rusage u;

        ASSERT_OK(getrusage(RUSAGE_SELF, &u));
        return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
        unsigned n_consumers = argc > 1 ? (unsigned) atoi(argv[1]) : 4;
        static const SubscriptionSettings settings = { .topic = "t" };
        static Bench b;
        Consumer *consumers;
        uint64_t begin, writes;
        double cpu, seconds;

        b.n = argc > 2 ? (unsigned) atoi(argv[2]) : 500000;
        b.keys = argc > 3 ? (unsigned) atoi(argv[3]) : 100000;
        b.take = argc > 4 ? (unsigned) atoi(argv[4]) : TAKE_MAX;
        b.n = b.n / APPEND_SIZE * APPEND_SIZE;
        ASSERT_TRUE(n_consumers > 0 && b.keys > 0 && b.take > 0 && b.take <= TAKE_MAX);
        consumers = calloc(n_consumers, sizeof(*consumers));
        ASSERT_TRUE(consumers);

        fixture_open(&b.f, 1, false);
        topic_make(&b.f, "t", NULL);
        for (unsigned i = 0; i < b.n; i += APPEND_SIZE) {
                append(&b, i);
                RUN_UNTIL(&b.f, b.open < 8);
        }
        RUN_UNTIL(&b.f, b.n_appended == b.n);
        ASSERT_OK(
                        delivery_new(&b.d,
                                     b.f.event,
                                     b.f.replicas[0].pg,
                                     b.f.replicas[0].log,
                                     b.f.replicas[0].tail));
        ASSERT_OK(delivery_subscription_create(b.d, NULL, "s", &settings, on_made, &b));
        RUN_UNTIL(&b.f, b.done);
        ASSERT_TRUE(fixture_sql(&b.f, NULL, 0, "CHECKPOINT"));

        writes = (uint64_t) fixture_sql_int(&b.f, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn");
        cpu = cpu_seconds();
        begin = mam_now_monotonic();
        for (unsigned i = 0; i < n_consumers; i++) {
                consumers[i].b = &b;
                consume(consumers + i);
        }
        while (b.n_settled < b.n)
                ASSERT_OK(sd_event_run(b.f.event, UINT64_MAX));
        seconds = (double) (mam_now_monotonic() - begin) / 1e6;
        cpu = cpu_seconds() - cpu;
        writes = (uint64_t) fixture_sql_int(&b.f, "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn") - writes;

        printf("%u consumers, %u events of %u bytes, %u keys, %u per take: %.0f events/s, %u takes, "
               "%.1f µs of CPU and %.0f bytes of WAL per event\n",
               n_consumers,
               b.n,
               SIZE,
               b.keys,
               b.take,
               (double) b.n / seconds,
               b.n_batches,
               cpu * 1e6 / b.n,
               (double) writes / b.n);
        b.d = delivery_free(b.d);
        fixture_close(&b.f);
        free(consumers);
        return 0;
}
