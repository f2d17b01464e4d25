/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Frames of the native hop
 */

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "libmam/http/http-chars.h"
#include "libmam/http/native-frames.h"

static uint16_t get16(const char *p) {
        uint16_t v;

        memcpy(&v, p, sizeof(v));
        return le16toh(v);
}

static uint32_t get32(const char *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return le32toh(v);
}

static uint64_t get64(const char *p) {
        uint64_t v;

        memcpy(&v, p, sizeof(v));
        return le64toh(v);
}

static char *put16(char *p, uint16_t v) {
        v = htole16(v);
        return mempcpy(p, &v, sizeof(v));
}

static char *put32(char *p, uint32_t v) {
        v = htole32(v);
        return mempcpy(p, &v, sizeof(v));
}

static char *put64(char *p, uint64_t v) {
        v = htole64(v);
        return mempcpy(p, &v, sizeof(v));
}

/* What each type of frame may be. */
static const struct {
        uint32_t min, max; /* of the payload */
        bool has_stream, may_end;
} shapes[_NATIVE_TYPE_MAX] = {
        [NATIVE_HELLO] = { NATIVE_HELLO_SIZE, NATIVE_HELLO_SIZE, false, false },
        [NATIVE_HEAD] = { NATIVE_ANSWER_SIZE, NATIVE_HEAD_MAX, true, true },
        [NATIVE_DATA] = { 1, NATIVE_DATA_MAX, true, true },
        [NATIVE_TRAILERS] = { NATIVE_TRAILERS_SIZE, NATIVE_HEAD_MAX, true, false },
        [NATIVE_CREDIT] = { 4, 4, true, false },
        [NATIVE_RESET] = { 4, 4, true, false },
        [NATIVE_GOAWAY] = { 4, 4, false, false },
};

int native_frame_parse(NativeFrame *ret, const char *data) {
        uint32_t size = get32(data), stream = get32(data + 8);
        uint8_t type = (uint8_t) data[4], flags = (uint8_t) data[5];

        assert(ret);

        if (type >= _NATIVE_TYPE_MAX || get16(data + 6) != 0)
                return -EBADMSG;
        if (size < shapes[type].min || size > shapes[type].max)
                return -EBADMSG;
        if (shapes[type].has_stream != (stream != 0))
                return -EBADMSG;
        if ((flags & ~NATIVE_END) != 0 || (flags != 0 && !shapes[type].may_end))
                return -EBADMSG;

        *ret = (NativeFrame){ .type = (NativeType) type,
                              .end = flags & NATIVE_END,
                              .stream = stream,
                              .size = size };
        return 0;
}

void native_frame_format(char *ret, const NativeFrame *f) {
        ret = put32(ret, f->size);
        *ret++ = (char) f->type;
        *ret++ = f->end ? NATIVE_END : 0;
        ret = put16(ret, 0);
        (void) put32(ret, f->stream);
}

int native_hello_parse(NativeHello *ret, const char *data, size_t size) {
        assert(ret);

        if (size != NATIVE_HELLO_SIZE)
                return -EBADMSG;
        if (get16(data) != NATIVE_VERSION)
                return -EPROTONOSUPPORT;
        ret->streams_max = get32(data + 4);
        ret->credit = get32(data + 8);
        return get16(data + 2) == 0 && ret->credit <= NATIVE_CREDIT_MAX ? 0 : -EBADMSG;
}

size_t native_hello_format(char *ret, const NativeHello *h) {
        char *p = ret + NATIVE_HEADER_SIZE;

        native_frame_format(ret, &(NativeFrame){ .type = NATIVE_HELLO, .size = NATIVE_HELLO_SIZE });
        p = put32(put16(put16(p, NATIVE_VERSION), 0), h->streams_max);
        p = put32(p, h->credit);
        return (size_t) (p - ret);
}

int native_number_parse(uint32_t *ret, const NativeFrame *f, const char *data) {
        uint32_t n;

        assert(ret);

        if (f->size != 4)
                return -EBADMSG;
        n = get32(data);
        if (f->type == NATIVE_CREDIT && (n == 0 || n > NATIVE_CREDIT_MAX))
                return -EBADMSG;
        if (f->type == NATIVE_RESET && n >= _NATIVE_RESET_MAX)
                return -EBADMSG;
        *ret = n;
        return 0;
}

