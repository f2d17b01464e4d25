/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Zeroed memory for what is made per request
 *
 * calloc(3) of glibc below 2.41 does not use the cache of the thread that makes malloc(3) of small objects
 * cheap. The empty asm keeps compilers from making a calloc() of the two calls again.
 */

#include <stdlib.h>
#include <string.h>

/* NULL: out of memory. To be freed with free(3). */
static inline void *mam_zalloc(size_t size) {
        void *p = malloc(size);

        __asm__("" : "+r"(p));
        return p ? memset(p, 0, size) : NULL;
}
