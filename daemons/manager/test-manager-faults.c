/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What goes wrong around the manager, and what it says of it: events, plan, explanations, alerts
 */

#include <stdarg.h>
#include <sys/stat.h>

#include "libmam/util/file.h"
#include "libmam/util/time.h"
#include "manager/alerts.h"
#include "manager/manager-fixture.h"

#define TEXT_MAX 8192

/* An answer or signal as text: strings and numbers with '|' between, '\n' after each structure. */
static size_t dump(sd_bus_message *m, char *text, size_t length) {
        const char *contents, *s;
        uint64_t t;
        uint32_t u;
        double d;
        char type;

        while (sd_bus_message_peek_type(m, &type, &contents) > 0) {
                if (type == 's' || type == 'o') {
                        ASSERT_OK(sd_bus_message_read_basic(m, type, &s));
                        length += (size_t) snprintf(text + length, TEXT_MAX - length, "%s|", s);
                } else if (type == 't') {
                        ASSERT_OK(sd_bus_message_read_basic(m, 't', &t));
                        length += (size_t) snprintf(text + length, TEXT_MAX - length, "#|");
                } else if (type == 'u') {
                        ASSERT_OK(sd_bus_message_read_basic(m, 'u', &u));
                        length += (size_t) snprintf(text + length, TEXT_MAX - length, "%u|", u);
                } else if (type == 'd') {
                        ASSERT_OK(sd_bus_message_read_basic(m, 'd', &d));
                        length += (size_t) snprintf(text + length, TEXT_MAX - length, "%g|", d);
                } else {
                        ASSERT_OK(sd_bus_message_enter_container(m, type, contents));
                        length = dump(m, text, length);
                        ASSERT_OK(sd_bus_message_exit_container(m));
                        if (type == 'r')
                                length += (size_t) snprintf(text + length, TEXT_MAX - length, "\n");
                }
                ASSERT_TRUE(length < TEXT_MAX - 512);
        }
        return length;
}

typedef struct Asked {
        char text[TEXT_MAX];
        char error[256];
        bool answered;
} Asked;

static int on_asked(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Asked *a = userdata;

        a->answered = true;
        if (sd_bus_message_is_method_error(m, NULL)) {
                snprintf(a->error, sizeof(a->error), "%s", sd_bus_message_get_error(m)->message);
                return 0;
        }
        a->text[dump(m, a->text, 0)] = '\0';
        return 0;
}

/* Asks something and gives the answer as text; borrowed until the next one. */
static const Asked *asked(Fixture *f, const char *member, const char *types, ...) {
        static Asked a;
        va_list ap;

        a = (Asked){ .answered = false };
        va_start(ap, types);
        ASSERT_OK(sd_bus_call_method_asyncv(
                        f->client,
                        NULL,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        member,
                        on_asked,
                        &a,
                        types,
                        ap));
        va_end(ap);
        RUN_UNTIL(&f->bus, a.answered);
        f->answers.n_errors = 0; /* they are in a.error, and judged there */
        return &a;
}

static bool plan_has(Fixture *f, const char *what) {
        return strstr(asked(f, "Plan", "st", "alpha", (uint64_t) 0)->text, what);
}

static bool told(Fixture *f, const char *what) {
        return strstr(asked(f, "ListEvents", "stu", "alpha", (uint64_t) 0, 0U)->text, what);
}

static bool alerted(Fixture *f, const char *what) {
        return strstr(asked(f, "ListAlerts", NULL)->text, what);
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        char *text = userdata;

        (void) dump(m, text, strlen(text));
        return 0;
}

TEST(a_socket_that_nobody_wants_a_replica_behind_is_closed) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        fake_unit_change(&f.systemd, "mam@alpha:1.socket", "active", "running");
        fake_unit_change(&f.systemd, "mam@alpha:4.socket", "active", "listening");
        fake_reload(&f.systemd);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StopUnit mam@alpha:4.socket") == 1);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit mam@alpha:1.socket"), 0);
        fixture_done(&f);
}

