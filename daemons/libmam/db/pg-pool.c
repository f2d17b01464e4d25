/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The pool: the queue, which connection gets what, how many connections there are, and handing out answers
 *
 * A query goes to the connection with the least in flight. What was queued during one turn of the event loop
 * is dispatched at its end, so bursts share segments without any timer. There is one connection while that
 * suffices; others are opened when a query finds all of them busy. While the server is away one connection
 * at a time tries, with back-off and jitter, so that a coming back server is met by one connection of each
 * process first.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/db/pg-internal.h"
#include "libmam/util/backoff.h"
#include "libmam/util/buffer.h"
#include "libmam/util/time.h"

#define POOL_SIZE_DEFAULT    4U
#define POOL_SIZE_MAX        64U
#define QUEUE_MAX_DEFAULT    1024U
#define PIPELINE_MAX_DEFAULT 32U
#define TIMEOUT_DEFAULT      (10 * MAM_USEC_PER_SEC)
#define GROW_PATIENCE        (50 * MAM_USEC_PER_MSEC)
#define TIMER_ACCURACY       (1 * MAM_USEC_PER_MSEC)

uint64_t mam_pg_now(const MamPg *pg) {
        uint64_t now = 0;

        (void) sd_event_now(pg->event, CLOCK_MONOTONIC, &now);
        return now;
}

