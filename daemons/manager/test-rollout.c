/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts carried out: the whole manager on a bus of the test's own, with systemd played by the test
 */

#include <sys/stat.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "manager/manager-fixture.h"
#include "manager/rollout-internal.h"

#define QUICK "min_healthy_usec", "t", (uint64_t) 1000

typedef struct Test {
        Fixture f;
        char result[32], message[256]; /* of the rollout that ended last */
        unsigned n_new, n_removed;
        char groups[8][64]; /* endpoints of alpha as announced last: by number, state and group */
        char split[128];
} Test;

static int on_rollout_new(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Test *t = userdata;

        t->n_new++;
        return 0;
}

static int on_rollout_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        Test *t = userdata;

        ASSERT_OK(sd_bus_message_read(m, "osss", &path, &service, &result, &message));
        snprintf(t->result, sizeof(t->result), "%s", result);
        snprintf(t->message, sizeof(t->message), "%s", message);
        t->n_removed++;
        return 0;
}

static int on_endpoints(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *service, *id, *address, *state, *group;
        size_t length = 0;
        uint64_t revision;
        Test *t = userdata;
        uint32_t number;

        ASSERT_OK(sd_bus_message_read(m, "st", &service, &revision));
        if (strcmp(service, "alpha") != 0)
                return 0;
        memset(t->groups, 0, sizeof(t->groups));
        t->split[0] = '\0';
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(sssus)"));
        while (sd_bus_message_read(m, "(sssus)", &id, &address, &state, &number, &group) > 0) {
                number = (uint32_t) atoi(strchr(id, ':') + 1);
                ASSERT_TRUE(number < MAM_ELEMENTSOF(t->groups));
                snprintf(t->groups[number], sizeof(t->groups[0]), "%s %s", state, group);
        }
        ASSERT_OK(sd_bus_message_exit_container(m));
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(su)"));
        while (sd_bus_message_read(m, "(su)", &group, &number) > 0) {
                length += (size_t) snprintf(
                                t->split + length,
                                sizeof(t->split) - length,
                                "%s=%u ",
                                group,
                                number);
        }
        return 0;
}

/* What mam-setup does. */
static void keep_definition(Test *t) {
        const MamServiceConfig *c = manager_find_service(t->f.manager, "alpha")->config;
        char path[160], name[MAM_REVISION_NAME_SIZE];
        _cleanup_(mam_freep) char *text = NULL;

        ASSERT_OK(mam_definition_canonical(&text, c));
        ASSERT_OK(mam_definition_name(name, c));
        snprintf(path, sizeof(path), "%s/definitions", t->f.bus.folder);
        (void) mkdir(path, 0755);
        snprintf(path, sizeof(path), "%s/definitions/alpha", t->f.bus.folder);
        (void) mkdir(path, 0755);
        snprintf(path, sizeof(path), "%s/definitions/alpha/%s.json", t->f.bus.folder, name);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
}

static void watch(Test *t, const char *member, sd_bus_message_handler_t handler) {
        ASSERT_OK(sd_bus_match_signal(
                        t->f.client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        member,
                        handler,
                        t));
}

static void test_setup(Test *t, uint32_t replicas) {
        *t = (Test){ .n_new = 0 };
        fixture_setup(&t->f);
        watch(t, "RolloutNew", on_rollout_new);
        watch(t, "RolloutRemoved", on_rollout_removed);
        watch(t, "EndpointsChanged", on_endpoints);
        if (replicas > 0)
                start_alpha(&t->f, replicas);
}

static Service *service(const Test *t) {
        return manager_find_service(t->f.manager, "alpha");
}

static const char *revision_of(const Test *t, uint32_t n) {
        return alpha(&t->f, n) ? alpha(&t->f, n)->revision : "";
}

static unsigned told(const Test *t, const char *line) {
        return fake_told(&t->f.systemd, line);
}

/* Deploy with options, and wait for the answer. */
#define DEPLOY(t, n, ...) CALL(&(t)->f, "Deploy", "sa{sv}t", "alpha", n, __VA_ARGS__, (uint64_t) 0)

