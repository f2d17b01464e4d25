/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the client over HTTP/2, against the server of the same process
 */

#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libmam/http/http-client.h"
#include "libmam/http/http-server.h"
#include "libmam/util/buffer.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define BIG_SIZE 1500000U
#define N_CALLS  60U

typedef struct Fixture Fixture;

/* One call, and what came of it. */
typedef struct Call {
        Fixture *fixture;
        MamHttpCall *call;
        MamBuffer body;
        char trailers[256];
        char version[8];
        unsigned status, n_ends, n_writable;
        int error;
        bool pause_at_head, free_at_head, free_at_data;
} Call;

struct Fixture {
        sd_event *event;
        MamHttpServer *server;
        MamHttpClient *client;
        MamHttpExchange *waiting;
        char folder[32], path[64];
        unsigned n_requests, n_done, n_drained;
        Call calls[N_CALLS];
};

static char big[BIG_SIZE];

/* ---- the server ---- */

static void on_done(MamHttpExchange *x, void *userdata) {
        Fixture *f = userdata;

        f->n_done++;
        if (f->waiting == x)
                f->waiting = NULL;
}

static int on_collected(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        return error < 0 ? 0 : mam_http_exchange_respond(x, 200, "text/plain", data, size);
}

static int on_body(MamHttpExchange *x, const char *data, size_t size, int error, void *userdata) {
        const MamHttpField *trailers;
        size_t n;

        if (error < 0)
                return 0;
        if (size > 0) {
                if (mam_http_exchange_write(x, data, size) == 0)
                        mam_http_exchange_pause_body(x);
                return 0;
        }
        trailers = mam_http_exchange_trailers(x, &n);
        for (size_t i = 0; i < n; i++)
                ASSERT_OK(mam_http_exchange_add_trailer(x, trailers[i].name.data, trailers[i].value.data));
        return mam_http_exchange_end(x);
}

static void on_server_writable(MamHttpExchange *x, void *userdata) {
        mam_http_exchange_resume_body(x);
}

static int handler(MamHttpExchange *x, void *userdata) {
        const char *path = mam_http_exchange_path(x), *te = mam_http_exchange_header(x, "te");
        Fixture *f = userdata;

        f->n_requests++;
        mam_http_exchange_set_on_done(x, on_done, f);
        ASSERT_EQ(mam_http_exchange_version(x), 20);
        ASSERT_STREQ(te, "trailers");
        ASSERT_STREQ(mam_http_exchange_header(x, "host"), "localhost");
        if (strcmp(path, "/echo") == 0)
                return mam_http_exchange_read_body(x, 4 << 20, on_collected, f);
        if (strcmp(path, "/stream") == 0) {
                mam_http_exchange_set_on_writable(x, on_server_writable, f);
                ASSERT_OK(mam_http_exchange_start(x, 200, -1));
                return mam_http_exchange_stream_body(x, on_body, f);
        }
        if (strcmp(path, "/big") == 0)
                return mam_http_exchange_respond(x, 200, NULL, big, sizeof(big));
        if (strcmp(path, "/later") == 0) {
                f->waiting = x;
                return 0;
        }
        if (strcmp(path, "/abort") == 0) {
                ASSERT_OK(mam_http_exchange_start(x, 200, 100));
                ASSERT_OK(mam_http_exchange_write(x, "half", 4));
                mam_http_exchange_abort(x);
                return 0;
        }
        ASSERT_OK(mam_http_exchange_add_field(x, "X-Test", mam_http_exchange_method(x)));
        return mam_http_exchange_respond(x, 200, "text/plain", "hello\n", 6);
}

static void on_drained(MamHttpServer *s, void *userdata) {
        ((Fixture *) userdata)->n_drained++;
}

static int listen_unix(Fixture *f, const char *name) {
        struct sockaddr_un un = { .sun_family = AF_UNIX };
        int fd;

        snprintf(f->path, sizeof(f->path), "%s/%s", f->folder, name);
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", f->path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ASSERT_OK(bind(fd, (struct sockaddr *) &un, sizeof(un)));
        ASSERT_OK(listen(fd, 64));
        return fd;
}

static void setup(Fixture *f, const MamHttpServerOptions *options, bool h2c) {
        const MamHttpClientOptions client = { .protocol = MAM_HTTP_PROTOCOL_H2C };
        int fd;

        memset(f, 0, sizeof(*f));
        snprintf(f->folder, sizeof(f->folder), "/tmp/test-h2c-XXXXXX");
        ASSERT_TRUE(mkdtemp(f->folder));
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_http_server_new(&f->server, f->event, options, handler, f));
        fd = listen_unix(f, "socket");
        ASSERT_OK(mam_http_server_listen_with(f->server, fd, &(MamHttpListenOptions){ .h2c = h2c }));
        ASSERT_OK(mam_http_client_new(&f->client, f->event, f->path, &client));
        for (unsigned i = 0; i < N_CALLS; i++)
                f->calls[i].fixture = f;
}

