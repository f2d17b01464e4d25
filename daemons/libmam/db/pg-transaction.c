/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Interactive transactions: a connection pinned to one caller
 *
 * The connection stays pinned until COMMIT was answered, or ROLLBACK was sent, or the server ends the
 * session after the idle-in-transaction timeout. Between, nothing is tried again: only the caller knows what
 * a second try means.
 */

#include <assert.h>
#include <stdlib.h>

#include "libmam/db/pg-internal.h"

/* The caller is called last: it may free the transaction. */
static void on_begin_answer(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        MamPgTransaction *t = userdata;

        assert(t);

        t->begin = mam_pg_query_free(t->begin);
        if (error == 0 && !t->connection)
                error = -ECONNRESET; /* lost between BEGIN and now */
        t->begun = error == 0;
        t->over = error < 0;

        t->on_begin(t, error, t->userdata);
}

static void on_commit_answer(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        MamPgTransaction *t = userdata;

        assert(t);

        t->commit = mam_pg_query_free(t->commit);
        if (t->on_commit)
                t->on_commit(q, result, error, message, t->commit_userdata);
}

int mam_pg_begin(MamPg *pg, MamPgTransaction **ret, MamPgBegun on_begin, void *userdata) {
        static const MamPgStep begin = { &mam_pg_statement_begin, NULL, 0 };
        _cleanup_(mam_pg_query_unrefp) MamPgQuery *q = NULL;
        MamPgTransaction *t;
        int r;

        assert(pg);
        assert(ret);
        assert(on_begin);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;

        r = mam_pg_query_new(&q, MAM_PG_QUERY_BEGIN, &begin, 1, on_begin_answer, t);
        if (r >= 0)
                r = mam_pg_enqueue(pg, q);
        if (r < 0) {
                free(t);
                return r;
        }

        *t = (MamPgTransaction){ .pg = pg,
                                 .begin = MAM_TAKE(q),
                                 .on_begin = on_begin,
                                 .userdata = userdata };
        t->begin->transaction = t;
        LIST_INSERT_HEAD(&pg->transactions, t, transactions);
        *ret = t;
        return 0;
}

/* Sends one part. *ret is borrowed. */
static int transaction_send(
                MamPgTransaction *t,
                MamPgQuery **ret,
                MamPgQueryKind kind,
                const MamPgStep *step,
                MamPgCallback callback,
                void *userdata) {
        _cleanup_(mam_pg_query_unrefp) MamPgQuery *q = NULL;
        int r;

        if (!t->pg || !t->begun || t->over || !t->connection || t->commit)
                return -ENOTCONN;
        if (t->connection->n_in_flight >= t->pg->queue_max)
                return -EAGAIN;

        r = mam_pg_query_new(&q, kind, step, 1, callback, userdata);
        if (r < 0)
                return r;

        q->transaction = t;
        q->pg = t->pg;
        q->n_ref++; /* the pool's */
        t->pg->n_open++;
        if (ret)
                *ret = q;
        mam_pg_connection_send(t->connection, q);
        return 0;
}

int mam_pg_transaction_query(
                MamPgTransaction *t,
                const MamPgStatement *statement,
                const char *const *parameters,
                size_t n_parameters,
                MamPgCallback callback,
                void *userdata) {
        const MamPgStep step = { statement, parameters, n_parameters };

        assert(t);
        assert(statement);

        return transaction_send(t, NULL, MAM_PG_QUERY_STEP, &step, callback, userdata);
}

int mam_pg_commit(MamPgTransaction *t, MamPgCallback callback, void *userdata) {
        static const MamPgStep commit = { &mam_pg_statement_commit, NULL, 0 };
        MamPgQuery *q = NULL;
        int r;

        assert(t);

        r = transaction_send(t, &q, MAM_PG_QUERY_COMMIT, &commit, on_commit_answer, t);
        if (r < 0)
                return r;

        q->n_ref++;
        t->commit = q;
        t->on_commit = callback;
        t->commit_userdata = userdata;
        return 0;
}

void mam_pg_transaction_detach(MamPgTransaction *t) {
        assert(t);

        if (t->connection)
                t->connection->transaction = NULL;
        t->connection = NULL;
        if (t->begun)
                t->over = true;
}

static void silence(MamPgQueries *queries, const MamPgTransaction *t) {
        MamPgQuery *q;

        TAILQ_FOREACH(q, queries, entry)
        if (q->transaction == t) {
                q->transaction = NULL;
                q->callback = NULL;
        }
}

MamPgTransaction *mam_pg_transaction_free(MamPgTransaction *t) {
        MamPgConnection *c;
        MamPgSegment *segment;
        bool committing;

        if (!t)
                return NULL;

        c = t->connection;
        committing = t->commit;

        if (t->pg) {
                silence(&t->pg->answers, t);
                LIST_REMOVE(t, transactions);
        }
        if (t->begin)
                t->begin->transaction = NULL;
        t->begin = mam_pg_query_free(t->begin);
        t->commit = mam_pg_query_free(t->commit);

        if (c) {
                TAILQ_FOREACH(segment, &c->segments, entry)
                silence(&segment->queries, t);
                mam_pg_transaction_detach(t);
                if (!committing)
                        mam_pg_connection_rollback(c);
        }

        free(t);
        return NULL;
}
