/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The rules that CloudEvents 1.0.2 has for names and values of attributes, and base64
 */

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "libmam/events/event-internal.h"
#include "libmam/json/json-internal.h"

EventAttribute event_attribute_by_name(const char *name, size_t size) {
        static const struct {
                const char *name;
                size_t size;
        } names[_EVENT_ATTRIBUTE_MAX] = {
                [EVENT_SPECVERSION] = { "specversion", 11 },
                [EVENT_ID] = { "id", 2 },
                [EVENT_SOURCE] = { "source", 6 },
                [EVENT_TYPE] = { "type", 4 },
                [EVENT_SUBJECT] = { "subject", 7 },
                [EVENT_TIME] = { "time", 4 },
                [EVENT_DATACONTENTTYPE] = { "datacontenttype", 15 },
                [EVENT_DATASCHEMA] = { "dataschema", 10 },
                [EVENT_PARTITIONKEY] = { "partitionkey", 12 },
        };

        for (EventAttribute a = 0; a < _EVENT_ATTRIBUTE_MAX; a++) {
                if (names[a].size == size && memcmp(names[a].name, name, size) == 0)
                        return a;
        }
        return _EVENT_ATTRIBUTE_MAX;
}

bool event_name_is_valid(const char *name, size_t size) {
        if (size == 0 || size > EVENT_NAME_MAX)
                return false;
        for (size_t i = 0; i < size; i++) {
                if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9')))
                        return false;
        }
        return true;
}

static bool is_alpha(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
        return c >= '0' && c <= '9';
}

/* Characters of tokens (RFC 9110), of which media types are made. */
static size_t token_length(const char *s) {
        size_t n = 0;

        while (is_alpha(s[n]) || is_digit(s[n]) || (s[n] && strchr("!#$%&'*+-.^_`|~", s[n])))
                n++;
        return n;
}

/* ; name=value, value being a token or a quoted string; what follows the type. */
static bool parameters_are_valid(const char *s) {
        for (;;) {
                size_t n;

                s += strspn(s, " \t");
                if (!*s)
                        return true;
                if (*s != ';')
                        return false;
                s++;
                s += strspn(s, " \t");
                if (!*s)
                        return true; /* an empty one: harmless, and seen */
                n = token_length(s);
                if (n == 0 || s[n] != '=')
                        return false;
                s += n + 1;
                if (*s != '"') {
                        n = token_length(s);
                        if (n == 0)
                                return false;
                        s += n;
                        continue;
                }
                for (s++; *s && *s != '"'; s++) {
                        if (*s == '\\' && !*++s)
                                return false;
                }
                if (!*s)
                        return false;
                s++;
        }
}

static bool media_type_is_valid(const char *s) {
        size_t n = token_length(s);

        if (n == 0 || s[n] != '/')
                return false;
        s += n + 1;
        n = token_length(s);
        return n > 0 && parameters_are_valid(s + n);
}

bool event_content_type_is_json(const char *content_type) {
        const char *sub, *end;

        if (!content_type)
                return true;
        sub = strchr(content_type, '/');
        if (!sub)
                return false;
        sub++;
        end = sub + token_length(sub);
        if (end - sub == 4 && strncasecmp(sub, "json", 4) == 0)
                return true;
        return end - sub > 5 && strncasecmp(end - 5, "+json", 5) == 0;
}

/* RFC 3986, as far as it is about which character may stand where. */
static bool uri_is_valid(const char *s, bool needs_scheme) {
        size_t scheme = 0, first;
        bool has_fragment = false;

        if (is_alpha(*s)) {
                while (is_alpha(s[scheme]) || is_digit(s[scheme]) || (s[scheme] && strchr("+-.", s[scheme])))
                        scheme++;
        }
        if (s[scheme] != ':')
                scheme = 0;
        first = strcspn(s, "/?#");
        if (scheme == 0 && (needs_scheme || memchr(s, ':', first)))
                return false;

        for (; *s; s++) {
                if (*s == '%') {
                        if (!isxdigit((unsigned char) s[1]) || !isxdigit((unsigned char) s[2]))
                                return false;
                        s += 2;
                        continue;
                }
                if (*s == '#') {
                        if (has_fragment)
                                return false;
                        has_fragment = true;
                        continue;
                }
                if (!is_alpha(*s) && !is_digit(*s) && !strchr("-._~:/?[]@!$&'()*+,;=", *s))
                        return false;
        }
        return true;
}

