/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mam-api-gateway
 *
 * libmam/service does what all daemons do, and knows who asks; everything outside of its own paths is
 * forwarded. GET /load is there for the manager alone.
 */

#include <errno.h>
#include <string.h>

#include "api-gateway/access-log.h"
#include "api-gateway/endpoints-bus.h"
#include "api-gateway/gateway.h"
#include "libmam/config/config.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/service/service.h"
#include "libmam/util/time.h"

#include "mam-build.h"

/* How long READY waits for the first word of the manager. */
#define LISTING_PATIENCE_USEC (2 * MAM_USEC_PER_SEC)
#define MANAGER_USER          "mam-manager"

typedef struct Program {
        MamService *service;       /* borrowed */
        Gateway *gateway;          /* owned */
        EndpointsBus *bus;         /* owned */
        sd_event_source *patience; /* owned */
        uid_t manager_uid;
} Program;

static Program *program_free(Program *p) {
        if (!p)
                return NULL;

        sd_event_source_disable_unref(p->patience);
        endpoints_bus_free(p->bus);
        gateway_free(p->gateway);
        free(p);
        return NULL;
}

MAM_DEFINE_CLEANUP(Program, program_free);

static void show_status(void *userdata) {
        Program *p = userdata;
        const Gateway *g = p->gateway;
        unsigned reachable = 0, replicas = 0;

        for (size_t i = 0; i < g->n_upstreams; i++) {
                unsigned n = upstream_ready(g->upstreams[i]);

                reachable += n > 0;
                replicas += n;
        }
        mam_service_set_status(
                        p->service,
                        "%zu routes, %u of %zu services reachable, %u replicas",
                        route_table_size(g->routes),
                        reachable,
                        g->n_upstreams,
                        replicas);
}

static void on_listed(void *userdata) {
        Program *p = userdata;
        int r;

        show_status(p);
        r = mam_service_ready(p->service);
        if (r < 0)
                mam_service_fail(p->service, r, "Cannot begin to serve");
}

static int on_patience_over(sd_event_source *source, uint64_t usec, void *userdata) {
        on_listed(userdata);
        return 0;
}

static void log_bad_route(const char *service, const char *prefix, int error) {
        char service_field[64], route_field[300];

        (void) snprintf(service_field, sizeof(service_field), "MAM_SERVICE=%s", service);
        (void) snprintf(route_field, sizeof(route_field), "MAM_ROUTE=%s", prefix);
        mam_log_full(LOG_WARNING,
                     MAM_MESSAGE_GATEWAY_ROUTE_BAD,
                     (const char *[]){ service_field, route_field, NULL },
                     "The route \"%s\" of %s is not used: %s",
                     prefix,
                     service,
                     error == -EEXIST   ? "another one has the same prefix"
                     : error == -EDQUOT ? "there are too many"
                                        : "not the beginning of a path");
}

static int add_services(Program *p, const MamConfig *config) {
        const char *bad = NULL;
        int r;

        for (size_t i = 0; i < config->n_services; i++) {
                const MamServiceConfig *s = &config->services[i];
                Upstream *u;

                if (!s->routes || !s->routes[0])
                        continue;
                r = gateway_add_service(p->gateway, s->id, (const char *const *) s->routes, &bad);
                if (r == -ENOMEM)
                        return r;
                if (r < 0)
                        log_bad_route(s->id, bad, r);
                u = gateway_find_upstream(p->gateway, s->id);
                /* A foreign program that binds a port of its own has no socket that could be assumed. */
                r = endpoints_bus_add(p->bus, u, s->exec && !s->socket_activated ? 0 : s->replicas);
                if (r < 0)
                        return r;
        }
        return 0;
}

static unsigned access_log_rate(void) {
        const char *text = getenv("ACCESS_LOG_RATE");
        unsigned long rate;
        char *end;

        if (!text || !*text)
                return ACCESS_LOG_RATE_DEFAULT;
        errno = 0;
        rate = strtoul(text, &end, 10);
        if (errno != 0 || *end || *text == '-' || rate > 1000000) {
                mam_warning("ACCESS_LOG_RATE=%s is not a number of entries a second, 0 to 1000000; using %u",
                            text,
                            ACCESS_LOG_RATE_DEFAULT);
                return ACCESS_LOG_RATE_DEFAULT;
        }
        return (unsigned) rate;
}

static int setup(MamService *s, void **ret) {
        const char *folder = getenv("MAM_CONFIG_DIR");
        _cleanup_(mam_config_freep) MamConfig *config = NULL;
        _cleanup_(program_freep) Program *p = NULL;
        int r;

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->service = s;
        p->manager_uid = mam_service_user(MANAGER_USER);
        r = gateway_new(&p->gateway, mam_service_event(s), mam_service_metrics(s), access_log_rate());
        if (r < 0)
                return r;
        r = endpoints_bus_new(&p->bus, p->gateway, show_status, on_listed, p);
        if (r < 0)
                return r;

        r = mam_config_load(&config, folder ? folder : MAM_CONFIG_DIR, MAM_STATE_DIR "/config");
        if (r < 0)
                return mam_error_errno(r, "Cannot read the configuration");
        r = add_services(p, config);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(
                        mam_service_event(s),
                        &p->patience,
                        CLOCK_MONOTONIC,
                        LISTING_PATIENCE_USEC,
                        0,
                        on_patience_over,
                        p);
        if (r < 0)
                return r;
        r = endpoints_bus_start(p->bus);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(p);
        return 0;
}

static void teardown(void *userdata) {
        program_free(userdata);
}

static int on_request(MamHttpExchange *x, void *userdata) {
        Program *p = userdata;

        if (strcmp(mam_http_exchange_path(x), "/load") == 0)
                return gateway_on_load(x, p->gateway, mam_service_peer_is(x, p->manager_uid));
        return gateway_on_request(x, p->gateway);
}

int main(int argc, char **argv) {
        static const MamRoute none[] = { { 0 } };

        return mam_service_run(
                        argc,
                        argv,
                        &(MamServiceInfo){
                                        .id = "api-gateway",
                                        .routes = none,
                                        .fallback = on_request,
                                        .http = { .body_max = GATEWAY_BODY_MAX, .connections_max = 20000 },
                                        .setup = setup,
                                        .teardown = teardown,
                        });
}
