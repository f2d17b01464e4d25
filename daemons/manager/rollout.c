/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: from the first step to the last
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "manager/alerts.h"
#include "manager/events.h"
#include "manager/rollout-internal.h"

/* ---- life ---- */

static int path_beside(char **ret, const char *path, const char *name) {
        const char *slash = strrchr(path, '/');
        int length = slash ? (int) (slash - path) : 1;

        return asprintf(ret, "%.*s/%s", length, slash ? path : ".", name) < 0 ? -ENOMEM : 0;
}

int rollouts_new(Rollouts **ret, Manager *m, const ManagerOptions *options) {
        _cleanup_(rollouts_freep) Rollouts *rs = NULL;
        Service *s;
        int r;

        assert(ret);
        assert(m);

        rs = calloc(1, sizeof(*rs));
        if (!rs)
                return -ENOMEM;

        rs->manager = m;
        r = path_beside(&rs->store_path, options->state_path, "rollouts.json");
        if (r >= 0)
                r = path_beside(&rs->deploy_path, options->state_path, "deploy.json");
        if (r < 0)
                return r;
        rs->definitions_dir =
                        strdup(options->definitions_dir ? options->definitions_dir : MAM_DEFINITIONS_DIR);
        if (!rs->definitions_dir)
                return -ENOMEM;
        r = rollouts_load(rs);
        if (r < 0)
                return r;
        DL_FOREACH(m->services, s) {
                if (s->rollout)
                        load_want_often(m->load);
        }

        *ret = MAM_TAKE(rs);
        return 0;
}

Rollouts *rollouts_free(Rollouts *rs) {
        Deployed *d, *next;

        if (!rs)
                return NULL;

        deploy_operations_free(rs);
        DL_FOREACH_SAFE(rs->deployed, d, next) {
                DL_DELETE(rs->deployed, d);
                free(d);
        }
        mam_deploy_free(rs->deploy);
        free(rs->store_path);
        free(rs->deploy_path);
        free(rs->definitions_dir);
        free(rs);
        return NULL;
}

Rollout *rollout_free(Rollout *ro) {
        if (!ro)
                return NULL;

        if (ro->service)
                ro->service->rollout = NULL;
        free(ro);
        return NULL;
}

/* ---- beginning ---- */

static int add_revisions(
                Service *s,
                const RolloutRequest *q,
                Deployed **ret,
                MamDeployService **ret_service) {
        Rollouts *rs = s->manager->rollouts;
        bool first = !mam_deploy_find(rs->deploy, s->config->id);
        MamDeployService *ds;
        Deployed *d;
        int r;

        r = rollouts_get(rs, s->config->id, &d, &ds);
        if (r < 0)
                return r;
        if (first) {
                snprintf(ds->fallback,
                         sizeof(ds->fallback),
                         "%s",
                         q->from.name[0] ? q->from.name : q->to.name);
                if (q->from.name[0])
                        r = rollouts_add_revision(rs, d, ds, &q->from);
                if (r >= 0)
                        rollouts_set_status(rs, s->config->id, q->from.name, REVISION_CURRENT, "");
        }
        if (r >= 0)
                r = rollouts_add_revision(rs, d, ds, &q->to);
        if (r < 0) {
                if (first) {
                        mam_deploy_remove(rs->deploy, s->config->id);
                        DL_DELETE(rs->deployed, d);
                        free(d);
                }
                return r;
        }
        *ret = d;
        *ret_service = ds;
        return 0;
}

/* What runs as configured runs the first revision from now on. */
static void name_replicas(Service *s, const char *revision) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                Replica *r = s->replicas[n];

                if (!r || r->revision[0])
                        continue;
                snprintf(r->revision, sizeof(r->revision), "%s", revision);
                r->dirty |= REPLICA_DIRTY_REVISION;
        }
}

static void begin_here(Service *s, Rollout *ro) {
        Rollouts *rs = s->manager->rollouts;

        s->rollout = ro;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];

                ro->watches[n].deaths = r ? r->deaths : 0;
        }
        rollout_judge_anew(ro);
        load_want_often(s->manager->load);
        rs->assign_due = true;
}

/* Nothing runs, so nothing has to be replaced. */
static int begin_stopped(Service *s, const RolloutRequest *q, uint32_t id) {
        Rollouts *rs = s->manager->rollouts;
        char before[MAM_REVISION_NAME_SIZE];
        int r;

        memcpy(before, service_revision(s), sizeof(before));
        rollouts_set_status(rs, s->config->id, service_revision(s), REVISION_PREVIOUS, "");
        rollouts_set_status(rs, s->config->id, q->to.name, REVISION_CURRENT, "");
        rollouts_set_fallback(rs, s->config->id, q->to.name);
        rs->assign_due = true;
        r = rollouts_save(rs);
        if (r < 0) {
                rollouts_set_status(rs, s->config->id, q->to.name, REVISION_REVERTED, "could not be stored");
                rollouts_set_status(rs, s->config->id, before, REVISION_CURRENT, "");
                rollouts_set_fallback(rs, s->config->id, before);
                return r;
        }
        s->dirty |= SERVICE_DIRTY_ROLLOUT;
        event_log(s->manager,
                  LOG_NOTICE,
                  MAM_MESSAGE_ROLLOUT,
                  s->config->id,
                  0,
                  "rollout",
                  "will run revision %s when it is started",
                  q->to.name);
        rollout_emit_new(s->manager, id, s->config->id, false);
        rollout_emit_removed(
                        s->manager,
                        id,
                        s->config->id,
                        "done",
                        "It does not run; its next start brings the revision",
                        false);
        alerts_note_rollout_done(s->manager, s->config->id);
        manager_queue_pass(s->manager);
        return 0;
}

