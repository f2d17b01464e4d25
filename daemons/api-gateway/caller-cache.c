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
        char *text;         /* owned, wiped; of text_size bytes; NULL: too long to be kept */
        size_t text_size;
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

static void forget(Good *g) {
        if (g->text)
                explicit_bzero(g->text, g->text_size);
        free(g->text);
        caller_unref(g->caller);
        *g = (Good){ 0 };
}

CallerCache *caller_cache_free(CallerCache *k) {
        if (!k)
                return NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(k->good); i++)
                forget(&k->good[i]);
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

static bool counts(const Good *g, uint64_t now_sec) {
        return now_sec < g->until_sec && now_sec >= g->since_sec;
}

/* Takes as long wherever the difference is: the text in the place may be somebody else's by now. */
static bool is_same_text(const char *a, const char *b, size_t size) {
        uint64_t difference = 0, x, y;
        size_t i;

        for (i = 0; i + sizeof(x) <= size; i += sizeof(x)) {
                memcpy(&x, a + i, sizeof(x));
                memcpy(&y, b + i, sizeof(y));
                difference |= x ^ y;
        }
        for (; i < size; i++)
                difference |= (uint8_t) (a[i] ^ b[i]);
        return difference == 0;
}

Caller *caller_cache_recall(
                const CallerCache *k,
                uint32_t place,
                const void *data,
                size_t size,
                uint64_t now_sec) {
        const Good *g;

        if (place == 0 || place > MAM_ELEMENTSOF(k->good))
                return NULL;
        g = &k->good[place - 1];
        return g->text && g->text_size == size && counts(g, now_sec) && is_same_text(g->text, data, size)
                               ? g->caller
                               : NULL;
}

Caller *caller_cache_find(
                const CallerCache *k,
                const CredentialDigest *d,
                uint64_t now_sec,
                uint32_t *ret_place) {
        size_t first = set_of(d, GOOD_SETS);

        for (size_t i = first; i < first + WAYS; i++) {
                if (!counts(&k->good[i], now_sec) || !is_same(&k->good[i].digest, d))
                        continue;
                *ret_place = (uint32_t) i + 1;
                return k->good[i].caller;
        }
        return NULL;
}

bool caller_cache_is_bad(const CallerCache *k, const CredentialDigest *d, uint64_t now_sec) {
        const Bad *set = &k->bad[set_of(d, BAD_SETS)];

        for (unsigned i = 0; i < WAYS; i++)
                if (now_sec < set[i].until_sec && now_sec >= set[i].since_sec && is_same(&set[i].digest, d))
                        return true;
        return false;
}

static void keep_text(Good *g, const void *data, size_t size) {
        g->text = size > 0 && size <= CALLER_CACHE_TEXT_MAX ? malloc(size) : NULL;
        if (!g->text) /* then it is hashed each time */
                return;
        memcpy(g->text, data, size);
        g->text_size = size;
}

void caller_cache_keep(
                CallerCache *k,
                const CredentialDigest *d,
                const void *data,
                size_t size,
                Caller *c,
                uint64_t now_sec) {
        Good *set = &k->good[set_of(d, GOOD_SETS)], *place = &set[0];
        uint64_t until = now_sec + CALLER_CACHE_GOOD_SEC;

        if (c->expires_sec < until) /* within the leeway already: not worth keeping */
                until = c->expires_sec;
        if (until <= now_sec)
                return;
        for (unsigned i = 1; i < WAYS; i++)
                if (set[i].until_sec < place->until_sec)
                        place = &set[i];

        caller_ref(c); /* it may be the one that is there */
        forget(place);
        *place = (Good){ .digest = *d, .since_sec = now_sec, .until_sec = until, .caller = c };
        keep_text(place, data, size);
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
                forget(g);
        }
        if (!match)
                caller_cache_forget_bad(k);
}
