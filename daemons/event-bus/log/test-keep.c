/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keeping against a real PostgreSQL
 */

#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>

#include "event-bus/log/archive-file.h"
#include "event-bus/log/keep.h"
#include "event-bus/log/test-tail-fixture.h"
#include "libmam/util/file.h"

typedef struct Kept {
        unsigned n_closed, n_dropped, n_compacted, n_archived, n_removed, n_failed;
        uint64_t dropped, compacted, archived;
        int64_t dropped_last;
        int error;
        char file[ARCHIVE_NAME_SIZE];
        unsigned n_rounds;
} Kept;

static void on_news(Keep *k, const KeepNews *news, void *userdata) {
        Kept *kept = userdata;

        if (news->error < 0) {
                printf("# %d %d %s\n", (int) news->work, news->error, news->message ?: "");
                kept->n_failed++;
                kept->error = news->error;
                return;
        }
        switch (news->work) {
        case KEEP_CLOSED:
                kept->n_closed++;
                break;
        case KEEP_DROPPED:
                kept->n_dropped++;
                kept->dropped += news->events;
                kept->dropped_last = news->last;
                break;
        case KEEP_COMPACTED:
                kept->n_compacted++;
                kept->compacted += news->events;
                break;
        case KEEP_ARCHIVED:
                kept->n_archived++;
                kept->archived += news->events;
                (void) snprintf(kept->file, sizeof(kept->file), "%s", news->file);
                break;
        case KEEP_REMOVED:
                kept->n_removed += (unsigned) news->events;
                break;
        default:
                ASSERT_TRUE(false);
        }
}

static void on_round(Keep *k, void *userdata) {
        Kept *kept = userdata;

        kept->n_rounds++;
}

static Keep *keep_open(Fixture *f, size_t replica, const KeepOptions *options, Kept *kept) {
        Keep *k = NULL;

        *kept = (Kept){ 0 };
        ASSERT_OK(keep_new(&k, f->event, f->replicas[replica].pg, options, on_news, kept));
        return k;
}

static void keep_round(Fixture *f, Keep *k, Kept *kept) {
        unsigned n = kept->n_rounds;

        keep_now(k, on_round, kept);
        RUN_UNTIL(f, kept->n_rounds > n);
}

/* Segments of 100 events each, the last one open. */
static void fill(Fixture *f, const char *topic, unsigned first_number, unsigned n_segments, unsigned keys) {
        for (unsigned i = 0; i < n_segments; i++) {
                if (i > 0)
                        ASSERT_EQ(fixture_sql_int(f,
                                                  "SELECT close_segment(id)::int FROM topics WHERE name = '%s'",
                                                  topic),
                                  1);
                put(f, 0, topic, first_number + 100 * i, 100, keys);
                RUN_UNTIL(f, f->n_appending == 0);
        }
}

static int64_t first_position(Fixture *f) {
        return fixture_sql_int(f, "SELECT first_position(id) FROM topics");
}

/* ---- retention ---- */

TEST(segments_go_when_their_newest_event_is_old) {
        static const TopicSettings settings = { .retention_usec = 3600 * MAM_USEC_PER_SEC };
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, false);
        topic_make(&f, "orders", &settings);
        fill(&f, "orders", 0, 3, 7);
        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_dropped, 0);
        ASSERT_EQ(first_position(&f), 1);

        ASSERT_TRUE(fixture_sql(
                        &f,
                        NULL,
                        0,
                        "UPDATE segments SET closed_at = closed_at - 3601000000 WHERE segment = 1"));
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.dropped, 100);
        ASSERT_EQ(first_position(&f), 101);

        /* the open one too, once all of it is old */
        ASSERT_TRUE(
                        fixture_sql(&f,
                                    NULL,
                                    0,
                                    "UPDATE segments SET closed_at = closed_at - 3601000000; "
                                    "UPDATE heads SET recorded = recorded - 3601000000"));
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_closed, 1);
        ASSERT_EQ(kept.dropped, 300);
        ASSERT_EQ(first_position(&f), 301);
        put(&f, 0, "orders", 300, 1, 7);
        RUN_UNTIL(&f, f.n_appending == 0);
        ASSERT_EQ(f.last, 301);
        ASSERT_EQ(kept.n_failed, 0);
        k = keep_free(k);
        fixture_close(&f);
}

