/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Formats
 *
 * Each function reads a text of n bytes, which may hold NUL characters, in linear time.
 */

#include <arpa/inet.h>
#include <string.h>

#include "libmam/json/schema-internal.h"
#include "libmam/util/macro.h"

#define DIGITS     "0123456789"
#define HEX        DIGITS "abcdefABCDEF"
#define LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define UNRESERVED LETTERS DIGITS "-._~"
#define SUB_DELIMS "!$&'()*+,;="

typedef struct Text {
        const char *s, *end;
} Text;

static bool is_in(const char *set, char c) {
        return c != '\0' && strchr(set, c);
}

static bool take_char(Text *t, const char *set) {
        if (t->s == t->end || !is_in(set, *t->s))
                return false;
        t->s++;
        return true;
}

/* Exactly n digits. */
static bool take_number(Text *t, unsigned n, unsigned *ret) {
        *ret = 0;
        for (; n > 0; n--, t->s++) {
                if (t->s == t->end || *t->s < '0' || *t->s > '9')
                        return false;
                *ret = *ret * 10 + (unsigned) (*t->s - '0');
        }
        return true;
}

static bool take_date(Text *t) {
        static const unsigned char days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        unsigned y, m, d;

        if (!take_number(t, 4, &y) || !take_char(t, "-") || !take_number(t, 2, &m) || !take_char(t, "-") ||
            !take_number(t, 2, &d))
                return false;
        if (m < 1 || m > 12 || d < 1 || d > days[m - 1])
                return false;
        return m != 2 || d < 29 || (y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

static bool take_time(Text *t) {
        unsigned h, m, s, oh = 0, om = 0;
        bool minus = false;

        if (!take_number(t, 2, &h) || !take_char(t, ":") || !take_number(t, 2, &m) || !take_char(t, ":") ||
            !take_number(t, 2, &s) || h > 23 || m > 59 || s > 60)
                return false;
        if (take_char(t, ".")) {
                if (!take_char(t, DIGITS))
                        return false;
                while (take_char(t, DIGITS))
                        ;
        }
        if (!take_char(t, "Zz")) {
                minus = t->s < t->end && *t->s == '-';
                if (!take_char(t, "+-") || !take_number(t, 2, &oh) || !take_char(t, ":") ||
                    !take_number(t, 2, &om) || oh > 23 || om > 59)
                        return false;
        }
        if (s == 60) { /* a leap second is the last of a day in UTC */
                unsigned utc = h * 60 + m + 1440, offset = oh * 60 + om;

                utc = minus ? utc + offset : utc - offset;
                return utc % 1440 == 1439;
        }
        return true;
}

static bool is_date(const char *s, size_t n) {
        Text t = { s, s + n };

        return take_date(&t) && t.s == t.end;
}

static bool is_time(const char *s, size_t n) {
        Text t = { s, s + n };

        return take_time(&t) && t.s == t.end;
}

static bool is_date_time(const char *s, size_t n) {
        Text t = { s, s + n };

        return take_date(&t) && take_char(&t, "Tt") && take_time(&t) && t.s == t.end;
}

/* Units in their order, each a number; at least one. */
static bool take_units(Text *t, const char *units) {
        bool found = false;

        while (*units && t->s < t->end && is_in(DIGITS, *t->s)) {
                while (take_char(t, DIGITS))
                        ;
                if (t->s == t->end)
                        return false;
                while (*units && *units != *t->s)
                        units++;
                if (!*units)
                        return false;
                units++;
                t->s++;
                found = true;
        }
        return found;
}

/* The units of each kind must follow each other without a gap (RFC 3339, appendix A). */
static bool has_no_gap(const char *s, size_t n, const char *units) {
        const char *last = NULL;

        for (size_t i = 0; i < n && s[i] != 'T'; i++) {
                const char *u = is_in(units, s[i]) ? strchr(units, s[i]) : NULL;

                if (u && last && u != last + 1)
                        return false;
                last = u ? u : last;
        }
        return true;
}

static bool is_duration(const char *s, size_t n) {
        Text t = { s, s + n };
        bool date;

        if (!take_char(&t, "P"))
                return false;
        if (n > 1 && s[n - 1] == 'W')
                return take_units(&t, "W") && t.s == t.end;
        date = take_units(&t, "YMD");
        if (t.s == t.end)
                return date && has_no_gap(s + 1, n - 1, "YMD");
        s = t.s;
        return has_no_gap(t.end - n + 1, n - 1, "YMD") && take_char(&t, "T") && take_units(&t, "HMS") &&
               t.s == t.end && has_no_gap(s + 1, (size_t) (t.end - s - 1), "HMS");
}

static bool is_uuid(const char *s, size_t n) {
        if (n != 36)
                return false;
        for (size_t i = 0; i < n; i++)
                if (i == 8 || i == 13 || i == 18 || i == 23 ? s[i] != '-' : !is_in(HEX, s[i]))
                        return false;
        return true;
}

static bool is_ipv4(const char *s, size_t n) {
        char text[16];
        struct in_addr a;

        if (n >= sizeof(text) || memchr(s, '\0', n))
                return false;
        memcpy(text, s, n);
        text[n] = '\0';
        return inet_pton(AF_INET, text, &a) == 1;
}

static bool is_ipv6(const char *s, size_t n) {
        char text[48];
        struct in6_addr a;

        if (n >= sizeof(text) || memchr(s, '\0', n))
                return false;
        memcpy(text, s, n);
        text[n] = '\0';
        return inet_pton(AF_INET6, text, &a) == 1;
}

static bool is_hostname(const char *s, size_t n) {
        size_t start = 0;

        if (n == 0 || n > 253)
                return false;
        for (size_t i = 0; i <= n; i++) {
                if (i < n && s[i] != '.') {
                        if (!is_in(LETTERS DIGITS "-", s[i]))
                                return false;
                        continue;
                }
                if (i == start || i - start > 63 || s[start] == '-' || s[i - 1] == '-')
                        return false;
                start = i + 1;
        }
        return true;
}

static bool is_local_part(const char *s, size_t n) {
        if (n >= 2 && s[0] == '"' && s[n - 1] == '"') {
                for (size_t i = 1; i < n - 1; i++) {
                        if (s[i] == '\\' && i + 2 < n)
                                i++;
                        else if (s[i] == '"' || s[i] == '\\' || (unsigned char) s[i] < 0x20 ||
                                 (unsigned char) s[i] > 0x7e)
                                return false;
                }
                return true;
        }
        if (n == 0 || s[0] == '.' || s[n - 1] == '.')
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_in(LETTERS DIGITS "!#$%&'*+/=?^_`{|}~-.", s[i]) || (s[i] == '.' && s[i + 1] == '.'))
                        return false;
        return true;
}

static bool is_email(const char *s, size_t n) {
        const char *at = memrchr(s, '@', n), *domain = at + 1;
        size_t size;

        if (!at || at - s > 64 || !is_local_part(s, (size_t) (at - s)))
                return false;
        size = n - (size_t) (domain - s);
        if (size > 2 && domain[0] == '[' && domain[size - 1] == ']')
                return size > 7 && strncmp(domain + 1, "IPv6:", 5) == 0 ? is_ipv6(domain + 6, size - 7)
                                                                        : is_ipv4(domain + 1, size - 2);
        return is_hostname(domain, size);
}

/* All of these characters, or escapes. */
static bool consists_of(const char *s, size_t n, const char *set) {
        for (size_t i = 0; i < n; i++) {
                if (s[i] == '%') {
                        if (n - i < 3 || !is_in(HEX, s[i + 1]) || !is_in(HEX, s[i + 2]))
                                return false;
                        i += 2;
                } else if (!is_in(set, s[i]))
                        return false;
        }
        return true;
}

static size_t span_until(const char *s, size_t n, const char *stop) {
        size_t i = 0;

        while (i < n && !is_in(stop, s[i]))
                i++;
        return i;
}

static bool is_authority(const char *s, size_t n) {
        const char *at = memchr(s, '@', n), *port;

        if (at) {
                if (!consists_of(s, (size_t) (at - s), UNRESERVED SUB_DELIMS ":"))
                        return false;
                n -= (size_t) (at + 1 - s);
                s = at + 1;
        }
        if (n > 0 && s[0] == '[') {
                const char *end = memchr(s, ']', n);
                size_t size = end ? (size_t) (end - s) - 1 : 0;

                if (!end ||
                    !(is_ipv6(s + 1, size) || (size > 3 && (s[1] == 'v' || s[1] == 'V') &&
                                               consists_of(s + 2, size - 1, UNRESERVED SUB_DELIMS ":"))))
                        return false;
                n -= (size_t) (end + 1 - s);
                s = end + 1;
                return n == 0 || (s[0] == ':' && span_until(s + 1, n - 1, DIGITS) == 0 &&
                                  consists_of(s + 1, n - 1, DIGITS));
        }
        port = memchr(s, ':', n);
        if (port && !consists_of(port + 1, n - (size_t) (port + 1 - s), DIGITS))
                return false;
        return consists_of(s, port ? (size_t) (port - s) : n, UNRESERVED SUB_DELIMS);
}

static bool is_reference(const char *s, size_t n, bool needs_scheme) {
        size_t i = 0;
        bool has_scheme;

        while (i < n && is_in(LETTERS DIGITS "+-.", s[i]))
                i++;
        has_scheme = i > 0 && i < n && s[i] == ':' && is_in(LETTERS, s[0]);
        if (needs_scheme && !has_scheme)
                return false;
        if (has_scheme) {
                s += i + 1;
                n -= i + 1;
        } else if (memchr(s, ':', span_until(s, n, "/?#")))
                return false; /* the first segment would be taken for a scheme */
        if (n >= 2 && s[0] == '/' && s[1] == '/') {
                i = span_until(s + 2, n - 2, "/?#");
                if (!is_authority(s + 2, i))
                        return false;
                s += i + 2;
                n -= i + 2;
        }
        i = span_until(s, n, "?#");
        if (!consists_of(s, i, UNRESERVED SUB_DELIMS ":@/"))
                return false;
        s += i;
        n -= i;
        if (n > 0 && s[0] == '?') {
                i = span_until(s, n, "#");
                if (!consists_of(s + 1, i - 1, UNRESERVED SUB_DELIMS ":@/?"))
                        return false;
                s += i;
                n -= i;
        }
        return n == 0 || consists_of(s + 1, n - 1, UNRESERVED SUB_DELIMS ":@/?");
}

static bool is_uri(const char *s, size_t n) {
        return is_reference(s, n, true);
}

static bool is_uri_reference(const char *s, size_t n) {
        return is_reference(s, n, false);
}

static bool is_json_pointer(const char *s, size_t n) {
        if (n > 0 && s[0] != '/')
                return false;
        for (size_t i = 0; i < n; i++)
                if (s[i] == '~' && (i + 1 == n || (s[i + 1] != '0' && s[i + 1] != '1')))
                        return false;
        return true;
}

static bool is_relative_json_pointer(const char *s, size_t n) {
        size_t i = 0;

        while (i < n && is_in(DIGITS, s[i]))
                i++;
        if (i == 0 || (i > 1 && s[0] == '0'))
                return false;
        return (i + 1 == n && s[i] == '#') || is_json_pointer(s + i, n - i);
}

static bool is_regex(const char *s, size_t n) {
        pcre2_code *code = NULL;
        char message[192];

        if (mam_json_pattern_compile(&code, s, n, message, sizeof(message)) < 0)
                return false;
        pcre2_code_free(code);
        return true;
}

MamJsonFormat mam_json_format_find(const char *name) {
        static const struct {
                const char *name;
                MamJsonFormat format;
        } formats[] = {
                { "date-time", is_date_time },
                { "date", is_date },
                { "time", is_time },
                { "duration", is_duration },
                { "email", is_email },
                { "hostname", is_hostname },
                { "ipv4", is_ipv4 },
                { "ipv6", is_ipv6 },
                { "uri", is_uri },
                { "uri-reference", is_uri_reference },
                { "uuid", is_uuid },
                { "json-pointer", is_json_pointer },
                { "relative-json-pointer", is_relative_json_pointer },
                { "regex", is_regex },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(formats); i++)
                if (strcmp(formats[i].name, name) == 0)
                        return formats[i].format;
        return NULL;
}
