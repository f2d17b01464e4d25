/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests through the gateway to real replicas, and back
 */

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "api-gateway/test-gateway.h"

TEST(a_request_passes_with_identity_and_without_pretence) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &a, "GET", "/x/y?z=1&t=2");
        ASSERT_OK(mam_http_call_add_field(call, "Host", "example.org"));
        ASSERT_OK(mam_http_call_add_field(call, "Mam-Subject", "root"));
        ASSERT_OK(mam_http_call_add_field(call, "mam-roles", "admin"));
        ASSERT_OK(mam_http_call_add_field(call, "X-Forwarded-For", "203.0.113.9"));
        ASSERT_OK(mam_http_call_add_field(call, "Forwarded", "for=203.0.113.9"));
        ASSERT_OK(mam_http_call_add_field(call, "X-Request-Id", "id-of-the-client"));
        ASSERT_OK(mam_http_call_add_field(
                        call,
                        "traceparent",
                        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        ASSERT_OK(mam_http_call_add_field(call, "tracestate", "a=b"));
        ASSERT_OK(mam_http_call_add_field(call, "Accept", "text/plain"));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.ended);

        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.status, 200);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "replica 1");
        ASSERT_TRUE(has(a.fields, "ETag: \"7\"\n"));
        ASSERT_TRUE(has(a.fields, "Set-Cookie: a=1\n") && has(a.fields, "Set-Cookie: b=2\n"));
        ASSERT_TRUE(has(a.fields, "X-Request-Id: id-of-the-client\n"));
        ASSERT_TRUE(has(a.fields, "Content-Length: 9\n"));
        ASSERT_TRUE(!strcasestr(a.fields, "Mam-"));

        const char *seen = f.replicas[0].seen;
        ASSERT_TRUE(has(seen, "Mam-Subject: ada\n") && has(seen, "Mam-Roles: viewer,project.edit\n"));
        ASSERT_TRUE(!has(seen, "root") && !has(seen, "admin") && !has(seen, "203.0.113.9") &&
                    !has(seen, "good"));
        ASSERT_TRUE(has(seen, "Host: example.org\n") && has(seen, "X-Forwarded-Host: example.org\n"));
        ASSERT_TRUE(has(seen, "Forwarded: for=unknown;proto=http;host=\"example.org\"\n"));
        ASSERT_TRUE(has(seen, "X-Forwarded-Proto: http\n"));
        ASSERT_TRUE(has(seen, "X-Request-Id: id-of-the-client\n"));
        ASSERT_TRUE(has(seen, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-"));
        ASSERT_TRUE(!has(seen, "b7ad6b7169203331")); /* a span of our own */
        ASSERT_TRUE(has(seen, "tracestate: a=b\n") && has(seen, "Accept: text/plain\n"));
        ASSERT_EQ(metric(&f, "mam_gateway_requests_total{route=\"/x\",method=\"GET\",code=\"200\"} "), 1);
        ASSERT_EQ(metric(&f, "mam_gateway_upstream_in_flight{replica=\"x:1\"} "), 0);
        fixture_done(&f);
}

TEST(who_is_nobody_gets_401_and_paths_without_a_service_404) {
        static const struct {
                const char *method, *target;
                unsigned status;
        } cases[] = {
                { "GET", "/nowhere", 404 },    { "GET", "/xy", 404 },  { "GET", "/x/../y", 400 },
                { "GET", "/x/%2e%2E/y", 400 }, { "TRACE", "/x", 501 }, { "GET", "/x", 200 },
                { "GET", "/", 200 },           { "POST", "/", 404 },
        };
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                ask(&f, &a, cases[i].method, cases[i].target, NULL);
                ASSERT_EQ(a.status, cases[i].status);
        }
        answer_done(&a);

        a = (Answer){ 0 };
        ASSERT_OK(mam_http_call_new(&call, f.client, "GET", "/x", &client_callbacks, &a));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.status, 401);
        ASSERT_TRUE(has(a.fields, "WWW-Authenticate: Bearer realm=\"mam\"\n"));
        call = mam_http_call_free(call);
        answer_done(&a);

        a = (Answer){ 0 };
        ASSERT_OK(mam_http_call_new(&call, f.client, "GET", "/x", &client_callbacks, &a));
        ASSERT_OK(mam_http_call_add_field(call, "Authorization", "Bearer bad"));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.status, 401);
        ASSERT_TRUE(has(a.fields, "error=\"invalid_token\""));
        ASSERT_EQ(f.replicas[0].n_requests, 1);
        fixture_done(&f);
}

