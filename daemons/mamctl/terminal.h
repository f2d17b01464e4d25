/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What stdout and stderr are
 *
 * Colour only on a terminal that can show it, and never with NO_COLOR (https://no-color.org) in the
 * environment.
 */

#include <stdbool.h>

typedef enum Colour {
        COLOUR_NONE,
        COLOUR_BOLD,
        COLOUR_GREEN,
        COLOUR_YELLOW,
        COLOUR_RED,
        COLOUR_GREY,
        COLOUR_BLUE,
        _COLOUR_MAX,
} Colour;

typedef struct Terminal {
        bool out;         /* stdout is a terminal */
        bool err;         /* stderr is a terminal */
        bool out_colour;  /* colour may go to stdout */
        bool err_colour;  /* colour may go to stderr */
        unsigned columns; /* of the terminal, or 0 where there is none: nothing is shortened then */
} Terminal;

void terminal_probe(Terminal *ret);
/* Asked again, since a terminal can be resized while mamctl waits. 0: no terminal. */
unsigned terminal_columns(int fd);

/* Escape sequences; "" where colour is off or COLOUR_NONE. */
const char *colour_start(bool enabled, Colour c);
const char *colour_end(bool enabled, Colour c);

/* The colour of a word of the bus API ("running", "unhealthy", "draining", …). */
Colour colour_of_state(const char *state);
