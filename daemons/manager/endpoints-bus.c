/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Endpoints: where a service can be reached
 */

#include <assert.h>
#include <string.h>

#include "libmam/bus/bus-errors.h"
#include "libmam/obs/log.h"
#include "manager/autoscaler.h"
#include "manager/endpoints.h"
#include "manager/manager.h"
#include "manager/rollout.h"

const char *endpoint_state(const Replica *r) {
        if (r->number == 1 && service_is_asleep(r->service) &&
            (r->activity == UNIT_INACTIVE || r->activity == UNIT_ACTIVATING) &&
            !numbers_has(&r->service->state->stopping, 1))
                return "asleep";
        if (replica_is_draining(r))
                return "draining";
        return replica_is_ready(r) ? "ready" : "unready";
}

static bool has_endpoint(const Replica *r) {
        if (r && r->number == 1 && service_is_asleep(r->service))
                return true;
        return r && (r->activity != UNIT_INACTIVE || replica_is_wanted(r));
}

/* a(su) */
static int append_split(sd_bus_message *m, const Service *s) {
        const char *old_group, *new_group;
        uint32_t old_share, new_share;
        int r;

        r = sd_bus_message_open_container(m, 'a', "(su)");
        if (r >= 0 && rollout_split(s, &old_group, &old_share, &new_group, &new_share)) {
                r = sd_bus_message_append(m, "(su)", old_group, old_share);
                if (r >= 0)
                        r = sd_bus_message_append(m, "(su)", new_group, new_share);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

int endpoints_append(sd_bus_message *m, const Service *s) {
        char address[MAM_UNIT_NAME_MAX], id[64];
        int r;

        r = sd_bus_message_open_container(m, 'a', "(sssus)");
        for (uint32_t n = 1; r >= 0 && n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                const Replica *replica = s->replicas[n];

                if (!has_endpoint(replica))
                        continue;
                replica_endpoint(replica, address);
                snprintf(id, sizeof(id), "%s:%u", s->config->id, n);
                r = sd_bus_message_append(
                                m,
                                "(sssus)",
                                id,
                                address,
                                endpoint_state(replica),
                                (uint32_t) ENDPOINT_WEIGHT,
                                replica->revision);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : append_split(m, s);
}

static uint64_t hash_text(uint64_t h, const char *text) {
        for (; *text; text++)
                h = (h ^ (unsigned char) *text) * 1099511628211ULL;
        return (h ^ 0xff) * 1099511628211ULL;
}

/* FNV-1a over number, state, group and split: addresses follow from the number. */
static uint64_t hash_of(const Service *s) {
        uint64_t h = 14695981039346656037ULL;
        const char *old_group, *new_group;
        uint32_t old_share, new_share;

        for (uint32_t n = 1; n <= MAM_CONFIG_REPLICAS_MAX; n++) {
                if (!has_endpoint(s->replicas[n]))
                        continue;
                h = (h ^ n) * 1099511628211ULL;
                h = (h ^ (unsigned char) endpoint_state(s->replicas[n])[0]) * 1099511628211ULL;
                h = hash_text(h, s->replicas[n]->revision);
        }
        if (rollout_split(s, &old_group, &old_share, &new_group, &new_share)) {
                h = hash_text(hash_text(h, old_group), new_group);
                h = (h ^ old_share) * 1099511628211ULL;
                h = (h ^ new_share) * 1099511628211ULL;
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