/* n digits with a value of at most max; moves on. */
static bool read_digits(const char **s, unsigned n, unsigned max, unsigned *ret) {
        unsigned v = 0;

        for (; n > 0; n--, (*s)++) {
                if (!is_digit(**s))
                        return false;
                v = v * 10 + (unsigned) (**s - '0');
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

static bool date_is_valid(const char **s) {
        static const unsigned char days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        unsigned year, month, day;

        if (!read_digits(s, 4, 9999, &year) || !read_char(s, '-') || !read_digits(s, 2, 12, &month) ||
            !read_char(s, '-') || !read_digits(s, 2, 31, &day))
                return false;
        if (month == 0 || day == 0 || day > days[month - 1])
                return false;
        return month != 2 || day < 29 || (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

static bool time_is_valid(const char *s) {
        unsigned v;

        if (!date_is_valid(&s) || (*s != 'T' && *s != 't'))
                return false;
        s++;
        if (!read_digits(&s, 2, 23, &v) || !read_char(&s, ':') || !read_digits(&s, 2, 59, &v) ||
            !read_char(&s, ':') || !read_digits(&s, 2, 60, &v))
                return false;
        if (read_char(&s, '.')) {
                if (!is_digit(*s))
                        return false;
                while (is_digit(*s))
                        s++;
        }
        if (*s == 'Z' || *s == 'z')
                return s[1] == '\0';
        if (*s != '+' && *s != '-')
                return false;
        s++;
        return read_digits(&s, 2, 23, &v) && read_char(&s, ':') && read_digits(&s, 2, 59, &v) && !*s;
}

/* No control characters, and no code points that will never be characters. Surrogates cannot come here. */
static bool string_is_valid(const char *s, size_t size) {
        const unsigned char *u = (const unsigned char *) s;

        for (size_t i = 0; i < size; i++) {
                unsigned c;

                if (u[i] < 0x20 || u[i] == 0x7f)
                        return false;
                if (u[i] == 0xc2 && u[i + 1] < 0xa0)
                        return false; /* U+0080 to U+009F */
                if (u[i] == 0xef) {
                        c = 0xf000U | (u[i + 1] & 0x3fU) << 6 | (u[i + 2] & 0x3fU);
                        if ((c >= 0xfdd0 && c <= 0xfdef) || c >= 0xfffe)
                                return false;
                }
                if (u[i] >= 0xf0) {
                        c = (u[i + 1] & 0x0fU) << 12 | (u[i + 2] & 0x3fU) << 6 | (u[i + 3] & 0x3fU);
                        if (c >= 0xfffe)
                                return false;
                }
        }
        return true;
}

const char *event_value_problem(EventAttribute a, const char *value, size_t size) {
        if (size > MAM_EVENT_ATTRIBUTE_MAX)
                return "is longer than 1024 bytes";
        if (a == EVENT_SPECVERSION)
                return size == 3 && memcmp(value, "1.0", 3) == 0 ? NULL : "must be \"1.0\"";
        if (a < _EVENT_ATTRIBUTE_MAX && size == 0)
                return "must not be empty";
        if (!string_is_valid(value, size))
                return "must not contain control characters or code points that are no characters";
        switch (a) {
        case EVENT_SOURCE:
                return uri_is_valid(value, false) ? NULL : "must be a URI reference";
        case EVENT_DATASCHEMA:
                return uri_is_valid(value, true) ? NULL : "must be an absolute URI";
        case EVENT_TIME:
                return time_is_valid(value) ? NULL : "must be a time like 2026-01-02T03:04:05Z (RFC 3339)";
        case EVENT_DATACONTENTTYPE:
                return media_type_is_valid(value) ? NULL : "must be a media type";
        default:
                return NULL;
        }
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_value(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (is_digit(c))
                return c - '0' + 52;
        return c == '+' ? 62 : c == '/' ? 63 : -1;
}

ssize_t event_base64_size(const char *text, size_t size) {
        size_t padding = 0;

        if (size % 4 != 0)
                return -EINVAL;
        if (size == 0)
                return 0;
        if (text[size - 1] == '=')
                padding = text[size - 2] == '=' ? 2 : 1;
        for (size_t i = 0; i < size - padding; i++) {
                if (base64_value(text[i]) < 0)
                        return -EINVAL;
        }
        /* Bits that stand for nothing must be zero, so that there is one text for each content. */
        if (padding == 1 && (base64_value(text[size - 2]) & 3) != 0)
                return -EINVAL;
        if (padding == 2 && (base64_value(text[size - 3]) & 15) != 0)
                return -EINVAL;
        return (ssize_t) (size / 4 * 3 - padding);
}

void event_base64_decode(void *to, const char *text, size_t size) {
        unsigned char *p = to;
        unsigned bits = 0;
        uint32_t v = 0;

        for (size_t i = 0; i < size && text[i] != '='; i++) {
                v = v << 6 | (uint32_t) base64_value(text[i]);
                bits += 6;
                if (bits >= 8) {
                        bits -= 8;
                        *p++ = (unsigned char) (v >> bits);
                }
        }
}

size_t event_base64_encoded_size(size_t size) {
        return (size + 2) / 3 * 4;
}

void event_base64_encode(char *to, const void *data, size_t size) {
        const unsigned char *p = data;

        for (; size > 0; to += 4) {
                uint32_t v = (uint32_t) p[0] << 16;

                if (size > 1)
                        v |= (uint32_t) p[1] << 8;
                if (size > 2)
                        v |= p[2];
                to[0] = base64_digits[v >> 18];
                to[1] = base64_digits[v >> 12 & 63];
                to[2] = (char) (size > 1 ? base64_digits[v >> 6 & 63] : '=');
                to[3] = (char) (size > 2 ? base64_digits[v & 63] : '=');
                p += size < 3 ? size : 3;
                size -= size < 3 ? size : 3;
        }
}

int event_append_string(MamBuffer *b, const char *text, size_t size) {
        int r;

        r = mam_buffer_append(b, "\"", 1);
        for (size_t i = 0; r >= 0 && i < size;) {
                size_t start = i, n;

                while ((n = mam_json_plain_length(text + i, size - i)) > 0)
                        i += n;
                r = mam_buffer_append(b, text + start, i - start);
                if (r < 0 || i >= size)
                        break;
                if (text[i] == '"' || text[i] == '\\') {
                        char escaped[2] = { '\\', text[i] };

                        r = mam_buffer_append(b, escaped, 2);
                } else
                        r = mam_buffer_appendf(b, "\\u%04x", (unsigned char) text[i]);
                i++;
        }
        return r < 0 ? r : mam_buffer_append(b, "\"", 1);
}
