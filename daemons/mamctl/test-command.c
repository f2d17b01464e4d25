/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/json/json.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"
#include "mamctl/bus-json.h"
#include "mamctl/command.h"
#include "mamctl/logs.h"
#include "mamctl/suggest.h"

/* Parses "mamctl" and the words behind it; a copy of the words, since getopt permutes them. */
#define PARSE(i, problem, ...)                                                            \
        ({                                                                                \
                char *_argv[] = { (char *) "mamctl", __VA_ARGS__, NULL };                 \
                invocation_parse((i), (int) MAM_ELEMENTSOF(_argv) - 1, _argv, (problem)); \
        })

static void assert_refused(int r, const char *problem, const char *part) {
        ASSERT_EQ(r, -EINVAL);
        ASSERT_TRUE(problem);
        if (!strstr(problem, part))
                mam_test_fail_string(__FILE__, __LINE__, part, problem);
}

#define ASSERT_REFUSED(part, ...)                            \
        do {                                                 \
                _cleanup_(mam_freep) char *_problem = NULL;  \
                Invocation _i = { 0 };                       \
                int _r = PARSE(&_i, &_problem, __VA_ARGS__); \
                assert_refused(_r, _problem, (part));        \
        } while (0)

TEST(options_may_stand_before_between_and_behind_arguments) {
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };

        ASSERT_OK(PARSE(&i, &problem, "-q", "scale", "--no-wait", "project-manager", "8", "--json"));
        ASSERT_EQ(command_verb(i.command), VERB_SCALE);
        ASSERT_EQ(i.n_arguments, 2);
        ASSERT_STREQ(i.arguments[0], "project-manager");
        ASSERT_STREQ(i.arguments[1], "8");
        ASSERT_TRUE(i.quiet && i.no_wait && i.json);
}

TEST(values_are_read) {
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };

        ASSERT_OK(PARSE(&i,
                        &problem,
                        "token",
                        "--role",
                        "admin",
                        "--role=a,b",
                        "--ttl=2h",
                        "--subject",
                        "me"));
        ASSERT_EQ(i.n_roles, 2);
        ASSERT_STREQ(i.roles[1], "a,b");
        ASSERT_EQ(i.ttl_usec, 2ULL * 3600 * 1000000);
        ASSERT_STREQ(i.subject, "me");

        ASSERT_OK(PARSE(&i, &problem, "logs", "x:2", "-fn", "20", "-H", "root@host"));
        ASSERT_TRUE(i.follow);
        ASSERT_STREQ(i.lines, "20");
        ASSERT_STREQ(i.host, "root@host");
}

TEST(the_last_of_wait_and_no_wait_counts) {
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };

        ASSERT_OK(PARSE(&i, &problem, "start", "--no-wait", "--wait"));
        ASSERT_TRUE(!i.no_wait);
}

TEST(mistakes_are_named_with_what_would_be_right) {
        ASSERT_REFUSED("Did you mean 'scale'", "sacle");
        ASSERT_REFUSED("Did you mean 'status'", "stat");
        ASSERT_REFUSED("'mamctl help' lists", "xyzzyplugh");
        ASSERT_REFUSED("Did you mean '--json'", "list", "--jsno");
        ASSERT_REFUSED("Unknown option '-z'", "list", "-z");
        ASSERT_REFUSED("--json takes no value", "list", "--json=yes");
        ASSERT_REFUSED("--host needs a value", "list", "-H");
        ASSERT_REFUSED("--role needs a value", "token", "--role");
        ASSERT_REFUSED("does not take --follow", "scale", "a", "3", "-f");
        ASSERT_REFUSED("does not take --json", "logs", "--json");
        ASSERT_REFUSED("Too few arguments", "scale", "a");
        ASSERT_REFUSED("Too many arguments", "start", "a", "b");
        ASSERT_REFUSED("takes no arguments", "list", "a");
        ASSERT_REFUSED("No command", "-q");
        ASSERT_REFUSED("is not a time", "start", "--timeout=soon");
        ASSERT_REFUSED("is not a number of lines", "logs", "-n", "few");
        ASSERT_REFUSED("is not an amount of CPU", "limits", "a", "--cpu=lots");
        ASSERT_REFUSED("is not an amount of memory", "limits", "a", "--memory=-1Gi");
}

