/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HTTP/1.1 message heads
 *
 * One pass over the bytes: each is looked at once, and what is found is kept as ranges. An error is noticed
 * at the first byte that makes it, even if the head is not complete yet.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-chars.h"
#include "libmam/http/http-codec.h"
#include "libmam/util/macro.h"

typedef struct Parser {
        MamHttpHead *h;
        const char *p;
        const char *end;
        unsigned status; /* to answer with, once something is wrong */
        const char *reason;
        bool has_host, has_length, has_coding, has_authority;
        bool close, keep_alive, upgrade; /* named in Connection */
        bool coding_is_chunked;
        MamHttpRange authority; /* of an absolute-form target */
        unsigned n_upgrades;
        MamHttpRange upgrade_to;
} Parser;

static int fail_status(Parser *p, int error, unsigned status, const char *reason) {
        p->status = status;
        p->reason = reason;
        return error;
}

static int fail(Parser *p, const char *reason) {
        return fail_status(p, -EBADMSG, 400, reason);
}

/* CR LF: 1, more bytes needed: 0. */
static int parse_line_end(Parser *p) {
        if (p->p == p->end)
                return 0;
        if (*p->p == '\n')
                return fail(p, "bare LF");
        if (*p->p != '\r')
                return fail(p, "control character");
        if (p->end - p->p < 2)
                return 0;
        if (p->p[1] != '\n')
                return fail(p, "bare CR");
        p->p += 2;
        return 1;
}

/* "HTTP/1.1": 1, more bytes needed: 0. */
static int parse_version(Parser *p) {
        static const char name[] = "HTTP/";

        for (size_t i = 0; i < 8; i++) {
                bool ok;

                if (p->p + i == p->end)
                        return 0;
                if (i < 5) {
                        ok = p->p[i] == name[i];
                } else if (i == 6) {
                        ok = p->p[i] == '.';
                } else {
                        ok = p->p[i] >= '0' && p->p[i] <= '9';
                }
                if (!ok)
                        return fail(p, "malformed HTTP version");
        }
        if (p->p[5] != '1' || p->p[7] > '1')
                return fail_status(p, -EOPNOTSUPP, 505, "HTTP version is neither 1.0 nor 1.1");

        p->h->minor_version = (unsigned) (p->p[7] - '0');
        p->p += 8;
        return 1;
}

/* uri-host [ ":" port ], never empty (RFC 9110, section 7.2). */
bool http_host_is_valid(MamHttpRange r) {
        const char *p = r.data, *end = r.data + r.size, *start;
        unsigned long port = 0;

        if (p < end && *p == '[') {
                for (p++; p < end && (http_char_is(*p, HTTP_CHAR_HEX) || *p == ':' || *p == '.'); p++)
                        ;
                if (p == end || *p != ']' || p - r.data < 3)
                        return false;
                p++;
        } else {
                p = http_skip(p, end, HTTP_CHAR_HOST);
                if (p == r.data)
                        return false;
        }
        if (p == end)
                return true;
        if (*p++ != ':')
                return false;
        for (start = p; p < end && *p >= '0' && *p <= '9' && p - start < 6; p++)
                port = port * 10 + (unsigned long) (*p - '0');
        return p == end && port <= 65535;
}

static int split_path(Parser *p, const char *start, const char *end) {
        MamHttpHead *h = p->h;
        const char *question = memchr(start, '?', (size_t) (end - start));

        h->path = (MamHttpRange){ start, (size_t) ((question ? question : end) - start) };
        if (question)
                h->query = (MamHttpRange){ question + 1, (size_t) (end - question - 1) };
        return 1;
}

/* http://authority/path?query: what a client sends to a proxy; the authority must be the Host's. */
static int parse_absolute_form(Parser *p) {
        MamHttpRange t = p->h->target;
        const char *end = t.data + t.size, *authority, *stop;

        if (t.size > 7 && strncasecmp(t.data, "http://", 7) == 0) {
                authority = t.data + 7;
        } else if (t.size > 8 && strncasecmp(t.data, "https://", 8) == 0) {
                authority = t.data + 8;
        } else {
                return fail(p, "request target is neither a path nor an absolute URI");
        }

        for (stop = authority; stop < end && *stop != '/' && *stop != '?'; stop++)
                ;
        p->has_authority = true;
        p->authority = (MamHttpRange){ authority, (size_t) (stop - authority) };
        if (!http_host_is_valid(p->authority))
                return fail(p, "malformed authority in the request target");
        if (stop < end && *stop == '/')
                return split_path(p, stop, end);

        (void) split_path(p, stop, end);
        p->h->path = (MamHttpRange){ "/", 1 };
        return 1;
}

