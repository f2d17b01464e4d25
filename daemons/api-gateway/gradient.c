/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/gradient.h"

#include <assert.h>

static double clamp(double x, double min, double max) {
        return x < min ? min : x > max ? max : x;
}

void gradient_init(Gradient *g, unsigned min, unsigned max) {
        assert(g);
        assert(min > 0 && min <= max);

        *g = (Gradient){ .limit = max, .min = min, .max = max };
}

void gradient_set_bounds(Gradient *g, unsigned min, unsigned max) {
        bool was_max = g->limit >= g->max;

        assert(min > 0 && min <= max);

        g->min = min;
        g->max = max;
        g->limit = was_max ? max : clamp(g->limit, min, max);
}

static void window_end(Gradient *g) {
        double now = g->sum_usec / (double) g->n, ratio, next;

        if (g->usual_usec == 0)
                g->usual_usec = now;
        else
                g->usual_usec += (now - g->usual_usec) * 2.0 / (GRADIENT_MEMORY + 1.0);
        /* After a long time of overload, what is usual must not stay what it was then. */
        if (g->usual_usec > 2.0 * now)
                g->usual_usec *= 0.95;

        ratio = clamp(GRADIENT_TOLERANCE * g->usual_usec / (now > 1.0 ? now : 1.0), 0.5, 1.0);
        if (now < GRADIENT_QUICK_USEC)
                ratio = 1.0;
        next = g->limit * ratio + GRADIENT_QUEUE;
        if (next > g->limit && (double) g->most < g->limit / 2.0)
                return;
        g->limit = clamp(g->limit * (1.0 - GRADIENT_SMOOTHING) + next * GRADIENT_SMOOTHING, g->min, g->max);
}

void gradient_sample(Gradient *g, uint64_t rtt_usec, unsigned in_flight, uint64_t now_usec) {
        assert(g);

        if (g->n == 0)
                g->end_usec = now_usec + GRADIENT_WINDOW_USEC;
        g->sum_usec += (double) rtt_usec;
        g->n++;
        if (in_flight > g->most)
                g->most = in_flight;
        if (g->n < GRADIENT_SAMPLES || now_usec < g->end_usec)
                return;

        window_end(g);
        g->sum_usec = 0;
        g->n = g->most = 0;
}
