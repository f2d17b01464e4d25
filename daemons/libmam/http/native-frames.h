/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Frames of the native hop (internal to libmam/http)
 *
 * The hop between the gateway and mam's own services: one stream of frames per process and replica, which
 * carries all requests. Pure functions over bytes: no I/O, no allocation. Numbers are little-endian.
 *
 * The client begins with NATIVE_PREFACE, which ends in an empty line, so that a peer that speaks HTTP/1 only
 * answers it with an error; then each side sends HELLO as its first frame, the client its own only after the
 * server's, and nothing before. A frame is a header of NATIVE_HEADER_SIZE bytes
 *
 *     u32 size of what follows, u8 type, u8 flags, u16 zero, u32 stream
 *
 * and a payload (END is NATIVE_TRAILERS in the code):
 *
 *     HELLO   u16 version, u16 zero, u32 streams at once, u32 credit that each stream begins with
 *     HEAD    request: u64 length of the body, u16 size of the method, u16 size of the target, u16 number of
 *             fields, u16 zero, method, NUL, target, NUL, fields
 *             answer: u64 length of the body, u16 status, u16 number of fields, u32 zero, fields
 *     DATA    bytes of the body; NATIVE_END: the last of them
 *     END     the body's end, followed by trailers: u16 number of fields, u16 zero, fields
 *     CREDIT  u32 more bytes of DATA that may be sent
 *     RESET   u32 NativeReset: the stream is over, abruptly
 *     GOAWAY  u32 the last stream that will be answered; the peer leaves when those are
 *
 * A field is u16 size of its name, u16 size of its value, name, NUL, value, NUL. Streams are numbered by the
 * client, upwards from 1. HEAD with NATIVE_END has no body. Nothing here is ever parsed as text again, and
 * what is doubtful is refused: the caller closes the connection.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/http/http-codec.h"

#define NATIVE_PREFACE        "MAM1 * HTTP/8.0\r\n\r\n"
#define NATIVE_PREFACE_SIZE   (sizeof(NATIVE_PREFACE) - 1)
#define NATIVE_VERSION        1U
#define NATIVE_HEADER_SIZE    12U
#define NATIVE_HELLO_SIZE     12U
#define NATIVE_REQUEST_SIZE   16U /* the fixed part of HEAD */
#define NATIVE_ANSWER_SIZE    16U
#define NATIVE_TRAILERS_SIZE  4U
#define NATIVE_FIELD_OVERHEAD 6U     /* of a field, beside name and value */
#define NATIVE_DATA_MAX       65536U /* payload of DATA */
#define NATIVE_HEAD_MAX       65536U /* payload of HEAD and END */
#define NATIVE_CREDIT_MAX     0x7fffffffU
#define NATIVE_LENGTH_UNKNOWN UINT64_MAX

typedef enum NativeType {
        NATIVE_HELLO,
        NATIVE_HEAD,
        NATIVE_DATA,
        NATIVE_TRAILERS,
        NATIVE_CREDIT,
        NATIVE_RESET,
        NATIVE_GOAWAY,
        _NATIVE_TYPE_MAX,
} NativeType;

enum {
        NATIVE_END = 1 << 0, /* of HEAD and DATA: nothing more comes on this stream from this side */
};

typedef enum NativeReset {
        NATIVE_RESET_CANCEL,      /* nobody wants it any more */
        NATIVE_RESET_UNPROCESSED, /* nothing was done with it: may be sent again */
        NATIVE_RESET_BROKEN,      /* the message cannot be finished */
        _NATIVE_RESET_MAX,
} NativeReset;

typedef struct NativeFrame {
        NativeType type;
        bool end;
        uint32_t stream;
        uint32_t size; /* of the payload */
} NativeFrame;

typedef struct NativeHello {
        uint32_t streams_max;
        uint32_t credit;
} NativeHello;

/* The header of NATIVE_HEADER_SIZE bytes. Checks all that can be told from it: type, flags, whether it
 * belongs to a stream, size. -EBADMSG. */
int native_frame_parse(NativeFrame *ret, const char *data);
void native_frame_format(char *ret, const NativeFrame *f);

/* The payloads. -EBADMSG; -EPROTONOSUPPORT: another version. */
int native_hello_parse(NativeHello *ret, const char *data, size_t size);
/* Writes the whole frame: NATIVE_HEADER_SIZE + NATIVE_HELLO_SIZE bytes. */
size_t native_hello_format(char *ret, const NativeHello *h);
/* CREDIT (1…NATIVE_CREDIT_MAX), RESET (a NativeReset), GOAWAY. */
int native_number_parse(uint32_t *ret, const NativeFrame *f, const char *data);
size_t native_number_format(char *ret, NativeType type, uint32_t stream, uint32_t number);

/* Ranges point into data, with a NUL behind each. A request has exactly one Host, and a target that is "*"
 * or begins with "/"; fields that belong to a connection or frame a message are refused. */
int native_request_parse(MamHttpHead *ret, const NativeFrame *f, const char *data);
/* head_request: to HEAD, so that no body follows. tells_length: content_length was told, also as 0. */
int native_answer_parse(
                MamHttpHead *ret,
                bool *ret_tells_length,
                const NativeFrame *f,
                const char *data,
                bool head_request);
int native_trailers_parse(
                MamHttpField *ret,
                size_t max,
                size_t *ret_n,
                const NativeFrame *f,
                const char *data);

/* The fixed parts; what follows is written by the caller. */
void native_request_format(
                char *ret,
                uint64_t length,
                size_t method_size,
                size_t target_size,
                size_t n_fields);
void native_answer_format(char *ret, uint64_t length, unsigned status, size_t n_fields);
void native_trailers_format(char *ret, size_t n_fields);
/* A field of NATIVE_FIELD_OVERHEAD bytes and its text; each below 64 KiB. Returns the end. */
char *native_field_format(char *p, MamHttpRange name, MamHttpRange value);
/* Reads a field that native_field_format() wrote; returns the next one. */
const char *native_field_next(const char *p, MamHttpRange *ret_name, MamHttpRange *ret_value);
/* A field that no message of this hop may have: Connection, Content-Length, … */
bool native_field_is_refused(MamHttpRange name);