static void expect_refusal(Test *t, const char *error) {
        RUN_UNTIL(&t->f.bus, t->f.answers.n_errors == 1);
        ASSERT_STREQ(t->f.answers.error, error);
        t->f.answers.n_errors = 0;
}

#define REFUSED(t, error, n, ...)                                                         \
        do {                                                                              \
                ASK(&(t)->f, "Deploy", "sa{sv}t", "alpha", n, __VA_ARGS__, (uint64_t) 0); \
                expect_refusal(t, error);                                                 \
        } while (0)

static void wait_for_end(Test *t, const char *result) {
        unsigned before = t->n_removed;

        RUN_UNTIL(&t->f.bus, t->n_removed > before || (t->n_removed > 0 && !service(t)->rollout));
        ASSERT_STREQ(t->result, result);
        ASSERT_TRUE(!service(t)->rollout);
}

static const MamDeployService *deployed(Test *t, MamDeploy **ret) {
        char path[96];

        snprintf(path, sizeof(path), "%s/deploy.json", t->f.bus.folder);
        ASSERT_OK(mam_deploy_load(ret, path, NULL));
        ASSERT_TRUE(mam_deploy_find(*ret, "alpha"));
        return mam_deploy_find(*ret, "alpha");
}

static void kill_manager(Test *t) {
        t->f.own = test_bus_disconnect(t->f.own);
        t->f.manager = manager_free(t->f.manager);
}

TEST(a_rolling_rollout_brings_all_to_the_new_revision_and_stops_the_old_last) {
        _cleanup_(mam_deploy_freep) MamDeploy *d = NULL;
        const MamDeployService *ds;
        char new[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(3);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        ASSERT_EQ(t.n_new, 1);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(3)) == 1);
        ASSERT_EQ(told(&t, "Reload"), 1); /* before it */
        ASSERT_TRUE(strlen(revision_of(&t, 1)) == 12);
        ASSERT_STREQ(revision_of(&t, 2), revision_of(&t, 1));
        ASSERT_TRUE(strcmp(revision_of(&t, 3), revision_of(&t, 1)) != 0);
        ASSERT_EQ(told(&t, "StopUnit " ALPHA(1)) + told(&t, "StopUnit " ALPHA(2)), 0);
        ASSERT_EQ(service_desired(service(&t)), 2); /* whatever there is meanwhile */
        snprintf(new, sizeof(new), "%s", revision_of(&t, 3));
        ds = deployed(&t, &d);
        ASSERT_STREQ(ds->fallback, new);
        ASSERT_STREQ(ds->pinned[1], revision_of(&t, 1));
        ASSERT_STREQ(ds->pinned[2], revision_of(&t, 1));

        t.f.systemd.hold = NULL;
        fake_unit_change(&t.f.systemd, ALPHA(3), "active", "running");
        fake_job_ends(&t.f.systemd, ALPHA(3), "done");
        wait_for_end(&t, "done");
        RUN_UNTIL(&t.f.bus, told(&t, "Reload") == 2); /* nothing is pinned any more */
        ASSERT_EQ(told(&t, "RestartUnit " ALPHA(1)) + told(&t, "RestartUnit " ALPHA(2)), 0);
        ASSERT_STREQ(service_revision(service(&t)), new);
        ASSERT_STREQ(service_version(service(&t)), "2");
        ASSERT_EQ(numbers_count(&service(&t)->state->numbers), 2);
        NUMBERS_FOREACH(n, &service(&t)->state->numbers) {
                ASSERT_STREQ(revision_of(&t, n), new);
        }
        d = mam_deploy_free(d);
        ds = deployed(&t, &d);
        ASSERT_STREQ(ds->pinned[1], "");
        ASSERT_STREQ(ds->pinned[3], "");
        fixture_done(&t.f);
}

