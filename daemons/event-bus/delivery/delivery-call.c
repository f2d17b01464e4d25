/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls: one caller that waits, until its answer
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/delivery-internal.h"
#include "libmam/util/time.h"

#define OPERATION_PATIENCE (10 * MAM_USEC_PER_SEC)

int delivery_call_new(
                DeliveryCall **ret,
                DeliveryCall **ret_handle,
                Delivery *d,
                CallKind kind,
                const char *name,
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;

        if (d->is_closing)
                return -ECANCELED;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (DeliveryCall){
                .delivery = d,
                .kind = kind,
                .has_handle = ret_handle,
                .userdata = userdata,
                .deadline_usec = mam_now_monotonic() + OPERATION_PATIENCE,
        };

        if (name) {
                c->name = strdup(name);
                if (!c->name)
                        return -ENOMEM;
        }

        *ret = MAM_TAKE(c);
        return 0;
}

static void call_unlink(DeliveryCall *c) {
        if (!c->list)
                return;
        if (c->sub && c->list == &c->sub->ops)
                c->sub->n_items -= c->n_items;
        TAILQ_REMOVE(c->list, c, entry);
        c->list = NULL;
}

void delivery_call_move(DeliveryCall *c, DeliveryCalls *list) {
        call_unlink(c);
        TAILQ_INSERT_TAIL(list, c, entry);
        c->list = list;
        if (c->sub && list == &c->sub->ops)
                c->sub->n_items += c->n_items;
}

void delivery_call_move_first(DeliveryCall *c, DeliveryCalls *list) {
        call_unlink(c);
        TAILQ_INSERT_HEAD(list, c, entry);
        c->list = list;
        if (c->sub && list == &c->sub->ops)
                c->sub->n_items += c->n_items;
}

static void call_leave(DeliveryCall *c) {
        Subscription *s = c->sub;

        call_unlink(c);
        c->sub = NULL;
        if (!s)
                return;
        s->n_calls--;
        if (s->n_calls == 0 && s->id == 0)
                subscription_wake(s); /* there is none of that name */
}

static void call_drop_bodies(DeliveryCall *c) {
        for (size_t i = 0; c->bodies && i < c->n_picks; i++)
                free(c->bodies[i]);
        free(MAM_TAKE(c->bodies));
}

DeliveryCall *delivery_call_destroy(DeliveryCall *c) {
        if (!c)
                return NULL;

        call_leave(c);
        c->query = mam_pg_query_free(c->query);
        call_drop_bodies(c);
        for (size_t i = 0; c->reasons && i < c->n_items; i++)
                free(c->reasons[i]);
        free(c->reasons);
        free(c->picks);
        free(c->items);
        free(c->results);
        free(c->numbers);
        free(c->found);
        free(c->positions);
        free(c->name);
        free(c);
        return NULL;
}

/* A lease whose taker went away comes back at once, and not when it ends. */
int delivery_release(Subscription *s, uint64_t lease) {
        DeliveryCall *c = NULL;
        int r;

        r = delivery_call_new(&c, NULL, s->delivery, CALL_RELEASE, NULL, NULL);
        if (r < 0)
                return r; /* then when it ends */
        c->lease = lease;
        c->is_unheard = true;
        c->sub = s;
        s->n_calls++;
        delivery_call_move(c, &s->ops);
        subscription_wake(s);
        return 0;
}

DeliveryCall *delivery_call_free(DeliveryCall *c) {
        Subscription *s;

        if (!c)
                return NULL;
        assert(c->has_handle);

        s = c->sub;
        if (c->delivery && c->is_listing) {
                c->has_handle = false;
                c->is_unheard = true;
                return NULL;
        }
        if (c->delivery && s && c->list == &s->in_round) {
                /* it may be saved: goes on without us */
                c->has_handle = false;
                c->is_unheard = true;
                return NULL;
        }

        if (c->delivery && s && c->kind == CALL_TAKE && c->list == &c->delivery->answers && c->n_picks > 0)
                (void) delivery_release(s, c->lease);
        return delivery_call_destroy(c);
}

