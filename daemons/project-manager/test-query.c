/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <string.h>

#include "libmam/util/test.h"
#include "project-manager/query.h"

/* 2026-03-31T10:00:00Z */
#define NOW ((uint64_t) 1774951200 * 1000000)

static const QueryChoice statuses[] = {
        { "todo", "{todo}" },
        { "doing", "{doing}" },
        { "done", "{done}" },
        { "open", "{todo,doing}" },
        { 0 },
};
static const QueryChoice priorities[] = { { "low", "{low}" },
                                          { "normal", "{normal}" },
                                          { "high", "{high}" },
                                          { 0 } };
static const char *const priority_order[] = { "low", "normal", "high", NULL };
static const QueryField fields[] = {
        { .name = "status", .type = QUERY_CHOICE, .column = "t.status", .choices = statuses },
        { .name = "priority",
          .type = QUERY_CHOICE,
          .column = "t.priority",
          .choices = priorities,
          .order = priority_order },
        { .name = "assignee",
          .type = QUERY_NAME,
          .column = "t.assignee",
          .is_person = true,
          .nullable = true },
        { .name = "label", .type = QUERY_NAME, .column = "t.labels", .is_list = true, .nullable = true },
        { .name = "due", .type = QUERY_DATE, .column = "t.due", .nullable = true },
        { .name = "created", .type = QUERY_TIME, .column = "t.created_at" },
        { .name = "estimate", .type = QUERY_NUMBER, .column = "t.estimate", .nullable = true },
        { 0 },
};
static const QuerySchema schema = { .fields = fields, .text_column = "t.search" };
static const QueryContext context = { .me = "ann", .now_usec = NOW };

/* The condition, with "; PARAMETER; PARAMETER" behind it. */
static const char *sql_of(const char *text) {
        static char buffer[8192];
        _cleanup_(query_freep) Query *q = NULL;
        _cleanup_(mam_buffer_done) MamBuffer sql = MAM_BUFFER_INIT;
        const char *const *parameters;
        QueryError error;
        size_t n;

        ASSERT_OK(query_parse(&q, text, &schema, &context, &error));
        ASSERT_OK(query_to_sql(q, 1, &sql));
        parameters = query_parameters(q, &n);
        for (size_t i = 0; i < n; i++)
                ASSERT_OK(mam_buffer_appendf(&sql, "; %s", parameters[i]));
        ASSERT_TRUE(sql.size < sizeof(buffer));
        strcpy(buffer, mam_buffer_bytes(&sql));
        return buffer;
}

static void check_error(const char *text, size_t offset, const char *message) {
        _cleanup_(query_freep) Query *q = NULL;
        QueryError error;

        ASSERT_EQ(query_parse(&q, text, &schema, &context, &error), -EINVAL);
        ASSERT_STREQ(error.message, message);
        ASSERT_EQ(error.offset, offset);
}

TEST(nothing_matches_everything) {
        ASSERT_STREQ(sql_of(""), "true");
        ASSERT_STREQ(sql_of("  "), "true");
}

TEST(a_choice_may_stand_for_several_values) {
        ASSERT_STREQ(sql_of("status:todo"), "((t.status = ANY ($1::text[]))); {todo}");
        ASSERT_STREQ(sql_of("status:open"), "((t.status = ANY ($1::text[]))); {todo,doing}");
        ASSERT_STREQ(sql_of("status=open,done"), "((t.status = ANY ($1::text[]))); {todo,doing,done}");
        ASSERT_STREQ(sql_of("status!=done"), "(NOT COALESCE((t.status = ANY ($1::text[])), false)); {done}");
}

TEST(choices_with_an_order_can_be_compared) {
        ASSERT_STREQ(sql_of("priority>=normal"), "((t.priority = ANY ($1::text[]))); {\"normal\",\"high\"}");
        ASSERT_STREQ(sql_of("priority<normal"), "((t.priority = ANY ($1::text[]))); {\"low\"}");
        ASSERT_STREQ(sql_of("priority<low"), "((t.priority = ANY ($1::text[]))); {}");
        check_error("status<done", 7, "status has no order: use \":\"");
}

