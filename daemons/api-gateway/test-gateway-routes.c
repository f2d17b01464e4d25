/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What routes do to requests, and what happens to requests when the routes change
 */

#include <string.h>

#include "api-gateway/status.h"
#include "api-gateway/test-configure.h"
#include "api-gateway/test-gateway.h"
#include "libmam/json/json.h"

/* The service x has these routes from now on. */
static void set_routes(Fixture *f, const char *routes) {
        _cleanup_(mam_freep) char *text = NULL;

        ASSERT_TRUE(asprintf(&text,
                             "{\"environment\":\"test\",\"services\":{\"x\":{\"routes\":%s,\"protocol\":\"http1\"}}}",
                             routes) > 0);
        configure(f->gateway, text);
}

static void ask_nobody(Fixture *f, Answer *a, const char *target, const char *accept) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;

        mam_buffer_done(&a->body);
        *a = (Answer){ 0 };
        ASSERT_OK(mam_http_call_new(&call, f->client, "GET", target, &client_callbacks, a));
        if (accept)
                ASSERT_OK(mam_http_call_add_field(call, "Accept", accept));
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(f, a->ended);
}

TEST(what_no_route_takes_is_said_precisely) {
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        set_routes(&f,
                   "[{\"prefix\":\"/x\",\"methods\":[\"GET\",\"PUT\"]},{\"prefix\":\"/v\",\"version\":1}]");
        ask(&f, &a, "DELETE", "/x/a", NULL);
        ASSERT_EQ(a.status, 405);
        ASSERT_TRUE(has(a.fields, "Allow: GET, PUT\n"));
        ask(&f, &a, "GET", "/y", NULL);
        ASSERT_EQ(a.status, 404);
        ask_nobody(&f, &a, "/x", NULL);
        ASSERT_EQ(a.status, 401);
        ask_nobody(&f, &a, "/y", NULL); /* who is nobody learns nothing */
        ASSERT_EQ(a.status, 401);
        ask(&f, &a, "GET", "/x/a%2fb", NULL);
        ASSERT_EQ(a.status, 400);
        set_routes(&f, "[{\"prefix\":\"/x\",\"encodedSlash\":true}]");
        ask(&f, &a, "GET", "/x/a%2fb", NULL);
        ASSERT_EQ(a.status, 200);
        answer_done(&a);
        fixture_done(&f);
}

TEST(fields_are_changed_both_ways) {
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        set_routes(&f,
                   "[{\"prefix\":\"/x\",\"requestHeaders\":{\"set\":{\"User-Agent\":\"gateway\"},\"add\":{\"X-More\":\"1\"}},"
                   "\"responseHeaders\":{\"set\":{\"ETag\":\"\\\"9\\\"\"},\"remove\":[\"Set-Cookie\"]},"
                   "\"deprecated\":\"2026-01-01\",\"sunset\":\"2027-01-01T12:00:00Z\",\"successor\":\"/y\"}]");
        ask(&f, &a, "GET", "/x/a", NULL);
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(has(f.replicas[0].seen, "User-Agent: gateway\n"));
        ASSERT_TRUE(has(f.replicas[0].seen, "X-More: 1\n"));
        ASSERT_TRUE(has(a.fields, "ETag: \"9\"\n"));
        ASSERT_TRUE(!has(a.fields, "\"7\"") && !has(a.fields, "Set-Cookie"));
        ASSERT_TRUE(has(a.fields, "Deprecation: @1767225600\n"));
        ASSERT_TRUE(has(a.fields, "Sunset: Fri, 01 Jan 2027 12:00:00 GMT\n"));
        ASSERT_TRUE(has(a.fields, "Link: </y>; rel=\"successor-version\"\n"));
        answer_done(&a);
        fixture_done(&f);
}

TEST(maintenance_lets_some_pass_and_talks_to_others_in_their_way) {
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        set_routes(&f,
                   "[{\"prefix\":\"/x\",\"maintenance\":{\"retryAfter\":\"5min\",\"message\":\"<b>\",\"roles\":[\"viewer\"]}}]");
        ask(&f, &a, "GET", "/x/a", NULL); /* ada is a viewer */
        ASSERT_EQ(a.status, 200);
        ask_nobody(&f, &a, "/x/a", NULL);
        ASSERT_EQ(a.status, 503);
        ASSERT_TRUE(has(a.fields, "Retry-After: 300\n") && has(a.fields, "application/problem+json"));
        ask_nobody(&f, &a, "/x/a", "text/html, application/json");
        ASSERT_EQ(a.status, 503);
        ASSERT_TRUE(has(a.fields, "text/html"));
        ASSERT_OK(mam_buffer_append(&a.body, "", 1));
        ASSERT_TRUE(strstr(mam_buffer_bytes(&a.body), "&lt;b&gt;"));
        answer_done(&a);
        fixture_done(&f);
}

