/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP text: character classes, field lookup, status texts, percent-encoding
 */

#include <assert.h>
#include <errno.h>
#include <strings.h>

#include "libmam/http/http-chars.h"
#include "libmam/http/http-codec.h"
#include "libmam/util/macro.h"

/* clang-format off */
const uint8_t http_chars[256] = {
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x02, 0x0f, 0x06, 0x03, 0x0f, 0x0f, 0x0f, 0x0f, 0x0e, 0x0e, 0x0f, 0x0f, 0x0e, 0x0f, 0x0f, 0x06,
        0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x06, 0x0e, 0x06, 0x0e, 0x06, 0x06,
        0x06, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f,
        0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x06, 0x06, 0x06, 0x07, 0x0f,
        0x07, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x1f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f,
        0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x0f, 0x06, 0x07, 0x06, 0x0f, 0x00,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
        0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02,
};
/* clang-format on */

bool mam_http_is_token(const char *data, size_t size) {
        assert(data || size == 0);

        return size > 0 && http_skip(data, data + size, HTTP_CHAR_TOKEN) == data + size;
}

/* What is no multiple of eight ends with a word that was looked at in part already: no byte is looked at
 * alone, unless there is a tab, or the value is short. */
bool mam_http_is_field_value(const char *data, size_t size) {
        bool odd = size < 8;

        assert(data || size == 0);

        for (size_t i = 0; i + 8 <= size; i += 8)
                odd |= http_has_control(data + i);
        if (size >= 8)
                odd |= http_has_control(data + size - 8);
        return !odd || http_skip(data, data + size, HTTP_CHAR_VALUE) == data + size;
}

const MamHttpField *mam_http_find(const MamHttpHead *h, const char *name) {
        size_t size;

        assert(h);
        assert(name);

        size = strlen(name);
        for (size_t i = 0; i < h->n_fields; i++) {
                const MamHttpField *f = &h->fields[i];

                if (f->name.size == size && strncasecmp(f->name.data, name, size) == 0)
                        return f;
        }
        return NULL;
}

/* Does the comma-separated list have this name as an element? */
static bool list_has(MamHttpRange list, MamHttpRange name) {
        const char *p = list.data, *end = list.data + list.size;

        while (p < end) {
                const char *stop, *comma = memchr(p, ',', (size_t) (end - p));

                if (!comma)
                        comma = end;
                while (p < comma && (*p == ' ' || *p == '\t'))
                        p++;
                stop = comma;
                while (stop > p && (stop[-1] == ' ' || stop[-1] == '\t'))
                        stop--;
                if ((size_t) (stop - p) == name.size && strncasecmp(p, name.data, name.size) == 0)
                        return true;
                p = comma < end ? comma + 1 : end;
        }
        return false;
}

bool mam_http_field_is_hop_by_hop(const MamHttpHead *h, const MamHttpField *f) {
        static const char *const names[] = {
                "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        };

        assert(h);
        assert(f);

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                if (mam_http_range_equal_fold(f->name, names[i]))
                        return true;
        }
        if (f->name.size > 6 && strncasecmp(f->name.data, "Proxy-", 6) == 0)
                return true;

        for (size_t i = 0; i < h->n_fields; i++) {
                if (mam_http_range_equal_fold(h->fields[i].name, "Connection") &&
                    list_has(h->fields[i].value, f->name))
                        return true;
        }
        return false;
}

