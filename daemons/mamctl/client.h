/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Talking to mam-manager
 *
 * One connection per mamctl, made with the first call. A call blocks: mamctl has nothing else to do. What
 * goes wrong is told to the user here, once, with what to do about it, and becomes an ExitCode.
 */

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "libmam/json/json.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "mamctl/command.h"
#include "mamctl/exit-code.h"
#include "mamctl/polkit-agent.h"
#include "mamctl/terminal.h"

/* Pressing Tab waits no longer. */
#define CLIENT_COMPLETE_TIMEOUT_USEC (2 * MAM_USEC_PER_SEC)

typedef struct Client {
        const Invocation *invocation; /* borrowed */
        Terminal terminal;
        sd_bus *bus; /* owned; NULL until client_connect() */
        PolkitAgent agent;
} Client;

void client_init(Client *c, const Invocation *invocation);
void client_done(Client *c);

/* Prints "mamctl: …" on stderr, red on a terminal. */
void client_complain(const Client *c, const char *format, ...) _printf_(2, 3);
/* A line for people on stdout, unless --quiet or --json. */
void client_say(const Client *c, const char *format, ...) _printf_(2, 3);

/* Connects if need be. */
ExitCode client_connect(Client *c);

/* The two halves of a call whose arguments need more than a format. act: polkit has a say, and the user may
 * be asked for a password. ret may be NULL. */
ExitCode client_new_call(Client *c, sd_bus_message **ret, const char *method);
ExitCode client_send(Client *c, sd_bus_message *m, bool act, sd_bus_message **ret);

/* Calls a method of the Manager1 object that only reads. */
ExitCode client_read(Client *c, sd_bus_message **ret, const char *method, const char *types, ...);
/* Calls a method that polkit has a say in; the user may be asked for a password. */
ExitCode client_act(Client *c, sd_bus_message **ret, const char *method, const char *types, ...);

/* Tells what a failed call means. service: the one asked for, or NULL. */
ExitCode client_explain(Client *c, const sd_bus_error *error, int r, const char *service);
/* The manager's answer is not what the interface says. */
ExitCode client_bad_reply(const Client *c, int r);

/* Ids of all services, without telling the user anything. Caller frees with client_names_free(). */
int client_service_names(Client *c, char ***ret, size_t *ret_n, bool may_start_manager);
char **client_names_free(char **names);
MAM_DEFINE_CLEANUP(char *, client_names_free);

/* One JSON document on stdout: indented on a terminal, else one line. */
ExitCode client_print_json(const Client *c, json_object *o);
/* The same for a list: {"key": [...]}, so that a document can grow. Takes a reference of its own. */
ExitCode client_print_json_list(const Client *c, const char *key, json_object *list);
