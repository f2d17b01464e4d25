/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sets of endpoints: what survives a change, who is picked, who is ejected
 */

#include <string.h>

#include "api-gateway/gateway.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Fixture {
        sd_event *event;
        MamMetrics *metrics;
        Gateway *gateway;
        Upstream *u;
} Fixture;

static void fixture_setup(Fixture *f) {
        static const char *const prefixes[] = { "/x", NULL };
        const char *bad = NULL;

        *f = (Fixture){ 0 };
        ASSERT_OK(sd_event_new(&f->event));
        ASSERT_OK(mam_metrics_new(&f->metrics));
        ASSERT_OK(gateway_new(&f->gateway, f->event, f->metrics, 0));
        ASSERT_OK(gateway_add_service(f->gateway, "x", prefixes, &bad));
        f->u = gateway_find_upstream(f->gateway, "x");
        ASSERT_TRUE(f->u);
}

static void fixture_done(Fixture *f) {
        gateway_free(f->gateway);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
}

static const char *pick(Fixture *f, uint64_t now) {
        Endpoint *e = upstream_pick(f->u, NULL, 0, now);

        return e ? e->id : "none";
}

TEST(only_ready_endpoints_are_picked) {
        static const EndpointSpec specs[] = {
                { "x:1", "/run/x1", ENDPOINT_UNREADY, 1 },  { "x:2", "/run/x2", ENDPOINT_READY, 1 },
                { "x:3", "/run/x3", ENDPOINT_DRAINING, 1 }, { "x:4", "/run/x4", ENDPOINT_READY, 0 },
                { "x:5", "no address", ENDPOINT_READY, 1 }, { "x:2", "/run/again", ENDPOINT_READY, 1 },
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
        EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1 },
                                 { "x:2", "/run/x2", ENDPOINT_READY, 1 } };
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
        static const EndpointSpec spec = { "x:1", "/run/x1", ENDPOINT_READY, 1 };
        Endpoint *e;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, &spec, 1));
        e = upstream_pick(f.u, NULL, 0, 1);
        endpoint_begin(e);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, NULL, 0));
        ASSERT_EQ(f.u->n_endpoints, 0);
        ASSERT_STREQ(e->id, "x:1");
        ASSERT_EQ(e->pending, 1);
        endpoint_end(e); /* frees it: the sanitiser watches */
        fixture_done(&f);
}

TEST(who_refuses_is_ejected_but_never_the_last) {
        static const EndpointSpec specs[] = { { "x:1", "/run/x1", ENDPOINT_READY, 1 },
                                              { "x:2", "/run/x2", ENDPOINT_READY, 1 } };
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
        ASSERT_TRUE(upstream_pick(f.u, &serial, 1, now) == one);

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

TEST(bad_routes_are_named) {
        static const char *const prefixes[] = { "/y", "y", "/x", NULL };
        const char *bad = NULL;
        Fixture f;

        fixture_setup(&f);
        ASSERT_EQ(gateway_add_service(f.gateway, "y", prefixes, &bad), -EINVAL);
        ASSERT_STREQ(bad, "y");
        ASSERT_EQ(route_table_size(f.gateway->routes), 2); /* the good one is used, and x keeps its own */
        fixture_done(&f);
}
