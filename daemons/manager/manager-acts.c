/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a pass does to one replica: commands to systemd and what their answers mean
 */

#include <assert.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/autoscaler.h"
#include "manager/chaos.h"
#include "manager/manager-acts.h"
#include "manager/usage.h"

/* What runs without our doing shortly after we started something was pulled in by systemd's dependencies,
 * not by a person. */
#define PULLED_IN_USEC (5 * MAM_USEC_PER_SEC)
/* How long a connection may be on its way to a socket that is being closed. */
#define CLOSING_USEC (2 * MAM_USEC_PER_SEC)
/* How long systemd's word that the system is not going down is good for. */
#define NOT_STOPPING_USEC (1 * MAM_USEC_PER_SEC)

static void note_failure(Replica *r, const char *what, const char *message) {
        char text[320];

        snprintf(text, sizeof(text), "%s: %s", what, message);
        free(r->failure);
        r->failure = strdup(text);
        replica_event(LOG_WARNING, MAM_MESSAGE_REPLICA_FAILED, r, "failed", "%s", text);
}

/* Somebody has masked it: his wish, as long as it lasts; a daemon-reload brings the next try. */
static void note_masked(Replica *r) {
        char unit[MAM_UNIT_NAME_MAX], text[200];

        mam_unit_replica_service(unit, r->service->config->id, r->number);
        snprintf(text, sizeof(text), "its unit is masked; to undo that: systemctl unmask %.100s", unit);
        note_failure(r, "cannot be started", text);
}

/* ---- replies of systemd ---- */

static void on_started(uint32_t job, const sd_bus_error *error, void *userdata) {
        Replica *r = userdata;

        r->n_calls--;
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED)) {
                r->masked = sd_bus_error_has_name(error, "org.freedesktop.systemd1.UnitMasked");
                if (r->masked) {
                        note_masked(r);
                } else
                        note_failure(r, "cannot be started", error->message);
                backoff_note_failed_start(&r->backoff, mam_now_monotonic());
        } else {
                r->masked = false;
                r->own_job = job;
                r->own_job_stops = false;
        }
        manager_queue_pass(r->service->manager);
}

static void on_stopped(uint32_t job, const sd_bus_error *error, void *userdata) {
        Replica *r = userdata;

        r->n_calls--;
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED)) {
                note_failure(r, "cannot be stopped", error->message);
                r->drain_until_usec = mam_now_monotonic() + BACKOFF_RETRY_USEC; /* and again */
        } else {
                r->own_job = job;
                r->own_job_stops = true;
        }
        manager_queue_pass(r->service->manager);
}

static void on_restarted(uint32_t job, const sd_bus_error *error, void *userdata) {
        Replica *r = userdata;

        r->n_calls--;
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED)) {
                note_failure(r, "cannot be restarted", error->message);
                if (r->restart == RESTART_ISSUED) {
                        r->restart = RESTART_DRAINING;
                        r->restart_drain_until_usec = mam_now_monotonic() + BACKOFF_RETRY_USEC;
                }
        } else {
                r->own_job = job;
                r->own_job_stops = false;
        }
        manager_queue_pass(r->service->manager);
}

static void on_limits_set(uint32_t job, const sd_bus_error *error, void *userdata) {
        Replica *r = userdata;

        r->n_calls--;
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                note_failure(r, "its limits cannot be set", error->message);
        manager_queue_pass(r->service->manager);
}

/* ---- acts ---- */

void replica_note_start(Replica *r, uint64_t now_usec) {
        replica_event(LOG_INFO, MAM_MESSAGE_REPLICA_START, r, "starting", "starting");
        backoff_release(&r->backoff);
        if (r->hold[0]) {
                r->hold[0] = '\0';
                r->dirty |= REPLICA_DIRTY_HOLD;
        }
        r->start_failed = r->socket_closed = false;
        r->service->manager->last_start_usec = now_usec;
}

static void replica_start(Replica *r, uint64_t now_usec) {
        Manager *m = r->service->manager;
        char unit[MAM_UNIT_NAME_MAX];
        int k;

        replica_note_start(r, now_usec);

        /* Its socket comes before it, as a requirement in the same transaction: each call of its own would
         * cost one more question from systemd to polkit. */
        mam_unit_replica_service(unit, r->service->config->id, r->number);
        k = systemd_start_unit(m->systemd, unit, "replace", on_started, r);
        if (k < 0) {
                note_failure(r, "cannot be started", strerror(-k));
                backoff_note_failed_start(&r->backoff, now_usec);
                return;
        }
        r->n_calls++;
        r->limits_due = service_sets_limits(r->service);
}

/* The last one takes the public socket with it, so that no connection starts it again. */
static bool is_last_of_stopped_service(const Replica *r) {
        Numbers existing = service_existing(r->service);

        return !r->service->state->running && numbers_count(&existing) <= 1;
}

