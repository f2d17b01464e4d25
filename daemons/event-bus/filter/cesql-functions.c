/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * CESQL: functions
 */

#include <locale.h>
#include <stdint.h>
#include <string.h>
#include <wctype.h>

#include "event-bus/filter/cesql-evaluate.h"

static int too_much(CesqlRun *run) {
        return cesql_error(run, "too much work");
}

static CesqlValue string(const char *s, size_t n) {
        return (CesqlValue){ .type = CESQL_TYPE_STRING, .text = s, .size = n };
}

/* Bytes of the character at s; *ret is its code point, or UINT32_MAX where it is not UTF-8. */
static size_t decode(const char *s, size_t n, uint32_t *ret) {
        const unsigned char *u = (const unsigned char *) s;
        size_t size = u[0] < 0x80   ? 1
                      : u[0] < 0xc2 ? 0
                      : u[0] < 0xe0 ? 2
                      : u[0] < 0xf0 ? 3
                      : u[0] < 0xf5 ? 4
                                    : 0;
        uint32_t c;

        *ret = UINT32_MAX;
        if (size == 0 || size > n)
                return 1;
        c = size == 1 ? u[0] : u[0] & (0x7fU >> size);
        for (size_t i = 1; i < size; i++) {
                if ((u[i] & 0xc0) != 0x80)
                        return 1;
                c = c << 6 | (u[i] & 0x3f);
        }
        *ret = c;
        return size;
}

static size_t encode(char *out, uint32_t c) {
        if (c < 0x80) {
                out[0] = (char) c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char) (0xc0 | c >> 6);
                out[1] = (char) (0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char) (0xe0 | c >> 12);
                out[1] = (char) (0x80 | (c >> 6 & 0x3f));
                out[2] = (char) (0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (char) (0xf0 | c >> 18);
        out[1] = (char) (0x80 | (c >> 12 & 0x3f));
        out[2] = (char) (0x80 | (c >> 6 & 0x3f));
        out[3] = (char) (0x80 | (c & 0x3f));
        return 4;
}

/* glibc's own C.UTF-8; where it is absent only ASCII letters change. */
static locale_t unicode(void) {
        static locale_t l;
        static bool is_known;

        if (!is_known) {
                l = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t) 0);
                is_known = true;
        }
        return l;
}

static uint32_t change_case(uint32_t c, bool upper) {
        if (c < 0x80) {
                if (upper)
                        return c >= 'a' && c <= 'z' ? c - 0x20 : c;
                return c >= 'A' && c <= 'Z' ? c + 0x20 : c;
        }
        if (!unicode())
                return c;
        return (uint32_t) (upper ? towupper_l((wint_t) c, unicode()) : towlower_l((wint_t) c, unicode()));
}

static int call_case(CesqlRun *run, const CesqlValue *v, bool upper, CesqlValue *ret) {
        size_t at = 0;
        char *out;

        if (!cesql_spend(run, v->size))
                return too_much(run);
        out = cesql_make(run, v->size * 2 + 1); /* no letter becomes more than twice as long */
        if (!out)
                return too_much(run);
        for (size_t i = 0; i < v->size;) {
                uint32_t c;
                size_t n = decode(v->text + i, v->size - i, &c);

                if (c == UINT32_MAX)
                        out[at++] = v->text[i];
                else
                        at += encode(out + at, change_case(c, upper));
                i += n;
        }
        *ret = string(out, at);
        return 0;
}

