/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The circuit of an endpoint
 */

#include "event-bus/push/circuit.h"

#include <assert.h>

#include "libmam/util/backoff.h"

unsigned push_circuit_room(const PushCircuit *c, unsigned parallel, uint64_t now, uint64_t *ret_usec) {
        uint64_t until = c->until_usec > c->rest_usec ? c->until_usec : c->rest_usec;

        if (until > now) {
                *ret_usec = until;
                return 0;
        }
        if (c->until_usec > 0)
                parallel = 1; /* half open */
        if (c->under_way >= parallel) {
                *ret_usec = MAM_USEC_INFINITY;
                return 0;
        }
        return parallel - c->under_way;
}

bool push_circuit_is_open(const PushCircuit *c) {
        return c->until_usec > 0;
}

void push_circuit_begin(PushCircuit *c) {
        c->under_way++;
}

void push_circuit_dropped(PushCircuit *c) {
        assert(c->under_way > 0);

        c->under_way--;
}

void push_circuit_succeeded(PushCircuit *c) {
        push_circuit_dropped(c);
        c->failures = 0;
        c->opened = 0;
        c->until_usec = 0;
        c->rest_usec = 0;
}

void push_circuit_failed(PushCircuit *c, uint64_t now, uint64_t retry_after_usec) {
        push_circuit_dropped(c);
        c->failures++;
        if (retry_after_usec > 0 && now + retry_after_usec > c->rest_usec)
                c->rest_usec = now + retry_after_usec;
        if (c->until_usec > now || c->failures < PUSH_FAILURES_MAX)
                return; /* of those that were under way when it opened */
        c->until_usec = now + mam_backoff_usec(c->opened, PUSH_OPEN_MIN_USEC, PUSH_OPEN_MAX_USEC);
        c->opened++;
}
