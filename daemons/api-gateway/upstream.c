/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/upstream.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/gateway.h"
#include "api-gateway/upstream-internal.h"
#include "libmam/util/time.h"

#define RETRY_TOKENS_MAX   100.0
#define RETRY_TOKENS_START 10.0

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
        upstream_configure(u);

        *ret = MAM_TAKE(u);
        return 0;
}

Upstream *upstream_free(Upstream *u) {
        if (!u)
                return NULL;

        assert(TAILQ_EMPTY(&u->waiting)); /* the server, which owns the requests, goes first */
        sd_event_source_disable_unref(u->kick);
        for (size_t i = 0; i < u->n_endpoints; i++)
                endpoint_remove(u->endpoints[i], NULL, 0);
        free(u->service);
        free(u);
        return NULL;
}

void upstream_set_protocol(Upstream *u, MamServiceProtocol protocol) {
        EndpointSpec specs[UPSTREAM_ENDPOINTS_MAX] = { { 0 } };
        Endpoint *old[UPSTREAM_ENDPOINTS_MAX];
        size_t n;

        assert(u);

        if (u->protocol == protocol)
                return;
        u->protocol = protocol;
        if (!u->known)
                return;
        /* The set as it is, told once more: none of them speaks it yet. */
        n = u->n_endpoints;
        for (size_t i = 0; i < n; i++) {
                Endpoint *e = old[i] = u->endpoints[i];

                e->n_ref++;
                specs[i] = (EndpointSpec){ e->id, e->address, e->state, e->weight, e->group };
        }
        (void) upstream_set_endpoints(u, specs, n);
        for (size_t i = 0; i < n; i++)
                endpoint_unref(old[i]);
}

void upstream_set_balancing(Upstream *u, MamServiceBalancing balancing) {
        static const BalancerKind kinds[_MAM_SERVICE_BALANCING_MAX] = {
                [MAM_SERVICE_BALANCING_LATENCY] = BALANCER_LATENCY,
                [MAM_SERVICE_BALANCING_LEAST] = BALANCER_LEAST,
                [MAM_SERVICE_BALANCING_TURNS] = BALANCER_TURNS,
        };

        assert(u);
        assert(balancing >= 0 && balancing < _MAM_SERVICE_BALANCING_MAX);

        u->balancing = kinds[balancing];
}

void upstream_configure(Upstream *u) {
        const Protection *p = &u->gateway->protection;

        breaker_configure(&u->breaker, p->breaker_percent, p->breaker_open_usec);
        for (size_t i = 0; i < u->n_endpoints; i++)
                gradient_set_bounds(&u->endpoints[i]->gradient, p->concurrency_min, p->concurrency_max);
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

                if (!e || strcmp(e->id, spec->id) != 0 || strcmp(e->address, spec->address) != 0 ||
                    e->protocol != u->protocol)
                        continue;
                u->endpoints[i] = NULL;
                *ret = e;
                return 0;
        }
        return endpoint_new(ret, u, spec);
}

static bool is_twice(const EndpointSpec *specs, size_t i) {
        for (size_t j = 0; j < i; j++)
                if (strcmp(specs[j].id, specs[i].id) == 0)
                        return true;
        return false;
}

