/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A server to try clients of HTTP on
 *
 * Listens on 127.0.0.1, prints "PORT\n", and serves until its standard input ends; SIGTERM drains it. What
 * the paths do is said beside their handlers.
 */

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

static char filler[65536];

static int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        if (error < 0)
                return 0;
        return mam_http_exchange_respond(x, 200, "text/plain", data, size);
}

/* What came goes back at once; paused while the client does not take it. */
static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        int r;

        if (error < 0)
                return 0;
        if (size == 0) {
                const MamHttpField *trailers;
                size_t n;

                trailers = mam_http_exchange_trailers(x, &n);
                for (size_t i = 0; i < n; i++) {
                        (void) mam_http_exchange_add_trailer(
                                        x,
                                        trailers[i].name.data,
                                        trailers[i].value.data);
                }
                return mam_http_exchange_end(x);
        }
        r = mam_http_exchange_write(x, data, size);
        if (r == 0)
                mam_http_exchange_pause_body(x);
        return 0;
}

static void on_writable(MamHttpExchange *x, void *userdata) {
        mam_http_exchange_resume_body(x);
}

static int echo_stream(MamHttpExchange *x) {
        int r;

        mam_http_exchange_set_on_writable(x, on_writable, NULL);
        r = mam_http_exchange_upgrade_protocol(x) ? mam_http_exchange_upgrade(x)
                                                  : mam_http_exchange_start(x, 200, -1);
        return r < 0 ? r : mam_http_exchange_stream_body(x, on_body, NULL);
}

/* /bytes/NUMBER */
static uint64_t size_of_path(const MamHttpExchange *x) {
        return strtoull(mam_http_exchange_path(x) + 7, NULL, 10) & INT32_MAX;
}

static void send_more(MamHttpExchange *x, void *userdata) {
        uint64_t left = size_of_path(x) - mam_http_exchange_bytes_sent(x);
        int r = 1;

        while (left > 0 && r > 0) {
                size_t n = left < sizeof(filler) ? (size_t) left : sizeof(filler);

                r = mam_http_exchange_write(x, filler, n);
                left -= n;
        }
        if (left == 0)
                (void) mam_http_exchange_end(x);
}

static int send_bytes(MamHttpExchange *x) {
        int r;

        mam_http_exchange_set_on_writable(x, send_more, NULL);
        r = mam_http_exchange_start(x, 200, (int64_t) size_of_path(x));
        if (r >= 0)
                send_more(x, NULL);
        return r;
}

static int describe(MamHttpExchange *x) {
        const MamHttpHead *h = mam_http_exchange_head(x);
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;

        (void) mam_buffer_appendf(
                        &text,
                        "%u %s %s\n",
                        mam_http_exchange_version(x),
                        mam_http_exchange_method(x),
                        mam_http_exchange_path(x));
        for (size_t i = 0; i < h->n_fields; i++) {
                (void) mam_buffer_appendf(
                                &text,
                                "%.*s: %.*s\n",
                                (int) h->fields[i].name.size,
                                h->fields[i].name.data,
                                (int) h->fields[i].value.size,
                                h->fields[i].value.data);
        }
        return mam_http_exchange_respond(x, 200, "text/plain", mam_buffer_bytes(&text), text.size);
}

static int handler(MamHttpExchange *x, void *userdata) {
        const char *path = mam_http_exchange_path(x);

        if (strcmp(path, "/echo") == 0) /* the whole body */
                return mam_http_exchange_read_body(x, 16 << 20, on_collected, NULL);
        if (strcmp(path, "/stream") == 0) /* the body, piece by piece, and its trailers */
                return echo_stream(x);
        if (strcmp(path, "/hold") == 0) /* neither reads nor answers */
                return 0;
        if (strcmp(path, "/ignore") == 0) /* answers without reading */
                return mam_http_exchange_respond(x, 200, "text/plain", "ignored\n", 8);
        if (strncmp(path, "/bytes/", 7) == 0)
                return send_bytes(x);
        if (strcmp(path, "/describe") == 0)
                return describe(x);
        if (strcmp(path, "/empty") == 0)
                return mam_http_exchange_respond(x, 204, NULL, NULL, 0);
        if (strcmp(path, "/abort") == 0) {
                (void) mam_http_exchange_start(x, 200, 100);
                (void) mam_http_exchange_write(x, "truncated", 9);
                mam_http_exchange_abort(x);
                return 0;
        }
        return mam_http_exchange_respond(x, 200, "text/plain", "hello\n", 6);
}

static int on_input(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        char c;

        return read(fd, &c, 1) > 0 ? 0 : sd_event_exit(userdata, 0);
}

static void on_drained(MamHttpServer *s, void *userdata) {
        (void) sd_event_exit(userdata, 0);
}

static int on_sigterm(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
        return mam_http_server_drain(userdata, on_drained, sd_event_source_get_event(source));
}

static int listen_loopback(uint16_t *ret_port) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_(mam_closep) int fd = -EBADF;
        socklen_t size = sizeof(a);

        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *) &a, sizeof(a)) < 0 || listen(fd, 512) < 0 ||
            getsockname(fd, (struct sockaddr *) &a, &size) < 0)
                return -errno;
        *ret_port = ntohs(a.sin_port);
        return MAM_TAKE_FD(fd);
}

static int run(void) {
        const MamHttpServerOptions options = { .head_timeout_usec = MAM_USEC_PER_SEC,
                                               .body_timeout_usec = 2 * MAM_USEC_PER_SEC,
                                               .write_timeout_usec = 2 * MAM_USEC_PER_SEC };
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(mam_http_server_freep) MamHttpServer *server = NULL;
        uint16_t port = 0;
        sigset_t signals;
        int fd, r;

        r = sd_event_new(&event);
        if (r >= 0)
                r = mam_http_server_new(&server, event, &options, handler, NULL);
        if (r < 0)
                return r;
        fd = listen_loopback(&port);
        if (fd < 0)
                return fd;
        r = mam_http_server_listen_with(server, fd, &(MamHttpListenOptions){ .h2c = true });
        if (r < 0) {
                close(fd);
                return r;
        }

        (void) sigemptyset(&signals);
        (void) sigaddset(&signals, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &signals, NULL);
        r = sd_event_add_signal(event, NULL, SIGTERM, on_sigterm, server);
        if (r >= 0)
                r = sd_event_add_io(event, NULL, STDIN_FILENO, EPOLLIN, on_input, event);
        if (r < 0)
                return r;
        printf("%u\n", port);
        (void) fflush(stdout);
        return sd_event_loop(event);
}

int main(void) {
        int r;

        r = run();
        if (r < 0)
                fprintf(stderr, "Cannot serve: %s\n", strerror(-r));
        return r < 0;
}
