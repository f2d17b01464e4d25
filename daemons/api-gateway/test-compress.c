/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <string.h>

#include "api-gateway/compress.h"
#include "libmam/util/test.h"

static const MamGatewayCompression defaults = {
        .enabled = true,
        .codings = (1U << _MAM_GATEWAY_CODING_MAX) - 1,
        .min_size = 1024,
};

/* Fields of the answer behind its status line, and the request's Accept-Encoding. */
static CompressVerdict judge(
                const char *status,
                const char *fields,
                const char *accept,
                const char *method) {
        char request_text[512], answer_text[512];
        MamGatewayCoding coding = _MAM_GATEWAY_CODING_MAX;
        MamHttpHead request, answer;
        CompressVerdict v;
        int64_t size;

        (void) snprintf(request_text,
                        sizeof(request_text),
                        "%s / HTTP/1.1\r\nHost: a\r\n%s%s\r\n\r\n",
                        method,
                        accept ? "Accept-Encoding: " : "X: ",
                        accept ? accept : "y");
        (void) snprintf(answer_text, sizeof(answer_text), "HTTP/1.1 %s\r\n%s\r\n", status, fields);
        ASSERT_TRUE(mam_http_parse_request(&request, request_text, strlen(request_text), NULL, NULL) > 0);
        ASSERT_TRUE(mam_http_parse_response(&answer, answer_text, strlen(answer_text), false, NULL) > 0);
        size = answer.framing == MAM_HTTP_BODY_LENGTH ? (int64_t) answer.content_length : -1;
        v = compress_judge(&defaults, &request, &answer, size, &coding);
        ASSERT_EQ(v == COMPRESS_YES, coding != _MAM_GATEWAY_CODING_MAX);
        return v;
}

#define JSON "Content-Type: application/json\r\n"
#define LONG "Content-Length: 5000\r\n"

TEST(answer_is_compressed_for_who_asks) {
        ASSERT_EQ(judge("200 OK", JSON LONG, "gzip", "GET"), COMPRESS_YES);
        ASSERT_EQ(judge("404 Not Found", JSON LONG, "gzip", "POST"), COMPRESS_YES);
        ASSERT_EQ(judge("200 OK", JSON "Transfer-Encoding: chunked\r\n", "br", "GET"), COMPRESS_YES);
        ASSERT_EQ(judge("200 OK", JSON LONG, NULL, "GET"), COMPRESS_VARY);
        ASSERT_EQ(judge("200 OK", JSON LONG, "identity", "GET"), COMPRESS_VARY);
        ASSERT_EQ(judge("200 OK", JSON LONG, "gzip", "HEAD"), COMPRESS_VARY);
}

TEST(answer_is_left_as_it_is_where_something_speaks_against_it) {
        ASSERT_EQ(judge("200 OK", JSON "Content-Length: 1023\r\n", "gzip", "GET"), COMPRESS_NO);
        ASSERT_EQ(judge("200 OK", LONG, "gzip", "GET"), COMPRESS_NO);
        ASSERT_EQ(judge("200 OK", "Content-Type: image/png\r\n" LONG, "gzip", "GET"), COMPRESS_NO);
        ASSERT_EQ(judge("200 OK", JSON LONG "Content-Encoding: br\r\n", "gzip", "GET"), COMPRESS_NO);
        ASSERT_EQ(judge("206 Partial Content", JSON LONG, "gzip", "GET"), COMPRESS_NO);
        ASSERT_EQ(judge("200 OK", JSON LONG "Content-Range: bytes 0-4999/9000\r\n", "gzip", "GET"),
                  COMPRESS_NO);
        ASSERT_EQ(judge("200 OK", JSON LONG "Cache-Control: public, No-Transform\r\n", "gzip", "GET"),
                  COMPRESS_NO);
        ASSERT_EQ(judge("200 OK", JSON LONG "Cache-Control: public, no-transforms\r\n", "gzip", "GET"),
                  COMPRESS_YES);
        ASSERT_EQ(judge("204 No Content", JSON, "gzip", "GET"), COMPRESS_NO);
}

static const char *field(const char *name, const char *value, char ret[static 256]) {
        MamHttpField f = { .name = { name, strlen(name) }, .value = { value, strlen(value) } };

        return compress_takes_field(&f, ret) ? "taken" : ret[0] ? ret : "gone";
}

TEST(fields_say_what_the_bytes_are) {
        char text[256], large[300];

        memset(large, 'x', sizeof(large) - 1);
        large[0] = '"';
        large[sizeof(large) - 1] = '\0';
        ASSERT_STREQ(field("ETag", "\"abc\"", text), "W/\"abc\"");
        ASSERT_STREQ(field("etag", "W/\"abc\"", text), "taken");
        ASSERT_STREQ(field("ETag", large, text), "gone");
        ASSERT_STREQ(field("Accept-Ranges", "bytes", text), "gone");
        ASSERT_STREQ(field("Content-Type", "application/json", text), "taken");
}
