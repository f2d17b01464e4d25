/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The split: which group of replicas gets the next request
 *
 * While a rollout tries a new revision, the manager says how many thousandths of the requests each revision
 * gets. Groups take turns by smooth weighted round robin (as nginx's upstream module does it): each request
 * adds its share to the credit of every group that can take it; the group with the largest credit gets it
 * and pays what was added in all. So each window of as many requests as the shares sum up to holds exactly a
 * group's share, evenly spread, also where requests are few. Nothing is drawn by lot. A group that cannot
 * take a request neither gains nor pays: its share goes to the others in proportion to theirs.
 */

#include <stddef.h>
#include <stdint.h>

#define SPLIT_GROUPS_MAX 8U
#define SPLIT_NAME_SIZE  64U

typedef struct SplitShare {
        const char *group; /* borrowed */
        uint32_t share;    /* of all shares; 0: nothing */
} SplitShare;

typedef struct SplitGroup {
        char name[SPLIT_NAME_SIZE];
        uint32_t share;
        int64_t credit;
        unsigned turn; /* the balancer's, within the group */
} SplitGroup;

typedef struct Split {
        SplitGroup groups[SPLIT_GROUPS_MAX];
        size_t n; /* 0: there is no split */
} Split;

/* The same groups with the same shares go on where they are; others begin anew. What is beyond
 * SPLIT_GROUPS_MAX, named twice or has a name that is too long is left out. */
void split_set(Split *s, const SplitShare *shares, size_t n);
/* Index of a group, or -ENOENT. */
int split_find(const Split *s, const char *group);
/* Bit i of available: group i can take the request. The index of the group that gets it, or -ENOENT if none
 * of them has a share. */
int split_pick(Split *s, uint32_t available);
/* The same for somebody who is to stay where it is: which group is said by the number alone, so that numbers
 * spread evenly give each group its share in the mean. When shares change, as few as possible move. Takes
 * nobody's turn. */
int split_pick_for(const Split *s, uint32_t available, uint64_t number);
