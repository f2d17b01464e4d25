/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The gateway: what its parts share
 *
 *   gateway.c        setup, the request's way in, the queue of those who wait
 *   routes.c         which service a path belongs to
 *   upstream.c       endpoints of a service, ejection, sleep, retry budget
 *   split.c          which group of endpoints (pure)
 *   balancer.c       which endpoint (pure)
 *   forward.c        one request on its way to a replica and back
 *   fields.c         which header fields pass
 *   endpoints-bus.c  the manager's word on endpoints
 *   access-log.c     one line per request
 *   load.c           what was sent to each replica, for the manager
 */

#include <systemd/sd-event.h>

#include "api-gateway/routes.h"
#include "api-gateway/upstream.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"
#include "libmam/service/service.h"

#define GATEWAY_WAITING_MAX   1024U
#define GATEWAY_WAIT_USEC     (5 * MAM_USEC_PER_SEC)
#define GATEWAY_PROGRESS_USEC (30 * MAM_USEC_PER_SEC)
#define GATEWAY_BODY_MAX      (64ULL * 1024U * 1024U)
#define GATEWAY_BODY_KEPT     (64U * 1024U) /* of a request's body, for another try */

typedef struct AccessLog AccessLog;

struct Gateway {
        sd_event *event;      /* owned reference */
        RouteTable *routes;   /* owned */
        Upstream **upstreams; /* owned, and each of them */
        size_t n_upstreams;
        /* Who asks: mam_service_identity() but in tests. */
        const MamIdentity *(*identity)(MamHttpExchange *x);

        uint64_t wait_usec;     /* for a ready replica, at most */
        uint64_t progress_usec; /* a request that makes none for so long is given up */

        struct ForwardQueue forwards; /* weak; least recent progress first */
        unsigned n_waiting;
        sd_event_source *tick; /* owned */
        uint64_t tick_usec;    /* when it comes; MAM_USEC_INFINITY: it does not */

        AccessLog *access_log; /* owned */
        LoadTable *load;       /* owned */

        MamMetricFamily *metric_requests;  /* route, method, code */
        MamMetricFamily *metric_duration;  /* route */
        MamMetricFamily *metric_in_flight; /* replica */
        MamMetricFamily *metric_retries;   /* service, reason */
        MamMetricFamily *metric_endpoints; /* service */
        MamMetric *metric_waiting;
};

/* access_log_rate: entries a second; 0: none. */
int gateway_new(Gateway **ret, sd_event *event, MamMetrics *metrics, unsigned access_log_rate);
Gateway *gateway_free(Gateway *g);
MAM_DEFINE_CLEANUP(Gateway, gateway_free);
/* All prefixes of a service. -EINVAL, -EEXIST, -EDQUOT as route_table_add(); those that fit are added in any
 * case, and *ret_bad (borrowed) is the first that did not. */
int gateway_add_service(Gateway *g, const char *service, const char *const *prefixes, const char **ret_bad);
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
/* Somebody waits for a replica. */
void gateway_wait(Gateway *g);
