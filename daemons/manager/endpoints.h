/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Endpoints: where a service can be reached
 *
 * The revision grows with each change of what is announced, also over restarts of the manager.
 */

#include <systemd/sd-bus.h>

#include "manager/service.h"

#define ENDPOINT_WEIGHT 100U

/* "ready", "draining", "unready" or "asleep". */
const char *endpoint_state(const Replica *r);
/* Appends a(sssus), the endpoints, and a(su), the split. */
int endpoints_append(sd_bus_message *m, const Service *s);
/* Emits EndpointsChanged if they differ from what was announced last. */
void endpoints_announce(Service *s);
