/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a route asks for on the way: fields for the answer, maintenance, faults, fields for the replica
 */

#include "api-gateway/caller.h"
#include "api-gateway/gateway.h"
#include "libmam/http/http-client.h"

/* Deprecation (RFC 9745), Sunset (RFC 8594), Link to the successor, Vary, and what the configuration adds to
 * answers: on each answer of the route, also on errors. */
int route_add_answer_fields(const Route *route, MamHttpExchange *x);
/* A stage of the chain: 1: go on; 0: answered with 503, Retry-After, and a page for people or problem+json;
 * <0: an error. */
int route_check_maintenance(Gateway *g, const Route *route, MamHttpExchange *x);
/* A stage of the chain: 1: go on; 0: answered, or go_on is called in a while; <0: an error. caller: a
 * reference is held until then. */
int route_inject_fault(
                Gateway *g,
                const Route *route,
                MamHttpExchange *x,
                Caller *caller,
                int (*go_on)(Gateway *g, const Route *route, MamHttpExchange *x, Caller *caller));

/* Whether a field of the client's goes to the replica, and one of the replica's to the client, as far as
 * the route is concerned. */
bool route_passes_request_field(const Route *route, const MamHttpField *f);
bool route_passes_answer_field(const Route *route, const MamHttpField *f);
/* What the configuration adds towards the replica. */
int route_add_request_fields(const Route *route, MamHttpCall *call);
