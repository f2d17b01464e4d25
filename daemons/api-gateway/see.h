/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Traces: what the gateway tells a collector of the requests that are sampled
 *
 * A request has one span of kind server, and one of kind client for each replica that it was sent to; that
 * one's id is what the replica sees as its parent, so that what it records hangs below the right try.
 * Whether a trace is recorded is decided where it begins: a client's decision (the sampled flag of
 * traceparent) is followed, a request without one is drawn by its trace id. What is not sampled costs one
 * look at a flag.
 */

#include "libmam/config/gateway.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"
#include "libmam/util/macro.h"

typedef struct See See;
typedef struct SeeRequest SeeRequest;
typedef struct SeeTry SeeTry;

struct SeeRequest {
        MamHttpExchange *x;
        const char *method, *route;    /* as in metrics */
        const char *subject, *replica; /* NULL where there is none */
        unsigned status;               /* 499: the client left before */
        unsigned retries;
        uint64_t duration_usec;
};

struct SeeTry {
        const MamTrace *trace; /* of the try */
        const MamTrace *parent;
        const char *method, *service, *replica;
        unsigned status;        /* of the answer; 0: there was none */
        const char *error;      /* NULL: none */
        uint64_t duration_usec; /* since it was sent */
};

/* replica: "1". */
int see_new(See **ret, sd_event *event, MamMetrics *metrics, const char *replica);
See *see_free(See *s);
MAM_DEFINE_CLEANUP(See, see_free);
int see_configure(See *s, const MamGatewayConfig *c);

/* Decides about a new request. s may be NULL. */
void see_begin(See *s, MamHttpExchange *x);
/* Whether spans of this request are wanted. s may be NULL. */
bool see_wants(const See *s, MamHttpExchange *x);
/* After see_wants() only. */
void see_request(See *s, const SeeRequest *r);
void see_try(See *s, const SeeTry *t);
