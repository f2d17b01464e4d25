/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>

#include "libmam/obs/trace.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN  "b7ad6b7169203331"

static int parse(const char *text, MamTrace *ret) {
        MamTrace t;

        return mam_trace_parse(ret ? ret : &t, text, strlen(text));
}

TEST(example_of_the_recommendation) {
        char text[MAM_TRACEPARENT_SIZE];
        MamTrace t;

        ASSERT_OK(parse("00-" TRACE "-" SPAN "-01", &t));
        ASSERT_EQ(t.trace_id[0], 0x0a);
        ASSERT_EQ(t.trace_id[15], 0x9c);
        ASSERT_EQ(t.span_id[0], 0xb7);
        ASSERT_EQ(t.flags, 1);
        mam_trace_format(text, &t);
        ASSERT_STREQ(text, "00-" TRACE "-" SPAN "-01");
}

TEST(unknown_flags_are_not_handed_on) {
        MamTrace t;

        ASSERT_OK(parse("00-" TRACE "-" SPAN "-ff", &t));
        ASSERT_EQ(t.flags, 1);
        ASSERT_OK(parse("00-" TRACE "-" SPAN "-fe", &t));
        ASSERT_EQ(t.flags, 0);
}

TEST(later_versions_are_read_as_version_00) {
        MamTrace t;

        ASSERT_OK(parse("cc-" TRACE "-" SPAN "-01", &t));
        ASSERT_OK(parse("cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like", &t));
        ASSERT_EQ(parse("cc-" TRACE "-" SPAN "-01.what-the-future-will-be-like", &t), -EINVAL);
        ASSERT_EQ(parse("cc-" TRACE "-" SPAN "-011", &t), -EINVAL);
}

TEST(bad_traceparents_are_refused_and_leave_the_result_alone) {
        static const char *const bad[] = {
                "",
                "00",
                "00-" TRACE "-" SPAN,
                "00-" TRACE "-" SPAN "-",
                "00-" TRACE "-" SPAN "-1",
                "00-" TRACE "-" SPAN "-01-",
                "00-" TRACE "-" SPAN "-01-x",
                "00-" TRACE "-" SPAN "-01 ",
                "ff-" TRACE "-" SPAN "-01",
                "FF-" TRACE "-" SPAN "-01",
                ".0-" TRACE "-" SPAN "-01",
                "0.-" TRACE "-" SPAN "-01",
                "000-" TRACE "-" SPAN "-01",
                "00-00000000000000000000000000000000-" SPAN "-01",
                "00-" TRACE "-0000000000000000-01",
                "00-.af7651916cd43dd8448eb211c80319c-" SPAN "-01",
                "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01",
                "00-" TRACE "-B7AD6B7169203331-01",
                "00-" TRACE "-b7ad6b716920333-01-",
                "00-" TRACE "-" SPAN "-.0",
                "00-" TRACE "-" SPAN "-0.",
                "00_" TRACE "-" SPAN "-01",
                "00-" TRACE "_" SPAN "-01",
                "00-" TRACE "-" SPAN "_01",
        };
        MamTrace t = { .flags = 77 };

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                if (parse(bad[i], &t) != -EINVAL)
                        mam_test_fail_string(__FILE__, __LINE__, "refused", bad[i]);
        ASSERT_EQ(t.flags, 77);
}

TEST(every_cut_is_refused_without_reading_beyond) {
        static const char good[] = "00-" TRACE "-" SPAN "-01";
        MamTrace t;

        for (size_t n = 0; n < sizeof(good) - 1; n++) {
                _cleanup_(mam_freep) char *exact = malloc(n > 0 ? n : 1);

                ASSERT_TRUE(exact);
                memcpy(exact, good, n);
                ASSERT_EQ(mam_trace_parse(&t, exact, n), -EINVAL);
        }
}

TEST(new_traces_and_children_differ) {
        MamTrace a, b, child;

        mam_trace_start(&a, true);
        mam_trace_start(&b, false);
        ASSERT_TRUE(memcmp(a.trace_id, b.trace_id, sizeof(a.trace_id)) != 0);
        ASSERT_EQ(a.flags, 1);
        ASSERT_EQ(b.flags, 0);

        mam_trace_child(&child, &a);
        ASSERT_TRUE(memcmp(child.trace_id, a.trace_id, sizeof(a.trace_id)) == 0);
        ASSERT_TRUE(memcmp(child.span_id, a.span_id, sizeof(a.span_id)) != 0);
        ASSERT_EQ(child.flags, 1);

        /* in place, and more often than the pool of random bytes is deep */
        for (unsigned i = 0; i < 1000; i++) {
                uint8_t before[8];

                memcpy(before, child.span_id, sizeof(before));
                mam_trace_child(&child, &child);
                ASSERT_TRUE(memcmp(before, child.span_id, sizeof(before)) != 0);
        }
}

