/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Outgoing calls: every handler once, every client exactly one answer, and never too many on the wire
 */

#include <errno.h>

#include "libmam/bus/bus-call.h"
#include "libmam/bus/bus-errors.h"
#include "libmam/bus/test-bus.h"
#include "libmam/util/time.h"

#define PEER  "org.manageragent.Test.Peer"
#define ENTRY "org.manageragent.Test.Entry"
#define IFACE "org.manageragent.Test"
#define HELD  8U

typedef struct Fixture Fixture;

typedef struct Outcome {
        Fixture *f;
        unsigned runs;
        unsigned place; /* as which of all it ran, from 1 */
        char error[128];
        char text[32];
        bool take_origin;
        sd_bus_message *taken; /* owned */
        bool add_another;
} Outcome;

struct Fixture {
        TestBus bus;
        sd_bus *own, *peer, *client;
        MamBusCalls *calls;
        sd_bus_message *held[HELD]; /* what the peer has been asked and has not answered */
        size_t n_held, n_asked;
        unsigned n_ran;
        TestAnswers answers;    /* that the client got */
        sd_bus_message *origin; /* owned; the client's latest call */
        Outcome outcomes[HELD];
};

static int method_ask(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        ASSERT_TRUE(f->n_held < HELD);
        f->held[f->n_held++] = sd_bus_message_ref(m);
        f->n_asked++;
        return 1;
}

static int method_enter(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;

        ASSERT_TRUE(!f->origin);
        f->origin = sd_bus_message_ref(m);
        return 1;
}

static const sd_bus_vtable peer_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Ask", "s", "s", method_ask, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable entry_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Enter", NULL, NULL, method_enter, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void fixture_setup(Fixture *f, unsigned in_flight, unsigned waiting) {
        *f = (Fixture){ .n_held = 0 };
        test_bus_start(&f->bus);
        f->peer = test_bus_connect(&f->bus, PEER);
        f->own = test_bus_connect(&f->bus, ENTRY);
        f->client = test_bus_connect(&f->bus, NULL);
        test_answers_count(&f->answers, f->client);
        ASSERT_OK(sd_bus_add_object_vtable(f->peer, NULL, "/", IFACE, peer_vtable, f));
        ASSERT_OK(sd_bus_add_object_vtable(f->own, NULL, "/", IFACE, entry_vtable, f));
        ASSERT_OK(mam_bus_calls_new(&f->calls, f->own, in_flight, waiting));
        for (size_t i = 0; i < HELD; i++)
                f->outcomes[i].f = f;
}

static void fixture_done(Fixture *f) {
        mam_bus_calls_free(f->calls);
        for (size_t i = 0; i < f->n_held; i++)
                sd_bus_message_unref(f->held[i]);
        for (size_t i = 0; i < HELD; i++)
                sd_bus_message_unref(f->outcomes[i].taken);
        sd_bus_message_unref(f->origin);
        test_bus_disconnect(f->client);
        test_bus_disconnect(f->own);
        test_bus_disconnect(f->peer);
        test_bus_stop(&f->bus);
}

static void on_outcome(MamBusCall *call, sd_bus_message *reply, const sd_bus_error *error, void *userdata);

static int try_add(Fixture *f, MamBusCall **ret, size_t i, uint64_t timeout_usec) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_method_call(f->own, &m, PEER, "/", IFACE, "Ask"));
        ASSERT_OK(sd_bus_message_append(m, "s", "?"));
        return mam_bus_calls_add(f->calls, ret, m, timeout_usec, on_outcome, &f->outcomes[i]);
}

static void on_outcome(MamBusCall *call, sd_bus_message *reply, const sd_bus_error *error, void *userdata) {
        Outcome *o = userdata;
        const char *text;

        ASSERT_TRUE(!reply == !!error);
        o->runs++;
        o->place = ++o->f->n_ran;
        if (error) {
                snprintf(o->error, sizeof(o->error), "%s", error->name);
        } else {
                ASSERT_OK(sd_bus_message_read(reply, "s", &text));
                snprintf(o->text, sizeof(o->text), "%s", text);
        }
        if (o->take_origin)
                o->taken = mam_bus_call_take_origin(call);
        if (o->add_another)
                ASSERT_OK(try_add(o->f, NULL, 7, 0));
}

