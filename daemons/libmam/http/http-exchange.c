/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One request and its answer
 *
 * One allocation holds the exchange and a copy of the head's bytes. In that copy the byte behind each value
 * is a separator that nobody needs any more, so it becomes the NUL of the string.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "libmam/http/http-exchange.h"
#include "libmam/http/http-tls-session.h"
#include "libmam/util/spares.h"

#define FIELDS_MAX 65536U /* of an answer */

static void rebase(MamHttpRange *r, const char *from, size_t size, const char *to) {
        if (r->data >= from && r->data <= from + size)
                r->data = to + (r->data - from);
}

static void find_ids(MamHttpExchange *x) {
        const MamHttpField *f = mam_http_find(&x->head, "X-Request-Id");

        if (f && mam_request_id_is_valid(f->value.data, f->value.size)) {
                memcpy(x->request_id, f->value.data, f->value.size + 1);
        } else {
                mam_request_id_new(x->request_id);
        }
}

/* Exchanges of usual size are kept by the server for the next ones. */
static MamHttpExchange *take(MamHttpServer *s, size_t size) {
        bool is_small = size <= HTTP_SPARE_SIZE;
        MamHttpExchange *x;

        x = is_small ? mam_spares_take(&s->spares, HTTP_SPARE_SIZE) : malloc(size);
        if (!x)
                return NULL;
        memset(x, 0, offsetof(MamHttpExchange, head));
        x->is_small = is_small;
        return x;
}

static void give_back(MamHttpServer *s, MamHttpExchange *x) {
        if (x->is_small) {
                mam_spares_give(&s->spares, x);
        } else
                free(x);
}

int http_exchange_new(
                MamHttpExchange **ret,
                HttpCarrier *c,
                const MamHttpHead *head,
                const char *data,
                size_t size) {
        size_t path_size = head->query.data ? head->path.size + 1 : 0;
        MamHttpServer *s = c->connection->server;
        MamHttpExchange *x;
        MamHttpHead *h;

        assert(ret);
        assert(!c->exchange);

        x = take(s, sizeof(*x) + size + path_size);
        if (!x)
                return -ENOMEM;
        memcpy(x->bytes, data, size);

        h = &x->head;
        memcpy(h, head, offsetof(MamHttpHead, fields) + head->n_fields * sizeof(head->fields[0]));
        h->n_fields = head->n_fields;
        rebase(&h->method, data, size, x->bytes);
        rebase(&h->target, data, size, x->bytes);
        rebase(&h->path, data, size, x->bytes);
        rebase(&h->query, data, size, x->bytes);
        rebase(&h->host, data, size, x->bytes);
        rebase(&h->protocol, data, size, x->bytes);
        for (size_t i = 0; i < h->n_fields; i++) {
                rebase(&h->fields[i].name, data, size, x->bytes);
                rebase(&h->fields[i].value, data, size, x->bytes);
                x->bytes[h->fields[i].value.data + h->fields[i].value.size - x->bytes] = '\0';
        }

        x->bytes[h->method.data + h->method.size - x->bytes] = '\0';
        x->method = h->method.data;
        x->bytes[h->target.data + h->target.size - x->bytes] = '\0';
        if (path_size > 0) {
                memcpy(x->bytes + size, h->path.data, h->path.size);
                x->bytes[size + h->path.size] = '\0';
                x->path = x->bytes + size;
        } else
                x->path = h->path.data; /* ends where the target ends, or is a literal */

        x->carrier = c;
        x->head_request = mam_http_range_equal(h->method, "HEAD");
        x->content_length = -1;
        x->body_max = s->options.body_max;
        x->fields.max = FIELDS_MAX;
        x->started_usec = http_poll_now(s->poll);
        find_ids(x);

        c->exchange = x;
        s->n_exchanges++;
        *ret = x;
        return 0;
}

void http_exchange_handle(MamHttpExchange *x) {
        const MamHttpServer *s = x->carrier->connection->server;
        int r;

        r = s->handler(x, s->userdata);
        if (r < 0)
                http_exchange_fail(x, 500, NULL);
}

