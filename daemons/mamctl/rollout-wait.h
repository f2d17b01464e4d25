/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Waiting for a rollout
 *
 * See wait.h. A rollout that is interrupted here goes on; so does one that is waited for by nobody.
 */

#include "mamctl/client.h"

typedef struct RolloutWait RolloutWait;

int rollout_wait_new(RolloutWait **ret, Client *client, const char *verb, const char *service);
RolloutWait *rollout_wait_free(RolloutWait *w);
MAM_DEFINE_CLEANUP(RolloutWait, rollout_wait_free);

/* Until the rollout is over, and tells how it ended. EXIT_CODE_OK only if it ended as wanted: "done", or
 * "aborted". Otherwise as job_wait_run(). */
ExitCode rollout_wait_run(RolloutWait *w, const char *path, const char *wanted);

/* "step 2 of 3, 25% of the traffic; 2 of 4 updated, 1 ready: waiting for …" from the properties of a
 * rollout. Caller frees; NULL: out of memory. */
char *rollout_describe(json_object *properties);

/* Reads the properties of the rollout. Caller puts *ret. */
ExitCode rollout_read(Client *c, const char *path, json_object **ret);
