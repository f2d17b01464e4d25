/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asking polkit: the test is polkitd, the daemon and its clients
 */

#include <stdbool.h>
#include <unistd.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/bus/bus-polkit.h"
#include "libmam/bus/test-bus.h"
#include "libmam/util/macro.h"

#define NAME    "org.manageragent.Test.Daemon"
#define IFACE   "org.manageragent.Test"
#define ACTION  "org.manageragent.test.act"
#define OTHER   "org.manageragent.test.other"
#define ASKED   (MAM_POLKIT_CHECKS_MAX + 1)
#define CLIENTS (MAM_POLKIT_CHECKS_MAX / MAM_POLKIT_CHECKS_PER_SENDER + 1)

typedef struct Client {
        sd_bus *bus;
        TestAnswers answers;
} Client;

typedef struct Fixture {
        TestBus bus;
        sd_bus *polkitd, *own;
        Client clients[CLIENTS];
        MamPolkit *polkit;

        /* the daemon's handler */
        unsigned n_passes, n_acts, n_forgotten;
        const char *second_action, *second_detail; /* what it asks about when it runs again */
        bool forgets;                              /* it does not ask again */

        /* polkitd */
        sd_bus_message *asked[ASKED]; /* owned; not answered yet */
        size_t n_asked;
        char action[64], sender[64], key[32], value[32];
        uint32_t flags;
} Fixture;

/* No vtable: with one, sd-bus would not let it answer nonsense. */
static int on_polkitd_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *kind, *key, *sender, *action, *detail, *value, *cancel_id;
        Fixture *f = userdata;

        if (!sd_bus_message_is_method_call(m, "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization"))
                return 0;
        ASSERT_OK(sd_bus_message_read(m, "(sa{sv})s", &kind, 1, &key, "s", &sender, &action));
        ASSERT_STREQ(kind, "system-bus-name");
        ASSERT_STREQ(key, "name");
        ASSERT_OK(sd_bus_message_read(m, "a{ss}", 1, &detail, &value));
        ASSERT_OK(sd_bus_message_read(m, "us", &f->flags, &cancel_id));
        snprintf(f->action, sizeof(f->action), "%s", action);
        snprintf(f->sender, sizeof(f->sender), "%s", sender);
        snprintf(f->key, sizeof(f->key), "%s", detail);
        snprintf(f->value, sizeof(f->value), "%s", value);
        ASSERT_TRUE(f->n_asked < ASKED);
        f->asked[f->n_asked++] = sd_bus_message_ref(m);
        return 1;
}

static int method_act(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Fixture *f = userdata;
        const char *details[] = { "service", "redis", NULL };
        const char *action = ACTION;
        int r;

        if (f->n_passes++ > 0) {
                if (f->forgets) {
                        f->n_forgotten++;
                        return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "changed my mind");
                }
                if (f->second_action)
                        action = f->second_action;
                if (f->second_detail)
                        details[1] = f->second_detail;
        }
        r = mam_polkit_check(f->polkit, m, action, details, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1;
        f->n_acts++;
        return sd_bus_reply_method_return(m, NULL);
}

static const sd_bus_vtable own_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Act", NULL, NULL, method_act, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void fixture_setup(Fixture *f, bool with_polkitd) {
        *f = (Fixture){ .n_asked = 0 };
        test_bus_start(&f->bus);
        ASSERT_OK(mam_bus_errors_register());
        if (with_polkitd) {
                f->polkitd = test_bus_connect(&f->bus, "org.freedesktop.PolicyKit1");
                ASSERT_OK(sd_bus_add_object(
                                f->polkitd,
                                NULL,
                                "/org/freedesktop/PolicyKit1/Authority",
                                on_polkitd_call,
                                f));
        }
        f->own = test_bus_connect(&f->bus, NAME);
        ASSERT_OK(sd_bus_add_object_vtable(f->own, NULL, "/", IFACE, own_vtable, f));
        ASSERT_OK(mam_polkit_new(&f->polkit, f->own));
}

static void fixture_done(Fixture *f) {
        f->polkit = mam_polkit_free(f->polkit);
        for (size_t i = 0; i < f->n_asked; i++)
                sd_bus_message_unref(f->asked[i]);
        for (size_t i = 0; i < CLIENTS; i++)
                test_bus_disconnect(f->clients[i].bus);
        test_bus_disconnect(f->own);
        test_bus_disconnect(f->polkitd);
        test_bus_stop(&f->bus);
}

