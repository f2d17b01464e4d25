/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Autoscaler: what autoscale.h decides, fed and carried out
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include <utlist.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/quantity.h"
#include "manager/autoscaler-internal.h"
#include "manager/chaos.h"
#include "manager/events.h"
#include "manager/manager.h"
#include "manager/rollout.h"
#include "manager/usage.h"

#define CONNECTIONS_FOLDER "/proc/self/net"

/* ---- properties of a service ---- */

MamScalingMode service_horizontal_mode(const Service *s) {
        assert(s);

        if (!s->configured || manager_service_is_external(s->manager, s->config->id))
                return MAM_SCALING_OFF;
        return s->state->horizontal_set ? s->state->horizontal : s->config->scaling.horizontal;
}

MamScalingMode service_vertical_mode(const Service *s) {
        assert(s);

        if (!s->configured || manager_service_is_external(s->manager, s->config->id))
                return MAM_SCALING_OFF;
        return s->state->vertical_set ? s->state->vertical : s->config->scaling.vertical;
}

uint32_t service_recommended_replicas(const Service *s) {
        assert(s);

        return s->scaling && s->scaling->state.recommended_known &&
                                               service_horizontal_mode(s) != MAM_SCALING_OFF
                               ? s->scaling->state.recommended
                               : 0;
}

uint32_t service_unbounded_replicas(const Service *s) {
        if (!s->scaling || service_horizontal_mode(s) != MAM_SCALING_AUTO ||
            s->scaling->state.metrics_count == 0)
                return 0;
        return s->scaling->state.hpa_latest.recommended;
}

uint64_t service_recommended_cpu_millis(const Service *s) {
        assert(s);

        return s->scaling && service_vertical_mode(s) != MAM_SCALING_OFF ? s->scaling->state.cpu.target : 0;
}

uint64_t service_recommended_memory_bytes(const Service *s) {
        assert(s);

        return s->scaling && service_vertical_mode(s) != MAM_SCALING_OFF ? s->scaling->state.memory.target
                                                                         : 0;
}

uint64_t service_decisions(const Service *s) {
        assert(s);

        return s->scaling ? s->scaling->decisions : 0;
}

/* ---- scaling of a service ---- */

static void want_often(Service *s, bool often) {
        if (s->scaling->often == often || !s->manager->load)
                return;
        s->scaling->often = often;
        if (often) {
                load_want_often(s->manager->load);
        } else
                load_want_less(s->manager->load);
}

void autoscaler_forget(Service *s) {
        assert(s);

        if (!s->scaling)
                return;
        want_often(s, false);
        free(s->scaling);
        s->scaling = NULL;
}

static ServiceScaling *scaling_of(Service *s) {
        Autoscaler *a = s->manager->autoscaler;

        if (s->scaling)
                return s->scaling;
        s->scaling = calloc(1, sizeof(*s->scaling));
        if (s->scaling && a && autoscaler_store_find(a, s->config->id, &s->scaling->state.vpa) == -EBADMSG) {
                mam_warning("What was stored of the use of %s is not understood; it is learnt anew",
                            s->config->id);
        }
        return s->scaling;
}

/* ---- acting ---- */

static void limits_changed(Service *s) {
        s->state->runtime_limits = true;
        s->dirty |= SERVICE_DIRTY_LIMITS;
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n])
                        s->replicas[n]->limits_due = true;
        }
}

