/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Redis on sd-event: hiredis' asynchronous context with what 0.14 lacks (event adapter, deadlines,
 * reconnection)
 *
 * Redis is cache, counter and doorbell: no answer within the deadline is a miss, never a reason to fail.
 * redisReply stays inside cache/.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "libmam/util/macro.h"

typedef struct MamRedis MamRedis;

typedef enum MamRedisType {
        MAM_REDIS_NIL,
        MAM_REDIS_STRING, /* text, size; also status replies */
        MAM_REDIS_INTEGER,
        MAM_REDIS_ARRAY,
} MamRedisType;

typedef struct MamRedisReply MamRedisReply; /* borrowed during the callback */
MamRedisType mam_redis_type(const MamRedisReply *r);
const char *mam_redis_text(const MamRedisReply *r, size_t *ret_size);
int64_t mam_redis_integer(const MamRedisReply *r);
size_t mam_redis_count(const MamRedisReply *r);
const MamRedisReply *mam_redis_item(const MamRedisReply *r, size_t i);

/* error: 0, -ETIMEDOUT, -ENOTCONN, -EIO (an error reply; message says which), -EACCES (NOPERM, NOAUTH).
 * Exactly once per command; -ECANCELED from within mam_redis_free(). Otherwise never from within the call
 * that started it. A callback may free the MamRedis. */
typedef void (*MamRedisCallback)(
                MamRedis *r,
                const MamRedisReply *reply,
                int error,
                const char *message,
                void *userdata);

typedef struct MamRedisOptions {
        const char *user;       /* ACL user, or NULL */
        const char *password;   /* copied, wiped on free */
        uint64_t timeout_usec;  /* per command; 0: 500 ms */
        unsigned in_flight_max; /* 0: 1024; beyond: -EAGAIN */
} MamRedisOptions;

/* address: a unix socket path, or "host:port". Connects in the background, reconnects with back-off. The
 * host must be an address. SIGPIPE is ignored from here on, unless the program handles it: hiredis cannot do
 * without. */
int mam_redis_new(MamRedis **ret, sd_event *event, const char *address, const MamRedisOptions *options);
MamRedis *mam_redis_free(MamRedis *r);
MAM_DEFINE_CLEANUP(MamRedis, mam_redis_free);
bool mam_redis_is_connected(const MamRedis *r);
void mam_redis_set_on_state(
                MamRedis *r,
                void (*on_state)(MamRedis *r, bool connected, void *userdata),
                void *userdata);

/* Makes this connection one that listens to what is published on a channel, right after _new: it counts as
 * connected when nothing that is published from then on is missed, and commands are refused (-ENOTCONN). The
 * callback may free the MamRedis. -EALREADY: it listens, or is connected. */
typedef void (*MamRedisMessage)(MamRedis *r, const char *data, size_t size, void *userdata);
int mam_redis_listen(MamRedis *r, const char *channel, MamRedisMessage on_message, void *userdata);

/* Binary-safe. -ENOTCONN at once while not connected (no queueing: a cache that is away is a miss), -EAGAIN.
 */
int mam_redis_command(
                MamRedis *r,
                const char *const *argv,
                const size_t *sizes /* NULL: strings */,
                size_t argc,
                MamRedisCallback callback,
                void *userdata);
