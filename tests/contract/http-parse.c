/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How libmam/http reads requests, for http-parser.js to compare
 *
 * Messages come on stdin, each behind its size (four bytes, little endian). For each a line of JSON: the
 * parts as hexadecimal, or "rejected", or "incomplete".
 */

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http-codec.h"
#include "libmam/util/buffer.h"

#define MESSAGE_MAX 65536U

static void hex(const char *data, size_t size) {
        putchar('"');
        for (size_t i = 0; i < size; i++)
                printf("%02x", (unsigned char) data[i]);
        putchar('"');
}

/* 1: complete; 0: more is needed; <0: rejected. */
static int read_body(
                const MamHttpHead *h,
                const char *data,
                size_t size,
                MamBuffer *body,
                size_t *ret_used) {
        _cleanup_(mam_buffer_done) MamBuffer trailers = MAM_BUFFER_INIT;
        MamHttpField fields[MAM_HTTP_TRAILERS_MAX];
        MamHttpChunked chunked = MAM_HTTP_CHUNKED_INIT;
        const char *reason;
        bool done = false;
        size_t n_fields;

        *ret_used = 0;
        if (h->framing == MAM_HTTP_BODY_NONE)
                return 1;
        if (h->framing == MAM_HTTP_BODY_LENGTH) {
                if (size < h->content_length)
                        return 0;
                *ret_used = (size_t) h->content_length;
                return mam_buffer_append(body, data, *ret_used) < 0 ? -1 : 1;
        }

        while (!done) {
                MamHttpRange piece, lines;
                ssize_t n;

                n = mam_http_chunked_decode(
                                &chunked,
                                data + *ret_used,
                                size - *ret_used,
                                &piece,
                                &done,
                                &reason);
                if (n < 0)
                        return -1;
                if (n == 0 && !done)
                        return 0;
                lines = mam_http_chunked_trailers(&chunked, data + *ret_used);
                if (mam_buffer_append(&trailers, lines.data, lines.size) < 0)
                        return -1;
                if (mam_buffer_append(body, piece.data ? piece.data : "", piece.size) < 0)
                        return -1;
                *ret_used += (size_t) n;
        }
        if (mam_http_parse_trailers(fields, &n_fields, mam_buffer_bytes(&trailers), trailers.size, &reason) <
            0)
                return -1;
        return 1;
}

static void show(const char *data, size_t size) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        const char *reason;
        unsigned status;
        MamHttpHead h;
        size_t used;
        ssize_t n;
        int r;

        n = mam_http_parse_request(&h, data, size, &status, &reason);
        r = n > 0 ? read_body(&h, data + n, size - (size_t) n, &body, &used) : (int) n;
        if (r <= 0) {
                puts(r < 0 ? "\"rejected\"" : "\"incomplete\"");
                return;
        }

        printf("{\"method\":");
        hex(h.method.data, h.method.size);
        printf(",\"target\":");
        hex(h.target.data, h.target.size);
        printf(",\"minor\":%u,\"keepAlive\":%s,\"upgrade\":%s,\"used\":%zu,\"body\":",
               h.minor_version,
               h.keep_alive ? "true" : "false",
               h.upgrade ? "true" : "false",
               (size_t) n + used);
        hex(mam_buffer_bytes(&body), body.size);
        printf(",\"fields\":[");
        for (size_t i = 0; i < h.n_fields; i++) {
                printf("%s[", i > 0 ? "," : "");
                hex(h.fields[i].name.data, h.fields[i].name.size);
                putchar(',');
                hex(h.fields[i].value.data, h.fields[i].value.size);
                putchar(']');
        }
        puts("]}");
}

int main(void) {
        uint32_t size;

        while (fread(&size, sizeof(size), 1, stdin) == 1) {
                char *data;

                size = le32toh(size);
                if (size > MESSAGE_MAX)
                        return EXIT_FAILURE;
                data = malloc(size > 0 ? size
                                       : 1); /* of its own, so that a sanitizer sees each byte too many */
                if (!data || fread(data, 1, size, stdin) != size) {
                        free(data);
                        return EXIT_FAILURE;
                }
                show(data, size);
                free(data);
        }
        return EXIT_SUCCESS;
}
