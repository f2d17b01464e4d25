/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where generated units go: a folder, or for --dryrun a stream that shows what the folder would hold
 */

#include <stdio.h>

typedef struct Output {
        int folder_fd; /* owned by the caller; -EBADF: print to stream */
        FILE *stream;  /* borrowed */
} Output;

/* name may have one folder in front ("mam@x:1.service.d/10-mam.conf"), which is made as needed. Returns 0 or
 * a negative errno. */
int output_file(const Output *o, const char *name, const char *content);
int output_link(const Output *o, const char *name, const char *target);
