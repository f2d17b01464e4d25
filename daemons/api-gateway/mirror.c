/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/mirror.h"

#include <assert.h>

#include "api-gateway/fields.h"
#include "libmam/util/time.h"

typedef struct MirrorCall MirrorCall;

struct MirrorCall {
        Gateway *gateway;   /* weak */
        MamHttpCall *call;  /* owned */
        Endpoint *endpoint; /* reference, as of endpoint_begin() */
        TAILQ_ENTRY(MirrorCall) calls;
};

static MirrorCall *mirror_call_free(MirrorCall *c) {
        if (!c)
                return NULL;

        TAILQ_REMOVE(&c->gateway->mirrors, c, calls);
        c->gateway->n_mirrors--;
        mam_http_call_free(c->call);
        endpoint_end(c->endpoint);
        free(c);
        return NULL;
}

MAM_DEFINE_CLEANUP(MirrorCall, mirror_call_free);

static void on_end(MamHttpCall *call, int error, void *userdata) {
        mirror_call_free(userdata);
}

/* No callbacks but the last: what is not wanted is not copied. */
static const MamHttpCallbacks callbacks = { .on_end = on_end };

static int send_copy(
                MirrorCall *c,
                const Route *route,
                MamHttpExchange *x,
                const Caller *caller,
                const MamBuffer *body,
                const char *target) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        int r;

        r = mam_http_call_new(
                        &c->call,
                        c->endpoint->client,
                        mam_http_exchange_method(x),
                        target,
                        &callbacks,
                        c);
        if (r < 0)
                return r;
        r = fields_add_for_upstream(
                        c->call,
                        x,
                        mam_http_exchange_tls(x) ? "https" : "http",
                        caller,
                        route,
                        NULL);
        if (r < 0)
                return r;
        r = mam_http_call_add_field(c->call, "Mam-Mirror", "1");
        if (r < 0)
                return r;
        if (head->framing == MAM_HTTP_BODY_LENGTH) {
                r = mam_http_call_set_body(c->call, mam_buffer_bytes(body), body->size);
                if (r < 0)
                        return r;
        }
        mam_http_call_set_timeout(c->call, MIRROR_TIMEOUT_USEC);
        return mam_http_call_start(c->call);
}

void mirror_request(
                Gateway *g,
                const Route *route,
                MamHttpExchange *x,
                const Caller *caller,
                const MamBuffer *body,
                const char *target) {
        _cleanup_(mirror_call_freep) MirrorCall *c = NULL;
        bool is_full = false;
        Upstream *u;
        Endpoint *e;

        assert(g);
        assert(route->config->mirror_service);

        if (!route->state || !route_share(&route->state->mirror_credit, route->config->mirror_ppm) ||
            g->n_mirrors >= MIRROR_CALLS_MAX)
                return;
        u = gateway_find_upstream(g, route->config->mirror_service);
        e = u ? upstream_pick(u,
                              &(UpstreamWish){ .how = { .kind = BALANCER_LEAST } },
                              mam_now_monotonic(),
                              &is_full)
              : NULL;
        if (!e)
                return;
        c = calloc(1, sizeof(*c));
        if (!c)
                return;
        c->gateway = g;
        c->endpoint = e;
        endpoint_begin(e);
        TAILQ_INSERT_TAIL(&g->mirrors, c, calls);
        g->n_mirrors++;
        if (send_copy(c, route, x, caller, body, target) >= 0)
                (void) MAM_TAKE(c); /* on_end frees it */
}

void mirror_done(Gateway *g) {
        MirrorCall *c;

        while ((c = TAILQ_FIRST(&g->mirrors)))
                mirror_call_free(c);
}
