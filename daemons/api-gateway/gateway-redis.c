/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/gateway-redis.h"

#include <assert.h>
#include <string.h>

#include "libmam/service/service.h"

#define USER "api-gateway"

int gateway_redis_new(
                MamRedis **ret,
                sd_event *event,
                const char *channel,
                MamRedisMessage on_message,
                void *userdata) {
        _cleanup_(mam_redis_freep) MamRedis *redis = NULL;
        const char *address = getenv("MAM_REDIS");
        char *password = NULL;
        size_t size = 0;
        int r;

        assert(ret);
        assert(event);
        assert(!on_message || channel);

        if (!address || !*address) {
                *ret = NULL;
                return 0;
        }
        r = mam_credential_read("redis.password", &password, &size);
        if (r < 0 && r != -ENOENT)
                return r;
        r = mam_redis_new(
                        &redis,
                        event,
                        address,
                        &(MamRedisOptions){ .user = password ? USER : NULL, .password = password });
        mam_secret_free(password);
        if (r >= 0 && on_message)
                r = mam_redis_listen(redis, channel, on_message, userdata);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(redis);
        return 0;
}
