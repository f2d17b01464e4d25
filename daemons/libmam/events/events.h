/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Events for services: publishing in one's own transaction, and subscribing
 *
 * A service that publishes depends on "event-bus" in services.json: that one's first start makes the
 * database's function event_bus.publish(). From then on it is there, whether or not the event bus runs;
 * before, publishing fails with -EIO ("function event_bus.publish(unknown, unknown) does not exist"), and
 * the caller's transaction with it.
 */

#include "libmam/cache/redis.h"
#include "libmam/db/pg.h"
#include "libmam/events/event.h"

/* The channel of Redis on which the event bus hears that there is something; every service may publish to
 * it. */
#define MAM_EVENT_BELL "event-bus:bell"

/* A step for mam_pg_run(), or a query in an interactive transaction: the event is published if and only if
 * the transaction commits. statement is static; parameters borrow topic and event, which must live until the
 * call that runs it has returned. Of two transactions whose events have the same key, the one that commits
 * first comes first if each publishes behind the statement that locks what they contend for: behind the
 * change of the row, best as the last statement. -EINVAL (of the query): no name of a topic, or an event of
 * more than 256 KiB. A topic that is not there is made. What turns out not to fit its topic's schema is kept
 * in event_bus.outbox_rejected. */
typedef struct MamPublication {
        const MamPgStatement *statement;
        const char *parameters[2]; /* topic, the event's JSON form */
        size_t n_parameters;
} MamPublication;
MamPublication mam_event_publish(const char *topic, const MamEvent *e);
/* After the commit: wakes the relay. Never needed for anything to arrive, only for it to arrive at once. */
void mam_event_wake(MamRedis *redis);

/* Subscribing: the subscription is made if it is not there; events come in order per key; each is settled by
 * mam_subscription_settle() with what it came with, or comes again when its lease has ended. Events are
 * pulled over HTTP as long as fewer than credit are not settled; what is settled while the last settlement
 * is under way goes with the next one. Reconnects with back-off for ever. */
typedef struct MamSubscription MamSubscription;
typedef struct MamSubscriptionOptions {
        const char *bus;   /* where the event bus answers: the unix socket of the gateway, or "host:port" (an
                              address; nothing is resolved) */
        const char *token; /* bearer token, or NULL: by the kernel's word on who asks */
        const char *name, *topic;
        const char *filters; /* JSON array, or NULL */
        bool from_beginning; /* when it is made; else from now on */
        unsigned credit;     /* events at once; 0: 100; at most 1000 */
} MamSubscriptionOptions;
typedef struct MamIncoming {
        MamEvent *event;    /* borrowed during the callback */
        const char *ack_id; /* copy it to settle later, or settle in the callback */
        unsigned attempt;   /* 1 is the first */
} MamIncoming;
/* May settle, and may free the subscription. Of one key the next event may come before the last one is
 * settled: one that is given back in the callback comes again before later ones; who settles later than that
 * sees to order himself. */
typedef void (*MamSubscriptionCallback)(MamSubscription *s, const MamIncoming *incoming, void *userdata);
/* -EINVAL: no address, name or filters. */
int mam_event_subscribe(
                MamSubscription **ret,
                sd_event *event,
                const MamSubscriptionOptions *options,
                MamSubscriptionCallback callback,
                void *userdata);
/* What was not settled comes to the others when its lease has ended; settlements that have not gone out are
 * lost, as if the process had died. */
MamSubscription *mam_subscription_free(MamSubscription *s);
MAM_DEFINE_CLEANUP(MamSubscription, mam_subscription_free);
typedef enum MamSettle {
        MAM_SETTLE_ACK,
        MAM_SETTLE_NACK, /* again, after delay_usec; 0: by the subscription's back-off; and later ones of its
                            key behind it */
        MAM_SETTLE_DEAD, /* dead letter, with reason (or NULL) */
} MamSettle;
/* -ENOENT: no event with this ack id is waiting for it (any more). */
int mam_subscription_settle(
                MamSubscription *s,
                const char *ack_id,
                MamSettle how,
                uint64_t delay_usec,
                const char *reason);
/* Settlements that were not answered yet: 0 before an orderly end. */
unsigned mam_subscription_unsettled(const MamSubscription *s);
/* Why nothing comes: the last answer or error, NULL while all is well. For a log. */
const char *mam_subscription_problem(const MamSubscription *s);
