/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the HTTP client, against the server of this library and against peers that misbehave as told
 */

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "libmam/http/http-client.h"
#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define BIG_SIZE 2097152U

typedef struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        MamHttpClient *client;
        int listener; /* of a peer played by the test, or -EBADF */
        char folder[32], path[64], address[80];
        unsigned n_requests;
        MamHttpExchange *relayed; /* what a call's answer is forwarded to */
        MamHttpClient *upstream;
} Fixture;

typedef struct Answer {
        unsigned status, n_heads, n_ends, n_writable, n_trailers;
        char trailer[64];
        int error;
        int cancel_with; /* returned by on_data */
        bool pause;
        MamHttpFraming framing;
        MamBuffer body;
        MamHttpClient **free_client; /* from on_end */
} Answer;

/* Not that the loop must have something to do meanwhile: what was sent over TCP may be on its way to us. */
#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 30 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                }                                                                    \
        } while (0)

static char big[BIG_SIZE];

static int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        return error < 0 ? 0 : mam_http_exchange_respond(x, 200, NULL, data, size);
}

/* --- a relay, as the gateway does it: exchange to call and back, with pressure both ways --- */

static int relay_on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        int64_t length = head->framing == MAM_HTTP_BODY_LENGTH ? (int64_t) head->content_length : -1;

        return mam_http_exchange_start(userdata, head->status, length);
}

static int relay_on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        int r;

        r = mam_http_exchange_write(userdata, data, size);
        if (r == 0)
                mam_http_call_pause(call);
        return r < 0 ? r : 0;
}

static void relay_on_end(MamHttpCall *call, int error, void *userdata) {
        ASSERT_EQ(error, 0);
        ASSERT_OK(mam_http_exchange_end(userdata));
}

static void relay_on_upstream_writable(MamHttpCall *call, void *userdata) {
        mam_http_exchange_resume_body(userdata);
}

static void relay_on_client_writable(MamHttpExchange *x, void *userdata) {
        mam_http_call_resume(userdata);
}

static int relay_on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        MamHttpCall *call = userdata;
        int r;

        ASSERT_EQ(error, 0);
        if (size == 0)
                return mam_http_call_end_body(call);
        r = mam_http_call_write(call, data, size);
        if (r == 0)
                mam_http_exchange_pause_body(x);
        return r < 0 ? r : 0;
}

static void relay_on_done(MamHttpExchange *x, void *userdata) {
        mam_http_call_free(userdata);
}

static int relay(Fixture *f, MamHttpExchange *x) {
        static const MamHttpCallbacks callbacks = { .on_head = relay_on_head,
                                                    .on_data = relay_on_data,
                                                    .on_writable = relay_on_upstream_writable,
                                                    .on_end = relay_on_end };
        const MamHttpHead *h = mam_http_exchange_head(x);
        MamHttpCall *call;

        ASSERT_OK(mam_http_call_new(
                        &call,
                        f->upstream,
                        mam_http_exchange_method(x),
                        "/echo",
                        &callbacks,
                        x));
        for (size_t i = 0; i < h->n_fields; i++) {
                if (mam_http_range_equal_fold(h->fields[i].name, "X-Test")) {
                        ASSERT_OK(mam_http_call_add_field_range(
                                        call,
                                        h->fields[i].name,
                                        h->fields[i].value));
                }
        }
        ASSERT_OK(mam_http_call_set_streaming(
                        call,
                        h->framing == MAM_HTTP_BODY_LENGTH ? (int64_t) h->content_length : -1));
        mam_http_exchange_set_on_done(x, relay_on_done, call);
        mam_http_exchange_set_on_writable(x, relay_on_client_writable, call);
        ASSERT_OK(mam_http_call_start(call));
        return mam_http_exchange_stream_body(x, relay_on_body, call);
}