TEST(a_person_may_be_me) {
        ASSERT_STREQ(sql_of("assignee:me,bob"), "((t.assignee = ANY ($1::text[]))); {\"ann\",\"bob\"}");
        ASSERT_STREQ(sql_of("assignee:\"me\""), "((t.assignee = ANY ($1::text[]))); {\"me\"}");
        ASSERT_STREQ(sql_of("label:me"), "((t.labels && $1::text[])); {\"me\"}");
}

TEST(whether_a_field_is_set_can_be_asked) {
        ASSERT_STREQ(sql_of("assignee:none"), "(t.assignee IS NULL)");
        ASSERT_STREQ(sql_of("assignee!=none"), "(t.assignee IS NOT NULL)");
        ASSERT_STREQ(sql_of("due:any"), "(t.due IS NOT NULL)");
        ASSERT_STREQ(sql_of("label:none"), "(cardinality(t.labels) = 0)");
        ASSERT_STREQ(sql_of("label:\"none\""), "((t.labels && $1::text[])); {\"none\"}");
        ASSERT_STREQ(sql_of("label:nonesuch"), "((t.labels && $1::text[])); {\"nonesuch\"}");
}

TEST(days_are_whole_days) {
        ASSERT_STREQ(sql_of("due<2026-12-01"), "((t.due < $1::date)); 2026-12-01");
        ASSERT_STREQ(sql_of("due<=2026-12-01"), "((t.due < $1::date)); 2026-12-02");
        ASSERT_STREQ(sql_of("due>2026-12-31"), "((t.due >= $1::date)); 2027-01-01");
        ASSERT_STREQ(sql_of("due>=2026-12-01"), "((t.due >= $1::date)); 2026-12-01");
        ASSERT_STREQ(sql_of("due:today"),
                     "(((t.due >= $1::date AND t.due < $2::date))); 2026-03-31; 2026-04-01");
        ASSERT_STREQ(sql_of("created>=yesterday"),
                     "((t.created_at >= $1::timestamptz)); 2026-03-30T00:00:00Z");
        ASSERT_STREQ(sql_of("created<2026-01-31T08:00:00.5+02:00"),
                     "((t.created_at < $1::timestamptz)); 2026-01-31T06:00:00.500000Z");
}

TEST(dates_may_be_relative_to_today) {
        ASSERT_STREQ(sql_of("due<+3d"), "((t.due < $1::date)); 2026-04-03");
        ASSERT_STREQ(sql_of("due<-2w"), "((t.due < $1::date)); 2026-03-17");
        /* the 31st of a month that has none */
        ASSERT_STREQ(sql_of("due<-1m"), "((t.due < $1::date)); 2026-02-28");
        ASSERT_STREQ(sql_of("due<2y"), "((t.due < $1::date)); 2028-03-31");
        ASSERT_STREQ(sql_of("due<23m"), "((t.due < $1::date)); 2028-02-29");
}

TEST(ranges_may_be_open) {
        ASSERT_STREQ(sql_of("due:2026-01-01..2026-01-31"),
                     "(((t.due >= $1::date AND t.due < $2::date))); 2026-01-01; 2026-02-01");
        ASSERT_STREQ(sql_of("due:..today"), "(((t.due < $1::date))); 2026-04-01");
        ASSERT_STREQ(sql_of("estimate:3.."), "(((t.estimate >= $1::numeric))); 3");
        ASSERT_STREQ(sql_of("estimate:1,5..8"),
                     "(((t.estimate >= $1::numeric AND t.estimate <= $2::numeric) OR (t.estimate >= $3::numeric AND "
                     "t.estimate <= $4::numeric))); 1; 1; 5; 8");
        check_error("due<1d..2d", 4, "A range needs \":\"");
        check_error("due:..", 4, "due needs a value");
}

TEST(words_and_phrases_are_text) {
        ASSERT_STREQ(sql_of("rollout"),
                     "(t.search @@ plainto_tsquery('english', $1::text) OR numnode(plainto_tsquery('english', $1::text)) "
                     "= 0); rollout");
        ASSERT_STREQ(sql_of("\"blue green\""),
                     "(t.search @@ phraseto_tsquery('english', $1::text) OR numnode(phraseto_tsquery('english', $1::text)) "
                     "= 0); blue green");
        ASSERT_STREQ(sql_of("it's*"),
                     "(t.search @@ to_tsquery('english', $1::text) OR numnode(to_tsquery('english', $1::text)) = 0); "
                     "'it''s':*");
}

