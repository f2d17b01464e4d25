/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * POST /auth/token: an API key becomes a short-lived token (client_credentials), and where offline_access is
 * asked for, a session with refresh tokens (refresh_token)
 */

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "api-gateway/auth-internal.h"
#include "libmam/obs/log.h"

#define OFFLINE "offline_access"

/* ---- issuing ---- */

static int put_list(json_object *o, const char *key, const char *const *list, size_t n) {
        json_object *array = json_object_new_array();
        int r;

        r = auth_put(o, key, array);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                json_object *item = json_object_new_string(list[i]);

                if (!item || json_object_array_add(array, item) < 0) {
                        json_object_put(item);
                        r = -ENOMEM;
                }
        }
        return r;
}

/* scopes NULL: not narrowed. */
static int make_claims(json_object **ret, AuthRequest *q, const char *scopes, uint64_t now_sec) {
        const MamGatewayAuth *auth = &q->access->config->auth;
        _cleanup_(json_object_putp) json_object *o = json_object_new_object();
        char id[SESSION_ID_SIZE + 1];
        const Caller *c = q->caller;
        int r;

        if (!o)
                return -ENOMEM;
        r = session_id_new(id);
        if (r >= 0)
                r = auth_put(o, "iss", json_object_new_string(ACCESS_OWN_ISSUER));
        if (r >= 0)
                r = auth_put(o, "aud", json_object_new_string(ACCESS_OWN_ISSUER));
        if (r >= 0)
                r = auth_put(o, "sub", json_object_new_string(c->identity.subject));
        if (r >= 0)
                r = auth_put(o, "iat", json_object_new_int64((int64_t) now_sec));
        if (r >= 0)
                r = auth_put(o,
                             "exp",
                             json_object_new_int64(
                                             (int64_t) (now_sec + auth->access_usec / MAM_USEC_PER_SEC)));
        if (r >= 0)
                r = auth_put(o, "jti", json_object_new_string(id));
        if (r >= 0)
                r = put_list(o, "roles", c->identity.roles, c->identity.n_roles);
        if (r >= 0 && scopes)
                r = auth_put(o, "scope", json_object_new_string(scopes));
        if (r >= 0 && c->key)
                r = auth_put(o, "client_id", json_object_new_string(c->key));
        if (r >= 0 && q->session[0])
                r = auth_put(o, "sid", json_object_new_string(q->session));
        if (r < 0)
                return r;
        *ret = MAM_TAKE(o);
        return 0;
}

/* The answer with a new access token, and with the refresh token of this number, if there is a session. */
static int answer_tokens(AuthRequest *q, const char *scopes, uint64_t number) {
        const MamGatewayAuth *auth = &q->access->config->auth;
        _cleanup_(json_object_putp) json_object *claims = NULL, *o = json_object_new_object();
        _cleanup_(mam_freep) char *token = NULL;
        char refresh[REFRESH_TOKEN_MAX];
        int r;

        if (!o)
                return -ENOMEM;
        r = make_claims(&claims, q, scopes, auth_now_sec());
        if (r >= 0)
                r = mam_jwt_sign_ed25519(&token, q->access->signing_key, claims);
        if (r >= 0)
                r = auth_put(o, "access_token", json_object_new_string(token));
        if (r >= 0)
                r = auth_put(o, "token_type", json_object_new_string("Bearer"));
        if (r >= 0)
                r = auth_put(o,
                             "expires_in",
                             json_object_new_int64((int64_t) (auth->access_usec / MAM_USEC_PER_SEC)));
        if (r >= 0 && scopes)
                r = auth_put(o, "scope", json_object_new_string(scopes));
        if (r >= 0 && q->session[0]) {
                r = refresh_token_format(
                                refresh,
                                q->access->secret,
                                q->access->secret_size,
                                q->session,
                                number);
                if (r >= 0)
                        r = auth_put(o, "refresh_token", json_object_new_string(refresh));
        }
        if (r < 0)
                return r;
        access_audit_issued(q->access, q->x, q->caller, q->session[0] ? q->session : NULL);
        return auth_answer(q, 200, MAM_TAKE(o));
}

