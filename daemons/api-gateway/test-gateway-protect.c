/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What protects services: limits, queue, breaker, ejection, deadlines, slow clients; affinity, mirror,
 * trailers – through a gateway to real replicas
 */

#include <string.h>

#include "api-gateway/test-configure.h"
#include "api-gateway/test-gateway.h"

static void setup(Fixture *f, unsigned replicas, const char *gateway, const char *route) {
        char text[1024];

        fixture_setup(f, replicas, 0);
        (void) snprintf(text,
                        sizeof(text),
                        "{\"gateway\":{%s},\"services\":{\"x\":{\"routes\":[{\"prefix\":\"/x\"%s%s}],"
                        "\"protocol\":\"%s\"}}}",
                        gateway,
                        *route ? "," : "",
                        route,
                        hop_is_native() ? "native" : "http1");
        configure(f->gateway, text);
        set_endpoints(f, replicas);
}

static void start(MamHttpCall *call, const char *field, const char *value) {
        if (field)
                ASSERT_OK(mam_http_call_add_field(call, field, value));
        ASSERT_OK(mam_http_call_start(call));
}

static void ask_with(Fixture *f, Answer *a, const char *target, const char *field, const char *value) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;

        mam_buffer_done(&a->body);
        call = call_new(f, a, "GET", target);
        start(call, field, value);
        RUN_UNTIL(f, a->ended);
}

TEST(a_rate_limit_says_how_things_stand_and_refuses_what_is_too_much) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        setup(&f,
              1,
              "\"limits\":{\"rates\":{\"few\":{\"requests\":2,\"per\":\"1h\",\"by\":\"user\"},"
              "\"all\":{\"requests\":100,\"per\":\"1min\",\"by\":\"ip\",\"everywhere\":true}}}",
              "\"rateLimit\":\"few\"");
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(has(a.fields, "RateLimit-Policy: \"all\";q=100;w=60, \"few\";q=2;w=3600\n"));
        ASSERT_TRUE(has(a.fields, "RateLimit: \"all\";r=99;t=1, \"few\";r=1;t=1800\n"));
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 200);
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 429);
        ASSERT_TRUE(has(a.fields, "Retry-After: 1800\n"));
        ASSERT_TRUE(has(a.fields, "RateLimit: \"all\";r=97"));
        ASSERT_TRUE(has(mam_buffer_bytes(&a.body), "#quota-exceeded"));
        ASSERT_TRUE(has(mam_buffer_bytes(&a.body), "\"violated-policies\":[\"few\"]"));
        ASSERT_EQ(f.replicas[0].n_requests, 2);
        ASSERT_EQ(metric(&f, "mam_gateway_rate_limited_total{limit=\"few\"} "), 1);

        /* A new configuration with more room goes on counting where the old one was. */
        configure(f.gateway,
                  "{\"gateway\":{\"limits\":{\"rates\":{\"few\":{\"requests\":3,\"per\":\"1h\",\"by\":\"user\"}}}},"
                  "\"services\":{\"x\":{\"routes\":[{\"prefix\":\"/x\",\"rateLimit\":\"few\"}]}}}");
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_TRUE(a.status != 429);
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 429);
        fixture_done(&f);
}

TEST(who_does_not_fit_waits_and_is_served_in_turn) {
        _cleanup_(mam_http_call_freep) MamHttpCall *first = NULL, *second = NULL, *third = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 }, c = { 0 };
        Fixture f;

        setup(&f,
              1,
              "\"limits\":{\"concurrency\":{\"adaptive\":false,\"max\":1},\"queue\":{\"max\":1}}",
              "");
        first = call_new(&f, &a, "GET", "/x/hold");
        start(first, NULL, NULL);
        RUN_UNTIL(&f, f.replicas[0].held);
        second = call_new(&f, &b, "GET", "/x");
        start(second, NULL, NULL);
        RUN_UNTIL(&f, f.gateway->n_waiting == 1);
        ASSERT_EQ(f.replicas[0].n_requests, 1);

        third = call_new(&f, &c, "GET", "/x");
        start(third, NULL, NULL);
        RUN_UNTIL(&f, c.ended);
        ASSERT_EQ(c.status, 503);
        ASSERT_TRUE(has(c.fields, "Retry-After: 1\n"));
        ASSERT_EQ(metric(&f, "mam_gateway_shed_total{service=\"x\",reason=\"full\"} "), 1);

        ASSERT_OK(mam_http_exchange_respond(f.replicas[0].held, 200, NULL, "", 0));
        RUN_UNTIL(&f, a.ended && b.ended);
        ASSERT_EQ(a.status, 200);
        ASSERT_EQ(b.status, 200);
        ASSERT_EQ(f.gateway->n_waiting, 0);
        fixture_done(&f);
}

