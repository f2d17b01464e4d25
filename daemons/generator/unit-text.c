/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Values in unit files
 */

#include <assert.h>
#include <string.h>

#include "generator/unit-text.h"

/* doubled: characters that stand for themselves when written twice; escaped: those that need a backslash. */
static int append(MamBuffer *b, const char *text, const char *doubled, const char *escaped) {
        int r;

        assert(b);
        assert(text);

        for (const char *c = text; *c; c++) {
                if (strchr(doubled, *c)) {
                        r = mam_buffer_append(b, (const char[]){ *c, *c }, 2);
                } else if (strchr(escaped, *c)) {
                        r = mam_buffer_append(b, (const char[]){ '\\', *c }, 2);
                } else {
                        r = mam_buffer_append(b, c, 1);
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_quoted(MamBuffer *b, const char *text, const char *doubled) {
        int r;

        r = mam_buffer_append(b, "\"", 1);
        if (r < 0)
                return r;
        r = append(b, text, doubled, "\"\\");
        if (r < 0)
                return r;
        return mam_buffer_append(b, "\"", 1);
}

int unit_text_append_plain(MamBuffer *b, const char *text) {
        int r;

        r = append(b, text, "%", "");
        if (r < 0)
                return r;
        /* A backslash at the end of a line would continue it. */
        return *text && text[strlen(text) - 1] == '\\' ? mam_buffer_append(b, " .", 2) : 0;
}

int unit_text_append_word(MamBuffer *b, const char *text) {
        return append_quoted(b, text, "%");
}

int unit_text_append_argument(MamBuffer *b, const char *text) {
        return append_quoted(b, text, "%$");
}
