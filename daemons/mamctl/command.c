/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading a command line
 */

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "libmam/util/quantity.h"
#include "libmam/util/time.h"
#include "mamctl/command.h"
#include "mamctl/suggest.h"

/* What getopt_long() returns for an option: above all letters. */
#define GETOPT_BASE 256

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
        const char *names[_OPTION_MAX], *nearest;
        char word[64];

        /* given is "--word=value" or, for a letter, the letter alone */
        if (strncmp(given, "--", 2) != 0)
                return problem(ret, "Unknown option '-%s'.", given);

        for (Option option = 0; option < _OPTION_MAX; option++)
                names[option] = option_info(option)->name;
        snprintf(word, sizeof(word), "%.*s", (int) strcspn(given + 2, "="), given + 2);
        nearest = suggest_nearest(word, names, _OPTION_MAX);
        if (!nearest)
                return problem(ret, "Unknown option '--%s'.", word);
        return problem(ret, "Unknown option '--%s'. Did you mean '--%s'?", word, nearest);
}

static int problem_unknown_command(char **ret, const char *given) {
        const char *names[_VERB_MAX], *nearest;
        const Command *c;
        size_t n = 0;

        for (size_t i = 0; (c = command_at(i)); i++) {
                if (c->summary)
                        names[n++] = c->name;
        }
        nearest = suggest_nearest(given, names, n);
        if (!nearest)
                return problem(ret, "Unknown command '%s'. 'mamctl help' lists the commands.", given);
        return problem(ret, "Unknown command '%s'. Did you mean '%s'?", given, nearest);
}

/* words: "a|b|c", of which text is none */
static int problem_not_a_word(
                char **ret,
                const char *prefix,
                const char *name,
                const char *text,
                const char *words) {
        char list[256] = "";
        const char *word;
        size_t length, used = 0;

        for (size_t n = 0; (word = value_word(words, n, &length)); n++) {
                used += (size_t) snprintf(
                                list + used,
                                sizeof(list) - used,
                                "%s%.*s",
                                n > 0 ? ", " : "",
                                (int) length,
                                word);
                assert(used < sizeof(list)); /* words are literals */
        }
        return problem(ret, "%s%s: '%s' is none of %s.", prefix, name, text, list);
}

static int parse_time(char **ret_problem, Option option, const char *text, bool zero, uint64_t *ret_usec) {
        uint64_t usec;

        if (mam_parse_timespan(text, &usec) < 0 || (usec == 0 && !zero)) {
                return problem(ret_problem,
                               "--%s: '%s' is not a time. Write 30s, 5min, 1h or 2d.",
                               option_info(option)->name,
                               text);
        }
        *ret_usec = usec;
        return 0;
}

static int parse_count(char **ret_problem, Option option, const char *text, uint32_t *ret) {
        if (value_parse_count(text, ret) < 0) {
                return problem(ret_problem,
                               "--%s: '%s' is not a number of replicas.",
                               option_info(option)->name,
                               text);
        }
        return 0;
}

