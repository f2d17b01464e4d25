/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A new configuration: tables are built beside those in use, and swapped at the end
 *
 * It all happens within one turn of the loop, so a request sees the old one or the new one. What requests
 * under way began with lives until they have ended.
 */

#include <assert.h>
#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/access.h"
#include "api-gateway/gateway.h"
#include "api-gateway/graphql.h"
#include "api-gateway/lasting.h"
#include "api-gateway/limits.h"
#include "api-gateway/protection.h"
#include "api-gateway/see.h"
#include "api-gateway/tls.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"

static void log_bad_route(const char *service, const char *label, int error, const Route *other) {
        char service_field[64], route_field[512];

        (void) snprintf(service_field, sizeof(service_field), "MAM_SERVICE=%s", service);
        (void) snprintf(route_field, sizeof(route_field), "MAM_ROUTE=%s", label);
        mam_log_full(LOG_WARNING,
                     MAM_MESSAGE_GATEWAY_ROUTE_BAD,
                     (const char *[]){ service_field, route_field, NULL },
                     "The route \"%s\" of %s is not used: %s%s%s%s%s",
                     label,
                     service,
                     error == -EEXIST   ? "it is in conflict with \""
                     : error == -EDQUOT ? "there are too many"
                                        : "not the beginning of a path",
                     other ? other->config->label : "",
                     other ? "\" of " : "",
                     other ? other->service : "",
                     other ? ", and neither is more specific" : "");
}

Upstream *gateway_find_upstream(const Gateway *g, const char *service) {
        for (size_t i = 0; i < g->n_upstreams; i++)
                if (strcmp(g->upstreams[i]->service, service) == 0)
                        return g->upstreams[i];
        return NULL;
}

static int get_upstream(Gateway *g, Upstream **ret, const char *service) {
        _cleanup_(upstream_freep) Upstream *u = NULL;
        Upstream **upstreams;
        int r;

        *ret = gateway_find_upstream(g, service);
        if (*ret)
                return 0;
        r = upstream_new(&u, g, service);
        if (r < 0)
                return r;
        upstreams = reallocarray(g->upstreams, g->n_upstreams + 1, sizeof(*upstreams));
        if (!upstreams)
                return -ENOMEM;
        g->upstreams = upstreams;
        *ret = upstreams[g->n_upstreams++] = MAM_TAKE(u);
        return 0;
}

static int add_routes(Gateway *g, RouteTable *t, const MamGatewayService *s) {
        Upstream *u;
        int r;

        r = get_upstream(g, &u, s->id);
        if (r < 0)
                return r;
        for (size_t i = 0; i < s->routes->n; i++) {
                const MamRouteConfig *c = &s->routes->routes[i];
                _cleanup_(limit_rule_unrefp) LimitRule *limit = NULL;
                const Route *other = NULL;

                if (c->rate_limit)
                        limit = limits_find(g->limits, c->rate_limit);
                r = route_table_add(t, c, s->id, u, limit, g->routes, &other);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        log_bad_route(s->id, c->label, r, other);
        }
        return 0;
}

/* Services that left the configuration go as soon as no request is on its way to them. */
void gateway_reap(Gateway *g) {
        size_t kept = 0;

        if (!g->retired)
                return;
        g->retired = false;
        for (size_t i = 0; i < g->n_upstreams; i++) {
                Upstream *u = g->upstreams[i];

                if (!mam_gateway_config_find(g->config, u->service)) {
                        if (u->n_routes == 0) {
                                upstream_free(u);
                                continue;
                        }
                        g->retired = true;
                }
                g->upstreams[kept++] = u;
        }
        g->n_upstreams = kept;
}

static void retire(Gateway *g) {
        for (size_t i = 0; i < g->n_upstreams; i++) {
                Upstream *u = g->upstreams[i];
                const MamGatewayService *s = mam_gateway_config_find(g->config, u->service);

                if (s) {
                        upstream_set_protocol(u, s->protocol);
                        upstream_set_balancing(u, s->balancing);
                        continue;
                }
                g->retired = true;
                (void) gateway_set_endpoints(g, u, NULL, 0);
                u->known = false;
        }
}

int gateway_configure(Gateway *g, MamGatewayConfig *c) {
        _cleanup_(route_table_unrefp) RouteTable *t = NULL;
        int r;

        assert(g);
        assert(c);

        r = limits_configure(g->limits, &c->limits);
        if (r < 0)
                return r;
        r = access_configure(g->access, c);
        if (r < 0)
                return r;
        r = see_configure(g->see, c);
        if (r == -ENOMEM)
                return r;
        access_log_configure(g->access_log, &c->access_log);
        if (g->tls) {
                r = tls_port_configure(g->tls, &c->tls);
                if (r < 0)
                        return r;
        }
        graphql_configure(g->graphql, &c->graphql);
        lasting_table_configure(g->lasting, &c->websocket);
        r = route_table_new(&t, c);
        if (r < 0)
                return r;
        for (size_t i = 0; i < c->n_services; i++) {
                r = add_routes(g, t, &c->services[i]);
                if (r < 0)
                        return r;
        }

        route_table_unref(g->routes);
        g->routes = MAM_TAKE(t);
        mam_gateway_config_unref(g->config);
        g->config = mam_gateway_config_ref(c);
        g->faults = c->allow_faults || strcmp(c->environment, "production") != 0;
        retire(g);
        protection_configure(g, &c->limits);
        return 0;
}
