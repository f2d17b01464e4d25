/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/exposition.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How a value of Metrics() is called here. replica, service: the help of the family, or NULL where there is
 * none. */
typedef struct Metric {
        const char *name; /* behind mam_replica_ and mam_service_ */
        const char *type;
        double scale;
        const char *replica, *service;
} Metric;

#define COUNTER "counter"
#define GAUGE   "gauge"

static const Metric metrics[_CATALOG_METRIC_MAX] = {
        [CATALOG_METRIC_CPU] = { "cpu_seconds_total", COUNTER, 1, "CPU time used.", NULL },
        [CATALOG_METRIC_MEMORY] = { "memory_bytes",
                                    GAUGE,
                                    1,
                                    "Memory in use.",
                                    "Memory in use by all replicas." },
        [CATALOG_METRIC_MEMORY_MAX] = { "memory_max_bytes",
                                        GAUGE,
                                        1,
                                        "Memory limit.",
                                        "Memory limits of all replicas." },
        [CATALOG_METRIC_CPU_LIMIT] = { "cpu_limit_cores",
                                       GAUGE,
                                       1,
                                       "CPU limit.",
                                       "CPU limits of all replicas." },
        [CATALOG_METRIC_TASKS] = { "tasks",
                                   GAUGE,
                                   1,
                                   "Processes and threads.",
                                   "Processes and threads of all replicas." },
        [CATALOG_METRIC_RESTARTS] = { "restarts_total",
                                      COUNTER,
                                      1,
                                      "Restarts after an unexpected end.",
                                      NULL },
        [CATALOG_METRIC_OOM_KILLS] = { "oom_kills_total",
                                       COUNTER,
                                       1,
                                       "Processes killed by the kernel at the memory limit.",
                                       NULL },
        [CATALOG_METRIC_UPTIME] = { "uptime_seconds",
                                    GAUGE,
                                    1,
                                    "Time since the start.",
                                    "Time since the start of the oldest replica." },
        [CATALOG_METRIC_READY] = { "ready", GAUGE, 1, "Whether it may get traffic.", NULL },
        [CATALOG_METRIC_PSI_CPU] = { "pressure_cpu_ratio",
                                     GAUGE,
                                     0.01,
                                     "Share of the last 10 s in which some task waited for CPU.",
                                     NULL },
        [CATALOG_METRIC_PSI_MEMORY] = { "pressure_memory_ratio",
                                        GAUGE,
                                        0.01,
                                        "Share of the last 10 s in which some task waited for memory.",
                                        NULL },
        [CATALOG_METRIC_PSI_IO] = { "pressure_io_ratio",
                                    GAUGE,
                                    0.01,
                                    "Share of the last 10 s in which some task waited for I/O.",
                                    NULL },
        [CATALOG_METRIC_REQUESTS] = { "requests_total",
                                      COUNTER,
                                      1,
                                      "Requests as the gateways counted.",
                                      "Requests as the gateways counted." },
        [CATALOG_METRIC_REQUEST_ERRORS] = { "request_errors_total",
                                            COUNTER,
                                            1,
                                            "Failed requests as the gateways counted.",
                                            "Failed requests as the gateways counted." },
        [CATALOG_METRIC_IN_FLIGHT] = { "requests_in_flight",
                                       GAUGE,
                                       1,
                                       "Requests in flight from the gateways.",
                                       "Requests in flight from the gateways." },
        [CATALOG_METRIC_P50] = { "request_p50_seconds",
                                 GAUGE,
                                 1,
                                 "Median latency of the last minute.",
                                 "Median latency of the last minute." },
        [CATALOG_METRIC_P99] = { "request_p99_seconds",
                                 GAUGE,
                                 1,
                                 "99th percentile of the latency of the last minute.",
                                 "99th percentile of the latency of the last minute." },
        [CATALOG_METRIC_RPS] = { "request_rate", GAUGE, 1, "Requests a second.", "Requests a second." },
        [CATALOG_METRIC_REPLICAS_DESIRED] = { "replicas_desired",
                                              GAUGE,
                                              1,
                                              NULL,
                                              "Replicas that should run." },
        [CATALOG_METRIC_REPLICAS_EXISTING] = { "replicas_existing", GAUGE, 1, NULL, "Replicas that run." },
        [CATALOG_METRIC_REPLICAS_READY] = { "replicas_ready",
                                            GAUGE,
                                            1,
                                            NULL,
                                            "Replicas that may get traffic." },
        [CATALOG_METRIC_REPLICAS_MIN] = { "replicas_min", GAUGE, 1, NULL, "Replicas at least." },
        [CATALOG_METRIC_REPLICAS_MAX] = { "replicas_max", GAUGE, 1, NULL, "Replicas at most." },
        [CATALOG_METRIC_REPLICAS_RECOMMENDED] = { "replicas_recommended",
                                                  GAUGE,
                                                  1,
                                                  NULL,
                                                  "Replicas that autoscaling recommends." },
        [CATALOG_METRIC_CPU_RECOMMENDED] = { "cpu_recommended_cores",
                                             GAUGE,
                                             1,
                                             NULL,
                                             "CPU limit per replica that autoscaling recommends." },
        [CATALOG_METRIC_MEMORY_RECOMMENDED] = { "memory_recommended_bytes",
                                                GAUGE,
                                                1,
                                                NULL,
                                                "Memory limit per replica that autoscaling recommends." },
        [CATALOG_METRIC_DECISIONS] = { "decisions_total",
                                       COUNTER,
                                       1,
                                       NULL,
                                       "Decisions of autoscaling that were carried out." },
        [CATALOG_METRIC_ROLLOUT_WEIGHT] = { "rollout_weight_ratio",
                                            GAUGE,
                                            0.01,
                                            NULL,
                                            "Share of the traffic that goes to the new revision." },
};

