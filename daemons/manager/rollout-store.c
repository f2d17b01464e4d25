/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: rollouts.json
 *
 * {"version":1,"lastId":N,"bootId":…,"reload":B,"services":{ID:{"history":[{"revision","deployed","status",
 * "why"}…],"rollout":{…}}}}. What a revision is stands in deploy.json; here stands what became of it.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/json/json.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/file.h"
#include "manager/rollout-internal.h"

#define STORE_FILE_MAX ((size_t) 4 * 1024 * 1024)

/* ---- writing ---- */

/* Takes value; NULL (out of memory) is an error. */
static int put(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int put_item(json_object *array, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_array_add(array, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int put_numbers(json_object *o, const Rollout *ro) {
        const RolloutPlan *p = &ro->plan;
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "id", ro->id },
                { "startedUSec", ro->started_usec },
                { "pauseUSec", p->pause_usec },
                { "maxSurge", p->max_surge },
                { "maxUnavailable", p->max_unavailable },
                { "minHealthyUSec", p->min_healthy_usec },
                { "healthyDeadlineUSec", p->healthy_deadline_usec },
                { "progressDeadlineUSec", p->progress_deadline_usec },
                { "wanted", p->wanted },
                { "step", p->step },
        };
        const struct {
                const char *key;
                bool value;
        } flags[] = {
                { "autoRevert", p->auto_revert },     { "paused", p->paused },
                { "reverting", p->reverting },        { "watching", p->watch_usec > 0 },
                { "switched", p->switched_usec > 0 }, { "aborted", ro->aborted },
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(numbers); i++)
                r = put(o, numbers[i].key, json_object_new_int64((int64_t) numbers[i].value));
        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(flags); i++)
                r = put(o, flags[i].key, json_object_new_boolean(flags[i].value));
        return r;
}

static int put_rollout(json_object *parent, const Rollout *ro) {
        json_object *o = json_object_new_object(), *steps, *replacing;
        int r;

        r = put(parent, "rollout", o);
        if (r >= 0)
                r = put(o, "from", json_object_new_string(ro->from));
        if (r >= 0)
                r = put(o, "to", json_object_new_string(ro->to));
        if (r >= 0) {
                r = put(o,
                        "strategy",
                        json_object_new_string(rollout_strategy_to_string(ro->plan.strategy)));
        }
        if (r >= 0)
                r = put(o, "why", json_object_new_string(ro->why));
        if (r >= 0)
                r = put_numbers(o, ro);
        if (r < 0)
                return r;

        steps = json_object_new_array();
        r = put(o, "steps", steps);
        for (uint32_t i = 0; r >= 0 && i < ro->plan.n_steps; i++)
                r = put_item(steps, json_object_new_int64(ro->plan.steps[i]));
        if (r < 0)
                return r;

        replacing = json_object_new_array();
        r = put(o, "replacing", replacing);
        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (ro->watches[n].replacing)
                        r = put_item(replacing, json_object_new_int64(n));
        }
        return r;
}

static int put_service(Rollouts *rs, json_object *services, const Deployed *d) {
        const Service *s = manager_find_service(rs->manager, d->id);
        json_object *o = json_object_new_object(), *history;
        int r;

        r = put(services, d->id, o);
        if (r < 0)
                return r;
        history = json_object_new_array();
        r = put(o, "history", history);
        for (size_t i = 0; r >= 0 && i < d->n_records; i++) {
                const RevisionRecord *v = &d->records[i];
                json_object *record = json_object_new_object();

                r = put_item(history, record);
                if (r >= 0)
                        r = put(record, "revision", json_object_new_string(v->name));
                if (r >= 0)
                        r = put(record, "deployed", json_object_new_int64((int64_t) v->deployed_usec));
                if (r >= 0)
                        r = put(record,
                                "status",
                                json_object_new_string(revision_status_to_string(v->status)));
                if (r >= 0 && v->why[0])
                        r = put(record, "why", json_object_new_string(v->why));
        }
        if (r >= 0 && s && s->rollout)
                r = put_rollout(o, s->rollout);
        return r;
}

