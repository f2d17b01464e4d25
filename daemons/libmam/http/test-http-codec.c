/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the HTTP/1.1 codec
 */

#include "libmam/http/http-chars.h"
#include "libmam/http/http-codec.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define HOST "Host: a.example\r\n"

static ssize_t parse(MamHttpHead *h, const char *text, unsigned *ret_status) {
        const char *reason = NULL;
        ssize_t n;

        n = mam_http_parse_request(h, text, strlen(text), ret_status, &reason);
        ASSERT_TRUE(n >= 0 || reason);
        return n;
}

TEST(request_is_taken_apart) {
        static const char text[] = "POST /a/b?x=1&y HTTP/1.1\r\n" HOST
                                   "X-Empty:\r\nX-Space: \t v w \t\r\nContent-Length: 5\r\n\r\nhello";
        MamHttpHead h;

        ASSERT_EQ(parse(&h, text, NULL), sizeof(text) - 1 - 5);
        ASSERT_TRUE(mam_http_range_equal(h.method, "POST"));
        ASSERT_TRUE(mam_http_range_equal(h.target, "/a/b?x=1&y"));
        ASSERT_TRUE(mam_http_range_equal(h.path, "/a/b"));
        ASSERT_TRUE(mam_http_range_equal(h.query, "x=1&y"));
        ASSERT_TRUE(mam_http_range_equal(h.host, "a.example"));
        ASSERT_EQ(h.minor_version, 1);
        ASSERT_TRUE(h.keep_alive && !h.upgrade && !h.expect_continue);
        ASSERT_EQ(h.framing, MAM_HTTP_BODY_LENGTH);
        ASSERT_EQ(h.content_length, 5);
        ASSERT_EQ(h.n_fields, 4);
        ASSERT_TRUE(mam_http_range_equal(mam_http_find(&h, "x-empty")->value, ""));
        ASSERT_TRUE(mam_http_range_equal(mam_http_find(&h, "X-SPACE")->value, "v w"));
        ASSERT_TRUE(!mam_http_find(&h, "X"));
}

TEST(every_cut_of_a_request_needs_more) {
        static const char text[] = "\r\nGET http://a.example/x HTTP/1.1\r\n" HOST "A: b\r\n\r\n";
        unsigned status;
        MamHttpHead h;

        for (size_t n = 0; n < sizeof(text) - 1; n++)
                ASSERT_EQ(mam_http_parse_request(&h, text, n, &status, NULL), 0);
        ASSERT_EQ(mam_http_parse_request(&h, text, sizeof(text) - 1, NULL, NULL), sizeof(text) - 1);
}

