/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Keeping: GET /v1/archives, POST /v1/topics/{topic}/restore, POST /v1/keep
 */

#include <inttypes.h>
#include <string.h>

#include "event-bus/api.h"

typedef struct List {
        MamBuffer b;
        unsigned n;
        int r;
        char last[2 * API_NAME_MAX];
} List;

static void on_listed(int r, const ArchiveInfo *info, void *userdata) {
        List *l = userdata;

        if (r < 0 || !info || l->r < 0)
                return;
        l->r = mam_buffer_appendf(
                        &l->b,
                        "%s{\"name\":\"%s\",\"topic\":\"%s\",\"first\":%" PRIi64 ",\"last\":%" PRIi64
                        ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"sha256\":\"%s\",\"from\":",
                        l->n > 0 ? "," : "",
                        info->file,
                        info->topic,
                        info->first,
                        info->last,
                        info->events,
                        info->bytes,
                        info->sha256);
        if (l->r >= 0)
                l->r = api_append_time(&l->b, info->recorded_first_usec);
        if (l->r >= 0)
                l->r = mam_buffer_append_string(&l->b, ",\"to\":");
        if (l->r >= 0)
                l->r = api_append_time(&l->b, info->recorded_last_usec);
        if (l->r >= 0)
                l->r = mam_buffer_append(&l->b, "}", 1);
        (void) snprintf(l->last, sizeof(l->last), "%s", info->file);
        l->n++;
}

int handle_archive_list(MamHttpExchange *x, void *userdata) {
        char topic[API_NAME_MAX + 1], after[2 * API_NAME_MAX];
        uint64_t limit = 100;
        List l = { 0 };
        ApiRequest *q;
        int r, has_topic, has_after;

        r = api_begin(&q, x, userdata, NULL);
        if (r <= 0)
                return r;
        has_topic = api_query(q, "topic", topic, sizeof(topic));
        has_after = has_topic < 0 ? -EINVAL : api_query(q, "after", after, sizeof(after));
        if (has_after < 0 || !api_query_number(q, "limit", 1, API_PAGE_MAX, &limit))
                return 0;
        if (has_topic > 0 && !topic_name_is_valid(topic))
                return api_problem_errno(q, -ENOENT, "topic");
        l.r = mam_buffer_append_string(&l.b, "{\"archives\":[");
        if (q->app->archive) {
                r =
                                archive_list(q->app->archive,
                                             has_topic > 0 ? topic : NULL,
                                             has_after > 0 ? after : NULL,
                                             limit,
                                             on_listed,
                                             &l);
                if (r < 0 && r != -ENOENT)
                        l.r = r;
        }
        if (l.r >= 0)
                l.r = l.n == limit ? mam_buffer_appendf(&l.b, "],\"next\":\"%s\"}", l.last)
                                   : mam_buffer_append_string(&l.b, "],\"next\":null}");
        r = l.r < 0 ? l.r : api_answer(q, 200, "application/json", &l.b);
        mam_buffer_done(&l.b);
        return r;
}

/* ---- restoring ---- */

typedef struct Restore {
        Archive *archive; /* owned */
} Restore;

static void restore_done(void *more) {
        (void) archive_free(((Restore *) more)->archive);
}

static void on_restored(int r, const ArchiveInfo *info, void *userdata) {
        ApiRequest *q = userdata;
        char body[160];

        switch (r) {
        case 0:
                log_topics_changed(q->app->log);
                (void) snprintf(body,
                                sizeof(body),
                                "{\"events\":%" PRIu64 ",\"first\":%" PRIi64 ",\"last\":%" PRIi64 "}",
                                info->events,
                                info->first,
                                info->last);
                r = mam_http_exchange_respond(q->x, 200, "application/json", body, strlen(body));
                break;
        case -EBADMSG:
                r = api_problem(q, 422, "The archive is damaged: it is not what its description says");
                break;
        case -EEXIST:
                r = api_problem(q,
                                409,
                                "The topic has events at or behind these positions: restore into a new topic, and "
                                "archives in the order of their positions");
                break;
        default:
                r = api_problem_errno(q, r, "topic or archive");
                break;
        }
        api_answered(q, r);
}

static int restore_body(ApiRequest *q) {
        static const char *const known[] = { "archive", NULL };
        const char *name = NULL;
        MamJsonError error;
        void *more;
        int r;

        r = api_json_known(q->body, "", known, &error);
        if (r >= 0)
                r = mam_json_get_string(q->body, "", "archive", &name, &error);
        if (r == 0)
                r = mam_json_fail(&error, "", "archive", "is required: the name of an archive");
        if (r < 0)
                return api_problem_json(q, 422, &error, "It is not clear what is to be restored");
        if (!q->app->archive)
                return api_problem_errno(q, -ENOENT, "archive");
        r = api_more(q, &more, sizeof(Restore), restore_done);
        if (r < 0)
                return r;
        r =
                        archive_restore(&((Restore *) more)->archive,
                                        mam_service_event(q->app->service),
                                        q->app->pg,
                                        q->app->archive,
                                        name,
                                        q->name,
                                        on_restored,
                                        q);
        return api_started(q, r, "archive");
}

int handle_archive_restore(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, "topic");
        if (r <= 0)
                return r;
        return api_read_json(q, restore_body);
}

/* Does what keeping asks for soon, rather than when its time comes. */
int handle_keep(MamHttpExchange *x, void *userdata) {
        ApiRequest *q;
        int r;

        r = api_begin(&q, x, userdata, NULL);
        if (r <= 0)
                return r;
        keep_now(q->app->keep, NULL, NULL);
        return api_answer_empty(q, 202);
}
