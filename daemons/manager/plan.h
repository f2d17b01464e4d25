/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Plan: what the manager would do now and has not done
 *
 * A dry run of the pass: plan_replica() asks reconcile_replica() and liveness_judge(), by which the pass
 * acts, about the same views, and puts their answers into words. It changes nothing. plan-bus.c collects
 * them and adds what concerns the whole: units older than the configuration.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "libmam/config/config.h"
#include "manager/health.h"
#include "manager/liveness.h"
#include "manager/reconcile.h"

typedef struct PlanDifference {
        char is[96], should[96], todo[160], why[256];
} PlanDifference;

typedef struct PlanReplica {
        ReplicaView reconcile;
        Liveness liveness;
        LivenessView liveness_view;
        HealthState health;
        const char *active_state;
        const char *health_reason;
        const char *hold;                  /* why it is quarantined, or "" */
        const char *failure;               /* why systemd could not start or stop it, or NULL */
        const char *waits_for;             /* service that keeps the gate shut, or NULL */
        bool waits_for_units;              /* systemd has not loaded yet what it is to run */
        bool restart_is_due;               /* a rolling restart has it on its list, or at work */
        bool limits_are_due;               /* its unit has other limits than it should have */
        uint64_t cpu_millis, memory_bytes; /* that it should have */
} PlanReplica;

/* True: something is to be done, or to be waited for. */
bool plan_replica(const PlanReplica *p, uint64_t now_usec, PlanDifference *ret);

typedef struct Replica Replica;

/* plan-bus.c: of a replica as it is now. Strings are borrowed from it. */
void replica_plan_view(const Replica *r, PlanReplica *ret);
int manager_bus_plan(sd_bus_message *message, void *userdata, sd_bus_error *error);
