/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chaos: runs, from their start until everything is taken back
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <syslog.h>

#include <utlist.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "manager/chaos-internal.h"
#include "manager/events.h"
#include "manager/job.h"
#include "manager/manager.h"

#define PROGRESS_STEPS 100U

static ChaosRun *run_free(ChaosRun *run) {
        if (!run)
                return NULL;

        free(run->victims);
        free(run);
        return NULL;
}
MAM_DEFINE_CLEANUP(ChaosRun, run_free);

static int run_new(ChaosRun **ret, Chaos *c, const char *service, ChaosKind kind, const Numbers *victims) {
        _cleanup_(run_freep) ChaosRun *run = NULL;

        run = calloc(1, sizeof(*run));
        if (!run)
                return -ENOMEM;

        run->chaos = c;
        run->kind = kind;
        snprintf(run->service, sizeof(run->service), "%s", service);
        run->victims = calloc(numbers_count(victims), sizeof(*run->victims));
        if (!run->victims)
                return -ENOMEM;

        NUMBERS_FOREACH(n, victims) {
                run->victims[run->n_victims++] = (ChaosVictim){ .run = run, .number = n };
        }
        *ret = MAM_TAKE(run);
        return 0;
}

static ChaosRun *find_run(const Chaos *c, const char *service) {
        ChaosRun *run;

        DL_FOREACH(c->runs, run) {
                if (strcmp(run->service, service) == 0)
                        return run;
        }
        return NULL;
}

static void add_run(Chaos *c, ChaosRun *run) {
        DL_APPEND(c->runs, run);
        c->n_runs++;
}

static void remove_run(Chaos *c, ChaosRun *run) {
        DL_DELETE(c->runs, run);
        c->n_runs--;
        run_free(run);
}

/* ---- what a successor would have to take back ---- */

static int save(const Chaos *c) {
        ChaosRecord records[CHAOS_RUNS_MAX];
        const ChaosRun *run;
        size_t n = 0;

        if (!c->path)
                return 0;

        DL_FOREACH(c->runs, run) {
                if (run->restored_usec > 0 || n >= MAM_ELEMENTSOF(records))
                        continue;
                records[n] = (ChaosRecord){ .kind = run->kind };
                memcpy(records[n].service, run->service, sizeof(records[n].service));
                for (uint32_t i = 0; i < run->n_victims; i++)
                        numbers_add(&records[n].victims, run->victims[i].number);
                n++;
        }
        return chaos_store_save(c->path, records, n);
}

/* What the manager before us may have done, all of it. */
static int inherit(Chaos *c) {
        ChaosRecord records[CHAOS_RUNS_MAX];
        int n, r;

        n = c->path ? chaos_store_load(records, c->path) : 0;
        if (n == -ENOENT)
                return 0;
        if (n < 0) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_STATE_UNUSABLE,
                           "Cannot use %s: %s; what chaos it tells of stays until its replicas restart",
                           c->path,
                           strerror(-n));
                return n == -ENOMEM ? n : 0;
        }

        for (int i = 0; i < n; i++) {
                ChaosRun *run = NULL;

                if (numbers_is_empty(&records[i].victims) || find_run(c, records[i].service))
                        continue;
                r = run_new(&run, c, records[i].service, records[i].kind, &records[i].victims);
                if (r < 0)
                        return r;
                run->ending = true;
                for (uint32_t k = 0; k < run->n_victims; k++) {
                        run->victims[k].halted = run->kind == CHAOS_STOP || run->kind == CHAOS_LATENCY;
                        run->victims[k].squeezed = !run->victims[k].halted && run->kind != CHAOS_KILL;
                }
                add_run(c, run);
        }
        return 0;
}

int chaos_new(Chaos **ret, Manager *m, const char *path) {
        _cleanup_(chaos_freep) Chaos *c = NULL;
        int r;

        assert(ret);
        assert(m);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        c->manager = m;
        if (path) {
                c->path = strdup(path);
                if (!c->path)
                        return -ENOMEM;
        }
        r = inherit(c);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(c);
        return 0;
}

Chaos *chaos_free(Chaos *c) {
        ChaosRun *run, *next;

        if (!c)
                return NULL;

        DL_FOREACH_SAFE(c->runs, run, next) {
                remove_run(c, run);
        }
        free(c->path);
        free(c);
        return NULL;
}

/* ---- what users see ---- */

static void begin_report(ChaosRun *run, const Service *s, uint64_t now_usec) {
        uint64_t span_usec = 0;

        if (load_service_last_minute(s, now_usec, &run->report.before, &span_usec))
                run->report.before_seconds = (double) span_usec / (double) MAM_USEC_PER_SEC;
        run->at_begin = s->load;
        load_want_often(s->manager->load);
}

