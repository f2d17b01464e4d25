/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection of the HTTP server
 *
 * A small exchange costs one receive and one send: bytes are received into the scratch buffer that all
 * connections share, parsed and handed out where they lie; only what cannot be used yet is copied. Answers
 * gather in out and are sent when nothing more can be done with what was received, so pipelined answers
 * share a segment. What the bytes mean is the protocol's business.
 */

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>

#include "libmam/http/http-connection.h"
#include "libmam/http/http-tls-session.h"

static void on_event(HttpPollItem *item, uint32_t events) {
        http_connection_run((HttpConnection *) ((char *) item - offsetof(HttpConnection, item)), events);
}

int http_connection_new(HttpListener *l, int fd) {
        MamHttpServer *s = l->server;
        HttpConnection *c;
        int r;

        assert(fd >= 0);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->item.on_event = on_event;
        c->server = s;
        c->fd = fd;
        c->family = l->family;
        c->tag = l->options.tag;
        c->may_h2c = l->options.h2c;
        c->may_native = l->options.native;
        c->protocol = &http1_protocol;
        c->deadline = HTTP_DEADLINE_NONE;
        c->fresh = true;

        if (c->family != AF_UNIX) {
                int one = 1;

                (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        }
        r = http_poll_add(s->poll, &c->item, fd, EPOLLIN);
        if (r < 0) {
                free(c);
                return r;
        }

        if (l->tls)
                c->tls_of = mam_http_tls_ref(l->tls);
        LIST_INSERT_HEAD(&s->connections, c, connections);
        s->n_connections++;
        http_server_deadline(
                        c,
                        s->draining ? HTTP_DEADLINE_GRACE
                        : l->tls    ? HTTP_DEADLINE_HANDSHAKE
                                    : HTTP_DEADLINE_IDLE,
                        true);
        return 0;
}

HttpConnection *http_connection_free(HttpConnection *c) {
        MamHttpServer *s;

        if (!c)
                return NULL;

        s = c->server;
        c->failed = true;
        c->running = true; /* nothing that the callbacks below do may defer a run */
        c->protocol->stop(c);
        http_tls_session_free(c->tls);
        mam_http_tls_unref(c->tls_of);

        http_server_deadline(c, HTTP_DEADLINE_NONE, false);
        http_poll_forget(s->poll, &c->item);
        LIST_REMOVE(c, connections);
        close(c->fd);
        mam_buffer_done(&c->input.kept);
        mam_buffer_done(&c->out);
        free(c);
        http_server_connection_gone(s);
        return NULL;
}

void http_connection_defer(HttpConnection *c) {
        if (!c->running)
                http_poll_defer(c->server->poll, &c->item);
}

void http_connection_block(HttpConnection *c) {
        if (c->blocked)
                return;
        c->blocked = true;
        if (http_poll_modify(c->server->poll, &c->item, c->fd, EPOLLIN | EPOLLOUT) < 0)
                c->failed = true;
}

/* Sends what it can; registers for EPOLLOUT where that is not all. Returns the bytes sent. */
static size_t send_some(HttpConnection *c, struct iovec *iov, size_t n, size_t total) {
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = n };
        ssize_t sent;

        if (c->tls) {
                sent = http_tls_send(c->tls, iov, n);
                c->failed = c->failed || sent < 0;
                return sent < 0 ? 0 : (size_t) sent;
        }
        do {
                /* Of one piece, as nearly always, the kernel has less to look at. */
                sent = n == 1 ? send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                              : sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
        if (sent < 0 && errno != EAGAIN) {
                c->failed = true;
                return 0;
        }

        if (sent < 0)
                sent = 0;
        if (sent > 0)
                c->moved_out = true;
        if ((size_t) sent < total)
                http_connection_block(c);
        return (size_t) sent;
}

static void flush(HttpConnection *c) {
        struct iovec iov;

        if (c->tls && c->out.size == 0 && !c->failed && http_tls_flush(c->tls) < 0)
                c->failed = true;
        if (c->out.size > 0 && !c->blocked && !c->failed) {
                iov = (struct iovec){ (void *) mam_buffer_bytes(&c->out), c->out.size };
                mam_buffer_consume(&c->out, send_some(c, &iov, 1, iov.iov_len));
        }
        if (c->out.size == 0 && c->out.allocated > c->out_kept)
                http_poll_give_back(c->server->poll, &c->out);
}

int http_connection_put(HttpConnection *c, const struct iovec *iov, size_t n) {
        struct iovec all[5];
        size_t total = c->out.size, sent = 0;

        assert(n < MAM_ELEMENTSOF(all));

        if (c->failed)
                return -EPIPE;
        all[0] = (struct iovec){ (void *) mam_buffer_bytes(&c->out), c->out.size };
        for (size_t i = 0; i < n; i++) {
                all[i + 1] = iov[i];
                total += iov[i].iov_len;
        }

        if (total >= HTTP_OUT_DIRECT && !c->blocked) {
                size_t held = c->out.size;

                sent = send_some(c, all, n + 1, total);
                mam_buffer_consume(&c->out, sent < held ? sent : held);
                sent -= sent < held ? sent : held;
        }
        for (size_t i = 0; i < n && !c->failed; i++) {
                size_t skip = sent < iov[i].iov_len ? sent : iov[i].iov_len;

                sent -= skip;
                if (skip < iov[i].iov_len && mam_buffer_append(
                                                             &c->out,
                                                             (const char *) iov[i].iov_base + skip,
                                                             iov[i].iov_len - skip) < 0)
                        c->failed = true; /* an answer with a hole would be worse than none */
        }
        http_connection_defer(c);
        return c->failed ? -EPIPE : 0;
}

size_t http_connection_unsent(const HttpConnection *c) {
        return c->out.size + (c->tls ? http_tls_unsent(c->tls) : 0);
}

void http_connection_switch(HttpConnection *c, const HttpProtocol *protocol) {
        assert(c->running);

        c->protocol->stop(c);
        c->protocol = protocol;
        c->state = NULL;
        if (protocol->start && protocol->start(c) < 0)
                c->failed = true;
}

static ssize_t receive_bytes(void *userdata, char *to, size_t size) {
        HttpConnection *c = userdata;
        ssize_t n;

        if (c->tls)
                return http_tls_receive(c->tls, to, size);
        do {
                n = recv(c->fd, to, size, MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

/* What came is not TLS, or not acceptable. The client is to read why before the connection closes; from here
 * on what it sends is dropped unseen. */
static void refuse_tls(HttpConnection *c) {
        bool was_plain = http_tls_was_plain(c->tls), fresh = !http_tls_is_established(c->tls);

        if (!fresh) {
                c->failed = true;
                return;
        }
        c->tls = http_tls_session_free(c->tls);
        c->tls_of = mam_http_tls_unref(c->tls_of);
        c->closing = c->linger = true;
        if (was_plain)
                http1_refuse(c, 400, "this port speaks HTTPS: use https://");
}

static void note_established(HttpConnection *c) {
        const HttpProtocol *protocol;
        const char *name;
        size_t size;

        c->tls_stands = true;
        c->moved_in = true; /* time between requests begins here */
        name = http_tls_alpn(c->tls, &size);
        protocol = http_protocol_by_alpn(name, size);
        c->may_h2c = c->may_native = false;
        if (protocol != c->protocol)
                http_connection_switch(c, protocol);
}

static void receive(HttpConnection *c) {
        MamHttpServer *s = c->server;
        size_t max = c->protocol->input_max > 0 ? c->protocol->input_max : s->options.head_max;
        bool emptied;
        ssize_t n;

        if (c->tls_of && !c->tls && http_tls_session_new(&c->tls, c, c->tls_of) < 0) {
                c->failed = true;
                return;
        }
        n = http_input_receive_from(&c->input, s->poll, receive_bytes, c, max, &emptied);
        if (c->tls && !c->tls_stands && http_tls_is_established(c->tls))
                note_established(c);
        if (n == -EPROTO && c->tls) {
                refuse_tls(c);
                return;
        }
        if (n < 0 && n != -EAGAIN) {
                c->failed = true;
                return;
        }
        if (n <= 0) {
                if (n == 0)
                        c->eof = c->rdhup = true;
                c->readable = false;
                return;
        }
        c->moved_in = true;
        if (emptied && !c->rdhup && !(c->tls && http_tls_has_more(c->tls)))
                c->readable = false;
}

static bool step(HttpConnection *c) {
        if (c->failed)
                return false;
        if (c->lingering) {
                http_input_consume(&c->input, c->input.size);
                return false;
        }
        return c->protocol->step(c);
}

static bool wants_bytes(const HttpConnection *c) {
        if (c->eof)
                return false;
        return c->lingering || c->protocol->wants_bytes(c);
}

void http_connection_shut(HttpConnection *c) {
        if (c->tls)
                http_tls_say_goodbye(c->tls);
        if (shutdown(c->fd, SHUT_WR) < 0)
                c->failed = true;
}

static void start_lingering(HttpConnection *c) {
        c->lingering = true;
        c->readable = true;
        http_connection_shut(c);
        if (!c->failed)
                http_poll_defer(c->server->poll, &c->item);
}

/* While draining: a client that has asked lately may be asking again, and would lose what it sends just now.
 * It has its time to do so (HTTP_DEADLINE_GRACE), and is answered with Connection: close. Not within the
 * host: the clients there are told by the manager. */
static bool may_be_asking(HttpConnection *c) {
        MamHttpServer *s = c->server;
        uint64_t now;

        if (c->family == AF_UNIX)
                return false;
        if (c->deadline == HTTP_DEADLINE_GRACE)
                return true;
        if (c->deadline != HTTP_DEADLINE_IDLE)
                return false;
        now = http_poll_now(s->poll);
        return now < c->deadline_usec - s->durations[HTTP_DEADLINE_IDLE] + s->durations[HTTP_DEADLINE_GRACE];
}

/* Nothing more can be done now: is this the end? */
static void consider_closing(HttpConnection *c) {
        bool idle;

        if (c->lingering || c->protocol->is_busy(c)) {
                /* Half-closed is fine, an answer can still be read; gone is gone. */
                if (c->hup || (c->lingering && c->eof))
                        c->failed = true;
                return;
        }
        if (c->hup && !c->readable) {
                c->failed = true;
                return;
        }
        if (http_connection_unsent(c) > 0)
                return;

        idle = !c->readable && c->input.size == 0 && c->protocol->is_idle(c);
        if (c->closing && c->linger && !c->eof) {
                start_lingering(c);
        } else if (c->eof || c->closing || (c->server->draining && !c->fresh && idle && !may_be_asking(c))) {
                c->failed = true;
        }
}

static void close_with_reset(HttpConnection *c) {
        struct linger reset = { .l_onoff = 1 };

        if (c->family != AF_UNIX)
                (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

static void set_deadline(HttpConnection *c) {
        HttpDeadline kind;
        bool renew = false;

        if (c->lingering) {
                kind = HTTP_DEADLINE_LINGER;
        } else if (http_connection_unsent(c) > 0) {
                kind = HTTP_DEADLINE_WRITE;
                renew = c->moved_out;
        } else if (c->tls_of && !c->tls_stands) {
                kind = c->server->draining ? HTTP_DEADLINE_GRACE : HTTP_DEADLINE_HANDSHAKE;
        } else
                kind = c->protocol->deadline(c, &renew);
        http_server_deadline(c, kind, renew);
}

static void note_events(HttpConnection *c, uint32_t events) {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                c->readable = true;
        if (c->tls && c->readable)
                http_tls_readable(c->tls);
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                c->rdhup = true;
        if (events & (EPOLLHUP | EPOLLERR))
                c->hup = true;
        if (c->blocked && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
                c->blocked = false;
                if (http_poll_modify(c->server->poll, &c->item, c->fd, EPOLLIN) < 0)
                        c->failed = true;
        }
}

void http_connection_run(HttpConnection *c, uint32_t events) {
        assert(c);
        assert(!c->running);

        c->running = true;
        c->moved_in = c->moved_out = c->got_request = false;
        note_events(c, events);
        http_input_load(&c->input);

        for (unsigned rounds = 0;;) {
                bool refilled;

                while (step(c))
                        ;
                flush(c);
                if (c->failed)
                        break;
                refilled = !c->lingering && c->protocol->refill(c);
                if (!refilled && (!c->readable || !wants_bytes(c)))
                        break;
                if (rounds++ >= HTTP_ROUNDS_MAX) {
                        http_poll_defer(c->server->poll, &c->item);
                        break;
                }
                if (!refilled)
                        receive(c);
        }

        if (http_input_save(&c->input) < 0)
                c->failed = true;
        c->running = false;
        if (!c->failed)
                consider_closing(c);
        if (c->failed) {
                if (c->reset) {
                        close_with_reset(c);
                } else if (c->tls && c->out.size == 0 && !c->protocol->is_busy(c)) {
                        http_tls_say_goodbye(c->tls); /* nothing that was begun is cut off */
                }
                http_connection_free(c);
                return;
        }
        set_deadline(c);
}

void http_connection_expire(HttpConnection *c, HttpDeadline kind) {
        assert(c);

        if (kind == HTTP_DEADLINE_HANDSHAKE || kind == HTTP_DEADLINE_WRITE || kind == HTTP_DEADLINE_LINGER ||
            (kind == HTTP_DEADLINE_GRACE && c->protocol->is_idle(c))) {
                c->failed = true;
        } else {
                c->protocol->expire(c, kind);
        }
        http_connection_run(c, 0);
}
