/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What gateways tell, and what it adds up to; the manager around it
 */

#include <math.h>

#include "libmam/util/buffer.h"
#include "libmam/util/file.h"
#include "manager/autoscaler.h"
#include "manager/load.h"
#include "manager/manager-fixture.h"

#define SEC MAM_USEC_PER_SEC

TEST(bounds_grow_by_the_root_of_two) {
        ASSERT_EQ(load_bound_usec(0), 100);
        ASSERT_EQ(load_bound_usec(1), 141);
        ASSERT_EQ(load_bound_usec(2), 200);
        ASSERT_EQ(load_bound_usec(20), 102400);
        ASSERT_TRUE(load_bound_usec(LOAD_BUCKETS - 2) > 52 * SEC);
        ASSERT_EQ(load_bound_usec(LOAD_BUCKETS - 1), UINT64_MAX);
}

TEST(quantiles_are_interpolated_in_their_bucket) {
        LoadTotals t = { .requests = 0 };

        ASSERT_TRUE(load_quantile_usec(&t, 0.5) < 0);
        t.buckets[2] = 100; /* 141 to 200 µs */
        ASSERT_TRUE(fabs(load_quantile_usec(&t, 0.5) - (141.42 + 200) / 2) < 0.1);
        ASSERT_TRUE(fabs(load_quantile_usec(&t, 1) - 200) < 0.1);
        t.buckets[10] = 100; /* 2262 to 3200 µs */
        ASSERT_TRUE(fabs(load_quantile_usec(&t, 0.5) - 200) < 0.1);
        ASSERT_TRUE(fabs(load_quantile_usec(&t, 0.75) - (2262.7 + 3200) / 2) < 1);
        t.buckets[LOAD_BUCKETS - 1] = 1000;
        ASSERT_TRUE(load_quantile_usec(&t, 0.99) > 50e6 && isfinite(load_quantile_usec(&t, 0.99)));
}

TEST(a_difference_is_never_negative) {
        LoadTotals a = { .requests = 10, .errors = 1 }, b = { .requests = 4, .errors = 3 };

        a.buckets[3] = 5;
        b.buckets[3] = 2;
        b.buckets[4] = 9;
        a = load_since(&a, &b);
        ASSERT_TRUE(a.requests == 6 && a.errors == 0 && a.buckets[3] == 3 && a.buckets[4] == 0);
}

/* ---- answers ---- */

typedef struct Said {
        uint64_t started_usec;
        const char *replica;
        unsigned requests, errors, in_flight, waiting;
} Said;

static int tell(Fixture *f, uint32_t gateway, const Said *said, uint64_t now_usec) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;

        ASSERT_OK(mam_buffer_appendf(
                        &b,
                        "{\"started_usec\":%llu,\"bounds_usec\":[",
                        (unsigned long long) said->started_usec));
        for (unsigned i = 0; i + 1 < LOAD_BUCKETS; i++) {
                ASSERT_OK(mam_buffer_appendf(
                                &b,
                                "%s%llu",
                                i > 0 ? "," : "",
                                (unsigned long long) load_bound_usec(i)));
        }
        ASSERT_OK(mam_buffer_appendf(
                        &b,
                        "],\"services\":{\"alpha\":{\"waiting\":%u},\"other\":{\"waiting\":1}},\"replicas\":{\"%s\":"
                        "{\"in_flight\":%u,\"requests\":%u,\"errors\":%u,\"latency\":[%u",
                        said->waiting,
                        said->replica,
                        said->in_flight,
                        said->requests,
                        said->errors,
                        said->requests));
        for (unsigned i = 1; i < LOAD_BUCKETS; i++)
                ASSERT_OK(mam_buffer_append_string(&b, ",0"));
        ASSERT_OK(mam_buffer_append_string(&b, "]}}}"));
        return load_take_answer(f->manager->load, "gate", gateway, mam_buffer_bytes(&b), b.size, now_usec);
}

static Service *service_alpha(Fixture *f) {
        return manager_find_service(f->manager, "alpha");
}

