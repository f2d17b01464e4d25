/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Signatures of webhooks
 */

#include "event-bus/push/signature.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "event-bus/push/base64.h"

#define PREFIX "whsec_"

static int read_secret(PushSecrets *s, const char *text, size_t size) {
        uint8_t key[PUSH_SECRET_BYTES_MAX + 3];
        ssize_t n;

        if (size < strlen(PREFIX) || memcmp(text, PREFIX, strlen(PREFIX)) != 0)
                return -EINVAL;
        if (s->n == PUSH_SECRETS_MAX)
                return -E2BIG;
        n = push_base64_decode(key, sizeof(key), text + strlen(PREFIX), size - strlen(PREFIX));
        if (n < (ssize_t) PUSH_SECRET_BYTES_MIN || n > (ssize_t) PUSH_SECRET_BYTES_MAX)
                return -EINVAL;
        memcpy(s->keys[s->n], key, (size_t) n);
        s->sizes[s->n++] = (size_t) n;
        explicit_bzero(key, sizeof(key));
        return 0;
}

int push_secrets_parse(PushSecrets *ret, const char *text) {
        PushSecrets s = { 0 };
        int r = 0;

        assert(ret);
        assert(text);

        while (r >= 0 && *text) {
                size_t n = strcspn(text, " ");

                if (n > 0)
                        r = read_secret(&s, text, n);
                text += n + (text[n] ? 1 : 0);
        }
        if (r >= 0 && s.n == 0)
                r = -EINVAL;
        if (r >= 0)
                *ret = s;
        push_secrets_wipe(&s);
        return r;
}

void push_secrets_wipe(PushSecrets *s) {
        explicit_bzero(s, sizeof(*s));
}

int push_sign(MamBuffer *b,
              const PushSecrets *s,
              const char *id,
              uint64_t seconds,
              const void *body,
              size_t size) {
        _cleanup_(mam_buffer_done) MamBuffer signed_text = MAM_BUFFER_INIT;
        int r;

        assert(b);
        assert(s);
        assert(id);

        r = mam_buffer_appendf(&signed_text, "%s.%" PRIu64 ".", id, seconds);
        if (r >= 0)
                r = mam_buffer_append(&signed_text, body, size);
        for (size_t i = 0; r >= 0 && i < s->n; i++) {
                uint8_t digest[EVP_MAX_MD_SIZE];
                unsigned n = 0;
                char text[PUSH_BASE64_SIZE(EVP_MAX_MD_SIZE)];

                if (!HMAC(EVP_sha256(),
                          s->keys[i],
                          (int) s->sizes[i],
                          (const uint8_t *) mam_buffer_bytes(&signed_text),
                          signed_text.size,
                          digest,
                          &n))
                        return -EIO;
                push_base64_encode(text, digest, n);
                r = mam_buffer_appendf(b, "%sv1,%s", i > 0 ? " " : "", text);
        }
        return r;
}
