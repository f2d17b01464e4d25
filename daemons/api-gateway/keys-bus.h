/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * API keys from the manager, and their use back to it
 *
 * The list is fetched at the start, when the manager is a new one, and when it says that the list is
 * another. Without a manager the last list stands. Use is reported every KEYS_REPORT_USEC while there is
 * any; what could not be told is told later.
 */

#include <systemd/sd-event.h>

#include "api-gateway/key-table.h"
#include "libmam/util/time.h"

typedef struct KeysBus KeysBus;

#define KEYS_REPORT_USEC (30 * MAM_USEC_PER_SEC)

/* on_changed: the table was loaded anew. The table must outlive it. Connects in the background. */
int keys_bus_new(
                KeysBus **ret,
                sd_event *event,
                KeyTable *table,
                void (*on_changed)(void *userdata),
                void *userdata);
KeysBus *keys_bus_free(KeysBus *b);
MAM_DEFINE_CLEANUP(KeysBus, keys_bus_free);
