/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Alerts from the manager
 *
 * All are listed at the start, when the manager's name has a new owner and after an error; in between its
 * signal Alert is followed. The manager is never started by us: without it nobody knows of anything wrong.
 * A new manager has to find out first what is wrong: what it does not list is taken to be over when it still
 * does not after ALERTS_BUS_GRACE_USEC, more than any of its rules waits.
 */

#include <systemd/sd-event.h>

#include "alerts/table.h"
#include "libmam/util/time.h"

typedef struct AlertsBus AlertsBus;

#define ALERTS_BUS_GRACE_USEC (360 * MAM_USEC_PER_SEC)

/* on_change: the table has changed. grace_usec: ALERTS_BUS_GRACE_USEC but in tests. */
int alerts_bus_new(
                AlertsBus **ret,
                sd_event *event,
                AlertTable *table,
                uint64_t grace_usec,
                void (*on_change)(void *userdata),
                void *userdata);
AlertsBus *alerts_bus_free(AlertsBus *b);
MAM_DEFINE_CLEANUP(AlertsBus, alerts_bus_free);
/* Connects; a bus that is not there is tried again. */
void alerts_bus_start(AlertsBus *b);
bool alerts_bus_has_manager(const AlertsBus *b);
