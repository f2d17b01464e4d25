/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * WebSockets and streams of events through the gateway
 */

#include "api-gateway/lasting.h"
#include "api-gateway/test-gateway.h"

#define KEY  "dGhlIHNhbXBsZSBub25jZQ=="
#define MASK "\x00\x00\x00\x00"

static void on_drained(MamHttpServer *s, void *userdata) {
        bool *drained = userdata;

        *drained = true;
}

static MamHttpCall *open_socket(Fixture *f, Answer *a) {
        MamHttpCall *call = call_new(f, a, "GET", "/x/socket");

        ASSERT_OK(mam_http_call_add_field(call, "Sec-WebSocket-Version", "13"));
        ASSERT_OK(mam_http_call_add_field(call, "Sec-WebSocket-Key", KEY));
        ASSERT_OK(mam_http_call_set_upgrade(call, "websocket"));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(f, a->status != 0 || a->ended);
        return call;
}

static void expect(Fixture *f, Answer *a, const char *bytes, size_t size) {
        RUN_UNTIL(f, a->body.size >= size);
        ASSERT_EQ(a->body.size, size);
        ASSERT_EQ(memcmp(mam_buffer_bytes(&a->body), bytes, size), 0);
        mam_buffer_consume(&a->body, size);
}

#define SAY(call, literal)    ASSERT_EQ(mam_http_call_write(call, literal, sizeof(literal) - 1), 1)
#define EXPECT(f, a, literal) expect(f, a, literal, sizeof(literal) - 1)

TEST(a_websocket_passes_and_ends_by_itself) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = open_socket(&f, &a);
        ASSERT_EQ(a.status, 101);
        ASSERT_TRUE(has(a.fields, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n"));
        ASSERT_TRUE(has(f.replicas[0].seen, "Mam-Subject: ada\n"));
        ASSERT_TRUE(!strcasestr(f.replicas[0].seen, "Bearer"));
        ASSERT_EQ(metric(&f, "mam_gateway_websockets{service=\"x\"} "), 1);
        SAY(call, "\x81\x85" MASK "hello");
        EXPECT(&f, &a, "\x81\x05hello");
        SAY(call, "\x88\x82" MASK "\x03\xe8");
        EXPECT(&f, &a, "\x88\x02\x03\xe8");
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(f.replicas[0].socket_code, 1000);
        call = mam_http_call_free(call);
        RUN_UNTIL(&f, lasting_admitted(f.gateway->lasting) == 0);
        ASSERT_EQ(metric(&f, "mam_gateway_requests_total{route=\"/x\",method=\"GET\",code=\"101\"} "), 1);
        ASSERT_EQ(metric(&f, "mam_gateway_websockets{service=\"x\"} "), 0);
        ASSERT_EQ(metric(&f, "mam_gateway_upstream_in_flight{replica=\"x:1\"} "), 0);
        fixture_done(&f);
}

/* Until a replica has agreed it is a request like others. */
TEST(a_websocket_goes_to_another_replica_if_one_refuses) {
        Fixture f;

        fixture_setup(&f, 2, 3);
        for (unsigned i = 0; i < 4; i++) {
                _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
                _cleanup_(answer_done) Answer a = { 0 };

                call = open_socket(&f, &a);
                ASSERT_EQ(a.status, 101);
                SAY(call, "\x81\x81" MASK "x");
                EXPECT(&f, &a, "\x81\x01x");
        }
        ASSERT_EQ(f.replicas[1].n_requests, 4);
        fixture_done(&f);
}

TEST(silence_for_longer_than_a_request_may_be_silent) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL, *stream = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 }, c = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        f.gateway->progress_usec = 50 * MAM_USEC_PER_MSEC;
        call = open_socket(&f, &a);
        ASSERT_EQ(a.status, 101);
        stream = call_new(&f, &b, "GET", "/x/events");
        ASSERT_OK(mam_http_call_start(stream));
        RUN_UNTIL(&f, b.status == 200);
        ask(&f, &c, "GET", "/x/hold", NULL); /* and this is what becomes of a request */
        ASSERT_EQ(c.status, 504);
        ASSERT_TRUE(!a.ended && !b.ended);
        SAY(call, "\x81\x81" MASK "x");
        EXPECT(&f, &a, "\x81\x01x");
        fixture_done(&f);
}

