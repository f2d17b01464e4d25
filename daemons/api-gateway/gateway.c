/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/gateway.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/access.h"
#include "api-gateway/forward.h"
#include "api-gateway/graphql.h"
#include "api-gateway/grpc-health.h"
#include "api-gateway/lasting.h"
#include "api-gateway/limits.h"
#include "api-gateway/mirror.h"
#include "api-gateway/route-policy.h"
#include "api-gateway/see.h"
#include "api-gateway/tunnel.h"
#include "libmam/util/time.h"

#include "mam-build.h"

#define TICK_USEC MAM_USEC_PER_SEC

/* Before each wait of the loop, while there are requests: how long this turn has taken. What came in during
 * it seemed to take that much longer. */
static int on_turn_end(sd_event_source *source, void *userdata) {
        Gateway *g = userdata;
        uint64_t begin, lag;

        if (sd_event_now(g->event, CLOCK_MONOTONIC, &begin) < 0)
                return 0;
        lag = mam_now_monotonic() - begin;
        g->lag_usec = lag > g->lag_usec ? lag : g->lag_usec - g->lag_usec / 16;
        return 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Gateway *g = userdata;
        uint64_t delay;

        g->tick_usec = MAM_USEC_INFINITY;
        delay = forwards_tick(g, mam_now_monotonic());
        gateway_reap(g);
        if (delay != MAM_USEC_INFINITY)
                gateway_arm(g, delay);
        return 0;
}

void gateway_arm(Gateway *g, uint64_t delay_usec) {
        uint64_t when;

        /* The common case under load: it is armed, and no clock is asked. */
        if (g->tick_usec != MAM_USEC_INFINITY && delay_usec >= TICK_USEC)
                return;
        when = mam_now_monotonic() + delay_usec;
        if (when >= g->tick_usec)
                return;
        g->tick_usec = when;
        (void) sd_event_source_set_time(g->tick, when);
        (void) sd_event_source_set_enabled(g->tick, SD_EVENT_ONESHOT);
}

