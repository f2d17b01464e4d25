/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/outlier.h"

#include <assert.h>
#include <string.h>

static uint64_t while_usec(unsigned doublings) {
        uint64_t usec = OUTLIER_FIRST_USEC << (doublings < 7 ? doublings : 7);

        return usec < OUTLIER_MAX_USEC ? usec : OUTLIER_MAX_USEC;
}

static void forgive(Outlier *o, uint64_t now_usec) {
        uint64_t span = while_usec(o->doublings > 0 ? o->doublings - 1 : 0);

        if (o->doublings == 0 || now_usec < o->until_usec)
                return;
        if (o->forgiven_usec < o->until_usec)
                o->forgiven_usec = o->until_usec;
        while (o->doublings > 0 && now_usec >= o->forgiven_usec + span) {
                o->forgiven_usec += span;
                o->doublings--;
                span = while_usec(o->doublings > 0 ? o->doublings - 1 : 0);
        }
}

double outlier_success(const Outlier *o, uint64_t now_usec, unsigned *ret_n) {
        uint64_t number = now_usec / OUTLIER_SLOT_USEC;
        unsigned good = 0, bad = 0;

        for (unsigned i = 0; i < OUTLIER_SLOTS; i++) {
                if (o->slots[i].number + OUTLIER_SLOTS <= number)
                        continue;
                good += o->slots[i].good;
                bad += o->slots[i].bad;
        }
        if (ret_n)
                *ret_n = good + bad;
        return good + bad > 0 ? (double) good / (double) (good + bad) : 1.0;
}

bool outlier_count(Outlier *o, bool failed, uint64_t now_usec) {
        uint64_t number = now_usec / OUTLIER_SLOT_USEC;
        unsigned i = (unsigned) (number % OUTLIER_SLOTS), n = 0;
        double success;

        assert(o);

        if (o->slots[i].number != number) {
                o->slots[i].number = number;
                o->slots[i].good = o->slots[i].bad = 0;
        }
        if (!failed) {
                o->slots[i].good++;
                o->consecutive = 0;
                if (o->doublings > 0)
                        forgive(o, now_usec);
                return false; /* nobody is put out for a success */
        }
        o->slots[i].bad++;
        o->consecutive++;
        if (o->consecutive >= OUTLIER_CONSECUTIVE)
                return true;
        success = outlier_success(o, now_usec, &n);
        return n >= OUTLIER_REQUESTS && success < OUTLIER_SUCCESS;
}

void outlier_eject(Outlier *o, double lot, uint64_t now_usec) {
        uint64_t usec;

        assert(o);

        forgive(o, now_usec);
        usec = while_usec(o->doublings);
        usec += (uint64_t) ((double) usec * 0.25 * (lot < 0 ? 0 : lot > 1 ? 1 : lot));
        o->until_usec = now_usec + (usec < OUTLIER_MAX_USEC ? usec : OUTLIER_MAX_USEC);
        o->doublings += o->doublings < 7;
        o->consecutive = 0;
        /* It is judged anew when it is back. */
        memset(o->slots, 0, sizeof(o->slots));
}
