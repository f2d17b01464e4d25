/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The command line of journalctl that shows a service
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "mamctl/command.h"

typedef struct LogsCommand {
        char **argv; /* owned, with its strings; ends in NULL */
        size_t n;
} LogsCommand;

void logs_command_done(LogsCommand *l);

/* "id" or "id:n"; *ret_replica is 0 without a number. -EINVAL: neither. */
int logs_split(const char *what, char ret_id[static 32], uint32_t *ret_replica);

/* id NULL: everything. services: what Status said, or NULL where the manager was not reached. terminal:
 * stdin and stdout are one. */
int logs_command_build(
                LogsCommand *l,
                const Invocation *i,
                const char *id,
                uint32_t replica,
                json_object *services,
                bool terminal);