static int save(Rollouts *rs) {
        _cleanup_(json_object_putp) json_object *root = json_object_new_object();
        json_object *services;
        const Deployed *d;
        const char *text;
        int r;

        if (!root)
                return -ENOMEM;
        r = put(root, "version", json_object_new_int64(1));
        if (r >= 0)
                r = put(root, "lastId", json_object_new_int64(rs->last_id));
        if (r >= 0)
                r = put(root, "bootId", json_object_new_string(rs->manager->boot_id));
        if (r >= 0)
                r = put(root, "reload", json_object_new_boolean(rs->reload_stored));
        if (r < 0)
                return r;
        services = json_object_new_object();
        r = put(root, "services", services);
        DL_FOREACH(rs->deployed, d) {
                if (r >= 0)
                        r = put_service(rs, services, d);
        }
        if (r < 0)
                return r;
        text = mam_json_to_string(root);
        if (!text)
                return -ENOMEM;
        return mam_file_write_atomic(rs->store_path, text, strlen(text), 0600);
}

int rollouts_save(Rollouts *rs) {
        int r;

        r = save(rs);
        if (r < 0) {
                mam_log_id(LOG_ERR,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot write %s: %s",
                           rs->store_path,
                           strerror(-r));
                rs->dirty = true;
                return r;
        }
        rs->dirty = false;
        return 0;
}

/* ---- reading ---- */

static int read_name(json_object *o, const char *key, char ret[static MAM_REVISION_NAME_SIZE]) {
        const char *text = NULL;
        MamJsonError error;

        if (mam_json_get_string(o, "", key, &text, &error) <= 0 ||
            strlen(text) != MAM_REVISION_NAME_SIZE - 1)
                return -EBADMSG;
        memcpy(ret, text, MAM_REVISION_NAME_SIZE);
        return 0;
}

static int read_number(json_object *o, const char *key, int64_t max, uint64_t *ret) {
        MamJsonError error;
        int64_t value;
        int r;

        r = mam_json_get_int(o, "", key, 0, max, &value, &error);
        if (r > 0)
                *ret = (uint64_t) value;
        return r < 0 ? r : 0;
}

static int read_count(json_object *o, const char *key, uint32_t *ret) {
        uint64_t value = *ret;
        int r;

        r = read_number(o, key, UINT32_MAX, &value);
        *ret = (uint32_t) value;
        return r;
}

static int read_steps(json_object *o, RolloutPlan *p) {
        json_object *array = NULL;
        MamJsonError error;
        int r;

        r = mam_json_get_array(o, "", "steps", &array, &error);
        if (r <= 0)
                return r;
        p->n_steps = 0;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                json_object *item = json_object_array_get_idx(array, i);
                int64_t percent = json_object_get_int64(item);

                if (p->n_steps >= ROLLOUT_STEPS_MAX || percent < 1 || percent > 100)
                        return -EBADMSG;
                p->steps[p->n_steps++] = (uint32_t) percent;
        }
        return p->n_steps > 0 && p->step < p->n_steps && p->steps[p->n_steps - 1] == 100 ? 0 : -EBADMSG;
}

static int read_replacing(json_object *o, Rollout *ro) {
        json_object *array = NULL;
        MamJsonError error;
        int r;

        r = mam_json_get_array(o, "", "replacing", &array, &error);
        if (r <= 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                int64_t n = json_object_get_int64(json_object_array_get_idx(array, i));

                if (n < 1 || n > MAM_CONFIG_REPLICAS_MAX)
                        return -EBADMSG;
                ro->watches[n].replacing = true;
        }
        return 0;
}

static int read_plan(json_object *o, Rollout *ro) {
        bool watching = false, switched = false;
        uint64_t now_usec = mam_now_monotonic();
        const char *strategy = NULL, *why = "";
        RolloutPlan *p = &ro->plan;
        uint64_t id = 0;
        MamJsonError error;

        rollout_plan_init(p, 1, now_usec);
        if (mam_json_get_string(o, "", "strategy", &strategy, &error) <= 0 ||
            mam_json_get_string(o, "", "why", &why, &error) < 0 ||
            read_number(o, "id", UINT32_MAX, &id) < 0 ||
            read_number(o, "startedUSec", INT64_MAX, &ro->started_usec) < 0 ||
            read_number(o, "pauseUSec", INT64_MAX, &p->pause_usec) < 0 ||
            read_count(o, "maxSurge", &p->max_surge) < 0 ||
            read_count(o, "maxUnavailable", &p->max_unavailable) < 0 ||
            read_number(o, "minHealthyUSec", INT64_MAX / 4, &p->min_healthy_usec) < 0 ||
            read_number(o, "healthyDeadlineUSec", INT64_MAX / 4, &p->healthy_deadline_usec) < 0 ||
            read_number(o, "progressDeadlineUSec", INT64_MAX / 4, &p->progress_deadline_usec) < 0 ||
            read_count(o, "wanted", &p->wanted) < 0 || read_count(o, "step", &p->step) < 0 ||
            mam_json_get_bool(o, "", "autoRevert", &p->auto_revert, &error) < 0 ||
            mam_json_get_bool(o, "", "paused", &p->paused, &error) < 0 ||
            mam_json_get_bool(o, "", "reverting", &p->reverting, &error) < 0 ||
            mam_json_get_bool(o, "", "watching", &watching, &error) < 0 ||
            mam_json_get_bool(o, "", "switched", &switched, &error) < 0 ||
            mam_json_get_bool(o, "", "aborted", &ro->aborted, &error) < 0 || read_steps(o, p) < 0 ||
            read_replacing(o, ro) < 0)
                return -EBADMSG;

        ro->id = (uint32_t) id;
        snprintf(ro->why, sizeof(ro->why), "%s", why);
        p->strategy = rollout_strategy_from_string(strategy);
        p->watch_usec = watching ? now_usec : 0;
        p->switched_usec = switched ? now_usec : 0;
        return p->strategy < 0 || p->wanted > MAM_CONFIG_REPLICAS_MAX ? -EBADMSG : 0;
}

