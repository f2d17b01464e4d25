/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the native hop's frames
 */

#include "libmam/http/native-frames.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

typedef struct Field {
        const char *name, *value;
} Field;

static MamHttpRange range(const char *s) {
        return (MamHttpRange){ s, strlen(s) };
}

/* An array that has exactly the size of its content, so that ASan sees a read behind it. */
static char *exactly(const char *data, size_t size) {
        char *copy = malloc(size > 0 ? size : 1);

        ASSERT_TRUE(copy);
        memcpy(copy, data, size);
        return copy;
}

static size_t put_fields(char *p, const Field *fields, size_t n) {
        char *start = p;

        for (size_t i = 0; i < n; i++)
                p = native_field_format(p, range(fields[i].name), range(fields[i].value));
        return (size_t) (p - start);
}

static size_t request(
                char *p,
                uint64_t length,
                const char *method,
                const char *target,
                const Field *f,
                size_t n) {
        char *start = p;

        native_request_format(p, length, strlen(method), strlen(target), n);
        p = mempcpy(p + NATIVE_REQUEST_SIZE, method, strlen(method) + 1);
        p = mempcpy(p, target, strlen(target) + 1);
        return (size_t) (p - start) + put_fields(p, f, n);
}

static size_t answer(char *p, uint64_t length, unsigned status, const Field *f, size_t n) {
        native_answer_format(p, length, status, n);
        return NATIVE_ANSWER_SIZE + put_fields(p + NATIVE_ANSWER_SIZE, f, n);
}

static int parse_request(MamHttpHead *h, const char *data, size_t size, bool end) {
        NativeFrame f = { .type = NATIVE_HEAD, .end = end, .stream = 1, .size = (uint32_t) size };

        return native_request_parse(h, &f, data);
}

static int parse_answer(MamHttpHead *h, const char *data, size_t size, bool end, bool head_request) {
        NativeFrame f = { .type = NATIVE_HEAD, .end = end, .stream = 1, .size = (uint32_t) size };
        bool tells = false;
        int r;

        r = native_answer_parse(h, &tells, &f, data, head_request);
        if (r >= 0 && h->content_length > 0)
                ASSERT_TRUE(tells);
        return r;
}

static const Field plain[] = { { "Host", "example.org" }, { "x-test", "" }, { "Accept", "a, b" } };

TEST(the_preface_is_an_error_to_http1) {
        const char *reason = NULL;
        unsigned status = 0;
        MamHttpHead h;

        ASSERT_EQ(NATIVE_PREFACE_SIZE, 19);
        ASSERT_TRUE(mam_http_parse_request(&h, NATIVE_PREFACE, NATIVE_PREFACE_SIZE, &status, &reason) < 0);
        ASSERT_TRUE(status >= 400);
}

TEST(frame_headers_go_there_and_back) {
        static const NativeFrame frames[] = {
                { NATIVE_HELLO, false, 0, NATIVE_HELLO_SIZE },
                { NATIVE_HEAD, true, 1, 200 },
                { NATIVE_HEAD, false, 0xffffffff, NATIVE_HEAD_MAX },
                { NATIVE_DATA, true, 7, NATIVE_DATA_MAX },
                { NATIVE_DATA, false, 7, 1 },
                { NATIVE_TRAILERS, false, 3, 4 },
                { NATIVE_CREDIT, false, 3, 4 },
                { NATIVE_RESET, false, 3, 4 },
                { NATIVE_GOAWAY, false, 0, 4 },
        };
        char bytes[NATIVE_HEADER_SIZE];
        NativeFrame f;

        for (size_t i = 0; i < MAM_ELEMENTSOF(frames); i++) {
                native_frame_format(bytes, &frames[i]);
                ASSERT_OK(native_frame_parse(&f, bytes));
                ASSERT_EQ(f.type, frames[i].type);
                ASSERT_EQ(f.end, frames[i].end);
                ASSERT_EQ(f.stream, frames[i].stream);
                ASSERT_EQ(f.size, frames[i].size);
        }
}