MamHttpExchange *http_exchange_free(MamHttpExchange *x) {
        MamHttpServer *s;

        if (!x)
                return NULL;

        s = x->carrier->connection->server;
        if (!http_exchange_is_over(x))
                http_exchange_body_fail(x, -EPIPE, 0, NULL);
        http_drain_forget(x);
        x->carrier->exchange = NULL;
        s->n_exchanges--;
        if (x->on_done)
                x->on_done(x, x->on_done_userdata);
        if (x->on_frame_done)
                x->on_frame_done(x, x->frame);
        mam_buffer_done(&x->body);
        http_poll_give_back(s->poll, &x->fields);
        free(x->trailers);
        give_back(s, x);
        return NULL;
}

bool http_exchange_is_over(const MamHttpExchange *x) {
        return x->aborted || (x->ended && (!x->upgraded || http_exchange_body_has_ended(x)));
}

bool http_exchange_hangup(MamHttpExchange *x) {
        MamHttpDone on_hangup = MAM_TAKE(x->on_hangup);

        if (!on_hangup)
                return false;
        on_hangup(x, x->on_hangup_userdata);
        return true;
}

bool http_exchange_waits_to_write(const MamHttpExchange *x) {
        return x->want_writable && !x->ended && !x->aborted;
}

bool http_exchange_writable(MamHttpExchange *x) {
        if (!http_exchange_waits_to_write(x))
                return false;
        x->want_writable = false;
        if (x->on_writable)
                x->on_writable(x, x->on_writable_userdata);
        return true;
}

const MamHttpHead *mam_http_exchange_head(const MamHttpExchange *x) {
        assert(x);

        return &x->head;
}

const char *mam_http_exchange_method(const MamHttpExchange *x) {
        assert(x);

        return x->method;
}

const char *mam_http_exchange_path(const MamHttpExchange *x) {
        assert(x);

        return x->path;
}

const char *mam_http_exchange_header(MamHttpExchange *x, const char *name) {
        const MamHttpField *f;

        assert(x);
        assert(name);

        f = mam_http_find(&x->head, name);
        return f ? f->value.data : NULL;
}

unsigned mam_http_exchange_listener_tag(const MamHttpExchange *x) {
        assert(x);

        return x->carrier->connection->tag;
}

unsigned mam_http_exchange_version(const MamHttpExchange *x) {
        assert(x);

        return x->carrier->ops->version > 0 ? x->carrier->ops->version : 10 + x->head.minor_version;
}

const char *mam_http_exchange_upgrade_protocol(const MamHttpExchange *x) {
        assert(x);

        return x->carrier->ops->upgrade ? x->head.protocol.data : NULL;
}

const MamHttpTlsInfo *mam_http_exchange_tls(const MamHttpExchange *x) {
        HttpTls *tls;

        assert(x);

        tls = x->carrier->connection->tls;
        return tls ? http_tls_info(tls) : NULL;
}

int mam_http_exchange_peer_uid(const MamHttpExchange *x, uid_t *ret) {
        HttpConnection *c;
        struct ucred cred;
        socklen_t size = sizeof(cred);

        assert(x);
        assert(ret);

        c = x->carrier->connection;
        if (c->family != AF_UNIX)
                return -EOPNOTSUPP;
        if (!c->has_peer_uid) {
                if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
                        return -errno;
                c->peer_uid = cred.uid;
                c->has_peer_uid = true;
        }
        *ret = c->peer_uid;
        return 0;
}

/* As asked for first: most connections are never asked. */
static void find_peer(HttpConnection *c, const MamHttpExchange *x) {
        union {
                struct sockaddr any;
                struct sockaddr_in in;
                struct sockaddr_in6 in6;
        } a = { 0 };
        socklen_t size = sizeof(a);
        uid_t uid = (uid_t) -1;

        if (c->family == AF_UNIX) {
                if (mam_http_exchange_peer_uid(x, &uid) < 0)
                        (void) strcpy(c->peer, "unix");
                else
                        snprintf(c->peer, sizeof(c->peer), "unix:uid=%u", (unsigned) uid);
                return;
        }
        if (getpeername(c->fd, &a.any, &size) < 0) {
                (void) strcpy(c->peer, "unknown");
                return;
        }
        if (a.any.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr)) {
                (void) inet_ntop(AF_INET6, &a.in6.sin6_addr, c->address, sizeof(c->address));
                snprintf(c->peer, sizeof(c->peer), "[%s]:%u", c->address, ntohs(a.in6.sin6_port));
                return;
        }
        (void) inet_ntop(
                        AF_INET,
                        a.any.sa_family == AF_INET6 ? (const void *) &a.in6.sin6_addr.s6_addr[12]
                                                    : (const void *) &a.in.sin_addr,
                        c->address,
                        sizeof(c->address));
        snprintf(c->peer, sizeof(c->peer), "%s:%u", c->address, ntohs(a.in.sin_port));
}

