/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sets of endpoints: what survives a change, who is picked, who is ejected
 */

#include <string.h>

#include "api-gateway/gateway.h"
#include "api-gateway/test-configure.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        sd_event *event;
        MamMetrics *metrics;
        Gateway *gateway;
        Upstream *u;
} Fixture;

static void fixture_setup(Fixture *f) {
        *f = (Fixture){ 0 };
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(gateway_new(&f->gateway, f->event, f->metrics));
        configure(f->gateway, CONFIGURE_X);
        f->u = gateway_find_upstream(f->gateway, "x");
        ASSERT_TRUE(f->u);
}

static void fixture_done(Fixture *f) {
        gateway_free(f->gateway);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
}

static const char *pick(Fixture *f, uint64_t now) {
        bool is_full;
        Endpoint *e = upstream_pick(f->u, &(UpstreamWish){ 0 }, now, &is_full);

        return e ? e->id : "none";
}

static Endpoint *pick_again(Fixture *f, const uint64_t *tried, size_t n_tried, uint64_t now) {
        bool is_full;

        return upstream_pick(f->u, &(UpstreamWish){ .tried = tried, .n_tried = n_tried }, now, &is_full);
}

TEST(only_ready_endpoints_are_picked) {
        static const EndpointSpec specs[] = {
                { "x:1", "/run/x1", ENDPOINT_UNREADY, 1, NULL },
                { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL },
                { "x:3", "/run/x3", ENDPOINT_DRAINING, 1, NULL },
                { "x:4", "/run/x4", ENDPOINT_READY, 0, NULL },
                { "x:5", "no address", ENDPOINT_READY, 1, NULL },
                { "x:2", "/run/again", ENDPOINT_READY, 1, NULL },
        };
        Fixture f;

        fixture_setup(&f);
        ASSERT_STREQ(pick(&f, 1), "none");
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, MAM_ELEMENTSOF(specs)));
        ASSERT_EQ(f.u->n_endpoints, 4); /* without the bad address and the second of a name */
        for (int i = 0; i < 5; i++)
                ASSERT_STREQ(pick(&f, 1), "x:2");
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, NULL, 0));
        ASSERT_STREQ(pick(&f, 1), "none");
        fixture_done(&f);
}

TEST(what_stays_keeps_its_connections_and_what_is_ready_again_starts_anew) {
        EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL },
                                 { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL } };
        MamHttpClient *client;
        Endpoint *e;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        e = f.u->endpoints[1];
        client = e->client;
        endpoint_succeeded(e, 5000, MAM_USEC_PER_SEC);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs + 1, 1));
        ASSERT_EQ(f.u->n_endpoints, 1);
        ASSERT_TRUE(f.u->endpoints[0] == e && e->client == client);
        ASSERT_EQ(e->stats.cost_usec, 5000);

        specs[1].state = ENDPOINT_UNREADY;
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs + 1, 1));
        ASSERT_EQ(e->stats.cost_usec, 5000);
        specs[1].state = ENDPOINT_READY;
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs + 1, 1));
        ASSERT_EQ(e->stats.cost_usec, 0);

        /* at another address it is another endpoint */
        specs[1].address = "/run/x2b";
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs + 1, 1));
        ASSERT_STREQ(f.u->endpoints[0]->address, "/run/x2b");
        fixture_done(&f);
}

TEST(an_endpoint_in_use_outlives_the_set) {
        static const EndpointSpec spec = { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL };
        Endpoint *e;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, &spec, 1));
        e = pick_again(&f, NULL, 0, 1);
        endpoint_begin(e);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, NULL, 0));
        ASSERT_EQ(f.u->n_endpoints, 0);
        ASSERT_STREQ(e->id, "x:1");
        ASSERT_EQ(e->pending, 1);
        endpoint_end(e); /* frees it: the sanitiser watches */
        fixture_done(&f);
}

