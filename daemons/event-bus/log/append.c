/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Appending: what arrives while a commit is under way goes with the next one
 *
 * A topic has a queue of batches, of which the first may be under way; requests join the last one. Nothing
 * waits for a timer: a batch is sent at the end of the turn of the event loop in which it came, or with the
 * answer to the one before it. One is under way at a time, as the database would only let a second one wait
 * for the topic's head.
 *
 * A batch is a transaction of its own (BEGIN, append, COMMIT): mam_pg lets plain statements that leave
 * together share a transaction, and two of these could then wait for each other's heads.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"

typedef TAILQ_HEAD(AppendCalls, AppendCall) AppendCalls;

struct AppendBatch {
        TAILQ_ENTRY(AppendBatch) batches;
        LogBatch *batch;   /* owned */
        AppendCalls calls; /* weak; in the order of requests, without those that were cancelled */
        size_t bytes;      /* counted in the log's waiting_bytes */
        bool was_missing;  /* its topic was looked up anew already */
};

typedef struct AppendCall {
        LogCall call;
        LogAppendCallback callback;
        AppendBatch *in; /* weak */
        TAILQ_ENTRY(AppendCall) entry;
        size_t request;   /* in the batch */
        LogEntry *copies; /* owned, one block; while the topic is looked up */
        const LogEntry *entries;
        size_t n, bytes;
        Log *counted;   /* weak; where bytes are counted, or NULL */
        VolatileOp *op; /* owned */
} AppendCall;

/* The missing topic of a batch under way. */
typedef struct FindCall {
        LogCall call;
        Topic *topic; /* weak; lives as long as the log */
} FindCall;

static void topic_send(Topic *t);

/* Calls */

static void append_call_uncount(AppendCall *a) {
        if (a->counted)
                a->counted->waiting_bytes -= a->bytes;
        a->counted = NULL;
        free(MAM_TAKE(a->copies));
}

static void append_call_destroy(LogCall *c) {
        AppendCall *a = (AppendCall *) c;

        if (a->in)
                TAILQ_REMOVE(&a->in->calls, a, entry);
        append_call_uncount(a);
        volatile_op_free(a->op);
        log_call_done(c);
        free(a);
}

static void append_call_fail(LogCall *c, int error) {
        AppendCall *a = (AppendCall *) c;

        if (a->in)
                TAILQ_REMOVE(&a->in->calls, a, entry);
        a->in = NULL;
        a->op = volatile_op_free(a->op);
        append_call_uncount(a);
        a->callback(error, 0, NULL, 0, c->userdata);
}

static void append_call_answer(AppendCall *a, int r, size_t at, const LogAppended *appended, size_t n) {
        bool loose = log_call_detach(&a->call);

        if (a->in)
                TAILQ_REMOVE(&a->in->calls, a, entry);
        a->in = NULL;
        a->callback(r, at, appended, n, a->call.userdata);
        if (loose)
                log_call_destroy(&a->call);
}

/* Batches */

static AppendBatch *append_batch_free(AppendBatch *b) {
        if (!b)
                return NULL;

        assert(TAILQ_EMPTY(&b->calls));
        log_batch_free(b->batch);
        free(b);
        return NULL;
}
MAM_DEFINE_CLEANUP(AppendBatch, append_batch_free);

static int topic_add_batch(Topic *t, AppendBatch **ret) {
        _cleanup_(append_batch_freep) AppendBatch *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        TAILQ_INIT(&b->calls);
        r = log_batch_new(&b->batch);
        if (r < 0)
                return r;

        TAILQ_INSERT_TAIL(&t->batches, b, batches);
        *ret = MAM_TAKE(b);
        return 0;
}

static AppendBatch *topic_take_first(Topic *t) {
        AppendBatch *b = TAILQ_FIRST(&t->batches);

        TAILQ_REMOVE(&t->batches, b, batches);
        t->log->waiting_bytes -= b->bytes;
        b->bytes = 0;
        return b;
}

static void topic_fail_first(Topic *t, int error) {
        AppendBatch *b = topic_take_first(t);
        AppendCall *a;

        while ((a = TAILQ_FIRST(&b->calls)))
                append_call_answer(a, error, 0, NULL, 0);
        append_batch_free(b);
}

/* All that waits now, not what callbacks add. */
static void topic_fail_all(Topic *t, int error) {
        AppendBatch *last = TAILQ_LAST(&t->batches, AppendBatches);
        bool more = last;

        while (more) {
                more = TAILQ_FIRST(&t->batches) != last;
                topic_fail_first(t, error);
        }
}