/* A callback cannot return an error. */
static void answer_or_fail(AuthRequest *q, int r) {
        if (r < 0 && q->x && !mam_http_exchange_is_started(q->x))
                (void) mam_http_exchange_problem(q->x, 500, NULL, "The token could not be issued");
        auth_request_settle(q);
}

/* ---- scopes ---- */

static bool has_word(const char *list, const char *word, size_t n) {
        for (const char *p = list; *p; p += *p == ' ') {
                size_t k = strcspn(p, " ");

                if (k == n && memcmp(p, word, n) == 0)
                        return true;
                p += k;
        }
        return false;
}

/* The scopes of a new token: what was asked for, or all of the key. allowed: of the key or session; NULL:
 * not narrowed. 1: *ret (owned by the caller; NULL: not narrowed); 0: more was asked for than there is. */
static int choose_scopes(char **ret, const char *asked, const char *allowed, bool *ret_offline) {
        char *made, *to;

        *ret_offline = asked && has_word(asked, OFFLINE, strlen(OFFLINE));
        made = to = malloc((asked ? strlen(asked) : 0) + (allowed ? strlen(allowed) : 0) + 2);
        if (!made)
                return -ENOMEM;
        *to = '\0';
        for (const char *p = asked ? asked : ""; *p; p += *p == ' ') {
                size_t n = strcspn(p, " ");
                bool fit = n > 0 && n <= 64;

                for (size_t i = 0; i < n && fit; i++)
                        fit = p[i] > ' ' && p[i] < 0x7f && p[i] != ',' && p[i] != '"' && p[i] != '\\';
                if (n > 0 && (!fit || (allowed && !has_word(allowed, p, n) &&
                                       !(n == strlen(OFFLINE) && memcmp(p, OFFLINE, n) == 0)))) {
                        free(made);
                        return 0;
                }
                if (n > 0 && !(n == strlen(OFFLINE) && memcmp(p, OFFLINE, n) == 0) &&
                    !has_word(made, p, n)) {
                        if (to != made)
                                *to++ = ' ';
                        memcpy(to, p, n);
                        to += n;
                        *to = '\0';
                }
                p += n;
        }
        if (made[0] == '\0' && allowed)
                memcpy(made, allowed, strlen(allowed) + 1);
        if (made[0] == '\0' && !allowed) {
                free(made);
                made = NULL;
        }
        *ret = made;
        return 1;
}

static char *join(const char *const *list, size_t n) {
        size_t size = 1;
        char *text, *p;

        for (size_t i = 0; i < n; i++)
                size += strlen(list[i]) + 1;
        text = p = malloc(size);
        if (!text)
                return NULL;
        *p = '\0';
        for (size_t i = 0; i < n; i++)
                p = stpcpy(stpcpy(p, i > 0 ? " " : ""), list[i]);
        return text;
}

/* ---- client_credentials ---- */

static void on_created(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        AuthRequest *q = userdata;

        if (error < 0) {
                if (error == -EIO || error == -EACCES)
                        mam_warning("Cannot keep a session in Redis: %s", message);
                answer_or_fail(q, auth_unavailable(q));
                return;
        }
        answer_or_fail(q, q->x ? answer_tokens(q, q->scopes, 1) : 0);
}

static int begin_session(AuthRequest *q) {
        const MamGatewayAuth *auth = &q->access->config->auth;
        _cleanup_(mam_freep) char *roles = NULL;
        const Caller *c = q->caller;
        int r;

        if (!q->access->redis)
                return auth_unavailable(q);
        roles = join(c->identity.roles, c->identity.n_roles);
        if (!roles)
                return -ENOMEM;
        r = session_id_new(q->session);
        if (r < 0)
                return r;
        r = session_create(
                        q->access->redis,
                        &(SessionSpec){
                                        .id = q->session,
                                        .subject = c->identity.subject,
                                        .roles = roles,
                                        .scopes = q->scopes ? q->scopes : "",
                                        .scoped = q->scopes != NULL,
                                        .key = c->key ? c->key : "",
                                        .address = mam_http_exchange_peer(q->x),
                                        .now_sec = auth_now_sec(),
                                        .lifetime_sec = auth->refresh_usec / MAM_USEC_PER_SEC,
                                        .access_sec = auth->access_usec / MAM_USEC_PER_SEC + 60,
                                        .sessions_max = auth->sessions_max,
                        },
                        on_created,
                        q);
        return auth_asked(q, r);
}

