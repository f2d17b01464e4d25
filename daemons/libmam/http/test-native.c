/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests of the native hop: client and server of this library
 */

#include "libmam/http/test-native.h"
#include "libmam/http/native-frames.h"

TEST(calls_share_one_connection) {
        Answer a[50];
        Fixture f;

        setup(&f, PEER_NATIVE);
        for (unsigned i = 0; i < 3; i++)
                get_body(&f, "/hello", "hello\n");
        ASSERT_EQ(f.last_version, 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(a); i++)
                (void) start(&f, &a[i], i % 2 ? "/hello" : "/host");
        for (size_t i = 0; i < MAM_ELEMENTSOF(a); i++) {
                RUN_UNTIL(&f, a[i].n_ends == 1);
                ASSERT_EQ(a[i].error, 0);
                ASSERT_STREQ(mam_buffer_bytes(&a[i].body), i % 2 ? "hello\n" : "localhost");
                ASSERT_TRUE(a[i].was_sent);
                mam_buffer_done(&a[i].body);
        }
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        ASSERT_EQ(mam_http_server_in_flight(f.server), 0);
        ASSERT_EQ(f.n_done, 53);
        teardown(&f);
}

TEST(answers_without_a_body) {
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        get(&f, &a, "/nothing");
        ASSERT_EQ(a.status, 204);
        ASSERT_EQ(a.framing, MAM_HTTP_BODY_NONE);
        get(&f, &a, "/empty");
        ASSERT_EQ(a.status, 200);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.body.size, 0);
        ASSERT_OK(mam_http_call_start(begin(&f, &a, "HEAD", "/hello")));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.body.size, 0);
        ASSERT_EQ(a.length, 6);
        ASSERT_TRUE(a.has_length);
        get(&f, &a, "/fail");
        ASSERT_EQ(a.status, 500);
        mam_buffer_done(&a.body);
        get(&f, &a, "/nowhere");
        ASSERT_EQ(a.status, 404);
        mam_buffer_done(&a.body);
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(bodies_go_both_ways) {
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        call = begin(&f, &a, "POST", "/echo");
        ASSERT_EQ(mam_http_call_add_field(call, "Content-Length", "3"), -EINVAL);
        ASSERT_EQ(mam_http_call_add_field(call, "Upgrade", "x"), -EINVAL);
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
                ASSERT_OK(mam_http_call_start(call));
                ASSERT_EQ(mam_http_call_write(call, "in ", 3), 1);
                ASSERT_EQ(mam_http_call_write(call, "", 0), 1);
                settle(&f);
                ASSERT_TRUE(mam_http_call_is_sent(call));
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

        call = begin(&f, &a, "POST", "/echo"); /* a body that turns out to be empty */
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_OK(mam_http_call_end_body(call));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.status, 200);
        ASSERT_EQ(a.body.size, 0);
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(trailers_go_both_ways) {
        MamHttpRange name = { "X-Sum", 5 }, value = { "12", 2 };
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        for (int pause = 0; pause < 2; pause++) {
                call = begin(&f, &a, "GET", "/trailers");
                a.pause = pause;
                ASSERT_OK(mam_http_call_start(call));
                if (pause) {
                        RUN_UNTIL(&f, a.body.size > 0);
                        settle(&f);
                        ASSERT_EQ(a.n_ends, 0);
                        a.pause = false;
                        mam_http_call_resume(call);
                }
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(a.error, 0);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), "hello");
                ASSERT_STREQ(a.field, "one");
                ASSERT_EQ(a.n_trailers, 2);
                ASSERT_STREQ(a.trailer, "Grpc-Status=7");
                mam_buffer_done(&a.body);
        }
        get_body(&f, "/trailers-told", "hello"); /* no place for them behind a length that was told */

        for (size_t n = 0; n < 2; n++) {
                call = begin(&f, &a, "POST", "/echo");
                ASSERT_EQ(mam_http_call_add_trailer(call, name, value), -EINVAL);
                ASSERT_OK(mam_http_call_set_streaming(call, -1));
                if (n > 0)
                        ASSERT_OK(mam_http_call_add_trailer(call, name, value));
                ASSERT_OK(mam_http_call_start(call));
                ASSERT_EQ(mam_http_call_write(call, "a", 1), 1);
                ASSERT_OK(mam_http_call_end_body(call));
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(f.n_trailers, n);
                mam_buffer_done(&a.body);
        }
        teardown(&f);
}

