/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Liveness: when an unhealthy replica is restarted
 */

#include <assert.h>

#include "manager/backoff.h"
#include "manager/liveness.h"

static const char *const verdict_names[_LIVENESS_VERDICT_MAX] = {
        [LIVENESS_FINE] = "",
        [LIVENESS_RESTART] = "it is restarted now",
        [LIVENESS_KEEPS_DATA] = "it keeps data, so it is not restarted for failing probes",
        [LIVENESS_COUNTING] = "it is restarted if it goes on failing",
        [LIVENESS_BUSY] = "something is under way with it already",
        [LIVENESS_SIBLING] = "another replica is being started or stopped: one at a time",
        [LIVENESS_DEPENDENCY] = "what it depends on is not ready: restarting would not help",
        [LIVENESS_BACKOFF] = "it was restarted for this lately, and waits",
};

const char *liveness_verdict_to_string(LivenessVerdict v) {
        assert(v >= 0 && v < _LIVENESS_VERDICT_MAX);

        return verdict_names[v];
}

uint64_t liveness_held_until(const Liveness *l) {
        uint64_t wait = LIVENESS_FIRST_USEC;

        assert(l);

        if (l->restarted_usec == 0 || l->level == 0)
                return 0;
        for (unsigned i = 1; i < l->level && wait < LIVENESS_MAX_USEC; i++)
                wait *= 2;
        return l->restarted_usec + (wait < LIVENESS_MAX_USEC ? wait : LIVENESS_MAX_USEC);
}

LivenessVerdict liveness_judge(
                const Liveness *l,
                const LivenessView *v,
                uint64_t now_usec,
                uint64_t *again_usec) {
        uint64_t held;

        assert(l);
        assert(v);
        assert(again_usec);

        if (!v->wanted || !v->unhealthy)
                return LIVENESS_FINE;
        if (v->keeps_data)
                return LIVENESS_KEEPS_DATA;
        if (v->failures < v->threshold * (1 + LIVENESS_MORE))
                return LIVENESS_COUNTING; /* each probe brings a pass */
        if (v->busy)
                return LIVENESS_BUSY;
        if (v->dependency_is_down)
                return LIVENESS_DEPENDENCY;
        if (v->sibling_is_down)
                return LIVENESS_SIBLING;
        held = liveness_held_until(l);
        if (held > now_usec) {
                if (held < *again_usec)
                        *again_usec = held;
                return LIVENESS_BACKOFF;
        }
        return LIVENESS_RESTART;
}

void liveness_note_restart(Liveness *l, uint64_t now_usec) {
        assert(l);

        l->restarted_usec = now_usec;
        l->level++;
        l->restarting = true;
}

void liveness_note_health(Liveness *l, uint64_t healthy_since_usec, uint64_t now_usec) {
        assert(l);

        if (healthy_since_usec > 0 && now_usec - healthy_since_usec >= BACKOFF_RESET_USEC)
                l->level = 0;
}
