/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PID 1, as the manager sees it
 *
 * One match with path_namespace covers the property changes of all units; what is not ours is dropped by its
 * path before its body is read. Most facts arrive with the signals; a full GetAll is asked for only when a
 * unit is first seen in a listing.
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config.h"
#include "manager/systemd-bus.h"
#include "manager/systemd-internal.h"

/* "mam@" as bus label: what does not begin so is none of ours. */
#define OWN_UNIT_PREFIX UNIT_PREFIX "/mam_40"

static void list_units(Systemd *s);

/* ---- reading ---- */

/* Reads the variant of one property. <0: the message is broken. */
static int read_property(sd_bus_message *m, const char *name, UnitChange *change) {
        static const struct {
                const char *name;
                UnitField field;
                size_t offset;
        } strings[] = {
                { "ActiveState", UNIT_FIELD_ACTIVE_STATE, offsetof(UnitChange, active_state) },
                { "SubState", UNIT_FIELD_SUB_STATE, offsetof(UnitChange, sub_state) },
                { "Result", UNIT_FIELD_RESULT, offsetof(UnitChange, result) },
                { "StatusText", UNIT_FIELD_STATUS_TEXT, offsetof(UnitChange, status_text) },
                { "ControlGroup", UNIT_FIELD_CONTROL_GROUP, offsetof(UnitChange, control_group) },
        }, numbers[] = {
                { "MainPID", UNIT_FIELD_MAIN_PID, offsetof(UnitChange, main_pid) },
                { "NRestarts", UNIT_FIELD_N_RESTARTS, offsetof(UnitChange, n_restarts) },
        };
        const char *text;
        int r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(strings); i++) {
                if (strcmp(strings[i].name, name) == 0) {
                        text = systemd_read_string(m);
                        if (!text)
                                return -EBADMSG;
                        *(const char **) ((char *) change + strings[i].offset) = text;
                        change->fields |= strings[i].field;
                        return 0;
                }
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(numbers); i++) {
                if (strcmp(numbers[i].name, name) == 0) {
                        r = sd_bus_message_read(
                                        m,
                                        "v",
                                        "u",
                                        (uint32_t *) ((char *) change + numbers[i].offset));
                        if (r < 0)
                                return r;
                        change->fields |= numbers[i].field;
                        return 0;
                }
        }
        if (strcmp(name, "CPUQuotaPerSecUSec") == 0) {
                change->fields |= UNIT_FIELD_CPU_LIMIT;
                return sd_bus_message_read(m, "v", "t", &change->cpu_limit_usec);
        }
        if (strcmp(name, "MemoryMax") == 0) {
                change->fields |= UNIT_FIELD_MEMORY_LIMIT;
                return sd_bus_message_read(m, "v", "t", &change->memory_limit_bytes);
        }
        if (strcmp(name, "ExecMainStartTimestamp") == 0) {
                change->fields |= UNIT_FIELD_STARTED;
                return sd_bus_message_read(m, "v", "t", &change->started_usec);
        }
        if (strcmp(name, "Job") == 0) {
                change->fields |= UNIT_FIELD_JOB;
                return sd_bus_message_read(m, "v", "(uo)", &change->job, &text);
        }
        return sd_bus_message_skip(m, "v");
}

static int read_properties(sd_bus_message *m, UnitChange *change) {
        const char *name;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;

        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &name);
                if (r < 0)
                        return r;
                r = read_property(m, name, change);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* 1: one of our replicas' services. */
static int parse_path(const char *path, char ret_id[static 32], uint32_t *ret_number) {
        _cleanup_(mam_freep) char *unit = NULL;
        size_t length;
        int r;

        if (!path || strncmp(path, OWN_UNIT_PREFIX, strlen(OWN_UNIT_PREFIX)) != 0)
                return 0;
        r = sd_bus_path_decode(path, UNIT_PREFIX, &unit);
        if (r <= 0)
                return r;
        length = strlen(unit);
        if (length < 8 || strcmp(unit + length - 8, ".service") != 0)
                return 0;
        return mam_unit_parse_replica(unit, ret_id, ret_number) < 0 ? 0 : 1;
}

