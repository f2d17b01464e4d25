/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The whole terminal
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libmam/util/macro.h"
#include "mamctl/screen.h"

#define ROWS_DEFAULT 24U
#define ROWS_MIN     4U

/* alternate screen, no cursor, no wrapping; and back */
#define SEQUENCE_OPEN  "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
#define SEQUENCE_CLOSE "\x1b[?7h\x1b[?25h\x1b[?1049l"

static int write_all(const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = write(STDOUT_FILENO, text, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                text += n;
                size -= (size_t) n;
        }
        return 0;
}

bool screen_is_possible(void) {
        const char *term = getenv("TERM");

        return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 &&
               (!term || strcmp(term, "dumb") != 0);
}

int screen_open(Screen *s) {
        struct termios raw;
        int r;

        assert(s);
        assert(!s->open);

        if (tcgetattr(STDIN_FILENO, &s->before) < 0)
                return -errno;
        raw = s->before;
        raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0)
                return -errno;

        s->open = true;
        fflush(stdout);
        r = write_all(SEQUENCE_OPEN, strlen(SEQUENCE_OPEN));
        if (r < 0)
                screen_close(s);
        return r;
}

void screen_close(Screen *s) {
        assert(s);

        if (!s->open)
                return;
        s->open = false;
        (void) write_all(SEQUENCE_CLOSE, strlen(SEQUENCE_CLOSE));
        (void) tcsetattr(STDIN_FILENO, TCSAFLUSH, &s->before);
}

unsigned screen_rows(void) {
        struct winsize size = { 0 };

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_row == 0)
                return ROWS_DEFAULT;
        return size.ws_row < ROWS_MIN ? ROWS_MIN : size.ws_row;
}

int screen_draw(const char *text, unsigned rows) {
        _cleanup_(mam_freep) char *picture = NULL;
        size_t size = 0;
        FILE *f;

        assert(text);

        f = open_memstream(&picture, &size);
        if (!f)
                return -ENOMEM;
        fputs("\x1b[H", f);
        for (unsigned row = 0; row < rows && *text; row++) {
                size_t length = strcspn(text, "\n");

                /* no line break behind the last row: it would scroll */
                fprintf(f, "%s%.*s\x1b[K", row > 0 ? "\r\n" : "", (int) length, text);
                text += length + (text[length] == '\n');
        }
        fputs("\x1b[J", f);
        if (fclose(f) != 0)
                return -ENOMEM;
        return write_all(picture, size);
}