static int on_found(LogCall *c, Topic *t) {
        bool loose = log_call_detach(c);

        t->is_waiting = false;
        topic_send(t);
        if (loose)
                log_call_destroy(c);
        return 0;
}

static void on_not_found(LogCall *c, int error) {
        Topic *t = ((FindCall *) c)->topic;

        t->is_waiting = false;
        topic_fail_all(t, error);
}

static void topic_find_again(Topic *t) {
        FindCall *f = calloc(1, sizeof(*f));
        int r;

        log_topic_forget(t);
        t->is_waiting = true;
        if (!f) {
                t->is_waiting = false;
                topic_fail_all(t, -ENOMEM);
                return;
        }

        f->topic = t;
        f->call.start = on_found;
        f->call.fail = on_not_found;
        log_call_init(&f->call, t->log, NULL, NULL);
        r = log_call_find(&f->call, t->info.name);
        if (r < 0)
                log_call_fail(&f->call, r);
}

/* Its requests are answered; b is no longer in the queue. */
static void batch_answer(Topic *t, AppendBatch *b) {
        Log *l = t->log;
        int64_t last = log_batch_last(b->batch);
        const LogAppended *appended;
        size_t n, at;
        AppendCall *a;

        if (log_batch_settings(b->batch) != t->info.version)
                log_topic_forget(t);
        if (last > 0) {
                t->info.last = last;
                if (l->hooks.on_appended)
                        l->hooks.on_appended(t->info.name, last, l->hooks.userdata);
        }

        while ((a = TAILQ_FIRST(&b->calls))) {
                int r = log_batch_outcome(b->batch, a->request, &appended, &n, &at);

                append_call_answer(a, r, at, appended, n);
        }
        append_batch_free(b);
}

static void on_committed(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Topic *t = userdata;
        AppendBatch *b = TAILQ_FIRST(&t->batches);
        int r = log_error(error);

        t->query = mam_pg_query_free(t->query);
        if (r == 0)
                r = log_batch_read(b->batch, result);

        if (r == -ENOENT && error == 0 && !b->was_missing) {
                b->was_missing = true;
                topic_find_again(t);
        } else if (r == -ENOTCONN) {
                topic_fail_all(t, r); /* each would wait as long in vain */
                topic_send(t);
        } else if (r < 0) {
                topic_fail_first(t, r);
                topic_send(t);
        } else {
                (void) topic_take_first(t);
                topic_send(t); /* before the callbacks: the database need not wait for them */
                batch_answer(t, b);
        }
}

static void topic_send(Topic *t) {
        AppendBatch *b;
        int r = 0;

        while (!t->query && !t->is_waiting && (b = TAILQ_FIRST(&t->batches))) {
                const char *const *parameters = log_batch_parameters(b->batch, t->info.id);
                MamPgStep step = { &log_append_statement, parameters, LOG_BATCH_PARAMETERS };

                r = parameters ? mam_pg_run(t->log->pg, &t->query, &step, 1, on_committed, t) : -ENOMEM;
                if (r >= 0)
                        return;
                topic_fail_first(t, r);
        }
}

int append_on_defer(sd_event_source *s, void *userdata) {
        Log *l = userdata;
        Topic *t;

        while ((t = TAILQ_FIRST(&l->dirty))) {
                TAILQ_REMOVE(&l->dirty, t, dirty);
                t->is_dirty = false;
                topic_send(t);
        }

        return 0;
}

void append_topic_done(Topic *t) {
        AppendBatch *b;

        t->query = mam_pg_query_free(t->query);
        while ((b = TAILQ_FIRST(&t->batches))) {
                TAILQ_REMOVE(&t->batches, b, batches);
                append_batch_free(b);
        }
}

/* Requests */

static int entries_fit(const TopicInfo *info, const LogEntry *entries, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (entries[i].size > info->settings.bytes_max)
                        return -EFBIG;
                if (entries[i].stream && info->settings.kind == TOPIC_VOLATILE)
                        return -EOPNOTSUPP;
        }

        return 0;
}

static void on_volatile(int r, size_t at, const LogAppended *appended, size_t n, void *userdata) {
        AppendCall *a = userdata;
        Log *l = a->call.log;
        Topic *t = log_topic_find(l, a->call.name);
        int64_t last = 0;

        append_call_uncount(a);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                if (!appended[i].is_duplicate)
                        last = appended[i].position;
        }
        if (t && last > 0 && l->hooks.on_appended)
                l->hooks.on_appended(t->info.name, last, l->hooks.userdata);
        append_call_answer(a, r, at, appended, n);
}