TEST(as_many_events_as_are_to_be_kept_stay) {
        static const TopicSettings settings = { .retention_events = 250 };
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, false);
        topic_make(&f, "orders", &settings);
        fill(&f, "orders", 0, 5, 7);
        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.dropped, 200);
        ASSERT_EQ(first_position(&f), 201);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.dropped, 200);
        k = keep_free(k);
        fixture_close(&f);
}

TEST(as_many_bytes_as_are_to_be_kept_stay) {
        static const TopicSettings settings = { .retention_bytes = 1024 * 1024 };
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, false);
        topic_make(&f, "orders", &settings);
        fill(&f, "orders", 0, 4, 7);
        ASSERT_TRUE(
                        fixture_sql(&f,
                                    NULL,
                                    0,
                                    "UPDATE segments SET bytes = 600000 WHERE closed_at IS NOT NULL"));
        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.dropped, 100); /* 1.2 MB are left of the closed ones */
        ASSERT_EQ(first_position(&f), 101);
        k = keep_free(k);
        fixture_close(&f);
}

TEST(tables_are_removed_when_nobody_can_be_reading_them) {
        static const TopicSettings settings = { .retention_events = 100 };
        const KeepOptions options = { .garbage_usec = 1 };
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, false);
        topic_make(&f, "orders", &settings);
        fill(&f, "orders", 0, 4, 7);
        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_removed, 0);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT count(*) FROM garbage"), 3);
        k = keep_free(k);
        k = keep_open(&f, 0, &options, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_removed, 3);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT count(*) FROM pg_tables WHERE tablename ~ '^s_[0-9]'"), 1);
        k = keep_free(k);
        fixture_close(&f);
}

TEST(two_keepers_and_an_appender_do_not_disturb_each_other) {
        static const TopicSettings settings = { .retention_events = 800, .compact = true };
        const KeepOptions options = { .interval_usec = 1000, .garbage_usec = 1000, .dirty_percent = 1 };
        Kept here, there;
        Reader reader;
        Keep *k, *o;
        Fixture f;

        fixture_open(&f, 2, true);
        topic_make(&f, "orders", &settings);
        k = keep_open(&f, 0, &options, &here);
        o = keep_open(&f, 1, &options, &there);
        reader_open(&reader, &f, 1, "orders", 0, 1000);
        reader.seek = true;
        for (unsigned i = 0; i < 300; i++) {
                put(&f, i % 2, "orders", 20 * i, 20, 6000);
                RUN_UNTIL(&f, f.n_appending < 2);
        }
        RUN_UNTIL(&f, f.n_appending == 0 && reader.last == 6000);
        RUN_UNTIL(&f, here.dropped + there.dropped >= 5000);
        ASSERT_EQ(reader.n_twice, 0);
        ASSERT_TRUE(!reader.disorder);
        ASSERT_EQ(here.n_failed + there.n_failed, 0);
        k = keep_free(k);
        o = keep_free(o);

        /* what is left is whole */
        reader_close(&reader);
        reader_open(&reader, &f, 1, "orders", 0, 1000);
        RUN_UNTIL(&f, reader.last == 6000);
        ASSERT_EQ(reader.n, 6000 - first_position(&f) + 1);
        reader_close(&reader);
        fixture_close(&f);
}

TEST(a_killed_server_in_the_midst_of_it_leaves_something_to_go_on_with) {
        static const TopicSettings settings = { .retention_events = 300, .compact = true };
        const KeepOptions options = { .interval_usec = 1000, .garbage_usec = 1000, .dirty_percent = 1 };
        Kept kept;
        Reader reader;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, true);
        topic_make(&f, "orders", &settings);
        k = keep_open(&f, 0, &options, &kept);
        reader_open(&reader, &f, 0, "orders", 0, 1000);
        reader.seek = true;
        for (unsigned i = 0; i < 150; i++) {
                put(&f, 0, "orders", 20 * i, 20, 3000);
                RUN_UNTIL(&f, f.n_appending < 2);
                if (i % 50 == 49) {
                        fixture_restart_postgres(&f);
                }
        }
        RUN_UNTIL(&f, f.n_appending == 0 && reader.last == 3000);
        RUN_UNTIL(&f, first_position(&f) > 2500);
        ASSERT_EQ(reader.n_twice, 0);
        ASSERT_TRUE(!reader.disorder);
        /* every table is known to somebody, and every one that is known is there */
        k = keep_free(k);
        ASSERT_EQ(fixture_sql_int(&f,
                                  "SELECT count(*) FROM (SELECT relation FROM segments UNION ALL SELECT relation FROM windows "
                                  "UNION ALL SELECT relation FROM garbage UNION ALL SELECT relation FROM keep_compactions) r "
                                  "FULL JOIN (SELECT tablename FROM pg_tables WHERE schemaname = 'event_bus' AND "
                                  "tablename ~ '^[swk]_[0-9]') t ON t.tablename = r.relation "
                                  "WHERE t.tablename IS NULL OR r.relation IS NULL"),
                  0);
        reader_close(&reader);
        fixture_close(&f);
}

