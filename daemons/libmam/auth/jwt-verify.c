/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Verification of a token: first the signature over the bytes as they came, then the claims
 */

#include <math.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rsa.h>

#include "libmam/auth/jwt-internal.h"

#define LEEWAY_SEC   60U
#define ROLES_MAX    16U /* MAM_IDENTITY_ROLES_MAX */
#define SUBJECT_MAX  255U
#define ROLE_MAX     64U
#define SIG_SIZE_MAX 1024U /* RSA of 8192 bits */
#define HEADER_MAX   2048U

static const char *const results[_MAM_JWT_RESULT_MAX] = {
        [MAM_JWT_OK] = "ok",
        [MAM_JWT_E_MALFORMED] = "malformed token",
        [MAM_JWT_E_UNKNOWN_KEY] = "unknown key",
        [MAM_JWT_E_ALGORITHM] = "algorithm is not the key's",
        [MAM_JWT_E_SIGNATURE] = "bad signature",
        [MAM_JWT_E_EXPIRED] = "expired",
        [MAM_JWT_E_NOT_YET] = "not valid yet",
        [MAM_JWT_E_ISSUER] = "wrong issuer",
        [MAM_JWT_E_AUDIENCE] = "wrong audience",
        [MAM_JWT_E_CRITICAL] = "unknown critical extension",
};

const char *mam_jwt_result_to_string(MamJwtResult r) {
        return r >= 0 && r < _MAM_JWT_RESULT_MAX ? results[r] : "unknown result";
}

/* Decodes into memory of its own, NUL-terminated. */
static int decode(char **ret, size_t *ret_size, const char *text, size_t size) {
        _cleanup_(mam_freep) char *data = NULL;
        ssize_t n;

        data = malloc(size + 1);
        if (!data)
                return -ENOMEM;

        n = mam_base64url_decode(data, size, text, size);
        if (n < 0)
                return (int) n;
        data[n] = '\0';

        *ret = MAM_TAKE(data);
        *ret_size = (size_t) n;
        return 0;
}

static int signature_check_hmac(
                const MamJwk *k,
                const char *input,
                size_t size,
                const unsigned char *sig,
                size_t sig_size) {
        const MamJwtAlgInfo *info = mam_jwt_alg_info(k->alg);
        unsigned char mac[EVP_MAX_MD_SIZE];
        size_t mac_size = 0;

        if (!EVP_Q_mac(NULL,
                       "HMAC",
                       NULL,
                       info->digest,
                       NULL,
                       k->secret,
                       k->secret_size,
                       (const unsigned char *) input,
                       size,
                       mac,
                       sizeof(mac),
                       &mac_size))
                return mam_jwt_openssl_errno(MAM_JWT_E_SIGNATURE);

        return sig_size == mac_size && CRYPTO_memcmp(mac, sig, mac_size) == 0 ? MAM_JWT_OK
                                                                              : MAM_JWT_E_SIGNATURE;
}

/* JOSE writes r and s one behind the other; OpenSSL wants the DER of both. */
static int ecdsa_to_der(
                unsigned char **ret,
                size_t *ret_size,
                const unsigned char *sig,
                size_t coordinate_size) {
        _cleanup_(BN_freep) BIGNUM *r_part = NULL, *s_part = NULL;
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *pair = NULL;
        unsigned char *der = NULL;
        int n;

        pair = ECDSA_SIG_new();
        r_part = BN_bin2bn(sig, (int) coordinate_size, NULL);
        s_part = BN_bin2bn(sig + coordinate_size, (int) coordinate_size, NULL);
        if (!pair || !r_part || !s_part || !ECDSA_SIG_set0(pair, r_part, s_part))
                return -ENOMEM;
        r_part = s_part = NULL; /* now the pair's */

        n = i2d_ECDSA_SIG(pair, &der);
        if (n < 0)
                return -ENOMEM;

        *ret = der;
        *ret_size = (size_t) n;
        return 0;
}

static void openssl_freep(unsigned char **p) {
        OPENSSL_free(*p);
}

