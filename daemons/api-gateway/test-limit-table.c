/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/key-hash.h"
#include "api-gateway/limits-internal.h"
#include "libmam/util/test.h"

#define SEC 1000000000ULL

/* Ten a second, five at once. */
static const LimitRate rate = { .interval_nsec = SEC / 10, .burst = 5 };

static bool take(LimitTable *t, uint64_t key, uint64_t now) {
        return limit_table_take(t, &rate, key, UINT32_MAX, now).admitted;
}

TEST(siphash_is_what_its_authors_say) {
        /* Appendix A of the paper: key 00…0f, input 00…0e. */
        KeyHashKey key = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };
        unsigned char in[15];

        for (unsigned i = 0; i < sizeof(in); i++)
                in[i] = (unsigned char) i;
        ASSERT_TRUE(key_hash(&key, in, sizeof(in)) == 0xa129ca6149be45e5ULL);
        ASSERT_TRUE(key_hash(&key, in, 0) == 0x726fdb47dd0e0e31ULL);
        ASSERT_TRUE(key_hash(&key, in, 8) == 0x93f5f5799a932462ULL);
}

TEST(two_processes_hash_differently) {
        KeyHashKey a = key_hash_key_new(), b = key_hash_key_new();

        ASSERT_TRUE(a.k0 != b.k0 || a.k1 != b.k1);
}

TEST(a_burst_and_then_the_rate) {
        _cleanup_(limit_table_freep) LimitTable *t = NULL;
        uint64_t now = 1000 * SEC;
        unsigned n = 0;

        ASSERT_OK(limit_table_new(&t));
        for (unsigned i = 0; i < 20; i++)
                n += take(t, 7, now);
        ASSERT_EQ(n, 5);
        for (unsigned i = 0; i < 1000; i++) { /* ten seconds, a hundred tries in each */
                now += SEC / 100;
                n += take(t, 7, now);
        }
        ASSERT_EQ(n, 5 + 100);
        /* In a long time no more is earned than a burst. */
        now += 3600 * SEC;
        n = 0;
        for (unsigned i = 0; i < 20; i++)
                n += take(t, 7, now);
        ASSERT_EQ(n, 5);
}

TEST(what_is_told_is_what_happens) {
        _cleanup_(limit_table_freep) LimitTable *t = NULL;
        uint64_t now = 1000 * SEC;
        LimitVerdict v;

        ASSERT_OK(limit_table_new(&t));
        for (unsigned i = 0; i < 5; i++) {
                v = limit_table_take(t, &rate, 7, UINT32_MAX, now);
                ASSERT_TRUE(v.admitted);
                ASSERT_EQ(v.remaining, 4 - i);
                ASSERT_EQ(v.reset_nsec, (i + 1) * SEC / 10);
        }
        v = limit_table_take(t, &rate, 7, UINT32_MAX, now);
        ASSERT_TRUE(!v.admitted);
        ASSERT_EQ(v.reset_nsec, SEC / 10);
        /* One nanosecond before it is too early, and then it is not. */
        ASSERT_TRUE(!take(t, 7, now + SEC / 10 - 1));
        ASSERT_TRUE(take(t, 7, now + SEC / 10));
}

TEST(keys_do_not_share) {
        _cleanup_(limit_table_freep) LimitTable *t = NULL;

        ASSERT_OK(limit_table_new(&t));
        for (uint64_t key = 0; key < 4; key++) {
                unsigned n = 0;

                for (unsigned i = 0; i < 9; i++)
                        n += take(t, key + 10, SEC);
                ASSERT_EQ(n, 5);
        }
        limit_table_clear(t);
        ASSERT_TRUE(take(t, 10, SEC));
        ASSERT_TRUE(limit_table_find(t, 10) && !limit_table_find(t, 11));
}

TEST(what_is_given_back_can_be_taken_again) {
        _cleanup_(limit_table_freep) LimitTable *t = NULL;

        ASSERT_OK(limit_table_new(&t));
        for (unsigned i = 0; i < 50; i++) {
                LimitVerdict v = limit_table_take(t, &rate, 7, UINT32_MAX, SEC);

                ASSERT_TRUE(v.admitted);
                limit_table_return(v.entry, &rate);
        }
        ASSERT_EQ(limit_table_find(t, 7)->unsent, 0);
}

