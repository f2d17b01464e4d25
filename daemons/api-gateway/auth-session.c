/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * POST /auth/revoke (RFC 7009), POST /auth/introspect (RFC 7662), GET and DELETE /auth/sessions
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "api-gateway/auth-internal.h"
#include "libmam/obs/log.h"

static uint64_t access_sec(const AuthRequest *q) {
        return q->access->config->auth.access_usec / MAM_USEC_PER_SEC + 60; /* and what clocks may differ */
}

static void fail(AuthRequest *q, int r) {
        if (r < 0 && q->x && !mam_http_exchange_is_started(q->x))
                (void) mam_http_exchange_problem(q->x, 500, NULL, "The request could not be answered");
        auth_request_settle(q);
}

static int answer_empty(AuthRequest *q, unsigned status) {
        if (!q->x)
                return 0;
        (void) mam_http_exchange_add_field(q->x, "Cache-Control", "no-store");
        return mam_http_exchange_respond(q->x, status, NULL, NULL, 0);
}

/* The number of a reply that is one, as an integer or as text. */
static uint64_t number_of(const MamRedisReply *reply) {
        return mam_redis_type(reply) == MAM_REDIS_INTEGER ? (uint64_t) mam_redis_integer(reply)
                                                          : strtoull(mam_redis_text(reply, NULL), NULL, 10);
}

/* ---- revoke ---- */

static void on_revoked(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        AuthRequest *q = userdata;

        if (error < 0) {
                fail(q, auth_unavailable(q));
                return;
        }
        access_audit_ended(
                        q->access,
                        q->x,
                        q->token[0] ? "token" : "session",
                        q->token[0] ? q->token : q->session);
        fail(q, answer_empty(q, 200));
}

/* Who has a token may end it: that is all it takes (RFC 7009 asks confidential clients for more, but one
 * that lost its token to somebody should not need to find its key first). What is not valid is not told
 * apart from what was ended. */
int auth_handle_revoke(AuthRequest *q, const OauthForm *form) {
        const char *token = oauth_form_get(form, "token"), *reason = "";
        size_t size = token ? strlen(token) : 0;
        int r;

        if (!token)
                return auth_error(q, 400, "invalid_request", "token is needed");
        if (!q->access->redis || !q->access->secret)
                return auth_unavailable(q);
        if (refresh_token_looks_like(token, size)) {
                r = refresh_token_parse(
                                token,
                                size,
                                q->access->secret,
                                q->access->secret_size,
                                q->session,
                                &q->number);
                if (r <= 0)
                        return r < 0 ? r : answer_empty(q, 200);
                r = session_end(q->access->redis,
                                NULL,
                                q->session,
                                auth_now_sec(),
                                access_sec(q),
                                on_revoked,
                                q);
                return auth_asked(q, r);
        }

        r = access_token(q->access, token, size, &q->caller, &reason);
        if (r < 0)
                return r;
        if (r == CREDENTIAL_UNAVAILABLE)
                return auth_unavailable(q);
        if (r != CREDENTIAL_OK)
                return answer_empty(q, 200);
        if (q->caller->issuer || !q->caller->token || strlen(q->caller->token) >= sizeof(q->token) - 2)
                return auth_error(
                                q,
                                400,
                                "unsupported_token_type",
                                "Only tokens of mam's own can be revoked");
        (void) snprintf(q->token, sizeof(q->token), "%s", q->caller->token);
        r = token_revoke(q->access->redis, q->caller->token, q->caller->expires_sec + 60, on_revoked, q);
        return auth_asked(q, r);
}

/* ---- introspect ---- */

static int answer_inactive(AuthRequest *q) {
        json_object *o = json_object_new_object();
        int r;

        if (!o)
                return -ENOMEM;
        r = auth_put(o, "active", json_object_new_boolean(false));
        if (r < 0) {
                json_object_put(o);
                return r;
        }
        return auth_answer(q, 200, o);
}

static int put_text(json_object *o, const char *key, const char *text) {
        return text && *text ? auth_put(o, key, json_object_new_string(text)) : 0;
}

