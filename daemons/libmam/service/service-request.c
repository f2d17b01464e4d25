/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One request on its way through the frame: route, identity, role, handler; and counted when it is over
 *
 * The ServiceRequest hangs on the exchange as its frame, so a handler keeps the exchange's userdata and
 * on_done for itself.
 */

#include <assert.h>
#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/service/service-internal.h"
#include "libmam/util/time.h"

typedef struct ServiceRequest {
        MamService *service; /* weak: outlives all exchanges */
        MamRouteMatch match;
        const char *pattern; /* borrowed; "other" outside the table */
        bool identity_known;
        const char *identity_reason; /* borrowed; why a token was refused, or NULL */
        MamIdentity identity;
        char *identity_text; /* owned; what the identity points into */
} ServiceRequest;

static ServiceRequest *request_free(ServiceRequest *q) {
        if (!q)
                return NULL;

        mam_route_match_done(&q->match);
        free(q->identity_text);
        mam_spares_give(&q->service->requests, q);
        return NULL;
}

/* The series of this method, pattern and status. What was asked for before is found by pointers, as looking
 * it up by text is a good part of what a small request costs. */
static const MamServiceSeries *find_series(
                MamService *s,
                const char *method,
                const char *pattern,
                unsigned status) {
        size_t start = ((uintptr_t) pattern / 8 + (uintptr_t) method / 4 + status) % MAM_SERVICE_SERIES_MAX;
        MamServiceSeries *k = &s->series[start];
        char text[16];

        if (k->method == method && k->pattern == pattern && k->status == status)
                return k;
        (void) snprintf(text, sizeof(text), "%u", status);
        *k = (MamServiceSeries){
                .method = method,
                .pattern = pattern,
                .status = status,
                .requests = mam_metric_get(s->requests_total, (const char *[]){ method, pattern, text }),
                .duration = mam_metric_get(s->duration, (const char *[]){ method, pattern }),
        };
        return k;
}

static void on_request_done(MamHttpExchange *x, void *userdata) {
        ServiceRequest *q = userdata;
        MamService *s = q->service;
        unsigned status = mam_http_exchange_status(x);
        uint64_t usec = mam_now_monotonic() - mam_http_exchange_started_usec(x);
        const MamServiceSeries *k;

        /* 499 as other proxies count it: the client left before there was an answer. */
        k = find_series(s, mam_method_label(x), q->pattern, status > 0 ? status : 499);
        mam_metric_add(k->requests, 1);
        if (status != 101) /* a conversation's length says nothing about how long answers take */
                mam_metric_observe(k->duration, (double) usec / (double) MAM_USEC_PER_SEC);
        mam_metric_add(s->in_flight, -1);

        mam_debug("%s %s %u %llu us request %s",
                  mam_http_exchange_method(x),
                  mam_http_exchange_path(x),
                  status,
                  (unsigned long long) usec,
                  mam_http_exchange_request_id(x));
        request_free(q);
}

const MamIdentity *mam_service_identity(MamHttpExchange *x) {
        static const MamIdentity nobody;
        ServiceRequest *q;
        int r;

        assert(x);

        q = mam_http_exchange_frame(x);
        if (!q)
                return &nobody;
        if (q->identity_known)
                return &q->identity;

        r = mam_identity_check(q->service->checker, x, &q->identity, &q->identity_text, &q->identity_reason);
        if (r < 0)
                return &nobody; /* out of memory: asked again, and refused until then */
        q->identity_known = true;
        if (r == MAM_IDENTITY_BAD)
                mam_debug("Refused a token from %s: %s", mam_http_exchange_peer(x), q->identity_reason);
        return &q->identity;
}

const char *mam_route_parameter(MamHttpExchange *x, const char *name) {
        ServiceRequest *q;

        assert(x);
        assert(name);

        q = mam_http_exchange_frame(x);
        for (size_t i = 0; q && i < q->match.n_parameters; i++)
                if (strcmp(q->match.parameters[i].name, name) == 0)
                        return q->match.parameters[i].value;
        return "";
}

const char *mam_route_pattern(MamHttpExchange *x) {
        ServiceRequest *q;

        assert(x);

        q = mam_http_exchange_frame(x);
        return q ? q->pattern : "other";
}

