/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * All subscriptions of a process: finding them, hearing of changes, calls that take and settle
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "event-bus/delivery/delivery-internal.h"
#include "libmam/obs/log.h"
#include "libmam/util/time.h"

#define REFRESH_USEC    (15 * MAM_USEC_PER_SEC)
#define PROBE_WAIT_USEC (1 * MAM_USEC_PER_SEC)

static uint64_t mix(uint64_t x) {
        x ^= x >> 30;
        x *= 0xbf58476d1ce4e5b9U;
        x ^= x >> 27;
        x *= 0x94d049bb133111ebU;
        return x ^ x >> 31;
}

uint64_t delivery_lot(Delivery *d) {
        uint64_t lot;

        do
                lot = mix(d->lots += 0x9e3779b97f4a7c15U) >> 16;
        while (lot == 0);
        return lot;
}

void delivery_wake(Delivery *d) {
        (void) sd_event_source_set_enabled(d->defer, SD_EVENT_ONESHOT);
}

static int on_defer(sd_event_source *source, void *userdata) {
        Delivery *d = userdata;
        Subscription *s;

        while ((s = STAILQ_FIRST(&d->dirty))) {
                STAILQ_REMOVE_HEAD(&d->dirty, dirty);
                s->is_dirty = false;
                subscription_run(s);
        }

        (void) delivery_deliver(d);
        return 0;
}

/* Finding */

static Subscriptions *bucket(Delivery *d, const char *name) {
        return d->subscriptions + group_hash(name) % DELIVERY_BUCKETS;
}

Subscription *delivery_find(Delivery *d, const char *name) {
        Subscription *s;

        LIST_FOREACH(s, bucket(d, name), subscriptions) {
                if (strcmp(s->name, name) == 0)
                        return s;
        }
        return NULL;
}

int delivery_get(Delivery *d, const char *name, Subscription **ret) {
        Subscription *s;
        int r;

        if (d->is_closing)
                return -ECANCELED;
        s = delivery_find(d, name);
        if (!s) {
                r = subscription_new(&s, d, name);
                if (r < 0)
                        return r;
                LIST_INSERT_HEAD(bucket(d, name), s, subscriptions);
        }

        *ret = s;
        return 0;
}

/* Hearing */

static void visit_all(Delivery *d, void (*visit)(Subscription *s)) {
        Subscription *next;

        for (size_t i = 0; i < DELIVERY_BUCKETS; i++) {
                for (Subscription *s = LIST_FIRST(d->subscriptions + i); s; s = next) {
                        next = LIST_NEXT(s, subscriptions);
                        visit(s);
                }
        }
}

static void look_again(Subscription *s) {
        s->is_stale = true;
        if (!TAILQ_EMPTY(&s->takes))
                subscription_wake(s);
}

void delivery_tell_settings(Delivery *d, const char *name) {
        char word[192];

        (void) snprintf(word, sizeof(word), "subscription %s", name);
        tail_tell(d->tail, word);
        delivery_told(d, name);
}

void delivery_told(Delivery *d, const char *name) {
        _cleanup_(mam_freep) char *copy = NULL;
        Subscription *s;
        size_t size;

        assert(d);

        if (!name) {
                visit_all(d, look_again);
                delivery_refresh_soon(d);
                return;
        }

        /* "NAME": its settings; "NAME +": it has become possible to take */
        size = strcspn(name, " ");
        if (size == 0 || size > 128)
                return;
        copy = strndup(name, size);
        if (!copy)
                return;

        if (name[size] == ' ') {
                s = delivery_find(d, copy);
                if (s)
                        look_again(s);
                return;
        }
        if (delivery_get(d, copy, &s) < 0)
                return; /* the next refresh finds it */
        s->is_asked = s->is_stale = true;
        subscription_wake(s);
}

/* The list of all */

static void take_listed(Delivery *d, const StoreRow *row) {
        Subscription *s;
        Group group = { 0 };

        if (delivery_get(d, row->name, &s) < 0)
                return;

        s->refreshed = d->refreshes;
        if (row->last > s->topic_last)
                s->topic_last = row->last;
        if (group_decode(&group, row->state) >= 0)
                store_figures(&s->info,
                              &group,
                              row->last,
                              row->recorded_usec,
                              row->kind,
                              mam_now_realtime());
        group_done(&group);

        if (s->query || s->is_asked)
                return; /* it is being looked at */
        if (s->id != row->id || s->version != row->version) {
                if (s->id > 0) {
                        s->is_asked = s->is_stale = true;
                        subscription_wake(s);
                        return;
                }
                (void) subscription_take_row(s, row);
        }
        s->dead = row->dead;
        subscription_tell_push(s, false);
}

static void look_if_missing(Subscription *s) {
        if (s->refreshed == s->delivery->refreshes || s->query || s->is_asked)
                return;
        s->is_asked = s->is_stale = true;
        subscription_wake(s);
}

