/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A round: what is applied to a state, and how it is saved
 */

#include "event-bus/delivery/delivery-internal.h"

/* What a round does to the dead letters. */
typedef struct Letters {
        MamBuffer positions, reasons, attempts, recorded, keys, streams, versions, events, redriven;
        int64_t cleared;
        size_t n;
} Letters;

typedef struct Round {
        Subscription *sub;
        GroupPolicy policy;
        uint64_t now_usec; /* realtime */
        Letters letters;
        bool changed, frees, restarts;
} Round;

/* subscription-save.c */

/* entry NULL, or without a body: the event is no longer in the log. */
int round_add_letter(
                Round *round,
                const GroupEntry *entry,
                int64_t position,
                uint32_t attempts,
                const char *reason);
/* Sends the state; what is in_round is answered, or comes back, when it is known what became of it. */
int round_save(Round *round);
void round_done(Round *round);
/* The calls of the round wait for the next one. */
void subscription_calls_back(Subscription *s);
void subscription_tell_others(Subscription *s);
