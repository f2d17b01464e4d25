/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.manageragent.Service1
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/autoscaler.h"
#include "manager/manager.h"
#include "manager/properties.h"
#include "manager/rollout.h"

#define SERVICE_PREFIX MAM_BUS_PATH "/service"

int service_path(const Service *s, char **ret) {
        return sd_bus_path_encode(SERVICE_PREFIX, s->config->id, ret);
}

static int append_recommended(sd_bus_message *m, const Service *s, const char *what) {
        if (strcmp(what, "Replicas") == 0)
                return sd_bus_message_append(m, "u", service_recommended_replicas(s));
        if (strcmp(what, "CPUMillis") == 0)
                return sd_bus_message_append(m, "t", service_recommended_cpu_millis(s));
        return sd_bus_message_append(m, "t", service_recommended_memory_bytes(s));
}

static int append_rollout(sd_bus_message *m, const Service *s) {
        _cleanup_(mam_freep) char *path = NULL;
        int r;

        r = rollout_path(s->rollout, &path);
        return r < 0 ? r : sd_bus_message_append(m, "o", path);
}

static int append_property(sd_bus_message *m, void *object, const char *property) {
        const Service *s = object;
        const MamServiceConfig *c = s->config;

        switch (property[0]) {
        case 'C':
                return sd_bus_message_append(m, "t", service_cpu_millis(s));
        case 'D':
                if (strcmp(property, "DesiredReplicas") == 0)
                        return sd_bus_message_append(m, "u", service_desired(s));
                return sd_bus_message_append_strv(m, c->dependencies);
        case 'H':
                return sd_bus_message_append(m, "s", mam_scaling_mode_to_string(service_horizontal_mode(s)));
        case 'I':
                return sd_bus_message_append(m, "s", c->id);
        case 'M':
                if (strcmp(property, "MinReplicas") == 0)
                        return sd_bus_message_append(m, "u", c->min_replicas);
                if (strcmp(property, "MaxReplicas") == 0)
                        return sd_bus_message_append(m, "u", c->max_replicas);
                return sd_bus_message_append(m, "t", service_memory_bytes(s));
        case 'N':
                return sd_bus_message_append(m, "s", c->name);
        case 'P':
                return sd_bus_message_append(m, "q", c->port);
        case 'R':
                if (strncmp(property, "Recommended", strlen("Recommended")) == 0)
                        return append_recommended(m, s, property + strlen("Recommended"));
                if (strcmp(property, "Revision") == 0)
                        return sd_bus_message_append(m, "s", service_revision(s));
                if (strcmp(property, "Rollout") == 0)
                        return append_rollout(m, s);
                return sd_bus_message_append(m, "u", s->counts.ready);
        case 'S':
                if (strcmp(property, "State") == 0)
                        return sd_bus_message_append(m, "s", s->state_text);
                return sd_bus_message_append(m, "s", s->reason);
        case 'T':
                return sd_bus_message_append(m, "s", mam_service_type_to_string(c->type));
        case 'V':
                if (strcmp(property, "VerticalMode") == 0) {
                        return sd_bus_message_append(
                                        m,
                                        "s",
                                        mam_scaling_mode_to_string(service_vertical_mode(s)));
                }
                return sd_bus_message_append(m, "s", service_version(s));
        default:
                return -ENOENT;
        }
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

static const sd_bus_vtable service_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Name", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Type", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("StateReason", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Port", "q", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("DesiredReplicas", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("ReadyReplicas", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MinReplicas", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MaxReplicas", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("CPULimitMillis", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("MemoryLimitBytes", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Dependencies", "as", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("HorizontalMode", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("VerticalMode", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RecommendedReplicas", "u", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RecommendedCPUMillis", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("RecommendedMemoryBytes", "t", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Revision", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Version", "s", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Rollout", "o", property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

int service_append_properties(sd_bus_message *m, Service *s) {
        return properties_append(m, service_vtable, append_property, s);
}

static int find_service(
                sd_bus *bus,
                const char *path,
                const char *interface,
                void *userdata,
                void **ret_found,
                sd_bus_error *error) {
        _cleanup_(mam_freep) char *id = NULL;
        Service *s;
        int r;

        r = sd_bus_path_decode(path, SERVICE_PREFIX, &id);
        if (r <= 0)
                return r;

        s = manager_find_service(userdata, id);
        if (!s)
                return 0;
        *ret_found = s;
        return 1;
}

static int enumerate_services(
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
                n++;
        }
        list = calloc(n + 1, sizeof(*list));
        if (!list)
                return -ENOMEM;

        DL_FOREACH(m->services, s) {
                if (service_path(s, &list[i]) >= 0)
                        i++;
        }
        list[i] = NULL;
        *ret_nodes = list;
        return 1;
}

int service_export(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(
                        m->bus,
                        NULL,
                        SERVICE_PREFIX,
                        MAM_IFACE_SERVICE,
                        service_vtable,
                        find_service,
                        m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, SERVICE_PREFIX, enumerate_services, m);
}

void service_emit_changes(Service *s) {
        static const struct {
                uint32_t bit;
                const char *name;
        } names[] = {
                { SERVICE_DIRTY_STATE, "State" },
                { SERVICE_DIRTY_STATE, "StateReason" },
                { SERVICE_DIRTY_STATE, "ReadyReplicas" },
                { SERVICE_DIRTY_STATE, "DesiredReplicas" },
                { SERVICE_DIRTY_LIMITS, "CPULimitMillis" },
                { SERVICE_DIRTY_LIMITS, "MemoryLimitBytes" },
                { SERVICE_DIRTY_CONFIG, "Name" },
                { SERVICE_DIRTY_CONFIG, "Type" },
                { SERVICE_DIRTY_CONFIG, "Port" },
                { SERVICE_DIRTY_CONFIG, "MinReplicas" },
                { SERVICE_DIRTY_CONFIG, "MaxReplicas" },
                { SERVICE_DIRTY_CONFIG, "Dependencies" },
                { SERVICE_DIRTY_ROLLOUT, "Revision" },
                { SERVICE_DIRTY_ROLLOUT, "Version" },
                { SERVICE_DIRTY_ROLLOUT, "Rollout" },
                { SERVICE_DIRTY_SCALING, "HorizontalMode" },
                { SERVICE_DIRTY_SCALING, "VerticalMode" },
                { SERVICE_DIRTY_SCALING, "RecommendedReplicas" },
                { SERVICE_DIRTY_SCALING, "RecommendedCPUMillis" },
                { SERVICE_DIRTY_SCALING, "RecommendedMemoryBytes" },
        };
        const char *changed[MAM_ELEMENTSOF(names) + 1];
        _cleanup_(mam_freep) char *path = NULL;
        size_t n = 0;
        int r;

        if ((s->exported && s->dirty == 0) || !s->manager->ready)
                return;

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                if (s->dirty & names[i].bit)
                        changed[n++] = names[i].name;
        }
        changed[n] = NULL;
        s->dirty = 0;

        r = service_path(s, &path);
        if (r < 0)
                return;
        if (!s->exported) {
                s->exported = true;
                r = sd_bus_emit_object_added(s->manager->bus, path);
        } else {
                r = sd_bus_emit_properties_changed_strv(
                                s->manager->bus,
                                path,
                                MAM_IFACE_SERVICE,
                                (char **) changed);
        }
        if (r < 0)
                (void) mam_error_errno(r, "Cannot announce changes of %s", s->config->id);
}

void service_emit_removed(Service *s) {
        _cleanup_(mam_freep) char *path = NULL;

        if (s->exported && service_path(s, &path) >= 0)
                (void) sd_bus_emit_object_removed(s->manager->bus, path);
        s->exported = false;
}
