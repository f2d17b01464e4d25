/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics: what an administrator sets
 *
 * Each of these is one statement. The row of the answer is the topic as it is then, from which the cache is
 * refreshed. Settings that were not given get their values when the topic is made or changed, so that what
 * is read back is what applies.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"
#include "libmam/util/time.h"

#define RETENTION_DEFAULT       ((uint64_t) 7 * 24 * 3600 * MAM_USEC_PER_SEC)
#define BYTES_MAX_DEFAULT       ((uint64_t) 256 * 1024)
#define VOLATILE_EVENTS_DEFAULT 100000U
#define N_SETTINGS              9U

#define TOPIC_FROM " FROM topics t LEFT JOIN heads h ON h.topic = t.id "

const MamPgStatement topic_get_statement = {
        .name = "topic-get",
        .sql = "SELECT " TOPIC_COLUMNS TOPIC_FROM "WHERE t.name = $1::text",
        .idempotent = true,
};

static const MamPgStatement topic_list_statement = {
        .name = "topic-list",
        .sql = "SELECT " TOPIC_COLUMNS TOPIC_FROM "ORDER BY t.name COLLATE \"C\"",
        .idempotent = true,
};

/* The row does not exist yet for the statement that makes it. */
static const MamPgStatement topic_create_statement = {
        .name = "topic-create",
        .sql = "SELECT topic_create($1::text, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::boolean, $7::boolean, "
               "$8::text, $9::bigint, $10::bigint)",
};

static const MamPgStatement topic_change_statement = {
        .name = "topic-change",
        .sql = "SELECT topic_change($1::text, $11::bigint, $2::text, $3::bigint, $4::bigint, $5::bigint, $6::boolean, "
               "$7::boolean, $8::text, $9::bigint, $10::bigint)",
};

static const MamPgStatement topic_delete_statement = {
        .name = "topic-delete",
        .sql = "SELECT topic_delete($1::text)",
};

typedef struct TopicCall {
        LogCall call;
        LogTopicCallback callback;
        char *topic; /* owned; its name, or NULL */
        bool is_deletion, is_creation;
        Topic **topics; /* owned; of a list, weak ones that live as long as the log */
        size_t n, at;
        VolatileOp *op;  /* owned */
        bool is_listing; /* a list is being handed out */
        bool is_over;    /* and was freed meanwhile */
} TopicCall;

bool topic_name_is_valid(const char *name) {
        size_t size = strlen(name);

        if (size < 1 || size > 128)
                return false;
        for (size_t i = 0; i < size; i++) {
                char c = name[i];
                bool inner = c == '.' || c == '_' || c == '-';

                if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(inner && i > 0 && i + 1 < size))
                        return false;
        }

        return true;
}

/* Reading */

static const char *const kinds[] = { [TOPIC_DURABLE] = "durable", [TOPIC_VOLATILE] = "volatile" };
static const char *const modes[] = {
        [SCHEMA_NONE] = "none",
        [SCHEMA_CHECK] = "check",
        [SCHEMA_REQUIRE] = "require",
};

void topic_info_read(TopicInfo *ret, const MamPgResult *result, size_t row) {
        const char *mode = mam_pg_text(result, row, 8);
        int64_t retention = mam_pg_int(result, row, 3);
        TopicSettings *s = &ret->settings;

        *ret = (TopicInfo){
                .id = mam_pg_int(result, row, 0),
                .name = mam_pg_text(result, row, 1),
                .first = mam_pg_is_null(result, row, 12) ? 1 : mam_pg_int(result, row, 12),
                .last = mam_pg_int(result, row, 13),
                .version = mam_pg_int(result, row, 11),
        };
        s->kind = strcmp(mam_pg_text(result, row, 2), kinds[TOPIC_VOLATILE]) == 0 ? TOPIC_VOLATILE
                                                                                  : TOPIC_DURABLE;
        s->retention_usec = retention == INT64_MAX ? MAM_USEC_INFINITY : (uint64_t) retention;
        s->retention_bytes = (uint64_t) mam_pg_int(result, row, 4);
        s->retention_events = (uint64_t) mam_pg_int(result, row, 5);
        s->compact = mam_pg_int(result, row, 6) != 0;
        s->archive = mam_pg_int(result, row, 7) != 0;
        s->schema = strcmp(mode, modes[SCHEMA_REQUIRE]) == 0 ? SCHEMA_REQUIRE
                    : strcmp(mode, modes[SCHEMA_CHECK]) == 0 ? SCHEMA_CHECK
                                                             : SCHEMA_NONE;
        s->events_per_second = (uint64_t) mam_pg_int(result, row, 9);
        s->bytes_max = (uint64_t) mam_pg_int(result, row, 10);
}

