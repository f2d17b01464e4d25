/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is wanted against what systemd says: pure decisions
 *
 * Intentions that are under way ("starting", "stopping") are part of the stored state, so that a manager
 * that is killed at any instant goes on where it was. What changes without such an intention was an
 * administrator's doing, and his wish: a replica stopped with `systemctl stop` leaves the wanted set, one
 * started with `systemctl start` joins it. Dying is no wish: systemd restarts what dies, so a unit is
 * inactive only if something stopped it or it never got to run.
 */

#include <stdbool.h>
#include <stdint.h>

#include "manager/numbers.h"

/* An administrator's stop is believed only after it lasted this long, since a restart passes through
 * "inactive" as well. */
#define RECONCILE_SETTLE_USEC 500000ULL

typedef enum UnitActivity {
        UNIT_INACTIVE,   /* inactive, failed, or not loaded */
        UNIT_ACTIVATING, /* also between two automatic restarts */
        UNIT_ACTIVE,
        UNIT_DEACTIVATING,
        _UNIT_ACTIVITY_MAX,
} UnitActivity;

typedef struct ReplicaView {
        /* wanted */
        bool wanted;               /* in the set */
        bool starting;             /* we intend to start it */
        bool stopping;             /* we intend to stop it */
        uint64_t held_until_usec;  /* 0: not held back */
        bool looping;              /* it is held back because it crash-loops */
        uint64_t drain_until_usec; /* when it may be stopped; 0: draining has not begun */
        /* observed */
        UnitActivity activity;
        uint64_t activity_since_usec;
        bool busy;     /* systemd has a job for it, or a call of ours is under way */
        bool busy_own; /* a call of ours, or its job, is under way; while stopping only a job that stops
                          counts */
        /* context */
        bool gate_open; /* to start: what the service depends on is ready; to stop: what depends on it is
                           gone */
} ReplicaView;

typedef enum ReplicaAction {
        REPLICA_NOTHING,
        REPLICA_START,
        REPLICA_STARTED, /* the intention is fulfilled */
        REPLICA_DRAIN,   /* take it out of the endpoints and come back */
        REPLICA_STOP,
        REPLICA_HOLD,          /* crash-looping: stop it and keep it wanted */
        REPLICA_STOPPED,       /* the intention is fulfilled */
        REPLICA_ADOPT_RUNNING, /* somebody started it */
        REPLICA_ADOPT_STOPPED, /* somebody stopped it */
} ReplicaAction;

/* *again_usec is lowered to the time at which the answer may change by itself. */
ReplicaAction reconcile_replica(const ReplicaView *v, uint64_t now_usec, uint64_t *again_usec);

/* Whether a single command that starts all of 1 to n that do not run does what is to be done: n, up to the
 * last one to be started, if each number below is to be started too or runs, and there are at least two to
 * start; else 0. runs: what may be told to start without harm, as it is wanted and runs or is about to. */
uint32_t reconcile_batch(const Numbers *start, const Numbers *runs);

/* How good a candidate a replica is for being removed by scaling down. */
typedef enum VictimRank {
        VICTIM_FAILED, /* goes first */
        VICTIM_NOT_READY,
        VICTIM_READY,
        VICTIM_TRIGGER, /* number 1 where systemd would start it again by itself; goes last */
} VictimRank;

/* Which numbers to add to, or remove from, have to reach count: lowest free first; ranks (indexed by number)
 * decide what goes, the highest number first among equals. count is at most max. */
void reconcile_scale(
                const Numbers *have,
                uint32_t count,
                uint32_t max,
                const VictimRank ranks[static MAM_CONFIG_REPLICAS_MAX + 1],
                Numbers *ret_add,
                Numbers *ret_remove);

typedef struct ServiceCounts {
        bool wanted;       /* should run */
        uint32_t desired;  /* in the set */
        uint32_t existing; /* not inactive */
        uint32_t ready;
        uint32_t held;     /* wanted and held back */
        uint32_t starting; /* wanted, not ready, on the way */
        uint32_t stopping;
} ServiceCounts;

/* "running", "degraded", "starting", "stopping", "stopped", "failed", "asleep" (wanted, with no replica) */
const char *reconcile_service_state(const ServiceCounts *c);