/* The folder or program is looked for where the manager is, which knows nothing of our current folder. */
static int parse_path(char **ret_problem, Option option, const char *text, const char **ret) {
        if (!value_is_clean_path(text)) {
                return problem(ret_problem,
                               "--%s: '%s' is not an absolute path without '.' and '..'.",
                               option_info(option)->name,
                               text);
        }
        *ret = text;
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

/* Options of deploy, undo and chaos. */
static int apply_rollout_option(Invocation *i, Option option, const char *value, char **ret_problem) {
        switch (option) {
        case OPTION_LABEL:
                i->label = value;
                return *value ? 0 : problem(ret_problem, "--version: an empty version.");
        case OPTION_EXEC:
                return parse_path(ret_problem, option, value, &i->exec);
        case OPTION_IMAGE:
                return parse_path(ret_problem, option, value, &i->image);
        case OPTION_STRATEGY:
                i->strategy = value;
                return 0;
        case OPTION_STEPS:
                if (value_parse_steps(value, i->steps, &i->n_steps) >= 0)
                        return 0;
                return problem(ret_problem,
                               "--steps: '%s' is no list of percentages that rise, such as 5,25,100.",
                               value);
        case OPTION_PAUSE:
                return parse_time(ret_problem, option, value, true, &i->pause_usec);
        case OPTION_MAX_SURGE:
                return parse_count(ret_problem, option, value, &i->max_surge);
        case OPTION_MAX_UNAVAILABLE:
                return parse_count(ret_problem, option, value, &i->max_unavailable);
        case OPTION_MIN_HEALTHY:
                return parse_time(ret_problem, option, value, true, &i->min_healthy_usec);
        case OPTION_HEALTHY_DEADLINE:
                return parse_time(ret_problem, option, value, false, &i->healthy_deadline_usec);
        case OPTION_PROGRESS_DEADLINE:
                return parse_time(ret_problem, option, value, false, &i->progress_deadline_usec);
        case OPTION_FOR:
                return parse_time(ret_problem, option, value, false, &i->for_usec);
        case OPTION_PERCENT:
                if (value_parse_percent(value, &i->percent) >= 0)
                        return 0;
                return problem(ret_problem, "--percent: '%s' is not a percentage from 1 to 100.", value);
        default:
                return 0; /* a flag: i->given has it */
        }
}

static int apply_option(Invocation *i, Option option, const char *value, char **ret_problem) {
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
        case OPTION_NO_ASK_PASSWORD:
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
        case OPTION_OUTPUT:
                i->output = value;
                return 0;
        case OPTION_LINES:
                i->lines = value;
                return check_lines(ret_problem, value);
        case OPTION_SINCE:
                return parse_time(ret_problem, option, value, false, &i->since_usec);
        case OPTION_CPU:
                i->cpu = value;
                return check_quantity(ret_problem, true, value);
        case OPTION_MEMORY:
                i->memory = value;
                return check_quantity(ret_problem, false, value);
        case OPTION_VERTICAL:
                i->vertical = value;
                return 0;
        case OPTION_DIFF:
                i->diff = value;
                return *value ? 0 : problem(ret_problem, "--diff: an empty revision.");
        case OPTION_SUBJECT:
                i->subject = value;
                return 0;
        case OPTION_ROLE:
                if (i->n_roles >= INVOCATION_ROLES_MAX)
                        return problem(ret_problem, "--role: at most %u roles.", INVOCATION_ROLES_MAX);
                i->roles[i->n_roles++] = value;
                return 0;
        case OPTION_SCOPE:
                if (i->n_scopes >= INVOCATION_SCOPES_MAX)
                        return problem(ret_problem, "--scope: at most %u scopes.", INVOCATION_SCOPES_MAX);
                i->scopes[i->n_scopes++] = value;
                return 0;
        case OPTION_GRACE:
                return parse_time(ret_problem, option, value, true, &i->grace_usec);
        case OPTION_TTL:
                return parse_time(ret_problem, option, value, false, &i->ttl_usec);
        case OPTION_INTERVAL:
                return parse_time(ret_problem, option, value, false, &i->interval_usec);
        case OPTION_TIMEOUT:
                return parse_time(ret_problem, option, value, false, &i->timeout_usec);
        default:
                return apply_rollout_option(i, option, value, ret_problem);
        }
}

/* From what getopt_long() returned; _OPTION_MAX: none. */
static Option option_of(int returned) {
        if (returned >= GETOPT_BASE)
                return (Option) (returned - GETOPT_BASE);
        for (Option option = 0; option < _OPTION_MAX; option++) {
                if (returned && option_info(option)->letter == returned)
                        return option;
        }
        return _OPTION_MAX;
}

/* command NULL: any option, with --version as the version of mamctl, up to the first argument (then
 * ret_short begins with '+'). */
static void getopt_tables(
                const Command *command,
                struct option ret_long[static _OPTION_MAX + 1],
                char ret_short[static 2 * _OPTION_MAX + 3]) {
        size_t n = 0;

        if (!command)
                *ret_short++ = '+';
        *ret_short++ = ':';
        for (Option option = 0; option < _OPTION_MAX; option++) {
                const OptionInfo *info = option_info(option);
                bool skip = option == OPTION_LABEL;

                if (command && command->options & OPTION_BIT(OPTION_LABEL))
                        skip = option == OPTION_VERSION;
                if (skip)
                        continue;
                ret_long[n++] = (struct option){
                        .name = info->name,
                        .has_arg = info->argument ? required_argument : no_argument,
                        .val = GETOPT_BASE + (int) option,
                };
                if (info->letter)
                        *ret_short++ = info->letter;
                if (info->letter && info->argument)
                        *ret_short++ = ':';
        }
        ret_long[n] = (struct option){ 0 };
        *ret_short = '\0';
}

