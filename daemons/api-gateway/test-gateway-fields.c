/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which fields pass, what is put in their place, and how many lines the access log writes
 */

#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/fields.h"
#include "libmam/util/test.h"

static bool passes_up(const char *fields, const char *name) {
        const char *reason = NULL;
        const MamHttpField *f;
        char text[2048];
        unsigned status;
        MamHttpHead h;
        int n;

        n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: example\r\n%s\r\n", fields);
        ASSERT_EQ(mam_http_parse_request(&h, text, (size_t) n, &status, &reason), n);
        f = mam_http_find(&h, name);
        ASSERT_TRUE(f);
        return field_is_for_upstream(&h, f);
}

static bool passes_down(const char *fields, const char *name) {
        const char *reason = NULL;
        const MamHttpField *f;
        char text[2048];
        MamHttpHead h;
        int n;

        n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%s\r\n", fields);
        ASSERT_EQ(mam_http_parse_response(&h, text, (size_t) n, false, &reason), n);
        f = mam_http_find(&h, name);
        ASSERT_TRUE(f);
        return field_is_for_client(&h, f);
}

TEST(ordinary_fields_pass_both_ways) {
        static const char *const names[] = {
                "Accept", "Content-Type", "Cookie",          "If-Match", "User-Agent",
                "Range",  "X-Custom",     "Idempotency-Key", "Mama",     "X-Forward",
        };
        char line[128];

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                (void) snprintf(line, sizeof(line), "%s: x\r\n", names[i]);
                ASSERT_TRUE(passes_up(line, names[i]));
                ASSERT_TRUE(passes_down(line, names[i]));
        }
        ASSERT_TRUE(passes_down("Set-Cookie: a=b\r\n", "Set-Cookie"));
        ASSERT_TRUE(passes_down("ETag: \"x\"\r\n", "ETag"));
}

TEST(what_a_client_could_pretend_with_does_not_pass) {
        static const char *const names[] = {
                "Mam-Subject",
                "mam-roles",
                "MAM-Anything",
                "Forwarded",
                "X-Forwarded-For",
                "x-forwarded-any",
                "X-Real-IP",
                "X-Request-Id",
                "traceparent",
                "tracestate",
                "Authorization",
                "X-API-Key",
                "Proxy",
                "Keep-Alive",
                "TE",
                "Trailer",
                "Upgrade",
                "Proxy-Connection",
                "Proxy-Authorization",
                "Expect",
                "Connection",
                "Mam_Subject",
                "X_Forwarded_For",
                "HTTP2-Settings",
        };
        char line[128];

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                (void) snprintf(line,
                                sizeof(line),
                                "%s: %s\r\n",
                                names[i],
                                strcmp(names[i], "Expect") == 0 ? "100-continue" : "x");
                ASSERT_TRUE(!passes_up(line, names[i]));
        }
        ASSERT_TRUE(!passes_up("", "Host"));
        ASSERT_TRUE(!passes_up("Content-Length: 0\r\n", "Content-Length"));
        /* what Connection names is of the connection */
        ASSERT_TRUE(!passes_up("Connection: keep-alive, X-Custom\r\nX-Custom: a\r\n", "X-Custom"));
}

TEST(what_belongs_to_the_inner_hop_stays_there) {
        ASSERT_TRUE(!passes_down("Content-Length: 3\r\n", "Content-Length"));
        ASSERT_TRUE(!passes_down("Transfer-Encoding: chunked\r\n", "Transfer-Encoding"));
        ASSERT_TRUE(!passes_down("Connection: close, X-A\r\nX-A: b\r\n", "X-A"));
        ASSERT_TRUE(!passes_down("Keep-Alive: timeout=5\r\n", "Keep-Alive"));
        ASSERT_TRUE(!passes_down("Date: x\r\n", "Date"));
        ASSERT_TRUE(!passes_down("X-Request-Id: x\r\n", "X-Request-Id"));
        ASSERT_TRUE(!passes_down("Mam-Unprocessed: 1\r\n", "Mam-Unprocessed"));
}

TEST(a_replica_is_told_who_asks) {
        static const char *const roles[] = { "viewer", "ops" }, *const scopes[] = { "read", "x:write" };
        _cleanup_(caller_unrefp) Caller *narrow = NULL, *wide = NULL, *nobody = caller_nobody();
        static const char expected[] = "Mam-Subject\0ada l\0Mam-Roles\0viewer,ops\0Mam-Scopes\0read x:write";

        ASSERT_OK(
                        caller_new(&narrow,
                                   &(CallerSpec){ .subject = "ada l",
                                                  .roles = roles,
                                                  .n_roles = 2,
                                                  .scopes = scopes,
                                                  .n_scopes = 2,
                                                  .scoped = true }));
        ASSERT_EQ(narrow->n_fields, 3);
        ASSERT_EQ(narrow->fields.size, sizeof(expected) + 3 * 4); /* each with its two sizes in front */
        ASSERT_STREQ(mam_buffer_bytes(&narrow->fields) + 4, "Mam-Subject");
        ASSERT_TRUE(memmem(mam_buffer_bytes(&narrow->fields), narrow->fields.size, "read x:write", 13));
        ASSERT_TRUE(memmem(mam_buffer_bytes(&narrow->fields), narrow->fields.size, "viewer,ops", 11));
        ASSERT_OK(caller_new(&wide, &(CallerSpec){ .subject = "ada", .roles = roles, .n_roles = 1 }));
        ASSERT_EQ(wide->n_fields, 2);
        ASSERT_EQ(nobody->n_fields, 0);
}

TEST(forwarded_is_quoted_where_it_must_be) {
        static const char host[] = "example.org:3000", evil[] = "a\";for=evil";
        char text[512], longest[300];

        format_forwarded(text, "192.0.2.1", "http", (MamHttpRange){ host, strlen(host) });
        ASSERT_STREQ(text, "for=192.0.2.1;proto=http;host=\"example.org:3000\"");
        format_forwarded(text, "2001:db8::1", "https", (MamHttpRange){ NULL, 0 });
        ASSERT_STREQ(text, "for=\"[2001:db8::1]\";proto=https");
        format_forwarded(text, "", "http", (MamHttpRange){ evil, strlen(evil) });
        ASSERT_STREQ(text, "for=unknown;proto=http");
        memset(longest, 'a', sizeof(longest));
        format_forwarded(text, "", "http", (MamHttpRange){ longest, 255 });
        ASSERT_EQ(strlen(text), strlen("for=unknown;proto=http;host=\"\"") + 255);
}

TEST(access_log_is_bounded_per_second) {
        _cleanup_(access_log_freep) AccessLog *l = NULL;
        unsigned n = 0;

        ASSERT_OK(access_log_new(&l));
        access_log_configure(l, &(MamGatewayAccessLog){ .rate = 10 });
        for (uint64_t t = 5000000; t < 6000000; t += 1000)
                n += access_log_admit(l, t);
        ASSERT_EQ(n, 10);
        ASSERT_TRUE(access_log_admit(l, 6000000));
}
