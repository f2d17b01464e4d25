/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: which number runs what, in deploy.json and in systemd's units
 *
 * During a rollout each number that exists is pinned to what it runs, so that one that dies comes up again
 * as what it was; all others follow the default. One daemon-reload at a time brings what was written to
 * systemd.
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/rollout-internal.h"

#define RETRY_USEC (2 * MAM_USEC_PER_SEC)
/* Reloads cost systemd time: what comes up within this goes together. */
#define RELOAD_PACE_USEC (500 * MAM_USEC_PER_MSEC)
/* So many refused ones, and starts do not wait for it any longer. */
#define RELOAD_FAILURES_MAX 3U

static const char *of_number(const Assignment *a, uint32_t n) {
        return n <= MAM_CONFIG_REPLICAS_MAX && a->pinned[n][0] ? a->pinned[n] : a->fallback;
}

const char *rollout_assigned(const Service *s, uint32_t n) {
        const Rollouts *rs = s->manager->rollouts;
        const MamDeployService *ds = rs ? mam_deploy_find(rs->deploy, s->config->id) : NULL;
        const Deployed *d = rs ? rollouts_find(rs, s->config->id) : NULL;

        if (!ds || !numbers_is_valid(n))
                return "";
        if (d && d->loaded_known)
                return of_number(&d->loaded, n);
        return ds->pinned[n][0] ? ds->pinned[n] : ds->fallback;
}

void rollouts_set_fallback(Rollouts *rs, const char *id, const char *revision) {
        MamDeployService *ds = mam_deploy_find(rs->deploy, id);

        assert(ds);

        if (strcmp(ds->fallback, revision) == 0)
                return;
        snprintf(ds->fallback, sizeof(ds->fallback), "%s", revision);
        rs->assign_due = true;
}

const char *rollouts_loaded(const Rollouts *rs, const char *id, uint32_t n) {
        const Deployed *d = rollouts_find(rs, id);

        return d && d->loaded_known ? of_number(&d->loaded, n) : "";
}

bool rollouts_is_loaded(const Rollouts *rs, const char *id, uint32_t n, const char *revision) {
        const Deployed *d = rollouts_find(rs, id);

        if (!d)
                return true; /* as configured */
        return d->loaded_known && strcmp(of_number(&d->loaded, n), revision) == 0;
}

static void name_replica(Replica *r, const char *revision) {
        if (strcmp(r->revision, revision) == 0)
                return;
        snprintf(r->revision, sizeof(r->revision), "%s", revision);
        r->dirty |= REPLICA_DIRTY_REVISION;
}

static bool is_down(const Replica *r) {
        return r->activity == UNIT_INACTIVE && r->n_calls == 0 && r->own_job == 0 && r->job == 0;
}

void rollout_note_wanted(Replica *r) {
        Service *s = r->service;
        Rollouts *rs = s->manager->rollouts;
        const MamDeployService *ds = rs ? mam_deploy_find(rs->deploy, s->config->id) : NULL;

        if (ds && !s->rollout && is_down(r))
                name_replica(r, ds->fallback);
}

bool rollout_may_start(const Replica *r) {
        const Service *s = r->service;
        Rollouts *rs = s->manager->rollouts;

        if (!rs || rollouts_is_loaded(rs, s->config->id, r->number, r->revision))
                return true;
        if (!s->rollout && rs->reload_failures >= RELOAD_FAILURES_MAX)
                return true; /* better another revision than nothing */
        rs->assign_due = true;
        return false;
}

/* ---- deploy.json ---- */

/* What number n is to run, if that is not the default. */
static const char *pin_of(const Service *s, const MamDeployService *ds, uint32_t n) {
        const char *revision = "";
        Replica *r = s->replicas[n];

        if (!r)
                return "";
        if (s->rollout && s->rollout->watches[n].replacing) {
                revision = s->rollout->plan.reverting ? s->rollout->from : s->rollout->to;
        } else if (!is_down(r) || (s->rollout && replica_is_wanted(r))) {
                revision = r->revision;
        } else {
                name_replica(r, ds->fallback);
        }
        if (strcmp(revision, ds->fallback) == 0 || !mam_deploy_revision(ds, revision))
                return "";
        return revision;
}