TEST(what_happens_is_an_event_and_can_be_asked_for_later) {
        static char signals[TEXT_MAX];
        const Asked *a;
        Fixture f;

        fixture_setup(&f);
        signals[0] = '\0';
        ASSERT_OK(sd_bus_match_signal(
                        f.client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Event",
                        on_signal,
                        signals));
        start_alpha(&f, 2);
        RUN_UNTIL(&f.bus, told(&f, "#|#|info|alpha|alpha:2|started|ready|\n"));
        ASSERT_TRUE(told(&f, "notice|alpha||scaled|from 2 to 2 replicas"));
        RUN_UNTIL(&f.bus, strstr(signals, "info|alpha|alpha:2|started|ready|"));
        CALL(&f, "Stop", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, told(&f, "alpha:1|stopped|stopped|"));
        RUN_UNTIL(&f.bus, strstr(signals, "alpha:1|stopped|stopped|"));
        a = asked(&f, "ListEvents", "stu", "gate", (uint64_t) 0, 0U);
        ASSERT_STREQ(a->text, "");
        ASSERT_STREQ(asked(&f, "ListEvents", "stu", "", UINT64_MAX, 0U)->text, "");
        ASSERT_TRUE(strstr(asked(&f, "ListEvents", "stu", "nobody", (uint64_t) 0, 0U)->error, "no service"));
        fixture_done(&f);
}

TEST(a_death_is_told_with_its_reason) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        fake_unit_restarted(&f.systemd, ALPHA(2), 1);
        RUN_UNTIL(&f.bus, told(&f, "warning|alpha|alpha:2|died|died ("));
        ASSERT_TRUE(!told(&f, "alpha:1|died"));
        fixture_done(&f);
}

TEST(a_masked_unit_is_named_and_not_tried_again_and_again) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.refuse = "StartUnit " ALPHA(2);
        f.systemd.refuse_name = "org.freedesktop.systemd1.UnitMasked";
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 2) && alpha(&f, 2)->masked);
        RUN_UNTIL(&f.bus, plan_has(&f, ALPHA(2) "|inactive, held back|active|start in "));
        ASSERT_TRUE(plan_has(&f, "its unit is masked; to undo that: systemctl unmask " ALPHA(2)));
        ASSERT_TRUE(told(&f, "warning|alpha|alpha:2|failed|cannot be started: its unit is masked"));
        ASSERT_TRUE(
                        strstr(asked(&f, "Explain", "st", "alpha", (uint64_t) 0)->text,
                               "replica 2|stopped|cannot be started: its unit is masked"));
        ASSERT_TRUE(fake_told(&f.systemd, "StartUnit " ALPHA(2)) <= 2);

        /* systemctl unmask has systemd load everything again: no use in waiting any longer. */
        f.systemd.refuse = NULL;
        fake_reload(&f.systemd);
        RUN_UNTIL(&f.bus, replica_is_ready(alpha(&f, 2)));
        RUN_UNTIL(&f.bus, ended(&f, f.job));
        ASSERT_STREQ(ended(&f, f.job)->result, "done");
        ASSERT_TRUE(!plan_has(&f, "alpha"));
        fixture_done(&f);
}

TEST(a_state_that_cannot_be_stored_refuses_the_call_and_raises_an_alert) {
        char state[96], aside[112];
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        RUN_UNTIL(&f.bus, !f.manager->state_dirty);
        snprintf(state, sizeof(state), "%s/state.json", f.bus.folder);
        snprintf(aside, sizeof(aside), "%s/aside", f.bus.folder);
        ASSERT_OK(rename(state, aside));
        ASSERT_OK(mkdir(state, 0700)); /* what root cannot replace by a file either */

        ASSERT_TRUE(
                        strstr(asked(&f, "Scale", "sut", "alpha", 4U, (uint64_t) 0)->error,
                               "nothing was changed"));
        ASSERT_EQ(service_desired(manager_find_service(f.manager, "alpha")), 2);
        ASSERT_TRUE(
                        strstr(asked(&f, "SetLimits", "ssst", "alpha", "500m", "", (uint64_t) 0)->error,
                               "nothing was changed"));
        ASSERT_EQ(manager_find_service(f.manager, "alpha")->state->cpu_millis, 0);
        ASSERT_TRUE(strstr(asked(&f, "Stop", "st", "", (uint64_t) 0)->error, "nothing was changed"));
        test_bus_settle(&f.bus, f.own, f.systemd.bus);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(3)), 0);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 0);
        RUN_UNTIL(&f.bus, alerted(&f, "|StateNotWritable|critical|||"));
        ASSERT_TRUE(plan_has(&f, "mam-manager.service|not stored|stored|"));

        ASSERT_OK(rmdir(state));
        CALL(&f, "Scale", "sut", "alpha", 3U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 3) && replica_is_ready(alpha(&f, 3)));
        RUN_UNTIL(&f.bus, !alerted(&f, "StateNotWritable"));
        ASSERT_TRUE(!plan_has(&f, "not stored"));
        fixture_done(&f);
}

