/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chaos: who is hit and what is next, the file, and a whole manager with a systemd of the test's own
 */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "manager/chaos.h"
#include "manager/fake-systemd.h"
#include "manager/job.h"
#include "manager/manager.h"

#define SEC      MAM_USEC_PER_SEC
#define UNIT(n)  "mam@alpha:" #n ".service"
#define REPLICAS 3U

static Numbers first(uint32_t count) {
        Numbers set = NUMBERS_INIT;

        for (uint32_t n = 1; n <= count; n++)
                numbers_add(&set, n);
        return set;
}

/* ---- pure ---- */

TEST(at_least_one_is_hit_and_never_all_but_for_a_hundred_percent) {
        for (uint32_t count = 2; count <= MAM_CONFIG_REPLICAS_MAX; count++) {
                Numbers all = first(count);

                for (uint32_t percent = 1; percent <= 100; percent++) {
                        Numbers hit = chaos_choose(&all, percent, count * 1000 + percent);
                        uint32_t n = numbers_count(&hit);

                        ASSERT_TRUE(n >= 1);
                        ASSERT_TRUE(percent == 100 ? n == count : n < count);
                        ASSERT_TRUE(n == 1 || n * 100 <= count * percent);
                        NUMBERS_FOREACH(i, &hit) {
                                ASSERT_TRUE(numbers_has(&all, i));
                        }
                }
        }
}

TEST(an_only_replica_is_hit_by_a_hundred_percent_only) {
        Numbers one = first(1), none = NUMBERS_INIT, hit;

        hit = chaos_choose(&one, 99, 7);
        ASSERT_TRUE(numbers_is_empty(&hit));
        hit = chaos_choose(&one, 100, 7);
        ASSERT_EQ(numbers_count(&hit), 1);
        hit = chaos_choose(&none, 100, 7);
        ASSERT_TRUE(numbers_is_empty(&hit));
}

TEST(a_seed_decides_and_every_replica_has_its_turn) {
        Numbers all = first(5), seen = NUMBERS_INIT;
        unsigned hits[6] = { 0 };

        for (uint64_t seed = 0; seed < 1000; seed++) {
                Numbers a = chaos_choose(&all, 40, seed), b = chaos_choose(&all, 40, seed);

                ASSERT_EQ(memcmp(&a, &b, sizeof(a)), 0);
                ASSERT_EQ(numbers_count(&a), 2);
                NUMBERS_FOREACH(n, &a) {
                        numbers_add(&seen, n);
                        hits[n]++;
                }
        }
        ASSERT_EQ(numbers_count(&seen), 5);
        for (uint32_t n = 1; n <= 5; n++)
                ASSERT_TRUE(hits[n] > 340 && hits[n] < 460); /* 400 expected; four sigma are 62 */
}

TEST(turns_grow_with_the_victims_so_that_calls_do_not) {
        ASSERT_EQ(chaos_turn_usec(1), CHAOS_TURN_USEC);
        ASSERT_EQ(chaos_turn_usec(4), CHAOS_TURN_USEC);
        for (uint32_t n = 1; n <= 100; n++)
                ASSERT_TRUE(n * SEC / chaos_turn_usec(n) <= CHAOS_SIGNALS_PER_SEC);
}

TEST(a_twentieth_of_the_cpu_is_something_that_the_kernel_can_count) {
        ASSERT_EQ(chaos_cpu_millis(1000), 50);
        ASSERT_EQ(chaos_cpu_millis(100), CHAOS_CPU_MIN_MILLIS);
}

TEST(a_replica_is_never_killed_often_enough_to_be_held_back) {
        uint64_t state = 1, now = 1000 * SEC;
        Backoff b = { 0 };

        for (unsigned i = 0; i < 1000; i++) {
                ASSERT_TRUE(!backoff_note_deaths(&b, 1, now));
                now += CHAOS_KILL_USEC + chaos_random(&state) % CHAOS_KILL_JITTER_USEC;
        }
}

