/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sorted arrays: what comes mostly comes at the end, what goes goes at the front
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "event-bus/delivery/window.h"

#define RANGES_MAX 10000U

static void copy_text(char **at, const char **ret, const char *text, size_t size) {
        if (!text)
                return;
        memcpy(*at, text, size);
        (*at)[size] = '\0';
        *ret = *at;
        *at += size + 1;
}

int window_body_new(WindowBody **ret, const LogEvent *e) {
        size_t key = e->key ? strlen(e->key) : 0, stream = e->stream ? strlen(e->stream) : 0;
        WindowBody *b;
        char *at;

        b = malloc(sizeof(*b) + key + stream + e->size + 3);
        if (!b)
                return -ENOMEM;

        b->event = *e;
        at = b->text;
        copy_text(&at, &b->event.text, e->text, e->size);
        copy_text(&at, &b->event.key, e->key, key);
        copy_text(&at, &b->event.stream, e->stream, stream);
        *ret = b;
        return 0;
}

static size_t body_size(const LogEvent *e) {
        return sizeof(WindowBody) + e->size + 64;
}

static void entry_drop_body(Window *w, GroupEntry *e) {
        if (!e->body)
                return;
        w->bytes -= e->size;
        w->n_bodies--;
        free(e->body);
        e->body = NULL;
}

void window_done(Window *w) {
        for (size_t i = w->head; i < w->n_entries; i++)
                entry_drop_body(w, w->entries + i);
        free(w->entries);
        free(w->known);
        free(w->gone);
        *w = (Window){ 0 };
}

GroupWindow window_view(const Window *w) {
        return (GroupWindow){
                .entries = w->entries ? w->entries + w->head : NULL,
                .n_entries = w->n_entries - w->head,
                .known = w->known,
                .n_known = w->n_known,
                .gone = w->gone,
                .n_gone = w->n_gone,
        };
}

static size_t window_index(const Window *w, int64_t position) {
        GroupWindow view = window_view(w);

        return w->head + group_window_find(&view, position);
}

GroupEntry *window_get(Window *w, int64_t position) {
        size_t i = window_index(w, position);

        return i < w->n_entries && w->entries[i].position == position ? w->entries + i : NULL;
}

static int window_grow(Window *w) {
        GroupEntry *entries;
        size_t n;

        if (w->head > 0 && w->head >= w->n_entries / 2) {
                w->n_entries -= w->head;
                memmove(w->entries, w->entries + w->head, w->n_entries * sizeof(*w->entries));
                w->head = 0;
        }
        if (w->n_entries < w->n_allocated)
                return 0;

        n = w->n_allocated ? w->n_allocated * 2 : 64;
        entries = reallocarray(w->entries, n, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        w->entries = entries;
        w->n_allocated = n;
        return 0;
}

static int entry_set_body(Window *w, GroupEntry *entry, const LogEvent *e) {
        WindowBody *body = NULL;
        int r;

        r = window_body_new(&body, e);
        if (r < 0)
                return r;
        entry->body = body;
        entry->size = body_size(e);
        w->bytes += entry->size;
        w->n_bodies++;
        return 0;
}

int window_add(Window *w, const LogEvent *e, bool with_body) {
        GroupEntry *entry;
        size_t i;
        int r;

        entry = window_get(w, e->position);
        if (entry)
                return with_body && !entry->body ? entry_set_body(w, entry, e) : 0;

        if (w->n_entries == w->n_allocated) {
                r = window_grow(w);
                if (r < 0)
                        return r;
        }

        i = w->n_entries;
        if (i > w->head && w->entries[i - 1].position > e->position)
                i = window_index(w, e->position);
        entry = w->entries + i;
        memmove(entry + 1, entry, (w->n_entries - i) * sizeof(*entry));
        *entry = (GroupEntry){
                .position = e->position,
                .key = group_hash(e->key ?: ""),
                .recorded_usec = e->recorded_usec,
                .size = body_size(e),
        };
        w->n_entries++;
        return with_body ? entry_set_body(w, entry, e) : 0;
}

void window_remove(Window *w, int64_t position) {
        GroupEntry *e = window_get(w, position);

        if (!e)
                return;
        entry_drop_body(w, e);
        w->n_entries--;
        memmove(e, e + 1, (size_t) (w->entries + w->n_entries - e) * sizeof(*e));
}

WindowBody *window_take_body(Window *w, int64_t position) {
        GroupEntry *e = window_get(w, position);

        if (!e || !e->body)
                return NULL;
        w->bytes -= e->size;
        w->n_bodies--;
        return MAM_TAKE(e->body);
}

/* Adds to ascending disjoint ranges; neighbours become one. */
static int ranges_put(GroupRange **ranges, size_t *n, int64_t from, int64_t to) {
        GroupRange *all = *ranges;
        size_t i = 0, j;

        if (from > to)
                return 0;

        while (i < *n && all[i].to < from - 1)
                i++;
        for (j = i; j < *n && all[j].from <= to + 1; j++) {
                from = all[j].from < from ? all[j].from : from;
                to = all[j].to > to ? all[j].to : to;
        }

        if (j == i) {
                if (*n >= RANGES_MAX)
                        return -ENOBUFS;
                all = reallocarray(all, *n + 1, sizeof(*all));
                if (!all)
                        return -ENOMEM;
                *ranges = all;
        }
        memmove(all + i + 1, all + j, (*n - j) * sizeof(*all));
        *n = *n - (j - i) + 1;
        all[i] = (GroupRange){ from, to };
        return 0;
}

int window_put_known(Window *w, int64_t from, int64_t to) {
        return ranges_put(&w->known, &w->n_known, from, to);
}

int window_put_gone(Window *w, int64_t from, int64_t to) {
        /* too many of them: one for all between them blocks more than needed, never less */
        if (w->n_gone >= RANGES_MAX)
                from = w->gone[w->n_gone - 1].from < from ? w->gone[w->n_gone - 1].from : from;
        return ranges_put(&w->gone, &w->n_gone, from, to);
}

static void ranges_trim(GroupRange *all, size_t *n, int64_t floor) {
        size_t gone = 0;

        while (gone < *n && all[gone].to <= floor)
                gone++;
        if (gone > 0) {
                *n -= gone;
                memmove(all, all + gone, *n * sizeof(*all));
        }
        if (*n > 0 && all[0].from <= floor)
                all[0].from = floor + 1;
}

void window_trim(Window *w, int64_t floor) {
        for (; w->head < w->n_entries && w->entries[w->head].position <= floor; w->head++)
                entry_drop_body(w, w->entries + w->head);
        if (w->head == w->n_entries) {
                w->head = w->n_entries = 0;
                if (w->n_allocated > 8192) {
                        w->n_allocated = 0;
                        free(MAM_TAKE(w->entries));
                }
        }

        ranges_trim(w->known, &w->n_known, floor);
        ranges_trim(w->gone, &w->n_gone, floor);
}

void window_drop_bodies(Window *w, const Group *g, bool all) {
        for (size_t i = w->head; i < w->n_entries; i++) {
                if (all || group_kind_at(g, w->entries[i].position, NULL) != GROUP_PENDING)
                        entry_drop_body(w, w->entries + i);
        }
}
