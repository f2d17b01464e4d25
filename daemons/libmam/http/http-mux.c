/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection that many calls of a client share
 */

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#include "libmam/http/http-mux.h"
#include "libmam/util/time.h"

#define ROUNDS_MAX 8U
#define OUT_KEPT   131072U /* an out buffer of this size is kept while there are calls */
#define IDLE_KEPT  16384U  /* and of this size without: under load it idles between two turns */

static void run(HttpMux *m, uint32_t events);

static void on_event(HttpPollItem *item, uint32_t events) {
        run((HttpMux *) ((char *) item - offsetof(HttpMux, item)), events);
}

void http_mux_defer(HttpMux *m) {
        if (!m->running)
                http_poll_defer(m->client->poll, &m->item);
}

void http_mux_fail(HttpMux *m, int error) {
        if (m->failed)
                return;
        m->failed = true;
        m->error = error;
        http_mux_defer(m);
}

HttpMux *http_mux_free(HttpMux *m) {
        MamHttpClient *c;

        if (!m)
                return NULL;

        c = m->client;
        TAILQ_REMOVE(&c->muxes, m, muxes);
        c->n_channels--;
        http_poll_forget(c->poll, &m->item);
        if (m->fd >= 0)
                close(m->fd);
        mam_buffer_done(&m->input.kept);
        mam_buffer_done(&m->out);
        return m->ops->free(m);
}

static void set_deadline(HttpMux *m, uint64_t usec) {
        if (__builtin_add_overflow(http_client_now(m->client), usec, &m->deadline_usec))
                m->deadline_usec = MAM_USEC_INFINITY;
        http_client_arm(m->client, m->deadline_usec);
}

