/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Character classes of HTTP (internal to libmam/http)
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "libmam/http/http-codec.h"

enum {
        HTTP_CHAR_TOKEN = 1 << 0,  /* tchar, RFC 9110, section 5.6.2 */
        HTTP_CHAR_VALUE = 1 << 1,  /* VCHAR, obs-text, SP and HTAB */
        HTTP_CHAR_TARGET = 1 << 2, /* visible ASCII but '#': a fragment is never sent */
        HTTP_CHAR_HOST = 1 << 3,   /* unreserved, sub-delims and '%', RFC 3986 */
        HTTP_CHAR_HEX = 1 << 4,
};

extern const uint8_t http_chars[256];

static inline bool http_char_is(char c, unsigned class) {
        return http_chars[(uint8_t) c] & class;
}

static inline const char *http_skip(const char *p, const char *end, unsigned class) {
        while (p < end && http_char_is(*p, class))
                p++;
        return p;
}

/* Eight bytes: false only if there is no control character, tab or DEL among them. */
static inline bool http_has_control(const char *p) {
        const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
        uint64_t w, del;

        memcpy(&w, p, sizeof(w));
        del = w ^ (ones * 0x7f);
        return (((w - ones * 0x20) & ~w) | ((del - ones) & ~del)) & tops;
}

/* The first byte that may not stand in a field value. Eight bytes at a time; a word with a control character
 * or DEL in it, and what follows it, is looked at byte by byte. */
static inline const char *http_skip_value(const char *p, const char *end) {
        while (end - p >= 8 && !http_has_control(p))
                p += 8;
        return http_skip(p, end, HTTP_CHAR_VALUE);
}

/* uri-host [ ":" port ], never empty (RFC 9110, section 7.2); in http-codec.c. */
bool http_host_is_valid(MamHttpRange r);

/* Value of a hexadecimal digit, or -1. */
static inline int http_hex(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}
