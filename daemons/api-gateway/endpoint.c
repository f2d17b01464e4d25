/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Endpoints: one replica each, and what is known of it
 */

#include <assert.h>
#include <string.h>

#include "api-gateway/gateway.h"
#include "api-gateway/key-hash.h"
#include "api-gateway/upstream-internal.h"
#include "libmam/util/time.h"

#define REFUSED_FIRST_USEC (250 * MAM_USEC_PER_MSEC)
#define REFUSED_MAX_USEC   (10 * MAM_USEC_PER_SEC)
#define WAKING_FIRST_USEC  (5 * MAM_USEC_PER_MSEC)
#define WAKING_MAX_USEC    (100 * MAM_USEC_PER_MSEC)

static const char *const states[_ENDPOINT_STATE_MAX] = {
        [ENDPOINT_UNREADY] = "unready",
        [ENDPOINT_READY] = "ready",
        [ENDPOINT_DRAINING] = "draining",
        [ENDPOINT_ASLEEP] = "asleep",
};

EndpointState endpoint_state_from_string(const char *s) {
        for (int i = 0; i < _ENDPOINT_STATE_MAX; i++)
                if (strcmp(states[i], s) == 0)
                        return (EndpointState) i;
        return _ENDPOINT_STATE_INVALID;
}

const char *endpoint_state_to_string(EndpointState s) {
        return s >= 0 && s < _ENDPOINT_STATE_MAX ? states[s] : NULL;
}

Endpoint *endpoint_unref(Endpoint *e) {
        if (!e || --e->n_ref > 0)
                return NULL;

        mam_http_client_free(e->client);
        load_release(e->load);
        free(e->group);
        free(e->id);
        free(e->address);
        free(e);
        return NULL;
}

static MamHttpProtocol client_protocol(MamServiceProtocol p) {
        return p == MAM_SERVICE_PROTOCOL_NATIVE ? MAM_HTTP_PROTOCOL_NATIVE
               : p == MAM_SERVICE_PROTOCOL_H2C  ? MAM_HTTP_PROTOCOL_H2C
                                                : MAM_HTTP_PROTOCOL_HTTP1;
}

static void endpoint_show(Endpoint *e) {
        mam_metric_set(e->metric, e->pending);
}

int endpoint_new(Endpoint **ret, Upstream *u, const EndpointSpec *spec) {
        static const KeyHashKey same_everywhere = { 0 };
        static uint64_t serial = 0;
        _cleanup_(endpoint_unrefp) Endpoint *e = NULL;
        Gateway *g = u->gateway;
        int r;

        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->n_ref = 1;
        e->serial = ++serial;
        e->upstream = u;
        e->split_group = -ENOENT;
        e->protocol = u->protocol;
        e->stats.name = key_hash(&same_everywhere, spec->id, strlen(spec->id));
        e->id = strdup(spec->id);
        e->address = strdup(spec->address);
        e->group = strdup("");
        if (!e->id || !e->address || !e->group)
                return -ENOMEM;
        r = load_acquire(g->load, &e->load, e->id);
        if (r < 0)
                return r;
        r = mam_http_client_new(
                        &e->client,
                        g->event,
                        e->address,
                        &(MamHttpClientOptions){
                                        .protocol = client_protocol(e->protocol),
                                        .connections_max = 1024,
                                        .idle_max = 64,
                                        .connect_timeout_usec = 2 * MAM_USEC_PER_SEC,
                                        .idle_timeout_usec = 55 * MAM_USEC_PER_SEC, /* the servers of libmam
                                                                                       close at 75 s */
                                        .head_max = 32 * 1024,
                        });
        if (r < 0)
                return r;
        e->metric = mam_metric_get(g->metric_in_flight, (const char *[]){ e->id });
        gradient_init(&e->gradient, g->protection.concurrency_min, g->protection.concurrency_max);
        endpoint_show(e);
        mam_metric_set(mam_metric_get(g->protection.metric_limit, (const char *[]){ e->id }),
                       gradient_limit(&e->gradient));

        *ret = MAM_TAKE(e);
        return 0;
}

int endpoint_update(Endpoint *e, const EndpointSpec *spec, bool others_serve) {
        const char *group = spec->group ? spec->group : "";

        /* Ready again is another process: what is known of the old one would be held against it. */
        if (spec->state != e->state && (spec->state == ENDPOINT_READY || spec->state == ENDPOINT_ASLEEP)) {
                e->stats = (BalancerStats){ .name = e->stats.name };
                e->outlier = (Outlier){ 0 };
                gradient_init(&e->gradient, (unsigned) e->gradient.min, (unsigned) e->gradient.max);
                e->failures = 0;
                e->ejected_until_usec = 0;
                e->awake = false;
                e->ready_usec = others_serve ? mam_now_monotonic() : 0;
        }
        e->state = spec->state;
        e->weight = spec->weight;

        if (strcmp(e->group, group) != 0) {
                char *copy = strdup(group);

                if (!copy)
                        return -ENOMEM;
                free(e->group);
                e->group = copy;
        }
        return 0;
}

