/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Chaos: what is done to one victim, by way of systemd
 */

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/message-ids.h"
#include "libmam/util/file.h"
#include "libmam/util/time.h"
#include "manager/cgroup.h"
#include "manager/chaos-internal.h"
#include "manager/events.h"
#include "manager/manager.h"

/* cgroup v1 has no soft limit that bites: what a replica may still ask for before the kernel kills it. */
#define MEMORY_SLACK_BYTES (UINT64_C(1024) * 1024)

/* ---- replies of systemd ---- */

/* There is nothing to signal: the process has just ended, or the unit is gone. */
static bool is_nobody_there(const sd_bus_error *error) {
        return sd_bus_error_has_name(error, "org.freedesktop.systemd1.NoSuchProcess") ||
               sd_bus_error_has_name(error, "org.freedesktop.systemd1.NoSuchUnit") ||
               sd_bus_error_has_name(error, "org.freedesktop.systemd1.UnitNotLoaded") ||
               sd_bus_error_get_errno(error) == ESRCH;
}

void chaos_run_end(ChaosRun *run, const char *result, const char *message) {
        if (run->ending)
                return;

        run->ending = true;
        run->result = result;
        snprintf(run->message, sizeof(run->message), "%s", message);
        /* At once, whatever was planned. */
        for (uint32_t i = 0; i < run->n_victims; i++) {
                run->victims[i].failed = 0;
                run->victims[i].next_usec = 0;
        }
        manager_queue_pass(run->chaos->manager);
}

static void note_failure(ChaosVictim *v, const char *message) {
        ChaosRun *run = v->run;
        char text[160];

        v->next_usec = mam_now_monotonic() + CHAOS_RETRY_USEC;
        if (++v->failed < (run->ending ? CHAOS_UNDO_TRIES : CHAOS_TRIES))
                return;

        snprintf(text, sizeof(text), "%s:%u: %s", run->service, v->number, message);
        if (!run->ending) {
                chaos_run_end(run, "failed", text);
                return;
        }
        event_log(run->chaos->manager,
                  LOG_ERR,
                  MAM_MESSAGE_CHAOS,
                  run->service,
                  v->number,
                  "chaos",
                  "chaos could not be taken back, restart it: %s",
                  message);
        v->halted = v->squeezed = false;
        run->result = "failed";
        snprintf(run->message, sizeof(run->message), "%s", text);
}

static void on_acted(uint32_t job, const sd_bus_error *error, void *userdata) {
        ChaosVictim *v = userdata;
        ChaosRun *run = v->run;
        ChaosAct act = v->act;

        v->act = CHAOS_NOTHING;
        if (error && sd_bus_error_has_name(error, MAM_BUS_ERROR_CANCELLED))
                return; /* the manager ends; its successor takes it back */

        if (error && (act == CHAOS_ACT_SQUEEZE || act == CHAOS_ACT_RELEASE || !is_nobody_there(error))) {
                /* Refused is not done; without an answer it may have been. */
                if (!sd_bus_error_has_names(error, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT)) {
                        v->halted = v->halted && act != CHAOS_ACT_HALT;
                        v->squeezed = v->squeezed && act != CHAOS_ACT_SQUEEZE;
                }
                note_failure(v, error->message);
        } else {
                v->failed = 0;
                if (act == CHAOS_ACT_CONTINUE)
                        v->halted = false;
                if (act == CHAOS_ACT_RELEASE)
                        v->squeezed = false;
        }
        manager_queue_pass(run->chaos->manager);
}

/* ---- acts ---- */

static bool memory_has_high(void) {
        return access(CHAOS_CGROUP_ROOT "/cgroup.controllers", F_OK) == 0;
}

/* "/dev/…" of the disks, NULL-terminated; virtual ones have no device behind them. */
static int list_disks(char names[static CHAOS_DISKS_MAX][64]) {
        const struct dirent *e;
        size_t n = 0;
        DIR *d;

        d = opendir("/sys/block");
        if (!d)
                return -errno;
        while (n < CHAOS_DISKS_MAX && (e = readdir(d))) {
                if (e->d_name[0] == '.' || strlen(e->d_name) > 48 || strncmp(e->d_name, "loop", 4) == 0 ||
                    strncmp(e->d_name, "ram", 3) == 0 || strncmp(e->d_name, "zram", 4) == 0)
                        continue;
                snprintf(names[n++], 64, "/dev/%.48s", e->d_name);
        }
        (void) closedir(d);
        return (int) n;
}

