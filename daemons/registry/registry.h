/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The registry: Consul's HTTP API, Prometheus' targets and metrics, and DNS, from the manager's word
 *
 * One event loop. A request is answered from the catalog at once, or waits: a blocking query for a change, a
 * page of metrics for the manager's figures, a relay for a replica. Whatever waits is bounded in number and
 * in time.
 */

#include <stdbool.h>
#include <sys/queue.h>

#include <systemd/sd-event.h>

#include "libmam/config/config.h"
#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"
#include "libmam/util/time.h"
#include "registry/catalog.h"
#include "registry/dns-server.h"
#include "registry/manager-bus.h"

typedef struct Registry Registry;
typedef struct Blocked Blocked;
typedef struct Relay Relay;
typedef struct PageWaiter PageWaiter;

#define REGISTRY_BLOCKED_MAX       1024U
#define REGISTRY_WAIT_DEFAULT_USEC (300 * MAM_USEC_PER_SEC)
#define REGISTRY_WAIT_MAX_USEC     (600 * MAM_USEC_PER_SEC)
#define REGISTRY_RELAYS_MAX        64U
#define REGISTRY_RELAY_SIZE_MAX    ((size_t) 4 << 20)
#define REGISTRY_RELAY_USEC        (5 * MAM_USEC_PER_SEC)
#define REGISTRY_PAGE_WAITERS_MAX  64U
#define REGISTRY_PAGE_AGE_USEC     MAM_USEC_PER_SEC       /* how old the figures of a page may be */
#define REGISTRY_PATIENCE_USEC     (5 * MAM_USEC_PER_SEC) /* for the first word of the manager */
#define REGISTRY_SOCKETS_MAX       8U

struct Registry {
        sd_event *event;
        Catalog *catalog;  /* owned, as all below */
        MamConfig *config; /* NULL: not readable */
        char *token;       /* NULL: none */
        ManagerBus *bus;
        MamHttpServer *http;
        DnsServer *dns;
        bool serving;
        int waiting[REGISTRY_SOCKETS_MAX]; /* listening for HTTP, not yet accepted from */
        size_t n_waiting;
        sd_event_source *patience, *wake, *deadline, *drain_timer;

        TAILQ_HEAD(, Blocked) blocked;
        unsigned n_blocked;
        TAILQ_HEAD(, PageWaiter) page_waiters;
        unsigned n_page_waiters;
        uint64_t figures_usec; /* monotonic: when Metrics() last answered; 0: never */
        TAILQ_HEAD(, Relay) relays;
        unsigned n_relays;

        MamMetrics *metrics;
        MamMetricFamily *requests, *dns_queries;
        MamMetric *blocked_gauge;
        DnsCounts dns_counted;
};

/* Makes everything; nothing is served yet. The config folder may be unreadable: said, and then nothing is
 * known of addresses, and tokens are asked for. */
int registry_new(Registry **ret, sd_event *event, const char *config_dir, const char *last_good_dir);
Registry *registry_free(Registry *g);
MAM_DEFINE_CLEANUP(Registry, registry_free);

/* Takes a socket over: a stream socket called "dns" and every datagram socket are DNS, others HTTP. */
int registry_add_socket(Registry *g, int fd, const char *name);
int registry_start(Registry *g);
/* Reads configuration and token anew. */
void registry_reload(Registry *g, const char *config_dir, const char *last_good_dir);
/* Answers what waits, and ends the event loop when the last answer is out. */
void registry_stop(Registry *g);

/* registry-http.c */
int registry_on_request(MamHttpExchange *x, void *userdata);
/* Answers again, and this time does not block. */
int registry_answer_now(Registry *g, MamHttpExchange *x);
/* Text, as Consul says what is wrong. */
int registry_respond_text(MamHttpExchange *x, unsigned status, const char *text);

/* blocking.c: keeps x until the index (of *index_of, which lives as long as what id names: asked for anew
 * each time) grows beyond. */
typedef enum IndexOf {
        INDEX_NONE,     /* never blocks */
        INDEX_FIXED,    /* never changes: 1 */
        INDEX_SERVICES, /* the list of services */
        INDEX_SERVICE,  /* one of them */
        INDEX_ANY,      /* everything */
} IndexOf;
uint64_t registry_index(const Catalog *c, IndexOf of, const char *id);
/* Whether a query with this index waits: 0 and what was never told do not. */
bool registry_index_blocks(uint64_t asked, uint64_t is);
/* "90s", "1m30s", "1.5h", as Go's time.ParseDuration(); not negative. -EINVAL. */
int registry_parse_wait(const char *text, uint64_t *ret_usec);
/* -EDQUOT: too many. */
int registry_block(
                Registry *g,
                MamHttpExchange *x,
                IndexOf of,
                const char *id,
                uint64_t index,
                uint64_t wait_usec);
/* Something changed: looks through all that wait, soon. */
void registry_wake(Registry *g);
int registry_blocking_init(Registry *g);
/* Answers all, as they are. */
void registry_release_blocked(Registry *g);

/* scrape.c */
int registry_metrics_init(Registry *g);
int registry_serve_page(Registry *g, MamHttpExchange *x);
int registry_relay(Registry *g, MamHttpExchange *x, const char *service, const char *number);
void registry_on_metrics(int error, void *userdata);
