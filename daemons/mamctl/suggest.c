/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "Did you mean …?"
 *
 * Optimal string alignment: Levenshtein's distance with a swap of two neighbours counted as one slip, since
 * that is how people mistype.
 */

#include <stdint.h>
#include <string.h>

#include "mamctl/suggest.h"

#define LENGTH_MAX 64U

static unsigned min3(unsigned a, unsigned b, unsigned c) {
        unsigned m = a < b ? a : b;

        return m < c ? m : c;
}

unsigned suggest_distance(const char *a, const char *b) {
        unsigned rows[3][LENGTH_MAX + 1]; /* of the matrix: two back, one back, current; i % 3 */
        size_t n_a = strnlen(a, LENGTH_MAX), n_b = strnlen(b, LENGTH_MAX);

        for (size_t j = 0; j <= n_b; j++)
                rows[0][j] = (unsigned) j;

        for (size_t i = 1; i <= n_a; i++) {
                unsigned *now = rows[i % 3], *before = rows[(i + 2) % 3], *two_before = rows[(i + 1) % 3];

                now[0] = (unsigned) i;
                for (size_t j = 1; j <= n_b; j++) {
                        now[j] = min3(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] != b[j - 1]));
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                            two_before[j - 2] + 1 < now[j])
                                now[j] = two_before[j - 2] + 1;
                }
        }
        return rows[n_a % 3][n_b];
}

const char *suggest_nearest(const char *word, const char *const *candidates, size_t n_candidates) {
        size_t length = strlen(word);
        const char *nearest = NULL;
        unsigned best = UINT32_MAX;

        for (size_t i = 0; i < n_candidates; i++) {
                unsigned distance = suggest_distance(word, candidates[i]);

                if (length >= 2 && strncmp(word, candidates[i], length) == 0)
                        distance = 0;
                if (distance < best) {
                        best = distance;
                        nearest = candidates[i];
                }
        }

        /* one slip in three letters is a slip; more is another word */
        return best <= (length + 2) / 3 && best < length ? nearest : NULL;
}
