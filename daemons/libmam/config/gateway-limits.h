/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the gateway protects itself and the services by: "gateway.limits" of microservices.json
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/macro.h"

#define MAM_GATEWAY_RATES_MAX       32U
#define MAM_GATEWAY_RATE_NAME_MAX   32U
#define MAM_GATEWAY_ROUTE_RATES_MAX 4U

/* Which replica of a service gets the next request: "balancing" of services.json. */
typedef enum MamServiceBalancing {
        MAM_SERVICE_BALANCING_LATENCY, /* default: who answers soonest, by latency and what it has to do */
        MAM_SERVICE_BALANCING_LEAST,   /* who has least to do */
        MAM_SERVICE_BALANCING_TURNS,   /* one after the other */
        _MAM_SERVICE_BALANCING_MAX,
        _MAM_SERVICE_BALANCING_INVALID = -EINVAL,
} MamServiceBalancing;
extern const char *const mam_service_balancings[_MAM_SERVICE_BALANCING_MAX + 1]; /* words, and NULL */

/* Who shares a bucket. Several: who agrees in all of them. */
typedef enum MamRateBy {
        MAM_RATE_BY_ALL = 0,          /* one bucket for everybody */
        MAM_RATE_BY_ADDRESS = 1 << 0, /* "ip": of IPv6 the /64 */
        MAM_RATE_BY_USER = 1 << 1,    /* "user": the verified subject; who has none, by address */
        MAM_RATE_BY_KEY = 1 << 2,     /* "key": the API key; who has none, as by user */
        MAM_RATE_BY_CLAIM = 1 << 3,   /* "claim:NAME": of the token; where there is none, as by user */
        MAM_RATE_BY_ROUTE = 1 << 4,   /* "route" */
} MamRateBy;

typedef struct MamRateConfig {
        char *name;           /* owned; [a-z][a-z0-9-]* */
        uint32_t requests;    /* so many … */
        uint64_t window_usec; /* … in so long */
        uint32_t burst;       /* so many at once; default: requests */
        unsigned by;          /* MamRateBy */
        char *claim;          /* owned; or NULL */
        bool everywhere;      /* for each request, not only on routes that name it */
} MamRateConfig;

typedef struct MamGatewayLimits {
        MamRateConfig *rates; /* "rates": owned, n_rates of them */
        size_t n_rates;
        bool shared; /* gateways tell each other through redis what they admitted; default true */

        bool adaptive;            /* "concurrency.adaptive": the limit per replica is found; default true */
        uint32_t concurrency_min; /* "concurrency.min": requests at once; default 20 */
        uint32_t concurrency_max; /* "concurrency.max"; default 1000; the limit itself if not adaptive */

        uint32_t queue_max;       /* "queue.max": requests of one service that wait; default 16384 */
        uint64_t queue_wait_usec; /* "queue.wait": the longest; default 5 s */

        uint32_t breaker_percent; /* "breaker.failures": of the tries of 10 s, for which a service gets none
                                     for a while; default 50; 0: never */
        uint64_t breaker_open_usec; /* "breaker.open": the first while; default 2 s */

        uint32_t retry_percent; /* "retryBudget": of requests; default 20 */
        bool client_deadlines;  /* "clientDeadlines": a client may say how long it waits; default true */
        uint64_t slow_bytes; /* "slowClients": bytes a second below which, after 30 s, a client that sends or
                                takes a body is given up; default 64; 0: never */
} MamGatewayLimits;

bool mam_rate_name_is_valid(const char *name);
/* All defaults, for tests and for who has no configuration. */
void mam_gateway_limits_init(MamGatewayLimits *c);
void mam_gateway_limits_done(MamGatewayLimits *c);
