/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pass: what is wanted against what is, for every replica, and the acts that follow
 */

#include <assert.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/endpoints.h"
#include "manager/job.h"
#include "manager/manager.h"
#include "manager/probe.h"

/* What runs without our doing shortly after we started something was pulled in by systemd's dependencies,
 * not by a person. */
#define PULLED_IN_USEC (5 * MAM_USEC_PER_SEC)
/* How long systemd's word that the system is not going down is good for. */
#define NOT_STOPPING_USEC (1 * MAM_USEC_PER_SEC)

#define log_replica(_priority, _message_id, _replica, _format, ...)                   \
        do {                                                                          \
                const MamServiceConfig *_config = (_replica)->service->config;        \
                char _unit[MAM_UNIT_NAME_MAX + 5] = "UNIT=";                          \
                const char *const _fields[] = { _unit, NULL };                        \
                mam_unit_replica_service(_unit + 5, _config->id, (_replica)->number); \
                mam_log_full(_priority,                                               \
                             _message_id,                                             \
                             _fields,                                                 \
                             "%s:%u: " _format,                                       \
                             _config->id,                                             \
                             (_replica)->number,                                      \
                             ##__VA_ARGS__);                                          \
        } while (0)

static void note_failure(Replica *r, const char *what, const char *message) {
        char text[256];

        snprintf(text, sizeof(text), "%s: %s", what, message);
        free(r->failure);
        r->failure = strdup(text);
        log_replica(LOG_WARNING, MAM_MESSAGE_REPLICA_FAILED, r, "%s", text);
}

/* ---- replies of systemd ---- */

static void on_started(uint32_t job, const sd_bus_error *error, void *userdata) {
        Replica *r = userdata;

        r->n_calls--;
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED)) {
                note_failure(r, "cannot be started", error->message);
                backoff_note_failed_start(&r->backoff, mam_now_monotonic());
        } else {
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

static void replica_start(Replica *r, uint64_t now_usec) {
        Manager *m = r->service->manager;
        char unit[MAM_UNIT_NAME_MAX];
        int k = 0;

        log_replica(LOG_INFO, MAM_MESSAGE_REPLICA_START, r, "starting");
        backoff_release(&r->backoff);
        if (r->hold[0]) {
                r->hold[0] = '\0';
                r->dirty |= REPLICA_DIRTY_HOLD;
        }
        r->start_failed = false;
        m->last_start_usec = now_usec;

        /* Its socket first: a socket cannot be started under a service that runs already. */
        if (mam_service_has_replica_socket(r->service->config)) {
                mam_unit_replica_socket(unit, r->service->config->id, r->number);
                k = systemd_start_unit(m->systemd, unit, "replace", NULL, NULL);
        }
        mam_unit_replica_service(unit, r->service->config->id, r->number);
        if (k >= 0)
                k = systemd_start_unit(m->systemd, unit, "replace", on_started, r);
        if (k < 0) {
                note_failure(r, "cannot be started", strerror(-k));
                backoff_note_failed_start(&r->backoff, now_usec);
                return;
        }
        r->n_calls++;
        r->limits_due = service_limits_are_own(r->service);
}

/* The last one takes the public socket with it, so that no connection starts it again. */
static bool is_last_of_stopped_service(const Replica *r) {
        Numbers existing = service_existing(r->service);

        return !r->service->state->running && numbers_count(&existing) <= 1;
}

static void replica_stop(Replica *r, uint64_t now_usec) {
        Manager *m = r->service->manager;
        const char *id = r->service->config->id;
        char unit[MAM_UNIT_NAME_MAX];
        int k;

        log_replica(LOG_INFO, MAM_MESSAGE_REPLICA_STOP, r, "stopping");
        if (mam_service_has_public_socket(r->service->config) && is_last_of_stopped_service(r)) {
                mam_unit_public_socket(unit, id);
                (void) systemd_stop_unit(m->systemd, unit, NULL, NULL);
        }
        if (mam_service_has_replica_socket(r->service->config)) {
                mam_unit_replica_socket(unit, id, r->number);
                (void) systemd_stop_unit(m->systemd, unit, NULL, NULL);
        }
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

        if (s->state->replicas > 0 && s->state->running && m->last_start_usec > 0 &&
            m->last_start_usec + PULLED_IN_USEC > now_usec && r->number <= s->config->replicas) {
                log_replica(LOG_INFO,
                            NULL,
                            r,
                            "pulled in by a dependency although %s is scaled to %u: stopping it again",
                            s->config->id,
                            s->state->replicas);
                numbers_add(&s->state->stopping, r->number);
        } else {
                log_replica(LOG_NOTICE,
                            MAM_MESSAGE_REPLICA_ADOPTED,
                            r,
                            "was started without us: adopting it as wanted");
                service_adopt_running(s, r->number, now_usec);
        }
        manager_queue_save(m, MAM_USEC_PER_SEC / 2);
        manager_queue_pass(m);
}

static void act(Replica *r, ReplicaAction action, uint64_t now_usec) {
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
                log_replica(LOG_WARNING, MAM_MESSAGE_REPLICA_HELD, r, "%s", r->hold);
                numbers_add(&s->state->starting, r->number); /* to be started, later */
                replica_stop(r, now_usec);
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        case REPLICA_STOPPED:
                numbers_remove(&s->state->stopping, r->number);
                r->drain_until_usec = 0;
                if (!s->state->running && numbers_is_empty(&s->state->stopping)) {
                        char unit[MAM_UNIT_NAME_MAX];

                        mam_unit_target(unit, s->config->id);
                        (void) systemd_stop_unit(m->systemd, unit, NULL, NULL);
                }
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        case REPLICA_ADOPT_RUNNING:
                adopt_running(r, now_usec);
                break;
        case REPLICA_ADOPT_STOPPED:
                if (!may_adopt_stopped(m, now_usec))
                        break;
                log_replica(LOG_NOTICE,
                            MAM_MESSAGE_REPLICA_ADOPTED,
                            r,
                            "was stopped without us: adopting that as wanted");
                service_adopt_stopped(s, r->number);
                manager_queue_save(m, MAM_USEC_PER_SEC / 2);
                break;
        }
}

