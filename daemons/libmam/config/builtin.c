/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is known of the services that mam brings along
 *
 * A new daemon gets its line here and its entry in config/services.json.
 */

#include <assert.h>
#include <string.h>

#include "libmam/config/builtin.h"

static const char *const no_routes[] = { NULL };
static const char *const project_routes[] = { "/api/v1/projects", NULL };

static const char *const event_routes[] = { "/v1/topics",   "/v1/subscriptions", "/v1/schemas",
                                            "/v1/archives", "/v1/keep",          NULL };

static const MamBuiltin builtins[] = {
        {
                        .id = "api-gateway",
                        .binary = "mam-api-gateway",
                        .probe = MAM_PROBE_HTTP,
                        .replica_socket = true,
                        .cache = true, /* but no dependency: it works without */
                        .routes = no_routes,
        },
        {
                        .id = "project-manager",
                        .binary = "mam-project-manager",
                        .probe = MAM_PROBE_HTTP,
                        .replica_socket = true,
                        .database = true,
                        .cache = true,
                        .routes = project_routes,
        },
        {
                        .id = "event-bus",
                        .binary = "mam-event-bus",
                        .probe = MAM_PROBE_HTTP,
                        .replica_socket = true,
                        .database = true,
                        .cache = true,
                        .routes = event_routes,
        },
        {
                        .id = "postgresql",
                        .binary = "mam-postgresql",
                        .probe = MAM_PROBE_POSTGRESQL,
                        .replicas_max = 1, /* one private cluster; more than that is an external DSN's
                                              business */
                        .routes = no_routes,
        },
        {
                        .id = "redis",
                        .binary = "mam-redis",
                        .probe = MAM_PROBE_REDIS,
                        .routes = no_routes,
        },
};

const MamBuiltin *mam_builtin_find(const char *id) {
        assert(id);

        for (size_t i = 0; i < MAM_ELEMENTSOF(builtins); i++) {
                if (strcmp(builtins[i].id, id) == 0)
                        return &builtins[i];
        }
        return NULL;
}
