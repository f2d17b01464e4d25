/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is wanted against what systemd says
 */

#include <assert.h>

#include "libmam/util/macro.h"
#include "manager/reconcile.h"

static void wake_at(uint64_t *again_usec, uint64_t when_usec) {
        if (when_usec < *again_usec)
                *again_usec = when_usec;
}

static ReplicaAction reconcile_stopping(const ReplicaView *v, uint64_t now_usec, uint64_t *again_usec) {
        if (v->activity == UNIT_INACTIVE)
                return v->busy ? REPLICA_NOTHING : REPLICA_STOPPED;
        if (!v->gate_open)
                return REPLICA_NOTHING;
        if (v->drain_until_usec == 0)
                return REPLICA_DRAIN;
        if (v->drain_until_usec > now_usec) {
                wake_at(again_usec, v->drain_until_usec);
                return REPLICA_NOTHING;
        }
        if (v->busy_own || v->activity == UNIT_DEACTIVATING)
                return REPLICA_NOTHING;
        return REPLICA_STOP; /* a start that is still under way is replaced */
}

static ReplicaAction reconcile_starting(const ReplicaView *v, uint64_t now_usec, uint64_t *again_usec) {
        if (v->activity == UNIT_ACTIVE) /* busy: an older stop of ours may still be on its way */
                return v->busy ? REPLICA_NOTHING : REPLICA_STARTED;
        if (v->busy || v->activity != UNIT_INACTIVE)
                return REPLICA_NOTHING;
        if (v->held_until_usec > now_usec) {
                wake_at(again_usec, v->held_until_usec);
                return REPLICA_NOTHING;
        }
        return v->gate_open ? REPLICA_START : REPLICA_NOTHING;
}

ReplicaAction reconcile_replica(const ReplicaView *v, uint64_t now_usec, uint64_t *again_usec) {
        assert(v);
        assert(again_usec);

        if (v->stopping)
                return reconcile_stopping(v, now_usec, again_usec);

        /* Held back: first it has to go down, against systemd's own job that restarts it; then it counts as
         * to be started, and waits. */
        if (v->wanted && v->looping && v->held_until_usec > now_usec && v->activity == UNIT_ACTIVATING &&
            !v->busy_own)
                return REPLICA_HOLD;

        if (v->starting)
                return reconcile_starting(v, now_usec, again_usec);

        if (!v->wanted) {
                return v->activity == UNIT_ACTIVE || (v->activity == UNIT_ACTIVATING && !v->busy)
                                       ? REPLICA_ADOPT_RUNNING
                                       : REPLICA_NOTHING;
        }

        if (v->activity != UNIT_INACTIVE || v->busy)
                return REPLICA_NOTHING;
        if (v->activity_since_usec + RECONCILE_SETTLE_USEC > now_usec) {
                wake_at(again_usec, v->activity_since_usec + RECONCILE_SETTLE_USEC);
                return REPLICA_NOTHING;
        }
        return REPLICA_ADOPT_STOPPED;
}

uint32_t reconcile_batch(const Numbers *start, const Numbers *runs) {
        uint32_t n = 0, left;

        assert(start);
        assert(runs);

        left = numbers_count(start);
        if (left < 2)
                return 0;
        /* Up to the last one that is to be started: what runs beyond needs nothing. */
        while (left > 0) {
                n++;
                if (numbers_has(start, n)) {
                        left--;
                } else if (!numbers_has(runs, n))
                        return 0;
        }
        return n;
}

void reconcile_scale(
                const Numbers *have,
                uint32_t count,
                uint32_t max,
                const VictimRank ranks[static MAM_CONFIG_REPLICAS_MAX + 1],
                Numbers *ret_add,
                Numbers *ret_remove) {
        uint32_t now = numbers_count(have);
        Numbers add = NUMBERS_INIT, rem = NUMBERS_INIT;

        assert(ret_add);
        assert(ret_remove);

        for (uint32_t n = 1; n <= max && n <= MAM_CONFIG_REPLICAS_MAX && now < count; n++) {
                if (!numbers_has(have, n)) {
                        numbers_add(&add, n);
                        now++;
                }
        }

        for (VictimRank rank = VICTIM_FAILED; rank <= VICTIM_TRIGGER && now > count; rank++) {
                for (uint32_t n = MAM_CONFIG_REPLICAS_MAX; n >= 1 && now > count; n--) {
                        if (numbers_has(have, n) && ranks[n] == rank) {
                                numbers_add(&rem, n);
                                now--;
                        }
                }
        }

        *ret_add = add;
        *ret_remove = rem;
}

const char *reconcile_service_state(const ServiceCounts *c) {
        assert(c);

        if (!c->wanted)
                return c->existing > 0 ? "stopping" : "stopped";
        if (c->desired == 0) /* going to sleep, or waking up and not adopted yet */
                return c->existing == 0 ? "asleep" : c->stopping > 0 ? "stopping" : "starting";
        if (c->ready >= c->desired)
                return "running";
        if (c->held == c->desired && c->ready == 0)
                return "failed";
        if (c->held > 0)
                return "degraded";
        if (c->starting > 0)
                return "starting";
        return "degraded";
}
