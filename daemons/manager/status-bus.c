/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Handlers of org.manageragent.Manager1 that only read
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/util/time.h"
#include "manager/autoscaler.h"
#include "manager/cgroup.h"
#include "manager/endpoints.h"
#include "manager/manager-bus.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Begins the answer; *ret_only is the one service that is asked for, or NULL for all. */
static int begin(
                sd_bus_message *message,
                Manager *m,
                sd_bus_message **ret,
                Service **ret_only,
                sd_bus_error *error) {
        const char *id;
        int r;

        r = sd_bus_message_read(message, "s", &id);
        if (r < 0)
                return r;

        *ret_only = NULL;
        if (*id) {
                *ret_only = manager_find_service(m, id);
                if (!*ret_only)
                        return manager_bus_no_such_service(m, id, error);
        }
        return sd_bus_message_new_method_return(message, ret);
}

/* Answers with an array of what append() adds for each service that is asked for. */
static int answer(
                sd_bus_message *message,
                Manager *m,
                const char *contents,
                int (*append)(sd_bus_message *reply, Service *s),
                sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Service *only, *s;
        int r;

        r = begin(message, m, &reply, &only, error);
        if (r < 0)
                return r;

        r = sd_bus_message_open_container(reply, 'a', contents);
        DL_FOREACH(m->services, s) {
                if (r >= 0 && (!only || s == only))
                        r = append(reply, s);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

int manager_bus_list(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        Service *s;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ssssuuuo)");
        if (r < 0)
                return r;

        DL_FOREACH(m->services, s) {
                _cleanup_(mam_freep) char *path = NULL;

                r = service_path(s, &path);
                if (r >= 0) {
                        r = sd_bus_message_append(
                                        reply,
                                        "(ssssuuuo)",
                                        s->config->id,
                                        s->config->name,
                                        mam_service_type_to_string(s->config->type),
                                        s->state_text,
                                        service_desired(s),
                                        s->counts.existing,
                                        s->counts.ready,
                                        path);
                }
                if (r < 0)
                        return r;
        }

        r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int append_status(sd_bus_message *reply, Service *s) {
        char id[64];
        int r;

        r = sd_bus_message_open_container(reply, 'r', "sa{sv}a(sa{sv})");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", s->config->id);
        if (r >= 0)
                r = service_append_properties(reply, s);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sa{sv})");
        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!s->replicas[n])
                        continue;
                snprintf(id, sizeof(id), "%s:%u", s->config->id, n);
                r = sd_bus_message_open_container(reply, 'r', "sa{sv}");
                if (r >= 0)
                        r = sd_bus_message_append(reply, "s", id);
                if (r >= 0)
                        r = replica_append_properties(reply, s->replicas[n]);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int manager_bus_status(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return answer(message, userdata, "(sa{sv}a(sa{sv}))", append_status, error);
}

static int append_health(sd_bus_message *reply, Service *s) {
        char id[64], why[256];
        int r = 0;

        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *replica = s->replicas[n];

                if (!replica)
                        continue;
                snprintf(id, sizeof(id), "%s:%u", s->config->id, n);
                why[0] = '\0';
                if (!replica_is_ready(replica) || replica->health_reason[0])
                        replica_describe(replica, why, sizeof(why));
                r = sd_bus_message_append(
                                reply,
                                "(sssst)",
                                s->config->id,
                                id,
                                health_state_to_string(replica->health.state),
                                why,
                                replica->health.since_realtime_usec);
        }
        return r;
}

int manager_bus_health(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return answer(message, userdata, "(sssst)", append_health, error);
}

/* ---- Metrics ---- */

typedef enum Metric {
        METRIC_CPU_SECONDS,
        METRIC_MEMORY,
        METRIC_MEMORY_MAX,
        METRIC_CPU_LIMIT,
        METRIC_TASKS,
        METRIC_RESTARTS,
        METRIC_OOM_KILLS,
        METRIC_UPTIME,
        METRIC_READY,
        METRIC_REQUESTS,
        METRIC_ERRORS,
        METRIC_IN_FLIGHT,
        METRIC_RPS,
        METRIC_P50,
        METRIC_P99,
        /* not summed up: the worst replica counts for the service */
        METRIC_CPU_PRESSURE,
        METRIC_MEMORY_PRESSURE,
        METRIC_IO_PRESSURE,
        /* of services only */
        METRIC_DESIRED,
        METRIC_EXISTING,
        METRIC_REPLICAS_READY,
        METRIC_MIN,
        METRIC_MAX,
        METRIC_RECOMMENDED,
        METRIC_RECOMMENDED_CPU,
        METRIC_RECOMMENDED_MEMORY,
        METRIC_DECISIONS,
        _METRIC_MAX,
} Metric;

