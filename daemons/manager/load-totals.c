/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Load: arithmetic, and what came in the last minute
 */

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "manager/load.h"
#include "manager/service.h"

#define MINUTE_USEC (60 * MAM_USEC_PER_SEC)
#define SLOT_USEC   (10 * MAM_USEC_PER_SEC)
#define SLOTS       7U /* a minute, and the one that is being filled */

typedef struct Slot {
        uint64_t start_usec; /* monotonic; 0: empty */
        uint32_t requests, errors, buckets[LOAD_BUCKETS];
} Slot;

struct LoadRecent {
        uint64_t since_usec; /* when watching began */
        Slot slots[SLOTS];
        unsigned at; /* the one that is being filled */
};

/* ---- arithmetic ---- */

uint64_t load_bound_usec(unsigned bucket) {
        if (bucket + 1 >= LOAD_BUCKETS)
                return UINT64_MAX;
        return (uint64_t) llround(LOAD_FIRST_BOUND_USEC * pow(M_SQRT2, bucket));
}

void load_add(LoadTotals *sum, const LoadTotals *add) {
        assert(sum);
        assert(add);

        sum->requests += add->requests;
        sum->errors += add->errors;
        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                sum->buckets[i] += add->buckets[i];
}

static uint64_t minus(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

LoadTotals load_since(const LoadTotals *after, const LoadTotals *before) {
        LoadTotals t;

        assert(after);
        assert(before);

        t.requests = minus(after->requests, before->requests);
        t.errors = minus(after->errors, before->errors);
        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                t.buckets[i] = minus(after->buckets[i], before->buckets[i]);
        return t;
}

double load_quantile_usec(const LoadTotals *t, double q) {
        double rank, below = 0, low, high;
        uint64_t n = 0;

        assert(t);

        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                n += t->buckets[i];
        if (n == 0)
                return -1;

        rank = q * (double) n;
        for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
                double in = (double) t->buckets[i];

                if (in == 0 || below + in < rank) {
                        below += in;
                        continue;
                }
                low = i > 0 ? LOAD_FIRST_BOUND_USEC * pow(M_SQRT2, i - 1) : 0;
                if (i + 1 == LOAD_BUCKETS)
                        return low; /* no bound above: at least so long */
                high = LOAD_FIRST_BOUND_USEC * pow(M_SQRT2, i);
                return low + (high - low) * (rank > below ? (rank - below) / in : 0);
        }
        return LOAD_FIRST_BOUND_USEC * pow(M_SQRT2, LOAD_BUCKETS - 2);
}

/* ---- the last minute ---- */

LoadRecent *load_recent_free(LoadRecent *recent) {
        free(recent);
        return NULL;
}

static void add_clamped(uint32_t *sum, uint64_t add) {
        *sum = add > UINT32_MAX - *sum ? UINT32_MAX : *sum + (uint32_t) add;
}

void load_recent_add(LoadRecent **recent, const LoadTotals *add, uint64_t now_usec) {
        LoadRecent *l = *recent;
        Slot *slot;

        if (!l) {
                l = *recent = calloc(1, sizeof(*l));
                if (!l)
                        return;
                l->since_usec = now_usec;
        }
        slot = &l->slots[l->at];
        if (slot->start_usec == 0 || slot->start_usec + SLOT_USEC <= now_usec) {
                l->at = (l->at + 1) % SLOTS;
                slot = &l->slots[l->at];
                *slot = (Slot){ .start_usec = now_usec };
        }
        add_clamped(&slot->requests, add->requests);
        add_clamped(&slot->errors, add->errors);
        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                add_clamped(&slot->buckets[i], add->buckets[i]);
}

static bool recent_sum(const LoadRecent *l, uint64_t now_usec, LoadTotals *ret, uint64_t *ret_span_usec) {
        LoadTotals sum = { .requests = 0 };

        if (!l || now_usec <= l->since_usec)
                return false;
        for (unsigned k = 0; k < SLOTS; k++) {
                const Slot *slot = &l->slots[k];

                if (slot->start_usec == 0 || slot->start_usec + MINUTE_USEC <= now_usec)
                        continue;
                sum.requests += slot->requests;
                sum.errors += slot->errors;
                for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                        sum.buckets[i] += slot->buckets[i];
        }
        *ret = sum;
        *ret_span_usec = now_usec - l->since_usec < MINUTE_USEC ? now_usec - l->since_usec : MINUTE_USEC;
        return true;
}

bool load_last_minute(const Replica *r, uint64_t now_usec, LoadTotals *ret, uint64_t *ret_span_usec) {
        assert(r);

        return recent_sum(r->load_recent, now_usec, ret, ret_span_usec);
}

bool load_service_last_minute(
                const Service *s,
                uint64_t now_usec,
                LoadTotals *ret,
                uint64_t *ret_span_usec) {
        assert(s);

        return recent_sum(s->load_recent, now_usec, ret, ret_span_usec);
}

uint32_t load_service_in_flight(const Service *s) {
        uint64_t n;

        assert(s);

        if (!s->load_known)
                return UINT32_MAX;
        n = s->waiting;
        for (uint32_t k = 1; k <= MAM_CONFIG_REPLICAS_MAX; k++)
                n += s->replicas[k] ? s->replicas[k]->in_flight : 0;
        return n < UINT32_MAX ? (uint32_t) n : UINT32_MAX - 1;
}