TEST(a_long_answer_takes_no_room) {
        _cleanup_(mam_http_call_freep) MamHttpCall *first = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 };
        Fixture f;

        setup(&f,
              1,
              "\"limits\":{\"concurrency\":{\"adaptive\":false,\"max\":1},\"queue\":{\"max\":0}}",
              "");
        first = call_new(&f, &a, "GET", "/x/half");
        start(first, NULL, NULL);
        RUN_UNTIL(&f, a.status == 200);
        ask(&f, &b, "GET", "/x", NULL);
        ASSERT_EQ(b.status, 200);
        ASSERT_EQ(f.u->endpoints[0]->pending, 1);
        ASSERT_EQ(f.u->endpoints[0]->working, 0);
        first = mam_http_call_free(first);
        RUN_UNTIL(&f, f.u->endpoints[0]->pending == 0);
        fixture_done(&f);
}

TEST(who_has_left_does_not_wait_any_more) {
        _cleanup_(mam_http_call_freep) MamHttpCall *first = NULL, *second = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 };
        Fixture f;

        setup(&f, 1, "\"limits\":{\"concurrency\":{\"adaptive\":false,\"max\":1}}", "");
        first = call_new(&f, &a, "GET", "/x/hold");
        start(first, NULL, NULL);
        RUN_UNTIL(&f, f.replicas[0].held);
        second = call_new(&f, &b, "POST", "/x");
        start(second, NULL, NULL);
        RUN_UNTIL(&f, f.gateway->n_waiting == 1);
        second = mam_http_call_free(second);
        RUN_UNTIL(&f, f.gateway->n_waiting == 0);
        /* And the replica learns that nobody wants the first one's answer. */
        first = mam_http_call_free(first);
        RUN_UNTIL(&f, f.replicas[0].n_gone == 1);
        ASSERT_EQ(f.u->endpoints[0]->pending, 0);
        ASSERT_EQ(f.u->endpoints[0]->working, 0);
        fixture_done(&f);
}

TEST(a_deadline_of_the_clients_is_told_and_kept) {
        _cleanup_(answer_done) Answer a = { 0 };
        const char *told;
        Fixture f;

        setup(&f, 1, "", "");
        ask_with(&f, &a, "/x/hold", "X-Request-Timeout-Ms", "300");
        ASSERT_EQ(a.status, 504);
        told = strstr(f.replicas[0].seen, "Mam-Timeout-Ms: ");
        ASSERT_TRUE(told && atoi(told + 16) > 0 && atoi(told + 16) <= 300);
        RUN_UNTIL(&f, f.replicas[0].n_gone == 1);
        ASSERT_EQ(metric(&f, "mam_gateway_shed_total{service=\"x\",reason=\"deadline\"} "), 1);
        /* How long a client waits says nothing of the replica. */
        ASSERT_TRUE(f.u->endpoints[0]->stats.cost_usec < 1000000);

        ask_with(&f, &a, "/x", "X-Request-Timeout-Ms", "0");
        ASSERT_EQ(a.status, 504);
        ASSERT_EQ(f.replicas[0].n_requests, 1);
        ask_with(&f, &a, "/x/hold", "grpc-timeout", "200m");
        ASSERT_EQ(a.status, 504);
        ASSERT_TRUE(!has(f.replicas[0].seen, "grpc-timeout"));
        /* What cannot be read is not there; what is long enough changes nothing. */
        ask_with(&f, &a, "/x", "X-Request-Timeout-Ms", "-1");
        ASSERT_EQ(a.status, 200);
        ask_with(&f, &a, "/x", "grpc-timeout", "99999999H");
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(!f.gateway->deadlines.n);
        fixture_done(&f);
}

TEST(the_route_says_the_longest_time) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        setup(&f, 1, "\"limits\":{\"clientDeadlines\":false}", "\"timeout\":\"1s\"");
        ask_with(&f, &a, "/x", "X-Request-Timeout-Ms", "0"); /* not heard */
        ASSERT_EQ(a.status, 200);
        ask_with(&f, &a, "/x/hold", "X-Request-Timeout-Ms", "60000");
        ASSERT_EQ(a.status, 504);
        ASSERT_TRUE(f.u->endpoints[0]->stats.cost_usec >= 4e6); /* this one counts */
        fixture_done(&f);
}

