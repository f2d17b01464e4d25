/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Waiting for a job
 *
 * See wait.h. Interrupted, a job goes on; one that makes trouble (chaos) is cancelled instead, and its
 * report is waited for.
 */

#include "mamctl/client.h"

typedef struct JobWait JobWait;

int job_wait_new(JobWait **ret, Client *client, const char *verb, const char *service);
JobWait *job_wait_free(JobWait *w);
MAM_DEFINE_CLEANUP(JobWait, job_wait_free);

/* For chaos, before it is called: Ctrl-C cancels, and what users saw is kept for job_wait_report(). */
int job_wait_expect_report(JobWait *w);

/* Until the job is over, and tells how it ended: EXIT_CODE_OK, _FAILURE, _TIMEOUT (ours or the manager's),
 * _NO_MANAGER (it went away), or _INTERRUPTED (Ctrl-C; the job goes on). With --json the outcome is one
 * document on stdout, unless a report is expected. */
ExitCode job_wait_run(JobWait *w, const char *path);

/* After job_wait_run(): {before, during}, or NULL where none came. Borrowed. */
json_object *job_wait_report(const JobWait *w);
/* "done", "cancelled", …; NULL: the manager did not say. Borrowed. */
const char *job_wait_result(const JobWait *w);
