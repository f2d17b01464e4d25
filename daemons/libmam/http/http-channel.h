/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of the HTTP client (internal to libmam/http)
 *
 * MamHttpClient  one address, its connections, the timer over all deadlines     http-client.c
 * MamHttpCall    one request, the owner's handle, in a form of no protocol      http-call.c
 * HttpLink       what carries a call, whatever the wire                         http-link.h
 * HttpChannel    one connection of HTTP/1; serves one call at a time            http-channel.c
 * HttpMux        one connection that many calls share                           http-mux.h
 *
 * As in the server, only the run of a connection and the timer move things on and call back; what the owner
 * calls notes what is to be done and defers it. So on_end never runs from within mam_http_call_start() or
 * another function of the owner's.
 */

#include <netinet/in.h>
#include <stddef.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-client.h"
#include "libmam/http/http-input.h"
#include "libmam/http/http-link.h"
#include "libmam/http/http-poll.h"
#include "libmam/util/buffer.h"

#define HTTP_CHANNEL_OUT_HIGH    262144U
#define HTTP_CHANNEL_OUT_LOW     65536U
#define HTTP_CHANNEL_ROUNDS_MAX  8U
#define HTTP_CHANNEL_INTERIM_MAX 8U /* 1xx answers before the one that counts */
#define HTTP_CALL_NATIVE_SIZE    336U

typedef struct HttpChannel HttpChannel;
typedef struct HttpMux HttpMux;

TAILQ_HEAD(HttpChannelQueue, HttpChannel);

struct MamHttpClient {
        unsigned n_ref;  /* the owner's, and one while a callback may run */
        bool closed;     /* the owner freed it */
        sd_event *event; /* owned reference */
        HttpPoll *poll;  /* owned reference */
        union {
                struct sockaddr any;
                struct sockaddr_un un;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } address;
        socklen_t address_size;
        char *host; /* owned; for the Host field */
        MamHttpClientOptions options;
        struct HttpChannelQueue idle; /* most recently used first */
        struct HttpChannelQueue busy;
        unsigned n_idle, n_channels;
        TAILQ_HEAD(, HttpMux) muxes;     /* the first takes new calls, unless it is leaving */
        uint64_t http1_until_usec;       /* the peer does not know the protocol: not asked again before */
        TAILQ_HEAD(, MamHttpCall) calls; /* started, not ended */
        sd_event_source *timer;          /* owned */
        uint64_t timer_usec;             /* MAM_USEC_INFINITY: off */
};

struct HttpChannel {
        HttpPollItem item;
        HttpLink link;         /* its call NULL: idle, or cancelled */
        MamHttpClient *client; /* weak: it owns us */
        int fd;                /* owned */
        TAILQ_ENTRY(HttpChannel) channels;
        uint64_t deadline_usec; /* connecting: when to give up; idle: when to close */
        HttpInput input;
        MamBuffer out;      /* the streamed body */
        MamBuffer trailers; /* of the answer: lines, until they are complete */
        int error;          /* with failed: what to tell the call */
        size_t head_seen;
        unsigned n_interim;
        MamHttpFraming framing; /* of what is still to come of the answer's body */
        uint64_t body_left;
        MamHttpChunked chunked;
        bool idle : 1;
        bool connecting : 1;
        bool reused : 1; /* served a call before */
        bool readable : 1;
        bool blocked : 1;
        bool rdhup : 1;
        bool eof : 1;
        bool answered : 1;  /* a byte of the answer came */
        bool head_done : 1; /* its head is complete */
        bool keep : 1;      /* the server will */
        bool mute : 1;      /* sending failed; an answer may still come */
        bool running : 1;
        bool upgraded : 1; /* plain bytes both ways: http-upgrade.c */
        bool shut : 1;     /* and ours have ended */
        bool failed : 1;   /* free it */
};

struct MamHttpCall {
        HttpPollItem item;     /* deferred: an end without a channel */
        HttpPoll *poll;        /* owned reference; our memory is its */
        MamHttpClient *client; /* weak; NULL once ended */
        HttpLink *link;        /* weak; NULL: none (yet, any more) */
        MamHttpCallbacks callbacks;
        void *userdata;
        TAILQ_ENTRY(MamHttpCall) calls;
        /* The request as native-frames.h has it: room for the fixed part, method, NUL, target, NUL, fields.
         * That is all a frame of the native hop is made of; others write their own form from it. */
        MamBuffer head;
        size_t method_size, target_size;
        unsigned n_fields;
        MamBuffer body;
        MamBuffer trailers; /* fields in the same form */
        unsigned n_trailers;
        char *upgrade;          /* owned; the protocol asked for, or NULL */
        MamBuffer text;         /* the head as HTTP/1 writes it; made when it is needed */
        size_t written;         /* HTTP/1: of text and body together */
        int64_t content_length; /* streaming: -1 unknown */
        uint64_t body_written;  /* streaming: taken from the owner */
        uint64_t timeout_usec;
        uint64_t deadline_usec;
        int error; /* to end with */
        /* What the native hop keeps for a call, so that it needs no memory of its own: native-client.c. */
        _Alignas(max_align_t) char native[HTTP_CALL_NATIVE_SIZE];
        bool idempotent : 1;
        bool head_request : 1;
        bool wants_length : 1; /* Content-Length: 0 is told where a body could be expected */
        bool has_host : 1;
        bool streaming : 1;
        bool started : 1;
        bool listed : 1;
        bool body_ended : 1;
        bool sent : 1;
        bool paused : 1;
        bool want_writable : 1;
};

/* http-client.c */
MamHttpClient *http_client_ref(MamHttpClient *c);
MamHttpClient *http_client_unref(MamHttpClient *c);
uint64_t http_client_now(const MamHttpClient *c);
void http_client_arm(MamHttpClient *c, uint64_t usec);

/* Gives the call what carries it, by the protocol of the client. Errors as of connect(2); -EAGAIN also
 * beyond connections_max. */
int http_client_attach(MamHttpCall *call);

/* http-channel.c: HTTP/1 */
/* Gives the call an idle channel (fresh: never) or a new one. Errors as of connect(2); -EAGAIN also beyond
 * connections_max. */
int http_channel_attach(MamHttpCall *call, bool fresh);
HttpChannel *http_channel_free(HttpChannel *ch);
void http_channel_run(HttpChannel *ch, uint32_t events);
void http_channel_defer(HttpChannel *ch);

/* http-upgrade.c */
/* The peer agrees to what the call asked for. -EBADMSG: to something else. */
int http_channel_upgrade(HttpChannel *ch, const MamHttpHead *head);
/* Ends our side of an upgraded connection, if the call has ended it and all is sent. */
void http_channel_shut(HttpChannel *ch);

/* native-client.c */
int native_client_attach(MamHttpCall *call);

/* http-call.c */
/* Ends the call: on_end runs, which may free call, link, client and all. */
void http_call_end(MamHttpCall *call, int error);
/* The call leaves its link for another wire: HTTP/1. out: what was written of a streamed body so far. An
 * error ends the call. */
void http_call_move(MamHttpCall *call, const MamBuffer *out);
/* The method, within head; the target lies behind its NUL. Both end in NUL. */
const char *http_call_method(const MamHttpCall *call);
const char *http_call_target(const MamHttpCall *call);
/* The first of n_fields fields: see native_field_next(). */
const char *http_call_fields(const MamHttpCall *call);
/* The length of the body that will be told, 0 if there is none; -1: not known. */
int64_t http_call_length(const MamHttpCall *call);
