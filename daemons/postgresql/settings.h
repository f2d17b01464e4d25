/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The cluster's configuration files
 *
 * mam.conf, pg_hba.conf and pg_ident.conf are written anew at each start; what an administrator wants
 * otherwise goes into local.conf beside them, which is read last, or ALTER SYSTEM.
 */

#include <stdint.h>

#include "libmam/util/buffer.h"
#include "postgresql/cluster.h"

typedef struct Settings {
        uint64_t memory_bytes; /* the unit's limit; 0: unknown */
        unsigned connections;  /* 0: by memory */
        const char *services;  /* ids with a database role, separated by spaces */
        const char *superuser; /* OS user that may be the role postgres: who runs the server */
} Settings;

#define SERVICE_ID_MAX 56U /* a role is at most 63 bytes */

/* Calls fn for each id. -EINVAL: an id is not [a-z][a-z0-9-]*, or too long; those before it were handed out.
 */
int settings_for_each_service(
                const char *services,
                int (*fn)(const char *id, const char *role, void *userdata),
                void *userdata);

int settings_format_conf(MamBuffer *b, const Cluster *c, const Settings *s);
int settings_format_hba(MamBuffer *b);
int settings_format_ident(MamBuffer *b, const Settings *s);
/* Writes all of them, and has postgresql.conf include them. */
int settings_write(const Cluster *c, const Settings *s);
