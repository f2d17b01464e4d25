/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/sessions.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#include "libmam/auth/api-key.h"
#include "libmam/auth/digest.h"
#include "libmam/auth/jwt.h"

#define PREFIX      GATEWAY_REDIS_PREFIX
#define SUBJECT_KEY (sizeof(PREFIX "subject:") + 64)

/* ---- refresh tokens ---- */

int session_id_new(char ret[static SESSION_ID_SIZE + 1]) {
        uint8_t random[SESSION_ID_SIZE / 2];

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(random); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", random[i]);
        return 0;
}

int refresh_token_format(
                char ret[static REFRESH_TOKEN_MAX],
                const char *secret,
                size_t secret_size,
                const char *id,
                uint64_t number) {
        uint8_t mac[MAM_API_KEY_MAC_SIZE];
        char text[96];
        _cleanup_(mam_freep) char *mac_text = NULL;
        int n, r;

        /* "refresh:" keeps what is signed here apart from API keys, which are kept under the same secret. */
        n = snprintf(text, sizeof(text), "refresh:%.32s_%" PRIx64, id, number);
        r = mam_api_key_mac(mac, secret, secret_size, text, (size_t) n);
        if (r >= 0)
                r = mam_base64url_encode(&mac_text, mac, sizeof(mac));
        if (r < 0)
                return r;
        (void) snprintf(ret, REFRESH_TOKEN_MAX, REFRESH_TOKEN_PREFIX "%s_%s", text + 8, mac_text);
        return 0;
}

bool refresh_token_looks_like(const char *token, size_t size) {
        return size > strlen(REFRESH_TOKEN_PREFIX) &&
               memcmp(token, REFRESH_TOKEN_PREFIX, strlen(REFRESH_TOKEN_PREFIX)) == 0;
}

int refresh_token_parse(
                const char *token,
                size_t size,
                const char *secret,
                size_t secret_size,
                char ret_id[static SESSION_ID_SIZE + 1],
                uint64_t *ret_number) {
        char text[REFRESH_TOKEN_MAX], wanted[REFRESH_TOKEN_MAX], id[SESSION_ID_SIZE + 1], *end;
        const size_t at = strlen(REFRESH_TOKEN_PREFIX);
        uint8_t difference = 0;
        uint64_t number;
        int r;

        if (!refresh_token_looks_like(token, size) || size >= sizeof(text))
                return 0;
        memcpy(text, token, size);
        text[size] = '\0';
        if (strlen(text) != size || strspn(text + at, "0123456789abcdef") != SESSION_ID_SIZE ||
            text[at + SESSION_ID_SIZE] != '_')
                return 0;
        memcpy(id, text + at, SESSION_ID_SIZE);
        id[SESSION_ID_SIZE] = '\0';
        errno = 0;
        number = strtoull(text + at + SESSION_ID_SIZE + 1, &end, 16);
        if (errno != 0 || *end != '_' || number > INT32_MAX)
                return 0;

        /* There is one way to write it: whatever is spelled differently is not it. */
        r = refresh_token_format(wanted, secret, secret_size, id, number);
        if (r < 0)
                return r;
        if (strlen(wanted) != size)
                return 0;
        for (size_t i = 0; i < size; i++)
                difference |= (uint8_t) (wanted[i] ^ text[i]);
        if (difference != 0)
                return 0;
        memcpy(ret_id, id, sizeof(id));
        *ret_number = number;
        return 1;
}

/* ---- Redis ---- */

/* Subjects are anything; keys have a fixed form. */
static int subject_key(char ret[static SUBJECT_KEY], const char *subject) {
        return mam_sha256_text(stpcpy(ret, PREFIX "subject:"), subject, strlen(subject));
}

static void session_key(char ret[static 96], const char *id) {
        (void) snprintf(ret, 96, PREFIX "session:%.32s", id);
}

