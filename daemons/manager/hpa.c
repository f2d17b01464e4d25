/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Horizontal autoscaling
 */

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "manager/hpa.h"

/* What is a whole number but for rounding is not one more. */
#define ROUNDING 1e-9

static const struct {
        const char *name;
        HpaKind kind;
} signals[_HPA_SIGNAL_MAX] = {
        [HPA_CPU] = { "cpu", HPA_PER_REPLICA },       [HPA_MEMORY] = { "memory", HPA_PER_REPLICA },
        [HPA_IN_FLIGHT] = { "in_flight", HPA_TOTAL }, [HPA_RPS] = { "rps", HPA_TOTAL },
        [HPA_LATENCY] = { "latency", HPA_VALUE },     [HPA_PRESSURE] = { "pressure", HPA_VALUE },
};

HpaKind hpa_signal_kind(HpaSignal s) {
        assert(s >= 0 && s < _HPA_SIGNAL_MAX);

        return signals[s].kind;
}

const char *hpa_signal_to_string(HpaSignal s) {
        assert(s >= 0 && s < _HPA_SIGNAL_MAX);

        return signals[s].name;
}

static bool is_tolerated(double ratio) {
        return fabs(ratio - 1) <= HPA_TOLERANCE + ROUNDING;
}

static uint32_t round_up(double count) {
        count = ceil(count - ROUNDING);
        return count < 0 ? 0 : count > MAM_CONFIG_REPLICAS_MAX ? MAM_CONFIG_REPLICAS_MAX : (uint32_t) count;
}

static int per_replica(const HpaInput *in, const HpaMetric *m, uint32_t *ret_count, double *ret_ratio) {
        double ratio, sum = m->value, second;
        uint32_t n = m->measured, count;

        if (n == 0)
                return -ENODATA;

        ratio = sum / n / m->target;
        *ret_ratio = ratio;
        if (m->missing == 0 && (m->unready == 0 || ratio <= 1)) {
                *ret_count = is_tolerated(ratio) ? in->desired : round_up(ratio * n);
                return 0;
        }

        n += m->missing;
        if (ratio < 1) {
                sum += m->missing * m->target;
        } else if (ratio > 1)
                n += m->unready;

        second = sum / n / m->target;
        *ret_ratio = second;
        *ret_count = in->desired;
        if (is_tolerated(second) || (ratio < 1 && second > 1) || (ratio > 1 && second < 1))
                return 0;

        count = round_up(second * n);
        if ((second < 1 && count > in->desired) || (second > 1 && count < in->desired))
                return 0;
        *ret_count = count;
        return 0;
}

int hpa_metric_count(const HpaInput *in, HpaSignal signal, uint32_t *ret_count, double *ret_ratio) {
        const HpaMetric *m;
        double ratio = 0;

        assert(in);
        assert(signal >= 0 && signal < _HPA_SIGNAL_MAX);
        assert(ret_count);
        assert(ret_ratio);

        m = &in->metrics[signal];
        if (!m->used || m->failed || !(m->target > 0) || !isfinite(m->value) || m->value < 0)
                return -ENODATA;

        switch (signals[signal].kind) {
        case HPA_PER_REPLICA:
                return per_replica(in, m, ret_count, ret_ratio);
        case HPA_TOTAL:
                if (in->ready == 0) { /* what waits needs somebody */
                        *ret_ratio = m->value > 0 ? HUGE_VAL : 0;
                        *ret_count = round_up(m->value / m->target);
                        if (*ret_count < in->desired)
                                *ret_count = in->desired;
                        return 0;
                }
                ratio = m->value / m->target / in->ready;
                *ret_ratio = ratio;
                *ret_count = is_tolerated(ratio) ? in->desired : round_up(m->value / m->target);
                break;
        case HPA_VALUE:
                if (in->ready == 0)
                        return -ENODATA;
                ratio = m->value / m->target;
                *ret_ratio = ratio;
                *ret_count = is_tolerated(ratio) ? in->desired : round_up(ratio * in->ready);
                break;
        }
        /* Replicas that are on their way will take their part of it: no growth beyond what those ask for
         * that are there, and no shrinking because few carry all. */
        if (ratio > 1 && *ret_count < in->desired)
                *ret_count = in->desired;
        return 0;
}

/* ---- memory ---- */

void hpa_reset(HpaState *state) {
        assert(state);

        *state = (HpaState){ .n_memory = 0 };
}

static void memory_expire(HpaState *s, uint64_t window_usec, uint64_t now_usec) {
        uint32_t old = 0;

        while (old < s->n_memory && s->memory[old].usec + window_usec <= now_usec)
                old++;
        memmove(s->memory, s->memory + old, (s->n_memory - old) * sizeof(s->memory[0]));
        s->n_memory -= old;
}

