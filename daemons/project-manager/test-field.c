/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>

#include "libmam/util/test.h"
#include "project-manager/project.h"

static json_object *parse(const char *text) {
        json_object *o = NULL;

        ASSERT_OK(mam_json_parse(&o, text, strlen(text), NULL));
        return o;
}

TEST(keys) {
        char project[11];
        int32_t number = 0;

        ASSERT_TRUE(project_key_is_valid("AB"));
        ASSERT_TRUE(project_key_is_valid("A123456789"));
        ASSERT_TRUE(!project_key_is_valid("A"));
        ASSERT_TRUE(!project_key_is_valid("A1234567890"));
        ASSERT_TRUE(!project_key_is_valid("1A"));
        ASSERT_TRUE(!project_key_is_valid("Ab"));
        ASSERT_TRUE(!project_key_is_valid("A-B"));
        ASSERT_TRUE(!project_key_is_valid(""));

        ASSERT_TRUE(task_key_parse("PROJ-123", project, &number));
        ASSERT_STREQ(project, "PROJ");
        ASSERT_EQ(number, 123);
        ASSERT_TRUE(task_key_parse("PROJ-2147483647", project, &number));
        ASSERT_EQ(number, INT32_MAX);
        for (size_t i = 0; i < 11; i++) {
                static const char *const bad[] = {
                        "",        "PROJ", "PROJ-",           "PROJ-0",        "PROJ-01", "PROJ-+1",
                        "PROJ-1x", "-1",   "PROJ-2147483648", "ABCDEFGHIJK-1", "proj-1"
                };

                if (task_key_parse(bad[i], project, &number))
                        mam_test_fail_string(__FILE__, __LINE__, "refused", bad[i]);
        }
        ASSERT_EQ(number, INT32_MAX);
}

TEST(uuids) {
        ASSERT_TRUE(uuid_is_valid("01234567-89ab-4cde-8f01-23456789ABCD"));
        ASSERT_TRUE(!uuid_is_valid("01234567-89ab-4cde-8f01-23456789abc"));
        ASSERT_TRUE(!uuid_is_valid("01234567-89ab-4cde-8f01-23456789abcde"));
        ASSERT_TRUE(!uuid_is_valid("0123456789ab4cde8f0123456789abcd"));
        ASSERT_TRUE(!uuid_is_valid("01234567-89ab-4cde-8f01_23456789abcd"));
        ASSERT_TRUE(!uuid_is_valid("{1234567-89ab-4cde-8f01-23456789abc}"));
}

TEST(content_types) {
        ASSERT_TRUE(content_type_is_json("application/json", false));
        ASSERT_TRUE(content_type_is_json("Application/JSON; charset=utf-8", false));
        ASSERT_TRUE(content_type_is_json("application/json ;x=y", false));
        ASSERT_TRUE(content_type_is_json("application/merge-patch+json", true));
        ASSERT_TRUE(!content_type_is_json("application/merge-patch+json", false));
        ASSERT_TRUE(!content_type_is_json("application/json-patch+json", true));
        ASSERT_TRUE(!content_type_is_json("application/json x", true));
        ASSERT_TRUE(!content_type_is_json("", true));
        ASSERT_TRUE(!content_type_is_json(NULL, true));
}

TEST(conditions) {
        char text[CONDITION_TEXT_SIZE], many[512] = "";
        Condition c = { 0 };

        ASSERT_OK(condition_parse(&c, "*", true));
        ASSERT_TRUE(c.any && condition_matches(&c, 77));
        ASSERT_TRUE(!condition_to_array(&c, text));

        ASSERT_OK(condition_parse(&c, "\"3\"", true));
        ASSERT_TRUE(!c.any && condition_matches(&c, 3) && !condition_matches(&c, 4));
        ASSERT_OK(condition_parse(&c, " , \"1\" ,\t\"22\",W/\"5\", \"x y\"", true) == -EINVAL ? 0 : -1);
        ASSERT_OK(condition_parse(&c, " , \"1\" ,\t\"22\",W/\"5\", \"xy\", \"07\", \"\"", true));
        ASSERT_STREQ(condition_to_array(&c, text), "{1,22}");
        ASSERT_OK(condition_parse(&c, "W/\"5\"", false));
        ASSERT_TRUE(condition_matches(&c, 5));
        ASSERT_OK(condition_parse(&c, "W/\"5\"", true));
        ASSERT_TRUE(!condition_matches(&c, 5));
        ASSERT_STREQ(condition_to_array(&c, text), "{}");
        ASSERT_OK(condition_parse(&c, "\"9223372036854775808\"", true));
        ASSERT_EQ(c.n, 0);

        ASSERT_EQ(condition_parse(&c, "", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, ",", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, "1", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, "\"1", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, "\"1\"\"2\"", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, "\"1\" \"2\"", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, "*, \"1\"", true), -EINVAL);
        ASSERT_EQ(condition_parse(&c, "w/\"1\"", true), -EINVAL);

        for (unsigned i = 0; i < CONDITION_TAGS_MAX; i++)
                strcat(many, "\"999999999999999999\",");
        ASSERT_OK(condition_parse(&c, many, true));
        ASSERT_EQ(strlen(condition_to_array(&c, text)), 16 * 19 + 1);
        strcat(many, "\"1\"");
        ASSERT_EQ(condition_parse(&c, many, true), -E2BIG);
}

