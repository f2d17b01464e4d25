/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Two gateways that tell each other through a real Redis
 */

#include <signal.h>
#include <string.h>

#include "api-gateway/limits-internal.h"
#include "api-gateway/test-configure.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define GATEWAYS 2U
#define CONFIG                                                                              \
        "{\"gateway\":{\"limits\":{\"rates\":{"                                             \
        "\"slow\":{\"requests\":100,\"per\":\"1h\",\"by\":\"all\",\"everywhere\":true}}}}," \
        "\"services\":{\"x\":{\"routes\":[\"/x\"],\"protocol\":\"http1\"}}}"

typedef struct Fixture {
        MamTestServer redis;
        char address[96];
        sd_event *event;
        MamMetrics *metrics[GATEWAYS];
        Gateway *gateways[GATEWAYS];
} Fixture;

#define RUN_UNTIL(f, condition)                                                      \
        do {                                                                         \
                uint64_t _end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC;         \
                while (!(condition)) {                                               \
                        ASSERT_OK(sd_event_run((f)->event, 20 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                     \
                }                                                                    \
        } while (0)

static void fixture_setup(Fixture *f) {
        static const EndpointSpec spec = { "x:1", "/run/nothing.sock", ENDPOINT_READY, 1, NULL };

        *f = (Fixture){ 0 };
        mam_test_server_init(&f->redis);
        mam_test_redis_start(&f->redis, NULL);
        (void) snprintf(f->address, sizeof(f->address), "%s/redis.sock", f->redis.folder);
        ASSERT_OK(sd_event_new(&f->event));
        for (unsigned i = 0; i < GATEWAYS; i++) {
                ASSERT_OK(mam_metrics_new(&f->metrics[i]));
                ASSERT_OK(gateway_new(&f->gateways[i], f->event, f->metrics[i]));
                ASSERT_OK(mam_redis_new(&f->gateways[i]->redis, f->event, f->address, NULL));
                configure(f->gateways[i], CONFIG);
                ASSERT_OK(gateway_set_endpoints(
                                f->gateways[i],
                                gateway_find_upstream(f->gateways[i], "x"),
                                &spec,
                                1));
                ASSERT_OK(share_new(&f->gateways[i]->share, f->gateways[i]));
        }
        for (unsigned i = 0; i < GATEWAYS; i++)
                RUN_UNTIL(f, mam_redis_is_connected(f->gateways[i]->redis));
}

static void fixture_done(Fixture *f) {
        for (unsigned i = 0; i < GATEWAYS; i++) {
                gateway_free(f->gateways[i]);
                mam_metrics_free(f->metrics[i]);
        }
        sd_event_unref(f->event);
        mam_test_server_done(&f->redis);
}

/* One request that everybody shares the bucket of: the decision alone. */
static bool take(Gateway *g) {
        _cleanup_(limit_rule_unrefp) LimitRule *rule = limits_find(g->limits, "slow");

        ASSERT_TRUE(rule);
        return limits_take(g->limits, rule);
}

static bool all_know(const Fixture *f, unsigned n) {
        bool all = true;

        for (unsigned i = 0; i < GATEWAYS; i++) {
                share_poke(f->gateways[i]->share); /* as a request does */
                all = all && share_gateways(f->gateways[i]->share) == n;
        }
        return all;
}

TEST(a_limit_holds_for_all_together_and_is_used_up_by_one) {
        unsigned taken[GATEWAYS] = { 0 }, before;
        Fixture f;

        fixture_setup(&f);
        RUN_UNTIL(&f, all_know(&f, GATEWAYS));
        /* Each takes what it can get, for as long as there is any. */
        for (unsigned quiet = 0; quiet < 20;) {
                before = taken[0] + taken[1];
                for (unsigned i = 0; i < GATEWAYS; i++)
                        while (take(f.gateways[i]))
                                taken[i]++;
                ASSERT_OK(sd_event_run(f.event, 20 * MAM_USEC_PER_MSEC));
                quiet = taken[0] + taken[1] == before ? quiet + 1 : 0;
        }
        printf("# of 100: %u and %u\n", taken[0], taken[1]);
        /* All of it is given, and hardly more: one a gateway may come on top each time that it is not sure.
         */
        ASSERT_TRUE(taken[0] + taken[1] >= 100 && taken[0] + taken[1] <= 100 + 2 * GATEWAYS);
        ASSERT_TRUE(taken[0] >= 30 && taken[1] >= 30);
        fixture_done(&f);
}

TEST(what_replicas_do_for_the_others_counts) {
        Endpoint *mine, *theirs;
        Fixture f;

        fixture_setup(&f);
        mine = gateway_find_upstream(f.gateways[0], "x")->endpoints[0];
        theirs = gateway_find_upstream(f.gateways[1], "x")->endpoints[0];
        for (unsigned i = 0; i < 7; i++)
                endpoint_begin(theirs);
        RUN_UNTIL(&f, all_know(&f, GATEWAYS) && mine->elsewhere == 7);
        ASSERT_EQ(theirs->elsewhere, 0);
        for (unsigned i = 0; i < 7; i++)
                endpoint_end(theirs);
        RUN_UNTIL(&f, all_know(&f, GATEWAYS) && mine->elsewhere == 0);

        /* A gateway that is gone is forgotten. */
        f.gateways[1]->share = share_free(f.gateways[1]->share);
        RUN_UNTIL(&f, (share_poke(f.gateways[0]->share), share_gateways(f.gateways[0]->share) == 1));
        fixture_done(&f);
}

TEST(without_redis_each_keeps_the_limit_alone) {
        unsigned n = 0;
        Fixture f;

        fixture_setup(&f);
        RUN_UNTIL(&f, all_know(&f, GATEWAYS));
        for (unsigned i = 0; i < 30; i++)
                n += take(f.gateways[0]);
        mam_test_server_kill(&f.redis, SIGKILL);
        RUN_UNTIL(&f, (share_poke(f.gateways[0]->share), share_gateways(f.gateways[0]->share) == 1));
        while (take(f.gateways[0]))
                n++;
        ASSERT_EQ(n, 100);
        fixture_done(&f);
}

TEST(parts_add_up_to_no_more_than_there_is) {
        static const LimitRate slow = { .interval_nsec = 36000000000ULL, .burst = 100 };

        ASSERT_EQ(limit_share(&slow, 100, 1), UINT32_MAX);
        ASSERT_EQ(limit_share(&slow, 100, 4), 25);
        ASSERT_EQ(limit_share(&slow, 3, 4), 1);
        /* What is earned until the next report is divided too. */
        ASSERT_EQ(limit_share(&(LimitRate){ 1000000, 100 }, 0, 2), 50);
}
