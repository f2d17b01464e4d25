/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Commands, options, and reading a command line
 */

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "libmam/util/quantity.h"
#include "libmam/util/time.h"
#include "mamctl/command.h"
#include "mamctl/suggest.h"
#include "mamctl/terminal.h"

/* What getopt_long() returns for an option, and how a command names it in its list of options. Letters where
 * a short form exists; capitals without one are internal. */
enum {
        OPTION_ASK = 'A',
        OPTION_CPU = 'C',
        OPTION_FOLLOW = 'f',
        OPTION_HELP = 'h',
        OPTION_HOST = 'H',
        OPTION_INTERVAL = 'I',
        OPTION_JSON = 'J',
        OPTION_LINES = 'n',
        OPTION_MEMORY = 'M',
        OPTION_NO_WAIT = 'W',
        OPTION_QUIET = 'q',
        OPTION_ROLE = 'R',
        OPTION_SUBJECT = 'S',
        OPTION_TIMEOUT = 'T',
        OPTION_TTL = 'L',
        OPTION_VERSION = 'V',
        OPTION_WAIT = 'w',
};

#define SHORT_OPTIONS "fhH:n:q"
#define COMMON        "hVHqA"
#define JOB           "JWwT"

typedef struct OptionInfo {
        int id;
        bool has_short;
        const char *name;
        const char *argument; /* NULL: none */
        const char *summary;
} OptionInfo;

static const OptionInfo option_table[] = {
        { OPTION_JSON, false, "json", NULL, "Print JSON for programs" },
        { OPTION_WAIT, false, "wait", NULL, "Wait until done, with progress (default)" },
        { OPTION_NO_WAIT, false, "no-wait", NULL, "Return as soon as the manager has taken the job" },
        { OPTION_TIMEOUT, false, "timeout", "TIME", "Wait at most this long; the job goes on" },
        { OPTION_FOLLOW, true, "follow", NULL, "Go on printing what comes" },
        { OPTION_LINES, true, "lines", "N", "Begin with the last N lines" },
        { OPTION_CPU, false, "cpu", "QUANTITY", "CPU per replica: 500m, 2, or 'default'" },
        { OPTION_MEMORY, false, "memory", "QUANTITY", "Memory per replica: 512Mi, 1Gi, or 'default'" },
        { OPTION_INTERVAL, false, "interval", "TIME", "Measure CPU use over this time" },
        { OPTION_SUBJECT, false, "subject", "NAME", "Who the token is for (default: you)" },
        { OPTION_ROLE, false, "role", "ROLE", "A role of the token; may be repeated" },
        { OPTION_TTL, false, "ttl", "TIME", "How long it is valid (default 1h, at most 30d)" },
        { OPTION_HOST, true, "host", "[USER@]HOST", "Manage another machine over ssh" },
        { OPTION_QUIET, true, "quiet", NULL, "Print results and errors only" },
        { OPTION_ASK,
          false,
          "no-ask-password",
          NULL,
          "Do not ask for a password for privileged operations" },
        { OPTION_HELP, true, "help", NULL, "Show this help" },
        { OPTION_VERSION, false, "version", NULL, "Show the version" },
};

