/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Configuration: microservices.json, services.json and services.d/
 *
 * One loader for the generator, the manager and mamctl. It never fails as a whole because of one bad
 * service: each problem becomes a MamConfigProblem that names file, line and key, the service it belongs to
 * is left out (or replaced by its last good definition, if a folder with those is given), and the rest
 * stands. The result is immutable; strings belong to the MamConfig.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/config/gateway.h"
#include "libmam/util/macro.h"

typedef struct MamServiceConfig MamServiceConfig;
typedef struct MamConfigProblem MamConfigProblem;

#define MAM_CONFIG_SERVICES_MAX 64U
#define MAM_CONFIG_REPLICAS_MAX 100U
#define MAM_CONFIG_WEBHOOKS_MAX 16U
#define MAM_CONFIG_PROBLEMS_MAX 256U /* what comes on top is counted in one last notice */
#define MAM_CONFIG_FILE_MAX     (1024UL * 1024UL)

#define MAM_REGISTRY_LISTEN_DEFAULT "127.0.0.1:5000" /* as mam-registry.socket */

typedef enum MamServiceType {
        MAM_SERVICE_TYPE_GATEWAY,
        MAM_SERVICE_TYPE_SERVICE,
        MAM_SERVICE_TYPE_INFRASTRUCTURE,
        _MAM_SERVICE_TYPE_MAX,
        _MAM_SERVICE_TYPE_INVALID = -EINVAL,
} MamServiceType;

/* How health is asked of a replica. HTTP asks healthCheck.path; the others speak the protocol's own ping. */
typedef enum MamProbeType {
        MAM_PROBE_HTTP,
        MAM_PROBE_TCP, /* a connection is accepted */
        MAM_PROBE_POSTGRESQL,
        MAM_PROBE_REDIS,
        _MAM_PROBE_TYPE_MAX,
        _MAM_PROBE_TYPE_INVALID = -EINVAL,
} MamProbeType;

/* Who decides about numbers or sizes: nobody, an adviser that only says what it would do, or autoscaling. */
typedef enum MamScalingMode {
        MAM_SCALING_OFF,
        MAM_SCALING_RECOMMEND,
        MAM_SCALING_AUTO,
        _MAM_SCALING_MODE_MAX,
        _MAM_SCALING_MODE_INVALID = -EINVAL,
} MamScalingMode;

/* "scaling" of a service. A target of 0 is not looked at. */
typedef struct MamScalingConfig {
        MamScalingMode horizontal;      /* default: scaling.hpa for type service, off for others */
        MamScalingMode vertical;        /* default: scaling.vpa for type service, off for others */
        uint32_t target_cpu_percent;    /* of the CPU limit, over all replicas; default scaling.targetCPU */
        uint32_t target_memory_percent; /* of the memory limit; default scaling.targetMemory */
        double target_in_flight;        /* requests in flight per replica; "targetInFlight" */
        double target_rps;              /* requests a second per replica; "targetRPS" */
        uint64_t target_latency_usec;   /* p99 of the last minute; "targetLatency" */
        uint32_t target_pressure_percent; /* PSI some avg10 of CPU, the worst replica; "targetPressure" */
        uint64_t down_window_usec;        /* "scaleDownWindow", default 300 s */
        uint64_t idle_usec; /* to zero, where minReplicas is 0, after so long without a request;
                               "scaleToZeroAfter", default 60 s */
        uint64_t min_cpu_millis, max_cpu_millis;     /* bounds of vertical; 0: 25m, what the host has */
        uint64_t min_memory_bytes, max_memory_bytes; /* 0: 250 MB (not above the configured limit), what the
                                                        host has */
} MamScalingConfig;

typedef enum MamProblemLevel {
        MAM_PROBLEM_ERROR,   /* the service is left out, or its last good definition stands */
        MAM_PROBLEM_WARNING, /* works, but not as somebody may think */
        MAM_PROBLEM_NOTICE,  /* a setting that mam does not act on yet */
} MamProblemLevel;

struct MamConfigProblem {
        MamProblemLevel level;
        char *file;    /* owned */
        unsigned line; /* 1-based; 0 where there is none, such as a missing file */
        char *key;     /* owned; dotted path as "api-gateway.resources.cpu", or "" */
        char *service; /* owned; the service concerned, or NULL */
        char *message; /* owned; what is wrong and what would be right, without file, line and key */
};

