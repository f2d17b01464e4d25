/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Fields of HTTP/2 as a message's head (internal to libmam/http)
 *
 * Pure: what HPACK decoded goes in one field at a time, a MamHttpHead comes out that looks as if the message
 * had come over HTTP/1, so that handlers need not know the wire: "host" made of :authority, one "cookie".
 * Strict as RFC 9113, section 8 demands, and where it says "should", too; what
 * is malformed is never repaired.
 */

#include "libmam/http/http-codec.h"
#include "libmam/util/buffer.h"

typedef struct Http2Fields Http2Fields;

typedef enum Http2Block {
        HTTP2_BLOCK_REQUEST,
        HTTP2_BLOCK_RESPONSE,
        HTTP2_BLOCK_TRAILERS, /* in both directions */
} Http2Block;

typedef struct Http2Slot {
        uint32_t name, name_size, value, value_size; /* offsets into text */
} Http2Slot;

enum {
        HTTP2_PSEUDO_METHOD,
        HTTP2_PSEUDO_SCHEME,
        HTTP2_PSEUDO_PATH,
        HTTP2_PSEUDO_AUTHORITY,
        HTTP2_PSEUDO_PROTOCOL,
        HTTP2_PSEUDO_STATUS,
        _HTTP2_PSEUDO_MAX,
};

struct Http2Fields {
        Http2Block block;
        size_t list_max;   /* of the list as RFC 9113, section 10.5.1 counts it: 32 more per field */
        size_t list_size;  /* so far */
        MamBuffer text;    /* "name\0value\0"… */
        const char *error; /* what makes it malformed; sticks */
        bool regular;      /* a field that is no pseudo-header was seen: none may follow */
        bool too_large;    /* beyond list_max or MAM_HTTP_FIELDS_MAX: fields are not kept any more */
        bool has_host, has_length, has_expect, bad_expect;
        unsigned has_pseudo; /* 1 << HTTP2_PSEUDO_… */
        unsigned n_cookies;
        uint64_t content_length;
        Http2Slot pseudo[_HTTP2_PSEUDO_MAX], host;
        size_t n_fields;
        Http2Slot fields[MAM_HTTP_FIELDS_MAX];
};

void http2_fields_init(Http2Fields *f, Http2Block block, size_t list_max);
void http2_fields_done(Http2Fields *f);

/* 0; -EBADMSG: malformed, f->error says why; -E2BIG: so far beyond list_max that it is no mistake;
 * -ENOMEM. */
int http2_fields_add(
                Http2Fields *f,
                const uint8_t *name,
                size_t name_size,
                const uint8_t *value,
                size_t value_size);

/* The block is complete. Ranges point into f->text and live as long as it; the byte behind each is a NUL.
 * end_stream: no body follows. 0; -EBADMSG: malformed (f->error); -ENOMEM; >0: well-formed, but to be
 * answered with this status, and *ret_reason says why. */
int http2_fields_finish_request(Http2Fields *f, bool end_stream, MamHttpHead *ret, const char **ret_reason);
/* 0, -EBADMSG, -EMSGSIZE. Of an answer; head_request decides whether a body may follow. */
int http2_fields_finish_response(Http2Fields *f, bool end_stream, bool head_request, MamHttpHead *ret);
/* *ret has room for MAM_HTTP_TRAILERS_MAX. 0, -EBADMSG, -EMSGSIZE. */
int http2_fields_finish_trailers(Http2Fields *f, MamHttpField *ret, size_t *ret_n);

/* Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade: have no place in HTTP/2. */
bool http2_field_is_connection_specific(const char *name, size_t size);
