/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Signatures of webhooks (Standard Webhooks 1.0): HMAC-SHA256 over "ID.TIMESTAMP.BODY", in base64
 *
 * A secret is "whsec_" and 24 to 64 bytes in base64; several, with spaces between, while one is replaced by
 * another: each signs.
 */

#include <stddef.h>
#include <stdint.h>

#include "libmam/util/buffer.h"

#define PUSH_SECRETS_MAX      4U
#define PUSH_SECRET_BYTES_MIN 24U
#define PUSH_SECRET_BYTES_MAX 64U

typedef struct PushSecrets {
        uint8_t keys[PUSH_SECRETS_MAX][PUSH_SECRET_BYTES_MAX];
        size_t sizes[PUSH_SECRETS_MAX];
        size_t n;
} PushSecrets;

/* -EINVAL: something else stands there; -E2BIG: too many. */
int push_secrets_parse(PushSecrets *ret, const char *text);
void push_secrets_wipe(PushSecrets *s);
/* Appends "v1,… v1,…", one for each secret. */
int push_sign(MamBuffer *b,
              const PushSecrets *s,
              const char *id,
              uint64_t seconds,
              const void *body,
              size_t size);
