/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Endpoints from the manager
 *
 * All routed services are listed at the start, when the manager has a new owner of its name, and after an
 * error; in between its signal EndpointsChanged is followed. Without a manager the last known set stands. At
 * the first start the manager is activated by the bus if need be; a manager that was stopped later is left
 * alone. Until it answers for the first time the configuration says where replicas should be.
 */

#include "api-gateway/gateway.h"

typedef struct EndpointsBus EndpointsBus;

/* on_change runs after each change of a set, and on_listed once, when the configuration was told and each
 * service listed, or that has failed. */
int endpoints_bus_new(
                EndpointsBus **ret,
                Gateway *g,
                void (*on_change)(void *userdata),
                void (*on_listed)(void *userdata),
                void *userdata);
EndpointsBus *endpoints_bus_free(EndpointsBus *b);
MAM_DEFINE_CLEANUP(EndpointsBus, endpoints_bus_free);

/* The services of this configuration are followed, and no others. After gateway_configure() with the same,
 * and before services that are gone are reaped. -ENOMEM: some are not followed yet. */
int endpoints_bus_configure(EndpointsBus *b, const MamGatewayConfig *c);
/* replicas: how many unix sockets to assume as long as nobody has told; 0: none. */
int endpoints_bus_add(EndpointsBus *b, Upstream *u, unsigned replicas);
/* Connects; a bus that is not there is tried again. */
int endpoints_bus_start(EndpointsBus *b);
