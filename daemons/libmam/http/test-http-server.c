/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the HTTP server, spoken to byte by byte over real sockets in one event loop
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define BIG_SIZE  3145728U

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        struct sockaddr_un un;
        struct sockaddr_in in;
        char folder[32];
        MamHttpExchange *waiting; /* of /later and /stream */
        unsigned n_requests, n_done, n_drained, n_writable;
        int body_error;
        uint64_t body_size;
        bool pause;
        char seen[512];
} Fixture;

static void on_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        if (f->waiting == x)
                f->waiting = NULL;
}

static int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        f->body_error = error;
        f->body_size = size;
        if (error < 0) {
                ASSERT_TRUE(!data);
                return 0;
        }
        return mam_http_exchange_respond(x, 200, "text/plain", data, size);
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        Fixture *f = userdata;

        if (error < 0) {
                f->body_error = error;
                return 0;
        }
        f->body_size += size;
        if (size == 0)
                return mam_http_exchange_end(x);
        if (!mam_http_exchange_is_started(x))
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
        if (f->pause)
                mam_http_exchange_pause_body(x);
        ASSERT_OK(mam_http_exchange_write(x, data, size));
        return 0;
}

static char big[BIG_SIZE];

static void on_writable(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_writable++;
        if (f->n_writable == 3) {
                ASSERT_OK(mam_http_exchange_end(x));
        } else {
                ASSERT_EQ(mam_http_exchange_write(x, big, sizeof(big)), 0);
        }
}

static void on_hangup(MamHttpExchange *x, void *userdata) {
        ASSERT_OK(mam_http_exchange_respond(x, 200, "text/plain", "bye", 3));
}

static int describe(Fixture *f, MamHttpExchange *x) {
        const char *header = mam_http_exchange_header(x, "x-test"), *peer = mam_http_exchange_peer(x);
        char traceparent[MAM_TRACEPARENT_SIZE];
        uid_t uid = (uid_t) -1;
        int r;

        ASSERT_STREQ(mam_http_exchange_address(x), peer[0] == 'u' ? "" : "127.0.0.1");
        r = mam_http_exchange_peer_uid(x, &uid);
        mam_trace_format(traceparent, mam_http_exchange_trace(x));
        snprintf(f->seen,
                 sizeof(f->seen),
                 "%s %s %s tag=%u uid=%d %s %s",
                 mam_http_exchange_method(x),
                 mam_http_exchange_path(x),
                 header ? header : "-",
                 mam_http_exchange_listener_tag(x),
                 r < 0 ? r : (int) uid,
                 strncmp(peer, "127.0.0.1:", 10) == 0 ? "127.0.0.1" : peer,
                 traceparent);
        ASSERT_OK(mam_http_exchange_add_field(x, "X-Answer", "yes"));
        return mam_http_exchange_respond(x, 200, "text/plain", "seen", 4);
}

static int handler(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;
        const char *path = mam_http_exchange_path(x);

        f->n_requests++;
        ASSERT_TRUE(mam_http_exchange_started_usec(x) <= mam_http_exchange_now(x));
        ASSERT_TRUE(mam_http_exchange_now(x) <= mam_now_monotonic());
        mam_http_exchange_set_on_done(x, on_done, f);
        if (strcmp(path, "/hello") == 0)
                return mam_http_exchange_respond(x, 200, "text/plain", "hello\n", 6);
        if (strcmp(path, "/describe") == 0)
                return describe(f, x);
        if (strcmp(path, "/echo") == 0)
                return mam_http_exchange_read_body(x, 0, on_collected, f);
        if (strcmp(path, "/echo-large") == 0)
                return mam_http_exchange_read_body(x, 4 << 20, on_collected, f);
        if (strcmp(path, "/stream") == 0) {
                f->waiting = x;
                return mam_http_exchange_stream_body(x, on_body, f);
        }
        if (strcmp(path, "/later") == 0) {
                f->waiting = x;
                return 0;
        }
        if (strcmp(path, "/wait-for-hangup") == 0) {
                f->waiting = x;
                mam_http_exchange_set_on_hangup(x, on_hangup, f);
                return 0;
        }
        if (strcmp(path, "/big") == 0)
                return mam_http_exchange_respond(x, 200, NULL, big, sizeof(big));
        if (strcmp(path, "/endless") == 0) {
                mam_http_exchange_set_on_writable(x, on_writable, f);
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                ASSERT_EQ(mam_http_exchange_write(x, big, sizeof(big)), 0);
                return 0;
        }
        if (strcmp(path, "/empty") == 0)
                return mam_http_exchange_respond(x, 204, NULL, NULL, 0);
        if (strcmp(path, "/chunks") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                ASSERT_EQ(mam_http_exchange_write(x, "one", 3), 1);
                ASSERT_EQ(mam_http_exchange_write(x, "", 0), 1);
                ASSERT_EQ(mam_http_exchange_write(x, "two", 3), 1);
                ASSERT_EQ(mam_http_exchange_bytes_sent(x),
                          strcmp(mam_http_exchange_method(x), "HEAD") == 0 ? 0 : 6);
                return mam_http_exchange_end(x);
        }
        if (strcmp(path, "/problem") == 0)
                return mam_http_exchange_problem(x, 422, "/a", "Bad \"%s\"\xff", "thing\n");
        if (strcmp(path, "/broken") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, 10));
                ASSERT_EQ(mam_http_exchange_write(x, "0123456789a", 11), -EMSGSIZE);
                ASSERT_EQ(mam_http_exchange_write(x, "01234", 5), 1);
                ASSERT_EQ(mam_http_exchange_end(x), -EBADMSG);
                return 0;
        }
        return -EIO;
}

