/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Outliers: a replica that answers, but badly (pure)
 *
 * Out of turn for a while is who fails OUTLIER_CONSECUTIVE times in a row, or succeeds in less than
 * OUTLIER_SUCCESS of its requests over the last OUTLIER_WINDOW (if there are OUTLIER_REQUESTS at least).
 * A while is OUTLIER_FIRST, twice as long each time up to OUTLIER_MAX, and up to a quarter longer by lot, so
 * that gateways do not come back all at once. What was good for as long as the last while lasted is forgiven
 * one doubling.
 *
 * The caller decides who may be put out: never the last one, and not where the others do no better.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define OUTLIER_CONSECUTIVE 5U
#define OUTLIER_REQUESTS    5U
#define OUTLIER_SUCCESS     0.8
#define OUTLIER_SLOTS       6U
#define OUTLIER_SLOT_USEC   (5 * MAM_USEC_PER_SEC)
#define OUTLIER_WINDOW_USEC (OUTLIER_SLOTS * OUTLIER_SLOT_USEC)
#define OUTLIER_FIRST_USEC  (5 * MAM_USEC_PER_SEC)
#define OUTLIER_MAX_USEC    (300 * MAM_USEC_PER_SEC)

typedef struct Outlier {
        struct {
                uint64_t number; /* which 5 seconds of the clock */
                uint32_t good, bad;
        } slots[OUTLIER_SLOTS];
        unsigned consecutive;   /* failures in a row */
        unsigned doublings;     /* of the next while */
        uint64_t until_usec;    /* out of turn until then */
        uint64_t forgiven_usec; /* when a doubling was last forgiven, or a while ended */
} Outlier;

/* A request has ended. true: by its own figures it is an outlier. */
bool outlier_count(Outlier *o, bool failed, uint64_t now_usec);
/* Of the requests of the window; *ret_n how many there were. 1 where there was none. */
double outlier_success(const Outlier *o, uint64_t now_usec, unsigned *ret_n);
/* Puts it out of turn. lot: 0 to 1. */
void outlier_eject(Outlier *o, double lot, uint64_t now_usec);

static inline bool outlier_is_out(const Outlier *o, uint64_t now_usec) {
        return now_usec < o->until_usec;
}
