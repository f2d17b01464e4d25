/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection of the pool: what is sent between two Syncs, and reading the answers in order
 *
 * Idempotent single statements that were dispatched together share one segment, thus one Sync, one flush and
 * one answer of the server; their answers are handed out when the Sync came back, as until then a later
 * failure takes all of them back. The failed one gets its error, the others are sent again, each alone.
 * Everything else has a segment of its own. Nothing is sent behind a transaction that is not answered, since
 * in its failed state the server would refuse what follows.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/db/pg-internal.h"
#include "libmam/util/time.h"

static MamPgSegment *segment_new(MamPgConnection *c, MamPgSegmentKind kind) {
        MamPgSegment *s;

        s = calloc(1, sizeof(*s));
        if (!s)
                return NULL;

        s->kind = kind;
        TAILQ_INIT(&s->queries);
        if (TAILQ_EMPTY(&c->segments))
                c->progress_usec = mam_pg_now(c->pg);
        TAILQ_INSERT_TAIL(&c->segments, s, entry);
        return s;
}

static void segment_free(MamPgConnection *c, MamPgSegment *s) {
        assert(TAILQ_EMPTY(&s->queries));

        if (c->open == s)
                c->open = NULL;
        TAILQ_REMOVE(&c->segments, s, entry);
        free(s);
        c->progress_usec = mam_pg_now(c->pg);
}

static bool query_is_exclusive(const MamPgQuery *q) {
        return q->kind == MAM_PG_QUERY_RUN || q->kind == MAM_PG_QUERY_COMMIT;
}

static void segment_add(MamPgConnection *c, MamPgSegment *s, MamPgQuery *q) {
        mam_pg_query_move(q, &s->queries);
        if (!s->current)
                s->current = q;
        s->n_queries++;
        c->n_in_flight++;
        if (query_is_exclusive(q))
                c->n_exclusive++;
        q->attempts++;
}

/* The caller then moves it elsewhere. */
static void segment_drop(MamPgConnection *c, MamPgSegment *s, MamPgQuery *q) {
        s->n_queries--;
        c->n_in_flight--;
        if (query_is_exclusive(q))
                c->n_exclusive--;
        if (q->kind == MAM_PG_QUERY_COMMIT && c->transaction && c->transaction == q->transaction)
                mam_pg_transaction_detach(c->transaction);
}

/* The watchdog: the server's statement_timeout ends what it runs; this ends a server that says nothing at
 * all. */

static uint64_t segment_limit(const MamPgConnection *c, const MamPgSegment *s) {
        size_t n = 1;

        if (s->kind == MAM_PG_SEGMENT_QUERIES && s->n_queries == 1)
                n = TAILQ_FIRST(&s->queries)->n_steps;

        return c->pg->timeout_usec * n + MAM_PG_GRACE_USEC;
}