TEST(a_revision_that_does_not_stay_up_is_reverted_and_nothing_old_is_touched) {
        char old[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(3);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(3)) == 1);
        snprintf(old, sizeof(old), "%s", revision_of(&t, 1));
        fake_unit_change(&t.f.systemd, ALPHA(3), "activating", "auto-restart");
        RUN_UNTIL(&t.f.bus, alpha(&t.f, 3)->activity == UNIT_ACTIVATING);
        fake_unit_restarted(&t.f.systemd, ALPHA(3), 1);
        RUN_UNTIL(&t.f.bus, alpha(&t.f, 3)->restarts == 1);
        fake_unit_restarted(&t.f.systemd, ALPHA(3), 4);
        wait_for_end(&t, "reverted");
        ASSERT_TRUE(strstr(t.message, "alpha:3: replica 3 does not stay up"));
        ASSERT_EQ(told(&t, "StopUnit " ALPHA(1)) + told(&t, "StopUnit " ALPHA(2)), 0);
        ASSERT_EQ(told(&t, "RestartUnit " ALPHA(1)) + told(&t, "RestartUnit " ALPHA(2)), 0);
        ASSERT_STREQ(service_revision(service(&t)), old);
        ASSERT_STREQ(service_version(service(&t)), "");
        RUN_UNTIL(&t.f.bus, !alpha(&t.f, 3));
        fixture_done(&t.f);
}

TEST(deaths_of_what_had_the_number_before_do_not_count) {
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(3);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(3)) == 1);
        fake_unit_restarted(&t.f.systemd, ALPHA(3), 7); /* systemd's counter is flushed by the start only */
        RUN_UNTIL(&t.f.bus, alpha(&t.f, 3)->restarts == 7);
        t.f.systemd.hold = NULL;
        fake_unit_change(&t.f.systemd, ALPHA(3), "active", "running");
        fake_job_ends(&t.f.systemd, ALPHA(3), "done");
        wait_for_end(&t, "done");
        fixture_done(&t.f);
}

TEST(a_revision_that_answers_badly_is_reverted) {
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        DEPLOY(&t, 2, "version", "s", "2", "min_healthy_usec", "t", 5 * MAM_USEC_PER_SEC);
        RUN_UNTIL(&t.f.bus, alpha(&t.f, 3) && replica_is_ready(alpha(&t.f, 3)));
        ((Replica *) alpha(&t.f, 1))->load = (LoadTotals){ .requests = 1000, .errors = 1 };
        ((Replica *) alpha(&t.f, 3))->load = (LoadTotals){ .requests = 100, .errors = 100 };
        wait_for_end(&t, "reverted");
        ASSERT_TRUE(strstr(t.message, "100.0 % of its requests failed, 0.1 % of the old one's"));
        ASSERT_EQ(told(&t, "StopUnit " ALPHA(1)) + told(&t, "StopUnit " ALPHA(2)), 0);
        fixture_done(&t.f);
}

TEST(without_free_numbers_they_are_replaced_in_place) {
        char new[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 4);
        keep_definition(&t);
        t.f.systemd.hold = "RestartUnit " ALPHA(4);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "RestartUnit " ALPHA(4)) == 1);
        test_bus_settle(&t.f.bus, t.f.own, t.f.systemd.bus);
        ASSERT_EQ(told(&t, "RestartUnit " ALPHA(3)), 0); /* one after the other */
        ASSERT_EQ(told(&t, "Reload"), 1);                /* who is what, and that 4 is to be new: in one */
        RUN_UNTIL(&t.f.bus, alpha(&t.f, 4)->own_job > 0);
        t.f.systemd.hold = NULL;
        fake_unit_change(&t.f.systemd, ALPHA(4), "inactive", "dead");
        fake_unit_change(&t.f.systemd, ALPHA(4), "active", "running");
        fake_job_ends(&t.f.systemd, ALPHA(4), "done");
        wait_for_end(&t, "done");
        snprintf(new, sizeof(new), "%s", service_revision(service(&t)));
        for (uint32_t n = 1; n <= 4; n++)
                ASSERT_STREQ(revision_of(&t, n), new);
        ASSERT_EQ(told(&t, "RestartUnit " ALPHA(1)), 1);
        ASSERT_EQ(told(&t, "RestartUnit " ALPHA(4)), 1);
        ASSERT_EQ(told(&t, "StopUnit " ALPHA(1)), 0);
        fixture_done(&t.f);
}

