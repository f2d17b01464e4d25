/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/split.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* A share that somebody sends beyond this says no more than this one. */
#define SHARE_MAX 1000000U

int split_find(const Split *s, const char *group) {
        assert(s);
        assert(group);

        for (size_t i = 0; i < s->n; i++) {
                if (strcmp(s->groups[i].name, group) == 0)
                        return (int) i;
        }
        return -ENOENT;
}

static bool is_same(const Split *a, const Split *b) {
        if (a->n != b->n)
                return false;
        for (size_t i = 0; i < a->n; i++) {
                if (a->groups[i].share != b->groups[i].share ||
                    strcmp(a->groups[i].name, b->groups[i].name) != 0)
                        return false;
        }
        return true;
}

void split_set(Split *s, const SplitShare *shares, size_t n) {
        Split new = { 0 };

        assert(s);
        assert(shares || n == 0);

        for (size_t i = 0; i < n && new.n < SPLIT_GROUPS_MAX; i++) {
                SplitGroup *g = &new.groups[new.n];

                if (strlen(shares[i].group) >= sizeof(g->name) || split_find(&new, shares[i].group) >= 0)
                        continue;
                (void) strcpy(g->name, shares[i].group);
                g->share = shares[i].share < SHARE_MAX ? shares[i].share : SHARE_MAX;
                new.n++;
        }
        if (!is_same(s, &new))
                *s = new;
}

int split_pick(Split *s, uint32_t available) {
        int64_t total = 0;
        int best = -ENOENT;

        assert(s);

        for (size_t i = 0; i < s->n; i++) {
                SplitGroup *g = &s->groups[i];

                if (!(available & 1U << i) || g->share == 0)
                        continue;
                g->credit += g->share;
                total += g->share;
                if (best < 0 || g->credit > s->groups[best].credit)
                        best = (int) i;
        }
        if (best >= 0)
                s->groups[best].credit -= total;
        return best;
}

int split_pick_for(const Split *s, uint32_t available, uint64_t number) {
        uint64_t total = 0, place;

        assert(s);

        for (size_t i = 0; i < s->n; i++)
                if (available & 1U << i)
                        total += s->groups[i].share;
        if (total == 0)
                return -ENOENT;

        /* A place on the line that the shares make, one behind the other. */
        place = (uint64_t) ((unsigned __int128) number * total >> 64);
        for (size_t i = 0; i < s->n; i++) {
                if (!(available & 1U << i))
                        continue;
                if (place < s->groups[i].share)
                        return (int) i;
                place -= s->groups[i].share;
        }
        return -ENOENT;
}
