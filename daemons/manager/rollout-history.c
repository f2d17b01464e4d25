/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: the revisions of a service, and what became of them
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/util/time.h"
#include "manager/rollout-internal.h"

static const char *const status_names[_REVISION_STATUS_MAX] = {
        [REVISION_CURRENT] = "current",
        [REVISION_PREVIOUS] = "previous",
        [REVISION_DEPLOYING] = "deploying",
        [REVISION_REVERTED] = "reverted",
};

const char *revision_status_to_string(RevisionStatus s) {
        assert(s >= 0 && s < _REVISION_STATUS_MAX);

        return status_names[s];
}

RevisionStatus revision_status_from_string(const char *s) {
        for (RevisionStatus i = 0; i < _REVISION_STATUS_MAX; i++) {
                if (strcmp(status_names[i], s) == 0)
                        return i;
        }
        return _REVISION_STATUS_INVALID;
}

Deployed *rollouts_find(const Rollouts *rs, const char *id) {
        Deployed *d;

        DL_FOREACH(rs->deployed, d) {
                if (strcmp(d->id, id) == 0)
                        return d;
        }
        return NULL;
}

/* Where there is no room: what no service of ours has any more. */
static void forget_vanished(Rollouts *rs) {
        Deployed *d, *next;

        DL_FOREACH_SAFE(rs->deployed, d, next) {
                if (manager_find_service(rs->manager, d->id))
                        continue;
                mam_deploy_remove(rs->deploy, d->id);
                DL_DELETE(rs->deployed, d);
                free(d);
        }
}

int rollouts_get(Rollouts *rs, const char *id, Deployed **ret, MamDeployService **ret_service) {
        Deployed *d = rollouts_find(rs, id);
        int r;

        r = mam_deploy_get(ret_service, rs->deploy, id);
        if (r == -EDQUOT) {
                forget_vanished(rs);
                r = mam_deploy_get(ret_service, rs->deploy, id);
        }
        if (r < 0)
                return r;
        if (!d) {
                d = calloc(1, sizeof(*d));
                if (!d)
                        return -ENOMEM;
                snprintf(d->id, sizeof(d->id), "%s", id);
                DL_APPEND(rs->deployed, d);
        }
        *ret = d;
        return 0;
}

static bool is_used(const Rollouts *rs, const MamDeployService *ds, const char *name) {
        const Service *s = manager_find_service(rs->manager, ds->id);

        if (strcmp(ds->fallback, name) == 0)
                return true;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (strcmp(ds->pinned[n], name) == 0)
                        return true;
        }
        return s && s->rollout && (strcmp(s->rollout->from, name) == 0 || strcmp(s->rollout->to, name) == 0);
}

static void drop_revision(MamDeployService *ds, const char *name) {
        for (size_t i = 0; i < ds->n_revisions; i++) {
                MamRevision *v = &ds->revisions[i];

                if (strcmp(v->name, name) != 0)
                        continue;
                free(v->version);
                free(v->exec);
                free(v->image);
                ds->n_revisions--;
                memmove(v, v + 1, (ds->n_revisions - i) * sizeof(*v));
                return;
        }
}

static void drop_record(Deployed *d, size_t i) {
        d->n_records--;
        memmove(&d->records[i], &d->records[i + 1], (d->n_records - i) * sizeof(d->records[0]));
}

/* The oldest that nothing runs goes until there is room for one more. */
static void make_room(Rollouts *rs, Deployed *d, MamDeployService *ds) {
        for (size_t i = d->n_records; i > 0 && d->n_records >= REVISION_HISTORY_MAX; i--) {
                if (is_used(rs, ds, d->records[i - 1].name))
                        continue;
                drop_revision(ds, d->records[i - 1].name);
                drop_record(d, i - 1);
        }
}

static int copy_revision(MamDeployService *ds, const MamRevision *from) {
        MamRevision *more, v = *from;

        more = reallocarray(ds->revisions, ds->n_revisions + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        ds->revisions = more;

        v.version = strdup(from->version ? from->version : "");
        v.exec = from->exec ? strdup(from->exec) : NULL;
        v.image = from->image ? strdup(from->image) : NULL;
        if (!v.version || (from->exec && !v.exec) || (from->image && !v.image)) {
                free(v.version);
                free(v.exec);
                free(v.image);
                return -ENOMEM;
        }
        ds->revisions[ds->n_revisions++] = v;
        return 0;
}

int rollouts_add_revision(Rollouts *rs, Deployed *d, MamDeployService *ds, const MamRevision *revision) {
        RevisionRecord record = { .deployed_usec = mam_now_realtime(), .status = REVISION_DEPLOYING };
        int r;

        memcpy(record.name, revision->name, sizeof(record.name));
        for (size_t i = 0; i < d->n_records; i++) {
                if (strcmp(d->records[i].name, revision->name) != 0)
                        continue;
                record = d->records[i]; /* to the top */
                drop_record(d, i);
                break;
        }
        make_room(rs, d, ds);
        if (!mam_deploy_revision(ds, revision->name)) {
                if (ds->n_revisions >= MAM_DEPLOY_REVISIONS_MAX || d->n_records >= MAM_DEPLOY_REVISIONS_MAX)
                        return -EDQUOT;
                r = copy_revision(ds, revision);
                if (r < 0)
                        return r;
        }
        memmove(&d->records[1], &d->records[0], d->n_records * sizeof(d->records[0]));
        d->records[0] = record;
        d->n_records++;
        rs->dirty = true;
        return 0;
}

void rollouts_set_status(
                Rollouts *rs,
                const char *id,
                const char *revision,
                RevisionStatus status,
                const char *why) {
        Deployed *d = rollouts_find(rs, id);

        for (size_t i = 0; d && i < d->n_records; i++) {
                if (strcmp(d->records[i].name, revision) != 0)
                        continue;
                d->records[i].status = status;
                snprintf(d->records[i].why, sizeof(d->records[i].why), "%s", why);
                rs->dirty = true;
        }
}
