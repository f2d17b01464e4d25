/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Autoscaler: what autoscale.h decides, fed and carried out
 *
 * Each period it samples the cgroups of the services that are autoscaled, asks for a decision, and changes
 * what is wanted; the passes act on that. What sleeps at zero is looked at once a second while it is awake.
 * What was seen of CPU and memory is kept in vpa.json beside the state file: at most every
 * AUTOSCALER_SAVE_USEC, and at the end.
 */

#include <stdbool.h>
#include <stdint.h>

#include "manager/autoscale.h"
#include "manager/service.h"

typedef struct Autoscaler Autoscaler;

#define AUTOSCALER_SAVE_USEC  (600 * MAM_USEC_PER_SEC)
#define AUTOSCALER_STORED_MAX (4UL * 1024 * 1024)
/* In place of HPA_PERIOD_USEC, for trying things out: a time span such as "1s", AUTOSCALER_PERIOD_MIN_USEC
 * to AUTOSCALER_PERIOD_MAX_USEC. */
#define AUTOSCALER_PERIOD_VARIABLE "MAM_AUTOSCALE_PERIOD"
#define AUTOSCALER_PERIOD_MIN_USEC (200 * MAM_USEC_PER_MSEC)
#define AUTOSCALER_PERIOD_MAX_USEC (300 * MAM_USEC_PER_SEC)

/* state_path: its folder is where vpa.json lives; NULL: nothing is kept. */
int autoscaler_new(Autoscaler **ret, Manager *m, const char *state_path);
/* Writes what is not written yet. The services must still be there. */
Autoscaler *autoscaler_free(Autoscaler *a);
MAM_DEFINE_CLEANUP(Autoscaler, autoscaler_free);

/* The gateways have been asked, and load.c is up to date. */
void autoscaler_on_load(Autoscaler *a, uint64_t now_usec);
/* The exit record of a replica is new; oom_kills: how many more of them. */
void autoscaler_note_exit(Replica *r, uint64_t oom_kills);
/* A person, or a connection to what was asleep, wants so many. */
void autoscaler_note_wanted(Service *s, uint32_t count);
/* Modes or limits were changed by a person, or the configuration was read anew. */
void autoscaler_note_settings(Service *s);

MamScalingMode service_horizontal_mode(const Service *s);
MamScalingMode service_vertical_mode(const Service *s);
/* 0: none. */
uint32_t service_recommended_replicas(const Service *s);
uint64_t service_recommended_cpu_millis(const Service *s);
/* What its load asks for, were there no maximum; 0: not known, or autoscaling does not decide. */
uint32_t service_unbounded_replicas(const Service *s);
uint64_t service_recommended_memory_bytes(const Service *s);
/* How often autoscaling changed something. */
uint64_t service_decisions(const Service *s);

/* What the latest sample of a replica says it uses without reclaimable cache; UINT64_MAX: not known. */
uint64_t replica_working_set(const Replica *r);

void autoscaler_forget(Service *s);
ReplicaUsage *replica_usage_free(ReplicaUsage *u);

/* sleep.c: a service at zero keeps the sockets of its first replica open, and a connection wakes it. */
bool service_can_sleep(const Service *s);
bool service_is_asleep(const Service *s);
/* ret_removed may be NULL. Of a running service that can sleep. */
void service_sleep(Service *s, Numbers *ret_removed);
/* Something runs again that was started by a connection, or by a person. */
void service_wake(Service *s, uint32_t number, uint64_t now_usec);
/* Opens the sockets of what sleeps, closes those of what was stopped in its sleep. */
void service_step_sleep(Service *s, bool stop_gate);
/* Somebody is, or was a moment ago, connected to the port; reads at most a few MB. -ENOENT: nobody.
 * Other errors: cannot be said. */
int port_is_used(const char *folder, uint16_t port);