static int problem_option(char **ret, int returned, const char *given) {
        char letter[] = { (char) optopt, '\0' };
        Option option = option_of(optopt);

        if (returned == ':') {
                const OptionInfo *info = option_info(option);

                return problem(ret, "--%s needs a value: %s.", info->name, info->argument);
        }

        /* known, but given a value that it does not take */
        if (option < _OPTION_MAX && !option_info(option)->argument && strncmp(given, "--", 2) == 0)
                return problem(ret, "--%s takes no value.", option_info(option)->name);
        return problem_unknown_option(ret, strncmp(given, "--", 2) == 0 ? given : letter);
}

/* Reads options into *i; argv[0] is skipped. Returns the index of the first argument. */
static int parse_options(Invocation *i, const Command *command, int argc, char **argv, char **ret_problem) {
        struct option long_options[_OPTION_MAX + 1];
        char short_options[2 * _OPTION_MAX + 3];
        int returned, r;

        getopt_tables(command, long_options, short_options);
        optind = 0; /* begin anew; getopt keeps state between calls */
        opterr = 0;
        while ((returned = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
                const OptionInfo *info;
                Option option;

                if (returned == ':' || returned == '?')
                        return problem_option(ret_problem, returned, argv[optind - 1]);

                option = option_of(returned);
                info = option_info(option);
                if (info->only_values && !value_is_one_of(optarg, info->values))
                        return problem_not_a_word(ret_problem, "--", info->name, optarg, info->values);
                i->given |= OPTION_BIT(option);
                r = apply_option(i, option, optarg, ret_problem);
                if (r < 0)
                        return r;
        }
        return optind;
}

static int check_options(const Invocation *i, char **ret_problem) {
        for (Option option = 0; option < _OPTION_MAX; option++) {
                if (!invocation_has(i, option) || command_takes(i->command, option))
                        continue;
                return problem(ret_problem,
                               "'%s' does not take --%s. See 'mamctl help %s'.",
                               i->command->name,
                               option_info(option)->name,
                               i->command->name);
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
                const char *takes = k < (int) COMMAND_ARGUMENTS_MAX ? c->takes[k] : NULL;

                /* "" means "all" on the bus: an unset variable of a script must not stop everything */
                if (!*arguments[k]) {
                        return problem(ret_problem,
                                       "An empty argument. Usage: mamctl %s %s",
                                       c->name,
                                       c->arguments);
                }
                if (takes && *takes != '@' && !value_is_one_of(arguments[k], takes))
                        return problem_not_a_word(ret_problem, "", c->name, arguments[k], takes);
                i->arguments[i->n_arguments++] = arguments[k];
        }
        return 0;
}

int invocation_parse(Invocation *ret, int argc, char **argv, char **ret_problem) {
        Invocation i = { 0 };
        int first, r;

        assert(ret);
        assert(ret_problem);

        /* what an option means depends on the command, so the command is found first */
        first = parse_options(&i, NULL, argc, argv, ret_problem);
        if (first < 0)
                return first;
        argc -= first;
        argv += first;

        if (argc > 0) {
                i.command = command_find(*argv);
                if (!i.command)
                        return problem_unknown_command(ret_problem, *argv);
                first = parse_options(&i, i.command, argc, argv, ret_problem);
                if (first < 0)
                        return first;
        } else if (!i.help && !i.version)
                return problem(ret_problem, "No command. 'mamctl help' lists the commands.");

        /* help and the version are given whatever else is wrong with the line */
        if (!i.help && !i.version) {
                r = check_options(&i, ret_problem);
                if (r < 0)
                        return r;
                r = check_arguments(&i, argc - first, argv + first, ret_problem);
                if (r < 0)
                        return r;
        }

        *ret = i;
        return 0;
}
