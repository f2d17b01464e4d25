/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For Prometheus: the suite's page of metrics, and the relay to the replicas' own
 *
 * A page needs figures of the manager that are at most REGISTRY_PAGE_AGE_USEC old: one call gets them for
 * all who ask meanwhile. If they cannot be had, the page has what was said last, and mam_manager_up is 0.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/http/http-client.h"
#include "registry/exposition.h"
#include "registry/registry.h"

#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define PAGE_MAX     ((size_t) 64 << 20)

struct PageWaiter {
        Registry *registry; /* weak */
        MamHttpExchange *x; /* weak */
        bool listed;
        TAILQ_ENTRY(PageWaiter) waiters;
};

struct Relay {
        Registry *registry; /* weak */
        MamHttpExchange *x; /* weak */
        MamHttpClient *client;
        MamHttpCall *call;
        MamBuffer body;
        unsigned status;
        char content_type[128];
        TAILQ_ENTRY(Relay) relays;
};

int registry_metrics_init(Registry *g) {
        static const char *const code[] = { "code", NULL }, *const transport[] = { "transport", NULL };
        MamMetricFamily *f;
        int r;

        r = mam_metrics_new(&g->metrics);
        if (r >= 0)
                r = mam_metrics_add_process(g->metrics);
        if (r >= 0)
                r =
                                mam_metrics_add(g->metrics,
                                                &g->requests,
                                                MAM_METRIC_COUNTER,
                                                "mam_registry_requests_total",
                                                "Answered HTTP requests.",
                                                code);
        if (r >= 0)
                r =
                                mam_metrics_add(g->metrics,
                                                &g->dns_queries,
                                                MAM_METRIC_COUNTER,
                                                "mam_registry_dns_queries_total",
                                                "DNS queries; \"dropped\" were none.",
                                                transport);
        if (r >= 0)
                r =
                                mam_metrics_add(g->metrics,
                                                &f,
                                                MAM_METRIC_GAUGE,
                                                "mam_registry_blocked_queries",
                                                "Blocking queries that wait for a change.",
                                                NULL);
        if (r < 0)
                return r;
        g->blocked_gauge = mam_metric_get(f, NULL);
        return g->blocked_gauge ? 0 : -ENOMEM;
}

/* ---- The page ---- */

static void count_dns(Registry *g) {
        DnsCounts now = dns_server_counts(g->dns);
        const struct {
                const char *transport;
                uint64_t n;
        } rows[] = {
                { "udp", now.udp - g->dns_counted.udp },
                { "tcp", now.tcp - g->dns_counted.tcp },
                { "dropped", now.dropped - g->dns_counted.dropped },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(rows); i++)
                mam_metric_add(mam_metric_get(g->dns_queries, &rows[i].transport), (double) rows[i].n);
        g->dns_counted = now;
}

static int respond_page(Registry *g, MamHttpExchange *x) {
        MamBuffer page = { .max = PAGE_MAX };
        int r;

        count_dns(g);
        r = exposition_format(g->catalog, &page);
        if (r >= 0)
                r = mam_metrics_format(g->metrics, &page);
        if (r >= 0)
                r = mam_http_exchange_respond(x, 200, CONTENT_TYPE, mam_buffer_bytes(&page), page.size);
        mam_buffer_done(&page);
        return r;
}

static void waiter_unlink(PageWaiter *w) {
        if (!w->listed)
                return;
        w->listed = false;
        TAILQ_REMOVE(&w->registry->page_waiters, w, waiters);
        w->registry->n_page_waiters--;
}

static void on_waiter_done(MamHttpExchange *x, void *userdata) {
        waiter_unlink(userdata);
        free(userdata);
}

int registry_serve_page(Registry *g, MamHttpExchange *x) {
        PageWaiter *w;

        if (g->figures_usec > 0 && mam_now_monotonic() - g->figures_usec < REGISTRY_PAGE_AGE_USEC)
                return respond_page(g, x);
        if (g->n_page_waiters >= REGISTRY_PAGE_WAITERS_MAX)
                return registry_respond_text(x, 503, "Too many scrapes at once");
        if (manager_bus_ask_metrics(g->bus) < 0)
                return respond_page(g, x);

        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->registry = g;
        w->x = x;
        w->listed = true;
        TAILQ_INSERT_TAIL(&g->page_waiters, w, waiters);
        g->n_page_waiters++;
        mam_http_exchange_set_on_done(x, on_waiter_done, w);
        return 0;
}

