/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading topics
 *
 * Events are lent to the caller as they are in PostgreSQL's answer; nothing is copied.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"
#include "event-bus/log/read.h"

#define READ_EVENTS_MAX    1000U
#define READ_BYTES_DEFAULT ((size_t) 4 * 1024 * 1024)

typedef struct ReadCall {
        LogCall call;
        Topic *topic;   /* weak; once found */
        VolatileOp *op; /* owned */
        int64_t pinned; /* the id that it must have; 0: any */
        LogRange range;
        char *stream; /* owned; what range's points to */
        LogReadCallback callback;
} ReadCall;

typedef struct PositionCall {
        LogCall call;
        Topic *topic;   /* weak; once found */
        VolatileOp *op; /* owned */
        uint64_t usec;
        LogPositionCallback callback;
} PositionCall;

static const MamPgStatement read_events = {
        "log_read_events",
        "SELECT position, recorded, stream_version, key, stream, event"
        " FROM read_events($1::bigint, $2::bigint, $3::boolean, $4::integer, $5::bigint, $6)",
        true,
};

static const MamPgStatement position_at = {
        "log_position_at",
        "SELECT position_at($1::bigint, $2::bigint)",
        true,
};

/* Pages */

static void read_fail(LogCall *call, int error) {
        ReadCall *c = (ReadCall *) call;

        c->op = volatile_op_free(c->op);
        c->callback(error, NULL, 0, 0, 0, call->userdata);
}

static void read_destroy(LogCall *call) {
        ReadCall *c = (ReadCall *) call;

        log_call_done(call);
        (void) volatile_op_free(c->op);
        free(c->stream);
        free(c);
}

/* As LogReadCallback. */
static void read_answer(
                int r,
                const LogEvent *events,
                size_t n,
                int64_t first,
                int64_t last,
                void *userdata) {
        ReadCall *c = userdata;
        bool is_loose;

        if (r < 0) {
                log_call_fail(&c->call, r);
                return;
        }

        is_loose = log_call_detach(&c->call);
        c->callback(0, events, n, first, last, c->call.userdata);
        if (is_loose)
                log_call_destroy(&c->call);
}

static LogEvent event_of(const MamPgResult *result, size_t row) {
        LogEvent e = {
                .position = mam_pg_int(result, row, 0),
                .recorded_usec = (uint64_t) mam_pg_int(result, row, 1),
                .stream_version = mam_pg_int(result, row, 2),
                .key = mam_pg_text(result, row, 3),
                .stream = mam_pg_is_null(result, row, 4) ? NULL : mam_pg_text(result, row, 4),
                .text = mam_pg_text(result, row, 5),
        };

        e.size = strlen(e.text);
        return e;
}

/* The first row says how things are. */
static void on_events(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        _cleanup_(mam_freep) LogEvent *events = NULL;
        size_t n = mam_pg_rows(result);
        ReadCall *c = userdata;

        c->call.query = mam_pg_query_free(c->call.query);
        if (error < 0) {
                log_call_fail(&c->call, log_error(error));
                return;
        }
        if (n == 0) {
                log_call_missing(&c->call, c->topic);
                return;
        }

        events = n > 1 ? malloc((n - 1) * sizeof(*events)) : NULL;
        if (n > 1 && !events) {
                log_call_fail(&c->call, -ENOMEM);
                return;
        }
        for (size_t i = 1; i < n; i++)
                events[i - 1] = event_of(result, i);

        read_answer(0, events, n - 1, mam_pg_int(result, 0, 1), mam_pg_int(result, 0, 2), c);
}

static int read_durable(ReadCall *c, int64_t id) {
        char topic[24], from[24], limit[16], bytes[24];
        const char *parameters[] = { topic, from,  c->range.backwards ? "true" : "false",
                                     limit, bytes, c->range.stream };

        (void) snprintf(topic, sizeof(topic), "%lld", (long long) id);
        (void) snprintf(from, sizeof(from), "%lld", (long long) c->range.from);
        (void) snprintf(limit, sizeof(limit), "%u", c->range.limit);
        (void) snprintf(bytes, sizeof(bytes), "%zu", c->range.bytes_max);
        return mam_pg_query(
                        c->call.log->pg,
                        &c->call.query,
                        &read_events,
                        parameters,
                        MAM_ELEMENTSOF(parameters),
                        on_events,
                        c);
}

