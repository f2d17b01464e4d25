/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Spans: reading them, rewriting them in one pass, and what changes them without looking for events
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/group-internal.h"

#define ATTEMPTS_LIMIT 1000000U

/* Rewriting: a new list is made from left to right, in which neighbours that are alike become one */

typedef struct SpanList {
        GroupSpan *items;
        size_t n, allocated;
} SpanList;

static int list_push(SpanList *l, const GroupSpan *s) {
        GroupSpan *last = l->n > 0 ? l->items + l->n - 1 : NULL;
        GroupSpan *items;
        size_t n;

        if (s->kind == GROUP_PENDING && s->attempts == 0 && s->until_usec == 0)
                return 0; /* as all that nobody mentions */

        if (last && last->to + 1 == s->from && last->kind == s->kind && last->lease == s->lease &&
            last->attempts == s->attempts && last->until_usec == s->until_usec) {
                last->to = s->to;
                return 0;
        }

        if (l->n == l->allocated) {
                n = l->allocated ? l->allocated * 2 : 16;
                items = reallocarray(l->items, n, sizeof(*items));
                if (!items)
                        return -ENOMEM;
                l->items = items;
                l->allocated = n;
        }

        l->items[l->n++] = *s;
        return 0;
}

static void list_into(SpanList *l, Group *g) {
        free(g->spans);
        g->spans = l->items;
        g->n_spans = l->n;
        g->n_spans_allocated = l->allocated;
        *l = (SpanList){ 0 };
}

static void list_done(SpanList *l) {
        free(l->items);
}

static void edit_piece(const GroupEdit *e, GroupSpan *piece) {
        uint32_t attempts = piece->attempts;

        if ((e->only_pending && piece->kind != GROUP_PENDING) ||
            (e->only_settled && piece->kind != GROUP_SETTLED))
                return;

        *piece = (GroupSpan){ .from = piece->from, .to = piece->to, .kind = e->kind };
        if (e->kind == GROUP_SETTLED)
                return;
        piece->attempts = attempts + e->add_attempts < ATTEMPTS_LIMIT ? attempts + e->add_attempts
                                                                      : ATTEMPTS_LIMIT;
        if (e->kind == GROUP_LEASED) {
                piece->lease = e->lease;
        } else {
                piece->until_usec = e->until_usec;
        }
}

/* The spans that are left to copy: the first of them may be cut already. */
typedef struct SpanReader {
        const Group *group;
        size_t next;
        GroupSpan span;
        bool valid;
} SpanReader;

static void reader_next(SpanReader *r) {
        r->valid = r->next < r->group->n_spans;
        if (r->valid)
                r->span = r->group->spans[r->next++];
}

static int edit_apply(SpanList *out, SpanReader *r, const GroupEdit *e) {
        GroupSpan piece;
        int64_t at = e->from;
        int k;

        for (; r->valid && r->span.to < e->from; reader_next(r)) {
                k = list_push(out, &r->span);
                if (k < 0)
                        return k;
        }

        if (r->valid && r->span.from < e->from) {
                piece = r->span;
                piece.to = e->from - 1;
                r->span.from = e->from;
                k = list_push(out, &piece);
                if (k < 0)
                        return k;
        }

        while (at <= e->to) {
                if (!r->valid || r->span.from > e->to) {
                        piece = (GroupSpan){ .from = at, .to = e->to };
                } else if (r->span.from > at) {
                        piece = (GroupSpan){ .from = at, .to = r->span.from - 1 };
                } else {
                        piece = r->span;
                        if (piece.to <= e->to) {
                                reader_next(r);
                        } else {
                                piece.to = e->to;
                                r->span.from = e->to + 1;
                        }
                }

                at = piece.to + 1;
                edit_piece(e, &piece);
                k = list_push(out, &piece);
                if (k < 0)
                        return k;
        }

        return 0;
}

int group_apply(Group *g, const GroupEdit *edits, size_t n) {
        _cleanup_(list_done) SpanList out = { 0 };
        SpanReader reader = { .group = g };
        int r;

        if (n == 0)
                return 0;

        reader_next(&reader);
        for (size_t i = 0; i < n; i++) {
                assert(edits[i].from <= edits[i].to);
                assert(i == 0 || edits[i - 1].to < edits[i].from);
                r = edit_apply(&out, &reader, edits + i);
                if (r < 0)
                        return r;
        }

        for (; reader.valid; reader_next(&reader)) {
                r = list_push(&out, &reader.span);
                if (r < 0)
                        return r;
        }

        list_into(&out, g);
        return 0;
}

