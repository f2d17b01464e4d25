/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Commands, options, and reading a command line
 *
 * Two tables say everything about commands and options; parsing, help, and shell completion all come from
 * them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "libmam/util/macro.h"

typedef struct Command Command;
typedef struct Invocation Invocation;

#define INVOCATION_ARGUMENTS_MAX 2U
#define INVOCATION_ROLES_MAX     16U

typedef enum Verb {
        VERB_INIT,
        VERB_START,
        VERB_STOP,
        VERB_RESTART,
        VERB_SCALE,
        VERB_LIMITS,
        VERB_LIST,
        VERB_STATUS,
        VERB_HEALTH,
        VERB_METRICS,
        VERB_ENDPOINTS,
        VERB_LOGS,
        VERB_TOKEN,
        VERB_VERSION,
        VERB_HELP,
        VERB_COMPLETE, /* hidden: asked by the shells' completion */
        _VERB_MAX,
} Verb;

struct Command {
        Verb verb;
        const char *name;
        const char *arguments; /* as shown in help, or "" */
        unsigned min_arguments, max_arguments;
        bool takes_service;  /* the first argument is the id of a service */
        const char *options; /* the options it takes beyond the common ones: their ids in the table of
                                options */
        const char *summary; /* one line, or NULL: hidden */
        const char *details; /* more lines for its own help */
};

struct Invocation {
        const Command *command;
        const char *arguments[INVOCATION_ARGUMENTS_MAX]; /* borrowed from argv; NULL where absent */
        unsigned n_arguments;
        bool help;
        bool version;
        bool json;
        bool no_wait;
        bool quiet;
        bool no_ask_password;
        bool follow;
        const char *host; /* borrowed, as all strings here */
        const char *lines;
        const char *cpu;
        const char *memory;
        const char *subject;
        const char *roles[INVOCATION_ROLES_MAX]; /* as given: each may be a comma-separated list */
        size_t n_roles;
        uint64_t ttl_usec;      /* 0: the manager's default */
        uint64_t interval_usec; /* 0: one sample */
        uint64_t timeout_usec;  /* 0: wait as long as it takes */
};

/* 0; -EINVAL with *ret_problem for the user (caller frees); -ENOMEM. Does not print. argv is permuted as
 * getopt_long(3) does. */
int invocation_parse(Invocation *ret, int argc, char **argv, char **ret_problem);

const Command *command_find(const char *name);
/* The n-th of the table, or NULL behind its end. */
const Command *command_at(size_t n);

/* The help of one command, or with NULL of mamctl as a whole. */
void command_help(const Command *command, FILE *f, bool colour);

/* Long options that the command takes (NULL: the common ones), as "--name" or "--name=", one a line. */
void command_print_options(const Command *command, FILE *f);
