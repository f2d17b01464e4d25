/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The gateway's way to Redis
 *
 * Redis is soft here: the gateway begins without it, works without it, and finds it again by itself. Where
 * it is comes from MAM_REDIS, the password from the credential redis.password; the ACL user is called like
 * the service, and may use keys and channels that begin with GATEWAY_REDIS_PREFIX.
 */

#include "libmam/cache/redis.h"

#define GATEWAY_REDIS_PREFIX "api-gateway:"

/* *ret is NULL where there is none configured. on_message: NULL for commands, else the connection listens to
 * channel. <0: -ENOMEM, -EINVAL (an address that cannot be). */
int gateway_redis_new(
                MamRedis **ret,
                sd_event *event,
                const char *channel,
                MamRedisMessage on_message,
                void *userdata);
