/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What runs beside the manager because the settings ask for it
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/companions.h"
#include "manager/manager.h"

#define REGISTRY "mam-registry.socket"

static void on_done(uint32_t job, const sd_bus_error *error, void *userdata) {
        (void) job;
        (void) userdata;
        if (error && !sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                mam_warning("Cannot start or stop " REGISTRY ": %s", error->message);
}

void companions_follow(Manager *m) {
        const MamConfig *config;
        Companions *c;
        int r = 0;

        assert(m);

        if (!m->config)
                return;
        c = &m->companions;
        config = m->config->config;
        if (config->registry_enabled && c->registry && strcmp(c->listen, config->registry_listen) != 0) {
                r = systemd_restart_unit(m->systemd, REGISTRY, on_done, NULL);
        } else if (config->registry_enabled && !c->registry) {
                r = systemd_start_unit(m->systemd, REGISTRY, "replace", on_done, NULL);
        } else if (!config->registry_enabled && c->registry) {
                r = systemd_stop_unit(m->systemd, REGISTRY, on_done, NULL);
        }
        if (r < 0)
                (void) mam_error_errno(r, "Cannot start or stop " REGISTRY);

        c->registry = config->registry_enabled;
        snprintf(c->listen, sizeof(c->listen), "%s", c->registry ? config->registry_listen : "");
}
