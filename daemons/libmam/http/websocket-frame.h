/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Frames of WebSocket (RFC 6455, section 5)
 *
 * Pure functions over bytes. Heads are parsed and written; a MamWebsocketTrack follows the frames of one
 * direction while their bytes pass through, so that who passes them on knows where one ends, and can end
 * the conversation there. Payload is neither copied nor unmasked by it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAM_WEBSOCKET_HEAD_MAX    14U
#define MAM_WEBSOCKET_CONTROL_MAX 125U /* payload of a control frame */

typedef enum MamWebsocketOpcode {
        MAM_WEBSOCKET_CONTINUATION = 0,
        MAM_WEBSOCKET_TEXT = 1,
        MAM_WEBSOCKET_BINARY = 2,
        MAM_WEBSOCKET_CLOSE = 8,
        MAM_WEBSOCKET_PING = 9,
        MAM_WEBSOCKET_PONG = 10,
} MamWebsocketOpcode;

/* Status codes of Close that mam itself uses (section 7.4). */
typedef enum MamWebsocketCode {
        MAM_WEBSOCKET_NORMAL = 1000,
        MAM_WEBSOCKET_GOING_AWAY = 1001,
        MAM_WEBSOCKET_PROTOCOL_ERROR = 1002,
        MAM_WEBSOCKET_NO_STATUS = 1005, /* never sent: the other side's Close told none */
        MAM_WEBSOCKET_ABNORMAL = 1006,  /* never sent: the connection ended without Close */
        MAM_WEBSOCKET_BAD_DATA = 1007,
        MAM_WEBSOCKET_POLICY = 1008,
        MAM_WEBSOCKET_TOO_BIG = 1009,
        MAM_WEBSOCKET_INTERNAL = 1011,
        MAM_WEBSOCKET_TRY_AGAIN = 1013,
} MamWebsocketCode;

typedef struct MamWebsocketHead {
        MamWebsocketOpcode opcode;
        bool final;
        bool masked;
        uint8_t reserved; /* RSV1 to RSV3 as 4, 2, 1: of meaning only where an extension was agreed on */
        uint8_t mask[4];  /* zeros where not masked */
        uint64_t size;    /* of the payload */
} MamWebsocketHead;

/* Bytes of the head; 0: more are needed; -EBADMSG: an opcode that is not defined, a length that is not
 * written in the shortest way or has 64 bits, a control frame that is fragmented or too long. */
ssize_t mam_websocket_parse_head(MamWebsocketHead *ret, const void *data, size_t size);
/* Bytes written. mask: 4 bytes, or NULL as of a server. */
size_t mam_websocket_format_head(
                uint8_t ret[static MAM_WEBSOCKET_HEAD_MAX],
                MamWebsocketOpcode opcode,
                bool final,
                uint64_t size,
                const uint8_t *mask);
/* Masks or unmasks in place; offset: of data in the payload. */
void mam_websocket_mask(void *data, size_t size, const uint8_t mask[static 4], uint64_t offset);
/* A whole Close frame; bytes written. code 0: without one. mask as above. reason (NULL: none) is cut to what
 * fits, at the end of a character. */
size_t mam_websocket_format_close(
                uint8_t ret[static MAM_WEBSOCKET_HEAD_MAX + MAM_WEBSOCKET_CONTROL_MAX],
                unsigned code,
                const char *reason,
                const uint8_t *mask);
/* Whether an endpoint may put this code into a Close. */
bool mam_websocket_code_is_legal(unsigned code);

/* One direction of a conversation that passes through. */
typedef struct MamWebsocketTrack {
        bool from_client; /* its frames are masked, those of a server are not */
        bool extended;    /* an extension was agreed on: reserved bits may be set */
        bool in_message;  /* a message has begun that has not ended */
        bool closed;      /* a Close has passed completely: nothing may follow */
        bool in_close;
        uint64_t left;                        /* of the payload of the frame that is passing */
        uint8_t held[MAM_WEBSOCKET_HEAD_MAX]; /* of a head that is not complete, and was not passed on */
        uint8_t n_held;
} MamWebsocketTrack;

/* What to pass on: first head_size bytes of head (a head of which a part was held), then the first size
 * bytes of data. */
typedef struct MamWebsocketPass {
        uint8_t head[MAM_WEBSOCKET_HEAD_MAX];
        size_t head_size;
        const char *data;
        size_t size;
} MamWebsocketPass;

/* Only whole heads are passed on: the beginning of one is held. to_boundary: nothing beyond the end of the
 * frame that is passing; what is left of data then (beyond ret->data + ret->size) is to be given again, as
 * what is held was not lost. What follows a Close is dropped.
 * 0, or -EBADMSG: what comes next is no legal frame; *ret is good for what came before it. */
int mam_websocket_track(
                MamWebsocketTrack *t,
                const char *data,
                size_t size,
                bool to_boundary,
                MamWebsocketPass *ret);
/* No frame is passing: another may be put in here. */
bool mam_websocket_track_at_boundary(const MamWebsocketTrack *t);
