/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Shares of groups: exact in each window, evenly spread, and whole when a group cannot take its own
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api-gateway/split.h"
#include "libmam/util/test.h"

#define ALL UINT32_MAX

static void set(Split *s, const SplitShare *shares, size_t n) {
        *s = (Split){ 0 };
        split_set(s, shares, n);
}

TEST(every_window_of_a_thousand_holds_the_share) {
        static const uint32_t shares[][4] = {
                { 950, 50 },       { 750, 250 }, { 1, 999 },          { 500, 500 },
                { 333, 333, 334 }, { 0, 1000 },  { 700, 200, 99, 1 },
        };

        for (size_t k = 0; k < sizeof(shares) / sizeof(shares[0]); k++) {
                SplitShare given[4] = { { "a", shares[k][0] },
                                        { "b", shares[k][1] },
                                        { "c", shares[k][2] },
                                        { "d", shares[k][3] } };
                int picked[3000];
                Split s;

                set(&s, given, 4);
                for (int i = 0; i < 3000; i++)
                        picked[i] = split_pick(&s, ALL);
                for (int start = 0; start <= 2000; start++) {
                        unsigned n[4] = { 0 };

                        for (int i = start; i < start + 1000; i++)
                                n[picked[i]]++;
                        for (int g = 0; g < 4; g++)
                                ASSERT_EQ(n[g], shares[k][g]);
                }
        }
}

TEST(a_small_share_is_served_at_low_rates_and_evenly) {
        int last = -1, first = -1;
        Split s;

        set(&s, (const SplitShare[]){ { "old", 950 }, { "new", 50 } }, 2);
        for (int i = 0; i < 2000; i++) {
                if (split_pick(&s, ALL) != 1)
                        continue;
                if (first < 0)
                        first = i;
                else
                        ASSERT_EQ(i - last, 20);
                last = i;
        }
        ASSERT_TRUE(first >= 0 && first < 20);
}

TEST(who_cannot_take_a_request_gives_its_share_to_the_others) {
        unsigned n[3] = { 0 };
        Split s;

        set(&s, (const SplitShare[]){ { "a", 600 }, { "b", 200 }, { "c", 200 } }, 3);
        for (int i = 0; i < 800; i++) /* in proportion to theirs */
                n[split_pick(&s, 1U << 0 | 1U << 2)]++;
        ASSERT_EQ(n[0], 600);
        ASSERT_EQ(n[1], 0);
        ASSERT_EQ(n[2], 200);

        /* and is not owed anything when it is back */
        memset(n, 0, sizeof(n));
        for (int i = 0; i < 1000; i++)
                n[split_pick(&s, ALL)]++;
        ASSERT_EQ(n[0], 600);
        ASSERT_EQ(n[1], 200);
        ASSERT_EQ(n[2], 200);

        ASSERT_EQ(split_pick(&s, 0), -ENOENT);
        ASSERT_EQ(split_pick(&s, 1U << 3), -ENOENT);
}

TEST(credits_stay_small_whoever_comes_and_goes) {
        unsigned seed = 7;
        Split s;

        set(&s, (const SplitShare[]){ { "a", 500 }, { "b", 300 }, { "c", 150 }, { "d", 50 } }, 4);
        for (int i = 0; i < 200000; i++) {
                int64_t sum = 0;

                (void) split_pick(&s, (uint32_t) (rand_r(&seed) % 16));
                for (size_t g = 0; g < s.n; g++) {
                        ASSERT_TRUE(s.groups[g].credit > -3000 && s.groups[g].credit < 3000);
                        sum += s.groups[g].credit;
                }
                ASSERT_EQ(sum, 0);
        }
}

TEST(nothing_without_a_share) {
        Split s;

        set(&s, (const SplitShare[]){ { "old", 1000 }, { "new", 0 } }, 2);
        for (int i = 0; i < 100; i++)
                ASSERT_EQ(split_pick(&s, ALL), 0);
        /* not even if nobody else is there: it was told to get nothing */
        ASSERT_EQ(split_pick(&s, 1U << 1), -ENOENT);
        set(&s, NULL, 0);
        ASSERT_EQ(split_pick(&s, ALL), -ENOENT);
}