static int handler(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;
        const char *path = mam_http_exchange_path(x);

        f->n_requests++;
        if (strcmp(path, "/hello") == 0)
                return mam_http_exchange_respond(x, 200, NULL, "hello\n", 6);
        if (strcmp(path, "/echo") == 0)
                return mam_http_exchange_read_body(x, BIG_SIZE, on_collected, f);
        if (strcmp(path, "/relay") == 0)
                return relay(f, x);
        if (strcmp(path, "/host") == 0) {
                const char *host = mam_http_exchange_header(x, "Host");

                return mam_http_exchange_respond(x, 200, NULL, host, strlen(host));
        }
        if (strcmp(path, "/big") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                ASSERT_OK(mam_http_exchange_write(x, big, sizeof(big)));
                return mam_http_exchange_end(x);
        }
        if (strcmp(path, "/later") == 0)
                return 0;
        return mam_http_exchange_problem(x, 404, NULL, "No such thing");
}

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Answer *a = userdata;

        a->n_heads++;
        a->status = head->status;
        a->framing = head->framing;
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Answer *a = userdata;

        ASSERT_OK(mam_buffer_append(&a->body, data, size));
        if (a->pause)
                mam_http_call_pause(call);
        return a->cancel_with;
}

static void on_writable(MamHttpCall *call, void *userdata) {
        ((Answer *) userdata)->n_writable++;
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Answer *a = userdata;

        a->n_ends++;
        a->error = error;
        mam_http_call_free(call);
        if (a->free_client)
                *a->free_client = mam_http_client_free(*a->free_client);
}

static void on_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        Answer *a = userdata;

        ASSERT_EQ(a->n_ends, 0);
        a->n_trailers += (unsigned) n;
        snprintf(a->trailer,
                 sizeof(a->trailer),
                 "%.*s",
                 (int) fields[n - 1].value.size,
                 fields[n - 1].value.data);
}

static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                            .on_data = on_data,
                                            .on_writable = on_writable,
                                            .on_trailers = on_trailers,
                                            .on_end = on_end };

static void setup(Fixture *f, bool tcp, bool with_server, const MamHttpClientOptions *options) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof(in);

        *f = (Fixture){ 0 };
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-http-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        snprintf(f->path, sizeof(f->path), "%s/socket", f->folder);
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
        ASSERT_OK(sd_event_new(&f->event));

        f->listener = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(tcp ? bind(f->listener, (struct sockaddr *) &in, sizeof(in))
                      : bind(f->listener, (struct sockaddr *) &un, sizeof(un)));
        ASSERT_OK(listen(f->listener, 4));
        if (tcp) {
                ASSERT_OK(getsockname(f->listener, (struct sockaddr *) &in, &size));
                snprintf(f->address, sizeof(f->address), "127.0.0.1:%u", ntohs(in.sin_port));
        } else
                snprintf(f->address, sizeof(f->address), "unix:%s", f->path);

        if (with_server) {
                MamHttpServerOptions o = { .body_max = BIG_SIZE };

                ASSERT_OK(mam_http_server_new(&f->server, f->event, &o, handler, f));
                ASSERT_OK(mam_http_server_listen(f->server, MAM_TAKE_FD(f->listener), false, 0));
        }
        ASSERT_OK(mam_http_client_new(&f->client, f->event, f->address, options));
        ASSERT_OK(mam_http_client_new(&f->upstream, f->event, f->address, options));
}

static void teardown(Fixture *f) {
        mam_http_client_free(f->client);
        mam_http_server_free(f->server);
        mam_http_client_free(f->upstream);
        sd_event_unref(f->event);
        if (f->listener >= 0)
                close(f->listener);
        (void) unlink(f->path);
        ASSERT_OK(rmdir(f->folder));
}

static MamHttpCall *begin(Fixture *f, Answer *a, const char *method, const char *target) {
        MamHttpCall *call;

        *a = (Answer){ 0 };
        ASSERT_OK(mam_http_call_new(&call, f->client, method, target, &callbacks, a));
        return call;
}

static void get(Fixture *f, Answer *a, const char *target) {
        ASSERT_OK(mam_http_call_start(begin(f, a, "GET", target)));
        ASSERT_EQ(a->n_ends, 0); /* never from within */
        RUN_UNTIL(f, a->n_ends == 1);
}

