/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PID 1, as the manager sees it: commands and single questions
 */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/config.h"
#include "libmam/util/time.h"
#include "manager/systemd-bus.h"
#include "manager/systemd-internal.h"

#define RELOAD_TIMEOUT_USEC (120 * MAM_USEC_PER_SEC)

typedef struct Request {
        Systemd *systemd; /* weak */
        SystemdReply reply;
        void (*on_answer)(bool stopping, void *userdata);
        void *userdata;
} Request;

const char *systemd_read_string(sd_bus_message *m) {
        const char *text = "";

        return sd_bus_message_read(m, "v", "s", &text) < 0 ? NULL : text;
}

static int request_new(Request **ret, Systemd *s, SystemdReply reply, void *userdata) {
        Request *q;

        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;

        *q = (Request){ .systemd = s, .reply = reply, .userdata = userdata };
        *ret = q;
        return 0;
}

static void on_command_reply(
                MamBusCall *call,
                sd_bus_message *reply,
                const sd_bus_error *error,
                void *userdata) {
        _cleanup_(mam_freep) Request *q = userdata;
        const char *path = NULL, *number;
        uint32_t job = 0;

        if (reply && sd_bus_message_has_signature(reply, "o") &&
            sd_bus_message_read(reply, "o", &path) >= 0) {
                number = strrchr(path, '/');
                job = number ? (uint32_t) strtoul(number + 1, NULL, 10) : 0;
        }
        if (q->reply)
                q->reply(job, error, q->userdata);
}

static int new_command(Systemd *s, sd_bus_message **ret, const char *method) {
        return sd_bus_message_new_method_call(
                        s->bus,
                        ret,
                        SYSTEMD_NAME,
                        SYSTEMD_PATH,
                        SYSTEMD_MANAGER,
                        method);
}

static int send_command(
                Systemd *s,
                sd_bus_message *m,
                uint64_t timeout_usec,
                SystemdReply reply,
                void *userdata) {
        _cleanup_(mam_freep) Request *q = NULL;
        int r;

        r = request_new(&q, s, reply, userdata);
        if (r < 0)
                return r;

        r = mam_bus_calls_add(s->calls, NULL, m, timeout_usec, on_command_reply, q);
        if (r < 0)
                return r;

        (void) MAM_TAKE(q); /* on_command_reply() runs exactly once and frees it */
        return 0;
}

static int unit_command(
                Systemd *s,
                const char *method,
                const char *unit,
                const char *mode,
                SystemdReply reply,
                void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);
        assert(unit);

        r = new_command(s, &m, method);
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", unit, mode);
        if (r >= 0)
                r = send_command(s, m, 0, reply, userdata);
        return r;
}

int systemd_start_unit(Systemd *s, const char *unit, const char *mode, SystemdReply reply, void *userdata) {
        return unit_command(s, "StartUnit", unit, mode, reply, userdata);
}

int systemd_stop_unit(Systemd *s, const char *unit, SystemdReply reply, void *userdata) {
        return unit_command(s, "StopUnit", unit, "replace", reply, userdata);
}

int systemd_restart_unit(Systemd *s, const char *unit, SystemdReply reply, void *userdata) {
        return unit_command(s, "RestartUnit", unit, "replace", reply, userdata);
}

int systemd_set_limits(
                Systemd *s,
                const char *unit,
                uint64_t cpu_millis,
                uint64_t memory_bytes,
                SystemdReply reply,
                void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);
        assert(unit);

        r = new_command(s, &m, "SetUnitProperties");
        if (r >= 0) {
                r = sd_bus_message_append(
                                m,
                                "sba(sv)",
                                unit,
                                1,
                                3,
                                "CPUQuotaPerSecUSec",
                                "t",
                                cpu_millis * 1000,
                                "MemoryHigh",
                                "t",
                                memory_bytes / 10 * 9,
                                "MemoryMax",
                                "t",
                                memory_bytes);
        }
        if (r >= 0)
                r = send_command(s, m, 0, reply, userdata);
        return r;
}

int systemd_set_soft_limits(
                Systemd *s,
                const char *unit,
                uint64_t cpu_millis,
                uint64_t memory_high_bytes,
                SystemdReply reply,
                void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);
        assert(unit);

        r = new_command(s, &m, "SetUnitProperties");
        if (r >= 0) {
                r = sd_bus_message_append(
                                m,
                                "sba(sv)",
                                unit,
                                1,
                                2,
                                "CPUQuotaPerSecUSec",
                                "t",
                                cpu_millis * 1000,
                                "MemoryHigh",
                                "t",
                                memory_high_bytes);
        }
        if (r >= 0)
                r = send_command(s, m, 0, reply, userdata);
        return r;
}

int systemd_kill_unit(
                Systemd *s,
                const char *unit,
                const char *who,
                int signal,
                SystemdReply reply,
                void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);
        assert(unit);

        r = new_command(s, &m, "KillUnit");
        if (r >= 0)
                r = sd_bus_message_append(m, "ssi", unit, who, signal);
        if (r >= 0)
                r = send_command(s, m, 0, reply, userdata);
        return r;
}

