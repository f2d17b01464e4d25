/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Character classes of HTTP (internal to libmam/http)
 */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

#ifdef __SSE2__ /* every x86-64 */
/* Of sixteen bytes, which are at most max, without sign. */
static inline __m128i http_up_to(__m128i v, char max) {
        return _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(max)), v);
}

/* Bits of those of sixteen bytes that may not stand in a field value: control characters but the tab, DEL.
 */
static inline unsigned http_not_value(const char *p) {
        __m128i v = _mm_loadu_si128((const __m128i *) p);
        __m128i control = _mm_andnot_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\t')), http_up_to(v, 0x1f));

        return (unsigned) _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f))));
}

/* The same of a request target: what is no visible ASCII character, and '#'. */
static inline unsigned http_not_target(const char *p) {
        __m128i v = _mm_loadu_si128((const __m128i *) p);
        /* DEL and what is above it becomes negative. */
        __m128i high = _mm_add_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x7f)), _mm_set1_epi8(1));
        __m128i bad = _mm_or_si128(http_up_to(v, ' '), _mm_cmpeq_epi8(v, _mm_set1_epi8('#')));

        return (unsigned) _mm_movemask_epi8(_mm_or_si128(bad, high));
}
#endif

/* The first byte that may not stand in a field value: sixteen bytes at a time, or eight; a word with a
 * control character or DEL in it, and what follows it, is looked at byte by byte. */
static inline const char *http_skip_value(const char *p, const char *end) {
#ifdef __SSE2__
        for (; end - p >= 16; p += 16) {
                unsigned bad = http_not_value(p);

                if (bad != 0)
                        return p + __builtin_ctz(bad);
        }
#endif
        while (end - p >= 8 && !http_has_control(p))
                p += 8;
        return http_skip(p, end, HTTP_CHAR_VALUE);
}

/* The first byte that may not stand in a request target. */
static inline const char *http_skip_target(const char *p, const char *end) {
#ifdef __SSE2__
        for (; end - p >= 16; p += 16) {
                unsigned bad = http_not_target(p);

                if (bad != 0)
                        return p + __builtin_ctz(bad);
        }
#endif
        return http_skip(p, end, HTTP_CHAR_TARGET);
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