static void act(Service *s, const AutoscaleInput *in, const AutoscaleDecision *d) {
        const DecisionRecord *records = s->scaling->state.records;
        Manager *m = s->manager;
        char from[32], to[32];

        if (d->scale) {
                s->scaling->decisions++;
                event_log(m,
                          LOG_NOTICE,
                          MAM_MESSAGE_SCALED,
                          s->config->id,
                          0,
                          "scaled",
                          "from %u to %u replicas: %s",
                          in->hpa.desired,
                          d->count,
                          records[AUTOSCALE_REPLICAS].why);
                if (d->count > 0) {
                        service_want_count(s, d->count, NULL, NULL);
                } else {
                        service_sleep(s, NULL);
                        hpa_reset(&s->scaling->state.hpa);
                }
        }
        if (d->resize_cpu) {
                s->scaling->decisions++;
                mam_quantity_format_cpu(from, in->cpu_millis);
                mam_quantity_format_cpu(to, d->cpu_millis);
                event_log(m,
                          LOG_NOTICE,
                          MAM_MESSAGE_RESIZED,
                          s->config->id,
                          0,
                          "resized",
                          "CPU of each replica from %s to %s: %s",
                          from,
                          to,
                          records[AUTOSCALE_CPU].why);
                s->state->auto_cpu_millis = d->cpu_millis;
        }
        if (d->resize_memory) {
                s->scaling->decisions++;
                event_log(m,
                          LOG_NOTICE,
                          MAM_MESSAGE_RESIZED,
                          s->config->id,
                          0,
                          "resized",
                          "memory of each replica from %.0fMi to %.0fMi: %s",
                          (double) in->memory_bytes / (1024 * 1024),
                          (double) d->memory_bytes / (1024 * 1024),
                          records[AUTOSCALE_MEMORY].why);
                s->state->auto_memory_bytes = d->memory_bytes;
        }
        if (d->resize_cpu || d->resize_memory)
                limits_changed(s);
        if (d->scale || d->resize_cpu || d->resize_memory) {
                manager_queue_save(m, 0);
                manager_queue_pass(m);
        }
}

static void note_recommended(Service *s, const AutoscaleState *before) {
        const AutoscaleState *now = &s->scaling->state;

        if (before->recommended == now->recommended && before->recommended_known == now->recommended_known &&
            before->cpu.target == now->cpu.target && before->memory.target == now->memory.target)
                return;
        s->dirty |= SERVICE_DIRTY_SCALING;
        manager_queue_pass(s->manager);
}

void autoscaler_note_settings(Service *s) {
        bool changed = false;

        assert(s);

        s->dirty |= SERVICE_DIRTY_SCALING;
        if (service_vertical_mode(s) != MAM_SCALING_AUTO) {
                changed = s->state->auto_cpu_millis > 0 || s->state->auto_memory_bytes > 0;
                s->state->auto_cpu_millis = s->state->auto_memory_bytes = 0;
                if (changed)
                        limits_changed(s);
        }
        if (s->scaling && service_horizontal_mode(s) == MAM_SCALING_OFF) {
                hpa_reset(&s->scaling->state.hpa);
                zero_reset(&s->scaling->state.zero);
                s->scaling->state.metrics_count = 0;
        }
        if (changed)
                manager_queue_save(s->manager, 0);
        manager_queue_pass(s->manager);
}

void autoscaler_note_wanted(Service *s, uint32_t count) {
        uint64_t now_usec = mam_now_monotonic();

        assert(s);

        if (!s->scaling)
                return;
        if (s->state->asleep || count <= 1)
                hpa_reset(&s->scaling->state.hpa);
        hpa_note(&s->scaling->state.hpa, count, now_usec);
        zero_touch(&s->scaling->state.zero, now_usec);
        s->scaling->state.metrics_count = count;
}

void autoscaler_note_exit(Replica *r, uint64_t oom_kills) {
        Service *s = r->service;
        Autoscaler *a = s->manager->autoscaler;
        AutoscaleInput in;
        AutoscaleDecision d = { .scale = false };
        ServiceScaling *sc;
        AutoscaleState before;

        if (!a || oom_kills == 0 || r->last_exit_usec < a->started_realtime_usec ||
            service_vertical_mode(s) == MAM_SCALING_OFF || chaos_of(s->manager->chaos, s->config->id))
                return;
        sc = scaling_of(s);
        /* The record was seen before, by an object that is gone; or it died of a limit that has been raised
         * meanwhile. */
        if (!sc || r->last_exit_usec <= sc->state.vpa.oom_usec ||
            (sc->state.memory_changed_usec > 0 &&
             r->last_exit_usec < sc->state.memory_changed_usec + MAM_USEC_PER_SEC))
                return;

        before = sc->state;
        autoscaler_fill_input(s, &in);
        vpa_note_oom(&sc->state.vpa, in.memory_bytes, 0, in.realtime_usec);
        a->dirty = true;
        in.horizontal = MAM_SCALING_OFF; /* only the size is at stake now */
        if (s->state->running)
                d = autoscale_decide(&sc->state, &in, mam_now_monotonic());
        sc->state.recommended_known = before.recommended_known;
        autoscaler_fill_input(s, &in);
        autoscaler_fill_targets(s, &in);
        autoscale_describe(&sc->state, &in, mam_now_monotonic());
        act(s, &in, &d);
        note_recommended(s, &before);
}