TEST(bodies_pass_both_ways) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        ask(&f, &a, "POST", "/x/echo", "hello");
        ASSERT_EQ(a.status, 201);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "hello");
        ask(&f, &a, "POST", "/x/echo", "");
        ASSERT_EQ(a.status, 201);
        ASSERT_EQ(a.body.size, 0);
        if (!hop_is_native()) /* which tells it in the frame */
                ASSERT_TRUE(has(f.replicas[0].seen, "Content-Length: 0\n"));

        /* HEAD tells the length that GET would have */
        ask(&f, &a, "HEAD", "/x", NULL);
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(has(a.fields, "Content-Length: 9\n"));
        ASSERT_EQ(a.body.size, 0);

        answer_done(&a);
        a = (Answer){ .is_big = true };
        ask(&f, &a, "GET", "/x/big", NULL);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.bytes, BIG);
        ASSERT_TRUE(!a.wrong);
        fixture_done(&f);
}

static void upload(Fixture *f, Answer *a, const char *method, uint64_t size, bool chunked) {
        static char piece[10000];
        MamHttpCall *call = NULL;
        uint64_t left = size;

        mam_buffer_done(&a->body);
        call = call_new(f, a, method, "/x/count");
        ASSERT_OK(mam_http_call_set_streaming(call, chunked ? -1 : (int64_t) size));
        ASSERT_OK(mam_http_call_start(call));
        memset(piece, 'u', sizeof(piece));
        while (left > 0 && !a->ended) {
                size_t n = left < sizeof(piece) ? (size_t) left : sizeof(piece);

                if (mam_http_call_write(call, piece, n) < 0)
                        break;
                left -= n;
                ASSERT_OK(sd_event_run(f->event, 0));
        }
        if (!a->ended)
                (void) mam_http_call_end_body(call);
        RUN_UNTIL(f, a->ended);
        mam_http_call_free(call);
}

TEST(uploads_are_streamed) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        for (int chunked = 0; chunked < 2; chunked++) {
                upload(&f, &a, "POST", 3000000, chunked);
                ASSERT_EQ(a.error, 0);
                ASSERT_EQ(a.status, 200);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), "3000000");
                upload(&f, &a, "POST", 20000, chunked);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), "20000");
        }
        if (!hop_is_native())
                ASSERT_TRUE(has(f.replicas[0].seen, "Transfer-Encoding: chunked\n"));
        fixture_done(&f);
}

TEST(a_small_upload_that_breaks_is_sent_again_elsewhere) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 3);
        f.replicas[0].broken = f.replicas[1].broken = false;
        for (int i = 0; i < 2; i++) {
                f.replicas[i].broken = true;
                f.replicas[!i].broken = false;
                set_endpoints(&f, 3);
                for (int k = 0; k < 2; k++) {
                        upload(&f, &a, "PUT", 20000, true);
                        ASSERT_EQ(a.status, 200);
                        ASSERT_STREQ(mam_buffer_bytes(&a.body), "20000");
                }
        }
        fixture_done(&f);
}

TEST(replicas_take_turns) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 3);
        for (int i = 0; i < 20; i++) {
                ask(&f, &a, "GET", "/x", NULL);
                ASSERT_EQ(a.status, 200);
        }
        /* exactly half is the balancer's own test: here a busy machine makes one look slow */
        ASSERT_TRUE(f.replicas[0].n_requests > 0 && f.replicas[1].n_requests > 0);
        ASSERT_EQ(f.replicas[0].n_requests + f.replicas[1].n_requests, 20);
        fixture_done(&f);
}

