/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Autoscaling: what was decided and why, in words and numbers
 */

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "libmam/util/quantity.h"
#include "manager/autoscale.h"

/* ---- pieces ---- */

static void number(DecisionRecord *r, const char *name, double value) {
        if (r->n_numbers >= DECISION_NUMBERS_MAX || !isfinite(value))
                return;
        snprintf(r->numbers[r->n_numbers].name, sizeof(r->numbers[0].name), "%s", name);
        r->numbers[r->n_numbers++].value = value;
}

static void record_set(DecisionRecord *r, const DecisionRecord *now, uint64_t realtime_usec) {
        uint64_t since = strcmp(r->verdict, now->verdict) == 0 && r->since_usec > 0 ? r->since_usec
                                                                                    : realtime_usec;

        *r = *now;
        r->since_usec = since;
}

/* A value of a signal with its unit. */
static void format_value(char ret[static 48], HpaSignal s, double value) {
        switch (s) {
        case HPA_CPU:
        case HPA_MEMORY:
                snprintf(ret, 48, "%.0f %% of the limit", value);
                break;
        case HPA_PRESSURE:
                snprintf(ret, 48, "%.1f %%", value);
                break;
        case HPA_LATENCY:
                mam_format_timespan(ret, (uint64_t) value);
                break;
        default:
                snprintf(ret, 48, "%.4g", value);
        }
}

static const char *name_of(HpaSignal s) {
        static const char *const names[_HPA_SIGNAL_MAX] = {
                [HPA_CPU] = "CPU",
                [HPA_MEMORY] = "memory",
                [HPA_IN_FLIGHT] = "requests in flight per replica",
                [HPA_RPS] = "requests a second per replica",
                [HPA_LATENCY] = "the 99th percentile of the latency",
                [HPA_PRESSURE] = "CPU pressure of the worst replica",
        };

        return names[s];
}

static void in_time(char ret[static 48], uint64_t when_usec, uint64_t now_usec) {
        mam_format_timespan(ret, when_usec > now_usec ? when_usec - now_usec : 0);
}

/* ---- replicas ---- */

static void replica_numbers(DecisionRecord *r, const AutoscaleState *s, const AutoscaleInput *in) {
        number(r, "desired", in->hpa.desired);
        number(r, "ready", in->hpa.ready);
        number(r, "min", in->hpa.min);
        number(r, "max", in->hpa.max);
        if (!s->recommended_known)
                return;
        number(r, "recommended", s->recommended);
        if (in->can_sleep) {
                number(r, "in_flight_60s", s->zero_latest.stable);
                number(r, "in_flight_6s", s->zero_latest.recent);
        }
        for (HpaSignal k = 0; k < _HPA_SIGNAL_MAX; k++) {
                char name[32];

                if (s->hpa_latest.ratios[k] < 0 || s->metrics_count == 0)
                        continue;
                snprintf(name, sizeof(name), "%s_to_target", hpa_signal_to_string(k));
                number(r, name, s->hpa_latest.ratios[k]);
        }
}

/* "CPU is at 160 % of the limit, and should be at 80 % of the limit" */
static void explain_signal(
                char *ret,
                size_t size,
                const AutoscaleState *s,
                const AutoscaleInput *in,
                const char *more) {
        HpaSignal signal = s->hpa_latest.signal;
        char value[48], target[48];

        if (signal == _HPA_SIGNAL_MAX || !isfinite(s->hpa_latest.ratio)) {
                snprintf(ret, size, "requests wait and nothing is ready%s", more);
                return;
        }
        format_value(value, signal, s->hpa_latest.ratio * in->hpa.metrics[signal].target);
        format_value(target, signal, in->hpa.metrics[signal].target);
        snprintf(ret,
                 size,
                 "%s: %s, to be %s: asks for %u, with %u ready%s",
                 name_of(signal),
                 value,
                 target,
                 s->hpa_latest.recommended,
                 in->hpa.ready,
                 more);
}

