/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Commands, options, and reading a command line
 *
 * Two tables (command-table.c) say everything about commands and options; parsing, help, and shell
 * completion all come from them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "libmam/util/macro.h"
#include "mamctl/value.h"

typedef struct Command Command;
typedef struct Invocation Invocation;
typedef struct OptionInfo OptionInfo;

#define COMMAND_ARGUMENTS_MAX    2U /* of commands for people */
#define INVOCATION_ARGUMENTS_MAX 4U
#define INVOCATION_ROLES_MAX     16U
#define INVOCATION_SCOPES_MAX    32U

typedef enum Verb {
        VERB_INIT,
        VERB_START,
        VERB_STOP,
        VERB_RESTART,
        VERB_SCALE,
        VERB_LIMITS,
        VERB_AUTOSCALE,
        VERB_DEPLOY,
        VERB_ROLLOUT,
        VERB_UNDO,
        VERB_HISTORY,
        VERB_LIST,
        VERB_STATUS,
        VERB_HEALTH,
        VERB_METRICS,
        VERB_TOP,
        VERB_GRAPH,
        VERB_ENDPOINTS,
        VERB_GATEWAY,
        VERB_EXPORT,
        VERB_EXPLAIN,
        VERB_PLAN,
        VERB_EVENTS,
        VERB_ALERTS,
        VERB_LOGS,
        VERB_CHAOS,
        VERB_TOKEN,
        VERB_KEY,
        VERB_VERSION,
        VERB_HELP,
        VERB_COMPLETE, /* hidden: asked by the shells' completion */
        _VERB_MAX,
} Verb;

typedef enum Option {
        OPTION_JSON,
        OPTION_WAIT,
        OPTION_NO_WAIT,
        OPTION_TIMEOUT,
        OPTION_FOLLOW,
        OPTION_LINES,
        OPTION_SINCE,
        OPTION_CPU,
        OPTION_MEMORY,
        OPTION_VERTICAL,
        OPTION_INTERVAL,
        OPTION_ONCE,
        OPTION_LABEL, /* --version of deploy */
        OPTION_EXEC,
        OPTION_IMAGE,
        OPTION_STRATEGY,
        OPTION_STEPS,
        OPTION_PAUSE,
        OPTION_MAX_SURGE,
        OPTION_MAX_UNAVAILABLE,
        OPTION_MIN_HEALTHY,
        OPTION_HEALTHY_DEADLINE,
        OPTION_PROGRESS_DEADLINE,
        OPTION_NO_AUTO_REVERT,
        OPTION_DIFF,
        OPTION_EXIT_CODE,
        OPTION_SVG,
        OPTION_DOT,
        OPTION_ASCII,
        OPTION_FOR,
        OPTION_PERCENT,
        OPTION_YES,
        OPTION_SUBJECT,
        OPTION_ROLE,
        OPTION_SCOPE,
        OPTION_GRACE,
        OPTION_TTL,
        OPTION_HOST,
        OPTION_OUTPUT,
        OPTION_QUIET,
        OPTION_NO_ASK_PASSWORD,
        OPTION_HELP,
        OPTION_VERSION,
        _OPTION_MAX,
} Option;

/* A set of options. */
#define OPTION_BIT(option) (UINT64_C(1) << (option))
_Static_assert(_OPTION_MAX <= 64, "a set of options is one integer");

struct OptionInfo {
        const char *name;
        char letter;          /* of the short form, or NUL */
        const char *argument; /* as shown in help; NULL: none */
        const char *values;   /* "a|b" or "@revision": offered by completion; or NULL */
        bool only_values;     /* nothing else is accepted */
        const char *summary;
};

struct Command {
        const char *name;
        const char *arguments; /* as shown in help, or "" */
        unsigned min_arguments, max_arguments;
        /* What each argument may be: "@service" (with words behind it: "@service|a|b"), "@revision" (of the
         * service that is the first argument),
         * "@command", or the words that are accepted: "a|b". NULL: anything. */
        const char *takes[COMMAND_ARGUMENTS_MAX];
        uint64_t options;    /* a set, beyond the common ones */
        const char *action;  /* of polkit, without its prefix; NULL: none */
        const char *summary; /* one line, or NULL: hidden */
        const char *details; /* more lines for its own help */
};

struct Invocation {
        const Command *command;
        const char *arguments[INVOCATION_ARGUMENTS_MAX]; /* borrowed from argv; NULL where absent */
        unsigned n_arguments;
        uint64_t given; /* the set of options on the command line */

        bool help;
        bool version;
        bool json;
        bool no_wait;
        bool quiet;
        bool no_ask_password;
        bool follow;
        const char *host; /* borrowed, as all strings here */
        const char *lines;
        const char *output;
        const char *cpu;
        const char *memory;
        const char *vertical;
        const char *diff;
        const char *subject;
        const char *roles[INVOCATION_ROLES_MAX]; /* as given: each may be a comma-separated list */
        size_t n_roles;
        const char *scopes[INVOCATION_SCOPES_MAX]; /* the same */
        size_t n_scopes;
        uint64_t grace_usec;    /* of the secret before a rotation */
        uint64_t ttl_usec;      /* 0: the manager's default */
        uint64_t interval_usec; /* 0: one sample; top: its default */
        uint64_t timeout_usec;  /* 0: wait as long as it takes */
        uint64_t since_usec;    /* this long ago; 0: from the beginning */
        uint64_t for_usec;

        /* deploy; what was not given is the manager's default */
        const char *label, *exec, *image, *strategy;
        uint32_t steps[VALUE_STEPS_MAX];
        size_t n_steps;
        uint32_t max_surge, max_unavailable;
        uint64_t pause_usec, min_healthy_usec, healthy_deadline_usec, progress_deadline_usec;

        uint32_t percent; /* of chaos */
};

/* 0; -EINVAL with *ret_problem for the user (caller frees); -ENOMEM. Does not print. argv is permuted as
 * getopt_long(3) does. */
int invocation_parse(Invocation *ret, int argc, char **argv, char **ret_problem);
static inline bool invocation_has(const Invocation *i, Option option) {
        return i->given & OPTION_BIT(option);
}

const Command *command_find(const char *name);
/* The n-th of the table, in the order of Verb, or NULL behind its end. */
const Command *command_at(size_t n);
Verb command_verb(const Command *command);
/* command NULL: the options that all commands take. */
bool command_takes(const Command *command, Option option);
const OptionInfo *option_info(Option option);

/* The help of one command, or with NULL of mamctl as a whole. */
void command_help(const Command *command, FILE *f, bool colour);

/* For completion, one a line: long options that the command takes (NULL: the common ones), as "--name" or
 * "--name="; all options that take a value, as "--name" and "-n". */
void command_print_options(const Command *command, FILE *f);
void command_print_valued(FILE *f);
/* What the option of the command ("--name" or "-n") may be given, as OptionInfo.values, or NULL. */
const char *command_option_values(const Command *command, const char *name);
