/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tokens: the examples of RFC 7515 and RFC 8037, keys, claims, the verifier's memory, signing
 */

#include <string.h>

#include "libmam/auth/jwt-internal.h"
#include "libmam/util/macro.h"
#include "libmam/util/test.h"

#define NOW 1700000000ULL

/* RFC 7515, appendix A.1 to A.4: the payload of the first three is one that expired in 2011. */
#define RFC7515_CLAIMS \
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

static const char rfc7515_a1_key[] =
                "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
                "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}]}";
static const char rfc7515_a1[] = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC7515_CLAIMS
                                 ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
static const char rfc7515_a2_key[] =
                "{\"keys\":[{\"kty\":\"RSA\",\"alg\":\"RS256\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPC"
                "JrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5r"
                "exMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAc"
                "o9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}";
static const char rfc7515_a2[] =
                "eyJhbGciOiJSUzI1NiJ9." RFC7515_CLAIMS
                ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr"
                "7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi"
                "12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypG"
                "lUPQGe77Rw";
static const char rfc7515_a3_key[] =
                "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_"
                "tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const char rfc7515_a3[] =
                "eyJhbGciOiJFUzI1NiJ9." RFC7515_CLAIMS
                ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
static const char rfc7515_a4_key[] =
                "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz"
                "4qUxcWceqwQGk\",\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj"
                "2\"}]}";
static const char rfc7515_a4[] =
                "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34"
                "XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";

/* RFC 8037, appendix A: the key pair, its thumbprint, and the signed text. */
static const char rfc8037_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                                  "-----END PRIVATE KEY-----\n";
static const char rfc8037_kid[] = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
static const char rfc8037_key[] =
                "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k\",\"x\":\"11qYAYKxCrf"
                "VS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
static const char rfc8037_text[] =
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4"
                "ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

static MamJwks *keys_from(const char *json) {
        const char *reason = NULL;
        MamJwks *k = NULL;

        ASSERT_OK(mam_jwks_parse(&k, json, strlen(json), &reason));
        return k;
}

/* The payload as a string, or NULL; the outcome in *ret_result. */
static char *payload_of(const char *keys_json, const char *token, int *ret_result) {
        _cleanup_(mam_jwks_freep) MamJwks *keys = keys_from(keys_json);
        char *payload = NULL;
        size_t n = 0;

        *ret_result = mam_jws_verify_compact(&payload, &n, keys, token, strlen(token));
        return payload;
}

static char *sign(const char *claims_json) {
        _cleanup_(json_object_putp) json_object *claims = NULL;
        char *token = NULL;

        ASSERT_OK(mam_json_parse(&claims, claims_json, strlen(claims_json), NULL));
        ASSERT_OK(mam_jwt_sign_ed25519(&token, rfc8037_pem, claims));
        return token;
}

static int verify_at(const char *claims_json, const char *issuer, const char *audience, uint64_t now) {
        _cleanup_(mam_jwks_freep) MamJwks *keys = keys_from(rfc8037_key);
        _cleanup_(mam_jwt_claims_done) MamJwtClaims c = { 0 };
        _cleanup_(mam_freep) char *token = sign(claims_json);

        return mam_jwt_verify(&c, keys, token, strlen(token), issuer, audience, now);
}

TEST(base64url_round_trip_and_strictness) {
        static const char *const bad[] = { "A",  "AA=", "AA==",  "A A",  "AB",      "AAB",
                                           "+A", "/A",  "AAAAA", "AA\n", "\xc3\xa4" };
        unsigned char data[256], back[256];

        for (unsigned i = 0; i < sizeof(data); i++)
                data[i] = (unsigned char) (i * 7 + 3);
        for (size_t n = 0; n <= sizeof(data); n++) {
                _cleanup_(mam_freep) char *text = NULL;

                ASSERT_OK(mam_base64url_encode(&text, data, n));
                ASSERT_EQ(mam_base64url_decode(back, sizeof(back), text, strlen(text)), n);
                ASSERT_EQ(memcmp(back, data, n), 0);
                if (n > 0)
                        ASSERT_EQ(mam_base64url_decode(back, n - 1, text, strlen(text)), -EINVAL);
        }
        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++)
                ASSERT_EQ(mam_base64url_decode(back, sizeof(back), bad[i], strlen(bad[i])), -EINVAL);
}