int systemd_set_number(
                Systemd *s,
                const char *unit,
                const char *property,
                uint64_t value,
                SystemdReply reply,
                void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);
        assert(unit);

        r = new_command(s, &m, "SetUnitProperties");
        if (r >= 0)
                r = sd_bus_message_append(m, "sba(sv)", unit, 1, 1, property, "t", value);
        if (r >= 0)
                r = send_command(s, m, 0, reply, userdata);
        return r;
}

/* (property, a(st)): an array of systemd appends to what is there, an empty one clears it. */
static int append_bandwidth(
                sd_bus_message *m,
                const char *property,
                char devices[][64],
                size_t n_devices,
                uint64_t bytes_per_sec) {
        int r;

        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", property);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(st)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(st)");
        for (size_t i = 0; r >= 0 && i < n_devices; i++)
                r = sd_bus_message_append(m, "(st)", devices[i], bytes_per_sec);
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

int systemd_set_io_bandwidth(
                Systemd *s,
                const char *unit,
                char devices[][64],
                size_t n_devices,
                uint64_t bytes_per_sec,
                SystemdReply reply,
                void *userdata) {
        static const char *const properties[] = { "IOReadBandwidthMax", "IOWriteBandwidthMax" };
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);
        assert(unit);

        r = new_command(s, &m, "SetUnitProperties");
        if (r >= 0)
                r = sd_bus_message_append(m, "sb", unit, 1);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        for (size_t i = 0; r >= 0 && i < MAM_ELEMENTSOF(properties); i++)
                r = append_bandwidth(
                                m,
                                properties[i],
                                devices,
                                bytes_per_sec == UINT64_MAX ? 0 : n_devices,
                                bytes_per_sec);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = send_command(s, m, 0, reply, userdata);
        return r;
}

int systemd_reload(Systemd *s, SystemdReply reply, void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        assert(s);

        r = new_command(s, &m, "Reload");
        if (r >= 0)
                r = send_command(s, m, RELOAD_TIMEOUT_USEC, reply, userdata);
        return r;
}

/* ---- questions ---- */

typedef struct GroupQuestion {
        Systemd *systemd; /* weak */
        char id[32];
        uint32_t number;
} GroupQuestion;

static void on_control_group(
                MamBusCall *call,
                sd_bus_message *reply,
                const sd_bus_error *error,
                void *userdata) {
        _cleanup_(mam_freep) GroupQuestion *q = userdata;
        UnitChange change = { .fields = UNIT_FIELD_CONTROL_GROUP };

        if (!reply || q->systemd->freeing)
                return;
        change.control_group = systemd_read_string(reply);
        if (change.control_group)
                q->systemd->handlers->on_unit(q->id, q->number, &change, q->systemd->userdata);
}

int systemd_ask_control_group(Systemd *s, const char *id, uint32_t number) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(mam_freep) GroupQuestion *q = NULL;
        _cleanup_(mam_freep) char *path = NULL;
        char unit[MAM_UNIT_NAME_MAX];
        int r;

        assert(s);
        assert(id);

        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;

        q->systemd = s;
        q->number = number;
        snprintf(q->id, sizeof(q->id), "%s", id);
        mam_unit_replica_service(unit, id, number);
        r = sd_bus_path_encode(UNIT_PREFIX, unit, &path);
        if (r >= 0) {
                r = sd_bus_message_new_method_call(
                                s->bus,
                                &m,
                                SYSTEMD_NAME,
                                path,
                                "org.freedesktop.DBus.Properties",
                                "Get");
        }
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", "org.freedesktop.systemd1.Service", "ControlGroup");
        if (r >= 0)
                r = mam_bus_calls_add(s->calls, NULL, m, 0, on_control_group, q);
        if (r < 0)
                return r;

        (void) MAM_TAKE(q); /* on_control_group() runs exactly once and frees it */
        return 0;
}

static void on_system_state(
                MamBusCall *call,
                sd_bus_message *reply,
                const sd_bus_error *error,
                void *userdata) {
        _cleanup_(mam_freep) Request *q = userdata;
        const char *state = NULL;

        if (q->systemd->freeing)
                return;
        if (reply)
                state = systemd_read_string(reply);
        q->on_answer(state && strcmp(state, "stopping") == 0, q->userdata);
}

int systemd_ask_stopping(Systemd *s, void (*on_answer)(bool stopping, void *userdata), void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(mam_freep) Request *q = NULL;
        int r;

        assert(s);
        assert(on_answer);

        r = request_new(&q, s, NULL, userdata);
        if (r < 0)
                return r;

        q->on_answer = on_answer;
        r = sd_bus_message_new_method_call(
                        s->bus,
                        &m,
                        SYSTEMD_NAME,
                        SYSTEMD_PATH,
                        "org.freedesktop.DBus.Properties",
                        "Get");
        if (r >= 0)
                r = sd_bus_message_append(m, "ss", SYSTEMD_MANAGER, "SystemState");
        if (r >= 0)
                r = mam_bus_calls_add(s->calls, NULL, m, 0, on_system_state, q);
        if (r < 0)
                return r;

        (void) MAM_TAKE(q);
        return 0;
}
