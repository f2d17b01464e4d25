/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "api-gateway/load.h"

#include <assert.h>
#include <string.h>

#include "api-gateway/gateway.h"
#include "libmam/json/json.h"

TAILQ_HEAD(LoadQueue, LoadEntry);

struct LoadTable {
        uint64_t started_usec;
        struct LoadQueue used; /* owned */
        struct LoadQueue left; /* owned; longest gone first */
        unsigned n_left;
};

/* Every second bound is 100 × 2^k, those between are √2 times that. */
#define BOUND(k) (100ULL << (k)), (uint64_t) (141.42135623730951 * (double) (1ULL << (k)) + 0.5)

static const uint64_t bounds[LOAD_BUCKETS] = {
        BOUND(0),  BOUND(1),  BOUND(2),  BOUND(3),  BOUND(4),  BOUND(5),     BOUND(6),
        BOUND(7),  BOUND(8),  BOUND(9),  BOUND(10), BOUND(11), BOUND(12),    BOUND(13),
        BOUND(14), BOUND(15), BOUND(16), BOUND(17), BOUND(18), 100ULL << 19, UINT64_MAX,
};

uint64_t load_bound_usec(unsigned bucket) {
        assert(bucket < LOAD_BUCKETS);
        return bounds[bucket];
}

unsigned load_bucket(uint64_t usec) {
        unsigned k, i;

        if (usec <= bounds[0])
                return 0;
        /* 100 × 2^k < usec ≤ 100 × 2^(k + 1): one of two buckets. */
        k = 63U - (unsigned) __builtin_clzll((usec - 1) / 100);
        if (2 * k + 1 >= LOAD_BUCKETS - 1)
                return LOAD_BUCKETS - 1;
        i = 2 * k + 1;
        return usec <= bounds[i] ? i : i + 1;
}

int load_table_new(LoadTable **ret, uint64_t started_usec) {
        LoadTable *t;

        assert(ret);

        t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->started_usec = started_usec;
        TAILQ_INIT(&t->used);
        TAILQ_INIT(&t->left);

        *ret = t;
        return 0;
}

static void entry_free(LoadEntry *e) {
        if (!e)
                return;

        free(e->id);
        free(e);
}

uint64_t load_started_usec(const LoadTable *t) {
        return t->started_usec;
}

LoadTable *load_table_free(LoadTable *t) {
        LoadEntry *e;

        if (!t)
                return NULL;

        assert(TAILQ_EMPTY(&t->used));
        while ((e = TAILQ_FIRST(&t->left))) {
                TAILQ_REMOVE(&t->left, e, entries);
                entry_free(e);
        }
        free(t);
        return NULL;
}

static LoadEntry *find(const struct LoadQueue *q, const char *id) {
        LoadEntry *e;

        TAILQ_FOREACH(e, q, entries)
        if (strcmp(e->id, id) == 0)
                return e;
        return NULL;
}

int load_acquire(LoadTable *t, LoadEntry **ret, const char *id) {
        LoadEntry *e;

        assert(t);
        assert(ret);
        assert(id);

        e = find(&t->used, id);
        if (e) {
                e->n_ref++;
                *ret = e;
                return 0;
        }

        e = find(&t->left, id);
        if (e) {
                TAILQ_REMOVE(&t->left, e, entries);
                t->n_left--;
        } else {
                e = calloc(1, sizeof(*e));
                if (!e)
                        return -ENOMEM;
                e->table = t;
                e->id = strdup(id);
                if (!e->id) {
                        entry_free(e);
                        return -ENOMEM;
                }
        }
        e->n_ref = 1;
        TAILQ_INSERT_TAIL(&t->used, e, entries);

        *ret = e;
        return 0;
}