static void tell_progress(ChaosRun *run, uint64_t now_usec, uint64_t *again_usec) {
        uint64_t all_usec = run->end_usec - run->began_usec, pace_usec = all_usec / PROGRESS_STEPS;
        Job *job = run->job;

        if (pace_usec < MAM_USEC_PER_SEC)
                pace_usec = MAM_USEC_PER_SEC;
        if (run->told_usec > 0 && run->told_usec + pace_usec > now_usec) {
                if (run->told_usec + pace_usec < *again_usec)
                        *again_usec = run->told_usec + pace_usec;
                return;
        }
        run->told_usec = now_usec;
        if (now_usec + pace_usec < *again_usec)
                *again_usec = now_usec + pace_usec;
        if (!job)
                return;
        job->total = (uint32_t) (all_usec / MAM_USEC_PER_SEC);
        job->done =
                        (uint32_t) ((now_usec < run->end_usec ? now_usec - run->began_usec : all_usec) /
                                    MAM_USEC_PER_SEC);
        job_emit_progress(job);
}

/* ---- a run ---- */

static bool is_restored(const ChaosRun *run) {
        for (uint32_t i = 0; i < run->n_victims; i++) {
                const ChaosVictim *v = &run->victims[i];

                if (v->halted || v->squeezed || v->act != CHAOS_NOTHING)
                        return false;
        }
        return true;
}

/* True: it is over and freed. */
static bool finish(ChaosRun *run, const Service *s, uint64_t now_usec, uint64_t *again_usec) {
        Chaos *c = run->chaos;
        Manager *m = c->manager;
        Job *job;

        if (!is_restored(run))
                return false;
        if (run->restored_usec == 0) {
                int r;

                run->restored_usec = now_usec;
                r = save(c);
                if (r < 0)
                        mam_warning("Cannot write %s: %s", c->path, strerror(-r));
        }
        /* What went wrong last is counted by the gateways, and told when they are asked the next time. */
        if (run->job && load_asked_usec(m->load) > 0 && load_asked_usec(m->load) <= run->restored_usec &&
            now_usec < run->restored_usec + CHAOS_REPORT_MAX_USEC) {
                if (run->restored_usec + CHAOS_REPORT_MAX_USEC < *again_usec)
                        *again_usec = run->restored_usec + CHAOS_REPORT_MAX_USEC;
                return false;
        }

        event_log(m,
                  LOG_NOTICE,
                  MAM_MESSAGE_CHAOS,
                  run->service,
                  0,
                  "chaos",
                  "chaos (%s) %s%s%s",
                  chaos_kind_to_string(run->kind),
                  run->job ? run->result : "of an earlier manager was taken back",
                  run->message[0] ? ": " : "",
                  run->message);
        job = MAM_TAKE(run->job);
        if (job) {
                if (s && load_asked_usec(m->load) > run->began_usec) {
                        run->report.during = load_since(&s->load, &run->at_begin);
                        run->report.during_seconds = (double) (run->restored_usec - run->began_usec) /
                                                     (double) MAM_USEC_PER_SEC;
                }
                chaos_emit_ended(m, job, &run->report);
                load_want_less(m->load);
                job_end(job, run->result, run->message);
        }
        remove_run(c, run);
        return true;
}

static void run_step(ChaosRun *run, uint64_t now_usec, uint64_t *again_usec) {
        Service *s = manager_find_service(run->chaos->manager, run->service);

        if (!run->ending) {
                if (!s || !s->configured || !s->state->running) {
                        chaos_run_end(run, "superseded", "The service was stopped");
                } else if (now_usec >= run->end_usec) {
                        chaos_run_end(run, "done", "");
                } else if (run->end_usec < *again_usec)
                        *again_usec = run->end_usec;
        }

        for (uint32_t i = 0; i < run->n_victims; i++) {
                ChaosVictim *v = &run->victims[i];
                const Replica *r = s ? s->replicas[v->number] : NULL;
                uint32_t pid = r && r->activity == UNIT_ACTIVE ? r->main_pid : 0;

                chaos_act_on(v,
                             s,
                             chaos_decide(run->kind, v, pid, run->ending, now_usec, again_usec),
                             now_usec);
        }
        if (run->ending) {
                (void) finish(run, s, now_usec, again_usec);
                return;
        }
        tell_progress(run, now_usec, again_usec);
}

void chaos_step(Chaos *c, uint64_t now_usec, uint64_t *again_usec) {
        ChaosRun *run, *next;

        assert(c);

        DL_FOREACH_SAFE(c->runs, run, next) {
                run_step(run, now_usec, again_usec);
        }
}

