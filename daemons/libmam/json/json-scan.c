/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Scanning JSON in place
 *
 * Follows json-parse.c rule by rule; test-json.c holds the two against each other. Strings are looked at
 * eight bytes at a time, as most of a text is the inside of strings.
 */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "libmam/json/json-internal.h"
#include "libmam/json/json-scan.h"

/* Keys of one object that are compared with each other in place. */
#define KEYS_MAX 32U

typedef struct Key {
        const char *text;
        size_t size;
} Key;

static int scan_value(MamJsonScan *s, MamJsonKind *ret);

static int fail_at(MamJsonScan *s, size_t offset, const char *message) {
        s->error->pointer[0] = '\0';
        s->error->offset = offset;
        snprintf(s->error->message, sizeof(s->error->message), "%s", message);
        return -EBADMSG;
}

int mam_json_scan_fail(MamJsonScan *s, const char *message) {
        return fail_at(s, s->at, s->at < s->size ? message : "unexpected end of the document");
}

static int peek(const MamJsonScan *s) {
        return s->at < s->size ? (unsigned char) s->text[s->at] : -1;
}

static void skip_space(MamJsonScan *s) {
        size_t start = s->at;

        while (s->at < s->size) {
                char c = s->text[s->at];

                if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
                        break;
                s->at++;
        }
        if (s->at > start)
                s->has_space = true;
}

/* Eight bytes that are all plain: no control character, quote, backslash, and nothing beyond ASCII. */
static bool is_plain_8(const char *p) {
        const uint64_t ones = 0x0101010101010101U, tops = 0x8080808080808080U;
        uint64_t v, quote, backslash, control;

        memcpy(&v, p, sizeof(v));
        quote = v ^ (ones * '"');
        backslash = v ^ (ones * '\\');
        quote = (quote - ones) & ~quote;
        backslash = (backslash - ones) & ~backslash;
        control = (v - ones * 0x20) & ~v;
        return ((quote | backslash | control | v) & tops) == 0;
}

static bool is_hex(int c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static unsigned hex_value(char c) {
        return c <= '9' ? (unsigned) (c - '0') : (unsigned) ((c | 0x20) - 'a') + 10;
}

static unsigned hex4(const char *p) {
        return hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]);
}

/* s->at is behind "\u". */
static int scan_hex4(MamJsonScan *s, unsigned *ret) {
        for (unsigned i = 0; i < 4; i++, s->at++) {
                if (!is_hex(peek(s)))
                        return mam_json_scan_fail(s, "four hexadecimal digits must follow \\u");
        }
        *ret = hex4(s->text + s->at - 4);
        return 0;
}

static int scan_escape(MamJsonScan *s) {
        unsigned c = 0, low = 0;
        int r;

        s->has_escape = true;
        s->at++;
        if (peek(s) != 'u') {
                if (peek(s) <= 0 || !strchr("\"\\/bfnrt", peek(s)))
                        return mam_json_scan_fail(s, "unknown escape sequence");
                s->at++;
                return 0;
        }
        s->at++;
        r = scan_hex4(s, &c);
        if (r < 0)
                return r;
        if (c >= 0xdc00 && c <= 0xdfff)
                return mam_json_scan_fail(s, "a low surrogate stands alone");
        if (c < 0xd800 || c > 0xdbff)
                return 0;
        if (s->size - s->at < 2 || memcmp(s->text + s->at, "\\u", 2) != 0)
                return mam_json_scan_fail(s, "a high surrogate stands alone");
        s->at += 2;
        r = scan_hex4(s, &low);
        if (r < 0)
                return r;
        return low < 0xdc00 || low > 0xdfff ? mam_json_scan_fail(s, "a high surrogate stands alone") : 0;
}

/* s->at is on the opening quote. */
static int scan_string(MamJsonScan *s) {
        int c, r;

        s->at++;
        for (;;) {
                size_t n;

                while (s->size - s->at >= 8 && is_plain_8(s->text + s->at))
                        s->at += 8;
                while ((n = mam_json_plain_length(s->text + s->at, s->size - s->at)) > 0) {
                        s->at += n;
                        if (n > 1 && s->size - s->at >= 8 && is_plain_8(s->text + s->at))
                                break;
                }
                if (n > 0)
                        continue;
                c = peek(s);
                if (c == '"') {
                        s->at++;
                        return 0;
                }
                if (c != '\\') {
                        return mam_json_scan_fail(
                                        s,
                                        c < 0x20 ? "a control character in a string must be escaped"
                                                 : "the text is not valid UTF-8");
                }
                r = scan_escape(s);
                if (r < 0)
                        return r;
        }
}

static size_t skip_digits(MamJsonScan *s) {
        size_t start = s->at;

        while (peek(s) >= '0' && peek(s) <= '9')
                s->at++;
        return s->at - start;
}

static int check_number(MamJsonScan *s, size_t start, bool has_exponent) {
        char text[256];

        if (s->at - start >= sizeof(text))
                return fail_at(s, start, "the number is too long");
        if (!has_exponent)
                return 0; /* so few digits are finite */
        memcpy(text, s->text + start, s->at - start);
        text[s->at - start] = '\0';
        return __builtin_isfinite(strtod(text, NULL)) ? 0 : fail_at(s, start, "the number is too large");
}