static int on_properties_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        UnitChange change = { 0 };
        Systemd *s = userdata;
        uint32_t number;
        char id[32];
        int r;

        r = parse_path(sd_bus_message_get_path(m), id, &number);
        if (r <= 0)
                return 0;

        r = sd_bus_message_skip(m, "s");
        if (r >= 0)
                r = read_properties(m, &change);
        if (r >= 0 && change.fields != 0)
                s->handlers->on_unit(id, number, &change, s->userdata);
        return 0;
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *path, *unit, *result;
        Systemd *s = userdata;
        uint32_t id;

        if (sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) >= 0)
                s->handlers->on_job_removed(id, unit, result, s->userdata);
        return 0;
}

static int on_reloading(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Systemd *s = userdata;
        int active;

        if (sd_bus_message_read(m, "b", &active) < 0 || active)
                return 0;

        s->handlers->on_reloaded(s->userdata);
        list_units(s);
        return 0;
}

/* ---- listing ---- */

/* One answer fewer to wait for. */
static void listing_step(Systemd *s) {
        if (s->n_listing == 0 || --s->n_listing > 0)
                return;
        if (s->list_again) {
                list_units(s);
                return;
        }
        s->listed = true;
        s->handlers->on_listed(0, NULL, s->userdata);
}

static void on_get_all(MamBusCall *call, sd_bus_message *reply, const sd_bus_error *error, void *userdata) {
        Systemd *s = userdata;
        UnitChange change = { 0 };
        uint32_t number;
        char id[32];

        /* The path of the answer's call is kept in its cookie only, so the unit's own Id tells which one it
         * is. */
        if (reply && !s->freeing) {
                const char *name = NULL, *key;

                if (sd_bus_message_enter_container(reply, 'a', "{sv}") >= 0) {
                        while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
                                if (sd_bus_message_read(reply, "s", &key) < 0)
                                        break;
                                if (strcmp(key, "Id") == 0) {
                                        name = systemd_read_string(reply);
                                        if (!name)
                                                break;
                                } else if (read_property(reply, key, &change) < 0)
                                        break;
                                if (sd_bus_message_exit_container(reply) < 0)
                                        break;
                        }
                }
                if (name && change.fields != 0 && mam_unit_parse_replica(name, id, &number) >= 0)
                        s->handlers->on_unit(id, number, &change, s->userdata);
        }

        if (!s->freeing)
                listing_step(s);
}

static int get_all(Systemd *s, const char *path) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        /* "" is all interfaces: one call where there would be two. */
        r = sd_bus_message_new_method_call(
                        s->bus,
                        &m,
                        SYSTEMD_NAME,
                        path,
                        "org.freedesktop.DBus.Properties",
                        "GetAll");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "");
        if (r >= 0)
                r = mam_bus_calls_add(s->calls, NULL, m, 0, on_get_all, s);
        return r;
}

static void on_list(MamBusCall *call, sd_bus_message *reply, const sd_bus_error *error, void *userdata) {
        const char *unit, *load, *active, *sub, *path, *job_path;
        Systemd *s = userdata;
        uint32_t job, number;
        char id[32];
        int r;

        if (s->freeing)
                return;
        if (error) {
                s->n_listing = 0;
                s->handlers->on_listed(-EIO, error->message, s->userdata);
                return;
        }

        r = sd_bus_message_enter_container(reply, 'a', "(ssssssouso)");
        while (r >= 0 && (r = sd_bus_message_read(
                                          reply,
                                          "(ssssssouso)",
                                          &unit,
                                          NULL,
                                          &load,
                                          &active,
                                          &sub,
                                          NULL,
                                          &path,
                                          &job,
                                          NULL,
                                          &job_path)) > 0) {
                UnitChange change = { .fields = UNIT_FIELD_ACTIVE_STATE | UNIT_FIELD_SUB_STATE |
                                                UNIT_FIELD_JOB,
                                      .active_state = active,
                                      .sub_state = sub,
                                      .job = job };

                if (mam_unit_parse_replica(unit, id, &number) < 0)
                        continue;
                if (strstr(unit, ".socket")) {
                        if (strcmp(active, "active") == 0)
                                s->handlers->on_socket(id, number, s->userdata);
                        continue;
                }
                s->handlers->on_unit(id, number, &change, s->userdata);
                if (strcmp(active, "inactive") != 0 && get_all(s, path) >= 0)
                        s->n_listing++;
        }

        if (r < 0) {
                s->n_listing = 0;
                s->handlers->on_listed(r, strerror(-r), s->userdata);
                return;
        }
        listing_step(s);
}

