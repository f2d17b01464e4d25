/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Messages of the manager, read into the catalog
 *
 * All: <0: the message makes no sense; what was read before stays.
 */

#include <systemd/sd-bus.h>

#include "registry/catalog.h"

#define REGISTRY_IFACE_ROLLOUT "org.manageragent.Rollout1"

/* Outcomes of the signals. */
enum {
        OBJECTS_CHANGED = 1,
        OBJECTS_NEW_SERVICE = 2,
};

/* Answer of GetManagedObjects: services and replicas that are not in it are forgotten. */
int objects_read_all(sd_bus_message *m, Catalog *c);
/* Answer of ListEndpoints; what is older than what the catalog has is ignored. */
int objects_read_endpoints(sd_bus_message *m, CatalogService *s);
int objects_read_alerts(sd_bus_message *m, Catalog *c);
int objects_read_metrics(sd_bus_message *m, Catalog *c);
/* Answer of GetAll of a rollout. */
int objects_read_rollout(sd_bus_message *m, CatalogRollout *ret);

/* Signals: >0: something that clients may see, or one of the outcomes above. */
int objects_read_endpoints_changed(sd_bus_message *m, Catalog *c);
int objects_read_alert(sd_bus_message *m, Catalog *c);
int objects_read_job_new(sd_bus_message *m, Catalog *c);
int objects_read_job_removed(sd_bus_message *m, Catalog *c);
int objects_read_rollout_removed(sd_bus_message *m, Catalog *c);
int objects_read_changed(sd_bus_message *m, Catalog *c);
int objects_read_added(sd_bus_message *m, Catalog *c);
int objects_read_removed(sd_bus_message *m, Catalog *c);
