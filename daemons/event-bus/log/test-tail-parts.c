/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What following and keeping are made of, without any server: ring, doorbell, files of archives
 */

#include <ftw.h>
#include <sys/stat.h>

#include "event-bus/log/archive-file.h"
#include "event-bus/log/doorbell.h"
#include "event-bus/log/tail-ring.h"
#include "libmam/util/test.h"

/* ---- ring ---- */

static LogEvent events[64];

static const LogEvent *make(int64_t first, size_t n, int64_t step) {
        for (size_t i = 0; i < n; i++)
                events[i] = (LogEvent){ .position = first + (int64_t) i * step,
                                        .key = "key",
                                        .stream = i % 2 ? "stream" : NULL,
                                        .text = "{}",
                                        .size = 2 };
        return events;
}

/* How many come behind "after" in one run; -1: too far back. */
static int found(const TailRing *r, int64_t after, int64_t *ret_first) {
        const LogEvent *e = NULL;
        TailChunk *c = NULL;
        size_t n = 0;
        int error;

        error = tail_ring_find(r, after, &c, &e, &n);
        if (error < 0)
                return -1;
        if (error == 0)
                return 0;
        *ret_first = e->position;
        ASSERT_STREQ(e->key, "key");
        ASSERT_STREQ(e->text, "{}");
        return (int) n;
}

TEST(a_ring_gives_what_is_behind_a_position) {
        int64_t first = 0;
        TailRing r;

        tail_ring_init(&r, 1024 * 1024);
        tail_ring_reset(&r, 10);
        ASSERT_EQ(found(&r, 10, &first), 0);
        ASSERT_EQ(found(&r, 9, &first), -1);
        ASSERT_OK(tail_ring_append(&r, make(11, 5, 1), 5, 15));
        ASSERT_OK(tail_ring_append(&r, make(20, 5, 2), 5, 30)); /* 20 22 24 26 28, and a hole */
        ASSERT_OK(tail_ring_append(&r, NULL, 0, 40));
        ASSERT_EQ(found(&r, 10, &first), 5);
        ASSERT_EQ(first, 11);
        ASSERT_EQ(found(&r, 14, &first), 1);
        ASSERT_EQ(first, 15);
        ASSERT_EQ(found(&r, 15, &first), 5);
        ASSERT_EQ(first, 20);
        ASSERT_EQ(found(&r, 23, &first), 3);
        ASSERT_EQ(first, 24);
        ASSERT_EQ(found(&r, 28, &first), 0);
        ASSERT_EQ(found(&r, 35, &first), 0);
        ASSERT_EQ(r.end, 40);
        tail_ring_done(&r);
}

TEST(a_ring_keeps_its_bounds_and_the_newest) {
        TailChunk *held = NULL;
        const LogEvent *e = NULL;
        int64_t first = 0;
        size_t n = 0;
        TailRing r;

        tail_ring_init(&r, 4000);
        ASSERT_OK(tail_ring_append(&r, make(1, 10, 1), 10, 10));
        ASSERT_EQ(tail_ring_find(&r, 0, &held, &e, &n), 1);
        (void) tail_chunk_ref(held);
        for (int64_t i = 1; i < 500; i++) {
                ASSERT_OK(tail_ring_append(&r, make(10 * i + 1, 10, 1), 10, 10 * i + 10));
                ASSERT_TRUE(r.bytes <= 4000);
                ASSERT_EQ(found(&r, 10 * i, &first), 10);
                ASSERT_TRUE(r.base % 10 == 0 && r.base < r.end);
        }
        ASSERT_EQ(e->position, 1); /* whoever holds a chunk keeps it */
        held = tail_chunk_unref(held);
        tail_ring_set_bytes_max(&r, 1);
        ASSERT_EQ(r.n, 1);
        ASSERT_EQ(found(&r, 4990, &first), 10);
        ASSERT_EQ(found(&r, 4989, &first), -1);
        tail_ring_reset(&r, 7);
        ASSERT_EQ(r.bytes, 0);
        ASSERT_EQ(found(&r, 7, &first), 0);
        tail_ring_done(&r);
}

/* ---- doorbell ---- */

typedef struct Heard {
        char text[4096];
        unsigned n;
        bool stop;
} Heard;

static bool on_topic(const char *topic, int64_t last, void *userdata) {
        Heard *h = userdata;

        h->n++;
        (void) snprintf(h->text + strlen(h->text),
                        sizeof(h->text) - strlen(h->text),
                        "%s=%lld;",
                        topic,
                        (long long) last);
        return !h->stop;
}

static bool on_word(const char *word, void *userdata) {
        Heard *h = userdata;

        h->n++;
        (void) snprintf(h->text + strlen(h->text), sizeof(h->text) - strlen(h->text), "%s;", word);
        return !h->stop;
}

