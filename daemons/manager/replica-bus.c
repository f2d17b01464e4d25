/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.manageragent.Replica1
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/manager.h"
#include "manager/properties.h"

#define REPLICA_PREFIX MAM_BUS_PATH "/replica"

int replica_path(const Replica *r, char **ret) {
        char id[64];

        snprintf(id, sizeof(id), "%s:%u", r->service->config->id, r->number);
        return sd_bus_path_encode(REPLICA_PREFIX, id, ret);
}

static int append_text(sd_bus_message *m, const Replica *r, const char *property) {
        char text[MAM_UNIT_NAME_MAX];

        if (strcmp(property, "Id") == 0) {
                snprintf(text, sizeof(text), "%s:%u", r->service->config->id, r->number);
        } else if (strcmp(property, "Unit") == 0) {
                mam_unit_replica_service(text, r->service->config->id, r->number);
        } else {
                replica_endpoint(r, text);
        }
        return sd_bus_message_append(m, "s", text);
}

static int append_property(sd_bus_message *m, void *object, const char *property) {
        const Replica *r = object;
        const struct {
                const char *name;
                const char *value;
        } strings[] = {
                { "Service", r->service->config->id },
                { "ActiveState", r->active_state },
                { "SubState", r->sub_state },
                { "Health", health_state_to_string(r->health.state) },
                { "HealthReason", r->health_reason },
                { "LastExit", r->last_exit },
                { "Quarantine", r->hold },
                { "StatusText", r->status_text ? r->status_text : "" },
                { "Revision", r->revision },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(strings); i++) {
                if (strcmp(strings[i].name, property) == 0)
                        return sd_bus_message_append(m, "s", strings[i].value);
        }
        if (strcmp(property, "Number") == 0)
                return sd_bus_message_append(m, "u", r->number);
        if (strcmp(property, "MainPID") == 0)
                return sd_bus_message_append(m, "u", r->main_pid);
        if (strcmp(property, "StartedUSec") == 0)
                return sd_bus_message_append(m, "t", r->started_usec);
        if (strcmp(property, "Restarts") == 0)
                return sd_bus_message_append(m, "u", r->restarts);
        if (strcmp(property, "LastExitUSec") == 0)
                return sd_bus_message_append(m, "t", r->last_exit_usec);
        if (strcmp(property, "OOMKills") == 0) {
                return sd_bus_message_append(
                                m,
                                "u",
                                (uint32_t) (r->oom_kills < UINT32_MAX ? r->oom_kills : UINT32_MAX));
        }
        return append_text(m, r, property);
}

static int property_get(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return append_property(reply, userdata, property);
}

static const sd_bus_vtable replica_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Service", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Number", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Unit", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("ActiveState", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SubState", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Health", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("HealthReason", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Endpoint", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MainPID", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StartedUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Restarts", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastExit", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastExitUSec", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("OOMKills", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Quarantine", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StatusText", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Revision", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

int replica_append_properties(sd_bus_message *m, Replica *r) {
        return properties_append(m, replica_vtable, append_property, r);
}

static int find_replica(
                sd_bus *bus,
                const char *path,
                const char *interface,
                void *userdata,
                void **ret_found,
                sd_bus_error *error) {
        _cleanup_(mam_freep) char *id = NULL;
        unsigned long number;
        char *colon, *end;
        Service *s;
        int r;

        r = sd_bus_path_decode(path, REPLICA_PREFIX, &id);
        if (r <= 0)
                return r;

        colon = strrchr(id, ':');
        if (!colon)
                return 0;
        *colon = '\0';
        number = strtoul(colon + 1, &end, 10);
        s = manager_find_service(userdata, id);
        if (!s || end == colon + 1 || *end || !numbers_is_valid(number) || !s->replicas[number])
                return 0;

        *ret_found = s->replicas[number];
        return 1;
}

static int enumerate_replicas(
                sd_bus *bus,
                const char *prefix,
                void *userdata,
                char ***ret_nodes,
                sd_bus_error *error) {
        Manager *m = userdata;
        size_t n = 0, i = 0;
        const Service *s;
        char **list;

        DL_FOREACH(m->services, s) {
                n += MAM_CONFIG_REPLICAS_MAX;
        }
        list = calloc(n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;

        DL_FOREACH(m->services, s) {
                for (uint32_t k = 1; k <= MAM_CONFIG_REPLICAS_MAX; k++) {
                        if (s->replicas[k] && replica_path(s->replicas[k], &list[i]) >= 0)
                                i++;
                }
        }
        list[i] = NULL;
        *ret_nodes = list;
        return 1;
}

int replica_export(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(
                        m->bus,
                        NULL,
                        REPLICA_PREFIX,
                        MAM_IFACE_REPLICA,
                        replica_vtable,
                        find_replica,
                        m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, REPLICA_PREFIX, enumerate_replicas, m);
}

void replica_emit_changes(Replica *r) {
        static const struct {
                uint32_t bit;
                const char *name;
        } names[] = {
                { REPLICA_DIRTY_UNIT, "ActiveState" },  { REPLICA_DIRTY_UNIT, "SubState" },
                { REPLICA_DIRTY_HEALTH, "Health" },     { REPLICA_DIRTY_HEALTH, "HealthReason" },
                { REPLICA_DIRTY_PROCESS, "MainPID" },   { REPLICA_DIRTY_PROCESS, "StartedUSec" },
                { REPLICA_DIRTY_PROCESS, "Restarts" },  { REPLICA_DIRTY_EXIT, "LastExit" },
                { REPLICA_DIRTY_EXIT, "LastExitUSec" }, { REPLICA_DIRTY_EXIT, "OOMKills" },
                { REPLICA_DIRTY_HOLD, "Quarantine" },   { REPLICA_DIRTY_STATUS, "StatusText" },
                { REPLICA_DIRTY_REVISION, "Revision" },
        };
        const char *changed[MAM_ELEMENTSOF(names) + 1];
        Manager *m = r->service->manager;
        _cleanup_(mam_freep) char *path = NULL;
        size_t n = 0;
        int k;

        if ((r->exported && r->dirty == 0) || !m->ready)
                return;

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                if (r->dirty & names[i].bit)
                        changed[n++] = names[i].name;
        }
        changed[n] = NULL;
        r->dirty = 0;

        k = replica_path(r, &path);
        if (k < 0)
                return;
        if (!r->exported) {
                r->exported = true;
                k = sd_bus_emit_object_added(m->bus, path);
        } else
                k = sd_bus_emit_properties_changed_strv(m->bus, path, MAM_IFACE_REPLICA, (char **) changed);
        if (k < 0) {
                (void) mam_error_errno(
                                k,
                                "Cannot announce changes of %s:%u",
                                r->service->config->id,
                                r->number);
        }
}

void replica_emit_removed(Replica *r) {
        _cleanup_(mam_freep) char *path = NULL;

        if (r->exported && replica_path(r, &path) >= 0)
                (void) sd_bus_emit_object_removed(r->service->manager->bus, path);
        r->exported = false;
}
