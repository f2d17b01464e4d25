/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: an HTTP/2 connection of the server
 *
 * The input is what a client sends behind its preface, through a real socket into a real server. The first
 * byte says in which pieces it comes. Beside memory errors it looks for connections that do not end with
 * their client, exchanges that outlive their connection, and more of them at a time than allowed.
 */

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libmam/http/http-connection.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static sd_event *event;
static MamHttpServer *server;
static unsigned n_handled, n_done;

static void check(int ok) {
        if (!ok)
                abort();
}

static void on_done(MamHttpExchange *x, void *userdata) {
        n_done++;
}

static int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        return error < 0 ? 0 : mam_http_exchange_respond(x, 200, "text/plain", data, size);
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        const MamHttpField *trailers;
        size_t n;

        if (error < 0)
                return 0;
        if (size > 0) {
                if (mam_http_exchange_write(x, data, size) == 0)
                        mam_http_exchange_pause_body(x);
                return data[0] == '!' ? -EIO : 0;
        }
        trailers = mam_http_exchange_trailers(x, &n);
        for (size_t i = 0; i < n; i++)
                (void) mam_http_exchange_add_trailer(x, trailers[i].name.data, trailers[i].value.data);
        (void) mam_http_exchange_end(x);
        return 0;
}

static void on_writable(MamHttpExchange *x, void *userdata) {
        mam_http_exchange_resume_body(x);
}

static void check_head(const MamHttpHead *h) {
        check(mam_http_is_token(h->method.data, h->method.size));
        check(h->path.size > 0 && (h->path.data[0] == '/' || h->path.data[0] == '*'));
        check(h->host.size > 0 && mam_http_find(h, "host"));
        for (size_t i = 0; i < h->n_fields; i++) {
                check(mam_http_is_token(h->fields[i].name.data, h->fields[i].name.size));
                check(mam_http_is_field_value(h->fields[i].value.data, h->fields[i].value.size));
                check(h->fields[i].value.data[h->fields[i].value.size] == '\0');
                check(!mam_http_range_equal_fold(h->fields[i].name, "connection"));
                check(!mam_http_range_equal_fold(h->fields[i].name, "transfer-encoding"));
        }
}

static int handler(MamHttpExchange *x, void *userdata) {
        static char filler[200000];
        const char *path = mam_http_exchange_path(x);

        n_handled++;
        check_head(mam_http_exchange_head(x));
        check(mam_http_server_in_flight(server) <= 101);
        mam_http_exchange_set_on_done(x, on_done, NULL);
        switch (path[0] == '/' ? path[1] : '\0') {
        case 'e':
                return mam_http_exchange_read_body(x, 0, on_collected, NULL);
        case 's':
                mam_http_exchange_set_on_writable(x, on_writable, NULL);
                if (mam_http_exchange_upgrade_protocol(x)) {
                        (void) mam_http_exchange_upgrade(x);
                } else {
                        (void) mam_http_exchange_start(x, 200, -1);
                }
                return mam_http_exchange_stream_body(x, on_body, NULL);
        case 'h':
                return 0;
        case 'b':
                return mam_http_exchange_respond(x, 200, NULL, filler, sizeof(filler));
        case 'a':
                (void) mam_http_exchange_start(x, 200, 100);
                mam_http_exchange_abort(x);
                return 0;
        case 'x':
                return -EIO;
        default:
                return mam_http_exchange_respond(x, 200, "text/plain", "hello\n", 6);
        }
}

static void settle(int fd) {
        static char sink[65536];

        for (unsigned i = 0; i < 64 && sd_event_run(event, 0) > 0; i++) {
                while (fd >= 0 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
                        ;
        }
}

static void setup(void) {
        if (server)
                return;
        check(sd_event_new(&event) >= 0);
        check(mam_http_server_new(
                              &server,
                              event,
                              &(MamHttpServerOptions){ .body_max = 100000 },
                              handler,
                              NULL) >= 0);
}

static void send_all(int fd, const void *data, size_t size, size_t piece) {
        for (size_t at = 0; at < size;) {
                size_t n = size - at < piece ? size - at : piece;
                ssize_t sent;

                sent = send(fd, (const char *) data + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (sent < 0 && errno != EAGAIN)
                        return;
                n = sent > 0 ? (size_t) sent : 0;
                settle(fd);
                if (n == 0)
                        return; /* the server has stopped reading */
                at += n;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
        static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
        static const size_t pieces[] = { 65536, 1, 7, 9, 100, 1000, 4096, 16393 };
        int fds[2] = { -EBADF, -EBADF };
        HttpListener listener;

        if (size < 1 || size > 65536)
                return 0;
        setup();
        listener = (HttpListener){ .server = server, .family = AF_UNIX, .options.h2c = true };
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) >= 0);
        check(http_connection_new(&listener, fds[1]) >= 0);

        send_all(fds[0], preface, sizeof(preface), sizeof(preface));
        send_all(fds[0], bytes + 1, size - 1, size > 4096 ? 65536 : pieces[bytes[0] % 8]);
        if (bytes[0] & 8) {
                check(shutdown(fds[0], SHUT_WR) >= 0);
                settle(fds[0]);
        }
        close(fds[0]);
        for (unsigned i = 0; i < 8 && mam_http_server_connections(server) > 0; i++)
                settle(-EBADF);
        check(mam_http_server_connections(server) == 0);
        check(mam_http_server_in_flight(server) == 0);
        check(n_handled == n_done);
        return 0;
}
