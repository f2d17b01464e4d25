/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The drop-in of one replica
 *
 * mam@.service holds the strictest sandbox; here it opens only as far as this one service needs.
 * Dependencies are Wants= on the first replica and After=, not Requires= on the target: a restart after a
 * crash would pull in the target with all its replicas, also those that were scaled away.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "generator/generate-replica.h"
#include "generator/unit-text.h"
#include "libmam/config/builtin.h"
#include "libmam/config/revision.h"
#include "mam-build.h"

#define CREDENTIAL_STORE "/etc/credstore.encrypted/mam."

/* Room for what a text says that is far beyond what the loader lets in. */
#define UNIT_SIZE_MAX (4UL * 1024UL * 1024UL)

/* In all that follows r is carried along: after the first error nothing is appended. */
typedef struct Writer {
        MamBuffer b;
        const MamConfig *config;
        const MamServiceConfig *s;
        uint32_t n;
        int r;
} Writer;

static void writer_done(Writer *w) {
        mam_buffer_done(&w->b);
}

static void add(Writer *w, const char *format, ...) _printf_(2, 3);
static void add(Writer *w, const char *format, ...) {
        char *text = NULL;
        va_list ap;

        if (w->r < 0)
                return;
        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                w->r = -ENOMEM;
        va_end(ap);
        if (w->r < 0)
                return;
        w->r = mam_buffer_append_string(&w->b, text);
        free(text);
}

static void add_variable(Writer *w, const char *assignment) {
        add(w, "Environment=");
        if (w->r == 0)
                w->r = unit_text_append_word(&w->b, assignment);
        add(w, "\n");
}

static void add_variablef(Writer *w, const char *format, ...) _printf_(2, 3);
static void add_variablef(Writer *w, const char *format, ...) {
        char *text = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                w->r = -ENOMEM;
        }
        va_end(ap);
        if (text)
                add_variable(w, text);
        free(text);
}

/* All instances of Redis share one network of their own, in which the replicas follow the first one: nobody
 * else can connect, and a Redis of the host may have the port. Each names all others, as any of them may be
 * the one that still runs and holds the network. */
static void write_shared_network(Writer *w) {
        char unit[MAM_UNIT_NAME_MAX];

        for (uint32_t n = 1; n <= mam_service_instances_max(w->s); n++) {
                if (n == w->n)
                        continue;
                mam_unit_replica_service(unit, w->s->id, n);
                add(w, "JoinsNamespaceOf=%s\n", unit);
        }
}

static void write_dependencies(Writer *w) {
        const MamServiceConfig *s = w->s;
        char target[MAM_UNIT_NAME_MAX], unit[MAM_UNIT_NAME_MAX];

        mam_unit_target(target, s->id);
        add(w, "PartOf=%s\n", target);
        for (char **d = s->dependencies; *d; d++) {
                mam_unit_target(target, *d);
                mam_unit_replica_service(unit, *d, 1);
                add(w, "Wants=%s\nAfter=%s %s\n", unit, unit, target);
        }
        if (s->probe == MAM_PROBE_REDIS) {
                write_shared_network(w);
                mam_unit_replica_service(unit, s->id, 1);
                if (w->n > 1)
                        add(w, "After=%s\n", unit); /* whose copy it becomes */
        }
        if (mam_service_has_replica_socket(s)) {
                mam_unit_replica_socket(unit, s->id, w->n);
                add(w, "Requires=%s\nAfter=%s\n", unit, unit);
        }
        if (mam_service_has_public_socket(s)) {
                mam_unit_public_socket(unit, s->id);
                add(w, "Requires=%s\nAfter=%s\n", unit, unit);
        }
        /* Wanted only: where its port is taken, the other one is served all the same. */
        if (mam_service_has_tls_socket(w->config, s)) {
                mam_unit_tls_socket(unit, s->id);
                add(w, "Wants=%s\nAfter=%s\n", unit, unit);
        }
}

static void add_argument(Writer *w, const char *text) {
        if (w->r == 0)
                w->r = unit_text_append_argument(&w->b, text);
}

/* The program finds a folder as its root, read-only as all of the system is. What systemd runs before and
 * after it (mam-exit) stays outside. systemd itself brings sockets, credentials, its own runtime and state
 * directories and the socket for READY inside; mount points that the folder lacks are made in it. */
static void write_image(Writer *w) {
        if (!w->s->image)
                return;
        add(w, "RootDirectory=%s\n", w->s->image); /* nothing in it needs escaping: checked */
        add(w,
            "RootDirectoryStartOnly=yes\n"
            "MountAPIVFS=yes\n"
            "BindReadOnlyPaths=-/run/systemd/journal -" MAM_STATE_DIR "/keys\n");
        if (!w->s->exec || w->s->database || w->s->cache)
                add(w, "BindReadOnlyPaths=-/run/mam\n");
}