static int put_caller(json_object *o, const Caller *c) {
        json_object *roles = json_object_new_array();
        _cleanup_(mam_buffer_done) MamBuffer scopes = MAM_BUFFER_INIT;
        int r;

        r = auth_put(o, "roles", roles);
        for (size_t i = 0; r >= 0 && i < c->identity.n_roles; i++)
                if (json_object_array_add(roles, json_object_new_string(c->identity.roles[i])) < 0)
                        r = -ENOMEM;
        for (size_t i = 0; r >= 0 && i < c->n_scopes; i++)
                r = mam_buffer_appendf(&scopes, "%s%s", i > 0 ? " " : "", c->scopes[i]);
        if (r >= 0 && c->n_scopes > 0)
                r = put_text(o, "scope", mam_buffer_bytes(&scopes));
        if (r >= 0)
                r = put_text(o, "sub", c->identity.subject);
        if (r >= 0)
                r = put_text(o, "client_id", c->key);
        if (r >= 0)
                r = put_text(o, "jti", c->token);
        if (r >= 0)
                r = put_text(o, "sid", c->session);
        if (r >= 0)
                r = put_text(o, "iss", c->issuer ? c->issuer : ACCESS_OWN_ISSUER);
        if (r >= 0 && c->issued_sec > 0)
                r = auth_put(o, "iat", json_object_new_int64((int64_t) c->issued_sec));
        if (r >= 0 && c->expires_sec != UINT64_MAX)
                r = auth_put(o, "exp", json_object_new_int64((int64_t) c->expires_sec));
        return r;
}

static int answer_active(AuthRequest *q, const Caller *c, const char *type) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        int r;

        if (!o)
                return -ENOMEM;
        r = auth_put(o, "active", json_object_new_boolean(true));
        if (r >= 0)
                r = put_text(o, "token_type", type);
        if (r >= 0)
                r = put_caller(o, c);
        return r < 0 ? r : auth_answer(q, 200, MAM_TAKE(o));
}

/* {subject, number, key, scopes} */
static void on_looked(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        const char *subject = mam_redis_text(mam_redis_item(reply, 0), NULL);
        _cleanup_(caller_unrefp) Caller *c = NULL;
        AuthRequest *q = userdata;
        int k;

        if (error < 0) {
                fail(q, auth_unavailable(q));
                return;
        }
        if (!*subject || number_of(mam_redis_item(reply, 1)) > q->number) {
                fail(q, answer_inactive(q));
                return;
        }
        k = caller_new(&c,
                       &(CallerSpec){
                                       .kind = CALLER_TOKEN,
                                       .subject = subject,
                                       .session = q->session,
                                       .key = mam_redis_text(mam_redis_item(reply, 2), NULL),
                                       .expires_sec = UINT64_MAX,
                       });
        fail(q, k < 0 ? k : answer_active(q, c, "refresh_token"));
}

static bool may_introspect(const AuthRequest *q) {
        char *const *roles = q->access->config->auth.introspectors;

        if (caller_has_role(q->caller, "admin"))
                return true;
        for (; roles && *roles; roles++)
                if (caller_has_role(q->caller, *roles))
                        return true;
        return false;
}

static int introspect_refresh(AuthRequest *q, const char *token, size_t size) {
        int r;

        if (!q->access->redis || !q->access->secret)
                return auth_unavailable(q);
        r = refresh_token_parse(
                        token,
                        size,
                        q->access->secret,
                        q->access->secret_size,
                        q->session,
                        &q->number);
        if (r <= 0)
                return r < 0 ? r : answer_inactive(q);
        return auth_asked(q, session_look(q->access->redis, q->session, on_looked, q));
}

