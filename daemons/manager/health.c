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

        h->failures = h->successes = 0;
        h->next_probe_usec = MAM_USEC_INFINITY;
        return health_set(h, HEALTH_STOPPED, realtime_usec);
}

bool health_note_starting(Health *h, uint64_t realtime_usec) {
        assert(h);

        h->failures = h->successes = 0;
        h->next_probe_usec = MAM_USEC_INFINITY;
        return health_set(h, HEALTH_STARTING, realtime_usec);
}

bool health_note_active(Health *h, bool adopted, uint64_t now_usec, uint64_t realtime_usec) {
        assert(h);

        if (h->state == HEALTH_HEALTHY || h->state == HEALTH_UNHEALTHY || h->state == HEALTH_UNKNOWN)
                return false;

        h->failures = h->successes = 0;
        h->next_probe_usec = now_usec;
        return health_set(h, adopted ? HEALTH_UNKNOWN : HEALTH_STARTING, realtime_usec);
}

/* Someone waits for it: quickly, and then less so. */
static void probe_again_soon(Health *h, unsigned tries, uint64_t now_usec) {
        uint64_t again = HEALTH_FIRST_RETRY_USEC << (tries < 6 ? tries - 1 : 5);

        h->next_probe_usec = now_usec + (again < HEALTH_RETRY_MAX_USEC ? again : HEALTH_RETRY_MAX_USEC);
}

static bool note_success(Health *h, const HealthRules *rules, uint64_t now_usec, uint64_t realtime_usec) {
        h->failures = 0;
        h->successes++;
        /* One that was found running is believed as it is. */
        if (!health_is_good(h) && h->successes < rules->successes) {
                probe_again_soon(h, h->successes, now_usec);
                return false;
        }
        h->successes = 0;
        h->next_probe_usec = now_usec + rules->interval_usec;
        return health_set(h, HEALTH_HEALTHY, realtime_usec);
}

bool health_note_probe(
                Health *h,
                const HealthRules *rules,
                bool success,
                uint64_t now_usec,
                uint64_t realtime_usec) {
        assert(h);
        assert(rules);

        if (h->state == HEALTH_STOPPED)
                return false;
        if (success)
                return note_success(h, rules, now_usec, realtime_usec);

        h->successes = 0;
        h->failures++;
        if (h->state == HEALTH_STARTING) {
                probe_again_soon(h, h->failures, now_usec);
                return false;
        }

        h->next_probe_usec = now_usec + (rules->interval_usec < HEALTH_FAILED_RETRY_USEC
                                                         ? rules->interval_usec
                                                         : HEALTH_FAILED_RETRY_USEC);
        if (h->failures < rules->failures)
                return false;
        return health_set(h, HEALTH_UNHEALTHY, realtime_usec);
}
