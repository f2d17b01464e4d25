/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/queue-policy.h"

#include <assert.h>

bool queue_policy_admits(const QueuePolicy *q, unsigned n, unsigned max, uint64_t left_usec) {
        assert(q);

        if (n >= max)
                return false;
        return left_usec == MAM_USEC_INFINITY || q->pace_usec * (n + 1.0) <= (double) left_usec;
}

void queue_policy_entered(QueuePolicy *q, uint64_t now_usec) {
        assert(q);

        if (q->standing_usec == 0) {
                q->standing_usec = now_usec > 0 ? now_usec : 1;
                q->left_usec = now_usec;
        }
}

bool queue_policy_keeps(const QueuePolicy *q, uint64_t waited_usec, uint64_t usual_usec, uint64_t now_usec) {
        uint64_t patience = usual_usec > QUEUE_PATIENCE_USEC ? usual_usec : QUEUE_PATIENCE_USEC;

        assert(q);

        if (q->standing_usec == 0 || now_usec < q->standing_usec + QUEUE_STANDING_USEC)
                return true;
        return waited_usec <= patience;
}

void queue_policy_left(QueuePolicy *q, bool served, unsigned n, uint64_t now_usec) {
        assert(q);

        if (served) {
                double pace = now_usec > q->left_usec ? (double) (now_usec - q->left_usec) : 0;

                q->pace_usec += (pace - q->pace_usec) / 16.0;
                q->left_usec = now_usec;
        }
        if (n == 0)
                q->standing_usec = 0;
}