static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata) {
        MamPgConnection *c = userdata;
        MamPgSegment *s = TAILQ_FIRST(&c->segments);
        uint64_t end;

        if (!s || c->link.state != MAM_PG_LINK_UP)
                return 0; /* the next query starts it again */

        end = c->progress_usec + segment_limit(c, s);
        if (mam_pg_now(c->pg) < end) {
                (void) sd_event_source_set_time(source, end);
                (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
                return 0;
        }

        mam_pg_link_fail(&c->link, "the server did not answer in time");
        mam_pg_deliver(c->pg);
        return 0;
}

static void watchdog_start(MamPgConnection *c) {
        int enabled;

        if (sd_event_source_get_enabled(c->watchdog, &enabled) > 0)
                return;
        (void) sd_event_source_set_time(
                        c->watchdog,
                        mam_pg_now(c->pg) + c->pg->timeout_usec + MAM_PG_GRACE_USEC);
        (void) sd_event_source_set_enabled(c->watchdog, SD_EVENT_ONESHOT);
}

/* Sending */

static int connection_sync(MamPgConnection *c) {
        c->open = NULL;
        if (!PQpipelineSync(c->link.conn))
                return -ECONNRESET;
        return 0;
}

static int connection_close_open(MamPgConnection *c) {
        return c->open ? connection_sync(c) : 0;
}

/* In a segment of its own, so that nothing but its own mistakes can keep it from being prepared. */
static int connection_prepare(MamPgConnection *c, const MamPgStatement *statement) {
        MamPgSegment *s;
        MamPgPlan *plan;
        char name[64];
        int r;

        if (!statement->name)
                return 0;
        r = mam_pg_plan_get(c, statement, &plan);
        if (r < 0)
                return r;
        if (plan->state != MAM_PG_PLAN_NONE)
                return 0;

        r = connection_close_open(c);
        if (r < 0)
                return r;

        s = segment_new(c, MAM_PG_SEGMENT_PREPARE);
        if (!s)
                return -ENOMEM;

        s->statement = statement;
        plan->state = MAM_PG_PLAN_SENT;
        mam_pg_plan_clear_error(plan);
        mam_pg_plan_name(name, sizeof(name), plan);
        if (!PQsendPrepare(c->link.conn, name, statement->sql, 0, NULL))
                return -ECONNRESET;

        return connection_sync(c);
}

static int connection_send_step(MamPgConnection *c, const MamPgQueryStep *step) {
        const MamPgPlan *plan = mam_pg_plan_find(c, step->statement);
        char name[64];

        if (!step->statement->name)
                return PQsendQueryParams(
                                       c->link.conn,
                                       step->statement->sql,
                                       (int) step->n_parameters,
                                       NULL,
                                       step->parameters,
                                       NULL,
                                       NULL,
                                       0)
                                       ? 0
                                       : -ECONNRESET;
        assert(plan);

        mam_pg_plan_name(name, sizeof(name), plan);
        if (!PQsendQueryPrepared(
                            c->link.conn,
                            name,
                            (int) step->n_parameters,
                            step->parameters,
                            NULL,
                            NULL,
                            0))
                return -ECONNRESET;

        return 0;
}

static int connection_send_query(MamPgConnection *c, MamPgQuery *q) {
        bool shared = q->kind == MAM_PG_QUERY_SINGLE && q->idempotent && !q->alone;
        MamPgSegment *s;
        int r;

        for (size_t i = 0; i < q->n_steps; i++) {
                r = connection_prepare(c, q->steps[i].statement);
                if (r < 0)
                        return r;
        }

        s = shared ? c->open : NULL;
        if (!s) {
                r = connection_close_open(c);
                if (r < 0)
                        return r;
                s = segment_new(c, MAM_PG_SEGMENT_QUERIES);
                if (!s)
                        return -ENOMEM;
        }

        segment_add(c, s, q);
        for (size_t i = 0; i < q->n_steps; i++) {
                r = connection_send_step(c, q->steps + i);
                if (r < 0)
                        return r;
        }

        if (!shared)
                return connection_sync(c);
        c->open = s;
        return 0;
}

void mam_pg_connection_send(MamPgConnection *c, MamPgQuery *q) {
        int r;

        assert(c->link.state == MAM_PG_LINK_UP);

        if (q->kind == MAM_PG_QUERY_BEGIN && q->transaction) {
                c->transaction = q->transaction;
                c->transaction->connection = c;
        }

        r = connection_send_query(c, q);
        if (r == -ENOMEM) {
                if (c->transaction && c->transaction == q->transaction)
                        mam_pg_transaction_detach(c->transaction);
                mam_pg_query_finish(q, -EIO, "out of memory");
                return;
        }
        if (r < 0) {
                bool sent = q->list && q->list != &c->pg->queue;

                mam_pg_link_fail(&c->link, PQerrorMessage(c->link.conn));
                if (!sent)
                        mam_pg_query_lost(q, "connection lost");
                return;
        }

        watchdog_start(c);
        if (q->kind >= MAM_PG_QUERY_BEGIN)
                mam_pg_wake(c->pg); /* flushes */
}

void mam_pg_connection_flush(MamPgConnection *c) {
        if (c->link.state != MAM_PG_LINK_UP)
                return;
        if (connection_close_open(c) < 0 || mam_pg_link_flush(&c->link) < 0)
                mam_pg_link_fail(&c->link, PQerrorMessage(c->link.conn));
}

void mam_pg_connection_rollback(MamPgConnection *c) {
        static const MamPgQueryStep step = { .statement = &mam_pg_statement_rollback };

        if (c->link.state != MAM_PG_LINK_UP)
                return;

        if (connection_prepare(c, step.statement) < 0 || connection_close_open(c) < 0 ||
            !segment_new(c, MAM_PG_SEGMENT_ROLLBACK) || connection_send_step(c, &step) < 0 ||
            connection_sync(c) < 0) {
                /* the end of the session rolls back too */
                mam_pg_link_fail(&c->link, "cannot send ROLLBACK");
                return;
        }

        watchdog_start(c);
        mam_pg_wake(c->pg);
}

bool mam_pg_connection_has_room(const MamPgConnection *c) {
        return c->link.state == MAM_PG_LINK_UP && !c->transaction && c->n_exclusive == 0 &&
               c->n_in_flight < c->pg->pipeline_max;
}

/* Receiving */

static void prepare_read(MamPgConnection *c, MamPgSegment *s, const PGresult *result) {
        MamPgPlan *plan = mam_pg_plan_find(c, s->statement);
        const char *sqlstate;
        char line[512];

        assert(plan);

        if (PQresultStatus(result) == PGRES_COMMAND_OK) {
                plan->state = MAM_PG_PLAN_READY;
                return;
        }

        /* The query behind it will be told that there is no such statement; this is the reason. */
        sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE) ?: "";
        plan->state = MAM_PG_PLAN_NONE;
        plan->error = mam_pg_error_from_sqlstate(sqlstate);
        memccpy(plan->sqlstate, sqlstate, '\0', sizeof(plan->sqlstate) - 1);
        mam_pg_error_line(line, sizeof(line), PQresultErrorMessage(result));
        free(plan->message);
        plan->message = strdup(line);
}

