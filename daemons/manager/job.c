/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs: progress of what a client asked for
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/util/buffer.h"
#include "manager/job.h"

#define NAMED_MAX     3U /* replicas that a message names */
#define PROGRESS_USEC (100 * MAM_USEC_PER_MSEC)

static const char *const verb_names[_JOB_VERB_MAX] = {
        [JOB_START] = "start", [JOB_STOP] = "stop",   [JOB_RESTART] = "restart",
        [JOB_SCALE] = "scale", [JOB_CHAOS] = "chaos",
};

const char *job_verb_to_string(JobVerb v) {
        assert(v >= 0 && v < _JOB_VERB_MAX);

        return verb_names[v];
}

Job *job_free(Job *job) {
        if (!job)
                return NULL;

        if (job->manager) {
                DL_DELETE(job->manager->jobs, job);
                job->manager->n_jobs--;
        }
        free(job->members);
        free(job);
        return NULL;
}

/* What is left of a restart is not begun any more. */
static void member_stop_restarting(JobMember *m) {
        for (uint32_t n = 1; m->service && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (m->service->replicas[n] && numbers_has(&m->todo, n))
                        m->service->replicas[n]->restart = RESTART_NONE;
        }
}

void job_end(Job *job, const char *result, const char *message) {
        assert(job);

        for (size_t i = 0; job->verb == JOB_RESTART && i < job->n_members; i++)
                member_stop_restarting(&job->members[i]);

        job_emit_removed(job, result, message);
        job_free(job);
}

static void take_member(Job *older, const Service *s) {
        size_t left = 0;

        for (size_t i = 0; i < older->n_members; i++) {
                if (older->members[i].service == s) {
                        if (older->verb == JOB_RESTART)
                                member_stop_restarting(&older->members[i]);
                        older->members[i].service = NULL;
                }
                left += older->members[i].service != NULL;
        }
        if (left == 0)
                job_end(older, "superseded", "A later call wants something else of it");
}

void jobs_end_restarts(Manager *m, const Service *s) {
        Job *job, *next;

        DL_FOREACH_SAFE(m->jobs, job, next) {
                if (job->verb == JOB_RESTART)
                        take_member(job, s);
        }
}

void jobs_forget_service(Manager *m, const Service *s) {
        Job *job, *next;

        DL_FOREACH_SAFE(m->jobs, job, next) {
                if (job->verb != JOB_CHAOS)
                        take_member(job, s);
        }
}

int job_new(Job **ret, Manager *m, JobVerb verb, const char *service, JobMember *members, size_t n_members) {
        Job *job, *older, *next;

        assert(ret);
        assert(m);

        if (m->n_jobs >= MANAGER_JOBS_MAX)
                return -EDQUOT;

        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;

        for (size_t i = 0; i < n_members; i++) {
                DL_FOREACH_SAFE(m->jobs, older, next) {
                        /* What is only started on the way for another one's sake does not end a job about
                         * it. */
                        if (older->verb == JOB_CHAOS)
                                continue;
                        if (strcmp(older->service, service) == 0 ||
                            strcmp(members[i].service->config->id, service) == 0 || verb == JOB_STOP ||
                            verb == JOB_RESTART || !*service)
                                take_member(older, members[i].service);
                }
        }

        job->id = ++m->last_job;
        job->verb = verb;
        snprintf(job->service, sizeof(job->service), "%s", service);
        job->members = members;
        job->n_members = n_members;
        job->deadline_usec = mam_now_monotonic() + MANAGER_JOB_LIMIT_USEC;
        for (size_t i = 0; i < n_members; i++)
                job->base += numbers_count(&members[i].todo);

        job->manager = m;
        DL_APPEND(m->jobs, job);
        m->n_jobs++;
        *ret = job;
        return 0;
}

typedef struct Waiting {
        MamBuffer names;
        uint32_t n;      /* not there yet */
        uint32_t n_held; /* of those, held back */
} Waiting;

static void wait_for(Waiting *w, const Replica *r, const Service *s, uint32_t number, const char *text) {
        char why[192];

        if (w->n++ >= NAMED_MAX)
                return;
        if (!text) {
                if (r) {
                        replica_describe(r, why, sizeof(why));
                } else {
                        strcpy(why, "not started yet");
                }
                text = why;
        }
        (void) mam_buffer_appendf(
                        &w->names,
                        "%s%s:%u (%s)",
                        w->n > 1 ? ", " : "",
                        s->config->id,
                        number,
                        text);
}

static void count_wanted(Job *job, const Service *s, Waiting *w) {
        NUMBERS_FOREACH(n, &s->state->numbers) {
                const Replica *r = s->replicas[n];

                job->total++;
                if (r && replica_is_ready(r) && !numbers_has(&s->state->starting, n)) {
                        job->done++;
                        continue;
                }
                if (r && r->hold[0])
                        w->n_held++;
                wait_for(w, r, s, n, NULL);
        }
}

