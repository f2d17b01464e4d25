/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.freedesktop.systemd1 as a test wants it
 */

#include <stdlib.h>
#include <string.h>

#include "libmam/util/macro.h"
#include "manager/fake-systemd.h"

#define PATH       "/org/freedesktop/systemd1"
#define MANAGER    "org.freedesktop.systemd1.Manager"
#define UNIT       "org.freedesktop.systemd1.Unit"
#define SERVICE    "org.freedesktop.systemd1.Service"
#define PROPERTIES "org.freedesktop.DBus.Properties"

FakeUnit *fake_unit(FakeSystemd *f, const char *name) {
        for (size_t i = 0; i < f->n_units; i++) {
                if (strcmp(f->units[i].name, name) == 0)
                        return &f->units[i];
        }

        ASSERT_TRUE(f->n_units < FAKE_UNITS_MAX);
        f->units[f->n_units] =
                        (FakeUnit){ .active_state = "inactive", .sub_state = "dead", .result = "success" };
        snprintf(f->units[f->n_units].name, sizeof(f->units[0].name), "%s", name);
        return &f->units[f->n_units++];
}

unsigned fake_told(const FakeSystemd *f, const char *line) {
        unsigned n = 0;

        for (size_t i = 0; i < f->n_log; i++)
                n += strcmp(f->log[i], line) == 0;
        return n;
}

static const char *note(FakeSystemd *f, const char *what, const char *unit) {
        ASSERT_TRUE(f->n_log < FAKE_LOG_MAX);
        snprintf(f->log[f->n_log], sizeof(f->log[0]), "%s%s%s", what, *unit ? " " : "", unit);
        return f->log[f->n_log++];
}

static void emit_unit(FakeSystemd *f, const FakeUnit *u) {
        _cleanup_(mam_freep) char *path = NULL;

        ASSERT_OK(sd_bus_path_encode(PATH "/unit", u->name, &path));
        ASSERT_OK(sd_bus_emit_signal(
                        f->bus,
                        path,
                        PROPERTIES,
                        "PropertiesChanged",
                        "sa{sv}as",
                        UNIT,
                        3,
                        "ActiveState",
                        "s",
                        u->active_state,
                        "SubState",
                        "s",
                        u->sub_state,
                        "Job",
                        "(uo)",
                        u->job,
                        "/",
                        0));
}

static void emit_service(FakeSystemd *f, const FakeUnit *u) {
        _cleanup_(mam_freep) char *path = NULL;

        ASSERT_OK(sd_bus_path_encode(PATH "/unit", u->name, &path));
        ASSERT_OK(sd_bus_emit_signal(
                        f->bus,
                        path,
                        PROPERTIES,
                        "PropertiesChanged",
                        "sa{sv}as",
                        SERVICE,
                        2,
                        "MainPID",
                        "u",
                        u->main_pid,
                        "NRestarts",
                        "u",
                        u->n_restarts,
                        0));
}

void fake_unit_change(FakeSystemd *f, const char *name, const char *active_state, const char *sub_state) {
        FakeUnit *u = fake_unit(f, name);

        u->active_state = active_state;
        u->sub_state = sub_state;
        emit_service(f, u); /* systemd sends both, whichever has changed */
        emit_unit(f, u);
}

void fake_unit_restarted(FakeSystemd *f, const char *name, uint32_t n_restarts) {
        FakeUnit *u = fake_unit(f, name);

        u->n_restarts = n_restarts;
        emit_service(f, u);
}

/* "mam@ID:1-N.target": N, else 0. */
static uint32_t first_replicas(const char *unit) {
        const char *dash = strncmp(unit, "mam@", 4) == 0 ? strstr(unit, ":1-") : NULL;

        return dash && strstr(dash, ".target") ? (uint32_t) strtoul(dash + 3, NULL, 10) : 0;
}

static FakeUnit *replica_of(FakeSystemd *f, const char *target, uint32_t n) {
        char name[64];

        snprintf(name, sizeof(name), "%.*s:%u.service", (int) strcspn(target, ":"), target, n);
        return fake_unit(f, name);
}

