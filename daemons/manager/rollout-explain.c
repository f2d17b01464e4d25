/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: what others ask of them, and why things are as they are
 */

#include <assert.h>
#include <string.h>

#include "libmam/obs/log.h"
#include "manager/events.h"
#include "manager/rollout-internal.h"

const char *service_revision(const Service *s) {
        const Rollouts *rs = s->manager->rollouts;
        const MamDeployService *ds = rs ? mam_deploy_find(rs->deploy, s->config->id) : NULL;

        return ds ? ds->fallback : "";
}

const char *service_version(const Service *s) {
        const Rollouts *rs = s->manager->rollouts;
        const MamDeployService *ds = rs ? mam_deploy_find(rs->deploy, s->config->id) : NULL;
        const MamRevision *v = ds ? mam_deploy_revision(ds, ds->fallback) : NULL;

        return v && v->version ? v->version : "";
}

uint32_t rollout_wanted(const Rollout *ro) {
        return ro->plan.wanted;
}

void rollout_set_wanted(Rollout *ro, uint32_t count) {
        if (count == ro->plan.wanted)
                return;
        event_log(ro->manager,
                  LOG_INFO,
                  NULL,
                  ro->service->config->id,
                  0,
                  "rollout",
                  "the rollout under way brings it to %u replicas",
                  count);
        rollout_plan_set_wanted(&ro->plan, count, mam_now_monotonic());
        ro->manager->rollouts->dirty = true;
        manager_queue_pass(ro->manager);
}

bool rollout_split(
                const Service *s,
                const char **ret_old,
                uint32_t *ret_old_share,
                const char **ret_new,
                uint32_t *ret_new_share) {
        RolloutView v;

        if (!s->rollout)
                return false;
        rollout_view(s->rollout, &v);
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (v.slots[n].state == ROLLOUT_READY && v.slots[n].side == ROLLOUT_OTHER)
                        return false; /* it serves as well */
        }
        *ret_old = s->rollout->from;
        *ret_new = s->rollout->to;
        *ret_new_share = rollout_plan_share(&v);
        *ret_old_share = ROLLOUT_SHARE_WHOLE - *ret_new_share;
        return true;
}

void rollout_count(const Rollout *ro, uint32_t *ret_updated, uint32_t *ret_ready) {
        RolloutView v;

        *ret_updated = *ret_ready = 0;
        rollout_view(ro, &v);
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const RolloutSlot *s = &v.slots[n];

                if (s->side != ROLLOUT_NEW || s->state == ROLLOUT_ABSENT || s->state == ROLLOUT_LEAVING)
                        continue;
                (*ret_updated)++;
                *ret_ready += s->state == ROLLOUT_READY;
        }
}

const char *rollout_phase(const Rollout *ro) {
        if (ro->plan.reverting)
                return "reverting";
        if (ro->plan.paused)
                return "paused";
        return ro->plan.watch_usec > 0 ? "watching" : "progressing";
}

void rollout_reason(const Rollout *ro, char *ret, size_t size) {
        if (ro->plan.reverting) {
                snprintf(ret, size, "goes back: %s", ro->why);
        } else if (ro->plan.paused && ro->why[0]) {
                snprintf(ret, size, "held: %s", ro->why);
        } else {
                snprintf(ret, size, "%s", ro->waiting);
        }
}

/* "abc123 (version 2)" */
static void describe_revision(const Service *s, const char *name, char *ret, size_t size) {
        const MamDeployService *ds = mam_deploy_find(s->manager->rollouts->deploy, s->config->id);
        const MamRevision *v = ds ? mam_deploy_revision(ds, name) : NULL;
        bool versioned = v && v->version && v->version[0];

        snprintf(ret,
                 size,
                 "%s%s%.40s%s",
                 name,
                 versioned ? " (version " : "",
                 versioned ? v->version : "",
                 versioned ? ")" : "");
}

static void add_number(DecisionRecord *record, const char *name, double value) {
        if (record->n_numbers >= DECISION_NUMBERS_MAX)
                return;
        snprintf(record->numbers[record->n_numbers].name, sizeof(record->numbers[0].name), "%s", name);
        record->numbers[record->n_numbers++].value = value;
}

void rollout_explain(Service *s, DecisionRecord *ret) {
        const Rollouts *rs = s->manager->rollouts;
        const Deployed *d = rs ? rollouts_find(rs, s->config->id) : NULL;
        const Rollout *ro = s->rollout;
        char text[80], reason[224];
        uint32_t updated, ready;

        *ret = (DecisionRecord){ .n_numbers = 0 };
        if (!d) {
                snprintf(ret->verdict, sizeof(ret->verdict), "as configured");
                snprintf(ret->why,
                         sizeof(ret->why),
                         "it was never deployed: replicas run what services.json says");
                snprintf(ret->change, sizeof(ret->change), "mamctl deploy %s", s->config->id);
                return;
        }
        if (!ro) {
                describe_revision(s, service_revision(s), text, sizeof(text));
                snprintf(ret->verdict, sizeof(ret->verdict), "%.63s", text);
                snprintf(ret->why, sizeof(ret->why), "the latest rollout that ended well brought it");
                snprintf(ret->change,
                         sizeof(ret->change),
                         "mamctl deploy %s; what is configured does not change it any more",
                         s->config->id);
                for (size_t i = 0; i < d->n_records; i++) {
                        if (strcmp(d->records[i].name, service_revision(s)) == 0)
                                ret->since_usec = d->records[i].deployed_usec;
                }
                if (d->n_records > 0 && d->records[0].status == REVISION_REVERTED) {
                        snprintf(ret->why,
                                 sizeof(ret->why),
                                 "the rollout of %s went back: %s",
                                 d->records[0].name,
                                 d->records[0].why);
                }
                return;
        }

        rollout_count(ro, &updated, &ready);
        rollout_reason(ro, reason, sizeof(reason));
        describe_revision(s, ro->to, text, sizeof(text));
        snprintf(ret->verdict, sizeof(ret->verdict), "%s to %.40s", rollout_phase(ro), text);
        snprintf(ret->why,
                 sizeof(ret->why),
                 "a %s rollout from %s: %s",
                 rollout_strategy_to_string(ro->plan.strategy),
                 ro->from,
                 reason);
        snprintf(ret->change,
                 sizeof(ret->change),
                 ro->plan.reverting ? "it ends when the old replicas are ready"
                                    : "mamctl rollout pause, resume or abort %s",
                 s->config->id);
        ret->since_usec = ro->started_usec;
        add_number(ret, "wanted", ro->plan.wanted);
        add_number(ret, "updated", updated);
        add_number(ret, "ready", ready);
        add_number(ret, "old_requests", (double) ro->errors[ROLLOUT_OLD].requests);
        add_number(ret, "old_errors", (double) ro->errors[ROLLOUT_OLD].errors);
        add_number(ret, "new_requests", (double) ro->errors[ROLLOUT_NEW].requests);
        add_number(ret, "new_errors", (double) ro->errors[ROLLOUT_NEW].errors);
}