static const char *const metric_names[_METRIC_MAX] = {
        [METRIC_CPU_SECONDS] = "cpu_seconds_total",
        [METRIC_MEMORY] = "memory_bytes",
        [METRIC_MEMORY_MAX] = "memory_max_bytes",
        [METRIC_CPU_LIMIT] = "cpu_limit_cores",
        [METRIC_TASKS] = "tasks",
        [METRIC_RESTARTS] = "restarts_total",
        [METRIC_OOM_KILLS] = "oom_kills_total",
        [METRIC_UPTIME] = "uptime_seconds",
        [METRIC_READY] = "ready",
        [METRIC_REQUESTS] = "requests_total",
        [METRIC_ERRORS] = "request_errors_total",
        [METRIC_IN_FLIGHT] = "requests_in_flight",
        [METRIC_RPS] = "requests_per_second",
        [METRIC_P50] = "request_p50_seconds",
        [METRIC_P99] = "request_p99_seconds",
        [METRIC_CPU_PRESSURE] = "psi_cpu_some_avg10",
        [METRIC_MEMORY_PRESSURE] = "psi_memory_some_avg10",
        [METRIC_IO_PRESSURE] = "psi_io_some_avg10",
        [METRIC_DESIRED] = "replicas_desired",
        [METRIC_EXISTING] = "replicas_existing",
        [METRIC_REPLICAS_READY] = "replicas_ready",
        [METRIC_MIN] = "replicas_min",
        [METRIC_MAX] = "replicas_max",
        [METRIC_RECOMMENDED] = "replicas_recommended",
        [METRIC_RECOMMENDED_CPU] = "cpu_recommended_cores",
        [METRIC_RECOMMENDED_MEMORY] = "memory_recommended_bytes",
        [METRIC_DECISIONS] = "decisions_total",
};

typedef struct MetricSet {
        double value[_METRIC_MAX];
        bool known[_METRIC_MAX];
} MetricSet;

static void metric_set(MetricSet *set, Metric m, double value) {
        set->value[m] = value;
        set->known[m] = true;
}

static void load_metrics(
                MetricSet *set,
                const LoadTotals *total,
                uint32_t in_flight,
                const LoadTotals *minute,
                uint64_t span_usec) {
        double p50 = load_quantile_usec(minute, 0.5), p99 = load_quantile_usec(minute, 0.99);

        metric_set(set, METRIC_REQUESTS, (double) total->requests);
        metric_set(set, METRIC_ERRORS, (double) total->errors);
        if (in_flight != UINT32_MAX)
                metric_set(set, METRIC_IN_FLIGHT, in_flight);
        if (span_usec > 0)
                metric_set(set, METRIC_RPS, (double) minute->requests / ((double) span_usec / 1e6));
        if (p50 >= 0)
                metric_set(set, METRIC_P50, p50 / 1e6);
        if (p99 >= 0)
                metric_set(set, METRIC_P99, p99 / 1e6);
}

static void service_metrics(MetricSet *set, const Service *s) {
        MamScalingMode vertical = service_vertical_mode(s);
        uint64_t span_usec = 0;
        LoadTotals minute;

        for (Metric m = METRIC_REQUESTS; m <= METRIC_P99; m++)
                set->known[m] = false; /* also counts what went to replicas that are gone */
        if (load_service_last_minute(s, mam_now_monotonic(), &minute, &span_usec))
                load_metrics(set, &s->load, load_service_in_flight(s), &minute, span_usec);

        metric_set(set, METRIC_DESIRED, service_desired(s));
        metric_set(set, METRIC_EXISTING, s->counts.existing);
        metric_set(set, METRIC_REPLICAS_READY, s->counts.ready);
        metric_set(set, METRIC_MIN, s->config->min_replicas);
        metric_set(set, METRIC_MAX, s->config->max_replicas);
        if (service_recommended_replicas(s) > 0)
                metric_set(set, METRIC_RECOMMENDED, service_recommended_replicas(s));
        if (vertical != MAM_SCALING_OFF && service_recommended_cpu_millis(s) > 0)
                metric_set(set, METRIC_RECOMMENDED_CPU, (double) service_recommended_cpu_millis(s) / 1000);
        if (vertical != MAM_SCALING_OFF && service_recommended_memory_bytes(s) > 0) {
                metric_set(set, METRIC_RECOMMENDED_MEMORY, (double) service_recommended_memory_bytes(s));
        }
        metric_set(set, METRIC_DECISIONS, (double) service_decisions(s));
}