static int read_rollout(
                Rollouts *rs,
                json_object *o,
                Service *s,
                const MamDeployService *ds,
                bool same_boot) {
        _cleanup_(mam_freep) Rollout *ro = calloc(1, sizeof(*ro));

        if (!ro)
                return -ENOMEM;
        if (read_name(o, "from", ro->from) < 0 || read_name(o, "to", ro->to) < 0 || read_plan(o, ro) < 0 ||
            !mam_deploy_revision(ds, ro->from))
                return -EBADMSG;
        /* Killed before deploy.json was written: nothing of it was done. */
        if (!mam_deploy_revision(ds, ro->to))
                return 0;

        ro->manager = rs->manager;
        ro->service = s;
        ro->untouched_boot = !same_boot;
        ro->loaded_usec = mam_now_monotonic();
        s->rollout = MAM_TAKE(ro);
        return 0;
}

static int read_history(json_object *o, Deployed *d, const MamDeployService *ds) {
        json_object *array = NULL;
        MamJsonError error;
        int r;

        r = mam_json_get_array(o, "", "history", &array, &error);
        if (r <= 0)
                return r;
        for (size_t i = 0; i < json_object_array_length(array); i++) {
                json_object *item = json_object_array_get_idx(array, i);
                const char *status = "previous", *why = "";
                RevisionRecord v = { .deployed_usec = 0 };

                if (!json_object_is_type(item, json_type_object) ||
                    read_name(item, "revision", v.name) < 0 ||
                    read_number(item, "deployed", INT64_MAX, &v.deployed_usec) < 0 ||
                    mam_json_get_string(item, "", "status", &status, &error) < 0 ||
                    mam_json_get_string(item, "", "why", &why, &error) < 0)
                        return -EBADMSG;
                v.status = revision_status_from_string(status);
                if (v.status < 0)
                        return -EBADMSG;
                snprintf(v.why, sizeof(v.why), "%s", why);
                if (mam_deploy_revision(ds, v.name) && d->n_records < MAM_DEPLOY_REVISIONS_MAX)
                        d->records[d->n_records++] = v;
        }
        return 0;
}

/* Every service of deploy.json gets its record, with or without a history. */
static int make_deployed(Rollouts *rs) {
        for (size_t i = 0; i < rs->deploy->n_services; i++) {
                const MamDeployService *ds = &rs->deploy->services[i];
                Deployed *d = calloc(1, sizeof(*d));

                if (!d)
                        return -ENOMEM;
                snprintf(d->id, sizeof(d->id), "%s", ds->id);
                memcpy(d->loaded.fallback, ds->fallback, sizeof(ds->fallback));
                memcpy(d->loaded.pinned, ds->pinned, sizeof(ds->pinned));
                d->loaded_known = true;
                DL_APPEND(rs->deployed, d);
        }
        return 0;
}

static void complete_histories(Rollouts *rs) {
        Deployed *d;

        DL_FOREACH(rs->deployed, d) {
                const MamDeployService *ds = mam_deploy_find(rs->deploy, d->id);
                const Service *s = manager_find_service(rs->manager, d->id);

                for (size_t i = 0; i < ds->n_revisions; i++) {
                        bool known = false, current = strcmp(ds->revisions[i].name, ds->fallback) == 0;

                        for (size_t k = 0; k < d->n_records; k++) {
                                RevisionRecord *v = &d->records[k];

                                if (strcmp(v->name, ds->revisions[i].name) != 0)
                                        continue;
                                known = true;
                                if (v->status == REVISION_DEPLOYING && !(s && s->rollout))
                                        v->status = current ? REVISION_CURRENT : REVISION_REVERTED;
                        }
                        if (known || d->n_records >= MAM_DEPLOY_REVISIONS_MAX)
                                continue;
                        memcpy(d->records[d->n_records].name, ds->revisions[i].name, MAM_REVISION_NAME_SIZE);
                        d->records[d->n_records++].status = current ? REVISION_CURRENT : REVISION_PREVIOUS;
                }
        }
}

