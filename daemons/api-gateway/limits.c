/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/limits.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/limits-internal.h"
#include "libmam/util/time.h"

#define NSEC_PER_USEC ((uint64_t) 1000)
#define NSEC_PER_SEC  1000000000ULL
#define RULES_AT_ONCE (MAM_GATEWAY_RATES_MAX + MAM_GATEWAY_ROUTE_RATES_MAX)
/* Of one answer's field; rules beyond hold, but are not told. */
#define FIELD_MAX 512U

LimitRule *limit_rule_ref(LimitRule *rule) {
        assert(rule);

        rule->n_ref++;
        return rule;
}

LimitRule *limit_rule_unref(LimitRule *rule) {
        if (!rule || --rule->n_ref > 0)
                return NULL;

        limit_table_free(rule->table);
        free(rule->claim);
        free(rule->name);
        free(rule);
        return NULL;
}

static void rule_set(LimitRule *rule, const MamRateConfig *c) {
        uint64_t interval = c->window_usec * NSEC_PER_USEC / (c->requests > 0 ? c->requests : 1);
        LimitRate old = rule->rate;

        rule->rate.interval_nsec = interval > 0 ? interval : 1;
        if (old.interval_nsec > 0 && old.interval_nsec != rule->rate.interval_nsec)
                limit_table_rescale(rule->table, &old, &rule->rate, mam_now_monotonic() * NSEC_PER_USEC);
        rule->rate.burst = c->burst > 0 ? c->burst : 1;
        rule->everywhere = c->everywhere;
        (void) snprintf(rule->policy,
                        sizeof(rule->policy),
                        "\"%s\";q=%u;w=%llu",
                        c->name,
                        c->requests,
                        (unsigned long long) ((c->window_usec + MAM_USEC_PER_SEC - 1) / MAM_USEC_PER_SEC));
}

static bool rule_counts_the_same(const LimitRule *rule, const MamRateConfig *c) {
        const char *claim = c->claim ? c->claim : "", *own = rule->claim ? rule->claim : "";

        return strcmp(rule->name, c->name) == 0 && rule->by == c->by && strcmp(own, claim) == 0;
}

static int rule_new(LimitRule **ret, Limits *l, const MamRateConfig *c) {
        _cleanup_(limit_rule_unrefp) LimitRule *rule = NULL;
        int r;

        rule = calloc(1, sizeof(*rule));
        if (!rule)
                return -ENOMEM;
        rule->n_ref = 1;
        rule->by = c->by;
        rule->key = l->key;
        rule->name = strdup(c->name);
        rule->claim = c->claim ? strdup(c->claim) : NULL;
        if (!rule->name || (c->claim && !rule->claim))
                return -ENOMEM;
        rule->metric = mam_metric_get(l->metric_refused, (const char *[]){ rule->name });
        r = limit_table_new(&rule->table);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(rule);
        return 0;
}

int limits_new(Limits **ret, MamMetrics *metrics) {
        _cleanup_(limits_freep) Limits *l = NULL;
        int r;

        assert(ret);
        assert(metrics);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->key = key_hash_key_new();
        l->n_gateways = 1;
        r =
                        mam_metrics_add(metrics,
                                        &l->metric_refused,
                                        MAM_METRIC_COUNTER,
                                        "mam_gateway_rate_limited_total",
                                        "Requests refused with 429, by the limit that refused.",
                                        (const char *[]){ "limit", NULL });
        if (r < 0)
                return r;

        *ret = MAM_TAKE(l);
        return 0;
}

Limits *limits_free(Limits *l) {
        if (!l)
                return NULL;

        for (size_t i = 0; i < l->n_rules; i++)
                limit_rule_unref(l->rules[i]);
        free(l);
        return NULL;
}

int limits_configure(Limits *l, const MamGatewayLimits *c) {
        LimitRule *rules[MAM_GATEWAY_RATES_MAX] = { NULL };
        size_t n = 0, k = 0;
        int r = 0;

        assert(l);
        assert(c);

        for (size_t i = 0; i < c->n_rates && n < MAM_GATEWAY_RATES_MAX && r >= 0; i++) {
                LimitRule *old = limits_find(l, c->rates[i].name);

                if (old && rule_counts_the_same(old, &c->rates[i])) {
                        rules[n++] = old;
                        continue;
                }
                limit_rule_unref(old);
                r = rule_new(&rules[n], l, &c->rates[i]);
                n += r >= 0;
        }
        if (r < 0) {
                while (n > 0)
                        limit_rule_unref(rules[--n]);
                return r;
        }

        for (size_t i = 0; i < l->n_rules; i++)
                limit_rule_unref(l->rules[i]);
        /* Those for everywhere first: they are asked for each request. */
        for (int everywhere = 1; everywhere >= 0; everywhere--)
                for (size_t i = 0; i < n; i++) {
                        if (c->rates[i].everywhere != (everywhere > 0))
                                continue;
                        rule_set(rules[i], &c->rates[i]);
                        l->rules[k++] = rules[i];
                }
        l->shared = c->shared;
        l->n_rules = n;
        l->n_everywhere = 0;
        while (l->n_everywhere < n && l->rules[l->n_everywhere]->everywhere)
                l->n_everywhere++;
        return 0;
}

LimitRule *limits_find(Limits *l, const char *name) {
        assert(l);
        assert(name);

        for (size_t i = 0; i < l->n_rules; i++)
                if (strcmp(l->rules[i]->name, name) == 0)
                        return limit_rule_ref(l->rules[i]);
        return NULL;
}

