/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What chaos.c (runs) and chaos-acts.c (what is done to victims) share
 */

#include <stdbool.h>
#include <stdint.h>

#include "manager/chaos.h"

#define CHAOS_CGROUP_ROOT "/sys/fs/cgroup"

struct ChaosRun {
        Chaos *chaos; /* weak: it owns us */
        char service[32];
        ChaosKind kind;
        ChaosVictim *victims; /* owned */
        uint32_t n_victims;
        uint64_t random; /* state of chaos_random() */
        Job *job;        /* weak; NULL: of a manager before us */
        uint64_t began_usec, end_usec, told_usec;
        bool ending;
        const char *result;     /* of the job; a literal */
        char message[192];      /* likewise */
        uint64_t restored_usec; /* when everything was taken back; 0: not yet */
        ChaosReport report;
        LoadTotals at_begin; /* what the service had counted */
        ChaosRun *prev, *next;
};

struct Chaos {
        Manager *manager; /* weak */
        char *path;       /* owned; NULL: nothing is kept */
        ChaosRun *runs;   /* owned list */
        unsigned n_runs;
};

/* Once: from now on everything is taken back. result: a literal. */
void chaos_run_end(ChaosRun *run, const char *result, const char *message);
void chaos_act_on(ChaosVictim *v, const Service *s, ChaosAct act, uint64_t now_usec);
bool chaos_io_can_be_limited(void);