/* Answers the oldest question. */
static void answer(Fixture *f, const char *text) {
        ASSERT_TRUE(f->n_held > 0);
        if (text) {
                ASSERT_OK(sd_bus_reply_method_return(f->held[0], "s", text));
        } else {
                ASSERT_OK(sd_bus_reply_method_errorf(
                                f->held[0],
                                SD_BUS_ERROR_FILE_NOT_FOUND,
                                "no such thing"));
        }
        sd_bus_message_unref(f->held[0]);
        f->n_held--;
        for (size_t i = 0; i < f->n_held; i++)
                f->held[i] = f->held[i + 1];
}

/* A client's call becomes the origin of this one. */
static void give_origin(Fixture *f, MamBusCall *call) {
        sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_method_call(f->client, &m, ENTRY, "/", IFACE, "Enter"));
        test_bus_send(f->client, m);
        RUN_UNTIL(&f->bus, f->origin);
        mam_bus_call_set_origin(call, f->origin);
        f->origin = sd_bus_message_unref(f->origin);
}

/* All that our side has sent to the client is there. Our ping is answered, and counted, too. */
static void settle(Fixture *f) {
        unsigned before = f->answers.n;

        test_bus_settle(&f->bus, f->own, f->client);
        ASSERT_TRUE(f->answers.n >= before);
}

TEST(no_more_than_permitted_are_on_the_wire_and_the_rest_follows_in_order) {
        Fixture f;

        fixture_setup(&f, 2, 3);
        for (size_t i = 0; i < 5; i++)
                ASSERT_OK(try_add(&f, NULL, i, 0));
        ASSERT_EQ(try_add(&f, NULL, 5, 0), -ENOBUFS);
        ASSERT_EQ(mam_bus_calls_size(f.calls), 5);
        RUN_UNTIL(&f.bus, f.n_asked == 2);
        test_bus_settle(&f.bus, f.own, f.peer);
        ASSERT_EQ(f.n_asked, 2);

        answer(&f, "one");
        RUN_UNTIL(&f.bus, f.n_asked == 3);
        ASSERT_EQ(f.outcomes[0].runs, 1);
        ASSERT_OK(try_add(&f, NULL, 5, 0)); /* a place is free again */
        for (size_t i = 1; i < 6; i++) {
                RUN_UNTIL(&f.bus, f.n_held > 0);
                answer(&f, "more");
                RUN_UNTIL(&f.bus, f.n_ran == i + 1);
        }
        for (unsigned i = 0; i < 6; i++) {
                ASSERT_EQ(f.outcomes[i].runs, 1);
                ASSERT_EQ(f.outcomes[i].place, i + 1);
        }
        ASSERT_STREQ(f.outcomes[0].text, "one");
        ASSERT_EQ(mam_bus_calls_size(f.calls), 0);
        fixture_done(&f);
}

TEST(a_peer_that_says_nothing_is_an_error_once) {
        Fixture f;

        fixture_setup(&f, 1, 1);
        ASSERT_OK(try_add(&f, NULL, 0, 20 * MAM_USEC_PER_MSEC));
        RUN_UNTIL(&f.bus, f.n_ran == 1);
        ASSERT_TRUE(strcmp(f.outcomes[0].error, SD_BUS_ERROR_NO_REPLY) == 0 ||
                    strcmp(f.outcomes[0].error, SD_BUS_ERROR_TIMEOUT) == 0 ||
                    strcmp(f.outcomes[0].error, "System.Error.ETIMEDOUT") == 0);
        answer(&f, "too late");
        test_bus_settle(&f.bus, f.peer, f.own);
        ASSERT_EQ(f.outcomes[0].runs, 1);
        fixture_done(&f);
}

TEST(a_peer_that_vanishes_is_an_error_once) {
        Fixture f;

        fixture_setup(&f, 1, 1);
        ASSERT_OK(try_add(&f, NULL, 0, 0));
        ASSERT_OK(try_add(&f, NULL, 1, 0));
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        f.held[0] = sd_bus_message_unref(f.held[0]);
        f.n_held = 0;
        f.peer = test_bus_disconnect(f.peer);
        RUN_UNTIL(&f.bus, f.n_ran == 2);
        ASSERT_STREQ(f.outcomes[0].error, SD_BUS_ERROR_NO_REPLY);
        ASSERT_STREQ(f.outcomes[1].error, SD_BUS_ERROR_SERVICE_UNKNOWN); /* and there is nobody to ask */
        ASSERT_EQ(f.outcomes[0].runs + f.outcomes[1].runs, 2);
        fixture_done(&f);
}