static void write_command(Writer *w) {
        const MamBuiltin *builtin = mam_builtin_find(w->s->id);
        _cleanup_(mam_freep) char *program = NULL;

        add(w, "\n[Service]\nExecStart=");
        if (w->s->program) {
                add_argument(w, w->s->program);
        } else if (builtin) {
                add(w, MAM_LIBEXEC_DIR "/%s", builtin->binary);
        } else {
                if (w->r == 0)
                        w->r = mam_revision_program(&program, w->s, w->s->version);
                if (program)
                        add_argument(w, program);
                for (char **a = w->s->exec + 1; *a; a++) {
                        add(w, " ");
                        add_argument(w, *a);
                }
        }
        add(w, "\n");
}

static void write_program(Writer *w) {
        char unit[MAM_UNIT_NAME_MAX];

        write_command(w);
        write_image(w);

        if (w->s->user) {
                add(w, "User=%s\n", w->s->user);
        } else {
                add(w,
                    "DynamicUser=yes\n"
                    /* Its runtime directory would lie below /run/private, where the manager may not look for
                     * the record of how it ended; the record is written as root instead. */
                    "RuntimeDirectory=\n"
                    "ExecStopPost=\n"
                    "ExecStopPost=+" MAM_LIBEXEC_DIR "/mam-exit\n");
        }
        if (mam_service_has_replica_socket(w->s)) {
                mam_unit_replica_socket(unit, w->s->id, w->n);
                add(w, "Sockets=%s\n", unit);
        }
        if (mam_service_has_public_socket(w->s)) {
                mam_unit_public_socket(unit, w->s->id);
                add(w, "Sockets=%s\n", unit);
        }
        if (mam_service_has_tls_socket(w->config, w->s)) {
                mam_unit_tls_socket(unit, w->s->id);
                add(w, "Sockets=%s\n", unit);
        }
}

static void write_limits(Writer *w) {
        const MamServiceConfig *s = w->s;
        char slice[MAM_UNIT_NAME_MAX];

        mam_unit_slice(slice, s->id);
        add(w, "Slice=%s\n", slice);
        if (s->cpu_millis % 10 == 0) {
                add(w, "CPUQuota=%" PRIu64 "%%\n", s->cpu_millis / 10);
        } else {
                add(w, "CPUQuota=%" PRIu64 ".%" PRIu64 "%%\n", s->cpu_millis / 10, s->cpu_millis % 10);
        }
        add(w, "MemoryHigh=%" PRIu64 "\n", s->memory_bytes / 10 * 9);
        add(w, "MemoryMax=%" PRIu64 "\n", s->memory_bytes);
        add(w, "MemorySwapMax=0\n");
        add(w, "TasksMax=%" PRIu64 "\n", s->tasks_max);
}

/* "redis://host:port" and "unix:///path" as libmam/cache wants them: "host:port", "/path". */
static void write_redis_address(Writer *w) {
        const char *dsn = w->config->redis_dsn;
        size_t n;

        if (!dsn) {
                add_variable(w, "MAM_REDIS=/run/mam/redis/1.sock");
                return;
        }
        if (strncmp(dsn, "unix://", 7) == 0) {
                add_variablef(w, "MAM_REDIS=%s", dsn + 7);
                return;
        }
        dsn += strlen("redis://");
        n = strcspn(dsn, "/");
        add_variablef(w, "MAM_REDIS=%.*s%s", (int) n, dsn, memchr(dsn, ':', n) ? "" : ":6379");
}

static void write_data_access(Writer *w) {
        const MamServiceConfig *s = w->s;

        if (s->database) {
                char role[32];

                if (w->config->postgresql_dsn) {
                        add_variablef(w, "MAM_POSTGRESQL=%s", w->config->postgresql_dsn);
                } else {
                        snprintf(role, sizeof(role), "%s", s->id);
                        for (char *c = role; *c; c++) {
                                if (*c == '-')
                                        *c = '_';
                        }
                        add_variablef(w, "MAM_POSTGRESQL=host=/run/mam/postgresql dbname=mam user=%s", role);
                }
        }
        if (s->cache) {
                write_redis_address(w);
                add(w, "LoadCredentialEncrypted=redis.password:" CREDENTIAL_STORE "redis.%s\n", s->id);
        }
}

