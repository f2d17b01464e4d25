/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One connection of the HTTP client
 */

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>

#include "libmam/http/http-channel.h"
#include "libmam/http/native-frames.h"
#include "libmam/util/macro.h"

MAM_DEFINE_CLEANUP(HttpChannel, http_channel_free);

static void fail(HttpChannel *ch, int error) {
        if (ch->failed)
                return;
        ch->failed = true;
        ch->error = error;
}

static void on_event(HttpPollItem *item, uint32_t events) {
        http_channel_run((HttpChannel *) ((char *) item - offsetof(HttpChannel, item)), events);
}

void http_channel_defer(HttpChannel *ch) {
        if (!ch->running)
                http_poll_defer(ch->client->poll, &ch->item);
}

HttpChannel *http_channel_free(HttpChannel *ch) {
        MamHttpClient *c;

        if (!ch)
                return NULL;

        c = ch->client;
        if (ch->idle) {
                TAILQ_REMOVE(&c->idle, ch, channels);
                c->n_idle--;
        } else
                TAILQ_REMOVE(&c->busy, ch, channels);
        if (!ch->upgraded)
                c->n_channels--;
        http_poll_forget(c->poll, &ch->item);
        if (ch->fd >= 0)
                close(ch->fd);
        mam_buffer_done(&ch->input.kept);
        mam_buffer_done(&ch->out);
        mam_buffer_done(&ch->trailers);
        free(ch);
        return NULL;
}

