/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The gateway's own endpoints below /auth: auth-http.c takes requests in, auth-token.c issues,
 * auth-session.c shows and ends
 *
 * An AuthRequest is one of them while it waits, for its body or for Redis. It hangs on the exchange, and
 * outlives it while Redis owes an answer; who answers looks whether the exchange is still there.
 */

#include "api-gateway/access-internal.h"
#include "api-gateway/oauth-form.h"
#include "api-gateway/sessions.h"
#include "libmam/json/json.h"
#include "libmam/util/buffer.h"

typedef struct AuthRequest AuthRequest;

struct AuthRequest {
        Access *access;     /* weak */
        MamHttpExchange *x; /* weak; NULL: it has ended */
        int (*handle)(AuthRequest *q, const OauthForm *form);
        bool waiting;                       /* Redis owes an answer */
        Caller *caller;                     /* reference; who asks, or whose key it is; or NULL */
        char session[SESSION_ID_SIZE + 1];  /* that it is about; "" none */
        uint64_t number;                    /* of the refresh token */
        char *scopes;                       /* owned; that were asked for; or NULL */
        char token[REVOKED_MEMBER_MAX + 1]; /* id of a token; "" none */
};

/* Who asks is forgotten; the request may be gone then. */
void auth_request_settle(AuthRequest *q);

/* OAuth's errors (RFC 6749, section 5.2). */
int auth_error(AuthRequest *q, unsigned status, const char *error, const char *description);
/* Redis is away, or did not answer. */
int auth_unavailable(AuthRequest *q);
/* Takes the object. */
int auth_answer(AuthRequest *q, unsigned status, json_object *o);
/* Whether Redis takes a command. r: what it said. 0: wait for the callback; else answered. */
int auth_asked(AuthRequest *q, int r);
uint64_t auth_now_sec(void);
int auth_put(json_object *o, const char *key, json_object *value);

/* auth-token.c */
int auth_handle_token(AuthRequest *q, const OauthForm *form);
/* auth-session.c */
int auth_handle_revoke(AuthRequest *q, const OauthForm *form);
int auth_handle_introspect(AuthRequest *q, const OauthForm *form);
int auth_list_sessions(AuthRequest *q);
int auth_end_sessions(AuthRequest *q, const char *id);
