/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Whose tokens are believed, and who a token says to be
 *
 * The subject of a foreign token is "ISSUER#sub": what two issuers call "1" are two, and neither is mam's
 * own.
 */

#include <assert.h>
#include <string.h>

#include "api-gateway/access-internal.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"

#include "mam-build.h"

#define ISSUER_MAX 1024U

/* ---- who it is ---- */

/* The lists of a token while it is read; what they point to lives as long as its claims. */
typedef struct Claims {
        const char *roles[MAM_IDENTITY_ROLES_MAX];
        size_t n_roles;
        const char *scopes[CALLER_SCOPES_MAX];
        size_t n_scopes;
        CallerProjectRole projects[CALLER_PROJECTS_MAX];
        size_t n_projects;
} Claims;

static const char *text_of(json_object *o) {
        if (!json_object_is_type(o, json_type_string) ||
            strlen(json_object_get_string(o)) != (size_t) json_object_get_string_len(o))
                return NULL;
        return json_object_get_string(o);
}

/* A name that may travel in a list in a header field. */
static bool name_is_fit(const char *s) {
        size_t n = 0;

        for (; s[n]; n++)
                if ((unsigned char) s[n] <= ' ' || (unsigned char) s[n] >= 0x7f || s[n] == ',' || n >= 64)
                        return false;
        return n > 0;
}

static bool role_counts(const MamIssuerConfig *config, const char *role) {
        if (!name_is_fit(role))
                return false;
        if (!config)
                return true;
        if (!config->roles)
                return strcmp(role, "admin") != 0;
        for (char **r = config->roles; *r; r++)
                if (strcmp(*r, role) == 0)
                        return true;
        return false;
}

/* The member that a name leads to: dotted, but names that are addresses have dots of their own. Borrowed, or
 * NULL. */
static json_object *find_claim(json_object *o, const char *name) {
        while (o && *name) {
                size_t n = strcspn(name, ".");
                char part[128];
                json_object *whole;

                if (n >= sizeof(part) || !json_object_is_type(o, json_type_object))
                        return NULL;
                if (json_object_object_get_ex(o, name, &whole))
                        return whole;
                memcpy(part, name, n);
                part[n] = '\0';
                if (!json_object_object_get_ex(o, part, &o))
                        return NULL;
                name += name[n] == '.' ? n + 1 : n;
        }
        return o;
}

static void read_roles(Claims *c, const MamIssuerConfig *config, json_object *list) {
        size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;

        for (size_t i = 0; i < n && c->n_roles < MAM_IDENTITY_ROLES_MAX; i++) {
                const char *role = text_of(json_object_array_get_idx(list, i));

                if (role && role_counts(config, role))
                        c->roles[c->n_roles++] = role;
        }
}

static void add_project(Claims *c, const MamIssuerConfig *config, const char *project, json_object *role) {
        const char *text = text_of(role);

        if (c->n_projects < CALLER_PROJECTS_MAX && name_is_fit(project) && text && role_counts(config, text))
                c->projects[c->n_projects++] = (CallerProjectRole){ project, text };
}

/* {"DEMO": ["editor"], "OTHER": "viewer"} */
static void read_projects(Claims *c, const MamIssuerConfig *config, json_object *object) {
        if (!json_object_is_type(object, json_type_object))
                return;
        json_object_object_foreach(object, project, roles) {
                if (!json_object_is_type(roles, json_type_array)) {
                        add_project(c, config, project, roles);
                        continue;
                }
                for (size_t i = 0; i < json_object_array_length(roles); i++)
                        add_project(c, config, project, json_object_array_get_idx(roles, i));
        }
}

/* "scope", separated by spaces (RFC 8693), within a copy; or "scp", a list. true: the token has either. */
static bool read_scopes(Claims *c, json_object *all, char **copy) {
        json_object *list = find_claim(all, "scp");
        const char *scope = text_of(find_claim(all, "scope"));
        char *save = NULL;

        if (scope) {
                *copy = strdup(scope);
                for (char *s = *copy ? strtok_r(*copy, " ", &save) : NULL;
                     s && c->n_scopes < CALLER_SCOPES_MAX;
                     s = strtok_r(NULL, " ", &save))
                        if (name_is_fit(s))
                                c->scopes[c->n_scopes++] = s;
                return true;
        }
        if (!json_object_is_type(list, json_type_array))
                return false;
        for (size_t i = 0; i < json_object_array_length(list) && c->n_scopes < CALLER_SCOPES_MAX; i++) {
                const char *s = text_of(json_object_array_get_idx(list, i));

                if (s && name_is_fit(s))
                        c->scopes[c->n_scopes++] = s;
        }
        return true;
}

