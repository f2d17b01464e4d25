/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Statements
 *
 * What writes a state may be sent again: the second time its token is found, which is unique.
 */

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "event-bus/delivery/store.h"
#include "libmam/util/time.h"

#define ACK_DEFAULT         (30 * MAM_USEC_PER_SEC)
#define ACK_MIN             (1 * MAM_USEC_PER_SEC)
#define ACK_MAX             (12 * 3600 * MAM_USEC_PER_SEC)
#define ATTEMPTS_DEFAULT    16U
#define BACKOFF_MIN_DEFAULT (1 * MAM_USEC_PER_SEC)
#define BACKOFF_MAX_DEFAULT (600 * MAM_USEC_PER_SEC)
#define BACKOFF_LIMIT       (30ULL * 24 * 3600 * MAM_USEC_PER_SEC)
#define OUTSTANDING_DEFAULT 10000U
#define OUTSTANDING_LIMIT   10000U
#define PARALLEL_DEFAULT    8U
#define PARALLEL_LIMIT      256U
#define FILTERS_MAX         16384U

#define COLUMNS                                                                                   \
        "s.id, s.name, t.name, (t.kind = 'volatile')::integer, s.filters, s.start, s.ack_usec, "  \
        "s.attempts_max, s.backoff_min_usec, s.backoff_max_usec, s.outstanding_max, s.push_url, " \
        "s.push_secret, s.push_mode, s.push_parallel, s.paused::integer, s.version, x.token, x.state, x.dead"
#define FIGURES                                                                                     \
        ", h.last, CASE WHEN x.settled_to < h.last THEN (SELECT e.recorded FROM read_events(t.id, " \
        "x.settled_to + 1, false, 1, 1, NULL) e WHERE e.position > 0 LIMIT 1) END"
#define TABLES \
        " FROM subscriptions s JOIN topics t ON t.id = s.topic JOIN subscription_states x ON x.subscription = s.id"
#define HEADS " LEFT JOIN heads h ON h.topic = t.id"

const MamPgStatement store_load = {
        .name = "subscription-load",
        .sql = "SELECT " COLUMNS ", ($2::bigint = ANY (x.recent))::integer" TABLES
               " WHERE s.name = $1::text",
        .idempotent = true,
};

const MamPgStatement store_get = {
        .name = "subscription-get",
        .sql = "SELECT " COLUMNS FIGURES TABLES HEADS " WHERE s.name = $1::text",
        .idempotent = true,
};

const MamPgStatement store_list = {
        .name = "subscription-list",
        .sql = "SELECT " COLUMNS FIGURES TABLES HEADS " ORDER BY s.name",
        .idempotent = true,
};

const MamPgStatement store_create = {
        .name = "subscription-create",
        .sql = "WITH new AS (INSERT INTO subscriptions (name, topic, filters, start, ack_usec, attempts_max, "
               "backoff_min_usec, backoff_max_usec, outstanding_max, push_url, push_secret, push_mode, push_parallel, paused) "
               "SELECT $1::text, t.id, $3::text, $4::bigint, $5::bigint, $6::bigint, $7::bigint, $8::bigint, $9::bigint, "
               "$10::text, $11::text, $12::text, $13::bigint, $14::boolean FROM topics t WHERE t.name = $2::text "
               "RETURNING id, start) "
               "INSERT INTO subscription_states (subscription, token, state, settled_to) "
               "SELECT id, $15::bigint, $16::text, start - 1 FROM new",
};

const MamPgStatement store_change = {
        .name = "subscription-change",
        .sql = "SELECT subscription_change($1::text, $2::bigint, $3::text, $4::bigint, $5::bigint, $6::bigint, $7::bigint, "
               "$8::bigint, $9::text, $10::text, $11::text, $12::bigint, $13::boolean)",
};

const MamPgStatement store_delete = {
        .name = "subscription-delete",
        .sql = "DELETE FROM subscriptions WHERE name = $1::text RETURNING id",
};

const MamPgStatement store_put = {
        .name = "subscription-put",
        .sql = "SELECT token, state, version, saved::integer FROM subscription_put($1::bigint, $2::bigint, $3::bigint, $4::text, $5::bigint)",
        .idempotent = true,
};

const MamPgStatement store_letters = {
        .name = "subscription-put-letters",
        .sql = "SELECT token, state, version, saved::integer FROM subscription_put_letters($1::bigint, $2::bigint, $3::bigint, $4::text, "
               "$5::bigint, $6::bigint[], $7::text[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::bigint[], "
               "$13::text[], $14::bigint[], $15::bigint)",
        .idempotent = true,
};

const MamPgStatement store_dead_list = {
        .name = "dead-list",
        .sql = "SELECT d.number, d.position, d.reason, d.event, d.attempts, d.at FROM subscriptions s "
               "LEFT JOIN LATERAL (SELECT * FROM dead_letters l WHERE l.subscription = s.id AND NOT l.redriven "
               "AND l.number > $2::bigint ORDER BY l.number LIMIT $3::integer) d ON true "
               "WHERE s.name = $1::text ORDER BY d.number",
        .idempotent = true,
};

