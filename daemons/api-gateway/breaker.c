/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/breaker.h"

#include <assert.h>
#include <string.h>

void breaker_configure(Breaker *b, unsigned percent, uint64_t open_usec) {
        assert(b);

        b->percent = percent;
        b->open_usec = open_usec;
        if (percent == 0)
                b->open = false;
}

static void open_now(Breaker *b, uint64_t now_usec) {
        uint64_t usec;

        /* What has been well for longer than the longest while begins anew. */
        if (b->closed_usec > 0 && now_usec - b->closed_usec > BREAKER_OPEN_MAX_USEC)
                b->doublings = 0;
        usec = b->open_usec << (b->doublings < 10 ? b->doublings : 10);
        b->open = true;
        b->until_usec = now_usec + (usec < BREAKER_OPEN_MAX_USEC ? usec : BREAKER_OPEN_MAX_USEC);
        b->doublings += b->doublings < 10;
        b->closed_usec = 0;
        b->n_probing = b->n_good = 0;
}

BreakerVerdict breaker_admit(Breaker *b, uint64_t now_usec, uint64_t *ret_wait_usec) {
        assert(b);

        if (!b->open)
                return BREAKER_GO;
        if (now_usec < b->until_usec) {
                *ret_wait_usec = b->until_usec - now_usec;
                return BREAKER_REFUSE;
        }
        if (b->n_probing + b->n_good >= BREAKER_PROBES) {
                *ret_wait_usec = MAM_USEC_PER_SEC;
                return BREAKER_REFUSE;
        }
        b->n_probing++;
        return BREAKER_PROBE;
}

static bool window_is_bad(const Breaker *b, uint64_t number) {
        uint64_t good = 0, bad = 0;

        for (unsigned i = 0; i < BREAKER_SLOTS; i++) {
                if (b->slots[i].number + BREAKER_SLOTS <= number)
                        continue;
                good += b->slots[i].good;
                bad += b->slots[i].bad;
        }
        return good + bad >= BREAKER_REQUESTS && bad * 100 >= (good + bad) * b->percent;
}

static bool count_probe(Breaker *b, bool failed, uint64_t now_usec) {
        b->n_probing -= b->n_probing > 0;
        if (failed) {
                open_now(b, now_usec);
                return true;
        }
        b->n_good++;
        if (b->n_good >= BREAKER_PROBES) {
                b->open = false;
                b->closed_usec = now_usec;
                memset(b->slots, 0, sizeof(b->slots));
        }
        return false;
}

bool breaker_count(Breaker *b, bool failed, bool probe, uint64_t now_usec) {
        uint64_t number = now_usec / BREAKER_SLOT_USEC;
        unsigned i = (unsigned) (number % BREAKER_SLOTS);

        assert(b);

        if (b->percent == 0)
                return false;
        /* What was under way when it opened says nothing new. */
        if (b->open)
                return probe && now_usec >= b->until_usec && count_probe(b, failed, now_usec);
        if (b->slots[i].number != number) {
                b->slots[i].number = number;
                b->slots[i].good = b->slots[i].bad = 0;
        }
        b->slots[i].good += !failed;
        b->slots[i].bad += failed;
        if (!failed || !window_is_bad(b, number))
                return false;
        open_now(b, now_usec);
        return true;
}

void breaker_abandon(Breaker *b) {
        assert(b);

        b->n_probing -= b->n_probing > 0;
}
