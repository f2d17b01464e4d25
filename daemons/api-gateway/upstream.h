/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Upstreams and endpoints
 *
 * An Upstream is a service behind the gateway: its endpoints, and the requests that wait for one. An
 * Endpoint is one replica with its pool of connections. A forward holds a reference to the endpoint that
 * works for it: an endpoint that left the set lives until its last answer. Who refuses connections is left
 * out for a moment, who answers badly for longer (outlier.h), but never the last one, nor the last one of
 * its group, nor where the others do no better: then it is not the replica.
 *
 * Limit: a replica gets no more requests at once than it can work on (gradient.h). What counts is from the
 * last byte of the request until the head of its answer: neither slow clients nor long answers take its
 * room. With all of those in good standing at their limit, requests wait.
 *
 * Groups: where the manager gives a split, the group is chosen first, by its share, and then the best
 * endpoint in it: a canary that is slow or answers 5xx keeps its share, or else it could not be judged. Only
 * when all of a group is ejected do others serve its share. Another try may go to any group of the split.
 *
 * Asleep: an endpoint whose program systemd starts at the first connection. It is used when none is ready,
 * by ENDPOINT_WAKING_MAX requests at once until it has answered for the first time; the others wait.
 */

#include <sys/queue.h>

#include "api-gateway/balancer.h"
#include "api-gateway/breaker.h"
#include "api-gateway/gradient.h"
#include "api-gateway/load.h"
#include "api-gateway/outlier.h"
#include "api-gateway/queue-policy.h"
#include "api-gateway/split.h"
#include "libmam/config/gateway.h"
#include "libmam/http/http-client.h"
#include "libmam/obs/metrics.h"
#include "libmam/util/macro.h"

typedef struct Endpoint Endpoint;
typedef struct EndpointSpec EndpointSpec;
typedef struct Forward Forward;
typedef struct Gateway Gateway;
typedef struct Upstream Upstream;
typedef struct UpstreamWish UpstreamWish;

#define UPSTREAM_ENDPOINTS_MAX 100U /* MAM_CONFIG_REPLICAS_MAX */
#define UPSTREAM_TRIED_MAX     8U
#define ENDPOINT_WAKING_MAX    8U

typedef enum EndpointState {
        ENDPOINT_UNREADY,  /* gets nothing */
        ENDPOINT_READY,    /* gets requests */
        ENDPOINT_DRAINING, /* finishes what it has */
        ENDPOINT_ASLEEP,   /* is started by the first connection */
        _ENDPOINT_STATE_MAX,
        _ENDPOINT_STATE_INVALID = -EINVAL,
} EndpointState;
EndpointState endpoint_state_from_string(const char *s);
const char *endpoint_state_to_string(EndpointState s);

struct EndpointSpec {
        const char *id;      /* borrowed; "project-manager:2" */
        const char *address; /* borrowed; for mam_http_client_new() */
        EndpointState state;
        uint32_t weight;
        const char *group; /* borrowed; the revision that it runs; NULL: none */
};

struct Endpoint {
        unsigned n_ref;
        uint64_t serial;    /* never used twice */
        Upstream *upstream; /* weak; NULL: it left the set, and lives for its forwards only */
        char *id;           /* owned */
        char *address;      /* owned */
        EndpointState state;
        MamServiceProtocol protocol; /* of the client */
        uint32_t weight;
        char *group;           /* owned; "" if none */
        int split_group;       /* index in the upstream's split, or <0 */
        MamHttpClient *client; /* owned */
        LoadEntry *load;       /* reference */
        BalancerStats stats;
        Outlier outlier;
        Gradient gradient;
        unsigned pending;   /* requests in progress */
        unsigned working;   /* of those: sent completely, and no answer has begun */
        unsigned elsewhere; /* in progress for the other gateways, as far as they have told */
        unsigned failures;  /* in a row: refused, or broken */
        uint64_t ejected_until_usec;
        uint64_t ready_usec; /* when it came to be ready beside others; 0: it was there from the first */
        bool awake;          /* asleep, as the manager says, but it has answered */
        MamMetric *metric;   /* borrowed; in progress */
};