TEST(a_draining_replica_gets_nothing_new_and_finishes) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 1);
        call = call_new(&f, &a, "GET", "/x/hold");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.replicas[0].held);
        ASSERT_EQ(metric(&f, "mam_gateway_upstream_in_flight{replica=\"x:1\"} "), 1);

        set_endpoints(&f, 2);
        for (int i = 0; i < 5; i++) {
                ask(&f, &b, "GET", "/x", NULL);
                ASSERT_STREQ(mam_buffer_bytes(&b.body), "replica 2");
        }
        ASSERT_OK(gateway_set_endpoints(
                        f.gateway,
                        f.u,
                        NULL,
                        0)); /* and even when it is gone from the set */
        ASSERT_OK(mam_http_exchange_respond(f.replicas[0].held, 200, "text/plain", "late", 4));
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.status, 200);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "late");
        fixture_done(&f);
}

TEST(who_refuses_is_passed_by) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 2, 3); /* the first has no socket */
        for (int i = 0; i < 10; i++) {
                ask(&f, &a, "POST", "/x/echo", "body");
                ASSERT_EQ(a.status, 201);
        }
        ASSERT_TRUE(metric(&f, "mam_gateway_retries_total{service=\"x\",reason=\"refused\"} ") >= 1);
        ASSERT_TRUE(metric(&f, "mam_gateway_retries_total{service=\"x\",reason=\"refused\"} ") <=
                    2); /* then it is ejected */
        fixture_done(&f);
}

TEST(what_broke_is_repeated_only_if_it_may_be) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 3);
        f.replicas[0].broken = true;
        for (int i = 0; i < 4; i++) {
                ask(&f, &a, "GET", "/x", NULL);
                ASSERT_EQ(a.status, 200);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), "replica 2");
        }
        ASSERT_EQ(metric(&f, "mam_gateway_retries_total{service=\"x\",reason=\"broken\"} "), 1);

        /* two broken ones: one repetition, then the truth */
        f.replicas[1].broken = true;
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 502);
        ASSERT_TRUE(has(a.fields, "Content-Type: application/problem+json\n"));

        f.replicas[0].n_requests = f.replicas[1].n_requests = 0;
        ask(&f, &a, "POST", "/x/echo", "pay");
        ASSERT_EQ(a.status, 502);
        ASSERT_EQ(f.replicas[0].n_requests + f.replicas[1].n_requests, 1);
        fixture_done(&f);
}

TEST(a_break_in_mid_answer_reaches_the_client_as_one) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &a, "GET", "/x/half");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.replicas[0].held && a.bytes == 4);
        ASSERT_TRUE(!a.ended);
        mam_http_exchange_abort(f.replicas[0].held);
        RUN_UNTIL(&f, a.ended);
        ASSERT_TRUE(a.error < 0);
        ASSERT_EQ(a.status, 200);
        fixture_done(&f);
}

TEST(a_client_that_leaves_cancels_the_call) {
        MamHttpCall *call;
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &a, "GET", "/x/hold");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.replicas[0].held);
        mam_http_call_free(call);
        RUN_UNTIL(&f, !f.replicas[0].held);
        RUN_UNTIL(&f, TAILQ_EMPTY(&f.gateway->forwards));
        ASSERT_EQ(metric(&f, "mam_gateway_upstream_in_flight{replica=\"x:1\"} "), 0);
        ASSERT_EQ(metric(&f, "mam_gateway_requests_total{route=\"/x\",method=\"GET\",code=\"499\"} "), 1);
        fixture_done(&f);
}

