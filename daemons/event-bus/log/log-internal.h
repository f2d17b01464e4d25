/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of log/ share: who owns whom
 *
 * The Log owns topics, lookups and calls. A call is embedded as the first member of what a file makes of it,
 * and is answered once: by log_call_detach() and its callback, by log_call_fail(), or by log_free(). A call
 * whose caller has no handle is destroyed with its answer, another one by log_call_free().
 *
 * Topics are looked up by name when they are first used and cached by what the database said. The cache may
 * be wrong (another replica has changed or deleted the topic): statements are told the topic's id, and who
 * learns that this does not exist calls log_call_missing().
 */

#include <sys/queue.h>

#include "event-bus/log/log-sql.h"
#include "event-bus/log/log.h"

typedef struct LogLookup LogLookup;
typedef struct AppendBatch AppendBatch;

typedef TAILQ_HEAD(LogCalls, LogCall) LogCalls;
typedef TAILQ_HEAD(AppendBatches, AppendBatch) AppendBatches;
typedef LIST_HEAD(LogLookups, LogLookup) LogLookups;
typedef LIST_HEAD(LogTopics, Topic) LogTopics;
typedef TAILQ_HEAD(LogDirtyTopics, Topic) LogDirtyTopics;
typedef struct VolatileOp VolatileOp;

#define LOG_BUCKETS 1024U

struct LogCall {
        Log *log; /* weak; NULL: answered */
        LogCalls *list;
        TAILQ_ENTRY(LogCall) entry;
        bool is_loose;     /* nobody has a handle: it is destroyed once it is answered */
        bool was_fresh;    /* its topic was looked up for it */
        char *name;        /* owned; of the topic, once it is looked for */
        MamPgQuery *query; /* owned; under way, or NULL */
        void *userdata;    /* the caller's */
        /* The topic is known. A negative return is the answer. */
        int (*start)(LogCall *c, Topic *t);
        /* Tells the caller about an error; c is detached. */
        void (*fail)(LogCall *c, int error);
        /* Frees what is in it, and itself with log_call_done() first; may be NULL: then just that. */
        void (*destroy)(LogCall *c);
};

struct Topic {
        LIST_ENTRY(Topic) topics; /* of its bucket */
        Log *log;                 /* weak */
        TopicInfo info; /* name owned. It is lent to callers, so a topic stays, even if it is deleted */
        bool is_known;  /* info is what the database said last */
        AppendBatches batches; /* owned; in order. The first one may be under way */
        MamPgQuery *query;     /* owned; the first batch's */
        bool is_waiting;       /* the first batch waits for a lookup */
        bool is_dirty;         /* something came in this turn of the event loop */
        TAILQ_ENTRY(Topic) dirty;
};

struct Log {
        sd_event *event; /* owned */
        MamPg *pg;       /* borrowed */
        MamRedis *redis; /* borrowed, or NULL */
        LogHooks hooks;
        LogTopics topics[LOG_BUCKETS];
        LogLookups lookups;
        LogCalls calls;         /* all that are not answered */
        LogDirtyTopics dirty;   /* whose batches are to be sent */
        sd_event_source *defer; /* owned; does it */
        size_t waiting_bytes;   /* of appends that are not answered */
};

/* log.c */

/* For a call that was just allocated, whole: ret as the caller gave it. */
void log_call_init(LogCall *c, Log *l, LogCall **ret, void *userdata);
/* Frees what log_call_init() and _find() brought, for destroy. */
void log_call_done(LogCall *c);
/* It is being answered now, and its query is of no interest any more. True: destroy it behind the callback;
 * false: do not touch it any more there. */
_must_check_ bool log_call_detach(LogCall *c);
void log_call_destroy(LogCall *c);
/* The answer is this error. */
void log_call_fail(LogCall *c, int error);
/* Has c->start called: from within if the topic is cached (its error is returned then, and the call is still
 * the caller's to destroy), or later, where an error, also -ENOENT, goes to c->fail. */
int log_call_find(LogCall *c, const char *name);
/* The database does not know the id of this topic: looks for another one of that name, once. */
void log_call_missing(LogCall *c, Topic *t);

Topic *log_topic_find(Log *l, const char *name); /* also one that is not known any more; NULL */
/* What the database said; callbacks get this. */
int log_topic_store(Log *l, const TopicInfo *info, Topic **ret);
/* It is not what the cache says. */
void log_topic_forget(Topic *t);
/* Errors of libmam/db to those that log.h promises. */
int log_error(int error);

/* topic.c */
/* Reads the columns of TOPIC_COLUMNS; name is borrowed from the result. */
void topic_info_read(TopicInfo *ret, const MamPgResult *result, size_t row);
#define TOPIC_COLUMNS                                                                                     \
        "t.id, t.name, t.kind, t.retention_usec, t.retention_bytes, t.retention_events, t.compact::int, " \
        "t.archive::int, t.schema_mode, t.events_per_second, t.bytes_max, t.version, "                    \
        "first_position(t.id), h.last"
extern const MamPgStatement topic_get_statement; /* by name */

/* batch.c */
/* Between the texts of a batch: it is in no JSON text, and entries with it are refused. */
#define LOG_SEPARATOR '\x1e'
/* What an event is remembered by, in hexadecimal. */
#define LOG_DIGEST_SIZE 33U
int log_digests(const LogEntry *entries, size_t n, char (*ret)[LOG_DIGEST_SIZE]);

/* append.c */
void append_topic_done(Topic *t);
int append_on_defer(sd_event_source *s, void *userdata);

/* volatile.c */

/* Redis' stream ids are "milliseconds-n"; a position is (milliseconds since 2025) * 4096 + n. The script
 * that adds gives the ids, and carries n into the milliseconds. Positions fit 53 bits, thus JSON, until
 * 2094. */
#define VOLATILE_EPOCH_MSEC 1735689600000LL
#define VOLATILE_SHIFT      12U
#define VOLATILE_ID_SIZE    48U
void volatile_id(char ret[static VOLATILE_ID_SIZE], int64_t position);
int64_t volatile_position(const char *id); /* 0: not one of ours */

/* A command under way. Freed by its owner, in or after the callback or before, which then does not come.
 * -ENOTCONN and -EAGAIN from the call, and no callback. Redis' errors become those of log.h. */
VolatileOp *volatile_op_free(VolatileOp *op);
int volatile_append(
                VolatileOp **ret,
                Log *l,
                const Topic *t,
                const LogEntry *entries,
                size_t n,
                LogAppendCallback callback,
                void *userdata);
/* first is one behind the last that was dropped. */
int volatile_read(
                VolatileOp **ret,
                Log *l,
                const Topic *t,
                const LogRange *range,
                LogReadCallback callback,
                void *userdata);
int volatile_position_at(
                VolatileOp **ret,
                Log *l,
                const Topic *t,
                uint64_t usec,
                LogPositionCallback callback,
                void *userdata);
/* Nobody waits for it. */
void volatile_delete(Log *l, int64_t topic);