static bool query_keeps_result(const MamPgQuery *q, size_t step) {
        return q->kind == MAM_PG_QUERY_RUN ? step + 2 == q->n_steps : step + 1 == q->n_steps;
}

static void query_read_ok(MamPgSegment *s, MamPgQuery *q, PGresult **result) {
        bool is_commit = q->kind == MAM_PG_QUERY_COMMIT ||
                         (q->kind == MAM_PG_QUERY_RUN && s->step + 1 == q->n_steps);

        if (is_commit) {
                if (strcmp(PQcmdStatus(*result), "COMMIT") == 0) {
                        q->committed = true;
                } else {
                        mam_pg_query_set_error(
                                        q,
                                        -EIO,
                                        "25P02",
                                        "the transaction had failed and was rolled back");
                        s->failed = true;
                }
        }

        if (query_keeps_result(q, s->step)) {
                PQclear(q->result);
                q->result = MAM_TAKE(*result);
        }
}

/* Takes the result or leaves it to the caller. */
static void segment_read(MamPgConnection *c, MamPgSegment *s, PGresult **result) {
        MamPgQuery *q = s->current;
        const char *sqlstate;

        s->answered = true;

        if (s->kind == MAM_PG_SEGMENT_PREPARE) {
                prepare_read(c, s, *result);
                return;
        }
        if (s->kind == MAM_PG_SEGMENT_ROLLBACK)
                return;
        if (!q && s->n_queries == 1)
                q = TAILQ_FIRST(&s->queries); /* the implicit COMMIT at the Sync failed: a deferred
                                                 constraint */
        if (!q) {
                s->failed = true; /* it took all of them back; each alone will show whose fault it was */
                return;
        }

        switch (PQresultStatus(*result)) {
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
        case PGRES_EMPTY_QUERY:
                query_read_ok(s, q, result);
                return;
        case PGRES_PIPELINE_ABORTED:
                s->failed = true; /* whose error it was is known already */
                return;
        case PGRES_FATAL_ERROR:
                sqlstate = PQresultErrorField(*result, PG_DIAG_SQLSTATE) ?: "";
                mam_pg_query_set_error(
                                q,
                                mam_pg_error_from_sqlstate(sqlstate),
                                sqlstate,
                                PQresultErrorMessage(*result));
                s->failed = true;
                return;
        default:
                /* COPY and the like: not ours to speak */
                mam_pg_query_set_error(q, -EIO, NULL, "a kind of statement that the pool does not run");
                mam_pg_link_fail(&c->link, "unexpected kind of result");
        }
}

static void segment_next(MamPgSegment *s) {
        if (!s->answered)
                return;

        s->answered = false;
        if (!s->current)
                return;
        if (++s->step == s->current->n_steps) {
                s->current = TAILQ_NEXT(s->current, entry);
                s->step = 0;
        }
}

/* A stale or missing plan: forget it; where it could not be prepared, that is the error to report. */
static void query_explain(MamPgConnection *c, MamPgQuery *q) {
        if (!mam_pg_error_is_stale_plan(q->sqlstate))
                return;

        for (size_t i = 0; i < q->n_steps; i++) {
                MamPgPlan *plan = mam_pg_plan_find(c, q->steps[i].statement);

                if (plan && plan->error < 0) {
                        mam_pg_query_reset(q);
                        mam_pg_query_set_error(q, plan->error, plan->sqlstate, plan->message);
                        return;
                }
                mam_pg_plan_forget(c, q->steps[i].statement);
        }
}

