/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A query: one statement, or several as one transaction, with its copy of the parameters, until its answer
 *
 * Here is decided what an error means for a query: an answer, or another try. Tried again is only what
 * surely did not happen (the server said so) or may happen twice (the statement says so).
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/db/pg-internal.h"
#include "libmam/util/backoff.h"

const MamPgStatement mam_pg_statement_begin = { "mam_begin", "BEGIN", false };
const MamPgStatement mam_pg_statement_commit = { "mam_commit", "COMMIT", false };
const MamPgStatement mam_pg_statement_rollback = { "mam_rollback", "ROLLBACK", false };

static size_t steps_size(const MamPgStep *steps, size_t n_steps) {
        size_t size = 0;

        for (size_t i = 0; i < n_steps; i++) {
                if (!steps[i].statement->name)
                        size += strlen(steps[i].statement->sql) + 1;
                for (size_t j = 0; j < steps[i].n_parameters; j++) {
                        size += sizeof(char *);
                        if (steps[i].parameters[j])
                                size += strlen(steps[i].parameters[j]) + 1;
                }
        }

        return size;
}

/* Copies into memory of steps_size() bytes: first all pointers, then all texts. */
static void steps_copy(MamPgQueryStep *to, const MamPgStep *steps, size_t n_steps, void *memory) {
        const char **pointers = memory;
        size_t n_pointers = 0;
        char *text;

        for (size_t i = 0; i < n_steps; i++)
                n_pointers += steps[i].n_parameters;
        text = (char *) (pointers + n_pointers);

        for (size_t i = 0; i < n_steps; i++) {
                to[i] = (MamPgQueryStep){
                        .statement = steps[i].statement,
                        .parameters = pointers,
                        .n_parameters = (unsigned) steps[i].n_parameters,
                };

                for (size_t j = 0; j < steps[i].n_parameters; j++) {
                        const char *value = steps[i].parameters[j];

                        *pointers++ = value ? text : NULL;
                        if (value)
                                text = stpcpy(text, value) + 1;
                }

                if (!steps[i].statement->name) {
                        to[i].own = *steps[i].statement;
                        to[i].own.sql = text;
                        to[i].statement = &to[i].own;
                        text = stpcpy(text, steps[i].statement->sql) + 1;
                }
        }
}

int mam_pg_query_new(
                MamPgQuery **ret,
                MamPgQueryKind kind,
                const MamPgStep *steps,
                size_t n_steps,
                MamPgCallback callback,
                void *userdata) {
        size_t n_all, header;
        MamPgQuery *q;

        assert(ret);
        assert(steps);

        if (n_steps == 0 || n_steps > MAM_PG_STEPS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n_steps; i++) {
                if (steps[i].n_parameters > MAM_PG_PARAMETERS_MAX)
                        return -E2BIG;
        }

        n_all = n_steps + (kind == MAM_PG_QUERY_RUN ? 2 : 0);
        header = sizeof(MamPgQuery) + n_all * sizeof(MamPgQueryStep);
        q = malloc(header + steps_size(steps, n_steps));
        if (!q)
                return -ENOMEM;

        *q = (MamPgQuery){
                .n_ref = 1,
                .kind = kind,
                .callback = callback,
                .userdata = userdata,
                .idempotent = true,
                .n_steps = n_all,
        };

        if (kind == MAM_PG_QUERY_RUN) {
                q->steps[0] = (MamPgQueryStep){ .statement = &mam_pg_statement_begin };
                q->steps[n_all - 1] = (MamPgQueryStep){ .statement = &mam_pg_statement_commit };
        }
        steps_copy(q->steps + (kind == MAM_PG_QUERY_RUN ? 1 : 0), steps, n_steps, (char *) q + header);

        for (size_t i = 0; i < n_steps; i++) {
                if (!steps[i].statement->idempotent)
                        q->idempotent = false;
                if (!steps[i].statement->name)
                        q->alone = true; /* nobody else shall fail with it */
        }

        *ret = q;
        return 0;
}

MamPgQuery *mam_pg_query_unref(MamPgQuery *q) {
        if (!q || --q->n_ref > 0)
                return NULL;

        assert(!q->list);
        PQclear(q->result);
        free(q->message);
        free(q);
        return NULL;
}

MamPgQuery *mam_pg_query_free(MamPgQuery *q) {
        if (!q)
                return NULL;

        q->callback = NULL;

        /* what was not sent yet leaves its place in the queue at once */
        if (q->pg && (q->list == &q->pg->queue || q->list == &q->pg->delayed)) {
                mam_pg_query_move(q, NULL);
                q->pg->n_open--;
                q->pg = NULL;
                (void) mam_pg_query_unref(q);
        }

        return mam_pg_query_unref(q);
}

static void query_unlink(MamPgQuery *q) {
        if (!q->list)
                return;
        if (q->pg && q->list == &q->pg->queue)
                q->pg->n_queued--;
        TAILQ_REMOVE(q->list, q, entry);
        q->list = NULL;
}

