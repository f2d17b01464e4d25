/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plan: the decisions of the pass in words
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "manager/plan.h"

#define SET(field, ...) ((void) snprintf(field, sizeof(field), __VA_ARGS__))

static void at(char ret[static 64], const char *what, uint64_t when_usec, uint64_t now_usec) {
        char span[48];

        mam_format_timespan(span, when_usec > now_usec ? when_usec - now_usec : 0);
        snprintf(ret, 64, "%s in %.40s", what, span);
}

static const char *why_not(const PlanReplica *p) {
        if (p->hold[0])
                return p->hold;
        return p->failure ? p->failure : "";
}

/* It is to be started and the pass does not do it now. */
static bool plan_waiting_start(const PlanReplica *p, uint64_t now_usec, PlanDifference *d) {
        const ReplicaView *v = &p->reconcile;
        char text[64];

        if (v->activity == UNIT_ACTIVE)
                return false; /* its job is about to end */
        SET(d->should, "active");
        if (v->activity != UNIT_INACTIVE || v->busy) {
                SET(d->todo, "wait: systemd is at it");
                SET(d->why, "%s", *why_not(p) ? why_not(p) : "it is starting");
        } else if (v->held_until_usec > now_usec) {
                at(text, "start", v->held_until_usec, now_usec);
                SET(d->is, "%s, held back", p->active_state);
                SET(d->todo, "%s", text);
                SET(d->why, "%s", why_not(p));
        } else if (p->waits_for_units) {
                SET(d->todo, "start when systemd has loaded its revision");
                SET(d->why, "its units are being made");
        } else {
                SET(d->todo, "start when %s is ready", p->waits_for ? p->waits_for : "what it depends on");
                SET(d->why, "it comes after what it depends on");
        }
        return true;
}

static bool plan_waiting_stop(const PlanReplica *p, uint64_t now_usec, PlanDifference *d) {
        const ReplicaView *v = &p->reconcile;
        char text[64];

        if (v->activity == UNIT_INACTIVE)
                return false;
        SET(d->should, "inactive");
        SET(d->why, "%s", p->failure ? p->failure : "it is not wanted any more");
        if (!v->gate_open) {
                SET(d->todo, "stop when %s is gone", p->waits_for ? p->waits_for : "what depends on it");
        } else if (v->drain_until_usec > now_usec) {
                at(text, "stop", v->drain_until_usec, now_usec);
                SET(d->is, "%s, draining", p->active_state);
                SET(d->todo, "%s", text);
        } else {
                SET(d->todo, "wait: systemd is at it");
        }
        return true;
}

static bool plan_waiting(const PlanReplica *p, uint64_t now_usec, PlanDifference *d) {
        const ReplicaView *v = &p->reconcile;

        if (v->stopping)
                return plan_waiting_stop(p, now_usec, d);
        if (v->starting)
                return plan_waiting_start(p, now_usec, d);
        if (v->wanted && v->activity != UNIT_ACTIVE) {
                SET(d->should, "active");
                SET(d->todo,
                    v->activity == UNIT_INACTIVE && !v->busy ? "see whether it stays so"
                                                             : "wait: systemd is at it");
                SET(d->why, "%s", *why_not(p) ? why_not(p) : "it died, or somebody stopped it");
                return true;
        }
        return false;
}

/* It runs, is wanted, and there is no start or stop to do. */
static bool plan_running(const PlanReplica *p, uint64_t now_usec, PlanDifference *d) {
        uint64_t again = MAM_USEC_INFINITY, held;
        LivenessVerdict verdict;
        char text[64];

        if (p->restart_is_due) {
                SET(d->should, "restarted");
                SET(d->todo, "restart, one after the other");
                SET(d->why, "a restart is under way");
                return true;
        }
        if (p->limits_are_due) {
                SET(d->is, "other limits");
                SET(d->should,
                    "CPU %" PRIu64 "m, memory %" PRIu64 " MiB",
                    p->cpu_millis,
                    p->memory_bytes / (1024 * 1024));
                SET(d->todo, "set them on the running unit");
                SET(d->why, "its unit does not have them by itself");
                return true;
        }
        if (p->health == HEALTH_STARTING) {
                SET(d->is, "%s, not answering yet", p->active_state);
                SET(d->should, "healthy");
                SET(d->todo, "probe again");
                SET(d->why, "%s", p->health_reason);
                return true;
        }
        if (p->health != HEALTH_UNHEALTHY)
                return false;

        verdict = liveness_judge(&p->liveness, &p->liveness_view, now_usec, &again);
        SET(d->is, "%s, unhealthy", p->active_state);
        SET(d->should, "healthy");
        SET(d->why, "%s", p->health_reason);
        held = liveness_held_until(&p->liveness);
        if (verdict == LIVENESS_RESTART) {
                SET(d->todo, "restart");
        } else if (verdict == LIVENESS_COUNTING) {
                SET(d->todo,
                    "restart after %u more failed probes",
                    p->liveness_view.threshold * (1 + LIVENESS_MORE) - p->liveness_view.failures);
        } else if (verdict == LIVENESS_BACKOFF) {
                at(text, "restart", held, now_usec);
                SET(d->todo, "%s", text);
        } else {
                SET(d->todo, "probe again; %s", liveness_verdict_to_string(verdict));
        }
        return true;
}

bool plan_replica(const PlanReplica *p, uint64_t now_usec, PlanDifference *ret) {
        uint64_t again = MAM_USEC_INFINITY;
        PlanDifference d = { .is = "" };

        assert(p);
        assert(ret);

        SET(d.is, "%s", p->active_state);
        switch (reconcile_replica(&p->reconcile, now_usec, &again)) {
        case REPLICA_START:
                SET(d.should, "active");
                SET(d.todo, "start");
                SET(d.why, "%s", *why_not(p) ? why_not(p) : "it is wanted");
                break;
        case REPLICA_DRAIN:
        case REPLICA_STOP:
                SET(d.should, "inactive");
                SET(d.todo, "drain and stop");
                SET(d.why, "it is not wanted any more");
                break;
        case REPLICA_HOLD:
                SET(d.should, "held back");
                SET(d.todo, "stop, and start again later");
                SET(d.why, "%s", p->hold);
                break;
        case REPLICA_ADOPT_RUNNING:
                SET(d.should, "%s", p->active_state);
                SET(d.todo, "adopt it as wanted");
                SET(d.why, "somebody else started it");
                break;
        case REPLICA_ADOPT_STOPPED:
                SET(d.should, "%s", p->active_state);
                SET(d.todo, "adopt that as wanted");
                SET(d.why, "somebody else stopped it");
                break;
        case REPLICA_NOTHING:
                if (!plan_waiting(p, now_usec, &d) &&
                    (!p->reconcile.wanted || !plan_running(p, now_usec, &d)))
                        return false;
                break;
        case REPLICA_STARTED: /* fulfilled */
        case REPLICA_STOPPED:
                if (!p->reconcile.wanted || !plan_running(p, now_usec, &d))
                        return false;
                break;
        }

        *ret = d;
        return true;
}
