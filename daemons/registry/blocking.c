/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Blocking queries (https://developer.hashicorp.com/consul/api-docs/features/blocking)
 */

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "registry/registry.h"

/* Changes come in swarms: what is told together is answered together. */
#define WAKE_DELAY_USEC (2 * MAM_USEC_PER_MSEC)

struct Blocked {
        Registry *registry; /* weak */
        MamHttpExchange *x; /* weak: the server's */
        IndexOf of;
        char id[32];
        uint64_t index;
        uint64_t deadline_usec;
        bool listed;
        TAILQ_ENTRY(Blocked) blocked;
};

uint64_t registry_index(const Catalog *c, IndexOf of, const char *id) {
        const CatalogService *s;
        uint64_t index = 1;

        switch (of) {
        case INDEX_NONE:
        case INDEX_FIXED:
                break;
        case INDEX_SERVICES:
                index = c->index;
                break;
        case INDEX_SERVICE:
                s = catalog_find(c, id);
                /* Not there: since the list changed last, so the index of one that goes does not fall. */
                index = s && s->index > 0 ? s->index : c->index;
                break;
        case INDEX_ANY:
                index = c->any_index;
                break;
        }
        return index < 1 ? 1 : index;
}

bool registry_index_blocks(uint64_t asked, uint64_t is) {
        return asked > 0 && asked == is;
}

int registry_parse_wait(const char *text, uint64_t *ret_usec) {
        static const struct {
                const char *unit;
                double usec;
        } units[] = { { "ns", 1e-3 }, { "us", 1 },   { "µs", 1 },    { "ms", 1e3 },
                      { "s", 1e6 },   { "m", 60e6 }, { "h", 3600e6 } };
        const char *p = text;
        double sum = 0;

        if (strcmp(text, "0") == 0) {
                *ret_usec = 0;
                return 0;
        }
        do {
                size_t i, n, digits = strspn(p, "0123456789.");
                double value;
                char *end;

                if (digits == 0 || digits > 32)
                        return -EINVAL;
                value = strtod(p, &end);
                if (end != p + digits)
                        return -EINVAL;
                p += digits;
                n = strcspn(p, "0123456789.");
                for (i = 0; i < MAM_ELEMENTSOF(units); i++)
                        if (strlen(units[i].unit) == n && strncmp(units[i].unit, p, n) == 0)
                                break;
                if (i == MAM_ELEMENTSOF(units))
                        return -EINVAL;
                sum += value * units[i].usec;
                p += n;
        } while (*p);

        *ret_usec = sum < 1e18 ? (uint64_t) sum : (uint64_t) 1e18;
        return 0;
}

static void unlink_blocked(Blocked *b) {
        if (!b->listed)
                return;
        b->listed = false;
        TAILQ_REMOVE(&b->registry->blocked, b, blocked);
        b->registry->n_blocked--;
        mam_metric_set(b->registry->blocked_gauge, b->registry->n_blocked);
}

/* Answered, or the client is gone. */
static void on_done(MamHttpExchange *x, void *userdata) {
        Blocked *b = userdata;

        unlink_blocked(b);
        free(b);
}

/* Nobody waits for changes any more; who only closed half of the connection gets what there is. */
static void on_hangup(MamHttpExchange *x, void *userdata) {
        Blocked *b = userdata;
        Registry *g = b->registry;

        unlink_blocked(b);
        (void) registry_answer_now(g, x);
}

static void arm(Registry *g) {
        uint64_t next = MAM_USEC_INFINITY;
        const Blocked *b;

        TAILQ_FOREACH(b, &g->blocked, blocked) {
                if (b->deadline_usec < next)
                        next = b->deadline_usec;
        }
        if (next == MAM_USEC_INFINITY) {
                (void) sd_event_source_set_enabled(g->deadline, SD_EVENT_OFF);
                return;
        }
        (void) sd_event_source_set_time(g->deadline, next);
        (void) sd_event_source_set_enabled(g->deadline, SD_EVENT_ONESHOT);
}

int registry_block(
                Registry *g,
                MamHttpExchange *x,
                IndexOf of,
                const char *id,
                uint64_t index,
                uint64_t wait_usec) {
        Blocked *b;

        assert(g);
        assert(x);

        if (g->n_blocked >= REGISTRY_BLOCKED_MAX)
                return -EDQUOT;
        b = calloc(1, sizeof(*b));
        if (!b)
                return -ENOMEM;
        b->registry = g;
        b->x = x;
        b->of = of;
        catalog_text(b->id, sizeof(b->id), id ? id : "");
        b->index = index;
        b->deadline_usec = mam_now_monotonic() + wait_usec;
        b->listed = true;
        TAILQ_INSERT_TAIL(&g->blocked, b, blocked);
        g->n_blocked++;
        mam_metric_set(g->blocked_gauge, g->n_blocked);
        mam_http_exchange_set_on_done(x, on_done, b);
        mam_http_exchange_set_on_hangup(x, on_hangup, b);
        arm(g);
        return 0;
}

/* Answers those that need not wait any longer; all: every one. */
static void release(Registry *g, bool all) {
        uint64_t now = mam_now_monotonic();
        Blocked *b, *next;

        for (b = TAILQ_FIRST(&g->blocked); b; b = next) {
                MamHttpExchange *x = b->x;

                next = TAILQ_NEXT(b, blocked);
                if (!all && b->deadline_usec > now &&
                    registry_index_blocks(b->index, registry_index(g->catalog, b->of, b->id)))
                        continue;
                unlink_blocked(b); /* on_done frees it */
                (void) registry_answer_now(g, x);
        }
        arm(g);
}

static int on_wake(sd_event_source *source, uint64_t usec, void *userdata) {
        release(userdata, false);
        return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        release(userdata, false);
        return 0;
}

void registry_wake(Registry *g) {
        int enabled = SD_EVENT_OFF;

        (void) sd_event_source_get_enabled(g->wake, &enabled);
        if (enabled != SD_EVENT_OFF || g->n_blocked == 0)
                return;
        (void) sd_event_source_set_time_relative(g->wake, WAKE_DELAY_USEC);
        (void) sd_event_source_set_enabled(g->wake, SD_EVENT_ONESHOT);
}

void registry_release_blocked(Registry *g) {
        release(g, true);
}

int registry_blocking_init(Registry *g) {
        int r;

        r = sd_event_add_time(
                        g->event,
                        &g->wake,
                        CLOCK_MONOTONIC,
                        UINT64_MAX,
                        MAM_USEC_PER_MSEC,
                        on_wake,
                        g);
        if (r >= 0)
                r = sd_event_source_set_enabled(g->wake, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(
                                g->event,
                                &g->deadline,
                                CLOCK_MONOTONIC,
                                UINT64_MAX,
                                MAM_USEC_PER_MSEC,
                                on_deadline,
                                g);
        if (r >= 0)
                r = sd_event_source_set_enabled(g->deadline, SD_EVENT_OFF);
        return r;
}
