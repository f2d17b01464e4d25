/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Outgoing bus calls as objects
 *
 * A MamBusCalls is a paced queue: at most in_flight_max calls are on the wire, because dbus-daemon cuts off
 * a peer with more than 128 pending replies; the others wait in order. A MamBusCall is one call. Its handler
 * runs exactly once, with the reply or with an error (also one made here: timeout, "cancelled" when the
 * queue is freed), unless mam_bus_call_free() took the call back before. A call may carry an origin, the
 * message of a client that waits for it. The origin gets exactly one answer: from whoever took it with
 * mam_bus_call_take_origin(), else from the call itself when it ends: the error, or "cancelled".
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "libmam/util/macro.h"

typedef struct MamBusCalls MamBusCalls;
typedef struct MamBusCall MamBusCall;

/* reply is NULL exactly when error is set. The call is freed after the handler; the handler must not free
 * it. */
typedef void (*MamBusCallHandler)(
                MamBusCall *call,
                sd_bus_message *reply,
                const sd_bus_error *error,
                void *userdata);

int mam_bus_calls_new(MamBusCalls **ret, sd_bus *bus, unsigned in_flight_max, unsigned waiting_max);
/* Every handler that has not run yet runs with "cancelled". */
MamBusCalls *mam_bus_calls_free(MamBusCalls *q);
MAM_DEFINE_CLEANUP(MamBusCalls, mam_bus_calls_free);
/* On the wire and waiting. */
unsigned mam_bus_calls_size(const MamBusCalls *q);

/* Sends message, or queues it. The handler never runs from in here. timeout_usec 0: 25 s, counted from
 * sending. ret (may be NULL) is borrowed until the handler has run. -ENOBUFS: waiting_max calls are waiting
 * already. */
int mam_bus_calls_add(
                MamBusCalls *q,
                MamBusCall **ret,
                sd_bus_message *message,
                uint64_t timeout_usec,
                MamBusCallHandler handler,
                void *userdata);
/* Takes the call back: its handler will not run, its origin is told "cancelled". What the peer did already
 * stays done. */
MamBusCall *mam_bus_call_free(MamBusCall *call);
MAM_DEFINE_CLEANUP(MamBusCall, mam_bus_call_free);

/* A call has at most one origin. */
void mam_bus_call_set_origin(MamBusCall *call, sd_bus_message *origin);
/* The caller owns the reference and the answer from here on. NULL if there is none. */
sd_bus_message *mam_bus_call_take_origin(MamBusCall *call);