static void timer_set(sd_event_source *s, uint64_t usec) {
        (void) sd_event_source_set_time(s, usec);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* Queue */

void mam_pg_wake(MamPg *pg) {
        if (!pg->closing)
                (void) sd_event_source_set_enabled(pg->defer, SD_EVENT_ONESHOT);
}

int mam_pg_enqueue(MamPg *pg, MamPgQuery *q) {
        if (pg->closing)
                return -ECANCELED;
        if (pg->n_queued >= pg->queue_max)
                return -EAGAIN;

        q->pg = pg;
        q->n_ref++; /* ours, until it is delivered */
        q->deadline_usec = mam_pg_now(pg) + pg->timeout_usec;
        pg->n_open++;
        mam_pg_query_move(q, &pg->queue);
        mam_pg_wake(pg);
        return 0;
}

void mam_pg_requeue(MamPg *pg, MamPgQuery *q) {
        mam_pg_query_move_first(q, &pg->queue);
        mam_pg_wake(pg);
}

void mam_pg_delay(MamPg *pg, MamPgQuery *q, uint64_t usec) {
        uint64_t first;

        q->retry_usec = mam_pg_now(pg) + usec;
        if (TAILQ_EMPTY(&pg->delayed) ||
            (sd_event_source_get_time(pg->retry, &first) >= 0 && q->retry_usec < first))
                timer_set(pg->retry, q->retry_usec);
        mam_pg_query_move(q, &pg->delayed);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
        MamPg *pg = userdata;
        uint64_t now = mam_pg_now(pg), first = MAM_USEC_INFINITY;
        MamPgQuery *q, *next;

        for (q = TAILQ_FIRST(&pg->delayed); q; q = next) {
                next = TAILQ_NEXT(q, entry);
                if (q->retry_usec <= now) {
                        mam_pg_query_move_first(q, &pg->queue);
                } else if (q->retry_usec < first) {
                        first = q->retry_usec;
                }
        }

        if (first != MAM_USEC_INFINITY)
                timer_set(s, first);
        mam_pg_deliver(pg);
        return 0;
}

static int on_expiry(sd_event_source *s, uint64_t usec, void *userdata) {
        MamPg *pg = userdata;
        uint64_t now = mam_pg_now(pg);
        MamPgQuery *q, *next;

        for (q = TAILQ_FIRST(&pg->queue); q; q = next) {
                next = TAILQ_NEXT(q, entry);
                if (q->deadline_usec > now)
                        continue;
                if (pg->connected) {
                        mam_pg_query_finish(q, -EAGAIN, "waited too long for a free connection");
                } else {
                        mam_pg_query_finish(q, -ENOTCONN, pg->reason);
                }
        }

        mam_pg_deliver(pg);
        return 0;
}

/* Connections */

static unsigned count_in_state(const MamPg *pg, MamPgLinkState from, MamPgLinkState to) {
        unsigned n = 0;

        for (unsigned i = 0; i < pg->n_connections; i++) {
                if (pg->connections[i].link.state >= from && pg->connections[i].link.state <= to)
                        n++;
        }

        return n;
}

/* Opens a connection if one is wanted and the back-off permits. */
static void pool_grow(MamPg *pg, bool busy) {
        unsigned n_up = count_in_state(pg, MAM_PG_LINK_UP, MAM_PG_LINK_UP);
        unsigned n_coming = count_in_state(pg, MAM_PG_LINK_CONNECTING, MAM_PG_LINK_SETUP);
        char why[256] = "";

        if (pg->waiting || n_coming > 0 || (n_up > 0 && !busy))
                return;

        for (unsigned i = 0; i < pg->n_connections; i++) {
                MamPgLink *l = &pg->connections[i].link;

                if (l->state != MAM_PG_LINK_DOWN)
                        continue;
                pg->growing_usec = mam_pg_now(pg);
                if (mam_pg_link_start(l, pg->conninfo, why, sizeof(why)) < 0)
                        mam_pg_connection_down(pg, false, why);
                return;
        }
}

void mam_pg_connection_up(MamPg *pg) {
        pg->failures = 0;
        pg->connected = true;
        strcpy(pg->reason, "connected");
}

void mam_pg_connection_down(MamPg *pg, bool was_up, const char *reason) {
        unsigned attempt = was_up ? 0 : pg->failures++;

        mam_pg_error_line(pg->reason, sizeof(pg->reason), reason);
        pg->connected = count_in_state(pg, MAM_PG_LINK_UP, MAM_PG_LINK_UP) > 0;
        pg->waiting = true;
        timer_set(pg->backoff,
                  mam_pg_now(pg) + mam_backoff_usec(attempt, MAM_PG_BACKOFF_FIRST, MAM_PG_BACKOFF_LIMIT));
}

static int on_backoff(sd_event_source *s, uint64_t usec, void *userdata) {
        MamPg *pg = userdata;

        pg->waiting = false;
        mam_pg_deliver(pg);
        return 0;
}

/* Dispatch */

/* Nothing waits behind a slow statement because another connection is a moment late. */
static bool pool_awaits_connection(MamPg *pg) {
        pool_grow(pg, true);
        return count_in_state(pg, MAM_PG_LINK_CONNECTING, MAM_PG_LINK_SETUP) > 0 &&
               mam_pg_now(pg) < pg->growing_usec + GROW_PATIENCE;
}

static MamPgConnection *pool_pick(MamPg *pg) {
        MamPgConnection *best = NULL;

        for (unsigned i = 0; i < pg->n_connections; i++) {
                MamPgConnection *c = pg->connections + i;

                if (mam_pg_connection_has_room(c) && (!best || c->n_in_flight < best->n_in_flight))
                        best = c;
        }

        if ((!best || best->n_in_flight > 0) && pool_awaits_connection(pg))
                return NULL;

        return best;
}

static void pool_dispatch(MamPg *pg) {
        MamPgConnection *c;
        MamPgQuery *q;

        while ((q = TAILQ_FIRST(&pg->queue)) && (c = pool_pick(pg))) {
                mam_pg_query_move(q, NULL);
                mam_pg_connection_send(c, q);
        }

        for (unsigned i = 0; i < pg->n_connections; i++)
                mam_pg_connection_flush(pg->connections + i);

        pool_grow(pg, false);

        q = TAILQ_FIRST(&pg->queue);
        if (q) {
                timer_set(pg->expiry, q->deadline_usec);
        } else {
                (void) sd_event_source_set_enabled(pg->expiry, SD_EVENT_OFF);
        }
}

/* Answers */

static void deliver_one(MamPg *pg, MamPgQuery *q) {
        mam_pg_query_move(q, NULL);
        pg->n_open--;
        q->pg = NULL;
        if (q->callback)
                q->callback(q, (const MamPgResult *) q->result, q->error, q->message, q->userdata);
        (void) mam_pg_query_unref(q);
}

void mam_pg_deliver(MamPg *pg) {
        bool gone = false;
        MamPgQuery *q;

        if (pg->gone)
                return; /* an event loop run from within a callback: the outer one goes on */

        pg->gone = &gone;
        for (;;) {
                if (pg->connected != pg->announced) {
                        pg->announced = pg->connected;
                        if (pg->on_state)
                                pg->on_state(pg, pg->connected, pg->reason, pg->on_state_userdata);
                        if (gone)
                                return;
                }

                q = TAILQ_FIRST(&pg->answers);
                if (!q) {
                        pool_dispatch(pg);
                        if (TAILQ_EMPTY(&pg->answers) && pg->connected == pg->announced)
                                break;
                        continue;
                }

                deliver_one(pg, q);
                if (gone)
                        return;
        }

        pg->gone = NULL;
        (void) sd_event_source_set_enabled(pg->defer, SD_EVENT_OFF);
}

static int on_defer(sd_event_source *s, void *userdata) {
        mam_pg_deliver(userdata);
        return 0;
}

/* Life */

static int pool_setup_sql(MamPg *pg) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r;

        r = mam_buffer_appendf(
                        &b,
                        "SET statement_timeout = %llu; SET idle_in_transaction_session_timeout = %llu; "
                        "SET timezone = 'UTC'; SET datestyle = 'ISO'",
                        (unsigned long long) (pg->timeout_usec / MAM_USEC_PER_MSEC),
                        (unsigned long long) ((pg->timeout_usec + MAM_PG_GRACE_USEC) / MAM_USEC_PER_MSEC));
        if (r < 0)
                return r;

        if (pg->schema) {
                r = mam_buffer_append_string(&b, "; SET search_path = \"");
                for (const char *s = pg->schema; r >= 0 && *s; s++)
                        r = mam_buffer_appendf(&b, *s == '"' ? "%c\"" : "%c", *s);
                if (r >= 0)
                        r = mam_buffer_append_string(&b, "\"");
                if (r < 0)
                        return r;
        }

        pg->setup = mam_buffer_steal(&b, NULL);
        return pg->setup ? 0 : -ENOMEM;
}

