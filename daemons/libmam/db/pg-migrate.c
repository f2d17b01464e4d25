/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Numbered migrations
 *
 * On a connection of its own: a migration may hold several statements, which the pipeline of the pool cannot
 * carry, and may take longer than a request. The advisory lock belongs to the session, so it ends with it,
 * however that is. After a lost connection everything starts over: what was committed is found in the table,
 * what was not is rolled back. Versions in the table that we do not know are left alone: they are from a
 * newer release that was rolled back, or is being rolled out.
 */

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "libmam/db/pg-internal.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"

#define MIGRATIONS_MAX 10000U
#define AGAIN_MAX      10U
#define CHECKSUM_SIZE  65U
#define SESSION_SETTINGS \
        "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET timezone = 'UTC'"

typedef enum MigratorStep {
        STEP_LOCK,
        STEP_SETTINGS, /* after the lock: waiting for that has no limit, waiting for a busy table has */
        STEP_FIND_SCHEMA,
        STEP_CREATE_SCHEMA,
        STEP_CREATE_TABLE,
        STEP_READ,
        STEP_BEGIN,
        STEP_RUN,
        STEP_RECORD,
        STEP_COMMIT,
        STEP_DONE,
} MigratorStep;

typedef struct Migration {
        MamPgMigration given; /* name and sql owned */
        char checksum[CHECKSUM_SIZE];
        bool applied;
} Migration;

struct MamPgMigrator {
        MamPgLink link; /* first: the link's callbacks cast */
        MamPg *pg;      /* weak */
        LIST_ENTRY(MamPgMigrator) migrators;
        sd_event_source *timer; /* owned; start, and start over */
        char *schema;           /* owned */
        char *quoted;           /* owned; libpq's, the schema as an identifier */
        Migration *migrations;  /* owned */
        size_t n;
        MigratorStep step;
        size_t at;         /* index of the migration at work */
        unsigned failures; /* in a row, to connect */
        unsigned n_again;  /* conflicts with others */
        bool found;        /* the schema */
        bool sent;         /* an answer is due */
        bool finished;
        int error;
        char message[512];
        void (*done)(int error, const char *message, void *userdata);
        void *userdata;
};

static int checksum_of(char ret[static CHECKSUM_SIZE], const char *sql) {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned size = 0;

        if (!EVP_Digest(sql, strlen(sql), digest, &size, EVP_sha256(), NULL) ||
            size != (CHECKSUM_SIZE - 1) / 2)
                return -EIO;
        for (unsigned i = 0; i < size; i++)
                (void) snprintf(ret + (size_t) 2 * i, 3, "%02x", digest[i]);

        return 0;
}

MamPgMigrator *mam_pg_migrator_free(MamPgMigrator *m) {
        if (!m)
                return NULL;

        mam_pg_link_stop(&m->link);
        sd_event_source_disable_unref(m->timer);
        LIST_REMOVE(m, migrators);

        if (m->done) {
                m->done(m->finished ? m->error : -ECANCELED,
                        m->finished ? m->message : "the pool was closed",
                        m->userdata);
        }

        for (size_t i = 0; i < m->n; i++) {
                free((char *) m->migrations[i].given.name);
                free((char *) m->migrations[i].given.sql);
        }
        free(m->migrations);
        free(m->schema);
        PQfreemem(m->quoted);
        free(m);
        return NULL;
}

static void migrator_finish(MamPgMigrator *m, int error, const char *format, ...) _printf_(3, 4);

static void migrator_finish(MamPgMigrator *m, int error, const char *format, ...) {
        va_list ap;

        m->finished = true;
        m->error = error;
        va_start(ap, format);
        (void) vsnprintf(m->message, sizeof(m->message), format, ap);
        va_end(ap);
}

/* Requests */

static int send_sql(MamPgMigrator *m, const char *format, ...) _printf_(2, 3);

static int send_sql(MamPgMigrator *m, const char *format, ...) {
        char sql[512];
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(sql, sizeof(sql), format, ap);
        va_end(ap);
        if (n < 0 || (size_t) n >= sizeof(sql))
                return -E2BIG;

        return PQsendQuery(m->link.conn, sql) ? 0 : -ECONNRESET;
}

static int send_with(MamPgMigrator *m, const char *sql, int n, const char *const *values) {
        return PQsendQueryParams(m->link.conn, sql, n, NULL, values, NULL, NULL, 0) ? 0 : -ECONNRESET;
}

static int send_lock(MamPgMigrator *m) {
        char checksum[CHECKSUM_SIZE], key[24];
        const char *const values[] = { key };
        int r;

        r = checksum_of(checksum, m->schema);
        if (r < 0)
                return r;

        checksum[15] = '\0'; /* 60 bits: always a positive bigint */
        (void) snprintf(key, sizeof(key), "%lld", strtoll(checksum, NULL, 16));
        return send_with(m, "SELECT pg_advisory_lock($1::bigint)", 1, values);
}