TEST(a_canary_gets_its_share_of_the_traffic) {
        char expected[128];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        DEPLOY(&t,
               5,
               "version",
               "s",
               "2",
               "strategy",
               "s",
               "canary",
               "steps",
               "au",
               1,
               10U,
               "pause_usec",
               "t",
               (uint64_t) 60 * MAM_USEC_PER_SEC,
               QUICK);
        RUN_UNTIL(&t.f.bus, strstr(t.split, "=100 "));
        snprintf(expected, sizeof(expected), "%s=900 %s=100 ", revision_of(&t, 1), revision_of(&t, 3));
        ASSERT_STREQ(t.split, expected);
        snprintf(expected, sizeof(expected), "ready %s", revision_of(&t, 3));
        ASSERT_STREQ(t.groups[3], expected);
        ASSERT_STREQ(rollout_phase(service(&t)->rollout), "watching");
        ASSERT_EQ(service(&t)->rollout->plan.n_steps, 2); /* up to 100 in the end */

        ask(&t.f, t.f.job, MAM_IFACE_ROLLOUT, "Resume", NULL); /* seen enough */
        wait_for_end(&t, "done");
        RUN_UNTIL(&t.f.bus, !t.split[0]);
        fixture_done(&t.f);
}

TEST(blue_green_switches_all_at_once) {
        char blue[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(4);
        DEPLOY(&t, 3, "version", "s", "2", "strategy", "s", "blue-green", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(4)) == 1 && told(&t, "StartUnit " ALPHA(3)) == 1);
        RUN_UNTIL(&t.f.bus, strstr(t.split, "=1000 "));
        snprintf(blue, sizeof(blue), "%s", revision_of(&t, 1));
        ASSERT_EQ(strncmp(t.split, blue, 12), 0); /* all goes to the old ones */
        t.f.systemd.hold = NULL;
        fake_unit_change(&t.f.systemd, ALPHA(4), "active", "running");
        fake_job_ends(&t.f.systemd, ALPHA(4), "done");
        wait_for_end(&t, "done");
        ASSERT_TRUE(strcmp(service_revision(service(&t)), blue) != 0);
        fixture_done(&t.f);
}

TEST(a_killed_manager_is_followed_by_one_that_goes_on) {
        char new[MAM_REVISION_NAME_SIZE], old[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(3);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(3)) == 1);
        snprintf(old, sizeof(old), "%s", revision_of(&t, 1));
        snprintf(new, sizeof(new), "%s", revision_of(&t, 3));

        kill_manager(&t);
        t.f.systemd.hold = NULL;
        fake_unit_change(&t.f.systemd, ALPHA(3), "active", "running");
        fake_job_ends(&t.f.systemd, ALPHA(3), "done");
        fixture_manager_up(&t.f);
        ASSERT_TRUE(service(&t)->rollout);
        ASSERT_STREQ(revision_of(&t, 1), old); /* it knows who is what */
        ASSERT_STREQ(revision_of(&t, 3), new);
        wait_for_end(&t, "done");
        ASSERT_STREQ(service_revision(service(&t)), new);
        fixture_done(&t.f);
}

TEST(killed_while_replacing_in_place_it_begins_that_again) {
        Test t;

        test_setup(&t, 4);
        keep_definition(&t);
        t.f.systemd.hold = "RestartUnit " ALPHA(4);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "RestartUnit " ALPHA(4)) == 1);
        kill_manager(&t);
        t.f.systemd.hold = NULL;
        fake_unit(&t.f.systemd, ALPHA(4))->job = 0; /* that restart was lost */
        fixture_manager_up(&t.f);
        wait_for_end(&t, "done");
        ASSERT_EQ(told(&t, "RestartUnit " ALPHA(4)), 2);
        ASSERT_STREQ(revision_of(&t, 4), service_revision(service(&t)));
        fixture_done(&t.f);
}

