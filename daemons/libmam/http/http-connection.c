/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection of the HTTP server
 *
 * A small exchange costs one receive and one send: bytes are received into the scratch buffer that all
 * connections share, parsed and handed out where they lie; only what cannot be used yet is copied. Answers
 * gather in out and are sent when nothing more can be done with what was received, so pipelined answers
 * share a segment.
 */

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>

#include "libmam/http/http-connection.h"

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
        c->tag = l->tag;
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

        LIST_INSERT_HEAD(&s->connections, c, connections);
        s->n_connections++;
        http_server_deadline(c, s->draining ? HTTP_DEADLINE_GRACE : HTTP_DEADLINE_IDLE, true);
        return 0;
}

HttpConnection *http_connection_free(HttpConnection *c) {
        MamHttpServer *s;

        if (!c)
                return NULL;

        s = c->server;
        c->failed = true;
        c->running = true; /* nothing that the callbacks below do may defer a run */
        if (c->exchange) {
                http_body_fail(c, -EPIPE, 0, NULL);
                s->n_exchanges--;
                c->exchange = http_exchange_free(c->exchange);
        }

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

/* Sends what it can; registers for EPOLLOUT where that is not all. Returns the bytes sent. */
static size_t send_some(HttpConnection *c, struct iovec *iov, size_t n, size_t total) {
        struct msghdr m = { .msg_iov = iov, .msg_iovlen = n };
        ssize_t sent;

        do {
                sent = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
        if (sent < 0 && errno != EAGAIN) {
                c->failed = true;
                return 0;
        }

        if (sent < 0)
                sent = 0;
        if (sent > 0)
                c->moved_out = true;
        if ((size_t) sent < total) {
                c->blocked = true;
                if (http_poll_modify(c->server->poll, &c->item, c->fd, EPOLLIN | EPOLLOUT) < 0)
                        c->failed = true;
        }
        return (size_t) sent;
}

static void flush(HttpConnection *c) {
        struct iovec iov;

        if (c->out.size > 0 && !c->blocked && !c->failed) {
                iov = (struct iovec){ (void *) mam_buffer_bytes(&c->out), c->out.size };
                mam_buffer_consume(&c->out, send_some(c, &iov, 1, iov.iov_len));
        }
        if (c->out.size == 0)
                mam_buffer_reset(&c->out);
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

/* Between head and body nothing is ever held in the view but an incomplete head. */
static void receive(HttpConnection *c) {
        MamHttpServer *s = c->server;
        bool emptied;
        ssize_t n;

        n = http_input_receive(&c->input, s->poll, c->fd, s->options.head_max, &emptied);
        if (n < 0 && n != -EAGAIN) {
                c->failed = true;
                return;
        }
        if (n <= 0) {
                c->eof = n == 0;
                c->readable = false;
                return;
        }
        c->moved_in = true;
        if (emptied && !c->rdhup)
                c->readable = false;
}

static void begin_exchange(HttpConnection *c, const MamHttpHead *head, size_t size) {
        MamHttpServer *s = c->server;
        MamHttpExchange *x;
        int r;

        c->fresh = false;
        c->got_request = true;
        c->framing = head->framing;
        c->body_left = head->framing == MAM_HTTP_BODY_LENGTH ? head->content_length : 0;
        c->body_seen = 0;
        c->chunked = (MamHttpChunked) MAM_HTTP_CHUNKED_INIT;
        c->asked = false;

        r = http_exchange_new(&x, c, head, c->input.view, size);
        if (r < 0) {
                c->failed = true;
                return;
        }
        http_input_consume(&c->input, size);
        c->exchange = x;
        s->n_exchanges++;

        r = s->handler(x, s->userdata);
        if (r < 0)
                http_exchange_fail(x, 500, NULL);
}

/* true: a request was begun or refused. */
static bool read_head(HttpConnection *c) {
        size_t max = c->server->options.head_max;
        const char *reason = NULL;
        unsigned status = 400;
        MamHttpHead head;
        ssize_t n = 0;

        if (c->input.size == 0)
                return false;

        /* An incomplete head is looked at again only if a line was completed, so dribbling bytes buys no
         * work. */
        if (c->head_seen == 0 || memchr(c->input.view + c->head_seen, '\n', c->input.size - c->head_seen))
                n = mam_http_parse_request(&head, c->input.view, c->input.size, &status, &reason);
        if (n == 0 && c->input.size < max) {
                c->head_seen = c->input.size;
                return false;
        }

        c->head_seen = 0;
        if (n < 0) {
                http_connection_refuse(c, status, reason);
        } else if (n > 0 && (size_t) n <= max) {
                begin_exchange(c, &head, (size_t) n);
        } else if (memchr(c->input.view, '\n', c->input.size < max ? c->input.size : max)) {
                http_connection_refuse(c, 431, "the request's fields are larger than this server takes");
        } else {
                http_connection_refuse(c, 414, "the request line is longer than this server takes");
        }
        return true;
}

static void finish_exchange(HttpConnection *c) {
        MamHttpServer *s = c->server;
        MamHttpExchange *x = c->exchange;

        if (x->aborted) {
                struct linger reset = { .l_onoff = 1 };

                /* A reset, as an answer that ends where the connection ends would look complete otherwise.
                 */
                if (x->started && c->family != AF_UNIX)
                        (void) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
                c->failed = true;
                return;
        }

        if (x->close)
                c->closing = true;
        if (c->framing != MAM_HTTP_BODY_NONE || s->draining)
                c->linger = true; /* the client may still be sending: closing now could take the answer from
                                     it */
        c->body_seen = 0;

        s->n_exchanges--;
        c->exchange = NULL;
        http_exchange_free(x);
}

/* One thing that can be done with what is there. false: nothing. */
static bool step(HttpConnection *c) {
        MamHttpExchange *x = c->exchange;

        if (c->failed)
                return false;
        if (x && (x->ended || x->aborted)) {
                finish_exchange(c);
                return true;
        }
        if (x && c->rdhup && x->on_hangup) {
                MamHttpDone on_hangup = MAM_TAKE(x->on_hangup);

                on_hangup(x, x->on_hangup_userdata);
                return true;
        }
        if (http_body_is_wanted(c))
                return http_body_step(c);
        if (x)
                return false;
        if (c->closing) {
                http_input_consume(&c->input, c->input.size);
                return false;
        }
        if (c->out.size > HTTP_OUT_HIGH) {
                c->held = true;
                return false;
        }
        return read_head(c);
}

static bool tell_writable(HttpConnection *c) {
        MamHttpExchange *x = c->exchange;

        if (!x || !x->want_writable || x->ended || x->aborted || c->out.size > HTTP_OUT_LOW)
                return false;

        x->want_writable = false;
        if (x->on_writable)
                x->on_writable(x, x->on_writable_userdata);
        return true;
}

static bool wants_bytes(const HttpConnection *c) {
        if (c->eof)
                return false;
        if (c->lingering)
                return true;
        if (c->exchange || c->framing != MAM_HTTP_BODY_NONE)
                return http_body_is_wanted(c) && c->framing != MAM_HTTP_BODY_NONE;
        return !c->closing && !c->held;
}

static void start_lingering(HttpConnection *c) {
        c->lingering = true;
        c->readable = true;
        if (shutdown(c->fd, SHUT_WR) < 0) {
                c->failed = true;
        } else {
                http_poll_defer(c->server->poll, &c->item);
        }
}

/* Nothing more can be done now: is this the end? */
static void consider_closing(HttpConnection *c) {
        bool idle;

        if (c->exchange || c->lingering) {
                /* Half-closed is fine, an answer can still be read; gone is gone. */
                if (c->hup || (c->lingering && c->eof))
                        c->failed = true;
                return;
        }
        if (c->hup && !c->readable) {
                c->failed = true;
                return;
        }
        if (c->out.size > 0)
                return;

        idle = !c->readable && c->input.size == 0 && c->framing == MAM_HTTP_BODY_NONE;
        if (c->closing && c->linger && !c->eof) {
                start_lingering(c);
        } else if (c->eof || c->closing || (c->server->draining && !c->fresh && idle)) {
                c->failed = true;
        }
}

static void set_deadline(HttpConnection *c) {
        if (c->lingering) {
                http_server_deadline(c, HTTP_DEADLINE_LINGER, false);
        } else if (c->out.size > 0) {
                http_server_deadline(c, HTTP_DEADLINE_WRITE, c->moved_out);
        } else if (c->exchange || c->framing != MAM_HTTP_BODY_NONE) {
                http_server_deadline(
                                c,
                                wants_bytes(c) ? HTTP_DEADLINE_BODY : HTTP_DEADLINE_NONE,
                                c->moved_in);
        } else if (c->input.size > 0) {
                http_server_deadline(c, HTTP_DEADLINE_HEAD, c->got_request);
        } else if (c->server->draining) {
                http_server_deadline(c, HTTP_DEADLINE_GRACE, false);
        } else {
                http_server_deadline(c, HTTP_DEADLINE_IDLE, c->moved_in || c->moved_out);
        }
}

static void note_events(HttpConnection *c, uint32_t events) {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                c->readable = true;
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
                bool told;

                while (step(c))
                        ;
                flush(c);
                if (c->failed)
                        break;
                if (c->held && c->out.size <= HTTP_OUT_HIGH) {
                        c->held = false;
                        continue;
                }
                told = tell_writable(c);
                if (!told && (!c->readable || !wants_bytes(c)))
                        break;
                if (rounds++ >= HTTP_ROUNDS_MAX) {
                        http_poll_defer(c->server->poll, &c->item);
                        break;
                }
                if (!told)
                        receive(c);
        }

        if (http_input_save(&c->input) < 0)
                c->failed = true;
        c->running = false;
        if (!c->failed)
                consider_closing(c);
        if (c->failed) {
                http_connection_free(c);
                return;
        }
        set_deadline(c);
}

void http_connection_expire(HttpConnection *c, HttpDeadline kind) {
        assert(c);

        if (kind == HTTP_DEADLINE_HEAD) {
                http_connection_refuse(c, 408, "the request's head took too long");
        } else if (kind == HTTP_DEADLINE_BODY && c->exchange) {
                http_body_fail(c, -ETIMEDOUT, 408, "the request's body took too long");
        } else {
                c->failed = true;
        }
        http_connection_run(c, 0);
}
