/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "alerts/alerts-bus.h"

#include <assert.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/backoff.h"

#define CALL_TIMEOUT_USEC (10 * MAM_USEC_PER_SEC)
#define RETRY_FIRST_USEC  (250 * MAM_USEC_PER_MSEC)
#define RETRY_MAX_USEC    (10 * MAM_USEC_PER_SEC)

struct AlertsBus {
        sd_event *event;   /* owned reference */
        AlertTable *table; /* weak */
        uint64_t grace_usec;
        sd_bus *bus;                                                  /* owned; NULL: not connected */
        sd_bus_slot *match_alert, *match_owner, *match_closed, *call; /* owned */
        char *owner;            /* owned; unique name of the manager, or NULL */
        sd_event_source *retry; /* owned */
        sd_event_source *grace; /* owned; a last look at what is missing */
        bool is_final;          /* what this list does not have is over */
        unsigned n_failures;    /* in a row */
        bool said_full;
        void (*on_change)(void *userdata);
        void *userdata;
};

bool alerts_bus_has_manager(const AlertsBus *b) {
        return b->owner != NULL;
}

static void arm_retry(AlertsBus *b) {
        int enabled = SD_EVENT_OFF;

        (void) sd_event_source_get_enabled(b->retry, &enabled);
        if (enabled != SD_EVENT_OFF)
                return;
        (void) sd_event_source_set_time_relative(
                        b->retry,
                        mam_backoff_usec(b->n_failures++, RETRY_FIRST_USEC, RETRY_MAX_USEC));
        (void) sd_event_source_set_enabled(b->retry, SD_EVENT_ONESHOT);
}

static void take(AlertsBus *b, const AlertNews *news) {
        int r;

        r = alert_table_take(b->table, news, mam_now_monotonic());
        if (r >= 0) {
                b->said_full = false;
                return;
        }
        if (!b->said_full) {
                (void) mam_error_errno(
                                r,
                                "Cannot note the alert %s of %s, and perhaps others",
                                news->name,
                                news->service);
        }
        b->said_full = true;
}

static int read_list(AlertsBus *b, sd_bus_message *reply) {
        AlertNews n = { 0 };
        int r;

        r = sd_bus_message_enter_container(reply, 'a', "(sssssst)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(
                                reply,
                                "(sssssst)",
                                &n.fingerprint,
                                &n.name,
                                &n.severity,
                                &n.service,
                                &n.replica,
                                &n.summary,
                                &n.started_usec)) > 0)
                take(b, &n);
        return r < 0 ? r : sd_bus_message_exit_container(reply);
}

static int on_list_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(reply);
        AlertsBus *b = userdata;
        unsigned missing;
        int r;

        b->call = sd_bus_slot_unref(b->call);
        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return 0; /* no manager: NameOwnerChanged tells when there is one */
        if (sd_bus_message_is_method_error(reply, NULL)) {
                arm_retry(b);
                return 0;
        }

        if (sender && (!b->owner || strcmp(b->owner, sender) != 0)) {
                free(b->owner);
                b->owner = strdup(sender);
        }
        alert_table_list_begin(b->table);
        r = read_list(b, reply);
        missing = alert_table_list_end(
                        b->table,
                        r >= 0 && b->is_final,
                        mam_now_realtime(),
                        mam_now_monotonic());
        if (r < 0) {
                mam_warning("The manager's list of alerts makes no sense");
                arm_retry(b);
        } else {
                b->n_failures = 0;
                if (missing > 0 && !b->is_final) {
                        (void) sd_event_source_set_time_relative(b->grace, b->grace_usec);
                        (void) sd_event_source_set_enabled(b->grace, SD_EVENT_ONESHOT);
                }
                b->is_final = false;
        }
        b->on_change(b->userdata);
        return 0;
}

static int list_send(AlertsBus *b) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ListAlerts");
        if (r < 0)
                return r;
        r = sd_bus_message_set_auto_start(m, false);
        if (r < 0)
                return r;
        return sd_bus_call_async(b->bus, &b->call, m, on_list_reply, b, CALL_TIMEOUT_USEC);
}

static void list(AlertsBus *b) {
        b->call = sd_bus_slot_unref(b->call); /* an older question: its answer would be older too */
        if (list_send(b) < 0)
                arm_retry(b);
}