/* The client's key: as client_secret_basic, client_secret_post, or as for any other request. */
static int find_client(AuthRequest *q, const OauthForm *form) {
        const char *secret = oauth_form_get(form, "client_secret"), *id = oauth_form_get(form, "client_id");
        _cleanup_(oauth_basic_done) OauthBasic basic = { 0 };
        char key_id[MAM_API_KEY_ID_SIZE + 1];
        int r;

        r = oauth_basic_parse(&basic, mam_http_exchange_header(q->x, "Authorization"));
        if (r == -ENOMEM)
                return r;
        if (r < 0 || (r > 0 && secret))
                return auth_error(q, 400, "invalid_request", "One credential of the client is needed");
        if (r > 0) {
                id = *basic.id ? basic.id : NULL;
                secret = basic.secret;
        }
        if (!secret) {
                const char *reason = "";

                r = access_credential(q->access, q->x, &q->caller, &reason);
                if (r == CREDENTIAL_OK && q->caller->kind == CALLER_KEY)
                        return 1;
                if (r < 0)
                        return r;
                if (r == CREDENTIAL_UNAVAILABLE)
                        return auth_unavailable(q);
                return auth_error(q, 401, "invalid_client", "An API key is needed");
        }
        if (!mam_api_key_parse(secret, strlen(secret), key_id) || (id && strcmp(id, key_id) != 0))
                return auth_error(q, 401, "invalid_client", "No such API key");
        r = key_table_check(q->access->keys, secret, strlen(secret), mam_now_realtime(), &q->caller);
        if (r < 0)
                return r;
        if (r == KEY_NOT_LOADED)
                return auth_unavailable(q);
        if (r != KEY_OK)
                return auth_error(q, 401, "invalid_client", "No such API key");
        return 1;
}

static int client_credentials(AuthRequest *q, const OauthForm *form) {
        _cleanup_(mam_freep) char *allowed = NULL;
        bool offline;
        int r;

        r = find_client(q, form);
        if (r <= 0)
                return r;
        access_count_use(q->access, q->caller);
        if (q->caller->scoped) {
                allowed = join(q->caller->scopes, q->caller->n_scopes);
                if (!allowed)
                        return -ENOMEM;
        }
        r = choose_scopes(&q->scopes, oauth_form_get(form, "scope"), allowed, &offline);
        if (r < 0)
                return r;
        if (r == 0)
                return auth_error(q, 400, "invalid_scope", "The key does not have all of these scopes");
        return offline ? begin_session(q) : answer_tokens(q, q->scopes, 0);
}

/* ---- refresh_token ---- */

static size_t split(char *list, const char **ret, size_t max) {
        char *save = NULL;
        size_t n = 0;

        for (char *p = strtok_r(list, " ", &save); p && n < max; p = strtok_r(NULL, " ", &save))
                ret[n++] = p;
        return n;
}

