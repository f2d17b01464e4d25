/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Service and Replica objects
 *
 * A Service exists while it is configured, and on until its last replica is gone. A Replica exists while it
 * is wanted or its unit is not inactive, or a call of ours about it is under way. Both are exported on the
 * bus (service-bus.c, replica-bus.c); setters note what changed, and the next pass emits it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/config/config.h"
#include "libmam/config/revision.h"
#include "manager/backoff.h"
#include "manager/health.h"
#include "manager/liveness.h"
#include "manager/load.h"
#include "manager/numbers.h"
#include "manager/reconcile.h"
#include "manager/state.h"
#include "manager/systemd-bus.h"

typedef struct ConfigRef ConfigRef;
typedef struct Manager Manager;
typedef struct Probe Probe;
typedef struct Replica Replica;
typedef struct ReplicaUsage ReplicaUsage;
typedef struct Rollout Rollout;
typedef struct Service Service;
typedef struct ServiceScaling ServiceScaling;

/* A configuration shared by the services that come from it. */
struct ConfigRef {
        MamConfig *config; /* owned */
        unsigned n_refs;
};

int config_ref_new(ConfigRef **ret, MamConfig *config /* taken on success */);
ConfigRef *config_ref(ConfigRef *c);
ConfigRef *config_unref(ConfigRef *c);

/* Bits of Service.dirty and Replica.dirty: properties to be announced. */
enum {
        SERVICE_DIRTY_STATE = 1 << 0,  /* State, StateReason, ReadyReplicas, DesiredReplicas */
        SERVICE_DIRTY_CONFIG = 1 << 1, /* what comes from the configuration */
        SERVICE_DIRTY_LIMITS = 1 << 2,
        REPLICA_DIRTY_UNIT = 1 << 3,    /* ActiveState, SubState */
        REPLICA_DIRTY_HEALTH = 1 << 4,  /* Health, HealthReason */
        REPLICA_DIRTY_PROCESS = 1 << 5, /* MainPID, StartedUSec, Restarts */
        REPLICA_DIRTY_EXIT = 1 << 6,    /* LastExit, LastExitUSec, OOMKills */
        REPLICA_DIRTY_HOLD = 1 << 7,    /* Quarantine */
        REPLICA_DIRTY_STATUS = 1 << 8,  /* StatusText */
        REPLICA_DIRTY_REVISION = 1 << 9,
        SERVICE_DIRTY_ROLLOUT = 1 << 10, /* Revision, Version, Rollout */
        SERVICE_DIRTY_SCALING = 1 << 11, /* HorizontalMode, VerticalMode, Recommended… */
};

typedef enum RestartPhase {
        RESTART_NONE,
        RESTART_WANTED, /* drain, then restart */
        RESTART_DRAINING,
        RESTART_ISSUED,  /* systemd has been told */
        RESTART_RUNNING, /* its job is done: wait until ready */
} RestartPhase;

/* Replicas that are started with one command (manager-batch.c). */
typedef struct Batch {
        bool calling;   /* systemd has not answered yet */
        uint32_t job;   /* that ends after those of all of them; 0: none is under way */
        uint32_t n;     /* the command was for 1 to n */
        Numbers starts; /* of which these did not run */
        uint64_t since_usec;
        uint64_t alone_until_usec; /* not again before; 0: at once */
} Batch;

/* Replica.own_job: there is one, and systemd has not said its number yet. */
#define REPLICA_OWN_JOB_UNKNOWN UINT32_MAX

struct Replica {
        Service *service; /* weak: the service owns us */
        uint32_t number;
        uint32_t dirty;
        bool exported; /* InterfacesAdded was sent */
        bool seen;     /* by the listing under way */

        /* the unit, as systemd says */
        UnitActivity activity;
        uint64_t activity_since_usec;
        char active_state[16], sub_state[24], result[24];
        uint32_t job; /* systemd's job for it; 0: none */
        uint32_t main_pid;
        uint64_t started_usec;
        uint32_t n_restarts; /* systemd's counter, which starts anew with each start */
        uint32_t restarts;   /* ours */
        uint32_t deaths;     /* of those, the ones that this object has seen */
        bool restarts_known;
        char *status_text;                     /* owned, or NULL */
        char *control_group;                   /* owned, or NULL */
        char revision[MAM_REVISION_NAME_SIZE]; /* what it runs, or will when it starts; "": as configured */
        bool control_group_asked;

        /* what we do about it */
        unsigned n_calls;   /* to systemd, under way */
        uint32_t own_job;   /* systemd's job that we asked for, or REPLICA_OWN_JOB_UNKNOWN */
        bool own_job_stops; /* it is a stop, not a start or restart */
        bool start_failed;  /* that job failed */
        bool masked;        /* systemd refused to start it for that */
        bool socket_closed; /* its own socket was stopped, and nothing has started it since */
        char *failure;      /* owned; why, or NULL */
        uint64_t drain_until_usec;
        RestartPhase restart;
        uint64_t restart_drain_until_usec;
        bool limits_due;        /* runtime limits are to be asserted once it runs */
        bool unit_limits_known; /* read anew, and not judged yet */
        uint64_t unit_cpu_usec, unit_memory_bytes;
        Backoff backoff;
        char hold[192]; /* property Quarantine */

        Health health;
        char health_reason[96];
        Probe *probe;     /* owned; or NULL */
        bool probe_ended; /* it has said what it had to say */
        Liveness liveness;

