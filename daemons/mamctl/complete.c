/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the shells' completion asks: mamctl __complete commands|services|options [COMMAND]|takes-service
 * COMMAND
 *
 * One word a line. It never fails loudly and never starts the manager: pressing Tab changes nothing.
 */

#include <string.h>

#include "mamctl/verbs.h"

static void complete_commands(void) {
        const Command *command;

        for (size_t i = 0; (command = command_at(i)); i++) {
                if (command->summary)
                        printf("%s:%s\n", command->name, command->summary);
        }
}

static void complete_services(Client *c) {
        _cleanup_(client_names_freep) char **names = NULL;
        size_t n = 0;

        if (client_service_names(c, &names, &n, false) < 0)
                return;
        for (size_t i = 0; i < n; i++)
                puts(names[i]);
}

ExitCode verb_complete(Client *c) {
        const char *what = c->invocation->arguments[0], *name = c->invocation->arguments[1];
        const Command *command = name ? command_find(name) : NULL;

        if (strcmp(what, "commands") == 0) {
                complete_commands();
        } else if (strcmp(what, "services") == 0) {
                complete_services(c);
        } else if (strcmp(what, "options") == 0) {
                command_print_options(command, stdout);
        } else if (strcmp(what, "takes-service") == 0) {
                return command && command->takes_service ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
        } else {
                return EXIT_CODE_USAGE;
        }
        return EXIT_CODE_OK;
}