/* The target's job comes after those of all that it wants. */
static void end_targets(FakeSystemd *f) {
        for (size_t i = 0; i < f->n_units; i++) {
                uint32_t n_first = first_replicas(f->units[i].name);
                bool waits = false;

                if (n_first == 0 || f->units[i].job == 0)
                        continue;
                for (uint32_t n = 1; n <= n_first; n++)
                        waits = waits || replica_of(f, f->units[i].name, n)->job > 0;
                if (!waits)
                        fake_job_ends(f, f->units[i].name, "done");
        }
}

void fake_job_ends(FakeSystemd *f, const char *name, const char *result) {
        FakeUnit *u = fake_unit(f, name);
        uint32_t job = u->job;
        char path[64];

        ASSERT_TRUE(job > 0);
        u->job = 0;
        emit_unit(f, u);
        snprintf(path, sizeof(path), PATH "/job/%u", job);
        ASSERT_OK(sd_bus_emit_signal(f->bus, PATH, MANAGER, "JobRemoved", "uoss", job, path, name, result));
        if (first_replicas(name) == 0)
                end_targets(f);
}

/* ---- methods ---- */

static int method_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_bus_reply_method_return(m, NULL);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        FakeSystemd *f = userdata;

        note(f, "List", "");
        ASSERT_OK(sd_bus_message_new_method_return(m, &reply));
        ASSERT_OK(sd_bus_message_open_container(reply, 'a', "(ssssssouso)"));
        for (size_t i = 0; i < f->n_units; i++) {
                _cleanup_(mam_freep) char *path = NULL;
                const FakeUnit *u = &f->units[i];

                if (strncmp(u->name, "mam@", 4) != 0 ||
                    (!strstr(u->name, ".service") && !strstr(u->name, ".socket")))
                        continue;
                ASSERT_OK(sd_bus_path_encode(PATH "/unit", u->name, &path));
                ASSERT_OK(sd_bus_message_append(
                                reply,
                                "(ssssssouso)",
                                u->name,
                                "",
                                "loaded",
                                u->active_state,
                                u->sub_state,
                                "",
                                path,
                                u->job,
                                "",
                                "/"));
        }
        ASSERT_OK(sd_bus_message_close_container(reply));
        ASSERT_OK(sd_bus_send(NULL, reply, NULL));
        return 1;
}

/* What the target wants is started, if it does not run; what cannot be is left out without a word. */
static void start_wanted(FakeSystemd *f, const char *target, uint32_t n_first) {
        bool started[FAKE_UNITS_MAX] = { false };

        for (uint32_t n = 1; n <= n_first; n++) {
                FakeUnit *u = replica_of(f, target, n);
                const char *line;

                if (strcmp(u->active_state, "inactive") != 0 || u->job > 0)
                        continue;
                line = note(f, "StartUnit", u->name);
                if (f->refuse && strstr(line, f->refuse))
                        continue;
                u->n_restarts = 0;
                u->job = ++f->last_job;
                if (f->hold && strstr(line, f->hold)) {
                        emit_unit(f, u);
                } else
                        started[u - f->units] = true;
        }
        for (size_t i = 0; i < f->n_units; i++) {
                if (!started[i])
                        continue;
                f->units[i].main_pid = 1000 + f->units[i].job;
                fake_unit_change(f, f->units[i].name, "active", "running");
                fake_job_ends(f, f->units[i].name, "done");
        }
        end_targets(f);
}

static int command(
                FakeSystemd *f,
                sd_bus_message *m,
                const char *what,
                const char *state,
                const char *sub,
                sd_bus_error *error) {
        const char *unit, *mode, *line;
        char path[64];
        FakeUnit *u;

        ASSERT_OK(sd_bus_message_read(m, "ss", &unit, &mode));
        line = note(f, what, unit);
        if (f->refuse && strstr(line, f->refuse)) {
                return sd_bus_error_setf(
                                error,
                                f->refuse_name ? f->refuse_name : "org.freedesktop.systemd1.NoSuchUnit",
                                "Unit %s not found.",
                                unit);
        }

        if (f->park_starts && strcmp(what, "StartUnit") == 0) {
                ASSERT_TRUE(f->n_held < FAKE_HELD_MAX);
                f->held[f->n_held++] = sd_bus_message_ref(m);
                return 1;
        }

        u = fake_unit(f, unit);
        u->n_restarts = 0;
        u->job = ++f->last_job;
        snprintf(path, sizeof(path), PATH "/job/%u", u->job);
        ASSERT_OK(sd_bus_reply_method_return(m, "o", path));
        if (first_replicas(unit) > 0) {
                start_wanted(f, unit, first_replicas(unit));
                return 1;
        }
        if (f->hold && strstr(line, f->hold)) {
                emit_unit(f, u);
                return 1;
        }

        if (strcmp(what, "RestartUnit") == 0)
                fake_unit_change(f, unit, "inactive", "dead");
        u->main_pid = strcmp(state, "active") == 0 ? 1000 + f->last_job : 0;
        fake_unit_change(f, unit, state, sub);
        fake_job_ends(f, unit, "done");
        return 1;
}