        char last_exit[32];
        uint64_t last_exit_usec;
        uint64_t oom_kills;

        /* load.c */
        LoadTotals load;         /* since this object exists, over all gateways; only grows */
        uint32_t in_flight;      /* requests, as the gateways said last */
        LoadRecent *load_recent; /* owned; NULL: no gateway has told of it */
        ReplicaUsage *usage;     /* owned; of what is autoscaled, or NULL */
        bool memory_waits;       /* MemoryMax is above the limit until it uses less */
        uint64_t memory_max;     /* what MemoryMax was last set to; 0: not by us since it started */
};

struct Service {
        Manager *manager;               /* weak */
        ConfigRef *config_ref;          /* owned reference */
        const MamServiceConfig *config; /* borrowed from it */
        ServiceState *state;            /* borrowed from the manager's State */
        bool configured;                /* false: gone from the files, some replica still runs */
        uint32_t dirty;
        bool exported;
        Replica *replicas[MAM_CONFIG_REPLICAS_MAX + 1]; /* owned, by number; NULL where there is none */
        Rollout *rollout;                               /* owned; the one under way, or NULL */
        Batch batch;
        uint64_t settle_usec; /* when a service found running is brought to its stored size; 0: not to be */

        Numbers open_sockets; /* of replicas; as the listing under way says */

        ServiceCounts counts;                          /* of the latest pass */
        const char *state_text;                        /* a literal */
        uint64_t state_since_usec;                     /* realtime */
        uint64_t noted_cpu_millis, noted_memory_bytes; /* limits as of the latest pass */
        uint64_t limits_changed_usec;                  /* monotonic */
        char reason[192];
        char dependency_note[64]; /* "redis it depends on is degraded", or "" */

        /* load.c */
        LoadTotals load;         /* over all gateways and replicas, also such as are gone; only grows */
        LoadRecent *load_recent; /* owned, or NULL */
        ServiceScaling *scaling; /* owned; NULL: it was never autoscaled */
        uint64_t closed_usec;    /* stopped in its sleep: when its sockets were told to close; 0: not */
        bool sockets_due;        /* asleep: to be made sure that its sockets are open */
        bool load_known;         /* all gateways have answered the last time */
        uint32_t waiting;        /* requests that wait in gateways for a replica */
        uint32_t waiting_round;  /* counted so far in the round under way */

        uint64_t revision;       /* of the endpoints */
        uint64_t endpoints_hash; /* of what was announced */
        bool endpoints_announced;

        Service *prev, *next;
};

int service_new(Service **ret, Manager *m, ConfigRef *ref, const MamServiceConfig *config);
Service *service_free(Service *s);
MAM_DEFINE_CLEANUP(Service, service_free);

/* Made if missing; NULL: no memory, or not a valid number. */
Replica *service_replica(Service *s, uint32_t number);
Replica *replica_free(Replica *r);

uint32_t service_desired(const Service *s); /* stopped: how many a start would bring */
uint64_t service_cpu_millis(const Service *s);
uint64_t service_memory_bytes(const Service *s);
/* The units do not have the right limits by themselves: they differ from the configured ones, or did once,
 * and systemd keeps what was set at run time above what the generator writes. */
bool service_sets_limits(const Service *s);
bool service_depends_on(const Service *s, const char *id);
/* Number 1 cannot be spared while the service runs: systemd starts it by itself, at a connection to the
 * public port, or because a dependent wants it (see generate-replica.c), or the others are copies of it. */
bool service_needs_first(const Service *s);

/* Numbers whose unit is not inactive. */
Numbers service_existing(const Service *s);
uint32_t service_max_number(const Service *s);

/* service-want.c: intentions. They change the stored state and nothing else; the pass acts. */
void service_want_running(Service *s);
void service_want_stopped(Service *s);
/* Of a running service; returns what will go. */
void service_want_count(Service *s, uint32_t count, Numbers *ret_added, Numbers *ret_removed);
/* The number itself, whatever the count: for rollouts. */
void service_want_number(Service *s, uint32_t number);
void service_unwant_number(Service *s, uint32_t number);
void service_adopt_running(Service *s, uint32_t number, uint64_t now_usec);
void service_adopt_stopped(Service *s, uint32_t number);

bool replica_is_ready(const Replica *r);
bool replica_is_draining(const Replica *r);
bool replica_is_wanted(const Replica *r);
/* Address that the gateway and probes use: a unix socket, or 127.0.0.1:port of a program that binds $PORT
 * itself. */
void replica_endpoint(const Replica *r, char ret[static MAM_UNIT_NAME_MAX]);
/* "starting", "not answering: …", "held back until …": for people. */
void replica_describe(const Replica *r, char *ret, size_t size);
void replica_apply(Replica *r, const UnitChange *c, uint64_t now_usec, bool adopted);
void replica_read_exit(Replica *r);
void replica_drop_probe(Replica *r);

/* service-bus.c, replica-bus.c */
int service_export(Manager *m);
int service_append_properties(sd_bus_message *m, Service *s);
int service_path(const Service *s, char **ret);
void service_emit_changes(Service *s);
void service_emit_removed(Service *s);
int replica_export(Manager *m);
int replica_append_properties(sd_bus_message *m, Replica *r);
int replica_path(const Replica *r, char **ret);
void replica_emit_changes(Replica *r);
void replica_emit_removed(Replica *r);