TEST(rfc7515_examples_verify) {
        static const struct {
                const char *key, *token, *payload_begin;
        } examples[] = {
                { rfc7515_a1_key, rfc7515_a1, "{\"iss\":\"joe\",\r\n" },
                { rfc7515_a2_key, rfc7515_a2, "{\"iss\":\"joe\",\r\n" },
                { rfc7515_a3_key, rfc7515_a3, "{\"iss\":\"joe\",\r\n" },
                { rfc7515_a4_key, rfc7515_a4, "Payload" },
                { rfc8037_key, NULL, NULL },
        };

        for (size_t i = 0; examples[i].token; i++) {
                _cleanup_(mam_freep) char *payload = NULL, *broken = NULL;
                int r;

                payload = payload_of(examples[i].key, examples[i].token, &r);
                ASSERT_EQ(r, MAM_JWT_OK);
                ASSERT_EQ(strncmp(payload, examples[i].payload_begin, strlen(examples[i].payload_begin)), 0);

                /* one bit of the payload */
                broken = strdup(examples[i].token);
                ASSERT_TRUE(broken);
                strchr(broken, '.')[1] ^= 1;
                free(payload_of(examples[i].key, broken, &r));
                ASSERT_EQ(r, MAM_JWT_E_SIGNATURE);
        }
}

TEST(rfc8037_example_verifies_and_is_reproduced) {
        _cleanup_(mam_freep) char *payload = NULL, *token = NULL, *head = NULL;
        static const char no_kid[] =
                        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
        char header[256];
        ssize_t n;
        int r;

        payload = payload_of(no_kid, rfc8037_text, &r);
        ASSERT_EQ(r, MAM_JWT_OK);
        ASSERT_STREQ(payload, "Example of Ed25519 signing");

        /* our own token names the thumbprint of appendix A.3 */
        token = sign("{\"sub\":\"a\",\"exp\":1700000100}");
        head = strndup(token, strcspn(token, "."));
        ASSERT_TRUE(head);
        n = mam_base64url_decode(header, sizeof(header) - 1, head, strlen(head));
        ASSERT_OK(n);
        header[n] = '\0';
        ASSERT_TRUE(strstr(header, rfc8037_kid));
}

TEST(header_is_checked_before_anything_else) {
        static const struct {
                const char *header;
                int result;
        } cases[] = {
                { "{\"alg\":\"none\"}", MAM_JWT_E_ALGORITHM },
                { "{\"alg\":\"HS256\"}", MAM_JWT_E_ALGORITHM },
                { "{\"alg\":\"eddsa\"}", MAM_JWT_E_ALGORITHM },
                { "{\"alg\":\"EdDSA\",\"kid\":\"other\"}", MAM_JWT_E_UNKNOWN_KEY },
                { "{\"alg\":\"EdDSA\",\"crit\":[\"b64\"],\"b64\":false}", MAM_JWT_E_CRITICAL },
                { "{\"alg\":\"EdDSA\",\"crit\":[]}", MAM_JWT_E_CRITICAL },
                { "{\"alg\":\"EdDSA\",\"b64\":false}", MAM_JWT_E_CRITICAL },
                { "{\"alg\":1}", MAM_JWT_E_MALFORMED },
                { "{\"alg\":\"EdDSA\\u0000\"}", MAM_JWT_E_MALFORMED },
                { "{\"alg\":\"EdDSA\",\"kid\":7}", MAM_JWT_E_MALFORMED },
                { "{\"alg\":\"EdDSA\",\"alg\":\"EdDSA\"}", MAM_JWT_E_MALFORMED },
                { "{}", MAM_JWT_E_MALFORMED },
                { "[]", MAM_JWT_E_MALFORMED },
                { "", MAM_JWT_E_MALFORMED },
        };
        const char *rest = strchr(rfc8037_text, '.');

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++) {
                _cleanup_(mam_freep) char *head = NULL, *token = NULL;
                int r;

                ASSERT_OK(mam_base64url_encode(&head, cases[i].header, strlen(cases[i].header)));
                ASSERT_TRUE(asprintf(&token, "%s%s", head, rest) > 0);
                free(payload_of(rfc8037_key, token, &r));
                ASSERT_EQ(r, cases[i].result);
        }
}

