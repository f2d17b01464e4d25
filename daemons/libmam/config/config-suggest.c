/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "Did you mean": optimal string alignment distance, upper and lower case taken as equal
 */

#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "libmam/config/config-internal.h"

#define WORD_MAX 40U

static unsigned min3(unsigned a, unsigned b, unsigned c) {
        unsigned m = a < b ? a : b;

        return m < c ? m : c;
}

static unsigned distance(const char *a, size_t na, const char *b, size_t nb) {
        unsigned d[WORD_MAX + 1][WORD_MAX + 1];

        for (unsigned i = 0; i <= na; i++)
                d[i][0] = i;
        for (unsigned j = 0; j <= nb; j++)
                d[0][j] = j;
        for (size_t i = 1; i <= na; i++) {
                for (size_t j = 1; j <= nb; j++) {
                        int x = tolower((unsigned char) a[i - 1]), y = tolower((unsigned char) b[j - 1]);

                        d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (x != y));
                        if (i > 1 && j > 1 && x == tolower((unsigned char) b[j - 2]) &&
                            y == tolower((unsigned char) a[i - 2]) && d[i - 2][j - 2] + 1 < d[i][j])
                                d[i][j] = d[i - 2][j - 2] + 1;
                }
        }
        return d[na][nb];
}

const char *mam_config_suggest(const char *text, const char *const *words) {
        const char *best = NULL;
        unsigned nearest;
        size_t n;

        assert(text);
        assert(words);

        n = strlen(text);
        if (n == 0 || n > WORD_MAX)
                return NULL;

        nearest = (unsigned) (n < 3 ? 1 : n / 3 + 1); /* farther than this is another word */
        for (; *words; words++) {
                size_t m = strlen(*words);
                unsigned d;

                if (m > WORD_MAX)
                        continue;
                d = distance(text, n, *words, m);
                if (d < nearest) {
                        nearest = d;
                        best = *words;
                }
        }
        return best;
}
