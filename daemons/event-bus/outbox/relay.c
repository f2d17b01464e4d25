/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The relay
 *
 * Order: rows are taken by snapshots, so what commits later comes later; within a snapshot by number. Of two
 * transactions that write events of one key, each behind the statement that locks what they contend for, the
 * second draws its number after the first has committed: so order per key is that of commits.
 *
 * Replicas: all look, the one that moves goes on, and another that finds the lock taken or the rows gone
 * stands by: it looks once a second and begins when something has been lying there for longer. The lock only
 * spares work. What makes it right is that the transaction which appends has deleted the rows, all of them.
 *
 * Nothing is remembered that matters: after any error the window begins at 0 again.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/log/log-sql.h"
#include "event-bus/outbox/relay-internal.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define POLL_USEC       (250 * MAM_USEC_PER_MSEC)
#define POLL_IDLE_USEC  MAM_USEC_PER_SEC
#define IDLE_AFTER      20U /* empty polls */
#define STANDBY_USEC    MAM_USEC_PER_SEC
#define RETRY_FIRST     (100 * MAM_USEC_PER_MSEC)
#define RETRY_LIMIT     (5 * MAM_USEC_PER_SEC)
#define HOLDER_USEC     (5 * MAM_USEC_PER_SEC)
#define HELD_TOO_LONG   (30 * MAM_USEC_PER_SEC)
#define HELD_SAID_AGAIN (3600 * MAM_USEC_PER_SEC)

struct Relay {
        sd_event *event; /* owned reference */
        MamPg *pg;       /* borrowed, as the following */
        Log *log;
        SchemaRegistry *schemas;
        sd_event_source *timer;   /* owned; the next pass */
        sd_event_source *holder;  /* owned; the next look at who holds things up */
        MamPgQuery *query;        /* owned; of the pass */
        MamPgQuery *holder_query; /* owned */
        LogCall *call;            /* owned; of the pass: a topic */
        bool is_busy, is_woken, is_standby, ask_topics;
        unsigned n_empty, n_failed; /* in a row */
        uint64_t said_usec;         /* when a long transaction was told last; 0: none is */
        RelayWindow window;
        RelayBatch batch;
        RelayFigures figures;
};

static const MamPgStatement statement_read = {
        .name = "outbox-read",
        .sql = "SELECT number, age_usec, publisher, topic, event "
               "FROM outbox_read($1::bigint, $2::xid8[], $3::xid8[], $4::bigint[], $5::integer, $6::integer)",
        .idempotent = true,
};

/* Twice is harmless: the rows have gone then. */
static const MamPgStatement statement_move = {
        .name = "outbox-move",
        .sql = "SELECT topic, last FROM outbox_move($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], "
               "$6::text[], $7::bigint[], $8::text[])",
        .idempotent = true,
};

static const MamPgStatement statement_holder = {
        .name = "outbox-holder",
        .sql = "SELECT held_usec, holder, pg_stat_get_live_tuples('outbox'::regclass) "
               "FROM (SELECT) one LEFT JOIN outbox_holder() ON true",
        .idempotent = true,
};

static void pass_in(Relay *r, uint64_t usec) {
        (void) sd_event_source_set_time_relative(r->timer, usec);
        (void) sd_event_source_set_enabled(r->timer, SD_EVENT_ONESHOT);
}

static uint64_t rest_usec(const Relay *r) {
        if (r->is_standby)
                return STANDBY_USEC;
        return r->n_empty >= IDLE_AFTER ? POLL_IDLE_USEC : POLL_USEC;
}

static void pass_over(Relay *r, uint64_t rest) {
        relay_batch_done(&r->batch);
        r->is_busy = false;
        if (r->is_woken && !r->is_standby)
                rest = 0;
        r->is_woken = false;
        pass_in(r, rest);
}

