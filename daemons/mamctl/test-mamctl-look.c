/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands that explain and watch, as a user and a program see them
 */

#include "mamctl/test-harness.h"

static char asked[128]; /* what SetAutoscaling or ListEvents got */
static bool nothing;    /* no differences, no alerts */

static int method_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(sa{sv}a(sa{sv}))",
                        2,
                        "web",
                        10,
                        "Id",
                        "s",
                        "web",
                        "State",
                        "s",
                        "asleep",
                        "Dependencies",
                        "as",
                        1,
                        "redis",
                        "HorizontalMode",
                        "s",
                        "auto",
                        "VerticalMode",
                        "s",
                        "recommend",
                        "DesiredReplicas",
                        "u",
                        2U,
                        "RecommendedReplicas",
                        "u",
                        5U,
                        "CPULimitMillis",
                        "t",
                        UINT64_C(500),
                        "Revision",
                        "s",
                        "aaa111",
                        "Rollout",
                        "o",
                        MAM_BUS_PATH "/rollout/1",
                        1,
                        "web:1",
                        4,
                        "Id",
                        "s",
                        "web:1",
                        "Service",
                        "s",
                        "web",
                        "Number",
                        "u",
                        1U,
                        "Health",
                        "s",
                        "healthy",
                        "redis",
                        2,
                        "Id",
                        "s",
                        "redis",
                        "State",
                        "s",
                        "running",
                        0);
}

static int method_metrics(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static double seconds = 10;

        seconds += 0.5;
        return sd_bus_reply_method_return(
                        m,
                        "a(ssa{sd})",
                        1,
                        "web",
                        "web:1",
                        2,
                        "cpu_seconds_total",
                        seconds,
                        "memory_bytes",
                        1048576.0);
}

static int method_set_autoscaling(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *service, *horizontal, *vertical;

        ASSERT_OK(sd_bus_message_read(m, "ssst", &service, &horizontal, &vertical, NULL));
        snprintf(asked, sizeof(asked), "%s '%s' '%s'", service, horizontal, vertical);
        return sd_bus_reply_method_return(m, "");
}

static int method_plan(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (nothing)
                return sd_bus_reply_method_return(m, "a(sssss)", 0);
        return sd_bus_reply_method_return(
                        m,
                        "a(sssss)",
                        1,
                        "mam@web:2.service",
                        "absent",
                        "running",
                        "start it",
                        "2 replicas \x1b[2Jare wanted");
}

static int method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(ssssta{sd})",
                        1,
                        "replicas",
                        "5 replicas",
                        "CPU is at 140 % of its target",
                        "less load for 5 min",
                        UINT64_C(0),
                        2,
                        "ready",
                        1073741824.0,
                        "ratio",
                        1.40625);
}

static int method_list_alerts(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (nothing)
                return sd_bus_reply_method_return(m, "a(sssssst)", 0);
        return sd_bus_reply_method_return(
                        m,
                        "a(sssssst)",
                        1,
                        "f00",
                        "ReplicaCrashLoops",
                        "critical",
                        "web",
                        "web:1",
                        "it died five times",
                        UINT64_C(1700000000000000));
}

static void send_event(Fixture *f, uint64_t sequence, const char *service, const char *message) {
        ASSERT_OK(sd_bus_emit_signal(
                        f->manager,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Event",
                        "ttsssss",
                        sequence,
                        UINT64_C(1700000000000000),
                        "warning",
                        service,
                        "",
                        "scaled",
                        message));
}

static int method_list_events(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *service;
        uint64_t after;
        uint32_t max;

        ASSERT_OK(sd_bus_message_read(m, "stu", &service, &after, &max));
        snprintf(asked, sizeof(asked), "%s %llu %u", service, (unsigned long long) after, max);

        send_event(f, 2, "web", "listed as well"); /* between subscribing and listing */
        ASSERT_OK(sd_bus_reply_method_return(
                        m,
                        "a(ttsssss)",
                        2,
                        UINT64_C(1),
                        UINT64_C(1000000),
                        "info",
                        "web",
                        "web:1",
                        "started",
                        "long ago",
                        UINT64_C(2),
                        UINT64_C(1700000000000000),
                        "error",
                        "web",
                        "",
                        "scaled",
                        "listed \x1b[31mas well"));
        send_event(f, 3, "redis", "of another");
        send_event(f, 4, "web", "came later");
        return 1;
}

