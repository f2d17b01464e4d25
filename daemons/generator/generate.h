/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From a configuration to units
 *
 * Per service: mam-ID.target (the configured replicas), mam-ID.socket (the public port, where systemd opens
 * it), a slice below mam.slice, and for each permitted replica a drop-in for mam@ID:N.service.
 */

#include "generator/output.h"
#include "libmam/config/config.h"

/* Returns 0, or the first error of the output. */
int generate(const MamConfig *config, const Output *output);