const MamPgStatement store_dead_find = {
        .name = "dead-find",
        .sql = "SELECT number, position FROM dead_letters WHERE subscription = $1::bigint AND NOT redriven "
               "AND ($2::bigint[] IS NULL OR number = ANY ($2::bigint[])) ORDER BY number LIMIT $3::integer",
        .idempotent = true,
};

const MamPgStatement store_dead_bodies = {
        .name = "dead-bodies",
        .sql = "SELECT DISTINCT ON (position) position, recorded, stream_version, key, stream, event FROM dead_letters "
               "WHERE subscription = $1::bigint AND redriven AND position BETWEEN $2::bigint AND $3::bigint "
               "AND event IS NOT NULL ORDER BY position, number DESC LIMIT $4::integer",
        .idempotent = true,
};

/* A text, or NULL for SQL NULL. */
static const char *nullable(const MamPgResult *result, size_t row, size_t column) {
        return mam_pg_is_null(result, row, column) ? NULL : mam_pg_text(result, row, column);
}

void store_read(StoreRow *ret, const MamPgResult *result, size_t row, bool figures) {
#define UINT(column) ((uint64_t) mam_pg_int(result, row, column))
        *ret = (StoreRow){
                .id = mam_pg_int(result, row, 0),
                .name = mam_pg_text(result, row, 1),
                .kind = mam_pg_int(result, row, 3) ? TOPIC_VOLATILE : TOPIC_DURABLE,
                .settings = {
                        .topic = mam_pg_text(result, row, 2),
                        .filters = nullable(result, row, 4),
                        .start = mam_pg_int(result, row, 5),
                        .ack_usec = UINT(6),
                        .attempts_max = (unsigned) UINT(7),
                        .backoff_min_usec = UINT(8),
                        .backoff_max_usec = UINT(9),
                        .outstanding_max = (unsigned) UINT(10),
                        .push_url = nullable(result, row, 11),
                        .push_secret = nullable(result, row, 12),
                        .push_mode = nullable(result, row, 13),
                        .push_parallel = (unsigned) UINT(14),
                        .paused = mam_pg_int(result, row, 15) != 0,
                },
                .version = mam_pg_int(result, row, 16),
                .token = mam_pg_int(result, row, 17),
                .state = mam_pg_text(result, row, 18),
                .dead = mam_pg_int(result, row, 19),
                .was_saved = !figures && mam_pg_int(result, row, 20) != 0,
                .last = figures ? mam_pg_int(result, row, 20) : 0,
                .recorded_usec = figures ? mam_pg_int(result, row, 21) : 0,
        };
#undef UINT
}

/* Settings */

static int copy_text(const char **to, const char *from) {
        *to = from ? strdup(from) : NULL;
        return from && !*to ? -ENOMEM : 0;
}

void store_settings_done(SubscriptionSettings *s) {
        free((char *) s->topic);
        free((char *) s->filters);
        free((char *) s->push_url);
        free((char *) s->push_secret);
        free((char *) s->push_mode);
        *s = (SubscriptionSettings){ 0 };
}

int store_settings_copy(SubscriptionSettings *to, const SubscriptionSettings *from) {
        SubscriptionSettings s = *from;
        bool failed = false;

        failed |= copy_text(&s.topic, from->topic) < 0;
        failed |= copy_text(&s.filters, from->filters) < 0;
        failed |= copy_text(&s.push_url, from->push_url) < 0;
        failed |= copy_text(&s.push_secret, from->push_secret) < 0;
        failed |= copy_text(&s.push_mode, from->push_mode) < 0;
        if (failed) {
                store_settings_done(&s);
                return -ENOMEM;
        }

        *to = s;
        return 0;
}

int store_settings_complete(SubscriptionSettings *to, const SubscriptionSettings *from) {
        SubscriptionSettings s = *from;

        s.start = s.start > 1 ? s.start : 1;
        s.ack_usec = s.ack_usec ?: ACK_DEFAULT;
        s.attempts_max = s.attempts_max ?: ATTEMPTS_DEFAULT;
        s.backoff_min_usec = s.backoff_min_usec ?: BACKOFF_MIN_DEFAULT;
        if (s.backoff_max_usec == 0)
                s.backoff_max_usec = s.backoff_min_usec > BACKOFF_MAX_DEFAULT ? s.backoff_min_usec
                                                                              : BACKOFF_MAX_DEFAULT;
        s.outstanding_max = s.outstanding_max ?: OUTSTANDING_DEFAULT;
        s.push_parallel = s.push_parallel ?: PARALLEL_DEFAULT;
        if (s.push_url && !s.push_mode)
                s.push_mode = "structured";

        if (s.ack_usec < ACK_MIN || s.ack_usec > ACK_MAX || s.backoff_max_usec < s.backoff_min_usec ||
            s.backoff_max_usec > BACKOFF_LIMIT || s.outstanding_max > OUTSTANDING_LIMIT ||
            s.push_parallel > PARALLEL_LIMIT || s.start > INT64_MAX / 4 ||
            (s.filters && strlen(s.filters) > FILTERS_MAX))
                return -EINVAL;

        *to = s;
        return 0;
}

