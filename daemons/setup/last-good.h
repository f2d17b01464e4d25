/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Last good definitions
 *
 * What the generator and the manager fall back to: <id>.json for each service, _microservices.json for the
 * settings. Only what is without error is kept; what went from a configuration without error is forgotten.
 */

#include "libmam/config/config.h"

/* Returns 0 or the first error; writes only what changed. */
int last_good_update(const MamConfig *config, const char *config_dir, const char *last_good_dir);