/* Calls */

static void topic_call_destroy(LogCall *c) {
        TopicCall *k = (TopicCall *) c;

        if (k->is_listing) {
                k->is_over = true;
                return;
        }

        volatile_op_free(k->op);
        free(k->topics);
        free(k->topic);
        log_call_done(c);
        free(k);
}

static void topic_call_fail(LogCall *c, int error) {
        TopicCall *k = (TopicCall *) c;

        k->op = volatile_op_free(k->op);
        k->callback(error, NULL, c->userdata);
}

static int topic_call_new(
                TopicCall **ret,
                Log *l,
                LogCall **ret_call,
                const char *name,
                LogTopicCallback callback,
                void *userdata) {
        TopicCall *k = calloc(1, sizeof(*k));
        char *copy = name ? strdup(name) : NULL;

        if (!k || (name && !copy)) {
                free(k);
                free(copy);
                return -ENOMEM;
        }

        k->topic = copy;
        k->callback = callback;
        k->call.fail = topic_call_fail;
        k->call.destroy = topic_call_destroy;
        log_call_init(&k->call, l, ret_call, userdata);
        *ret = k;
        return 0;
}

/* Gives the handle out, or takes the call back. */
static int topic_call_begun(TopicCall *k, LogCall **ret, int r) {
        if (r < 0) {
                topic_call_destroy(&k->call);
                return r;
        }
        if (ret)
                *ret = &k->call;
        return 0;
}

static void topic_call_answer(TopicCall *k, const TopicInfo *info) {
        bool loose = log_call_detach(&k->call);

        k->callback(0, info, k->call.userdata);
        if (loose)
                log_call_destroy(&k->call);
}

/* Figures of a volatile topic; without Redis it looks empty. */

static void on_figures(
                int r,
                const LogEvent *events,
                size_t n,
                int64_t first,
                int64_t last,
                void *userdata) {
        TopicCall *k = userdata;
        Topic *t = log_topic_find(k->call.log, k->topic);

        if (r >= 0) {
                t->info.first = first;
                t->info.last = last;
        }
        topic_call_answer(k, &t->info);
}

static int ask_figures(TopicCall *k, const Topic *t, LogReadCallback callback) {
        static const LogRange range = { .backwards = true, .limit = 1, .bytes_max = 1 };

        k->op = volatile_op_free(k->op);
        return volatile_read(&k->op, k->call.log, t, &range, callback, k);
}

static void on_got(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        TopicCall *k = userdata;
        Log *l = k->call.log;
        Topic *t = NULL;
        TopicInfo info;
        int r = log_error(error);

        if (r == 0 && mam_pg_rows(result) == 0) {
                t = log_topic_find(l, k->topic);
                if (t)
                        log_topic_forget(t);
                r = -ENOENT;
        } else if (r == 0) {
                topic_info_read(&info, result, 0);
                r = log_topic_store(l, &info, &t);
        }
        if (r < 0 || !t) {
                log_call_fail(&k->call, r);
                return;
        }

        if (t->info.settings.kind == TOPIC_VOLATILE && ask_figures(k, t, on_figures) >= 0)
                return;
        topic_call_answer(k, &t->info);
}