static int on_alert(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *sender = sd_bus_message_get_sender(m);
        AlertsBus *b = userdata;
        AlertNews n;

        /* Everybody may send us a signal; administrators are woken up by what this one says. */
        if (!sender || !b->owner || strcmp(sender, b->owner) != 0)
                return 0;
        if (sd_bus_message_read(
                            m,
                            "sssssstt",
                            &n.fingerprint,
                            &n.name,
                            &n.severity,
                            &n.service,
                            &n.replica,
                            &n.summary,
                            &n.started_usec,
                            &n.ended_usec) < 0)
                return 0;
        take(b, &n);
        b->on_change(b->userdata);
        return 0;
}

static int on_name_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old_owner, *new_owner;
        AlertsBus *b = userdata;

        if (sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0 ||
            strcmp(name, MAM_BUS_NAME) != 0)
                return 0;

        free(b->owner);
        b->owner = *new_owner ? strdup(new_owner) : NULL;
        b->is_final = false;
        (void) sd_event_source_set_enabled(b->grace, SD_EVENT_OFF);
        if (*new_owner)
                list(b);
        b->on_change(b->userdata);
        return 0;
}

static void disconnect(AlertsBus *b) {
        b->call = sd_bus_slot_unref(b->call);
        b->match_alert = sd_bus_slot_unref(b->match_alert);
        b->match_owner = sd_bus_slot_unref(b->match_owner);
        b->match_closed = sd_bus_slot_unref(b->match_closed);
        free(MAM_TAKE(b->owner));
        b->bus = sd_bus_close_unref(b->bus);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        AlertsBus *b = userdata;

        /* The connection itself goes when the timer comes: it is at work just now. */
        b->call = sd_bus_slot_unref(b->call);
        free(MAM_TAKE(b->owner));
        (void) sd_event_source_set_enabled(b->grace, SD_EVENT_OFF);
        arm_retry(b);
        return 0;
}

static int add_matches(AlertsBus *b) {
        int r;

        r = sd_bus_match_signal_async(
                        b->bus,
                        &b->match_alert,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Alert",
                        on_alert,
                        NULL,
                        b);
        if (r < 0)
                return r;
        r = sd_bus_add_match_async(
                        b->bus,
                        &b->match_owner,
                        "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" MAM_BUS_NAME "'",
                        on_name_owner_changed,
                        NULL,
                        b);
        if (r < 0)
                return r;
        return sd_bus_match_signal(
                        b->bus,
                        &b->match_closed,
                        "org.freedesktop.DBus.Local",
                        "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local",
                        "Disconnected",
                        on_disconnected,
                        b);
}

static int connect_bus(AlertsBus *b) {
        int r;

        r = sd_bus_open_system_with_description(&b->bus, "mam-alerts");
        if (r < 0)
                return r;
        r = sd_bus_set_exit_on_disconnect(b->bus, false);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        return add_matches(b);
}

void alerts_bus_start(AlertsBus *b) {
        assert(b);

        if (b->bus && sd_bus_is_open(b->bus) <= 0)
                disconnect(b);
        if (!b->bus && connect_bus(b) < 0) {
                disconnect(b);
                arm_retry(b);
                return;
        }
        list(b);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        alerts_bus_start(userdata);
        return 0;
}

static int on_grace_over(sd_event_source *source, uint64_t usec, void *userdata) {
        AlertsBus *b = userdata;

        b->is_final = true;
        list(b);
        return 0;
}

static int add_timer(AlertsBus *b, sd_event_source **ret, sd_event_time_handler_t handler) {
        int r;

        r = sd_event_add_time(b->event, ret, CLOCK_MONOTONIC, UINT64_MAX, 0, handler, b);
        return r < 0 ? r : sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

int alerts_bus_new(
                AlertsBus **ret,
                sd_event *event,
                AlertTable *table,
                uint64_t grace_usec,
                void (*on_change)(void *userdata),
                void *userdata) {
        _cleanup_(alerts_bus_freep) AlertsBus *b = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(table);
        assert(on_change);

        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        b->event = sd_event_ref(event);
        b->table = table;
        b->grace_usec = grace_usec;
        b->on_change = on_change;
        b->userdata = userdata;
        r = add_timer(b, &b->retry, on_retry);
        if (r < 0)
                return r;
        r = add_timer(b, &b->grace, on_grace_over);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(b);
        return 0;
}

AlertsBus *alerts_bus_free(AlertsBus *b) {
        if (!b)
                return NULL;

        disconnect(b);
        sd_event_source_disable_unref(b->retry);
        sd_event_source_disable_unref(b->grace);
        sd_event_unref(b->event);
        free(b);
        return NULL;
}
