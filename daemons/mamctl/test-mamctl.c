/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands that control and look, as a user and a program see them
 */

#include "libmam/util/time.h"
#include "mamctl/test-harness.h"

#define JOB MAM_BUS_PATH "/job/1"

typedef enum JobPlay {
        JOB_ENDS_BEFORE_REPLY, /* the race that subscribing first is for */
        JOB_ENDS_AFTER_PROGRESS,
        JOB_NEVER_ENDS,
        JOB_MANAGER_VANISHES,
        JOB_INTERRUPTED, /* the user presses Ctrl-C at the first progress */
} JobPlay;

static void send_progress(Fixture *f, unsigned done) {
        ASSERT_OK(sd_bus_emit_signal(
                        f->manager,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobProgress",
                        "osuus",
                        JOB,
                        "redis",
                        done,
                        3U,
                        "waiting for redis:2\x1b[31m"));
}

static void send_removed(Fixture *f, const char *path, const char *result) {
        ASSERT_OK(sd_bus_emit_signal(
                        f->manager,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "JobRemoved",
                        "osss",
                        path,
                        "redis",
                        result,
                        strcmp(result, "done") == 0 ? "3 of 3 ready" : "redis:2 did not become ready"));
}

static int answer_with_error(Fixture *f, sd_bus_error *error) {
        return sd_bus_error_set(error, f->error_name, f->error_message);
}

static int play_job(Fixture *f, sd_bus_message *m) {
        ASSERT_OK(sd_bus_message_get_allow_interactive_authorization(m));
        f->interactive = sd_bus_message_get_allow_interactive_authorization(m) > 0;

        if (f->play == JOB_ENDS_BEFORE_REPLY)
                send_removed(f, JOB, f->result);
        ASSERT_OK(sd_bus_reply_method_return(m, "o", JOB));

        if (f->play == JOB_ENDS_AFTER_PROGRESS) {
                send_removed(f, MAM_BUS_PATH "/job/2", "failed"); /* somebody else's */
                send_progress(f, 1);
                send_progress(f, 2); /* at once: not worth a line in a log */
                send_progress(f, 3);
                send_removed(f, JOB, f->result);
        } else if (f->play == JOB_INTERRUPTED) {
                send_progress(f, 1);
        } else if (f->play == JOB_MANAGER_VANISHES) {
                ASSERT_OK(sd_bus_release_name(f->manager, MAM_BUS_NAME));
        }
        return 1;
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *service;

        if (f->error_name)
                return answer_with_error(f, error);
        ASSERT_OK(sd_bus_message_read(m, "st", &service, NULL));
        snprintf(f->asked_service, sizeof(f->asked_service), "%s", service);
        return play_job(f, m);
}

static int method_scale(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *service;

        if (f->error_name)
                return answer_with_error(f, error);
        ASSERT_OK(sd_bus_message_read(m, "sut", &service, &f->asked_replicas, NULL));
        return play_job(f, m);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(ssssuuuo)",
                        2,
                        "project-manager",
                        "Project \x1b[2JManager",
                        "service",
                        "running",
                        3U,
                        3U,
                        3U,
                        MAM_BUS_PATH "/service/project_2dmanager",
                        "redis",
                        "Redis",
                        "infrastructure",
                        "degraded",
                        2U,
                        2U,
                        1U,
                        MAM_BUS_PATH "/service/redis");
}

static int method_status(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Fixture *f = userdata;

        if (f->error_name)
                return answer_with_error(f, error);

        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sa{sv}a(sa{sv}))"));
        ASSERT_OK(sd_bus_message_open_container(reply, 'r', "sa{sv}a(sa{sv})"));
        ASSERT_OK(sd_bus_message_append(
                        reply,
                        "sa{sv}",
                        "redis",
                        9,
                        "Id",
                        "s",
                        "redis",
                        "State",
                        "s",
                        "degraded",
                        "StateReason",
                        "s",
                        "redis:2 is not ready",
                        "Port",
                        "q",
                        6379,
                        "DesiredReplicas",
                        "u",
                        2U,
                        "ReadyReplicas",
                        "u",
                        1U,
                        "CPULimitMillis",
                        "t",
                        UINT64_C(500),
                        "MemoryLimitBytes",
                        "t",
                        UINT64_C(1) << 30,
                        "Dependencies",
                        "as",
                        1,
                        "postgresql"));
        ASSERT_OK(sd_bus_message_append(
                        reply,
                        "a(sa{sv})",
                        1,
                        "redis:2",
                        9,
                        "Id",
                        "s",
                        "redis:2",
                        "Unit",
                        "s",
                        "mam@redis:2.service",
                        "Health",
                        "s",
                        "unhealthy",
                        "HealthReason",
                        "s",
                        "connection refused",
                        "MainPID",
                        "u",
                        4711U,
                        "Restarts",
                        "u",
                        2U,
                        "LastExit",
                        "s",
                        "oom-kill",
                        "OOMKills",
                        "u",
                        1U,
                        "Quarantine",
                        "s",
                        "5 crashes in a minute; next try in 30s"));
        ASSERT_OK(sd_bus_message_close_container(reply));
        ASSERT_OK(sd_bus_message_close_container(reply));
        return sd_bus_send(NULL, reply, NULL);
}

