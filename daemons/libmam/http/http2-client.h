/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP/2 towards a peer that is known to speak it (internal to libmam/http)
 *
 * All calls of a client share one connection, as streams of nghttp2. Nothing is negotiated: a peer that
 * speaks something else fails its calls with -EBADMSG.
 *
 * Callbacks of the owner run from within nghttp2's, which allows to submit, but they may free the call: so
 * it is looked up again behind each of them.
 */

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "libmam/http/http-mux.h"
#include "libmam/http/http2-fields.h"

#define HTTP2_CALL_OUT_HIGH  65536U
#define HTTP2_CALL_OUT_LOW   16384U
#define HTTP2_MUX_GATHER_MAX 131072U /* frames gathered for one send */

typedef struct Http2Mux Http2Mux;
typedef struct Http2Call Http2Call;

struct Http2Mux {
        HttpMux mux;
        nghttp2_session *session; /* owned */
        Http2Fields *fields;      /* owned; of the block that is being received, or NULL */
        TAILQ_HEAD(, Http2Call) calls;
        TAILQ_HEAD(, Http2Call) waiting; /* to be looked at outside of nghttp2 */
        unsigned n_calls;
};

struct Http2Call {
        HttpLink link;
        Http2Mux *mux; /* weak */
        int32_t id;
        uint64_t position; /* where the head begins in what the connection sends */
        TAILQ_ENTRY(Http2Call) calls;
        TAILQ_ENTRY(Http2Call) waiting;
        MamBuffer in;  /* came while the call was paused */
        MamBuffer out; /* of the request's body */
        MamBuffer trailers_text;
        MamHttpField *trailers; /* owned; came while the call was paused */
        size_t n_trailers;
        unsigned n_interim;
        bool is_waiting : 1;
        bool placed : 1; /* the head is in what the connection sends, at position */
        bool ended : 1;  /* what is in out is the rest */
        bool end_sent : 1;
        bool deferred : 1; /* nghttp2 waits for more in out */
        bool got_head : 1;
        bool complete : 1;    /* all of the answer has come */
        bool closed : 1;      /* nghttp2 has closed the stream */
        bool not_sent : 1;    /* the head was not */
        bool malformed : 1;   /* what came was */
        bool unprocessed : 1; /* the peer has said that it did nothing */
};

/* http2-client.c */
int http2_client_attach(MamHttpCall *call);
/* Whose stream nghttp2 has; NULL: none any more. */
Http2Call *http2_call_of(const Http2Mux *m, int32_t id);
/* Also one whose stream nghttp2 has closed: found among all. */
Http2Call *http2_call_find(const Http2Mux *m, int32_t id);
/* To be looked at outside of nghttp2. */
void http2_call_wait(Http2Call *n);
/* Its owner is told; n is gone. */
void http2_call_end(Http2Call *n, int error);

/* http2-client-request.c */
void http2_request_callbacks(nghttp2_session_callbacks *callbacks);
/* Hands the request of n->link.call to nghttp2. -ENOMEM; -EAGAIN: the connection has no numbers left. */
int http2_request_submit(Http2Call *n);

/* http2-client-answer.c */
void http2_reply_callbacks(nghttp2_session_callbacks *callbacks);
/* Tells what is to be told: the writer may go on, what came while the call was paused, its end. */
void http2_reply_tell(Http2Call *n);
