/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pass: what is wanted against what is, for every replica, and the acts that follow
 */

#include <assert.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/alerts.h"
#include "manager/autoscaler.h"
#include "manager/chaos.h"
#include "manager/endpoints.h"
#include "manager/job.h"
#include "manager/manager-acts.h"
#include "manager/manager.h"
#include "manager/probe.h"
#include "manager/rollout.h"

/* ---- gates ---- */

const char *service_gate_of_start(const Service *s) {
        for (char **d = s->config->dependencies; d && *d; d++) {
                const Service *dependency = manager_find_service(s->manager, *d);
                uint32_t ready = 0;

                if (!dependency || !dependency->state->running || service_is_asleep(dependency) ||
                    manager_service_is_external(s->manager, *d))
                        continue;
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX && ready == 0; n++)
                        ready += dependency->replicas[n] && replica_is_ready(dependency->replicas[n]);
                if (ready == 0)
                        return dependency->config->id;
        }
        return NULL;
}

/* Only for services that stop as a whole: scaling down waits for nobody. */
const char *service_gate_of_stop(const Service *s) {
        const Service *other;

        if (s->state->running)
                return NULL;
        DL_FOREACH(s->manager->services, other) {
                Numbers existing;

                if (other == s || other->state->running || !service_depends_on(other, s->config->id))
                        continue;
                existing = service_existing(other);
                if (!numbers_is_empty(&existing))
                        return other->config->id;
        }
        return NULL;
}

bool service_start_gate_is_open(const Service *s) {
        return !service_gate_of_start(s);
}

bool service_stop_gate_is_open(const Service *s) {
        return !service_gate_of_stop(s);
}

/* ---- one replica ---- */

static void on_probed(Probe *p, int error, const char *reason, void *userdata) {
        Replica *r = userdata;
        const MamServiceConfig *c = r->service->config;
        Manager *m = r->service->manager;
        HealthState before = r->health.state;

        r->probe_ended = true; /* freed by the pass */
        m->n_probes--;
        if (health_note_probe(
                            &r->health,
                            &(const HealthRules){ .interval_usec = c->health_interval_usec,
                                                  .failures = c->health_failures,
                                                  .successes = c->health_successes },
                            error >= 0,
                            mam_now_monotonic(),
                            mam_now_realtime())) {
                r->dirty |= REPLICA_DIRTY_HEALTH;
                if (r->health.state == HEALTH_UNHEALTHY) {
                        replica_event(LOG_WARNING,
                                      MAM_MESSAGE_REPLICA_UNHEALTHY,
                                      r,
                                      "unhealthy",
                                      "unhealthy: %s",
                                      reason);
                } else if (before == HEALTH_UNHEALTHY) {
                        replica_event(LOG_NOTICE,
                                      MAM_MESSAGE_REPLICA_HEALTHY,
                                      r,
                                      "healthy",
                                      "healthy again");
                } else if (before == HEALTH_STARTING)
                        replica_event(LOG_INFO, NULL, r, "started", "ready");
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

void replica_view(const Replica *r, bool start_gate, bool stop_gate, ReplicaView *ret) {
        const ServiceState *state = r->service->state;
        ReplicaView v;

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
        v.gate_open = v.stopping ? stop_gate : start_gate && (!v.starting || rollout_may_start(r));
        *ret = v;
}

static ReplicaAction replica_judge(
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

        replica_view(r, start_gate, stop_gate, &v);
        return reconcile_replica(&v, now_usec, again_usec);
}

static void replica_pass(
                Replica *r,
                ReplicaAction action,
                bool start_gate,
                uint64_t now_usec,
                uint64_t *again_usec) {
        replica_act(r, action, now_usec);
        replica_step_liveness(r, !start_gate, now_usec, again_usec);
        replica_step_restart(r, now_usec, again_usec);
        replica_step_drift(r, now_usec);
        replica_step_limits(r);
        probe_step(r, now_usec, again_usec);
}

/* ---- one service ---- */

static bool counts_equal(const ServiceCounts *a, const ServiceCounts *b) {
        return a->wanted == b->wanted && a->desired == b->desired && a->existing == b->existing &&
               a->ready == b->ready && a->held == b->held && a->starting == b->starting &&
               a->stopping == b->stopping;
}

static void count_service(Service *s) {
        ServiceCounts c = { .wanted = s->state->running, .desired = service_desired(s) };

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];
                bool wanted = numbers_has(&s->state->numbers, n);

                if (!r)
                        continue;
                if (r->activity != UNIT_INACTIVE)
                        c.existing++;
                if (replica_is_ready(r) && wanted) {
                        c.ready++;
                } else if (wanted && r->hold[0]) {
                        c.held++;
                } else if (wanted &&
                           (numbers_has(&s->state->starting, n) || r->health.state == HEALTH_STARTING)) {
                        c.starting++;
                }
                if (numbers_has(&s->state->stopping, n))
                        c.stopping++;
        }
        if (!counts_equal(&c, &s->counts)) {
                s->counts = c;
                s->dirty |= SERVICE_DIRTY_STATE;
        }
}