static int topic_call_get(TopicCall *k) {
        const char *const parameters[] = { k->topic };

        k->call.query = mam_pg_query_free(k->call.query);
        return mam_pg_query(k->call.log->pg, &k->call.query, &topic_get_statement, parameters, 1, on_got, k);
}

int log_topic_get(Log *l, LogCall **ret, const char *name, LogTopicCallback callback, void *userdata) {
        TopicCall *k;
        int r;

        assert(l);
        assert(name);
        assert(callback);

        r = topic_call_new(&k, l, ret, name, callback, userdata);
        return r < 0 ? r : topic_call_begun(k, ret, topic_call_get(k));
}

/* Create, change, delete */

static void on_changed(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        TopicCall *k = userdata;
        Log *l = k->call.log;
        Topic *t = log_topic_find(l, k->topic);
        int64_t outcome = error == 0 ? mam_pg_int(result, 0, 0) : 0;
        int r = log_error(error);

        if (r == 0 && outcome <= 0)
                r = outcome == -1 ? -ESTALE : outcome == -2 ? -EINVAL : -ENOENT;
        if (r == 0 || r == -ENOENT) {
                if (t)
                        log_topic_forget(t);
        }
        if (r == 0 && l->hooks.on_topics_changed)
                l->hooks.on_topics_changed(l->hooks.userdata);
        if (r == 0 && k->is_deletion) {
                volatile_delete(l, outcome);
                topic_call_answer(k, NULL);
                return;
        }
        if (r == 0)
                r = topic_call_get(k);
        if (r < 0)
                log_call_fail(&k->call, r);
}

static uint64_t or_default(uint64_t value, uint64_t other) {
        return value > 0 ? value : other;
}

static int settings_write(
                char numbers[static 5][24],
                const char *parameters[static N_SETTINGS],
                const TopicSettings *s) {
        bool is_volatile = s->kind == TOPIC_VOLATILE;
        uint64_t values[5] = {
                or_default(s->retention_usec, RETENTION_DEFAULT),
                s->retention_bytes,
                is_volatile ? or_default(s->retention_events, VOLATILE_EVENTS_DEFAULT) : s->retention_events,
                s->events_per_second,
                or_default(s->bytes_max, BYTES_MAX_DEFAULT),
        };

        if (values[0] > INT64_MAX)
                values[0] = INT64_MAX;
        for (size_t i = 0; i < MAM_ELEMENTSOF(values); i++) {
                if (values[i] > INT64_MAX)
                        return -EINVAL;
                (void) snprintf(numbers[i], 24, "%" PRIu64, values[i]);
        }
        if (values[4] > (uint64_t) MAM_EVENT_SIZE_MAX || (is_volatile && (s->compact || s->archive)))
                return -EINVAL;

        parameters[0] = kinds[s->kind];
        parameters[1] = numbers[0];
        parameters[2] = numbers[1];
        parameters[3] = numbers[2];
        parameters[4] = s->compact ? "true" : "false";
        parameters[5] = s->archive ? "true" : "false";
        parameters[6] = modes[s->schema];
        parameters[7] = numbers[3];
        parameters[8] = numbers[4];
        return 0;
}

static int topic_set(
                Log *l,
                LogCall **ret,
                const char *name,
                const TopicSettings *s,
                const MamPgStatement *statement,
                int64_t version,
                LogTopicCallback callback,
                void *userdata) {
        const char *parameters[1 + N_SETTINGS + 1];
        char numbers[5][24], if_version[24];
        size_t n = 1 + N_SETTINGS;
        TopicCall *k;
        int r;

        if (!topic_name_is_valid(name))
                return -EINVAL;
        r = settings_write(numbers, parameters + 1, s);
        if (r < 0)
                return r;
        parameters[0] = name;
        if (statement == &topic_change_statement) {
                (void) snprintf(if_version, sizeof(if_version), "%" PRIi64, version);
                parameters[n++] = if_version;
        }

        r = topic_call_new(&k, l, ret, name, callback, userdata);
        if (r < 0)
                return r;
        r = mam_pg_query(l->pg, &k->call.query, statement, parameters, n, on_changed, k);
        return topic_call_begun(k, ret, r);
}

