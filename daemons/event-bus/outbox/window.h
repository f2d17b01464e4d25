/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * From where the relay reads
 *
 * Rows of the outbox have numbers in the order in which they were written, but become visible when their
 * transactions commit. A window knows up to which number all that was visible has been taken (base), and of
 * each transaction that was open then below which number it has certainly written nothing. Once that one has
 * ended, reading begins there. So one that stays open, for hours even, makes no read begin further back, and
 * what it wrote is found when it ends. Pure; lost with the process: a new one begins at 0, where all that is
 * there is visible or belongs to an open transaction.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/buffer.h"

#define RELAY_PENDING_MAX 1024U

typedef struct RelayPending {
        uint64_t first, last; /* transactions, both included */
        int64_t base;         /* all they wrote has higher numbers */
} RelayPending;

typedef struct RelayWindow {
        int64_t base;  /* read beyond it, and beyond those of pending ones that have ended */
        int64_t high;  /* numbers up to this one had been drawn */
        uint64_t next; /* when this transaction and all after it had not begun */
        RelayPending pending[RELAY_PENDING_MAX];
        size_t n;
} RelayWindow;

#define RELAY_WINDOW_ALL INT64_MAX

void relay_window_init(RelayWindow *w);
/* What was visible by a snapshot ("xmin:xmax:list") has been taken, up to this number (RELAY_WINDOW_ALL:
 * all); after that snapshot numbers up to high had been drawn, and after that next had not begun. -EBADMSG:
 * no snapshot; -E2BIG: the window is at its beginning again, which costs time but loses nothing. */
int relay_window_advance(RelayWindow *w, const char *snapshot, int64_t high, uint64_t next, int64_t until);
/* Array literals of first, last and base. */
int relay_window_format(const RelayWindow *w, MamBuffer *first, MamBuffer *last, MamBuffer *bases);
