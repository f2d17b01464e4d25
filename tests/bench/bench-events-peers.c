/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the event bus is measured against by bench-events
 *
 *     bench-events-peers pg CONNINFO SECONDS CONNECTIONS BATCH DEPTH rows|array|log
 *     bench-events-peers nats PORT SECONDS CONNECTIONS DEPTH
 *
 * pg: appends rows to a table of the same shape as the bus's, by libpq's pipeline mode: each connection has
 * DEPTH transactions of BATCH rows in flight; "rows" are so many prepared INSERTs, "array" is one INSERT
 * from arrays. No lock hands out positions, nothing looks for duplicates: it is a limit, not a log. "log" is
 * the least that is one: each INSERT takes its position from a head row, which is locked to the commit.
 * BATCH 1, DEPTH 1 is a row per commit. nats: publishes to JetStream, each connection with DEPTH messages
 * that wait for their acknowledgement; its server does not fsync before it acknowledges. The same event as
 * bench-events-load's, 256 bytes of data. The last line is a JSON object.
 */

#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define DATA_SIZE       256U
#define WARM_UP         MAM_USEC_PER_SEC
#define CONNECTIONS_MAX 256U

static char filling[DATA_SIZE + 1];
static uint64_t serial, counted_from, until;
static uint64_t n_events;

static _Noreturn void die(const char *what, const char *why) {
        fprintf(stderr, "bench-events-peers: %s: %s\n", what, why);
        exit(EXIT_FAILURE);
}

static void check(int r, const char *what) {
        if (r < 0)
                die(what, strerror(-r));
}

static unsigned number(const char *text) {
        char *end;
        unsigned long n = strtoul(text, &end, 10);

        if (*end != '\0' || n == 0 || n > 1000000)
                die(text, "not a number that makes sense here");
        return (unsigned) n;
}

/* quote: what stands before a quotation mark */
static void append_event(MamBuffer *b, uint64_t n, const char *quote) {
        const char *q = quote;

        check(mam_buffer_appendf(
                              b,
                              "{%s\"specversion%s\":%s\"1.0%s\",%s\"id%s\":%s\"%" PRIx64 "-%" PRIx64
                              "%s\",%s\"source%s\":%s\"/bench%s\",%s\"type%s\":%s\"org.example.bench%s\",",
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              until,
                              n,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q),
              "event");
        check(mam_buffer_appendf(
                              b,
                              "%s\"partitionkey%s\":%s\"k%" PRIu64
                              "%s\",%s\"datacontenttype%s\":%s\"text/plain%s\",%s\"data%s\":%s\"%s%s\"}",
                              q,
                              q,
                              q,
                              n % 1000,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              q,
                              filling,
                              q),
              "event");
}

static bool over(void) {
        return mam_now_monotonic() >= until;
}

static void count(unsigned n) {
        uint64_t now = mam_now_monotonic();

        if (now >= counted_from && now < until)
                n_events += n;
}

/* ---- PostgreSQL ---- */

static PGconn *pg[CONNECTIONS_MAX];
static unsigned pg_in_flight[CONNECTIONS_MAX];

static void pg_setup(const char *conninfo) {
        PGconn *c = PQconnectdb(conninfo);
        static const char *const texts[] = {
                "DROP TABLE IF EXISTS bench_events, bench_head",
                "CREATE TABLE bench_head (last bigint NOT NULL) WITH (fillfactor = 10)",
                "INSERT INTO bench_head VALUES (0)",
                ("CREATE TABLE bench_events (position bigint PRIMARY KEY, recorded bigint NOT NULL, stream_version bigint, "
                 "key text NOT NULL, stream text, event text NOT NULL) WITH (toast_tuple_target = 8160)"),
                "ALTER TABLE bench_events ALTER event SET STORAGE EXTERNAL",
                "CREATE UNIQUE INDEX ON bench_events (stream, stream_version) WHERE stream IS NOT NULL",
        };

        if (PQstatus(c) != CONNECTION_OK)
                die("PostgreSQL", PQerrorMessage(c));
        for (size_t i = 0; i < MAM_ELEMENTSOF(texts); i++) {
                PGresult *r = PQexec(c, texts[i]);

                if (PQresultStatus(r) != PGRES_COMMAND_OK)
                        die("PostgreSQL", PQerrorMessage(c));
                PQclear(r);
        }
        PQfinish(c);
}

