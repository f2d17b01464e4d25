/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of how fields of HTTP/2 become a head
 */

#include <errno.h>

#include "libmam/http/http2-fields.h"
#include "libmam/util/test.h"

#define LIST_MAX 4096U
#define BASIC    ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a.example"

static Http2Fields fields;
static MamHttpHead head;
static const char *reason;

/* Names and values in turn, up to NULL. */
static int add_all(Http2Block block, const char *const *list) {
        int r = 0;

        http2_fields_done(&fields);
        http2_fields_init(&fields, block, LIST_MAX);
        for (size_t i = 0; list[i] && r >= 0; i += 2)
                r = http2_fields_add(
                                &fields,
                                (const uint8_t *) list[i],
                                strlen(list[i]),
                                (const uint8_t *) list[i + 1],
                                strlen(list[i + 1]));
        return r;
}

static int request(bool end_stream, const char *const *list) {
        int r;

        r = add_all(HTTP2_BLOCK_REQUEST, list);
        return r < 0 ? r : http2_fields_finish_request(&fields, end_stream, &head, &reason);
}

static int response(bool end_stream, bool head_request, const char *const *list) {
        int r;

        r = add_all(HTTP2_BLOCK_RESPONSE, list);
        return r < 0 ? r : http2_fields_finish_response(&fields, end_stream, head_request, &head);
}

#define LIST(...)          ((const char *const[]){ __VA_ARGS__, NULL })
#define REQUEST(...)       request(true, LIST(__VA_ARGS__))
#define REQUEST_BODY(...)  request(false, LIST(__VA_ARGS__))
#define ASSERT_FIELD(n, v) ASSERT_STREQ(value_of(n), v)

static const char *value_of(const char *name) {
        const MamHttpField *f = mam_http_find(&head, name);

        return f ? f->value.data : NULL; /* a NUL stands behind it */
}

TEST(a_request_looks_as_if_it_had_come_over_http1) {
        ASSERT_EQ(REQUEST(":method",
                          "GET",
                          ":scheme",
                          "https",
                          ":path",
                          "/a/b?c=d",
                          ":authority",
                          "h.example:8443",
                          "accept",
                          "*/*"),
                  0);
        ASSERT_TRUE(mam_http_range_equal(head.method, "GET"));
        ASSERT_TRUE(mam_http_range_equal(head.target, "/a/b?c=d"));
        ASSERT_TRUE(mam_http_range_equal(head.path, "/a/b"));
        ASSERT_TRUE(mam_http_range_equal(head.query, "c=d"));
        ASSERT_TRUE(mam_http_range_equal(head.host, "h.example:8443"));
        ASSERT_FIELD("Host", "h.example:8443");
        ASSERT_FIELD("accept", "*/*");
        ASSERT_EQ(head.n_fields, 2);
        ASSERT_EQ(head.minor_version, 1);
        ASSERT_EQ(head.framing, MAM_HTTP_BODY_NONE);
        ASSERT_TRUE(head.keep_alive && !head.upgrade && !head.expect_continue);
}

TEST(the_body_is_framed_by_length_or_by_the_stream) {
        ASSERT_EQ(REQUEST_BODY(BASIC, "content-length", "12"), 0);
        ASSERT_EQ(head.framing, MAM_HTTP_BODY_LENGTH);
        ASSERT_EQ(head.content_length, 12);
        ASSERT_EQ(REQUEST_BODY(BASIC, "expect", "100-continue"), 0);
        ASSERT_EQ(head.framing, MAM_HTTP_BODY_CHUNKED);
        ASSERT_TRUE(head.expect_continue);
        ASSERT_EQ(REQUEST_BODY(BASIC, "content-length", "0"), 0);
        ASSERT_EQ(head.framing, MAM_HTTP_BODY_NONE);
        ASSERT_EQ(REQUEST(BASIC, "content-length", "0"), 0);
        ASSERT_EQ(REQUEST(BASIC, "content-length", "1"), -EBADMSG);
}

TEST(cookies_become_one) {
        ASSERT_EQ(REQUEST(BASIC, "cookie", "a=b", "x", "1", "cookie", "c=d", "cookie", "e=f"), 0);
        ASSERT_FIELD("cookie", "a=b; c=d; e=f");
        ASSERT_FIELD("x", "1");
        ASSERT_FIELD("host", "a.example");
        ASSERT_EQ(head.n_fields, 3);
}

