/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * PostgreSQL: an asynchronous pool of prepared, pipelined connections
 *
 * One pool per process. A MamPgQuery is one statement; a MamPgTransaction pins a connection for several.
 * Statements are static and prepared once per connection on first use, but for those without a name, which
 * are copied and sent as they are: for what is made of a request, such as a search. All parameters and
 * results are text format. Callbacks run from the event loop, never from within the call that started them.
 * Freeing a query cancels the interest in its result (the statement itself may still run). A caller that
 * passes ret owns the query and frees it, whether before, in or after its callback; with ret NULL the pool
 * frees it. mam_pg_free() answers what is still open with -ECANCELED; it may be called from a callback.
 * Independent queries may overtake each other. A host name in conninfo is resolved by libpq, which blocks:
 * give socket folders or addresses (hostaddr). PGresult stays inside db/.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/util/macro.h"

typedef struct MamPg MamPg;
typedef struct MamPgQuery MamPgQuery;
typedef struct MamPgTransaction MamPgTransaction;
typedef struct MamPgResult MamPgResult;

#define MAM_PG_PARAMETERS_MAX 32U

typedef struct MamPgStatement {
        const char *name; /* unique in the process; NULL: not prepared */
        const char *sql;  /* with $1… */
        bool idempotent;  /* may be sent again when the connection broke with its outcome unknown */
} MamPgStatement;

typedef struct MamPgOptions {
        unsigned size;                   /* connections; 0: 4 */
        unsigned queue_max;              /* waiting queries; 0: 1024; beyond: -EAGAIN */
        unsigned pipeline_max;           /* statements in flight per connection; 0: 32 */
        uint64_t statement_timeout_usec; /* 0: 10 s */
        const char *schema;              /* search_path, or NULL */
} MamPgOptions;

/* error: 0; -EEXIST unique violation (23505); -ENOENT foreign key (23503); -EINVAL other class 22, 23
 * (check, not null, bad text); -EAGAIN serialisation failure or deadlock after retries, or queue full;
 * -ECANCELED statement timeout; -ECONNRESET connection lost, outcome unknown; -ENOTCONN the server could not
 * be reached in time; -EIO anything else. message: the server's, for the log; never for clients. result is
 * NULL on error, else borrowed until the callback returns. */
typedef void (*MamPgCallback)(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata);

/* conninfo as in libpq ("host=/run/mam/postgresql dbname=mam user=…" or a DSN). Connects in the background,
 * and reconnects with back-off and jitter for ever; queries wait in the queue, at most statement_timeout. */
int mam_pg_new(MamPg **ret, sd_event *event, const char *conninfo, const MamPgOptions *options);
MamPg *mam_pg_free(MamPg *pg);
MAM_DEFINE_CLEANUP(MamPg, mam_pg_free);
/* Called at each change of "at least one connection is up". */
void mam_pg_set_on_state(
                MamPg *pg,
                void (*on_state)(MamPg *pg, bool connected, const char *reason, void *userdata),
                void *userdata);
bool mam_pg_is_connected(const MamPg *pg);
unsigned mam_pg_in_flight(const MamPg *pg);

/* parameters: n texts, NULL is SQL NULL; copied. *ret may be NULL if the caller never cancels. */
int mam_pg_query(
                MamPg *pg,
                MamPgQuery **ret,
                const MamPgStatement *statement,
                const char *const *parameters,
                size_t n_parameters,
                MamPgCallback callback,
                void *userdata);
MamPgQuery *mam_pg_query_free(MamPgQuery *q);

/* Several statements as one transaction, sent in one pipeline (BEGIN … COMMIT). All or nothing; -EAGAIN
 * errors are retried up to 3 times with jitter as a whole. The callback gets the result of the last
 * statement, once COMMIT is acknowledged. */
typedef struct MamPgStep {
        const MamPgStatement *statement;
        const char *const *parameters;
        size_t n_parameters;
} MamPgStep;
int mam_pg_run(MamPg *pg,
               MamPgQuery **ret,
               const MamPgStep *steps,
               size_t n_steps,
               MamPgCallback callback,
               void *userdata);

/* An interactive transaction: waits for a free connection, then on_begin runs with it; queries on it run in
 * order; exactly one of _commit and _rollback ends it. Freeing it without either rolls back. */
typedef void (*MamPgBegun)(MamPgTransaction *t, int error, void *userdata);
/* From mam_pg_begin() on the caller owns *ret and frees it, also after on_begin got an error or the commit
 * was answered. A query or commit on a transaction whose connection is gone, that is not begun or has ended
 * returns -ENOTCONN. Freeing it after _commit does not take the commit back. */
int mam_pg_begin(MamPg *pg, MamPgTransaction **ret, MamPgBegun on_begin, void *userdata);
int mam_pg_transaction_query(
                MamPgTransaction *t,
                const MamPgStatement *statement,
                const char *const *parameters,
                size_t n_parameters,
                MamPgCallback callback,
                void *userdata);
int mam_pg_commit(MamPgTransaction *t, MamPgCallback callback, void *userdata);
MamPgTransaction *mam_pg_transaction_free(MamPgTransaction *t);

size_t mam_pg_rows(const MamPgResult *r);
size_t mam_pg_affected(const MamPgResult *r);
bool mam_pg_is_null(const MamPgResult *r, size_t row, size_t column);
const char *mam_pg_text(const MamPgResult *r, size_t row, size_t column); /* "" for NULL */
int64_t mam_pg_int(const MamPgResult *r, size_t row, size_t column);      /* 0 for NULL */

/* Numbered migrations (on a connection of their own, without statement timeout; waits for the server for
 * ever), each in a transaction of its own, under an advisory lock so that replicas starting together run
 * each once. Keeps the table <schema>.schema_migrations (version, name, checksum SHA-256, applied_at).
 * -EBADMSG: an applied migration has another checksum now. */
typedef struct MamPgMigration {
        unsigned version; /* 1, 2, 3 … without gaps */
        const char *name;
        const char *sql; /* several statements allowed */
} MamPgMigration;
int mam_pg_migrate(
                MamPg *pg,
                const char *schema,
                const MamPgMigration *migrations,
                size_t n,
                void (*done)(int error, const char *message, void *userdata),
                void *userdata);
