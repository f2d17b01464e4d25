/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mamctl: see and change what runs under mam
 */

#include <signal.h>
#include <string.h>

#include "mam-build.h"
#include "mamctl/text.h"
#include "mamctl/verbs.h"

static ExitCode verb_help(Client *c) {
        const char *name = c->invocation->arguments[0];
        const Command *command = name ? command_find(name) : NULL;

        if (name && !command) {
                client_complain(c, "Unknown command '%s'. 'mamctl help' lists the commands.", name);
                return EXIT_CODE_USAGE;
        }
        command_help(command, stdout, c->terminal.out_colour);
        return EXIT_CODE_OK;
}

static ExitCode run(Client *c) {
        static ExitCode (*const verbs[_VERB_MAX])(Client *) = {
                [VERB_INIT] = verb_init,           [VERB_START] = verb_start,
                [VERB_STOP] = verb_stop,           [VERB_RESTART] = verb_restart,
                [VERB_SCALE] = verb_scale,         [VERB_LIMITS] = verb_limits,
                [VERB_AUTOSCALE] = verb_autoscale, [VERB_DEPLOY] = verb_deploy,
                [VERB_ROLLOUT] = verb_rollout,     [VERB_UNDO] = verb_undo,
                [VERB_HISTORY] = verb_history,     [VERB_LIST] = verb_list,
                [VERB_STATUS] = verb_status,       [VERB_HEALTH] = verb_health,
                [VERB_METRICS] = verb_metrics,     [VERB_TOP] = verb_top,
                [VERB_GRAPH] = verb_graph,         [VERB_ENDPOINTS] = verb_endpoints,
                [VERB_EXPLAIN] = verb_explain,     [VERB_PLAN] = verb_plan,
                [VERB_EVENTS] = verb_events,       [VERB_ALERTS] = verb_alerts,
                [VERB_LOGS] = verb_logs,           [VERB_CHAOS] = verb_chaos,
                [VERB_TOKEN] = verb_token,         [VERB_KEY] = verb_key,
                [VERB_GATEWAY] = verb_gateway,     [VERB_EXPORT] = verb_export,
                [VERB_VERSION] = verb_version,     [VERB_HELP] = verb_help,
                [VERB_COMPLETE] = verb_complete,
        };
        const Invocation *i = c->invocation;

        if (i->version) {
                printf("mamctl %s\n", MAM_VERSION);
                return EXIT_CODE_OK;
        }
        if (i->help) {
                command_help(i->command, stdout, c->terminal.out_colour);
                return EXIT_CODE_OK;
        }
        return verbs[command_verb(i->command)](c);
}

/* A shell stops a script only if its command died of the signal; the exit status is the same. */
static void die_of_signal(int number) {
        sigset_t mask;

        sigemptyset(&mask);
        sigaddset(&mask, number);
        (void) signal(number, SIG_DFL);
        (void) raise(number);
        (void) sigprocmask(SIG_UNBLOCK, &mask, NULL);
}

int main(int argc, char **argv) {
        _cleanup_(client_done) Client client = { 0 };
        _cleanup_(mam_freep) char *problem = NULL;
        Invocation invocation = { 0 };
        ExitCode e;
        int r;

        text_locale_init();
        client_init(&client, &invocation);

        r = invocation_parse(&invocation, argc, argv, &problem);
        if (r < 0) {
                client_complain(&client, "%s", problem ? problem : strerror(-r));
                return r == -EINVAL ? EXIT_CODE_USAGE : EXIT_CODE_FAILURE;
        }

        e = run(&client);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                client_complain(&client, "Cannot write to standard output.");
                if (e == EXIT_CODE_OK)
                        e = EXIT_CODE_FAILURE;
        }
        if (e > 128) {
                client_done(&client);
                die_of_signal((int) e - 128);
        }
        return e;
}
