/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Probes of what does not speak HTTP
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libmam/util/test.h"
#include "libmam/util/time.h"
#include "manager/probe.h"

typedef struct Outcome {
        unsigned runs;
        int error;
        char reason[96];
} Outcome;

static void on_end(Probe *p, int error, const char *reason, void *userdata) {
        Outcome *o = userdata;

        o->runs++;
        o->error = error;
        snprintf(o->reason, sizeof(o->reason), "%s", reason);
}

static void run_until_ended(sd_event *event, const Outcome *o) {
        uint64_t end = mam_now_monotonic() + 10 * MAM_USEC_PER_SEC;

        while (o->runs == 0) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                ASSERT_OK(sd_event_run(event, MAM_USEC_PER_SEC));
        }
        while (sd_event_run(event, 0) > 0)
                ; /* what comes after the end must not be a second one */
        ASSERT_EQ(o->runs, 1);
}

static Outcome probe(MamProbeType type, const char *address) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(probe_freep) Probe *p = NULL;
        Outcome o = { .runs = 0 };

        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(probe_new(&p, event, type, address, "/health", 200 * MAM_USEC_PER_MSEC, on_end, &o));
        ASSERT_EQ(o.runs, 0); /* never from inside */
        run_until_ended(event, &o);
        return o;
}

/* One of loopback that nobody else has; address is set to it. */
static int listen_on_loopback(char address[static 32]) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(a);
        int fd;

        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_OK(bind(fd, (struct sockaddr *) &a, sizeof(a)));
        ASSERT_OK(listen(fd, 8));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &a, &size));
        snprintf(address, 32, "127.0.0.1:%u", (unsigned) ntohs(a.sin_port));
        return fd;
}

TEST(a_program_that_binds_its_port_is_asked_there) {
        _cleanup_(mam_closep) int fd = -EBADF;
        char address[32];
        Outcome o;

        fd = listen_on_loopback(address);
        o = probe(MAM_PROBE_TCP, address);
        ASSERT_EQ(o.error, 0);
        ASSERT_STREQ(o.reason, "");

        mam_closep(&fd);
        fd = -EBADF;
        o = probe(MAM_PROBE_TCP, address);
        ASSERT_EQ(o.error, -ECONNREFUSED);
        ASSERT_STREQ(o.reason, strerror(ECONNREFUSED));
}

TEST(a_unix_socket_is_asked_by_its_path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        _cleanup_(mam_closep) int fd = -EBADF;
        Outcome o;

        snprintf(a.sun_path, sizeof(a.sun_path), "/tmp/mam-test-probe-%d.sock", (int) getpid());
        o = probe(MAM_PROBE_TCP, a.sun_path);
        ASSERT_EQ(o.error, -ENOENT);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(fd);
        ASSERT_OK(bind(fd, (struct sockaddr *) &a, sizeof(a)));
        ASSERT_OK(listen(fd, 8));
        o = probe(MAM_PROBE_TCP, a.sun_path);
        ASSERT_OK(unlink(a.sun_path));
        ASSERT_EQ(o.error, 0);
}

TEST(who_accepts_and_says_nothing_is_not_healthy) {
        _cleanup_(mam_closep) int fd = -EBADF;
        char address[32];
        Outcome o;

        fd = listen_on_loopback(address);
        ASSERT_OK(fd);
        o = probe(MAM_PROBE_REDIS, address);
        ASSERT_EQ(o.error, -ETIMEDOUT);
        ASSERT_STREQ(o.reason, "no answer in time");
}

/* A peer that answers the first bytes it gets with this text, or by hanging up. */
typedef struct Peer {
        sd_event_source *accepting, *talking;
        const char *text;
        char got[64];
        ssize_t n_got;
        int fd;
} Peer;

static int on_asked(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Peer *peer = userdata;

        peer->n_got = recv(fd, peer->got, sizeof(peer->got), 0);
        if (peer->text) {
                ASSERT_EQ(send(fd, peer->text, strlen(peer->text), MSG_NOSIGNAL),
                          (ssize_t) strlen(peer->text));
        }
        sd_event_source_disable_unref(peer->talking);
        peer->talking = NULL;
        mam_closep(&peer->fd);
        peer->fd = -EBADF;
        return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Peer *peer = userdata;

        peer->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        ASSERT_OK(peer->fd);
        ASSERT_OK(
                        sd_event_add_io(sd_event_source_get_event(source),
                                        &peer->talking,
                                        peer->fd,
                                        EPOLLIN,
                                        on_asked,
                                        peer));
        return 0;
}

static Outcome probe_peer(MamProbeType type, Peer *peer) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(probe_freep) Probe *p = NULL;
        _cleanup_(mam_closep) int fd = -EBADF;
        Outcome o = { .runs = 0 };
        char address[32];

        peer->fd = -EBADF;
        fd = listen_on_loopback(address);
        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(sd_event_add_io(event, &peer->accepting, fd, EPOLLIN, on_accept, peer));
        ASSERT_OK(probe_new(&p, event, type, address, "", MAM_USEC_PER_SEC, on_end, &o));
        run_until_ended(event, &o);
        sd_event_source_disable_unref(peer->accepting);
        return o;
}

TEST(a_postgresql_that_answers_is_healthy_whatever_it_thinks_of_encryption) {
        static const struct {
                const char *answer;
                int error;
        } cases[] = { { "N", 0 },
                      { "S", 0 },
                      { "Ecould not fork", -EPROTO },
                      { "HTTP/1.1 400", -EPROTO },
                      { NULL, -ECONNRESET } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                Peer peer = { .text = cases[i].answer };
                Outcome o = probe_peer(MAM_PROBE_POSTGRESQL, &peer);

                ASSERT_EQ(o.error, cases[i].error);
                ASSERT_EQ(peer.n_got, 8);
                ASSERT_EQ(memcmp(peer.got, "\0\0\0\x08\x04\xd2\x16\x2f", 8), 0);
        }
}

TEST(a_redis_that_asks_for_a_password_is_healthy_and_one_that_loads_is_not) {
        static const struct {
                const char *answer, *reason;
        } cases[] = { { "+PONG\r\n", "" },
                      { "-NOAUTH Authentication required.\r\n", "" },
                      { "-LOADING Redis is loading\r\n", "-LOADING Redis is loading" } };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                Peer peer = { .text = cases[i].answer };
                Outcome o = probe_peer(MAM_PROBE_REDIS, &peer);

                ASSERT_EQ(o.error < 0, cases[i].reason[0] != '\0');
                ASSERT_STREQ(o.reason, cases[i].reason);
                ASSERT_EQ(peer.n_got, 6);
        }
}

TEST(what_is_no_address_is_an_error_and_no_crash) {
        static const char *const wrong[] = { "",
                                             "127.0.0.1",
                                             "127.0.0.1:",
                                             "127.0.0.1:0",
                                             "127.0.0.1:65536",
                                             "127.0.0.1:1x",
                                             "localhost:80",
                                             "1.2.3.4.5.6.7.8.9.10:80" };
        char path[256];
        Outcome o;

        for (size_t i = 0; i < MAM_ELEMENTSOF(wrong); i++) {
                o = probe(MAM_PROBE_TCP, wrong[i]);
                ASSERT_EQ(o.error, -EINVAL);
        }
        memset(path, 'x', sizeof(path));
        path[0] = '/';
        path[sizeof(path) - 1] = '\0';
        o = probe(MAM_PROBE_TCP, path);
        ASSERT_EQ(o.error, -ENAMETOOLONG);
}