/* Whatever it was, the rows are still there or were moved: from the beginning. */
static void pass_failed(Relay *r) {
        relay_window_init(&r->window);
        r->ask_topics = true;
        pass_over(r, mam_backoff_usec(r->n_failed++, RETRY_FIRST, RETRY_LIMIT));
}

static void stand_by(Relay *r) {
        relay_window_init(&r->window);
        r->is_standby = true;
        r->n_failed = 0;
        pass_over(r, STANDBY_USEC);
}

/* ---- moving ---- */

static void advance(Relay *r, int64_t until) {
        (void) relay_window_advance(&r->window, r->batch.snapshot, r->batch.high, r->batch.next, until);
}

static void note_rejected(Relay *r) {
        const RelayRow *first = NULL;
        size_t n = 0;

        for (size_t i = 0; i < r->batch.n; i++) {
                if (r->batch.rows[i].event)
                        continue;
                if (!first)
                        first = r->batch.rows + i;
                n++;
        }
        r->figures.rejected += n;
        r->figures.relayed += r->batch.n - n;
        if (first) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_OUTBOX_REJECTED,
                           "%zu events of the outbox were rejected, the first (number %" PRId64
                           ", of role %s, for topic %s): %s",
                           n,
                           first->number,
                           first->publisher,
                           first->topic,
                           first->reason);
        }
}

static void on_moved(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Relay *r = userdata;

        if (error == -EAGAIN || error == -ENOENT) { /* busy, gone */
                r->query = mam_pg_query_free(r->query);
                stand_by(r);
                return;
        }
        if (error < 0) {
                if (r->n_failed == 0)
                        mam_debug("The outbox cannot be moved: %s", message);
                r->query = mam_pg_query_free(r->query);
                pass_failed(r);
                return;
        }

        r->is_standby = false;
        r->n_failed = 0;
        r->n_empty = 0;
        r->ask_topics = false;
        note_rejected(r);
        for (size_t i = 0; i < mam_pg_rows(result); i++)
                log_appended_elsewhere(r->log, mam_pg_text(result, i, 0), mam_pg_int(result, i, 1));
        advance(r, r->batch.more ? r->batch.rows[r->batch.n - 1].number : RELAY_WINDOW_ALL);
        if (!r->batch.more) {
                r->figures.waiting = 0;
                r->figures.oldest_usec = 0;
        }
        r->query = mam_pg_query_free(r->query);
        pass_over(r, r->batch.more ? 0 : rest_usec(r));
}

static void move(Relay *r) {
        MamBuffer arrays[RELAY_MOVE_PARAMETERS] = { 0 };
        const char *parameters[RELAY_MOVE_PARAMETERS];
        int k;

        k = relay_batch_format(&r->batch, arrays);
        for (size_t i = 0; i < RELAY_MOVE_PARAMETERS; i++)
                parameters[i] = mam_buffer_bytes(arrays + i);
        if (k >= 0)
                k =
                                mam_pg_query(r->pg,
                                             &r->query,
                                             &statement_move,
                                             parameters,
                                             RELAY_MOVE_PARAMETERS,
                                             on_moved,
                                             r);
        for (size_t i = 0; i < RELAY_MOVE_PARAMETERS; i++)
                mam_buffer_done(arrays + i);
        if (k < 0)
                pass_failed(r);
}

/* ---- looking at what came ---- */

static void look(Relay *r);

static void on_topic(int error, const TopicInfo *topic, void *userdata);

static int find_topic(Relay *r, const char *name, bool create) {
        static const TopicSettings settings = { .kind = TOPIC_DURABLE };

        return create ? log_topic_create(r->log, &r->call, name, &settings, on_topic, r)
                      : log_topic_get(r->log, &r->call, name, on_topic, r);
}

static int reject_topic(Relay *r, int error) {
        RelayRow *row = r->batch.rows + r->batch.n_looked_at++;

        return row->event ? relay_row_reject(row, "its topic cannot be made: %s", strerror(-error)) : 0;
}

