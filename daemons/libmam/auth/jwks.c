/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sets of keys (RFC 7517, RFC 7518, RFC 8037)
 *
 * A key that this code cannot use safely is left out, as RFC 7517 asks; what makes the set as a whole
 * ambiguous (two keys of one name, secrets among public keys) refuses it. Only the public half of a key is
 * ever read.
 */

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "libmam/auth/jwt-internal.h"

#define RSA_BITS_MIN  2048
#define RSA_BITS_MAX  8192 /* a verification costs the square of it */
#define RSA_BYTES_MAX (RSA_BITS_MAX / 8)
#define SECRET_MAX    1024U
#define KID_MAX       256U

static const MamJwtAlgInfo algs[_MAM_JWT_ALG_MAX] = {
        [MAM_JWT_RS256] = { "RS256", MAM_JWT_FAMILY_RSA_PKCS1, "SHA256", 32, NULL, NULL, 0 },
        [MAM_JWT_RS384] = { "RS384", MAM_JWT_FAMILY_RSA_PKCS1, "SHA384", 48, NULL, NULL, 0 },
        [MAM_JWT_RS512] = { "RS512", MAM_JWT_FAMILY_RSA_PKCS1, "SHA512", 64, NULL, NULL, 0 },
        [MAM_JWT_PS256] = { "PS256", MAM_JWT_FAMILY_RSA_PSS, "SHA256", 32, NULL, NULL, 0 },
        [MAM_JWT_PS384] = { "PS384", MAM_JWT_FAMILY_RSA_PSS, "SHA384", 48, NULL, NULL, 0 },
        [MAM_JWT_PS512] = { "PS512", MAM_JWT_FAMILY_RSA_PSS, "SHA512", 64, NULL, NULL, 0 },
        [MAM_JWT_ES256] = { "ES256", MAM_JWT_FAMILY_EC, "SHA256", 32, "P-256", "P-256", 32 },
        [MAM_JWT_ES384] = { "ES384", MAM_JWT_FAMILY_EC, "SHA384", 48, "P-384", "P-384", 48 },
        [MAM_JWT_ES512] = { "ES512", MAM_JWT_FAMILY_EC, "SHA512", 64, "P-521", "P-521", 66 },
        [MAM_JWT_EDDSA] = { "EdDSA", MAM_JWT_FAMILY_OKP, NULL, 64, "Ed25519", "ED25519", 32 },
        [MAM_JWT_HS256] = { "HS256", MAM_JWT_FAMILY_HMAC, "SHA256", 32, NULL, NULL, 0 },
        [MAM_JWT_HS384] = { "HS384", MAM_JWT_FAMILY_HMAC, "SHA384", 48, NULL, NULL, 0 },
        [MAM_JWT_HS512] = { "HS512", MAM_JWT_FAMILY_HMAC, "SHA512", 64, NULL, NULL, 0 },
};

const MamJwtAlgInfo *mam_jwt_alg_info(MamJwtAlg a) {
        return a >= 0 && a < _MAM_JWT_ALG_MAX ? &algs[a] : NULL;
}

MamJwtAlg mam_jwt_alg_from_string(const char *s) {
        for (int i = 0; i < _MAM_JWT_ALG_MAX; i++)
                if (strcmp(algs[i].name, s) == 0)
                        return (MamJwtAlg) i;
        return _MAM_JWT_ALG_INVALID;
}

const char *mam_jwt_member_string(json_object *object, const char *key) {
        json_object *v;
        const char *s;

        if (!json_object_object_get_ex(object, key, &v) || !json_object_is_type(v, json_type_string))
                return NULL;

        s = json_object_get_string(v);
        return s && strlen(s) == (size_t) json_object_get_string_len(v) ? s : NULL;
}

int mam_jwt_openssl_errno(int otherwise) {
        unsigned long e = ERR_peek_last_error();

        ERR_clear_error();
        return e != 0 && ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE ? -ENOMEM : otherwise;
}

static void jwk_done(MamJwk *k) {
        free(k->kid);
        EVP_PKEY_free(k->pkey);
        if (k->secret)
                OPENSSL_cleanse(k->secret, k->secret_size);
        free(k->secret);
        *k = (MamJwk){ 0 };
}

/* Decodes a member of exactly size bytes, or up to max bytes where size is 0. -EKEYREJECTED: it is not that.
 */
static ssize_t member_bytes(json_object *jwk, const char *key, unsigned char *ret, size_t size, size_t max) {
        const char *s = mam_jwt_member_string(jwk, key);
        ssize_t n;

        if (!s)
                return -EKEYREJECTED;

        n = mam_base64url_decode(ret, size > 0 ? size : max, s, strlen(s));
        if (n <= 0 || (size > 0 && (size_t) n != size))
                return -EKEYREJECTED;
        return n;
}