void hpa_note(HpaState *state, uint32_t count, uint64_t now_usec) {
        assert(state);

        if (count > MAM_CONFIG_REPLICAS_MAX)
                count = MAM_CONFIG_REPLICAS_MAX;
        while (state->n_memory > 0 && state->memory[state->n_memory - 1].count <= count)
                state->n_memory--;
        state->memory[state->n_memory].usec = now_usec;
        state->memory[state->n_memory++].count = count;
}

static void note_growth(HpaState *s, uint32_t added, uint64_t now_usec) {
        if (s->n_events == HPA_EVENTS_MAX) {
                s->events[0].added += s->events[1].added; /* younger than it is: on the safe side */
                s->events[0].usec = s->events[1].usec;
                memmove(s->events + 1, s->events + 2, (HPA_EVENTS_MAX - 2) * sizeof(s->events[0]));
                s->n_events--;
        }
        s->events[s->n_events].usec = now_usec;
        s->events[s->n_events++].added = added;
}

static uint32_t growth_limit(HpaState *s, const HpaInput *in, uint64_t now_usec) {
        uint32_t added = 0, start, old = 0;

        while (old < s->n_events && s->events[old].usec + in->period_usec <= now_usec)
                old++;
        memmove(s->events, s->events + old, (s->n_events - old) * sizeof(s->events[0]));
        s->n_events -= old;
        for (uint32_t i = 0; i < s->n_events; i++)
                added += s->events[i].added;

        start = in->desired > added ? in->desired - added : 0;
        return start + (start > HPA_UP_REPLICAS ? start : HPA_UP_REPLICAS);
}

/* ---- deciding ---- */

static void ask_metrics(const HpaInput *in, HpaDecision *d) {
        uint32_t n_known = 0;

        d->signal = d->failed = _HPA_SIGNAL_MAX;
        for (HpaSignal s = 0; s < _HPA_SIGNAL_MAX; s++) {
                uint32_t count = 0;
                double ratio = -1;

                d->ratios[s] = -1;
                if (!in->metrics[s].used)
                        continue;
                if (hpa_metric_count(in, s, &count, &ratio) < 0) {
                        d->failed = s;
                        continue;
                }
                d->ratios[s] = ratio;
                if (n_known++ == 0 || count > d->recommended ||
                    (count == d->recommended && ratio > d->ratio)) {
                        d->recommended = count;
                        d->signal = s;
                        d->ratio = ratio;
                }
        }

        if (n_known == 0) {
                d->recommended = in->desired;
                d->reason = HPA_NO_METRICS;
        } else if (d->failed != _HPA_SIGNAL_MAX && d->recommended < in->desired) {
                d->recommended = in->desired;
                d->reason = HPA_FAILED_KEEPS;
        } else {
                d->reason = d->recommended == in->desired && is_tolerated(d->ratio) ? HPA_TOLERATED
                                                                                    : HPA_BY_METRIC;
        }
}

static void stabilise(HpaState *state, const HpaInput *in, HpaDecision *d, uint64_t now_usec) {
        memory_expire(state, in->down_window_usec, now_usec);
        if (d->count >= in->desired || state->n_memory == 0 || state->memory[0].count <= d->count)
                return;

        d->window_count = state->memory[0].count;
        d->window_usec = state->memory[0].usec + in->down_window_usec;
        d->count = d->window_count < in->desired ? d->window_count : in->desired;
        d->reason = HPA_STABILISED;
}

HpaDecision hpa_decide(HpaState *state, const HpaInput *in, uint64_t now_usec) {
        HpaDecision d = { .reason = HPA_BY_METRIC };
        uint32_t limit;

        assert(state);
        assert(in);
        assert(in->min <= in->max);

        if (state->n_memory == 0)
                hpa_note(state, in->desired, now_usec);
        ask_metrics(in, &d);
        d.count = d.recommended;
        hpa_note(state, d.recommended, now_usec);

        if (in->desired < in->min || in->desired > in->max) {
                d.count = in->desired < in->min ? in->min : in->max;
                d.reason = HPA_OUTSIDE;
        } else {
                stabilise(state, in, &d, now_usec);
                limit = growth_limit(state, in, now_usec);
                if (d.count > in->desired && d.count > limit) {
                        d.count = limit > in->desired ? limit : in->desired;
                        d.reason = HPA_RATE_LIMITED;
                }
                if (d.count > in->max) {
                        d.count = in->max;
                        d.reason = HPA_AT_MAX;
                } else if (d.count < in->min) {
                        d.count = in->min;
                        d.reason = HPA_AT_MIN;
                }
        }
        if (d.count > in->desired)
                note_growth(state, d.count - in->desired, now_usec);
        return d;
}
