/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "auth" of the gateway, and of a route
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "libmam/config/config-gateway-auth.h"
#include "libmam/util/time.h"

#define MINUTE_USEC (60 * MAM_USEC_PER_SEC)
#define HOUR_USEC   (60 * MINUTE_USEC)
#define DAY_USEC    (24 * HOUR_USEC)

static const char *const audit_levels[] = { "denied", "all", "off", NULL };

const char *mam_audit_level_to_string(MamAuditLevel l) {
        return (unsigned) l < _MAM_AUDIT_LEVEL_MAX ? audit_levels[l] : NULL;
}

bool mam_auth_name_is_good(const char *text) {
        size_t n = strlen(text);

        if (n == 0 || n > 64)
                return false;
        for (size_t i = 0; i < n; i++)
                if (text[i] <= ' ' || text[i] >= 0x7f || strchr(",\"\\", text[i]))
                        return false;
        return true;
}

/* ---- "auth" of a route ---- */

void mam_route_auth_done(MamRouteAuth *a) {
        mam_config_free_strings(a->roles);
        mam_config_free_strings(a->scopes);
        *a = (MamRouteAuth){ 0 };
}

static void read_names(MamReader *rd, json_object *o, const char *parent, const char *key, char ***to) {
        if (!mam_reader_get_texts(
                            rd,
                            o,
                            parent,
                            key,
                            MAM_AUTH_LIST_MAX,
                            mam_auth_name_is_good,
                            MAM_AUTH_NAME_WHAT,
                            to))
                return;
        if (*to && !**to) /* nobody could pass; whoever wants that leaves the route out */
                mam_reader_bad_key(rd, parent, key, "must have an entry");
}

void mam_config_read_route_auth(MamReader *rd, json_object *o, const char *parent, MamRouteAuth *ret) {
        static const char *const known[] = { "anonymous", "roles", "scopes", NULL };
        json_object *auth = NULL;
        char inner[128];

        if (!json_object_object_get_ex(o, "auth", &auth) || !auth)
                return;
        if (json_object_is_type(auth, json_type_string)) {
                if (strcmp(json_object_get_string(auth), "none") == 0)
                        ret->anonymous = true;
                else if (strcmp(json_object_get_string(auth), "required") != 0)
                        mam_reader_bad_key(
                                        rd,
                                        parent,
                                        "auth",
                                        "must be \"required\", \"none\" or an object with \"roles\", \"scopes\" or \"anonymous\"");
                return;
        }
        if (!mam_reader_get_section(rd, o, parent, "auth", known, inner, &auth))
                return;
        (void) mam_reader_get_bool(rd, auth, inner, "anonymous", &ret->anonymous);
        read_names(rd, auth, inner, "roles", &ret->roles);
        read_names(rd, auth, inner, "scopes", &ret->scopes);
        if (ret->anonymous && (ret->roles || ret->scopes))
                mam_reader_bad_key(
                                rd,
                                parent,
                                "auth",
                                "cannot be for everybody and ask for roles or scopes at once");
}

/* ---- lists of objects ---- */

typedef void (*ReadItem)(MamReader *rd, json_object *o, const char *parent, void *item);

/* An array of objects into a new array of structs. */
static void read_objects(
                MamReader *rd,
                json_object *o,
                const char *parent,
                const char *key,
                size_t max,
                size_t item_size,
                const char *const *known,
                ReadItem read_item,
                void **ret,
                size_t *ret_n) {
        json_object *array;
        MamJsonError error;
        size_t n;
        int r;

        r = mam_json_get_array(o, parent, key, &array, &error);
        if (r < 0)
                mam_reader_bad(rd, &error);
        if (r <= 0)
                return;
        n = json_object_array_length(array);
        if (n > max) {
                mam_reader_bad_key(rd, parent, key, "must not have more than %zu entries", max);
                return;
        }
        *ret = calloc(n ?: 1, item_size);
        if (!*ret) {
                mam_reader_note(rd, -ENOMEM);
                return;
        }
        for (size_t i = 0; i < n; i++) {
                json_object *item = json_object_array_get_idx(array, i);
                char inner[128], outer[96], index[24];

                (void) snprintf(outer, sizeof(outer), "%.64s/%s", parent, key);
                (void) snprintf(index, sizeof(index), "%zu", i);
                if (!json_object_is_type(item, json_type_object)) {
                        mam_reader_bad_key(rd, outer, index, "must be an object");
                        continue;
                }
                (void) snprintf(inner, sizeof(inner), "%s/%s", outer, index);
                mam_reader_note(rd, mam_config_warn_unknown(rd->file, item, inner, known));
                read_item(rd, item, inner, (char *) *ret + i * item_size);
        }
        *ret_n = n;
}

static bool text_is_good(const char *text, size_t max) {
        size_t n = strlen(text);

        if (n == 0 || n > max)
                return false;
        for (size_t i = 0; i < n; i++)
                if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '"' || text[i] == '\\')
                        return false;
        return true;
}

