/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Shared between the files of revisions
 */

#include "libmam/config/config-internal.h"
#include "libmam/config/revision.h"

/* Absolute, no empty, "." or ".." component, nothing in it that means something in a unit file. */
bool mam_revision_path_is_clean(const char *path);
/* 12 hexadecimal digits. */
bool mam_revision_name_is_valid(const char *name);
/* Puts text for people into *ret (what was there is freed), unless ret is NULL, and returns error. */
int mam_revision_problem(char **ret, int error, const char *format, ...) _printf_(3, 4);

/* A file that somebody else may have put there: no symbolic link, no FIFO, at most max bytes. As
 * mam_file_read(); -EBADMSG: not a regular file. */
int mam_revision_read_file(char **ret, size_t *ret_size, const char *path, size_t max);