static int send_record(MamPgMigrator *m) {
        const Migration *migration = m->migrations + m->at;
        char version[16];
        const char *const values[] = { version, migration->given.name, migration->checksum };

        (void) snprintf(version, sizeof(version), "%u", migration->given.version);
        return send_with(
                        m,
                        "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1::integer, $2, $3)",
                        MAM_ELEMENTSOF(values),
                        values);
}

static int migrator_send(MamPgMigrator *m) {
        const char *const schema[] = { m->schema };

        switch (m->step) {
        case STEP_LOCK:
                return send_lock(m);
        case STEP_SETTINGS:
                return send_sql(m, "SET lock_timeout = '10s'; SET search_path = %s", m->quoted);
        case STEP_FIND_SCHEMA:
                return send_with(m, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", 1, schema);
        case STEP_CREATE_SCHEMA:
                return send_sql(m, "CREATE SCHEMA %s", m->quoted);
        case STEP_CREATE_TABLE:
                return send_sql(m,
                                "CREATE TABLE IF NOT EXISTS %s.schema_migrations (version integer PRIMARY KEY, "
                                "name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
                                m->quoted);
        case STEP_READ:
                return send_sql(m, "SELECT version, checksum FROM schema_migrations ORDER BY version");
        case STEP_BEGIN:
                return send_sql(m, "BEGIN");
        case STEP_RUN:
                return PQsendQuery(m->link.conn, m->migrations[m->at].given.sql) ? 0 : -ECONNRESET;
        case STEP_RECORD:
                return send_record(m);
        case STEP_COMMIT:
                return send_sql(m, "COMMIT");
        case STEP_DONE:
                break;
        }

        return -EINVAL;
}

/* Answers */

static void migrator_again(MamPgMigrator *m, uint64_t wait_usec) {
        uint64_t now = mam_pg_now(m->pg);

        mam_pg_link_stop(&m->link);
        (void) sd_event_source_set_time(m->timer, now + wait_usec);
        (void) sd_event_source_set_enabled(m->timer, SD_EVENT_ONESHOT);
}

static void migrator_error(MamPgMigrator *m, const PGresult *result) {
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        int error = mam_pg_error_from_sqlstate(sqlstate);
        char line[384];

        mam_pg_error_line(line, sizeof(line), PQresultErrorMessage(result));
        if (mam_pg_error_is_fatal(sqlstate)) {
                mam_pg_link_fail(&m->link, line);
        } else if (error == -EAGAIN && ++m->n_again < AGAIN_MAX) {
                migrator_again(m, mam_backoff_usec(m->n_again, MAM_PG_BACKOFF_FIRST, MAM_PG_BACKOFF_LIMIT));
        } else if (m->step >= STEP_BEGIN) {
                migrator_finish(m,
                                error,
                                "migration %u (%s): %s",
                                m->migrations[m->at].given.version,
                                m->migrations[m->at].given.name,
                                line);
        } else {
                migrator_finish(m, error, "%s", line);
        }
}

static void migrator_read_table(MamPgMigrator *m, const PGresult *result) {
        for (size_t i = 0; i < m->n; i++)
                m->migrations[i].applied = false;

        for (int i = 0; i < PQntuples(result); i++) {
                unsigned long version = strtoul(PQgetvalue(result, i, 0), NULL, 10);
                Migration *migration;

                if (version < 1 || version > m->n)
                        continue;
                migration = m->migrations + version - 1;
                migration->applied = true;
                if (strcmp(migration->checksum, PQgetvalue(result, i, 1)) != 0) {
                        migrator_finish(m,
                                        -EBADMSG,
                                        "migration %lu (%s) was changed after it had been applied",
                                        version,
                                        migration->given.name);
                        return;
                }
        }
}

static void migrator_read(MamPgMigrator *m, const PGresult *result) {
        ExecStatusType status = PQresultStatus(result);

        if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE || status == PGRES_NONFATAL_ERROR) {
                migrator_error(m, result);
        } else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY) {
                migrator_finish(m, -EINVAL, "a migration must not use COPY");
        } else if (m->step == STEP_FIND_SCHEMA) {
                m->found = PQntuples(result) > 0;
        } else if (m->step == STEP_READ) {
                migrator_read_table(m, result);
        }
}

static bool migrator_find_next(MamPgMigrator *m) {
        for (m->at = 0; m->at < m->n; m->at++) {
                if (!m->migrations[m->at].applied)
                        return true;
        }

        return false;
}

static void migrator_next(MamPgMigrator *m) {
        switch (m->step) {
        case STEP_FIND_SCHEMA:
                m->step = m->found ? STEP_CREATE_TABLE : STEP_CREATE_SCHEMA;
                break;
        case STEP_READ:
                m->step = migrator_find_next(m) ? STEP_BEGIN : STEP_DONE;
                break;
        case STEP_RUN:
                if (PQtransactionStatus(m->link.conn) != PQTRANS_INTRANS) {
                        migrator_finish(m,
                                        -EINVAL,
                                        "migration %u (%s) must not end its transaction",
                                        m->migrations[m->at].given.version,
                                        m->migrations[m->at].given.name);
                        return;
                }
                m->step = STEP_RECORD;
                break;
        case STEP_COMMIT:
                m->migrations[m->at].applied = true;
                m->step = migrator_find_next(m) ? STEP_BEGIN : STEP_DONE;
                break;
        default:
                m->step++;
        }
}

