/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A strict JSON parser (RFC 8259) that builds json-c objects
 *
 * json-c's own parser keeps the last of two equal keys, takes NaN, and does not say where an error lies in
 * the document's structure. This one refuses all that RFC 8259 does not allow, duplicate keys and deep
 * nesting on top. Recursion is bounded by MAM_JSON_DEPTH_MAX.
 */

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/json/json-internal.h"
#include "libmam/json/json.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"

typedef struct Parser {
        const char *text;
        size_t size;
        size_t at;
        unsigned depth;
        MamJsonError *error; /* borrowed, never NULL */
} Parser;

static int parse_value(Parser *p, json_object **ret);

static int fail_at(Parser *p, size_t offset, const char *message) {
        p->error->pointer[0] = '\0';
        p->error->offset = offset;
        snprintf(p->error->message, sizeof(p->error->message), "%s", message);
        return -EBADMSG;
}

static int fail(Parser *p, const char *message) {
        return fail_at(p, p->at, p->at < p->size ? message : "unexpected end of the document");
}

static int peek(const Parser *p) {
        return p->at < p->size ? (unsigned char) p->text[p->at] : -1;
}

static void skip_space(Parser *p) {
        while (p->at < p->size && strchr(" \t\r\n", p->text[p->at]) && p->text[p->at] != '\0')
                p->at++;
}

/* Length of the well-formed UTF-8 sequence (RFC 3629) at the beginning of s, or 0. */
static size_t utf8_length(const unsigned char *s, size_t size) {
        unsigned char low = 0x80, high = 0xbf;
        size_t n;

        if (s[0] < 0x80)
                return 1;
        if (s[0] >= 0xc2 && s[0] <= 0xdf) {
                n = 2;
        } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
                n = 3;
        } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
                n = 4;
        } else {
                return 0;
        }
        if (size < n)
                return 0;

        /* No overlong forms, no surrogates, nothing above U+10FFFF: all decided by the second byte. */
        if (s[0] == 0xe0) {
                low = 0xa0;
        } else if (s[0] == 0xed) {
                high = 0x9f;
        } else if (s[0] == 0xf0) {
                low = 0x90;
        } else if (s[0] == 0xf4) {
                high = 0x8f;
        }
        if (s[1] < low || s[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++) {
                if (s[i] < 0x80 || s[i] > 0xbf)
                        return 0;
        }
        return n;
}

static int parse_hex4(Parser *p, uint32_t *ret) {
        uint32_t v = 0;

        for (unsigned i = 0; i < 4; i++) {
                int c = peek(p);

                if (c >= '0' && c <= '9') {
                        v = v * 16 + (uint32_t) (c - '0');
                } else if (c >= 'a' && c <= 'f') {
                        v = v * 16 + (uint32_t) (c - 'a' + 10);
                } else if (c >= 'A' && c <= 'F') {
                        v = v * 16 + (uint32_t) (c - 'A' + 10);
                } else {
                        return fail(p, "four hexadecimal digits must follow \\u");
                }
                p->at++;
        }
        *ret = v;
        return 0;
}

static int append_code_point(MamBuffer *b, uint32_t c) {
        char u[4];

        if (c < 0x80) {
                u[0] = (char) c;
                return mam_buffer_append(b, u, 1);
        }
        if (c < 0x800) {
                u[0] = (char) (0xc0 | c >> 6);
                u[1] = (char) (0x80 | (c & 0x3f));
                return mam_buffer_append(b, u, 2);
        }
        if (c < 0x10000) {
                u[0] = (char) (0xe0 | c >> 12);
                u[1] = (char) (0x80 | (c >> 6 & 0x3f));
                u[2] = (char) (0x80 | (c & 0x3f));
                return mam_buffer_append(b, u, 3);
        }
        u[0] = (char) (0xf0 | c >> 18);
        u[1] = (char) (0x80 | (c >> 12 & 0x3f));
        u[2] = (char) (0x80 | (c >> 6 & 0x3f));
        u[3] = (char) (0x80 | (c & 0x3f));
        return mam_buffer_append(b, u, 4);
}