static void count_leaving(Job *job, JobMember *m, Waiting *w) {
        NUMBERS_FOREACH(n, &m->todo) {
                const Replica *r = m->service->replicas[n];

                if ((!r || r->activity == UNIT_INACTIVE) && !numbers_has(&m->service->state->stopping, n)) {
                        numbers_remove(&m->todo, n);
                        continue;
                }
                wait_for(w, r, m->service, n, r && replica_is_draining(r) ? "draining" : "stopping");
        }
}

/* A service may be touched when the ones before it in the job are through: they are in dependency order. */
static void count_restart(Job *job, JobMember *m, Waiting *w) {
        Service *s = m->service;
        Replica *r;

        NUMBERS_FOREACH(n, &m->todo) {
                r = s->replicas[n];
                if (!r || !replica_is_wanted(r)) { /* gone meanwhile: nothing to restart */
                        numbers_remove(&m->todo, n);
                        if (r)
                                r->restart = RESTART_NONE;
                        continue;
                }
                if (w->n == 0) { /* its turn */
                        if (r->restart == RESTART_NONE) {
                                r->restart = RESTART_WANTED;
                                r->restart_drain_until_usec = 0;
                                manager_queue_pass(s->manager); /* jobs come after the acts of this one */
                        }
                        if (r->restart == RESTART_RUNNING && replica_is_ready(r)) {
                                r->restart = RESTART_NONE;
                                numbers_remove(&m->todo, n);
                                continue;
                        }
                        if (r->hold[0] &&
                            r->restart == RESTART_RUNNING) /* before that this is a fresh try */
                                w->n_held++;
                        wait_for(w, r, s, n, r->restart < RESTART_ISSUED ? "draining" : NULL);
                } else
                        w->n++;
        }
}

static uint32_t leaving_left(const Job *job) {
        uint32_t left = 0;

        for (size_t i = 0; i < job->n_members; i++) {
                if (job->members[i].service)
                        left += numbers_count(&job->members[i].todo);
        }
        return left;
}

/* True: the job has ended and is freed. */
static bool job_evaluate(Job *job, uint64_t now_usec, uint64_t *again_usec) {
        uint32_t done = job->done, total = job->total;
        Waiting w = { .names = MAM_BUFFER_INIT };
        char message[sizeof(job->message)];
        const char *result = NULL;
        bool tell = false;

        job->done = job->total = 0;
        for (size_t i = 0; i < job->n_members; i++) {
                JobMember *m = &job->members[i];

                if (!m->service)
                        continue;
                if (job->verb == JOB_START || job->verb == JOB_SCALE)
                        count_wanted(job, m->service, &w);
                if (job->verb == JOB_STOP || job->verb == JOB_SCALE)
                        count_leaving(job, m, &w);
                if (job->verb == JOB_RESTART)
                        count_restart(job, m, &w);
        }
        if (job->verb != JOB_START) {
                job->total += job->base;
                job->done += job->base - leaving_left(job);
        }

        snprintf(message, sizeof(message), "waiting for %s", mam_buffer_bytes(&w.names));
        if (w.n > NAMED_MAX) {
                size_t length = strlen(message);

                snprintf(message + length, sizeof(message) - length, " and %u more", w.n - NAMED_MAX);
        }
        mam_buffer_done(&w.names);

        /* A stop of a target that systemd has yet to hear of would take along what is started right after.
         */
        if (w.n == 0 && job->manager->n_target_stops == 0) {
                result = "done";
        } else if (w.n > 0 && w.n_held == w.n) {
                result = "failed";
        } else if (now_usec >= job->deadline_usec) {
                result = "timeout";
        }

        /* Counts at once, a new text alone at the pace of a reader: each signal costs the bus and PID 1 time
         * that the replicas need to start. */
        if (done != job->done || total != job->total || now_usec >= job->announced_usec + PROGRESS_USEC) {
                tell = job->announced_usec == 0 || done != job->done || total != job->total ||
                       strcmp(message, job->message) != 0;
        } else if (strcmp(message, job->message) != 0 && job->announced_usec + PROGRESS_USEC < *again_usec) {
                *again_usec = job->announced_usec + PROGRESS_USEC;
        }
        if (tell) {
                job->announced_usec = now_usec;
                memcpy(job->message, w.n == 0 ? "" : message, w.n == 0 ? 1 : sizeof(message));
                job_emit_progress(job);
        }
        if (result) {
                job_end(job, result, w.n == 0 ? "" : message);
                return true;
        }
        if (job->deadline_usec < *again_usec)
                *again_usec = job->deadline_usec;
        return false;
}

void jobs_evaluate(Manager *m, uint64_t now_usec, uint64_t *again_usec) {
        Job *job, *next;

        assert(m);

        DL_FOREACH_SAFE(m->jobs, job, next) {
                if (job->verb != JOB_CHAOS)
                        (void) job_evaluate(job, now_usec, again_usec);
        }
}