/* Drops leases for which keep is false; spans know them by index. */
static int leases_close(Group *g) {
        _cleanup_(mam_freep) uint32_t *index = NULL;
        _cleanup_(list_done) SpanList out = { 0 };
        uint32_t n = 0;
        int r;

        index = reallocarray(NULL, g->n_leases, sizeof(*index));
        if (!index)
                return -ENOMEM;

        for (size_t i = 0; i < g->n_leases; i++) {
                index[i] = UINT32_MAX;
                if (g->leases[i].open == 0)
                        continue;
                index[i] = n;
                g->leases[n++] = g->leases[i];
        }
        g->n_leases = n;

        for (size_t i = 0; i < g->n_spans; i++) {
                GroupSpan s = g->spans[i];

                if (s.kind == GROUP_LEASED && index[s.lease] == UINT32_MAX) {
                        s = (GroupSpan){ .from = s.from, .to = s.to, .kind = GROUP_SETTLED };
                } else if (s.kind == GROUP_LEASED) {
                        s.lease = index[s.lease];
                }
                r = list_push(&out, &s);
                if (r < 0)
                        return r;
        }

        list_into(&out, g);
        return 0;
}

static void spans_remove_first(Group *g, size_t n) {
        if (n == 0)
                return;
        memmove(g->spans, g->spans + n, (g->n_spans - n) * sizeof(*g->spans));
        g->n_spans -= n;
}

int group_tidy(Group *g) {
        size_t n = 0;
        int r;

        for (size_t i = 0; i < g->n_leases; i++) {
                if (g->leases[i].open > 0)
                        continue;
                r = leases_close(g);
                if (r < 0)
                        return r;
                break;
        }

        while (n < g->n_spans && g->spans[n].kind == GROUP_SETTLED && g->spans[n].from == g->floor + 1)
                g->floor = g->spans[n++].to;
        spans_remove_first(g, n);
        return 0;
}

void group_advance(Group *g, const GroupWindow *w) {
        size_t n = 0;

        for (;;) {
                GroupSpan *s = n < g->n_spans ? g->spans + n : NULL;
                int64_t at = g->floor + 1, end;
                size_t entry;

                if (s && s->from == at && s->kind == GROUP_SETTLED) {
                        g->floor = s->to;
                        n++;
                        continue;
                }
                if (s && s->from == at && s->kind == GROUP_LEASED)
                        break;

                end = group_window_known_to(w, at);
                entry = group_window_find(w, at);
                if (entry < w->n_entries && w->entries[entry].position <= end)
                        end = w->entries[entry].position - 1;
                if (s && s->from > at && end >= s->from)
                        end = s->from - 1;
                if (s && s->from == at && end > s->to)
                        end = s->to;
                if (end < at)
                        break;

                g->floor = end;
                if (s && s->from == at && end == s->to) {
                        n++;
                } else if (s && s->from == at) {
                        s->from = end + 1;
                }
        }

        spans_remove_first(g, n);
}

/* Life */

void group_init(Group *g, int64_t floor) {
        *g = (Group){ .floor = floor };
}

void group_done(Group *g) {
        free(g->leases);
        free(g->spans);
        *g = (Group){ 0 };
}

int group_add_lease(Group *g, uint64_t id, uint64_t until_usec) {
        GroupLease *leases;
        size_t n;

        if (g->n_leases == g->n_leases_allocated) {
                n = g->n_leases_allocated ? g->n_leases_allocated * 2 : 8;
                leases = reallocarray(g->leases, n, sizeof(*leases));
                if (!leases)
                        return -ENOMEM;
                g->leases = leases;
                g->n_leases_allocated = n;
        }

        g->leases[g->n_leases++] = (GroupLease){ .id = id, .until_usec = GROUP_MSEC(until_usec) };
        return 0;
}

/* Reading */

uint64_t group_outstanding(const Group *g) {
        uint64_t n = 0;

        for (size_t i = 0; i < g->n_leases; i++)
                n += g->leases[i].open;
        return n;
}

uint64_t group_settled_beyond(const Group *g) {
        uint64_t n = 0;

        for (size_t i = 0; i < g->n_spans; i++) {
                if (g->spans[i].kind == GROUP_SETTLED)
                        n += (uint64_t) (g->spans[i].to - g->spans[i].from) + 1;
        }
        return n;
}

GroupKind group_kind_at(const Group *g, int64_t position, const GroupSpan **ret) {
        size_t a = 0, b = g->n_spans;

        if (ret)
                *ret = NULL;
        if (position <= g->floor)
                return GROUP_SETTLED;

        while (a < b) {
                size_t m = a + (b - a) / 2;

                if (g->spans[m].to < position) {
                        a = m + 1;
                } else {
                        b = m;
                }
        }

        if (a == g->n_spans || g->spans[a].from > position)
                return GROUP_PENDING;
        if (ret)
                *ret = g->spans + a;
        return g->spans[a].kind;
}

