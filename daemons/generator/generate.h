/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From a configuration to units
 *
 * mam-registry.socket is pulled in where the settings ask for it.
 * Per service: mam-ID.target (the configured replicas), mam-ID.socket (the public port, where systemd opens
 * it), a slice below mam.slice, and for each instance that there is room for a drop-in for
 * mam@ID:N.service, with the program of the revision that it is to run. mam@ID:1-N.target, for each N from
 * 2, is how the manager starts several at once.
 */

#include "generator/output.h"
#include "libmam/config/config.h"
#include "libmam/config/revision.h"

/* What was deployed. A replica whose revision cannot be applied follows the configuration, with a warning
 * that names the revision and the reason. */
typedef struct Deployment {
        const MamDeploy *deploy;     /* borrowed; NULL: nothing was */
        const char *definitions_dir; /* borrowed */
        void (*warn)(const char *service, const char *text);
} Deployment;

/* Returns 0, or the first error of the output. */
int generate(const MamConfig *config, const Deployment *deployment, const Output *output);
