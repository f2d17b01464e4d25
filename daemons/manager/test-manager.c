/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The whole manager on a bus of the test's own; the test is systemd, polkitd and the clients
 *
 * The service "alpha" (1 to 4 replicas, 2 at the start) and the gateway "gate" are probed by TCP: the test
 * listens on their ports.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "manager/fake-systemd.h"
#include "manager/manager.h"

#define ALPHA(n) "mam@alpha:" #n ".service"
#define GATE     "mam@gate:1.service"
#define PORTS    5 /* alpha:1 to alpha:4, gate:1 */
#define JOBS_MAX 8

typedef struct EndedJob {
        char path[64], result[32], message[256];
} EndedJob;

typedef struct Fixture {
        TestBus bus;
        FakeSystemd systemd;
        sd_bus *polkitd, *own, *client;
        Manager *manager;
        int ports[PORTS]; /* owned */
        unsigned port;

        TestAnswers answers;
        char job[64];     /* path that the latest call was answered with */
        char report[512]; /* of Init: levels */
        EndedJob ended[JOBS_MAX];
        size_t n_ended;
        char endpoints[256]; /* alpha's, as announced last: "1=ready 2=draining" */
        bool stop_was_told;  /* before alpha's draining was announced */
} Fixture;

static int on_polkitd_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        if (!sd_bus_message_is_method_call(m, "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization"))
                return 0;
        return sd_bus_reply_method_return(m, "(bba{ss})", 1, 0, 0);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service, *result, *message;
        Fixture *f = userdata;
        EndedJob *e;

        ASSERT_OK(sd_bus_message_read(m, "osss", &path, &service, &result, &message));
        ASSERT_TRUE(f->n_ended < JOBS_MAX);
        e = &f->ended[f->n_ended++];
        snprintf(e->path, sizeof(e->path), "%s", path);
        snprintf(e->result, sizeof(e->result), "%s", result);
        snprintf(e->message, sizeof(e->message), "%s", message);
        return 0;
}

static int on_endpoints(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *service, *id, *address, *state;
        Fixture *f = userdata;
        size_t length = 0;
        uint64_t revision;
        uint32_t weight;

        ASSERT_OK(sd_bus_message_read(m, "st", &service, &revision));
        if (strcmp(service, "alpha") != 0)
                return 0;
        f->endpoints[0] = '\0';
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(sssu)"));
        while (sd_bus_message_read(m, "(sssu)", &id, &address, &state, &weight) > 0) {
                length += (size_t) snprintf(
                                f->endpoints + length,
                                sizeof(f->endpoints) - length,
                                "%s%s=%s",
                                length > 0 ? " " : "",
                                strchr(id, ':') + 1,
                                state);
        }
        if (strstr(f->endpoints, "2=draining"))
                f->stop_was_told = fake_told(&f->systemd, "StopUnit " ALPHA(2)) > 0;
        return 0;
}

