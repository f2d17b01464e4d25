/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What must exist in a running cluster
 *
 * A one-shot program: it may wait for the server, and for nothing else.
 */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <libpq-fe.h>

#include "libmam/util/macro.h"
#include "postgresql/provision.h"

#define EVENT_BUS_ROLE "event_bus" /* and its schema */
#define TRIES_MAX      20U
#define TRY_NSEC       (200L * 1000 * 1000)

MAM_DEFINE_CLEANUP(PGconn, PQfinish);
MAM_DEFINE_CLEANUP(PGresult, PQclear);

typedef struct Provision {
        PGconn *conn; /* borrowed */
        char *why;    /* borrowed */
        size_t why_size;
} Provision;

static void explain(Provision *p, const char *what, const char *message) {
        (void) snprintf(p->why, p->why_size, "%s: %.*s", what, (int) strcspn(message, "\n"), message);
}

static int connect_to(Provision *p, const Cluster *c, const char *database, PGconn **ret) {
        const char *const keywords[] = {
                "host", "port", "dbname", "user", "connect_timeout", "application_name", NULL
        };
        const char *const values[] = {
                c->socket, "5432", database, "postgres", "10", "mam-postgresql", NULL
        };

        /* READY says that it accepts; a crash recovery begun just now may still refuse for a moment */
        for (unsigned i = 0; i < TRIES_MAX; i++) {
                PGconn *conn = PQconnectdbParams(keywords, values, 0);

                if (PQstatus(conn) == CONNECTION_OK) {
                        *ret = conn;
                        return 0;
                }
                explain(p, "cannot connect", conn ? PQerrorMessage(conn) : "out of memory");
                PQfinish(conn);
                (void) nanosleep(&(struct timespec){ .tv_nsec = TRY_NSEC }, NULL);
        }

        return -ENOTCONN;
}

static int execute(Provision *p, const char *sql) {
        _cleanup_(PQclearp) PGresult *result = PQexec(p->conn, sql);

        if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK) {
                explain(p, sql, PQerrorMessage(p->conn));
                return -EIO;
        }

        return 0;
}

/* 1: the query has a row. */
static int exists(Provision *p, const char *sql, const char *name) {
        _cleanup_(PQclearp) PGresult *result = PQexecParams(p->conn, sql, 1, NULL, &name, NULL, NULL, 0);

        if (PQresultStatus(result) != PGRES_TUPLES_OK) {
                explain(p, sql, PQerrorMessage(p->conn));
                return -EIO;
        }

        return PQntuples(result) > 0;
}

/* The role consists of [a-z0-9_] only, so it needs no escaping; it is quoted as it may be a keyword. */
static int provision_service(const char *id, const char *role, void *userdata) {
        static const char *const statements[] = {
                "ALTER ROLE \"%s\" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS",
                "ALTER ROLE \"%s\" SET statement_timeout = '30s'",
                "ALTER ROLE \"%s\" SET idle_in_transaction_session_timeout = '30s'",
                "GRANT CONNECT, TEMPORARY ON DATABASE mam TO \"%s\"",
        };
        Provision *p = userdata;
        char sql[512];
        int r;

        r = exists(p, "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", role);
        if (r == 0) {
                (void) snprintf(sql, sizeof(sql), "CREATE ROLE \"%s\" LOGIN", role);
                r = execute(p, sql);
        }

        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(statements); i++) {
                const char *gap = strstr(statements[i], "%s");

                (void) snprintf(sql,
                                sizeof(sql),
                                "%.*s%s%s",
                                (int) (gap - statements[i]),
                                statements[i],
                                role,
                                gap + 2);
                r = execute(p, sql);
        }
        if (r < 0)
                return r;

        (void) snprintf(sql, sizeof(sql), "ALTER ROLE \"%s\" SET search_path = \"%s\"", role, role);
        r = execute(p, sql);
        if (r < 0)
                return r;

        (void) snprintf(sql,
                        sizeof(sql),
                        "CREATE SCHEMA IF NOT EXISTS \"%s\" AUTHORIZATION \"%s\"",
                        role,
                        role);
        return execute(p, sql);
}

/* Every service may enter the schema of the event bus, where one function is open to it:
 * event_bus.publish(), which that one's migrations make. It sees who has transactions open, as its outbox
 * depends on them. */
static int provision_publisher(const char *id, const char *role, void *userdata) {
        char sql[256];

        (void) snprintf(sql, sizeof(sql), "GRANT USAGE ON SCHEMA " EVENT_BUS_ROLE " TO \"%s\"", role);
        return execute(userdata, sql);
}

static int provision_event_bus(Provision *p, const Settings *s) {
        int r;

        r = exists(p, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", EVENT_BUS_ROLE);
        if (r <= 0)
                return r;
        r = execute(p, "GRANT pg_read_all_stats TO " EVENT_BUS_ROLE);
        return r < 0 ? r : settings_for_each_service(s->services, provision_publisher, p);
}

static int provision_database(Provision *p) {
        int r;

        r = exists(p, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", "mam");
        if (r == 0)
                r = execute(p, "CREATE DATABASE mam");
        if (r >= 0)
                r = execute(p, "REVOKE ALL ON DATABASE mam, postgres, template1 FROM PUBLIC");
        if (r >= 0)
                r = execute(p, "SELECT pg_catalog.pg_reload_conf()"); /* the map of users may be new */

        return r;
}

/* What services may use, in a schema that none of them owns; each copes without (some distributions package
 * them apart). */
static int provision_extensions(Provision *p) {
        static const char *const names[] = { "pg_trgm" };
        char sql[128];
        int r;

        r = execute(p, "CREATE SCHEMA IF NOT EXISTS extensions");
        if (r >= 0)
                r = execute(p, "GRANT USAGE ON SCHEMA extensions TO PUBLIC");
        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(names); i++) {
                r = exists(p, "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = $1", names[i]);
                if (r <= 0)
                        continue;
                (void) snprintf(sql,
                                sizeof(sql),
                                "CREATE EXTENSION IF NOT EXISTS %s SCHEMA extensions",
                                names[i]);
                r = execute(p, sql);
        }
        return r;
}

static void ignore_notice(void *userdata, const PGresult *result) {
}

int provision(const Cluster *c, const Settings *s, char *why, size_t why_size) {
        _cleanup_(PQfinishp) PGconn *first = NULL;
        _cleanup_(PQfinishp) PGconn *conn = NULL;
        Provision p = { .why = why, .why_size = why_size };
        int r;

        assert(c);
        assert(s);

        r = connect_to(&p, c, "postgres", &first);
        if (r < 0)
                return r;
        p.conn = first;
        r = provision_database(&p);
        if (r < 0)
                return r;

        r = connect_to(&p, c, "mam", &conn);
        if (r < 0)
                return r;
        p.conn = conn;
        (void) PQsetNoticeReceiver(conn, ignore_notice, NULL);
        r = execute(&p, "REVOKE ALL ON SCHEMA public FROM PUBLIC");
        if (r >= 0)
                r = provision_extensions(&p);
        if (r < 0)
                return r;

        r = settings_for_each_service(s->services, provision_service, &p);
        if (r == -EINVAL) {
                (void) snprintf(why,
                                why_size,
                                "MAM_DATABASE_SERVICES holds a name that is no service id: %s",
                                s->services);
        }
        return r < 0 ? r : provision_event_bus(&p, s);
}