/* The caller that verified claims stand for. 0, -EINVAL: not fit, -ENOMEM. */
static int make_caller(Caller **ret, const AccessIssuer *issuer, const MamJwtClaims *claims) {
        const MamIssuerConfig *config = issuer->config;
        _cleanup_(mam_freep) char *subject = NULL, *scopes = NULL;
        json_object *issued = find_claim(claims->all, "iat");
        Claims c = { 0 };
        bool scoped;

        if (config && asprintf(&subject, "%s#%s", config->issuer, claims->subject) < 0) {
                subject = NULL;
                return -ENOMEM;
        }
        read_roles(&c, config, find_claim(claims->all, config ? config->roles_claim : "roles"));
        read_projects(&c,
                      config,
                      find_claim(claims->all, config ? config->projects_claim : "project_roles"));
        scoped = read_scopes(&c, claims->all, &scopes);
        return caller_new(
                        ret,
                        &(CallerSpec){
                                        .kind = CALLER_TOKEN,
                                        .subject = subject ? subject : claims->subject,
                                        .roles = c.roles,
                                        .n_roles = c.n_roles,
                                        .scopes = c.scopes,
                                        .n_scopes = c.n_scopes,
                                        .scoped = scoped,
                                        .projects = c.projects,
                                        .n_projects = c.n_projects,
                                        .issuer = config ? config->issuer : NULL,
                                        .token = text_of(find_claim(claims->all, "jti")),
                                        .session = config ? NULL : text_of(find_claim(claims->all, "sid")),
                                        .key = config ? NULL : text_of(find_claim(claims->all, "client_id")),
                                        .claims = claims->all,
                                        .issued_sec = json_object_is_type(issued, json_type_int) &&
                                                                                      json_object_get_int64(
                                                                                                      issued) >
                                                                                                      0
                                                                      ? (uint64_t) json_object_get_int64(
                                                                                        issued)
                                                                      : 0,
                                        .expires_sec = claims->expires_sec,
                        });
}

/* ---- tokens ---- */

static AccessIssuer *find_issuer(Access *a, const char *token, size_t size) {
        char issuer[ISSUER_MAX];

        if (!mam_jwt_claimed_issuer(issuer, sizeof(issuer), token, size))
                return NULL;
        for (size_t i = 0; i < a->n_issuers; i++)
                if (strcmp(a->issuers[i]->config ? a->issuers[i]->config->issuer : ACCESS_OWN_ISSUER,
                           issuer) == 0)
                        return a->issuers[i];
        return NULL;
}

static int verify(
                const AccessIssuer *i,
                MamJwtClaims *ret,
                const char *token,
                size_t size,
                uint64_t now_sec) {
        const MamJwtRules rules = {
                .issuer = i->config ? i->config->issuer : ACCESS_OWN_ISSUER,
                .audience = i->config ? i->config->audience : ACCESS_OWN_ISSUER,
                .skew_sec = i->config ? i->config->skew_usec / MAM_USEC_PER_SEC : 60,
                .other_roles = i->config != NULL,
        };

        if (!mam_key_source_keys(i->keys))
                return MAM_JWT_E_UNKNOWN_KEY;
        return mam_jwt_verify_by(ret, mam_key_source_keys(i->keys), token, size, &rules, now_sec);
}

int access_token(Access *a, const char *token, size_t size, Caller **ret, const char **ret_reason) {
        _cleanup_(mam_jwt_claims_done) MamJwtClaims claims = { 0 };
        uint64_t now_usec = 0, now_sec = mam_now_realtime() / MAM_USEC_PER_SEC;
        AccessIssuer *i = find_issuer(a, token, size);
        int r;

        if (!i) {
                *ret_reason = "not a token, or of an unknown issuer";
                return CREDENTIAL_BAD;
        }
        (void) sd_event_now(a->event, CLOCK_MONOTONIC, &now_usec);
        mam_key_source_look(i->keys, false, now_usec);
        r = verify(i, &claims, token, size, now_sec);
        if (r == MAM_JWT_E_UNKNOWN_KEY) {
                mam_key_source_look(i->keys, true, now_usec);
                r = verify(i, &claims, token, size, now_sec);
        }
        if (r == MAM_JWT_E_UNKNOWN_KEY && mam_key_source_is_busy(i->keys)) {
                *ret_reason = "the issuer's keys are being fetched";
                return CREDENTIAL_UNAVAILABLE;
        }
        if (r < 0)
                return r;
        if (r != MAM_JWT_OK) {
                *ret_reason = mam_jwt_result_to_string(r);
                return CREDENTIAL_BAD;
        }

        r = make_caller(ret, i, &claims);
        if (r == -EINVAL) {
                *ret_reason = "its claims are not fit to be passed on";
                return CREDENTIAL_BAD;
        }
        if (r < 0)
                return r;
        if (!i->config && (revoked_has(a->revoked, 't', (*ret)->token, now_sec) ||
                           revoked_has(a->revoked, 's', (*ret)->session, now_sec))) {
                *ret = caller_unref(*ret);
                *ret_reason = "it was revoked";
                return CREDENTIAL_BAD;
        }
        if ((*ret)->key && key_table_is_loaded(a->keys) &&
            !key_table_is_valid(a->keys, (*ret)->key, now_sec * MAM_USEC_PER_SEC)) {
                *ret = caller_unref(*ret);
                *ret_reason = "the API key that it was issued for is none any more";
                return CREDENTIAL_BAD;
        }
        return CREDENTIAL_OK;
}