static void on_topic(int error, const TopicInfo *topic, void *userdata) {
        Relay *r = userdata;
        RelayRow *row = r->batch.rows + r->batch.n_looked_at;
        int k = 0;

        r->call = log_call_free(r->call);
        if (error == -ENOENT)
                k = find_topic(r, row->topic, true);
        else if (error == -EEXIST) /* another replica was faster */
                k = find_topic(r, row->topic, false);
        else if (error == -EINVAL || error == -ENOSPC || error == -E2BIG)
                k = reject_topic(r, error);
        else if (error < 0)
                k = error;
        else {
                k = relay_row_check(row, topic, r->schemas);
                if (k >= 0)
                        r->batch.n_looked_at++;
        }
        if (k < 0)
                pass_failed(r);
        else if (!r->call)
                look(r);
}

/* A topic that an earlier row of this batch has asked for is fresh. */
static bool is_fresh(const Relay *r, const char *topic) {
        for (size_t i = 0; i < r->batch.n_looked_at; i++) {
                if (strcmp(r->batch.rows[i].topic, topic) == 0)
                        return true;
        }
        return false;
}

static void look(Relay *r) {
        RelayBatch *b = &r->batch;

        for (; b->n_looked_at < b->n; b->n_looked_at++) {
                RelayRow *row = b->rows + b->n_looked_at;
                const TopicInfo *topic = NULL;
                int k;

                if (!row->event)
                        continue;
                if (!r->ask_topics || is_fresh(r, row->topic))
                        topic = log_topic_cached(r->log, row->topic);
                if (!topic) {
                        if (find_topic(r, row->topic, false) < 0)
                                pass_failed(r);
                        return;
                }
                k = relay_row_check(row, topic, r->schemas);
                if (k < 0) {
                        pass_failed(r);
                        return;
                }
        }
        move(r);
}

/* ---- reading ---- */

static void on_read(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Relay *r = userdata;
        RelayBatch *b = &r->batch;
        int k = error;

        if (k >= 0)
                k = relay_batch_read(b, result);
        r->query = mam_pg_query_free(r->query);
        if (k < 0) {
                if (r->n_failed == 0)
                        mam_debug("The outbox cannot be read: %s", message ? message : strerror(-k));
                pass_failed(r);
                return;
        }

        if (b->n == 0) {
                r->n_empty++;
                r->n_failed = 0;
                r->figures.waiting = 0;
                r->figures.oldest_usec = 0;
                advance(r, RELAY_WINDOW_ALL);
                pass_over(r, rest_usec(r));
                return;
        }
        if (r->figures.waiting < b->n)
                r->figures.waiting = b->n;
        r->figures.oldest_usec = b->oldest_usec;
        if (r->is_standby && b->oldest_usec < STANDBY_USEC) { /* the other one will */
                advance(r, b->rows[0].number - 1);
                pass_over(r, STANDBY_USEC);
                return;
        }
        look(r);
}

static void pass(Relay *r) {
        _cleanup_(mam_buffer_done) MamBuffer first = MAM_BUFFER_INIT, last = MAM_BUFFER_INIT,
                                             bases = MAM_BUFFER_INIT;
        char base[24], events_max[16], bytes_max[16];
        const char *parameters[6];
        int k;

        if (r->is_busy) {
                r->is_woken = true;
                return;
        }
        r->is_busy = true;
        r->is_woken = false;
        (void) snprintf(base, sizeof(base), "%" PRId64, r->window.base);
        (void) snprintf(events_max, sizeof(events_max), "%u", RELAY_EVENTS_MAX);
        (void) snprintf(bytes_max, sizeof(bytes_max), "%u", RELAY_BYTES_MAX);
        k = relay_window_format(&r->window, &first, &last, &bases);
        parameters[0] = base;
        parameters[1] = mam_buffer_bytes(&first);
        parameters[2] = mam_buffer_bytes(&last);
        parameters[3] = mam_buffer_bytes(&bases);
        parameters[4] = events_max;
        parameters[5] = bytes_max;
        if (k >= 0)
                k =
                                mam_pg_query(r->pg,
                                             &r->query,
                                             &statement_read,
                                             parameters,
                                             MAM_ELEMENTSOF(parameters),
                                             on_read,
                                             r);
        if (k < 0)
                pass_failed(r);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        pass(userdata);
        return 0;
}

