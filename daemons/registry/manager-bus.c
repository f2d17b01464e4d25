/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/manager-bus.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/bus/bus-log-control.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/backoff.h"
#include "libmam/util/time.h"
#include "registry/objects-bus.h"

#define CALL_TIMEOUT_USEC    (10 * MAM_USEC_PER_SEC)
#define METRICS_TIMEOUT_USEC (5 * MAM_USEC_PER_SEC)
#define RETRY_FIRST_USEC     (250 * MAM_USEC_PER_MSEC)
#define RETRY_MAX_USEC       (30 * MAM_USEC_PER_SEC)

/* One question of a listing. */
typedef struct Question {
        ManagerBus *bus; /* weak */
        sd_bus_slot *slot;
        char service[32];
} Question;

struct ManagerBus {
        sd_event *event;
        Catalog *catalog; /* weak */
        ManagerBusEvents events;
        void *userdata;
        sd_bus *bus;          /* owned; NULL: not connected */
        sd_bus_slot *metrics; /* owned; the call under way */
        char *owner;          /* owned; unique name of the manager, or NULL */
        Question objects, alerts, version;
        Question endpoints[MAM_CONFIG_SERVICES_MAX], rollouts[MAM_CONFIG_SERVICES_MAX];
        unsigned n_open; /* questions of the listing without an answer */
        bool listing;
        sd_event_source *timer; /* owned */
        unsigned n_failures;
        bool answered; /* the manager has, at least once */
        bool told_listed;
        bool said_gone;
};

static void say_gone(ManagerBus *b, const char *why) {
        if (b->said_gone)
                return;
        b->said_gone = true;
        mam_log_id(LOG_WARNING,
                   MAM_MESSAGE_REGISTRY_MANAGER_GONE,
                   "The manager is not there: %s; going on with %s",
                   why,
                   b->answered ? "what it said last" : "nothing to tell");
}

static void settle(ManagerBus *b) {
        if (b->listing)
                return; /* at its end */
        if (b->events.on_services)
                b->events.on_services(b->userdata);
        if (catalog_settle(b->catalog, mam_now_realtime()))
                b->events.on_change(b->userdata);
}

static void tell_listed(ManagerBus *b, int error) {
        if (b->told_listed)
                return;
        b->told_listed = true;
        b->events.on_listed(error, b->userdata);
}

static void set_up(ManagerBus *b, bool up) {
        if (b->catalog->manager_up == up)
                return;
        b->catalog->manager_up = up;
        b->catalog->manager_lost_usec = up ? 0 : mam_now_monotonic();
        b->events.on_change(b->userdata);
}

static void retry_later(ManagerBus *b) {
        int enabled = SD_EVENT_OFF;

        (void) sd_event_source_get_enabled(b->timer, &enabled);
        if (enabled != SD_EVENT_OFF)
                return;
        (void) sd_event_source_set_time_relative(
                        b->timer,
                        mam_backoff_usec(b->n_failures++, RETRY_FIRST_USEC, RETRY_MAX_USEC));
        (void) sd_event_source_set_enabled(b->timer, SD_EVENT_ONESHOT);
}

static void question_drop(Question *q) {
        q->slot = sd_bus_slot_unref(q->slot);
}

static void drop_questions(ManagerBus *b) {
        question_drop(&b->objects);
        question_drop(&b->alerts);
        question_drop(&b->version);
        for (size_t i = 0; i < MAM_CONFIG_SERVICES_MAX; i++) {
                question_drop(&b->endpoints[i]);
                question_drop(&b->rollouts[i]);
        }
        b->n_open = 0;
        b->listing = false;
}

/* ---- Listing ---- */

static void listing_failed(ManagerBus *b, int error, const char *why) {
        drop_questions(b);
        set_up(b, false);
        say_gone(b, why);
        /* Nobody owns the name: its next owner is announced. Everything else is worth another try. */
        if (error != -ENXIO)
                retry_later(b);
        tell_listed(b, error);
}

static void listing_done(ManagerBus *b) {
        b->listing = false;
        b->n_failures = 0;
        b->catalog->listed = true;
        if (b->said_gone)
                mam_log_id(LOG_NOTICE, MAM_MESSAGE_REGISTRY_MANAGER_BACK, "The manager is there again");
        b->said_gone = false;
        settle(b);
        set_up(b, true);
        tell_listed(b, 0);
}

