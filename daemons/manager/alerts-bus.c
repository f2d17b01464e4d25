/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Alerts: the manager's view for the rules, the signal Alert, and ListAlerts
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/alerts.h"
#include "manager/autoscaler.h"
#include "manager/events.h"
#include "manager/manager-bus.h"

typedef struct Reverted {
        char service[32];
        char message[ALERT_SUMMARY_MAX];
        uint64_t at_usec; /* monotonic */
} Reverted;

struct Alerts {
        Manager *manager; /* weak: the manager owns us */
        AlertSet set;
        Reverted reverted[MAM_CONFIG_SERVICES_MAX];
        size_t n_reverted;
        char *path;   /* owned; NULL: nothing is kept */
        bool changed; /* since it was written */
};

int alerts_new(Alerts **ret, Manager *m, const char *runtime_dir) {
        _cleanup_(alerts_freep) Alerts *a = NULL;
        int r;

        assert(ret);
        assert(m);

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;

        a->manager = m;
        if (runtime_dir) {
                if (asprintf(&a->path, "%s/alerts", runtime_dir) < 0) {
                        a->path = NULL;
                        return -ENOMEM;
                }
                r = alert_set_load(&a->set, a->path, mam_now_monotonic());
                if (r < 0 && r != -ENOENT)
                        mam_warning("Cannot use all of %s: %s", a->path, strerror(-r));
        }

        *ret = MAM_TAKE(a);
        return 0;
}

Alerts *alerts_free(Alerts *a) {
        if (!a)
                return NULL;

        alert_set_done(&a->set);
        free(a->path);
        free(a);
        return NULL;
}

/* ---- what others note ---- */

static Reverted *find_reverted(Alerts *a, const char *service) {
        for (size_t i = 0; i < a->n_reverted; i++) {
                if (strcmp(a->reverted[i].service, service) == 0)
                        return &a->reverted[i];
        }
        return NULL;
}

void alerts_note_rollout_reverted(Manager *m, const char *service, const char *message) {
        Reverted *v;

        assert(m);

        v = find_reverted(m->alerts, service);
        if (!v) {
                if (m->alerts->n_reverted >= MAM_ELEMENTSOF(m->alerts->reverted))
                        return;
                v = &m->alerts->reverted[m->alerts->n_reverted++];
        }
        snprintf(v->service, sizeof(v->service), "%s", service);
        snprintf(v->message, sizeof(v->message), "%s", message);
        v->at_usec = mam_now_monotonic();
        manager_queue_pass(m);
}

void alerts_note_rollout_done(Manager *m, const char *service) {
        Reverted *v;

        assert(m);

        v = find_reverted(m->alerts, service);
        if (!v)
                return;
        *v = m->alerts->reverted[--m->alerts->n_reverted];
        manager_queue_pass(m);
}

/* ---- what the rules are shown ---- */

static uint64_t oom_age(const Replica *r, uint64_t realtime_usec) {
        if (strcmp(r->last_exit, "oom-kill") != 0 || r->last_exit_usec == 0)
                return MAM_USEC_INFINITY;
        if (realtime_usec + ALERT_OOM_USEC < r->last_exit_usec)
                return MAM_USEC_INFINITY; /* the clock was put back: nobody knows */
        return realtime_usec > r->last_exit_usec ? realtime_usec - r->last_exit_usec : 0;
}

static void see_replica(
                Alerts *a,
                const Replica *r,
                uint64_t now_usec,
                uint64_t realtime_usec,
                uint64_t *again_usec) {
        bool wanted = replica_is_wanted(r);
        AlertReplicaView v = {
                .number = r->number,
                .looping = wanted && r->backoff.level > 0,
                .hold = r->hold,
                .unhealthy = wanted && r->health.state == HEALTH_UNHEALTHY,
                .reason = r->health_reason,
                .oom_age_usec = oom_age(r, realtime_usec),
                .memory_bytes = service_memory_bytes(r->service),
        };

        alert_set_see_replica(&a->set, r->service->config->id, &v, now_usec);
        /* What ends by the clock alone. */
        if (v.oom_age_usec < ALERT_OOM_USEC && now_usec + ALERT_OOM_USEC - v.oom_age_usec < *again_usec)
                *again_usec = now_usec + ALERT_OOM_USEC - v.oom_age_usec;
        if (v.looping && r->backoff.healthy_since_usec > 0 &&
            r->backoff.healthy_since_usec + BACKOFF_RESET_USEC > now_usec &&
            r->backoff.healthy_since_usec + BACKOFF_RESET_USEC < *again_usec)
                *again_usec = r->backoff.healthy_since_usec + BACKOFF_RESET_USEC;
}

