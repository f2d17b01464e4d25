/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/json/json.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "mamctl/diff.h"
#include "mamctl/revisions.h"
#include "mamctl/value.h"

TEST(counts_are_digits_and_fit) {
        uint32_t n = 99;

        ASSERT_OK(value_parse_count("0", &n));
        ASSERT_EQ(n, 0);
        ASSERT_OK(value_parse_count("4294967295", &n));
        ASSERT_EQ(n, UINT32_MAX);
        n = 99;
        ASSERT_EQ(value_parse_count("4294967296", &n), -EINVAL);
        ASSERT_EQ(value_parse_count("99999999999999999999999", &n), -EINVAL);
        ASSERT_EQ(value_parse_count("", &n), -EINVAL);
        ASSERT_EQ(value_parse_count("-1", &n), -EINVAL);
        ASSERT_EQ(value_parse_count(" 1", &n), -EINVAL);
        ASSERT_EQ(value_parse_count("1x", &n), -EINVAL);
        ASSERT_EQ(n, 99);
}

TEST(percentages_may_have_their_sign) {
        uint32_t n = 0;

        ASSERT_OK(value_parse_percent("1", &n));
        ASSERT_EQ(n, 1);
        ASSERT_OK(value_parse_percent("100%", &n));
        ASSERT_EQ(n, 100);
        ASSERT_EQ(value_parse_percent("0", &n), -EINVAL);
        ASSERT_EQ(value_parse_percent("101", &n), -EINVAL);
        ASSERT_EQ(value_parse_percent("5%%", &n), -EINVAL);
        ASSERT_EQ(value_parse_percent("%", &n), -EINVAL);
}

TEST(steps_rise) {
        uint32_t steps[VALUE_STEPS_MAX] = { 0 };
        size_t n = 0;

        ASSERT_OK(value_parse_steps("5,25,100", steps, &n));
        ASSERT_EQ(n, 3);
        ASSERT_EQ(steps[1], 25);
        ASSERT_OK(value_parse_steps("10%,50%", steps, &n));
        ASSERT_EQ(n, 2);
        ASSERT_EQ(steps[1], 50);
        ASSERT_EQ(value_parse_steps("25,5", steps, &n), -EINVAL);
        ASSERT_EQ(value_parse_steps("5,5", steps, &n), -EINVAL);
        ASSERT_EQ(value_parse_steps("5,", steps, &n), -EINVAL);
        ASSERT_EQ(value_parse_steps(",5", steps, &n), -EINVAL);
        ASSERT_EQ(value_parse_steps("", steps, &n), -EINVAL);
        ASSERT_EQ(value_parse_steps("5 25", steps, &n), -EINVAL);
        ASSERT_EQ(value_parse_steps("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21", steps, &n),
                  -EINVAL);
        ASSERT_EQ(n, 2);
}

TEST(paths_are_absolute_and_clean) {
        ASSERT_TRUE(value_is_clean_path("/usr/bin/x"));
        ASSERT_TRUE(value_is_clean_path("/opt/..x/.y"));
        ASSERT_TRUE(!value_is_clean_path(""));
        ASSERT_TRUE(!value_is_clean_path("/"));
        ASSERT_TRUE(!value_is_clean_path("usr/bin"));
        ASSERT_TRUE(!value_is_clean_path("/usr//bin"));
        ASSERT_TRUE(!value_is_clean_path("/usr/bin/"));
        ASSERT_TRUE(!value_is_clean_path("/usr/../etc"));
        ASSERT_TRUE(!value_is_clean_path("/usr/./bin"));
}

TEST(a_word_is_one_of_a_list_as_a_whole) {
        size_t length;

        ASSERT_TRUE(value_is_one_of("off", "off|recommend|auto"));
        ASSERT_TRUE(value_is_one_of("auto", "off|recommend|auto"));
        ASSERT_TRUE(!value_is_one_of("rec", "off|recommend|auto"));
        ASSERT_TRUE(!value_is_one_of("", "off|recommend|auto"));
        ASSERT_TRUE(!value_is_one_of("off|recommend", "off|recommend|auto"));
        ASSERT_TRUE(!value_word("a|b", 2, &length));
}

static char *canonical(const char *text) {
        _cleanup_(json_object_putp) json_object *o = json_tokener_parse(text);
        char *lines = NULL;

        ASSERT_TRUE(o);
        ASSERT_OK(diff_canonical(&lines, o));
        return lines;
}