TEST(what_came_back_is_stopped_again_and_what_is_down_is_left_alone) {
        ChaosVictim v = { .number = 1 };
        uint64_t again = UINT64_MAX;

        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 10, false, 5, &again), CHAOS_ACT_HALT);
        v = (ChaosVictim){ .number = 1, .halted = true, .pid = 10, .next_usec = 50 };
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 10, false, 60, &again), CHAOS_NOTHING);
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 0, false, 60, &again), CHAOS_NOTHING);
        ASSERT_EQ(again, UINT64_MAX);
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 11, false, 40, &again), CHAOS_NOTHING);
        ASSERT_EQ(again, 50);
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 11, false, 60, &again), CHAOS_ACT_HALT);
}

TEST(latency_takes_turns) {
        ChaosVictim v = { .halted = true, .pid = 10, .next_usec = 50 };
        uint64_t again = UINT64_MAX;

        ASSERT_EQ(chaos_decide(CHAOS_LATENCY, &v, 10, false, 49, &again), CHAOS_NOTHING);
        ASSERT_EQ(again, 50);
        ASSERT_EQ(chaos_decide(CHAOS_LATENCY, &v, 10, false, 50, &again), CHAOS_ACT_CONTINUE);
        v.act = CHAOS_ACT_CONTINUE; /* not answered yet */
        ASSERT_EQ(chaos_decide(CHAOS_LATENCY, &v, 10, false, 500, &again), CHAOS_NOTHING);
        v.act = CHAOS_NOTHING;
        v.halted = false;
        ASSERT_EQ(chaos_decide(CHAOS_LATENCY, &v, 10, false, 500, &again), CHAOS_ACT_HALT);
}

TEST(the_end_waits_for_nothing_but_the_call_under_way) {
        ChaosVictim v = { .halted = true, .pid = 10, .next_usec = 500 };
        uint64_t again = UINT64_MAX;

        v.act = CHAOS_ACT_HALT;
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 10, true, 1, &again), CHAOS_NOTHING);
        v.act = CHAOS_NOTHING;
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 10, true, 1, &again), CHAOS_ACT_CONTINUE);
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 0, true, 1, &again), CHAOS_ACT_CONTINUE);
        v.failed = 1;
        ASSERT_EQ(chaos_decide(CHAOS_STOP, &v, 10, true, 1, &again), CHAOS_NOTHING);
        ASSERT_EQ(again, 500);

        v = (ChaosVictim){ .squeezed = true };
        ASSERT_EQ(chaos_decide(CHAOS_CPU, &v, 0, true, 1, &again), CHAOS_ACT_RELEASE);
        v.squeezed = false;
        ASSERT_EQ(chaos_decide(CHAOS_CPU, &v, 10, true, 1, &again), CHAOS_NOTHING);
        ASSERT_EQ(chaos_decide(CHAOS_KILL, &v, 10, true, 1, &again), CHAOS_NOTHING);
}

/* ---- the file ---- */