TEST(a_service_that_breaks_everything_is_left_alone) {
        _cleanup_(answer_done) Answer a = { 0 };
        unsigned seen;
        Fixture f;

        setup(&f, 1, "\"limits\":{\"breaker\":{\"failures\":50,\"open\":\"500ms\"}}", "");
        f.replicas[0].broken = true;
        for (unsigned i = 0; i < BREAKER_REQUESTS; i++) {
                ask(&f, &a, "POST", "/x", "");
                ASSERT_EQ(a.status, 502);
        }
        seen = f.replicas[0].n_requests;
        ask(&f, &a, "POST", "/x", "");
        ASSERT_EQ(a.status, 503);
        ASSERT_TRUE(has(a.fields, "Retry-After: 1\n"));
        ASSERT_EQ(f.replicas[0].n_requests, seen);
        ASSERT_EQ(metric(&f, "mam_gateway_breaker_open{service=\"x\"} "), 1);
        ASSERT_TRUE(metric(&f, "mam_gateway_shed_total{service=\"x\",reason=\"open\"} ") >= 1);

        /* It recovers by itself. */
        f.replicas[0].broken = false;
        while (f.u->breaker.open) {
                ASSERT_OK(sd_event_run(f.event, 10 * MAM_USEC_PER_MSEC));
                ask(&f, &a, "GET", "/x", NULL);
        }
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 200);
        ASSERT_EQ(metric(&f, "mam_gateway_breaker_open{service=\"x\"} "), 0);
        fixture_done(&f);
}

TEST(what_answers_badly_is_put_out_and_poison_puts_out_nobody) {
        _cleanup_(answer_done) Answer a = { 0 };
        unsigned failed = 0;
        Fixture f;

        setup(&f, 3, "\"limits\":{\"breaker\":{\"failures\":0}}", "");
        f.u->balancing = BALANCER_TURNS;
        f.replicas[0].status = 500;
        for (unsigned i = 0; i < 60; i++) {
                ask(&f, &a, "GET", "/x", NULL);
                failed += a.status == 500;
        }
        ASSERT_EQ(failed, OUTLIER_CONSECUTIVE);
        ASSERT_TRUE(endpoint_is_out(f.u->endpoints[0], mam_now_monotonic()));
        ASSERT_EQ(metric(&f, "mam_gateway_ejections_total{replica=\"x:1\"} "), 1);

        /* Now the other one fails too: there is nobody who does better. */
        f.replicas[1].status = 500;
        for (unsigned i = 0; i < 60; i++)
                ask(&f, &a, "GET", "/x", NULL);
        ASSERT_TRUE(!endpoint_is_out(f.u->endpoints[1], mam_now_monotonic()));
        fixture_done(&f);
}

TEST(a_cookie_keeps_a_client_where_it_is) {
        _cleanup_(answer_done) Answer a = { 0 };
        char cookie[32], *set, body[16];
        unsigned others = 0;
        Fixture f;

        setup(&f, 3, "", "\"sticky\":\"cookie\"");
        ask(&f, &a, "GET", "/x", NULL);
        set = strstr(a.fields, "Set-Cookie: mam-sticky=");
        ASSERT_TRUE(set && has(a.fields, "; Path=/; HttpOnly; SameSite=Lax\n"));
        (void) snprintf(cookie, sizeof(cookie), "%.*s", 11 + 16, set + 12);
        (void) snprintf(body, sizeof(body), "%s", mam_buffer_bytes(&a.body));
        for (unsigned i = 0; i < 20; i++) {
                char field[64];

                (void) snprintf(field, sizeof(field), "a=b; %s; c=d", cookie);
                ask_with(&f, &a, "/x", "Cookie", field);
                ASSERT_STREQ(mam_buffer_bytes(&a.body), body);
                ASSERT_TRUE(!strstr(a.fields, "mam-sticky"));
        }
        for (unsigned i = 0; i < 40; i++) { /* new clients are spread */
                ask(&f, &a, "GET", "/x", NULL);
                others += strcmp(mam_buffer_bytes(&a.body), body) != 0;
        }
        ASSERT_TRUE(others > 5 && others < 35);
        fixture_done(&f);
}

