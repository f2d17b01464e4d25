/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * RFC 9457 problem details
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-exchange.h"

/* Bytes of the well-formed UTF-8 sequence at p (RFC 3629), or 0. */
static size_t utf8_sequence(const unsigned char *p, size_t size) {
        size_t n = p[0] < 0x80   ? 1
                   : p[0] < 0xc2 ? 0
                   : p[0] < 0xe0 ? 2
                   : p[0] < 0xf0 ? 3
                   : p[0] < 0xf5 ? 4
                                 : 0;

        if (n > size)
                return 0;
        for (size_t i = 1; i < n; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        }
        if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
            (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
                return 0;
        return n;
}

/* Details quote what clients sent: what is not UTF-8 becomes U+FFFD. */
static int append_json_string(MamBuffer *b, const char *s) {
        const unsigned char *p = (const unsigned char *) s, *end = p + strlen(s);
        int r;

        r = mam_buffer_append(b, "\"", 1);
        while (r >= 0 && p < end) {
                size_t n = utf8_sequence(p, (size_t) (end - p));

                if (n == 0) {
                        r = mam_buffer_append_string(b, "\\ufffd");
                } else if (*p == '"' || *p == '\\') {
                        r = mam_buffer_appendf(b, "\\%c", *p);
                } else if (*p < 0x20) {
                        r = mam_buffer_appendf(b, "\\u%04x", *p);
                } else {
                        r = mam_buffer_append(b, p, n);
                }
                p += n > 0 ? n : 1;
        }
        return r < 0 ? r : mam_buffer_append(b, "\"", 1);
}

int http_problem_format(MamBuffer *ret, unsigned status, const char *pointer, const char *detail) {
        int r;

        assert(ret);
        assert(detail);

        r = mam_buffer_appendf(
                        ret,
                        "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":",
                        mam_http_status_text(status),
                        status);
        if (r >= 0)
                r = append_json_string(ret, detail);
        if (r >= 0 && pointer) {
                r = mam_buffer_append_string(ret, ",\"errors\":[{\"detail\":");
                if (r >= 0)
                        r = append_json_string(ret, detail);
                if (r >= 0)
                        r = mam_buffer_append_string(ret, ",\"pointer\":");
                if (r >= 0)
                        r = append_json_string(ret, pointer);
                if (r >= 0)
                        r = mam_buffer_append_string(ret, "}]");
        }
        return r < 0 ? r : mam_buffer_append(ret, "}", 1);
}

int mam_http_exchange_problem(
                MamHttpExchange *x,
                unsigned status,
                const char *pointer,
                const char *format,
                ...) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *detail = NULL;
        va_list ap;
        int r;

        assert(x);
        assert(format);

        va_start(ap, format);
        r = vasprintf(&detail, format, ap);
        va_end(ap);
        if (r < 0) {
                detail = NULL;
                return -ENOMEM;
        }

        r = http_problem_format(&body, status, pointer, detail);
        if (r < 0)
                return r;
        return mam_http_exchange_respond(
                        x,
                        status,
                        "application/problem+json",
                        mam_buffer_bytes(&body),
                        body.size);
}