TEST(what_is_doubtful_is_rejected) {
        static const struct {
                const char *text;
                unsigned status;
        } cases[] = {
                /* line ends and control characters */
                { "GET / HTTP/1.1\n" HOST "\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a.example\nX: y\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a.example\rX: y\r\n\r\n", 400 },
                { "GET / HTTP/1.1\rHost: a.example\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X: a\x01z\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X: a\x7fz\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X: 0123456789abcdef\x1fz\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X\x01: a\r\n\r\n", 400 },
                { "\n\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 400 },
                /* field names */
                { "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n " HOST "\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X(y): a\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "X\xe4: a\r\n\r\n", 400 },
                /* Host */
                { "GET / HTTP/1.1\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400 },
                { "GET / HTTP/1.0\r\n" HOST HOST "\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: [g::]\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400 },
                { "GET http://b.example/ HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET http://a.example:80/ HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET http://u@a.example/ HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET http:/// HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET ftp://a.example/ HTTP/1.1\r\n" HOST "\r\n", 400 },
                /* framing */
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                  400 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                  400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: -5\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 5 5\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775808\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Content-Length: 00000000000000000005\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 501 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n", 501 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;a=b\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n", 400 },
                { "POST / HTTP/1.1\r\n" HOST
                  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                  400 },
                { "POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST
                  "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n",
                  400 },
                { "GET / HTTP/1.1\r\n" HOST
                  "Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n",
                  400 },
                { "GET / HTTP/1.1\r\n" HOST "Connection: a b\r\n\r\n", 400 },
                { "GET / HTTP/1.1\r\n" HOST "Connection: (x)\r\n\r\n", 400 },
                { "PUT / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", 417 },
                /* request line */
                { "GET  / HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /  HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /a b HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /a#b HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /\x01 HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /\x7f HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET\t/ HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET /\r\n", 400 },
                { "GET a HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET * HTTP/1.1\r\n" HOST "\r\n", 400 },
                { " GET / HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "G(T / HTTP/1.1\r\n" HOST "\r\n", 400 },
                { "GET / HTTP/1.1 \r\n" HOST "\r\n", 400 },
                { "GET / http/1.1\r\n" HOST "\r\n", 400 },
                { "GET / HTTP/1,1\r\n" HOST "\r\n", 400 },
                { "GET / HTTP/11.1\r\n" HOST "\r\n", 400 },
                { "GET / HTTP/1.2\r\n" HOST "\r\n", 505 },
                { "GET / HTTP/2.0\r\n" HOST "\r\n", 505 },
                { "GET / HTTP/0.9\r\n" HOST "\r\n", 505 },
                { "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 501 },
                { "\x16\x03\x01\x02", 400 },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                unsigned status = 0;
                MamHttpHead h;
                ssize_t n = parse(&h, cases[i].text, &status);

                if (n >= 0 || status != cases[i].status) {
                        mam_test_fail_string(
                                        __FILE__,
                                        (int) i,
                                        "rejected with the right status",
                                        cases[i].text);
                }
                ASSERT_EQ(n, status == 505 || status == 501 ? n : -EBADMSG);
        }
}

TEST(nul_is_rejected_wherever_it_stands) {
        static const char text[] = "GET /path HTTP/1.1\r\n" HOST "X: value\r\n\r\n";

        for (size_t i = 0; i < sizeof(text) - 1; i++) {
                char copy[sizeof(text)];
                MamHttpHead h;

                memcpy(copy, text, sizeof(text));
                copy[i] = '\0';
                ASSERT_EQ(mam_http_parse_request(&h, copy, sizeof(text) - 1, NULL, NULL), -EBADMSG);
        }
}

TEST(what_is_legal_is_accepted) {
        static const char *const cases[] = {
                "GET / HTTP/1.0\r\n\r\n",
                "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n",
                "GET / HTTP/1.1\r\nhost:a.example:\r\n\r\n",
                "GET / HTTP/1.1\r\n" HOST "X: \xc3\xa4\xff\r\n\r\n",
                "GET / HTTP/1.1\r\n" HOST "X: a\tb\r\n\r\n",
                "GET /?a=b?c&{|}\"<> HTTP/1.1\r\n" HOST "\r\n",
                "GET HTTP://A.EXAMPLE/ HTTP/1.1\r\n" HOST "\r\n",
                "OPTIONS * HTTP/1.1\r\n" HOST "\r\n",
                "M-SEARCH / HTTP/1.1\r\n" HOST "\r\n",
                "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n",
                "POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775807\r\n\r\n",
                "GET / HTTP/1.1\r\n" HOST "Connection: , close ,,\tx \r\n\r\n",
        };
        MamHttpHead h;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                if (parse(&h, cases[i], NULL) != (ssize_t) strlen(cases[i]))
                        mam_test_fail_string(__FILE__, (int) i, "accepted", cases[i]);
        }
}

TEST(absolute_form_has_a_path) {
        MamHttpHead h;

        ASSERT_TRUE(parse(&h, "GET http://a.example HTTP/1.1\r\n" HOST "\r\n", NULL) > 0);
        ASSERT_TRUE(mam_http_range_equal(h.path, "/") && !h.query.data);
        ASSERT_TRUE(parse(&h, "GET https://a.example?q HTTP/1.1\r\n" HOST "\r\n", NULL) > 0);
        ASSERT_TRUE(mam_http_range_equal(h.path, "/") && mam_http_range_equal(h.query, "q"));
        ASSERT_TRUE(parse(&h, "GET http://a.example/p? HTTP/1.1\r\n" HOST "\r\n", NULL) > 0);
        ASSERT_TRUE(mam_http_range_equal(h.path, "/p") && h.query.data && h.query.size == 0);
        ASSERT_TRUE(mam_http_range_equal(h.target, "http://a.example/p?"));
}

TEST(connection_decides_what_follows) {
        MamHttpHead h;

        ASSERT_TRUE(parse(&h, "GET / HTTP/1.0\r\n\r\n", NULL) > 0 && !h.keep_alive);
        ASSERT_TRUE(parse(&h, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", NULL) > 0 && h.keep_alive);
        ASSERT_TRUE(parse(&h, "GET / HTTP/1.1\r\n" HOST "Connection: x, Close\r\n\r\n", NULL) > 0 &&
                    !h.keep_alive);
        ASSERT_TRUE(parse(&h,
                          "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
                          NULL) > 0 &&
                    h.upgrade);
        ASSERT_TRUE(parse(&h, "GET / HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n\r\n", NULL) > 0 &&
                    !h.upgrade);
        ASSERT_TRUE(parse(&h,
                          "PUT / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n",
                          NULL) > 0 &&
                    h.expect_continue);
        ASSERT_TRUE(parse(&h, "PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", NULL) >
                                    0 &&
                    !h.expect_continue);
}

TEST(too_many_fields_are_too_large) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        unsigned status = 0;
        MamHttpHead h;

        ASSERT_OK(mam_buffer_append_string(&b, "GET / HTTP/1.1\r\n" HOST));
        for (unsigned i = 1; i < MAM_HTTP_FIELDS_MAX; i++)
                ASSERT_OK(mam_buffer_append_string(&b, "X: y\r\n"));
        ASSERT_EQ(parse(&h, mam_buffer_bytes(&b), NULL), 0);
        ASSERT_OK(mam_buffer_append_string(&b, "X: y\r\n"));
        ASSERT_EQ(parse(&h, mam_buffer_bytes(&b), &status), -EMSGSIZE);
        ASSERT_EQ(status, 431);
}

TEST(hop_by_hop_fields_are_told_apart) {
        static const char text[] =
                        "GET / HTTP/1.1\r\n" HOST
                        "Connection: close, X-Mine\r\nKeep-Alive: 1\r\nTE: a\r\nTrailer: b\r\n"
                        "Upgrade: c\r\nProxy-Connection: d\r\nProxy-Authorization: e\r\nx-mine: f\r\n"
                        "X-Mine-Too: g\r\nCookie: h\r\n\r\n";
        unsigned kept = 0;
        MamHttpHead h;

        ASSERT_TRUE(parse(&h, text, NULL) > 0);
        for (size_t i = 0; i < h.n_fields; i++)
                kept += !mam_http_field_is_hop_by_hop(&h, &h.fields[i]);
        ASSERT_EQ(kept, 3); /* Host, X-Mine-Too, Cookie */
        ASSERT_TRUE(!mam_http_field_is_hop_by_hop(&h, mam_http_find(&h, "Host")));
        ASSERT_TRUE(!mam_http_field_is_hop_by_hop(&h, mam_http_find(&h, "X-Mine-Too")));
        ASSERT_TRUE(!mam_http_field_is_hop_by_hop(&h, mam_http_find(&h, "Cookie")));
}

TEST(framing_of_answers) {
        static const struct {
                const char *text;
                unsigned head;
                int framing; /* -1: rejected */
                unsigned keep_alive;
        } cases[] = {
                { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", false, MAM_HTTP_BODY_LENGTH, true },
                { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false, MAM_HTTP_BODY_NONE, true },
                { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                  false,
                  MAM_HTTP_BODY_CHUNKED,
                  true },
                { "HTTP/1.1 200 OK\r\n\r\n", false, MAM_HTTP_BODY_UNTIL_CLOSE, false },
                { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", false, MAM_HTTP_BODY_LENGTH, false },
                { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, MAM_HTTP_BODY_NONE, true },
                { "HTTP/1.1 200 OK\r\n\r\n", true, MAM_HTTP_BODY_NONE, true },
                { "HTTP/1.1 204 No Content\r\n\r\n", false, MAM_HTTP_BODY_NONE, true },
                { "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
                  false,
                  MAM_HTTP_BODY_NONE,
                  true },
                { "HTTP/1.1 103 Early Hints\r\n\r\n", false, MAM_HTTP_BODY_NONE, true },
                { "HTTP/1.1 200\r\nContent-Length: 2\r\nConnection: close\r\n\r\n",
                  false,
                  MAM_HTTP_BODY_LENGTH,
                  false },
                { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                  false,
                  -1,
                  false },
                { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", false, -1, false },
                { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", false, -1, false },
                { "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, -1, false },
                { "HTTP/1.1 200 OK\nContent-Length: 2\n\n", false, -1, false },
                { "HTTP/1.1 20 OK\r\n\r\n", false, -1, false },
                { "HTTP/1.1 2000 OK\r\n\r\n", false, -1, false },
                { "HTTP/1.1 600 OK\r\n\r\n", false, -1, false },
                { "HTTP/1.1 099 OK\r\n\r\n", false, -1, false },
                { "HTTP/2 200 OK\r\n\r\n", false, -1, false },
                { "SSH-2.0-x\r\n", false, -1, false },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                const char *reason = NULL;
                MamHttpHead h;
                ssize_t n = mam_http_parse_response(
                                &h,
                                cases[i].text,
                                strlen(cases[i].text),
                                cases[i].head,
                                &reason);

                if (cases[i].framing < 0 ? (n >= 0 || !reason)
                                         : (n != (ssize_t) strlen(cases[i].text) ||
                                            (int) h.framing != cases[i].framing ||
                                            h.keep_alive != cases[i].keep_alive))
                        mam_test_fail_string(__FILE__, (int) i, "framed as expected", cases[i].text);
        }
}

/* Decodes in pieces of that size; -EBADMSG, or the number of bytes used with *ret_body filled. */
static ssize_t decode(const char *text, size_t piece, char *ret_body, bool *ret_done) {
        MamHttpChunked c = MAM_HTTP_CHUNKED_INIT;
        size_t used = 0, size = strlen(text);

        *ret_done = false;
        while (used < size && !*ret_done) {
                const char *reason = NULL;
                MamHttpRange body;
                ssize_t n;

                n = mam_http_chunked_decode(
                                &c,
                                text + used,
                                size - used < piece ? size - used : piece,
                                &body,
                                ret_done,
                                &reason);
                if (n < 0) {
                        ASSERT_TRUE(reason);
                        return n;
                }
                ret_body = mempcpy(ret_body, body.data, body.size);
                used += (size_t) n;
        }
        *ret_body = '\0';
        return (ssize_t) used;
}

TEST(chunks_are_joined_over_any_split) {
        static const char text[] =
                        "5\r\nhello\r\n1;a=\"b\";c\r\n,\r\n006\r\n world\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n";
        char with_rest[128], body[128];
        bool done;

        for (size_t piece = 1; piece < sizeof(text); piece++) {
                ASSERT_EQ(decode(text, piece, body, &done), sizeof(text) - 1);
                ASSERT_TRUE(done);
                ASSERT_STREQ(body, "hello, world");
        }
        snprintf(with_rest, sizeof(with_rest), "%sGET / HTTP/1.1", text);
        ASSERT_EQ(decode(with_rest, 1000, body, &done), sizeof(text) - 1);
        ASSERT_TRUE(done);
}

TEST(doubtful_chunks_are_rejected) {
        static const char *const cases[] = {
                "+5\r\nhello\r\n",
                "-5\r\nhello\r\n",
                " 5\r\nhello\r\n",
                "5 \r\nhello\r\n",
                "5 ;a\r\nhello\r\n",
                "1_0\r\nhello\r\n",
                "0x5\r\nhello\r\n",
                "g\r\nhello\r\n",
                "\r\nhello\r\n",
                ";a\r\nhello\r\n",
                "00000000000000005\r\nhello\r\n",
                "8000000000000000\r\nhello\r\n",
                "ffffffffffffffff\r\nhello\r\n",
                "5\nhello\r\n",
                "5\rhello\r\n",
                "5;a\nhello\r\n",
                "5;a\x01\r\nhello\r\n",
                "5\r\nhello!\r\n",
                "5\r\nhello\n0\r\n\r\n",
                "5\r\nhello\r0\r\n\r\n",
                "0\r\n\n",
                "0\r\n\rX",
                "0\r\nX : y\r\n\r\n",
                "0\r\n: y\r\n\r\n",
                "0\r\nX: y\nZ: a\r\n\r\n",
                "0\r\nX: y\rZ: a\r\n\r\n",
                "0\r\nX: y\r\n z\r\n\r\n",
                "0\r\nX\r\n\r\n",
        };
        char body[64];
        bool done;

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                for (size_t piece = 1; piece < 40; piece += 19) {
                        if (decode(cases[i], piece, body, &done) != -EBADMSG)
                                mam_test_fail_string(__FILE__, (int) i, "rejected", cases[i]);
                }
        }
}

TEST(extensions_and_trailers_are_bounded) {
        static char text[16384];
        char body[64];
        bool done;

        snprintf(text, sizeof(text), "1;%0250u\r\nx\r\n0\r\n\r\n", 0);
        ASSERT_TRUE(decode(text, 100, body, &done) > 0 && done);
        snprintf(text, sizeof(text), "1;%0300u", 0);
        ASSERT_EQ(decode(text, 100, body, &done), -EBADMSG);
        snprintf(text, sizeof(text), "0\r\nX: %010000u", 0);
        ASSERT_EQ(decode(text, 100, body, &done), -EBADMSG);
}

TEST(percent_encoding_is_decoded) {
        char text[8];

        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "a%20%c3%A4+", 11), 5);
        ASSERT_STREQ(text, "a \xc3\xa4+");
        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "", 0), 0);
        ASSERT_STREQ(text, "");
        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "a%2", 3), -EINVAL);
        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "%zz", 3), -EINVAL);
        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "%00", 3), -EINVAL);
        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "12345678", 8), -ENOBUFS);
        ASSERT_EQ(mam_http_percent_decode(text, sizeof(text), "1234567", 7), 7);
        ASSERT_EQ(mam_http_percent_decode(NULL, 0, "", 0), -ENOBUFS);
}

