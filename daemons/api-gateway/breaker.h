/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Circuit breaker: a service that fails is left alone for a moment (pure)
 *
 * Closed: all requests go. When of at least BREAKER_REQUESTS tries in the last BREAKER_WINDOW as many failed
 * as configured, it opens: requests are refused at once, which costs their senders nothing and gives the
 * service room. After a while (twice as long each time, up to BREAKER_OPEN_MAX) BREAKER_PROBES requests may
 * try: if all succeed it closes, with the first that fails it is open again.
 *
 * A failure is what says nothing about the request: no answer, a broken or late one, 502, 503, 504. A plain
 * 500 is none, or a request that somebody found could take a service from everybody.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define BREAKER_REQUESTS      20U
#define BREAKER_SLOTS         10U
#define BREAKER_SLOT_USEC     MAM_USEC_PER_SEC
#define BREAKER_OPEN_MAX_USEC (60 * MAM_USEC_PER_SEC)
#define BREAKER_PROBES        3U

typedef struct Breaker {
        unsigned percent;   /* 0: never opens */
        uint64_t open_usec; /* the first while */
        struct {
                uint64_t number; /* which second */
                uint32_t good, bad;
        } slots[BREAKER_SLOTS];
        bool open;           /* or half open: since until_usec */
        uint64_t until_usec; /* nothing goes until then */
        unsigned doublings;
        unsigned n_probing, n_good; /* half open: on their way, and came back well */
        uint64_t closed_usec;       /* when it last closed */
} Breaker;

typedef enum BreakerVerdict {
        BREAKER_GO,
        BREAKER_PROBE, /* go, and tell how it ended: breaker_count(), or breaker_abandon() */
        BREAKER_REFUSE,
} BreakerVerdict;

/* Keeps what was counted. */
void breaker_configure(Breaker *b, unsigned percent, uint64_t open_usec);
/* *ret_wait_usec, where refused: when it is worth trying again. */
BreakerVerdict breaker_admit(Breaker *b, uint64_t now_usec, uint64_t *ret_wait_usec);
/* A try has ended. true: it has just opened (or has opened again). */
bool breaker_count(Breaker *b, bool failed, bool probe, uint64_t now_usec);
/* A probe ended without having said anything. */
void breaker_abandon(Breaker *b);
