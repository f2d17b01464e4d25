/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Keeping: what is dropped, compacted and archived, and archives brought back
 *
 * A Keep looks at all durable topics in rounds. Every replica has one; what is to be done to a topic is done
 * by one of them at a time, each step is a transaction of its own, and whoever is killed in between leaves
 * what the next one goes on with.
 *
 *  - An open segment that has reached its age, or in which everything has expired, is closed.
 *  - With archive, a closed segment is written to a file before anything else happens to it.
 *  - The oldest segment is dropped, whole, when its newest event is older than the topic's retention, or
 * when without it there are still as many bytes, or events, as are to be kept. Positions do not start again.
 *  - With compact, of each key only the newest event is kept, once its segment is closed and enough of the
 *    topic is new since the last time. An event without data (a tombstone) goes too when it is a day old.
 *    Events of streams are all kept. What remains keeps its position: readers find holes, and must not take
 *    "the next position" for "the next event". A topic's last position never goes back, even where its event
 *    is gone.
 *
 * A table that was dropped or replaced is not looked up by anybody new, and is removed a while later, when
 * those who read it are done.
 */

#include "event-bus/log/log.h"

typedef struct Keep Keep;

typedef enum KeepWork {
        KEEP_CLOSED,
        KEEP_DROPPED,
        KEEP_COMPACTED,
        KEEP_ARCHIVED,
        KEEP_REMOVED, /* tables; no topic */
        _KEEP_WORK_MAX,
} KeepWork;

typedef struct KeepNews {
        KeepWork work;
        const char *topic;   /* NULL: not of one */
        int error;           /* 0, or what was tried and failed; it is tried again */
        const char *message; /* of the error, for the log; or NULL */
        int64_t first, last; /* the positions concerned */
        uint64_t events;     /* that were dropped, taken out by compaction, archived; tables */
        const char *file;    /* ARCHIVED: its name below the folder */
} KeepNews;

/* May free the Keep. */
typedef void (*KeepCallback)(Keep *k, const KeepNews *news, void *userdata);

typedef struct KeepOptions {
        const char *archive; /* the folder, made by the caller; NULL: topics with archive keep everything */
        uint64_t interval_usec;  /* between rounds; 0: 10 s, drawn by lot around it */
        uint64_t garbage_usec;   /* until a table is removed; 0: 30 s */
        uint64_t tombstone_usec; /* 0: 24 h */
        unsigned dirty_percent;  /* new since the last compaction, of the closed segments' bytes; 0: 33 */
} KeepOptions;

/* callback may be NULL. */
int keep_new(Keep **ret,
             sd_event *event,
             MamPg *pg,
             const KeepOptions *options,
             KeepCallback callback,
             void *userdata);
Keep *keep_free(Keep *k);
MAM_DEFINE_CLEANUP(Keep, keep_free);
/* Begins a round now, or another one right after the one that is under way. done is told of the end of a
 * round that began after this call; the last caller's. May be NULL. */
void keep_now(Keep *k, void (*done)(Keep *k, void *userdata), void *userdata);

/* ---- archives: files of a folder ---- */

/*
 * TOPIC/FIRST-LAST.ndjson.zst has a line for each event, in order:
 *   {"position":1,"recorded":1700000000000000,"streamVersion":1,"key":"…","stream":"…","event":{…}}
 * (streamVersion and stream only of events in a stream; recorded in microseconds since 1970), compressed
 * with zstd. FIRST-LAST.json beside it says how many lines, how many bytes and which SHA-256 the file has,
 * and is written last: a file without it is not an archive. Both are on disk before the segment may be
 * dropped. Numbers in names have 19 digits, so that files sort by position.
 */
typedef struct ArchiveInfo {
        const char *topic;
        const char *file; /* "TOPIC/FIRST-LAST", the archive's name */
        int64_t first, last;
        uint64_t events, bytes; /* bytes: of the file */
        uint64_t recorded_first_usec, recorded_last_usec;
        const char *sha256; /* of the file, hexadecimal */
} ArchiveInfo;

typedef struct Archive Archive;
typedef void (*ArchiveCallback)(int r, const ArchiveInfo *info, void *userdata);

/* Calls back for each in order of names, while this runs; topic NULL: of all. after: name behind which to
 * begin, or NULL; limit: how many at most. -ENOENT: no folder. Returns how many. */
int archive_list(
                const char *folder,
                const char *topic,
                const char *after,
                size_t limit,
                ArchiveCallback callback,
                void *userdata);

/* What takes long is an object; freeing it cancels. Callbacks never run from within the call. */
Archive *archive_free(Archive *a);
MAM_DEFINE_CLEANUP(Archive, archive_free);

/* Brings an archive's events back, into a durable topic that exists and has nothing at or behind their
 * positions (an empty one, or one that got the archives before it): positions, times, keys and streams are
 * as they were; settings are the topic's, so that its retention may drop them again at once. The whole
 * archive comes or nothing of it. Restored events are not remembered for suppressing duplicates. r: 0, info
 * says what came; -ENOENT: no such topic or archive; -EBADMSG: the archive is damaged; -EEXIST: the topic
 * has something at or behind these positions; -ENOTCONN, -EAGAIN, -ECANCELED. */
int archive_restore(
                Archive **ret,
                sd_event *event,
                MamPg *pg,
                const char *folder,
                const char *file,
                const char *topic,
                ArchiveCallback callback,
                void *userdata);