static Numbers candidates(const Service *s) {
        Numbers set = NUMBERS_INIT;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *r = s->replicas[n];

                if (r && replica_is_wanted(r) && r->activity == UNIT_ACTIVE && r->main_pid > 0)
                        numbers_add(&set, n);
        }
        return set;
}

int chaos_check(Chaos *c, const Service *s, ChaosKind kind, uint32_t percent, const char **ret_why) {
        Numbers set = candidates(s), chosen;

        assert(c);
        assert(ret_why);

        if (find_run(c, s->config->id)) {
                *ret_why = "there is chaos at it already";
                return -EBUSY;
        }
        if (s->rollout) {
                *ret_why = "a rollout of it is under way";
                return -EBUSY;
        }
        if (c->n_runs >= CHAOS_RUNS_MAX) {
                *ret_why = "there is chaos at as many services as there may be";
                return -EDQUOT;
        }
        if (kind == CHAOS_IO && !chaos_io_can_be_limited()) {
                *ret_why = "the kernel offers no io or blkio controller, or there is no disk";
                return -EOPNOTSUPP;
        }
        if (numbers_is_empty(&set)) {
                *ret_why = "no replica of it runs";
                return -ESRCH;
        }
        chosen = chaos_choose(&set, percent, 0);
        if (numbers_is_empty(&chosen)) {
                *ret_why = "one replica of it runs, and only 100 percent may hit all there are";
                return -ERANGE;
        }
        return 0;
}

static void describe(const ChaosRun *run, char *ret, size_t size) {
        size_t length = (size_t) snprintf(ret, size, "%s at", chaos_kind_to_string(run->kind));

        for (uint32_t i = 0; i < run->n_victims && length < size; i++)
                length += (size_t) snprintf(
                                ret + length,
                                size - length,
                                "%s %s:%u",
                                i > 0 ? "," : "",
                                run->service,
                                run->victims[i].number);
}

int chaos_start(Job **ret, Chaos *c, Service *s, ChaosKind kind, uint32_t percent, uint64_t duration_usec) {
        _cleanup_(run_freep) ChaosRun *run = NULL;
        uint64_t now_usec = mam_now_monotonic(), seed = 0;
        Numbers set = candidates(s), victims;
        ChaosRun *added;
        int r;

        assert(ret);
        assert(c);

        if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
                seed = now_usec; /* good enough to choose by */
        victims = chaos_choose(&set, percent, seed);
        r = run_new(&run, c, s->config->id, kind, &victims);
        if (r < 0)
                return r;

        run->random = seed;
        run->began_usec = now_usec;
        run->end_usec = now_usec + duration_usec;
        for (uint32_t i = 0; kind == CHAOS_KILL && i < run->n_victims; i++)
                run->victims[i].next_usec =
                                now_usec + (i == 0 ? 0 : chaos_random(&run->random) % CHAOS_KILL_USEC);
        r = job_new(&run->job, c->manager, JOB_CHAOS, s->config->id, NULL, 0);
        if (r < 0)
                return r;

        added = MAM_TAKE(run);
        add_run(c, added);
        r = save(c); /* before anything is done */
        if (r < 0) {
                job_free(added->job);
                remove_run(c, added);
                return r;
        }

        describe(added, added->job->message, sizeof(added->job->message));
        begin_report(added, s, now_usec);
        event_log(c->manager,
                  LOG_WARNING,
                  MAM_MESSAGE_CHAOS,
                  added->service,
                  0,
                  "chaos",
                  "chaos for %llu s: %s",
                  (unsigned long long) (duration_usec / MAM_USEC_PER_SEC),
                  added->job->message);
        *ret = added->job;
        return 0;
}

void chaos_cancel(Chaos *c, const Job *job) {
        ChaosRun *run;

        assert(c);

        DL_FOREACH(c->runs, run) {
                if (run->job == job)
                        chaos_run_end(run, "cancelled", "Cancelled; what was changed is taken back");
        }
}

const char *chaos_of(const Chaos *c, const char *service) {
        const ChaosRun *run = c ? find_run(c, service) : NULL;

        return run ? chaos_kind_to_string(run->kind) : NULL;
}

bool chaos_holds_limits(const Replica *r) {
        const Chaos *c = r->service->manager->chaos;
        const ChaosRun *run = c ? find_run(c, r->service->config->id) : NULL;

        if (!run || (run->kind != CHAOS_CPU && run->kind != CHAOS_MEMORY))
                return false;
        for (uint32_t i = 0; i < run->n_victims; i++) {
                if (run->victims[i].number == r->number)
                        return run->victims[i].squeezed;
        }
        return false;
}
