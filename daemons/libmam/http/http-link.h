/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What carries a call (internal to libmam/http)
 *
 * A call is one request of the client's owner; the link is its place on a wire: an HTTP/1 channel carries
 * one call at a time, a connection of the native hop or of HTTP/2 one per stream. The link is embedded in
 * what the wire keeps per call. Its operations are called by what the owner calls: they note and buffer, and
 * defer the rest to the connection's run. They never call back.
 */

#include <stdbool.h>
#include <stddef.h>

#include "libmam/http/http-client.h"

typedef struct HttpLink HttpLink;

typedef struct HttpLinkOps {
        /* A piece of the streamed body; size > 0, never more than was announced. 1: go on; 0: taken, but
         * wait for on_writable, or the end is under way; <0: the call is about to end. */
        int (*write)(HttpLink *l, const void *data, size_t size);
        /* The streamed body is complete; call->trailers follow it. */
        int (*end_body)(HttpLink *l);
        /* The owner takes more of the answer. */
        void (*resume)(HttpLink *l);
        /* A byte of the request may have reached the peer. */
        bool (*is_sent)(const HttpLink *l);
        /* The call goes: it has ended, or its owner freed it. The link is not to be used any more. */
        void (*leave)(HttpLink *l);
} HttpLinkOps;

struct HttpLink {
        const HttpLinkOps *ops;
        MamHttpCall *call; /* weak; NULL: none */
};
