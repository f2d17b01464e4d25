/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/route-policy.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "api-gateway/access.h"
#include "libmam/util/time.h"

#define LINK_MAX_SIZE 4200U

/* ---- fields ---- */

/* RFC 9110, section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT"; whatever the locale. */
static void format_http_date(char ret[static 40], uint64_t usec) {
        static const char days[] = "SunMonTueWedThuFriSat",
                          months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        time_t t = (time_t) (usec / MAM_USEC_PER_SEC);
        struct tm tm;

        ret[0] = '\0';
        if (!gmtime_r(&t, &tm))
                return;
        (void) snprintf(ret,
                        40,
                        "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                        days + 3 * tm.tm_wday,
                        tm.tm_mday,
                        months + 3 * tm.tm_mon,
                        (tm.tm_year + 1900) % 10000,
                        tm.tm_hour,
                        tm.tm_min,
                        tm.tm_sec);
}

static int add_lifecycle(const MamRouteConfig *c, MamHttpExchange *x) {
        char text[LINK_MAX_SIZE];
        int r = 0;

        if (c->deprecated_usec > 0) {
                (void) snprintf(text, sizeof(text), "@%" PRIu64, c->deprecated_usec / MAM_USEC_PER_SEC);
                r = mam_http_exchange_add_field(x, "Deprecation", text);
        }
        if (r >= 0 && c->sunset_usec > 0) {
                format_http_date(text, c->sunset_usec);
                r = mam_http_exchange_add_field(x, "Sunset", text);
        }
        if (r >= 0 && c->successor && strlen(c->successor) + 32 < sizeof(text)) {
                (void) snprintf(text, sizeof(text), "<%s>; rel=\"successor-version\"", c->successor);
                r = mam_http_exchange_add_field(x, "Link", text);
        }
        if (r >= 0 && c->version > 0)
                r = mam_http_exchange_add_field(x, "Vary", "Accept");
        return r < 0 ? r : 0;
}

int route_add_answer_fields(const Route *route, MamHttpExchange *x) {
        const MamRouteConfig *c = route->config;
        int r = 0;

        if (c->deprecated_usec > 0 || c->sunset_usec > 0 || c->successor || c->version > 0)
                r = add_lifecycle(c, x);
        for (size_t i = 0; i < c->n_response_set && r >= 0; i++)
                r = mam_http_exchange_add_field(x, c->response_set[i].name, c->response_set[i].value);
        return r < 0 ? r : 0;
}

static bool is_replaced(MamHttpRange name, const MamRouteField *set, size_t n, char **removed) {
        for (size_t i = 0; i < n; i++)
                if (!set[i].append && mam_http_range_equal_fold(name, set[i].name))
                        return true;
        for (; removed && *removed; removed++)
                if (mam_http_range_equal_fold(name, *removed))
                        return true;
        return false;
}

bool route_passes_request_field(const Route *route, const MamHttpField *f) {
        const MamRouteConfig *c = route->config;

        return (c->n_request_set == 0 && !c->request_remove) ||
               !is_replaced(f->name, c->request_set, c->n_request_set, c->request_remove);
}

bool route_passes_answer_field(const Route *route, const MamHttpField *f) {
        const MamRouteConfig *c = route->config;

        /* What the gateway says of the life of a route is not for a replica to contradict. */
        if ((c->deprecated_usec > 0 && mam_http_range_equal_fold(f->name, "Deprecation")) ||
            (c->sunset_usec > 0 && mam_http_range_equal_fold(f->name, "Sunset")))
                return false;
        return (c->n_response_set == 0 && !c->response_remove) ||
               !is_replaced(f->name, c->response_set, c->n_response_set, c->response_remove);
}

int route_add_request_fields(const Route *route, MamHttpCall *call) {
        const MamRouteConfig *c = route->config;
        int r = 0;

        for (size_t i = 0; i < c->n_request_set && r >= 0; i++)
                r = mam_http_call_add_field(call, c->request_set[i].name, c->request_set[i].value);
        return r < 0 ? r : 0;
}

/* ---- maintenance ---- */

/* A browser: it names HTML before anything that an API would answer with. */
static bool wants_html(MamHttpExchange *x) {
        const char *accept = mam_http_exchange_header(x, "Accept"), *html, *json;

        html = accept ? strcasestr(accept, "text/html") : NULL;
        json = accept ? strcasestr(accept, "json") : NULL;
        return html && (!json || html < json);
}

static int append_html(MamBuffer *b, const char *text) {
        int r = 0;

        for (; *text && r >= 0; text++)
                r = *text == '<'   ? mam_buffer_append_string(b, "&lt;")
                    : *text == '>' ? mam_buffer_append_string(b, "&gt;")
                    : *text == '&' ? mam_buffer_append_string(b, "&amp;")
                    : *text == '"' ? mam_buffer_append_string(b, "&quot;")
                                   : mam_buffer_append(b, text, 1);
        return r;
}

