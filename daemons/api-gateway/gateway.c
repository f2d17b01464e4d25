/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/gateway.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/forward.h"
#include "libmam/util/time.h"

#include "mam-build.h"

#define TICK_USEC         MAM_USEC_PER_SEC
#define TICK_WAITING_USEC (100 * MAM_USEC_PER_MSEC)
#define TICK_WAKING_USEC  (5 * MAM_USEC_PER_MSEC)

/* Who waits for a replica of this service goes on, as far as there is one. */
static void wake_upstream(Gateway *g, Upstream *u, uint64_t now) {
        Forward *last = TAILQ_LAST(&u->waiting, ForwardQueue), *f, *next;

        /* Whoever has to wait again goes behind last, and is not looked at twice. */
        for (f = TAILQ_FIRST(&u->waiting); f; f = next) {
                next = f == last ? NULL : forward_next_waiting(f);
                if (now >= forward_waiting_since(f) + g->wait_usec)
                        forward_give_up(f);
                else
                        (void) forward_wake(f, now);
        }
}

static void expire_forwards(Gateway *g, uint64_t now) {
        Forward *f;

        /* An expired one is answered and, until it is gone, stands behind the others. */
        while ((f = TAILQ_FIRST(&g->forwards)) && now >= forward_progress_usec(f) + g->progress_usec)
                forward_expire(f);
}

static uint64_t waiting_delay(const Gateway *g) {
        for (size_t i = 0; i < g->n_upstreams; i++)
                if (g->upstreams[i]->n_waiting > 0 && upstream_is_waking(g->upstreams[i]))
                        return TICK_WAKING_USEC;
        return TICK_WAITING_USEC;
}

void gateway_wait(Gateway *g) {
        gateway_arm(g, waiting_delay(g));
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata) {
        Gateway *g = userdata;
        uint64_t now = mam_now_monotonic();

        g->tick_usec = MAM_USEC_INFINITY;
        for (size_t i = 0; i < g->n_upstreams; i++)
                wake_upstream(g, g->upstreams[i], now);
        expire_forwards(g, now);

        if (g->n_waiting > 0)
                gateway_arm(g, waiting_delay(g));
        else if (!TAILQ_EMPTY(&g->forwards))
                gateway_arm(g, TICK_USEC);
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

int gateway_new(Gateway **ret, sd_event *event, MamMetrics *metrics, unsigned access_log_rate) {
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
        g->progress_usec = GATEWAY_PROGRESS_USEC;
        g->identity = mam_service_identity;
        TAILQ_INIT(&g->forwards);
        r = route_table_new(&g->routes);
        if (r < 0)
                return r;
        r = access_log_new(&g->access_log, access_log_rate);
        if (r < 0)
                return r;
        r = load_table_new(&g->load, mam_now_realtime());
        if (r < 0)
                return r;
        r = add_metrics(g, metrics);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &g->tick, CLOCK_MONOTONIC, UINT64_MAX, MAM_USEC_PER_MSEC, on_tick, g);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(g->tick, "gateway-tick");
        r = sd_event_source_set_enabled(g->tick, SD_EVENT_OFF);
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
        route_table_free(g->routes);
        for (size_t i = 0; i < g->n_upstreams; i++)
                upstream_free(g->upstreams[i]);
        free(g->upstreams);
        load_table_free(g->load);
        access_log_free(g->access_log);
        sd_event_unref(g->event);
        free(g);
        return NULL;
}

Upstream *gateway_find_upstream(const Gateway *g, const char *service) {
        for (size_t i = 0; i < g->n_upstreams; i++)
                if (strcmp(g->upstreams[i]->service, service) == 0)
                        return g->upstreams[i];
        return NULL;
}

static int add_upstream(Gateway *g, Upstream **ret, const char *service) {
        _cleanup_(upstream_freep) Upstream *u = NULL;
        Upstream **upstreams;
        int r;

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

int gateway_add_service(Gateway *g, const char *service, const char *const *prefixes, const char **ret_bad) {
        Upstream *u = gateway_find_upstream(g, service);
        int first = 0, r;

        if (!u) {
                r = add_upstream(g, &u, service);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; prefixes[i]; i++) {
                r = route_table_add(g->routes, prefixes[i], service, u);
                if (r == -ENOMEM)
                        return r;
                if (r < 0 && first == 0) {
                        first = r;
                        *ret_bad = prefixes[i];
                }
        }
        return first;
}

int gateway_set_endpoints(Gateway *g, Upstream *u, const EndpointSpec *specs, size_t n) {
        int r;

        r = upstream_set_endpoints(u, specs, n);
        mam_metric_set(mam_metric_get(g->metric_endpoints, (const char *[]){ u->service }),
                       upstream_ready(u));
        wake_upstream(g, u, mam_now_monotonic());
        return r;
}

static int refuse_nobody(MamHttpExchange *x) {
        bool has_token = mam_http_exchange_header(x, "Authorization") != NULL;

        /* RFC 6750, section 3.1: no error code where no token was sent. */
        (void) mam_http_exchange_add_field(
                        x,
                        "WWW-Authenticate",
                        has_token ? "Bearer realm=\"mam\", error=\"invalid_token\""
                                  : "Bearer realm=\"mam\"");
        return mam_http_exchange_problem(
                        x,
                        401,
                        NULL,
                        has_token ? "The access token is not valid" : "An access token is needed");
}

static int answer_index(MamHttpExchange *x) {
        static const char text[] = "{\"name\":\"mam\",\"version\":\"" MAM_VERSION "\"}\n";

        return mam_http_exchange_respond(x, 200, "application/json", text, sizeof(text) - 1);
}

int gateway_on_request(MamHttpExchange *x, void *userdata) {
        const char *method = mam_http_exchange_method(x), *path = mam_http_exchange_path(x);
        const MamIdentity *identity;
        Gateway *g = userdata;
        const Route *route;
        size_t size = strlen(path);

        assert(g);

        route = route_table_match(g->routes, path, size);
        if (!route && (strcmp(path, "/") == 0 || strcmp(path, "/api") == 0) &&
            (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0))
                return answer_index(x);

        identity = g->identity(x);
        if (!identity->authenticated)
                return refuse_nobody(x);
        if (strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
                return mam_http_exchange_problem(x, 501, NULL, "The gateway does not forward %s", method);
        if (!route_path_is_plain(path, size))
                return mam_http_exchange_problem(x, 400, NULL, "The path has segments \".\" or \"..\"");
        if (!route)
                return mam_http_exchange_problem(x, 404, NULL, "No service has this path");
        return forward_start(g, route, x, identity);
}

int gateway_on_load(MamHttpExchange *x, Gateway *g, bool is_manager) {
        static const char path[] = "/load";
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        int r;

        assert(g);

        if (!is_manager && route_table_match(g->routes, path, strlen(path)))
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