bool chaos_io_can_be_limited(void) {
        _cleanup_(mam_freep) char *controllers = NULL;
        char disks[CHAOS_DISKS_MAX][64];

        if (list_disks(disks) <= 0)
                return false;
        if (!memory_has_high())
                return access(CHAOS_CGROUP_ROOT "/blkio", F_OK) == 0;
        return mam_file_read(&controllers, NULL, CHAOS_CGROUP_ROOT "/cgroup.controllers", 4096) >= 0 &&
               strstr(controllers, "io");
}

static int throttle(ChaosVictim *v, const char *unit, uint64_t bytes_per_sec) {
        Manager *m = v->run->chaos->manager;
        char disks[CHAOS_DISKS_MAX][64];
        int n;

        n = list_disks(disks);
        if (n < 0)
                return n;
        return systemd_set_io_bandwidth(m->systemd, unit, disks, (size_t) n, bytes_per_sec, on_acted, v);
}

static int squeeze(ChaosVictim *v, const Service *s, const char *unit) {
        Systemd *systemd = s->manager->systemd;
        const Replica *r = s->replicas[v->number];
        CgroupUsage usage = { .memory_bytes = CGROUP_UNKNOWN };

        if (v->run->kind != CHAOS_IO) {
                s->state->runtime_limits = true; /* from now on systemd has values of its own */
                manager_queue_save(s->manager, 0);
        }
        switch (v->run->kind) {
        case CHAOS_CPU:
                return systemd_set_number(
                                systemd,
                                unit,
                                "CPUQuotaPerSecUSec",
                                chaos_cpu_millis(service_cpu_millis(s)) * 1000,
                                on_acted,
                                v);
        case CHAOS_MEMORY:
                if (r->control_group)
                        cgroup_read(&usage, CHAOS_CGROUP_ROOT, r->control_group);
                if (usage.memory_bytes == CGROUP_UNKNOWN)
                        return -ENODATA;
                if (memory_has_high())
                        return systemd_set_number(
                                        systemd,
                                        unit,
                                        "MemoryHigh",
                                        usage.memory_bytes,
                                        on_acted,
                                        v);
                return systemd_set_number(
                                systemd,
                                unit,
                                "MemoryMax",
                                usage.memory_bytes + MEMORY_SLACK_BYTES,
                                on_acted,
                                v);
        default:
                return throttle(v, unit, CHAOS_IO_BYTES_SEC);
        }
}

static int release(ChaosVictim *v, const Service *s, const char *unit) {
        if (v->run->kind == CHAOS_IO)
                return throttle(v, unit, UINT64_MAX);
        if (!s)
                return -ESRCH;
        if (s->replicas[v->number]) {
                s->replicas[v->number]->memory_max = service_memory_bytes(s);
                s->replicas[v->number]->memory_waits = false;
        }
        return systemd_set_limits(
                        s->manager->systemd,
                        unit,
                        service_cpu_millis(s),
                        service_memory_bytes(s),
                        on_acted,
                        v);
}

void chaos_act_on(ChaosVictim *v, const Service *s, ChaosAct act, uint64_t now_usec) {
        ChaosRun *run = v->run;
        Systemd *systemd = run->chaos->manager->systemd;
        char unit[MAM_UNIT_NAME_MAX];
        int r = 0;

        if (act == CHAOS_NOTHING)
                return;

        mam_unit_replica_service(unit, run->service, v->number);
        v->next_usec = now_usec + chaos_turn_usec(run->n_victims);
        v->act = act;
        switch (act) {
        case CHAOS_NOTHING:
        case CHAOS_ACT_KILL:
                v->next_usec = now_usec + CHAOS_KILL_USEC +
                               chaos_random(&run->random) % CHAOS_KILL_JITTER_USEC;
                r = systemd_kill_unit(systemd, unit, "main", SIGKILL, on_acted, v);
                break;
        case CHAOS_ACT_HALT:
                v->halted = true; /* before it is: an answer may never come */
                v->pid = s->replicas[v->number]->main_pid;
                r = systemd_kill_unit(systemd, unit, "all", SIGSTOP, on_acted, v);
                break;
        case CHAOS_ACT_CONTINUE:
                r = systemd_kill_unit(systemd, unit, "all", SIGCONT, on_acted, v);
                break;
        case CHAOS_ACT_SQUEEZE:
                v->squeezed = true;
                r = squeeze(v, s, unit);
                break;
        case CHAOS_ACT_RELEASE:
                r = release(v, s, unit);
                break;
        }
        if (r >= 0)
                return;

        v->act = CHAOS_NOTHING;
        if (act == CHAOS_ACT_SQUEEZE)
                v->squeezed = false;
        if (act == CHAOS_ACT_RELEASE && r == -ESRCH) {
                v->squeezed = false; /* its service is gone, and nothing of it runs */
        } else {
                note_failure(v, r == -ENODATA ? "its use of memory is not known" : strerror(-r));
        }
        manager_queue_pass(run->chaos->manager);
}
