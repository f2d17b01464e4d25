/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Deadlines: which of many comes first (a binary heap of what its user embeds)
 */

#include <stddef.h>
#include <stdint.h>

typedef struct Deadline {
        uint64_t usec; /* monotonic */
        size_t place;  /* in the heap, from 1; 0: not in it */
} Deadline;

typedef struct Deadlines {
        Deadline **heap; /* owned; they are borrowed */
        size_t n, allocated;
} Deadlines;

void deadlines_done(Deadlines *h);
/* -ENOMEM. d must not be in it. */
int deadlines_add(Deadlines *h, Deadline *d);
/* What is not in it is none. */
void deadlines_remove(Deadlines *h, Deadline *d);
/* The earliest, or NULL. */
Deadline *deadlines_first(const Deadlines *h);
