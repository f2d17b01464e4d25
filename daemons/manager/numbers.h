/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A set of replica numbers, 1 to MAM_CONFIG_REPLICAS_MAX
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/config/config.h"

typedef struct Numbers {
        uint64_t bits[MAM_CONFIG_REPLICAS_MAX / 64 + 1];
} Numbers;

#define NUMBERS_INIT \
        { 0 }

static inline bool numbers_is_valid(uint64_t n) {
        return n >= 1 && n <= MAM_CONFIG_REPLICAS_MAX;
}

static inline bool numbers_has(const Numbers *s, uint32_t n) {
        return numbers_is_valid(n) && (s->bits[n / 64] >> (n % 64) & 1);
}

static inline void numbers_add(Numbers *s, uint32_t n) {
        if (numbers_is_valid(n))
                s->bits[n / 64] |= UINT64_C(1) << (n % 64);
}

static inline void numbers_remove(Numbers *s, uint32_t n) {
        if (numbers_is_valid(n))
                s->bits[n / 64] &= ~(UINT64_C(1) << (n % 64));
}

static inline uint32_t numbers_count(const Numbers *s) {
        uint32_t count = 0;

        for (unsigned i = 0; i < MAM_ELEMENTSOF(s->bits); i++)
                count += (uint32_t) __builtin_popcountll(s->bits[i]);
        return count;
}

static inline bool numbers_is_empty(const Numbers *s) {
        return numbers_count(s) == 0;
}

#define NUMBERS_FOREACH(n, s)                                   \
        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) \
                if (!numbers_has(s, n))                         \
                        continue;                               \
                else
