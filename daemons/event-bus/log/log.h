/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The log: topics and what is in them
 *
 * A topic is one sequence of events. Positions count from 1 without gaps, in the order of commits: they are
 * given out under a lock on the topic's head row that is held to the commit. Durable topics are in
 * PostgreSQL (tables called segments, dropped whole); volatile ones in a Redis stream, where positions
 * follow the clock: they grow but have gaps. No state is kept here that the database does not have; what is
 * cached is looked up again when it does not fit.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/cache/redis.h"
#include "libmam/db/pg.h"
#include "libmam/events/event.h"

typedef struct Log Log;
typedef struct Topic Topic;

typedef enum TopicKind {
        TOPIC_DURABLE,
        TOPIC_VOLATILE,
} TopicKind;

typedef enum SchemaMode {
        SCHEMA_NONE,    /* data is not checked */
        SCHEMA_CHECK,   /* checked where a schema is registered for its type */
        SCHEMA_REQUIRE, /* refused where there is none */
} SchemaMode;

/* What an administrator sets; 0 is no bound unless said otherwise. */
typedef struct TopicSettings {
        TopicKind kind;
        uint64_t retention_usec; /* 0: 7 days; MAM_USEC_INFINITY: for ever */
        uint64_t retention_bytes;
        uint64_t retention_events; /* volatile: 0 means 100,000 */
        bool compact;              /* of each key only the newest is kept once its segment is closed */
        bool archive;              /* segments are written to files before they are dropped */
        SchemaMode schema;
        uint64_t events_per_second; /* quota per publisher and replica */
        uint64_t bytes_max;         /* of one event; 0: 256 KiB */
} TopicSettings;

typedef struct TopicInfo {
        int64_t id;
        const char *name;
        TopicSettings settings;
        int64_t first, last; /* positions; last 0: never had any; first = last + 1: empty */
        int64_t version;     /* of the settings */
} TopicInfo;

bool topic_name_is_valid(
                const char *name); /* a-z 0-9 . _ -, 1 to 128, begins and ends with a letter or digit */

/* Waiting objects: every call that takes ret hands out a handle; freeing it cancels the interest, and
 * nothing more is called. With ret NULL it frees itself. Callbacks never run from within the call. */
typedef struct LogCall LogCall;
LogCall *log_call_free(LogCall *c);

/* r: 0; -EEXIST; -ENOENT; -ENOTCONN, -EAGAIN, -ECANCELED: the database is away or busy, try again later.
 * topic is borrowed and valid while the Log lives. */
typedef void (*LogTopicCallback)(int r, const TopicInfo *topic, void *userdata);
int log_topic_create(
                Log *l,
                LogCall **ret,
                const char *name,
                const TopicSettings *s,
                LogTopicCallback callback,
                void *userdata);
int log_topic_change(
                Log *l,
                LogCall **ret,
                const char *name,
                const TopicSettings *s,
                int64_t version /* 0: any; -ESTALE */,
                LogTopicCallback callback,
                void *userdata);
int log_topic_delete(Log *l, LogCall **ret, const char *name, LogTopicCallback callback, void *userdata);
int log_topic_get(
                Log *l,
                LogCall **ret,
                const char *name,
                LogTopicCallback callback,
                void *userdata); /* fresh figures */
/* In order of names; once for each, then once with topic NULL. Without Redis the figures of volatile topics
 * are those of an empty one. */
int log_topic_list(Log *l, LogCall **ret, LogTopicCallback callback, void *userdata);

/* ---- append ---- */
#define LOG_VERSION_ANY  (-1)
#define LOG_VERSION_NONE 0 /* the stream must not exist yet */
/* In a request with several events of one stream the first one's expectation counts, and the others follow
 * it. What was stored before (see is_duplicate) is not compared again. */

typedef struct LogEntry {
        const char *key; /* ordering key */
        const char *id, *source;
        const char *type;
        const char *stream; /* event sourcing: NULL: none */
        int64_t expected_version;
        const char *text; /* the event's JSON form */
        size_t size;
} LogEntry;

typedef struct LogAppended {
        int64_t position;
        int64_t stream_version; /* of this event in its stream; 0: none */
        bool is_duplicate; /* (source, id) was there within the last 24 h: position is the first one's */
} LogAppended;

