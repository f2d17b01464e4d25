/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "project-manager/csv.h"

static int on_record(const CsvRecord *record, void *userdata) {
        MamBuffer *b = userdata;

        ASSERT_OK(mam_buffer_appendf(b, "%u", (unsigned) record->line));
        for (size_t i = 0; i < record->n; i++)
                ASSERT_OK(mam_buffer_appendf(b, "[%s]", record->fields[i]));
        return mam_buffer_append_string(b, " ");
}

/* Records as "LINE[field][field] …", then what is wrong as "!LINE: …"; in pieces of so many bytes. */
static const char *parse(const char *text, size_t piece) {
        static char out[4096];
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(csv_freep) Csv *c = NULL;
        size_t size = strlen(text);
        CsvError error;
        int r = 0;

        ASSERT_OK(csv_new(&c, on_record, &b));
        for (size_t i = 0; i < size && r >= 0; i += piece)
                r = csv_feed(c, text + i, size - i < piece ? size - i : piece, &error);
        if (r >= 0)
                r = csv_feed(c, NULL, 0, &error);
        if (r == -EBADMSG)
                ASSERT_OK(mam_buffer_appendf(&b, "!%u: %s", (unsigned) error.line, error.message));
        else
                ASSERT_OK(r);
        ASSERT_TRUE(b.size < sizeof(out));
        strcpy(out, mam_buffer_bytes(&b));
        return out;
}

TEST(records_and_errors_whole_and_byte_by_byte) {
        static const struct {
                const char *text, *want;
        } cases[] = {
                { "", "" },
                { "a,b\n1,2\n", "1[a][b] 2[1][2] " },
                { "a,b\r\n1,2", "1[a][b] 2[1][2] " },
                { "\xef\xbb\xbf"
                  "a,b\n",
                  "1[a][b] " },
                { "a\n\n\r\nb\n", "1[a] 4[b] " },
                { "a,\n,\n", "1[a][] 2[][] " },
                { "\"\"\n\"a\"\n", "1[] 2[a] " },
                { "a,b\n\"x\ny\",\"q\"\"q\"\nz,\n", "1[a][b] 2[x\ny][q\"q] 4[z][] " },
                { "a;b,c;d\n1;2;3\n", "1[a][b,c][d] 2[1][2][3] " },
                { "a\tb\n1\t2\n", "1[a][b] 2[1][2] " },
                { "\"a;b;c\",d\n", "1[a;b;c][d] " },
                { "a,b\n\"x",
                  "1[a][b] !2: The quoted field of the record that begins in line 2 has no end" },
                { "a\n\"x\"y\n", "1[a] !2: Something stands behind the quotation mark that ends a field" },
                { "a\nx\"y\n",
                  "1[a] !2: A quotation mark stands within a field that does not begin with one" },
                { "a\nx\ry\n", "1[a] !2: A carriage return is not followed by a line feed" },
                { "\xef\xbb"
                  "a",
                  "1[\xef\xbb"
                  "a] " },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                ASSERT_STREQ(parse(cases[i].text, 1000), cases[i].want);
                ASSERT_STREQ(parse(cases[i].text, 1), cases[i].want);
        }
}

TEST(a_nul_byte_is_refused) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(csv_freep) Csv *c = NULL;
        CsvError error;

        ASSERT_OK(csv_new(&c, on_record, &b));
        ASSERT_OK(csv_feed(c, "a,b\n", 4, &error));
        ASSERT_EQ(csv_feed(c, "1,\0002\n", 5, &error), -EBADMSG);
        ASSERT_EQ(error.line, 2);
        ASSERT_OK(csv_feed(c, "3,4\n", 4, &error)); /* over: nothing more is read */
        ASSERT_STREQ(mam_buffer_bytes(&b), "1[a][b] ");
}

TEST(everything_has_a_bound) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(csv_freep) Csv *c = NULL, *wide = NULL;
        char text[1024];
        CsvError error;
        int r = 0;

        memset(text, 'x', sizeof(text));
        ASSERT_OK(csv_new(&c, on_record, &b));
        for (size_t i = 0; i <= 2 * CSV_RECORD_MAX / sizeof(text) && r >= 0; i++)
                r = csv_feed(c, text, sizeof(text), &error);
        ASSERT_EQ(r, -EBADMSG);

        memset(text, ',', sizeof(text));
        ASSERT_OK(csv_new(&wide, on_record, &b));
        ASSERT_OK(csv_feed(wide, "a\n", 2, &error));
        ASSERT_EQ(csv_feed(wide, text, sizeof(text), &error), -EBADMSG);
        ASSERT_STREQ(error.message, "There are more than 256 fields");
}

static int stop(const CsvRecord *record, void *userdata) {
        return record->line == 2 ? -ECANCELED : 0;
}

TEST(the_callback_may_end_it) {
        _cleanup_(csv_freep) Csv *c = NULL;
        CsvError error;

        ASSERT_OK(csv_new(&c, stop, NULL));
        ASSERT_EQ(csv_feed(c, "a\nb\nc\n", 6, &error), -ECANCELED);
}
