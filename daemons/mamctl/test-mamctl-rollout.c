/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rollouts, their history, and chaos, as a user and a program see them
 */

#include "mamctl/bus-json.h"
#include "mamctl/test-harness.h"

#define JOB     MAM_BUS_PATH "/job/7"
#define ROLLOUT MAM_BUS_PATH "/rollout/3"

/* What the test's manager does with a rollout or a job of chaos. */
typedef enum Play {
        PLAY_ENDS_BEFORE_REPLY,
        PLAY_ENDS_AFTER_PROGRESS, /* once mamctl has asked how far it is */
        PLAY_NEVER_ENDS,
        PLAY_REPORTS_LATE,
} Play;

static json_object *asked_options; /* owned: of the last Deploy */
static char called[64];            /* of the rollout or the job */
static bool no_rollout;

static void send_rollout_removed(Fixture *f, const char *path, const char *result) {
        ASSERT_OK(sd_bus_emit_signal(
                        f->manager,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "RolloutRemoved",
                        "osss",
                        path,
                        "redis",
                        result,
                        strcmp(result, "reverted") == 0 ? "redis:5 answers with errors" : ""));
}

static int method_deploy(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *service;

        if (f->error_name)
                return sd_bus_error_set(error, f->error_name, f->error_message);

        ASSERT_OK(sd_bus_message_read(m, "s", &service));
        ASSERT_STREQ(service, "redis");
        json_object_put(asked_options);
        asked_options = NULL;
        ASSERT_TRUE(bus_json_read(m, &asked_options) > 0);
        f->interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0;

        if (f->play == PLAY_ENDS_BEFORE_REPLY) {
                send_rollout_removed(f, MAM_BUS_PATH "/rollout/2", "failed"); /* somebody else's */
                send_rollout_removed(f, ROLLOUT, f->result);
        }
        return sd_bus_reply_method_return(m, "o", ROLLOUT);
}

static int method_get_rollout(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (no_rollout)
                return sd_bus_error_set(
                                error,
                                MAM_BUS_ERROR_NO_SUCH_ROLLOUT,
                                "No rollout of redis is under way");
        return sd_bus_reply_method_return(m, "o", ROLLOUT);
}

static int method_list_revisions(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(sstsss)",
                        3,
                        "aaa111",
                        "2.0",
                        UINT64_C(1700000000000000),
                        "current",
                        "",
                        "{\"exec\":[\"/opt/redis/2.0/run\"],\"user\":\"redis\"}",
                        "bbb222",
                        "1.9",
                        UINT64_C(1600000000000000),
                        "reverted",
                        "redis:5 \x1b[31mcrashed",
                        "{\"exec\":[\"/opt/redis/1.9/run\"],\"user\":\"redis\"}",
                        "ccc333",
                        "1.8",
                        UINT64_C(1500000000000000),
                        "previous",
                        "",
                        "{\"user\":\"redis\",\"exec\":[\"/opt/redis/1.8/run\"]}");
}

static void send_chaos_ended(Fixture *f) {
        ASSERT_OK(sd_bus_emit_signal(
                        f->manager,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ChaosEnded",
                        "osa{sd}a{sd}",
                        JOB,
                        "redis",
                        4,
                        "seconds",
                        60.0,
                        "requests",
                        1000.0,
                        "errors",
                        0.0,
                        "p99_seconds",
                        0.002,
                        2,
                        "requests",
                        900.0,
                        "errors",
                        9.0));
}

static void send_job_removed(Fixture *f, const char *result) {
        ASSERT_OK(sd_bus_emit_signal(
                        f->manager,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobRemoved",
                        "osss",
                        JOB,
                        "redis",
                        result,
                        ""));
}

