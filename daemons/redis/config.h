/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The configuration of one Redis instance, as text
 *
 * It holds the hashes of the services' passwords and, for a replica, its own password in the clear.
 * Therefore it is never a file: main() hands it to redis-server through stdin, from memory.
 *
 * Why TCP between the instances: Redis can only follow a primary by host and port, not by unix socket. So
 * instance 1 listens on 127.0.0.1 as well, if there is a credential for replication; the units give all
 * instances one network of their own, so nobody else can connect. Still each connection is anonymous until
 * it authenticates, and the user "replication" may do nothing but follow. All others have a unix socket
 * only.
 */

#include <stdint.h>

#include "libmam/util/buffer.h"

#define REDIS_CREDENTIAL_MAX   128U
#define REDIS_CLIENTS_MAX      64U
#define REDIS_REPLICATION_USER "replication"
#define REDIS_PORT_DEFAULT     6379U

typedef struct RedisUser {
        char name[64];
        char password[REDIS_CREDENTIAL_MAX];
} RedisUser;

typedef struct RedisConfig {
        unsigned instance;     /* N; 1 is the primary */
        unsigned port;         /* of the primary, on loopback */
        uint64_t memory_bytes; /* the unit's limit; 0: unknown */
        char socket[4096];     /* path */
        char state[4096];      /* folder */
        RedisUser users[REDIS_CLIENTS_MAX];
        unsigned n_users; /* "replication" may be among them */
} RedisConfig;

/* Reads "redis.<id>" in folder, each a password. -EINVAL: a name or a password with characters that have no
 * place there; -E2BIG. */
int redis_config_read_credentials(RedisConfig *c, const char *folder);
/* -ENOKEY: an instance that should follow has no replication credential. */
int redis_config_format(MamBuffer *b, const RedisConfig *c);
/* Overwrites the passwords. */
void redis_config_wipe(RedisConfig *c);
