/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the shells' completion asks: mamctl __complete
 *   commands                       name:summary
 *   services                       ids, where the manager runs
 *   options [COMMAND]              --name, or --name= where it takes a value
 *   valued                         every option of any command that takes a value, as --name and -n
 *   -- values OPTION COMMAND [SERVICE]  what the value may be
 *   argument COMMAND N [SERVICE]   what the N-th argument, from 0, may be
 *
 * One word a line. It never fails loudly and never starts the manager: pressing Tab changes nothing.
 */

#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "mamctl/bus-json.h"
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

/* Names and versions of the revisions; without a word where the service has none or does not exist. */
static void complete_revisions(Client *c, const char *service) {
        static const char *const keys[] = { "revision", "version" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(json_object_putp) json_object *rows = NULL;

        if (!service || (!c->bus && sd_bus_open_system(&c->bus) < 0))
                return;
        if (sd_bus_message_new_method_call(
                            c->bus,
                            &m,
                            MAM_BUS_NAME,
                            MAM_BUS_PATH,
                            MAM_IFACE_MANAGER,
                            "ListRevisions") < 0 ||
            sd_bus_message_append(m, "s", service) < 0 || sd_bus_message_set_auto_start(m, false) < 0 ||
            sd_bus_call(c->bus, m, CLIENT_COMPLETE_TIMEOUT_USEC, NULL, &reply) < 0 ||
            bus_json_read_rows(reply, keys, MAM_ELEMENTSOF(keys), &rows) <= 0)
                return;

        for (size_t i = 0; i < json_length(rows); i++) {
                json_object *row = json_object_array_get_idx(rows, i);

                puts(json_text(row, "revision"));
                if (*json_text(row, "version"))
                        puts(json_text(row, "version"));
        }
}

static void complete_words(const char *words) {
        const char *word;
        size_t length;

        for (size_t n = 0; (word = value_word(words, n, &length)); n++)
                printf("%.*s\n", (int) length, word);
}

static ExitCode complete_argument(Client *c, const char *name, const char *number, const char *service) {
        const Command *command = name ? command_find(name) : NULL;
        const char *takes;
        uint32_t n;

        if (!command || !number || value_parse_count(number, &n) < 0)
                return EXIT_CODE_USAGE;
        takes = n < COMMAND_ARGUMENTS_MAX ? command->takes[n] : NULL;
        if (!takes)
                return EXIT_CODE_FAILURE; /* nothing to offer */

        if (strncmp(takes, "@service|", 9) == 0) {
                complete_words(takes + 9);
                complete_services(c);
        } else if (strcmp(takes, "@service") == 0) {
                complete_services(c);
        } else if (strcmp(takes, "@revision") == 0) {
                complete_revisions(c, service);
        } else if (strcmp(takes, "@command") == 0) {
                complete_commands();
        } else {
                complete_words(takes);
        }
        return EXIT_CODE_OK;
}

static ExitCode complete_values(Client *c, const char *option, const char *name, const char *service) {
        const Command *command = name ? command_find(name) : NULL;
        const char *values;

        if (!option)
                return EXIT_CODE_USAGE;
        values = command_option_values(command, option);
        if (!values)
                return EXIT_CODE_FAILURE;
        if (strcmp(values, "@revision") == 0) {
                complete_revisions(c, service);
        } else {
                complete_words(values);
        }
        return EXIT_CODE_OK;
}

ExitCode verb_complete(Client *c) {
        const char *const *a = c->invocation->arguments;

        if (strcmp(a[0], "commands") == 0) {
                complete_commands();
        } else if (strcmp(a[0], "services") == 0) {
                complete_services(c);
        } else if (strcmp(a[0], "options") == 0) {
                command_print_options(a[1] ? command_find(a[1]) : NULL, stdout);
        } else if (strcmp(a[0], "valued") == 0) {
                command_print_valued(stdout);
        } else if (strcmp(a[0], "values") == 0) {
                return complete_values(c, a[1], a[2], a[3]);
        } else if (strcmp(a[0], "argument") == 0) {
                return complete_argument(c, a[1], a[2], a[3]);
        } else {
                return EXIT_CODE_USAGE;
        }
        return EXIT_CODE_OK;
}
