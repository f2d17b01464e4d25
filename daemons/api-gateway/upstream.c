/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/upstream.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/gateway.h"
#include "libmam/util/time.h"

#define EJECTION_FIRST_USEC (250 * MAM_USEC_PER_MSEC)
#define EJECTION_MAX_USEC   (10 * MAM_USEC_PER_SEC)
#define RETRY_TOKENS_MAX    100.0
#define RETRY_TOKENS_START  10.0
#define RETRY_SHARE         0.2

static const MamHttpClientOptions client_options = {
        .connections_max = 1024,
        .idle_max = 64,
        .connect_timeout_usec = 2 * MAM_USEC_PER_SEC,
        .idle_timeout_usec = 55 * MAM_USEC_PER_SEC, /* the servers of libmam close at 75 s */
        .head_max = 32 * 1024,
};

static const char *const states[_ENDPOINT_STATE_MAX] = {
        [ENDPOINT_UNREADY] = "unready",
        [ENDPOINT_READY] = "ready",
        [ENDPOINT_DRAINING] = "draining",
};

EndpointState endpoint_state_from_string(const char *s) {
        for (int i = 0; i < _ENDPOINT_STATE_MAX; i++)
                if (strcmp(states[i], s) == 0)
                        return (EndpointState) i;
        return _ENDPOINT_STATE_INVALID;
}

static Endpoint *endpoint_unref(Endpoint *e) {
        if (!e || --e->n_ref > 0)
                return NULL;

        mam_http_client_free(e->client);
        free(e->id);
        free(e->address);
        free(e);
        return NULL;
}

MAM_DEFINE_CLEANUP(Endpoint, endpoint_unref);

static void endpoint_show(const Endpoint *e) {
        mam_metric_set(mam_metric_get(e->in_flight, (const char *[]){ e->id }), e->pending);
}

static int endpoint_new(Endpoint **ret, Gateway *g, const EndpointSpec *spec) {
        static uint64_t serial = 0;
        _cleanup_(endpoint_unrefp) Endpoint *e = NULL;
        int r;

        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->n_ref = 1;
        e->serial = ++serial;
        e->in_flight = g->metric_in_flight;
        e->id = strdup(spec->id);
        e->address = strdup(spec->address);
        if (!e->id || !e->address)
                return -ENOMEM;
        r = mam_http_client_new(&e->client, g->event, e->address, &client_options);
        if (r < 0)
                return r;
        endpoint_show(e);

        *ret = MAM_TAKE(e);
        return 0;
}

void endpoint_begin(Endpoint *e) {
        e->n_ref++;
        e->pending++;
        if (!e->removed)
                endpoint_show(e);
}

Endpoint *endpoint_end(Endpoint *e) {
        assert(e->pending > 0);

        e->pending--;
        if (!e->removed)
                endpoint_show(e);
        return endpoint_unref(e);
}

void endpoint_succeeded(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec) {
        balancer_sample(&e->stats, rtt_usec, now_usec);
        e->failures = 0;
        e->ejected_until_usec = 0;
}

void endpoint_struggled(Endpoint *e, uint64_t now_usec) {
        balancer_sample(&e->stats, BALANCER_FAILURE_USEC, now_usec);
}

void endpoint_failed(Endpoint *e, uint64_t now_usec) {
        uint64_t wait = EJECTION_FIRST_USEC << (e->failures < 6 ? e->failures : 6);

        /* The connections that broke together are one failure. */
        if (now_usec < e->ejected_until_usec)
                return;
        e->failures++;
        e->ejected_until_usec = now_usec + (wait < EJECTION_MAX_USEC ? wait : EJECTION_MAX_USEC);
}

int upstream_new(Upstream **ret, Gateway *g, const char *service) {
        _cleanup_(upstream_freep) Upstream *u = NULL;

        u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->gateway = g;
        u->retry_tokens = RETRY_TOKENS_START;
        TAILQ_INIT(&u->waiting);
        u->service = strdup(service);
        if (!u->service)
                return -ENOMEM;

        *ret = MAM_TAKE(u);
        return 0;
}

Upstream *upstream_free(Upstream *u) {
        if (!u)
                return NULL;

        assert(TAILQ_EMPTY(&u->waiting)); /* the server, which owns the requests, goes first */
        for (size_t i = 0; i < u->n_endpoints; i++)
                endpoint_unref(u->endpoints[i]);
        free(u->service);
        free(u);
        return NULL;
}