static int method_chaos(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *kind, *service;
        Fixture *f = userdata;
        uint32_t percent;
        uint64_t usec;

        if (f->error_name)
                return sd_bus_error_set(error, f->error_name, f->error_message);
        ASSERT_OK(sd_bus_message_read(m, "ssutt", &kind, &service, &percent, &usec, NULL));
        snprintf(called, sizeof(called), "%s %s %u %llu", kind, service, percent, (unsigned long long) usec);
        ASSERT_OK(sd_bus_reply_method_return(m, "o", JOB));
        if (f->play == PLAY_NEVER_ENDS) {
                ASSERT_OK(sd_bus_emit_signal(
                                f->manager,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "JobProgress",
                                "osuus",
                                JOB,
                                "redis",
                                0U,
                                60U,
                                "killed redis:1"));
                return 1;
        }
        if (f->play != PLAY_REPORTS_LATE)
                send_chaos_ended(f);
        send_job_removed(f, "done");
        if (f->play == PLAY_REPORTS_LATE)
                send_chaos_ended(f);
        return 1;
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Deploy", "sa{sv}t", "o", method_deploy, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GetRollout", "s", "o", method_get_rollout, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListRevisions", "s", "a(sstsss)", method_list_revisions, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Chaos", "ssutt", "o", method_chaos, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static int method_of_rollout(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        snprintf(called, sizeof(called), "%s", sd_bus_message_get_member(m));
        f->interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0;
        ASSERT_OK(sd_bus_reply_method_return(m, ""));
        if (strcmp(called, "Abort") == 0)
                send_rollout_removed(f, ROLLOUT, "aborted");
        return 1;
}

static int method_cancel(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        snprintf(called, sizeof(called), "Cancel");
        ASSERT_OK(sd_bus_reply_method_return(m, ""));
        send_chaos_ended(f);
        send_job_removed(f, "cancelled");
        return 1;
}

static int on_idle(sd_event_source *s, void *userdata) {
        Fixture *f = userdata;

        send_rollout_removed(f, ROLLOUT, f->result);
        return 0;
}

static int property_get_text(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        static const char *const values[][2] = {
                { "Service", "redis" }, { "Strategy", "canary" }, { "From", "ccc333" },
                { "To", "aaa111" },     { "Phase", "watching" },  { "Reason", "0.1% errors, 5% slower" },
        };
        sd_event_source *source = NULL;
        Fixture *f = userdata;

        /* the last of all properties: what comes next is sent behind the answer */
        if (strcmp(property, "Reason") == 0 && f->play == PLAY_ENDS_AFTER_PROGRESS) {
                ASSERT_OK(sd_event_add_defer(f->event, &source, on_idle, f));
                ASSERT_OK(sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE));
                ASSERT_OK(sd_event_source_set_floating(source, true));
                sd_event_source_unref(source);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(values); i++) {
                if (strcmp(values[i][0], property) == 0)
                        return sd_bus_message_append(reply, "s", values[i][1]);
        }
        return -ENOENT;
}

static int property_get_number(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        static const struct {
                const char *property;
                uint32_t value;
        } values[] = {
                { "Id", 3 },      { "Step", 1 },  { "Weight", 5 },
                { "Updated", 2 }, { "Ready", 1 }, { "Total", 4 },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(values); i++) {
                if (strcmp(values[i].property, property) == 0)
                        return sd_bus_message_append(reply, "u", values[i].value);
        }
        return -ENOENT;
}

static int property_get_steps(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "au", 2, 5U, 100U);
}

static const sd_bus_vtable rollout_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Pause", "", "", method_of_rollout, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Resume", "", "", method_of_rollout, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Abort", "", "", method_of_rollout, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "u", property_get_number, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Service", "s", property_get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Strategy", "s", property_get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("From", "s", property_get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("To", "s", property_get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Phase", "s", property_get_text, 0, 0),
        SD_BUS_PROPERTY("Steps", "au", property_get_steps, 0, 0),
        SD_BUS_PROPERTY("Step", "u", property_get_number, 0, 0),
        SD_BUS_PROPERTY("Weight", "u", property_get_number, 0, 0),
        SD_BUS_PROPERTY("Updated", "u", property_get_number, 0, 0),
        SD_BUS_PROPERTY("Ready", "u", property_get_number, 0, 0),
        SD_BUS_PROPERTY("Total", "u", property_get_number, 0, 0),
        SD_BUS_PROPERTY("Reason", "s", property_get_text, 0, 0),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable job_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Cancel", "", "", method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void setup(Fixture *f, Play play) {
        fixture_setup(f, manager_vtable);
        ASSERT_OK(sd_bus_add_object_vtable(f->manager, NULL, ROLLOUT, MAM_IFACE_ROLLOUT, rollout_vtable, f));
        ASSERT_OK(sd_bus_add_object_vtable(f->manager, NULL, JOB, MAM_IFACE_JOB, job_vtable, f));
        f->play = (int) play;
        no_rollout = false;
        *called = '\0';
}

