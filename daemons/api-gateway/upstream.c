/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/upstream.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/gateway.h"
#include "libmam/util/time.h"

#define EJECTION_FIRST_USEC (250 * MAM_USEC_PER_MSEC)
#define EJECTION_MAX_USEC   (10 * MAM_USEC_PER_SEC)
#define WAKING_FIRST_USEC   (5 * MAM_USEC_PER_MSEC)
#define WAKING_MAX_USEC     (100 * MAM_USEC_PER_MSEC)
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
        [ENDPOINT_ASLEEP] = "asleep",
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
        load_release(e->load);
        free(e->group);
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
        e->split_group = -ENOENT;
        e->in_flight = g->metric_in_flight;
        e->id = strdup(spec->id);
        e->address = strdup(spec->address);
        e->group = strdup("");
        if (!e->id || !e->address || !e->group)
                return -ENOMEM;
        r = load_acquire(g->load, &e->load, e->id);
        if (r < 0)
                return r;
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
        e->load->in_flight++;
        if (!e->removed)
                endpoint_show(e);
}

Endpoint *endpoint_end(Endpoint *e) {
        assert(e->pending > 0);

        e->pending--;
        e->load->in_flight--;
        if (!e->removed)
                endpoint_show(e);
        return endpoint_unref(e);
}

void endpoint_succeeded(Endpoint *e, uint64_t rtt_usec, uint64_t now_usec) {
        balancer_sample(&e->stats, rtt_usec, now_usec);
        e->failures = 0;
        e->ejected_until_usec = 0;
        e->awake = e->state == ENDPOINT_ASLEEP;
}

void endpoint_struggled(Endpoint *e, uint64_t now_usec) {
        balancer_sample(&e->stats, BALANCER_FAILURE_USEC, now_usec);
}

void endpoint_failed(Endpoint *e, uint64_t now_usec) {
        /* What is just starting will be there in a moment. */
        bool is_waking = e->state == ENDPOINT_ASLEEP && !e->awake;
        uint64_t first = is_waking ? WAKING_FIRST_USEC : EJECTION_FIRST_USEC;
        uint64_t max = is_waking ? WAKING_MAX_USEC : EJECTION_MAX_USEC;
        uint64_t wait = first << (e->failures < 6 ? e->failures : 6);

        /* The connections that broke together are one failure. */
        if (now_usec < e->ejected_until_usec)
                return;
        e->failures++;
        e->awake = false;
        e->ejected_until_usec = now_usec + (wait < max ? wait : max);
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

static int endpoint_update(Endpoint *e, const EndpointSpec *spec) {
        const char *group = spec->group ? spec->group : "";

        /* Ready again is another process: what is known of the old one would be held against it. */
        if (spec->state != e->state && (spec->state == ENDPOINT_READY || spec->state == ENDPOINT_ASLEEP)) {
                e->stats = (BalancerStats){ 0 };
                e->failures = 0;
                e->ejected_until_usec = 0;
                e->awake = false;
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

static void find_split_groups(Upstream *u) {
        for (size_t i = 0; i < u->n_endpoints; i++)
                u->endpoints[i]->split_group = split_find(&u->split, u->endpoints[i]->group);
}

void upstream_set_split(Upstream *u, const SplitShare *shares, size_t n) {
        assert(u);

        split_set(&u->split, shares, n);
        find_split_groups(u);
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
                r = endpoint_update(e, &specs[i]);
                set[n_set++] = e;
        }

        for (size_t i = 0; i < u->n_endpoints; i++)
                endpoint_remove(u->endpoints[i], set, n_set);
        memcpy(u->endpoints, set, n_set * sizeof(*set));
        u->n_endpoints = n_set;
        find_split_groups(u);
        u->known = true;
        return r == -ENOMEM ? r : 0;
}

static bool was_tried(const Endpoint *e, const uint64_t *tried, size_t n_tried) {
        for (size_t i = 0; i < n_tried; i++)
                if (tried[i] == e->serial)
                        return true;
        return false;
}

/* Which of the ready ones can take the request. round 0: those in good standing; round 1: those that refused
 * a moment ago too, as they are all there is. Returns the groups of the split that have one. */
static uint32_t find_ready(
                const Upstream *u,
                BalancerCandidate *ret,
                const uint64_t *tried,
                size_t n_tried,
                int round,
                uint64_t now_usec) {
        uint32_t groups = 0;

        for (size_t i = 0; i < u->n_endpoints; i++) {
                const Endpoint *e = u->endpoints[i];
                bool has_share = u->split.n == 0 ||
                                 (e->split_group >= 0 && u->split.groups[e->split_group].share > 0);

                ret[i] = (BalancerCandidate){
                        .stats = &e->stats,
                        .pending = e->pending,
                        .weight = e->weight,
                        .available = e->state == ENDPOINT_READY && e->weight > 0 && has_share &&
                                     !was_tried(e, tried, n_tried) &&
                                     (round > 0 || now_usec >= e->ejected_until_usec),
                };
                if (ret[i].available && e->split_group >= 0)
                        groups |= 1U << e->split_group;
        }
        return groups;
}

/* One that systemd starts for us, if none is ready at all. The split is for those that run. */
static Endpoint *find_asleep(const Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec) {
        Endpoint *found = NULL;

        for (size_t i = 0; i < u->n_endpoints; i++) {
                Endpoint *e = u->endpoints[i];

                if (e->state == ENDPOINT_READY && e->weight > 0)
                        return NULL;
                if (!found && e->state == ENDPOINT_ASLEEP && e->weight > 0 &&
                    (e->awake || e->pending < ENDPOINT_WAKING_MAX) && now_usec >= e->ejected_until_usec &&
                    !was_tried(e, tried, n_tried))
                        found = e;
        }
        return found;
}

Endpoint *upstream_pick(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec) {
        BalancerCandidate candidates[UPSTREAM_ENDPOINTS_MAX];
        unsigned *turn;
        ssize_t k;

        for (int round = 0; round < 2; round++) {
                uint32_t groups = find_ready(u, candidates, tried, n_tried, round, now_usec);

                turn = &u->turn;
                if (n_tried == 0 && groups != 0) {
                        int group = split_pick(&u->split, groups);

                        for (size_t i = 0; i < u->n_endpoints; i++)
                                candidates[i].available &= u->endpoints[i]->split_group == group;
                        turn = &u->split.groups[group].turn;
                }
                k = balancer_pick(candidates, u->n_endpoints, turn, now_usec);
                if (k >= 0)
                        return u->endpoints[k];
        }
        return find_asleep(u, tried, n_tried, now_usec);
}

bool upstream_has_endpoint(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec) {
        BalancerCandidate candidates[UPSTREAM_ENDPOINTS_MAX];

        (void) find_ready(u, candidates, tried, n_tried, 1, now_usec);
        for (size_t i = 0; i < u->n_endpoints; i++)
                if (candidates[i].available)
                        return true;
        return find_asleep(u, tried, n_tried, now_usec) != NULL;
}

bool upstream_is_waking(const Upstream *u) {
        for (size_t i = 0; i < u->n_endpoints; i++)
                if (u->endpoints[i]->state == ENDPOINT_ASLEEP)
                        return true;
        return false;
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
