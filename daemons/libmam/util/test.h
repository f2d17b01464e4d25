/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Test harness
 *
 * One executable per unit, one TEST() per behaviour, TAP on stdout. TEST() registers itself, so a
 * case cannot be written and then forgotten in a list. A failed check ends the process: the rest of
 * the cases is reported by TAP as missing, never as passed.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct MamTest MamTest;

struct MamTest {
        const char *name;
        void (*fn)(void);
        MamTest *next;
};

void mam_test_register(MamTest *test);
int mam_test_main(int argc, char **argv);
_Noreturn void mam_test_fail(const char *file, int line, const char *what, long long got);
_Noreturn void mam_test_fail_string(const char *file, int line, const char *what, const char *got);

/* Marks the running case as skipped and leaves it. With MAM_TEST_MUST_RUN=1 in the environment a skip is a
 * failure, so that a machine meant to have everything cannot pass by skipping. */
_Noreturn void mam_test_skip(const char *reason);

/* The public data folder next to the checkout (shared/data), or NULL where it is absent: the case should
 * skip. */
const char *mam_test_shared_data(void);

#define TEST(id)                                                            \
        static void test_##id(void);                                        \
        __attribute__((constructor)) static void test_register_##id(void) { \
                static MamTest t = { .name = #id, .fn = test_##id };        \
                mam_test_register(&t);                                      \
        }                                                                   \
        static void test_##id(void)

#define ASSERT_TRUE(expr)                                            \
        do {                                                         \
                if (!(expr))                                         \
                        mam_test_fail(__FILE__, __LINE__, #expr, 0); \
        } while (0)

#define ASSERT_OK(expr)                                                 \
        do {                                                            \
                long long _got = (expr);                                \
                if (_got < 0)                                           \
                        mam_test_fail(__FILE__, __LINE__, #expr, _got); \
        } while (0)

#define ASSERT_EQ(expr, want)                                                        \
        do {                                                                         \
                long long _got = (long long) (expr);                                 \
                if (_got != (long long) (want))                                      \
                        mam_test_fail(__FILE__, __LINE__, #expr " == " #want, _got); \
        } while (0)

#define ASSERT_STREQ(expr, want)                                                            \
        do {                                                                                \
                const char *_got = (expr), *_want = (want);                                 \
                if (!_got || strcmp(_got, _want) != 0)                                      \
                        mam_test_fail_string(__FILE__, __LINE__, #expr " == " #want, _got); \
        } while (0)
