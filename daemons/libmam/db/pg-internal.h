/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of db/ share: who owns whom
 *
 * MamPg owns its connections and every query from mam_pg_query() until the answer. A query is in exactly one
 * place: the pool's queue, the pool's delayed list (waiting before a retry), a segment of a connection, or
 * the pool's list of answers. A segment is what a connection sends between two Sync messages, thus what
 * succeeds or fails as one. Input handlers only move queries; user callbacks run from mam_pg_deliver(), the
 * last act of every event handler, so that they may free anything.
 */

#include <sys/queue.h>

#include <libpq-fe.h>

#include "libmam/db/pg.h"
#include "libmam/util/macro.h"

#define MAM_PG_ATTEMPTS_MAX  4U /* the first one included */
#define MAM_PG_STEPS_MAX     64U
#define MAM_PG_GRACE_USEC    (2ULL * 1000 * 1000)
#define MAM_PG_CONNECT_USEC  (5ULL * 1000 * 1000)
#define MAM_PG_BACKOFF_FIRST (50ULL * 1000)
#define MAM_PG_BACKOFF_LIMIT (5ULL * 1000 * 1000)
#define MAM_PG_RETRY_FIRST   (5ULL * 1000)
#define MAM_PG_RETRY_LIMIT   (200ULL * 1000)
#define MAM_PG_SQLSTATE_SIZE 6U

typedef struct MamPgLink MamPgLink;
typedef struct MamPgConnection MamPgConnection;
typedef struct MamPgSegment MamPgSegment;
typedef struct MamPgPlan MamPgPlan;
typedef struct MamPgMigrator MamPgMigrator;

typedef TAILQ_HEAD(MamPgQueries, MamPgQuery) MamPgQueries;
typedef TAILQ_HEAD(MamPgSegments, MamPgSegment) MamPgSegments;
typedef LIST_HEAD(MamPgMigrators, MamPgMigrator) MamPgMigrators;
typedef LIST_HEAD(MamPgTransactions, MamPgTransaction) MamPgTransactions;

/* pg-error.c */

/* SQLSTATE (five letters, or NULL) to the errno that pg.h promises. */
int mam_pg_error_from_sqlstate(const char *sqlstate);
/* The session ends with this error (class 08, shutdown, crash, idle in transaction): its connection is lost.
 */
bool mam_pg_error_is_fatal(const char *sqlstate);
/* Nothing has happened and the same again may succeed. */
bool mam_pg_error_is_retryable(const char *sqlstate);
/* The prepared statement is gone or out of date: prepare it again. */
bool mam_pg_error_is_stale_plan(const char *sqlstate);
/* The first line of a libpq message, without the newline; "" if there is none. */
void mam_pg_error_line(char *ret, size_t size, const char *message);

/* pg-link.c: one libpq connection on sd-event: connecting, session settings, reading, writing, deadline */

typedef enum MamPgLinkState {
        MAM_PG_LINK_DOWN,
        MAM_PG_LINK_CONNECTING,
        MAM_PG_LINK_SETUP,
        MAM_PG_LINK_UP,
} MamPgLinkState;

struct MamPgLink {
        sd_event *event;        /* borrowed from the owner */
        PGconn *conn;           /* owned */
        sd_event_source *io;    /* owned */
        sd_event_source *timer; /* owned; bounds connecting */
        const char *setup;      /* borrowed; SQL for a new session */
        MamPgLinkState state;
        bool writing; /* waiting for room in the socket */
        void (*on_up)(MamPgLink *l);
        void (*on_input)(MamPgLink *l); /* results may be there */
        void (*on_down)(MamPgLink *l,
                        bool was_up,
                        const char *reason); /* the connection is closed already */
        void (*on_settled)(MamPgLink *l);    /* last act of each event; may free the link */
};

/* 0, or -ENOTCONN with the reason in why; on_down is not called then. */
int mam_pg_link_start(MamPgLink *l, const char *conninfo, char *why, size_t why_size);
void mam_pg_link_stop(MamPgLink *l);
/* Closes and calls on_down. */
void mam_pg_link_fail(MamPgLink *l, const char *reason);
/* Sends what libpq has buffered. -ECONNRESET: the caller calls mam_pg_link_fail(). */
int mam_pg_link_flush(MamPgLink *l);

/* pg-query.c */

