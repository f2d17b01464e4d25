/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "registry/registry.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <sys/socket.h>

#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/service/service.h"

/* What this machine's id is mixed with, so that the node's id does not give it away. */
#define NODE_ID_APP SD_ID128_MAKE(2d, e8, 5f, 7c, 91, 0e, 4b, 5c, a3, 6f, 14, d0, b8, 52, 7e, 39)

#define DRAIN_USEC (5 * MAM_USEC_PER_SEC)

static void load_token(Registry *g) {
        char *token = NULL;
        size_t n = 0;
        int r;

        r = mam_credential_read("registry.token", &token, &n);
        if (r >= 0) {
                while (n > 0 && isspace((unsigned char) token[n - 1]))
                        token[--n] = '\0';
                if (n == 0)
                        token = mam_secret_free(token);
        } else if (r != -ENOENT)
                (void) mam_error_errno(r, "Cannot read the credential registry.token");
        mam_secret_free(g->token);
        g->token = token;
}

static void load_config(Registry *g, const char *config_dir, const char *last_good_dir) {
        MamConfig *config = NULL;
        int r;

        r = mam_config_load(&config, config_dir, last_good_dir);
        if (r < 0) {
                (void) mam_error_errno(r, "Cannot read the configuration in %s", config_dir);
                return; /* what was read before stands */
        }
        mam_config_free(g->config);
        g->config = config;
}

static void check_token(const Registry *g) {
        if (g->config && (!g->config->registry_auth || !g->config->registry_enabled))
                return;
        if (!g->token)
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_REGISTRY_NO_TOKEN,
                           "There is no credential registry.token, and registry.auth is true: all requests will be refused");
}

static int make_catalog(Registry *g) {
        char node[256] = "localhost", id_text[SD_ID128_STRING_MAX];
        sd_id128_t id;

        if (gethostname(node, sizeof(node) - 1) < 0)
                (void) strcpy(node, "localhost");
        if (sd_id128_get_machine_app_specific(NODE_ID_APP, &id) < 0)
                id = NODE_ID_APP; /* a machine without an id has at least this one */
        return catalog_new(
                        &g->catalog,
                        node,
                        sd_id128_to_string(id, id_text),
                        g->config && g->config->namespace ? g->config->namespace : "mam");
}

/* ---- The manager ---- */

static void on_services(void *userdata) {
        Registry *g = userdata;

        if (g->config)
                catalog_apply_config(g->catalog, g->config);
}

static void show_status(const Registry *g) {
        if (!g->serving)
                return;
        if (g->catalog->manager_up)
                (void) sd_notifyf(false, "STATUS=%zu services", g->catalog->n_services);
        else
                (void) sd_notifyf(
                                false,
                                "STATUS=The manager is away; %zu services as it said last",
                                g->catalog->n_services);
}

static void on_change(void *userdata) {
        Registry *g = userdata;

        registry_wake(g);
        show_status(g);
}

/* From here on requests are accepted; until then they wait in the backlog. */
static void serve(Registry *g) {
        int r;

        if (g->serving)
                return;
        g->serving = true;
        (void) sd_event_source_set_enabled(g->patience, SD_EVENT_OFF);
        while (g->n_waiting > 0) {
                int fd = g->waiting[--g->n_waiting];

                r = mam_http_server_listen(g->http, fd, false, 0);
                if (r >= 0)
                        continue;
                close(fd);
                (void) mam_error_errno(r, "Cannot serve an inherited socket");
                (void) sd_event_exit(g->event, EXIT_FAILURE);
        }
        (void) sd_notify(false, "READY=1");
        mam_log_id(LOG_INFO,
                   MAM_MESSAGE_REGISTRY_READY,
                   g->catalog->listed ? "Ready" : "Ready, and still without a word of the manager");
        show_status(g);
}

static void on_listed(int error, void *userdata) {
        serve(userdata);
}

static int on_patience_over(sd_event_source *source, uint64_t usec, void *userdata) {
        serve(userdata);
        return 0;
}

/* ---- Life ---- */