static void teardown(Fixture *f) {
        fixture_teardown(f);
        json_object_put(asked_options);
        asked_options = NULL;
}

static void assert_options(const char *expected) {
        _cleanup_(json_object_putp) json_object *want = json_tokener_parse(expected);

        ASSERT_TRUE(want);
        if (!json_object_equal(want, asked_options))
                mam_test_fail_string(
                                __FILE__,
                                __LINE__,
                                expected,
                                json_object_to_json_string(asked_options));
}

TEST(deploy_hands_on_what_was_said_and_nothing_else) {
        Fixture f;

        setup(&f, PLAY_ENDS_BEFORE_REPLY);
        ASSERT_EQ(RUN(&f, "deploy", "redis"), 0);
        assert_options("{}");
        ASSERT_TRUE(f.interactive);
        ASSERT_CONTAINS(f.out, "deploy redis: done in ");

        ASSERT_EQ(RUN(&f,
                      "deploy",
                      "redis",
                      "--version=2.1",
                      "--exec=/opt/r",
                      "--image=/srv/i",
                      "--strategy",
                      "canary",
                      "--steps=5,25%,100",
                      "--pause=2m",
                      "--no-ask-password"),
                  0);
        assert_options("{\"version\":\"2.1\",\"exec\":\"/opt/r\",\"image\":\"/srv/i\",\"strategy\":\"canary\","
                       "\"steps\":[5,25,100],\"pause_usec\":120000000}");
        ASSERT_TRUE(!f.interactive);

        ASSERT_EQ(RUN(&f,
                      "deploy",
                      "redis",
                      "--max-surge=2",
                      "--max-unavailable=0",
                      "--min-healthy=0s",
                      "--healthy-deadline=1min",
                      "--progress-deadline=5min",
                      "--no-auto-revert"),
                  0);
        assert_options("{\"max_surge\":2,\"max_unavailable\":0,\"min_healthy_usec\":0,"
                       "\"healthy_deadline_usec\":60000000,\"progress_deadline_usec\":300000000,\"auto_revert\":false}");
        teardown(&f);
}

TEST(a_rollout_is_followed_to_its_end) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *v;
        Fixture f;

        setup(&f, PLAY_ENDS_AFTER_PROGRESS);
        ASSERT_EQ(RUN(&f, "deploy", "redis"), 0);
        ASSERT_CONTAINS(f.err,
                        "[1/4] redis: watching, step 1 of 2, 5% of the traffic; 2 of 4 updated, 1 ready: 0.1% errors, 5% slower\n");

        f.result = "reverted";
        ASSERT_EQ(RUN(&f, "rollout", "status", "redis", "--follow"), 1);
        ASSERT_CONTAINS(f.err, "reverted after");
        ASSERT_CONTAINS(f.err, "redis:5 answers with errors");
        ASSERT_CONTAINS(f.err, "mamctl events redis");

        f.play = PLAY_ENDS_BEFORE_REPLY;
        ASSERT_EQ(RUN(&f, "deploy", "redis", "--json"), 1);
        ASSERT_STREQ(f.err, "");
        o = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(o, "result", &v));
        ASSERT_STREQ(json_object_get_string(v), "reverted");
        teardown(&f);
}

TEST(an_interrupt_leaves_the_rollout_running_and_says_how_to_go_back) {
        Fixture f;

        setup(&f, PLAY_NEVER_ENDS);
        f.interrupt_at = "[1/4] redis: watching";
        ASSERT_EQ(RUN(&f, "deploy", "redis"), 130);
        ASSERT_CONTAINS(f.err, "The rollout goes on.");
        ASSERT_CONTAINS(f.err, "mamctl rollout abort redis");
        ASSERT_STREQ(called, "");
        teardown(&f);
}

