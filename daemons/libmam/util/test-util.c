/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Buffers, files, time
 */

#include <stdint.h>
#include <sys/stat.h>

#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/spares.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

TEST(buffer_appends_and_consumes) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        ASSERT_STREQ(mam_buffer_bytes(&b), "");
        ASSERT_OK(mam_buffer_appendf(&b, "%s-%d", "abc", 42));
        ASSERT_STREQ(mam_buffer_bytes(&b), "abc-42");
        mam_buffer_consume(&b, 4);
        ASSERT_STREQ(mam_buffer_bytes(&b), "42");
        for (unsigned i = 0; i < 1000; i++) {
                ASSERT_OK(mam_buffer_append(&b, "0123456789", 10));
                mam_buffer_consume(&b, 10);
        }
        ASSERT_EQ(b.size, 2);
        ASSERT_TRUE(b.allocated <= 256); /* moving the front along does not grow it */
        mam_buffer_consume(&b, 2);
        ASSERT_STREQ(mam_buffer_bytes(&b), "");
}

TEST(buffer_refuses_beyond_its_cap_and_keeps_its_content) {
        _cleanup_(mam_buffer_done) MamBuffer b = { .max = 4 };

        ASSERT_OK(mam_buffer_append_string(&b, "abcd"));
        ASSERT_EQ(mam_buffer_append_string(&b, "e"), -ENOBUFS);
        ASSERT_EQ(mam_buffer_appendf(&b, "%d", 1), -ENOBUFS);
        ASSERT_STREQ(mam_buffer_bytes(&b), "abcd");
}

TEST(buffer_hands_its_content_over) {
        MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *empty = NULL, *text = NULL;
        size_t size = 1;

        empty = mam_buffer_steal(&b, &size);
        ASSERT_STREQ(empty, "");
        ASSERT_EQ(size, 0);
        ASSERT_OK(mam_buffer_append(&b, "a\0b", 3));
        mam_buffer_consume(&b, 1);
        text = mam_buffer_steal(&b, &size);
        ASSERT_EQ(size, 2);
        ASSERT_EQ(memcmp(text, "\0b", 3), 0);
        ASSERT_TRUE(!b.data);
}

TEST(file_is_replaced_whole) {
        char folder[] = "/tmp/test-util-XXXXXX", path[64];
        _cleanup_(mam_freep) char *text = NULL;
        struct stat st;
        size_t size;

        ASSERT_TRUE(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/file", folder);
        ASSERT_OK(mam_file_write_atomic(path, "one", 3, 0600));
        ASSERT_OK(mam_file_write_atomic(path, "second", 6, 0644));
        ASSERT_OK(mam_file_read(&text, &size, path, 6));
        ASSERT_EQ(size, 6);
        ASSERT_STREQ(text, "second");
        ASSERT_OK(stat(path, &st));
        ASSERT_EQ(st.st_mode & 07777, 0644);
        ASSERT_EQ(mam_file_read(&text, &size, path, 5), -EFBIG);
        ASSERT_EQ(mam_file_read(&text, &size, folder, 5), -EISDIR);
        ASSERT_OK(unlink(path));
        ASSERT_EQ(mam_file_read(&text, &size, path, 5), -ENOENT);
        ASSERT_OK(rmdir(folder)); /* nothing was left beside it */
        ASSERT_STREQ(text, "second");
}

TEST(file_without_a_size_is_read_to_its_end) {
        _cleanup_(mam_freep) char *text = NULL;
        size_t size;

        ASSERT_OK(mam_file_read(&text, &size, "/proc/self/status", 1 << 20));
        ASSERT_TRUE(size > 0 && strlen(text) == size);
}

TEST(timespans_are_short_for_people) {
        static const struct {
                uint64_t usec;
                const char *text;
        } cases[] = {
                { 0, "0us" },
                { 350 * MAM_USEC_PER_MSEC, "350ms" },
                { 4230 * MAM_USEC_PER_MSEC, "4.2s" },
                { 5 * MAM_USEC_PER_SEC, "5s" },
                { 185 * MAM_USEC_PER_SEC, "3min 5s" },
                { 7800 * MAM_USEC_PER_SEC, "2h 10min" },
                { 273600 * MAM_USEC_PER_SEC, "3d 4h" },
                { 60 * MAM_USEC_PER_SEC, "1min" },
                { MAM_USEC_INFINITY, "infinity" },
        };
        char text[48];

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                mam_format_timespan(text, cases[i].usec);
                ASSERT_STREQ(text, cases[i].text);
        }
}

TEST(spares_are_as_many_as_are_kept) {
        void *pieces[MAM_SPARES_MAX + 2];
        MamSpares s = { 0 };

        for (size_t i = 0; i < MAM_ELEMENTSOF(pieces); i++) {
                pieces[i] = mam_spares_take(&s, 32);
                ASSERT_TRUE(pieces[i]);
                memset(pieces[i], 'x', 32);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(pieces); i++)
                mam_spares_give(&s, pieces[i]);
        mam_spares_give(&s, NULL);
        ASSERT_EQ(s.n, MAM_SPARES_KEEP ? MAM_SPARES_MAX : 0);
        pieces[0] = mam_spares_take_zeroed(&s, 32);
        ASSERT_TRUE(pieces[0]);
        for (size_t i = 0; i < 32; i++)
                ASSERT_EQ(((char *) pieces[0])[i], 0);
        mam_spares_give(&s, pieces[0]);
        mam_spares_done(&s);
        ASSERT_EQ(s.n, 0);
}

TEST(timespans_are_parsed) {
        uint64_t usec = 7;

        ASSERT_OK(mam_parse_timespan("30s", &usec));
        ASSERT_EQ(usec, 30 * MAM_USEC_PER_SEC);
        ASSERT_OK(mam_parse_timespan("2d", &usec));
        ASSERT_EQ(usec, 172800 * MAM_USEC_PER_SEC);
        ASSERT_OK(mam_parse_timespan("500ms", &usec));
        ASSERT_EQ(usec, 500000);
        ASSERT_OK(mam_parse_timespan("15", &usec));
        ASSERT_EQ(usec, 15 * MAM_USEC_PER_SEC);
        usec = 7;
        ASSERT_EQ(mam_parse_timespan("", &usec), -EINVAL);
        ASSERT_EQ(mam_parse_timespan("-1s", &usec), -EINVAL);
        ASSERT_EQ(mam_parse_timespan("1x", &usec), -EINVAL);
        ASSERT_EQ(mam_parse_timespan("99999999999999999999", &usec), -ERANGE);
        ASSERT_EQ(mam_parse_timespan("999999999999999d", &usec), -ERANGE);
        ASSERT_EQ(usec, 7);
}

TEST(dates_are_rfc3339) {
        char text[40];

        mam_format_rfc3339(text, 0);
        ASSERT_STREQ(text, "1970-01-01T00:00:00Z");
        mam_format_rfc3339(text, 1767323045123456ULL);
        ASSERT_STREQ(text, "2026-01-02T03:04:05.123456Z");
        mam_format_rfc3339(text, MAM_USEC_INFINITY);
        ASSERT_STREQ(text, "9999-12-31T23:59:59Z");
}
