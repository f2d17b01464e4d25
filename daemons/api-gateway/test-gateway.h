/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A gateway between real replicas (servers of libmam/http on unix sockets) and clients, all in one event
 * loop. What a replica does is chosen by the path.
 */

#include "api-gateway/gateway.h"
#include "libmam/http/websocket.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define REPLICAS 2
#define BIG      (24U * 1024U * 1024U)

typedef struct Fixture Fixture;

typedef struct Replica {
        Fixture *fixture;
        unsigned number;
        char path[128];
        MamHttpServer *server;
        unsigned n_requests, n_gone;
        bool broken;     /* breaks the connection instead of answering */
        bool unready;    /* answers 503, not begun */
        bool busy;       /* answers 503 with Retry-After */
        unsigned status; /* answers this; 0: normally */
        MamHttpExchange *held;
        MamWebsocket *session; /* of /x/socket, which sends back what comes */
        unsigned socket_code;  /* what the last one was closed with */
        char seen[8192];       /* the fields of the last request */
        size_t big_left;
        uint64_t body_bytes;
} Replica;

struct Fixture {
        char folder[64], path[96];
        sd_event *event;
        MamMetrics *metrics;
        Gateway *gateway;
        Upstream *u;
        MamHttpServer *server;
        MamHttpClient *client;
        Replica replicas[REPLICAS];
};

typedef struct Answer {
        unsigned status;
        int error;
        bool ended;
        char fields[4096];
        MamBuffer body;
        uint64_t bytes;
        bool is_big; /* count and check instead of keeping */
        bool wrong;
} Answer;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                }                                                                     \
        } while (0)

/* A listening socket at this path. */
int listen_on(const char *path);
/* Whether the gateway speaks the native hop with replicas: MAM_TEST_HOP=native in the environment. */
bool hop_is_native(void);
void replica_start(Fixture *f, unsigned i);
void replica_stop(Replica *r);
int on_replica_request(MamHttpExchange *x, void *userdata);

/* Bit i of started and ready: replica i + 1. */
void fixture_setup(Fixture *f, unsigned started, unsigned ready);
void fixture_done(Fixture *f);
void set_endpoints(Fixture *f, unsigned ready);

/* A request with a token that the gateway knows; ask() waits for the end of the answer. */
MamHttpCall *call_new(Fixture *f, Answer *a, const char *method, const char *target);
void ask(Fixture *f, Answer *a, const char *method, const char *target, const char *body);
void answer_done(Answer *a);
extern const MamHttpCallbacks client_callbacks; /* userdata is the Answer */
/* Whether fields, one a line, have this line. */
bool has(const char *fields, const char *line);
/* The value of a metric, given as it begins its line. */
double metric(Fixture *f, const char *line);
