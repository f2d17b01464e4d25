/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The schema of the event bus, made from migrations/
 */

#include "libmam/db/pg.h"

extern const MamPgMigration event_bus_migrations[];
extern const size_t event_bus_n_migrations;
