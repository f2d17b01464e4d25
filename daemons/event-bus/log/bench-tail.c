/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events read per second: pages through log_read(), handed out to followers, archived, brought back
 *
 * Usage: bench-tail [EVENTS [BYTES [FOLLOWERS]]]
 */

#include <inttypes.h>

#include "event-bus/log/keep.h"
#include "event-bus/log/log.h"
#include "event-bus/log/tail.h"
#include "event-bus/migrations.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Bench {
        sd_event *event;
        MamPg *pg;
        Log *log;
        Tail *tail;
        char *text;
        uint64_t n_events, n_appended, n_read, bytes;
        unsigned n_appending;
        bool done;
} Bench;

static void run_until(Bench *b, const bool *done) {
        while (!*done)
                ASSERT_OK(sd_event_run(b->event, UINT64_MAX));
}

static void on_migrated(int error, const char *message, void *userdata) {
        bool *done = userdata;

        ASSERT_EQ(error, 0);
        *done = true;
}

static void on_topic(int r, const TopicInfo *topic, void *userdata) {
        bool *done = userdata;

        ASSERT_EQ(r, 0);
        *done = true;
}

/* Filling */

static void on_hook(const char *topic, int64_t last, void *userdata) {
        Bench *b = userdata;

        if (b->tail)
                tail_appended(b->tail, topic, last);
}

static void on_appended(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        Bench *b = userdata;

        ASSERT_EQ(r, 0);
        b->n_appending--;
}

static void append(Bench *b, unsigned n) {
        static char ids[LOG_APPEND_MAX][24];
        LogEntry entries[LOG_APPEND_MAX];

        for (unsigned i = 0; i < n; i++) {
                (void) snprintf(ids[i], sizeof(ids[i]), "%" PRIu64, b->n_appended + i);
                entries[i] = (LogEntry){ .key = ids[i] + strlen(ids[i]) - 1,
                                         .id = ids[i],
                                         .source = "/bench",
                                         .type = "bench",
                                         .expected_version = LOG_VERSION_ANY,
                                         .text = b->text,
                                         .size = strlen(b->text) };
        }
        ASSERT_OK(log_append(b->log, NULL, "bench", entries, n, on_appended, b));
        b->n_appended += n;
        b->n_appending++;
}

static void fill(Bench *b) {
        while (b->n_appended < b->n_events || b->n_appending > 0) {
                if (b->n_appended < b->n_events && b->n_appending < 4)
                        append(b, LOG_APPEND_MAX);
                else
                        ASSERT_OK(sd_event_run(b->event, UINT64_MAX));
        }
}

/* Pages */

static void on_page(int r, const LogEvent *events, size_t n, int64_t first, int64_t last, void *userdata) {
        Bench *b = userdata;

        ASSERT_EQ(r, 0);
        b->n_read += n;
        for (size_t i = 0; i < n; i++)
                b->bytes += events[i].size;
        if (n == 0) {
                b->done = true;
                return;
        }
        ASSERT_OK(
                        log_read(b->log,
                                 NULL,
                                 "bench",
                                 &(LogRange){ .from = events[n - 1].position + 1, .limit = 1000 },
                                 on_page,
                                 b));
}

static void pages(Bench *b) {
        uint64_t begin = mam_now_monotonic();

        b->done = false;
        b->n_read = 0;
        ASSERT_OK(log_read(b->log, NULL, "bench", &(LogRange){ .from = 1, .limit = 1000 }, on_page, b));
        run_until(b, &b->done);
        printf("pages of 1000:        %8.0f events/s\n",
               (double) b->n_read * 1e6 / (double) (mam_now_monotonic() - begin));
}

/* Followers */

typedef struct Listener {
        Bench *b;
        Follower *follower;
        uint64_t n, wanted;
        unsigned *n_open;
} Listener;

static void on_events(Follower *f, int r, const LogEvent *events, size_t n, int64_t first, void *userdata) {
        Listener *l = userdata;

        ASSERT_EQ(r, 0);
        l->n += n;
        l->b->n_read += n;
        follower_want(f, (unsigned) n);
        if (l->n == l->wanted)
                --*l->n_open;
}

static void follow(Bench *b, unsigned n_followers, int64_t after, uint64_t more, const char *what) {
        Listener *listeners = calloc(n_followers, sizeof(*listeners));
        uint64_t wanted = b->n_appended - (uint64_t) after + more, begin, end;
        unsigned n_open = n_followers;

        ASSERT_TRUE(listeners);
        b->n_read = 0;
        for (unsigned i = 0; i < n_followers; i++) {
                listeners[i] = (Listener){ .b = b, .wanted = wanted, .n_open = &n_open };
                ASSERT_OK(
                                tail_follow(b->tail,
                                            &listeners[i].follower,
                                            "bench",
                                            after,
                                            on_events,
                                            listeners + i));
                follower_want(listeners[i].follower, 1000);
        }

        begin = mam_now_monotonic();
        for (uint64_t i = 0; i < more; i += 100) {
                append(b, 100);
                while (b->n_appending > 8)
                        ASSERT_OK(sd_event_run(b->event, UINT64_MAX));
        }
        while (n_open > 0)
                ASSERT_OK(sd_event_run(b->event, UINT64_MAX));
        end = mam_now_monotonic();
        printf("%-21s %8.0f events/s in all, %.0f each\n",
               what,
               (double) b->n_read * 1e6 / (double) (end - begin),
               (double) wanted * 1e6 / (double) (end - begin));

        for (unsigned i = 0; i < n_followers; i++)
                (void) follower_free(listeners[i].follower);
        free(listeners);
}

/* Archives */