/* ---- gates ---- */

static bool start_gate_is_open(const Service *s) {
        for (char **d = s->config->dependencies; d && *d; d++) {
                const Service *dependency = manager_find_service(s->manager, *d);
                uint32_t ready = 0;

                if (!dependency || !dependency->state->running ||
                    manager_service_is_external(s->manager, *d))
                        continue;
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX && ready == 0; n++)
                        ready += dependency->replicas[n] && replica_is_ready(dependency->replicas[n]);
                if (ready == 0)
                        return false;
        }
        return true;
}

/* Only for services that stop as a whole: scaling down waits for nobody. */
static bool stop_gate_is_open(const Service *s) {
        const Service *other;

        if (s->state->running)
                return true;
        DL_FOREACH(s->manager->services, other) {
                Numbers existing;

                if (other == s || other->state->running || !service_depends_on(other, s->config->id))
                        continue;
                existing = service_existing(other);
                if (!numbers_is_empty(&existing))
                        return false;
        }
        return true;
}

/* ---- one replica ---- */

static void restart_step(Replica *r, uint64_t now_usec, uint64_t *again_usec) {
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

        log_replica(LOG_INFO, MAM_MESSAGE_REPLICA_RESTART, r, "restarting");
        backoff_reset(&r->backoff);
        mam_unit_replica_service(unit, r->service->config->id, r->number);
        k = systemd_restart_unit(m->systemd, unit, on_restarted, r);
        if (k < 0) {
                note_failure(r, "cannot be restarted", strerror(-k));
                r->restart_drain_until_usec = now_usec + BACKOFF_RETRY_USEC;
                return;
        }
        r->n_calls++;
        r->restart = RESTART_ISSUED;
        r->limits_due = service_limits_are_own(r->service);
}

static void assert_limits(Replica *r) {
        Service *s = r->service;
        char unit[MAM_UNIT_NAME_MAX];

        if (!r->limits_due || r->activity == UNIT_INACTIVE || r->n_calls > 0)
                return;

        r->limits_due = false;
        mam_unit_replica_service(unit, s->config->id, r->number);
        if (systemd_set_limits(
                            s->manager->systemd,
                            unit,
                            service_cpu_millis(s),
                            service_memory_bytes(s),
                            on_limits_set,
                            r) >= 0)
                r->n_calls++;
}

static void on_probed(Probe *p, int error, const char *reason, void *userdata) {
        Replica *r = userdata;
        Manager *m = r->service->manager;
        HealthState before = r->health.state;

        r->probe_ended = true; /* freed by the pass */
        m->n_probes--;
        if (health_note_probe(
                            &r->health,
                            error >= 0,
                            r->service->config->health_interval_usec,
                            mam_now_monotonic(),
                            mam_now_realtime())) {
                r->dirty |= REPLICA_DIRTY_HEALTH;
                if (r->health.state == HEALTH_UNHEALTHY)
                        log_replica(LOG_WARNING, MAM_MESSAGE_REPLICA_UNHEALTHY, r, "unhealthy: %s", reason);
                else if (before == HEALTH_UNHEALTHY)
                        log_replica(LOG_NOTICE, MAM_MESSAGE_REPLICA_HEALTHY, r, "healthy again");
        }
        if (strcmp(r->health_reason, reason) != 0) {
                snprintf(r->health_reason, sizeof(r->health_reason), "%s", reason);
                r->dirty |= REPLICA_DIRTY_HEALTH;
        }
        manager_queue_pass(m);
}