static void change_by_load(DecisionRecord *r, const AutoscaleState *s, const AutoscaleInput *in) {
        HpaSignal signal = s->hpa_latest.signal;
        char above[48], below[48];

        if (signal == _HPA_SIGNAL_MAX)
                return;
        format_value(above, signal, in->hpa.metrics[signal].target * (1 + HPA_TOLERANCE));
        format_value(below, signal, in->hpa.metrics[signal].target * (1 - HPA_TOLERANCE));
        snprintf(r->change,
                 sizeof(r->change),
                 "more of them when %s is above %s, fewer below %s",
                 name_of(signal),
                 above,
                 below);
}

static void explain_metrics(
                DecisionRecord *r,
                const AutoscaleState *s,
                const AutoscaleInput *in,
                uint64_t now_usec) {
        const HpaDecision *h = &s->hpa_latest;
        char when[48], more[96] = "";

        change_by_load(r, s, in);
        switch (h->reason) {
        case HPA_NO_METRICS:
                snprintf(r->why, sizeof(r->why), "nothing could be measured yet; the number stays");
                snprintf(r->change, sizeof(r->change), "a measurement");
                return;
        case HPA_FAILED_KEEPS:
                snprintf(more,
                         sizeof(more),
                         "; %s is not known, so there will not be fewer",
                         h->failed == _HPA_SIGNAL_MAX ? "one signal" : name_of(h->failed));
                snprintf(r->change, sizeof(r->change), "a measurement of it");
                break;
        case HPA_STABILISED:
                in_time(when, h->window_usec, now_usec);
                snprintf(more, sizeof(more), "; within the scale-down window it was %u", h->window_count);
                snprintf(r->change,
                         sizeof(r->change),
                         "fewer of them in %s, if the load stays as it is",
                         when);
                break;
        case HPA_RATE_LIMITED:
                snprintf(more, sizeof(more), "; not more than 4 or twice as many at once");
                snprintf(r->change, sizeof(r->change), "the next period");
                break;
        case HPA_AT_MAX:
                snprintf(more, sizeof(more), "; maxReplicas is %u", in->hpa.max);
                break;
        case HPA_AT_MIN:
                snprintf(more, sizeof(more), "; minReplicas is %u", in->hpa.min);
                break;
        case HPA_OUTSIDE:
                snprintf(r->why,
                         sizeof(r->why),
                         "minReplicas is %u, maxReplicas is %u",
                         in->hpa.min,
                         in->hpa.max);
                return;
        case HPA_TOLERATED:
                snprintf(more, sizeof(more), "; near enough");
                break;
        default:
                break;
        }
        explain_signal(r->why, sizeof(r->why), s, in, more);
}

static void explain_sleep(
                DecisionRecord *r,
                const AutoscaleState *s,
                const AutoscaleInput *in,
                uint64_t now_usec) {
        char idle[48], when[48];

        mam_format_timespan(idle, in->idle_usec);
        if (in->hpa.desired == 0) {
                snprintf(r->why, sizeof(r->why), "no request for %s; its sockets are open", idle);
                snprintf(r->change, sizeof(r->change), "the next connection or request wakes it");
        } else if (s->zero_latest.idle) {
                snprintf(r->why, sizeof(r->why), "no request for %s: on its way to zero", idle);
                snprintf(r->change, sizeof(r->change), "a request");
        } else {
                explain_metrics(r, s, in, now_usec);
                if (in->target_in_flight > 0 && s->zero_latest.count > s->metrics_count) {
                        snprintf(r->why,
                                 sizeof(r->why),
                                 "requests in flight: %.1f (60s), %.1f (6s), to be %.4g per replica%s",
                                 s->zero_latest.stable,
                                 s->zero_latest.recent,
                                 in->target_in_flight,
                                 s->zero_latest.panic ? "; a sudden rise: it does not shrink now" : "");
                }
                in_time(when, s->zero.active_usec + in->idle_usec, now_usec);
                snprintf(r->change,
                         sizeof(r->change),
                         "the number of requests; none for %s more: asleep",
                         when);
        }
}