/* The first one's stays open while the service is asleep: what connects wakes it. */
static void replica_close_socket(Replica *r) {
        char unit[MAM_UNIT_NAME_MAX];

        if (r->socket_closed || !mam_service_has_replica_socket(r->service->config) ||
            (r->number == 1 && service_is_asleep(r->service)))
                return;

        mam_unit_replica_socket(unit, r->service->config->id, r->number);
        r->socket_closed = systemd_stop_unit(r->service->manager->systemd, unit, NULL, NULL) >= 0;
}

static void replica_stop(Replica *r, uint64_t now_usec) {
        Manager *m = r->service->manager;
        const char *id = r->service->config->id;
        char unit[MAM_UNIT_NAME_MAX];
        int k;

        replica_event(LOG_INFO, MAM_MESSAGE_REPLICA_STOP, r, "stopping", "stopping");
        if (mam_service_has_public_socket(r->service->config) && is_last_of_stopped_service(r)) {
                mam_unit_public_socket(unit, id);
                (void) systemd_stop_unit(m->systemd, unit, NULL, NULL);
        }
        r->socket_closed = false; /* whoever started it: it is open */
        replica_close_socket(r);
        mam_unit_replica_service(unit, id, r->number);
        k = systemd_stop_unit(m->systemd, unit, on_stopped, r);
        if (k < 0) {
                note_failure(r, "cannot be stopped", strerror(-k));
                r->drain_until_usec = now_usec + BACKOFF_RETRY_USEC;
                return;
        }
        r->n_calls++;
}

static void replica_drain(Replica *r, uint64_t now_usec) {
        bool wait = replica_is_ready(r) && manager_gateway_runs(r->service->manager) &&
                    r->service->config->type != MAM_SERVICE_TYPE_GATEWAY;

        r->drain_until_usec = wait ? now_usec + MANAGER_DRAIN_USEC : now_usec;
}

static void on_asked_stopping(bool stopping, void *userdata) {
        Manager *m = userdata;

        m->stopping_asked = false;
        m->going_down = stopping;
        m->not_stopping_usec = mam_now_monotonic();
        manager_queue_pass(m);
}

/* While the system goes down everything stops, and nobody wishes that for the next boot. */
static bool may_adopt_stopped(Manager *m, uint64_t now_usec) {
        if (m->going_down)
                return false;
        if (m->not_stopping_usec > 0 && m->not_stopping_usec + NOT_STOPPING_USEC > now_usec)
                return true;
        if (!m->stopping_asked && systemd_ask_stopping(m->systemd, on_asked_stopping, m) >= 0)
                m->stopping_asked = true;
        return false;
}

static void adopt_running(Replica *r, uint64_t now_usec) {
        Service *s = r->service;
        Manager *m = s->manager;

        if (service_is_asleep(s)) {
                replica_event(LOG_NOTICE, NULL, r, "woken", "woken by a connection, or started without us");
                service_wake(s, r->number, now_usec);
        } else if (!s->state->running && s->closed_usec > 0 && s->closed_usec + CLOSING_USEC > now_usec) {
                numbers_add(&s->state->stopping,
                            r->number); /* a connection came before its sockets closed */
        } else if (s->state->replicas > 0 && s->state->running && m->last_start_usec > 0 &&
                   m->last_start_usec + PULLED_IN_USEC > now_usec && r->number <= s->config->replicas) {
                replica_event(LOG_INFO,
                              NULL,
                              r,
                              "repaired",
                              "pulled in by a dependency although %s is scaled to %u: stopping it again",
                              s->config->id,
                              s->state->replicas);
                numbers_add(&s->state->stopping, r->number);
        } else {
                replica_event(LOG_NOTICE,
                              MAM_MESSAGE_REPLICA_ADOPTED,
                              r,
                              "adopted",
                              "was started without us: adopting it as wanted");
                service_adopt_running(s, r->number, now_usec);
        }
        manager_queue_save(m, MAM_USEC_PER_SEC / 2);
        manager_queue_pass(m);
}

static void on_target_stopped(uint32_t job, const sd_bus_error *error, void *userdata) {
        Manager *m = userdata;

        m->n_target_stops--;
        manager_queue_pass(m);
}

