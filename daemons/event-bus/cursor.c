/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Cursors
 *
 * The bytes are: version 1, the topic's number and the position as little-endian base 128, and a check byte,
 * so that a cursor that was cut or mixed up does not quietly name another place.
 */

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "event-bus/cursor.h"
#include "libmam/util/time.h"

#define VERSION   1U
#define BYTES_MAX 24U

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static unsigned char check_byte(const unsigned char *b, size_t n) {
        unsigned v = 0x5a;

        for (size_t i = 0; i < n; i++)
                v = (v * 31 + b[i]) & 0xff;
        return (unsigned char) v;
}

static size_t put_number(unsigned char *b, int64_t number) {
        uint64_t v = (uint64_t) number;
        size_t n = 0;

        do {
                b[n++] = (unsigned char) ((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
                v >>= 7;
        } while (v > 0);
        return n;
}

static size_t get_number(const unsigned char *b, size_t size, int64_t *ret) {
        uint64_t v = 0;

        for (size_t i = 0; i < size && i < 9; i++) {
                v |= (uint64_t) (b[i] & 0x7f) << 7 * i;
                if ((b[i] & 0x80) == 0) {
                        *ret = (int64_t) v;
                        return i > 0 && b[i] == 0 ? 0 : i + 1; /* in its shortest form only */
                }
        }
        return 0;
}

size_t cursor_format(char ret[static CURSOR_SIZE], int64_t topic, int64_t position) {
        unsigned char b[BYTES_MAX];
        size_t n = 0, w = 0;

        b[n++] = VERSION;
        n += put_number(b + n, topic < 0 ? 0 : topic);
        n += put_number(b + n, position < 0 ? 0 : position);
        b[n] = check_byte(b, n);
        n++;
        for (size_t i = 0; i < n; i += 3) {
                unsigned v = (unsigned) b[i] << 16;

                if (i + 1 < n)
                        v |= (unsigned) b[i + 1] << 8;
                if (i + 2 < n)
                        v |= b[i + 2];
                ret[w++] = digits[v >> 18];
                ret[w++] = digits[v >> 12 & 63];
                if (i + 1 < n)
                        ret[w++] = digits[v >> 6 & 63];
                if (i + 2 < n)
                        ret[w++] = digits[v & 63];
        }
        ret[w] = '\0';
        return w;
}

int cursor_parse(const char *text, int64_t *ret_topic, int64_t *ret_position) {
        unsigned char b[BYTES_MAX + 3];
        size_t n = 0, at = 1, used;
        unsigned bits = 0, v = 0;
        int64_t topic, position;

        if (strlen(text) >= 4 * BYTES_MAX / 3)
                return -EINVAL;
        for (; *text; text++) {
                const char *d = strchr(digits, *text);

                if (!d)
                        return -EINVAL;
                v = (v << 6 | (unsigned) (d - digits)) & 0xffffff;
                bits += 6;
                if (bits >= 8) {
                        bits -= 8;
                        b[n++] = (unsigned char) (v >> bits);
                }
        }
        if (n < 4 || (v & ((1U << bits) - 1)) != 0 || b[0] != VERSION || b[n - 1] != check_byte(b, n - 1))
                return -EINVAL;
        used = get_number(b + at, n - 1 - at, &topic);
        at += used;
        if (used == 0)
                return -EINVAL;
        used = get_number(b + at, n - 1 - at, &position);
        at += used;
        if (used == 0 || at != n - 1)
                return -EINVAL;
        *ret_topic = topic;
        *ret_position = position;
        return 0;
}

static bool read_digits(const char **s, unsigned n, int max, int *ret) {
        int v = 0;

        for (; n > 0; n--, (*s)++) {
                if (!isdigit((unsigned char) **s))
                        return false;
                v = v * 10 + (**s - '0');
        }
        *ret = v;
        return v <= max;
}

static bool read_char(const char **s, char c) {
        if (**s != c)
                return false;
        (*s)++;
        return true;
}

/* .5 and so on; what is finer than a microsecond is dropped. */
static bool read_fraction(const char **s, uint64_t *usec) {
        uint64_t unit = 100000;

        if (!read_char(s, '.'))
                return true;
        if (!isdigit((unsigned char) **s))
                return false;
        for (; isdigit((unsigned char) **s); (*s)++, unit /= 10)
                *usec += unit * (uint64_t) (**s - '0');
        return true;
}

int rfc3339_parse(const char *text, uint64_t *ret_usec) {
        struct tm tm = { 0 }, back;
        uint64_t usec = 0;
        int hours, minutes, east = 0;
        time_t t;

        if (!read_digits(&text, 4, 9999, &tm.tm_year) || !read_char(&text, '-') ||
            !read_digits(&text, 2, 12, &tm.tm_mon) || !read_char(&text, '-') ||
            !read_digits(&text, 2, 31, &tm.tm_mday) || (*text != 'T' && *text != 't'))
                return -EINVAL;
        text++;
        if (!read_digits(&text, 2, 23, &tm.tm_hour) || !read_char(&text, ':') ||
            !read_digits(&text, 2, 59, &tm.tm_min) || !read_char(&text, ':') ||
            !read_digits(&text, 2, 60, &tm.tm_sec) || !read_fraction(&text, &usec))
                return -EINVAL;
        if (*text == 'Z' || *text == 'z') {
                text++;
        } else {
                int sign = *text == '-' ? -1 : 1;

                if (*text != '+' && *text != '-')
                        return -EINVAL;
                text++;
                if (!read_digits(&text, 2, 23, &hours) || !read_char(&text, ':') ||
                    !read_digits(&text, 2, 59, &minutes))
                        return -EINVAL;
                east = sign * (hours * 3600 + minutes * 60);
        }
        if (*text)
                return -EINVAL;
        tm.tm_year -= 1900;
        tm.tm_mon -= 1;
        back = tm;
        t = timegm(&tm);
        if (tm.tm_mon != back.tm_mon || tm.tm_mday != back.tm_mday) { /* 30 February, or a leap second */
                if (back.tm_sec != 60)
                        return -EINVAL;
        }
        if (t < 0 || t < east)
                return -EINVAL;
        *ret_usec = (uint64_t) (t - east) * MAM_USEC_PER_SEC + usec;
        return 0;
}

static int parse_position(const char *text, int64_t *ret) {
        int64_t v = 0;

        if (!*text || strlen(text) > 18)
                return -EINVAL;
        for (; *text; text++) {
                if (!isdigit((unsigned char) *text))
                        return -EINVAL;
                v = v * 10 + (*text - '0');
        }
        *ret = v;
        return 0;
}

int place_parse(Place *ret, const char *text) {
        Place p = { 0 };

        if (strcmp(text, "earliest") == 0) {
                p.kind = PLACE_EARLIEST;
        } else if (strcmp(text, "latest") == 0) {
                p.kind = PLACE_LATEST;
        } else if (parse_position(text, &p.position) >= 0) {
                p.kind = PLACE_POSITION;
        } else if (rfc3339_parse(text, &p.usec) >= 0) {
                p.kind = PLACE_TIME;
        } else if (cursor_parse(text, &p.topic, &p.position) >= 0) {
                p.kind = PLACE_CURSOR;
        } else
                return -EINVAL;
        *ret = p;
        return 0;
}