static void on_drained(MamHttpServer *s, void *userdata) {
        Fixture *f = userdata;

        f->n_drained++;
        ASSERT_EQ(mam_http_server_connections(s), 0);
}

static void setup(Fixture *f, const MamHttpServerOptions *options) {
        socklen_t size = sizeof(f->in);
        int fd;

        *f = (Fixture){ .un.sun_family = AF_UNIX, .in.sin_family = AF_INET };
        f->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-http-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        snprintf(f->un.sun_path, sizeof(f->un.sun_path), "%s/socket", f->folder);
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, options, handler, f));

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &f->un, sizeof(f->un)));
        ASSERT_EQ(mam_http_server_listen(f->server, fd, false, 1), -EINVAL); /* not listening yet */
        ASSERT_OK(listen(fd, 64));
        ASSERT_OK(mam_http_server_listen(f->server, fd, false, 1));

        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &f->in, sizeof(f->in)));
        ASSERT_OK(listen(fd, 64));
        ASSERT_OK(getsockname(fd, (struct sockaddr *) &f->in, &size));
        ASSERT_OK(mam_http_server_listen(f->server, fd, true, 2));
}

static void teardown(Fixture *f) {
        f->server = mam_http_server_free(f->server);
        ASSERT_EQ(f->n_done, f->n_requests);
        sd_event_unref(f->event);
        unlink(f->un.sun_path);
        ASSERT_OK(rmdir(f->folder));
}

/* Until the condition holds; three seconds without any event are a failure. */
/* Not that the loop must have something to do meanwhile: what was sent over TCP may be on its way to us. */
#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

/* Whatever can happen now, happens. */
static void settle(Fixture *f) {
        int r;

        do {
                r = sd_event_run(f->event, 0);
                ASSERT_OK(r);
        } while (r > 0);
}

static int dial(Fixture *f, bool tcp) {
        int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        ASSERT_OK(fd);
        ASSERT_OK(tcp ? connect(fd, (struct sockaddr *) &f->in, sizeof(f->in))
                      : connect(fd, (struct sockaddr *) &f->un, sizeof(f->un)));
        ASSERT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
        return fd;
}