const char *mam_method_label(MamHttpExchange *x) {
        static const char *const known[] = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" };
        const char *method = mam_http_exchange_method(x);

        for (size_t i = 0; i < MAM_ELEMENTSOF(known); i++)
                if (strcmp(method, known[i]) == 0)
                        return known[i];
        return "other";
}

/* true: go on; false: answered. */
static bool is_allowed(ServiceRequest *q, MamHttpExchange *x, const MamRoute *route) {
        const MamIdentity *i;

        if (route->anonymous)
                return true;

        i = mam_service_identity(x);
        if (!i->authenticated) {
                /* RFC 6750, section 3.1: no error code where no token was sent. */
                (void) mam_http_exchange_add_field(
                                x,
                                "WWW-Authenticate",
                                q->identity_reason ? "Bearer realm=\"mam\", error=\"invalid_token\""
                                                   : "Bearer realm=\"mam\"");
                (void) mam_http_exchange_problem(
                                x,
                                401,
                                NULL,
                                q->identity_reason ? "The access token is not valid"
                                                   : "An access token is needed");
                return false;
        }
        if (route->role && !mam_identity_has_role(i, route->role)) {
                (void) mam_http_exchange_problem(x, 403, NULL, "This needs the role \"%s\"", route->role);
                return false;
        }
        return true;
}

/* Nothing was done with the request: the gateway may send it elsewhere, whatever its method. */
static int answer_not_ready(MamHttpExchange *x, const char *why) {
        (void) mam_http_exchange_add_field(x, "Mam-Unprocessed", "1");
        (void) mam_http_exchange_add_field(x, "Retry-After", "1");
        return mam_http_exchange_problem(x, 503, NULL, "%s", why);
}

static bool is_builtin(const MamRoute *route) {
        for (const MamRoute *r = mam_service_builtin_routes; r->method; r++)
                if (r == route)
                        return true;
        return false;
}

static int dispatch(ServiceRequest *q, MamHttpExchange *x) {
        MamService *s = q->service;
        const MamRoute *route;
        int r;

        r = mam_router_match(s->router, mam_http_exchange_method(x), mam_http_exchange_path(x), &q->match);
        if (r < 0)
                return r;
        if (q->match.pattern)
                q->pattern = q->match.pattern;

        switch (r) {
        case MAM_ROUTER_FOUND:
                route = q->match.route;
                if (s->state == MAM_SERVICE_STARTING && !is_builtin(route))
                        return answer_not_ready(x, "The service is starting");
                if (!is_allowed(q, x, route))
                        return 0;
                return route->handler(x, s->userdata);
        case MAM_ROUTER_OPTIONS:
                (void) mam_http_exchange_add_field(x, "Allow", q->match.allow);
                return mam_http_exchange_respond(x, 204, NULL, NULL, 0);
        case MAM_ROUTER_NO_METHOD:
                (void) mam_http_exchange_add_field(x, "Allow", q->match.allow);
                return mam_http_exchange_problem(x, 405, NULL, "This resource allows %s", q->match.allow);
        case MAM_ROUTER_BAD_PATH:
                return mam_http_exchange_problem(x, 400, NULL, "The path is not percent-encoded correctly");
        default:
                if (!s->info->fallback)
                        return mam_http_exchange_problem(x, 404, NULL, "There is nothing at this path");
                if (s->state == MAM_SERVICE_STARTING)
                        return answer_not_ready(x, "The service is starting");
                return s->info->fallback(x, s->userdata);
        }
}