typedef enum MamPgQueryKind {
        MAM_PG_QUERY_SINGLE,
        MAM_PG_QUERY_RUN,   /* BEGIN, steps, COMMIT */
        MAM_PG_QUERY_BEGIN, /* from here on: parts of an interactive transaction */
        MAM_PG_QUERY_STEP,
        MAM_PG_QUERY_COMMIT,
} MamPgQueryKind;

typedef struct MamPgQueryStep {
        const MamPgStatement *statement; /* borrowed, as statements are static; or own */
        MamPgStatement own;              /* without a name; its text is in the query's own memory */
        const char **parameters;         /* likewise */
        unsigned n_parameters;
} MamPgQueryStep;

struct MamPgQuery {
        unsigned n_ref;                /* the caller's and the pool's */
        MamPg *pg;                     /* weak; NULL once answered */
        MamPgTransaction *transaction; /* weak; kinds from BEGIN on */
        MamPgQueries *list;            /* weak; where entry is linked, or NULL */
        TAILQ_ENTRY(MamPgQuery) entry;
        MamPgQueryKind kind;
        MamPgCallback callback; /* NULL: nobody waits any more */
        void *userdata;
        uint64_t deadline_usec; /* for waiting in the queue */
        uint64_t retry_usec;    /* while delayed */
        unsigned attempts;
        bool idempotent;
        bool alone;      /* never again in a segment with others */
        bool reprepared; /* the one repetition for a stale plan is spent */
        bool committed;  /* the server said COMMIT */
        char sqlstate[MAM_PG_SQLSTATE_SIZE];
        int error;
        char *message;    /* owned */
        PGresult *result; /* owned */
        size_t n_steps;
        MamPgQueryStep steps[];
};

int mam_pg_query_new(
                MamPgQuery **ret,
                MamPgQueryKind kind,
                const MamPgStep *steps,
                size_t n_steps,
                MamPgCallback callback,
                void *userdata);
MamPgQuery *mam_pg_query_unref(MamPgQuery *q);
MAM_DEFINE_CLEANUP(MamPgQuery, mam_pg_query_unref);
void mam_pg_query_move(MamPgQuery *q, MamPgQueries *list);
void mam_pg_query_move_first(MamPgQuery *q, MamPgQueries *list);
/* Forgets what an attempt left behind. */
void mam_pg_query_reset(MamPgQuery *q);
/* Notes the first error of an attempt; message is copied. */
void mam_pg_query_set_error(MamPgQuery *q, int error, const char *sqlstate, const char *message);
/* The answer is in q: hands it to the pool for delivery. */
void mam_pg_query_finish(MamPgQuery *q, int error, const char *message);
/* Its segment failed by the server's answer: tries again or finishes. */
void mam_pg_query_failed(MamPgQuery *q);
/* Its connection broke: tries again or finishes. */
void mam_pg_query_lost(MamPgQuery *q, const char *reason);

extern const MamPgStatement mam_pg_statement_begin;
extern const MamPgStatement mam_pg_statement_commit;
extern const MamPgStatement mam_pg_statement_rollback;

/* pg-connection.c */

/* What one connection knows about one statement. */
typedef enum MamPgPlanState {
        MAM_PG_PLAN_NONE,
        MAM_PG_PLAN_SENT,
        MAM_PG_PLAN_READY,
} MamPgPlanState;

struct MamPgPlan {
        const MamPgStatement *statement; /* borrowed; NULL: free slot */
        MamPgPlanState state;
        unsigned generation; /* part of the server's name, as a stale one stays until the session ends */
        int error;           /* of the last try to prepare it */
        char sqlstate[MAM_PG_SQLSTATE_SIZE];
        char *message; /* owned */
};

typedef enum MamPgSegmentKind {
        MAM_PG_SEGMENT_PREPARE,
        MAM_PG_SEGMENT_QUERIES,
        MAM_PG_SEGMENT_ROLLBACK,
} MamPgSegmentKind;

struct MamPgSegment {
        TAILQ_ENTRY(MamPgSegment) entry;
        MamPgSegmentKind kind;
        const MamPgStatement *statement; /* PREPARE */
        MamPgQueries queries;
        unsigned n_queries;
        MamPgQuery *current; /* weak, in queries; NULL: all were answered */
        size_t step;
        bool answered; /* the current command */
        bool failed;
};

