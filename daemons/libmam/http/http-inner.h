/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Requests within a request
 *
 * A MamHttpInner is a request that a handler makes to its own server, on behalf of the client whose request
 * it handles: an exchange like others, with the connection of the outer one (the same peer, listener and
 * certificate) and the server's handler, but carried in memory. What the handler would do for the client's
 * own request it does for this one: nothing is permitted that would not be otherwise.
 *
 * The outer exchange must live longer: free the inner ones at the latest in its on_done.
 */

#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"

typedef struct MamHttpInner MamHttpInner;

typedef struct MamHttpInnerRequest {
        const char *method, *target;
        const char *fields; /* "Name: value\r\n"…, without Content-Length; NULL: none */
        const void *body;   /* NULL: none; kept by the caller until the end */
        size_t body_size;
        size_t answer_max; /* bytes of the answer's body */
} MamHttpInnerRequest;

typedef struct MamHttpInnerAnswer {
        int error;       /* 0; -EMSGSIZE: larger than answer_max; -EPIPE: broken off */
        unsigned status; /* 0 where there was no answer */
        const char *body;
        size_t size;
} MamHttpInnerAnswer;

/* Made, but not begun. -EBADMSG: not a legal request; -ENOMEM. */
int mam_http_inner_new(MamHttpInner **ret, MamHttpExchange *outer, const MamHttpInnerRequest *q);
/* Cancels it: for the handler, the client is gone. */
MamHttpInner *mam_http_inner_free(MamHttpInner *i);
MAM_DEFINE_CLEANUP(MamHttpInner, mam_http_inner_free);
/* Its exchange, until it has ended. */
MamHttpExchange *mam_http_inner_exchange(const MamHttpInner *i);
/* The handler runs later, not from within; so does on_end, exactly once unless it is freed before. What the
 * answer points to lives until _free, which on_end may call. */
int mam_http_inner_start(
                MamHttpInner *i,
                void (*on_end)(MamHttpInner *i, const MamHttpInnerAnswer *a, void *userdata),
                void *userdata);
/* Whether this exchange is one within another. */
bool mam_http_exchange_is_inner(const MamHttpExchange *x);