/* ---- compaction ---- */

TEST(of_each_key_the_newest_stays_with_its_position) {
        static const TopicSettings settings = { .compact = true };
        Reader before, after, behind;
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, true);
        topic_make(&f, "state", &settings);
        fill(&f, "state", 0, 4, 10);
        reader_open(&before, &f, 0, "state", 0, 0);
        follower_want(before.follower, 50);
        RUN_UNTIL(&f, before.n == 50);

        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_failed, 0);
        ASSERT_EQ(kept.compacted, 290);
        ASSERT_EQ(first_position(&f), 1);

        reader_open(&after, &f, 0, "state", 0, 1000);
        reader_open(&behind, &f, 0, "state", 300, 1000);
        RUN_UNTIL(&f, after.n == 110 && behind.n == 100);
        follower_want(before.follower, 1000); /* it stands in a hole now */
        RUN_UNTIL(&f, before.n == 160);
        ASSERT_EQ(before.error, 0);
        for (unsigned i = 0; i < 400; i++)
                ASSERT_EQ(after.seen[i], i >= 290);
        ASSERT_EQ(after.last, 400);

        /* again, with what is newer */
        fill(&f, "state", 400, 1, 5);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT close_segment(id)::int FROM topics"), 1);
        keep_round(&f, k, &kept);
        reader_close(&after);
        reader_open(&after, &f, 0, "state", 0, 1000);
        RUN_UNTIL(&f, after.n == 10);
        ASSERT_EQ(after.last, 500);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT count(*) FROM segments"), 1);
        reader_close(&before);
        reader_close(&after);
        reader_close(&behind);
        k = keep_free(k);
        fixture_close(&f);
}

TEST(tombstones_go_when_they_are_old) {
        static const TopicSettings settings = { .compact = true };
        const KeepOptions options = { .tombstone_usec = 1, .dirty_percent = 1 };
        Reader reader;
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, true);
        topic_make(&f, "state", &settings);
        put(&f, 0, "state", 0, 10, 10);
        RUN_UNTIL(&f, f.n_appending == 0);
        put_tombstone(&f, "state", 3, 10);
        RUN_UNTIL(&f, f.n_appending == 0);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT close_segment(id)::int FROM topics"), 1);
        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.compacted, 1);
        reader_open(&reader, &f, 0, "state", 0, 1000);
        RUN_UNTIL(&f, reader.n == 10);
        ASSERT_EQ(reader.last, 11);
        ASSERT_EQ(reader.seen[3], 0);
        reader_close(&reader);

        put(&f, 0, "state", 10, 1, 10);
        RUN_UNTIL(&f, f.n_appending == 0);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT close_segment(id)::int FROM topics"), 1);
        k = keep_free(k);
        k = keep_open(&f, 0, &options, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.compacted, 2);
        reader_open(&reader, &f, 0, "state", 0, 1000);
        RUN_UNTIL(&f, reader.n == 9);
        ASSERT_EQ(reader.last, 12);
        reader_close(&reader);
        k = keep_free(k);
        fixture_close(&f);
}

TEST(what_has_data_is_no_tombstone) {
        static const struct {
                const char *event;
                bool has_data;
        } cases[] = {
                { "{\"id\":\"1\"}", false },
                { "{\"id\":\"1\",\"data\":null}", false },
                { "{\"id\":\"1\",\"data\":null,\"x\":\"y\"}", false },
                { "{\"id\":\",\\\"data\\\":1\"}", false },
                { "{\"id\":\"1\",\"data\":1}", true },
                { "{\"data\":\"null\",\"id\":\"1\"}", true },
                { "{\"id\":\"1\",\"data\":{\"data\":null}}", true },
                { "{\"id\":\"1\",\"data\":\"\\u0000\"}", true },
                { "{\"id\":\"1\",\"data_base64\":\"AA==\"}", true },
        };
        Fixture f;

        fixture_open(&f, 1, false);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                ASSERT_EQ(fixture_sql_int(&f, "SELECT event_has_data($e$%s$e$)::int", cases[i].event),
                          cases[i].has_data);
        fixture_close(&f);
}

