/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the replicas tell each other: which topic has something new, and a few words
 *
 * A Doorbell gathers what is to be told until a message can go out; of each topic only the newest position
 * is told, of equal words one. A message is text: the teller's name in the first line, then one line each,
 * "t TOPIC LAST" or "w WORD"; or, from others than replicas, a word alone. Whoever cannot read a line skips
 * it. All of it are hints: a position that was told may be wrong. Nothing here knows of Redis.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/buffer.h"

#define DOORBELL_CHANNEL     "event-bus:bell"
#define DOORBELL_WAITING_MAX 512U /* topics and words */
#define DOORBELL_WORD_MAX    512U /* bytes of a word */

typedef struct DoorbellEntry DoorbellEntry;

typedef struct Doorbell {
        DoorbellEntry *entries; /* owned */
        size_t n, n_allocated;
} Doorbell;

void doorbell_done(Doorbell *d);
bool doorbell_is_empty(const Doorbell *d);
/* -ENOBUFS: as much is waiting as may; -EINVAL: not a text that a line can hold. */
int doorbell_add_topic(Doorbell *d, const char *topic, int64_t last);
int doorbell_add_word(Doorbell *d, const char *word);
/* Appends the message and forgets what was told; on failure nothing is forgotten. */
int doorbell_take(Doorbell *d, const char *teller, MamBuffer *message);

/* Called for each line, in order; returning false ends the reading. */
typedef bool (*DoorbellTopic)(const char *topic, int64_t last, void *userdata);
typedef bool (*DoorbellWord)(const char *word, void *userdata);
/* Nothing of what the teller "self" told itself. */
void doorbell_read(
                const char *data,
                size_t size,
                const char *self,
                DoorbellTopic on_topic,
                DoorbellWord on_word,
                void *userdata);
