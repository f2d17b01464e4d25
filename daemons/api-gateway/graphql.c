/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/graphql.h"

#include <assert.h>
#include <dirent.h>
#include <string.h>
#include <sys/inotify.h>

#include "api-gateway/graphql-internal.h"
#include "libmam/obs/log.h"
#include "libmam/util/file.h"

#include "mam-build.h"

#define SUFFIX ".graphql"

typedef struct Files {
        GqlSource sources[GRAPHQL_FILES_MAX];
        size_t n;
} Files;

static void file_free(GqlSource *s) {
        free((char *) s->name);
        free((char *) s->text);
}

static void files_done(Files *f) {
        for (size_t i = 0; i < f->n; i++)
                file_free(&f->sources[i]);
        f->n = 0;
}

static bool is_schema_name(const char *name) {
        size_t size = strlen(name), suffix = strlen(SUFFIX);

        return name[0] != '.' && size > suffix && strcmp(name + size - suffix, SUFFIX) == 0;
}

static int is_schema(const struct dirent *e) {
        return is_schema_name(e->d_name);
}

static void read_file(Files *f, const char *folder, const char *name) {
        GqlSource s = { 0 };
        char *path = NULL, *text = NULL;
        int r;

        if (f->n >= GRAPHQL_FILES_MAX)
                return;
        if (asprintf(&path, "%s/%s", folder, name) < 0)
                return;
        r = mam_file_read(&text, &s.size, path, GQL_SCHEMA_SIZE_MAX);
        if (r < 0) {
                mam_warning("Cannot read '%s': %s", path, strerror(-r));
                free(path);
                return;
        }
        s.name = path;
        s.text = text;
        f->sources[f->n++] = s;
}

/* In the order of their names. A folder that is not there has no files. */
static void read_folder(Files *f, const char *folder) {
        struct dirent **entries = NULL;
        int n;

        n = scandir(folder, &entries, is_schema, alphasort);
        for (int i = 0; i < n; i++) {
                read_file(f, folder, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
}

/* Makes a schema of the files; those that are wrong are left out if may_leave_out. NULL: there is none, or
 * something is wrong. */
static int make_schema(GqlSchema **ret, Files *f, bool may_leave_out) {
        char message[512];
        size_t bad = 0;
        int r;

        for (;;) {
                r = gql_schema_new(ret, f->sources, f->n, message, &bad);
                if (r == -ENODATA)
                        return 0;
                if (r != -EBADMSG)
                        return r;
                mam_warning("GraphQL schema: %s%s", message, may_leave_out ? "; the file is not used" : "");
                if (!may_leave_out || bad >= f->n)
                        return r;
                file_free(&f->sources[bad]);
                f->n--;
                memmove(&f->sources[bad], &f->sources[bad + 1], (f->n - bad) * sizeof(f->sources[0]));
        }
}

/* At the start what is wrong is left out; later what was there stands until all is right. */
static void load(Graphql *q) {
        _cleanup_(gql_schema_unrefp) GqlSchema *s = NULL;
        _cleanup_(mam_freep) Files *f = calloc(1, sizeof(*f));
        int r;

        if (!f)
                return;
        for (size_t i = 0; i < MAM_ELEMENTSOF(q->folders) && q->folders[i]; i++)
                read_folder(f, q->folders[i]);
        r = make_schema(&s, f, !q->schema);
        files_done(f);
        if (r < 0) {
                if (r != -EBADMSG)
                        mam_warning("Cannot make the GraphQL schema: %s", strerror(-r));
                return;
        }
        gql_schema_unref(q->schema);
        q->schema = MAM_TAKE(s);
}

static int on_change(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        Graphql *q = userdata;

        if (event->len > 0 && !is_schema_name(event->name))
                return 0;
        load(q);
        return 0;
}

static int watch(Graphql *q, size_t i) {
        int r;

        r = sd_event_add_inotify(
                        q->event,
                        &q->watch[i],
                        q->folders[i],
                        IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR,
                        on_change,
                        q);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* not there, or not to be watched: as it is */
        (void) sd_event_source_set_description(q->watch[i], "graphql-schema");
        return 0;
}

static int set_folders(Graphql *q, const char *const *folders) {
        const char *config = getenv("MAM_CONFIG_DIR");
        size_t n = 0;

        if (!folders) {
                q->folders[0] = strdup(MAM_DATA_DIR "/graphql");
                if (asprintf(&q->folders[1], "%s/graphql.d", config ?: MAM_CONFIG_DIR) < 0)
                        q->folders[1] = NULL;
                return q->folders[0] && q->folders[1] ? 0 : -ENOMEM;
        }
        for (; folders[n] && n + 1 < MAM_ELEMENTSOF(q->folders); n++) {
                q->folders[n] = strdup(folders[n]);
                if (!q->folders[n])
                        return -ENOMEM;
        }
        return 0;
}

static int add_metrics(Graphql *q, MamMetrics *metrics) {
        MamMetricFamily *requests;
        int r;

        r = mam_metrics_add(
                        metrics,
                        &q->metric_operations,
                        MAM_METRIC_COUNTER,
                        "mam_gateway_graphql_operations_total",
                        "GraphQL operations; outcome: ok, errors, refused (not begun), timeout.",
                        (const char *[]){ "kind", "outcome", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(metrics,
                                        &requests,
                                        MAM_METRIC_COUNTER,
                                        "mam_gateway_graphql_requests_total",
                                        "Requests to services that GraphQL operations needed.",
                                        NULL);
        if (r < 0)
                return r;
        q->metric_requests = mam_metric_get(requests, NULL);
        return 0;
}

int graphql_new(Graphql **ret,
                Gateway *g,
                sd_event *event,
                MamMetrics *metrics,
                const char *const *folders) {
        _cleanup_(graphql_freep) Graphql *q = NULL;
        int r;

        assert(ret);
        assert(g);

        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->gateway = g;
        q->event = sd_event_ref(event);
        r = set_folders(q, folders);
        if (r < 0)
                return r;
        r = add_metrics(q, metrics);
        if (r < 0)
                return r;
        for (size_t i = 0; i < MAM_ELEMENTSOF(q->folders) && q->folders[i]; i++) {
                r = watch(q, i);
                if (r < 0)
                        return r;
        }
        load(q);
        *ret = MAM_TAKE(q);
        return 0;
}

Graphql *graphql_free(Graphql *q) {
        if (!q)
                return NULL;

        for (size_t i = 0; i < MAM_ELEMENTSOF(q->folders); i++) {
                sd_event_source_disable_unref(q->watch[i]);
                free(q->folders[i]);
        }
        gql_schema_unref(q->schema);
        sd_event_unref(q->event);
        free(q);
        return NULL;
}

void graphql_configure(Graphql *q, const MamGatewayGraphqlConfig *c) {
        assert(q);
        assert(c);

        q->config = *c;
}
