/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What stdout and stderr are
 */

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "libmam/util/macro.h"
#include "mamctl/terminal.h"

#define COLUMNS_DEFAULT 80U
#define COLUMNS_MIN     20U
#define COLUMNS_MAX     2000U

static unsigned columns_from_environment(void) {
        const char *value = getenv("COLUMNS");
        unsigned long n;
        char *end;

        if (!value || *value < '0' || *value > '9')
                return 0;

        errno = 0;
        n = strtoul(value, &end, 10);
        if (errno != 0 || *end || n > COLUMNS_MAX)
                return 0;
        return (unsigned) n;
}

unsigned terminal_columns(int fd) {
        struct winsize size = { 0 };
        unsigned n;

        if (!isatty(fd))
                return 0;

        n = columns_from_environment();
        if (n == 0 && ioctl(fd, TIOCGWINSZ, &size) == 0)
                n = size.ws_col;
        if (n == 0)
                return COLUMNS_DEFAULT; /* a serial line does not know */
        return n < COLUMNS_MIN ? COLUMNS_MIN : n;
}

void terminal_probe(Terminal *ret) {
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
        bool colour = (!no_color || !*no_color) && (!term || strcmp(term, "dumb") != 0);

        *ret = (Terminal){
                .out = isatty(STDOUT_FILENO) == 1,
                .err = isatty(STDERR_FILENO) == 1,
                .columns = terminal_columns(STDOUT_FILENO),
        };
        ret->out_colour = ret->out && colour;
        ret->err_colour = ret->err && colour;
}

const char *colour_start(bool enabled, Colour c) {
        static const char *const codes[_COLOUR_MAX] = {
                [COLOUR_NONE] = "",           [COLOUR_BOLD] = "\x1b[1m", [COLOUR_GREEN] = "\x1b[32m",
                [COLOUR_YELLOW] = "\x1b[33m", [COLOUR_RED] = "\x1b[31m", [COLOUR_GREY] = "\x1b[90m",
                [COLOUR_BLUE] = "\x1b[34m",
        };

        return enabled ? codes[c] : "";
}

const char *colour_end(bool enabled, Colour c) {
        return enabled && c != COLOUR_NONE ? "\x1b[0m" : "";
}

Colour colour_of_state(const char *state) {
        static const struct {
                const char *state;
                Colour colour;
        } map[] = {
                { "running", COLOUR_GREEN },   { "healthy", COLOUR_GREEN },    { "ready", COLOUR_GREEN },
                { "ok", COLOUR_GREEN },        { "starting", COLOUR_YELLOW },  { "stopping", COLOUR_YELLOW },
                { "degraded", COLOUR_YELLOW }, { "draining", COLOUR_YELLOW },  { "unready", COLOUR_YELLOW },
                { "warning", COLOUR_YELLOW },  { "failed", COLOUR_RED },       { "unhealthy", COLOUR_RED },
                { "error", COLOUR_RED },       { "stopped", COLOUR_GREY },     { "unknown", COLOUR_GREY },
                { "asleep", COLOUR_BLUE },     { "notice", COLOUR_BOLD },      { "critical", COLOUR_RED },
                { "current", COLOUR_GREEN },   { "deploying", COLOUR_YELLOW }, { "reverted", COLOUR_RED },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(map); i++) {
                if (strcmp(map[i].state, state) == 0)
                        return map[i].colour;
        }
        return COLOUR_NONE;
}
