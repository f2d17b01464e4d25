/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The state of a subscription, and what may be done to it: pure functions of state, time and events
 *
 * Positions up to the floor are settled. Beyond it spans say what differs from "never handed out": settled,
 * leased (by one take each), or pending with attempts that failed and a time before which it is held. The
 * spans know positions only. Keys come from the window, which is what was read of the log: it never changes,
 * thus every replica decides the same. An event is handed out only if no event of its key is out in another
 * lease and no earlier one waits; what is not known yet (neither read nor settled) ends the search, as it
 * might have any key. In the window keys are 64-bit hashes: two keys that collide wait for each other, which
 * costs parallelism and never order.
 *
 * Events that a filter refuses have no entry in the window. A lease takes them along (its span covers them,
 * its count of open events does not), and they are settled with it; if it ends otherwise they become pending
 * and are passed over again. So what is filtered does not make the state grow.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"

#define GROUP_WINDOW_MAX 50000U /* entries of a window: beyond it a subscription waits */
#define GROUP_LEASES_MAX 2000U
#define GROUP_SPANS_MAX  24000U /* what takes may make of it, once everything is settled one by one */
#define GROUP_CODE_MAX   (2U * 1024U * 1024U)

typedef enum GroupKind {
        GROUP_PENDING,
        GROUP_SETTLED,
        GROUP_LEASED,
} GroupKind;

typedef struct GroupSpan {
        int64_t from, to;
        uint64_t until_usec; /* PENDING: held so long; 0: it is not */
        uint32_t attempts;   /* deliveries that failed; 0 for SETTLED */
        uint32_t lease;      /* LEASED: index into leases */
        GroupKind kind;
} GroupSpan;

typedef struct GroupLease {
        uint64_t id;
        uint64_t until_usec;
        uint32_t open; /* events that are out */
} GroupLease;

/* Times are realtime, in whole milliseconds. */
typedef struct Group {
        int64_t floor;
        int64_t redriven_to; /* dead letters that came back are at or below it; 0: none are out */
        uint64_t epoch;      /* counts what made settled positions pending again */
        uint64_t lost;       /* dropped by retention before they were handed out */
        GroupLease *leases;  /* owned */
        GroupSpan *spans;    /* owned; ascending, disjoint */
        size_t n_leases, n_leases_allocated, n_spans, n_spans_allocated;
} Group;

void group_init(Group *g, int64_t floor);
void group_done(Group *g);
uint64_t group_outstanding(const Group *g);
/* Settled positions beyond the floor. */
uint64_t group_settled_beyond(const Group *g);
/* The kind of a position, with its span (NULL: none). */
GroupKind group_kind_at(const Group *g, int64_t position, const GroupSpan **ret);
/* Index of a lease, or -1. */
ssize_t group_find_lease(const Group *g, uint64_t id);

/* Text (base64 of a versioned binary form). -EBADMSG: not one; -EFBIG. */
int group_encode(const Group *g, MamBuffer *text);
int group_decode(Group *ret, const char *text);

/* ---- the window ---- */

typedef struct GroupEntry {
        int64_t position;
        uint64_t key;           /* hash */
        uint64_t recorded_usec; /* when it was appended */
        void *body;             /* NULL: not at hand; owned by whoever owns the window */
        size_t size;            /* of the body; 0: it can no longer be had */
} GroupEntry;

typedef struct GroupRange {
        int64_t from, to;
} GroupRange;

typedef struct GroupWindow {
        const GroupEntry *entries; /* ascending; only what the filter wants */
        size_t n_entries;
        const GroupRange *known; /* ascending, disjoint: what was read */
        size_t n_known;
        const GroupRange *gone; /* was no longer in the log, and leased at that time: its keys are unknown */
        size_t n_gone;
} GroupWindow;

uint64_t group_hash(const char *key);
/* Index of the first entry at or behind a position. */
size_t group_window_find(const GroupWindow *w, int64_t position);
/* The last position up to which everything from position on is known; position - 1: it is not. */
int64_t group_window_known_to(const GroupWindow *w, int64_t position);

/* ---- taking ---- */

typedef struct GroupPolicy {
        uint64_t backoff_min_usec, backoff_max_usec;
        uint64_t lot;          /* random: jitter of the back-off */
        unsigned attempts_max; /* UINT_MAX: no end */
        unsigned outstanding_max;
} GroupPolicy;

