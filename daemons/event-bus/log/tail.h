/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Following topics: what is new is read once for all who follow in this process
 *
 * The doorbell is a channel of Redis: whoever appended says "topic, last position" there, coalesced; without
 * Redis heads are asked for every TAIL_POLL_USEC. A follower gives credit and gets that many events after
 * its position, from the ring of newest events that all share, or, further back, from the log. It never gets
 * an event twice and never misses one, whatever the doorbell does. Positions can have holes (compaction, and
 * volatile topics): what is not there is passed over.
 */

#include "event-bus/log/log.h"

typedef struct Tail Tail;
typedef struct Follower Follower;

#define TAIL_RING_BYTES (4U * 1024U * 1024U) /* per topic that is followed; all topics together: 64 MiB */
#define TAIL_POLL_USEC  (250 * MAM_USEC_PER_MSEC)

/* events are borrowed during the callback. r: 0; -ENOENT: there is no such topic (any more), nothing else
 * comes; -ERANGE: events behind its position were dropped: first is where it can go on, by
 * follower_seek(f, first - 1), which may be called right here. Other errors are retried inside. A callback
 * may free any follower, but not the Tail. */
typedef void (*FollowerCallback)(
                Follower *f,
                int r,
                const LogEvent *events,
                size_t n,
                int64_t first,
                void *userdata);

/* listen: a new Redis connection that this Tail listens with from now on (taken over: tail_free() frees it);
 * ring: the shared one for commands (borrowed, may be freed before or after); both may be NULL. */
int tail_new(Tail **ret, sd_event *event, Log *log, MamRedis *listen, MamRedis *ring);
Tail *tail_free(Tail *t);
MAM_DEFINE_CLEANUP(Tail, tail_free);
/* For LogHooks: this process appended. Rings the bell. */
void tail_appended(Tail *t, const char *topic, int64_t last);
/* Other things the replicas tell each other by the same channel: "subscription NAME", "schemas", "topics",
 * "outbox". Told are the others, not this Tail, but that "topics" has its followers look too. A word may be
 * lost: "*" is heard when Redis is back, and every TAIL_POLL_USEC while it is away; it means: anything may
 * have been told. */
void tail_tell(Tail *t, const char *word);
void tail_set_on_told(Tail *t, void (*on_told)(const char *word, void *userdata), void *userdata);

/* after: 0 from the beginning. No event comes before credit is given. */
int tail_follow(Tail *t,
                Follower **ret,
                const char *topic,
                int64_t after,
                FollowerCallback callback,
                void *userdata);
Follower *follower_free(Follower *f);
MAM_DEFINE_CLEANUP(Follower, follower_free);
/* So many events more may come. What was not used up stays, also over a seek. */
void follower_want(Follower *f, unsigned events);
void follower_seek(Follower *f, int64_t after);
int64_t follower_position(const Follower *f); /* of the last event that came */