static void migrator_go(MamPgMigrator *m) {
        int r;

        if (m->finished || m->link.state != MAM_PG_LINK_UP)
                return;
        if (m->step == STEP_DONE) {
                migrator_finish(m, 0, "up to date");
                return;
        }

        r = migrator_send(m);
        if (r >= 0)
                r = mam_pg_link_flush(&m->link);
        if (r == -ECONNRESET) {
                mam_pg_link_fail(&m->link, PQerrorMessage(m->link.conn));
        } else if (r < 0) {
                migrator_finish(m, r, "%s", strerror(-r));
        }
        m->sent = r >= 0;
}

static void on_migrator_input(MamPgLink *l) {
        MamPgMigrator *m = (MamPgMigrator *) l;

        while (m->sent && !m->finished && l->state == MAM_PG_LINK_UP && !PQisBusy(l->conn)) {
                PGresult *result = PQgetResult(l->conn);

                if (result) {
                        migrator_read(m, result);
                        PQclear(result);
                        continue;
                }

                m->sent = false;
                migrator_next(m);
                migrator_go(m);
        }
}

/* Life */

static void on_migrator_up(MamPgLink *l) {
        MamPgMigrator *m = (MamPgMigrator *) l;

        m->failures = 0;
        m->step = STEP_LOCK;
        if (!m->quoted)
                m->quoted = PQescapeIdentifier(l->conn, m->schema, strlen(m->schema));
        if (!m->quoted)
                migrator_finish(m, -EINVAL, "'%s' cannot be the name of a schema", m->schema);
        migrator_go(m);
}

static void on_migrator_down(MamPgLink *l, bool was_up, const char *reason) {
        MamPgMigrator *m = (MamPgMigrator *) l;

        m->sent = false;
        migrator_again(m, mam_backoff_usec(m->failures++, MAM_PG_BACKOFF_FIRST, MAM_PG_BACKOFF_LIMIT));
}

static void on_migrator_settled(MamPgLink *l) {
        MamPgMigrator *m = (MamPgMigrator *) l;

        if (m->finished)
                (void) mam_pg_migrator_free(m); /* tells the caller, who may free the pool */
}

static int on_migrator_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        MamPgMigrator *m = userdata;
        char why[256];

        if (m->finished) {
                on_migrator_settled(&m->link);
        } else if (mam_pg_link_start(&m->link, m->pg->conninfo, why, sizeof(why)) < 0) {
                on_migrator_down(&m->link, false, why);
        }

        return 0;
}

static int migrator_copy(MamPgMigrator *m, const char *schema, const MamPgMigration *migrations, size_t n) {
        int r;

        m->schema = strdup(schema);
        m->migrations = calloc(n ?: 1, sizeof(*m->migrations));
        if (!m->schema || !m->migrations)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                Migration *to = m->migrations + i;

                to->given = (MamPgMigration){
                        .version = migrations[i].version,
                        .name = strdup(migrations[i].name),
                        .sql = strdup(migrations[i].sql),
                };
                m->n++;
                if (!to->given.name || !to->given.sql)
                        return -ENOMEM;

                r = checksum_of(to->checksum, to->given.sql);
                if (r < 0)
                        return r;
        }

        return 0;
}

int mam_pg_migrate(
                MamPg *pg,
                const char *schema,
                const MamPgMigration *migrations,
                size_t n,
                void (*done)(int error, const char *message, void *userdata),
                void *userdata) {
        MamPgMigrator *m;
        int r;

        assert(pg);
        assert(schema);
        assert(migrations || n == 0);

        if (pg->closing)
                return -ECANCELED;
        if (n > MIGRATIONS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n; i++) {
                if (migrations[i].version != i + 1)
                        return -EINVAL;
        }

        m = calloc(1, sizeof(*m));
        if (!m)
                return -ENOMEM;

        m->pg = pg;
        m->link = (MamPgLink){
                .event = pg->event,
                .setup = SESSION_SETTINGS,
                .on_up = on_migrator_up,
                .on_input = on_migrator_input,
                .on_down = on_migrator_down,
                .on_settled = on_migrator_settled,
        };
        LIST_INSERT_HEAD(&pg->migrators, m, migrators);

        r = migrator_copy(m, schema, migrations, n);
        if (r >= 0) {
                r = sd_event_add_time(
                                pg->event,
                                &m->timer,
                                CLOCK_MONOTONIC,
                                0,
                                MAM_USEC_PER_MSEC,
                                on_migrator_timer,
                                m);
        }
        if (r < 0) {
                (void) mam_pg_migrator_free(m);
                return r;
        }

        m->done = done;
        m->userdata = userdata;
        return 0;
}