/* Text that is being made; the first error is kept, what comes after it does nothing. */
typedef struct Page {
        const Catalog *catalog;
        MamBuffer *out;
        char name[80]; /* of the family */
        const char *type, *help;
        bool begun;
        int error;
} Page;

static _printf_(2, 3) void say(Page *p, const char *format, ...) {
        char text[256];
        va_list ap;

        if (p->error < 0)
                return;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        p->error = mam_buffer_append_string(p->out, text);
}

static void family(Page *p, const char *prefix, const char *name, const char *type, const char *help) {
        (void) snprintf(p->name, sizeof(p->name), "%s%s", prefix, name);
        p->type = type;
        p->help = help;
        p->begun = false;
}

static void say_escaped(Page *p, const char *value) {
        for (; p->error >= 0 && *value; value++) {
                if (*value == '\\' || *value == '"')
                        p->error = mam_buffer_append(p->out, "\\", 1);
                if (p->error >= 0)
                        p->error = *value == '\n' ? mam_buffer_append_string(p->out, "\\n")
                                                  : mam_buffer_append(p->out, value, 1);
        }
}

/* labels: name, value, …, NULL. */
static void sample(Page *p, const char *const *labels, double value) {
        const char *separator = "{";

        if (!p->begun)
                say(p, "# HELP %s %s\n# TYPE %s %s\n", p->name, p->help, p->name, p->type);
        p->begun = true;
        say(p, "%s", p->name);
        for (; labels && labels[0]; labels += 2) {
                say(p, "%s%s=\"", separator, labels[0]);
                say_escaped(p, labels[1]);
                say(p, "\"");
                separator = ",";
        }
        if (*separator == ',')
                say(p, "}");
        if (isnan(value))
                say(p, " NaN\n");
        else if (isinf(value))
                say(p, value > 0 ? " +Inf\n" : " -Inf\n");
        else if (fabs(value) < 9007199254740992.0 && value == trunc(value))
                say(p, " %.0f\n", value);
        else {
                char text[32];

                (void) snprintf(text, sizeof(text), "%.15g", value);
                if (strtod(text, NULL) != value)
                        (void) snprintf(text, sizeof(text), "%.17g", value);
                say(p, " %s\n", text);
        }
}