static Heard hear(const char *data, size_t size, bool stop) {
        Heard h = { .stop = stop };

        doorbell_read(data, size, "me", on_topic, on_word, &h);
        return h;
}

TEST(a_doorbell_tells_the_newest_of_each_once) {
        _cleanup_(mam_buffer_done) MamBuffer message = MAM_BUFFER_INIT;
        Doorbell d = { 0 };

        ASSERT_TRUE(doorbell_is_empty(&d));
        ASSERT_OK(doorbell_add_topic(&d, "orders", 5));
        ASSERT_OK(doorbell_add_topic(&d, "a.b-c_d", 1));
        ASSERT_OK(doorbell_add_topic(&d, "orders", 9));
        ASSERT_OK(doorbell_add_topic(&d, "orders", 7));
        ASSERT_OK(doorbell_add_word(&d, "subscription orders"));
        ASSERT_OK(doorbell_add_word(&d, "orders"));
        ASSERT_OK(doorbell_add_word(&d, "orders"));
        ASSERT_EQ(doorbell_add_word(&d, ""), -EINVAL);
        ASSERT_EQ(doorbell_add_word(&d, "a\nb"), -EINVAL);
        ASSERT_EQ(doorbell_add_topic(&d, "a b", 1), -EINVAL);
        ASSERT_EQ(doorbell_add_topic(&d, "a", -1), -EINVAL);
        ASSERT_OK(doorbell_take(&d, "other", &message));
        ASSERT_TRUE(doorbell_is_empty(&d));
        ASSERT_STREQ(hear(mam_buffer_bytes(&message), message.size, false).text,
                     "orders=9;a.b-c_d=1;subscription orders;orders;");
        ASSERT_EQ(hear(mam_buffer_bytes(&message), message.size, true).n, 1);

        mam_buffer_reset(&message);
        ASSERT_OK(doorbell_add_word(&d, "x"));
        ASSERT_OK(doorbell_take(&d, "me", &message));
        ASSERT_EQ(hear(mam_buffer_bytes(&message), message.size, false).n, 0);
        doorbell_done(&d);
}

TEST(a_doorbell_is_bounded) {
        char word[DOORBELL_WORD_MAX + 2];
        Doorbell d = { 0 };

        for (unsigned i = 0; i < DOORBELL_WAITING_MAX; i++) {
                (void) snprintf(word, sizeof(word), "w%u", i);
                ASSERT_OK(doorbell_add_word(&d, word));
        }
        ASSERT_EQ(doorbell_add_word(&d, "more"), -ENOBUFS);
        ASSERT_EQ(doorbell_add_topic(&d, "more", 1), -ENOBUFS);
        ASSERT_OK(doorbell_add_word(&d, "w1"));
        memset(word, 'x', sizeof(word));
        word[sizeof(word) - 1] = '\0';
        ASSERT_EQ(doorbell_add_word(&d, word), -EINVAL);
        doorbell_done(&d);
}

#define TEXT(text) text, sizeof(text) - 1