static int read_start(LogCall *call, Topic *t) {
        ReadCall *c = (ReadCall *) call;

        if (c->pinned != 0 && c->pinned != t->info.id) { /* the cache is old, or the topic is another one */
                if (call->was_fresh)
                        return -ENOENT;
                log_topic_forget(t);
                return log_call_find(call, t->info.name);
        }

        c->topic = t;
        if (t->info.settings.kind == TOPIC_VOLATILE)
                return volatile_read(&c->op, call->log, t, &c->range, read_answer, c);

        return read_durable(c, t->info.id);
}

static int read_call_new(ReadCall **ret, const LogRange *range) {
        ReadCall *c;

        if (range->from < 0 || (range->from == 0 && !range->backwards) || range->limit == 0)
                return -EINVAL;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        c->range = *range;
        if (c->range.limit > READ_EVENTS_MAX)
                c->range.limit = READ_EVENTS_MAX;
        if (c->range.bytes_max == 0)
                c->range.bytes_max = READ_BYTES_DEFAULT;
        if (range->stream) {
                c->range.stream = c->stream = strdup(range->stream);
                if (!c->stream) {
                        free(c);
                        return -ENOMEM;
                }
        }

        c->call.start = read_start;
        c->call.fail = read_fail;
        c->call.destroy = read_destroy;
        *ret = c;
        return 0;
}

/* The topic is found, or looked for; the caller has the handle. */
static int call_begin(LogCall *c, Log *l, LogCall **ret, const char *topic, void *userdata) {
        int r;

        log_call_init(c, l, ret, userdata);
        r = log_call_find(c, topic);
        if (r < 0) {
                log_call_destroy(c);
                return r;
        }

        if (ret)
                *ret = c;
        return 0;
}

int log_read_pinned(
                Log *l,
                LogCall **ret,
                const char *topic,
                int64_t id,
                const LogRange *range,
                LogReadCallback callback,
                void *userdata) {
        ReadCall *c = NULL;
        int r;

        assert(l);
        assert(topic);
        assert(range);
        assert(callback);

        r = read_call_new(&c, range);
        if (r < 0)
                return r;

        c->pinned = id;
        c->callback = callback;
        return call_begin(&c->call, l, ret, topic, userdata);
}

int log_read(Log *l,
             LogCall **ret,
             const char *topic,
             const LogRange *range,
             LogReadCallback callback,
             void *userdata) {
        return log_read_pinned(l, ret, topic, 0, range, callback, userdata);
}

/* Positions by time */

static void position_fail(LogCall *call, int error) {
        PositionCall *c = (PositionCall *) call;

        c->op = volatile_op_free(c->op);
        c->callback(error, 0, call->userdata);
}

static void position_destroy(LogCall *call) {
        PositionCall *c = (PositionCall *) call;

        log_call_done(call);
        (void) volatile_op_free(c->op);
        free(c);
}

/* As LogPositionCallback. */
static void position_answer(int r, int64_t position, void *userdata) {
        PositionCall *c = userdata;
        bool is_loose;

        if (r < 0) {
                log_call_fail(&c->call, r);
                return;
        }

        is_loose = log_call_detach(&c->call);
        c->callback(0, position, c->call.userdata);
        if (is_loose)
                log_call_destroy(&c->call);
}

static void on_position(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        PositionCall *c = userdata;

        c->call.query = mam_pg_query_free(c->call.query);
        if (error == 0 && mam_pg_is_null(result, 0, 0))
                log_call_missing(&c->call, c->topic);
        else
                position_answer(log_error(error), mam_pg_int(result, 0, 0), c);
}

static int position_start(LogCall *call, Topic *t) {
        PositionCall *c = (PositionCall *) call;
        char id[24], usec[24];
        const char *parameters[] = { id, usec };

        c->topic = t;
        if (t->info.settings.kind == TOPIC_VOLATILE)
                return volatile_position_at(&c->op, call->log, t, c->usec, position_answer, c);

        (void) snprintf(id, sizeof(id), "%lld", (long long) t->info.id);
        (void) snprintf(usec, sizeof(usec), "%llu", (unsigned long long) c->usec);
        return mam_pg_query(
                        call->log->pg,
                        &call->query,
                        &position_at,
                        parameters,
                        MAM_ELEMENTSOF(parameters),
                        on_position,
                        c);
}

int log_position_at(
                Log *l,
                LogCall **ret,
                const char *topic,
                uint64_t usec,
                LogPositionCallback callback,
                void *userdata) {
        PositionCall *c;

        assert(l);
        assert(topic);
        assert(callback);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;

        c->usec = usec <= INT64_MAX ? usec : INT64_MAX;
        c->callback = callback;
        c->call.start = position_start;
        c->call.fail = position_fail;
        c->call.destroy = position_destroy;
        return call_begin(&c->call, l, ret, topic, userdata);
}