static void say(int fd, const char *text) {
        ASSERT_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What is there to read now. *ret_eof (may be NULL): and then the end. */
static size_t hear(int fd, MamBuffer *b, bool *ret_eof) {
        size_t before = b->size;
        ssize_t n;

        do {
                char *p;

                ASSERT_OK(mam_buffer_reserve(b, 65536, &p));
                n = recv(fd, p, 65536, 0);
                if (n > 0)
                        mam_buffer_commit(b, (size_t) n);
        } while (n > 0);
        if (ret_eof)
                *ret_eof = n == 0 || errno == ECONNRESET;
        return b->size - before;
}

/* Sends, and hears until the text is there. */
static const char *ask(Fixture *f, int fd, MamBuffer *b, const char *request, const char *until) {
        mam_buffer_reset(b);
        say(fd, request);
        RUN_UNTIL(f, (hear(fd, b, NULL), strstr(mam_buffer_bytes(b), until)));
        return mam_buffer_bytes(b);
}

/* Sends, and hears until the server closes. */
static const char *ask_last(Fixture *f, int fd, MamBuffer *b, const char *request) {
        bool eof = false;

        mam_buffer_reset(b);
        say(fd, request);
        RUN_UNTIL(f, (hear(fd, b, &eof), eof));
        return mam_buffer_bytes(b);
}

static bool begins(const char *text, const char *start) {
        return strncmp(text, start, strlen(start)) == 0;
}

TEST(answers_have_the_servers_fields) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        answer = ask(&f,
                     fd,
                     &b,
                     "GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: my-id.1\r\n\r\n",
                     "hello\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\nDate: "));
        ASSERT_TRUE(strstr(answer, " GMT\r\nX-Request-Id: my-id.1\r\n"));
        ASSERT_TRUE(strstr(answer, "\r\nContent-Type: text/plain\r\n"));
        ASSERT_TRUE(strstr(answer, "\r\nContent-Length: 6\r\n\r\nhello\n"));
        ASSERT_TRUE(!strstr(answer, "Connection"));
        /* A request id that could be mistaken for something else is replaced. */
        answer = ask(&f, fd, &b, "GET /hello HTTP/1.1\r\nHost: a\r\nX-Request-Id: a b\r\n\r\n", "hello\n");
        ASSERT_TRUE(!strstr(answer, "a b"));
        ASSERT_EQ(strcspn(strstr(answer, "X-Request-Id: ") + 14, "\r"), 32);
        ASSERT_EQ(f.n_done, 2);
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        ASSERT_EQ(mam_http_server_in_flight(f.server), 0);
        close(fd);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(handlers_see_the_request) {
        static const char request[] =
                        "GET /describe?a=b HTTP/1.1\r\nHost: a\r\nX-Test:  some value \r\n"
                        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        char want[128];
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false);
        ASSERT_TRUE(strstr(ask(&f, fd, &b, request, "seen"), "X-Answer: yes\r\n"));
        snprintf(want,
                 sizeof(want),
                 "GET /describe some value tag=1 uid=%u unix:uid=%u 00-0af7651916cd43dd8448eb211c80319c-",
                 getuid(),
                 getuid());
        ASSERT_TRUE(begins(f.seen, want));
        ASSERT_TRUE(!strstr(f.seen, "b7ad6b7169203331")); /* a span of our own */
        close(fd);

        fd = dial(&f, true);
        (void) ask(&f, fd, &b, GET("/describe"), "seen");
        snprintf(want, sizeof(want), "GET /describe - tag=2 uid=%d 127.0.0.1 00-", -EOPNOTSUPP);
        ASSERT_TRUE(begins(f.seen, want));
        close(fd);
        teardown(&f);
}

TEST(a_head_may_come_byte_by_byte) {
        static const char request[] = GET("/hello");
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false);
        for (size_t i = 0; i < sizeof(request) - 1; i++) {
                ASSERT_EQ(f.n_requests, 0);
                ASSERT_EQ(send(fd, request + i, 1, 0), 1);
                settle(&f);
        }
        ASSERT_TRUE(hear(fd, &b, NULL) > 0);
        ASSERT_EQ(f.n_requests, 1);
        close(fd);
        teardown(&f);
}

TEST(pipelined_requests_are_answered_in_order) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer, *p;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        say(fd,
            GET("/later") GET("/hello") "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" GET(
                            "/describe"));
        RUN_UNTIL(&f, f.waiting);
        settle(&f);
        ASSERT_EQ(f.n_requests, 1); /* the others wait for their turn */
        ASSERT_EQ(hear(fd, &b, NULL), 0);
        ASSERT_EQ(mam_http_server_in_flight(f.server), 1);
        ASSERT_OK(mam_http_exchange_respond(f.waiting, 200, NULL, "first", 5));
        RUN_UNTIL(&f, (hear(fd, &b, NULL), strstr(mam_buffer_bytes(&b), "seen")));
        answer = mam_buffer_bytes(&b);
        p = strstr(answer, "first");
        ASSERT_TRUE(p);
        p = strstr(p, "\r\n\r\nhello\n");
        ASSERT_TRUE(p);
        p = strstr(p, "\r\n\r\nbody");
        ASSERT_TRUE(p);
        ASSERT_EQ(f.n_done, 4);
        close(fd);
        teardown(&f);
}

TEST(head_answers_have_no_body) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        answer = ask(&f, fd, &b, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n");
        ASSERT_TRUE(strstr(answer, "Content-Length: 6\r\n\r\n"));
        ASSERT_TRUE(!strstr(answer, "hello"));
        answer = ask(&f, fd, &b, "HEAD /chunks HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n\r\n");
        ASSERT_TRUE(!strstr(answer, "Transfer-Encoding") && !strstr(answer, "one"));
        answer = ask(&f, fd, &b, GET("/empty"), "\r\n\r\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 204 No Content\r\n") && !strstr(answer, "Content-Length"));
        answer = ask(&f, fd, &b, GET("/hello"), "hello\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n"));
        close(fd);
        teardown(&f);
}