struct MamServiceConfig {
        char *id;   /* [a-z][a-z0-9-]{0,30}, no trailing '-' */
        char *name; /* for people */
        MamServiceType type;
        uint16_t port;         /* the public port; 0: none */
        char *listen;          /* address of the public port; gateway: "[::]", others: "127.0.0.1" */
        uint32_t replicas;     /* at the first start */
        uint32_t min_replicas; /* default scaling.minReplicas */
        uint32_t max_replicas; /* default scaling.maxReplicas; how many instances the generator permits */
        uint64_t cpu_millis;   /* per replica; 500 is half a core */
        uint64_t memory_bytes; /* per replica: MemoryMax; MemoryHigh is 90 % of it */
        uint64_t tasks_max;    /* per replica */
        MamProbeType probe;    /* healthCheck.type; default http */
        char *health_path;     /* default "/health" */
        uint64_t health_interval_usec;
        uint64_t health_timeout_usec;
        uint32_t health_failures;  /* healthCheck.failureThreshold, default 3: so many in a row: unhealthy */
        uint32_t health_successes; /* healthCheck.successThreshold, default 1: so many in a row: healthy */
        MamScalingConfig scaling;
        char **dependencies; /* NULL-terminated ids */
        char **environment;  /* NULL-terminated "KEY=value" */
        char **exec;         /* NULL-terminated argv of a foreign program, or NULL for a built-in one */
        char *user; /* system user; built-in: "mam-<id>"; foreign without "user": NULL, DynamicUser */
        bool socket_activated; /* foreign only: false means it binds $PORT itself */
        bool notify; /* tells systemd when it is ready: built-in yes; foreign only with "notify": true */
        MamRouteList *routes;          /* reference; what the gateway sends here; may be empty */
        MamServiceProtocol protocol;   /* how the gateway speaks with replicas */
        MamServiceBalancing balancing; /* how it chooses among them */
        bool database;    /* gets a role and a schema of its own in postgresql; built-in knowledge */
        bool cache;       /* gets an ACL user in redis; built-in knowledge */
        bool last_good;   /* this is not what the file says now, but its last good definition */
        char *definition; /* owned; {"<id>": {…}} as it stood in its file, compact */
        char *file;       /* where it was defined */
        unsigned line;

        /* Of a revision, by mam_revision_apply(); NULL and "" in what the loader returns. */
        char *program;     /* runs in place of the program of a built-in service, or NULL */
        char *image;       /* folder that the program finds as its root, or NULL */
        char *version;     /* or NULL */
        char revision[16]; /* its name, or "" */
};

/* What holds for the event bus. */
typedef struct MamEventsConfig {
        char **webhook_allow;    /* NULL-terminated, or NULL: networks and addresses that webhooks may be at
                                    although not everybody can reach them */
        bool webhook_allow_http; /* http:// to these */
        char *webhook_origin; /* how webhooks are asked for their consent: a host name; NULL: this host's */
} MamEventsConfig;

struct MamConfig {
        bool incomplete; /* a file could not be read as a whole: services that it used to define may be
                            missing */
        char *namespace;
        char *version;
        char *environment; /* "production", "development", … */
        bool registry_enabled;
        char *registry_url;
        char *registry_listen; /* where it listens, as the url says: "127.0.0.1:5000", "[::]:5000" */
        bool registry_auth;
        char *registry_token; /* plain text found in the file, or NULL; setup moves it to a credential */
        char *postgresql_dsn; /* "external": {"postgresql": …}: replaces the suite's own, or NULL */
        char *redis_dsn;      /* likewise: redis://host:port or unix:///path */
        uint32_t min_replicas, max_replicas;
        uint32_t target_cpu_percent, target_memory_percent;
        bool scaling_enabled;                /* default true; false: every mode of every service is off */
        MamScalingMode horizontal, vertical; /* scaling.hpa, scaling.vpa: false, "recommend", true; all off
                                                if scaling.enabled is false */
        char **alert_webhooks;               /* NULL-terminated http(s) URLs: monitoring.alertWebhooks */
        bool tls;                            /* security.tls: the gateway serves HTTPS too; default false */
        MamGatewayConfig *gateway;           /* reference; "gateway", without services */
        MamEventsConfig events;              /* "events" */

        MamServiceConfig *services; /* in file order */
        size_t n_services;
        MamConfigProblem *problems;
        size_t n_problems;
};

