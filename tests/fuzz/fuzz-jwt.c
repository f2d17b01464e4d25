/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tokens, keys and claims from outside. The first byte of an input says what the rest is:
 * 't' a token, checked against fixed keys; 'k' a set of keys; 'c' claims, which are signed first so that
 * they are read at all; anything else: base64url. What was accepted must hold what the header promises.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libmam/auth/jwt.h"
#include "libmam/json/json.h"

#define CHECK(expr)              \
        do {                     \
                if (!(expr))     \
                        abort(); \
        } while (0)

static const char private_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
static const char public_jwks[] =
                "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\","
                "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},"
                "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static const MamJwks *fixed_keys(void) {
        static MamJwks *keys = NULL; /* reachable until exit */
        const char *reason;

        if (!keys)
                CHECK(mam_jwks_parse(&keys, public_jwks, strlen(public_jwks), &reason) == 0);
        return keys;
}

static void check_token(const char *token, size_t size) {
        _cleanup_(mam_jwt_claims_done) MamJwtClaims c = { 0 };
        char issuer[64];
        int r;

        r = mam_jwt_verify(&c, fixed_keys(), token, size, "mam", "mam", 1700000000);
        CHECK(r == -ENOMEM || (r >= 0 && r < _MAM_JWT_RESULT_MAX));
        CHECK(r == MAM_JWT_OK || !c.all);
        CHECK(r != MAM_JWT_OK || (c.subject && c.expires_sec + 60 > 1700000000));
        /* Who is asked for keys by what a token claims gets the one that verifies it. */
        CHECK(!mam_jwt_claimed_issuer(issuer, sizeof(issuer), token, size) ||
              strlen(issuer) < sizeof(issuer));
        CHECK(r != MAM_JWT_OK ||
              (mam_jwt_claimed_issuer(issuer, sizeof(issuer), token, size) && strcmp(issuer, "mam") == 0));
}

static void check_keys(const char *json, size_t size) {
        _cleanup_(mam_jwks_freep) MamJwks *keys = NULL;
        const char *reason = NULL;
        int r;

        r = mam_jwks_parse(&keys, json, size, &reason);
        CHECK(r == 0 || r == -ENOMEM || (r == -EBADMSG && reason));
        CHECK(r < 0 || mam_jwks_size(keys) <= MAM_JWKS_KEYS_MAX);
}

static void check_claims(const char *json, size_t size) {
        _cleanup_(json_object_putp) json_object *claims = NULL;
        _cleanup_(mam_jwt_claims_done) MamJwtClaims c = { 0 };
        _cleanup_(mam_freep) char *token = NULL;
        int r;

        if (mam_json_parse(&claims, json, size, NULL) < 0)
                return;
        r = mam_jwt_sign_ed25519(&token, private_pem, claims);
        CHECK(r == 0 || r == -EMSGSIZE || r == -ENOMEM);
        if (r < 0)
                return;

        r = mam_jwt_verify(&c, fixed_keys(), token, strlen(token), NULL, NULL, 1700000000);
        CHECK(r != MAM_JWT_E_SIGNATURE && r != MAM_JWT_E_UNKNOWN_KEY && r != MAM_JWT_E_ALGORITHM &&
              r != MAM_JWT_E_CRITICAL);
        if (r != MAM_JWT_OK)
                return;
        CHECK(!strpbrk(c.subject, "\r\n"));
        for (size_t i = 0; i < c.n_roles; i++)
                CHECK(c.roles[i][0] != '\0' && !strpbrk(c.roles[i], ", \t\r\n"));
}

static void check_base64url(const char *text, size_t size) {
        _cleanup_(mam_freep) char *data = malloc(size + 1), *again = NULL;
        ssize_t n;

        CHECK(data);
        n = mam_base64url_decode(data, size, text, size);
        if (n < 0)
                return;
        CHECK(mam_base64url_encode(&again, data, (size_t) n) == 0);
        CHECK(strlen(again) == size && memcmp(again, text, size) == 0); /* one spelling for one value */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const char *rest = (const char *) data + 1;

        if (size == 0 || size > 16384)
                return 0;
        switch (data[0]) {
        case 't':
                check_token(rest, size - 1);
                break;
        case 'k':
                check_keys(rest, size - 1);
                break;
        case 'c':
                check_claims(rest, size - 1);
                break;
        default:
                check_base64url(rest, size - 1);
        }
        return 0;
}
