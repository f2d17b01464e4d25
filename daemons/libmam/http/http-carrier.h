/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What carries an exchange (internal to libmam/http)
 *
 * An exchange is one request and the one answer owed to it, whatever the wire: an HTTP/1 connection carries
 * one at a time, an HTTP/2 connection and the native hop one per stream. A carrier is embedded in what the
 * wire keeps per exchange and calls the http_exchange_*() functions below; the exchange calls the carrier's
 * operations. Operations are called from within handlers and callbacks: they note and buffer, and defer the
 * rest to the connection's run. They never call back.
 */

#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"

typedef struct HttpCarrier HttpCarrier;
typedef struct HttpCarrierOps HttpCarrierOps;
typedef struct HttpConnection HttpConnection;

/* The head of an answer, ready to be written. */
typedef struct HttpAnswer {
        unsigned status;
        int64_t content_length;   /* to be told; -1: none is */
        bool no_body;             /* to HEAD, 204, 304: the head is all there is */
        bool unknown_length;      /* a body follows whose length is not known: chunked, DATA frames */
        bool body_failed;         /* the rest of the request cannot be read: HTTP/1 has to close behind it */
        const char *content_type; /* or NULL */
        const char *request_id;
        const MamBuffer *fields; /* "Name: value\r\n"… or NULL; names as the handler wrote them */
} HttpAnswer;

struct HttpCarrierOps {
        unsigned version; /* as mam_http_exchange_version() tells it; 0: HTTP/1, whose head tells */
        /* Writes the head. A body of exactly content_length bytes, or of unknown length, or none follows.
         * 0, -EPIPE, -ENOMEM. */
        int (*start)(HttpCarrier *c, const HttpAnswer *a);
        /* A piece of the body; size > 0; never with no_body. 1: taken, go on; 0: taken, but wait for
         * http_exchange_writable(); -EPIPE. */
        int (*write)(HttpCarrier *c, const void *data, size_t size);
        /* The answer is complete. trailers: "Name: value\r\n"… or NULL. 0, -EPIPE. */
        int (*end)(HttpCarrier *c, const MamBuffer *trailers);
        /* The exchange is aborted (x->aborted is set already): the client must see a truncated message. */
        void (*abort)(HttpCarrier *c);
        /* Somebody wants the body now: asked for it, or resumed it; or something else is to be looked at. */
        void (*want_body)(HttpCarrier *c);
        /* Answers an upgrade: 101 and the Upgrade field on HTTP/1, 200 on an extended CONNECT. From here on
         * body and answer are a stream of bytes each way: write() and end() carry bytes, and the exchange is
         * over when both sides have ended. 0, -EPIPE, -ENOMEM; NULL: never asked for. */
        int (*upgrade)(HttpCarrier *c, const HttpAnswer *a, const char *protocol);
};

struct HttpCarrier {
        const HttpCarrierOps *ops;
        HttpConnection *connection; /* weak; whose peer, listener tag, TLS and server the exchange has */
        MamHttpExchange *exchange;  /* owned; NULL before and after */
};

/* ---- what a carrier calls; all in http-exchange.c or http-body.c ---- */

/* data, size: bytes that all ranges of the head point into (a path may be a literal); copied. The byte
 * behind method, target, protocol and each value must be within data and of no meaning (a separator): it
 * becomes the NUL of a string. Sets c->exchange, counts it as in flight, and does not call the handler.
 * -ENOMEM. */
int http_exchange_new(
                MamHttpExchange **ret,
                HttpCarrier *c,
                const MamHttpHead *head,
                const char *data,
                size_t size);
/* Calls the server's handler, and answers for it if it fails. The exchange may be over when it returns. */
void http_exchange_handle(MamHttpExchange *x);
/* Runs on_done; no longer in flight; clears the carrier's pointer first. One that is not over is aborted and
 * its reader told -EPIPE. NULL. */
MamHttpExchange *http_exchange_free(MamHttpExchange *x);

/* Answered completely (an upgraded one: and the client's side ended), or aborted: the carrier is to end and
 * free it (never from within an operation). */
bool http_exchange_is_over(const MamHttpExchange *x);
/* Somebody reads the body, and has not paused. Until then a carrier delivers nothing and gives no credit. */
bool http_exchange_wants_body(const MamHttpExchange *x);
/* A piece of the request's body. Beyond body_max it fails the body with 413 by itself. */
void http_exchange_deliver(MamHttpExchange *x, const char *data, size_t size);
/* The body is complete; only while http_exchange_wants_body(). trailers: legal fields
 * (mam_http_trailer_is_legal()), or NULL; copied. */
void http_exchange_deliver_end(MamHttpExchange *x, const MamHttpField *trailers, size_t n_trailers);
/* The body's end was told, or nobody will read it any more. */
bool http_exchange_body_has_ended(const MamHttpExchange *x);
/* The rest of the body will never come: tells whoever reads it, and answers (status, reason) if nothing was
 * answered yet. -EPIPE: the client has gone: aborted. */
void http_exchange_body_fail(MamHttpExchange *x, int error, unsigned status, const char *reason);
/* The client takes more again: lets the writer go on if it was told to wait. true: it was, look again. */
bool http_exchange_writable(MamHttpExchange *x);
/* It was told to wait, and still waits. */
bool http_exchange_waits_to_write(const MamHttpExchange *x);
/* The client will send nothing more: runs on_hangup once, if there is one. true: it ran. */
bool http_exchange_hangup(MamHttpExchange *x);
