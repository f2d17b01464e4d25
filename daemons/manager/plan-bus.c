/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plan: the manager's view for plan_replica(), and what concerns the whole
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "libmam/util/time.h"
#include "manager/manager-acts.h"
#include "manager/manager-bus.h"
#include "manager/plan.h"
#include "manager/rollout-internal.h"

static int append(sd_bus_message *m, const char *subject, const PlanDifference *d) {
        return sd_bus_message_append(m, "(sssss)", subject, d->is, d->should, d->todo, d->why);
}

void replica_plan_view(const Replica *r, PlanReplica *ret) {
        const Service *s = r->service;
        bool start_gate = service_start_gate_is_open(s), stop_gate = service_stop_gate_is_open(s);

        *ret = (PlanReplica){
                .liveness = r->liveness,
                .health = r->health.state,
                .active_state = r->active_state,
                .health_reason = r->health_reason,
                .hold = r->hold,
                .failure = r->failure,
                .restart_is_due = r->restart != RESTART_NONE,
                .limits_are_due = r->limits_due && service_sets_limits(s),
                .cpu_millis = service_cpu_millis(s),
                .memory_bytes = service_memory_bytes(s),
        };
        replica_view(r, start_gate, stop_gate, &ret->reconcile);
        replica_liveness_view(r, !start_gate, &ret->liveness_view);
        if (ret->reconcile.stopping) {
                ret->waits_for = stop_gate ? NULL : service_gate_of_stop(s);
        } else
                ret->waits_for = start_gate ? NULL : service_gate_of_start(s);
        ret->waits_for_units = start_gate && !rollout_may_start(r);
}

static int append_replica(sd_bus_message *m, const Replica *r, uint64_t now_usec) {
        char unit[MAM_UNIT_NAME_MAX];
        PlanDifference d;
        PlanReplica p;

        replica_plan_view(r, &p);
        if (!plan_replica(&p, now_usec, &d))
                return 0;
        mam_unit_replica_service(unit, r->service->config->id, r->number);
        return append(m, unit, &d);
}

/* A deployed service runs what was deployed; what the files say now waits for the next deploy. */
static int append_undeployed(sd_bus_message *m, const Service *s) {
        const Rollouts *rs = s->manager->rollouts;
        const MamDeployService *ds = rs ? mam_deploy_find(rs->deploy, s->config->id) : NULL;
        const MamRevision *v = ds && !s->rollout ? mam_deploy_revision(ds, ds->fallback) : NULL;
        char name[MAM_REVISION_NAME_SIZE];
        PlanDifference d = { .why = "what it runs was configured otherwise since it was deployed" };

        if (!v || !s->configured || mam_revision_name(name, s->config, v->version, v->exec, v->image) < 0 ||
            strcmp(name, v->name) == 0)
                return 0;
        snprintf(d.is, sizeof(d.is), "revision %s", v->name);
        snprintf(d.should, sizeof(d.should), "revision %s", name);
        snprintf(d.todo, sizeof(d.todo), "nothing by itself: mamctl deploy %s", s->config->id);
        return append(m, s->config->id, &d);
}

static int append_service(sd_bus_message *m, const Service *s, uint64_t now_usec) {
        static const PlanDifference missing = { .is = "inactive",
                                                .should = "active",
                                                .todo = "start",
                                                .why = "it is wanted" };
        char unit[MAM_UNIT_NAME_MAX];
        PlanDifference d;
        int r;

        r = append_undeployed(m, s);
        if (r >= 0 && s->settle_usec > 0 && s->state->running) {
                d = (PlanDifference){ .todo = "scale", .why = "it was found running at another size" };
                snprintf(d.is, sizeof(d.is), "%u replicas", service_desired(s));
                snprintf(d.should, sizeof(d.should), "%u replicas", s->state->replicas);
                r = append(m, s->config->id, &d);
        }
        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n]) {
                        r = append_replica(m, s->replicas[n], now_usec);
                } else if (numbers_has(&s->state->numbers, n)) {
                        mam_unit_replica_service(unit, s->config->id, n);
                        r = append(m, unit, &missing);
                }
        }
        return r;
}

static int append_whole(sd_bus_message *m, Manager *manager) {
        static const PlanDifference reload = {
                .is = "units of an older configuration",
                .should = "units of the configuration as it is",
                .todo = "nothing by itself: mamctl init",
                .why = "the configuration is newer than what systemd has loaded",
        };
        PlanDifference save = { .is = "not stored", .should = "stored", .todo = "write it again soon" };
        int r = 0;

        if (manager->config_dir && manager_needs_daemon_reload(manager))
                r = append(m, "mam.target", &reload);
        if (r >= 0 && manager->state_failed) {
                snprintf(save.why,
                         sizeof(save.why),
                         "%s: %s",
                         manager->state_path,
                         strerror(-manager->state_failed));
                r = append(m, "mam-manager.service", &save);
        }
        return r;
}

int manager_bus_plan(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t now_usec = mam_now_monotonic(), flags;
        Service *only = NULL, *s;
        Manager *m = userdata;
        const char *id;
        int r;

        r = sd_bus_message_read(message, "st", &id, &flags);
        if (r >= 0)
                r = manager_bus_check_flags(flags, error);
        if (r >= 0)
                r = manager_bus_read_service(m, id, true, &only, error);
        if (r >= 0)
                r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssss)");
        if (r >= 0)
                r = append_whole(reply, m);
        DL_FOREACH(m->services, s) {
                if (r >= 0 && (!only || s == only))
                        r = append_service(reply, s, now_usec);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
