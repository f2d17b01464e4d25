/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Files of archives: writing one, checking one, reading one
 *
 * Layout and promises are in keep.h. Nothing here knows of the log. What waits for the disk is apart
 * (archive_writer_publish(), archive_check()), for a thread.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event-bus/log/keep.h"
#include "libmam/util/buffer.h"

#define ARCHIVE_NAME_SIZE 192U /* "TOPIC/FIRST-LAST" */
#define ARCHIVE_LINE_MAX  ((size_t) 8 * 1024 * 1024)
#define ARCHIVE_READ_SIZE ((size_t) 512 * 1024) /* of lines at once, about */

typedef struct ArchiveWriter ArchiveWriter;
typedef struct ArchiveReader ArchiveReader;

/* An ArchiveInfo that owns its texts. */
typedef struct ArchiveNote {
        ArchiveInfo info;
        char topic[136], file[ARCHIVE_NAME_SIZE], sha256[65];
} ArchiveNote;

/* Makes the topic's folder if need be, and removes what interrupted writers left there a day ago. */
int archive_writer_new(
                ArchiveWriter **ret,
                const char *folder,
                const char *topic,
                int64_t first,
                int64_t last);
ArchiveWriter *archive_writer_free(ArchiveWriter *w);
MAM_DEFINE_CLEANUP(ArchiveWriter, archive_writer_free);
int archive_writer_add(
                ArchiveWriter *w,
                const char *lines,
                size_t size,
                uint64_t events,
                uint64_t recorded_first_usec,
                uint64_t recorded_last_usec);
/* Nothing more is added. */
int archive_writer_end(ArchiveWriter *w);
/* Waits for the disk: file and note are there for good when it returns 0. */
int archive_writer_publish(ArchiveWriter *w);
const ArchiveInfo *archive_writer_info(const ArchiveWriter *w);

/* Whether a name can be one of an archive; it comes from clients. */
bool archive_name_is_valid(const char *name);
/* Reads the note. -ENOENT, -EBADMSG. */
int archive_note_read(ArchiveNote *ret, const char *folder, const char *name);
/* Waits for the disk: the file has the size and the SHA-256 that the note says. -EBADMSG: it has not. */
int archive_check(const char *folder, const ArchiveNote *note);

int archive_reader_new(ArchiveReader **ret, const char *folder, const ArchiveNote *note);
ArchiveReader *archive_reader_free(ArchiveReader *r);
MAM_DEFINE_CLEANUP(ArchiveReader, archive_reader_free);
/* Whole lines; borrowed until the next call. *ret_size 0: that was all. -EBADMSG. */
int archive_reader_next(ArchiveReader *r, const char **ret_lines, size_t *ret_size);
