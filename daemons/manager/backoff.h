/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Back-off of one replica: pure decisions of (state, now)
 *
 * systemd restarts a dead replica at once (Restart=always). A replica that dies BACKOFF_DEATHS times within
 * BACKOFF_WINDOW_USEC is crash-looping and is held back: 10 s, then twice as long each time up to 5 min.
 * Being healthy for BACKOFF_RESET_USEC forgets the past. Siblings and the shared socket are not touched by
 * any of this.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define BACKOFF_DEATHS      5U
#define BACKOFF_WINDOW_USEC (10 * MAM_USEC_PER_SEC)
#define BACKOFF_FIRST_USEC  (10 * MAM_USEC_PER_SEC)
#define BACKOFF_MAX_USEC    (300 * MAM_USEC_PER_SEC)
#define BACKOFF_RESET_USEC  (180 * MAM_USEC_PER_SEC)
/* A start that systemd refuses or that fails as a job is tried again after 1 s, 2 s, 4 s, … */
#define BACKOFF_RETRY_USEC (1 * MAM_USEC_PER_SEC)

typedef struct Backoff {
        uint64_t deaths[BACKOFF_DEATHS]; /* monotonic times of the latest ones, oldest first; 0: none */
        unsigned level;                  /* how often it was held back since it last was healthy for long */
        unsigned failures;               /* failed starts in a row */
        uint64_t held_until_usec;        /* 0: not held */
        uint64_t healthy_since_usec;     /* 0: not healthy now */
} Backoff;

/* n deaths were seen at now. True: hold the replica back; held_until_usec says until when. */
bool backoff_note_deaths(Backoff *b, unsigned n, uint64_t now_usec);
/* A start did not even get so far as to run. Always holds. */
void backoff_note_failed_start(Backoff *b, uint64_t now_usec);
void backoff_note_health(Backoff *b, bool healthy, uint64_t now_usec);
/* The hold is over: its time has come, or somebody started the replica. The level stays. */
void backoff_release(Backoff *b);
/* Forgets everything: an administrator wants a fresh try. */
void backoff_reset(Backoff *b);
