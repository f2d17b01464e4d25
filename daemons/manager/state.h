/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The desired state, kept in state.json over restarts of the manager
 *
 * At a new boot nothing is wanted to run until it is found running (mam.target decides that); how many and
 * how big stays. The file is written whole or not at all. One that cannot be understood is moved aside to
 * state.json.bad by the caller.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "manager/numbers.h"

typedef struct State State;
typedef struct ServiceState ServiceState;

#define STATE_SERVICES_MAX ((size_t) 2 * MAM_CONFIG_SERVICES_MAX)
#define STATE_FILE_MAX     ((size_t) 1024 * 1024)

struct ServiceState {
        char id[32];
        bool running;          /* should run */
        bool fresh;            /* not stored: a new boot, or never seen; what runs now decides */
        uint32_t replicas;     /* explicit number for the next start; 0: the configured one */
        uint64_t cpu_millis;   /* limit per replica; 0: the configured one */
        uint64_t memory_bytes; /* likewise */
        bool runtime_limits;   /* limits were set at run time since the boot: systemd keeps those */
        bool asleep;           /* running with no replica: the sockets of the first one are open */
        bool horizontal_set, vertical_set;   /* a person has chosen who decides */
        MamScalingMode horizontal, vertical; /* where chosen */
        uint64_t auto_cpu_millis;            /* limit per replica by autoscaling; 0: none */
        uint64_t auto_memory_bytes;          /* likewise */
        Numbers numbers;                     /* replicas that should exist; empty while stopped */
        Numbers starting;                    /* of those, the ones that are still to be started */
        Numbers stopping;                    /* disjoint from numbers: still to be stopped */
};

struct State {
        bool initialized; /* Init succeeded once */
        ServiceState services[STATE_SERVICES_MAX];
        size_t n_services;
};

int state_new(State **ret);
State *state_free(State *s);
MAM_DEFINE_CLEANUP(State, state_free);

/* The record of a service, made if missing. Borrowed from s. NULL: not a plausible id, or
 * STATE_SERVICES_MAX. */
ServiceState *state_get(State *s, const char *id);

/* What tells this boot from others: a random id kept in <folder>/boot, on a tmpfs that a boot empties. The
 * kernel's own id is of no use in a container, and hidden from a sandboxed daemon. folder NULL: the kernel's
 * id. */
int state_boot_id(char ret[static 33], const char *folder);

/* boot_id: of now; records of another boot lose what should run. -ENOENT: no file. -EBADMSG: not understood.
 */
int state_load(State **ret, const char *path, const char *boot_id);
int state_save(const State *s, const char *path, const char *boot_id);
