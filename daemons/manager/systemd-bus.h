/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * PID 1, as the manager sees it
 *
 * A client of org.freedesktop.systemd1 that watches and commands mam@*.service and our other units. It never
 * waits: calls go through one paced queue. Signals are hints: after the start, after a daemon-reload and
 * when systemd itself was replaced, everything is listed again; on_listed then runs after on_unit ran for
 * every unit that exists, and units that were not reported are inactive.
 */

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "libmam/bus/bus-call.h"

typedef struct Systemd Systemd;

/* dbus-daemon cuts off a peer with more than 128 pending replies; polkit's and ours are among them. */
#define SYSTEMD_CALLS_IN_FLIGHT 64U
#define SYSTEMD_CALLS_WAITING   4096U

/* What is known anew about one replica's unit; only fields whose bit is set in fields count. Strings are
 * borrowed. */
typedef enum UnitField {
        UNIT_FIELD_ACTIVE_STATE = 1 << 0,
        UNIT_FIELD_SUB_STATE = 1 << 1,
        UNIT_FIELD_JOB = 1 << 2,
        UNIT_FIELD_MAIN_PID = 1 << 3,
        UNIT_FIELD_RESULT = 1 << 4,
        UNIT_FIELD_N_RESTARTS = 1 << 5,
        UNIT_FIELD_STATUS_TEXT = 1 << 6,
        UNIT_FIELD_STARTED = 1 << 7,
        UNIT_FIELD_CONTROL_GROUP = 1 << 8,
        UNIT_FIELD_CPU_LIMIT = 1 << 9, /* this and the next come with listings only */
        UNIT_FIELD_MEMORY_LIMIT = 1 << 10,
} UnitField;

typedef struct UnitChange {
        uint32_t fields;
        const char *active_state;
        const char *sub_state;
        uint32_t job; /* 0: none */
        uint32_t main_pid;
        const char *result;
        uint32_t n_restarts;
        const char *status_text;
        uint64_t started_usec; /* realtime */
        const char *control_group;
        uint64_t cpu_limit_usec; /* per second; UINT64_MAX: none */
        uint64_t memory_limit_bytes;
} UnitChange;

typedef struct SystemdHandlers {
        void (*on_unit)(const char *id, uint32_t number, const UnitChange *change, void *userdata);
        /* With a listing, before on_listed: the replica's own socket is open. */
        void (*on_socket)(const char *id, uint32_t number, void *userdata);
        /* error <0: systemd could not be asked; message says why. Listing is tried again by the next hint.
         */
        void (*on_listed)(int error, const char *message, void *userdata);
        /* result: "done", "failed", "canceled", "timeout", "dependency", "skipped", … */
        void (*on_job_removed)(uint32_t job, const char *unit, const char *result, void *userdata);
        void (*on_reloaded)(void *userdata); /* just before everything is listed again */
} SystemdHandlers;

/* job 0 and error set: refused. Runs once. */
typedef void (*SystemdReply)(uint32_t job, const sd_bus_error *error, void *userdata);

/* handlers must outlive it. */
int systemd_new(Systemd **ret, sd_bus *bus, const SystemdHandlers *handlers, void *userdata);
/* Replies that are still owed come as "cancelled". */
Systemd *systemd_free(Systemd *s);
MAM_DEFINE_CLEANUP(Systemd, systemd_free);

/* Begins to watch, and lists for the first time. */
int systemd_start(Systemd *s);
bool systemd_is_listed(const Systemd *s);
/* Lists everything again, for what no signal tells. */
void systemd_list_again(Systemd *s);
/* What no signal tells: the control group of a unit that was started meanwhile. on_unit brings it. */
int systemd_ask_control_group(Systemd *s, const char *id, uint32_t number);

int systemd_start_unit(Systemd *s, const char *unit, const char *mode, SystemdReply reply, void *userdata);
int systemd_stop_unit(Systemd *s, const char *unit, SystemdReply reply, void *userdata);
int systemd_restart_unit(Systemd *s, const char *unit, SystemdReply reply, void *userdata);
/* Runtime limits: cpu in thousandths of a core, memory in bytes (MemoryHigh becomes 90 % of it). */
int systemd_set_limits(
                Systemd *s,
                const char *unit,
                uint64_t cpu_millis,
                uint64_t memory_bytes,
                SystemdReply reply,
                void *userdata);
/* CPU and MemoryHigh alone: MemoryMax stays. */
int systemd_set_soft_limits(
                Systemd *s,
                const char *unit,
                uint64_t cpu_millis,
                uint64_t memory_high_bytes,
                SystemdReply reply,
                void *userdata);
/* who: "main" or "all". */
int systemd_kill_unit(
                Systemd *s,
                const char *unit,
                const char *who,
                int signal,
                SystemdReply reply,
                void *userdata);
/* One runtime property of type t. */
int systemd_set_number(
                Systemd *s,
                const char *unit,
                const char *property,
                uint64_t value,
                SystemdReply reply,
                void *userdata);
/* Reading, and as much writing, from each of the devices ("/dev/…"); UINT64_MAX: without limit. */
int systemd_set_io_bandwidth(
                Systemd *s,
                const char *unit,
                char devices[][64],
                size_t n_devices,
                uint64_t bytes_per_sec,
                SystemdReply reply,
                void *userdata);
/* daemon-reload; the reply comes when it is done. */
int systemd_reload(Systemd *s, SystemdReply reply, void *userdata);
/* on_answer(1): the system is going down; 0: it is not, or nobody knows. */
int systemd_ask_stopping(Systemd *s, void (*on_answer)(bool stopping, void *userdata), void *userdata);
