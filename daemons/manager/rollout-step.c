/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts: what a pass does for them
 */

#include <assert.h>
#include <string.h>

#include <utlist.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "manager/events.h"
#include "manager/rollout-internal.h"

/* After a boot systemd starts what is to run; so long a rollout waits for its service. */
#define BOOT_GRACE_USEC (120 * MAM_USEC_PER_SEC)
/* The load of the replicas is looked at so often. */
#define LOOK_USEC (LOAD_BUSY_USEC / 2)
/* A plan that asks for more steps than this in one pass goes on in the next. */
#define STEPS_MAX (4U * MAM_CONFIG_REPLICAS_MAX)

static void begin_number(Rollout *ro, uint32_t n) {
        const char *target = ro->plan.reverting ? ro->from : ro->to;
        Replica *r = service_replica(ro->service, n);

        if (!r)
                return; /* no memory: asked for again */
        snprintf(r->revision, sizeof(r->revision), "%s", target);
        r->dirty |= REPLICA_DIRTY_REVISION;
        ro->watches[n].deaths = r->deaths;
        ro->watches[n].traffic_usec = 0;
        ro->watches[n].begun_usec = mam_now_monotonic();
        backoff_reset(&r->backoff);
        service_want_number(ro->service, n);
}

static void begin_replacing(Rollout *ro, uint32_t n) {
        ro->watches[n].replacing = true;
        ro->watches[n].restart_begun = false;
        ro->manager->rollouts->assign_due = true;
}

/* In place: systemd has to know the new revision, then it drains, restarts, and
 * is one of the new. */
static void step_replacing(Rollout *ro, uint32_t n) {
        const char *target = ro->plan.reverting ? ro->from : ro->to;
        Replica *r = ro->service->replicas[n];
        RolloutWatch *w = &ro->watches[n];

        if (!w->replacing) {
                if (r && r->restart == RESTART_RUNNING) /* of a direction that was given up */
                        r->restart = RESTART_NONE;
                return;
        }
        if (!r || !replica_is_wanted(r)) { /* somebody stopped it */
                w->replacing = false;
                return;
        }
        if (!rollouts_is_loaded(ro->manager->rollouts, ro->service->config->id, n, target)) {
                ro->manager->rollouts->assign_due = true;
                return;
        }
        if (!w->restart_begun) {
                w->restart_begun = true;
                r->restart = RESTART_WANTED;
                r->restart_drain_until_usec = 0;
        } else if (r->restart == RESTART_RUNNING) {
                r->restart = RESTART_NONE;
                snprintf(r->revision, sizeof(r->revision), "%s", target);
                r->dirty |= REPLICA_DIRTY_REVISION;
                w->replacing = w->restart_begun = false;
                w->deaths = r->deaths;
                w->traffic_usec = 0;
                w->begun_usec = mam_now_monotonic();
                ro->manager->rollouts->dirty = true;
        } else if (r->restart == RESTART_NONE) {
                w->restart_begun = false; /* something else came between: again */
        }
}

/* The direction changes: what is not being restarted yet stays what it is, the
 * others are of the new revision now. */
static void settle_replacing(Rollout *ro) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                Replica *r = ro->service->replicas[n];
                RolloutWatch *w = &ro->watches[n];

                if (!w->replacing)
                        continue;
                if (r && r->restart < RESTART_ISSUED) {
                        r->restart = RESTART_NONE;
                } else if (r) {
                        snprintf(r->revision, sizeof(r->revision), "%s", ro->to);
                        r->dirty |= REPLICA_DIRTY_REVISION;
                }
                w->replacing = w->restart_begun = false;
        }
}

void rollout_turn_round(Rollout *ro, const RolloutStep *step) {
        const char *id = ro->service->config->id;
        char why[128];

        snprintf(ro->why, sizeof(ro->why), "%s", step->reason);
        if (step->number > 0 && ro->service->replicas[step->number]) {
                replica_describe(ro->service->replicas[step->number], why, sizeof(why));
                snprintf(ro->why,
                         sizeof(ro->why),
                         "%.30s:%u: %.48s: %.96s",
                         id,
                         step->number,
                         step->reason,
                         why);
        }
        event_log(ro->manager,
                  LOG_WARNING,
                  MAM_MESSAGE_ROLLOUT,
                  id,
                  0,
                  "rollout",
                  step->act == ROLLOUT_STEP_REVERT ? "the rollout of revision %s goes back: %s"
                                                   : "the rollout of revision %s is held: %s",
                  ro->to,
                  ro->why);
        if (step->act != ROLLOUT_STEP_REVERT)
                return;
        settle_replacing(ro);
        rollouts_set_fallback(ro->manager->rollouts, id, ro->from);
        ro->manager->rollouts->assign_due = true;
}