TEST(frames_that_cannot_be_are_refused) {
        static const NativeFrame frames[] = {
                { NATIVE_HELLO, false, 1, NATIVE_HELLO_SIZE },
                { NATIVE_HELLO, false, 0, 11 },
                { NATIVE_HELLO, true, 0, NATIVE_HELLO_SIZE },
                { NATIVE_HEAD, true, 0, 200 },
                { NATIVE_HEAD, false, 1, NATIVE_HEAD_MAX + 1 },
                { NATIVE_HEAD, false, 1, 15 },
                { NATIVE_DATA, true, 7, 0 },
                { NATIVE_DATA, false, 7, NATIVE_DATA_MAX + 1 },
                { NATIVE_TRAILERS, true, 3, 4 },
                { NATIVE_TRAILERS, false, 3, 3 },
                { NATIVE_CREDIT, false, 0, 4 },
                { NATIVE_CREDIT, false, 3, 5 },
                { NATIVE_RESET, false, 3, 3 },
                { NATIVE_GOAWAY, false, 1, 4 },
                { _NATIVE_TYPE_MAX, false, 1, 4 },
        };
        char bytes[NATIVE_HEADER_SIZE];
        NativeFrame f;

        for (size_t i = 0; i < MAM_ELEMENTSOF(frames); i++) {
                native_frame_format(bytes, &frames[i]);
                if (native_frame_parse(&f, bytes) != -EBADMSG)
                        mam_test_fail(__FILE__, __LINE__, "refused", (long long) i);
        }
        native_frame_format(bytes, &(NativeFrame){ NATIVE_DATA, false, 1, 1 });
        for (int i = 5; i < 8; i++) { /* unknown flags, and what must be zero */
                bytes[i] = 2;
                ASSERT_EQ(native_frame_parse(&f, bytes), -EBADMSG);
                bytes[i] = 0;
        }
        ASSERT_OK(native_frame_parse(&f, bytes));
}

TEST(hellos_and_numbers) {
        char bytes[64];
        NativeFrame f;
        NativeHello h;
        uint32_t n;

        ASSERT_EQ(native_hello_format(bytes, &(NativeHello){ 100, 16384 }), 24);
        ASSERT_OK(native_frame_parse(&f, bytes));
        ASSERT_OK(native_hello_parse(&h, bytes + 12, f.size));
        ASSERT_EQ(h.streams_max, 100);
        ASSERT_EQ(h.credit, 16384);
        ASSERT_EQ(native_hello_parse(&h, bytes + 12, 11), -EBADMSG);
        bytes[12] = 2;
        ASSERT_EQ(native_hello_parse(&h, bytes + 12, 12), -EPROTONOSUPPORT);
        bytes[12] = 1;
        bytes[14] = 1;
        ASSERT_EQ(native_hello_parse(&h, bytes + 12, 12), -EBADMSG);
        ASSERT_EQ(native_hello_format(bytes, &(NativeHello){ 1, NATIVE_CREDIT_MAX + 1 }), 24);
        ASSERT_EQ(native_hello_parse(&h, bytes + 12, 12), -EBADMSG);

        static const struct {
                NativeType type;
                uint32_t number;
                int result;
        } cases[] = {
                { NATIVE_CREDIT, 1, 0 },
                { NATIVE_CREDIT, NATIVE_CREDIT_MAX, 0 },
                { NATIVE_CREDIT, 0, -EBADMSG },
                { NATIVE_CREDIT, NATIVE_CREDIT_MAX + 1, -EBADMSG },
                { NATIVE_RESET, NATIVE_RESET_BROKEN, 0 },
                { NATIVE_RESET, _NATIVE_RESET_MAX, -EBADMSG },
        };
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                ASSERT_EQ(native_number_format(bytes, cases[i].type, 5, cases[i].number), 16);
                ASSERT_OK(native_frame_parse(&f, bytes));
                ASSERT_EQ(native_number_parse(&n, &f, bytes + 12), cases[i].result);
        }
        (void) native_number_format(bytes, NATIVE_GOAWAY, 0, 0);
        ASSERT_OK(native_frame_parse(&f, bytes));
        ASSERT_OK(native_number_parse(&n, &f, bytes + 12));
        ASSERT_EQ(n, 0);
}

TEST(requests_go_there_and_back) {
        char bytes[512];
        MamHttpHead h;
        size_t size;

        size = request(bytes, 0, "GET", "/a/b?c=d?e", plain, 3);
        ASSERT_OK(parse_request(&h, bytes, size, true));
        ASSERT_STREQ(h.method.data, "GET"); /* NUL-terminated */
        ASSERT_STREQ(h.target.data, "/a/b?c=d?e");
        ASSERT_TRUE(mam_http_range_equal(h.path, "/a/b"));
        ASSERT_TRUE(mam_http_range_equal(h.query, "c=d?e"));
        ASSERT_TRUE(mam_http_range_equal(h.host, "example.org"));
        ASSERT_EQ(h.n_fields, 3);
        ASSERT_STREQ(h.fields[1].name.data, "x-test");
        ASSERT_STREQ(h.fields[1].value.data, "");
        ASSERT_STREQ(h.fields[2].value.data, "a, b");
        ASSERT_EQ(h.framing, MAM_HTTP_BODY_NONE);
        ASSERT_TRUE(h.keep_alive && !h.upgrade && !h.expect_continue);

        size = request(bytes, 12, "POST", "/", plain, 1);
        ASSERT_OK(parse_request(&h, bytes, size, false));
        ASSERT_TRUE(!h.query.data);
        ASSERT_EQ(h.framing, MAM_HTTP_BODY_LENGTH);
        ASSERT_EQ(h.content_length, 12);
        size = request(bytes, NATIVE_LENGTH_UNKNOWN, "POST", "*", plain, 1);
        ASSERT_OK(parse_request(&h, bytes, size, false));
        ASSERT_EQ(h.framing, MAM_HTTP_BODY_CHUNKED);
}

