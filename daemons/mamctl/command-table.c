/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The commands and options of mamctl
 */

#include <assert.h>
#include <string.h>

#include "mamctl/command.h"

#define BIT(option) OPTION_BIT(OPTION_##option)
#define COMMON      (BIT(HELP) | BIT(VERSION) | BIT(HOST) | BIT(QUIET) | BIT(NO_ASK_PASSWORD))
#define JOB         (BIT(JSON) | BIT(WAIT) | BIT(NO_WAIT) | BIT(TIMEOUT))
#define ROLLOUT                                                                            \
        (BIT(STRATEGY) | BIT(STEPS) | BIT(PAUSE) | BIT(MAX_SURGE) | BIT(MAX_UNAVAILABLE) | \
         BIT(MIN_HEALTHY) | BIT(HEALTHY_DEADLINE) | BIT(PROGRESS_DEADLINE) | BIT(NO_AUTO_REVERT))

static const OptionInfo option_table[_OPTION_MAX] = {
        [OPTION_JSON] = { .name = "json", .summary = "Print JSON for programs" },
        [OPTION_WAIT] = { .name = "wait", .summary = "Wait until done, with progress (default)" },
        [OPTION_NO_WAIT] = { .name = "no-wait",
                             .summary = "Return as soon as the manager has taken the job" },
        [OPTION_TIMEOUT] = { .name = "timeout",
                             .argument = "TIME",
                             .summary = "Wait at most this long; the job goes on" },
        [OPTION_FOLLOW] = { .name = "follow", .letter = 'f', .summary = "Go on printing what comes" },
        [OPTION_LINES] = { .name = "lines",
                           .letter = 'n',
                           .argument = "N",
                           .values = "all",
                           .summary = "Begin with the last N lines" },
        [OPTION_SINCE] = { .name = "since",
                           .argument = "TIME",
                           .summary = "Not what is longer ago: 10min, 1d" },
        [OPTION_CPU] = { .name = "cpu",
                         .argument = "QUANTITY",
                         .values = "default",
                         .summary = "CPU per replica: 500m, 2, or 'default'" },
        [OPTION_MEMORY] = { .name = "memory",
                            .argument = "QUANTITY",
                            .values = "default",
                            .summary = "Memory per replica: 512Mi, 1Gi, or 'default'" },
        [OPTION_VERTICAL] = { .name = "vertical",
                              .argument = "MODE",
                              .values = "off|recommend|auto|default",
                              .only_values = true,
                              .summary = "Who decides the limits per replica" },
        [OPTION_INTERVAL] = { .name = "interval", .argument = "TIME", .summary = "Measure over this time" },
        [OPTION_ONCE] = { .name = "once", .summary = "Print one table and end" },
        [OPTION_LABEL] = { .name = "version",
                           .argument = "VERSION",
                           .summary = "The version to deploy: a label, and {version} in the path" },
        [OPTION_EXEC] = { .name = "exec",
                          .argument = "PATH",
                          .summary = "Program to run in place of the configured one" },
        [OPTION_IMAGE] = { .name = "image",
                           .argument = "FOLDER",
                           .summary = "Folder that the program finds as its root" },
        [OPTION_STRATEGY] = { .name = "strategy",
                              .argument = "NAME",
                              .values = "rolling|canary|blue-green",
                              .only_values = true,
                              .summary = "How to go about it (default rolling)" },
        [OPTION_STEPS] = { .name = "steps",
                           .argument = "PERCENT,...",
                           .summary = "Canary: shares of the traffic (default 5,25,100)" },
        [OPTION_PAUSE] = { .name = "pause",
                           .argument = "TIME",
                           .summary = "Canary: watch each step this long (default 1min)" },
        [OPTION_MAX_SURGE] = { .name = "max-surge",
                               .argument = "N",
                               .summary = "Replicas beyond the wanted number (default 1)" },
        [OPTION_MAX_UNAVAILABLE] = { .name = "max-unavailable",
                                     .argument = "N",
                                     .summary = "How many may be missing meanwhile (default 0)" },
        [OPTION_MIN_HEALTHY] = { .name = "min-healthy",
                                 .argument = "TIME",
                                 .summary = "A new replica counts when healthy so long (10s)" },
        [OPTION_HEALTHY_DEADLINE] = { .name = "healthy-deadline",
                                      .argument = "TIME",
                                      .summary = "and has failed if it was not by then (5min)" },
        [OPTION_PROGRESS_DEADLINE] = { .name = "progress-deadline",
                                       .argument = "TIME",
                                       .summary = "Revert if nothing comes forward so long (10min)" },
        [OPTION_NO_AUTO_REVERT] = { .name = "no-auto-revert",
                                    .summary = "Leave a failed rollout as it is, for a look" },
        [OPTION_DIFF] = { .name = "diff",
                          .argument = "REVISION",
                          .values = "@revision",
                          .summary = "Compare with another revision, or with the current" },
        [OPTION_EXIT_CODE] = { .name = "exit-code", .summary = "Exit status 8 if there is something to do" },
        [OPTION_SVG] = { .name = "svg", .summary = "Draw the graph as SVG" },
        [OPTION_DOT] = { .name = "dot", .summary = "Write the graph for Graphviz" },
        [OPTION_ASCII] = { .name = "ascii", .summary = "Draw with ASCII characters only" },
        [OPTION_FOR] = { .name = "for", .argument = "TIME", .summary = "How long: 1s to 1h" },
        [OPTION_PERCENT] = { .name = "percent",
                             .argument = "P",
                             .summary = "Of the replicas, at least one (default 50)" },
        [OPTION_YES] = { .name = "yes", .letter = 'y', .summary = "Do not ask whether to go on" },
        [OPTION_SUBJECT] = { .name = "subject",
                             .argument = "NAME",
                             .summary = "Who the token is for (default: you)" },
        [OPTION_ROLE] = { .name = "role",
                          .argument = "ROLE",
                          .summary = "A role of the token; may be repeated" },
        [OPTION_TTL] = { .name = "ttl",
                         .argument = "TIME",
                         .summary = "How long it is valid (default 1h, at most 30d)" },
        [OPTION_HOST] = { .name = "host",
                          .letter = 'H',
                          .argument = "[USER@]HOST",
                          .summary = "Manage another machine over ssh" },
        [OPTION_QUIET] = { .name = "quiet", .letter = 'q', .summary = "Print results and errors only" },
        [OPTION_NO_ASK_PASSWORD] = { .name = "no-ask-password",
                                     .summary = "Do not ask for a password for privileged operations" },
        [OPTION_HELP] = { .name = "help", .letter = 'h', .summary = "Show this help" },
        [OPTION_VERSION] = { .name = "version", .summary = "Show the version" },
};

