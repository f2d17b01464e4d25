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
#include "api-gateway/access.h"
#include "api-gateway/endpoints-bus.h"
#include "api-gateway/gateway.h"
#include "api-gateway/status.h"
#include "api-gateway/tls.h"
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
        TlsPort *tls;              /* owned */
        sd_event_source *patience; /* owned */
        uid_t manager_uid;
} Program;

static Program *program_free(Program *p) {
        if (!p)
                return NULL;

        sd_event_source_disable_unref(p->patience);
        endpoints_bus_free(p->bus);
        gateway_free(p->gateway);
        tls_port_free(p->tls);
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

static int use_configuration(Program *p, MamGatewayConfig *config) {
        int r;

        r = gateway_configure(p->gateway, config);
        if (r < 0)
                return r;
        return endpoints_bus_configure(p->bus, config);
}

/* What the files say, as long as the manager has not told. It is read the same way, so it means the same. */
static int read_files(Program *p) {
        const char *folder = getenv("MAM_CONFIG_DIR");
        _cleanup_(mam_gateway_config_unrefp) MamGatewayConfig *config = NULL;
        _cleanup_(mam_config_freep) MamConfig *files = NULL;
        _cleanup_(mam_freep) char *text = NULL, *problem = NULL;
        int r;

        r = mam_config_load(&files, folder ? folder : MAM_CONFIG_DIR, MAM_STATE_DIR "/config");
        if (r < 0)
                return mam_error_errno(r, "Cannot read the configuration");
        r = mam_gateway_document_format(&text, files);
        if (r < 0)
                return r;
        r = mam_gateway_config_parse(&config, text, strlen(text), &problem);
        if (r == -EBADMSG)
                return mam_error_errno(r, "Cannot use the configuration: %s", problem);
        if (r < 0)
                return r;
        return use_configuration(p, config);
}

static int setup(MamService *s, void **ret) {
        _cleanup_(program_freep) Program *p = NULL;
        int r;

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->service = s;
        p->manager_uid = mam_service_user(MANAGER_USER);
        r = gateway_new(&p->gateway, mam_service_event(s), mam_service_metrics(s));
        if (r < 0)
                return r;
        r = tls_port_new(&p->tls, mam_service_event(s), mam_service_server(s), mam_service_metrics(s));
        if (r < 0)
                return r;
        p->gateway->tls = p->tls;
        r = gateway_redis_new(&p->gateway->redis, mam_service_event(s), NULL, NULL, NULL);
        if (r < 0)
                return mam_error_errno(r, "Cannot use Redis at '%s'", getenv("MAM_REDIS"));
        if (p->gateway->redis) {
                r = share_new(&p->gateway->share, p->gateway);
                if (r < 0)
                        return r;
        }
        r = access_start(p->gateway->access, p->gateway->redis);
        if (r < 0)
                return mam_error_errno(r, "Cannot set up access");
        r = endpoints_bus_new(&p->bus, p->gateway, show_status, on_listed, p);
        if (r < 0)
                return r;

        r = read_files(p);
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

static int serve_tls(MamService *s, int fd, void *userdata) {
        MamHttpListenOptions options = mam_service_listen_options(s, true);
        Program *p = userdata;

        return tls_port_add(p->tls, fd, &options);
}

static void teardown(void *userdata) {
        program_free(userdata);
}

static int on_request(MamHttpExchange *x, void *userdata) {
        Program *p = userdata;

        if (strcmp(mam_http_exchange_path(x), "/load") == 0)
                return gateway_on_load(x, p->gateway, mam_service_peer_is(x, p->manager_uid));
        if (strcmp(mam_http_exchange_path(x), STATUS_PATH) == 0)
                return gateway_on_status(
                                x,
                                p->gateway,
                                mam_service_peer_is(x, 0) || mam_service_peer_is(x, p->manager_uid));
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
                                        .h2c = true,
                                        .serve_tls = serve_tls,
                                        .setup = setup,
                                        .teardown = teardown,
                        });
}