TEST(a_share_bounds_what_one_gateway_gives) {
        _cleanup_(limit_table_freep) LimitTable *t = NULL;
        LimitVerdict v;
        unsigned n = 0;

        ASSERT_OK(limit_table_new(&t));
        for (unsigned i = 0; i < 9; i++) {
                v = limit_table_take(t, &rate, 7, 2, SEC);
                n += v.admitted;
        }
        ASSERT_EQ(n, 2);
        v.entry->unsent = 0; /* the others know */
        v.entry->share = 1;
        ASSERT_TRUE(limit_table_take(t, &rate, 7, 2, SEC).admitted);
        ASSERT_TRUE(!limit_table_take(t, &rate, 7, 2, SEC).admitted);
}

/* Against an exact account of everybody: whatever is made up and pushed out, each that is admitted had it.
 */
TEST(nobody_gets_more_by_pushing_others_out) {
        enum {
                KEYS = 400
        }; /* of one set of eight */
        static uint64_t exact[KEYS];
        _cleanup_(limit_table_freep) LimitTable *t = NULL;
        uint64_t now = 1000 * SEC, all = rate.interval_nsec * rate.burst, random = 88172645463325252ULL;
        unsigned admitted = 0;

        ASSERT_OK(limit_table_new(&t));
        for (unsigned i = 0; i < 200000; i++) {
                unsigned k;

                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                /* Half of all are of few that try hard, the others of many. */
                k = random % 2 ? (unsigned) (random >> 8) % 4 : (unsigned) (random >> 8) % KEYS;
                now += random >> 40 & 0xfffff;
                if (!take(t, (uint64_t) (k + 1) * LIMIT_TABLE_SETS, now))
                        continue;
                exact[k] = (exact[k] > now ? exact[k] : now) + rate.interval_nsec;
                ASSERT_TRUE(exact[k] - now <= all);
                admitted++;
        }
        /* And it is no wall either: some set of eight gives at least what one key may have. */
        ASSERT_TRUE(admitted > (now - 1000 * SEC) / rate.interval_nsec);
}

TEST(places_are_found_again_when_their_owners_owe_nothing) {
        _cleanup_(limit_table_freep) LimitTable *t = NULL;

        ASSERT_OK(limit_table_new(&t));
        for (uint64_t i = 1; i <= 100000; i++) /* each a second after the one before */
                ASSERT_EQ(limit_table_take(t, &rate, i * 2654435761U, UINT32_MAX, i * SEC).remaining, 4);
}

TEST(a_network_of_ipv6_is_one_address) {
        unsigned char a[8], b[8];

        ASSERT_EQ(limit_address("2001:db8:1:2::1", a), 8);
        ASSERT_EQ(limit_address("2001:db8:1:2:ffff:ffff:ffff:ffff", b), 8);
        ASSERT_EQ(memcmp(a, b, 8), 0);
        ASSERT_EQ(limit_address("2001:db8:1:3::1", b), 8);
        ASSERT_TRUE(memcmp(a, b, 8) != 0);
        ASSERT_EQ(limit_address("192.0.2.1", a), 4);
        ASSERT_EQ(limit_address("192.0.2.2", b), 4);
        ASSERT_TRUE(memcmp(a, b, 4) != 0);
        ASSERT_EQ(limit_address("::ffff:192.0.2.1", b), 4); /* the same host by another socket */
        ASSERT_EQ(memcmp(a, b, 4), 0);
        ASSERT_EQ(limit_address("", a), 0);
        ASSERT_EQ(limit_address("unix:uid=998", a), 0);
}

TEST(a_new_rate_keeps_what_was_used) {
        static const LimitRate slower = { .interval_nsec = SEC, .burst = 5 };
        _cleanup_(limit_table_freep) LimitTable *t = NULL;

        ASSERT_OK(limit_table_new(&t));
        for (unsigned i = 0; i < 3; i++)
                ASSERT_TRUE(take(t, 7, 1000 * SEC));
        limit_table_rescale(t, &rate, &slower, 1000 * SEC);
        ASSERT_EQ(limit_remaining(limit_table_find(t, 7), &slower, 1000 * SEC), 2);
}
