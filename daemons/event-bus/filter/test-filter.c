/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>
#include <time.h>

#include "event-bus/filter/cesql.h"
#include "event-bus/filter/filter.h"
#include "libmam/util/test.h"

static MamEvent *make_event(const char *more) {
        char text[4096];
        MamEvent *e = NULL;
        MamJsonError error = { 0 };

        (void) snprintf(text,
                        sizeof(text),
                        "{\"specversion\":\"1.0\",\"id\":\"myId\",\"source\":\"https://example.com/a\","
                        "\"type\":\"com.github.error\"%s%s}",
                        *more ? "," : "",
                        more);
        if (mam_event_parse(&e, text, strlen(text), &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, text, error.message);
        return e;
}

typedef struct Expression {
        const char *text, *result;
} Expression;

static void explain(const MamEvent *e, const Expression *list, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_(cesql_freep) Cesql *c = NULL;
                MamJsonError error = { 0 };
                char result[256];

                if (cesql_parse(&c, list[i].text, strlen(list[i].text), "", &error) < 0)
                        mam_test_fail_string(__FILE__, __LINE__, list[i].text, error.message);
                cesql_explain(c, e, result, sizeof(result));
                if (strcmp(result, list[i].result) != 0)
                        mam_test_fail_string(__FILE__, __LINE__, list[i].text, result);
                ASSERT_EQ(cesql_matches(c, e), strcmp(result, "true") == 0 || strcmp(result, "'true'") == 0);
        }
}

TEST(cesql_operators) {
        static const Expression list[] = {
                { "4 * 2 + 4 / 2", "10" },
                { "4 * (2 + 4) / 2", "12" },
                { "5 / 3", "1" },
                { "-5 / 3", "-1" },
                { "-5 % 3", "-2" },
                { "5 / 0", "error: math" },
                { "5 % 0", "error: math" },
                { "missing / 0", "error: missing attribute" },
                { "-4 + -1", "-5" },
                { "4 -1", "3" },
                { "- (3)", "-3" },
                { "'5' + 3", "8" },
                { "5 + TRUE", "6" },
                { "2147483647 + 1", "error: math" },
                { "-2147483648", "-2147483648" },
                { "TRUE = FALSE", "false" },
                { "2 = 2", "true" },
                { "'abc' = '123'", "false" },
                { "'abc' != '123'", "true" },
                { "1 <> 2", "true" },
                { "missing != 2", "error: missing attribute" },
                { "2 <= 2", "true" },
                { "3 < 2", "false" },
                { "2 >= 3", "false" },
                { "'10' > 9", "true" },
                { "true = 'TRUE'", "false" },
                { "'TRUE' = true", "true" },
                { "1 = '1'", "true" },
                { "'x' = 1", "error: cast" },
                { "true AND true", "true" },
                { "true and false and missing", "false" },
                { "TRUE OR missing", "true" },
                { "FALSE OR missing", "error: missing attribute" },
                { "TRUE XOR TRUE XOR TRUE", "true" },
                { "NOT TRUE", "false" },
                { "NOT 'false'", "true" },
                { "NOT 'abc'", "error: cast" },
                { "NOT (id = 'x')", "true" },
                { "(id = 'myId' OR type LIKE '%.success') AND (id = 'notmyId' OR type LIKE '%.error')",
                  "true" },
                { "EXISTS id AND NOT EXISTS subject", "true" },
                { "123 IN (1, 2, '123')", "true" },
                { "'abc' IN ('def', 1)", "false" },
                { "1 IN ('abc')", "error: cast" },
                { "id NOT IN ('a', CONCAT('my', 'Id'))", "false" },
                { "1 + 1 = 2 AND 2 * 3 > 5", "true" },
        };
        _cleanup_(mam_event_freep) MamEvent *e = make_event("");

        explain(e, list, MAM_ELEMENTSOF(list));
}