/* ---- the list ---- */

static void on_keys_changed(MamKeySource *s, const char *problem, void *userdata) {
        AccessIssuer *i = userdata;
        _cleanup_(mam_freep) char *field = NULL;

        if (asprintf(&field, "MAM_FILE=%s", mam_key_source_place(s)) < 0)
                field = NULL;
        if (problem) {
                mam_log_full(LOG_WARNING,
                             MAM_MESSAGE_KEYS_BAD,
                             (const char *[]){ field, NULL },
                             "Cannot use the keys in %s: %s",
                             mam_key_source_place(s),
                             problem);
                return;
        }
        mam_log_full(LOG_INFO,
                     MAM_MESSAGE_KEYS_LOADED,
                     (const char *[]){ field, NULL },
                     "Loaded the keys in %s",
                     mam_key_source_place(s));
        caller_cache_drop(i->access->cache, NULL, NULL);
}

static AccessIssuer *issuer_free(AccessIssuer *i) {
        if (!i)
                return NULL;

        mam_key_source_free(i->keys);
        free(i);
        return NULL;
}

MAM_DEFINE_CLEANUP(AccessIssuer, issuer_free);

static int issuer_new(AccessIssuer **ret, Access *a, const MamIssuerConfig *config) {
        const char *own = getenv("MAM_JWKS");
        _cleanup_(issuer_freep) AccessIssuer *i = NULL;
        int r;

        i = calloc(1, sizeof(*i));
        if (!i)
                return -ENOMEM;
        i->access = a;
        i->config = config;
        if (!config || config->jwks_file)
                r = mam_key_source_new_file(
                                &i->keys,
                                config        ? config->jwks_file
                                : own && *own ? own
                                              : MAM_STATE_DIR "/keys/jwks.json",
                                on_keys_changed,
                                i);
        else {
                r = a->fetcher ? 0 : mam_fetcher_new(&a->fetcher, a->event, "mam-api-gateway");
                if (r >= 0)
                        r = mam_key_source_new_url(
                                        &i->keys,
                                        a->event,
                                        a->fetcher,
                                        config->jwks_url,
                                        config->refresh_usec,
                                        on_keys_changed,
                                        i);
        }
        if (r < 0)
                return r;

        *ret = MAM_TAKE(i);
        return 0;
}

static bool same_text(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

/* What decides where keys come from; the rest may change under a key source. */
static bool same_source(const MamIssuerConfig *a, const MamIssuerConfig *b) {
        if (!a || !b)
                return a == b;
        return same_text(a->issuer, b->issuer) && same_text(a->jwks_url, b->jwks_url) &&
               same_text(a->jwks_file, b->jwks_file) && a->refresh_usec == b->refresh_usec;
}

static AccessIssuer *take_issuer(Access *a, const MamIssuerConfig *config) {
        for (size_t i = 0; i < a->n_issuers; i++)
                if (a->issuers[i] && same_source(a->issuers[i]->config, config))
                        return MAM_TAKE(a->issuers[i]);
        return NULL;
}

void access_issuers_done(Access *a) {
        for (size_t i = 0; i < a->n_issuers; i++)
                issuer_free(a->issuers[i]);
        free(a->issuers);
        a->issuers = NULL;
        a->n_issuers = 0;
}

int access_issuers_configure(Access *a, const MamGatewayAuth *auth) {
        size_t n = auth->n_issuers + 1;
        AccessIssuer **made;
        int r = 0;

        /* First all that is new, so that an error leaves what there is. */
        made = calloc(n, sizeof(AccessIssuer *));
        if (!made)
                return -ENOMEM;
        for (size_t i = 0; i < n && r >= 0; i++) {
                const MamIssuerConfig *config = i == 0 ? NULL : &auth->issuers[i - 1];
                bool known = false;

                for (size_t k = 0; k < a->n_issuers; k++)
                        known = known || same_source(a->issuers[k]->config, config);
                if (!known)
                        r = issuer_new(&made[i], a, config);
        }
        if (r < 0) {
                for (size_t i = 0; i < n; i++)
                        issuer_free(made[i]);
                free(made);
                return r;
        }

        for (size_t i = 0; i < n; i++) {
                const MamIssuerConfig *config = i == 0 ? NULL : &auth->issuers[i - 1];

                if (!made[i])
                        made[i] = take_issuer(a, config);
                made[i]->config = config;
        }
        access_issuers_done(a);
        a->issuers = made;
        a->n_issuers = n;
        return 0;
}
