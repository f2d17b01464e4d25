/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of HTTP/1 at byte level: what is refused, trailers both ways, change of protocol
 *
 * Each refusal is sent at once and byte by byte: the answer must be the same, and nothing that follows on
 * the connection may be taken for a request.
 */

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        struct sockaddr_un un;
        char folder[32];
        MamHttpExchange *tunnel;
        unsigned n_requests, n_done, n_hangups;
        bool got_end;
        MamBuffer seen;
} Fixture;

static void on_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        if (f->tunnel == x)
                f->tunnel = NULL;
}

static void note_trailers(Fixture *f, const MamHttpExchange *x) {
        size_t n;
        const MamHttpField *fields = mam_http_exchange_trailers(x, &n);

        for (size_t i = 0; i < n; i++)
                ASSERT_OK(mam_buffer_appendf(
                                &f->seen,
                                "[%s=%s]",
                                fields[i].name.data,
                                fields[i].value.data));
}

static int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;
        size_t n;

        if (error < 0)
                return mam_buffer_appendf(&f->seen, "(%d)", error);
        note_trailers(f, x);
        (void) mam_http_exchange_trailers(x, &n);
        ASSERT_OK(mam_http_exchange_start(x, 200, -1));
        if (size > 0)
                ASSERT_OK(mam_http_exchange_write(x, data, size));
        ASSERT_EQ(mam_http_exchange_add_trailer(x, "Content-Length", "3"), -EINVAL);
        ASSERT_EQ(mam_http_exchange_add_trailer(x, "X-A", "b\r\nc"), -EINVAL);
        ASSERT_OK(mam_http_exchange_add_trailer(x, "X-Count", n > 0 ? "some" : "none"));
        return mam_http_exchange_end(x);
}

static int on_bytes(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        if (error < 0)
                return mam_buffer_appendf(&f->seen, "(%d)", error);
        if (size == 0) {
                f->got_end = true;
                return 0;
        }
        return mam_buffer_append(&f->seen, data, size);
}

static void on_hangup(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_hangups++;
}

static int handler(MamHttpExchange *x, void *userdata) {
        const char *path = mam_http_exchange_path(x), *protocol = mam_http_exchange_upgrade_protocol(x);
        Fixture *f = userdata;

        f->n_requests++;
        mam_http_exchange_set_on_done(x, on_done, f);
        ASSERT_TRUE(!mam_http_exchange_tls(x));
        ASSERT_EQ(mam_http_exchange_version(x), 10 + mam_http_exchange_head(x)->minor_version);
        if (strcmp(path, "/echo") == 0)
                return mam_http_exchange_read_body(x, 0, on_collected, f);
        if (strcmp(path, "/length") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, 2));
                ASSERT_OK(mam_http_exchange_write(x, "ok", 2));
                ASSERT_OK(mam_http_exchange_add_trailer(x, "X-Lost", "yes"));
                return mam_http_exchange_end(x);
        }
        if (strcmp(path, "/tunnel") != 0 || !protocol) {
                ASSERT_TRUE(protocol || mam_http_exchange_upgrade(x) == -EOPNOTSUPP);
                return mam_http_exchange_respond(x, 200, "text/plain", "plain", 5);
        }

        f->tunnel = x;
        ASSERT_OK(mam_buffer_appendf(&f->seen, "<%s>", protocol));
        ASSERT_OK(mam_http_exchange_add_field(x, "Sec-Test", "yes"));
        ASSERT_OK(mam_http_exchange_upgrade(x));
        ASSERT_EQ(mam_http_exchange_upgrade(x), -EALREADY);
        ASSERT_EQ(mam_http_exchange_status(x), 101);
        mam_http_exchange_set_on_hangup(x, on_hangup, f);
        return 0;
}

static void setup(Fixture *f, const MamHttpServerOptions *options) {
        int fd;

        *f = (Fixture){ .un.sun_family = AF_UNIX };
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-http1-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        snprintf(f->un.sun_path, sizeof(f->un.sun_path), "%s/socket", f->folder);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, options, handler, f));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &f->un, sizeof(f->un)));
        ASSERT_OK(listen(fd, 64));
        /* With detection of the others on: HTTP/1 must not suffer from it. */
        ASSERT_OK(mam_http_server_listen_with(
                        f->server,
                        fd,
                        &(MamHttpListenOptions){ .h2c = true, .native = true }));
}

