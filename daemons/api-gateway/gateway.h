/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The gateway: what its parts share
 *
 *   gateway.c        setup, the request's way in
 *   gateway-configure.c  a new configuration takes the place of the old one
 *   routes.c         which service a request belongs to
 *   route-target.c   what a path means, and what the replica gets in its place
 *   route-policy.c   fields, maintenance and faults of a route
 *   upstream.c       endpoints of a service: who may get a request; sleep, retry budget
 *   endpoint.c       one replica, and what is known of it
 *   split.c          which group of endpoints (pure)
 *   balancer.c       which endpoint (pure)
 *   outlier.c, gradient.c, breaker.c, queue-policy.c
 *                    who is put out, how much fits, when to leave a service alone, who may wait (pure)
 *   protection.c     the figures of these, and their metrics
 *   forward*.c       one request on its way to a replica and back (forward-internal.h)
 *   mirror.c         copies for another service
 *   limits.c, limit-*.c
 *                    rate limits
 *   share.c, limits-share.c
 *                    what gateways tell each other
 *   fields.c         which header fields pass
 *   endpoints-bus.c  the manager's word on endpoints
 *   access-log.c     one line per request
 *   graphql.c        /graphql
 *   grpc-health.c    grpc.health.v1.Health
 *   see.c            traces
 *   lasting.c        how many may last, and for how long in silence
 *   tunnel.c         WebSockets
 *   sse.c            where an event of a stream ends (pure)
 *   load.c           what was sent to each replica, for the manager
 */

#include <systemd/sd-event.h>

#include "api-gateway/deadlines.h"
#include "api-gateway/gateway-redis.h"
#include "api-gateway/protection.h"
#include "api-gateway/routes.h"
#include "api-gateway/share.h"
#include "api-gateway/upstream.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"
#include "libmam/service/service.h"
#include "libmam/util/spares.h"

#define GATEWAY_WAITING_MAX   16384U
#define GATEWAY_WAIT_USEC     (5 * MAM_USEC_PER_SEC)
#define GATEWAY_PROGRESS_USEC (30 * MAM_USEC_PER_SEC)
#define GATEWAY_BODY_MAX      (64ULL * 1024U * 1024U)
#define GATEWAY_BODY_KEPT     (64U * 1024U) /* of a request's body, for another try */

typedef struct Access Access;
typedef struct AccessLog AccessLog;
typedef struct Graphql Graphql;
typedef struct GrpcHealth GrpcHealth;
typedef struct LastingTable LastingTable;
typedef struct Limits Limits;
typedef struct See See;
typedef struct TunnelTable TunnelTable;

TAILQ_HEAD(MirrorQueue, MirrorCall);

struct Gateway {
        sd_event *event;          /* owned reference */
        MamGatewayConfig *config; /* reference; what it is made from */
        RouteTable *routes;       /* reference; those under way may hold older ones */
        Access *access;           /* owned */
        Limits *limits;           /* owned */
        Graphql *graphql;         /* owned */
        GrpcHealth *grpc_health;  /* owned */
        LastingTable *lasting;    /* owned; WebSockets and streams of events */
        TunnelTable *tunnels;     /* owned */
        struct TlsPort *tls;      /* weak; NULL: none */
        bool faults;              /* routes may inject faults here */
        bool retired;             /* there are upstreams that the configuration does not have any more */
        Upstream **upstreams;     /* owned, and each of them */
        size_t n_upstreams;

        uint64_t wait_usec;     /* for a ready replica, at most */
        uint64_t progress_usec; /* a request that makes none for so long is given up */

        MamSpares spares;             /* of forwards */
        struct ForwardQueue forwards; /* weak; least recent progress first */
        unsigned n_waiting;
        unsigned waiting_max;       /* GATEWAY_WAITING_MAX but in tests */
        Deadlines deadlines;        /* of forwards */
        struct MirrorQueue mirrors; /* owned */
        unsigned n_mirrors;
        sd_event_source *tick; /* owned */
        uint64_t tick_usec;    /* when it comes; MAM_USEC_INFINITY: it does not */
        uint64_t lag_usec;     /* what a turn of the loop takes when there is much to do, lately */

        MamRedis *redis; /* owned; for commands of all parts; NULL: there is none. Never waited for */

        AccessLog *access_log;  /* owned */
        See *see;               /* owned */
        unsigned n_compressors; /* at work */
        LoadTable *load;        /* owned */
        Protection protection;
        Share *share; /* owned; NULL: nothing is shared with other gateways */

        MamMetricFamily *metric_requests;  /* route, method, code */
        MamMetricFamily *metric_duration;  /* route */
        MamMetricFamily *metric_in_flight; /* replica */
        MamMetricFamily *metric_retries;   /* service, reason */
        MamMetricFamily *metric_endpoints; /* service */
        MamMetric *metric_waiting;
};

/* With the defaults of a configuration, and no service. */
int gateway_new(Gateway **ret, sd_event *event, MamMetrics *metrics);
Gateway *gateway_free(Gateway *g);
MAM_DEFINE_CLEANUP(Gateway, gateway_free);
/* At the start and at each change: all of it, or with -ENOMEM nothing that a request would see. Routes that
 * are in conflict are left out and named in the log. A service that is gone has no endpoints any more; its
 * Upstream lives until the last request on its way there has ended. */
int gateway_configure(Gateway *g, MamGatewayConfig *c);
/* Frees upstreams of services that are gone, as far as no request is on its way to them. After
 * gateway_configure(), once nobody else knows them; and from time to time. */
void gateway_reap(Gateway *g);
Upstream *gateway_find_upstream(const Gateway *g, const char *service);
/* A new set of endpoints: who waited for one goes on. */
int gateway_set_endpoints(Gateway *g, Upstream *u, const EndpointSpec *specs, size_t n);

/* The server's handler for all paths that are not the service's own. userdata is the Gateway. */
int gateway_on_request(MamHttpExchange *x, void *userdata);
/* The path /load: what load.h says, for the manager; for everybody else it is a path like others, and
 * without a route 404. */
int gateway_on_load(MamHttpExchange *x, Gateway *g, bool is_manager);

/* The next look at deadlines and at those who wait is due in at most delay_usec. */
void gateway_arm(Gateway *g, uint64_t delay_usec);
