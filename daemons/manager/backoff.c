/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Back-off of one replica
 */

#include <assert.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "manager/backoff.h"

static uint64_t exponential(uint64_t first_usec, unsigned level) {
        uint64_t usec = first_usec;

        while (level-- > 0 && usec < BACKOFF_MAX_USEC)
                usec *= 2;
        return usec < BACKOFF_MAX_USEC ? usec : BACKOFF_MAX_USEC;
}

bool backoff_note_deaths(Backoff *b, unsigned n, uint64_t now_usec) {
        assert(b);

        for (unsigned i = 0; i < n && i < BACKOFF_DEATHS; i++) {
                memmove(&b->deaths[0], &b->deaths[1], sizeof(b->deaths) - sizeof(b->deaths[0]));
                b->deaths[BACKOFF_DEATHS - 1] = now_usec;
        }

        if (b->deaths[0] == 0 || now_usec - b->deaths[0] > BACKOFF_WINDOW_USEC)
                return false;

        memset(b->deaths, 0, sizeof(b->deaths));
        b->held_until_usec = now_usec + exponential(BACKOFF_FIRST_USEC, b->level);
        b->level++;
        b->healthy_since_usec = 0;
        return true;
}

void backoff_note_failed_start(Backoff *b, uint64_t now_usec) {
        assert(b);

        b->held_until_usec = now_usec + exponential(BACKOFF_RETRY_USEC, b->failures);
        b->failures++;
        b->healthy_since_usec = 0;
}

void backoff_note_health(Backoff *b, bool healthy, uint64_t now_usec) {
        assert(b);

        if (!healthy) {
                b->healthy_since_usec = 0;
                return;
        }

        b->failures = 0;
        if (b->healthy_since_usec == 0)
                b->healthy_since_usec = now_usec;
        if (now_usec - b->healthy_since_usec >= BACKOFF_RESET_USEC)
                b->level = 0;
}

void backoff_release(Backoff *b) {
        assert(b);

        b->held_until_usec = 0;
}

void backoff_reset(Backoff *b) {
        assert(b);

        *b = (Backoff){};
}
