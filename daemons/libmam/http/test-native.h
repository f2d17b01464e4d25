/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * For tests of the native hop: client and server of this library in one event loop. What the server does is
 * chosen by the path.
 */

#include "libmam/http/http-client.h"
#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define BIG_SIZE 2097152U

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        MamHttpClient *client, *upstream;
        int listener; /* of a peer played by the test, or -EBADF */
        char folder[32], path[64];
        unsigned n_requests, n_done, n_body_errors, n_drained;
        unsigned last_version;
        MamHttpExchange *later; /* that was not answered yet */
        uint64_t body_max;      /* what /echo takes */
        size_t n_trailers;      /* of the last request that was echoed */
} Fixture;

typedef struct Answer {
        unsigned status, n_heads, n_ends, n_writable, n_trailers;
        int error, cancel_with;
        bool pause, was_sent, has_length;
        MamHttpFraming framing;
        uint64_t length;
        MamBuffer body;
        MamHttpClient **free_client; /* from on_end */
        char trailer[64], field[64];
} Answer;

/* Not that the loop must have something to do meanwhile: what was sent over TCP may be on its way to us. */
#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

typedef enum Peer {
        PEER_NATIVE,
        PEER_HTTP1,   /* a server that does not allow it */
        PEER_BY_HAND, /* played by the test */
} Peer;

extern char big[BIG_SIZE];
extern const MamHttpCallbacks callbacks; /* userdata is an Answer */

/* All that can happen now. */
void settle(Fixture *f);
void setup_with(Fixture *f, Peer peer, const MamHttpClientOptions *options);
void setup(Fixture *f, Peer peer);
void teardown(Fixture *f);
MamHttpCall *begin(Fixture *f, Answer *a, const char *method, const char *target);
/* A GET; get() waits for its end, get_body() expects this answer. */
MamHttpCall *start(Fixture *f, Answer *a, const char *target);
void get(Fixture *f, Answer *a, const char *target);
void get_body(Fixture *f, const char *target, const char *body);
/* Answers with the body; userdata is the Fixture. */
int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata);
