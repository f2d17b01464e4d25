/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of access: access.c is the stage and its configuration, access-credential.c who shows what,
 * access-issuer.c whose tokens are believed
 */

#include "api-gateway/access.h"
#include "api-gateway/audit.h"
#include "api-gateway/caller-cache.h"
#include "api-gateway/key-table.h"
#include "api-gateway/keys-bus.h"
#include "api-gateway/revoked.h"
#include "libmam/auth/key-source.h"
#include "libmam/config/gateway.h"
#include "libmam/http/http-codec.h"

#define ACCESS_OWN_ISSUER "mam"

typedef struct AccessIssuer AccessIssuer;
typedef struct AccessService AccessService;

/* Whose tokens are believed. */
struct AccessIssuer {
        Access *access;                /* weak */
        const MamIssuerConfig *config; /* borrowed from the configuration; NULL: mam itself */
        MamKeySource *keys;            /* owned */
};

/* Who of this host may call. */
struct AccessService {
        uid_t uid;
        const char *id; /* borrowed from the configuration */
        Caller *caller; /* owned; in its own name */
};

typedef enum AccessDecision {
        ACCESS_PERMITTED,
        ACCESS_REFUSED, /* known, but may not */
        ACCESS_UNKNOWN, /* nobody, or what was shown does not hold */
        _ACCESS_DECISION_MAX,
} AccessDecision;

struct Access {
        sd_event *event;          /* owned reference */
        MamGatewayConfig *config; /* owned reference */
        CallerCache *cache;       /* owned */
        KeyTable *keys;           /* owned */
        KeysBus *keys_bus;        /* owned; NULL before access_start() */
        Revoked *revoked;         /* owned */
        Audit *audit;             /* owned */
        MamRedis *redis;          /* borrowed; NULL: there is none */
        char *signing_key;        /* owned, wiped; PEM; NULL: nothing can be issued */
        char *secret;             /* owned, wiped; that refresh tokens are made with; or NULL */
        size_t secret_size;
        MamFetcher *fetcher;    /* owned; NULL until an issuer has a URL */
        AccessIssuer **issuers; /* owned, and each of them; the first is mam itself */
        size_t n_issuers;
        AccessService *services; /* owned */
        size_t n_services;
        Caller **certificates; /* owned; one for each of the configuration */
        size_t n_certificates;
        MamMetric *decisions[_CALLER_KIND_MAX][_ACCESS_DECISION_MAX]; /* borrowed */
        const MamIdentity *(*identity)(MamHttpExchange *x);           /* of tests, or NULL */
};

typedef enum CredentialResult {
        CREDENTIAL_OK,
        CREDENTIAL_NONE,
        CREDENTIAL_BAD,         /* *ret_reason is a literal, fit for a log */
        CREDENTIAL_UNAVAILABLE, /* it cannot be judged at the moment */
} CredentialResult;

/* A CredentialResult, or <0. *ret: a reference, with CREDENTIAL_OK only. */
int access_credential(Access *a, MamHttpExchange *x, Caller **ret, const char **ret_reason);
/* The same for a token or an API key that is given as text. */
int access_verify(Access *a, const char *text, size_t size, Caller **ret, const char **ret_reason);
/* The same for a signed token. */
int access_token(Access *a, const char *token, size_t size, Caller **ret, const char **ret_reason);

/* 401; 0, or <0 if it cannot even be answered. */
int access_refuse_nobody(MamHttpExchange *x, bool has_credential);
/* The manager's list of API keys, as keys-bus.c does; for tests. */
void access_take_keys(Access *a, const char *json, size_t size);
/* One more use of the caller's API key, if it is one. */
void access_count_use(Access *a, const Caller *c);

/* For the audit. x: NULL where the client has left. */
void access_audit_issued(Access *a, MamHttpExchange *x, const Caller *c, const char *session);
void access_audit_reuse(Access *a, MamHttpExchange *x, const char *subject, const char *session);
void access_audit_ended(Access *a, MamHttpExchange *x, const char *what, const char *object);

/* Makes the list of issuers that this configuration asks for; key sources of those that stay move over. */
int access_issuers_configure(Access *a, const MamGatewayAuth *auth);
void access_issuers_done(Access *a);
