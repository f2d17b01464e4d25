/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Handlers of org.manageragent.Manager1 that only read (status-bus.c)
 *
 * They answer from memory; only Metrics reads anything, the files of the cgroups.
 */

#include <systemd/sd-bus.h>

#include "manager/manager.h"

int manager_bus_list(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_status(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_health(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_metrics(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_list_endpoints(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* Sets NoSuchService, naming the ones that exist. */
int manager_bus_no_such_service(Manager *m, const char *id, sd_bus_error *error);