TEST(operators_bind_as_usual) {
        ASSERT_STREQ(sql_of("label:a label:b OR label:c"),
                     "((((t.labels && $1::text[])) AND ((t.labels && $2::text[]))) OR ((t.labels && $3::text[]))); "
                     "{\"a\"}; {\"b\"}; {\"c\"}");
        ASSERT_STREQ(sql_of("label:a AND (label:b OR label:c)"),
                     "(((t.labels && $1::text[])) AND (((t.labels && $2::text[])) OR ((t.labels && $3::text[])))); "
                     "{\"a\"}; {\"b\"}; {\"c\"}");
        ASSERT_STREQ(sql_of("-label:a NOT label:b"),
                     "((NOT COALESCE(((t.labels && $1::text[])), false)) AND (NOT COALESCE(((t.labels && $2::text[])), "
                     "false))); {\"a\"}; {\"b\"}");
}

TEST(nothing_of_a_client_is_in_the_statement) {
        ASSERT_STREQ(sql_of("label:\"a\\\"b\\\\c'); DROP TABLE tasks; --\""),
                     "((t.labels && $1::text[])); {\"a\\\"b\\\\c'); DROP TABLE tasks; --\"}");
}

TEST(words_that_are_looked_for_are_known) {
        _cleanup_(query_freep) Query *q = NULL;
        QueryError error;

        ASSERT_OK(
                        query_parse(&q,
                                    "alpha -beta (\"two words\" OR NOT NOT gamma) label:x",
                                    &schema,
                                    &context,
                                    &error));
        ASSERT_STREQ(query_words(q), "alpha \"two words\" gamma");
}

TEST(errors_say_where_and_what) {
        check_error("colour:red",
                    0,
                    "There is no field \"colour\" (status, priority, assignee, label, due, created, estimate); put text in "
                    "quotation marks");
        check_error("status:finished", 7, "\"finished\" is no value of status: todo, doing, done, open");
        check_error("due<soon",
                    4,
                    "due: \"soon\" is not a date: write YYYY-MM-DD, today, yesterday, tomorrow, or +3d, -2w, 1m");
        check_error("due:2026-02-29",
                    4,
                    "due: \"2026-02-29\" is not a date: write YYYY-MM-DD, today, yesterday, tomorrow, or +3d, -2w, 1m");
        check_error("due<9999-12-31 due>9999y", 4, "due: \"9999-12-31\" is outside the years 1 to 9999");
        check_error("estimate:many", 9, "estimate needs a number, not \"many\"");
        check_error("a (b", 2, "The parenthesis has no end");
        check_error("a b)", 3, "There is nothing open that this parenthesis ends");
        check_error("a OR", 4, "A term is missing here");
        check_error("label:", 6, "label needs a value");
        check_error("label:a,", 8, "label needs a value");
        check_error("\"abc", 0, "The quotation mark has no end");
        check_error("\"\"", 0, "The quotation marks are empty");
        check_error("status!=none", 8, "\"none\" is no value of status: todo, doing, done, open");
}

TEST(everything_has_a_bound) {
        _cleanup_(query_freep) Query *q = NULL;
        char text[QUERY_TEXT_MAX + 2];
        QueryError error;

        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        ASSERT_EQ(query_parse(&q, text, &schema, &context, &error), -E2BIG);
        text[QUERY_TEXT_MAX] = '\0';
        ASSERT_OK(query_parse(&q, text, &schema, &context, &error));

        memset(text, '(', QUERY_TEXT_MAX);
        q = query_free(q);
        ASSERT_EQ(query_parse(&q, text, &schema, &context, &error), -E2BIG);
        memset(text, '-', QUERY_TEXT_MAX);
        ASSERT_EQ(query_parse(&q, text, &schema, &context, &error), -E2BIG);
        for (size_t i = 0; i < QUERY_TEXT_MAX; i += 2)
                memcpy(text + i, "a ", 2);
        ASSERT_EQ(query_parse(&q, text, &schema, &context, &error), -E2BIG);
        ASSERT_STREQ(error.message, "There are too many values; 24 are possible");
}
