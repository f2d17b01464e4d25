/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of outbox/ share
 *
 * A relay does one pass at a time: read what is visible, look at it, move it. Between passes it has no
 * batch. A row of a batch is an event, or has a reason why it is none of its topic.
 */

#include "event-bus/outbox/relay.h"
#include "event-bus/outbox/window.h"

#define RELAY_EVENTS_MAX 500U
#define RELAY_BYTES_MAX  (2U * 1024U * 1024U)

typedef struct RelayRow {
        int64_t number;
        char *topic, *publisher; /* owned */
        MamEvent *event;         /* owned; NULL: rejected */
        char *reason;            /* owned; why, or NULL */
} RelayRow;

typedef struct RelayBatch {
        RelayRow rows[RELAY_EVENTS_MAX];
        size_t n;
        size_t n_looked_at; /* by relay_batch_look() */
        uint64_t oldest_usec;
        char *snapshot; /* owned */
        int64_t high;
        uint64_t next;
        bool more;
} RelayBatch;

/* batch.c */

void relay_batch_done(RelayBatch *b);
/* The result of outbox_read(). -EBADMSG: it is something else. */
int relay_batch_read(RelayBatch *b, const MamPgResult *result);
/* Rejects it; text is copied. */
int relay_row_reject(RelayRow *row, const char *format, ...) _printf_(2, 3);
/* Whether the event may be in that topic. -EAGAIN: the schemas are not known yet. */
int relay_row_check(RelayRow *row, const TopicInfo *topic, SchemaRegistry *schemas);
/* The parameters of outbox_move(), as array literals. */
#define RELAY_MOVE_PARAMETERS 8U
int relay_batch_format(const RelayBatch *b, MamBuffer ret[static RELAY_MOVE_PARAMETERS]);
