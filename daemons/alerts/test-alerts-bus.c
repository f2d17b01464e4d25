/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager's word over a real bus: a dbus-daemon of the test's own, and a manager played by the test
 */

#include <string.h>

#include "alerts/alerts-bus.h"
#include "libmam/bus/bus-errors.h"
#include "libmam/bus/test-bus.h"
#include "libmam/obs/log.h"

#define GRACE_USEC (300 * MAM_USEC_PER_MSEC)

typedef struct Fixture {
        TestBus bus;
        AlertTable table;
        AlertsBus *alerts;
        sd_bus *manager;
        sd_bus_slot *vtable;
        const char *fires; /* fingerprints, one letter each */
        unsigned n_lists, n_changes;
        bool fail;
        char *caller; /* unique name of mam-alerts */
} Fixture;

static int method_list_alerts(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Fixture *f = userdata;

        f->n_lists++;
        free(f->caller);
        f->caller = strdup(sd_bus_message_get_sender(m));
        if (f->fail)
                return sd_bus_reply_method_errorf(m, MAM_BUS_ERROR_BUSY, "not now");
        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(sssssst)"));
        for (const char *p = f->fires; *p; p++)
                ASSERT_OK(sd_bus_message_append(
                                reply,
                                "(sssssst)",
                                (char[]){ *p, '\0' },
                                "ServiceDown",
                                "critical",
                                "x",
                                "",
                                "nothing is ready",
                                (uint64_t) 1000));
        ASSERT_OK(sd_bus_message_close_container(reply));
        ASSERT_OK(sd_bus_send(NULL, reply, NULL));
        return 1;
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("ListAlerts", "", "a(sssssst)", method_list_alerts, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static void manager_start(Fixture *f, const char *fires) {
        f->fires = fires;
        f->manager = test_bus_connect(&f->bus, NULL);
        ASSERT_OK(sd_bus_add_object_vtable(
                        f->manager,
                        &f->vtable,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        manager_vtable,
                        f));
        ASSERT_OK(sd_bus_request_name(f->manager, MAM_BUS_NAME, 0));
}

static void manager_stop(Fixture *f) {
        f->vtable = sd_bus_slot_unref(f->vtable);
        f->manager = test_bus_disconnect(f->manager);
}

static void on_change(void *userdata) {
        Fixture *f = userdata;

        f->n_changes++;
}

static void fixture_setup(Fixture *f) {
        *f = (Fixture){ .fires = "" };
        test_bus_start(&f->bus);
        ASSERT_OK(setenv("DBUS_SYSTEM_BUS_ADDRESS", f->bus.address, 1));
        ASSERT_OK(mam_log_set_level("error"));
        alert_table_init(&f->table);
        alert_table_add_receiver(&f->table, 0); /* or what is over would be forgotten */
        ASSERT_OK(alerts_bus_new(&f->alerts, f->bus.event, &f->table, GRACE_USEC, on_change, f));
}

static void fixture_done(Fixture *f) {
        alerts_bus_free(f->alerts);
        manager_stop(f);
        alert_table_done(&f->table);
        free(f->caller);
        test_bus_stop(&f->bus);
}

/* 'F': fires; 'E': is over; '-': unknown. */
static char state(const Fixture *f, const char *fingerprint) {
        const AlertGroup *g;
        const Alert *a;

        TAILQ_FOREACH(g, &f->table.groups, groups)
        TAILQ_FOREACH(a, &g->alerts, alerts)
        if (strcmp(a->fingerprint, fingerprint) == 0)
                return a->ended_usec == 0 ? 'F' : 'E';
        return '-';
}

static void send_alert(sd_bus *from, const char *to, const char *fingerprint, uint64_t ended) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        ASSERT_OK(sd_bus_message_new_signal(from, &m, MAM_BUS_PATH, MAM_IFACE_MANAGER, "Alert"));
        if (to)
                ASSERT_OK(sd_bus_message_set_destination(m, to));
        ASSERT_OK(sd_bus_message_append(
                        m,
                        "sssssstt",
                        fingerprint,
                        "ServiceDown",
                        "critical",
                        "x",
                        "2",
                        "nothing is ready",
                        (uint64_t) 1000,
                        ended));
        ASSERT_OK(sd_bus_send(from, m, NULL));
        ASSERT_OK(sd_bus_flush(from));
}

TEST(lists_at_the_start_and_follows_the_signal) {
        Fixture f;

        fixture_setup(&f);
        manager_start(&f, "ab");
        alerts_bus_start(f.alerts);
        RUN_UNTIL(&f.bus, f.table.n == 2);
        ASSERT_TRUE(alerts_bus_has_manager(f.alerts));
        send_alert(f.manager, NULL, "c", 0);
        send_alert(f.manager, NULL, "a", 2000);
        RUN_UNTIL(&f.bus, state(&f, "a") == 'E');
        ASSERT_EQ(state(&f, "b"), 'F');
        ASSERT_EQ(state(&f, "c"), 'F');
        ASSERT_STREQ(TAILQ_LAST(&TAILQ_FIRST(&f.table.groups)->alerts, AlertQueue)->replica, "2");
        fixture_done(&f);
}

TEST(an_impostor_is_not_listened_to) {
        sd_bus *impostor;
        Fixture f;

        fixture_setup(&f);
        manager_start(&f, "a");
        alerts_bus_start(f.alerts);
        RUN_UNTIL(&f.bus, f.table.n == 1);
        impostor = test_bus_connect(&f.bus, NULL);
        send_alert(impostor, f.caller, "evil", 0);
        send_alert(impostor, NULL, "evil", 0);
        test_bus_settle(&f.bus, impostor, f.manager); /* the daemon has handed them on by then */
        send_alert(f.manager, NULL, "b", 0);
        RUN_UNTIL(&f.bus, state(&f, "b") == 'F');
        ASSERT_EQ(state(&f, "evil"), '-');
        test_bus_disconnect(impostor);
        fixture_done(&f);
}

TEST(a_manager_that_comes_later_is_found_and_one_that_starts_anew_has_time) {
        sd_bus *one, *two;
        unsigned lists;
        Fixture f;

        fixture_setup(&f);
        alerts_bus_start(f.alerts); /* there is none, and it is not started */
        one = test_bus_connect(&f.bus, NULL);
        two = test_bus_connect(&f.bus, NULL);
        test_bus_settle(&f.bus, one, two);
        ASSERT_TRUE(!alerts_bus_has_manager(f.alerts));
        test_bus_disconnect(one);
        test_bus_disconnect(two);
        manager_start(&f, "ab");
        RUN_UNTIL(&f.bus, f.table.n == 2);
        manager_stop(&f);
        RUN_UNTIL(&f.bus, !alerts_bus_has_manager(f.alerts));
        ASSERT_EQ(state(&f, "a"), 'F'); /* that nobody looks makes nothing well */

        /* it does not know of a yet, and never will of b */
        lists = f.n_lists;
        manager_start(&f, "");
        RUN_UNTIL(&f.bus, f.n_lists == lists + 1 && f.n_changes > 0);
        send_alert(f.manager, NULL, "a", 0);
        f.fires = "a";
        ASSERT_EQ(state(&f, "b"), 'F');
        RUN_UNTIL(&f.bus, state(&f, "b") == 'E');
        ASSERT_EQ(state(&f, "a"), 'F');
        ASSERT_EQ(f.n_lists, lists + 2);
        fixture_done(&f);
}

TEST(an_error_is_not_an_answer) {
        Fixture f;

        fixture_setup(&f);
        f.fail = true;
        manager_start(&f, "a");
        alerts_bus_start(f.alerts);
        RUN_UNTIL(&f.bus, f.n_lists == 2);
        ASSERT_EQ(f.table.n, 0);
        f.fail = false;
        RUN_UNTIL(&f.bus, f.table.n == 1);
        fixture_done(&f);
}