static int open_socket(HttpMux *m, MamHttpClient *c) {
        int one = 1;

        m->fd = socket(c->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (m->fd < 0)
                return -errno;
        if (c->address.any.sa_family != AF_UNIX)
                (void) setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(m->fd, &c->address.any, c->address_size) < 0) {
                if (errno != EINPROGRESS && errno != EINTR)
                        return -errno;
                m->connecting = true;
                set_deadline(m, c->options.connect_timeout_usec);
        }
        return http_poll_add(c->poll, &m->item, m->fd, m->connecting ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

int http_mux_open(HttpMux *m, MamHttpClient *c) {
        int r;

        assert(m && m->ops);
        assert(c);

        m->item.on_event = on_event;
        m->client = c;
        m->fd = -EBADF;
        TAILQ_INSERT_HEAD(&c->muxes, m, muxes);
        c->n_channels++;
        r = open_socket(m, c);
        if (r < 0) {
                http_mux_free(m);
                return r;
        }
        http_mux_defer(m);
        return 0;
}

HttpMux *http_mux_current(MamHttpClient *c) {
        HttpMux *m = TAILQ_FIRST(&c->muxes);

        return m && !m->leaving && !m->failed ? m : NULL;
}

static void finish_connect(HttpMux *m) {
        int error = 0;
        socklen_t size = sizeof(error);

        if (getsockopt(m->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
                error = errno;
        if (error == 0 && http_poll_modify(m->client->poll, &m->item, m->fd, EPOLLIN) < 0)
                error = EIO;
        if (error != 0)
                http_mux_fail(m, -error);
        m->connecting = false;
}

static void note_events(HttpMux *m, uint32_t events) {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                m->readable = true;
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                m->rdhup = true;
        if (m->connecting) {
                if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
                        finish_connect(m);
        } else if (m->blocked && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
                m->blocked = false;
                if (http_poll_modify(m->client->poll, &m->item, m->fd, EPOLLIN) < 0)
                        http_mux_fail(m, -EIO);
        }
}

/* Returns the bytes sent; registers for EPOLLOUT where that is not all. */
static size_t send_some(HttpMux *m, const struct iovec *iov, size_t n, size_t total) {
        struct msghdr msg = { .msg_iov = (struct iovec *) iov, .msg_iovlen = n };
        ssize_t sent;

        do {
                /* Of one piece, as nearly always, the kernel has less to look at. */
                sent = n == 1 ? send(m->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : sendmsg(m->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
        if (sent < 0 && errno != EAGAIN) {
                /* The peer may have answered before it closed: read on. */
                m->mute = true;
                m->readable = true;
                mam_buffer_reset(&m->out);
                return 0;
        }

        if (sent < 0)
                sent = 0;
        m->sent_bytes += (uint64_t) sent;
        if ((size_t) sent < total) {
                m->blocked = true;
                if (http_poll_modify(m->client->poll, &m->item, m->fd, EPOLLIN | EPOLLOUT) < 0)
                        http_mux_fail(m, -EIO);
        }
        return (size_t) sent;
}

/* true: something was sent, and the socket takes more. */
static bool flush(HttpMux *m) {
        struct iovec iov;

        if (m->out.size == 0 || m->blocked || m->mute)
                return false;
        iov = (struct iovec){ (void *) mam_buffer_bytes(&m->out), m->out.size };
        mam_buffer_consume(&m->out, send_some(m, &iov, 1, iov.iov_len));
        if (m->out.size == 0 && m->out.allocated > OUT_KEPT)
                mam_buffer_reset(&m->out);
        return !m->blocked && !m->mute;
}

int http_mux_put(HttpMux *m, const struct iovec *iov, size_t n) {
        size_t held = m->out.size, total = held, sent = 0;
        struct iovec all[5];
        int r;

        assert(n < MAM_ELEMENTSOF(all));

        all[0] = (struct iovec){ (void *) mam_buffer_bytes(&m->out), held };
        for (size_t i = 0; i < n; i++) {
                all[i + 1] = iov[i];
                total += iov[i].iov_len;
        }
        if (!m->connecting && !m->blocked && !m->mute) {
                sent = send_some(m, all, n + 1, total);
                if (!m->mute)
                        mam_buffer_consume(&m->out, sent < held ? sent : held);
                sent -= sent < held ? sent : held;
        }
        if (m->mute) {
                http_mux_defer(m); /* it breaks as soon as all was read */
                return 0;
        }
        for (size_t i = 0; i < n; i++) {
                size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;

                sent -= skip;
                r = mam_buffer_append(&m->out, (const char *) iov[i].iov_base + skip, iov[i].iov_len - skip);
                if (r < 0) {
                        http_mux_fail(m, r);
                        return r;
                }
        }
        return 0;
}

static void receive(HttpMux *m) {
        bool emptied;
        ssize_t n;

        n = http_input_receive(&m->input, m->client->poll, m->fd, m->ops->input_max, &emptied);
        if (n < 0 && n != -EAGAIN) {
                http_mux_fail(m, n == -ENOMEM ? -ENOMEM : -ECONNRESET);
                return;
        }
        if (n <= 0) {
                m->eof = n == 0;
                m->readable = false;
                if (n < 0 && m->mute)
                        http_mux_fail(m, -ECONNRESET);
                return;
        }
        if (emptied && !m->rdhup)
                m->readable = false;
}

static bool step(HttpMux *m, int r) {
        if (r < 0)
                http_mux_fail(m, r);
        return !m->failed && !m->client->closed;
}

static void talk(HttpMux *m) {
        if (!m->opened) {
                m->opened = true;
                if (!step(m, m->ops->opened(m)))
                        return;
        }
        for (unsigned rounds = 0;;) {
                if (!step(m, m->ops->input(m)))
                        return;
                do {
                        if (!step(m, m->ops->output(m)))
                                return;
                } while (flush(m)); /* there may be more where that came from */
                if (m->failed || !m->readable || m->eof)
                        break;
                if (rounds++ >= ROUNDS_MAX) {
                        http_poll_defer(m->client->poll, &m->item);
                        break;
                }
                receive(m);
        }
        if (!m->failed && m->eof)
                http_mux_fail(m, -ECONNRESET);
}

static void note_idle(HttpMux *m) {
        bool idle = m->opened && m->ops->is_idle(m);

        if (idle && m->leaving && m->out.size == 0) {
                http_mux_fail(m, 0);
        } else if (idle && !m->idle) {
                if (m->out.allocated > IDLE_KEPT)
                        mam_buffer_reset(&m->out);
                set_deadline(m, m->client->options.idle_timeout_usec);
        }
        m->idle = idle;
}

static void run(HttpMux *m, uint32_t events) {
        MamHttpClient *c = http_client_ref(m->client);

        assert(!m->running);

        m->running = true;
        http_input_load(&m->input);
        note_events(m, events);
        if (!m->failed && !m->connecting)
                talk(m);
        if (http_input_save(&m->input) < 0)
                http_mux_fail(m, -ENOMEM);
        if (!m->failed && !c->closed)
                note_idle(m);
        if (m->failed) {
                m->leaving = true;
                m->ops->broken(m, m->error);
                m->running = false;
                http_mux_free(m);
        } else {
                m->running = false;
        }
        http_client_unref(c);
}

bool http_mux_expire(MamHttpClient *c, uint64_t now_usec) {
        HttpMux *m;

        TAILQ_FOREACH(m, &c->muxes, muxes) {
                if (!(m->connecting || m->idle) || m->failed || m->deadline_usec > now_usec)
                        continue;
                http_mux_fail(m, m->connecting ? -ETIMEDOUT : 0);
                return true;
        }
        return false;
}

uint64_t http_mux_next_deadline(const MamHttpClient *c) {
        uint64_t next = MAM_USEC_INFINITY;
        HttpMux *m;

        TAILQ_FOREACH(m, &c->muxes, muxes) {
                if ((m->connecting || m->idle) && !m->failed && m->deadline_usec < next)
                        next = m->deadline_usec;
        }
        return next;
}
