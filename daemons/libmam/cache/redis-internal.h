/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of cache/ share
 *
 * MamRedis owns the commands that are not answered yet and at most one link. A link is hiredis' context with
 * its place in the event loop; hiredis frees the context by itself, also from within its own handlers, and
 * with it the link (redis_link_cleanup()). Therefore a link survives its MamRedis where that is freed in a
 * callback, and a command survives its answer until hiredis has dropped it.
 */

#include <sys/queue.h>

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "libmam/cache/redis.h"

typedef struct MamRedisLink MamRedisLink;
typedef struct MamRedisCommand MamRedisCommand;

/* redis-link.c */

struct MamRedisLink {
        redisAsyncContext *ac;  /* owns us */
        sd_event_source *io;    /* owned */
        sd_event_source *defer; /* owned; writes what one turn of the loop has asked */
        MamRedis *redis;        /* weak; NULL: freed, or about to reconnect */
        bool reading, polling_out, in_write, established;
        bool *gone; /* set in a handler; tells it that hiredis freed us */
};

/* Connects in the background: 0, or the errno why not. */
int mam_redis_link_new(MamRedisLink **ret, MamRedis *r, sd_event *event, const char *address);
/* Nothing more is told to the MamRedis. */
void mam_redis_link_close(MamRedisLink *l);

/* Called by the link. */
void mam_redis_on_connected(MamRedis *r);
void mam_redis_on_lost(MamRedis *r);
