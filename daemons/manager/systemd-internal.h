/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What systemd-bus.c (watching) and systemd-commands-bus.c (asking and commanding) share
 */

#include <stdbool.h>

#include "manager/systemd-bus.h"

#define SYSTEMD_NAME    "org.freedesktop.systemd1"
#define SYSTEMD_PATH    "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER "org.freedesktop.systemd1.Manager"
#define UNIT_PREFIX     SYSTEMD_PATH "/unit"

struct Systemd {
        sd_bus *bus;           /* owned */
        MamBusCalls *calls;    /* owned */
        sd_bus_slot *slots[4]; /* owned; matches */
        const SystemdHandlers *handlers;
        void *userdata;
        unsigned n_listing; /* answers of the current listing that are still to come */
        bool listed;        /* at least once */
        bool list_again;    /* a hint came while a listing was under way */
        bool freeing;
};

/* The string in a variant, borrowed from m; NULL: there is none. */
const char *systemd_read_string(sd_bus_message *m);