static void describe_replicas(AutoscaleState *s, const AutoscaleInput *in, uint64_t now_usec) {
        DecisionRecord r = { .n_numbers = 0 };
        const char *plural = in->hpa.desired == 1 ? "" : "s";

        replica_numbers(&r, s, in);
        if (!in->running) {
                snprintf(r.verdict, sizeof(r.verdict), "stopped");
                snprintf(r.why, sizeof(r.why), "somebody stopped it, or nobody started it");
                snprintf(r.change, sizeof(r.change), "Start");
        } else if (in->horizontal == MAM_SCALING_OFF) {
                snprintf(r.verdict, sizeof(r.verdict), "%u replica%s", in->hpa.desired, plural);
                snprintf(r.why, sizeof(r.why), "configured, or set by Scale; horizontal autoscaling is off");
                snprintf(r.change, sizeof(r.change), "Scale, or SetAutoscaling");
        } else {
                if (in->hpa.desired == 0) {
                        snprintf(r.verdict, sizeof(r.verdict), "asleep");
                } else if (!s->recommended_known) { /* before the first period */
                        snprintf(r.verdict, sizeof(r.verdict), "%u replica%s", in->hpa.desired, plural);
                } else if (in->horizontal == MAM_SCALING_RECOMMEND && s->recommended != in->hpa.desired) {
                        snprintf(r.verdict,
                                 sizeof(r.verdict),
                                 "%u replica%s, %u recommended",
                                 in->hpa.desired,
                                 plural,
                                 s->recommended);
                } else {
                        snprintf(r.verdict,
                                 sizeof(r.verdict),
                                 "%u replica%s",
                                 s->recommended,
                                 s->recommended == 1 ? "" : "s");
                }
                if (!s->recommended_known && in->hpa.desired > 0) {
                        snprintf(r.why, sizeof(r.why), "nothing has been measured yet; the number stays");
                        snprintf(r.change, sizeof(r.change), "a measurement");
                } else if (in->can_sleep) {
                        explain_sleep(&r, s, in, now_usec);
                } else
                        explain_metrics(&r, s, in, now_usec);
        }
        record_set(&s->records[AUTOSCALE_REPLICAS], &r, in->realtime_usec);
}

/* ---- limits ---- */

static void format_limit(char ret[static 32], AutoscaleTopic topic, uint64_t value) {
        if (topic == AUTOSCALE_CPU) {
                snprintf(ret, 32, "%llum", (unsigned long long) value);
        } else
                snprintf(ret, 32, "%.0f MiB", (double) value / (1024 * 1024));
}

typedef struct Limit {
        AutoscaleTopic topic;
        const VpaRecommendation *recommendation;
        VpaVerdict verdict;
        const VpaBounds *bounds;
        uint64_t now;
        bool pinned, yields;
} Limit;