static int method_list_endpoints(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        ASSERT_OK(sd_bus_message_read(m, "s", NULL));
        return sd_bus_reply_method_return(
                        m,
                        "ta(sssus)a(su)",
                        UINT64_C(9),
                        2,
                        "web:1",
                        "/run/w1",
                        "ready",
                        100U,
                        "aaa111",
                        "web:2",
                        "/run/w2",
                        "asleep",
                        100U,
                        "bbb222",
                        2,
                        "aaa111",
                        975U,
                        "bbb222",
                        25U);
}

static int property_get_text(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", "running");
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Status", "s", "a(sa{sv}a(sa{sv}))", method_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Metrics", "s", "a(ssa{sd})", method_metrics, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SetAutoscaling", "ssst", "", method_set_autoscaling, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Plan", "st", "a(sssss)", method_plan, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Explain", "st", "a(ssssta{sd})", method_explain, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListEvents", "stu", "a(ttsssss)", method_list_events, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListAlerts", "", "a(sssssst)", method_list_alerts, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListEndpoints",
                      "s",
                      "ta(sssus)a(su)",
                      method_list_endpoints,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("State", "s", property_get_text, 0, 0),
        SD_BUS_VTABLE_END,
};

static void setup(Fixture *f) {
        fixture_setup(f, manager_vtable);
        nothing = false;
        *asked = '\0';
}

TEST(autoscaling_is_shown_and_set) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "autoscale"), 0);
        ASSERT_STREQ(asked, "");
        ASSERT_CONTAINS(f.out, "web      auto             2       5");
        ASSERT_EQ(RUN(&f, "autoscale", "web", "off"), 0);
        ASSERT_STREQ(asked, "web 'off' ''");
        ASSERT_EQ(RUN(&f, "autoscale", "web", "--vertical=default", "-q"), 0);
        ASSERT_STREQ(asked, "web '' 'default'");
        ASSERT_STREQ(f.out, "");
        ASSERT_EQ(RUN(&f, "autoscale", "web", "on"), 2);
        ASSERT_CONTAINS(f.err, "'on' is none of off, recommend, auto, default.");
        ASSERT_EQ(RUN(&f, "autoscale", "--vertical=off"), 2);
        fixture_teardown(&f);
}

TEST(status_says_what_decides) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "status", "web"), 0); /* asleep is as it should be */
        ASSERT_CONTAINS(f.out, "revision aaa111\n");
        ASSERT_CONTAINS(f.out, "autoscaling: number auto (advises 5 replicas), limits recommend\n");
        ASSERT_CONTAINS(f.out, "a rollout is under way: mamctl rollout status web\n");
        fixture_teardown(&f);
}

TEST(a_plan_with_something_in_it_has_an_exit_status_of_its_own_if_asked) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "plan"), 0);
        ASSERT_CONTAINS(f.out,
                        "mam@web:2.service  absent  running    start it  2 replicas ?[2Jare wanted\n");
        ASSERT_EQ(RUN(&f, "plan", "--exit-code", "--json"), 8);
        ASSERT_CONTAINS(f.out, "\"should_be\":\"running\"");
        nothing = true;
        ASSERT_EQ(RUN(&f, "plan", "web", "--exit-code"), 0);
        ASSERT_STREQ(f.out, "Nothing to do: all is as it should be.\n");
        fixture_teardown(&f);
}

TEST(explain_says_why_and_what_would_change_it) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "explain", "web"), 0);
        ASSERT_STREQ(f.out,
                     "replicas      5 replicas\n"
                     "              CPU is at 140 % of its target\n"
                     "              To change it: less load for 5 min\n"
                     "              ready 1073741824, ratio 1.406\n");
        ASSERT_EQ(RUN(&f, "explain", "web", "--json"), 0);
        ASSERT_CONTAINS(f.out, "\"would_change\":\"less load for 5 min\"");
        fixture_teardown(&f);
}

