/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events: the ring, and what keeps a crash loop from filling it
 */

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <syslog.h>

#include "libmam/util/time.h"
#include "manager/events.h"

/* FNV-1a; the slot table is direct-mapped, so two kinds that meet in a slot only forget each other's past.
 */
static uint64_t hash_of(const char *service, uint32_t number, const char *type) {
        uint64_t h = 14695981039346656037ULL;

        for (const char *p = service; *p; p++)
                h = (h ^ (unsigned char) *p) * 1099511628211ULL;
        h = (h ^ number) * 1099511628211ULL;
        for (const char *p = type; *p; p++)
                h = (h ^ (unsigned char) *p) * 1099511628211ULL;
        return h;
}

void event_ring_done(EventRing *ring) {
        assert(ring);

        for (size_t i = 0; i < EVENTS_MAX; i++)
                free(ring->events[i]);
        memset(ring, 0, sizeof(*ring));
}

bool event_ring_admit(
                EventRing *ring,
                const char *service,
                uint32_t number,
                const char *type,
                uint64_t now_usec,
                uint32_t *ret_held_back) {
        uint64_t hash = hash_of(service, number, type), refill;
        EventBudget *b = &ring->budgets[hash % EVENTS_BUDGETS];

        assert(ret_held_back);

        if (b->hash != hash)
                *b = (EventBudget){ .hash = hash, .tokens = EVENTS_BURST, .since_usec = now_usec };

        refill = now_usec > b->since_usec ? (now_usec - b->since_usec) / EVENTS_REFILL_USEC : 0;
        if (refill > 0) {
                b->tokens = b->tokens + refill < EVENTS_BURST ? b->tokens + (uint32_t) refill : EVENTS_BURST;
                b->since_usec += refill * EVENTS_REFILL_USEC;
        }
        if (b->tokens == 0) {
                b->held_back++;
                return false;
        }

        b->tokens--;
        *ret_held_back = b->held_back;
        b->held_back = 0;
        return true;
}

const Event *event_ring_add(
                EventRing *ring,
                uint64_t realtime_usec,
                int priority,
                const char *service,
                uint32_t number,
                const char *type,
                const char *message) {
        size_t size = strlen(message) + 1;
        Event *e;

        if (size > EVENTS_MESSAGE_MAX)
                size = EVENTS_MESSAGE_MAX;
        e = malloc(sizeof(*e) + size);
        if (!e)
                return NULL;

        /* A manager that starts anew begins at its clock, so numbers grow over restarts too: nobody makes a
         * million events a second. */
        if (ring->last_sequence == 0)
                ring->last_sequence = realtime_usec;
        *e = (Event){ .sequence = ++ring->last_sequence,
                      .time_usec = realtime_usec,
                      .priority = priority,
                      .number = number,
                      .type = type };
        snprintf(e->service, sizeof(e->service), "%s", service);
        memcpy(e->message, message, size - 1);
        e->message[size - 1] = '\0';

        free(ring->events[ring->next]);
        ring->events[ring->next] = e;
        ring->next = (ring->next + 1) % EVENTS_MAX;
        return e;
}

static bool event_is_asked_for(const Event *e, const char *service, uint64_t after) {
        return e && e->sequence > after && (!*service || strcmp(e->service, service) == 0);
}

size_t event_ring_select(
                const EventRing *ring,
                const char *service,
                uint64_t after,
                uint32_t max,
                const Event *ret[static EVENTS_MAX]) {
        size_t n = 0;

        if (max == 0 || max > EVENTS_MAX)
                max = EVENTS_MAX;
        for (size_t i = 0; i < EVENTS_MAX; i++) {
                const Event *e = ring->events[(ring->next + i) % EVENTS_MAX];

                if (event_is_asked_for(e, service, after))
                        ret[n++] = e;
        }
        if (n > max) {
                memmove(ret, ret + (n - max), max * sizeof(*ret));
                n = max;
        }
        return n;
}

const char *event_severity(int priority) {
        if (priority <= LOG_ERR)
                return "error";
        if (priority == LOG_WARNING)
                return "warning";
        return priority == LOG_NOTICE ? "notice" : "info";
}