static void write_environment(Writer *w) {
        const MamServiceConfig *s = w->s;

        for (char **e = s->environment; *e; e++)
                add_variable(w, *e);
        add_variablef(w, "MAM_SERVICE=%s", s->id);
        add_variablef(w, "MAM_REPLICA=%" PRIu32, w->n);
        add_variablef(w, "MAM_ENVIRONMENT=%s", w->config->environment);
        add_variablef(w, "MAM_REVISION=%s", s->revision);
        add_variablef(w, "MAM_VERSION=%s", s->version ? s->version : "");
        add_variablef(w, "MAM_CPU_MILLIS=%" PRIu64, s->cpu_millis);
        add_variablef(w, "MAM_MEMORY_BYTES=%" PRIu64, s->memory_bytes);
        add_variable(w, "MAM_JWKS=" MAM_STATE_DIR "/keys/jwks.json");
        if (mam_service_own_port(s, w->n) > 0)
                add_variablef(w, "PORT=%" PRIu16, mam_service_own_port(s, w->n));
        write_data_access(w);
}

static void write_postgresql(Writer *w) {
        _cleanup_(mam_buffer_done) MamBuffer ids = MAM_BUFFER_INIT;

        for (size_t i = 0; i < w->config->n_services && w->r == 0; i++) {
                if (w->config->services[i].database) {
                        w->r = mam_buffer_appendf(
                                        &ids,
                                        "%s%s",
                                        ids.size > 0 ? " " : "",
                                        w->config->services[i].id);
                }
        }
        add_variablef(w, "MAM_DATABASE_SERVICES=%s", mam_buffer_bytes(&ids));
        /* The server pings no watchdog, stops fast on SIGINT, and mends itself when one of its processes is
         * killed. */
        add(w,
            "ExecStartPost=" MAM_LIBEXEC_DIR "/mam-postgresql --provision\n"
            "WatchdogSec=0\n"
            "KillSignal=SIGINT\n"
            "TimeoutStartSec=infinity\n"
            "TimeoutStopSec=2min\n"
            "OOMPolicy=continue\n"
            "RuntimeDirectory=mam/postgresql\n"
            "StateDirectory=mam/postgresql\n"
            "StateDirectoryMode=0700\n"
            "PrivateNetwork=yes\n"
            "InaccessiblePaths=-/run/mam/replica -" MAM_STATE_DIR "/manager\n");
}

static void write_redis(Writer *w) {
        for (size_t i = 0; i < w->config->n_services; i++) {
                if (w->config->services[i].cache) {
                        add(w,
                            "LoadCredentialEncrypted=redis.%s:" CREDENTIAL_STORE "redis.%s\n",
                            w->config->services[i].id,
                            w->config->services[i].id);
                }
        }
        add(w, "LoadCredentialEncrypted=redis.replication:" CREDENTIAL_STORE "redis.replication\n");
        /* Replicas 2 and up follow the first over the loopback of their own network. Nobody is told apart by
         * uid here, so the user namespace costs nothing. */
        add(w,
            "WatchdogSec=0\n"
            "TimeoutStartSec=5min\n"
            "TimeoutStopSec=1min\n"
            "PrivateNetwork=yes\n"
            "RuntimeDirectory=mam/redis\n"
            "StateDirectory=mam/redis mam/redis/%" PRIu32 "\n"
            "StateDirectoryMode=0700\n"
            "RestrictAddressFamilies=AF_INET\n"
            "IPAddressAllow=localhost\n"
            "PrivateUsers=yes\n"
            "InaccessiblePaths=-/run/mam/replica -" MAM_STATE_DIR "/manager -" MAM_STATE_DIR "/postgresql\n",
            w->n);
}

static void write_gateway(Writer *w) {
        if (mam_service_has_tls_socket(w->config, w->s))
                add(w, "LoadCredentialEncrypted=tls.tickets:" CREDENTIAL_STORE "tls.tickets\n");
        /* No user namespace: there the uid of the manager, which alone may read /load, would be nobody's. */
        add(w,
            "SupplementaryGroups=mam-replica\n"
            "LoadCredentialEncrypted=gateway.key:" CREDENTIAL_STORE "gateway.key\n"
            "LoadCredentialEncrypted=keys.secret:" CREDENTIAL_STORE "keys.secret\n"
            "RestrictAddressFamilies=AF_INET AF_INET6\n"
            "IPAddressDeny=\n"
            "InaccessiblePaths=-" MAM_STATE_DIR "/manager -" MAM_STATE_DIR "/postgresql\n");
}

static void write_service(Writer *w) {
        bool outside = (w->s->database && w->config->postgresql_dsn) ||
                       (w->s->cache && w->config->redis_dsn);

        /* No user namespace: there the gateway's uid, which a replica believes, would be nobody's. */
        if (outside) {
                add(w, "RestrictAddressFamilies=AF_INET AF_INET6\nIPAddressDeny=\n");
        } else {
                add(w, "PrivateNetwork=yes\n");
        }
        add(w, "InaccessiblePaths=-" MAM_STATE_DIR "/manager -" MAM_STATE_DIR "/postgresql\n");
}