TEST(a_host_instead_of_the_authority_will_do) {
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "/", "host", "b.example"), 0);
        ASSERT_TRUE(mam_http_range_equal(head.host, "b.example"));
        ASSERT_EQ(REQUEST(BASIC, "host", "A.EXAMPLE"), 0);
        ASSERT_EQ(head.n_fields, 1);
        ASSERT_EQ(REQUEST(BASIC, "host", "b.example"), -EBADMSG);
        ASSERT_EQ(REQUEST(BASIC, "host", "a.example", "host", "a.example"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "/"), -EBADMSG);
}

TEST(an_extended_connect_asks_for_a_protocol) {
        ASSERT_EQ(REQUEST_BODY(":method",
                               "CONNECT",
                               ":protocol",
                               "websocket",
                               ":scheme",
                               "https",
                               ":path",
                               "/chat",
                               ":authority",
                               "a",
                               "sec-websocket-version",
                               "13"),
                  0);
        ASSERT_TRUE(head.upgrade);
        ASSERT_TRUE(mam_http_range_equal(head.protocol, "websocket"));
        ASSERT_EQ(head.protocol.data[head.protocol.size], 0);
        ASSERT_TRUE(mam_http_range_equal(head.method, "CONNECT"));
        ASSERT_TRUE(mam_http_range_equal(head.path, "/chat"));
        ASSERT_EQ(REQUEST(BASIC, ":protocol", "websocket"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "CONNECT", ":protocol", "websocket", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method",
                          "CONNECT",
                          ":protocol",
                          "web socket",
                          ":scheme",
                          "https",
                          ":path",
                          "/",
                          ":authority",
                          "a"),
                  -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "CONNECT", ":authority", "a:1"), 501);
        ASSERT_EQ(REQUEST(":method", "CONNECT", ":authority", "a:1", ":scheme", "https"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "CONNECT"), -EBADMSG);
}

TEST(what_is_malformed_is_refused) {
        static const char *const cases[][2] = {
                { "Upper", "1" },
                { "", "1" },
                { "sp ace", "1" },
                { "a:b", "1" },
                { "nul",
                  "a\x01"
                  "b" },
                { "cr", "a\rb" },
                { "lf", "a\nb" },
                { "del", "a\x7f" },
                { "lead", " a" },
                { "trail", "a\t" },
                { "connection", "close" },
                { "keep-alive", "1" },
                { "proxy-connection", "close" },
                { "transfer-encoding", "chunked" },
                { "upgrade", "websocket" },
                { "te", "gzip" },
                { "te", "trailers, gzip" },
                { "host", "a b" },
                { "host", "" },
                { "content-length", "" },
                { "content-length", "+1" },
                { "content-length", "1, 1" },
                { "content-length", "0x1" },
                { "content-length", "99999999999999999999" },
                { ":path", "/late" },
                { ":unknown", "1" },
                { ":status", "200" },
                { ":", "1" },
                { ":authority", "" },
                { "n\xc3\xa4me", "1" },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                ASSERT_EQ(REQUEST_BODY(BASIC, "x", "y", cases[i][0], cases[i][1]), -EBADMSG);
                ASSERT_TRUE(fields.error);
        }
        ASSERT_EQ(REQUEST_BODY(BASIC, "content-length", "1", "content-length", "1"), -EBADMSG);
        ASSERT_EQ(http2_fields_add(&fields, (const uint8_t *) "x", 1, NULL, 0), -EBADMSG); /* it sticks */
        ASSERT_EQ(REQUEST(BASIC, "te", "trailers", "empty", ""), 0);
        ASSERT_FIELD("empty", "");
}

TEST(a_nul_in_a_value_is_refused) {
        http2_fields_done(&fields);
        http2_fields_init(&fields, HTTP2_BLOCK_REQUEST, LIST_MAX);
        ASSERT_EQ(http2_fields_add(&fields, (const uint8_t *) "x", 1, (const uint8_t *) "a\0b", 3),
                  -EBADMSG);
        http2_fields_init(&fields, HTTP2_BLOCK_REQUEST, LIST_MAX);
        ASSERT_EQ(http2_fields_add(&fields, (const uint8_t *) ":path", 5, (const uint8_t *) "/\0", 2),
                  -EBADMSG);
}