static int scan_number(MamJsonScan *s, MamJsonKind *ret) {
        size_t start = s->at;
        bool has_exponent = false;

        *ret = MAM_JSON_INTEGER;
        if (peek(s) == '-')
                s->at++;
        if (peek(s) == '0') {
                s->at++;
                if (peek(s) >= '0' && peek(s) <= '9')
                        return mam_json_scan_fail(s, "a number must not begin with a zero");
        } else if (skip_digits(s) == 0)
                return mam_json_scan_fail(s, "a digit is missing");
        if (peek(s) == '.') {
                *ret = MAM_JSON_NUMBER;
                s->at++;
                if (skip_digits(s) == 0)
                        return mam_json_scan_fail(s, "a digit is missing");
        }
        if (peek(s) == 'e' || peek(s) == 'E') {
                *ret = MAM_JSON_NUMBER;
                has_exponent = true;
                s->at++;
                if (peek(s) == '+' || peek(s) == '-')
                        s->at++;
                if (skip_digits(s) == 0)
                        return mam_json_scan_fail(s, "a digit is missing");
        }
        return check_number(s, start, has_exponent);
}

static int scan_literal(MamJsonScan *s, MamJsonKind *ret) {
        static const struct {
                const char *text;
                size_t size;
                MamJsonKind kind;
        } literals[] = { { "true", 4, MAM_JSON_BOOLEAN },
                         { "false", 5, MAM_JSON_BOOLEAN },
                         { "null", 4, MAM_JSON_NULL } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(literals); i++) {
                if (s->size - s->at < literals[i].size ||
                    memcmp(s->text + s->at, literals[i].text, literals[i].size) != 0)
                        continue;
                s->at += literals[i].size;
                *ret = literals[i].kind;
                return 0;
        }
        return mam_json_scan_fail(s, "unexpected character");
}

/* Puts the name of a member (a scanned key) before the pointer of the error. */
static void prepend_key(MamJsonScan *s, const MamJsonSlice *key) {
        char name[sizeof(s->error->pointer)];

        if (key->size > sizeof(name)) {
                snprintf(name, sizeof(name), "%.*s", (int) (sizeof(name) - 1), s->text + key->start + 1);
        } else {
                (void) mam_json_copy_unescaped(name, s->text + key->start, key->size);
        }
        mam_json_error_prepend(s->error, name);
}

static int scan_object(MamJsonScan *s) {
        Key keys[KEYS_MAX];
        size_t n = 0;
        int r;

        r = mam_json_scan_enter(s, '{');
        while (r > 0) {
                MamJsonKind kind;
                MamJsonSlice key;
                const char *k;

                skip_space(s);
                r = mam_json_scan_key(s, &key);
                if (r < 0)
                        return r;
                k = s->text + key.start;
                for (size_t i = 0; i < n; i++) {
                        if (keys[i].size != key.size || memcmp(keys[i].text, k, key.size) != 0)
                                continue;
                        r = fail_at(s, key.start, "duplicate key");
                        prepend_key(s, &key);
                        return r;
                }
                if (key.has_escape || n >= KEYS_MAX) {
                        s->has_many = true;
                } else
                        keys[n++] = (Key){ .text = k, .size = key.size };

                r = scan_value(s, &kind);
                if (r < 0) {
                        if (r == -EBADMSG)
                                prepend_key(s, &key);
                        return r;
                }
                r = mam_json_scan_next(s, '}');
        }
        return r;
}

static int scan_array(MamJsonScan *s) {
        int r;

        r = mam_json_scan_enter(s, '[');
        for (size_t i = 0; r > 0; i++) {
                MamJsonKind kind;

                r = scan_value(s, &kind);
                if (r < 0) {
                        char index[24];

                        snprintf(index, sizeof(index), "%zu", i);
                        if (r == -EBADMSG)
                                mam_json_error_prepend(s->error, index);
                        return r;
                }
                r = mam_json_scan_next(s, ']');
        }
        return r;
}

static int scan_value(MamJsonScan *s, MamJsonKind *ret) {
        int c;

        skip_space(s);
        c = peek(s);
        if (c == '"') {
                *ret = MAM_JSON_STRING;
                return scan_string(s);
        }
        if (c == '{') {
                *ret = MAM_JSON_OBJECT;
                return scan_object(s);
        }
        if (c == '[') {
                *ret = MAM_JSON_ARRAY;
                return scan_array(s);
        }
        if (c == '-' || (c >= '0' && c <= '9'))
                return scan_number(s, ret);
        return scan_literal(s, ret);
}

void mam_json_scan_init(MamJsonScan *s, const char *text, size_t size, MamJsonError *error) {
        assert(s);
        assert(text || size == 0);
        assert(error);

        *s = (MamJsonScan){ .text = text, .size = size, .error = error };
}