static Client *client(Fixture *f, size_t i) {
        Client *c = &f->clients[i];

        if (!c->bus) {
                c->bus = test_bus_connect(&f->bus, NULL);
                test_answers_count(&c->answers, c->bus);
        }
        return c;
}

static void ask(Fixture *f, size_t i, bool interactive) {
        sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_method_call(client(f, i)->bus, &m, NAME, "/", IFACE, "Act"));
        ASSERT_OK(sd_bus_message_set_allow_interactive_authorization(m, interactive));
        test_bus_send(client(f, i)->bus, m);
}

/* polkitd answers the oldest question. */
static void answer(Fixture *f, bool allowed, bool challenge) {
        ASSERT_TRUE(f->n_asked > 0);
        ASSERT_OK(sd_bus_reply_method_return(f->asked[0], "(bba{ss})", (int) allowed, (int) challenge, 0));
        sd_bus_message_unref(f->asked[0]);
        f->n_asked--;
        for (size_t i = 0; i < f->n_asked; i++)
                f->asked[i] = f->asked[i + 1];
}

/* One question through to its answer, which must be the only one. */
static void expect_once(Fixture *f, const char *error) {
        Client *c = client(f, 0);

        RUN_UNTIL(&f->bus, c->answers.n == 1);
        test_bus_settle(&f->bus, f->own, c->bus);
        ASSERT_EQ(c->answers.n, 1);
        ASSERT_EQ(c->answers.n_errors, error ? 1 : 0);
        if (error)
                ASSERT_STREQ(c->answers.error, error);
}

TEST(who_is_allowed_gets_it_done_once) {
        const char *unique = NULL;
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        ASSERT_STREQ(f.action, ACTION);
        ASSERT_OK(sd_bus_get_unique_name(f.clients[0].bus, &unique));
        ASSERT_STREQ(f.sender, unique);
        ASSERT_STREQ(f.key, "service");
        ASSERT_STREQ(f.value, "redis");
        ASSERT_EQ(f.flags, 0);
        ASSERT_EQ(f.n_acts, 0); /* nothing before the answer */
        answer(&f, true, false);
        expect_once(&f, NULL);
        ASSERT_EQ(f.n_passes, 2);
        ASSERT_EQ(f.n_acts, 1);
        fixture_done(&f);
}

TEST(who_is_not_allowed_is_told_so) {
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        answer(&f, false, false);
        expect_once(&f, SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);
}

TEST(who_would_have_to_log_in_is_told_so) {
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, true);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        ASSERT_EQ(f.flags, 1); /* a person may be asked */
        answer(&f, false, true);
        expect_once(&f, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);
}

TEST(a_polkit_that_fails_permits_nothing) {
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        ASSERT_OK(sd_bus_reply_method_errorf(f.asked[0], SD_BUS_ERROR_FAILED, "no idea"));
        expect_once(&f, SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);
}

TEST(a_polkit_that_answers_nonsense_permits_nothing) {
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        ASSERT_OK(sd_bus_reply_method_return(f.asked[0], "s", "yes"));
        expect_once(&f, SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);
}

TEST(a_polkit_that_dies_permits_nothing) {
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        f.asked[0] = sd_bus_message_unref(f.asked[0]);
        f.n_asked = 0;
        f.polkitd = test_bus_disconnect(f.polkitd);
        expect_once(&f, SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);
}

TEST(without_polkit_root_may_and_nobody_else) {
        Fixture f;

        fixture_setup(&f, false);
        ask(&f, 0, false);
        expect_once(&f, geteuid() == 0 ? NULL : SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, geteuid() == 0 ? 1 : 0);
        fixture_done(&f);
}

TEST(an_answer_is_good_for_its_own_question_only) {
        Fixture f;

        fixture_setup(&f, true);
        f.second_detail = "postgresql";
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        answer(&f, true, false);
        expect_once(&f, SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);

        fixture_setup(&f, true);
        f.second_action = OTHER;
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        answer(&f, true, false);
        expect_once(&f, SD_BUS_ERROR_ACCESS_DENIED);
        ASSERT_EQ(f.n_acts, 0);
        fixture_done(&f);
}