static void see_service(Alerts *a, const Service *s, uint64_t now_usec, uint64_t *again_usec) {
        Reverted *reverted = find_reverted(a, s->config->id);
        uint64_t realtime_usec = mam_now_realtime();
        AlertServiceView v = {
                .id = s->config->id,
                .wanted = s->state->running,
                .desired = s->counts.desired,
                .ready = s->counts.ready,
                .reason = s->reason,
                .unbounded = service_unbounded_replicas(s),
                .max = s->config->max_replicas,
        };

        if (reverted && now_usec - reverted->at_usec < ALERT_REVERTED_MAX_USEC) {
                v.reverted = reverted->message;
                if (reverted->at_usec + ALERT_REVERTED_MAX_USEC < *again_usec)
                        *again_usec = reverted->at_usec + ALERT_REVERTED_MAX_USEC;
        }
        alert_set_see_service(&a->set, &v, now_usec);
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n])
                        see_replica(a, s->replicas[n], now_usec, realtime_usec, again_usec);
        }
}

static void see_problems(Alerts *a, uint64_t now_usec) {
        const MamConfig *c = a->manager->config->config;

        for (size_t i = 0; i < c->n_problems; i++) {
                _cleanup_(mam_freep) char *text = NULL;

                if (c->problems[i].level != MAM_PROBLEM_ERROR ||
                    mam_config_problem_format(&text, &c->problems[i]) < 0)
                        continue;
                alert_set_see(&a->set,
                              ALERT_CONFIGURATION_INVALID,
                              c->problems[i].service ? c->problems[i].service : "",
                              0,
                              text,
                              now_usec);
        }
}

/* ---- telling ---- */

static void tell(const Alert *alert, bool ended, void *userdata) {
        const AlertRule *rule = &alert_rules[alert->name];
        Manager *m = userdata;
        char name[64] = "";
        int r;

        m->alerts->changed = true;
        event_log(m,
                  ended                                     ? LOG_NOTICE
                  : strcmp(rule->severity, "critical") == 0 ? LOG_ERR
                                                            : LOG_WARNING,
                  ended ? MAM_MESSAGE_ALERT_ENDED : MAM_MESSAGE_ALERT,
                  alert->service,
                  alert->number,
                  ended ? "resolved" : "alert",
                  "%s%s: %s",
                  rule->name,
                  ended ? " is over" : "",
                  alert->summary);
        if (alert->number > 0)
                snprintf(name, sizeof(name), "%s:%u", alert->service, alert->number);
        r = sd_bus_emit_signal(
                        m->bus,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Alert",
                        "sssssstt",
                        alert->fingerprint,
                        rule->name,
                        rule->severity,
                        alert->service,
                        name,
                        alert->summary,
                        alert->started_usec,
                        ended ? mam_now_realtime() : (uint64_t) 0);
        if (r < 0)
                mam_debug("Cannot announce alert %s: %s", rule->name, strerror(-r));
}

void alerts_pass(Alerts *a, uint64_t now_usec, uint64_t *again_usec) {
        Manager *m = a->manager;
        const Service *s;
        int r;

        assert(again_usec);

        if (m->going_down || !m->ready)
                return; /* while everything stops nothing of it is news */

        DL_FOREACH(m->services, s) {
                see_service(a, s, now_usec, again_usec);
        }
        see_problems(a, now_usec);
        if (m->state_failed < 0) {
                char text[ALERT_SUMMARY_MAX];

                snprintf(text,
                         sizeof(text),
                         "%.160s cannot be written: %s; calls that change something are refused",
                         m->state_path,
                         strerror(-m->state_failed));
                alert_set_see(&a->set, ALERT_STATE_NOT_WRITABLE, "", 0, text, now_usec);
        }
        alert_set_settle(&a->set, now_usec, mam_now_realtime(), again_usec, tell, m);
        if (!a->changed)
                return;
        a->changed = false;
        r = a->path ? alert_set_save(&a->set, a->path) : 0;
        if (r < 0)
                mam_debug("Cannot write %s: %s", a->path, strerror(-r));
}

int manager_bus_list_alerts(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        char name[64];
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssssst)");
        for (size_t i = 0; r >= 0 && i < m->alerts->set.n; i++) {
                const Alert *a = &m->alerts->set.alerts[i];

                if (a->started_usec == 0)
                        continue;
                name[0] = '\0';
                if (a->number > 0)
                        snprintf(name, sizeof(name), "%s:%u", a->service, a->number);
                r = sd_bus_message_append(
                                reply,
                                "(sssssst)",
                                a->fingerprint,
                                alert_rules[a->name].name,
                                alert_rules[a->name].severity,
                                a->service,
                                name,
                                a->summary,
                                a->started_usec);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
