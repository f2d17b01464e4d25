/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who may wait while all replicas of a service are at their limit (pure)
 *
 * The queue is first in, first out, and bounded. One that moves fast is healthy, however long it is. One
 * that has stood for QUEUE_STANDING and still makes its head wait for longer than the patience absorbs
 * nothing, it only makes everybody late: then who has waited for too long is sent away when its turn comes
 * (as CoDel does), and what is left is answered in time. Who would not be served before its own deadline is
 * not let in.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define QUEUE_STANDING_USEC (2 * MAM_USEC_PER_SEC)
#define QUEUE_PATIENCE_USEC MAM_USEC_PER_SEC /* at least; and what an answer usually takes */

typedef struct QueuePolicy {
        uint64_t standing_usec; /* since when it has not been empty; 0: it is empty */
        uint64_t left_usec;     /* when the last one left it for a replica */
        double pace_usec;       /* mean time from one that leaves to the next; 0: not known */
} QueuePolicy;

/* Whether one more may wait behind n others. left_usec: what its sender will wait for yet;
 * MAM_USEC_INFINITY. The caller calls queue_policy_entered() then. */
bool queue_policy_admits(const QueuePolicy *q, unsigned n, unsigned max, uint64_t left_usec);
void queue_policy_entered(QueuePolicy *q, uint64_t now_usec);
/* Whether one that has waited so long is still to be served. usual_usec: what an answer takes. */
bool queue_policy_keeps(const QueuePolicy *q, uint64_t waited_usec, uint64_t usual_usec, uint64_t now_usec);
/* One left for a replica (or otherwise), and n are still waiting. */
void queue_policy_left(QueuePolicy *q, bool served, unsigned n, uint64_t now_usec);
