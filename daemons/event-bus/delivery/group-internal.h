/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of a group share: rewriting its spans in one pass, and a set of keys
 */

#include "event-bus/delivery/group.h"

/* From one kind to another over a range; the attempts that spans have are kept (but for SETTLED). */
struct GroupEdit {
        int64_t from, to;
        uint64_t until_usec;
        uint32_t lease, add_attempts;
        GroupKind kind;
        bool only_pending, only_settled; /* others in the range stay as they are */
};

/* edits: ascending, disjoint. */
int group_apply(Group *g, const GroupEdit *edits, size_t n);
/* Closes leases without open events (what they took along is settled), moves the floor over what is settled.
 */
int group_tidy(Group *g);
int group_add_lease(Group *g, uint64_t id, uint64_t until_usec);
uint64_t group_backoff(const GroupPolicy *p, uint32_t attempts);

#define GROUP_MSEC(usec)                                                                               \
        ({                                                                                             \
                uint64_t _usec = (usec);                                                               \
                _usec > UINT64_MAX - 1000 ? UINT64_MAX / 1000 * 1000 : (_usec + 999U) / 1000U * 1000U; \
        })

typedef struct GroupKey {
        uint64_t key;
        int64_t value; /* 0: free slot */
} GroupKey;

/* Open addressing; values are not 0. */
struct GroupKeys {
        GroupKey *slots; /* owned */
        size_t n, n_slots;
};

int group_keys_new(GroupKeys **ret, size_t n_expected);
GroupKeys *group_keys_free(GroupKeys *k);
MAM_DEFINE_CLEANUP(GroupKeys, group_keys_free);
/* The slot of a key; its value is 0 if it is not there. NULL: out of memory. Valid until the next call. */
GroupKey *group_keys_slot(GroupKeys *k, uint64_t key);
void group_keys_set(GroupKeys *k, GroupKey *slot, int64_t value);