TEST(a_sender_has_few_open_questions_and_hinders_nobody) {
        Fixture f;

        fixture_setup(&f, true);
        for (unsigned i = 0; i < MAM_POLKIT_CHECKS_PER_SENDER + 1; i++)
                ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.clients[0].answers.n == 1);
        ASSERT_STREQ(f.clients[0].answers.error, MAM_BUS_ERROR_QUOTA);
        RUN_UNTIL(&f.bus, f.n_asked == MAM_POLKIT_CHECKS_PER_SENDER);

        ask(&f, 1, false);
        RUN_UNTIL(&f.bus, f.n_asked == MAM_POLKIT_CHECKS_PER_SENDER + 1);
        while (f.n_asked > 0)
                answer(&f, true, false);
        RUN_UNTIL(&f.bus, f.clients[1].answers.n == 1);
        RUN_UNTIL(&f.bus, f.clients[0].answers.n == MAM_POLKIT_CHECKS_PER_SENDER + 1);
        ASSERT_EQ(f.clients[0].answers.n_errors, 1);
        ASSERT_EQ(f.n_acts, MAM_POLKIT_CHECKS_PER_SENDER + 1);

        ask(&f, 0, false); /* and may ask again */
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        fixture_done(&f);
}

TEST(senders_that_went_away_leave_nothing_behind) {
        Fixture f;

        fixture_setup(&f, true);
        for (size_t i = 0; i < CLIENTS - 1; i++) {
                for (unsigned k = 0; k < MAM_POLKIT_CHECKS_PER_SENDER; k++)
                        ask(&f, i, false);
        }
        RUN_UNTIL(&f.bus, f.n_asked == MAM_POLKIT_CHECKS_MAX);
        ask(&f, CLIENTS - 1, false); /* all together are too many as well */
        RUN_UNTIL(&f.bus, f.clients[CLIENTS - 1].answers.n == 1);
        ASSERT_STREQ(f.clients[CLIENTS - 1].answers.error, MAM_BUS_ERROR_QUOTA);

        for (size_t i = 0; i < CLIENTS - 1; i++)
                f.clients[i].bus = test_bus_disconnect(f.clients[i].bus);
        while (f.n_asked > 0)
                answer(&f, false, false);
        /* one pass and one more for each of them, and one for the one that was refused */
        RUN_UNTIL(&f.bus, f.n_passes == 2 * MAM_POLKIT_CHECKS_MAX + 1);
        ASSERT_EQ(f.n_acts, 0);

        for (unsigned k = 0; k < MAM_POLKIT_CHECKS_PER_SENDER; k++)
                ask(&f, CLIENTS - 1, false);
        RUN_UNTIL(&f.bus, f.n_asked == MAM_POLKIT_CHECKS_PER_SENDER);
        fixture_done(&f);
}

TEST(an_answer_that_is_not_collected_is_forgotten) {
        Fixture f;

        fixture_setup(&f, true);
        for (unsigned i = 0; i < MAM_POLKIT_CHECKS_PER_SENDER; i++)
                ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == MAM_POLKIT_CHECKS_PER_SENDER);
        f.forgets = true;
        while (f.n_asked > 0)
                answer(&f, true, false);
        RUN_UNTIL(&f.bus, f.clients[0].answers.n == MAM_POLKIT_CHECKS_PER_SENDER);
        ASSERT_EQ(f.n_forgotten, MAM_POLKIT_CHECKS_PER_SENDER);
        ASSERT_EQ(f.n_acts, 0);

        while (sd_event_run(f.bus.event, 0) > 0)
                ; /* they are forgotten when the loop has nothing better to do */
        f.forgets = false;
        for (unsigned i = 0; i < MAM_POLKIT_CHECKS_PER_SENDER; i++)
                ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == MAM_POLKIT_CHECKS_PER_SENDER);
        fixture_done(&f);
}

TEST(the_end_answers_who_still_waits) {
        Fixture f;

        fixture_setup(&f, true);
        ask(&f, 0, false);
        RUN_UNTIL(&f.bus, f.n_asked == 1);
        f.polkit = mam_polkit_free(f.polkit);
        expect_once(&f, MAM_BUS_ERROR_CANCELLED);
        fixture_done(&f);
}