TEST(faults_come_in_their_share_and_never_in_production) {
        static const char production[] =
                        "{\"environment\":\"production\",\"services\":{\"x\":{\"routes\":[{\"prefix\":\"/x\","
                        "\"fault\":{\"abort\":502}}],\"protocol\":\"http1\"}}}";
        unsigned n = 0;
        Answer a = { 0 };
        uint64_t before;
        Fixture f;

        fixture_setup(&f, 1, 1);
        set_routes(&f, "[{\"prefix\":\"/x\",\"fault\":{\"abort\":502,\"abortPercent\":25}}]");
        for (int i = 0; i < 40; i++) {
                ask(&f, &a, "GET", "/x/a", NULL);
                n += a.status == 502;
        }
        ASSERT_EQ(n, 10);
        ASSERT_EQ(f.replicas[0].n_requests, 30);

        set_routes(&f, "[{\"prefix\":\"/x\",\"fault\":{\"delay\":\"50ms\"}}]");
        before = mam_now_monotonic();
        ask(&f, &a, "GET", "/x/a", NULL);
        ASSERT_EQ(a.status, 200);
        ASSERT_TRUE(mam_now_monotonic() - before >= 50 * MAM_USEC_PER_MSEC);

        configure(f.gateway, production);
        ask(&f, &a, "GET", "/x/a", NULL);
        ASSERT_EQ(a.status, 200);
        answer_done(&a);
        fixture_done(&f);
}

TEST(a_client_that_leaves_during_a_delay_leaves_nothing_behind) {
        MamHttpCall *call;
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        set_routes(&f, "[{\"prefix\":\"/x\",\"fault\":{\"delay\":\"30s\"}}]");
        call = call_new(&f, &a, "GET", "/x/a");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, mam_http_server_in_flight(f.server) == 1);
        mam_http_call_free(call);
        RUN_UNTIL(&f, mam_http_server_in_flight(f.server) == 0);
        ASSERT_EQ(f.replicas[0].n_requests, 0);
        fixture_done(&f);
}

TEST(a_request_goes_on_with_what_it_began_with) {
        MamHttpCall *call;
        Answer held = { 0 }, a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        call = call_new(&f, &held, "GET", "/x/hold");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.replicas[0].held);

        /* The service goes while a request is on its way to it … */
        configure(f.gateway, "{}");
        ask(&f, &a, "GET", "/x/a", NULL);
        ASSERT_EQ(a.status, 404);
        ASSERT_TRUE(gateway_find_upstream(f.gateway, "x"));
        ASSERT_OK(mam_http_exchange_respond(f.replicas[0].held, 200, "text/plain", "late", 4));
        RUN_UNTIL(&f, held.ended);
        ASSERT_EQ(held.status, 200);
        ASSERT_EQ(held.error, 0);
        mam_http_call_free(call);

        /* … and is forgotten when that has ended. */
        RUN_UNTIL(&f, TAILQ_EMPTY(&f.gateway->forwards));
        gateway_reap(f.gateway);
        ASSERT_TRUE(!gateway_find_upstream(f.gateway, "x"));
        answer_done(&a);
        answer_done(&held);
        fixture_done(&f);
}

TEST(bodies_are_bounded_per_route) {
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        set_routes(&f, "[{\"prefix\":\"/x\",\"bodyLimit\":4}]");
        ask(&f, &a, "POST", "/x/echo", "12345");
        ASSERT_EQ(a.status, 413);
        ask(&f, &a, "POST", "/x/echo", "1234");
        ASSERT_EQ(a.status, 201);
        answer_done(&a);
        fixture_done(&f);
}

TEST(the_status_tells_counts_and_replicas) {
        _cleanup_(json_object_putp) json_object *o = NULL;
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        json_object *list, *row, *v;
        Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 1, 1);
        ask(&f, &a, "GET", "/x/a", NULL);
        RUN_UNTIL(&f, TAILQ_EMPTY(&f.gateway->forwards));
        set_routes(&f, "[\"/x\",{\"prefix\":\"/z\",\"fault\":{\"abort\":502},\"auth\":\"none\"}]");
        ASSERT_OK(status_format(f.gateway, &b, mam_now_monotonic()));
        ASSERT_OK(mam_json_parse(&o, mam_buffer_bytes(&b), b.size, NULL));
        ASSERT_TRUE(json_object_object_get_ex(o, "routes", &list));
        row = json_object_array_get_idx(list, 0);
        ASSERT_TRUE(json_object_object_get_ex(row, "requests", &v));
        ASSERT_EQ(json_object_get_int64(v), 1); /* of the table before */
        row = json_object_array_get_idx(list, 1);
        ASSERT_TRUE(json_object_object_get_ex(row, "marks", &v));
        ASSERT_STREQ(mam_json_to_string(v), "[\"fault\",\"anonymous\"]");
        ASSERT_TRUE(json_object_object_get_ex(o, "upstreams", &list));
        row = json_object_array_get_idx(list, 0);
        ASSERT_TRUE(json_object_object_get_ex(row, "endpoints", &v));
        ASSERT_EQ(json_object_array_length(v), REPLICAS);
        answer_done(&a);
        fixture_done(&f);
}