TEST(large_bodies_are_relayed_with_pressure) {
        MamHttpCall *call;
        size_t sent = 0;
        Fixture f;
        Answer a;

        for (size_t i = 0; i < sizeof(big); i++)
                big[i] = (char) ('a' + i % 23);
        setup(&f, PEER_NATIVE);
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

TEST(a_paused_call_holds_up_nobody) {
        Answer paused[20], a;
        MamHttpCall *calls[MAM_ELEMENTSOF(paused)];
        size_t before;
        Fixture f;

        setup(&f, PEER_NATIVE);
        for (size_t i = 0; i < MAM_ELEMENTSOF(paused); i++) {
                calls[i] = begin(&f, &paused[i], "GET", "/big");
                paused[i].pause = true;
                ASSERT_OK(mam_http_call_start(calls[i]));
        }
        RUN_UNTIL(&f, paused[0].body.size > 0);
        settle(&f);
        before = paused[0].body.size;
        get_body(&f, "/hello", "hello\n");
        get(&f, &a, "/big");
        ASSERT_EQ(a.body.size, sizeof(big));
        mam_buffer_done(&a.body);
        ASSERT_EQ(paused[0].body.size, before);

        for (size_t i = 0; i < MAM_ELEMENTSOF(paused); i++) {
                paused[i].pause = false;
                mam_http_call_resume(calls[i]);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(paused); i++) {
                RUN_UNTIL(&f, paused[i].n_ends == 1);
                ASSERT_EQ(paused[i].error, 0);
                ASSERT_EQ(paused[i].body.size, sizeof(big));
                ASSERT_EQ(memcmp(mam_buffer_bytes(&paused[i].body), big, sizeof(big)), 0);
                mam_buffer_done(&paused[i].body);
        }
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(a_body_that_is_too_large_is_refused) {
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        f.body_max = 1000;
        for (int length = -1; length <= 100000; length += 100001) {
                call = begin(&f, &a, "POST", "/echo");
                ASSERT_OK(mam_http_call_set_streaming(call, length));
                ASSERT_OK(mam_http_call_start(call));
                ASSERT_OK(mam_http_call_write(call, big, 100000));
                RUN_UNTIL(&f, a.n_ends == 1);
                ASSERT_EQ(a.error, 0);
                ASSERT_EQ(a.status, 413);
                mam_buffer_done(&a.body);
        }
        ASSERT_EQ(f.n_body_errors, 2);
        get_body(&f, "/hello", "hello\n"); /* the connection goes on */
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(a_call_that_goes_is_cancelled_there) {
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        call = start(&f, &a, "/later");
        RUN_UNTIL(&f, f.later);
        ASSERT_EQ(mam_http_server_in_flight(f.server), 1);
        mam_http_call_free(call);
        RUN_UNTIL(&f, f.n_done == 1);
        ASSERT_EQ(mam_http_server_in_flight(f.server), 0);

        call = begin(&f, &a, "POST", "/echo"); /* in the middle of its body */
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_OK(mam_http_call_write(call, "begin", 5));
        RUN_UNTIL(&f, f.n_requests == 2);
        mam_http_call_free(call);
        RUN_UNTIL(&f, f.n_done == 2);
        ASSERT_EQ(f.n_body_errors, 1);

        (void) start(&f, &a, "/big"); /* in the middle of its answer */
        a.cancel_with = -EFBIG;
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, -EFBIG);
        mam_buffer_done(&a.body);
        get_body(&f, "/hello", "hello\n");
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(calls_time_out_and_the_connection_goes_on) {
        MamHttpCall *call;
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        call = begin(&f, &a, "GET", "/later");
        mam_http_call_set_timeout(call, 20000);
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, -ETIMEDOUT);
        RUN_UNTIL(&f, f.n_done == 1);
        get_body(&f, "/hello", "hello\n");
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

TEST(an_aborted_answer_is_seen_as_broken) {
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        get(&f, &a, "/abort");
        ASSERT_EQ(a.error, -ECONNRESET);
        ASSERT_EQ(a.n_heads, 1);
        ASSERT_TRUE(a.was_sent);
        mam_buffer_done(&a.body);
        get_body(&f, "/hello", "hello\n");
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        teardown(&f);
}

static void on_drained(MamHttpServer *s, void *userdata) {
        ((Fixture *) userdata)->n_drained++;
}

TEST(draining_answers_what_was_begun) {
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        (void) start(&f, &a, "/later");
        RUN_UNTIL(&f, f.later);
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        settle(&f);
        ASSERT_EQ(f.n_drained, 0);
        ASSERT_OK(mam_http_exchange_respond(f.later, 200, NULL, "late", 4));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_STREQ(mam_buffer_bytes(&a.body), "late");
        mam_buffer_done(&a.body);
        RUN_UNTIL(&f, f.n_drained == 1);
        ASSERT_EQ(mam_http_server_connections(f.server), 0);
        get(&f, &a, "/hello"); /* nobody listens any more */
        ASSERT_EQ(a.error, -ECONNREFUSED);
        ASSERT_TRUE(!a.was_sent);
        teardown(&f);
}

TEST(an_idle_connection_ends_when_the_server_drains) {
        Fixture f;

        setup(&f, PEER_NATIVE);
        get_body(&f, "/hello", "hello\n");
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        RUN_UNTIL(&f, f.n_drained == 1);
        teardown(&f);
}

/* What arrives behind GOAWAY was not looked at. */
TEST(calls_that_meet_a_goaway_are_unprocessed) {
        Answer a, b;
        Fixture f;

        setup(&f, PEER_NATIVE);
        (void) start(&f, &a, "/later");
        RUN_UNTIL(&f, f.later);
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &f));
        (void) start(&f, &b, "/hello");
        RUN_UNTIL(&f, b.n_ends == 1);
        if (b.error < 0) {
                ASSERT_EQ(b.error, -ECONNREFUSED);
                ASSERT_TRUE(!b.was_sent);
                ASSERT_EQ(f.n_requests, 1);
        }
        mam_buffer_done(&b.body);
        ASSERT_OK(mam_http_exchange_respond(f.later, 200, NULL, "late", 4));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        mam_buffer_done(&a.body);
        teardown(&f);
}

TEST(idle_connections_are_closed_in_time) {
        Fixture f;

        setup_with(&f, PEER_NATIVE, &(MamHttpClientOptions){ .idle_timeout_usec = 20000 });
        get_body(&f, "/hello", "hello\n");
        ASSERT_EQ(mam_http_server_connections(f.server), 1);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        get_body(&f, "/hello", "hello\n");
        teardown(&f);
}

TEST(calls_at_once_are_bounded) {
        Answer a, b;
        MamHttpCall *call;
        Fixture f;

        setup_with(&f, PEER_NATIVE, &(MamHttpClientOptions){ .connections_max = 1 });
        call = start(&f, &a, "/later");
        get(&f, &b, "/hello");
        ASSERT_EQ(b.error, -EAGAIN);
        ASSERT_TRUE(!b.was_sent);
        mam_http_call_free(call);
        get_body(&f, "/hello", "hello\n");
        teardown(&f);
}

TEST(the_client_may_be_freed_from_a_callback) {
        Answer a, b;
        Fixture f;

        setup(&f, PEER_NATIVE);
        (void) start(&f, &a, "/later");
        (void) start(&f, &b, "/hello");
        b.free_client = &f.client;
        RUN_UNTIL(&f, b.n_ends == 1);
        ASSERT_TRUE(!f.client);
        ASSERT_EQ(a.n_ends, 1);
        ASSERT_EQ(a.error, -ECANCELED);
        mam_buffer_done(&b.body);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 0);
        ASSERT_EQ(f.n_done, 2);
        teardown(&f);
}

