/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Waiting for a job
 *
 * Subscribe first, then call the method that makes the job, then wait: the job may be over before its path
 * is known here. Progress goes to stderr: one line that is redrawn on a terminal, else a line for each
 * change.
 */

#include "mamctl/client.h"

typedef struct JobWait JobWait;

int job_wait_new(JobWait **ret, Client *client, const char *verb, const char *service);
JobWait *job_wait_free(JobWait *w);
MAM_DEFINE_CLEANUP(JobWait, job_wait_free);

/* Until the job is over, and tells how it ended: EXIT_CODE_OK, _FAILURE, _TIMEOUT (ours or the manager's),
 * _NO_MANAGER (it went away), or _INTERRUPTED (Ctrl-C; the job goes on). With --json the outcome is one
 * document on stdout. */
ExitCode job_wait_run(JobWait *w, const char *path);