TEST(malformed_tokens_are_refused) {
        static const char *const bad[] = {
                "",
                ".",
                "..",
                "...",
                "eyJhbGciOiJFZERTQSJ9",
                "eyJhbGciOiJFZERTQSJ9.UGF5bG9hZA",
                "eyJhbGciOiJFZERTQSJ9..x",
        };
        _cleanup_(mam_freep) char *huge = NULL;
        int r;

        for (size_t i = 0; i < MAM_ELEMENTSOF(bad); i++) {
                free(payload_of(rfc8037_key, bad[i], &r));
                ASSERT_EQ(r, MAM_JWT_E_MALFORMED);
        }

        /* good but for a dot and padding at the end */
        ASSERT_TRUE(asprintf(&huge, "%s.", rfc8037_text) > 0);
        free(payload_of(rfc8037_key, huge, &r));
        ASSERT_EQ(r, MAM_JWT_E_MALFORMED);

        free(huge);
        huge = malloc(MAM_JWT_SIZE_MAX + 2);
        ASSERT_TRUE(huge);
        memset(huge, 'a', MAM_JWT_SIZE_MAX + 1);
        huge[MAM_JWT_SIZE_MAX + 1] = '\0';
        memcpy(huge, rfc8037_text, strlen(rfc8037_text));
        free(payload_of(rfc8037_key, huge, &r));
        ASSERT_EQ(r, MAM_JWT_E_MALFORMED);
}

TEST(claims_are_checked) {
        static const struct {
                const char *claims;
                int result;
        } cases[] = {
                { "{\"sub\":\"a\",\"exp\":1700000001}", MAM_JWT_OK },
                { "{\"sub\":\"a\",\"exp\":1699999941}", MAM_JWT_OK }, /* 59 s of leeway used */
                { "{\"sub\":\"a\",\"exp\":1699999940}", MAM_JWT_E_EXPIRED },
                { "{\"sub\":\"a\",\"exp\":1700000000.5}", MAM_JWT_OK },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"nbf\":1700000060}", MAM_JWT_OK },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"nbf\":1700000061}", MAM_JWT_E_NOT_YET },
                { "{\"sub\":\"a\",\"exp\":\"1700000001\"}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":-1}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":1e300}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":99999999999999999999}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"nbf\":null}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\"}", MAM_JWT_E_MALFORMED },
                { "{\"exp\":1700000001}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"\",\"exp\":1700000001}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\\r\\nMam-Roles: admin\",\"exp\":1700000001}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\\u0000b\",\"exp\":1700000001}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"roles\":\"admin\"}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"roles\":[\"viewer,admin\"]}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"roles\":[\"a\",1]}", MAM_JWT_E_MALFORMED },
                { "{\"sub\":\"a\",\"exp\":1700000001,\"roles\":[\"a\",\"\"]}", MAM_JWT_E_MALFORMED },
                { "[]", MAM_JWT_E_MALFORMED },
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(cases); i++)
                ASSERT_EQ(verify_at(cases[i].claims, NULL, NULL, NOW), cases[i].result);
}

