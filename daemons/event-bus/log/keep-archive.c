/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Archiving the closed segments of a topic, one page at a time
 */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "event-bus/log/keep-internal.h"
#include "event-bus/log/log-internal.h"

#define LEASE_USEC  "60000000"
#define PAGE_EVENTS "1000"
#define PAGE_BYTES  "524288"

static const MamPgStatement archive_begin = {
        "keep_archive_begin",
        "SELECT number, first, last FROM keep_archive_begin($1::bigint, $2, " LEASE_USEC ")",
        true,
};
static const MamPgStatement archive_read = {
        "keep_archive_read",
        "SELECT n, last, recorded_first, recorded_last, lines FROM keep_archive_read($1::bigint, $2::bigint, $3, " LEASE_USEC
        ", $4::bigint, " PAGE_EVENTS ", " PAGE_BYTES ")",
        true,
};
static const MamPgStatement archive_end = {
        "keep_archive_end",
        "SELECT keep_archive_end($1::bigint, $2::bigint, $3)::integer",
        false,
};

void keep_archive_stop(Keep *k) {
        k->job = archive_job_free(k->job);
        k->writer = archive_writer_free(k->writer);
}

static void archive_failed(Keep *k, int error, const char *message) {
        keep_archive_stop(k);
        keep_failed(k, KEEP_ARCHIVED, error, message);
}

static void on_ended(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Keep *k = userdata;
        int r;

        if (error < 0) {
                archive_failed(k, log_error(error), message);
                return;
        }

        r = keep_archive(k); /* the next segment; the file is there, even if another keeper was quicker */
        if (r < 0)
                archive_failed(k, r, NULL);
}

static int segment_query(Keep *k, const MamPgStatement *s, MamPgCallback callback) {
        char topic[24], segment[24], after[24];
        const char *parameters[] = { topic, segment, k->me, after };

        (void) snprintf(topic, sizeof(topic), "%lld", (long long) keep_topic(k)->id);
        (void) snprintf(segment, sizeof(segment), "%lld", (long long) k->segment);
        (void) snprintf(after, sizeof(after), "%lld", (long long) k->written_to);
        return keep_query(k, s, parameters, s == &archive_read ? 4 : 3, callback);
}

static int publish_work(void *data) {
        return archive_writer_publish(data);
}

static void publish_free(void *data) {
        (void) archive_writer_free(data);
}

static void on_published(int r, void *data, void *userdata) {
        const ArchiveInfo *info = archive_writer_info(data);
        Keep *k = userdata;
        KeepNews news = { .work = KEEP_ARCHIVED,
                          .topic = keep_topic(k)->name,
                          .first = info->first,
                          .last = info->last,
                          .events = info->events,
                          .file = info->file };

        if (r < 0) {
                archive_failed(k, r, NULL);
                return;
        }
        if (!keep_tell(k, &news))
                return;

        keep_archive_stop(k);
        k->archived = true;
        r = segment_query(k, &archive_end, on_ended);
        if (r < 0)
                archive_failed(k, r, NULL);
}

static int archive_publish(Keep *k) {
        int r;

        r = archive_writer_end(k->writer);
        if (r < 0)
                return r;
        r = archive_job_start(&k->job, k->event, k->writer, publish_free, publish_work, on_published, k);
        if (r < 0)
                return r;

        k->writer = NULL; /* the job has it */
        return 0;
}

static void on_page(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Keep *k = userdata;
        const char *lines;
        int r = log_error(error);

        if (r >= 0 && mam_pg_rows(result) == 0)
                r = -ESTALE; /* the lease is over, or the topic is gone */
        if (r < 0) {
                archive_failed(k, r, message);
                return;
        }

        if (mam_pg_int(result, 0, 0) == 0) {
                r = archive_publish(k);
        } else {
                lines = mam_pg_text(result, 0, 4);
                k->written_to = mam_pg_int(result, 0, 1);
                r = archive_writer_add(
                                k->writer,
                                lines,
                                strlen(lines),
                                (uint64_t) mam_pg_int(result, 0, 0),
                                (uint64_t) mam_pg_int(result, 0, 2),
                                (uint64_t) mam_pg_int(result, 0, 3));
                if (r >= 0)
                        r = segment_query(k, &archive_read, on_page);
        }
        if (r < 0)
                archive_failed(k, r, NULL);
}

static void on_begun(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Keep *k = userdata;
        int r = log_error(error);

        if (r < 0) {
                archive_failed(k, r, message);
                return;
        }
        if (mam_pg_rows(result) == 0) {
                keep_archived(k);
                return;
        }

        k->segment = mam_pg_int(result, 0, 0);
        k->written_to = 0;
        r = archive_writer_new(
                        &k->writer,
                        k->archive,
                        keep_topic(k)->name,
                        mam_pg_int(result, 0, 1),
                        mam_pg_int(result, 0, 2));
        if (r >= 0)
                r = segment_query(k, &archive_read, on_page);
        if (r < 0)
                archive_failed(k, r, NULL);
}

int keep_archive(Keep *k) {
        char topic[24];
        const char *parameters[] = { topic, k->me };

        (void) snprintf(topic, sizeof(topic), "%lld", (long long) keep_topic(k)->id);
        return keep_query(k, &archive_begin, parameters, MAM_ELEMENTSOF(parameters), on_begun);
}
