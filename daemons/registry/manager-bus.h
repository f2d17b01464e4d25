/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Following the manager
 *
 * Everything is asked for once, when the manager is there or comes back, and kept up to date by its signals;
 * nothing is polled. While it is away the catalog keeps what it said last. Signals count only if they come
 * from the owner of the manager's name. The manager is activated by the first question and never again: who
 * stops it later does so on purpose.
 */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libmam/util/macro.h"
#include "registry/catalog.h"

typedef struct ManagerBus ManagerBus;

typedef struct ManagerBusEvents {
        /* Services may be new: before what is new about them is settled. May be NULL. */
        void (*on_services)(void *userdata);
        /* Indexes grew, or manager_up or listed changed. */
        void (*on_change)(void *userdata);
        /* The first listing is done (error 0), or cannot be had now; runs once. */
        void (*on_listed)(int error, void *userdata);
        /* manager_bus_ask_metrics() is done: error 0, and the catalog has new values, or not. */
        void (*on_metrics)(int error, void *userdata);
} ManagerBusEvents;

int manager_bus_new(
                ManagerBus **ret,
                sd_event *event,
                Catalog *catalog,
                const ManagerBusEvents *events,
                void *userdata);
ManagerBus *manager_bus_free(ManagerBus *b);
MAM_DEFINE_CLEANUP(ManagerBus, manager_bus_free);

/* Connects and lists; what fails is tried again when there is a reason to. */
void manager_bus_start(ManagerBus *b);
/* 0: on_metrics will run, once for all who asked meanwhile; <0: it will not. */
int manager_bus_ask_metrics(ManagerBus *b);