TEST(a_server_that_goes_breaks_its_calls) {
        Fixture f;
        Answer a;

        setup(&f, PEER_NATIVE);
        (void) start(&f, &a, "/later");
        RUN_UNTIL(&f, f.later);
        f.server = mam_http_server_free(f.server);
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, -ECONNRESET);
        ASSERT_TRUE(a.was_sent);
        teardown(&f);
}

TEST(too_much_of_a_head_is_told_at_once) {
        static char value[NATIVE_HEAD_MAX];
        MamHttpCall *call;
        Fixture f;
        Answer a;
        int r = 0;

        setup(&f, PEER_NATIVE);
        memset(value, 'x', sizeof(value) - 1);
        call = begin(&f, &a, "GET", "/hello");
        ASSERT_EQ(mam_http_call_add_field(call, "X", value), -ENOBUFS);
        for (unsigned i = 0; i <= MAM_HTTP_FIELDS_MAX && r >= 0; i++)
                r = mam_http_call_add_field(call, "X", "y");
        ASSERT_EQ(r, -ENOBUFS);
        mam_http_call_free(call);
        teardown(&f);
}

/* --- a peer that does not know the hop --- */

TEST(a_peer_of_http1_is_spoken_to_so) {
        MamHttpCall *call;
        Answer a, b;
        Fixture f;

        setup(&f, PEER_HTTP1);
        (void) start(&f, &a, "/hello");
        call = begin(&f, &b, "POST", "/echo");
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_EQ(mam_http_call_write(call, "early ", 6), 1);
        ASSERT_TRUE(!mam_http_call_is_sent(call));
        RUN_UNTIL(&f, a.n_ends == 1);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.status, 200);
        ASSERT_EQ(f.last_version, 11);
        ASSERT_EQ(mam_http_call_write(call, "late", 4), 1);
        ASSERT_OK(mam_http_call_end_body(call));
        RUN_UNTIL(&f, b.n_ends == 1);
        ASSERT_EQ(b.error, 0);
        ASSERT_STREQ(mam_buffer_bytes(&b.body), "early late");
        mam_buffer_done(&a.body);
        mam_buffer_done(&b.body);
        RUN_UNTIL(&f, mam_http_server_connections(f.server) == 2);

        get_body(&f, "/hello", "hello\n"); /* and not asked again */
        ASSERT_EQ(mam_http_server_connections(f.server), 2);
        ASSERT_EQ(f.n_requests, 3);
        teardown(&f);
}

