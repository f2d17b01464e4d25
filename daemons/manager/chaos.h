/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Chaos: trouble on purpose, for a time
 *
 * A ChaosRun does one kind of harm to some replicas of one service until its time is over, its job is
 * cancelled, or the service is stopped; then it takes back what it did, and only when systemd has answered
 * for every victim does its job end. What a run may have changed stands in chaos.json before it is changed,
 * so that the successor of a killed manager takes it back. Everything is set at run time only: a boot
 * forgets it.
 *
 * chaos-plan.c: pure decisions. chaos-store.c: the file. chaos.c: the runs. chaos-acts.c: what is done to a
 * victim. chaos-bus.c: method and signal.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/macro.h"
#include "manager/load.h"
#include "manager/numbers.h"

typedef struct Chaos Chaos;
typedef struct ChaosRun ChaosRun;
typedef struct Job Job;
typedef struct Manager Manager;
typedef struct Replica Replica;
typedef struct Service Service;

#define CHAOS_RUNS_MAX          8U
#define CHAOS_DURATION_MIN_USEC (1 * MAM_USEC_PER_SEC)
#define CHAOS_DURATION_MAX_USEC (3600 * MAM_USEC_PER_SEC)

/* A replica that dies BACKOFF_DEATHS (5) times within 10 s is held back as crash-looping. Chaos stays below
 * that: at 4 s to 5 s between two kills of one replica it dies three times in 10 s. */
#define CHAOS_KILL_USEC        (4 * MAM_USEC_PER_SEC)
#define CHAOS_KILL_JITTER_USEC (1 * MAM_USEC_PER_SEC)
/* Turns of "latency": so long stopped, then so long running. Each turn costs systemd a call and a question
 * to polkit, so the turns grow with the victims to stay at CHAOS_SIGNALS_PER_SEC. */
#define CHAOS_TURN_USEC       (50 * MAM_USEC_PER_MSEC)
#define CHAOS_SIGNALS_PER_SEC 80U
#define CHAOS_RETRY_USEC      (1 * MAM_USEC_PER_SEC)
#define CHAOS_TRIES           3U  /* of harm that systemd refuses, then the run fails */
#define CHAOS_UNDO_TRIES      30U /* of taking it back, then a person has to */
/* "cpu" leaves a twentieth, but what the kernel can still count. */
#define CHAOS_CPU_DIVISOR    20U
#define CHAOS_CPU_MIN_MILLIS 10U
#define CHAOS_IO_BYTES_SEC   (UINT64_C(1024) * 1024) /* reading, and as much writing, per disk */
#define CHAOS_REPORT_MAX_USEC                                                       \
        (3 * MAM_USEC_PER_SEC) /* how long the gateways' last counts are waited for \
                                */
#define CHAOS_DISKS_MAX 16U

typedef enum ChaosKind {
        CHAOS_KILL,   /* SIGKILL to the main process, again and again */
        CHAOS_STOP,   /* SIGSTOP to all of its processes; a replica with a watchdog is replaced after that */
        CHAOS_CPU,    /* a twentieth of its CPU limit */
        CHAOS_MEMORY, /* no more memory than it has in use: MemoryHigh, or MemoryMax where cgroup v1 has no
                         other */
        CHAOS_LATENCY, /* stopped and continued in short turns */
        CHAOS_IO,      /* CHAOS_IO_BYTES_SEC */
        _CHAOS_KIND_MAX,
        _CHAOS_KIND_INVALID = -EINVAL,
} ChaosKind;

const char *chaos_kind_to_string(ChaosKind k);
ChaosKind chaos_kind_from_string(const char *text);

/* ---- chaos-plan.c ---- */

/* percent of the candidates, at least one, never all unless percent is 100: an empty set if there is only
 * one. The same seed chooses the same. */
Numbers chaos_choose(const Numbers *candidates, uint32_t percent, uint64_t seed);
/* The next number of a sequence that *state (any value) determines. */
uint64_t chaos_random(uint64_t *state);
uint64_t chaos_turn_usec(uint32_t n_victims);
uint64_t chaos_cpu_millis(uint64_t limit_millis);

typedef enum ChaosAct {
        CHAOS_NOTHING,
        CHAOS_ACT_KILL,
        CHAOS_ACT_HALT,     /* SIGSTOP */
        CHAOS_ACT_CONTINUE, /* SIGCONT */
        CHAOS_ACT_SQUEEZE,  /* the limit of the kind */
        CHAOS_ACT_RELEASE,  /* back to what the service has */
} ChaosAct;

typedef struct ChaosVictim {
        ChaosRun *run; /* weak */
        uint32_t number;
        uint32_t pid;    /* main process that was halted */
        bool halted;     /* may stand still by our doing */
        bool squeezed;   /* its limits may be ours */
        ChaosAct act;    /* the call under way, or CHAOS_NOTHING */
        unsigned failed; /* calls, in a row */
        uint64_t next_usec;
} ChaosVictim;

/* What is to be done to a victim now. pid: its main process, 0 while it does not run. ending: everything is
 * taken back. Lowers *again_usec to the moment at which the answer changes by itself. */
ChaosAct chaos_decide(
                ChaosKind kind,
                const ChaosVictim *v,
                uint32_t pid,
                bool ending,
                uint64_t now_usec,
                uint64_t *again_usec);

/* ---- chaos-store.c ---- */

typedef struct ChaosRecord {
        char service[32];
        ChaosKind kind;
        Numbers victims;
} ChaosRecord;

/* n 0 removes the file. */
int chaos_store_save(const char *path, const ChaosRecord *records, size_t n);
/* Returns how many; -ENOENT: no file; -EBADMSG: not understood. */
int chaos_store_load(ChaosRecord ret[static CHAOS_RUNS_MAX], const char *path);

/* ---- chaos.c ---- */

/* path: of chaos.json, NULL: nothing is kept. What it tells of is taken back as soon as systemd was listed.
 */
int chaos_new(Chaos **ret, Manager *m, const char *path);
Chaos *chaos_free(Chaos *c);
MAM_DEFINE_CLEANUP(Chaos, chaos_free);
/* Part of a pass. */
void chaos_step(Chaos *c, uint64_t now_usec, uint64_t *again_usec);

/* Nothing is changed; *ret_why is for people. -EBUSY: there is chaos already. -EDQUOT: CHAOS_RUNS_MAX.
 * -ESRCH: nothing runs. -ERANGE: percent would spare none. -EOPNOTSUPP: the kernel cannot do this. */
int chaos_check(Chaos *c, const Service *s, ChaosKind kind, uint32_t percent, const char **ret_why);
/* After a check. *ret: the job, owned by the manager, not announced yet. */
int chaos_start(Job **ret, Chaos *c, Service *s, ChaosKind kind, uint32_t percent, uint64_t duration_usec);
/* The job ends when everything is taken back. */
void chaos_cancel(Chaos *c, const Job *job);
/* The kind of harm that is being done to a service, or NULL: its load says nothing then about how big it
 * ought to be. */
const char *chaos_of(const Chaos *c, const char *service);
/* The limits of this replica are in the hands of chaos, which sets those of the service when it ends. */
bool chaos_holds_limits(const Replica *r);

/* ---- chaos-bus.c ---- */

typedef struct ChaosReport {
        LoadTotals before, during;
        double before_seconds, during_seconds; /* 0: nothing is known */
} ChaosReport;

void chaos_emit_ended(Manager *m, const Job *job, const ChaosReport *report);