static void teardown(Fixture *f) {
        mam_http_client_free(f->client);
        for (unsigned i = 0; i < N_CALLS; i++) {
                mam_http_call_free(f->calls[i].call);
                mam_buffer_done(&f->calls[i].body);
        }
        mam_http_server_free(f->server);
        (void) unlink(f->path);
        (void) rmdir(f->folder);
        sd_event_unref(f->event);
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

/* ---- the calls ---- */

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        Call *c = userdata;

        c->status = head->status;
        if (c->pause_at_head)
                mam_http_call_pause(call);
        if (c->free_at_head)
                c->call = mam_http_call_free(call);
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Call *c = userdata;

        ASSERT_OK(mam_buffer_append(&c->body, data, size));
        if (c->free_at_data)
                c->call = mam_http_call_free(call);
        return 0;
}

static void on_writable(MamHttpCall *call, void *userdata) {
        ((Call *) userdata)->n_writable++;
}

static void on_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        Call *c = userdata;
        size_t at = 0;

        for (size_t i = 0; i < n; i++)
                at += (size_t) snprintf(
                                c->trailers + at,
                                sizeof(c->trailers) - at,
                                "%.*s=%.*s;",
                                (int) fields[i].name.size,
                                fields[i].name.data,
                                (int) fields[i].value.size,
                                fields[i].value.data);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Call *c = userdata;

        c->n_ends++;
        c->error = error;
}

static const MamHttpCallbacks callbacks = {
        .on_head = on_head,
        .on_data = on_data,
        .on_writable = on_writable,
        .on_trailers = on_trailers,
        .on_end = on_end,
};

static Call *prepare(Fixture *f, unsigned i, const char *method, const char *path) {
        Call *c = &f->calls[i];

        ASSERT_OK(mam_http_call_new(&c->call, f->client, method, path, &callbacks, c));
        return c;
}

static Call *get(Fixture *f, unsigned i, const char *path) {
        Call *c = prepare(f, i, "GET", path);

        ASSERT_OK(mam_http_call_start(c->call));
        return c;
}

TEST(a_call_is_answered) {
        Fixture f;
        Call *c;

        setup(&f, NULL, true);
        c = get(&f, 0, "/hello?a=b");
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_EQ(c->status, 200);
        ASSERT_STREQ(mam_buffer_bytes(&c->body), "hello\n");
        ASSERT_TRUE(mam_http_call_is_sent(c->call));
        c = prepare(&f, 1, "HEAD", "/hello");
        ASSERT_OK(mam_http_call_start(c->call));
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_EQ(c->body.size, 0);
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(many_calls_share_a_connection) {
        Fixture f;

        setup(&f, NULL, true);
        for (unsigned i = 0; i < N_CALLS; i++) {
                Call *c = prepare(&f, i, "POST", "/echo");

                ASSERT_OK(mam_http_call_set_body(c->call, big, 1000 * i));
                ASSERT_OK(mam_http_call_start(c->call));
        }
        for (unsigned i = 0; i < N_CALLS; i++) {
                RUN_UNTIL(&f, f.calls[i].n_ends > 0);
                ASSERT_EQ(f.calls[i].error, 0);
                ASSERT_EQ(f.calls[i].status, 200);
                ASSERT_EQ(f.calls[i].body.size, 1000 * i);
        }
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        ASSERT_EQ(f.n_done, N_CALLS);
        teardown(&f);
}

TEST(bodies_and_trailers_stream_both_ways) {
        Fixture f;
        size_t sent = 0;
        Call *c;

        setup(&f, &(MamHttpServerOptions){ .body_max = 2 * BIG_SIZE }, true);
        for (size_t i = 0; i < sizeof(big); i++)
                big[i] = (char) (i * 7 / 3);
        c = prepare(&f, 0, "POST", "/stream");
        ASSERT_OK(mam_http_call_set_streaming(c->call, -1));
        ASSERT_OK(mam_http_call_start(c->call));
        while (sent < sizeof(big)) {
                size_t n = sizeof(big) - sent < 30000 ? sizeof(big) - sent : 30000;
                unsigned seen = c->n_writable;
                int r;

                r = mam_http_call_write(c->call, big + sent, n);
                ASSERT_OK(r);
                sent += n;
                if (r == 0)
                        RUN_UNTIL(&f, c->n_writable > seen);
        }
        ASSERT_TRUE(c->n_writable > 0);
        ASSERT_OK(mam_http_call_add_trailer(
                        c->call,
                        (MamHttpRange){ "X-Sum", 5 },
                        (MamHttpRange){ "42", 2 }));
        ASSERT_OK(mam_http_call_end_body(c->call));
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_EQ(c->body.size, sizeof(big));
        ASSERT_EQ(memcmp(mam_buffer_bytes(&c->body), big, sizeof(big)), 0);
        ASSERT_STREQ(c->trailers, "x-sum=42;");
        teardown(&f);
}

TEST(a_paused_answer_waits_and_does_not_block_others) {
        Fixture f;
        Call *c, *other;
        size_t size;

        setup(&f, NULL, true);
        c = prepare(&f, 0, "GET", "/big");
        c->pause_at_head = true;
        ASSERT_OK(mam_http_call_start(c->call));
        RUN_UNTIL(&f, c->status != 0);
        for (unsigned i = 1; i < 20; i++) {
                other = get(&f, i, "/hello");
                RUN_UNTIL(&f, other->n_ends > 0);
                ASSERT_EQ(other->error, 0);
        }
        size = c->body.size;
        ASSERT_TRUE(size < sizeof(big));
        ASSERT_EQ(c->n_ends, 0);
        mam_http_call_resume(c->call);
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_EQ(c->body.size, sizeof(big));
        teardown(&f);
}

TEST(a_complete_answer_may_wait_for_its_reader) {
        Fixture f;
        Call *c, *other;

        setup(&f, NULL, true);
        c = prepare(&f, 0, "GET", "/hello");
        c->pause_at_head = true;
        ASSERT_OK(mam_http_call_start(c->call));
        RUN_UNTIL(&f, c->status != 0);
        other = get(&f, 1, "/hello");
        RUN_UNTIL(&f, other->n_ends > 0);
        ASSERT_EQ(c->n_ends, 0);
        ASSERT_EQ(c->body.size, 0);
        mam_http_call_resume(c->call);
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_STREQ(mam_buffer_bytes(&c->body), "hello\n");
        teardown(&f);
}

TEST(a_call_may_be_freed_at_any_time) {
        Fixture f;
        Call *c;

        setup(&f, NULL, true);
        c = get(&f, 0, "/later");
        c->call = mam_http_call_free(c->call); /* before anything was sent */
        c = get(&f, 1, "/later");
        RUN_UNTIL(&f, f.waiting);
        c->call = mam_http_call_free(c->call);
        RUN_UNTIL(&f, !f.waiting); /* the server is told */
        c = prepare(&f, 2, "GET", "/big");
        c->free_at_head = true;
        ASSERT_OK(mam_http_call_start(c->call));
        RUN_UNTIL(&f, !c->call);
        c = prepare(&f, 3, "GET", "/big");
        c->free_at_data = true;
        ASSERT_OK(mam_http_call_start(c->call));
        RUN_UNTIL(&f, !c->call);
        c = get(&f, 4, "/hello");
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        for (unsigned i = 0; i < 4; i++)
                ASSERT_EQ(f.calls[i].n_ends, 0);
        teardown(&f);
}

TEST(an_answer_that_breaks_off_is_an_error) {
        Fixture f;
        Call *c;

        setup(&f, NULL, true);
        c = get(&f, 0, "/abort");
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, -ECONNRESET);
        ASSERT_TRUE(mam_http_call_is_sent(c->call));
        c = get(&f, 1, "/hello");
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, 0);
        teardown(&f);
}