static void replica_metrics(MetricSet *ret, const Replica *r) {
        uint64_t span_usec = 0;
        LoadTotals minute;
        uint64_t now = mam_now_realtime();
        MetricSet set = { .known = { false } };
        CgroupUsage u;

        if (r->activity != UNIT_INACTIVE && r->control_group && r->control_group[0]) {
                cgroup_read(&u, CGROUP_ROOT, r->control_group);
                if (u.cpu_usec != CGROUP_UNKNOWN)
                        metric_set(&set, METRIC_CPU_SECONDS, (double) u.cpu_usec / 1e6);
                if (u.memory_bytes != CGROUP_UNKNOWN)
                        metric_set(&set, METRIC_MEMORY, (double) u.memory_bytes);
                if (u.tasks != CGROUP_UNKNOWN)
                        metric_set(&set, METRIC_TASKS, (double) u.tasks);
                if (u.cpu_pressure >= 0)
                        metric_set(&set, METRIC_CPU_PRESSURE, u.cpu_pressure);
                if (u.memory_pressure >= 0)
                        metric_set(&set, METRIC_MEMORY_PRESSURE, u.memory_pressure);
                if (u.io_pressure >= 0)
                        metric_set(&set, METRIC_IO_PRESSURE, u.io_pressure);
        }
        if (load_last_minute(r, mam_now_monotonic(), &minute, &span_usec))
                load_metrics(&set, &r->load, r->in_flight, &minute, span_usec);
        metric_set(&set, METRIC_MEMORY_MAX, (double) service_memory_bytes(r->service));
        metric_set(&set, METRIC_CPU_LIMIT, (double) service_cpu_millis(r->service) / 1000);
        metric_set(&set, METRIC_RESTARTS, r->restarts);
        metric_set(&set, METRIC_OOM_KILLS, (double) r->oom_kills);
        metric_set(&set, METRIC_READY, replica_is_ready(r));
        if (r->activity == UNIT_ACTIVE && r->started_usec > 0 && now > r->started_usec)
                metric_set(&set, METRIC_UPTIME, (double) (now - r->started_usec) / 1e6);
        *ret = set;
}

static int append_metrics(
                sd_bus_message *reply,
                const char *service,
                const char *replica,
                const MetricSet *set) {
        int r;

        r = sd_bus_message_open_container(reply, 'r', "ssa{sd}");
        if (r >= 0)
                r = sd_bus_message_append(reply, "ss", service, replica);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "{sd}");
        for (Metric m = 0; r >= 0 && m < _METRIC_MAX; m++) {
                if (set->known[m])
                        r = sd_bus_message_append(reply, "{sd}", metric_names[m], set->value[m]);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_service_metrics(sd_bus_message *reply, Service *s) {
        MetricSet sum = { .known = { false } }, one;
        char id[64];
        int r = 0;

        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!s->replicas[n])
                        continue;
                replica_metrics(&one, s->replicas[n]);
                for (Metric m = 0; m < _METRIC_MAX; m++) {
                        if (!one.known[m])
                                continue;
                        if (m != METRIC_UPTIME && m < METRIC_CPU_PRESSURE) {
                                metric_set(&sum, m, sum.value[m] + one.value[m]);
                        } else if (!sum.known[m] || one.value[m] > sum.value[m])
                                metric_set(&sum, m, one.value[m]); /* the oldest, the worst */
                }
                snprintf(id, sizeof(id), "%s:%u", s->config->id, n);
                r = append_metrics(reply, s->config->id, id, &one);
        }
        service_metrics(&sum, s);
        return r < 0 ? r : append_metrics(reply, s->config->id, "", &sum);
}

int manager_bus_metrics(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        return answer(message, userdata, "(ssa{sd})", append_service_metrics, error);
}

int manager_bus_list_endpoints(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Manager *m = userdata;
        Service *s;
        int r;

        r = begin(message, m, &reply, &s, error);
        if (r < 0)
                return r;
        if (!s)
                return manager_bus_no_such_service(m, "", error);

        r = sd_bus_message_append(reply, "t", s->revision);
        if (r >= 0)
                r = endpoints_append(reply, s);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
