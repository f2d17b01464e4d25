/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/key-hash.h"

#include <sys/random.h>

#include "libmam/util/time.h"

static uint64_t rotate(uint64_t x, unsigned n) {
        return x << n | x >> (64U - n);
}

static void mix(uint64_t v[static 4], unsigned rounds) {
        for (unsigned i = 0; i < rounds; i++) {
                v[0] += v[1];
                v[2] += v[3];
                v[1] = rotate(v[1], 13) ^ v[0];
                v[3] = rotate(v[3], 16) ^ v[2];
                v[0] = rotate(v[0], 32);
                v[2] += v[1];
                v[0] += v[3];
                v[1] = rotate(v[1], 17) ^ v[2];
                v[3] = rotate(v[3], 21) ^ v[0];
                v[2] = rotate(v[2], 32);
        }
}

/* Up to eight bytes, the first one lowest, on every machine. */
static uint64_t load(const unsigned char *p, size_t n) {
        uint64_t x = 0;

        for (size_t i = 0; i < n; i++)
                x |= (uint64_t) p[i] << (8 * i);
        return x;
}

KeyHashKey key_hash_key_new(void) {
        KeyHashKey key = { 0 };

        /* The kernel's pool is ready long before a gateway is. If it ever is not, the clock and an address
         * are better than nothing: what is at stake is the spread of a table. */
        if (getrandom(&key, sizeof(key), 0) != (ssize_t) sizeof(key)) {
                key.k0 = mam_now_realtime();
                key.k1 = (uint64_t) (uintptr_t) &key ^ mam_now_monotonic();
        }
        return key;
}

uint64_t key_hash(const KeyHashKey *key, const void *data, size_t size) {
        uint64_t v[4] = {
                key->k0 ^ 0x736f6d6570736575ULL,
                key->k1 ^ 0x646f72616e646f6dULL,
                key->k0 ^ 0x6c7967656e657261ULL,
                key->k1 ^ 0x7465646279746573ULL,
        };
        const unsigned char *p = data;
        uint64_t word;
        size_t left = size;

        for (; left >= 8; left -= 8, p += 8) {
                word = load(p, 8);
                v[3] ^= word;
                mix(v, 2);
                v[0] ^= word;
        }
        word = load(p, left) | (uint64_t) size << 56;
        v[3] ^= word;
        mix(v, 2);
        v[0] ^= word;
        v[2] ^= 0xff;
        mix(v, 4);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}