TEST(each_byte_of_a_head_is_needed) {
        MamHttpHead h;
        char bytes[512];

        for (int i = 0; i < 2; i++) {
                size_t size = i == 0 ? request(bytes, 0, "GET", "/a", plain, 3)
                                     : answer(bytes, 0, 200, plain, 3);

                for (size_t cut = 0; cut <= size + 1; cut++) {
                        char *data = exactly(bytes, cut);
                        int r = i == 0 ? parse_request(&h, data, cut, true)
                                       : parse_answer(&h, data, cut, true, false);

                        ASSERT_EQ(r, cut == size ? 0 : -EBADMSG);
                        free(data);
                }
        }
}

TEST(requests_that_are_doubtful_are_refused) {
        static const struct {
                uint64_t length;
                const char *method, *target;
                Field field;
                bool end;
        } cases[] = {
                { 0, "GET", "a", { "Host", "x" }, true },
                { 0, "GET", "http://x/", { "Host", "x" }, true },
                { 0, "GET", "*x", { "Host", "x" }, true },
                { 0, "GET", "", { "Host", "x" }, true },
                { 0, "GET", "/a b", { "Host", "x" }, true },
                { 0, "GET", "/a#b", { "Host", "x" }, true },
                { 0, "GET", "/\xc3\xa4", { "Host", "x" }, true },
                { 0, "", "/", { "Host", "x" }, true },
                { 0, "G T", "/", { "Host", "x" }, true },
                { 0, "GET", "/", { "X", "x" }, true }, /* no Host */
                { 0, "GET", "/", { "", "x" }, true },
                { 0, "GET", "/", { "Ho st", "x" }, true },
                { 0, "GET", "/", { "Host", "x\r\nY: z" }, true },
                { 0, "GET", "/", { "Host", "x\x7f" }, true },
                { 5, "GET", "/", { "Host", "x" }, true },
                { 0, "GET", "/", { "Host", "x" }, false },
                { NATIVE_LENGTH_UNKNOWN, "GET", "/", { "Host", "x" }, true },
        };
        static const char *const refused[] = { "Connection",       "content-length",    "Keep-Alive",
                                               "Proxy-Connection", "Transfer-Encoding", "UPGRADE" };
        Field twice[] = { { "Host", "x" }, { "host", "x" } };
        char bytes[512];
        MamHttpHead h;
        size_t size;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                size = request(bytes, cases[i].length, cases[i].method, cases[i].target, &cases[i].field, 1);
                if (parse_request(&h, bytes, size, cases[i].end) != -EBADMSG)
                        mam_test_fail(__FILE__, __LINE__, "refused", (long long) i);
        }
        size = request(bytes, 0, "GET", "/", twice, 2);
        ASSERT_EQ(parse_request(&h, bytes, size, true), -EBADMSG);
        for (size_t i = 0; i < MAM_ELEMENTSOF(refused); i++) {
                twice[1] = (Field){ refused[i], "1" };
                size = request(bytes, 0, "GET", "/", twice, 2);
                ASSERT_EQ(parse_request(&h, bytes, size, true), -EBADMSG);
                size = answer(bytes, 0, 200, twice, 2);
                ASSERT_EQ(parse_answer(&h, bytes, size, true, false), -EBADMSG);
        }
        twice[1] = (Field){ "TE", "trailers" };
        size = request(bytes, 0, "GET", "/", twice, 2);
        ASSERT_OK(parse_request(&h, bytes, size, true));
}

TEST(a_nul_inside_or_missing_is_refused) {
        char bytes[512];
        MamHttpHead h;
        size_t size = request(bytes, 0, "GET", "/abc", plain, 3);

        for (size_t i = NATIVE_REQUEST_SIZE; i < size; i++) {
                char *data = exactly(bytes, size);

                data[i] = data[i] == '\0' ? 'x' : '\0';
                /* Where only the size of a string was zero already, nothing else than another number comes
                 * out. */
                if (parse_request(&h, data, size, true) >= 0)
                        mam_test_fail(__FILE__, __LINE__, "refused", (long long) i);
                free(data);
        }
}

