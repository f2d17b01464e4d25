/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Token buckets
 */

#include <assert.h>
#include <string.h>
#include <sys/queue.h>

#include "event-bus/quota.h"
#include "libmam/util/time.h"

#define SLOTS 1024U

typedef struct Bucket {
        LIST_ENTRY(Bucket) slot;
        TAILQ_ENTRY(Bucket) order;
        int64_t topic;
        double tokens;
        uint64_t usec; /* when tokens was right */
        uint32_t hash;
        char publisher[];
} Bucket;

struct Quotas {
        LIST_HEAD(, Bucket) slots[SLOTS];
        TAILQ_HEAD(BucketOrder, Bucket) order; /* most recently used first */
        unsigned n;
};

int quotas_new(Quotas **ret) {
        Quotas *q = calloc(1, sizeof(*q));

        assert(ret);

        if (!q)
                return -ENOMEM;
        TAILQ_INIT(&q->order);
        *ret = q;
        return 0;
}

static void drop(Quotas *q, Bucket *b) {
        LIST_REMOVE(b, slot);
        TAILQ_REMOVE(&q->order, b, order);
        q->n--;
        free(b);
}

Quotas *quotas_free(Quotas *q) {
        if (!q)
                return NULL;
        while (!TAILQ_EMPTY(&q->order))
                drop(q, TAILQ_FIRST(&q->order));
        free(q);
        return NULL;
}

static uint32_t hash_of(const char *publisher, int64_t topic) {
        uint32_t h = 2166136261U ^ (uint32_t) topic;

        for (; *publisher; publisher++)
                h = (h ^ (unsigned char) *publisher) * 16777619U;
        return h ^ h >> 15;
}

static Bucket *find(Quotas *q, const char *publisher, int64_t topic, uint64_t rate, uint64_t now_usec) {
        uint32_t hash = hash_of(publisher, topic);
        size_t size = strlen(publisher) + 1;
        Bucket *b;

        LIST_FOREACH(b, &q->slots[hash % SLOTS], slot) {
                if (b->hash == hash && b->topic == topic && strcmp(b->publisher, publisher) == 0) {
                        TAILQ_REMOVE(&q->order, b, order);
                        TAILQ_INSERT_HEAD(&q->order, b, order);
                        return b;
                }
        }
        if (q->n >= QUOTAS_MAX)
                drop(q, TAILQ_LAST(&q->order, BucketOrder));
        b = malloc(sizeof(*b) + size);
        if (!b)
                return NULL;
        *b = (Bucket){ .topic = topic, .tokens = (double) rate, .usec = now_usec, .hash = hash };
        memcpy(b->publisher, publisher, size);
        LIST_INSERT_HEAD(&q->slots[hash % SLOTS], b, slot);
        TAILQ_INSERT_HEAD(&q->order, b, order);
        q->n++;
        return b;
}

uint64_t quotas_take(
                Quotas *q,
                const char *publisher,
                int64_t topic,
                uint64_t rate,
                unsigned n,
                uint64_t now_usec) {
        double full = (double) rate, need;
        Bucket *b;

        assert(q);
        assert(publisher);

        if (rate == 0)
                return 0;
        b = find(q, publisher, topic, rate, now_usec);
        if (!b)
                return 0;
        if (now_usec > b->usec) {
                b->tokens += (double) (now_usec - b->usec) / (double) MAM_USEC_PER_SEC * full;
                b->usec = now_usec;
        }
        if (b->tokens > full)
                b->tokens = full;
        need = (double) n < full ? (double) n : full;
        if (b->tokens < need)
                return (uint64_t) ((need - b->tokens) / full * (double) MAM_USEC_PER_SEC) + 1;
        b->tokens -= (double) n;
        return 0;
}
