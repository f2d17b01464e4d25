/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a process knows of a topic from a subscription's floor on: positions, keys, and some bodies
 *
 * Entries are what the filter wants. Their number is bounded by GROUP_WINDOW_MAX, their bodies by whoever
 * fills it. A body is there from reading until it is handed out; later it is read again, if ever.
 */

#include "event-bus/delivery/group.h"
#include "event-bus/log/log.h"

/* One event in one piece of memory, to be freed with free(). */
typedef struct WindowBody {
        LogEvent event;
        char text[];
} WindowBody;

typedef struct Window {
        GroupEntry *entries; /* owned; from head on */
        size_t head, n_entries, n_allocated;
        GroupRange *known; /* owned */
        GroupRange *gone;  /* owned */
        size_t n_known, n_gone;
        size_t bytes, n_bodies; /* bodies at hand */
} Window;

int window_body_new(WindowBody **ret, const LogEvent *e);

void window_done(Window *w); /* empty, and may be used again */
GroupWindow window_view(const Window *w);
/* NULL: not there. Valid until the next entry comes. */
GroupEntry *window_get(Window *w, int64_t position);
/* If it is there already it gets the body that it lacks. */
int window_add(Window *w, const LogEvent *e, bool with_body);
void window_remove(Window *w, int64_t position);
/* The body, which is the caller's then, or NULL. */
WindowBody *window_take_body(Window *w, int64_t position);
int window_put_known(Window *w, int64_t from, int64_t to);
int window_put_gone(Window *w, int64_t from, int64_t to);
/* Forgets everything up to floor. */
void window_trim(Window *w, int64_t floor);
/* Frees the bodies of what is not pending, and with all of what is. */
void window_drop_bodies(Window *w, const Group *g, bool all);
