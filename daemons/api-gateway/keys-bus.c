/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/keys-bus.h"

#include <assert.h>
#include <string.h>

#include <systemd/sd-bus.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/backoff.h"

#define CALL_TIMEOUT_USEC (10 * MAM_USEC_PER_SEC)
#define RETRY_FIRST_USEC  (250 * MAM_USEC_PER_MSEC)
#define RETRY_MAX_USEC    (30 * MAM_USEC_PER_SEC)
#define REPORT_MAX        1000U

struct KeysBus {
        sd_event *event;  /* owned reference */
        KeyTable *table;  /* borrowed */
        sd_bus *bus;      /* owned; NULL: not connected */
        sd_bus_slot *get; /* owned; GetKeys under way */
        sd_bus_slot *report;
        sd_bus_slot *match_changed, *match_owner, *match_closed; /* owned */
        sd_event_source *retry;                                  /* owned; of connecting and of GetKeys */
        sd_event_source *reporter;                               /* owned */
        unsigned failures;
        bool again; /* the list has changed while it was fetched */
        void (*on_changed)(void *userdata);
        void *userdata;
};

static void get_keys(KeysBus *b);

static void retry(KeysBus *b) {
        (void) sd_event_source_set_time_relative(
                        b->retry,
                        mam_backoff_usec(b->failures++, RETRY_FIRST_USEC, RETRY_MAX_USEC));
        (void) sd_event_source_set_enabled(b->retry, SD_EVENT_ONESHOT);
}

static int on_keys(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        KeysBus *b = userdata;
        uint64_t generation;
        const char *text;
        int r;

        b->get = sd_bus_slot_unref(b->get);
        if (e) {
                mam_debug("Cannot get API keys from the manager: %s", e->message ? e->message : e->name);
                retry(b); /* also where there is no manager: its NameOwnerChanged comes first as a rule */
                return 0;
        }
        r = sd_bus_message_read(reply, "ts", &generation, &text);
        if (r >= 0)
                r = key_table_load(b->table, text, strlen(text));
        if (r < 0) {
                mam_warning("Cannot use the API keys that the manager tells: %s", strerrordesc_np(-r));
                retry(b);
                return 0;
        }
        b->failures = 0;
        b->on_changed(b->userdata);
        if (b->again)
                get_keys(b);
        return 0;
}

static void get_keys(KeysBus *b) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        if (b->get) {
                b->again = true;
                return;
        }
        b->again = false;
        (void) sd_event_source_set_enabled(b->retry, SD_EVENT_OFF);
        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "GetKeys");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r >= 0)
                r = sd_bus_call_async(b->bus, &b->get, m, on_keys, b, CALL_TIMEOUT_USEC);
        if (r < 0)
                retry(b);
}

static int on_keys_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        get_keys(userdata);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *before, *after;

        if (sd_bus_message_read(m, "sss", &name, &before, &after) >= 0 && *after)
                get_keys(userdata);
        return 0;
}

static void disconnect(KeysBus *b) {
        b->get = sd_bus_slot_unref(b->get);
        b->report = sd_bus_slot_unref(b->report);
        b->match_changed = sd_bus_slot_unref(b->match_changed);
        b->match_owner = sd_bus_slot_unref(b->match_owner);
        b->match_closed = sd_bus_slot_unref(b->match_closed);
        (void) sd_bus_detach_event(b->bus);
        b->bus = sd_bus_close_unref(b->bus);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        retry(userdata); /* which lets go of the bus: not within its own callback */
        return 0;
}

