/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Health probes
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-client.h"
#include "libmam/util/time.h"
#include "manager/probe.h"

struct Probe {
        MamProbeType type;
        ProbeHandler handler;
        void *userdata;
        char reason[96];
        /* HTTP */
        MamHttpClient *client; /* owned */
        MamHttpCall *call;     /* owned */
        unsigned status;
        /* others */
        int fd;                   /* owned */
        sd_event_source *io;      /* owned */
        sd_event_source *timeout; /* owned */
        sd_event_source *failed;  /* owned; deferred: what went wrong before anything could be waited for */
        int error;
        bool ended;
};

/* SSLRequest: the process that the server makes for us answers 'N' or 'S', and logs nothing when we go then.
 * A startup packet would know "starting up" apart, but leaves three lines in the log each time, and READY=1
 * has told us that. Length and code are big-endian. */
static const char ssl_request[8] = "\0\0\0\x08\x04\xd2\x16\x2f";

static const char ping[] = "PING\r\n";

Probe *probe_free(Probe *p) {
        if (!p)
                return NULL;

        mam_http_call_free(p->call);
        mam_http_client_free(p->client);
        sd_event_source_disable_unref(p->io);
        sd_event_source_disable_unref(p->timeout);
        sd_event_source_disable_unref(p->failed);
        mam_closep(&p->fd);
        free(p);
        return NULL;
}

static void probe_end(Probe *p, int error, const char *reason) {
        char text[sizeof(p->reason)];

        if (p->ended)
                return;
        p->ended = true;
        p->io = sd_event_source_disable_unref(p->io);
        p->timeout = sd_event_source_disable_unref(p->timeout);

        snprintf(text, sizeof(text), "%s", error < 0 && !*reason ? strerror(-error) : reason);
        memcpy(p->reason, text, sizeof(text));
        p->handler(p, error, p->reason, p->userdata);
}

static int on_http_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Probe *p = userdata;

        p->status = head->status;
        return 0;
}

static void on_http_end(MamHttpCall *call, int error, void *userdata) {
        Probe *p = userdata;
        char reason[32];

        if (error < 0) {
                probe_end(p, error, error == -ETIMEDOUT ? "no answer in time" : "");
                return;
        }
        if (p->status >= 200 && p->status < 300) {
                probe_end(p, 0, "");
                return;
        }
        snprintf(reason, sizeof(reason), "HTTP status %u", p->status);
        probe_end(p, -EPROTO, reason);
}

static int probe_http(
                Probe *p,
                sd_event *event,
                const char *address,
                const char *path,
                uint64_t timeout_usec) {
        static const MamHttpCallbacks callbacks = { .on_head = on_http_head, .on_end = on_http_end };
        const MamHttpClientOptions options = { .connections_max = 1,
                                               .connect_timeout_usec = timeout_usec,
                                               .head_max = 8192 };
        int r;

        r = mam_http_client_new(&p->client, event, address, &options);
        if (r >= 0)
                r = mam_http_call_new(&p->call, p->client, "GET", path, &callbacks, p);
        if (r >= 0)
                r = mam_http_call_add_field(p->call, "User-Agent", "mam-manager-probe");
        if (r < 0)
                return r;

        mam_http_call_set_timeout(p->call, timeout_usec);
        return mam_http_call_start(p->call);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        probe_end(userdata, -ETIMEDOUT, "no answer in time");
        return 0;
}

static int on_failed(sd_event_source *source, void *userdata) {
        Probe *p = userdata;

        probe_end(p, p->error, "");
        return 0;
}

