/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/catalog.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* A property and where it goes. size 0: a number. */
typedef struct Field {
        const char *property;
        size_t offset, size;
        unsigned bytes; /* of a number */
} Field;

#define TEXT(type, member, property) \
        { property, offsetof(type, member), sizeof(((type *) 0)->member), 0 }
#define NUMBER(type, member, property) \
        { property, offsetof(type, member), 0, sizeof(((type *) 0)->member) }

static const Field service_fields[] = {
        TEXT(CatalogService, name, "Name"),
        TEXT(CatalogService, type, "Type"),
        TEXT(CatalogService, state, "State"),
        TEXT(CatalogService, state_reason, "StateReason"),
        TEXT(CatalogService, revision, "Revision"),
        TEXT(CatalogService, version, "Version"),
        TEXT(CatalogService, horizontal, "HorizontalMode"),
        TEXT(CatalogService, vertical, "VerticalMode"),
        TEXT(CatalogService, rollout.path, "Rollout"),
        NUMBER(CatalogService, port, "Port"),
        { NULL, 0, 0, 0 },
};

static const Field replica_fields[] = {
        TEXT(CatalogReplica, unit, "Unit"),
        TEXT(CatalogReplica, active_state, "ActiveState"),
        TEXT(CatalogReplica, health, "Health"),
        TEXT(CatalogReplica, health_reason, "HealthReason"),
        TEXT(CatalogReplica, last_exit, "LastExit"),
        TEXT(CatalogReplica, quarantine, "Quarantine"),
        TEXT(CatalogReplica, revision, "Revision"),
        NUMBER(CatalogReplica, started_usec, "StartedUSec"),
        { NULL, 0, 0, 0 },
};

static const Field rollout_fields[] = {
        TEXT(CatalogRollout, strategy, "Strategy"), TEXT(CatalogRollout, phase, "Phase"),
        NUMBER(CatalogRollout, weight, "Weight"),   NUMBER(CatalogRollout, step, "Step"),
        NUMBER(CatalogRollout, updated, "Updated"), NUMBER(CatalogRollout, ready, "Ready"),
        NUMBER(CatalogRollout, total, "Total"),     { NULL, 0, 0, 0 },
};

static const char *const metric_names[_CATALOG_METRIC_MAX] = {
        [CATALOG_METRIC_CPU] = "cpu_seconds_total",
        [CATALOG_METRIC_MEMORY] = "memory_bytes",
        [CATALOG_METRIC_MEMORY_MAX] = "memory_max_bytes",
        [CATALOG_METRIC_CPU_LIMIT] = "cpu_limit_cores",
        [CATALOG_METRIC_TASKS] = "tasks",
        [CATALOG_METRIC_RESTARTS] = "restarts_total",
        [CATALOG_METRIC_OOM_KILLS] = "oom_kills_total",
        [CATALOG_METRIC_UPTIME] = "uptime_seconds",
        [CATALOG_METRIC_READY] = "ready",
        [CATALOG_METRIC_PSI_CPU] = "psi_cpu_some_avg10",
        [CATALOG_METRIC_PSI_MEMORY] = "psi_memory_some_avg10",
        [CATALOG_METRIC_PSI_IO] = "psi_io_some_avg10",
        [CATALOG_METRIC_REQUESTS] = "requests_total",
        [CATALOG_METRIC_REQUEST_ERRORS] = "request_errors_total",
        [CATALOG_METRIC_IN_FLIGHT] = "requests_in_flight",
        [CATALOG_METRIC_P50] = "request_p50_seconds",
        [CATALOG_METRIC_P99] = "request_p99_seconds",
        [CATALOG_METRIC_RPS] = "requests_per_second",
        [CATALOG_METRIC_REPLICAS_DESIRED] = "replicas_desired",
        [CATALOG_METRIC_REPLICAS_EXISTING] = "replicas_existing",
        [CATALOG_METRIC_REPLICAS_READY] = "replicas_ready",
        [CATALOG_METRIC_REPLICAS_MIN] = "replicas_min",
        [CATALOG_METRIC_REPLICAS_MAX] = "replicas_max",
        [CATALOG_METRIC_REPLICAS_RECOMMENDED] = "replicas_recommended",
        [CATALOG_METRIC_CPU_RECOMMENDED] = "cpu_recommended_cores",
        [CATALOG_METRIC_MEMORY_RECOMMENDED] = "memory_recommended_bytes",
        [CATALOG_METRIC_DECISIONS] = "decisions_total",
        [CATALOG_METRIC_ROLLOUT_WEIGHT] = "rollout_weight_percent",
};