void store_figures(
                SubscriptionInfo *info,
                const Group *g,
                int64_t last,
                int64_t recorded_usec,
                TopicKind kind,
                uint64_t now_usec) {
        uint64_t settled = group_settled_beyond(g), behind;

        behind = last > g->floor ? (uint64_t) (last - g->floor) : 0;
        info->settled_to = g->floor;
        info->lag = behind > settled && kind == TOPIC_DURABLE ? behind - settled : 0;
        info->oldest_usec = info->lag > 0 && recorded_usec > 0 && (uint64_t) recorded_usec < now_usec
                                            ? now_usec - (uint64_t) recorded_usec
                                            : 0;
        info->outstanding = group_outstanding(g);
        info->lost = g->lost;
        info->waiting = 0;
        for (size_t i = 0; i < g->n_spans; i++) {
                const GroupSpan *s = g->spans + i;

                if (s->kind == GROUP_PENDING && s->until_usec > now_usec)
                        info->waiting += kind == TOPIC_DURABLE ? (uint64_t) (s->to - s->from) + 1 : 1;
        }
}

/* Parameters */

static const char *number(StoreNumbers *n, size_t at, int64_t value) {
        (void) snprintf(n->text[at], STORE_NUMBER_SIZE, "%" PRIi64, value);
        return n->text[at];
}

void store_create_parameters(
                const char *parameters[static STORE_CREATE_PARAMETERS],
                StoreNumbers *n,
                const char *name,
                const SubscriptionSettings *s,
                int64_t token,
                const char *state) {
        const char *const p[STORE_CREATE_PARAMETERS] = {
                name,
                s->topic,
                s->filters,
                number(n, 3, s->start),
                number(n, 4, (int64_t) s->ack_usec),
                number(n, 5, s->attempts_max),
                number(n, 6, (int64_t) s->backoff_min_usec),
                number(n, 7, (int64_t) s->backoff_max_usec),
                number(n, 8, s->outstanding_max),
                s->push_url,
                s->push_url ? s->push_secret : NULL,
                s->push_mode,
                number(n, 12, s->push_parallel),
                s->paused ? "true" : "false",
                number(n, 14, token),
                state,
        };

        memcpy(parameters, p, sizeof(p));
}

size_t store_change_parameters(
                const char *parameters[static STORE_CREATE_PARAMETERS],
                StoreNumbers *n,
                const char *name,
                const SubscriptionSettings *s,
                int64_t version) {
        const char *const p[] = {
                name,
                number(n, 1, version),
                s->filters,
                number(n, 3, (int64_t) s->ack_usec),
                number(n, 4, s->attempts_max),
                number(n, 5, (int64_t) s->backoff_min_usec),
                number(n, 6, (int64_t) s->backoff_max_usec),
                number(n, 7, s->outstanding_max),
                s->push_url,
                s->push_secret,
                s->push_mode,
                number(n, 11, s->push_parallel),
                s->paused ? "true" : "false",
        };

        memcpy(parameters, p, sizeof(p));
        return MAM_ELEMENTSOF(p);
}

static int array_next(MamBuffer *b) {
        return mam_buffer_append(b, b->size == 0 ? "{" : ",", 1);
}

int store_array_text(MamBuffer *b, const char *text) {
        const char *end;
        int r;

        r = array_next(b);
        if (r < 0)
                return r;
        if (!text)
                return mam_buffer_append_string(b, "NULL");

        r = mam_buffer_append(b, "\"", 1);
        while (r >= 0 && *text) {
                end = text + strcspn(text, "\"\\");
                r = mam_buffer_append(b, text, (size_t) (end - text));
                if (r >= 0 && *end) {
                        const char escaped[2] = { '\\', *end++ };

                        r = mam_buffer_append(b, escaped, sizeof(escaped));
                }
                text = end;
        }
        return r < 0 ? r : mam_buffer_append(b, "\"", 1);
}

int store_array_int(MamBuffer *b, int64_t value) {
        int r;

        r = array_next(b);
        return r < 0 ? r : mam_buffer_appendf(b, "%" PRIi64, value);
}

int store_array_close(MamBuffer *b) {
        return mam_buffer_append_string(b, b->size == 0 ? "{}" : "}");
}

int store_error(int error) {
        switch (error) {
        case -ECONNRESET:
                return -ENOTCONN;
        default:
                return error;
        }
}
