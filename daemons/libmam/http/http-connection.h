/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of the HTTP server (internal to libmam/http)
 *
 * MamHttpServer   listening sockets, limits, the timer over all deadlines           http-server.c
 * HttpConnection  bytes in, bytes out, through TLS or not                           http-connection.c
 * HttpProtocol    what these bytes mean: HTTP/1 (http1*.c), others beside it        http-protocols.c
 * HttpCarrier     a protocol's half of one exchange                                 http-carrier.h
 * MamHttpExchange what handlers see: http-exchange.c, http-answer.c, http-body.c, http-problem.c
 *
 * Only http_connection_run() moves a connection on: it calls the protocol, which calls the handler and the
 * callbacks, ends exchanges; and it frees the connection. It is never entered from within a callback: the
 * functions that handlers call note what is to be done and defer a run. So nothing vanishes under a caller's
 * feet. A run is: steps of the protocol until there is nothing left to do; out is sent; writers that wait
 * are let go on; more is received if the protocol wants it; and again, HTTP_ROUNDS_MAX times at most.
 */

#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "libmam/http/http-input.h"
#include "libmam/http/http-poll.h"
#include "libmam/http/http-server.h"
#include "libmam/http/http1.h"
#include "libmam/util/buffer.h"
#include "libmam/util/spares.h"

#define HTTP_OUT_HIGH   262144U /* beyond, writers are told to wait */
#define HTTP_OUT_LOW    65536U  /* at or below, they may go on */
#define HTTP_OUT_DIRECT 16384U  /* from here on, sent from where it lies instead of copied */
#define HTTP_SPARE_SIZE 6144U   /* what an exchange with a head of usual size fits into */
#define HTTP_ROUNDS_MAX 8U      /* receives and refills per run, so that one stream does not starve others */

typedef struct HttpListener HttpListener;
typedef struct HttpProtocol HttpProtocol;
typedef struct HttpTls HttpTls;
typedef struct MamHttpTls MamHttpTls;

/* Each kind has one duration for all connections of a server, so a list in order of entry is in order of
 * expiry. */
typedef enum HttpDeadline {
        HTTP_DEADLINE_HANDSHAKE, /* of TLS, from being accepted on */
        HTTP_DEADLINE_HEAD,
        HTTP_DEADLINE_BODY,
        HTTP_DEADLINE_IDLE,
        HTTP_DEADLINE_WRITE,
        HTTP_DEADLINE_LINGER, /* after our last byte: until the client has read it and closes */
        HTTP_DEADLINE_GRACE,  /* while draining: for the first request of a connection from the backlog */
        _HTTP_DEADLINE_MAX,
        HTTP_DEADLINE_NONE = _HTTP_DEADLINE_MAX,
} HttpDeadline;

struct HttpListener {
        MamHttpServer *server;   /* weak: it owns us */
        int fd;                  /* owned */
        sd_event_source *source; /* owned */
        int family;
        MamHttpListenOptions options;
        MamHttpTls *tls; /* owned reference, or NULL */
        LIST_ENTRY(HttpListener) listeners;
};

TAILQ_HEAD(HttpConnectionQueue, HttpConnection);

struct MamHttpServer {
        sd_event *event; /* owned reference */
        HttpPoll *poll;  /* owned reference */
        MamHttpServerOptions options;
        MamHttpHandler handler;
        void *userdata;
        LIST_HEAD(, HttpListener) listeners;
        LIST_HEAD(, HttpConnection) connections;
        LIST_HEAD(, MamHttpExchange) drain_watchers; /* who has an on_drain: http-drain.c */
        unsigned n_connections;
        unsigned n_exchanges;
        MamSpares spares; /* of HTTP_SPARE_SIZE: memory for the next exchanges */
        struct HttpConnectionQueue deadlines[_HTTP_DEADLINE_MAX];
        uint64_t durations[_HTTP_DEADLINE_MAX];
        sd_event_source *timer;      /* owned */
        uint64_t timer_usec;         /* when it fires; MAM_USEC_INFINITY: off */
        uint64_t accept_resume_usec; /* out of descriptors: accept again then; MAM_USEC_INFINITY: not so */
        HttpPollItem item;           /* deferred: what follows from a connection's end */
        bool accepting;
        bool draining;
        bool drained;
        void (*on_drained)(MamHttpServer *s, void *userdata);
        void *on_drained_userdata;
        time_t date_second;
        char date[40];
};

struct HttpProtocol {
        const char *name; /* as ALPN has it */
        /* Of what one step may leave in the input to wait for more; 0: the server's head_max. */
        size_t input_max;
        /* The connection begins to speak it; what came already is in c->input, with the preface. Sets
         * c->state. <0: the connection fails. May be NULL. */
        int (*start)(HttpConnection *c);
        /* Its end, after c->failed: exchanges in progress are freed, and c->state. */
        void (*stop)(HttpConnection *c);
        /* One thing that can be done with what is there, be it input, an exchange that is over, or something
         * that an operation noted: true. false: nothing is left to do; all that is to be sent by then is in
         * out. */
        bool (*step)(HttpConnection *c);
        /* After out was sent as far as it goes: lets writers that wait go on, or does what waited for room.
         * true: something was done. */
        bool (*refill)(HttpConnection *c);
        /* More is to be received. */
        bool (*wants_bytes)(const HttpConnection *c);
        /* Exchanges are in progress: a client that has closed its half may still read answers. */
        bool (*is_busy)(const HttpConnection *c);
        /* Between requests, and nothing half-read: closed at once when the server drains (unless it is
         * fresh). A protocol that says goodbye first looks at c->server->draining in its step and closes by
         * itself. */
        bool (*is_idle)(const HttpConnection *c);
        /* What it waits for now, while out is empty. renew: begin anew although the kind is the same. */
        HttpDeadline (*deadline)(const HttpConnection *c, bool *renew);
        /* That came not in time (HEAD, BODY, IDLE; GRACE where is_idle() is false). The connection runs
         * afterwards; set c->failed to end it. */
        void (*expire)(HttpConnection *c, HttpDeadline kind);
};

