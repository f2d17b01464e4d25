/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tokens for the HTTP APIs
 */

#include <assert.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>

#include "libmam/auth/jwt.h"
#include "libmam/json/json.h"
#include "libmam/util/file.h"
#include "manager/token.h"

#define KEY_SIZE_MAX 16384U

/* What may stand in a header of the gateway's and in a log line: visible ASCII without comma and quotes. */
static bool is_plain(const char *text, size_t max) {
        size_t n = strlen(text);

        if (n == 0 || n > max)
                return false;
        for (size_t i = 0; i < n; i++) {
                if (text[i] <= ' ' || text[i] >= 0x7f || strchr(",\"\\", text[i]))
                        return false;
        }
        return true;
}

bool token_request_is_valid(const TokenRequest *q, const char **ret_reason) {
        assert(q);
        assert(ret_reason);

        if (!is_plain(q->subject, 128)) {
                *ret_reason = "The subject must be 1 to 128 visible ASCII characters without comma, quote and backslash";
                return false;
        }
        for (size_t i = 0; i < q->n_roles; i++) {
                if (!is_plain(q->roles[i], 64)) {
                        *ret_reason = "A role must be 1 to 64 visible ASCII characters without comma, quote and backslash";
                        return false;
                }
        }
        if (q->ttl_usec > TOKEN_TTL_MAX_USEC) {
                *ret_reason = "A token can be valid for 30 days at most";
                return false;
        }
        if (q->ttl_usec > 0 && q->ttl_usec < MAM_USEC_PER_SEC) {
                *ret_reason = "A token must be valid for a second at least";
                return false;
        }
        return true;
}

static int put(json_object *object, const char *key, json_object *value) {
        if (!value)
                return -ENOMEM;
        if (json_object_object_add(object, key, value) < 0) {
                json_object_put(value);
                return -ENOMEM;
        }
        return 0;
}

static int make_claims(json_object **ret, const TokenRequest *q, uint64_t now_realtime_usec) {
        _cleanup_(json_object_putp) json_object *claims = NULL;
        int64_t now = (int64_t) (now_realtime_usec / MAM_USEC_PER_SEC);
        uint64_t ttl = q->ttl_usec > 0 ? q->ttl_usec : TOKEN_TTL_DEFAULT_USEC;
        uint8_t random[16];
        json_object *roles;
        char id[33];
        int r;

        if (getrandom(random, sizeof(random), 0) != sizeof(random))
                return -EIO;
        for (size_t i = 0; i < sizeof(random); i++)
                snprintf(id + 2 * i, 3, "%02x", random[i]);

        claims = json_object_new_object();
        if (!claims)
                return -ENOMEM;

        r = put(claims, "iss", json_object_new_string("mam"));
        if (r >= 0)
                r = put(claims, "aud", json_object_new_string("mam"));
        if (r >= 0)
                r = put(claims, "sub", json_object_new_string(q->subject));
        if (r >= 0)
                r = put(claims, "iat", json_object_new_int64(now));
        if (r >= 0)
                r = put(claims, "exp", json_object_new_int64(now + (int64_t) (ttl / MAM_USEC_PER_SEC)));
        if (r >= 0)
                r = put(claims, "jti", json_object_new_string(id));
        if (r < 0)
                return r;

        roles = json_object_new_array();
        r = put(claims, "roles", roles);
        for (size_t i = 0; r >= 0 && i < q->n_roles; i++) {
                json_object *role = json_object_new_string(q->roles[i]);

                if (!role || json_object_array_add(roles, role) < 0) {
                        json_object_put(role);
                        r = -ENOMEM;
                }
        }
        if (r < 0)
                return r;

        *ret = MAM_TAKE(claims);
        return 0;
}

int token_issue(char **ret, const TokenRequest *q, uint64_t now_realtime_usec) {
        _cleanup_(json_object_putp) json_object *claims = NULL;
        const char *folder = getenv("CREDENTIALS_DIRECTORY");
        char path[PATH_MAX];
        char *key = NULL;
        size_t size;
        int n, r;

        assert(ret);
        assert(q);

        if (!folder)
                return -ENOENT;
        n = snprintf(path, sizeof(path), "%s/jwt.key", folder);
        if (n < 0 || (size_t) n >= sizeof(path))
                return -ENAMETOOLONG;

        r = make_claims(&claims, q, now_realtime_usec);
        if (r < 0)
                return r;

        r = mam_file_read(&key, &size, path, KEY_SIZE_MAX);
        if (r < 0)
                return r;

        r = mam_jwt_sign_ed25519(ret, key, claims);
        explicit_bzero(key, size);
        free(key);
        return r;
}
