/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making keys and tokens: Ed25519 only (RFC 8037)
 */

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "libmam/auth/jwt-internal.h"
#include "libmam/util/buffer.h"

#define PUBLIC_SIZE    32U
#define SIGNATURE_SIZE 64U

/* Without it OpenSSL would ask for the passphrase of an encrypted key at the terminal. */
static int no_passphrase(char *ret, int size, int writing, void *userdata) {
        return -1;
}

/* x of the JWK, and the thumbprint of RFC 7638 as kid. The caller frees both. */
static int key_names(char **ret_x, char **ret_kid, const EVP_PKEY *key) {
        _cleanup_(mam_freep) char *x = NULL, *kid = NULL;
        unsigned char public[PUBLIC_SIZE], digest[EVP_MAX_MD_SIZE];
        size_t size = sizeof(public), digest_size = 0;
        char canonical[128];
        int r;

        if (EVP_PKEY_get_raw_public_key(key, public, &size) <= 0 || size != sizeof(public))
                return mam_jwt_openssl_errno(-EINVAL);
        r = mam_base64url_encode(&x, public, size);
        if (r < 0)
                return r;

        (void) snprintf(canonical,
                        sizeof(canonical),
                        "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}",
                        x);
        if (!EVP_Q_digest(NULL, "SHA256", NULL, canonical, strlen(canonical), digest, &digest_size))
                return mam_jwt_openssl_errno(-EIO);
        r = mam_base64url_encode(&kid, digest, digest_size);
        if (r < 0)
                return r;

        *ret_x = MAM_TAKE(x);
        *ret_kid = MAM_TAKE(kid);
        return 0;
}

static int key_from_pem(EVP_PKEY **ret, const char *pem) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        _cleanup_(BIO_free_allp) BIO *in = NULL;

        in = BIO_new_mem_buf(pem, -1);
        if (!in)
                return -ENOMEM;
        key = PEM_read_bio_PrivateKey_ex(in, NULL, no_passphrase, NULL, NULL, NULL);
        if (!key)
                return mam_jwt_openssl_errno(-EKEYREJECTED);
        if (!EVP_PKEY_is_a(key, "ED25519"))
                return -EKEYREJECTED;

        *ret = MAM_TAKE(key);
        return 0;
}

/* base64url(header) "." base64url(claims) */
static int signing_input(MamBuffer *ret, const char *kid, json_object *claims) {
        _cleanup_(mam_freep) char *head = NULL, *body = NULL;
        const char *text = mam_json_to_string(claims);
        char header[128];
        int r;

        if (!text)
                return -ENOMEM;
        (void) snprintf(header, sizeof(header), "{\"alg\":\"EdDSA\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
        r = mam_base64url_encode(&head, header, strlen(header));
        if (r < 0)
                return r;
        r = mam_base64url_encode(&body, text, strlen(text));
        if (r < 0)
                return r;
        return mam_buffer_appendf(ret, "%s.%s", head, body);
}

int mam_jwt_sign_ed25519(char **ret, const char *private_pem, json_object *claims) {
        _cleanup_(mam_freep) char *x = NULL, *kid = NULL, *signature_text = NULL;
        _cleanup_(mam_buffer_done) MamBuffer token = { .max = MAM_JWT_SIZE_MAX };
        _cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *context = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        unsigned char signature[SIGNATURE_SIZE];
        size_t size = sizeof(signature);
        char *text;
        int r;

        r = key_from_pem(&key, private_pem);
        if (r < 0)
                return r;
        r = key_names(&x, &kid, key);
        if (r < 0)
                return r;
        r = signing_input(&token, kid, claims);
        if (r < 0)
                return r == -ENOBUFS ? -EMSGSIZE : r;

        context = EVP_MD_CTX_new();
        if (!context)
                return -ENOMEM;
        if (EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, key, NULL) <= 0 ||
            EVP_DigestSign(context,
                           signature,
                           &size,
                           (const unsigned char *) mam_buffer_bytes(&token),
                           token.size) <= 0)
                return mam_jwt_openssl_errno(-EIO);

        r = mam_base64url_encode(&signature_text, signature, size);
        if (r < 0)
                return r;
        r = mam_buffer_appendf(&token, ".%s", signature_text);
        if (r < 0)
                return r == -ENOBUFS ? -EMSGSIZE : r;

        text = mam_buffer_steal(&token, NULL);
        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

int mam_jwt_generate_ed25519(char **ret_private_pem, char **ret_jwks) {
        _cleanup_(mam_freep) char *x = NULL, *kid = NULL, *jwks = NULL;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
        _cleanup_(BIO_free_allp) BIO *out = NULL;
        char *data = NULL, *pem;
        long size;
        int r;

        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        if (!key)
                return mam_jwt_openssl_errno(-EIO);
        r = key_names(&x, &kid, key);
        if (r < 0)
                return r;
        if (asprintf(&jwks,
                     "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\","
                     "\"kid\":\"%s\",\"x\":\"%s\"}]}\n",
                     kid,
                     x) < 0) {
                jwks = NULL; /* its content is undefined then */
                return -ENOMEM;
        }

        out = BIO_new(BIO_s_secmem()); /* wiped when freed */
        if (!out || PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) <= 0)
                return mam_jwt_openssl_errno(-ENOMEM);
        size = BIO_get_mem_data(out, &data);
        pem = size > 0 ? strndup(data, (size_t) size) : NULL;
        if (!pem)
                return -ENOMEM;

        *ret_private_pem = pem;
        *ret_jwks = MAM_TAKE(jwks);
        return 0;
}