/* The peer played by the test: accepts, and reads a request up to its empty line. */
static int answer_by_hand(Fixture *f, int fd, const char *answer) {
        char request[4096];
        size_t size = 0;

        if (fd < 0) {
                ASSERT_OK(fcntl(f->listener, F_SETFL, O_NONBLOCK));
                RUN_UNTIL(f, (fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
        }
        do {
                ssize_t n = recv(fd, request + size, sizeof(request) - 1 - size, 0);

                if (n > 0)
                        size += (size_t) n;
                request[size] = '\0';
                if (!strstr(request, "\r\n\r\n"))
                        ASSERT_TRUE(sd_event_run(f->event, 3000000) > 0);
        } while (!strstr(request, "\r\n\r\n"));
        ASSERT_EQ(send(fd, answer, strlen(answer), MSG_NOSIGNAL), strlen(answer));
        return fd;
}

TEST(addresses_are_checked) {
        static const char *const bad[] = {
                "",         "localhost:80",    "127.0.0.1",    "127.0.0.1:", "127.0.0.1:0",
                "1.2.3:80", "127.0.0.1:65536", "127.0.0.1:8x", "::1:80",     "[::1]",
                "[::1:80",  "[x]:80",          "unix:socket",  "relative"
        };
        static const char *const good[] = { "127.0.0.1:8080",
                                            "[::1]:8080",
                                            "/run/x.sock",
                                            "unix:/run/x.sock" };
        _cleanup_(sd_event_unrefp) sd_event *e = NULL;
        MamHttpClient *c = NULL;

        ASSERT_OK(sd_event_new(&e));
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                if (mam_http_client_new(&c, e, bad[i], NULL) != -EINVAL)
                        mam_test_fail_string(__FILE__, __LINE__, "rejected", bad[i]);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(good); i++) {
                ASSERT_OK(mam_http_client_new(&c, e, good[i], NULL));
                c = mam_http_client_free(c);
        }
}

TEST(calls_are_answered_over_unix_and_tcp) {
        for (unsigned tcp = 0; tcp < 2; tcp++) {
                Fixture f;
                Answer a;

                setup(&f, tcp, true, NULL);
                for (unsigned i = 0; i < 3; i++) {
                        get(&f, &a, "/hello");
                        ASSERT_EQ(a.error, 0);
                        ASSERT_EQ(a.status, 200);
                        ASSERT_STREQ(mam_buffer_bytes(&a.body), "hello\n");
                        mam_buffer_done(&a.body);
                }
                ASSERT_EQ(mam_http_server_connections(f.server), 1); /* one connection served all three */
                get(&f, &a, "/host");
                ASSERT_STREQ(mam_buffer_bytes(&a.body), tcp ? f.address : "localhost");
                mam_buffer_done(&a.body);
                get(&f, &a, "/nowhere");
                ASSERT_EQ(a.status, 404);
                mam_buffer_done(&a.body);
                ASSERT_OK(mam_http_call_start(begin(&f, &a, "HEAD", "/hello")));
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(a.error, 0);
                ASSERT_EQ(a.body.size, 0);
                ASSERT_EQ(mam_http_server_connections(f.server), 1);
                teardown(&f);
        }
}

TEST(bodies_go_both_ways) {
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, false, true, NULL);
        call = begin(&f, &a, "POST", "/echo");
        ASSERT_EQ(mam_http_call_add_field(call, "Content-Length", "3"), -EINVAL);
        ASSERT_EQ(mam_http_call_add_field(call, "X", "a\nb"), -EINVAL);
        ASSERT_OK(mam_http_call_set_body(call, "whole", 5));
        ASSERT_TRUE(!mam_http_call_is_sent(call));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "whole");
        mam_buffer_done(&a.body);

        for (int length = -1; length < 12; length += 12) {
                call = begin(&f, &a, "PUT", "/echo");
                ASSERT_OK(mam_http_call_set_streaming(call, length));
                ASSERT_EQ(mam_http_call_write(call, "x", 1), -EINVAL); /* not started */
                ASSERT_OK(mam_http_call_start(call));
                ASSERT_EQ(mam_http_call_write(call, "in ", 3), 1);
                ASSERT_EQ(mam_http_call_write(call, "", 0), 1);
                (void) sd_event_run(f.event, 0);
                ASSERT_EQ(mam_http_call_write(call, "pieces", 6), 1);
                if (length > 0) {
                        ASSERT_EQ(mam_http_call_write(call, "123", 3), -EMSGSIZE);
                        ASSERT_EQ(mam_http_call_end_body(call), -EBADMSG);
                        ASSERT_EQ(mam_http_call_write(call, "..", 2), 1);
                }
                ASSERT_OK(mam_http_call_end_body(call));
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(a.error, 0);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), length > 0 ? "in pieces.." : "in pieces");
                mam_buffer_done(&a.body);
        }
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(large_bodies_are_relayed_with_pressure) {
        MamHttpCall *call;
        size_t sent = 0;
        Fixture f;
        Answer a;

        for (size_t i = 0; i < sizeof(big); i++)
                big[i] = (char) ('a' + i % 23);
        setup(&f, false, true, NULL);
        call = begin(&f, &a, "POST", "/relay");
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_start(call));
        while (sent < sizeof(big)) {
                unsigned before = a.n_writable;
                int r = mam_http_call_write(call, big + sent, 65536);

                ASSERT_OK(r);
                sent += 65536;
                if (r == 0)
                        RUN_UNTIL(&f, a.n_writable > before);
        }
        ASSERT_TRUE(a.n_writable > 0);
        ASSERT_OK(mam_http_call_end_body(call));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.body.size, sizeof(big));
        ASSERT_EQ(memcmp(mam_buffer_bytes(&a.body), big, sizeof(big)), 0);
        mam_buffer_done(&a.body);
        teardown(&f);
}

