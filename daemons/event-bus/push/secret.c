/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Secrets of push subscriptions: "v1:" and base64 of nonce, ciphertext, tag
 */

#include "event-bus/push/secret.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "event-bus/push/base64.h"
#include "libmam/util/macro.h"

#define PREFIX     "v1:"
#define NONCE_SIZE 12U
#define TAG_SIZE   16U
#define SECRET_MAX 4096U

MAM_DEFINE_CLEANUP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free);

static int digit(char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int push_key_parse(PushKey *ret, const char *text) {
        PushKey key;
        size_t size;

        assert(ret);
        assert(text);

        size = strcspn(text, "\n");
        if (size != (size_t) 2 * PUSH_KEY_SIZE)
                return -EINVAL;
        for (size_t i = 0; i < PUSH_KEY_SIZE; i++) {
                int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

                if (high < 0 || low < 0)
                        return -EINVAL;
                key.bytes[i] = (uint8_t) (high << 4 | low);
        }
        *ret = key;
        push_key_wipe(&key);
        return 0;
}

void push_key_wipe(PushKey *key) {
        explicit_bzero(key, sizeof(*key));
}

/* Seals or opens size bytes; tag is written or checked. */
static int work(bool seals,
                const PushKey *key,
                const char *name,
                const uint8_t *nonce,
                const uint8_t *in,
                size_t size,
                uint8_t *out,
                uint8_t *tag) {
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
        int n = 0;

        if (!c)
                return -ENOMEM;
        if (EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key->bytes, nonce, seals) != 1 ||
            EVP_CipherUpdate(c, NULL, &n, (const uint8_t *) name, (int) strlen(name)) != 1 ||
            EVP_CipherUpdate(c, out, &n, in, (int) size) != 1)
                return -EIO;
        if (!seals && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, (int) TAG_SIZE, tag) != 1)
                return -EIO;
        if (EVP_CipherFinal_ex(c, out + n, &n) != 1)
                return seals ? -EIO : -EBADMSG;
        if (seals && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, (int) TAG_SIZE, tag) != 1)
                return -EIO;
        return 0;
}

int push_secret_seal(char **ret, const PushKey *key, const char *subscription, const char *secret) {
        uint8_t sealed[NONCE_SIZE + SECRET_MAX + TAG_SIZE];
        _cleanup_(mam_freep) char *text = NULL;
        size_t size;
        int r;

        assert(ret);
        assert(key);
        assert(subscription);
        assert(secret);

        size = strlen(secret);
        if (size > SECRET_MAX)
                return -EINVAL;
        if (RAND_bytes(sealed, (int) NONCE_SIZE) != 1)
                return -EIO;
        r = work(true,
                 key,
                 subscription,
                 sealed,
                 (const uint8_t *) secret,
                 size,
                 sealed + NONCE_SIZE,
                 sealed + NONCE_SIZE + size);
        if (r < 0)
                return r;
        size += NONCE_SIZE + TAG_SIZE;
        text = malloc(strlen(PREFIX) + PUSH_BASE64_SIZE(size));
        if (!text)
                return -ENOMEM;
        memcpy(text, PREFIX, strlen(PREFIX));
        push_base64_encode(text + strlen(PREFIX), sealed, size);

        *ret = MAM_TAKE(text);
        return 0;
}

int push_secret_open(char **ret, const PushKey *key, const char *subscription, const char *sealed) {
        uint8_t bytes[NONCE_SIZE + SECRET_MAX + TAG_SIZE + 3];
        _cleanup_(mam_freep) char *text = NULL;
        ssize_t n;
        int r;

        assert(ret);
        assert(key);
        assert(subscription);
        assert(sealed);

        if (strncmp(sealed, PREFIX, strlen(PREFIX)) != 0)
                return -EBADMSG;
        sealed += strlen(PREFIX);
        n = push_base64_decode(bytes, sizeof(bytes), sealed, strlen(sealed));
        if (n < (ssize_t) (NONCE_SIZE + TAG_SIZE))
                return -EBADMSG;
        n -= (ssize_t) (NONCE_SIZE + TAG_SIZE);
        text = calloc(1, (size_t) n + 1);
        if (!text)
                return -ENOMEM;
        r = work(false,
                 key,
                 subscription,
                 bytes,
                 bytes + NONCE_SIZE,
                 (size_t) n,
                 (uint8_t *) text,
                 bytes + NONCE_SIZE + n);
        if (r < 0) {
                explicit_bzero(text, (size_t) n);
                return r;
        }

        *ret = MAM_TAKE(text);
        return 0;
}
