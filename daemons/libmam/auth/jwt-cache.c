/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A verifier with a memory
 *
 * A good token is remembered by its SHA-256 until it ends, for 60 s at most; a token with a bad signature
 * for 10 s, so that repeating it costs a hash and not a signature check. Both tables have a fixed size and
 * replace what ends first among the few places an entry may take. What depends on the time (expired, not
 * yet) is never remembered.
 */

#include <string.h>

#include "libmam/auth/jwt-internal.h"

#define DIGEST_SIZE  32U
#define GOOD_SETS    256U
#define BAD_SETS     64U
#define WAYS         4U
#define GOOD_TTL_SEC 60U
#define BAD_TTL_SEC  10U

typedef struct Good {
        uint8_t digest[DIGEST_SIZE];
        uint64_t until_sec;  /* 0: free */
        uint64_t since_sec;  /* a clock that goes back must not prolong it */
        MamJwtClaims claims; /* owned */
} Good;

typedef struct Bad {
        uint8_t digest[DIGEST_SIZE];
        uint64_t until_sec;
        uint64_t since_sec;
} Bad;

struct MamJwtVerifier {
        MamJwks *keys;       /* owned */
        char *issuer;        /* owned; or NULL */
        char *audience;      /* owned; or NULL */
        EVP_MD *sha256;      /* owned */
        EVP_MD_CTX *context; /* owned */
        Good good[GOOD_SETS * WAYS];
        Bad bad[BAD_SETS * WAYS];
};

static void verifier_flush(MamJwtVerifier *v) {
        for (size_t i = 0; i < MAM_ELEMENTSOF(v->good); i++) {
                mam_jwt_claims_done(&v->good[i].claims);
                v->good[i].until_sec = 0;
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(v->bad); i++)
                v->bad[i].until_sec = 0;
}

int mam_jwt_verifier_new(MamJwtVerifier **ret, MamJwks *keys, const char *issuer, const char *audience) {
        _cleanup_(mam_jwt_verifier_freep) MamJwtVerifier *v = NULL;

        v = calloc(1, sizeof(*v));
        if (!v) {
                mam_jwks_free(keys);
                return -ENOMEM;
        }
        v->keys = keys;
        v->issuer = issuer ? strdup(issuer) : NULL;
        v->audience = audience ? strdup(audience) : NULL;
        v->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        v->context = EVP_MD_CTX_new();
        if ((issuer && !v->issuer) || (audience && !v->audience) || !v->sha256 || !v->context)
                return mam_jwt_openssl_errno(-ENOMEM);

        *ret = MAM_TAKE(v);
        return 0;
}

MamJwtVerifier *mam_jwt_verifier_free(MamJwtVerifier *v) {
        if (!v)
                return NULL;

        verifier_flush(v);
        mam_jwks_free(v->keys);
        EVP_MD_CTX_free(v->context);
        EVP_MD_free(v->sha256);
        free(v->issuer);
        free(v->audience);
        free(v);
        return NULL;
}

void mam_jwt_verifier_set_keys(MamJwtVerifier *v, MamJwks *keys) {
        verifier_flush(v);
        mam_jwks_free(v->keys);
        v->keys = keys;
}

static bool is_alive(uint64_t since_sec, uint64_t until_sec, uint64_t now_sec) {
        return now_sec >= since_sec && now_sec < until_sec;
}

static Good *find_good(MamJwtVerifier *v, const uint8_t *digest, uint64_t now_sec) {
        Good *set = &v->good[(digest[0] % GOOD_SETS) * WAYS];

        for (unsigned i = 0; i < WAYS; i++)
                if (is_alive(set[i].since_sec, set[i].until_sec, now_sec) &&
                    memcmp(set[i].digest, digest, DIGEST_SIZE) == 0)
                        return &set[i];
        return NULL;
}

static const MamJwtClaims *keep_good(
                MamJwtVerifier *v,
                const uint8_t *digest,
                MamJwtClaims *claims,
                uint64_t now_sec) {
        Good *set = &v->good[(digest[0] % GOOD_SETS) * WAYS], *place = &set[0];

        for (unsigned i = 1; i < WAYS; i++)
                if (set[i].until_sec < place->until_sec)
                        place = &set[i];

        mam_jwt_claims_done(&place->claims);
        memcpy(place->digest, digest, DIGEST_SIZE);
        place->since_sec = now_sec;
        place->until_sec = now_sec + GOOD_TTL_SEC;
        if (claims->expires_sec < place->until_sec) /* within the leeway already: not worth keeping, but it
                                                       has to live somewhere */
                place->until_sec = claims->expires_sec;
        place->claims = *claims;
        *claims = (MamJwtClaims){ 0 };
        return &place->claims;
}

static bool is_known_bad(const MamJwtVerifier *v, const uint8_t *digest, uint64_t now_sec) {
        const Bad *set = &v->bad[(digest[0] % BAD_SETS) * WAYS];

        for (unsigned i = 0; i < WAYS; i++)
                if (is_alive(set[i].since_sec, set[i].until_sec, now_sec) &&
                    memcmp(set[i].digest, digest, DIGEST_SIZE) == 0)
                        return true;
        return false;
}

static void keep_bad(MamJwtVerifier *v, const uint8_t *digest, uint64_t now_sec) {
        Bad *set = &v->bad[(digest[0] % BAD_SETS) * WAYS], *place = &set[0];

        for (unsigned i = 1; i < WAYS; i++)
                if (set[i].until_sec < place->until_sec)
                        place = &set[i];

        memcpy(place->digest, digest, DIGEST_SIZE);
        place->since_sec = now_sec;
        place->until_sec = now_sec + BAD_TTL_SEC;
}

int mam_jwt_verifier_check(
                MamJwtVerifier *v,
                const MamJwtClaims **ret,
                const char *token,
                size_t size,
                uint64_t now_sec) {
        _cleanup_(mam_jwt_claims_done) MamJwtClaims claims = { 0 };
        uint8_t digest[EVP_MAX_MD_SIZE];
        const Good *known;
        int r;

        if (size == 0 || size > MAM_JWT_SIZE_MAX)
                return MAM_JWT_E_MALFORMED;
        if (EVP_DigestInit_ex2(v->context, v->sha256, NULL) <= 0 ||
            EVP_DigestUpdate(v->context, token, size) <= 0 ||
            EVP_DigestFinal_ex(v->context, digest, NULL) <= 0)
                return mam_jwt_openssl_errno(-ENOMEM);

        known = find_good(v, digest, now_sec);
        if (known) {
                *ret = &known->claims;
                return MAM_JWT_OK;
        }
        if (is_known_bad(v, digest, now_sec))
                return MAM_JWT_E_SIGNATURE;
        if (!v->keys)
                return MAM_JWT_E_UNKNOWN_KEY;

        r = mam_jwt_verify(&claims, v->keys, token, size, v->issuer, v->audience, now_sec);
        if (r == MAM_JWT_OK)
                *ret = keep_good(v, digest, &claims, now_sec);
        else if (r == MAM_JWT_E_SIGNATURE)
                keep_bad(v, digest, now_sec);
        return r;
}
