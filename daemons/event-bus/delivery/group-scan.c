/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Taking: one pass over the window, from the floor on
 *
 * First the keys of everything that is out are noted, then what is pending is looked at in its order. An
 * event that cannot go (held, its key is out or waits, its body is not at hand) blocks its key for all that
 * follow. Picks become edits, which are applied at the end of the pass.
 */

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/group-internal.h"

#define OWNER_BLOCKED 1
#define OWNER_WANTED  2 /* blocked, as the first of it is not at hand: then the others are wanted as well */
#define OWNER_FIRST   3

/* Keys */

uint64_t group_hash(const char *key) {
        uint64_t h = 0xcbf29ce484222325U;

        for (const unsigned char *p = (const unsigned char *) key; *p; p++)
                h = (h ^ *p) * 0x100000001b3U;
        h ^= h >> 32;
        h *= 0xd6e8feb86659fd93U;
        return h ^ h >> 32;
}

int group_keys_new(GroupKeys **ret, size_t n_expected) {
        _cleanup_(group_keys_freep) GroupKeys *k = NULL;

        k = calloc(1, sizeof(*k));
        if (!k)
                return -ENOMEM;
        for (k->n_slots = 64; k->n_slots < n_expected * 2; k->n_slots *= 2)
                ;
        k->slots = calloc(k->n_slots, sizeof(*k->slots));
        if (!k->slots)
                return -ENOMEM;

        *ret = MAM_TAKE(k);
        return 0;
}

GroupKeys *group_keys_free(GroupKeys *k) {
        if (!k)
                return NULL;
        free(k->slots);
        free(k);
        return NULL;
}

static GroupKey *keys_find(GroupKey *slots, size_t n_slots, uint64_t key) {
        size_t i = key & (n_slots - 1);

        while (slots[i].value != 0 && slots[i].key != key)
                i = (i + 1) & (n_slots - 1);
        return slots + i;
}

GroupKey *group_keys_slot(GroupKeys *k, uint64_t key) {
        GroupKey *slot, *slots;
        size_t n_slots = k->n_slots * 2;

        if (k->n * 2 >= k->n_slots) {
                slots = calloc(n_slots, sizeof(*slots));
                if (!slots)
                        return NULL;
                for (size_t i = 0; i < k->n_slots; i++) {
                        if (k->slots[i].value != 0)
                                *keys_find(slots, n_slots, k->slots[i].key) = k->slots[i];
                }
                free(k->slots);
                k->slots = slots;
                k->n_slots = n_slots;
        }

        slot = keys_find(k->slots, k->n_slots, key);
        slot->key = key; /* a free one stays free until it gets a value */
        return slot;
}

void group_keys_set(GroupKeys *k, GroupKey *slot, int64_t value) {
        if (slot->value == 0)
                k->n++;
        slot->value = value;
}

/* The window */

size_t group_window_find(const GroupWindow *w, int64_t position) {
        size_t a = 0, b = w->n_entries;

        /* mostly the first ones are looked for */
        if (b == 0 || w->entries[0].position >= position)
                return 0;

        while (a < b) {
                size_t m = a + (b - a) / 2;

                if (w->entries[m].position < position) {
                        a = m + 1;
                } else {
                        b = m;
                }
        }
        return a;
}

int64_t group_window_known_to(const GroupWindow *w, int64_t position) {
        for (size_t i = 0; i < w->n_known && w->known[i].from <= position; i++) {
                if (w->known[i].to >= position)
                        return w->known[i].to;
        }
        return position - 1;
}

static int64_t gone_from(const GroupWindow *w, int64_t from, int64_t to) {
        for (size_t i = 0; i < w->n_gone; i++) {
                if (w->gone[i].from <= to && w->gone[i].to >= from)
                        return w->gone[i].from > from ? w->gone[i].from : from;
        }
        return INT64_MAX;
}

/* The pass */

static int block(GroupScan *s, uint64_t key) {
        GroupKey *slot = group_keys_slot(s->keys, key);

        if (!slot)
                return -ENOMEM;
        group_keys_set(s->keys, slot, OWNER_BLOCKED); /* also for a take that has earlier ones of it */
        return 0;
}

/* What is out: its keys, and where the first of it is that nobody knows the key of. */
static int scan_leased(GroupScan *s, const GroupSpan *span) {
        const GroupWindow *w = s->window;
        int64_t known = group_window_known_to(w, span->from), gone = gone_from(w, span->from, span->to);

        if (known < span->to && known + 1 < s->bound)
                s->bound = s->unknown = known + 1;
        if (gone < s->bound) {
                s->bound = gone;
                s->unknown = 0;
        }
        /* what was redriven waits for what came later, too: any of that may have its key */
        if (s->bound < INT64_MAX && s->group->redriven_to >= s->position)
                s->bound = s->position;

        for (size_t i = group_window_find(w, span->from);
             i < w->n_entries && w->entries[i].position <= span->to;
             i++) {
                int r = block(s, w->entries[i].key);

                if (r < 0)
                        return r;
        }
        return 0;
}

