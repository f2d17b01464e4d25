/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The log's life, its calls, and the cache of topics
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"

/* All who wait for one name are started in the order they came, so that appends keep it. */
struct LogLookup {
        Log *log; /* weak */
        LIST_ENTRY(LogLookup) lookups;
        char *name;        /* owned */
        MamPgQuery *query; /* owned */
        LogCalls calls;    /* weak; not in the log's list meanwhile */
};

int log_error(int error) {
        return error == -ECONNRESET ? -ENOTCONN : error;
}

/* Calls */

static void call_move(LogCall *c, LogCalls *list) {
        if (c->list)
                TAILQ_REMOVE(c->list, c, entry);
        c->list = list;
        if (list)
                TAILQ_INSERT_TAIL(list, c, entry);
}

void log_call_init(LogCall *c, Log *l, LogCall **ret, void *userdata) {
        assert(c);
        assert(l);

        c->log = l;
        c->is_loose = !ret;
        c->userdata = userdata;
        call_move(c, &l->calls);
}

void log_call_done(LogCall *c) {
        call_move(c, NULL);
        c->log = NULL;
        c->query = mam_pg_query_free(c->query);
        free(MAM_TAKE(c->name));
}

bool log_call_detach(LogCall *c) {
        assert(c->log);

        call_move(c, NULL);
        c->log = NULL;
        c->query = mam_pg_query_free(c->query);
        return c->is_loose;
}

void log_call_destroy(LogCall *c) {
        if (c->destroy) {
                c->destroy(c);
        } else {
                log_call_done(c);
                free(c);
        }
}

void log_call_fail(LogCall *c, int error) {
        bool loose = log_call_detach(c);

        c->fail(c, error);
        if (loose)
                log_call_destroy(c);
}

LogCall *log_call_free(LogCall *c) {
        if (c)
                log_call_destroy(c);
        return NULL;
}

/* Topics */

static LogTopics *topic_bucket(Log *l, const char *name) {
        uint32_t hash = 2166136261U;

        for (; *name; name++)
                hash = (hash ^ (uint8_t) *name) * 16777619U;
        return l->topics + hash % LOG_BUCKETS;
}

Topic *log_topic_find(Log *l, const char *name) {
        Topic *t;

        LIST_FOREACH(t, topic_bucket(l, name), topics) {
                if (strcmp(t->info.name, name) == 0)
                        return t;
        }

        return NULL;
}

int log_topic_store(Log *l, const TopicInfo *info, Topic **ret) {
        Topic *t = log_topic_find(l, info->name);
        const char *name;

        if (!t) {
                t = calloc(1, sizeof(*t));
                name = strdup(info->name);
                if (!t || !name) {
                        free(t);
                        free((char *) name);
                        return -ENOMEM;
                }
                t->log = l;
                t->info.name = name;
                TAILQ_INIT(&t->batches);
                LIST_INSERT_HEAD(topic_bucket(l, name), t, topics);
        }

        name = t->info.name;
        t->info = *info;
        t->info.name = name;
        t->is_known = true;
        if (ret)
                *ret = t;
        return 0;
}

void log_topic_forget(Topic *t) {
        t->is_known = false;
}

void log_topics_changed(Log *l) {
        Topic *t;

        assert(l);

        for (size_t i = 0; i < LOG_BUCKETS; i++) {
                LIST_FOREACH(t, l->topics + i, topics)
                        log_topic_forget(t);
        }
}

const TopicInfo *log_topic_cached(Log *l, const char *name) {
        Topic *t = log_topic_find(l, name);

        return t && t->is_known ? &t->info : NULL;
}

/* Lookups */

static LogLookup *lookup_free(LogLookup *k) {
        if (!k)
                return NULL;

        mam_pg_query_free(k->query);
        free(k->name);
        free(k);
        return NULL;
}