TEST(compaction_does_not_disturb_who_reads) {
        static const TopicSettings settings = { .compact = true };
        const KeepOptions options = { .interval_usec = 1000,
                                      .garbage_usec = 5 * MAM_USEC_PER_SEC,
                                      .dirty_percent = 1 };
        Reader readers[10];
        bool last[10] = { false };
        Kept kept;
        Fixture f;
        Keep *k;

        fixture_open(&f, 1, true);
        topic_make(&f, "state", &settings);
        k = keep_open(&f, 0, &options, &kept);
        for (unsigned i = 0; i < 30; i++) {
                put(&f, 0, "state", 100 * i, 100, 10);
                RUN_UNTIL(&f, f.n_appending == 0);
                ASSERT_EQ(fixture_sql_int(&f, "SELECT close_segment(id)::int FROM topics"), 1);
                if (i % 3 == 0)
                        reader_open(readers + i / 3, &f, 0, "state", 0, 5);
        }
        for (unsigned i = 0; i < 10; i++) {
                RUN_UNTIL(&f, readers[i].last == 3000);
                ASSERT_EQ(readers[i].error, 0);
                ASSERT_EQ(readers[i].n_twice, 0);
                ASSERT_TRUE(!readers[i].disorder);
                for (unsigned n = 2990; n < 3000; n++)
                        ASSERT_EQ(readers[i].seen[n], 1);
                last[i] = true;
                reader_close(readers + i);
        }
        ASSERT_TRUE(last[9]);
        RUN_UNTIL(&f, kept.compacted == 2990);
        ASSERT_EQ(kept.n_failed, 0);
        k = keep_free(k);
        fixture_close(&f);
}

/* ---- archives ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void folder_make(char folder[static 64]) {
        strcpy(folder, "/tmp/mam-archive-XXXXXX");
        ASSERT_TRUE(mkdtemp(folder));
}

static void folder_remove(const char *folder) {
        (void) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

typedef struct Restored {
        unsigned n;
        int r;
        uint64_t events;
        int64_t first, last;
} Restored;

static void on_archive(int r, const ArchiveInfo *info, void *userdata) {
        Restored *restored = userdata;

        restored->n++;
        restored->r = r;
        if (r < 0)
                return;
        restored->events += info->events;
        restored->last = info->last;
        if (restored->n == 1)
                restored->first = info->first;
        ASSERT_TRUE(archive_name_is_valid(info->file));
        ASSERT_EQ(strlen(info->sha256), 64);
}

static Restored restore(Fixture *f, const char *folder, const char *file, const char *topic) {
        Restored restored = { 0 };
        Archive *a = NULL;

        ASSERT_OK(
                        archive_restore(&a,
                                        f->event,
                                        f->replicas[0].pg,
                                        folder,
                                        file,
                                        topic,
                                        on_archive,
                                        &restored));
        RUN_UNTIL(f, restored.n == 1);
        a = archive_free(a);
        return restored;
}

TEST(what_is_archived_is_dropped_and_can_be_brought_back) {
        static const TopicSettings settings = { .retention_events = 150, .archive = true };
        static const TopicSettings for_ever = { .retention_usec = MAM_USEC_INFINITY };
        char folder[64];
        KeepOptions options = { .archive = folder };
        Restored list = { 0 }, restored;
        char first_file[ARCHIVE_NAME_SIZE];
        Reader reader;
        Kept kept;
        Fixture f;
        Keep *k;

        folder_make(folder);
        fixture_open(&f, 1, true);
        topic_make(&f, "orders", &settings);
        fill(&f, "orders", 0, 4, 7);

        /* without a folder nothing goes */
        k = keep_open(&f, 0, NULL, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_dropped, 0);
        k = keep_free(k);

        k = keep_open(&f, 0, &options, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_failed, 0);
        ASSERT_EQ(kept.n_archived, 4); /* the open one was full */
        ASSERT_EQ(kept.archived, 400);
        ASSERT_EQ(kept.dropped, 200);
        ASSERT_EQ(first_position(&f), 201);

        ASSERT_EQ(archive_list(folder, NULL, NULL, 100, on_archive, &list), 4);
        ASSERT_EQ(list.events, 400);
        ASSERT_EQ(list.first, 1);
        ASSERT_EQ(list.last, 400);
        ASSERT_EQ(archive_list(folder, "orders", kept.file, 100, on_archive, &list), 0);
        ASSERT_EQ(archive_list(folder, "other", NULL, 100, on_archive, &list), 0);
        ASSERT_EQ(archive_list("/nowhere", NULL, NULL, 100, on_archive, &list), -ENOENT);

        topic_make(&f, "old", &for_ever);
        strcpy(first_file, "orders/0000000000000000001-0000000000000000100");
        restored = restore(&f, folder, first_file, "old");
        ASSERT_EQ(restored.r, 0);
        ASSERT_EQ(restored.events, 100);
        ASSERT_EQ(restore(&f, folder, first_file, "old").r, -EEXIST);
        ASSERT_EQ(restore(&f, folder, kept.file, "missing").r, -ENOENT);
        ASSERT_EQ(restore(&f, folder, "orders/0000000000000000001-0000000000000000200", "old").r, -ENOENT);
        ASSERT_EQ(restore(&f, folder, kept.file, "old").r, 0); /* 301 to 400; a gap before */

        reader_open(&reader, &f, 0, "old", 0, 1000);
        RUN_UNTIL(&f, reader.n == 200);
        put(&f, 0, "old", 1000, 10, 7);
        RUN_UNTIL(&f, reader.n == 210);
        ASSERT_EQ(reader.last, 410);
        for (unsigned i = 0; i < 400; i++)
                ASSERT_EQ(reader.seen[i], i < 100 || i >= 300);
        ASSERT_EQ(fixture_sql_int(&f,
                                  "SELECT count(*) FROM read_events((SELECT id FROM topics WHERE name = 'orders'), 301, false, "
                                  "100, 1000000, NULL) a JOIN read_events((SELECT id FROM topics WHERE name = 'old'), 301, "
                                  "false, 100, 1000000, NULL) b USING (position, recorded, key, event) WHERE position > 0"),
                  100);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT count(*) FROM garbage WHERE relation LIKE 'k_%%'"), 2);
        reader_close(&reader);
        k = keep_free(k);
        fixture_close(&f);
        folder_remove(folder);
}

