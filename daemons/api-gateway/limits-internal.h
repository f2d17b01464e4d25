/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of the rate limits: limits.c decides, limit-key.c says who shares a bucket
 */

#include "api-gateway/key-hash.h"
#include "api-gateway/limits.h"

/* Of one rule, between two reports. Who is beyond is told of with its next request. */
#define LIMIT_DIRTY_MAX 256U

struct LimitRule {
        unsigned n_ref;
        char *name;  /* owned */
        char *claim; /* owned; or NULL */
        unsigned by; /* MamRateBy */
        bool everywhere;
        LimitRate rate;
        char policy[64];                 /* "\"name\";q=100;w=60", as in RateLimit-Policy */
        LimitTable *table;               /* owned */
        MamMetric *metric;               /* borrowed; what was refused */
        uint64_t dirty[LIMIT_DIRTY_MAX]; /* keys of whom the other gateways are to be told */
        unsigned n_dirty;
        KeyHashKey key; /* of all rules */
};

struct Limits {
        LimitRule *rules[MAM_GATEWAY_RATES_MAX]; /* references */
        size_t n_rules;
        size_t n_everywhere;
        KeyHashKey key;
        bool shared;         /* as configured */
        unsigned n_gateways; /* that serve requests now; 1: we are alone, or do not know of others */
        void (*on_dirty)(void *userdata); /* there is something to tell; or NULL */
        void *userdata;
        MamMetricFamily *metric_refused; /* limit */
};

/* What a key may take until the other gateways know: its part of what the bucket has now and earns
 * meanwhile, at least one. UINT32_MAX: all, as there are no others. */
uint32_t limit_share(const LimitRate *rate, uint32_t remaining, unsigned n_gateways);
/* What of an address tells its user from others: all of IPv4; the /64 of IPv6, as who has one could come
 * from another address with every request. The number of bytes; 0: not an address. */
size_t limit_address(const char *address, unsigned char ret[static 8]);
/* Takes one request of a rule that is by "all", as limits_admit() does. */
bool limits_take(Limits *l, LimitRule *rule);
/* Who shares a bucket of this rule with whoever sends this request. */
uint64_t limit_key(const LimitRule *rule, const char *route, const Caller *caller, MamHttpExchange *x);
