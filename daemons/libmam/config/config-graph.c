/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the definitions say of each other
 *
 * A service that is wrong here gets its last good definition once, and is removed if that is wrong as well.
 * As either can make others wrong, the checks run until nothing changes; each round uses up a last good
 * definition or a service, so they end.
 */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/config/builtin.h"
#include "libmam/config/config-internal.h"
#include "libmam/util/buffer.h"
#include "libmam/util/file.h"

typedef struct Graph {
        MamConfig *config;
        bool bad[MAM_CONFIG_SERVICES_MAX];
} Graph;

/* The line of a key of a service; its file is read again, as errors are rare and texts need not be kept for
 * them. */
static int service_problem(Graph *g, size_t i, MamProblemLevel level, const char *key, const char *message) {
        const MamServiceConfig *s = &g->config->services[i];
        _cleanup_(mam_freep) char *text = NULL;
        MamConfigFile f = { .config = g->config, .path = s->file, .service = s->id };
        char parent[64];

        if (mam_file_read(&text, &f.size, s->file, MAM_CONFIG_FILE_MAX) < 0) {
                char path[128];

                snprintf(path, sizeof(path), "%s.%s", s->id, key);
                return mam_config_add_problem(
                                g->config,
                                level,
                                s->file,
                                s->line,
                                path,
                                s->id,
                                "%s",
                                message);
        }
        f.text = text;
        snprintf(parent, sizeof(parent), "/%s", s->id);
        return mam_config_file_problem(&f, level, parent, key, "%s", message);
}

static int service_error(Graph *g, size_t i, const char *key, const char *message) {
        g->bad[i] = true;
        return service_problem(g, i, MAM_PROBLEM_ERROR, key, message);
}

