/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Load: what was sent to each replica, and how it went
 *
 * The manager asks for it (GET /load on the gateway's own replica socket) to scale, to judge a rollout and
 * to tell what users saw. A LoadEntry counts for one replica, by its id; endpoints of that id hold
 * references. A count is a few additions, the table is touched only when endpoints come and go. Counters
 * live as long as the process: of replicas that left, the LOAD_LEFT_MAX that left last are kept.
 *
 * Only tries that reached a replica count: what was refused, or handed back unprocessed to go elsewhere, was
 * never its load.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "libmam/util/buffer.h"
#include "libmam/util/macro.h"
#include "libmam/util/time.h"

typedef struct Gateway Gateway;
typedef struct LoadEntry LoadEntry;
typedef struct LoadTable LoadTable;

/* Upper bounds of the buckets, inclusive: 100 µs × √2^i, rounded; the last one has none. The manager's are
 * the same. */
#define LOAD_BUCKETS  40U
#define LOAD_LEFT_MAX 256U

struct LoadEntry {
        LoadTable *table; /* weak */
        char *id;         /* owned; "project-manager:2" */
        unsigned n_ref;
        unsigned in_flight;
        uint64_t requests; /* ended, with or without an answer */
        uint64_t errors;   /* of those: 5xx, no answer, broken answer */
        uint64_t buckets[LOAD_BUCKETS];
        TAILQ_ENTRY(LoadEntry) entries;
};

uint64_t load_bound_usec(unsigned bucket); /* UINT64_MAX for the last one */
unsigned load_bucket(uint64_t usec);

/* started_usec: realtime; says to the reader whether counters are still those that it knows. */
int load_table_new(LoadTable **ret, uint64_t started_usec);
uint64_t load_started_usec(const LoadTable *t);
/* No entry may be held any more. */
LoadTable *load_table_free(LoadTable *t);
MAM_DEFINE_CLEANUP(LoadTable, load_table_free);

/* The entry of this id, old or new, and a reference to it. */
int load_acquire(LoadTable *t, LoadEntry **ret, const char *id);
LoadEntry *load_release(LoadEntry *e);

/* A try has ended. first_byte_usec: how long the first byte of the answer took; MAM_USEC_INFINITY: none
 * came.
 */
void load_count(LoadEntry *e, bool is_error, uint64_t first_byte_usec);

/* Appends one JSON object:
 *   {"started_usec":T,"bounds_usec":[100,141,…],"services":{"ID":{"waiting":N,"unserved":N}},
 *    "replicas":{"ID:N":{"in_flight":N,"requests":N,"errors":N,"latency":[40 counts]}}}
 * waiting: requests that wait for a replica now; unserved: those that were answered with an error of the
 * gateway's own and had reached no replica. Counts are not cumulative. -ENOMEM. */
int load_format(const Gateway *g, MamBuffer *b);