TEST(totals_only_grow_over_gateways_that_begin_anew) {
        uint64_t now = mam_now_monotonic(), later = mam_now_realtime() + 3600 * SEC;
        LoadTotals minute;
        uint64_t span;
        Service *s;
        Fixture f;

        fixture_setup(&f);
        start_alpha(&f, 2);
        s = service_alpha(&f);
        ASSERT_EQ(load_service_in_flight(s), UINT32_MAX);

        /* It has counted since before this manager: its totals are known, but not when they came. */
        ASSERT_OK(tell(&f, 1, &(Said){ .started_usec = 5, .replica = "alpha:1", .requests = 100 }, now));
        ASSERT_EQ(s->load.requests, 100);
        ASSERT_EQ(alpha(&f, 1)->load.requests, 100);
        ASSERT_OK(tell(&f,
                       1,
                       &(Said){ .started_usec = 5,
                                .replica = "alpha:1",
                                .requests = 130,
                                .errors = 2,
                                .in_flight = 3,
                                .waiting = 4 },
                       now + SEC));
        ASSERT_EQ(s->load.requests, 130);
        ASSERT_EQ(s->load.errors, 2);
        ASSERT_EQ(load_service_in_flight(s), 7);
        ASSERT_TRUE(load_service_last_minute(s, now + SEC, &minute, &span));
        ASSERT_EQ(minute.requests, 30);
        ASSERT_EQ(span, SEC);

        /* Another one, that has just begun; then the first one again, begun anew. */
        ASSERT_OK(tell(&f,
                       2,
                       &(Said){ .started_usec = later, .replica = "alpha:1", .requests = 50 },
                       now + 2 * SEC));
        ASSERT_EQ(s->load.requests, 180);
        ASSERT_OK(tell(&f,
                       1,
                       &(Said){ .started_usec = later, .replica = "alpha:1", .requests = 7 },
                       now + 3 * SEC));
        ASSERT_EQ(s->load.requests, 187);
        ASSERT_EQ(alpha(&f, 1)->load.requests, 187);
        /* It counts backwards without having begun anew: believed from there. */
        ASSERT_OK(tell(&f,
                       1,
                       &(Said){ .started_usec = later, .replica = "alpha:1", .requests = 3 },
                       now + 4 * SEC));
        ASSERT_EQ(s->load.requests, 187);
        ASSERT_OK(tell(&f,
                       1,
                       &(Said){ .started_usec = later, .replica = "alpha:1", .requests = 5 },
                       now + 5 * SEC));
        ASSERT_EQ(s->load.requests, 189);

        /* A minute later all of that is past; of what is gone the service still knows. */
        ASSERT_TRUE(load_service_last_minute(s, now + 100 * SEC, &minute, &span));
        ASSERT_EQ(minute.requests, 0);
        ASSERT_EQ(span, 60 * SEC);
        ASSERT_OK(tell(&f,
                       1,
                       &(Said){ .started_usec = later, .replica = "alpha:4", .requests = 9 },
                       now + 101 * SEC));
        ASSERT_EQ(s->load.requests, 198);
        ASSERT_OK(tell(&f,
                       1,
                       &(Said){ .started_usec = later, .replica = "nobody:4", .requests = 9 },
                       now + 102 * SEC));
        ASSERT_EQ(s->load.requests, 198);
        fixture_done(&f);
}

TEST(what_no_gateway_says_is_refused) {
        static const char *const bad[] = {
                "",
                "[]",
                "{\"started_usec\":1}",
                "{\"started_usec\":0,\"bounds_usec\":[],\"replicas\":{}}",
                "{\"started_usec\":1,\"bounds_usec\":[1,2,3],\"replicas\":{}}",
                "{\"started_usec\":-1,\"bounds_usec\":\"x\",\"replicas\":{}}",
        };
        Fixture f;

        fixture_setup(&f);
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                ASSERT_EQ(load_take_answer(f.manager->load, "gate", 1, bad[i], strlen(bad[i]), SEC),
                          -EBADMSG);
        }
        ASSERT_EQ(tell(&f, 1, &(Said){ .started_usec = 1, .replica = "alpha" }, SEC), -EBADMSG);
        ASSERT_EQ(tell(&f, 1, &(Said){ .started_usec = 1, .replica = "alpha:0" }, SEC), -EBADMSG);
        ASSERT_EQ(tell(&f, 1, &(Said){ .started_usec = 1, .replica = "alpha:101" }, SEC), -EBADMSG);
        ASSERT_EQ(tell(&f, 1, &(Said){ .started_usec = 1, .replica = "../alpha:1" }, SEC), -EBADMSG);
        ASSERT_EQ(tell(&f,
                       1,
                       &(Said){ .started_usec = 1, .replica = "alpha:1", .in_flight = 4000000000 },
                       SEC),
                  -EBADMSG);
        ASSERT_TRUE(!service_alpha(&f)->load_known);
        ASSERT_OK(tell(&f, 1, &(Said){ .started_usec = 1, .replica = "alpha:1" }, SEC));
        ASSERT_TRUE(service_alpha(&f)->load_known);
        fixture_done(&f);
}

/* ---- who is connected to a port ---- */

static void write_table(const TestBus *b, const char *name, const char *line) {
        char path[96], text[512];

        snprintf(path, sizeof(path), "%s/%s", b->folder, name);
        snprintf(text, sizeof(text), "  sl  local_address rem_address   st tx_queue rx_queue\n%s\n", line);
        ASSERT_OK(mam_file_write_atomic(path, text, strlen(text), 0644));
}

TEST(connections_to_a_port_are_seen_from_both_ends) {
        static const struct {
                const char *line;
                int want;
        } cases[] = {
                { "   0: 00000000:0BBA 00000000:0000 0A 00000000:00000000", -ENOENT }, /* listens */
                { "   0: 0100007F:0BBA 0100007F:C0DE 01 00000000:00000000", 0 },
                { "   0: 0A00020F:0BBA 0B00020F:C0DE 06 00000000:00000000", 0 },       /* was connected */
                { "   0: 0100007F:C0DE 0100007F:0BBA 06 00000000:00000000", 0 },       /* the other end */
                { "   0: 0A00020F:C0DE 0B00020F:0BBA 01 00000000:00000000", -ENOENT }, /* another host's */
                { "   0: 0100007F:0BBB 0100007F:C0DE 01 00000000:00000000", -ENOENT },
                { "nonsense", -ENOENT },
        };
        TestBus b;

        test_bus_start(&b);
        ASSERT_EQ(port_is_used(b.folder, 3002), -ENODATA);
        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                write_table(&b, "tcp", cases[i].line);
                ASSERT_EQ(port_is_used(b.folder, 3002), cases[i].want);
        }
        write_table(&b,
                    "tcp6",
                    "   0: 00000000000000000000000001000000:0BBA 00000000000000000000000001000000:C0DE 01 0:0");
        ASSERT_EQ(port_is_used(b.folder, 3002), 0);
        test_bus_stop(&b);
}