static void on_looked_up(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        LogLookup *k = userdata;
        Log *l = k->log;
        Topic *t = NULL;
        TopicInfo info;
        LogCall *c;
        int r = log_error(error);

        LIST_REMOVE(k, lookups);
        if (r == 0 && mam_pg_rows(result) == 0) {
                t = log_topic_find(l, k->name);
                if (t)
                        log_topic_forget(t);
                r = -ENOENT;
        } else if (r == 0) {
                topic_info_read(&info, result, 0);
                r = log_topic_store(l, &info, &t);
        }

        while ((c = TAILQ_FIRST(&k->calls))) {
                int s;

                c->was_fresh = true;
                call_move(c, &l->calls);
                s = r < 0 ? r : c->start(c, t);
                if (s < 0)
                        log_call_fail(c, s);
        }
        (void) lookup_free(k);
}

static int lookup_new(LogLookup **ret, Log *l, const char *name) {
        const char *const parameters[] = { name };
        LogLookup *k = calloc(1, sizeof(*k));
        int r;

        if (!k)
                return -ENOMEM;

        k->log = l;
        TAILQ_INIT(&k->calls);
        k->name = strdup(name);
        r = k->name ? mam_pg_query(l->pg, &k->query, &topic_get_statement, parameters, 1, on_looked_up, k)
                    : -ENOMEM;
        if (r < 0) {
                lookup_free(k);
                return r;
        }

        LIST_INSERT_HEAD(&l->lookups, k, lookups);
        *ret = k;
        return 0;
}

static int call_look_up(LogCall *c) {
        LogLookup *k;
        int r;

        LIST_FOREACH(k, &c->log->lookups, lookups) {
                if (strcmp(k->name, c->name) == 0)
                        break;
        }
        if (!k) {
                r = lookup_new(&k, c->log, c->name);
                if (r < 0)
                        return r;
        }

        call_move(c, &k->calls);
        return 0;
}

int log_call_find(LogCall *c, const char *name) {
        Topic *t;

        assert(c->log);

        if (!topic_name_is_valid(name))
                return -ENOENT;
        if (!c->name)
                c->name = strdup(name);
        if (!c->name)
                return -ENOMEM;

        t = log_topic_find(c->log, name);
        if (t && t->is_known)
                return c->start(c, t);
        return call_look_up(c);
}

void log_call_missing(LogCall *c, Topic *t) {
        int r = -ENOENT;

        log_topic_forget(t);
        c->query = mam_pg_query_free(c->query);
        if (!c->was_fresh)
                r = call_look_up(c);
        if (r < 0)
                log_call_fail(c, r);
}

/* Life */

int log_new(Log **ret, sd_event *event, MamPg *pg, MamRedis *redis, const LogHooks *hooks) {
        Log *l;
        int r;

        assert(ret);
        assert(event);
        assert(pg);

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;

        l->event = sd_event_ref(event);
        l->pg = pg;
        l->redis = redis;
        if (hooks)
                l->hooks = *hooks;
        TAILQ_INIT(&l->calls);
        TAILQ_INIT(&l->dirty);

        r = sd_event_add_defer(event, &l->defer, append_on_defer, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->defer, SD_EVENT_OFF);
        if (r < 0) {
                log_free(l);
                return r;
        }

        *ret = l;
        return 0;
}

Log *log_free(Log *l) {
        LogLookup *k;
        LogCall *c;
        Topic *t;

        if (!l)
                return NULL;

        l->defer = sd_event_source_disable_unref(l->defer);
        while ((k = LIST_FIRST(&l->lookups))) {
                LIST_REMOVE(k, lookups);
                while ((c = TAILQ_FIRST(&k->calls)))
                        log_call_fail(c, -ECANCELED);
                lookup_free(k);
        }
        while ((c = TAILQ_FIRST(&l->calls)))
                log_call_fail(c, -ECANCELED);

        for (size_t i = 0; i < LOG_BUCKETS; i++) {
                while ((t = LIST_FIRST(l->topics + i))) {
                        LIST_REMOVE(t, topics);
                        append_topic_done(t);
                        free((char *) t->info.name);
                        free(t);
                }
        }

        sd_event_unref(l->event);
        free(l);
        return NULL;
}
