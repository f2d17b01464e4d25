/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/lasting.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

typedef struct Thing {
        Lasting lasting;
        unsigned n_idle, n_leaving, n_overdue;
} Thing;

static const int server;

static void on_expire(Lasting *l, LastingEnd why) {
        Thing *thing = (Thing *) l;

        if (why == LASTING_OVERDUE)
                thing->n_overdue++;
        else
                thing->n_idle += why == LASTING_IDLE, thing->n_leaving += why == LASTING_LEAVING;
}

TEST(places_are_counted_in_all_and_per_caller) {
        MamGatewayWebsocket config = { .max = 3, .max_per_caller = 2, .idle_usec = MAM_USEC_PER_SEC };
        LastingTable *t;
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(lasting_table_new(&t, event));
        lasting_table_configure(t, &config);
        ASSERT_EQ(lasting_admit(t, 1), LASTING_ADMIT_YES);
        ASSERT_EQ(lasting_admit(t, 1), LASTING_ADMIT_YES);
        ASSERT_EQ(lasting_admit(t, 1), LASTING_ADMIT_CALLER_FULL);
        ASSERT_EQ(lasting_admit(t, 1 + 1024), LASTING_ADMIT_YES); /* the same bucket, somebody else */
        ASSERT_EQ(lasting_admit(t, 2), LASTING_ADMIT_FULL);
        ASSERT_EQ(lasting_admitted(t), 3);
        lasting_release(t, 1);
        ASSERT_EQ(lasting_admit(t, 1), LASTING_ADMIT_YES);
        lasting_release(t, 1);
        lasting_release(t, 1);
        lasting_release(t, 1 + 1024);
        ASSERT_EQ(lasting_admitted(t), 0);

        config.max = 0;
        lasting_table_configure(t, &config);
        ASSERT_EQ(lasting_admit(t, 1), LASTING_ADMIT_FULL);
        lasting_table_free(t);
        sd_event_unref(event);
}

static void run_for(sd_event *event, const unsigned *until) {
        for (uint64_t end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC; *until == 0;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                ASSERT_OK(sd_event_run(event, 100000));
        }
}

TEST(silence_is_told_and_what_does_not_end_is_told_again) {
        MamGatewayWebsocket config = { .max = 3, .max_per_caller = 2, .idle_usec = MAM_USEC_PER_SEC };
        Thing silent = { .n_idle = 0 }, gone = { .n_idle = 0 };
        LastingTable *t;
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(lasting_table_new(&t, event));
        lasting_table_configure(t, &config);
        lasting_add(t, &silent.lasting, &server, on_expire);
        lasting_add(t, &gone.lasting, &server, on_expire);
        lasting_remove(&gone.lasting);
        lasting_remove(&gone.lasting);
        run_for(event, &silent.n_idle);
        ASSERT_TRUE(silent.lasting.closing);
        ASSERT_EQ(silent.n_overdue, 0);

        lasting_touch(&silent.lasting); /* does not help any more */
        run_for(event, &silent.n_overdue);
        ASSERT_EQ(silent.n_idle, 1);
        ASSERT_EQ(gone.n_idle + gone.n_overdue, 0);
        lasting_remove(&silent.lasting);
        lasting_table_free(t);
        sd_event_unref(event);
}

/* Who moves goes behind those that do not. */
TEST(movement_counts) {
        MamGatewayWebsocket config = { .max = 3, .max_per_caller = 2, .idle_usec = 2 * MAM_USEC_PER_SEC };
        Thing silent = { .n_idle = 0 }, lively = { .n_idle = 0 };
        LastingTable *t;
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(lasting_table_new(&t, event));
        lasting_table_configure(t, &config);
        lasting_add(t, &lively.lasting, &server, on_expire);
        lasting_add(t, &silent.lasting, &server, on_expire);
        for (uint64_t end = mam_now_monotonic() + 20 * MAM_USEC_PER_SEC; silent.n_idle == 0;) {
                ASSERT_TRUE(mam_now_monotonic() < end);
                ASSERT_OK(sd_event_run(event, 50000));
                lasting_touch(&lively.lasting);
        }
        ASSERT_EQ(lively.n_idle, 0);
        lasting_remove(&lively.lasting);
        lasting_remove(&silent.lasting);
        lasting_table_free(t);
        sd_event_unref(event);
}

TEST(those_of_one_server_can_be_told_to_go) {
        static const int other;
        Thing a = { .n_idle = 0 }, b = { .n_idle = 0 }, c = { .n_idle = 0 };
        LastingTable *t;
        sd_event *event;

        ASSERT_OK(sd_event_new(&event));
        ASSERT_OK(lasting_table_new(&t, event));
        lasting_add(t, &a.lasting, &server, on_expire);
        lasting_add(t, &b.lasting, &other, on_expire);
        lasting_add(t, &c.lasting, &server, on_expire);
        lasting_leave(t, &server);
        lasting_leave(t, &server); /* once is enough */
        ASSERT_EQ(a.n_leaving, 1);
        ASSERT_EQ(b.n_leaving, 0);
        ASSERT_EQ(c.n_leaving, 1);
        ASSERT_TRUE(a.lasting.closing && !b.lasting.closing && c.lasting.closing);
        lasting_remove(&a.lasting);
        lasting_remove(&b.lasting);
        lasting_remove(&c.lasting);
        lasting_table_free(t);
        sd_event_unref(event);
}