TEST(a_paused_call_reads_no_more) {
        MamHttpCall *call;
        size_t before;
        Fixture f;
        Answer a;

        setup(&f, false, true, NULL);
        call = begin(&f, &a, "GET", "/big");
        a.pause = true;
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.body.size > 0);
        before = a.body.size;
        while (sd_event_run(f.event, 0) > 0)
                ;
        ASSERT_EQ(a.body.size, before);
        a.pause = false;
        mam_http_call_resume(call);
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.body.size, sizeof(big));
        mam_buffer_done(&a.body);
        teardown(&f);
}

TEST(failures_have_names) {
        MamHttpClient *c = NULL;
        Fixture f;
        Answer a;

        setup(&f, false, false, NULL);
        ASSERT_OK(mam_http_client_new(&c, f.event, "/run/no-such-folder/socket", NULL));
        ASSERT_EQ(mam_http_call_start(begin(&(Fixture){ .client = c }, &a, "GET", "/")), 0);
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, -ENOENT);
        c = mam_http_client_free(c);

        /* The socket is there and nobody listens. */
        close(f.listener);
        f.listener = -EBADF;
        get(&f, &a, "/");
        ASSERT_EQ(a.error, -ECONNREFUSED);
        teardown(&f);

        setup(&f, true, false, NULL);
        close(f.listener);
        f.listener = -EBADF;
        get(&f, &a, "/");
        ASSERT_EQ(a.error, -ECONNREFUSED);
        teardown(&f);
}

TEST(a_full_backlog_is_told_at_once) {
        Answer a[16] = { 0 };
        unsigned n_refused = 0;
        MamHttpCall *calls[MAM_ELEMENTSOF(a)];
        Fixture f;

        setup(&f, false, false, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(a); i++) {
                calls[i] = begin(&f, &a[i], "GET", "/");
                ASSERT_OK(mam_http_call_start(calls[i]));
        }
        RUN_UNTIL(&f, a[15].n_ends == 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(a); i++) {
                if (a[i].n_ends > 0) {
                        ASSERT_EQ(a[i].error, -EAGAIN);
                        n_refused++;
                } else
                        mam_http_call_free(calls[i]);
        }
        ASSERT_TRUE(n_refused >= 8 && n_refused < 16);
        teardown(&f);
}

TEST(connections_max_is_told_at_once) {
        MamHttpCall *call;
        Fixture f;
        Answer a, b;

        setup(&f, true, true, &(MamHttpClientOptions){ .connections_max = 1 });
        call = begin(&f, &a, "GET", "/later");
        ASSERT_OK(mam_http_call_start(call));
        get(&f, &b, "/hello");
        ASSERT_EQ(b.error, -EAGAIN);
        ASSERT_EQ(a.n_ends, 0);
        mam_http_call_free(call); /* cancels: its connection goes, and makes room */
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        get(&f, &b, "/hello");
        ASSERT_EQ(b.error, 0);
        mam_buffer_done(&b.body);
        teardown(&f);
}