/* Ends a session: its hash, its place with its subject, and its access tokens. */
#define LUA_END                                                                         \
        "local function finish(id, subject_key, expires)\n"                             \
        "  redis.call('DEL', '" PREFIX "session:' .. id)\n"                             \
        "  redis.call('ZREM', subject_key, id)\n"                                       \
        "  redis.call('ZADD', '" SESSIONS_REVOKED_KEY "', expires, 's:' .. id)\n"       \
        "  redis.call('PUBLISH', '" SESSIONS_REVOKED_KEY "', expires .. ' s:' .. id)\n" \
        "end\n"

int session_create(MamRedis *r, const SessionSpec *s, MamRedisCallback callback, void *userdata) {
        static const char script[] = LUA_END
                        "local function drop_oldest(subject_key, max, expires)\n"
                        "  local n = redis.call('ZCARD', subject_key) - max\n"
                        "  if n > 0 then\n"
                        "    for _, id in ipairs(redis.call('ZRANGE', subject_key, 0, n - 1)) do\n"
                        "      finish(id, subject_key, expires)\n"
                        "    end\n"
                        "  end\n"
                        "end\n"
                        "redis.call('HSET', KEYS[1], 'n', 1, 'subject_key', KEYS[2], 'subject', ARGV[2],\n"
                        "  'roles', ARGV[3], 'scopes', ARGV[4], 'scoped', ARGV[5], 'key', ARGV[6],\n"
                        "  'address', ARGV[7], 'created', ARGV[8], 'used', ARGV[8])\n"
                        "redis.call('EXPIRE', KEYS[1], ARGV[9])\n"
                        "redis.call('ZADD', KEYS[2], ARGV[8], ARGV[1])\n"
                        "redis.call('EXPIRE', KEYS[2], ARGV[9])\n"
                        "drop_oldest(KEYS[2], tonumber(ARGV[11]), ARGV[10])\n"
                        "return 'ok'\n";
        char key[96], subject[SUBJECT_KEY], now[24], lifetime[24], expires[24], max[16];
        const char *const argv[] = {
                "EVAL", script,     "2",      key,       subject,
                s->id,  s->subject, s->roles, s->scopes, s->scoped ? "1" : "0",
                s->key, s->address, now,      lifetime,  expires,
                max,
        };
        int k;

        session_key(key, s->id);
        k = subject_key(subject, s->subject);
        if (k < 0)
                return k;
        (void) snprintf(now, sizeof(now), "%" PRIu64, s->now_sec);
        (void) snprintf(lifetime, sizeof(lifetime), "%" PRIu64, s->lifetime_sec);
        (void) snprintf(expires, sizeof(expires), "%" PRIu64, s->now_sec + s->access_sec);
        (void) snprintf(max, sizeof(max), "%" PRIu32, s->sessions_max);
        return mam_redis_command(r, argv, NULL, MAM_ELEMENTSOF(argv), callback, userdata);
}

int session_refresh(
                MamRedis *r,
                const char *id,
                uint64_t number,
                uint64_t now_sec,
                uint64_t lifetime_sec,
                uint64_t access_sec,
                MamRedisCallback callback,
                void *userdata) {
        /* A number above ours: Redis has lost its last moments, and the token is authentic. */
        static const char script[] = LUA_END
                        "local s = redis.call('HMGET', KEYS[1], 'n', 'subject_key', 'subject', 'roles',\n"
                        "  'scopes', 'scoped', 'key')\n"
                        "if not s[1] then return {'unknown'} end\n"
                        "if tonumber(ARGV[2]) < tonumber(s[1]) then\n"
                        "  finish(ARGV[1], s[2], ARGV[5])\n"
                        "  return {'reuse', s[3], s[7]}\n"
                        "end\n"
                        "redis.call('HSET', KEYS[1], 'n', tonumber(ARGV[2]) + 1, 'used', ARGV[3])\n"
                        "redis.call('EXPIRE', KEYS[1], ARGV[4])\n"
                        "redis.call('EXPIRE', s[2], ARGV[4])\n"
                        "return {'ok', s[3], s[4], s[5], s[6], s[7]}\n";
        char key[96], n[24], now[24], lifetime[24], expires[24];
        const char *const argv[] = { "EVAL", script, "1", key, id, n, now, lifetime, expires };

        session_key(key, id);
        (void) snprintf(n, sizeof(n), "%" PRIu64, number);
        (void) snprintf(now, sizeof(now), "%" PRIu64, now_sec);
        (void) snprintf(lifetime, sizeof(lifetime), "%" PRIu64, lifetime_sec);
        (void) snprintf(expires, sizeof(expires), "%" PRIu64, now_sec + access_sec);
        return mam_redis_command(r, argv, NULL, MAM_ELEMENTSOF(argv), callback, userdata);
}

