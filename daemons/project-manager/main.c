/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-project-manager: projects and tasks
 *
 * Environment: MAM_POSTGRESQL (a libpq conninfo or DSN), MAM_POSTGRESQL_SCHEMA (default: "project_manager").
 * All state is in PostgreSQL: replicas are alike, and any of them may end at any time.
 */

#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/time.h"
#include "project-manager/api.h"

/* No statement of ours takes a tenth of it; also how long a request waits for a database that is restarting.
 */
#define STATEMENT_TIMEOUT_USEC (5 * MAM_USEC_PER_SEC)
#define PURGE_INTERVAL_USEC    (10 * 60 * MAM_USEC_PER_SEC)
#define PURGE_SPREAD_USEC      (60 * MAM_USEC_PER_SEC)

static const char *schema(void) {
        const char *name = getenv("MAM_POSTGRESQL_SCHEMA");

        return name && *name ? name : "project_manager";
}

static void on_pg_state(MamPg *pg, bool connected, const char *reason, void *userdata) {
        App *app = userdata;

        if (!connected && reason)
                mam_debug("PostgreSQL: %s", reason);
        app->away_usec = connected ? 0 : mam_now_monotonic();
        mam_service_set_not_ready(
                        app->service,
                        "postgresql",
                        connected ? NULL : "postgresql is not reachable");
}

static void on_purged(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        if (error < 0)
                mam_debug("Cannot forget old idempotency keys: %s", message ? message : "no reason given");
}

/* Every replica does this, whenever its time comes: it is cheap, and rows that another one is at are
 * skipped. */
static int on_purge_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        App *app = userdata;
        StoreCall call = { .pg = app->pg, .callback = on_purged, .userdata = app };
        int r;

        if (mam_pg_is_connected(app->pg))
                (void) store_purge(&call);
        r = sd_event_source_set_time_relative(source, PURGE_INTERVAL_USEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* Without an answer words with typos are not found, which is no reason not to serve. */
static void on_trigrams(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        App *app = userdata;
        int r;

        if (error == -ECANCELED)
                return; /* ending */
        app->has_trigrams = error >= 0 && *mam_pg_text(result, 0, 0) == 't';
        if (!app->has_trigrams)
                mam_info("Searches find no words with typos: %s",
                         error < 0 ? message
                                   : "the database lacks the extension pg_trgm in the schema \"extensions\"");
        r = mam_service_ready(app->service);
        if (r < 0)
                mam_service_fail(app->service, r, "Cannot serve");
}

static void on_migrated(int error, const char *message, void *userdata) {
        App *app = userdata;
        int r;

        if (error == -ECANCELED)
                return; /* ending */
        if (error < 0) {
                mam_log_full(LOG_ERR,
                             MAM_MESSAGE_DATABASE_MIGRATION_FAILED,
                             NULL,
                             "Cannot bring the schema \"%s\" up to date: %s",
                             schema(),
                             message ? message : "no reason given");
                mam_service_fail(app->service, error, "Cannot bring the database schema up to date");
                return;
        }
        mam_log_full(LOG_INFO,
                     MAM_MESSAGE_DATABASE_MIGRATED,
                     NULL,
                     "The schema \"%s\" is up to date",
                     schema());

        r = store_look_for_trigrams(&(StoreCall){ .pg = app->pg, .callback = on_trigrams, .userdata = app });
        if (r < 0)
                mam_service_fail(app->service, r, "Cannot look at the database");
}

static void teardown(void *userdata) {
        App *app = userdata;

        if (!app)
                return;
        sd_event_source_disable_unref(app->purge_timer);
        mam_pg_free(app->pg);
        free(app);
}

static void app_freep(App **app) {
        teardown(*app);
}

static int setup(MamService *s, void **ret) {
        const char *conninfo = getenv("MAM_POSTGRESQL");
        MamPgOptions options = { .schema = schema(), .statement_timeout_usec = STATEMENT_TIMEOUT_USEC };
        _cleanup_(app_freep) App *app = NULL;
        int r;

        if (!conninfo || !*conninfo) {
                mam_error("MAM_POSTGRESQL is not set: it says how to reach PostgreSQL");
                return -EDESTADDRREQ;
        }

        app = calloc(1, sizeof(*app));
        if (!app)
                return -ENOMEM;
        app->service = s;
        r = mam_pg_new(&app->pg, mam_service_event(s), conninfo, &options);
        if (r < 0)
                return mam_error_errno(r, "Cannot use MAM_POSTGRESQL");
        mam_pg_set_on_state(app->pg, on_pg_state, app);
        if (!mam_pg_is_connected(app->pg))
                mam_service_set_not_ready(s, "postgresql", "postgresql is not reachable yet");

        r = mam_pg_migrate(app->pg, schema(), store_migrations, store_n_migrations, on_migrated, app);
        if (r < 0)
                return mam_error_errno(r, "Cannot migrate the database schema");
        r = sd_event_add_time_relative(
                        mam_service_event(s),
                        &app->purge_timer,
                        CLOCK_MONOTONIC,
                        PURGE_INTERVAL_USEC,
                        PURGE_SPREAD_USEC,
                        on_purge_timer,
                        app);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(app);
        return 0;
}

#define PROJECTS "/api/v1/projects"
#define PROJECT  PROJECTS "/{project}"
#define TASKS    PROJECT "/tasks"
#define TASK     TASKS "/{task}"
#define IMPORT   PROJECT "/imports/{import}"

static const MamRoute routes[] = {
        { .method = "GET", .path = PROJECTS "/openapi.json", .handler = handle_openapi, .anonymous = true },
        { .method = "GET", .path = PROJECTS, .handler = handle_project_list },
        { .method = "POST", .path = PROJECTS, .handler = handle_project_create, .role = "editor" },
        { .method = "GET", .path = PROJECT, .handler = handle_project_get },
        { .method = "PATCH", .path = PROJECT, .handler = handle_project_patch, .role = "editor" },
        { .method = "DELETE", .path = PROJECT, .handler = handle_project_delete, .role = "editor" },
        { .method = "GET", .path = TASKS, .handler = handle_task_list },
        { .method = "POST", .path = TASKS, .handler = handle_task_create, .role = "editor" },
        { .method = "GET", .path = TASK, .handler = handle_task_get },
        { .method = "PATCH", .path = TASK, .handler = handle_task_patch, .role = "editor" },
        { .method = "DELETE", .path = TASK, .handler = handle_task_delete, .role = "editor" },
        { .method = "PUT", .path = IMPORT, .handler = handle_import_put, .role = "editor" },
        { .method = "GET", .path = IMPORT, .handler = handle_import_get },
        { .method = "DELETE", .path = IMPORT, .handler = handle_import_delete, .role = "editor" },
        { .method = "GET", .path = IMPORT "/rows", .handler = handle_import_rows },
        { 0 },
};

int main(int argc, char **argv) {
        static const MamServiceInfo info = {
                .id = "project-manager",
                .routes = routes,
                .setup = setup,
                .teardown = teardown,
        };

        return mam_service_run(argc, argv, &info);
}