TEST(connections_end_as_agreed) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        answer = ask_last(&f, fd, &b, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        ASSERT_TRUE(strstr(answer, "Connection: close\r\n") && strstr(answer, "hello\n"));
        close(fd);

        fd = dial(&f, true);
        answer = ask_last(&f, fd, &b, "GET /chunks HTTP/1.0\r\n\r\n");
        ASSERT_TRUE(strstr(answer, "Connection: close\r\n\r\nonetwo")); /* its end is the connection's */
        close(fd);

        fd = dial(&f, true);
        answer = ask(&f, fd, &b, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "hello\n");
        ASSERT_TRUE(strstr(answer, "Connection: keep-alive\r\n"));
        answer = ask(&f, fd, &b, GET("/chunks"), "0\r\n\r\n");
        ASSERT_TRUE(strstr(answer, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
        close(fd);

        /* Half-closed: the client has said all, and still wants to hear. */
        fd = dial(&f, true);
        say(fd, GET("/later"));
        ASSERT_OK(shutdown(fd, SHUT_WR));
        RUN_UNTIL(&f, f.waiting);
        settle(&f);
        ASSERT_OK(mam_http_exchange_respond(f.waiting, 200, NULL, "still", 5));
        mam_buffer_reset(&b);
        RUN_UNTIL(&f, (hear(fd, &b, NULL), strstr(mam_buffer_bytes(&b), "still")));
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        close(fd);
        teardown(&f);
}

TEST(bodies_are_collected) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, &(MamHttpServerOptions){ .body_max = 1000 });
        fd = dial(&f, false);
        (void) ask(&f, fd, &b, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nplain", "plain");
        (void) ask(&f,
                   fd,
                   &b,
                   "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nchu\r\n4\r\nnked\r\n0\r\n\r\n",
                   "chunked");
        answer = ask(&f, fd, &b, GET("/echo"), "\r\n\r\n");
        ASSERT_TRUE(strstr(answer, "Content-Length: 0\r\n") && f.body_error == 0);

        /* Larger than this exchange allows, but told: nothing of it is read. */
        answer = ask_last(&f, fd, &b, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 413 ") && strstr(answer, "application/problem+json"));
        ASSERT_EQ(f.body_error, -EMSGSIZE);
        close(fd);

        fd = dial(&f, false);
        say(fd, "POST /echo-large HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        ASSERT_EQ(send(fd, big, 100000, 0), 100000);
        RUN_UNTIL(&f, (hear(fd, &b, NULL), f.body_size == 100000));
        close(fd);

        fd = dial(&f, false);
        answer = ask_last(
                        &f,
                        fd,
                        &b,
                        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 400 "));
        ASSERT_EQ(f.body_error, -EBADMSG);
        close(fd);

        f.body_error = 0;
        fd = dial(&f, false);
        say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
        settle(&f);
        close(fd);
        RUN_UNTIL(&f, f.body_error == -EPIPE);
        teardown(&f);
}

TEST(continue_is_sent_when_the_body_is_asked_for) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        answer = ask(&f,
                     fd,
                     &b,
                     "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
                     "\r\n\r\n");
        ASSERT_STREQ(answer, "HTTP/1.1 100 Continue\r\n\r\n");
        answer = ask(&f, fd, &b, "body", "\r\n\r\nbody");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n"));

        /* Never asked for: the final answer comes at once, and whether a body follows cannot be known. */
        answer = ask_last(
                        &f,
                        fd,
                        &b,
                        "POST /hello HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n") && strstr(answer, "Connection: close\r\n"));
        close(fd);
        teardown(&f);
}

TEST(unread_bodies_are_dropped) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *answer;
        Fixture f;
        int fd;

        setup(&f, &(MamHttpServerOptions){ .body_max = 100 });
        fd = dial(&f, true);
        (void) ask(&f, fd, &b, "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nbo", "hello\n");
        ASSERT_EQ(send(fd, big, 48, 0), 48);
        mam_buffer_reset(&b);
        settle(&f);
        ASSERT_EQ(hear(fd, &b, NULL), 0);
        /* One byte too many: the first of what cannot be a request. */
        answer = ask_last(&f, fd, &b, " ");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 400 "));
        close(fd);

        fd = dial(&f, true);
        answer = ask_last(&f, fd, &b, "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n");
        ASSERT_TRUE(begins(answer, "HTTP/1.1 200 ") && strstr(answer, "Connection: close\r\n"));
        close(fd);
        teardown(&f);
}

TEST(a_paused_body_pushes_back) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        size_t sent = 0;
        ssize_t n;
        Fixture f;
        int fd;

        setup(&f, &(MamHttpServerOptions){ .body_max = BIG_SIZE });
        f.pause = true;
        fd = dial(&f, false);
        say(fd, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 3145728\r\n\r\n");
        while ((n = send(fd, big + sent, sizeof(big) - sent, MSG_NOSIGNAL)) > 0) {
                sent += (size_t) n;
                settle(&f);
        }
        ASSERT_TRUE(sent < sizeof(big)); /* the kernel's buffers are full, ours hold one piece */
        ASSERT_TRUE(f.body_size > 0 && f.body_size <= 65536);

        f.pause = false;
        mam_http_exchange_resume_body(f.waiting);
        while (f.n_done == 0) {
                n = send(fd, big + sent, sizeof(big) - sent, MSG_NOSIGNAL);
                if (n > 0)
                        sent += (size_t) n;
                ASSERT_OK(sd_event_run(f.event, 3000000));
                (void) hear(fd, &b, NULL);
        }
        ASSERT_EQ(f.body_size, sizeof(big));
        settle(&f);
        (void) hear(fd, &b, NULL);
        ASSERT_STREQ(mam_buffer_bytes(&b) + b.size - 5, "0\r\n\r\n");
        ASSERT_TRUE(b.size > sizeof(big));
        close(fd);
        teardown(&f);
}

TEST(a_slow_reader_pushes_back) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false); /* a unix socket takes 200 KiB, TCP may take more than is sent here */
        say(fd, GET("/endless"));
        RUN_UNTIL(&f, f.n_requests == 1);
        settle(&f);
        ASSERT_EQ(f.n_writable, 0); /* nothing was read yet */
        RUN_UNTIL(&f, (hear(fd, &b, NULL), f.n_done == 1));
        RUN_UNTIL(&f, (hear(fd, &b, NULL), b.size > 3 * sizeof(big)));
        ASSERT_EQ(f.n_writable, 3);
        close(fd);
        teardown(&f);
}

