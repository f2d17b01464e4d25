/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a disk would hold after a power cut
 *
 * An image stands beside a folder (the root) and holds what finished calls of fsync() and its like have made
 * durable, and nothing else. All processes that write below the root share it:
 *
 *     <image>/objects/<id>   the durable content of a file; the id is inode and birth time, as inodes return
 *     <image>/tree/…         the durable names: hard links to objects
 *     <image>/table          which ranges were written since the last fsync(), in shared memory
 *
 * The rules are those of a file system with a journal, where it is strict: fsync() of a file covers its data
 * and size, and the name of a new file with the folders above it; names that were changed or removed are
 * durable when their folder was synced. sync_file_range() promises nothing. A table that has forgotten a
 * file makes the next fsync() copy all of it, so it may forget.
 *
 * Errors are negative errno values. Data that is in flight while the processes die may be there in part.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* root: an absolute path without links in it; image: on a file system with birth times (-EOPNOTSUPP). */
int image_open(const char *root, const char *image);
/* Takes what is below the root now as durable. Nobody may write meanwhile. */
int image_take(void);
/* Makes the root what the image says. With *seed, sectors that were written and not synced may have reached
 * the disk, each by chance. Nobody may write meanwhile, and image_take() has to follow. */
int image_cut(const uint64_t *seed);

/* Bytes of a file were written or cut off, or are about to be: whatever is open there, other things than
 * files are left alone. */
void image_written(int fd, int64_t from, int64_t to);
/* A finished fsync(). */
int image_persist(int fd);