static void question_done(ManagerBus *b) {
        assert(b->n_open > 0);
        if (--b->n_open == 0)
                listing_done(b);
}

/* The errors with which the bus says that nobody owns the name. */
static int error_of(const sd_bus_error *e) {
        if (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return -ENXIO;
        return -EIO;
}

/* member(argument) of the manager; argument NULL: none. */
static int ask(ManagerBus *b,
               Question *q,
               const char *path,
               const char *interface,
               const char *member,
               const char *argument,
               sd_bus_message_handler_t handler) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        question_drop(q);
        q->bus = b;
        r = sd_bus_message_new_method_call(b->bus, &m, MAM_BUS_NAME, path, interface, member);
        if (r >= 0 && argument)
                r = sd_bus_message_append(m, "s", argument);
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, !b->answered);
        if (r < 0)
                return r;
        return sd_bus_call_async(b->bus, &q->slot, m, handler, q, CALL_TIMEOUT_USEC);
}

static int on_endpoints_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Question *q = userdata;
        ManagerBus *b = q->bus;
        CatalogService *s;
        int r = 0;

        question_drop(q);
        s = catalog_find(b->catalog, q->service);
        if (e && !sd_bus_error_has_name(e, MAM_BUS_ERROR_NO_SUCH_SERVICE)) {
                listing_failed(b, error_of(e), e->message ? e->message : e->name);
                return 0;
        }
        if (!e && s)
                r = objects_read_endpoints(reply, s);
        if (r < 0) {
                listing_failed(b, r, "its endpoints make no sense");
                return 0;
        }
        question_done(b);
        return 0;
}

static int ask_endpoints(ManagerBus *b) {
        for (size_t i = 0; i < b->catalog->n_services; i++) {
                Question *q = &b->endpoints[i];
                int r;

                catalog_text(q->service, sizeof(q->service), b->catalog->services[i]->id);
                r = ask(b,
                        q,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "ListEndpoints",
                        q->service,
                        on_endpoints_reply);
                if (r < 0)
                        return r;
                b->n_open++;
        }
        return 0;
}

static int on_objects_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Question *q = userdata;
        ManagerBus *b = q->bus;
        const char *sender;
        int r;

        question_drop(q);
        if (e) {
                listing_failed(b, error_of(e), e->message ? e->message : e->name);
                return 0;
        }
        sender = sd_bus_message_get_sender(reply);
        if (sender && (!b->owner || strcmp(b->owner, sender) != 0)) {
                free(b->owner);
                b->owner = strdup(sender);
        }
        b->answered = true;
        r = objects_read_all(reply, b->catalog);
        if (r >= 0)
                r = ask_endpoints(b);
        if (r < 0) {
                listing_failed(b, r, "its objects make no sense");
                return 0;
        }
        question_done(b);
        return 0;
}

static int on_alerts_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        Question *q = userdata;
        ManagerBus *b = q->bus;

        question_drop(q);
        b->catalog->n_alerts = 0;
        /* A manager of an earlier version has none; whether it is there, the objects tell. */
        if (!e && objects_read_alerts(reply, b->catalog) < 0)
                mam_warning("The alerts of the manager make no sense");
        question_done(b);
        return 0;
}

static int on_version_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Question *q = userdata;
        ManagerBus *b = q->bus;
        const char *version;

        question_drop(q);
        if (!sd_bus_message_get_error(reply) && sd_bus_message_enter_container(reply, 'v', "s") > 0 &&
            sd_bus_message_read(reply, "s", &version) > 0)
                catalog_text(b->catalog->manager_version, sizeof(b->catalog->manager_version), version);
        question_done(b);
        return 0;
}

static int ask_version(ManagerBus *b) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        b->version.bus = b;
        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        "org.freedesktop.DBus.Properties",
                        "Get");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", MAM_IFACE_MANAGER, "Version");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, !b->answered);
        if (r < 0)
                return r;
        return sd_bus_call_async(
                        b->bus,
                        &b->version.slot,
                        m,
                        on_version_reply,
                        &b->version,
                        CALL_TIMEOUT_USEC);
}

