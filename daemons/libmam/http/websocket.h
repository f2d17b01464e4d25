/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * WebSocket for services (RFC 6455; over HTTP/2 RFC 8441)
 *
 * A handler that wants to talk WebSocket hands its exchange to mam_websocket_accept(). The session that
 * comes of it belongs to the exchange and ends with it: on_close runs exactly once, as the last thing, and
 * then it is gone. Messages come whole, text checked to be UTF-8. A client that is silent is asked whether
 * it is still there; when the server drains, it is told to go (1001). Extensions are not offered. No
 * callback runs from within a function of this header.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/http/http-server.h"
#include "libmam/http/websocket-frame.h"

typedef struct MamWebsocket MamWebsocket;

typedef struct MamWebsocketCallbacks {
        /* data is NUL-terminated (not counted), and gone when the callback returns. A negative return closes
         * with 1011. */
        int (*on_message)(MamWebsocket *w, bool text, const char *data, size_t size, void *userdata);
        /* After _send returned 0: go on. May be NULL. */
        void (*on_writable)(MamWebsocket *w, void *userdata);
        /* code: what the client's Close said, else what it was closed with from here, else
         * MAM_WEBSOCKET_ABNORMAL: it has gone without a word. reason: never NULL. May be NULL. */
        void (*on_close)(MamWebsocket *w, unsigned code, const char *reason, void *userdata);
} MamWebsocketCallbacks;

typedef struct MamWebsocketOptions {
        size_t message_max;           /* 0: 1 MiB; beyond: closed with 1009 */
        uint64_t ping_usec;           /* 0: 30 s of silence until a ping; MAM_USEC_INFINITY: never */
        uint64_t pong_usec;           /* 0: 20 s of further silence until the end */
        uint64_t close_usec;          /* 0: 5 s for the client to answer Close */
        const char *const *protocols; /* NULL-terminated, borrowed: the first of the client's list that is
                                         here is agreed on; NULL: none is */
} MamWebsocketOptions;

/* Agrees to talk WebSocket. 1: *ret is the session (its exchange's userdata and on_done are taken); 0: the
 * client did not ask rightly and was answered (400, 426); -ENOMEM and errors of mam_http_exchange_upgrade().
 * Fields that were added to the exchange are sent along. */
int mam_websocket_accept(
                MamWebsocket **ret,
                MamHttpExchange *x,
                const MamWebsocketOptions *options,
                const MamWebsocketCallbacks *callbacks,
                void *userdata);
MamHttpExchange *mam_websocket_exchange(const MamWebsocket *w);
/* What was agreed on, or NULL. */
const char *mam_websocket_protocol(const MamWebsocket *w);
/* 1: go on; 0: taken, but wait for on_writable; -EPIPE: it is closing or the client has gone; -EINVAL: text
 * that is not UTF-8. */
int mam_websocket_send(MamWebsocket *w, bool text, const void *data, size_t size);
/* Back-pressure: nothing is received until _resume, and no ping answered. Messages that were received
 * already (64 KiB at most) still come. */
void mam_websocket_pause(MamWebsocket *w);
void mam_websocket_resume(MamWebsocket *w);
/* Sends Close and waits for the client's. What comes meanwhile is dropped. Later calls do nothing. */
void mam_websocket_close(MamWebsocket *w, unsigned code, const char *reason);