static int append_call_start_volatile(AppendCall *a, Topic *t) {
        int r;

        r = volatile_append(&a->op, a->call.log, t, a->entries, a->n, on_volatile, a);
        if (r < 0)
                return r;

        if (!a->counted) {
                a->counted = a->call.log;
                a->counted->waiting_bytes += a->bytes;
        }
        return 0;
}

static int append_call_start(LogCall *c, Topic *t) {
        AppendCall *a = (AppendCall *) c;
        AppendBatch *b = TAILQ_LAST(&t->batches, AppendBatches);
        int r;

        r = entries_fit(&t->info, a->entries, a->n);
        if (r < 0)
                return r;
        if (t->info.settings.kind == TOPIC_VOLATILE)
                return append_call_start_volatile(a, t);

        /* the first may be under way: it takes no more */
        r = b && !(b == TAILQ_FIRST(&t->batches) && (t->query || t->is_waiting))
                            ? log_batch_add(b->batch, a->entries, a->n)
                            : -EBUSY;
        if (r == -EBUSY) {
                r = topic_add_batch(t, &b);
                if (r >= 0)
                        r = log_batch_add(b->batch, a->entries, a->n);
        }
        if (r < 0)
                return r;

        append_call_uncount(a);
        a->in = b;
        a->request = log_batch_requests(b->batch) - 1;
        TAILQ_INSERT_TAIL(&b->calls, a, entry);
        b->bytes += a->bytes;
        t->log->waiting_bytes += a->bytes;
        if (!t->is_dirty) {
                t->is_dirty = true;
                TAILQ_INSERT_TAIL(&t->log->dirty, t, dirty);
        }
        (void) sd_event_source_set_enabled(t->log->defer, SD_EVENT_ONESHOT);
        return 0;
}

static char *text_copy(char **to, const char *text, size_t size) {
        char *copy = *to;

        if (!text)
                return NULL;
        memcpy(copy, text, size);
        copy[size] = '\0';
        *to += size + 1;
        return copy;
}

/* The topic is being looked up: the caller's entries do not wait for that. */
static int append_call_copy(AppendCall *a) {
        size_t size = 0;
        char *to;

        assert(a->n > 0);

        for (size_t i = 0; i < a->n; i++) {
                const LogEntry *e = a->entries + i;

                size += sizeof(*e) + e->size + strlen(e->key) + strlen(e->id) + strlen(e->source) + 5;
                size += e->stream ? strlen(e->stream) : 0;
        }
        a->copies = malloc(size);
        if (!a->copies)
                return -ENOMEM;

        to = (char *) (a->copies + a->n);
        for (size_t i = 0; i < a->n; i++) {
                LogEntry *e = a->copies + i;

                *e = a->entries[i];
                e->text = text_copy(&to, e->text, e->size);
                e->key = text_copy(&to, e->key, strlen(e->key));
                e->id = text_copy(&to, e->id, strlen(e->id));
                e->source = text_copy(&to, e->source, strlen(e->source));
                e->stream = text_copy(&to, e->stream, e->stream ? strlen(e->stream) : 0);
                e->type = NULL;
        }

        a->entries = a->copies;
        a->counted = a->call.log;
        a->counted->waiting_bytes += a->bytes;
        return 0;
}

int log_append(Log *l,
               LogCall **ret,
               const char *topic,
               const LogEntry *entries,
               size_t n,
               LogAppendCallback callback,
               void *userdata) {
        AppendCall *a;
        size_t bytes = 0;
        int r;

        assert(l);
        assert(topic);
        assert(callback);

        r = log_entries_check(entries, n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                bytes += sizeof(LogEntry) + strlen(entries[i].key) + entries[i].size;
        if (bytes > LOG_WAITING_BYTES_MAX)
                return -EFBIG;
        if (l->waiting_bytes + bytes > LOG_WAITING_BYTES_MAX)
                return -EAGAIN;

        a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->call.start = append_call_start;
        a->call.fail = append_call_fail;
        a->call.destroy = append_call_destroy;
        a->callback = callback;
        a->entries = entries;
        a->n = n;
        a->bytes = bytes;
        log_call_init(&a->call, l, ret, userdata);

        r = log_call_find(&a->call, topic);
        if (r >= 0 && !a->in && !a->op)
                r = append_call_copy(a);
        if (r < 0) {
                append_call_destroy(&a->call);
                return r;
        }

        a->entries = a->copies;
        if (ret)
                *ret = &a->call;
        return 0;
}

void log_appended_elsewhere(Log *l, const char *topic, int64_t last) {
        Topic *t = log_topic_find(l, topic);

        if (t && t->info.last < last)
                t->info.last = last;
        if (l->hooks.on_appended)
                l->hooks.on_appended(topic, last, l->hooks.userdata);
}