/* A bucket was used, or our part of it is used up: the other gateways are to be told, and asked. */
static void mark_dirty(Limits *l, LimitRule *rule, LimitEntry *e) {
        if (!l->shared || !l->on_dirty || e->dirty || rule->n_dirty >= LIMIT_DIRTY_MAX)
                return;
        e->dirty = true;
        rule->dirty[rule->n_dirty++] = e->key;
        l->on_dirty(l->userdata);
}

static unsigned long long seconds_up(uint64_t nsec) {
        return (nsec + NSEC_PER_SEC - 1) / NSEC_PER_SEC;
}

/* How things stand, for all rules asked. */
static int tell(MamHttpExchange *x, LimitRule *const *rules, const LimitVerdict *verdicts, size_t n) {
        char policy[FIELD_MAX], state[FIELD_MAX], item[64];
        size_t n_policy = 0, n_state = 0;
        int r;

        for (size_t i = 0; i < n; i++) {
                int k =
                                snprintf(item,
                                         sizeof(item),
                                         "\"%s\";r=%u;t=%llu",
                                         rules[i]->name,
                                         verdicts[i].remaining,
                                         seconds_up(verdicts[i].reset_nsec));

                if (k < 0 || n_state + (size_t) k + 3 > FIELD_MAX ||
                    n_policy + strlen(rules[i]->policy) + 3 > FIELD_MAX)
                        break;
                n_policy += (size_t) sprintf(policy + n_policy, "%s%s", i > 0 ? ", " : "", rules[i]->policy);
                n_state += (size_t) sprintf(state + n_state, "%s%s", i > 0 ? ", " : "", item);
        }
        if (n_state == 0)
                return 0;
        r = mam_http_exchange_add_field(x, "RateLimit-Policy", policy);
        return r < 0 ? r : mam_http_exchange_add_field(x, "RateLimit", state);
}

static int refuse(MamHttpExchange *x, LimitRule *const *rules, const LimitVerdict *verdicts, size_t n) {
        _cleanup_(mam_buffer_done) MamBuffer body = MAM_BUFFER_INIT;
        unsigned long long wait = 1;
        const char *comma = "";
        char text[24];
        int r;

        r = mam_buffer_append_string(
                        &body,
                        "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\","
                        "\"title\":\"Request cannot be satisfied as assigned quota has been exceeded\","
                        "\"status\":429,\"detail\":\"Too many requests: see Retry-After\","
                        "\"violated-policies\":[");
        for (size_t i = 0; i < n && r >= 0; i++) {
                if (verdicts[i].admitted)
                        continue;
                mam_metric_add(rules[i]->metric, 1);
                if (seconds_up(verdicts[i].reset_nsec) > wait)
                        wait = seconds_up(verdicts[i].reset_nsec);
                r = mam_buffer_appendf(&body, "%s\"%s\"", comma, rules[i]->name);
                comma = ",";
        }
        if (r >= 0)
                r = mam_buffer_append_string(&body, "]}");
        if (r >= 0)
                r = tell(x, rules, verdicts, n);
        (void) snprintf(text, sizeof(text), "%llu", wait);
        if (r >= 0)
                r = mam_http_exchange_add_field(x, "Retry-After", text);
        if (r >= 0)
                r = mam_http_exchange_respond(
                                x,
                                429,
                                "application/problem+json",
                                mam_buffer_bytes(&body),
                                body.size);
        return r < 0 ? r : 0;
}

bool limits_take(Limits *l, LimitRule *rule) {
        LimitVerdict v = limit_table_take(
                        rule->table,
                        &rule->rate,
                        key_hash(&rule->key, NULL, 0),
                        limit_share(&rule->rate, rule->rate.burst, l->n_gateways),
                        mam_now_monotonic() * NSEC_PER_USEC);

        if (v.admitted || v.part_is_used)
                mark_dirty(l, rule, v.entry);
        return v.admitted;
}

/* Those for everywhere, and those of the route that are not among them. */
static size_t collect(LimitRule **ret, const Limits *l, LimitRule *const *rules, size_t n_rules) {
        size_t n = l->n_everywhere;

        memcpy(ret, l->rules, n * sizeof(*ret));
        for (size_t i = 0; i < n_rules && i < MAM_GATEWAY_ROUTE_RATES_MAX; i++) {
                bool known = false;

                for (size_t k = 0; k < n && !known; k++)
                        known = ret[k] == rules[i];
                if (!known)
                        ret[n++] = rules[i];
        }
        return n;
}

int limits_admit(
                Limits *l,
                LimitRule *const *rules,
                size_t n_rules,
                const char *route,
                const Caller *caller,
                MamHttpExchange *x) {
        LimitVerdict verdicts[RULES_AT_ONCE];
        LimitRule *asked[RULES_AT_ONCE];
        bool admitted = true;
        uint64_t now;
        size_t n;
        int r;

        assert(l);
        assert(rules || n_rules == 0);
        assert(route);
        assert(x);

        n = collect(asked, l, rules, n_rules);
        if (n == 0)
                return 1;

        now = mam_now_monotonic() * NSEC_PER_USEC;
        for (size_t i = 0; i < n; i++) {
                verdicts[i] = limit_table_take(
                                asked[i]->table,
                                &asked[i]->rate,
                                limit_key(asked[i], route, caller, x),
                                limit_share(&asked[i]->rate, asked[i]->rate.burst, l->n_gateways),
                                now);
                admitted = admitted && verdicts[i].admitted;
                if (verdicts[i].admitted || verdicts[i].part_is_used)
                        mark_dirty(l, asked[i], verdicts[i].entry);
        }
        if (admitted) {
                r = tell(x, asked, verdicts, n);
                return r < 0 ? r : 1;
        }

        for (size_t i = 0; i < n; i++)
                if (verdicts[i].admitted)
                        limit_table_return(verdicts[i].entry, &asked[i]->rate);
        return refuse(x, asked, verdicts, n);
}
