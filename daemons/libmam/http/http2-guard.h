/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What an HTTP/2 connection may send (internal to libmam/http)
 *
 * Pure. The guard reads the heads of the client's frames before nghttp2 gets the frames. It holds what
 * nghttp2 is lax about: which streams are closed, and how much a connection may make us work for nothing.
 *
 * Frames that ask for work without bringing any (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, …) are
 * paid for with credit, that comes with requests, data and time. Resets have a credit of their own, the ones
 * that we were made to send included: a stream that is reset has cost us its request.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP2_FRAME_HEAD_SIZE 9U
#define HTTP2_FRAME_MAX       16384U
#define HTTP2_STREAMS_MAX     100U
/* Streams that the client has not ended; beside those that live some that we have reset, as frames of them
 * may be under way still. */
#define HTTP2_GUARD_OPEN_MAX   192U
#define HTTP2_GUARD_CLOSED_MAX 32U
#define HTTP2_CONTROL_CREDIT   1000U
#define HTTP2_CONTROL_REFILL   100U /* per second */
#define HTTP2_RESET_CREDIT     200U
#define HTTP2_RESET_REFILL     20U

typedef struct Http2Guard {
        uint8_t head[HTTP2_FRAME_HEAD_SIZE];
        uint8_t head_size;
        bool in_headers; /* the frame at hand is HEADERS or CONTINUATION */
        bool in_block;   /* between HEADERS and the end of its last CONTINUATION */
        uint8_t n_continuations;
        uint32_t left;       /* of the frame at hand's payload */
        uint32_t block_size; /* of the header block, compressed */
        uint32_t block_max;
        uint32_t highest; /* stream begun by the client */
        unsigned control_credit, reset_credit;
        uint64_t refilled_usec;
        uint32_t *open; /* owned; begun, and not ended by the client; HTTP2_GUARD_RESET: reset by us */
        unsigned n_open, allocated;
        uint32_t closed[HTTP2_GUARD_CLOSED_MAX]; /* ring */
        unsigned closed_at;
} Http2Guard;

/* block_max: bytes of a header block, compressed. */
void http2_guard_init(Http2Guard *g, size_t block_max, uint64_t now_usec);
void http2_guard_done(Http2Guard *g);

/* Looks at what the client sent, without the preface. Returns how much of it is fine. Less than size: at
 * that place begins a frame, or ends the head of one, for which the connection is to be ended with
 * *ret_error (of HTTP/2); *ret_reason is a literal. -ENOMEM. */
ssize_t http2_guard_scan(
                Http2Guard *g,
                const uint8_t *data,
                size_t size,
                uint64_t now_usec,
                uint32_t *ret_error,
                const char **ret_reason);
/* In the middle of a header block, or of the head of a frame. */
bool http2_guard_is_in_head(const Http2Guard *g);

/* We have reset the stream. false: too often, the connection is to end with ENHANCE_YOUR_CALM. */
bool http2_guard_reset(Http2Guard *g, uint32_t stream, bool client_is_to_blame, uint64_t now_usec);
/* A DATA frame came that was nothing but padding. false: as above. */
bool http2_guard_empty(Http2Guard *g, uint64_t now_usec);
/* A DATA frame was sent: the client may answer with WINDOW_UPDATEs. */
void http2_guard_sent_data(Http2Guard *g);
