/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Explain: why a service is as it is, from what the manager decides by
 *
 * One record per topic: verdict, why, what would change it, since when, and the numbers that decided. What
 * is said of a replica comes from the plan, so from the functions that the pass acts by; numbers and sizes
 * come from the autoscaler's own records.
 */

#include <systemd/sd-bus.h>

#include "manager/autoscale.h"
#include "manager/service.h"

void explain_state(const Service *s, DecisionRecord *ret);
void explain_health(const Service *s, DecisionRecord *ret);
void explain_endpoints(const Service *s, DecisionRecord *ret);
/* False: it is wanted and healthy, or it is neither wanted nor there: nothing to explain. */
bool explain_replica(const Replica *r, uint64_t now_usec, DecisionRecord *ret);

int manager_bus_explain(sd_bus_message *message, void *userdata, sd_bus_error *error);
