/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-event-bus: topics, subscriptions and schemas over HTTP
 *
 * Environment: MAM_POSTGRESQL (a libpq conninfo or DSN), MAM_POSTGRESQL_SCHEMA (default: "event_bus"),
 * MAM_REDIS (where it is; optional), MAM_EVENTS_PUSH_ALLOW (networks that webhooks may be in although they
 * are not public, separated by spaces), MAM_EVENTS_PUSH_HTTP (1: plain http:// to these), MAM_EVENTS_ORIGIN
 * (how webhooks are asked for their consent), STATE_DIRECTORY (archives go below it). Credentials:
 * redis.password, mam.events.key.
 *
 * All state is in PostgreSQL, and of volatile topics in Redis: replicas are alike, and any may end at any
 * time. Without Redis the bus goes on: followers look for what is new by themselves, volatile topics are
 * away.
 */

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "event-bus/api.h"
#include "event-bus/migrations.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"

#define STATEMENT_TIMEOUT_USEC (10 * MAM_USEC_PER_SEC)
#define POOL_SIZE              4U
#define TICK_USEC              (MAM_USEC_PER_SEC)
#define TICKS_PER_METRICS      5U
#define TICKS_PER_PING         15U
#define REDIS_USER             "event-bus"
#define ALLOW_MAX              64U

static const char *schema(void) {
        const char *name = getenv("MAM_POSTGRESQL_SCHEMA");

        return name && *name ? name : "event_bus";
}

/* ---- what the rooms say to each other ---- */

static void on_appended(const char *topic, int64_t last, void *userdata) {
        App *app = userdata;

        if (app->tail)
                tail_appended(app->tail, topic, last);
}

static void on_topics_changed(void *userdata) {
        App *app = userdata;

        if (app->tail)
                tail_tell(app->tail, "topics");
}

static void on_schemas_changed(void *userdata) {
        App *app = userdata;

        if (app->tail)
                tail_tell(app->tail, "schemas");
}

/* "*": anything may have been said while nobody could hear it. */
static void on_told(const char *word, void *userdata) {
        bool all = strcmp(word, "*") == 0;
        App *app = userdata;

        if (all || strcmp(word, "topics") == 0)
                log_topics_changed(app->log);
        if (all || strcmp(word, "schemas") == 0)
                schema_registry_refresh(app->schemas);
        if (all || strcmp(word, "outbox") == 0)
                relay_wake(app->relay);
        if (strncmp(word, "subscription ", 13) == 0) {
                delivery_told(app->delivery, word + 13);
                api_stream_settled(app, word + 13, NULL, 0);
        } else if (all)
                delivery_told(app->delivery, NULL);
}

static void on_kept(Keep *k, const KeepNews *news, void *userdata) {
        if (news->error < 0)
                mam_warning("Keeping topic %s: %s",
                            news->topic ? news->topic : "(tables)",
                            news->message ? news->message : strerrordesc_np(-news->error));
        else if (news->work == KEEP_ARCHIVED || news->work == KEEP_DROPPED)
                mam_info("Topic %s: positions %" PRIi64 " to %" PRIi64 " were %s",
                         news->topic,
                         news->first,
                         news->last,
                         news->work == KEEP_ARCHIVED ? "archived" : "dropped");
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        App *app = userdata;
        ApiStream *s;
        int r;

        if (++app->ticks % TICKS_PER_METRICS == 0)
                bus_metrics_refresh(app);
        api_stream_settled(app, NULL, NULL, 0);
        if (app->ticks % TICKS_PER_PING == 0) {
                TAILQ_FOREACH(s, &app->streams, streams) {
                        if (s->ping)
                                s->ping(s);
                }
        }
        r = sd_event_source_set_time_relative(source, TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- start and end ---- */

/* Where archives go: a folder of the unit's state. */
static int find_archive(char **ret) {
        const char *state = getenv("STATE_DIRECTORY");
        _cleanup_(mam_freep) char *path = NULL;

        if (!state || !*state)
                return 0;
        if (asprintf(&path, "%.*s/archive", (int) strcspn(state, ":"), state) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
                return -errno;
        *ret = MAM_TAKE(path);
        return 0;
}

/* A connection of its own, or none. */
static int open_redis(App *app, MamRedis **ret) {
        const char *address = getenv("MAM_REDIS");
        MamRedisOptions options = { 0 };
        char *password = NULL;
        size_t size = 0;
        int r;

        if (!address || !*address)
                return 0;
        r = mam_credential_read("redis.password", &password, &size);
        if (r < 0 && r != -ENOENT)
                return mam_error_errno(r, "Cannot read the credential redis.password");
        options.user = password ? REDIS_USER : NULL;
        options.password = password;
        r = mam_redis_new(ret, mam_service_event(app->service), address, &options);
        mam_secret_free(password);
        return r < 0 ? mam_error_errno(r, "Cannot use MAM_REDIS") : 0;
}

/* Once the tables are as they should be. */
static int start_rooms(App *app) {
        sd_event *event = mam_service_event(app->service);
        const LogHooks hooks = {
                .on_appended = on_appended,
                .on_topics_changed = on_topics_changed,
                .userdata = app,
        };
        KeepOptions keep = { 0 };
        int r;

        r = find_archive(&app->archive);
        if (r < 0)
                return mam_error_errno(r, "Cannot make the folder of archives");
        keep.archive = app->archive;

        r = open_redis(app, &app->listen); /* fresh: it must not have connected before it listens */
        if (r < 0)
                return r;
        r = log_new(&app->log, event, app->pg, app->redis, &hooks);
        if (r >= 0)
                r = tail_new(&app->tail, event, app->log, MAM_TAKE(app->listen), app->redis);
        if (r >= 0)
                r = schema_registry_new(&app->schemas, event, app->pg, on_schemas_changed, app);
        if (r >= 0)
                r = delivery_new(&app->delivery, event, app->pg, app->log, app->tail);
        if (r >= 0)
                r = pusher_new(&app->pusher, event, app->delivery, &app->push_options);
        if (r >= 0)
                r = relay_new(&app->relay, event, app->pg, app->log, app->schemas);
        if (r >= 0)
                r = keep_new(&app->keep, event, app->pg, &keep, on_kept, app);
        if (r < 0)
                return r;
        tail_set_on_told(app->tail, on_told, app);
        return sd_event_add_time_relative(
                        event,
                        &app->tick,
                        CLOCK_MONOTONIC,
                        TICK_USEC,
                        MAM_USEC_PER_SEC,
                        on_tick,
                        app);
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
        r = start_rooms(app);
        if (r >= 0)
                r = mam_service_ready(app->service);
        if (r < 0)
                mam_service_fail(app->service, r, "Cannot serve");
}

static void teardown(void *userdata) {
        App *app = userdata;

        if (!app)
                return;
        sd_event_source_disable_unref(app->tick);
        (void) pusher_free(app->pusher);
        (void) relay_free(app->relay);
        (void) keep_free(app->keep);
        (void) delivery_free(app->delivery);
        (void) schema_registry_free(app->schemas);
        (void) tail_free(app->tail);
        (void) log_free(app->log);
        mam_redis_free(app->listen);
        mam_redis_free(app->redis);
        mam_pg_free(app->pg);
        quotas_free(app->quotas);
        push_key_wipe(&app->push_key);
        free(app->archive);
        free(app->allow_text);
        free(app->allow);
        free(app);
}

static void app_freep(App **app) {
        teardown(*app);
}

static int read_push_options(App *app) {
        const char *allow = getenv("MAM_EVENTS_PUSH_ALLOW"), *http = getenv("MAM_EVENTS_PUSH_HTTP");
        const char *origin = getenv("MAM_EVENTS_ORIGIN");
        char *key = NULL, *state = NULL;
        size_t size = 0, n = 0;
        int r;

        app->push_options.origin = origin && *origin ? origin : NULL;
        app->push_options.allow_http = http && strcmp(http, "1") == 0;
        app->allow_text = strdup(allow ? allow : "");
        app->allow = calloc(ALLOW_MAX + 1, sizeof(char *));
        if (!app->allow_text || !app->allow)
                return -ENOMEM;
        for (char *p = strtok_r(app->allow_text, " ,", &state); p && n < ALLOW_MAX;
             p = strtok_r(NULL, " ,", &state))
                app->allow[n++] = p;
        app->push_options.allow = app->allow;

        r = mam_credential_read(PUSH_KEY_CREDENTIAL, &key, &size);
        if (r == -ENOENT)
                return 0;
        if (r >= 0) {
                key[strcspn(key, "\r\n")] = '\0';
                r = push_key_parse(&app->push_key, key);
        }
        mam_secret_free(key);
        if (r < 0)
                return mam_error_errno(r, "Cannot use the credential " PUSH_KEY_CREDENTIAL);
        app->push_options.key = &app->push_key;
        return 0;
}

static int setup(MamService *s, void **ret) {
        const char *conninfo = getenv("MAM_POSTGRESQL");
        MamPgOptions options = {
                .size = POOL_SIZE,
                .schema = schema(),
                .statement_timeout_usec = STATEMENT_TIMEOUT_USEC,
        };
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
        TAILQ_INIT(&app->streams);
        r = quotas_new(&app->quotas);
        if (r >= 0)
                r = bus_metrics_init(&app->metrics, mam_service_metrics(s));
        if (r >= 0)
                r = open_redis(app, &app->redis);
        if (r >= 0)
                r = read_push_options(app);
        if (r < 0)
                return r;
        if (!app->redis)
                mam_notice("MAM_REDIS is not set: there are no volatile topics, and news come by asking");
        r = mam_pg_new(&app->pg, mam_service_event(s), conninfo, &options);
        if (r < 0)
                return mam_error_errno(r, "Cannot use MAM_POSTGRESQL");
        mam_pg_set_on_state(app->pg, on_pg_state, app);
        if (!mam_pg_is_connected(app->pg))
                mam_service_set_not_ready(s, "postgresql", "postgresql is not reachable yet");
        r =
                        mam_pg_migrate(app->pg,
                                       schema(),
                                       event_bus_migrations,
                                       event_bus_n_migrations,
                                       on_migrated,
                                       app);
        if (r < 0)
                return mam_error_errno(r, "Cannot migrate the database schema");
        *ret = MAM_TAKE(app);
        return 0;
}

#define TOPICS        "/v1/topics"
#define TOPIC         TOPICS "/{topic}"
#define STREAM        TOPIC "/streams/{stream}"
#define SUBSCRIPTIONS "/v1/subscriptions"
#define SUBSCRIPTION  SUBSCRIPTIONS "/{subscription}"
#define SCHEMAS       "/v1/schemas"
#define SCHEMA        SCHEMAS "/{subject}"

static const MamRoute routes[] = {
        { .method = "GET", .path = TOPICS, .handler = handle_topic_list },
        { .method = "GET", .path = TOPIC, .handler = handle_topic_get },
        { .method = "PUT", .path = TOPIC, .handler = handle_topic_put, .role = "admin" },
        { .method = "PATCH", .path = TOPIC, .handler = handle_topic_patch, .role = "admin" },
        { .method = "DELETE", .path = TOPIC, .handler = handle_topic_delete, .role = "admin" },
        { .method = "POST", .path = TOPIC "/events", .handler = handle_publish, .role = "publisher" },
        { .method = "GET", .path = TOPIC "/events", .handler = handle_read, .role = "subscriber" },
        { .method = "CONNECT", .path = TOPIC "/events", .handler = handle_read, .role = "subscriber" },
        { .method = "GET", .path = STREAM, .handler = handle_stream_read, .role = "subscriber" },
        { .method = "GET",
          .path = STREAM "/snapshot",
          .handler = handle_snapshot_get,
          .role = "subscriber" },
        { .method = "PUT", .path = STREAM "/snapshot", .handler = handle_snapshot_put, .role = "publisher" },
        { .method = "POST", .path = TOPIC "/restore", .handler = handle_archive_restore, .role = "admin" },
        { .method = "GET", .path = "/v1/archives", .handler = handle_archive_list, .role = "admin" },
        { .method = "POST", .path = "/v1/keep", .handler = handle_keep, .role = "admin" },
        { .method = "GET",
          .path = SUBSCRIPTIONS,
          .handler = handle_subscription_list,
          .role = "subscriber" },
        { .method = "GET", .path = SUBSCRIPTION, .handler = handle_subscription_get, .role = "subscriber" },
        { .method = "PUT", .path = SUBSCRIPTION, .handler = handle_subscription_put, .role = "subscriber" },
        { .method = "PATCH",
          .path = SUBSCRIPTION,
          .handler = handle_subscription_patch,
          .role = "subscriber" },
        { .method = "DELETE",
          .path = SUBSCRIPTION,
          .handler = handle_subscription_delete,
          .role = "subscriber" },
        { .method = "POST", .path = SUBSCRIPTION "/pull", .handler = handle_pull, .role = "subscriber" },
        { .method = "POST", .path = SUBSCRIPTION "/ack", .handler = handle_ack, .role = "subscriber" },
        { .method = "POST", .path = SUBSCRIPTION "/nack", .handler = handle_nack, .role = "subscriber" },
        { .method = "POST", .path = SUBSCRIPTION "/extend", .handler = handle_extend, .role = "subscriber" },
        { .method = "POST", .path = SUBSCRIPTION "/reject", .handler = handle_reject, .role = "subscriber" },
        { .method = "POST", .path = SUBSCRIPTION "/settle", .handler = handle_settle, .role = "subscriber" },
        { .method = "GET", .path = SUBSCRIPTION "/events", .handler = handle_consume, .role = "subscriber" },
        { .method = "CONNECT",
          .path = SUBSCRIPTION "/events",
          .handler = handle_consume,
          .role = "subscriber" },
        { .method = "POST",
          .path = SUBSCRIPTION "/seek",
          .handler = handle_subscription_seek,
          .role = "subscriber" },
        { .method = "GET", .path = SUBSCRIPTION "/dead", .handler = handle_dead_list, .role = "subscriber" },
        { .method = "POST",
          .path = SUBSCRIPTION "/redrive",
          .handler = handle_redrive,
          .role = "subscriber" },
        { .method = "GET", .path = SCHEMAS, .handler = handle_schema_list },
        { .method = "GET", .path = SCHEMA, .handler = handle_schema_get },
        { .method = "PUT", .path = SCHEMA, .handler = handle_schema_put, .role = "admin" },
        { .method = "PATCH", .path = SCHEMA, .handler = handle_schema_patch, .role = "admin" },
        { .method = "GET", .path = SCHEMA "/versions/{version}", .handler = handle_schema_version },
        { .method = "POST", .path = SCHEMA "/check", .handler = handle_schema_check },
        { .method = "GET", .path = "/asyncapi.json", .handler = handle_asyncapi, .anonymous = true },
        { 0 },
};

int main(int argc, char **argv) {
        static const MamServiceInfo info = {
                .id = "event-bus",
                .routes = routes,
                .h2c = true,
                .setup = setup,
                .teardown = teardown,
        };

        return mam_service_run(argc, argv, &info);
}