TEST(query_parameters_are_found) {
        const MamHttpRange query = { "a=1&b=x+y%26&c&d=&a=2&e%66=3&g=%zz", 34 };
        char text[8];

        ASSERT_EQ(mam_http_query_get(query, "a", text, sizeof(text)), 1);
        ASSERT_STREQ(text, "1");
        ASSERT_EQ(mam_http_query_get(query, "b", text, sizeof(text)), 1);
        ASSERT_STREQ(text, "x y&");
        ASSERT_EQ(mam_http_query_get(query, "c", text, sizeof(text)), 1);
        ASSERT_STREQ(text, "");
        ASSERT_EQ(mam_http_query_get(query, "d", text, sizeof(text)), 1);
        ASSERT_STREQ(text, "");
        ASSERT_EQ(mam_http_query_get(query, "ef", text, sizeof(text)), 1);
        ASSERT_STREQ(text, "3");
        ASSERT_EQ(mam_http_query_get(query, "f", text, sizeof(text)), 0);
        ASSERT_EQ(mam_http_query_get(query, "g", text, sizeof(text)), -EINVAL);
        ASSERT_EQ(mam_http_query_get(query, "b", text, 4), -ENOBUFS);
        ASSERT_EQ(mam_http_query_get((MamHttpRange){ 0 }, "a", text, sizeof(text)), 0);
}