static const Command command_table[] = {
        { VERB_INIT,
          "init",
          "",
          0,
          0,
          false,
          "J",
          "Read the configuration, create what is missing, report problems",
          "Harmless when repeated. Each line of the report is ok, notice (a setting that mam does not act on yet), warning or error." },
        { VERB_START,
          "start",
          "[SERVICE]",
          0,
          1,
          true,
          JOB,
          "Start a service and what it depends on, or all services",
          "Done when every replica is ready." },
        { VERB_STOP,
          "stop",
          "[SERVICE]",
          0,
          1,
          true,
          JOB,
          "Stop a service and what depends on it, or all services",
          "Replicas finish what they have accepted before they end." },
        { VERB_RESTART,
          "restart",
          "[SERVICE]",
          0,
          1,
          true,
          JOB,
          "Restart replicas one after the other",
          "Each replica is ready before the next one is touched. Without SERVICE: all running services, in dependency order." },
        { VERB_SCALE,
          "scale",
          "SERVICE REPLICAS",
          2,
          2,
          true,
          JOB,
          "Change the number of replicas of a service",
          "Kept over restarts of the manager and of the machine." },
        { VERB_LIMITS,
          "limits",
          "[SERVICE]",
          0,
          1,
          true,
          "CMJ",
          "Show the limits per replica, or change them without a restart",
          "Quantities are written as in services.json; 'default' goes back to what services.json says." },
        { VERB_LIST, "list", "", 0, 0, false, "J", "List the services", "" },
        { VERB_STATUS,
          "status",
          "[SERVICE]",
          0,
          1,
          true,
          "J",
          "Show services and replicas, and what is wrong with them",
          "Exit status 3 if a service asked for is not running (see mamctl(1))." },
        { VERB_HEALTH,
          "health",
          "[SERVICE]",
          0,
          1,
          true,
          "J",
          "Show what the health checks say",
          "Exit status 3 if a replica is not healthy, or none exists." },
        { VERB_METRICS,
          "metrics",
          "[SERVICE]",
          0,
          1,
          true,
          "JI",
          "Show CPU, memory, restarts and OOM kills",
          "With --interval CPU use is measured over that time; otherwise it is the total so far." },
        { VERB_ENDPOINTS,
          "endpoints",
          "SERVICE",
          1,
          1,
          true,
          "J",
          "Show where the replicas of a service are reached",
          "" },
        { VERB_LOGS,
          "logs",
          "[SERVICE[:REPLICA]]",
          0,
          1,
          true,
          "fn",
          "Show the journal of a service, of a replica, or of everything",
          "Runs journalctl; without --follow it opens the pager on a terminal as journalctl does." },
        { VERB_TOKEN,
          "token",
          "",
          0,
          0,
          false,
          "JSRL",
          "Issue a token for the HTTP APIs",
          "The token alone goes to standard output." },
        { VERB_VERSION,
          "version",
          "",
          0,
          0,
          false,
          "J",
          "Show the versions of mamctl and of the manager",
          "" },
        { VERB_HELP, "help", "[COMMAND]", 0, 1, false, "", "Show help for a command", "" },
        { VERB_COMPLETE, "__complete", "WHAT [COMMAND]", 1, 2, false, "", NULL, "" },
};

const Command *command_at(size_t n) {
        return n < MAM_ELEMENTSOF(command_table) ? &command_table[n] : NULL;
}

const Command *command_find(const char *name) {
        const Command *c;

        for (size_t i = 0; (c = command_at(i)); i++) {
                if (strcmp(c->name, name) == 0)
                        return c;
        }
        return NULL;
}

static bool command_takes(const Command *command, int option) {
        return strchr(COMMON, option) || (command && strchr(command->options, option));
}

static const OptionInfo *option_find(int id) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(option_table); i++) {
                if (option_table[i].id == id)
                        return &option_table[i];
        }
        return NULL;
}

/* Says what is wrong; the result is -EINVAL so that it can be returned. */
_printf_(2, 3) static int problem(char **ret, const char *format, ...) {
        va_list arguments;
        int r;

        va_start(arguments, format);
        r = vasprintf(ret, format, arguments);
        va_end(arguments);
        if (r < 0) {
                *ret = NULL;
                return -ENOMEM;
        }
        return -EINVAL;
}

static int problem_unknown_option(char **ret, const char *given) {
        const char *names[MAM_ELEMENTSOF(option_table)], *nearest;
        char word[64];

        /* given is "--word=value" or, for a letter, the letter alone */
        if (strncmp(given, "--", 2) != 0)
                return problem(ret, "Unknown option '-%s'.", given);

        for (size_t i = 0; i < MAM_ELEMENTSOF(option_table); i++)
                names[i] = option_table[i].name;
        snprintf(word, sizeof(word), "%.*s", (int) strcspn(given + 2, "="), given + 2);
        nearest = suggest_nearest(word, names, MAM_ELEMENTSOF(names));
        if (!nearest)
                return problem(ret, "Unknown option '--%s'.", word);
        return problem(ret, "Unknown option '--%s'. Did you mean '--%s'?", word, nearest);
}

static int problem_unknown_command(char **ret, const char *given) {
        const char *names[MAM_ELEMENTSOF(command_table)], *nearest;
        size_t n = 0;

        for (size_t i = 0; i < MAM_ELEMENTSOF(command_table); i++) {
                if (command_table[i].summary)
                        names[n++] = command_table[i].name;
        }
        nearest = suggest_nearest(given, names, n);
        if (!nearest)
                return problem(ret, "Unknown command '%s'. 'mamctl help' lists the commands.", given);
        return problem(ret, "Unknown command '%s'. Did you mean '%s'?", given, nearest);
}

static int parse_time(char **ret_problem, const char *name, const char *text, uint64_t *ret_usec) {
        uint64_t usec;

        if (mam_parse_timespan(text, &usec) < 0 || usec == 0) {
                return problem(ret_problem,
                               "--%s: '%s' is not a time. Write 30s, 5min, 1h or 2d.",
                               name,
                               text);
        }
        *ret_usec = usec;
        return 0;
}

