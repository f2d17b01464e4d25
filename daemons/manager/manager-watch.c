/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What systemd reports
 *
 * Nothing is decided here: facts are noted with the replica, and a pass is queued.
 */

#include <string.h>

#include <utlist.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/events.h"
#include "manager/manager-acts.h"
#include "manager/manager.h"
#include "manager/operations.h"
#include "manager/rollout.h"

static void on_unit(const char *id, uint32_t number, const UnitChange *change, void *userdata) {
        bool inactive = change->fields & UNIT_FIELD_ACTIVE_STATE &&
                        strcmp(change->active_state, "inactive") == 0;
        Service *s = manager_find_service(userdata, id);
        Manager *m = userdata;
        Replica *r;

        if (!s)
                return; /* not configured (any more), and not ours to judge */

        r = numbers_is_valid(number) ? s->replicas[number] : NULL;
        if (!r) {
                if (inactive && !(change->fields & UNIT_FIELD_JOB && change->job > 0))
                        return; /* loaded, but nothing of it runs */
                r = service_replica(s, number);
                if (!r)
                        return;
        }

        replica_apply(r, change, mam_now_monotonic(), !m->listed);
        r->seen = true;
        if (m->listed && r->activity == UNIT_ACTIVE && !r->control_group && !r->control_group_asked)
                r->control_group_asked = systemd_ask_control_group(m->systemd, id, number) >= 0;
        manager_queue_pass(m);
}

/* First listing after a boot, or first ever: what runs is what is wanted. */
static void adopt_fresh(Service *s, uint64_t now_usec) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];

                if (r && (r->activity == UNIT_ACTIVE || r->activity == UNIT_ACTIVATING || r->job > 0))
                        service_adopt_running(s, n, now_usec);
        }
        if (!s->state->running)
                return;
        s->manager->state_dirty = true;
        event_log(s->manager,
                  LOG_INFO,
                  MAM_MESSAGE_REPLICA_ADOPTED,
                  s->config->id,
                  0,
                  "adopted",
                  "%u replicas were found running",
                  numbers_count(&s->state->numbers));
}

static void on_socket(const char *id, uint32_t number, void *userdata) {
        Service *s = manager_find_service(userdata, id);

        if (s)
                numbers_add(&s->open_sockets, number);
}

/* A stop by hand leaves a replica's socket open, and a manager that was killed right then cannot know of it:
 * what connects there would start a replica that nobody wants. */
static void close_stray_sockets(Service *s) {
        Numbers open = s->open_sockets;
        char unit[MAM_UNIT_NAME_MAX];

        s->open_sockets = (Numbers) NUMBERS_INIT;
        if (s->state->fresh)
                return; /* on its way up */
        NUMBERS_FOREACH(n, &open) {
                const Replica *r = s->replicas[n];

                if (numbers_has(&s->state->numbers, n) || numbers_has(&s->state->stopping, n) ||
                    (n == 1 && s->state->asleep) ||
                    (r && (r->activity != UNIT_INACTIVE || r->n_calls > 0 || r->own_job > 0 || r->job > 0)))
                        continue;
                mam_unit_replica_socket(unit, s->config->id, n);
                if (systemd_stop_unit(s->manager->systemd, unit, NULL, NULL) < 0)
                        continue; /* with the next listing */
                event_log(s->manager,
                          LOG_NOTICE,
                          MAM_MESSAGE_REPLICA_REPAIRED,
                          s->config->id,
                          n,
                          "repaired",
                          "its socket was open, and nobody wants the replica: closed");
        }
}

