/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who may do what at the gateway: "gateway.auth" and "gateway.callers" of microservices.json, and "auth" of
 * a route in services.json
 *
 * All is read by config-gateway-auth.c and owned by what holds it; an absent or empty section has the
 * defaults that are said here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#define MAM_AUTH_ISSUERS_MAX      16U
#define MAM_AUTH_GRANTS_MAX       256U /* roles, or scopes, that have permissions */
#define MAM_AUTH_PERMISSIONS_MAX  64U  /* of one of them */
#define MAM_AUTH_CERTIFICATES_MAX 256U
#define MAM_AUTH_LIST_MAX         16U /* roles or scopes in a list */
#define MAM_AUTH_CALLERS_MAX      64U

/* What a route asks of whoever wants through. All zero: somebody who is known, and whom "gateway.auth"
 * permits it. */
typedef struct MamRouteAuth {
        bool anonymous; /* "none" or {"anonymous":true}: everybody, known or not */
        char **roles; /* owned, NULL-terminated; one of them is needed; NULL: as "gateway.auth.roles" says */
        char **scopes; /* owned, NULL-terminated; all of them are needed; NULL: none */
} MamRouteAuth;

/* "GET,HEAD /api/v1/projects/{project}/...": methods and a pattern of paths. */
typedef struct MamPermission {
        uint32_t methods; /* mam_auth_method_bit()s, or MAM_AUTH_METHODS_ALL */
        char *service;    /* owned; id, or NULL: any; of "callers" only */
        char *path;       /* owned; the pattern as written, without "/..." at its end; "" is everything */
        bool is_prefix;   /* what is below is matched too, by whole segments */
} MamPermission;

/* What a role, a scope or a service is permitted. */
typedef struct MamGrant {
        char *name;                 /* owned */
        char *user;                 /* owned; of "callers": as whom it runs, if not as mam-ID; or NULL */
        MamPermission *permissions; /* owned, and what is in them */
        size_t n_permissions;
} MamGrant;

/* Whose tokens are believed, beside those of mam's own. */
typedef struct MamIssuerConfig {
        char *issuer;         /* owned; "iss" exactly */
        char *audience;       /* owned; "aud" has it */
        char *jwks_url;       /* owned; http:// or https://, or NULL */
        char *jwks_file;      /* owned; or NULL: exactly one of the two */
        char *roles_claim;    /* owned; dotted, "realm_access.roles"; default "roles" */
        char *projects_claim; /* owned; dotted; default "project_roles" */
        char **roles; /* owned, NULL-terminated; of the roles in a token only these count; NULL: all but
                         "admin" */
        uint64_t refresh_usec; /* "refresh", default 1 h: the key set is fetched again */
        uint64_t skew_usec;    /* "clockSkew", default 60 s */
} MamIssuerConfig;

/* A client certificate that is somebody. */
typedef struct MamCertificateConfig {
        char *name;        /* owned; who it is: the subject for services */
        char *subject;     /* owned; RFC 4514, or NULL */
        char *fingerprint; /* owned; SHA-256, 64 lower-case hexadecimal digits, or NULL: exactly one of the
                              two */
        char **roles;      /* owned, NULL-terminated; or NULL */
        char **scopes;     /* owned, NULL-terminated; or NULL */
} MamCertificateConfig;

typedef enum MamAuditLevel {
        MAM_AUDIT_DENIED, /* default: what was refused, tokens issued, sessions and keys revoked */
        MAM_AUDIT_ALL,    /* and what was permitted */
        MAM_AUDIT_OFF,
        _MAM_AUDIT_LEVEL_MAX,
        _MAM_AUDIT_LEVEL_INVALID = -EINVAL,
} MamAuditLevel;
const char *mam_audit_level_to_string(MamAuditLevel l);
MamAuditLevel mam_audit_level_from_string(const char *s);

/* "auth" */
typedef struct MamGatewayAuth {
        bool required; /* default true: routes that do not say otherwise need somebody who is known */
        MamIssuerConfig *issuers; /* owned */
        size_t n_issuers;
        MamGrant *roles; /* owned; none: every role may everything that routes do not ask more for */
        size_t n_roles;
        MamGrant *scopes; /* owned; none: scopes only matter where a route asks for them */
        size_t n_scopes;
        MamCertificateConfig *certificates; /* owned */
        size_t n_certificates;
        bool tokens;           /* "tokens.enabled", default true: /auth/token issues */
        uint64_t access_usec;  /* "tokens.accessLifetime", default 5 min */
        uint64_t refresh_usec; /* "tokens.refreshLifetime", default 30 d */
        uint32_t sessions_max; /* "tokens.sessionsPerSubject", default 20: the oldest goes */
        char **introspectors;  /* "introspect", owned, NULL-terminated: roles that may; NULL: only "admin" */
        MamAuditLevel audit;   /* "audit" */
        uint32_t audit_rate;   /* "auditRate", messages a second, default 50 */
} MamGatewayAuth;

/* "callers": who of this host may call whom through the gateway, in its own name. Default: nobody. */
typedef struct MamGatewayCallers {
        MamGrant *services; /* owned; name is the id of who calls */
        size_t n_services;
} MamGatewayCallers;

/* The bit of a method, such as "GET"; 0: another one, which only a permission for all methods covers. */
uint32_t mam_auth_method_bit(const char *method);
#define MAM_AUTH_METHODS_ALL UINT32_MAX

/* Whether a permission covers this request. path: as sent, without query. project: the text of the segment
 * that the pattern calls "{project}", *ret_project_size bytes within path and as sent; NULL where the
 * pattern has none. */
bool mam_permission_covers(
                const MamPermission *p,
                uint32_t method_bit,
                const char *path,
                size_t path_size,
                const char **ret_project,
                size_t *ret_project_size);

void mam_route_auth_done(MamRouteAuth *a);