typedef struct GroupPick {
        size_t entry; /* in the window */
        int64_t position;
        uint32_t attempts; /* that failed before */
} GroupPick;

typedef struct GroupKeys GroupKeys;
typedef struct GroupEdit GroupEdit;

/* One look through the window, which serves several takes. */
typedef struct GroupScan {
        Group *group;
        const GroupWindow *window;
        const GroupPolicy *policy;
        uint64_t now_usec;
        GroupKeys *keys;  /* owned */
        GroupEdit *edits; /* owned */
        size_t n_edits, n_edits_allocated;
        GroupPick *dead; /* owned; out of attempts: settled by group_scan_end(), to be written as dead
                            letters */
        size_t n_dead, n_dead_allocated;
        int64_t *wanted; /* owned; pending, but the body is missing (the first GROUP_WANTED_MAX) */
        size_t n_wanted, n_blocked;
        uint64_t wake_usec; /* the first held one's time; UINT64_MAX: none is held */
        int64_t unknown;    /* the search ended here as it is not known; 0: it did not */
        bool is_bound;      /* ended at what is out and unknown, and not at the end of what is known */
        bool full;          /* ended at a bound that settling widens */
        uint64_t outstanding;
        size_t n_potential, n_leased_spans; /* spans there may be once all of it is settled one by one */
        /* cursor */
        size_t span, entry;
        int64_t position, bound; /* nothing at or behind bound may go */
        uint32_t owner;
        bool over;
} GroupScan;

#define GROUP_WANTED_MAX 1000U
#define GROUP_DEAD_MAX   1000U /* in one pass */

int group_scan_begin(
                GroupScan *s,
                Group *g,
                const GroupWindow *w,
                const GroupPolicy *policy,
                uint64_t now_usec);
/* The next take: at most events_max events and bytes_max bytes (one event at least). Returns how many
 * picks; 0: nothing can be handed out now. A lease is made only if there are any. events_max 0: looks for
 * events out of attempts only. */
int group_scan_take(
                GroupScan *s,
                uint64_t lease,
                uint64_t until_usec,
                size_t events_max,
                size_t bytes_max,
                GroupPick *picks);
/* Writes what was taken into the group. After an error of one of these the group is of no use. */
int group_scan_end(GroupScan *s);
void group_scan_done(GroupScan *s);

/* ---- settling ---- */

typedef enum GroupSettle {
        GROUP_ACK,
        GROUP_NACK,
        GROUP_EXTEND,
        GROUP_DEAD,
} GroupSettle;

typedef struct GroupItem {
        GroupSettle kind;
        int64_t position;
        uint64_t lease;
        uint64_t delay_usec; /* NACK: UINT64_MAX: by back-off; EXTEND: from now */
        int result;          /* set: 0, -ESTALE */
        bool dead;           /* set: a dead letter is to be written */
        uint32_t attempts;   /* set: deliveries so far, this one included */
} GroupItem;

/* What NACK needs: everything of its lease from the position on is known. Returns 0, or the position from
 * which the window must be read first. */
int64_t group_settle_needs(const Group *g, const GroupWindow *w, const GroupItem *item);
/* Whether an item will make a dead letter. */
bool group_settle_is_dead(const Group *g, const GroupPolicy *p, const GroupItem *item);
/* Acks are looked at first, then the others in the order of positions. */
int group_settle(
                Group *g,
                const GroupWindow *w,
                const GroupPolicy *p,
                uint64_t now_usec,
                GroupItem *items,
                size_t n);

/* ---- the rest ---- */

/* Leases that are over: what is not settled of them failed once more and is held by the back-off. Returns
 * whether there were any. */
int group_expire(Group *g, const GroupPolicy *p, uint64_t now_usec);
/* A lease that nobody got: all of it comes back, and does not count as an attempt. */
int group_release(Group *g, uint64_t lease);
/* When the first lease ends; UINT64_MAX: there is none. */
uint64_t group_next_expiry(const Group *g);
/* Passes over what is settled or not wanted. */
void group_advance(Group *g, const GroupWindow *w);
/* Everything before first was dropped from the log: what was not handed out of it is lost. */
int group_drop(Group *g, int64_t first);
void group_seek(Group *g, int64_t to);
/* Settled positions become pending again, as never handed out. Ascending. */
int group_redrive(Group *g, const int64_t *positions, size_t n);
