/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Snapshots of event sourcing streams: the newest one of each
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-internal.h"

/* An older one does not replace a newer one, so that writers may race. */
static const MamPgStatement snapshot_put = {
        .name = "log-snapshot-put",
        .sql = "WITH t AS (SELECT id FROM topics WHERE id = $1::bigint FOR KEY SHARE), put AS ("
               "INSERT INTO snapshots AS s (topic, stream, version, snapshot) "
               "SELECT t.id, $2::text, $3::bigint, $4::text FROM t "
               "ON CONFLICT (topic, stream) DO UPDATE SET version = excluded.version, snapshot = excluded.snapshot "
               "WHERE s.version <= excluded.version) SELECT $3::bigint, $4::text FROM t",
        .idempotent = true,
};

static const MamPgStatement snapshot_get = {
        .name = "log-snapshot-get",
        .sql = "SELECT s.version, s.snapshot FROM topics t LEFT JOIN snapshots s ON s.topic = t.id AND s.stream = $2::text "
               "WHERE t.id = $1::bigint",
        .idempotent = true,
};

typedef struct SnapshotCall {
        LogCall call;
        Topic *topic; /* weak; lives as long as the log */
        LogSnapshotCallback callback;
        char *stream, *text; /* owned; text NULL: it is asked for */
        int64_t version;
} SnapshotCall;

static void snapshot_call_destroy(LogCall *c) {
        SnapshotCall *s = (SnapshotCall *) c;

        free(s->stream);
        free(s->text);
        log_call_done(c);
        free(s);
}

static void snapshot_call_fail(LogCall *c, int error) {
        ((SnapshotCall *) c)->callback(error, 0, NULL, c->userdata);
}

static void on_snapshot(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        SnapshotCall *s = userdata;
        bool loose;

        if (error == 0 && mam_pg_rows(result) == 0) {
                log_call_missing(&s->call, s->topic);
                return;
        }
        if (error < 0 || mam_pg_is_null(result, 0, 0)) {
                log_call_fail(&s->call, error < 0 ? log_error(error) : -ENOENT);
                return;
        }

        loose = log_call_detach(&s->call);
        s->callback(0, mam_pg_int(result, 0, 0), mam_pg_text(result, 0, 1), s->call.userdata);
        if (loose)
                log_call_destroy(&s->call);
}

static int snapshot_call_start(LogCall *c, Topic *t) {
        SnapshotCall *s = (SnapshotCall *) c;
        char id[24], version[24];
        const char *const parameters[] = { id, s->stream, version, s->text };

        if (t->info.settings.kind == TOPIC_VOLATILE)
                return -EOPNOTSUPP;

        s->topic = t;
        (void) snprintf(id, sizeof(id), "%" PRIi64, t->info.id);
        (void) snprintf(version, sizeof(version), "%" PRIi64, s->version);
        return mam_pg_query(
                        c->log->pg,
                        &c->query,
                        s->text ? &snapshot_put : &snapshot_get,
                        parameters,
                        s->text ? 4 : 2,
                        on_snapshot,
                        s);
}

static int snapshot_call(
                Log *l,
                LogCall **ret,
                const char *topic,
                const char *stream,
                int64_t version,
                const char *text,
                size_t size,
                LogSnapshotCallback callback,
                void *userdata) {
        SnapshotCall *s;
        int r;

        if (stream[0] == '\0' || strlen(stream) > LOG_STREAM_MAX)
                return -EINVAL;
        if (text && (version < 1 || size > (size_t) MAM_EVENT_SIZE_MAX || memchr(text, '\0', size)))
                return size > (size_t) MAM_EVENT_SIZE_MAX ? -EFBIG : -EINVAL;

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->call.start = snapshot_call_start;
        s->call.fail = snapshot_call_fail;
        s->call.destroy = snapshot_call_destroy;
        s->callback = callback;
        s->version = version;
        log_call_init(&s->call, l, ret, userdata);

        s->stream = strdup(stream);
        s->text = text ? strndup(text, size) : NULL;
        r = s->stream && (s->text || !text) ? log_call_find(&s->call, topic) : -ENOMEM;
        if (r < 0) {
                snapshot_call_destroy(&s->call);
                return r;
        }

        if (ret)
                *ret = &s->call;
        return 0;
}

int log_snapshot_put(
                Log *l,
                LogCall **ret,
                const char *topic,
                const char *stream,
                int64_t version,
                const char *text,
                size_t size,
                LogSnapshotCallback callback,
                void *userdata) {
        assert(l);
        assert(topic);
        assert(stream);
        assert(text);
        assert(callback);

        return snapshot_call(l, ret, topic, stream, version, text, size, callback, userdata);
}

int log_snapshot_get(
                Log *l,
                LogCall **ret,
                const char *topic,
                const char *stream,
                LogSnapshotCallback callback,
                void *userdata) {
        assert(l);
        assert(topic);
        assert(stream);
        assert(callback);

        return snapshot_call(l, ret, topic, stream, 0, NULL, 0, callback, userdata);
}