void catalog_text(char *ret, size_t size, const char *text) {
        size_t n = strlen(text);

        assert(size > 0);

        if (n >= size) {
                n = size - 1;
                while (n > 0 && ((unsigned char) text[n] & 0xc0) == 0x80)
                        n--;
        }
        memcpy(ret, text, n);
        ret[n] = '\0';
}

static void set_text(void *object, const Field *fields, const char *property, const char *value) {
        for (const Field *f = fields; f->property; f++)
                if (f->size > 0 && strcmp(f->property, property) == 0)
                        catalog_text((char *) object + f->offset, f->size, value);
}

static void set_number(void *object, const Field *fields, const char *property, uint64_t value) {
        for (const Field *f = fields; f->property; f++) {
                char *place = (char *) object + f->offset;

                if (f->size > 0 || strcmp(f->property, property) != 0)
                        continue;
                if (f->bytes == sizeof(uint16_t))
                        *(uint16_t *) (void *) place = (uint16_t) value;
                else if (f->bytes == sizeof(uint32_t))
                        *(uint32_t *) (void *) place = (uint32_t) value;
                else
                        *(uint64_t *) (void *) place = value;
        }
}

void catalog_service_set_text(CatalogService *s, const char *property, const char *value) {
        set_text(s, service_fields, property, value);
}

void catalog_service_set_number(CatalogService *s, const char *property, uint64_t value) {
        set_number(s, service_fields, property, value);
}

void catalog_replica_set_text(CatalogReplica *r, const char *property, const char *value) {
        set_text(r, replica_fields, property, value);
}

void catalog_replica_set_number(CatalogReplica *r, const char *property, uint64_t value) {
        set_number(r, replica_fields, property, value);
}

void catalog_rollout_set_text(CatalogRollout *r, const char *property, const char *value) {
        set_text(r, rollout_fields, property, value);
}

void catalog_rollout_set_number(CatalogRollout *r, const char *property, uint64_t value) {
        set_number(r, rollout_fields, property, value);
}

/* Lower-case letters, digits and '-'; what comes behind the first dot of a host name is cut. */
static void make_label(char *ret, size_t size, const char *text, const char *otherwise) {
        size_t n = 0;

        for (; *text && *text != '.' && n + 1 < size; text++) {
                char c = (char) tolower((unsigned char) *text);

                if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && n > 0))
                        ret[n++] = c;
        }
        while (n > 0 && ret[n - 1] == '-')
                n--;
        ret[n] = '\0';
        if (n == 0)
                catalog_text(ret, size, otherwise);
}

int catalog_new(Catalog **ret, const char *node, const char *machine_id, const char *datacenter) {
        _cleanup_(catalog_freep) Catalog *c = NULL;

        assert(ret);
        assert(node);
        assert(machine_id && strlen(machine_id) >= 32);
        assert(datacenter);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        make_label(c->node, 64, node, "localhost");
        make_label(c->datacenter, sizeof(c->datacenter), datacenter, "dc1");
        catalog_text(c->address, sizeof(c->address), "127.0.0.1");
        (void) snprintf(c->node_id,
                        sizeof(c->node_id),
                        "%.8s-%.4s-%.4s-%.4s-%.12s",
                        machine_id,
                        machine_id + 8,
                        machine_id + 12,
                        machine_id + 16,
                        machine_id + 20);
        *ret = MAM_TAKE(c);
        return 0;
}

static void service_free(CatalogService *s) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                free(s->replicas[n]);
        free(s);
}

Catalog *catalog_free(Catalog *c) {
        if (!c)
                return NULL;

        for (size_t i = 0; i < c->n_services; i++)
                service_free(c->services[i]);
        free(c->alerts);
        free(c->jobs);
        free(c);
        return NULL;
}

CatalogService *catalog_find(const Catalog *c, const char *id) {
        assert(c);
        assert(id);

        for (size_t i = 0; i < c->n_services; i++)
                if (strcmp(c->services[i]->id, id) == 0)
                        return c->services[i];
        return NULL;
}