int registry_new(Registry **ret, sd_event *event, const char *config_dir, const char *last_good_dir) {
        static const ManagerBusEvents events = { .on_services = on_services,
                                                 .on_change = on_change,
                                                 .on_listed = on_listed,
                                                 .on_metrics = registry_on_metrics };
        static const MamHttpServerOptions options = { .body_max = 64UL * 1024, .connections_max = 4096 };
        _cleanup_(registry_freep) Registry *g = NULL;
        int r;

        assert(ret);
        assert(event);

        g = calloc(1, sizeof(*g));
        if (!g)
                return -ENOMEM;
        g->event = sd_event_ref(event);
        TAILQ_INIT(&g->blocked);
        TAILQ_INIT(&g->page_waiters);
        TAILQ_INIT(&g->relays);
        load_config(g, config_dir, last_good_dir);
        load_token(g);
        check_token(g);

        r = make_catalog(g);
        if (r >= 0)
                r = registry_metrics_init(g);
        if (r >= 0)
                r = registry_blocking_init(g);
        if (r >= 0)
                r = manager_bus_new(&g->bus, event, g->catalog, &events, g);
        if (r >= 0)
                r = mam_http_server_new(&g->http, event, &options, registry_on_request, g);
        if (r >= 0)
                r = dns_server_new(&g->dns, event, g->catalog);
        if (r >= 0)
                r = sd_event_add_time_relative(
                                event,
                                &g->patience,
                                CLOCK_MONOTONIC,
                                REGISTRY_PATIENCE_USEC,
                                0,
                                on_patience_over,
                                g);
        if (r < 0)
                return r;
        dns_server_refuse(g->dns, g->config && !g->config->registry_enabled);
        *ret = MAM_TAKE(g);
        return 0;
}

Registry *registry_free(Registry *g) {
        if (!g)
                return NULL;

        mam_http_server_free(g->http); /* first: what waits is told that its client is gone */
        dns_server_free(g->dns);
        manager_bus_free(g->bus);
        for (size_t i = 0; i < g->n_waiting; i++)
                close(g->waiting[i]);
        sd_event_source_disable_unref(g->patience);
        sd_event_source_disable_unref(g->wake);
        sd_event_source_disable_unref(g->deadline);
        sd_event_source_disable_unref(g->drain_timer);
        mam_metrics_free(g->metrics);
        catalog_free(g->catalog);
        mam_config_free(g->config);
        mam_secret_free(g->token);
        sd_event_unref(g->event);
        free(g);
        return NULL;
}

int registry_add_socket(Registry *g, int fd, const char *name) {
        int type = 0, r;
        socklen_t size = sizeof(type);

        assert(g);

        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
                return -errno;
        if (type == SOCK_DGRAM)
                return dns_server_add_datagram(g->dns, fd);
        if (type != SOCK_STREAM)
                return -ESOCKTNOSUPPORT;
        if (strcmp(name, "dns") == 0)
                return dns_server_add_listener(g->dns, fd);
        r = (int) g->n_waiting;
        if (g->n_waiting >= REGISTRY_SOCKETS_MAX)
                return -ENOBUFS;
        g->waiting[r] = fd;
        g->n_waiting++;
        return 0;
}

int registry_start(Registry *g) {
        assert(g);
        manager_bus_start(g->bus);
        return 0;
}

void registry_reload(Registry *g, const char *config_dir, const char *last_good_dir) {
        load_config(g, config_dir, last_good_dir);
        load_token(g);
        check_token(g);
        dns_server_refuse(g->dns, g->config && !g->config->registry_enabled);
        on_services(g);
        if (catalog_settle(g->catalog, mam_now_realtime()))
                on_change(g);
}

static void on_drained(MamHttpServer *s, void *userdata) {
        Registry *g = userdata;

        (void) sd_event_exit(g->event, EXIT_SUCCESS);
}

static int on_drain_over(sd_event_source *source, uint64_t usec, void *userdata) {
        Registry *g = userdata;

        return sd_event_exit(g->event, EXIT_SUCCESS);
}

void registry_stop(Registry *g) {
        int r;

        if (g->drain_timer) {
                (void) sd_event_exit(g->event, EXIT_SUCCESS); /* asked a second time */
                return;
        }
        registry_release_blocked(g);
        r = sd_event_add_time_relative(
                        g->event,
                        &g->drain_timer,
                        CLOCK_MONOTONIC,
                        DRAIN_USEC,
                        0,
                        on_drain_over,
                        g);
        if (r >= 0)
                r = mam_http_server_drain(g->http, on_drained, g);
        if (r < 0)
                (void) sd_event_exit(g->event, EXIT_FAILURE);
}
