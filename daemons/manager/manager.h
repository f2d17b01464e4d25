/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Manager: the object that owns all others
 *
 * Facts come in (from systemd, probes, clients, timers) and only mark things; manager_queue_pass() then has
 * one pass over all replicas compare what is wanted with what is, act, and tell the world what changed. A
 * pass costs microseconds and sends nothing if nothing changed.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "libmam/bus/bus-polkit.h"
#include "libmam/config/config.h"
#include "manager/companions.h"
#include "manager/service.h"
#include "manager/state.h"
#include "manager/systemd-bus.h"

typedef struct Manager Manager;
typedef struct Alerts Alerts;
typedef struct Autoscaler Autoscaler;
typedef struct Chaos Chaos;
typedef struct Events Events;
typedef struct Job Job;
typedef struct Keys Keys;
typedef struct Rollouts Rollouts;
typedef struct InitOperation InitOperation;

#define MANAGER_JOBS_MAX   64U
#define MANAGER_PROBES_MAX 16U
/* Everything is listed again so often, for what no signal tells. */
#define MANAGER_RESYNC_USEC    (300 * MAM_USEC_PER_SEC)
#define MANAGER_DRAIN_USEC     (200 * MAM_USEC_PER_MSEC)
#define MANAGER_JOB_LIMIT_USEC (300 * MAM_USEC_PER_SEC)

typedef struct ManagerOptions {
        const char *config_dir;      /* /etc/mam; NULL: nothing is configured */
        const char *last_good_dir;   /* /var/lib/mam/config */
        const char *state_path;      /* /var/lib/mam/manager/state.json */
        const char *runtime_dir;     /* /run/mam/manager; NULL: none */
        const char *definitions_dir; /* NULL: /var/lib/mam/definitions */
} ManagerOptions;

struct Manager {
        sd_event *event;                               /* owned */
        sd_bus *bus;                                   /* owned */
        char *config_dir, *last_good_dir, *state_path; /* owned */
        char boot_id[33];

        ConfigRef *config;      /* owned reference; what the files say now */
        char *gateway_document; /* owned; what gateways are told of it */
        uint64_t gateway_generation;
        State *state;             /* owned; what should be */
        State *before;            /* owned; what it was before the call that is being answered */
        Load *load;               /* owned */
        Autoscaler *autoscaler;   /* owned */
        Systemd *systemd;         /* owned */
        MamPolkit *polkit;        /* owned */
        Service *services;        /* owned list, in the order of the configuration */
        Events *events;           /* owned; what happened */
        Alerts *alerts;           /* owned; what is wrong */
        Keys *keys;               /* owned; API keys */
        uint64_t keys_saved_usec; /* monotonic; when their use was stored */
        Chaos *chaos;             /* owned */
        Rollouts *rollouts;       /* owned; which revisions there are, and what is deployed */
        Job *jobs;                /* owned list, oldest first */
        unsigned n_jobs;
        uint32_t last_job;   /* number of the latest job */
        InitOperation *init; /* owned; the Init under way, or NULL */

        sd_event_source *pass;    /* owned; deferred, one shot */
        sd_event_source *timer;   /* owned; the next moment at which something may change by itself */
        sd_event_source *hangup;  /* owned; SIGHUP: read the files again */
        sd_bus_slot *name_slot;   /* owned */
        bool listed;              /* systemd has told what runs */
        bool ready;               /* we own our name and have told systemd */
        bool reloaded;            /* systemd has loaded its units anew since the latest listing */
        uint64_t resync_usec;     /* monotonic; when everything is listed again */
        bool state_dirty;         /* to be written */
        int state_failed;         /* negative errno of the latest attempt to write it; 0: written */
        uint64_t state_due_usec;  /* when, at the latest; 0: with this pass */
        unsigned n_probes;        /* under way */
        uint64_t last_start_usec; /* when we last started a replica */

        unsigned n_target_stops;    /* asked of systemd, not answered yet */
        bool stopping_asked;        /* whether the system goes down */
        bool going_down;            /* it does: what stops now is nobody's wish */
        uint64_t not_stopping_usec; /* when systemd last denied it */

        Companions companions;

        const char *state_text; /* property State; a literal */
        uint64_t revision_base; /* so that revisions grow over our own restarts */
};

int manager_new(Manager **ret, sd_event *event, sd_bus *bus, const ManagerOptions *options);
Manager *manager_free(Manager *m);
MAM_DEFINE_CLEANUP(Manager, manager_free);

/* Exports the objects (manager-bus.c). Enough for introspection. */
int manager_export(Manager *m);
/* Begins to watch systemd. The bus name is requested once everything is listed, so nobody ever sees half of
 * it. */
int manager_start(Manager *m);

/* Runs a pass from the event loop, soon. Cheap to call often. */
void manager_queue_pass(Manager *m);
/* MAM_USEC_INFINITY: nothing is due by itself. */
void manager_arm_timer(Manager *m, uint64_t when_usec);
void manager_queue_save(Manager *m, uint64_t delay_usec);
/* Writes the desired state now: before acting on a client's word. */
int manager_save_state(Manager *m);

/* manager-config.c: (re)reads the files; services appear and vanish. <0: nothing changed. */
int manager_load_config(Manager *m);
/* The document for gateways follows the configuration; they are told if it changed. -ENOMEM, or what sd-bus
 * says. */
int manager_update_gateway(Manager *m);
/* The files are newer than what the generator made of them, or it made nothing of one. */
bool manager_needs_daemon_reload(Manager *m);

/* manager-pass.c */
void manager_pass(Manager *m);
/* manager-watch.c: what systemd reports. */
extern const SystemdHandlers manager_systemd_handlers;

/* manager-bus.c: everything is listed: asks for our name. */
int manager_request_name(Manager *m);

Service *manager_find_service(Manager *m, const char *id);
/* The service runs elsewhere: an external DSN replaces it. */
bool manager_service_is_external(const Manager *m, const char *id);
bool manager_gateway_runs(Manager *m);