static void tell_step(Rollout *ro, const RolloutStep *step) {
        event_log(ro->manager,
                  LOG_INFO,
                  NULL,
                  ro->service->config->id,
                  0,
                  "rollout",
                  "revision %s: %s",
                  ro->to,
                  step->reason);
}

/* True: it has ended and is freed. */
static bool carry_out(Rollout *ro, const RolloutStep *step) {
        char message[ROLLOUT_REASON_MAX];

        switch (step->act) {
        case ROLLOUT_STEP_START:
                begin_number(ro, step->number);
                break;
        case ROLLOUT_STEP_STOP:
                ro->watches[step->number].replacing = false;
                service_unwant_number(ro->service, step->number);
                break;
        case ROLLOUT_STEP_REPLACE:
                begin_replacing(ro, step->number);
                break;
        case ROLLOUT_STEP_WATCH:
        case ROLLOUT_STEP_NEXT:
        case ROLLOUT_STEP_SWITCH:
                tell_step(ro, step);
                break;
        case ROLLOUT_STEP_REVERT:
        case ROLLOUT_STEP_HOLD:
                rollout_turn_round(ro, step);
                break;
        case ROLLOUT_STEP_DONE:
                rollout_end(ro, "done", step->reason);
                return true;
        case ROLLOUT_STEP_REVERTED:
                snprintf(message, sizeof(message), "%s", ro->why);
                rollout_end(ro, ro->aborted ? "aborted" : "reverted", message);
                return true;
        case ROLLOUT_STEP_FAILED:
                snprintf(message, sizeof(message), "%.85s; going back: %.85s", ro->why, step->reason);
                rollout_end(ro, "failed", message);
                return true;
        default:
                break;
        }
        return false;
}

/* True: it has ended and is freed. */
static bool step_until_rest(Rollout *ro, uint64_t now_usec, uint64_t *again_usec) {
        for (unsigned i = 0; i < STEPS_MAX; i++) {
                RolloutStep step;
                RolloutView v;

                rollout_watch(ro, now_usec);
                rollout_view(ro, &v);
                rollout_plan(&v, now_usec, &step, again_usec);
                if (step.act == ROLLOUT_STEP_NOTHING) {
                        snprintf(ro->waiting, sizeof(ro->waiting), "%s", step.reason);
                        return false;
                }
                rollout_plan_apply(&ro->plan, &step, now_usec);
                ro->manager->rollouts->dirty = true;
                if (carry_out(ro, &step))
                        return true;
        }
        manager_queue_pass(ro->manager);
        return false;
}

static bool is_over(const Rollout *ro, uint64_t now_usec, uint64_t *again_usec) {
        const Service *s = ro->service;

        if (!s->configured)
                return true;
        if (s->state->running && !numbers_is_empty(&s->state->numbers))
                return false;
        if (ro->untouched_boot && now_usec < ro->loaded_usec + BOOT_GRACE_USEC) {
                if (ro->loaded_usec + BOOT_GRACE_USEC < *again_usec)
                        *again_usec = ro->loaded_usec + BOOT_GRACE_USEC;
                return false;
        }
        return true;
}

static void step_service(Service *s, uint64_t now_usec, uint64_t *again_usec) {
        Rollout *ro = s->rollout;

        if (is_over(ro, now_usec, again_usec)) {
                rollout_end(ro,
                            "superseded",
                            s->configured ? "The service was stopped"
                                          : "The service is no longer configured");
                return;
        }
        if (!s->state->running || numbers_is_empty(&s->state->numbers))
                return; /* a boot: it is about to be started */
        ro->untouched_boot = false;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                step_replacing(ro, n);
        rollout_judge(ro, now_usec);
        if (step_until_rest(ro, now_usec, again_usec))
                return;
        if (now_usec + LOOK_USEC < *again_usec)
                *again_usec = now_usec + LOOK_USEC;
}

void rollouts_step(Manager *m, uint64_t now_usec, uint64_t *again_usec) {
        Rollouts *rs = m->rollouts;
        bool stepped = false;
        Service *s;

        assert(rs);

        DL_FOREACH(m->services, s) {
                if (!s->rollout)
                        continue;
                step_service(s, now_usec, again_usec);
                stepped = true;
        }
        /* Before anything of it is done. */
        if (rs->dirty) {
                (void) rollouts_save(rs);
                if (stepped)
                        (void) manager_save_state(m);
        }
        rollouts_assign(rs, now_usec, again_usec);
}

void rollouts_publish(Manager *m) {
        Service *s;

        DL_FOREACH(m->services, s) {
                if (s->rollout)
                        rollout_emit_changes(s->rollout);
        }
}
