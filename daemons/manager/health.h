/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Health of one replica: pure decisions of (state, probe result, now)
 *
 * A replica that the manager saw starting is "starting" until systemd calls it active and its first probe
 * succeeds. One that was found running is believed until a probe says otherwise: a new manager must not take
 * traffic away from what works. So many failures in a row as its configuration says make it unhealthy, and
 * so many successes healthy; by default three and one.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

/* Until the first success probes follow quickly, from 50 ms doubling to 1 s: someone waits for this replica.
 */
#define HEALTH_FIRST_RETRY_USEC (50 * MAM_USEC_PER_MSEC)
#define HEALTH_RETRY_MAX_USEC   (1 * MAM_USEC_PER_SEC)
/* After a failure of a healthy one. */
#define HEALTH_FAILED_RETRY_USEC (2 * MAM_USEC_PER_SEC)

typedef enum HealthState {
        HEALTH_STOPPED,
        HEALTH_STARTING,
        HEALTH_UNKNOWN, /* found running and not probed yet */
        HEALTH_HEALTHY,
        HEALTH_UNHEALTHY,
        _HEALTH_STATE_MAX,
} HealthState;

typedef struct Health {
        HealthState state;
        unsigned failures;  /* in a row */
        unsigned successes; /* in a row, while it is not healthy */
        uint64_t since_realtime_usec;
        uint64_t next_probe_usec; /* monotonic; MAM_USEC_INFINITY: none */
} Health;

typedef struct HealthRules {
        uint64_t interval_usec;
        uint32_t failures;  /* that make unhealthy; 0 counts as 1 */
        uint32_t successes; /* that make healthy; 0 counts as 1 */
} HealthRules;

#define HEALTH_INIT \
        { .next_probe_usec = MAM_USEC_INFINITY }

const char *health_state_to_string(HealthState s);
/* May it get traffic. */
bool health_is_good(const Health *h);

/* All return true if the state changed. */
bool health_note_stopped(Health *h, uint64_t realtime_usec);
bool health_note_starting(Health *h, uint64_t realtime_usec);
/* systemd calls it active. adopted: it was so before we looked. Schedules a probe. */
bool health_note_active(Health *h, bool adopted, uint64_t now_usec, uint64_t realtime_usec);
bool health_note_probe(
                Health *h,
                const HealthRules *rules,
                bool success,
                uint64_t now_usec,
                uint64_t realtime_usec);