static int signature_check_public(
                const MamJwk *k,
                const char *input,
                size_t size,
                const unsigned char *sig,
                size_t sig_size) {
        const MamJwtAlgInfo *info = mam_jwt_alg_info(k->alg);
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = NULL;
        _cleanup_(openssl_freep) unsigned char *der = NULL;
        EVP_PKEY_CTX *parameters = NULL; /* the context's */
        int r;

        if (info->family == MAM_JWT_FAMILY_EC) {
                if (sig_size != 2 * info->coordinate_size)
                        return MAM_JWT_E_SIGNATURE;
                r = ecdsa_to_der(&der, &sig_size, sig, info->coordinate_size);
                if (r < 0)
                        return r;
                sig = der;
        }

        context = EVP_MD_CTX_new();
        if (!context)
                return -ENOMEM;
        if (EVP_DigestVerifyInit_ex(context, &parameters, info->digest, NULL, NULL, k->pkey, NULL) <= 0)
                return mam_jwt_openssl_errno(MAM_JWT_E_SIGNATURE);
        if (info->family == MAM_JWT_FAMILY_RSA_PSS &&
            (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) <= 0 ||
             EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) <= 0))
                return mam_jwt_openssl_errno(MAM_JWT_E_SIGNATURE);

        if (EVP_DigestVerify(context, sig, sig_size, (const unsigned char *) input, size) != 1)
                return mam_jwt_openssl_errno(MAM_JWT_E_SIGNATURE);
        return MAM_JWT_OK;
}

/* A token without kid names its key only where there is just one. */
static const MamJwk *find_key(const MamJwks *keys, const char *kid) {
        if (!kid)
                return keys->n_keys == 1 ? &keys->keys[0] : NULL;

        for (size_t i = 0; i < keys->n_keys; i++)
                if (keys->keys[i].kid && strcmp(keys->keys[i].kid, kid) == 0)
                        return &keys->keys[i];
        return NULL;
}