int catalog_add(Catalog *c, CatalogService **ret, const char *id) {
        CatalogService *s;
        size_t at = 0;

        assert(c);
        assert(ret);

        if (!mam_service_id_is_valid(id))
                return -EINVAL;
        s = catalog_find(c, id);
        if (s) {
                *ret = s;
                return 0;
        }
        if (c->n_services >= MAM_ELEMENTSOF(c->services))
                return -ENOBUFS;
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        catalog_text(s->id, sizeof(s->id), id);
        s->has_public_port = true; /* until the configuration says otherwise */

        while (at < c->n_services && strcmp(c->services[at]->id, id) < 0)
                at++;
        memmove(&c->services[at + 1], &c->services[at], (c->n_services - at) * sizeof(c->services[0]));
        c->services[at] = s;
        c->n_services++;
        *ret = s;
        return 0;
}

void catalog_remove(Catalog *c, const char *id) {
        for (size_t i = 0; i < c->n_services; i++) {
                if (strcmp(c->services[i]->id, id) != 0)
                        continue;
                service_free(c->services[i]);
                c->n_services--;
                memmove(&c->services[i], &c->services[i + 1], (c->n_services - i) * sizeof(c->services[0]));
                return;
        }
}

/* "[::1]" is an address in brackets. */
static void set_listen(CatalogService *s, const char *listen) {
        size_t n;

        catalog_text(s->listen, sizeof(s->listen), *listen == '[' ? listen + 1 : listen);
        n = strlen(s->listen);
        if (n > 0 && s->listen[n - 1] == ']')
                s->listen[n - 1] = '\0';
}

void catalog_apply_config(Catalog *c, const MamConfig *config) {
        for (size_t i = 0; i < c->n_services; i++) {
                const MamServiceConfig *k = mam_config_find(config, c->services[i]->id);

                if (!k)
                        continue;
                set_listen(c->services[i], k->listen ? k->listen : "");
                c->services[i]->has_public_port = mam_service_has_public_socket(k);
                c->services[i]->serves_metrics = !k->exec && k->probe == MAM_PROBE_HTTP;
        }
}

CatalogReplica *catalog_replica(CatalogService *s, uint32_t number) {
        if (number < 1 || number > MAM_CONFIG_REPLICAS_MAX)
                return NULL;
        if (!s->replicas[number]) {
                s->replicas[number] = calloc(1, sizeof(*s->replicas[number]));
                if (s->replicas[number])
                        s->replicas[number]->number = number;
        }
        return s->replicas[number];
}

/* A replica that is neither an object nor an endpoint is not kept. */
static void replica_drop(CatalogService *s, uint32_t number) {
        CatalogReplica *r = s->replicas[number];

        if (!r || r->exists || r->state != INSTANCE_NONE)
                return;
        s->replicas[number] = NULL;
        free(r);
}

void catalog_replica_remove(CatalogService *s, uint32_t number) {
        if (number < 1 || number > MAM_CONFIG_REPLICAS_MAX || !s->replicas[number])
                return;
        s->replicas[number]->exists = false;
        replica_drop(s, number);
}

uint32_t catalog_replica_number(const CatalogService *s, const char *replica_id) {
        size_t n = strlen(s->id);
        unsigned long number;
        char *end;

        if (strncmp(replica_id, s->id, n) != 0 || replica_id[n] != ':' ||
            !isdigit((unsigned char) replica_id[n + 1]) || replica_id[n + 1] == '0')
                return 0;
        number = strtoul(replica_id + n + 1, &end, 10);
        return *end == '\0' && number <= MAM_CONFIG_REPLICAS_MAX ? (uint32_t) number : 0;
}

void catalog_endpoints_begin(CatalogService *s) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!s->replicas[n])
                        continue;
                s->replicas[n]->state = INSTANCE_NONE;
                replica_drop(s, n);
        }
}

static InstanceState instance_state_from_string(const char *state) {
        if (strcmp(state, "ready") == 0)
                return INSTANCE_READY;
        if (strcmp(state, "draining") == 0)
                return INSTANCE_DRAINING;
        if (strcmp(state, "asleep") == 0)
                return INSTANCE_ASLEEP;
        return INSTANCE_UNREADY; /* also one of a later version of mam: not known to take traffic */
}

