/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/lasting.h"

#include <assert.h>
#include <errno.h>

#include "libmam/util/time.h"

#define BUCKETS 1024U /* a power of two */

/* How many places somebody has. */
typedef struct CallerCount {
        LIST_ENTRY(CallerCount) counts;
        uint64_t caller;
        unsigned n;
} CallerCount;

TAILQ_HEAD(LastingQueue, Lasting);

struct LastingTable {
        sd_event *event;        /* owned reference */
        sd_event_source *timer; /* owned */
        uint64_t timer_usec;    /* when it fires; MAM_USEC_INFINITY: it does not */
        MamGatewayWebsocket config;
        struct LastingQueue active;  /* silent for longest first */
        struct LastingQueue closing; /* asked to end first, first */
        unsigned n_admitted;
        LIST_HEAD(, CallerCount) callers[BUCKETS];
};

static uint64_t now_of(const LastingTable *t) {
        uint64_t usec;

        if (sd_event_now(t->event, CLOCK_MONOTONIC, &usec) < 0)
                usec = mam_now_monotonic();
        return usec;
}

/* Only ever forward: on_timer() looks again. */
static void arm(LastingTable *t, uint64_t usec) {
        if (usec >= t->timer_usec)
                return;
        t->timer_usec = usec;
        (void) sd_event_source_set_time(t->timer, usec);
        (void) sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

static Lasting *expired(LastingTable *t, uint64_t now) {
        Lasting *l = TAILQ_FIRST(&t->closing);

        if (l && now >= l->since_usec + LASTING_CLOSE_USEC)
                return l;
        l = TAILQ_FIRST(&t->active);
        return l && now >= l->since_usec + t->config.idle_usec ? l : NULL;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        LastingTable *t = userdata;
        uint64_t now = now_of(t);
        Lasting *l;

        t->timer_usec = MAM_USEC_INFINITY;
        while ((l = expired(t, now))) {
                LastingEnd why = l->closing ? LASTING_OVERDUE : LASTING_IDLE;

                /* It stands behind all others now, whatever the callback makes of it. */
                lasting_close(l);
                l->on_expire(l, why);
        }

        l = TAILQ_FIRST(&t->closing);
        if (l)
                arm(t, l->since_usec + LASTING_CLOSE_USEC);
        l = TAILQ_FIRST(&t->active);
        if (l)
                arm(t, l->since_usec + t->config.idle_usec);
        return 0;
}

int lasting_table_new(LastingTable **ret, sd_event *event) {
        _cleanup_(lasting_table_freep) LastingTable *t = NULL;
        int r;

        assert(ret);
        assert(event);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->event = sd_event_ref(event);
        t->timer_usec = MAM_USEC_INFINITY;
        TAILQ_INIT(&t->active);
        TAILQ_INIT(&t->closing);
        mam_gateway_websocket_init(&t->config);
        r = sd_event_add_time(event, &t->timer, CLOCK_MONOTONIC, UINT64_MAX, MAM_USEC_PER_SEC, on_timer, t);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(t->timer, "gateway-lasting");
        r = sd_event_source_set_enabled(t->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(t);
        return 0;
}

LastingTable *lasting_table_free(LastingTable *t) {
        if (!t)
                return NULL;

        assert(TAILQ_EMPTY(&t->active) && TAILQ_EMPTY(&t->closing));
        assert(t->n_admitted == 0);
        sd_event_source_disable_unref(t->timer);
        sd_event_unref(t->event);
        free(t);
        return NULL;
}

void lasting_table_configure(LastingTable *t, const MamGatewayWebsocket *config) {
        Lasting *l;

        assert(t);
        assert(config);

        t->config = *config;
        l = TAILQ_FIRST(&t->active);
        if (l)
                arm(t, l->since_usec + t->config.idle_usec);
}

static CallerCount *find_count(LastingTable *t, uint64_t caller) {
        CallerCount *c;

        LIST_FOREACH(c, &t->callers[caller & (BUCKETS - 1)], counts) {
                if (c->caller == caller)
                        return c;
        }
        return NULL;
}

int lasting_admit(LastingTable *t, uint64_t caller) {
        CallerCount *c;

        assert(t);

        if (t->n_admitted >= t->config.max)
                return LASTING_ADMIT_FULL;
        c = find_count(t, caller);
        if (c && c->n >= t->config.max_per_caller)
                return LASTING_ADMIT_CALLER_FULL;
        if (!c) {
                c = calloc(1, sizeof(*c));
                if (!c)
                        return -ENOMEM;
                c->caller = caller;
                LIST_INSERT_HEAD(&t->callers[caller & (BUCKETS - 1)], c, counts);
        }
        c->n++;
        t->n_admitted++;
        return LASTING_ADMIT_YES;
}

void lasting_release(LastingTable *t, uint64_t caller) {
        CallerCount *c;

        assert(t);

        c = find_count(t, caller);
        assert(c && c->n > 0 && t->n_admitted > 0);
        t->n_admitted--;
        if (--c->n > 0)
                return;
        LIST_REMOVE(c, counts);
        free(c);
}

unsigned lasting_admitted(const LastingTable *t) {
        assert(t);

        return t->n_admitted;
}

void lasting_add(
                LastingTable *t,
                Lasting *l,
                const void *server,
                void (*on_expire)(Lasting *l, LastingEnd why)) {
        assert(t);
        assert(l && !l->table);
        assert(on_expire);

        *l = (Lasting){ .table = t, .server = server, .since_usec = now_of(t), .on_expire = on_expire };
        TAILQ_INSERT_TAIL(&t->active, l, entries);
        arm(t, l->since_usec + t->config.idle_usec);
}

/* A callback ends one, and no other. */
void lasting_leave(LastingTable *t, const void *server) {
        Lasting *l, *next;

        assert(t);
        assert(server);

        for (l = TAILQ_FIRST(&t->active); l; l = next) {
                next = TAILQ_NEXT(l, entries);
                if (l->server != server)
                        continue;
                lasting_close(l);
                l->on_expire(l, LASTING_LEAVING);
        }
}

void lasting_touch(Lasting *l) {
        LastingTable *t = l->table;

        if (!t || l->closing)
                return;
        l->since_usec = now_of(t);
        if (TAILQ_NEXT(l, entries)) {
                TAILQ_REMOVE(&t->active, l, entries);
                TAILQ_INSERT_TAIL(&t->active, l, entries);
        }
}

void lasting_close(Lasting *l) {
        LastingTable *t = l->table;

        if (!t)
                return;
        TAILQ_REMOVE(l->closing ? &t->closing : &t->active, l, entries);
        TAILQ_INSERT_TAIL(&t->closing, l, entries);
        l->closing = true;
        l->since_usec = now_of(t);
        arm(t, l->since_usec + LASTING_CLOSE_USEC);
}

void lasting_remove(Lasting *l) {
        LastingTable *t = MAM_TAKE(l->table);

        if (t)
                TAILQ_REMOVE(l->closing ? &t->closing : &t->active, l, entries);
}