LoadEntry *load_release(LoadEntry *e) {
        LoadTable *t;
        LoadEntry *oldest;

        if (!e || --e->n_ref > 0)
                return NULL;

        t = e->table;
        TAILQ_REMOVE(&t->used, e, entries);
        TAILQ_INSERT_TAIL(&t->left, e, entries);
        if (++t->n_left > LOAD_LEFT_MAX) {
                oldest = TAILQ_FIRST(&t->left);
                TAILQ_REMOVE(&t->left, oldest, entries);
                t->n_left--;
                entry_free(oldest);
        }
        return NULL;
}

void load_count(LoadEntry *e, bool is_error, uint64_t first_byte_usec) {
        e->requests++;
        e->errors += is_error;
        if (first_byte_usec != MAM_USEC_INFINITY)
                e->buckets[load_bucket(first_byte_usec)]++;
}

/* A string of JSON: ids come from the manager, who got them from a configuration. */
static int append_name(MamBuffer *b, const char *name) {
        _cleanup_(json_object_putp) json_object *text = NULL;

        text = json_object_new_string(name);
        if (!text)
                return -ENOMEM;
        return mam_buffer_append_string(b, mam_json_to_string(text));
}

static int append_bounds(MamBuffer *b) {
        int r = 0;

        for (unsigned i = 0; i < LOAD_BUCKETS - 1 && r >= 0; i++)
                r = mam_buffer_appendf(b, "%s%llu", i > 0 ? "," : "", (unsigned long long) bounds[i]);
        return r;
}

static int append_service(MamBuffer *b, const Upstream *u, bool is_first) {
        int r;

        r = mam_buffer_append_string(b, is_first ? "" : ",");
        if (r >= 0)
                r = append_name(b, u->service);
        if (r < 0)
                return r;
        return mam_buffer_appendf(
                        b,
                        ":{\"waiting\":%u,\"unserved\":%llu}",
                        u->n_waiting,
                        (unsigned long long) u->unserved);
}

static int append_replica(MamBuffer *b, const LoadEntry *e, bool is_first) {
        int r;

        r = mam_buffer_append_string(b, is_first ? "" : ",");
        if (r >= 0)
                r = append_name(b, e->id);
        if (r >= 0) {
                r = mam_buffer_appendf(
                                b,
                                ":{\"in_flight\":%u,\"requests\":%llu,\"errors\":%llu,\"latency\":[",
                                e->in_flight,
                                (unsigned long long) e->requests,
                                (unsigned long long) e->errors);
        }
        for (unsigned i = 0; i < LOAD_BUCKETS && r >= 0; i++) {
                const char *comma = i > 0 ? "," : "";

                /* Most are nothing, and there may be very many. */
                if (e->buckets[i] == 0) {
                        r = mam_buffer_append_string(b, i > 0 ? ",0" : "0");
                } else {
                        r = mam_buffer_appendf(b, "%s%llu", comma, (unsigned long long) e->buckets[i]);
                }
        }
        return r < 0 ? r : mam_buffer_append_string(b, "]}");
}

int load_format(const Gateway *g, MamBuffer *b) {
        const LoadTable *t = g->load;
        const struct LoadQueue *const queues[] = { &t->used, &t->left };
        bool is_first = true;
        LoadEntry *e;
        int r;

        assert(b);

        r = mam_buffer_appendf(
                        b,
                        "{\"started_usec\":%llu,\"bounds_usec\":[",
                        (unsigned long long) t->started_usec);
        if (r >= 0)
                r = append_bounds(b);
        if (r >= 0)
                r = mam_buffer_append_string(b, "],\"services\":{");
        for (size_t i = 0; i < g->n_upstreams && r >= 0; i++)
                r = append_service(b, g->upstreams[i], i == 0);
        if (r >= 0)
                r = mam_buffer_append_string(b, "},\"replicas\":{");
        for (size_t i = 0; i < MAM_ELEMENTSOF(queues) && r >= 0; i++) {
                TAILQ_FOREACH(e, queues[i], entries) {
                        r = append_replica(b, e, is_first);
                        if (r < 0)
                                break;
                        is_first = false;
                }
        }
        return r < 0 ? r : mam_buffer_append_string(b, "}}\n");
}
