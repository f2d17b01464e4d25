/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The gateway's port for TLS
 */

#include "api-gateway/tls.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/service/service.h"
#include "libmam/util/time.h"

#include "mam-build.h"

#define SOCKETS_MAX   8U
#define RETRY_USEC    (10 * MAM_USEC_PER_SEC)
#define LOOK_USEC     (60 * MAM_USEC_PER_SEC)
#define ACCURACY_USEC MAM_USEC_PER_SEC

typedef struct Waiting {
        int fd; /* owned */
        MamHttpListenOptions options;
} Waiting;

struct TlsPort {
        sd_event *event;
        MamHttpServer *server;   /* borrowed */
        MamMetricFamily *expiry; /* borrowed */
        MamHttpTls *tls;         /* NULL: nothing usable yet */
        sd_event_source *timer;
        MamGatewayTls config; /* owned strings */
        bool configured;
        Waiting waiting[SOCKETS_MAX];
        size_t n_waiting;
        char *secret;
        size_t secret_size;
        char last_problem[160]; /* without a certificate: said once, not at each try */
};

static void on_report(const char *name, const char *problem, void *userdata) {
        char field[288], text[288];
        TlsPort *t = userdata;

        (void) snprintf(field, sizeof(field), "MAM_CERTIFICATE=%s", name ? name : "");
        if (!problem) {
                mam_log_full(LOG_INFO,
                             MAM_MESSAGE_GATEWAY_CERTIFICATE,
                             (const char *[]){ field, NULL },
                             "TLS: the certificate \"%s\" is in use",
                             name ? name : "");
                return;
        }
        (void) snprintf(text, sizeof(text), "%s%s%s", name ? name : "", name ? ": " : "", problem);
        if (!t->tls && strncmp(text, t->last_problem, sizeof(t->last_problem) - 1) == 0)
                return;
        (void) snprintf(t->last_problem, sizeof(t->last_problem), "%.150s", text);
        mam_log_full(LOG_WARNING,
                     MAM_MESSAGE_GATEWAY_CERTIFICATE_BAD,
                     (const char *[]){ field, NULL },
                     "TLS: %s",
                     text);
}

static int make(TlsPort *t, MamHttpTls **ret) {
        const char *folder = getenv("MAM_TLS_DIR");

        return mam_http_tls_new(
                        ret,
                        t->event,
                        &(MamHttpTlsOptions){
                                        .certificates = folder ? folder : MAM_CONFIG_DIR "/tls",
                                        .default_name = t->config.default_name,
                                        .client_ca = t->config.client_ca,
                                        .clients = (MamHttpTlsClients) t->config.clients,
                                        .version_min = t->config.version_min,
                                        .ticket_secret = t->secret,
                                        .ticket_secret_size = t->secret_size,
                                        .report = on_report,
                                        .userdata = t,
                        });
}

static int serve_waiting(TlsPort *t) {
        int r;

        while (t->tls && t->n_waiting > 0) {
                const Waiting *w = &t->waiting[t->n_waiting - 1];

                r = mam_http_server_listen_tls(t->server, w->fd, &w->options, t->tls);
                if (r == -ESHUTDOWN)
                        return 0; /* draining: closed with us */
                if (r < 0)
                        return r;
                t->n_waiting--;
        }
        return 0;
}

static void note_expiry(TlsPort *t) {
        if (t->tls)
                mam_metric_set(mam_metric_get(t->expiry, NULL), (double) mam_http_tls_expiry(t->tls));
}

/* Only if somebody waits for it: without the socket nothing needs a certificate. */
static int try(TlsPort *t) {
        int r;

        if (!t->configured || (!t->tls && t->n_waiting == 0))
                return 0;
        if (!t->tls) {
                r = make(t, &t->tls);
                if (r == -ENOMEM)
                        return r;
        }
        note_expiry(t);
        (void) sd_event_source_set_time_relative(t->timer, t->tls ? LOOK_USEC : RETRY_USEC);
        (void) sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
        return serve_waiting(t);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        int r;

        r = try(userdata);
        if (r < 0) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_GATEWAY_CERTIFICATE_BAD,
                           "TLS: cannot be served: %s",
                           strerror(-r));
        }
        return 0;
}

int tls_port_add(TlsPort *t, int fd, const MamHttpListenOptions *options) {
        assert(t);
        assert(options);

        if (t->n_waiting >= SOCKETS_MAX)
                return -ENOBUFS;
        t->waiting[t->n_waiting++] = (Waiting){ fd, *options };
        return try(t);
}

static bool is_same(const MamGatewayTls *a, const MamGatewayTls *b) {
        return a->version_min == b->version_min && a->clients == b->clients &&
               strcmp(a->client_ca, b->client_ca) == 0 &&
               strcmp(a->default_name ? a->default_name : "", b->default_name ? b->default_name : "") == 0;
}

static int set_config(TlsPort *t, const MamGatewayTls *config) {
        _cleanup_(mam_freep) char *ca = NULL, *name = NULL;

        ca = strdup(config->client_ca);
        name = config->default_name ? strdup(config->default_name) : NULL;
        if (!ca || (config->default_name && !name))
                return -ENOMEM;
        free(t->config.client_ca);
        free(t->config.default_name);
        t->config = *config;
        t->config.client_ca = MAM_TAKE(ca);
        t->config.default_name = MAM_TAKE(name);
        t->configured = true;
        return 0;
}

int tls_port_configure(TlsPort *t, const MamGatewayTls *config) {
        MamHttpTls *changed = NULL;
        int r;

        assert(t);
        assert(config);

        if (t->configured && is_same(&t->config, config))
                return 0;
        r = set_config(t, config);
        if (r < 0)
                return r;
        if (!t->tls)
                return try(t);

        r = make(t, &changed);
        if (r < 0)
                return r == -ENOMEM ? r : 0; /* reported */
        mam_http_server_replace_tls(t->server, t->tls, changed);
        mam_http_tls_unref(t->tls);
        t->tls = changed;
        note_expiry(t);
        return 0;
}

int tls_port_new(TlsPort **ret, sd_event *event, MamHttpServer *server, MamMetrics *metrics) {
        _cleanup_(tls_port_freep) TlsPort *t = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(server);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->event = sd_event_ref(event);
        t->server = server;
        r = mam_metrics_add(
                        metrics,
                        &t->expiry,
                        MAM_METRIC_GAUGE,
                        "mam_gateway_tls_expiry_timestamp_seconds",
                        "When the first of the certificates in use ends; absent without TLS.",
                        NULL);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &t->timer, CLOCK_MONOTONIC, UINT64_MAX, ACCURACY_USEC, on_timer, t);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(t->timer, "tls-port");
        r = sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        /* Without it a client can resume its session only with the gateway that it was at. */
        r = mam_credential_read("tls.tickets", &t->secret, &t->secret_size);
        if (r < 0 && r != -ENOENT) {
                mam_log_id(LOG_WARNING,
                           MAM_MESSAGE_GATEWAY_CERTIFICATE_BAD,
                           "TLS: the credential tls.tickets cannot be read: %s",
                           strerror(-r));
        }

        *ret = MAM_TAKE(t);
        return 0;
}

TlsPort *tls_port_free(TlsPort *t) {
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n_waiting; i++)
                close(t->waiting[i].fd);
        mam_http_tls_unref(t->tls);
        sd_event_source_disable_unref(t->timer);
        mam_secret_free(t->secret);
        free(t->config.client_ca);
        free(t->config.default_name);
        sd_event_unref(t->event);
        free(t);
        return NULL;
}
