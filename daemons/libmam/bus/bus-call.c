/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Outgoing bus calls as objects
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include <utlist.h>

#include "libmam/bus/bus-call.h"
#include "libmam/bus/bus-errors.h"
#include "libmam/util/time.h"

#define TIMEOUT_DEFAULT_USEC (25 * MAM_USEC_PER_SEC)

struct MamBusCall {
        MamBusCalls *queue;      /* weak: the queue owns us */
        sd_bus_message *message; /* owned; what is to be sent */
        sd_bus_message *origin;  /* owned; the client we still owe an answer, or NULL */
        sd_bus_slot *slot;       /* owned; set while on the wire; unref cancels */
        uint64_t timeout_usec;
        MamBusCallHandler handler;
        void *userdata;
        MamBusCall *prev, *next; /* in queue->waiting or queue->in_flight */
};

struct MamBusCalls {
        sd_bus *bus;           /* owned */
        MamBusCall *in_flight; /* owned */
        MamBusCall *waiting;   /* owned; first come, first sent */
        unsigned n_in_flight, n_waiting;
        unsigned in_flight_max, waiting_max;
        bool pumping;
};

int mam_bus_calls_new(MamBusCalls **ret, sd_bus *bus, unsigned in_flight_max, unsigned waiting_max) {
        MamBusCalls *q;

        assert(ret);
        assert(bus);
        assert(in_flight_max > 0);

        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;

        q->bus = sd_bus_ref(bus);
        q->in_flight_max = in_flight_max;
        q->waiting_max = waiting_max;
        *ret = q;
        return 0;
}

unsigned mam_bus_calls_size(const MamBusCalls *q) {
        return q ? q->n_in_flight + q->n_waiting : 0;
}

static void call_unlink(MamBusCall *call) {
        MamBusCalls *q = call->queue;

        if (!q)
                return;

        if (call->slot) {
                DL_DELETE(q->in_flight, call);
                q->n_in_flight--;
        } else {
                DL_DELETE(q->waiting, call);
                q->n_waiting--;
        }
        call->queue = NULL;
}

static MamBusCall *call_destroy(MamBusCall *call) {
        call_unlink(call);
        sd_bus_slot_unref(call->slot);
        sd_bus_message_unref(call->message);
        sd_bus_message_unref(call->origin);
        free(call);
        return NULL;
}

/* Ends a call that is linked no more: the handler first, then the origin if nobody took it. */
static void call_finish(MamBusCall *call, sd_bus_message *reply, const sd_bus_error *error) {
        call_unlink(call);
        if (call->handler)
                call->handler(call, error ? NULL : reply, error, call->userdata);
        if (call->origin) {
                if (error) {
                        (void) sd_bus_reply_method_error(call->origin, error);
                } else {
                        (void) sd_bus_reply_method_errorf(
                                        call->origin,
                                        MAM_BUS_ERROR_CANCELLED,
                                        "The call ended without a result");
                }
        }
        call_destroy(call);
}

static void calls_pump(MamBusCalls *q);

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        MamBusCall *call = userdata;
        MamBusCalls *q = call->queue;

        call_finish(call, reply, sd_bus_message_get_error(reply));
        calls_pump(q);
        return 1;
}

static int call_send(MamBusCall *call) {
        MamBusCalls *q = call->queue;
        sd_bus_slot *slot = NULL;
        int r;

        r = sd_bus_call_async(q->bus, &slot, call->message, on_reply, call, call->timeout_usec);
        if (r < 0)
                return r;

        DL_DELETE(q->waiting, call);
        q->n_waiting--;
        call->slot = slot;
        DL_APPEND(q->in_flight, call);
        q->n_in_flight++;
        return 0;
}

static void calls_pump(MamBusCalls *q) {
        if (q->pumping)
                return; /* a handler added a call: the loop below is still running */

        q->pumping = true;
        while (q->waiting && q->n_in_flight < q->in_flight_max) {
                _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
                MamBusCall *call = q->waiting;
                int r;

                r = call_send(call);
                if (r < 0) {
                        sd_bus_error_set_errno(&error, r);
                        call_finish(call, NULL, &error);
                }
        }
        q->pumping = false;
}

MamBusCalls *mam_bus_calls_free(MamBusCalls *q) {
        if (!q)
                return NULL;

        q->pumping = true; /* nothing is sent any more */
        while (q->in_flight || q->waiting) {
                const sd_bus_error error = SD_BUS_ERROR_MAKE_CONST(MAM_BUS_ERROR_CANCELLED, "Cancelled");

                call_finish(q->in_flight ? q->in_flight : q->waiting, NULL, &error);
        }
        sd_bus_unref(q->bus);
        free(q);
        return NULL;
}

int mam_bus_calls_add(
                MamBusCalls *q,
                MamBusCall **ret,
                sd_bus_message *message,
                uint64_t timeout_usec,
                MamBusCallHandler handler,
                void *userdata) {
        MamBusCall *call;
        int r;

        assert(q);
        assert(message);

        if (q->n_waiting >= q->waiting_max && q->n_in_flight >= q->in_flight_max)
                return -ENOBUFS;

        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;

        call->queue = q;
        call->message = sd_bus_message_ref(message);
        call->timeout_usec = timeout_usec > 0 ? timeout_usec : TIMEOUT_DEFAULT_USEC;
        call->handler = handler;
        call->userdata = userdata;
        DL_APPEND(q->waiting, call);
        q->n_waiting++;

        if (!q->pumping && q->n_in_flight < q->in_flight_max && q->waiting == call) {
                r = call_send(call);
                if (r < 0) {
                        call_destroy(call); /* nothing is owed yet: the caller gets the error */
                        return r;
                }
        }

        if (ret)
                *ret = call;
        return 0;
}

MamBusCall *mam_bus_call_free(MamBusCall *call) {
        MamBusCalls *q;

        if (!call)
                return NULL;

        q = call->queue;
        if (call->origin)
                (void) sd_bus_reply_method_errorf(call->origin, MAM_BUS_ERROR_CANCELLED, "Cancelled");
        call_destroy(call);
        if (q)
                calls_pump(q);
        return NULL;
}

void mam_bus_call_set_origin(MamBusCall *call, sd_bus_message *origin) {
        assert(call);
        assert(!call->origin);
        assert(origin);

        call->origin = sd_bus_message_ref(origin);
}

sd_bus_message *mam_bus_call_take_origin(MamBusCall *call) {
        assert(call);

        return MAM_TAKE(call->origin);
}