static int parse_target(Parser *p) {
        MamHttpHead *h = p->h;

        if (mam_http_range_equal(h->method, "CONNECT"))
                return fail_status(p, -EBADMSG, 501, "CONNECT is not implemented");
        if (h->target.size == 0)
                return fail(p, "empty request target");
        if (h->target.data[0] == '/')
                return split_path(p, h->target.data, h->target.data + h->target.size);
        if (mam_http_range_equal(h->target, "*")) {
                if (!mam_http_range_equal(h->method, "OPTIONS"))
                        return fail(p, "request target '*' is for OPTIONS only");
                h->path = h->target;
                return 1;
        }
        return parse_absolute_form(p);
}

/* 1: complete, 0: more bytes needed. */
static int parse_request_line(Parser *p) {
        const char *start = p->p;
        int r;

        p->p = http_skip(start, p->end, HTTP_CHAR_TOKEN);
        if (p->p == p->end)
                return 0;
        if (*p->p != ' ' || p->p == start)
                return fail(p, "malformed method");
        p->h->method = (MamHttpRange){ start, (size_t) (p->p - start) };

        start = ++p->p;
        p->p = http_skip_target(start, p->end);
        if (p->p == p->end)
                return 0;
        if (*p->p != ' ')
                return fail(p, "illegal character in the request target");
        p->h->target = (MamHttpRange){ start, (size_t) (p->p - start) };
        r = parse_target(p);
        if (r <= 0)
                return r;

        p->p++;
        r = parse_version(p);
        if (r <= 0)
                return r;
        return parse_line_end(p);
}

static int parse_status_line(Parser *p) {
        unsigned status = 0;
        int r;

        r = parse_version(p);
        if (r <= 0)
                return r;

        for (size_t i = 0; i < 4; i++, p->p++) {
                if (p->p == p->end)
                        return 0;
                if (i == 0 ? *p->p != ' ' : (*p->p < '0' || *p->p > '9'))
                        return fail(p, "malformed status");
                if (i > 0)
                        status = status * 10 + (unsigned) (*p->p - '0');
        }
        if (status < 100 || status > 599)
                return fail(p, "status out of range");
        p->h->status = status;

        /* Some servers leave out the space before an empty reason. */
        if (p->p < p->end && *p->p != ' ' && *p->p != '\r')
                return fail(p, "malformed status");
        p->p = http_skip_value(p->p, p->end);
        return parse_line_end(p);
}

static int parse_content_length(Parser *p, MamHttpRange v) {
        uint64_t n = 0;

        if (p->has_length)
                return fail(p, "more than one Content-Length");
        if (v.size == 0 || v.size > 19)
                return fail(p, "malformed Content-Length");
        for (size_t i = 0; i < v.size; i++) {
                if (v.data[i] < '0' || v.data[i] > '9')
                        return fail(p, "malformed Content-Length");
                n = n * 10 + (uint64_t) (v.data[i] - '0');
        }
        if (n > INT64_MAX)
                return fail(p, "Content-Length too large");
        p->has_length = true;
        p->h->content_length = n;
        return 0;
}

/* Elements of a comma-separated list of tokens; empty elements are allowed (RFC 9110, section 5.6.1). */
static int parse_connection(Parser *p, MamHttpRange v) {
        const char *c = v.data, *end = v.data + v.size;

        while (c < end) {
                MamHttpRange token;

                if (*c == ',' || *c == ' ' || *c == '\t') {
                        c++;
                        continue;
                }
                token.data = c;
                c = http_skip(c, end, HTTP_CHAR_TOKEN);
                token.size = (size_t) (c - token.data);
                while (c < end && (*c == ' ' || *c == '\t'))
                        c++;
                if (token.size == 0 || (c < end && *c != ','))
                        return fail(p, "malformed Connection");
                if (mam_http_range_equal_fold(token, "close")) {
                        p->close = true;
                } else if (mam_http_range_equal_fold(token, "keep-alive")) {
                        p->keep_alive = true;
                } else if (mam_http_range_equal_fold(token, "upgrade")) {
                        p->upgrade = true;
                }
        }
        return 0;
}