/* The manager checks again; here the mistake is cheaper, and named in the user's own words. */
static int check_quantity(char **ret_problem, bool cpu, const char *text) {
        uint64_t value;

        if (strcmp(text, "default") == 0)
                return 0;
        if (cpu && mam_quantity_parse_cpu(text, &value) < 0) {
                return problem(ret_problem,
                               "--cpu: '%s' is not an amount of CPU. Write 500m, 2, 1.5 or 'default'.",
                               text);
        }
        if (!cpu && mam_quantity_parse_bytes(text, &value) < 0) {
                return problem(ret_problem,
                               "--memory: '%s' is not an amount of memory. Write 512Mi, 1Gi or 'default'.",
                               text);
        }
        return 0;
}

static int check_lines(char **ret_problem, const char *text) {
        if (strcmp(text, "all") != 0 && (!*text || text[strspn(text, "0123456789")]))
                return problem(ret_problem, "--lines: '%s' is not a number of lines.", text);
        return 0;
}

static int check_host(char **ret_problem, const char *text) {
        /* it becomes an argument of ssh */
        if (!*text || *text == '-' || text[strcspn(text, " \t\n'\"\\")])
                return problem(ret_problem, "--host: '%s' is not a host.", text);
        return 0;
}

static int apply_option(Invocation *i, int option, const char *value, char **ret_problem) {
        switch (option) {
        case OPTION_JSON:
                i->json = true;
                return 0;
        case OPTION_WAIT:
                i->no_wait = false;
                return 0;
        case OPTION_NO_WAIT:
                i->no_wait = true;
                return 0;
        case OPTION_FOLLOW:
                i->follow = true;
                return 0;
        case OPTION_QUIET:
                i->quiet = true;
                return 0;
        case OPTION_ASK:
                i->no_ask_password = true;
                return 0;
        case OPTION_HELP:
                i->help = true;
                return 0;
        case OPTION_VERSION:
                i->version = true;
                return 0;
        case OPTION_HOST:
                i->host = value;
                return check_host(ret_problem, value);
        case OPTION_LINES:
                i->lines = value;
                return check_lines(ret_problem, value);
        case OPTION_CPU:
                i->cpu = value;
                return check_quantity(ret_problem, true, value);
        case OPTION_MEMORY:
                i->memory = value;
                return check_quantity(ret_problem, false, value);
        case OPTION_SUBJECT:
                i->subject = value;
                return 0;
        case OPTION_ROLE:
                if (i->n_roles >= INVOCATION_ROLES_MAX)
                        return problem(ret_problem, "--role: at most %u roles.", INVOCATION_ROLES_MAX);
                i->roles[i->n_roles++] = value;
                return 0;
        case OPTION_TTL:
                return parse_time(ret_problem, "ttl", value, &i->ttl_usec);
        case OPTION_INTERVAL:
                return parse_time(ret_problem, "interval", value, &i->interval_usec);
        case OPTION_TIMEOUT:
                return parse_time(ret_problem, "timeout", value, &i->timeout_usec);
        default:
                assert(false);
                return -EINVAL;
        }
}

/* Reads options into *i and remembers in seen (by id) which were given. Returns the index of the first
 * argument. */
static int parse_options(Invocation *i, bool seen[static 128], int argc, char **argv, char **ret_problem) {
        struct option options[MAM_ELEMENTSOF(option_table) + 1] = { 0 };
        int option, r;

        for (size_t n = 0; n < MAM_ELEMENTSOF(option_table); n++) {
                options[n] = (struct option){
                        .name = option_table[n].name,
                        .has_arg = option_table[n].argument ? required_argument : no_argument,
                        .val = option_table[n].id,
                };
        }

        optind = 0; /* begin anew; getopt keeps state between calls */
        opterr = 0;
        while ((option = getopt_long(argc, argv, ":" SHORT_OPTIONS, options, NULL)) != -1) {
                const char *given = argv[optind - 1];
                const OptionInfo *info;
                char letter[] = { (char) optopt, '\0' };

                if (option == ':') {
                        info = option_find(optopt);
                        return problem(ret_problem, "--%s needs a value: %s.", info->name, info->argument);
                }
                if (option == '?') {
                        info = option_find(optopt); /* known, but given a value that it does not take */
                        if (info && !info->argument && strncmp(given, "--", 2) == 0)
                                return problem(ret_problem, "--%s takes no value.", info->name);
                        return problem_unknown_option(
                                        ret_problem,
                                        strncmp(given, "--", 2) == 0 ? given : letter);
                }

                seen[option] = true;
                r = apply_option(i, option, optarg, ret_problem);
                if (r < 0)
                        return r;
        }
        return optind;
}