TEST(documents_are_written_in_one_way) {
        _cleanup_(mam_freep) char *a = canonical("{\"b\":[1,\"x/y\"],\"a\":{},\"c\":[]}"),
                                  *b = canonical("{\"c\":[],\"a\":{},\"b\":[1,\"x/y\"]}");

        ASSERT_STREQ(a, b);
        ASSERT_STREQ(a,
                     "{\n"
                     "  \"a\": {},\n"
                     "  \"b\": [\n"
                     "    1,\n"
                     "    \"x/y\"\n"
                     "  ],\n"
                     "  \"c\": []\n"
                     "}\n");
}

TEST(what_is_the_same_has_no_diff) {
        _cleanup_(mam_freep) char *text = NULL, *empty = NULL;

        ASSERT_OK(diff_unified(&text, "a\nb\n", "a\nb\n", "x", "y", 3));
        ASSERT_STREQ(text, "");
        ASSERT_OK(diff_unified(&empty, "", "", "x", "y", 3));
        ASSERT_STREQ(empty, "");
}

TEST(a_diff_is_unified_with_context) {
        _cleanup_(mam_freep) char *text = NULL;

        ASSERT_OK(
                        diff_unified(&text,
                                     "1\n2\n3\n4\n5\n6\n7\n8\n9\nten\n",
                                     "1\n2\nthree\n4\n5\n6\n7\n8\n9\n",
                                     "old",
                                     "new",
                                     1));
        ASSERT_STREQ(text,
                     "--- old\n"
                     "+++ new\n"
                     "@@ -2,3 +2,3 @@\n"
                     " 2\n"
                     "-3\n"
                     "+three\n"
                     " 4\n"
                     "@@ -9,2 +9 @@\n"
                     " 9\n"
                     "-ten\n");
}

TEST(changes_that_are_near_share_a_hunk) {
        _cleanup_(mam_freep) char *text = NULL;

        ASSERT_OK(diff_unified(&text, "a\n1\n2\nb\n", "A\n1\n2\nB\n", "x", "y", 1));
        ASSERT_STREQ(text, "--- x\n+++ y\n@@ -1,4 +1,4 @@\n-a\n+A\n 1\n 2\n-b\n+B\n");
}

TEST(the_shortest_edit_is_found) {
        _cleanup_(mam_freep) char *text = NULL, *all = NULL;

        ASSERT_OK(diff_unified(&text, "b\nc\nd\n", "a\nb\nd\ne\n", "x", "y", 0));
        ASSERT_STREQ(text, "--- x\n+++ y\n@@ -0,0 +1 @@\n+a\n@@ -2 +2,0 @@\n-c\n@@ -3,0 +4 @@\n+e\n");
        ASSERT_OK(diff_unified(&all, "", "a\nb\n", "x", "y", 3));
        ASSERT_STREQ(all, "--- x\n+++ y\n@@ -0,0 +1,2 @@\n+a\n+b\n");
}

TEST(a_revision_is_named_by_its_beginning_or_its_version) {
        _cleanup_(json_object_putp) json_object *list = json_tokener_parse(
                        "[{\"revision\":\"abc111\",\"version\":\"2\",\"status\":\"current\"},"
                        "{\"revision\":\"abd222\",\"version\":\"1\",\"status\":\"previous\"},"
                        "{\"revision\":\"2ff333\",\"version\":\"1\",\"status\":\"reverted\"}]");
        json_object *first, *second, *third;
        bool ambiguous = true;

        ASSERT_TRUE(list);
        first = json_object_array_get_idx(list, 0);
        second = json_object_array_get_idx(list, 1);
        third = json_object_array_get_idx(list, 2);
        ASSERT_TRUE(revisions_find(list, "abd222", &ambiguous) == second && !ambiguous);
        ASSERT_TRUE(revisions_find(list, "abd", &ambiguous) == second && !ambiguous);
        ASSERT_TRUE(!revisions_find(list, "ab", &ambiguous) && ambiguous);
        ASSERT_TRUE(!revisions_find(list, "x", &ambiguous) && !ambiguous);
        ASSERT_TRUE(revisions_find(list, "1", &ambiguous) == second); /* the newest of that version */
        ASSERT_TRUE(revisions_find(list, "2", &ambiguous) == first);  /* rather than a name that begins so */
        ASSERT_TRUE(revisions_find(list, "2f", &ambiguous) == third);
        ASSERT_TRUE(revisions_with_status(list, "previous") == second);
        ASSERT_TRUE(!revisions_with_status(list, "deploying"));
}