/* r: 0: all n are committed (or were before); -ENOENT: no such topic; -ESTALE: an expected version is not
 * what the stream has: none of these n is stored, *appended[at].stream_version is what it has; -ENOSPC:
 * quota; -EFBIG: one is larger than the topic takes (may also come from the call); -EOPNOTSUPP: a
 * stream in a volatile topic; -ENOTCONN, -EAGAIN, -ECANCELED: not stored as far as known, publishing again
 * with the same ids is safe. The n entries are stored all or none, with consecutive positions. What arrives
 * while a commit is under way goes with the next one, without a timer; entries are copied. Beyond what may
 * wait (LOG_WAITING_BYTES_MAX): -EAGAIN from the call. -EINVAL from the call: no UTF-8, a control character
 * that is in no JSON text, no key, id or source, a key or stream longer than LOG_KEY_MAX or LOG_STREAM_MAX,
 * or n. */
typedef void (*LogAppendCallback)(int r, size_t at, const LogAppended *appended, size_t n, void *userdata);
int log_append(Log *l,
               LogCall **ret,
               const char *topic,
               const LogEntry *entries,
               size_t n,
               LogAppendCallback callback,
               void *userdata);
#define LOG_APPEND_MAX        1000U
#define LOG_KEY_MAX           1024U /* bytes; as of an attribute */
#define LOG_STREAM_MAX        512U
#define LOG_WAITING_BYTES_MAX ((size_t) 32 * 1024 * 1024)

/* ---- read ---- */
typedef struct LogEvent {
        int64_t position;
        uint64_t recorded_usec;   /* realtime; never falls within a topic */
        int64_t stream_version;   /* 0: not in a stream */
        const char *key, *stream; /* stream NULL: none */
        const char *text;         /* NUL-terminated */
        size_t size;
} LogEvent;

/* events are borrowed during the callback, in the order asked for. first: the oldest position that is still
 * there (events before it were dropped). n 0: nothing there (yet). */
typedef void (*LogReadCallback)(
                int r,
                const LogEvent *events,
                size_t n,
                int64_t first,
                int64_t last,
                void *userdata);
typedef struct LogRange {
        int64_t from; /* the first position wanted; backwards: the last, 0: the newest */
        bool backwards;
        unsigned limit;     /* events, at most 1000 */
        size_t bytes_max;   /* at least one event comes; 0: 4 MiB */
        const char *stream; /* only of this stream; from is a version then */
} LogRange;
int log_read(Log *l,
             LogCall **ret,
             const char *topic,
             const LogRange *range,
             LogReadCallback callback,
             void *userdata);
/* The first position recorded at or after that time; one behind the last where there is none. */
typedef void (*LogPositionCallback)(int r, int64_t position, void *userdata);
int log_position_at(
                Log *l,
                LogCall **ret,
                const char *topic,
                uint64_t usec,
                LogPositionCallback callback,
                void *userdata);

/* ---- snapshots of streams ---- */
typedef void (*LogSnapshotCallback)(int r, int64_t version, const char *text, void *userdata);
int log_snapshot_put(
                Log *l,
                LogCall **ret,
                const char *topic,
                const char *stream,
                int64_t version,
                const char *text,
                size_t size,
                LogSnapshotCallback callback,
                void *userdata);
int log_snapshot_get(
                Log *l,
                LogCall **ret,
                const char *topic,
                const char *stream,
                LogSnapshotCallback callback,
                void *userdata); /* -ENOENT */

/* ---- life ---- */
/* on_appended is told of every append of this process that committed: the doorbell hangs there. */
typedef struct LogHooks {
        void (*on_appended)(const char *topic, int64_t last, void *userdata);
        void (*on_topics_changed)(void *userdata);
        void *userdata;
} LogHooks;
/* redis: the shared command connection, or NULL (volatile topics answer -ENOTCONN). pg's schema is
 * event_bus; both outlive the Log. log_free() answers what is open with -ECANCELED; it is not called from a
 * callback. */
int log_new(Log **ret, sd_event *event, MamPg *pg, MamRedis *redis, const LogHooks *hooks);
Log *log_free(Log *l);
/* Another process changed, made or deleted topics: what is cached is looked up again. */
void log_topics_changed(Log *l);
/* NULL: not known (any more), which log_topic_get() can change. Its figures may be old. */
const TopicInfo *log_topic_cached(Log *l, const char *name);