/* p->at is behind "\u". A high surrogate needs its low one as a second escape. */
static int parse_unicode_escape(Parser *p, MamBuffer *b) {
        uint32_t c, low;
        int r;

        r = parse_hex4(p, &c);
        if (r < 0)
                return r;
        if (c >= 0xdc00 && c <= 0xdfff)
                return fail(p, "a low surrogate stands alone");
        if (c >= 0xd800 && c <= 0xdbff) {
                if (p->size - p->at < 2 || memcmp(p->text + p->at, "\\u", 2) != 0)
                        return fail(p, "a high surrogate stands alone");
                p->at += 2;
                r = parse_hex4(p, &low);
                if (r < 0)
                        return r;
                if (low < 0xdc00 || low > 0xdfff)
                        return fail(p, "a high surrogate stands alone");
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        return append_code_point(b, c);
}

static int parse_escape(Parser *p, MamBuffer *b) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *which;
        int c;

        p->at++;
        c = peek(p);
        if (c == 'u') {
                p->at++;
                return parse_unicode_escape(p, b);
        }
        which = c > 0 ? strchr(from, c) : NULL;
        if (!which)
                return fail(p, "unknown escape sequence");
        p->at++;
        return mam_buffer_append(b, &to[which - from], 1);
}

/* p->at is on the opening quote. The content may hold NUL (from \u0000). */
static int parse_string(Parser *p, MamBuffer *b) {
        int r;

        p->at++;
        for (;;) {
                size_t start = p->at, n;
                int c;

                while (p->at < p->size && (n = mam_json_plain_length(p->text + p->at, p->size - p->at)) > 0)
                        p->at += n;
                r = mam_buffer_append(b, p->text + start, p->at - start);
                if (r < 0)
                        return r;

                c = peek(p);
                if (c == '"') {
                        p->at++;
                        return 0;
                }
                if (c != '\\') {
                        return fail(p,
                                    c < 0x20 ? "a control character in a string must be escaped"
                                             : "the text is not valid UTF-8");
                }
                r = parse_escape(p, b);
                if (r < 0)
                        return r;
        }
}

size_t mam_json_plain_length(const char *s, size_t size) {
        const unsigned char *u = (const unsigned char *) s;

        if (size == 0 || u[0] < 0x20 || u[0] == '"' || u[0] == '\\')
                return 0;
        return utf8_length(u, size);
}

static size_t skip_digits(Parser *p) {
        size_t start = p->at;

        while (peek(p) >= '0' && peek(p) <= '9')
                p->at++;
        return p->at - start;
}

static int parse_number(Parser *p, json_object **ret) {
        size_t start = p->at;
        bool integer = true;
        char text[256];
        json_object *o;

        if (peek(p) == '-')
                p->at++;
        if (peek(p) == '0') {
                p->at++;
                if (peek(p) >= '0' && peek(p) <= '9')
                        return fail(p, "a number must not begin with a zero");
        } else if (skip_digits(p) == 0)
                return fail(p, "a digit is missing");
        if (peek(p) == '.') {
                integer = false;
                p->at++;
                if (skip_digits(p) == 0)
                        return fail(p, "a digit is missing");
        }
        if (peek(p) == 'e' || peek(p) == 'E') {
                integer = false;
                p->at++;
                if (peek(p) == '+' || peek(p) == '-')
                        p->at++;
                if (skip_digits(p) == 0)
                        return fail(p, "a digit is missing");
        }
        if (p->at - start >= sizeof(text))
                return fail_at(p, start, "the number is too long");
        memcpy(text, p->text + start, p->at - start);
        text[p->at - start] = '\0';

        errno = 0;
        if (integer && text[0] == '-') {
                long long v = strtoll(text, NULL, 10);

                o = errno == 0 ? json_object_new_int64(v)
                               : json_object_new_double_s(strtod(text, NULL), text);
        } else if (integer) {
                unsigned long long v = strtoull(text, NULL, 10);

                o = errno != 0       ? json_object_new_double_s(strtod(text, NULL), text)
                    : v <= INT64_MAX ? json_object_new_int64((int64_t) v)
                                     : json_object_new_uint64(v);
        } else {
                double v = strtod(text, NULL);

                if (!__builtin_isfinite(v))
                        return fail_at(p, start, "the number is too large");
                o = json_object_new_double_s(v, text);
        }
        if (!o)
                return -ENOMEM;
        *ret = o;
        return 0;
}

static int parse_literal(Parser *p, json_object **ret) {
        static const struct {
                const char *text;
                size_t size;
        } literals[] = { { "true", 4 }, { "false", 5 }, { "null", 4 } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(literals); i++) {
                if (p->size - p->at < literals[i].size ||
                    memcmp(p->text + p->at, literals[i].text, literals[i].size) != 0)
                        continue;
                p->at += literals[i].size;
                *ret = i < 2 ? json_object_new_boolean(i == 0) : NULL; /* NULL is json-c's null */
                return i < 2 && !*ret ? -ENOMEM : 0;
        }
        return fail(p, "unexpected character");
}