static int check_existence(Graph *g, size_t i) {
        const MamServiceConfig *s = &g->config->services[i];
        const char *ids[MAM_CONFIG_SERVICES_MAX + 1] = { NULL };
        int r;

        for (size_t j = 0; j < g->config->n_services; j++)
                ids[j] = g->config->services[j].id;

        for (char **d = s->dependencies; *d; d++) {
                _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
                const char *nearest;

                if (mam_config_find(g->config, *d))
                        continue;
                nearest = mam_config_suggest(*d, ids);
                r = mam_buffer_appendf(
                                &b,
                                "there is no service '%s', or it is left out because of its own errors",
                                *d);
                if (r == 0 && nearest && strcmp(nearest, s->id) != 0)
                        r = mam_buffer_appendf(&b, "; did you mean \"%s\"?", nearest);
                if (r < 0)
                        return r;
                r = service_error(g, i, "dependencies", mam_buffer_bytes(&b));
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Depth-first from services[path[0]]; finds a cycle that comes back to it. 1: path[0..*n) is the cycle. */
static bool find_cycle(const MamConfig *c, size_t at, size_t start, bool *seen, size_t *path, size_t *n) {
        path[(*n)++] = at;
        seen[at] = true;
        for (char **d = c->services[at].dependencies; *d; d++) {
                const MamServiceConfig *on = mam_config_find(c, *d);
                size_t next;

                if (!on)
                        continue;
                next = (size_t) (on - c->services);
                if (next == start)
                        return true;
                if (!seen[next] && find_cycle(c, next, start, seen, path, n))
                        return true;
        }
        (*n)--;
        return false;
}

static int check_cycle(Graph *g, size_t i) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        bool seen[MAM_CONFIG_SERVICES_MAX] = { false };
        size_t path[MAM_CONFIG_SERVICES_MAX], n = 0;
        int r;

        if (!find_cycle(g->config, i, i, seen, path, &n))
                return 0;

        r = mam_buffer_append_string(&b, "dependencies go round in a circle: ");
        for (size_t k = 0; r == 0 && k < n; k++)
                r = mam_buffer_appendf(&b, "%s \xe2\x86\x92 ", g->config->services[path[k]].id);
        if (r == 0)
                r = mam_buffer_append_string(&b, g->config->services[i].id);
        if (r < 0)
                return r;
        return service_error(g, i, "dependencies", mam_buffer_bytes(&b));
}

/* Ports of a service that other programs on this host could not have: first, and how many from there. */
static uint32_t ports_of(const MamServiceConfig *s) {
        if (s->port == 0)
                return 0;
        return mam_service_own_port(s, 1) > 0 ? s->max_replicas : 1;
}

static int check_ports(Graph *g, size_t i) {
        const MamServiceConfig *s = &g->config->services[i];
        char message[160];

        for (size_t j = 0; j < i; j++) {
                const MamServiceConfig *o = &g->config->services[j];
                uint32_t first = s->port > o->port ? s->port : o->port;

                if (ports_of(s) == 0 || ports_of(o) == 0 || first >= s->port + ports_of(s) ||
                    first >= o->port + ports_of(o))
                        continue;
                if (ports_of(s) == 1 && ports_of(o) == 1) {
                        snprintf(message,
                                 sizeof(message),
                                 "%" PRIu32 " is the port of '%s' already",
                                 first,
                                 o->id);
                } else {
                        snprintf(message,
                                 sizeof(message),
                                 "%" PRIu32
                                 " is also needed by '%s' (a program that binds $PORT has one port for each of its maxReplicas)",
                                 first,
                                 o->id);
                }
                return service_error(g, i, "port", message);
        }
        return 0;
}

/* Both would want it, and whoever comes first has it. */
static int warn_of_port(MamConfig *c, unsigned long port, const char *whose) {
        Graph g = { .config = c };
        char message[80];
        int r;

        snprintf(message, sizeof(message), "%lu is the port of %s", port, whose);
        for (size_t i = 0; i < c->n_services; i++) {
                const MamServiceConfig *s = &c->services[i];

                if (port < s->port || port >= s->port + ports_of(s))
                        continue;
                r = service_problem(&g, i, MAM_PROBLEM_WARNING, "port", message);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int warn_of_ports(MamConfig *c) {
        const MamServiceConfig *gateway = mam_config_find(c, "api-gateway");
        int r = 0;

        if (c->registry_enabled)
                r = warn_of_port(c, strtoul(strrchr(c->registry_listen, ':') + 1, NULL, 10), "the registry");
        if (r >= 0 && gateway && mam_service_has_tls_socket(c, gateway))
                r = warn_of_port(c, c->gateway->tls.port, "the gateway for TLS");
        return r;
}

/* A database outside takes the place of the suite's own: its service goes, and with it the dependencies on
 * it. */
static int apply_external(MamConfig *c, const char *id, const char *dsn) {
        const MamServiceConfig *s = mam_config_find(c, id);
        int r;

        if (!dsn)
                return 0;
        if (s) {
                r = mam_config_add_problem(
                                c,
                                MAM_PROBLEM_NOTICE,
                                s->file,
                                s->line,
                                id,
                                id,
                                "left out: external.%s in microservices.json takes its place",
                                id);
                if (r < 0)
                        return r;
                mam_config_remove_service(c, (size_t) (s - c->services));
        }
        for (size_t i = 0; i < c->n_services; i++) {
                char **to = c->services[i].dependencies;

                for (char **d = to; *d; d++) {
                        if (strcmp(*d, id) == 0) {
                                /* what depended on it wants to reach the one outside, a foreign program too
                                 */
                                if (strcmp(id, "redis") == 0) {
                                        c->services[i].cache = true;
                                } else {
                                        c->services[i].database = true;
                                }
                                free(*d);
                        } else
                                *to++ = *d;
                }
                *to = NULL;
        }
        return 0;
}

/* Removes or replaces what a round found wrong, from the end so that indices hold. */
static int settle(Graph *g, const char *last_good_dir) {
        MamConfig *c = g->config;
        int r;

        for (size_t i = c->n_services; i-- > 0;) {
                MamServiceConfig good = { 0 };

                if (!g->bad[i])
                        continue;
                r = c->services[i].last_good || !last_good_dir
                                    ? 0
                                    : mam_config_read_last_good(&good, c, last_good_dir, c->services[i].id);
                if (r < 0)
                        return r;
                if (r == 0) {
                        mam_config_remove_service(c, i);
                        continue;
                }
                mam_service_config_done(&c->services[i]);
                c->services[i] = good;
        }
        return 0;
}

static bool has_rate(const MamGatewayConfig *c, const char *name) {
        for (size_t i = 0; i < c->limits.n_rates; i++)
                if (strcmp(c->limits.rates[i].name, name) == 0)
                        return true;
        return false;
}

/* A limit that is not there would be no limit: what was good before stands. */
static int check_rates(Graph *g, size_t i) {
        const MamRouteList *l = g->config->services[i].routes;
        char message[256];
        int r = 0;

        for (size_t k = 0; l && k < l->n && r >= 0; k++) {
                if (!l->routes[k].rate_limit || has_rate(g->config->gateway, l->routes[k].rate_limit))
                        continue;
                snprintf(message,
                         sizeof(message),
                         "\"%s\" names the rate limit \"%s\", which gateway.limits.rates in microservices.json does not have",
                         l->routes[k].label,
                         l->routes[k].rate_limit);
                r = service_error(g, i, "routes", message);
        }
        return r;
}

/* Of two services that want the same requests the first one gets them. */
static int warn_of_conflict(Graph *g, size_t i, const MamRouteConfig *route) {
        char message[256];

        for (size_t j = 0; j < i; j++) {
                const MamRouteList *l = g->config->services[j].routes;

                for (size_t k = 0; l && k < l->n; k++) {
                        if (!mam_route_conflicts(&l->routes[k], route))
                                continue;
                        snprintf(message,
                                 sizeof(message),
                                 "\"%s\" is not used: it is in conflict with \"%s\" of %s, and neither is more specific",
                                 route->label,
                                 l->routes[k].label,
                                 g->config->services[j].id);
                        return service_problem(g, i, MAM_PROBLEM_WARNING, "routes", message);
                }
        }
        return 0;
}

static int warn_of_mirror(Graph *g, size_t i, const MamRouteConfig *route) {
        char message[256];

        if (!route->mirror_service || mam_config_find(g->config, route->mirror_service))
                return 0;
        snprintf(message,
                 sizeof(message),
                 "\"%s\" is not mirrored: there is no service \"%s\"",
                 route->label,
                 route->mirror_service);
        return service_problem(g, i, MAM_PROBLEM_WARNING, "routes", message);
}

static int warn_of_routes(MamConfig *c) {
        Graph g = { .config = c };
        int r = 0;

        for (size_t i = 0; i < c->n_services && r >= 0; i++) {
                const MamRouteList *l = c->services[i].routes;

                for (size_t k = 0; l && k < l->n && r >= 0; k++) {
                        r = warn_of_conflict(&g, i, &l->routes[k]);
                        if (r >= 0)
                                r = warn_of_mirror(&g, i, &l->routes[k]);
                }
        }
        return r;
}

int mam_config_check_graph(MamConfig *c, const char *last_good_dir) {
        bool changed = true;
        int r;

        while (changed) {
                Graph g = { .config = c };

                r = apply_external(c, "postgresql", c->postgresql_dsn);
                if (r < 0)
                        return r;
                r = apply_external(c, "redis", c->redis_dsn);
                if (r < 0)
                        return r;

                changed = false;
                for (size_t i = 0; i < c->n_services; i++) {
                        r = check_existence(&g, i);
                        if (r < 0)
                                return r;
                        r = check_cycle(&g, i);
                        if (r < 0)
                                return r;
                        r = check_ports(&g, i);
                        if (r < 0)
                                return r;
                        r = check_rates(&g, i);
                        if (r < 0)
                                return r;
                        changed = changed || g.bad[i];
                }
                r = settle(&g, last_good_dir);
                if (r < 0)
                        return r;
        }
        r = warn_of_routes(c);
        return r < 0 ? r : warn_of_ports(c);
}
