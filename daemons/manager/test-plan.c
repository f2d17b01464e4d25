/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The plan of one replica, and limits that differ: pure decisions
 */

#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"
#include "manager/manager-acts.h"
#include "manager/plan.h"

#define SEC MAM_USEC_PER_SEC
#define NOW (1000 * SEC)

static PlanReplica replica(const char *active_state, UnitActivity activity) {
        return (PlanReplica){ .reconcile = { .wanted = true, .activity = activity, .gate_open = true },
                              .health = activity == UNIT_ACTIVE ? HEALTH_HEALTHY : HEALTH_STOPPED,
                              .active_state = active_state,
                              .health_reason = "",
                              .hold = "" };
}

TEST(what_is_as_it_should_be_is_not_in_the_plan) {
        PlanReplica p = replica("active", UNIT_ACTIVE);
        PlanDifference d;

        ASSERT_TRUE(!plan_replica(&p, NOW, &d));
        p = replica("inactive", UNIT_INACTIVE);
        p.reconcile.wanted = false;
        ASSERT_TRUE(!plan_replica(&p, NOW, &d));
}

TEST(starts_are_planned_with_what_they_wait_for) {
        PlanReplica p = replica("inactive", UNIT_INACTIVE);
        PlanDifference d;

        p.reconcile.starting = true;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.is, "inactive");
        ASSERT_STREQ(d.should, "active");
        ASSERT_STREQ(d.todo, "start");

        p.reconcile.gate_open = false;
        p.waits_for = "redis";
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "start when redis is ready");

        p.reconcile.gate_open = true;
        p.reconcile.held_until_usec = NOW + 12 * SEC;
        p.hold = "crash loop";
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.is, "inactive, held back");
        ASSERT_STREQ(d.todo, "start in 12s");
        ASSERT_STREQ(d.why, "crash loop");
        ASSERT_TRUE(plan_replica(&p, NOW + 12 * SEC, &d));
        ASSERT_STREQ(d.todo, "start");

        p.reconcile.busy = true;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "wait: systemd is at it");
}

TEST(stops_are_planned_with_what_they_wait_for) {
        PlanReplica p = replica("active", UNIT_ACTIVE);
        PlanDifference d;

        p.reconcile.wanted = false;
        p.reconcile.stopping = true;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.should, "inactive");
        ASSERT_STREQ(d.todo, "drain and stop");
        p.reconcile.gate_open = false;
        p.waits_for = "project-manager";
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "stop when project-manager is gone");
        p.reconcile.gate_open = true;
        p.reconcile.drain_until_usec = NOW + SEC;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.is, "active, draining");
        ASSERT_STREQ(d.todo, "stop in 1s");
}

TEST(what_others_did_is_planned_to_be_adopted) {
        PlanReplica p = replica("active", UNIT_ACTIVE);
        PlanDifference d;

        p.reconcile.wanted = false;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "adopt it as wanted");
        p = replica("inactive", UNIT_INACTIVE);
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "adopt that as wanted");
        p.reconcile.activity_since_usec = NOW; /* just now: perhaps it only passes through */
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "see whether it stays so");
}

TEST(an_unhealthy_replica_is_planned_as_liveness_judges) {
        PlanReplica p = replica("active", UNIT_ACTIVE);
        PlanDifference d;

        p.health = HEALTH_UNHEALTHY;
        p.health_reason = "HTTP status 500";
        p.liveness_view = (LivenessView){ .wanted = true, .unhealthy = true, .threshold = 3, .failures = 4 };
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.is, "active, unhealthy");
        ASSERT_STREQ(d.todo, "restart after 8 more failed probes");
        ASSERT_STREQ(d.why, "HTTP status 500");
        p.liveness_view.failures = 12;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "restart");
        liveness_note_restart(&p.liveness, NOW - 20 * SEC);
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "restart in 40s");
        p.liveness_view.keeps_data = true;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.todo, "probe again; it keeps data, so it is not restarted for failing probes");
}

TEST(limits_and_restarts_that_are_due_are_planned) {
        PlanReplica p = replica("active", UNIT_ACTIVE);
        PlanDifference d;

        p.limits_are_due = true;
        p.cpu_millis = 500;
        p.memory_bytes = 256ULL * 1024 * 1024;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.should, "CPU 500m, memory 256 MiB");
        p.restart_is_due = true;
        ASSERT_TRUE(plan_replica(&p, NOW, &d));
        ASSERT_STREQ(d.should, "restarted");
}

TEST(limits_differ_beyond_rounding_only) {
        ASSERT_TRUE(!drift_is(500000, 1024 * 1024, 500, 1024 * 1024));
        ASSERT_TRUE(!drift_is(500900, 1024 * 1024 + 4096, 500, 1024 * 1024));
        ASSERT_TRUE(drift_is(330000, 1024 * 1024, 500, 1024 * 1024));
        ASSERT_TRUE(drift_is(500000, 2048 * 1024, 500, 1024 * 1024));
        ASSERT_TRUE(drift_is(UINT64_MAX, 1024 * 1024, 500, 1024 * 1024)); /* without a limit */
        ASSERT_TRUE(!drift_is(330000, UINT64_MAX, 0, 0));                 /* none is wanted */
}
