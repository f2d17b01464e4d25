/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Jobs: progress of what a client asked for
 *
 * A Job changes nothing: the intentions are stored with the services, and the passes act on them. A Job
 * watches them come true and reports. The one exception is a restart, which must touch one replica after the
 * other: its job says which is next. A job ends "done", "failed" (nothing but crash loops is left),
 * "cancelled", "timeout", or "superseded" when a newer call wants something else of its services.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "manager/manager.h"

typedef enum JobVerb {
        JOB_START,
        JOB_STOP,
        JOB_RESTART,
        JOB_SCALE,
        JOB_CHAOS, /* chaos.c ends it; it takes no members from others, nor they from it */
        _JOB_VERB_MAX,
} JobVerb;

typedef struct JobMember {
        Service *service; /* weak; NULL: taken over by a newer job */
        Numbers todo;     /* restart: not restarted yet; stop, scale: to be gone */
} JobMember;

struct Job {
        Manager *manager; /* weak: the manager owns us */
        uint32_t id;
        JobVerb verb;
        char service[32];   /* "" for all */
        JobMember *members; /* owned; in the order in which they are worked on */
        size_t n_members;
        uint32_t done, total;
        uint32_t base; /* restart, stop: how many there were to begin with */
        char message[256];
        uint64_t deadline_usec;
        uint64_t announced_usec; /* monotonic, of the latest JobProgress; 0: none yet */
        uint32_t current;        /* restart: number of the replica under way, or 0 */
        Job *prev, *next;
};

/* -EDQUOT: MANAGER_JOBS_MAX. The job takes its members from older jobs, which end "superseded" when none is
 * left to them. */
int job_new(Job **ret,
            Manager *m,
            JobVerb verb,
            const char *service,
            JobMember *members /* taken on success */,
            size_t n_members);
/* Emits JobRemoved and frees. */
void job_end(Job *job, const char *result, const char *message);
Job *job_free(Job *job);
MAM_DEFINE_CLEANUP(Job, job_free);

/* Looks how far everything is; ends jobs, begins the next step of a restart. Lowers *again_usec. */
void jobs_evaluate(Manager *m, uint64_t now_usec, uint64_t *again_usec);
/* Something else is about to replace its replicas: restarts of it end. */
void jobs_end_restarts(Manager *m, const Service *s);
/* The service is about to be freed. */
void jobs_forget_service(Manager *m, const Service *s);

const char *job_verb_to_string(JobVerb v);

/* job-bus.c */
int job_export(Manager *m);
int job_path(const Job *job, char **ret);
void job_emit_new(Job *job);
void job_emit_progress(Job *job);
void job_emit_removed(Job *job, const char *result, const char *message);