TEST(a_definition_that_is_not_kept_yet_is_fetched_by_setup) {
        Test t;

        test_setup(&t, 2);
        t.f.systemd.hold = "mam-setup.service";
        ASK(&t.f, "Deploy", "sa{sv}t", "alpha", 2, "version", "s", "2", QUICK, (uint64_t) 0);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit mam-setup.service") == 1);
        test_bus_settle(&t.f.bus, t.f.systemd.bus, t.f.own);
        keep_definition(&t);
        fake_job_ends(&t.f.systemd, "mam-setup.service", "done");
        wait_for_end(&t, "done");
        ASSERT_EQ(t.f.answers.n_errors, 0);
        fixture_done(&t.f);
}

TEST(a_definition_that_setup_does_not_bring_is_an_error_that_says_so) {
        Test t;

        test_setup(&t, 2);
        ASK(&t.f, "Deploy", "sa{sv}t", "alpha", 1, "version", "s", "2", (uint64_t) 0);
        expect_refusal(&t, MAM_BUS_ERROR_BAD_CONFIG);
        ASSERT_EQ(told(&t, "StartUnit mam-setup.service"), 1);
        ASSERT_TRUE(!service(&t)->rollout);
        /* Whoever waits is answered when the manager ends. */
        t.f.systemd.hold = "mam-setup.service";
        ASK(&t.f, "Deploy", "sa{sv}t", "alpha", 1, "version", "s", "2", (uint64_t) 0);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit mam-setup.service") == 2);
        t.f.manager = manager_free(t.f.manager);
        expect_refusal(&t, MAM_BUS_ERROR_CANCELLED);
        fixture_done(&t.f);
}

TEST(options_that_make_no_sense_are_refused) {
        Test t;

        test_setup(&t, 3);
        keep_definition(&t);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "colour", "s", "green");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "version", "u", 2U);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "version", "s", "");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "version", "s", "a b");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "strategy", "s", "big-bang");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "exec", "s", "relative/path");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "exec", "s", "/nonexistent/program");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "image", "s", "/bin/true");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "revision", "s", "0123456789ab");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 2, "revision", "s", "0123456789ab", "version", "s", "2");
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "steps", "au", 1, 5U);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 2, "strategy", "s", "canary", "steps", "au", 2, 9U, 5U);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 2, "strategy", "s", "canary", "steps", "au", 1, 101U);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "max_surge", "u", 0U);
        REFUSED(&t, MAM_BUS_ERROR_OUT_OF_RANGE, 1, "max_surge", "u", 101U);
        REFUSED(&t, MAM_BUS_ERROR_OUT_OF_RANGE, 1, "min_healthy_usec", "t", UINT64_MAX);
        REFUSED(&t, MAM_BUS_ERROR_OUT_OF_RANGE, 1, "healthy_deadline_usec", "t", (uint64_t) 1);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "min_healthy_usec", "t", 600 * MAM_USEC_PER_SEC);
        REFUSED(&t, MAM_BUS_ERROR_OUT_OF_RANGE, 2, "version", "s", "2", "strategy", "s", "blue-green");
        /* What is configured runs already. */
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 0, NULL);
        ASSERT_TRUE(!service(&t)->rollout);
        ASSERT_STREQ(service_revision(service(&t)), "");
        ASSERT_EQ(told(&t, "Reload"), 0);
        fixture_done(&t.f);
}

TEST(of_a_stopped_service_only_the_assignment_changes) {
        Test t;

        test_setup(&t, 0);
        keep_definition(&t);
        DEPLOY(&t, 1, "version", "s", "2");
        RUN_UNTIL(&t.f.bus, t.n_removed == 1);
        ASSERT_STREQ(t.result, "done");
        ASSERT_EQ(t.n_new, 1);
        ASSERT_STREQ(service_version(service(&t)), "2");
        RUN_UNTIL(&t.f.bus, told(&t, "Reload") == 1);
        start_alpha(&t.f, 2);
        ASSERT_STREQ(revision_of(&t, 1), service_revision(service(&t)));
        fixture_done(&t.f);
}

