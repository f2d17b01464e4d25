/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Load: what the gateways saw of each replica, and what the cgroups say
 *
 * Each gateway replica counts, per replica of the services behind it, what it sent there. The manager asks
 * all of them (GET /load on their replica sockets, open to the manager's user only) every LOAD_IDLE_USEC, or
 * every LOAD_BUSY_USEC while a rollout or chaos runs or an autoscaler looks at requests. Counters start anew
 * with a gateway; LoadTotals are summed over gateways and only grow.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/time.h"

typedef struct Load Load;
typedef struct LoadRecent LoadRecent;
typedef struct Manager Manager;
typedef struct Replica Replica;
typedef struct Service Service;

#define LOAD_IDLE_USEC (5 * MAM_USEC_PER_SEC)
#define LOAD_BUSY_USEC (1 * MAM_USEC_PER_SEC)
/* Bounds of the latency buckets: LOAD_FIRST_BOUND_USEC × √2^i; the last bucket has no bound. */
#define LOAD_BUCKETS          40U
#define LOAD_FIRST_BOUND_USEC 100.0

typedef struct LoadTotals {
        uint64_t requests;              /* ended, with or without an answer */
        uint64_t errors;                /* of those: 5xx of the replica, no answer, broken answer */
        uint64_t buckets[LOAD_BUCKETS]; /* time to the first byte of an answer; not cumulative */
} LoadTotals;

uint64_t load_bound_usec(unsigned bucket); /* UINT64_MAX for the last one */
void load_add(LoadTotals *sum, const LoadTotals *add);
/* after − before, 0 where it would be negative. */
LoadTotals load_since(const LoadTotals *after, const LoadTotals *before);
/* q from 0 to 1, by linear interpolation in the bucket. -1: nothing was answered. */
double load_quantile_usec(const LoadTotals *t, double q);

int load_new(Load **ret, Manager *m);
Load *load_free(Load *l);
/* Asks every LOAD_BUSY_USEC while at least one wants it; calls are counted. */
void load_want_often(Load *l);
void load_want_less(Load *l);
/* What GET /load of a gateway answered, as if it were the only gateway of this round. -EBADMSG: not what a
 * gateway says; what is wrong of it is not counted. */
int load_take_answer(
                Load *l,
                const char *gateway,
                uint32_t number,
                const char *text,
                size_t size,
                uint64_t now_usec);
/* When the gateways were last asked and all answered (monotonic); 0: never. */
uint64_t load_asked_usec(const Load *l);

/* What came in the last minute: *ret_span_usec is how much of it was watched. false: nothing is known yet.
 */
bool load_last_minute(const Replica *r, uint64_t now_usec, LoadTotals *ret, uint64_t *ret_span_usec);
/* The same over all replicas of a service, also such as are gone since. */
bool load_service_last_minute(const Service *s, uint64_t now_usec, LoadTotals *ret, uint64_t *ret_span_usec);
/* Requests that are with a replica or wait in a gateway for one. UINT32_MAX: not known. */
uint32_t load_service_in_flight(const Service *s);
/* load.c: *recent is made if it is NULL; without memory nothing is noted. */
void load_recent_add(LoadRecent **recent, const LoadTotals *add, uint64_t now_usec);
LoadRecent *load_recent_free(LoadRecent *recent);