static const Command command_table[_VERB_MAX] = {
        [VERB_INIT] = {
                .name = "init",
                .arguments = "",
                .options = BIT(JSON),
                .action = "configure",
                .summary = "Read the configuration, create what is missing, report problems",
                .details = "Harmless when repeated. Each line of the report is ok, notice (a setting that mam does not act on yet), warning or error.",
        },
        [VERB_START] = {
                .name = "start",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = JOB,
                .action = "control",
                .summary = "Start a service and what it depends on, or all services",
                .details = "Done when every replica is ready.",
        },
        [VERB_STOP] = {
                .name = "stop",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = JOB,
                .action = "control",
                .summary = "Stop a service and what depends on it, or all services",
                .details = "Replicas finish what they have accepted before they end.",
        },
        [VERB_RESTART] = {
                .name = "restart",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = JOB,
                .action = "control",
                .summary = "Restart replicas one after the other",
                .details = "Each replica is ready before the next one is touched. Without SERVICE: all running services, in dependency order.",
        },
        [VERB_SCALE] = {
                .name = "scale",
                .arguments = "SERVICE REPLICAS",
                .min_arguments = 2,
                .max_arguments = 2,
                .takes = { "@service" },
                .options = JOB,
                .action = "scale",
                .summary = "Change the number of replicas of a service",
                .details = "Kept over restarts of the manager and of the machine. 0, where minReplicas allows it: asleep until the next request.",
        },
        [VERB_LIMITS] = {
                .name = "limits",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(CPU) | BIT(MEMORY) | BIT(JSON),
                .action = "set-limits",
                .summary = "Show the limits per replica, or change them without a restart",
                .details = "Quantities are written as in services.json; 'default' goes back to what services.json says.",
        },
        [VERB_AUTOSCALE] = {
                .name = "autoscale",
                .arguments = "[SERVICE [MODE]]",
                .max_arguments = 2,
                .takes = { "@service", "off|recommend|auto|default" },
                .options = BIT(VERTICAL) | BIT(JSON),
                .action = "scale",
                .summary = "Show or change who decides how many replicas there are",
                .details = "MODE is off, recommend (say it, do not act), auto, or default (as configured); --vertical sets the same for the limits per replica.",
        },
        [VERB_DEPLOY] = {
                .name = "deploy",
                .arguments = "SERVICE",
                .min_arguments = 1,
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(LABEL) | BIT(EXEC) | BIT(IMAGE) | ROLLOUT | JOB,
                .action = "deploy",
                .summary = "Bring a running service to another version, without an outage",
                .details = "Without --version, --exec or --image: to what is configured now. Exit status 0 only if the new revision runs everywhere.",
        },
        [VERB_ROLLOUT] = {
                .name = "rollout",
                .arguments = "status|pause|resume|abort SERVICE",
                .min_arguments = 2,
                .max_arguments = 2,
                .takes = { "status|pause|resume|abort", "@service" },
                .options = BIT(FOLLOW) | JOB,
                .action = "deploy",
                .summary = "Look at a rollout under way, hold it, go on, go back",
                .details = "Exit status 3 if none is under way. 'resume' ends a canary's watching at once; 'abort' waits until all is as it was.",
        },
        [VERB_UNDO] = {
                .name = "undo",
                .arguments = "SERVICE [REVISION]",
                .min_arguments = 1,
                .max_arguments = 2,
                .takes = { "@service", "@revision" },
                .options = ROLLOUT | JOB,
                .action = "deploy",
                .summary = "Go back to the revision before, or to any other",
                .details = "REVISION is the beginning of a revision's name, or its version; see 'mamctl history'.",
        },
        [VERB_HISTORY] = {
                .name = "history",
                .arguments = "SERVICE [REVISION]",
                .min_arguments = 1,
                .max_arguments = 2,
                .takes = { "@service", "@revision" },
                .options = BIT(DIFF) | BIT(JSON),
                .summary = "Show the revisions of a service, or how two of them differ",
                .details = "'--diff A B' compares A with B, '--diff A' with what is current.",
        },
        [VERB_LIST] = { .name = "list", .arguments = "", .options = BIT(JSON), .summary = "List the services", .details = "" },
        [VERB_STATUS] = {
                .name = "status",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(JSON),
                .summary = "Show services and replicas, and what is wrong with them",
                .details = "Exit status 3 if a service asked for is not running (see mamctl(1)).",
        },
        [VERB_HEALTH] = {
                .name = "health",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(JSON),
                .summary = "Show what the health checks say",
                .details = "Exit status 3 if a replica is not healthy, or none exists.",
        },
        [VERB_METRICS] = {
                .name = "metrics",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(JSON) | BIT(INTERVAL),
                .summary = "Show CPU, memory, restarts and OOM kills",
                .details = "With --interval CPU use is measured over that time; otherwise it is the total so far.",
        },
        [VERB_TOP] = {
                .name = "top",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(ONCE) | BIT(INTERVAL) | BIT(JSON),
                .summary = "Watch CPU, memory, requests and health of each replica",
                .details = "Keys: c, m, r, n sort by CPU, memory, requests, name; arrows scroll; q ends. Without a terminal: one table.",
        },
        [VERB_GRAPH] = {
                .name = "graph",
                .arguments = "",
                .options = BIT(SVG) | BIT(DOT) | BIT(JSON) | BIT(ASCII),
                .summary = "Draw which service depends on which, with their health",
                .details = "A tree of text, or SVG, DOT or JSON on standard output.",
        },
        [VERB_ENDPOINTS] = {
                .name = "endpoints",
                .arguments = "SERVICE",
                .min_arguments = 1,
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(JSON),
                .summary = "Show where the replicas of a service are reached",
                .details = "",
        },
        [VERB_EXPLAIN] = {
                .name = "explain",
                .arguments = "SERVICE",
                .min_arguments = 1,
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(JSON),
                .summary = "Say why a service is as it is, and what would change it",
                .details = "",
        },
        [VERB_PLAN] = {
                .name = "plan",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(JSON) | BIT(EXIT_CODE),
                .summary = "Show what the manager would do now, without doing it",
                .details = "",
        },
        [VERB_EVENTS] = {
                .name = "events",
                .arguments = "[SERVICE]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(FOLLOW) | BIT(LINES) | BIT(SINCE) | BIT(JSON),
                .summary = "Show what happened",
                .details = "With --follow and --json: one JSON document a line.",
        },
        [VERB_ALERTS] = { .name = "alerts", .arguments = "", .options = BIT(JSON), .summary = "Show what is wrong now", .details = "" },
        [VERB_LOGS] = {
                .name = "logs",
                .arguments = "[SERVICE[:REPLICA]]",
                .max_arguments = 1,
                .takes = { "@service" },
                .options = BIT(FOLLOW) | BIT(LINES),
                .summary = "Show the journal of a service, of a replica, or of everything",
                .details = "Runs journalctl; without --follow it opens the pager on a terminal as journalctl does.",
        },
        [VERB_CHAOS] = {
                .name = "chaos",
                .arguments = "KIND SERVICE",
                .min_arguments = 2,
                .max_arguments = 2,
                .takes = { "kill|stop|cpu|memory|latency|io", "@service" },
                .options = BIT(FOR) | BIT(PERCENT) | BIT(YES) | JOB,
                .action = "chaos",
                .summary = "Make trouble for a time, to see what users notice",
                .details = "KIND is kill, stop, cpu, memory, latency or io. Needs --for. Ctrl-C ends it at once.",
        },
        [VERB_TOKEN] = {
                .name = "token",
                .arguments = "",
                .options = BIT(JSON) | BIT(SUBJECT) | BIT(ROLE) | BIT(TTL),
                .action = "secrets",
                .summary = "Issue a token for the HTTP APIs",
                .details = "The token alone goes to standard output.",
        },
        [VERB_VERSION] = {
                .name = "version",
                .arguments = "",
                .options = BIT(JSON),
                .summary = "Show the versions of mamctl and of the manager",
                .details = "",
        },
        [VERB_HELP] = {
                .name = "help",
                .arguments = "[COMMAND]",
                .max_arguments = 1,
                .takes = { "@command" },
                .summary = "Show help for a command",
                .details = "",
        },
        [VERB_COMPLETE] = {
                .name = "__complete",
                .arguments = "WHAT [WORD...]",
                .min_arguments = 1,
                .max_arguments = INVOCATION_ARGUMENTS_MAX,
                .details = "",
        },
};

const Command *command_at(size_t n) {
        return n < _VERB_MAX ? &command_table[n] : NULL;
}

const Command *command_find(const char *name) {
        const Command *c;

        for (size_t i = 0; (c = command_at(i)); i++) {
                if (strcmp(c->name, name) == 0)
                        return c;
        }
        return NULL;
}

Verb command_verb(const Command *command) {
        assert(command >= command_table && command < command_table + _VERB_MAX);

        return (Verb) (command - command_table);
}

bool command_takes(const Command *command, Option option) {
        uint64_t options = COMMON | (command ? command->options : 0);

        /* --version is the version of mamctl, unless the command has another use for it */
        if (option == OPTION_VERSION && options & OPTION_BIT(OPTION_LABEL))
                return false;
        return options & OPTION_BIT(option);
}

const OptionInfo *option_info(Option option) {
        assert(option < _OPTION_MAX);

        return &option_table[option];
}