TEST(a_second_rollout_waits_for_nothing_and_is_told_so) {
        char rollout[64];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        DEPLOY(&t, 1, "version", "s", "2"); /* what is new counts after 10 s: long enough */
        snprintf(rollout, sizeof(rollout), "%s", t.f.job);
        REFUSED(&t, MAM_BUS_ERROR_BUSY, 1, "version", "s", "3");
        ASK(&t.f, "Restart", "st", "alpha", (uint64_t) 0);
        expect_refusal(&t, MAM_BUS_ERROR_BUSY);
        CALL(&t.f, "GetRollout", "s", "alpha");
        ASSERT_STREQ(t.f.job, rollout);

        ask(&t.f, rollout, MAM_IFACE_ROLLOUT, "Abort", NULL);
        wait_for_end(&t, "aborted");
        ASSERT_EQ(told(&t, "StopUnit " ALPHA(1)) + told(&t, "StopUnit " ALPHA(2)), 0);
        ask(&t.f, rollout, MAM_IFACE_ROLLOUT, "Pause", NULL);
        expect_refusal(&t, MAM_BUS_ERROR_NO_SUCH_ROLLOUT);
        ASK(&t.f, "GetRollout", "s", "alpha");
        expect_refusal(&t, MAM_BUS_ERROR_NO_SUCH_ROLLOUT);
        fixture_done(&t.f);
}

TEST(a_service_that_is_stopped_keeps_the_revision_that_was_proven) {
        char old[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(3);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(3)) == 1);
        snprintf(old, sizeof(old), "%s", revision_of(&t, 1));
        CALL(&t.f, "Stop", "st", "alpha", (uint64_t) 0);
        fake_job_ends(&t.f.systemd,
                      ALPHA(3),
                      "canceled"); /* as systemd does with a start that a stop overtakes */
        t.f.systemd.hold = NULL;
        wait_for_end(&t, "superseded");
        ASSERT_STREQ(service_revision(service(&t)), old);
        RUN_UNTIL(&t.f.bus, ended(&t.f, t.f.job));
        start_alpha(&t.f, 3);
        for (uint32_t n = 1; n <= 3; n++)
                ASSERT_STREQ(revision_of(&t, n), old);
        fixture_done(&t.f);
}

TEST(scaling_during_a_rollout_is_carried_out_by_it) {
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.hold = "StartUnit " ALPHA(3);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "StartUnit " ALPHA(3)) == 1);
        CALL(&t.f, "Scale", "sut", "alpha", 3U, (uint64_t) 0);
        ASSERT_EQ(service_desired(service(&t)), 3);
        t.f.systemd.hold = NULL;
        fake_unit_change(&t.f.systemd, ALPHA(3), "active", "running");
        fake_job_ends(&t.f.systemd, ALPHA(3), "done");
        wait_for_end(&t, "done");
        ASSERT_EQ(numbers_count(&service(&t)->state->numbers), 3);
        fixture_done(&t.f);
}

TEST(undo_is_a_rollout_to_an_older_revision) {
        char first[MAM_REVISION_NAME_SIZE], second[MAM_REVISION_NAME_SIZE];
        const Deployed *d;
        Test t;

        test_setup(&t, 1);
        keep_definition(&t);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        wait_for_end(&t, "done");
        snprintf(second, sizeof(second), "%s", service_revision(service(&t)));
        d = rollouts_find(t.f.manager->rollouts, "alpha");
        ASSERT_EQ(d->n_records, 2);
        ASSERT_EQ(d->records[0].status, REVISION_CURRENT);
        ASSERT_EQ(d->records[1].status, REVISION_PREVIOUS);
        snprintf(first, sizeof(first), "%s", d->records[1].name);
        REFUSED(&t, SD_BUS_ERROR_INVALID_ARGS, 1, "revision", "s", second);

        DEPLOY(&t, 2, "revision", "s", first, QUICK);
        wait_for_end(&t, "done");
        ASSERT_STREQ(service_revision(service(&t)), first);
        CALL(&t.f, "ListRevisions", "s", "alpha");

        /* A new manager knows all of that. */
        kill_manager(&t);
        fixture_manager_up(&t.f);
        d = rollouts_find(t.f.manager->rollouts, "alpha");
        ASSERT_EQ(d->n_records, 2);
        ASSERT_STREQ(d->records[0].name, first);
        ASSERT_EQ(d->records[0].status, REVISION_CURRENT);
        ASSERT_EQ(d->records[1].status, REVISION_PREVIOUS);
        ASSERT_STREQ(service_revision(service(&t)), first);
        fixture_done(&t.f);
}

