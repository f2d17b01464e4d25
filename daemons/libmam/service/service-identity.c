/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who asks
 *
 * On the replica socket the kernel says who is at the other end: what the gateway's user sends as
 * Mam-Subject and Mam-Roles is believed, from anybody else these fields are nothing. In all other cases a
 * bearer token is verified here. The key file is looked at no more than once a second while tokens come, and
 * at once (at most ten times a second) when a token names a key that is not known: nothing is watched while
 * nothing happens.
 */

#include <assert.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "libmam/auth/jwt.h"
#include "libmam/obs/log.h"
#include "libmam/obs/message-ids.h"
#include "libmam/service/service-internal.h"
#include "libmam/util/file.h"
#include "libmam/util/time.h"

#define JWKS_SIZE_MAX        (256U * 1024U)
#define LOOK_INTERVAL_USEC   MAM_USEC_PER_SEC
#define UNKNOWN_KEY_INTERVAL (100 * MAM_USEC_PER_MSEC)

struct MamIdentityChecker {
        char *jwks_path;          /* owned */
        MamJwtVerifier *verifier; /* owned; NULL until keys could be loaded */
        struct stat seen;         /* the file that was tried last */
        bool bad;                 /* it could not be used, and that was said */
        uint64_t looked_usec;     /* monotonic */
        uid_t gateway_uid;        /* MAM_SERVICE_NO_UID: no such user */
};

MamIdentityChecker *mam_identity_checker_free(MamIdentityChecker *c) {
        if (!c)
                return NULL;

        mam_jwt_verifier_free(c->verifier);
        free(c->jwks_path);
        free(c);
        return NULL;
}

uid_t mam_service_user(const char *name) {
        struct passwd pw, *found = NULL;
        char buffer[4096];

        assert(name);

        if (getpwnam_r(name, &pw, buffer, sizeof(buffer), &found) != 0 || !found || found->pw_uid == 0)
                return MAM_SERVICE_NO_UID;
        return found->pw_uid;
}

int mam_identity_checker_new(MamIdentityChecker **ret, const char *jwks_path, const char *gateway_user) {
        _cleanup_(mam_identity_checker_freep) MamIdentityChecker *c = NULL;

        assert(ret);
        assert(jwks_path);
        assert(gateway_user);

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->gateway_uid = mam_service_user(gateway_user);
        c->jwks_path = strdup(jwks_path);
        if (!c->jwks_path)
                return -ENOMEM;

        *ret = MAM_TAKE(c);
        return 0;
}

static int keys_load(MamIdentityChecker *c, const char **ret_reason) {
        _cleanup_(mam_jwks_freep) MamJwks *keys = NULL;
        _cleanup_(mam_freep) char *text = NULL;
        size_t size;
        int r;

        r = mam_file_read(&text, &size, c->jwks_path, JWKS_SIZE_MAX);
        if (r < 0) {
                *ret_reason = strerrordesc_np(-r);
                return r;
        }
        r = mam_jwks_parse(&keys, text, size, ret_reason);
        if (r < 0)
                return r;
        if (mam_jwks_size(keys) == 0) {
                *ret_reason = "no usable key in it";
                return -EBADMSG;
        }

        if (c->verifier) {
                mam_jwt_verifier_set_keys(c->verifier, MAM_TAKE(keys));
                return 0;
        }
        /* The keys are taken in any case. */
        return mam_jwt_verifier_new(&c->verifier, MAM_TAKE(keys), "mam", "mam");
}

