/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One connection that many calls of a client share (internal to libmam/http)
 *
 * HttpMux connects, receives, sends once per run, and ends; what is spoken is its protocol's, which embeds
 * it as first member. A client has at most one that takes new calls; others are leaving: they only finish
 * what they have. Only http_mux_run() and the timer call back: it is never entered from within a callback,
 * and the mux is freed at its end, or with its client.
 */

#include <sys/uio.h>

#include "libmam/http/http-channel.h"

typedef struct HttpMuxOps {
        const char *name;
        size_t input_max; /* an incomplete message that is kept between two runs is smaller */
        /* The connection stands: say what comes first, into out. <0: it has failed. */
        int (*opened)(HttpMux *m);
        /* Uses what lies in input, calls back; looks at what was put off. <0: the connection has failed. */
        int (*input)(HttpMux *m);
        /* Fills out, up to a sensible size. Called before each send. <0: the connection has failed. */
        int (*output)(HttpMux *m);
        /* A new call; nothing is sent from within. Errors end the call. */
        int (*begin)(HttpMux *m, MamHttpCall *call);
        /* Nothing more can come. Ends all calls with the error, or tells what it knows better; callbacks may
         * free calls and close the client. */
        void (*broken)(HttpMux *m, int error);
        bool (*is_idle)(const HttpMux *m); /* no calls */
        HttpMux *(*free)(HttpMux *m);      /* the protocol's part, and the memory; calls NULL */
} HttpMuxOps;

struct HttpMux {
        HttpPollItem item;
        const HttpMuxOps *ops;
        MamHttpClient *client; /* weak: it owns us */
        int fd;                /* owned */
        TAILQ_ENTRY(HttpMux) muxes;
        uint64_t deadline_usec; /* connecting: when to give up; idle: when to close */
        HttpInput input;
        MamBuffer out;
        uint64_t sent_bytes; /* in all */
        bool connecting : 1;
        bool opened : 1;
        bool idle : 1;
        bool leaving : 1; /* takes no new calls; closes when idle */
        bool readable : 1;
        bool blocked : 1;
        bool mute : 1; /* sending failed; what came before may still be read */
        bool eof : 1;
        bool rdhup : 1;
        bool running : 1;
        bool failed : 1; /* with error: to be freed */
        int error;
};

/* Connects. m is what the protocol allocated, zeroed but for ops; freed on failure. Errors as of
 * connect(2). */
int http_mux_open(HttpMux *m, MamHttpClient *c);
/* The connection of the client that takes new calls, or NULL. */
HttpMux *http_mux_current(MamHttpClient *c);
/* Closes it; its calls must have ended. NULL. */
HttpMux *http_mux_free(HttpMux *m);
void http_mux_defer(HttpMux *m);
void http_mux_fail(HttpMux *m, int error);
/* Sends the pieces behind what is in out, or keeps them there: large ones are sent from where they lie. At
 * most 4. -ENOMEM: the connection has failed. */
int http_mux_put(HttpMux *m, const struct iovec *iov, size_t n);
/* How many bytes were ever appended to out, up to now: a message that begins here was sent in part once
 * sent_bytes is larger. */
static inline uint64_t http_mux_position(const HttpMux *m) {
        return m->sent_bytes + m->out.size;
}
/* From the timer: connections that took too long, or idled. true: one was ended, look again. */
bool http_mux_expire(MamHttpClient *c, uint64_t now_usec);
uint64_t http_mux_next_deadline(const MamHttpClient *c);