TEST(requests_wait_for_a_replica) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 0);
        call = call_new(&f, &a, "POST", "/x/echo");
        ASSERT_OK(mam_http_call_set_body(call, "patience", 8));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.gateway->n_waiting == 1);
        ASSERT_EQ(metric(&f, "\nmam_gateway_waiting_requests "), 1);
        set_endpoints(&f, 1);
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.status, 201);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "patience");
        ASSERT_EQ(f.gateway->n_waiting, 0);

        /* one that refuses for a while: the queue tries again by itself */
        replica_stop(&f.replicas[0]);
        call = mam_http_call_free(call);
        answer_done(&a);
        call = call_new(&f, &a, "POST", "/x/echo");
        ASSERT_OK(mam_http_call_set_body(call, "again", 5));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.gateway->n_waiting == 1);
        replica_start(&f, 0);
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.status, 201);
        fixture_done(&f);
}

TEST(waiting_has_an_end_and_a_limit) {
        enum {
                MAX = 500
        };
        static Answer answers[MAX + 10];
        static MamHttpCall *calls[MAX + 10];
        MamHttpClientOptions many = { .connections_max = 4096 };
        unsigned n_503 = 0, at_once = 0;
        Fixture f;

        fixture_setup(&f, 0, 0);
        f.gateway->wait_usec = 2 * MAM_USEC_PER_SEC;
        f.gateway->waiting_max = MAX;
        f.client = mam_http_client_free(f.client);
        ASSERT_OK(mam_http_client_new(&f.client, f.event, f.path, &many));
        for (size_t i = 0; i < MAM_ELEMENTSOF(calls); i++) {
                calls[i] = call_new(&f, &answers[i], "GET", "/x");
                ASSERT_OK(mam_http_call_start(calls[i]));
                RUN_UNTIL(&f, f.gateway->n_waiting == i + 1 || answers[i].ended);
                at_once += answers[i].ended;
        }
        ASSERT_EQ(f.gateway->n_waiting, MAX);
        ASSERT_EQ(at_once, 10);
        for (size_t i = 0; i < MAM_ELEMENTSOF(calls); i++) {
                RUN_UNTIL(&f, answers[i].ended);
                n_503 += answers[i].status == 503 && has(answers[i].fields, "Retry-After: 1\n");
                mam_http_call_free(calls[i]);
                answer_done(&answers[i]);
        }
        ASSERT_EQ(n_503, MAM_ELEMENTSOF(calls));
        ASSERT_EQ(f.gateway->n_waiting, 0);
        fixture_done(&f);
}

TEST(who_has_not_begun_is_left_for_another) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 3);
        f.replicas[0].unready = true;
        for (int i = 0; i < 6; i++) {
                ask(&f, &a, "POST", "/x/echo", "x");
                ASSERT_EQ(a.status, 201);
        }
        ASSERT_TRUE(f.replicas[0].n_requests >= 1);

        /* none has begun: wait until one does */
        f.replicas[1].unready = true;
        answer_done(&a);
        call = call_new(&f, &a, "POST", "/x/echo");
        ASSERT_OK(mam_http_call_set_body(call, "y", 1));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.gateway->n_waiting == 1);
        f.replicas[0].unready = false;
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.status, 201);

        /* 503 of another kind: repeated elsewhere if the method allows it, else handed on */
        f.replicas[1].unready = false;
        f.replicas[0].busy = f.replicas[1].busy = true;
        set_endpoints(&f, 0);
        set_endpoints(&f, 3);
        f.replicas[0].n_requests = f.replicas[1].n_requests = 0;
        ask(&f, &a, "POST", "/x/echo", "z");
        ASSERT_EQ(a.status, 503);
        ASSERT_EQ(f.replicas[0].n_requests + f.replicas[1].n_requests, 1);
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 503);
        ASSERT_TRUE(has(a.fields, "Retry-After: 1\n"));
        ASSERT_EQ(f.replicas[0].n_requests + f.replicas[1].n_requests, 3);
        fixture_done(&f);
}

TEST(silence_ends_with_504) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        f.gateway->progress_usec = 300 * MAM_USEC_PER_MSEC;
        ask(&f, &a, "GET", "/x/hold", NULL);
        ASSERT_EQ(a.status, 504);
        RUN_UNTIL(&f, !f.replicas[0].held); /* and the replica need not go on */
        ask(&f, &a, "GET", "/x/half", NULL);
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(a.error < 0);
        fixture_done(&f);
}