/* From the parts of a public key to a key that OpenSSL has checked. -EKEYREJECTED: it is not one. */
static int pkey_from_parts(EVP_PKEY **ret, const char *type, OSSL_PARAM_BLD *parts) {
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *make = NULL, *check = NULL;
        _cleanup_(OSSL_PARAM_freep) OSSL_PARAM *parameters = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *pkey = NULL;

        parameters = OSSL_PARAM_BLD_to_param(parts);
        if (!parameters)
                return mam_jwt_openssl_errno(-ENOMEM);

        make = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
        if (!make || EVP_PKEY_fromdata_init(make) <= 0 ||
            EVP_PKEY_fromdata(make, &pkey, EVP_PKEY_PUBLIC_KEY, parameters) <= 0)
                return mam_jwt_openssl_errno(-EKEYREJECTED);

        check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
        if (!check || EVP_PKEY_public_check(check) <= 0)
                return mam_jwt_openssl_errno(-EKEYREJECTED);

        *ret = MAM_TAKE(pkey);
        return 0;
}

/* Whether a modulus is of the kind that some smart cards made (CVE-2017-15361, "ROCA") and that can be
 * factored. Such a modulus is a power of 65537 modulo each small prime; a good one is so with a chance of 1
 * in 2^27. */
static bool modulus_is_roca(const BIGNUM *n) {
        static const uint8_t primes[] = {
                3,  5,  7,  11, 13, 17,  19,  23,  29,  31,  37,  41,  43,  47,  53,  59,  61,  67,  71,
                73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(primes); i++) {
                BN_ULONG rest = BN_mod_word(n, primes[i]);
                unsigned power = 1;
                bool member = false;

                for (unsigned j = 0; j < primes[i] && !member; j++) {
                        member = power == rest;
                        power = power * (65537U % primes[i]) % primes[i];
                }
                if (!member)
                        return false;
        }
        return true;
}

static int jwk_read_rsa(MamJwk *k, json_object *jwk) {
        _cleanup_(OSSL_PARAM_BLD_freep) OSSL_PARAM_BLD *parts = NULL;
        _cleanup_(BN_freep) BIGNUM *n = NULL, *e = NULL;
        unsigned char bytes[RSA_BYTES_MAX], exponent[8];
        ssize_t n_size, e_size;

        n_size = member_bytes(jwk, "n", bytes, 0, sizeof(bytes));
        e_size = member_bytes(jwk, "e", exponent, 0, sizeof(exponent));
        if (n_size < 0 || e_size < 0)
                return -EKEYREJECTED;

        n = BN_bin2bn(bytes, (int) n_size, NULL);
        e = BN_bin2bn(exponent, (int) e_size, NULL);
        if (!n || !e)
                return -ENOMEM;
        /* Exponents below 65537 are legal and refused by every current recommendation; 1 signs nothing at
         * all. */
        if (BN_num_bits(n) < RSA_BITS_MIN || !BN_is_odd(n) || !BN_is_odd(e) || BN_num_bits(e) < 17 ||
            modulus_is_roca(n))
                return -EKEYREJECTED;

        parts = OSSL_PARAM_BLD_new();
        if (!parts || !OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_N, n) ||
            !OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_E, e))
                return mam_jwt_openssl_errno(-ENOMEM);

        return pkey_from_parts(&k->pkey, "RSA", parts);
}

static int jwk_read_ec(MamJwk *k, json_object *jwk) {
        const MamJwtAlgInfo *info = mam_jwt_alg_info(k->alg);
        _cleanup_(OSSL_PARAM_BLD_freep) OSSL_PARAM_BLD *parts = NULL;
        unsigned char point[1 + 2 * 66];
        size_t size = info->coordinate_size;

        point[0] = 4; /* uncompressed */
        if (member_bytes(jwk, "x", point + 1, size, 0) < 0 ||
            member_bytes(jwk, "y", point + 1 + size, size, 0) < 0)
                return -EKEYREJECTED;

        parts = OSSL_PARAM_BLD_new();
        if (!parts || !OSSL_PARAM_BLD_push_utf8_string(parts, OSSL_PKEY_PARAM_GROUP_NAME, info->group, 0) ||
            !OSSL_PARAM_BLD_push_octet_string(parts, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * size))
                return mam_jwt_openssl_errno(-ENOMEM);

        return pkey_from_parts(&k->pkey, "EC", parts);
}

