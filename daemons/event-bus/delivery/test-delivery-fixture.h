/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * For tests of delivery: two replicas in one event loop, and consumers that check order as they go
 */

#include "event-bus/delivery/delivery.h"
#include "event-bus/log/test-tail-fixture.h"

#define WORLD_EVENTS    20000U
#define WORLD_KEYS      1000U
#define WORLD_CONSUMERS 8U
#define BATCH_MAX       1000U

typedef struct World World;

/* Takes and settles in a circle, as it is told. */
typedef struct Consumer {
        World *world;
        size_t delivery;
        unsigned max;
        unsigned nack_of_100; /* so many of a hundred are refused, without delay */
        bool holds;           /* settles nothing */
        DeliveryCall *take, *settle;
        unsigned n_batches, n_events;
        Settlement items[BATCH_MAX];
        unsigned numbers[BATCH_MAX];
        int64_t positions[BATCH_MAX];
        char ids[BATCH_MAX][65];
        size_t n_items;
} Consumer;

typedef enum Seen {
        SEEN_NOT,
        SEEN_OUT,
        SEEN_SENT, /* its ack was sent */
        SEEN_ACKED,
} Seen;

struct World {
        Fixture f;
        Delivery *d[2];
        unsigned keys;
        uint8_t seen[WORLD_EVENTS];
        /* by key: what was settled, what is out and with whom */
        int64_t settled_to[WORLD_KEYS], last_out[WORLD_KEYS];
        unsigned n_out[WORLD_KEYS];
        Consumer *owner[WORLD_KEYS];
        unsigned n_acked, n_delivered, n_again, n_stale, n_errors;
        Consumer consumers[WORLD_CONSUMERS];
        size_t n_consumers;
        bool may_repeat; /* leases may end, or what was acked may come again */
        /* single calls */
        bool done;
        int error;
        size_t n;
        SubscriptionInfo info;
        Delivered events[BATCH_MAX];
        char ids[BATCH_MAX][65];
        unsigned numbers[BATCH_MAX], attempts[BATCH_MAX];
        int results[BATCH_MAX];
        DeadLetter letters[100];
        char reasons[100][256];
        unsigned letter_events[100];
        uint64_t random;
};

void world_open(World *w, size_t n_deliveries);
void world_close(World *w);
void world_open_delivery(World *w, size_t i);

/* They wait for the answer, which is in error, n, info and so on. */
void subscribe(World *w, const char *name, const SubscriptionSettings *s);
void take(World *w, size_t delivery, const char *name, unsigned max, uint64_t wait_usec);
void take_bytes(World *w,
                size_t delivery,
                const char *name,
                unsigned max,
                size_t bytes_max,
                uint64_t wait_usec);
void settle(World *w, size_t delivery, const char *name, const Settlement *items, size_t n);
void settle_one(World *w,
                size_t delivery,
                const char *name,
                SettleKind kind,
                const char *id,
                uint64_t delay);
void get_info(World *w, const char *name);
void list_dead(World *w, const char *name);
void redrive(World *w, size_t delivery, const char *name, const int64_t *numbers, size_t n);
void seek(World *w, size_t delivery, const char *name, int64_t to);

/* n events of one key with so much data; waits until they are there. */
void append_large(
                World *w,
                const char *topic,
                const char *key,
                unsigned first_number,
                unsigned n,
                size_t size);

Consumer *consume(World *w, size_t delivery, const char *name, unsigned max, unsigned nack_of_100);
void consumers_stop(World *w);
unsigned lot(World *w, unsigned below);
