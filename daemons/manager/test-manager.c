/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager as its clients and systemd see it
 */

#include "libmam/util/time.h"
#include "manager/manager-fixture.h"

TEST(a_start_is_done_when_all_replicas_answer) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.hold = ALPHA(2);
        fixture_stop_listening(&f, 0);
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 1) && alpha(&f, 1)->health.failures > 0); /* active, and refuses us */
        ASSERT_STREQ(f.endpoints, "1=unready 2=unready");
        ASSERT_OK(fixture_listen(&f, 0));
        RUN_UNTIL(&f.bus, replica_is_ready(alpha(&f, 1)));
        ASSERT_EQ(f.n_ended, 0); /* the other one has not started */

        fake_unit_change(&f.systemd, ALPHA(2), "active", "running");
        fake_job_ends(&f.systemd, ALPHA(2), "done");
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_STREQ(f.endpoints, "1=ready 2=ready");
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(2)), 1);
        /* What no signal tells has been asked for. */
        RUN_UNTIL(&f.bus, alpha(&f, 1)->control_group && alpha(&f, 2)->control_group);
        ASSERT_STREQ(alpha(&f, 2)->control_group, "/mam.slice/" ALPHA(2));
        fixture_done(&f);
}

TEST(a_replica_is_taken_out_of_traffic_before_it_is_stopped) {
        uint64_t began;
        Fixture f;

        fixture_setup(&f);
        CALL(&f, "Start", "st", "gate", (uint64_t) 0);
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        start_alpha(&f, 2);

        began = mam_now_monotonic();
        CALL(&f, "Scale", "sut", "alpha", 1U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_TRUE(!f.stop_was_told);
        ASSERT_TRUE(mam_now_monotonic() - began >= MANAGER_DRAIN_USEC);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(2)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 0);
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=ready") == 0);
        fixture_done(&f);
}

TEST(a_rolling_restart_takes_one_after_the_other) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        f.systemd.hold = "RestartUnit " ALPHA(1);
        CALL(&f, "Restart", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "RestartUnit " ALPHA(1)) == 1);
        test_bus_settle(&f.bus, f.own, f.systemd.bus);
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " ALPHA(2)), 0);

        fake_unit_change(&f.systemd, ALPHA(1), "inactive", "dead");
        fake_unit_change(&f.systemd, ALPHA(1), "active", "running");
        fake_job_ends(&f.systemd, ALPHA(1), "done");
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " ALPHA(2)), 1);
        fixture_done(&f);
}

TEST(a_restart_that_fails_is_tried_again_and_not_taken_for_a_wish) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        f.systemd.hold = "RestartUnit " ALPHA(1);
        CALL(&f, "Restart", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "RestartUnit " ALPHA(1)) == 1);
        RUN_UNTIL(&f.bus, alpha(&f, 1)->own_job > 0);
        fake_unit_change(&f.systemd, ALPHA(1), "inactive", "dead");
        fake_job_ends(&f.systemd, ALPHA(1), "dependency");
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " ALPHA(2)), 1);
        fixture_done(&f);
}

TEST(a_crash_loop_is_held_back_and_its_sibling_is_not_touched) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        fake_unit_restarted(&f.systemd, ALPHA(2), 4);
        fake_unit_change(&f.systemd, ALPHA(2), "activating", "auto-restart");
        RUN_UNTIL(&f.bus, alpha(&f, 2)->activity == UNIT_ACTIVATING);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(2)), 0); /* that may happen */

        fake_unit_restarted(&f.systemd, ALPHA(2), 6);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit " ALPHA(2)) == 1);
        RUN_UNTIL(&f.bus, alpha(&f, 2)->activity == UNIT_INACTIVE && alpha(&f, 2)->own_job == 0);
        ASSERT_TRUE(strstr(alpha(&f, 2)->hold, "crash loop: 5 deaths"));
        ASSERT_EQ(alpha(&f, 2)->restarts, 6);
        ASSERT_STREQ(state_of_alpha(&f), "degraded");
        ASSERT_STREQ(f.endpoints, "1=ready 2=unready");

        /* A start by hand is a fresh try. */
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_STREQ(alpha(&f, 2)->hold, "");
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 0);
        fixture_done(&f);
}