static void replica_sample(
                Page *p,
                const CatalogService *s,
                const CatalogReplica *r,
                const char *key,
                const char *text,
                double value) {
        const char *labels[] = { "service", s->id, "replica", NULL, key, text, NULL };
        char number[16];

        (void) snprintf(number, sizeof(number), "%u", r->number);
        labels[3] = number;
        sample(p, labels, value);
}

static void service_sample(
                Page *p,
                const CatalogService *s,
                const char *key,
                const char *text,
                double value) {
        const char *const labels[] = { "service", s->id, key, text, NULL };

        sample(p, labels, value);
}

#define FOREACH_SERVICE(p, s) \
        for (size_t _i = 0; _i < (p)->catalog->n_services && ((s) = (p)->catalog->services[_i], true); _i++)

#define FOREACH_REPLICA(p, s, r)                                   \
        FOREACH_SERVICE(p, s)                                      \
        for (uint32_t _n = 1; _n <= MAM_CONFIG_REPLICAS_MAX; _n++) \
                if (((r) = (s)->replicas[_n]) && (r)->exists)

/* One series per state; what is none of them is "other". */
static void replica_states(
                Page *p,
                const char *name,
                const char *key,
                const char *const *states,
                size_t offset) {
        const CatalogService *s;
        const CatalogReplica *r;

        family(p, "mam_replica_", name, GAUGE, "1 for the state that it is in.");
        FOREACH_REPLICA(p, s, r) {
                const char *is = (const char *) r + offset;
                bool found = false;

                for (const char *const *k = states; *k; k++) {
                        found |= strcmp(*k, is) == 0;
                        replica_sample(p, s, r, key, *k, strcmp(*k, is) == 0);
                }
                replica_sample(p, s, r, key, "other", !found);
        }
}

static void replicas(Page *p) {
        static const char *const active[] = { "active",   "reloading", "activating", "deactivating",
                                              "inactive", "failed",    NULL };
        static const char *const health[] = {
                "healthy", "unhealthy", "starting", "stopped", "unknown", NULL
        };
        const CatalogService *s;
        const CatalogReplica *r;

        replica_states(p, "state", "state", active, offsetof(CatalogReplica, active_state));
        replica_states(p, "health", "health", health, offsetof(CatalogReplica, health));

        family(p,
               "mam_replica_",
               "quarantined",
               GAUGE,
               "Whether it is held back because it dies again and again.");
        FOREACH_REPLICA(p, s, r) {
                replica_sample(p, s, r, NULL, NULL, r->quarantine[0] != '\0');
        }
        family(p, "mam_replica_", "start_time_seconds", GAUGE, "Start since the epoch.");
        FOREACH_REPLICA(p, s, r) {
                if (r->started_usec > 0)
                        replica_sample(p, s, r, NULL, NULL, (double) r->started_usec / 1e6);
        }
        family(p, "mam_replica_", "info", GAUGE, "What it runs; the value is 1.");
        FOREACH_REPLICA(p, s, r) {
                const char *revision = *r->revision ? r->revision : s->revision;

                replica_sample(p, s, r, "revision", revision, 1);
        }

        for (CatalogMetric m = 0; m < _CATALOG_METRIC_MAX; m++) {
                if (!metrics[m].replica)
                        continue;
                family(p, "mam_replica_", metrics[m].name, metrics[m].type, metrics[m].replica);
                FOREACH_REPLICA(p, s, r) {
                        if (r->metrics.known[m])
                                replica_sample(p, s, r, NULL, NULL, r->metrics.value[m] * metrics[m].scale);
                }
        }
}

static void modes(Page *p, const char *name, const char *help, size_t offset) {
        static const char *const known[] = { "off", "recommend", "auto", NULL };
        const CatalogService *s;

        family(p, "mam_service_", name, GAUGE, help);
        FOREACH_SERVICE(p, s) {
                const char *is = (const char *) s + offset;

                for (const char *const *k = known; *is && *k; k++)
                        service_sample(p, s, "mode", *k, strcmp(*k, is) == 0);
        }
}