static void on_news(Keep *k, const KeepNews *news, void *userdata) {
        char *file = userdata;

        ASSERT_EQ(news->error, 0);
        if (news->work == KEEP_ARCHIVED)
                (void) snprintf(file, 256, "%s", news->file);
}

static void on_round(Keep *k, void *userdata) {
        bool *done = userdata;

        *done = true;
}

static void on_restored(int r, const ArchiveInfo *info, void *userdata) {
        bool *done = userdata;

        ASSERT_EQ(r, 0);
        *done = true;
}

/* How long it takes, and the longest turn of the loop. */
static void turn_until(Bench *b, const bool *done, const char *what) {
        uint64_t begin = mam_now_monotonic(), longest = 0, turn;

        while (!*done) {
                if (sd_event_prepare(b->event) == 0)
                        ASSERT_OK(sd_event_wait(b->event, UINT64_MAX));
                turn = mam_now_monotonic();
                ASSERT_OK(sd_event_dispatch(b->event));
                turn = mam_now_monotonic() - turn;
                longest = turn > longest ? turn : longest;
        }
        turn = mam_now_monotonic();
        printf("%-21s %8.0f events/s, %" PRIu64 " µs at most in one turn\n",
               what,
               (double) b->n_appended * 1e6 / (double) (turn - begin),
               longest);
}

static void on_closed(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        bool *done = userdata;

        ASSERT_EQ(error, 0);
        *done = true;
}

static void archive(Bench *b) {
        static const MamPgStatement close_segments = {
                "bench_close",
                "SELECT close_segment(id) FROM topics",
                false,
        };
        char folder[] = "/tmp/mam-archive-XXXXXX", file[256] = "", path[300];
        const KeepOptions options = { .archive = folder };
        bool kept = false, restored = false, made = false, closed = false;
        Archive *a = NULL;
        Keep *k = NULL;

        ASSERT_TRUE(mkdtemp(folder));
        ASSERT_OK(log_topic_change(
                        b->log,
                        NULL,
                        "bench",
                        &(TopicSettings){ .archive = true },
                        0,
                        on_topic,
                        &made));
        run_until(b, &made);
        made = false;
        ASSERT_OK(log_topic_create(b->log, NULL, "old", &(TopicSettings){ 0 }, on_topic, &made));
        run_until(b, &made);
        ASSERT_OK(keep_new(&k, b->event, b->pg, &options, on_news, file));
        ASSERT_OK(mam_pg_query(b->pg, NULL, &close_segments, NULL, 0, on_closed, &closed));
        run_until(b, &closed);

        keep_now(k, on_round, &kept);
        turn_until(b, &kept, "archive:");
        ASSERT_OK(archive_restore(&a, b->event, b->pg, folder, file, "old", on_restored, &restored));
        turn_until(b, &restored, "restore:");

        a = archive_free(a);
        k = keep_free(k);
        (void) snprintf(path, sizeof(path), "%s/%s.ndjson.zst", folder, file);
        (void) unlink(path);
        (void) snprintf(path, sizeof(path), "%s/%s.json", folder, file);
        (void) unlink(path);
        (void) snprintf(path, sizeof(path), "%s/bench", folder);
        (void) rmdir(path);
        (void) rmdir(folder);
}

int main(int argc, char **argv) {
        static const MamPgOptions options = { .schema = "event_bus" };
        unsigned n_followers = argc > 3 ? (unsigned) atoi(argv[3]) : 1000;
        size_t size = argc > 2 ? (size_t) atoi(argv[2]) : 256;
        MamTestServer server = { 0 };
        Bench b = { .n_events = argc > 1 ? (uint64_t) atoll(argv[1]) : 300000 };
        const LogHooks hooks = { .on_appended = on_hook, .userdata = &b };
        bool migrated = false, made = false;
        char conninfo[160], name[64];

        mam_test_postgres_init(&server);
        mam_test_postgres_start(&server);
        (void) snprintf(conninfo, sizeof(conninfo), "host=%s dbname=postgres user=postgres", server.folder);
        ASSERT_OK(sd_event_new(&b.event));
        ASSERT_OK(mam_pg_new(&b.pg, b.event, conninfo, &options));
        ASSERT_OK(
                        mam_pg_migrate(b.pg,
                                       "event_bus",
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       &migrated));
        run_until(&b, &migrated);
        ASSERT_OK(log_new(&b.log, b.event, b.pg, NULL, &hooks));
        ASSERT_OK(tail_new(&b.tail, b.event, b.log, NULL, NULL));
        ASSERT_OK(log_topic_create(b.log, NULL, "bench", &(TopicSettings){ 0 }, on_topic, &made));
        run_until(&b, &made);

        b.text = calloc(1, size + 1);
        ASSERT_TRUE(b.text && size > 16);
        memset(b.text, 'x', size);
        memcpy(b.text, "{\"data\":\"", 9);
        memcpy(b.text + size - 2, "\"}", 2);
        fill(&b);
        for (unsigned i = 0; i < 3; i++)
                pages(&b);
        follow(&b, 1, 0, 0, "replay by one:");
        (void) snprintf(name, sizeof(name), "replay by %u:", n_followers);
        follow(&b, n_followers, (int64_t) (b.n_appended - 20000), 0, name);
        (void) snprintf(name, sizeof(name), "live to %u:", n_followers);
        follow(&b, n_followers, (int64_t) b.n_appended, 20000, name);

        archive(&b);

        b.tail = tail_free(b.tail);
        b.log = log_free(b.log);
        b.pg = mam_pg_free(b.pg);
        sd_event_unref(b.event);
        free(b.text);
        mam_test_server_done(&server);
        return 0;
}
