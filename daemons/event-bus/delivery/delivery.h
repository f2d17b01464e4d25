/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Subscriptions: consumers that compete, with order per key
 *
 * A subscription has a name, a topic, a filter and a state: which position everything below is settled to,
 * and beyond it what is leased, settled, or held back. Its consumers may be at any replica. An event of a
 * key is not handed out while an earlier one of that key is out in another lease or waits for its time (nack
 * with delay, back-off): so keys run in parallel, each in order, by construction. Decisions are pure
 * functions (group.h) of state, time and events; the state is one row, replaced only if nobody else replaced
 * it meanwhile, so any replica may be killed at any time. What is settled is on disk before it is answered.
 * So is what is taken: a take that the database forgot would be handed out twice, out of order.
 *
 * An attempt counts when it failed: by a nack, or as its lease ended. What comes back only because an
 * earlier event of its key was refused, or because nobody was there to get it, comes with the same attempt
 * again; so poison does not use up the attempts of what is behind it. Leases are by take: extending one
 * event extends all of them. Times are those of the machine's clock, which all replicas share.
 */

#include "event-bus/filter/filter.h"
#include "event-bus/log/tail.h"

typedef struct Delivery Delivery;

typedef struct SubscriptionSettings {
        const char *topic;
        const char *filters; /* JSON array text, or NULL */
        int64_t start; /* the first position it gets; set at creation (API resolves earliest, latest, a time)
                        */
        uint64_t ack_usec;     /* lease; 0: 30 s; 1 s to 12 h */
        unsigned attempts_max; /* then dead letter; 0: 16; UINT_MAX: never */
        uint64_t backoff_min_usec,
                        backoff_max_usec; /* after a nack without delay or a lost lease; 0: 1 s, 10 min */
        unsigned outstanding_max;         /* leased at once; 0: 10,000 */
        /* push: */
        const char *push_url;    /* NULL: pull */
        const char *push_secret; /* Standard Webhooks "whsec_…"; never told again */
        const char *push_mode;   /* "structured" (default), "binary", "batch" */
        unsigned push_parallel;  /* requests at once per replica; 0: 8 */
        bool paused;
} SubscriptionSettings;

typedef struct SubscriptionInfo {
        const char *name;
        SubscriptionSettings settings; /* push_secret is NULL but for the pusher */
        int64_t version;
        /* figures */
        int64_t settled_to;   /* everything up to it is settled */
        uint64_t lag;         /* positions behind the topic's last (before filtering); volatile: 0 */
        uint64_t oldest_usec; /* age of the oldest one not settled; 0: none */
        uint64_t outstanding, waiting /* held back by delay */, dead;
        uint64_t lost; /* positions that retention dropped before they were handed out */
} SubscriptionInfo;

typedef struct DeliveryCall DeliveryCall;
DeliveryCall *delivery_call_free(DeliveryCall *c); /* as log_call_free() */

typedef void (*SubscriptionCallback)(int r, const SubscriptionInfo *s, void *userdata);
int delivery_subscription_create(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                const SubscriptionSettings *s,
                SubscriptionCallback callback,
                void *userdata);
int delivery_subscription_change(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                const SubscriptionSettings *s,
                int64_t version,
                SubscriptionCallback callback,
                void *userdata);
int delivery_subscription_delete(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                SubscriptionCallback callback,
                void *userdata);
int delivery_subscription_get(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                SubscriptionCallback callback,
                void *userdata);
int delivery_subscription_list(
                Delivery *d,
                DeliveryCall **ret,
                SubscriptionCallback callback,
                void *userdata); /* once each, then NULL; must not free the Delivery before */
/* Sets where it goes on: replay. Leases end; settled positions before it stay settled only if to is behind
 * them. */
int delivery_seek(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                int64_t to,
                SubscriptionCallback callback,
                void *userdata);

/* ---- taking ---- */
typedef struct Delivered {
        LogEvent event;
        unsigned attempt;   /* 1 is the first */
        const char *ack_id; /* opaque; at most 64 visible characters; names this delivery of this event */
} Delivered;
/* r 0 with n 0: nothing came within wait_usec. The events stay leased for ack_usec of the settings. When the
 * call is freed before, nothing was taken, or what was taken comes back when its lease ends. -ENOENT: no
 * such subscription (any more). */
typedef void (*DeliveryTaken)(int r, const Delivered *events, size_t n, void *userdata);
int delivery_take(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                unsigned events_max,
                size_t bytes_max,
                uint64_t wait_usec,
                DeliveryTaken callback,
                void *userdata);

/* ---- settling ---- */
typedef enum SettleKind {
        SETTLE_ACK,
        SETTLE_NACK, /* again, after delay_usec (UINT64_MAX: by the back-off); later events of its key in the
                        same lease come back too */
        SETTLE_EXTEND, /* the lease lasts delay_usec from now, for all events of that take */
        SETTLE_DEAD,   /* dead letter, with reason */
} SettleKind;
typedef struct Settlement {
        SettleKind kind;
        const char *ack_id;
        uint64_t delay_usec;
        const char *reason;
} Settlement;
/* results[i]: 0; -ESTALE: that delivery is over (its lease ended, it was settled otherwise, or came back
 * with its key); -EBADMSG: no ack id. r is an error while the database is away for longer. callback may be
 * NULL. */
typedef void (*DeliverySettled)(int r, const int *results, size_t n, void *userdata);
int delivery_settle(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                const Settlement *items,
                size_t n,
                DeliverySettled callback,
                void *userdata);

/* ---- dead letters ---- */
typedef struct DeadLetter {
        int64_t number, position;
        const char *reason, *text;
        unsigned attempts;
        uint64_t usec;
} DeadLetter;
typedef void (*DeadLetterCallback)(int r, const DeadLetter *letters, size_t n, void *userdata);
int delivery_dead_list(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                int64_t after,
                unsigned limit,
                DeadLetterCallback callback,
                void *userdata);
/* Hands them to this subscription's consumers again, as first attempts; numbers NULL: all. done gets how
 * many. */
int delivery_redrive(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                const int64_t *numbers,
                size_t n,
                void (*done)(int r, size_t n, void *userdata),
                void *userdata);

int delivery_new(Delivery **ret, sd_event *event, MamPg *pg, Log *log, Tail *tail);
/* Calls that are open are answered with -ECANCELED, from within. */
Delivery *delivery_free(Delivery *d);
MAM_DEFINE_CLEANUP(Delivery, delivery_free);
/* Another replica changed this subscription, or settled in it: look again. name: what came behind
 * "subscription " in the told word; NULL: look at all of them (after words may have been lost). */
void delivery_told(Delivery *d, const char *name);
/* For metrics: calls back for each subscription that this process has in memory. */
void delivery_each(Delivery *d, void (*visit)(const SubscriptionInfo *s, void *userdata), void *userdata);
/* For the pusher: told of every push subscription, and again at changes; info NULL name gone. */
void delivery_set_on_push(
                Delivery *d,
                void (*on_push)(const char *name, const SubscriptionInfo *s, void *userdata),
                void *userdata);