typedef enum How {
        HOW_ROWS,
        HOW_ARRAY,
        HOW_LOG,
} How;

static PGconn *pg_open(const char *conninfo, How how) {
        static const char *const statements[] = {
                [HOW_ROWS] = "INSERT INTO bench_events (position, recorded, key, event) VALUES ($1, $2, $3, $4)",
                [HOW_ARRAY] = "INSERT INTO bench_events (position, recorded, key, event) "
                              "SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[])",
                [HOW_LOG] = "WITH head AS (UPDATE bench_head SET last = last + 1 RETURNING last) "
                            "INSERT INTO bench_events (position, recorded, key, event) "
                            "SELECT last, greatest($1::bigint, $2::bigint), $3::text, $4::text FROM head",
        };
        PGconn *c = PQconnectdb(conninfo);
        PGresult *r;

        if (PQstatus(c) != CONNECTION_OK)
                die("PostgreSQL", PQerrorMessage(c));
        r = PQprepare(c, "append", statements[how], 0, NULL);
        if (PQresultStatus(r) != PGRES_COMMAND_OK)
                die("PostgreSQL", PQerrorMessage(c));
        PQclear(r);
        if (PQsetnonblocking(c, 1) < 0 || PQenterPipelineMode(c) == 0)
                die("PostgreSQL", PQerrorMessage(c));
        return c;
}

static void pg_send_rows(PGconn *c, unsigned batch) {
        for (unsigned i = 0; i < batch; i++) {
                _cleanup_(mam_buffer_done) MamBuffer event = MAM_BUFFER_INIT;
                uint64_t n = ++serial;
                char position[24], recorded[24], key[24];
                const char *parameters[] = { position, recorded, key, NULL };

                snprintf(position, sizeof(position), "%" PRIu64, n);
                snprintf(recorded, sizeof(recorded), "%" PRIu64, mam_now_realtime());
                snprintf(key, sizeof(key), "k%" PRIu64, n % 1000);
                append_event(&event, n, "");
                parameters[3] = mam_buffer_bytes(&event);
                if (PQsendQueryPrepared(c, "append", 4, parameters, NULL, NULL, 0) == 0)
                        die("PostgreSQL", PQerrorMessage(c));
        }
}

static void pg_send_array(PGconn *c, unsigned batch) {
        MamBuffer b[4] = { 0 };
        const char *parameters[4];

        for (unsigned i = 0; i < batch; i++) {
                const char *before = i == 0 ? "{" : ",";
                uint64_t n = ++serial;

                check(mam_buffer_appendf(&b[0], "%s%" PRIu64, before, n), "array");
                check(mam_buffer_appendf(&b[1], "%s%" PRIu64, before, mam_now_realtime()), "array");
                check(mam_buffer_appendf(&b[2], "%sk%" PRIu64, before, n % 1000), "array");
                check(mam_buffer_appendf(&b[3], "%s\"", before), "array");
                append_event(&b[3], n, "\\");
                check(mam_buffer_append_string(&b[3], "\""), "array");
        }
        for (size_t i = 0; i < 4; i++) {
                check(mam_buffer_append_string(&b[i], "}"), "array");
                parameters[i] = mam_buffer_bytes(&b[i]);
        }
        if (PQsendQueryPrepared(c, "append", 4, parameters, NULL, NULL, 0) == 0)
                die("PostgreSQL", PQerrorMessage(c));
        for (size_t i = 0; i < 4; i++)
                mam_buffer_done(&b[i]);
}

static void pg_fill(unsigned i, unsigned batch, unsigned depth, How how) {
        while (pg_in_flight[i] < depth && !over()) {
                if (how == HOW_ARRAY)
                        pg_send_array(pg[i], batch);
                else
                        pg_send_rows(pg[i], batch);
                if (PQpipelineSync(pg[i]) == 0)
                        die("PostgreSQL", PQerrorMessage(pg[i]));
                pg_in_flight[i]++;
        }
}