TEST(alerts_are_listed) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "alerts"), 0);
        ASSERT_CONTAINS(f.out, "critical  ReplicaCrashLoops  web:1");
        ASSERT_EQ(RUN(&f, "alerts", "--json"), 0);
        ASSERT_CONTAINS(f.out, "\"fingerprint\":\"f00\"");
        nothing = true;
        ASSERT_EQ(RUN(&f, "alerts"), 0);
        ASSERT_STREQ(f.out, "No alerts.\n");
        fixture_teardown(&f);
}

TEST(events_are_listed_and_cleaned) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "events", "web", "-n", "20"), 0);
        ASSERT_STREQ(asked, "web 0 20");
        ASSERT_CONTAINS(f.out, "long ago\n");
        ASSERT_CONTAINS(f.out, "listed ?[31mas well\n");
        ASSERT_TRUE(!strstr(f.out, "came later"));
        ASSERT_EQ(RUN(&f, "events", "--lines=all", "--since=1d"), 0);
        ASSERT_STREQ(asked, " 0 0");
        ASSERT_STREQ(f.out, "No events.\n");
        ASSERT_EQ(RUN(&f, "events", "--json"), 0);
        ASSERT_CONTAINS(f.out, "{\"events\":[{\"sequence\":1,");
        fixture_teardown(&f);
}

TEST(following_prints_each_event_once_and_only_of_the_service) {
        const char *first;
        Fixture f;

        setup(&f);
        f.interrupt_at = "came later";
        ASSERT_EQ(RUN(&f, "events", "web", "--follow"), 130);
        ASSERT_STREQ(asked, "web 0 10");
        first = strstr(f.out, "as well");
        ASSERT_TRUE(first && !strstr(first + 1, "as well"));
        ASSERT_TRUE(!strstr(f.out, "of another"));

        f.interrupt_at = "came later";
        ASSERT_EQ(RUN(&f, "events", "-f", "-n0", "--json"), 130);
        ASSERT_TRUE(strncmp(f.out, "{\"sequence\":2,", 14) == 0);
        ASSERT_CONTAINS(f.out, "\"message\":\"of another\"}\n{\"sequence\":4,");
        fixture_teardown(&f);
}

TEST(endpoints_tell_their_group_and_its_share) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "endpoints", "web"), 0);
        ASSERT_CONTAINS(f.out, "web:1    ready      100  97.5%  aaa111  /run/w1\n");
        ASSERT_CONTAINS(f.out, "web:2    asleep     100   2.5%  bbb222  /run/w2\n");
        ASSERT_EQ(RUN(&f, "endpoints", "web", "--json"), 0);
        ASSERT_CONTAINS(f.out, "\"split\":[{\"group\":\"aaa111\",\"thousandths\":975}");
        fixture_teardown(&f);
}

TEST(the_graph_comes_in_four_forms) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "graph", "--ascii"), 0);
        ASSERT_STREQ(f.out, "* web  asleep 0/2\n`-* redis  running 0/0\n");
        ASSERT_EQ(RUN(&f, "graph", "--svg"), 0);
        ASSERT_CONTAINS(f.out, "<title>web needs redis</title>");
        ASSERT_EQ(RUN(&f, "graph", "--dot"), 0);
        ASSERT_CONTAINS(f.out, "  n0 -> n1;\n");
        ASSERT_EQ(RUN(&f, "graph", "--json"), 0);
        ASSERT_CONTAINS(f.out, "\"edges\":[{\"from\":\"web\",\"to\":\"redis\"}]");
        ASSERT_EQ(RUN(&f, "graph", "--json", "--svg"), 2);
        fixture_teardown(&f);
}

TEST(top_without_a_terminal_prints_one_table) {
        Fixture f;

        setup(&f);
        ASSERT_EQ(RUN(&f, "top", "--interval=10ms"), 0);
        ASSERT_CONTAINS(f.out, "REPLICA  HEALTH");
        ASSERT_CONTAINS(f.out, "web:1    healthy");
        ASSERT_CONTAINS(f.out, "1.0Mi");
        ASSERT_TRUE(!strchr(f.out, '\x1b'));
        ASSERT_EQ(RUN(&f, "top", "--interval=10ms", "--json"), 0);
        ASSERT_CONTAINS(f.out, "\"cpu_cores\":");
        fixture_teardown(&f);
}
