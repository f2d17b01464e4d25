/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/dns-server.h"

#include <assert.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "registry/dns-zone.h"

#define SOCKETS_MAX    8U
#define BATCH          64U
#define ACCEPT_RETRY   (100 * MAM_USEC_PER_MSEC)
#define OUT_HIGH_WATER 65536U

typedef struct DnsConnection DnsConnection;

typedef struct DnsSocket {
        int fd;
        bool stream;
        sd_event_source *source; /* owned */
} DnsSocket;

/* One client over TCP. Its buffers are there while there is something in them. */
struct DnsConnection {
        DnsServer *server; /* weak: the server owns us */
        int fd;
        sd_event_source *source, *timer;
        uint8_t *in; /* owned; DNS_QUERY_MAX + 2 */
        size_t in_size;
        uint8_t *out; /* owned */
        size_t out_size, out_sent;
        bool closing; /* the client has no more queries */
        TAILQ_ENTRY(DnsConnection) connections;
};

struct DnsServer {
        sd_event *event;
        const Catalog *catalog; /* weak */
        bool refuse;
        DnsSocket sockets[SOCKETS_MAX];
        size_t n_sockets;
        TAILQ_HEAD(, DnsConnection) connections;
        unsigned n_connections;
        bool paused;             /* not accepting: too many connections, or out of descriptors */
        sd_event_source *resume; /* when to try again */
        DnsCounts counts;
};

static uint32_t random_number(void) {
        uint32_t lot = 0;

        if (getrandom(&lot, sizeof(lot), GRND_NONBLOCK) != (ssize_t) sizeof(lot))
                lot = (uint32_t) mam_now_monotonic();
        return lot;
}

static ssize_t answer(DnsServer *s, const uint8_t *query, size_t size, uint8_t *ret, size_t max, bool tcp) {
        DnsQuery q;
        DnsWriter w;
        int r;

        if (!s->refuse)
                return dns_zone_answer(s->catalog, query, size, ret, max, tcp, random_number());

        r = dns_query_parse(&q, query, size);
        if (r < 0)
                return r;
        dns_answer_begin(&w, ret, DNS_UDP_SIZE, &q);
        return (ssize_t) dns_answer_end(&w, &q, r == DNS_NOERROR ? DNS_REFUSED : (DnsRcode) r, false);
}

/* ---- UDP ---- */

static int on_datagram(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        uint8_t query[DNS_QUERY_MAX + 1], reply[DNS_EDNS_SIZE];
        DnsServer *s = userdata;

        for (unsigned i = 0; i < BATCH; i++) {
                struct sockaddr_storage peer;
                socklen_t peer_size = sizeof(peer);
                ssize_t n, k;

                n = recvfrom(fd, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *) &peer, &peer_size);
                if (n < 0) {
                        if (errno == EAGAIN || errno == EINTR)
                                break;
                        continue; /* what an earlier answer met, as ECONNREFUSED */
                }
                k = answer(s, query, (size_t) n, reply, sizeof(reply), false);
                if (k < 0) {
                        s->counts.dropped++;
                        continue;
                }
                s->counts.udp++;
                (void) sendto(fd,
                              reply,
                              (size_t) k,
                              MSG_DONTWAIT | MSG_NOSIGNAL,
                              (struct sockaddr *) &peer,
                              peer_size);
        }
        return 0;
}

/* ---- TCP ---- */