static void services(Page *p) {
        static const char *const states[] = { "running", "degraded", "starting", "stopping",
                                              "stopped", "failed",   "asleep" };
        const CatalogService *s;

        family(p, "mam_service_", "state", GAUGE, "1 for the state that it is in.");
        FOREACH_SERVICE(p, s) {
                bool found = false;

                for (size_t k = 0; k < MAM_ELEMENTSOF(states); k++) {
                        found |= strcmp(states[k], s->state) == 0;
                        service_sample(p, s, "state", states[k], strcmp(states[k], s->state) == 0);
                }
                service_sample(p, s, "state", "other", !found);
        }
        family(p, "mam_service_", "info", GAUGE, "What it is; the value is 1.");
        FOREACH_SERVICE(p, s) {
                const char *const labels[] = { "service",   s->id,     "type",     s->type, "revision",
                                               s->revision, "version", s->version, NULL };

                sample(p, labels, 1);
        }
        modes(p,
              "horizontal_mode",
              "1 for who decides how many replicas there are.",
              offsetof(CatalogService, horizontal));
        modes(p, "vertical_mode", "1 for who decides how big they are.", offsetof(CatalogService, vertical));

        for (CatalogMetric m = 0; m < _CATALOG_METRIC_MAX; m++) {
                if (!metrics[m].service)
                        continue;
                family(p, "mam_service_", metrics[m].name, metrics[m].type, metrics[m].service);
                FOREACH_SERVICE(p, s) {
                        if (s->metrics.known[m])
                                service_sample(p, s, NULL, NULL, s->metrics.value[m] * metrics[m].scale);
                }
        }
}

static bool in_rollout(const CatalogService *s) {
        return s->rollout.phase[0] != '\0';
}

static void endings(Page *p, const char *what, const CatalogEnding *list, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const char *const labels[] = { what, list[i].what, "result", list[i].result, NULL };

                sample(p, labels, (double) list[i].n);
        }
}

static void rollouts(Page *p) {
        static const char *const phases[] = { "progressing", "watching", "paused", "reverting" };
        static const struct {
                const char *name, *help;
                size_t offset;
        } counts[] = {
                { "updated_replicas", "Replicas of the new revision.", offsetof(CatalogRollout, updated) },
                { "ready_replicas", "Ready replicas of the new revision.", offsetof(CatalogRollout, ready) },
                { "wanted_replicas",
                  "Replicas of the new revision in the end.",
                  offsetof(CatalogRollout, total) },
                { "step", "The step it is at, from 1.", offsetof(CatalogRollout, step) },
        };
        const CatalogService *s;

        family(p, "mam_rollout_", "phase", GAUGE, "1 for the phase of the rollout that is under way.");
        FOREACH_SERVICE(p, s) {
                for (size_t k = 0; in_rollout(s) && k < MAM_ELEMENTSOF(phases); k++)
                        service_sample(p, s, "phase", phases[k], strcmp(phases[k], s->rollout.phase) == 0);
        }
        family(p,
               "mam_rollout_",
               "weight_ratio",
               GAUGE,
               "Share of the traffic that goes to the new revision.");
        FOREACH_SERVICE(p, s) {
                if (in_rollout(s))
                        service_sample(p, s, "strategy", s->rollout.strategy, s->rollout.weight / 100.0);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(counts); i++) {
                family(p, "mam_rollout_", counts[i].name, GAUGE, counts[i].help);
                FOREACH_SERVICE(p, s) {
                        uint32_t value;

                        memcpy(&value, (const char *) &s->rollout + counts[i].offset, sizeof(value));
                        if (in_rollout(s))
                                service_sample(p, s, NULL, NULL, value);
                }
        }
        family(p, "mam_", "rollouts_total", COUNTER, "Rollouts that ended since the registry started.");
        endings(p, "service", p->catalog->rollouts_ended, p->catalog->n_rollouts_ended);
}

