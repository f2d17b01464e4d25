/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Health of one replica
 */

#include <assert.h>

#include "libmam/util/macro.h"
#include "manager/health.h"

static const char *const state_names[_HEALTH_STATE_MAX] = {
        [HEALTH_STOPPED] = "stopped", [HEALTH_STARTING] = "starting",   [HEALTH_UNKNOWN] = "unknown",
        [HEALTH_HEALTHY] = "healthy", [HEALTH_UNHEALTHY] = "unhealthy",
};

const char *health_state_to_string(HealthState s) {
        assert(s >= 0 && s < _HEALTH_STATE_MAX);

        return state_names[s];
}

bool health_is_good(const Health *h) {
        return h->state == HEALTH_HEALTHY || h->state == HEALTH_UNKNOWN;
}

static bool health_set(Health *h, HealthState state, uint64_t realtime_usec) {
        if (h->state == state)
                return false;

        h->state = state;
        h->since_realtime_usec = realtime_usec;
        return true;
}

bool health_note_stopped(Health *h, uint64_t realtime_usec) {
        assert(h);

        h->failures = 0;
        h->next_probe_usec = MAM_USEC_INFINITY;
        return health_set(h, HEALTH_STOPPED, realtime_usec);
}

bool health_note_starting(Health *h, uint64_t realtime_usec) {
        assert(h);

        h->failures = 0;
        h->next_probe_usec = MAM_USEC_INFINITY;
        return health_set(h, HEALTH_STARTING, realtime_usec);
}

bool health_note_active(Health *h, bool adopted, uint64_t now_usec, uint64_t realtime_usec) {
        assert(h);

        if (h->state == HEALTH_HEALTHY || h->state == HEALTH_UNHEALTHY || h->state == HEALTH_UNKNOWN)
                return false;

        h->failures = 0;
        h->next_probe_usec = now_usec;
        return health_set(h, adopted ? HEALTH_UNKNOWN : HEALTH_STARTING, realtime_usec);
}

bool health_note_probe(
                Health *h,
                bool success,
                uint64_t interval_usec,
                uint64_t now_usec,
                uint64_t realtime_usec) {
        uint64_t again;

        assert(h);

        if (h->state == HEALTH_STOPPED)
                return false;

        if (success) {
                h->failures = 0;
                h->next_probe_usec = now_usec + interval_usec;
                return health_set(h, HEALTH_HEALTHY, realtime_usec);
        }

        h->failures++;
        if (h->state == HEALTH_STARTING) {
                again = HEALTH_FIRST_RETRY_USEC << (h->failures < 6 ? h->failures - 1 : 5);
                h->next_probe_usec =
                                now_usec + (again < HEALTH_RETRY_MAX_USEC ? again : HEALTH_RETRY_MAX_USEC);
                return false;
        }

        again = interval_usec < HEALTH_FAILED_RETRY_USEC ? interval_usec : HEALTH_FAILED_RETRY_USEC;
        h->next_probe_usec = now_usec + again;
        if (h->failures < HEALTH_FAILURES)
                return false;
        return health_set(h, HEALTH_UNHEALTHY, realtime_usec);
}
