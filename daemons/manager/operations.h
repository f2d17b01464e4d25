/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Calls of clients that take several steps: Init and SetLimits
 *
 * From a successful _start() on the operation owes its caller exactly one answer.
 */

#include <stdint.h>

#include <systemd/sd-bus.h>

#include "manager/manager.h"

/* Init: has systemd run mam-setup.service (credentials, last good definitions), reads the files again, has
 * systemd load what the generator makes of them where it is older, and answers with a report. The manager
 * owns the one that is under way. */
int init_operation_start(Manager *m, sd_bus_message *message);
void init_operation_job_removed(InitOperation *o, uint32_t job, const char *result);
InitOperation *init_operation_free(InitOperation *o);

/* SetLimits on all replicas that run; answers when systemd has answered for each of them. Nothing runs:
 * answers at once. */
int limits_operation_start(Service *s, sd_bus_message *message);