TEST(a_reload_that_fails_is_tried_again_before_anything_new_starts) {
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        t.f.systemd.refuse_reloads = 1;
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        RUN_UNTIL(&t.f.bus, told(&t, "Reload") == 1);
        test_bus_settle(&t.f.bus, t.f.systemd.bus, t.f.own);
        ASSERT_EQ(told(&t, "StartUnit " ALPHA(3)), 0);
        wait_for_end(&t, "done"); /* some seconds later */
        fixture_done(&t.f);
}

TEST(killed_between_its_two_files_a_manager_knows_what_runs) {
        char first[MAM_REVISION_NAME_SIZE], second[MAM_REVISION_NAME_SIZE], path[96];
        _cleanup_(mam_freep) char *before = NULL;
        Test t;

        test_setup(&t, 2);
        keep_definition(&t);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        wait_for_end(&t, "done");
        snprintf(second, sizeof(second), "%s", service_revision(service(&t)));
        snprintf(first, sizeof(first), "%s", rollouts_find(t.f.manager->rollouts, "alpha")->records[1].name);
        RUN_UNTIL(&t.f.bus, told(&t, "Reload") == 2);
        snprintf(path, sizeof(path), "%s/deploy.json", t.f.bus.folder);
        ASSERT_OK(mam_file_read(&before, NULL, path, MAM_DEPLOY_FILE_MAX));

        t.f.systemd.hold = "StartUnit";
        DEPLOY(&t, 2, "revision", "s", first, QUICK);
        kill_manager(&t);
        ASSERT_OK(mam_file_write_atomic(path, before, strlen(before), 0644)); /* the first one was written */
        t.f.systemd.hold = NULL;
        fixture_manager_up(&t.f);
        ASSERT_TRUE(service(&t)->rollout);
        NUMBERS_FOREACH(n, &service(&t)->state->numbers) {
                if (alpha(&t.f, n) && alpha(&t.f, n)->activity == UNIT_ACTIVE)
                        ASSERT_STREQ(revision_of(&t, n), second);
        }
        wait_for_end(&t, "done");
        ASSERT_STREQ(service_revision(service(&t)), first);
        NUMBERS_FOREACH(n, &service(&t)->state->numbers) {
                ASSERT_STREQ(revision_of(&t, n), first);
        }
        fixture_done(&t.f);
}

TEST(files_that_are_not_understood_are_moved_aside) {
        char path[96], aside[128], second[MAM_REVISION_NAME_SIZE];
        Test t;

        test_setup(&t, 1);
        keep_definition(&t);
        DEPLOY(&t, 2, "version", "s", "2", QUICK);
        wait_for_end(&t, "done");
        snprintf(second, sizeof(second), "%s", service_revision(service(&t)));
        RUN_UNTIL(&t.f.bus, told(&t, "Reload") == 2);
        kill_manager(&t);
        snprintf(path, sizeof(path), "%s/rollouts.json", t.f.bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, "{\"services\":3}", 14, 0600));
        fixture_manager_up(&t.f);
        snprintf(aside, sizeof(aside), "%s.bad", path);
        ASSERT_OK(access(aside, R_OK));
        ASSERT_STREQ(service_revision(service(&t)), second); /* deploy.json says so */
        ASSERT_EQ(rollouts_find(t.f.manager->rollouts, "alpha")->n_records, 2);

        kill_manager(&t);
        snprintf(path, sizeof(path), "%s/deploy.json", t.f.bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, "no", 2, 0644));
        fixture_manager_up(&t.f);
        snprintf(aside, sizeof(aside), "%s.bad", path);
        ASSERT_OK(access(aside, R_OK));
        ASSERT_STREQ(service_revision(service(&t)), ""); /* as configured */
        fixture_done(&t.f);
}