TEST(large_answers_arrive_whole) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        const char *body;
        Fixture f;
        int fd;

        for (size_t i = 0; i < sizeof(big); i++)
                big[i] = (char) ('a' + i % 23);
        setup(&f, NULL);
        fd = dial(&f, true);
        say(fd, GET("/big"));
        RUN_UNTIL(&f,
                  (hear(fd, &b, NULL),
                   b.size > sizeof(big) && strstr(mam_buffer_bytes(&b), "\r\n\r\n") &&
                                   b.size >= sizeof(big) + (size_t) (strstr(mam_buffer_bytes(&b),
                                                                            "\r\n\r\n") +
                                                                     4 - mam_buffer_bytes(&b))));
        body = strstr(mam_buffer_bytes(&b), "\r\n\r\n") + 4;
        ASSERT_EQ(memcmp(body, big, sizeof(big)), 0);
        close(fd);
        teardown(&f);
}

TEST(pipelined_large_answers_wait_for_room) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        size_t heard = 0;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false);
        say(fd, GET("/big") GET("/big") GET("/big") GET("/big"));
        RUN_UNTIL(&f, f.n_requests == 1);
        settle(&f);
        ASSERT_EQ(f.n_requests, 1); /* or one client could make us hold them all */
        while (heard <= 4 * sizeof(big)) {
                heard += hear(fd, &b, NULL);
                mam_buffer_reset(&b);
                ASSERT_OK(sd_event_run(f.event, heard <= 4 * sizeof(big) ? 3000000 : 0));
        }
        ASSERT_EQ(f.n_requests, 4);
        close(fd);
        teardown(&f);
}

TEST(shared_sockets_are_waited_for_exclusively) {
        unsigned n_listeners = 0, n_exclusive = 0;
        char path[64], line[256];
        FILE *file;
        Fixture f;

        setup(&f, NULL);
        snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", sd_event_get_fd(f.event));
        file = fopen(path, "re");
        if (!file)
                mam_test_skip("no /proc");
        while (fgets(line, sizeof(line), file)) {
                const char *events = strstr(line, "events:");

                if (!events)
                        continue;
                n_listeners++;
                n_exclusive += (strtoul(events + 7, NULL, 16) & EPOLLEXCLUSIVE) != 0;
        }
        fclose(file);
        ASSERT_TRUE(n_listeners >= 2);
        ASSERT_EQ(n_exclusive, 1); /* the TCP socket, not the unix socket */
        teardown(&f);
}

