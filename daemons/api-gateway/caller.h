/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who asks, verified
 *
 * Callers are shared: the same token gives the same Caller for as long as it is remembered, so they do not
 * change and are reference-counted. A Caller whose session was ended lives on in the requests that hold it.
 */

#include <json-c/json.h>

#include "libmam/service/service.h"
#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"

typedef struct Caller Caller;

#define CALLER_SCOPES_MAX   64U
#define CALLER_PROJECTS_MAX 256U
#define CALLER_TEXT_MAX     256U /* of a subject, a role, a scope */

typedef enum CallerKind {
        CALLER_NOBODY,      /* on a route for everybody */
        CALLER_TOKEN,       /* a signed token */
        CALLER_KEY,         /* an API key */
        CALLER_CERTIFICATE, /* a client certificate */
        CALLER_SERVICE,     /* a service of this host, in its own name */
        _CALLER_KIND_MAX,
} CallerKind;
const char *caller_kind_to_string(CallerKind k); /* "token" */

/* A role that is held in one project only. */
typedef struct CallerProjectRole {
        const char *project;
        const char *role;
} CallerProjectRole;

struct Caller {
        unsigned n_ref;
        CallerKind kind;
        MamIdentity identity;      /* subject and roles for the replica; of nobody: not authenticated */
        const char *const *scopes; /* n_scopes of them */
        size_t n_scopes;
        bool scoped;                       /* scopes narrow what the roles permit, even if there are none */
        const CallerProjectRole *projects; /* n_projects of them */
        size_t n_projects;
        const char *issuer;   /* of a token that mam did not issue, or NULL */
        const char *token;    /* its id ("jti"), or NULL */
        const char *session;  /* that the token belongs to ("sid"), or NULL */
        const char *key;      /* the API key's id, or NULL */
        const char *service;  /* the service of this host that sends the request, or NULL */
        json_object *claims;  /* owned; of a token, or NULL */
        uint64_t issued_sec;  /* realtime; 0: not known */
        uint64_t expires_sec; /* realtime; UINT64_MAX: does not */
        MamBuffer fields;     /* Mam-Subject, Mam-Roles, Mam-Scopes for the replica, n_fields of them */
        unsigned n_fields;
        uint64_t hash; /* of issuer, key and subject: for who counts by caller; not secret, not unique */
};

/* What a Caller is made of; all is copied, claims gets another reference. */
typedef struct CallerSpec {
        CallerKind kind;
        const char *subject;
        const char *const *roles; /* beyond MAM_IDENTITY_ROLES_MAX they are left out: fewer rights, never
                                     more */
        size_t n_roles;
        const char *const *scopes;
        size_t n_scopes;
        bool scoped;
        const CallerProjectRole *projects;
        size_t n_projects;
        const char *issuer, *token, *session, *key, *service;
        json_object *claims;
        uint64_t issued_sec;
        uint64_t expires_sec;
} CallerSpec;

/* -EINVAL: a subject, a role or a scope that cannot travel in a header field, or is too long. */
int caller_new(Caller **ret, const CallerSpec *spec);
/* What a Caller was made of; borrowed from it. */
CallerSpec caller_spec(const Caller *c);
/* The one that stands for everybody: a reference. */
Caller *caller_nobody(void);
Caller *caller_ref(Caller *c);
Caller *caller_unref(Caller *c);
MAM_DEFINE_CLEANUP(Caller, caller_unref);

bool caller_has_role(const Caller *c, const char *role);
bool caller_has_scope(const Caller *c, const char *scope);
/* A claim of the caller's token that is a text or a whole number, as text ("tenant", or "org.id" for a
 * member of an object): 1; 0: there is none, or it does not fit. */
int caller_claim(const Caller *c, const char *name, char *ret, size_t size);