TEST(statuses_have_texts) {
        ASSERT_STREQ(mam_http_status_text(200), "OK");
        ASSERT_STREQ(mam_http_status_text(503), "Service Unavailable");
        ASSERT_STREQ(mam_http_status_text(299), "Unknown");
}

/* What is checked in words must not differ from what is checked in bytes, wherever the byte lies. */
TEST(field_values_are_checked_as_if_byte_by_byte) {
        char text[40];

        for (size_t size = 0; size <= sizeof(text); size++) {
                char *copy = malloc(size > 0 ? size : 1); /* so that ASan sees a read beyond */

                ASSERT_TRUE(copy);
                for (size_t at = 0; at < size; at++) {
                        for (int c = 0; c < 256; c++) {
                                bool legal = c == '\t' || (c >= ' ' && c != 0x7f);

                                memset(copy, at % 2 ? 'x' : 0xe4, size);
                                copy[at] = (char) c;
                                ASSERT_EQ(mam_http_is_field_value(copy, size), legal);
                        }
                }
                free(copy);
        }
        ASSERT_TRUE(mam_http_is_field_value("", 0));
        ASSERT_TRUE(mam_http_is_field_value(NULL, 0));
}

TEST(values_and_targets_end_as_if_looked_at_byte_by_byte) {
        char text[64];

        for (unsigned c = 0; c < 256; c++)
                for (size_t at = 0; at < sizeof(text); at++)
                        for (size_t size = at; size <= sizeof(text); size += 9) {
                                const char *end = text + size;

                                memset(text, 'a', sizeof(text));
                                text[at] = (char) c;
                                ASSERT_TRUE(http_skip_value(text, end) ==
                                            http_skip(text, end, HTTP_CHAR_VALUE));
                                ASSERT_TRUE(http_skip_target(text, end) ==
                                            http_skip(text, end, HTTP_CHAR_TARGET));
                        }
}