/* ---- the rounds ---- */

static bool looks_at_requests(const Service *s) {
        const MamScalingConfig *c = &s->config->scaling;

        return service_horizontal_mode(s) != MAM_SCALING_OFF && s->state->running &&
               !numbers_is_empty(&s->state->numbers) &&
               (service_can_sleep(s) || c->target_in_flight > 0 || c->target_rps > 0 ||
                c->target_latency_usec > 0);
}

/* Before it is put to sleep: is somebody connected whom no gateway sees, or are there gateways that did not
 * tell? */
static bool is_unsure(const Service *s, uint64_t now_usec) {
        const ZeroState *z = &s->scaling->state.zero;

        if (z->active_usec + s->config->scaling.idle_usec > now_usec)
                return false;
        if (!s->load_known && manager_gateway_runs(s->manager))
                return true;
        return mam_service_has_public_socket(s->config) &&
               port_is_used(CONNECTIONS_FOLDER, s->config->port) != -ENOENT;
}

/* Trouble made on purpose: what is seen then says nothing about how many or how big is right. */
static bool is_disturbed(const Service *s) {
        return chaos_of(s->manager->chaos, s->config->id);
}

static bool is_settled(const Service *s) {
        return (s->settle_usec == 0 || !s->state->running) && !is_disturbed(s);
}

void autoscaler_on_load(Autoscaler *a, uint64_t now_usec) {
        Service *s;

        assert(a);

        DL_FOREACH(a->manager->services, s) {
                uint32_t in_flight = load_service_in_flight(s);
                AutoscaleDecision d;
                AutoscaleInput in;
                AutoscaleState *state;
                uint32_t recommended;

                if (!s->scaling)
                        continue;
                want_often(s, looks_at_requests(s));
                if (in_flight != UINT32_MAX) {
                        s->scaling->in_flight_sum += in_flight;
                        s->scaling->n_in_flight++;
                }
                if (!service_can_sleep(s) || s->rollout || !s->state->running ||
                    numbers_is_empty(&s->state->numbers) || service_horizontal_mode(s) == MAM_SCALING_OFF ||
                    !is_settled(s))
                        continue;

                state = &s->scaling->state;
                recommended = state->recommended;
                zero_note(&state->zero,
                          in_flight != UINT32_MAX ? in_flight : 0,
                          s->load.requests - s->scaling->requests_before,
                          now_usec);
                s->scaling->requests_before = s->load.requests;
                autoscaler_fill_input(s, &in);
                in.idle_unsure = is_unsure(s, now_usec);
                d = autoscale_decide_quick(state, &in, now_usec);
                act(s, &in, &d);
                if (recommended != state->recommended) {
                        s->dirty |= SERVICE_DIRTY_SCALING;
                        manager_queue_pass(s->manager);
                }
        }
}

static bool sample(Service *s, uint64_t now_usec, uint64_t realtime_usec) {
        bool any = false;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                Replica *r = s->replicas[n];

                if (!r || !replica_sample(r, now_usec))
                        continue;
                any = true;
                if (r->usage->cores_known)
                        vpa_note_cpu(&s->scaling->state.vpa, r->usage->cores, realtime_usec);
                if (r->usage->latest.working_set_bytes != CGROUP_UNKNOWN) {
                        vpa_note_memory(&s->scaling->state.vpa,
                                        n,
                                        r->usage->latest.working_set_bytes,
                                        realtime_usec);
                }
        }
        return any;
}

static void drop_usage(Service *s) {
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (s->replicas[n])
                        s->replicas[n]->usage = replica_usage_free(s->replicas[n]->usage);
        }
}