int session_list(
                MamRedis *r,
                const char *subject,
                uint64_t now_sec,
                MamRedisCallback callback,
                void *userdata) {
        static const char script[] = "local all = {}\n"
                                     "for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do\n"
                                     "  local s = redis.call('HMGET', '" PREFIX
                                     "session:' .. id, 'created', 'used', 'key',\n"
                                     "    'scopes', 'address')\n"
                                     "  if s[1] then\n"
                                     "    all[#all + 1] = {id, s[1], s[2], s[3], s[4], s[5]}\n"
                                     "  else\n"
                                     "    redis.call('ZREM', KEYS[1], id)\n"
                                     "  end\n"
                                     "end\n"
                                     "return all\n";
        char key[SUBJECT_KEY];
        const char *const argv[] = { "EVAL", script, "1", key };
        int k;

        k = subject_key(key, subject);
        return k < 0 ? k : mam_redis_command(r, argv, NULL, MAM_ELEMENTSOF(argv), callback, userdata);
}

int session_end(MamRedis *r,
                const char *subject,
                const char *id,
                uint64_t now_sec,
                uint64_t access_sec,
                MamRedisCallback callback,
                void *userdata) {
        static const char one[] =
                        LUA_END "local s = redis.call('HMGET', KEYS[1], 'subject', 'subject_key')\n"
                                "if not s[1] or (ARGV[1] ~= '' and s[1] ~= ARGV[1]) then return 0 end\n"
                                "finish(ARGV[2], s[2], ARGV[3])\n"
                                "return 1\n";
        static const char all[] = LUA_END "local ids = redis.call('ZRANGE', KEYS[1], 0, -1)\n"
                                          "for _, id in ipairs(ids) do finish(id, KEYS[1], ARGV[3]) end\n"
                                          "return #ids\n";
        char key[96 + SUBJECT_KEY], expires[24];
        const char *const argv[] = {
                "EVAL", id ? one : all, "1", key, subject ? subject : "", id ? id : "", expires,
        };
        int k;

        assert(subject || id);

        if (id)
                session_key(key, id);
        else {
                k = subject_key(key, subject);
                if (k < 0)
                        return k;
        }
        (void) snprintf(expires, sizeof(expires), "%" PRIu64, now_sec + access_sec);
        return mam_redis_command(r, argv, NULL, MAM_ELEMENTSOF(argv), callback, userdata);
}

int session_look(MamRedis *r, const char *id, MamRedisCallback callback, void *userdata) {
        char key[96];
        const char *const argv[] = { "HMGET", key, "subject", "n", "key", "scopes" };

        session_key(key, id);
        return mam_redis_command(r, argv, NULL, MAM_ELEMENTSOF(argv), callback, userdata);
}

int token_revoke(
                MamRedis *r,
                const char *token_id,
                uint64_t expires_sec,
                MamRedisCallback callback,
                void *userdata) {
        static const char script[] = "redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])\n"
                                     "redis.call('PUBLISH', KEYS[1], ARGV[2] .. ' ' .. ARGV[1])\n"
                                     "return 1\n";
        const char *key = SESSIONS_REVOKED_KEY;
        char member[160], expires[24];
        const char *const argv[] = { "EVAL", script, "1", key, member, expires };
        int n;

        n = snprintf(member, sizeof(member), "t:%s", token_id);
        if (n < 0 || (size_t) n >= sizeof(member))
                return -EINVAL;
        (void) snprintf(expires, sizeof(expires), "%" PRIu64, expires_sec);
        return mam_redis_command(r, argv, NULL, MAM_ELEMENTSOF(argv), callback, userdata);
}
