/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fields of HTTP/2 as a message's head
 *
 * Offsets are kept while the text grows, ranges are made at the end. nghttp2 checks much of this too; it is
 * checked here again since its rules differ between versions, and some only make it drop the field.
 */

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-chars.h"
#include "libmam/http/http2-fields.h"
#include "libmam/util/macro.h"

#define FIELD_OVERHEAD 32U
#define LIST_EXCESS    4U /* times list_max: from there on it is an attack */

void http2_fields_init(Http2Fields *f, Http2Block block, size_t list_max) {
        assert(f);

        /* The slots are many and written before they are read: not worth clearing. */
        memset(f, 0, offsetof(Http2Fields, fields));
        f->block = block;
        f->list_max = list_max;
}

void http2_fields_done(Http2Fields *f) {
        if (!f)
                return;
        mam_buffer_done(&f->text);
}

static int malformed(Http2Fields *f, const char *reason) {
        f->error = reason;
        return -EBADMSG;
}

static bool is(const char *data, size_t size, const char *s) {
        return size == strlen(s) && memcmp(data, s, size) == 0;
}

bool http2_field_is_connection_specific(const char *name, size_t size) {
        static const char *const names[] = {
                "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                if (size == strlen(names[i]) && strncasecmp(name, names[i], size) == 0)
                        return true;
        }
        return false;
}

/* Appends "name\0value\0". */
static int keep(Http2Fields *f,
                const char *name,
                size_t name_size,
                const char *value,
                size_t value_size,
                Http2Slot *ret) {
        char *p;
        int r;

        r = mam_buffer_reserve(&f->text, name_size + value_size + 2, &p);
        if (r < 0)
                return r;
        ret->name = (uint32_t) f->text.size;
        ret->name_size = (uint32_t) name_size;
        ret->value = (uint32_t) (f->text.size + name_size + 1);
        ret->value_size = (uint32_t) value_size;
        memcpy(p, name, name_size);
        p[name_size] = '\0';
        if (value_size > 0)
                memcpy(p + name_size + 1, value, value_size);
        p[name_size + 1 + value_size] = '\0';
        mam_buffer_commit(&f->text, name_size + value_size + 2);
        return 0;
}

static int add_pseudo(
                Http2Fields *f,
                const char *name,
                size_t name_size,
                const char *value,
                size_t value_size) {
        static const char *const names[_HTTP2_PSEUDO_MAX] = {
                [HTTP2_PSEUDO_METHOD] = ":method",     [HTTP2_PSEUDO_SCHEME] = ":scheme",
                [HTTP2_PSEUDO_PATH] = ":path",         [HTTP2_PSEUDO_AUTHORITY] = ":authority",
                [HTTP2_PSEUDO_PROTOCOL] = ":protocol", [HTTP2_PSEUDO_STATUS] = ":status",
        };
        size_t which;

        if (f->block == HTTP2_BLOCK_TRAILERS)
                return malformed(f, "pseudo-header field in trailers");
        if (f->regular)
                return malformed(f, "pseudo-header field behind other fields");
        for (which = 0; which < _HTTP2_PSEUDO_MAX && !is(name, name_size, names[which]); which++)
                ;
        if (which == _HTTP2_PSEUDO_MAX ||
            (which == HTTP2_PSEUDO_STATUS) != (f->block == HTTP2_BLOCK_RESPONSE))
                return malformed(f, "unknown pseudo-header field");
        if (f->has_pseudo & (1U << which))
                return malformed(f, "pseudo-header field more than once");
        if (value_size == 0)
                return malformed(f, "empty pseudo-header field");
        if (!mam_http_is_field_value(value, value_size))
                return malformed(f, "control character in a pseudo-header field");

        f->has_pseudo |= 1U << which;
        return keep(f, name, name_size, value, value_size, &f->pseudo[which]);
}