struct HttpConnection {
        HttpPollItem item;
        MamHttpServer *server; /* weak: it owns us */
        int fd;                /* owned */
        int family;
        unsigned tag;
        LIST_ENTRY(HttpConnection) connections;
        TAILQ_ENTRY(HttpConnection) in_deadline;
        HttpDeadline deadline;
        uint64_t deadline_usec;

        MamHttpTls *tls_of; /* owned reference; NULL: plain */
        HttpTls *tls;       /* owned; from the first byte on */

        HttpInput input; /* valid within a run: view, size */
        MamBuffer out;   /* to be sent; a protocol may also write into it (mam_buffer_reserve) */
        size_t out_kept; /* an empty buffer of that size stays; 0: none does */

        const HttpProtocol *protocol;
        void *state; /* the protocol's */
        Http1 http1;

        bool tls_stands : 1;
        bool readable : 1; /* since the last edge we have not seen the socket empty */
        bool blocked : 1;  /* the socket takes no more; EPOLLOUT is registered */
        bool eof : 1;      /* the client will send no more */
        bool rdhup : 1;    /* the end is in sight: read until it is met */
        bool hup : 1;      /* and reads no more */
        bool running : 1;
        bool fresh : 1;   /* no request yet; set by the server, cleared by the protocol */
        bool may_h2c : 1; /* what a fresh one may turn out to speak, besides HTTP/1 */
        bool may_native : 1;
        bool closing : 1;   /* close once out is empty */
        bool linger : 1;    /* and then wait for the client to close first, dropping what it still sends */
        bool lingering : 1; /* doing so */
        bool reset : 1;     /* close with a reset, so that nobody takes what was sent for complete */
        bool failed : 1;    /* gone: free it */
        /* In this run: */
        bool moved_in : 1;
        bool moved_out : 1;
        bool got_request : 1;
        bool has_peer_uid : 1;
        uid_t peer_uid;
        uint32_t hint; /* the handlers' */
        char peer[80];
        char address[INET6_ADDRSTRLEN]; /* of it, "" where there is none; as peer, once it was asked for */
};

/* http-server.c */
void http_server_deadline(HttpConnection *c, HttpDeadline kind, bool renew);
void http_server_connection_gone(MamHttpServer *s);
const char *http_server_date(MamHttpServer *s);
/* Until then, or with MAM_USEC_INFINITY until a connection ends. */
void http_server_pause_accepting(MamHttpServer *s, uint64_t resume_usec);

/* http-listener.c */
HttpListener *http_listener_free(HttpListener *l);
int http_listener_enable(HttpListener *l, bool on);
/* Accepts the whole backlog, beyond connections_max too. */
void http_listener_drain(HttpListener *l);

/* http-connection.c */
/* Takes over fd on success. */
int http_connection_new(HttpListener *l, int fd);
HttpConnection *http_connection_free(HttpConnection *c);
void http_connection_run(HttpConnection *c, uint32_t events);
void http_connection_expire(HttpConnection *c, HttpDeadline kind);
/* What a function that handlers call left to be done: run (again) soon. */
void http_connection_defer(HttpConnection *c);
/* Sends or keeps all of it: 0. -EPIPE: the connection has failed. At most 4 pieces. */
int http_connection_put(HttpConnection *c, const struct iovec *iov, size_t n);
/* Bytes that the socket has not taken yet. */
size_t http_connection_unsent(const HttpConnection *c);
/* What was given to the socket was not taken whole: waits until it takes more. */
void http_connection_block(HttpConnection *c);
/* Nothing more will be sent: tells the client. */
void http_connection_shut(HttpConnection *c);
/* From within a step: another protocol goes on with what is in the input. */
void http_connection_switch(HttpConnection *c, const HttpProtocol *protocol);

/* http-drain.c */
void http_drain_tell(MamHttpServer *s);

/* http-protocols.c */
extern const HttpProtocol http1_protocol; /* http1.c */
/* What a fresh connection's first bytes say: 1: *ret, or HTTP/1 if it stays NULL; 0: more bytes are needed.
 */
int http_protocol_detect(const HttpProtocol **ret, const HttpConnection *c);
/* What a connection over TLS may speak, best first, as ALPN writes it; and what was agreed. Its size. */
#define HTTP_ALPN_SIZE 64U
unsigned http_protocol_alpn(unsigned char ret[static HTTP_ALPN_SIZE], const HttpConnection *c);
const HttpProtocol *http_protocol_by_alpn(const char *name, size_t size);