/* Webhooks are anywhere: which addresses are allowed is decided by the program, at each connection. */
static void write_event_bus(Writer *w) {
        const MamEventsConfig *e = &w->config->events;

        if (e->webhook_allow) {
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

                for (char **n = e->webhook_allow; *n && w->r == 0; n++)
                        w->r = mam_buffer_appendf(&b, "%s%s", b.size > 0 ? " " : "", *n);
                add_variablef(w, "MAM_EVENTS_PUSH_ALLOW=%s", mam_buffer_bytes(&b));
        }
        if (e->webhook_allow_http)
                add_variable(w, "MAM_EVENTS_PUSH_HTTP=1");
        if (e->webhook_origin)
                add_variablef(w, "MAM_EVENTS_ORIGIN=%s", e->webhook_origin);
        /* No user namespace, as in write_service(). */
        add(w,
            "LoadCredentialEncrypted=mam.events.key:" CREDENTIAL_STORE "events.key\n"
            "StateDirectory=mam/event-bus\n"
            "StateDirectoryMode=0750\n"
            "RestrictAddressFamilies=AF_INET AF_INET6\n"
            "IPAddressDeny=\n"
            "InaccessiblePaths=-" MAM_STATE_DIR "/manager -" MAM_STATE_DIR "/postgresql\n");
}

/* A program of unknown needs: it may use the network and make code at run time, and does not know of READY
 * unless it says so. */
static void write_foreign(Writer *w) {
        if (!w->s->notify)
                add(w, "Type=exec\n");
        add(w,
            "WatchdogSec=0\n"
            "MemoryDenyWriteExecute=no\n"
            "RestrictAddressFamilies=AF_INET AF_INET6\n"
            "IPAddressDeny=\n"
            "InaccessiblePaths=-" MAM_STATE_DIR "/manager -" MAM_STATE_DIR "/postgresql\n");
}

static void write_sandbox(Writer *w) {
        if (w->s->exec) {
                write_foreign(w);
        } else if (w->s->probe == MAM_PROBE_POSTGRESQL) {
                write_postgresql(w);
        } else if (w->s->probe == MAM_PROBE_REDIS) {
                write_redis(w);
        } else if (strcmp(w->s->id, "api-gateway") == 0) {
                write_gateway(w);
        } else if (strcmp(w->s->id, "event-bus") == 0) {
                write_event_bus(w);
        } else {
                write_service(w);
        }
}

/* The replica's own socket goes with the service: `systemctl stop mam-ID.target` must leave nothing behind
 * that wakes a replica again. */
static int generate_socket(const MamServiceConfig *s, uint32_t n, const Output *output) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char target[MAM_UNIT_NAME_MAX], unit[MAM_UNIT_NAME_MAX], name[MAM_UNIT_NAME_MAX + 32], what[40];
        int r;

        if (!mam_service_has_replica_socket(s))
                return 0;

        snprintf(what, sizeof(what), ", replica %" PRIu32 ", socket", n);
        r = generate_head(&b, s, what);
        if (r < 0)
                return r;
        mam_unit_target(target, s->id);
        r = mam_buffer_appendf(&b, "PartOf=%s\n", target);
        if (r < 0)
                return r;
        mam_unit_replica_socket(unit, s->id, n);
        snprintf(name, sizeof(name), "%s.d/10-mam.conf", unit);
        return output_file(output, name, mam_buffer_bytes(&b));
}

/* Drop-ins apply in the order of their names: ours comes before the 50-*.conf of SetUnitProperties and
 * `systemctl set-property`, so that what was changed while running outlives a daemon-reload. */
int generate_replica(const MamConfig *config, const MamServiceConfig *s, uint32_t n, const Output *output) {
        _cleanup_(writer_done) Writer w = { .b.max = UNIT_SIZE_MAX, .config = config, .s = s, .n = n };
        char what[40], unit[MAM_UNIT_NAME_MAX], name[MAM_UNIT_NAME_MAX + 32];

        assert(config);
        assert(s);
        assert(output);

        snprintf(what, sizeof(what), ", replica %" PRIu32, n);
        w.r = generate_head(&w.b, s, what);
        write_dependencies(&w);
        write_program(&w);
        write_limits(&w);
        write_environment(&w);
        write_sandbox(&w);
        if (w.r < 0)
                return w.r;

        mam_unit_replica_service(unit, s->id, n);
        snprintf(name, sizeof(name), "%s.d/10-mam.conf", unit);
        w.r = output_file(output, name, mam_buffer_bytes(&w.b));
        return w.r < 0 ? w.r : generate_socket(s, n, output);
}