static void on_list(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        Delivery *d = userdata;
        StoreRow row;

        d->list = mam_pg_query_free(d->list);
        if (error < 0)
                return; /* the next one */

        d->refreshes++;
        for (size_t i = 0; i < mam_pg_rows(result); i++) {
                store_read(&row, result, i, true);
                take_listed(d, &row);
        }
        visit_all(d, look_if_missing);
}

static int on_refresh(sd_event_source *source, uint64_t usec, void *userdata) {
        Delivery *d = userdata;
        uint64_t now = mam_now_monotonic();

        if (!d->list)
                (void) mam_pg_query(d->pg, &d->list, &store_list, NULL, 0, on_list, d);
        (void) sd_event_source_set_time(source, now + REFRESH_USEC - delivery_lot(d) % (REFRESH_USEC / 4));
        (void) sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        return 0;
}

void delivery_refresh_soon(Delivery *d) {
        (void) sd_event_source_set_time(d->refresh, mam_now_monotonic() + 100 * MAM_USEC_PER_MSEC);
        (void) sd_event_source_set_enabled(d->refresh, SD_EVENT_ONESHOT);
}

void delivery_each(Delivery *d, void (*visit)(const SubscriptionInfo *s, void *userdata), void *userdata) {
        SubscriptionInfo info;
        Subscription *s;

        assert(d);
        assert(visit);

        for (size_t i = 0; i < DELIVERY_BUCKETS; i++) {
                LIST_FOREACH(s, d->subscriptions + i, subscriptions) {
                        if (s->id == 0)
                                continue;
                        subscription_info(s, &info);
                        visit(&info, userdata);
                }
        }
}

void delivery_set_on_push(
                Delivery *d,
                void (*on_push)(const char *name, const SubscriptionInfo *s, void *userdata),
                void *userdata) {
        Subscription *s;

        assert(d);

        d->on_push = on_push;
        d->push_userdata = userdata;
        for (size_t i = 0; i < DELIVERY_BUCKETS; i++) {
                LIST_FOREACH(s, d->subscriptions + i, subscriptions) {
                        s->is_told_push = false;
                        s->is_asked = s->id > 0 && s->settings.push_url;
                        if (s->is_asked)
                                subscription_wake(s);
                }
        }
}

/* Life */

int delivery_new(Delivery **ret, sd_event *event, MamPg *pg, Log *log, Tail *tail) {
        _cleanup_(delivery_freep) Delivery *d = NULL;
        int r;

        assert(ret);
        assert(event);
        assert(pg);
        assert(log);
        assert(tail);

        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->event = sd_event_ref(event);
        d->pg = pg;
        d->log = log;
        d->tail = tail;
        STAILQ_INIT(&d->dirty);
        TAILQ_INIT(&d->waiting);
        TAILQ_INIT(&d->answers);
        if (getrandom(&d->lots, sizeof(d->lots), 0) != (ssize_t) sizeof(d->lots))
                return -errno;

        r = sd_event_add_defer(event, &d->defer, on_defer, d);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(d->defer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &d->refresh, CLOCK_MONOTONIC, 0, 0, on_refresh, d);
        if (r < 0)
                return r;

        *ret = MAM_TAKE(d);
        return 0;
}

static void move_to_answers(Subscription *s) {
        DeliveryCalls *const lists[] = { &s->in_round, &s->ops, &s->takes };
        DeliveryCall *c;

        s->query = mam_pg_query_free(s->query);
        for (size_t i = 0; i < MAM_ELEMENTSOF(lists); i++) {
                while ((c = TAILQ_FIRST(lists[i]))) {
                        c->n_picks = 0;
                        delivery_call_finish(c, -ECANCELED);
                }
        }
}

static void forget(Subscription *s) {
        (void) subscription_free(s);
}

Delivery *delivery_free(Delivery *d) {
        DeliveryCall *c;

        if (!d || d->is_closing)
                return NULL;

        d->is_closing = true;
        if (d->gone)
                *d->gone = true;
        d->gone = NULL;
        d->on_push = NULL;
        d->list = mam_pg_query_free(d->list);
        visit_all(d, move_to_answers);
        while ((c = TAILQ_FIRST(&d->waiting))) {
                c->query = mam_pg_query_free(c->query);
                delivery_call_finish(c, -ECANCELED);
        }
        (void) delivery_deliver(d);
        visit_all(d, forget);

        d->defer = sd_event_source_disable_unref(d->defer);
        d->refresh = sd_event_source_disable_unref(d->refresh);
        sd_event_unref(d->event);
        free(d);
        return NULL;
}

/* Calls */

static int call_put(DeliveryCall **ret, DeliveryCall *call, Subscription *s, DeliveryCalls *list) {
        call->sub = s;
        s->n_calls++;
        delivery_call_move(call, list);
        subscription_wake(s);
        if (ret)
                *ret = call;
        return 0;
}

