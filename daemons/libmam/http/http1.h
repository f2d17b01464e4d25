/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP/1 on a connection of the server (internal to libmam/http)
 *
 * One exchange at a time; pipelined requests wait in the connection's input. Embedded in the connection, as
 * every plain one begins as HTTP/1.
 */

#include "libmam/http/http-carrier.h"
#include "libmam/util/buffer.h"

typedef struct Http1 {
        HttpCarrier carrier;
        size_t head_seen;       /* of an incomplete head: how much was parsed in vain */
        MamHttpFraming framing; /* of the request's body that is still to come; NONE: all was read */
        uint64_t body_left;
        uint64_t body_seen;
        MamHttpChunked chunked;
        MamBuffer trailers;   /* the trailer section, as far as it came */
        bool asked : 1;       /* 100 Continue was sent for this request */
        bool chunked_out : 1; /* the answer is sent in chunks */
        bool close : 1;       /* and is the last one */
        bool upgraded : 1;    /* bytes both ways from here on */
        bool shut : 1;        /* and ours have ended */
        bool held : 1;        /* a pipelined request waits for out to empty */
} Http1;

/* http1-answer.c */
extern const HttpCarrierOps http1_carrier_ops;
/* For what never became an exchange: answers and closes. */
void http1_refuse(HttpConnection *c, unsigned status, const char *reason);

/* http1-body.c */
bool http1_body_is_wanted(const HttpConnection *c);
/* true: something was done, look again. */
bool http1_body_step(HttpConnection *c);
