/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a pass does to one replica (manager-acts.c)
 *
 * Each of them only sends commands to systemd and notes that they are under way; their answers bring the
 * next pass. again_usec is lowered to the moment at which the replica wants another pass by itself.
 */

#include "libmam/obs/log.h"
#include "manager/events.h"
#include "manager/manager.h"
#include "manager/reconcile.h"

/* Something happened to a replica. */
#define replica_event(_priority, _message_id, _replica, _type, ...) \
        event_log((_replica)->service->manager,                     \
                  _priority,                                        \
                  _message_id,                                      \
                  (_replica)->service->config->id,                  \
                  (_replica)->number,                               \
                  _type,                                            \
                  __VA_ARGS__)

void replica_act(Replica *r, ReplicaAction action, uint64_t now_usec);
/* Systemd is being told to start it. */
void replica_note_start(Replica *r, uint64_t now_usec);
/* The next step of a rolling restart: drain, then restart. */
void replica_step_restart(Replica *r, uint64_t now_usec, uint64_t *again_usec);
/* Runtime limits that differ from the configured ones, once there is a unit to set them on. */
void replica_step_limits(Replica *r);

/* manager-batch.c: starts with one command what can be, and leaves the rest in actions (by number). */
void service_start_together(
                Service *s,
                ReplicaAction actions[static MAM_CONFIG_REPLICAS_MAX + 1],
                uint64_t now_usec);
/* A job of a target has ended. */
void batch_job_removed(Manager *m, uint32_t job);
/* Everything was listed: forgets what no signal will end any more. */
void service_listed_batch(Service *s, uint64_t now_usec);

/* drift.c: limits that differ from what they should be. */
bool drift_is(uint64_t cpu_usec,
              uint64_t memory_bytes,
              uint64_t want_cpu_millis,
              uint64_t want_memory_bytes);
void service_note_limits(Service *s, uint64_t now_usec);
void replica_step_drift(Replica *r, uint64_t now_usec);

/* manager-pass.c: what reconcile_replica() is asked about it; Plan asks the same. */
void replica_view(const Replica *r, bool start_gate, bool stop_gate, ReplicaView *ret);
/* What the service depends on is ready. */
bool service_start_gate_is_open(const Service *s);
/* What depends on the service is gone, or the service is not to stop as a whole. */
bool service_stop_gate_is_open(const Service *s);
/* The service that keeps it shut, or NULL. */
const char *service_gate_of_start(const Service *s);
const char *service_gate_of_stop(const Service *s);

/* manager-liveness.c: restarts what is unhealthy for too long. */
void replica_step_liveness(Replica *r, bool dependency_is_down, uint64_t now_usec, uint64_t *again_usec);
void replica_liveness_view(const Replica *r, bool dependency_is_down, LivenessView *ret);
/* Notes, and tells as an event, whether what a service depends on is well. True: that has changed. */
bool service_note_dependency(Service *s);
