/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/deadlines.h"

#include <assert.h>

#include "libmam/util/macro.h"

void deadlines_done(Deadlines *h) {
        assert(h->n == 0);

        free(h->heap);
        *h = (Deadlines){ 0 };
}

static void put(Deadlines *h, size_t place, Deadline *d) {
        h->heap[place - 1] = d;
        d->place = place;
}

static void rise(Deadlines *h, size_t place, Deadline *d) {
        for (; place > 1 && h->heap[place / 2 - 1]->usec > d->usec; place /= 2)
                put(h, place, h->heap[place / 2 - 1]);
        put(h, place, d);
}

static void sink(Deadlines *h, size_t place, Deadline *d) {
        for (size_t child; (child = place * 2) <= h->n; place = child) {
                if (child < h->n && h->heap[child]->usec < h->heap[child - 1]->usec)
                        child++;
                if (h->heap[child - 1]->usec >= d->usec)
                        break;
                put(h, place, h->heap[child - 1]);
        }
        put(h, place, d);
}

int deadlines_add(Deadlines *h, Deadline *d) {
        assert(d->place == 0);

        if (h->n == h->allocated) {
                size_t n = h->allocated > 0 ? h->allocated * 2 : 64;
                Deadline **heap = reallocarray(h->heap, n, sizeof(Deadline *));

                if (!heap)
                        return -ENOMEM;
                h->heap = heap;
                h->allocated = n;
        }
        rise(h, ++h->n, d);
        return 0;
}

void deadlines_remove(Deadlines *h, Deadline *d) {
        size_t place = d->place;
        Deadline *last;

        if (place == 0)
                return;
        d->place = 0;
        last = h->heap[--h->n];
        if (last == d)
                return;
        if (place > 1 && h->heap[place / 2 - 1]->usec > last->usec)
                rise(h, place, last);
        else
                sink(h, place, last);
}

Deadline *deadlines_first(const Deadlines *h) {
        return h->n > 0 ? h->heap[0] : NULL;
}