TEST(version_is_of_mamctl_before_the_command_and_of_what_is_deployed_behind_deploy) {
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };

        ASSERT_OK(PARSE(&i, &problem, "--json", "deploy", "web", "--version", "2", "--no-wait"));
        ASSERT_TRUE(!i.version && i.json && i.no_wait);
        ASSERT_STREQ(i.label, "2");
        ASSERT_STREQ(i.arguments[0], "web");
        ASSERT_EQ(i.n_arguments, 1);
        ASSERT_OK(PARSE(&i, &problem, "list", "--version"));
        ASSERT_TRUE(i.version && !i.label);
        ASSERT_OK(PARSE(&i, &problem, "--version", "deploy"));
        ASSERT_TRUE(i.version);
        ASSERT_REFUSED("--version needs a value", "deploy", "web", "--version");
        ASSERT_REFUSED("an empty version", "deploy", "web", "--version=");
}

TEST(rollouts_and_chaos_are_read) {
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };

        ASSERT_OK(PARSE(&i,
                        &problem,
                        "deploy",
                        "web",
                        "--strategy=canary",
                        "--steps=5,25,100",
                        "--pause=2m"));
        ASSERT_EQ(i.n_steps, 3);
        ASSERT_EQ(i.steps[1], 25);
        ASSERT_EQ(i.pause_usec, 120000000);
        ASSERT_TRUE(!invocation_has(&i, OPTION_MAX_SURGE));
        ASSERT_OK(PARSE(&i, &problem, "chaos", "-y", "latency", "web", "--for", "1min", "--percent=30%"));
        ASSERT_TRUE(invocation_has(&i, OPTION_YES));
        ASSERT_EQ(i.for_usec, 60000000);
        ASSERT_EQ(i.percent, 30);
        ASSERT_OK(PARSE(&i, &problem, "history", "web", "--diff", "abc", "def"));
        ASSERT_STREQ(i.diff, "abc");
        ASSERT_STREQ(i.arguments[1], "def");
        ASSERT_REFUSED("'fire' is none of kill, stop, cpu, memory, latency, io.", "chaos", "fire", "web");
        ASSERT_REFUSED("'stat' is none of status, pause, resume, abort.", "rollout", "stat", "web");
        ASSERT_REFUSED("--strategy: 'fast' is none of rolling", "deploy", "web", "--strategy=fast");
        ASSERT_REFUSED("--steps: '9,3'", "deploy", "web", "--steps=9,3");
        ASSERT_REFUSED("not a number of replicas", "deploy", "web", "--max-surge=some");
        ASSERT_REFUSED("--image: 'a/b' is not an absolute path", "deploy", "web", "--image=a/b");
        ASSERT_REFUSED("does not take --steps", "restart", "web", "--steps=5");
}

TEST(completion_knows_what_a_value_or_an_argument_may_be) {
        ASSERT_STREQ(command_option_values(command_find("deploy"), "--strategy"),
                     "rolling|canary|blue-green");
        ASSERT_STREQ(command_option_values(command_find("logs"), "-n"), "all");
        ASSERT_TRUE(!command_option_values(command_find("list"), "--strategy"));
        ASSERT_TRUE(!command_option_values(command_find("deploy"), "--version"));
        ASSERT_TRUE(!command_option_values(NULL, "-"));
        ASSERT_TRUE(!command_takes(command_find("deploy"), OPTION_VERSION));
        for (Option option = 0; option < _OPTION_MAX; option++) {
                ASSERT_TRUE(option_info(option)->name && option_info(option)->summary);
                ASSERT_TRUE(!option_info(option)->only_values || option_info(option)->values);
        }
}

TEST(an_empty_argument_is_refused_since_the_bus_takes_it_for_all) {
        ASSERT_REFUSED("An empty argument", "stop", "");
        ASSERT_REFUSED("An empty argument", "status", "");
}

