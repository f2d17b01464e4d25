/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The outbox: events that services write in their own transactions, and the relay that moves them to the log
 *
 * event_bus.publish(topic, event) may be called by every service's role. A relay (one replica at a time, by
 * an advisory lock that ends with its connection) takes what is committed, in the order of commits as far as
 * anybody can see it, and appends it to the log in the transaction that removes it from the outbox: neither
 * skipped nor twice.
 */

#include "event-bus/log/log.h"
#include "event-bus/schema/schema-registry.h"

typedef struct Relay Relay;

typedef struct RelayFigures {
        uint64_t relayed, rejected;
        uint64_t waiting;     /* rows that are there */
        uint64_t oldest_usec; /* age of the oldest; 0: none */
        uint64_t held_usec;   /* how long a transaction that is still open holds anything up; 0: none does */
        char holder[128];     /* who that is: role, application, pid */
} RelayFigures;

int relay_new(Relay **ret, sd_event *event, MamPg *pg, Log *log, SchemaRegistry *schemas);
Relay *relay_free(Relay *r);
MAM_DEFINE_CLEANUP(Relay, relay_free);
/* Somebody says that there is something. */
void relay_wake(Relay *r);
RelayFigures relay_figures(const Relay *r);
