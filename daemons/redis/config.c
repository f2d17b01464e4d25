/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The configuration of one Redis instance
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "redis/config.h"

#define PREFIX         "redis."
#define EVENT_BUS_USER "event-bus"
#define EVENT_BUS_BELL "event-bus:bell" /* MAM_EVENT_BELL of libmam/events */
#define MEMORY_DEFAULT (256ULL * 1024 * 1024)

MAM_DEFINE_CLEANUP(DIR, closedir);

static bool is_only(const char *text, const char *allowed) {
        return text[0] && text[strspn(text, allowed)] == '\0';
}

static int read_user(RedisConfig *c, const char *folder, const char *name) {
        _cleanup_(mam_freep) char *password = NULL;
        RedisUser *user = c->users + c->n_users;
        char path[4096];
        int r = 0;

        if (c->n_users == REDIS_CLIENTS_MAX)
                return -E2BIG;
        if (strlen(name) >= sizeof(user->name) || !is_only(name, "abcdefghijklmnopqrstuvwxyz0123456789-"))
                return -EINVAL;
        if (snprintf(path, sizeof(path), "%s/" PREFIX "%s", folder, name) >= (int) sizeof(path))
                return -ENAMETOOLONG;

        r = mam_file_read(&password, NULL, path, REDIS_CREDENTIAL_MAX - 1);
        if (r < 0)
                return r;

        password[strcspn(password, "\n")] = '\0';
        if (is_only(password, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+/=")) {
                (void) snprintf(user->name, sizeof(user->name), "%s", name);
                (void) snprintf(user->password, sizeof(user->password), "%s", password);
                c->n_users++;
        } else
                r = -EINVAL;

        explicit_bzero(password, strlen(password));
        return r;
}

static int compare_users(const void *a, const void *b) {
        return strcmp(((const RedisUser *) a)->name, ((const RedisUser *) b)->name);
}

int redis_config_read_credentials(RedisConfig *c, const char *folder) {
        _cleanup_(closedirp) DIR *d = NULL;
        const struct dirent *entry;
        int r;

        assert(c);
        assert(folder);

        d = opendir(folder);
        if (!d)
                return -errno;

        while ((entry = readdir(d))) {
                if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
                        continue;
                r = read_user(c, folder, entry->d_name + strlen(PREFIX));
                if (r < 0)
                        return r;
        }

        qsort(c->users, c->n_users, sizeof(c->users[0]), compare_users);
        return 0;
}

/* With the event bus there, every service may ring its bell, and neither listen there nor more. */
static int append_bell(MamBuffer *b, const RedisConfig *c, const RedisUser *user) {
        if (strcmp(user->name, EVENT_BUS_USER) == 0)
                return 0;
        for (unsigned i = 0; i < c->n_users; i++) {
                if (strcmp(c->users[i].name, EVENT_BUS_USER) == 0)
                        return mam_buffer_append_string(b, " (+publish &" EVENT_BUS_BELL ")");
        }
        return 0;
}

static int append_user(MamBuffer *b, const RedisConfig *c, const RedisUser *user) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;
        char hex[2 * EVP_MAX_MD_SIZE + 1];
        int r;

        if (!EVP_Digest(user->password, strlen(user->password), digest, &size, EVP_sha256(), NULL))
                return -EIO;
        for (unsigned i = 0; i < size; i++)
                (void) snprintf(hex + (size_t) 2 * i, 3, "%02x", digest[i]);

        if (strcmp(user->name, REDIS_REPLICATION_USER) == 0) {
                return mam_buffer_appendf(
                                b,
                                "user %s on #%s resetkeys resetchannels -@all +psync +replconf +ping\n",
                                user->name,
                                hex);
        }

        r = mam_buffer_appendf(
                        b,
                        "user %s on #%s ~%s:* resetchannels &%s:* +@all -@admin -@dangerous",
                        user->name,
                        hex,
                        user->name,
                        user->name);
        if (r >= 0)
                r = append_bell(b, c, user);
        return r < 0 ? r : mam_buffer_append(b, "\n", 1);
}

static const RedisUser *find_replication(const RedisConfig *c) {
        for (unsigned i = 0; i < c->n_users; i++) {
                if (strcmp(c->users[i].name, REDIS_REPLICATION_USER) == 0)
                        return c->users + i;
        }

        return NULL;
}

static int append_role(MamBuffer *b, const RedisConfig *c) {
        const RedisUser *replication = find_replication(c);

        if (c->instance == 1) {
                return replication ? mam_buffer_appendf(b, "bind 127.0.0.1\nport %u\n", c->port)
                                   : mam_buffer_append_string(b, "port 0\n");
        }
        if (!replication)
                return -ENOKEY;

        return mam_buffer_appendf(
                        b,
                        "port 0\nreplicaof 127.0.0.1 %u\nmasteruser %s\nmasterauth %s\nreplica-read-only yes\n",
                        c->port,
                        replication->name,
                        replication->password);
}

/* Redis is a cache and a doorbell: losing the last second is allowed, losing all at each start is not
 * wanted. A replica has everything from the primary. */
int redis_config_format(MamBuffer *b, const RedisConfig *c) {
        int r;

        assert(b);
        assert(c);

        r = mam_buffer_appendf(
                        b,
                        "daemonize no\n"
                        "supervised systemd\n"
                        "logfile \"\"\n"
                        "unixsocket %s\n"
                        "unixsocketperm 777\n"
                        "dir %s\n"
                        "databases 1\n"
                        "maxclients 4096\n"
                        "tcp-keepalive 60\n"
                        /* the rest of the limit is for buffers, and for what changes while a child writes */
                        "maxmemory %llu\n"
                        "maxmemory-policy allkeys-lru\n"
                        "appendonly %s\n"
                        "appendfsync everysec\n"
                        "save \"\"\n"
                        "shutdown-timeout 5\n"
                        /* without it, a SIGTERM while the first AOF is written is ignored */
                        "shutdown-on-sigterm force\n"
                        "shutdown-on-sigint force\n"
                        /* a replica is not READY before it has followed: nobody else is worth waiting for */
                        "repl-diskless-sync-delay 0\n"
                        "set-proc-title no\n"
                        /* who has not authenticated gets NOAUTH, which is sign of life enough */
                        "user default reset off\n",
                        c->socket,
                        c->state,
                        (unsigned long long) ((c->memory_bytes ?: MEMORY_DEFAULT) / 4 * 3),
                        c->instance == 1 ? "yes" : "no");
        if (r < 0)
                return r;

        r = append_role(b, c);
        for (unsigned i = 0; r >= 0 && i < c->n_users; i++)
                r = append_user(b, c, c->users + i);

        return r;
}

void redis_config_wipe(RedisConfig *c) {
        for (unsigned i = 0; i < c->n_users; i++)
                explicit_bzero(c->users[i].password, sizeof(c->users[i].password));
}