/* ---- who holds things up ---- */

static void note_holder(Relay *r) {
        uint64_t now = mam_now_monotonic();

        if (r->figures.held_usec < HELD_TOO_LONG) {
                if (r->said_usec > 0)
                        mam_log_id(LOG_INFO,
                                   MAM_MESSAGE_OUTBOX_HELD,
                                   "No transaction holds up the outbox any more");
                r->said_usec = 0;
                return;
        }
        if (r->said_usec > 0 && now - r->said_usec < HELD_SAID_AGAIN)
                return;
        r->said_usec = now;
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_OUTBOX_HELD,
                   "A transaction has been open for %" PRIu64
                   "s (%s): what it wrote to the outbox waits for it, and space that others used is not reclaimed",
                   r->figures.held_usec / MAM_USEC_PER_SEC,
                   r->figures.holder);
}

static void on_holder(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Relay *r = userdata;

        if (error >= 0 && mam_pg_rows(result) == 1) {
                int64_t held = mam_pg_int(result, 0, 0), live = mam_pg_int(result, 0, 2);

                r->figures.held_usec = held > 0 ? (uint64_t) held : 0;
                (void) snprintf(r->figures.holder,
                                sizeof(r->figures.holder),
                                "%s",
                                mam_pg_text(result, 0, 1));
                if (r->figures.waiting >= RELAY_EVENTS_MAX) /* more than came with one read */
                        r->figures.waiting = live > (int64_t) RELAY_EVENTS_MAX ? (uint64_t) live
                                                                               : RELAY_EVENTS_MAX;
                note_holder(r);
        }
        r->holder_query = mam_pg_query_free(r->holder_query);
}

static int on_holder_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Relay *r = userdata;

        if (!r->holder_query)
                (void) mam_pg_query(r->pg, &r->holder_query, &statement_holder, NULL, 0, on_holder, r);
        (void) sd_event_source_set_time_relative(source, HOLDER_USEC);
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

/* ---- life ---- */

int relay_new(Relay **ret, sd_event *event, MamPg *pg, Log *log, SchemaRegistry *schemas) {
        Relay *r;
        int k;

        assert(ret);
        assert(event);
        assert(pg);
        assert(log);

        r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->event = sd_event_ref(event);
        r->pg = pg;
        r->log = log;
        r->schemas = schemas;
        r->ask_topics = true;
        relay_window_init(&r->window);
        k = sd_event_add_time_relative(event, &r->timer, CLOCK_MONOTONIC, 0, MAM_USEC_PER_MSEC, on_timer, r);
        if (k >= 0)
                k = sd_event_add_time_relative(
                                event,
                                &r->holder,
                                CLOCK_MONOTONIC,
                                0,
                                MAM_USEC_PER_SEC / 10,
                                on_holder_timer,
                                r);
        if (k < 0) {
                relay_free(r);
                return k;
        }

        *ret = r;
        return 0;
}

Relay *relay_free(Relay *r) {
        if (!r)
                return NULL;

        mam_pg_query_free(r->query);
        mam_pg_query_free(r->holder_query);
        log_call_free(r->call);
        sd_event_source_disable_unref(r->timer);
        sd_event_source_disable_unref(r->holder);
        relay_batch_done(&r->batch);
        sd_event_unref(r->event);
        free(r);
        return NULL;
}

void relay_wake(Relay *r) {
        assert(r);

        if (!r->is_standby)
                pass(r);
}

RelayFigures relay_figures(const Relay *r) {
        assert(r);

        return r->figures;
}
