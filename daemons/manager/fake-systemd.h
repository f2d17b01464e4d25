/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * org.freedesktop.systemd1 as a test wants it
 *
 * A bus peer that keeps what it was told to do in a log. By itself it does what systemd would: a started
 * unit becomes active, a stopped one inactive, and the job ends as "done". What is held is accepted and
 * goes no further until the test says how it ends.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/bus/test-bus.h"

#define FAKE_UNITS_MAX 32U
#define FAKE_LOG_MAX   128U
#define FAKE_HELD_MAX  16U

typedef struct FakeUnit {
        char name[64];
        const char *active_state, *sub_state, *result;
        uint32_t job, main_pid, n_restarts;
} FakeUnit;

typedef struct FakeSystemd {
        sd_bus *bus;
        FakeUnit units[FAKE_UNITS_MAX];
        size_t n_units;
        char log[FAKE_LOG_MAX][96]; /* "StartUnit mam@demo:1.service" */
        size_t n_log;
        uint32_t last_job;
        const char *hold;                    /* commands whose log line has this are held */
        const char *refuse;                  /* these are answered with an error */
        bool park_limits;                    /* SetUnitProperties is not answered */
        sd_bus_message *held[FAKE_HELD_MAX]; /* owned */
        size_t n_held;
        bool stopping; /* the system goes down */
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

/* How often it was told exactly this. */
unsigned fake_told(const FakeSystemd *f, const char *line);
