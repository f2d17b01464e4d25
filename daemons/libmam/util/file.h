/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Whole files
 */

#include <stddef.h>
#include <sys/types.h>

/* Reads at most max bytes and NUL-terminates (not counted in *ret_size). -EFBIG: larger; -EISDIR; else
 * open/read errors. Caller frees *ret. ret_size may be NULL. */
int mam_file_read(char **ret, size_t *ret_size, const char *path, size_t max);

/* Replaces path so that a crash or a power cut leaves the old or the new content, whole: write beside it,
 * fsync, rename, fsync of the folder. mode as in open(2), not subject to the umask. */
int mam_file_write_atomic(const char *path, const void *data, size_t size, mode_t mode);