static void endpoint_update(Endpoint *e, const EndpointSpec *spec) {
        /* Ready again is another process: what is known of the old one would be held against it. */
        if (spec->state == ENDPOINT_READY && e->state != ENDPOINT_READY) {
                e->stats = (BalancerStats){ 0 };
                e->failures = 0;
                e->ejected_until_usec = 0;
        }
        e->state = spec->state;
        e->weight = spec->weight;
}

/* Takes the endpoint out of the old set, or makes it. */
static int take_or_make(Endpoint **ret, Upstream *u, const EndpointSpec *spec) {
        for (size_t i = 0; i < u->n_endpoints; i++) {
                Endpoint *e = u->endpoints[i];

                if (!e || strcmp(e->id, spec->id) != 0 || strcmp(e->address, spec->address) != 0)
                        continue;
                u->endpoints[i] = NULL;
                *ret = e;
                return 0;
        }
        return endpoint_new(ret, u->gateway, spec);
}

static bool is_twice(const EndpointSpec *specs, size_t i) {
        for (size_t j = 0; j < i; j++)
                if (strcmp(specs[j].id, specs[i].id) == 0)
                        return true;
        return false;
}

static void endpoint_remove(Endpoint *e, Endpoint *const *others, size_t n_others) {
        if (!e)
                return;

        e->removed = true;
        for (size_t i = 0; i < n_others; i++)
                if (strcmp(others[i]->id, e->id) == 0) { /* it only moved: the series is the successor's */
                        endpoint_show(others[i]);
                        endpoint_unref(e);
                        return;
                }
        mam_metric_remove(e->in_flight, (const char *[]){ e->id });
        endpoint_unref(e);
}

int upstream_set_endpoints(Upstream *u, const EndpointSpec *specs, size_t n) {
        Endpoint *set[UPSTREAM_ENDPOINTS_MAX];
        size_t n_set = 0;
        int r = 0;

        assert(u);
        assert(specs || n == 0);

        for (size_t i = 0; i < n && n_set < UPSTREAM_ENDPOINTS_MAX && r != -ENOMEM; i++) {
                Endpoint *e = NULL;

                if (is_twice(specs, i))
                        continue;
                r = take_or_make(&e, u, &specs[i]);
                if (r < 0)
                        continue;
                endpoint_update(e, &specs[i]);
                set[n_set++] = e;
        }

        for (size_t i = 0; i < u->n_endpoints; i++)
                endpoint_remove(u->endpoints[i], set, n_set);
        memcpy(u->endpoints, set, n_set * sizeof(*set));
        u->n_endpoints = n_set;
        u->known = true;
        return r == -ENOMEM ? r : 0;
}

static bool was_tried(const Endpoint *e, const uint64_t *tried, size_t n_tried) {
        for (size_t i = 0; i < n_tried; i++)
                if (tried[i] == e->serial)
                        return true;
        return false;
}

Endpoint *upstream_pick(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec) {
        BalancerCandidate candidates[UPSTREAM_ENDPOINTS_MAX];
        ssize_t k;

        /* Those in good standing; if there is none, those that refused a moment ago: they are all there is.
         */
        for (int round = 0; round < 2; round++) {
                for (size_t i = 0; i < u->n_endpoints; i++) {
                        const Endpoint *e = u->endpoints[i];

                        candidates[i] = (BalancerCandidate){
                                .stats = &e->stats,
                                .pending = e->pending,
                                .weight = e->weight,
                                .available = e->state == ENDPOINT_READY && !was_tried(e, tried, n_tried) &&
                                             (round > 0 || now_usec >= e->ejected_until_usec),
                        };
                }
                k = balancer_pick(candidates, u->n_endpoints, &u->turn, now_usec);
                if (k >= 0)
                        return u->endpoints[k];
        }
        return NULL;
}

unsigned upstream_ready(const Upstream *u) {
        unsigned n = 0;

        for (size_t i = 0; i < u->n_endpoints; i++)
                n += u->endpoints[i]->state == ENDPOINT_READY;
        return n;
}

void upstream_earn_retry(Upstream *u) {
        u->retry_tokens += RETRY_SHARE;
        if (u->retry_tokens > RETRY_TOKENS_MAX)
                u->retry_tokens = RETRY_TOKENS_MAX;
}

bool upstream_spend_retry(Upstream *u) {
        if (u->retry_tokens < 1.0)
                return false;
        u->retry_tokens -= 1.0;
        return true;
}
