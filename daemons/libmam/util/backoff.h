/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Waiting before another try: doubled from first to limit, of which the upper half is drawn by lot, so that
 * the replicas that lost a server together do not come back together.
 */

#include <stdint.h>
#include <sys/random.h>

/* attempt: 0 for the first wait. Microseconds in, microseconds out. */
static inline uint64_t mam_backoff_usec(unsigned attempt, uint64_t first_usec, uint64_t limit_usec) {
        uint64_t wait, lot = 0;

        wait = attempt < 32 ? first_usec << attempt : limit_usec;
        if (wait > limit_usec)
                wait = limit_usec;
        if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != (ssize_t) sizeof(lot))
                lot = 0; /* no entropy yet: no jitter */

        return wait - wait / 2 + lot % (wait / 2 + 1);
}