static int method_start(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return command(userdata, m, "StartUnit", "active", "running", error);
}

static int method_stop(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return command(userdata, m, "StopUnit", "inactive", "dead", error);
}

static int method_restart(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return command(userdata, m, "RestartUnit", "active", "running", error);
}

static int method_kill(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *unit, *who, *line;
        FakeSystemd *f = userdata;
        char what[32];
        int signal_number;

        ASSERT_OK(sd_bus_message_read(m, "ssi", &unit, &who, &signal_number));
        snprintf(what, sizeof(what), "KillUnit %s %i", who, signal_number);
        line = note(f, what, unit);
        if (f->refuse && strstr(line, f->refuse))
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Not allowed to kill %s.", unit);
        return sd_bus_reply_method_return(m, NULL);
}

/* A number, or for each device the same bandwidth. */
static void note_property(FakeUnit *u, sd_bus_message *m) {
        size_t length = strlen(u->properties), n = 0;
        const char *name, *device, *contents;
        uint64_t value = 0;
        char type;

        ASSERT_OK(sd_bus_message_read(m, "s", &name));
        ASSERT_OK(sd_bus_message_peek_type(m, &type, &contents));
        if (strcmp(contents, "t") == 0) {
                ASSERT_OK(sd_bus_message_read(m, "v", "t", &value));
                snprintf(u->properties + length,
                         sizeof(u->properties) - length,
                         "%s=%llu ",
                         name,
                         (unsigned long long) value);
                return;
        }
        ASSERT_OK(sd_bus_message_enter_container(m, 'v', "a(st)"));
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(st)"));
        while (sd_bus_message_read(m, "(st)", &device, &value) > 0)
                n++;
        ASSERT_OK(sd_bus_message_exit_container(m));
        ASSERT_OK(sd_bus_message_exit_container(m));
        snprintf(u->properties + length,
                 sizeof(u->properties) - length,
                 "%s=%zu*%llu ",
                 name,
                 n,
                 (unsigned long long) value);
}

static int method_set_properties(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        FakeSystemd *f = userdata;
        const char *unit;
        FakeUnit *u;
        int runtime;

        ASSERT_OK(sd_bus_message_read(m, "sb", &unit, &runtime));
        ASSERT_TRUE(runtime);
        note(f, "SetUnitProperties", unit);
        u = fake_unit(f, unit);
        u->properties[0] = '\0';
        ASSERT_OK(sd_bus_message_enter_container(m, 'a', "(sv)"));
        while (sd_bus_message_enter_container(m, 'r', "sv") > 0) {
                note_property(u, m);
                ASSERT_OK(sd_bus_message_exit_container(m));
        }
        if (!f->park_limits)
                return sd_bus_reply_method_return(m, NULL);
        ASSERT_TRUE(f->n_held < FAKE_HELD_MAX);
        f->held[f->n_held++] = sd_bus_message_ref(m);
        return 1;
}

void fake_answer_starts(FakeSystemd *f) {
        f->park_starts = false;
        while (f->n_held > 0) {
                ASSERT_OK(sd_bus_reply_method_return(f->held[--f->n_held], "o", PATH "/job/1"));
                f->held[f->n_held] = sd_bus_message_unref(f->held[f->n_held]);
        }
}

void fake_reload(FakeSystemd *f) {
        ASSERT_OK(sd_bus_emit_signal(f->bus, PATH, MANAGER, "Reloading", "b", 1));
        ASSERT_OK(sd_bus_emit_signal(f->bus, PATH, MANAGER, "Reloading", "b", 0));
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        FakeSystemd *f = userdata;

        note(f, "Reload", "");
        if (f->refuse_reloads > 0) {
                f->refuse_reloads--;
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "Not allowed to reload.");
        }
        fake_reload(f);
        return sd_bus_reply_method_return(m, NULL);
}

