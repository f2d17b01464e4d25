/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Autoscaling: the rules by which horizontal and vertical share what there is
 */

#include <assert.h>

#include "manager/autoscale.h"

/* ---- horizontal ---- */

static bool horizontal_looks_at_memory(const AutoscaleInput *in) {
        return in->vertical != MAM_SCALING_AUTO || in->memory_pinned ||
               in->memory_bytes >= in->memory_bounds.max;
}

static void decide_by_metrics(AutoscaleState *s, const AutoscaleInput *in, uint64_t now_usec) {
        HpaInput hpa = in->hpa;

        s->memory_horizontal = horizontal_looks_at_memory(in);
        if (!s->memory_horizontal)
                hpa.metrics[HPA_MEMORY].used = false;
        if (in->can_sleep) /* what comes in is counted by the second there */
                hpa.metrics[HPA_IN_FLIGHT].used = false;
        if (hpa.min == 0)
                hpa.min = 1; /* whether any is needed is not for these to say */
        if (hpa.max < hpa.min)
                hpa.max = hpa.min;

        s->hpa_latest = hpa_decide(&s->hpa, &hpa, now_usec);
        s->metrics_count = s->hpa_latest.count;
}

static uint32_t decide_count(AutoscaleState *s, const AutoscaleInput *in, uint64_t now_usec) {
        ZeroInput zero = { .desired = in->hpa.desired,
                           .ready = in->hpa.ready,
                           .max = in->hpa.max,
                           .target = in->target_in_flight,
                           .idle_usec = in->idle_usec };
        uint32_t count = s->metrics_count > 0 ? s->metrics_count : in->hpa.desired;

        if (!in->can_sleep)
                return count;

        if (in->idle_unsure)
                zero_touch(&s->zero, now_usec);
        s->zero_latest = zero_decide(&s->zero, &zero, now_usec);
        if (s->zero_latest.idle || in->hpa.desired == 0)
                return s->zero_latest.count;
        if (in->target_in_flight > 0 && s->zero_latest.count > count)
                return s->zero_latest.count;
        return count;
}

/* ---- vertical ---- */

static bool verdict_acts(VpaVerdict v) {
        return v == VPA_BELOW || v == VPA_ABOVE || v == VPA_DRIFTED;
}

static void decide_cpu(AutoscaleState *s, const AutoscaleInput *in, AutoscaleDecision *d) {
        bool at_max = in->hpa.desired >= in->hpa.max, could_be_fewer = in->hpa.min < in->hpa.max;
        bool horizontal = in->horizontal == MAM_SCALING_AUTO;

        s->cpu = vpa_recommend_cpu(&s->vpa, &in->cpu_bounds);
        s->cpu_verdict =
                        vpa_judge(&s->cpu,
                                  in->cpu_millis,
                                  s->cpu_changed_usec,
                                  s->vpa.first_usec,
                                  in->realtime_usec);
        s->cpu_yields = horizontal && (!at_max || (could_be_fewer && s->cpu.target < in->cpu_millis));
        if (in->vertical != MAM_SCALING_AUTO || in->cpu_pinned || s->cpu_yields ||
            !verdict_acts(s->cpu_verdict))
                return;

        d->resize_cpu = s->cpu.target != in->cpu_millis;
        d->cpu_millis = s->cpu.target;
        if (d->resize_cpu)
                s->cpu_changed_usec = in->realtime_usec;
}

static void decide_memory(AutoscaleState *s, const AutoscaleInput *in, AutoscaleDecision *d) {
        s->memory = vpa_recommend_memory(&s->vpa, &in->memory_bounds);
        s->memory_verdict =
                        vpa_judge(&s->memory,
                                  in->memory_bytes,
                                  s->memory_changed_usec,
                                  s->vpa.first_usec,
                                  in->realtime_usec);
        if (in->vertical != MAM_SCALING_AUTO || in->memory_pinned || !verdict_acts(s->memory_verdict))
                return;

        d->resize_memory = s->memory.target != in->memory_bytes;
        d->memory_bytes = s->memory.target;
        if (d->resize_memory)
                s->memory_changed_usec = in->realtime_usec;
}

/* ---- both ---- */

static void finish(
                AutoscaleState *s,
                const AutoscaleInput *in,
                uint32_t count,
                AutoscaleDecision *d,
                uint64_t now_usec) {
        s->recommended = count;
        s->recommended_known = true;
        if (in->horizontal == MAM_SCALING_AUTO && count != in->hpa.desired) {
                d->scale = true;
                d->count = count;
        }
        autoscale_describe(s, in, now_usec);
}

AutoscaleDecision autoscale_decide(AutoscaleState *state, const AutoscaleInput *in, uint64_t now_usec) {
        AutoscaleDecision d = { .scale = false };
        uint32_t count = in->hpa.desired;

        assert(state);
        assert(in);

        if (!in->running) {
                state->recommended_known = false;
                autoscale_describe(state, in, now_usec);
                return d;
        }

        if (in->vertical != MAM_SCALING_OFF) {
                decide_cpu(state, in, &d);
                decide_memory(state, in, &d);
        }
        if (in->horizontal == MAM_SCALING_OFF) {
                state->recommended_known = false;
                autoscale_describe(state, in, now_usec);
                return d;
        }
        if (in->hpa.desired > 0)
                decide_by_metrics(state, in, now_usec);
        count = decide_count(state, in, now_usec);
        finish(state, in, count, &d, now_usec);
        return d;
}

AutoscaleDecision autoscale_decide_quick(
                AutoscaleState *state,
                const AutoscaleInput *in,
                uint64_t now_usec) {
        AutoscaleDecision d = { .scale = false };

        assert(state);
        assert(in);

        if (!in->running || in->horizontal == MAM_SCALING_OFF || !in->can_sleep)
                return d;
        finish(state, in, decide_count(state, in, now_usec), &d, now_usec);
        return d;
}

const char *autoscale_topic_to_string(AutoscaleTopic t) {
        static const char *const names[_AUTOSCALE_TOPIC_MAX] = { [AUTOSCALE_REPLICAS] = "replicas",
                                                                 [AUTOSCALE_CPU] = "cpu",
                                                                 [AUTOSCALE_MEMORY] = "memory" };

        assert(t >= 0 && t < _AUTOSCALE_TOPIC_MAX);
        return names[t];
}
