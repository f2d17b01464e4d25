/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "libmam/auth/digest.h"

#include <assert.h>
#include <stdio.h>

#include <openssl/evp.h>

struct MamSha256 {
        EVP_MD *md;          /* owned */
        EVP_MD_CTX *context; /* owned */
};

int mam_sha256_new(MamSha256 **ret) {
        _cleanup_(mam_sha256_freep) MamSha256 *s = calloc(1, sizeof(*s));

        assert(ret);

        if (!s)
                return -ENOMEM;
        s->md = EVP_MD_fetch(NULL, "SHA256", NULL);
        s->context = EVP_MD_CTX_new();
        if (!s->md || !s->context)
                return -ENOMEM;

        *ret = MAM_TAKE(s);
        return 0;
}

MamSha256 *mam_sha256_free(MamSha256 *s) {
        if (!s)
                return NULL;

        EVP_MD_CTX_free(s->context);
        EVP_MD_free(s->md);
        free(s);
        return NULL;
}

int mam_sha256_digest(MamSha256 *s, uint8_t ret[static MAM_SHA256_SIZE], const void *data, size_t size) {
        if (EVP_DigestInit_ex2(s->context, s->md, NULL) <= 0 ||
            EVP_DigestUpdate(s->context, data, size) <= 0 || EVP_DigestFinal_ex(s->context, ret, NULL) <= 0)
                return -ENOMEM;
        return 0;
}

int mam_sha256_text(char ret[static 2 * MAM_SHA256_SIZE + 1], const void *data, size_t size) {
        uint8_t digest[MAM_SHA256_SIZE];

        if (EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL) <= 0)
                return -ENOMEM;
        for (size_t i = 0; i < sizeof(digest); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", digest[i]);
        return 0;
}