const char *mam_http_status_text(unsigned status) {
        switch (status) {
        case 100:
                return "Continue";
        case 101:
                return "Switching Protocols";
        case 200:
                return "OK";
        case 201:
                return "Created";
        case 202:
                return "Accepted";
        case 203:
                return "Non-Authoritative Information";
        case 204:
                return "No Content";
        case 205:
                return "Reset Content";
        case 206:
                return "Partial Content";
        case 300:
                return "Multiple Choices";
        case 301:
                return "Moved Permanently";
        case 302:
                return "Found";
        case 303:
                return "See Other";
        case 304:
                return "Not Modified";
        case 307:
                return "Temporary Redirect";
        case 308:
                return "Permanent Redirect";
        case 400:
                return "Bad Request";
        case 401:
                return "Unauthorized";
        case 402:
                return "Payment Required";
        case 403:
                return "Forbidden";
        case 404:
                return "Not Found";
        case 405:
                return "Method Not Allowed";
        case 406:
                return "Not Acceptable";
        case 407:
                return "Proxy Authentication Required";
        case 408:
                return "Request Timeout";
        case 409:
                return "Conflict";
        case 410:
                return "Gone";
        case 411:
                return "Length Required";
        case 412:
                return "Precondition Failed";
        case 413:
                return "Content Too Large";
        case 414:
                return "URI Too Long";
        case 415:
                return "Unsupported Media Type";
        case 416:
                return "Range Not Satisfiable";
        case 417:
                return "Expectation Failed";
        case 421:
                return "Misdirected Request";
        case 422:
                return "Unprocessable Content";
        case 425:
                return "Too Early";
        case 426:
                return "Upgrade Required";
        case 428:
                return "Precondition Required";
        case 429:
                return "Too Many Requests";
        case 431:
                return "Request Header Fields Too Large";
        case 451:
                return "Unavailable For Legal Reasons";
        case 500:
                return "Internal Server Error";
        case 501:
                return "Not Implemented";
        case 502:
                return "Bad Gateway";
        case 503:
                return "Service Unavailable";
        case 504:
                return "Gateway Timeout";
        case 505:
                return "HTTP Version Not Supported";
        case 507:
                return "Insufficient Storage";
        default:
                return "Unknown";
        }
}

static ssize_t decode(char *ret, size_t ret_size, const char *data, size_t size, bool plus_is_space) {
        size_t n = 0;

        for (size_t i = 0; i < size; i++) {
                char c = data[i];

                if (c == '%') {
                        int high, low;

                        if (size - i < 3)
                                return -EINVAL;
                        high = http_hex(data[i + 1]);
                        low = http_hex(data[i + 2]);
                        if (high < 0 || low < 0)
                                return -EINVAL;
                        c = (char) (high << 4 | low);
                        i += 2;
                } else if (c == '+' && plus_is_space)
                        c = ' ';
                if (c == '\0')
                        return -EINVAL;
                if (n + 1 >= ret_size)
                        return -ENOBUFS;
                ret[n++] = c;
        }
        if (ret_size == 0)
                return -ENOBUFS;
        ret[n] = '\0';
        return (ssize_t) n;
}

ssize_t mam_http_percent_decode(char *ret, size_t ret_size, const char *data, size_t size) {
        assert(ret || ret_size == 0);
        assert(data || size == 0);

        return decode(ret, ret_size, data, size, false);
}

int mam_http_query_get(MamHttpRange query, const char *key, char *ret, size_t ret_size) {
        const char *p = query.data, *end = query.data ? query.data + query.size : NULL;
        ssize_t k;

        assert(key);
        assert(ret || ret_size == 0);

        while (p && p <= end) {
                const char *next = p < end ? memchr(p, '&', (size_t) (end - p)) : NULL;
                const char *stop = next ? next : end, *equals;
                char name[128];

                equals = memchr(p, '=', (size_t) (stop - p));
                /* A key that is malformed or longer than any we ask for is somebody else's. */
                k = decode(name, sizeof(name), p, (size_t) ((equals ? equals : stop) - p), true);
                if (k >= 0 && strcmp(name, key) == 0) {
                        ssize_t v = equals ? decode(ret,
                                                    ret_size,
                                                    equals + 1,
                                                    (size_t) (stop - equals - 1),
                                                    true)
                                           : decode(ret, ret_size, "", 0, true);

                        return v < 0 ? (int) v : 1;
                }
                p = next ? next + 1 : NULL;
        }
        return 0;
}