int upstream_set_endpoints(Upstream *u, const EndpointSpec *specs, size_t n) {
        Endpoint *set[UPSTREAM_ENDPOINTS_MAX];
        bool others_serve = upstream_ready(u) > 0;
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
                r = endpoint_update(e, &specs[i], others_serve);
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

/* Who can take a request. */
typedef struct Scan {
        BalancerCandidate candidates[UPSTREAM_ENDPOINTS_MAX];
        uint32_t groups; /* of the split that have one */
        unsigned n_good; /* in good standing, with or without room */
        unsigned n_free; /* those that are available */
        size_t last;     /* one of them */
} Scan;

/* forgiving: those that are out for a while too, as they are all there is. */
static void scan(
                Upstream *u,
                const uint64_t *tried,
                size_t n_tried,
                bool forgiving,
                uint64_t now_usec,
                Scan *ret) {
        ret->groups = 0;
        ret->n_good = ret->n_free = 0;
        for (size_t i = 0; i < u->n_endpoints; i++) {
                Endpoint *e = u->endpoints[i];
                bool has_share = u->split.n == 0 ||
                                 (e->split_group >= 0 && u->split.groups[e->split_group].share > 0);
                bool good = e->state == ENDPOINT_READY && e->weight > 0 && has_share &&
                            !was_tried(e, tried, n_tried) && (forgiving || !endpoint_is_out(e, now_usec));

                ret->candidates[i] = (BalancerCandidate){
                        .stats = &e->stats,
                        .pending = e->pending + e->elsewhere,
                        .weight = e->weight,
                        .available = good && e->working < gradient_limit(&e->gradient),
                };
                ret->n_good += good;
                if (!ret->candidates[i].available)
                        continue;
                ret->n_free++;
                ret->last = i;
                if (e->split_group >= 0)
                        ret->groups |= 1U << e->split_group;
        }
}

/* In good standing if there are any, else the others. */
static void scan_all(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec, Scan *ret) {
        scan(u, tried, n_tried, false, now_usec, ret);
        if (ret->n_good == 0)
                scan(u, tried, n_tried, true, now_usec, ret);
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

/* Leaves in s those of the group whose turn it is. */
static unsigned *choose_group(Upstream *u, const UpstreamWish *wish, Scan *s) {
        int group = wish->sticky ? split_pick_for(&u->split, s->groups, wish->how.affinity)
                                 : split_pick(&u->split, s->groups);

        if (group < 0)
                return &u->turn;
        for (size_t i = 0; i < u->n_endpoints; i++)
                s->candidates[i].available &= u->endpoints[i]->split_group == group;
        return &u->split.groups[group].turn;
}

/* Affinity is not for who is new for a while, but for good. */
static void start_slowly(Upstream *u, Scan *s, uint64_t now_usec) {
        for (size_t i = 0; i < u->n_endpoints; i++) {
                Endpoint *e = u->endpoints[i];
                uint64_t age = now_usec > e->ready_usec ? now_usec - e->ready_usec : 0;

                if (e->ready_usec == 0)
                        continue;
                s->candidates[i].weight *= balancer_slow_start(age);
                if (age >= BALANCER_SLOW_START_USEC)
                        e->ready_usec = 0;
        }
}

Endpoint *upstream_pick(Upstream *u, const UpstreamWish *wish, uint64_t now_usec, bool *ret_full) {
        unsigned *turn;
        ssize_t k;
        Scan s;

        assert(u);
        assert(wish);

        *ret_full = false;
        scan_all(u, wish->tried, wish->n_tried, now_usec, &s);
        if (s.n_good == 0)
                return find_asleep(u, wish->tried, wish->n_tried, now_usec);
        if (s.n_free == 0) {
                *ret_full = true;
                return NULL;
        }
        if (s.n_free == 1 && s.groups == 0)
                return u->endpoints[s.last];

        turn = wish->n_tried == 0 && s.groups != 0 ? choose_group(u, wish, &s) : &u->turn;
        if (wish->how.kind != BALANCER_AFFINITY)
                start_slowly(u, &s, now_usec);
        k = balancer_pick(&wish->how, s.candidates, u->n_endpoints, turn, now_usec);
        return k >= 0 ? u->endpoints[k] : NULL;
}

bool upstream_has_endpoint(Upstream *u, const uint64_t *tried, size_t n_tried, uint64_t now_usec) {
        Scan s;

        scan_all(u, tried, n_tried, now_usec, &s);
        return s.n_free > 0 || (s.n_good == 0 && find_asleep(u, tried, n_tried, now_usec) != NULL);
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
        u->retry_tokens += u->gateway->protection.retry_share;
        if (u->retry_tokens > RETRY_TOKENS_MAX)
                u->retry_tokens = RETRY_TOKENS_MAX;
}

bool upstream_spend_retry(Upstream *u) {
        if (u->retry_tokens < 1.0)
                return false;
        u->retry_tokens -= 1.0;
        return true;
}