static void teardown(Fixture *f) {
        f->server = mam_http_server_free(f->server);
        ASSERT_EQ(f->n_done, f->n_requests);
        sd_event_unref(f->event);
        mam_buffer_done(&f->seen);
        unlink(f->un.sun_path);
        ASSERT_OK(rmdir(f->folder));
}

/* Not that the loop must have something to do meanwhile: what was sent over TCP may be on its way to us. */
#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

static void settle(Fixture *f) {
        int r;

        do {
                r = sd_event_run(f->event, 0);
                ASSERT_OK(r);
        } while (r > 0);
}

static int dial(Fixture *f) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_OK(fd);
        ASSERT_OK(connect(fd, (struct sockaddr *) &f->un, sizeof(f->un)));
        ASSERT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
        return fd;
}

static bool hear(int fd, MamBuffer *b) {
        ssize_t n;
        char *p;

        do {
                ASSERT_OK(mam_buffer_reserve(b, 4096, &p));
                n = recv(fd, p, 4096, 0);
                if (n > 0)
                        mam_buffer_commit(b, (size_t) n);
        } while (n > 0);
        return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* Byte by byte means that the server looks at the request after each of them. false: it has closed. */
static bool say(Fixture *f, int fd, const char *data, size_t size, bool slowly) {
        for (size_t i = 0; i < size; i += slowly ? 1 : size) {
                if (send(fd, data + i, slowly ? 1 : size, MSG_NOSIGNAL) < 0)
                        return false;
                if (slowly)
                        settle(f);
        }
        return true;
}

static const char *ask(Fixture *f, int fd, MamBuffer *b, const char *request, const char *until) {
        mam_buffer_reset(b);
        ASSERT_TRUE(say(f, fd, request, strlen(request), false));
        RUN_UNTIL(f, (hear(fd, b), strstr(mam_buffer_bytes(b), until)));
        return mam_buffer_bytes(b);
}

typedef struct Refusal {
        unsigned status;
        const char *request;
        size_t size;
} Refusal;

#define REFUSAL(status, request) \
        { status, request, sizeof(request) - 1 }

#define HEAD(line, fields) line "\r\nHost: a\r\n" fields "\r\n"
#define CHUNKED(body)      HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: chunked\r\n") body

static const Refusal refusals[] = {
        /* lines */
        REFUSAL(400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        REFUSAL(400, "GET / HTTP/1.1\rHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\rX-A: b\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\r\n\rX"),
        REFUSAL(400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        REFUSAL(400, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET /\r\n\r\n"), /* HTTP/0.9 */
        /* versions */
        REFUSAL(505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        REFUSAL(505, "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        REFUSAL(505, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/01.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP /1.1\r\nHost: a\r\n\r\n"),
        /* targets */
        REFUSAL(400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        REFUSAL(501, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
        /* fields */
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A: b\r\n folded\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A: b\r\n\tfolded\r\n")),
        REFUSAL(400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A : b\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A\t: b\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", ": b\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X A: b\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X@A: b\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-\xc3\xa4: b\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A: b\x01\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A: b\x7f\r\n")),
        REFUSAL(400, HEAD("GET / HTTP/1.1", "X-A: b\x1b[0m\r\n")),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\r\nX\0A: b\r\n\r\n"),
        /* Host */
        REFUSAL(400, "GET / HTTP/1.1\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
        REFUSAL(400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
        /* lengths and codings */
        REFUSAL(400,
                HEAD("POST /echo HTTP/1.1",
                     "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") "0\r\n\r\n"),
        REFUSAL(400,
                HEAD("POST /echo HTTP/1.1",
                     "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n") "0\r\n\r\n"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 3\r\nContent-Length: 3\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 3\r\nContent-Length: 4\r\n") "abcd"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 3, 3\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: +3\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: -3\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 0x3\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 3 3\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length:\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 3.0\r\n") "abc"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Content-Length: 99999999999999999999\r\n")),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: chunked, chunked\r\n") "0\r\n\r\n"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: gzip, chunked\r\n") "0\r\n\r\n"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: chunked;a=b\r\n") "0\r\n\r\n"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: \"chunked\"\r\n") "0\r\n\r\n"),
        REFUSAL(400, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding:\r\n") "0\r\n\r\n"),
        REFUSAL(400,
                HEAD("POST /echo HTTP/1.1",
                     "Transfer-Encoding: \x0b"
                     "chunked\r\n") "0\r\n\r\n"),
        REFUSAL(400,
                HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        REFUSAL(501, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: gzip\r\n")),
        REFUSAL(501, HEAD("POST /echo HTTP/1.1", "Transfer-Encoding: identity\r\n")),
        REFUSAL(400, HEAD("POST /echo HTTP/1.0", "Transfer-Encoding: chunked\r\n") "0\r\n\r\n"),
        REFUSAL(400,
                HEAD("POST /tunnel HTTP/1.1",
                     "Connection: upgrade\r\nUpgrade: test\r\nContent-Length: 3\r\n") "abc"),
        REFUSAL(417, HEAD("POST /echo HTTP/1.1", "Expect: 200-ok\r\nContent-Length: 3\r\n") "abc"),
        /* chunks */
        REFUSAL(400, CHUNKED("+3\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED(" 3\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3 \r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("0x3\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("0_3\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("00000000000000003\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("ffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3\rabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3\r\nabc\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3\r\nabcd\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3;a\x01\r\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("3;a\nabc\r\n0\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\nX-A : b\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\n X-A: b\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\nX-A: b\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\nX-A: b\r\n\tc\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\nContent-Length: 3\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\ntransfer-encoding: chunked\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\nAuthorization: Bearer x\r\n\r\n")),
        REFUSAL(400, CHUNKED("0\r\nMam-Subject: root\r\n\r\n")),
};

/* What is refused must be the last that was looked at, whatever comes behind it. */
static void check_refusal(Fixture *f, const Refusal *refusal, bool slowly) {
        static const char next[] = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        unsigned before = f->n_requests;
        char want[32];
        int fd = dial(f);

        if (say(f, fd, refusal->request, refusal->size, slowly))
                (void) say(f, fd, next, sizeof(next) - 1, slowly);
        RUN_UNTIL(f, hear(fd, &b));
        snprintf(want, sizeof(want), "HTTP/1.1 %u ", refusal->status);
        if (strncmp(mam_buffer_bytes(&b), want, strlen(want)) != 0)
                mam_test_fail_string(__FILE__, __LINE__, refusal->request, mam_buffer_bytes(&b));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\r\nConnection: close\r\n"));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "application/problem+json"));
        ASSERT_TRUE(!strstr(mam_buffer_bytes(&b) + 1, "HTTP/1.1 "));
        ASSERT_TRUE(f->n_requests <= before + 1); /* that of the chunks */
        close(fd);
}

TEST(refuses_what_is_doubtful) {
        Fixture f;

        setup(&f, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(refusals); i++)
                check_refusal(&f, &refusals[i], false);
        teardown(&f);
}

TEST(refuses_what_is_doubtful_byte_by_byte) {
        Fixture f;

        setup(&f, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(refusals); i++)
                check_refusal(&f, &refusals[i], true);
        teardown(&f);
}

TEST(bounds_extensions_and_trailers) {
        _cleanup_(mam_buffer_done) MamBuffer request = MAM_BUFFER_INIT;
        static const struct {
                const char *before, *piece, *after;
                unsigned n;
        } cases[] = {
                { CHUNKED("3;"), "0123456789", "\r\nabc\r\n0\r\n\r\n", 30 },
                { CHUNKED("0\r\n"), "X-A: 0123456789\r\n", "\r\n", 33 },
                { CHUNKED("0\r\nX-A: "), "0123456789", "\r\n\r\n", 900 },
        };
        Fixture f;

        setup(&f, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                mam_buffer_reset(&request);
                ASSERT_OK(mam_buffer_append_string(&request, cases[i].before));
                for (unsigned n = 0; n < cases[i].n; n++)
                        ASSERT_OK(mam_buffer_append_string(&request, cases[i].piece));
                ASSERT_OK(mam_buffer_append_string(&request, cases[i].after));
                for (unsigned slowly = 0; slowly < 2; slowly++)
                        check_refusal(&f,
                                      &(Refusal){ 400, mam_buffer_bytes(&request), request.size },
                                      slowly);
        }
        teardown(&f);
}

TEST(takes_trailers) {
        static const char request[] = CHUNKED("3\r\nabc\r\n0\r\nX-One: 1\r\nx-two:  second value \r\n\r\n");
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f);
        for (unsigned slowly = 0; slowly < 2; slowly++) {
                mam_buffer_reset(&b);
                mam_buffer_reset(&f.seen);
                ASSERT_TRUE(say(&f, fd, request, sizeof(request) - 1, slowly));
                RUN_UNTIL(&f, (hear(fd, &b), strstr(mam_buffer_bytes(&b), "X-Count")));
                ASSERT_STREQ(mam_buffer_bytes(&f.seen), "[X-One=1][x-two=second value]");
                ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\r\n\r\n3\r\nabc\r\n0\r\nX-Count: some\r\n\r\n"));
        }
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        close(fd);
        teardown(&f);
}

TEST(sends_trailers_only_behind_chunks) {
        static const char old[] = HEAD("POST /echo HTTP/1.0", "Content-Length: 2\r\n") "hi";
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f);
        answer = ask(&f, fd, &b, HEAD("GET /length HTTP/1.1", ""), "\r\n\r\nok");
        ASSERT_TRUE(!strstr(answer, "X-Lost"));
        answer = ask(&f, fd, &b, CHUNKED("0\r\n\r\n"), "0\r\nX-Count: none\r\n\r\n");
        ASSERT_TRUE(strstr(answer, "\r\n\r\n0\r\n"));
        /* HEAD has no body, so nothing behind it either; HTTP/1.0 has no chunks. */
        answer = ask(&f, fd, &b, HEAD("HEAD /echo HTTP/1.1", ""), "\r\n\r\n");
        ASSERT_TRUE(!strstr(answer, "X-Count"));
        ASSERT_TRUE(say(&f, fd, old, sizeof(old) - 1, false));
        mam_buffer_reset(&b);
        RUN_UNTIL(&f, hear(fd, &b));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "\r\n\r\nhi") && !strstr(mam_buffer_bytes(&b), "X-Count"));
        close(fd);
        teardown(&f);
}

#define UPGRADE(path, more) HEAD("GET " path " HTTP/1.1", "Connection: upgrade\r\nUpgrade: test\r\n" more)

/* Opens a tunnel; sent along with the request: the first bytes in it. */
static int open_tunnel(Fixture *f, MamBuffer *b) {
        int fd = dial(f);
        const char *answer = ask(f, fd, b, UPGRADE("/tunnel", "") "early", "\r\n\r\n");

        ASSERT_TRUE(strncmp(answer, "HTTP/1.1 101 Switching Protocols\r\n", 34) == 0);
        ASSERT_TRUE(strstr(answer, "\r\nConnection: upgrade\r\nUpgrade: test\r\n"));
        ASSERT_TRUE(strstr(answer, "\r\nSec-Test: yes\r\n"));
        ASSERT_TRUE(!strstr(answer, "Content-Length") && !strstr(answer, "chunked"));
        ASSERT_TRUE(f->tunnel);
        return fd;
}

TEST(upgrades_to_a_stream_of_bytes) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        /* The limits on bodies do not hold there. */
        setup(&f,
              &(MamHttpServerOptions){ .body_max = 8,
                                       .body_timeout_usec = 1,
                                       .idle_timeout_usec = 1000000 });
        fd = open_tunnel(&f, &b);
        ASSERT_OK(mam_http_exchange_stream_body(f.tunnel, on_bytes, &f));
        ASSERT_EQ(mam_http_exchange_write(f.tunnel, "0\r\n\r\n", 5), 1);
        ASSERT_EQ(mam_http_exchange_add_trailer(f.tunnel, "X-A", "b"), -EINVAL);
        ASSERT_TRUE(say(&f, fd, " GET / HTTP/1.1\r\n", 17, true));
        ASSERT_STREQ(mam_buffer_bytes(&f.seen), "<test>early GET / HTTP/1.1\r\n");
        mam_buffer_reset(&b);
        RUN_UNTIL(&f, (hear(fd, &b), b.size == 5));
        ASSERT_STREQ(mam_buffer_bytes(&b), "0\r\n\r\n");

        /* The client ends first. */
        ASSERT_OK(shutdown(fd, SHUT_WR));
        RUN_UNTIL(&f, f.got_end);
        ASSERT_EQ(f.n_hangups, 1);
        ASSERT_TRUE(f.tunnel);
        ASSERT_EQ(mam_http_exchange_write(f.tunnel, "last", 4), 1);
        ASSERT_OK(mam_http_exchange_end(f.tunnel));
        RUN_UNTIL(&f, hear(fd, &b));
        ASSERT_STREQ(mam_buffer_bytes(&b), "0\r\n\r\nlast");
        RUN_UNTIL(&f, !f.tunnel && mam_http_server_connections(f.server) == 0);
        close(fd);
        teardown(&f);
}

TEST(a_tunnel_that_the_server_ends_first_can_still_be_heard) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = open_tunnel(&f, &b);
        ASSERT_OK(mam_http_exchange_stream_body(f.tunnel, on_bytes, &f));
        ASSERT_OK(mam_http_exchange_write(f.tunnel, "bye", 3));
        ASSERT_OK(mam_http_exchange_end(f.tunnel));
        mam_buffer_reset(&b);
        RUN_UNTIL(&f, hear(fd, &b));
        ASSERT_STREQ(mam_buffer_bytes(&b), "bye");
        ASSERT_TRUE(f.tunnel);
        ASSERT_TRUE(say(&f, fd, "!", 1, true));
        ASSERT_STREQ(mam_buffer_bytes(&f.seen), "<test>early!");
        close(fd);
        RUN_UNTIL(&f, !f.tunnel);
        ASSERT_TRUE(f.got_end);
        teardown(&f);
}

TEST(a_tunnel_that_nobody_reads_ends_with_the_client) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = open_tunnel(&f, &b);
        ASSERT_OK(mam_http_exchange_end(f.tunnel));
        RUN_UNTIL(&f, hear(fd, &b));
        ASSERT_TRUE(say(&f, fd, "dropped", 7, true));
        ASSERT_TRUE(f.tunnel);
        close(fd);
        RUN_UNTIL(&f, !f.tunnel);
        ASSERT_STREQ(mam_buffer_bytes(&f.seen), "<test>");
        teardown(&f);
}

TEST(a_tunnel_whose_client_never_closes_ends_in_time) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = open_tunnel(&f, &b);
        ASSERT_OK(mam_http_exchange_stream_body(f.tunnel, on_bytes, &f));
        ASSERT_OK(mam_http_exchange_end(f.tunnel));
        RUN_UNTIL(&f, !f.tunnel);
        ASSERT_STREQ(mam_buffer_bytes(&f.seen), "<test>early(-32)");
        close(fd);
        teardown(&f);
}

TEST(an_upgrade_may_be_ignored) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f);
        ASSERT_TRUE(strstr(ask(&f, fd, &b, UPGRADE("/other", ""), "plain"), "HTTP/1.1 200 OK"));
        /* A choice of protocols, one without Connection, one of HTTP/1.0: not asked for. */
        ASSERT_TRUE(strstr(ask(&f, fd, &b, UPGRADE("/tunnel", "Upgrade: more\r\n"), "plain"), " 200 OK"));
        ASSERT_TRUE(
                        strstr(ask(&f, fd, &b, HEAD("GET /tunnel HTTP/1.1", "Upgrade: test\r\n"), "plain"),
                               " 200 OK"));
        ASSERT_TRUE(
                        strstr(ask(&f,
                                   fd,
                                   &b,
                                   HEAD("GET /tunnel HTTP/1.0", "Connection: upgrade\r\nUpgrade: test\r\n"),
                                   "plain"),
                               " 200 OK"));
        close(fd);
        teardown(&f);
}
