/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What waits for the disk, in a thread of its own: fsync of a large file can take seconds
 *
 * work() runs in the thread and touches nothing but data; done() runs in the event loop. A job that is freed
 * before is not told of any more; its thread ends by itself and frees data then.
 */

#include <systemd/sd-event.h>

#include "libmam/util/macro.h"

typedef struct ArchiveJob ArchiveJob;

typedef int (*ArchiveWork)(void *data);
typedef void (*ArchiveDone)(int r, void *data, void *userdata);

/* data is the job's from a success on; destroy frees it. done may free the job. */
int archive_job_start(
                ArchiveJob **ret,
                sd_event *event,
                void *data,
                void (*destroy)(void *data),
                ArchiveWork work,
                ArchiveDone done,
                void *userdata);
ArchiveJob *archive_job_free(ArchiveJob *j);
MAM_DEFINE_CLEANUP(ArchiveJob, archive_job_free);