TEST(cesql_like) {
        static const Expression list[] = {
                { "'abc' LIKE 'abc'", "true" },         { "'ab\\c' LIKE 'ab\\c'", "true" },
                { "'abc' NOT LIKE 'abc'", "false" },    { "'azzzbzzzc' LIKE 'a%b%c'", "true" },
                { "'ac' LIKE 'abc'", "false" },         { "'' LIKE '%%'", "true" },
                { "'.ab.cde.' LIKE '.%.%.'", "true" },  { "'ab.cde' LIKE '.%.%.'", "false" },
                { "'azbzc' LIKE 'a_b_c'", "true" },     { "'abc' LIKE 'a_b_c'", "false" },
                { "'a_b_c' LIKE 'a\\_b\\_c'", "true" }, { "'azbzc' LIKE 'a\\_b\\_c'", "false" },
                { "'a%b%c' LIKE 'a\\%b\\%c'", "true" }, { "'\xc3\xa4x' LIKE '_x'", "true" },
                { "'\xc3\xa4' LIKE '__'", "false" },    { "234 LIKE '23_'", "true" },
                { "TRUE LIKE '%ue'", "true" },          { "myext LIKE 'abc%123\\%456\\_d_f'", "true" },
                { "source like 'https://%'", "true" },  { "missing LIKE '%'", "error: missing attribute" },
        };
        _cleanup_(mam_event_freep) MamEvent *e = make_event("\"myext\":\"abc123123%456_dzf\"");

        explain(e, list, MAM_ELEMENTSOF(list));
}

TEST(cesql_functions) {
        static const Expression list[] = {
                { "LENGTH('\xc3\xa4"
                  "bc')",
                  "3" },
                { "length(TRUE)", "4" },
                { "CONCAT()", "''" },
                { "CONCAT('a', 1, TRUE, 'b', 'c')", "'a1truebc'" },
                { "CONCAT_WS(',', 'a', 'b', 'c')", "'a,b,c'" },
                { "CONCAT_WS(',')", "''" },
                { "LOWER('A\xc3\x84"
                  "bC')",
                  "'a\xc3\xa4"
                  "bc'" },
                { "UPPER('abc')", "'ABC'" },
                { "TRIM(' \t a b c\xe3\x80\x80')", "'a b c'" },
                { "LEFT('\xc3\xa4"
                  "bc', 2)",
                  "'\xc3\xa4"
                  "b'" },
                { "LEFT('abc', 10)", "'abc'" },
                { "LEFT('abc', -2)", "error: function" },
                { "RIGHT('abc', 2)", "'bc'" },
                { "RIGHT('', 0)", "''" },
                { "SUBSTRING('Quadratically', 5)", "'ratically'" },
                { "SUBSTRING('Sakila', -3)", "'ila'" },
                { "SUBSTRING('abcdef', 2, 4)", "'bcde'" },
                { "SUBSTRING('Sakila', -5, 3)", "'aki'" },
                { "SUBSTRING('abc', 0, 1)", "''" },
                { "SUBSTRING('abcdef', 2, 100)", "'bcdef'" },
                { "SUBSTRING('abcdef', 10)", "error: function" },
                { "SUBSTRING('abcdef', -10, 10)", "error: function" },
                { "SUBSTRING('abcdef', 1, -1)", "error: function" },
                { "ABS(-10)", "10" },
                { "ABS(-2147483648)", "error: math" },
                { "INT('-1')", "-1" },
                { "INT(TRUE)", "1" },
                { "INT('ABC')", "error: cast" },
                { "INT('2147483648')", "error: cast" },
                { "BOOL('TRUE')", "true" },
                { "BOOL(0)", "false" },
                { "BOOL(-50)", "true" },
                { "BOOL('x')", "error: cast" },
                { "STRING(-1)", "'-1'" },
                { "STRING(FALSE)", "'false'" },
                { "IS_INT('12')", "true" },
                { "IS_INT('x') OR IS_INT(TRUE)", "false" },
                { "IS_BOOL('true') AND IS_BOOL(FALSE)", "true" },
                { "'it\\'s' = \"it's\" AND 'it''s' = \"it's\"", "true" },
        };
        _cleanup_(mam_event_freep) MamEvent *e = make_event("");

        explain(e, list, MAM_ELEMENTSOF(list));
}