TEST(malformed_requests_are_refused_and_the_connection_closed) {
        static const struct {
                const char *request;
                const char *status;
        } cases[] = {
                { "GET / HTTP/1.1\n\n", "HTTP/1.1 400 Bad Request\r\n" },
                { "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " },
                { "GET / HTTP/3.0\r\n\r\n", "HTTP/1.1 505 " },
                { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 501 " },
                { "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET(
                                  "/hello"),
                  "HTTP/1.1 400 " },
        };
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;

        setup(&f, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                int fd = dial(&f, i % 2);
                const char *answer = ask_last(&f, fd, &b, cases[i].request);

                ASSERT_TRUE(begins(answer, cases[i].status));
                ASSERT_TRUE(strstr(answer, "Connection: close\r\n"));
                ASSERT_TRUE(strstr(answer, "Content-Type: application/problem+json\r\n"));
                ASSERT_TRUE(strstr(answer, "{\"type\":\"about:blank\",\"title\":\""));
                ASSERT_TRUE(!strstr(answer + 1, "HTTP/1.1 ")); /* what follows is not looked at */
                close(fd);
        }
        ASSERT_EQ(f.n_requests, 0);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(heads_are_bounded) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        _cleanup_(mam_buffer_done) MamBuffer request = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, &(MamHttpServerOptions){ .head_max = 1024 });
        ASSERT_OK(mam_buffer_appendf(&request, "GET /%01500u", 0));
        fd = dial(&f, false);
        ASSERT_TRUE(begins(ask_last(&f, fd, &b, mam_buffer_bytes(&request)), "HTTP/1.1 414 "));
        close(fd);

        mam_buffer_reset(&request);
        ASSERT_OK(mam_buffer_appendf(&request, "GET / HTTP/1.1\r\nHost: a\r\nX: %01500u", 0));
        fd = dial(&f, false);
        ASSERT_TRUE(begins(ask_last(&f, fd, &b, mam_buffer_bytes(&request)), "HTTP/1.1 431 "));
        close(fd);

        ASSERT_OK(mam_buffer_append_string(&request, "\r\n\r\n"));
        fd = dial(&f, false);
        ASSERT_TRUE(begins(ask_last(&f, fd, &b, mam_buffer_bytes(&request)), "HTTP/1.1 431 "));
        close(fd);
        ASSERT_EQ(f.n_requests, 0);
        teardown(&f);
}

TEST(slow_clients_are_given_up) {
        static const MamHttpServerOptions options = { .head_timeout_usec = 30000,
                                                      .body_timeout_usec = 30000,
                                                      .idle_timeout_usec = 60000,
                                                      .write_timeout_usec = 30000 };
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, &options);
        fd = dial(&f, true);
        ASSERT_TRUE(begins(ask_last(&f, fd, &b, "GET /hello HTTP/1.1\r\nHost:"), "HTTP/1.1 408 "));
        close(fd);

        fd = dial(&f, true);
        ASSERT_TRUE(
                        begins(ask_last(&f,
                                        fd,
                                        &b,
                                        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"),
                               "HTTP/1.1 408 "));
        ASSERT_EQ(f.body_error, -ETIMEDOUT);
        close(fd);

        fd = dial(&f, true);
        ASSERT_STREQ(ask_last(&f, fd, &b, ""), "");
        close(fd);
        fd = dial(&f, true);
        ASSERT_TRUE(begins(ask_last(&f, fd, &b, GET("/hello")), "HTTP/1.1 200 "));
        close(fd);

        /* Reads nothing: the exchange is done long before, its connection is not. */
        fd = dial(&f, false);
        say(fd, GET("/big"));
        RUN_UNTIL(&f, f.n_requests == 3);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        close(fd);

        /* A handler may take as long as it wants. */
        fd = dial(&f, true);
        say(fd, GET("/later"));
        RUN_UNTIL(&f, f.waiting);
        (void) sd_event_run(f.event, 150000);
        ASSERT_TRUE(f.waiting);
        close(fd);
        teardown(&f);
}