TEST(a_quarantine_is_an_event_an_alert_a_plan_and_an_explanation) {
        static char signals[TEXT_MAX];
        Fixture f;

        fixture_setup(&f);
        signals[0] = '\0';
        ASSERT_OK(sd_bus_match_signal(
                        f.client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Alert",
                        on_signal,
                        signals));
        start_alpha(&f, 2);
        ASSERT_TRUE(!plan_has(&f, "alpha"));
        fake_unit_change(&f.systemd, ALPHA(2), "activating", "auto-restart");
        fake_unit_restarted(&f.systemd, ALPHA(2), 6);
        RUN_UNTIL(&f.bus, told(&f, "warning|alpha|alpha:2|quarantined|crash loop: 5 deaths within 10s"));
        RUN_UNTIL(&f.bus, strstr(signals, "|ReplicaCrashLooping|warning|alpha|alpha:2|"));
        RUN_UNTIL(&f.bus, plan_has(&f, ALPHA(2) "|inactive, held back|active|start in "));
        ASSERT_TRUE(
                        strstr(asked(&f, "Explain", "st", "alpha", (uint64_t) 0)->text,
                               "replica 2|quarantined|crash loop: 5 deaths within 10s"));
        ASSERT_TRUE(alerted(&f, "|ReplicaCrashLooping|warning|alpha|alpha:2|alpha:2: crash loop"));
        ASSERT_TRUE(!alerted(&f, "alpha:1"));

        CALL(&f, "Start", "st", "alpha", (uint64_t) 0); /* a fresh try */
        RUN_UNTIL(&f.bus, replica_is_ready(alpha(&f, 2)));
        RUN_UNTIL(&f.bus, !alerted(&f, "ReplicaCrashLooping"));
        RUN_UNTIL(&f.bus, !plan_has(&f, "alpha"));
        fixture_done(&f);
}

TEST(a_plan_is_what_the_next_pass_does) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        f.systemd.hold = "StartUnit " ALPHA(3);
        CALL(&f, "Scale", "sut", "alpha", 3U, (uint64_t) 0);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(3)) == 1);
        ASSERT_TRUE(plan_has(&f, ALPHA(3) "|inactive|active|wait: systemd is at it|"));
        ASSERT_TRUE(!plan_has(&f, ALPHA(1)));
        fake_unit_change(&f.systemd, ALPHA(3), "active", "running");
        fake_job_ends(&f.systemd, ALPHA(3), "done");
        RUN_UNTIL(&f.bus, !plan_has(&f, "alpha"));
        ASSERT_TRUE(strstr(asked(&f, "Plan", "st", "nobody", (uint64_t) 0)->error, "no service"));
        ASSERT_TRUE(strstr(asked(&f, "Plan", "st", "", (uint64_t) 1)->error, "Unknown flags"));
        fixture_done(&f);
}

TEST(an_explanation_has_every_topic) {
        static const char *const topics[] = { "state|running|all 2 wanted replicas are ready|",
                                              "\nreplicas|",
                                              "\ncpu|",
                                              "\nmemory|",
                                              "\nrevision|as configured|",
                                              "\nhealth|2 of 2 healthy|each is asked by tcp every ",
                                              "\nendpoints|2 ready|" };
        const Asked *a;
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        a = asked(&f, "Explain", "st", "alpha", (uint64_t) 0);
        for (size_t i = 0; i < MAM_ELEMENTSOF(topics); i++) {
                if (!strstr(a->text, topics[i]))
                        mam_test_fail_string(__FILE__, __LINE__, topics[i], a->text);
        }
        ASSERT_TRUE(!strstr(a->text, "\nreplica "));
        ASSERT_TRUE(strstr(asked(&f, "Explain", "st", "", (uint64_t) 0)->error, "no service"));
        fixture_done(&f);
}

TEST(a_reload_of_systemd_lists_everything_again_and_changes_nothing) {
        unsigned listed;
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        listed = fake_told(&f.systemd, "List");
        fake_reload(&f.systemd);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "List") == listed + 1);
        test_bus_settle(&f.bus, f.own, f.systemd.bus);
        ASSERT_TRUE(!plan_has(&f, "alpha"));
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "StopUnit " ALPHA(1)), 0);
        ASSERT_TRUE(replica_is_ready(alpha(&f, 1)) && replica_is_ready(alpha(&f, 2)));
        fixture_done(&f);
}

TEST(a_service_that_lacks_replicas_says_which_and_why) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.refuse = "StartUnit " ALPHA(2);
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 1) && replica_is_ready(alpha(&f, 1)));
        RUN_UNTIL(&f.bus, alpha(&f, 2) && alpha(&f, 2)->failure);
        RUN_UNTIL(&f.bus,
                  strstr(asked(&f, "Explain", "st", "alpha", (uint64_t) 0)->text,
                         "1 of 2 replicas are ready; alpha:2: cannot be started"));
        fixture_done(&f);
}