static int property_get_system_state(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        const FakeSystemd *f = userdata;

        return sd_bus_message_append(reply, "s", f->stopping ? "stopping" : "running");
}

static int property_get_unit(
                sd_bus *bus,
                const char *path,
                const char *interface,
                const char *property,
                sd_bus_message *reply,
                void *userdata,
                sd_bus_error *error) {
        const FakeUnit *u = userdata;
        char group[128];

        if (strcmp(property, "Id") == 0)
                return sd_bus_message_append(reply, "s", u->name);
        if (strcmp(property, "ActiveState") == 0)
                return sd_bus_message_append(reply, "s", u->active_state);
        if (strcmp(property, "SubState") == 0)
                return sd_bus_message_append(reply, "s", u->sub_state);
        if (strcmp(property, "Job") == 0)
                return sd_bus_message_append(reply, "(uo)", u->job, "/");
        if (strcmp(property, "MainPID") == 0)
                return sd_bus_message_append(reply, "u", u->main_pid);
        if (strcmp(property, "NRestarts") == 0)
                return sd_bus_message_append(reply, "u", u->n_restarts);
        if (strcmp(property, "Result") == 0)
                return sd_bus_message_append(reply, "s", u->result);
        snprintf(group, sizeof(group), "/mam.slice/%s", u->name);
        return sd_bus_message_append(reply, "s", group);
}

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Subscribe", NULL, NULL, method_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListUnitsByPatterns",
                      "asas",
                      "a(ssssssouso)",
                      method_list,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("StartUnit", "ss", "o", method_start, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("StopUnit", "ss", "o", method_stop, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RestartUnit", "ss", "o", method_restart, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("KillUnit", "ssi", NULL, method_kill, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SetUnitProperties",
                      "sba(sv)",
                      NULL,
                      method_set_properties,
                      SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Reload", NULL, NULL, method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("SystemState", "s", property_get_system_state, 0, 0),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable unit_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "s", property_get_unit, 0, 0),
        SD_BUS_PROPERTY("ActiveState", "s", property_get_unit, 0, 0),
        SD_BUS_PROPERTY("SubState", "s", property_get_unit, 0, 0),
        SD_BUS_PROPERTY("Job", "(uo)", property_get_unit, 0, 0),
        SD_BUS_VTABLE_END,
};

static const sd_bus_vtable service_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("MainPID", "u", property_get_unit, 0, 0),
        SD_BUS_PROPERTY("NRestarts", "u", property_get_unit, 0, 0),
        SD_BUS_PROPERTY("Result", "s", property_get_unit, 0, 0),
        SD_BUS_PROPERTY("ControlGroup", "s", property_get_unit, 0, 0),
        SD_BUS_VTABLE_END,
};

static int find_unit(
                sd_bus *bus,
                const char *path,
                const char *interface,
                void *userdata,
                void **ret_found,
                sd_bus_error *error) {
        _cleanup_(mam_freep) char *name = NULL;

        if (sd_bus_path_decode(path, PATH "/unit", &name) <= 0)
                return 0;
        *ret_found = fake_unit(userdata, name);
        return 1;
}

void fake_systemd_start(FakeSystemd *f, TestBus *b) {
        f->bus = test_bus_connect(b, "org.freedesktop.systemd1");
        ASSERT_OK(sd_bus_add_object_vtable(f->bus, NULL, PATH, MANAGER, manager_vtable, f));
        ASSERT_OK(sd_bus_add_fallback_vtable(f->bus, NULL, PATH "/unit", UNIT, unit_vtable, find_unit, f));
        ASSERT_OK(sd_bus_add_fallback_vtable(
                        f->bus,
                        NULL,
                        PATH "/unit",
                        SERVICE,
                        service_vtable,
                        find_unit,
                        f));
}

void fake_systemd_stop(FakeSystemd *f) {
        for (size_t i = 0; i < f->n_held; i++)
                sd_bus_message_unref(f->held[i]);
        f->n_held = 0;
        f->bus = test_bus_disconnect(f->bus);
}