static void on_listed(int error, const char *message, void *userdata) {
        static const UnitChange gone = {
                .fields = UNIT_FIELD_ACTIVE_STATE | UNIT_FIELD_SUB_STATE | UNIT_FIELD_JOB |
                          UNIT_FIELD_MAIN_PID,
                .active_state = "inactive",
                .sub_state = "dead",
        };
        uint64_t now_usec = mam_now_monotonic();
        Manager *m = userdata;
        bool first = !m->listed;
        Service *s;
        int r;

        if (error < 0) {
                mam_error("Cannot list the units of systemd: %s", message ? message : strerror(-error));
                if (first) {
                        (void) sd_event_exit(
                                        m->event,
                                        EXIT_FAILURE); /* nothing works without; we are started again */
                }
                return;
        }

        DL_FOREACH(m->services, s) {
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        Replica *replica = s->replicas[n];

                        if (!replica)
                                continue;
                        if (!replica->seen && replica->n_calls == 0) {
                                replica->own_job = 0;
                                replica_apply(replica, &gone, now_usec, false);
                        }
                        replica->seen = false;
                        if (replica->masked) { /* perhaps not any more */
                                replica->masked = false;
                                backoff_reset(&replica->backoff);
                        }
                        if (m->reloaded && service_sets_limits(s) && !replica->unit_limits_known)
                                replica->limits_due = true; /* a reload may have lost them */
                }
                service_listed_batch(s, now_usec);
                close_stray_sockets(s);
                if (first && s->state->fresh)
                        adopt_fresh(s, now_usec);
        }

        m->listed = true;
        m->reloaded = false;
        manager_queue_pass(m);
        if (!first)
                return;

        r = manager_request_name(m);
        if (r < 0) {
                (void) mam_error_errno(r, "Cannot ask for the bus name");
                (void) sd_event_exit(m->event, EXIT_FAILURE);
        }
}

static void job_removed(Replica *r, uint32_t job, const char *result) {
        ServiceState *state = r->service->state;
        bool own = r->own_job == job || r->own_job == REPLICA_OWN_JOB_UNKNOWN;

        if (r->job == job)
                r->job = 0;
        if (!own)
                return;

        r->own_job = 0;
        /* It has gone to sleep; what runs next was woken, however soon that is. */
        if (r->own_job_stops && r->number == 1 && r->service->state->asleep && strcmp(result, "done") == 0) {
                numbers_remove(&state->stopping, 1);
                r->drain_until_usec = 0;
        }
        if (r->restart == RESTART_ISSUED)
                r->restart = RESTART_RUNNING;
        if (strcmp(result, "done") == 0 || strcmp(result, "skipped") == 0 || r->own_job_stops)
                return;
        if (strcmp(result, "canceled") == 0) { /* somebody stopped it before it ran: his wish */
                if (numbers_has(&state->starting, r->number) && r->activity == UNIT_INACTIVE &&
                    r->backoff.held_until_usec == 0)
                        service_adopt_stopped(r->service, r->number);
                return;
        }
        if (!numbers_has(&state->numbers, r->number))
                return;

        /* Also one that did not come up again after our restart: nobody wished that. */
        numbers_add(&state->starting, r->number);
        r->start_failed = true;
        free(r->failure);
        if (asprintf(&r->failure, "start failed: %s", result) < 0)
                r->failure = NULL;
}

static void on_job_removed(uint32_t job, const char *unit, const char *result, void *userdata) {
        Manager *m = userdata;
        uint32_t number;
        char id[32];
        Service *s;

        if (strncmp(unit, "mam", 3) != 0)
                return;
        if (m->init)
                init_operation_job_removed(m->init, job, result);
        deploy_job_removed(m, job, result);
        if (strstr(unit, ".target"))
                batch_job_removed(m, job);
        if (mam_unit_parse_replica(unit, id, &number) < 0 || !strstr(unit, ".service"))
                return;

        s = manager_find_service(m, id);
        if (!s || !numbers_is_valid(number) || !s->replicas[number])
                return;
        job_removed(s->replicas[number], job, result);
        manager_queue_pass(m);
}

static void on_reloaded(void *userdata) {
        Manager *m = userdata;
        int r;

        m->reloaded = true;
        r = manager_load_config(m);
        if (r < 0) {
                event_log(m,
                          LOG_ERR,
                          NULL,
                          "",
                          0,
                          "reloaded",
                          "cannot read the configuration again; the old one stands: %s",
                          strerror(-r));
                return;
        }
        if (m->ready)
                companions_follow(m);
        event_log(m, LOG_INFO, NULL, "", 0, "reloaded", "systemd and the configuration were loaded again");
}

const SystemdHandlers manager_systemd_handlers = {
        .on_unit = on_unit,
        .on_socket = on_socket,
        .on_listed = on_listed,
        .on_job_removed = on_job_removed,
        .on_reloaded = on_reloaded,
};