TEST(cesql_attributes_are_cast_where_needed) {
        static const Expression list[] = {
                { "mybool", "'true'" },
                { "myint = 10", "true" },
                { "myint + 1", "11" },
                { "hop < ttl", "true" },
                { "INT(hop) < INT(ttl) and INT(hop) < 1000", "true" },
                { "time", "'2018-04-26T14:48:09+02:00'" },
                { "subject = 'Francesco' AND (firstname = 'x' OR firstname = 'Francesco')", "true" },
                { "1abc = 'x'", "true" },
        };
        _cleanup_(mam_event_freep) MamEvent *e = make_event(
                        "\"mybool\":true,\"myint\":10,\"hop\":2,\"ttl\":\"5\",\"subject\":\"Francesco\","
                        "\"firstname\":\"Francesco\",\"1abc\":\"x\",\"time\":\"2018-04-26T14:48:09+02:00\"");

        explain(e, list, MAM_ELEMENTSOF(list));
}

TEST(cesql_errors_name_the_place) {
        static const struct {
                const char *text, *message;
        } cases[] = {
                { "", "at character 1: the expression ends too early" },
                { "1 +", "at character 4: the expression ends too early" },
                { "(1", "at character 3: ')' is expected" },
                { "1 2", "at character 3: an operator is expected" },
                { "'\xc3\xa4' = 'x", "at character 7: the string has no end" },
                { "Subject = 'a'", "at character 1: names of attributes consist of a-z and 0-9" },
                { "2147483648 = 1", "at character 1: the integer is beyond 32 bits" },
                { "NOPE(1)", "at character 1: there is no such function" },
                { "LENGTH('a', 'b')", "at character 1: the function does not take so many arguments" },
                { "CONCAT_WS()", "at character 1: the function does not take so many arguments" },
                { "id LIKE subject", "at character 9: a pattern in quotes is expected behind LIKE" },
                { "id IN ()", "at character 9: IN needs at least one value" },
                { "true AND false OR true",
                  "at character 18: put parentheses where AND, OR and XOR are mixed" },
                { "NOT id = 'x'", "at character 9: put parentheses around what NOT is for" },
                { "EXISTS 'a'", "at character 8: the name of an attribute is expected" },
                { "1 = #", "at character 5: a value is expected" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                MamJsonError error = { 0 };
                Cesql *c = NULL;

                ASSERT_EQ(cesql_parse(&c, cases[i].text, strlen(cases[i].text), "/f", &error), -EBADMSG);
                ASSERT_STREQ(error.message, cases[i].message);
                ASSERT_STREQ(error.pointer, "/f");
        }
}

static char *repeat(const char *head, const char *part, size_t n, const char *tail) {
        size_t size = strlen(part);
        char *s = malloc(strlen(head) + n * size + strlen(tail) + 1), *at;

        ASSERT_TRUE(s);
        at = stpcpy(s, head);
        for (size_t i = 0; i < n; i++)
                at = stpcpy(at, part);
        (void) strcpy(at, tail);
        return s;
}

TEST(cesql_is_bounded) {
        _cleanup_(mam_event_freep) MamEvent *e = make_event("\"x\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"");
        static const struct {
                const char *head, *part;
                size_t n;
                const char *tail, *message;
        } refused[] = {
                { "", "(", 100, "1", "nested too deeply" },
                { "", "NOT ", 100, "true", "nested too deeply" },
                { "1", " + 1", 100, "", "nested too deeply" },
                { "1", " + 1", 4000, "", "nested too deeply" },
                { "true", " AND true", 2000, "", "the expression is too long" },
        };
        _cleanup_(mam_freep) char *chain = repeat("true", " AND true", 900, ""), *like = NULL,
                                  *text = repeat("x", "", 0, "");
        const Expression fine[] = { { chain, "true" } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(refused); i++) {
                _cleanup_(mam_freep) char *s =
                                repeat(refused[i].head, refused[i].part, refused[i].n, refused[i].tail);
                MamJsonError error = { 0 };
                Cesql *c = NULL;

                ASSERT_EQ(cesql_parse(&c, s, strlen(s), "", &error), -EBADMSG);
                ASSERT_TRUE(strstr(error.message, refused[i].message));
        }
        explain(e, fine, 1);

        /* A string that doubles itself, and a pattern that looks at it again and again. */
        for (unsigned i = 0; i < 6; i++) {
                char *longer = NULL;

                ASSERT_TRUE(asprintf(&longer, "CONCAT(%s,%s,%s)", text, text, text) > 0);
                free(text);
                text = longer;
        }
        ASSERT_TRUE(asprintf(&like, "%s LIKE '%%a%%a%%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab'", text) > 0);
        const Expression hard[] = { { like, "error: too much work" } };
        explain(e, hard, 1);
}

/* ---- filters ---- */

static Filter *parse_filter(const char *text) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        Filter *f = NULL;
        MamJsonError error = { 0 };

        ASSERT_OK(mam_json_parse(&o, text, strlen(text), NULL));
        if (filter_parse(&f, o, "/filters", &error) < 0)
                mam_test_fail_string(__FILE__, __LINE__, text, error.message);
        return f;
}

TEST(filters_of_all_dialects) {
        static const struct {
                const char *text;
                bool matches;
        } cases[] = {
                { "[]", true },
                { "[{\"exact\":{\"type\":\"com.github.error\"}}]", true },
                { "[{\"exact\":{\"type\":\"com.github.error\",\"id\":\"other\"}}]", false },
                { "[{\"exact\":{\"subject\":\"x\"}}]", false },
                { "[{\"prefix\":{\"source\":\"https://\"}},{\"suffix\":{\"type\":\".error\"}}]", true },
                { "[{\"prefix\":{\"source\":\"http://\"}}]", false },
                { "[{\"suffix\":{\"id\":\"a-longer-one-myId\"}}]", false },
                { "[{\"exact\":{\"myext\":\"1\"}}]", true },
                { "[{\"not\":{\"exact\":{\"id\":\"myId\"}}}]", false },
                { "[{\"not\":{\"exact\":{\"subject\":\"x\"}}}]", true },
                { "[{\"any\":[{\"exact\":{\"id\":\"x\"}},{\"exact\":{\"id\":\"myId\"}}]}]", true },
                { "[{\"all\":[{\"exact\":{\"id\":\"x\"}},{\"exact\":{\"id\":\"myId\"}}]}]", false },
                { "[{\"sql\":\"id = 'myId' AND EXISTS myext\"}]", true },
                { "[{\"sql\":\"missing = 'x'\"}]", false },
                { "[{\"not\":{\"sql\":\"missing = 'x'\"}}]", true },
                { "[{\"json\":{\"/customer/country\":\"DE\",\"/n\":2.0}}]", true },
                { "[{\"json\":{\"/customer/country\":\"US\"}}]", false },
                { "[{\"json\":{\"/list/1\":true,\"/a~1b\":null}}]", true },
                { "[{\"json\":{\"/list/01\":true}}]", false },
                { "[{\"json\":{\"/gone\":null}}]", false },
        };
        _cleanup_(mam_event_freep) MamEvent *e = make_event(
                        "\"myext\":1,\"data\":{\"customer\":{\"country\":\"DE\"},\"n\":2,\"list\":[0,true],\"a/b\":null}");

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(filter_freep) Filter *f = parse_filter(cases[i].text);

                if (filter_matches(f, e) != cases[i].matches)
                        mam_test_fail_string(__FILE__, __LINE__, "matches as wanted", cases[i].text);
        }
        ASSERT_TRUE(filter_matches(NULL, e));
}

