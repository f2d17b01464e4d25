/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Receivers, and what is on its way to each
 *
 * One message at a time is under way to a receiver. One that fails waits, longer each time; what it is told
 * then is how things are then. One that refuses a message (4xx) is not asked again for the same news. Logs,
 * once for each turn for the worse and for the better.
 */

#include <systemd/sd-event.h>

#include "alerts/table.h"

typedef struct Sender Sender;

/* on_change: what receivers were told has changed. */
int sender_new(Sender **ret,
               sd_event *event,
               AlertTable *table,
               void (*on_change)(void *userdata),
               void *userdata);
Sender *sender_free(Sender *s);
MAM_DEFINE_CLEANUP(Sender, sender_free);

/* NULL-terminated URLs. Those that stay keep what they were told. What is beyond RECEIVERS_MAX, or no http
 * or https URL, is logged and left out. */
int sender_set_receivers(Sender *s, const char *const *urls);
/* NULL: no such slot in use. */
const char *sender_url(const Sender *s, unsigned slot);
/* The table has changed: sends what is due, and looks again when the next is. */
void sender_look(Sender *s);
unsigned sender_receivers(const Sender *s);
/* Of those, how many could not be reached last time. */
unsigned sender_failing(const Sender *s);
