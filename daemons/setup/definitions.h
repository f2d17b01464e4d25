/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Definitions by their hash
 *
 * What revisions are made of (libmam/config/revision.h): <dir>/<id>/<hash>.json for every definition that
 * was ever valid, the newest MAM_DEFINITIONS_KEPT of each service and those that deploy.json names. Root
 * writes them, everybody may read them, so that what the manager deploys is always something that root has
 * seen.
 */

#include "libmam/config/config.h"

/* Returns 0 or the first error; writes only what changed. */
int definitions_update(const MamConfig *config, const char *dir, const char *deploy_path);