TEST(who_refuses_is_ejected_but_never_the_last) {
        static const EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL },
                                              { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL } };
        uint64_t now = 100 * MAM_USEC_PER_SEC, serial;
        Endpoint *one, *two;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        one = f.u->endpoints[0];
        two = f.u->endpoints[1];

        endpoint_failed(one, now);
        for (int i = 0; i < 10; i++)
                ASSERT_STREQ(pick(&f, now), "x:2");
        /* what was tried is not asked again: then the ejected one is better than none */
        serial = two->serial;
        ASSERT_TRUE(pick_again(&f, &serial, 1, now) == one);

        endpoint_failed(two, now);
        ASSERT_TRUE(strcmp(pick(&f, now), "none") != 0);

        /* short at first, longer with each failure, and forgotten with the first success */
        ASSERT_TRUE(one->ejected_until_usec <= now + MAM_USEC_PER_SEC);
        for (int i = 0; i < 20; i++) {
                now = one->ejected_until_usec;
                endpoint_failed(one, now);
        }
        ASSERT_EQ(one->ejected_until_usec - now, 10 * MAM_USEC_PER_SEC);
        endpoint_succeeded(one, 100, now);
        ASSERT_EQ(one->ejected_until_usec, 0);
        fixture_done(&f);
}

TEST(retries_are_a_share_of_requests) {
        unsigned spent = 0;
        Fixture f;

        fixture_setup(&f);
        for (int i = 0; i < 1000; i++) {
                upstream_earn_retry(f.u);
                spent += upstream_spend_retry(f.u);
        }
        ASSERT_TRUE(spent >= 200 && spent <= 211);
        fixture_done(&f);
}

TEST(routes_in_conflict_are_left_out_and_the_first_stays) {
        Fixture f;

        fixture_setup(&f);
        configure(f.gateway,
                  "{\"services\":{\"x\":{\"routes\":[\"/x\"]},\"y\":{\"routes\":[\"/y\",\"/x\"]}}}");
        ASSERT_EQ(route_table_size(f.gateway->routes), 2);
        ASSERT_STREQ(route_table_find(f.gateway->routes, "/x")->service, "x");
        ASSERT_TRUE(gateway_find_upstream(f.gateway, "y"));
        configure(f.gateway, CONFIGURE_X);
        ASSERT_TRUE(!gateway_find_upstream(f.gateway, "y")); /* nobody was on the way there */
        fixture_done(&f);
}

static unsigned count(Fixture *f, const char *id, int picks, uint64_t now) {
        unsigned n = 0;

        for (int i = 0; i < picks; i++)
                n += strcmp(pick(f, now), id) == 0;
        return n;
}

static void set_canary(Fixture *f, uint32_t old, uint32_t new) {
        static const EndpointSpec specs[] = {
                { "x:1", "/run/x1", ENDPOINT_READY, 1, "old" },
                { "x:2", "/run/x2", ENDPOINT_READY, 1, "old" },
                { "x:3", "/run/x3", ENDPOINT_READY, 1, "new" },
                { "x:4", "/run/x4", ENDPOINT_READY, 1, "other" },
        };

        upstream_set_split(f->u, (const SplitShare[]){ { "old", old }, { "new", new } }, 2);
        ASSERT_OK(gateway_set_endpoints(f->gateway, f->u, specs, MAM_ELEMENTSOF(specs)));
}

TEST(a_canary_has_its_share_however_slow_it_is) {
        uint64_t now = 100 * MAM_USEC_PER_SEC;
        Fixture f;

        fixture_setup(&f);
        set_canary(&f, 950, 50);
        endpoint_struggled(f.u->endpoints[2], 0, now);
        for (int i = 0; i < 40; i++)
                endpoint_begin(f.u->endpoints[2]);
        ASSERT_EQ(count(&f, "x:3", 1000, now), 50);
        for (int i = 0; i < 40; i++)
                endpoint_end(f.u->endpoints[2]);

        /* and inside a group cost decides, and equals take turns although another group comes between */
        set_canary(&f, 500, 500);
        ASSERT_EQ(count(&f, "x:1", 1000, now), 250);
        endpoint_struggled(f.u->endpoints[0], 0, now);
        endpoint_succeeded(f.u->endpoints[1], 1000, now);
        ASSERT_EQ(count(&f, "x:2", 1000, now), 500);
        fixture_done(&f);
}