int group_scan_begin(
                GroupScan *s,
                Group *g,
                const GroupWindow *w,
                const GroupPolicy *policy,
                uint64_t now_usec) {
        int r;

        *s = (GroupScan){
                .group = g,
                .window = w,
                .policy = policy,
                .now_usec = now_usec,
                .wake_usec = UINT64_MAX,
                .outstanding = group_outstanding(g),
                .position = g->floor + 1,
                .bound = INT64_MAX,
                .owner = OWNER_FIRST,
        };

        r = group_keys_new(&s->keys, s->outstanding + 256);
        if (r < 0)
                return r;

        for (size_t i = 0; i < g->n_spans; i++) {
                if (g->spans[i].kind != GROUP_LEASED)
                        continue;
                s->n_leased_spans++;
                r = scan_leased(s, g->spans + i);
                if (r < 0)
                        return r;
        }

        s->n_potential = g->n_spans - s->n_leased_spans + 2 * s->outstanding;
        s->entry = group_window_find(w, s->position);
        return 0;
}

static int scan_edit(GroupScan *s, int64_t from, int64_t to, GroupKind kind, uint32_t lease) {
        GroupEdit *edits;
        size_t n;

        if (s->n_edits == s->n_edits_allocated) {
                n = s->n_edits_allocated ? s->n_edits_allocated * 2 : 16;
                edits = reallocarray(s->edits, n, sizeof(*edits));
                if (!edits)
                        return -ENOMEM;
                s->edits = edits;
                s->n_edits_allocated = n;
        }

        s->edits[s->n_edits++] = (GroupEdit){ .from = from, .to = to, .kind = kind, .lease = lease };
        return 0;
}

static int scan_dead(GroupScan *s, size_t entry, uint32_t attempts) {
        const GroupEntry *e = s->window->entries + entry;
        GroupPick *dead;
        size_t n;

        if (s->n_dead == s->n_dead_allocated) {
                n = s->n_dead_allocated ? s->n_dead_allocated * 2 : 16;
                dead = reallocarray(s->dead, n, sizeof(*dead));
                if (!dead)
                        return -ENOMEM;
                s->dead = dead;
                s->n_dead_allocated = n;
        }

        s->dead[s->n_dead++] = (GroupPick){ .entry = entry, .position = e->position, .attempts = attempts };
        return scan_edit(s, e->position, e->position, GROUP_SETTLED, 0);
}

static int scan_want(GroupScan *s, const GroupEntry *e) {
        if (!s->wanted) {
                s->wanted = reallocarray(NULL, GROUP_WANTED_MAX, sizeof(*s->wanted));
                if (!s->wanted)
                        return -ENOMEM;
        }
        if (s->n_wanted < GROUP_WANTED_MAX)
                s->wanted[s->n_wanted++] = e->position;
        return 0;
}

/* One take's part of the pass. */
typedef struct Take {
        uint64_t lease_id, until_usec;
        size_t n_max, bytes_max, n, bytes;
        uint32_t lease;
        GroupPick *picks;
        bool is_open; /* the last edit is this take's and ends at the entry before */
} Take;

static bool take_is_full(GroupScan *s, const Take *t, const GroupEntry *e) {
        if (t->n >= t->n_max || (t->n > 0 && t->bytes + e->size > t->bytes_max))
                return true;

        if (s->outstanding >= s->policy->outstanding_max ||
            (s->outstanding > 0 && s->n_potential >= GROUP_SPANS_MAX) ||
            (t->n == 0 && s->group->n_leases >= GROUP_LEASES_MAX)) {
                s->full = true;
                return true;
        }
        return false;
}

static int take_pick(GroupScan *s, Take *t, const GroupSpan *span, int64_t from) {
        const GroupEntry *e = s->window->entries + s->entry;
        int r;

        if (t->n == 0) {
                r = group_add_lease(s->group, t->lease_id, t->until_usec);
                if (r < 0)
                        return r;
                t->lease = (uint32_t) s->group->n_leases - 1;
        }

        if (t->is_open) {
                s->edits[s->n_edits - 1].to = e->position;
        } else {
                r = scan_edit(s, from, e->position, GROUP_LEASED, t->lease);
                if (r < 0)
                        return r;
        }

        t->picks[t->n++] = (GroupPick){ .entry = s->entry,
                                        .position = e->position,
                                        .attempts = span ? span->attempts : 0 };
        t->bytes += e->size;
        t->is_open = true;
        s->group->leases[t->lease].open++;
        s->outstanding++;
        s->n_potential += 2;
        return 0;
}

