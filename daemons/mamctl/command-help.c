/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the tables of commands and options say: help, and words for completion
 */

#include <assert.h>
#include <string.h>

#include "mamctl/command.h"
#include "mamctl/terminal.h"

static void help_options(const Command *command, FILE *f) {
        for (Option option = 0; option < _OPTION_MAX; option++) {
                const OptionInfo *info = option_info(option);
                char left[64];

                if (!command_takes(command, option))
                        continue;
                snprintf(left,
                         sizeof(left),
                         "%c%c%s --%s%s%s",
                         info->letter ? '-' : ' ',
                         info->letter ? info->letter : ' ',
                         info->letter ? "," : " ",
                         info->name,
                         info->argument ? "=" : "",
                         info->argument ? info->argument : "");
                fprintf(f, "  %-28s  %s\n", left, info->summary);
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

        assert(f);

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
                fprintf(f, "  %-28s  %s\n", left, c->summary);
        }
        fprintf(f, "\nOptions of every command:\n");
        help_options(NULL, f);
        fprintf(f, "\n'mamctl help COMMAND' says more; mamctl(1) says it all.\n");
}

void command_print_options(const Command *command, FILE *f) {
        assert(f);

        for (Option option = 0; option < _OPTION_MAX; option++) {
                const OptionInfo *info = option_info(option);

                if (command_takes(command, option))
                        fprintf(f, "--%s%s\n", info->name, info->argument ? "=" : "");
        }
}

void command_print_valued(FILE *f) {
        assert(f);

        for (Option option = 0; option < _OPTION_MAX; option++) {
                const OptionInfo *info = option_info(option);

                if (!info->argument)
                        continue;
                fprintf(f, "--%s\n", info->name);
                if (info->letter)
                        fprintf(f, "-%c\n", info->letter);
        }
}

const char *command_option_values(const Command *command, const char *name) {
        assert(name);

        for (Option option = 0; option < _OPTION_MAX; option++) {
                const OptionInfo *info = option_info(option);
                bool is = strncmp(name, "--", 2) == 0
                                          ? strcmp(name + 2, info->name) == 0
                                          : name[0] == '-' && name[1] && name[1] == info->letter && !name[2];

                if (is && command_takes(command, option))
                        return info->values;
        }
        return NULL;
}
