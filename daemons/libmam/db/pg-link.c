/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One libpq connection on sd-event
 *
 * Connecting, the settings of the session and moving bytes; what is asked and answered is the owner's
 * affair. The session settings are sent as SQL, not as startup options, since poolers refuse those.
 */

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "libmam/db/pg-internal.h"
#include "libmam/util/time.h"

static void link_close(MamPgLink *l) {
        l->io = sd_event_source_disable_unref(l->io);
        l->timer = sd_event_source_disable_unref(l->timer);
        PQfinish(l->conn);
        l->conn = NULL;
        l->state = MAM_PG_LINK_DOWN;
        l->writing = false;
}

void mam_pg_link_stop(MamPgLink *l) {
        assert(l);

        link_close(l);
}

void mam_pg_link_fail(MamPgLink *l, const char *reason) {
        bool was_up = l->state == MAM_PG_LINK_UP;
        char line[256];

        assert(l);

        if (l->state == MAM_PG_LINK_DOWN)
                return;

        mam_pg_error_line(line, sizeof(line), reason); /* reason may lie in the connection */
        link_close(l);
        l->on_down(l, was_up, line);
}

int mam_pg_link_flush(MamPgLink *l) {
        bool writing;
        int r;

        assert(l);
        assert(l->conn);

        r = PQflush(l->conn);
        if (r < 0)
                return -ECONNRESET;

        writing = r > 0;
        if (writing == l->writing)
                return 0;

        r = sd_event_source_set_io_events(l->io, EPOLLIN | (writing ? EPOLLOUT : 0));
        if (r < 0)
                return -ECONNRESET;
        l->writing = writing;
        return 0;
}

static void link_read_setup(MamPgLink *l) {
        while (!PQisBusy(l->conn)) {
                PGresult *result = PQgetResult(l->conn);
                ExecStatusType status;

                if (!result) {
                        l->timer = sd_event_source_disable_unref(l->timer);
                        l->state = MAM_PG_LINK_UP;
                        l->on_up(l);
                        return;
                }

                status = PQresultStatus(result);
                if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
                        char line[256];

                        mam_pg_error_line(line, sizeof(line), PQresultErrorMessage(result));
                        PQclear(result);
                        mam_pg_link_fail(l, line);
                        return;
                }
                PQclear(result);
        }
}

static void link_read(MamPgLink *l) {
        bool lost;

        lost = !PQconsumeInput(l->conn);

        /* What came before the end of the stream counts: it may be the acknowledgement of a COMMIT. */
        if (l->state == MAM_PG_LINK_UP) {
                l->on_input(l);
        } else if (!lost) {
                link_read_setup(l);
        }

        if (l->state == MAM_PG_LINK_DOWN)
                return; /* by what was read */
        if (lost || mam_pg_link_flush(l) < 0)
                mam_pg_link_fail(l, PQerrorMessage(l->conn));
}

static void link_poll(MamPgLink *l);

static int on_link_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        MamPgLink *l = userdata;

        assert(l);

        if (l->state == MAM_PG_LINK_CONNECTING) {
                link_poll(l);
        } else if (l->state != MAM_PG_LINK_DOWN) {
                link_read(l);
        }

        l->on_settled(l);
        return 0;
}

static int on_link_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        MamPgLink *l = userdata;

        assert(l);

        mam_pg_link_fail(l, "no connection within five seconds");
        l->on_settled(l);
        return 0;
}

static int link_watch(MamPgLink *l, uint32_t events) {
        return sd_event_add_io(l->event, &l->io, PQsocket(l->conn), events, on_link_io, l);
}

static void link_setup(MamPgLink *l) {
        if (PQsetnonblocking(l->conn, 1) < 0 || !PQsendQuery(l->conn, l->setup) ||
            link_watch(l, EPOLLIN) < 0) {
                mam_pg_link_fail(l, PQerrorMessage(l->conn));
                return;
        }

        l->state = MAM_PG_LINK_SETUP;
        if (mam_pg_link_flush(l) < 0)
                mam_pg_link_fail(l, PQerrorMessage(l->conn));
}

static void link_poll(MamPgLink *l) {
        uint32_t events;

        /* libpq may go on to another address with another socket of the same number: never keep the watch */
        l->io = sd_event_source_disable_unref(l->io);

        switch (PQconnectPoll(l->conn)) {
        case PGRES_POLLING_READING:
                events = EPOLLIN;
                break;
        case PGRES_POLLING_WRITING:
                events = EPOLLOUT;
                break;
        case PGRES_POLLING_OK:
                link_setup(l);
                return;
        default:
                mam_pg_link_fail(l, PQerrorMessage(l->conn));
                return;
        }

        if (link_watch(l, events) < 0)
                mam_pg_link_fail(l, "out of memory");
}

static void ignore_notice(void *userdata, const PGresult *result) {
}

int mam_pg_link_start(MamPgLink *l, const char *conninfo, char *why, size_t why_size) {
        /* what stands behind dbname overrides conninfo, what stands before it is a default */
        const char *const keywords[] = { "fallback_application_name",
                                         "tcp_user_timeout",
                                         "dbname",
                                         "client_encoding",
                                         NULL };
        const char *const values[] = { program_invocation_short_name, "10000", conninfo, "UTF8", NULL };
        int r;

        assert(l);
        assert(l->state == MAM_PG_LINK_DOWN);

        l->conn = PQconnectStartParams(keywords, values, 1);
        if (!l->conn || PQstatus(l->conn) == CONNECTION_BAD) {
                mam_pg_error_line(why, why_size, l->conn ? PQerrorMessage(l->conn) : "out of memory");
                link_close(l);
                return -ENOTCONN;
        }
        (void) PQsetNoticeReceiver(l->conn, ignore_notice, NULL);

        r = sd_event_add_time_relative(
                        l->event,
                        &l->timer,
                        CLOCK_MONOTONIC,
                        MAM_PG_CONNECT_USEC,
                        10 * MAM_USEC_PER_MSEC,
                        on_link_timeout,
                        l);
        if (r >= 0)
                r = link_watch(l, EPOLLOUT); /* as if PQconnectPoll() had said "writing" */
        if (r < 0) {
                mam_pg_error_line(why, why_size, strerror(-r));
                link_close(l);
                return -ENOTCONN;
        }

        l->state = MAM_PG_LINK_CONNECTING;
        return 0;
}
