/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/status.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/json/json.h"
#include "libmam/util/time.h"

/* Takes the value in any case. */
static int put(json_object *o, const char *key, json_object *value) {
        if (value && json_object_object_add(o, key, value) >= 0)
                return 0;
        json_object_put(value);
        return -ENOMEM;
}

static int put_number(json_object *o, const char *key, uint64_t n) {
        return put(o, key, json_object_new_uint64(n));
}

static int put_text(json_object *o, const char *key, const char *text) {
        return put(o, key, json_object_new_string(text));
}

static int append(json_object *list, json_object *item) {
        if (item && json_object_array_add(list, item) >= 0)
                return 0;
        json_object_put(item);
        return -ENOMEM;
}

/* A new list in o, borrowed from there; NULL: no memory. */
static json_object *put_list(json_object *o, const char *key) {
        json_object *list = json_object_new_array();

        return put(o, key, list) < 0 ? NULL : list;
}

/* What makes a route special at the moment. */
static int put_marks(json_object *o, const Gateway *g, const MamRouteConfig *c) {
        const struct {
                bool is;
                const char *name;
        } marks[] = {
                { c->maintenance, "maintenance" },
                { g->faults && (c->fault_abort_ppm > 0 || c->fault_delay_ppm > 0), "fault" },
                { c->deprecated_usec > 0, "deprecated" },
                { c->mirror_service != NULL, "mirror" },
                { c->rate_limit != NULL, "limited" },
                { c->auth.anonymous, "anonymous" },
        };
        json_object *list = put_list(o, "marks");
        int r = list ? 0 : -ENOMEM;

        for (size_t i = 0; i < MAM_ELEMENTSOF(marks) && r >= 0; i++)
                if (marks[i].is)
                        r = append(list, json_object_new_string(marks[i].name));
        return r;
}

static int add_route(json_object *list, const Gateway *g, const Route *route) {
        json_object *o = json_object_new_object();
        const RouteState *s = route->state;
        int r;

        r = append(list, o);
        if (r >= 0)
                r = put_text(o, "route", route->config->label);
        if (r >= 0)
                r = put_text(o, "service", route->service);
        if (r >= 0)
                r = put_number(o, "requests", s->requests);
        if (r >= 0)
                r = put_number(o, "errors", s->errors);
        if (r >= 0)
                r = put_number(o, "refused", s->refused);
        if (r >= 0)
                r = put_number(o, "duration_usec", s->duration_usec);
        if (r >= 0)
                r = put_number(o, "bytes", s->bytes);
        return r < 0 ? r : put_marks(o, g, route->config);
}

static int add_endpoint(json_object *list, const Endpoint *e, uint64_t now) {
        json_object *o = json_object_new_object();
        int r;

        r = append(list, o);
        if (r >= 0)
                r = put_text(o, "replica", e->id);
        if (r >= 0)
                r = put_text(o, "state", endpoint_state_to_string(e->state));
        if (r >= 0)
                r = put_number(o, "in_flight", e->pending);
        if (r >= 0)
                r = put_number(o, "limit", gradient_limit(&e->gradient));
        if (r >= 0)
                r = put_number(o, "cost_usec", (uint64_t) balancer_cost(&e->stats, now));
        if (r >= 0)
                r = put(o, "out", json_object_new_boolean(endpoint_is_out(e, now)));
        if (r >= 0)
                r = put_number(o, "requests", e->load->requests);
        return r < 0 ? r : put_number(o, "errors", e->load->errors);
}

static int add_upstream(json_object *list, const Upstream *u, uint64_t now) {
        json_object *o = json_object_new_object(), *endpoints;
        int r;

        r = append(list, o);
        if (r >= 0)
                r = put_text(o, "service", u->service);
        if (r >= 0)
                r = put_text(o, "protocol", mam_service_protocol_to_string(u->protocol));
        if (r >= 0)
                r = put_number(o, "waiting", u->n_waiting);
        if (r >= 0)
                r = put_number(o, "unserved", u->unserved);
        if (r >= 0)
                r = put(o, "open", json_object_new_boolean(u->breaker.open));
        if (r < 0)
                return r;
        endpoints = put_list(o, "endpoints");
        r = endpoints ? 0 : -ENOMEM;
        for (size_t i = 0; i < u->n_endpoints && r >= 0; i++)
                r = add_endpoint(endpoints, u->endpoints[i], now);
        return r;
}

int status_format(const Gateway *g, MamBuffer *b, uint64_t now_usec) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        json_object *routes, *upstreams;
        int r;

        assert(g);
        assert(b);

        if (!o)
                return -ENOMEM;
        r = put_number(o, "generation", g->config->generation);
        if (r >= 0)
                r = put_number(o, "started_usec", load_started_usec(g->load));
        if (r < 0)
                return r;
        routes = put_list(o, "routes");
        upstreams = put_list(o, "upstreams");
        if (!routes || !upstreams)
                return -ENOMEM;
        for (size_t i = 0; i < route_table_size(g->routes) && r >= 0; i++)
                r = add_route(routes, g, route_table_get(g->routes, i));
        for (size_t i = 0; i < g->n_upstreams && r >= 0; i++)
                r = add_upstream(upstreams, g->upstreams[i], now_usec);
        if (r < 0)
                return r;
        r = mam_buffer_append_string(b, mam_json_to_string(o));
        return r < 0 ? r : mam_buffer_append_string(b, "\n");
}

int gateway_on_status(MamHttpExchange *x, Gateway *g, bool allowed) {
        _cleanup_(mam_buffer_done) MamBuffer text = MAM_BUFFER_INIT;
        int r;

        assert(g);

        if (!allowed)
                return gateway_on_request(x, g);
        if (strcmp(mam_http_exchange_method(x), "GET") != 0) {
                (void) mam_http_exchange_add_field(x, "Allow", "GET");
                return mam_http_exchange_problem(x, 405, NULL, "This resource allows GET");
        }
        r = status_format(g, &text, mam_now_monotonic());
        if (r < 0)
                return r;
        (void) mam_http_exchange_add_field(x, "Cache-Control", "no-store");
        return mam_http_exchange_respond(x, 200, "application/json", mam_buffer_bytes(&text), text.size);
}
