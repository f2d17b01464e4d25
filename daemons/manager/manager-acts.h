/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a pass does to one replica (manager-acts.c)
 *
 * Each of them only sends commands to systemd and notes that they are under way; their answers bring the
 * next pass. again_usec is lowered to the moment at which the replica wants another pass by itself.
 */

#include "libmam/obs/log.h"
#include "manager/manager.h"
#include "manager/reconcile.h"

/* One line in the journal about a replica: it is found with journalctl -u of the unit. */
#define log_replica(_priority, _message_id, _replica, _format, ...)                   \
        do {                                                                          \
                const MamServiceConfig *_config = (_replica)->service->config;        \
                char _unit[MAM_UNIT_NAME_MAX + 5] = "UNIT=";                          \
                const char *const _fields[] = { _unit, NULL };                        \
                mam_unit_replica_service(_unit + 5, _config->id, (_replica)->number); \
                mam_log_full(_priority,                                               \
                             _message_id,                                             \
                             _fields,                                                 \
                             "%s:%u: " _format,                                       \
                             _config->id,                                             \
                             (_replica)->number,                                      \
                             ##__VA_ARGS__);                                          \
        } while (0)

void replica_act(Replica *r, ReplicaAction action, uint64_t now_usec);
/* The next step of a rolling restart: drain, then restart. */
void replica_step_restart(Replica *r, uint64_t now_usec, uint64_t *again_usec);
/* Runtime limits that differ from the configured ones, once there is a unit to set them on. */
void replica_step_limits(Replica *r);