static int method_metrics(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(ssa{sd})",
                        2,
                        "redis",
                        "redis:1",
                        3,
                        "cpu_seconds_total",
                        61.5,
                        "memory_bytes",
                        1048576.0,
                        "oom_kills_total",
                        1.0,
                        "redis",
                        "",
                        2,
                        "cpu_seconds_total",
                        61.5,
                        "cpu_limit_cores",
                        0.1);
}

static int method_issue_token(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *subject, *role1, *role2;
        uint64_t ttl;

        ASSERT_OK(sd_bus_message_read(m, "s", &subject));
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "s"));
        ASSERT_OK(sd_bus_message_read(m, "ss", &role1, &role2));
        ASSERT_OK(sd_bus_message_exit_container(m));
        ASSERT_OK(sd_bus_message_read(m, "tt", &ttl, NULL));
        ASSERT_STREQ(subject, "ada");
        ASSERT_STREQ(role1, "reader");
        ASSERT_STREQ(role2, "writer");
        ASSERT_EQ(ttl, 60000000);
        return sd_bus_reply_method_return(m, "s", "aaa.bbb.ccc");
}

static int method_create_key(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *subject, *role, *scope1, *scope2;
        uint64_t ttl;

        ASSERT_OK(sd_bus_message_read(m, "ss", &name, &subject));
        ASSERT_OK(sd_bus_message_read(m, "as", 1, &role));
        ASSERT_OK(sd_bus_message_read(m, "as", 2, &scope1, &scope2));
        ASSERT_OK(sd_bus_message_read(m, "tt", &ttl, NULL));
        ASSERT_STREQ(name, "my robot");
        ASSERT_STREQ(subject, "");
        ASSERT_STREQ(role, "reader");
        ASSERT_STREQ(scope2, "y");
        ASSERT_EQ(ttl, 0);
        return sd_bus_reply_method_return(m, "ss", "0123456789abcdef", "mam_key");
}

static int method_list_keys(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(
                        m,
                        "a(sssasasttttt)",
                        1,
                        "0123456789abcdef",
                        "my robot",
                        "key:0123456789abcdef",
                        1,
                        "reader",
                        2,
                        "x",
                        "y",
                        UINT64_C(1700000000000000),
                        UINT64_C(0),
                        mam_now_realtime() + 7200 * MAM_USEC_PER_SEC,
                        UINT64_C(0),
                        UINT64_C(7));
}

static int method_rotate_key(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        uint64_t grace;
        const char *id;

        ASSERT_OK(sd_bus_message_read(m, "stt", &id, &grace, NULL));
        ASSERT_STREQ(id, "0123456789abcdef");
        return sd_bus_reply_method_return(m, "s", grace == 0 ? "mam_at_once" : "mam_in_a_day");
}

static int method_revoke_key(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *id;

        ASSERT_OK(sd_bus_message_read(m, "st", &id, NULL));
        if (strcmp(id, "0123456789abcdef") != 0)
                return sd_bus_error_setf(error, MAM_BUS_ERROR_NO_SUCH_KEY, "There is no key '%s'", id);
        return sd_bus_reply_method_return(m, NULL);
}

static int method_init(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        return sd_bus_reply_method_return(
                        m,
                        "a(ss)",
                        2,
                        "ok",
                        "2 services",
                        f->result,
                        "microservices.json:3: monitoring.jaeger: not used");
}

static int property_get_string(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", strcmp(property, "Version") == 0 ? "9.9.9" : "degraded");
}

static int property_get_initialized(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "b", true);
}

