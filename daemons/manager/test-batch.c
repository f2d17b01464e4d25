/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Several replicas that are started with one command
 */

#include "libmam/util/time.h"
#include "manager/manager-fixture.h"

#define FIRST(n) "mam@alpha:1-" #n ".target"

static void scale(Fixture *f, uint32_t replicas) {
        CALL(f, "Scale", "sut", "alpha", replicas, (uint64_t) 0);
}

static bool is_done(const Fixture *f) {
        return ended(f, f->job) && strcmp(ended(f, f->job)->result, "done") == 0;
}

TEST(what_starts_at_once_is_started_with_one_command) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(2)), 1);
        scale(&f, 4);
        RUN_UNTIL(&f.bus, is_done(&f));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 1);
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=ready 2=ready 3=ready 4=ready") == 0);

        /* and again, the same target */
        scale(&f, 1);
        RUN_UNTIL(&f.bus, is_done(&f));
        scale(&f, 4);
        RUN_UNTIL(&f.bus, is_done(&f));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(2)), 2);
        fixture_done(&f);
}

TEST(one_alone_is_started_by_its_own_name) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        scale(&f, 3);
        RUN_UNTIL(&f.bus, is_done(&f));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(3)), 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 1);
        fixture_done(&f);
}

TEST(one_that_fails_is_held_back_and_started_again_alone) {
        uint64_t failed;
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        f.systemd.hold = "StartUnit " ALPHA(3);
        scale(&f, 4);
        RUN_UNTIL(&f.bus,
                  alpha(&f, 3) && alpha(&f, 3)->own_job > 0 &&
                                  alpha(&f, 3)->own_job != REPLICA_OWN_JOB_UNKNOWN);
        RUN_UNTIL(&f.bus, replica_is_ready(alpha(&f, 2)) && replica_is_ready(alpha(&f, 4)));
        RUN_UNTIL(&f.bus, alpha(&f, 2)->own_job == 0 && alpha(&f, 4)->own_job == 0);
        ASSERT_TRUE(!ended(&f, f.job));

        f.systemd.hold = NULL;
        failed = mam_now_monotonic();
        fake_job_ends(&f.systemd, ALPHA(3), "failed");
        RUN_UNTIL(&f.bus, alpha(&f, 3)->backoff.held_until_usec > failed);
        ASSERT_STREQ(alpha(&f, 3)->failure, "start failed: failed");
        ASSERT_EQ(alpha(&f, 2)->backoff.held_until_usec, 0);
        ASSERT_EQ(alpha(&f, 4)->backoff.held_until_usec, 0);
        RUN_UNTIL(&f.bus, is_done(&f));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(2)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 1);
        fixture_done(&f);
}

TEST(one_that_systemd_left_out_is_started_alone_and_tells_why) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        f.systemd.refuse = "StartUnit " ALPHA(3);
        scale(&f, 4);
        RUN_UNTIL(&f.bus, alpha(&f, 3) && alpha(&f, 3)->failure);
        ASSERT_TRUE(strstr(alpha(&f, 3)->failure, "not found"));
        ASSERT_TRUE(!alpha(&f, 2)->failure && !alpha(&f, 4)->failure);
        f.systemd.refuse = NULL;
        RUN_UNTIL(&f.bus, is_done(&f));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 1);
        fixture_done(&f);
}

TEST(a_target_that_is_refused_costs_nothing_but_the_commands) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        f.systemd.refuse = "StartUnit " FIRST(4);
        scale(&f, 4);
        RUN_UNTIL(&f.bus, is_done(&f));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 1);
        for (uint32_t n = 2; n <= 4; n++) {
                ASSERT_TRUE(replica_is_ready(alpha(&f, n)) && !alpha(&f, n)->failure);
                ASSERT_EQ(alpha(&f, n)->n_calls, 0);
        }
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(2)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 1);
        fixture_done(&f);
}

TEST(what_is_held_back_is_not_started_along_with_others) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        fake_unit_restarted(&f.systemd, ALPHA(2), 6);
        fake_unit_change(&f.systemd, ALPHA(2), "activating", "auto-restart");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit " ALPHA(2)) == 1);
        RUN_UNTIL(&f.bus, alpha(&f, 2)->activity == UNIT_INACTIVE && alpha(&f, 2)->own_job == 0);
        scale(&f, 4);
        RUN_UNTIL(&f.bus, alpha(&f, 4) && replica_is_ready(alpha(&f, 4)) && replica_is_ready(alpha(&f, 3)));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(2)), 1);
        ASSERT_TRUE(alpha(&f, 2)->hold[0]);
        fixture_done(&f);
}

TEST(nothing_is_stopped_before_the_start_of_several_is_answered) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        f.systemd.park_starts = true;
        scale(&f, 4);
        RUN_UNTIL(&f.bus, f.systemd.n_held == 1);
        CALL(&f, "Stop", "st", "alpha", (uint64_t) 0);
        test_bus_settle(&f.bus, f.own, f.systemd.bus);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 0); /* the start could come after it */
        fake_answer_starts(&f.systemd);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit " ALPHA(1)) == 1);
        fixture_done(&f);
}

TEST(a_new_manager_goes_on_with_several_that_were_being_started) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        f.systemd.hold = "StartUnit " ALPHA(4);
        scale(&f, 4);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(4)) == 1);
        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        f.systemd.hold = NULL;
        fixture_manager_up(&f);
        RUN_UNTIL(&f.bus, replica_is_ready(alpha(&f, 2)) && replica_is_ready(alpha(&f, 3)));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 1); /* systemd is still at it */
        fake_job_ends(&f.systemd, ALPHA(4), "failed");
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=ready 2=ready 3=ready 4=ready") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(3)), 0);
        fixture_done(&f);
}

TEST(a_new_manager_starts_several_that_systemd_was_never_told_of) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        f.systemd.park_starts = true;
        scale(&f, 4);
        RUN_UNTIL(&f.bus, f.systemd.n_held == 1);
        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        f.systemd.park_starts = false;
        fixture_manager_up(&f);
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=ready 2=ready 3=ready 4=ready") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " FIRST(4)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 1);
        fixture_done(&f);
}
