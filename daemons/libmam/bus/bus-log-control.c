/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.freedesktop.LogControl1
 *
 * Writing is not marked unprivileged: sd-bus lets only privileged callers through, on top of the bus policy.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/bus/bus-log-control.h"
#include "libmam/obs/log.h"

/* Names of syslog, as the interface wants them, and of LOG_LEVEL; levels that mam does not tell apart fall
 * on the nearest. */
static const struct {
        const char *bus, *own;
} levels[] = {
        { "debug", "debug" }, { "info", "info" },  { "notice", "notice" }, { "warning", "warn" },
        { "err", "error" },   { "crit", "error" }, { "alert", "error" },   { "emerg", "error" },
};

static int property_get_level(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        const char *own = mam_log_get_level();

        for (size_t i = 0; i < MAM_ELEMENTSOF(levels); i++) {
                if (strcmp(levels[i].own, own) == 0)
                        return sd_bus_message_append(reply, "s", levels[i].bus);
        }
        return sd_bus_message_append(reply, "s", own);
}

static int property_set_level(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *value,
                void *userdata,
                sd_bus_error *error) {
        const char *level;
        int r;

        r = sd_bus_message_read(value, "s", &level);
        if (r < 0)
                return r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(levels); i++) {
                if (strcmp(levels[i].bus, level) == 0)
                        return mam_log_set_level(levels[i].own);
        }
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Invalid log level '%s'", level);
}

static int property_get_target(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", getenv("JOURNAL_STREAM") ? "journal" : "console");
}

static int property_set_target(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *value,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_NOT_SUPPORTED, "The log target is chosen at the start");
}

static int property_get_identifier(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", (const char *) userdata);
}

static const sd_bus_vtable log_control_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", property_get_level, property_set_level, 0, 0),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", property_get_target, property_set_target, 0, 0),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", property_get_identifier, 0, 0),
        SD_BUS_VTABLE_END,
};

int mam_log_control_export(sd_bus *bus, sd_bus_slot **ret, const char *identifier) {
        assert(bus);
        assert(identifier);

        return sd_bus_add_object_vtable(
                        bus,
                        ret,
                        "/org/freedesktop/LogControl1",
                        "org.freedesktop.LogControl1",
                        log_control_vtable,
                        (void *) identifier);
}