static int property_get_problems(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "as", 1, "services.json:7: redis.port: must be a number");
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Init", "t", "a(ss)", method_init, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Start", "st", "o", method_start, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Scale", "sut", "o", method_scale, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("List", "", "a(ssssuuuo)", method_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Status", "s", "a(sa{sv}a(sa{sv}))", method_status, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Metrics", "s", "a(ssa{sd})", method_metrics, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("IssueToken", "sastt", "s", method_issue_token, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("CreateKey", "ssasastt", "ss", method_create_key, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListKeys", "", "a(sssasasttttt)", method_list_keys, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RotateKey", "stt", "s", method_rotate_key, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RevokeKey", "st", "", method_revoke_key, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", property_get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("State", "s", property_get_string, 0, 0),
        SD_BUS_PROPERTY("Initialized", "b", property_get_initialized, 0, 0),
        SD_BUS_PROPERTY("ConfigurationProblems", "as", property_get_problems, 0, 0),
        SD_BUS_VTABLE_END,
};

static void setup(Fixture *f, bool with_manager) {
        fixture_setup(f, with_manager ? manager_vtable : NULL);
        f->play = JOB_ENDS_AFTER_PROGRESS;
}

TEST(a_job_is_waited_for_with_progress) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "start", "redis"), 0);
        ASSERT_STREQ(f.asked_service, "redis");
        ASSERT_TRUE(f.interactive);
        ASSERT_STREQ(f.err, "[1/3] redis: waiting for redis:2?[31m\n");
        ASSERT_CONTAINS(f.out, "start redis: done in ");
        ASSERT_CONTAINS(f.out, "3 of 3 ready");
        ASSERT_TRUE(!strchr(f.err, '\x1b') && !strchr(f.out, '\x1b'));
        fixture_teardown(&f);
}

TEST(a_job_that_ends_before_its_path_is_known_is_not_missed) {
        Fixture f;

        setup(&f, true);
        f.play = JOB_ENDS_BEFORE_REPLY;
        ASSERT_EQ(RUN(&f, "start"), 0);
        ASSERT_STREQ(f.asked_service, "");
        f.result = "failed";
        ASSERT_EQ(RUN(&f, "scale", "redis", "3"), 1);
        ASSERT_EQ(f.asked_replicas, 3);
        ASSERT_CONTAINS(f.err, "redis:2 did not become ready");
        ASSERT_CONTAINS(f.err, "mamctl logs redis");
        f.result = "timeout";
        ASSERT_EQ(RUN(&f, "start"), 7);
        fixture_teardown(&f);
}

TEST(the_outcome_of_a_job_is_one_json_document) {
        _cleanup_(json_object_putp) json_object *done = NULL, *taken = NULL;
        json_object *v;
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "start", "redis", "--json"), 0);
        ASSERT_STREQ(f.err, "");
        done = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(done, "result", &v));
        ASSERT_STREQ(json_object_get_string(v), "done");

        f.play = JOB_NEVER_ENDS;
        ASSERT_EQ(RUN(&f, "start", "redis", "--json", "--no-wait"), 0);
        taken = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(taken, "job", &v));
        ASSERT_STREQ(json_object_get_string(v), JOB);
        fixture_teardown(&f);
}

TEST(quiet_prints_nothing_when_all_is_well) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "start", "redis", "-q"), 0);
        ASSERT_STREQ(f.out, "");
        ASSERT_STREQ(f.err, "");
        fixture_teardown(&f);
}

TEST(waiting_ends_at_the_timeout_and_says_that_the_job_goes_on) {
        Fixture f;

        setup(&f, true);
        f.play = JOB_NEVER_ENDS;
        ASSERT_EQ(RUN(&f, "start", "--timeout=50ms"), 7);
        ASSERT_CONTAINS(f.err, "The job goes on");
        fixture_teardown(&f);
}

TEST(an_interrupt_leaves_the_job_running_and_says_how_to_cancel) {
        Fixture f;

        setup(&f, true);
        f.play = JOB_INTERRUPTED;
        f.interrupt_at = "waiting for redis:2";
        ASSERT_EQ(RUN(&f, "start"), 130);
        ASSERT_CONTAINS(f.err, "The job goes on;");
        ASSERT_CONTAINS(f.err, "busctl call org.manageragent.Manager1 " JOB " org.manageragent.Job1 Cancel");
        fixture_teardown(&f);
}

TEST(a_manager_that_vanishes_while_waited_for_is_noticed) {
        Fixture f;

        setup(&f, true);
        f.play = JOB_MANAGER_VANISHES;
        ASSERT_EQ(RUN(&f, "start"), 6);
        ASSERT_CONTAINS(f.err, "went away");
        fixture_teardown(&f);
}

