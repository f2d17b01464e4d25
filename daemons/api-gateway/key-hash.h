/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * SipHash-2-4: a short keyed hash
 *
 * Who does not know the key cannot make two texts meet in one place of a table, nor choose the place
 * (https://www.aumasson.jp/siphash/siphash.pdf).
 */

#include <stddef.h>
#include <stdint.h>

typedef struct KeyHashKey {
        uint64_t k0, k1;
} KeyHashKey;

/* Random, and never the same in two processes. */
KeyHashKey key_hash_key_new(void);
uint64_t key_hash(const KeyHashKey *key, const void *data, size_t size);