TEST(a_rollout_need_not_be_waited_for) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *v;
        Fixture f;

        setup(&f, PLAY_NEVER_ENDS);
        ASSERT_EQ(RUN(&f, "deploy", "redis", "--no-wait"), 0);
        ASSERT_CONTAINS(f.out, "mamctl rollout status redis --follow");
        ASSERT_EQ(RUN(&f, "deploy", "redis", "--no-wait", "--json"), 0);
        o = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(o, "rollout", &v));
        ASSERT_STREQ(json_object_get_string(v), ROLLOUT);
        ASSERT_EQ(RUN(&f, "deploy", "redis", "--timeout=50ms"), 7);
        ASSERT_CONTAINS(f.err, "The rollout goes on; 'mamctl rollout status redis'");
        teardown(&f);
}

TEST(deploy_tells_what_is_wrong) {
        Fixture f;

        setup(&f, PLAY_NEVER_ENDS);
        ASSERT_EQ(RUN(&f, "deploy", "redis", "--steps=5,100"), 2);
        ASSERT_CONTAINS(f.err, "--strategy=canary");
        ASSERT_EQ(RUN(&f, "deploy", "redis", "--exec=bin/redis"), 2);
        ASSERT_CONTAINS(f.err, "not an absolute path");
        f.error_name = SD_BUS_ERROR_ACCESS_DENIED;
        f.error_message = "no";
        ASSERT_EQ(RUN(&f, "deploy", "redis"), 5);
        ASSERT_CONTAINS(f.err, "org.manageragent.manager1.deploy");
        ASSERT_EQ(RUN(&f, "chaos", "kill", "redis", "--for=10s"), 5);
        ASSERT_CONTAINS(f.err, "org.manageragent.manager1.chaos");
        f.error_name = MAM_BUS_ERROR_BUSY;
        f.error_message = "redis: rollout 3 is under way";
        ASSERT_EQ(RUN(&f, "deploy", "redis"), 1);
        ASSERT_CONTAINS(f.err, "rollout 3 is under way");
        teardown(&f);
}

TEST(a_rollout_can_be_looked_at_held_and_taken_back) {
        _cleanup_(json_object_putp) json_object *o = NULL, *none = NULL;
        json_object *rollout, *v;
        Fixture f;

        setup(&f, PLAY_NEVER_ENDS);
        ASSERT_EQ(RUN(&f, "rollout", "status", "redis"), 0);
        ASSERT_CONTAINS(f.out, "ccc333 to aaa111");
        ASSERT_CONTAINS(f.out, "[5%], 100%");
        ASSERT_EQ(RUN(&f, "rollout", "status", "redis", "--json"), 0);
        o = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(o, "rollout", &rollout));
        ASSERT_TRUE(json_object_object_get_ex(rollout, "weight", &v));
        ASSERT_EQ(json_object_get_int(v), 5);

        ASSERT_EQ(RUN(&f, "rollout", "pause", "redis"), 0);
        ASSERT_STREQ(called, "Pause");
        ASSERT_TRUE(f.interactive);
        ASSERT_EQ(RUN(&f, "rollout", "resume", "redis"), 0);
        ASSERT_STREQ(called, "Resume");
        ASSERT_EQ(RUN(&f, "rollout", "abort", "redis"), 0);
        ASSERT_STREQ(called, "Abort");
        ASSERT_CONTAINS(f.out, "abort redis: aborted in");
        ASSERT_EQ(RUN(&f, "rollout", "pause", "redis", "--follow"), 2);

        no_rollout = true;
        ASSERT_EQ(RUN(&f, "rollout", "status", "redis"), 3);
        ASSERT_CONTAINS(f.out, "No rollout of redis is under way.");
        ASSERT_EQ(RUN(&f, "rollout", "abort", "redis", "--json"), 3);
        none = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(none, "rollout", &v) && !v);
        teardown(&f);
}

TEST(undo_goes_to_the_previous_revision_or_to_one_that_is_named) {
        Fixture f;

        setup(&f, PLAY_ENDS_BEFORE_REPLY);
        ASSERT_EQ(RUN(&f, "undo", "redis"), 0);
        assert_options("{\"revision\":\"ccc333\"}");
        ASSERT_CONTAINS(f.out, "Going back to revision ccc333 (version 1.8).");
        ASSERT_EQ(RUN(&f, "undo", "redis", "1.9", "--strategy=blue-green", "-q"), 0);
        assert_options("{\"revision\":\"bbb222\",\"strategy\":\"blue-green\"}");
        ASSERT_EQ(RUN(&f, "undo", "redis", "zzz"), 1);
        ASSERT_CONTAINS(f.err, "redis has no revision 'zzz'. 'mamctl history redis' lists them.");
        teardown(&f);
}