static bool assign_service(const Service *s, MamDeployService *ds) {
        bool changed = false;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const char *pin;

                if (s->replicas[n] && !mam_deploy_revision(ds, s->replicas[n]->revision))
                        name_replica(s->replicas[n], ds->fallback);
                pin = pin_of(s, ds, n);
                if (strcmp(ds->pinned[n], pin) == 0)
                        continue;
                memset(ds->pinned[n], 0, sizeof(ds->pinned[n])); /* compared as a whole */
                memcpy(ds->pinned[n], pin, strlen(pin));
                changed = true;
        }
        return changed;
}

static bool differs_from_loaded(const MamDeployService *ds, const Deployed *d) {
        if (!d->loaded_known || strcmp(d->loaded.fallback, ds->fallback) != 0)
                return true;
        return memcmp(d->loaded.pinned, ds->pinned, sizeof(ds->pinned)) != 0;
}

/* Brings deploy.json up to date; afterwards systemd is behind it or not. */
static int write_assignment(Rollouts *rs) {
        bool behind = false;
        Deployed *d;
        int r;

        DL_FOREACH(rs->deployed, d) {
                MamDeployService *ds = mam_deploy_find(rs->deploy, d->id);
                const Service *s = manager_find_service(rs->manager, d->id);

                if (!ds)
                        continue;
                if (s)
                        (void) assign_service(s, ds);
                behind = behind || differs_from_loaded(ds, d);
        }
        if (!behind)
                return 0;

        if (!rs->reload_stored) {
                rs->reload_stored = true;
                r = rollouts_save(rs);
                if (r < 0)
                        return r;
        }
        r = mam_deploy_save(rs->deploy, rs->deploy_path);
        if (r < 0) {
                mam_log_id(LOG_ERR,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot write %s: %s",
                           rs->deploy_path,
                           strerror(-r));
                return r;
        }
        rs->reload_due = true;
        return 0;
}

/* ---- daemon-reload ---- */

static void on_reloaded(uint32_t job, const sd_bus_error *error, void *userdata) {
        uint64_t now_usec = mam_now_monotonic();
        Rollouts *rs = userdata;
        Deployed *d;

        rs->reloading = false;
        if (sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                return; /* we are ending */
        if (error) {
                rs->reload_failures++;
                rs->reload_due = true;
                rs->retry_usec = now_usec + RETRY_USEC;
                mam_log_id(LOG_ERR,
                           MAM_MESSAGE_ROLLOUT,
                           "systemd cannot load which revisions are to run: %s",
                           error->message);
                manager_queue_pass(rs->manager);
                return;
        }
        rs->reload_failures = 0;
        rs->retry_usec = now_usec + RELOAD_PACE_USEC;
        DL_FOREACH(rs->deployed, d) {
                if (!d->loading.fallback[0])
                        continue; /* deployed for the first time meanwhile */
                d->loaded = d->loading;
                d->loaded_known = true;
        }
        if (!rs->reload_due) {
                rs->reload_stored = false;
                rs->dirty = true;
        }
        manager_queue_pass(rs->manager);
}

static void reload(Rollouts *rs, uint64_t now_usec) {
        Deployed *d;

        DL_FOREACH(rs->deployed, d) {
                const MamDeployService *ds = mam_deploy_find(rs->deploy, d->id);

                memset(&d->loading, 0, sizeof(d->loading));
                if (!ds)
                        continue;
                memcpy(d->loading.fallback, ds->fallback, sizeof(ds->fallback));
                memcpy(d->loading.pinned, ds->pinned, sizeof(ds->pinned));
        }
        rs->reload_due = false;
        if (systemd_reload(rs->manager->systemd, on_reloaded, rs) < 0) {
                rs->reload_due = true;
                rs->retry_usec = now_usec + RETRY_USEC;
                return;
        }
        rs->reloading = true;
}

void rollouts_assign(Rollouts *rs, uint64_t now_usec, uint64_t *again_usec) {
        if (!rs->assign_due && !rs->reload_due)
                return;
        if (rs->reloading)
                return; /* its end brings the next pass */
        if (rs->retry_usec > now_usec) {
                if (rs->retry_usec < *again_usec)
                        *again_usec = rs->retry_usec;
                return;
        }
        if (rs->assign_due) {
                if (write_assignment(rs) < 0) {
                        rs->retry_usec = now_usec + RETRY_USEC;
                        if (rs->retry_usec < *again_usec)
                                *again_usec = rs->retry_usec;
                        return;
                }
                rs->assign_due = false;
        }
        if (rs->reload_due)
                reload(rs, now_usec);
}
