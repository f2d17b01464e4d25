/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Protection: the figures by which services are protected from too much, and what was done by them
 *
 * One per gateway. The units that decide (outlier.h, gradient.h, breaker.h, queue-policy.h) are pure; here
 * is what the configuration says about them, and their metrics.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/config/gateway-limits.h"
#include "libmam/obs/metrics.h"

typedef struct Gateway Gateway;
typedef struct Protection Protection;

struct Protection {
        unsigned concurrency_min, concurrency_max; /* equal: not adaptive */
        unsigned queue_max;
        unsigned breaker_percent;
        uint64_t breaker_open_usec;
        double retry_share; /* of a retry that each request earns */
        bool client_deadlines;
        uint64_t slow_bytes;      /* a second … */
        uint64_t slow_grace_usec; /* … of a client that had so long; but in tests 30 s */

        MamMetricFamily *metric_ejections; /* replica */
        MamMetricFamily *metric_limit;     /* replica */
        MamMetricFamily *metric_shed;      /* service, reason */
        MamMetricFamily *metric_breaker;   /* service */
};

/* All defaults. -ENOMEM. */
int protection_init(Protection *p, MamMetrics *metrics);
/* At the start and at each change: upstreams and endpoints follow, and keep what they know. */
void protection_configure(Gateway *g, const MamGatewayLimits *c);

/* A request of this service was refused; reason: "full", "late", "open", "deadline", "slow". */
void protection_count_shed(Gateway *g, const char *service, const char *reason);
/* 0 to 1, by lot. */
double protection_lot(void);
