/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the bus tells Prometheus
 */

#include "event-bus/delivery/delivery.h"
#include "libmam/obs/metrics.h"

typedef struct App App;

typedef struct BusMetrics {
        MamMetricFamily *published, *duplicates, *publish_bytes; /* by topic */
        MamMetricFamily *refused;                                /* by reason */
        MamMetricFamily *append_seconds;
        MamMetricFamily *read;                           /* by topic */
        MamMetricFamily *consumed, *settled;             /* by subscription (and how) */
        MamMetricFamily *lag, *age, *outstanding, *dead; /* by subscription */
        MamMetricFamily *outbox_waiting, *outbox_age, *outbox_held, *outbox_relayed, *outbox_rejected;
        MamMetricFamily *push_requests, *push_circuits;
        MamMetricFamily *streams;
} BusMetrics;

int bus_metrics_init(BusMetrics *m, MamMetrics *registry);
void bus_metrics_published(BusMetrics *m, const char *topic, size_t n, size_t duplicates, uint64_t bytes);
void bus_metrics_consumed(BusMetrics *m, const char *subscription, size_t n);
void bus_metrics_settled(
                BusMetrics *m,
                const char *subscription,
                const Settlement *items,
                const int *results,
                size_t n);
/* Brings up to date what is asked for rather than counted; once a second or so. */
void bus_metrics_refresh(App *app);
