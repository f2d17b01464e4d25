/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How a replica last ended
 *
 * mam-exit (ExecStopPost=) writes one record per end to /run/mam/service/<id:n>/last-exit; the manager reads
 * it. systemd says the rest, but on cgroup v1 it does not notice that the kernel's OOM killer was at work:
 * the counter of the replica's own cgroup does. The file belongs to the service's user, so the manager
 * believes nothing in it but short text and numbers.
 */

#include <stdint.h>

typedef struct ExitRecord {
        char reason[32]; /* "exited", "signal SIGKILL", "oom-kill", "watchdog", "timeout", "start-failed" */
        char result[32]; /* $SERVICE_RESULT */
        char status[32]; /* $EXIT_STATUS: a number, or a signal without "SIG" */
        uint64_t time_usec; /* realtime */
        uint64_t oom_kills; /* of all lives of this replica since boot */
        uint64_t cgroup; /* inode of the cgroup that oom_seen was read from; it is made anew at most restarts
                          */
        uint64_t oom_seen; /* its counter at that time */
} ExitRecord;

#define EXIT_RECORD_INIT \
        { 0 }

/* Fills reason from what systemd says; result, code and status as in systemd.exec(5), NULL where not set.
 * oom: the kernel's OOM killer struck in this life. */
void exit_record_set_reason(
                ExitRecord *e,
                const char *result,
                const char *code,
                const char *status,
                int oom);

/* -ENOENT: no file; -EBADMSG; -EFBIG. */
int exit_record_read(ExitRecord *ret, const char *path);
int exit_record_write(const ExitRecord *e, const char *path);
