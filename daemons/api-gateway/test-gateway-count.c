/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is counted of requests that go through, and a replica that is woken by one
 */

#include "api-gateway/test-gateway.h"

/* ---- what is counted ---- */

static const LoadEntry *load(Fixture *f, unsigned i) {
        return f->u->endpoints[i]->load;
}

static uint64_t answers(const LoadEntry *e) {
        uint64_t n = 0;

        for (unsigned i = 0; i < LOAD_BUCKETS; i++)
                n += e->buckets[i];
        return n;
}

TEST(load_counts_what_each_replica_did) {
        _cleanup_(mam_http_call_freep) MamHttpCall *call = NULL;
        _cleanup_(answer_done) Answer a = { 0 }, b = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 1);
        for (int i = 0; i < 5; i++)
                ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(load(&f, 0)->requests, 5);
        ASSERT_EQ(load(&f, 0)->errors, 0);
        ASSERT_EQ(answers(load(&f, 0)), 5);
        ASSERT_EQ(load(&f, 0)->in_flight, 0);

        /* a client that leaves is load and not an error */
        call = call_new(&f, &b, "GET", "/x/hold");
        ASSERT_OK(mam_http_call_start(call));
        RUN_UNTIL(&f, f.replicas[0].held);
        ASSERT_EQ(load(&f, 0)->in_flight, 1);
        call = mam_http_call_free(call);
        RUN_UNTIL(&f, load(&f, 0)->in_flight == 0);
        ASSERT_EQ(load(&f, 0)->requests, 6);
        ASSERT_EQ(load(&f, 0)->errors, 0);
        ASSERT_EQ(answers(load(&f, 0)), 5);

        /* the replica's own 503 is one */
        f.replicas[0].busy = true;
        ask(&f, &a, "POST", "/x/echo", "body");
        ASSERT_EQ(a.status, 503);
        ASSERT_EQ(load(&f, 0)->requests, 7);
        ASSERT_EQ(load(&f, 0)->errors, 1);
        ASSERT_EQ(answers(load(&f, 0)), 6);
        ASSERT_EQ(f.u->unserved, 0);
        fixture_done(&f);
}

TEST(a_request_that_moves_on_is_the_load_of_who_answers) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 3);
        f.replicas[0].unready = true;
        for (int i = 0; i < 10; i++) {
                ask(&f, &a, "POST", "/x/echo", "body");
                ASSERT_EQ(a.status, 201);
        }
        ASSERT_EQ(load(&f, 0)->requests, 0);
        ASSERT_EQ(load(&f, 1)->requests, 10);
        ASSERT_EQ(load(&f, 1)->errors, 0);
        fixture_done(&f);
}

TEST(a_broken_answer_is_an_error_even_if_another_replica_helps) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 3, 3);
        f.replicas[0].broken = true;
        for (int i = 0; i < 3; i++) {
                ask(&f, &a, "GET", "/x", NULL);
                ASSERT_EQ(a.status, 200);
        }
        ASSERT_TRUE(load(&f, 0)->errors > 0);
        ASSERT_EQ(load(&f, 0)->errors, load(&f, 0)->requests);
        ASSERT_EQ(answers(load(&f, 0)), 0);
        ASSERT_EQ(load(&f, 1)->requests, 3);
        ASSERT_EQ(f.u->unserved, 0);
        fixture_done(&f);
}

TEST(who_is_served_by_nobody_is_counted_too) {
        _cleanup_(answer_done) Answer a = { 0 };
        Fixture f;

        fixture_setup(&f, 0, 3); /* ready, as somebody says, but not there */
        f.gateway->wait_usec = 30 * MAM_USEC_PER_MSEC;
        ask(&f, &a, "GET", "/x", NULL);
        ASSERT_EQ(a.status, 503);
        ASSERT_EQ(f.u->unserved, 1);
        ASSERT_EQ(f.u->n_waiting, 0);
        ASSERT_EQ(load(&f, 0)->requests, 0);
        fixture_done(&f);
}

/* ---- asleep ---- */

TEST(a_request_wakes_what_sleeps_and_the_others_wait_their_turn) {
        enum {
                CLIENTS = 30
        };
        MamHttpCall *calls[CLIENTS];
        Answer a[CLIENTS] = { 0 };
        unsigned ended = 0;
        EndpointSpec spec;
        int listener;
        Fixture f;

        fixture_setup(&f, 0, 0);
        /* as systemd does: the socket listens, and nobody accepts */
        listener = listen_on(f.replicas[0].path);
        spec = (EndpointSpec){ "x:1", f.replicas[0].path, ENDPOINT_ASLEEP, 1, NULL };
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, &spec, 1));
        for (int i = 0; i < CLIENTS; i++) {
                calls[i] = call_new(&f, &a[i], "GET", "/x");
                ASSERT_OK(mam_http_call_start(calls[i]));
        }
        RUN_UNTIL(&f, f.u->n_waiting == CLIENTS - ENDPOINT_WAKING_MAX);
        ASSERT_EQ(f.u->endpoints[0]->pending, ENDPOINT_WAKING_MAX);

        /* it starts, and says that it is not there yet: nobody is told */
        f.replicas[0].unready = true;
        f.replicas[0].fixture = &f;
        f.replicas[0].number = 1;
        ASSERT_OK(mam_http_server_new(
                        &f.replicas[0].server,
                        f.event,
                        NULL,
                        on_replica_request,
                        &f.replicas[0]));
        ASSERT_OK(mam_http_server_listen(f.replicas[0].server, listener, false, 0));
        RUN_UNTIL(&f, f.replicas[0].n_requests >= 3 * ENDPOINT_WAKING_MAX);
        f.replicas[0].unready = false;
        while (ended < CLIENTS) {
                RUN_UNTIL(&f, a[ended].ended);
                ASSERT_EQ(a[ended].status, 200);
                ended++;
        }
        ASSERT_EQ(load(&f, 0)->requests, CLIENTS);
        ASSERT_EQ(load(&f, 0)->errors, 0);
        for (int i = 0; i < CLIENTS; i++) {
                mam_http_call_free(calls[i]);
                answer_done(&a[i]);
        }
        fixture_done(&f);
}