void mam_pg_query_move(MamPgQuery *q, MamPgQueries *list) {
        query_unlink(q);
        if (!list)
                return;
        TAILQ_INSERT_TAIL(list, q, entry);
        q->list = list;
        if (list == &q->pg->queue)
                q->pg->n_queued++;
}

void mam_pg_query_move_first(MamPgQuery *q, MamPgQueries *list) {
        query_unlink(q);
        TAILQ_INSERT_HEAD(list, q, entry);
        q->list = list;
        if (list == &q->pg->queue)
                q->pg->n_queued++;
}

void mam_pg_query_reset(MamPgQuery *q) {
        PQclear(q->result);
        q->result = NULL;
        free(q->message);
        q->message = NULL;
        q->error = 0;
        q->sqlstate[0] = '\0';
        q->committed = false;
}

void mam_pg_query_set_error(MamPgQuery *q, int error, const char *sqlstate, const char *message) {
        char line[512];

        if (q->error < 0)
                return;

        q->error = error;
        memccpy(q->sqlstate, sqlstate ?: "", '\0', sizeof(q->sqlstate));
        q->sqlstate[sizeof(q->sqlstate) - 1] = '\0';
        mam_pg_error_line(line, sizeof(line), message);
        free(q->message);
        q->message = strdup(line); /* NULL on ENOMEM: an answer without a text */
}

void mam_pg_query_finish(MamPgQuery *q, int error, const char *message) {
        assert(q->pg);

        if (error < 0) {
                mam_pg_query_set_error(q, error, NULL, message);
                PQclear(q->result);
                q->result = NULL;
        }

        mam_pg_query_move(q, &q->pg->answers);
        mam_pg_wake(q->pg);
}

static bool query_is_part(const MamPgQuery *q) {
        return q->kind == MAM_PG_QUERY_STEP || q->kind == MAM_PG_QUERY_COMMIT;
}

void mam_pg_query_failed(MamPgQuery *q) {
        assert(q->error < 0);

        if (!query_is_part(q) && q->attempts < MAM_PG_ATTEMPTS_MAX) {
                if (mam_pg_error_is_retryable(q->sqlstate)) {
                        uint64_t wait = mam_backoff_usec(
                                        q->attempts,
                                        MAM_PG_RETRY_FIRST,
                                        MAM_PG_RETRY_LIMIT);

                        mam_pg_query_reset(q);
                        q->alone = true;
                        mam_pg_delay(q->pg, q, wait);
                        return;
                }

                if (mam_pg_error_is_stale_plan(q->sqlstate) && !q->reprepared) {
                        mam_pg_query_reset(q);
                        q->reprepared = true;
                        mam_pg_requeue(q->pg, q);
                        return;
                }
        }

        mam_pg_query_finish(q, q->error, q->message);
}

void mam_pg_query_lost(MamPgQuery *q, const char *reason) {
        bool again;

        if (q->committed) {
                mam_pg_query_finish(q, 0, NULL);
                return;
        }

        /* BEGIN alone has changed nothing */
        again = q->kind == MAM_PG_QUERY_BEGIN || (!query_is_part(q) && q->idempotent);
        mam_pg_query_reset(q);
        if (again && q->attempts < MAM_PG_ATTEMPTS_MAX) {
                q->alone = true; /* should it be what kills the connection, then only its own */
                mam_pg_requeue(q->pg, q);
                return;
        }

        mam_pg_query_finish(q, -ECONNRESET, reason);
}

static int pg_submit(
                MamPg *pg,
                MamPgQuery **ret,
                MamPgQueryKind kind,
                const MamPgStep *steps,
                size_t n_steps,
                MamPgCallback callback,
                void *userdata) {
        _cleanup_(mam_pg_query_unrefp) MamPgQuery *q = NULL;
        int r;

        r = mam_pg_query_new(&q, kind, steps, n_steps, callback, userdata);
        if (r < 0)
                return r;

        r = mam_pg_enqueue(pg, q);
        if (r < 0)
                return r;

        if (ret)
                *ret = MAM_TAKE(q);
        return 0;
}

int mam_pg_query(
                MamPg *pg,
                MamPgQuery **ret,
                const MamPgStatement *statement,
                const char *const *parameters,
                size_t n_parameters,
                MamPgCallback callback,
                void *userdata) {
        const MamPgStep step = { statement, parameters, n_parameters };

        assert(pg);
        assert(statement);

        return pg_submit(pg, ret, MAM_PG_QUERY_SINGLE, &step, 1, callback, userdata);
}

int mam_pg_run(MamPg *pg,
               MamPgQuery **ret,
               const MamPgStep *steps,
               size_t n_steps,
               MamPgCallback callback,
               void *userdata) {
        assert(pg);

        return pg_submit(pg, ret, MAM_PG_QUERY_RUN, steps, n_steps, callback, userdata);
}