size_t native_number_format(char *ret, NativeType type, uint32_t stream, uint32_t number) {
        native_frame_format(ret, &(NativeFrame){ .type = type, .stream = stream, .size = 4 });
        (void) put32(ret + NATIVE_HEADER_SIZE, number);
        return NATIVE_HEADER_SIZE + 4;
}

bool native_field_is_refused(MamHttpRange name) {
        if (name.size == 0)
                return true;
        switch (name.data[0] | 0x20) {
        case 'c':
                return mam_http_range_equal_fold(name, "Connection") ||
                       mam_http_range_equal_fold(name, "Content-Length");
        case 'k':
                return mam_http_range_equal_fold(name, "Keep-Alive");
        case 'p':
                return mam_http_range_equal_fold(name, "Proxy-Connection");
        case 't':
                return mam_http_range_equal_fold(name, "Transfer-Encoding");
        case 'u':
                return mam_http_range_equal_fold(name, "Upgrade");
        default:
                return false;
        }
}

/* A string of that size and its NUL at *p; NULL: there is less. */
static const char *take(const char **p, const char *end, size_t size) {
        const char *s = *p;

        if ((size_t) (end - s) <= size || s[size] != '\0')
                return NULL;
        *p = s + size + 1;
        return s;
}

/* All that is left, which must be exactly n fields. */
static int parse_fields(MamHttpField *ret, size_t max, size_t n, const char *p, const char *end) {
        if (n > max)
                return -EBADMSG;

        for (size_t i = 0; i < n; i++) {
                MamHttpField *f = &ret[i];

                if (end - p < 4)
                        return -EBADMSG;
                f->name.size = get16(p);
                f->value.size = get16(p + 2);
                p += 4;
                f->name.data = take(&p, end, f->name.size);
                if (!f->name.data)
                        return -EBADMSG;
                f->value.data = take(&p, end, f->value.size);
                if (!f->value.data)
                        return -EBADMSG;
                if (!mam_http_is_token(f->name.data, f->name.size) ||
                    !mam_http_is_field_value(f->value.data, f->value.size) ||
                    native_field_is_refused(f->name))
                        return -EBADMSG;
        }
        return p == end ? 0 : -EBADMSG;
}

static int find_host(MamHttpHead *h) {
        for (size_t i = 0; i < h->n_fields; i++) {
                const MamHttpField *f = &h->fields[i];

                if (f->name.size != 4 || !mam_http_range_equal_fold(f->name, "host"))
                        continue;
                if (h->host.data)
                        return -EBADMSG;
                h->host = f->value;
        }
        return h->host.data ? 0 : -EBADMSG;
}

int native_request_parse(MamHttpHead *ret, const NativeFrame *f, const char *data) {
        const char *p = data + NATIVE_REQUEST_SIZE, *end = data + f->size, *q;
        uint64_t length;
        int r;

        assert(ret);

        if (f->size < NATIVE_REQUEST_SIZE || get16(data + 14) != 0)
                return -EBADMSG;
        memset(ret, 0, offsetof(MamHttpHead, fields));
        length = get64(data);
        ret->method.size = get16(data + 8);
        ret->target.size = get16(data + 10);
        ret->n_fields = get16(data + 12);

        ret->method.data = take(&p, end, ret->method.size);
        if (!ret->method.data || !mam_http_is_token(ret->method.data, ret->method.size))
                return -EBADMSG;
        ret->target.data = take(&p, end, ret->target.size);
        if (!ret->target.data || ret->target.size == 0)
                return -EBADMSG;
        q = ret->target.data;
        if (*q != '/' && (*q != '*' || ret->target.size != 1))
                return -EBADMSG;
        if (http_skip(q, q + ret->target.size, HTTP_CHAR_TARGET) != q + ret->target.size)
                return -EBADMSG;
        ret->path = ret->target;
        q = memchr(q, '?', ret->target.size);
        if (q) {
                ret->path.size = (size_t) (q - ret->target.data);
                ret->query = (MamHttpRange){ q + 1, ret->target.size - ret->path.size - 1 };
        }

        r = parse_fields(ret->fields, MAM_HTTP_FIELDS_MAX, ret->n_fields, p, end);
        if (r < 0)
                return r;
        ret->minor_version = 1;
        ret->keep_alive = true;
        if (f->end) {
                if (length != 0)
                        return -EBADMSG;
        } else if (length == 0) {
                return -EBADMSG;
        } else if (length == NATIVE_LENGTH_UNKNOWN) {
                ret->framing = MAM_HTTP_BODY_CHUNKED;
        } else {
                ret->framing = MAM_HTTP_BODY_LENGTH;
                ret->content_length = length;
        }
        return find_host(ret);
}