static int pool_sources(MamPg *pg) {
        const struct {
                sd_event_source **source;
                sd_event_time_handler_t handler;
        } timers[] = {
                { &pg->expiry, on_expiry },
                { &pg->retry, on_retry },
                { &pg->backoff, on_backoff },
        };
        int r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(timers); i++) {
                r = sd_event_add_time(
                                pg->event,
                                timers[i].source,
                                CLOCK_MONOTONIC,
                                0,
                                TIMER_ACCURACY,
                                timers[i].handler,
                                pg);
                if (r < 0)
                        return r;
                r = sd_event_source_set_enabled(*timers[i].source, SD_EVENT_OFF);
                if (r < 0)
                        return r;
        }

        return sd_event_add_defer(pg->event, &pg->defer, on_defer, pg); /* the first turn connects */
}

static int conninfo_check(const char *conninfo) {
        PQconninfoOption *options;
        char *message = NULL;

        options = PQconninfoParse(conninfo, &message);
        if (!options) {
                PQfreemem(message);
                return -EINVAL;
        }

        PQconninfoFree(options);
        return 0;
}

static int pool_init(MamPg *pg, sd_event *event, const char *conninfo, const MamPgOptions *o) {
        unsigned size = o->size ?: POOL_SIZE_DEFAULT;
        int r;

        r = conninfo_check(conninfo);
        if (r < 0)
                return r;
        if (size > POOL_SIZE_MAX)
                return -EINVAL;

        pg->event = sd_event_ref(event);
        pg->queue_max = o->queue_max ?: QUEUE_MAX_DEFAULT;
        pg->pipeline_max = o->pipeline_max ?: PIPELINE_MAX_DEFAULT;
        pg->timeout_usec = o->statement_timeout_usec ?: TIMEOUT_DEFAULT;
        strcpy(pg->reason, "not connected yet");

        pg->conninfo = strdup(conninfo);
        pg->schema = o->schema ? strdup(o->schema) : NULL;
        if (!pg->conninfo || (o->schema && !pg->schema))
                return -ENOMEM;

        r = pool_setup_sql(pg);
        if (r < 0)
                return r;
        r = pool_sources(pg);
        if (r < 0)
                return r;

        pg->connections = calloc(size, sizeof(*pg->connections));
        if (!pg->connections)
                return -ENOMEM;
        for (; pg->n_connections < size; pg->n_connections++) {
                r = mam_pg_connection_init(pg->connections + pg->n_connections, pg);
                if (r < 0) {
                        mam_pg_connection_done(pg->connections + pg->n_connections);
                        return r;
                }
        }

        return 0;
}

