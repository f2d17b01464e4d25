/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Text on its way to a terminal
 *
 * What mamctl prints comes partly from services (status texts, reasons, names), which may be anybody's
 * program. Nothing of it reaches the terminal before text_clean(). Widths are terminal columns in the locale
 * of the process: call text_locale_init() first.
 */

#include <stdbool.h>
#include <stdint.h>

/* Takes the locale from the environment; where the environment says nothing, UTF-8 is assumed. */
void text_locale_init(void);
bool text_is_utf8(void);

/* An age or a length in whole seconds: "0s", "12s", "3min 5s". */
void text_format_seconds(char ret[static 48], uint64_t usec);

/* "431.2Mi": for reading, not for SetLimits. */
void text_format_bytes(char ret[static 32], double bytes);

/* A copy without control characters, escape sequences, direction overrides and invalid bytes ('?' in their
 * place; line breaks and tabs become a space). NULL: out of memory. Caller frees. */
char *text_clean(const char *s);

/* Columns that a clean text takes. */
unsigned text_width(const char *s);

/* A copy of a clean text that takes at most width columns (at least 1), with an ellipsis at the cut. NULL:
 * out of memory. Caller frees. */
char *text_ellipsize(const char *s, unsigned width);