/* The protected header: which key, and whether we may go on. */
static int check_header(const MamJwk **ret, const MamJwks *keys, const char *text, size_t size) {
        _cleanup_(json_object_putp) json_object *header = NULL;
        _cleanup_(mam_freep) char *json = NULL;
        const char *alg, *kid;
        const MamJwk *k;
        size_t n = 0;
        int r;

        if (size > HEADER_MAX)
                return MAM_JWT_E_MALFORMED;
        r = decode(&json, &n, text, size);
        if (r < 0)
                return r == -ENOMEM ? r : MAM_JWT_E_MALFORMED;
        r = mam_json_parse(&header, json, n, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : MAM_JWT_E_MALFORMED;
        if (!json_object_is_type(header, json_type_object))
                return MAM_JWT_E_MALFORMED;

        alg = mam_jwt_member_string(header, "alg");
        kid = mam_jwt_member_string(header, "kid");
        if (!alg || (!kid && json_object_object_get_ex(header, "kid", NULL)))
                return MAM_JWT_E_MALFORMED;
        /* Whatever an extension would change, we do not know it. b64 changes what is signed, even where crit
         * was forgotten. */
        if (json_object_object_get_ex(header, "crit", NULL) ||
            json_object_object_get_ex(header, "b64", NULL))
                return MAM_JWT_E_CRITICAL;

        k = find_key(keys, kid);
        if (!k)
                return MAM_JWT_E_UNKNOWN_KEY;
        if (strcmp(mam_jwt_alg_info(k->alg)->name, alg) != 0)
                return MAM_JWT_E_ALGORITHM;

        *ret = k;
        return MAM_JWT_OK;
}

int mam_jws_verify_compact(
                char **ret_payload,
                size_t *ret_payload_size,
                const MamJwks *keys,
                const char *token,
                size_t size) {
        _cleanup_(mam_freep) char *payload = NULL;
        unsigned char sig[SIG_SIZE_MAX];
        const char *dot1, *dot2;
        const MamJwk *k = NULL;
        size_t payload_size = 0;
        ssize_t sig_size;
        int r;

        if (size > MAM_JWT_SIZE_MAX)
                return MAM_JWT_E_MALFORMED;
        dot1 = size > 0 ? memchr(token, '.', size) : NULL;
        dot2 = dot1 ? memchr(dot1 + 1, '.', size - (size_t) (dot1 + 1 - token)) : NULL;
        if (!dot2) /* a third dot is refused as a character of the signature */
                return MAM_JWT_E_MALFORMED;

        r = check_header(&k, keys, token, (size_t) (dot1 - token));
        if (r != MAM_JWT_OK)
                return r;

        r = decode(&payload, &payload_size, dot1 + 1, (size_t) (dot2 - dot1 - 1));
        if (r < 0)
                return r == -ENOMEM ? r : MAM_JWT_E_MALFORMED;
        sig_size = mam_base64url_decode(sig, sizeof(sig), dot2 + 1, size - (size_t) (dot2 + 1 - token));
        if (sig_size < 0)
                return MAM_JWT_E_MALFORMED;
        if (sig_size == 0)
                return MAM_JWT_E_SIGNATURE;

        if (k->pkey)
                r = signature_check_public(k, token, (size_t) (dot2 - token), sig, (size_t) sig_size);
        else
                r = signature_check_hmac(k, token, (size_t) (dot2 - token), sig, (size_t) sig_size);
        if (r != MAM_JWT_OK)
                return r;

        *ret_payload = MAM_TAKE(payload);
        *ret_payload_size = payload_size;
        return MAM_JWT_OK;
}

/* NumericDate: seconds, perhaps with a fraction. 1 present, 0 absent, -EBADMSG. */
static int claim_date(json_object *claims, const char *key, uint64_t *ret) {
        json_object *v = NULL;
        double d;

        if (!json_object_object_get_ex(claims, key, &v))
                return 0;
        if (!json_object_is_type(v, json_type_int) && !json_object_is_type(v, json_type_double))
                return -EBADMSG;
        d = json_object_get_double(v);
        if (!isfinite(d) || d < 0 || d > 253402300799.0) /* the year 9999 */
                return -EBADMSG;

        *ret = (uint64_t) d;
        return 1;
}

static bool claim_has_audience(json_object *claims, const char *audience) {
        json_object *v = NULL;
        const char *one;

        if (!json_object_object_get_ex(claims, "aud", &v))
                return false;
        if (json_object_is_type(v, json_type_array)) {
                for (size_t i = 0; i < json_object_array_length(v); i++) {
                        json_object *e = json_object_array_get_idx(v, i);

                        if (json_object_is_type(e, json_type_string) &&
                            strlen(audience) == (size_t) json_object_get_string_len(e) &&
                            strcmp(audience, json_object_get_string(e)) == 0)
                                return true;
                }
                return false;
        }

        one = mam_jwt_member_string(claims, "aud");
        return one && strcmp(one, audience) == 0;
}

/* Subjects travel in header fields, roles in a list in one: neither may contain what would end it. */
static bool subject_is_valid(const char *s) {
        size_t n = strlen(s);

        if (n == 0 || n > SUBJECT_MAX || s[0] == ' ' || s[n - 1] == ' ')
                return false;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) s[i] < 0x20 || s[i] == 0x7f)
                        return false;
        return true;
}

static bool role_is_valid(const char *s) {
        size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-");

        return n > 0 && n <= ROLE_MAX && s[n] == '\0';
}

/* 0, -ENOMEM, -EBADMSG */
static int claims_read_roles(MamJwtClaims *c) {
        json_object *roles = NULL;
        size_t n;

        if (!json_object_object_get_ex(c->all, "roles", &roles))
                return 0;
        if (!json_object_is_type(roles, json_type_array))
                return -EBADMSG;
        n = json_object_array_length(roles);
        if (n > ROLES_MAX)
                return -EBADMSG;

        c->roles = calloc(n + 1, sizeof(*c->roles));
        if (!c->roles)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                json_object *role = json_object_array_get_idx(roles, i);
                const char *s = json_object_is_type(role, json_type_string) ? json_object_get_string(role)
                                                                            : NULL;

                if (!s || strlen(s) != (size_t) json_object_get_string_len(role) || !role_is_valid(s))
                        return -EBADMSG;
                c->roles[i] = strdup(s);
                if (!c->roles[i])
                        return -ENOMEM;
                c->n_roles++;
        }
        return 0;
}

