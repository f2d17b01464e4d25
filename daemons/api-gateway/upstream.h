/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Upstreams and endpoints
 *
 * An Upstream is a service behind the gateway: its endpoints, and the requests that wait for one. An
 * Endpoint is one replica with its pool of connections. A forward holds a reference to the endpoint that
 * works for it: an endpoint that left the set lives until its last answer. Endpoints that refuse are ejected
 * for a moment, but never the last one.
 */

#include <sys/queue.h>

#include "api-gateway/balancer.h"
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

typedef enum EndpointState {
        ENDPOINT_UNREADY,  /* gets nothing */
        ENDPOINT_READY,    /* gets requests */
        ENDPOINT_DRAINING, /* finishes what it has */
        _ENDPOINT_STATE_MAX,
        _ENDPOINT_STATE_INVALID = -EINVAL,
} EndpointState;
EndpointState endpoint_state_from_string(const char *s);

struct EndpointSpec {
        const char *id;      /* borrowed; "project-manager:2" */
        const char *address; /* borrowed; for mam_http_client_new() */
        EndpointState state;
        uint32_t weight;
};

struct Endpoint {
        unsigned n_ref;
        uint64_t serial; /* never used twice */
        char *id;        /* owned */
        char *address;   /* owned */
        EndpointState state;
        uint32_t weight;
        MamHttpClient *client; /* owned */
        BalancerStats stats;
        unsigned pending;
        unsigned failures; /* in a row */
        uint64_t ejected_until_usec;
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
        struct ForwardQueue waiting; /* weak; in order of arrival */
        double retry_tokens;         /* each request earns a fifth of a retry */
};

int upstream_new(Upstream **ret, Gateway *g, const char *service);
Upstream *upstream_free(Upstream *u);
MAM_DEFINE_CLEANUP(Upstream, upstream_free);

/* Replaces the set: what stays keeps connections and statistics. Beyond UPSTREAM_ENDPOINTS_MAX the rest is
 * ignored; an address that cannot be used is left out. -ENOMEM leaves a part of the new set. The caller
 * wakes those who wait. */
int upstream_set_endpoints(Upstream *u, const EndpointSpec *specs, size_t n);
/* The best endpoint for a request that has tried some already: borrowed, or NULL if there is none now. */
Endpoint *upstream_pick(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec);
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