int auth_handle_introspect(AuthRequest *q, const OauthForm *form) {
        const char *token = oauth_form_get(form, "token"), *reason = "";
        size_t size = token ? strlen(token) : 0;
        _cleanup_(caller_unrefp) Caller *c = NULL;
        int r;

        r = access_identify(q->access, q->x, &q->caller);
        if (r <= 0)
                return r;
        if (!q->caller->identity.authenticated)
                return access_refuse_nobody(q->x, false);
        if (!may_introspect(q))
                return mam_http_exchange_problem(q->x, 403, NULL, "No role of the caller permits this");
        if (!token)
                return auth_error(q, 400, "invalid_request", "token is needed");
        if (refresh_token_looks_like(token, size))
                return introspect_refresh(q, token, size);

        if (size > MAM_JWT_SIZE_MAX)
                return answer_inactive(q);
        r = access_verify(q->access, token, size, &c, &reason);
        if (r < 0)
                return r;
        if (r == CREDENTIAL_UNAVAILABLE)
                return auth_unavailable(q);
        return r == CREDENTIAL_OK ? answer_active(q, c, c->kind == CALLER_KEY ? "api_key" : "access_token")
                                  : answer_inactive(q);
}

/* ---- sessions ---- */

static int put_session(json_object *list, const MamRedisReply *s, const char *current) {
        const char *id = mam_redis_text(mam_redis_item(s, 0), NULL);
        json_object *o = json_object_new_object();
        int r;

        if (!o || json_object_array_add(list, o) < 0) {
                json_object_put(o);
                return -ENOMEM;
        }
        r = put_text(o, "id", id);
        if (r >= 0)
                r = auth_put(o, "created", json_object_new_int64((int64_t) number_of(mam_redis_item(s, 1))));
        if (r >= 0)
                r = auth_put(o, "used", json_object_new_int64((int64_t) number_of(mam_redis_item(s, 2))));
        if (r >= 0)
                r = put_text(o, "client_id", mam_redis_text(mam_redis_item(s, 3), NULL));
        if (r >= 0)
                r = put_text(o, "scope", mam_redis_text(mam_redis_item(s, 4), NULL));
        if (r >= 0)
                r = put_text(o, "address", mam_redis_text(mam_redis_item(s, 5), NULL));
        if (r >= 0 && current && strcmp(current, id) == 0)
                r = auth_put(o, "current", json_object_new_boolean(true));
        return r;
}

static int answer_sessions(AuthRequest *q, const MamRedisReply *reply) {
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        json_object *list = json_object_new_array();
        int r;

        if (!o) {
                json_object_put(list);
                return -ENOMEM;
        }
        r = auth_put(o, "sessions", list);
        for (size_t i = 0; r >= 0 && i < mam_redis_count(reply); i++)
                r = put_session(list, mam_redis_item(reply, i), q->caller->session);
        return r < 0 ? r : auth_answer(q, 200, MAM_TAKE(o));
}

static void on_listed(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        AuthRequest *q = userdata;

        fail(q, error < 0 ? auth_unavailable(q) : q->x ? answer_sessions(q, reply) : 0);
}

int auth_list_sessions(AuthRequest *q) {
        if (!q->access->redis)
                return auth_unavailable(q);
        return auth_asked(
                        q,
                        session_list(q->access->redis,
                                     q->caller->identity.subject,
                                     auth_now_sec(),
                                     on_listed,
                                     q));
}

static void on_ended(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        AuthRequest *q = userdata;

        if (error < 0) {
                fail(q, auth_unavailable(q));
                return;
        }
        if (q->session[0] && mam_redis_integer(reply) == 0) {
                fail(q, q->x ? mam_http_exchange_problem(q->x, 404, NULL, "There is no such session") : 0);
                return;
        }
        access_audit_ended(q->access, q->x, "session", q->session[0] ? q->session : "all");
        fail(q, answer_empty(q, 204));
}

int auth_end_sessions(AuthRequest *q, const char *id) {
        if (!q->access->redis)
                return auth_unavailable(q);
        if (id)
                memcpy(q->session, id, sizeof(q->session));
        return auth_asked(
                        q,
                        session_end(q->access->redis,
                                    q->caller->identity.subject,
                                    id,
                                    auth_now_sec(),
                                    access_sec(q),
                                    on_ended,
                                    q));
}