TEST(a_host_cannot_be_an_option_of_ssh) {
        ASSERT_REFUSED("is not a host", "list", "-H", "-oProxyCommand=true");
        ASSERT_REFUSED("is not a host", "list", "-H", "a b");
}

TEST(more_roles_than_fit_are_refused) {
        char *argv[2 + INVOCATION_ROLES_MAX + 2] = { (char *) "mamctl", (char *) "token" };
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };
        int r;

        for (size_t n = 2; n + 1 < MAM_ELEMENTSOF(argv); n++)
                argv[n] = (char *) "--role=r";
        r = invocation_parse(&i, (int) MAM_ELEMENTSOF(argv) - 1, argv, &problem);
        assert_refused(r, problem, "at most 16");
}

TEST(help_and_version_come_through_whatever_else_is_wrong) {
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation i = { 0 };

        ASSERT_OK(PARSE(&i, &problem, "scale", "--help"));
        ASSERT_TRUE(i.help);
        ASSERT_EQ(command_verb(i.command), VERB_SCALE);
        ASSERT_OK(PARSE(&i, &problem, "--version"));
        ASSERT_TRUE(i.version && !i.command);
}

TEST(every_command_has_its_help_and_every_option_of_it) {
        const Command *c;

        for (size_t n = 0; (c = command_at(n)); n++) {
                _cleanup_(mam_freep) char *text = NULL;
                size_t size = 0;
                FILE *f;

                ASSERT_EQ(command_find(c->name) - command_at(0), n);
                ASSERT_EQ(command_verb(c), n);
                f = open_memstream(&text, &size);
                ASSERT_TRUE(f);
                command_help(c, f, false);
                fclose(f);
                ASSERT_TRUE(strstr(text, c->name));
                ASSERT_EQ(!!strstr(text, "--json"), command_takes(c, OPTION_JSON));
                ASSERT_TRUE(strstr(text, "--no-ask-password"));
                ASSERT_TRUE(!strchr(text, '\x1b'));
        }
        ASSERT_TRUE(!command_at(_VERB_MAX));
}

TEST(distance_counts_slips) {
        ASSERT_EQ(suggest_distance("", ""), 0);
        ASSERT_EQ(suggest_distance("abc", "abc"), 0);
        ASSERT_EQ(suggest_distance("", "abc"), 3);
        ASSERT_EQ(suggest_distance("abc", ""), 3);
        ASSERT_EQ(suggest_distance("kitten", "sitting"), 3);
        ASSERT_EQ(suggest_distance("sacle", "scale"), 1); /* neighbours swapped */
        ASSERT_EQ(suggest_distance("ca", "abc"),
                  3); /* optimal string alignment, not Damerau's full distance */
}

TEST(suggestions_are_near_or_none) {
        static const char *const names[] = { "api-gateway", "project-manager", "postgresql", "redis" };

        ASSERT_STREQ(suggest_nearest("projet-manger", names, 4), "project-manager");
        ASSERT_STREQ(suggest_nearest("project", names, 4), "project-manager");
        ASSERT_STREQ(suggest_nearest("rdeis", names, 4), "redis");
        ASSERT_TRUE(!suggest_nearest("x", names, 4));
        ASSERT_TRUE(!suggest_nearest("kubernetes", names, 4));
        ASSERT_TRUE(!suggest_nearest("redis", names, 0));
}

TEST(property_names_become_json_keys) {
        static const char *const pairs[][2] = {
                { "Id", "id" },
                { "DesiredReplicas", "desired_replicas" },
                { "CPULimitMillis", "cpu_limit_millis" },
                { "MainPID", "main_pid" },
                { "OOMKills", "oom_kills" },
                { "StartedUSec", "started_usec" },
                { "LastExitUSec", "last_exit_usec" },
        };
        char key[64], small[4];

        for (size_t n = 0; n < MAM_ELEMENTSOF(pairs); n++) {
                bus_json_key(key, sizeof(key), pairs[n][0]);
                ASSERT_STREQ(key, pairs[n][1]);
        }
        bus_json_key(small, sizeof(small), "DesiredReplicas");
        ASSERT_STREQ(small, "de");
}

