/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of this folder share, and their tests: nobody else includes it
 */

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "libmam/auth/jwt.h"
#include "libmam/json/json.h"

MAM_DEFINE_CLEANUP(BIGNUM, BN_free);
MAM_DEFINE_CLEANUP(BIO, BIO_free_all);
MAM_DEFINE_CLEANUP(ECDSA_SIG, ECDSA_SIG_free);
MAM_DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free);
MAM_DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free);
MAM_DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free);
MAM_DEFINE_CLEANUP(OSSL_PARAM, OSSL_PARAM_free);
MAM_DEFINE_CLEANUP(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free);

typedef enum MamJwtFamily {
        MAM_JWT_FAMILY_RSA_PKCS1,
        MAM_JWT_FAMILY_RSA_PSS,
        MAM_JWT_FAMILY_EC,
        MAM_JWT_FAMILY_OKP,
        MAM_JWT_FAMILY_HMAC,
} MamJwtFamily;

typedef struct MamJwtAlgInfo {
        const char *name; /* "ES256" */
        MamJwtFamily family;
        const char *digest;     /* OpenSSL's name; NULL: built into the signature scheme */
        size_t digest_size;     /* bytes */
        const char *curve;      /* JOSE's name, or NULL */
        const char *group;      /* OpenSSL's name of the curve, or NULL */
        size_t coordinate_size; /* bytes of x, y, r and s each */
} MamJwtAlgInfo;

const MamJwtAlgInfo *mam_jwt_alg_info(MamJwtAlg a);
/* _MAM_JWT_ALG_INVALID: not one of ours. */
MamJwtAlg mam_jwt_alg_from_string(const char *s);

typedef struct MamJwk {
        char *kid; /* owned; or NULL */
        MamJwtAlg alg;
        EVP_PKEY *pkey;        /* owned; NULL with HS* */
        unsigned char *secret; /* owned, wiped; HS* only */
        size_t secret_size;
} MamJwk;

struct MamJwks {
        MamJwk *keys; /* owned */
        size_t n_keys;
};

/* A string member without NUL inside: borrowed, or NULL if absent or anything else. */
const char *mam_jwt_member_string(json_object *object, const char *key);

/* The errno for what OpenSSL has just refused: -ENOMEM if it ran out of memory, else otherwise. Empties its
 * queue of errors. */
int mam_jwt_openssl_errno(int otherwise);

/* RFC 7515, section 5.2, compact serialisation: the signature, not the claims. Returns a MamJwtResult or
 * -ENOMEM; *ret_payload is written with MAM_JWT_OK only, is NUL-terminated (not counted), and the caller
 * frees it. */
int mam_jws_verify_compact(
                char **ret_payload,
                size_t *ret_payload_size,
                const MamJwks *keys,
                const char *token,
                size_t size);