TAILQ_HEAD(ForwardQueue, Forward);

struct Upstream {
        Gateway *gateway;                            /* weak: it owns us */
        char *service;                               /* owned */
        Endpoint *endpoints[UPSTREAM_ENDPOINTS_MAX]; /* references */
        size_t n_endpoints;
        bool known; /* somebody has told the endpoints at least once */
        unsigned turn;
        Split split;
        MamServiceProtocol protocol;
        BalancerKind balancing;
        Breaker breaker;
        bool breaker_shown;          /* as open */
        struct ForwardQueue waiting; /* weak; in order of arrival */
        unsigned n_waiting;
        QueuePolicy queue;
        sd_event_source *kick; /* owned; NULL until somebody has waited for room */
        double usual_usec;     /* mean time to the first byte of an answer */
        size_t n_routes;       /* of tables in use, also older ones; 0: nobody needs it any more */
        uint64_t unserved;     /* answered with an error, without having reached a replica */
        double retry_tokens;   /* each request earns a part of one */
};

/* What a request wants of the endpoint that it gets. */
struct UpstreamWish {
        const uint64_t *tried; /* serials, borrowed: not these */
        size_t n_tried;
        BalancerChoice how;
        bool sticky; /* how.affinity says the group of a split too: who has been in one stays in it */
};

int upstream_new(Upstream **ret, Gateway *g, const char *service);
Upstream *upstream_free(Upstream *u);
MAM_DEFINE_CLEANUP(Upstream, upstream_free);

/* Replaces the set: what stays keeps connections and statistics. Beyond UPSTREAM_ENDPOINTS_MAX the rest is
 * ignored; an address that cannot be used is left out. -ENOMEM leaves a part of the new set. The caller
 * wakes those who wait. */
int upstream_set_endpoints(Upstream *u, const EndpointSpec *specs, size_t n);
/* Shares of the groups; n 0: there is no split. */
void upstream_set_split(Upstream *u, const SplitShare *shares, size_t n);
/* What is spoken with its replicas. They get new connections if it is something else than before. */
void upstream_set_protocol(Upstream *u, MamServiceProtocol protocol);
/* How it is chosen among them, where the request says nothing else. */
void upstream_set_balancing(Upstream *u, MamServiceBalancing balancing);
/* The figures of the gateway's protection have changed. */
void upstream_configure(Upstream *u);
/* The best endpoint for a request: borrowed, or NULL if there is none now; then *ret_full says whether that
 * is for want of room only. The first try counts as its group's share. */
Endpoint *upstream_pick(Upstream *u, const UpstreamWish *wish, uint64_t now_usec, bool *ret_full);
/* Whether upstream_pick() would find one. */
bool upstream_has_endpoint(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec);
/* Who waits should look again soon, as nobody will say when the endpoint is up. */
bool upstream_is_waking(const Upstream *u);
unsigned upstream_ready(const Upstream *u);

/* One more, one less request in progress. _begin takes a reference, _end drops it. */
void endpoint_begin(Endpoint *e);
Endpoint *endpoint_end(Endpoint *e);
/* Between the last byte of a request and the first of its answer. */
void endpoint_work(Endpoint *e);
void endpoint_rest(Endpoint *e);
/* The head of an answer came, rtt_usec after the request was complete. */
void endpoint_succeeded(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec);
/* An answer of 500, or the like: it does its work, and badly. */
void endpoint_erred(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec);
/* It answered that it is overloaded or broken, or did not answer. cost_usec: what it says itself that it
 * needs (Retry-After); 0: as a failure costs. */
void endpoint_struggled(Endpoint *e, uint64_t cost_usec, uint64_t now_usec);
/* It refused, or broke the connection. */
void endpoint_failed(Endpoint *e, uint64_t now_usec);
/* It gets nothing for a while, if there are others. */
bool endpoint_is_out(const Endpoint *e, uint64_t now_usec);

void upstream_earn_retry(Upstream *u);
bool upstream_spend_retry(Upstream *u);
