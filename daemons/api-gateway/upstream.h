/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Upstreams and endpoints
 *
 * An Upstream is a service behind the gateway: its endpoints, and the requests that wait for one. An
 * Endpoint is one replica with its pool of connections. A forward holds a reference to the endpoint that
 * works for it: an endpoint that left the set lives until its last answer. Endpoints that refuse are ejected
 * for a moment, but never the last one.
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
#include "api-gateway/load.h"
#include "api-gateway/split.h"
#include "libmam/http/http-client.h"
#include "libmam/obs/metrics.h"
#include "libmam/util/macro.h"

typedef struct Endpoint Endpoint;
typedef struct EndpointSpec EndpointSpec;
typedef struct Forward Forward;
typedef struct Gateway Gateway;
typedef struct Upstream Upstream;

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

struct EndpointSpec {
        const char *id;      /* borrowed; "project-manager:2" */
        const char *address; /* borrowed; for mam_http_client_new() */
        EndpointState state;
        uint32_t weight;
        const char *group; /* borrowed; the revision that it runs; NULL: none */
};

struct Endpoint {
        unsigned n_ref;
        uint64_t serial; /* never used twice */
        char *id;        /* owned */
        char *address;   /* owned */
        EndpointState state;
        uint32_t weight;
        char *group;           /* owned; "" if none */
        int split_group;       /* index in the upstream's split, or <0 */
        MamHttpClient *client; /* owned */
        LoadEntry *load;       /* reference */
        BalancerStats stats;
        unsigned pending;
        unsigned failures; /* in a row */
        uint64_t ejected_until_usec;
        bool awake;                 /* asleep, as the manager says, but it has answered */
        bool removed;               /* left the set: lives for its forwards only */
        MamMetricFamily *in_flight; /* borrowed */
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
        struct ForwardQueue waiting; /* weak; in order of arrival */
        unsigned n_waiting;
        uint64_t unserved;   /* answered with an error, without having reached a replica */
        double retry_tokens; /* each request earns a fifth of a retry */
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
/* The best endpoint for a request that has tried some already: borrowed, or NULL if there is none now. The
 * first try counts as its group's share. */
Endpoint *upstream_pick(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec);
/* Whether upstream_pick() would find one. */
bool upstream_has_endpoint(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec);
/* Who waits should look again soon, as nobody will say when the endpoint is up. */
bool upstream_is_waking(const Upstream *u);
unsigned upstream_ready(const Upstream *u);

/* One more, one less request in progress. _begin takes a reference, _end drops it. */
void endpoint_begin(Endpoint *e);
Endpoint *endpoint_end(Endpoint *e);
/* The head of an answer came. */
void endpoint_succeeded(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec);
/* It answered that it is overloaded or broken. */
void endpoint_struggled(Endpoint *e, uint64_t now_usec);
/* It refused, or broke the connection. */
void endpoint_failed(Endpoint *e, uint64_t now_usec);

void upstream_earn_retry(Upstream *u);
bool upstream_spend_retry(Upstream *u);