TEST(trailers_are_fields_that_decide_nothing) {
        static const char *const illegal[] = {
                "Content-Length",
                "transfer-encoding",
                "HOST",
                "Trailer",
                "te",
                "Authorization",
                "cookie",
                "Set-Cookie",
                "Content-Type",
                "Content-Encoding",
                "If-None-Match",
                "Expect",
                "Connection",
                "Upgrade",
                "Keep-Alive",
                "X-API-Key",
                "Mam-Subject",
                "mam-roles",
                "X-Forwarded-For",
                "Forwarded",
                "WWW-Authenticate",
                "Age",
                "X-Request-Id",
                "Via",
                "a b",
                "",
                "Location",
                "Proxy-Connection",
        };
        static const char *const legal[] = {
                "Server-Timing", "Grpc-Status",   "Digest",          "X-Checksum", "A",
                "Hosts",         "Content-Lengt", "Content-Lengthy", "Mam",        "Zz"
        };
        static const char lines[] = "A: b\r\nGrpc-Message:  it's fine \r\nC:\r\n";
        MamHttpField fields[MAM_HTTP_TRAILERS_MAX];
        const char *reason = NULL;
        size_t n = 99;

        for (size_t i = 0; i < MAM_ELEMENTSOF(illegal); i++)
                ASSERT_TRUE(!mam_http_trailer_is_legal((MamHttpRange){ illegal[i], strlen(illegal[i]) }));
        for (size_t i = 0; i < MAM_ELEMENTSOF(legal); i++)
                ASSERT_TRUE(mam_http_trailer_is_legal((MamHttpRange){ legal[i], strlen(legal[i]) }));

        ASSERT_OK(mam_http_parse_trailers(fields, &n, lines, sizeof(lines) - 1, &reason));
        ASSERT_EQ(n, 3);
        ASSERT_TRUE(mam_http_range_equal(fields[1].name, "Grpc-Message"));
        ASSERT_TRUE(mam_http_range_equal(fields[1].value, "it's fine"));
        ASSERT_EQ(fields[2].value.size, 0);
        ASSERT_OK(mam_http_parse_trailers(fields, &n, "", 0, &reason));
        ASSERT_EQ(n, 0);
        ASSERT_EQ(mam_http_parse_trailers(fields, &n, lines, 3, &reason), -EBADMSG);
        ASSERT_STREQ(reason, "incomplete trailer");
        ASSERT_EQ(mam_http_parse_trailers(fields, &n, "Host: a\r\n", 9, &reason), -EBADMSG);
        ASSERT_EQ(n, 0); /* written on success only */
}
