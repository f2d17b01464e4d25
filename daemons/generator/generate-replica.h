/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The drop-in of one replica
 */

#include <stdint.h>

#include "generator/output.h"
#include "libmam/config/config.h"
#include "libmam/util/buffer.h"

/* s: as configured, or as a revision has it. */
int generate_replica(const MamConfig *config, const MamServiceConfig *s, uint32_t n, const Output *output);

/* Origin, [Unit] and Description= (the service's name followed by what), shared by all generated units. */
int generate_head(MamBuffer *b, const MamServiceConfig *s, const char *what);