TEST(the_same_shares_again_do_not_begin_anew) {
        static const SplitShare shares[] = { { "old", 900 }, { "new", 100 } };
        unsigned n = 0;
        Split s;

        set(&s, shares, 2);
        for (int i = 0; i < 1000; i++) {
                split_set(&s, shares, 2);
                n += split_pick(&s, ALL) == 1;
        }
        ASSERT_EQ(n, 100);
        split_set(&s, (const SplitShare[]){ { "old", 500 }, { "new", 500 } }, 2);
        ASSERT_EQ(s.groups[0].credit, 0);
}

TEST(what_does_not_fit_is_left_out) {
        char name[100];
        SplitShare many[SPLIT_GROUPS_MAX + 3],
                        odd[] = { { "a", 1 }, { "a", 2 }, { name, 3 }, { "b", UINT32_MAX } };
        char names[SPLIT_GROUPS_MAX + 3][8];
        Split s;

        memset(name, 'n', sizeof(name) - 1);
        name[sizeof(name) - 1] = '\0';
        set(&s, odd, 4);
        ASSERT_EQ(s.n, 2);
        ASSERT_EQ(split_find(&s, "a"), 0);
        ASSERT_EQ(split_find(&s, "b"), 1);
        ASSERT_EQ(split_find(&s, name), -ENOENT);
        ASSERT_EQ(s.groups[0].share, 1);
        ASSERT_TRUE(s.groups[1].share < UINT32_MAX);

        for (size_t i = 0; i < SPLIT_GROUPS_MAX + 3; i++) {
                (void) snprintf(names[i], sizeof(names[i]), "g%zu", i);
                many[i] = (SplitShare){ names[i], 1 };
        }
        set(&s, many, SPLIT_GROUPS_MAX + 3);
        ASSERT_EQ(s.n, SPLIT_GROUPS_MAX);
}

/* A number for each of many users, spread as hashes are. */
static uint64_t user(uint64_t i) {
        i = (i + 1) * 0x9e3779b97f4a7c15ULL;
        i = (i ^ i >> 32) * 0xff51afd7ed558ccdULL;
        return i ^ i >> 32;
}

TEST(users_stay_in_their_group_and_shares_hold_in_the_mean) {
        enum {
                USERS = 100000
        };
        static int before[USERS];
        unsigned canary = 0, back = 0;
        Split s = { 0 };

        split_set(&s, (const SplitShare[]){ { "old", 950 }, { "new", 50 } }, 2);
        for (unsigned i = 0; i < USERS; i++) {
                before[i] = split_pick_for(&s, 3, user(i));
                ASSERT_EQ(split_pick_for(&s, 3, user(i)), before[i]);
                canary += before[i] == 1;
        }
        ASSERT_TRUE(canary > USERS * 48 / 1000 && canary < USERS * 52 / 1000);

        /* As the canary grows, nobody who has it loses it. */
        split_set(&s, (const SplitShare[]){ { "old", 750 }, { "new", 250 } }, 2);
        canary = 0;
        for (unsigned i = 0; i < USERS; i++) {
                int now = split_pick_for(&s, 3, user(i));

                canary += now == 1;
                back += before[i] == 1 && now != 1;
        }
        ASSERT_TRUE(canary > USERS * 245 / 1000 && canary < USERS * 255 / 1000);
        ASSERT_EQ(back, 0);

        /* Who has nobody in his group goes to another one; where there is no share there is no group. */
        for (unsigned i = 0; i < 100; i++)
                ASSERT_EQ(split_pick_for(&s, 1, user(i)), 0);
        ASSERT_EQ(split_pick_for(&s, 0, 1), -ENOENT);
        ASSERT_EQ(split_pick_for(&s, 3, UINT64_MAX), 1);
}
