/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kubernetes resource quantities
 *
 * Exact integer arithmetic: a quantity is digits × 10^exponent × 2^shift. 19 significant digits times 2^60
 * stay below 2^124, so one 128-bit integer holds every product that can still be in range.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "libmam/util/quantity.h"

__extension__ typedef unsigned __int128 Wide;

#define DIGITS_MAX   19
#define EXPONENT_MAX 1000

typedef struct Quantity {
        bool negative;
        uint64_t digits;
        int exponent; /* of ten */
        int shift;    /* of two */
} Quantity;

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* Digits with at most one point, from *p on; leaves *p behind them. Zeros at either end cost no
 * precision. */
static int parse_number(Quantity *q, const char **p) {
        const char *start = *p, *end = start + strspn(start, "0123456789."),
                   *point = memchr(start, '.', (size_t) (end - start));
        unsigned significant = 0;

        if (end - start <= (point != NULL) || (point && memchr(point + 1, '.', (size_t) (end - point - 1))))
                return -EINVAL;
        *p = end;

        while (point && end - 1 > point && end[-1] == '0')
                end--;
        if (point && end - 1 == point) {
                end--;
                point = NULL;
        }
        for (; !point && end - start > 1 && end[-1] == '0'; end--)
                q->exponent++;

        for (const char *c = start; c < end; c++) {
                if (c == point)
                        continue;
                if (point && c > point)
                        q->exponent--;
                if (significant == 0 && *c == '0')
                        continue;
                if (++significant > DIGITS_MAX)
                        return -ERANGE;
                q->digits = q->digits * 10 + (uint64_t) (*c - '0');
        }
        return 0;
}

static int parse_suffix(Quantity *q, const char *p) {
        static const struct {
                const char *suffix;
                int exponent, shift;
        } suffixes[] = {
                { "", 0, 0 },    { "n", -9, 0 },  { "u", -6, 0 },  { "m", -3, 0 },
                { "k", 3, 0 },   { "M", 6, 0 },   { "G", 9, 0 },   { "T", 12, 0 },
                { "P", 15, 0 },  { "E", 18, 0 },  { "Ki", 0, 10 }, { "Mi", 0, 20 },
                { "Gi", 0, 30 }, { "Ti", 0, 40 }, { "Pi", 0, 50 }, { "Ei", 0, 60 },
        };
        bool negative;
        int e = 0;

        for (size_t i = 0; i < MAM_ELEMENTSOF(suffixes); i++) {
                if (strcmp(p, suffixes[i].suffix) == 0) {
                        q->exponent += suffixes[i].exponent;
                        q->shift = suffixes[i].shift;
                        return 0;
                }
        }

        if (*p != 'e' && *p != 'E')
                return -EINVAL;
        p++;
        negative = *p == '-';
        if (*p == '-' || *p == '+')
                p++;
        if (!is_digit(*p))
                return -EINVAL;
        for (; is_digit(*p); p++) {
                if (e < EXPONENT_MAX)
                        e = e * 10 + (*p - '0');
        }
        if (*p != '\0')
                return -EINVAL;

        q->exponent += negative ? -e : e;
        return 0;
}

static int parse(Quantity *ret, const char *text) {
        Quantity q = { 0 };
        const char *p = text;
        int r, k;

        q.negative = *p == '-';
        if (*p == '-' || *p == '+')
                p++;

        /* A number that is too long is still "not a quantity" if something wrong follows it. */
        r = parse_number(&q, &p);
        if (r < 0 && r != -ERANGE)
                return r;
        k = parse_suffix(&q, p);
        if (k < 0)
                return k;
        if (r < 0)
                return r;

        *ret = q;
        return 0;
}

/* ceil(q × 10^extra), if that is from 1 to max. */
static int evaluate(const Quantity *q, int extra, uint64_t max, uint64_t *ret) {
        Wide value = (Wide) q->digits << q->shift, divisor = 1;
        int exponent = q->exponent + extra;

        if (q->negative || q->digits == 0)
                return -ERANGE;

        for (; exponent > 0; exponent--) {
                if (value > max)
                        return -ERANGE;
                value *= 10;
        }
        /* 10^38 is above every value, so what is smaller still rounds up to 1 all the same. */
        for (int n = 0; exponent < 0 && n < 38; n++, exponent++)
                divisor *= 10;
        value = value / divisor + (value % divisor != 0);
        if (value > max)
                return -ERANGE;

        *ret = (uint64_t) value;
        return 0;
}

int mam_quantity_parse_cpu(const char *text, uint64_t *ret_millis) {
        Quantity q;
        int r;

        assert(text);
        assert(ret_millis);

        r = parse(&q, text);
        if (r < 0)
                return r;
        return evaluate(&q, 3, 1000000ULL * 1000ULL, ret_millis);
}

int mam_quantity_parse_bytes(const char *text, uint64_t *ret_bytes) {
        Quantity q;
        int r;

        assert(text);
        assert(ret_bytes);

        r = parse(&q, text);
        if (r < 0)
                return r;
        return evaluate(&q, 0, INT64_MAX, ret_bytes);
}

void mam_quantity_format_cpu(char ret[static 32], uint64_t millis) {
        if (millis % 1000 == 0) {
                snprintf(ret, 32, "%" PRIu64, millis / 1000);
        } else {
                snprintf(ret, 32, "%" PRIu64 "m", millis);
        }
}

void mam_quantity_format_bytes(char ret[static 32], uint64_t bytes) {
        static const char *const suffixes[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
        size_t i = 0;

        while (bytes > 0 && bytes % 1024 == 0 && i + 1 < MAM_ELEMENTSOF(suffixes)) {
                bytes /= 1024;
                i++;
        }
        snprintf(ret, 32, "%" PRIu64 "%s", bytes, suffixes[i]);
}