TEST(filters_without_data_match_no_pointer) {
        _cleanup_(mam_event_freep) MamEvent *e = make_event("");
        _cleanup_(filter_freep) Filter *f = parse_filter("[{\"json\":{\"\":null}}]");

        ASSERT_TRUE(!filter_matches(f, e));
}

TEST(wrong_filters_are_refused_at_their_place) {
        static const struct {
                const char *text, *pointer, *message;
        } cases[] = {
                { "{}", "/filters", "must be an array of filters" },
                { "[1]", "/filters/0", "must be an object with one dialect" },
                { "[{\"exact\":{\"id\":\"x\"},\"prefix\":{\"id\":\"x\"}}]",
                  "/filters/0",
                  "must be an object with one dialect" },
                { "[{\"regex\":{}}]",
                  "/filters/0/regex",
                  "is not a dialect: exact, prefix, suffix, all, any, not, sql or json" },
                { "[{\"exact\":{}}]", "/filters/0/exact", "must be an object of attributes and values" },
                { "[{\"exact\":{\"id\":\"\"}}]",
                  "/filters/0/exact/id",
                  "must be a string that is not empty" },
                { "[{\"exact\":{\"Id\":\"x\"}}]",
                  "/filters/0/exact/Id",
                  "is not an attribute: a-z and 0-9" },
                { "[{\"any\":[]}]", "/filters/0/any", "must be an array of filters that is not empty" },
                { "[{\"all\":[{\"not\":{\"not\":1}}]}]",
                  "/filters/0/all/0/not/not",
                  "must be an object with one dialect" },
                { "[{\"sql\":\"1 +\"}]", "/filters/0/sql", "at character 4: the expression ends too early" },
                { "[{\"json\":{\"a\":1}}]", "/filters/0/json/a", "must be a JSON pointer: \"/a/b\"" },
                { "[{\"json\":{\"/a\":[]}}]",
                  "/filters/0/json/~1a",
                  "must be a string, a number, true, false or null" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(json_object_putp) json_object *o = NULL;
                MamJsonError error = { 0 };
                Filter *f = NULL;

                ASSERT_OK(mam_json_parse(&o, cases[i].text, strlen(cases[i].text), NULL));
                ASSERT_EQ(filter_parse(&f, o, "/filters", &error), -EBADMSG);
                ASSERT_STREQ(error.message, cases[i].message);
                ASSERT_STREQ(error.pointer, cases[i].pointer);
                ASSERT_EQ(filter_parse(&f, o, "", NULL), -EBADMSG);
        }
}

TEST(filters_are_bounded) {
        _cleanup_(mam_freep) char *deep = repeat("[", "{\"not\":", 17, "1"),
                                  *ends = repeat("", "}", 17, "]"), *nested = repeat(deep, ends, 1, ""),
                                  *wide = repeat("[",
                                                 "{\"exact\":{\"id\":\"x\"}},",
                                                 600,
                                                 "{\"exact\":{\"id\":\"x\"}}]");
        const struct {
                const char *text, *message;
        } cases[] = {
                { nested, "is nested too deeply" },
                { wide, "there are more conditions than are allowed" },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(json_object_putp) json_object *o = NULL;
                MamJsonError error = { 0 };
                Filter *f = NULL;

                ASSERT_OK(mam_json_parse(&o, cases[i].text, strlen(cases[i].text), NULL));
                ASSERT_EQ(filter_parse(&f, o, "", &error), -EBADMSG);
                ASSERT_STREQ(error.message, cases[i].message);
        }
}

TEST(short_forms) {
        static const struct {
                const char *terms[3];
                bool matches;
        } cases[] = {
                { { "type=com.github.error" }, true },
                { { "type=com.github.error", "source^=https://", "type$=.error" }, true },
                { { "type=com.github.error", "id!=myId" }, false },
                { { "subject!=x" }, true },
                { { "/n=2", "/customer/country=DE" }, true },
                { { "/n=\"2\"" }, false },
                { { "/text=a=b" }, true },
                { { "sql:id = 'myId'" }, true },
                { { "sql:id = 'x'", "type=com.github.error" }, false },
        };
        static const char *const wrong[] = { "x", "=x", "id=", "Id=x", "id^=", "sql:", "sql:1 +", "/~2=1" };
        _cleanup_(mam_event_freep) MamEvent *e =
                        make_event("\"data\":{\"n\":2,\"text\":\"a=b\",\"customer\":{\"country\":\"DE\"}}");
        MamJsonError error;
        Filter *none = NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(filter_freep) Filter *f = NULL;
                size_t n = 0;

                while (n < 3 && cases[i].terms[n])
                        n++;
                ASSERT_OK(filter_parse_short(&f, cases[i].terms, n, &error));
                if (filter_matches(f, e) != cases[i].matches)
                        mam_test_fail_string(__FILE__, __LINE__, "matches as wanted", cases[i].terms[0]);
        }
        ASSERT_OK(filter_parse_short(&none, NULL, 0, NULL));
        ASSERT_TRUE(!none);
        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++) {
                Filter *f = NULL;

                error = (MamJsonError){ 0 };
                if (filter_parse_short(&f, &wrong[i], 1, &error) != -EBADMSG)
                        mam_test_fail_string(__FILE__, __LINE__, "is refused", wrong[i]);
                ASSERT_TRUE(error.message[0] != '\0');
        }
}
