/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The newest events of one topic, shared by all who follow it
 *
 * A ring covers the positions behind base up to end: what the log had there when it was read is in it, what
 * is not in it is not there (compaction leaves holes). Events are kept in chunks as they were read, and go
 * with the oldest chunk once the ring has more bytes than it may. A chunk is shared: who holds a reference
 * may read its events although the ring has dropped it. Nothing here knows of the log.
 */

#include <stddef.h>
#include <stdint.h>

#include "event-bus/log/log.h"
#include "libmam/util/macro.h"

typedef struct TailChunk {
        unsigned n_ref;
        size_t n, bytes; /* bytes: the whole of its memory */
        int64_t end;     /* covered with it */
        LogEvent events[];
} TailChunk;

typedef struct TailRing {
        TailChunk **chunks; /* owned; a circle of n_allocated places */
        size_t first, n, n_allocated;
        size_t bytes, bytes_max;
        int64_t base, end;
} TailRing;

/* Events are copied. */
int tail_chunk_new(TailChunk **ret, const LogEvent *events, size_t n, int64_t end);
TailChunk *tail_chunk_ref(TailChunk *c);
TailChunk *tail_chunk_unref(TailChunk *c);
MAM_DEFINE_CLEANUP(TailChunk, tail_chunk_unref);

void tail_ring_init(TailRing *r, size_t bytes_max);
void tail_ring_done(TailRing *r);
/* Empties it: it covers nothing, and what is behind "after" comes next. */
void tail_ring_reset(TailRing *r, int64_t after);
/* A smaller bound drops at once. The newest chunk always stays. */
void tail_ring_set_bytes_max(TailRing *r, size_t bytes_max);
/* What was read behind r->end up to end, in order. n may be 0. */
int tail_ring_append(TailRing *r, const LogEvent *events, size_t n, int64_t end);
/* 1: *ret_events, a run of *ret_n in *ret_chunk (borrowed) is the next behind "after"; 0: there is nothing
 * behind it that the ring covers; -ERANGE: the ring does not reach back so far. */
int tail_ring_find(
                const TailRing *r,
                int64_t after,
                TailChunk **ret_chunk,
                const LogEvent **ret_events,
                size_t *ret_n);

/* The first of n events in order whose position is behind "after"; n: none. */
size_t tail_events_behind(const LogEvent *events, size_t n, int64_t after);