static void segment_finish(MamPgConnection *c, MamPgSegment *s) {
        bool failed = s->failed, rollback = false;
        MamPgQuery *q;

        /* backwards, so that what goes back to the head of the queue keeps its order */
        while ((q = failed ? TAILQ_LAST(&s->queries, MamPgQueries) : TAILQ_FIRST(&s->queries))) {
                segment_drop(c, s, q);

                if (!failed) {
                        mam_pg_query_finish(q, 0, NULL);
                } else if (q->error < 0) {
                        rollback = rollback || query_is_exclusive(q);
                        if (q->kind == MAM_PG_QUERY_BEGIN && c->transaction &&
                            c->transaction == q->transaction)
                                mam_pg_transaction_detach(c->transaction);
                        query_explain(c, q);
                        mam_pg_query_failed(q);
                } else {
                        mam_pg_query_reset(q);
                        q->alone = true;
                        q->attempts--; /* it had no try of its own */
                        mam_pg_requeue(c->pg, q);
                }
        }

        segment_free(c, s);
        if (rollback)
                mam_pg_connection_rollback(c);
}

static void on_connection_input(MamPgLink *l) {
        MamPgConnection *c = (MamPgConnection *) l;
        unsigned n_empty = 0;
        MamPgSegment *s;

        while ((s = TAILQ_FIRST(&c->segments)) && !PQisBusy(l->conn)) {
                PGresult *result = PQgetResult(l->conn);
                const char *sqlstate;

                if (!result) {
                        if (!s->answered && ++n_empty > 1)
                                return; /* libpq has nothing more to say */
                        segment_next(s);
                        continue;
                }
                n_empty = 0;

                if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
                        PQclear(result);
                        segment_finish(c, s);
                        if (l->state != MAM_PG_LINK_UP)
                                return;
                        continue;
                }

                sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
                if (PQresultStatus(result) == PGRES_FATAL_ERROR && mam_pg_error_is_fatal(sqlstate)) {
                        mam_pg_link_fail(l, PQresultErrorMessage(result));
                        PQclear(result);
                        return;
                }

                segment_read(c, s, &result);
                PQclear(result);
                if (l->state != MAM_PG_LINK_UP)
                        return;
        }
}

/* Up and down */

static void on_connection_up(MamPgLink *l) {
        MamPgConnection *c = (MamPgConnection *) l;

        if (!PQenterPipelineMode(l->conn)) {
                mam_pg_link_fail(l, PQerrorMessage(l->conn));
                return;
        }
        mam_pg_connection_up(c->pg);
}

static void on_connection_down(MamPgLink *l, bool was_up, const char *reason) {
        MamPgConnection *c = (MamPgConnection *) l;
        MamPgSegment *s;
        MamPgQuery *q;

        (void) sd_event_source_set_enabled(c->watchdog, SD_EVENT_OFF);
        if (c->transaction)
                mam_pg_transaction_detach(c->transaction);

        while ((s = TAILQ_LAST(&c->segments, MamPgSegments))) {
                while ((q = TAILQ_LAST(&s->queries, MamPgQueries))) {
                        segment_drop(c, s, q);
                        if (q->error < 0) {
                                mam_pg_query_failed(q); /* the server's answer had come */
                        } else {
                                mam_pg_query_lost(q, reason);
                        }
                }
                segment_free(c, s);
        }

        mam_pg_plans_clear(c);
        mam_pg_connection_down(c->pg, was_up, reason);
}

static void on_connection_settled(MamPgLink *l) {
        mam_pg_deliver(((MamPgConnection *) l)->pg);
}

int mam_pg_connection_init(MamPgConnection *c, MamPg *pg) {
        int r;

        *c = (MamPgConnection) {
                .link = {
                        .event = pg->event,
                        .setup = pg->setup,
                        .on_up = on_connection_up,
                        .on_input = on_connection_input,
                        .on_down = on_connection_down,
                        .on_settled = on_connection_settled,
                },
                .pg = pg,
        };
        TAILQ_INIT(&c->segments);

        r = sd_event_add_time(
                        pg->event,
                        &c->watchdog,
                        CLOCK_MONOTONIC,
                        0,
                        100 * MAM_USEC_PER_MSEC,
                        on_watchdog,
                        c);
        if (r < 0)
                return r;

        return sd_event_source_set_enabled(c->watchdog, SD_EVENT_OFF);
}

void mam_pg_connection_done(MamPgConnection *c) {
        MamPgSegment *s;
        MamPgQuery *q;

        mam_pg_link_stop(&c->link);
        if (c->transaction)
                mam_pg_transaction_detach(c->transaction);

        while ((s = TAILQ_FIRST(&c->segments))) {
                while ((q = TAILQ_FIRST(&s->queries))) {
                        segment_drop(c, s, q);
                        mam_pg_query_finish(q, q->committed ? 0 : -ECANCELED, "the pool was closed");
                }
                segment_free(c, s);
        }

        mam_pg_plans_clear(c);
        c->watchdog = sd_event_source_disable_unref(c->watchdog);
}
