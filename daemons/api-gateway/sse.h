/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where an event of a stream of events ends (text/event-stream, HTML, section 9.2)
 *
 * An event ends with an empty line; a line ends with CR LF, LF or CR. Pure: looks at the bytes that pass.
 */

#include <stdbool.h>
#include <stddef.h>

typedef struct SseTrack {
        bool in_line;  /* the line under way has a byte */
        bool in_event; /* a line came since the last empty one */
        bool after_cr; /* an LF that comes next belongs to the CR */
} SseTrack;

/* Bytes of data up to the end of the last event that is complete with them; 0: none is. */
size_t sse_track(SseTrack *t, const char *data, size_t size);
/* Bytes up to the end of the first event: at once 0 where none is under way. SIZE_MAX: it goes on beyond.
 * For who wants to end a stream; t is as it was before data. */
size_t sse_first_end(SseTrack t, const char *data, size_t size);
/* No event is under way. */
bool sse_at_boundary(const SseTrack *t);
/* Whether an answer of this Content-Type (size bytes) is such a stream. */
bool sse_is_type(const char *type, size_t size);