TEST(a_restart_is_a_fresh_try_of_what_is_held_back) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        fake_unit_restarted(&f.systemd, ALPHA(2), 5);
        fake_unit_change(&f.systemd, ALPHA(2), "activating", "auto-restart");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit " ALPHA(2)) == 1);
        RUN_UNTIL(&f.bus, alpha(&f, 2)->activity == UNIT_INACTIVE && alpha(&f, 2)->own_job == 0);
        ASSERT_TRUE(alpha(&f, 2)->hold[0]);

        CALL(&f, "Restart", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " ALPHA(2)), 1);
        ASSERT_STREQ(alpha(&f, 2)->hold, "");
        fixture_done(&f);
}

TEST(a_job_whose_result_nobody_knows_has_failed) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.hold = "StartUnit " ALPHA(1);
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 1) && alpha(&f, 1)->own_job > 0);
        fake_job_ends(&f.systemd, ALPHA(1), "frobnicated");
        RUN_UNTIL(&f.bus, alpha(&f, 1)->failure);
        ASSERT_STREQ(alpha(&f, 1)->failure, "start failed: frobnicated");
        ASSERT_EQ(f.n_ended, 0);
        f.systemd.hold = NULL;
        RUN_UNTIL(&f.bus, ended(&f, f.job)); /* tried again, and well */
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 2);
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        fixture_done(&f);
}

TEST(a_start_that_systemd_refuses_is_tried_again) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.refuse = "StartUnit " ALPHA(1);
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 1) && alpha(&f, 1)->failure);
        ASSERT_TRUE(strstr(alpha(&f, 1)->failure, "not found"));
        f.systemd.refuse = NULL;
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        fixture_done(&f);
}

TEST(a_later_wish_supersedes_a_job) {
        char start[64];
        Fixture f;

        fixture_setup(&f);
        f.systemd.hold = "StartUnit " ALPHA(2);
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        snprintf(start, sizeof(start), "%s", f.job);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(2)) == 1);
        CALL(&f, "Stop", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, ended(&f, start));
        ASSERT_STREQ(ended(&f, start)->result, "superseded");
        fake_job_ends(&f.systemd, ALPHA(2), "canceled"); /* as the stop of it makes systemd say */
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "stopped") == 0);
        ASSERT_EQ(f.n_ended, 2);
        fixture_done(&f);
}

TEST(a_cancelled_job_is_answered_and_ends) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.hold = "StartUnit";
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        ask(&f, f.job, MAM_IFACE_JOB, "Cancel", NULL);
        RUN_UNTIL(&f.bus, f.answers.n == 2 && f.n_ended == 1);
        ASSERT_EQ(f.answers.n_errors, 0);
        ASSERT_STREQ(ended(&f, f.job)->result, "cancelled");
        ask(&f, f.job, MAM_IFACE_JOB, "Cancel", NULL); /* it is no more */
        RUN_UNTIL(&f.bus, f.answers.n == 3);
        ASSERT_STREQ(f.answers.error, MAM_BUS_ERROR_NO_SUCH_JOB);
        fixture_done(&f);
}

TEST(who_waits_is_answered_when_the_manager_ends) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        f.systemd.hold = "StartUnit";
        f.systemd.park_limits = true;
        ASK(&f, "SetLimits", "ssst", "alpha", "500m", "64Mi", (uint64_t) 0);
        ASK(&f, "Init", "t", (uint64_t) 0);
        CALL(&f, "Scale", "sut", "alpha", 4U, (uint64_t) 0); /* a job that is not through */
        RUN_UNTIL(&f.bus,
                  f.systemd.n_held == 2 && fake_told(&f.systemd, "StartUnit mam-setup.service") == 1);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(4)) == 1);
        ASSERT_EQ(f.answers.n, 3);

        f.manager = manager_free(f.manager);
        RUN_UNTIL(&f.bus, f.answers.n == 5);
        ASSERT_EQ(f.answers.n_errors, 2);
        ASSERT_STREQ(f.answers.error, MAM_BUS_ERROR_CANCELLED);
        test_bus_settle(&f.bus, f.own, f.client);
        ASSERT_EQ(f.answers.n, 5);
        fixture_done(&f);
}

