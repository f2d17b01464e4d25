/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the manager says of services and replicas
 *
 * The catalog is what every answer of the registry is made from: Consul's JSON, DNS, metrics. It knows
 * neither the bus nor HTTP. It is filled as words of the manager come in, and keeps the last of them while
 * the manager is away.
 *
 * Each service has an index that grows whenever what clients see of it changes, and so has the list of
 * services. Indexes are the realtime of the change in microseconds, or one more than the last where the
 * clock stands or went back: so they grow over restarts of the registry, too, and fit into 53 bits.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/config/config.h"

typedef struct Catalog Catalog;
typedef struct CatalogService CatalogService;
typedef struct CatalogReplica CatalogReplica;

#define CATALOG_ALERTS_MAX   1024U
#define CATALOG_JOBS_MAX     256U
#define CATALOG_REVISION_MAX 96U
#define CATALOG_TAGS_MAX     3U

/* As the manager's endpoints say it. */
typedef enum InstanceState {
        INSTANCE_NONE, /* not an endpoint */
        INSTANCE_READY,
        INSTANCE_DRAINING,
        INSTANCE_UNREADY,
        INSTANCE_ASLEEP,
} InstanceState;

/* As Consul says it. */
typedef enum CatalogStatus {
        CATALOG_PASSING,
        CATALOG_WARNING,
        CATALOG_CRITICAL,
        _CATALOG_STATUS_MAX,
        _CATALOG_STATUS_INVALID = -EINVAL,
} CatalogStatus;

/* The names that Metrics() of the manager has. */
typedef enum CatalogMetric {
        CATALOG_METRIC_CPU,
        CATALOG_METRIC_MEMORY,
        CATALOG_METRIC_MEMORY_MAX,
        CATALOG_METRIC_CPU_LIMIT,
        CATALOG_METRIC_TASKS,
        CATALOG_METRIC_RESTARTS,
        CATALOG_METRIC_OOM_KILLS,
        CATALOG_METRIC_UPTIME,
        CATALOG_METRIC_READY,
        CATALOG_METRIC_PSI_CPU,
        CATALOG_METRIC_PSI_MEMORY,
        CATALOG_METRIC_PSI_IO,
        CATALOG_METRIC_REQUESTS,
        CATALOG_METRIC_REQUEST_ERRORS,
        CATALOG_METRIC_IN_FLIGHT,
        CATALOG_METRIC_P50,
        CATALOG_METRIC_P99,
        CATALOG_METRIC_RPS,
        CATALOG_METRIC_REPLICAS_DESIRED,
        CATALOG_METRIC_REPLICAS_EXISTING,
        CATALOG_METRIC_REPLICAS_READY,
        CATALOG_METRIC_REPLICAS_MIN,
        CATALOG_METRIC_REPLICAS_MAX,
        CATALOG_METRIC_REPLICAS_RECOMMENDED,
        CATALOG_METRIC_CPU_RECOMMENDED,
        CATALOG_METRIC_MEMORY_RECOMMENDED,
        CATALOG_METRIC_DECISIONS,
        CATALOG_METRIC_ROLLOUT_WEIGHT,
        _CATALOG_METRIC_MAX,
} CatalogMetric;

typedef struct CatalogValues {
        double value[_CATALOG_METRIC_MAX];
        bool known[_CATALOG_METRIC_MAX];
} CatalogValues;

struct CatalogReplica {
        uint32_t number;
        bool exists; /* the manager has an object for it */
        char unit[128];
        char active_state[24];
        char health[24];
        char health_reason[256];
        char last_exit[64];
        char quarantine[256];
        char revision[CATALOG_REVISION_MAX];
        uint64_t started_usec; /* realtime; 0: does not run */
        /* as an endpoint */
        InstanceState state;
        char address[MAM_UNIT_NAME_MAX]; /* of a unix socket, or "127.0.0.1:PORT" */
        uint32_t weight;
        char group[CATALOG_REVISION_MAX];
        CatalogValues metrics;
};

typedef struct CatalogRollout {
        char path[128]; /* "" or "/": none */
        char strategy[24];
        char phase[24];
        uint32_t weight, step, updated, ready, total;
} CatalogRollout;

struct CatalogService {
        char id[32];
        char name[128];
        char type[24];
        char state[24];
        char state_reason[256];
        char revision[CATALOG_REVISION_MAX];
        char version[128];
        char horizontal[16], vertical[16];
        uint16_t port;        /* 0: none */
        char listen[64];      /* configured address of the public port, or "" */
        bool has_public_port; /* one TCP port that all replicas share */
        bool serves_metrics;  /* its replicas answer GET /metrics */
        bool listed;          /* seen in the listing that is going on */
        CatalogRollout rollout;
        uint64_t endpoints_revision;                           /* of the manager that is there */
        CatalogReplica *replicas[MAM_CONFIG_REPLICAS_MAX + 1]; /* owned; by number, 0 is unused */
        CatalogValues metrics;
        uint64_t index, hash;
};

typedef struct CatalogAlert {
        char fingerprint[80];
        char name[64];
        char severity[16];
        char service[32];
        char replica[64];
        uint64_t started_usec;
} CatalogAlert;

typedef struct CatalogJob {
        char path[96];
        char verb[16];
} CatalogJob;

