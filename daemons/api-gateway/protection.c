/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/protection.h"

#include <assert.h>
#include <sys/random.h>

#include "api-gateway/gateway.h"
#include "libmam/util/time.h"

#define SLOW_GRACE_USEC (30 * MAM_USEC_PER_SEC)

static void set(Protection *p, const MamGatewayLimits *c) {
        p->concurrency_max = c->concurrency_max > 0 ? c->concurrency_max : 1;
        p->concurrency_min = c->adaptive ? c->concurrency_min : p->concurrency_max;
        if (p->concurrency_min == 0 || p->concurrency_min > p->concurrency_max)
                p->concurrency_min = p->concurrency_max;
        p->queue_max = c->queue_max;
        p->breaker_percent = c->breaker_percent;
        p->breaker_open_usec = c->breaker_open_usec;
        p->retry_share = c->retry_percent / 100.0;
        p->client_deadlines = c->client_deadlines;
        p->slow_bytes = c->slow_bytes;
        p->slow_grace_usec = SLOW_GRACE_USEC;
}

int protection_init(Protection *p, MamMetrics *metrics) {
        MamGatewayLimits defaults;
        int r;

        assert(p);
        assert(metrics);

        mam_gateway_limits_init(&defaults);
        set(p, &defaults);

        r =
                        mam_metrics_add(metrics,
                                        &p->metric_ejections,
                                        MAM_METRIC_COUNTER,
                                        "mam_gateway_ejections_total",
                                        "Times that a replica was put out of turn, as it answered badly.",
                                        (const char *[]){ "replica", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(metrics,
                                        &p->metric_limit,
                                        MAM_METRIC_GAUGE,
                                        "mam_gateway_upstream_limit",
                                        "Requests that a replica is taken to be able to work on at once.",
                                        (const char *[]){ "replica", NULL });
        if (r < 0)
                return r;
        r = mam_metrics_add(
                        metrics,
                        &p->metric_shed,
                        MAM_METRIC_COUNTER,
                        "mam_gateway_shed_total",
                        "Requests refused to protect a service; reason: full (no room to wait), late (waited too "
                        "long), open (circuit breaker), deadline (nobody would read the answer), slow (client).",
                        (const char *[]){ "service", "reason", NULL });
        if (r < 0)
                return r;
        return mam_metrics_add(
                        metrics,
                        &p->metric_breaker,
                        MAM_METRIC_GAUGE,
                        "mam_gateway_breaker_open",
                        "1 while the circuit breaker of a service is open.",
                        (const char *[]){ "service", NULL });
}

void protection_configure(Gateway *g, const MamGatewayLimits *c) {
        assert(g);
        assert(c);

        set(&g->protection, c);
        if (c->queue_wait_usec > 0)
                g->wait_usec = c->queue_wait_usec;
        for (size_t i = 0; i < g->n_upstreams; i++)
                upstream_configure(g->upstreams[i]);
}

void protection_count_shed(Gateway *g, const char *service, const char *reason) {
        mam_metric_add(mam_metric_get(g->protection.metric_shed, (const char *[]){ service, reason }), 1);
}

double protection_lot(void) {
        uint32_t lot = 0;

        if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != (ssize_t) sizeof(lot))
                return 0.5;
        return lot / (double) UINT32_MAX;
}
