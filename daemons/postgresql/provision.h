/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What must exist in a running cluster: the database mam, per service a role without password and a schema
 * of its own, and with an event bus everybody's way to its outbox
 *
 * Idempotent. Roles and schemas of services that are no longer configured stay: they hold data.
 */

#include "postgresql/settings.h"

/* why: one sentence for the journal. -ENOTCONN: no connection within four seconds; -EIO: the server refused
 * a statement. */
int provision(const Cluster *c, const Settings *s, char *why, size_t why_size);