static int read_all(Rollouts *rs) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        json_object *services = NULL, *rollout;
        const char *boot = "";
        MamJsonError error;
        size_t size;
        int r;

        r = mam_file_read(&text, &size, rs->store_path, STORE_FILE_MAX);
        if (r < 0)
                return r;
        r = mam_json_parse(&root, text, size, &error);
        if (r < 0)
                return r;
        if (!json_object_is_type(root, json_type_object) || read_count(root, "lastId", &rs->last_id) < 0 ||
            mam_json_get_string(root, "", "bootId", &boot, &error) < 0 ||
            mam_json_get_bool(root, "", "reload", &rs->reload_stored, &error) < 0 ||
            mam_json_get_object(root, "", "services", &services, &error) < 0)
                return -EBADMSG;
        if (!services)
                return 0;

        json_object_object_foreach(services, id, object) {
                const MamDeployService *ds = mam_deploy_find(rs->deploy, id);
                Service *s = manager_find_service(rs->manager, id);
                Deployed *d = rollouts_find(rs, id);

                if (!ds || !d || !json_object_is_type(object, json_type_object))
                        continue;
                r = read_history(object, d, ds);
                if (r < 0)
                        return r;
                rollout = NULL;
                r = mam_json_get_object(object, "", "rollout", &rollout, &error);
                if (r > 0 && s)
                        r = read_rollout(rs, rollout, s, ds, strcmp(boot, rs->manager->boot_id) == 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* rollouts.json is the truth, and is written first: where deploy.json is behind it, what runs is still what
 * the file says, and everything else becomes what it should be. */
static void catch_up(Rollouts *rs, const Deployed *d) {
        const Service *s = manager_find_service(rs->manager, d->id);
        MamDeployService *ds = mam_deploy_find(rs->deploy, d->id);
        const char *want = NULL;

        if (s && s->rollout) {
                want = s->rollout->plan.reverting ? s->rollout->from : s->rollout->to;
        } else {
                for (size_t i = 0; i < d->n_records && !want; i++)
                        want = d->records[i].status == REVISION_CURRENT ? d->records[i].name : NULL;
        }
        if (!want || strcmp(ds->fallback, want) == 0)
                return;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!ds->pinned[n][0])
                        memcpy(ds->pinned[n], ds->fallback, sizeof(ds->fallback));
        }
        memset(ds->fallback, 0, sizeof(ds->fallback));
        memcpy(ds->fallback, want, strlen(want));
}

static void set_aside(const char *path, const char *problem) {
        char aside[4096];

        snprintf(aside, sizeof(aside), "%s.bad", path);
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_STATE_UNUSABLE,
                   "Cannot use %s (%s): moved aside to %s",
                   path,
                   problem,
                   aside);
        if (rename(path, aside) < 0)
                mam_warning("Cannot move it aside: %s", strerror(errno));
}

int rollouts_load(Rollouts *rs) {
        _cleanup_(mam_freep) char *problem = NULL;
        Deployed *d;
        Service *s;
        int r;

        r = mam_deploy_load(&rs->deploy, rs->deploy_path, &problem);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                if (r != -ENOENT) {
                        set_aside(rs->deploy_path, problem ? problem : strerror(-r));
                        rs->reload_due = true;
                }
                r = mam_deploy_new(&rs->deploy);
                if (r < 0)
                        return r;
        }
        r = make_deployed(rs);
        if (r < 0)
                return r;

        r = read_all(rs);
        if (r == -ENOMEM)
                return r;
        if (r < 0 && r != -ENOENT)
                set_aside(rs->store_path, strerror(-r));
        complete_histories(rs);
        DL_FOREACH(rs->deployed, d) {
                catch_up(rs, d);
        }

        /* What systemd has loaded is certain only if nothing was under way. */
        rs->reload_due = rs->reload_due || rs->reload_stored;
        DL_FOREACH(rs->manager->services, s) {
                rs->reload_due = rs->reload_due || s->rollout;
        }
        DL_FOREACH(rs->deployed, d) {
                d->loaded_known = !rs->reload_due;
        }
        rs->assign_due = true;
        return 0;
}
