/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cluster's configuration files
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/util/file.h"
#include "libmam/util/macro.h"
#include "postgresql/settings.h"

#define MIB               (1024ULL * 1024)
#define MEMORY_DEFAULT    (512 * MIB)
#define MEMORY_PER_CLIENT (8 * MIB)
#define CONNECTIONS_LEAST 40U
#define CONNECTIONS_MOST  400U
#define CONF_MAX          ((size_t) 1024 * 1024)
#define HEAD              "# Written by mam-postgresql at each start: changes are lost. Use local.conf beside it.\n"
#define INCLUDES \
        "\n# The last word: mam's settings, then the administrator's\ninclude 'mam.conf'\ninclude_if_exists 'local.conf'\n"

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most) {
        return value < least ? least : value > most ? most : value;
}

int settings_for_each_service(
                const char *services,
                int (*fn)(const char *id, const char *role, void *userdata),
                void *userdata) {
        const char *at = services ?: "";
        int r;

        assert(fn);

        for (;;) {
                char id[SERVICE_ID_MAX + 1], role[SERVICE_ID_MAX + 1];
                size_t n;

                at += strspn(at, " \t\n");
                n = strcspn(at, " \t\n");
                if (n == 0)
                        return 0;
                if (n > SERVICE_ID_MAX || *at < 'a' || *at > 'z' ||
                    strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789-") < n)
                        return -EINVAL;

                for (size_t i = 0; i < n; i++) {
                        id[i] = at[i];
                        role[i] = (char) (at[i] == '-' ? '_' : at[i]);
                }
                id[n] = role[n] = '\0';
                at += n;

                r = fn(id, role, userdata);
                if (r < 0)
                        return r;
        }
}

int settings_format_conf(MamBuffer *b, const Cluster *c, const Settings *s) {
        uint64_t memory = s->memory_bytes ?: MEMORY_DEFAULT;
        uint64_t connections = s->connections
                                               ?: clamp(memory / MEMORY_PER_CLIENT,
                                                        CONNECTIONS_LEAST,
                                                        CONNECTIONS_MOST);
        uint64_t shared = clamp(memory / 4, 16 * MIB, 16384 * MIB) / MIB;
        uint64_t work = clamp(memory / 2 / connections, 1 * MIB, 64 * MIB) / MIB;
        uint64_t maintenance = clamp(memory / 16, 16 * MIB, 1024 * MIB) / MIB;

        return mam_buffer_appendf(
                        b,
                        HEAD "listen_addresses = ''\n"
                             "port = 5432\n"
                             "unix_socket_directories = '%s'\n"
                             "unix_socket_permissions = 0777\n"
                             "max_connections = %llu\n"
                             "superuser_reserved_connections = 3\n"
                             "shared_buffers = %lluMB\n"
                             "work_mem = %lluMB\n"
                             "maintenance_work_mem = %lluMB\n"
                             "effective_cache_size = %lluMB\n"
                             "fsync = on\n"
                             "synchronous_commit = on\n"
                             "full_page_writes = on\n"
                             "max_wal_size = 1GB\n"
                             "# the sandbox forbids writable code\n"
                             "jit = off\n"
                             "# the journal gets what goes to stderr\n"
                             "log_destination = 'stderr'\n"
                             "logging_collector = off\n"
                             "log_line_prefix = '%%q%%u@%%d '\n"
                             "log_min_duration_statement = 1s\n"
                             "log_lock_waits = on\n"
                             "log_parameter_max_length = 0\n"
                             "log_parameter_max_length_on_error = 0\n"
                             "log_timezone = 'UTC'\n"
                             "timezone = 'UTC'\n"
                             "client_connection_check_interval = 5s\n"
                             "cluster_name = 'mam'\n"
                             "update_process_title = off\n",
                        c->socket,
                        (unsigned long long) connections,
                        (unsigned long long) shared,
                        (unsigned long long) work,
                        (unsigned long long) maintenance,
                        (unsigned long long) (memory / 4 * 3 / MIB));
}

int settings_format_hba(MamBuffer *b) {
        /* Who is not named is rejected: there is no other line. */
        return mam_buffer_append_string(
                        b,
                        HEAD "# type  database  user      method\n"
                             "local   all       postgres  peer map=mam\n"
                             "local   mam       all       peer map=mam\n");
}

static int ident_line(const char *id, const char *role, void *userdata) {
        return mam_buffer_appendf(userdata, "mam   mam-%s   %s\n", id, role);
}

int settings_format_ident(MamBuffer *b, const Settings *s) {
        int r;

        r = mam_buffer_appendf(b, HEAD "# map  OS user  role\nmam   %s   postgres\n", s->superuser);
        if (r < 0)
                return r;

        return settings_for_each_service(s->services, ident_line, b);
}

static int write_beside(const Cluster *c, const char *name, const MamBuffer *b) {
        char path[4096 + 32];

        (void) snprintf(path, sizeof(path), "%s/%s", c->data, name);
        return mam_file_write_atomic(path, mam_buffer_bytes(b), b->size, 0600);
}

/* initdb's postgresql.conf stays as it is, with the includes behind it. */
static int write_includes(const Cluster *c) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_freep) char *conf = NULL;
        char path[4096 + 32];
        size_t size;
        int r;

        (void) snprintf(path, sizeof(path), "%s/postgresql.conf", c->data);
        r = mam_file_read(&conf, &size, path, CONF_MAX);
        if (r < 0)
                return r;
        if (strstr(conf, INCLUDES))
                return 0;

        r = mam_buffer_append(&b, conf, size);
        if (r >= 0)
                r = mam_buffer_append_string(&b, INCLUDES);
        if (r < 0)
                return r;

        return write_beside(c, "postgresql.conf", &b);
}

int settings_write(const Cluster *c, const Settings *s) {
        _cleanup_(mam_buffer_done) MamBuffer conf = MAM_BUFFER_INIT;
        _cleanup_(mam_buffer_done) MamBuffer hba = MAM_BUFFER_INIT;
        _cleanup_(mam_buffer_done) MamBuffer ident = MAM_BUFFER_INIT;
        int r;

        assert(c);
        assert(s);

        r = settings_format_conf(&conf, c, s);
        if (r >= 0)
                r = settings_format_hba(&hba);
        if (r >= 0)
                r = settings_format_ident(&ident, s);
        if (r >= 0)
                r = write_beside(c, "mam.conf", &conf);
        if (r >= 0)
                r = write_beside(c, "pg_hba.conf", &hba);
        if (r >= 0)
                r = write_beside(c, "pg_ident.conf", &ident);
        if (r >= 0)
                r = write_includes(c);

        return r;
}