TEST(connections_max_pauses_accepting) {
        int fds[3];
        Fixture f;

        setup(&f, &(MamHttpServerOptions){ .connections_max = 2 });
        for (size_t i = 0; i < MAM_ELEMENTSOF(fds); i++) {
                fds[i] = dial(&f, i == 0);
                say(fds[i], GET("/hello"));
        }
        settle(&f);
        ASSERT_EQ(f.n_requests, 2);
        ASSERT_EQ(mam_http_server_connections(f.server), 2);
        close(fds[0]);
        RUN_UNTIL(&f, f.n_requests == 3);
        close(fds[1]);
        close(fds[2]);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(running_out_of_descriptors_is_survived) {
        struct rlimit limit, low;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false);
        say(fd, GET("/hello"));
        ASSERT_OK(getrlimit(RLIMIT_NOFILE, &limit));
        low = (struct rlimit){ .rlim_cur = (rlim_t) fd + 1, .rlim_max = limit.rlim_max };
        ASSERT_OK(setrlimit(RLIMIT_NOFILE, &low));
        settle(&f);
        ASSERT_EQ(mam_http_server_connections(f.server), 0);
        ASSERT_OK(setrlimit(RLIMIT_NOFILE, &limit));
        RUN_UNTIL(&f, f.n_requests == 1);
        close(fd);
        teardown(&f);
}

TEST(failing_handlers_answer_500) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        ASSERT_TRUE(begins(ask(&f, fd, &b, GET("/nowhere"), "}"), "HTTP/1.1 500 Internal Server Error\r\n"));
        ASSERT_TRUE(strstr(
                        ask(&f, fd, &b, GET("/problem"), "]}"),
                        "{\"type\":\"about:blank\",\"title\":\"Unprocessable Content\",\"status\":422,"
                        "\"detail\":\"Bad \\\"thing\\u000a\\\"\\ufffd\",\"errors\":[{\"detail\":\"Bad "
                        "\\\"thing\\u000a\\\"\\ufffd\",\"pointer\":\"/a\"}]}"));
        /* Shorter than announced: never looks complete. */
        ASSERT_TRUE(!strstr(ask_last(&f, fd, &b, GET("/broken")), "56789"));
        close(fd);
        teardown(&f);
}

TEST(a_client_that_leaves_ends_its_exchange) {
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false);
        say(fd, GET("/later"));
        RUN_UNTIL(&f, f.waiting);
        close(fd);
        RUN_UNTIL(&f, f.n_done == 1);

        fd = dial(&f, true);
        say(fd, GET("/later"));
        RUN_UNTIL(&f, f.waiting);
        ASSERT_OK(
                        setsockopt(fd,
                                   SOL_SOCKET,
                                   SO_LINGER,
                                   &(struct linger){ .l_onoff = 1 },
                                   sizeof(struct linger)));
        close(fd);
        RUN_UNTIL(&f, f.n_done == 2);
        teardown(&f);
}

TEST(who_closes_half_can_be_answered_early_and_who_closes_all_is_noticed) {
        MamBuffer b = MAM_BUFFER_INIT;
        bool eof = false;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        say(fd, GET("/wait-for-hangup"));
        RUN_UNTIL(&f, f.waiting);
        ASSERT_EQ(f.n_done, 0);
        ASSERT_OK(shutdown(fd, SHUT_WR));
        RUN_UNTIL(&f, (hear(fd, &b, &eof), eof));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&b), "bye"));
        ASSERT_EQ(f.n_done, 1);
        close(fd);
        mam_buffer_done(&b);

        fd = dial(&f, true);
        say(fd, GET("/wait-for-hangup"));
        RUN_UNTIL(&f, f.waiting);
        close(fd); /* over TCP this is half-closed as well, until the answer meets nobody */
        RUN_UNTIL(&f, f.n_done == 2);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);

        fd = dial(&f, true);
        say(fd, GET("/wait-for-hangup")); /* all at once */
        ASSERT_OK(shutdown(fd, SHUT_WR));
        RUN_UNTIL(&f, f.n_done == 3);
        close(fd);
        teardown(&f);
}

TEST(fields_are_checked) {
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, false);
        say(fd, GET("/later"));
        RUN_UNTIL(&f, f.waiting);
        ASSERT_EQ(mam_http_exchange_add_field(f.waiting, "X", "a\r\nb: c"), -EINVAL);
        ASSERT_EQ(mam_http_exchange_add_field(f.waiting, "X Y", "a"), -EINVAL);
        ASSERT_EQ(mam_http_exchange_add_field(f.waiting, "content-length", "1"), -EINVAL);
        ASSERT_EQ(mam_http_exchange_add_field(f.waiting, "Connection", "close"), -EINVAL);
        ASSERT_EQ(mam_http_exchange_respond(f.waiting, 200, "a\nb", NULL, 0), -EINVAL);
        ASSERT_EQ(mam_http_exchange_start(f.waiting, 101, 0), -EINVAL);
        ASSERT_EQ(mam_http_exchange_write(f.waiting, "x", 1), -EINVAL);
        ASSERT_EQ(mam_http_exchange_status(f.waiting), 0);
        ASSERT_OK(mam_http_exchange_start(f.waiting, 202, 0));
        ASSERT_EQ(mam_http_exchange_status(f.waiting), 202);
        ASSERT_EQ(mam_http_exchange_add_field(f.waiting, "X", "a"), -EALREADY);
        ASSERT_EQ(mam_http_exchange_start(f.waiting, 200, 0), -EALREADY);
        ASSERT_OK(mam_http_exchange_end(f.waiting));
        ASSERT_TRUE(f.waiting); /* ends in the loop, not under our feet */
        RUN_UNTIL(&f, !f.waiting);
        close(fd);
        teardown(&f);
}