void catalog_endpoint_set(
                CatalogService *s,
                const char *replica_id,
                const char *address,
                const char *state,
                uint32_t weight,
                const char *group) {
        CatalogReplica *r = catalog_replica(s, catalog_replica_number(s, replica_id));

        if (!r)
                return;
        r->state = instance_state_from_string(state);
        catalog_text(r->address, sizeof(r->address), address);
        r->weight = weight;
        catalog_text(r->group, sizeof(r->group), group);
}

void catalog_metrics_begin(Catalog *c) {
        for (size_t i = 0; i < c->n_services; i++) {
                CatalogService *s = c->services[i];

                s->metrics = (CatalogValues){ .known = { false } };
                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++)
                        if (s->replicas[n])
                                s->replicas[n]->metrics = (CatalogValues){ .known = { false } };
        }
}

void catalog_metric_set(
                Catalog *c,
                const char *service,
                const char *replica,
                const char *name,
                double value) {
        CatalogService *s = catalog_find(c, service);
        CatalogValues *v;
        uint32_t number;

        if (!s)
                return;
        if (*replica) {
                number = catalog_replica_number(s, replica);
                if (number == 0 || !s->replicas[number])
                        return;
                v = &s->replicas[number]->metrics;
        } else
                v = &s->metrics;

        for (CatalogMetric m = 0; m < _CATALOG_METRIC_MAX; m++) {
                if (strcmp(metric_names[m], name) != 0)
                        continue;
                v->value[m] = value;
                v->known[m] = true;
        }
}

/* ---- Alerts, jobs, rollouts ---- */

int catalog_alert_set(Catalog *c, const CatalogAlert *alert) {
        CatalogAlert *p;

        for (size_t i = 0; i < c->n_alerts; i++)
                if (strcmp(c->alerts[i].fingerprint, alert->fingerprint) == 0) {
                        c->alerts[i] = *alert;
                        return 0;
                }
        if (c->n_alerts >= CATALOG_ALERTS_MAX)
                return -ENOBUFS;
        p = reallocarray(c->alerts, c->n_alerts + 1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        c->alerts = p;
        c->alerts[c->n_alerts++] = *alert;
        return 0;
}

void catalog_alert_clear(Catalog *c, const char *fingerprint) {
        for (size_t i = 0; i < c->n_alerts; i++)
                if (strcmp(c->alerts[i].fingerprint, fingerprint) == 0) {
                        c->alerts[i] = c->alerts[--c->n_alerts];
                        return;
                }
}

void catalog_job_began(Catalog *c, const char *path, const char *verb) {
        CatalogJob *p;

        for (size_t i = 0; i < c->n_jobs; i++)
                if (strcmp(c->jobs[i].path, path) == 0)
                        return;
        if (c->n_jobs >= CATALOG_JOBS_MAX)
                return;
        p = reallocarray(c->jobs, c->n_jobs + 1, sizeof(*p));
        if (!p)
                return;
        c->jobs = p;
        p = &c->jobs[c->n_jobs++];
        catalog_text(p->path, sizeof(p->path), path);
        catalog_text(p->verb, sizeof(p->verb), verb);
}

static void count_ending(CatalogEnding *endings, size_t *n, const char *what, const char *result) {
        for (size_t i = 0; i < *n; i++)
                if (strcmp(endings[i].what, what) == 0 && strcmp(endings[i].result, result) == 0) {
                        endings[i].n++;
                        return;
                }
        if (*n >= CATALOG_ENDINGS_MAX)
                return;
        catalog_text(endings[*n].what, sizeof(endings[*n].what), what);
        catalog_text(endings[*n].result, sizeof(endings[*n].result), result);
        endings[(*n)++].n = 1;
}

void catalog_job_ended(Catalog *c, const char *path, const char *result) {
        for (size_t i = 0; i < c->n_jobs; i++)
                if (strcmp(c->jobs[i].path, path) == 0) {
                        count_ending(c->jobs_ended, &c->n_jobs_ended, c->jobs[i].verb, result);
                        c->jobs[i] = c->jobs[--c->n_jobs];
                        return;
                }
}

void catalog_rollout_ended(Catalog *c, const char *service, const char *result) {
        CatalogService *s = catalog_find(c, service);

        if (!s)
                return;
        s->rollout = (CatalogRollout){ .path = "/" };
        count_ending(c->rollouts_ended, &c->n_rollouts_ended, service, result);
}