TEST(the_file_says_again_what_was_stored) {
        char folder[] = "/tmp/mam-test-chaos-XXXXXX", path[64];
        ChaosRecord in[2] = { { .service = "alpha", .kind = CHAOS_IO },
                              { .service = "b-1", .kind = CHAOS_STOP } };
        ChaosRecord out[CHAOS_RUNS_MAX];

        ASSERT_TRUE(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/chaos.json", folder);
        numbers_add(&in[0].victims, 1);
        numbers_add(&in[0].victims, 100);
        numbers_add(&in[1].victims, 7);
        ASSERT_EQ(chaos_store_load(out, path), -ENOENT);
        ASSERT_OK(chaos_store_save(path, in, 2));
        ASSERT_EQ(chaos_store_load(out, path), 2);
        ASSERT_EQ(memcmp(in, out, sizeof(in)), 0);
        ASSERT_OK(chaos_store_save(path, NULL, 0));
        ASSERT_EQ(access(path, F_OK), -1);
        ASSERT_OK(chaos_store_save(path, NULL, 0)); /* again */
        ASSERT_OK(rmdir(folder));
}

TEST(a_file_that_makes_no_sense_is_refused) {
        static const char *const texts[] = {
                "",
                "[]",
                "{}",
                "{\"runs\":{}}",
                "{\"runs\":[1]}",
                "{\"runs\":[{\"service\":\"a\",\"kind\":\"stop\"}]}",
                "{\"runs\":[{\"service\":\"../a\",\"kind\":\"stop\",\"victims\":[1]}]}",
                "{\"runs\":[{\"service\":\"a\",\"kind\":\"flood\",\"victims\":[1]}]}",
                "{\"runs\":[{\"service\":\"a\",\"kind\":\"stop\",\"victims\":[0]}]}",
                "{\"runs\":[{\"service\":\"a\",\"kind\":\"stop\",\"victims\":[101]}]}",
                "{\"runs\":[{\"service\":\"a\",\"kind\":\"stop\",\"victims\":[\"1\"]}]}",
                "{\"runs\":[{\"service\":\"a\",\"kind\":\"stop\",\"victims\":[1]},1]}",
        };
        char folder[] = "/tmp/mam-test-chaos-XXXXXX", path[64];
        ChaosRecord out[CHAOS_RUNS_MAX];

        ASSERT_TRUE(mkdtemp(folder));
        snprintf(path, sizeof(path), "%s/chaos.json", folder);
        for (size_t i = 0; i < MAM_ELEMENTSOF(texts); i++) {
                ASSERT_OK(mam_file_write_atomic(path, texts[i], strlen(texts[i]), 0600));
                ASSERT_EQ(chaos_store_load(out, path), -EBADMSG);
        }
        ASSERT_OK(unlink(path));
        ASSERT_OK(rmdir(folder));
}

/* ---- the whole ---- */

typedef struct Fixture {
        TestBus bus;
        FakeSystemd systemd;
        sd_bus *polkitd, *own, *client;
        Manager *manager;
        TestAnswers answers;
        char asked_action[64]; /* by the manager of polkit, last */
        char job[64], result[32], message[256];
        unsigned n_ended, n_reports;
} Fixture;

static int on_polkitd_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *action;
        Fixture *f = userdata;

        if (!sd_bus_message_is_method_call(m, "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization"))
                return 0;
        ASSERT_OK(sd_bus_message_skip(m, "(sa{sv})"));
        ASSERT_OK(sd_bus_message_read(m, "s", &action));
        snprintf(f->asked_action, sizeof(f->asked_action), "%s", action);
        return sd_bus_reply_method_return(m, "(bba{ss})", 1, 0, 0);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        Fixture *f = userdata;

        ASSERT_OK(sd_bus_message_read(m, "osss", &path, &service, &result, &message));
        if (f->job[0] && strcmp(path, f->job) != 0)
                return 0;
        f->n_ended++;
        snprintf(f->result, sizeof(f->result), "%s", result);
        snprintf(f->message, sizeof(f->message), "%s", message);
        return 0;
}

static int on_chaos_ended(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        ASSERT_EQ(f->n_ended, 0); /* a client that waits for the job has the report by then */
        ASSERT_TRUE(sd_bus_message_has_signature(m, "osa{sd}a{sd}"));
        f->n_reports++;
        return 0;
}

static void write_config(Fixture *f) {
        static const char text[] =
                        "{ \"alpha\": { \"type\": \"service\", \"port\": 1, \"replicas\": 3, \"minReplicas\": 1,\n"
                        "    \"maxReplicas\": 4, \"exec\": [\"/bin/true\"],\n"
                        "    \"resources\": { \"cpu\": \"400m\", \"memory\": \"64Mi\" },\n"
                        "    \"healthCheck\": { \"type\": \"tcp\", \"interval\": \"1h\", \"timeout\": \"1s\" } } }\n";
        char path[96];

        snprintf(path, sizeof(path), "%s/services.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        snprintf(path, sizeof(path), "%s/microservices.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, "{}", 2, 0644));
}

static void manager_up(Fixture *f) {
        const ManagerOptions options = { .config_dir = f->bus.folder, .runtime_dir = f->bus.folder };
        char state[96];
        ManagerOptions o = options;

        snprintf(state, sizeof(state), "%s/state.json", f->bus.folder);
        o.state_path = state;
        f->own = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(manager_new(&f->manager, f->bus.event, f->own, &o));
        ASSERT_OK(manager_export(f->manager));
        ASSERT_OK(manager_start(f->manager));
        RUN_UNTIL(&f->bus, f->manager->ready);
}

static void manager_down(Fixture *f) {
        f->own = test_bus_disconnect(f->own);
        f->manager = manager_free(f->manager);
}