int delivery_take(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                unsigned events_max,
                size_t bytes_max,
                uint64_t wait_usec,
                DeliveryTaken callback,
                void *userdata) {
        uint64_t now = mam_now_monotonic();
        DeliveryCall *c = NULL;
        Subscription *s;
        int r;

        assert(d);
        assert(subscription);
        assert(callback);

        r = delivery_get(d, subscription, &s);
        if (r < 0)
                return r;
        if (s->n_calls >= DELIVERY_CALLS_MAX)
                return -EAGAIN;
        r = delivery_call_new(&c, ret, d, CALL_TAKE, NULL, userdata);
        if (r < 0)
                return r;

        c->callback.taken = callback;
        c->events_max = events_max == 0                  ? 1
                        : events_max < DELIVERY_TAKE_MAX ? events_max
                                                         : DELIVERY_TAKE_MAX;
        c->bytes_max = bytes_max > 0 ? bytes_max : SIZE_MAX / 2;
        c->deadline_usec = wait_usec < UINT64_MAX - now ? now + wait_usec : UINT64_MAX;
        c->wants_probe = wait_usec < PROBE_WAIT_USEC;
        return call_put(ret, c, s, &s->takes);
}

static bool get_hex(const char **text, uint64_t *ret) {
        uint64_t value = 0;
        const char *p = *text;

        for (; p - *text < 17; p++) {
                if (*p >= '0' && *p <= '9') {
                        value = value << 4 | (uint64_t) (*p - '0');
                } else if (*p >= 'a' && *p <= 'f') {
                        value = value << 4 | (uint64_t) (*p - 'a' + 10);
                } else {
                        break;
                }
        }
        if (p == *text || p - *text > 16)
                return false;

        *text = p;
        *ret = value;
        return true;
}

static bool parse_ack_id(const char *text, GroupItem *item) {
        uint64_t position, lease;

        if (!text || !get_hex(&text, &position) || *text++ != '.' || !get_hex(&text, &lease) || *text ||
            position > INT64_MAX / 4 || position == 0)
                return false;

        item->position = (int64_t) position;
        item->lease = lease;
        return true;
}

static int settle_fill(DeliveryCall *c, const Settlement *items, size_t n) {
        static const GroupSettle kinds[] = {
                [SETTLE_ACK] = GROUP_ACK,
                [SETTLE_NACK] = GROUP_NACK,
                [SETTLE_EXTEND] = GROUP_EXTEND,
                [SETTLE_DEAD] = GROUP_DEAD,
        };

        c->items = calloc(n + 1, sizeof(*c->items));
        c->results = calloc(n + 1, sizeof(*c->results));
        if (!c->items || !c->results)
                return -ENOMEM;
        c->n_items = n;

        for (size_t i = 0; i < n; i++) {
                c->items[i].kind = kinds[items[i].kind];
                c->items[i].delay_usec = items[i].delay_usec;
                if (!parse_ack_id(items[i].ack_id, c->items + i))
                        c->results[i] = -EBADMSG;
                if (!items[i].reason)
                        continue;
                if (!c->reasons)
                        c->reasons = calloc(n, sizeof(*c->reasons));
                if (!c->reasons)
                        return -ENOMEM;
                c->reasons[i] = strndup(items[i].reason, 1024);
                if (!c->reasons[i])
                        return -ENOMEM;
        }
        return 0;
}

int delivery_settle(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                const Settlement *items,
                size_t n,
                DeliverySettled callback,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        Subscription *s;
        int r;

        assert(d);
        assert(subscription);
        assert(items || n == 0);

        if (n > DELIVERY_SETTLE_MAX)
                return -E2BIG;
        r = delivery_get(d, subscription, &s);
        if (r < 0)
                return r;
        if (s->n_calls >= DELIVERY_CALLS_MAX || s->n_items + n > DELIVERY_ITEMS_MAX)
                return -EAGAIN;
        r = delivery_call_new(&c, ret, d, CALL_SETTLE, NULL, userdata);
        if (r < 0)
                return r;
        r = settle_fill(c, items, n);
        if (r < 0)
                return r;

        c->callback.settled = callback;
        return call_put(ret, MAM_TAKE(c), s, &s->ops);
}

int delivery_seek(
                Delivery *d,
                DeliveryCall **ret,
                const char *name,
                int64_t to,
                SubscriptionCallback callback,
                void *userdata) {
        DeliveryCall *c = NULL;
        Subscription *s;
        int r;

        assert(d);
        assert(name);
        assert(callback);

        if (to > INT64_MAX / 4)
                return -EINVAL;
        r = delivery_get(d, name, &s);
        if (r < 0)
                return r;
        r = delivery_call_new(&c, ret, d, CALL_SEEK, name, userdata);
        if (r < 0)
                return r;

        c->callback.info = callback;
        c->to = to > 1 ? to : 1;
        return call_put(ret, c, s, &s->ops);
}