int native_answer_parse(
                MamHttpHead *ret,
                bool *ret_tells_length,
                const NativeFrame *f,
                const char *data,
                bool head_request) {
        const char *p = data + NATIVE_ANSWER_SIZE, *end = data + f->size;
        uint64_t length;
        bool no_body;

        assert(ret);

        if (f->size < NATIVE_ANSWER_SIZE || get32(data + 12) != 0)
                return -EBADMSG;
        memset(ret, 0, offsetof(MamHttpHead, fields));
        length = get64(data);
        ret->status = get16(data + 8);
        ret->n_fields = get16(data + 10);
        if (ret->status < 200 || ret->status > 599)
                return -EBADMSG;
        ret->minor_version = 1;
        ret->keep_alive = true;
        no_body = head_request || ret->status == 204 || ret->status == 304;
        if (no_body && !f->end)
                return -EBADMSG;
        *ret_tells_length = length != NATIVE_LENGTH_UNKNOWN;
        if (length != NATIVE_LENGTH_UNKNOWN)
                ret->content_length = length;
        if (!f->end) {
                if (length == 0)
                        return -EBADMSG;
                ret->framing = length == NATIVE_LENGTH_UNKNOWN ? MAM_HTTP_BODY_CHUNKED
                                                               : MAM_HTTP_BODY_LENGTH;
        } else if (!no_body && length != 0 && length != NATIVE_LENGTH_UNKNOWN) {
                return -EBADMSG; /* announced, and none comes */
        }
        return parse_fields(ret->fields, MAM_HTTP_FIELDS_MAX, ret->n_fields, p, end);
}

int native_trailers_parse(
                MamHttpField *ret,
                size_t max,
                size_t *ret_n,
                const NativeFrame *f,
                const char *data) {
        size_t n;
        int r;

        assert(ret_n);

        if (f->size < NATIVE_TRAILERS_SIZE || get16(data + 2) != 0)
                return -EBADMSG;
        n = get16(data);
        r = parse_fields(ret, max, n, data + NATIVE_TRAILERS_SIZE, data + f->size);
        if (r < 0)
                return r;
        *ret_n = n;
        return 0;
}

void native_request_format(
                char *ret,
                uint64_t length,
                size_t method_size,
                size_t target_size,
                size_t n_fields) {
        ret = put16(put16(put64(ret, length), (uint16_t) method_size), (uint16_t) target_size);
        (void) put16(put16(ret, (uint16_t) n_fields), 0);
}

void native_answer_format(char *ret, uint64_t length, unsigned status, size_t n_fields) {
        (void) put32(put16(put16(put64(ret, length), (uint16_t) status), (uint16_t) n_fields), 0);
}

void native_trailers_format(char *ret, size_t n_fields) {
        (void) put16(put16(ret, (uint16_t) n_fields), 0);
}

char *native_field_format(char *p, MamHttpRange name, MamHttpRange value) {
        p = put16(put16(p, (uint16_t) name.size), (uint16_t) value.size);
        p = mempcpy(p, name.data, name.size);
        *p++ = '\0';
        if (value.size > 0)
                p = mempcpy(p, value.data, value.size);
        *p++ = '\0';
        return p;
}

const char *native_field_next(const char *p, MamHttpRange *ret_name, MamHttpRange *ret_value) {
        *ret_name = (MamHttpRange){ p + 4, get16(p) };
        *ret_value = (MamHttpRange){ p + 4 + ret_name->size + 1, get16(p + 2) };
        return ret_value->data + ret_value->size + 1;
}
