/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Archives: the list of them, and bringing one back
 *
 * A restore checks the whole file in a thread first, then sends it in pieces of ARCHIVE_READ_SIZE, one at a
 * time, to a table that becomes a segment of the topic in the last step.
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/archive-file.h"
#include "event-bus/log/archive-job.h"
#include "event-bus/log/log-internal.h"

/* What the thread works on. */
typedef struct ArchiveCheck {
        char *folder; /* owned */
        char name[ARCHIVE_NAME_SIZE];
        ArchiveNote note;
} ArchiveCheck;

struct Archive {
        sd_event *event;      /* owned */
        MamPg *pg;            /* borrowed */
        char *folder, *topic; /* owned */
        char *relation;       /* owned; where the lines go */
        ArchiveJob *job;      /* owned */
        ArchiveNote note;
        ArchiveReader *reader; /* owned */
        MamPgQuery *query;     /* owned */
        uint64_t events;
        ArchiveCallback callback;
        void *userdata;
};

static const MamPgStatement restore_begin = { "archive_restore_begin", "SELECT restore_begin()", false };
static const MamPgStatement restore_lines = { "archive_restore_lines",
                                              "SELECT restore_lines($1, $2)",
                                              true };
static const MamPgStatement restore_end = {
        "archive_restore_end",
        "SELECT restore_end($1, $2, $3::bigint, $4::bigint)",
        false,
};

/* List */

static int is_shown(const struct dirent *e) {
        return e->d_name[0] != '.';
}

static void free_entries(struct dirent **entries, int n) {
        for (int i = 0; i < n; i++)
                free(entries[i]);
        free(entries);
}

typedef struct ListTask {
        const char *folder, *after;
        size_t limit, n;
        ArchiveCallback callback;
        void *userdata;
} ListTask;

static void list_topic(ListTask *t, const char *topic) {
        struct dirent **entries = NULL;
        char path[PATH_MAX], name[PATH_MAX];
        ArchiveNote note;
        int n;

        if (snprintf(path, sizeof(path), "%s/%s", t->folder, topic) >= (int) sizeof(path))
                return;
        n = scandir(path, &entries, is_shown, alphasort);
        for (int i = 0; i < n && t->n < t->limit; i++) {
                const char *dot = strstr(entries[i]->d_name, ".json");

                if (!dot || dot[5])
                        continue;
                (void) snprintf(name,
                                sizeof(name),
                                "%s/%.*s",
                                topic,
                                (int) (dot - entries[i]->d_name),
                                entries[i]->d_name);
                if ((t->after && strcmp(name, t->after) <= 0) ||
                    archive_note_read(&note, t->folder, name) < 0)
                        continue;
                t->n++;
                t->callback(0, &note.info, t->userdata);
        }
        free_entries(entries, n);
}

int archive_list(
                const char *folder,
                const char *topic,
                const char *after,
                size_t limit,
                ArchiveCallback callback,
                void *userdata) {
        ListTask task = { .folder = folder,
                          .after = after,
                          .limit = limit,
                          .callback = callback,
                          .userdata = userdata };
        struct dirent **entries = NULL;
        int n;

        assert(folder);
        assert(callback);

        if (topic) {
                if (topic_name_is_valid(topic))
                        list_topic(&task, topic);
                return (int) task.n;
        }

        n = scandir(folder, &entries, is_shown, alphasort);
        if (n < 0)
                return -errno;
        for (int i = 0; i < n && task.n < limit; i++) {
                size_t size = strlen(entries[i]->d_name);

                if (topic_name_is_valid(entries[i]->d_name) &&
                    (!after || strncmp(entries[i]->d_name, after, size) >= 0))
                        list_topic(&task, entries[i]->d_name);
        }
        free_entries(entries, n);
        return (int) task.n;
}

/* Restoring */

static void check_free(void *data) {
        ArchiveCheck *c = data;

        if (!c)
                return;
        free(c->folder);
        free(c);
}

static void check_freep(ArchiveCheck **c) {
        check_free(*c);
}

static int check_work(void *data) {
        ArchiveCheck *c = data;
        int r;

        r = archive_note_read(&c->note, c->folder, c->name);
        return r < 0 ? r : archive_check(c->folder, &c->note);
}

static void archive_answer(Archive *a, int r) {
        a->callback(r, r < 0 ? NULL : &a->note.info, a->userdata);
}

static int error_of(int error) {
        return error == -EINVAL ? -EBADMSG : log_error(error);
}

static int archive_query(
                Archive *a,
                const MamPgStatement *statement,
                const char *const *parameters,
                size_t n,
                MamPgCallback callback) {
        a->query = mam_pg_query_free(a->query);
        return mam_pg_query(a->pg, &a->query, statement, parameters, n, callback, a);
}