TEST(a_mirror_gets_copies_and_is_not_waited_for) {
        _cleanup_(answer_done) Answer a = { 0 };
        Upstream *y;
        Fixture f;

        fixture_setup(&f, 3, 0);
        configure(f.gateway,
                  "{\"services\":{\"x\":{\"routes\":[{\"prefix\":\"/x\","
                  "\"mirror\":{\"service\":\"y\",\"percent\":50}}],\"protocol\":\"http1\"},"
                  "\"y\":{\"routes\":[\"/y\"],\"protocol\":\"http1\"}}}");
        f.u = gateway_find_upstream(f.gateway, "x");
        y = gateway_find_upstream(f.gateway, "y");
        ASSERT_TRUE(f.u && y);
        ASSERT_OK(gateway_set_endpoints(
                        f.gateway,
                        f.u,
                        &(EndpointSpec){ "x:1", f.replicas[0].path, ENDPOINT_READY, 1, NULL },
                        1));
        ASSERT_OK(gateway_set_endpoints(
                        f.gateway,
                        y,
                        &(EndpointSpec){ "y:1", f.replicas[1].path, ENDPOINT_READY, 1, NULL },
                        1));
        for (unsigned i = 0; i < 20; i++) {
                ask(&f, &a, "POST", "/x/echo", "hello");
                ASSERT_EQ(a.status, 201);
                ASSERT_TRUE(!has(f.replicas[0].seen, "Mam-Mirror"));
        }
        RUN_UNTIL(&f, f.replicas[1].n_requests == 10 && f.gateway->n_mirrors == 0);
        ASSERT_TRUE(has(f.replicas[1].seen, "Mam-Mirror: 1\n") &&
                    has(f.replicas[1].seen, "Mam-Subject: ada\n"));
        ASSERT_EQ(f.replicas[0].n_requests, 20);

        /* It never answers: that is its own affair, up to a bound. */
        for (unsigned i = 0; i < 4; i++)
                ask_with(&f, &a, "/x", NULL, NULL);
        f.replicas[1].broken = true;
        for (unsigned i = 0; i < 4; i++) {
                ask(&f, &a, "GET", "/x", NULL);
                ASSERT_EQ(a.status, 200);
        }
        fixture_done(&f);
}

typedef struct Trailing {
        Answer answer; /* first: the callbacks of others take it for one */
        char trailers[256];
} Trailing;

static void on_trailers(MamHttpCall *call, const MamHttpField *fields, size_t n, void *userdata) {
        Trailing *t = userdata;
        size_t k = 0;

        for (size_t i = 0; i < n; i++)
                k += (size_t) snprintf(
                                t->trailers + k,
                                sizeof(t->trailers) - k,
                                "%.*s: %.*s\n",
                                (int) fields[i].name.size,
                                fields[i].name.data,
                                (int) fields[i].value.size,
                                fields[i].value.data);
}

TEST(trailers_pass_both_ways) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        MamHttpCallbacks callbacks = client_callbacks;
        Trailing t = { 0 };
        Fixture f;

        callbacks.on_trailers = on_trailers;
        setup(&f, 1, "", "");
        ASSERT_OK(mam_http_call_new(&call, f.client, "POST", "/x/trailers", &callbacks, &t));
        ASSERT_OK(mam_http_call_add_field(call, "Authorization", "Bearer good"));
        ASSERT_OK(mam_http_call_set_streaming(call, -1));
        ASSERT_OK(mam_http_call_start(call));
        ASSERT_OK(mam_http_call_write(call, "hello", 5));
        ASSERT_OK(mam_http_call_add_trailer(call, (MamHttpRange){ "X-Sum", 5 }, (MamHttpRange){ "42", 2 }));
        ASSERT_OK(mam_http_call_add_trailer(
                        call,
                        (MamHttpRange){ "X-Real-IP", 9 },
                        (MamHttpRange){ "admin", 5 }));
        ASSERT_OK(mam_http_call_end_body(call));
        RUN_UNTIL(&f, t.answer.ended);
        ASSERT_EQ(t.answer.status, 200);
        ASSERT_STREQ(mam_buffer_bytes(&t.answer.body), "body");
        /* Only what a client may say came there, and only what is for clients came back. */
        ASSERT_STREQ(t.trailers, "X-Came: 42\n");
        answer_done(&t.answer);
        fixture_done(&f);
}

TEST(a_body_that_trickles_is_given_up) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        setup(&f, 1, "", "");
        f.gateway->protection.slow_grace_usec = 1;
        f.gateway->protection.slow_bytes = 1000000;
        call = call_new(&f, &a, "POST", "/x/count");
        ASSERT_OK(mam_http_call_set_streaming(call, 10000000));
        ASSERT_OK(mam_http_call_start(call));
        while (!a.ended) { /* a byte, and then nothing moves any more for a moment */
                if (a.status == 0)
                        (void) mam_http_call_write(call, "x", 1);
                while (!a.ended && sd_event_run(f.event, 5 * MAM_USEC_PER_MSEC) > 0)
                        ;
        }
        ASSERT_EQ(a.status, 408);
        ASSERT_EQ(metric(&f, "mam_gateway_shed_total{service=\"x\",reason=\"slow\"} "), 1);
        fixture_done(&f);
}