static void pg_read(unsigned i, unsigned batch) {
        if (PQconsumeInput(pg[i]) == 0)
                die("PostgreSQL", PQerrorMessage(pg[i]));
        while (PQisBusy(pg[i]) == 0 && pg_in_flight[i] > 0) {
                PGresult *r = PQgetResult(pg[i]);

                if (!r)
                        continue; /* between two statements of a pipeline */
                if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
                        pg_in_flight[i]--;
                        count(batch);
                } else if (PQresultStatus(r) != PGRES_COMMAND_OK) {
                        die("PostgreSQL", PQerrorMessage(pg[i]));
                }
                PQclear(r);
        }
}

static void run_pg(const char *conninfo, unsigned n, unsigned batch, unsigned depth, How how) {
        struct pollfd fds[CONNECTIONS_MAX];
        unsigned busy;

        for (unsigned i = 0; i < n; i++)
                pg[i] = pg_open(conninfo, how);
        do {
                busy = 0;
                for (unsigned i = 0; i < n; i++) {
                        int more;

                        pg_fill(i, batch, depth, how);
                        more = PQflush(pg[i]);
                        if (more < 0)
                                die("PostgreSQL", PQerrorMessage(pg[i]));
                        busy += pg_in_flight[i];
                        fds[i] = (struct pollfd){ .fd = PQsocket(pg[i]),
                                                  .events = (short) (POLLIN | (more ? POLLOUT : 0)) };
                }
                if (busy > 0 && poll(fds, n, -1) < 0)
                        die("poll", strerror(errno));
                for (unsigned i = 0; i < n && busy > 0; i++) {
                        if (fds[i].revents & POLLIN)
                                pg_read(i, batch);
                }
        } while (busy > 0 || !over());
        for (unsigned i = 0; i < n; i++)
                PQfinish(pg[i]);
}

/* ---- NATS ---- */

typedef struct Nats {
        int fd;
        unsigned in_flight;
        MamBuffer in, out;
} Nats;

static void nats_open(Nats *c, uint16_t port) {
        struct sockaddr_in a = { .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        *c = (Nats){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *) &a, sizeof(a)) < 0)
                die("NATS", strerror(errno));
        (void) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        check(mam_buffer_appendf(
                              &c->out,
                              "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\nSUB inbox.%d 1\r\n",
                              c->fd),
              "NATS");
}

/* A stream that keeps what is published to "bench", in a file. */
static void nats_stream(uint16_t port) {
        static const char request[] =
                        "{\"name\":\"bench\",\"subjects\":[\"bench\"],\"storage\":\"file\",\"retention\":\"limits\",\"num_replicas\":1}";
        char answer[65536] = "";
        size_t size = 0;
        Nats c;

        nats_open(&c, port);
        check(mam_buffer_appendf(
                              &c.out,
                              "PUB $JS.API.STREAM.CREATE.bench inbox.%d %zu\r\n%s\r\n",
                              c.fd,
                              sizeof(request) - 1,
                              request),
              "NATS");
        if (write(c.fd, mam_buffer_bytes(&c.out), c.out.size) != (ssize_t) c.out.size)
                die("NATS", strerror(errno));
        while (!strstr(answer, "\"type\":")) {
                ssize_t n = read(c.fd, answer + size, sizeof(answer) - 1 - size);

                if (n <= 0)
                        die("NATS", "no answer to the making of a stream");
                size += (size_t) n;
                answer[size] = '\0';
        }
        if (strstr(answer, "\"error\""))
                die("NATS", answer);
        (void) close(c.fd);
        mam_buffer_done(&c.out);
}

/* Takes whole lines and messages from what came; counts acknowledgements. */
static void nats_read(Nats *c) {
        char data[65536];
        ssize_t n = read(c->fd, data, sizeof(data));

        if (n <= 0)
                die("NATS", n < 0 ? strerror(errno) : "the connection ended");
        check(mam_buffer_append(&c->in, data, (size_t) n), "NATS");
        for (;;) {
                const char *at = mam_buffer_bytes(&c->in), *end = memmem(at, c->in.size, "\r\n", 2);
                size_t line, size;

                if (!end)
                        return;
                line = (size_t) (end - at) + 2;
                if (strncmp(at, "MSG ", 4) == 0) {
                        const char *last = end;

                        while (last[-1] != ' ')
                                last--;
                        size = strtoul(last, NULL, 10);
                        if (c->in.size < line + size + 2)
                                return;
                        if (memmem(at + line, size, "\"error\"", 7))
                                die("NATS", at + line);
                        mam_buffer_consume(&c->in, line + size + 2);
                        c->in_flight--;
                        count(1);
                        continue;
                }
                if (strncmp(at, "-ERR", 4) == 0)
                        die("NATS", at);
                if (strncmp(at, "PING", 4) == 0)
                        check(mam_buffer_append_string(&c->out, "PONG\r\n"), "NATS");
                mam_buffer_consume(&c->in, line);
        }
}