static void explain_limit(DecisionRecord *r, const Limit *l) {
        const VpaRecommendation *v = l->recommendation;
        VpaVerdict verdict = l->now == v->target ? VPA_FITS : l->verdict;
        char target[32], lower[32], upper[32];

        format_limit(target, l->topic, v->target);
        format_limit(lower, l->topic, v->lower);
        format_limit(upper, l->topic, v->upper);
        if (v->by_oom) {
                snprintf(r->why, sizeof(r->why), "killed for lack of memory: at least %s", target);
        } else if (verdict == VPA_BELOW) {
                snprintf(r->why,
                         sizeof(r->why),
                         "below what it uses half of the time and 15 %% (%s)",
                         lower);
        } else if (verdict == VPA_ABOVE) {
                snprintf(r->why, sizeof(r->why), "above what it ever needs and 15 %% (%s)", upper);
        } else if (verdict == VPA_DRIFTED) {
                snprintf(r->why,
                         sizeof(r->why),
                         "for 12 h more than 10 %% away from what it uses (%s)",
                         target);
        } else if (v->target == l->bounds->min) {
                snprintf(r->why,
                         sizeof(r->why),
                         "uses less than the least limit (%s); between %s and %s nothing is changed soon",
                         target,
                         lower,
                         upper);
        } else {
                snprintf(r->why,
                         sizeof(r->why),
                         "uses %s with 15 %% on top (90 %% of the time); between %s and %s nothing is changed soon",
                         target,
                         lower,
                         upper);
        }
        if (l->pinned) {
                snprintf(r->change,
                         sizeof(r->change),
                         "set by a person: SetLimits with \"default\" gives it back");
        } else if (l->yields) {
                snprintf(r->change,
                         sizeof(r->change),
                         "the number of replicas comes first; then this, at maxReplicas");
        } else if (verdict == VPA_FITS) {
                snprintf(r->change,
                         sizeof(r->change),
                         "use outside of these bounds, or 12 h of another use");
        } else
                snprintf(r->change, sizeof(r->change), "other use");
}

static void describe_limit(AutoscaleState *s, const AutoscaleInput *in, const Limit *l) {
        const VpaRecommendation *v = l->recommendation;
        DecisionRecord r = { .n_numbers = 0 };
        double unit = l->topic == AUTOSCALE_CPU ? 1000 : 1;
        char now[32], target[32];

        format_limit(now, l->topic, l->now);
        format_limit(target, l->topic, v->target);
        number(&r, "limit", (double) l->now / unit);
        snprintf(r.verdict, sizeof(r.verdict), "%s%s", now, l->pinned ? ", pinned" : "");
        if (in->vertical == MAM_SCALING_OFF) {
                snprintf(r.why,
                         sizeof(r.why),
                         "%s; vertical autoscaling is off",
                         l->pinned ? "set by SetLimits" : "configured");
                snprintf(r.change, sizeof(r.change), "SetLimits, or SetAutoscaling");
        } else if (v->target == 0) {
                snprintf(r.why, sizeof(r.why), "nothing has been measured yet");
                snprintf(r.change, sizeof(r.change), "measurements of a running replica");
        } else {
                number(&r, "target", (double) v->target / unit);
                number(&r, "lower", (double) v->lower / unit);
                number(&r, "upper", (double) v->upper / unit);
                number(&r, "min", (double) l->bounds->min / unit);
                number(&r, "max", (double) l->bounds->max / unit);
                number(&r, "watched_hours", s->vpa.covered_usec / 3600e6);
                if (in->vertical == MAM_SCALING_RECOMMEND && l->verdict != VPA_FITS)
                        snprintf(r.verdict, sizeof(r.verdict), "%.20s, %.20s recommended", now, target);
                explain_limit(&r, l);
        }
        record_set(&s->records[l->topic], &r, in->realtime_usec);
}

void autoscale_describe(AutoscaleState *state, const AutoscaleInput *in, uint64_t now_usec) {
        Limit cpu, memory;

        assert(state);
        assert(in);

        cpu = (Limit){ .topic = AUTOSCALE_CPU,
                       .recommendation = &state->cpu,
                       .verdict = state->cpu_verdict,
                       .bounds = &in->cpu_bounds,
                       .now = in->cpu_millis,
                       .pinned = in->cpu_pinned,
                       .yields = state->cpu_yields };
        memory = (Limit){ .topic = AUTOSCALE_MEMORY,
                          .recommendation = &state->memory,
                          .verdict = state->memory_verdict,
                          .bounds = &in->memory_bounds,
                          .now = in->memory_bytes,
                          .pinned = in->memory_pinned };
        describe_replicas(state, in, now_usec);
        describe_limit(state, in, &cpu);
        describe_limit(state, in, &memory);
}