/* Three replicas run, as systemd says; that nothing answers their probes is of no account. */
static void fixture_setup(Fixture *f) {
        sigset_t mask;

        *f = (Fixture){ .n_ended = 0 };
        ASSERT_OK(mam_log_set_level("error"));
        ASSERT_OK(sigemptyset(&mask));
        ASSERT_OK(sigaddset(&mask, SIGHUP));
        ASSERT_OK(sigprocmask(SIG_BLOCK, &mask, NULL));
        test_bus_start(&f->bus);
        write_config(f);
        fake_systemd_start(&f->systemd, &f->bus);
        f->polkitd = test_bus_connect(&f->bus, "org.freedesktop.PolicyKit1");
        ASSERT_OK(sd_bus_add_object(
                        f->polkitd,
                        NULL,
                        "/org/freedesktop/PolicyKit1/Authority",
                        on_polkitd_call,
                        f));
        for (uint32_t n = 1; n <= REPLICAS; n++) {
                char unit[MAM_UNIT_NAME_MAX];

                mam_unit_replica_service(unit, "alpha", n);
                fake_unit(&f->systemd, unit)->main_pid = 100 + n;
                fake_unit_change(&f->systemd, unit, "active", "running");
        }
        f->client = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(sd_bus_match_signal(
                        f->client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobRemoved",
                        on_job_removed,
                        f));
        ASSERT_OK(sd_bus_match_signal(
                        f->client,
                        NULL,
                        NULL,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ChaosEnded",
                        on_chaos_ended,
                        f));
        test_answers_count(&f->answers, f->client);
        manager_up(f);
        RUN_UNTIL(&f->bus, manager_find_service(f->manager, "alpha")->counts.existing == REPLICAS);
}

static void fixture_done(Fixture *f) {
        manager_free(f->manager);
        test_bus_disconnect(f->client);
        test_bus_disconnect(f->own);
        test_bus_disconnect(f->polkitd);
        fake_systemd_stop(&f->systemd);
        test_bus_stop(&f->bus);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *path;

        if (sd_bus_message_has_signature(m, "o")) {
                ASSERT_OK(sd_bus_message_read(m, "o", &path));
                snprintf(f->job, sizeof(f->job), "%s", path);
        }
        return 0;
}

/* The name of the error that it is answered with, or "". */
static const char *ask(
                Fixture *f,
                const char *path,
                const char *interface,
                const char *member,
                const char *types,
                ...) {
        unsigned n = f->answers.n, n_errors = f->answers.n_errors;
        va_list ap;

        va_start(ap, types);
        ASSERT_OK(sd_bus_call_method_asyncv(
                        f->client,
                        NULL,
                        MAM_BUS_NAME,
                        path,
                        interface,
                        member,
                        on_answer,
                        f,
                        types,
                        ap));
        va_end(ap);
        RUN_UNTIL(&f->bus, f->answers.n == n + 1);
        return f->answers.n_errors > n_errors ? f->answers.error : "";
}

static const char *chaos(Fixture *f, const char *kind, uint32_t percent, uint64_t duration_usec) {
        f->n_ended = 0;
        return ask(f,
                   MAM_BUS_PATH,
                   MAM_IFACE_MANAGER,
                   "Chaos",
                   "ssutt",
                   kind,
                   "alpha",
                   percent,
                   duration_usec,
                   (uint64_t) 0);
}

static void wait_for_end(Fixture *f, const char *result) {
        RUN_UNTIL(&f->bus, f->n_ended == 1);
        ASSERT_STREQ(f->result, result);
        ASSERT_EQ(f->n_reports, 1);
        ASSERT_TRUE(!chaos_of(f->manager->chaos, "alpha"));
}

static unsigned told_of_all(const Fixture *f, const char *what) {
        unsigned n = 0;

        for (size_t i = 0; i < f->systemd.n_log; i++)
                n += strncmp(f->systemd.log[i], what, strlen(what)) == 0;
        return n;
}

static bool is_stored(const Fixture *f) {
        char path[96];

        snprintf(path, sizeof(path), "%s/chaos.json", f->bus.folder);
        return access(path, F_OK) == 0;
}