TEST(who_is_not_in_the_split_gets_nothing) {
        uint64_t tried[3], now = 100 * MAM_USEC_PER_SEC;
        Fixture f;

        fixture_setup(&f);
        set_canary(&f, 1000, 0);
        ASSERT_EQ(count(&f, "x:1", 100, now) + count(&f, "x:2", 100, now), 100);
        ASSERT_EQ(count(&f, "x:4", 100, now), 0);

        /* not even another try, and a share of nothing is none */
        for (size_t i = 0; i < 3; i++)
                tried[i] = f.u->endpoints[i]->serial;
        ASSERT_TRUE(!pick_again(&f, tried, 2, now));
        ASSERT_TRUE(!upstream_has_endpoint(f.u, tried, 2, now));
        set_canary(&f, 999, 1);
        ASSERT_TRUE(upstream_has_endpoint(f.u, tried, 2, now));
        ASSERT_TRUE(pick_again(&f, tried, 2, now) == f.u->endpoints[2]);
        ASSERT_TRUE(!pick_again(&f, tried, 3, now));

        /* without a split the groups do not matter */
        upstream_set_split(f.u, NULL, 0);
        ASSERT_EQ(count(&f, "x:4", 100, now), 25);
        fixture_done(&f);
}

TEST(the_share_of_a_group_that_refuses_goes_to_the_others) {
        uint64_t now = 100 * MAM_USEC_PER_SEC;
        Fixture f;

        fixture_setup(&f);
        set_canary(&f, 500, 500);
        endpoint_failed(f.u->endpoints[2], now);
        ASSERT_EQ(count(&f, "x:3", 100, now), 0);
        ASSERT_EQ(count(&f, "x:3", 100, f.u->endpoints[2]->ejected_until_usec), 50);

        /* looking whether there is one takes nobody's turn */
        for (int i = 0; i < 333; i++)
                ASSERT_TRUE(upstream_has_endpoint(f.u, NULL, 0, now + MAM_USEC_PER_SEC));
        ASSERT_EQ(count(&f, "x:3", 1000, now + MAM_USEC_PER_SEC), 500);
        fixture_done(&f);
}

TEST(what_sleeps_is_woken_if_nothing_is_ready_and_not_trampled) {
        EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_ASLEEP, 1, NULL },
                                 { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL } };
        uint64_t now = 100 * MAM_USEC_PER_SEC;
        Endpoint *e;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        e = f.u->endpoints[0];
        ASSERT_EQ(count(&f, "x:1", 10, now), 0);
        ASSERT_EQ(upstream_ready(f.u), 1);
        specs[1].state = ENDPOINT_DRAINING;
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        ASSERT_EQ(count(&f, "x:1", 10, now), 10);
        ASSERT_TRUE(upstream_is_waking(f.u));

        /* a few at once, until it has answered */
        for (unsigned i = 0; i < ENDPOINT_WAKING_MAX; i++)
                endpoint_begin(pick_again(&f, NULL, 0, now));
        ASSERT_STREQ(pick(&f, now), "none");
        ASSERT_TRUE(!upstream_has_endpoint(f.u, NULL, 0, now));
        /* it is not up yet: again in a moment, not in a quarter of a second */
        endpoint_failed(e, now);
        ASSERT_TRUE(e->ejected_until_usec <= now + 10 * MAM_USEC_PER_MSEC);
        for (unsigned i = 0; i < 20; i++)
                endpoint_failed(e, e->ejected_until_usec);
        endpoint_failed(e, now = e->ejected_until_usec);
        ASSERT_TRUE(e->ejected_until_usec <= now + 100 * MAM_USEC_PER_MSEC);
        endpoint_succeeded(e, 1000, now);
        ASSERT_STREQ(pick(&f, now), "x:1");

        /* a split is for those that run */
        upstream_set_split(f.u, (const SplitShare[]){ { "new", 1000 } }, 1);
        ASSERT_STREQ(pick(&f, now), "x:1");

        /* asleep again is not awake any more */
        specs[0].state = ENDPOINT_READY;
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        specs[0].state = ENDPOINT_ASLEEP;
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        ASSERT_STREQ(pick(&f, now), "none");
        for (unsigned i = 0; i < ENDPOINT_WAKING_MAX; i++)
                endpoint_end(e);
        fixture_done(&f);
}