/* Reads <dir>/microservices.json, <dir>/services.json and <dir>/services.d/<name>.json (in name order; a
 * later definition of the same id replaces the earlier one and says so as a warning). last_good_dir may be
 * NULL; else a service with an error is taken from <last_good_dir>/<id>.json if that one is good. A
 * dependency that does not exist, or a cycle (named with its path "a → b → a"), is an error of the services
 * in it. Returns 0 even if there are problems; <0 only for -ENOMEM and for a <dir> that cannot be read at
 * all (-ENOENT, -EACCES). */
int mam_config_load(MamConfig **ret, const char *dir, const char *last_good_dir);
MamConfig *mam_config_free(MamConfig *c);
MAM_DEFINE_CLEANUP(MamConfig, mam_config_free);

/* The same for a text that stands for services.json, with default settings and without services.d: for
 * fuzzing and tools. */
int mam_config_load_text(MamConfig **ret, const char *text, size_t size);

/* Borrowed, or NULL. */
const MamServiceConfig *mam_config_find(const MamConfig *c, const char *id);

/* Services in an order in which every service comes after its dependencies (stable: file order otherwise).
 * Writes c->n_services indices. The graph of a loaded config has no cycle. */
void mam_config_dependency_order(const MamConfig *c, size_t *ret_order);

/* "file:line: key: message". Caller frees. */
int mam_config_problem_format(char **ret, const MamConfigProblem *p);

/* One definition as canonical JSON as it stood in its file: what the last-good folder keeps. Caller frees.
 */
int mam_config_service_to_json(char **ret, const MamServiceConfig *s);

bool mam_service_id_is_valid(const char *id);
const char *mam_service_type_to_string(MamServiceType t);
const char *mam_probe_type_to_string(MamProbeType t);
const char *mam_scaling_mode_to_string(MamScalingMode m);
MamScalingMode mam_scaling_mode_from_string(const char *s);

/*
 * Names derived from a service id and a replica number (from 1): the single room for them.
 * All write into the caller's buffer and cannot fail for a valid id.
 */
#define MAM_UNIT_NAME_MAX 256
void mam_unit_replica_service(
                char ret[static MAM_UNIT_NAME_MAX],
                const char *id,
                uint32_t n); /* mam@ID:N.service */
void mam_unit_replica_socket(
                char ret[static MAM_UNIT_NAME_MAX],
                const char *id,
                uint32_t n); /* mam@ID:N.socket */
void mam_unit_first_replicas(
                char ret[static MAM_UNIT_NAME_MAX],
                const char *id,
                uint32_t n);                                                     /* mam@ID:1-N.target */
void mam_unit_public_socket(char ret[static MAM_UNIT_NAME_MAX], const char *id); /* mam-ID.socket */
void mam_unit_tls_socket(char ret[static MAM_UNIT_NAME_MAX], const char *id);    /* mam-ID.tls.socket */
void mam_unit_target(char ret[static MAM_UNIT_NAME_MAX], const char *id);        /* mam-ID.target */
void mam_unit_slice(char ret[static MAM_UNIT_NAME_MAX], const char *id);         /* mam-<ID escaped>.slice */
void mam_replica_socket_path(
                char ret[static MAM_UNIT_NAME_MAX],
                const char *id,
                uint32_t n); /* /run/mam/replica/ID:N.sock */

/* mam@ID:N.socket exists for it: everything but postgresql, redis and foreign programs that bind $PORT
 * themselves. */
bool mam_service_has_replica_socket(const MamServiceConfig *s);
/* mam-ID.socket exists for it: it has a port and takes sockets from systemd. */
bool mam_service_has_public_socket(const MamServiceConfig *s);
/* mam-ID.tls.socket exists for it: it is the gateway, and security.tls is true. */
bool mam_service_has_tls_socket(const MamConfig *c, const MamServiceConfig *s);
/* How many instances have units: beyond max_replicas there is room for the new ones of a rollout. 2 ×
 * max_replicas, at most MAM_CONFIG_REPLICAS_MAX; max_replicas where instances have ports of their own or
 * share one set of data (postgresql, redis). */
uint32_t mam_service_instances_max(const MamServiceConfig *s);
/* $PORT of replica n of a foreign program that binds it itself: port + n - 1; 0 for all others. */
uint16_t mam_service_own_port(const MamServiceConfig *s, uint32_t n);
/* Where replica n is reached: the path of its unix socket, or "127.0.0.1:PORT". */
void mam_replica_address(char ret[static MAM_UNIT_NAME_MAX], const MamServiceConfig *s, uint32_t n);

/* Splits "mam@ID:N.service" (or .socket). -EINVAL if it is not of that form. */
int mam_unit_parse_replica(const char *unit, char ret_id[static 32], uint32_t *ret_n);
