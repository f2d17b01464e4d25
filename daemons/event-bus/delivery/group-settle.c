/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Settling: what consumers say of single events becomes edits of the spans, applied in one pass
 *
 * Acks come first, so that a nack in the same call does not take them back.
 */

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/group-internal.h"

/* An item in the order in which it is looked at. */
typedef struct Order {
        int64_t position;
        uint32_t item, lease;
        bool is_ack;
} Order;

typedef struct Settle {
        Group *group;
        const GroupWindow *window;
        const GroupPolicy *policy;
        uint64_t now_usec;
        GroupItem *items;
        Order *order;     /* owned; by position, an ack before others */
        GroupEdit *edits; /* owned */
        size_t n_order, n_edits, n_edits_allocated;
        GroupKeys *keys; /* owned; of what was nacked, with the first position */
        bool *nacked;    /* owned; by lease */
} Settle;

static void settle_done(Settle *s) {
        free(s->order);
        free(s->edits);
        (void) group_keys_free(s->keys);
        free(s->nacked);
}

static bool out_of_attempts(const GroupPolicy *p, uint32_t attempts) {
        return p->attempts_max != UINT_MAX && attempts >= p->attempts_max;
}

/* Keys of different leases must not meet. */
static uint64_t key_in_lease(uint64_t key, uint32_t lease) {
        return key ^ ((uint64_t) lease + 1) * 0x9e3779b97f4a7c15U;
}

static const GroupSpan *item_span(const Group *g, const GroupItem *item, ssize_t lease) {
        const GroupSpan *span;

        if (lease < 0 || group_kind_at(g, item->position, &span) != GROUP_LEASED || !span ||
            span->lease != (size_t) lease)
                return NULL;
        return span;
}

int64_t group_settle_needs(const Group *g, const GroupWindow *w, const GroupItem *item) {
        ssize_t lease = group_find_lease(g, item->lease);

        if (item->kind != GROUP_NACK || !item_span(g, item, lease))
                return 0;

        for (size_t i = 0; i < g->n_spans; i++) {
                const GroupSpan *s = g->spans + i;
                int64_t from = s->from < item->position ? item->position : s->from, known;

                if (s->kind != GROUP_LEASED || s->lease != (size_t) lease || s->to < item->position)
                        continue;
                known = group_window_known_to(w, from);
                if (known < s->to)
                        return known + 1;
        }
        return 0;
}

bool group_settle_is_dead(const Group *g, const GroupPolicy *p, const GroupItem *item) {
        const GroupSpan *span = item_span(g, item, group_find_lease(g, item->lease));

        return span && (item->kind == GROUP_DEAD ||
                        (item->kind == GROUP_NACK && out_of_attempts(p, span->attempts + 1)));
}

static int compare_order(const void *a, const void *b) {
        const Order *x = a, *y = b;

        if (x->position != y->position)
                return x->position < y->position ? -1 : 1;
        if (x->is_ack != y->is_ack)
                return x->is_ack ? -1 : 1;
        return x->item < y->item ? -1 : 1;
}

static int compare_edits(const void *a, const void *b) {
        const GroupEdit *x = a, *y = b;

        return x->from < y->from ? -1 : x->from > y->from;
}

/* Looks up leases, does what concerns a lease as a whole, and sorts the rest. */
static int settle_sort(Settle *s, size_t n) {
        uint64_t last_id = 0;
        ssize_t lease = -1;
        bool sorted = true;

        for (size_t i = 0; i < n; i++) {
                GroupItem *item = s->items + i;

                item->result = -ESTALE;
                item->dead = false;
                if (i == 0 || item->lease != last_id)
                        lease = group_find_lease(s->group, item->lease);
                last_id = item->lease;
                if (!item_span(s->group, item, lease))
                        continue;

                if (item->kind == GROUP_EXTEND) {
                        s->group->leases[lease].until_usec = GROUP_MSEC(s->now_usec + item->delay_usec);
                        item->result = 0;
                        continue;
                }

                s->order[s->n_order++] = (Order){ .position = item->position,
                                                  .item = (uint32_t) i,
                                                  .lease = (uint32_t) lease,
                                                  .is_ack = item->kind == GROUP_ACK };
                if (s->n_order > 1 &&
                    compare_order(s->order + s->n_order - 2, s->order + s->n_order - 1) > 0)
                        sorted = false;
        }

        if (!sorted)
                qsort(s->order, s->n_order, sizeof(*s->order), compare_order);
        return 0;
}

