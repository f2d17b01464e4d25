/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Redriving: letters are looked up, then a round makes their positions pending and marks them
 *
 * At most DELIVERY_REDRIVE_MAX at once, so that the state stays small; whoever wants more asks again.
 */

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/delivery-internal.h"

static int compare_positions(const void *a, const void *b) {
        const int64_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static int take_found(DeliveryCall *c, const MamPgResult *result) {
        size_t n = mam_pg_rows(result);

        free(MAM_TAKE(c->found));
        free(MAM_TAKE(c->positions));
        c->n_found = 0;
        c->found = calloc(n + 1, sizeof(*c->found));
        c->positions = calloc(n + 1, sizeof(*c->positions));
        if (!c->found || !c->positions)
                return -ENOMEM;

        for (size_t i = 0; i < n; i++) {
                c->found[i] = mam_pg_int(result, i, 0);
                c->positions[i] = mam_pg_int(result, i, 1);
        }
        qsort(c->positions, n, sizeof(*c->positions), compare_positions);
        c->n_found = n;
        return 0;
}

static void on_found(
                MamPgQuery *q,
                const MamPgResult *result,
                int error,
                const char *message,
                void *userdata) {
        DeliveryCall *c = userdata;
        int r;

        c->query = mam_pg_query_free(c->query);
        r = error < 0 ? store_error(error) : take_found(c, result);
        if (r < 0) {
                delivery_call_finish(c, r);
                return;
        }
        delivery_call_move(c, &c->sub->ops);
        subscription_wake(c->sub);
}

int delivery_redrive_find(DeliveryCall *c) {
        char id[STORE_NUMBER_SIZE], limit[STORE_NUMBER_SIZE];
        const char *const parameters[] = { id, c->numbers, limit };

        delivery_call_move(c, &c->delivery->waiting);
        c->is_again = false;
        (void) snprintf(id, sizeof(id), "%" PRIi64, c->sub->id);
        (void) snprintf(limit, sizeof(limit), "%u", DELIVERY_REDRIVE_MAX);
        return mam_pg_query(
                        c->delivery->pg,
                        &c->query,
                        &store_dead_find,
                        parameters,
                        MAM_ELEMENTSOF(parameters),
                        on_found,
                        c);
}

static int numbers_text(char **ret, const int64_t *numbers, size_t n) {
        _cleanup_(mam_buffer_done) MamBuffer b = MAM_BUFFER_INIT;
        int r = 0;

        for (size_t i = 0; r >= 0 && i < n; i++)
                r = store_array_int(&b, numbers[i]);
        if (r >= 0)
                r = store_array_close(&b);
        if (r < 0)
                return r;
        *ret = mam_buffer_steal(&b, NULL);
        return *ret ? 0 : -ENOMEM;
}

int delivery_redrive(
                Delivery *d,
                DeliveryCall **ret,
                const char *subscription,
                const int64_t *numbers,
                size_t n,
                void (*done)(int r, size_t n, void *userdata),
                void *userdata) {
        _cleanup_(delivery_call_destroyp) DeliveryCall *c = NULL;
        Subscription *s;
        int r;

        assert(d);
        assert(subscription);
        assert(done);

        if (numbers && n > DELIVERY_REDRIVE_MAX)
                return -E2BIG;
        r = delivery_get(d, subscription, &s);
        if (r < 0)
                return r;
        r = delivery_call_new(&c, ret, d, CALL_REDRIVE, NULL, userdata);
        if (r < 0)
                return r;
        c->callback.redriven = done;
        if (numbers) {
                r = numbers_text(&c->numbers, numbers, n);
                if (r < 0)
                        return r;
        }

        /* the first round finds out which subscription it is, and has its letters looked up */
        c->is_again = true;
        c->sub = s;
        s->n_calls++;
        delivery_call_move(c, &s->ops);
        subscription_wake(s);
        if (ret)
                *ret = c;
        (void) MAM_TAKE(c);
        return 0;
}
