/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Listening sockets of the HTTP server
 *
 * They are sources of sd-event itself, level-triggered: accepting is rare beside requests, and only a socket
 * in the outermost epoll instance can be waited for exclusively.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http-connection.h"
#include "libmam/http/http-tls.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

#define ACCEPT_BATCH      64U
#define ACCEPT_RETRY_USEC (100 * MAM_USEC_PER_MSEC)

static bool is_full(const MamHttpServer *s) {
        return s->n_connections >= s->options.connections_max;
}

/* 1: accepted, 0: nothing there, <0: this process is out of something. */
static int accept_one(HttpListener *l) {
        int fd, r;

        for (;;) {
                fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (fd >= 0)
                        break;
                if (errno == EAGAIN)
                        return 0;
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                        return -errno;
                if (errno == EINVAL || errno == EBADF || errno == ENOTSOCK || errno == EOPNOTSUPP)
                        return 0; /* not listening any more */
                /* EINTR, ECONNABORTED and errors of that one connection, accept(2) */
        }

        r = http_connection_new(l, fd);
        if (r < 0) {
                close(fd);
                return r;
        }
        return 1;
}

static int on_acceptable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        HttpListener *l = userdata;
        MamHttpServer *s = l->server;
        int r = 1;

        for (unsigned i = 0; i < ACCEPT_BATCH && r > 0 && !is_full(s); i++)
                r = accept_one(l);
        if (r < 0) {
                http_server_pause_accepting(s, mam_now_monotonic() + ACCEPT_RETRY_USEC);
        } else if (is_full(s)) {
                http_server_pause_accepting(s, MAM_USEC_INFINITY);
        }
        return 0;
}

/* What sd-event registered for fd, as /proc tells: proc(5), "fdinfo". */
static int read_registration(int epoll_fd, int fd, uint64_t *ret) {
        _cleanup_(mam_fclosep) FILE *f = NULL;
        char path[64], line[256];
        unsigned n = 0;
        int r;

        r = snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
        assert(r > 0 && (size_t) r < sizeof(path));
        f = fopen(path, "re");
        if (!f)
                return -errno;

        while (fgets(line, sizeof(line), f)) {
                const char *data = strstr(line, "data:");

                if (strncmp(line, "tfd:", 4) != 0 || strtol(line + 4, NULL, 10) != fd || !data)
                        continue;
                *ret = strtoull(data + 5, NULL, 16);
                n++;
        }
        return n == 1 ? 0 : -ENOENT;
}

/* sd-event does not know EPOLLEXCLUSIVE, and an epoll instance within another cannot wait exclusively. So
 * the same registration, whatever it holds, is made again with the flag. Without it every sharer wakes for
 * each connection and all but one find nothing: slower, not wrong, hence best effort. */
static void make_exclusive(HttpListener *l) {
        struct epoll_event e = { .events = EPOLLIN | EPOLLEXCLUSIVE };
        int epoll_fd = sd_event_get_fd(l->server->event);
        uint64_t data = 0;

        if (epoll_fd < 0 || read_registration(epoll_fd, l->fd, &data) < 0)
                return;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, l->fd, NULL) < 0)
                return;
        e.data.u64 = data;
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, l->fd, &e) >= 0)
                return;
        e.events = EPOLLIN;
        (void) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, l->fd, &e);
}

HttpListener *http_listener_free(HttpListener *l) {
        if (!l)
                return NULL;

        if (l->server)
                LIST_REMOVE(l, listeners);
        sd_event_source_disable_unref(l->source);
        if (l->fd >= 0)
                close(l->fd);
        mam_http_tls_unref(l->tls);
        free(l);
        return NULL;
}

MAM_DEFINE_CLEANUP(HttpListener, http_listener_free);

int http_listener_enable(HttpListener *l, bool on) {
        int r;

        assert(l);

        r = sd_event_source_set_enabled(l->source, on ? SD_EVENT_ON : SD_EVENT_OFF);
        if (r >= 0 && on && l->options.exclusive)
                make_exclusive(l);
        return r;
}

void http_listener_drain(HttpListener *l) {
        assert(l);

        /* Deregistered first: a connection that arrives from here on wakes another sharer instead of us. */
        (void) http_listener_enable(l, false);
        while (accept_one(l) > 0)
                ;
}

int mam_http_server_listen_tls(
                MamHttpServer *s,
                int fd,
                const MamHttpListenOptions *options,
                MamHttpTls *tls) {
        _cleanup_(http_listener_freep) HttpListener *l = NULL;
        struct sockaddr_storage address = { 0 };
        socklen_t size = sizeof(address);
        int listening, flags, r;
        socklen_t option_size = sizeof(listening);

        assert(s);
        assert(fd >= 0);
        assert(options);

        if (s->draining)
                return -ESHUTDOWN;
        if (getsockname(fd, (struct sockaddr *) &address, &size) < 0)
                return -errno;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &option_size) < 0)
                return -errno;
        if (!listening)
                return -EINVAL;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->fd = -EBADF;
        l->family = address.ss_family;
        l->options = *options;
        if (tls)
                l->tls = mam_http_tls_ref(tls);

        r = sd_event_add_io(s->event, &l->source, fd, EPOLLIN, on_acceptable, l);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(l->source, "http-listener");
        if (!s->accepting) {
                r = sd_event_source_set_enabled(l->source, SD_EVENT_OFF);
                if (r < 0)
                        return r;
        }

        l->fd = fd;
        l->server = s;
        LIST_INSERT_HEAD(&s->listeners, l, listeners);
        if (s->accepting && options->exclusive)
                make_exclusive(l);
        (void) MAM_TAKE(l);
        return 0;
}

int mam_http_server_listen_with(MamHttpServer *s, int fd, const MamHttpListenOptions *options) {
        return mam_http_server_listen_tls(s, fd, options, NULL);
}

int mam_http_server_listen(MamHttpServer *s, int fd, bool exclusive, unsigned tag) {
        return mam_http_server_listen_with(
                        s,
                        fd,
                        &(MamHttpListenOptions){ .tag = tag, .exclusive = exclusive });
}

void mam_http_server_replace_tls(MamHttpServer *s, MamHttpTls *before, MamHttpTls *after) {
        HttpListener *l;

        assert(s);
        assert(before);
        assert(after);

        LIST_FOREACH(l, &s->listeners, listeners) {
                if (l->tls != before)
                        continue;
                l->tls = mam_http_tls_ref(after);
                mam_http_tls_unref(before);
        }
}
