/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Rate limits: how many requests who may send
 *
 * A LimitRule is one named limit of the configuration with the table of those who use it. Routes keep
 * references to the rules that they name; rules for everywhere hold for each request besides. A request is
 * admitted if each of its rules admits it; a refusal takes nothing from any. Decisions are made here and at
 * once: what other gateways admitted comes in from time to time (limits-share.h), never on a request's way.
 *
 * Every answer says how things stand (draft-ietf-httpapi-ratelimit-headers-10): RateLimit-Policy has each
 * rule with its quota, RateLimit what is left and the seconds until it is whole again. A refusal is 429 with
 * Retry-After and the problem type "quota-exceeded", which names the rules.
 */

#include "api-gateway/access.h"
#include "api-gateway/limit-table.h"
#include "libmam/config/gateway-limits.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"
#include "libmam/util/macro.h"

typedef struct LimitRule LimitRule;
typedef struct Limits Limits;

int limits_new(Limits **ret, MamMetrics *metrics);
Limits *limits_free(Limits *l);
MAM_DEFINE_CLEANUP(Limits, limits_free);

/* At the start and at each change. Rules that keep name and by whom keep what they have counted. References
 * to rules that are gone go on working. -ENOMEM: nothing has changed. */
int limits_configure(Limits *l, const MamGatewayLimits *c);

/* The rule of this name: a reference, or NULL. For who builds a route table, after limits_configure(). */
LimitRule *limits_find(Limits *l, const char *name);
LimitRule *limit_rule_ref(LimitRule *rule);
LimitRule *limit_rule_unref(LimitRule *rule);
MAM_DEFINE_CLEANUP(LimitRule, limit_rule_unref);

/* A stage of the gateway's chain. rules: those that the route names (at most MAM_GATEWAY_ROUTE_RATES_MAX;
 * the rest is ignored). route: what tells it from others, as a text that stays the same when the table is
 * built anew. caller: NULL is nobody. 1: go on (fields have been added to the answer); 0: answered with 429;
 * <0: an error. */
int limits_admit(
                Limits *l,
                LimitRule *const *rules,
                size_t n_rules,
                const char *route,
                const Caller *caller,
                MamHttpExchange *x);
