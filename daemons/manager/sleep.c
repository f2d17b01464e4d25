/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Services at zero
 *
 * Asleep is running without a replica: the unit of replica 1 is stopped, its socket and the public one are
 * not, so that systemd starts it at the first connection.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "libmam/obs/message-ids.h"
#include "manager/autoscaler.h"
#include "manager/events.h"
#include "manager/manager.h"

#define CONNECTIONS_MAX 100000U

bool service_can_sleep(const Service *s) {
        assert(s);

        return s->config->min_replicas == 0 && s->config->type != MAM_SERVICE_TYPE_GATEWAY &&
               mam_service_has_replica_socket(s->config);
}

bool service_is_asleep(const Service *s) {
        assert(s);

        return s->state->running && s->state->asleep;
}

void service_sleep(Service *s, Numbers *ret_removed) {
        assert(s);
        assert(s->state->running);

        service_want_count(s, 0, NULL, ret_removed);
        s->state->asleep = true;
        s->sockets_due = true;
}

void service_wake(Service *s, uint32_t number, uint64_t now_usec) {
        char unit[MAM_UNIT_NAME_MAX];

        assert(s);

        s->state->asleep = false;
        service_adopt_running(s, number, now_usec);
        s->settle_usec = 0;
        if (number != 1) { /* by systemctl: nothing is to be woken by the first one's socket any more */
                mam_unit_replica_socket(unit, s->config->id, 1);
                (void) systemd_stop_unit(s->manager->systemd, unit, NULL, NULL);
        }
        autoscaler_note_wanted(s, 1);
}

static void on_target_stopped(uint32_t job, const sd_bus_error *error, void *userdata) {
        Manager *m = userdata;

        m->n_target_stops--;
        manager_queue_pass(m);
}

static void close_sockets(Service *s) {
        Manager *m = s->manager;
        char unit[MAM_UNIT_NAME_MAX];

        if (mam_service_has_public_socket(s->config)) {
                mam_unit_public_socket(unit, s->config->id);
                (void) systemd_stop_unit(m->systemd, unit, NULL, NULL);
        }
        mam_unit_replica_socket(unit, s->config->id, 1);
        (void) systemd_stop_unit(m->systemd, unit, NULL, NULL);
        mam_unit_target(unit, s->config->id);
        if (systemd_stop_unit(m->systemd, unit, on_target_stopped, m) >= 0)
                m->n_target_stops++;
}

/* They are open already, unless it was told to sleep before it ever ran. */
static void open_sockets(Service *s) {
        Manager *m = s->manager;
        char unit[MAM_UNIT_NAME_MAX];

        if (mam_service_has_public_socket(s->config)) {
                mam_unit_public_socket(unit, s->config->id);
                (void) systemd_start_unit(m->systemd, unit, "replace", NULL, NULL);
        }
        mam_unit_replica_socket(unit, s->config->id, 1);
        (void) systemd_start_unit(m->systemd, unit, "replace", NULL, NULL);
}

void service_step_sleep(Service *s, bool stop_gate) {
        Numbers existing;

        assert(s);

        if (!s->state->asleep)
                return;
        if (s->state->running && s->sockets_due && !numbers_has(&s->state->stopping, 1)) {
                s->sockets_due = false;
                existing = service_existing(s);
                if (!numbers_has(&existing, 1)) /* else they are, or it could not have been started */
                        open_sockets(s);
        }
        if (s->state->running || !stop_gate)
                return;

        s->state->asleep = false;
        s->closed_usec = mam_now_monotonic();
        close_sockets(s);
        manager_queue_save(s->manager, 0);
}

/* ---- who is connected ---- */

/* A line of /proc/net/tcp: "  0: 0100007F:0BBA 0100007F:C0DE 01 …", the state last. */
static bool line_uses(const char *line, uint16_t port) {
        unsigned local, remote, state;
        char address[33];

        if (sscanf(line, " %*u: %*32[0-9A-F]:%4x %32[0-9A-F]:%4x %2x", &local, address, &remote, &state) !=
            4)
                return false;
        if (state == 0x0A) /* listening */
                return false;
        if (local == port)
                return true;
        /* The other end of a connection on this host is the one that remembers it after closing first. */
        return remote == port && (strcmp(address, "0100007F") == 0 ||
                                  strcmp(address, "00000000000000000000000001000000") == 0 ||
                                  strcmp(address, "0000000000000000FFFF00000100007F") == 0);
}

int port_is_used(const char *folder, uint16_t port) {
        static const char *const names[] = { "tcp", "tcp6" };
        unsigned n = 0, n_files = 0;
        char line[512], path[256];

        assert(folder);

        for (size_t i = 0; i < MAM_ELEMENTSOF(names); i++) {
                _cleanup_(mam_fclosep) FILE *f = NULL;

                snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
                f = fopen(path, "re");
                if (!f)
                        continue;
                n_files++;
                while (fgets(line, sizeof(line), f)) {
                        if (line_uses(line, port))
                                return 0;
                        if (++n > CONNECTIONS_MAX)
                                return -EFBIG;
                }
        }
        return n_files > 0 ? -ENOENT : -ENODATA;
}
