/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Scale to zero
 */

#include <assert.h>
#include <math.h>

#include "manager/zero.h"

#define ROUNDING 1e-9

void zero_reset(ZeroState *z) {
        assert(z);

        *z = (ZeroState){ .since_usec = 0 };
}

void zero_touch(ZeroState *z, uint64_t now_usec) {
        assert(z);

        if (z->since_usec == 0)
                z->since_usec = now_usec;
        z->active_usec = now_usec;
}

void zero_note(ZeroState *z, double in_flight, uint64_t requests, uint64_t now_usec) {
        uint64_t second = now_usec / MAM_USEC_PER_SEC;
        uint64_t at = second % ZERO_SECONDS;

        assert(z);
        assert(in_flight >= 0);

        if (z->since_usec == 0)
                zero_touch(z, now_usec);
        if (in_flight > 0 || requests > 0)
                z->active_usec = now_usec;
        if (z->seconds[at].second != second || z->seconds[at].n == 0) {
                z->seconds[at].second = second;
                z->seconds[at].sum = 0;
                z->seconds[at].n = 0;
        }
        z->seconds[at].sum += in_flight;
        z->seconds[at].n++;
}

/* Of the seconds that were looked at. */
static double mean(const ZeroState *z, uint64_t window_usec, uint64_t now_usec) {
        uint64_t now = now_usec / MAM_USEC_PER_SEC, n = 0;
        double sum = 0;

        for (unsigned i = 0; i < ZERO_SECONDS; i++) {
                if (z->seconds[i].n == 0 || z->seconds[i].second > now ||
                    (now - z->seconds[i].second) * MAM_USEC_PER_SEC >= window_usec)
                        continue;
                sum += z->seconds[i].sum / z->seconds[i].n;
                n++;
        }
        return n > 0 ? sum / (double) n : 0;
}

static uint32_t count_for(double in_flight, double target, uint32_t max) {
        double count = ceil(in_flight / target - ROUNDING);

        return count >= max ? max : count < 1 ? 1 : (uint32_t) count;
}

static void look_for_panic(ZeroState *z, const ZeroInput *in, ZeroDecision *d, uint64_t now_usec) {
        uint32_t recent = count_for(d->recent, in->target, in->max);
        uint32_t ready = in->ready > 0 ? in->ready : 1;

        if (recent >= ZERO_PANIC_FACTOR * ready) {
                z->panic_usec = now_usec;
        } else if (z->panic_usec > 0 && z->panic_usec + ZERO_STABLE_USEC <= now_usec) {
                z->panic_usec = 0;
                z->panic_count = 0;
        }
        if (z->panic_usec == 0)
                return;

        if (recent > z->panic_count)
                z->panic_count = recent;
        if (in->desired > z->panic_count)
                z->panic_count = in->desired;
        d->panic = true;
        if (d->count < z->panic_count)
                d->count = z->panic_count < in->max ? z->panic_count : in->max;
}

ZeroDecision zero_decide(ZeroState *z, const ZeroInput *in, uint64_t now_usec) {
        ZeroDecision d;

        assert(z);
        assert(in);

        d = (ZeroDecision){ .count = in->desired };
        if (z->since_usec == 0)
                zero_touch(z, now_usec);
        d.stable = mean(z, ZERO_STABLE_USEC, now_usec);
        d.recent = mean(z, ZERO_PANIC_USEC, now_usec);
        d.idle = z->active_usec + in->idle_usec <= now_usec;

        if (d.idle) {
                d.count = 0;
        } else if (in->target > 0)
                d.count = count_for(d.stable, in->target, in->max);
        if (in->desired == 0) { /* asleep: what wakes it is a connection, not a number */
                d.count = 0;
                return d;
        }
        if (in->target > 0)
                look_for_panic(z, in, &d, now_usec);

        if (d.count < in->desired) {
                if (z->step_usec > 0 && z->step_usec + ZERO_STEP_USEC > now_usec) {
                        d.count = in->desired;
                } else {
                        if (d.count < in->desired / 2)
                                d.count = in->desired / 2;
                        z->step_usec = now_usec;
                }
        }
        return d;
}