static bool state(const char *s) {
        return mam_tracestate_is_valid(s, strlen(s));
}

static char *repeat(char *ret, const char *piece, size_t n) {
        *ret = '\0';
        for (size_t i = 0; i < n; i++)
                strcat(ret, piece);
        return ret;
}

TEST(tracestate_accepts_what_section_3_3_allows) {
        char text[2048], z[1024];

        ASSERT_TRUE(state(""));
        ASSERT_TRUE(state("foo=1"));
        ASSERT_TRUE(state("foo=1,bar=2"));
        ASSERT_TRUE(state("foo=1 \t , \t bar=2, \t baz=3"));
        ASSERT_TRUE(state("foo=1,"));
        ASSERT_TRUE(state(",foo=1,,bar=2"));
        ASSERT_TRUE(state("tenant@system=1"));
        ASSERT_TRUE(state("0tenant@system=1"));
        ASSERT_TRUE(state("foo= 1"));
        ASSERT_TRUE(state("f-o_o*b/r=1!\"#$%&'()*+-./09:;<>?@AZ[\\]^_`az{|}~"));
        snprintf(text, sizeof(text), "%s=1", repeat(z, "z", 256));
        ASSERT_TRUE(state(text));
        repeat(z, "t", 241);
        snprintf(text, sizeof(text), "%s@%s=1", z, "vvvvvvvvvvvvvv");
        ASSERT_TRUE(state(text));
        snprintf(text, sizeof(text), "a=%s", repeat(z, "v", 256));
        ASSERT_TRUE(state(text));

        *text = '\0';
        for (unsigned i = 1; i <= 32; i++)
                snprintf(text + strlen(text),
                         sizeof(text) - strlen(text),
                         "bar%02u=%02u%s",
                         i,
                         i,
                         i < 32 ? "," : "");
        ASSERT_TRUE(state(text));
}

TEST(tracestate_refuses_everything_else) {
        static const char *const bad[] = {
                "foo",
                "=1",
                "foo=",
                "foo=1,foo=1",
                "foo=1,bar=2,foo=3",
                "foo =1",
                "FOO=1",
                "foo.bar=1",
                "foo@=1,bar=2",
                "@foo=1,bar=2",
                "foo@@bar=1,bar=2",
                "foo@bar@baz=1,bar=2",
                "1foo=1",
                "foo@1bar=1",
                "foo=bar=baz",
                "foo=,bar=3",
                "foo=\x7f",
                "foo=\xc3\xa9",
                "foo=a\tb",
                "foo;bar=1",
                "foo=1;bar=2,baz",
        };
        char text[2048], z[1024];

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                if (state(bad[i]))
                        mam_test_fail_string(__FILE__, __LINE__, "refused", bad[i]);

        snprintf(text, sizeof(text), "%s=1", repeat(z, "z", 257));
        ASSERT_TRUE(!state(text));
        snprintf(text, sizeof(text), "%s@v=1", repeat(z, "t", 242));
        ASSERT_TRUE(!state(text));
        ASSERT_TRUE(!state("t@vvvvvvvvvvvvvvv=1"));
        snprintf(text, sizeof(text), "a=%s", repeat(z, "v", 257));
        ASSERT_TRUE(!state(text));
        ASSERT_TRUE(!mam_tracestate_is_valid("a\0b=1", 5));

        *text = '\0';
        for (unsigned i = 1; i <= 33; i++)
                snprintf(text + strlen(text),
                         sizeof(text) - strlen(text),
                         "bar%02u=%02u%s",
                         i,
                         i,
                         i < 33 ? "," : "");
        ASSERT_TRUE(!state(text));
}

TEST(request_ids) {
        char a[33], b[33], text[256];

        mam_request_id_new(a);
        mam_request_id_new(b);
        ASSERT_EQ(strlen(a), 32);
        ASSERT_TRUE(strcmp(a, b) != 0);
        ASSERT_TRUE(mam_request_id_is_valid(a, 32));
        ASSERT_EQ(strspn(a, "0123456789abcdef"), 32);

        ASSERT_TRUE(mam_request_id_is_valid("A.b_c-9", 7));
        ASSERT_TRUE(!mam_request_id_is_valid("", 0));
        ASSERT_TRUE(!mam_request_id_is_valid("a b", 3));
        ASSERT_TRUE(!mam_request_id_is_valid("a\nb", 3));
        ASSERT_TRUE(!mam_request_id_is_valid("a\0b", 3));
        ASSERT_TRUE(mam_request_id_is_valid(repeat(text, "x", 128), 128));
        ASSERT_TRUE(!mam_request_id_is_valid(repeat(text, "x", 129), 129));
}
