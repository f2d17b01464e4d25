/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP/1.1 codec (RFC 9110, RFC 9112)
 *
 * Pure functions over bytes: no I/O, no allocation. Strict: what is doubtful is rejected, never repaired
 * (request smuggling lives in repairs). Fields are ranges into the caller's buffer and live as long as it
 * does.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#define MAM_HTTP_FIELDS_MAX   100U
#define MAM_HTTP_TRAILERS_MAX 32U

typedef struct MamHttpRange {
        const char *data; /* borrowed, not NUL-terminated */
        size_t size;
} MamHttpRange;

typedef struct MamHttpField {
        MamHttpRange name;
        MamHttpRange value; /* without surrounding white space */
} MamHttpField;

/* Where the body of a message ends (RFC 9112, section 6.3). */
typedef enum MamHttpFraming {
        MAM_HTTP_BODY_NONE,
        MAM_HTTP_BODY_LENGTH,
        MAM_HTTP_BODY_CHUNKED,
        MAM_HTTP_BODY_UNTIL_CLOSE, /* responses only */
} MamHttpFraming;

typedef struct MamHttpHead {
        /* requests */
        MamHttpRange method;
        MamHttpRange target; /* as sent */
        MamHttpRange path;   /* the target without query; of absolute-form, its path */
        MamHttpRange query;  /* without '?'; data NULL where there is none */
        MamHttpRange host;
        MamHttpRange protocol; /* to change to: Upgrade's, or :protocol; data NULL where none is asked for */
        bool expect_continue;
        /* responses */
        unsigned status;
        /* both */
        unsigned minor_version; /* 0 or 1 */
        bool keep_alive;
        bool upgrade; /* Connection: upgrade with an Upgrade field */
        MamHttpFraming framing;
        uint64_t content_length; /* as told by Content-Length, also where no body comes (HEAD, 304) */
        MamHttpField fields[MAM_HTTP_FIELDS_MAX];
        size_t n_fields;
} MamHttpHead;

/* Both parse a whole head: >0: its size in bytes; 0: more bytes are needed; -EBADMSG: *ret_reason is a
 * literal that says what is wrong; -EMSGSIZE: more than MAM_HTTP_FIELDS_MAX fields; -EOPNOTSUPP: a version
 * other than 1.0 and 1.1 (505), a transfer coding other than chunked (501) — *ret_status (may be NULL) is
 * the status to answer with in each case. The caller bounds the size of an incomplete head. */
ssize_t mam_http_parse_request(
                MamHttpHead *ret,
                const char *data,
                size_t size,
                unsigned *ret_status,
                const char **ret_reason);
/* head_request, and status 1xx/204/304, decide the framing of the answer. */
ssize_t mam_http_parse_response(
                MamHttpHead *ret,
                const char *data,
                size_t size,
                bool head_request,
                const char **ret_reason);

/* First field of that name (case-insensitive), or NULL. */
const MamHttpField *mam_http_find(const MamHttpHead *h, const char *name);
/* Both are inline, as the size of a literal is known then, and most comparisons end with it. */
static inline bool mam_http_range_equal(MamHttpRange r, const char *s) { /* exact */
        size_t size = __builtin_strlen(s);

        return size == r.size && (size == 0 || memcmp(r.data, s, size) == 0);
}
static inline bool mam_http_range_equal_fold(MamHttpRange r, const char *s) { /* ASCII case-insensitive */
        size_t size = __builtin_strlen(s);

        return size == r.size && (size == 0 || strncasecmp(r.data, s, size) == 0);
}
/* Connection, Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade, Proxy-*, and what this head's Connection
 * names: never forwarded. */
bool mam_http_field_is_hop_by_hop(const MamHttpHead *h, const MamHttpField *f);

/* The fields of a trailer section: complete lines "Name: value\r\n"…, without the empty one. ret has room
 * for MAM_HTTP_TRAILERS_MAX. 0; -EBADMSG with *ret_reason: malformed, too many, or a field that is not legal
 * there. */
int mam_http_parse_trailers(
                MamHttpField *ret,
                size_t *ret_n,
                const char *data,
                size_t size,
                const char **ret_reason);
/* May stand behind a body: not what decides about framing, routing, access or how the content is read
 * (RFC 9110, section 6.5.1), nor a field of our own between gateway and service. */
bool mam_http_trailer_is_legal(MamHttpRange name);

bool mam_http_is_token(const char *data, size_t size);
/* Legal as a field value: no CR, LF, NUL or other control but HTAB. What we send is checked with it too. */
bool mam_http_is_field_value(const char *data, size_t size);
const char *mam_http_status_text(unsigned status); /* "OK"; "Unknown" for others */

/* Percent-decodes; -EINVAL: malformed or NUL byte; -ENOBUFS. Returns the size, NUL-terminates. '+' stays. */
ssize_t mam_http_percent_decode(char *ret, size_t ret_size, const char *data, size_t size);
/* The value of a query parameter, percent-decoded with '+' as space: 1 found, 0 absent, -EINVAL, -ENOBUFS.
 */
int mam_http_query_get(MamHttpRange query, const char *key, char *ret, size_t ret_size);

/* Chunked decoder (RFC 9112, section 7.1), incremental, in place over any splits of the input. */
typedef struct MamHttpChunked {
        unsigned state;
        unsigned digits;
        uint64_t left;
        size_t extension_size; /* bounded per chunk */
        size_t trailer_size;   /* bounded */
        size_t trailer_begin;  /* in the last input: see mam_http_chunked_trailers() */
        size_t trailer_end;
} MamHttpChunked;

#define MAM_HTTP_CHUNKED_INIT \
        { 0 }

/* Consumes input up to the next piece of body. Returns the bytes consumed; *ret_body is the piece (size 0:
 * none this time), a range into data; *ret_done: the terminating chunk and trailers were read. -EBADMSG with
 * *ret_reason. */
ssize_t mam_http_chunked_decode(
                MamHttpChunked *c,
                const char *data,
                size_t size,
                MamHttpRange *ret_body,
                bool *ret_done,
                const char **ret_reason);
/* What the last call consumed of trailer fields, a range into its data: to be gathered by who wants them and
 * given to mam_http_parse_trailers() once done. At most 8 KiB in all. */
MamHttpRange mam_http_chunked_trailers(const MamHttpChunked *c, const char *data);