TEST(what_is_stopped_goes_on_when_the_time_is_over) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "stop", 60, SEC), "");
        ASSERT_STREQ(f.asked_action, "org.manageragent.manager1.chaos");
        ASSERT_TRUE(is_stored(&f)); /* before anything is done */
        ASSERT_STREQ(chaos_of(f.manager->chaos, "alpha"), "stop");
        RUN_UNTIL(&f.bus, told_of_all(&f, "KillUnit all 19 ") == 1);
        ASSERT_EQ(told_of_all(&f, "KillUnit all 18 "), 0);
        wait_for_end(&f, "done");
        ASSERT_EQ(told_of_all(&f, "KillUnit all 19 "), 1);
        ASSERT_EQ(told_of_all(&f, "KillUnit all 18 "), 1);
        ASSERT_TRUE(!is_stored(&f));
        fixture_done(&f);
}

TEST(a_victim_that_systemd_replaced_is_stopped_again) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "stop", 100, 2 * SEC), "");
        RUN_UNTIL(&f.bus, told_of_all(&f, "KillUnit all 19 ") == REPLICAS);
        fake_unit(&f.systemd, UNIT(2))->main_pid = 900;
        fake_unit_change(&f.systemd, UNIT(2), "active", "running");
        RUN_UNTIL(&f.bus, fake_told(&f.systemd, "KillUnit all 19 " UNIT(2)) == 2);
        wait_for_end(&f, "done");
        ASSERT_EQ(told_of_all(&f, "KillUnit all 19 "), REPLICAS + 1);
        ASSERT_EQ(told_of_all(&f, "KillUnit all 18 "), REPLICAS);
        fixture_done(&f);
}

TEST(latency_ends_with_everything_running) {
        char last[REPLICAS + 1][24] = { "" };
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "latency", 100, SEC), "");
        wait_for_end(&f, "done");
        ASSERT_TRUE(told_of_all(&f, "KillUnit all 19 ") >= 2 * REPLICAS);
        for (size_t i = 0; i < f.systemd.n_log; i++) {
                unsigned n;
                int sig;

                if (sscanf(f.systemd.log[i], "KillUnit all %d mam@alpha:%u.service", &sig, &n) == 2)
                        snprintf(last[n], sizeof(last[n]), "%d", sig);
        }
        for (unsigned n = 1; n <= REPLICAS; n++)
                ASSERT_STREQ(last[n], "18");
        fixture_done(&f);
}

TEST(kill_goes_on_at_its_pace_and_takes_nothing_back) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "kill", 34, 2 * SEC), "");
        wait_for_end(&f, "done");
        ASSERT_EQ(told_of_all(&f, "KillUnit main 9 "), 1); /* the next one would come after four seconds */
        ASSERT_EQ(told_of_all(&f, "KillUnit "), 1);
        fixture_done(&f);
}

TEST(cpu_comes_back_as_it_is_wanted_by_then) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "cpu", 100, 2 * SEC), "");
        RUN_UNTIL(&f.bus, told_of_all(&f, "SetUnitProperties ") == REPLICAS);
        ASSERT_STREQ(fake_unit(&f.systemd, UNIT(1))->properties, "CPUQuotaPerSecUSec=20000 ");
        /* What a person sets meanwhile is for the time after it. */
        ASSERT_STREQ(ask(&f,
                         MAM_BUS_PATH,
                         MAM_IFACE_MANAGER,
                         "SetLimits",
                         "ssst",
                         "alpha",
                         "800m",
                         "",
                         (uint64_t) 0),
                     "");
        ASSERT_EQ(told_of_all(&f, "SetUnitProperties "), REPLICAS);
        wait_for_end(&f, "done");
        ASSERT_STREQ(fake_unit(&f.systemd, UNIT(3))->properties,
                     "CPUQuotaPerSecUSec=800000 MemoryHigh=60397974 MemoryMax=67108864 ");
        ASSERT_TRUE(manager_find_service(f.manager, "alpha")->state->runtime_limits);
        fixture_done(&f);
}

TEST(cancelling_takes_it_back_and_then_ends_the_job) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "stop", 100, 3600 * SEC), "");
        RUN_UNTIL(&f.bus, told_of_all(&f, "KillUnit all 19 ") == REPLICAS);
        ASSERT_STREQ(ask(&f, f.job, MAM_IFACE_JOB, "Cancel", ""), "");
        wait_for_end(&f, "cancelled");
        ASSERT_EQ(told_of_all(&f, "KillUnit all 18 "), REPLICAS);
        fixture_done(&f);
}

