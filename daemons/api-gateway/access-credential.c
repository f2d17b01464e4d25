/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Who asks: what a request shows
 */

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api-gateway/access-internal.h"

/* What a request shows in its fields. */
typedef struct Shown {
        MamHttpRange token; /* of "Authorization: Bearer …", or of X-API-Key */
        bool is_key_field;
} Shown;

static MamHttpRange without_spaces(MamHttpRange v) {
        while (v.size > 0 && *v.data == ' ') {
                v.data++;
                v.size--;
        }
        return v;
}

/* CREDENTIAL_OK, _NONE (no such field, or a scheme of somebody else's) or _BAD. */
static int find_shown(const MamHttpHead *head, Shown *ret, const char **ret_reason) {
        unsigned n = 0;

        for (size_t i = 0; i < head->n_fields; i++) {
                const MamHttpField *f = &head->fields[i];

                if (f->name.size == 13 && mam_http_range_equal_fold(f->name, "Authorization")) {
                        n++;
                        if (f->value.size >= 7 && strncasecmp(f->value.data, "Bearer ", 7) == 0)
                                *ret = (Shown){ .token = without_spaces(
                                                                (MamHttpRange){ f->value.data + 7,
                                                                                f->value.size - 7 }) };
                } else if (f->name.size == 9 && mam_http_range_equal_fold(f->name, "X-API-Key")) {
                        n++;
                        *ret = (Shown){ .token = f->value, .is_key_field = true };
                }
        }
        if (n > 1) {
                *ret_reason = "more than one credential";
                return CREDENTIAL_BAD;
        }
        if (!ret->token.data)
                return CREDENTIAL_NONE;
        if (ret->token.size == 0 || ret->token.size > MAM_JWT_SIZE_MAX) {
                *ret_reason = ret->token.size == 0 ? "empty" : "too long";
                return CREDENTIAL_BAD;
        }
        return CREDENTIAL_OK;
}

/* The service at the other end of a local socket, or NULL. */
static const AccessService *find_service(const Access *a, const MamHttpExchange *x) {
        uid_t uid;

        if (a->n_services == 0 || mam_http_exchange_peer_uid(x, &uid) < 0)
                return NULL;
        for (size_t i = 0; i < a->n_services; i++)
                if (a->services[i].uid == uid)
                        return &a->services[i];
        return NULL;
}

static Caller *find_certificate(const Access *a, const MamHttpExchange *x) {
        const MamGatewayAuth *auth = &a->config->auth;
        const MamHttpTlsInfo *tls = a->n_certificates > 0 ? mam_http_exchange_tls(x) : NULL;

        if (!tls || !tls->client_fingerprint)
                return NULL;
        for (size_t i = 0; i < a->n_certificates; i++) {
                const MamCertificateConfig *c = &auth->certificates[i];

                if (c->fingerprint ? strcasecmp(c->fingerprint, tls->client_fingerprint) == 0
                                   : tls->client_subject && strcmp(c->subject, tls->client_subject) == 0)
                        return a->certificates[i];
        }
        return NULL;
}

/* Somebody for whom a service of this host asks. */
static int for_somebody(Caller **ret, const Caller *c, const AccessService *service) {
        CallerSpec spec = caller_spec(c);

        spec.service = service->id;
        return caller_new(ret, &spec);
}

/* "mam_…" is never a token, as those have dots. */
static int check_key(Access *a, const char *text, size_t size, Caller **ret, const char **ret_reason) {
        int r;

        r = key_table_check(a->keys, text, size, mam_now_realtime(), ret);
        switch (r) {
        case KEY_OK:
                return CREDENTIAL_OK;
        case KEY_EXPIRED:
                *ret_reason = "the API key has expired";
                return CREDENTIAL_BAD;
        case KEY_UNKNOWN:
                *ret_reason = "no such API key";
                return CREDENTIAL_BAD;
        case KEY_NOT_LOADED:
                *ret_reason = "the API keys are not known yet";
                return CREDENTIAL_UNAVAILABLE;
        default:
                return r;
        }
}

static bool looks_like_key(const char *text, size_t size) {
        return size > strlen(MAM_API_KEY_PREFIX) &&
               memcmp(text, MAM_API_KEY_PREFIX, strlen(MAM_API_KEY_PREFIX)) == 0;
}

int access_verify(Access *a, const char *text, size_t size, Caller **ret, const char **ret_reason) {
        return looks_like_key(text, size) ? check_key(a, text, size, ret, ret_reason)
                                          : access_token(a, text, size, ret, ret_reason);
}

/* The caller of a token or key, remembered or verified. */
static int find_caller(
                Access *a,
                MamHttpExchange *x,
                const Shown *shown,
                Caller **ret,
                const char **ret_reason) {
        const char *text = shown->token.data;
        size_t size = shown->token.size;
        uint64_t usec = 0, now_sec;
        CredentialDigest digest;
        uint32_t place = 0;
        Caller *known;
        int r;

        /* May forget all who are known. */
        mam_key_source_look(a->issuers[0]->keys, false, mam_http_exchange_now(x));
        (void) sd_event_now(a->event, CLOCK_REALTIME, &usec);
        now_sec = usec / MAM_USEC_PER_SEC;

        known = caller_cache_recall(a->cache, mam_http_exchange_hint(x), text, size, now_sec);
        if (known) {
                *ret = caller_ref(known);
                return CREDENTIAL_OK;
        }
        r = caller_cache_digest(a->cache, &digest, text, size);
        if (r < 0)
                return r;
        known = caller_cache_find(a->cache, &digest, now_sec, &place);
        if (known) {
                mam_http_exchange_set_hint(x, place);
                *ret = caller_ref(known);
                return CREDENTIAL_OK;
        }
        if (caller_cache_is_bad(a->cache, &digest, now_sec)) {
                *ret_reason = "it was refused a moment ago";
                return CREDENTIAL_BAD;
        }

        r = shown->is_key_field ? check_key(a, text, size, ret, ret_reason)
                                : access_verify(a, text, size, ret, ret_reason);
        if (r == CREDENTIAL_OK)
                caller_cache_keep(a->cache, &digest, text, size, *ret, now_sec);
        else if (r == CREDENTIAL_BAD)
                caller_cache_keep_bad(a->cache, &digest, now_sec);
        return r;
}

int access_credential(Access *a, MamHttpExchange *x, Caller **ret, const char **ret_reason) {
        const AccessService *service = find_service(a, x);
        _cleanup_(caller_unrefp) Caller *c = NULL;
        Shown shown = { 0 };
        Caller *certificate;
        int r;

        r = find_shown(mam_http_exchange_head(x), &shown, ret_reason);
        if (r == CREDENTIAL_OK) {
                r = find_caller(a, x, &shown, &c, ret_reason);
                if (r != CREDENTIAL_OK)
                        return r;
                if (service) {
                        r = for_somebody(ret, c, service);
                        return r < 0 ? r : CREDENTIAL_OK;
                }
                *ret = MAM_TAKE(c);
                return CREDENTIAL_OK;
        }
        if (r != CREDENTIAL_NONE)
                return r;
        if (service) {
                *ret = caller_ref(service->caller);
                return CREDENTIAL_OK;
        }
        certificate = find_certificate(a, x);
        if (certificate) {
                *ret = caller_ref(certificate);
                return CREDENTIAL_OK;
        }
        return CREDENTIAL_NONE;
}
