/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How mamctl ends; documented in mamctl(1) and part of its interface. 3 and 4 mean what they mean for
 * systemctl.
 *
 * Functions of mamctl that return an ExitCode have told the user on stderr why it is not EXIT_CODE_OK.
 */

typedef enum ExitCode {
        EXIT_CODE_OK = 0,
        EXIT_CODE_FAILURE = 1,
        EXIT_CODE_USAGE = 2,
        EXIT_CODE_NOT_RUNNING = 3,
        EXIT_CODE_NO_SUCH_SERVICE = 4,
        EXIT_CODE_ACCESS_DENIED = 5,
        EXIT_CODE_NO_MANAGER = 6,
        EXIT_CODE_TIMEOUT = 7,
        EXIT_CODE_DIFFERENCES = 8,   /* plan --exit-code */
        EXIT_CODE_INTERRUPTED = 130, /* 128 + SIGINT, as a shell says it */
} ExitCode;