void mam_jwt_claims_done(MamJwtClaims *c) {
        free(c->subject);
        for (size_t i = 0; i < c->n_roles; i++)
                free(c->roles[i]);
        free(c->roles);
        json_object_put(c->all);
        *c = (MamJwtClaims){ 0 };
}

/* A MamJwtResult or -ENOMEM */
static int check_claims(MamJwtClaims *c, const MamJwtRules *rules, uint64_t now_sec) {
        uint64_t expires, not_before = 0;
        const char *subject, *iss;
        int r;

        subject = mam_jwt_member_string(c->all, "sub");
        if (!subject || !subject_is_valid(subject) || claim_date(c->all, "exp", &expires) <= 0 ||
            claim_date(c->all, "nbf", &not_before) < 0)
                return MAM_JWT_E_MALFORMED;
        if (now_sec >= expires + rules->skew_sec)
                return MAM_JWT_E_EXPIRED;
        if (not_before > now_sec + rules->skew_sec)
                return MAM_JWT_E_NOT_YET;

        iss = mam_jwt_member_string(c->all, "iss");
        if (rules->issuer && (!iss || strcmp(iss, rules->issuer) != 0))
                return MAM_JWT_E_ISSUER;
        if (rules->audience && !claim_has_audience(c->all, rules->audience))
                return MAM_JWT_E_AUDIENCE;

        r = rules->other_roles ? 0 : claims_read_roles(c);
        if (r < 0)
                return r == -ENOMEM ? r : MAM_JWT_E_MALFORMED;

        c->subject = strdup(subject);
        if (!c->subject)
                return -ENOMEM;
        c->expires_sec = expires;
        return MAM_JWT_OK;
}

int mam_jwt_verify_by(
                MamJwtClaims *ret,
                const MamJwks *keys,
                const char *token,
                size_t size,
                const MamJwtRules *rules,
                uint64_t now_sec) {
        _cleanup_(mam_jwt_claims_done) MamJwtClaims c = { 0 };
        _cleanup_(mam_freep) char *payload = NULL;
        size_t payload_size = 0;
        int r;

        r = mam_jws_verify_compact(&payload, &payload_size, keys, token, size);
        if (r != MAM_JWT_OK)
                return r;

        r = mam_json_parse(&c.all, payload, payload_size, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : MAM_JWT_E_MALFORMED;
        if (!json_object_is_type(c.all, json_type_object))
                return MAM_JWT_E_MALFORMED;

        r = check_claims(&c, rules, now_sec);
        if (r != MAM_JWT_OK)
                return r;

        *ret = c;
        c = (MamJwtClaims){ 0 };
        return MAM_JWT_OK;
}

int mam_jwt_verify(
                MamJwtClaims *ret,
                const MamJwks *keys,
                const char *token,
                size_t size,
                const char *issuer,
                const char *audience,
                uint64_t now_sec) {
        const MamJwtRules rules = { .issuer = issuer, .audience = audience, .skew_sec = LEEWAY_SEC };

        return mam_jwt_verify_by(ret, keys, token, size, &rules, now_sec);
}

bool mam_jwt_claimed_issuer(char *ret, size_t ret_size, const char *token, size_t size) {
        _cleanup_(json_object_putp) json_object *claims = NULL;
        _cleanup_(mam_freep) char *payload = NULL;
        const char *dot1, *dot2, *issuer;
        size_t payload_size = 0;

        dot1 = size > 0 && size <= MAM_JWT_SIZE_MAX ? memchr(token, '.', size) : NULL;
        dot2 = dot1 ? memchr(dot1 + 1, '.', size - (size_t) (dot1 + 1 - token)) : NULL;
        if (!dot2 || decode(&payload, &payload_size, dot1 + 1, (size_t) (dot2 - dot1 - 1)) < 0 ||
            mam_json_parse(&claims, payload, payload_size, NULL) < 0 ||
            !json_object_is_type(claims, json_type_object))
                return false;
        issuer = mam_jwt_member_string(claims, "iss");
        return issuer && strlen(issuer) < ret_size && stpcpy(ret, issuer);
}