void registry_on_metrics(int error, void *userdata) {
        Registry *g = userdata;
        PageWaiter *w;
        int r;

        if (error >= 0)
                g->figures_usec = mam_now_monotonic();
        while ((w = TAILQ_FIRST(&g->page_waiters))) {
                MamHttpExchange *x = w->x;

                waiter_unlink(w);
                r = respond_page(g, x);
                if (r < 0 && !mam_http_exchange_is_started(x))
                        (void) mam_http_exchange_problem(x, 500, NULL, "%s", strerror(-r));
        }
}

/* ---- The relay ---- */

static Relay *relay_free(Relay *l) {
        if (!l)
                return NULL;

        if (l->registry) {
                TAILQ_REMOVE(&l->registry->relays, l, relays);
                l->registry->n_relays--;
        }
        mam_http_call_free(l->call);
        mam_http_client_free(l->client);
        mam_buffer_done(&l->body);
        free(l);
        return NULL;
}

MAM_DEFINE_CLEANUP(Relay, relay_free);

static void on_client_done(MamHttpExchange *x, void *userdata) {
        relay_free(userdata);
}

static int on_head(MamHttpCall *call, const MamHttpHead *head, void *userdata) {
        const MamHttpField *type = mam_http_find(head, "Content-Type");
        Relay *l = userdata;

        l->status = head->status;
        if (type)
                (void) snprintf(l->content_type,
                                sizeof(l->content_type),
                                "%.*s",
                                (int) (type->value.size < sizeof(l->content_type) ? type->value.size : 0),
                                type->value.data);
        return 0;
}

static int on_data(MamHttpCall *call, const char *data, size_t size, void *userdata) {
        Relay *l = userdata;

        return mam_buffer_append(&l->body, data, size);
}

static void on_end(MamHttpCall *call, int error, void *userdata) {
        Relay *l = userdata;
        MamHttpExchange *x = l->x;

        /* on_client_done() frees the relay. */
        if (error == -ETIMEDOUT)
                (void) registry_respond_text(x, 504, "The replica did not answer in time");
        else if (error == -ENOBUFS)
                (void) registry_respond_text(x, 502, "The replica's metrics are too large");
        else if (error < 0)
                (void) registry_respond_text(x, 502, "The replica cannot be reached");
        else if (l->status != 200)
                (void) registry_respond_text(x, 502, "The replica did not give its metrics");
        else
                (void) mam_http_exchange_respond(
                                x,
                                200,
                                *l->content_type ? l->content_type : CONTENT_TYPE,
                                mam_buffer_bytes(&l->body),
                                l->body.size);
}

static int relay_start(Registry *g, MamHttpExchange *x, const char *address) {
        static const MamHttpCallbacks callbacks = { .on_head = on_head,
                                                    .on_data = on_data,
                                                    .on_end = on_end };
        static const MamHttpClientOptions options = { .connections_max = 1,
                                                      .connect_timeout_usec = REGISTRY_RELAY_USEC };
        _cleanup_(relay_freep) Relay *l = NULL;
        int r;

        l = calloc(1, sizeof(*l));
        if (!l)
                return -ENOMEM;
        l->x = x;
        l->body.max = REGISTRY_RELAY_SIZE_MAX;
        r = mam_http_client_new(&l->client, g->event, address, &options);
        if (r >= 0)
                r = mam_http_call_new(&l->call, l->client, "GET", "/metrics", &callbacks, l);
        if (r >= 0)
                r = mam_http_call_add_field(l->call, "User-Agent", "mam-registry");
        if (r < 0)
                return r;
        mam_http_call_set_timeout(l->call, REGISTRY_RELAY_USEC);
        r = mam_http_call_start(l->call);
        if (r < 0)
                return r;

        l->registry = g;
        TAILQ_INSERT_TAIL(&g->relays, l, relays);
        g->n_relays++;
        mam_http_exchange_set_on_done(x, on_client_done, l);
        (void) MAM_TAKE(l);
        return 0;
}

int registry_relay(Registry *g, MamHttpExchange *x, const char *service, const char *number) {
        const CatalogService *s = catalog_find(g->catalog, service);
        char id[80];
        uint32_t n;

        (void) snprintf(id, sizeof(id), "%.40s:%.8s", service, number);
        n = s ? catalog_replica_number(s, id) : 0;
        if (n == 0 || !s->replicas[n] || !exposition_has_metrics(s, s->replicas[n]))
                return registry_respond_text(x, 404, "No such replica, or it has no metrics");
        if (g->n_relays >= REGISTRY_RELAYS_MAX)
                return registry_respond_text(x, 503, "Too many scrapes at once");
        return relay_start(g, x, s->replicas[n]->address);
}
