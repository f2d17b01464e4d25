/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What gateways tell each other through Redis
 *
 * While it serves requests, a gateway says every SHARE_LOAD_USEC how many requests each replica is working
 * on for it, and learns the same of the others: replicas are chosen by what they have to do in all, and
 * rate limits are divided among as many gateways as there are. Buckets of rate limits: limits-share.h.
 * Nothing waits for any of it; without Redis a gateway goes by what it sees itself.
 */

#include <stdbool.h>
#include <stdint.h>

#include "libmam/util/macro.h"
#include "libmam/util/time.h"

typedef struct Gateway Gateway;
typedef struct Share Share;

#define SHARE_LOAD_USEC (200 * MAM_USEC_PER_MSEC)
/* Who has said nothing for so long is gone, or has nothing to do. */
#define SHARE_STALE_USEC (3 * MAM_USEC_PER_SEC)

/* For a gateway that has a Redis (g->redis); before it serves. Freed before that. */
int share_new(Share **ret, Gateway *g);
Share *share_free(Share *s);
MAM_DEFINE_CLEANUP(Share, share_free);

/* A request came. NULL: nothing is shared. */
void share_poke(Share *s);
/* So many gateways serve requests, this one among them. */
unsigned share_gateways(const Share *s);