TEST(pseudo_header_fields_are_complete_single_and_legal) {
        ASSERT_EQ(REQUEST(":scheme", "http", ":path", "/", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":path", "/", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(BASIC, ":method", "GET"), -EBADMSG);
        ASSERT_EQ(REQUEST(BASIC, ":path", "/"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GE T", ":scheme", "http", ":path", "/", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "ftp", ":path", "/", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "a", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "http://a/", ":authority", "a"),
                  -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "/a b", ":authority", "a"),
                  -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "/a#b", ":authority", "a"),
                  -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "/\xc3\xa4", ":authority", "a"),
                  -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "*", ":authority", "a"), -EBADMSG);
        ASSERT_EQ(REQUEST(":method", "OPTIONS", ":scheme", "http", ":path", "*", ":authority", "a"), 0);
        ASSERT_EQ(REQUEST(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@a"), -EBADMSG);
}

TEST(limits_are_answered_and_excess_ends_the_connection) {
        static char large[LIST_MAX + 1];
        int r = 0;

        memset(large, 'a', LIST_MAX);
        ASSERT_EQ(REQUEST(BASIC, "x", large), 431);
        ASSERT_EQ(REQUEST(BASIC, "expect", "miracles"), 417);

        ASSERT_EQ(add_all(HTTP2_BLOCK_REQUEST, LIST(BASIC)), 0);
        fields.list_max = 100000;
        for (size_t i = 0; i < MAM_HTTP_FIELDS_MAX; i++)
                ASSERT_EQ(http2_fields_add(&fields, (const uint8_t *) "x", 1, (const uint8_t *) "y", 1), 0);
        ASSERT_EQ(http2_fields_finish_request(&fields, true, &head, &reason), 431);

        ASSERT_EQ(add_all(HTTP2_BLOCK_REQUEST, LIST(BASIC)), 0);
        for (size_t i = 0; i < 5 && r >= 0; i++)
                r = http2_fields_add(&fields, (const uint8_t *) "x", 1, (const uint8_t *) large, LIST_MAX);
        ASSERT_EQ(r, -E2BIG);
}

TEST(as_many_fields_as_fit_are_kept) {
        ASSERT_EQ(add_all(HTTP2_BLOCK_REQUEST,
                          LIST(":method",
                               "CONNECT",
                               ":protocol",
                               "p",
                               ":scheme",
                               "http",
                               ":path",
                               "/",
                               ":authority",
                               "a")),
                  0);
        fields.list_max = 100000;
        for (size_t i = 0; i < MAM_HTTP_FIELDS_MAX - 1; i++)
                ASSERT_EQ(http2_fields_add(&fields, (const uint8_t *) "x", 1, (const uint8_t *) "y", 1), 0);
        ASSERT_EQ(http2_fields_finish_request(&fields, false, &head, &reason), 0);
        ASSERT_EQ(head.n_fields, MAM_HTTP_FIELDS_MAX);
        ASSERT_FIELD("host", "a");
}

TEST(answers_have_a_status_and_no_other_pseudo_header_field) {
        ASSERT_EQ(response(false, false, LIST(":status", "200", "content-length", "5")), 0);
        ASSERT_EQ(head.status, 200);
        ASSERT_EQ(head.framing, MAM_HTTP_BODY_LENGTH);
        ASSERT_EQ(response(true, true, LIST(":status", "200", "content-length", "5")), 0);
        ASSERT_EQ(head.framing, MAM_HTTP_BODY_NONE);
        ASSERT_EQ(head.content_length, 5);
        ASSERT_EQ(response(true, false, LIST(":status", "200", "content-length", "5")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":status", "100")), 0);
        ASSERT_EQ(response(true, false, LIST(":status", "100")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":status", "101")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":status", "20")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":status", "2x0")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":status", "600")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST("x", "y")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":path", "/")), -EBADMSG);
        ASSERT_EQ(response(false, false, LIST(":status", "200", "connection", "close")), -EBADMSG);
}

TEST(trailers_have_no_pseudo_header_fields_and_no_framing) {
        MamHttpField list[MAM_HTTP_TRAILERS_MAX];
        size_t n = 0;

        ASSERT_EQ(add_all(HTTP2_BLOCK_TRAILERS, LIST("grpc-status", "0", "grpc-message", "")), 0);
        ASSERT_EQ(http2_fields_finish_trailers(&fields, list, &n), 0);
        ASSERT_EQ(n, 2);
        ASSERT_TRUE(mam_http_range_equal(list[0].name, "grpc-status"));
        ASSERT_TRUE(mam_http_range_equal(list[0].value, "0"));
        ASSERT_EQ(add_all(HTTP2_BLOCK_TRAILERS, LIST(":path", "/")), -EBADMSG);
        ASSERT_EQ(add_all(HTTP2_BLOCK_TRAILERS, LIST("content-length", "1")), -EBADMSG);
        ASSERT_EQ(add_all(HTTP2_BLOCK_TRAILERS, LIST("authorization", "1")), -EBADMSG);
        ASSERT_EQ(add_all(HTTP2_BLOCK_TRAILERS, LIST("transfer-encoding", "chunked")), -EBADMSG);
        http2_fields_done(&fields);
}
