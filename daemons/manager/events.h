/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Events: what happened, for people and programs
 *
 * The newest EVENTS_MAX are kept in memory; each is sent as the signal Event and stands in the journal with
 * SERVICE=, REPLICA= and EVENT= fields. Of one kind (service, replica, type) EVENTS_BURST may come at once
 * and one per EVENTS_REFILL_USEC after that, so that a crash loop floods nothing; the next one that is let
 * through tells how many were not.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-bus.h>

#include "libmam/util/macro.h"

typedef struct Event Event;
typedef struct EventRing EventRing;
typedef struct Events Events;
typedef struct Manager Manager;

#define EVENTS_MAX         4096U
#define EVENTS_MESSAGE_MAX 256U
#define EVENTS_BURST       20U
#define EVENTS_REFILL_USEC (3 * MAM_USEC_PER_SEC)
#define EVENTS_BUDGETS     1024U

int events_new(Events **ret, Manager *m);
Events *events_free(Events *e);
/* priority: of syslog. message_id: NULL: none. service: "" of the manager itself. number 0: of the service
 * as a whole. type: a literal, as in the bus API. Never fails: what does not fit is cut. */
void event_log(Manager *m,
               int priority,
               const char *message_id,
               const char *service,
               uint32_t number,
               const char *type,
               const char *format,
               ...) _printf_(7, 8);

int manager_bus_list_events(sd_bus_message *message, void *userdata, sd_bus_error *error);

/* ---- events.c: the ring, without a clock of its own ---- */

struct Event {
        uint64_t sequence;
        uint64_t time_usec; /* realtime */
        int priority;
        char service[32];
        uint32_t number;
        const char *type; /* a literal */
        char message[];
};

typedef struct EventBudget {
        uint64_t hash; /* of the kind */
        uint64_t since_usec;
        uint32_t tokens;
        uint32_t held_back;
} EventBudget;

struct EventRing {
        Event *events[EVENTS_MAX]; /* owned; oldest at next */
        size_t next;
        uint64_t last_sequence; /* 0: none yet */
        EventBudget budgets[EVENTS_BUDGETS];
};

/* May one more of this kind be told? *ret_held_back: how many were not since the last one that was.
 * now_usec: monotonic. */
bool event_ring_admit(
                EventRing *ring,
                const char *service,
                uint32_t number,
                const char *type,
                uint64_t now_usec,
                uint32_t *ret_held_back);
/* Borrowed from the ring until EVENTS_MAX others have come; NULL: no memory. */
const Event *event_ring_add(
                EventRing *ring,
                uint64_t realtime_usec,
                int priority,
                const char *service,
                uint32_t number,
                const char *type,
                const char *message);
/* Oldest first; service "": all; only what is newer than the sequence after; the newest max, 0: all. */
size_t event_ring_select(
                const EventRing *ring,
                const char *service,
                uint64_t after,
                uint32_t max,
                const Event *ret[static EVENTS_MAX]);
void event_ring_done(EventRing *ring);
const char *event_severity(int priority);
