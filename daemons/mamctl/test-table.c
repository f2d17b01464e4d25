/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <locale.h>

#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "mamctl/format-table.h"
#include "mamctl/text.h"

static const TableColumn columns[] = {
        { "NAME", false, true },
        { "COUNT", true, false },
        { "WHY", false, true },
};

/* Tables are about columns, not bytes: the tests look at characters. */
static void use_utf8(void) {
        ASSERT_TRUE(setlocale(LC_CTYPE, "C.UTF-8"));
        ASSERT_TRUE(text_is_utf8());
}

static Table *table_with_two_rows(void) {
        Table *t = NULL;

        ASSERT_OK(table_new(&t, columns, MAM_ELEMENTSOF(columns), 0));
        table_add(t, COLOUR_NONE, "alpha");
        table_add(t, COLOUR_NONE, "%d", 7);
        table_add(t, COLOUR_NONE, "because it is so");
        table_add(t, COLOUR_GREEN, "b");
        table_add(t, COLOUR_NONE, "%d", 1234567);
        table_add(t, COLOUR_NONE, "%s", "");
        return t;
}

static char *printed(Table *t, unsigned width, bool colour) {
        char *text = NULL;
        size_t size = 0;
        FILE *f;

        f = open_memstream(&text, &size);
        ASSERT_TRUE(f);
        ASSERT_OK(table_print(t, f, width, colour));
        fclose(f);
        return text;
}

TEST(columns_are_as_wide_as_their_widest_cell_and_no_line_ends_in_blanks) {
        _cleanup_(table_freep) Table *t = table_with_two_rows();
        _cleanup_(mam_freep) char *text = NULL;

        use_utf8();
        text = printed(t, 0, false);
        ASSERT_STREQ(text,
                     "NAME     COUNT  WHY\n"
                     "alpha        7  because it is so\n"
                     "b      1234567\n");
}

TEST(a_narrow_terminal_shortens_flexible_columns_only) {
        _cleanup_(table_freep) Table *t = table_with_two_rows();
        _cleanup_(mam_freep) char *text = NULL;

        use_utf8();
        text = printed(t, 26, false);
        ASSERT_STREQ(text,
                     "NAME     COUNT  WHY\n"
                     "alpha        7  because i…\n"
                     "b      1234567\n");
}

TEST(flexible_columns_keep_a_minimum_even_if_the_table_does_not_fit) {
        _cleanup_(table_freep) Table *t = table_with_two_rows();
        _cleanup_(mam_freep) char *text = NULL;

        use_utf8();
        text = printed(t, 5, false);
        ASSERT_TRUE(strstr(text, "because…\n"));
        ASSERT_TRUE(strstr(text, "1234567"));
}

TEST(lines_between_rows_do_not_widen_columns_and_are_cut_to_the_terminal) {
        _cleanup_(table_freep) Table *t = table_with_two_rows();
        _cleanup_(mam_freep) char *wide = NULL, *narrow = NULL;

        use_utf8();
        table_add_line(t, 4, COLOUR_RED, "a line that is much longer than any of the columns above it");
        wide = printed(t, 0, false);
        ASSERT_TRUE(strstr(wide, "NAME     COUNT  WHY\n"));
        ASSERT_TRUE(strstr(wide, "\n    a line that is much longer than any of the columns above it\n"));

        narrow = printed(t, 40, false);
        ASSERT_TRUE(strstr(narrow, "\n    a line that is much longer than any…\n"));
}

TEST(the_header_stands_before_the_first_row_and_not_before_lines) {
        _cleanup_(mam_freep) char *text = NULL;
        _cleanup_(table_freep) Table *t = NULL;

        use_utf8();
        ASSERT_OK(table_new(&t, columns, MAM_ELEMENTSOF(columns), 2));
        table_add_line(t, 0, COLOUR_NONE, "group");
        table_add(t, COLOUR_NONE, "a");
        table_add(t, COLOUR_NONE, "1");
        table_add(t, COLOUR_NONE, "x");
        table_add_line(t, 0, COLOUR_NONE, "next");
        table_add(t, COLOUR_NONE, "b");
        table_add(t, COLOUR_NONE, "2");
        table_add(t, COLOUR_NONE, "y");
        text = printed(t, 0, false);
        ASSERT_STREQ(text,
                     "group\n"
                     "  NAME  COUNT  WHY\n"
                     "  a         1  x\n"
                     "next\n"
                     "  b         2  y\n");
}

TEST(lines_alone_have_no_header) {
        _cleanup_(mam_freep) char *text = NULL;
        _cleanup_(table_freep) Table *t = NULL;

        use_utf8();
        ASSERT_OK(table_new(&t, columns, MAM_ELEMENTSOF(columns), 4));
        table_add_line(t, 0, COLOUR_NONE, "only this");
        text = printed(t, 0, false);
        ASSERT_STREQ(text, "only this\n");
}

TEST(colour_surrounds_the_text_and_not_the_padding) {
        _cleanup_(table_freep) Table *t = table_with_two_rows();
        _cleanup_(mam_freep) char *text = NULL;

        use_utf8();
        text = printed(t, 0, true);
        ASSERT_TRUE(strstr(text, "\x1b[32mb\x1b[0m      1234567\n"));
        ASSERT_TRUE(strstr(text, "\x1b[1mNAME\x1b[0m  "));
}

TEST(wide_characters_take_two_columns) {
        _cleanup_(mam_freep) char *text = NULL;
        _cleanup_(table_freep) Table *t = NULL;

        use_utf8();
        ASSERT_OK(table_new(&t, columns, MAM_ELEMENTSOF(columns), 0));
        table_add(t, COLOUR_NONE, "日本語");
        table_add(t, COLOUR_NONE, "1");
        table_add(t, COLOUR_NONE, "x");
        text = printed(t, 0, false);
        ASSERT_STREQ(text,
                     "NAME    COUNT  WHY\n"
                     "日本語      1  x\n");
}

TEST(what_a_service_says_cannot_drive_the_terminal) {
        _cleanup_(mam_freep) char *clean = NULL;

        use_utf8();
        clean = text_clean("a\x1b[31mred\nline\ttab\x07 \xc2\x9b"
                           "31m \xff \xe2\x80\xae"
                           "evil é");
        ASSERT_STREQ(clean, "a?[31mred line tab? ?31m ? ?evil é");
}

TEST(ellipsis_never_cuts_a_character) {
        _cleanup_(mam_freep) char *a = NULL, *b = NULL, *c = NULL;

        use_utf8();
        a = text_ellipsize("äöüß", 3);
        ASSERT_STREQ(a, "äö…");
        b = text_ellipsize(
                        "日本語",
                        4); /* two columns each: the second would leave no room for the ellipsis */
        ASSERT_STREQ(b, "日…");
        c = text_ellipsize("fits", 4);
        ASSERT_STREQ(c, "fits");
}

TEST(without_utf8_everything_stays_ascii) {
        _cleanup_(mam_freep) char *clean = NULL, *cut = NULL;

        ASSERT_TRUE(setlocale(LC_CTYPE, "C"));
        clean = text_clean("é");
        ASSERT_STREQ(clean, "??");
        cut = text_ellipsize("abcdef", 4);
        ASSERT_STREQ(cut, "abc~");
        use_utf8();
}