TEST(each_kind_of_error_has_its_exit_status_and_a_next_step) {
        Fixture f;

        setup(&f, true);
        f.error_name = MAM_BUS_ERROR_NO_SUCH_SERVICE;
        f.error_message = "No such service";
        ASSERT_EQ(RUN(&f, "start", "projet-manager"), 4);
        ASSERT_CONTAINS(f.err, "There is no service 'projet-manager'. Did you mean 'project-manager'?");
        ASSERT_CONTAINS(f.err, "project-manager, redis");
        ASSERT_EQ(RUN(&f, "status", "nothing-like-it"), 4);

        f.error_name = SD_BUS_ERROR_ACCESS_DENIED;
        f.error_message = "no";
        ASSERT_EQ(RUN(&f, "start", "redis"), 5);
        ASSERT_CONTAINS(f.err, "sudo mamctl start");
        ASSERT_CONTAINS(f.err, "org.manageragent.manager1.control");
        f.error_name = SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED;
        ASSERT_EQ(RUN(&f, "scale", "redis", "3", "--no-ask-password"), 5);
        ASSERT_CONTAINS(f.err, "org.manageragent.manager1.scale");

        f.error_name = MAM_BUS_ERROR_OUT_OF_RANGE;
        f.error_message = "redis takes 1 to 10 replicas";
        ASSERT_EQ(RUN(&f, "scale", "redis", "99"), 1);
        ASSERT_CONTAINS(f.err, "redis takes 1 to 10 replicas");
        fixture_teardown(&f);
}

TEST(no_manager_and_no_bus_are_told_apart_and_end_alike) {
        Fixture f;

        setup(&f, false);
        ASSERT_EQ(RUN(&f, "status"), 6);
        ASSERT_CONTAINS(f.err, "Cannot reach mam-manager");
        ASSERT_CONTAINS(f.err, "systemctl status mam-manager");
        ASSERT_EQ(RUN(&f, "version"), 6);
        ASSERT_CONTAINS(f.out, "mamctl ");
        ASSERT_OK(setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", true));
        ASSERT_EQ(RUN(&f, "list"), 6);
        ASSERT_CONTAINS(f.err, "Cannot connect to the system bus");
        ASSERT_EQ(RUN(&f, "__complete", "services"), 0);
        ASSERT_STREQ(f.err, "");
        fixture_teardown(&f);
}

TEST(no_ask_password_is_passed_on) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "start", "--no-ask-password"), 0);
        ASSERT_TRUE(!f.interactive);
        fixture_teardown(&f);
}

TEST(lists_are_tables_for_people_and_json_for_programs) {
        _cleanup_(json_object_putp) json_object *list = NULL;
        json_object *services, *v;
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "list"), 0);
        ASSERT_CONTAINS(f.out, "SERVICE          STATE     READY  TYPE            NAME\n");
        ASSERT_CONTAINS(f.out, "redis            degraded    1/2  infrastructure  Redis\n");
        ASSERT_CONTAINS(f.out, "Project ?[2JManager\n");
        ASSERT_EQ(RUN(&f, "list", "--json"), 0);
        list = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(list, "services", &services));
        ASSERT_EQ(json_object_array_length(services), 2);
        ASSERT_TRUE(json_object_object_get_ex(json_object_array_get_idx(services, 1), "ready", &v));
        ASSERT_EQ(json_object_get_int(v), 1);
        ASSERT_EQ(RUN(&f, "__complete", "services"), 0);
        ASSERT_STREQ(f.out, "project-manager\nredis\n");
        fixture_teardown(&f);
}

TEST(status_names_what_is_wrong) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "status"), 3);
        ASSERT_CONTAINS(f.out, "mam 9.9.9 is degraded\n");
        ASSERT_CONTAINS(f.out, "redis: degraded, 1 of 2 ready");
        ASSERT_CONTAINS(f.out, "port 6379, 500m CPU, 1Gi memory each\n");
        ASSERT_CONTAINS(f.out, "redis:2 is not ready\n");
        ASSERT_CONTAINS(f.out, "oom-kill");
        ASSERT_CONTAINS(f.out, "held back: 5 crashes in a minute; next try in 30s\n");
        ASSERT_CONTAINS(f.out, "connection refused\n");
        ASSERT_CONTAINS(f.out, "services.json:7: redis.port: must be a number\n");
        fixture_teardown(&f);
}

