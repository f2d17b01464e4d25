/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The whole terminal
 *
 * Plain ANSI on the alternate screen, so that what stood there before is back when it is closed. Keys come
 * one by one and are not echoed; Ctrl-C and Ctrl-Z stay signals. Whoever opens it closes it on each way out;
 * closing twice does no harm.
 */

#include <stdbool.h>
#include <termios.h>

typedef struct Screen {
        bool open;
        struct termios before;
} Screen;

/* Standard input and output are terminals that can do it? */
bool screen_is_possible(void);
/* 0; <0 on failure, with the terminal as it was. */
int screen_open(Screen *s);
void screen_close(Screen *s);

/* At least 4. */
unsigned screen_rows(void);

/* text: lines, of which the first so many are drawn over what stood there; the rest of the screen becomes
 * empty. Not cleared before, so nothing flickers. */
int screen_draw(const char *text, unsigned rows);
