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
 * a ready replica until wait_usec are over. What may have reached one is repeated once, elsewhere, if the
 * method is idempotent (or the client says so with Idempotency-Key), no byte of an answer has come, and the
 * service's retry budget allows it.
 */

#include "api-gateway/gateway.h"

/* Takes over the exchange: from here on it is answered by the forward. identity lives as long as the
 * exchange. */
int forward_start(Gateway *g, const Route *route, MamHttpExchange *x, const MamIdentity *identity);

/* An endpoint may be there now: go on. false: still waiting. */
bool forward_wake(Forward *f, uint64_t now_usec);
/* Waiting for too long: 503. */
void forward_give_up(Forward *f);
/* No progress for too long: 504, or the end of an answer that has begun. */
void forward_expire(Forward *f);
uint64_t forward_waiting_since(const Forward *f);
uint64_t forward_progress_usec(const Forward *f);
Forward *forward_next_waiting(const Forward *f);