TEST(status_json_has_the_documented_keys) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        json_object *services, *redis, *replicas, *v;
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "status", "redis", "--json"), 3);
        o = parse_output(&f);
        ASSERT_TRUE(json_object_object_get_ex(o, "configuration_problems", &v));
        ASSERT_EQ(json_object_array_length(v), 1);
        ASSERT_TRUE(json_object_object_get_ex(o, "services", &services));
        redis = json_object_array_get_idx(services, 0);
        ASSERT_TRUE(json_object_object_get_ex(redis, "cpu_limit_millis", &v));
        ASSERT_EQ(json_object_get_int64(v), 500);
        ASSERT_TRUE(json_object_object_get_ex(redis, "dependencies", &v));
        ASSERT_EQ(json_object_array_length(v), 1);
        ASSERT_TRUE(json_object_object_get_ex(redis, "replicas", &replicas));
        ASSERT_TRUE(json_object_object_get_ex(json_object_array_get_idx(replicas, 0), "last_exit", &v));
        ASSERT_STREQ(json_object_get_string(v), "oom-kill");
        fixture_teardown(&f);
}

TEST(metrics_put_the_sum_first_and_say_what_is_not_known) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "metrics"), 0);
        ASSERT_CONTAINS(f.out, "REPLICA    CPU TIME  CORES  MEMORY  LIMIT  TASKS  RESTARTS  OOM  UP\n");
        ASSERT_CONTAINS(f.out, "\nredis");
        ASSERT_CONTAINS(f.out, "\n  redis:1");
        ASSERT_TRUE(strstr(f.out, "\nredis") < strstr(f.out, "\n  redis:1"));
        ASSERT_CONTAINS(f.out, "1.0Mi");
        ASSERT_EQ(RUN(&f, "metrics", "--json", "--interval=1ms"), 0);
        ASSERT_CONTAINS(f.out, "\"cpu_limit_cores\":0.1");
        ASSERT_CONTAINS(f.out, "\"cpu_cores\":0");
        fixture_teardown(&f);
}

TEST(a_token_is_all_that_goes_to_stdout) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "token", "--subject=ada", "--role=reader,writer", "--ttl=1min"), 0);
        ASSERT_STREQ(f.out, "aaa.bbb.ccc\n");
        ASSERT_EQ(RUN(&f, "token", "--role=a,,b"), 2);
        fixture_teardown(&f);
}

TEST(a_key_is_shown_once_and_its_use_afterwards) {
        Fixture f;

        setup(&f, true);
        ASSERT_EQ(RUN(&f, "key", "create", "my robot", "--role=reader", "--scope=x,y"), 0);
        ASSERT_STREQ(f.out, "mam_key\n");
        ASSERT_EQ(RUN(&f, "key", "create", "my robot", "--role=reader", "--scope=x", "--scope=y", "--json"),
                  0);
        ASSERT_CONTAINS(f.out, "\"id\":\"0123456789abcdef\"");
        ASSERT_EQ(RUN(&f, "key", "list"), 0);
        ASSERT_CONTAINS(f.out, "0123456789abcdef");
        ASSERT_CONTAINS(f.out, "x,y");
        ASSERT_CONTAINS(f.out, "never");
        ASSERT_CONTAINS(f.out, "the secret before it holds for");
        ASSERT_EQ(RUN(&f, "key", "list", "--json"), 0);
        ASSERT_CONTAINS(f.out, "\"uses\":7");
        ASSERT_EQ(RUN(&f, "key", "rotate", "0123456789abcdef"), 0);
        ASSERT_STREQ(f.out, "mam_in_a_day\n");
        ASSERT_EQ(RUN(&f, "key", "rotate", "0123456789abcdef", "--grace=0s"), 0);
        ASSERT_STREQ(f.out, "mam_at_once\n");
        ASSERT_EQ(RUN(&f, "key", "revoke", "0123456789abcdef"), 0);
        ASSERT_TRUE(RUN(&f, "key", "revoke", "unknown") != 0);
        ASSERT_CONTAINS(f.err, "There is no key");
        ASSERT_EQ(RUN(&f, "key", "create"), 2);
        ASSERT_EQ(RUN(&f, "key", "list", "more"), 2);
        ASSERT_EQ(RUN(&f, "key", "shred", "x"), 2);
        ASSERT_EQ(RUN(&f, "key", "create", "my robot", "--role="), 2);
        fixture_teardown(&f);
}

TEST(init_fails_on_errors_and_only_on_them) {
        Fixture f;

        setup(&f, true);
        f.result = "notice";
        ASSERT_EQ(RUN(&f, "init"), 0);
        ASSERT_CONTAINS(f.out, "notice   microservices.json:3: monitoring.jaeger: not used\n");
        ASSERT_EQ(RUN(&f, "init", "-q"), 0);
        ASSERT_STREQ(f.out, "");
        f.result = "error";
        ASSERT_EQ(RUN(&f, "init", "--json"), 1);
        ASSERT_CONTAINS(f.out, "\"level\":\"error\"");
        fixture_teardown(&f);
}
