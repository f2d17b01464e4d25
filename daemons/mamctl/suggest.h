/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * "Did you mean …?"
 */

#include <stddef.h>

/* Insertions, deletions, replacements and swaps of neighbours that make b of a. Only the first 64 bytes
 * count. */
unsigned suggest_distance(const char *a, const char *b);

/* The candidate that a person most likely meant, or NULL where none is near enough to be worth a guess. A
 * prefix is near. Borrowed. */
const char *suggest_nearest(const char *word, const char *const *candidates, size_t n_candidates);