ssize_t group_find_lease(const Group *g, uint64_t id) {
        for (size_t i = g->n_leases; i > 0; i--) {
                if (g->leases[i - 1].id == id)
                        return (ssize_t) i - 1;
        }
        return -1;
}

uint64_t group_next_expiry(const Group *g) {
        uint64_t first = UINT64_MAX;

        for (size_t i = 0; i < g->n_leases; i++) {
                if (g->leases[i].until_usec < first)
                        first = g->leases[i].until_usec;
        }
        return first;
}

uint64_t group_backoff(const GroupPolicy *p, uint32_t attempts) {
        uint64_t wait = p->backoff_max_usec;
        unsigned shift = attempts > 0 ? attempts - 1 : 0;

        if (shift < 32 && p->backoff_min_usec <= p->backoff_max_usec >> shift)
                wait = p->backoff_min_usec << shift;
        return wait - wait / 2 + p->lot % (wait / 2 + 1);
}

/* Ends of leases */

/* What is not settled of a lease becomes pending; policy NULL: without counting an attempt. */
static int lease_end(Group *g, size_t lease, const GroupPolicy *p, uint64_t now_usec) {
        for (size_t i = 0; i < g->n_spans; i++) {
                GroupSpan *s = g->spans + i;

                if (s->kind != GROUP_LEASED || s->lease != lease)
                        continue;
                s->kind = GROUP_PENDING;
                s->lease = 0;
                if (!p)
                        continue;
                if (s->attempts < ATTEMPTS_LIMIT)
                        s->attempts++;
                s->until_usec = GROUP_MSEC(now_usec + group_backoff(p, s->attempts));
        }

        g->leases[lease].open = 0;
        return 0;
}

int group_expire(Group *g, const GroupPolicy *p, uint64_t now_usec) {
        bool any = false;
        int r;

        for (size_t i = 0; i < g->n_leases; i++) {
                if (g->leases[i].until_usec > now_usec)
                        continue;
                any = true;
                r = lease_end(g, i, p, now_usec);
                if (r < 0)
                        return r;
        }

        if (!any)
                return 0;
        r = group_tidy(g);
        return r < 0 ? r : 1;
}

int group_release(Group *g, uint64_t lease) {
        ssize_t i = group_find_lease(g, lease);
        int r;

        if (i < 0)
                return 0;
        r = lease_end(g, (size_t) i, NULL, 0);
        return r < 0 ? r : group_tidy(g);
}

/* Moving the floor */

int group_drop(Group *g, int64_t first) {
        int64_t from = (g->redriven_to > g->floor ? g->redriven_to : g->floor) + 1;
        GroupEdit edit = { .from = from, .to = first - 1, .kind = GROUP_SETTLED, .only_pending = true };
        uint64_t kept = 0;
        int r;

        if (first <= from)
                return 0;

        for (size_t i = 0; i < g->n_spans; i++) {
                const GroupSpan *s = g->spans + i;
                int64_t a = s->from < from ? from : s->from, b = s->to < first ? s->to : first - 1;

                if (s->kind != GROUP_PENDING && a <= b)
                        kept += (uint64_t) (b - a) + 1;
        }

        g->lost += (uint64_t) (first - from) - kept;
        r = group_apply(g, &edit, 1);
        return r < 0 ? r : group_tidy(g);
}

void group_seek(Group *g, int64_t to) {
        g->floor = to - 1;
        g->redriven_to = 0;
        g->epoch++;
        g->n_spans = g->n_leases = 0;
}

int group_redrive(Group *g, const int64_t *positions, size_t n) {
        _cleanup_(mam_freep) GroupEdit *edits = NULL;
        GroupEdit below = { .kind = GROUP_SETTLED };
        size_t n_edits = 0;
        int r;

        if (n == 0)
                return 0;
        g->epoch++;
        edits = reallocarray(NULL, n, sizeof(*edits));
        if (!edits)
                return -ENOMEM;

        if (positions[0] <= g->floor) {
                below.from = positions[0];
                below.to = g->floor;
                g->floor = positions[0] - 1;
                r = group_apply(g, &below, 1);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < n; i++) {
                if (i > 0 && positions[i] == positions[i - 1])
                        continue;
                edits[n_edits++] = (GroupEdit){ .from = positions[i],
                                                .to = positions[i],
                                                .kind = GROUP_PENDING,
                                                .only_settled = true };
        }

        if (positions[n - 1] > g->redriven_to)
                g->redriven_to = positions[n - 1];
        return group_apply(g, edits, n_edits);
}
