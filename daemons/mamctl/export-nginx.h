/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The gateway's routes as a complete nginx.conf
 */

#include <stdio.h>

#include "libmam/config/config.h"

/* Writes it to f. *ret_closed: how many routes are closed in it, as nginx verifies no tokens. -ENOENT: no
 * gateway with a port is configured; -ENOMEM; what writing failed with. */
int export_nginx(const MamConfig *c, FILE *f, unsigned *ret_closed);