TEST(at_most_64_calls_are_under_way_at_once) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.park_starts = true;
        for (unsigned i = 0; i < 200; i++)
                ASSERT_OK(systemd_start_unit(f.manager->systemd, ALPHA(1), "replace", NULL, NULL));
        RUN_UNTIL(&f.bus, f.systemd.n_held >= 64);
        test_bus_settle(&f.bus, f.own, f.systemd.bus);
        ASSERT_EQ(f.systemd.n_held, 64);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 64);
        fake_answer_starts(&f.systemd);
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "StartUnit " ALPHA(1)) == 200);
        fixture_done(&f);
}

static bool alpha_is_settled(Fixture *f) {
        const Service *s = manager_find_service(f->manager, "alpha");
        char unit[64];

        if (!numbers_is_empty(&s->state->starting) || !numbers_is_empty(&s->state->stopping) ||
            s->counts.ready != s->counts.desired || s->counts.existing != s->counts.desired)
                return false;
        for (uint32_t n = 1; n <= 4; n++) {
                bool active;

                snprintf(unit, sizeof(unit), "mam@alpha:%u.service", n);
                active = strcmp(fake_unit(&f->systemd, unit)->active_state, "active") == 0;
                if (active != numbers_has(&s->state->numbers, n))
                        return false;
        }
        return true;
}

/* Steps of the event loop, in which systemd and the bus answer as well: so every instant between two writes,
 * and between a write and what follows from it, is met. */
TEST(killed_at_any_instant_it_is_followed_by_one_that_ends_where_it_should) {
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 1);
        for (unsigned k = 0; k < 70; k++) {
                uint32_t before = service_desired(manager_find_service(f.manager, "alpha"));
                uint32_t target = before == 4 ? 1 : 4, after;

                f.job[0] = '\0';
                f.n_ended = f.systemd.n_log = 0;
                ASK(&f, "Scale", "sut", "alpha", target, (uint64_t) 0);
                for (unsigned i = 0; i < k; i++)
                        ASSERT_OK(sd_event_run(f.bus.event, 2 * MAM_USEC_PER_MSEC));

                f.own = test_bus_disconnect(f.own);
                f.manager = manager_free(f.manager);
                fixture_manager_up(&f);
                RUN_UNTIL(&f.bus, alpha_is_settled(&f));
                after = service_desired(manager_find_service(f.manager, "alpha"));
                ASSERT_TRUE(after == before || after == target);
                if (f.job[0]) /* somebody was told that it would be so */
                        ASSERT_EQ(after, target);
                f.answers.n_errors = 0;
        }
        fixture_done(&f);
}

static int on_gateway_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        (*(unsigned *) userdata)++;
        return 0;
}

static void add_definition(Fixture *f, const char *text) {
        char path[96];

        (void) snprintf(path, sizeof(path), "%s/services.d", f->bus.folder);
        (void) mkdir(path, 0755);
        (void) snprintf(path, sizeof(path), "%s/services.d/beta.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        ASSERT_OK(manager_load_config(f->manager));
}

TEST(gateways_are_told_what_is_valid_and_only_when_it_changed) {
        static const char good[] =
                        "{\"beta\":{\"exec\":[\"/bin/true\"],\"replicas\":2,\"routes\":[\"/beta\"],"
                        "\"protocol\":\"h2c\"}}",
                          bad[] = "{\"beta\":{\"exec\":[\"/bin/true\"],\"routes\":[\"beta\"]}}";
        unsigned changes = 0;
        const Asked *a;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(sd_bus_match_signal(
                        f.client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "GatewayChanged",
                        on_gateway_changed,
                        &changes));
        a = asked(&f, "GetGateway", NULL);
        ASSERT_TRUE(strstr(a->text, "\"services\":{}") && strstr(a->text, "\"environment\":\"production\""));
        ASSERT_TRUE(f.manager->gateway_generation > 0);

        add_definition(&f, good);
        RUN_UNTIL(&f.bus, changes == 1);
        a = asked(&f, "GetGateway", NULL);
        ASSERT_TRUE(strstr(a->text, "\"beta\":{\"routes\":[\"/beta\"],\"protocol\":\"h2c\","));

        ASSERT_OK(manager_load_config(f.manager)); /* nothing is new */
        add_definition(&f, bad);                   /* and this is not valid */
        RUN_UNTIL(&f.bus, changes == 2);
        ASSERT_TRUE(!strstr(asked(&f, "GetGateway", NULL)->text, "beta"));
        fixture_done(&f);
}