static int parse_transfer_encoding(Parser *p, MamHttpRange v) {
        if (p->has_coding)
                return fail(p, "more than one Transfer-Encoding");
        p->has_coding = true;
        p->coding_is_chunked = mam_http_range_equal_fold(v, "chunked");
        /* A coding that exists somewhere is not implemented; anything else is an attempt to be read in two
         * ways. */
        if (!p->coding_is_chunked && mam_http_is_token(v.data, v.size))
                return fail_status(p, -EOPNOTSUPP, 501, "transfer coding other than chunked");
        if (!p->coding_is_chunked)
                return fail(p, "Transfer-Encoding is not exactly 'chunked'");
        return 0;
}

/* What the framing and the connection depend on. */
static int note_field(Parser *p, const MamHttpField *f, bool request) {
        switch (f->name.size) {
        case 4:
                if (!request || !mam_http_range_equal_fold(f->name, "Host"))
                        return 0;
                if (p->has_host)
                        return fail(p, "more than one Host");
                if (!http_host_is_valid(f->value))
                        return fail(p, "malformed Host");
                p->has_host = true;
                p->h->host = f->value;
                return 0;
        case 6:
                if (!request || !mam_http_range_equal_fold(f->name, "Expect"))
                        return 0;
                if (!mam_http_range_equal_fold(f->value, "100-continue"))
                        return fail_status(p, -EBADMSG, 417, "expectation other than 100-continue");
                p->h->expect_continue = p->h->minor_version == 1;
                return 0;
        case 7:
                if (mam_http_range_equal_fold(f->name, "Upgrade")) {
                        p->n_upgrades++;
                        p->upgrade_to = f->value;
                }
                return 0;
        case 10:
                if (mam_http_range_equal_fold(f->name, "Connection"))
                        return parse_connection(p, f->value);
                return 0;
        case 14:
                if (mam_http_range_equal_fold(f->name, "Content-Length"))
                        return parse_content_length(p, f->value);
                return 0;
        case 17:
                if (mam_http_range_equal_fold(f->name, "Transfer-Encoding"))
                        return parse_transfer_encoding(p, f->value);
                return 0;
        default:
                return 0;
        }
}

static int scan_field(Parser *p, MamHttpField *ret) {
        const char *start = p->p, *stop;
        MamHttpField f;
        int r;

        p->p = http_skip(start, p->end, HTTP_CHAR_TOKEN);
        if (p->p == p->end)
                return 0;
        if (p->p == start) {
                if (*start == ' ' || *start == '\t')
                        return fail(p, "folded field line");
                return fail(p, *start == ':' ? "empty field name" : "malformed field name");
        }
        if (*p->p != ':') {
                return fail(p,
                            *p->p == ' ' || *p->p == '\t' ? "space before the colon"
                                                          : "malformed field name");
        }
        f.name = (MamHttpRange){ start, (size_t) (p->p - start) };

        for (start = p->p + 1; start < p->end && (*start == ' ' || *start == '\t'); start++)
                ;
        p->p = stop = http_skip_value(start, p->end);
        r = parse_line_end(p);
        if (r <= 0)
                return r;
        while (stop > start && (stop[-1] == ' ' || stop[-1] == '\t'))
                stop--;
        f.value = (MamHttpRange){ start, (size_t) (stop - start) };
        *ret = f;
        return 1;
}

static int parse_field(Parser *p, bool request) {
        MamHttpField f;
        int r;

        r = scan_field(p, &f);
        if (r <= 0)
                return r;
        if (p->h->n_fields >= MAM_HTTP_FIELDS_MAX)
                return fail_status(p, -EMSGSIZE, 431, "too many fields");
        p->h->fields[p->h->n_fields++] = f;

        r = note_field(p, &f, request);
        return r < 0 ? r : 1;
}

/* Up to and with the empty line: 1, more bytes needed: 0. */
static int parse_fields(Parser *p, bool request) {
        int r;

        for (;;) {
                if (p->p == p->end)
                        return 0;
                if (*p->p == '\r' || *p->p == '\n')
                        return parse_line_end(p);
                r = parse_field(p, request);
                if (r <= 0)
                        return r;
        }
}

/* The rules that need all fields and are the same in both directions. */
static int finish(Parser *p) {
        MamHttpHead *h = p->h;

        if (p->has_coding && p->has_length)
                return fail(p, "Content-Length together with Transfer-Encoding");
        if (p->has_coding && h->minor_version == 0)
                return fail(p, "Transfer-Encoding in HTTP/1.0");

        h->keep_alive = !p->close && (h->minor_version == 1 || p->keep_alive);
        h->upgrade = p->upgrade && p->n_upgrades > 0;
        if (p->has_coding) {
                h->framing = MAM_HTTP_BODY_CHUNKED;
        } else if (p->has_length && h->content_length > 0) {
                h->framing = MAM_HTTP_BODY_LENGTH;
        }
        return 0;
}