struct MamPgConnection {
        MamPgLink link; /* first: the link's callbacks cast */
        MamPg *pg;      /* weak */
        MamPgSegments segments;
        MamPgSegment *open;            /* weak; the last of segments while it has no Sync yet */
        MamPgTransaction *transaction; /* weak; pinned to it */
        unsigned n_exclusive;          /* segments behind which nothing may be sent */
        unsigned n_in_flight;          /* queries */
        sd_event_source *watchdog;     /* owned */
        uint64_t progress_usec;        /* when the first segment became the first */
        MamPgPlan *plans;              /* owned; open addressing by name */
        size_t n_plans, n_plans_allocated;
};

int mam_pg_connection_init(MamPgConnection *c, MamPg *pg);
void mam_pg_connection_done(MamPgConnection *c);
bool mam_pg_connection_has_room(const MamPgConnection *c);
/* Takes the query; what goes wrong becomes its answer. */
void mam_pg_connection_send(MamPgConnection *c, MamPgQuery *q);
/* Ends the open segment and pushes everything out. */
void mam_pg_connection_flush(MamPgConnection *c);
void mam_pg_connection_rollback(MamPgConnection *c);

/* pg-plan.c */

/* NULL: the connection has never seen it. */
MamPgPlan *mam_pg_plan_find(const MamPgConnection *c, const MamPgStatement *statement);
/* Adds it if needed. *ret is valid until the next call. */
int mam_pg_plan_get(MamPgConnection *c, const MamPgStatement *statement, MamPgPlan **ret);
void mam_pg_plan_clear_error(MamPgPlan *plan);
/* The name that the server knows it by. */
void mam_pg_plan_name(char *ret, size_t size, const MamPgPlan *plan);
/* It is gone or stale: the next use prepares it under a new name. */
void mam_pg_plan_forget(MamPgConnection *c, const MamPgStatement *statement);
void mam_pg_plans_clear(MamPgConnection *c);

/* pg-pool.c */

struct MamPg {
        sd_event *event;                 /* owned */
        char *conninfo, *setup, *schema; /* owned */
        MamPgConnection *connections;    /* owned; n_connections of them */
        unsigned n_connections, queue_max, pipeline_max;
        uint64_t timeout_usec;
        MamPgQueries queue, delayed, answers;
        unsigned n_queued, n_open; /* n_open: not yet answered, delayed and in flight included */
        sd_event_source *defer;    /* owned; something was queued */
        sd_event_source *expiry;   /* owned; first deadline in the queue */
        sd_event_source *retry;    /* owned; first of delayed */
        sd_event_source *backoff;  /* owned; the next try to connect */
        unsigned failures;         /* to connect, in a row */
        uint64_t growing_usec;     /* when the last connection was begun */
        bool waiting;              /* backoff is armed */
        bool connected, announced;
        bool closing; /* mam_pg_free() is at work */
        char reason[256];
        MamPgMigrators migrators;
        MamPgTransactions transactions;
        void (*on_state)(MamPg *pg, bool connected, const char *reason, void *userdata);
        void *on_state_userdata;
        bool *gone; /* set while delivering; tells mam_pg_deliver() that we were freed */
};

int mam_pg_enqueue(MamPg *pg, MamPgQuery *q);
void mam_pg_requeue(MamPg *pg, MamPgQuery *q);
void mam_pg_delay(MamPg *pg, MamPgQuery *q, uint64_t usec);
/* Asks for a dispatch in the next turn of the loop. */
void mam_pg_wake(MamPg *pg);
/* Runs callbacks, then dispatches. The pool may be gone afterwards. */
void mam_pg_deliver(MamPg *pg);
void mam_pg_connection_up(MamPg *pg);
void mam_pg_connection_down(MamPg *pg, bool was_up, const char *reason);
uint64_t mam_pg_now(const MamPg *pg);

/* pg-transaction.c */

struct MamPgTransaction {
        MamPg *pg; /* weak; NULL: the pool is gone */
        LIST_ENTRY(MamPgTransaction) transactions;
        MamPgConnection *connection; /* weak; from the dispatch of BEGIN on */
        MamPgQuery *begin;           /* owned until begun */
        MamPgQuery *commit;          /* owned */
        MamPgBegun on_begin;
        MamPgCallback on_commit;
        void *userdata, *commit_userdata;
        bool begun, over;
};

/* The connection was lost, or COMMIT was answered, or the pool goes away. */
void mam_pg_transaction_detach(MamPgTransaction *t);

/* pg-migrate.c */
MamPgMigrator *mam_pg_migrator_free(MamPgMigrator *m);