TEST(a_damaged_archive_is_not_brought_back) {
        static const TopicSettings settings = { .archive = true };
        char folder[64], path[256];
        KeepOptions options = { .archive = folder };
        Kept kept;
        Fixture f;
        FILE *file;
        Keep *k;

        folder_make(folder);
        fixture_open(&f, 1, false);
        topic_make(&f, "orders", &settings);
        topic_make(&f, "old", NULL);
        fill(&f, "orders", 0, 2, 7);
        k = keep_open(&f, 0, &options, &kept);
        keep_round(&f, k, &kept);
        ASSERT_EQ(kept.n_archived, 1);

        (void) snprintf(path, sizeof(path), "%s/%s.ndjson.zst", folder, kept.file);
        file = fopen(path, "r+");
        ASSERT_TRUE(file);
        ASSERT_EQ(fseek(file, 200, SEEK_SET), 0);
        ASSERT_TRUE(fputc('?', file) == '?' && fclose(file) == 0);
        ASSERT_EQ(restore(&f, folder, kept.file, "old").r, -EBADMSG);
        ASSERT_EQ(unlink(path), 0);
        ASSERT_EQ(restore(&f, folder, kept.file, "old").r, -EBADMSG);
        ASSERT_EQ(fixture_sql_int(&f, "SELECT count(*) FROM segments WHERE topic = 2"), 0);
        k = keep_free(k);
        fixture_close(&f);
        folder_remove(folder);
}

TEST(an_archive_is_written_by_one_keeper_and_another_goes_on_when_it_is_gone) {
        static const TopicSettings settings = { .archive = true };
        char folder[64];
        KeepOptions options = { .archive = folder };
        Kept here, there;
        Keep *k, *o;
        Fixture f;

        folder_make(folder);
        fixture_open(&f, 2, false);
        topic_make(&f, "orders", &settings);
        fill(&f, "orders", 0, 2, 7);
        k = keep_open(&f, 0, &options, &here);
        o = keep_open(&f, 1, &options, &there);
        keep_now(k, on_round, &here);
        while (fixture_sql_int(&f, "SELECT count(*) FROM keep_leases") == 0)
                ASSERT_OK(sd_event_run(f.event, 10 * MAM_USEC_PER_MSEC));
        k = keep_free(k);
        keep_round(&f, o, &there);
        ASSERT_EQ(there.n_archived, 0);
        ASSERT_TRUE(fixture_sql(&f, NULL, 0, "UPDATE keep_leases SET until = 0"));
        keep_round(&f, o, &there);
        ASSERT_EQ(there.n_archived, 1);
        o = keep_free(o);
        fixture_close(&f);
        folder_remove(folder);
}
