/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What Status says, as JSON
 */

#include <stdbool.h>

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "mamctl/client.h"

/* From the reply of Status: an array of services, each with its properties and its "replicas". Caller puts
 * *ret. */
int status_read_services(sd_bus_message *m, json_object **ret);

/* Asks for one service, or with NULL for all. Caller puts *ret. */
ExitCode status_read(Client *c, const char *service, json_object **ret);

/* EXIT_CODE_OK or _NOT_RUNNING. "asleep" counts as running: the next request finds it so. asked: a service
 * was named, so that "stopped" counts as not running. */
ExitCode status_exit_code(json_object *services, bool asked);