static int check_options(const Invocation *i, const bool seen[static 128], char **ret_problem) {
        for (size_t n = 0; n < MAM_ELEMENTSOF(option_table); n++) {
                const OptionInfo *info = &option_table[n];

                if (seen[info->id] && !command_takes(i->command, info->id)) {
                        return problem(ret_problem,
                                       "'%s' does not take --%s. See 'mamctl help %s'.",
                                       i->command->name,
                                       info->name,
                                       i->command->name);
                }
        }
        return 0;
}

static int check_arguments(Invocation *i, int n, char **arguments, char **ret_problem) {
        const Command *c = i->command;

        if ((unsigned) n > c->max_arguments && c->max_arguments == 0)
                return problem(ret_problem, "'%s' takes no arguments, got '%s'.", c->name, arguments[0]);
        if ((unsigned) n < c->min_arguments || (unsigned) n > c->max_arguments) {
                return problem(ret_problem,
                               "Too %s arguments. Usage: mamctl %s %s",
                               (unsigned) n < c->min_arguments ? "few" : "many",
                               c->name,
                               c->arguments);
        }

        for (int k = 0; k < n; k++) {
                /* "" means "all" on the bus: an unset variable of a script must not stop everything */
                if (!*arguments[k]) {
                        return problem(ret_problem,
                                       "An empty argument. Usage: mamctl %s %s",
                                       c->name,
                                       c->arguments);
                }
                i->arguments[i->n_arguments++] = arguments[k];
        }
        return 0;
}

int invocation_parse(Invocation *ret, int argc, char **argv, char **ret_problem) {
        bool seen[128] = { 0 };
        Invocation i = { 0 };
        int first, r;

        assert(ret);
        assert(ret_problem);

        first = parse_options(&i, seen, argc, argv, ret_problem);
        if (first < 0)
                return first;

        if (first < argc) {
                i.command = command_find(argv[first]);
                if (!i.command)
                        return problem_unknown_command(ret_problem, argv[first]);
        } else if (!i.help && !i.version)
                return problem(ret_problem, "No command. 'mamctl help' lists the commands.");

        /* help and the version are given whatever else is wrong with the line */
        if (!i.help && !i.version) {
                r = check_options(&i, seen, ret_problem);
                if (r < 0)
                        return r;
                r = check_arguments(&i, argc - first - 1, argv + first + 1, ret_problem);
                if (r < 0)
                        return r;
        }

        *ret = i;
        return 0;
}

static void help_options(const Command *command, FILE *f) {
        for (size_t n = 0; n < MAM_ELEMENTSOF(option_table); n++) {
                const OptionInfo *info = &option_table[n];
                char left[64];

                if (!command_takes(command, info->id))
                        continue;
                snprintf(left,
                         sizeof(left),
                         "%c%c%s --%s%s%s",
                         info->has_short ? '-' : ' ',
                         info->has_short ? info->id : ' ',
                         info->has_short ? "," : " ",
                         info->name,
                         info->argument ? "=" : "",
                         info->argument ? info->argument : "");
                fprintf(f, "  %-26s  %s\n", left, info->summary);
        }
}

static void help_one(const Command *c, FILE *f, bool colour) {
        fprintf(f,
                "%smamctl [OPTION...] %s%s%s%s\n\n%s.\n",
                colour_start(colour, COLOUR_BOLD),
                c->name,
                *c->arguments ? " " : "",
                c->arguments,
                colour_end(colour, COLOUR_BOLD),
                c->summary ? c->summary : "For the shells' completion");
        if (*c->details)
                fprintf(f, "%s\n", c->details);
        fprintf(f, "\nOptions:\n");
        help_options(c, f);
        fprintf(f, "\nSee mamctl(1).\n");
}

void command_help(const Command *command, FILE *f, bool colour) {
        const Command *c;

        if (command) {
                help_one(command, f, colour);
                return;
        }

        fprintf(f,
                "%smamctl [OPTION...] COMMAND ...%s\n\nSee and change what runs under mam.\n\nCommands:\n",
                colour_start(colour, COLOUR_BOLD),
                colour_end(colour, COLOUR_BOLD));
        for (size_t i = 0; (c = command_at(i)); i++) {
                char left[64];

                if (!c->summary)
                        continue;
                snprintf(left, sizeof(left), "%s %s", c->name, c->arguments);
                fprintf(f, "  %-26s  %s\n", left, c->summary);
        }
        fprintf(f, "\nOptions of every command:\n");
        help_options(NULL, f);
        fprintf(f, "\n'mamctl help COMMAND' says more; mamctl(1) says it all.\n");
}

void command_print_options(const Command *command, FILE *f) {
        for (size_t n = 0; n < MAM_ELEMENTSOF(option_table); n++) {
                if (command_takes(command, option_table[n].id))
                        fprintf(f, "--%s%s\n", option_table[n].name, option_table[n].argument ? "=" : "");
        }
}