int rollout_begin(Service *s, const RolloutRequest *q, uint32_t *ret_id) {
        _cleanup_(mam_freep) Rollout *ro = NULL;
        Rollouts *rs = s->manager->rollouts;
        MamDeployService *ds;
        Deployed *d;
        int r;

        assert(!s->rollout);

        ro = calloc(1, sizeof(*ro));
        if (!ro)
                return -ENOMEM;
        r = add_revisions(s, q, &d, &ds);
        if (r < 0)
                return r;

        *ret_id = ++rs->last_id;
        name_replicas(s, q->from.name);
        if (!s->state->running || numbers_is_empty(&s->state->numbers)) {
                return begin_stopped(s, q, *ret_id);
        }

        ro->manager = s->manager;
        ro->service = s;
        ro->id = *ret_id;
        memcpy(ro->from, ds->fallback, sizeof(ro->from));
        memcpy(ro->to, q->to.name, sizeof(ro->to));
        ro->started_usec = mam_now_realtime();
        ro->loaded_usec = mam_now_monotonic();
        ro->plan = q->plan;
        ro->plan.wanted = numbers_count(&s->state->numbers);
        ro->plan.progress_usec = mam_now_monotonic();
        begin_here(s, ro);
        rollouts_set_status(rs, s->config->id, ro->to, REVISION_DEPLOYING, "");

        /* First what says that it is under way, then what the generator reads. */
        r = rollouts_save(rs);
        if (r < 0) {
                s->rollout = NULL;
                load_want_less(s->manager->load);
                rollouts_set_status(rs, s->config->id, q->to.name, REVISION_REVERTED, "could not be stored");
                return r;
        }
        rollouts_set_fallback(rs, s->config->id, ro->to);
        s->dirty |= SERVICE_DIRTY_ROLLOUT;
        event_log(s->manager,
                  LOG_NOTICE,
                  MAM_MESSAGE_ROLLOUT,
                  s->config->id,
                  0,
                  "rollout",
                  "a %s rollout begins: from revision %s to %s",
                  rollout_strategy_to_string(ro->plan.strategy),
                  ro->from,
                  ro->to);
        rollout_emit_new(s->manager, ro->id, s->config->id, true);
        (void) MAM_TAKE(ro); /* the service owns it */
        manager_queue_pass(s->manager);
        return 0;
}

/* ---- ending ---- */

void rollout_end(Rollout *ro, const char *result, const char *message) {
        bool done = strcmp(result, "done") == 0;
        Rollouts *rs = ro->manager->rollouts;
        const char *id = ro->service->config->id;
        uint32_t wanted = ro->plan.wanted;
        Service *s = ro->service;
        Manager *m = ro->manager;

        rollouts_set_status(rs, id, ro->from, done ? REVISION_PREVIOUS : REVISION_CURRENT, "");
        rollouts_set_status(
                        rs,
                        id,
                        ro->to,
                        done ? REVISION_CURRENT : REVISION_REVERTED,
                        done ? "" : message);
        rollouts_set_fallback(rs, id, done ? ro->to : ro->from);
        rs->assign_due = true;
        event_log(m,
                  done ? LOG_NOTICE : LOG_WARNING,
                  MAM_MESSAGE_ROLLOUT,
                  id,
                  0,
                  "rollout",
                  "the rollout of revision %s: %s: %s",
                  ro->to,
                  result,
                  message);
        if (done) {
                alerts_note_rollout_done(m, id);
        } else {
                alerts_note_rollout_reverted(m, id, message);
        }
        load_want_less(m->load);
        rollout_emit_removed(m, ro->id, id, result, message, true);
        rollout_free(ro);
        s->dirty |= SERVICE_DIRTY_ROLLOUT | SERVICE_DIRTY_STATE;
        (void) rollouts_save(rs);

        /* Scaled to none meanwhile: a rollout keeps one. */
        if (s->state->running && wanted == 0)
                service_want_count(s, wanted, NULL, NULL);
        manager_queue_pass(m);
}

/* ---- what people do to it ---- */

void rollout_pause(Rollout *ro) {
        ro->plan.paused = true;
        ro->why[0] = '\0';
        ro->manager->rollouts->dirty = true;
        event_log(ro->manager,
                  LOG_NOTICE,
                  MAM_MESSAGE_ROLLOUT,
                  ro->service->config->id,
                  0,
                  "rollout",
                  "paused");
        manager_queue_pass(ro->manager);
}

void rollout_resume(Rollout *ro) {
        bool held = ro->plan.paused && ro->why[0];

        rollout_plan_resume(&ro->plan, mam_now_monotonic());
        ro->why[0] = '\0';
        if (held) { /* a person wants a fresh try of what was found bad */
                rollout_judge_anew(ro);
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        Replica *r = ro->service->replicas[n];

                        if (!r || strcmp(r->revision, ro->to) != 0 || !replica_is_wanted(r))
                                continue;
                        ro->watches[n].deaths = r->deaths;
                        ro->watches[n].known = false;
                        service_want_number(ro->service, n);
                }
        }
        ro->manager->rollouts->dirty = true;
        event_log(ro->manager,
                  LOG_NOTICE,
                  MAM_MESSAGE_ROLLOUT,
                  ro->service->config->id,
                  0,
                  "rollout",
                  "resumed");
        manager_queue_pass(ro->manager);
}

void rollout_abort(Rollout *ro) {
        RolloutStep step = { .act = ROLLOUT_STEP_REVERT, .reason = "aborted" };

        ro->aborted = true;
        rollout_plan_apply(&ro->plan, &step, mam_now_monotonic());
        rollout_turn_round(ro, &step);
        ro->manager->rollouts->dirty = true;
        manager_queue_pass(ro->manager);
}
