/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HTTP/2 as a protocol of a connection (internal to libmam/http)
 *
 * Http2Session   nghttp2 between the connection's bytes and our streams: http2-session.c, http2-receive.c
 * Http2Stream    the carrier of one exchange: http2-stream.c, http2-answer.c
 * Http2Guard     what the client may send at all: http2-guard.h
 * Http2Fields    a header block as a head: http2-fields.h
 *
 * A stream lives until both its exchange is over and nghttp2 has closed it. Nothing of a handler's runs
 * within nghttp2 but the reading of a body that is wanted; the rest is noted, and done in a step of the
 * connection.
 *
 * Credit. A stream's credit is given back when its body is read; the connection's as soon as bytes arrive,
 * as otherwise streams that wait for their turn could block those that they wait for; unless more than
 * HTTP2_BUFFERED_MAX lies about, which streams that nobody reads yet cannot reach alone.
 */

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "libmam/http/http-exchange.h"
#include "libmam/http/http2-fields.h"
#include "libmam/http/http2-guard.h"
#include "libmam/http/http2.h"

#define HTTP2_WINDOW            65535U   /* of a stream whose body nobody reads yet; the default of HTTP/2 */
#define HTTP2_WINDOW_READ       262144   /* of one that is read */
#define HTTP2_WINDOW_CONNECTION 1048576  /* of all streams together */
#define HTTP2_BUFFERED_MAX      8388608U /* bodies received and not read; more than all windows above */
#define HTTP2_BUFFERED_ALL_MAX \
        134217728U                     /* of all connections: beyond, streams that wait for a reader end */
#define HTTP2_STREAM_OUT_HIGH 65536U   /* bytes waiting in one stream: its writer is told to wait */
#define HTTP2_STREAM_OUT_LOW  16384U   /* it may go on */
#define HTTP2_OUT_HIGH        1048576U /* bytes waiting in all streams: all writers are told to wait */
#define HTTP2_GATHER_MAX      131072U  /* frames gathered for one send */

typedef struct Http2Session Http2Session;
typedef struct Http2Stream Http2Stream;

TAILQ_HEAD(Http2StreamQueue, Http2Stream);

typedef enum Http2Drain {
        HTTP2_DRAIN_NONE,
        HTTP2_DRAIN_NOTICE, /* GOAWAY without a last stream was said; once it is sent, a PING follows */
        HTTP2_DRAIN_FINAL,  /* the PING came back: the last stream is told */
} Http2Drain;

struct Http2Session {
        HttpConnection *connection; /* weak: it owns us */
        nghttp2_session *nghttp2;   /* owned */
        Http2Guard guard;
        size_t preface_left;
        struct Http2StreamQueue streams;
        struct Http2StreamQueue dirty; /* those that a step has to look at */
        unsigned n_streams;
        Http2Fields *fields; /* owned; of the header block that is being received, or NULL */
        size_t buffered;     /* of bodies, received and not read */
        size_t withheld;     /* of the connection's credit */
        size_t waiting;      /* of answers' bodies, not gathered yet */
        uint64_t now_usec;   /* of the last input or run */
        Http2Drain drain;
        bool ending; /* GOAWAY with an error, or the end of what nghttp2 would read */
        bool worked; /* a request came or an answer went, since the deadline was set */
        bool more;   /* frames are left that found no room */
        bool told_hangup, told_eof;
};

struct Http2Stream {
        HttpCarrier carrier;   /* first */
        Http2Session *session; /* weak: it owns us */
        int32_t id;
        TAILQ_ENTRY(Http2Stream) streams;
        TAILQ_ENTRY(Http2Stream) in_dirty;
        MamBuffer in;           /* of the request's body */
        MamBuffer out;          /* of the answer's */
        MamBuffer trailers_out; /* "Name: value\r\n"… */
        MamBuffer trailers_text;
        MamHttpField *trailers; /* owned; of the request; they point into trailers_text */
        size_t n_trailers;
        int64_t content_length; /* of the request as told; -1: not told */
        uint64_t moved_usec;    /* when the client last did something for it */
        bool is_dirty : 1;
        bool is_new : 1;  /* its handler was not called yet */
        bool expects : 1; /* waits for 100 Continue */
        bool window_raised : 1;
        bool tunnel : 1;       /* an extended CONNECT that was answered */
        bool remote_ended : 1; /* the client's side */
        bool ended : 1;        /* what is in out is the rest */
        bool end_sent : 1;     /* END_STREAM went out */
        bool deferred : 1;     /* nghttp2 waits for more in out */
        bool closed : 1;       /* nghttp2 has closed it */
        bool reset : 1;        /* RST_STREAM was handed to nghttp2 */
};

/* http2-session.c */
/* Ends the connection with GOAWAY; streams end with it. */
void http2_session_end(Http2Session *s, uint32_t error);
void http2_session_goaway_sent(Http2Session *s);
/* The client has seen that we go, or had its time to: says which stream is the last. -ENOMEM. */
int http2_session_tell_last(Http2Session *s);

/* http2-receive.c */
void http2_receive_callbacks(nghttp2_session_callbacks *callbacks);

/* http2-stream.c */
int http2_stream_new(Http2Stream **ret, Http2Session *s, int32_t id);
/* Ends its exchange; nghttp2 forgets it. */
Http2Stream *http2_stream_free(Http2Stream *st);
void http2_stream_mark(Http2Stream *st);
/* What can be done with it now. It may be gone when it returns. */
void http2_stream_run(Http2Stream *st);
/* RST_STREAM; errors that are the client's doing count when they are sent. */
void http2_stream_reset(Http2Stream *st, uint32_t error);
/* Our side is ended, and the client's is not. */
bool http2_stream_is_half_open(const Http2Stream *st);
/* If so, and there is no exchange any more, stops it (RFC 9113, section 8.1); unless it needs no more credit
 * to end by itself: some clients (curl 7.88) take being stopped for a failure. */
void http2_stream_stop(Http2Stream *st);
/* A piece of the request's body. -ENOMEM. */
int http2_stream_receive(Http2Stream *st, const uint8_t *data, size_t size);
/* Waits for the client to send more of the body, or to take more of the answer. */
bool http2_stream_waits_for_client(const Http2Stream *st);
/* It has waited too long. */
void http2_stream_expire(Http2Stream *st);

/* http2-answer.c */
extern const HttpCarrierOps http2_carrier_ops;
void http2_answer_callbacks(nghttp2_session_callbacks *callbacks);
/* Answers what never becomes an exchange. */
int http2_stream_refuse(Http2Stream *st, unsigned status, const char *reason);