int mam_json_scan_value(MamJsonScan *s, MamJsonSlice *ret) {
        MamJsonSlice slice = { 0 };
        int r;

        assert(s);
        assert(ret);

        skip_space(s);
        s->has_space = s->has_escape = s->has_many = false;
        slice.start = s->at;
        r = scan_value(s, &slice.kind);
        if (r < 0)
                return r;
        slice.size = s->at - slice.start;
        slice.has_escape = s->has_escape;
        slice.has_space = s->has_space;
        if (s->has_many) {
                _cleanup_(json_object_putp) json_object *o = NULL;

                r = mam_json_parse(&o, s->text + slice.start, slice.size, s->error);
                if (r < 0) {
                        if (r == -EBADMSG)
                                s->error->offset += slice.start;
                        return r;
                }
        }
        *ret = slice;
        return 0;
}

int mam_json_scan_enter(MamJsonScan *s, char open) {
        skip_space(s);
        if (peek(s) != open)
                return mam_json_scan_fail(s, open == '{' ? "an object is expected" : "an array is expected");
        if (s->depth >= MAM_JSON_DEPTH_MAX)
                return mam_json_scan_fail(s, "nested too deeply");
        s->at++;
        skip_space(s);
        if (peek(s) == (open == '{' ? '}' : ']')) {
                s->at++;
                return 0;
        }
        s->depth++;
        return 1;
}

int mam_json_scan_key(MamJsonScan *s, MamJsonSlice *ret) {
        MamJsonSlice slice = { .kind = MAM_JSON_STRING };
        bool had_escape = s->has_escape;
        int r;

        skip_space(s);
        slice.start = s->at;
        if (peek(s) != '"')
                return mam_json_scan_fail(s, "a key in double quotes is expected");
        s->has_escape = false;
        r = scan_string(s);
        if (r < 0)
                return r;
        slice.size = s->at - slice.start;
        slice.has_escape = s->has_escape;
        s->has_escape |= had_escape;
        for (size_t i = slice.start + 1; slice.has_escape && i < s->at; i++) {
                if (s->text[i] != '\\')
                        continue;
                if (memcmp(s->text + i, "\\u0000", s->at - i < 6 ? s->at - i : 6) == 0)
                        return fail_at(s, slice.start, "a key must not contain a NUL character");
                i++;
        }
        skip_space(s);
        if (peek(s) != ':')
                return mam_json_scan_fail(s, "':' is expected");
        s->at++;
        *ret = slice;
        return 0;
}

int mam_json_scan_next(MamJsonScan *s, char close) {
        skip_space(s);
        if (peek(s) == ',') {
                s->at++;
                return 1;
        }
        if (peek(s) != close)
                return mam_json_scan_fail(
                                s,
                                close == '}' ? "',' or '}' is expected" : "',' or ']' is expected");
        s->at++;
        s->depth--;
        return 0;
}

int mam_json_scan_end(MamJsonScan *s) {
        skip_space(s);
        return s->at < s->size ? mam_json_scan_fail(s, "nothing may follow the document") : 0;
}

size_t mam_json_copy_compact(char *to, const char *value, size_t size) {
        bool in_string = false;
        size_t n = 0;

        for (size_t i = 0; i < size; i++) {
                char c = value[i];

                if (!in_string && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
                        continue;
                to[n++] = c;
                if (c == '"') {
                        in_string = !in_string;
                } else if (c == '\\')
                        to[n++] = value[++i];
        }
        return n;
}

static size_t put_utf8(char *to, unsigned c) {
        if (c < 0x80) {
                to[0] = (char) c;
                return 1;
        }
        if (c < 0x800) {
                to[0] = (char) (0xc0 | c >> 6);
                to[1] = (char) (0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                to[0] = (char) (0xe0 | c >> 12);
                to[1] = (char) (0x80 | (c >> 6 & 0x3f));
                to[2] = (char) (0x80 | (c & 0x3f));
                return 3;
        }
        to[0] = (char) (0xf0 | c >> 18);
        to[1] = (char) (0x80 | (c >> 12 & 0x3f));
        to[2] = (char) (0x80 | (c >> 6 & 0x3f));
        to[3] = (char) (0x80 | (c & 0x3f));
        return 4;
}

size_t mam_json_copy_unescaped(char *to, const char *string, size_t size) {
        static const char from[] = "\"\\/bfnrt", is[] = "\"\\/\b\f\n\r\t";
        const char *p = string + 1, *end = string + size - 1;
        size_t n = 0;

        while (p < end) {
                const char *stop = memchr(p, '\\', (size_t) (end - p));
                size_t plain = (size_t) ((stop ? stop : end) - p);
                unsigned c;

                memcpy(to + n, p, plain);
                n += plain;
                p += plain;
                if (!stop)
                        break;
                if (p[1] != 'u') {
                        to[n++] = is[strchr(from, p[1]) - from];
                        p += 2;
                        continue;
                }
                c = hex4(p + 2);
                p += 6;
                if (c >= 0xd800 && c <= 0xdbff) {
                        c = 0x10000 + ((c - 0xd800) << 10) + (hex4(p + 2) - 0xdc00);
                        p += 6;
                }
                n += put_utf8(to + n, c);
        }
        to[n] = '\0';
        return n;
}