static int parse_member(Parser *p, json_object *object) {
        _cleanup_(mam_buffer_done) MamBuffer key = MAM_BUFFER_INIT;
        _cleanup_(json_object_putp) json_object *value = NULL;
        size_t offset = p->at;
        const char *name;
        int r;

        if (peek(p) != '"')
                return fail(p, "a key in double quotes is expected");
        r = parse_string(p, &key);
        if (r < 0)
                return r;
        name = mam_buffer_bytes(&key);
        if (strlen(name) != key.size)
                return fail_at(p, offset, "a key must not contain a NUL character");
        if (json_object_object_get_ex(object, name, NULL)) {
                r = fail_at(p, offset, "duplicate key");
                mam_json_error_prepend(p->error, name);
                return r;
        }

        skip_space(p);
        if (peek(p) != ':')
                return fail(p, "':' is expected");
        p->at++;
        r = parse_value(p, &value);
        if (r < 0) {
                if (r == -EBADMSG)
                        mam_json_error_prepend(p->error, name);
                return r;
        }

        if (json_object_object_add_ex(object, name, value, JSON_C_OBJECT_ADD_KEY_IS_NEW) < 0)
                return -ENOMEM;
        (void) MAM_TAKE(value);
        return 0;
}

static int parse_object(Parser *p, json_object **ret) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        int r;

        if (!object)
                return -ENOMEM;

        p->at++;
        skip_space(p);
        if (peek(p) == '}') {
                p->at++;
                *ret = MAM_TAKE(object);
                return 0;
        }
        for (;;) {
                r = parse_member(p, object);
                if (r < 0)
                        return r;
                skip_space(p);
                if (peek(p) == '}') {
                        p->at++;
                        *ret = MAM_TAKE(object);
                        return 0;
                }
                if (peek(p) != ',')
                        return fail(p, "',' or '}' is expected");
                p->at++;
                skip_space(p);
        }
}

static int parse_array(Parser *p, json_object **ret) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();
        int r;

        if (!array)
                return -ENOMEM;

        p->at++;
        skip_space(p);
        if (peek(p) == ']') {
                p->at++;
                *ret = MAM_TAKE(array);
                return 0;
        }
        for (size_t i = 0;; i++) {
                _cleanup_(json_object_putp) json_object *value = NULL;

                r = parse_value(p, &value);
                if (r < 0) {
                        char index[24];

                        snprintf(index, sizeof(index), "%zu", i);
                        if (r == -EBADMSG)
                                mam_json_error_prepend(p->error, index);
                        return r;
                }
                if (json_object_array_add(array, value) < 0)
                        return -ENOMEM;
                (void) MAM_TAKE(value);

                skip_space(p);
                if (peek(p) == ']') {
                        p->at++;
                        *ret = MAM_TAKE(array);
                        return 0;
                }
                if (peek(p) != ',')
                        return fail(p, "',' or ']' is expected");
                p->at++;
        }
}

static int parse_value(Parser *p, json_object **ret) {
        int c, r;

        skip_space(p);
        c = peek(p);
        if (c == '{' || c == '[') {
                if (p->depth >= MAM_JSON_DEPTH_MAX)
                        return fail(p, "nested too deeply");
                p->depth++;
                r = c == '{' ? parse_object(p, ret) : parse_array(p, ret);
                p->depth--;
                return r;
        }
        if (c == '"') {
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
                json_object *o;

                r = parse_string(p, &b);
                if (r < 0)
                        return r;
                if (b.size > INT32_MAX)
                        return fail(p, "the string is too long");
                o = json_object_new_string_len(mam_buffer_bytes(&b), (int) b.size);
                if (!o)
                        return -ENOMEM;
                *ret = o;
                return 0;
        }
        if (c == '-' || (c >= '0' && c <= '9'))
                return parse_number(p, ret);
        return parse_literal(p, ret);
}

int mam_json_parse(json_object **ret, const char *text, size_t size, MamJsonError *error) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        MamJsonError scratch;
        Parser p = { .text = text, .size = size, .error = error ? error : &scratch };
        int r;

        assert(ret);
        assert(text || size == 0);

        r = parse_value(&p, &o);
        if (r < 0)
                return r;
        skip_space(&p);
        if (p.at < p.size)
                return fail(&p, "nothing may follow the document");

        *ret = MAM_TAKE(o);
        return 0;
}