static int on_answer(Probe *p) {
        char answer[64] = "";
        ssize_t n;

        n = recv(p->fd, answer, sizeof(answer) - 1, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0) {
                probe_end(p, n < 0 ? -errno : -ECONNRESET, n < 0 ? "" : "the connection was closed");
                return 0;
        }

        if (p->type == MAM_PROBE_POSTGRESQL) {
                if (answer[0] == 'N' || answer[0] == 'S') {
                        probe_end(p, 0, "");
                } else {
                        probe_end(p,
                                  -EPROTO,
                                  answer[0] == 'E' ? "it cannot take connections"
                                                   : "not a PostgreSQL server");
                }
        } else if (strncmp(answer, "+PONG", 5) == 0 || strncmp(answer, "-NOAUTH", 7) == 0 ||
                   strncmp(answer, "-NOPERM", 7) == 0) {
                probe_end(p, 0, "");
        } else {
                answer[strcspn(answer, "\r\n")] = '\0';
                probe_end(p, -EPROTO, answer);
        }
        return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        const char *request = NULL;
        socklen_t length = sizeof(int);
        Probe *p = userdata;
        int error = 0, r;
        size_t size = 0;

        if (events & EPOLLIN)
                return on_answer(p);

        (void) getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error == 0 && events & EPOLLHUP)
                error = ECONNRESET;
        if (error > 0) {
                probe_end(p, -error, "");
                return 0;
        }

        if (p->type == MAM_PROBE_POSTGRESQL) {
                request = ssl_request;
                size = sizeof(ssl_request);
        } else if (p->type == MAM_PROBE_REDIS) {
                request = ping;
                size = sizeof(ping) - 1;
        } else {
                probe_end(p, 0, ""); /* connected: that was the question */
                return 0;
        }

        if (send(fd, request, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) size) {
                probe_end(p, -EIO, "cannot send");
                return 0;
        }
        r = sd_event_source_set_io_events(source, EPOLLIN);
        if (r < 0)
                probe_end(p, r, "");
        return 0;
}

typedef union Address {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_in in;
} Address;

/* "/run/x.sock", or "127.0.0.1:8080" of a program that binds $PORT itself. */
static int parse_address(Address *ret, socklen_t *ret_size, const char *text) {
        Address a = { .any.sa_family = AF_UNSPEC };
        char host[INET_ADDRSTRLEN];
        const char *colon;
        unsigned long port;
        char *end;

        if (*text == '/') {
                if (strlen(text) >= sizeof(a.un.sun_path))
                        return -ENAMETOOLONG;
                a.un.sun_family = AF_UNIX;
                memcpy(a.un.sun_path, text, strlen(text) + 1);
                *ret = a;
                *ret_size = sizeof(a.un);
                return 0;
        }

        colon = strrchr(text, ':');
        if (!colon || (size_t) (colon - text) >= sizeof(host))
                return -EINVAL;
        memcpy(host, text, (size_t) (colon - text));
        host[colon - text] = '\0';
        port = strtoul(colon + 1, &end, 10);
        if (end == colon + 1 || *end || port == 0 || port > UINT16_MAX)
                return -EINVAL;
        a.in.sin_family = AF_INET;
        a.in.sin_port = htons((uint16_t) port);
        if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
                return -EINVAL;
        *ret = a;
        *ret_size = sizeof(a.in);
        return 0;
}

static int probe_socket(Probe *p, sd_event *event, const char *address, uint64_t timeout_usec) {
        socklen_t size = 0;
        Address a;
        int r;

        r = parse_address(&a, &size, address);
        if (r < 0)
                return r;

        p->fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (p->fd < 0)
                return -errno;
        /* EAGAIN: the backlog of a unix socket is full. A TCP connection may take a moment: on_io() sees. */
        if (connect(p->fd, &a.any, size) < 0 && errno != EINPROGRESS)
                return -errno;

        r = sd_event_add_io(event, &p->io, p->fd, EPOLLOUT, on_io, p);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(
                        event,
                        &p->timeout,
                        CLOCK_MONOTONIC,
                        timeout_usec,
                        0,
                        on_timeout,
                        p);
}

int probe_new(Probe **ret,
              sd_event *event,
              MamProbeType type,
              const char *address,
              const char *path,
              uint64_t timeout_usec,
              ProbeHandler handler,
              void *userdata) {
        _cleanup_(probe_freep) Probe *p = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(address);
        assert(handler);

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;

        p->type = type;
        p->fd = -EBADF;
        p->handler = handler;
        p->userdata = userdata;

        r = type == MAM_PROBE_HTTP ? probe_http(p, event, address, path, timeout_usec)
                                   : probe_socket(p, event, address, timeout_usec);
        if (r < 0) {
                /* The caller gets one kind of answer only, and never from inside this function. */
                p->error = r;
                r = sd_event_add_defer(event, &p->failed, on_failed, p);
                if (r < 0)
                        return r;
        }

        *ret = MAM_TAKE(p);
        return 0;
}