TEST(cursors) {
        Cursor in = { .created_usec = 1767323045123456, .id = "01234567-89ab-4cde-8f01-23456789abcd" },
               out = { 0 };
        char text[CURSOR_TEXT_SIZE], changed[CURSOR_TEXT_SIZE];

        ASSERT_OK(cursor_format(text, 'p', &in));
        ASSERT_EQ(strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                  strlen(text));
        ASSERT_OK(cursor_parse(&out, 'p', text));
        ASSERT_EQ(out.created_usec, in.created_usec);
        ASSERT_STREQ(out.id, in.id);
        ASSERT_EQ(cursor_parse(&out, 't', text), -EINVAL);

        /* whatever is done to one, it is refused or still names a position */
        for (size_t i = 0; text[i]; i++)
                for (unsigned c = 1; c < 256; c++) {
                        strcpy(changed, text);
                        changed[i] = (char) c;
                        if (cursor_parse(&out, 'p', changed) >= 0)
                                ASSERT_TRUE(out.created_usec >= 0 && uuid_is_valid(out.id));
                }
        for (size_t i = 0; text[i]; i++) {
                strcpy(changed, text);
                changed[i] = '\0';
                ASSERT_EQ(cursor_parse(&out, 'p', changed), -EINVAL);
        }
}

TEST(texts_are_counted_in_characters) {
        static const FieldRule rule = { .min = 1, .max = 3 };
        _cleanup_(json_object_putp) json_object *o =
                        parse("{\"a\":\"äöü\",\"b\":\"äöüx\",\"c\":\"\\u009f\",\"d\":\"\\u007f\"}");
        FieldText t = { 0 };
        FieldErrors e = { 0 };

        field_read_text(o, "a", &rule, &t, &e);
        ASSERT_EQ(e.n, 0);
        ASSERT_STREQ(t.value, "äöü");
        field_read_text(o, "b", &rule, &t, &e);
        ASSERT_STREQ(e.errors[0].detail, "must have at most 3 characters");
        field_read_text(o, "c", &rule, &t, &e);
        field_read_text(o, "d", &rule, &t, &e);
        ASSERT_EQ(e.n, 3);
        ASSERT_STREQ(t.value, "äöü");

        ASSERT_TRUE(field_text_is_plain("äöü €😀"));
        ASSERT_TRUE(!field_text_is_plain("\xc3"));
        ASSERT_TRUE(!field_text_is_plain("\xed\xa0\x80"));
        ASSERT_TRUE(!field_text_is_plain("\xc0\x80"));
        ASSERT_TRUE(!field_text_is_plain("a\nb"));
}

TEST(dates) {
        static const char *const good[] = { "2026-12-31",
                                            "2028-02-29",
                                            "2000-02-29",
                                            "0001-01-01",
                                            "9999-12-31" };
        static const char *const bad[] = { "2026-13-01", "2026-00-01",  "2026-04-31", "2027-02-29",
                                           "1900-02-29", "2026-1-01",   "2026-01-1x", "20260101",
                                           "",           "2026-01-01T", "infinity",   "-026-01-01" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(good) + MAM_ELEMENTSOF(bad); i++) {
                bool want = i < MAM_ELEMENTSOF(good);
                const char *date = want ? good[i] : bad[i - MAM_ELEMENTSOF(good)];
                _cleanup_(json_object_putp) json_object *o = json_object_new_object();
                FieldText t = { 0 };
                FieldErrors e = { 0 };

                json_object_object_add(o, "due", json_object_new_string(date));
                field_read_date(o, "due", &t, &e);
                if ((e.n == 0) != want || t.set != want)
                        mam_test_fail_string(__FILE__, __LINE__, "judged rightly", date);
        }
}

TEST(a_patch_tells_absent_from_null) {
        _cleanup_(json_object_putp) json_object *o =
                        parse("{\"assignee\":null,\"description\":null,\"title\":\"x\"}");
        FieldErrors e = { 0 };
        TaskDraft d = { 0 };

        task_draft_read(&d, o, true, &e);
        ASSERT_EQ(e.n, 0);
        ASSERT_TRUE(d.assignee.set && !d.assignee.value);
        ASSERT_TRUE(d.description.set);
        ASSERT_STREQ(d.description.value, "");
        ASSERT_TRUE(!d.due.set && !d.status.set);
        ASSERT_STREQ(d.title.value, "x");
}

TEST(more_errors_than_are_kept_are_counted) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object(), *problem = NULL;
        json_object *list = NULL;
        FieldErrors e = { 0 };
        ProjectDraft d = { 0 };
        char name[300];

        for (unsigned i = 0; i < 40; i++) {
                snprintf(name, sizeof(name), "unknown%u", i);
                json_object_object_add(o, name, NULL);
        }
        /* a long name is cut between characters, so that the answer stays JSON */
        memset(name, 'n', sizeof(name));
        memcpy(name + 90, "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 13);
        json_object_object_del(o, "unknown0");
        json_object_object_add(o, name, NULL);
        project_draft_read(&d, o, false, &e);
        ASSERT_EQ(e.n, 40 + 2);
        problem = field_errors_to_problem(&e);
        ASSERT_TRUE(problem && json_object_object_get_ex(problem, "errors", &list));
        ASSERT_EQ(json_object_array_length(list), FIELD_ERRORS_MAX);

        memset(&e, 0, sizeof(e));
        field_error(&e, name, "is long");
        json_object_put(problem);
        problem = field_errors_to_problem(&e);
        json_object_put(parse(mam_json_to_string(problem))); /* strict about UTF-8 */
}