/* A text without spaces that must be there. */
static void read_needed(MamReader *rd, json_object *o, const char *parent, const char *key, char **to) {
        if (mam_reader_get_copy(rd, o, parent, key, to)) {
                if (*to && !text_is_good(*to, 1024))
                        mam_reader_bad_key(rd, parent, key, "must be a text without spaces and quotes");
        } else if (!rd->bad)
                mam_reader_bad_key(rd, parent, key, "is needed");
}

/* ---- issuers ---- */

static bool url_is_good(const char *url) {
        size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;

        return scheme > 0 && text_is_good(url, 1024) && url[scheme] != '\0' && url[scheme] != '/' &&
               !strchr(url, '@') && !strchr(url, '#');
}

static void read_issuer(MamReader *rd, json_object *o, const char *parent, void *item) {
        MamIssuerConfig *i = item;

        i->refresh_usec = HOUR_USEC;
        i->skew_usec = MINUTE_USEC;
        read_needed(rd, o, parent, "issuer", &i->issuer);
        read_needed(rd, o, parent, "audience", &i->audience);
        if (i->issuer && strcmp(i->issuer, "mam") == 0)
                mam_reader_bad_key(rd, parent, "issuer", "is mam's own, which needs no entry");
        (void) mam_reader_get_copy(rd, o, parent, "jwksUrl", &i->jwks_url);
        (void) mam_reader_get_copy(rd, o, parent, "jwksFile", &i->jwks_file);
        if (i->jwks_url && !url_is_good(i->jwks_url))
                mam_reader_bad_key(
                                rd,
                                parent,
                                "jwksUrl",
                                "must be an http:// or https:// address without user and password");
        if (i->jwks_file && i->jwks_file[0] != '/')
                mam_reader_bad_key(rd, parent, "jwksFile", "must be an absolute path");
        if (!i->jwks_url == !i->jwks_file)
                mam_reader_bad_key(rd, parent, "jwksUrl", "is needed, or jwksFile, and not both");
        mam_reader_copy(rd, &i->roles_claim, "roles");
        mam_reader_copy(rd, &i->projects_claim, "project_roles");
        (void) mam_reader_get_copy(rd, o, parent, "rolesClaim", &i->roles_claim);
        (void) mam_reader_get_copy(rd, o, parent, "projectsClaim", &i->projects_claim);
        read_names(rd, o, parent, "roles", &i->roles);
        mam_reader_span(rd,
                        o,
                        parent,
                        "refresh",
                        MINUTE_USEC,
                        7 * DAY_USEC,
                        "a time from 1min to 7d",
                        &i->refresh_usec);
        mam_reader_span(rd,
                        o,
                        parent,
                        "clockSkew",
                        0,
                        10 * MINUTE_USEC,
                        "a time from 0 to 10min",
                        &i->skew_usec);
}

/* ---- certificates ---- */

static bool fingerprint_normalize(char *text) {
        char *to = text;

        for (const char *c = text; *c; c++) {
                if (*c == ':')
                        continue;
                if (!strchr("0123456789abcdefABCDEF", *c))
                        return false;
                *to++ = *c >= 'A' && *c <= 'F' ? (char) (*c - 'A' + 'a') : *c;
        }
        *to = '\0';
        return to - text == 64;
}

static void read_certificate(MamReader *rd, json_object *o, const char *parent, void *item) {
        MamCertificateConfig *c = item;

        read_needed(rd, o, parent, "name", &c->name);
        (void) mam_reader_get_copy(rd, o, parent, "subject", &c->subject);
        (void) mam_reader_get_copy(rd, o, parent, "fingerprint", &c->fingerprint);
        if (!c->subject == !c->fingerprint)
                mam_reader_bad_key(rd, parent, "subject", "is needed, or fingerprint, and not both");
        if (c->fingerprint && !fingerprint_normalize(c->fingerprint))
                mam_reader_bad_key(rd, parent, "fingerprint", "must be a SHA-256 in hexadecimal");
        if (c->subject && c->subject[0] == '\0')
                mam_reader_bad_key(rd, parent, "subject", "must not be empty");
        read_names(rd, o, parent, "roles", &c->roles);
        read_names(rd, o, parent, "scopes", &c->scopes);
}

/* ---- "auth" ---- */

static int auth_init(void *section) {
        MamGatewayAuth *a = section;

        a->required = true;
        a->tokens = true;
        a->access_usec = 5 * MINUTE_USEC;
        a->refresh_usec = 30 * DAY_USEC;
        a->sessions_max = 20;
        a->audit_rate = 50;
        return 0;
}

