/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A service: one call makes a daemon
 *
 * mam_service_run() opens the log, drops all capabilities, takes the sockets that systemd hands over (names:
 * "public" is the port shared by all replicas, "public-tls" one for TLS, "replica" the unix socket of this
 * one; without systemd
 * --listen=ADDRESS serves), runs setup, and notifies READY when setup said mam_service_ready(). It serves
 * /health (alive), /ready (may get traffic; 503 while starting, draining or when a check fails), and
 * /metrics; pings the watchdog; on SIGTERM notifies STOPPING, drains and exits 0. STATUS= follows what it
 * does. Environment: MAM_SERVICE (id), MAM_REPLICA (number), LOG_LEVEL, CREDENTIALS_DIRECTORY.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "libmam/http/http-server.h"
#include "libmam/obs/metrics.h"

typedef struct MamService MamService;

#define MAM_IDENTITY_ROLES_MAX 16U

/* Who asks, verified: from the gateway (trusted by its uid on the replica socket) or from the bearer token
 * on the public port. Never from a header of a client. */
typedef struct MamIdentity {
        bool authenticated;
        const char *subject; /* lives as long as the exchange; NULL if not authenticated */
        const char *roles[MAM_IDENTITY_ROLES_MAX];
        size_t n_roles;
} MamIdentity;

typedef struct MamRoute {
        const char *method; /* "GET"; HEAD is answered from GET; OPTIONS and 405 with Allow are made from the
                               table */
        const char *path;   /* template: "/api/v1/projects/{project}/tasks/{task}" */
        MamHttpHandler handler; /* userdata is what setup returned */
        bool anonymous;         /* served without an identity; else 401 (with WWW-Authenticate) */
        const char *role; /* required role, or NULL: any authenticated; else 403. "admin" has every role */
} MamRoute;

typedef struct MamServiceInfo {
        const char *id;          /* "project-manager" */
        const MamRoute *routes;  /* ends with method NULL */
        MamHttpHandler fallback; /* for paths outside the table and /health, /ready, /metrics; NULL: 404. The
                                    gateway's whole data path */
        MamHttpServerOptions http;
        bool h2c; /* the public port speaks HTTP/2 too, with prior knowledge */
        /* A public socket for TLS ("public-tls"), from READY on; takes over fd on success. NULL: there is
         * none.
         */
        int (*serve_tls)(MamService *s, int fd, void *userdata);
        /* Begins what must be done before READY, asynchronously; userdata of all routes goes to *ret. */
        int (*setup)(MamService *s, void **ret);
        void (*teardown)(void *userdata); /* after draining */
} MamServiceInfo;

/* main() of a daemon is this one call. Returns the exit status. Options: --help, --version,
 * --listen=ADDRESS. */
int mam_service_run(int argc, char **argv, const MamServiceInfo *info);

sd_event *mam_service_event(MamService *s);
MamMetrics *mam_service_metrics(MamService *s);
MamHttpServer *mam_service_server(MamService *s);
/* To listen with on public sockets. */
MamHttpListenOptions mam_service_listen_options(const MamService *s, bool exclusive);
const char *mam_service_id(const MamService *s);   /* MAM_SERVICE or info->id */
unsigned mam_service_replica(const MamService *s); /* MAM_REPLICA or 0 */
/* Setup has finished: READY=1. Later calls do nothing. */
int mam_service_ready(MamService *s);
/* A reason (NULL: none any more) for /ready to answer 503, such as "postgresql is not reachable"; at most 8
 * keys. */
void mam_service_set_not_ready(MamService *s, const char *key, const char *reason);
void mam_service_set_status(MamService *s, const char *format, ...) _printf_(2, 3);
/* Ends the event loop with a message and a failing status: setup went wrong. */
void mam_service_fail(MamService *s, int error, const char *format, ...) _printf_(3, 4);

/* For handlers. */
const char *mam_route_parameter(MamHttpExchange *x, const char *name); /* percent-decoded; "" where absent */
const MamIdentity *mam_service_identity(MamHttpExchange *x);
bool mam_identity_has_role(const MamIdentity *i, const char *role);
/* The uid of a system user, for mam_service_peer_is(); MAM_SERVICE_NO_UID: no such user, or root. Reads the
 * user database: at the start, not per request. */
#define MAM_SERVICE_NO_UID ((uid_t) -1)
uid_t mam_service_user(const char *name);
/* Whether the kernel says that this user is at the other end of this replica's own socket. Never on the
 * public port, and never for MAM_SERVICE_NO_UID. */
bool mam_service_peer_is(const MamHttpExchange *x, uid_t uid);
/* Route pattern for metrics and logs: "/api/v1/projects/{project}", or "other". */
const char *mam_route_pattern(MamHttpExchange *x);
/* The method for metrics and logs, which must not grow with what clients make up: a usual one, or "other".
 */
const char *mam_method_label(MamHttpExchange *x);

/* A credential from $CREDENTIALS_DIRECTORY: -ENOENT, -EFBIG (over 64 KiB). Caller frees *ret with
 * mam_secret_free(), which wipes it. */
int mam_credential_read(const char *name, char **ret, size_t *ret_size);
char *mam_secret_free(char *secret);