TEST(a_full_backlog_is_told_at_once) {
        MamHttpClient *clients[16] = { 0 };
        Answer a[MAM_ELEMENTSOF(clients)] = { 0 };
        MamHttpCall *calls[MAM_ELEMENTSOF(clients)];
        MamHttpClientOptions o = { .protocol = MAM_HTTP_PROTOCOL_NATIVE };
        unsigned n_refused = 0;
        Fixture f;

        setup(&f, PEER_BY_HAND);
        for (size_t i = 0; i < MAM_ELEMENTSOF(a); i++) {
                ASSERT_OK(mam_http_client_new(&clients[i], f.event, f.path, &o));
                calls[i] = begin(&(Fixture){ .client = clients[i] }, &a[i], "GET", "/");
                ASSERT_OK(mam_http_call_start(calls[i]));
        }
        RUN_UNTIL(&f, a[15].n_ends == 1);
        for (size_t i = 0; i < MAM_ELEMENTSOF(a); i++) {
                if (a[i].n_ends > 0) {
                        ASSERT_EQ(a[i].error, -EAGAIN);
                        ASSERT_TRUE(!a[i].was_sent);
                        n_refused++;
                } else
                        mam_http_call_free(calls[i]);
                mam_http_client_free(clients[i]);
        }
        ASSERT_TRUE(n_refused >= 8 && n_refused < 16);
        teardown(&f);
}
