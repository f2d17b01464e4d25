/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * org.freedesktop.systemd1 as a test wants it
 *
 * A bus peer that keeps what it was told to do in a log. By itself it does what systemd would: a started
 * unit becomes active, a stopped one inactive, and the job ends as "done". What is held is accepted and
 * goes no further until the test says how it ends. mam@ID:1-N.target starts replicas 1 to N, each as if it
 * had been told so by itself, also in the log.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/bus/test-bus.h"

#define FAKE_UNITS_MAX 32U
#define FAKE_LOG_MAX   1024U
#define FAKE_HELD_MAX  256U

typedef struct FakeUnit {
        char name[64];
        const char *active_state, *sub_state, *result;
        uint32_t job, main_pid, n_restarts;
        char properties[256]; /* as set last: "MemoryMax=1024 IOReadBandwidthMax=2*1048576 " */
} FakeUnit;

typedef struct FakeSystemd {
        sd_bus *bus;
        FakeUnit units[FAKE_UNITS_MAX];
        size_t n_units;
        char log[FAKE_LOG_MAX]
                [96]; /* "StartUnit mam@demo:1.service", "KillUnit main 9 mam@demo:1.service" */
        size_t n_log;
        uint32_t last_job;
        const char *hold;                    /* commands whose log line has this are held */
        const char *refuse;                  /* these are answered with an error */
        const char *refuse_name;             /* its name; NULL: NoSuchUnit */
        bool park_starts;                    /* StartUnit is not answered */
        bool park_limits;                    /* SetUnitProperties is not answered */
        sd_bus_message *held[FAKE_HELD_MAX]; /* owned */
        size_t n_held;
        bool stopping;           /* the system goes down */
        unsigned refuse_reloads; /* so many more of them fail */
} FakeSystemd;

void fake_systemd_start(FakeSystemd *f, TestBus *b);
void fake_systemd_stop(FakeSystemd *f);

/* Made if missing, inactive. */
FakeUnit *fake_unit(FakeSystemd *f, const char *name);
/* Says so to who watches. sub_state may be any literal. */
void fake_unit_change(FakeSystemd *f, const char *name, const char *active_state, const char *sub_state);
/* It has died and was restarted n times since. */
void fake_unit_restarted(FakeSystemd *f, const char *name, uint32_t n_restarts);
/* The job that a held command made ends. */
void fake_job_ends(FakeSystemd *f, const char *name, const char *result);

/* Somebody else has it load all units again. */
void fake_reload(FakeSystemd *f);
/* Starts that were parked are answered, and no more are. */
void fake_answer_starts(FakeSystemd *f);
/* How often it was told exactly this. */
unsigned fake_told(const FakeSystemd *f, const char *line);