TEST(a_call_taken_back_is_silent_and_its_client_hears_cancelled) {
        MamBusCall *call = NULL, *queued = NULL;
        Fixture f;

        fixture_setup(&f, 1, 2);
        ASSERT_OK(try_add(&f, &call, 0, 0));
        ASSERT_OK(try_add(&f, &queued, 1, 0));
        ASSERT_OK(try_add(&f, NULL, 2, 0));
        give_origin(&f, call);
        ASSERT_TRUE(!mam_bus_call_free(queued)); /* never sent */
        ASSERT_TRUE(!mam_bus_call_free(call));   /* sent, not answered */
        RUN_UNTIL(&f.bus, f.n_asked == 2);       /* the place goes to the third */
        RUN_UNTIL(&f.bus, f.answers.n == 1);
        ASSERT_STREQ(f.answers.error, MAM_BUS_ERROR_CANCELLED);
        answer(&f, "for nobody");
        answer(&f, "for the third");
        RUN_UNTIL(&f.bus, f.n_ran == 1);
        ASSERT_STREQ(f.outcomes[2].text, "for the third");
        ASSERT_EQ(f.outcomes[0].runs + f.outcomes[1].runs, 0);
        settle(&f);
        ASSERT_EQ(f.answers.n, 1);
        fixture_done(&f);
}

TEST(the_end_of_the_queue_answers_everybody_once) {
        MamBusCall *call = NULL, *queued = NULL;
        Fixture f;

        fixture_setup(&f, 1, 2);
        ASSERT_OK(try_add(&f, &call, 0, 0));
        ASSERT_OK(try_add(&f, &queued, 1, 0));
        give_origin(&f, call);
        give_origin(&f, queued);
        f.calls = mam_bus_calls_free(f.calls);
        for (size_t i = 0; i < 2; i++) {
                ASSERT_EQ(f.outcomes[i].runs, 1);
                ASSERT_STREQ(f.outcomes[i].error, MAM_BUS_ERROR_CANCELLED);
        }
        RUN_UNTIL(&f.bus, f.answers.n == 2);
        ASSERT_EQ(f.answers.n_errors, 2);
        ASSERT_STREQ(f.answers.error, MAM_BUS_ERROR_CANCELLED);
        settle(&f);
        ASSERT_EQ(f.answers.n, 2);
        fixture_done(&f);
}

TEST(a_client_gets_the_error_of_its_call) {
        MamBusCall *call = NULL;
        Fixture f;

        fixture_setup(&f, 1, 1);
        ASSERT_OK(try_add(&f, &call, 0, 0));
        give_origin(&f, call);
        RUN_UNTIL(&f.bus, f.n_held == 1);
        answer(&f, NULL);
        RUN_UNTIL(&f.bus, f.answers.n == 1);
        ASSERT_STREQ(f.answers.error, SD_BUS_ERROR_FILE_NOT_FOUND);
        settle(&f);
        ASSERT_EQ(f.answers.n, 1);
        fixture_done(&f);
}

TEST(who_takes_the_client_over_answers_it) {
        MamBusCall *call = NULL;
        Fixture f;

        fixture_setup(&f, 1, 1);
        f.outcomes[0].take_origin = true;
        ASSERT_OK(try_add(&f, &call, 0, 0));
        give_origin(&f, call);
        RUN_UNTIL(&f.bus, f.n_held == 1);
        answer(&f, "done");
        RUN_UNTIL(&f.bus, f.n_ran == 1);
        settle(&f);
        ASSERT_EQ(f.answers.n, 0); /* the call itself said nothing */
        ASSERT_OK(sd_bus_reply_method_return(f.outcomes[0].taken, NULL));
        RUN_UNTIL(&f.bus, f.answers.n == 1);
        ASSERT_EQ(f.answers.n_errors, 0);
        fixture_done(&f);
}

TEST(a_handler_may_add_a_call) {
        Fixture f;

        fixture_setup(&f, 1, 1);
        f.outcomes[0].add_another = true;
        ASSERT_OK(try_add(&f, NULL, 0, 0));
        RUN_UNTIL(&f.bus, f.n_held == 1);
        answer(&f, "first");
        RUN_UNTIL(&f.bus, f.n_held == 1);
        answer(&f, "second");
        RUN_UNTIL(&f.bus, f.outcomes[7].runs == 1);
        ASSERT_STREQ(f.outcomes[7].text, "second");
        fixture_done(&f);
}