TEST(issuer_and_audience_are_required_when_asked_for) {
        static const char full[] = "{\"sub\":\"a\",\"exp\":1700000001,\"iss\":\"mam\",\"aud\":\"mam\"}";
        static const char list[] =
                        "{\"sub\":\"a\",\"exp\":1700000001,\"iss\":\"mam\",\"aud\":[\"x\",\"mam\"]}";
        static const char bare[] = "{\"sub\":\"a\",\"exp\":1700000001}";
        static const char nul[] =
                        "{\"sub\":\"a\",\"exp\":1700000001,\"iss\":\"mam\\u0000x\",\"aud\":[\"mam\\u0000x\"]}";

        ASSERT_EQ(verify_at(full, "mam", "mam", NOW), MAM_JWT_OK);
        ASSERT_EQ(verify_at(list, "mam", "mam", NOW), MAM_JWT_OK);
        ASSERT_EQ(verify_at(full, "mum", "mam", NOW), MAM_JWT_E_ISSUER);
        ASSERT_EQ(verify_at(full, "mam", "mum", NOW), MAM_JWT_E_AUDIENCE);
        ASSERT_EQ(verify_at(list, "mam", "y", NOW), MAM_JWT_E_AUDIENCE);
        ASSERT_EQ(verify_at(bare, "mam", NULL, NOW), MAM_JWT_E_ISSUER);
        ASSERT_EQ(verify_at(bare, NULL, "mam", NOW), MAM_JWT_E_AUDIENCE);
        ASSERT_EQ(verify_at(nul, "mam", NULL, NOW), MAM_JWT_E_ISSUER);
        ASSERT_EQ(verify_at(nul, NULL, "mam", NOW), MAM_JWT_E_AUDIENCE);
}

TEST(claims_are_handed_out) {
        _cleanup_(mam_jwks_freep) MamJwks *keys = keys_from(rfc8037_key);
        _cleanup_(mam_jwt_claims_done) MamJwtClaims c = { 0 };
        _cleanup_(mam_freep) char *token =
                        sign("{\"sub\":\"ada\",\"exp\":1700000001,\"roles\":[\"viewer\",\"project.edit\"]}");

        ASSERT_EQ(mam_jwt_verify(&c, keys, token, strlen(token), NULL, NULL, NOW), MAM_JWT_OK);
        ASSERT_STREQ(c.subject, "ada");
        ASSERT_EQ(c.n_roles, 2);
        ASSERT_STREQ(c.roles[0], "viewer");
        ASSERT_STREQ(c.roles[1], "project.edit");
        ASSERT_EQ(c.expires_sec, 1700000001);
        ASSERT_TRUE(c.all);
}

TEST(keys_that_cannot_be_used_are_left_out) {
        static const char *const keys[] = {
                "{\"kty\":\"XYZ\"}",
                "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",                   /* no alg */
                "{\"kty\":\"RSA\",\"alg\":\"RS256\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", /* tiny */
                "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}",      /* short */
                "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}",  /* curve */
                ("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                 "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}"), /* off the curve */
                "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUQ\"}",
                "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"ES256\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"key_ops\":[\"sign\"],\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
                "{\"kty\":\"oct\",\"alg\":\"HS256\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg\"}", /* 31 bytes */
                "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"}", /* no alg */
                "7",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(keys); i++) {
                _cleanup_(mam_jwks_freep) MamJwks *set = NULL;
                _cleanup_(mam_freep) char *json = NULL;

                ASSERT_TRUE(asprintf(&json, "{\"keys\":[%s]}", keys[i]) > 0);
                set = keys_from(json);
                ASSERT_EQ(mam_jwks_size(set), 0);
        }
}

TEST(ambiguous_sets_are_refused) {
        static const char *const sets[] = {
                "[]",
                "{}",
                "{\"keys\":{}}",
                "{\"keys\":[",
                /* two of one name */
                "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"alg\":\"HS256\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"},"
                "{\"kty\":\"oct\",\"kid\":\"a\",\"alg\":\"HS256\",\"k\":\"BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"}]}",
                /* a secret beside a public key */
                "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"alg\":\"HS256\",\"k\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"},"
                "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"b\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
        };

        for (size_t i = 0; i < MAM_ELEMENTSOF(sets); i++) {
                _cleanup_(mam_jwks_freep) MamJwks *set = NULL;
                const char *reason = NULL;

                ASSERT_EQ(mam_jwks_parse(&set, sets[i], strlen(sets[i]), &reason), -EBADMSG);
                ASSERT_TRUE(reason);
                ASSERT_TRUE(!set);
        }
}

