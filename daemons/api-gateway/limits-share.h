/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Rate limits that hold for all gateways together
 *
 * Each gateway decides by itself, and has a part of each bucket: as many requests as the bucket has left,
 * divided by the gateways. Every LIMITS_SHARE_USEC it adds what it has admitted to the account of the bucket
 * in Redis and learns what all have taken, in one round trip that no request waits for. So a limit holds for
 * all together but for what is earned in that time; without Redis each gateway keeps it alone.
 *
 * Buckets are known by a keyed hash. All gateways use one key, which the first of them makes.
 */

#include "api-gateway/limits.h"
#include "libmam/cache/redis.h"
#include "libmam/util/time.h"

typedef struct LimitsShare LimitsShare;

#define LIMITS_SHARE_USEC (100 * MAM_USEC_PER_MSEC)

/* l and redis are borrowed, and must outlive it. on_dirty: there is something to tell, call
 * limits_share_run() in LIMITS_SHARE_USEC. */
int limits_share_new(
                LimitsShare **ret,
                Limits *l,
                MamRedis *redis,
                void (*on_dirty)(void *userdata),
                void *userdata);
LimitsShare *limits_share_free(LimitsShare *s);
MAM_DEFINE_CLEANUP(LimitsShare, limits_share_free);

/* Tells, and asks. */
void limits_share_run(LimitsShare *s);
/* So many gateways serve requests now; 1 where nothing is known of others. */
void limits_share_set_gateways(LimitsShare *s, unsigned n);