static void explain_service(Service *s, bool start_gate) {
        char reason[sizeof(s->reason)] = "", why[128];

        if (!start_gate && !numbers_is_empty(&s->state->starting)) {
                snprintf(reason, sizeof(reason), "waiting for what it depends on");
        } else if (s->counts.ready < s->counts.desired) {
                NUMBERS_FOREACH(n, &s->state->numbers) {
                        if (s->replicas[n] && replica_is_ready(s->replicas[n]))
                                continue;
                        if (s->replicas[n]) {
                                replica_describe(s->replicas[n], why, sizeof(why));
                        } else {
                                strcpy(why, "not started yet");
                        }
                        snprintf(reason, sizeof(reason), "%s:%u: %s", s->config->id, n, why);
                        break;
                }
        } else if (s->dependency_note[0])
                snprintf(reason, sizeof(reason), "ready, but %s", s->dependency_note);
        if (!s->configured)
                snprintf(reason, sizeof(reason), "no longer configured");

        if (strcmp(reason, s->reason) != 0) {
                memcpy(s->reason, reason, sizeof(reason));
                s->dirty |= SERVICE_DIRTY_STATE;
        }
}

static void service_pass(Service *s, uint64_t now_usec, uint64_t *again_usec) {
        bool start_gate = service_start_gate_is_open(s), stop_gate = service_stop_gate_is_open(s);
        ReplicaAction actions[MAM_CONFIG_REPLICAS_MAX + 1] = { REPLICA_NOTHING };
        const char *text;

        service_note_limits(s, now_usec);
        if (s->settle_usec > 0 && s->state->running) {
                if (s->settle_usec <= now_usec) {
                        service_want_count(s, s->state->replicas, NULL, NULL);
                        manager_queue_save(s->manager, 0);
                } else if (s->settle_usec < *again_usec)
                        *again_usec = s->settle_usec;
        }

        /* Objects for what is wanted and has none yet. */
        NUMBERS_FOREACH(n, &s->state->numbers) {
                (void) service_replica(s, n);
        }
        if (service_is_asleep(s)) /* the one that is woken */
                (void) service_replica(s, 1);
        NUMBERS_FOREACH(n, &s->state->stopping) {
                (void) service_replica(s, n);
        }

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n])
                        actions[n] =
                                        replica_judge(s->replicas[n],
                                                      start_gate,
                                                      stop_gate,
                                                      now_usec,
                                                      again_usec);
        }
        service_start_together(s, actions, now_usec);
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n])
                        replica_pass(s->replicas[n], actions[n], start_gate, now_usec, again_usec);
        }

        service_step_sleep(s, stop_gate);

        count_service(s);
        text = reconcile_service_state(&s->counts);
        if (strcmp(text, s->state_text) != 0) {
                s->state_text = text;
                s->state_since_usec = mam_now_realtime();
                s->dirty |= SERVICE_DIRTY_STATE;
        }
}

static void service_publish(Service *s) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                Replica *r = s->replicas[n];

                if (!r)
                        continue;
                replica_emit_changes(r);
                if (n == 1 && service_is_asleep(s))
                        continue;
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
                if (strcmp(s->state_text, "degraded") == 0 || strcmp(s->state_text, "failed") == 0) {
                        text = "degraded";
                } else if (strcmp(s->state_text, "starting") == 0 && strcmp(text, "degraded") != 0) {
                        text = "starting";
                } else if (strcmp(text, "stopped") == 0) {
                        text = "running";
                }
        }
        if (strcmp(text, m->state_text) == 0)
                return;
        m->state_text = text;
        if (m->ready) {
                (void) sd_bus_emit_properties_changed(
                                m->bus,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "State",
                                NULL);
        }
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

        rollouts_step(m, now_usec, &again_usec);
        DL_FOREACH(m->services, s) {
                service_pass(s, now_usec, &again_usec);
        }
        /* Now that the state of each is known to those that depend on it. */
        DL_FOREACH(m->services, s) {
                (void) service_note_dependency(s);
                explain_service(s, service_start_gate_is_open(s));
        }
        DL_FOREACH(m->services, s) {
                endpoints_announce(s);
        }
        chaos_step(m->chaos, now_usec, &again_usec);
        jobs_evaluate(m, now_usec, &again_usec);
        DL_FOREACH(m->services, s) {
                service_publish(s);
        }
        rollouts_publish(m);
        publish_state(m);
        alerts_pass(m->alerts, now_usec, &again_usec);

        if (now_usec >= m->resync_usec) {
                if (m->resync_usec > 0)
                        systemd_list_again(m->systemd);
                m->resync_usec = now_usec + MANAGER_RESYNC_USEC;
        }
        if (m->resync_usec < again_usec)
                again_usec = m->resync_usec;
        drop_vanished_services(m);

        if (m->state_dirty && m->state_due_usec <= now_usec) {
                (void) manager_save_state(m);
        } else if (m->state_dirty && m->state_due_usec < again_usec) {
                again_usec = m->state_due_usec;
        }

        manager_arm_timer(m, again_usec);
}