int mam_service_on_request(MamHttpExchange *x, void *userdata) {
        MamService *s = userdata;
        ServiceRequest *q;
        int r;

        q = mam_spares_take_zeroed(&s->requests, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->service = s;
        q->pattern = "other";
        mam_http_exchange_set_frame(x, on_request_done, q); /* frees q, whatever happens from here on */
        mam_metric_add(s->in_flight, 1);

        /* The server answers a failure with 500, but only we know what it was. The exchange still exists:
         * on_done runs after a failing handler has returned. */
        r = dispatch(q, x);
        if (r < 0)
                mam_error("%s: %s", q->pattern, strerrordesc_np(-r) ? strerrordesc_np(-r) : "unknown error");
        return r;
}

static int handle_health(MamHttpExchange *x, void *userdata) {
        static const char alive[] = "{\"status\":\"alive\"}\n";

        (void) mam_http_exchange_add_field(x, "Cache-Control", "no-store");
        return mam_http_exchange_respond(x, 200, "application/json", alive, sizeof(alive) - 1);
}

static int handle_ready(MamHttpExchange *x, void *userdata) {
        static const char ready[] = "{\"status\":\"ready\"}\n";
        ServiceRequest *q = mam_http_exchange_frame(x);
        MamService *s = q->service;

        (void) mam_http_exchange_add_field(x, "Cache-Control", "no-store");
        if (s->state == MAM_SERVICE_DRAINING)
                return answer_not_ready(x, "The service is draining");
        if (s->n_reasons > 0)
                return answer_not_ready(x, s->reasons[0].reason);
        if (s->state == MAM_SERVICE_STARTING)
                return answer_not_ready(x, "The service is starting");
        return mam_http_exchange_respond(x, 200, "application/json", ready, sizeof(ready) - 1);
}

static int handle_metrics(MamHttpExchange *x, void *userdata) {
        ServiceRequest *q = mam_http_exchange_frame(x);
        MamService *s = q->service;
        MamBuffer text = MAM_BUFFER_INIT;
        const char *accept = mam_http_exchange_header(x, "Accept");
        /* Not weighed against others: who knows the type at all is a scraper that prefers it. */
        bool open = accept && strcasestr(accept, "application/openmetrics-text");
        int r;

        mam_metric_set(s->connections, mam_http_server_connections(s->server));
        mam_metric_set(s->ready, s->state == MAM_SERVICE_RUNNING && s->n_reasons == 0);
        r = open ? mam_metrics_format_open(s->metrics, &text) : mam_metrics_format(s->metrics, &text);
        if (r >= 0)
                r = mam_http_exchange_respond(
                                x,
                                200,
                                open ? mam_openmetrics_type : "text/plain; version=0.0.4; charset=utf-8",
                                mam_buffer_bytes(&text),
                                text.size);
        mam_buffer_done(&text);
        return r;
}

const MamRoute mam_service_builtin_routes[] = {
        { .method = "GET", .path = "/health", .handler = handle_health, .anonymous = true },
        { .method = "GET", .path = "/ready", .handler = handle_ready, .anonymous = true },
        { .method = "GET", .path = "/metrics", .handler = handle_metrics, .anonymous = true },
        { 0 },
};

int mam_service_add_metrics(MamService *s) {
        MamMetricFamily *f;
        int r;

        r = mam_metrics_add_process(s->metrics);
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(s->metrics,
                                        &s->requests_total,
                                        MAM_METRIC_COUNTER,
                                        "mam_http_requests_total",
                                        "Requests answered; status 499: the client left before.",
                                        (const char *[]){ "method", "route", "status", NULL });
        if (r < 0)
                return r;
        r =
                        mam_metrics_add(s->metrics,
                                        &s->duration,
                                        MAM_METRIC_HISTOGRAM,
                                        "mam_http_request_duration_seconds",
                                        "From the last byte of the head to the last byte of the answer.",
                                        (const char *[]){ "method", "route", NULL });
        if (r < 0)
                return r;

        r =
                        mam_metrics_add(s->metrics,
                                        &f,
                                        MAM_METRIC_GAUGE,
                                        "mam_http_requests_in_flight",
                                        "Requests being answered now.",
                                        NULL);
        if (r < 0)
                return r;
        s->in_flight = mam_metric_get(f, NULL);
        r =
                        mam_metrics_add(s->metrics,
                                        &f,
                                        MAM_METRIC_GAUGE,
                                        "mam_http_connections",
                                        "Open connections.",
                                        NULL);
        if (r < 0)
                return r;
        s->connections = mam_metric_get(f, NULL);
        r =
                        mam_metrics_add(s->metrics,
                                        &f,
                                        MAM_METRIC_GAUGE,
                                        "mam_ready",
                                        "1: the replica takes traffic.",
                                        NULL);
        if (r < 0)
                return r;
        s->ready = mam_metric_get(f, NULL);
        return 0;
}