TEST(logs_take_a_service_or_a_replica_and_no_wildcards) {
        uint32_t replica = 99;
        char id[32];

        ASSERT_OK(logs_split("project-manager", id, &replica));
        ASSERT_STREQ(id, "project-manager");
        ASSERT_EQ(replica, 0);
        ASSERT_OK(logs_split("redis:2", id, &replica));
        ASSERT_STREQ(id, "redis");
        ASSERT_EQ(replica, 2);
        ASSERT_EQ(logs_split("*", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split("-f", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split("redis:", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split("redis:0", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split("redis:+1", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split("redis:1x", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split(":1", id, &replica), -EINVAL);
        ASSERT_EQ(logs_split("", id, &replica), -EINVAL);
}

static bool has_word(const LogsCommand *l, const char *word) {
        for (size_t n = 0; n < l->n; n++) {
                if (strcmp(l->argv[n], word) == 0)
                        return true;
        }
        return false;
}

TEST(following_names_every_permitted_unit_so_that_new_replicas_are_seen) {
        _cleanup_(json_object_putp) json_object *services =
                        json_tokener_parse("[{\"id\":\"redis\",\"max_replicas\":3}]");
        _cleanup_(logs_command_done) LogsCommand glob = { 0 }, follow = { 0 }, one = { 0 };
        Invocation i = { 0 };

        ASSERT_TRUE(services);
        ASSERT_OK(logs_command_build(&glob, &i, "redis", 0, services, false));
        ASSERT_TRUE(has_word(&glob, "--unit=mam@redis:*.service"));

        i.follow = true;
        ASSERT_OK(logs_command_build(&follow, &i, "redis", 0, services, false));
        ASSERT_TRUE(has_word(&follow, "--unit=mam@redis:1.service"));
        ASSERT_TRUE(has_word(&follow, "--unit=mam@redis:3.service"));
        ASSERT_TRUE(!has_word(&follow, "--unit=mam@redis:4.service"));
        ASSERT_TRUE(has_word(&follow, "--follow"));

        ASSERT_OK(logs_command_build(&one, &i, "redis", 2, services, false));
        ASSERT_TRUE(has_word(&one, "--unit=mam@redis:2.service"));
        ASSERT_TRUE(!has_word(&one, "--unit=mam@redis:1.service"));
}

TEST(logs_of_everything_include_the_manager) {
        _cleanup_(logs_command_done) LogsCommand l = { 0 };
        Invocation i = { .lines = "5" };

        ASSERT_OK(logs_command_build(&l, &i, NULL, 0, NULL, false));
        ASSERT_TRUE(has_word(&l, "--unit=mam-manager.service"));
        ASSERT_TRUE(has_word(&l, "--unit=mam@*.service"));
        ASSERT_TRUE(has_word(&l, "--lines=5"));
}

TEST(over_ssh_every_word_is_quoted_for_the_remote_shell) {
        _cleanup_(logs_command_done) LogsCommand l = { 0 };
        Invocation i = { .host = "root@example.org", .lines = "1'; id" };

        ASSERT_OK(logs_command_build(&l, &i, "redis", 0, NULL, true));
        ASSERT_STREQ(l.argv[0], "ssh");
        ASSERT_STREQ(l.argv[1], "-t");
        ASSERT_STREQ(l.argv[2], "--");
        ASSERT_STREQ(l.argv[3], "root@example.org");
        ASSERT_STREQ(l.argv[4], "'journalctl'");
        ASSERT_TRUE(has_word(&l, "'--unit=mam@redis:*.service'"));
        ASSERT_TRUE(has_word(&l, "'--lines=1'\\''; id'"));
}

TEST(over_ssh_without_a_terminal_standard_input_is_left_alone) {
        _cleanup_(logs_command_done) LogsCommand l = { 0 };
        Invocation i = { .host = "example.org" };

        ASSERT_OK(logs_command_build(&l, &i, "redis", 0, NULL, false));
        ASSERT_STREQ(l.argv[1], "-n");
}
