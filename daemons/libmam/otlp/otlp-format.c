/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A span as JSON
 *
 * OTLP's mapping: trace and span ids in hexadecimal (not base64), 64-bit integers as strings, enumerations
 * as numbers.
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "libmam/otlp/otlp.h"

static int append_hex(MamBuffer *b, const uint8_t *data, size_t size) {
        static const char digits[] = "0123456789abcdef";
        char *p;
        int r;

        r = mam_buffer_reserve(b, 2 * size, &p);
        if (r < 0)
                return r;
        for (size_t i = 0; i < size; i++) {
                *p++ = digits[data[i] >> 4];
                *p++ = digits[data[i] & 15];
        }
        mam_buffer_commit(b, 2 * size);
        return 0;
}

/* How many bytes of text make its first character, if that is well-formed UTF-8; 0: it is not. */
static size_t character(const unsigned char *s, size_t size) {
        size_t n = s[0] < 0x80                   ? 1
                   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                   : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
                   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                 : 0;

        if (n == 0 || n > size)
                return 0;
        for (size_t i = 1; i < n; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
                return 0;
        return n;
}

/* Texts come from clients (a path, a subject): whatever bytes they are, the document stays valid. */
static int append_text(MamBuffer *b, const char *text) {
        size_t size = strnlen(text, OTLP_VALUE_SIZE_MAX);
        int r;

        r = mam_buffer_append(b, "\"", 1);
        for (size_t i = 0; r >= 0 && i < size;) {
                unsigned char c = (unsigned char) text[i];
                size_t n = character((const unsigned char *) text + i, size - i);

                if (n == 0)
                        r = mam_buffer_append_string(b, "\xef\xbf\xbd");
                else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f)
                        r = mam_buffer_appendf(b, "\\u%04x", c);
                else
                        r = mam_buffer_append(b, text + i, n);
                i += n > 0 ? n : 1;
        }
        return r < 0 ? r : mam_buffer_append(b, "\"", 1);
}

static int append_attributes(MamBuffer *b, const MamSpan *span) {
        bool first = true;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < span->n_attributes; i++) {
                const MamSpanAttribute *a = &span->attributes[i];

                if (!a->text && a->number < 0)
                        continue;
                r = mam_buffer_appendf(b, "%s{\"key\":\"%s\",\"value\":{", first ? "" : ",", a->key);
                first = false;
                if (r >= 0 && a->text) {
                        r = mam_buffer_append_string(b, "\"stringValue\":");
                        if (r >= 0)
                                r = append_text(b, a->text);
                } else if (r >= 0) {
                        r = mam_buffer_appendf(b, "\"intValue\":\"%" PRIi64 "\"", a->number);
                }
                if (r >= 0)
                        r = mam_buffer_append_string(b, "}}");
        }
        return r;
}

static int append_ids(MamBuffer *b, const MamSpan *span) {
        int r;

        r = mam_buffer_append_string(b, "{\"traceId\":\"");
        if (r >= 0)
                r = append_hex(b, span->trace->trace_id, sizeof(span->trace->trace_id));
        if (r >= 0)
                r = mam_buffer_append_string(b, "\",\"spanId\":\"");
        if (r >= 0)
                r = append_hex(b, span->trace->span_id, sizeof(span->trace->span_id));
        if (r >= 0 && span->parent) {
                r = mam_buffer_append_string(b, "\",\"parentSpanId\":\"");
                if (r >= 0)
                        r = append_hex(b, span->parent, sizeof(span->trace->span_id));
        }
        return r;
}

int mam_otlp_format_span(MamBuffer *b, const MamSpan *span) {
        int r;

        assert(b);
        assert(span && span->trace && span->name);

        r = append_ids(b, span);
        if (r >= 0)
                r = mam_buffer_append_string(b, "\",\"name\":");
        if (r >= 0)
                r = append_text(b, span->name);
        if (r >= 0)
                r = mam_buffer_appendf(
                                b,
                                ",\"kind\":%d,\"startTimeUnixNano\":\"%" PRIu64
                                "000\",\"endTimeUnixNano\":\"%" PRIu64 "000\",\"attributes\":[",
                                span->kind,
                                span->start_usec,
                                span->end_usec);
        if (r >= 0)
                r = append_attributes(b, span);
        if (r >= 0)
                r = mam_buffer_append_string(b, "],\"status\":{");
        if (r >= 0 && span->error) {
                r = mam_buffer_append_string(b, "\"code\":2,\"message\":");
                if (r >= 0)
                        r = append_text(b, span->error);
        }
        return r < 0 ? r : mam_buffer_append_string(b, "}}");
}

bool mam_otlp_samples(const MamTrace *t, uint32_t ppm) {
        uint64_t value = 0;

        assert(t);

        if (ppm >= 1000000)
                return true;
        /* The last 56 bits are the random ones of a trace id, whoever made it (W3C Trace Context level 2).
         */
        for (size_t i = 9; i < sizeof(t->trace_id); i++)
                value = value << 8 | t->trace_id[i];
        return value < (uint64_t) ((double) ppm / 1e6 * (double) (UINT64_C(1) << 56));
}