static void alerts_and_jobs(Page *p) {
        const Catalog *c = p->catalog;

        family(p, "mam_", "alert_firing", GAUGE, "An alert of the manager; the value is 1.");
        for (size_t i = 0; i < c->n_alerts; i++) {
                const CatalogAlert *a = &c->alerts[i];
                const char *const labels[] = { "alert",   a->name,        "severity", a->severity,
                                               "service", a->service,     "replica",  a->replica,
                                               "id",      a->fingerprint, NULL };

                sample(p, labels, 1);
        }
        family(p, "mam_", "alerts", GAUGE, "Alerts of the manager that are firing.");
        sample(p, NULL, (double) c->n_alerts);
        family(p, "mam_", "jobs_running", GAUGE, "Jobs of the manager that are under way.");
        sample(p, NULL, (double) c->n_jobs);
        family(p,
               "mam_",
               "jobs_total",
               COUNTER,
               "Jobs of the manager that ended since the registry started.");
        endings(p, "verb", c->jobs_ended, c->n_jobs_ended);
}

static void manager(Page *p) {
        const char *const version[] = { "version", p->catalog->manager_version, NULL };

        family(p,
               "mam_",
               "manager_up",
               GAUGE,
               "Whether the manager is there; if not, all of this is what it said last.");
        sample(p, NULL, p->catalog->manager_up);
        if (!*p->catalog->manager_version)
                return;
        family(p, "mam_", "manager_info", GAUGE, "The version of the manager; the value is 1.");
        sample(p, version, 1);
}

int exposition_format(const Catalog *c, MamBuffer *ret) {
        Page p = { .catalog = c, .out = ret };

        assert(c);
        assert(ret);

        manager(&p);
        services(&p);
        replicas(&p);
        rollouts(&p);
        alerts_and_jobs(&p);
        return p.error;
}

/* ---- Targets ---- */

bool exposition_has_metrics(const CatalogService *s, const CatalogReplica *r) {
        return s->serves_metrics && catalog_is_instance(r) && r->state != INSTANCE_ASLEEP &&
               r->address[0] == '/';
}

static bool add_target(json_object *list, const char *target, const char *const *labels) {
        _cleanup_(json_object_putp) json_object *entry = json_object_new_object();
        json_object *targets = json_object_new_array(), *set = json_object_new_object();

        if (!entry || !targets || !set || json_object_object_add(entry, "targets", targets) < 0) {
                json_object_put(targets);
                json_object_put(set);
                return false;
        }
        if (json_object_object_add(entry, "labels", set) < 0) {
                json_object_put(set);
                return false;
        }
        if (json_object_array_add(targets, json_object_new_string(target)) < 0)
                return false;
        for (; labels[0]; labels += 2)
                if (json_object_object_add(set, labels[0], json_object_new_string(labels[1])) < 0)
                        return false;
        if (json_object_array_add(list, entry) < 0)
                return false;
        (void) MAM_TAKE(entry);
        return true;
}

json_object *exposition_targets(const Catalog *c, const char *target) {
        /* No label "service": the samples have one of their own. */
        static const char *const suite[] = { "__metrics_path__", "/metrics", "instance", "mam", NULL };
        _cleanup_(json_object_putp) json_object *list = json_object_new_array();

        if (!list || !add_target(list, target, suite))
                return NULL;

        for (size_t i = 0; i < c->n_services; i++) {
                const CatalogService *s = c->services[i];

                for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                        char path[128], instance[64], number[16];
                        const char *const labels[] = { "__metrics_path__", path,      "instance",
                                                       instance,           "service", s->id,
                                                       "replica",          number,    NULL };

                        if (!exposition_has_metrics(s, s->replicas[n]))
                                continue;
                        (void) snprintf(path, sizeof(path), "/v1/metrics/replica/%s/%u", s->id, n);
                        (void) snprintf(instance, sizeof(instance), "%s:%u", s->id, n);
                        (void) snprintf(number, sizeof(number), "%u", n);
                        if (!add_target(list, target, labels))
                                return NULL;
                }
        }
        return MAM_TAKE(list);
}
