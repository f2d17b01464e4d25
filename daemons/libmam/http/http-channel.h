/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of the HTTP client (internal to libmam/http)
 *
 * MamHttpClient  one address, its idle channels, the timer over all deadlines   http-client.c
 * MamHttpCall    one request, the owner's handle: http-call.c
 * HttpChannel    one connection; serves one call at a time                      http-channel.c
 *
 * As in the server, only http_channel_run() and the timer move things on and call back; what the owner calls
 * notes what is to be done and defers it. So on_end never runs from within mam_http_call_start() or another
 * function of the owner's.
 */

#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-client.h"
#include "libmam/http/http-input.h"
#include "libmam/http/http-poll.h"
#include "libmam/util/buffer.h"

#define HTTP_CHANNEL_OUT_HIGH    262144U
#define HTTP_CHANNEL_OUT_LOW     65536U
#define HTTP_CHANNEL_ROUNDS_MAX  8U
#define HTTP_CHANNEL_INTERIM_MAX 8U /* 1xx answers before the one that counts */

typedef struct HttpChannel HttpChannel;

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
        TAILQ_HEAD(, MamHttpCall) calls; /* started, not ended */
        sd_event_source *timer;          /* owned */
        uint64_t timer_usec;             /* MAM_USEC_INFINITY: off */
};

struct HttpChannel {
        HttpPollItem item;
        MamHttpClient *client; /* weak: it owns us */
        MamHttpCall *call;     /* weak; NULL: idle, or cancelled */
        int fd;                /* owned */
        TAILQ_ENTRY(HttpChannel) channels;
        uint64_t deadline_usec; /* connecting: when to give up; idle: when to close */
        HttpInput input;
        MamBuffer out; /* the streamed body */
        int error;     /* with failed: what to tell the call */
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
        bool failed : 1; /* free it */
};

struct MamHttpCall {
        HttpPollItem item;     /* deferred: an end without a channel */
        MamHttpClient *client; /* weak; NULL once ended */
        HttpChannel *channel;  /* weak; NULL: none (yet, any more) */
        MamHttpCallbacks callbacks;
        void *userdata;
        TAILQ_ENTRY(MamHttpCall) calls;
        MamBuffer head;
        MamBuffer body;
        size_t written;         /* of head and body together */
        int64_t content_length; /* streaming: -1 chunked */
        uint64_t body_written;  /* streaming: taken from the owner */
        uint64_t timeout_usec;
        uint64_t deadline_usec;
        int error; /* to end with */
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
uint64_t http_client_now(MamHttpClient *c);
void http_client_arm(MamHttpClient *c, uint64_t usec);

/* http-channel.c */
/* Gives the call an idle channel (fresh: never) or a new one. Errors as of connect(2); -EAGAIN also beyond
 * connections_max. */
int http_channel_attach(MamHttpCall *call, bool fresh);
HttpChannel *http_channel_free(HttpChannel *ch);
void http_channel_run(HttpChannel *ch, uint32_t events);
void http_channel_defer(HttpChannel *ch);

/* http-call.c */
/* Ends the call: on_end runs, which may free call, channel's client and all. */
void http_call_end(MamHttpCall *call, int error);