/* Nothing has come on an idle connection: no answer to nothing, no end of file. */
static bool is_quiet(const HttpChannel *ch) {
        char c;

        return recv(ch->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static HttpChannel *channel_of(const HttpLink *l) {
        return (HttpChannel *) ((const char *) l - offsetof(HttpChannel, link));
}

static int link_write(HttpLink *l, const void *data, size_t size) {
        HttpChannel *ch = channel_of(l);
        bool chunked = l->call->content_length < 0 && !ch->upgraded;
        int r = 0;

        if (ch->failed)
                return 0;
        if (chunked)
                r = mam_buffer_appendf(&ch->out, "%zx\r\n", size);
        if (r >= 0)
                r = mam_buffer_append(&ch->out, data, size);
        if (r >= 0 && chunked)
                r = mam_buffer_append(&ch->out, "\r\n", 2);
        if (r < 0)
                fail(ch, r); /* half a chunk is of no use */
        http_channel_defer(ch);
        return r < 0 ? r : ch->out.size <= HTTP_CHANNEL_OUT_HIGH;
}

static int put_field(MamBuffer *to, MamHttpRange name, MamHttpRange value) {
        char *p;
        int r;

        r = mam_buffer_reserve(to, name.size + value.size + 4, &p);
        if (r < 0)
                return r;
        p = mempcpy(p, name.data, name.size);
        p = mempcpy(p, ": ", 2);
        p = mempcpy(p, value.data, value.size);
        (void) memcpy(p, "\r\n", 2);
        mam_buffer_commit(to, name.size + value.size + 4);
        return 0;
}

static int put_fields(MamBuffer *to, const char *fields, unsigned n) {
        MamHttpRange name, value;
        int r = 0;

        while (n-- > 0 && r >= 0) {
                fields = native_field_next(fields, &name, &value);
                r = put_field(to, name, value);
        }
        return r;
}

static int link_end_body(HttpLink *l) {
        HttpChannel *ch = channel_of(l);
        const MamHttpCall *call = l->call;
        int r = 0;

        if (ch->failed)
                return 0;
        if (call->content_length < 0 && !ch->upgraded) {
                r = mam_buffer_append(&ch->out, "0\r\n", 3);
                if (r >= 0)
                        r = put_fields(&ch->out, mam_buffer_bytes(&call->trailers), call->n_trailers);
                if (r >= 0)
                        r = mam_buffer_append(&ch->out, "\r\n", 2);
        }
        if (r < 0)
                fail(ch, r);
        http_channel_defer(ch);
        return r;
}

static void link_resume(HttpLink *l) {
        http_channel_defer(channel_of(l));
}

static bool link_is_sent(const HttpLink *l) {
        return l->call->sent;
}

/* A channel that a call leaves in mid-message can serve nobody any more. */
static void link_leave(HttpLink *l) {
        HttpChannel *ch = channel_of(l);

        l->call = NULL;
        if (ch->running) {
                ch->failed = true; /* freed when its run ends */
        } else {
                http_channel_free(ch);
        }
}

static const HttpLinkOps link_ops = {
        .write = link_write,
        .end_body = link_end_body,
        .resume = link_resume,
        .is_sent = link_is_sent,
        .leave = link_leave,
};

/* The head as it is sent. */
static int write_text(MamHttpCall *call) {
        bool chunked = call->streaming && call->content_length < 0;
        MamBuffer *t = &call->text;
        char *p;
        int r;

        if (t->size > 0)
                return 0;
        http_poll_lend(call->poll, t);
        r = mam_buffer_reserve(t, call->head.size + 64, &p); /* hardly more than this */
        if (r < 0)
                return r;
        p = mempcpy(p, http_call_method(call), call->method_size);
        *p++ = ' ';
        p = mempcpy(p, http_call_target(call), call->target_size);
        (void) memcpy(p, " HTTP/1.1\r\n", 11);
        mam_buffer_commit(t, call->method_size + 1 + call->target_size + 11);

        r = put_fields(t, http_call_fields(call), call->n_fields);
        if (r >= 0 && call->upgrade)
                r = mam_buffer_appendf(t, "Connection: upgrade\r\nUpgrade: %s\r\n", call->upgrade);
        if (r >= 0 && chunked) {
                r = mam_buffer_append_string(t, "Transfer-Encoding: chunked\r\n");
        } else if (r >= 0 && (call->streaming || call->wants_length)) {
                r = mam_buffer_appendf(t, "Content-Length: %lld\r\n", (long long) http_call_length(call));
        }
        return r < 0 ? r : mam_buffer_append(t, "\r\n", 2);
}

static void assign(HttpChannel *ch, MamHttpCall *call) {
        call->link = &ch->link;
        call->written = 0;
        ch->link.call = call;
        ch->answered = ch->head_done = ch->keep = ch->mute = false;
        ch->head_seen = 0;
        ch->n_interim = 0;
        ch->framing = MAM_HTTP_BODY_NONE;
        http_channel_defer(ch);
}

static HttpChannel *take_idle(MamHttpClient *c, bool idempotent) {
        HttpChannel *ch;

        while ((ch = TAILQ_FIRST(&c->idle))) {
                /* A request that cannot be repeated goes where the server has not left already, as far as
                 * can be seen. */
                if (!idempotent && !is_quiet(ch)) {
                        http_channel_free(ch);
                        continue;
                }
                TAILQ_REMOVE(&c->idle, ch, channels);
                c->n_idle--;
                ch->idle = false;
                ch->reused = true;
                TAILQ_INSERT_TAIL(&c->busy, ch, channels);
                return ch;
        }
        return NULL;
}

static int open_channel(HttpChannel **ret, MamHttpClient *c) {
        _cleanup_(http_channel_freep) HttpChannel *ch = NULL;
        int one = 1, r;

        if (c->n_channels >= c->options.connections_max && !TAILQ_EMPTY(&c->idle))
                http_channel_free(TAILQ_LAST(&c->idle, HttpChannelQueue));
        if (c->n_channels >= c->options.connections_max)
                return -EAGAIN;

        ch = calloc(1, sizeof(*ch));
        if (!ch)
                return -ENOMEM;
        ch->item.on_event = on_event;
        ch->link.ops = &link_ops;
        ch->client = c;
        ch->fd = -EBADF;
        c->n_channels++;
        TAILQ_INSERT_TAIL(&c->busy, ch, channels);

        ch->fd = socket(c->address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (ch->fd < 0)
                return -errno;
        if (c->address.any.sa_family != AF_UNIX)
                (void) setsockopt(ch->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (connect(ch->fd, &c->address.any, c->address_size) < 0) {
                if (errno != EINPROGRESS && errno != EINTR)
                        return -errno;
                ch->connecting = true;
                if (__builtin_add_overflow(
                                    http_client_now(c),
                                    c->options.connect_timeout_usec,
                                    &ch->deadline_usec))
                        ch->deadline_usec = UINT64_MAX;
                http_client_arm(c, ch->deadline_usec);
        }
        r = http_poll_add(c->poll, &ch->item, ch->fd, ch->connecting ? EPOLLIN | EPOLLOUT : EPOLLIN);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(ch);
        return 0;
}

int http_channel_attach(MamHttpCall *call, bool fresh) {
        HttpChannel *ch = NULL;
        int r;

        assert(call);

        r = write_text(call);
        if (r < 0)
                return r;
        if (!fresh)
                ch = take_idle(call->client, call->idempotent);
        if (!ch) {
                r = open_channel(&ch, call->client);
                if (r < 0)
                        return r;
        }
        assert(ch);
        assign(ch, call);
        return 0;
}

static void become_idle(HttpChannel *ch) {
        MamHttpClient *c = ch->client;

        TAILQ_REMOVE(&c->busy, ch, channels);
        TAILQ_INSERT_HEAD(&c->idle, ch, channels);
        ch->idle = true;
        c->n_idle++;
        if (__builtin_add_overflow(http_client_now(c), c->options.idle_timeout_usec, &ch->deadline_usec))
                ch->deadline_usec = UINT64_MAX;
        http_client_arm(c, ch->deadline_usec);
        if (c->n_idle > c->options.idle_max)
                http_channel_free(TAILQ_LAST(&c->idle, HttpChannelQueue));
}

static void finish_connect(HttpChannel *ch) {
        int error = 0;
        socklen_t size = sizeof(error);

        if (getsockopt(ch->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
                error = errno;
        if (error == 0 && http_poll_modify(ch->client->poll, &ch->item, ch->fd, EPOLLIN) < 0)
                error = EIO;
        if (error != 0)
                fail(ch, -error);
        ch->connecting = false;
}

static bool is_written(const HttpChannel *ch) {
        const MamHttpCall *call = ch->link.call;

        return call->written == call->text.size + call->body.size && ch->out.size == 0 &&
               (!call->streaming || call->body_ended);
}

/* Head, body and what was streamed so far, in one call. */
static void send_request(HttpChannel *ch) {
        MamHttpCall *call = ch->link.call;
        size_t head = call->text.size, body = call->body.size, all = head + body, total, step;
        struct iovec iov[3];
        struct msghdr m = { .msg_iov = iov };
        ssize_t n;

        if (call->written < head) {
                iov[m.msg_iovlen++] = (struct iovec){ (char *) mam_buffer_bytes(&call->text) + call->written,
                                                      head - call->written };
        }
        if (call->written < all && body > 0) {
                size_t skip = call->written > head ? call->written - head : 0;

                iov[m.msg_iovlen++] =
                                (struct iovec){ (char *) mam_buffer_bytes(&call->body) + skip, body - skip };
        }
        if (ch->out.size > 0)
                iov[m.msg_iovlen++] = (struct iovec){ (char *) mam_buffer_bytes(&ch->out), ch->out.size };
        if (m.msg_iovlen == 0 || ch->blocked || ch->mute)
                return;
        total = all - call->written + ch->out.size;

        do {
                n = m.msg_iovlen == 1 ? send(ch->fd,
                                             iov[0].iov_base,
                                             iov[0].iov_len,
                                             MSG_NOSIGNAL | MSG_DONTWAIT)
                                      : sendmsg(ch->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (n < 0 && errno == EINTR);
        if (n < 0 && errno != EAGAIN) {
                /* The server may have answered before it closed: read on. */
                ch->mute = true;
                ch->readable = true;
                return;
        }
        if (n > 0) {
                call->sent = true;
        } else {
                n = 0;
        }

        step = (size_t) n < all - call->written ? (size_t) n : all - call->written;
        call->written += step;
        mam_buffer_consume(&ch->out, (size_t) n - step);
        if (ch->out.size == 0)
                mam_buffer_reset(&ch->out);
        if ((size_t) n < total) {
                ch->blocked = true;
                if (http_poll_modify(ch->client->poll, &ch->item, ch->fd, EPOLLIN | EPOLLOUT) < 0)
                        fail(ch, -EIO);
        }
}

static bool tell_writable(HttpChannel *ch) {
        MamHttpCall *call = ch->link.call;

        if (!call || !call->want_writable || call->body_ended || ch->out.size > HTTP_CHANNEL_OUT_LOW)
                return false;
        call->want_writable = false;
        if (call->callbacks.on_writable)
                call->callbacks.on_writable(call, call->userdata);
        return true;
}

/* Is this the answer's head? true: go on with what follows it. */
static bool read_head(HttpChannel *ch) {
        MamHttpCall *call = ch->link.call;
        HttpInput *in = &ch->input;
        size_t max = ch->client->options.head_max;
        MamHttpHead head;
        ssize_t n = 0;
        int r = 0;

        if (ch->head_seen == 0 || memchr(in->view + ch->head_seen, '\n', in->size - ch->head_seen))
                n = mam_http_parse_response(&head, in->view, in->size, call->head_request, NULL);
        if (n < 0 || (n == 0 && in->size >= max) || (size_t) n > max) {
                fail(ch, -EBADMSG);
                return false;
        }
        if (n == 0) {
                ch->head_seen = in->size;
                return false;
        }

        ch->head_seen = 0;
        if (head.status < 200 && head.status != 101) {
                if (++ch->n_interim > HTTP_CHANNEL_INTERIM_MAX)
                        fail(ch, -EBADMSG);
                http_input_consume(in, (size_t) n);
                return !ch->failed;
        }

        ch->head_done = true;
        ch->keep = head.keep_alive;
        ch->framing = head.framing;
        ch->body_left = head.content_length;
        ch->chunked = (MamHttpChunked) MAM_HTTP_CHUNKED_INIT;
        if (head.status == 101)
                r = http_channel_upgrade(ch, &head);
        if (r >= 0 && call->callbacks.on_head)
                r = call->callbacks.on_head(call, &head, call->userdata);
        if (r < 0)
                fail(ch, r);
        http_input_consume(in, (size_t) n);
        return !ch->failed;
}

/* The decoder has checked and bounded them. Fields that must not stand there are a reason to ignore them. */
static void tell_trailers(HttpChannel *ch) {
        _cleanup_(mam_buffer_done) MamBuffer text = ch->trailers;
        MamHttpField fields[MAM_HTTP_TRAILERS_MAX];
        MamHttpCall *call = ch->link.call;
        size_t n = 0;

        ch->trailers = (MamBuffer) MAM_BUFFER_INIT;
        if (!call || ch->failed || !call->callbacks.on_trailers)
                return;
        if (mam_http_parse_trailers(fields, &n, mam_buffer_bytes(&text), text.size, NULL) >= 0 && n > 0)
                call->callbacks.on_trailers(call, fields, n, call->userdata);
}

static bool read_body(HttpChannel *ch) {
        MamHttpCall *call = ch->link.call;
        HttpInput *in = &ch->input;
        MamHttpRange piece = { in->view, in->size };
        bool done = false;
        int r = 0;

        if (ch->framing == MAM_HTTP_BODY_CHUNKED) {
                ssize_t n = mam_http_chunked_decode(&ch->chunked, in->view, in->size, &piece, &done, NULL);

                MamHttpRange trailers;

                if (n < 0) {
                        fail(ch, -EBADMSG);
                        return false;
                }
                trailers = mam_http_chunked_trailers(&ch->chunked, in->view);
                if (trailers.size > 0)
                        r = mam_buffer_append(&ch->trailers, trailers.data, trailers.size);
                http_input_consume(in, (size_t) n);
        } else {
                if (ch->framing == MAM_HTTP_BODY_LENGTH) {
                        if (piece.size > ch->body_left)
                                piece.size = (size_t) ch->body_left;
                        ch->body_left -= piece.size;
                        done = ch->body_left == 0;
                }
                http_input_consume(in, piece.size);
        }
        if (done)
                ch->framing = MAM_HTTP_BODY_NONE;

        if (r >= 0 && piece.size > 0 && call->callbacks.on_data)
                r = call->callbacks.on_data(call, piece.data, piece.size, call->userdata);
        if (r < 0)
                fail(ch, r);
        if (done && ch->trailers.size > 0)
                tell_trailers(ch);
        return !ch->failed;
}

/* true: the answer is complete. */
static bool read_answer(HttpChannel *ch) {
        for (;;) {
                if (!ch->link.call || ch->failed)
                        return false;
                if (ch->head_done && ch->framing == MAM_HTTP_BODY_NONE)
                        return true;
                if (ch->head_done && ch->link.call->paused)
                        return false;
                if (ch->input.size == 0) {
                        if (!ch->eof)
                                return false;
                        if (ch->head_done && ch->framing == MAM_HTTP_BODY_UNTIL_CLOSE)
                                return true;
                        fail(ch, -ECONNRESET);
                        return false;
                }
                if (!(ch->head_done ? read_body(ch) : read_head(ch))) {
                        if (ch->eof && ch->link.call && !ch->failed)
                                fail(ch, -ECONNRESET);
                        return false;
                }
        }
}

static void receive(HttpChannel *ch) {
        MamHttpClient *c = ch->client;
        bool emptied;
        ssize_t n;

        n = http_input_receive(&ch->input, c->poll, ch->fd, c->options.head_max, &emptied);
        if (n < 0 && n != -EAGAIN) {
                fail(ch, n == -ENOMEM ? -ENOMEM : -ECONNRESET);
                return;
        }
        if (n <= 0) {
                ch->eof = n == 0;
                ch->readable = false;
                if (n < 0 && ch->mute)
                        fail(ch, -ECONNRESET);
                return;
        }
        ch->answered = true;
        if (emptied && !ch->rdhup)
                ch->readable = false;
}

/* true: the call is complete, and the channel has left it. */
static bool talk(HttpChannel *ch) {
        bool done = false;

        for (unsigned rounds = 0;;) {
                bool told;

                send_request(ch);
                http_channel_shut(ch);
                told = tell_writable(ch);
                if (!told || !ch->link.call || ch->failed) {
                        done = read_answer(ch);
                        if (done || !ch->link.call || ch->failed)
                                break;
                        if (!ch->readable || ch->eof || (ch->head_done && ch->link.call->paused))
                                break;
                }
                if (rounds++ >= HTTP_CHANNEL_ROUNDS_MAX) {
                        http_poll_defer(ch->client->poll, &ch->item);
                        break;
                }
                if (!told)
                        receive(ch);
        }
        if (done) {
                ch->keep = ch->keep && !ch->eof && !ch->rdhup && !ch->mute && ch->input.size == 0 &&
                           is_written(ch);
        }
        if (http_input_save(&ch->input) < 0 && !done)
                fail(ch, -ENOMEM);
        return done;
}

static void note_events(HttpChannel *ch, uint32_t events) {
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                ch->readable = true;
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                ch->rdhup = true;
        if (ch->connecting) {
                if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
                        finish_connect(ch);
        } else if (ch->blocked && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))) {
                ch->blocked = false;
                if (http_poll_modify(ch->client->poll, &ch->item, ch->fd, EPOLLIN) < 0)
                        fail(ch, -EIO);
        }
        if (ch->idle && events != 0 && !is_quiet(ch))
                fail(ch, -ECONNRESET);
}

/* The connection broke. The call goes on with a new one if that cannot do anything twice: the server closed
 * a connection that idled, as servers may, while we took it up. */
static void give_up(HttpChannel *ch) {
        MamHttpCall *call = ch->link.call;
        int error = ch->error;
        bool retry;

        retry = call && ch->reused && !ch->answered && error == -ECONNRESET && call->idempotent &&
                (!call->streaming || (call->body_written == 0 && !call->body_ended)) && !ch->client->closed;
        if (call)
                call->link = NULL;
        http_channel_free(ch);
        if (!call)
                return;

        if (retry) {
                error = http_channel_attach(call, true);
                if (error >= 0)
                        return;
        }
        http_call_end(call, error);
}

void http_channel_run(HttpChannel *ch, uint32_t events) {
        MamHttpClient *c;

        assert(ch);
        assert(!ch->running);

        c = http_client_ref(ch->client);
        ch->running = true;
        http_input_load(&ch->input);
        note_events(ch, events);

        if (!ch->failed && !ch->connecting && ch->link.call && talk(ch)) {
                MamHttpCall *call = MAM_TAKE(ch->link.call);

                call->link = NULL;
                ch->running = false;
                if (ch->keep && !c->closed) {
                        become_idle(ch);
                } else {
                        http_channel_free(ch);
                }
                http_call_end(call, 0);
        } else {
                ch->running = false;
                if (ch->failed)
                        give_up(ch);
        }
        http_client_unref(c);
}
