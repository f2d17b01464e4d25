/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Endpoints: where a service can be reached
 */

#include <assert.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/endpoints.h"
#include "manager/manager.h"

const char *endpoint_state(const Replica *r) {
        if (replica_is_draining(r))
                return "draining";
        return replica_is_ready(r) ? "ready" : "unready";
}

static bool has_endpoint(const Replica *r) {
        return r && (r->activity != UNIT_INACTIVE || replica_is_wanted(r));
}

int endpoints_append(sd_bus_message *m, const Service *s) {
        char address[MAM_UNIT_NAME_MAX], id[64];
        int r;

        r = sd_bus_message_open_container(m, 'a', "(sssu)");
        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *replica = s->replicas[n];

                if (!has_endpoint(replica))
                        continue;
                replica_endpoint(replica, address);
                snprintf(id, sizeof(id), "%s:%u", s->config->id, n);
                r = sd_bus_message_append(
                                m,
                                "(sssu)",
                                id,
                                address,
                                endpoint_state(replica),
                                (uint32_t) ENDPOINT_WEIGHT);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* FNV-1a over number and state: addresses follow from the number. */
static uint64_t hash_of(const Service *s) {
        uint64_t h = 14695981039346656037ULL;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!has_endpoint(s->replicas[n]))
                        continue;
                h = (h ^ n) * 1099511628211ULL;
                h = (h ^ (unsigned char) endpoint_state(s->replicas[n])[0]) * 1099511628211ULL;
        }
        return h;
}

void endpoints_announce(Service *s) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint64_t hash;
        int r;

        assert(s);

        hash = hash_of(s);
        if (s->endpoints_announced && s->endpoints_hash == hash)
                return;

        s->endpoints_announced = true;
        s->endpoints_hash = hash;
        s->revision++;

        r = sd_bus_message_new_signal(
                        s->manager->bus,
                        &m,
                        MAM_BUS_PATH,
                        MAM_IFACE_MANAGER,
                        "EndpointsChanged");
        if (r >= 0)
                r = sd_bus_message_append(m, "st", s->config->id, s->revision);
        if (r >= 0)
                r = endpoints_append(m, s);
        if (r >= 0)
                r = sd_bus_send(s->manager->bus, m, NULL);
        if (r < 0)
                mam_error_errno(r, "Cannot announce the endpoints of %s", s->config->id);
}