static void list(ManagerBus *b) {
        int r;

        drop_questions(b);
        (void) sd_event_source_set_enabled(b->timer, SD_EVENT_OFF);
        b->listing = true;
        b->catalog->n_jobs = 0; /* those that are there are among the objects */
        for (size_t i = 0; i < b->catalog->n_services; i++)
                b->catalog->services[i]->endpoints_revision = 0;
        r = ask(b,
                &b->objects,
                MAM_BUS_PATH,
                "org.freedesktop.DBus.ObjectManager",
                "GetManagedObjects",
                NULL,
                on_objects_reply);
        if (r >= 0)
                r = ask(b, &b->alerts, MAM_BUS_PATH, MAM_IFACE_MANAGER, "ListAlerts", NULL, on_alerts_reply);
        if (r >= 0)
                r = ask_version(b);
        if (r < 0) {
                listing_failed(b, r, strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
                return;
        }
        b->n_open = 3;
}

/* ---- Signals ---- */

static const struct {
        const char *interface, *member;
        int (*read)(sd_bus_message *m, Catalog *c);
} signals[] = {
        { MAM_IFACE_MANAGER, "EndpointsChanged", objects_read_endpoints_changed },
        { MAM_IFACE_MANAGER, "Alert", objects_read_alert },
        { MAM_IFACE_MANAGER, "JobNew", objects_read_job_new },
        { MAM_IFACE_MANAGER, "JobRemoved", objects_read_job_removed },
        { MAM_IFACE_MANAGER, "RolloutRemoved", objects_read_rollout_removed },
        { "org.freedesktop.DBus.Properties", "PropertiesChanged", objects_read_changed },
        { "org.freedesktop.DBus.ObjectManager", "InterfacesAdded", objects_read_added },
        { "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved", objects_read_removed },
};

/* The bus lets everybody send a signal to us. */
static bool is_of_manager(const ManagerBus *b, sd_bus_message *m) {
        const char *sender = sd_bus_message_get_sender(m);

        return sender && b->owner && strcmp(sender, b->owner) == 0;
}

static int on_rollout_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Question *q = userdata;
        ManagerBus *b = q->bus;
        CatalogService *s;

        question_drop(q);
        s = catalog_find(b->catalog, q->service);
        if (s && !sd_bus_message_get_error(reply))
                (void) objects_read_rollout(reply, &s->rollout);
        return 0;
}

/* What is read from a signal goes into the catalog. */
static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(m);
        ManagerBus *b = userdata;
        int r = 0;

        if (!is_of_manager(b, m))
                return 0;
        for (size_t i = 0; i < MAM_ELEMENTSOF(signals); i++)
                if (strcmp(signals[i].member, member) == 0)
                        r = signals[i].read(m, b->catalog);
        if (r < 0 || r == OBJECTS_NEW_SERVICE)
                list(b); /* of a new service, endpoints may have been told before */
        else if (r > 0)
                settle(b);
        return 0;
}

static int on_rollout_new(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *service;
        ManagerBus *b = userdata;
        CatalogService *s;
        size_t i = 0;

        if (!is_of_manager(b, m) || sd_bus_message_read(m, "os", &path, &service) < 0)
                return 0;
        s = catalog_find(b->catalog, service);
        if (!s)
                return 0;
        s->rollout = (CatalogRollout){ 0 };
        catalog_service_set_text(s, "Rollout", path);
        while (i < MAM_CONFIG_SERVICES_MAX && b->rollouts[i].slot)
                i++;
        if (i == MAM_CONFIG_SERVICES_MAX)
                return 0;
        catalog_text(b->rollouts[i].service, sizeof(b->rollouts[i].service), service);
        (void) ask(b,
                   &b->rollouts[i],
                   path,
                   "org.freedesktop.DBus.Properties",
                   "GetAll",
                   REGISTRY_IFACE_ROLLOUT,
                   on_rollout_reply);
        return 0;
}

static int on_name_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old_owner, *new_owner;
        ManagerBus *b = userdata;

        if (sd_bus_message_read(m, "sss", &name, &old_owner, &new_owner) < 0 ||
            strcmp(name, MAM_BUS_NAME) != 0)
                return 0;
        free(b->owner);
        b->owner = *new_owner ? strdup(new_owner) : NULL;
        if (*new_owner)
                list(b);
        else
                listing_failed(b, -ENXIO, "it has left the bus");
        return 0;
}

/* ---- The connection ---- */