static void on_ended(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        int64_t code = error == 0 ? mam_pg_int(result, 0, 0) : 0;

        if (error == -EINVAL)
                error = -EBADMSG;
        else if (error == 0 && code < 0)
                error = code == -1 ? -ENOENT : code == -2 ? -EEXIST : -ECANCELED;
        archive_answer(userdata, log_error(error));
}

static int archive_end(Archive *a) {
        char first[24], last[24];
        const char *parameters[] = { a->topic, a->relation, first, last };

        if (a->events != a->note.info.events)
                return -EBADMSG;

        (void) snprintf(first, sizeof(first), "%lld", (long long) a->note.info.first);
        (void) snprintf(last, sizeof(last), "%lld", (long long) a->note.info.last);
        return archive_query(a, &restore_end, parameters, MAM_ELEMENTSOF(parameters), on_ended);
}

static uint64_t count_lines(const char *lines, size_t size) {
        const char *end = lines + size, *at = lines;
        uint64_t n = 0;

        for (; (at = memchr(at, '\n', (size_t) (end - at))); at++)
                n++;
        return n;
}

static int archive_go_on(Archive *a, MamPgCallback on_lines) {
        _cleanup_(mam_freep) char *text = NULL;
        const char *parameters[2] = { a->relation }, *lines = NULL;
        size_t size = 0;
        int r;

        r = archive_reader_next(a->reader, &lines, &size);
        if (r < 0)
                return r;
        if (size == 0)
                return archive_end(a);
        if (memchr(lines, '\0', size))
                return -EBADMSG;

        text = strndup(lines, size); /* what is behind is the beginning of the next line */
        if (!text)
                return -ENOMEM;
        parameters[1] = text;
        a->events += count_lines(lines, size);
        return archive_query(a, &restore_lines, parameters, MAM_ELEMENTSOF(parameters), on_lines);
}

static void on_lines(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Archive *a = userdata;
        int r = error_of(error);

        if (r == 0 && mam_pg_is_null(result, 0, 0))
                r = -ECANCELED;
        if (r == 0)
                r = archive_go_on(a, on_lines);
        if (r < 0)
                archive_answer(a, r);
}

static void on_begun(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Archive *a = userdata;
        int r = log_error(error);

        if (r == 0) {
                a->relation = strdup(mam_pg_text(result, 0, 0));
                r = a->relation ? archive_go_on(a, on_lines) : -ENOMEM;
        }
        if (r < 0)
                archive_answer(a, r);
}

static void on_checked(int r, void *data, void *userdata) {
        ArchiveCheck *c = data;
        Archive *a = userdata;

        if (r >= 0) {
                a->note = c->note;
                a->note.info.topic = a->note.topic;
                a->note.info.file = a->note.file;
                a->note.info.sha256 = a->note.sha256;
                r = archive_reader_new(&a->reader, a->folder, &a->note);
        }
        if (r >= 0)
                r = archive_query(a, &restore_begin, NULL, 0, on_begun);
        if (r < 0)
                archive_answer(a, r);
}

static int archive_begin(Archive *a, const char *file) {
        _cleanup_(check_freep) ArchiveCheck *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->folder = strdup(a->folder);
        if (!c->folder)
                return -ENOMEM;
        (void) snprintf(c->name, sizeof(c->name), "%s", file);

        r = archive_job_start(&a->job, a->event, c, check_free, check_work, on_checked, a);
        if (r < 0)
                return r;

        (void) MAM_TAKE(c);
        return 0;
}

int archive_restore(
                Archive **ret,
                sd_event *event,
                MamPg *pg,
                const char *folder,
                const char *file,
                const char *topic,
                ArchiveCallback callback,
                void *userdata) {
        _cleanup_(archive_freep) Archive *a = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(pg);
        assert(folder);
        assert(file);
        assert(topic);
        assert(callback);

        if (!archive_name_is_valid(file) || !topic_name_is_valid(topic))
                return -ENOENT;

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->event = sd_event_ref(event);
        a->pg = pg;
        a->callback = callback;
        a->userdata = userdata;
        a->folder = strdup(folder);
        a->topic = strdup(topic);
        if (!a->folder || !a->topic)
                return -ENOMEM;

        r = archive_begin(a, file);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(a);
        return 0;
}

Archive *archive_free(Archive *a) {
        if (!a)
                return NULL;

        a->job = archive_job_free(a->job);
        a->query = mam_pg_query_free(a->query);
        a->reader = archive_reader_free(a->reader);
        sd_event_unref(a->event);
        free(a->relation);
        free(a->folder);
        free(a->topic);
        free(a);
        return NULL;
}
