/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/evp.h>

#include "libmam/http/websocket-handshake.h"

#include <sys/random.h>

bool mam_websocket_key_is_valid(const char *key) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

        /* Of the last digit only two bits count; some clients do not care about the others. */
        return key && strlen(key) == 24 && strspn(key, digits) == 22 && strcmp(key + 22, "==") == 0;
}

int mam_websocket_key_new(char ret[static MAM_WEBSOCKET_KEY_SIZE]) {
        unsigned char random[16];

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        (void) EVP_EncodeBlock((unsigned char *) ret, random, sizeof(random));
        return 0;
}

int mam_websocket_accept_value(char ret[static MAM_WEBSOCKET_ACCEPT_SIZE], const char *key) {
        static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        char text[24 + sizeof(guid)];
        unsigned char hash[EVP_MAX_MD_SIZE];
        unsigned int size;

        assert(mam_websocket_key_is_valid(key));

        memcpy(text, key, 24);
        memcpy(text + 24, guid, sizeof(guid));
        if (EVP_Digest(text, sizeof(text) - 1, hash, &size, EVP_sha1(), NULL) <= 0 || size != 20)
                return -EIO;
        (void) EVP_EncodeBlock((unsigned char *) ret, hash, (int) size);
        return 0;
}

const char *mam_websocket_choose_protocol(const char *list, const char *const *protocols) {
        for (const char *p = list; p && protocols; p = strchr(p, ',')) {
                size_t n;

                p += strspn(p, ", \t");
                n = strcspn(p, ", \t");
                for (size_t i = 0; n > 0 && protocols[i]; i++)
                        if (strlen(protocols[i]) == n && memcmp(protocols[i], p, n) == 0)
                                return protocols[i];
        }
        return NULL;
}