TEST(calls_time_out) {
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, false, true, NULL);
        call = begin(&f, &a, "GET", "/later");
        mam_http_call_set_timeout(call, 20000);
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, -ETIMEDOUT);
        get(&f, &a, "/hello");
        ASSERT_EQ(a.error, 0);
        mam_buffer_done(&a.body);
        teardown(&f);
}

TEST(idle_connections_are_closed_in_time) {
        Fixture f;
        Answer a;

        setup(&f, true, true, &(MamHttpClientOptions){ .idle_timeout_usec = 20000 });
        get(&f, &a, "/hello");
        mam_buffer_done(&a.body);
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(malformed_answers_are_refused) {
        static const struct {
                const char *answer;
                int error;
                unsigned n_heads;
        } cases[] = {
                { "HTTP/1.1 200 OK\nContent-Length: 0\n\n", -EBADMSG, 0 },
                { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                  -EBADMSG,
                  0 },
                { "HTTP/1.1 101 Switching Protocols\r\n\r\n", -EBADMSG, 0 },
                { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", -EBADMSG, 1 },
                { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", -ECONNRESET, 1 },
                { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", -ECONNRESET, 1 },
                { "HTTP/1.1 200 OK\r\nContent-", -ECONNRESET, 0 },
                { "", -ECONNRESET, 0 },
                { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 1 },
                { "HTTP/1.0 200 OK\r\n\r\nuntil the end", 0, 1 },
        };
        Fixture f;
        Answer a;

        setup(&f, true, false, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                int fd;

                ASSERT_OK(mam_http_call_start(begin(&f, &a, "GET", "/")));
                fd = answer_by_hand(&f, -EBADF, cases[i].answer);
                ASSERT_OK(shutdown(fd, SHUT_WR));
                RUN_UNTIL(&f, a.n_ends == 1);
                if (a.error != cases[i].error || a.n_heads != cases[i].n_heads)
                        mam_test_fail(__FILE__, (int) i, cases[i].answer, a.error);
                mam_buffer_done(&a.body);
                close(fd);
        }
        teardown(&f);
}

TEST(trailers_of_an_answer_are_told) {
        static const struct {
                const char *trailers;
                unsigned n;
                const char *last;
        } cases[] = {
                { "Grpc-Status: 0\r\nX-Sum: abc\r\n", 2, "abc" },
                { "", 0, "" },
                { "Content-Length: 5\r\nX-Sum: abc\r\n", 0, "" }, /* not to be trusted */
        };
        char answer[512];
        Fixture f;
        Answer a;

        setup(&f, false, false, NULL);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                int fd;

                snprintf(answer,
                         sizeof(answer),
                         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                         "2\r\nok\r\n0\r\n%s\r\n",
                         cases[i].trailers);
                ASSERT_OK(mam_http_call_start(begin(&f, &a, "GET", "/")));
                fd = answer_by_hand(&f, -EBADF, answer);
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(a.error, 0);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), "ok");
                ASSERT_EQ(a.n_trailers, cases[i].n);
                ASSERT_STREQ(a.trailer, cases[i].last);
                mam_buffer_done(&a.body);
                close(fd);
        }
        teardown(&f);
}

/* The peer reads the whole request: what the client writes behind a streamed body. */
TEST(trailers_of_a_request_are_sent) {
        MamHttpRange name = { "X-Sum", 5 }, value = { "12", 2 };
        char request[1024] = { 0 };
        size_t size = 0;
        MamHttpCall *call;
        Fixture f;
        Answer a;
        int fd;

        setup(&f, false, false, NULL);
        call = begin(&f, &a, "POST", "/");
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_add_trailer(call, name, value));
        ASSERT_EQ(mam_http_call_add_trailer(call, name, (MamHttpRange){ "a\nb", 3 }), -EINVAL);
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_EQ(mam_http_call_write(call, "abc", 3), 1);
        ASSERT_OK(mam_http_call_end_body(call));
        ASSERT_OK(fcntl(f.listener, F_SETFL, O_NONBLOCK));
        RUN_UNTIL(&f, (fd = accept4(f.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
        while (!strstr(request, "\r\n0\r\n")) {
                ssize_t n = recv(fd, request + size, sizeof(request) - 1 - size, 0);

                if (n > 0)
                        size += (size_t) n;
                else
                        ASSERT_TRUE(sd_event_run(f.event, 3000000) > 0);
        }
        ASSERT_TRUE(strstr(request, "\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 12\r\n\r\n"));
        mam_http_call_free(call);
        close(fd);
        teardown(&f);
}

TEST(what_follows_an_answer_ends_the_connection) {
        Fixture f;
        Answer a;
        char c;
        int fd;

        setup(&f, false, false, NULL);
        ASSERT_OK(mam_http_call_start(begin(&f, &a, "GET", "/")));
        fd = answer_by_hand(
                        &f,
                        -EBADF,
                        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(recv(fd, &c, 1, 0), 0);
        close(fd);
        teardown(&f);
}

/* The peer answers one call, keeps the connection, and closes it when the next request arrives. */
static void race(Fixture *f, Answer *a, const char *method) {
        int fd, other;

        ASSERT_OK(mam_http_call_start(begin(f, a, "GET", "/")));
        fd = answer_by_hand(f, -EBADF, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        RUN_UNTIL(f, a->n_ends == 1);
        ASSERT_OK(mam_http_call_start(begin(f, a, method, "/again")));
        fd = answer_by_hand(f, fd, "");
        close(fd);
        if (strcmp(method, "POST") != 0) {
                other = answer_by_hand(f, -EBADF, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
                RUN_UNTIL(f, a->n_ends == 1);
                close(other);
        } else
                RUN_UNTIL(f, a->n_ends == 1);
}

TEST(a_reused_connection_that_closes_is_replaced) {
        Fixture f;
        Answer a;

        for (unsigned tcp = 0; tcp < 2; tcp++) {
                setup(&f, tcp, false, NULL);
                race(&f, &a, "PUT");
                ASSERT_EQ(a.error, 0);
                ASSERT_EQ(a.status, 201);
                teardown(&f);

                setup(&f, tcp, false, NULL);
                race(&f, &a, "POST"); /* could have been carried out already */
                ASSERT_EQ(a.error, -ECONNRESET);
                teardown(&f);
        }
}

TEST(unsafe_calls_avoid_a_connection_that_is_known_to_be_closed) {
        Fixture f;
        Answer a;
        int fd;

        setup(&f, false, false, NULL);
        ASSERT_OK(mam_http_call_start(begin(&f, &a, "GET", "/")));
        fd = answer_by_hand(&f, -EBADF, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        RUN_UNTIL(&f, a.n_ends == 1);
        close(fd); /* and the loop has not run since */
        ASSERT_OK(mam_http_call_start(begin(&f, &a, "POST", "/")));
        fd = answer_by_hand(&f, -EBADF, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        close(fd);
        teardown(&f);
}

TEST(an_early_answer_counts) {
        MamHttpCall *call;
        Fixture f;
        Answer a;
        int fd;

        setup(&f, false, false, NULL);
        call = begin(&f, &a, "POST", "/");
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_EQ(mam_http_call_write(call, "begin", 5), 1);
        fd = answer_by_hand(
                        &f,
                        -EBADF,
                        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        close(fd);
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.status, 413);
        teardown(&f);
}

TEST(callbacks_cancel) {
        Fixture f;
        Answer a;

        setup(&f, false, true, NULL);
        ASSERT_OK(mam_http_call_start(begin(&f, &a, "GET", "/big")));
        a.cancel_with = -EFBIG;
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, -EFBIG);
        mam_buffer_done(&a.body);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}

TEST(the_client_may_be_freed_from_a_callback) {
        Fixture f;
        Answer a, b;

        setup(&f, false, true, NULL);
        ASSERT_OK(mam_http_call_start(begin(&f, &a, "GET", "/later")));
        ASSERT_OK(mam_http_call_start(begin(&f, &b, "GET", "/hello")));
        b.free_client = &f.client;
        RUN_UNTIL(&f, b.n_ends == 1);
        ASSERT_TRUE(!f.client);
        ASSERT_EQ(a.n_ends, 1);
        ASSERT_EQ(a.error, -ECANCELED);
        mam_buffer_done(&b.body);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        teardown(&f);
}
