/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Handlers of org.manageragent.Manager1
 *
 * status-bus.c: those that only read. They answer from memory; only Metrics reads anything, the files of the
 * cgroups. verbs-bus.c: those that begin a job, and the steps that all handlers share.
 */

#include <systemd/sd-bus.h>

#include "manager/manager.h"

int manager_bus_list(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_status(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_health(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_metrics(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_list_endpoints(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_get_gateway(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* Sets NoSuchService, naming the ones that exist. */
int manager_bus_no_such_service(Manager *m, const char *id, sd_bus_error *error);

int manager_bus_start(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_stop(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_restart(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_chaos(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_set_autoscaling(sd_bus_message *message, void *userdata, sd_bus_error *error);
int manager_bus_scale(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* No flag is defined yet: what a later version understands must not be ignored by this one. */
int manager_bus_check_flags(uint64_t flags, sd_bus_error *error);
/* "" means all where that is allowed: *ret becomes NULL. */
int manager_bus_read_service(
                Manager *m,
                const char *id,
                bool all_allowed,
                Service **ret,
                sd_bus_error *error);
/* What may be started or changed: configured, and run by us. */
int manager_bus_check_usable(Manager *m, const Service *s, sd_bus_error *error);
/* As mam_polkit_check(). When it says yes, the state as it is now is kept for manager_bus_commit(). */
int manager_bus_authorize(
                Manager *m,
                sd_bus_message *message,
                const char *action,
                const char *verb,
                const char *id,
                sd_bus_error *error);
/* Stores what the call has changed in the state, before anything is done about it: a manager that is killed
 * right after goes on there. <0: it could not be stored; *error is set, and the state is again what it was
 * before the call. */
int manager_bus_commit(Manager *m, sd_bus_error *error);
/* Takes back what the call has changed in the state. */
void manager_bus_revert(Manager *m);
