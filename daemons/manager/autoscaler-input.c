/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Autoscaler: what a decision needs to know of a service
 */

#include "manager/autoscaler-internal.h"
#include "manager/manager.h"
#include "manager/usage.h"

/* The answers of the gateways are asked for every second or every five. */
#define LOAD_GOOD_USEC (3 * LOAD_IDLE_USEC)

static uint64_t least(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

static void fill_bounds(const Service *s, AutoscaleInput *in) {
        const MamScalingConfig *c = &s->config->scaling;
        const Autoscaler *a = s->manager->autoscaler;

        in->cpu_bounds.min = c->min_cpu_millis > 0 ? c->min_cpu_millis
                                                   : least(VPA_CPU_MIN_MILLIS, s->config->cpu_millis);
        in->cpu_bounds.max = c->max_cpu_millis > 0 ? c->max_cpu_millis
                                                   : most(a->host_cpu_millis, s->config->cpu_millis);
        in->memory_bounds.min = c->min_memory_bytes > 0 ? c->min_memory_bytes
                                                        : least(VPA_MEMORY_MIN, s->config->memory_bytes);
        in->memory_bounds.max = c->max_memory_bytes > 0
                                                ? c->max_memory_bytes
                                                : most(a->host_memory_bytes, s->config->memory_bytes);
        in->cpu_bounds.max = most(in->cpu_bounds.max, in->cpu_bounds.min);
        in->memory_bounds.max = most(in->memory_bounds.max, in->memory_bounds.min);
}

static uint32_t ready_count(const Service *s) {
        uint32_t ready = 0;

        NUMBERS_FOREACH(n, &s->state->numbers) {
                ready += s->replicas[n] && replica_is_ready(s->replicas[n]);
        }
        return ready;
}

void autoscaler_fill_input(const Service *s, AutoscaleInput *in) {
        const MamScalingConfig *c = &s->config->scaling;

        *in = (AutoscaleInput){
                .horizontal = service_horizontal_mode(s),
                .vertical = service_vertical_mode(s),
                .running = s->state->running,
                .hpa = { .desired = service_desired(s), /* in a rollout without its surplus */
                         .ready = ready_count(s),
                         .min = s->config->min_replicas,
                         .max = service_max_number(s),
                         .down_window_usec = c->down_window_usec,
                         .period_usec = s->manager->autoscaler->period_usec },
                .can_sleep = service_can_sleep(s) && !s->rollout,
                .target_in_flight = c->target_in_flight,
                .idle_usec = c->idle_usec,
                .cpu_millis = service_cpu_millis(s),
                .memory_bytes = service_memory_bytes(s),
                .cpu_pinned = s->state->cpu_millis > 0,
                .memory_pinned = s->state->memory_bytes > 0,
                .realtime_usec = mam_now_realtime(),
        };
        if (in->hpa.max < in->hpa.min)
                in->hpa.max = in->hpa.min;
        fill_bounds(s, in);
}

/* ---- signals ---- */

static void fill_usage(const Service *s, AutoscaleInput *in) {
        HpaMetric *cpu = &in->hpa.metrics[HPA_CPU], *memory = &in->hpa.metrics[HPA_MEMORY];
        HpaMetric *pressure = &in->hpa.metrics[HPA_PRESSURE];

        pressure->value = -1;
        NUMBERS_FOREACH(n, &s->state->numbers) {
                const Replica *r = s->replicas[n];
                const ReplicaUsage *u = r ? r->usage : NULL;

                if (!r || !replica_is_ready(r)) {
                        cpu->unready++;
                        memory->unready++;
                        continue;
                }
                /* What it used while it was starting says nothing about the load. */
                if (u && u->cores_known && !u->was_ready) {
                        cpu->unready++;
                } else if (u && u->cores_known) {
                        cpu->measured++;
                        cpu->value += u->cores * 1000 / (double) in->cpu_millis * 100;
                } else
                        cpu->missing++;
                if (u && u->latest.working_set_bytes != CGROUP_UNKNOWN) {
                        memory->measured++;
                        memory->value += (double) u->latest.working_set_bytes / (double) in->memory_bytes *
                                         100;
                } else
                        memory->missing++;
                if (u && u->latest.cpu_pressure > pressure->value)
                        pressure->value = u->latest.cpu_pressure;
        }
        pressure->failed = pressure->value < 0;
}

/* Gateways answer when they answer: what they said last is good for a while, and a rate is one between two
 * of their answers. */
static void fill_load(Service *s, AutoscaleInput *in, uint64_t now_usec) {
        uint64_t asked_usec = load_asked_usec(s->manager->load), span_usec = 0;
        ServiceScaling *sc = s->scaling;
        HpaMetric *metrics = in->hpa.metrics;
        LoadTotals minute = { .requests = 0 };
        bool known = asked_usec > 0 && asked_usec + LOAD_GOOD_USEC > now_usec;
        double p99;

        if (sc->n_in_flight > 0)
                sc->in_flight = sc->in_flight_sum / sc->n_in_flight;
        if (known && sc->before_usec > 0 && asked_usec > sc->before_usec) {
                sc->rps = (double) (s->load.requests - sc->before.requests) /
                          ((double) (asked_usec - sc->before_usec) / 1e6);
                sc->rps_known = true;
        }
        metrics[HPA_IN_FLIGHT].value = sc->in_flight;
        metrics[HPA_IN_FLIGHT].failed = !known;
        metrics[HPA_RPS].value = sc->rps;
        metrics[HPA_RPS].failed = !known || !sc->rps_known;
        metrics[HPA_LATENCY].failed = !known;
        if (known) {
                (void) load_service_last_minute(s, now_usec, &minute, &span_usec);
                p99 = load_quantile_usec(&minute, 0.99);
                metrics[HPA_LATENCY].value = p99 > 0 ? p99 : 0; /* nobody waits if nobody asks */
        }

        if (!known) {
                sc->rps_known = false;
                sc->before_usec = 0;
        } else if (asked_usec > sc->before_usec) {
                sc->before = s->load;
                sc->before_usec = asked_usec;
        }
        sc->in_flight_sum = 0;
        sc->n_in_flight = 0;
}

void autoscaler_fill_targets(const Service *s, AutoscaleInput *in) {
        const MamScalingConfig *c = &s->config->scaling;
        const double targets[_HPA_SIGNAL_MAX] = {
                [HPA_CPU] = c->target_cpu_percent,
                [HPA_MEMORY] = c->target_memory_percent,
                [HPA_IN_FLIGHT] = c->target_in_flight,
                [HPA_RPS] = c->target_rps,
                [HPA_LATENCY] = (double) c->target_latency_usec,
                [HPA_PRESSURE] = c->target_pressure_percent,
        };

        for (HpaSignal k = 0; k < _HPA_SIGNAL_MAX; k++) {
                in->hpa.metrics[k].used = targets[k] > 0;
                in->hpa.metrics[k].target = targets[k];
        }
}

void autoscaler_fill_metrics(Service *s, AutoscaleInput *in, uint64_t now_usec) {
        autoscaler_fill_targets(s, in);
        fill_usage(s, in);
        fill_load(s, in, now_usec);
}