TEST(draining_ends_a_websocket_with_1001) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        bool drained = false;
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = open_socket(&f, &a);
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &drained));
        EXPECT(&f, &a, "\x88\x02\x03\xe9");
        ASSERT_TRUE(!drained);
        SAY(call, "\x88\x82" MASK "\x03\xe9");
        RUN_UNTIL(&f, a.ended);
        call = mam_http_call_free(call);
        RUN_UNTIL(&f, drained);
        ASSERT_EQ(f.replicas[0].socket_code, 1001);
        fixture_done(&f);
}

TEST(events_pass_as_they_come_and_draining_ends_behind_one) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        bool drained = false;
        MamHttpExchange *x;
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &a, "GET", "/x/events");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.status == 200 && f.replicas[0].held);
        x = f.replicas[0].held;
        ASSERT_OK(mam_http_exchange_write(x, "data: 1\n\n", 9));
        EXPECT(&f, &a, "data: 1\n\n");
        ASSERT_OK(mam_http_exchange_write(x, "data:", 5));
        EXPECT(&f, &a, "data:");

        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &drained));
        for (unsigned i = 0; i < 20; i++)
                ASSERT_OK(sd_event_run(f.event, 1000));
        ASSERT_TRUE(!a.ended && !drained);
        ASSERT_OK(mam_http_exchange_write(x, " 2\n\ndata: 3\n\n", 13));
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.error, 0); /* complete */
        EXPECT(&f, &a, " 2\n\n");
        call = mam_http_call_free(call);
        RUN_UNTIL(&f, drained && f.replicas[0].n_gone == 1);
        ASSERT_EQ(metric(&f, "mam_gateway_upstream_in_flight{replica=\"x:1\"} "), 0);
        fixture_done(&f);
}

TEST(draining_between_two_events_ends_at_once) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        bool drained = false;
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &a, "GET", "/x/events");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.status == 200 && f.replicas[0].held);
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &drained));
        RUN_UNTIL(&f, a.ended);
        ASSERT_EQ(a.error, 0);
        ASSERT_EQ(a.body.size, 0);
        call = mam_http_call_free(call);
        RUN_UNTIL(&f, drained);
        fixture_done(&f);
}

/* A replica that is about to stop: who has a WebSocket or a stream with it comes again, to another. */
TEST(a_replica_that_drains_ends_what_lasts) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL, *stream = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = open_socket(&f, &a);
        stream = call_new(&f, &b, "GET", "/x/events");
        ASSERT_OK(mam_http_call_start(stream));
        RUN_UNTIL(&f, b.status == 200 && f.replicas[0].held);
        set_endpoints(&f, 0);
        EXPECT(&f, &a, "\x88\x02\x03\xe9");
        SAY(call, "\x88\x82" MASK "\x03\xe9");
        RUN_UNTIL(&f, a.ended && b.ended);
        ASSERT_EQ(b.error, 0);
        ASSERT_EQ(f.replicas[0].socket_code, 1001);
        fixture_done(&f);
}

/* Half an event that does not go on is not waited for as long as the whole service may take to stop. */
TEST(draining_does_not_wait_for_half_an_event_for_ever) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        bool drained = false;
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &a, "GET", "/x/events");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, a.status == 200 && f.replicas[0].held);
        ASSERT_OK(mam_http_exchange_write(f.replicas[0].held, "data:", 5));
        EXPECT(&f, &a, "data:");
        ASSERT_OK(mam_http_server_drain(f.server, on_drained, &drained));
        RUN_UNTIL(&f, drained && a.ended);
        ASSERT_TRUE(a.error < 0);
        fixture_done(&f);
}

TEST(what_a_service_of_mams_own_refuses_is_told) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        ask(&f, &a, "GET", "/x/socket", NULL);
        ASSERT_EQ(a.status, 426);
        ASSERT_TRUE(has(a.fields, "Sec-WebSocket-Version: 13\n"));
        fixture_done(&f);
}
