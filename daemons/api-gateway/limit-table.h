/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The table of a rate limit: who has taken how much of it (pure)
 *
 * A limit is a token bucket, kept as one number per key (GCRA, as ATM calls it): the time at which the
 * bucket will be full again. Each request moves it by the interval; beyond burst × interval from now a
 * request is too much. A key whose time has passed has a full bucket and is the same as one that was never
 * seen.
 *
 * Bounded, and of no use to who makes up keys: a table has LIMIT_TABLE_ENTRIES places in sets of
 * LIMIT_TABLE_WAYS; the key's keyed hash says the set. Where a set is full, the newcomer takes the place of
 * the one that owes least *and inherits what it owes* (as in the Space-Saving sketch). So what is owed in a
 * set never becomes less by evicting: nobody ever gets more than the limit by pushing others out or by being
 * pushed out; under such an attack newcomers get less.
 *
 * Times are nanoseconds of the monotonic clock, handed in.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/macro.h"

typedef struct LimitEntry LimitEntry;
typedef struct LimitRate LimitRate;
typedef struct LimitTable LimitTable;
typedef struct LimitVerdict LimitVerdict;

#define LIMIT_TABLE_WAYS    8U
#define LIMIT_TABLE_SETS    2048U
#define LIMIT_TABLE_ENTRIES (LIMIT_TABLE_WAYS * LIMIT_TABLE_SETS)

struct LimitRate {
        uint64_t interval_nsec; /* one request is earned in so long; > 0 */
        uint32_t burst;         /* so many at once; > 0 */
};

struct LimitEntry {
        uint64_t key;       /* 0: never used */
        uint64_t full_nsec; /* when the bucket is full again, as far as is known here */
        uint32_t unsent;    /* admitted here, and the other gateways do not know yet */
        uint32_t share;     /* how many may be admitted until they do; UINT32_MAX: no such bound */
        bool dirty;         /* the table's user's: it is among those to be told */
};

struct LimitVerdict {
        bool admitted;
        bool part_is_used;   /* the bucket has some, but this gateway's part of it is used up */
        uint32_t remaining;  /* so many more at this moment */
        uint64_t reset_nsec; /* until the bucket is full; where refused: until the next one is admitted, or
                                may be */
        LimitEntry *entry;   /* borrowed, until the next call */
};

int limit_table_new(LimitTable **ret);
LimitTable *limit_table_free(LimitTable *t);
MAM_DEFINE_CLEANUP(LimitTable, limit_table_free);

/* Forgets everybody. */
void limit_table_clear(LimitTable *t);
/* Takes one request of the bucket of key, if it has one. The caller may give it back by
 * limit_table_return(). share: of what a key may take that was not seen before, until the other gateways
 * know; UINT32_MAX. */
LimitVerdict limit_table_take(
                LimitTable *t,
                const LimitRate *rate,
                uint64_t key,
                uint32_t share,
                uint64_t now_nsec);
/* The rate has changed: who has taken so many requests still has. */
void limit_table_rescale(LimitTable *t, const LimitRate *old, const LimitRate *new, uint64_t now_nsec);
/* Another limit has refused what this one had admitted. */
void limit_table_return(LimitEntry *e, const LimitRate *rate);
/* The entry of the key, or NULL. */
LimitEntry *limit_table_find(LimitTable *t, uint64_t key);
/* For whoever goes through all of them: i < LIMIT_TABLE_ENTRIES. */
LimitEntry *limit_table_at(LimitTable *t, size_t i);

/* Requests that the bucket still has. */
uint32_t limit_remaining(const LimitEntry *e, const LimitRate *rate, uint64_t now_nsec);
