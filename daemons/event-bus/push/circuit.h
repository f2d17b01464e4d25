/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The circuit of an endpoint
 *
 * After PUSH_FAILURES_MAX failures in a row it is open: nothing is sent. When its time is over one request
 * is let through; if that succeeds the circuit is closed, else it is open again, for twice as long. An
 * endpoint that says when to come back (Retry-After) is left alone until then. Pure but for the lot in the
 * waits; time is handed in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define PUSH_FAILURES_MAX  5U
#define PUSH_OPEN_MIN_USEC (5 * MAM_USEC_PER_SEC)
#define PUSH_OPEN_MAX_USEC (600 * MAM_USEC_PER_SEC)

typedef struct PushCircuit {
        unsigned failures;   /* in a row */
        unsigned opened;     /* in a row */
        unsigned under_way;  /* requests */
        uint64_t until_usec; /* nothing before; 0: closed */
        uint64_t rest_usec;  /* as told by Retry-After */
} PushCircuit;

/* Requests that may begin now; 0: *ret_usec is when to ask again (MAM_USEC_INFINITY: when one ends). */
unsigned push_circuit_room(const PushCircuit *c, unsigned parallel, uint64_t now, uint64_t *ret_usec);
bool push_circuit_is_open(const PushCircuit *c);
void push_circuit_begin(PushCircuit *c);
void push_circuit_succeeded(PushCircuit *c);
/* retry_after_usec: 0: it told none. */
void push_circuit_failed(PushCircuit *c, uint64_t now, uint64_t retry_after_usec);
/* It was given up on this side, which says nothing about the endpoint. */
void push_circuit_dropped(PushCircuit *c);
