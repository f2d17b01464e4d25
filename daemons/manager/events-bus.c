/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events: into the journal, onto the bus, and back to who asks
 */

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"
#include "manager/events.h"
#include "manager/manager-bus.h"

struct Events {
        Manager *manager; /* weak: the manager owns us */
        EventRing ring;
};

int events_new(Events **ret, Manager *m) {
        Events *e;

        assert(ret);
        assert(m);

        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;

        e->manager = m;
        *ret = e;
        return 0;
}

Events *events_free(Events *e) {
        if (!e)
                return NULL;

        event_ring_done(&e->ring);
        free(e);
        return NULL;
}

static void replica_name(char ret[static 64], const char *service, uint32_t number) {
        if (number > 0) {
                snprintf(ret, 64, "%s:%u", service, number);
        } else {
                *ret = '\0';
        }
}

/* UNIT=: found with journalctl -u of the replica. */
static void to_journal(
                int priority,
                const char *message_id,
                const char *service,
                uint32_t number,
                const char *type,
                const char *message) {
        char unit[MAM_UNIT_NAME_MAX + 5] = "UNIT=", field_service[48], field_type[48], field_replica[72],
                                      name[64];
        const char *fields[5] = { field_type };
        size_t n = 1;

        replica_name(name, service, number);
        snprintf(field_type, sizeof(field_type), "EVENT=%s", type);
        if (*service) {
                snprintf(field_service, sizeof(field_service), "SERVICE=%s", service);
                fields[n++] = field_service;
        }
        if (number > 0) {
                snprintf(field_replica, sizeof(field_replica), "REPLICA=%s", name);
                fields[n++] = field_replica;
                mam_unit_replica_service(unit + 5, service, number);
                fields[n++] = unit;
        }
        fields[n] = NULL;
        mam_log_full(priority,
                     message_id,
                     fields,
                     "%s%s%s",
                     number > 0 ? name : service,
                     *service ? ": " : "",
                     message);
}

static int append_event(sd_bus_message *m, const Event *e) {
        char name[64];

        replica_name(name, e->service, e->number);
        return sd_bus_message_append(
                        m,
                        "ttsssss",
                        e->sequence,
                        e->time_usec,
                        event_severity(e->priority),
                        e->service,
                        name,
                        e->type,
                        e->message);
}

static void to_bus(Manager *m, const Event *e) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *signal = NULL;
        int r;

        r = sd_bus_message_new_signal(m->bus, &signal, MAM_BUS_PATH, MAM_IFACE_MANAGER, "Event");
        if (r >= 0)
                r = append_event(signal, e);
        if (r >= 0)
                r = sd_bus_send(m->bus, signal, NULL);
        if (r < 0)
                mam_debug("Cannot announce event %llu: %s", (unsigned long long) e->sequence, strerror(-r));
}

void event_log(Manager *m,
               int priority,
               const char *message_id,
               const char *service,
               uint32_t number,
               const char *type,
               const char *format,
               ...) {
        char message[EVENTS_MESSAGE_MAX], more[48];
        uint32_t held_back = 0;
        const Event *e;
        size_t length;
        va_list ap;

        assert(m);
        assert(service);
        assert(type);

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);

        if (m->events &&
            !event_ring_admit(&m->events->ring, service, number, type, mam_now_monotonic(), &held_back))
                return;
        if (held_back > 0) {
                (void) snprintf(more, sizeof(more), " (and %u more before)", held_back);
                length = strlen(message);
                if (length + strlen(more) >= sizeof(message))
                        length = sizeof(message) - 1 - strlen(more);
                memcpy(message + length, more, strlen(more) + 1);
        }

        to_journal(priority, message_id, service, number, type, message);
        if (!m->events)
                return;
        e = event_ring_add(&m->events->ring, mam_now_realtime(), priority, service, number, type, message);
        if (e && m->ready)
                to_bus(m, e);
}

int manager_bus_list_events(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(mam_freep) const Event **found = NULL;
        const char *service;
        Manager *m = userdata;
        uint64_t after;
        uint32_t max;
        size_t n;
        int r;

        r = sd_bus_message_read(message, "stu", &service, &after, &max);
        if (r < 0)
                return r;

        found = calloc(EVENTS_MAX, sizeof(Event *));
        if (!found)
                return -ENOMEM;

        n = event_ring_select(&m->events->ring, service, after, max, found);
        /* One that is gone may still have a past. */
        if (*service && n == 0 && !manager_find_service(m, service) &&
            event_ring_select(&m->events->ring, service, 0, 1, found) == 0)
                return manager_bus_no_such_service(m, service, error);

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ttsssss)");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                r = sd_bus_message_open_container(reply, 'r', "ttsssss");
                if (r >= 0)
                        r = append_event(reply, found[i]);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
