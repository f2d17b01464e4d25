/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Restarting what runs and does not answer, and saying so of what depends on it
 */

#include <string.h>

#include "libmam/obs/message-ids.h"
#include "manager/manager-acts.h"

static bool is_on_its_way(const Replica *r) {
        bool held = r->hold[0] && r->activity == UNIT_INACTIVE;

        return !held && replica_is_wanted(r) &&
               (r->activity != UNIT_ACTIVE || r->restart != RESTART_NONE ||
                r->health.state == HEALTH_STARTING);
}

void replica_liveness_view(const Replica *r, bool dependency_is_down, LivenessView *ret) {
        const Service *s = r->service;

        *ret = (LivenessView){
                .keeps_data = s->config->type == MAM_SERVICE_TYPE_INFRASTRUCTURE,
                .wanted = replica_is_wanted(r) && s->configured,
                .unhealthy = r->activity == UNIT_ACTIVE && r->health.state == HEALTH_UNHEALTHY,
                .busy = r->n_calls > 0 || r->own_job > 0 || r->job > 0 || r->restart != RESTART_NONE,
                .dependency_is_down = dependency_is_down,
                .failures = r->health.failures,
                .threshold = s->config->health_failures > 0 ? s->config->health_failures : 1,
        };
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n] && s->replicas[n] != r)
                        ret->sibling_is_down = ret->sibling_is_down || is_on_its_way(s->replicas[n]);
        }
}

void replica_step_liveness(Replica *r, bool dependency_is_down, uint64_t now_usec, uint64_t *again_usec) {
        LivenessView v;

        if (r->liveness.restarting && (r->restart == RESTART_RUNNING || r->restart == RESTART_NONE)) {
                r->restart = RESTART_NONE;
                r->liveness.restarting = false;
        }
        liveness_note_health(&r->liveness, r->backoff.healthy_since_usec, now_usec);
        if (r->health.state != HEALTH_UNHEALTHY || r->service->rollout)
                return; /* a rollout judges its replicas itself */

        replica_liveness_view(r, dependency_is_down, &v);
        if (liveness_judge(&r->liveness, &v, now_usec, again_usec) != LIVENESS_RESTART)
                return;

        replica_event(LOG_WARNING,
                      MAM_MESSAGE_REPLICA_UNHEALTHY,
                      r,
                      "unhealthy",
                      "still unhealthy after %u failures in a row (%s): restarting it",
                      v.failures,
                      r->health_reason);
        liveness_note_restart(&r->liveness, now_usec);
        r->restart = RESTART_WANTED;
        r->restart_drain_until_usec = 0;
        manager_queue_pass(r->service->manager);
}

/* ---- what it depends on ---- */

static bool is_bad(const Manager *m, const Service *s) {
        if (!s->configured || manager_service_is_external(m, s->config->id))
                return false;
        if (!s->state->running)
                return true;
        return (s->counts.ready == 0 && s->counts.desired > 0) || strcmp(s->state_text, "degraded") == 0 ||
               strcmp(s->state_text, "failed") == 0;
}

bool service_note_dependency(Service *s) {
        const Service *bad = NULL;
        char text[sizeof(s->dependency_note)] = "";

        for (char **d = s->config->dependencies; d && *d && !bad && s->state->running; d++) {
                const Service *dependency = manager_find_service(s->manager, *d);

                if (dependency && is_bad(s->manager, dependency))
                        bad = dependency;
        }
        if (bad)
                snprintf(text, sizeof(text), "%s it depends on is %s", bad->config->id, bad->state_text);
        if (strcmp(text, s->dependency_note) == 0)
                return false;

        if (bad || s->state->running) {
                event_log(s->manager,
                          LOG_NOTICE,
                          NULL,
                          s->config->id,
                          0,
                          "dependency",
                          "%s",
                          bad ? text : "what it depends on is well again");
        }
        memcpy(s->dependency_note, text, sizeof(text));
        return true;
}
