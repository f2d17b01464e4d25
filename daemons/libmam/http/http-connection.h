/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Insides of the HTTP server (internal to libmam/http)
 *
 * MamHttpServer   listening sockets, limits, the timer over all deadlines            http-server.c
 * HttpConnection  bytes in, bytes out, one exchange at a time                        http-connection.c
 * MamHttpExchange what handlers see: http-exchange.c, http-answer.c, http-problem.c
 *
 * Only http_connection_run() moves a connection on: it calls the handler and the callbacks, ends exchanges
 * and frees the connection. It is never entered from within a callback: the functions that handlers call
 * note what is to be done and defer a run. So nothing vanishes under a caller's feet.
 */

#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "libmam/http/http-input.h"
#include "libmam/http/http-poll.h"
#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"

#define HTTP_OUT_HIGH   262144U /* beyond, writers are told to wait */
#define HTTP_OUT_LOW    65536U  /* at or below, they may go on */
#define HTTP_OUT_DIRECT 16384U  /* from here on, sent from where it lies instead of copied */
#define HTTP_ROUNDS_MAX 8U      /* receives and refills per run, so that one stream does not starve others */

typedef struct HttpConnection HttpConnection;
typedef struct HttpListener HttpListener;

/* Each kind has one duration for all connections of a server, so a list in order of entry is in order of
 * expiry. */
typedef enum HttpDeadline {
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
        unsigned tag;
        bool exclusive;
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
        unsigned n_connections;
        unsigned n_exchanges;
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
        MamHttpExchange *exchange; /* owned; the one in progress, or NULL */

        HttpInput input;
        size_t head_seen; /* of an incomplete head: how much was parsed in vain */
        MamBuffer out;

        MamHttpFraming framing; /* of the request body that is still to come; NONE: all was read */
        uint64_t body_left;
        uint64_t body_seen;
        MamHttpChunked chunked;

        bool readable : 1; /* since the last edge we have not seen the socket empty */
        bool blocked : 1;  /* the socket takes no more; EPOLLOUT is registered */
        bool eof : 1;      /* the client will send no more */
        bool rdhup : 1;    /* the end is in sight: read until it is met */
        bool hup : 1;      /* and reads no more */
        bool running : 1;
        bool fresh : 1;     /* no request yet */
        bool closing : 1;   /* close once out is empty */
        bool linger : 1;    /* and then wait for the client to close first, dropping what it still sends */
        bool lingering : 1; /* doing so */
        bool failed : 1;    /* gone: free it */
        bool held : 1;      /* a pipelined request waits for out to empty */
        bool asked : 1;     /* 100 Continue was sent for this request */
        /* In this run: */
        bool moved_in : 1;
        bool moved_out : 1;
        bool got_request : 1;
        bool has_peer_uid : 1;
        uid_t peer_uid;
        char peer[80];
};

typedef enum HttpBodyMode {
        HTTP_BODY_UNASKED,
        HTTP_BODY_COLLECT,
        HTTP_BODY_STREAM,
        HTTP_BODY_ENDED, /* the callback was told, or nobody wants it */
} HttpBodyMode;

struct MamHttpExchange {
        HttpConnection *connection; /* weak: it owns us */
        void *userdata;
        void *frame; /* of libmam/service, which frames every handler */
        MamHttpDone on_done, on_frame_done, on_writable, on_hangup;
        void *on_done_userdata, *on_writable_userdata, *on_hangup_userdata;

        HttpBodyMode body_mode;
        bool body_paused;
        uint64_t body_max;
        MamBuffer body;
        MamHttpCollected on_collected;
        MamHttpBodyCallback on_body;
        void *body_userdata;

        MamBuffer fields; /* "Name: value\r\n"… of the answer */
        unsigned status;
        bool started, ended, aborted, want_writable;
        bool head_request, chunked, no_body, close;
        bool has_trace, has_request_id;
        int64_t content_length; /* announced; -1: none */
        uint64_t bytes_sent;
        uint64_t started_usec;
        MamTrace trace;
        char request_id[129];
        const char *method, *path; /* in bytes */
        MamHttpHead head;          /* its ranges point into bytes */
        char bytes[];
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
/* What a function that handlers call left to be done. */
void http_connection_defer(HttpConnection *c);
/* Sends or keeps all of it: 0. -EPIPE: the connection has failed. */
int http_connection_put(HttpConnection *c, const struct iovec *iov, size_t n);

/* http-body.c */
bool http_body_is_wanted(const HttpConnection *c);
/* true: something was done, look again. */
bool http_body_step(HttpConnection *c);
/* Tells whoever reads the body that it will not come, and answers if nobody did. */
void http_body_fail(HttpConnection *c, int error, unsigned status, const char *reason);

/* http-exchange.c */
/* data: the head's bytes, copied. */
int http_exchange_new(
                MamHttpExchange **ret,
                HttpConnection *c,
                const MamHttpHead *head,
                const char *data,
                size_t size);
/* Runs on_done. */
MamHttpExchange *http_exchange_free(MamHttpExchange *x);

/* http-answer.c */
/* The handler or a callback of it failed: an answer, or the connection's end if one has begun. */
void http_exchange_fail(MamHttpExchange *x, unsigned status, const char *reason);
/* For what never became an exchange: answers and closes. */
void http_connection_refuse(HttpConnection *c, unsigned status, const char *reason);

/* http-problem.c */
int http_problem_format(MamBuffer *ret, unsigned status, const char *pointer, const char *detail);
