/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Messages of WebSocket (RFC 6455, sections 5.4 to 7)
 *
 * A MamWebsocketReader turns the bytes that one side sends into messages and control frames: unmasked, put
 * together from fragments, text checked to be UTF-8 while it comes. Pure but for its buffer, which holds one
 * message of at most message_max bytes and is empty between messages. After an error or a Close it reads
 * nothing more.
 */

#include "libmam/http/websocket-frame.h"
#include "libmam/util/buffer.h"

typedef enum MamWebsocketEventKind {
        MAM_WEBSOCKET_EVENT_NONE, /* more bytes are needed */
        MAM_WEBSOCKET_EVENT_MESSAGE,
        MAM_WEBSOCKET_EVENT_PING,
        MAM_WEBSOCKET_EVENT_PONG,
        MAM_WEBSOCKET_EVENT_CLOSE,
} MamWebsocketEventKind;

typedef struct MamWebsocketEvent {
        MamWebsocketEventKind kind;
        bool text;        /* of a message */
        const char *data; /* NUL-terminated (not counted), until the next call; of Close the reason */
        size_t size;
        unsigned code; /* of Close; MAM_WEBSOCKET_NO_STATUS where it told none */
} MamWebsocketEvent;

/* Incremental UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing beyond U+10FFFF); 0 at the end of a
 * character, where text may end. */
typedef struct MamUtf8 {
        uint32_t left;     /* continuation bytes to come */
        uint8_t low, high; /* bounds of the next one */
} MamUtf8;

bool mam_utf8_feed(MamUtf8 *u, const void *data, size_t size);

typedef struct MamWebsocketReader {
        bool from_client;
        size_t message_max; /* 0: none is taken */
        MamBuffer message;  /* of the message under way, or the one told last */
        bool in_message, text, told, over;
        MamUtf8 utf8;

        uint8_t head_bytes[MAM_WEBSOCKET_HEAD_MAX]; /* of a head that is not complete */
        uint8_t n_head;
        bool in_frame;
        MamWebsocketHead head; /* of the frame under way */
        uint64_t seen;         /* of its payload */
        char control[MAM_WEBSOCKET_CONTROL_MAX + 1];
        unsigned error; /* code to close with, once _read has failed */
} MamWebsocketReader;

void mam_websocket_reader_init(MamWebsocketReader *r, bool from_client, size_t message_max);
void mam_websocket_reader_done(MamWebsocketReader *r);
/* Reads until something is complete; bytes taken, all of them with NONE.
 * -EPROTO: the other side broke the protocol (reader->error says how: the code to close with); -ENOMEM. */
ssize_t mam_websocket_reader_read(
                MamWebsocketReader *r,
                const char *data,
                size_t size,
                MamWebsocketEvent *ret);
