/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Sessions in Redis
 *
 * A session is a family of refresh tokens, of which the latest is good once. A refresh token is
 * "mamr_SID_N_MAC": the session, its number in it, and an HMAC over both under the secret of the gateways,
 * so that Redis keeps nothing that would help to forge one, and what was never issued is refused without
 * asking. An authentic token whose number has passed was used before: the session ends, and with it its
 * access tokens (RFC 9700, section 4.14). Each change is one script: two gateways cannot both give the next
 * token.
 */

#include <stdbool.h>
#include <stdint.h>

#include "api-gateway/gateway-redis.h"
#include "libmam/cache/redis.h"

#define SESSIONS_REVOKED_KEY GATEWAY_REDIS_PREFIX "revoked" /* a sorted set, and a channel */
#define SESSION_ID_SIZE      32U                            /* hexadecimal digits */
#define REFRESH_TOKEN_PREFIX "mamr_"
#define REFRESH_TOKEN_MAX    128U

typedef struct SessionSpec {
        const char *id; /* SESSION_ID_SIZE digits */
        const char *subject;
        const char *roles;  /* separated by spaces */
        const char *scopes; /* the same */
        bool scoped;
        const char *key;     /* the API key that it was made with */
        const char *address; /* of the client */
        uint64_t now_sec, lifetime_sec, access_sec;
        uint32_t sessions_max; /* of the subject: the oldest ends */
} SessionSpec;

/* SESSION_ID_SIZE digits. -EIO. */
int session_id_new(char ret[static SESSION_ID_SIZE + 1]);

/* secret: of the gateways. 0 or -ENOMEM. */
int refresh_token_format(
                char ret[static REFRESH_TOKEN_MAX],
                const char *secret,
                size_t secret_size,
                const char *id,
                uint64_t number);
/* 1: authentic; 0: not; -ENOMEM. */
int refresh_token_parse(
                const char *token,
                size_t size,
                const char *secret,
                size_t secret_size,
                char ret_id[static SESSION_ID_SIZE + 1],
                uint64_t *ret_number);
bool refresh_token_looks_like(const char *token, size_t size);

/* All: 0, or what mam_redis_command() returned; the callback is as there. Replies: */
/* "ok" */
int session_create(MamRedis *r, const SessionSpec *s, MamRedisCallback callback, void *userdata);
/* {"ok", subject, roles, scopes, "1" if scoped, key}; {"unknown"}; {"reuse", subject, key} */
int session_refresh(
                MamRedis *r,
                const char *id,
                uint64_t number,
                uint64_t now_sec,
                uint64_t lifetime_sec,
                uint64_t access_sec,
                MamRedisCallback callback,
                void *userdata);
/* {{id, created, used, key, scopes, address}, …} */
int session_list(
                MamRedis *r,
                const char *subject,
                uint64_t now_sec,
                MamRedisCallback callback,
                void *userdata);
/* The number of sessions that ended. id NULL: all of the subject; subject NULL: whoever's it is. */
int session_end(MamRedis *r,
                const char *subject,
                const char *id,
                uint64_t now_sec,
                uint64_t access_sec,
                MamRedisCallback callback,
                void *userdata);
/* {subject, number, key, scopes}, each nil where there is none */
int session_look(MamRedis *r, const char *id, MamRedisCallback callback, void *userdata);
/* A token ends now, though it would not before expires_sec. */
int token_revoke(
                MamRedis *r,
                const char *token_id,
                uint64_t expires_sec,
                MamRedisCallback callback,
                void *userdata);