TEST(a_call_that_takes_too_long_ends) {
        Fixture f;
        Call *c;

        setup(&f, NULL, true);
        c = prepare(&f, 0, "GET", "/later");
        mam_http_call_set_timeout(c->call, 20 * MAM_USEC_PER_MSEC);
        ASSERT_OK(mam_http_call_start(c->call));
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, -ETIMEDOUT);
        RUN_UNTIL(&f, f.n_done == f.n_requests);
        teardown(&f);
}

TEST(a_peer_that_does_not_speak_it_is_an_error) {
        Fixture f;
        Call *c;

        setup(&f, NULL, false);
        c = get(&f, 0, "/hello");
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, -EBADMSG);
        ASSERT_EQ(f.n_requests, 0);
        teardown(&f);
}

TEST(nobody_there_is_an_error) {
        Fixture f;
        Call *c;

        setup(&f, NULL, true);
        (void) unlink(f.path);
        c = get(&f, 0, "/hello");
        RUN_UNTIL(&f, c->n_ends > 0);
        ASSERT_EQ(c->error, -ENOENT);
        ASSERT_TRUE(!mam_http_call_is_sent(c->call));
        teardown(&f);
}

TEST(a_draining_server_finishes_what_it_has) {
        Fixture f;
        Call *c;

        setup(&f, NULL, true);
        c = get(&f, 0, "/later");
        RUN_UNTIL(&f, f.waiting);
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        for (unsigned i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 1000));
        ASSERT_EQ(f.n_drained, 0);
        ASSERT_OK(mam_http_exchange_respond(f.waiting, 200, NULL, "done", 4));
        RUN_UNTIL(&f, c->n_ends > 0 && f.n_drained > 0);
        ASSERT_EQ(c->error, 0);
        ASSERT_STREQ(mam_buffer_bytes(&c->body), "done");
        teardown(&f);
}

TEST(the_client_may_go_while_calls_are_under_way) {
        Fixture f;

        setup(&f, NULL, true);
        for (unsigned i = 0; i < 10; i++)
                (void) get(&f, i, i % 2 ? "/later" : "/big");
        RUN_UNTIL(&f, f.waiting);
        f.client = mam_http_client_free(f.client);
        for (unsigned i = 0; i < 10; i++)
                ASSERT_EQ(f.calls[i].n_ends, 1);
        RUN_UNTIL(&f, f.n_done == f.n_requests);
        teardown(&f);
}
