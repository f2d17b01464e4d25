/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The catalog as Prometheus text (format 0.0.4), and as targets for http_sd
 *
 * Names: mam_replica_… per replica, mam_service_… per service, in base units. Sets of states are one series
 * per state, of which one is 1. What the manager does not know has no sample, and a family without samples
 * is not there.
 */

#include "libmam/json/json.h"
#include "libmam/util/buffer.h"
#include "registry/catalog.h"

/* Appends to ret: -ENOMEM, -ENOBUFS. */
int exposition_format(const Catalog *c, MamBuffer *ret);

/* [{"targets":[target],"labels":{…}}…]: one for every replica that serves metrics, relayed by the registry,
 * and one for the suite's own. target: "127.0.0.1:5000", as the client itself reached us. NULL: out of
 * memory. */
json_object *exposition_targets(const Catalog *c, const char *target);
/* Whether /v1/metrics/replica/SERVICE/N has something to relay. */
bool exposition_has_metrics(const CatalogService *s, const CatalogReplica *r);