static void set_accepting(DnsServer *s, bool on) {
        s->paused = !on;
        for (size_t i = 0; i < s->n_sockets; i++)
                if (s->sockets[i].stream)
                        (void) sd_event_source_set_enabled(
                                        s->sockets[i].source,
                                        on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static DnsConnection *connection_free(DnsConnection *c) {
        if (!c)
                return NULL;

        if (c->server) {
                TAILQ_REMOVE(&c->server->connections, c, connections);
                c->server->n_connections--;
                if (c->server->paused)
                        set_accepting(c->server, true);
        }
        sd_event_source_disable_unref(c->source);
        sd_event_source_disable_unref(c->timer);
        if (c->fd >= 0)
                close(c->fd);
        free(c->in);
        free(c->out);
        free(c);
        return NULL;
}

MAM_DEFINE_CLEANUP(DnsConnection, connection_free);

static int on_idle(sd_event_source *source, uint64_t usec, void *userdata) {
        connection_free(userdata);
        return 0;
}

/* Sends what is there. <0: the client is gone. */
static int flush(DnsConnection *c) {
        while (c->out_sent < c->out_size) {
                ssize_t n =
                                send(c->fd,
                                     c->out + c->out_sent,
                                     c->out_size - c->out_sent,
                                     MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n < 0)
                        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
                c->out_sent += (size_t) n;
        }
        free(c->out);
        c->out = NULL;
        c->out_size = c->out_sent = 0;
        return 0;
}

static int answer_one(DnsConnection *c, const uint8_t *query, size_t size) {
        uint8_t *grown;
        ssize_t n;

        grown = realloc(c->out, c->out_size + 2 + DNS_TCP_SIZE);
        if (!grown)
                return -ENOMEM;
        c->out = grown;
        n = answer(c->server, query, size, c->out + c->out_size + 2, DNS_TCP_SIZE, true);
        if (n < 0) {
                c->server->counts.dropped++;
                return (int) n; /* not a query: whatever this client speaks, it is not DNS */
        }
        c->out[c->out_size] = (uint8_t) (n >> 8);
        c->out[c->out_size + 1] = (uint8_t) n;
        c->out_size += 2 + (size_t) n;
        grown = realloc(c->out, c->out_size); /* the answer is small, as a rule */
        if (grown)
                c->out = grown;
        c->server->counts.tcp++;
        return 0;
}

/* Answers every whole query of what was read, unless too much waits to be sent. */
static int answer_all(DnsConnection *c) {
        size_t at = 0;
        int r;

        while (c->out_size < OUT_HIGH_WATER && c->in_size - at >= 2) {
                size_t size = (size_t) c->in[at] << 8 | c->in[at + 1];

                if (size > DNS_QUERY_MAX)
                        return -EMSGSIZE;
                if (c->in_size - at - 2 < size)
                        break;
                r = answer_one(c, c->in + at + 2, size);
                if (r < 0)
                        return r;
                at += 2 + size;
        }
        memmove(c->in, c->in + at, c->in_size - at);
        c->in_size -= at;
        return 0;
}

static int receive(DnsConnection *c) {
        ssize_t n;

        if (!c->in)
                c->in = malloc(DNS_QUERY_MAX + 2);
        if (!c->in)
                return -ENOMEM;
        if (c->in_size == DNS_QUERY_MAX + 2)
                return 0;
        n = recv(c->fd, c->in + c->in_size, DNS_QUERY_MAX + 2 - c->in_size, MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                c->closing = true;
        c->in_size += (size_t) n;
        return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        DnsConnection *c = userdata;
        uint32_t events;
        int r = 0;

        if (revents & (EPOLLERR | EPOLLHUP))
                r = -ECONNRESET;
        if (r >= 0 && revents & EPOLLIN)
                r = receive(c);
        do {
                if (r >= 0 && c->in)
                        r = answer_all(c);
                if (r >= 0)
                        r = flush(c);
                /* what was held back while answers waited */
        } while (r >= 0 && c->out_size == 0 && c->in_size >= 2 &&
                 c->in_size - 2 >= ((size_t) c->in[0] << 8 | c->in[1]));
        if (r < 0 || (c->closing && c->out_size == 0)) {
                connection_free(c);
                return 0;
        }
        if (c->in_size == 0) {
                free(c->in);
                c->in = NULL;
        }

        events = c->out_size > 0 ? EPOLLOUT : 0;
        if (!c->closing && c->out_size < OUT_HIGH_WATER)
                events |= EPOLLIN;
        (void) sd_event_source_set_io_events(c->source, events);
        if (c->in_size == 0) /* half a query buys no time */
                (void) sd_event_source_set_time_relative(c->timer, DNS_IDLE_USEC);
        return 0;
}

/* Takes fd over in any case. */
static int connection_new(DnsServer *s, int accepted) {
        _cleanup_(connection_freep) DnsConnection *c = NULL;
        _cleanup_(mam_closep) int fd = accepted;
        int r;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->fd = MAM_TAKE_FD(fd);
        r = sd_event_add_io(s->event, &c->source, c->fd, EPOLLIN, on_connection, c);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(
                        s->event,
                        &c->timer,
                        CLOCK_MONOTONIC,
                        DNS_IDLE_USEC,
                        MAM_USEC_PER_SEC,
                        on_idle,
                        c);
        if (r < 0)
                return r;
        c->server = s;
        TAILQ_INSERT_TAIL(&s->connections, c, connections);
        s->n_connections++;
        (void) MAM_TAKE(c);
        return 0;
}

static int on_resume(sd_event_source *source, uint64_t usec, void *userdata) {
        set_accepting(userdata, true);
        return 0;
}

static int on_acceptable(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        DnsServer *s = userdata;

        for (unsigned i = 0; i < BATCH && s->n_connections < DNS_CONNECTIONS_MAX; i++) {
                int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (client < 0 &&
                    (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
                        set_accepting(s, false);
                        (void) sd_event_source_set_time_relative(s->resume, ACCEPT_RETRY);
                        (void) sd_event_source_set_enabled(s->resume, SD_EVENT_ONESHOT);
                        return 0;
                }
                if (client < 0)
                        return 0; /* nothing there any more, or an error of that one connection */
                (void) connection_new(s, client);
        }
        if (s->n_connections >= DNS_CONNECTIONS_MAX)
                set_accepting(s, false); /* until one ends */
        return 0;
}

/* ---- The server ---- */

int dns_server_new(DnsServer **ret, sd_event *event, const Catalog *catalog) {
        _cleanup_(dns_server_freep) DnsServer *s = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(catalog);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->catalog = catalog;
        TAILQ_INIT(&s->connections);
        r = sd_event_add_time(event, &s->resume, CLOCK_MONOTONIC, UINT64_MAX, 0, on_resume, s);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(s->resume, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(s);
        return 0;
}

DnsServer *dns_server_free(DnsServer *s) {
        if (!s)
                return NULL;

        while (!TAILQ_EMPTY(&s->connections))
                connection_free(TAILQ_FIRST(&s->connections));
        for (size_t i = 0; i < s->n_sockets; i++) {
                sd_event_source_disable_unref(s->sockets[i].source);
                close(s->sockets[i].fd);
        }
        sd_event_source_disable_unref(s->resume);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}

static int add_socket(DnsServer *s, int fd, sd_event_io_handler_t handler) {
        DnsSocket *socket = &s->sockets[s->n_sockets];
        int flags, r;

        if (s->n_sockets >= SOCKETS_MAX)
                return -ENOBUFS;
        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return -errno;
        r = sd_event_add_io(s->event, &socket->source, fd, EPOLLIN, handler, s);
        if (r < 0)
                return r;
        socket->fd = fd;
        socket->stream = handler == on_acceptable;
        s->n_sockets++;
        return 0;
}

int dns_server_add_datagram(DnsServer *s, int fd) {
        assert(s);
        return add_socket(s, fd, on_datagram);
}

int dns_server_add_listener(DnsServer *s, int fd) {
        assert(s);
        return add_socket(s, fd, on_acceptable);
}

void dns_server_refuse(DnsServer *s, bool refuse) {
        assert(s);
        s->refuse = refuse;
}

DnsCounts dns_server_counts(const DnsServer *s) {
        assert(s);
        return s->counts;
}
