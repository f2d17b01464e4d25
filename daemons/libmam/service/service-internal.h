/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of libmam/service: the router, the identity check, and what hangs on each exchange
 */

#include "libmam/service/service.h"

#include "libmam/obs/metrics.h"
#include "libmam/util/spares.h"

/* ---- router: pure ---- */

#define MAM_ROUTER_ROUTES_MAX     64U
#define MAM_ROUTER_SEGMENTS_MAX   16U
#define MAM_ROUTER_PARAMETERS_MAX 4U
#define MAM_ROUTER_ALLOW_SIZE     96U

typedef struct MamRouter MamRouter;

typedef enum MamRouterResult {
        MAM_ROUTER_FOUND,
        MAM_ROUTER_NO_PATH,   /* 404, or the fallback's */
        MAM_ROUTER_NO_METHOD, /* 405; allow is filled in */
        MAM_ROUTER_OPTIONS,   /* 204; allow is filled in */
        MAM_ROUTER_BAD_PATH,  /* 400: a malformed percent-encoding */
} MamRouterResult;

typedef struct MamRouteMatch {
        const MamRoute *route; /* borrowed; with MAM_ROUTER_FOUND only */
        const char *pattern; /* borrowed; the template of the path, also without a method that fits; or NULL
                              */
        size_t n_parameters;
        struct {
                const char *name;  /* borrowed from the router */
                const char *value; /* within text */
        } parameters[MAM_ROUTER_PARAMETERS_MAX];
        char *text; /* owned */
        char allow[MAM_ROUTER_ALLOW_SIZE];
} MamRouteMatch;

/* Each table ends with method NULL and must outlive the router. A template that cannot be is a programming
 * error. */
int mam_router_new(MamRouter **ret, const MamRoute *const *tables, size_t n_tables);
MamRouter *mam_router_free(MamRouter *r);
MAM_DEFINE_CLEANUP(MamRouter, mam_router_free);
/* A MamRouterResult, or -ENOMEM. path as sent: segments are percent-decoded one by one, so %2F never
 * divides. Where several templates fit, the one with the earlier literal segment wins, whatever its place in
 * the table. *m is to be done() always. */
int mam_router_match(const MamRouter *r, const char *method, const char *path, MamRouteMatch *m);
void mam_route_match_done(MamRouteMatch *m);

/* ---- identity ---- */

enum {
        MAM_LISTENER_PUBLIC,
        MAM_LISTENER_REPLICA,
};

typedef struct MamIdentityChecker MamIdentityChecker;

typedef enum MamIdentityResult {
        MAM_IDENTITY_OK,
        MAM_IDENTITY_NONE, /* nobody in particular: no token, and not from the gateway */
        MAM_IDENTITY_BAD,  /* a token that does not hold; *ret_reason is fit for a log */
} MamIdentityResult;

/* The keys are read from jwks_path at the first need and again when the file changes. gateway_user: whose
 * uid is believed on the replica socket; a user that does not exist, or root, is never believed. */
int mam_identity_checker_new(MamIdentityChecker **ret, const char *jwks_path, const char *gateway_user);
MamIdentityChecker *mam_identity_checker_free(MamIdentityChecker *c);
MAM_DEFINE_CLEANUP(MamIdentityChecker, mam_identity_checker_free);
/* A MamIdentityResult, or -ENOMEM. *ret borrows from *ret_text, which the caller frees; both are written
 * with MAM_IDENTITY_OK only. */
int mam_identity_check(
                MamIdentityChecker *c,
                MamHttpExchange *x,
                MamIdentity *ret,
                char **ret_text,
                const char **ret_reason);

/* ---- the service and its requests ---- */

#define MAM_SERVICE_REASONS_MAX 8U
#define MAM_SERVICE_SOCKETS_MAX 16U

#define MAM_SERVICE_SERIES_MAX 64U /* found without looking them up by text */

/* What a request of this kind is counted in. Method and pattern are literals, or as lasting as those. */
typedef struct MamServiceSeries {
        const char *method, *pattern;
        unsigned status;
        MamMetric *requests, *duration; /* weak: the families own them */
} MamServiceSeries;

typedef enum MamServiceState {
        MAM_SERVICE_STARTING,
        MAM_SERVICE_RUNNING,
        MAM_SERVICE_DRAINING,
} MamServiceState;

/* A public socket until READY. */
typedef struct Waiting {
        int fd; /* owned */
        bool tls;
} Waiting;

struct MamService {
        const MamServiceInfo *info; /* borrowed */
        const char *id;             /* borrowed from the environment or from info */
        unsigned replica;
        MamServiceState state;
        void *userdata; /* what setup returned */
        bool setup_done;
        bool ready_early; /* said by setup itself */

        sd_event *event;              /* owned */
        sd_event_source *drain_timer; /* owned */
        MamHttpServer *server;        /* owned */
        MamRouter *router;            /* owned */
        MamIdentityChecker *checker;  /* owned */

        /* listening sockets that wait for READY, as other replicas share them; owned */
        Waiting waiting[MAM_SERVICE_SOCKETS_MAX];
        size_t n_waiting;

        struct {
                char key[32];
                char reason[128];
        } reasons[MAM_SERVICE_REASONS_MAX];
        size_t n_reasons;
        char status[256];                      /* the daemon's own words, or "" */
        char sent_status[512];                 /* what systemd was told last */
        char log_service[64], log_replica[32]; /* fields of log messages */

        MamSpares requests;              /* what requests are kept in */
        MamMetrics *metrics;             /* owned; the families belong to it */
        MamMetricFamily *requests_total; /* method, route, status */
        MamMetricFamily *duration;       /* method, route */
        MamServiceSeries series[MAM_SERVICE_SERIES_MAX];
        MamMetric *in_flight;
        MamMetric *connections;
        MamMetric *ready;
};

/* The server's handler for everything. */
int mam_service_on_request(MamHttpExchange *x, void *userdata);
/* /health, /ready and /metrics; ends with method NULL. */
extern const MamRoute mam_service_builtin_routes[];
int mam_service_add_metrics(MamService *s);
/* A listening socket: "127.0.0.1:8080", "[::1]:8080", "/run/x.sock" or "unix:…". -EINVAL and errors of
 * bind(2). */
int mam_service_open_listener(const char *address);