TEST(too_many_fields_are_refused) {
        static char bytes[NATIVE_HEAD_MAX];
        Field many[MAM_HTTP_FIELDS_MAX + 1];
        MamHttpHead h;
        size_t size;

        many[0] = plain[0];
        for (size_t i = 1; i < MAM_ELEMENTSOF(many); i++)
                many[i] = (Field){ "X", "y" };
        size = request(bytes, 0, "GET", "/", many, MAM_HTTP_FIELDS_MAX);
        ASSERT_OK(parse_request(&h, bytes, size, true));
        size = request(bytes, 0, "GET", "/", many, MAM_HTTP_FIELDS_MAX + 1);
        ASSERT_EQ(parse_request(&h, bytes, size, true), -EBADMSG);
}

TEST(answers_go_there_and_back) {
        static const struct {
                uint64_t length;
                unsigned status;
                bool end, head_request;
                int result;
                MamHttpFraming framing;
        } cases[] = {
                { 0, 200, true, false, 0, MAM_HTTP_BODY_NONE },
                { 5, 200, false, false, 0, MAM_HTTP_BODY_LENGTH },
                { NATIVE_LENGTH_UNKNOWN, 200, false, false, 0, MAM_HTTP_BODY_CHUNKED },
                { NATIVE_LENGTH_UNKNOWN, 200, true, false, 0, MAM_HTTP_BODY_NONE },
                { 5, 200, true, true, 0, MAM_HTTP_BODY_NONE },
                { 5, 304, true, false, 0, MAM_HTTP_BODY_NONE },
                { NATIVE_LENGTH_UNKNOWN, 204, true, false, 0, MAM_HTTP_BODY_NONE },
                { 5, 200, true, false, -EBADMSG, 0 },
                { 5, 200, false, true, -EBADMSG, 0 },
                { 5, 204, false, false, -EBADMSG, 0 },
                { 0, 200, false, false, -EBADMSG, 0 },
                { 0, 199, true, false, -EBADMSG, 0 },
                { 0, 600, true, false, -EBADMSG, 0 },
                { 0, 101, true, false, -EBADMSG, 0 },
        };
        char bytes[512];
        MamHttpHead h;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                size_t size = answer(bytes, cases[i].length, cases[i].status, plain, 2);
                int r = parse_answer(&h, bytes, size, cases[i].end, cases[i].head_request);

                if (r != cases[i].result)
                        mam_test_fail(__FILE__, (int) i, "result", r);
                if (r < 0)
                        continue;
                ASSERT_EQ(h.status, cases[i].status);
                ASSERT_EQ(h.framing, cases[i].framing);
                ASSERT_EQ(h.n_fields, 2);
        }
}

TEST(trailers_go_there_and_back) {
        NativeFrame f = { .type = NATIVE_TRAILERS, .stream = 1 };
        MamHttpField fields[4];
        char bytes[512];
        size_t n = 0;

        native_trailers_format(bytes, 2);
        f.size = (uint32_t) (NATIVE_TRAILERS_SIZE + put_fields(bytes + NATIVE_TRAILERS_SIZE, plain, 2));
        ASSERT_OK(native_trailers_parse(fields, 4, &n, &f, bytes));
        ASSERT_EQ(n, 2);
        ASSERT_STREQ(fields[0].value.data, "example.org");
        ASSERT_EQ(native_trailers_parse(fields, 1, &n, &f, bytes), -EBADMSG);
        f.size--;
        ASSERT_EQ(native_trailers_parse(fields, 4, &n, &f, bytes), -EBADMSG);
        native_trailers_format(bytes, 0);
        f.size = NATIVE_TRAILERS_SIZE;
        ASSERT_OK(native_trailers_parse(fields, 4, &n, &f, bytes));
        ASSERT_EQ(n, 0);
}

TEST(fields_are_walked) {
        char bytes[512];
        MamHttpRange name, value;
        const char *p = bytes;
        size_t size = put_fields(bytes, plain, 3);

        for (size_t i = 0; i < 3; i++) {
                p = native_field_next(p, &name, &value);
                ASSERT_STREQ(name.data, plain[i].name);
                ASSERT_STREQ(value.data, plain[i].value);
                ASSERT_EQ(name.size + value.size, strlen(plain[i].name) + strlen(plain[i].value));
        }
        ASSERT_EQ(p - bytes, size);
}