static int settle_edit(Settle *s, const GroupEdit *edit, uint32_t lease) {
        GroupEdit *edits, *last = s->n_edits > 0 ? s->edits + s->n_edits - 1 : NULL;
        size_t n;

        s->group->leases[lease].open--;
        if (last && last->to + 1 == edit->from && last->kind == edit->kind && edit->kind == GROUP_SETTLED) {
                last->to = edit->to;
                return 0;
        }

        if (s->n_edits == s->n_edits_allocated) {
                n = s->n_edits_allocated ? s->n_edits_allocated * 2 : 16;
                edits = reallocarray(s->edits, n, sizeof(*edits));
                if (!edits)
                        return -ENOMEM;
                s->edits = edits;
                s->n_edits_allocated = n;
        }

        s->edits[s->n_edits++] = *edit;
        return 0;
}

/* Remembers from where on events of this key come back. */
static int settle_note_nack(Settle *s, const Order *o) {
        size_t entry = group_window_find(s->window, o->position);
        GroupKey *slot;
        int r;

        if (!s->keys) {
                s->nacked = calloc(s->group->n_leases, sizeof(*s->nacked));
                if (!s->nacked)
                        return -ENOMEM;
                r = group_keys_new(&s->keys, s->n_order);
                if (r < 0)
                        return r;
        }

        if (entry >= s->window->n_entries || s->window->entries[entry].position != o->position)
                return 0; /* no longer in the log */

        slot = group_keys_slot(s->keys, key_in_lease(s->window->entries[entry].key, o->lease));
        if (!slot)
                return -ENOMEM;
        if (slot->value == 0)
                group_keys_set(s->keys, slot, o->position);
        s->nacked[o->lease] = true;
        return 0;
}

static int settle_item(Settle *s, const Order *o) {
        GroupEdit edit = { .from = o->position, .to = o->position, .kind = GROUP_SETTLED };
        GroupItem *item = s->items + o->item;
        const GroupSpan *span;
        uint64_t delay;
        int r;

        (void) group_kind_at(s->group, o->position, &span);
        item->result = 0;
        item->attempts = span->attempts + 1;
        item->dead = item->kind == GROUP_DEAD ||
                     (item->kind == GROUP_NACK && out_of_attempts(s->policy, item->attempts));

        if (item->kind == GROUP_NACK && !item->dead) {
                delay = item->delay_usec == UINT64_MAX ? group_backoff(s->policy, item->attempts)
                                                       : item->delay_usec;
                edit.kind = GROUP_PENDING;
                edit.add_attempts = 1;
                edit.until_usec = delay > 0 ? GROUP_MSEC(s->now_usec + delay) : 0;
                r = settle_note_nack(s, o);
                if (r < 0)
                        return r;
        }
        return settle_edit(s, &edit, o->lease);
}

static bool is_ordered(const Settle *s, int64_t position) {
        size_t a = 0, b = s->n_order;

        while (a < b) {
                size_t m = a + (b - a) / 2;

                if (s->order[m].position < position) {
                        a = m + 1;
                } else {
                        b = m;
                }
        }
        return a < s->n_order && s->order[a].position == position;
}

/* Later events of a nacked key in a span of the same lease. */
static int settle_followers(Settle *s, const GroupSpan *span) {
        const GroupWindow *w = s->window;
        GroupKey *slot;
        int r;

        for (size_t i = group_window_find(w, span->from);
             i < w->n_entries && w->entries[i].position <= span->to;
             i++) {
                int64_t position = w->entries[i].position;
                GroupEdit edit = { .from = position, .to = position, .kind = GROUP_PENDING };

                slot = group_keys_slot(s->keys, key_in_lease(w->entries[i].key, span->lease));
                if (!slot)
                        return -ENOMEM;
                if (slot->value == 0 || position <= slot->value || is_ordered(s, position))
                        continue;
                r = settle_edit(s, &edit, span->lease);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int settle_run(Settle *s, size_t n) {
        int r;

        s->order = reallocarray(NULL, n, sizeof(*s->order));
        if (!s->order)
                return -ENOMEM;
        r = settle_sort(s, n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < s->n_order; i++) {
                if (i > 0 && s->order[i].position == s->order[i - 1].position)
                        continue; /* said twice: stale */
                r = settle_item(s, s->order + i);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; s->keys && i < s->group->n_spans; i++) {
                const GroupSpan *span = s->group->spans + i;

                if (span->kind != GROUP_LEASED || !s->nacked[span->lease])
                        continue;
                r = settle_followers(s, span);
                if (r < 0)
                        return r;
        }

        if (s->keys && s->n_edits > 1)
                qsort(s->edits, s->n_edits, sizeof(*s->edits), compare_edits);
        r = group_apply(s->group, s->edits, s->n_edits);
        if (r < 0)
                return r;
        return group_tidy(s->group);
}

int group_settle(
                Group *g,
                const GroupWindow *w,
                const GroupPolicy *p,
                uint64_t now_usec,
                GroupItem *items,
                size_t n) {
        _cleanup_(settle_done) Settle s = {
                .group = g,
                .window = w,
                .policy = p,
                .now_usec = now_usec,
                .items = items,
        };

        assert(g);
        assert(w);
        assert(p);

        return n > 0 ? settle_run(&s, n) : 0;
}
