/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a replica uses, read from the cgroup file system
 *
 * On cgroup v2 everything is in one tree. On v1 (hybrid) CPU time is read from the v2 tree that systemd
 * mounts beside the controllers, which has cpu.stat for every unit, and memory and tasks from their
 * controllers. Reading costs no D-Bus call. Pressure (PSI) is there only where the kernel has it.
 */

#include <stdint.h>

#include "libmam/util/macro.h"

#define CGROUP_UNKNOWN UINT64_MAX

typedef struct CgroupUsage {
        uint64_t cpu_usec; /* CGROUP_UNKNOWN where it cannot be read */
        uint64_t memory_bytes;
        uint64_t working_set_bytes; /* without what of the page cache was not used for long */
        uint64_t tasks;
        /* "some avg10" in percent: for how much of the last ten seconds somebody waited; -1: unknown */
        double cpu_pressure, memory_pressure, io_pressure;
} CgroupUsage;

/* root: /sys/fs/cgroup. path: ControlGroup of the unit, "/mam.slice/…". Never fails: what is not there is
 * unknown. */
void cgroup_read(CgroupUsage *ret, const char *root, const char *path);

/* The same for one that is read again and again: its files stay open, and only CPU, memory and the pressure
 * of CPU are read. */
typedef struct CgroupFiles CgroupFiles;

int cgroup_files_new(CgroupFiles **ret, const char *root, const char *path);
CgroupFiles *cgroup_files_free(CgroupFiles *f);
MAM_DEFINE_CLEANUP(CgroupFiles, cgroup_files_free);
void cgroup_files_read(CgroupFiles *f, CgroupUsage *ret);
