/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Base64 with padding (RFC 4648, section 4), as Standard Webhooks writes it
 */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include <openssl/evp.h>

#define PUSH_BASE64_SIZE(n) (((size_t) (n) + 2) / 3 * 4 + 1) /* with NUL */

static inline void push_base64_encode(char *ret, const uint8_t *data, size_t size) {
        (void) EVP_EncodeBlock((unsigned char *) ret, data, (int) size);
}

/* Bytes written. Padding may be missing. -EINVAL: no base64, or more than fits. */
static inline ssize_t push_base64_decode(uint8_t *ret, size_t ret_size, const char *text, size_t size) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t n = size, written = 0;
        uint32_t bits = 0;

        while (n > 0 && size - n < 2 && text[n - 1] == '=')
                n--;
        if (n % 4 == 1 || (n < size && size % 4 != 0))
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                const char *digit = text[i] ? strchr(digits, text[i]) : NULL;

                if (!digit)
                        return -EINVAL;
                bits = bits << 6 | (uint32_t) (digit - digits);
                if (i % 4 > 0) {
                        if (written == ret_size)
                                return -EINVAL;
                        ret[written++] = (uint8_t) (bits >> (6 - 2 * (i % 4)));
                }
        }
        return (ssize_t) written;
}