static int check_name(Http2Fields *f, const char *name, size_t size) {
        if (!mam_http_is_token(name, size))
                return malformed(f, "malformed field name");
        for (size_t i = 0; i < size; i++) {
                if (name[i] >= 'A' && name[i] <= 'Z')
                        return malformed(f, "upper-case field name");
        }
        return 0;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

static int note_length(Http2Fields *f, const char *value, size_t size) {
        uint64_t n = 0;

        if (f->has_length)
                return malformed(f, "more than one Content-Length");
        if (size == 0 || size > 19)
                return malformed(f, "malformed Content-Length");
        for (size_t i = 0; i < size; i++) {
                if (value[i] < '0' || value[i] > '9')
                        return malformed(f, "malformed Content-Length");
                n = n * 10 + (uint64_t) (value[i] - '0');
        }
        if (n > INT64_MAX)
                return malformed(f, "Content-Length too large");
        f->has_length = true;
        f->content_length = n;
        return 0;
}

/* Fields that mean something to the framing. 1: not to be kept among the others. */
static int note_field(
                Http2Fields *f,
                const char *name,
                size_t name_size,
                const char *value,
                size_t value_size) {
        int r;

        if (http2_field_is_connection_specific(name, name_size))
                return malformed(f, "connection-specific field");
        if (f->block == HTTP2_BLOCK_TRAILERS) {
                return mam_http_trailer_is_legal((MamHttpRange){ name, name_size })
                                       ? 0
                                       : malformed(f, "field that may not be a trailer");
        }
        if (is(name, name_size, "content-length"))
                return note_length(f, value, value_size);
        if (f->block == HTTP2_BLOCK_RESPONSE)
                return 0;

        if (is(name, name_size, "te") && !(value_size == 8 && strncasecmp(value, "trailers", 8) == 0))
                return malformed(f, "TE is not exactly 'trailers'");
        if (is(name, name_size, "expect")) {
                f->has_expect = true;
                f->bad_expect = !(value_size == 12 && strncasecmp(value, "100-continue", 12) == 0);
        } else if (is(name, name_size, "cookie")) {
                f->n_cookies++;
        } else if (is(name, name_size, "host")) {
                if (f->has_host)
                        return malformed(f, "more than one Host");
                if (!http_host_is_valid((MamHttpRange){ value, value_size }))
                        return malformed(f, "malformed Host");
                f->has_host = true;
                r = keep(f, name, name_size, value, value_size, &f->host);
                return r < 0 ? r : 1;
        }
        return 0;
}

static int add(Http2Fields *f, const char *name, size_t name_size, const char *value, size_t value_size) {
        /* One more is made at the end: the Host. */
        size_t max = f->block == HTTP2_BLOCK_TRAILERS ? MAM_HTTP_TRAILERS_MAX : MAM_HTTP_FIELDS_MAX - 1;
        int r;

        if (name_size > 0 && name[0] == ':')
                return add_pseudo(f, name, name_size, value, value_size);
        f->regular = true;
        r = check_name(f, name, name_size);
        if (r < 0)
                return r;
        if (!mam_http_is_field_value(value, value_size))
                return malformed(f, "control character in a field value");
        if (value_size > 0 && (is_blank(value[0]) || is_blank(value[value_size - 1])))
                return malformed(f, "white space around a field value");
        r = note_field(f, name, name_size, value, value_size);
        if (r != 0)
                return r < 0 ? r : 0;

        if (f->n_fields >= max) {
                f->too_large = true;
                return 0;
        }
        r = keep(f, name, name_size, value, value_size, &f->fields[f->n_fields]);
        if (r >= 0)
                f->n_fields++;
        return r;
}

int http2_fields_add(
                Http2Fields *f,
                const uint8_t *name,
                size_t name_size,
                const uint8_t *value,
                size_t value_size) {
        assert(f);
        assert(name || name_size == 0);
        assert(value || value_size == 0);

        if (f->error)
                return -EBADMSG;
        if (__builtin_add_overflow(f->list_size, name_size + value_size + FIELD_OVERHEAD, &f->list_size) ||
            f->list_size / LIST_EXCESS > f->list_max)
                return -E2BIG;
        if (f->list_size > f->list_max)
                f->too_large = true;
        if (f->too_large)
                return 0;
        return add(f,
                   (const char *) name,
                   name_size,
                   value_size > 0 ? (const char *) value : "",
                   value_size);
}

static MamHttpRange range(const Http2Fields *f, uint32_t offset, uint32_t size) {
        return (MamHttpRange){ mam_buffer_bytes(&f->text) + offset, size };
}

static MamHttpRange pseudo(const Http2Fields *f, size_t which) {
        if (!(f->has_pseudo & (1U << which)))
                return (MamHttpRange){ NULL, 0 };
        return range(f, f->pseudo[which].value, f->pseudo[which].value_size);
}

static bool has(const Http2Fields *f, size_t which) {
        return f->has_pseudo & (1U << which);
}

/* Browsers send each cookie as a field of its own, as that compresses better; outside of HTTP/2 there is one
 * (RFC 9113, section 8.2.3). */
static int join_cookies(Http2Fields *f) {
        size_t size = 0, at = 0, n = 0;
        Http2Slot joined;
        char *p;
        int r;

        if (f->n_cookies < 2)
                return 0;
        for (size_t i = 0; i < f->n_fields; i++) {
                MamHttpRange name = range(f, f->fields[i].name, f->fields[i].name_size);

                if (is(name.data, name.size, "cookie"))
                        size += f->fields[i].value_size + 2;
        }
        r = mam_buffer_reserve(&f->text, size + 8, &p);
        if (r < 0)
                return r;
        joined = (Http2Slot){ .name = (uint32_t) f->text.size,
                              .name_size = 6,
                              .value = (uint32_t) f->text.size + 7 };
        memcpy(p, "cookie", 7);
        at = 7;
        for (size_t i = 0; i < f->n_fields; i++) {
                const Http2Slot *s = &f->fields[i];
                MamHttpRange name = range(f, s->name, s->name_size);

                if (!is(name.data, name.size, "cookie")) {
                        f->fields[n++] = *s;
                        continue;
                }
                if (at > 7) {
                        memcpy(p + at, "; ", 2);
                        at += 2;
                }
                memcpy(p + at, mam_buffer_bytes(&f->text) + s->value, s->value_size);
                at += s->value_size;
        }
        p[at] = '\0';
        joined.value_size = (uint32_t) (at - 7);
        mam_buffer_commit(&f->text, at + 1);
        f->fields[n++] = joined;
        f->n_fields = n;
        return 0;
}

/* RFC 9113, sections 8.3.1 and 8.5; RFC 8441, section 4. */
static int check_pseudo(Http2Fields *f) {
        MamHttpRange method = pseudo(f, HTTP2_PSEUDO_METHOD), scheme = pseudo(f, HTTP2_PSEUDO_SCHEME),
                     authority = pseudo(f, HTTP2_PSEUDO_AUTHORITY), path = pseudo(f, HTTP2_PSEUDO_PATH),
                     protocol = pseudo(f, HTTP2_PSEUDO_PROTOCOL);
        bool connect;

        if (!method.data)
                return malformed(f, "no :method");
        if (!mam_http_is_token(method.data, method.size))
                return malformed(f, "malformed :method");
        if (authority.data && !http_host_is_valid(authority))
                return malformed(f, "malformed :authority");
        connect = mam_http_range_equal(method, "CONNECT");
        if (connect && !protocol.data) {
                if (!authority.data || scheme.data || path.data)
                        return malformed(f, "CONNECT with :scheme or :path, or without :authority");
                return 0;
        }
        if (protocol.data &&
            (!connect || !authority.data || !mam_http_is_token(protocol.data, protocol.size)))
                return malformed(f, "misplaced or malformed :protocol");
        if (!scheme.data || !path.data)
                return malformed(f, "no :scheme or no :path");
        if (!mam_http_range_equal(scheme, "http") && !mam_http_range_equal(scheme, "https"))
                return malformed(f, ":scheme is neither http nor https");
        if (http_skip(path.data, path.data + path.size, HTTP_CHAR_TARGET) != path.data + path.size)
                return malformed(f, "illegal character in :path");
        if (path.data[0] != '/' &&
            !(mam_http_range_equal(path, "*") && mam_http_range_equal(method, "OPTIONS")))
                return malformed(f, ":path does not begin with a slash");
        return 0;
}

static int check_host(Http2Fields *f) {
        MamHttpRange authority = pseudo(f, HTTP2_PSEUDO_AUTHORITY), host;

        if (!authority.data && !f->has_host)
                return malformed(f, "neither :authority nor Host");
        if (!authority.data || !f->has_host)
                return 0;
        host = range(f, f->host.value, f->host.value_size);
        if (host.size != authority.size || strncasecmp(host.data, authority.data, host.size) != 0)
                return malformed(f, ":authority is not the Host");
        return 0;
}

/* The field that HTTP/1 would have had. */
static int add_host(Http2Fields *f) {
        MamHttpRange authority = pseudo(f, HTTP2_PSEUDO_AUTHORITY);
        int r;

        if (f->has_host) {
                f->fields[f->n_fields++] = f->host;
        } else {
                r = mam_buffer_reserve(&f->text, authority.size + 6, &(char *){ NULL });
                if (r < 0)
                        return r;
                authority = pseudo(f, HTTP2_PSEUDO_AUTHORITY); /* the text may have moved */
                r = keep(f, "host", 4, authority.data, authority.size, &f->fields[f->n_fields]);
                if (r < 0)
                        return r;
                f->n_fields++;
        }
        return 0;
}

static void put_fields(const Http2Fields *f, MamHttpField *ret) {
        for (size_t i = 0; i < f->n_fields; i++) {
                const Http2Slot *s = &f->fields[i];

                ret[i].name = range(f, s->name, s->name_size);
                ret[i].value = range(f, s->value, s->value_size);
        }
}

static void head_init(MamHttpHead *h) {
        memset(h, 0, offsetof(MamHttpHead, fields));
        h->n_fields = 0;
        h->minor_version = 1;
        h->keep_alive = true;
}

static void put_request(const Http2Fields *f, bool end_stream, MamHttpHead *h) {
        const char *question;

        head_init(h);
        h->method = pseudo(f, HTTP2_PSEUDO_METHOD);
        h->target = h->path = pseudo(f, HTTP2_PSEUDO_PATH);
        assert(h->method.data && h->target.data); /* check_pseudo() has seen to it */
        question = memchr(h->target.data, '?', h->target.size);
        if (question) {
                h->path.size = (size_t) (question - h->target.data);
                h->query = (MamHttpRange){ question + 1, h->target.size - h->path.size - 1 };
        }
        put_fields(f, h->fields);
        h->n_fields = f->n_fields;
        h->host = mam_http_find(h, "host")->value;
        h->protocol = pseudo(f, HTTP2_PSEUDO_PROTOCOL);
        h->upgrade = has(f, HTTP2_PSEUDO_PROTOCOL);
        h->content_length = f->content_length;
        if (end_stream || h->upgrade) {
                h->framing = MAM_HTTP_BODY_NONE;
        } else if (f->has_length) {
                h->framing = f->content_length > 0 ? MAM_HTTP_BODY_LENGTH : MAM_HTTP_BODY_NONE;
        } else {
                h->framing = MAM_HTTP_BODY_CHUNKED;
        }
        h->expect_continue = f->has_expect && h->framing != MAM_HTTP_BODY_NONE;
}

int http2_fields_finish_request(Http2Fields *f, bool end_stream, MamHttpHead *ret, const char **ret_reason) {
        int r;

        assert(f && f->block == HTTP2_BLOCK_REQUEST);
        assert(ret);
        assert(ret_reason);

        if (f->error)
                return -EBADMSG;
        if (f->too_large) {
                *ret_reason = "the request's fields are larger than this server takes";
                return 431;
        }
        r = check_pseudo(f);
        if (r >= 0)
                r = check_host(f);
        if (r < 0)
                return r;
        if (end_stream && f->has_length && f->content_length > 0)
                return malformed(f, "Content-Length without a body");
        if (has(f, HTTP2_PSEUDO_PROTOCOL) && f->has_length)
                return malformed(f, "extended CONNECT with a Content-Length");
        if (!has(f, HTTP2_PSEUDO_PATH)) {
                *ret_reason = "CONNECT is not implemented";
                return 501;
        }
        if (f->bad_expect) {
                *ret_reason = "expectation other than 100-continue";
                return 417;
        }

        r = join_cookies(f);
        if (r >= 0)
                r = add_host(f);
        if (r < 0)
                return r;
        put_request(f, end_stream, ret);
        return 0;
}

int http2_fields_finish_response(Http2Fields *f, bool end_stream, bool head_request, MamHttpHead *ret) {
        MamHttpRange status = pseudo(f, HTTP2_PSEUDO_STATUS);
        bool no_body;

        assert(f && f->block == HTTP2_BLOCK_RESPONSE);
        assert(ret);

        if (f->error)
                return -EBADMSG;
        if (f->too_large)
                return -EMSGSIZE;
        if (status.size != 3 || status.data[0] < '1' || status.data[0] > '5')
                return malformed(f, "no :status, or a malformed one");
        for (size_t i = 1; i < 3; i++) {
                if (status.data[i] < '0' || status.data[i] > '9')
                        return malformed(f, "no :status, or a malformed one");
        }

        head_init(ret);
        for (size_t i = 0; i < 3; i++)
                ret->status = ret->status * 10 + (unsigned) (status.data[i] - '0');
        if (ret->status == 101 || (ret->status < 200 && end_stream))
                return malformed(f, "101, or an interim answer that ends the stream");
        put_fields(f, ret->fields);
        ret->n_fields = f->n_fields;
        ret->content_length = f->content_length;
        no_body = head_request || ret->status < 200 || ret->status == 204 || ret->status == 304;
        if (end_stream && !no_body && f->has_length && f->content_length > 0)
                return malformed(f, "Content-Length without a body");
        if (end_stream || no_body) {
                ret->framing = MAM_HTTP_BODY_NONE;
        } else if (f->has_length) {
                ret->framing = f->content_length > 0 ? MAM_HTTP_BODY_LENGTH : MAM_HTTP_BODY_NONE;
        } else {
                ret->framing = MAM_HTTP_BODY_CHUNKED;
        }
        return 0;
}

int http2_fields_finish_trailers(Http2Fields *f, MamHttpField *ret, size_t *ret_n) {
        assert(f && f->block == HTTP2_BLOCK_TRAILERS);
        assert(ret);
        assert(ret_n);

        if (f->error)
                return -EBADMSG;
        if (f->too_large)
                return -EMSGSIZE;
        put_fields(f, ret);
        *ret_n = f->n_fields;
        return 0;
}