static int listen_on(Fixture *f, size_t i) {
        struct sockaddr_in a = { .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t) (f->port + i)),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        int on = 1;

        f->ports[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(f->ports[i]);
        ASSERT_OK(setsockopt(f->ports[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
        if (bind(f->ports[i], (struct sockaddr *) &a, sizeof(a)) < 0)
                return -1;
        return listen(f->ports[i], 64);
}

static void stop_listening(Fixture *f, size_t i) {
        mam_closep(&f->ports[i]);
        f->ports[i] = -EBADF;
}

/* Consecutive ports of loopback that accept: replica n of alpha binds port + n - 1. */
static void listen_on_ports(Fixture *f) {
        for (f->port = 21000 + (unsigned) getpid() % 5000; f->port < 32000; f->port += PORTS) {
                size_t n = 0;

                while (n < PORTS && listen_on(f, n) >= 0)
                        n++;
                if (n == PORTS)
                        return;
                for (size_t i = 0; i <= n; i++)
                        stop_listening(f, i);
        }
        ASSERT_TRUE(!"five free ports in a row");
}

static void write_config(Fixture *f) {
        static const char format[] =
                        "{ \"alpha\": { \"name\": \"Alpha\", \"type\": \"service\", \"port\": %u,\n"
                        "    \"replicas\": 2, \"minReplicas\": 1, \"maxReplicas\": 4, \"exec\": [\"/bin/true\"],\n"
                        "    \"healthCheck\": { \"type\": \"tcp\", \"interval\": \"1h\", \"timeout\": \"1s\" } },\n"
                        "  \"gate\": { \"name\": \"Gate\", \"type\": \"gateway\", \"port\": %u, \"replicas\": 1,\n"
                        "    \"minReplicas\": 1, \"maxReplicas\": 1, \"listen\": \"127.0.0.1\", \"exec\": [\"/bin/true\"],\n"
                        "    \"healthCheck\": { \"type\": \"tcp\" } } }\n";
        char path[96], text[1024];

        snprintf(text, sizeof(text), format, f->port, f->port + PORTS - 1);
        snprintf(path, sizeof(path), "%s/services.json", f->bus.folder);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
        snprintf(path, sizeof(path), "%s/microservices.json", f->bus.folder);
        strcpy(text, "{ \"namespace\": \"test\", \"monitoring\": { \"grafana\": true } }\n");
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
}

static void manager_up(Fixture *f) {
        char state[96], good[96];
        const ManagerOptions options = { .config_dir = f->bus.folder,
                                         .last_good_dir = good,
                                         .state_path = state,
                                         .runtime_dir = f->bus.folder };

        snprintf(state, sizeof(state), "%s/state.json", f->bus.folder);
        snprintf(good, sizeof(good), "%s/good", f->bus.folder);
        f->own = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(manager_new(&f->manager, f->bus.event, f->own, &options));
        ASSERT_OK(manager_export(f->manager));
        ASSERT_OK(manager_start(f->manager));
        RUN_UNTIL(&f->bus, f->manager->ready);
}

static void fixture_setup(Fixture *f) {
        sigset_t mask;

        *f = (Fixture){ .n_ended = 0 };
        ASSERT_OK(mam_log_set_level("error"));
        ASSERT_OK(sigemptyset(&mask));
        ASSERT_OK(sigaddset(&mask, SIGHUP));
        ASSERT_OK(sigprocmask(SIG_BLOCK, &mask, NULL));
        test_bus_start(&f->bus);
        listen_on_ports(f);
        write_config(f);

        fake_systemd_start(&f->systemd, &f->bus);
        f->polkitd = test_bus_connect(&f->bus, "org.freedesktop.PolicyKit1");
        ASSERT_OK(sd_bus_add_object(
                        f->polkitd,
                        NULL,
                        "/org/freedesktop/PolicyKit1/Authority",
                        on_polkitd_call,
                        f));
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
                        "EndpointsChanged",
                        on_endpoints,
                        f));
        test_answers_count(&f->answers, f->client);
        manager_up(f);
}

static void fixture_done(Fixture *f) {
        manager_free(f->manager);
        test_bus_disconnect(f->client);
        test_bus_disconnect(f->own);
        test_bus_disconnect(f->polkitd);
        fake_systemd_stop(&f->systemd);
        for (size_t i = 0; i < PORTS; i++)
                stop_listening(f, i);
        test_bus_stop(&f->bus);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *text, *level;

        if (sd_bus_message_has_signature(m, "o")) {
                ASSERT_OK(sd_bus_message_read(m, "o", &text));
                snprintf(f->job, sizeof(f->job), "%s", text);
        } else if (sd_bus_message_has_signature(m, "a(ss)")) {
                size_t length = 0;

                ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(ss)"));
                while (sd_bus_message_read(m, "(ss)", &level, &text) > 0) {
                        length += (size_t) snprintf(
                                        f->report + length,
                                        sizeof(f->report) - length,
                                        "%s ",
                                        level);
                }
        }
        return 0; /* on to the one that counts */
}

/* Asks without waiting. */
static void ask(Fixture *f,
                const char *path,
                const char *interface,
                const char *member,
                const char *types,
                ...) {
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
}

#define ASK(f, member, ...) ask(f, MAM_BUS_PATH, MAM_IFACE_MANAGER, member, __VA_ARGS__)

/* Asks, and waits for the answer. */
#define CALL(f, member, ...)                                         \
        do {                                                         \
                unsigned _before = (f)->answers.n;                   \
                ASK(f, member, __VA_ARGS__);                         \
                RUN_UNTIL(&(f)->bus, (f)->answers.n == _before + 1); \
                ASSERT_EQ((f)->answers.n_errors, 0);                 \
        } while (0)

/* How the job that was begun last has ended, or NULL. */
static const EndedJob *ended(const Fixture *f, const char *path) {
        for (size_t i = 0; i < f->n_ended; i++) {
                if (strcmp(f->ended[i].path, path) == 0)
                        return &f->ended[i];
        }
        return NULL;
}

static void start_alpha(Fixture *f, uint32_t replicas) {
        CALL(f, "Scale", "sut", "alpha", replicas, (uint64_t) 0);
        CALL(f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f->bus, ended(f, f->job));
        ASSERT_STREQ(ended(f, f->job)->result, "done");
}

static const Replica *alpha(const Fixture *f, uint32_t n) {
        return manager_find_service(f->manager, "alpha")->replicas[n];
}

static const char *state_of_alpha(const Fixture *f) {
        return manager_find_service(f->manager, "alpha")->state_text;
}

TEST(a_start_is_done_when_all_replicas_answer) {
        Fixture f;

        fixture_setup(&f);
        f.systemd.hold = ALPHA(2);
        stop_listening(&f, 0);
        CALL(&f, "Start", "st", "alpha", (uint64_t) 0);
        RUN_UNTIL(&f.bus, alpha(&f, 1) && alpha(&f, 1)->health.failures > 0); /* active, and refuses us */
        ASSERT_STREQ(f.endpoints, "1=unready 2=unready");
        ASSERT_OK(listen_on(&f, 0));
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
        manager_up(&f);
        RUN_UNTIL(&f.bus, alpha(&f, 4) && replica_is_ready(alpha(&f, 4)));
        RUN_UNTIL(&f.bus, strcmp(f.endpoints, "1=ready 2=ready 3=ready 4=ready") == 0);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(4)), 2);
        ASSERT_EQ(fake_told(&f.systemd, "StartUnit " ALPHA(1)), 1);
        ASSERT_EQ(fake_told(&f.systemd, "RestartUnit " ALPHA(1)), 0);
        fixture_done(&f);
}
