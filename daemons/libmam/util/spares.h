/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A few pieces of memory of one size, kept for the next use
 *
 * What is made and freed for each request, dozens at a time, is more than the cache of malloc(3) holds of a
 * size (seven), and what is beyond that is slow. Here up to MAM_SPARES_MAX wait for their next use, the one
 * used last first, as it is still in the CPU's cache. With AddressSanitizer none is kept, so that who uses
 * one after its end is found. Pieces come from malloc(3): whoever does not give one back may free(3) it.
 */

#include <stdlib.h>

#include "libmam/util/zalloc.h"

#define MAM_SPARES_MAX 64U

#if defined(__SANITIZE_ADDRESS__)
#define MAM_SPARES_KEEP 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAM_SPARES_KEEP 0
#endif
#endif
#ifndef MAM_SPARES_KEEP
#define MAM_SPARES_KEEP 1
#endif

typedef struct MamSpares {
        unsigned n;
        void *kept[MAM_SPARES_MAX]; /* owned; all of the size that the owner takes and gives */
} MamSpares;

/* As it was left, or as of malloc(3). NULL: out of memory. size: always the same. */
static inline void *mam_spares_take(MamSpares *s, size_t size) {
        return s->n > 0 ? s->kept[--s->n] : malloc(size);
}

static inline void *mam_spares_take_zeroed(MamSpares *s, size_t size) {
        return s->n > 0 ? memset(s->kept[--s->n], 0, size) : mam_zalloc(size);
}

/* p may be NULL. */
static inline void mam_spares_give(MamSpares *s, void *p) {
        if (MAM_SPARES_KEEP && p && s->n < MAM_SPARES_MAX) {
                s->kept[s->n++] = p;
        } else
                free(p);
}

static inline void mam_spares_done(MamSpares *s) {
        while (s->n > 0)
                free(s->kept[--s->n]);
}