void delivery_call_finish(DeliveryCall *c, int result) {
        c->result = result;
        delivery_call_move(c, &c->delivery->answers);
        delivery_wake(c->delivery);
}

/* "position.lease", in hexadecimal digits */
static char *put_hex(char *to, uint64_t value) {
        unsigned digits = value ? (67U - (unsigned) __builtin_clzll(value)) / 4 : 1;

        for (unsigned i = digits; i > 0; i--, value >>= 4)
                to[i - 1] = "0123456789abcdef"[value & 15];
        return to + digits;
}

static void put_ack_id(char *to, int64_t position, uint64_t lease) {
        to = put_hex(to, (uint64_t) position);
        *to++ = '.';
        to = put_hex(to, lease);
        *to = '\0';
}

static void answer_taken(DeliveryCall *c, DeliveryTaken callback, void *userdata) {
        _cleanup_(mam_freep) Delivered *events = NULL;
        _cleanup_(mam_freep) char *ids = NULL;
        _cleanup_(mam_freep) WindowBody **bodies = MAM_TAKE(c->bodies);
        size_t n = bodies && c->result >= 0 ? c->n_picks : 0, n_bodies = c->n_picks;
        int r = c->result;

        events = calloc(n + 1, sizeof(*events));
        ids = malloc((n + 1) * DELIVERY_ACK_ID_SIZE);
        if (!events || !ids) {
                n = 0; /* what was leased comes back when its lease ends */
                r = -ENOMEM;
        }

        for (size_t i = 0; i < n; i++) {
                put_ack_id(ids + i * DELIVERY_ACK_ID_SIZE, c->picks[i].position, c->lease);
                events[i] = (Delivered){
                        .event = bodies[i]->event,
                        .attempt = c->picks[i].attempts + 1,
                        .ack_id = ids + i * DELIVERY_ACK_ID_SIZE,
                };
        }

        if (!c->has_handle)
                (void) delivery_call_destroy(MAM_TAKE(c));
        if (callback)
                callback(r, events, n, userdata);
        for (size_t i = 0; bodies && i < n_bodies; i++)
                free(bodies[i]);
}

static void answer_settled(DeliveryCall *c, DeliverySettled callback, void *userdata) {
        _cleanup_(mam_freep) int *results = MAM_TAKE(c->results);
        size_t n = c->result < 0 ? 0 : c->n_items;
        int r = c->result;

        if (!c->has_handle)
                (void) delivery_call_destroy(MAM_TAKE(c));
        if (callback)
                callback(r, results, n, userdata);
}

/* The rest: answers without anything that has to live. */
static void answer_plain(DeliveryCall *c, void *userdata) {
        __auto_type callback = c->callback;
        CallKind kind = c->kind;
        size_t n = c->n_found;
        int r = c->result;

        if (!c->has_handle)
                (void) delivery_call_destroy(MAM_TAKE(c));

        if (kind == CALL_REDRIVE) {
                callback.redriven(r, r < 0 ? 0 : n, userdata);
        } else if (kind == CALL_DEAD_LIST) {
                callback.letters(r, NULL, 0, userdata);
        } else {
                callback.info(r, NULL, userdata);
        }
}

static void call_answer(DeliveryCall *c) {
        if (c->is_unheard) {
                (void) delivery_call_destroy(c);
                return;
        }

        call_leave(c);
        c->delivery = NULL;
        if (c->kind == CALL_TAKE) {
                answer_taken(c, c->callback.taken, c->userdata);
        } else if (c->kind == CALL_SETTLE) {
                answer_settled(c, c->callback.settled, c->userdata);
        } else {
                answer_plain(c, c->userdata);
        }
}

bool delivery_deliver(Delivery *d) {
        bool gone = false;
        DeliveryCall *c;

        if (d->gone)
                return true; /* an event loop run from within a callback: the outer one goes on */

        d->gone = &gone;
        while ((c = TAILQ_FIRST(&d->answers))) {
                call_answer(c);
                if (gone)
                        return false;
        }
        d->gone = NULL;
        return true;
}
