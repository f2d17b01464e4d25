/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * base64url without padding
 *
 * Strict in both directions: one text for one value. Padding, white space, the alphabet of plain base64 and
 * unused bits that are not zero are refused, so that nobody can make a second spelling of a signed token.
 */

#include <stdint.h>

#include "libmam/auth/jwt.h"

static const char alphabet[64] = {
        'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P',
        'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'a', 'b', 'c', 'd', 'e', 'f',
        'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v',
        'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '_',
};

static int digit_value(char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == '-')
                return 62;
        if (c == '_')
                return 63;
        return -EINVAL;
}

ssize_t mam_base64url_decode(void *ret, size_t ret_size, const char *text, size_t size) {
        uint8_t *out = ret;
        uint32_t bits = 0;
        unsigned n_bits = 0;
        size_t n = 0, decoded = size / 4 * 3 + (size % 4 > 1 ? size % 4 - 1 : 0);
        int v;

        if (size % 4 == 1 || decoded > ret_size)
                return -EINVAL;

        for (size_t i = 0; i < size; i++) {
                v = digit_value(text[i]);
                if (v < 0)
                        return -EINVAL;
                bits = (bits << 6 | (uint32_t) v) &
                       0xfffff; /* at most 6 left over and 6 new are ever used */
                n_bits += 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        out[n++] = (uint8_t) (bits >> n_bits);
                }
        }
        if ((bits & ((1U << n_bits) - 1U)) != 0)
                return -EINVAL;

        return (ssize_t) n;
}

int mam_base64url_encode(char **ret, const void *data, size_t size) {
        const uint8_t *in = data;
        uint32_t bits = 0;
        unsigned n_bits = 0;
        size_t n = 0;
        char *out;

        out = malloc(size / 3 * 4 + 5);
        if (!out)
                return -ENOMEM;

        for (size_t i = 0; i < size; i++) {
                bits = (bits << 8 | in[i]) & 0xfffff;
                n_bits += 8;
                while (n_bits >= 6) {
                        n_bits -= 6;
                        out[n++] = alphabet[bits >> n_bits & 63];
                }
        }
        if (n_bits > 0)
                out[n++] = alphabet[bits << (6 - n_bits) & 63];
        out[n] = '\0';

        *ret = out;
        return 0;
}