TEST(history_lists_and_compares) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *list, *definition;
        Fixture f;

        setup(&f, PLAY_NEVER_ENDS);
        ASSERT_EQ(RUN(&f, "history", "redis"), 0);
        ASSERT_CONTAINS(f.out, "REVISION  VERSION  STATUS");
        ASSERT_CONTAINS(f.out, "bbb222    1.9      reverted");
        ASSERT_CONTAINS(f.out, "redis:5 ?[31mcrashed");

        ASSERT_EQ(RUN(&f, "history", "redis", "--diff", "1.8"), 0);
        ASSERT_STREQ(f.out,
                     "--- ccc333 (version 1.8)\n"
                     "+++ aaa111 (version 2.0)\n"
                     "@@ -1,6 +1,6 @@\n"
                     " {\n"
                     "   \"exec\": [\n"
                     "-    \"/opt/redis/1.8/run\"\n"
                     "+    \"/opt/redis/2.0/run\"\n"
                     "   ],\n"
                     "   \"user\": \"redis\"\n"
                     " }\n");
        ASSERT_EQ(RUN(&f, "history", "redis", "--diff", "ccc", "bbb"), 0);
        ASSERT_CONTAINS(f.out, "+++ bbb222 (version 1.9)\n");
        ASSERT_EQ(RUN(&f, "history", "redis", "--diff", "aaa"), 0);
        ASSERT_STREQ(f.out, "They are the same.\n");
        ASSERT_EQ(RUN(&f, "history", "redis", "bbb"), 2);

        ASSERT_EQ(RUN(&f, "history", "redis", "--json"), 0);
        o = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(o, "revisions", &list));
        ASSERT_TRUE(json_object_object_get_ex(
                        json_object_array_get_idx(list, 0),
                        "definition",
                        &definition));
        ASSERT_TRUE(json_object_is_type(definition, json_type_object));
        teardown(&f);
}

TEST(chaos_ends_with_a_report) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *during, *v;
        Fixture f;

        setup(&f, PLAY_ENDS_BEFORE_REPLY);
        ASSERT_EQ(RUN(&f, "chaos", "kill", "redis"), 2);
        ASSERT_CONTAINS(f.err, "--for=TIME");
        ASSERT_EQ(RUN(&f, "chaos", "kill", "redis", "--for=2h"), 2);
        ASSERT_EQ(RUN(&f, "chaos", "kill", "redis", "--for=1m"), 0);
        ASSERT_STREQ(called, "kill redis 50 60000000");
        ASSERT_CONTAINS(f.out, "        FOR  REQUESTS  PER SECOND     ERRORS  P50  P99\n");
        ASSERT_CONTAINS(f.out, "before  60s      1000           -  0 (0.00%)    -  2ms\n");
        ASSERT_CONTAINS(f.out, "during    -       900           -  9 (1.00%)    -    -\n");

        f.play = PLAY_REPORTS_LATE;
        ASSERT_EQ(RUN(&f, "chaos", "io", "redis", "--for=1s", "--percent=100%", "--yes", "--json"), 0);
        ASSERT_STREQ(called, "io redis 100 1000000");
        o = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(o, "during", &during));
        ASSERT_TRUE(json_object_object_get_ex(during, "errors", &v));
        ASSERT_EQ(json_object_get_int(v), 9);
        teardown(&f);
}

TEST(an_interrupt_ends_chaos_and_the_report_still_comes) {
        Fixture f;

        setup(&f, PLAY_NEVER_ENDS);
        f.interrupt_at = "killed redis:1";
        ASSERT_EQ(RUN(&f, "chaos", "kill", "redis", "--for=1m"), 130);
        ASSERT_STREQ(called, "Cancel");
        ASSERT_CONTAINS(f.out, "during    -       900");
        teardown(&f);
}
