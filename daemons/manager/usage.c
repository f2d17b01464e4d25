/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Usage: what a replica used between two looks at its cgroup
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "manager/autoscaler.h"
#include "manager/manager.h"
#include "manager/usage.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
/* MemoryHigh comes first; MemoryMax follows when less than this share of it is in use. */
#define MEMORY_ROOM 0.9

static unsigned n_kept;

static void usage_close(ReplicaUsage *u) {
        u->files = cgroup_files_free(u->files);
        if (u->kept)
                n_kept--;
        u->kept = false;
}

ReplicaUsage *replica_usage_free(ReplicaUsage *u) {
        if (!u)
                return NULL;

        usage_close(u);
        free(u->group);
        free(u);
        return NULL;
}

static bool usage_open(ReplicaUsage *u, const char *group) {
        if (!u->group || strcmp(u->group, group) != 0) {
                usage_close(u);
                free(u->group);
                u->group = strdup(group);
                if (!u->group)
                        return false;
        }
        return u->files || cgroup_files_new(&u->files, CGROUP_ROOT, group) >= 0;
}

static bool usage_read(ReplicaUsage *u, const char *group) {
        if (!usage_open(u, group))
                return false;
        cgroup_files_read(u->files, &u->latest);
        if (u->latest.cpu_usec == CGROUP_UNKNOWN && u->latest.memory_bytes == CGROUP_UNKNOWN && u->kept) {
                usage_close(u); /* made anew when it was restarted */
                if (!usage_open(u, group))
                        return false;
                cgroup_files_read(u->files, &u->latest);
        }
        if (!u->kept && n_kept < USAGE_KEPT_MAX) {
                u->kept = true;
                n_kept++;
        }
        if (!u->kept)
                usage_close(u);
        return true;
}

bool replica_sample(Replica *r, uint64_t now_usec) {
        uint64_t before_usec, cpu_before;
        bool ready_before;
        ReplicaUsage *u;

        assert(r);

        if (r->activity != UNIT_ACTIVE || !r->control_group || !r->control_group[0]) {
                r->usage = replica_usage_free(r->usage);
                return false;
        }
        if (!r->usage) {
                r->usage = calloc(1, sizeof(*r->usage));
                if (!r->usage)
                        return false;
                r->usage->cpu_usec = CGROUP_UNKNOWN;
        }

        u = r->usage;
        before_usec = u->sampled_usec;
        cpu_before = u->cpu_usec;
        ready_before = u->ready;
        if (!usage_read(u, r->control_group)) {
                r->usage = replica_usage_free(r->usage);
                return false;
        }
        u->sampled_usec = now_usec;
        u->cpu_usec = u->latest.cpu_usec;
        u->ready = replica_is_ready(r);
        u->was_ready = ready_before;
        u->cores_known = before_usec > 0 && now_usec > before_usec && cpu_before != CGROUP_UNKNOWN &&
                         u->cpu_usec != CGROUP_UNKNOWN && u->cpu_usec >= cpu_before;
        if (u->cores_known)
                u->cores = (double) (u->cpu_usec - cpu_before) / (double) (now_usec - before_usec);
        return true;
}

uint64_t replica_working_set(const Replica *r) {
        assert(r);

        return r->usage ? r->usage->latest.working_set_bytes : CGROUP_UNKNOWN;
}

bool replica_fits_memory(const Replica *r, uint64_t memory_bytes) {
        uint64_t used = replica_working_set(r);

        /* One that is only starting uses little yet, and is to start with what it will have. */
        if (r->activity == UNIT_ACTIVATING)
                return true;
        return used != CGROUP_UNKNOWN && (double) used < MEMORY_ROOM * (double) memory_bytes;
}

void replicas_follow_memory(Service *s) {
        bool any = false;

        assert(s);

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                Replica *r = s->replicas[n];

                if (r && r->memory_waits && replica_fits_memory(r, service_memory_bytes(s)))
                        r->limits_due = any = true;
        }
        if (any)
                manager_queue_pass(s->manager);
}