static int answer_page(MamHttpExchange *x, const char *message) {
        static const char before[] = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                                     "<title>Maintenance</title></head>\n<body><h1>Maintenance</h1>\n<p>",
                          after[] = "</p></body></html>\n";
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r;

        r = mam_buffer_append_string(&b, before);
        if (r >= 0)
                r = append_html(&b, message);
        if (r >= 0)
                r = mam_buffer_append_string(&b, after);
        if (r < 0)
                return r;
        (void) mam_http_exchange_add_field(x, "Content-Security-Policy", "default-src 'none'");
        return mam_http_exchange_respond(x, 503, "text/html; charset=utf-8", mam_buffer_bytes(&b), b.size);
}

static bool has_a_role(const Caller *c, char **roles) {
        for (; roles && *roles; roles++)
                if (caller_has_role(c, *roles))
                        return true;
        return false;
}

int route_check_maintenance(Gateway *g, const Route *route, MamHttpExchange *x) {
        const MamRouteConfig *c = route->config;
        const char *message = c->maintenance_message
                                              ? c->maintenance_message
                                              : "The service is being worked on. Please come back later.";
        _cleanup_(caller_unrefp) Caller *caller = NULL;
        char text[24];
        int r;

        if (!c->maintenance)
                return 1;
        if (c->maintenance_roles) {
                r = access_identify(g->access, x, &caller);
                if (r <= 0)
                        return r;
                if (has_a_role(caller, c->maintenance_roles))
                        return 1;
        }

        (void) snprintf(text, sizeof(text), "%" PRIu64, c->maintenance_retry_usec / MAM_USEC_PER_SEC);
        (void) mam_http_exchange_add_field(x, "Retry-After", text);
        (void) mam_http_exchange_add_field(x, "Cache-Control", "no-store");
        (void) mam_http_exchange_add_field(x, "Vary", "Accept");
        r = wants_html(x) ? answer_page(x, message) : mam_http_exchange_problem(x, 503, NULL, "%s", message);
        if (r >= 0)
                route_count(route, 503, 0, 0);
        return r < 0 ? r : 0;
}

/* ---- faults ---- */

typedef struct Delay {
        Gateway *gateway;    /* weak */
        const Route *route;  /* reference */
        MamHttpExchange *x;  /* weak: it owns us */
        Caller *caller;      /* reference */
        sd_event_source *at; /* owned */
        int (*go_on)(Gateway *g, const Route *route, MamHttpExchange *x, Caller *caller);
} Delay;

static Delay *delay_free(Delay *d) {
        if (!d)
                return NULL;

        sd_event_source_disable_unref(d->at);
        route_unref(d->route);
        caller_unref(d->caller);
        free(d);
        return NULL;
}

MAM_DEFINE_CLEANUP(Delay, delay_free);

static void on_delayed_done(MamHttpExchange *x, void *userdata) {
        delay_free(userdata);
}

static int on_delay_over(sd_event_source *source, uint64_t usec, void *userdata) {
        _cleanup_(delay_freep) Delay *d = userdata;

        mam_http_exchange_set_on_done(d->x, NULL, NULL);
        if (d->go_on(d->gateway, d->route, d->x, d->caller) < 0 &&
            mam_http_exchange_problem(d->x, 500, NULL, "The gateway could not take the request") < 0)
                mam_http_exchange_abort(d->x);
        return 0;
}

static int delay(
                Gateway *g,
                const Route *route,
                MamHttpExchange *x,
                Caller *caller,
                int (*go_on)(Gateway *g, const Route *route, MamHttpExchange *x, Caller *caller)) {
        _cleanup_(delay_freep) Delay *d = calloc(1, sizeof(*d));
        int r;

        if (!d)
                return -ENOMEM;
        *d = (Delay){ .gateway = g, .x = x, .go_on = go_on };
        d->route = route_ref(route);
        d->caller = caller_ref(caller);
        r = sd_event_add_time_relative(
                        g->event,
                        &d->at,
                        CLOCK_MONOTONIC,
                        route->config->fault_delay_usec,
                        MAM_USEC_PER_MSEC,
                        on_delay_over,
                        d);
        if (r < 0)
                return r;
        mam_http_exchange_set_on_done(x, on_delayed_done, MAM_TAKE(d));
        return 0;
}

int route_inject_fault(
                Gateway *g,
                const Route *route,
                MamHttpExchange *x,
                Caller *caller,
                int (*go_on)(Gateway *g, const Route *route, MamHttpExchange *x, Caller *caller)) {
        const MamRouteConfig *c = route->config;
        int r;

        if ((c->fault_abort_ppm == 0 && c->fault_delay_ppm == 0) || !g->faults)
                return 1;
        if (route_share(&route->state->fault_credit[1], c->fault_abort_ppm)) {
                r = mam_http_exchange_problem(
                                x,
                                c->fault_status,
                                NULL,
                                "This answer is made up: the route's configuration asks for it");
                if (r >= 0)
                        route_count(route, c->fault_status, 0, 0);
                return r < 0 ? r : 0;
        }
        if (!route_share(&route->state->fault_credit[0], c->fault_delay_ppm))
                return 1;
        return delay(g, route, x, caller, go_on);
}