const char *mam_http_exchange_peer(const MamHttpExchange *x) {
        HttpConnection *c;

        assert(x);

        c = x->carrier->connection;
        if (c->peer[0] == '\0')
                find_peer(c, x);
        return c->peer;
}

const char *mam_http_exchange_address(const MamHttpExchange *x) {
        (void) mam_http_exchange_peer(x);
        return x->carrier->connection->address;
}

void mam_http_exchange_set_hint(MamHttpExchange *x, uint32_t hint) {
        assert(x);

        x->carrier->connection->hint = hint;
}

uint32_t mam_http_exchange_hint(const MamHttpExchange *x) {
        assert(x);

        return x->carrier->connection->hint;
}

bool mam_http_exchange_parent(const MamHttpExchange *x, MamTrace *ret) {
        const MamHttpField *found = NULL;

        assert(x);
        assert(ret);

        for (size_t i = 0; i < x->head.n_fields; i++) {
                const MamHttpField *f = &x->head.fields[i];

                if (f->name.size != 11 || !mam_http_range_equal_fold(f->name, "traceparent"))
                        continue;
                if (found)
                        return false;
                found = f;
        }
        return found && mam_trace_parse(ret, found->value.data, found->value.size) >= 0;
}

MamTrace *mam_http_exchange_trace(MamHttpExchange *x) {
        MamTrace parent;

        assert(x);

        if (x->has_trace)
                return &x->trace;

        x->has_trace = true;
        if (mam_http_exchange_parent(x, &parent)) {
                mam_trace_child(&x->trace, &parent);
        } else {
                mam_trace_start(&x->trace, false);
        }
        return &x->trace;
}

const char *mam_http_exchange_request_id(const MamHttpExchange *x) {
        assert(x);

        return x->request_id;
}

void mam_http_exchange_set_userdata(MamHttpExchange *x, void *userdata) {
        assert(x);

        x->userdata = userdata;
}

void *mam_http_exchange_userdata(const MamHttpExchange *x) {
        assert(x);

        return x->userdata;
}

void mam_http_exchange_set_on_done(MamHttpExchange *x, MamHttpDone on_done, void *userdata) {
        assert(x);

        x->on_done = on_done;
        x->on_done_userdata = userdata;
}

void mam_http_exchange_set_frame(MamHttpExchange *x, MamHttpDone on_done, void *userdata) {
        assert(x);

        x->frame = userdata;
        x->on_frame_done = on_done;
}

void *mam_http_exchange_frame(const MamHttpExchange *x) {
        assert(x);

        return x->frame;
}

void mam_http_exchange_set_on_writable(MamHttpExchange *x, MamHttpDone on_writable, void *userdata) {
        assert(x);

        x->on_writable = on_writable;
        x->on_writable_userdata = userdata;
}

void mam_http_exchange_set_on_hangup(MamHttpExchange *x, MamHttpDone on_hangup, void *userdata) {
        assert(x);

        x->on_hangup = on_hangup;
        x->on_hangup_userdata = userdata;
}

bool mam_http_exchange_is_started(const MamHttpExchange *x) {
        assert(x);

        return x->started;
}

unsigned mam_http_exchange_status(const MamHttpExchange *x) {
        assert(x);

        return x->status;
}

uint64_t mam_http_exchange_bytes_sent(const MamHttpExchange *x) {
        assert(x);

        return x->bytes_sent;
}

uint64_t mam_http_exchange_now(const MamHttpExchange *x) {
        assert(x);

        return http_poll_now(x->carrier->connection->server->poll);
}

uint64_t mam_http_exchange_started_usec(const MamHttpExchange *x) {
        assert(x);

        return x->started_usec;
}
