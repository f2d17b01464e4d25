/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Forwards
 *
 * A Forward is one request on its way to a replica and its answer on the way back. It hangs on the exchange
 * and ends with it, whatever happens: answered, given up, or the client gone, which cancels the call to the
 * replica.
 *
 * Tries: what never reached a replica goes to the next one, and in the end to the queue, where it waits for
 * a ready replica until wait_usec are over. What may have reached one is repeated once (or as often as the
 * route says), elsewhere, if the method is idempotent (or the client says so with Idempotency-Key), no byte
 * of an answer has come, and the service's retry budget allows it.
 *
 * Deadline: the route's timeout, or what the client says that it will wait (X-Request-Timeout-Ms, or
 * grpc-timeout), whichever is earlier. The replica is told what is left of it: Mam-Timeout-Ms. When it is
 * over the answer is 504, and the call is cancelled.
 */

#include "api-gateway/caller.h"
#include "api-gateway/gateway.h"

/* Takes over the exchange: from here on it is answered by the forward. It holds references to the
 * route and the caller. */
int forward_start(Gateway *g, const Route *route, MamHttpExchange *x, Caller *caller);

/* Who waits for a replica of this service goes on, as far as there is one. */
void forwards_wake(Upstream *u, uint64_t now_usec);
/* The same, soon. */
void forwards_kick(Upstream *u);
/* Gives up what has waited, or has not moved, for too long. When to look again: in so many microseconds;
 * MAM_USEC_INFINITY: there are none. */
uint64_t forwards_tick(Gateway *g, uint64_t now_usec);