static int finish_request(Parser *p) {
        MamHttpHead *h = p->h;
        int r;

        r = finish(p);
        if (r < 0)
                return r;
        if (!p->has_host && h->minor_version == 1)
                return fail(p, "no Host");
        if (p->has_authority && p->has_host &&
            (p->authority.size != h->host.size ||
             strncasecmp(p->authority.data, h->host.data, h->host.size) != 0))
                return fail(p, "authority of the request target is not the Host");
        if (h->upgrade && h->framing != MAM_HTTP_BODY_NONE)
                return fail(p, "Upgrade with a body");
        if (h->framing == MAM_HTTP_BODY_NONE)
                h->expect_continue = false;
        /* A choice of several is not offered by anything in use, and one of HTTP/1.0 is to be ignored (RFC
         * 9110, section 7.8). */
        if (h->upgrade && p->n_upgrades == 1 && h->minor_version == 1 &&
            mam_http_is_token(p->upgrade_to.data, p->upgrade_to.size))
                h->protocol = p->upgrade_to;
        return 0;
}

static void parser_init(Parser *p, MamHttpHead *h, const char *data, size_t size) {
        *p = (Parser){ .h = h, .p = data, .end = data + size };
        /* The fields are many and written before they are read: not worth clearing. */
        memset(h, 0, offsetof(MamHttpHead, fields));
        h->n_fields = 0;
}

ssize_t mam_http_parse_request(
                MamHttpHead *ret,
                const char *data,
                size_t size,
                unsigned *ret_status,
                const char **ret_reason) {
        Parser p;
        int r = 0;

        assert(ret);
        assert(data || size == 0);

        if (size == 0)
                return 0;

        parser_init(&p, ret, data, size);
        /* One empty line before the request line is to be ignored (RFC 9112, section 2.2). */
        if (*data == '\r') {
                r = parse_line_end(&p);
                if (r == 0)
                        return 0;
        }
        if (r >= 0)
                r = parse_request_line(&p);
        if (r > 0)
                r = parse_fields(&p, true);
        if (r == 0)
                return 0;
        if (r > 0)
                r = finish_request(&p);
        if (r < 0) {
                if (ret_status)
                        *ret_status = p.status;
                if (ret_reason)
                        *ret_reason = p.reason;
                return r;
        }
        return p.p - data;
}

ssize_t mam_http_parse_response(
                MamHttpHead *ret,
                const char *data,
                size_t size,
                bool head_request,
                const char **ret_reason) {
        MamHttpHead *h = ret;
        Parser p;
        int r;

        assert(ret);
        assert(data || size == 0);

        if (size == 0)
                return 0;

        parser_init(&p, ret, data, size);
        r = parse_status_line(&p);
        if (r > 0)
                r = parse_fields(&p, false);
        if (r == 0)
                return 0;
        if (r > 0)
                r = finish(&p);
        if (r < 0) {
                if (ret_reason)
                        *ret_reason = p.reason;
                return r;
        }

        if (head_request || h->status < 200 || h->status == 204 || h->status == 304) {
                h->framing = MAM_HTTP_BODY_NONE;
        } else if (!p.has_coding && !p.has_length) {
                h->framing = MAM_HTTP_BODY_UNTIL_CLOSE;
                h->keep_alive = false;
        }
        return p.p - data;
}

int mam_http_parse_trailers(
                MamHttpField *ret,
                size_t *ret_n,
                const char *data,
                size_t size,
                const char **ret_reason) {
        Parser p = { .p = data, .end = data + size };
        size_t n = 0;
        int r = 1;

        assert(ret);
        assert(ret_n);
        assert(data || size == 0);

        while (r > 0 && p.p < p.end) {
                if (n >= MAM_HTTP_TRAILERS_MAX) {
                        r = fail(&p, "too many trailers");
                } else {
                        r = scan_field(&p, &ret[n]);
                }
                if (r > 0 && !mam_http_trailer_is_legal(ret[n++].name))
                        r = fail(&p, "a field that must not be a trailer");
        }
        if (r == 0)
                r = fail(&p, "incomplete trailer");
        if (r < 0) {
                if (ret_reason)
                        *ret_reason = p.reason;
                return r;
        }
        *ret_n = n;
        return 0;
}