TEST(draining_finishes_what_was_begun_and_loses_nothing) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int idle, busy, queued[8], raced;
        bool eof = false;
        Fixture f;

        setup(&f, NULL);
        idle = dial(&f, false);
        raced = dial(&f, true);
        (void) ask(&f, idle, &b, GET("/hello"), "hello\n");
        (void) ask(&f, raced, &b, GET("/hello"), "hello\n");
        busy = dial(&f, true);
        say(busy, GET("/later"));
        RUN_UNTIL(&f, f.waiting);

        /* In the backlog, with and without a request, and one request on a connection that was idle. */
        for (size_t i = 0; i < MAM_ELEMENTSOF(queued); i++) {
                queued[i] = dial(&f, i % 2);
                if (i < 4)
                        say(queued[i], GET("/hello"));
        }
        say(raced, GET("/hello"));
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        ASSERT_EQ(mam_http_server_drain(f.server, on_drained, &f), -EALREADY);

        mam_buffer_reset(&b);
        RUN_UNTIL(&f, (hear(idle, &b, &eof), eof)); /* idle: closed without a word */
        ASSERT_EQ(b.size, 0);
        ASSERT_TRUE(begins(ask_last(&f, raced, &b, ""), "HTTP/1.1 200 OK\r\n"));
        for (size_t i = 0; i < MAM_ELEMENTSOF(queued); i++) {
                const char *answer = ask_last(&f, queued[i], &b, i < 4 ? "" : GET("/hello"));

                ASSERT_TRUE(begins(answer, "HTTP/1.1 200 OK\r\n") &&
                            strstr(answer, "Connection: close\r\n"));
                close(queued[i]);
        }
        ASSERT_EQ(f.n_drained, 0);
        ASSERT_OK(mam_http_exchange_respond(f.waiting, 200, NULL, "late", 4));
        ASSERT_TRUE(strstr(ask_last(&f, busy, &b, ""), "Connection: close\r\n"));
        close(busy);
        close(idle);
        close(raced);
        RUN_UNTIL(&f, f.n_drained == 1);
        ASSERT_EQ(f.n_requests, 12);
        teardown(&f);
}

/* Who asks again and again over TCP is not cut off between two requests. */
TEST(draining_lets_a_client_ask_once_more) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        bool eof = false;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        (void) ask(&f, fd, &b, GET("/hello"), "hello\n");
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        for (unsigned i = 0; i < 10; i++)
                ASSERT_OK(sd_event_run(f.event, 1000));
        mam_buffer_reset(&b);
        hear(fd, &b, &eof);
        ASSERT_TRUE(!eof && b.size == 0);
        ASSERT_TRUE(strstr(ask_last(&f, fd, &b, GET("/hello")), "Connection: close\r\n"));
        close(fd);
        RUN_UNTIL(&f, f.n_drained == 1);
        teardown(&f);
}

TEST(draining_does_not_wait_for_silent_clients_for_long) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        (void) ask(&f, fd, &b, GET("/hello"), "hello\n");
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        RUN_UNTIL(&f, f.n_drained == 1);
        close(fd);
        teardown(&f);
}

TEST(draining_an_idle_server_is_done_at_once) {
        Fixture f;

        setup(&f, NULL);
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        ASSERT_EQ(f.n_drained, 0); /* not from within */
        RUN_UNTIL(&f, f.n_drained == 1);
        teardown(&f);
}

TEST(freeing_the_server_ends_exchanges) {
        Fixture f;
        int fd;

        setup(&f, NULL);
        fd = dial(&f, true);
        say(fd, "POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
        RUN_UNTIL(&f, f.body_size == 2);
        f.server = mam_http_server_free(f.server);
        ASSERT_EQ(f.n_done, 1);
        ASSERT_EQ(f.body_error, -EPIPE);
        close(fd);
        teardown(&f);
}
