/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Ownership macros
 *
 * A local that owns something is declared with _cleanup_() and initialised to its empty value
 * (NULL or -EBADF) in the same line. Handing it on goes through MAM_TAKE(), which empties it.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn)     __attribute__((cleanup(fn)))
#define _printf_(a, b)    __attribute__((format(printf, a, b)))
#define _must_check_      __attribute__((warn_unused_result))
#define MAM_ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))

/* Moves the value out of an lvalue; the lvalue is NULL afterwards. */
#define MAM_TAKE(lvalue)                          \
        ({                                        \
                __auto_type _where = &(lvalue);   \
                __typeof__(*_where) _v = *_where; \
                *_where = NULL;                   \
                _v;                               \
        })

#define MAM_TAKE_FD(fd)                            \
        ({                                         \
                int *_where = &(fd), _v = *_where; \
                *_where = -EBADF;                  \
                _v;                                \
        })

/* Makes <fn>p() for _cleanup_(). Destructors accept NULL and return NULL, so it needs no test. */
#define MAM_DEFINE_CLEANUP(type, fn)         \
        static inline void fn##p(type **p) { \
                fn(*p);                      \
        }                                    \
        struct _mam_swallow_semicolon

static inline void mam_freep(void *p) {
        free(*(void **) p);
}

static inline void mam_closep(int *fd) {
        if (*fd >= 0)
                close(*fd);
}

static inline void mam_fclosep(FILE **f) {
        if (*f)
                fclose(*f);
}