void replica_act(Replica *r, ReplicaAction action, uint64_t now_usec) {
        Service *s = r->service;
        Manager *m = s->manager;

        switch (action) {
        case REPLICA_NOTHING:
                break;
        case REPLICA_START:
                replica_start(r, now_usec);
                break;
        case REPLICA_STARTED:
                numbers_remove(&s->state->starting, r->number);
                backoff_release(&r->backoff);
                if (r->hold[0]) {
                        r->hold[0] = '\0';
                        r->dirty |= REPLICA_DIRTY_HOLD;
                }
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        case REPLICA_DRAIN:
                replica_drain(r, now_usec);
                manager_queue_pass(m);
                break;
        case REPLICA_STOP:
                replica_stop(r, now_usec);
                break;
        case REPLICA_HOLD:
                replica_event(LOG_WARNING, MAM_MESSAGE_REPLICA_HELD, r, "quarantined", "%s", r->hold);
                numbers_add(&s->state->starting, r->number); /* to be started, later */
                replica_stop(r, now_usec);
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        case REPLICA_STOPPED:
                numbers_remove(&s->state->stopping, r->number);
                if (r->drain_until_usec > 0)
                        replica_event(LOG_INFO, NULL, r, "stopped", "stopped");
                r->drain_until_usec = 0;
                replica_close_socket(r);
                if (!s->state->running && numbers_is_empty(&s->state->stopping)) {
                        char unit[MAM_UNIT_NAME_MAX];

                        mam_unit_target(unit, s->config->id);
                        if (systemd_stop_unit(m->systemd, unit, on_target_stopped, m) >= 0)
                                m->n_target_stops++;
                }
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        case REPLICA_ADOPT_RUNNING:
                adopt_running(r, now_usec);
                break;
        case REPLICA_ADOPT_STOPPED:
                if (!may_adopt_stopped(m, now_usec))
                        break;
                replica_event(LOG_NOTICE,
                              MAM_MESSAGE_REPLICA_ADOPTED,
                              r,
                              "adopted",
                              "was stopped without us: adopting that as wanted");
                service_adopt_stopped(s, r->number);
                /* Else the first thing to connect there starts it again. */
                r->socket_closed = false;
                replica_close_socket(r);
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        }
}

void replica_step_restart(Replica *r, uint64_t now_usec, uint64_t *again_usec) {
        Manager *m = r->service->manager;
        char unit[MAM_UNIT_NAME_MAX];
        bool alone;
        int k;

        if (r->restart == RESTART_WANTED) {
                alone = r->service->counts.ready <=
                        1; /* nobody else could take its traffic: no use in waiting */
                r->restart_drain_until_usec = now_usec;
                if (!alone && replica_is_ready(r) && manager_gateway_runs(m) &&
                    r->service->config->type != MAM_SERVICE_TYPE_GATEWAY)
                        r->restart_drain_until_usec += MANAGER_DRAIN_USEC;
                r->restart = RESTART_DRAINING;
        }
        if (r->restart != RESTART_DRAINING)
                return;
        if (r->restart_drain_until_usec > now_usec) {
                if (r->restart_drain_until_usec < *again_usec)
                        *again_usec = r->restart_drain_until_usec;
                return;
        }
        if (r->n_calls > 0 || r->own_job > 0)
                return;

        replica_event(LOG_INFO, MAM_MESSAGE_REPLICA_RESTART, r, "restarting", "restarting");
        backoff_reset(&r->backoff);
        if (r->hold[0]) {
                r->hold[0] = '\0';
                r->dirty |= REPLICA_DIRTY_HOLD;
        }
        mam_unit_replica_service(unit, r->service->config->id, r->number);
        k = systemd_restart_unit(m->systemd, unit, on_restarted, r);
        if (k < 0) {
                note_failure(r, "cannot be restarted", strerror(-k));
                r->restart_drain_until_usec = now_usec + BACKOFF_RETRY_USEC;
                return;
        }
        r->n_calls++;
        r->restart = RESTART_ISSUED;
        r->limits_due = service_sets_limits(r->service);
}

/* Autoscaling shrinks memory by MemoryHigh first; MemoryMax below what is in use would kill. What a person
 * sets is set. */
static bool memory_has_to_wait(const Replica *r) {
        const Service *s = r->service;
        uint64_t bytes = service_memory_bytes(s);

        return s->state->memory_bytes == 0 && s->state->auto_memory_bytes > 0 &&
               (r->memory_max == 0 || bytes < r->memory_max) && !replica_fits_memory(r, bytes);
}

void replica_step_limits(Replica *r) {
        Service *s = r->service;
        char unit[MAM_UNIT_NAME_MAX];

        if (!r->limits_due || r->activity == UNIT_INACTIVE || r->n_calls > 0 || chaos_holds_limits(r))
                return;

        r->limits_due = false;
        mam_unit_replica_service(unit, s->config->id, r->number);
        r->memory_waits = memory_has_to_wait(r);
        if (r->memory_waits) {
                if (systemd_set_soft_limits(
                                    s->manager->systemd,
                                    unit,
                                    service_cpu_millis(s),
                                    service_memory_bytes(s) / 10 * 9,
                                    on_limits_set,
                                    r) >= 0)
                        r->n_calls++;
                return;
        }

        r->memory_max = service_memory_bytes(s);
        if (systemd_set_limits(
                            s->manager->systemd,
                            unit,
                            service_cpu_millis(s),
                            service_memory_bytes(s),
                            on_limits_set,
                            r) >= 0)
                r->n_calls++;
}