TEST(what_a_doorbell_cannot_read_it_skips) {
        static const struct {
                const char *data;
                size_t size;
                const char *heard;
        } cases[] = {
                { TEXT(""), "" },
                { TEXT("outbox"), "outbox;" },
                { TEXT("out\0ox"), "" },
                { TEXT("a\n"), "" },
                { TEXT("a\nt orders 5"), "" }, /* no end of line */
                { TEXT("a\nt orders\nt orders 5x\nt orders -1\nt  5\nw \nx y\nw z\n"), "z;" },
                { TEXT("a\nt orders 99999999999999999999\nt b 1\n"), "b=1;" },
                { TEXT("a\n\0\nw z\n"), "z;" },
                { TEXT("\nw z\n"), "z;" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                Heard h = hear(cases[i].data, cases[i].size, false);

                ASSERT_STREQ(h.text, cases[i].heard);
        }
}

/* ---- files of archives ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void write_archive(const char *folder, size_t n_lines, size_t line_size) {
        _cleanup_(archive_writer_freep) ArchiveWriter *w = NULL;
        char *line = malloc(line_size + 1);

        ASSERT_TRUE(line);
        ASSERT_OK(archive_writer_new(&w, folder, "orders", 1, (int64_t) n_lines));
        for (size_t i = 0; i < n_lines; i++) {
                memset(line, (int) ('a' + i % 26), line_size);
                line[line_size - 1] = '\n';
                ASSERT_OK(archive_writer_add(w, line, line_size, 1, 1000 + i, 1000 + i));
        }
        ASSERT_OK(archive_writer_end(w));
        ASSERT_OK(archive_writer_publish(w));
        free(line);
}

static void check_archive(const char *folder, size_t n_lines, size_t line_size) {
        _cleanup_(archive_reader_freep) ArchiveReader *r = NULL;
        const char *lines = NULL;
        ArchiveNote note;
        size_t size = 0, n = 0;
        char name[ARCHIVE_NAME_SIZE];

        (void) snprintf(name, sizeof(name), "orders/%019d-%019zu", 1, n_lines);
        ASSERT_TRUE(archive_name_is_valid(name));
        ASSERT_OK(archive_note_read(&note, folder, name));
        ASSERT_EQ(note.info.events, n_lines);
        ASSERT_EQ(note.info.recorded_first_usec, 1000);
        ASSERT_EQ(note.info.recorded_last_usec, 1000 + n_lines - 1);
        ASSERT_OK(archive_check(folder, &note));

        ASSERT_OK(archive_reader_new(&r, folder, &note));
        for (;;) {
                ASSERT_OK(archive_reader_next(r, &lines, &size));
                if (size == 0)
                        break;
                ASSERT_EQ(size % line_size, 0);
                for (size_t i = 0; i < size; i += line_size, n++) {
                        ASSERT_EQ(lines[i], 'a' + n % 26);
                        ASSERT_EQ(lines[i + line_size - 1], '\n');
                }
        }
        ASSERT_EQ(n, n_lines);
}

TEST(an_archive_comes_back_as_it_was_written) {
        static const size_t sizes[][2] = { { 1, 2 }, { 10, 300 }, { 20000, 300 }, { 3, 2 * 1024 * 1024 } };
        char folder[] = "/tmp/mam-archive-XXXXXX";

        ASSERT_TRUE(mkdtemp(folder));
        for (size_t i = 0; i < MAM_ELEMENTSOF(sizes); i++) {
                write_archive(folder, sizes[i][0], sizes[i][1]);
                check_archive(folder, sizes[i][0], sizes[i][1]);
        }
        write_archive(folder, 10, 200); /* once more over the same */
        check_archive(folder, 10, 200);
        (void) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TEST(an_archive_without_its_end_is_refused) {
        char folder[] = "/tmp/mam-archive-XXXXXX", path[256];
        const char *lines = NULL;
        ArchiveReader *r = NULL;
        ArchiveNote note;
        size_t size = 0;
        struct stat st;
        int error;

        ASSERT_TRUE(mkdtemp(folder));
        write_archive(folder, 1000, 300);
        ASSERT_OK(archive_note_read(&note, folder, "orders/0000000000000000001-0000000000000001000"));
        (void) snprintf(path, sizeof(path), "%s/%s.ndjson.zst", folder, note.file);
        ASSERT_EQ(stat(path, &st), 0);
        ASSERT_EQ(truncate(path, st.st_size - 5), 0);
        ASSERT_EQ(archive_check(folder, &note), -EBADMSG);
        ASSERT_OK(archive_reader_new(&r, folder, &note));
        do {
                error = archive_reader_next(r, &lines, &size);
        } while (error == 0 && size > 0);
        ASSERT_EQ(error, -EBADMSG);
        r = archive_reader_free(r);
        (void) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

TEST(a_writer_that_was_given_up_leaves_nothing) {
        char folder[] = "/tmp/mam-archive-XXXXXX", path[64];
        ArchiveWriter *w = NULL;

        ASSERT_TRUE(mkdtemp(folder));
        ASSERT_OK(archive_writer_new(&w, folder, "orders", 1, 2));
        ASSERT_OK(archive_writer_add(w, "x\n", 2, 1, 1, 1));
        w = archive_writer_free(w);
        (void) snprintf(path, sizeof(path), "%s/orders", folder);
        ASSERT_EQ(rmdir(path), 0);
        ASSERT_EQ(rmdir(folder), 0);
}

TEST(names_of_archives_stay_in_their_folder) {
        static const char *const wrong[] = {
                "",
                "orders",
                "../0000000000000000001-0000000000000000002",
                "a/../0000000000000000001-0000000000000000002",
                "orders/1-2",
                "orders/0000000000000000002-0000000000000000001",
                "orders/0000000000000000000-0000000000000000001",
                "orders/0000000000000000001-0000000000000000002.json",
                "orders/-000000000000000001-0000000000000000002",
                "orders/000000000000000000 -0000000000000000002",
                "Orders/0000000000000000001-0000000000000000002",
                "/0000000000000000001-0000000000000000002",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++)
                ASSERT_TRUE(!archive_name_is_valid(wrong[i]));
        ASSERT_TRUE(archive_name_is_valid("orders/0000000000000000001-0000000000000000002"));
        ASSERT_TRUE(archive_name_is_valid("a.b_c-d/0000000000000000001-9223372036854775807"));
}
