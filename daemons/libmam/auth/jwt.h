/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * JSON Web Tokens (RFC 7519, RFC 7515, RFC 8725) over OpenSSL's EVP
 *
 * A key knows the one algorithm it is for; a token's "alg" is compared with it and never chooses. "none"
 * does not exist here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <json-c/json.h>

#include "libmam/util/macro.h"

typedef struct MamJwks MamJwks;
typedef struct MamJwtVerifier MamJwtVerifier;

#define MAM_JWT_SIZE_MAX  8192U
#define MAM_JWKS_KEYS_MAX 64U

typedef enum MamJwtAlg {
        MAM_JWT_RS256,
        MAM_JWT_RS384,
        MAM_JWT_RS512,
        MAM_JWT_PS256,
        MAM_JWT_PS384,
        MAM_JWT_PS512,
        MAM_JWT_ES256,
        MAM_JWT_ES384,
        MAM_JWT_ES512,
        MAM_JWT_EDDSA,
        MAM_JWT_HS256,
        MAM_JWT_HS384,
        MAM_JWT_HS512,
        _MAM_JWT_ALG_MAX,
        _MAM_JWT_ALG_INVALID = -EINVAL,
} MamJwtAlg;

/* Outcomes of verification that the caller answers with 401; _to_string() is fit for a log, not for the
 * client. */
typedef enum MamJwtResult {
        MAM_JWT_OK,
        MAM_JWT_E_MALFORMED,
        MAM_JWT_E_UNKNOWN_KEY,
        MAM_JWT_E_ALGORITHM, /* not the key's */
        MAM_JWT_E_SIGNATURE,
        MAM_JWT_E_EXPIRED,
        MAM_JWT_E_NOT_YET,
        MAM_JWT_E_ISSUER,
        MAM_JWT_E_AUDIENCE,
        MAM_JWT_E_CRITICAL, /* an unknown "crit" extension */
        _MAM_JWT_RESULT_MAX,
} MamJwtResult;
const char *mam_jwt_result_to_string(MamJwtResult r);

/* RFC 7517. Keys of unknown type are skipped; a key without usable "alg" gets the one its type implies (EC
 * by curve, OKP EdDSA), or is skipped where that is not unique (RSA needs alg; oct needs alg). RSA below
 * 2048 bits is skipped. -EBADMSG with a literal *ret_reason. */
int mam_jwks_parse(MamJwks **ret, const char *json, size_t size, const char **ret_reason);
MamJwks *mam_jwks_free(MamJwks *k);
MAM_DEFINE_CLEANUP(MamJwks, mam_jwks_free);
size_t mam_jwks_size(const MamJwks *k);

typedef struct MamJwtClaims {
        char *subject; /* owned */
        char **roles;  /* owned; the "roles" array, or empty */
        size_t n_roles;
        uint64_t expires_sec; /* realtime */
        json_object *all;     /* owned */
} MamJwtClaims;
void mam_jwt_claims_done(MamJwtClaims *c);

/* issuer, audience: required values, or NULL. Tokens need exp and sub. Leeway 60 s (RFC 8725). Returns a
 * MamJwtResult (>= 0) or -ENOMEM; *ret is written with MAM_JWT_OK only. now_sec is realtime. */
int mam_jwt_verify(
                MamJwtClaims *ret,
                const MamJwks *keys,
                const char *token,
                size_t size,
                const char *issuer,
                const char *audience,
                uint64_t now_sec);

/* What is asked of a token beyond its signature. */
typedef struct MamJwtRules {
        const char *issuer;   /* or NULL */
        const char *audience; /* or NULL */
        uint64_t skew_sec;    /* how far the clocks may differ */
        bool other_roles;     /* "roles" is not what mam means by it: left alone, and ret has no roles */
} MamJwtRules;
/* As mam_jwt_verify(). */
int mam_jwt_verify_by(
                MamJwtClaims *ret,
                const MamJwks *keys,
                const char *token,
                size_t size,
                const MamJwtRules *rules,
                uint64_t now_sec);
/* The "iss" that a token claims, before anything of it was verified: to choose whose keys to ask, and for
 * nothing else. false: it has none, or it does not fit. */
bool mam_jwt_claimed_issuer(char *ret, size_t ret_size, const char *token, size_t size);

/* A verifier adds a bounded cache keyed by SHA-256 of the token until min(exp, 60 s), and a small negative
 * cache. Replacing the keys flushes both. The claims are borrowed until the next call. */
int mam_jwt_verifier_new(
                MamJwtVerifier **ret,
                MamJwks *keys /* taken */,
                const char *issuer,
                const char *audience);
MamJwtVerifier *mam_jwt_verifier_free(MamJwtVerifier *v);
MAM_DEFINE_CLEANUP(MamJwtVerifier, mam_jwt_verifier_free);
void mam_jwt_verifier_set_keys(MamJwtVerifier *v, MamJwks *keys /* taken */);
int mam_jwt_verifier_check(
                MamJwtVerifier *v,
                const MamJwtClaims **ret,
                const char *token,
                size_t size,
                uint64_t now_sec);

/* Signing with an Ed25519 private key in PKCS#8 PEM. Claims as given; kid is the RFC 7638 thumbprint of the
 * public key. Caller frees. */
int mam_jwt_sign_ed25519(char **ret, const char *private_pem, json_object *claims);
/* A new key: PKCS#8 PEM, and a JWKS document with its public half. Caller frees both. */
int mam_jwt_generate_ed25519(char **ret_private_pem, char **ret_jwks);

/* base64url without padding (RFC 4648, section 5), strict. ret has room for size bytes; returns the decoded
 * size or -EINVAL. */
ssize_t mam_base64url_decode(void *ret, size_t ret_size, const char *text, size_t size);
int mam_base64url_encode(char **ret, const void *data, size_t size);