static void disconnect(ManagerBus *b) {
        bool asked = b->metrics;

        drop_questions(b);
        b->metrics = sd_bus_slot_unref(b->metrics);
        free(MAM_TAKE(b->owner));
        b->bus = sd_bus_close_unref(b->bus); /* and with it all its matches */
        if (asked)
                b->events.on_metrics(-ECONNRESET, b->userdata);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        ManagerBus *b = userdata;

        /* The connection itself goes when the timer comes: it is at work just now. */
        listing_failed(b, -ECONNRESET, "the system bus has closed the connection");
        free(MAM_TAKE(b->owner));
        return 0;
}

static int add_match(
                ManagerBus *b,
                const char *interface,
                const char *member,
                sd_bus_message_handler_t handler) {
        char match[512];

        (void) snprintf(match,
                        sizeof(match),
                        "type='signal',sender='" MAM_BUS_NAME "',path_namespace='" MAM_BUS_PATH
                        "',interface='%s',member='%s'",
                        interface,
                        member);
        return sd_bus_add_match_async(b->bus, NULL, match, handler, NULL, b);
}

static int add_matches(ManagerBus *b) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(signals); i++)
                r = add_match(b, signals[i].interface, signals[i].member, on_signal);
        if (r >= 0)
                r = add_match(b, MAM_IFACE_MANAGER, "RolloutNew", on_rollout_new);
        if (r >= 0)
                r = sd_bus_add_match_async(
                                b->bus,
                                NULL,
                                "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" MAM_BUS_NAME
                                "'",
                                on_name_owner_changed,
                                NULL,
                                b);
        if (r < 0)
                return r;
        return sd_bus_match_signal(
                        b->bus,
                        NULL,
                        "org.freedesktop.DBus.Local",
                        "/org/freedesktop/DBus/Local",
                        "org.freedesktop.DBus.Local",
                        "Disconnected",
                        on_disconnected,
                        b);
}

static int connect_bus(ManagerBus *b) {
        int r;

        r = sd_bus_open_system_with_description(&b->bus, "mam-registry");
        if (r < 0)
                return r;
        r = sd_bus_set_exit_on_disconnect(b->bus, false);
        if (r >= 0)
                r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = add_matches(b);
        if (r >= 0)
                r = mam_log_control_export(b->bus, NULL, "mam-registry");
        return r;
}

static void look(ManagerBus *b) {
        int r;

        if (b->bus && sd_bus_is_open(b->bus) <= 0)
                disconnect(b);
        if (!b->bus) {
                r = connect_bus(b);
                if (r < 0) {
                        disconnect(b);
                        listing_failed(b, r, "there is no system bus");
                        return;
                }
        }
        list(b);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        look(userdata);
        return 0;
}

void manager_bus_start(ManagerBus *b) {
        assert(b);
        look(b);
}

/* ---- Metrics ---- */

static int on_metrics_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        ManagerBus *b = userdata;

        b->metrics = sd_bus_slot_unref(b->metrics);
        b->events.on_metrics(e ? -EIO : objects_read_metrics(reply, b->catalog), b->userdata);
        return 0;
}

int manager_bus_ask_metrics(ManagerBus *b) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(b);

        if (b->metrics)
                return 0;
        if (!b->bus || !b->catalog->manager_up)
                return -ENXIO;
        r = sd_bus_message_new_method_call(
                        b->bus,
                        &m,
                        MAM_BUS_NAME,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "Metrics");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r < 0)
                return r;
        return sd_bus_call_async(b->bus, &b->metrics, m, on_metrics_reply, b, METRICS_TIMEOUT_USEC);
}

/* ---- The object ---- */

int manager_bus_new(
                ManagerBus **ret,
                sd_event *event,
                Catalog *catalog,
                const ManagerBusEvents *events,
                void *userdata) {
        _cleanup_(manager_bus_freep) ManagerBus *b = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(catalog);
        assert(events && events->on_change && events->on_listed && events->on_metrics);

        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        b->event = sd_event_ref(event);
        b->catalog = catalog;
        b->events = *events;
        b->userdata = userdata;
        r = sd_event_add_time(event, &b->timer, CLOCK_MONOTONIC, UINT64_MAX, 0, on_timer, b);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(b->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = MAM_TAKE(b);
        return 0;
}

ManagerBus *manager_bus_free(ManagerBus *b) {
        if (!b)
                return NULL;

        drop_questions(b);
        b->metrics = sd_bus_slot_unref(b->metrics);
        sd_bus_close_unref(b->bus);
        sd_event_source_disable_unref(b->timer);
        sd_event_unref(b->event);
        free(b->owner);
        free(b);
        return NULL;
}
