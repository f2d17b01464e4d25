/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a replica uses, read from the cgroup file system
 *
 * On cgroup v2 everything is in one tree. On v1 (hybrid) CPU time is read from the v2 tree that systemd
 * mounts beside the controllers, which has cpu.stat for every unit, and memory and tasks from their
 * controllers. Reading costs no D-Bus call.
 */

#include <stdint.h>

#define CGROUP_UNKNOWN UINT64_MAX

typedef struct CgroupUsage {
        uint64_t cpu_usec; /* CGROUP_UNKNOWN where it cannot be read */
        uint64_t memory_bytes;
        uint64_t tasks;
} CgroupUsage;

/* root: /sys/fs/cgroup. path: ControlGroup of the unit, "/mam.slice/…". Never fails: what is not there is
 * unknown. */
void cgroup_read(CgroupUsage *ret, const char *root, const char *path);