static void list_units(Systemd *s) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        s->list_again = s->n_listing > 0;
        if (s->list_again)
                return; /* when the current one is through */

        r = sd_bus_message_new_method_call(
                        s->bus,
                        &m,
                        SYSTEMD_NAME,
                        SYSTEMD_PATH,
                        SYSTEMD_MANAGER,
                        "ListUnitsByPatterns");
        if (r >= 0)
                r = sd_bus_message_append(m, "asas", 0, 2, "mam@*.service", "mam@*.socket");
        if (r >= 0)
                r = mam_bus_calls_add(s->calls, NULL, m, 0, on_list, s);
        if (r < 0) {
                s->handlers->on_listed(r, strerror(-r), s->userdata);
                return;
        }
        s->n_listing = 1;
}

static void on_subscribed(
                MamBusCall *call,
                sd_bus_message *reply,
                const sd_bus_error *error,
                void *userdata) {
        Systemd *s = userdata;

        if (!error || s->freeing ||
            sd_bus_error_has_name(error, "org.freedesktop.systemd1.AlreadySubscribed"))
                return;
        s->handlers->on_listed(-EIO, error->message, s->userdata);
}

static int subscribe(Systemd *s) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(
                        s->bus,
                        &m,
                        SYSTEMD_NAME,
                        SYSTEMD_PATH,
                        SYSTEMD_MANAGER,
                        "Subscribe");
        if (r >= 0)
                r = mam_bus_calls_add(s->calls, NULL, m, 0, on_subscribed, s);
        return r;
}

/* systemd was executed anew and has forgotten who subscribed. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *name, *before, *after;
        Systemd *s = userdata;

        if (sd_bus_message_read(m, "sss", &name, &before, &after) < 0 || !*after)
                return 0;
        (void) subscribe(s);
        list_units(s);
        return 0;
}

/* ---- life ---- */

int systemd_new(Systemd **ret, sd_bus *bus, const SystemdHandlers *handlers, void *userdata) {
        _cleanup_(systemd_freep) Systemd *s = NULL;
        int r;

        assert(ret);
        assert(bus);
        assert(handlers);

        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;

        s->bus = sd_bus_ref(bus);
        s->handlers = handlers;
        s->userdata = userdata;
        r = mam_bus_calls_new(&s->calls, bus, SYSTEMD_CALLS_IN_FLIGHT, SYSTEMD_CALLS_WAITING);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(s);
        return 0;
}

Systemd *systemd_free(Systemd *s) {
        if (!s)
                return NULL;

        s->freeing = true;
        for (size_t i = 0; i < MAM_ELEMENTSOF(s->slots); i++)
                sd_bus_slot_unref(s->slots[i]);
        mam_bus_calls_free(s->calls);
        sd_bus_unref(s->bus);
        free(s);
        return NULL;
}

void systemd_list_again(Systemd *s) {
        assert(s);

        list_units(s);
}

bool systemd_is_listed(const Systemd *s) {
        return s->listed;
}

int systemd_start(Systemd *s) {
        static const struct {
                const char *match;
                sd_bus_message_handler_t handler;
        } matches[] = {
                { "type='signal',sender='" SYSTEMD_NAME "',interface='org.freedesktop.DBus.Properties',"
                  "member='PropertiesChanged',path_namespace='" UNIT_PREFIX "'",
                  on_properties_changed },
                { "type='signal',sender='" SYSTEMD_NAME "',path='" SYSTEMD_PATH
                  "',interface='" SYSTEMD_MANAGER "',member='JobRemoved'",
                  on_job_removed },
                { "type='signal',sender='" SYSTEMD_NAME "',path='" SYSTEMD_PATH
                  "',interface='" SYSTEMD_MANAGER "',member='Reloading'",
                  on_reloading },
                { "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                  "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" SYSTEMD_NAME "'",
                  on_owner_changed },
        };
        int r;

        assert(s);

        for (size_t i = 0; i < MAM_ELEMENTSOF(matches); i++) {
                r = sd_bus_add_match_async(
                                s->bus,
                                &s->slots[i],
                                matches[i].match,
                                matches[i].handler,
                                NULL,
                                s);
                if (r < 0)
                        return r;
        }

        r = subscribe(s);
        if (r < 0)
                return r;

        list_units(s);
        return 0;
}