/* One entry of what is pending. from: where an edit may begin. 1: picked; 0: passed over; -ENOBUFS: the take
 * is full. */
static int scan_entry(GroupScan *s, Take *t, const GroupSpan *span, int64_t from) {
        const GroupEntry *e = s->window->entries + s->entry;
        GroupKey *slot;
        int r;

        if (span && span->until_usec > s->now_usec) {
                if (span->until_usec < s->wake_usec)
                        s->wake_usec = span->until_usec;
                return block(s, e->key);
        }

        slot = group_keys_slot(s->keys, e->key);
        if (!slot)
                return -ENOMEM;
        if (slot->value != 0 && slot->value != s->owner) {
                s->n_blocked++;
                return slot->value == OWNER_WANTED && !e->body ? scan_want(s, e) : 0;
        }

        if (!e->body) {
                group_keys_set(s->keys, slot, OWNER_WANTED); /* for the owner too: order */
                return scan_want(s, e);
        }
        if (span && s->policy->attempts_max != UINT_MAX && span->attempts >= s->policy->attempts_max)
                return s->n_dead < GROUP_DEAD_MAX ? scan_dead(s, s->entry, span->attempts) : -ENOBUFS;
        if (take_is_full(s, t, e))
                return -ENOBUFS;

        group_keys_set(s->keys, slot, s->owner);
        r = take_pick(s, t, span, from);
        return r < 0 ? r : 1;
}

/* Pending positions of one span or gap, up to end. */
static int scan_region(GroupScan *s, Take *t, const GroupSpan *span, int64_t end) {
        const GroupWindow *w = s->window;
        int64_t from = s->position;
        int r;

        t->is_open = false;
        while (s->entry < w->n_entries && w->entries[s->entry].position < s->position)
                s->entry++;

        for (; s->entry < w->n_entries && w->entries[s->entry].position <= end; s->entry++) {
                r = scan_entry(s, t, span, from);
                if (r == -ENOBUFS) {
                        s->position = w->entries[s->entry].position;
                        return r;
                }
                if (r < 0)
                        return r;
                if (r == 0)
                        t->is_open = false;
                from = w->entries[s->entry].position + 1;
        }

        /* what the filter refused behind it goes with it */
        if (t->is_open)
                s->edits[s->n_edits - 1].to = end;
        s->position = end + 1;
        return 0;
}

static int scan_step(GroupScan *s, Take *t) {
        const Group *g = s->group;
        const GroupSpan *next, *span = NULL;
        int64_t to, end;

        while (s->span < g->n_spans && g->spans[s->span].to < s->position)
                s->span++;
        next = s->span < g->n_spans ? g->spans + s->span : NULL;

        if (next && next->from <= s->position) {
                if (next->kind != GROUP_PENDING) {
                        s->position = next->to + 1;
                        return 0;
                }
                span = next;
                to = span->to;
        } else {
                to = next ? next->from - 1 : INT64_MAX / 2;
        }

        if (s->position >= s->bound) {
                s->over = true; /* unknown says why */
                s->is_bound = true;
                return 0;
        }
        if (to >= s->bound)
                to = s->bound - 1;

        end = group_window_known_to(s->window, s->position);
        if (end > to)
                end = to;
        if (end < s->position) {
                s->unknown = s->position;
                s->over = true;
                return 0;
        }
        return scan_region(s, t, span, end);
}

int group_scan_take(
                GroupScan *s,
                uint64_t lease,
                uint64_t until_usec,
                size_t events_max,
                size_t bytes_max,
                GroupPick *picks) {
        Take t = { .lease_id = lease,
                   .until_usec = until_usec,
                   .n_max = events_max,
                   .bytes_max = bytes_max,
                   .picks = picks };
        int r = 0;

        assert(s);
        assert(events_max == 0 || picks);

        while (!s->over && r != -ENOBUFS) {
                r = scan_step(s, &t);
                if (r < 0 && r != -ENOBUFS)
                        return r;
        }

        s->owner++;
        return (int) t.n;
}

int group_scan_end(GroupScan *s) {
        int r;

        r = group_apply(s->group, s->edits, s->n_edits);
        if (r < 0)
                return r;
        r = group_tidy(s->group);
        if (r < 0)
                return r;
        group_advance(s->group, s->window);
        return 0;
}

void group_scan_done(GroupScan *s) {
        (void) group_keys_free(s->keys);
        free(s->edits);
        free(s->dead);
        free(s->wanted);
        *s = (GroupScan){ 0 };
}
