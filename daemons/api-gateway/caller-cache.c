/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/caller-cache.h"

#include <assert.h>
#include <string.h>

#define GOOD_SETS 512U
#define BAD_SETS  64U
#define WAYS      4U

typedef struct Good {
        CredentialDigest digest;
        uint64_t since_sec; /* a clock that goes back must not prolong it */
        uint64_t until_sec; /* 0: free */
        Caller *caller;     /* reference */
} Good;

typedef struct Bad {
        CredentialDigest digest;
        uint64_t since_sec, until_sec;
} Bad;

struct CallerCache {
        MamSha256 *sha256; /* owned */
        Good good[GOOD_SETS * WAYS];
        Bad bad[BAD_SETS * WAYS];
};

int caller_cache_new(CallerCache **ret) {
        _cleanup_(caller_cache_freep) CallerCache *k = NULL;
        int r;

        assert(ret);

        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;
        r = mam_sha256_new(&k->sha256);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(k);
        return 0;
}

CallerCache *caller_cache_free(CallerCache *k) {
        if (!k)
                return NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(k->good); i++)
                caller_unref(k->good[i].caller);
        mam_sha256_free(k->sha256);
        free(k);
        return NULL;
}

int caller_cache_digest(CallerCache *k, CredentialDigest *ret, const void *data, size_t size) {
        return mam_sha256_digest(k->sha256, ret->bytes, data, size);
}

static bool is_same(const CredentialDigest *a, const CredentialDigest *b) {
        return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static size_t set_of(const CredentialDigest *d, size_t n_sets) {
        uint32_t n;

        memcpy(&n, d->bytes, sizeof(n));
        return n % n_sets * WAYS;
}

Caller *caller_cache_find(CallerCache *k, const CredentialDigest *d, uint64_t now_sec) {
        Good *set = &k->good[set_of(d, GOOD_SETS)];

        for (unsigned i = 0; i < WAYS; i++)
                if (now_sec < set[i].until_sec && now_sec >= set[i].since_sec && is_same(&set[i].digest, d))
                        return set[i].caller;
        return NULL;
}

bool caller_cache_is_bad(const CallerCache *k, const CredentialDigest *d, uint64_t now_sec) {
        const Bad *set = &k->bad[set_of(d, BAD_SETS)];

        for (unsigned i = 0; i < WAYS; i++)
                if (now_sec < set[i].until_sec && now_sec >= set[i].since_sec && is_same(&set[i].digest, d))
                        return true;
        return false;
}

void caller_cache_keep(CallerCache *k, const CredentialDigest *d, Caller *c, uint64_t now_sec) {
        Good *set = &k->good[set_of(d, GOOD_SETS)], *place = &set[0];
        uint64_t until = now_sec + CALLER_CACHE_GOOD_SEC;

        if (c->expires_sec < until) /* within the leeway already: not worth keeping */
                until = c->expires_sec;
        if (until <= now_sec)
                return;
        for (unsigned i = 1; i < WAYS; i++)
                if (set[i].until_sec < place->until_sec)
                        place = &set[i];

        caller_ref(c);
        caller_unref(place->caller);
        *place = (Good){ .digest = *d, .since_sec = now_sec, .until_sec = until, .caller = c };
}

void caller_cache_keep_bad(CallerCache *k, const CredentialDigest *d, uint64_t now_sec) {
        Bad *set = &k->bad[set_of(d, BAD_SETS)], *place = &set[0];

        for (unsigned i = 1; i < WAYS; i++)
                if (set[i].until_sec < place->until_sec)
                        place = &set[i];
        *place = (Bad){ .digest = *d, .since_sec = now_sec, .until_sec = now_sec + CALLER_CACHE_BAD_SEC };
}

void caller_cache_forget_bad(CallerCache *k) {
        memset(k->bad, 0, sizeof(k->bad));
}

void caller_cache_drop(CallerCache *k, bool (*match)(const Caller *c, void *userdata), void *userdata) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(k->good); i++) {
                Good *g = &k->good[i];

                if (!g->caller || (match && !match(g->caller, userdata)))
                        continue;
                g->caller = caller_unref(g->caller);
                g->until_sec = 0;
        }
        if (!match)
                caller_cache_forget_bad(k);
}