int log_topic_create(
                Log *l,
                LogCall **ret,
                const char *name,
                const TopicSettings *s,
                LogTopicCallback callback,
                void *userdata) {
        assert(l);
        assert(name);
        assert(s);
        assert(callback);

        return topic_set(l, ret, name, s, &topic_create_statement, 0, callback, userdata);
}

int log_topic_change(
                Log *l,
                LogCall **ret,
                const char *name,
                const TopicSettings *s,
                int64_t version,
                LogTopicCallback callback,
                void *userdata) {
        assert(l);
        assert(name);
        assert(s);
        assert(callback);

        return topic_set(l, ret, name, s, &topic_change_statement, version, callback, userdata);
}

int log_topic_delete(Log *l, LogCall **ret, const char *name, LogTopicCallback callback, void *userdata) {
        const char *const parameters[] = { name };
        TopicCall *k;
        int r;

        assert(l);
        assert(name);
        assert(callback);

        r = topic_call_new(&k, l, ret, name, callback, userdata);
        if (r < 0)
                return r;
        k->is_deletion = true;
        r = mam_pg_query(l->pg, &k->call.query, &topic_delete_statement, parameters, 1, on_changed, k);
        return topic_call_begun(k, ret, r);
}

/* List */

/* The callback may free the call. */
static void list_answer(TopicCall *k) {
        bool loose = log_call_detach(&k->call);

        k->is_listing = true;
        for (size_t i = 0; !k->is_over && i < k->n; i++)
                k->callback(0, &k->topics[i]->info, k->call.userdata);
        if (!k->is_over)
                k->callback(0, NULL, k->call.userdata);
        k->is_listing = false;

        if (loose || k->is_over)
                log_call_destroy(&k->call);
}

/* Of the volatile ones, one after the other; they come here with the answer about the one at k->at. */
static void on_list_figures(
                int r,
                const LogEvent *events,
                size_t n,
                int64_t first,
                int64_t last,
                void *userdata) {
        TopicCall *k = userdata;

        if (r >= 0 && k->topics && k->at < k->n) {
                k->topics[k->at]->info.first = first;
                k->topics[k->at]->info.last = last;
        }

        for (k->at++; k->at < k->n; k->at++) {
                Topic *t = k->topics ? k->topics[k->at] : NULL;

                if (t && t->info.settings.kind == TOPIC_VOLATILE && ask_figures(k, t, on_list_figures) >= 0)
                        return;
        }
        list_answer(k);
}

static void on_listed(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        TopicCall *k = userdata;
        int r = log_error(error);

        if (r == 0 && mam_pg_rows(result) > 0) {
                k->topics = calloc(mam_pg_rows(result), sizeof(Topic *));
                if (!k->topics)
                        r = -ENOMEM;
        }
        for (size_t i = 0; r == 0 && i < mam_pg_rows(result); i++) {
                TopicInfo info;

                topic_info_read(&info, result, i);
                r = log_topic_store(k->call.log, &info, k->topics + i);
                if (r == 0)
                        k->n = i + 1;
        }
        if (r < 0) {
                log_call_fail(&k->call, r);
                return;
        }

        k->at = SIZE_MAX; /* one before the first */
        on_list_figures(-ENODATA, NULL, 0, 0, 0, k);
}

int log_topic_list(Log *l, LogCall **ret, LogTopicCallback callback, void *userdata) {
        TopicCall *k;
        int r;

        assert(l);
        assert(callback);

        r = topic_call_new(&k, l, ret, NULL, callback, userdata);
        if (r < 0)
                return r;
        r = mam_pg_query(l->pg, &k->call.query, &topic_list_statement, NULL, 0, on_listed, k);
        return topic_call_begun(k, ret, r);
}
