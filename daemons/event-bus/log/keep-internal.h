/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of keep share
 *
 * A round is a chain of steps, one query or job at a time: sweep, list of topics, and for each topic retain,
 * archive while there is something to archive, retain again if so, compact while there is more. A step that
 * fails is told, and the round goes on with the next topic.
 */

#include "event-bus/log/archive-file.h"
#include "event-bus/log/archive-job.h"
#include "event-bus/log/keep.h"
#include "libmam/util/time.h"

#define KEEP_ID_SIZE 17U

typedef struct KeepTopic {
        int64_t id;
        bool archive, compact;
        char name[136];
} KeepTopic;

struct Keep {
        sd_event *event; /* owned */
        MamPg *pg;       /* borrowed */
        KeepOptions options;
        char *archive;          /* owned; what options' points to */
        char me[KEEP_ID_SIZE];  /* who leases segments */
        sd_event_source *timer; /* owned; the next round */
        MamPgQuery *query;      /* owned */
        KeepTopic *topics;      /* owned; of the round */
        size_t n_topics, at;
        unsigned n_steps; /* of this topic */
        bool in_round, again;
        /* the segment being archived */
        ArchiveWriter *writer; /* owned; or the job's */
        ArchiveJob *job;       /* owned */
        int64_t segment, written_to;
        bool archived; /* something of this topic, in this round */
        KeepCallback callback;
        void (*done)(Keep *k, void *userdata);
        void (*next_done)(Keep *k, void *userdata); /* of the round after the one under way */
        void *userdata, *done_userdata, *next_userdata;
        bool *gone; /* set while calling */
};

/* keep.c */
int keep_query(Keep *k,
               const MamPgStatement *s,
               const char *const *parameters,
               size_t n,
               MamPgCallback callback);
/* False: the callback has freed the Keep. */
_must_check_ bool keep_tell(Keep *k, const KeepNews *news);
/* Tells it, and goes on with the next topic. */
void keep_failed(Keep *k, KeepWork work, int error, const char *message);
const KeepTopic *keep_topic(const Keep *k);
/* Steps of the topic; each calls the next one. */
void keep_topic_retain(Keep *k);
void keep_topic_compact(Keep *k);
/* Archiving is over for this topic. */
void keep_archived(Keep *k);

/* keep-archive.c */
/* Archives the next segment of the topic, if there is one. */
int keep_archive(Keep *k);
void keep_archive_stop(Keep *k);
