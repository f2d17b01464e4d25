/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Gradient: how many requests a replica can work on at once (pure)
 *
 * As in Netflix's Gradient2: while answers take as long as they use to, the limit grows; when they take
 * longer than GRADIENT_TOLERANCE times that, a queue is building up inside the replica, and the limit
 * shrinks in proportion. Samples are gathered over a window; what is usual is a mean over GRADIENT_MEMORY of
 * them. A limit that is not being used is not raised, and none is lowered for answers that are quick all the
 * same (GRADIENT_QUICK).
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define GRADIENT_TOLERANCE   1.5
#define GRADIENT_MEMORY      600.0
#define GRADIENT_QUEUE       4.0
#define GRADIENT_QUICK_USEC  25000.0
#define GRADIENT_SMOOTHING   0.2
#define GRADIENT_WINDOW_USEC (100 * MAM_USEC_PER_MSEC)
#define GRADIENT_SAMPLES     10U /* of a window, at least */

typedef struct Gradient {
        double limit;
        double min, max;
        double usual_usec; /* the long mean; 0: nothing known yet */
        double sum_usec;   /* of this window */
        unsigned n, most;  /* samples of this window; most requests at once in it */
        uint64_t end_usec; /* of this window */
} Gradient;

/* Begins with max: as long as nothing is known of a replica it is not held back. min = max: fixed. */
void gradient_init(Gradient *g, unsigned min, unsigned max);
/* Other bounds; what was learnt stays. */
void gradient_set_bounds(Gradient *g, unsigned min, unsigned max);
/* An answer came after rtt_usec; in_flight: requests that the replica was working on then. */
void gradient_sample(Gradient *g, uint64_t rtt_usec, unsigned in_flight, uint64_t now_usec);

static inline unsigned gradient_limit(const Gradient *g) {
        return (unsigned) g->limit;
}
