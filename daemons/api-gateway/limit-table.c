/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/limit-table.h"

#include <assert.h>

/* In so long a gateway knows whether it has another part. */
#define PART_NSEC ((uint64_t) 200000000)

struct LimitTable {
        LimitEntry entries[LIMIT_TABLE_ENTRIES];
};

int limit_table_new(LimitTable **ret) {
        LimitTable *t;

        assert(ret);

        t = calloc(1, sizeof(*t)); /* the kernel gives pages as sets come to be used */
        if (!t)
                return -ENOMEM;

        *ret = t;
        return 0;
}

LimitTable *limit_table_free(LimitTable *t) {
        free(t);
        return NULL;
}

void limit_table_clear(LimitTable *t) {
        assert(t);

        /* Pages that nobody wrote to stay the kernel's. */
        for (size_t i = 0; i < LIMIT_TABLE_ENTRIES; i++)
                if (t->entries[i].key != 0)
                        t->entries[i] = (LimitEntry){ 0 };
}

LimitEntry *limit_table_at(LimitTable *t, size_t i) {
        assert(i < LIMIT_TABLE_ENTRIES);

        return &t->entries[i];
}

static LimitEntry *set_of(LimitTable *t, uint64_t key) {
        return &t->entries[key % LIMIT_TABLE_SETS * LIMIT_TABLE_WAYS];
}

LimitEntry *limit_table_find(LimitTable *t, uint64_t key) {
        LimitEntry *set = set_of(t, key);

        for (size_t i = 0; i < LIMIT_TABLE_WAYS; i++)
                if (set[i].key == key)
                        return &set[i];
        return NULL;
}

/* The entry of the key; one that owes least becomes it if there is none yet. */
static LimitEntry *find_or_take(LimitTable *t, uint64_t key, uint32_t share) {
        LimitEntry *set = set_of(t, key), *least = set;

        for (size_t i = 0; i < LIMIT_TABLE_WAYS; i++) {
                if (set[i].key == key)
                        return &set[i];
                if (set[i].full_nsec < least->full_nsec)
                        least = &set[i];
        }
        /* full_nsec stays: what is owed is inherited. What the other gateways have not been told of the old
         * one is lost to them, which is at most a share. */
        least->key = key;
        least->unsent = 0;
        least->dirty = false;
        least->share = share;
        return least;
}

static uint64_t owed(const LimitEntry *e, uint64_t now_nsec) {
        return e->full_nsec > now_nsec ? e->full_nsec - now_nsec : 0;
}

uint32_t limit_remaining(const LimitEntry *e, const LimitRate *rate, uint64_t now_nsec) {
        uint64_t all = rate->interval_nsec * rate->burst, debt = owed(e, now_nsec);
        uint64_t n = debt < all ? (all - debt) / rate->interval_nsec : 0;
        uint32_t here = e->share > e->unsent ? e->share - e->unsent : 0;

        return n < here ? (uint32_t) n : here;
}

LimitVerdict limit_table_take(
                LimitTable *t,
                const LimitRate *rate,
                uint64_t key,
                uint32_t share,
                uint64_t now_nsec) {
        uint64_t all = rate->interval_nsec * rate->burst, debt;
        LimitVerdict v = { 0 };
        LimitEntry *e;

        assert(t);
        assert(rate->interval_nsec > 0 && rate->burst > 0);

        e = v.entry = find_or_take(t, key > 0 ? key : 1, share);
        v.remaining = limit_remaining(e, rate, now_nsec);
        v.admitted = v.remaining > 0;
        debt = owed(e, now_nsec);
        if (!v.admitted) {
                v.part_is_used = debt + rate->interval_nsec <= all;
                v.reset_nsec = v.part_is_used ? PART_NSEC : debt + rate->interval_nsec - all;
                return v;
        }

        e->full_nsec = now_nsec + debt + rate->interval_nsec;
        e->unsent += e->unsent < UINT32_MAX;
        v.remaining--;
        v.reset_nsec = debt + rate->interval_nsec;
        return v;
}

void limit_table_return(LimitEntry *e, const LimitRate *rate) {
        e->full_nsec -= e->full_nsec > rate->interval_nsec ? rate->interval_nsec : e->full_nsec;
        e->unsent -= e->unsent > 0;
}

void limit_table_rescale(LimitTable *t, const LimitRate *old, const LimitRate *new, uint64_t now_nsec) {
        double factor = (double) new->interval_nsec / (double) old->interval_nsec;

        for (size_t i = 0; i < LIMIT_TABLE_ENTRIES; i++) {
                uint64_t debt = owed(&t->entries[i], now_nsec);

                if (debt > 0)
                        t->entries[i].full_nsec = now_nsec + (uint64_t) ((double) debt * factor);
        }
}