static bool is_space(uint32_t c) {
        return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
               (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
               c == 0x3000;
}

static size_t last_size(const char *s, size_t n) {
        size_t i = 1;

        while (i < n && ((unsigned char) s[n - i] & 0xc0) == 0x80)
                i++;
        return i;
}

static int call_trim(CesqlRun *run, const CesqlValue *v, CesqlValue *ret) {
        const char *s = v->text;
        size_t n = v->size, size;
        uint32_t c;

        if (!cesql_spend(run, n))
                return too_much(run);
        while (n > 0) {
                size = decode(s, n, &c);
                if (!is_space(c))
                        break;
                s += size;
                n -= size;
        }
        while (n > 0) {
                size = last_size(s, n);
                (void) decode(s + n - size, size, &c);
                if (!is_space(c))
                        break;
                n -= size;
        }
        *ret = string(s, n);
        return 0;
}

static int32_t length_of(const CesqlValue *v) {
        int32_t n = 0;

        for (size_t i = 0; i < v->size; i++)
                n += ((unsigned char) v->text[i] & 0xc0) != 0x80;
        return n;
}

/* The byte where the n-th character begins, counted from 0. */
static size_t offset_of(const CesqlValue *v, int64_t n) {
        size_t i = 0;

        for (; i < v->size; i++)
                if (((unsigned char) v->text[i] & 0xc0) != 0x80 && n-- == 0)
                        break;
        return i;
}

static int slice(const CesqlValue *v, int64_t from, int64_t to, CesqlValue *ret) {
        size_t start = offset_of(v, from), end = offset_of(v, to);

        *ret = string(v->text + start, end - start);
        return 0;
}

static int call_side(CesqlRun *run, const CesqlValue *v, int32_t n, bool left, CesqlValue *ret) {
        int32_t length;

        if (n < 0)
                return cesql_error(run, "function");
        if (!cesql_spend(run, v->size * 2))
                return too_much(run);
        length = length_of(v);
        if (n > length)
                n = length;
        return left ? slice(v, 0, n, ret) : slice(v, length - n, length, ret);
}

static int call_substring(
                CesqlRun *run,
                const CesqlValue *v,
                const CesqlValue *more,
                size_t n,
                CesqlValue *ret) {
        int64_t length, from = more[0].integer, size = n > 1 ? more[1].integer : INT32_MAX;

        if (!cesql_spend(run, v->size * 2))
                return too_much(run);
        length = length_of(v);
        if (from > length || from < -length || size < 0)
                return cesql_error(run, "function");
        if (from == 0)
                return slice(v, 0, 0, ret);
        from = from > 0 ? from - 1 : length + from;
        return slice(v, from, from + size < length ? from + size : length, ret);
}

static int call_concat(
                CesqlRun *run,
                const CesqlValue *between,
                const CesqlValue *v,
                size_t n,
                CesqlValue *ret) {
        size_t size = 0, at = 0;
        char *out;

        for (size_t i = 0; i < n; i++)
                size += v[i].size + (between && i > 0 ? between->size : 0);
        if (!cesql_spend(run, size))
                return too_much(run);
        out = cesql_make(run, size + 1);
        if (!out)
                return too_much(run);
        for (size_t i = 0; i < n; i++) {
                if (between && i > 0) {
                        memcpy(out + at, between->text, between->size);
                        at += between->size;
                }
                memcpy(out + at, v[i].text, v[i].size);
                at += v[i].size;
        }
        *ret = string(out, size);
        return 0;
}

static int call_is(CesqlRun *run, const CesqlValue *v, CesqlType type, CesqlValue *ret) {
        const char *const error = run->error;
        CesqlValue copy = *v;
        bool is = v->type == type;

        /* Whether it is of the type, or a string that can be cast to it. */
        if (!is && v->type == CESQL_TYPE_STRING)
                is = cesql_cast(run, &copy, type) >= 0;
        run->error = error;
        *ret = (CesqlValue){ .type = CESQL_TYPE_BOOLEAN, .integer = is };
        return 0;
}

static int call_abs(CesqlRun *run, const CesqlValue *v, CesqlValue *ret) {
        if (v->integer == INT32_MIN)
                return cesql_error(run, "math");
        *ret = *v;
        if (ret->integer < 0)
                ret->integer = -ret->integer;
        return 0;
}

static int cast_arguments(CesqlRun *run, CesqlFunction function, CesqlValue *arguments, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++) {
                bool is_integer = function == CESQL_ABS ||
                                  (i > 0 && (function == CESQL_LEFT || function == CESQL_RIGHT ||
                                             function == CESQL_SUBSTRING));

                r = cesql_cast(run, &arguments[i], is_integer ? CESQL_TYPE_INTEGER : CESQL_TYPE_STRING);
        }
        return r;
}

int cesql_call(CesqlRun *run, CesqlFunction function, CesqlValue *arguments, size_t n, CesqlValue *ret) {
        int r;

        switch (function) {
        case CESQL_INT:
        case CESQL_BOOL:
        case CESQL_STR:
                *ret = arguments[0];
                return cesql_cast(
                                run,
                                ret,
                                function == CESQL_INT    ? CESQL_TYPE_INTEGER
                                : function == CESQL_BOOL ? CESQL_TYPE_BOOLEAN
                                                         : CESQL_TYPE_STRING);
        case CESQL_IS_INT:
                return call_is(run, &arguments[0], CESQL_TYPE_INTEGER, ret);
        case CESQL_IS_BOOL:
                return call_is(run, &arguments[0], CESQL_TYPE_BOOLEAN, ret);
        default:
                break;
        }
        r = cast_arguments(run, function, arguments, n);
        if (r < 0)
                return r;
        switch (function) {
        case CESQL_LENGTH:
                if (!cesql_spend(run, arguments[0].size))
                        return too_much(run);
                *ret = (CesqlValue){ .type = CESQL_TYPE_INTEGER, .integer = length_of(&arguments[0]) };
                return 0;
        case CESQL_CONCAT:
                return call_concat(run, NULL, arguments, n, ret);
        case CESQL_CONCAT_WS:
                return call_concat(run, &arguments[0], arguments + 1, n - 1, ret);
        case CESQL_LOWER:
        case CESQL_UPPER:
                return call_case(run, &arguments[0], function == CESQL_UPPER, ret);
        case CESQL_TRIM:
                return call_trim(run, &arguments[0], ret);
        case CESQL_LEFT:
        case CESQL_RIGHT:
                return call_side(run, &arguments[0], arguments[1].integer, function == CESQL_LEFT, ret);
        case CESQL_SUBSTRING:
                return call_substring(run, &arguments[0], arguments + 1, n - 1, ret);
        default:
                return call_abs(run, &arguments[0], ret);
        }
}