static int add_metrics(Gateway *g, MamMetrics *m) {
        MamMetricFamily *waiting;
        int r;

        r =
                        mam_metrics_add(m,
                                        &g->metric_requests,
                                        MAM_METRIC_COUNTER,
                                        "mam_gateway_requests_total",
                                        "Requests answered for a route; code 499: the client left before.",
                                        (const char *[]){ "route", "method", "code", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(m,
                                        &g->metric_duration,
                                        MAM_METRIC_HISTOGRAM,
                                        "mam_gateway_request_duration_seconds",
                                        "From the last byte of the request's head to the end of the answer.",
                                        (const char *[]){ "route", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(m,
                                        &g->metric_in_flight,
                                        MAM_METRIC_GAUGE,
                                        "mam_gateway_upstream_in_flight",
                                        "Requests that a replica is working on for this gateway.",
                                        (const char *[]){ "replica", NULL });
        if (r < 0)
                return r;
        r = mam_metrics_add(
                        m,
                        &g->metric_retries,
                        MAM_METRIC_COUNTER,
                        "mam_gateway_retries_total",
                        "Tries beyond the first; reason: refused, busy, unready (nothing was done there), broken.",
                        (const char *[]){ "service", "reason", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(m,
                                        &g->metric_endpoints,
                                        MAM_METRIC_GAUGE,
                                        "mam_gateway_upstream_endpoints",
                                        "Replicas that get requests.",
                                        (const char *[]){ "service", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(m,
                                        &waiting,
                                        MAM_METRIC_GAUGE,
                                        "mam_gateway_waiting_requests",
                                        "Requests that wait for a ready replica.",
                                        NULL);
        if (r < 0)
                return r;
        g->metric_waiting = mam_metric_get(waiting, NULL);
        return 0;
}

int gateway_new(Gateway **ret, sd_event *event, MamMetrics *metrics) {
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *nothing = NULL;
        _cleanup_(gateway_freep) Gateway *g = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(metrics);

        g = calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        g->event = sd_event_ref(event);
        g->tick_usec = MAM_USEC_INFINITY;
        g->wait_usec = GATEWAY_WAIT_USEC;
        g->waiting_max = GATEWAY_WAITING_MAX;
        g->progress_usec = GATEWAY_PROGRESS_USEC;
        TAILQ_INIT(&g->forwards);
        TAILQ_INIT(&g->mirrors);
        r = access_log_new(&g->access_log);
        if (r < 0)
                return r;
        r = see_new(&g->see, event, metrics, getenv("MAM_REPLICA"));
        if (r < 0)
                return r;
        r = load_table_new(&g->load, mam_now_realtime());
        if (r < 0)
                return r;
        r = add_metrics(g, metrics);
        if (r < 0)
                return r;
        r = protection_init(&g->protection, metrics);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &g->tick, CLOCK_MONOTONIC, UINT64_MAX, MAM_USEC_PER_MSEC, on_tick, g);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(g->tick, "gateway-tick");
        r = sd_event_source_set_prepare(g->tick, on_turn_end);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(g->tick, SD_EVENT_OFF);
        if (r < 0)
                return r;

        r = access_new(&g->access, event, metrics);
        if (r < 0)
                return r;
        r = limits_new(&g->limits, metrics);
        if (r < 0)
                return r;
        r = lasting_table_new(&g->lasting, event);
        if (r < 0)
                return r;
        r = tunnel_table_new(&g->tunnels, g->lasting, metrics);
        if (r < 0)
                return r;
        r = graphql_new(&g->graphql, g, event, metrics, NULL);
        if (r < 0)
                return r;
        r = grpc_health_new(&g->grpc_health, g);
        if (r < 0)
                return r;
        r = mam_gateway_config_new(&nothing);
        if (r < 0)
                return r;
        r = gateway_configure(g, nothing);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(g);
        return 0;
}

Gateway *gateway_free(Gateway *g) {
        if (!g)
                return NULL;

        assert(TAILQ_EMPTY(&g->forwards)); /* the server, which owns the requests, goes first */
        sd_event_source_disable_unref(g->tick);
        mam_spares_done(&g->spares);
        mirror_done(g);
        share_free(g->share);
        deadlines_done(&g->deadlines);
        route_table_unref(g->routes);
        for (size_t i = 0; i < g->n_upstreams; i++)
                upstream_free(g->upstreams[i]);
        free(g->upstreams);
        access_free(g->access);
        limits_free(g->limits);
        graphql_free(g->graphql);
        grpc_health_free(g->grpc_health);
        tunnel_table_free(g->tunnels);
        lasting_table_free(g->lasting);
        mam_gateway_config_unref(g->config);
        load_table_free(g->load);
        access_log_free(g->access_log);
        see_free(g->see);
        mam_redis_free(g->redis);
        sd_event_unref(g->event);
        free(g);
        return NULL;
}

int gateway_set_endpoints(Gateway *g, Upstream *u, const EndpointSpec *specs, size_t n) {
        int r;

        r = upstream_set_endpoints(u, specs, n);
        mam_metric_set(mam_metric_get(g->metric_endpoints, (const char *[]){ u->service }),
                       upstream_ready(u));
        forwards_wake(u, mam_now_monotonic());
        grpc_health_changed(g->grpc_health);
        /* What would not end by itself is told to, before the replica does it with less manners. */
        for (size_t i = 0; i < u->n_endpoints; i++)
                if (u->endpoints[i]->state == ENDPOINT_DRAINING)
                        lasting_leave(g->lasting, u->endpoints[i]);
        return r;
}

static int answer_index(MamHttpExchange *x) {
        static const char text[] = "{\"name\":\"mam\",\"version\":\"" MAM_VERSION "\"}\n";

        return mam_http_exchange_respond(x, 200, "application/json", text, sizeof(text) - 1);
}

/* Paths that mean one thing here and may mean another behind are refused, never repaired. */
static int check_path(MamHttpExchange *x, RoutePath *ret) {
        static const char *const problems[] = {
                [ROUTE_PATH_DOTS] = "The path has segments \".\" or \"..\"",
                [ROUTE_PATH_EMPTY_SEGMENT] = "The path has an empty segment (\"//\")",
                [ROUTE_PATH_BAD_ENCODING] = "The path has a '%' that encodes nothing, or NUL",
                [ROUTE_PATH_BACKSLASH] = "The path has a backslash",
        };
        const MamHttpHead *head = mam_http_exchange_head(x);

        *ret = route_path_check(head->path.data, head->path.size);
        if (*ret == ROUTE_PATH_PLAIN || *ret == ROUTE_PATH_ENCODED_SLASH)
                return 1;
        return mam_http_exchange_problem(x, 400, NULL, "%s", problems[*ret]);
}

static bool is_index(const MamHttpHead *head) {
        return (mam_http_range_equal(head->path, "/") || mam_http_range_equal(head->path, "/api")) &&
               (mam_http_range_equal(head->method, "GET") || mam_http_range_equal(head->method, "HEAD"));
}

/* No route: who is nobody learns nothing of what there is. */
static int answer_miss(Gateway *g, MamHttpExchange *x, RouteMiss miss) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        _cleanup_(caller_unrefp) Caller *caller = NULL;
        char allow[256];
        int r;

        if (miss == ROUTE_MISS_PATH && is_index(head))
                return answer_index(x);
        r = access_admit(g->access, NULL, "", x, &caller);
        if (r <= 0)
                return r;
        switch (miss) {
        case ROUTE_MISS_METHOD:
                route_table_allow(g->routes, head, allow);
                (void) mam_http_exchange_add_field(x, "Allow", allow);
                return mam_http_exchange_problem(x, 405, NULL, "This path allows %s", allow);
        case ROUTE_MISS_VERSION:
                return mam_http_exchange_problem(
                                x,
                                406,
                                NULL,
                                "There is no version %u of this",
                                route_accept_version(head));
        case ROUTE_MISS_PATH:
        case ROUTE_MISS_FIELDS:
        default:
                return mam_http_exchange_problem(x, 404, NULL, "No service has this path");
        }
}

static bool is_forwarded(MamHttpExchange *x) {
        const MamHttpHead *head = mam_http_exchange_head(x);

        if (mam_http_range_equal(head->method, "CONNECT"))
                return mam_http_exchange_upgrade_protocol(x) != NULL; /* RFC 8441 */
        return !mam_http_range_equal(head->method, "TRACE");
}

static int check_body(const Route *route, MamHttpExchange *x) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        uint64_t max = route->config->body_max;

        if (max == 0)
                return 1;
        if (head->framing == MAM_HTTP_BODY_LENGTH && head->content_length > max)
                return mam_http_exchange_problem(
                                x,
                                413,
                                NULL,
                                "This path takes bodies of %llu bytes at most",
                                (unsigned long long) max);
        mam_http_exchange_set_body_max(x, max);
        return 1;
}

/* What a request goes through once its route is known. */
static int take_route(Gateway *g, const Route *route, MamHttpExchange *x) {
        _cleanup_(caller_unrefp) Caller *caller = NULL;
        int r;

        see_begin(g->see, x);
        r = route_add_answer_fields(route, x);
        if (r < 0)
                return r;
        r = check_body(route, x);
        if (r <= 0)
                return r;
        r = route_check_maintenance(g, route, x);
        if (r <= 0)
                return r;
        r = access_admit(g->access, &route->config->auth, route->service, x, &caller);
        if (r <= 0)
                return r;
        r = limits_admit(g->limits, &route->limit, route->limit ? 1 : 0, route->config->label, caller, x);
        if (r <= 0)
                return r;
        r = route_inject_fault(g, route, x, caller, forward_start);
        if (r <= 0)
                return r;
        return forward_start(g, route, x, caller);
}

int gateway_on_request(MamHttpExchange *x, void *userdata) {
        RouteMiss miss = ROUTE_MISS_PATH;
        Gateway *g = userdata;
        const Route *route;
        RoutePath path;
        int r;

        assert(g);

        r = check_path(x, &path);
        if (r <= 0)
                return r;
        if (!is_forwarded(x))
                return mam_http_exchange_problem(
                                x,
                                501,
                                NULL,
                                "The gateway does not forward %s",
                                mam_http_exchange_method(x));
        r = access_on_request(g->access, x);
        if (r <= 0)
                return r;
        r = graphql_on_request(g->graphql, x);
        if (r <= 0)
                return r;
        r = grpc_health_on_request(g->grpc_health, x);
        if (r <= 0)
                return r;
        route = route_table_match(g->routes, mam_http_exchange_head(x), &miss);
        if (!route)
                return answer_miss(g, x, miss);
        if (path == ROUTE_PATH_ENCODED_SLASH && !route->config->encoded_slash)
                return mam_http_exchange_problem(x, 400, NULL, "The path has an encoded slash or backslash");
        return take_route(g, route, x);
}

int gateway_on_load(MamHttpExchange *x, Gateway *g, bool is_manager) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        int r;

        assert(g);

        if (!is_manager && route_table_match(g->routes, mam_http_exchange_head(x), NULL))
                return gateway_on_request(x, g);
        if (!is_manager)
                return mam_http_exchange_problem(x, 404, NULL, "There is nothing at this path");
        if (strcmp(mam_http_exchange_method(x), "GET") != 0) {
                (void) mam_http_exchange_add_field(x, "Allow", "GET");
                return mam_http_exchange_problem(x, 405, NULL, "This resource allows GET");
        }

        r = load_format(g, &text);
        if (r < 0)
                return r;
        (void) mam_http_exchange_add_field(x, "Cache-Control", "no-store");
        return mam_http_exchange_respond(x, 200, "application/json", mam_buffer_bytes(&text), text.size);
}