static int connect_raw(const char *path) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ASSERT_OK(fd);
        (void) snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        ASSERT_OK(connect(fd, (struct sockaddr *) &a, sizeof(a)));
        return fd;
}

TEST(a_slow_reader_holds_back_the_replica) {
        static const char request[] =
                        "GET /x/big HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nConnection: close\r\n\r\n";
        static char buffer[65536];
        uint64_t total = 0;
        size_t before;
        Fixture f;
        ssize_t n;
        int fd;

        fixture_setup(&f, 1, 1);
        fd = connect_raw(f.path);
        ASSERT_EQ(send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL), sizeof(request) - 1);
        RUN_UNTIL(&f, f.replicas[0].big_left > 0);
        for (int i = 0; i < 50; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        /* Both hops have their buffers, no more: most is still at its source, and stays there. */
        before = f.replicas[0].big_left;
        ASSERT_TRUE(before > BIG - 4U * 1024U * 1024U);
        for (int i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 5000));
        ASSERT_EQ(f.replicas[0].big_left, before);

        for (;;) {
                n = recv(fd, buffer, sizeof(buffer), 0);
                if (n == 0)
                        break;
                if (n > 0)
                        total += (uint64_t) n;
                else
                        ASSERT_OK(sd_event_run(f.event, 10000));
        }
        ASSERT_TRUE(total > BIG); /* with chunk sizes and head */
        close(fd);
        fixture_done(&f);
}

TEST(a_slow_replica_holds_back_the_sender) {
        static const char head[] =
                        "POST /x/hold HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: 25165824\r\n\r\n";
        static char piece[65536];
        size_t sent = 0;
        int idle = 0, fd;
        ssize_t n;
        Fixture f;

        fixture_setup(&f, 1, 1);
        fd = connect_raw(f.path);
        ASSERT_EQ(send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL), sizeof(head) - 1);
        while (idle < 50 && sent < BIG) {
                n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL);
                if (n > 0) {
                        sent += (size_t) n;
                        idle = 0;
                } else
                        idle++;
                ASSERT_OK(sd_event_run(f.event, 2000));
        }
        ASSERT_TRUE(sent < 4U * 1024U * 1024U);
        ASSERT_TRUE(f.replicas[0].held);
        ASSERT_OK(mam_http_exchange_respond(
                        f.replicas[0].held,
                        413,
                        NULL,
                        NULL,
                        0)); /* an early answer still gets through */
        for (idle = 0;; idle++) {
                n = recv(fd, piece, sizeof(piece), 0);
                if (n > 0)
                        break;
                ASSERT_TRUE(idle < 1000);
                ASSERT_OK(sd_event_run(f.event, 10000));
        }
        ASSERT_EQ(strncmp(piece, "HTTP/1.1 413 ", 13), 0);
        close(fd);
        fixture_done(&f);
}

/* The gateway neither cuts nor keeps anything: what was asked for arrives, and what was answered comes back.
 */
TEST(ranges_and_conditions_are_the_services_business) {
        static const unsigned statuses[] = { 206, 304, 412, 416 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(statuses); i++) {
                _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
                _cleanup_(answer_done) Answer a = { 0 };

                f.replicas[0].status = statuses[i];
                call = call_new(&f, &a, "GET", "/x/y");
                ASSERT_OK(mam_http_call_add_field(call, "Range", "bytes=2-5"));
                ASSERT_OK(mam_http_call_add_field(call, "If-Range", "\"7\""));
                ASSERT_OK(mam_http_call_start(call));
                RUN_UNTIL(&f, a.ended);
                ASSERT_EQ(a.error, 0);
                ASSERT_EQ(a.status, statuses[i]);
                ASSERT_TRUE(has(f.replicas[0].seen, "Range: bytes=2-5\n") &&
                            has(f.replicas[0].seen, "If-Range: \"7\"\n"));
        }
        fixture_done(&f);
}