static int jwk_read_okp(MamJwk *k, json_object *jwk) {
        const MamJwtAlgInfo *info = mam_jwt_alg_info(k->alg);
        unsigned char x[32];

        if (member_bytes(jwk, "x", x, sizeof(x), 0) < 0)
                return -EKEYREJECTED;

        k->pkey = EVP_PKEY_new_raw_public_key_ex(NULL, info->group, NULL, x, sizeof(x));
        return k->pkey ? 0 : mam_jwt_openssl_errno(-EKEYREJECTED);
}

static int jwk_read_oct(MamJwk *k, json_object *jwk) {
        unsigned char secret[SECRET_MAX];
        ssize_t n;
        int r = 0;

        n = member_bytes(jwk, "k", secret, 0, sizeof(secret));
        if (n < 0 || (size_t) n < mam_jwt_alg_info(k->alg)->digest_size) /* RFC 7518, section 3.2 */
                r = -EKEYREJECTED;
        else {
                k->secret = malloc((size_t) n);
                if (k->secret) {
                        memcpy(k->secret, secret, (size_t) n);
                        k->secret_size = (size_t) n;
                } else
                        r = -ENOMEM;
        }
        OPENSSL_cleanse(secret, sizeof(secret));
        return r;
}

/* "use" and "key_ops", where present, must be for signatures. */
static bool jwk_is_for_verification(json_object *jwk) {
        json_object *use = NULL, *ops = NULL;
        bool verify = false;

        if (json_object_object_get_ex(jwk, "use", &use)) {
                const char *s = mam_jwt_member_string(jwk, "use");

                if (!s || strcmp(s, "sig") != 0)
                        return false;
        }
        if (!json_object_object_get_ex(jwk, "key_ops", &ops))
                return true;
        if (!json_object_is_type(ops, json_type_array))
                return false;
        for (size_t i = 0; i < json_object_array_length(ops) && !verify; i++) {
                json_object *op = json_object_array_get_idx(ops, i);

                verify = json_object_is_type(op, json_type_string) &&
                         strcmp(json_object_get_string(op), "verify") == 0;
        }
        return verify;
}

/* The one algorithm the key is for: what it says itself, if that fits its type; else what the type alone
 * implies. */
static MamJwtAlg jwk_alg(json_object *jwk, const char *kty) {
        const char *name = mam_jwt_member_string(jwk, "alg"), *curve = mam_jwt_member_string(jwk, "crv");
        MamJwtFamily family = MAM_JWT_FAMILY_HMAC;
        MamJwtAlg a;

        if (strcmp(kty, "EC") == 0)
                family = MAM_JWT_FAMILY_EC;
        else if (strcmp(kty, "OKP") == 0)
                family = MAM_JWT_FAMILY_OKP;
        else if (strcmp(kty, "RSA") == 0)
                family = MAM_JWT_FAMILY_RSA_PKCS1;
        else if (strcmp(kty, "oct") != 0)
                return _MAM_JWT_ALG_INVALID;

        if (name) {
                a = mam_jwt_alg_from_string(name);
                if (a < 0)
                        return _MAM_JWT_ALG_INVALID;
                if (algs[a].family != family &&
                    !(family == MAM_JWT_FAMILY_RSA_PKCS1 && algs[a].family == MAM_JWT_FAMILY_RSA_PSS))
                        return _MAM_JWT_ALG_INVALID;
                if (algs[a].curve && (!curve || strcmp(algs[a].curve, curve) != 0))
                        return _MAM_JWT_ALG_INVALID;
                return a;
        }

        if (json_object_object_get_ex(jwk, "alg", NULL) || !curve) /* not a string, or not unique */
                return _MAM_JWT_ALG_INVALID;
        for (int i = 0; i < _MAM_JWT_ALG_MAX; i++)
                if (algs[i].family == family && algs[i].curve && strcmp(algs[i].curve, curve) == 0)
                        return (MamJwtAlg) i;
        return _MAM_JWT_ALG_INVALID;
}

