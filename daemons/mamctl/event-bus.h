/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The part of "mamctl events" that is about the event bus
 */

#include "mamctl/client.h"

/* The word begins a command of the bus: it is no service's name then. */
bool event_bus_is_word(const char *word);
/* mamctl events WORD …, as the invocation says. */
ExitCode event_bus_run(Client *c);
