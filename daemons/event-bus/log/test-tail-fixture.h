/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * For tests of following and keeping: real servers, and replicas of the bus' log in one event loop
 */

#include "event-bus/log/log.h"
#include "event-bus/log/tail.h"
#include "libmam/db/test-server.h"
#include "libmam/util/test.h"
#include "libmam/util/time.h"

#define REPLICAS_MAX 2U

typedef struct Replica {
        MamPg *pg;
        MamRedis *redis;
        Log *log;
        Tail *tail;
        unsigned n_told;
        char told[128]; /* the last word but "*" */
        unsigned n_star;
} Replica;

typedef struct Fixture {
        sd_event *event;
        char conninfo[160], redis_path[96];
        Replica replicas[REPLICAS_MAX];
        size_t n_replicas;
        unsigned n_appending; /* calls without an answer */
        unsigned n_refused;
        int64_t last; /* of the last answer */
        int topic_error;
        bool topic_done;
} Fixture;

#define RUN_UNTIL(f, condition)                                                       \
        do {                                                                          \
                uint64_t _end = mam_now_monotonic() + 60 * MAM_USEC_PER_SEC;          \
                while (!(condition)) {                                                \
                        ASSERT_OK(sd_event_run((f)->event, 100 * MAM_USEC_PER_MSEC)); \
                        ASSERT_TRUE(mam_now_monotonic() < _end);                      \
                }                                                                     \
        } while (0)

extern MamTestServer test_postgres, test_redis;

/* A new schema; servers are started when they are not running. */
void fixture_open(Fixture *f, size_t n_replicas, bool with_redis);
void fixture_close(Fixture *f);
/* Kills it without warning, and starts it again once everybody has noticed. */
void fixture_restart_postgres(Fixture *f);

/* Runs SQL in the schema, on a connection of its own; ret: the first value, or NULL. Returns whether it
 * worked. */
bool fixture_sql(Fixture *f, char *ret, size_t size, const char *format, ...) _printf_(4, 5);
int64_t fixture_sql_int(Fixture *f, const char *format, ...) _printf_(2, 3);

void topic_make(Fixture *f, const char *name, const TopicSettings *settings);
void topic_remove(Fixture *f, const char *name);

/* Appends n events without waiting. The data of each is its number, from first_number on; its key is
 * "k<number modulo keys>"; tombstone: no data. Retried by itself until it works. */
void put(Fixture *f, size_t replica, const char *topic, unsigned first_number, unsigned n, unsigned keys);
void put_tombstone(Fixture *f, const char *topic, unsigned number, unsigned keys);
/* The number in an event. */
unsigned number_of(const LogEvent *e);

/* A follower that notes what it gets and asks for more as it is told. */
typedef struct Reader {
        Follower *follower; /* owned */
        unsigned credit;    /* given again as it is used up; 0: by hand */
        unsigned n, n_calls, n_most /* in one call */;
        int64_t last;  /* position */
        bool disorder; /* a position did not grow */
        int error;
        int64_t first; /* told with the error */
        bool seek;     /* to where it can go on */
        uint8_t *seen; /* by number; owned */
        unsigned n_seen, n_twice;
        bool free_in_callback;
} Reader;

#define READER_NUMBERS 100000U

void reader_open(Reader *r, Fixture *f, size_t replica, const char *topic, int64_t after, unsigned credit);
void reader_close(Reader *r);