/* 1: a key; 0: not one that can be used; -ENOMEM. */
static int jwk_read(MamJwk *ret, json_object *jwk) {
        MamJwk k = { 0 };
        const char *kty, *kid;
        int r;

        kty = json_object_is_type(jwk, json_type_object) ? mam_jwt_member_string(jwk, "kty") : NULL;
        if (!kty || !jwk_is_for_verification(jwk))
                return 0;
        k.alg = jwk_alg(jwk, kty);
        if (k.alg < 0)
                return 0;
        kid = mam_jwt_member_string(jwk, "kid");
        if (json_object_object_get_ex(jwk, "kid", NULL) && (!kid || strlen(kid) > KID_MAX))
                return 0;

        switch (algs[k.alg].family) {
        case MAM_JWT_FAMILY_RSA_PKCS1:
        case MAM_JWT_FAMILY_RSA_PSS:
                r = jwk_read_rsa(&k, jwk);
                break;
        case MAM_JWT_FAMILY_EC:
                r = jwk_read_ec(&k, jwk);
                break;
        case MAM_JWT_FAMILY_OKP:
                r = jwk_read_okp(&k, jwk);
                break;
        case MAM_JWT_FAMILY_HMAC:
        default:
                r = jwk_read_oct(&k, jwk);
                break;
        }
        if (r >= 0 && kid) {
                k.kid = strdup(kid);
                if (!k.kid)
                        r = -ENOMEM;
        }
        if (r < 0) {
                jwk_done(&k);
                return r == -ENOMEM ? r : 0;
        }

        *ret = k;
        return 1;
}

static const char *jwks_ambiguity(const MamJwks *set) {
        for (size_t i = 0; i < set->n_keys; i++)
                for (size_t j = 0; j < i; j++) {
                        const MamJwk *a = &set->keys[i], *b = &set->keys[j];

                        if (a->kid && b->kid && strcmp(a->kid, b->kid) == 0)
                                return "two keys have the same kid";
                        if (!a->pkey != !b->pkey)
                                return "secrets and public keys in one set";
                }
        return NULL;
}

/* Whether two entries, usable or not, are the same to somebody who looks for a kid of a type: then the one
 * that was left out may be the one that was meant. */
static bool has_duplicates(json_object *keys) {
        for (size_t i = 0; i < json_object_array_length(keys); i++)
                for (size_t j = 0; j < i; j++) {
                        json_object *a = json_object_array_get_idx(keys, i),
                                    *b = json_object_array_get_idx(keys, j);
                        const char *kid_a, *kid_b, *kty_a, *kty_b;

                        if (!json_object_is_type(a, json_type_object) ||
                            !json_object_is_type(b, json_type_object))
                                continue;
                        kid_a = mam_jwt_member_string(a, "kid");
                        kid_b = mam_jwt_member_string(b, "kid");
                        kty_a = mam_jwt_member_string(a, "kty");
                        kty_b = mam_jwt_member_string(b, "kty");
                        if (kid_a && kid_b && kty_a && kty_b && strcmp(kid_a, kid_b) == 0 &&
                            strcmp(kty_a, kty_b) == 0)
                                return true;
                }
        return false;
}

int mam_jwks_parse(MamJwks **ret, const char *json, size_t size, const char **ret_reason) {
        _cleanup_(json_object_putp) json_object *root = NULL;
        _cleanup_(mam_jwks_freep) MamJwks *set = NULL;
        json_object *keys = NULL;
        const char *reason;
        int r;

        r = mam_json_parse(&root, json, size, NULL);
        if (r == -ENOMEM)
                return r;
        if (r < 0 || !json_object_is_type(root, json_type_object)) {
                *ret_reason = "not a JSON object";
                return -EBADMSG;
        }
        if (!json_object_object_get_ex(root, "keys", &keys) || !json_object_is_type(keys, json_type_array)) {
                *ret_reason = "no array \"keys\"";
                return -EBADMSG;
        }
        if (json_object_array_length(keys) > MAM_JWKS_KEYS_MAX) {
                *ret_reason = "too many keys";
                return -EBADMSG;
        }
        if (has_duplicates(keys)) {
                *ret_reason = "two keys have the same kid";
                return -EBADMSG;
        }

        set = calloc(1, sizeof(*set));
        if (!set)
                return -ENOMEM;
        set->keys = calloc(json_object_array_length(keys) + 1, sizeof(*set->keys));
        if (!set->keys)
                return -ENOMEM;

        for (size_t i = 0; i < json_object_array_length(keys); i++) {
                r = jwk_read(&set->keys[set->n_keys], json_object_array_get_idx(keys, i));
                if (r < 0)
                        return r;
                set->n_keys += (size_t) r;
        }

        reason = jwks_ambiguity(set);
        if (reason) {
                *ret_reason = reason;
                return -EBADMSG;
        }

        *ret = MAM_TAKE(set);
        return 0;
}

MamJwks *mam_jwks_free(MamJwks *k) {
        if (!k)
                return NULL;

        for (size_t i = 0; i < k->n_keys; i++)
                jwk_done(&k->keys[i]);
        free(k->keys);
        free(k);
        return NULL;
}

size_t mam_jwks_size(const MamJwks *k) {
        return k ? k->n_keys : 0;
}
