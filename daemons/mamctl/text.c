/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text on its way to a terminal
 */

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "libmam/util/macro.h"
#include "libmam/util/time.h"
#include "mamctl/text.h"

static bool environment_names_locale(void) {
        static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                const char *value = getenv(names[i]);

                if (value && *value)
                        return true;
        }
        return false;
}

bool text_is_utf8(void) {
        return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

void text_locale_init(void) {
        (void) setlocale(LC_CTYPE, "");

        /* root's shell in a rescue system or a container has no locale at all, but a terminal that shows
         * UTF-8 */
        if (!text_is_utf8() && !environment_names_locale())
                (void) setlocale(LC_CTYPE, "C.UTF-8");
}

void text_format_seconds(char ret[static 48], uint64_t usec) {
        if (usec < MAM_USEC_PER_SEC) {
                strcpy(ret, "0s"); /* not "0us": nobody measured so well */
                return;
        }
        mam_format_timespan(ret, usec / MAM_USEC_PER_SEC * MAM_USEC_PER_SEC);
}

void text_format_bytes(char ret[static 32], double bytes) {
        static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi" };
        size_t unit = 0;

        while (bytes >= 1024 && unit + 1 < MAM_ELEMENTSOF(units)) {
                bytes /= 1024;
                unit++;
        }
        snprintf(ret, 32, "%.*f%s", unit > 0 && bytes < 100 ? 1 : 0, bytes, units[unit]);
}

/* Bidirectional overrides and isolates reorder what is around them: a replica could dress up as another. */
static bool is_direction_control(wchar_t c) {
        return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f;
}

/* Bytes of the next character of s (at least 1), its columns, or -1 where it may not reach a terminal. */
static size_t next_character(const char *s, int *ret_columns) {
        mbstate_t state = { 0 };
        wchar_t c;
        size_t n;

        n = mbrtowc(&c, s, strlen(s), &state);
        if (n == 0 || n == (size_t) -1 || n == (size_t) -2) {
                *ret_columns = -1;
                return 1;
        }

        *ret_columns = is_direction_control(c) ? -1 : wcwidth(c);
        return n;
}

char *text_clean(const char *s) {
        char *clean, *to;

        clean = malloc(strlen(s) + 1); /* what is replaced never gets longer */
        if (!clean)
                return NULL;

        to = clean;
        while (*s) {
                int columns;
                size_t n = next_character(s, &columns);

                if (columns >= 0) {
                        memcpy(to, s, n);
                        to += n;
                } else
                        *to++ = strchr("\n\r\t", *s) ? ' ' : '?';
                s += n;
        }
        *to = '\0';
        return clean;
}

unsigned text_width(const char *s) {
        unsigned width = 0;

        while (*s) {
                int columns;

                s += next_character(s, &columns);
                width += columns > 0 ? (unsigned) columns : 0;
        }
        return width;
}

char *text_ellipsize(const char *s, unsigned width) {
        const char *ellipsis = text_is_utf8() ? "…" : "~", *end = s;
        unsigned used = 0;
        char *cut;

        if (text_width(s) <= width)
                return strdup(s);

        while (*end) {
                int columns;
                size_t n = next_character(end, &columns);

                if (columns > 0 && used + (unsigned) columns + 1 > width)
                        break;
                used += columns > 0 ? (unsigned) columns : 0;
                end += n;
        }

        if (asprintf(&cut, "%.*s%s", (int) (end - s), s, ellipsis) < 0)
                return NULL;
        return cut;
}