int mam_pg_new(MamPg **ret, sd_event *event, const char *conninfo, const MamPgOptions *options) {
        static const MamPgOptions defaults = { 0 };
        _cleanup_(mam_pg_freep) MamPg *pg = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(conninfo);

        pg = calloc(1, sizeof(*pg));
        if (!pg)
                return -ENOMEM;
        TAILQ_INIT(&pg->queue);
        TAILQ_INIT(&pg->delayed);
        TAILQ_INIT(&pg->answers);

        r = pool_init(pg, event, conninfo, options ?: &defaults);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(pg);
        return 0;
}

static void pool_cancel(MamPg *pg) {
        MamPgTransaction *t;
        MamPgQuery *q;

        for (unsigned i = 0; i < pg->n_connections; i++)
                mam_pg_connection_done(pg->connections + i);
        while ((q = TAILQ_FIRST(&pg->queue)) || (q = TAILQ_FIRST(&pg->delayed)))
                mam_pg_query_finish(q, -ECANCELED, "the pool was closed");

        while (!LIST_EMPTY(&pg->migrators))
                (void) mam_pg_migrator_free(LIST_FIRST(&pg->migrators));
        while ((q = TAILQ_FIRST(&pg->answers)))
                deliver_one(pg, q);

        while ((t = LIST_FIRST(&pg->transactions))) {
                LIST_REMOVE(t, transactions);
                t->pg = NULL;
        }
}

MamPg *mam_pg_free(MamPg *pg) {
        if (!pg || pg->closing)
                return NULL;

        pg->closing = true;
        if (pg->gone)
                *pg->gone = true;
        pool_cancel(pg);

        pg->defer = sd_event_source_disable_unref(pg->defer);
        pg->expiry = sd_event_source_disable_unref(pg->expiry);
        pg->retry = sd_event_source_disable_unref(pg->retry);
        pg->backoff = sd_event_source_disable_unref(pg->backoff);
        sd_event_unref(pg->event);
        free(pg->connections);
        free(pg->conninfo);
        free(pg->setup);
        free(pg->schema);
        free(pg);
        return NULL;
}

void mam_pg_set_on_state(
                MamPg *pg,
                void (*on_state)(MamPg *pg, bool connected, const char *reason, void *userdata),
                void *userdata) {
        assert(pg);

        pg->on_state = on_state;
        pg->on_state_userdata = userdata;
}

bool mam_pg_is_connected(const MamPg *pg) {
        return pg && pg->connected;
}

unsigned mam_pg_in_flight(const MamPg *pg) {
        return pg ? pg->n_open : 0;
}
