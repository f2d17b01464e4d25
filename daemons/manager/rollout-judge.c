/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Is a new revision worse than the old one
 */

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "libmam/util/time.h"
#include "manager/rollout-judge.h"

double judge_binomial_tail(uint64_t x, uint64_t n, double p) {
        double sum = 0, term, odds;

        if (x == 0 || p >= 1)
                return 1;
        if (x > n || p <= 0)
                return 0;

        if ((double) x <= (double) n * p) /* the other tail is the short one */
                return 1 - judge_binomial_tail(n - x + 1, n, 1 - p);

        /* The first term by logarithms of the gamma function, each next one from the one before: beyond the
         * mean they shrink at least geometrically. */
        term = exp(lgamma((double) n + 1) - lgamma((double) x + 1) - lgamma((double) (n - x) + 1) +
                   (double) x * log(p) + (double) (n - x) * log1p(-p));
        odds = p / (1 - p);
        for (uint64_t k = x; k <= n && term > sum * 1e-12; k++) {
                sum += term;
                term *= odds * (double) (n - k) / (double) (k + 1);
        }
        return sum < 1 ? sum : 1;
}

/* x of n against y of m: the first rate is higher, surely and by enough. */
static bool is_higher(uint64_t x, uint64_t n, uint64_t y, uint64_t m, double margin) {
        double rate_new, rate_old;

        if (n == 0 || m == 0)
                return false;
        rate_new = (double) x / (double) n;
        rate_old = (double) y / (double) m;
        return rate_new >= rate_old + margin &&
               judge_binomial_tail(x, x + y, (double) n / (double) (n + m)) < JUDGE_ALPHA;
}

static uint64_t answers(const LoadTotals *t) {
        uint64_t n = 0;

        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                n += t->buckets[i];
        return n;
}

/* Those in buckets that lie above the bound as a whole. */
static uint64_t slower_than(const LoadTotals *t, double bound_usec) {
        uint64_t n = 0;

        for (unsigned i = 1; i < LOAD_BUCKETS; i++) {
                if ((double) load_bound_usec(i - 1) >= bound_usec)
                        n += t->buckets[i];
        }
        return n;
}

static bool errors_are_bad(const LoadTotals *o, const LoadTotals *n, char *reason, size_t size) {
        bool bad;

        if (n->requests < JUDGE_ERRORS_MIN)
                return false;
        if (o->requests < JUDGE_BASE_MIN) {
                bad = n->requests >= JUDGE_BASE_MIN && n->errors * 2 >= n->requests;
        } else {
                bad = is_higher(n->errors, n->requests, o->errors, o->requests, JUDGE_ERRORS_MARGIN);
        }
        if (bad) {
                snprintf(reason,
                         size,
                         "%.1f %% of its requests failed, %.1f %% of the old one's",
                         100.0 * (double) n->errors / (double) n->requests,
                         o->requests > 0 ? 100.0 * (double) o->errors / (double) o->requests : 0.0);
        }
        return bad;
}

static bool latency_is_bad(
                const LoadTotals *o,
                const LoadTotals *n,
                double margin,
                char *reason,
                size_t size) {
        uint64_t n_old = answers(o), n_new = answers(n);
        char old_text[48], new_text[48];
        double p99, bound;

        if (n_old < JUDGE_LATENCY_MIN || n_new < JUDGE_LATENCY_MIN)
                return false;
        p99 = load_quantile_usec(o, 0.99);
        if (p99 < 0)
                return false;
        bound = p99 * JUDGE_SLOW_FACTOR;
        if (bound < p99 + JUDGE_SLOW_FLOOR_USEC)
                bound = p99 + JUDGE_SLOW_FLOOR_USEC;
        if (!is_higher(slower_than(n, bound), n_new, slower_than(o, bound), n_old, margin))
                return false;

        mam_format_timespan(old_text, (uint64_t) p99);
        mam_format_timespan(new_text, (uint64_t) load_quantile_usec(n, 0.99));
        snprintf(reason, size, "its p99 is %s, the old one's %s", new_text, old_text);
        return true;
}

bool judge_is_bad(
                const LoadTotals *errors_old,
                const LoadTotals *errors_new,
                const LoadTotals *latency_old,
                const LoadTotals *latency_new,
                bool apart,
                char *reason,
                size_t size) {
        assert(errors_old);
        assert(errors_new);
        assert(latency_old);
        assert(latency_new);
        assert(reason);

        return errors_are_bad(errors_old, errors_new, reason, size) ||
               latency_is_bad(latency_old,
                              latency_new,
                              apart ? JUDGE_SLOW_MARGIN_APART : JUDGE_SLOW_MARGIN,
                              reason,
                              size);
}