TEST(stopping_the_service_ends_it_and_scaling_does_not) {
        char job[64];
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "stop", 100, 3600 * SEC), "");
        memcpy(job, f.job, sizeof(job));
        RUN_UNTIL(&f.bus, told_of_all(&f, "KillUnit all 19 ") == REPLICAS);
        ASSERT_STREQ(ask(&f, MAM_BUS_PATH, MAM_IFACE_MANAGER, "Scale", "sut", "alpha", 4U, (uint64_t) 0),
                     "");
        ASSERT_STREQ(chaos_of(f.manager->chaos, "alpha"), "stop");
        ASSERT_STREQ(ask(&f, MAM_BUS_PATH, MAM_IFACE_MANAGER, "Stop", "st", "alpha", (uint64_t) 0), "");
        memcpy(f.job, job, sizeof(job));
        f.n_ended = 0;
        wait_for_end(&f, "superseded");
        ASSERT_EQ(told_of_all(&f, "KillUnit all 18 "), REPLICAS);
        fixture_done(&f);
}

TEST(a_new_manager_takes_back_what_a_killed_one_left) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "stop", 100, 3600 * SEC), "");
        RUN_UNTIL(&f.bus, told_of_all(&f, "KillUnit all 19 ") == REPLICAS);
        manager_down(&f);
        ASSERT_EQ(told_of_all(&f, "KillUnit all 18 "), 0);
        ASSERT_TRUE(is_stored(&f));
        manager_up(&f);
        RUN_UNTIL(&f.bus, told_of_all(&f, "KillUnit all 18 ") == REPLICAS && !is_stored(&f));

        ASSERT_STREQ(chaos(&f, "cpu", 100, 3600 * SEC), "");
        RUN_UNTIL(&f.bus, told_of_all(&f, "SetUnitProperties ") == REPLICAS);
        manager_down(&f);
        manager_up(&f);
        RUN_UNTIL(&f.bus, !is_stored(&f));
        for (uint32_t n = 1; n <= REPLICAS; n++) {
                char unit[MAM_UNIT_NAME_MAX];

                mam_unit_replica_service(unit, "alpha", n);
                ASSERT_STREQ(fake_unit(&f.systemd, unit)->properties,
                             "CPUQuotaPerSecUSec=400000 MemoryHigh=60397974 MemoryMax=67108864 ");
        }
        fixture_done(&f);
}

TEST(what_systemd_refuses_fails_and_says_why) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.refuse = "KillUnit";
        ASSERT_STREQ(chaos(&f, "kill", 34, 3600 * SEC), "");
        wait_for_end(&f, "failed");
        ASSERT_TRUE(strstr(f.message, "Not allowed to kill"));
        ASSERT_EQ(told_of_all(&f, "KillUnit "), CHAOS_TRIES);
        ASSERT_TRUE(!is_stored(&f));
        fixture_done(&f);
}

TEST(what_makes_no_sense_is_refused_before_polkit_is_asked) {
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(chaos(&f, "flood", 50, SEC), SD_BUS_ERROR_INVALID_ARGS);
        ASSERT_STREQ(chaos(&f, "stop", 0, SEC), MAM_BUS_ERROR_OUT_OF_RANGE);
        ASSERT_STREQ(chaos(&f, "stop", 101, SEC), MAM_BUS_ERROR_OUT_OF_RANGE);
        ASSERT_STREQ(chaos(&f, "stop", 50, SEC - 1), MAM_BUS_ERROR_OUT_OF_RANGE);
        ASSERT_STREQ(chaos(&f, "stop", 50, 3600 * SEC + 1), MAM_BUS_ERROR_OUT_OF_RANGE);
        ASSERT_STREQ(f.asked_action, "");
        ASSERT_EQ(f.manager->n_jobs, 0);
        ASSERT_STREQ(chaos(&f, "stop", 50, 3600 * SEC), "");
        ASSERT_STREQ(chaos(&f, "cpu", 50, SEC), MAM_BUS_ERROR_BUSY);
        fixture_done(&f);
}
