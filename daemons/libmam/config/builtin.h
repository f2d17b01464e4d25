/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is known of the services that mam brings along, beyond what services.json says
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/config/config.h"

typedef struct MamBuiltin {
        const char *id;
        const char *binary;        /* below MAM_LIBEXEC_DIR */
        MamProbeType probe;        /* default of healthCheck.type */
        bool replica_socket;       /* takes mam@ID:N.socket and mam-ID.socket from systemd */
        bool database;             /* gets a role and a schema in postgresql */
        bool cache;                /* gets an ACL user in redis */
        uint32_t replicas_max;     /* 0: as many as the configuration permits */
        const char *const *routes; /* NULL-terminated default of "routes" */
} MamBuiltin;

/* NULL: not one of ours. */
const MamBuiltin *mam_builtin_find(const char *id);
