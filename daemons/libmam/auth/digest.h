/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * SHA-256, for who needs many: what OpenSSL looks up and allocates each time is kept
 */

#include <stddef.h>
#include <stdint.h>

#include "libmam/util/macro.h"

typedef struct MamSha256 MamSha256;

#define MAM_SHA256_SIZE 32U

int mam_sha256_new(MamSha256 **ret);
MamSha256 *mam_sha256_free(MamSha256 *s);
MAM_DEFINE_CLEANUP(MamSha256, mam_sha256_free);
/* 0 or -ENOMEM. */
int mam_sha256_digest(MamSha256 *s, uint8_t ret[static MAM_SHA256_SIZE], const void *data, size_t size);
/* For who needs one: 64 hexadecimal digits. */
int mam_sha256_text(char ret[static 2 * MAM_SHA256_SIZE + 1], const void *data, size_t size);