TEST(limits_that_were_set_once_are_set_at_each_start) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        ASSERT_EQ(fake_told(&f.systemd, "SetUnitProperties " ALPHA(1)), 0);
        CALL(&f, "SetLimits", "ssst", "alpha", "500m", "64Mi", (uint64_t) 0);
        CALL(&f, "SetLimits", "ssst", "alpha", "default", "default", (uint64_t) 0);
        ASSERT_EQ(fake_told(&f.systemd, "SetUnitProperties " ALPHA(1)), 2);
        /* systemd keeps that above what the files say later. */
        CALL(&f, "Restart", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "SetUnitProperties " ALPHA(1)) == 3);
        fixture_done(&f);
}

TEST(init_sets_up_loads_and_reports) {
        Fixture f;

        fixture_setup(&f);
        CALL(&f, "Init", "t", (uint64_t) 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit mam-setup.service"), 1);
        ASSERT_EQ(fake_told(&f.systemd, "Reload"), 1);
        ASSERT_TRUE(strstr(f.report, "ok ok ok "));
        ASSERT_TRUE(strstr(f.report, "notice")); /* the dashboards that mam does not bring */
        ASSERT_TRUE(!strstr(f.report, "error"));
        ASSERT_TRUE(f.manager->state->initialized);
        fixture_done(&f);
}

TEST(init_tells_that_setup_failed) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.hold = "mam-setup.service";
        ASK(&f, "Init", "t", (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit mam-setup.service") == 1);
        test_bus_settle(&f.bus, f.systemd.bus, f.own);
        fake_job_ends(&f.systemd, "mam-setup.service", "failed");
        RUN_UNTIL(&f.bus, f.answers.n == 1);
        ASSERT_EQ(f.answers.n_errors, 0);
        ASSERT_EQ(strncmp(f.report, "error ", 6), 0);
        fixture_done(&f);
}

TEST(what_systemctl_starts_and_stops_is_adopted) {
        Fixture f;

        fixture_setup(&f);
        fake_unit_change(&f.systemd, ALPHA(3), "active", "running");
        RUN_UNTIL(&f.bus, alpha(&f, 3) && replica_is_ready(alpha(&f, 3)));
        ASSERT_TRUE(replica_is_wanted(alpha(&f, 3)));
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "running") == 0);
        fake_unit_change(&f.systemd, ALPHA(3), "inactive", "dead");
        RUN_UNTIL(&f.bus, !alpha(&f, 3));
        RUN_UNTIL(&f.bus, strcmp(state_of_alpha(&f), "stopped") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 0);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(3)), 0);
        fixture_done(&f);
}

TEST(a_new_manager_goes_on_where_the_killed_one_was) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        f.systemd.hold = "StartUnit " ALPHA(4);
        CALL(&f, "Scale", "sut", "alpha", 4U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(4)) == 1);

        /* Nothing of it gets a chance to say good-bye: all that is left is the file. */
        f.own = test_bus_disconnect(f.own);
        f.manager = manager_free(f.manager);
        fake_job_ends(&f.systemd, ALPHA(4), "failed");
        f.systemd.hold = NULL;
        fixture_manager_up(&f);
        RUN_UNTIL(&f.bus, alpha(&f, 4) && replica_is_ready(alpha(&f, 4)));
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=ready 2=ready 3=ready 4=ready") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " ALPHA(1)), 0);
        fixture_done(&f);
}
