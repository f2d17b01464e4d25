/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What runs beside the manager because the settings ask for it: mam-registry.socket, by registry.enabled
 *
 * mam.target pulls it in at boot. Here it follows a configuration that changed, and a manager that was
 * started without the target. What an administrator stops stays so until then. (mam-alerts.service starts
 * with the manager's unit and looks at its settings itself.)
 */

#include <stdbool.h>

typedef struct Manager Manager;

/* What was asked of systemd last. */
typedef struct Companions {
        bool registry;
        char listen[80]; /* where the registry's socket is */
} Companions;

/* Starts, stops or restarts what differs from the latest time. The units must be those of the configuration:
 * to be called once at the start, and when systemd has loaded its units anew. */
void companions_follow(Manager *m);