void endpoint_remove(Endpoint *e, Endpoint *const *others, size_t n_others) {
        Gateway *g;

        if (!e)
                return;

        g = e->upstream->gateway;
        e->metric = NULL; /* it lives for its forwards only */
        e->upstream = NULL;
        for (size_t i = 0; i < n_others; i++)
                if (strcmp(others[i]->id, e->id) == 0) { /* it only moved: the series is the successor's */
                        endpoint_show(others[i]);
                        endpoint_unref(e);
                        return;
                }
        mam_metric_remove(g->metric_in_flight, (const char *[]){ e->id });
        mam_metric_remove(g->protection.metric_limit, (const char *[]){ e->id });
        mam_metric_remove(g->protection.metric_ejections, (const char *[]){ e->id });
        endpoint_unref(e);
}

void endpoint_begin(Endpoint *e) {
        e->n_ref++;
        e->pending++;
        e->load->in_flight++;
        endpoint_show(e);
}

Endpoint *endpoint_end(Endpoint *e) {
        assert(e->pending > 0);

        e->pending--;
        e->load->in_flight--;
        endpoint_show(e);
        return endpoint_unref(e);
}

void endpoint_work(Endpoint *e) {
        e->working++;
}

void endpoint_rest(Endpoint *e) {
        assert(e->working > 0);

        e->working--;
}

bool endpoint_is_out(const Endpoint *e, uint64_t now_usec) {
        return now_usec < e->ejected_until_usec || outlier_is_out(&e->outlier, now_usec);
}

/* Whether it is this replica, and not the service or what it is asked, that goes wrong: there are others of
 * its kind that get requests, and they do well. */
static bool others_do_better(const Endpoint *e, uint64_t now_usec) {
        const Upstream *u = e->upstream;
        double sum = 0;
        unsigned n = 0;

        for (size_t i = 0; i < u->n_endpoints; i++) {
                const Endpoint *other = u->endpoints[i];

                if (other == e || other->state != ENDPOINT_READY || other->weight == 0 ||
                    other->split_group != e->split_group || endpoint_is_out(other, now_usec))
                        continue;
                sum += outlier_success(&other->outlier, now_usec, NULL);
                n++;
        }
        return n > 0 && sum / n >= OUTLIER_SUCCESS;
}

static void endpoint_judge(Endpoint *e, bool failed, uint64_t now_usec) {
        if (!outlier_count(&e->outlier, failed, now_usec) || !e->upstream || endpoint_is_out(e, now_usec) ||
            !others_do_better(e, now_usec))
                return;
        outlier_eject(&e->outlier, protection_lot(), now_usec);
        mam_metric_add(mam_metric_get(e->upstream->gateway->protection.metric_ejections,
                                      (const char *[]){ e->id }),
                       1);
}

static void endpoint_sample(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec) {
        unsigned limit = gradient_limit(&e->gradient);
        uint64_t lag = e->upstream ? 2 * e->upstream->gateway->lag_usec
                                   : 0; /* it was sent late, and heard late */

        balancer_sample(&e->stats, rtt_usec, now_usec);
        /* What just answered was being worked on too. */
        gradient_sample(&e->gradient, rtt_usec > lag ? rtt_usec - lag : 0, e->working + 1, now_usec);
        if (gradient_limit(&e->gradient) != limit && e->upstream)
                mam_metric_set(mam_metric_get(e->upstream->gateway->protection.metric_limit,
                                              (const char *[]){ e->id }),
                               gradient_limit(&e->gradient));
}

void endpoint_succeeded(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec) {
        endpoint_sample(e, rtt_usec, now_usec);
        endpoint_judge(e, false, now_usec);
        e->failures = 0;
        e->ejected_until_usec = 0;
        e->awake = e->state == ENDPOINT_ASLEEP;
}

void endpoint_erred(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec) {
        endpoint_sample(e, rtt_usec, now_usec);
        endpoint_judge(e, true, now_usec);
}

void endpoint_struggled(Endpoint *e, uint64_t cost_usec, uint64_t now_usec) {
        balancer_sample(&e->stats, cost_usec > 0 ? cost_usec : BALANCER_FAILURE_USEC, now_usec);
        endpoint_judge(e, true, now_usec);
}

void endpoint_failed(Endpoint *e, uint64_t now_usec) {
        /* What is just starting will be there in a moment. */
        bool is_waking = e->state == ENDPOINT_ASLEEP && !e->awake;
        uint64_t first = is_waking ? WAKING_FIRST_USEC : REFUSED_FIRST_USEC;
        uint64_t max = is_waking ? WAKING_MAX_USEC : REFUSED_MAX_USEC;
        uint64_t wait = first << (e->failures < 6 ? e->failures : 6);

        /* The connections that broke together are one failure. */
        if (now_usec < e->ejected_until_usec)
                return;
        e->failures++;
        e->awake = false;
        e->ejected_until_usec = now_usec + (wait < max ? wait : max);
}
