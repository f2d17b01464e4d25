/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is counted for the manager, and how it reads
 */

#include <math.h>
#include <string.h>

#include "api-gateway/gateway.h"
#include "api-gateway/test-configure.h"
#include "libmam/json/json.h"
#include "libmam/util/test.h"

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
}

static void fixture_done(Fixture *f) {
        gateway_free(f->gateway);
        mam_metrics_free(f->metrics);
        sd_event_unref(f->event);
}

static json_object *format(Fixture *f) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        json_object *o = NULL;

        ASSERT_OK(load_format(f->gateway, &b));
        ASSERT_OK(mam_json_parse(&o, mam_buffer_bytes(&b), b.size, NULL));
        return o;
}

/* "replicas/x:1/requests" */
static int64_t number(json_object *o, const char *path) {
        char copy[128], *save = NULL;

        (void) snprintf(copy, sizeof(copy), "%s", path);
        for (char *key = strtok_r(copy, "/", &save); key; key = strtok_r(NULL, "/", &save))
                if (json_object_is_type(o, json_type_array))
                        o = json_object_array_get_idx(o, (size_t) atoi(key));
                else if (!json_object_object_get_ex(o, key, &o))
                        return -1;
        ASSERT_TRUE(json_object_is_type(o, json_type_int));
        return json_object_get_int64(o);
}

TEST(buckets_grow_by_the_square_root_of_two) {
        for (unsigned i = 0; i < LOAD_BUCKETS - 1; i++) {
                double want = 100.0 * pow(2.0, (double) i / 2.0);

                ASSERT_EQ(load_bound_usec(i), (uint64_t) (want + 0.5));
                ASSERT_EQ(load_bucket(load_bound_usec(i)), i);
                ASSERT_EQ(load_bucket(load_bound_usec(i) + 1), i + 1);
        }
        ASSERT_TRUE(load_bound_usec(LOAD_BUCKETS - 1) == UINT64_MAX);
        ASSERT_EQ(load_bucket(0), 0);
        ASSERT_EQ(load_bucket(UINT64_MAX), LOAD_BUCKETS - 1);
}

TEST(every_duration_is_in_the_bucket_that_a_search_finds) {
        for (uint64_t v = 0; v < 100000000; v += 1 + v / 5000) {
                unsigned i = 0;

                while (v > load_bound_usec(i))
                        i++;
                ASSERT_EQ(load_bucket(v), i);
        }
}

TEST(counts_are_told_as_the_manager_reads_them) {
        LoadEntry *e = NULL;
        json_object *o;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(load_acquire(f.gateway->load, &e, "x:1"));
        load_count(e, false, 90);
        load_count(e, false, 150);
        load_count(e, true, 150);
        load_count(e, true, MAM_USEC_INFINITY);
        e->in_flight = 3;
        f.u->unserved = 2;

        o = format(&f);
        ASSERT_EQ(number(o, "replicas/x:1/requests"), 4);
        ASSERT_EQ(number(o, "replicas/x:1/errors"), 2);
        ASSERT_EQ(number(o, "replicas/x:1/in_flight"), 3);
        ASSERT_EQ(number(o, "replicas/x:1/latency/0"), 1);
        ASSERT_EQ(number(o, "replicas/x:1/latency/1"), 0);
        ASSERT_EQ(number(o, "replicas/x:1/latency/2"), 2);
        ASSERT_EQ(number(o, "replicas/x:1/latency/39"), 0);
        ASSERT_EQ(number(o, "bounds_usec/0"), 100);
        ASSERT_EQ(number(o, "bounds_usec/38"), 52428800);
        ASSERT_EQ(number(o, "services/x/waiting"), 0);
        ASSERT_EQ(number(o, "services/x/unserved"), 2);
        ASSERT_TRUE(number(o, "started_usec") > 0);
        json_object_put(o);

        e->in_flight = 0;
        load_release(e);
        fixture_done(&f);
}

TEST(counters_outlive_the_endpoint_but_not_for_ever) {
        EndpointSpec spec = { "x:1", "/run/x1", ENDPOINT_READY, 1, NULL };
        LoadEntry *e = NULL;
        json_object *o;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, &spec, 1));
        load_count(f.u->endpoints[0]->load, false, 100);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, NULL, 0));
        o = format(&f);
        ASSERT_EQ(number(o, "replicas/x:1/requests"), 1);
        json_object_put(o);

        /* back, at another address even: the same replica */
        spec.address = "/run/elsewhere";
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, &spec, 1));
        ASSERT_EQ(f.u->endpoints[0]->load->requests, 1);
        ASSERT_OK(gateway_set_endpoints(f.gateway, f.u, NULL, 0));

        for (unsigned i = 0; i < LOAD_LEFT_MAX; i++) {
                char id[32];

                (void) snprintf(id, sizeof(id), "y:%u", i);
                ASSERT_OK(load_acquire(f.gateway->load, &e, id));
                load_release(e);
        }
        o = format(&f);
        ASSERT_EQ(number(o, "replicas/x:1/requests"), -1);
        ASSERT_EQ(number(o, "replicas/y:0/requests"), 0);
        json_object_put(o);
        fixture_done(&f);
}

TEST(an_odd_name_is_still_json) {
        LoadEntry *e = NULL;
        json_object *o;
        Fixture f;

        fixture_setup(&f);
        ASSERT_OK(load_acquire(f.gateway->load, &e, "x\"\\\n:1"));
        o = format(&f);
        ASSERT_EQ(number(o, "replicas/x\"\\\n:1/requests"), 0);
        json_object_put(o);
        load_release(e);
        fixture_done(&f);
}
