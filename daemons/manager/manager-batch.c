/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Several replicas that start at once, with one command
 *
 * For each command systemd asks polkit whether we may, which takes longer than the command itself. So where
 * all of the first n replicas are to run, what is left of them is started by mam@ID:1-n.target, which wants
 * them all. systemd answers with the target's job; those of the replicas are known by what is said of their
 * units, and each succeeds or fails for itself, as one that was started alone. The target's own job ends
 * after all of them: who has none by then was not started (masked, say), and is started alone, which tells
 * why.
 */

#include <assert.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"
#include "manager/manager-acts.h"

/* How long each is started alone after that did not do. */
#define ALONE_USEC (10 * MAM_USEC_PER_SEC)
/* No start takes so long (TimeoutStartSec= of mam@.service): the signal was lost. */
#define LOST_USEC (180 * MAM_USEC_PER_SEC)

static void on_batch_started(uint32_t job, const sd_bus_error *error, void *userdata) {
        Service *s = userdata;
        Batch *b = &s->batch;

        for (uint32_t n = 1; n <= b->n; n++) {
                Replica *r = s->replicas[n];

                r->n_calls--;
                if (!error && numbers_has(&b->starts, n)) {
                        r->masked = false;
                        r->own_job = REPLICA_OWN_JOB_UNKNOWN;
                        r->own_job_stops = false;
                }
        }
        b->calling = false;
        b->job = job;
        b->since_usec = mam_now_monotonic();
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED)) {
                mam_notice("Cannot start replicas 1 to %u of %s at once, so one by one: %s",
                           b->n,
                           s->config->id,
                           error->message);
                b->alone_until_usec = b->since_usec + ALONE_USEC;
        }
        manager_queue_pass(s->manager);
}

/* A start that comes upon it changes nothing. */
static bool may_be_told_to_start(const Replica *r) {
        return replica_is_wanted(r) && !numbers_has(&r->service->state->stopping, r->number) &&
               (r->activity == UNIT_ACTIVE || r->activity == UNIT_ACTIVATING) &&
               r->restart == RESTART_NONE && r->backoff.held_until_usec == 0 && !r->hold[0] && !r->masked &&
               (r->own_job == 0 || !r->own_job_stops);
}

void service_start_together(
                Service *s,
                ReplicaAction actions[static MAM_CONFIG_REPLICAS_MAX + 1],
                uint64_t now_usec) {
        Numbers starts = NUMBERS_INIT, runs = NUMBERS_INIT;
        char unit[MAM_UNIT_NAME_MAX];
        Batch *b = &s->batch;
        uint32_t n_first;
        int k;

        assert(s);
        assert(actions);

        /* A rollout says one by one what may start. */
        if (b->calling || b->job > 0 || b->alone_until_usec > now_usec || s->rollout)
                return;
        for (uint32_t n = 1; n <= mam_service_instances_max(s->config); n++) {
                const Replica *r = s->replicas[n];

                if (r && actions[n] == REPLICA_START && r->restart == RESTART_NONE && !r->masked) {
                        numbers_add(&starts, n);
                } else if (r && actions[n] == REPLICA_NOTHING && may_be_told_to_start(r))
                        numbers_add(&runs, n);
        }
        n_first = reconcile_batch(&starts, &runs);
        if (n_first == 0)
                return;

        /* "fail": what somebody is stopping at this moment is not started again by this; then we are
         * refused. */
        mam_unit_first_replicas(unit, s->config->id, n_first);
        k = systemd_start_unit(s->manager->systemd, unit, "fail", on_batch_started, s);
        if (k < 0) {
                b->alone_until_usec = now_usec + ALONE_USEC;
                return;
        }
        *b = (Batch){ .calling = true, .n = n_first, .starts = starts };
        for (uint32_t n = 1; n <= n_first; n++) {
                Replica *r = s->replicas[n];

                /* Also those that run: what is told to systemd about them meanwhile could be overtaken. */
                r->n_calls++;
                if (!numbers_has(&starts, n))
                        continue;
                replica_note_start(r, now_usec);
                r->limits_due = service_sets_limits(s);
                actions[n] = REPLICA_NOTHING;
        }
}

static void batch_ended(Service *s, uint64_t now_usec) {
        Batch *b = &s->batch;

        b->job = 0;
        NUMBERS_FOREACH(n, &b->starts) {
                Replica *r = s->replicas[n];

                if (!r || r->own_job != REPLICA_OWN_JOB_UNKNOWN)
                        continue;
                r->own_job = 0;
                b->alone_until_usec = now_usec + ALONE_USEC;
        }
        manager_queue_pass(s->manager);
}

void batch_job_removed(Manager *m, uint32_t job) {
        Service *s;

        DL_FOREACH(m->services, s) {
                if (job > 0 && s->batch.job == job)
                        batch_ended(s, mam_now_monotonic());
        }
}

void service_listed_batch(Service *s, uint64_t now_usec) {
        if (s->batch.job > 0 && s->batch.since_usec + LOST_USEC < now_usec)
                batch_ended(s, now_usec);
}
