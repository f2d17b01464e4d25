/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Usage: what a replica used between two looks at its cgroup
 */

#include <stdbool.h>
#include <stdint.h>

#include "manager/cgroup.h"
#include "manager/service.h"

/* Files of at most so many replicas are kept open; the others are opened each time. */
#define USAGE_KEPT_MAX 1024U

struct ReplicaUsage {
        CgroupFiles *files; /* owned, or NULL */
        char *group;        /* owned; of which the files are */
        bool kept;          /* it counts among USAGE_KEPT_MAX */
        uint64_t sampled_usec;
        uint64_t cpu_usec; /* at that time */
        bool ready;        /* at that time */
        CgroupUsage latest;
        bool cores_known;
        bool was_ready; /* at the beginning of what cores stands for */
        double cores;   /* mean since the look before */
};

/* Looks, if it is active. True: r->usage is up to date. */
bool replica_sample(Replica *r, uint64_t now_usec);
/* Where MemoryMax waits for a replica to use less, and it does now: it is set. */
void replicas_follow_memory(Service *s);
/* MemoryMax may be set to so much without killing it. */
bool replica_fits_memory(const Replica *r, uint64_t memory_bytes);
