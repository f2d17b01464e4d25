/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Values of options
 *
 * Text that a person typed becomes a number, or -EINVAL; *ret is written on success only. The manager checks
 * again and has the last word on ranges; here the mistake is cheaper, and can be named in the user's own
 * words.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_STEPS_MAX 20U

/* Digits only: no sign, no blanks. */
int value_parse_count(const char *text, uint32_t *ret);

/* "25" or "25%": 1 to 100. */
int value_parse_percent(const char *text, uint32_t *ret);

/* "5,25,100": percentages that rise, at most VALUE_STEPS_MAX of them. The last need not be 100. */
int value_parse_steps(const char *text, uint32_t ret[static VALUE_STEPS_MAX], size_t *ret_n);

/* An absolute path without "." and ".." and without empty parts. */
bool value_is_clean_path(const char *text);

/* Is the word one of those that words holds, "a|b|c"? */
bool value_is_one_of(const char *text, const char *words);

/* The n-th word of words, or NULL behind the last. Not terminated: *ret_length bytes. Borrowed. */
const char *value_word(const char *words, size_t n, size_t *ret_length);
