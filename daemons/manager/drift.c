/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Limits that somebody changed behind our back: noticed, told, and set back
 *
 * systemd sends no signal for them, so they are read with each listing (after a daemon-reload, and every
 * MANAGER_RESYNC_USEC). A start or stop by hand is a wish and is adopted; limits belong to the service as a
 * whole, so one replica that differs from its siblings is repaired, and the event says what to do instead.
 */

#include <inttypes.h>

#include "libmam/obs/message-ids.h"
#include "manager/chaos.h"
#include "manager/manager-acts.h"

/* What is written and what is read may differ by rounding. */
#define CPU_SLACK_USEC     1000U
#define MEMORY_SLACK       4096U
#define LIMITS_RECENT_USEC (10 * MAM_USEC_PER_SEC)

static uint64_t distance(uint64_t a, uint64_t b) {
        return a > b ? a - b : b - a;
}

bool drift_is(uint64_t cpu_usec,
              uint64_t memory_bytes,
              uint64_t want_cpu_millis,
              uint64_t want_memory_bytes) {
        return (want_cpu_millis > 0 && distance(cpu_usec, want_cpu_millis * 1000) > CPU_SLACK_USEC) ||
               (want_memory_bytes > 0 && distance(memory_bytes, want_memory_bytes) > MEMORY_SLACK);
}

void service_note_limits(Service *s, uint64_t now_usec) {
        uint64_t cpu = service_cpu_millis(s), memory = service_memory_bytes(s);

        if (s->noted_cpu_millis == cpu && s->noted_memory_bytes == memory)
                return;
        s->noted_cpu_millis = cpu;
        s->noted_memory_bytes = memory;
        s->limits_changed_usec = now_usec;
}

void replica_step_drift(Replica *r, uint64_t now_usec) {
        Service *s = r->service;
        char cpu[32] = "no limit", memory[32] = "no limit";

        if (!r->unit_limits_known || r->activity != UNIT_ACTIVE)
                return;
        r->unit_limits_known = false;
        if (r->n_calls > 0 || r->limits_due || r->memory_waits || !s->configured || chaos_holds_limits(r) ||
            !drift_is(r->unit_cpu_usec,
                      r->unit_memory_bytes,
                      service_cpu_millis(s),
                      service_memory_bytes(s)))
                return;
        /* Ours of just now may not have been read yet, or a daemon-reload may have lost them. */
        if (now_usec - s->limits_changed_usec < LIMITS_RECENT_USEC ||
            manager_needs_daemon_reload(s->manager)) {
                r->limits_due = service_sets_limits(s);
                return;
        }

        if (r->unit_cpu_usec != UINT64_MAX)
                snprintf(cpu, sizeof(cpu), "%" PRIu64 "m", r->unit_cpu_usec / 1000);
        if (r->unit_memory_bytes != UINT64_MAX)
                snprintf(memory, sizeof(memory), "%" PRIu64 " MiB", r->unit_memory_bytes / (1024 * 1024));
        replica_event(LOG_NOTICE,
                      MAM_MESSAGE_REPLICA_REPAIRED,
                      r,
                      "repaired",
                      "its limits were changed without us (CPU %s, memory %s): set back to %" PRIu64
                      "m and %" PRIu64 " MiB; to change them: mamctl limits %s",
                      cpu,
                      memory,
                      service_cpu_millis(s),
                      service_memory_bytes(s) / (1024 * 1024),
                      s->config->id);
        s->state->runtime_limits = true; /* systemd keeps them above what the generator writes */
        manager_queue_save(s->manager, MAM_USEC_PER_SEC / 2);
        r->limits_due = true;
}
