/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Tokens for the HTTP APIs
 *
 * Signed with the credential jwt.key (Ed25519, PKCS#8 PEM), which is read for each token and wiped after:
 * tokens are rare.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/time.h"

#define TOKEN_ROLES_MAX        16U
#define TOKEN_TTL_DEFAULT_USEC (3600 * MAM_USEC_PER_SEC)
#define TOKEN_TTL_MAX_USEC     (30ULL * 24 * 3600 * MAM_USEC_PER_SEC)

typedef struct TokenRequest {
        const char *subject;                /* borrowed */
        const char *roles[TOKEN_ROLES_MAX]; /* borrowed */
        size_t n_roles;
        uint64_t ttl_usec; /* 0: the default */
} TokenRequest;

/* false: *ret_reason is a literal. */
bool token_request_is_valid(const TokenRequest *q, const char **ret_reason);
/* -ENOENT: there is no key. Caller frees. */
int token_issue(char **ret, const TokenRequest *q, uint64_t now_realtime_usec);