static void probe_step(Replica *r, uint64_t now_usec, uint64_t *again_usec) {
        const MamServiceConfig *c = r->service->config;
        Manager *m = r->service->manager;
        char address[MAM_UNIT_NAME_MAX];
        uint64_t slack_usec;

        if (r->probe_ended)
                replica_drop_probe(r);
        if (r->probe || r->activity != UNIT_ACTIVE)
                return;
        /* Routine probes that are due soon go along with this one: fewer wake-ups. */
        slack_usec = r->health.state == HEALTH_HEALTHY && c->health_interval_usec >= 5 * MAM_USEC_PER_SEC
                                     ? MAM_USEC_PER_SEC
                                     : 0;
        if (r->health.next_probe_usec > now_usec + slack_usec) {
                if (r->health.next_probe_usec < *again_usec)
                        *again_usec = r->health.next_probe_usec;
                return;
        }
        if (m->n_probes >= MANAGER_PROBES_MAX)
                return; /* the end of one of them brings the next pass */

        replica_endpoint(r, address);
        r->probe_ended = false;
        if (probe_new(&r->probe,
                      m->event,
                      c->probe,
                      address,
                      c->health_path,
                      c->health_timeout_usec,
                      on_probed,
                      r) < 0) {
                r->health.next_probe_usec = now_usec + HEALTH_RETRY_MAX_USEC;
                return;
        }
        m->n_probes++;
}

static void replica_pass(
                Replica *r,
                bool start_gate,
                bool stop_gate,
                uint64_t now_usec,
                uint64_t *again_usec) {
        ServiceState *state = r->service->state;
        ReplicaView v;

        /* A start that ended without a running unit: not what systemd's own restarts take care of. */
        if (r->start_failed && r->activity == UNIT_INACTIVE && numbers_has(&state->starting, r->number))
                backoff_note_failed_start(&r->backoff, now_usec);
        r->start_failed = false;
        backoff_note_health(&r->backoff, r->activity == UNIT_ACTIVE && health_is_good(&r->health), now_usec);

        v = (ReplicaView){
                .wanted = numbers_has(&state->numbers, r->number),
                .starting = numbers_has(&state->starting, r->number),
                .stopping = numbers_has(&state->stopping, r->number),
                .held_until_usec = r->backoff.held_until_usec,
                .looping = r->hold[0],
                .drain_until_usec = r->drain_until_usec,
                .activity = r->activity,
                .activity_since_usec = r->activity_since_usec,
                .busy = r->n_calls > 0 || r->own_job > 0 || r->job > 0,
        };
        v.busy_own = r->n_calls > 0 || (r->own_job > 0 && (!v.stopping || r->own_job_stops));
        v.gate_open = v.stopping ? stop_gate : start_gate;

        act(r, reconcile_replica(&v, now_usec, again_usec), now_usec);
        restart_step(r, now_usec, again_usec);
        assert_limits(r);
        probe_step(r, now_usec, again_usec);
}

/* ---- one service ---- */

static void count_service(Service *s) {
        ServiceCounts c = { .wanted = s->state->running, .desired = numbers_count(&s->state->numbers) };

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];
                bool wanted = numbers_has(&s->state->numbers, n);

                if (!r)
                        continue;
                if (r->activity != UNIT_INACTIVE)
                        c.existing++;
                if (replica_is_ready(r) && wanted)
                        c.ready++;
                else if (wanted && r->hold[0])
                        c.held++;
                else if (wanted &&
                         (numbers_has(&s->state->starting, n) || r->health.state == HEALTH_STARTING))
                        c.starting++;
                if (numbers_has(&s->state->stopping, n))
                        c.stopping++;
        }
        if (memcmp(&c, &s->counts, sizeof(c)) != 0) {
                s->counts = c;
                s->dirty |= SERVICE_DIRTY_STATE;
        }
}