TEST(generated_keys_sign_and_verify) {
        _cleanup_(mam_freep) char *pem = NULL, *jwks = NULL, *token = NULL;
        _cleanup_(json_object_putp) json_object *claims = NULL;
        _cleanup_(mam_jwt_claims_done) MamJwtClaims c = { 0 };
        _cleanup_(mam_jwks_freep) MamJwks *keys = NULL, *others = NULL;
        static const char text[] = "{\"sub\":\"a\",\"exp\":1700000100,\"roles\":[]}";

        ASSERT_OK(mam_jwt_generate_ed25519(&pem, &jwks));
        keys = keys_from(jwks);
        ASSERT_EQ(mam_jwks_size(keys), 1);
        ASSERT_OK(mam_json_parse(&claims, text, strlen(text), NULL));
        ASSERT_OK(mam_jwt_sign_ed25519(&token, pem, claims));
        ASSERT_EQ(mam_jwt_verify(&c, keys, token, strlen(token), NULL, NULL, NOW), MAM_JWT_OK);
        ASSERT_EQ(c.n_roles, 0);

        others = keys_from(rfc8037_key);
        mam_jwt_claims_done(&c);
        ASSERT_EQ(mam_jwt_verify(&c, others, token, strlen(token), NULL, NULL, NOW), MAM_JWT_E_UNKNOWN_KEY);
        ASSERT_EQ(mam_jwt_sign_ed25519(&token, "no key", claims), -EKEYREJECTED);
}

TEST(verifier_remembers_and_forgets) {
        _cleanup_(mam_jwt_verifier_freep) MamJwtVerifier *v = NULL;
        _cleanup_(mam_freep) char *token = sign("{\"sub\":\"a\",\"exp\":1700000200,\"iss\":\"mam\"}"),
                                  *broken = NULL;
        const MamJwtClaims *c = NULL, *again = NULL;
        size_t n = strlen(token);

        ASSERT_OK(mam_jwt_verifier_new(&v, keys_from(rfc8037_key), "mam", NULL));
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW), MAM_JWT_OK);
        ASSERT_STREQ(c->subject, "a");
        ASSERT_EQ(mam_jwt_verifier_check(v, &again, token, n, NOW + 59), MAM_JWT_OK);
        ASSERT_TRUE(again == c); /* the very entry: not verified again */

        /* it ends with the leeway, not with the cache */
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW + 199), MAM_JWT_OK);
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW + 259), MAM_JWT_OK);
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW + 260), MAM_JWT_E_EXPIRED);

        /* other keys: what was good is unknown at once */
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW), MAM_JWT_OK);
        mam_jwt_verifier_set_keys(v, keys_from(rfc7515_a3_key));
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW), MAM_JWT_E_UNKNOWN_KEY);
        mam_jwt_verifier_set_keys(v, NULL);
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW), MAM_JWT_E_UNKNOWN_KEY);

        /* and what was bad may be good */
        mam_jwt_verifier_set_keys(v, keys_from(rfc8037_key));
        broken = strdup(token);
        ASSERT_TRUE(broken);
        broken[n - 2] = broken[n - 2] == 'A' ? 'B' : 'A';
        for (int i = 0; i < 3; i++)
                ASSERT_EQ(mam_jwt_verifier_check(v, &c, broken, n, NOW), MAM_JWT_E_SIGNATURE);
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, n, NOW), MAM_JWT_OK);
        ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, 0, NOW), MAM_JWT_E_MALFORMED);
}

TEST(verifier_stays_bounded_under_many_tokens) {
        _cleanup_(mam_jwt_verifier_freep) MamJwtVerifier *v = NULL;
        const MamJwtClaims *c = NULL;

        ASSERT_OK(mam_jwt_verifier_new(&v, keys_from(rfc8037_key), NULL, NULL));
        for (unsigned i = 0; i < 1500; i++) {
                _cleanup_(mam_freep) char *claims = NULL, *token = NULL;

                ASSERT_TRUE(asprintf(&claims, "{\"sub\":\"user-%u\",\"exp\":1700000200}", i) > 0);
                token = sign(claims);
                ASSERT_EQ(mam_jwt_verifier_check(v, &c, token, strlen(token), NOW), MAM_JWT_OK);
                ASSERT_EQ(strtoul(c->subject + 5, NULL, 10), i);
        }
}