static int connect_bus(KeysBus *b) {
        int r;

        r = sd_bus_open_system_with_description(&b->bus, "api-gateway-keys");
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(b->bus, false);
        if (r >= 0)
                r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_match_signal_async(
                                b->bus,
                                &b->match_changed,
                                MAM_BUS_NAME,
                                MAM_BUS_PATH,
                                MAM_IFACE_MANAGER,
                                "KeysChanged",
                                on_keys_changed,
                                NULL,
                                b);
        if (r >= 0)
                r = sd_bus_add_match_async(
                                b->bus,
                                &b->match_owner,
                                "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                                "member='NameOwnerChanged',arg0='" MAM_BUS_NAME "'",
                                on_owner_changed,
                                NULL,
                                b);
        if (r >= 0)
                r = sd_bus_match_signal(
                                b->bus,
                                &b->match_closed,
                                "org.freedesktop.DBus.Local",
                                "/org/freedesktop/DBus/Local",
                                "org.freedesktop.DBus.Local",
                                "Disconnected",
                                on_disconnected,
                                b);
        return r;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        KeysBus *b = userdata;
        int r;

        if (b->bus && sd_bus_is_open(b->bus) <= 0)
                disconnect(b);
        if (!b->bus) {
                r = connect_bus(b);
                if (r < 0) {
                        mam_debug("Cannot connect to the bus for API keys: %s", strerrordesc_np(-r));
                        disconnect(b);
                        retry(b);
                        return 0;
                }
        }
        get_keys(b);
        return 0;
}

/* ---- use ---- */

static int on_reported(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        KeysBus *b = userdata;

        if (e)
                mam_debug("Cannot report the use of API keys: %s", e->message ? e->message : e->name);
        b->report = sd_bus_slot_unref(b->report);
        return 0;
}

/* What is in a report is counted as told: a count may get lost with a manager, and never counts twice. */
static int append_uses(sd_bus_message *m, const KeyTable *table) {
        KeyEntry *e;
        int r;

        r = sd_bus_message_open_container(m, 'a', "(stt)");
        for (size_t i = 0; r >= 0 && (e = key_table_at(table, i)); i++) {
                if (e->uses == 0)
                        continue;
                r = sd_bus_message_append(m, "(stt)", e->id, e->uses, e->used_usec);
                e->uses = 0;
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool has_uses(const KeyTable *table) {
        const KeyEntry *e;

        for (size_t i = 0; (e = key_table_at(table, i)); i++)
                if (e->uses > 0)
                        return true;
        return false;
}

static int on_report(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        KeysBus *b = userdata;
        int r;

        (void) sd_event_source_set_time_relative(b->reporter, KEYS_REPORT_USEC);
        (void) sd_event_source_set_enabled(b->reporter, SD_EVENT_ONESHOT);
        if (!b->bus || sd_bus_is_ready(b->bus) <= 0 || b->report || !has_uses(b->table))
                return 0;
        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ReportKeyUse");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r >= 0)
                r = append_uses(m, b->table);
        if (r >= 0)
                (void) sd_bus_call_async(b->bus, &b->report, m, on_reported, b, CALL_TIMEOUT_USEC);
        return 0;
}

int keys_bus_new(
                KeysBus **ret,
                sd_event *event,
                KeyTable *table,
                void (*on_changed)(void *userdata),
                void *userdata) {
        _cleanup_(keys_bus_freep) KeysBus *b = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(table);
        assert(on_changed);

        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        b->event = sd_event_ref(event);
        b->table = table;
        b->on_changed = on_changed;
        b->userdata = userdata;
        /* Due at once: the first turn of the loop connects. */
        r = sd_event_add_time(event, &b->retry, CLOCK_MONOTONIC, 0, 0, on_retry, b);
        if (r >= 0)
                r = sd_event_add_time_relative(
                                event,
                                &b->reporter,
                                CLOCK_MONOTONIC,
                                KEYS_REPORT_USEC,
                                MAM_USEC_PER_SEC,
                                on_report,
                                b);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(b);
        return 0;
}

KeysBus *keys_bus_free(KeysBus *b) {
        if (!b)
                return NULL;

        if (b->bus)
                disconnect(b);
        sd_event_source_disable_unref(b->retry);
        sd_event_source_disable_unref(b->reporter);
        sd_event_unref(b->event);
        free(b);
        return NULL;
}