static void explain_service(Service *s, bool start_gate) {
        const char *text = reconcile_service_state(&s->counts);
        char reason[sizeof(s->reason)] = "", why[128];

        if (!start_gate && !numbers_is_empty(&s->state->starting))
                snprintf(reason, sizeof(reason), "waiting for what it depends on");
        else if (s->counts.ready < s->counts.desired) {
                NUMBERS_FOREACH(n, &s->state->numbers) {
                        if (s->replicas[n] && replica_is_ready(s->replicas[n]))
                                continue;
                        if (s->replicas[n])
                                replica_describe(s->replicas[n], why, sizeof(why));
                        else
                                strcpy(why, "not started yet");
                        snprintf(reason, sizeof(reason), "%s:%u: %s", s->config->id, n, why);
                        break;
                }
        }
        if (!s->configured)
                snprintf(reason, sizeof(reason), "no longer configured");

        if (strcmp(text, s->state_text) != 0 || strcmp(reason, s->reason) != 0) {
                s->state_text = text;
                memcpy(s->reason, reason, sizeof(reason));
                s->dirty |= SERVICE_DIRTY_STATE;
        }
}

static void service_pass(Service *s, uint64_t now_usec, uint64_t *again_usec) {
        bool start_gate = start_gate_is_open(s), stop_gate = stop_gate_is_open(s);

        if (s->settle_usec > 0 && s->state->running) {
                if (s->settle_usec <= now_usec) {
                        service_want_count(s, s->state->replicas, NULL, NULL);
                        manager_queue_save(s->manager, 0);
                } else if (s->settle_usec < *again_usec)
                        *again_usec = s->settle_usec;
        }

        /* Objects for what is wanted and has none yet. */
        NUMBERS_FOREACH(n, &s->state->numbers)
        (void) service_replica(s, n);
        NUMBERS_FOREACH(n, &s->state->stopping)
        (void) service_replica(s, n);

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                if (s->replicas[n])
                        replica_pass(s->replicas[n], start_gate, stop_gate, now_usec, again_usec);

        count_service(s);
        explain_service(s, start_gate);
}

static void service_publish(Service *s) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                Replica *r = s->replicas[n];

                if (!r)
                        continue;
                replica_emit_changes(r);
                if (r->activity == UNIT_INACTIVE && !replica_is_wanted(r) && r->n_calls == 0 &&
                    r->own_job == 0 && r->job == 0 && !r->probe && !numbers_has(&s->state->stopping, n)) {
                        replica_emit_removed(r);
                        replica_free(r);
                }
        }
        service_emit_changes(s);
}

static void publish_state(Manager *m) {
        const char *text = "stopped";
        const Service *s;

        DL_FOREACH(m->services, s) {
                if (strcmp(s->state_text, "stopped") == 0 || strcmp(s->state_text, "stopping") == 0)
                        continue;
                if (strcmp(s->state_text, "degraded") == 0 || strcmp(s->state_text, "failed") == 0)
                        text = "degraded";
                else if (strcmp(s->state_text, "starting") == 0 && strcmp(text, "degraded") != 0)
                        text = "starting";
                else if (strcmp(text, "stopped") == 0)
                        text = "running";
        }
        if (strcmp(text, m->state_text) == 0)
                return;
        m->state_text = text;
        if (m->ready)
                (void) sd_bus_emit_properties_changed(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "State",
                                NULL);
}

/* Gone from the files, and now nothing of it is left. */
static void drop_vanished_services(Manager *m) {
        Service *s, *next;

        DL_FOREACH_SAFE(m->services, s, next) {
                bool left = false;

                for (uint32_t n = 1; !s->configured && n <= MAM_CONFIG_REPLICAS_MAX; n++)
                        left = left || s->replicas[n];
                if (s->configured || left)
                        continue;

                jobs_forget_service(m, s);
                service_emit_removed(s);
                DL_DELETE(m->services, s);
                service_free(s);
        }
}

void manager_pass(Manager *m) {
        uint64_t now_usec = mam_now_monotonic(), again_usec = MAM_USEC_INFINITY;
        Service *s;

        assert(m);

        if (!m->listed)
                return;

        DL_FOREACH(m->services, s)
        service_pass(s, now_usec, &again_usec);
        DL_FOREACH(m->services, s)
        endpoints_announce(s);
        jobs_evaluate(m, now_usec, &again_usec);
        DL_FOREACH(m->services, s)
        service_publish(s);
        publish_state(m);
        drop_vanished_services(m);

        if (m->state_dirty && m->state_due_usec <= now_usec)
                (void) manager_save_state(m);
        else if (m->state_dirty && m->state_due_usec < again_usec)
                again_usec = m->state_due_usec;

        manager_arm_timer(m, again_usec);
}