/* {"ok", subject, roles, scopes, scoped, key} */
static int take_session(AuthRequest *q, const MamRedisReply *reply) {
        const char *scopes = mam_redis_text(mam_redis_item(reply, 3), NULL);
        bool scoped = strcmp(mam_redis_text(mam_redis_item(reply, 4), NULL), "1") == 0;
        const char *key = mam_redis_text(mam_redis_item(reply, 5), NULL);
        _cleanup_(mam_freep) char *roles = NULL, *chosen = NULL;
        const char *list[MAM_IDENTITY_ROLES_MAX];
        bool offline;
        int r;

        if (*key && key_table_is_loaded(q->access->keys) &&
            !key_table_is_valid(q->access->keys, key, mam_now_realtime())) {
                (void) session_end(
                                q->access->redis,
                                NULL,
                                q->session,
                                auth_now_sec(),
                                q->access->config->auth.access_usec / MAM_USEC_PER_SEC + 60,
                                NULL,
                                NULL);
                return auth_error(q, 400, "invalid_grant", "The API key of this session is none any more");
        }
        roles = strdup(mam_redis_text(mam_redis_item(reply, 2), NULL));
        if (!roles)
                return -ENOMEM;
        r = choose_scopes(&chosen, q->scopes, scoped ? scopes : NULL, &offline);
        if (r < 0)
                return r;
        if (r == 0)
                return auth_error(q, 400, "invalid_scope", "The session does not have all of these scopes");
        r = caller_new(&q->caller,
                       &(CallerSpec){
                                       .kind = CALLER_TOKEN,
                                       .subject = mam_redis_text(mam_redis_item(reply, 1), NULL),
                                       .roles = list,
                                       .n_roles = split(roles, list, MAM_ELEMENTSOF(list)),
                                       .key = *key ? key : NULL,
                                       .session = q->session,
                                       .expires_sec = UINT64_MAX,
                       });
        return r < 0 ? r : answer_tokens(q, chosen, q->number + 1);
}

static void on_refreshed(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata) {
        AuthRequest *q = userdata;
        const char *word = mam_redis_text(mam_redis_item(reply, 0), NULL);

        if (error < 0)
                answer_or_fail(q, auth_unavailable(q));
        else if (strcmp(word, "ok") == 0)
                answer_or_fail(q, q->x ? take_session(q, reply) : 0);
        else {
                if (strcmp(word, "reuse") == 0)
                        access_audit_reuse(
                                        q->access,
                                        q->x,
                                        mam_redis_text(mam_redis_item(reply, 1), NULL),
                                        q->session);
                answer_or_fail(q, auth_error(q, 400, "invalid_grant", "The refresh token is not valid"));
        }
}

static int refresh_token(AuthRequest *q, const OauthForm *form) {
        const char *token = oauth_form_get(form, "refresh_token"), *scope = oauth_form_get(form, "scope");
        const MamGatewayAuth *auth = &q->access->config->auth;
        int r;

        if (!token)
                return auth_error(q, 400, "invalid_request", "refresh_token is needed");
        r = refresh_token_parse(
                        token,
                        strlen(token),
                        q->access->secret,
                        q->access->secret_size,
                        q->session,
                        &q->number);
        if (r < 0)
                return r;
        if (r == 0)
                return auth_error(q, 400, "invalid_grant", "The refresh token is not valid");
        if (scope) {
                q->scopes = strdup(scope);
                if (!q->scopes)
                        return -ENOMEM;
        }
        if (!q->access->redis)
                return auth_unavailable(q);
        r =
                        session_refresh(q->access->redis,
                                        q->session,
                                        q->number,
                                        auth_now_sec(),
                                        auth->refresh_usec / MAM_USEC_PER_SEC,
                                        auth->access_usec / MAM_USEC_PER_SEC + 60,
                                        on_refreshed,
                                        q);
        return auth_asked(q, r);
}

int auth_handle_token(AuthRequest *q, const OauthForm *form) {
        const char *grant = oauth_form_get(form, "grant_type");

        if (!q->access->signing_key || !q->access->secret) {
                (void) mam_http_exchange_add_field(q->x, "Retry-After", "60");
                return mam_http_exchange_problem(q->x, 503, NULL, "This gateway has no key to sign with");
        }
        if (!grant)
                return auth_error(q, 400, "invalid_request", "grant_type is needed");
        if (strcmp(grant, "client_credentials") == 0)
                return client_credentials(q, form);
        if (strcmp(grant, "refresh_token") == 0)
                return refresh_token(q, form);
        return auth_error(
                        q,
                        400,
                        "unsupported_grant_type",
                        "There are client_credentials and refresh_token");
}
