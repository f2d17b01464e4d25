/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Cursors, and other ways to say where reading begins
 *
 * A cursor names a place behind an event of one topic, and is opaque to clients: base64url of a version, the
 * topic's number and the position. It is the same on every wire. Pure functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CURSOR_SIZE 40U /* of the text, with NUL */

/* Bytes written, without the NUL. */
size_t cursor_format(char ret[static CURSOR_SIZE], int64_t topic, int64_t position);
/* -EINVAL: not one of ours. */
int cursor_parse(const char *text, int64_t *ret_topic, int64_t *ret_position);

typedef enum PlaceKind {
        PLACE_EARLIEST,
        PLACE_LATEST,
        PLACE_POSITION, /* the first one wanted */
        PLACE_TIME,
        PLACE_CURSOR,
} PlaceKind;

/* earliest, latest, a position, a time (RFC 3339), or a cursor. */
typedef struct Place {
        PlaceKind kind;
        int64_t topic;    /* of a cursor */
        int64_t position; /* of a cursor: the one it is behind of */
        uint64_t usec;    /* realtime */
} Place;

/* -EINVAL: none of these. */
int place_parse(Place *ret, const char *text);
/* -EINVAL: not RFC 3339, or before 1970. */
int rfc3339_parse(const char *text, uint64_t *ret_usec);