static void auth_done(void *section) {
        MamGatewayAuth *a = section;

        for (size_t i = 0; i < a->n_issuers; i++) {
                free(a->issuers[i].issuer);
                free(a->issuers[i].audience);
                free(a->issuers[i].jwks_url);
                free(a->issuers[i].jwks_file);
                free(a->issuers[i].roles_claim);
                free(a->issuers[i].projects_claim);
                mam_config_free_strings(a->issuers[i].roles);
        }
        free(a->issuers);
        for (size_t i = 0; i < a->n_certificates; i++) {
                free(a->certificates[i].name);
                free(a->certificates[i].subject);
                free(a->certificates[i].fingerprint);
                mam_config_free_strings(a->certificates[i].roles);
                mam_config_free_strings(a->certificates[i].scopes);
        }
        free(a->certificates);
        mam_grants_free(a->roles, a->n_roles);
        mam_grants_free(a->scopes, a->n_scopes);
        mam_config_free_strings(a->introspectors);
}

static void read_tokens(MamReader *rd, json_object *o, const char *parent, MamGatewayAuth *a) {
        static const char *const known[] = {
                "enabled", "accessLifetime", "refreshLifetime", "sessionsPerSubject", NULL,
        };
        json_object *tokens;
        char inner[128];
        int64_t n;

        if (!mam_reader_get_section(rd, o, parent, "tokens", known, inner, &tokens))
                return;
        (void) mam_reader_get_bool(rd, tokens, inner, "enabled", &a->tokens);
        mam_reader_span(rd,
                        tokens,
                        inner,
                        "accessLifetime",
                        30 * MAM_USEC_PER_SEC,
                        HOUR_USEC,
                        "a time from 30s to 1h",
                        &a->access_usec);
        mam_reader_span(rd,
                        tokens,
                        inner,
                        "refreshLifetime",
                        HOUR_USEC,
                        365 * DAY_USEC,
                        "a time from 1h to 365d",
                        &a->refresh_usec);
        if (mam_reader_get_int(rd, tokens, inner, "sessionsPerSubject", 1, 100, &n))
                a->sessions_max = (uint32_t) n;
}

static void check_unique(MamReader *rd, const char *parent, const MamGatewayAuth *a) {
        for (size_t i = 0; i < a->n_issuers; i++)
                for (size_t k = 0; k < i; k++)
                        if (a->issuers[i].issuer && a->issuers[k].issuer &&
                            strcmp(a->issuers[i].issuer, a->issuers[k].issuer) == 0)
                                mam_reader_bad_key(
                                                rd,
                                                parent,
                                                "issuers",
                                                "must not name \"%s\" twice",
                                                a->issuers[i].issuer);
}

static void read_auth(MamReader *rd, json_object *o, const char *parent, void *section) {
        static const char *const issuer_keys[] = {
                "issuer",        "audience", "jwksUrl", "jwksFile",  "rolesClaim",
                "projectsClaim", "roles",    "refresh", "clockSkew", NULL,
        };
        static const char *const certificate_keys[] = {
                "name", "subject", "fingerprint", "roles", "scopes", NULL,
        };
        MamGatewayAuth *a = section;
        json_object *grants;
        char inner[128];
        unsigned word;
        int64_t n;

        (void) mam_reader_get_bool(rd, o, parent, "required", &a->required);
        read_objects(rd,
                     o,
                     parent,
                     "issuers",
                     MAM_AUTH_ISSUERS_MAX,
                     sizeof(*a->issuers),
                     issuer_keys,
                     read_issuer,
                     (void **) &a->issuers,
                     &a->n_issuers);
        read_objects(rd,
                     o,
                     parent,
                     "certificates",
                     MAM_AUTH_CERTIFICATES_MAX,
                     sizeof(*a->certificates),
                     certificate_keys,
                     read_certificate,
                     (void **) &a->certificates,
                     &a->n_certificates);
        check_unique(rd, parent, a);
        if (mam_reader_get_section(rd, o, parent, "roles", NULL, inner, &grants))
                mam_config_read_grants(rd, grants, inner, false, &a->roles, &a->n_roles);
        if (mam_reader_get_section(rd, o, parent, "scopes", NULL, inner, &grants))
                mam_config_read_grants(rd, grants, inner, false, &a->scopes, &a->n_scopes);
        read_tokens(rd, o, parent, a);
        read_names(rd, o, parent, "introspect", &a->introspectors);
        if (mam_reader_get_word(rd, o, parent, "audit", audit_levels, &word))
                a->audit = (MamAuditLevel) word;
        if (mam_reader_get_int(rd, o, parent, "auditRate", 1, 10000, &n))
                a->audit_rate = (uint32_t) n;
}

static const char *const auth_keys[] = {
        "required", "issuers",    "certificates", "roles",     "scopes",
        "tokens",   "introspect", "audit",        "auditRate", NULL,
};

const MamGatewaySection mam_gateway_section_auth = {
        .name = "auth",
        .offset = offsetof(MamGatewayConfig, auth),
        .known = auth_keys,
        .init = auth_init,
        .read = read_auth,
        .done = auth_done,
};