static void service_period(Autoscaler *a, Service *s, uint64_t now_usec) {
        MamScalingMode horizontal = service_horizontal_mode(s), vertical = service_vertical_mode(s);
        AutoscaleState before;
        AutoscaleDecision d;
        AutoscaleInput in;

        if (horizontal == MAM_SCALING_OFF && vertical == MAM_SCALING_OFF) {
                drop_usage(s);
                if (s->scaling)
                        want_often(s, false);
                return;
        }
        if (!scaling_of(s))
                return;
        if (!s->state->running) {
                hpa_reset(&s->scaling->state.hpa);
                zero_reset(&s->scaling->state.zero);
                s->scaling->state.metrics_count = 0;
                drop_usage(s);
        } else if (!is_disturbed(s) && sample(s, now_usec, mam_now_realtime())) {
                vpa_note_period(&s->scaling->state.vpa, a->period_usec, mam_now_realtime());
                a->dirty = true;
        }
        want_often(s, looks_at_requests(s));
        if (!is_settled(s))
                return;

        before = s->scaling->state;
        autoscaler_fill_input(s, &in);
        autoscaler_fill_metrics(s, &in, now_usec);
        in.idle_unsure = in.can_sleep && is_unsure(s, now_usec);
        d = autoscale_decide(&s->scaling->state, &in, now_usec);
        act(s, &in, &d);
        replicas_follow_memory(s);
        note_recommended(s, &before);
}

const DecisionRecord *autoscale_explain(Service *s, AutoscaleTopic topic) {
        static const DecisionRecord unknown = { .verdict = "unknown", .why = "out of memory" };
        AutoscaleInput in;

        assert(s);
        assert(topic >= 0 && topic < _AUTOSCALE_TOPIC_MAX);

        if (!s->manager->autoscaler || !scaling_of(s))
                return &unknown;
        autoscaler_fill_input(s, &in);
        autoscaler_fill_targets(s, &in);
        autoscale_describe(&s->scaling->state, &in, mam_now_monotonic());
        return &s->scaling->state.records[topic];
}

/* ---- the object ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        uint64_t now_usec = mam_now_monotonic();
        Autoscaler *a = userdata;
        Service *s;

        (void) sd_event_source_set_time_relative(source, a->period_usec);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        if (!a->manager->listed)
                return 0;
        DL_FOREACH(a->manager->services, s) {
                service_period(a, s, now_usec);
        }
        autoscaler_store_step(a, now_usec, false);
        return 0;
}

static uint64_t read_period(void) {
        const char *text = getenv(AUTOSCALER_PERIOD_VARIABLE);
        uint64_t usec;

        if (!text || !*text)
                return HPA_PERIOD_USEC;
        if (mam_parse_timespan(text, &usec) < 0 || usec < AUTOSCALER_PERIOD_MIN_USEC ||
            usec > AUTOSCALER_PERIOD_MAX_USEC) {
                mam_warning("%s=%.32s is not a time span of 200ms to 5min: ignored",
                            AUTOSCALER_PERIOD_VARIABLE,
                            text);
                return HPA_PERIOD_USEC;
        }
        return usec;
}

int autoscaler_new(Autoscaler **ret, Manager *m, const char *state_path) {
        _cleanup_(autoscaler_freep) Autoscaler *a = NULL;
        struct sysinfo info = { .mem_unit = 1 };
        long cpus;
        int r;

        assert(ret);
        assert(m);

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;

        a->manager = m;
        a->period_usec = read_period();
        a->started_realtime_usec = mam_now_realtime();
        a->saved_usec = mam_now_monotonic();
        cpus = sysconf(_SC_NPROCESSORS_ONLN);
        a->host_cpu_millis = cpus > 0 ? (uint64_t) cpus * 1000 : 1000;
        if (sysinfo(&info) < 0)
                return -errno;
        a->host_memory_bytes = (uint64_t) info.totalram * info.mem_unit;
        if (state_path) {
                r = autoscaler_store_open(a, state_path);
                if (r < 0)
                        return r;
        }
        r = sd_event_add_time_relative(
                        m->event,
                        &a->timer,
                        CLOCK_MONOTONIC,
                        a->period_usec,
                        a->period_usec / 16,
                        on_timer,
                        a);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(a);
        return 0;
}

Autoscaler *autoscaler_free(Autoscaler *a) {
        if (!a)
                return NULL;

        if (a->timer)
                autoscaler_store_step(a, 0, true);
        sd_event_source_disable_unref(a->timer);
        json_object_put(a->stored);
        free(a->path);
        free(a);
        return NULL;
}
