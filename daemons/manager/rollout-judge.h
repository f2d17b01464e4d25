/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is a new revision worse than the old one, as the gateways see it: a pure decision
 *
 * Two questions, one test:
 *
 *   errors   did more of the new one's requests fail?
 *   latency  were more of them slow? Slow is what takes longer than JUDGE_SLOW_FACTOR times the old one's
 * p99 (and JUDGE_SLOW_FLOOR_USEC more than it).
 *
 * As both sides serve at the same time, what troubles both is held against neither. After the switch of a
 * blue-green rollout they do not, so there latency counts only if it is bad for many.
 *
 * With x of n requests of the new one and y of m of the old one, and equal rates, each of the x + y is the
 * new one's with probability n / (n + m). That many or more being the new one's has a probability that is
 * exact at any size, also where the old one had none (the conditional test of J. Przyborowski and
 * H. Wilenski, Homogeneity of results in testing samples from Poisson series, Biometrika 31, 1940). Asked
 * anew each second, it has to be below JUDGE_ALPHA. The difference must also matter, so that neither a few
 * errors among very many requests nor a hiccup of the host while a new process warms up decides.
 */

#include <stdbool.h>
#include <stddef.h>

#include "manager/load.h"

#define JUDGE_ALPHA 1e-4
/* Differences of rates that matter. */
#define JUDGE_ERRORS_MARGIN     0.01
#define JUDGE_SLOW_MARGIN       0.05
#define JUDGE_SLOW_MARGIN_APART 0.25 /* they did not serve at the same time */

#define JUDGE_ERRORS_MIN      5U  /* requests of the new one before its errors are looked at */
#define JUDGE_LATENCY_MIN     10U /* answers of each before its latency is */
#define JUDGE_SLOW_FACTOR     2.0
#define JUDGE_SLOW_FLOOR_USEC 25000.0
/* Where the old one had less traffic than JUDGE_BASE_MIN there is nothing to compare with: then it is bad if
 * half of as many requests failed. */
#define JUDGE_BASE_MIN 20U

/* P(X >= x), X binomial(n, p). */
double judge_binomial_tail(uint64_t x, uint64_t n, double p);

/* True: bad; reason (size at least 96) says why. errors_*: of the time that errors count, latency_*: of the
 * time that latency does, which leaves out how a new replica warms up. apart: the two did not serve at the
 * same time. */
bool judge_is_bad(
                const LoadTotals *errors_old,
                const LoadTotals *errors_new,
                const LoadTotals *latency_old,
                const LoadTotals *latency_new,
                bool apart,
                char *reason,
                size_t size);