TEST(a_newcomer_gets_its_share_little_by_little) {
        static const EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL },
                                              { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL } };
        Endpoint *taken[220];
        uint64_t now;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 1));
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        now = f.u->endpoints[1]->ready_usec;
        ASSERT_TRUE(now > 0 && f.u->endpoints[0]->ready_usec == 0);
        for (unsigned i = 0; i < 110; i++)
                endpoint_begin(taken[i] = pick_again(&f, NULL, 0, now));
        ASSERT_TRUE(f.u->endpoints[1]->pending >= 8 && f.u->endpoints[1]->pending <= 12);
        /* Ten seconds later it is like the other one, and catches up. */
        now += BALANCER_SLOW_START_USEC;
        for (unsigned i = 110; i < 220; i++)
                endpoint_begin(taken[i] = pick_again(&f, NULL, 0, now));
        ASSERT_EQ(f.u->endpoints[0]->pending, 110);
        for (unsigned i = 0; i < MAM_ELEMENTSOF(taken); i++)
                endpoint_end(taken[i]);
        fixture_done(&f);
}

TEST(no_room_is_another_matter_than_nobody_there) {
        static const EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL },
                                              { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL } };
        uint64_t now = 100 * MAM_USEC_PER_SEC;
        bool is_full = false;
        MamGatewayLimits c;
        Fixture f;

        fixture_setup(&f);
        mam_gateway_limits_init(&c);
        c.adaptive = false;
        c.concurrency_max = 2;
        protection_configure(f.gateway, &c);
        ASSERT_TRUE(!upstream_pick(f.u, &(UpstreamWish){ 0 }, now, &is_full) && !is_full);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        for (unsigned i = 0; i < 4; i++)
                endpoint_work(pick_again(&f, NULL, 0, now + i));
        /* Who waits for room does not go to one that is out of turn. */
        endpoint_rest(f.u->endpoints[0]);
        endpoint_failed(f.u->endpoints[0], now);
        ASSERT_TRUE(!upstream_pick(f.u, &(UpstreamWish){ 0 }, now, &is_full) && is_full);
        ASSERT_TRUE(!upstream_has_endpoint(f.u, NULL, 0, now));
        endpoint_rest(f.u->endpoints[1]);
        ASSERT_STREQ(pick(&f, now), "x:2");
        /* More room is there at once. */
        c.concurrency_max = 3;
        protection_configure(f.gateway, &c);
        endpoint_work(f.u->endpoints[1]);
        ASSERT_STREQ(pick(&f, now), "x:2");
        fixture_done(&f);
}

TEST(what_others_send_to_a_replica_counts) {
        static const EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL },
                                              { "x:2", "/run/x2", ENDPOINT_READY, 1, NULL } };
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, specs, 2));
        f.u->endpoints[0]->elsewhere = 5;
        ASSERT_EQ(count(&f, "x:2", 10, MAM_USEC_PER_SEC), 10);
        fixture_done(&f);
}

TEST(who_stays_in_a_group_stays_in_it) {
        uint64_t now = 100 * MAM_USEC_PER_SEC;
        unsigned canary = 0;
        Fixture f;

        fixture_setup(&f);
        set_canary(&f, 500, 500);
        for (uint64_t user = 0; user < 64; user++) {
                UpstreamWish wish = { .how = { .kind = BALANCER_AFFINITY, .affinity = user << 58 },
                                      .sticky = true };
                bool is_full;
                Endpoint *first = upstream_pick(f.u, &wish, now, &is_full);

                for (int i = 0; i < 5; i++)
                        ASSERT_TRUE(upstream_pick(f.u, &wish, now, &is_full) == first);
                canary += strcmp(first->group, "new") == 0;
        }
        ASSERT_EQ(canary, 32);
        fixture_done(&f);
}