static bool same_file(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
               a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Loads the keys if the file is another than last time and at least interval_usec have passed. */
static void keys_look(MamIdentityChecker *c, uint64_t interval_usec) {
        const char *fields[] = { NULL, NULL }, *reason = "unknown reason";
        _cleanup_(mam_freep) char *field = NULL;
        uint64_t now = mam_now_monotonic();
        struct stat st = { 0 };
        int r;

        if (c->looked_usec != 0 && now < c->looked_usec + interval_usec)
                return;
        c->looked_usec = now;

        /* A missing file is tried as well: that is how it comes to be said. */
        if (stat(c->jwks_path, &st) < 0)
                st = (struct stat){ 0 };
        if (same_file(&st, &c->seen) && (c->verifier || c->bad))
                return;
        c->seen = st;

        if (asprintf(&field, "MAM_FILE=%s", c->jwks_path) < 0)
                field = NULL;
        fields[0] = field;
        r = keys_load(c, &reason);
        c->bad = r < 0;
        if (r < 0)
                mam_log_full(LOG_WARNING,
                             MAM_MESSAGE_KEYS_BAD,
                             fields,
                             "Cannot use the keys in %s: %s",
                             c->jwks_path,
                             reason);
        else
                mam_log_full(LOG_INFO,
                             MAM_MESSAGE_KEYS_LOADED,
                             fields,
                             "Loaded the keys in %s",
                             c->jwks_path);
}

/* Copies subject and roles into one allocation that the identity points into. */
static int identity_fill(
                MamIdentity *ret,
                char **ret_text,
                const char *subject,
                const char *const *roles,
                size_t n_roles) {
        MamIdentity i = { .authenticated = true };
        size_t size = strlen(subject) + 1;
        char *text, *p;

        if (n_roles > MAM_IDENTITY_ROLES_MAX)
                n_roles = MAM_IDENTITY_ROLES_MAX; /* fewer rights, never more */
        for (size_t k = 0; k < n_roles; k++)
                size += strlen(roles[k]) + 1;

        text = malloc(size);
        if (!text)
                return -ENOMEM;

        p = stpcpy(text, subject) + 1;
        i.subject = text;
        for (size_t k = 0; k < n_roles; k++) {
                i.roles[i.n_roles++] = p;
                p = stpcpy(p, roles[k]) + 1;
        }

        *ret = i;
        *ret_text = text;
        return MAM_IDENTITY_OK;
}

static int from_gateway(MamHttpExchange *x, MamIdentity *ret, char **ret_text) {
        const char *subject = mam_http_exchange_header(x, "Mam-Subject"), *roles[MAM_IDENTITY_ROLES_MAX];
        _cleanup_(mam_freep) char *list = NULL;
        const char *value = mam_http_exchange_header(x, "Mam-Roles");
        char *save = NULL, *role;
        size_t n = 0;

        if (!subject || *subject == '\0')
                return MAM_IDENTITY_NONE;

        list = strdup(value ? value : "");
        if (!list)
                return -ENOMEM;
        for (role = strtok_r(list, ", \t", &save); role && n < MAM_ELEMENTSOF(roles);
             role = strtok_r(NULL, ", \t", &save))
                roles[n++] = role;
        return identity_fill(ret, ret_text, subject, roles, n);
}

/* The token of the one "Authorization: Bearer …" field. MAM_IDENTITY_OK, _NONE (no such field, or another
 * scheme) or _BAD. */
static int bearer_token(MamHttpExchange *x, MamHttpRange *ret, const char **ret_reason) {
        const MamHttpHead *head = mam_http_exchange_head(x);
        const MamHttpField *field = NULL;
        MamHttpRange v;

        for (size_t i = 0; i < head->n_fields; i++) {
                if (!mam_http_range_equal_fold(head->fields[i].name, "Authorization"))
                        continue;
                if (field) {
                        *ret_reason = "more than one Authorization field";
                        return MAM_IDENTITY_BAD;
                }
                field = &head->fields[i];
        }
        if (!field)
                return MAM_IDENTITY_NONE;

        v = field->value;
        if (v.size < 7 || strncasecmp(v.data, "Bearer ", 7) != 0)
                return MAM_IDENTITY_NONE;
        v.data += 7;
        v.size -= 7;
        while (v.size > 0 && *v.data == ' ') {
                v.data++;
                v.size--;
        }
        if (v.size == 0 || v.size > MAM_JWT_SIZE_MAX) {
                *ret_reason = v.size == 0 ? "empty token" : "token too long";
                return MAM_IDENTITY_BAD;
        }
        *ret = v;
        return MAM_IDENTITY_OK;
}

static int from_token(
                MamIdentityChecker *c,
                MamHttpExchange *x,
                MamIdentity *ret,
                char **ret_text,
                const char **ret_reason) {
        const MamJwtClaims *claims = NULL;
        MamHttpRange token = { 0 };
        uint64_t now;
        int r;

        r = bearer_token(x, &token, ret_reason);
        if (r != MAM_IDENTITY_OK)
                return r;

        keys_look(c, LOOK_INTERVAL_USEC);
        if (!c->verifier)
                keys_look(c, UNKNOWN_KEY_INTERVAL);
        if (!c->verifier) {
                *ret_reason = "no keys are loaded";
                return MAM_IDENTITY_BAD;
        }

        now = mam_now_realtime() / MAM_USEC_PER_SEC;
        r = mam_jwt_verifier_check(c->verifier, &claims, token.data, token.size, now);
        if (r == MAM_JWT_E_UNKNOWN_KEY) {
                keys_look(c, UNKNOWN_KEY_INTERVAL);
                r = mam_jwt_verifier_check(c->verifier, &claims, token.data, token.size, now);
        }
        if (r < 0)
                return r;
        if (r != MAM_JWT_OK) {
                *ret_reason = mam_jwt_result_to_string(r);
                return MAM_IDENTITY_BAD;
        }
        return identity_fill(
                        ret,
                        ret_text,
                        claims->subject,
                        (const char *const *) claims->roles,
                        claims->n_roles);
}

bool mam_service_peer_is(const MamHttpExchange *x, uid_t uid) {
        uid_t peer = MAM_SERVICE_NO_UID;

        assert(x);

        return uid != MAM_SERVICE_NO_UID && mam_http_exchange_listener_tag(x) == MAM_LISTENER_REPLICA &&
               mam_http_exchange_peer_uid(x, &peer) >= 0 && peer == uid;
}

int mam_identity_check(
                MamIdentityChecker *c,
                MamHttpExchange *x,
                MamIdentity *ret,
                char **ret_text,
                const char **ret_reason) {
        assert(c);
        assert(x);
        assert(ret);
        assert(ret_text);
        assert(ret_reason);

        if (mam_service_peer_is(x, c->gateway_uid))
                return from_gateway(x, ret, ret_text);
        return from_token(c, x, ret, ret_text, ret_reason);
}

bool mam_identity_has_role(const MamIdentity *i, const char *role) {
        if (!i || !i->authenticated || !role)
                return false;
        for (size_t k = 0; k < i->n_roles; k++)
                if (strcmp(i->roles[k], role) == 0 || strcmp(i->roles[k], "admin") == 0)
                        return true;
        return false;
}
