/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/auth/api-key.h"

#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "libmam/auth/jwt.h"

#define SECRET_BYTES 32U
#define SECRET_TEXT  43U

static const char digits[] = "0123456789abcdef";

static void hex(char *to, const uint8_t *from, size_t n) {
        for (size_t i = 0; i < n; i++) {
                to[2 * i] = digits[from[i] >> 4];
                to[2 * i + 1] = digits[from[i] & 0xf];
        }
        to[2 * n] = '\0';
}

int mam_api_key_generate_for(char ret[static MAM_API_KEY_TEXT_SIZE + 1], const char *id) {
        uint8_t secret[SECRET_BYTES];
        char *text = NULL;
        int r;

        if (getrandom(secret, sizeof(secret), 0) != (ssize_t) sizeof(secret))
                return -EIO;
        r = mam_base64url_encode(&text, secret, sizeof(secret));
        OPENSSL_cleanse(secret, sizeof(secret));
        if (r < 0)
                return r;
        (void) snprintf(ret, MAM_API_KEY_TEXT_SIZE + 1, MAM_API_KEY_PREFIX "%.16s_%s", id, text);
        OPENSSL_cleanse(text, strlen(text));
        free(text);
        return 0;
}

int mam_api_key_generate(
                char ret[static MAM_API_KEY_TEXT_SIZE + 1],
                char ret_id[static MAM_API_KEY_ID_SIZE + 1]) {
        uint8_t id[MAM_API_KEY_ID_SIZE / 2];

        if (getrandom(id, sizeof(id), 0) != (ssize_t) sizeof(id))
                return -EIO;
        hex(ret_id, id, sizeof(id));
        return mam_api_key_generate_for(ret, ret_id);
}

bool mam_api_key_id_is_valid(const char *id) {
        return strlen(id) == MAM_API_KEY_ID_SIZE && strspn(id, digits) == MAM_API_KEY_ID_SIZE;
}

bool mam_api_key_parse(const char *text, size_t size, char ret_id[static MAM_API_KEY_ID_SIZE + 1]) {
        const size_t prefix = strlen(MAM_API_KEY_PREFIX);
        char id[MAM_API_KEY_ID_SIZE + 1];

        if (size != MAM_API_KEY_TEXT_SIZE || memcmp(text, MAM_API_KEY_PREFIX, prefix) != 0 ||
            text[prefix + MAM_API_KEY_ID_SIZE] != '_')
                return false;
        memcpy(id, text + prefix, MAM_API_KEY_ID_SIZE);
        id[MAM_API_KEY_ID_SIZE] = '\0';
        if (!mam_api_key_id_is_valid(id))
                return false;
        for (size_t i = size - SECRET_TEXT; i < size; i++)
                if (text[i] == '\0' ||
                    !strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", text[i]))
                        return false;
        memcpy(ret_id, id, sizeof(id));
        return true;
}

int mam_api_key_mac(
                uint8_t ret[static MAM_API_KEY_MAC_SIZE],
                const char *secret,
                size_t secret_size,
                const char *key,
                size_t key_size) {
        unsigned size = MAM_API_KEY_MAC_SIZE;

        if (secret_size > INT32_MAX || !HMAC(EVP_sha256(),
                                             secret,
                                             (int) secret_size,
                                             (const unsigned char *) key,
                                             key_size,
                                             ret,
                                             &size))
                return -ENOMEM;
        return 0;
}

bool mam_api_key_mac_equal(
                const uint8_t a[static MAM_API_KEY_MAC_SIZE],
                const uint8_t b[static MAM_API_KEY_MAC_SIZE]) {
        return CRYPTO_memcmp(a, b, MAM_API_KEY_MAC_SIZE) == 0;
}

void mam_api_key_mac_format(char ret[static 2 * MAM_API_KEY_MAC_SIZE + 1], const uint8_t *mac) {
        hex(ret, mac, MAM_API_KEY_MAC_SIZE);
}

bool mam_api_key_mac_parse(uint8_t ret[static MAM_API_KEY_MAC_SIZE], const char *text) {
        if (strlen(text) != 2 * (size_t) MAM_API_KEY_MAC_SIZE ||
            strspn(text, digits) != 2 * (size_t) MAM_API_KEY_MAC_SIZE)
                return false;
        for (size_t i = 0; i < MAM_API_KEY_MAC_SIZE; i++)
                ret[i] =
                                (uint8_t) ((strchr(digits, text[2 * i]) - digits) << 4 |
                                           (strchr(digits, text[2 * i + 1]) - digits));
        return true;
}