static void run_nats(uint16_t port, unsigned n, unsigned depth) {
        struct pollfd fds[CONNECTIONS_MAX];
        Nats c[CONNECTIONS_MAX];
        unsigned busy;

        nats_stream(port);
        for (unsigned i = 0; i < n; i++)
                nats_open(&c[i], port);
        do {
                busy = 0;
                for (unsigned i = 0; i < n; i++) {
                        while (c[i].in_flight < depth && !over()) {
                                _cleanup_(mam_buffer_done) MamBuffer event = MAM_BUFFER_INIT;

                                append_event(&event, ++serial, "");
                                check(mam_buffer_appendf(
                                                      &c[i].out,
                                                      "PUB bench inbox.%d %zu\r\n",
                                                      c[i].fd,
                                                      event.size),
                                      "NATS");
                                check(mam_buffer_append(&c[i].out, mam_buffer_bytes(&event), event.size),
                                      "NATS");
                                check(mam_buffer_append_string(&c[i].out, "\r\n"), "NATS");
                                c[i].in_flight++;
                        }
                        busy += c[i].in_flight;
                        fds[i] = (struct pollfd){
                                .fd = c[i].fd,
                                .events = (short) (POLLIN | (c[i].out.size > 0 ? POLLOUT : 0))
                        };
                }
                if (busy == 0)
                        break;
                if (poll(fds, n, -1) < 0)
                        die("poll", strerror(errno));
                for (unsigned i = 0; i < n; i++) {
                        if (fds[i].revents & POLLOUT) {
                                ssize_t m =
                                                send(c[i].fd,
                                                     mam_buffer_bytes(&c[i].out),
                                                     c[i].out.size,
                                                     MSG_DONTWAIT | MSG_NOSIGNAL);

                                if (m < 0 && errno != EAGAIN)
                                        die("NATS", strerror(errno));
                                mam_buffer_consume(&c[i].out, m > 0 ? (size_t) m : 0);
                        }
                        if (fds[i].revents & POLLIN)
                                nats_read(&c[i]);
                }
        } while (busy > 0);
        for (unsigned i = 0; i < n; i++) {
                (void) close(c[i].fd);
                mam_buffer_done(&c[i].in);
                mam_buffer_done(&c[i].out);
        }
}

int main(int argc, char **argv) {
        unsigned seconds, connections;
        uint64_t now;

        if (argc < 6)
                die("usage",
                    "pg CONNINFO SECONDS CONNECTIONS BATCH DEPTH rows|array|log, or nats PORT SECONDS CONNECTIONS DEPTH");
        memset(filling, 'x', DATA_SIZE);
        seconds = number(argv[3]);
        connections = number(argv[4]);
        if (connections > CONNECTIONS_MAX)
                die(argv[4], "too many");
        if (strcmp(argv[1], "pg") == 0)
                pg_setup(argv[2]);
        now = mam_now_monotonic();
        counted_from = now + WARM_UP;
        until = counted_from + seconds * MAM_USEC_PER_SEC;
        if (strcmp(argv[1], "pg") == 0 && argc == 8)
                run_pg(argv[2],
                       connections,
                       number(argv[5]),
                       number(argv[6]),
                       strcmp(argv[7], "log") == 0     ? HOW_LOG
                       : strcmp(argv[7], "array") == 0 ? HOW_ARRAY
                                                       : HOW_ROWS);
        else if (strcmp(argv[1], "nats") == 0 && argc == 6)
                run_nats((uint16_t) number(argv[2]), connections, number(argv[5]));
        else
                die(argv[1], "not known, or another number of arguments");
        printf("{\"events_per_s\":%.1f}\n", (double) n_events / seconds);
        return 0;
}