/* A counter of how often something ended how. */
#define CATALOG_ENDINGS_MAX 64U
typedef struct CatalogEnding {
        char what[32]; /* verb of a job, or service of a rollout */
        char result[16];
        uint64_t n;
} CatalogEnding;

struct Catalog {
        char node[65];       /* host name */
        char node_id[37];    /* UUID */
        char datacenter[64]; /* lower-case letters, digits, '-', '_' */
        char address[64];    /* of the node: what is told for services that listen on every address */
        bool listed;         /* the manager has told everything at least once */
        bool manager_up;
        uint64_t manager_lost_usec; /* monotonic; while it is away */
        char manager_version[64];
        CatalogService *services[MAM_CONFIG_SERVICES_MAX]; /* owned; sorted by id */
        size_t n_services;
        CatalogAlert *alerts; /* owned */
        size_t n_alerts;
        CatalogJob *jobs; /* owned */
        size_t n_jobs;
        CatalogEnding jobs_ended[CATALOG_ENDINGS_MAX], rollouts_ended[CATALOG_ENDINGS_MAX];
        size_t n_jobs_ended, n_rollouts_ended;
        uint64_t index; /* of the list of services and their tags */
        uint64_t hash;
        uint64_t any_index; /* of everything */
};

/* node: a host name, which is made fit for one DNS label; machine_id: 32 hex digits or more. */
int catalog_new(Catalog **ret, const char *node, const char *machine_id, const char *datacenter);
Catalog *catalog_free(Catalog *c);
MAM_DEFINE_CLEANUP(Catalog, catalog_free);

/* Borrowed, or NULL. */
CatalogService *catalog_find(const Catalog *c, const char *id);
/* The service, new if it was not there; what the configuration says is taken from config (may be NULL).
 * -EINVAL: not an id; -ENOBUFS. */
int catalog_add(Catalog *c, CatalogService **ret, const char *id);
void catalog_remove(Catalog *c, const char *id);
void catalog_apply_config(Catalog *c, const MamConfig *config);

/* The replica with this number, new if it was not there; NULL: no such number is possible, or out of memory.
 */
CatalogReplica *catalog_replica(CatalogService *s, uint32_t number);
/* Forgets the object; what is an endpoint still stays one. */
void catalog_replica_remove(CatalogService *s, uint32_t number);
/* "ID:N" → its number, if the service is named so; 0 otherwise. */
uint32_t catalog_replica_number(const CatalogService *s, const char *replica_id);

/* Properties of Service1, Replica1, Rollout1 by name; others are ignored. Text that is too long is cut
 * between characters. */
void catalog_service_set_text(CatalogService *s, const char *property, const char *value);
void catalog_service_set_number(CatalogService *s, const char *property, uint64_t value);
void catalog_replica_set_text(CatalogReplica *r, const char *property, const char *value);
void catalog_replica_set_number(CatalogReplica *r, const char *property, uint64_t value);
void catalog_rollout_set_text(CatalogRollout *r, const char *property, const char *value);
void catalog_rollout_set_number(CatalogRollout *r, const char *property, uint64_t value);

/* A full set of endpoints: begin, set each, then settle. A number is unknown: ignored. */
void catalog_endpoints_begin(CatalogService *s);
void catalog_endpoint_set(
                CatalogService *s,
                const char *replica_id,
                const char *address,
                const char *state,
                uint32_t weight,
                const char *group);

/* All values begin as unknown again. */
void catalog_metrics_begin(Catalog *c);
/* replica "": of the service. Unknown names are ignored. */
void catalog_metric_set(
                Catalog *c,
                const char *service,
                const char *replica,
                const char *name,
                double value);

/* Began, or is told in a list. -ENOBUFS: CATALOG_ALERTS_MAX. */
int catalog_alert_set(Catalog *c, const CatalogAlert *alert);
void catalog_alert_clear(Catalog *c, const char *fingerprint);
void catalog_job_began(Catalog *c, const char *path, const char *verb);
void catalog_job_ended(Catalog *c, const char *path, const char *result);
void catalog_rollout_ended(Catalog *c, const char *service, const char *result);

/* Gives what changed a new index. true: something did. */
bool catalog_settle(Catalog *c, uint64_t now_realtime_usec);

/* What clients see. */
bool catalog_is_instance(const CatalogReplica *r);
CatalogStatus catalog_status(const CatalogReplica *r);
const char *catalog_status_to_string(CatalogStatus s);
CatalogStatus catalog_status_from_string(const char *s);
/* Why it is not passing, or that it is. */
void catalog_status_output(const CatalogReplica *r, char *ret, size_t size);
/* Address and TCP port of an instance; 0: it has a unix socket only. */
uint16_t catalog_instance_port(const CatalogService *s, const CatalogReplica *r);
const char *catalog_instance_address(const Catalog *c, const CatalogService *s, const CatalogReplica *r);
/* Borrowed from the service and the replica; how many of CATALOG_TAGS_MAX were written. */
size_t catalog_instance_tags(
                const CatalogService *s,
                const CatalogReplica *r,
                const char *ret[static CATALOG_TAGS_MAX]);
bool catalog_instance_has_tag(const CatalogService *s, const CatalogReplica *r, const char *tag);

/* Copies text; what does not fit is cut between characters of UTF-8. */
void catalog_text(char *ret, size_t size, const char *text);
